"""Sweeps of seconds: a study of two dimensions on a world of twenty tokens."""

from __future__ import annotations

from pathlib import Path

from rlgan.base.search_priors import Choice
from rlgan.cli.typed import train_command
from rlgan.envs.tasks import OracleTask
from rlgan.tuning import Study
from rlgan.tuning.search.settings import SweepSettings
from rlgan.tuning.sweep import SweepRequest

TASK = OracleTask(vocab_size=20, embedding=8, hidden=8, max_length=6, num_train=100, num_valid=50, num_test=60)
CHANGES = {
    "schedule.adversarial_updates": 8,
    "schedule.mle_epochs": 2,
    "schedule.mle_patience": None,
    "schedule.discriminator_rounds": 1,
    "schedule.g_batch": 16,
    "evaluation.every": 2,
    "evaluation.num_sequences": 50,
    "evaluation.final_sequences": 50,
    "evaluation.temperatures": [1.0, 0.8],
    "adversary.sequences_per_round": 64,
    "reward": "probability",
    "baseline": "none",
}
STUDY = Study(
    "mine",
    "a question",
    "quick",
    {"baseline": Choice(("none", "ema", "batch_mean", "per_step_mean")), "schedule.d_steps": Choice((1, 2))},
    CHANGES,
)
RATES = Study(
    "rates", "a question", "quick", {"optimizers.generator.lr": None, "schedule.d_steps": Choice((1, 2))}, CHANGES
)


def request(folder: Path, study: Study = STUDY, resume: bool = False, **settings: object) -> SweepRequest:
    """Eight trials of a grid, all to their end, no race, nothing tracked; unless `settings` say so."""
    given = SweepSettings(**{"search": "grid", "scheduler": "none", "trials": 8, "finalists": 0, **settings})
    return SweepRequest(study, TASK, {"tracking.enabled": False}, given, folder, resume, command_of=train_command)
