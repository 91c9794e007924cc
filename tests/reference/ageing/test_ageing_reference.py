"""Hot-spot and ageing against another program and the standard's own values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gridsite.hosting.thermal import ThermalModel, hot_spot_series

EXPECTED = pd.read_csv(Path(__file__).with_name("expected.csv"))
MODELS = {
    "distribution": ThermalModel(),
    "power": ThermalModel(
        top_oil_rise_k=52.0,
        hot_spot_rise_k=26.0,
        loss_ratio=6.0,
        winding_exponent=1.3,
        oil_minutes=210.0,
        winding_minutes=10.0,
        k11=0.5,
        k21=2.0,
        k22=2.0,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_day_equals_transformer_thermal_model(name):
    current = EXPECTED["current_pu"].to_numpy()[None, :]
    ambient = EXPECTED["ambient_c"].to_numpy()
    oil, hot = hot_spot_series(current, ambient, 0.25, thermal=MODELS[name])
    assert np.abs(oil[0] - EXPECTED[f"{name}_top_oil_c"]).max() < 1e-6
    assert np.abs(hot[0] - EXPECTED[f"{name}_hot_spot_c"]).max() < 1e-6
    for paper in ("normal", "upgraded"):
        model = replace(MODELS[name], upgraded_paper=paper == "upgraded")
        known = EXPECTED[f"{name}_rate_{paper}"].to_numpy()
        assert model.ageing_rate(hot[0]) == pytest.approx(known, rel=1e-6)


def test_rated_load_at_20_degrees_is_the_reference_hot_spot():
    model = ThermalModel()
    assert model.hot_spot_c(1.0, 20.0) == pytest.approx(98.0, abs=1e-12)
    assert model.ageing_rate(98.0) == pytest.approx(1.0, abs=1e-12)
    assert ThermalModel(upgraded_paper=True).ageing_rate(110.0) == pytest.approx(1.0)


def test_published_examples():
    assert ThermalModel().ageing_rate(100.0) == pytest.approx(1.259921, abs=5e-7)
    # IEC 60076-7, table 2: 80, 86, 92, 98, 104, 110, 116, 122, 128, 134, 140 degC
    known = [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]
    assert ThermalModel().ageing_rate(np.arange(80, 141, 6)) == pytest.approx(known)
