"""The model as arrays: compiled once by Pyomo, passed whole to HiGHS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler

from gridsite.siting.formulation_money import money_scale

if TYPE_CHECKING:
    import pyomo.environ as pyo
    from scipy import sparse

    from gridsite.siting.reduce import ReducedProblem


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    r"""
    The compiled model: :math:`\min c^T z`, rows and columns within bounds.

    Parameters
    ----------
    cost : numpy.ndarray of float, shape (n_columns,)
        Objective, in scaled money.
    offset : float
        Constant of the objective, in scaled money.
    money_scale : float
        Money per unit of scaled money.
    coefficients : scipy.sparse.csc_array, shape (n_rows, n_columns)
        Rows of the model.
    row_lower, row_upper : numpy.ndarray of float, shape (n_rows,)
        Bounds of the rows.
    lower, upper : numpy.ndarray of float, shape (n_columns,)
        Bounds of the columns.
    integer : numpy.ndarray of bool, shape (n_columns,)
        Columns that must be whole.
    grid_rows : numpy.ndarray of bool, shape (n_rows,)
        Rows that are grid rows.
    columns : dict of str to numpy.ndarray of int
        Column of each variable by name and position; -1 for one that is in no
        row and costs nothing.
    names : tuple of (str, object)
        Constraint and index of each row, where asked for.
    """

    cost: np.ndarray
    offset: float
    money_scale: float
    coefficients: sparse.csc_array
    row_lower: np.ndarray
    row_upper: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    integer: np.ndarray
    grid_rows: np.ndarray
    columns: dict[str, np.ndarray]
    names: tuple[tuple[str, Any], ...] = ()

    def values(self, name: str, solution: np.ndarray) -> np.ndarray:
        """
        Return the values of a variable in a solution.

        Parameters
        ----------
        name : str
            ``units``, ``flow``, ``unserved``, ``is_open``, ``is_onboarded``,
            ``is_upgraded``, ``largest``, ``backup``, ``is_source`` or
            ``computing``.
        solution : numpy.ndarray of float, shape (n_columns,)
            Values of the columns.

        Returns
        -------
        numpy.ndarray of float
            Values by position; 0 where the variable is in no column.
        """
        column = self.columns[name]
        return np.where(column >= 0, np.append(solution, 0.0)[column], 0.0)


def compile_model(
    model: pyo.ConcreteModel, problem: ReducedProblem, *, named: bool = False
) -> Matrix:
    """
    Return a model as arrays, compiled once by Pyomo.

    Parameters
    ----------
    model : pyomo.environ.ConcreteModel
        From ``formulation.build_model``.
    problem : ReducedProblem
        What it was built from.
    named : bool, default False
        Keep the name of each row.

    Returns
    -------
    Matrix
        Columns that are in no row and cost nothing are left out.
    """
    form = LinearStandardFormCompiler().write(model, mixed_form=True)
    kind = np.array([row.bound_type for row in form.rows], dtype=int)
    rhs = np.asarray(form.rhs, dtype=float)
    grid = {id(row) for row in model.grid_rows.values()}
    sizes = {
        "units": len(problem.options),
        "flow": len(problem.flows),
        "unserved": len(problem.demands),
        "is_open": len(problem.sites),
        "is_onboarded": len(problem.groups),
        "is_upgraded": len(problem.upgrades),
        "largest": int(problem.sites["pool"].max() + 1) if len(problem.sites) else 0,
        "backup": len(model.backup),
        "is_source": len(problem.flows),
        "computing": len(problem.options),
    }
    columns = {name: np.full(size, -1) for name, size in sizes.items()}
    for i, variable in enumerate(form.columns):
        columns[variable.parent_component().name][variable.index()] = i
    names: list[tuple[str, Any]] = []
    if named:
        rows = (row.constraint for row in form.rows)
        names = [(row.parent_component().name, row.index()) for row in rows]
    return Matrix(
        cost=form.c.toarray().ravel(),
        offset=float(form.c_offset[0]),
        money_scale=money_scale(problem),
        coefficients=form.A,
        row_lower=np.where(kind <= 0, rhs, -np.inf),
        row_upper=np.where(kind >= 0, rhs, np.inf),
        lower=np.array([v.lb for v in form.columns], dtype=float),
        upper=np.array([v.ub for v in form.columns], dtype=float),
        integer=np.array([v.is_integer() for v in form.columns], dtype=bool),
        grid_rows=np.array([id(row.constraint) in grid for row in form.rows], bool),
        columns=columns,
        names=tuple(names),
    )
