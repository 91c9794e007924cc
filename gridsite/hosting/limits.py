"""Which limits a load must keep, their values and the norms behind them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gridsite.errors import ConfigError

#: Criteria that can be switched off, in the order in which ties are named.
CRITERIA = (
    "voltage",
    "voltage change",
    "line current",
    "transformer current",
    "service",
    "source",
)

#: What no result of gridsite checks.
NOT_CHECKED = (
    "protection",
    "harmonics",
    "flicker",
    "cold-load pickup",
    "unbalance (balanced model)",
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """
    Hold the limits of a study.

    Parameters
    ----------
    voltage_min_pu, voltage_max_pu : float
        Steady voltage band at every bus, of nominal voltage. [pu]
    voltage_change_pu : float
        Largest drop at the own connection when a load is switched on, taps
        frozen. [pu]
    line_loading_max, transformer_loading_max : float
        Largest current over rated current; no cyclic overload, since compute
        is a flat load. [-]
    source_kva : float or None
        Limit on the apparent power drawn from each source; None: what lies
        above the sources is not checked. [kVA]
    criteria : tuple of str
        Criteria in force, from `CRITERIA`.
    acts_on : float
        Share of a load that must flow through an element, or of the drop at
        the own connection that must reach a bus, for the load to act on it. [-]
    materiality_voltage_pu, materiality_loading : float
        How far a broken limit may move before it counts as worsened.
        [pu, share of rating]
    search_cap_kw : float
        Largest capacity looked for; beyond it the status is ``censored``. [kW]
    name : str
        Norm behind the values.

    Raises
    ------
    ConfigError
        If a value is out of range or a criterion unknown.

    Examples
    --------
    >>> Limits.preset("EN50160").voltage_min_pu
    0.9
    """

    voltage_min_pu: float = 0.90
    voltage_max_pu: float = 1.10
    voltage_change_pu: float = 0.03
    line_loading_max: float = 1.0
    transformer_loading_max: float = 1.0
    source_kva: float | None = None
    criteria: tuple[str, ...] = CRITERIA
    acts_on: float = 0.05
    materiality_voltage_pu: float = 1e-4
    materiality_loading: float = 1e-3
    search_cap_kw: float = 10_000.0
    name: str = "EN50160"

    def __post_init__(self) -> None:
        unknown = [c for c in self.criteria if c not in CRITERIA]
        if unknown:
            msg = f"limits: unknown criteria {unknown}; known: {', '.join(CRITERIA)}"
            raise ConfigError(msg)
        if not 0.5 < self.voltage_min_pu < self.voltage_max_pu < 1.5:
            msg = (
                f"limits: voltage band {self.voltage_min_pu} to {self.voltage_max_pu} "
                "pu is not a band around 1; give fractions of nominal voltage"
            )
            raise ConfigError(msg)
        positive = ["voltage_change_pu", "search_cap_kw", "acts_on"]
        positive += ["materiality_voltage_pu", "materiality_loading"]
        positive += ["source_kva"] if self.source_kva is not None else []
        for field in positive:
            if not getattr(self, field) > 0.0:
                msg = f"limits: {field} is {getattr(self, field)}; give a value above 0"
                raise ConfigError(msg)
        for field in ("line_loading_max", "transformer_loading_max"):
            if not 0.0 < getattr(self, field) <= 5.0:
                msg = (
                    f"limits: {field} is {getattr(self, field)}; give a fraction of "
                    "the rating (1.0 is 100 %)"
                )
                raise ConfigError(msg)

    def on(self, criterion: str) -> bool:
        """
        Return whether a criterion is in force.

        Parameters
        ----------
        criterion : str
            One of `CRITERIA`.

        Returns
        -------
        bool
            True where it is.
        """
        return criterion in self.criteria

    @classmethod
    def preset(cls, name: str) -> Limits:
        """
        Return the limits of a norm.

        Parameters
        ----------
        name : {"EN50160", "ANSI-C84.1-A", "ANSI-C84.1-B"}
            The norm.

        Returns
        -------
        Limits
            Its voltage band; currents at nameplate.

        Raises
        ------
        ConfigError
            If the norm is unknown.

        Notes
        -----
        EN 50160 asks for the band in 95 % of the 10-minute means of a week
        (and -15 % always); here it must hold at every step, the safe side.
        """
        bands = {
            "EN50160": (0.90, 1.10),
            "ANSI-C84.1-A": (0.95, 1.05),
            "ANSI-C84.1-B": (0.917, 1.058),
        }
        if name not in bands:
            msg = f"limits: no preset {name!r}; known: {', '.join(bands)}"
            raise ConfigError(msg)
        low, high = bands[name]
        return replace(cls(), voltage_min_pu=low, voltage_max_pu=high, name=name)
