"""Joint capacity: closed forms, brute force in AC, laws, hostile input."""

from __future__ import annotations

import itertools

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from scipy.optimize import brentq
from typer.testing import CliRunner

from gridsite import joint_capacity
from gridsite.cli import app
from gridsite.errors import ConfigError, DataError
from gridsite.feeder.profiles import constant_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting import joint, load_sets
from gridsite.hosting.ac_replay import plan_voltages, replay_loads
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.joint_search import BOUND_MARGIN, JointSearch, Split
from gridsite.hosting.limits import Limits
from gridsite.hosting.load_sets import Stop
from gridsite.report import read_results

TAN = np.sqrt(1.0 / 0.98**2 - 1.0)
LIMITS = Limits(
    voltage_min_pu=0.94, criteria=("voltage", "line current", "transformer current")
)
KINDS = ("equal", "proportional", "max")
NAMED = [
    ("pandapower:create_kerber_landnetz_freileitung_1", 0.94),
    ("pandapower:create_kerber_dorfnetz", 0.90),
]


def file_loads(feeder):
    ports = feeder.load_ports
    return constant_profiles(ports.index, ports["p_kw"], ports["q_kvar"])


@pytest.fixture(params=NAMED, ids=["landnetz", "dorfnetz"])
def kerber(request):
    feeder = read_feeder(request.param[0])
    limits = Limits(voltage_min_pu=request.param[1], criteria=LIMITS.criteria)
    grid = GridCase(feeder, file_loads(feeder), limits)
    return grid, hosting_capacity(feeder, grid.profiles, grid=grid)


@pytest.fixture
def street(village_feeder, profiles):
    feeder = village_feeder()
    return GridCase(feeder, profiles(feeder, steps=8, seed=2), LIMITS)


def run(grid, **options):
    return joint_capacity(grid.feeder, grid.profiles, grid=grid, **options)


def split(result, kind):
    return result.splits.set_index("port_id")[f"{kind}_kw"]


def passes(grid, added_kw):
    summary = replay_loads(grid.feeder, grid.profiles, added_kw, grid=grid).summary
    return summary["new"] + summary["worsened"] == 0


class TestClosedForm:
    """Houses on one bus behind one line: all three kinds are what the line leaves."""

    R, X, RATED_A, VOLTS = 0.08, 0.05, 160.0, 400.0

    def feeder(self, houses):
        net = pp.create_empty_network(name="one line")
        a, b = (pp.create_bus(net, 0.4, name=n) for n in ("source", "end"))
        pp.create_ext_grid(net, a)
        pp.create_line_from_parameters(
            net, a, b, 1.0, self.R, self.X, 0.0, self.RATED_A / 1e3, name="L"
        )
        for k in range(houses):
            pp.create_load(net, b, 0.004 + 0.002 * k, 0.001, name=f"h{k}")
        return read_feeder(net)

    def truth(self, p0, q0):
        """Return the load that brings the line to its rated current."""
        amps = self.RATED_A

        def mismatch(kw):
            p, q = (p0 + kw) * 1e3, (q0 + kw * TAN) * 1e3
            volts = np.hypot(p, q) / (np.sqrt(3) * amps)
            sent = volts**2 + 2 * (self.R * p + self.X * q)
            return sent + 3 * (self.R**2 + self.X**2) * amps**2 - self.VOLTS**2

        return brentq(mismatch, 1.0, 200.0)

    @pytest.mark.parametrize("houses", [1, 2, 4])
    def test_the_line_is_shared_out_whole(self, houses, only):
        feeder = self.feeder(houses)
        loads = file_loads(feeder)
        limits = only("line current")
        result = joint_capacity(feeder, loads, limits=limits, tolerance_kw=1e-3)
        p0, q0 = feeder.load_ports[["p_kw", "q_kvar"]].sum()
        truth = self.truth(p0, q0)
        row = result.table.iloc[0]
        for kind in KINDS:
            assert row[f"joint_{kind}_kw"] == pytest.approx(truth, rel=5e-4), kind
            assert row[f"joint_{kind}_kw"] <= truth + 1e-6
            assert row[f"{kind}_status"] == "ok"
            assert (row[f"{kind}_criterion"], row[f"{kind}_element"]) == (
                "line current",
                "L",
            )
        assert truth <= row["joint_max_bound_kw"] <= 1.05 * truth
        assert row["sum_to_max"] == pytest.approx(houses, rel=1e-3)
        assert row["joint_equal_each_kw"] == pytest.approx(truth / houses, rel=5e-4)

    def test_what_remains_after_a_given_set_is_the_rest(self, only):
        feeder = self.feeder(2)
        loads, limits = file_loads(feeder), only("line current")
        given = pd.Series({"h1": 25.0})
        result = joint_capacity(
            feeder, loads, limits=limits, existing_kw=given, tolerance_kw=1e-3
        )
        p0, q0 = feeder.load_ports[["p_kw", "q_kvar"]].sum()
        row = result.table.iloc[0]
        assert row["existing_kw"] == 25.0
        rest = self.truth(p0, q0) - 25.0
        for kind in ("equal", "max"):
            assert row[f"joint_{kind}_kw"] == pytest.approx(rest, rel=1e-3)

    def test_star_behind_one_transformer(self, only):
        """Short lines: the maximum is what the transformer leaves."""
        net = pp.create_empty_network(name="star")
        mv, lv = pp.create_bus(net, 20.0, name="mv"), pp.create_bus(net, 0.4, name="lv")
        pp.create_ext_grid(net, mv)
        pp.create_transformer_from_parameters(
            net, mv, lv, 0.1, 20.0, 0.4, 1e-6, 1e-4, 0.0, 0.0, name="T"
        )
        for k in range(4):
            bus = pp.create_bus(net, 0.4, name=f"b{k}")
            pp.create_line_from_parameters(
                net, lv, bus, 1e-3, 1e-3, 1e-3, 0.0, 1.0, name=f"l{k}"
            )
            pp.create_load(net, bus, 0.005, 0.005 * TAN, name=f"h{k}")
        feeder = read_feeder(net)
        limits = only("transformer current", "line current")
        result = joint_capacity(
            feeder, file_loads(feeder), limits=limits, tolerance_kw=1e-3
        )
        row = result.table.iloc[0]
        for kind in KINDS:
            assert row[f"joint_{kind}_kw"] == pytest.approx(98.0 - 20.0, rel=1e-3)
        assert row["sum_to_max"] == pytest.approx(4.0, rel=1e-3)


