import os
import signal
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

from gridsite.errors import SolveError, SolverUnavailableError
from gridsite.siting.highs import HighsWorker, fix_integers, shared_worker
from gridsite.siting.highs_child import lower_bound
from gridsite.siting.matrix import Matrix


def knapsack(n=3, *, integer=True):
    """Maximise x0 + ... below a weight of 2.5 with whole x of weight 1."""
    return Matrix(
        cost=-np.ones(n),
        offset=0.0,
        money_scale=1.0,
        coefficients=sparse.csc_array(np.ones((1, n))),
        row_lower=np.array([-np.inf]),
        row_upper=np.array([2.5]),
        lower=np.zeros(n),
        upper=np.ones(n),
        integer=np.full(n, integer),
        grid_rows=np.array([False]),
        columns={"units": np.arange(n)},
    )


@pytest.fixture
def worker():
    made = HighsWorker()
    yield made
    made.close()


def test_a_mip_and_its_relaxation_are_solved_by_one_process(worker):
    whole = worker.run(knapsack(), gap=0.0, time_limit_s=10.0)
    assert (whole.status, whole.objective, whole.bound) == ("optimal", -2.0, -2.0)
    first = worker.process.pid
    relaxed = worker.run(knapsack(integer=False), gap=0.0, time_limit_s=10.0)
    assert relaxed.objective == pytest.approx(-2.5)
    assert relaxed.bound == pytest.approx(-2.5)
    assert worker.process.pid == first


def test_an_infeasible_model_is_said_to_be(worker):
    matrix = knapsack()
    matrix.row_lower[:] = 2.2
    answer = worker.run(matrix, gap=0.0, time_limit_s=10.0)
    assert answer.status == "infeasible"
    assert answer.solution is None


def test_a_killed_process_is_started_again(worker):
    worker.run(knapsack(), gap=0.0, time_limit_s=10.0)
    first = worker.process
    os.kill(first.pid, signal.SIGKILL)
    answer = worker.run(knapsack(), gap=0.0, time_limit_s=10.0)
    assert answer.objective == -2.0
    assert worker.process.pid != first.pid


def child(tmp_path, code):
    path = tmp_path / "child.py"
    path.write_text(code)
    return [sys.executable, str(path)]


def test_a_crash_while_solving_is_tried_again_with_other_heuristics(tmp_path):
    mark = tmp_path / "crashed"
    code = f"""
import os, pathlib, pickle, sys
job = pickle.load(sys.stdin.buffer)
mark = pathlib.Path({str(mark)!r})
if not mark.exists():
    mark.touch()
    os.abort()
tried = job["options"].get("mip_heuristic_run_rins", True)
pickle.dump({{"status": str(tried)}}, sys.stdout.buffer)
sys.stdout.flush()
sys.stdin.read()
"""
    worker = HighsWorker(child(tmp_path, code))
    assert worker.run(knapsack(), gap=0.0, time_limit_s=1.0).status == "False"
    worker.close()


def test_a_process_that_keeps_crashing_is_given_up(tmp_path):
    worker = HighsWorker(child(tmp_path, "raise SystemExit(3)"))
    with pytest.raises(SolverUnavailableError, match="code 3"):
        worker.run(knapsack(), gap=0.0, time_limit_s=1.0)


def test_a_process_that_hangs_is_ended(tmp_path):
    worker = HighsWorker(child(tmp_path, "import time; time.sleep(60)"), grace_s=0.2)
    with pytest.raises(SolverUnavailableError, match="hung"):
        worker.run(knapsack(), gap=0.0, time_limit_s=0.05)
    assert worker.process is None


def test_a_command_that_does_not_exist_is_said_so(tmp_path):
    worker = HighsWorker([str(tmp_path / "nothing")])
    with pytest.raises(SolverUnavailableError, match="cannot be started"):
        worker.run(knapsack(), gap=0.0, time_limit_s=1.0)


@pytest.mark.parametrize(
    ("status", "whole", "told", "bound"),
    [
        ("optimal", True, 0.0, 0.0),
        ("optimal", False, 5.0, 5.0),
        ("time_limit", True, 3.0, 3.0),
        ("time_limit", True, 0.0, -np.inf),  # within the root relaxation
        ("time_limit", False, 5.0, -np.inf),
        ("infeasible", True, np.inf, -np.inf),
    ],
)
def test_only_a_proven_bound_is_a_bound(status, whole, told, bound):
    info = SimpleNamespace(mip_dual_bound=told, objective_function_value=told)
    assert lower_bound(status, info, whole=whole) == bound


def test_a_job_that_runs_out_of_time_says_so(worker):
    rng = np.random.default_rng(0)
    weights = rng.uniform(1.0, 100.0, (60, 400))
    matrix = replace(
        knapsack(400),
        cost=-rng.uniform(1.0, 100.0, 400),
        coefficients=sparse.csc_array(weights),
        row_lower=np.full(60, -np.inf),
        row_upper=weights.sum(axis=1) / 2,
    )
    answer = worker.run(matrix, gap=0.0, time_limit_s=0.001)
    assert answer.status == "time_limit"
    assert answer.bound != 0.0


def test_counts_are_made_whole_or_refused():
    fixed = fix_integers(knapsack(), np.array([0.9999998, 1e-7, 1.0]))
    assert fixed.lower.tolist() == fixed.upper.tolist() == [1.0, 0.0, 1.0]
    assert not fixed.integer.any()
    with pytest.raises(SolveError, match="whole"):
        fix_integers(knapsack(), np.array([0.5, 0.0, 1.0]))


def test_one_process_keeps_one_worker():
    assert shared_worker() is shared_worker()
