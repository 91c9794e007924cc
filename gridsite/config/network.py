"""The grid in a study file: its model, loads, limits, services and temperature."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gridsite.config.types import NotNegative, Points, Positive, Section


class FeederSection(Section):
    """Where the electrical model comes from, its ratings, and its tap changers."""

    source: str
    ratings: str | None = None
    assume_line_a: Positive | None = None
    crs: str | None = None
    taps: Literal["frozen", "acting"] = "frozen"
    tap_target_pu: Positive | None = None
    tap_deadband_pu: Positive | None = None
    controls: Literal["frozen", "acting"] = "frozen"

    @model_validator(mode="after")
    def _act_or_stand(self) -> Self:
        given = {self.tap_target_pu, self.tap_deadband_pu} != {None}
        if given and self.taps == "frozen":
            msg = 'tap_target_pu and tap_deadband_pu need taps = "acting"'
            raise ValueError(msg)
        if self.taps == self.controls == "acting":
            msg = 'taps and controls cannot both be "acting": no feeder file has both'
            raise ValueError(msg)
        return self


class MetersSection(Section):
    """How the file of profiles is read where it holds meter readings."""

    unit: Literal["W", "kW", "MW", "Wh", "kWh", "MWh"] | None = None
    zone: str | None = None
    stamp: Literal["start", "end"] = "start"
    time_format: str | None = None
    time_column: str | None = None
    meter_column: str | None = None
    value_column: str | None = None
    fill: Literal["refuse", "week"] = "refuse"
    max_gap_hours: NotNegative = 3.0
    min_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    missing: Literal["refuse", "drawn"] = "refuse"
    links: str | None = None


class ProfilesSection(Section):
    """What customers draw: a file, shared shapes, the feeder's own, or a snapshot."""

    file: str | None = None
    meters: MetersSection | None = None
    shapes: str | None = None
    annual_kwh: Positive | None = None
    annual_kwh_by_port: dict[str, Positive] = {}
    annual_kwh_file: str | None = None
    full_load_hours: dict[str, Positive] = {}
    power_factor: Annotated[float, Field(ge=0.5, le=1.0)] = 0.95
    shift_weeks: bool = True
    snapshot: bool = False
    growth_factor: Positive = 1.0
    generation: Literal["profile", "off"] = "profile"

    @model_validator(mode="after")
    def _meters_of_a_file(self) -> Self:
        if self.meters is not None and self.file is None:
            msg = "meters say how file is read; give profiles.file"
            raise ValueError(msg)
        return self


class CommittedLoad(Section):
    """A load in the queue, at a connection or at a bus."""

    kw: NotNegative
    port: str | None = None
    bus: str | None = None
    name: str | None = None


class CommittedSection(Section):
    """Loads that are in the queue and not built, listed here or in a file."""

    file: str | None = None
    loads: list[CommittedLoad] = []
    power_factor: Annotated[float, Field(ge=0.5, le=1.0)] = 0.95


class ServiceSection(Section):
    """The service of a building whose own is not known, and how services count."""

    assumed: bool = True
    amps: Positive
    volts: Positive = 400.0
    rule: Literal["eu", "nec", "nec-ems"] | None = None


class LimitsSection(Section):
    """Norm, given or by country or voltages, and values that differ from it."""

    preset: str | None = None
    country: str | None = None
    voltage_min_pu: Positive | None = None
    voltage_max_pu: Positive | None = None
    voltage_bands: (
        list[Annotated[list[Positive], Field(min_length=3, max_length=3)]] | None
    ) = None
    voltage_change_pu: Positive | None = None
    line_loading_max: Positive | None = None
    transformer_loading_max: Positive | None = None
    n_minus_1_loading_max: Positive | None = None
    n_minus_1_above_kv: NotNegative | None = None
    unbalance_max: Positive | None = None
    source_kva: Positive | None = None
    criteria: list[str] | None = None

    @model_validator(mode="after")
    def _one_norm(self) -> Self:
        if self.preset is not None and self.country is not None:
            msg = f"preset {self.preset!r} and country {self.country!r}; give one"
            raise ValueError(msg)
        return self


class HostingSection(Section):
    """What flexible units have beside the grid, and at which levels they are rated."""

    battery_kwh: NotNegative = 0.0
    battery_kw: Positive | None = None
    levels: list[Annotated[float, Field(ge=0.5, le=1.0)]] = []


class StudyHostingSection(HostingSection):
    """What a study writes of the headroom of every step, beside it."""

    envelope: bool = False
    analysis_date: date | None = None


class AmbientSection(Section):
    """Outdoor temperature: how transformers age, and what cooling draws."""

    file: str
    loss_of_life_max: Positive = 1.0
    hot_spot_max_c: Positive = 120.0
    enclosure_rise_k: NotNegative = 0.0
    upgraded_paper: bool = False
    pue: Points = []
