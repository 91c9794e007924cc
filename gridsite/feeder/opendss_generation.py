r"""
What generators and PV systems of an OpenDSS circuit give over a year.

A **generator** gives its power times its load shape: the ``yearly`` one, else the
``daily`` one day after day (which OpenDSS's yearly run leaves out). A **PV system**
of rated panel power :math:`P_{mpp}` has, at the irradiance :math:`G` times the shape
:math:`f` and the temperature :math:`T`, in OpenDSS's order:

.. math::

    P_{dc} = G f\, k_T(T)\, P_{mpp}, \qquad
    P = \min\bigl(P_{dc}\, \eta(P_{dc} / S),\; P_{max}\bigr)

with the curves ``P-TCurve`` (:math:`k_T`) and ``EffCurve`` (:math:`\eta`). The
inverter starts at ``%CutIn`` and stops below ``%CutOut``, both per cent of ``kVA``
(:math:`S`). Its reactive power follows from ``pf`` or is ``kvar``, within ``kvarMax``
and ``kvarMaxAbs``; what is left of :math:`S` goes to the reactive power first, with
``WattPriority`` to the active.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Points of a curve: x, then y.
Curve = tuple[tuple[float, ...], tuple[float, ...]]

#: Largest difference from the engine's own snapshot, as a share of the panel's power.
SNAPSHOT_OFF = 1e-4

#: Properties of a PV system that must be as here for its year to be known.
_PLAIN = {"pfpriority": "No", "%pminnovars": "0", "%pminkvarmax": "0"}
_PLAIN |= {"limitcurrent": "No", "controlmode": "GFL"}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """
    Hold a PV system, its powers per unit of the rated power of its panel.

    Parameters
    ----------
    irradiance : float
        What the shape multiplies. [kW/m2]
    kva : float
        Rated power of the inverter. [pu]
    cut_in, cut_out : float
        Power of the panel at which the inverter starts, and below which it stops. [pu]
    p_max : float
        Largest active power. [pu]
    power_factor : float or None
        Negative where it draws reactive power; None where ``kvar`` is given. [-]
    kvar, kvar_max, kvar_min : float
        Reactive power given, and the largest given and drawn. [pu]
    follows : bool
        Whether reactive power is 0 while the inverter is off.
    watts_first : bool
        Whether reactive power gives way at the rated power.
    temperature_c : float
        Of the panel where no shape gives it. [degC]
    temperature_shape : str
        Name of the shape of its temperature; empty without one.
    efficiency, by_temperature : Curve or None
        Efficiency by power over ``kva``, factor of power by temperature.
    """

    irradiance: float
    kva: float
    cut_in: float
    cut_out: float
    p_max: float
    power_factor: float | None
    kvar: float
    kvar_max: float
    kvar_min: float
    follows: bool
    watts_first: bool
    temperature_c: float
    temperature_shape: str
    efficiency: Curve | None
    by_temperature: Curve | None

    def power(
        self, shape: Floats, temperature_c: Floats | float | None = None
    ) -> tuple[Floats, Floats]:
        """
        Return what the system gives, step after step.

        Parameters
        ----------
        shape : numpy.ndarray of float, shape (n_step,)
            Irradiance over the file's. [-]
        temperature_c : numpy.ndarray or float, optional
            Temperature of the panel, ``temperature_c`` without it. [degC]

        Returns
        -------
        p : numpy.ndarray of float, shape (n_step,)
            Active power that it gives. [pu]
        q : numpy.ndarray of float, shape (n_step,)
            Reactive power that it gives. [pu]

        Examples
        --------
        >>> panel = Panel(
        ...     irradiance=1.0,
        ...     kva=0.9,
        ...     cut_in=0.18,
        ...     cut_out=0.18,
        ...     p_max=1.0,
        ...     power_factor=1.0,
        ...     kvar=0.0,
        ...     kvar_max=0.9,
        ...     kvar_min=0.9,
        ...     follows=False,
        ...     watts_first=False,
        ...     temperature_c=25.0,
        ...     temperature_shape="",
        ...     efficiency=None,
        ...     by_temperature=None,
        ... )
        >>> panel.power(np.array([0.1, 0.5, 1.0]))[0]
        array([0. , 0.5, 0.9])
        """
        panel = self.irradiance * np.asarray(shape, dtype=float)
        if self.by_temperature is not None:
            degrees = self.temperature_c if temperature_c is None else temperature_c
            panel = panel * _read_curve(self.by_temperature, np.asarray(degrees))
        on = _running(panel, self.cut_in, self.cut_out)
        p = panel
        if self.efficiency is not None:
            p = panel * _read_curve(self.efficiency, panel / self.kva)
        p = np.where(on, np.minimum(p, self.p_max), 0.0)
        q = self._reactive(p)
        if self.follows:
            q = np.where(on, q, 0.0)
        return self._within_rating(p, q)

    def _reactive(self, p: Floats) -> Floats:
        """Return the reactive power that goes with an active one, within limits."""
        q = np.full_like(p, self.kvar)
        if self.power_factor is not None:
            tan = np.sqrt(1.0 / self.power_factor**2 - 1.0)
            q = p * tan * np.sign(self.power_factor)
        return np.clip(q, -self.kvar_min, self.kvar_max)

    def _within_rating(self, p: Floats, q: Floats) -> tuple[Floats, Floats]:
        """Return powers that the inverter can give together."""
        over = np.hypot(p, q) > self.kva
        if self.watts_first:
            p = np.minimum(p, self.kva)
            left = np.sqrt(np.maximum(self.kva**2 - p**2, 0.0)) * np.sign(q)
            return p, np.where(over, left, q)
        left = np.sqrt(np.maximum(self.kva**2 - q**2, 0.0)) * np.sign(p)
        return np.where(over, left, p), q


def _running(panel: Floats, cut_in: float, cut_out: float) -> NDArray[np.bool_]:
    """Tell when an inverter runs that starts and stops at powers of its panel."""
    turned = np.select([panel < cut_out, panel >= cut_in], [0.0, 1.0], np.nan)
    on = pd.Series(turned).ffill().fillna(1.0)
    return on.to_numpy() > 0.0


def _read_curve(curve: Curve, at: Floats) -> Floats:
    """Read a curve between its points, and straight on beyond them, as OpenDSS does."""
    x, y = np.array(curve[0]), np.array(curve[1])
    if len(x) == 1:
        return np.full_like(at, y[0])
    k = np.clip(np.searchsorted(x, at) - 1, 0, len(x) - 2)
    value: Floats = y[k] + (at - x[k]) * (y[k + 1] - y[k]) / (x[k + 1] - x[k])
    return value


def generation_year(circuit: Any, element: Any, kind: str) -> dict[str, Any]:  # noqa: ANN401
    """
    Return what a generator or PV system starts a year from.

    Parameters
    ----------
    circuit : dss.ICircuit
        The solved circuit, the element active.
    element : dss.ICktElement
        The element.
    kind : {"generator", "pvsystem", "storage"}
        Its class.

    Returns
    -------
    dict
        ``year_kw``, ``year_kvar``: what it draws where its shape is 1 (below 0; of a
        PV system, the rated power of its panel). [kW], [kvar] ``profile``: name of
        the shape that it follows; empty where it has none, or what it does over a
        year is not known. ``panel``: of a PV system. ``left_out``: whether it has a
        shape and is not known.
    """
    draws = complex(np.asarray(element.Powers, dtype=float).view(complex).sum())
    out = {"year_kw": draws.real, "year_kvar": draws.imag, "profile": ""}
    out |= {"panel": None, "left_out": False}
    if kind == "storage":
        return out
    filed = _properties(element)
    shape = (filed["yearly"] or filed["daily"]).lower()
    if not shape:
        return out
    if kind == "generator":
        if filed["status"].lower() == "fixed":
            return out
        known = float(filed["dispvalue"]) == 0.0
        known |= filed["dispmode"].lower() == "default"
        times = float(circuit.Solution.GenMult)
        own = {"year_kw": -times * float(filed["kw"])}
        own |= {"year_kvar": -times * float(filed["kvar"])}
        return out | own | {"profile": shape} if known else out | {"left_out": True}
    panel, rated = _panel(circuit, filed), float(filed["pmpp"])
    if panel is None or not _as_solved(panel, -draws / rated):
        return out | {"left_out": True}
    own = {"year_kw": -rated, "year_kvar": -rated}
    return out | own | {"profile": shape, "panel": panel}


def _properties(element: Any) -> dict[str, str]:  # noqa: ANN401
    names = [str(name) for name in element.AllPropertyNames]
    return {name.lower(): str(element.Properties(name).Val) for name in names}


def _as_solved(panel: Panel, gives: complex) -> bool:
    """Tell whether a panel gives what the engine's snapshot has. [pu]"""
    p, q = panel.power(np.ones(1))
    if panel.power_factor is None and panel.follows and p[0] == 0.0:
        return False  # off, so that the kvar filed does not show
    return bool(abs(complex(p[0], q[0]) - gives) <= SNAPSHOT_OFF)


