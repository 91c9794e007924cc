"""Which limits are accepted and which are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gridsite.errors import ConfigError
from gridsite.feeder.profiles import constant_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.capacity import hosting_capacity
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
    assert limits.voltage_min_of([0.4]).tolist() == [low]
    assert limits.voltage_max_of([0.4]).tolist() == [high]
    assert limits.name == name
    assert limits.criteria == CRITERIA
    assert limits.unbalance_max == (0.02 if name == "EN50160" else 0.03)


@pytest.mark.parametrize(
    ("name", "kv", "low_v", "high_v"),
    [  # service voltages of ANSI C84.1, table 1, which rounds to 10 V
        ("ANSI-C84.1-A", 0.12, 114, 126),
        ("ANSI-C84.1-A", 0.48, 456, 504),
        ("ANSI-C84.1-B", 0.12, 110, 127),
        ("ANSI-C84.1-B", 0.48, 440, 508),
        ("ANSI-C84.1-A", 4.16, 4050, 4370),
        ("ANSI-C84.1-A", 12.47, 12160, 13090),
        ("ANSI-C84.1-A", 34.5, 33640, 36230),
        ("ANSI-C84.1-B", 4.16, 3950, 4400),
        ("ANSI-C84.1-B", 12.47, 11850, 13200),
        ("ANSI-C84.1-B", 34.5, 32780, 36510),
    ],
)
def test_ansi_has_a_band_up_to_600_v_and_one_above(name, kv, low_v, high_v):
    limits = Limits.preset(name)
    rounding = 10.0 if kv > 1.0 else 0.5
    found = [limits.voltage_min_of([kv])[0], limits.voltage_max_of([kv])[0]]
    assert np.multiply(found, kv * 1e3) == pytest.approx([low_v, high_v], abs=rounding)


def test_own_voltage_without_bands_holds_at_all_levels():
    limits = Limits.preset("ANSI-C84.1-A").changed(voltage_min_pu=0.93)
    assert limits.voltage_min_of([0.48, 12.47]).tolist() == [0.93, 0.93]
    assert limits.voltage_max_of([0.48, 12.47]).tolist() == [1.05, 1.05]
    limits = Limits.preset("ANSI-C84.1-B").changed(
        voltage_max_pu=1.04, voltage_bands=((1.0, 0.9, 1.1),)
    )
    assert limits.voltage_max_of([0.48, 12.47]).tolist() == [1.1, 1.04]
    assert limits.name == "ANSI-C84.1-B"


def test_percentile_rule_is_that_of_the_norm():
    rule = ("voltage_percentile", "voltage_absolute_min_pu")
    found = [
        tuple(getattr(Limits.preset(n), r) for r in rule)
        for n in ("EN50160", "ANSI-C84.1-A")
    ]
    assert found == [(0.95, 0.85), (None, None)]
    assert Limits() == Limits.preset("EN50160")


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
        {"voltage_bands": ((1.0, 90.0, 110.0),)},
        {"voltage_bands": ((1.0, 1.1, 0.9),)},
        {"voltage_bands": ((1.0, math.nan, 1.1),)},
        {"voltage_bands": ((20.0, 0.9, 1.1), (1.0, 0.9, 1.1))},
        {"voltage_bands": ((0.0, 0.9, 1.1),)},
        {"voltage_bands": ((math.nan, 0.9, 1.1),)},
        {"n_minus_1_loading_max": 50.0},
        {"n_minus_1_loading_max": 0.0},
        {"n_minus_1_loading_max": math.nan},
        {"n_minus_1_above_kv": -1.0},
        {"n_minus_1_above_kv": math.nan},
        {"unbalance_max": 2.0},
        {"unbalance_max": 0.0},
        {"voltage_percentile": 95.0},
        {"voltage_absolute_min_pu": math.nan},
        {"service_rule": "uk"},
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


BANDS = ((1.0, 0.92, 1.08), (36.0, 0.96, 1.04))


@pytest.mark.parametrize(
    ("voltage_kv", "low", "high"),
    [
        (0.23, 0.92, 1.08),
        (0.4, 0.92, 1.08),
        (1.0, 0.92, 1.08),
        (1.001, 0.96, 1.04),
        (20.0, 0.96, 1.04),
        (36.0, 0.96, 1.04),
        (110.0, 0.90, 1.10),
    ],
)
def test_each_level_has_its_band(voltage_kv, low, high):
    limits = Limits(voltage_bands=BANDS)
    assert limits.voltage_min_of([voltage_kv, 0.4]).tolist() == [low, 0.92]
    assert limits.voltage_max_of([voltage_kv, 0.4]).tolist() == [high, 1.08]


def test_without_bands_every_level_has_the_one_band():
    limits = Limits(voltage_min_pu=0.93)
    assert limits.voltage_min_of([0.4, 20.0, 110.0]).tolist() == [0.93] * 3
    assert limits.voltage_max_of(np.array([])).shape == (0,)


KINDS = ["line current", "transformer current", "line current", "source", "line"]


def test_loading_is_that_of_the_kind():
    limits = Limits(line_loading_max=0.8, transformer_loading_max=1.2)
    found = limits.loading_max_of(KINDS, [20.0] * 5)
    assert found.tolist() == [0.8, 1.2, 0.8, 1.0, 0.8]


def test_n_minus_1_holds_above_its_voltage_and_never_raises_a_limit():
    limits = Limits(
        line_loading_max=0.4, transformer_loading_max=1.2, n_minus_1_loading_max=0.5
    )
    assert limits.loading_max_of(KINDS, [20.0] * 5).tolist() == [0.4, 0.5, 0.4, 1, 0.4]
    assert limits.loading_max_of(KINDS, [0.4] * 5).tolist() == [0.4, 1.2, 0.4, 1, 0.4]
    ring = Limits(n_minus_1_loading_max=0.6, n_minus_1_above_kv=20.0)
    assert ring.loading_max_of(["line"] * 2, [20.0, 20.1]).tolist() == [1.0, 0.6]


@pytest.mark.parametrize(
    ("voltage_kv", "norm"),
    [
        ([20.0, 0.4], "EN50160"),
        ([10.0, 0.4, 110.0], "EN50160"),
        ([11.0, 0.416], "EN50160"),
        ([12.47, 0.24], "ANSI-C84.1-A"),
        ([115.0, 12.47, 0.48, 4.16], "ANSI-C84.1-A"),
        ([7.0], "EN50160"),
        ([], "EN50160"),
    ],
)
def test_norm_is_inferred_with_a_notice(voltage_kv, norm):
    limits = Limits.for_network(voltage_kv)
    assert limits.name == norm
    assert norm in limits.notice
    assert "inferred" in limits.notice


def test_frequency_decides_before_the_voltages():
    assert Limits.for_network([0.4], frequency_hz=60.0).name == "ANSI-C84.1-A"
    assert Limits.for_network([0.48], frequency_hz=50.0).name == "EN50160"
    with pytest.raises(ConfigError, match="frequency"):
        Limits.for_network([0.4], frequency_hz=16.7)


@pytest.mark.parametrize(("country", "norm"), [("DE", "EN"), ("us", "ANSI")])
def test_a_country_that_is_given_needs_no_notice(country, norm):
    limits = Limits.for_network([0.24], country=country)
    assert limits.name.startswith(norm)
    assert limits.notice == ""


def test_unknown_country_is_refused():
    with pytest.raises(ConfigError, match="'XX'"):
        Limits.for_network([0.4], country="XX")


@pytest.mark.parametrize("band", [(1.02, 1.1), (1.0, 1.1), (0.9, 0.98), (0.9, 1.0)])
def test_a_band_that_does_not_hold_the_nominal_voltage_is_refused(band):
    with pytest.raises(ConfigError, match="around 1"):
        Limits(voltage_min_pu=band[0], voltage_max_pu=band[1])


def test_a_table_lists_what_no_value_takes_into_account():
    feeder = read_feeder("pandapower:create_kerber_landnetz_freileitung_1")
    at = feeder.load_ports
    loads = constant_profiles(at.index, at["p_kw"], at["q_kvar"])
    every = hosting_capacity(feeder, loads).attrs["not_checked"]
    assert {"protection", "harmonics", "flicker", "cold-load pickup"} <= set(every)
    limits = Limits(criteria=("voltage",))
    fewer = hosting_capacity(feeder, loads, limits=limits).attrs["not_checked"]
    assert "line current (switched off)" in fewer
    assert "line current (switched off)" not in every
