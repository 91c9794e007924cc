"""Which limits a load must keep, their values and the norms behind them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from gridsite.errors import ConfigError
from gridsite.feeder.base_checks import voltage_limits
from gridsite.hosting.norms import PRESETS, norm_of_country, norm_of_voltages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

#: Criteria that can be switched off, in the order in which ties are named.
CRITERIA = (
    "voltage",
    "voltage change",
    "line current",
    "transformer current",
    "service",
    "source",
    "unbalance",
    "transformer ageing",
)

#: What no result of gridsite checks.
NOT_CHECKED = ("protection", "harmonics", "flicker", "cold-load pickup")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """
    Hold the limits of a study.

    Parameters
    ----------
    voltage_min_pu, voltage_max_pu : float
        Steady voltage band at every bus, of nominal voltage. [pu]
    voltage_bands : tuple of (float, float, float)
        Bands of voltage levels: largest nominal voltage [kV] that the band is
        for, lowest and highest voltage [pu], by rising voltage; levels above
        the last keep ``voltage_min_pu`` and ``voltage_max_pu``.
    voltage_percentile : float or None
        Share of each week's steps that the norm wants within the band, counted
        for the base case; the band itself is kept at every step. [-]
    voltage_absolute_min_pu : float or None
        Lowest voltage that the norm allows at any step, counted likewise. [pu]
    voltage_change_pu : float
        Largest drop at the own connection when a load is switched on, taps
        frozen. [pu]
    line_loading_max, transformer_loading_max : float
        Largest current over rated current; no cyclic overload, since compute
        is a flat load. [-]
    n_minus_1_loading_max : float or None
        Largest current over rated current in the normal state of elements
        that must take over a neighbour's load; None: not checked. [-]
    n_minus_1_above_kv : float
        Only elements whose lowest nominal voltage is above this keep
        ``n_minus_1_loading_max``. [kV]
    source_kva : float or None
        Limit on the apparent power drawn from each source; None: what lies
        above the sources is not checked. [kVA]
    unbalance_max : float
        Largest negative over positive sequence voltage, where the feeder
        model has phases. [-]
    service_rule : {"eu", "nec", "nec-ems"}
        How the rating of a building's service counts (`service_headroom_kw`);
        presets of ANSI C84.1 have ``nec``.
    criteria : tuple of str
        Criteria in force, from `CRITERIA`.
    acts_on : float
        Share of a load that must flow through an element, or of the drop at
        the own connection that must reach a bus, for the load to act on it. [-]
    materiality_voltage_pu, materiality_loading, materiality_unbalance : float
        How far a broken limit may move before it counts as worsened.
        [pu, share of rating, share of positive sequence]
    search_cap_kw : float
        Largest capacity looked for; beyond it the status is ``censored``. [kW]
    name : str
        Norm behind the values.
    notice : str
        What was assumed in choosing the norm, for reports.

    Raises
    ------
    ConfigError
        If a value is out of range or a criterion unknown.

    Notes
    -----
    Where the values come from: voltage, EN 50160 clause 4.2.2 (plus or minus
    10 %) or ANSI C84.1 service voltage, range A or B, up to 600 V and above.
    Voltage change, 3 %, an
    assumption near the 3.3 % of IEC 61000-3-3. Line and transformer current,
    nameplate, without the cyclic 1.5 pu of IEC 60076-7, which rests on cool
    nights. Service, one fuse per phase or NEC 220.87 (`service_headroom_kw`).
    Source, an input. N-1, planning practice of rings fed from two ends: half
    the rating is 0.5 (an assumption of the study, off by default). Unbalance,
    2 % by EN 50160 and IEC 61000-2-2, 3 % by ANSI C84.1. Transformer ageing, IEC
    60076-7, where an ambient temperature is given
    (`gridsite.hosting.ageing_limit`).

    Examples
    --------
    >>> Limits.preset("EN50160").voltage_min_pu
    0.9
    >>> Limits(voltage_bands=((1.0, 0.92, 1.1),)).voltage_min_of([0.4, 20.0])
    array([0.92, 0.9 ])
    """

    voltage_min_pu: float = 0.90
    voltage_max_pu: float = 1.10
    voltage_bands: tuple[tuple[float, float, float], ...] = ()
    voltage_percentile: float | None = 0.95
    voltage_absolute_min_pu: float | None = 0.85
    voltage_change_pu: float = 0.03
    line_loading_max: float = 1.0
    transformer_loading_max: float = 1.0
    n_minus_1_loading_max: float | None = None
    n_minus_1_above_kv: float = 1.0
    source_kva: float | None = None
    unbalance_max: float = 0.02
    service_rule: str = "eu"
    criteria: tuple[str, ...] = CRITERIA
    acts_on: float = 0.05
    materiality_voltage_pu: float = 1e-4
    materiality_loading: float = 1e-3
    materiality_unbalance: float = 1e-4
    search_cap_kw: float = 10_000.0
    name: str = "EN50160"
    notice: str = ""

    def __post_init__(self) -> None:
        unknown = [c for c in self.criteria if c not in CRITERIA]
        if unknown:
            msg = f"limits: unknown criteria {unknown}; known: {', '.join(CRITERIA)}"
            raise ConfigError(msg)
        if self.service_rule not in ("eu", "nec", "nec-ems"):
            msg = (
                f"limits: no service_rule {self.service_rule!r}; "
                "known: eu, nec, nec-ems"
            )
            raise ConfigError(msg)
        self._check_bands()
        self._check_values()

    def _check_bands(self) -> None:
        """Refuse bands that are not around 1, or levels that do not rise."""
        for low, high in (
            (self.voltage_min_pu, self.voltage_max_pu),
            *((low, high) for _, low, high in self.voltage_bands),
        ):
            if not 0.5 < low < 1.0 < high < 1.5:
                msg = (
                    f"limits: voltage band {low} to {high} pu is not a band around 1; "
                    "give fractions of nominal voltage"
                )
                raise ConfigError(msg)
        levels = [0.0, *(kv for kv, _, _ in self.voltage_bands)]
        if not all(a < b for a, b in pairwise(levels)):
            msg = (
                f"limits: voltage_bands are for levels up to {levels[1:]} kV; give "
                "them by rising voltage, each above 0"
            )
            raise ConfigError(msg)

    def _check_values(self) -> None:
        """Refuse values that are not positive, or percents in place of shares."""
        positive = ["voltage_change_pu", "search_cap_kw", "acts_on"]
        positive += ["materiality_voltage_pu", "materiality_loading"]
        positive += ["materiality_unbalance"]
        positive += ["source_kva"] if self.source_kva is not None else []
        for field in positive:
            if not getattr(self, field) > 0.0:
                msg = f"limits: {field} is {getattr(self, field)}; give a value above 0"
                raise ConfigError(msg)
        if not self.n_minus_1_above_kv >= 0.0:
            msg = f"limits: n_minus_1_above_kv is {self.n_minus_1_above_kv}; give kV"
            raise ConfigError(msg)
        most = dict.fromkeys(("line_loading_max", "transformer_loading_max"), 5.0)
        most |= {"n_minus_1_loading_max": 1.0, "unbalance_max": 0.1}
        most |= {"voltage_percentile": 1.0, "voltage_absolute_min_pu": 1.0}
        for field, highest in most.items():
            value = getattr(self, field)
            if value is not None and not 0.0 < value <= highest:
                msg = (
                    f"limits: {field} is {value}; give a fraction "
                    f"(1.0 is 100 %) of at most {highest:g}"
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

    def voltage_min_of(self, voltage_kv: ArrayLike) -> Floats:
        """
        Return the lowest voltage allowed at nodes.

        Parameters
        ----------
        voltage_kv : array-like of float, shape (n,)
            Nominal voltages, line to line. [kV]

        Returns
        -------
        numpy.ndarray, shape (n,)
            Of the band of each level. [pu]
        """
        return voltage_limits(voltage_kv, self._bands())[0]

    def voltage_max_of(self, voltage_kv: ArrayLike) -> Floats:
        """
        Return the highest voltage allowed at nodes.

        Parameters
        ----------
        voltage_kv : array-like of float, shape (n,)
            Nominal voltages, line to line. [kV]

        Returns
        -------
        numpy.ndarray, shape (n,)
            Of the band of each level. [pu]
        """
        return voltage_limits(voltage_kv, self._bands())[1]

    def _bands(self) -> tuple[tuple[float, float, float], ...]:
        rest = (np.inf, self.voltage_min_pu, self.voltage_max_pu)
        return (*self.voltage_bands, rest)

    def loading_max_of(self, kind: Sequence[str], voltage_kv: ArrayLike) -> Floats:
        """
        Return the largest current over rated current of elements.

        Parameters
        ----------
        kind : sequence of str, shape (n,)
            Criterion of each, ``line current`` or ``transformer current`` (or
            the element's kind alone); 1 for any other.
        voltage_kv : array-like of float, shape (n,)
            Lowest nominal voltage that each element touches, so that a
            transformer down to low voltage is no part of a ring. [kV]

        Returns
        -------
        numpy.ndarray, shape (n,)
            Share of the rating. [-]

        Examples
        --------
        >>> ring = Limits(n_minus_1_loading_max=0.5)
        >>> ring.loading_max_of(["line current", "line current"], [20.0, 0.4])
        array([0.5, 1. ])
        """
        names = np.asarray(kind, dtype=object)
        line = np.isin(names, ["line", "line current"])
        transformer = np.isin(names, ["transformer", "transformer current"])
        out: Floats = np.select(
            [line, transformer],
            [self.line_loading_max, self.transformer_loading_max],
            default=1.0,
        )
        if self.n_minus_1_loading_max is not None:
            high = np.asarray(voltage_kv, dtype=float) > self.n_minus_1_above_kv
            shared = (line | transformer) & high
            out[shared] = np.minimum(out[shared], self.n_minus_1_loading_max)
        return out

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
            Its voltage band, unbalance and service rule; currents at nameplate.

        Raises
        ------
        ConfigError
            If the norm is unknown.

        Notes
        -----
        EN 50160 asks for the band in 95 % of the 10-minute means of each week
        (and -15 % always) at low voltage; a capacity keeps it at every step, the
        safe side, and the base case is counted against the rule itself
        (`voltage_quality`). ANSI C84.1 has no percentile: range B voltages are
        to be limited in extent, frequency and duration.
        """
        if name not in PRESETS:
            msg = f"limits: no preset {name!r}; known: {', '.join(PRESETS)}"
            raise ConfigError(msg)
        return replace(cls(), **PRESETS[name], name=name)

    def changed(self, **values: Any) -> Limits:  # noqa: ANN401
        """
        Return these limits with values of one's own.

        Parameters
        ----------
        **values : object
            Fields and their values. ``voltage_min_pu`` or ``voltage_max_pu``
            without ``voltage_bands`` holds at all levels, whatever bands the norm
            gives to levels.

        Returns
        -------
        Limits
            Changed.

        Examples
        --------
        >>> ansi = Limits.preset("ANSI-C84.1-A")
        >>> ansi.voltage_min_of([0.48, 12.47]).tolist()
        [0.95, 0.975]
        >>> ansi.changed(voltage_min_pu=0.93).voltage_min_of([0.48, 12.47]).tolist()
        [0.93, 0.93]
        """
        bands = values.get("voltage_bands", self.voltage_bands)
        if "voltage_bands" not in values:
            low, high = values.get("voltage_min_pu"), values.get("voltage_max_pu")
            bands = tuple(
                (kv, below if low is None else low, above if high is None else high)
                for kv, below, above in self.voltage_bands
            )
        return replace(self, **{**values, "voltage_bands": bands})

    @classmethod
    def for_network(
        cls,
        voltage_kv: ArrayLike,
        *,
        country: str | None = None,
        frequency_hz: float | None = None,
    ) -> Limits:
        """
        Return the limits of a country, given or inferred with a notice.

        Parameters
        ----------
        voltage_kv : array-like of float
            Nominal voltages of the network, line to line. [kV]
        country : str, optional
            Two letters (ISO 3166).
        frequency_hz : float, optional
            Of the network; without it the voltages decide. [Hz]

        Returns
        -------
        Limits
            Of the preset, with a ``notice`` where the norm was inferred.

        Raises
        ------
        ConfigError
            If no norm is known for the country.

        Examples
        --------
        >>> Limits.for_network([12.47, 0.208]).notice
        'limits of ANSI-C84.1-A, inferred from nominal voltages 0.208, 12.47 kV'
        """
        if country is not None:
            return cls.preset(norm_of_country(country))
        name, reason = norm_of_voltages(voltage_kv, frequency_hz=frequency_hz)
        notice = f"limits of {name}, inferred from {reason}"
        return replace(cls.preset(name), notice=notice)
