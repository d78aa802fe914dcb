"""Generator losses as weights on token log-probabilities (specification 0).

    L_G = - Σ_b Σ_t weights[b, t] · log p_θ(y_bt | y_b<t)

Normalisers see the whole batch, so the weights are formed where the batch is whole; the learner only sums.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from rlgan.envs.errors import ShapeError
from rlgan.envs.priors import Choice, NotSearched, Uniform
from rlgan.envs.settings import Settings

LossNormaliser = Literal["sum", "sequence", "token", "fixed"]


class Reinforce(Settings):
    """REINFORCE: the weight of a token is its advantage over the normaliser."""

    kind: Literal["reinforce"] = "reinforce"
    loss_normaliser: Annotated[LossNormaliser, Choice(("sum", "sequence", "token", "fixed"))] = "sequence"
    """Divisor: sum 1 | sequence B | token Σ mask | fixed B·T. SeqGAN sums, ScratchGAN is fixed."""


class NoPolicyGradient(Settings):
    """No reward is learned from; the generator moves by teacher forcing alone (the control `mle_continued`)."""

    not_searched: ClassVar[NotSearched] = NotSearched("the control mle_continued")
    kind: Literal["none"] = "none"


ObjectiveSettings = Annotated[Reinforce | NoPolicyGradient, Field(discriminator="kind")]


class NoTeacherForcing(Settings):
    """No maximum-likelihood updates between the adversarial ones."""

    kind: Literal["none"] = "none"


class InterleavedTeacherForcing(Settings):
    """Maximum-likelihood updates after each generator update, by the adversarial optimiser (Li et al. 2017)."""

    kind: Literal["interleaved"] = "interleaved"
    num_updates: Annotated[int, Choice((1, 2, 5))] = Field(1, ge=1)
    """Updates on a fresh real batch after each generator update."""


class MixedTeacherForcing(Settings):
    """A maximum-likelihood term added to the loss of every generator update."""

    kind: Literal["mixed"] = "mixed"
    weight: Annotated[float, Uniform(0.1, 1.0)] = Field(0.3, gt=0.0)
    """Weight of the mean negative log-likelihood per token of a fresh real batch."""


TeacherForcingSettings = Annotated[
    NoTeacherForcing | InterleavedTeacherForcing | MixedTeacherForcing, Field(discriminator="kind")
]


def policy_gradient_weights(advantages: Tensor, mask: Tensor, normaliser: LossNormaliser) -> Tensor:
    """Weights = advantages / norm.

    Args:
        advantages: (B, T) float32, without gradient.
        mask: (B, T) bool.
        normaliser: sum 1 | sequence B | token Σ mask | fixed B·T.

    Returns:
        (B, T) float32, 0 where mask is False.

    Raises:
        ShapeError: the shapes differ.
    """
    if advantages.shape != mask.shape:
        raise ShapeError(f"advantages {tuple(advantages.shape)} and mask {tuple(mask.shape)} differ.")
    batch, length = mask.shape
    norm = {"sum": 1.0, "sequence": float(batch), "token": float(mask.sum()), "fixed": float(batch * length)}[
        normaliser
    ]
    return advantages.detach().masked_fill(~mask, 0.0) / norm


def likelihood_weights(mask: Tensor) -> Tensor:
    """Weights that make the loss the mean negative log-likelihood per token: mask / Σ mask, (B, T) float32."""
    return mask.float() / mask.sum()


def weighted_nll(logprobs: Tensor, weights: Tensor) -> Tensor:
    """The loss of the learner: - Σ weights · logprobs.

    Args:
        logprobs: (B, T) float32 with gradient.
        weights: (B, T) float32 without.

    Returns:
        Scalar.
    """
    return -(weights.detach() * logprobs).sum()
