"""Values in, advantages out. Everything here sees the whole batch: the result may not depend on who sampled what.

An advantage never carries a gradient and is exactly 0 where the mask is False. Baselines that are means of what is
compared (`BatchMean`, `PerStepMean`, `LeaveOneOut`, `GroupMean`, and `ImportanceWeights` once its ramp has reached 1)
give exactly 0 where all that is compared is equal. The others take off something else, and equal rewards teach by
definition: `NoBaseline` and `ConstantBaseline`; `ExponentialMean` until its average, which starts at 0, has arrived;
`LogPartition`, which takes off 1 more; `CriticBaseline` until the critic has learned the value.

    B sequences, T positions
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from typing_extensions import Self

from rlgan.base.declarations import Fields, rewards_tokens, tells_log_odds
from rlgan.base.errors import ConfigError, ShapeError
from rlgan.base.problems import Problem
from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.base.settings import Settings
from rlgan.layers.optimizers import Adam, OptimizerSettings

from .groups import group_means, held, leave_one_out_means, masked_mean, within
from .importance_weights import mean_one_weights

Need = Literal["groups", "log_ratios", "state_values"]
"""What a baseline is computed from, besides values: sequences that are compared with each other, logarithms of density
ratios, or the critic's value of each state."""


@dataclass(frozen=True, slots=True)
class BaselineState:
    """What a baseline remembers between generator updates.

    Attributes:
        moving_average: of batch means, or of log Z; reward units; starts at 0.
        num_updates: generator updates so far.
        moving_square: moving average of squares, reward units squared; starts at 0.
    """

    moving_average: float = 0.0
    num_updates: int = 0
    moving_square: float = 0.0


@dataclass(frozen=True, slots=True)
class Valued:
    """A whole batch of values, and what a baseline may compare them with.

    Attributes:
        values: (B, T) float32; without gradient. Where mask is False 0, or NaN at tokens that nothing rewards.
        mask: (B, T) bool.
        state: what the baseline remembers.
        group: sequences that are compared with each other, neighbours in the batch; None compares all.
        log_ratios: (B, T) float32 nats; None where the baseline does not need them.
        state_values: (B, T) float32, V of the state before each token; likewise.
    """

    values: Tensor
    mask: Tensor
    state: BaselineState
    group: int | None = None
    log_ratios: Tensor | None = None
    state_values: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Formed:
    """What a baseline made of a batch.

    Attributes:
        advantages: (B, T) float32; what stands where the mask is False does not matter.
        moving_average: for the next batch; None keeps what there is.
        metrics: what there is to report of the baseline.
        moving_square: as `moving_average`.
    """

    advantages: Tensor
    moving_average: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    moving_square: float | None = None


