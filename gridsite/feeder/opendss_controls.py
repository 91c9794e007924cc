"""
Regulator and capacitor controls of an OpenDSS circuit, as `Feeder.controls`.

What the model of `gridsite.feeder.controls` does not carry stays frozen, with a note
that names it and says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gridsite.feeder.controls import Control

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

_SQRT3 = float(np.sqrt(3.0))

#: OpenDSS's numbers of capacitor control types, and what they watch here.
_WATCHED = {0: "current", 1: "voltage", 2: "kvar"}

#: Classes of controls that stand as the snapshot leaves them.
_NOT_MODELLED = (
    "swtcontrol",
    "relay",
    "recloser",
    "fuse",
    "invcontrol",
    "expcontrol",
    "storagecontroller",
    "gendispatcher",
    "upfccontrol",
    "espvlcontrol",
)


def filed_controls(
    circuit: Any,  # noqa: ANN401
    *,
    volts: Floats,
    position: Ints,
    base_kva: float,
    notes: list[str],
) -> tuple[Control, ...]:
    """
    Return the controls in service that the model carries.

    Parameters
    ----------
    circuit : dss.ICircuit
        The solved circuit; its capacitors are moved and put back.
    volts : numpy.ndarray, shape (n,)
        Voltage base of each of the circuit's nodes. [V]
    position : numpy.ndarray of int, shape (n,)
        Node of the feeder; -1 where there is no supply.
    base_kva : float
        Power base. [kVA]
    notes : list of str
        What stays frozen is added here.

    Returns
    -------
    tuple of Control
        Regulators, then capacitors.
    """
    reader = _Reader(circuit, volts, position, base_kva)
    controls, frozen = [], []
    for kind, read in (
        ("regcontrol", reader.regulator),
        ("capcontrol", reader.capacitor),
    ):
        for name in _names(circuit, kind):
            circuit.SetActiveElement(f"{kind}.{name}")
            if not circuit.ActiveCktElement.Enabled:
                continue
            found = read(name)
            if isinstance(found, str):
                frozen.append(f"{kind}.{name} ({found})")
            else:
                controls.append(found)
    for kind in _NOT_MODELLED:
        names = _names(circuit, kind)
        frozen += [f"{kind}.{name} (of a kind not modelled)" for name in names]
    if frozen:
        notes.append(
            f"{len(frozen)} control(s) stay frozen even where controls act: "
            f"{', '.join(frozen[:5])}{', ...' if len(frozen) > 5 else ''}"
        )
    return tuple(controls)


def _names(circuit: Any, kind: str) -> list[str]:  # noqa: ANN401
    if circuit.SetActiveClass(kind) <= 0 or not circuit.ActiveClass.Count:
        return []
    return [str(name) for name in circuit.ActiveClass.AllNames]


class _Reader:
    """Reads one control at a time."""

    def __init__(
        self,
        circuit: Any,  # noqa: ANN401
        volts: Floats,
        position: Ints,
        base_kva: float,
    ) -> None:
        self.circuit, self.volts, self.position = circuit, volts, position
        self.base_va = base_kva * 1e3

    def _element(self, full: str) -> tuple[Ints, NDArray[np.complex128], int]:
        """Return node references, admittance [S] and conductors per end."""
        self.circuit.SetActiveElement(full)
        element = self.circuit.ActiveCktElement
        flat = np.asarray(element.Yprim, dtype=float).view(complex)
        n = int(np.sqrt(len(flat)))
        ref = np.asarray(element.NodeRef, dtype=np.int64) - 1
        return ref, flat.reshape(n, n).T, n // len(element.BusNames)

    def _per_unit(
        self, ref: Ints, y: NDArray[np.complex128]
    ) -> tuple[Ints, NDArray[np.complex128], NDArray[np.bool_]]:
        """Return feeder nodes, admittance in per unit, and which conductors stay."""
        kept = (ref >= 0) & (self.position[ref] >= 0)
        base = self.volts[ref[kept]]
        out = y[np.ix_(kept, kept)] * base[:, None] * base / self.base_va
        return self.position[ref[kept]], out, kept

    def _between(self, a: int, b: int, ratio: float) -> tuple[Ints, Any]:
        """Return nodes and weights of the voltage between two nodes, over a ratio."""
        ends = [(k, sign) for k, sign in ((a, 1.0), (b, -1.0)) if k >= 0]
        nodes = self.position[[k for k, _ in ends]]
        weights = np.array([sign * self.volts[k] / ratio for k, sign in ends])
        return nodes, weights.astype(complex)

    def regulator(self, name: str) -> Control | str:
        """Return a regulator's control, or why it stays frozen."""
        circuit = self.circuit
        reg = circuit.RegControls
        reg.Name = name
        filed = circuit.ActiveCktElement.Properties
        reasons = (
            (bool(reg.IsReversible), "reversible"),
            (bool(reg.MonitoredBus), "watches another bus"),
            (reg.VoltageLimit > 0.0, "has a voltage limit"),
            (bool(reg.IsInverseTime), "inverse time"),
            (float(filed("LDC_Z").Val) != 0.0, "drop compensation by LDC_Z"),
            (
                str(filed("Cogen").Val).lower().startswith(("y", "t")),
                "cogeneration mode",
            ),
            (not str(filed("PTphase").Val).isdigit(), "watches several phases"),
        )
        for hit, why in reasons:
            if hit:
                return why
        phase = int(filed("PTphase").Val) - 1
        band = (reg.ForwardVreg, reg.ForwardBand)
        ratio, ct = float(reg.PTratio), float(reg.CTPrimary)
        drop = complex(reg.ForwardR, reg.ForwardX)
        winding, tapped = int(reg.Winding), int(reg.TapWinding) or int(reg.Winding)
        delay, most = float(reg.Delay), int(reg.MaxTapChange)
        trafo = circuit.Transformers
        trafo.Name = reg.Transformer
        if not circuit.ActiveCktElement.Enabled:
            return "its transformer is out of service"
        full = str(circuit.ActiveCktElement.Name)
        phases = int(circuit.ActiveCktElement.NumPhases)
        trafo.Wdg = tapped
        low, high, steps = trafo.MinTap, trafo.MaxTap, int(trafo.NumTaps)
        step = (high - low) / steps
        tap = float(trafo.Tap)
        trafo.Wdg = winding
        delta = bool(trafo.IsDelta)
        if delta and phases > 1:
            return "delta winding of several phases"
        rated = trafo.kV * 1e3 / (_SQRT3 if phases in (2, 3) else 1.0)
        at = round((tap - 1.0) / step)
        if abs(1.0 + at * step - tap) > 1e-6:
            return "its tap stands between two positions"
        ref, y, per_end = self._element(full)
        nodes, own, kept = self._per_unit(ref, y)
        end = (winding - 1) * per_end
        back = end + per_end - 1 if not delta else end + phase + 1
        seen = self._between(int(ref[end + phase]), int(ref[back]), ratio)
        conductor = int(np.cumsum(kept)[end + phase] - 1)
        amps = self.base_va / self.volts[ref[end + phase]]
        moved = np.arange(len(ref)) // per_end == tapped - 1
        return Control(
            name=f"regcontrol.{name}",
            element=full,
            kind="regulator",
            nodes=nodes,
            y=own,
            moved=moved[kept],
            position=at,
            lowest=round((low - 1.0) / step),
            highest=round((high - 1.0) / step),
            tap=step,
            lower=band[0] - 0.5 * band[1],
            upper=band[0] + 0.5 * band[1],
            volt_nodes=seen[0],
            volt_weights=seen[1],
            **_nothing(),
            drop_conductor=conductor if drop else -1,
            drop_ohm=drop * amps / ct,
            volts_per_share=rated / ratio,
            most_taps=most,
            delay=delay,
            forward=tapped == winding,
        )

    def capacitor(self, name: str) -> Control | str:
        """Return a capacitor's control, or why it stays frozen."""
        circuit = self.circuit
        cap = circuit.CapControls
        cap.Name = name
        filed = circuit.ActiveCktElement.Properties
        phases = [str(filed(key).Val) for key in ("CTPhase", "PTPhase")]
        single = all(phase.isdigit() for phase in phases)
        reasons = (
            (int(cap.Mode) not in _WATCHED, f"type {filed('Type').Val}"),
            (not single, "watches several phases"),
            (bool(str(filed("VBus").Val).strip()), "watches another bus"),
            (bool(str(filed("ControlSignal").Val).strip()), "follows a signal"),
        )
        for hit, why in reasons:
            if hit:
                return why
        watched = _WATCHED[int(cap.Mode)]
        on, off = float(cap.ONSetting), float(cap.OFFSetting)
        override = (cap.Vmin, cap.Vmax) if cap.UseVoltOverride else None
        ct, pt = float(cap.CTratio), float(cap.PTratio)
        delays = float(cap.Delay), float(cap.DelayOff)
        dead = float(cap.DeadTime)
        seen_at, terminal = str(cap.MonitoredObj), int(cap.MonitoredTerm)
        bank = circuit.Capacitors
        bank.Name = cap.Capacitor
        if not circuit.ActiveCktElement.Enabled or bank.IsDelta:
            why = "connected in delta" if bank.IsDelta else "out of service"
            return f"its capacitor is {why}"
        full = str(circuit.ActiveCktElement.Name)
        nodes, own, stages, connected = self._all_stages(full)
        ref, y, per_end = self._element(seen_at)
        self.circuit.SetActiveElement(seen_at)
        n_phase = int(circuit.ActiveCktElement.NumPhases)
        end = (terminal - 1) * per_end
        rows = end + np.arange(n_phase)
        of, amps, kept = self._per_unit(ref, y)
        if not kept[rows].all():
            return "what it watches is not supplied"
        inner = (np.cumsum(kept) - 1)[rows]
        amps = amps[inner] * (self.base_va / self.volts[ref[rows]])[:, None]
        if watched == "current":
            amps = amps[[int(phases[0]) - 1]] / ct
        at = int(ref[end + int(phases[1]) - 1])
        back = int(ref[end + per_end - 1]) if per_end > n_phase else -1
        volt = self._between(at, back, pt)
        return Control(
            name=f"capcontrol.{name}",
            element=full,
            kind="capacitor",
            nodes=nodes,
            y=own,
            moved=np.ones(len(nodes), dtype=bool),
            position=connected,
            lowest=0,
            highest=stages,
            lower=min(on, off),
            upper=max(on, off),
            volt_nodes=volt[0],
            volt_weights=volt[1],
            amp_nodes=of,
            amp_weights=amps,
            power_nodes=self.position[ref[rows]],
            power_volts=self.volts[ref[rows]],
            watched=watched,
            delay=delays[0],
            delay_off=delays[1],
            # OpenDSS keeps the time of opening of banks of one stage alone
            dead_time=dead if stages == 1 else 0.0,
            override=override,
        )

    def _all_stages(self, full: str) -> tuple[Ints, Any, int, int]:
        """Return a capacitor's nodes and admittance with all stages, and how many."""
        bank = self.circuit.Capacitors
        before = np.asarray(bank.States, dtype=np.int32).copy()
        bank.States = np.ones(len(before), dtype=np.int32)
        self.circuit.Solution.BuildYMatrix(0, 0)
        ref, y, _ = self._element(full)
        nodes, own, _ = self._per_unit(ref, y)
        bank.Name = full.split(".", 1)[1]
        bank.States = before
        self.circuit.Solution.BuildYMatrix(0, 0)
        return nodes, own, len(before), int(before.sum())


def _nothing() -> dict[str, Any]:
    """Return the fields of a control that watches no current."""
    return {
        "amp_nodes": np.zeros(0, dtype=np.int64),
        "amp_weights": np.zeros((0, 0), dtype=complex),
        "power_nodes": np.zeros(0, dtype=np.int64),
        "power_volts": np.zeros(0),
    }
