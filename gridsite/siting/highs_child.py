"""
The process in which HiGHS runs: jobs come in by standard input, answers go out.

It is started as a script and imports nothing of gridsite, so that a crash of
the solver or a corrupt heap stays here, and a start costs little.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any

import highspy
import numpy as np

#: What HiGHS says, in our words. All columns are bounded, so what presolve
#: cannot tell from unbounded is infeasible.
_STATUS = {
    highspy.HighsModelStatus.kOptimal: "optimal",
    highspy.HighsModelStatus.kModelEmpty: "optimal",
    highspy.HighsModelStatus.kInfeasible: "infeasible",
    highspy.HighsModelStatus.kUnboundedOrInfeasible: "infeasible",
    highspy.HighsModelStatus.kTimeLimit: "time_limit",
}


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """
    Return what HiGHS makes of one job.

    Parameters
    ----------
    job : dict
        ``cost, offset, start, index, value`` (columns of the matrix),
        ``row_lower, row_upper, lower, upper, integer``, ``options`` of HiGHS
        and ``from``, a solution to start from or None.

    Returns
    -------
    dict
        ``status``, ``solution`` (None without a feasible solution),
        ``objective``, and ``bound``: minus infinity where there is none.
    """
    highs: Any = highspy.Highs()  # type: ignore[no-untyped-call]
    for name, value in job["options"].items():
        if highs.setOptionValue(name, value) != highspy.HighsStatus.kOk:
            return {"status": f"HiGHS refuses option {name}={value!r}"}
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(job["cost"]), len(job["row_lower"])
    model.col_cost_, model.offset_ = job["cost"], job["offset"]
    model.col_lower_, model.col_upper_ = job["lower"], job["upper"]
    model.row_lower_, model.row_upper_ = job["row_lower"], job["row_upper"]
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_, model.a_matrix_.index_ = job["start"], job["index"]
    model.a_matrix_.value_ = job["value"]
    kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
    if job["integer"].any():
        model.integrality_ = [kinds[int(whole)] for whole in job["integer"]]
    if highs.passModel(model) == highspy.HighsStatus.kError:
        return {"status": "HiGHS refuses the model"}
    if job["from"] is not None:
        start = highspy.HighsSolution()
        start.col_value = job["from"].tolist()
        highs.setSolution(start)
    highs.run()
    info = highs.getInfo()
    status = highs.getModelStatus()
    feasible = (
        info.primal_solution_status == highspy.kSolutionStatusFeasible
        or status == highspy.HighsModelStatus.kModelEmpty
    )
    word = _STATUS.get(status, highs.modelStatusToString(status))
    return {
        "status": word,
        "solution": np.array(highs.getSolution().col_value) if feasible else None,
        "objective": info.objective_function_value,
        "bound": lower_bound(word, info, whole=bool(job["integer"].any())),
    }


def lower_bound(status: str, info: Any, *, whole: bool) -> float:  # noqa: ANN401
    """
    Return the lower bound that HiGHS can vouch for.

    Parameters
    ----------
    status : str
        In our words.
    info : highspy.HighsInfo
        What HiGHS reports.
    whole : bool
        Whether the job has whole numbers.

    Returns
    -------
    float
        Minus infinity where there is none: a limit within the root relaxation
        is reported by HiGHS as a bound of exactly 0.
    """
    bound = float(info.mip_dual_bound if whole else info.objective_function_value)
    proven = status == "optimal" or (whole and bound != 0.0)
    return bound if proven and np.isfinite(bound) else -np.inf


def main() -> None:
    """Answer jobs until standard input closes."""
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)  # nothing that the solver prints may mix with the answers
        while True:
            try:
                job = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the parent
            except EOFError:
                return
            pickle.dump(answer(job), replies)
            replies.flush()


if __name__ == "__main__":
    main()