class TestBruteForce:
    @pytest.mark.parametrize(
        ("houses", "limits"),
        [
            (("house 1", "house 3", "house 5"), LIMITS),
            (("house 2", "house 3", "house 4"), Limits(voltage_min_pu=0.955)),
            (("house 3", "house 4"), Limits(voltage_min_pu=0.93)),
        ],
    )
    def test_no_split_of_a_grid_search_is_larger(
        self, village_feeder, profiles, houses, limits
    ):
        feeder = village_feeder()
        grid = GridCase(feeder, profiles(feeder, steps=4, seed=5), limits)
        table = hosting_capacity(feeder, grid.profiles, grid=grid)
        names = pd.Index(houses)
        result = run(grid, hosting=table, port_ids=names)
        firm = table.set_index("port_id")["firm_kw"].loc[names].to_numpy()
        case = grid.block("T")
        port = feeder.ports.index[case.block.ports].get_indexer(names)
        assert not case.broken.any()
        best = 0.0
        for shares in itertools.product(np.linspace(0.0, 1.0, 9), repeat=len(houses)):
            kw = firm * shares
            if kw.sum() <= best:
                continue
            spread = np.zeros(len(case.block.ports))
            spread[port] = kw
            if (case.row_slack(plan_voltages(case, spread)) >= 0.0).all():
                best = kw.sum()
        row = result.table.iloc[0]
        assert row["joint_max_kw"] >= best
        assert row["joint_max_bound_kw"] >= best
        assert row["joint_max_kw"] < 1.25 * best  # the search is near it
        assert row["joint_max_bound_kw"] <= 1.03 * row["joint_max_kw"]

    def test_pandapower_finds_every_split_clean_and_a_little_more_not(
        self, village, profiles, judge
    ):
        net = village()
        feeder = read_feeder(net)
        loads = profiles(feeder, steps=5, seed=7)
        grid = GridCase(feeder, loads, LIMITS)
        result = run(grid, tolerance_kw=0.05)
        arbiter = judge(net, loads, LIMITS)
        row = result.table.iloc[0]
        for kind in KINDS:
            kw = split(result, kind)
            assert arbiter.found(kw.to_dict()) == []
            more = kw * (1.0 + 0.1 / kw.sum())
            at = [loads.time.get_loc(row[f"{kind}_time"])]
            found = {f[1:3] for f in arbiter.found(more.to_dict(), at)}
            if kind != "max" or row["max_status"] == "ok":
                assert (row[f"{kind}_criterion"], row[f"{kind}_element"]) in found

    @pytest.mark.parametrize("seed", range(3))
    def test_relaxed_rows_hold_every_split_that_passes(self, kerber, seed):
        """The bound: no split that passes is beyond a row by half the margin."""
        grid, table = kerber
        rng = np.random.default_rng(seed)
        names = pd.Index(table["port_id"])
        none = np.zeros(len(grid.feeder.ports))
        firm = table["firm_kw"].to_numpy()
        search = JointSearch(grid, "trafo 1", names, firm, none, 0.01)
        bound, most = search.bound_kw, search.largest.kw.sum()
        wide = search.coefficients.pivot_table(
            index="row_id", columns="port_id", values="coefficient", fill_value=0.0
        ).reindex(index=search.rows["row_id"], columns=names, fill_value=0.0)
        for spread in (0.05, 0.3, 1.0, 5.0) * 3:
            kw = rng.dirichlet(np.full(len(names), spread)) * 1.5 * most
            kw = search.along(np.minimum(kw, firm)).kw
            use = wide.to_numpy() @ kw / search.rows["headroom"].to_numpy()
            assert use.max() <= 1.0 + 0.5 * BOUND_MARGIN
            assert kw.sum() <= bound


