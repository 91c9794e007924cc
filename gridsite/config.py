"""
The study file: one TOML file, checked key by key.

An unknown key, a missing one or a value of the wrong type or range is a
ConfigError that names the file, the key and what was expected. Paths are
relative to the study file.
"""

from __future__ import annotations

import tomllib
from datetime import date  # noqa: TC003 - pydantic reads it
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from gridsite.config_energy import CarbonSection, PlaceSection, TariffSection
from gridsite.config_types import Finite, NotNegative, Points, Positive, Section, Share
from gridsite.cost_presets import with_preset
from gridsite.errors import ConfigError


class StudySection(Section):
    """Name of the study, its place and seed."""

    name: str
    place: str = ""
    seed: int = 0
    generated: list[str] = []
    assumptions: list[str] = []


class FeederSection(Section):
    """Where the electrical model comes from, its ratings, and its tap changers."""

    source: str
    ratings: str | None = None
    assume_line_a: Positive | None = None
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


class ExclusionSection(Section):
    """Zones that no candidate may touch or come near."""

    file: str
    name: str
    distance_m: NotNegative = 0.0
    layer: str | None = None


class BuildingsSection(Section):
    """Roofs, which of them are candidates, and how they connect."""

    file: str
    layer: str | None = None
    generated: bool = False
    id_column: str | None = None
    use_column: str | None = None
    attributes: str | None = None
    attributes_id: str = "building_id"
    uses: Annotated[list[str], Field(min_length=1)] | None = None
    max_area_m2: Positive | None = None
    min_height_m: NotNegative | None = None
    max_height_m: Positive | None = None
    exclusions: list[ExclusionSection] = []
    port_column: str | None = None
    links: str | None = None
    transformer_column: str | None = None
    street_lines: str | None = None
    street_label_column: str | None = None
    street_open_column: str | None = None
    phases: Literal["A", "B", "C", "AB", "BC", "AC", "ABC", "12"] | None = None
    min_transformer_kva: Positive | None = None
    max_distance_m: Positive = 50.0
    min_area_m2: NotNegative = 10.0
    access_network: str = "fibre"
    kwh_per_m2: Annotated[dict[str, Positive], Field(min_length=1)] | None = None
    storeys: Positive | None = None
    storey_height_m: Positive = 3.0

    def files(self) -> list[str]:
        """Return the names of the files that are read."""
        names = [self.file, self.attributes, self.links, self.street_lines]
        return [n for n in names if n] + [zone.file for zone in self.exclusions]

    @model_validator(mode="after")
    def _one_way_to_connect(self) -> Self:
        given = [n for n in ("port_column", "links") if getattr(self, n) is not None]
        named = [n for n in ("transformer_column", "street_lines") if getattr(self, n)]
        if len(given) > 1 or len(named) > 1 or ("port_column" in given and named):
            msg = f"{', '.join([*given, *named])} contradict one another; give one"
            raise ValueError(msg)
        if (self.street_label_column or self.street_open_column) and not (
            self.street_lines
        ):
            msg = "street_label_column and street_open_column need street_lines"
            raise ValueError(msg)
        return self


class ServiceSection(Section):
    """The service of a building whose own is not known, and how services count."""

    assumed: bool = True
    amps: Positive
    volts: Positive = 400.0
    rule: Literal["eu", "nec", "nec-ems"] = "eu"


class NearSection(Section):
    """Places of a gazetteer around a point."""

    longitude: Annotated[float, Field(ge=-180.0, le=180.0)]
    latitude: Annotated[float, Field(ge=-90.0, le=90.0)]
    radius_km: Positive
    min_population: Literal[500, 1000, 5000, 15000] = 500


class UsersSection(Section):
    """Who needs computing, and the cells they are gathered in."""

    file: str | None = None
    near: NearSection | None = None
    layer: str | None = None
    generated: bool = False
    users_column: str | None = None
    users_per_point: Positive | None = None
    it_kw_columns: dict[str, str] | None = None
    hidden: list[float] = []
    share: Positive = 1.0
    cell: Literal["h3", "square"] = "h3"
    h3_resolution: Annotated[int, Field(ge=0, le=15)] = 9
    size_m: Positive = 250.0

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.near is None):
            msg = "give either file or near"
            raise ValueError(msg)
        if self.near is not None and self.it_kw_columns is not None:
            msg = "near gives inhabitants, and no it_kw_columns"
            raise ValueError(msg)
        return self


