"""What is placed, where else, at which cost, and when, in a study file."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gridsite.config.energy import PlaceSection, priced
from gridsite.config.types import Finite, NotNegative, Points, Positive, Section, Share

#: Where a unit stands: on given phases, on those of its building's connection as
#: filed (known), on any by a rule, across both legs of a split-phase service (12), or a
#: third of it on each of three phases (ABC).
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
        return priced(self, "energy_price_per_kwh")

    @property
    def largest_pue(self) -> float:
        """Return the largest PUE over the study. [-]"""
        return self.pue if self.pue_max is None else self.pue_max

    @property
    def max_blocks(self) -> int:
        """Blocks that ``max_it_kw`` has room for."""
        return int(self.max_it_kw / self.block_kw + 1e-9)


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
        return priced(self, "building_energy_price_per_kwh")


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


class UtilitySection(_Caps, PlaceSection):
    """A utility, its tariff, and its feeders and areas (neither: all others)."""

    name: str
    energy_price_per_kwh: Finite | None = None
    demand_charge_per_kw_year: NotNegative | None = None
    carbon_g_per_kwh: NotNegative | None = None

    @model_validator(mode="after")
    def _flat_price_is_a_price(self) -> Self:
        return priced(self, "energy_price_per_kwh", needed=False)


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
    energy_price_factor: list[NotNegative] = []
    demand_charge_factor: list[NotNegative] = []
    carbon_factor: list[NotNegative] = []
    carbon_price_factor: list[NotNegative] = []
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
    """When the solver may stop, for the plan and for strategies beside it."""

    gap: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.01
    time_limit_s: Positive = 60.0
    max_rounds: Annotated[int, Field(ge=1)] = 10
    compare: bool = True
    compare_time_limit_s: Positive = 60.0
