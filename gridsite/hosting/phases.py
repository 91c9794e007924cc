"""
Capacity of a single-phase unit at a building, whatever is known of its phase.

On a three-phase feeder every phase at a building's bus has a capacity of its own.
`with_phase_candidates` adds the phases that the file does not name, as ports without
power; `phase_capacity` makes one value per building of those by phase.

On a split-phase service a unit stands on a leg, or across both (240 V): `with_legs`. A
unit of three phases draws a third on each (`with_three_phases`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import ConfigError, DataError
from gridsite.feeder.candidate_ports import (
    CANDIDATE,
    LEGS,
    THREE,
    THREE_ADDED,
    load_name,
    with_candidate_ports,
)
from gridsite.hosting.rows import flexible_columns_of
from gridsite.schemas import check_table

if TYPE_CHECKING:
    from gridsite.feeder.model import Feeder

#: Which phase counts for a building.
PHASE_RULES = ("known", "worst", "best", "sampled")

#: Rules by which a building has one row, of whatever phase.
CHOSEN = PHASE_RULES[1:]

_PHASES = ("A", "B", "C")
_VALUES = ["firm_kw", "flexible_energy98_kw", "flexible_hours98_kw"]


def with_phase_candidates(
    feeder: Feeder, connections: pd.DataFrame
) -> tuple[Feeder, pd.DataFrame]:
    """
    Add the other phases at the bus of each single-phase connection.

    Parameters
    ----------
    feeder : Feeder
        Three-phase model.
    connections : pandas.DataFrame
        Contract ``connections``.

    Returns
    -------
    feeder : Feeder
        With a port ``NAME.B?`` of kind ``other``, without power, on each phase that
        a single-phase connection could be on; no load of the model moves.
    connections : pandas.DataFrame
        Contract ``connections``, with a row per building and candidate port:
        ``assumed``, and without a service rating, which `phase_capacity` takes
        from the building's filed row.

    Raises
    ------
    DataError
        If a connection names an unknown port, or stands on a balanced model.

    Notes
    -----
    Connections between phases, of three phases, or without supply get no candidates.

    Examples
    --------
    >>> from gridsite.feeder.read_pandapower import read_feeder
    >>> from gridsite.hosting.capacity import own_connections
    >>> feeder = read_feeder("pandapower:ieee_european_lv_asymmetric")
    >>> more, table = with_phase_candidates(feeder, own_connections(feeder))
    >>> table.loc[table["building_id"] == "LOAD1.A", "port_id"].tolist()
    ['LOAD1.A', 'LOAD1.B?', 'LOAD1.C?']
    """
    table = check_table("connections", connections).reset_index(drop=True)
    unknown = table.loc[~table["port_id"].isin(feeder.ports.index), "port_id"]
    if len(unknown):
        first = unknown.head(3).tolist()
        msg = f"connections: {len(unknown)} unknown port(s), {first}; use load names"
        raise DataError(msg)
    if (feeder.nodes["phases"] == "ABC").any():
        msg = (
            f"{feeder.name}: a balanced model has no phases to choose from; rate it "
            "without --phase, or give a feeder with loads by phase (from Python: "
            "read_feeder with three_phase=True)"
        )
        raise DataError(msg)
    ports = feeder.ports.loc[table["port_id"]]
    single = ports["phases"].isin(_PHASES).to_numpy() & (ports["node"] >= 0).to_numpy()
    filed = table[single].assign(
        phases=ports["phases"].to_numpy()[single],
        node_bus=feeder.nodes["bus"].to_numpy()[ports["node"].to_numpy()[single]],
    )
    rows = _candidates(filed)
    there = pd.MultiIndex.from_frame(feeder.nodes[["bus", "phases"]])
    rows = rows[pd.MultiIndex.from_frame(rows[["node_bus", "phases"]]).isin(there)]
    joined = pd.concat([table, rows[table.columns]]).sort_index(kind="stable")
    joined = joined.reset_index(drop=True)
    joined.attrs.update(connections.attrs)
    return with_candidate_ports(feeder, rows["port_id"]), joined


def with_legs(feeder: Feeder, connections: pd.DataFrame) -> pd.DataFrame:
    """
    Return connections in which units of split-phase services stand across both legs.

    Parameters
    ----------
    feeder : Feeder
        The model.
    connections : pandas.DataFrame
        Contract ``connections``.

    Returns
    -------
    pandas.DataFrame
        The rows of legs 1 and 2 of a load at a building are one, of phases 12, at a
        port ``LOAD.12?`` (`gridsite.feeder.candidate_ports.with_candidate_ports`),
        where the bus has both; all others stay.

    Notes
    -----
    A known service counts at the voltage that the row has: give that of both legs.
    """
    nodes = feeder.nodes
    both = set(nodes.loc[nodes["phases"] == "1", "bus"])
    both &= set(nodes.loc[nodes["phases"] == "2", "bus"])
    leg = connections["phases"].isin(list(LEGS)) & connections["bus"].isin(both)
    across = connections["port_id"].map(load_name) + f".{LEGS}{CANDIDATE}"
    out = connections.assign(
        port_id=connections["port_id"].where(~leg, across),
        phases=connections["phases"].where(~leg, LEGS),
    )
    return out.drop_duplicates(["building_id", "port_id"]).reset_index(drop=True)


def with_three_phases(feeder: Feeder, connections: pd.DataFrame) -> pd.DataFrame:
    """
    Return connections in which units stand on all three phases.

    Parameters
    ----------
    feeder : Feeder
        The model.
    connections : pandas.DataFrame
        Contract ``connections``.

    Returns
    -------
    pandas.DataFrame
        A row of phases ABC per building and load, at a port ``LOAD.ABC?``, which has
        no node where the bus lacks a phase; a balanced model has such connections as
        it is.

    Notes
    -----
    A known service counts at the voltage between phases, which the row takes.
    """
    if (feeder.nodes["phases"] == THREE).any():
        return connections
    port = feeder.ports.loc[connections["port_id"]]
    node = port["node"].to_numpy()
    volts = 1e3 * feeder.nodes["voltage_kv"].to_numpy(dtype=float)[node]
    out = connections.assign(
        port_id=connections["port_id"].map(load_name) + THREE_ADDED,
        phases=THREE,
        service_v=np.where(
            (node >= 0) & connections["service_v"].notna(),
            volts,
            connections["service_v"],
        ),
    )
    return out.drop_duplicates(["building_id", "port_id"]).reset_index(drop=True)


def unit_connections(
    feeder: Feeder, connections: pd.DataFrame, rule: str
) -> tuple[Feeder, pd.DataFrame]:
    """
    Return where units may stand by a rule.

    Parameters
    ----------
    feeder : Feeder
        The model.
    connections : pandas.DataFrame
        Contract ``connections``, of ports of the file.
    rule : {"known", "worst", "best", "sampled", "12", "ABC"}
        ``known``: on each port as filed. ``12``: across both legs of split-phase
        services, elsewhere as filed. ``ABC``: on all three phases. The others: on any
        phase (`phase_capacity`).

    Returns
    -------
    feeder : Feeder
        With the ports that are wanted.
    connections : pandas.DataFrame
        Contract ``connections``.

    Raises
    ------
    ConfigError
        If the rule is unknown.
    DataError
        If a phase is to be chosen on a balanced model.
    """
    known = (*PHASE_RULES, LEGS, THREE)
    if rule not in known:
        msg = f"phase {rule!r} is not one of {', '.join(known)}"
        raise ConfigError(msg)
    if rule in CHOSEN:
        return with_phase_candidates(feeder, connections)
    of_rule = {LEGS: with_legs, THREE: with_three_phases}
    table = of_rule[rule](feeder, connections) if rule in of_rule else connections
    return with_candidate_ports(feeder, table["port_id"]), table


def _candidates(filed: pd.DataFrame) -> pd.DataFrame:
    """Return a row per building and phase that no filed row of it has."""
    stem = filed["port_id"].map(load_name)
    rows = [
        filed.assign(
            port_id=stem + f".{phase}{CANDIDATE}",
            phases=phase,
            service_a=np.nan,
            assumed=True,
        )
        for phase in _PHASES
    ]
    known = pd.MultiIndex.from_frame(filed[["building_id", "node_bus", "phases"]])
    every = pd.concat(rows)
    key = pd.MultiIndex.from_frame(every[["building_id", "node_bus", "phases"]])
    every = every[~key.isin(known)]
    # a building with several ports at one bus has one candidate per phase
    twice = every.duplicated(["building_id", "node_bus", "phases"])
    out: pd.DataFrame = every[~twice]
    return out


def chosen_connections(
    connections: pd.DataFrame, hosting: pd.DataFrame
) -> pd.DataFrame:
    """
    Return the connections that a hosting table has rows of.

    Parameters
    ----------
    connections : pandas.DataFrame
        Contract ``connections``.
    hosting : pandas.DataFrame
        Contract ``hosting``, as from `phase_capacity`.

    Returns
    -------
    pandas.DataFrame
        Contract ``connections``; ``attrs`` stay.
    """
    key = ["building_id", "port_id"]
    kept = pd.MultiIndex.from_frame(hosting[key])
    own = pd.MultiIndex.from_frame(connections[key]).isin(kept)
    out = connections[own].reset_index(drop=True)
    out.attrs.update(connections.attrs)
    return out


def phase_capacity(
    hosting: pd.DataFrame, *, rule: str = "worst", seed: int = 0
) -> pd.DataFrame:
    """
    Return one hosting row per building from its rows by phase.

    Parameters
    ----------
    hosting : pandas.DataFrame
        Contract ``hosting`` of connections from `with_phase_candidates`.
    rule : {"known", "worst", "best", "sampled"}
        The filed phase; the phase of least or most firm capacity, a row without a
        value being the least; or any of them at the same chance.
    seed : int, default 0
        Of the sample.

    Returns
    -------
    pandas.DataFrame
        Contract ``hosting`` in order of ``building_id``, with ``phase_rule``. Each
        row is the one of the phase chosen. [kW]

    Raises
    ------
    ConfigError
        If the rule is unknown.
    DataError
        If a building has not exactly one filed port where its phase is "known".

    Notes
    -----
    A candidate phase keeps the service headroom of the building's filed row: firm
    capacity exactly, flexible capacity on the safe side (no more than the lowest
    service headroom). Where the filed row has no firm capacity by its service, no
    other phase has any capacity. Neutral conductors are not rated.

    Examples
    --------
    >>> table = pd.DataFrame({"building_id": ["h", "h"], "port_id": ["h.A", "h.B?"]})
    >>> table = table.assign(phases=["A", "B"], firm_kw=[8.0, 5.0], feeder_id="f")
    >>> table = table.assign(flexible_energy98_kw=9.0, flexible_hours98_kw=9.0)
    >>> table = table.assign(firm_status="ok", flexible_status="ok", assumed=False)
    >>> table = table.assign(bus="1", service_headroom_kw=float("nan"), limit_time=None)
    >>> text = ["limit_criterion", "limit_element", "second_criterion"]
    >>> table[[*text, "second_element"]] = "x"
    >>> phase_capacity(table, rule="worst")[["port_id", "firm_kw"]]
      port_id  firm_kw
    0    h.B?      5.0
    """
    if rule not in PHASE_RULES:
        msg = f"phases: no rule {rule!r}; known: {', '.join(PHASE_RULES)}"
        raise ConfigError(msg)
    table = _keeping_service(check_table("hosting", hosting))
    table = table.sort_values(["building_id", "phases", "port_id"], ignore_index=True)
    if rule == "known":
        chosen = table[~_is_candidate(table)]
        one = chosen.groupby("building_id").size()
        one = one.reindex(table["building_id"].unique(), fill_value=0)
        if (one != 1).any():
            first = one.index[one != 1][:3].tolist()
            msg = (
                f"phases: {int((one != 1).sum())} building(s) without exactly one "
                f"filed port, first {first}; choose worst, best or sampled for them"
            )
            raise DataError(msg)
    else:
        chosen = table.loc[_picked(table, rule, seed)]
    return chosen.assign(phase_rule=rule).reset_index(drop=True)


def _picked(table: pd.DataFrame, rule: str, seed: int) -> pd.Index:
    """Return the row of each building that a rule picks, by building."""
    if rule == "sampled":
        size = table.groupby("building_id").size()
        start = size.cumsum() - size
        draw = np.random.default_rng(seed).integers(size.to_numpy())
        return pd.Index(start.to_numpy() + draw)
    key = table[["building_id", *_VALUES]].fillna(-1.0)
    key = key.sort_values(_VALUES, ascending=rule == "worst", kind="stable")
    return key.drop_duplicates("building_id").sort_values("building_id").index


def _is_candidate(table: pd.DataFrame) -> pd.Series:
    return table["port_id"].str.endswith(CANDIDATE)


def _keeping_service(table: pd.DataFrame) -> pd.DataFrame:
    """Return hosting rows whose candidates keep the service of their building."""
    table = table.reset_index(drop=True)
    candidate = _is_candidate(table)
    filed = table[~candidate]
    service = filed.groupby("building_id")["service_headroom_kw"].min()
    most = table["building_id"].map(service).where(candidate)
    capped = candidate & (table["firm_kw"] > most)
    values = ["firm_kw", *flexible_columns_of(table)]
    for column in values:
        table[column] = table[column].where(~(table[column] > most), most)
    for part in ("criterion", "element"):
        table.loc[capped, f"second_{part}"] = table.loc[capped, f"limit_{part}"]
    table.loc[capped, "limit_criterion"] = "service"
    table.loc[capped, "limit_element"] = table.loc[capped, "building_id"]
    table.loc[capped, "limit_time"] = None
    table.loc[capped, ["firm_status", "flexible_status"]] = "ok"
    table["service_headroom_kw"] = table["service_headroom_kw"].fillna(most)
    # a service that is unknown or overdrawn rules on every phase
    ruled = (filed["limit_criterion"] == "service") & (filed["firm_status"] != "ok")
    cause = filed[ruled].drop_duplicates("building_id").set_index("building_id")
    # and its steps are not known on another phase than the filed one
    cause["flexible_status"] = cause["firm_status"]
    for column in values:
        cause[column] = cause["firm_kw"]
    hit = candidate & table["building_id"].isin(cause.index)
    columns = [*values, "firm_status", "flexible_status", "limit_criterion"]
    columns += ["limit_element", "limit_time"]
    table.loc[hit, columns] = cause.loc[
        table.loc[hit, "building_id"], columns
    ].to_numpy()
    return table
