"""All rewards, beside the maps of one logit (`rlgan.policy.logit_maps`), and their union.

The controls that need no discriminator (a constant, random numbers, the exact log-ratio) are rewards like any other.
What a reward declares and computes is in `rlgan.policy.reward_base`.

    B sequences, T positions
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from rlgan.base.declarations import Fields
from rlgan.base.errors import ShapeError
from rlgan.base.problems import Problem
from rlgan.base.search_priors import NotSearched, Uniform
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks.task import Task
from rlgan.metrics import (
    CorpusReferences,
    feature_log_odds,
    length_bins,
    lengths_of,
    reference_bleu,
    reference_rouge_l,
    strip,
)
from rlgan.sampling.records import Rollouts

from .logit_maps import DiscriminatorReward, Probability
from .reward_base import Finished, FinishedReward, Level, LogitMap, Reward, Scored, SequenceScorer, Source
from .reward_functions import PluginReward


class LogRatio(Reward):
    """log p_φ - log p_θ of each token, where p_φ is the language model of the discriminator (docs/algorithms.md §7)."""

    not_searched: ClassVar[NotSearched] = NotSearched("only for one discriminator: presets lm_ratio, mediator")
    kind: Literal["log_ratio"] = "log_ratio"
    level: ClassVar[Level] = "token"
    reads: ClassVar[frozenset[Source]] = frozenset({"discriminator"})

    def check(self, fields: Fields) -> Iterator[Problem]:
        """The discriminator is a distribution over tokens."""
        network = fields.discriminator
        if network is not None and not network.gives_distribution:
            yield Problem(
                "log_ratio_without_distribution",
                {"reward": self.kind},
                (
                    f"needs log p_φ of tokens, which discriminator={network.kind!r} does not provide. Use "
                    "discriminator language_model and adversary.loss likelihood, or reward logit."
                ),
            )

    def of_tokens(self, rollouts: Rollouts, task: Task) -> Tensor:
        """See `Reward.of_tokens`: the logits are log p_φ."""
        if rollouts.token_logits is None:
            raise ShapeError(
                "reward='log_ratio' needs the discriminator's log-probabilities of tokens, but none are given.",
                code="log_ratio_needs_logprobs",
                fields={"reward": "log_ratio"},
            )
        return log_ratio(rollouts.token_logits, rollouts.logprobs, rollouts.mask)


class LogitIncrement(Reward):
    """What a token adds to the logit of its prefix: r_t = u_t - u_{t-1}, u_0 = 0 (docs/algorithms.md §7).

    Where u_t = log p_d/p_θ of the prefix this is the exact log-ratio of the token, and rewards-to-go telescope.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("needs a discriminator of tokens")
    kind: Literal["logit_increment"] = "logit_increment"
    level: ClassVar[Level] = "token"
    reads: ClassVar[frozenset[Source]] = frozenset({"discriminator"})

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Logits are of prefixes, and no log-probabilities."""
        network = fields.discriminator
        if network is not None and network.gives_distribution:
            yield Problem(
                "increment_of_distribution",
                {"reward": self.kind},
                f"needs logits of prefixes, but those of discriminator={network.kind!r} are log-probabilities of "
                "tokens. Use reward log_ratio.",
            )
        elif network is not None and network.granularity != "token":
            yield Problem(
                "increment_of_sequences",
                {"reward": self.kind},
                f"needs logits of prefixes, but discriminator={network.kind!r} judges whole sequences. Use "
                "discriminator causal_lstm, or reward logit.",
            )

    def of_tokens(self, rollouts: Rollouts, task: Task) -> Tensor:
        """See `Reward.of_tokens`."""
        if rollouts.token_logits is None:
            raise ShapeError(
                "reward='logit_increment' needs the discriminator's logits of prefixes, but none are given.",
                code="increment_needs_logits",
                fields={"reward": self.kind},
            )
        logits = rollouts.token_logits.detach()
        before = functional.pad(logits[:, :-1], (1, 0))
        return (logits - before).masked_fill(~rollouts.mask, 0.0)


class RelativeProbability(Reward):
    """σ(u - u_real): how likely a sequence is the real one of two, beside a real one under the same condition.

    Where nothing is given, beside any real one. Source: Wu et al. 2020 (TextGAIL), the softmax of two candidates.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("part of a method's definition")
    kind: Literal["relative_probability"] = "relative_probability"
    level: ClassVar[Level] = "sequence"
    reads: ClassVar[frozenset[Source]] = frozenset({"discriminator", "demonstrations"})
    is_relative: ClassVar[bool] = True
    is_positive: ClassVar[bool] = True

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Whole sequences are judged, when they are finished."""
        network, credit = fields.discriminator, fields.credit
        if network is not None and (network.gives_distribution or network.granularity == "token"):
            yield Problem(
                "relative_of_tokens",
                {"reward": self.kind},
                f"compares whole sequences, but discriminator={network.kind!r} judges tokens. Use another "
                "discriminator, or reward logit.",
            )
        if credit.judges_prefixes or credit.num_continuations:
            yield Problem(
                "relative_of_prefixes",
                {"reward": self.kind},
                f"compares each drawn sequence with one real one, but credit={credit.kind!r} rewards prefixes. Use "
                "credit terminal.",
            )

    def of_sequences(self, rollouts: Rollouts, task: Task, rng: torch.Generator, group: int | None = None) -> Tensor:
        """See `Reward.of_sequences`."""
        if rollouts.real_logits is None or rollouts.target_logits is None:
            raise ShapeError(
                "reward='relative_probability' needs logits of the sequences and of real ones, but none are given.",
                code="relative_needs_logits",
                fields={"reward": self.kind},
            )
        return torch.sigmoid((rollouts.real_logits - rollouts.target_logits).detach())


class ConstantReward(Reward):
    """The same reward for every sequence: a control. Without a baseline it is self-imitation."""

    not_searched: ClassVar[NotSearched] = NotSearched("a control")
    kind: Literal["constant"] = "constant"
    value: float = 1.0
    """The reward."""
    level: ClassVar[Level] = "sequence"
    reads: ClassVar[frozenset[Source]] = frozenset()

    def of_sequences(self, rollouts: Rollouts, task: Task, rng: torch.Generator, group: int | None = None) -> Tensor:
        """See `Reward.of_sequences`."""
        return torch.full((len(rollouts.tokens),), self.value)


class RandomReward(Reward):
    """Uniform random numbers in [0, 1), one per sequence: a control."""

    not_searched: ClassVar[NotSearched] = NotSearched("a control")
    kind: Literal["random"] = "random"
    is_positive: ClassVar[bool] = True
    level: ClassVar[Level] = "sequence"
    reads: ClassVar[frozenset[Source]] = frozenset()

    def of_sequences(self, rollouts: Rollouts, task: Task, rng: torch.Generator, group: int | None = None) -> Tensor:
        """See `Reward.of_sequences`."""
        return torch.rand(len(rollouts.tokens), generator=rng)


class LengthReward(Reward):
    """Log-odds of a sequence's length, and nothing else: a control, a discriminator that reads the length alone.

    log p_d(length)/p_θ(length) by the counts of the training split and of the batch itself, as the probe of length
    counts them (`rlgan.metrics.shortcuts`). It is fitted anew to each batch, so it is never behind the generator.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("a control")
    kind: Literal["length"] = "length"
    level: ClassVar[Level] = "sequence"
    reads: ClassVar[frozenset[Source]] = frozenset({"training_data"})
    needs_lengths: ClassVar[bool] = True

    def of_sequences(self, rollouts: Rollouts, task: Task, rng: torch.Generator, group: int | None = None) -> Tensor:
        """See `Reward.of_sequences`."""
        real, fake = (lengths_of(task.space, tokens) for tokens in (task.train, rollouts.tokens))
        of_real, of_fake = (one.unsqueeze(1) for one in length_bins(real, fake))
        return feature_log_odds(of_real, of_fake, of_fake).float()


