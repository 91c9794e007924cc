"""Lines and transformers that are made larger: the same feeder after the works."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from gridsite.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gridsite.feeder.model import Feeder


def upgraded(feeder: Feeder, factors: Mapping[str, float]) -> Feeder:
    """
    Return a feeder in which some elements are larger.

    An element of factor k has k times its rating and k times its admittance: a
    transformer of k times the rated power with the same relative impedance and
    losses, or k equal lines or transformers side by side.

    Parameters
    ----------
    feeder : Feeder
        The electrical model.
    factors : mapping of str to float
        By element; above 1.

    Returns
    -------
    Feeder
        The same nodes, ports and elements.

    Raises
    ------
    DataError
        If an element is unknown, or a factor is not above 1.

    Notes
    -----
    No-load losses and charging grow with the factor. Where a tap changer is to act
    on such a transformer, its table is that of the feeder before.
    """
    unknown = sorted(set(factors) - set(feeder.elements.index))
    if unknown:
        msg = (
            f"{feeder.name}: no line or transformer is called {unknown[:3]}; see the "
            "table 'elements' for names"
        )
        raise DataError(msg)
    wrong = {name: k for name, k in factors.items() if not 1.0 < k < np.inf}
    if wrong:
        msg = f"factors of upgrades must be above 1, got {wrong}"
        raise DataError(msg)
    terminals, matrix = feeder.terminals, feeder.terminal_y
    source = (terminals["criterion"] == "source").to_numpy()
    more = terminals["element"].map(dict(factors)).to_numpy(dtype=float) - 1.0
    more = np.where(np.isnan(more) | source, 0.0, more)
    added = sparse.csr_array(matrix.multiply(more[:, None]))
    node = terminals["node"].to_numpy()
    n_node = feeder.y.shape[0]
    shape = (n_node, len(terminals))
    own = ~source & (node >= 0)
    at = np.flatnonzero(own)
    gather = sparse.csr_array((np.ones(len(at)), (node[at], at)), shape=shape)
    at_nodes = sparse.csr_array(gather @ added)
    fed = np.flatnonzero(source)
    scatter = sparse.csr_array(
        (np.ones(len(fed)), (fed, node[fed])), shape=(len(terminals), n_node)
    )
    factor = terminals["element"].map(dict(factors)).fillna(1.0).to_numpy()
    rated = terminals["rated_a"] * np.where(source, 1.0, factor)
    rating = feeder.elements["rating"] * feeder.elements.index.map(
        lambda name: factors.get(name, 1.0)
    )
    words = ", ".join(f"{name} x {k:g}" for name, k in sorted(factors.items()))
    return replace(
        feeder,
        y=sparse.csc_array(feeder.y + at_nodes),
        terminals=terminals.assign(rated_a=rated),
        terminal_y=sparse.csr_array(matrix + added + scatter @ at_nodes),
        elements=feeder.elements.assign(rating=rating),
        notes=(*feeder.notes, f"upgraded: {words}"),
    )
