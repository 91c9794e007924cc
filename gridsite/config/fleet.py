"""A study file of many feeders: a rating of each, or a whole study."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from gridsite.config.network import FeederSection
from gridsite.config.study import RatingConfig, StudyConfig
from gridsite.config.types import Section


class FleetSection(Section):
    """Which feeders; what else a rating takes where no units are given."""

    feeders: Annotated[list[str], Field(min_length=1)]
    power_factor: Annotated[float, Field(ge=0.5, le=1.0)] = 0.98


class FleetFeederSection(FeederSection):
    """Ratings and tap changers of every feeder; each is its own source."""

    source: str = ""

    @model_validator(mode="after")
    def _no_source(self) -> Self:
        if "source" in self.model_fields_set:
            msg = (
                f"source {self.source!r} is not read: the feeders of a fleet are those "
                "of fleet.feeders; remove it, and name it there"
            )
            raise ValueError(msg)
        return self


class FleetConfig(RatingConfig):
    """A fleet whose feeders are rated."""

    fleet: FleetSection
    feeder: FleetFeederSection = FleetFeederSection()

    def files(self) -> list[str]:
        """Return the names of the files that are read, beside the feeders'."""
        own = [self.feeder.ratings] if self.feeder.ratings else []
        return [*super().files(), *own]

    @model_validator(mode="after")
    def _service_at_nominal_voltage(self) -> Self:
        if self.service and self.service.model_fields_set - {"rule"} != {"amps"}:
            msg = "service: without a siting give amps alone; the voltage is nominal"
            raise ValueError(msg)
        return self


class FleetStudyConfig(StudyConfig):
    """A fleet of studies, each with its own feeder in place of ``feeder``."""

    fleet: FleetSection
    feeder: FleetFeederSection = FleetFeederSection()

    @model_validator(mode="after")
    def _units_have_the_power_factor(self) -> Self:
        if "power_factor" in self.fleet.model_fields_set:
            msg = "fleet.power_factor: the units have one; remove it"
            raise ValueError(msg)
        if self.hosting.envelope or self.hosting.analysis_date:
            msg = "hosting.envelope, hosting.analysis_date: a fleet writes neither"
            raise ValueError(msg)
        return self