class TestLaws:
    def test_max_is_no_less_than_the_others_nor_any_single(self, kerber):
        grid, table = kerber
        result = run(grid, hosting=table)
        row = result.table.iloc[0]
        assert row["joint_max_kw"] >= table["firm_kw"].max()
        assert row["joint_max_kw"] >= row["joint_equal_kw"]
        assert row["joint_max_kw"] >= row["joint_proportional_kw"]
        assert row["joint_max_kw"] <= row["joint_max_bound_kw"]
        assert row["joint_max_bound_kw"] <= 1.03 * row["joint_max_kw"]
        assert row["sum_of_singles_kw"] == pytest.approx(table["firm_kw"].sum())
        for kind in KINDS:
            kw = split(result, kind)
            assert kw.sum() == pytest.approx(row[f"joint_{kind}_kw"])
            assert (kw <= table.set_index("port_id")["firm_kw"][kw.index] + 1e-9).all()
            assert passes(grid, kw)
        assert np.ptp(split(result, "equal")) == 0.0
        share = split(result, "proportional") / table.set_index("port_id")["firm_kw"]
        assert share.std() < 1e-9

    def test_a_larger_set_of_connections_has_no_smaller_maximum(self, street):
        table = hosting_capacity(street.feeder, street.profiles, grid=street)
        names = pd.Index(table["port_id"])
        totals = [
            run(street, hosting=table, port_ids=names[: k + 1]).total
            for k in range(len(names))
        ]
        most = [t["joint_max_kw"] for t in totals]
        assert (np.diff(most) >= -0.1).all()
        # one connection: every kind is its firm capacity
        assert most[0] == pytest.approx(table["firm_kw"].iloc[0])
        assert totals[0]["joint_equal_kw"] == pytest.approx(most[0])
        assert totals[0]["sum_to_max"] == pytest.approx(1.0)

    def test_looser_limits_never_lower_a_number(self, street):
        loose = Limits(voltage_min_pu=0.92, criteria=LIMITS.criteria)
        tight, wide = (
            joint_capacity(street.feeder, street.profiles, limits=limits).total
            for limits in (LIMITS, loose)
        )
        for name in ("joint_equal_kw", "joint_max_kw", "sum_of_singles_kw"):
            assert wide[name] >= tight[name] - 0.1

    def test_what_is_placed_and_what_remains_make_the_maximum(self, street):
        most = run(street)
        half = 0.5 * split(most, "max")
        rest = run(street, existing_kw=half)
        together = half + split(rest, "max")
        assert passes(street, together)
        assert together.sum() == pytest.approx(most.total["joint_max_kw"], rel=0.01)
        assert passes(street, half + split(rest, "equal"))

    def test_nothing_remains_after_the_maximum(self, street):
        most = split(run(street), "max")
        rest = run(street, existing_kw=most).total
        assert 0.0 <= rest["joint_max_kw"] <= rest["joint_max_bound_kw"]
        assert rest["joint_max_kw"] < 0.01 * most.sum()
        # rows leave less than nothing where the given set is at an AC limit
        over = run(street, existing_kw=most * (1.0 - 1e-9)).total
        assert over["joint_max_kw"] < 0.01 * most.sum()

    def test_the_hour_that_binds_is_found_wherever_the_search_starts(
        self, village_feeder, profiles, monkeypatch
    ):
        feeder = village_feeder()
        grid = GridCase(feeder, profiles(feeder, steps=60, seed=9), LIMITS)
        right = run(grid)
        lightest = int(np.abs(grid.block("T").v).sum(axis=0).argmax())
        monkeypatch.setattr(load_sets, "_likely_steps", lambda *_: np.array([lightest]))
        found = run(grid)
        for kind in KINDS:
            assert passes(grid, split(found, kind))
            name = f"joint_{kind}_kw"
            assert found.total[name] == pytest.approx(right.total[name], abs=0.3)

    def test_a_poor_proposal_leaves_the_best_single(self, street, monkeypatch):
        table = hosting_capacity(street.feeder, street.profiles, grid=street)
        names, firm = pd.Index(table["port_id"]), table["firm_kw"].to_numpy()
        none = np.zeros(len(street.feeder.ports))
        search = JointSearch(street, "T", names, firm, none, 0.1)
        zero = Split(kw=np.zeros(5), stop=Stop(share=1.0, row=0, step=0))
        for name in ("equal", "proportional"):
            monkeypatch.setitem(vars(search), name, zero)
        monkeypatch.setitem(vars(search), "_proposal", np.zeros(5))
        assert search.largest.kw.sum() == pytest.approx(firm.max())
        assert search.largest.own == firm.argmax()


