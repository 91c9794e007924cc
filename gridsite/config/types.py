"""What every section of a study file is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Points = list[Annotated[list[float], Field(min_length=2, max_length=2)]]


class Section(BaseModel):
    """A section whose keys are all known; nothing is converted quietly."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
