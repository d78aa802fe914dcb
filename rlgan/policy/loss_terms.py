"""Terms of the generator's loss and their weights, as functions on tensors (docs/algorithms.md §19).

    L_G = - Σ_b Σ_t weights[b, t] · log p_θ(y_bt | y_b<t)

Normalisers see the whole batch, so the weights are formed where the batch is whole; the learner only sums. Which terms
a loss has is the objective's (`rlgan.policy.objectives`); they are added in `rlgan.policy.learner_loss`.

    B sequences, T positions
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rlgan.base.errors import ShapeError

LossNormaliser = Literal["sum", "sequence", "token", "fixed", "sequence_mean"]


def policy_gradient_weights(advantages: Tensor, mask: Tensor, normaliser: LossNormaliser) -> Tensor:
    """Weights = advantages / norm.

    Args:
        advantages: (B, T) float32, without gradient.
        mask: (B, T) bool.
        normaliser: sum 1 | sequence B | token Σ mask | fixed B·T | sequence_mean B times the sequence's length.

    Returns:
        (B, T) float32, 0 where mask is False.

    Raises:
        ShapeError: the shapes differ.
    """
    if advantages.shape != mask.shape:
        raise ShapeError(
            f"advantages {tuple(advantages.shape)} and mask {tuple(mask.shape)} differ.", code="objective_shapes"
        )
    return advantages.detach().masked_fill(~mask, 0.0) / _divisor(mask, normaliser)


def _divisor(mask: Tensor, normaliser: LossNormaliser) -> float | Tensor:
    batch, length = mask.shape
    if normaliser == "sequence_mean":
        return batch * mask.sum(1, keepdim=True).clamp_min(1)
    return {"sum": 1.0, "sequence": float(batch), "token": float(mask.sum()), "fixed": float(batch * length)}[
        normaliser
    ]


def share_of_batch(part: Tensor, whole: Tensor, normaliser: LossNormaliser) -> float:
    """What turns weights of some sequences, formed by themselves, into those of a batch: norm(part) / norm(whole).

    Args:
        part: (b, T) bool, mask of some of the sequences.
        whole: (B, T) bool, mask of all of them.
        normaliser: as of `policy_gradient_weights`.

    Returns:
        sum 1 | token Σ part / Σ whole | sequence, fixed, sequence_mean b / B.
    """
    if normaliser == "sum":
        return 1.0
    if normaliser == "token":
        return float(part.sum()) / float(whole.sum())
    return part.shape[0] / whole.shape[0]


def likelihood_weights(mask: Tensor) -> Tensor:
    """Weights that make the loss the mean negative log-likelihood per token: mask / Σ mask, (B, T) float32."""
    return mask.float() / mask.sum()


def weighted_nll(logprobs: Tensor, weights: Tensor) -> Tensor:
    """The plain term of the learner's loss: - Σ weights · logprobs.

    Args:
        logprobs: (B, T) float32 with gradient.
        weights: (B, T) float32 without.

    Returns:
        Scalar.
    """
    return -(weights.detach() * logprobs).sum()


def clipped_surrogate(
    logprobs: Tensor, old_logprobs: Tensor, weights: Tensor, clip_low: float, clip_high: float
) -> Tensor:
    """PPO's term of the learner's loss: - Σ min(ρ · weights, clip(ρ, 1 - low, 1 + high) · weights), ρ = p / p_old.

    Source: Schulman et al. 2017, eq. 7.

    Args:
        logprobs: (B, T) float32 nats with gradient.
        old_logprobs: (B, T) float32 nats, of the policy that drew the tokens.
        weights: (B, T) float32, advantages over their normaliser; 0 where nothing is learned.
        clip_low: in (0, 1).
        clip_high: above 0.

    Returns:
        Scalar.
    """
    # Where nothing is learned the ratio must not overflow: infinity times 0 is no number.
    ratio = torch.where(weights != 0, logprobs - old_logprobs, 0.0).exp()
    return -torch.minimum(ratio * weights, ratio.clamp(1.0 - clip_low, 1.0 + clip_high) * weights).sum()


def squared_distances(logprobs: Tensor, targets: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
    """Σ_b weights_b · (targets_b - Σ_t log p_bt)², over the tokens of the mask.

    Source: Olivecrona et al. 2017, eq. 5, where targets are the augmented likelihood and weights 1/B.

    Args:
        logprobs: (B, T) float32 nats with gradient.
        targets: (B,) float32 nats.
        mask: (B, T), 1 or True on tokens that count.
        weights: (B,) float32; 0 where a row has no target.

    Returns:
        Scalar.
    """
    found = logprobs.masked_fill(mask == 0, 0.0).sum(1)
    return (weights * torch.where(weights != 0, targets - found, 0.0).square()).sum()


def of_whole_sequences(logprobs: Tensor, old_logprobs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities (B, 1) of sequences, old ones likewise, and weights: the mean over the tokens that have one.

    So the first step has the gradient that it has with a ratio for each token, whatever the normaliser.

    Args:
        logprobs: (B, T) float32 nats with gradient.
        old_logprobs: (B, T) float32 nats.
        weights: (B, T) float32; 0 where nothing is learned.
    """
    counts = weights != 0
    sums = (torch.where(counts, one, 0.0).sum(1, keepdim=True) for one in (logprobs, old_logprobs, weights))
    new, old, total = sums
    return new, old, total / counts.sum(1, keepdim=True).clamp_min(1)


