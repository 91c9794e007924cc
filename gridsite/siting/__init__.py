"""The siting decision: tables in, plan and certificate out."""

from gridsite.siting.audit import recomputed_cost
from gridsite.siting.check import check_plan
from gridsite.siting.conflict import Conflict, conflicting_requirements
from gridsite.siting.costs import (
    arc_cost_terms,
    site_cost_terms,
    unit_cost_terms,
)
from gridsite.siting.economics import Economics, present_capital
from gridsite.siting.plan import Plan
from gridsite.siting.problem import (
    SitingProblem,
    allow_unserved,
    empty_table,
    restrict_sites,
)
from gridsite.siting.solve import Replay, solve

__all__ = [
    "Conflict",
    "Economics",
    "Plan",
    "Replay",
    "SitingProblem",
    "allow_unserved",
    "arc_cost_terms",
    "check_plan",
    "conflicting_requirements",
    "empty_table",
    "present_capital",
    "recomputed_cost",
    "restrict_sites",
    "site_cost_terms",
    "solve",
    "unit_cost_terms",
]
