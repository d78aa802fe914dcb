"""Rewards by a metric of sequences beside real ones: BLEU, ROUGE, an exact match, and a mixture with the logit's map.

n sequences, T positions
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from rlgan.base.declarations import Fields
from rlgan.base.problems import Problem
from rlgan.base.search_priors import NotSearched, Uniform
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks.task import Task
from rlgan.metrics import CorpusReferences, reference_bleu, reference_match, reference_rouge_l, strip
from rlgan.sampling.records import Rollouts

from .groups import separately_normalised
from .logit_maps import DiscriminatorReward, Probability
from .reward_base import Finished, FinishedReward, Level, LogitMap, Reward, Scored, SequenceScorer, Source
from .reward_functions import terms_of_continuations


class Bleu(Reward):
    """BLEU against a few random training sequences: policy gradient on a metric (PG-BLEU, Yu et al. 2017)."""

    not_searched: ClassVar[NotSearched] = NotSearched("a control")
    kind: Literal["bleu"] = "bleu"
    order: int = Field(3, ge=2, le=9)
    """Maximum n-gram order."""
    num_references: int = Field(20, ge=1)
    """Number of references, which are drawn again for each update."""
    is_positive: ClassVar[bool] = True
    level: ClassVar[Level] = "sequence"
    reads: ClassVar[frozenset[Source]] = frozenset({"training_data"})

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Any sequence of the data is as right as another."""
        if fields.task.gives_conditions:
            yield Problem(
                "random_references",
                {"reward": self.kind},
                (
                    f"compares with random sequences, but task={fields.task.kind!r} has a different target for each "
                    "condition. Use reward reference_bleu."
                ),
            )

    def of_sequences(self, rollouts: Rollouts, task: Task, rng: torch.Generator, group: int | None = None) -> Tensor:
        """See `Reward.of_sequences`."""
        chosen = task.train[torch.randperm(task.train.shape[0], generator=rng)[: self.num_references]]
        references = CorpusReferences(strip(task.space, chosen), self.order)
        return torch.tensor(references.sentence_bleu(strip(task.space, rollouts.tokens))[self.order])


class TargetMetric(FinishedReward):
    """A metric of a sequence beside its target, the one that the data has for its condition."""

    not_searched: ClassVar[NotSearched] = NotSearched("needs a task with conditions")
    reads: ClassVar[frozenset[Source]] = frozenset({"targets"})
    compares: ClassVar[bool] = True
    is_positive: ClassVar[bool] = True

    @abstractmethod
    def compare(self, space: SequenceSpace, tokens: Tensor, targets: Tensor) -> Tensor:
        """The metric.

        Args:
            space: the task's sequences.
            tokens: (n, T) int64 finished sequences.
            targets: (n, T) int64.

        Returns:
            (n,) float32 in [0, 1].
        """

    def scorer(self, task: Task) -> SequenceScorer:
        """See `Reward.scorer`: the metric."""
        return BesideTargets(self, task.space)

    def of_finished(self, real_logits: Tensor | None, scores: Tensor | None) -> Tensor:
        """See `FinishedReward.of_finished`; it reads no logits."""
        return self.scores_there(scores)


class ReferenceBleu(TargetMetric):
    """BLEU against the target of the condition: MC-BLEU (Yang et al. 2018, λ = 0)."""

    kind: Literal["reference_bleu"] = "reference_bleu"
    order: int = Field(4, ge=1, le=9)
    """Maximum n-gram order."""

    def compare(self, space: SequenceSpace, tokens: Tensor, targets: Tensor) -> Tensor:
        """See `TargetMetric.compare`."""
        return reference_bleu(space, tokens, targets, self.order)


class ReferenceRouge(TargetMetric):
    """ROUGE-L, as F1, against the target of the condition."""

    kind: Literal["reference_rouge"] = "reference_rouge"

    def compare(self, space: SequenceSpace, tokens: Tensor, targets: Tensor) -> Tensor:
        """See `TargetMetric.compare`."""
        return reference_rouge_l(space, tokens, targets)


