"""The base of every settings class: frozen, strict about names, documented by the line under each field.

A settings class lives beside the code that it sets; `rlgan.config.config` only composes them. A variant on an axis
has a literal `kind` field, and the axis is a union discriminated by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen, validated settings; unknown names and wrong types are errors that name the field."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    moved: ClassVar[Mapping[str, str]] = {}
    """Settings of older versions by their names, and where below this class they are now; both are read."""
