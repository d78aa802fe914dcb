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

Level = Literal["sequence", "token"]
"""What a reward is of: finished sequences, or each of their tokens."""
Rewarded = Literal["sequence", "prefix", "token"]
"""What is rewarded in a run: finished sequences, prefixes as they stand, or tokens."""
Source = Literal["discriminator", "targets", "oracle", "training_data", "texts"]
"""What a reward is computed from, besides tokens: the discriminator's logits, the sequence that the data has for the
same condition, the exact distribution, training sequences, or texts in the place of tokens."""

_VECTORS = 64  # elements; a multiple of what any processor computes at once
_BLOCK = 16_384  # elements; below the size from which torch takes several threads


class Reward(Settings):
    """What every reward declares. Whoever asks reads this, and never which reward it is.

    Beside these each has `reads`, a frozen set of `Source`: what it is computed from, besides tokens.
    """

    level: ClassVar[Level]
    """What it is of."""
    scores_continuations: ClassVar[bool] = False
    """Whether continuations of a prefix are rewarded as drawn sequences are, so that Monte Carlo search has a use."""
    is_elementwise: ClassVar[bool] = False
    """Whether it is a function of one logit: it then rewards whatever the discriminator judges, prefixes and tokens
    too."""
    compares: ClassVar[bool] = False
    """Whether what it compares must be a finished sequence, which neither a prefix nor a token is."""

    @property
    def logit_map(self) -> LogitMap | None:
        """The map of the discriminator's logit that it is, or that it mixes with something else; None without one."""
        return None


class LogitMap(Reward):
    """A function of one logit of the discriminator."""

    level: ClassVar[Level] = "sequence"
    reads: ClassVar[frozenset[Source]] = frozenset({"discriminator"})
    scores_continuations: ClassVar[bool] = True
    is_elementwise: ClassVar[bool] = True
    reads_log_odds: ClassVar[bool] = True
    """Whether it reads the logit as log p_d/p_θ; else as a score of which more is better."""
    reads_density_ratio: ClassVar[bool] = False
    """Whether it is p_d/p_θ itself, for which everything that reals are told from must be drawn by the generator."""

    @property
    def logit_map(self) -> LogitMap:
        """Itself."""
        return self


class Probability(LogitMap):
    """D = σ(u), SeqGAN."""

    kind: Literal["probability"] = "probability"


class Logit(LogitMap):
    """u = log D/(1-D)."""

    kind: Literal["logit"] = "logit"
    reads_log_odds: ClassVar[bool] = False


class LogProbability(LogitMap):
    """log D."""

    kind: Literal["log_probability"] = "log_probability"


class NegLogComplement(LogitMap):
    """-log(1 - D), Adversarial-NMT."""

    kind: Literal["neg_log_complement"] = "neg_log_complement"


class SignedProbability(LogitMap):
    """2D - 1, ScratchGAN."""

    kind: Literal["signed_probability"] = "signed_probability"


class Ratio(LogitMap):
    """D/(1-D) = exp(u), the density ratio of MaliGAN and boundary-seeking GAN."""

    kind: Literal["ratio"] = "ratio"
    reads_density_ratio: ClassVar[bool] = True


class LogRatio(Reward):
    """log p_φ - log p_θ of each token, p_φ the discriminator's language model (docs/algorithms.md §7)."""

    not_searched: ClassVar[NotSearched] = NotSearched("goes with one discriminator alone: presets lm_ratio, mediator")
    kind: Literal["log_ratio"] = "log_ratio"
    level: ClassVar[Level] = "token"
    reads: ClassVar[frozenset[Source]] = frozenset({"discriminator"})


class ConstantReward(Reward):
    """The same reward for everything: a control. Without a baseline it is self-imitation."""

    not_searched: ClassVar[NotSearched] = NotSearched("a control")
    kind: Literal["constant"] = "constant"
    value: float = 1.0
    """The reward."""
    level: ClassVar[Level] = "sequence"
    reads: ClassVar[frozenset[Source]] = frozenset()


class RandomReward(Reward):
    """Uniform random numbers in [0, 1), one a sequence: a control."""

    not_searched: ClassVar[NotSearched] = NotSearched("a control")
    kind: Literal["random"] = "random"
    level: ClassVar[Level] = "sequence"
    reads: ClassVar[frozenset[Source]] = frozenset()


class OracleRatio(Reward):
    """log p_oracle - log p_θ of each token: what a perfect discriminator would pay, an honest upper bound."""

    not_searched: ClassVar[NotSearched] = NotSearched("a control: it knows the law")
    kind: Literal["oracle_ratio"] = "oracle_ratio"
    level: ClassVar[Level] = "token"
    reads: ClassVar[frozenset[Source]] = frozenset({"oracle"})