def _panel(circuit: Any, filed: dict[str, str]) -> Panel | None:  # noqa: ANN401
    """Return a PV system; None where it does what a `Panel` does not."""
    plain = all(filed.get(name, value) == value for name, value in _PLAIN.items())
    rated, kva = float(filed["pmpp"]), float(filed["kva"])
    cut_in, cut_out = (float(filed[name]) / 100.0 for name in ("%cutin", "%cutout"))
    if not plain or not rated > 0.0 or not kva > 0.0 or cut_in < cut_out:
        return None
    # pf or kvar, the last filed; the kvar that it reads is what is left of them
    by_kvar = "kvar" in json.loads(circuit.ActiveDSSElement.ToJSON())
    watts_first = filed["wattpriority"] == "Yes"
    if by_kvar and watts_first:
        return None
    return Panel(
        irradiance=float(filed["irradiance"]),
        kva=kva / rated,
        cut_in=cut_in * kva / rated,
        cut_out=cut_out * kva / rated,
        p_max=float(filed["%pmpp"]) / 100.0,
        power_factor=None if by_kvar else float(filed["pf"]),
        kvar=float(filed["kvar"]) / rated,
        kvar_max=abs(float(filed["kvarmax"])) / rated,
        kvar_min=abs(float(filed["kvarmaxabs"])) / rated,
        follows=filed["varfollowinverter"] == "Yes",
        watts_first=watts_first,
        temperature_c=float(filed["temperature"]),
        temperature_shape=(filed["tyearly"] or filed["tdaily"]).lower(),
        efficiency=_curve(circuit, filed["effcurve"]),
        by_temperature=_curve(circuit, filed["p-tcurve"]),
    )


def _curve(circuit: Any, name: str) -> Curve | None:  # noqa: ANN401
    """Return the points of a curve as the engine reads them: scales do not count."""
    if not name:
        return None
    curves = circuit.XYCurves
    curves.Name = name
    return tuple(map(float, curves.Xarray)), tuple(map(float, curves.Yarray))
