"""What several checks ask of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlgan.envs.tasks import TaskSettings, TransductionTask
from rlgan.policy.advantage_scaling import GroupDeviation, NormalisationSettings
from rlgan.policy.baselines import BaselineSettings, GroupMean, ImportanceWeights, LeaveOneOut, LogPartition

if TYPE_CHECKING:
    from ..config import Config


def compares_sequences(baseline: BaselineSettings, normalisation: NormalisationSettings) -> bool:
    """Whether sequences of a batch are compared with each other, so that `schedule.g_group` has an effect."""
    compares = isinstance(baseline, LeaveOneOut | GroupMean | ImportanceWeights)
    return compares or isinstance(normalisation, GroupDeviation)


def is_certain(task: TaskSettings) -> bool:
    """Whether what a sequence is given leaves nothing open."""
    return isinstance(task, TransductionTask) and task.is_certain


def of_the_batch(config: Config, number: int, kind: str = "generated") -> str:
    """How so many sequences of a generator update are told of."""
    schedule = config.schedule
    if not schedule.num_real:
        return f"schedule.g_batch={schedule.g_batch}"
    return (
        f"the {number} {kind} sequences of schedule.g_batch={schedule.g_batch} "
        f"(schedule.teacher_forcing={schedule.teacher_forcing.kind!r})"
    )


def reads_ratio(config: Config) -> bool:
    """Whether the logit must be log p_d/p_θ, so that everything that D tells reals from is drawn by the generator."""
    return (config.reward.logit_map or config.reward).kind == "ratio" or isinstance(config.baseline, LogPartition)
