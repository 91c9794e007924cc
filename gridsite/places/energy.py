"""
Electricity that a building uses in a year, by floor area and use: an estimate.

Floor area is roof area times storeys; storeys are ``floors`` of the building, else its
height over the height of a storey (rounded, at least 1), else the number given for all.
No published figure per square metre fits every place: ``kwh_per_m2`` is an input, and
every load that rests on it is marked as assumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Key of ``kwh_per_m2`` for uses that it does not name.
OTHER = "other"


def estimated_kwh(
    buildings: pd.DataFrame,
    *,
    kwh_per_m2: Mapping[str, float],
    storeys: float | None = None,
    storey_height_m: float = 3.0,
) -> pd.DataFrame:
    """
    Estimate the electricity that buildings use in a year.

    Parameters
    ----------
    buildings : pandas.DataFrame
        Table ``buildings``, with ``floors`` and ``height_m`` where they are known.
    kwh_per_m2 : mapping of str to float
        Electricity per floor area and year, by use; ``other`` for any further use.
        [kWh/m2]
    storeys : float, optional
        Storeys of a building of which neither storeys nor height are known. [-]
    storey_height_m : float, default 3.0
        Height of a storey (assumption). [m]

    Returns
    -------
    pandas.DataFrame
        One row per building: ``building_id, storeys, floor_area_m2, annual_kwh`` and
        ``basis`` (``floors``, ``height``, ``given``); NaN, with the reason as basis,
        where the use or the storeys are not known.

    Raises
    ------
    ConfigError
        If a number is not finite and above 0.

    Examples
    --------
    >>> roofs = pd.DataFrame(
    ...     {
    ...         "building_id": ["a", "b"],
    ...         "roof_area_m2": [100.0, 50.0],
    ...         "use": ["house", "shop"],
    ...         "height_m": [6.2, np.nan],
    ...     }
    ... )
    >>> estimated_kwh(roofs, kwh_per_m2={"house": 30.0, "shop": 100.0}, storeys=1)[
    ...     ["floor_area_m2", "annual_kwh", "basis"]
    ... ].to_numpy().tolist()
    [[200.0, 6000.0, 'height'], [50.0, 5000.0, 'given']]
    """
    numbers = {"storeys": storeys, "storey_height_m": storey_height_m}
    numbers |= {f"kwh_per_m2 of {use!r}": value for use, value in kwh_per_m2.items()}
    for name, value in numbers.items():
        if value is not None and not 0.0 < value < np.inf:
            msg = f"{name} must be finite and above 0, got {value!r}"
            raise ConfigError(msg)
    floors, height = (
        pd.to_numeric(buildings[name], errors="coerce")
        if name in buildings
        else pd.Series(np.nan, index=buildings.index)
        for name in ("floors", "height_m")
    )
    by_height = (height / storey_height_m).round().clip(lower=1.0)
    given = pd.Series(np.nan if storeys is None else storeys, index=buildings.index)
    count = floors.where(floors > 0.0).fillna(by_height).fillna(given)
    basis = np.select(
        [floors > 0.0, height.notna(), given.notna()],
        ["floors", "height", "given"],
        "storeys not known",
    )
    per_m2 = buildings["use"].map(dict(kwh_per_m2))
    per_m2 = per_m2.astype(float).fillna(kwh_per_m2.get(OTHER, np.nan))
    area = buildings["roof_area_m2"] * count
    return pd.DataFrame(
        {
            "building_id": buildings["building_id"],
            "storeys": count,
            "floor_area_m2": area,
            "annual_kwh": area * per_m2,
            "basis": np.where(per_m2.isna(), "use not known", basis),
        }
    ).reset_index(drop=True)


def port_kwh(connections: pd.DataFrame, estimates: pd.DataFrame) -> pd.Series[float]:
    """
    Return the estimated energy of each connection point.

    Parameters
    ----------
    connections : pandas.DataFrame
        Table ``connections``.
    estimates : pandas.DataFrame
        As from `estimated_kwh`.

    Returns
    -------
    pandas.Series of float, by port id
        A building's energy falls in equal parts on its connections, and those of all
        buildings at a connection add up; a connection with a building of unknown energy
        is left out. [kWh]

    Examples
    --------
    >>> pairs = pd.DataFrame({"building_id": list("aab"), "port_id": list("pqq")})
    >>> kwh = pd.DataFrame({"building_id": ["a", "b"], "annual_kwh": [8.0, 5.0]})
    >>> port_kwh(pairs, kwh).to_dict()
    {'p': 4.0, 'q': 9.0}
    """
    energy = estimates.set_index("building_id")["annual_kwh"]
    count = connections.groupby("building_id")["port_id"].transform("size")
    part = connections["building_id"].map(energy) / count
    port = connections["port_id"]
    known = part.notna().groupby(port).all()
    return part.groupby(port).sum()[known]
