"""Of data that has prompts alone: whatever learns from completions, or compares with them, is refused."""

from __future__ import annotations

from collections.abc import Iterator

from rlgan.base.declarations import Fields
from rlgan.base.problems import UNSHOWN, Problem

_OF_REALS = frozenset({"targets", "training_data", "demonstrations", "features"})
"""What rewards read that is a real sequence, or of one."""
_CONTROLS = ("mle_continued", "mle_equal_reals", "oracle_ratio", "length_reward")
"""Controls that learn from real sequences, or are rewarded by them."""


def needs_of_completions(fields: Fields) -> Iterator[Problem]:
    """Without real sequences nothing is left but to be rewarded for what is drawn."""
    if fields.task.has_real_sequences:
        return
    schedule, reward, objective = fields.schedule, fields.reward, fields.objective
    if fields.discriminator is not None:
        yield _refused(fields, "discriminator", UNSHOWN, "Set it to none, and reward by functions of your own.")
    if schedule.mle_epochs:
        remedy = "Set it to 0 and learn by rewards alone, as preset grpo does, or give data with completions."
        yield _refused(fields, "schedule.mle_epochs", schedule.mle_epochs, remedy)
    if schedule.teacher_forcing.kind != "none":
        yield _refused(fields, "schedule.teacher_forcing", schedule.teacher_forcing.kind, "Set it to none.")
    if schedule.adversarial_updates and (objective.contrasts_reals or objective.learns_reals):
        yield _refused(fields, "objective", objective.kind, "Use objective ppo or reinforce.")
    if schedule.adversarial_updates and _OF_REALS & set(reward.reads):
        yield _refused(fields, "reward", reward.kind, "Use a function of your own (--reward FILE.py:NAME).")
    if controls := [name for name in fields.controls if name in _CONTROLS]:
        yield _refused(fields, "controls", list(fields.controls), f"Remove {' and '.join(controls)}.")


def _refused(fields: Fields, path: str, value: object, remedy: str) -> Problem:
    return Problem(
        "needs_completions",
        {path: value},
        f"needs completions, but the data of task={fields.task.kind!r} has prompts alone. {remedy}",
    )