class Baseline(Settings):
    """What every baseline declares."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    """What it is computed from, besides values."""
    subtracts: ClassVar[bool] = True
    """Whether anything is subtracted from values."""
    reads_values: ClassVar[bool] = True
    """Whether advantages are computed from values; otherwise rewards and their penalties have no effect."""
    reads_density_ratio: ClassVar[bool] = False
    """Whether logits, or values that are logits, must be log p_d/p_θ."""
    cancels_constants: ClassVar[bool] = False
    """Whether the result stays the same if a constant is added to all logits."""

    @abstractmethod
    def form(self, batch: Valued) -> Formed:
        """Advantages of a whole batch.

        Raises:
            ShapeError: what it needs is not there, or the batch is no multiple of the group.
        """


class NoBaseline(Baseline):
    """Advantage = value (SeqGAN as published)."""

    kind: Literal["none"] = "none"
    subtracts: ClassVar[bool] = False

    def form(self, batch: Valued) -> Formed:
        """See `Baseline.form`."""
        return Formed(batch.values)


class ConstantBaseline(Baseline):
    """Advantage = value - a constant."""

    kind: Literal["constant"] = "constant"
    value: Annotated[float, Uniform(0.0, 1.0)] = 0.5
    """The constant, in reward units."""

    def form(self, batch: Valued) -> Formed:
        """See `Baseline.form`."""
        return Formed(batch.values - self.value)


class BatchMean(Baseline):
    """Advantage = value - mean over all real tokens of the batch."""

    kind: Literal["batch_mean"] = "batch_mean"

    def form(self, batch: Valued) -> Formed:
        """See `Baseline.form`."""
        return Formed(batch.values - masked_mean(batch.values, batch.mask))


class PerStepMean(Baseline):
    """Advantage = value - mean over the batch at the same position."""

    kind: Literal["per_step_mean"] = "per_step_mean"

    def form(self, batch: Valued) -> Formed:
        """See `Baseline.form`."""
        return Formed(batch.values - _per_step_means(batch.values, batch.mask))


class ExponentialMean(Baseline):
    """Advantage = value - moving average of batch means, including this batch (ScratchGAN, docs/algorithms.md §6)."""

    kind: Literal["ema"] = "ema"
    decay: Annotated[float, Uniform(0.0, 0.99)] = Field(0.9, ge=0.0, lt=1.0)
    """Weight of the old average; ScratchGAN 0.08."""

    def form(self, batch: Valued) -> Formed:
        """See `Baseline.form`."""
        if not bool(batch.mask.any()):
            return Formed(batch.values)  # all is given and nothing was drawn: there is nothing to remember
        mean = float(masked_mean(batch.values, batch.mask))
        average = self.decay * batch.state.moving_average + (1.0 - self.decay) * mean
        return Formed(batch.values - average, average)


class RunningMoments(Baseline):
    """Advantage = (value - μ)/(σ + 1e-5), clipped; μ and σ of rewards so far, this batch included (TextGAIL).

        μ ← mⁿ·μ + (1 - mⁿ)·mean r     s ← mⁿ·s + (1 - mⁿ)·mean r²     σ = √(s - μ²)

    with n sequences in the batch. Both begin at 0. Source: Wu et al. 2020 (TextGAIL), released code.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("part of a method's definition")
    kind: Literal["running_moments"] = "running_moments"
    momentum: float = Field(0.9, ge=0.0, lt=1.0)
    """Weight m of the old moments for each sequence of a batch."""
    bound: float = Field(2.0, gt=0.0)
    """Maximum absolute advantage."""

    def form(self, batch: Valued) -> Formed:
        """See `Baseline.form`; a sequence counts by the mean value of its tokens."""
        counts = batch.mask.sum(1)
        if not bool(counts.any()):
            return Formed(batch.values)  # all is given and nothing was drawn: there is nothing to remember
        sums = batch.values.masked_fill(~batch.mask, 0.0).sum(1)[counts > 0].double()
        rewards = sums / counts[counts > 0]
        kept = self.momentum ** len(rewards)
        mean = kept * batch.state.moving_average + (1.0 - kept) * float(rewards.mean())
        square = kept * batch.state.moving_square + (1.0 - kept) * float(rewards.square().mean())
        deviation = math.sqrt(max(0.0, square - mean * mean))
        scaled = ((batch.values - mean) / (deviation + 1e-5)).clamp(-self.bound, self.bound)
        return Formed(scaled, mean, moving_square=square)


class LeaveOneOut(Baseline):
    """Advantage = value - mean over the other sequences of the group at the same position (RLOO, Ahmadian et al. 2024).

    A sequence that has finished keeps its last value.
    """

    kind: Literal["leave_one_out"] = "leave_one_out"
    needs: ClassVar[frozenset[Need]] = frozenset({"groups"})

    def form(self, batch: Valued) -> Formed:
        """See `Baseline.form`."""
        return Formed(batch.values - leave_one_out_means(batch.values, batch.mask, batch.group))


class GroupMean(Baseline):
    """Advantage = value - mean over all sequences of the group at the same position (GRPO, Shao et al. 2024).

    A sequence that has finished keeps its last value.
    """

    kind: Literal["group_mean"] = "group_mean"
    needs: ClassVar[frozenset[Need]] = frozenset({"groups"})

    def form(self, batch: Valued) -> Formed:
        """See `Baseline.form`."""
        return Formed(batch.values - group_means(batch.values, batch.mask, batch.group))


