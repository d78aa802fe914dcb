"""What keeps a discriminator small and smooth: a penalty on its weights, one on its slope, a bound on its weights.

Those that belong to an architecture (dropout, layer norm, spectral norm, a penalty on the output layer) live with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rlgan.base.declarations import Fields
from rlgan.base.errors import ConfigError
from rlgan.base.problems import Problem
from rlgan.base.search_priors import Choice
from rlgan.base.settings import Settings
from rlgan.discriminators import Discriminator, EmbeddingDiscriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import pad_after_end, sequence_mask
from rlgan.layers.relaxation import rows_of, tokens_of


@dataclass(frozen=True, slots=True)
class SlopeCost:
    """What slopes cost.

    Attributes:
        total: scalar, weighted, summed over networks; the gradient of each is that of a network alone.
        mean: of the networks, before the weight.
    """

    total: Tensor
    mean: float


class GradientPenalty(Settings):
    """What every gradient penalty declares."""

    bounds_slope: ClassVar[bool] = False
    """Whether it bounds the slope of the network."""
    needs_halves: ClassVar[bool] = False
    """Whether half of every minibatch must be real, because the penalty interpolates between reals and fakes."""

    def of(
        self, parts: Sequence[Discriminator], space: SequenceSpace, reals: Tensor, fakes: Tensor, rng: torch.Generator
    ) -> SlopeCost | None:
        """What the slopes of networks cost on a minibatch; None where they cost nothing, and nothing is drawn.

        Args:
            parts: M networks that learn separately, all judged at the same points.
            space: the task's sequences.
            reals: (B, T) int64.
            fakes: (B, T) int64, or soft rows (B, T, V) float32.
            rng: source of the points.
        """
        return None


class NoGradientPenalty(GradientPenalty):
    """No gradient penalty."""

    kind: Literal["none"] = "none"


class InterpolatedPenalty(GradientPenalty):
    """Keeps the gradient norm near a target between reals and fakes (WGAN-GP, Gulrajani et al. 2017)."""

    kind: Literal["interpolated"] = "interpolated"
    weight: Annotated[float, Choice((0.1, 1.0, 10.0))] = Field(10.0, gt=0.0)
    """Weight λ of the penalty."""
    target: Annotated[float, Choice((0.0, 1.0))] = Field(1.0, ge=0.0)
    """Gradient norm without penalty."""
    space: Annotated[Literal["onehot", "embedding"], Choice(("onehot", "embedding"))] = "onehot"
    """Space of the interpolation: one-hot rows, or embeddings, which is cheaper and does not bound the embedding
    matrix."""
    bounds_slope: ClassVar[bool] = True
    needs_halves: ClassVar[bool] = True

    def of(
        self, parts: Sequence[Discriminator], space: SequenceSpace, reals: Tensor, fakes: Tensor, rng: torch.Generator
    ) -> SlopeCost:
        """See `GradientPenalty.of`; one ε an example."""
        epsilon = torch.rand(reals.shape[0], generator=rng).to(reals.device)
        penalties = torch.stack([gradient_penalty(part, self, space, reals, fakes, epsilon) for part in parts])
        return SlopeCost(self.weight * penalties.sum(), float(penalties.detach().mean()))

    def check(self, fields: Fields) -> Iterator[Problem]:
        """It joins two whole sequences that have one score each, and stand under one condition."""
        task, network = fields.task, fields.discriminator
        at = {"adversary.gradient_penalty": self.kind}
        if network is not None and task.gives_conditions:
            yield Problem(
                "penalty_between_conditions",
                at,
                (
                    f"interpolates between a real and a fake sequence, but task={task.kind!r} gives them different "
                    "conditions. Set it to none."
                ),
            )
        if network is not None and network.granularity == "token":
            yield Problem(
                "penalty_of_tokens",
                at,
                (
                    f"needs one score per sequence, but discriminator={network.kind!r} scores tokens. Set it to none, "
                    "or choose another discriminator."
                ),
            )
        elif network is not None and not network.reads_soft_rows:
            yield Problem(
                "penalty_of_tokens_alone",
                at,
                (
                    f"is computed between sequences, on soft rows, but discriminator={network.kind!r} does not declare "
                    "that it reads soft rows. Set it to none."
                ),
            )
        if network is not None and fields.credit.judges_prefixes:
            yield Problem(
                "penalty_of_prefixes",
                at,
                (
                    f"is computed on whole sequences, but credit={fields.credit.kind!r} shows the discriminator only "
                    "prefixes. Set it to none, or choose another credit."
                ),
            )
        if network is not None and self.space == "embedding" and not network.has_embedding:
            yield Problem(
                "penalty_without_embedding",
                {"adversary.gradient_penalty.space": self.space},
                f"discriminator={network.kind!r} has no embedding. Set it to onehot.",
            )


GradientPenaltySettings = Annotated[NoGradientPenalty | InterpolatedPenalty, Field(discriminator="kind")]


def weight_penalty(parameters: Iterable[nn.Parameter]) -> Tensor:
    """½ Σ w² over all parameters, biases and embeddings included."""
    return 0.5 * torch.stack([parameter.square().sum() for parameter in parameters]).sum()


@torch.no_grad()
def clip_weights(parameters: Iterable[nn.Parameter], bound: float) -> None:
    """Bring every number of every parameter into [-bound, bound], in place (WGAN, Arjovsky et al. 2017)."""
    for parameter in parameters:
        parameter.clamp_(-bound, bound)


def between(real_points: Tensor, fake_points: Tensor, epsilon: Tensor) -> Tensor:
    """x̂ = x_real + ε·(x_fake - x_real), one ε an example (WGAN-GP, Gulrajani et al. 2017).

    Args:
        real_points: (B, T, V) float32.
        fake_points: (B, T, V) float32.
        epsilon: (B,) float32 in [0, 1].

    Returns:
        (B, T, V); rows of the simplex stay on it.
    """
    return real_points + epsilon.view(-1, 1, 1) * (fake_points - real_points)


def slope_penalty(score: Callable[[Tensor], Tensor], points: Tensor, target: float) -> Tensor:
    """mean_b (‖∇_x score(x_b)‖₂ - target)² (WGAN-GP, Gulrajani et al. 2017).

    The norm is over all coordinates of one example, as √(Σ g² + 1e-12), which has a gradient where g is 0. The
    result can be differentiated with respect to whatever `score` and `points` depend on.

    Args:
        score: (B, …) points to (B,) scores, no example reading another.
        points: (B, …) float32.
        target: norm that costs nothing.

    Returns:
        Scalar.
    """
    if not points.requires_grad:
        points = points.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(score(points).sum(), points, create_graph=True)
    norms = (gradient.square().flatten(1).sum(1) + 1e-12).sqrt()
    return (norms - target).square().mean()


def _padded(space: SequenceSpace, sequences: Tensor) -> Tensor:
    """The same sequences with padding after their terminators, soft rows too."""
    if not sequences.is_floating_point():
        return pad_after_end(space, sequences)
    padding = functional.one_hot(torch.tensor(space.pad_id), space.vocab_size).to(sequences)
    return torch.where(sequence_mask(space, tokens_of(sequences)).unsqueeze(2), sequences, padding)


def gradient_penalty(
    network: Discriminator,
    settings: InterpolatedPenalty,
    space: SequenceSpace,
    reals: Tensor,
    fakes: Tensor,
    epsilon: Tensor,
) -> Tensor:
    """`slope_penalty` of one network between reals and fakes, not yet multiplied by its weight.

    Of two sequences that end at different places the longer one says which positions count.

    Args:
        network: scores whole sequences; no ensemble.
        settings: target and space.
        space: the task's sequences.
        reals: (B, T) int64.
        fakes: (B, T) int64, or soft rows (B, T, V) float32.
        epsilon: (B,) float32 in [0, 1], 0 = real.

    Returns:
        Scalar.

    Raises:
        ConfigError: the space is that of embeddings and the network has none.
    """
    mask = sequence_mask(space, reals) | sequence_mask(space, tokens_of(fakes))
    ends = [_padded(space, sequences) for sequences in (reals, fakes)]
    if settings.space == "onehot":
        real, fake = (rows_of(sequences, space.vocab_size) for sequences in ends)
        return slope_penalty(lambda points: network(points, mask), between(real, fake, epsilon), settings.target)
    if not isinstance(network, EmbeddingDiscriminator):
        raise ConfigError(
            "adversary.gradient_penalty.space='embedding': this discriminator has no embedding. Use onehot.",
            code="penalty_needs_embedding",
            fields={"adversary.gradient_penalty.space": "embedding"},
        )
    real, fake = (network.embed(tokens) for tokens in ends)
    return slope_penalty(
        lambda points: network.judge(points, mask, is_twice_differentiable=True),
        between(real, fake, epsilon),
        settings.target,
    )
