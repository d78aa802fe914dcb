"""Networks whose values follow: what training leaves alone in them takes no memory until its values come.

A placeholder has a parameter's shape and dtype, all of it one number in memory. It cannot be written to, so that values
are never put into one by mistake: they take its place (`rlgan.base.weights.load_weights`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

_VALUES_FOLLOW: ContextVar[bool] = ContextVar("values_follow", default=False)


@contextmanager
def values_follow() -> Iterator[None]:
    """Say within the block that networks need no values of what training leaves alone, for theirs are loaded next.

    Networks of `transformers` are built with placeholders then; others begin with values that are written over.
    """
    token = _VALUES_FOLLOW.set(True)
    try:
        yield
    finally:
        _VALUES_FOLLOW.reset(token)


def do_values_follow() -> bool:
    """Whether this is within `values_follow`."""
    return _VALUES_FOLLOW.get()


def is_placeholder(tensor: Tensor) -> bool:
    """Whether a tensor has no values of its own yet."""
    return tensor.numel() > 1 and not any(tensor.stride())


def placeholder(shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """A tensor of a shape, all of it one number in memory."""
    return torch.zeros((), dtype=dtype).expand(shape)


@contextmanager
def without_values() -> Iterator[None]:
    """Build modules within the block without values of parameters; those of buffers are there.

    Until `put_placeholders` they are on torch's device meta, where initialising does nothing. What was registered under
    two names stays one parameter.
    """
    register = nn.Module.register_parameter

    def registered(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and not parameter.is_meta:
            parameter = nn.Parameter(parameter.to("meta"), parameter.requires_grad)
        register(module, name, parameter)

    nn.Module.register_parameter = registered  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def put_placeholders(module: nn.Module) -> None:
    """Let placeholders on the CPU take the place of a module's parameters on the device meta."""
    made: dict[int, nn.Parameter] = {}
    for part in module.modules():
        for name, own in part._parameters.items():
            if own is not None and own.is_meta:
                made.setdefault(id(own), nn.Parameter(placeholder(own.shape, own.dtype), own.requires_grad))
                part._parameters[name] = made[id(own)]


def give_trained_memory(module: nn.Module) -> None:
    """Let zeros in memory of their own take the place of placeholders that are trained."""
    for parameter in module.parameters():
        if parameter.requires_grad and is_placeholder(parameter):
            parameter.data = torch.zeros(parameter.shape, dtype=parameter.dtype)
