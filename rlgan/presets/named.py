"""The mark of a preset: a function of the task whose name, typed once, is what the command line and runs call it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar, cast

from rlgan.config.config import Config

Function = TypeVar("Function", bound=Callable[..., Config])

_MARK, _FOLLOWS = "preset_name", "preset_follows_data"


def shipped(name: str = "", *, follows_data: bool = False) -> Callable[[Function], Function]:
    """Mark a function as a preset: `rlgan.presets.registry` then lists it, and its configuration says its name.

    Args:
        name: of the preset; "" for the function's own.
        follows_data: whether its sizes follow data of your own (`rlgan.presets.sizes`), and are no paper's.

    Returns:
        The decorator of a function of the task, or of none for its default task.
    """

    def decorated(function: Function) -> Function:
        called = name or function.__name__

        @wraps(function)
        def labelled(*task: object, **named: object) -> Config:
            return function(*task, **named).model_copy(update={"preset": called})

        setattr(labelled, _MARK, called)
        setattr(labelled, _FOLLOWS, follows_data)
        return cast(Function, labelled)

    return decorated


def name_of(function: object) -> str | None:
    """The name of a preset; None where the object is none."""
    found = getattr(function, _MARK, None)
    return found if isinstance(found, str) else None


def follows_data(function: object) -> bool:
    """Whether sizes of a preset follow data of your own."""
    return bool(getattr(function, _FOLLOWS, False))
