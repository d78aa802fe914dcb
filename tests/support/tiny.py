"""Runs of seconds: every kind of unit on a world of twenty tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rlgan.adversary.settings import AdversarySettings
from rlgan.adversary.training import Round
from rlgan.base.weights import Weights
from rlgan.config.config import Config, Optimizers, Workers
from rlgan.discriminators import CnnHighway, Tabular
from rlgan.envs.tasks import OracleTask, TransductionTask
from rlgan.evaluation.evaluator import EvaluationSettings
from rlgan.generators import LSTM, Seq2SeqLSTM
from rlgan.layers.optimizers import Adam
from rlgan.policy.baselines import NoBaseline
from rlgan.policy.credit import MonteCarlo
from rlgan.policy.logit_maps import Probability
from rlgan.policy.objectives import Reinforce
from rlgan.rollouts.collecting import Shard
from rlgan.sampling.records import Experience, Rollouts
from rlgan.schedule.phases import Schedule
from rlgan.training.iteration import Iteration
from rlgan.training.parts import Parts
from rlgan.training.trainer import Trainer
from rlgan.workers.faults import Faults

FAULTS = Faults(max_retries=3, call_timeout_s=60.0)
TASK = OracleTask(vocab_size=20, embedding=8, hidden=8, max_length=6, num_train=70, num_valid=20, num_test=20, seed=0)


PAIRS = TransductionTask(vocab_size=3, max_length=3, ends=True, num_train=70, num_valid=20, num_test=20)


def of_pairs(schedule: dict[str, Any] | None = None, **changes: Any) -> Config:
    """The same in a world where sequences are copies of what they are given, but for noise."""
    given = {"task": PAIRS, "generator": Seq2SeqLSTM(embedding=4, hidden=6), "discriminator": Tabular()}
    return tiny_config(schedule, **(given | changes))


def tiny_config(schedule: dict[str, Any] | None = None, **changes: Any) -> Config:
    """SeqGAN in small: 2 epochs, 1 discriminator round, 2 adversarial units; sizes that divide nothing evenly."""
    given = {
        "mle_epochs": 2,
        "mle_batch": 16,
        "discriminator_rounds": 1,
        "adversarial_updates": 2,
        "g_batch": 8,
        "d_steps": 1,
        "d_epochs": 1,
    }
    settings: dict[str, Any] = {
        "task": TASK,
        "generator": LSTM(embedding=8, hidden=8),
        "discriminator": CnnHighway(embedding=4, windows=(1, 2, 3), filters=(4, 4, 4)),
        "adversary": AdversarySettings(batch=16, sequences_per_round=24),
        "reward": Probability(),
        "credit": MonteCarlo(num_rollouts=2),
        "baseline": NoBaseline(),
        "objective": Reinforce(loss_normaliser="sum"),
        "schedule": Schedule(**(given | (schedule or {}))),
        "optimizers": Optimizers(
            mle=Adam(lr=0.02, clip_norm=5.0), generator=Adam(lr=0.01, clip_norm=5.0), discriminator=Adam(lr=0.01)
        ),
        "evaluation": EvaluationSettings(every=1, mle_every=1, num_sequences=32, num_bleu=16),
        "workers": Workers(threads=1, shard_sequences=3, shard_fakes=7, chunk_rows=11),
    }
    return Config(**(settings | changes))


def numbers(unit: Iteration) -> dict[str, float]:
    """Metrics of a unit but for its times."""
    return {name: value for name, value in unit.metrics.items() if not name.startswith("timing/")}


def finish(trainer: Trainer, between: Callable[[Trainer], object] = lambda _: None) -> list[Iteration]:
    """Do all units that are left, calling `between` after each."""
    units = []
    while trainer.next_phase is not None:
        units.append(trainer.step())
        between(trainer)
    return units


@dataclass
class Recorder:
    """Notes what a trainer asks of its parts, which do it as always.

    Attributes:
        updates: (phase, experience, rows a minibatch) of each call to the learners.
        searches: (shards, policy, rollout policy, discriminator) of each call for rollouts or fakes.
        references: weights of the reference generator of each such call, or None.
        rounds: of the discriminator.
        before_update: is called with the phase before each call to the learners.
        after_update: and after it, when nothing has been done with its result.
        before_round: is called before each round of the discriminator.
    """

    updates: list[tuple[str, Experience, int]] = field(default_factory=list)
    searches: list[tuple[list[Shard], Weights, Weights | None, Weights | None]] = field(default_factory=list)
    references: list[Weights | None] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    before_update: Callable[[str], object] = lambda phase: None
    after_update: Callable[[str], object] = lambda phase: None
    before_round: Callable[[Round], object] = lambda request: None

    def around(self, parts: Parts) -> Parts:
        """The same parts, watched; they must be in this process."""
        discriminator = parts.discriminator
        return replace(
            parts,
            rollouts=_WatchedRollouts(parts.rollouts, self),
            discriminator=None if discriminator is None else _WatchedDiscriminator(discriminator, self),
            learners=_WatchedLearners(parts.learners, self),
        )


class _Watched:
    """A part that does as it always does but for the methods that are watched."""

    def __init__(self, part: Any, recorder: Recorder) -> None:
        self._part, self._recorder = part, recorder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)


class _WatchedRollouts(_Watched):
    def collect(
        self,
        shards: Sequence[Shard],
        generator: Any,
        rollout_policy: Any = None,
        discriminator: Any = None,
        reference: Any = None,
    ) -> list[Rollouts]:
        self._recorder.searches.append((list(shards), generator, rollout_policy, discriminator))
        self._recorder.references.append(reference)
        return self._part.collect(shards, generator, rollout_policy, discriminator, reference)


class _WatchedDiscriminator(_Watched):
    def train_round(self, request: Round) -> dict[str, float]:
        self._recorder.rounds.append(request)
        self._recorder.before_round(request)
        return self._part.train_round(request)


class _WatchedLearners(_Watched):
    def update(self, phase: Any, experience: Experience, minibatch: int, **through: Any) -> dict[str, float]:
        self._recorder.updates.append((phase, experience, minibatch))
        self._recorder.before_update(phase)
        learned = self._part.update(phase, experience, minibatch, **through)
        self._recorder.after_update(phase)
        return learned