def clipped_tokens(
    logprobs: Tensor, old_logprobs: Tensor, weights: Tensor, clip_low: float, clip_high: float
) -> tuple[int, int]:
    """How many of the weighted tokens' ratios the clip holds, so that they have no gradient, and how many there are."""
    ratio = (logprobs - old_logprobs).detach().exp()
    held = ((weights > 0) & (ratio > 1.0 + clip_high)) | ((weights < 0) & (ratio < 1.0 - clip_low))
    return int(held.sum()), int((weights != 0).sum())


def reference_penalty(
    logprobs: Tensor, reference_logprobs: Tensor, weights: Tensor, old_logprobs: Tensor | None = None
) -> Tensor:
    """Σ weights · (exp(d) - d - 1), d = log p_reference - log p_θ: "k3", whose mean over p_θ is the KL divergence.

    Times ρ = p_θ / p_old, where there is an old policy, it is of tokens that this one drew, and ρ has a gradient, too.

    Source: Schulman 2020; with ρ DeepSeek-AI 2025 (DeepSeek-V3.2), eq. 7.

    Args:
        logprobs: (B, T) float32 nats with gradient.
        reference_logprobs: (B, T) float32 nats.
        weights: (B, T) float32, not negative.
        old_logprobs: (B, T) float32 nats; None leaves ρ out.

    Returns:
        Scalar.
    """
    difference = torch.where(weights != 0, reference_logprobs - logprobs, 0.0)
    terms = weights * (difference.exp() - difference - 1.0)
    if old_logprobs is not None:
        terms = terms * torch.where(weights != 0, logprobs - old_logprobs, 0.0).exp()
    return terms.sum()


def implied_rewards(logprobs: Tensor, state_values: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """Rewards for which the logits are the soft action values: r_t = v_t + log π_t - γ·v_{t+1}.

    Source: Wulfmeier et al. 2024, of Garg et al. 2021, eq. 9.

    Args:
        logprobs: (B, T) float32 nats, of the tokens.
        state_values: (B, T) float32, v before each token: logsumexp of its logits.
        mask: (B, T) bool; v is 0 behind its last True.
        gamma: γ.

    Returns:
        (B, T) float32, 0 where the mask is False.
    """
    following = torch.where(mask, state_values, 0.0)[:, 1:]
    later = torch.cat([following, torch.zeros_like(state_values[:, :1])], 1)
    return torch.where(mask, state_values + logprobs - gamma * later, 0.0)