class TestStatuses:
    def test_a_member_on_a_broken_limit_makes_equal_zero(self, village, profiles):
        feeder = read_feeder(village(ratings_a=(150.0, 120.0, 90.0, 10.0, 70.0)))
        grid = GridCase(feeder, profiles(feeder, steps=4, low=1.5, high=2.5), LIMITS)
        assert grid.block("T").broken.any()
        result = run(grid)
        row = result.table.iloc[0]
        assert row["joint_equal_kw"] == 0.0
        assert row["equal_status"] == "none_base_violation"
        assert row["equal_element"] == "L4"
        assert row["joint_max_kw"] > 0.0
        assert row["joint_max_kw"] <= row["joint_max_bound_kw"]
        most = split(result, "max")
        assert most["house 4"] == 0.0
        assert passes(grid, most)
        # the materiality is used up, beyond what rows leave of it
        every = pd.Series({"house 5": 1.0})
        case = grid.block("T")
        port = feeder.ports.index[case.block.ports].get_indexer(every.index)
        large = np.zeros(len(case.block.ports))
        large[port] = 40.0
        stop = load_sets.common_share(case, np.zeros(len(large)), large, 1e-4)
        rest = run(grid, existing_kw=every * 40.0 * stop.share).table.iloc[0]
        assert rest["max_status"] == "ok"
        assert rest["joint_max_kw"] < 0.1

    def test_everything_behind_a_broken_limit_is_zero(self, village, profiles):
        feeder = read_feeder(village(trafo_mva=0.01))
        grid = GridCase(feeder, profiles(feeder, steps=4, low=1.0), LIMITS)
        row = run(grid).table.iloc[0]
        for kind in KINDS:
            assert row[f"joint_{kind}_kw"] == 0.0
            assert row[f"{kind}_status"] == "none_base_violation"
            assert row[f"{kind}_element"] == "T"
            assert np.isnan(row[f"sum_to_{kind}"])
        assert row["joint_max_bound_kw"] == 0.0

    def test_a_given_set_that_breaks_a_limit_leaves_nothing(self, street):
        result = run(street, existing_kw=pd.Series({"house 3": 80.0}))
        row = result.table.iloc[0]
        for kind in KINDS:
            assert row[f"joint_{kind}_kw"] == 0.0
            assert row[f"{kind}_status"] == "none_base_violation"
            assert row[f"{kind}_criterion"]

    def test_own_limits_bind_where_nothing_is_shared(
        self, village_feeder, profiles, connections
    ):
        feeder = village_feeder()
        grid = GridCase(feeder, profiles(feeder, steps=4), Limits())
        table = hosting_capacity(
            feeder,
            grid.profiles,
            grid=grid,
            connections=connections(feeder, service_a=20.0, service_v=400.0),
        )
        result = run(grid, hosting=table)
        row = result.table.iloc[0]
        assert row["joint_max_kw"] == pytest.approx(table["firm_kw"].sum())
        assert row["equal_criterion"] == row["max_criterion"] == "service"
        least = table["firm_kw"].idxmin()
        assert row["equal_element"] == table.loc[least, "building_id"]
        assert row["joint_equal_each_kw"] == pytest.approx(table["firm_kw"].min())

    def test_connections_without_a_value_are_left_out_and_counted(self, street):
        table = hosting_capacity(street.feeder, street.profiles, grid=street)
        table.loc[0, "firm_kw"] = np.nan
        table.loc[0, "firm_status"] = "unrated"
        result = run(street, hosting=table)
        assert result.table.loc[0, ["connections", "left_out"]].tolist() == [4, 1]
        assert np.isnan(split(result, "max")[table.loc[0, "port_id"]])

    def test_buildings_at_one_connection_count_once(self, street):
        table = hosting_capacity(street.feeder, street.profiles, grid=street)
        twin = table.iloc[[0]].assign(building_id="annex")
        twice = run(street, hosting=pd.concat([table, twin], ignore_index=True))
        assert twice.total == run(street, hosting=table).total

    def test_two_feeders_share_one_load_in_the_total(self, village, profiles):
        net = village()
        lv = pp.create_bus(net, 0.4, name="second lv")
        pp.create_transformer_from_parameters(
            net, 0, lv, 0.03, 20.0, 0.4, 1.4, 4.0, 0.3, 0.3, name="T2"
        )
        pp.create_load(net, lv, 0.004, 0.001, name="house far")
        feeder = read_feeder(net)
        grid = GridCase(feeder, profiles(feeder, steps=3), LIMITS)
        result = run(grid)
        table, total = result.table.set_index("feeder_id"), result.total
        assert table["connections"].to_dict() == {"T": 5, "T2": 1}
        each = table["joint_equal_each_kw"].min()
        assert total["joint_equal_kw"] == pytest.approx(6 * each)
        assert total["joint_max_kw"] == pytest.approx(table["joint_max_kw"].sum())
        assert passes(grid, split(result, "max"))


