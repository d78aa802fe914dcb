"""A run between two steps, as its checkpoint keeps it; held while code of the user's own may raise in the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlgan.base.weights import Base
from rlgan.config.config import Config
from rlgan.extensions import plugins_in
from rlgan.schedule.phases import Position
from rlgan.training.callbacks import CALLBACKS
from rlgan.training.trainer import Trainer

from .data import DATA


@dataclass(frozen=True, slots=True)
class Whole:
    """A run between two iterations, or between two batches of pretraining.

    Attributes:
        position: where it stands.
        state: for a checkpoint.
        bases: what its networks have frozen.
    """

    position: Position
    state: dict[str, Any]
    bases: tuple[Base, ...]


def may_raise(config: Config) -> bool:
    """Whether code of the user's own runs inside of iterations: where it raises, there is nothing to go on from."""
    return any(plugin.plugin_kind != "callback" for plugin in plugins_in(config))


def whole(trainer: Trainer, fingerprint: str, callbacks: Mapping[str, Any]) -> Whole:
    """A run as it stands; training that goes on does not change it.

    Args:
        trainer: of the run, between two iterations or two batches of pretraining.
        fingerprint: of its task.
        callbacks: their states, which belong to the caller.
    """
    state = {**trainer.state(), DATA: fingerprint, CALLBACKS: callbacks}
    return Whole(trainer.position, state, trainer.bases)
