"""Why each building of a study hosts units, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from gridsite.report.display import STATUS_TEXT, last_period

if TYPE_CHECKING:
    from gridsite.siting import Plan
    from gridsite.study.place_inputs import Places
    from gridsite.study.siting_inputs import SitingInputs

#: What becomes of a building, in the order in which it is asked.
OUTCOMES = (
    "left out",
    "chosen",
    "no capacity",
    "too small",
    "out of reach",
    "full",
    "not needed",
)


def building_reasons(
    places: Places, hosting: pd.DataFrame, inputs: SitingInputs, plan: Plan
) -> pd.DataFrame:
    """
    Return why each building hosts units in the last period, or none.

    Parameters
    ----------
    places : Places
        Buildings, and those left out.
    hosting : pandas.DataFrame
        Contract ``hosting``.
    inputs : SitingInputs
        The siting problem's tables.
    plan : Plan
        The plan.

    Returns
    -------
    pandas.DataFrame
        ``building_id, outcome, reason``: one row per building, ``outcome`` as in
        `OUTCOMES`. ``full``: by the last grid row that has no room for one more of the
        least unit beside the plan; not looked at where works are built, which add to
        rows. ``not needed``: what it could serve is served elsewhere, and no plan is
        known to cost less, within the gap.
    """
    found = dict(
        zip(places.left_out["building_id"], places.left_out["reason"], strict=True)
    )
    rows = {name: ("left out", str(text)) for name, text in found.items()}
    chosen = _chosen(plan)
    options = inputs.site_options
    full = _full(inputs, plan) if plan.upgrades.empty else {}
    least = options.groupby("site_id")["unit"].first()
    reached = set(inputs.arcs["site_id"])
    best = hosting.sort_values("firm_kw", ascending=False, na_position="last")
    best = best.drop_duplicates("building_id").set_index("building_id")
    roof = places.buildings.set_index("building_id")["roof_area_m2"]
    for name in places.buildings["building_id"]:
        if name in chosen:
            rows[name] = ("chosen", chosen[name])
        elif name not in best.index:
            rows[name] = ("no capacity", "no connection to the feeder")
        elif name not in least.index:
            rows[name] = _without_option(best.loc[name], float(roof[name]), inputs)
        elif name not in reached:
            text = "no demand within the latency that its workload allows"
            rows[name] = ("out of reach", text)
        elif name in full:
            rows[name] = ("full", full[name])
        else:
            text = f"served elsewhere; no plan known costs less, within {plan.gap:.2%}"
            rows[name] = ("not needed", text)
    table = [(str(name), *row) for name, row in rows.items()]
    return pd.DataFrame(table, columns=["building_id", "outcome", "reason"])


def _chosen(plan: Plan) -> dict[str, str]:
    """Return what stands on each building that has units."""
    last = last_period(plan.plan)
    served = last_period(plan.assignment).groupby("site_id")["it_kw"].sum()
    at = last[last["port_id"] != ""]
    texts = {}
    for name, part in at.groupby("building_id"):
        counts = part.groupby("unit")["count"].sum()
        mix = ", ".join(f"{count} x {unit}" for unit, count in counts.items())
        kw, it_kw = (
            part["rated_kw"].sum(),
            served.reindex(part["site_id"].unique()).sum(),
        )
        texts[str(name)] = f"{mix}: {kw:g} kW rated, serves {it_kw:.3g} kW of computing"
    return texts


def _without_option(
    row: pd.Series, roof_m2: float, inputs: SitingInputs
) -> tuple[str, str]:
    """Return why no unit fits at a building."""
    limit = " of ".join(
        str(row[name]) for name in ("limit_criterion", "limit_element") if row[name]
    )
    if row["firm_status"] != "ok":
        text = STATUS_TEXT[str(row["firm_status"])]
        return "no capacity", f"{text}; {limit}" if limit else text
    units = inputs.config.units
    kw = min(unit.rated_kw for unit in units)
    if row["firm_kw"] < kw:
        text = f"firm capacity {row['firm_kw']:.2f} kW, the least unit {kw:g} kW"
        return "too small", f"{text}; {limit}" if limit else text
    area = min(unit.footprint_m2 for unit in units)
    if roof_m2 < area:
        return "too small", f"roof {roof_m2:.0f} m2, the least unit {area:g} m2"
    return "too small", "no unit fits its capacity, roof and phases together"


def _full(inputs: SitingInputs, plan: Plan) -> dict[str, str]:
    """Return buildings where no unit fits beside the plan, and the row in the way."""
    last = int(inputs.periods["period"].max())
    rows = plan.rows[plan.rows["period"] == last].set_index("row_id")
    terms = plan.row_coefficients[plan.row_coefficients["row_id"].isin(rows.index)]
    stands = last_period(plan.plan).groupby("port_id")["rated_kw"].sum()
    drawn = terms["port_id"].map(stands).fillna(0.0) * terms["coefficient"]
    used = drawn.groupby(terms["row_id"]).sum()
    left = (rows["headroom"] - used.reindex(rows.index, fill_value=0.0)).to_dict()
    rated = inputs.units.set_index("unit")["rated_kw"]
    options = inputs.site_options[inputs.site_options["port_id"] != ""]
    options = options.assign(kw=options["unit"].map(rated))
    least = options.groupby(["site_id", "port_id"])["kw"].min().reset_index()
    wanted = least.merge(terms, on="port_id")
    room = wanted["row_id"].map(left) * (1.0 + 1e-9)
    stopped = wanted[wanted["coefficient"] * wanted["kw"] > room]
    stopped = stopped.drop_duplicates(["site_id", "port_id"])
    # full where every connection is
    count = least.groupby("site_id")["port_id"].size()
    full = stopped.groupby("site_id")["port_id"].size().eq(count).fillna(value=False)
    texts = {}
    for name, row_id in stopped.set_index("site_id")["row_id"].items():
        if bool(full.get(name, False)):
            row = rows.loc[row_id]
            when = f" at {row['time']}" if str(row["time"]) not in {"", "NaT"} else ""
            text = f"{row['criterion']} of {row['element']}{when} has no room"
            texts[str(name)] = f"{text} for its least unit beside the plan"
    return texts
