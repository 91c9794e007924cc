"""The siting decision: tables in, plan and certificate out."""

from gridsite.siting.check import check_plan
from gridsite.siting.costs import (
    Economics,
    arc_cost_terms,
    present_capital,
    site_cost_terms,
    unit_cost_terms,
)
from gridsite.siting.plan import Plan
from gridsite.siting.problem import (
    SitingProblem,
    allow_unserved,
    empty_table,
    restrict_sites,
)
from gridsite.siting.solve import Replay, solve

__all__ = [
    "Economics",
    "Plan",
    "Replay",
    "SitingProblem",
    "allow_unserved",
    "arc_cost_terms",
    "check_plan",
    "empty_table",
    "present_capital",
    "restrict_sites",
    "site_cost_terms",
    "solve",
    "unit_cost_terms",
]
