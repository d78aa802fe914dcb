"""Reward maps: what a sequence is paid, given the discriminator's real-logit (docs/algorithms.md §19).

High = better throughout. The odds D/(1-D) are exp(logit) and never a quotient of probabilities. The controls that need
no discriminator (a constant, random numbers, the exact log-ratio) are rewards like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from rlgan.base.errors import ShapeError
from rlgan.base.search_priors import NotSearched, Uniform
from rlgan.base.settings import Settings
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks.task import Oracle, Task
from rlgan.metrics import CorpusReferences, reference_bleu, reference_rouge_l, strip

_VECTORS = 64  # elements; a multiple of what any processor computes at once
_BLOCK = 16_384  # elements; below the size from which torch takes several threads


class Probability(Settings):
    """D = σ(u), SeqGAN."""

    kind: Literal["probability"] = "probability"


class Logit(Settings):
    """u = log D/(1-D)."""

    kind: Literal["logit"] = "logit"


class LogProbability(Settings):
    """log D."""

    kind: Literal["log_probability"] = "log_probability"


class NegLogComplement(Settings):
    """-log(1 - D), Adversarial-NMT."""

    kind: Literal["neg_log_complement"] = "neg_log_complement"


class SignedProbability(Settings):
    """2D - 1, ScratchGAN."""

    kind: Literal["signed_probability"] = "signed_probability"


class Ratio(Settings):
    """D/(1-D) = exp(u), the density ratio of MaliGAN and boundary-seeking GAN."""

    kind: Literal["ratio"] = "ratio"


class LogRatio(Settings):
    """log p_φ - log p_θ of each token, p_φ the discriminator's language model (docs/algorithms.md §7)."""

    not_searched: ClassVar[NotSearched] = NotSearched("goes with one discriminator alone: presets lm_ratio, mediator")
    kind: Literal["log_ratio"] = "log_ratio"


class ConstantReward(Settings):
    """The same reward for everything: a control. Without a baseline it is self-imitation."""

    not_searched: ClassVar[NotSearched] = NotSearched("a control")
    kind: Literal["constant"] = "constant"
    value: float = 1.0
    """The reward."""


class RandomReward(Settings):
    """Uniform random numbers in [0, 1), one a sequence: a control."""

    not_searched: ClassVar[NotSearched] = NotSearched("a control")
    kind: Literal["random"] = "random"


class OracleRatio(Settings):
    """log p_oracle - log p_θ of each token: what a perfect discriminator would pay, an honest upper bound."""

    not_searched: ClassVar[NotSearched] = NotSearched("a control: it knows the law")
    kind: Literal["oracle_ratio"] = "oracle_ratio"


class OracleLikelihood(Settings):
    """log p_oracle of each token: a control that seeks the law's modes (its NLL_oracle falls, its coverage too)."""

    not_searched: ClassVar[NotSearched] = NotSearched("a control: it knows the law")
    kind: Literal["oracle_likelihood"] = "oracle_likelihood"


class Bleu(Settings):
    """BLEU against a few random training sequences: policy gradient on a metric (PG-BLEU, Yu et al. 2017)."""

    not_searched: ClassVar[NotSearched] = NotSearched("a control")
    kind: Literal["bleu"] = "bleu"
    order: int = Field(3, ge=2, le=9)
    """Greatest n-gram."""
    num_references: int = Field(20, ge=1)
    """References, drawn anew for each update."""


class ReferenceBleu(Settings):
    """BLEU against the sequence that stands beside the condition in the data: MC-BLEU (Yang et al. 2018, λ = 0)."""

    not_searched: ClassVar[NotSearched] = NotSearched("needs a task that gives something")
    kind: Literal["reference_bleu"] = "reference_bleu"
    order: int = Field(4, ge=1, le=9)
    """Greatest n-gram."""


class ReferenceRouge(Settings):
    """ROUGE-L, as F1, against the sequence that stands beside the condition in the data."""

    not_searched: ClassVar[NotSearched] = NotSearched("needs a task that gives something")
    kind: Literal["reference_rouge"] = "reference_rouge"


