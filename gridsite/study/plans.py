"""The plans of a study: solved, replayed and tightened, and other strategies."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gridsite.errors import InfeasibleError, SolveError
from gridsite.hosting.ac_replay import LoadReplay
from gridsite.siting import Plan, SitingProblem, conflicting_requirements, solve
from gridsite.study.strategies import compare_strategies, priced_unserved

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from gridsite.config import SolveSection
    from gridsite.study.siting_grid import Grids, Replayed

logger = logging.getLogger(__name__)

#: A plan, and its AC replay.
Verified = tuple[Plan, LoadReplay]


def verified_plans(
    section: SolveSection,
    grids: Grids,
    problem: SitingProblem,
    progress: Callable[[float, str], None],
) -> dict[str, Verified]:
    """
    Return the plan of a study, and those of single strategies beside it.

    Parameters
    ----------
    section : SolveSection
        When the solver may stop, and whether strategies are compared.
    grids : Grids
        Base cases of the study, which replay the plans.
    problem : SitingProblem
        The siting problem.
    progress : callable
        Called with the share done, in [0, 1], and a text.

    Returns
    -------
    dict of str to (Plan, LoadReplay)
        By strategy, ``hybrid`` last; a strategy that was not solved is left out.

    Raises
    ------
    InfeasibleError
        If no plan meets the requirements; names those that conflict.
    """
    try:
        hybrid = _solve(section, grids, problem, lambda text: progress(0.7, text))
    except InfeasibleError as error:
        progress(0.75, "looking for what conflicts")
        limit = section.time_limit_s
        conflict = conflicting_requirements(problem, time_limit_s=limit)
        if not conflict.requirements:
            raise
        msg = f"{error}. In short, {conflict}"
        raise InfeasibleError(msg, error.solution) from error
    plans = {}
    for name, alone in compare_strategies(problem).items() if section.compare else ():
        progress(0.8, f"comparing with {name} only")
        found = _compare(section, grids, alone, lambda text: progress(0.85, text))
        if found is not None:
            plans[name] = found
    return {**plans, "hybrid": hybrid}


def _compare(
    section: SolveSection,
    grids: Grids,
    problem: SitingProblem,
    progress: Callable[[str], None],
) -> Verified | None:
    """Solve one strategy, with demand unserved only where it must be."""
    limit = min(section.time_limit_s, section.compare_time_limit_s)
    section = section.model_copy(update={"time_limit_s": limit})
    try:
        return _solve(section, grids, problem, progress)
    except InfeasibleError:
        logger.info("not all demand that can be reached can be served")
    try:
        return _solve(section, grids, priced_unserved(problem), progress)
    except SolveError:
        logger.warning("a strategy of the comparison was not solved", exc_info=True)
        return None


def _solve(
    section: SolveSection,
    grids: Grids,
    problem: SitingProblem,
    progress: Callable[[str], None],
) -> Verified:
    """Solve, replay and tighten until the replay of every period is clean."""
    replays: list[LoadReplay] = []

    def replay(plan: pd.DataFrame, built: pd.DataFrame | None = None) -> Replayed:
        found = grids.replay(plan, problem, len(replays) + 1, built)
        replays.append(found.whole)
        return found

    plan = solve(
        problem,
        gap=section.gap,
        time_limit_s=section.time_limit_s,
        max_rounds=section.max_rounds,
        replay=replay,
        progress=progress,
    )
    return plan, replays[-1]