class LatencySection(Section):
    """Access times and the percentile they stand for."""

    percentile: Literal["median", "tail"] = "median"
    user_access_ms: NotNegative = 5.0
    host_access_ms: dict[str, NotNegative] = {}


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


#: Where a unit stands: on given phases, on those of its building's connection as
#: filed (known), on any by a rule, or across both legs of a split-phase service (12).
UnitPhases = Literal[
    "ABC",
    "A",
    "B",
    "C",
    "AB",
    "BC",
    "CA",
    "1",
    "2",
    "12",
    "known",
    "worst",
    "best",
    "sampled",
]

#: Rules by which a building has one row of the hosting table, of whatever phase.
_ANY_PHASE = ("worst", "best", "sampled")


class UnitSection(Section):
    """A kind of unit for buildings."""

    unit: str
    rated_kw: Positive
    it_kw: Positive
    pue: Annotated[float, Field(ge=1.0)]
    power_factor: Annotated[float, Field(ge=0.5, le=1.0)] = 0.98
    phases: UnitPhases = "ABC"
    footprint_m2: Positive
    it_capital: NotNegative
    infrastructure_capital: NotNegative
    installation_capital: NotNegative
    it_life_years: Positive = 5.0
    infrastructure_life_years: Positive = 15.0
    transport_capital: NotNegative = 0.0
    lead_months: NotNegative = 6.0
    min_power_share: Share = 0.0

    @model_validator(mode="after")
    def _draws_what_it_computes(self) -> Self:
        if self.rated_kw < self.it_kw * self.pue * (1.0 - 1e-6):
            msg = (
                f"rated_kw {self.rated_kw:g} is below it_kw x pue = "
                f"{self.it_kw * self.pue:g}; it is the largest draw from the grid"
            )
            raise ValueError(msg)
        return self


class WorkloadSection(Section):
    """A kind of computing and what it needs."""

    workload: str
    rtt_limit_ms: Positive
    rtt_target_ms: Positive
    min_share_within_target: Share = 0.0
    it_kw_per_user: NotNegative
    unserved_cost: NotNegative | None = None
    latency_price_per_ms_it_kw_year: NotNegative = 0.0
    min_local_share: Share = 0.0
    single_source: bool = False
    redundancy: Literal[0, 1, 2] = 0
    site_kinds: list[Literal["building", "central"]] = ["building", "central"]


class CentralSection(PlaceSection):
    """A central site."""

    site_id: str
    name: str = ""
    place: str = ""  # the site that this is a size of
    lat: Annotated[float, Field(ge=-90.0, le=90.0)]
    lon: Annotated[float, Field(ge=-180.0, le=180.0)]
    site_ms: NotNegative = 0.0
    capital_per_mw_it: NotNegative
    grid_connection_per_mw: NotNegative = 0.0
    it_capital_per_kw: NotNegative
    fixed_capital: NotNegative = 0.0
    fixed_life_years: Positive | None = None  # as the infrastructure
    block_kw: Positive
    max_it_kw: Positive
    grid_limit_kw: Positive | None = None
    scale_exponent: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    scale_reference_mw: Positive = 50.0
    it_life_years: Positive = 5.0
    infrastructure_life_years: Positive = 20.0
    pue: Annotated[float, Field(ge=1.0)]
    pue_max: Annotated[float, Field(ge=1.0)] | None = None  # as the mean
    ambient_file: str | None = None
    pue_points: Points = []  # temperature and PUE
    power_factor: Annotated[float, Field(ge=0.5, le=1.0)] = 0.98
    lead_months: NotNegative = 24.0
    power_wait_months: NotNegative = 0.0
    demand_charge_per_kw_year: NotNegative = 0.0
    loss_share: Share = 0.0
    transport_per_it_kw: NotNegative = 0.0
    energy_price_per_kwh: Finite = 0.0
    maintenance_per_it_kw_year: NotNegative = 0.0
    network_per_it_kw_year: NotNegative = 0.0
    carbon_g_per_kwh: NotNegative = 0.0
    water_l_per_kwh: NotNegative = 0.0

    @model_validator(mode="after")
    def _holds_a_block(self) -> Self:
        if self.max_it_kw < self.block_kw:
            msg = f"max_it_kw {self.max_it_kw:g} is below block_kw {self.block_kw:g}"
            raise ValueError(msg)
        if self.scale_exponent < 1.0 and self.fixed_life_years is not None:
            msg = "scale_exponent and fixed_life_years; give one of them"
            raise ValueError(msg)
        if (self.ambient_file is None) == bool(self.pue_points):
            msg = "PUE by temperature needs both ambient_file and pue_points"
            raise ValueError(msg)
        if self.pue_max is not None and self.pue_max < self.pue:
            msg = f"pue_max {self.pue_max:g} is below pue {self.pue:g}, the mean"
            raise ValueError(msg)
        return _priced(self, "energy_price_per_kwh")

    @property
    def largest_pue(self) -> float:
        """Return the largest PUE over the study. [-]"""
        return self.pue if self.pue_max is None else self.pue_max


