"""Rows of the final table by the user's own reward functions: the generator, its controls and real data alike.

Samples of all rows are written for the conditions of the test split, in order, and real sequences are those of the
validation split; see `Evaluator`. Random numbers of functions are the same for all rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from rlgan.base.activity import stage
from rlgan.base.seeding import stream_seed
from rlgan.envs.tasks.task import Records, Task
from rlgan.envs.transition import sequence_mask
from rlgan.policy.reward_base import Finished, RewardFigures, TrainerState

from .evaluator import Measurement


@dataclass(frozen=True, slots=True)
class Rewarded:
    """A sample and what it is worth.

    Attributes:
        text: what the generator wrote.
        reward: of it.
    """

    text: str
    reward: float


@dataclass(frozen=True, slots=True)
class OwnReward:
    """What measures rows by a reward.

    Attributes:
        figures: of the reward.
        task: of the run.
        number: of sequences of each row that are scored, at most.
        seed: of the run.
        state: how far the run is; the same for all rows.
    """

    figures: RewardFigures
    task: Task
    number: int
    seed: int
    state: TrainerState

    def measure(self, measurement: Measurement) -> dict[str, float]:
        """Figures of a row; names as in docs/metrics.md, without `eval/`.

        Args:
            measurement: of the row.

        Raises:
            PluginError: a function raises, hangs, or returns something else than finite numbers.
        """
        with stage("reward", "your reward functions"):
            return self.figures(*self._finished(measurement))

    def best(
        self, measurement: Measurement, most: int, identified: Callable[[Sequence[str]], Sequence[str]]
    ) -> list[Rewarded]:
        """The different texts with the largest rewards among the sequences of a row, the best first.

        Args:
            measurement: of the row.
            most: of them, at most; those without a reward are none.
            identified: texts → what each stands for; of those that stand for the same, the best is there.

        Raises:
            PluginError: see `measure`.
        """
        finished, records = self._finished(measurement)
        with stage("reward", "your reward functions"):
            scores = self.figures.scores(finished, records)
        texts = self.task.decode(finished.tokens)
        order = scores.nan_to_num(-math.inf).argsort(descending=True, stable=True).tolist()
        names = identified(texts)
        found: dict[str, Rewarded] = {}
        for place in order:
            if math.isfinite(float(scores[place])) and len(found) < most:
                found.setdefault(names[place], Rewarded(texts[place], float(scores[place])))
        return list(found.values())

    def _finished(self, measurement: Measurement) -> tuple[Finished, Records | None]:
        tokens = measurement.tokens[: self.number].long()
        task, given = self.task, self.task.conditions
        conditions, targets, rows, records = None, None, None, None
        if given is not None and measurement.conditions is not None:
            conditions = measurement.conditions[: self.number].long()
            answers = task.valid if measurement.is_real else task.test
            records = given.valid_records if measurement.is_real else given.test_records
            rows = torch.arange(len(tokens)) % len(answers)
            targets = answers[rows].long() if task.has_real_sequences else None
        return Finished(
            tokens,
            sequence_mask(task.space, tokens),
            conditions,
            targets,
            stream_seed(self.seed, "reward of the final table"),
            rows,
            self.state,
        ), records
