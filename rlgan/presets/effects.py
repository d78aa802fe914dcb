"""Settings that a run does not read, so that whoever sets one of them is told.

A preset carries settings of phases that a run may not have: `mle` has a reward, and a run without pretraining an
optimiser of it. They do no harm where they stand, and everything where they are thought to act. What contradicts
itself wherever it stands is told by `rlgan.config.checks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rlgan.base.errors import ConfigError
from rlgan.config.config import Config
from rlgan.config.paths import flatten, to_dict
from rlgan.envs.tasks import PairsTask, TextTask
from rlgan.policy.objectives import MixedPrefix, NoTeacherForcing

from .registry import trained_again


def unread(config: Config) -> Iterator[tuple[str, str]]:
    """What a run does not read.

    Args:
        config: of the run.

    Yields:
        The path of a setting, or of what all settings below it share, and why it is not read.
    """
    schedule, task = config.schedule, config.task
    if not config.has_adversary:
        for path in ("adversary", "optimizers.discriminator", "schedule.d_epochs"):
            yield path, "there is no discriminator"
    if not schedule.adversarial_updates:
        paths = ["reward", "baseline", "normalisation", "reference", "optimizers.generator"]
        paths += ["schedule.g_steps", "schedule.g_batch", "schedule.g_group"]
        paths += ["evaluation.every", "evaluation.collapse_share"]
        # In pretraining, too, credit and objective decide what a discriminator is shown.
        paths += ["schedule.d_steps"] if config.has_adversary else ["credit", "objective"]
        for path in paths:
            yield path, "schedule.adversarial_updates is 0"
    if not schedule.mle_epochs:
        for path in ("optimizers.mle", "schedule.mle_patience", "evaluation.mle_every"):
            yield path, "schedule.mle_epochs is 0"
        learns_besides = not isinstance(schedule.teacher_forcing, NoTeacherForcing | MixedPrefix)
        if not (config.controls or learns_besides):
            yield "schedule.mle_batch", "nothing is learned by likelihood"
    if trained_again(config) is None:
        yield "evaluation.equal_trainings", "no control of the run learns as the run does"
    if not isinstance(task, TextTask):
        for path in ("evaluation.num_bleu", "evaluation.num_nearest"):
            yield path, f"task={task.kind!r} is no text"
    if not isinstance(task, PairsTask):
        yield "evaluation.bleu_tokens", f"task={task.kind!r} is no texts of pairs"
        if config.evaluation.adversarial is None:
            for path in ("evaluation.beam", "evaluation.length_exponent"):
                yield path, f"nothing of task={task.kind!r} is decoded"


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
            if _is_within(path, idle) and any(_is_within(one, path) for one in changed):
                raise ConfigError(f"{path}: would have no effect, for {reason}. Leave it out.")


def _is_within(path: str, whole: str) -> bool:
    return path == whole or path.startswith(f"{whole}.")