class EconomicsSection(PlaceSection):
    """Money: the frame, and what computing on buildings costs to run."""

    currency: str
    price_year: int
    horizon_years: Positive
    discount_rate: Annotated[float, Field(ge=0.0, lt=1.0)]
    building_energy_price_per_kwh: Finite = 0.0
    host_payment_per_unit_year: dict[str, NotNegative] = {}
    maintenance_per_it_kw_year: NotNegative = 0.0
    network_per_site_year: NotNegative = 0.0
    utilisation: Share = 1.0
    idle_share: Share = 0.0
    carbon_g_per_kwh: NotNegative = 0.0
    carbon_price_per_t: NotNegative = 0.0
    demand_charge_per_kw_year: NotNegative = 0.0
    loss_share: Share = 0.0
    water_price_per_m3: NotNegative = 0.0
    water_l_per_kwh: NotNegative = 0.0
    budget: Positive | None = None

    @model_validator(mode="after")
    def _has_a_price(self) -> Self:
        return _priced(self, "building_energy_price_per_kwh")


class CostsSection(Section):
    """Where figures come from that the study does not give."""

    preset: Literal["vendor-claims", "evidence"]
    level: Literal["low", "typical", "high"] = "typical"
    currency_per_usd: Positive = 1.0


class _Caps(Section):
    """Who is in a group, what it can have together, what its first unit costs."""

    feeders: list[str] = []
    areas: list[str] = []
    max_units: NotNegative | None = None
    max_kw: NotNegative | None = None
    onboarding_cost: NotNegative = 0.0


class AreasSection(Section):
    """Polygons with names: what is local, and whose territory it is."""

    file: str
    name_column: str = "name"
    layer: str | None = None


class UtilitySection(_Caps, PlaceSection):
    """A utility, its tariff, and its feeders and areas (neither: all others)."""

    name: str
    energy_price_per_kwh: Finite | None = None
    demand_charge_per_kw_year: NotNegative | None = None
    carbon_g_per_kwh: NotNegative | None = None

    @model_validator(mode="after")
    def _flat_price_is_a_price(self) -> Self:
        return _priced(self, "energy_price_per_kwh", needed=False)


class GroupSection(_Caps):
    """A group of buildings."""

    group_id: str
    kind: Literal["feeder", "transformer", "area"] = "area"
    buildings: list[str] = []
    transformers: list[str] = []


class ExistingSection(Section):
    """Units that stand already."""

    site_id: str
    unit: str
    count: Annotated[int, Field(ge=1)]


class UpgradeSection(Section):
    """A line or transformer that can be made larger, once, for money."""

    upgrade_id: str
    element: str
    factor: Annotated[float, Field(gt=1.0, allow_inf_nan=False)]
    capital: NotNegative
    life_years: Positive = 40.0
    lead_months: NotNegative = 0.0
    excludes: list[str] = []


class ServiceUpgradeSection(Section):
    """A larger service that every building with a known smaller one can get."""

    amps: Positive
    capital: NotNegative
    life_years: Positive = 40.0
    lead_months: NotNegative = 0.0


class PeriodsSection(Section):
    """Deployment periods of equal length; the last lasts until the horizon."""

    count: Annotated[int, Field(ge=1)] = 1
    months: Positive = 12.0
    demand_factor: list[NotNegative] = []
    background_factor: list[Positive] = []
    it_price_factor: list[Positive] = []
    infrastructure_price_factor: list[Positive] = []
    max_added_units: list[NotNegative] = []

    @model_validator(mode="after")
    def _one_value_each(self) -> Self:
        for name in type(self).model_fields:
            values = getattr(self, name)
            if isinstance(values, list) and len(values) not in (0, self.count):
                msg = f"{name} has {len(values)} value(s) for {self.count} period(s)"
                raise ValueError(msg)
        return self


class SolveSection(Section):
    """When the solver may stop."""

    gap: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.01
    time_limit_s: Positive = 60.0
    max_rounds: Annotated[int, Field(ge=1)] = 10
    compare: bool = True


