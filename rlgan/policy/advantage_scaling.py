"""The scale of advantages: what is done to them after the baseline (docs/algorithms.md §19).

Everything here sees the whole batch and leaves padding at exactly 0. Where all advantages of a batch (`Whiten`), all
values of a group at one position (`GroupDeviation`) or all its advantages there (`RankRescaled`) are equal there is
nothing to tell them apart by, and the result is exactly 0. `NoScaling`, `Clip` and `RunningScale` leave an advantage of
0 at 0, and no other one becomes 0.

    B sequences, T positions
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from rlgan.base.declarations import Fields
from rlgan.base.problems import Problem
from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.base.settings import Settings

from .groups import deviations, group_deviations, grouped, held, means_there, within

Need = Literal["groups", "values"]
"""What a normalisation is computed from, besides advantages: sequences that are compared with each other, or values
before the baseline."""


_TINY = 1e-8  # batches in which all are worth the same have no scale


@dataclass(frozen=True, slots=True)
class Scalable:
    """A whole batch of advantages, and what a normalisation may scale them by.

    Attributes:
        advantages: (B, T) float32, 0 where mask is False; of at least one drawn token.
        values: (B, T) float32, before the baseline.
        mask: (B, T) bool.
        moving_scale: what is remembered, reward units.
        num_updates: batches before this one.
        group: sequences that are compared with each other; None compares all.
    """

    advantages: Tensor
    values: Tensor
    mask: Tensor
    moving_scale: float = 0.0
    num_updates: int = 0
    group: int | None = None


class Normalisation(Settings):
    """What every normalisation declares."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    """What it is computed from, besides advantages."""
    centres: ClassVar[bool] = False
    """Whether the result stays the same if a constant is added to all compared values."""
    needs_positive: ClassVar[bool] = False
    """Whether values must be weights of at least 0."""
    gives_weights: ClassVar[bool] = False
    """Whether the result is never below 0, whatever is scaled."""

    def scale(self, batch: Scalable) -> tuple[Tensor, float]:
        """(B, T) float32 advantages on their final scale, whatever where the mask is False, and the next moving scale.

        What is not overridden leaves them as they are.
        """
        return batch.advantages, batch.moving_scale


class NoScaling(Normalisation):
    """Advantages are not scaled."""

    kind: Literal["none"] = "none"


class Clip(Normalisation):
    """Advantages are clipped to ± a bound (Caccia et al. 2020: 5)."""

    kind: Literal["clip"] = "clip"
    bound: Annotated[float, Choice((1.0, 2.0, 5.0))] = Field(5.0, gt=0.0)
    """Maximum absolute value, in reward units."""

    def scale(self, batch: Scalable) -> tuple[Tensor, float]:
        """See `Normalisation.scale`."""
        return batch.advantages.clamp(-self.bound, self.bound), batch.moving_scale


class Whiten(Normalisation):
    """Advantages minus their mean, divided by their standard deviation, both over all real tokens of the batch."""

    kind: Literal["whiten"] = "whiten"
    centres: ClassVar[bool] = True

    def scale(self, batch: Scalable) -> tuple[Tensor, float]:
        """See `Normalisation.scale`."""
        real = batch.advantages[batch.mask]
        centred = batch.advantages - within(real.mean(), real, 0)
        return centred / (deviations(real, 0) + _TINY), batch.moving_scale


class GroupDeviation(Normalisation):
    """Advantages divided by the deviation of values in the group at the same position (GRPO, Shao et al. 2024).

    If all values of a group are equal, the advantage is 0 with any baseline; if they are nearly equal, noise is
    amplified, which is a known bias of GRPO.
    """

    kind: Literal["group_deviation"] = "group_deviation"
    epsilon: Annotated[float, NotSearched("guards a division")] = Field(1e-6, gt=0.0)
    """Added to the standard deviation, in reward units; TRL uses 1e-4."""
    bessel: Annotated[bool, NotSearched("scales all advantages of groups of one size alike")] = False
    """Whether the standard deviation is that of a sample, divided by K - 1, as in TRL; false: of the population, by
    K."""
    needs: ClassVar[frozenset[Need]] = frozenset({"groups", "values"})
    centres: ClassVar[bool] = True

    def scale(self, batch: Scalable) -> tuple[Tensor, float]:
        """See `Normalisation.scale`."""
        found = group_deviations(batch.values, batch.mask, batch.group, correction=int(self.bessel))
        scaled = (batch.advantages / (found + self.epsilon)).masked_fill(found == 0.0, 0.0)
        return scaled, batch.moving_scale


class RunningScale(Normalisation):
    """Advantages divided by a moving average of their mean magnitude, this batch included (docs/algorithms.md §8)."""

    kind: Literal["running_scale"] = "running_scale"
    decay: Annotated[float, Uniform(0.0, 0.99)] = Field(0.9, ge=0.0, lt=1.0)
    """Weight of the old average."""

    def scale(self, batch: Scalable) -> tuple[Tensor, float]:
        """See `Normalisation.scale`."""
        now = float(batch.advantages[batch.mask].abs().mean())
        moving_scale = self.decay * batch.moving_scale + (1.0 - self.decay) * now
        # The average began at 0, so early ones are too small by a known factor (Kingma & Ba 2015).
        scale = moving_scale / (1.0 - self.decay ** (batch.num_updates + 1)) + _TINY
        return batch.advantages / scale, moving_scale


class SelfNormalised(Normalisation):
    """Advantages divided by the mean of values in the group at the same position.

    Without a baseline these are self-normalised importance weights: of rewards w(y) ≥ 0 of sequences of p, the
    distribution q ∝ p·w has q(y) = p(y)·w(y)/E_p[w] (GCN, Lamprier et al. 2022, with w = D). 0 where the mean is 0.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("part of a method's definition")
    kind: Literal["self_normalised"] = "self_normalised"
    needs_positive: ClassVar[bool] = True
    needs: ClassVar[frozenset[Need]] = frozenset({"groups", "values"})

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Values are weights."""
        if not fields.reward.is_positive:
            yield Problem(
                "weights_below_zero",
                {"normalisation": self.kind},
                f"divides by the mean value, but reward={fields.reward.kind!r} may be below 0. Use reward probability, "
                "or another normalisation.",
            )
        if fields.reference.place == "reward":
            yield Problem(
                "weights_less_a_penalty",
                {"reference": fields.reference.kind},
                f"is subtracted from values, which normalisation={self.kind!r} takes for weights. Use reference loss.",
            )

    def scale(self, batch: Scalable) -> tuple[Tensor, float]:
        """See `Normalisation.scale`."""
        members = grouped(held(batch.values, batch.mask), batch.group)
        means = means_there(members, 1).expand_as(members).flatten(0, 1)
        return (batch.advantages / means).masked_fill(means == 0.0, 0.0), batch.moving_scale


class RankRescaled(Normalisation):
    """Only the order of advantages counts: σ(δ(½ - (rank - ½)/K)) - ½ in the group at the same position (LeakGAN).

    Rank 1 is the highest; equal ones share the mean of their ranks. Guo et al. 2018 have σ(δ(½ - rank/K)), above 0 for
    every sequence; half a rank and the ½ make it symmetric, so that equal advantages become exactly 0.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("part of a method's definition")
    kind: Literal["rank_rescaled"] = "rank_rescaled"
    steepness: float = Field(16.0, gt=0.0)
    """Factor δ: a larger one pushes the upper and the lower half apart, a smaller one spreads ranks evenly."""
    needs: ClassVar[frozenset[Need]] = frozenset({"groups"})
    centres: ClassVar[bool] = True

    def scale(self, batch: Scalable) -> tuple[Tensor, float]:
        """See `Normalisation.scale`; a sequence of which nothing was drawn is compared with no other."""
        is_there = batch.mask.any(1, keepdim=True)
        members = grouped(held(batch.advantages, batch.mask).masked_fill(~is_there, float("nan")), batch.group)
        number = (~members.isnan()).sum(1, keepdim=True).clamp_min(1)
        rank = mean_ranks(members)
        return torch.sigmoid(self.steepness * (0.5 - (rank - 0.5) / number)).sub(0.5).flatten(0, 1), batch.moving_scale