class ReferenceMatch(TargetMetric):
    """1 where a sequence is the target of its condition, token for token, and 0 elsewhere: a verifiable answer."""

    kind: Literal["reference_match"] = "reference_match"

    def compare(self, space: SequenceSpace, tokens: Tensor, targets: Tensor) -> Tensor:
        """See `TargetMetric.compare`."""
        return reference_match(space, tokens, targets)


MetricReward = ReferenceBleu | ReferenceRouge | ReferenceMatch
"""Metrics of a sequence beside its target."""


@dataclass(frozen=True, slots=True)
class BesideTargets:
    """Scores sequences by a metric beside their targets.

    Attributes:
        metric: which.
        space: the task's sequences.
    """

    metric: TargetMetric
    space: SequenceSpace

    def __call__(self, finished: Finished) -> Scored:
        """See `SequenceScorer`."""
        assert finished.targets is not None
        return Scored(self.metric.compare(self.space, finished.tokens, finished.targets))


class Mixed(FinishedReward):
    """λ · map(u) + (1 - λ) · metric, the metric against the target of the condition (BR-CSGAN, Yang et al. 2018).

    The paper subtracts b from the first part, which equals a constant baseline λ·b of this reward.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("needs a task with conditions")
    kind: Literal["mixed"] = "mixed"
    map: Annotated[DiscriminatorReward, Field(discriminator="kind")] = Probability()
    """Map of the discriminator's logit."""
    metric: Annotated[MetricReward, Field(discriminator="kind")] = ReferenceBleu()
    """Metric against the target."""
    weight: Annotated[float, Uniform(0.1, 0.9)] = Field(0.7, gt=0.0, lt=1.0)
    """Weight λ of the map, between 0 and 1. At 0 and 1 use the metric or the map alone."""
    normalise_terms: bool = False
    """Whether to normalise map and metric separately before the sum: minus the mean, divided by the standard deviation
    plus 1e-4, over the sequences of a group, so that a logit without bounds does not drown a metric in [0, 1]."""
    reads: ClassVar[frozenset[Source]] = frozenset({"discriminator", "targets"})
    compares: ClassVar[bool] = True

    @property
    def logit_map(self) -> LogitMap:
        """The one that is mixed."""
        return self.map

    @property
    def without_discriminator(self) -> str:
        """The metric alone."""
        return self.metric.kind

    @property
    def compares_groups(self) -> bool:
        """Where terms are normalised."""
        return self.normalise_terms

    def check(self, fields: Fields) -> Iterator[Problem]:
        """What is compared within a batch is finished sequences."""
        if self.normalise_terms:
            yield from terms_of_continuations(fields)

    def scorer(self, task: Task) -> SequenceScorer:
        """See `Reward.scorer`: the metric that is mixed."""
        return self.metric.scorer(task)

    def of_sequences(self, rollouts: Rollouts, task: Task, rng: torch.Generator, group: int | None = None) -> Tensor:
        """See `Reward.of_sequences`; terms that are set to be are normalised within the group."""
        if not self.normalise_terms:
            return super().of_sequences(rollouts, task, rng, group)
        mapped = self.map.of_logits(self.logits_there(rollouts.real_logits))
        terms = torch.stack([mapped, self.scores_there(rollouts.scores)], 1)
        return separately_normalised(terms, group) @ torch.tensor([self.weight, 1.0 - self.weight])

    def of_finished(self, real_logits: Tensor | None, scores: Tensor | None) -> Tensor:
        """See `FinishedReward.of_finished`: λ · map(u) + (1 - λ) · score."""
        logits, scores = self.logits_there(real_logits), self.scores_there(scores)
        return self.weight * self.map.of_logits(logits) + (1.0 - self.weight) * scores