DiscriminatorReward = Probability | Logit | LogProbability | NegLogComplement | SignedProbability | Ratio
"""Maps of the discriminator's logit alone."""
MetricReward = ReferenceBleu | ReferenceRouge
"""Metrics of a sequence beside its target, the one that the data has for its condition."""


class Mixed(Settings):
    """λ · map(u) + (1 - λ) · metric, of a sequence beside its target (BR-CSGAN, Yang et al. 2018)."""

    not_searched: ClassVar[NotSearched] = NotSearched("needs a task that gives something")
    kind: Literal["mixed"] = "mixed"
    map: Annotated[DiscriminatorReward, Field(discriminator="kind")] = Probability()
    """Of the discriminator's logit."""
    metric: Annotated[MetricReward, Field(discriminator="kind")] = ReferenceBleu()
    """Beside the target."""
    weight: Annotated[float, Uniform(0.1, 0.9)] = Field(0.7, gt=0.0, lt=1.0)
    """λ of the map. Its ends are rewards by themselves: the map, and the metric."""


JudgedReward = DiscriminatorReward | LogRatio | Mixed
"""Rewards that ask the discriminator."""
RewardSettings = Annotated[
    JudgedReward | MetricReward | ConstantReward | RandomReward | Bleu | OracleRatio | OracleLikelihood,
    Field(discriminator="kind"),
]
TokenReward = OracleRatio | OracleLikelihood
"""Rewards that are paid for each token, whatever the discriminator."""
FinishedReward = DiscriminatorReward | MetricReward | Mixed
"""Rewards of finished sequences alone, whether they were drawn or continue a prefix."""


def map_of(reward: RewardSettings) -> RewardSettings:
    """The map of the discriminator's logit that a reward is, or mixes with a metric; itself where it is neither."""
    return reward.map if isinstance(reward, Mixed) else reward


def metric_of(reward: RewardSettings) -> MetricReward | None:
    """The metric beside targets that a reward reads; None where it reads none."""
    if isinstance(reward, Mixed):
        return reward.metric
    return reward if isinstance(reward, MetricReward) else None


def metric_scores(settings: MetricReward, space: SequenceSpace, tokens: Tensor, targets: Tensor) -> Tensor:
    """A metric of sequences, each beside its own target.

    Args:
        settings: which.
        space: the task's sequences.
        tokens: (n, T) int64 finished sequences.
        targets: (n, T) int64.

    Returns:
        (n,) float32 in [0, 1].
    """
    if isinstance(settings, ReferenceBleu):
        return reference_bleu(space, tokens, targets, settings.order)
    return reference_rouge_l(space, tokens, targets)


def discriminator_reward(settings: DiscriminatorReward, real_logits: Tensor) -> Tensor:
    """Rewards of sequences from their real-logits.

    Args:
        settings: which map.
        real_logits: any shape, float32, positive = real.

    Returns:
        The same shape, reward units, no gradient.
    """
    return _same_everywhere(_MAPS[type(settings)], real_logits.detach())


