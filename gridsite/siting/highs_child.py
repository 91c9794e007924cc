"""
The process in which HiGHS runs: jobs come in by standard input, answers go out.

It is started as a script and imports nothing of gridsite, so that a crash of
the solver or a corrupt heap stays here, and a start costs little.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from typing import Any

import highspy
import numpy as np
from scipy import sparse

#: Excess of a link that counts as broken [kW].
_BROKEN = 1e-6

#: Share of the time limit that links may take [-].
_LINK_TIME = 1 / 3

#: What HiGHS says, in our words. All columns are bounded, so what presolve
#: cannot tell from unbounded is infeasible.
_STATUS = {
    highspy.HighsModelStatus.kOptimal: "optimal",
    highspy.HighsModelStatus.kModelEmpty: "optimal",
    highspy.HighsModelStatus.kInfeasible: "infeasible",
    highspy.HighsModelStatus.kUnboundedOrInfeasible: "infeasible",
    highspy.HighsModelStatus.kTimeLimit: "time_limit",
    highspy.HighsModelStatus.kObjectiveTarget: "target",
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
    began = time.perf_counter()
    if job.get("links") is not None:
        job = with_links(job)
    highs: Any = highspy.Highs()  # type: ignore[no-untyped-call]
    for name, value in job["options"].items():
        if highs.setOptionValue(name, value) != highspy.HighsStatus.kOk:
            return {"status": f"HiGHS refuses option {name}={value!r}"}
    left = job["options"]["time_limit"] - (time.perf_counter() - began)
    highs.setOptionValue("time_limit", max(left, 0.0))
    if highs.passModel(_model(job)) == highspy.HighsStatus.kError:
        return {"status": "HiGHS refuses the model"}
    if job["from"] is not None:
        start = highspy.HighsSolution()
        start.col_value = job["from"].tolist()
        highs.setSolution(start)
    highs.run()
    return _reply(highs, whole=bool(job["integer"].any()))


def with_links(job: dict[str, Any]) -> dict[str, Any]:
    """
    Return a job with the links that its relaxation needs as rows.

    The relaxation is solved, the links that it breaks are added and it is solved
    again from where it stood, until it breaks none or a third of the time is up.
    Links that are slack in the end are left out.

    Parameters
    ----------
    job : dict
        As for ``answer``; ``links`` holds ``start, index, value`` of rows that
        are at most 0.

    Returns
    -------
    dict
        The job with more rows and without ``links``.
    """
    links = sparse.csr_array(
        (job["links"]["value"], job["links"]["index"], job["links"]["start"]),
        shape=(len(job["links"]["start"]) - 1, len(job["cost"])),
    )
    base = sparse.csc_array(
        (job["value"], job["index"], job["start"]),
        shape=(len(job["row_lower"]), len(job["cost"])),
    )
    end = time.perf_counter() + job["options"]["time_limit"] * _LINK_TIME
    lp: Any = highspy.Highs()  # type: ignore[no-untyped-call]
    for name, value in job["options"].items():
        lp.setOptionValue(name, value)
    lp.passModel(_model(job | {"integer": np.zeros(len(job["cost"]), dtype=bool)}))
    added = np.zeros(0, dtype=np.int64)
    while True:
        left = max(end - time.perf_counter(), 0.1)
        lp.setOptionValue("time_limit", left)
        lp.run()
        if lp.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            break
        over = links @ np.array(lp.getSolution().col_value)
        broken = np.flatnonzero(over > _BROKEN)
        broken = broken[~np.isin(broken, added)]
        if not len(broken) or time.perf_counter() > end:
            tight = added[over[added] > -_BROKEN]
            added = np.concatenate([tight, broken])
            break
        some = links[broken]
        none = np.zeros(len(broken))
        lp.addRows(
            len(broken), none - highspy.kHighsInf, none, some.nnz,
            some.indptr[:-1].astype(np.int32), some.indices.astype(np.int32), some.data,
        )  # fmt: skip
        added = np.concatenate([added, broken])
    whole = sparse.csc_array(sparse.vstack([base, links[added]], format="csc"))
    none = np.zeros(len(added))
    return job | {
        "start": whole.indptr,
        "index": whole.indices,
        "value": whole.data,
        "row_lower": np.append(job["row_lower"], none - np.inf),
        "row_upper": np.append(job["row_upper"], none),
        "links": None,
    }


def _model(job: dict[str, Any]) -> Any:  # noqa: ANN401
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
    return model


def _reply(highs: Any, *, whole: bool) -> dict[str, Any]:  # noqa: ANN401
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
        "bound": lower_bound(word, info, whole=whole),
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