class LogPartition(Baseline):
    """Advantage = value - log Z - 1, log Z a moving average of log mean exp(value) (boundary-seeking GAN, 9.1).

    With the logit as reward this is the policy gradient of the reverse KL.
    """

    kind: Literal["log_partition"] = "log_partition"
    decay: Annotated[float, Uniform(0.0, 0.999)] = Field(0.995, ge=0.0, lt=1.0)
    """Weight of the old log Z."""
    reads_density_ratio: ClassVar[bool] = True

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Values are log-odds of sequences."""
        reward, credit = fields.reward, fields.credit
        is_the_logit = reward.is_elementwise and reward.logit_map is not None and not reward.logit_map.reads_log_odds
        of_sequences = credit.levels == {"sequence"} and not credit.num_continuations
        if not (is_the_logit and of_sequences and tells_log_odds(fields)):
            yield Problem(
                "partition_of_no_log_odds",
                {"baseline": self.kind},
                (
                    f"needs values that are log-odds of sequences, but reward={reward.kind!r}, credit={credit.kind!r} "
                    f"and adversary.loss={fields.adversary.loss.kind!r} give other values. Use reward logit, credit "
                    "terminal and adversary.loss cross_entropy."
                ),
            )

    def form(self, batch: Valued) -> Formed:
        """See `Baseline.form`."""
        values, number = batch.values, batch.values.shape[0]
        log_partition = torch.logsumexp(held(values, batch.mask)[:, -1], 0) - math.log(number)
        average = self.decay * batch.state.moving_average + (1.0 - self.decay) * float(log_partition)
        return Formed(values - average - 1.0, average)


class CriticBaseline(Baseline):
    """Advantage = value - V(s_t), where V is learned by regression on the values (docs/algorithms.md §14 and §17)."""

    kind: Literal["critic"] = "critic"
    reads: Annotated[Literal["state", "source"], NotSearched("source needs a task with conditions")] = "state"
    """Input of V: state (the tokens so far and the condition), or source (only the condition, so that V is the same
    for all tokens; Li et al. 2017)."""
    embedding: Annotated[int, Choice((32, 64))] = Field(32, ge=1)
    """Width of the critic's token embeddings."""
    hidden: Annotated[int, Choice((32, 64))] = Field(32, ge=1)
    """Width of its LSTMs."""
    epochs: Annotated[int, Choice((1, 4))] = Field(1, ge=1)
    """Number of optimiser steps on each batch."""
    clip: Annotated[float | None, NotSearched("depends on the scale of rewards")] = Field(None, gt=0.0)
    """Maximum change of a value on one batch that still lowers its loss, in reward units (PPO 0.2); null disables."""
    optimizer: OptimizerSettings = Adam(lr=1e-3, clip_norm=5.0)
    """Optimiser of the value function."""
    needs: ClassVar[frozenset[Need]] = frozenset({"state_values"})

    def check(self, fields: Fields) -> Iterator[Problem]:
        """What V is of is there, and is what credit asks for."""
        if self.reads != "source":
            return
        if not fields.task.gives_conditions:
            yield Problem(
                "value_of_no_source",
                {"baseline.reads": self.reads},
                f"reads conditions, but task={fields.task.kind!r} has none. Set it to state.",
            )
        if fields.credit.reads_state_values:
            yield Problem(
                "value_of_all_tokens",
                {"baseline.reads": self.reads},
                (
                    f"gives one value for all tokens, but credit={fields.credit.kind!r} needs the change at each "
                    "token. Set it to state, or use credit "
                )
                + ("reward_to_go." if rewards_tokens(fields) else "terminal."),
            )

    def form(self, batch: Valued) -> Formed:
        """See `Baseline.form`."""
        if batch.state_values is None:
            raise ShapeError(
                "baseline='critic' needs the critic's values, but none are given.",
                code="baseline_needs_critic",
                fields={"baseline": "critic"},
            )
        return Formed(batch.values - batch.state_values.detach())