class OracleReward(Reward):
    """A reward of each token by the task's exact distribution."""

    not_searched: ClassVar[NotSearched] = NotSearched("a control: it knows the distribution")
    level: ClassVar[Level] = "token"
    reads: ClassVar[frozenset[Source]] = frozenset({"oracle"})

    def exact_logprobs(self, rollouts: Rollouts, task: Task) -> Tensor:
        """(B, T) nats of the sequences' tokens under the exact distribution."""
        oracle = task.oracle_of(rollouts.conditions)
        if oracle is None:
            raise ShapeError(
                f"reward={self.kind!r} needs an exact distribution; task {task.name!r} has none.",
                code="reward_needs_distribution",
                fields={"reward": self.kind},
            )
        return oracle.logprobs(rollouts.tokens)


class OracleRatio(OracleReward):
    """log p_oracle - log p_θ of each token: the reward of a perfect discriminator, an upper bound."""

    kind: Literal["oracle_ratio"] = "oracle_ratio"

    def of_tokens(self, rollouts: Rollouts, task: Task) -> Tensor:
        """See `Reward.of_tokens`."""
        return log_ratio(self.exact_logprobs(rollouts, task), rollouts.logprobs, rollouts.mask)


class OracleLikelihood(OracleReward):
    """log p_oracle of each token: a control that seeks modes (NLL_oracle falls, and so does coverage)."""

    kind: Literal["oracle_likelihood"] = "oracle_likelihood"

    def of_tokens(self, rollouts: Rollouts, task: Task) -> Tensor:
        """See `Reward.of_tokens`."""
        return self.exact_logprobs(rollouts, task).detach().masked_fill(~rollouts.mask, 0.0)


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


MetricReward = ReferenceBleu | ReferenceRouge
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

    def scorer(self, task: Task) -> SequenceScorer:
        """See `Reward.scorer`: the metric that is mixed."""
        return self.metric.scorer(task)

    def of_finished(self, real_logits: Tensor | None, scores: Tensor | None) -> Tensor:
        """See `FinishedReward.of_finished`: λ · map(u) + (1 - λ) · score."""
        logits, scores = self.logits_there(real_logits), self.scores_there(scores)
        return self.weight * self.map.of_logits(logits) + (1.0 - self.weight) * scores


RewardSettings = Annotated[
    DiscriminatorReward
    | LogRatio
    | LogitIncrement
    | RelativeProbability
    | Mixed
    | MetricReward
    | ConstantReward
    | RandomReward
    | LengthReward
    | Bleu
    | OracleRatio
    | OracleLikelihood
    | PluginReward,
    Field(discriminator="kind"),
]


def log_ratio(exact_logprobs: Tensor, logprobs: Tensor, mask: Tensor) -> Tensor:
    """Per-token log-ratio, log p(y_t | y_<t) - log p_θ(y_t | y_<t); docs/algorithms.md §7 and §19.

    Summed from each token on and weighing its score, its expectation under p_θ is -∇KL(p_θ‖p), whatever the
    distribution p: the exact one, or that of a language model that is held where it is.

    Args:
        exact_logprobs: (B, T) nats under p.
        logprobs: (B, T) nats under the generator that drew the tokens, at the temperature that drew them.
        mask: (B, T) bool.

    Returns:
        (B, T) float32, 0 where mask is False, no gradient.
    """
    return (exact_logprobs - logprobs).detach().masked_fill(~mask, 0.0)
