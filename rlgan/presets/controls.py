"""What stands beside a paper's run."""

from __future__ import annotations

from rlgan.config.config import Control
from rlgan.envs.tasks import TaskSettings


def controls_of(task: TaskSettings | None) -> tuple[Control, ...]:
    """What stands beside an adversarial run; the ceiling only where the exact law is known and forbids nothing."""
    has_oracle = task is None or (task.knows_law and not task.is_certain)
    return ("mle_continued", "constant_reward", "oracle_ratio") if has_oracle else ("mle_continued", "constant_reward")
