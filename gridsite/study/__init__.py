"""
The conductor: one study file in, one run out.

It is the only package that knows all the others, and carries tables between
them, in this order::

    study           what the file asks for: feeder, loads, limits, base cases
    place_inputs    roofs, connections, users
    problem         ratings, works and rows of the grid: the siting problem
    siting_inputs   its other tables, from siting_options, _sites, _groups, _time
    plans           solved, replayed by siting_grid, tightened, solved again
    collect         the tables, the summary and the manifest of the run
    run             all of these, one after the other
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gridsite.study.problem import lifted_hosting, siting_problem
    from gridsite.study.run import Run, run_study
    from gridsite.study.study import Study

#: Public name: its module, loaded when first asked for, as those of `gridsite`.
_HOMES = {
    "Run": "run",
    "Study": "study",
    "lifted_hosting": "problem",
    "run_study": "run",
    "siting_problem": "problem",
}

__all__ = ["Run", "Study", "lifted_hosting", "run_study", "siting_problem"]


def __getattr__(name: str) -> object:
    """Load a public name from its home."""
    if name not in _HOMES:
        msg = f"module 'gridsite.study' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"gridsite.study.{_HOMES[name]}"), name)
