"""
Errors and warnings of gridsite.

* GridsiteError
  x ConfigError            (ValueError)    exit 2
  x DataError              (ValueError)    exit 3   .failures
    + SchemaError
    + CRSError
    + FeederError
  x PowerFlowError         (RuntimeError)  exit 4   .scenario
    + BaseCaseError
  x SolveError             (RuntimeError)  exit 5   .solution
    + InfeasibleError
    + NoIncumbentError
    + SolverUnavailableError
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


class GridsiteError(Exception):
    """Base of every error that gridsite raises on purpose."""

    exit_code = 1


class ConfigError(GridsiteError, ValueError):
    """A study file, an option or a missing extra is at fault."""

    exit_code = 2


class DataError(GridsiteError, ValueError):
    """
    Input data are at fault.

    Parameters
    ----------
    message : str
        What is wrong, where, and how to mend it.
    failures : pandas.DataFrame, optional
        One row per fault.
    """

    exit_code = 3

    def __init__(self, message: str, failures: pd.DataFrame | None = None) -> None:
        super().__init__(message)
        self.failures = failures


class SchemaError(DataError):
    """A table does not keep its contract (see ``gridsite.schemas``)."""


class CRSError(DataError):
    """A layer has no CRS, or one unfit for measuring."""


class FeederError(DataError):
    """A feeder file cannot be read into an electrical model."""


class PowerFlowError(GridsiteError, RuntimeError):
    """
    A power flow has no solution that could be found.

    Parameters
    ----------
    message : str
        What failed and where.
    scenario : object, optional
        The load state that failed.
    """

    exit_code = 4

    def __init__(self, message: str, scenario: Any = None) -> None:  # noqa: ANN401
        super().__init__(message)
        self.scenario = scenario


class BaseCaseError(PowerFlowError):
    """The feeder does not converge even without any added load."""


class SolveError(GridsiteError, RuntimeError):
    """
    The siting model was not solved.

    Parameters
    ----------
    message : str
        What failed, in planner's words.
    solution : object, optional
        What the solver did return.
    """

    exit_code = 5

    def __init__(self, message: str, solution: Any = None) -> None:  # noqa: ANN401
        super().__init__(message)
        self.solution = solution


class InfeasibleError(SolveError):
    """No plan meets every requirement."""


class NoIncumbentError(SolveError):
    """The solver stopped before it found any plan."""


class SolverUnavailableError(SolveError):
    """The solver process could not be started or kept crashing."""
