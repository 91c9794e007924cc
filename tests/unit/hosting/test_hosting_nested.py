"""A feeder rated as a trunk and leaves, against the same feeder rated whole."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.ac_replay import replay_loads
from gridsite.hosting.capacity import hosting_capacity, own_connections
from gridsite.hosting.envelope_dataset import read_envelope
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.joint import cut_rows, grid_rows
from gridsite.hosting.limits import Limits
from gridsite.hosting.nested import _share_at, _SplitRating

STEADY = ("voltage", "line current", "transformer current", "service")
WHOLE, PARTS = 10**6, 5  # blocks of more nodes are split


def steady(*criteria, **values):
    """Return limits of the named criteria, of all steady ones by default."""
    return replace(Limits(**values), criteria=criteria or STEADY)


def tolerance(kw):
    """Return the width in which a firm capacity is found. [kW]"""
    return np.maximum(0.1, 1e-3 * np.asarray(kw, dtype=float))


class Rated:
    """One feeder, rated whole and in parts."""

    def __init__(self, net, profiles, limits, *, service_a=None, folder=None):
        feeder = read_feeder(net)
        loads = profiles(feeder)
        connections = own_connections(feeder)
        if service_a is not None:
            connections = connections.assign(service_a=service_a, service_v=400.0)
        self.tables, self.grids = {}, {}
        for size in (WHOLE, PARTS):
            grid = GridCase(feeder, loads, limits, whole_nodes=size)
            table = hosting_capacity(
                feeder,
                loads,
                grid=grid,
                connections=connections,
                envelope=None if folder is None else folder / f"{size}.nc",
            )
            self.grids[size] = grid
            self.tables[size] = table.set_index("building_id").sort_index()
        self.whole, self.parts = self.tables[WHOLE], self.tables[PARTS]
        (self.feeder_id,) = feeder.nodes["feeder_id"].loc[lambda i: i != ""].unique()
        assert self.grids[WHOLE].split(self.feeder_id) is None
        assert self.grids[PARTS].split(self.feeder_id) is not None

    def least_slack(self, kw):
        """Return the least slack of each connection over all steps, in AC. [-]"""
        case = self.grids[WHOLE].block(self.feeder_id)
        ports = case.feeder.ports.index[case.block.ports]
        port = ports.get_indexer(self.whole.loc[kw.index, "port_id"])
        n = len(case.time)
        slack, _ = case.evaluate(
            np.repeat(port, n),
            np.tile(np.arange(n), len(port)),
            np.repeat(kw.to_numpy(), n),
        )
        return pd.Series(slack.reshape(-1, n).min(axis=1), kw.index)


def change(table, name, column, value):
    """Return a change of one cell of the town."""

    def apply(net):
        net[table].loc[net[table]["name"] == name, column] = value

    return apply


def nothing(_):
    """Leave the town as it is."""


def heavy_houses_in_b(net):
    """Break the voltage at the end of one street of grid B."""
    street = net.load["name"].str.startswith("B1")
    net.load.loc[street, ["p_mw", "q_mvar"]] *= 10.0


BIG = {"lv_a": 5000.0, "station_mva": 4.0}
WEAK_TRUNK = {"hv_mva": 3.2, "lv_a": 2000.0, "station_mva": 4.0}
HV_FULL = change("trafo", "HV", "df", 0.1387)

#: What limits loads in the leaves, town, change of it, limits.
CASES = {
    "voltage change": (nothing, {}, Limits()),
    "low-voltage lines": (nothing, {"lv_a": 80.0}, steady()),
    "low voltage": (nothing, {}, steady("voltage", voltage_min_pu=0.95)),
    "stations": (nothing, {"station_mva": 0.1, "lv_a": 5000.0}, steady()),
    "voltage of other leaves": (
        nothing,
        {"vm_pu": 0.97, **BIG},
        steady("voltage", voltage_min_pu=0.93),
    ),
    "voltage of the ring": (
        nothing,
        {},
        steady("voltage", voltage_bands=((1.0, 0.8, 1.2), (40.0, 0.97, 1.1))),
    ),
    "source": (nothing, {}, steady(*STEADY, "source", source_kva=3500.0)),
    "line of the ring": (
        change("line", "ring 0", "max_i_ka", 0.0437),
        {},
        steady(),
    ),
    "HV/MV transformer": (HV_FULL, {}, steady()),
    "broken voltage in one leaf": (heavy_houses_in_b, {"lv_a": 1000.0}, steady()),
    "broken line in one leaf": (
        change("line", "to B11", "max_i_ka", 0.03),
        {},
        steady(),
    ),
    "broken station": (change("trafo", "station D1", "sn_mva", 0.03), {}, steady()),
    "broken line of the ring": (
        change("line", "ring 1", "max_i_ka", 0.005),
        {},
        steady(),
    ),
    "broken HV/MV transformer": (nothing, {"hv_mva": 1.5}, steady()),
    "broken voltage of the ring": (
        change("ext_grid", "grid", "vm_pu", 0.9),
        {},
        steady("voltage"),
    ),
    "unrated line of the ring": (
        change("line", "ring 1", "max_i_ka", np.nan),
        {},
        steady(),
    ),
    "unrated line in one leaf": (
        change("line", "to B11", "max_i_ka", np.nan),
        {},
        steady(),
    ),
    "voltage change behind a weak trunk": (nothing, WEAK_TRUNK, Limits()),
}


#: A building, and what the whole says of it: the case is what its name says.
SHOWS = {
    "voltage change": ("A12", "ok", "voltage change", "at A12"),
    "low-voltage lines": ("A12", "ok", "line current", "to A11"),
    "low voltage": ("A12", "ok", "voltage", "at A12"),
    "stations": ("A11", "ok", "transformer current", "station A1"),
    "voltage of other leaves": ("works", "ok", "voltage", "at C11"),
    "voltage of the ring": ("works", "ok", "voltage", "m2"),
    "source": ("works", "ok", "source", "source at hv"),
    "line of the ring": ("A11", "ok", "line current", "ring 0"),
    "HV/MV transformer": ("D22", "ok", "transformer current", "HV"),
    "broken voltage in one leaf": ("B11", "none_base_violation", "voltage", "at B13"),
    "broken line in one leaf": ("B12", "none_base_violation", "line current", "to B11"),
    "broken station": (
        "D11",
        "none_base_violation",
        "transformer current",
        "station D1",
    ),
    "broken line of the ring": (
        "A11",
        "none_base_violation",
        "line current",
        "ring 1",
    ),
    "broken HV/MV transformer": (
        "C21",
        "none_base_violation",
        "transformer current",
        "HV",
    ),
    "broken voltage of the ring": ("works", "none_base_violation", "voltage", "at C21"),
    "unrated line of the ring": ("A11", "unrated", "line current", "ring 1"),
    "unrated line in one leaf": ("B12", "unrated", "line current", "to B11"),
    "voltage change behind a weak trunk": ("D12", "ok", "voltage change", "at D12"),
}


@pytest.fixture(scope="module", params=CASES)
def rated(request):
    make = request.getfixturevalue("town_factory")
    alter, values, limits = CASES[request.param]
    net = make.net(**values)
    alter(net)
    return Rated(net, make.profiles, limits)


def test_each_case_shows_what_its_name_says(rated, request):
    name = request.node.callspec.params["rated"]
    building, *shown = SHOWS[name]
    columns = ["firm_status", "limit_criterion", "limit_element"]
    assert rated.whole.loc[building, columns].tolist() == shown


def test_statuses_and_limits_are_those_of_the_whole(rated):
    for column in ("firm_status", "flexible_status"):
        pd.testing.assert_series_equal(rated.parts[column], rated.whole[column])
    # where two limits of the base case are broken, either may be named
    found = rated.whole["firm_status"] != "none_base_violation"
    # nor where two limits bind within the tolerance: either is the second of the other
    swapped = rated.parts["limit_criterion"] == rated.whole["second_criterion"]
    swapped &= rated.parts["second_criterion"] == rated.whole["limit_criterion"]
    gap = (rated.parts["firm_kw"] - rated.whole["firm_kw"]).abs()
    found &= ~(swapped & (gap <= tolerance(rated.whole["firm_kw"])))
    for column in ("limit_criterion", "limit_element"):
        own, known = rated.parts.loc[found, column], rated.whole.loc[found, column]
        pd.testing.assert_series_equal(own, known)


def test_firm_passes_at_every_step_of_the_whole(rated):
    ok = rated.parts.query("firm_status == 'ok'")
    assert (rated.least_slack(ok["firm_kw"]) >= -1e-9).all()


def test_firm_is_as_large_as_that_of_the_whole(rated):
    both = (rated.parts["firm_status"] == "ok") & (rated.whole["firm_status"] == "ok")
    own, known = rated.parts.loc[both, "firm_kw"], rated.whole.loc[both, "firm_kw"]
    assert ((known - own) <= tolerance(known)).all()
    assert ((own - known) <= tolerance(known)).all()


def same_rows(own, known):
    """Hold rows and coefficients against each other."""
    for rows, terms in (own, known):
        assert len(rows)
        assert len(terms)
    order = [own[0].sort_values("row_id"), known[0].sort_values("row_id")]
    pd.testing.assert_frame_equal(
        *(table.reset_index(drop=True) for table in order), rtol=1e-5, atol=1e-6
    )
    terms = [
        table.set_index(["row_id", "port_id"])["coefficient"].sort_index()
        for _, table in (own, known)
    ]
    pd.testing.assert_series_equal(*terms, rtol=1e-4, atol=1e-7)


def test_siting_rows_are_those_of_the_whole(rated):
    ports = pd.Index(rated.whole["port_id"])
    own, known = (grid_rows(rated.grids[size], ports) for size in (PARTS, WHOLE))
    same_rows(own, known)


def test_cuts_of_a_plan_are_those_of_the_whole(rated):
    ports = pd.Index(rated.whole["port_id"])
    added = pd.Series(rated.whole["firm_kw"].fillna(0.0).to_numpy(), ports) + 5.0
    made = []
    for size in (PARTS, WHOLE):
        grid = rated.grids[size]
        found = replay_loads(grid.feeder, grid.profiles, added, grid=grid)
        made.append(cut_rows(grid, ports, added, found.violations, 1))
    if not len(made[1][0]):
        pytest.skip("nothing to cut: this plan breaks no limit that has rows")
    same_rows(*made)


def test_flexible_is_near_that_of_the_whole(rated):
    both = rated.whole["flexible_status"] == "ok"
    for column in ("flexible_energy98_kw", "flexible_hours98_kw"):
        own, known = rated.parts.loc[both, column], rated.whole.loc[both, column]
        assert ((own - known) <= 2e-3 * known + 0.1).all()
        # scaled by what a sample shows; a load at the trunk by bounds of all leaves
        share = np.where(own.index == "works", 0.15, 0.02)
        assert ((known - own) <= share * known + 0.1).all()


def test_service_caps_every_part(town, town_profiles):
    rated = Rated(town(), town_profiles, Limits(), service_a=63.0)
    pd.testing.assert_series_equal(rated.parts["firm_kw"], rated.whole["firm_kw"])
    assert (rated.parts["limit_criterion"] == "service").all()
    assert (rated.parts.query("firm_status == 'ok'")["firm_kw"] < 45.0).all()
    assert rated.parts.loc["works", "firm_status"] == "none_base_violation"


@pytest.mark.parametrize(
    "name",
    [
        "voltage change",
        "stations",
        "broken voltage in one leaf",
        "broken line in one leaf",
        "broken HV/MV transformer",
    ],
)
def test_envelope_is_that_of_the_whole(town, town_profiles, name, tmp_path):
    pytest.importorskip("h5netcdf")
    alter, changes, limits = CASES[name]
    net = town(**changes)
    alter(net)
    rated = Rated(net, town_profiles, limits, folder=tmp_path)
    values = []
    for size in (WHOLE, PARTS):
        with read_envelope(tmp_path / f"{size}.nc") as data:
            table = data["headroom_kw"].to_pandas().set_axis(data["building_id"].values)
        values.append(table.loc[rated.whole.query("flexible_status == 'ok'").index])
    known, own = values
    # 0.05 kW or 0.1 % of each is what an estimated step may be off; of closed steps'
    # neighbours a sample is calibrated, and a load at the trunk goes by bounds
    high, low = pd.Series(1e-3, known.index), pd.Series(1e-3, known.index)
    if name.startswith("broken"):
        low[:] = 0.04
        high["works"], low["works"] = 5e-3, 0.46
        high, low = high[known.index], low[known.index]
    assert (own.sub(known).le(known.mul(high, axis=0) + 0.1)).all().all()
    assert (known.sub(own).le(known.mul(low, axis=0) + 0.1)).all().all()
    assert ((own == 0.0) == (known == 0.0)).all().all()
    assert (known == 0.0).any().any() == name.startswith("broken")


class Straight:
    """A case whose slack at each step falls in a straight line to 0 at a load."""

    def __init__(self, root_kw):
        self.root_kw = np.array(root_kw)
        self.block = SimpleNamespace(ports=np.array([0]), base_kva=1.0)
        self.feeder = SimpleNamespace(ports=pd.DataFrame(index=["house"]))
        elements = [f"line {i}" for i in range(len(root_kw))]
        self.rows = pd.DataFrame({"criterion": "line current", "element": elements})

    def evaluate(self, _, step, kw, **__):
        return (self.root_kw[step] - kw) / 10.0, step

    def base_slack(self, step, **_):
        return self.root_kw[step] / 10.0


def lowered(firm_kw, root_kw):
    """Return a connection's row, lowered at as many steps as there are roots."""
    time = pd.date_range("2025-01-01", periods=len(root_kw), freq="h", tz="UTC")
    rows = {
        "firm_kw": np.array([firm_kw]),
        "steps_solved": np.zeros(1, dtype=np.int64),
        "bus": np.array(["b"], dtype=object),
    }
    for name in ("limit_criterion", "limit_element", "limit_time"):
        rows[name] = np.full(1, None, dtype=object)
    rating = SimpleNamespace(
        out=rows,
        grid=SimpleNamespace(profiles=SimpleNamespace(time=time)),
        settings=SimpleNamespace(tolerance_kw=0.1),
        port_id=np.array(["house"]),
        index=pd.RangeIndex(1),
    )
    step = np.arange(len(root_kw))
    case = Straight(root_kw)
    _SplitRating._lower(
        rating, np.zeros_like(step), step, lambda s: [(step, step, s, case)]
    )
    return rows, time


