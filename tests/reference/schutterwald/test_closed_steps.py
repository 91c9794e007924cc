"""Headroom beside steps that broken limits close, on two streets of a real village."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridsite import Study
from gridsite.hosting.capacity import hosting_capacity, own_connections

STUDY = Path(__file__).parents[3] / "networks" / "schutterwald" / "study.toml"

# pandapower warns about the age of the file that it ships itself
pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:tap_dependency_table is missing:DeprecationWarning"
    ),
    pytest.mark.slow,
]


def test_headroom_is_near_the_truth_where_some_steps_are_closed():
    """At random steps, drawn apart, by AC searches of the envelope itself."""
    study = Study.read(STUDY)
    feeder = study.feeder()
    table = own_connections(feeder)
    of_feeder = feeder.ports["feeder_id"].loc[table["port_id"]].to_numpy()
    table = table[(of_feeder == "T_idx_71") | (of_feeder == "T_idx_35")]
    rated = hosting_capacity(
        feeder, study.loads(feeder), limits=study.limits(feeder), connections=table
    )
    closed = rated["firm_status"] == "none_base_violation"
    assert len(rated) > 250
    assert closed.all()
    assert (rated["flexible_status"] == "ok").all()
    assert (rated["flexible_hours95_kw"] > 0.0).mean() > 0.5
    assert rated["envelope_error_most_kw"].max() <= 0.05
    assert rated["envelope_error_least_kw"].min() >= -0.2
