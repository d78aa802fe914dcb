"""Errors whose advice can be typed. Light: what knows all settings is imported once there is an error."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rlgan.base.errors import RlganError


@contextmanager
def typeable(tree: Callable[[], Mapping[str, Any] | None], own: Collection[str] = ()) -> Iterator[None]:
    """Errors of the block say what to do in options.

    Args:
        tree: the configuration's JSON values as far as it is known; asked for only after an error.
        own: names of the verb's own options, without dashes.
    """
    try:
        yield
    except RlganError as error:
        if error.args and isinstance(error.args[0], str):
            from .hints import in_options

            error.reword(in_options(error.args[0], tree(), own))
        raise