@pytest.mark.parametrize("roots", [[5.0, 8.0], [8.0, 5.0], [6.0, 5.0, 8.0]])
def test_the_step_that_leaves_least_names_the_limit(roots):
    rows, time = lowered(20.0, roots)
    least = int(np.argmin(roots))
    assert 5.0 - 0.1 <= rows["firm_kw"][0] <= 5.0
    assert rows["limit_element"][0] == f"line {least}"
    assert rows["limit_time"][0] == time[least]


def test_what_is_left_outside_is_calibrated_where_it_binds():
    # of 24 steps, two leave less than the part itself; one is shut
    outside_kw = np.linspace(300.0, 700.0, 24)[None, :]
    outside_kw[0, [6, 18, 20]] = 13.1, 1.48, 1.0
    shut = np.zeros((1, 24), bool)
    shut[0, 20] = True
    parts = SimpleNamespace(beyond=[SimpleNamespace(steps=shut)])
    one, binds = np.array([True]), outside_kw < 60.0
    look = _SplitRating._looked_at
    row, step = look(parts, 0, np.array([0]), outside_kw, one, binds)
    assert set(step.tolist()) == {20, 18, 6}  # the least, and those that bind
    assert (row == 0).all()


def test_between_two_known_steps_a_share_rises_above_1_no_further_than_both():
    known, share = np.array([5.0, 50.0, 80.0, 90.0]), np.array([1.1, 0.9, 1.3, 1.2])
    kw = np.array([1.0, 5.0, 7.0, 50.0, 56.0, 79.0, 80.0, 85.0, 99.0])
    found = _share_at(kw, known, share)
    assert found == pytest.approx([1.1, 1.1, 1.0, 0.9, 0.98, 1.0, 1.3, 1.2, 1.2])
    one = _share_at(np.array([1.0, 5.0, 9.0]), np.array([5.0]), np.array([1.1]))
    assert one.tolist() == [1.1, 1.1, 1.1]


def test_no_step_back_leads_below_nothing():
    rows, _ = lowered(0.004, [0.002])
    assert rows["firm_kw"][0] == 0.0


def test_progress_rises_and_names_what_is_done(town_factory):
    feeder = read_feeder(town_factory.net())
    loads, told = town_factory.profiles(feeder), []
    grid = GridCase(feeder, loads, Limits(), whole_nodes=PARTS)
    hosting_capacity(feeder, loads, grid=grid, progress=lambda *tell: told.append(tell))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    texts = [text for _, text in told]
    assert any(text.startswith("hosting capacity behind") for text in texts)
    assert "confirming on the whole feeder" in texts
