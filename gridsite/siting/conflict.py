"""
Requirements that cannot be met together: an irreducible set, in planner's words.

Leave out any one of them and a plan exists that meets the rest of the set. The
set is found by dividing the requirements in halves [1]_, first by kind and then
within the kinds that conflict, with the solver as the judge of what is feasible.

References
----------
.. [1] U. Junker, "QuickXplain: preferred explanations and relaxations for
   over-constrained problems", *AAAI*, 2004.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gridsite.siting.conflict_words import requirement_words, same_of_sites
from gridsite.siting.explain import refuse_unreachable
from gridsite.siting.formulation import build_model
from gridsite.siting.highs import HighsWorker, shared_worker
from gridsite.siting.matrix import Matrix, compile_model
from gridsite.siting.reduce import reduce_problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridsite.siting.problem import SitingProblem

    Key = tuple[str, Any]

#: What holds by itself and is no requirement of a planner.
_STRUCTURE = frozenset(
    {
        "open_link",
        "group_link",
        "units_stay",
        "upgrades_stay",
        "largest_site",
        "computing_units",
    }
)

#: Time for one question to the solver [s].
_EACH_S = 20.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Conflict:
    """
    Requirements that conflict.

    Parameters
    ----------
    requirements : tuple of str
        In planner's words; empty where none conflict.
    irreducible : bool
        Whether all of them are known to be needed for the conflict; False where
        time ran out before that was known.
    keys : tuple of (str, object)
        Constraint and index of each, as in ``formulation``.
    """

    requirements: tuple[str, ...]
    irreducible: bool
    keys: tuple[Key, ...]

    def __str__(self) -> str:
        """Return the requirements as one sentence."""
        told = "cannot all be met, though without any one of them the others can"
        if not self.irreducible:
            told = "cannot all be met (time ran out before the list was shortest)"
        return f"these {told}: {'; '.join(same_of_sites(self.requirements))}"


def conflicting_requirements(
    problem: SitingProblem,
    *,
    time_limit_s: float = 60.0,
    worker: HighsWorker | None = None,
) -> Conflict:
    """
    Return an irreducible set of requirements that conflict.

    Parameters
    ----------
    problem : SitingProblem
        A problem without a plan.
    time_limit_s : float, default 60.0
        Time after which the search stops with a set that may not be irreducible.
        [s]
    worker : HighsWorker, optional
        The solver process; by default one that this process keeps.

    Returns
    -------
    Conflict
        Empty where the problem has a plan after all.

    Raises
    ------
    InfeasibleError
        If hard demand has no site within its latency limit, which alone leaves no
        plan.

    Notes
    -----
    Existing units, lead times and what fits at a single connection are taken as
    they are: they show in what sites can hold.
    """
    refuse_unreachable(problem)
    reduced = reduce_problem(problem, reductions=False)
    matrix = compile_model(build_model(reduced), reduced, named=True)
    search = _Search(matrix, worker or shared_worker(), time_limit_s)
    kinds = list(dict.fromkeys(name for name, _ in search.keys))
    if search.feasible(search.rows_of(search.keys)):
        return Conflict(requirements=(), irreducible=True, keys=())
    members = {kind: [k for k in search.keys if k[0] == kind] for kind in kinds}
    wanted = search.shortest([members[kind] for kind in kinds])
    keys = [k for part in search.shortest([[k] for part in wanted for k in part])
            for k in part]  # fmt: skip
    return Conflict(
        requirements=tuple(requirement_words(problem, reduced, key) for key in keys),
        irreducible=search.certain,
        keys=tuple(keys),
    )


class _Search:
    """Asks the solver whether some of the requirements can be met."""

    def __init__(
        self, matrix: Matrix, worker: HighsWorker, time_limit_s: float
    ) -> None:
        self.matrix, self.worker = matrix, worker
        self.end = time.perf_counter() + time_limit_s
        self.certain = True
        self.rows: dict[Key, list[int]] = {}
        for i, (name, index) in enumerate(matrix.names):
            if name not in _STRUCTURE:
                key = (name, index)
                if name.startswith("backup"):  # all that one loss asks for
                    key = ("loss", index[0])
                elif name == "single_source":
                    key = (name, index[0])
                self.rows.setdefault(key, []).append(i)
        self.keys = list(self.rows)
        free = set(self.rows_of(self.keys))
        self.structure = [i for i in range(len(matrix.names)) if i not in free]

    def rows_of(self, keys: Sequence[Key]) -> list[int]:
        return [i for key in keys for i in self.rows[key]]

    def feasible(self, rows: list[int]) -> bool:
        """Return whether a plan keeps some rows; True where that is not known."""
        left = self.end - time.perf_counter()
        if left <= 0.0:
            self.certain = False
            return True
        keep = np.sort(np.array([*self.structure, *rows], dtype=int))
        small = replace(
            self.matrix,
            cost=np.zeros_like(self.matrix.cost),
            offset=0.0,
            coefficients=self.matrix.coefficients.tocsr()[keep].tocsc(),
            row_lower=self.matrix.row_lower[keep],
            row_upper=self.matrix.row_upper[keep],
            grid_rows=self.matrix.grid_rows[keep],
            names=(),
        )
        answer = self.worker.run(small, gap=1.0, time_limit_s=min(left, _EACH_S))
        if answer.status == "infeasible":
            return False
        if answer.solution is None:
            self.certain = False
        return True

    def shortest(self, parts: list[list[Key]]) -> list[list[Key]]:
        """Return parts that conflict, each of which is needed for it."""
        if len(parts) < 2 and parts:
            return parts
        return self._divide([], [], parts)

    def _divide(
        self, fixed: list[list[Key]], new: list[list[Key]], parts: list[list[Key]]
    ) -> list[list[Key]]:
        if new and not self.feasible(
            self.rows_of([key for part in fixed for key in part])
        ):
            return []
        if len(parts) == 1:
            return parts
        half = len(parts) // 2
        left, right = parts[:half], parts[half:]
        second = self._divide([*fixed, *left], left, right)
        first = self._divide([*fixed, *second], second, left)
        return [*first, *second]
