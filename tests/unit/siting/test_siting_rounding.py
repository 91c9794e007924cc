"""Counts that pass rows are mended by hand-made rules."""

import math

import numpy as np
import pytest

from gridsite.siting.lagrangean import Relaxation
from gridsite.siting.reduce import reduce_problem
from gridsite.siting.rounding import within_rows


@pytest.fixture
def relaxation(problem, records):
    """Return a relaxation in which both buildings draw on one row of 35 kW."""
    return Relaxation(reduce_problem(problem(rows=[records.row("T1", 35.0)])))


def test_units_leave_a_row_that_is_passed_for_a_place_with_room(
    relaxation, problem, records
):
    reduced = reduce_problem(problem(rows=[records.row("T1", 35.0)]))
    options = reduced.options
    name = (options["site_id"] + " " + options["unit"]).tolist()
    counts = np.where(options["site_id"] == "central", 0, 2)
    assert not relaxation.keeps_rows(counts)
    kept = within_rows(relaxation, counts, end=math.inf)
    assert relaxation.keeps_rows(kept)
    stands = dict(zip(name, kept.tolist(), strict=True))
    assert stands["b1 node"] + stands["b2 node"] == 2  # 24 of 35 kW
    assert stands["central hall"] == 1  # what serves the rest


def test_room_is_what_a_row_leaves(relaxation):
    none = np.zeros(len(relaxation.least), dtype=np.int64)
    assert relaxation.has_room(none).all()
    full = np.where(relaxation.share_of_worst_row(none) > 0.0, 1, 0)
    assert full.sum() == 2
    room = relaxation.has_room(full)  # 24 of 35 kW: not another 12
    assert not room[full == 1].any()
    assert room[full == 0].all()


def test_rows_that_nothing_empties_leave_no_counts(problem, records):
    reduced = reduce_problem(problem(rows=[records.row("T1", 35.0)]))
    options = reduced.options
    tied = Relaxation(reduced)
    counts = np.where(options["site_id"] == "central", 0, 2)
    tied.least = counts
    assert within_rows(tied, counts, end=math.inf) is None
    assert within_rows(tied, np.zeros_like(counts), end=-math.inf) is not None


def test_counts_that_keep_rows_and_serve_all_stay(problem):
    reduced = reduce_problem(problem())
    counts = np.array([2, 1, 0])  # b1, b2 and the hall: the optimum found by hand
    assert reduced.options["site_id"].tolist() == ["b1", "b2", "central"]
    kept = within_rows(Relaxation(reduced), counts, end=math.inf)
    assert kept.tolist() == counts.tolist()
