"""Maps, figures, tables and files drawn from result tables."""

from gridsite.report.explanation import explanation_figure, explanation_tables
from gridsite.report.export import Results, check_folder, read_results, write_results
from gridsite.report.figures import (
    capacity_distribution,
    comparison_costs,
    deployment,
    latency_by_workload,
    limit_shares,
    loading_before_after,
)
from gridsite.report.map import siting_map
from gridsite.report.tables import (
    comparison_table,
    findings_table,
    hosting_table,
    summary_table,
)
from gridsite.report.together import together_tables

__all__ = [
    "Results",
    "capacity_distribution",
    "check_folder",
    "comparison_costs",
    "comparison_table",
    "deployment",
    "explanation_figure",
    "explanation_tables",
    "findings_table",
    "hosting_table",
    "latency_by_workload",
    "limit_shares",
    "loading_before_after",
    "read_results",
    "siting_map",
    "summary_table",
    "together_tables",
    "write_results",
]
