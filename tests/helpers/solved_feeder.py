"""Node voltages of a feeder with every port at its filed power."""

import numpy as np

from gridsite.feeder.powerflow import Block
from gridsite.feeder.states import States


def solved(feeder):
    """Return node voltages with every port at its filed power. [pu]"""
    v = np.zeros(len(feeder.nodes), dtype=complex)
    v[feeder.source_nodes] = feeder.source_v
    for feeder_id in set(feeder.nodes["feeder_id"]) - {""}:
        block = Block(feeder, feeder_id)
        ports = feeder.ports.iloc[block.ports]
        states = States(
            p_shapes=np.ones((1, 1)),
            q_shapes=np.ones((1, 1)),
            shape_of_port=np.zeros(len(ports), dtype=int),
            p_scale=ports["p_kw"].to_numpy(dtype=float) / feeder.base_kva,
            q_scale=ports["q_kvar"].to_numpy(dtype=float) / feeder.base_kva,
            spread=np.zeros(len(ports)),
            tan_phi=0.0,
        )
        found = block.solve(states, np.zeros(1, dtype=int), tolerance_pu=1e-12)
        assert found.converged.all()
        v[block.nodes] = found.v[:, 0]
    return v
