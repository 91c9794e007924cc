"""
The one adapter to HiGHS: a persistent child process, restarted after a crash.

HiGHS runs single-threaded with a fixed seed, so a run that ends by its gap is
repeatable. A solver that crashes, or does not stop at its time limit, costs a
process and one second try with other heuristics, never the study.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import pickle
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gridsite.errors import SolveError, SolverUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scipy import sparse

    from gridsite.siting.matrix import Matrix

logger = logging.getLogger(__name__)

#: Whole numbers may be off by this much before the answer counts as wrong [-].
INTEGRALITY = 1e-4

_CHILD = (sys.executable, "-P", str(Path(__file__).with_name("highs_child.py")))
_FIXED = {"output_flag": False, "threads": 1, "random_seed": 0, "parallel": "off"}
_SECOND_TRY = {"mip_heuristic_run_rins": False, "mip_heuristic_run_rens": False}


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """
    What HiGHS answered.

    Parameters
    ----------
    status : str
        ``optimal`` (the gap is reached), ``target`` (the objective asked for
        is), ``time_limit``, ``infeasible``, or what HiGHS says.
    solution : numpy.ndarray of float, shape (n_columns,), or None
        Best solution; None without any.
    objective : float
        Its cost, in scaled money.
    bound : float
        Lower bound, in scaled money; minus infinity where there is none.
    """

    status: str
    solution: np.ndarray | None = None
    objective: float = np.nan
    bound: float = -np.inf


class HighsWorker:
    """
    A child process that solves one job after another.

    Parameters
    ----------
    command : sequence of str, optional
        What to start; the default runs ``highs_child.py``.
    grace_s : float, default 30.0
        Time beyond twice its time limit after which a job is killed. [s]
    """

    def __init__(
        self, command: Sequence[str] = _CHILD, *, grace_s: float = 30.0
    ) -> None:
        self._command = list(command)
        self._grace_s = grace_s
        self._lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None

    def run(
        self,
        matrix: Matrix,
        *,
        gap: float,
        time_limit_s: float,
        start: np.ndarray | None = None,
        tolerance: float = 1e-7,
        target: float = -np.inf,
        links: sparse.csr_array | None = None,
    ) -> Answer:
        """
        Solve a compiled model.

        Parameters
        ----------
        matrix : Matrix
            The model.
        gap : float
            Relative gap at which to stop. [-]
        time_limit_s : float
            Time after which to stop. [s]
        start : numpy.ndarray of float, shape (n_columns,), optional
            A solution to start from.
        tolerance : float, default 1e-7
            Largest violation of a row or a whole number, at least 1e-10.
        target : float, optional
            Objective that is good enough, in scaled money.
        links : scipy.sparse.csr_array, optional
            Rows at most 0 that every solution keeps, added where the relaxation
            breaks them.

        Returns
        -------
        Answer
            What HiGHS made of it.

        Raises
        ------
        SolverUnavailableError
            If the process cannot be started, or crashes or hangs twice.
        """
        options: dict[str, Any] = {
            **_FIXED,
            "mip_rel_gap": gap,
            "time_limit": float(time_limit_s),
            "mip_feasibility_tolerance": tolerance,
            "primal_feasibility_tolerance": tolerance,
            "objective_target": target,
        }
        job = _job(matrix, start, links)
        last = 2.0 * time_limit_s + self._grace_s
        with self._lock:
            for extra in ({}, _SECOND_TRY):
                try:
                    return Answer(
                        **self._ask({**job, "options": options | extra}, last)
                    )
                except (OSError, EOFError, pickle.UnpicklingError) as error:
                    reason = self._stopped_why(error)
                    logger.warning("the HiGHS process failed: %s", reason)
                except BaseException:
                    self.close()  # an answer may be on its way: never read it
                    raise
        msg = (
            f"the HiGHS process failed twice: {reason}; reinstall highspy or set "
            "another time limit"
        )
        raise SolverUnavailableError(msg)

    def close(self) -> None:
        """End the child process."""
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        process.wait()

    def _ask(self, job: dict[str, Any], last_s: float) -> dict[str, Any]:
        if self.process is None or self.process.poll() is not None:
            self.close()
            self.process = subprocess.Popen(  # noqa: S603 - our own script
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        process = self.process
        if process.stdin is None or process.stdout is None:
            msg = "the HiGHS process has no pipes"
            raise SolverUnavailableError(msg)
        alarm = threading.Timer(last_s, process.kill)
        alarm.start()
        try:
            pickle.dump(job, process.stdin)
            process.stdin.flush()
            reply: dict[str, Any] = pickle.load(process.stdout)  # noqa: S301 - ours
        finally:
            alarm.cancel()
        return reply

    def _stopped_why(self, error: Exception) -> str:
        """Close the process and return why it stopped, in words."""
        if self.process is None:
            return f"it cannot be started ({error})"
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=1.0)
        code = self.process.poll()
        self.close()
        killed = code == -9
        return "it hung and was ended" if killed else f"it ended with code {code}"


def shared_worker() -> HighsWorker:
    """
    Return the worker of this process, started once.

    Returns
    -------
    HighsWorker
        A process that was forked gets one of its own.
    """
    return _worker_of(os.getpid())


@lru_cache(maxsize=1)
def _worker_of(pid: int) -> HighsWorker:
    worker = HighsWorker()

    def close() -> None:
        if os.getpid() == pid:  # a fork must not end its parent's process
            worker.close()

    atexit.register(close)
    return worker


def fix_integers(matrix: Matrix, values: np.ndarray) -> Matrix:
    """
    Return the model with its unit counts and sole sources fixed at whole numbers.

    What is left are flows and the sites and groups that the units open: a site
    that the solver opened without a unit, within its gap, closes again.

    Parameters
    ----------
    matrix : Matrix
        The model.
    values : numpy.ndarray of float, shape (n_columns,)
        A solution, whole numbers up to the solver's tolerance.

    Returns
    -------
    Matrix
        Columns of units and sources fixed at the nearest whole number.

    Raises
    ------
    SolveError
        If a value is not near a whole number.
    """
    whole = np.round(values)
    off = np.abs(values - whole)[matrix.integer]
    if off.size and off.max() > INTEGRALITY:
        msg = f"HiGHS returned a count that is {off.max():.2g} off a whole number"
        raise SolveError(msg)
    fixed = np.zeros_like(matrix.integer)
    for name in {"units", "is_source"} & set(matrix.columns):
        columns = matrix.columns[name]
        fixed[columns[columns >= 0]] = True
    return replace(
        matrix,
        lower=np.where(fixed, whole, matrix.lower),
        upper=np.where(fixed, whole, matrix.upper),
        integer=matrix.integer & ~fixed,
    )


def _job(
    matrix: Matrix, start: np.ndarray | None, links: sparse.csr_array | None
) -> dict[str, Any]:
    rows = None
    if links is not None and links.shape[0]:
        rows = {"start": links.indptr, "index": links.indices, "value": links.data}
    return {
        "links": rows,
        "cost": matrix.cost,
        "offset": matrix.offset,
        "start": matrix.coefficients.indptr,
        "index": matrix.coefficients.indices,
        "value": matrix.coefficients.data,
        "row_lower": matrix.row_lower,
        "row_upper": matrix.row_upper,
        "lower": matrix.lower,
        "upper": matrix.upper,
        "integer": matrix.integer,
        "from": start,
    }
