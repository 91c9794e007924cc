import io
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from gridsite.errors import DataError
from gridsite.report import (
    capacity_distribution,
    comparison_costs,
    latency_by_workload,
    limit_shares,
    loading_before_after,
)

HOSTING = [capacity_distribution, limit_shares, loading_before_after]
SITING = [comparison_costs, latency_by_workload]


@pytest.mark.parametrize("draw", HOSTING + SITING)
def test_figures_are_drawn_with_units_and_the_note_on_generated_data(
    make_results, draw
):
    figure = draw(make_results())
    assert isinstance(figure, Figure)
    figure.savefig(io.BytesIO(), format="png")
    words = [axes.get_ylabel() + axes.get_xlabel() for axes in figure.axes]
    assert all("[" in text for text in words[:1])
    assert figure.get_supxlabel() == "Generated data: users per building"
    note = draw(make_results(summary={"generated": []})).get_supxlabel()
    assert note == ""


@pytest.mark.parametrize("draw", HOSTING)
def test_hosting_only_runs_have_hosting_figures(make_results, draw):
    draw(make_results(siting=False)).savefig(io.BytesIO(), format="png")


@pytest.mark.parametrize("draw", SITING)
def test_a_figure_of_a_missing_table_says_which(make_results, draw):
    with pytest.raises(DataError, match="run a siting study"):
        draw(make_results(siting=False))


def test_the_capacity_curves_are_sorted_and_leave_gaps_out(make_results):
    axes = capacity_distribution(make_results()).axes[0]
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert lines["firm (2)"].tolist() == [12.5, 25.0]
    assert lines["flexible, 98 % of energy (2)"].tolist() == [20.0, 30.0]
    assert lines["firm, limit: voltage (1)"].tolist() == [25.0]
    assert axes.get_title() == "2 connections rated, 2 without a capacity"


def test_shares_of_limits_and_gaps_add_up_to_all_connections(make_results):
    axes = limit_shares(make_results()).axes[0]
    assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(100.0)
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert "limit: voltage" in names
    assert "none: acts on a limit that is broken already" in names


def test_cost_bars_hold_the_terms_with_it_hardware_apart(make_results):
    left, right = comparison_costs(make_results()).axes
    assert [bar.get_height() for bar in left.patches] == [1.5, 1.5, 1.25]
    heights = np.array([bar.get_height() for bar in right.patches]).reshape(-1, 3)
    assert heights.sum(axis=0) == pytest.approx([1.5, 2.5, 1.25])
    assert "NOT comparable" in left.get_xticklabels()[0].get_text()
    assert "M EUR" in left.get_ylabel()


def test_cost_terms_that_are_new_are_drawn_too(make_results):
    table = make_results().comparison.assign(land_use_present=7e6)
    _, right = comparison_costs(make_results(comparison=table)).axes
    labels = right.get_legend_handles_labels()[1]
    assert "land use" in labels


def test_a_comparison_without_costs_says_so(make_results):
    table = make_results().comparison
    bare = table.drop(columns=[c for c in table if c.endswith("_present")])
    with pytest.raises(DataError, match="no cost terms"):
        comparison_costs(make_results(comparison=bare))


def test_loading_counts_what_is_over_100_percent(make_results):
    lines, transformers = loading_before_after(make_results()).axes
    texts = lines.get_legend_handles_labels()[1]
    assert texts == [
        "without new units: 0 of 2 over 100 %",
        "with the plan: 0 of 2 over 100 %",
    ]
    assert "with the plan: 1 of 1" in transformers.get_legend_handles_labels()[1][1]


def test_latency_curves_end_at_all_demand_and_use_the_last_period(make_results):
    axes = latency_by_workload(make_results()).axes[0]
    curves = {line.get_label(): line.get_xydata() for line in axes.lines}
    curve = curves["real-time (limit 20 ms)"]
    assert curve[-1].tolist() == [12.0, 100.0]
    assert curve[1].tolist() == [8.0, 75.0]
    assert curves["batch (limit 500 ms)"][-1].tolist() == [25.0, 100.0]


def test_the_package_leaves_pyplot_pandapower_and_the_feeder_alone():
    code = (
        "import sys, gridsite.report; "
        "bad = {'matplotlib.pyplot', 'pandapower', 'gridsite.feeder'}; "
        "sys.exit(' '.join(bad & set(sys.modules)) or 0)"
    )
    run = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