def test_the_command_writes_and_shows_it(village, tmp_path):
    pp.to_json(village(), str(tmp_path / "net.json"))
    arguments = ["hosting", str(tmp_path / "net.json"), "--joint"]
    shown = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert shown.exit_code == 0, shown.output
    assert "together" in shown.output
    results = read_results(tmp_path / "out")
    assert results.joint["joint_max_kw"].sum() == pytest.approx(
        results.joint_splits["max_kw"].sum()
    )
    singles = results.hosting["firm_kw"].sum()
    assert results.summary["joint"]["sum_of_singles_kw"] == pytest.approx(singles)
    plain = CliRunner().invoke(app, [*arguments[:2], "--out", str(tmp_path / "plain")])
    assert plain.exit_code == 0
    assert not (tmp_path / "plain" / "joint.parquet").exists()


class TestHostileInput:
    @pytest.mark.parametrize(
        ("options", "error", "words"),
        [
            ({"port_ids": pd.Index(["house 1", "castle"])}, DataError, "castle"),
            ({"port_ids": pd.Index([], dtype=object)}, DataError, "empty"),
            ({"existing_kw": pd.Series({"castle": 1.0})}, DataError, "unknown.*castle"),
            ({"existing_kw": pd.Series({"house 2": np.nan})}, DataError, "house 2"),
            ({"existing_kw": pd.Series({"house 2": -1.0})}, DataError, "negative"),
            ({"existing_kw": pd.Series({"house 2": np.inf})}, DataError, "finite"),
            ({"tolerance_kw": 0.0}, ConfigError, "tolerance_kw"),
            ({"tolerance_kw": np.nan}, ConfigError, "tolerance_kw"),
            ({"limits": Limits()}, ConfigError, "limits differ"),
        ],
    )
    def test_is_refused_in_one_line(self, street, options, error, words):
        with pytest.raises(error, match=words) as caught:
            run(street, **options)
        assert "\n" not in str(caught.value)

    def test_a_port_that_was_not_rated_is_refused(self, street):
        table = hosting_capacity(street.feeder, street.profiles, grid=street)
        with pytest.raises(DataError, match=r"not in the hosting table.*house 1"):
            run(street, hosting=table.iloc[1:], port_ids=pd.Index(["house 1"]))


@pytest.mark.parametrize("seed", range(20))
def test_rows_kept_are_those_that_no_other_row_implies(seed):
    draw = np.random.default_rng(seed)
    n, n_port = 40, 4
    left = draw.permutation(n).astype(float)
    growth = draw.integers(0, 4, (n, n_port)).astype(float)
    unit = np.array(["A", "pu"], dtype=object)[draw.integers(0, 2, n)]
    kept = np.flatnonzero(joint._not_dominated(left, growth, unit))
    alike = unit[:, None] == unit[None, :]
    implies = (growth[:, None, :] >= growth[None, :, :]).all(axis=2) & alike
    implies &= left[:, None] <= left[None, :]
    # what is left out is implied by what is kept, and nothing that is kept is
    for i in np.flatnonzero(growth.any(axis=1)):
        others = kept[kept != i]
        assert implies[others, i].any() != (i in kept)
