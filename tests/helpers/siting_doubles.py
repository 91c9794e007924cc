"""Stand-ins for the solver and for the replay of plans."""

from dataclasses import dataclass

import pandas as pd

from gridsite.siting import empty_table
from gridsite.siting.highs import HighsWorker, shared_worker


class Liar(HighsWorker):
    """Answers what it is told to, whatever the problem."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def run(self, matrix, **options):
        return self.change(matrix, shared_worker().run(matrix, **options))


@dataclass
class Seen:
    violations: pd.DataFrame
    rows: pd.DataFrame
    row_coefficients: pd.DataFrame


def safe():
    names = ("violations", "rows", "row_coefficients")
    return Seen(*(empty_table(name) for name in names))


def violation():
    values = {"value": 2.0, "limit": 1.0, "base_value": 0.5, "excess": 1.0}
    return pd.DataFrame(
        [{"element": "T1", "criterion": "current", "time": "18:00"} | values]
    )


class Grid:
    """A grid on which the two buildings together really get only `limit_kw`."""

    def __init__(self, records, limit_kw, tighten=None):
        self.records, self.limit_kw = records, limit_kw
        self.tighten = tighten or (lambda draw: max(draw - 6.0, 0.0))
        self.seen = []

    def __call__(self, plan):
        draw = plan.loc[plan["port_id"] != "", "rated_kw"].sum()
        self.seen.append(draw)
        if draw <= self.limit_kw:
            return safe()
        name = f"cut {len(self.seen)}"
        row = self.records.row(name, self.tighten(draw))
        terms = self.records.coefficients(name, port_b1=1.0, port_b2=1.0)
        return Seen(violation(), pd.DataFrame([row]), pd.DataFrame(terms))
