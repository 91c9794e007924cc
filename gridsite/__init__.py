"""Decide where building-mounted compute goes on a distribution grid."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gridsite.feeder.checks import check_feeder
    from gridsite.feeder.read_pandapower import read_feeder
    from gridsite.hosting.ac_replay import replay_loads
    from gridsite.hosting.capacity import hosting_capacity
    from gridsite.hosting.joint_capacity import joint_capacity
    from gridsite.hosting.limits import Limits
    from gridsite.places import connect_buildings, read_buildings, read_demand
    from gridsite.report import siting_map
    from gridsite.siting import Plan, SitingProblem, solve
    from gridsite.study import Run, Study, run_study

__version__ = "0.1.0"

#: Public name: the module that holds it. Loaded when first asked for, so that
#: importing gridsite (and `gridsite --help`) stays fast.
_HOMES = {
    "Limits": "gridsite.hosting.limits",
    "Plan": "gridsite.siting",
    "Run": "gridsite.study",
    "SitingProblem": "gridsite.siting",
    "Study": "gridsite.study",
    "check_feeder": "gridsite.feeder.checks",
    "connect_buildings": "gridsite.places",
    "hosting_capacity": "gridsite.hosting.capacity",
    "joint_capacity": "gridsite.hosting.joint_capacity",
    "read_buildings": "gridsite.places",
    "read_demand": "gridsite.places",
    "read_feeder": "gridsite.feeder.read_pandapower",
    "replay_loads": "gridsite.hosting.ac_replay",
    "run_study": "gridsite.study",
    "siting_map": "gridsite.report",
    "solve": "gridsite.siting",
}

__all__ = [
    "Limits",
    "Plan",
    "Run",
    "SitingProblem",
    "Study",
    "check_feeder",
    "connect_buildings",
    "hosting_capacity",
    "joint_capacity",
    "read_buildings",
    "read_demand",
    "read_feeder",
    "replay_loads",
    "run_study",
    "siting_map",
    "solve",
]


def __getattr__(name: str) -> object:
    """Load a public name from its home."""
    if name not in _HOMES:
        msg = f"module 'gridsite' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*__all__, "__version__"])
