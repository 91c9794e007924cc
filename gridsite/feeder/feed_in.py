"""
What is left of profiles where nothing may relieve a limit: no port gives power.

Generators, discharging batteries and loads that are negative (solar power behind a
meter) give power at some steps. Leaving that out is the safe side for load.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gridsite.feeder.load_parts import whole_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles

    Bools = NDArray[np.bool_]


def without_generation(profiles: Profiles, feeder: Feeder) -> Profiles:
    """
    Return profiles in which no port gives power, and each draws what it draws.

    Parameters
    ----------
    profiles : Profiles
        What ports draw.
    feeder : Feeder
        Says which ports are generators.

    Returns
    -------
    Profiles
        Where a port gives active power both of its powers are 0, those of a generator
        also where it draws none. Generators that never draw are left out; what is
        neither load nor generator and gives power in the file is 0.

    Examples
    --------
    >>> from gridsite.feeder.profiles import constant_profiles
    >>> from gridsite.feeder.read_pandapower import read_feeder
    >>> feeder = read_feeder("pandapower:create_kerber_landnetz_freileitung_1")
    >>> at = feeder.load_ports.index
    >>> solar = constant_profiles(at, [-5.0] + [2.0] * 12, [0.1] * 13)
    >>> solar.total_kw(), without_generation(solar, feeder).total_kw()
    (array([19.]), array([24.]))
    """
    ports = feeder.ports.reindex(profiles.port_ids)
    mine = ports["kind"].eq("generation").to_numpy()
    shape, scale = profiles.shape_of_port, profiles.p_scale_kw
    ends = [scale * f(profiles.p_shapes, axis=1)[shape] for f in (np.max, np.min)]
    draws = np.maximum(*ends) > 0.0
    draws |= ports["p_kw"].to_numpy(dtype=float) > 0.0  # else it would draw that
    keep = ~mine | draws
    left = _drawing(profiles, mine, mine | (np.minimum(*ends) < 0.0))
    return _silent(left.select(profiles.port_ids[keep]), feeder)


def _drawing(profiles: Profiles, generator: Bools, asked: Bools) -> Profiles:
    """Return profiles in which ports that are asked for draw only."""
    at = np.flatnonzero(asked)
    if not len(at):
        return profiles
    sign = np.where(profiles.p_scale_kw[at] < 0.0, -1, 1)
    kinds, of = np.unique(
        np.stack([profiles.shape_of_port[at], sign, generator[at]]),
        axis=1,
        return_inverse=True,
    )
    row, sign, strict = kinds
    p = profiles.p_shapes[row]
    drawn = p * sign[:, None]
    on = (drawn > 0.0) | ((drawn == 0.0) & (strict == 0)[:, None])
    shape_of_port = profiles.shape_of_port.copy()
    shape_of_port[at] = len(profiles.p_shapes) + of.ravel()
    return replace(
        profiles,
        p_shapes=np.concatenate([profiles.p_shapes, np.where(on, p, 0.0)]),
        q_shapes=np.concatenate(
            [profiles.q_shapes, np.where(on, profiles.q_shapes[row], 0.0)]
        ),
        shape_of_port=shape_of_port,
    )


def _silent(profiles: Profiles, feeder: Feeder) -> Profiles:
    """Return profiles with those, of 0, of other ports that give power in the file."""
    ports = feeder.ports
    gives = (ports["kind"] == "other") & (ports["p_kw"] < 0.0)
    gives &= whole_of(ports) == ""  # parts of a load follow it
    ids = ports.index[gives].difference(profiles.port_ids, sort=False)
    none = np.zeros(len(ids))
    return replace(
        profiles,
        port_ids=profiles.port_ids.append(ids),
        shape_of_port=np.append(profiles.shape_of_port, none.astype(np.intp)),
        p_scale_kw=np.append(profiles.p_scale_kw, none),
        q_scale_kvar=np.append(profiles.q_scale_kvar, none),
    )
