r"""
Alike sites as one: a whole number instead of one choice for each.

Sites are alike if their one option has the same size, cost, limits, pool, rows and
groups. Any of them will do, so :math:`N` sites of :math:`k` units at most become
one option of :math:`N k` units at a site that opens :math:`\lceil n / k \rceil`
times; `Alike.split` fills them one after the other, in the order of their names.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from gridsite.siting.reduce_tables import FIT

if TYPE_CHECKING:
    from gridsite.siting.reduce import ReducedProblem

#: What alike options have in common.
_SAME = [
    "pool", "period", "rated_kw", "it_kw", "footprint_m2", "upper", "capital",
    "running", "computing", "paced", "fixed", "priced", "rows", "groups",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Alike:
    """
    A reduced problem with alike sites as one.

    Parameters
    ----------
    reduced : ReducedProblem
        The problem; flows and demands are as they were.
    option : numpy.ndarray of int, shape (n_options,)
        Option of it that each option was put into.
    most : numpy.ndarray of int, shape (n_options,)
        Most units of each option.
    """

    reduced: ReducedProblem
    option: np.ndarray
    most: np.ndarray

    def split(self, counts: np.ndarray) -> np.ndarray:
        """
        Return the units of each option there was.

        Parameters
        ----------
        counts : numpy.ndarray of int, shape (n_merged_options,)
            Units of the options put together.

        Returns
        -------
        numpy.ndarray of int, shape (n_options,)
            No site opens before those of its kind that come first are full.
        """
        most = pd.Series(self.most)
        before = most.groupby(self.option).cumsum().to_numpy() - self.most
        units: np.ndarray = np.clip(counts[self.option] - before, 0, self.most)
        return units


def alike(reduced: ReducedProblem) -> Alike:
    """
    Put alike sites together.

    Parameters
    ----------
    reduced : ReducedProblem
        The problem.

    Returns
    -------
    Alike
        Nothing is put together where sites may be lost, over several periods, where
        units exist, and where a site or a connection has several options.
    """
    options = reduced.options
    shared = [options[c].duplicated(keep=False) for c in ("site", "limit")]
    free = (options["lower"] == 0) & ~shared[0] & ~shared[1]
    free &= (options["pool"] >= 0) & (options["upper"] > 0)
    if (
        reduced.losses.empty
        and (options["before"] < 0).all()
        and not options["period"].any()
    ):
        key = _marked(reduced)[_SAME]
        key["own"] = np.where(free, -1, np.arange(len(options)))
        code = key.groupby([*_SAME, "own"], sort=False, dropna=False).ngroup()
        which = code.to_numpy(dtype=np.int64)
    else:
        which = np.arange(len(options))
    most = _fitting(reduced)
    _, first = np.unique(which, return_index=True)
    number = np.bincount(which)
    if len(first) == len(options):
        return Alike(reduced=reduced, option=which, most=most)
    kept = options.iloc[first].reset_index(drop=True)
    kept["each"] = most[first]
    kept["upper"] = np.where(number > 1, most[first] * number, kept["upper"])
    copies = np.ones(len(reduced.sites), dtype=np.int64)
    copies[kept["site"]] = number
    sites = reduced.sites.assign(copies=copies)
    if "roof_area_m2" in sites:  # in the most units of each
        sites["roof_area_m2"] = sites["roof_area_m2"].where(copies == 1)
    member = reduced.members[reduced.members["option"].isin(first)]
    stands = np.zeros(len(reduced.sites), dtype=bool)
    stands[kept["site"]] = True
    merged = replace(
        reduced,
        options=kept,
        sites=sites.assign(priced=sites["priced"] & stands),
        row_terms=sparse.csr_array(reduced.row_terms[:, first]),
        members=member.assign(option=which[member["option"]]),
    )
    return Alike(reduced=merged, option=which, most=most)


def _fitting(reduced: ReducedProblem) -> np.ndarray:
    """Return the most units of each option, below its roof too where it is alone."""
    options = reduced.options
    most = options["upper"].to_numpy(dtype=np.int64)
    if "roof_area_m2" not in reduced.sites:
        return most
    roof = reduced.sites["roof_area_m2"].to_numpy(dtype=float)[options["site"]]
    size = options["footprint_m2"].to_numpy(dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        fits = np.floor(roof * (1.0 + FIT) / size)
    alone = ~options["site"].duplicated(keep=False).to_numpy()
    known = alone & (options["lower"] == 0).to_numpy() & np.isfinite(fits)
    return np.where(known, np.minimum(most, fits), most).astype(np.int64)


def _marked(reduced: ReducedProblem) -> pd.DataFrame:
    """Return the options with what their sites, rows and groups are, as numbers."""
    options, sites = reduced.options, reduced.sites
    terms = sparse.csc_array(reduced.row_terms)
    parts = zip(terms.indptr[:-1], terms.indptr[1:], strict=True)
    rows = [(terms.indices[a:b].tobytes(), terms.data[a:b].tobytes()) for a, b in parts]
    groups = reduced.members.sort_values("group").groupby("option")["group"]
    own = groups.agg(lambda g: str(g.tolist())).reindex(options.index).fillna("")
    return options.assign(
        upper=_fitting(reduced),
        fixed=sites["fixed_capital"].to_numpy()[options["site"]],
        priced=sites["priced"].to_numpy()[options["site"]],
        rows=pd.factorize(np.fromiter(rows, dtype=object, count=len(rows)))[0],
        groups=pd.factorize(own)[0],
    )
