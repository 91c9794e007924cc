"""
The same grid for every engine.

Each part of a feeder becomes branches and shunts that give its nodal admittance
exactly. Phase shifts of transformers are turned away (they change no magnitude and
no power), so that the peers need no transformer model of their own, and nothing
that differs between transformer models enters a comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import power_grid_model as pgm
import scipy.sparse as sp
from lightsim2grid.lightsim2grid_cpp import (
    AlgorithmType,
    InjectionSweepCPP,
    LSGrid,
    TimeSeriesCPP,
)
from scipy.sparse.csgraph import breadth_first_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.powerflow import Block

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Complex = NDArray[np.complex128]

MAX_ITERATIONS = 20

#: Rated voltage of every node given to the peers. [V]
_U = 1e3


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """One part of a feeder, per unit; its source is the last node."""

    start: Ints
    end: Ints
    series: Complex
    shunt: Complex
    v_source: complex
    #: node voltages are those of the circuit times this
    turn: Complex
    port_node: Ints
    base_kva: float

    @property
    def y(self) -> sp.csr_array:
        """Return the nodal admittance. [pu]"""
        n = len(self.shunt)
        a, b = self.start, self.end
        off = sp.coo_array((-self.series, (a, b)), shape=(n, n))
        own = self.shunt.copy()
        np.add.at(own, a, self.series)
        np.add.at(own, b, self.series)
        return sp.csr_array(off + off.T + sp.diags_array(own))

    def mismatch_kva(self, v: Complex, p_kw: Floats, q_kvar: Floats) -> float:
        """Return the largest power mismatch at any node, states in columns. [kVA]"""
        into = v * np.conj(self.y @ v) * self.base_kva
        np.add.at(into, self.port_node, p_kw + 1j * q_kvar)
        return float(np.abs(into[:-1]).max())


def circuit(feeder: Feeder, block: Block) -> Circuit:
    """Return the circuit of a block of a balanced feeder."""
    sources, v = feeder.source_nodes, feeder.source_v
    column = feeder.y.tocsr()[block.nodes][:, sources]
    used = np.flatnonzero(abs(column).sum(axis=0))
    if np.ptp(np.abs(v[used])) > 0.0 or np.ptp(np.angle(v[used])) > 0.0:
        msg = f"{feeder.name}: sources of different voltage are not one node"
        raise ValueError(msg)
    row = feeder.y.tocsr()[sources][:, block.nodes]
    whole = sp.block_array(
        [
            [block.y, sp.coo_array(column.sum(axis=1)[:, None])],
            [sp.coo_array(row.sum(axis=0)[None, :]), None],
        ],
        format="csr",
    )
    n = whole.shape[0]
    upper = sp.coo_array(sp.triu(whole, k=1))
    a, b = (x.astype(np.int64) for x in upper.coords)
    forth, back = upper.data, np.asarray(whole[b, a]).ravel()
    angle = np.angle(forth / back) / 2.0
    series = -forth * np.exp(-1j * angle)
    flip = series.real - series.imag < 0.0  # a branch has resistance or reactance
    angle[flip] += np.pi
    series[flip] *= -1.0
    turn = np.exp(1j * _turned(a, b, angle, n))
    left = np.abs(np.exp(1j * angle) * turn[b] / turn[a] - 1.0).max()
    if left > 1e-9 or np.abs(np.abs(forth / back) - 1.0).max() > 1e-9:
        msg = f"{feeder.name}: phase shifts around a ring do not cancel"
        raise ValueError(msg)
    shunt = whole.diagonal().astype(complex)
    np.subtract.at(shunt, a, series)
    np.subtract.at(shunt, b, series)
    shunt[-1] = 0.0
    return Circuit(
        start=a,
        end=b,
        series=series,
        shunt=shunt,
        v_source=complex(v[used[0]] / turn[-1]),
        turn=turn,
        port_node=block.port_node,
        base_kva=block.base_kva,
    )


def _turned(a: Ints, b: Ints, angle: Floats, n: int) -> Floats:
    """Return the angle of each node that undoes the phase shifts on its way."""
    graph = sp.coo_array((np.ones(len(a)), (a, b)), shape=(n, n))
    order, before = breadth_first_order(graph.tocsr(), n - 1, directed=False)
    shift = {(i, j): t for i, j, t in zip(a, b, angle, strict=True)}
    out = np.zeros(n)
    for node in order[1:]:
        at = before[node]
        ahead = (at, node) in shift
        out[node] = out[at] - (shift[at, node] if ahead else -shift[node, at])
    return out


class PowerGridModel:
    """Newton-Raphson batches of power-grid-model, voltages only."""

    def __init__(self, grid: Circuit) -> None:
        self.grid = grid
        z_base = _U**2 / (grid.base_kva * 1e3)
        n, n_branch, n_load = len(grid.shunt), len(grid.start), len(grid.port_node)
        at = np.flatnonzero(np.abs(grid.shunt) > 1e-15)
        z = z_base / grid.series
        first = np.cumsum([0, n, n_branch, len(at), n_load]).tolist()

        def table(name: str, start: int, count: int, **values: object) -> Any:  # noqa: ANN401
            rows = pgm.initialize_array("input", name, count)
            rows["id"] = start + np.arange(count)
            for key, value in values.items():
                rows[key] = value
            return rows

        data = {
            "node": table("node", 0, n, u_rated=_U),
            "line": table(
                "line",
                first[1],
                n_branch,
                from_node=grid.start,
                to_node=grid.end,
                from_status=1,
                to_status=1,
                r1=z.real,
                x1=z.imag,
                c1=0.0,
                tan1=0.0,
                i_n=1e3,
            ),
            "shunt": table(
                "shunt",
                first[2],
                len(at),
                node=at,
                status=1,
                g1=grid.shunt[at].real / z_base,
                b1=grid.shunt[at].imag / z_base,
            ),
            "sym_load": table(
                "sym_load",
                first[3],
                n_load,
                node=grid.port_node,
                status=1,
                type=pgm.LoadGenType.const_power,
                p_specified=0.0,
                q_specified=0.0,
            ),
            "source": table(
                "source",
                first[4],
                1,
                node=n - 1,
                status=1,
                u_ref=abs(grid.v_source),
                u_ref_angle=np.angle(grid.v_source),
                sk=1e20,
            ),
        }
        self.model = pgm.PowerGridModel(data)

    def batch(self, p_kw: Floats, q_kvar: Floats) -> dict[str, Any]:
        """Return update data of states in columns."""
        return {
            "sym_load": {
                "p_specified": np.ascontiguousarray(p_kw.T) * 1e3,
                "q_specified": np.ascontiguousarray(q_kvar.T) * 1e3,
            }
        }

    def solve(
        self,
        batch: dict[str, Any],
        *,
        threads: int,
        tolerance_pu: float,
        go_on: bool = False,
    ) -> Any:  # noqa: ANN401
        """Solve a batch; ``go_on`` leaves states that do not converge."""
        return self.model.calculate_power_flow(
            update_data=batch,
            threading=threads if threads > 1 else -1,
            error_tolerance=tolerance_pu,
            max_iterations=MAX_ITERATIONS,
            calculation_method=pgm.CalculationMethod.newton_raphson,
            output_component_types={"node": ["u_pu", "u_angle"]},
            continue_on_batch_error=go_on,
        )

    @staticmethod
    def voltages(out: Any) -> Complex:  # noqa: ANN401
        """Return node voltages of the circuit, states in columns. [pu]"""
        v: Complex = (out["node"]["u_pu"] * np.exp(1j * out["node"]["u_angle"])).T
        return v


class LightSim2Grid:
    """Newton-Raphson of lightsim2grid: a time series, or a sweep with threads."""

    def __init__(self, grid: Circuit, v_start: Complex) -> None:
        self.grid, self.v_start = grid, v_start
        n, n_load = len(grid.shunt), len(grid.port_node)
        model = LSGrid()
        self.base_mva = grid.base_kva / 1e3
        model.set_sn_mva(self.base_mva)
        model.init_bus(n, 1, np.full(n, _U / 1e3), len(grid.start), 0)
        z = 1.0 / grid.series
        ends = grid.start.astype(np.int32), grid.end.astype(np.int32)
        model.init_powerlines(z.real.copy(), z.imag.copy(), z * 0.0, *ends)
        at = np.flatnonzero(np.abs(grid.shunt) > 1e-15)
        power = np.conj(grid.shunt[at]) * self.base_mva
        model.init_shunt(power.real.copy(), power.imag.copy(), at.astype(np.int32))
        zero = np.zeros(n_load)
        model.init_loads(zero, zero, grid.port_node.astype(np.int32))
        one = np.ones(1)
        at_source = np.array([n - 1], dtype=np.int32)
        held = one * abs(grid.v_source)
        model.init_generators(one * 0.0, held, one * -1e9, one * 1e9, at_source)
        model.add_gen_slackbus(0, 1.0)
        model.change_algorithm(AlgorithmType.NRSing_KLU)  # one slack, KLU
        self.model = model

    def solve(
        self, p_mw: Floats, q_mvar: Floats, *, threads: int, tolerance_pu: float
    ) -> Complex:
        """Solve states in rows: one after another, or a sweep on several threads."""
        run = TimeSeriesCPP(self.model)
        if threads > 1:
            run = InjectionSweepCPP(self.model)
            run.nb_thread = threads
        run.modify_load_p(p_mw)
        run.modify_load_q(q_mvar)
        run.compute(self.v_start, MAX_ITERATIONS, tolerance_pu)
        v: Complex = run.get_voltages().T
        return v
