"""Works on the grid of a study: what single connections can draw after them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from gridsite.feeder.candidate_ports import load_name
from gridsite.feeder.upgrade import upgraded
from gridsite.study.siting_time import SERVICE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gridsite.config import StudyConfig
    from gridsite.feeder.model import Feeder

#: Gain of a connection that counts [kW].
_LEAST_GAIN = 0.1


def feeder_after(config: StudyConfig, feeder: Feeder, built: frozenset[str]) -> Feeder:
    """
    Return the feeder with some of the study's works built.

    Parameters
    ----------
    config : StudyConfig
        The study.
    feeder : Feeder
        The electrical model before.
    built : frozenset of str
        Upgrades.

    Returns
    -------
    Feeder
        The electrical model after.

    Raises
    ------
    DataError
        If an element is unknown.
    """
    some = [u for u in config.upgrades if u.upgrade_id in built]
    if not some:
        return feeder
    return upgraded(feeder, {u.element: u.factor for u in some})


def works_of(config: StudyConfig, feeder: Feeder) -> dict[str, str]:
    """
    Return the feeder of each of the study's works.

    Parameters
    ----------
    config : StudyConfig
        The study.
    feeder : Feeder
        The electrical model.

    Returns
    -------
    dict of str to str
        ``feeder_id`` by upgrade.

    Raises
    ------
    DataError
        If an element is unknown.
    """
    for upgrade in config.upgrades:
        feeder_after(config, feeder, frozenset({upgrade.upgrade_id}))
    names = feeder.elements["feeder_id"]
    return {u.upgrade_id: str(names[u.element]) for u in config.upgrades}


def with_service(connections: pd.DataFrame, amps: float) -> pd.DataFrame:
    """
    Return the connections whose service is smaller, with the larger one.

    Parameters
    ----------
    connections : pandas.DataFrame
        Contract ``connections``; an unknown service is left out.
    amps : float
        Rating of the larger service. [A]

    Returns
    -------
    pandas.DataFrame
        Rows that gain, with ``service_a`` of ``amps``.
    """
    smaller = connections[connections["service_a"] < amps]
    return smaller.assign(service_a=amps).reset_index(drop=True)


def services_of(upgrade_effects: pd.DataFrame) -> list[str]:
    """
    Return the upgrades of services that add anything.

    Parameters
    ----------
    upgrade_effects : pandas.DataFrame
        Of single connections.

    Returns
    -------
    list of str
        Names of upgrades.
    """
    names = upgrade_effects["upgrade_id"]
    return sorted(set(names[names.str.startswith(SERVICE)])) if len(names) else []


def connection_rows(
    hosting: pd.DataFrame, after: Mapping[str, pd.DataFrame], n_periods: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """
    Return what single connections can draw, as rows that works relieve.

    Parameters
    ----------
    hosting : pandas.DataFrame
        Contract ``hosting``, before any works.
    after : mapping of str to pandas.DataFrame
        By upgrade: the same with it alone, for the connections of its feeder.
    n_periods : int
        Number of deployment periods.

    Returns
    -------
    hosting : pandas.DataFrame
        Firm capacity that no plan can pass: with all gains.
    rows : pandas.DataFrame
        Contract ``rows``: connections that gain, at their capacity of before.
    row_coefficients : pandas.DataFrame
        Contract ``row_coefficients``.
    upgrade_effects : pandas.DataFrame
        Contract ``upgrade_effects``: the gain of each of the works alone.

    Notes
    -----
    Gains of several works add up, though a connection may need both before it
    gains anything: then none is seen, the safe side.
    """
    before = hosting["firm_kw"].where(hosting["firm_status"] == "ok", 0.0).fillna(0.0)
    keys = pd.MultiIndex.from_frame(hosting[["building_id", "port_id"]])
    whole, effects = before.copy(), []
    for name, table in after.items():
        good = table[table["firm_status"] == "ok"]
        firm = good.set_index(["building_id", "port_id"])["firm_kw"].reindex(keys)
        gain = (firm.fillna(0.0).to_numpy() - before).clip(lower=0.0)
        gain = gain.where(gain > _LEAST_GAIN, 0.0)
        whole += gain
        own = hosting.loc[gain > 0.0, ["port_id"]]
        own = own.assign(upgrade_id=name, added_headroom=gain[gain > 0.0])
        effects.append(own.drop_duplicates("port_id"))
    touched = whole > before
    lifted = hosting.assign(
        firm_kw=hosting["firm_kw"].where(~touched, whole),
        firm_status=hosting["firm_status"].where(~touched, "ok"),
    )
    ports = hosting.loc[touched, "port_id"].drop_duplicates()
    gains = pd.concat(effects, ignore_index=True)
    rows, terms, adds = [], [], []
    headroom = before.groupby(hosting["port_id"]).min()
    for period in range(n_periods):
        mark = "" if n_periods == 1 else f" period {period}"
        names = "connection " + ports + mark
        rows.append(
            pd.DataFrame(
                {
                    "row_id": names,
                    "criterion": "connection",
                    "element": ports,
                    "time": pd.NaT,  # every step
                    "period": period,
                    "headroom": headroom.reindex(ports).to_numpy(),
                    "unit": "kW",
                    "feeder_id": "",
                }
            )
        )
        terms.append(
            pd.DataFrame({"row_id": names, "port_id": ports, "coefficient": 1.0})
        )
        adds.append(gains.assign(row_id="connection " + gains["port_id"] + mark))
    columns = ["upgrade_id", "row_id", "added_headroom"]
    return (
        lifted,
        pd.concat(rows, ignore_index=True),
        pd.concat(terms, ignore_index=True),
        pd.concat(adds, ignore_index=True)[columns],
    )


def shared_service_rows(
    hosting: pd.DataFrame, n_periods: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """
    Return rows that keep units of several phases within one service.

    Parameters
    ----------
    hosting : pandas.DataFrame
        Contract ``hosting``, before any works.
    n_periods : int
        Number of deployment periods.

    Returns
    -------
    rows : pandas.DataFrame
        Contract ``rows``: a conductor of each service at which connections share it,
        as one of three phases and one of a single phase do.
    row_coefficients : pandas.DataFrame
        Contract ``row_coefficients``: the share of the service that 1 kW takes. [%]

    Notes
    -----
    What a conductor's connections may draw adds up in kilowatts, the safe side; so is
    that a larger service bought for one of them relieves no such row.

    Examples
    --------
    >>> table = pd.DataFrame({"port_id": ["h.A", "h.B", "h.ABC?"], "building_id": "h"})
    >>> table = table.assign(phases=["A", "B", "ABC"], service_headroom_kw=[5, 5, 20])
    >>> shared_service_rows(table, 1)[1]["coefficient"].tolist()
    [20.0, 5.0, 20.0, 5.0]
    """
    left = hosting["service_headroom_kw"].astype(float)
    own = hosting[left > 0.0].drop_duplicates("port_id")
    own = own.assign(service=own["port_id"].map(load_name))
    own = own.assign(conductor=own["phases"].astype(str).map(list))
    own = own.explode("conductor")
    key = ["building_id", "service", "conductor"]
    own = own[own.groupby(key)["port_id"].transform("size") > 1].sort_values(key)
    names = "service of " + own["service"] + ", conductor " + own["conductor"]
    parts = []
    for period in range(n_periods):
        mark = "" if n_periods == 1 else f" period {period}"
        part = own.assign(row_id=names + mark, period=period)
        parts.append(part.assign(coefficient=100.0 / own["service_headroom_kw"]))
    every = pd.concat(parts, ignore_index=True)
    rows = every.drop_duplicates("row_id").assign(
        criterion="service", headroom=100.0, unit="%", feeder_id=""
    )
    every_step = pd.Series(pd.NaT, index=rows.index)
    rows = rows.assign(element=rows["building_id"], time=every_step)
    columns = ["row_id", "criterion", "element", "time", "period", "headroom"]
    columns += ["unit", "feeder_id"]
    return (
        rows[columns].reset_index(drop=True),
        every[["row_id", "port_id", "coefficient"]],
    )
