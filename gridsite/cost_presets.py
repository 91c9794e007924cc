"""
Cost figures with their sources, for studies that have none of their own.

Two presets: ``vendor-claims`` holds what a vendor says, never verified by anyone
else; ``evidence`` has a low, a typical and a high value of each figure. Money is
in US dollars of 2025. What a study file gives itself always stands.

No source gives computing power per user or roof area per unit: a study has to
name them. A source "assumption" means that none was found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gridsite.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Levels of the preset ``evidence``, from cheap to dear.
LEVELS = ("low", "typical", "high")

#: Largest and smallest accelerators' price gives IT hardware per kW: 16 pieces of
#: 8,000, 8,565 and 9,200 USD and 25 % for the rest, in a unit of 11.36 kW of IT.
_IT = (14_080.0, 15_080.0, 16_200.0)

_GPU = "16 accelerators at 8.0, 8.565, 9.2 kUSD (newgearhub), 25 % more for the rest"
_CW = "Cushman & Wakefield, Data Center Development Cost Guide 2025"
_NONE = "assumption"


class Figure(NamedTuple):
    """
    One cost figure.

    Parameters
    ----------
    section, key : str
        Section (``units``, ``central``, ``economics``) and key of a study file.
    basis : str
        ``money``: US dollars; ``rated_kw``, ``it_kw``: US dollars per kW of a unit;
        "": no money.
    claim : float
        Value of ``vendor-claims``.
    low, typical, high : float
        Values of ``evidence``.
    unit : str
        Unit, as in the study file or per kW.
    source : str
        Where the values are from.
    """

    section: str
    key: str
    basis: str
    claim: float
    low: float
    typical: float
    high: float
    unit: str
    source: str


#: Every figure of the presets.
FIGURES = (
    Figure("units", "it_capital", "it_kw", _IT[1], *_IT, "USD/kW", _GPU),
    Figure(
        "units", "infrastructure_capital", "rated_kw", 3_000.0, 3_000.0, 7_000.0,
        9_400.0, "USD/kW",
        "claim: 3 MUSD/MW (davidborish); typical, high: 40 % and 20 % below the mean "
        "central site, a vendor's claim for modular sites (moduledge)",
    ),
    Figure(
        "units", "installation_capital", "money", 0.0, 1_500.0, 3_000.0, 6_000.0,
        "USD", f"{_NONE}; the claim holds it",
    ),
    Figure("units", "pue", "", 1.1, 1.05, 1.1, 1.2, "-", f"{_NONE}: liquid cooled"),
    Figure(
        "units", "lead_months", "", 6.0, 6.0, 9.0, 12.0, "months",
        "claim: 8,000 homes in 6 months (davidborish); high: distribution "
        "transformers take 30 to 50 weeks (particlenews)",
    ),
    Figure("central", "it_capital_per_kw", "money", _IT[1], *_IT, "USD/kW", _GPU),
    Figure(
        "central", "capital_per_mw_it", "money", 15e6, 9.3e6, 12.5e6, 16.5e6,
        "USD/MW",
        f"claim: 15 MUSD/MW (davidborish); 9.3, 11.7, 15.0 MUSD/MW ({_CW}) with 0, 7 "
        "and 10 % more for liquid cooling (Turner & Townsend 2025-26)",
    ),
    Figure(
        "central", "grid_connection_per_mw", "money", 0.0, 0.4e6, 0.4e6, 0.4e6,
        "USD/MW", "one substation, 110 MUSD for some 280 MW (cai-engr): weak",
    ),
    Figure(
        "central", "scale_exponent", "", 1.0, 0.85, 0.92, 1.0, "-",
        "two points: 16.7 MUSD for 1 MW (slidegur), 11.7 MUSD/MW when large: weak",
    ),
    Figure(
        "central", "pue", "", 1.4, 1.1, 1.4, 1.58, "-",
        "Google; US mean 2023 (LBNL); surveyed mean 2023 (Uptime)",
    ),
    Figure(
        "central", "lead_months", "", 36.0, 18.0, 21.0, 24.0, "months",
        "claim: 3 to 5 years (davidborish); 18 to 24 months to build "
        "(constructionowners)",
    ),
    Figure(
        "central", "power_wait_months", "", 36.0, 24.0, 48.0, 84.0, "months",
        "2 to 3 years, 4 on average (JLL 2026), 7 in northern Virginia (Dominion)",
    ),
    Figure(
        "central", "energy_price_per_kwh", "money", 0.085, 0.060, 0.085, 0.173,
        "USD/kWh", "US industrial: Iowa; 8.1 to 8.7 ct; New England (EIA 5.6.A)",
    ),
    Figure(
        "central", "maintenance_per_it_kw_year", "money", 150.0, 60.0, 150.0, 400.0,
        "USD/kW a", f"{_NONE}: no benchmark is published",
    ),
    Figure(
        "central", "water_l_per_kwh", "", 0.38, 0.0, 0.38, 3.0, "l/kWh",
        "dry; usual (hydraulogistics); evaporative (globalheadofdatacenterenergy)",
    ),
    Figure(
        "economics", "building_energy_price_per_kwh", "money", 0.1729, 0.134, 0.1729,
        0.29, "USD/kWh", "US residential: Iowa; mean 2025; New England (EIA)",
    ),
    Figure(
        "economics", "host_payment_per_rated_kw_year", "money", 144.0, 0.0, 144.0,
        288.0, "USD/kW a",
        "net subsidy of 0, 150, 300 USD a month for 12.5 kW (Ars Technica)",
    ),
    Figure(
        "economics", "maintenance_per_it_kw_year", "money", 150.0, 120.0, 300.0,
        800.0, "USD/kW a", f"{_NONE}: twice a central site's, since units are spread",
    ),
)  # fmt: skip


def with_preset(content: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the content of a study file with what it leaves to its preset.

    Parameters
    ----------
    content : mapping
        Content of the file; ``[costs]`` names the preset.

    Returns
    -------
    dict
        A copy. Figures that the file gives stay.

    Raises
    ------
    ConfigError
        If the preset or its level is unknown, or the rate of exchange is missing.

    Examples
    --------
    >>> content = {
    ...     "costs": {"preset": "evidence"},
    ...     "economics": {"currency": "USD"},
    ...     "units": [{"rated_kw": 12.5, "it_kw": 11.0, "pue": 1.04}],
    ... }
    >>> unit = with_preset(content)["units"][0]
    >>> unit["infrastructure_capital"], unit["pue"]
    (87500.0, 1.04)
    """
    costs = content.get("costs")
    if not isinstance(costs, dict) or "preset" not in costs:
        return dict(content)
    column, rate = _column(costs), _rate(costs, content)
    found = dict(content)
    for section in ("units", "central"):
        rows = content.get(section, [])
        if isinstance(rows, list):
            found[section] = [_filled(section, row, column, rate) for row in rows]
    economics = _filled("economics", content.get("economics", {}), column, rate)
    host = economics.pop("host_payment_per_rated_kw_year", None)
    if host is not None and "host_payment_per_unit_year" not in economics:
        economics["host_payment_per_unit_year"] = {
            unit["unit"]: host * unit["rated_kw"]
            for unit in found.get("units", [])
            if {"unit", "rated_kw"} <= unit.keys()
        }
    return found | {"economics": economics}


