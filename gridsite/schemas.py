"""
The tables that cross between the parts of gridsite, checked at the door.

Column names are the contract, the unit stands in the name, and a table may
always carry more columns than the ones fixed here. ``check_table`` reports
every fault of a table at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pandera.pandas as pa

from gridsite.errors import ConfigError, SchemaError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

#: Version of the table contract, written to ``manifest.json`` and Parquet metadata.
SCHEMA_VERSION = "1"

#: Values of ``firm_status`` and ``flexible_status``.
STATUSES = (
    "ok",
    "none_base_violation",
    "censored",
    "unrated",
    "unsupplied",
    "lacks_phase",
    "not_converged",
)

#: Values of ``strategy`` in the comparison.
STRATEGIES = ("distributed", "central", "hybrid")

_T = TypeVar("_T", bound="pd.DataFrame")


def _text(*, isin: Sequence[str] | None = None) -> pa.Column:
    checks = [pa.Check.isin(list(isin))] if isin else []
    return pa.Column(str, checks, coerce=True)


def _number(
    low: float | None = None,
    high: float | None = None,
    *,
    nullable: bool = False,
) -> pa.Column:
    checks = []
    if low is not None:
        checks.append(pa.Check.ge(low))
    if high is not None:
        checks.append(pa.Check.le(high))
    return pa.Column(float, checks, nullable=nullable, coerce=True)


def _count() -> pa.Column:
    return pa.Column(int, [pa.Check.ge(0)], coerce=True)


def _flag() -> pa.Column:
    return pa.Column(bool, coerce=True)


def _any(*, nullable: bool = True) -> pa.Column:
    return pa.Column(None, nullable=nullable)


def _table(key: Sequence[str], **columns: pa.Column) -> pa.DataFrameSchema:
    return pa.DataFrameSchema(dict(columns), unique=list(key), strict=False)


_PERIOD = {"period": _count()}

SCHEMAS: dict[str, pa.DataFrameSchema] = {
    "buildings": _table(
        ["building_id"],
        building_id=_text(),
        geometry=_any(nullable=False),
        roof_area_m2=_number(0.0),
        use=_text(),
        access_network=_text(),
    ),
    "connections": _table(
        ["building_id", "port_id"],
        building_id=_text(),
        port_id=_text(),
        bus=_text(),
        phases=_text(),
        service_a=_number(0.0, nullable=True),
        service_v=_number(0.0, nullable=True),
        match_method=_text(),
        match_distance_m=_number(0.0, nullable=True),
        match_confidence=_number(0.0, 1.0),
        assumed=_flag(),
    ),
    "hosting": _table(
        ["building_id", "port_id"],
        building_id=_text(),
        port_id=_text(),
        feeder_id=_text(),
        bus=_text(),
        phases=_text(),
        service_headroom_kw=_number(0.0, nullable=True),
        firm_kw=_number(0.0, nullable=True),
        firm_status=_text(isin=STATUSES),
        flexible_energy98_kw=_number(0.0, nullable=True),
        flexible_hours98_kw=_number(0.0, nullable=True),
        flexible_status=_text(isin=STATUSES),
        limit_criterion=_text(),
        limit_element=_text(),
        limit_time=_any(),
        second_criterion=_text(),
        second_element=_text(),
        assumed=_flag(),
    ),
    "units": _table(
        ["unit"],
        unit=_text(),
        rated_kw=_number(0.0),
        it_kw=_number(0.0),
        power_factor=_number(0.5, 1.0),
        phases=_text(),
        footprint_m2=_number(0.0),
        capital_cost=_number(0.0),
        life_years=_number(0.0),
        lead_periods=_count(),
        min_power_share=_number(0.0, 1.0),
    ),
    "workloads": _table(
        ["workload"],
        workload=_text(),
        rtt_limit_ms=_number(0.0),
        rtt_target_ms=_number(0.0),
        min_share_within_target=_number(0.0, 1.0),
        unserved_cost=_number(0.0, nullable=True),
        redundancy=_count(),
    ),
    "zones": _table(["zone_id"], zone_id=_text(), geometry=_any(), users=_number(0.0)),
    "demand": _table(
        ["zone_id", "workload", "period"],
        zone_id=_text(),
        workload=_text(),
        **_PERIOD,
        demand_it_kw=_number(0.0),
    ),
    "sites": _table(
        ["site_id"],
        site_id=_text(),
        kind=_text(isin=("building", "central")),
        building_id=_text(),
        feeder_id=_text(),
        utility=_text(),
        area=_text(),
        fixed_capital=_number(0.0),
        max_power_kw=_number(0.0, nullable=True),
        access_ms=_number(0.0),
    ),
    "site_options": _table(
        ["site_id", "unit", "port_id"],
        site_id=_text(),
        unit=_text(),
        port_id=_text(),
        unit_capital=_number(0.0),
        unit_per_year=_number(),
        max_units=_count(),
        existing_units=_count(),
        available_from=_count(),
        own_limit_kw=_number(0.0, nullable=True),
    ),
    "arcs": _table(
        ["zone_id", "workload", "site_id", "period"],
        zone_id=_text(),
        workload=_text(),
        site_id=_text(),
        **_PERIOD,
        rtt_ms=_number(0.0),
        cost_per_it_kw=_number(),
    ),
    "rows": _table(
        ["row_id"],
        row_id=_text(),
        criterion=_text(),
        element=_text(),
        time=_any(),
        **_PERIOD,
        headroom=_number(0.0),
        unit=_text(isin=("kW", "kVA", "A", "pu", "%")),
    ),
    "row_coefficients": _table(
        ["row_id", "port_id"],
        row_id=_text(),
        port_id=_text(),
        coefficient=_number(),
    ),
    "groups": _table(
        ["group_id", "site_id"],
        group_id=_text(),
        site_id=_text(),
        kind=_text(isin=("feeder", "transformer", "utility", "area")),
        max_units=_number(0.0, nullable=True),
        max_kw=_number(0.0, nullable=True),
        onboarding_cost=_number(0.0),
    ),
    "upgrades": _table(
        ["upgrade_id"],
        upgrade_id=_text(),
        element=_text(),
        kind=_text(),
        capital=_number(0.0),
        lead_periods=_count(),
        excludes=_text(),
    ),
    "upgrade_effects": _table(
        ["upgrade_id", "row_id"],
        upgrade_id=_text(),
        row_id=_text(),
        added_headroom=_number(0.0),
    ),
    "periods": _table(
        ["period"],
        **_PERIOD,
        start_months=_number(0.0),
        present_value_factor=_number(0.0),
        capital_factor=_number(0.0),
        max_added_units=_number(0.0, nullable=True),
    ),
    "capital_factors": _table(
        ["table", "item", "term", "period"],
        table=_text(isin=("site_options", "sites", "groups", "upgrades")),
        item=_text(),
        term=_text(),
        **_PERIOD,
        factor=_number(0.0),
    ),
    "running_factors": _table(
        ["site_id", "term", "period"],
        site_id=_text(),
        term=_text(),
        **_PERIOD,
        factor=_number(0.0),
    ),
    "plan": _table(
        ["site_id", "unit", "port_id", "period"],
        site_id=_text(),
        unit=_text(),
        port_id=_text(),
        **_PERIOD,
        building_id=_text(),
        added=_count(),
        count=_count(),
        rated_kw=_number(0.0),
        it_kw=_number(0.0),
    ),
    "assignment": _table(
        ["zone_id", "workload", "site_id", "period"],
        zone_id=_text(),
        workload=_text(),
        site_id=_text(),
        **_PERIOD,
        it_kw=_number(0.0),
        rtt_ms=_number(0.0),
    ),
    "elements": _table(
        ["element"],
        element=_text(),
        kind=_text(),
        from_bus=_text(),
        to_bus=_text(),
        rating=_number(0.0, nullable=True),
        base_peak_percent=_number(0.0, nullable=True),
        plan_peak_percent=_number(0.0, nullable=True),
        geometry=_any(),
    ),
    "violations": _table(
        ["element", "criterion", "time"],
        element=_text(),
        criterion=_text(),
        time=_any(),
        value=_number(nullable=True),
        limit=_number(),
        base_value=_number(nullable=True),
        excess=_number(nullable=True),
    ),
    "comparison": _table(
        ["strategy"],
        strategy=_text(isin=STRATEGIES),
        status=_text(),
        objective=_number(nullable=True),
        gap=_number(nullable=True),
        served_share=_number(0.0, nullable=True),
    ),
}


def check_table(name: str, table: _T) -> _T:
    """
    Return a table after checking that it keeps its contract.

    Parameters
    ----------
    name : str
        Name of the table, a key of ``SCHEMAS``.
    table : pandas.DataFrame or geopandas.GeoDataFrame
        The table; columns beyond the contract are kept as they are.

    Returns
    -------
    pandas.DataFrame or geopandas.GeoDataFrame
        A copy with the fixed columns in their contract's types, indexed from 0.

    Raises
    ------
    ConfigError
        If there is no contract of that name.
    SchemaError
        If a column is missing, has values outside its range, misses values
        that it must have, or a key stands twice. ``failures`` lists them all.

    Examples
    --------
    >>> import pandas as pd
    >>> zones = pd.DataFrame({"zone_id": ["a", "b"], "users": [3, -1]})
    >>> check_table("zones", zones.assign(geometry=None))
    Traceback (most recent call last):
    ...
    gridsite.errors.SchemaError: table 'zones': column 'users' fails \
greater_than_or_equal_to(0.0) in 1 row(s), first values [-1.0]
    """
    if name not in SCHEMAS:
        msg = f"no table contract is called {name!r}; known: {', '.join(SCHEMAS)}"
        raise ConfigError(msg)
    try:
        checked: Any = SCHEMAS[name].validate(table.reset_index(drop=True), lazy=True)
    except pa.errors.SchemaErrors as error:
        failures = error.failure_cases
        raise SchemaError(_describe(name, failures), failures) from error
    result: _T = checked
    return result


def _describe(name: str, failures: pd.DataFrame) -> str:
    """Return one line that names each failed column, check and first values."""
    parts = []
    for (column, check), group in failures.groupby(
        ["column", "check"], sort=False, dropna=False
    ):
        if check == "column_in_dataframe":
            missing = ", ".join(repr(v) for v in group["failure_case"].unique())
            parts.append(f"column(s) missing: {missing}")
            continue
        values = group["failure_case"].unique()[:3].tolist()
        parts.append(
            f"column {column!r} fails {check} in {len(group)} row(s), "
            f"first values {values}"
        )
    return f"table {name!r}: " + "; ".join(parts)
