"""A study so small that a run takes a second: two streets of four houses each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pandapower as pp
import pandas as pd
import pytest
import shapely

from gridsite import cli

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeStudy = Callable[..., Path]

#: Real feeders and layers that stand beside a checkout on some machines.
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

LON, LAT = 7.88, 48.45
METRE_LON, METRE_LAT = 1.0 / 73_900.0, 1.0 / 111_200.0  # degrees per metre
HOUSES = [f"{street}{number}" for street in "AB" for number in (1, 2, 3, 4)]
STEPS = 48
WEAK_KM = 0.2  # each line of street B, where voltage binds; beyond 0.4 it is broken

#: All of it is generated for tests; no figure describes a real place.
STUDY = """
[study]
name = "two streets"
seed = 3
generated = ["network", "buildings", "users", "loads"]

[feeder]
source = "net.json"

[profiles]
file = "loads.csv"
power_factor = 0.95

[buildings]
file = "roofs.parquet"
generated = true
id_column = "building_id"

[service]
amps = 63.0

[users]
file = "users.csv"
generated = true
h3_resolution = 11

[latency]
user_access_ms = 5.0
host_access_ms = { fibre = 5.0 }

[limits]
preset = "EN50160"

[[units]]
unit = "small"
rated_kw = 5.0
it_kw = 4.5
pue = 1.05
power_factor = 0.98
footprint_m2 = 3.0
it_capital = 60000.0
infrastructure_capital = 16000.0
installation_capital = 2000.0

[[units]]
unit = "large"
rated_kw = 12.5
it_kw = 11.3
pue = 1.05
power_factor = 0.98
footprint_m2 = 3.0
it_capital = 150000.0
infrastructure_capital = 35000.0
installation_capital = 3000.0

[[workloads]]
workload = "real-time"
rtt_limit_ms = 20.0
rtt_target_ms = 15.0
min_share_within_target = 0.9
it_kw_per_user = 4.0

[[workloads]]
workload = "batch"
rtt_limit_ms = 10000.0
rtt_target_ms = 10000.0
it_kw_per_user = 1.0
site_kinds = ["central"]

[[central]]
site_id = "north"
lat = 65.58
lon = 22.15
capital_per_mw_it = 10000000.0
it_capital_per_kw = 13000.0
fixed_capital = 50000.0
block_kw = 25.0
max_it_kw = 500.0
pue = 1.1
energy_price_per_kwh = 0.06

[economics]
currency = "EUR"
price_year = 2025
horizon_years = 10.0
discount_rate = 0.07
building_energy_price_per_kwh = 0.38
host_payment_per_unit_year = { small = 600.0, large = 1500.0 }
network_per_site_year = 600.0
utilisation = 0.7
idle_share = 0.3
carbon_g_per_kwh = 381.0

[solve]
gap = 0.001
time_limit_s = 30.0
"""


def place(number: int, street: str) -> tuple[float, float]:
    """Return longitude and latitude of a house, or (number 0) of its station."""
    north = 0.0 if street == "A" else 200.0
    return LON + 40.0 * number * METRE_LON, LAT + north * METRE_LAT


def make_net(*, weak_km: float = WEAK_KM):
    """Return two streets behind a transformer each; ``weak_km``: lines of street B."""
    net = pp.create_empty_network(name="two streets")
    mv = pp.create_bus(net, vn_kv=20.0, name="mv", geodata=place(0, "A"))
    pp.create_ext_grid(net, mv, vm_pu=1.0)
    for street, km in (("A", 0.06), ("B", weak_km)):
        last = pp.create_bus(
            net, vn_kv=0.4, name=f"bar {street}", geodata=place(0, street)
        )
        pp.create_transformer_from_parameters(
            net,
            mv,
            last,
            sn_mva=0.1,
            vn_hv_kv=20.0,
            vn_lv_kv=0.4,
            vk_percent=4.0,
            vkr_percent=1.4,
            pfe_kw=0.3,
            i0_percent=0.5,
            vector_group="Dyn",
            name=f"station {street}",
        )
        for number in (1, 2, 3, 4):
            house = f"{street}{number}"
            bus = pp.create_bus(
                net, vn_kv=0.4, name=f"bus {house}", geodata=place(number, street)
            )
            pp.create_line(
                net, last, bus, km, std_type="NAYY 4x50 SE", name=f"line {house}"
            )
            pp.create_load(net, bus, p_mw=3e-3, q_mvar=1e-3, name=house)
            last = bus
    return net


def make_loads() -> pd.DataFrame:
    """Return two generated days of the houses' load, with an evening peak. [kW]"""
    time = pd.date_range("2025-01-13T00:00+01:00", periods=STEPS, freq="h")
    evening = np.exp(-(((np.arange(STEPS) % 24) - 19.0) ** 2) / 8.0)
    table = {
        house: (0.4 + (3.0 + 0.4 * i) * np.roll(evening, i % 3)).round(4)
        for i, house in enumerate(HOUSES)
    }
    text = time.strftime("%Y-%m-%dT%H:%M%z").str.replace("+0100", "+01:00")
    return pd.DataFrame({"time": text, **table})


def make_roofs() -> gpd.GeoDataFrame:
    """Return a roof of 10 m by 10 m around each house's bus."""
    centres = [place(int(house[1]), house[0]) for house in HOUSES]
    half = np.array([5.0 * METRE_LON, 5.0 * METRE_LAT])
    shapes = [
        shapely.box(*(np.array(c) - half), *(np.array(c) + half)) for c in centres
    ]
    names = [f"house {house}" for house in HOUSES]
    return gpd.GeoDataFrame({"building_id": names}, geometry=shapes, crs=4326)


def make_users() -> pd.DataFrame:
    """Return ten users near each street."""
    rows = [(*place(2, street), 10) for street in "AB"]
    return pd.DataFrame(rows, columns=["lon", "lat", "users"])


@pytest.fixture(scope="session", name="write_study")
def _write_study() -> MakeStudy:
    """
    Return a factory of study folders.

    ``write_study(folder, ("old", "new"), ...)`` writes every file of the tiny study
    into ``folder``, with pieces of its TOML replaced, and returns the TOML's path.
    ``weak_km`` lengthens the lines of street B; with 0.5 its base case is broken.
    """
    return write_study


@pytest.fixture
def make_study(write_study: MakeStudy) -> MakeStudy:
    """Return the same factory."""
    return write_study


def write_study(
    folder: Path, *edits: tuple[str, str], weak_km: float = WEAK_KM
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pp.to_json(make_net(weak_km=weak_km), str(folder / "net.json"))
    make_loads().to_csv(folder / "loads.csv", index=False)
    make_roofs().to_parquet(folder / "roofs.parquet")
    make_users().to_csv(folder / "users.csv", index=False)
    text = STUDY
    for old, new in edits:
        if text.count(old) != 1:
            msg = f"the study holds {old!r} {text.count(old)} times"
            raise ValueError(msg)
        text = text.replace(old, new)
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def call(monkeypatch, capsys):
    """Return a function that runs the command here: exit code, output, errors."""
    # no progress among the errors, however slow the machine
    monkeypatch.setattr("gridsite.cli_progress.SILENT_S", float("inf"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gridsite", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.fixture
def shared():
    """Return a function that gives the path of a shared data file, or skips."""

    def path(name):
        file = SHARED / name
        if not file.exists():
            pytest.skip(f"shared data file {name} is not present")
        return file

    return path