class OracleLikelihood(Reward):
    """log p_oracle of each token: a control that seeks the law's modes (its NLL_oracle falls, its coverage too)."""

    not_searched: ClassVar[NotSearched] = NotSearched("a control: it knows the law")
    kind: Literal["oracle_likelihood"] = "oracle_likelihood"
    level: ClassVar[Level] = "token"
    reads: ClassVar[frozenset[Source]] = frozenset({"oracle"})


class Bleu(Reward):
    """BLEU against a few random training sequences: policy gradient on a metric (PG-BLEU, Yu et al. 2017)."""

    not_searched: ClassVar[NotSearched] = NotSearched("a control")
    kind: Literal["bleu"] = "bleu"
    order: int = Field(3, ge=2, le=9)
    """Greatest n-gram."""
    num_references: int = Field(20, ge=1)
    """References, drawn anew for each update."""
    level: ClassVar[Level] = "sequence"
    reads: ClassVar[frozenset[Source]] = frozenset({"training_data"})


class ReferenceBleu(Reward):
    """BLEU against the sequence that stands beside the condition in the data: MC-BLEU (Yang et al. 2018, λ = 0)."""

    not_searched: ClassVar[NotSearched] = NotSearched("needs a task that gives something")
    kind: Literal["reference_bleu"] = "reference_bleu"
    order: int = Field(4, ge=1, le=9)
    """Greatest n-gram."""
    level: ClassVar[Level] = "sequence"
    reads: ClassVar[frozenset[Source]] = frozenset({"targets"})
    scores_continuations: ClassVar[bool] = True
    compares: ClassVar[bool] = True


class ReferenceRouge(Reward):
    """ROUGE-L, as F1, against the sequence that stands beside the condition in the data."""

    not_searched: ClassVar[NotSearched] = NotSearched("needs a task that gives something")
    kind: Literal["reference_rouge"] = "reference_rouge"
    level: ClassVar[Level] = "sequence"
    reads: ClassVar[frozenset[Source]] = frozenset({"targets"})
    scores_continuations: ClassVar[bool] = True
    compares: ClassVar[bool] = True


DiscriminatorReward = Probability | Logit | LogProbability | NegLogComplement | SignedProbability | Ratio
"""Maps of the discriminator's logit alone."""
MetricReward = ReferenceBleu | ReferenceRouge
"""Metrics of a sequence beside its target, the one that the data has for its condition."""


class Mixed(Reward):
    """λ · map(u) + (1 - λ) · metric, of a sequence beside its target (BR-CSGAN, Yang et al. 2018)."""

    not_searched: ClassVar[NotSearched] = NotSearched("needs a task that gives something")
    kind: Literal["mixed"] = "mixed"
    map: Annotated[DiscriminatorReward, Field(discriminator="kind")] = Probability()
    """Of the discriminator's logit."""
    metric: Annotated[MetricReward, Field(discriminator="kind")] = ReferenceBleu()
    """Beside the target."""
    weight: Annotated[float, Uniform(0.1, 0.9)] = Field(0.7, gt=0.0, lt=1.0)
    """λ of the map. Its ends are rewards by themselves: the map, and the metric."""
    level: ClassVar[Level] = "sequence"
    reads: ClassVar[frozenset[Source]] = frozenset({"discriminator", "targets"})
    scores_continuations: ClassVar[bool] = True
    compares: ClassVar[bool] = True

    @property
    def logit_map(self) -> LogitMap:
        """The one that is mixed."""
        return self.map


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


def what_is_rewarded(reward: RewardSettings, granularity: Level | None, judges_prefixes: bool) -> Rewarded:
    """What is rewarded in a run.

    Args:
        reward: which.
        granularity: what the discriminator judges; None without one.
        judges_prefixes: whether the credit asks it for prefixes as they stand.

    Returns:
        Tokens, where the reward is of tokens, or of one logit and the discriminator judges tokens; prefixes, where it
        is of one logit and prefixes are judged; else finished sequences.
    """
    if reward.level == "token" or (reward.is_elementwise and granularity == "token"):
        return "token"
    return "prefix" if reward.is_elementwise and judges_prefixes else "sequence"


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


def discriminator_reward(settings: LogitMap, real_logits: Tensor) -> Tensor:
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


_MAPS: dict[type[LogitMap], Callable[[Tensor], Tensor]] = {
    Probability: torch.sigmoid,
    Logit: lambda u: u,
    LogProbability: functional.logsigmoid,
    NegLogComplement: functional.softplus,
    SignedProbability: lambda u: torch.tanh(u / 2),
    Ratio: torch.exp,
}