class ImportanceWeights(Baseline):
    """MaliGAN and boundary-seeking GAN: advantage = m · softmax(log-ratios) - ramp (docs/algorithms.md §4 and §5).

    The softmax is over the m sequences of the group.
    """

    kind: Literal["importance_weights"] = "importance_weights"
    normalise: Annotated[Literal["per_step", "all"], Choice(("per_step", "all"))] = "per_step"
    """Whether weights have mean 1 over the group at each position (with terminal credit: one weight per sequence),
    or over all tokens of the group together."""
    ramp_to: Annotated[float, Choice((0.0, 1.0))] = Field(1.0, ge=0.0, le=1.0)
    """Final value that is subtracted; 1 is the mean of the weights, 0 subtracts nothing (boundary-seeking GAN)."""
    ramp_updates: Annotated[int, Choice((0, 20, 100))] = Field(0, ge=0)
    """Number of generator updates over which the subtracted value rises from 0; 0 uses the final value from the
    start."""
    least_ess: Annotated[float, Choice((0.0, 0.05, 0.25))] = Field(0.0, ge=0.0, lt=1.0)
    """Minimum effective sample size, as a fraction of the group. Log-ratios are shrunk until it is reached; 0
    disables."""
    needs: ClassVar[frozenset[Need]] = frozenset({"groups", "log_ratios"})
    reads_values: ClassVar[bool] = False
    reads_density_ratio: ClassVar[bool] = True
    cancels_constants: ClassVar[bool] = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.ramp_updates and not self.ramp_to:
            raise ConfigError(
                f"baseline.ramp_updates={self.ramp_updates}: has no effect with baseline.ramp_to=0. Set it to 0.",
                code="ramp_without_effect",
                fields={"baseline.ramp_updates": self.ramp_updates},
            )
        return self

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Log-ratios of whole sequences are there, and nothing else is computed in vain."""
        reward, credit = fields.reward, fields.credit
        is_the_ratio = reward.is_elementwise and reward.logit_map is not None and reward.logit_map.reads_density_ratio
        if not (is_the_ratio and credit.levels == {"sequence"}):
            yield Problem(
                "weights_of_no_ratio",
                {"baseline": self.kind},
                (
                    f"weights by the density ratio of sequences, so reward={reward.kind!r} and credit={credit.kind!r} "
                    "would have no effect. Use reward ratio and credit terminal or monte_carlo."
                ),
            )
        if fields.reference.place == "reward":
            yield Problem(
                "penalty_of_unread_values",
                {"reference": fields.reference.kind},
                f"is subtracted from values, which baseline={self.kind!r} does not read. Use reference loss.",
            )
        if "values" in fields.normalisation.needs:
            yield Problem(
                "scale_of_unread_values",
                {"normalisation": fields.normalisation.kind},
                f"scales values, but baseline={self.kind!r} does not use them. Use another normalisation.",
            )

    def form(self, batch: Valued) -> Formed:
        """See `Baseline.form`."""
        if batch.log_ratios is None:
            raise ShapeError(
                "baseline='importance_weights' needs the discriminator's logits, but none are given.",
                code="baseline_needs_logits",
                fields={"baseline": "importance_weights"},
            )
        over_all = self.normalise == "all"
        weighted = mean_one_weights(batch.log_ratios, batch.mask, over_all, batch.group, self.least_ess)
        ramp = min(1.0, batch.state.num_updates / self.ramp_updates) if self.ramp_updates else 1.0
        return Formed(weighted.weights - self.ramp_to * ramp, metrics=weighted.metrics)


BaselineSettings = Annotated[
    NoBaseline
    | ConstantBaseline
    | BatchMean
    | PerStepMean
    | ExponentialMean
    | RunningMoments
    | LeaveOneOut
    | GroupMean
    | LogPartition
    | CriticBaseline
    | ImportanceWeights,
    Field(discriminator="kind"),
]


@dataclass(frozen=True, slots=True)
class Advantages:
    """Advantages and the state for the next batch.

    Attributes:
        advantages: (B, T) float32.
        state: what the baseline remembers now.
        metrics: what there is to report of the baseline.
    """

    advantages: Tensor
    state: BaselineState
    metrics: dict[str, float] = field(default_factory=dict)


def advantages(
    settings: Baseline,
    values: Tensor,
    mask: Tensor,
    state: BaselineState,
    group: int | None = None,
    log_ratios: Tensor | None = None,
    state_values: Tensor | None = None,
) -> Advantages:
    """Advantages of a whole batch.

    Args:
        settings: which baseline.
        values: (B, T) float32; where mask is False 0, or NaN at tokens that nothing rewards.
        mask: (B, T) bool.
        state: what the baseline remembers.
        group: sequences that are compared with each other, neighbours in the batch; None compares all.
        log_ratios: (B, T) float32 nats; read only where the baseline needs them.
        state_values: (B, T) float32, V of the state before each token; read only where the baseline needs it.

    Returns:
        (B, T) advantages, the next state, metrics.

    Raises:
        ShapeError: shapes differ, the batch is no multiple of the group, a leave-one-out group of one sequence, or
            importance weights without log-ratios, a critic without its values.
    """
    if values.shape != mask.shape:
        raise ShapeError(f"values {tuple(values.shape)} and mask {tuple(mask.shape)} differ.", code="baseline_shapes")
    formed = settings.form(Valued(values.detach(), mask, state, group, log_ratios, state_values))
    average = state.moving_average if formed.moving_average is None else formed.moving_average
    square = state.moving_square if formed.moving_square is None else formed.moving_square
    return Advantages(
        advantages=formed.advantages.masked_fill(~mask, 0.0),
        state=BaselineState(average, state.num_updates + 1, square),
        metrics=formed.metrics,
    )


def _per_step_means(values: Tensor, mask: Tensor) -> Tensor:
    """(1, T) mean over the sequences that have a token there; 0 where none has."""
    means = values.masked_fill(~mask, 0.0).sum(0, keepdim=True) / mask.sum(0, keepdim=True).clamp_min(1)
    # The first token that is there stands in the place of those that are not: it moves neither extreme.
    first = values.gather(0, mask.long().argmax(0, keepdim=True)).masked_fill(~mask.any(0, keepdim=True), 0.0)
    return within(means, torch.where(mask, values, first), 0)
