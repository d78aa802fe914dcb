"""`rlgan.train` and `rlgan.tune` of seconds, whatever an example asks of them: little data, short schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rlgan
from rlgan import api

_NUM_LINES = 100
_SMALL: dict[str, dict[str, Any]] = {
    "schedule": {"mle_epochs": 1, "discriminator_rounds": 1, "adversarial_updates": 2, "g_batch": 16, "d_steps": 1},
    "adversary": {"sequences_per_round": 64},
    "evaluation": {"num_sequences": 32, "final_sequences": 32, "num_bleu": 16, "num_nearest": 8, "temperatures": [1.0]},
    "tracking": {"enabled": False},
    "workers": {"threads": 1},
}
# What is of likelihood alone is registered by an example, and so tracked.
_OF_LIKELIHOOD = {"schedule": {"mle_epochs": 1}, "evaluation": _SMALL["evaluation"]}


def make_small(replace: Callable[[Any, str, Any], None]) -> None:
    """Put small ones in the place of both.

    Args:
        replace: sets an attribute of a module: `setattr`, or pytest's `monkeypatch.setattr`.
    """
    replace(api, "train", _train(api.train))
    replace(api, "tune", _tune(api.tune))


def _train(train: Callable[..., rlgan.Run]) -> Callable[..., rlgan.Run]:
    def small(preset: str = "quick", **given: Any) -> rlgan.Run:
        if "demonstrations" in given:
            return train(preset, **given)  # those examples are told their sizes
        axes = _OF_LIKELIHOOD if preset == "mle" else _SMALL
        merged = {axis: {**given.get(axis, {}), **values} for axis, values in axes.items()}
        less = {"data": _few(given["data"])} if "data" in given else {}  # else a task, of which a test has little
        return train(preset, **{**given, **merged, **less})

    return small


def _tune(tune: Callable[..., Any]) -> Callable[..., Any]:
    def small(study: str, **given: Any) -> Any:
        settings = {f"{axis}.{name}": value for axis, values in _SMALL.items() for name, value in values.items()}
        del settings["schedule.d_steps"]  # which the study varies
        less = {"trials": 2, "finalists": 1, "seeds": 1, "scheduler": "none", "concurrent": 1}
        return tune(study, **{**given, **less, "data": _few(given["data"]), "settings": settings})

    return small


def _few(data: list[str]) -> list[str]:
    return data[:: max(1, len(data) // _NUM_LINES)]
