"""Tariffs and carbon intensities by step, in a study file."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeVar
from zoneinfo import available_timezones

from pydantic import Field, model_validator

from gridsite.config.types import NotNegative, Section

Month = Annotated[int, Field(ge=1, le=12)]


class WindowSection(Section):
    """Hours with prices of their own, over midnight where ``to_hour`` is smaller."""

    from_hour: Annotated[int, Field(ge=0, le=23)] = 0
    to_hour: Annotated[int, Field(ge=1, le=24)] = 24
    months: Annotated[list[Month], Field(min_length=1)] = list(range(1, 13))
    days: Literal["all", "weekdays", "weekends"] = "all"
    energy_price_per_kwh: NotNegative | None = None
    demand_charge_per_kw_month: NotNegative = 0.0

    @model_validator(mode="after")
    def _has_hours(self) -> Self:
        if self.from_hour == self.to_hour:
            msg = f"a window from hour {self.from_hour} to {self.to_hour} has no hours"
            raise ValueError(msg)
        if len(set(self.months)) < len(self.months):
            msg = f"months {self.months} name one twice"
            raise ValueError(msg)
        return self


class TariffSection(Section):
    """A tariff: a price of each step from a file, or a price and windows."""

    name: str
    file: str | None = None
    column: str = "price_per_kwh"
    energy_price_per_kwh: NotNegative | None = None
    zone: str = "UTC"
    windows: list[WindowSection] = []
    energy_price_factor: list[NotNegative] = []
    demand_charge_per_kw_month: NotNegative = 0.0

    @model_validator(mode="after")
    def _one_price(self) -> Self:
        if (self.file is None) == (self.energy_price_per_kwh is None):
            msg = f"tariff {self.name!r}: give either file or energy_price_per_kwh"
            raise ValueError(msg)
        if self.file and any(w.energy_price_per_kwh is not None for w in self.windows):
            msg = f"tariff {self.name!r}: its file has a price for every step already"
            raise ValueError(msg)
        if self.zone not in available_timezones():
            msg = f"tariff {self.name!r}: zone {self.zone!r} is no time zone"
            raise ValueError(msg)
        return self


class CarbonSection(Section):
    """Carbon intensity of grids by step: a column for each region. [g/kWh]"""

    file: str


class PlaceSection(Section):
    """Where a place takes its energy from: before flat prices and intensities."""

    tariff: str | None = None
    carbon_region: str | None = None


_Place = TypeVar("_Place", bound=PlaceSection)


def priced(place: _Place, price: str, *, needed: bool = True) -> _Place:
    """Return a place that has a price of energy; that of a tariff may fall below 0."""
    if place.tariff is not None:
        return place
    if needed and price not in place.model_fields_set:
        msg = f"key {price!r} is missing; add it, or a tariff"
        raise ValueError(msg)
    if (value := getattr(place, price)) is not None and value < 0.0:
        msg = f"key {price!r} is {value:g}; a flat price is at least 0"
        raise ValueError(msg)
    return place
