"""A whole study file: its sections, and how they must agree."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from gridsite.config.energy import CarbonSection, TariffSection
from gridsite.config.network import (
    AmbientSection,
    CommittedSection,
    FeederSection,
    HostingSection,
    LimitsSection,
    ProfilesSection,
    ServiceSection,
    StudyHostingSection,
)
from gridsite.config.places import (
    AreasSection,
    BuildingsSection,
    LatencySection,
    UsersSection,
)
from gridsite.config.siting import (
    CentralSection,
    CostsSection,
    EconomicsSection,
    ExistingSection,
    GroupSection,
    PeriodsSection,
    ServiceUpgradeSection,
    SolveSection,
    UnitSection,
    UpgradeSection,
    UtilitySection,
    WorkloadSection,
)
from gridsite.config.types import Section

#: Rules by which a building has one row of the hosting table, of whatever phase.
_ANY_PHASE = ("worst", "best", "sampled")


class StudySection(Section):
    """Name of the study, its place and seed."""

    name: str
    place: str = ""
    seed: Annotated[int, Field(ge=0)] = 0
    generated: list[str] = []
    assumptions: list[str] = []


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
        for tariff in self.tariffs:
            given, count = len(tariff.energy_price_factor), self.periods.count
            if given not in (0, count):
                msg = (
                    f"tariff {tariff.name!r}: energy_price_factor has {given} value(s) "
                    f"for {count} period(s); give one for each"
                )
                raise ValueError(msg)
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
    def _groups_are_told_apart(self) -> Self:
        names = [g.group_id for g in self.groups]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            msg = f"groups: group_id {twice[0]!r} stands twice; give each its own"
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