def _column(costs: Mapping[str, Any]) -> str:
    preset, level = costs["preset"], costs.get("level", "typical")
    if preset == "vendor-claims":
        return "claim"
    if preset != "evidence":
        msg = f"costs.preset is {preset!r}; use 'vendor-claims' or 'evidence'"
        raise ConfigError(msg)
    if level not in LEVELS:
        msg = f"costs.level is {level!r}; use one of {', '.join(LEVELS)}"
        raise ConfigError(msg)
    return str(level)


def _rate(costs: Mapping[str, Any], content: Mapping[str, Any]) -> float:
    currency = content.get("economics", {}).get("currency", "USD")
    rate = costs.get("currency_per_usd", 1.0 if currency == "USD" else None)
    if not isinstance(rate, int | float) or not 0.0 < rate < float("inf"):
        msg = (
            f"costs.currency_per_usd is {rate!r}: presets are in US dollars; give how "
            f"many {currency} one of them costs"
        )
        raise ConfigError(msg)
    return rate


def _filled(
    section: str, row: Mapping[str, Any], column: str, rate: float
) -> dict[str, Any]:
    """Return a section with the figures that it does not give."""
    filled = dict(row)
    for figure in FIGURES:
        if figure.section != section or figure.key in filled:
            continue
        value = getattr(figure, column)
        if figure.basis in ("it_kw", "rated_kw"):
            if not isinstance(row.get(figure.basis), int | float):
                continue  # the check of the file names what is missing
            value *= row[figure.basis]
        filled[figure.key] = value * rate if figure.basis else value
    return filled
