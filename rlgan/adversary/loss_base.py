"""What every loss of a discriminator declares, and what losses share; the losses are `losses` and `verdict_losses`.

B sequences, T positions
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rlgan.base.errors import ShapeError
from rlgan.base.settings import Settings


@dataclass(frozen=True, slots=True)
class ClassLosses:
    """What a separable loss has of reals and of fakes; their sum is twice the mean form, where a loss has one.

    Attributes:
        real: scalar of the reals.
        fake: scalar of the fakes.
    """

    real: Tensor
    fake: Tensor


class Loss(Settings):
    """Properties of a loss: the meaning of the logit at its optimum, and what a minibatch contains.

    Each loss also has `reads_fakes`: whether a minibatch contains fakes.
    """

    kind: str
    """Name of the loss."""
    meaning: ClassVar[str]
    """Meaning of the logit."""
    is_log_odds: ClassVar[bool] = False
    """Whether the logit is log p_d/p_θ."""
    has_boundary: ClassVar[bool] = False
    """Whether 0 is the boundary between reals and fakes."""
    has_origin: ClassVar[bool] = False
    """Whether the logit is known without an unknown constant."""
    needs_halves: ClassVar[bool] = True
    """Whether half of every minibatch must be real."""
    has_costs: ClassVar[bool] = False
    """Whether reals and fakes have separate terms, which a balance can weight."""
    compares_classes: ClassVar[bool] = False
    """Whether each fake is compared with reals, so that there is no loss of fakes alone."""
    guides_beside_reals: ClassVar[bool] = False
    """Whether a generator that is differentiated through the discriminator learns by it from fakes beside reals."""
    within_prompts: ClassVar[bool] = False
    """Whether it compares each fake with the real of its own prompt, so that each prompt may have a constant of its
    own (`of_prompts`)."""
    is_of_a_distribution: ClassVar[bool] = False
    """Whether a distribution over tokens is trained by it, instead of a classifier."""
    is_of_ranks: ClassVar[bool] = False
    """Whether it learns from log rank scores of reals among fakes and of fakes among reals."""
    is_of_verdicts: ClassVar[bool] = False
    """Whether it learns from verdicts that a critic writes of two answers (`of_verdicts`), and reads no logit."""
    reads_policy: ClassVar[bool] = False
    """Whether it needs the log-probabilities of the generator."""
    needs_bounded_slope: ClassVar[bool] = False
    """Whether the loss has no minimum unless the slope of the network is bounded."""

    @property
    def smoothing(self) -> float:
        """S of smoothed labels, where the optimum is another; of reals alone log (1 - s) p_d/(p_θ + s p_d)."""
        return 0.0

    @property
    def margin_temperature(self) -> float:
        """T: the margin of a real over a fake, over T, is the log-odds of which is which."""
        return 1.0

    @abstractmethod
    def of(self, real_logits: Tensor, is_real: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss of a minibatch.

        Args:
            real_logits: (B,) or (B, T) float32, positive = real.
            is_real: (B,) bool.
            mask: (B, T) bool, with (B, T) logits only.

        Returns:
            Scalar.

        Raises:
            ShapeError: shapes do not fit, or a loss that compares both classes lacks one, or one of reals lacks them.
        """

    def of_prompts(self, real_logits: Tensor, is_real: Tensor, prompts: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss of a minibatch that holds prompts with their reals and fakes.

        Args:
            real_logits: (B,) or (B, T) float32, positive = real.
            is_real: (B,) bool.
            prompts: (B,) int64, equal for answers to one prompt.
            mask: (B, T) bool, with (B, T) logits only.

        Raises:
            ShapeError: shapes do not fit, no prompt has both, or the loss knows no prompts.
        """
        raise ShapeError(
            f"adversary.loss={self.kind!r}: does not compare answers to one prompt. Use bradley_terry.",
            code="loss_without_prompts",
            fields={"adversary.loss": self.kind},
        )

    def of_verdicts(self, logprobs: Tensor, rng: torch.Generator) -> Tensor:
        """The loss of a minibatch of pairs, each of a real answer and a generated one.

        Args:
            logprobs: (P, 3) float32, of the verdicts that the real one, that the generated one, and that neither can be
                told to be the real one.
            rng: source of all randomness; on the CPU.

        Returns:
            Scalar.

        Raises:
            ShapeError: the loss learns from no verdicts.
        """
        raise ShapeError(
            f"adversary.loss={self.kind!r}: learns from no verdicts. Use verdict_gradient.",
            code="loss_without_verdicts",
            fields={"adversary.loss": self.kind},
        )

    def of_unequal(self, real_logits: Tensor, is_real: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss of a minibatch with more of one class than of the other, in which both weigh the same.

        Of one real beside sixteen fakes the real then weighs sixteen times a fake (R-AIRL, Fanconi et al. 2025).
        What a loss of pairs, or of a mean of each class, is anyway.

        Args:
            real_logits: (B,) or (B, T) float32, positive = real.
            is_real: (B,) bool, of both classes.
            mask: (B, T) bool, with (B, T) logits only.

        Raises:
            ShapeError: shapes do not fit, or a class is missing.
        """
        return self.of(real_logits, is_real, mask)

    def by_class(self, real_logits: Tensor, is_real: Tensor, mask: Tensor | None = None) -> ClassLosses:
        """The loss, apart for both classes: what a balance between them weighs.

        Args:
            real_logits: (B,) or (B, T) float32, positive = real.
            is_real: (B,) bool, of both classes.
            mask: (B, T) bool, with (B, T) logits only.

        Raises:
            ShapeError: shapes do not fit, a class is missing, or the loss is of pairs or of one distribution.
        """
        return self._apart(*logits_by_class(real_logits, is_real, mask))

    def _apart(self, real: Tensor, fake: Tensor) -> ClassLosses:
        what = "one distribution over both" if self.is_of_a_distribution else "pairs of a real and a fake"
        raise ShapeError(
            f"adversary.loss={self.kind!r}: is computed from {what}, so it has no separate terms for reals and fakes.",
            code="loss_cannot_split",
            fields={"adversary.loss": self.kind},
        )

    def of_generator(self, fake_logits: Tensor, beside: Tensor | None = None) -> Tensor:
        """What a generator descends that is differentiated through the discriminator, an element a logit.

            cross_entropy softplus(-u), the non-saturating form | hinge, wasserstein -u | least_squares ½(u - 1)²
            relativistic softplus(-(u - u_real))

        Args:
            fake_logits: any shape, float32, with gradient.
            beside: the same shape, logits of a real sequence for each fake; read where `guides_beside_reals`.

        Returns:
            The same shape.

        Raises:
            ShapeError: the loss compares with reals, of which there are none here, or judges nothing.
        """
        if self.is_of_a_distribution:
            raise ShapeError(
                f"adversary.loss={self.kind!r}: trains a distribution over tokens, which has no logit for real or "
                "fake.",
                code="loss_of_distribution",
                fields={"adversary.loss": self.kind},
            )
        raise ShapeError(
            f"adversary.loss={self.kind!r}: compares fakes with reals, but no reals are given.",
            code="loss_needs_reals",
            fields={"adversary.loss": self.kind},
        )


def logits_by_class(real_logits: Tensor, is_real: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Logits of all that is real and of all that is fake, in one dimension each."""
    require_shapes(real_logits, is_real, mask, needs_both=True)
    if mask is None:
        return real_logits[is_real], real_logits[~is_real]
    return real_logits[is_real][mask[is_real]], real_logits[~is_real][mask[~is_real]]


def require_shapes(real_logits: Tensor, is_real: Tensor, mask: Tensor | None, needs_both: bool = False) -> None:
    """Refuse logits, labels and masks that do not fit together, or, where both are needed, lack a class.

    Raises:
        ShapeError: they do not.
    """
    shape = is_real.shape if mask is None else mask.shape
    if is_real.dim() != 1 or real_logits.shape != shape or shape[:1] != is_real.shape:
        raise ShapeError(
            f"real_logits {tuple(real_logits.shape)}, is_real {tuple(is_real.shape)} and mask "
            f"{None if mask is None else tuple(mask.shape)}: expected (B,), (B,) and None, or (B, T), (B,) and (B, T).",
            code="loss_shapes",
        )
    if needs_both and not (is_real.any() and (~is_real).any()):
        raise ShapeError(
            f"is_real is {bool(is_real.all())} everywhere: this loss compares reals with fakes.", code="loss_needs_both"
        )
