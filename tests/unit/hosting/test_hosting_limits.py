"""Which limits are accepted and which are refused."""

from __future__ import annotations

import math

import pytest

from gridsite.errors import ConfigError
from gridsite.hosting.limits import CRITERIA, Limits


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("EN50160", 0.90, 1.10),
        ("ANSI-C84.1-A", 0.95, 1.05),
        ("ANSI-C84.1-B", 0.917, 1.058),
    ],
)
def test_presets_carry_the_bands_of_the_norms(name, low, high):
    limits = Limits.preset(name)
    assert (limits.voltage_min_pu, limits.voltage_max_pu) == (low, high)
    assert limits.name == name
    assert limits.criteria == CRITERIA


def test_unknown_preset_names_the_known_ones():
    with pytest.raises(ConfigError, match="EN50160"):
        Limits.preset("IEC")


@pytest.mark.parametrize(
    "values",
    [
        {"criteria": ("voltage", "magic")},
        {"voltage_min_pu": 90.0},
        {"voltage_min_pu": 1.2},
        {"voltage_max_pu": 110.0},
        {"voltage_min_pu": math.nan},
        {"voltage_change_pu": 0.0},
        {"voltage_change_pu": math.nan},
        {"line_loading_max": 100.0},
        {"line_loading_max": 0.0},
        {"line_loading_max": math.nan},
        {"transformer_loading_max": 100.0},
        {"transformer_loading_max": -1.0},
        {"transformer_loading_max": math.nan},
        {"search_cap_kw": 0.0},
        {"search_cap_kw": math.nan},
        {"source_kva": 0.0},
        {"source_kva": -100.0},
        {"source_kva": math.nan},
        {"acts_on": math.nan},
        {"acts_on": -0.1},
        {"materiality_voltage_pu": math.nan},
        {"materiality_loading": math.nan},
        {"materiality_loading": -1.0},
    ],
)
def test_limits_out_of_range_are_refused(values):
    with pytest.raises(ConfigError) as error:
        Limits(**values)
    assert "\n" not in str(error.value)


def test_criteria_are_on_unless_left_out():
    limits = Limits(criteria=("voltage",))
    assert limits.on("voltage")
    assert not limits.on("line current")