def _same_everywhere(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """An elementwise function that gives equal numbers for equal ones, wherever in the tensor they stand.

    torch computes what is left of a tensor behind whole vectors of a processor by other code, which rounds otherwise.
    Here nothing is left, and no block is large enough to be shared out among threads.
    """
    flat = values.reshape(-1)
    padded = functional.pad(flat, (0, -len(flat) % _VECTORS))
    return torch.cat([function(block) for block in padded.split(_BLOCK)])[: len(flat)].reshape(values.shape)


def finished_rewards(settings: FinishedReward, real_logits: Tensor | None, scores: Tensor | None) -> Tensor:
    """Rewards of finished sequences, or of continuations, which are paid alike.

        mixed: λ · map(u) + (1 - λ) · score

    Source: Yang et al. 2018 (BR-CSGAN), who take b off the first part: a constant baseline λ·b of this reward.

    Args:
        settings: which.
        real_logits: any shape, float32; read only by rewards that ask the discriminator.
        scores: the same shape, by the metric; read only by rewards that have one.

    Returns:
        The same shape, reward units, no gradient.

    Raises:
        ShapeError: what the reward reads is not there.
    """
    if isinstance(settings, DiscriminatorReward | Mixed) and real_logits is None:
        raise ShapeError(f"reward={settings.kind!r} needs the discriminator's logits of the sequences; there are none.")
    if isinstance(settings, MetricReward | Mixed) and scores is None:
        raise ShapeError(
            f"reward={settings.kind!r} needs scores of the sequences beside their targets; there are none."
        )
    if isinstance(settings, Mixed):
        assert real_logits is not None and scores is not None
        paid = discriminator_reward(settings.map, real_logits)
        return settings.weight * paid + (1.0 - settings.weight) * scores.detach()
    if isinstance(settings, MetricReward):
        assert scores is not None
        return scores.detach()
    assert real_logits is not None
    return discriminator_reward(settings, real_logits)


def sequence_rewards(
    settings: FinishedReward | ConstantReward | RandomReward | Bleu,
    tokens: Tensor,
    real_logits: Tensor | None,
    task: Task,
    rng: torch.Generator,
    scores: Tensor | None = None,
) -> Tensor:
    """One reward a sequence.

    Args:
        settings: any reward but those of tokens.
        tokens: (B, T) int64 finished sequences; read only by `Bleu`.
        real_logits: (B,) float32; read only by rewards that ask the discriminator.
        task: whose training sequences `Bleu` compares with.
        rng: read only by `RandomReward` and `Bleu`.
        scores: (B,) float32 beside targets; read only by rewards that have a metric of them.

    Returns:
        (B,) float32.

    Raises:
        ShapeError: logits or scores are read, and are not there.
    """
    number = tokens.shape[0]
    if isinstance(settings, ConstantReward):
        return torch.full((number,), settings.value)
    if isinstance(settings, RandomReward):
        return torch.rand(number, generator=rng)
    if isinstance(settings, Bleu):
        chosen = task.train[torch.randperm(task.train.shape[0], generator=rng)[: settings.num_references]]
        references = CorpusReferences(strip(task.space, chosen), settings.order)
        return torch.tensor(references.sentence_bleu(strip(task.space, tokens))[settings.order])
    return finished_rewards(settings, real_logits, scores)


def token_rewards(settings: TokenReward, oracle: Oracle, tokens: Tensor, logprobs: Tensor, mask: Tensor) -> Tensor:
    """One reward a token, by the exact law.

    Args:
        settings: which.
        oracle: the law.
        tokens: (B, T) int64.
        logprobs: (B, T) nats under the generator that drew the tokens.
        mask: (B, T) bool.

    Returns:
        (B, T) float32, 0 where mask is False, no gradient.
    """
    exact = oracle.logprobs(tokens)
    if isinstance(settings, OracleLikelihood):
        return exact.detach().masked_fill(~mask, 0.0)
    return log_ratio(exact, logprobs, mask)


def log_ratio(law_logprobs: Tensor, logprobs: Tensor, mask: Tensor) -> Tensor:
    """Per-token log-ratio, log p(y_t | y_<t) - log p_θ(y_t | y_<t); docs/algorithms.md §7 and §19.

    Summed from each token on and weighing its score, its expectation under p_θ is -∇KL(p_θ‖p), whatever the law p: the
    exact one, or that of a language model that is held where it is.

    Args:
        law_logprobs: (B, T) nats under p.
        logprobs: (B, T) nats under the generator that drew the tokens, at the temperature that drew them.
        mask: (B, T) bool.

    Returns:
        (B, T) float32, 0 where mask is False, no gradient.
    """
    return (law_logprobs - logprobs).detach().masked_fill(~mask, 0.0)


_MAPS = {
    Probability: torch.sigmoid,
    Logit: lambda u: u,
    LogProbability: functional.logsigmoid,
    NegLogComplement: functional.softplus,
    SignedProbability: lambda u: torch.tanh(u / 2),
    Ratio: torch.exp,
}
