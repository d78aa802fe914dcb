"""Errors by what stays the same: their code and fields, and never their sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import ValidationError

from rlgan.base.errors import RlganError
from rlgan.config.paths import refused as of_pydantic

Kinds = type[BaseException] | tuple[type[BaseException], ...]


@contextmanager
def refused(
    kind: Kinds, code: str, fields: Mapping[str, Any] | None = None, match: str | None = None
) -> Iterator[pytest.ExceptionInfo[Any]]:
    """The block raises an error with this code, which is about at least these fields.

    Args:
        kind: class of the error, or several of which one is enough; pydantic's `ValidationError` counts as the error
            that `rlgan.config.paths` makes of it.
        code: see docs/errors.md; of a list of cases also "code: VALUES", where VALUES is as `match`.
        fields: name of a setting, argument, `path` or `line` → value; paths are compared as text.
        match: regular expression of values that the message must show, such as the nearest name; no sentences.
    """
    code, _, values = code.partition(": ")
    with pytest.raises(kind, match=match or values or None) as caught:
        yield caught
    error = caught.value
    found = of_pydantic(error) if isinstance(error, ValidationError) else error
    assert isinstance(found, RlganError), repr(error)
    assert found.code == code, f"{found.code}: {found}"
    for name, value in (fields or {}).items():
        assert name in found.fields, f"{name} is not in {found.fields}: {found}"
        assert found.fields[name] == value or str(found.fields[name]) == str(value), f"{name}={found.fields[name]!r}"
