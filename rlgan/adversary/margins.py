"""How far reals stand above the fakes of their prompts: what a pairwise loss is of, and what is reported of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlgan.base.errors import ShapeError


@dataclass(frozen=True, slots=True)
class MarginHealth:
    """Statistics of margins m = s_real - s_fake, each of a real and a fake of its prompt.

    Attributes:
        pair_accuracy: share of pairs with m > 0, and half of those with m = 0.
        mean: of m.
        deviation: of m, of the population.
        size: mean |s| over both sides: scores that only pairs hold may drift away together.
    """

    pair_accuracy: float
    mean: float
    deviation: float
    size: float

    @property
    def metrics(self) -> dict[str, float]:
        """By the names of docs/metrics.md."""
        return {
            "discriminator/pair_accuracy": self.pair_accuracy,
            "discriminator/margin_mean": self.mean,
            "discriminator/margin_std": self.deviation,
            "discriminator/logit_size": self.size,
        }


def margin_health(reals: Tensor, fakes: Tensor) -> MarginHealth:
    """Statistics of pairs.

    Args:
        reals: (P,) float32 scores.
        fakes: (P,) float32, of a fake of each real's prompt.
    """
    margins = reals - fakes
    accuracy = (margins > 0).double().mean() + 0.5 * (margins == 0).double().mean()
    size = torch.cat([reals, fakes]).abs().mean()
    return MarginHealth(float(accuracy), float(margins.mean()), float(margins.std(correction=0)), float(size))


def margins_within(scores: Tensor, is_real: Tensor, prompts: Tensor) -> Tensor:
    """Margins of all pairs of a real and a fake that answer the same prompt.

    Args:
        scores: (B,) float32.
        is_real: (B,) bool.
        prompts: (B,) int64, equal for answers to one prompt.

    Returns:
        (P,) float32, s_real - s_fake.

    Raises:
        ShapeError: no prompt has both.
    """
    same = prompts[is_real].unsqueeze(1) == prompts[~is_real]
    if not bool(same.any()):
        raise ShapeError(
            f"prompts={prompts.tolist()}: none has both a real and a fake. Give whole prompts.",
            code="prompts_without_pairs",
            fields={"prompts": prompts.tolist()},
        )
    return (scores[is_real].unsqueeze(1) - scores[~is_real])[same]


def sequence_scores(logits: Tensor, mask: Tensor | None) -> Tensor:
    """(B,) scores of sequences: their logits (B,), or the mean over their real tokens of logits (B, T)."""
    if mask is None:
        return logits
    return (logits * mask).sum(1) / mask.sum(1)