def mean_ranks(members: Tensor) -> Tensor:
    """Rank of each member along dimension 1, the highest 1, equal ones the mean of theirs; of NaN ½.

    Args:
        members: (G, K, T) float32.

    Returns:
        The same shape.
    """
    ranks = torch.empty_like(members)
    for position in range(members.shape[2]):  # all at once would hold G · K² · T comparisons
        now = members[:, :, position]
        above = (now.unsqueeze(1) > now.unsqueeze(2)).sum(2)
        equal = (now.unsqueeze(1) == now.unsqueeze(2)).sum(2)
        ranks[:, :, position] = above + 0.5 * (equal + 1)
    return ranks


class BestOfGroup(Normalisation):
    """The sequence with the greatest advantage of its group is learned from, with the weight of all; no other is.

    Several that are best share it. Where all of a group are worth the same nothing is preferred, nor learned.

    Source: SelfGAN (Scialom et al. 2021), where it is what is decoded.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("part of a method's definition")
    kind: Literal["best_of_group"] = "best_of_group"
    needs: ClassVar[frozenset[Need]] = frozenset({"groups"})
    centres: ClassVar[bool] = True
    gives_weights: ClassVar[bool] = True

    def scale(self, batch: Scalable) -> tuple[Tensor, float]:
        """See `Normalisation.scale`; what nothing rewards is never the best."""
        has_reward = batch.mask.any(1, keepdim=True)
        there = grouped(held(batch.advantages, batch.mask).masked_fill(~has_reward, float("-inf")), batch.group)
        greatest = there.amax(1, keepdim=True)
        least = there.masked_fill(there.isinf(), float("inf")).amin(1, keepdim=True)
        best = (there == greatest) & (greatest > least)
        weights = best.float() * (there.shape[1] / best.sum(1, keepdim=True).clamp_min(1))
        return weights.flatten(0, 1), batch.moving_scale


NormalisationSettings = Annotated[
    NoScaling | Clip | Whiten | GroupDeviation | RunningScale | SelfNormalised | RankRescaled | BestOfGroup,
    Field(discriminator="kind"),
]


def normalised(
    settings: Normalisation,
    advantages: Tensor,
    values: Tensor,
    mask: Tensor,
    moving_scale: float = 0.0,
    num_updates: int = 0,
    group: int | None = None,
) -> tuple[Tensor, float]:
    """Advantages on their final scale.

    Args:
        settings: which.
        advantages: (B, T) float32, 0 where mask is False.
        values: (B, T) float32, before the baseline; read only where the normalisation needs them.
        mask: (B, T) bool.
        moving_scale: what `RunningScale` remembers, reward units.
        num_updates: batches before this one.
        group: sequences that are compared with each other; None compares all.

    Returns:
        (B, T) float32 and the next moving scale.
    """
    if not bool(mask.any()):
        return advantages, moving_scale  # all is given and nothing was drawn: there is nothing to remember
    scaled, moving_scale = settings.scale(Scalable(advantages, values, mask, moving_scale, num_updates, group))
    return scaled.masked_fill(~mask, 0.0), moving_scale
