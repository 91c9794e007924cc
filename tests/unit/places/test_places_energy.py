"""Estimated electricity of buildings, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gridsite.errors import ConfigError
from gridsite.places.energy import estimated_kwh, port_kwh

ROOFS = pd.DataFrame(
    {
        "building_id": list("abcdef"),
        "roof_area_m2": [100.0, 80.0, 50.0, 40.0, 10.0, 70.0],
        "use": ["house", "house", "shop", "barn", "unknown", "house"],
        "floors": [3.0, np.nan, np.nan, 1.0, 1.0, 0.0],
        "height_m": [5.0, 8.9, 1.0, np.nan, np.nan, np.nan],
    }
)
PER_M2 = {"house": 30.0, "shop": 100.0}


def test_floors_then_height_then_what_is_given():
    table = estimated_kwh(ROOFS, kwh_per_m2={**PER_M2, "other": 10.0}, storeys=2.0)
    assert table["storeys"].tolist() == [3.0, 3.0, 1.0, 1.0, 1.0, 2.0]
    assert table["annual_kwh"].tolist() == [9000, 7200, 5000, 400, 100, 4200]
    assert table["basis"].tolist() == [
        "floors",
        "height",
        "height",
        "floors",
        "floors",
        "given",
    ]


def test_what_is_not_known_is_no_number():
    table = estimated_kwh(ROOFS, kwh_per_m2=PER_M2)
    assert table["annual_kwh"].isna().tolist() == [False] * 3 + [True] * 3
    assert table["basis"].tolist()[3:] == [
        "use not known",
        "use not known",
        "storeys not known",
    ]


def test_a_port_with_a_building_of_unknown_energy_has_none():
    pairs = pd.DataFrame({"building_id": list("aabd"), "port_id": list("pqqr")})
    found = port_kwh(pairs, estimated_kwh(ROOFS, kwh_per_m2=PER_M2))
    assert found.to_dict() == {"p": 4500.0, "q": 4500.0 + 7200.0}
    pairs.loc[4] = ["d", "p"]
    assert "p" not in port_kwh(pairs, estimated_kwh(ROOFS, kwh_per_m2=PER_M2))


def test_energy_of_all_buildings_is_kept():
    rng = np.random.default_rng(1)
    names = [f"b{i}" for i in range(40)]
    kwh = pd.DataFrame({"building_id": names, "annual_kwh": rng.uniform(1, 9, 40)})
    pairs = pd.DataFrame(
        {"building_id": rng.choice(names, 90), "port_id": rng.choice(list("pqrst"), 90)}
    ).drop_duplicates()
    met = kwh["annual_kwh"][kwh["building_id"].isin(pairs["building_id"])].sum()
    assert port_kwh(pairs, kwh).sum() == pytest.approx(met, rel=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"kwh_per_m2": {"house": 0.0}},
        {"kwh_per_m2": PER_M2, "storeys": float("nan")},
        {"kwh_per_m2": PER_M2, "storey_height_m": -1.0},
    ],
)
def test_doubtful_numbers_are_refused(options):
    with pytest.raises(ConfigError, match="finite and above 0"):
        estimated_kwh(ROOFS, **options)
