"""Likelihood metrics in nats a token, and the two Kullback-Leibler gaps that make them honest.

Networks and oracles stay outside: these functions see log-probabilities that someone else computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlgan.base.errors import ShapeError

from .quantity import Quantity

_NATS = "nats/token"
QUANTITIES = (
    Quantity("kl_sum", "both KL divergences together", _NATS, "lower", is_key=True),
    Quantity("kl_reverse", "KL(generator‖oracle)", _NATS, "lower", side="quality", is_key=True),
    Quantity("kl_forward", "KL(oracle‖generator)", _NATS, "lower", side="coverage", is_key=True),
    Quantity("nll_oracle", "NLL of samples, the oracle's", _NATS, "lower", side="quality", is_key=True),
    Quantity("nll_gen", "NLL of held-out sequences", _NATS, "lower", side="coverage", is_key=True),
    Quantity("nll_div", "NLL of samples, the generator's own: its entropy", _NATS),
)
"""Facts of the figures of this module."""


def mean_nll(logprobs: Tensor, mask: Tensor) -> float:
    """Negative log-likelihood a token, pooled over the batch (a long sequence weighs more than a short one).

    NLL = −(1/Σ_b |y_b|) Σ_b Σ_t mask[b, t] · logprobs[b, t]

    NLL_oracle scores generated sequences by the oracle, NLL_gen held-out real sequences by the generator, NLL_div
    generated sequences by the generator itself. Perplexity is exp of it. The terminator is an action like any other
    and counts as a token here, as it does in the mask.

    Source: Yu et al. 2017 (SeqGAN); they write a sum over t where their code averages, and so do we.

    Args:
        logprobs: (B, T) float, log-probability of each token given its prefix, nats. Not read where mask is False.
        mask: (B, T) bool, True on real tokens.

    Returns:
        Nats a token; inf where a token was deemed impossible.

    Raises:
        ShapeError: shapes differ or are not (B, T), mask is not bool, or no token is real.
    """
    if logprobs.dim() != 2 or logprobs.shape != mask.shape:
        raise ShapeError(
            f"logprobs {tuple(logprobs.shape)} and mask {tuple(mask.shape)}: expected the same (B, T).",
            code="likelihood_shapes",
        )
    if mask.dtype != torch.bool:
        raise ShapeError(f"mask has dtype {mask.dtype}: expected torch.bool.", code="mask_type")
    # Selecting instead of multiplying: -inf or NaN in the padding must not reach the sum.
    real_logprobs = logprobs.detach()[mask]
    if real_logprobs.numel() == 0:
        raise ShapeError(f"mask {tuple(mask.shape)} has no real token: a mean needs at least one.", code="mask_empty")
    return -real_logprobs.double().mean().item()


@dataclass(frozen=True, slots=True)
class KLGaps:
    """Distance of the generator from an exactly known distribution, in both directions.

    Estimated from samples, a gap may come out a little below 0; it is not clamped, for the size of the dip shows the
    noise.

    Attributes:
        forward: KL(p_d‖p_θ)/T, nats a token; large when real sequences are missing from the generator.
        reverse: KL(p_θ‖p_oracle)/T, nats a token; large when the generator makes what the oracle would not.
    """

    forward: float
    reverse: float

    @property
    def total(self) -> float:
        """Sum of both gaps, nats a token; neither collapse nor smearing lowers it."""
        return self.forward + self.reverse


def kl_gaps(*, nll_oracle: float, nll_div: float, nll_gen: float, entropy: float) -> KLGaps:
    """The two KL divergences between generator and oracle, from likelihoods a run measures anyway.

    forward = NLL_gen − H(p_d)        = KL(p_d‖p_θ)/T
    reverse = NLL_oracle − NLL_div    = KL(p_θ‖p_oracle)/T

    Exact where all sequences have T tokens; with sequences of different lengths each KL is divided by the mean length
    under its first argument. Real sequences are taken to be drawn from the oracle, p_d = p_oracle.

    Source: KL(p‖q) = E_p[−log q] − H(p), once for each direction.

    Args:
        nll_oracle: generated sequences under the oracle, nats a token.
        nll_div: the same generated sequences under the generator, nats a token.
        nll_gen: held-out real sequences under the generator, nats a token.
        entropy: entropy of the oracle, nats a token (`Oracle.entropy`).

    Returns:
        Both gaps, not clamped.
    """
    return KLGaps(forward=nll_gen - entropy, reverse=nll_oracle - nll_div)


def headroom_captured(*, gap_sum_run: float, gap_sum_mle_continued: float, gap_sum_oracle_ratio: float) -> float | None:
    """Share of what a perfect discriminator would have gained that an adversarial run did gain.

    (gap sum of mle_continued − gap sum of the run) / (gap sum of mle_continued − gap sum of oracle_ratio + MLE)

    0: no better than the same MLE updates without an adversary; 1: as good as the exact density ratio; below 0: the
    adversary did harm. Meaningful only at equal generator updates from the same start.

    Source: ours; docs/metrics.md says how to read it.

    Args:
        gap_sum_run: `KLGaps.total` of the adversarial run, nats a token.
        gap_sum_mle_continued: the same of the control with equal MLE updates and no adversary.
        gap_sum_oracle_ratio: the same of the run rewarded by the exact ratio, with the same MLE updates.

    Returns:
        The share, without unit; None where the denominator is not positive, i.e. where even the exact ratio did not
        beat more MLE and there was no headroom to capture.
    """
    headroom = gap_sum_mle_continued - gap_sum_oracle_ratio
    # Written so that a NaN also counts as "not positive".
    if not headroom > 0:
        return None
    return (gap_sum_mle_continued - gap_sum_run) / headroom