class FleetSection(Section):
    """Which feeders; what else a rating takes where no units are given."""

    feeders: Annotated[list[str], Field(min_length=1)]
    power_factor: Annotated[float, Field(ge=0.5, le=1.0)] = 0.98
    assume_line_a: Positive | None = None


class RatingConfig(Section):
    """What rating a feeder takes, with or without a siting."""

    study: StudySection
    profiles: ProfilesSection = ProfilesSection()
    committed: CommittedSection = CommittedSection()
    service: ServiceSection | None = None
    limits: LimitsSection = LimitsSection()
    hosting: HostingSection = HostingSection()
    ambient: AmbientSection | None = None

    def files(self) -> list[str]:
        """Return the names of the files that are read, beside the feeder's."""
        profiles = self.profiles
        names = [profiles.file, profiles.shapes, profiles.annual_kwh_file]
        names.append(self.committed.file)
        names.append(profiles.meters.links if profiles.meters else None)
        names.append(self.ambient.file if self.ambient else None)
        return [*dict.fromkeys(name for name in names if name)]


class StudyConfig(RatingConfig):
    """A whole study file."""

    hosting: StudyHostingSection = StudyHostingSection()
    feeder: FeederSection
    buildings: BuildingsSection
    users: UsersSection
    latency: LatencySection = LatencySection()
    units: Annotated[list[UnitSection], Field(min_length=1)]
    workloads: Annotated[list[WorkloadSection], Field(min_length=1)]
    central: list[CentralSection] = []
    costs: CostsSection | None = None
    tariffs: list[TariffSection] = []
    carbon: CarbonSection | None = None
    areas: AreasSection | None = None
    utilities: list[UtilitySection] = []
    groups: list[GroupSection] = []
    existing: list[ExistingSection] = []
    upgrades: list[UpgradeSection] = []
    service_upgrade: ServiceUpgradeSection | None = None
    periods: PeriodsSection = PeriodsSection()
    economics: EconomicsSection
    solve: SolveSection = SolveSection()

    def files(self) -> list[str]:
        """Return the names of the files that are read, beside the feeder's."""
        own = [self.users.file, self.feeder.ratings]
        own += [self.carbon.file if self.carbon else None]
        own += [self.areas.file if self.areas else None]
        own += [t.file for t in self.tariffs] + [c.ambient_file for c in self.central]
        names = [*super().files(), *self.buildings.files(), *filter(None, own)]
        return [*dict.fromkeys(names)]

    @model_validator(mode="after")
    def _tariffs_and_regions_are_known(self) -> Self:
        names = [t.name for t in self.tariffs]
        for place in (self.economics, *self.utilities, *self.central):
            if place.tariff is not None and names.count(place.tariff) != 1:
                msg = f"tariff {place.tariff!r} is not one of tariffs {names}; name one"
                raise ValueError(msg)
            if place.carbon_region is not None and self.carbon is None:
                msg = f"carbon_region {place.carbon_region!r} needs [carbon] file"
                raise ValueError(msg)
        named = [a for g in (*self.utilities, *self.groups) for a in g.areas]
        if named and self.areas is None:
            msg = f"areas {sorted(set(named))} need [areas] file"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _power_of_workloads(self) -> Self:
        given = self.users.it_kw_columns
        names = {w.workload for w in self.workloads}
        if given is not None and set(given) != names:
            msg = (
                f"users.it_kw_columns names {sorted(given)}, the workloads are "
                f"{sorted(names)}; name a column for each"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _upgrades_are_told_apart(self) -> Self:
        names = [u.upgrade_id for u in self.upgrades]
        twice = sorted({n for n in names if names.count(n) > 1 or "," in n})
        if twice:
            msg = f"upgrades: upgrade_id {twice[0]!r} stands twice or has a comma"
            raise ValueError(msg)
        if self.upgrades and self.feeder.taps == "acting":
            msg = 'upgrades need taps = "frozen": tables of taps are those of before'
            raise ValueError(msg)
        if self.upgrades and self.feeder.controls == "acting":
            msg = 'upgrades need controls = "frozen": rows are compared step by step'
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _periods_end_before_the_horizon(self) -> Self:
        last = self.periods.months / 12.0 * (self.periods.count - 1)
        if last >= self.economics.horizon_years:
            msg = (
                f"periods: the last starts after {last:g} years, beyond the horizon of "
                f"{self.economics.horizon_years:g}"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _units_agree(self) -> Self:
        for name in ("pue", "power_factor"):
            values = sorted({getattr(unit, name) for unit in self.units})
            if len(values) > 1:
                msg = f"units: {name} differs ({values}); give all units the same"
                raise ValueError(msg)
        phases = {unit.phases for unit in self.units}
        if len(phases) > 1 and phases.intersection(_ANY_PHASE):
            msg = (
                f"units: phases {sorted(phases)}; worst, best and sampled choose one "
                "phase for all units of a building: give all units the same"
            )
            raise ValueError(msg)
        known = {unit.unit for unit in self.units}
        unknown = sorted(set(self.economics.host_payment_per_unit_year) - known)
        if unknown:
            msg = f"economics.host_payment_per_unit_year: no unit is called {unknown}"
            raise ValueError(msg)
        return self


_Place = TypeVar("_Place", bound=PlaceSection)


def _priced(place: _Place, price: str, *, needed: bool = True) -> _Place:
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


class FleetConfig(RatingConfig):
    """A fleet whose feeders are rated."""

    fleet: FleetSection

    @model_validator(mode="after")
    def _service_at_nominal_voltage(self) -> Self:
        if self.service and self.service.model_fields_set - {"rule"} != {"amps"}:
            msg = "service: without a siting give amps alone; the voltage is nominal"
            raise ValueError(msg)
        return self


class FleetStudyConfig(StudyConfig):
    """A fleet of studies, each with its own feeder in place of ``feeder``."""

    fleet: FleetSection
    feeder: FeederSection = FeederSection(source="")

    @model_validator(mode="after")
    def _units_have_the_power_factor(self) -> Self:
        if "power_factor" in self.fleet.model_fields_set:
            msg = "fleet.power_factor: the units have one; remove it"
            raise ValueError(msg)
        if self.fleet.assume_line_a is not None:
            msg = "fleet.assume_line_a: give feeder.assume_line_a where units are given"
            raise ValueError(msg)
        if self.hosting.envelope or self.hosting.analysis_date:
            msg = "hosting.envelope, hosting.analysis_date: a fleet writes neither"
            raise ValueError(msg)
        return self


#: Sections of which one makes a fleet file ask for a siting.
_SITING = {"buildings", "users", "units", "workloads", "economics"}

_Config = TypeVar("_Config", bound=RatingConfig)


def read_config(path: str | Path) -> StudyConfig:
    """
    Read and check a study file.

    Parameters
    ----------
    path : str or pathlib.Path
        The TOML file.

    Returns
    -------
    StudyConfig
        Its content.

    Raises
    ------
    ConfigError
        If the file is missing, is not TOML, or has a wrong key or value; all
        wrong keys are named.
    """
    return _checked(StudyConfig, with_preset(_content(path)), path)


def read_fleet_config(path: str | Path) -> FleetConfig | FleetStudyConfig:
    """
    Read and check the study file of a fleet.

    Parameters
    ----------
    path : str or pathlib.Path
        The TOML file: a study file with a section ``fleet``.

    Returns
    -------
    FleetConfig or FleetStudyConfig
        Its content: a rating, or a study where any siting section is given.

    Raises
    ------
    ConfigError
        As `read_config`.
    """
    content = _content(path)
    if _SITING & content.keys():
        return _checked(FleetStudyConfig, with_preset(content), path)
    return _checked(FleetConfig, content, path)


def _content(path: str | Path) -> dict[str, Any]:
    """Return the content of a TOML file."""
    path = Path(path)
    if not path.is_file():
        msg = f"study file {str(path)!r} does not exist; give the path of a .toml file"
        raise ConfigError(msg)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path}: not a TOML file ({error})"
        raise ConfigError(msg) from error


def _checked(
    model: type[_Config], content: dict[str, Any], path: str | Path
) -> _Config:
    """Return the checked content; a fault names the file and every wrong key."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        msg = f"{path}: {_describe(error)}"
        raise ConfigError(msg) from error


def _describe(error: ValidationError) -> str:
    """Return one line that names each wrong key, its value and the cure."""
    parts = []
    for fault in error.errors(include_url=False):
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            parts.append(f"key {key!r} is not known; remove or correct it")
        elif fault["type"] == "missing":
            parts.append(f"key {key!r} is missing; add it")
        elif fault["type"] == "value_error":
            parts.append(f"{key + ': ' if key else ''}{fault['ctx']['error']}")
        else:
            parts.append(f"key {key!r} is {fault['input']!r}: {fault['msg'].lower()}")
    return "; ".join(parts)
