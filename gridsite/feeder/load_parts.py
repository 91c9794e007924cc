"""
Loads that are a mix of constant impedance, constant current and constant power.

Such a load is several ports in one place, one per exponent. The first has the load's
name; the others are of kind ``other``, and ``part_of`` names the load that they
belong to. A profile of the load is that of all its parts together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import FeederError
from gridsite.feeder.candidate_ports import THREE, THREE_ADDED, load_name
from gridsite.feeder.profiles import constant_profiles
from gridsite.units import SQRT3

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles

    Floats = NDArray[np.float64]


def split_loads(ports: pd.DataFrame, percent: pd.DataFrame) -> pd.DataFrame:
    """
    Split loads into a port per exponent.

    Parameters
    ----------
    ports : pandas.DataFrame
        A row per load: ``port_id``, ``kind``, ``p_kw``, ``q_kvar`` at 1 pu.
    percent : pandas.DataFrame
        Of each row: ``z_p``, ``i_p``, ``z_q``, ``i_q``, the shares of active and
        reactive power at constant impedance and current. [%]

    Returns
    -------
    pandas.DataFrame
        A row per load and exponent, with ``p_exponent``, ``q_exponent``,
        ``rated_v_pu`` and ``part_of`` ("" at the first of a load).

    Examples
    --------
    >>> ports = pd.DataFrame(
    ...     {"port_id": ["a"], "kind": "load", "p_kw": [4.0], "q_kvar": [1.0]}
    ... )
    >>> percent = pd.DataFrame({"z_p": [75.0], "i_p": 0.0, "z_q": 100.0, "i_q": 0.0})
    >>> parts = split_loads(ports, percent).set_index("port_id")
    >>> parts.loc["a", ["p_kw", "q_kvar", "p_exponent"]].astype(float).tolist()
    [1.0, 0.0, 0.0]
    >>> parts.loc["part 2: a", ["p_kw", "q_kvar", "p_exponent"]].astype(float).tolist()
    [3.0, 1.0, 2.0]
    """
    share = percent.to_numpy(dtype=float) / 100.0
    p = [1.0 - share[:, 0] - share[:, 1], share[:, 1], share[:, 0]]
    q = [1.0 - share[:, 2] - share[:, 3], share[:, 3], share[:, 2]]
    parts, taken = [], np.zeros(len(ports), dtype=bool)
    for exponent in range(3):
        drawn = (p[exponent] != 0.0) | (q[exponent] != 0.0)
        first = drawn & ~taken
        names = ports["port_id"].where(first, f"part {exponent}: " + ports["port_id"])
        part = ports.assign(
            part_of=ports["port_id"].where(~first, ""),
            port_id=names,
            kind=ports["kind"].where(first, "other"),
            p_kw=ports["p_kw"] * p[exponent],
            q_kvar=ports["q_kvar"] * q[exponent],
            p_exponent=float(exponent),
            q_exponent=float(exponent),
            rated_v_pu=1.0,
        )
        parts.append(part[drawn])
        taken |= drawn
    out: pd.DataFrame = pd.concat(parts)
    return out


def following_percent(load: pd.DataFrame) -> pd.DataFrame:
    """
    Return the shares of pandapower loads that follow their voltage.

    Parameters
    ----------
    load : pandas.DataFrame
        Rows of ``net.load``.

    Returns
    -------
    pandas.DataFrame
        ``z_p``, ``i_p``, ``z_q``, ``i_q`` of each row. [%]

    Raises
    ------
    FeederError
        If a share is below 0, or two are above 100 % together.
    """
    share = {}
    for kind in ("z", "i"):
        both = load.get(f"const_{kind}_percent", 0.0)  # of files before version 3
        for power in ("p", "q"):
            filed = load.get(f"const_{kind}_{power}_percent", both)
            share[f"{kind}_{power}"] = pd.Series(filed, load.index, dtype=float)
    percent = pd.DataFrame(share)[["z_p", "i_p", "z_q", "i_q"]].fillna(0.0)
    total = percent.to_numpy().reshape(-1, 2, 2).sum(axis=2)
    bad = (percent < 0.0).any(axis=1).to_numpy() | (total > 100.0).any(axis=1)
    if bad.any():
        msg = (
            f"load: {int(bad.sum())} row(s) with shares const_z, const_i below 0 or "
            f"above 100 % together, first index {load.index[bad][0]}; mend them"
        )
        raise FeederError(msg)
    return percent


def whole_of(ports: pd.DataFrame) -> pd.Series[str]:
    """
    Return the load that each port is a part of.

    Parameters
    ----------
    ports : pandas.DataFrame
        ``ports`` of a `Feeder`.

    Returns
    -------
    pandas.Series of str, by port
        Empty where it is a part of none.
    """
    if "part_of" not in ports:
        return pd.Series("", ports.index)
    return ports["part_of"].fillna("").astype(str)


def profiles_of_parts(profiles: Profiles, ports: pd.DataFrame) -> Profiles:
    """
    Return profiles in which every part of a load has its share of the load's own.

    Parameters
    ----------
    profiles : Profiles
        Of loads. A load that has parts, none of which is here, counts whole.
    ports : pandas.DataFrame
        ``ports`` of a `Feeder`.

    Returns
    -------
    Profiles
        The same where no load is split; shares are those of the file.
    """
    owner = whole_of(ports)
    known = profiles.port_ids
    silent = ports.index[owner.isin(known) & ~ports.index.isin(known)]
    if not len(silent):
        return profiles
    family = owner.where(owner != "", pd.Series(ports.index, ports.index))
    own = family[silent].unique()
    ids = known.append(silent)
    of = np.where(ids.isin(silent), family.reindex(ids), ids)
    row = known.get_indexer(pd.Index(of))
    scales = []
    for column, scale in (
        ("p_kw", profiles.p_scale_kw),
        ("q_kvar", profiles.q_scale_kvar),
    ):
        whole = ports.groupby(family)[column].sum()
        part = ports[column] / family.map(whole).replace(0.0, np.nan)
        split = ids.isin(silent) | ids.isin(own)
        share = np.where(split, part.reindex(ids).fillna(0.0), 1.0)
        # what the file gives no power to draws as constant power
        lost = ids.isin(own) & (family.reindex(ids).map(whole) == 0.0).to_numpy()
        scales.append(scale[row] * np.where(lost, 1.0, share))
    return replace(
        profiles,
        port_ids=ids,
        shape_of_port=profiles.shape_of_port[row],
        p_scale_kw=scales[0],
        q_scale_kvar=scales[1],
    )


def snapshot_profiles(feeder: Feeder) -> Profiles:
    """
    Return the file's own values of every load, with all of its parts.

    Parameters
    ----------
    feeder : Feeder
        The model.

    Returns
    -------
    Profiles
        One step, of the ports of kind ``load``.
    """
    ports = feeder.ports
    owner = whole_of(ports)
    owner = owner.where(owner != "", pd.Series(ports.index, ports.index))
    whole = ports[["p_kw", "q_kvar"]].groupby(owner).sum()
    loads = feeder.load_ports.index
    of = whole.reindex(loads)
    return constant_profiles(loads, of["p_kw"].to_numpy(), of["q_kvar"].to_numpy())


def service_power(
    profiles: Profiles, ports: pd.DataFrame, port_ids: pd.Index[str]
) -> tuple[Floats, Floats]:
    """
    Return what is drawn behind the service of each of some ports.

    Parameters
    ----------
    profiles : Profiles
        Of every port.
    ports : pandas.DataFrame
        ``ports`` of a `Feeder`. Ports of one ``service`` (text) are behind one service;
        without it a port is, with the parts that name it in ``part_of``. Behind one of
        three phases that the file does not name is all of its load.
    port_ids : pandas.Index of str
        Ports that are asked for.

    Returns
    -------
    p_kw : numpy.ndarray, shape (n_port, n_step)
        Sum over the ports of each service; of a load whose phases are known, three
        times what the busiest of three conductors carries. [kW]
    q_kvar : numpy.ndarray, shape (n_port, n_step)
        The same. [kvar]
    """
    label = pd.Series(ports.index, ports.index, dtype=object)
    for column in ("part_of", "service"):
        if column in ports:
            named = ports[column].fillna("").astype(str)
            label = named.where(named != "", label)
    asked, of = np.unique(label[port_ids].to_numpy(dtype=str), return_inverse=True)
    members = ports.index[label.isin(asked)]
    at = np.searchsorted(asked, label[members].to_numpy(dtype=str))
    power = []
    for drawn in profiles.select(members).power_kw():
        total = np.zeros((len(asked), drawn.shape[1]))
        np.add.at(total, at, drawn)
        power.append(total)
    three = np.char.endswith(asked, THREE_ADDED)
    if three.any():
        loads = [load_name(str(port)) for port in asked[three]]
        found = _three_conductors(profiles, ports, label.map(load_name), loads)
        power[0][three], power[1][three] = found
    return power[0][of], power[1][of]


def _three_conductors(
    profiles: Profiles, ports: pd.DataFrame, load: pd.Series, loads: list[str]
) -> tuple[Floats, Floats]:
    """Return three times what the busiest conductor of some loads carries."""
    members = ports.index[load.isin(loads)]
    row = pd.Index(loads).get_indexer(pd.Index(load[members]))
    p, q = profiles.select(members).power_kw()
    phases = ports.loc[members, "phases"].astype(str)
    found = np.zeros((2, 3, len(loads), p.shape[1]))
    for k, conductor in enumerate(THREE):
        # a leg, or what has no such name, may be on any; amperes just add up
        on = phases.str.contains(conductor) | ~phases.str.contains("[ABC]")
        share = on * np.where(phases.str.len() == 2, 1.0 / SQRT3, 1.0)
        for total, drawn in zip(found, (p, q), strict=True):
            np.add.at(total[k], row, drawn * share.to_numpy()[:, None])
    busiest = np.hypot(*found).argmax(axis=0)[None]
    most_p, most_q = (np.take_along_axis(x, busiest, axis=0)[0] for x in found)
    return 3.0 * most_p, 3.0 * most_q
