"""Larger elements against pandapower's own parallel ones."""

import numpy as np
import pandapower.networks as nw
import pytest

from gridsite.errors import DataError
from gridsite.feeder.read_pandapower import feeder_from_net
from gridsite.feeder.upgrade import upgraded


@pytest.fixture
def net():
    return nw.create_kerber_landnetz_freileitung_1()


def same(one, other):
    assert abs(one.y - other.y).max() < 1e-9 * abs(other.y).max()
    assert abs(one.terminal_y - other.terminal_y).max() < 1e-9 * abs(other.y).max()
    np.testing.assert_allclose(one.terminals["rated_a"], other.terminals["rated_a"])
    np.testing.assert_allclose(
        one.elements["rating"].astype(float), other.elements["rating"].astype(float)
    )


@pytest.mark.parametrize(("kind", "row"), [("trafo", 0), ("line", 0), ("line", 5)])
def test_a_doubled_element_is_two_in_parallel(net, kind, row):
    before = feeder_from_net(net, name="net")
    net[kind].loc[row, "parallel"] = 2
    after = feeder_from_net(net, name="net")
    changed = np.flatnonzero(
        before.elements["rating"].to_numpy() != after.elements["rating"].to_numpy()
    )
    (name,) = before.elements.index[changed]
    same(upgraded(before, {name: 2.0}), after)


def test_others_stay_as_they_were(net):
    before = feeder_from_net(net, name="net")
    names = before.elements.index[before.elements["kind"] == "transformer"]
    after = upgraded(before, {names[0]: 1.6})
    others = before.elements.index != names[0]
    assert after.elements["rating"][others].equals(before.elements["rating"][others])
    assert after.notes[-1] == f"upgraded: {names[0]} x 1.6"


def test_unknown_elements_and_factors_are_refused(net):
    feeder = feeder_from_net(net, name="net")
    with pytest.raises(DataError, match="no line or transformer is called"):
        upgraded(feeder, {"nowhere": 2.0})
    with pytest.raises(DataError, match="above 1"):
        upgraded(feeder, {feeder.elements.index[0]: float("nan")})
