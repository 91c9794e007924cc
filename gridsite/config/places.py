"""Places in a study file: roofs, users, how far away they are, and areas."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gridsite.config.types import NotNegative, Positive, Section


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


class AreasSection(Section):
    """Polygons with names: what is local, and whose territory it is."""

    file: str
    name_column: str = "name"
    layer: str | None = None
