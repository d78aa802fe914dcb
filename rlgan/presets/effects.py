"""Settings that a run does not read, so that whoever sets one of them is told.

A preset carries settings of phases that a run may not have: `mle` has a reward, and a run without pretraining an
optimiser of it. They do no harm where they stand, and everything where they are thought to act. Which settings are
read under which condition stands beside them (`ReadIf`); here is what the conditions are. What contradicts itself
wherever it stands is told by `rlgan.config.checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from rlgan.base.errors import ConfigError
from rlgan.base.settings import ReadIf, facts_of, is_within
from rlgan.config.config import Config
from rlgan.config.paths import flatten, to_dict

from .controls import trained_again


def unread(config: Config) -> Iterator[tuple[str, str]]:
    """What a run does not read.

    Args:
        config: of the run.

    Yields:
        The path of a setting, or of what all settings below it share, and why it is not read.
    """
    reasons = {condition: reason(config) for condition, reason in CONDITIONS.items()}
    for path, fact, _ in facts_of(config, ReadIf):
        if (reason := reasons[fact.condition]) is not None:
            yield path, reason


def _without_updates(config: Config) -> str | None:
    return None if config.schedule.adversarial_updates else "schedule.adversarial_updates is 0"


def _without_pretraining(config: Config) -> str | None:
    return None if config.schedule.mle_epochs else "schedule.mle_epochs is 0"


def _without_likelihood(config: Config) -> str | None:
    schedule = config.schedule
    learns_besides = schedule.teacher_forcing.learns_likelihood
    if schedule.mle_epochs or config.controls or learns_besides:
        return None
    return "nothing is trained by likelihood"


def _no_own_reward(config: Config) -> str | None:
    if not config.reward.has_figures:
        return f"the final table is not measured by reward={config.reward.kind!r}"
    return _without_updates(config)


def _no_text(config: Config) -> str | None:
    if "text" in config.task.measures:
        return None
    return f"task={config.task.kind!r} is not measured as text without conditions is"


def _no_texts_of_pairs(config: Config) -> str | None:
    return None if "references" in config.task.measures else f"task={config.task.kind!r} has no pairs of texts"


def _no_texts(config: Config) -> str | None:
    if {"text", "references"} & config.task.measures:
        return None
    return f"task={config.task.kind!r} has no texts"


def _nothing_decoded(config: Config) -> str | None:
    is_decoded = "references" in config.task.measures or config.evaluation.adversarial is not None
    return None if is_decoded else f"sequences of task={config.task.kind!r} are not decoded"


CONDITIONS: Mapping[str, Callable[[Config], str | None]] = {
    "discriminator": lambda config: None if config.has_adversary else "there is no discriminator",
    "adversarial updates": _without_updates,
    # In pretraining, too, credit and objective decide what a discriminator is shown.
    "rollouts": lambda config: None if config.has_adversary else _without_updates(config),
    "rounds between updates": lambda config: _without_updates(config) if config.has_adversary else None,
    "pretraining": _without_pretraining,
    "likelihood": _without_likelihood,
    "control of its kind": lambda config: (
        "no control of the run is trained like the run" if trained_again(config) is None else None
    ),
    "own reward": _no_own_reward,
    "text": _no_text,
    "texts": _no_texts,
    "pairs of texts": _no_texts_of_pairs,
    "decoding": _nothing_decoded,
}
"""Condition of `ReadIf` → why it does not hold, as a clause; None where it holds."""


def require_effect(before: Mapping[str, Any], after: Config, paths: Iterable[str]) -> None:
    """Refuse what was changed and is not read.

    Args:
        before: what was changed, as JSON values; it need not be able to stand.
        after: what it became.
        paths: dotted paths that were set, in the configuration's spelling.

    Raises:
        ConfigError: names the first of them that makes another configuration of the same run.
    """
    old, new = flatten(before), flatten(to_dict(after))
    changed = {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}
    for path in paths:
        for idle, reason in unread(after):
            if is_within(path, idle) and any(is_within(one, path) for one in changed):
                raise ConfigError(
                    f"{path}: would have no effect, because {reason}. Remove it.",
                    code="setting_has_no_effect",
                    fields={"path": path},
                )
