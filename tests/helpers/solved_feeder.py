"""Node voltages of a feeder with every port at its filed power."""

import numpy as np

from gridsite.feeder.powerflow import Block
from gridsite.feeder.states import filed_states


def solved(feeder):
    """Return node voltages with every port at its filed power. [pu]"""
    v = np.zeros(len(feeder.nodes), dtype=complex)
    v[feeder.source_nodes] = feeder.source_v
    for feeder_id in set(feeder.nodes["feeder_id"]) - {""}:
        block = Block(feeder, feeder_id)
        states = filed_states(block, feeder.ports)
        found = block.solve(states, np.zeros(1, dtype=int), tolerance_pu=1e-12)
        assert found.converged.all()
        v[block.nodes] = found.v[:, 0]
    return v
