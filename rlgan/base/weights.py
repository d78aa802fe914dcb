"""Weights on the move: plain arrays with a version, which Ray ships once a node and maps without copying."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Weights:
    """Parameters of one network at one version.

    Attributes:
        version: rises by one with every change that is published.
        arrays: parameter name → array.
    """

    version: int
    arrays: dict[str, np.ndarray]


def weights_of(module: nn.Module, version: int) -> Weights:
    """A copy of a module's weights."""
    return Weights(version, {name: value.detach().cpu().numpy().copy() for name, value in module.state_dict().items()})


def load_weights(module: Module, arrays: dict[str, np.ndarray]) -> Module:
    """Copy arrays into a module; returns the module."""
    # Arrays out of Ray's object store are read-only, and torch.from_numpy warns of that: torch.tensor copies.
    module.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    return module


def as_arrays(state: Any) -> Any:
    """A state's tensors as arrays, which Ray moves without pickling what they hold; nothing is copied."""
    if isinstance(state, dict):
        return {name: as_arrays(part) for name, part in state.items()}
    return state.detach().cpu().numpy() if isinstance(state, torch.Tensor) else state


def as_tensors(state: Any) -> Any:
    """The opposite of `as_arrays`; everything is copied, for arrays out of Ray's object store are read-only."""
    if isinstance(state, dict):
        return {name: as_tensors(part) for name, part in state.items()}
    return torch.tensor(state) if isinstance(state, np.ndarray) else state
