"""Self-normalised importance weights from logits of a discriminator (MaliGAN, boundary-seeking GAN).

A discriminator's logit estimates log p_d/p_θ, so a softmax over a group of samples of p_θ weighs them as if they were
drawn from the data. Always a softmax of logits, never a quotient of probabilities: finite for any logits.

    B sequences, m of a group, T positions
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .groups import grouped

_HALVINGS = 40


@dataclass(frozen=True, slots=True)
class ImportanceWeighted:
    """Importance weights of a batch.

    Attributes:
        weights: (B, T) float32, of mean 1 over what was normalised together.
        metrics: effective sample size and, where log-ratios were shrunk, by how much.
    """

    weights: Tensor
    metrics: dict[str, float]


def importance_weights(log_ratios: Tensor, dim: int = 0) -> Tensor:
    """w̃ = softmax(u), Σ w̃ = 1 (docs/algorithms.md §4), without gradient.

    Args:
        log_ratios: float32 nats.
        dim: of the samples of one group.
    """
    return torch.softmax(log_ratios.detach(), dim)


def effective_sample_size(weights: Tensor, dim: int = 0) -> Tensor:
    """ESS = 1/Σ w̃² of weights that sum to 1: m for uniform weights, 1 when one sample has all the mass."""
    return 1.0 / weights.square().sum(dim)


def shrinkage(log_ratios: Tensor, least_share: float, dim: int = 0) -> Tensor:
    """Greatest α in [0, 1] for which softmax(α·u) has an effective sample size of at least this share of its samples.

    The effective sample size falls as α rises, for log Σ exp(α·u) is convex in α.

    Args:
        log_ratios: float32 nats; -inf stands for no sample.
        least_share: in (0, 1).
        dim: of the samples of one group.

    Returns:
        As `log_ratios` with size 1 at `dim`.
    """
    least = least_share * log_ratios.isfinite().sum(dim, keepdim=True)

    def suffices(alpha: Tensor) -> Tensor:
        shrunk = torch.where(log_ratios.isfinite(), alpha * log_ratios, log_ratios)
        return effective_sample_size(importance_weights(shrunk, dim), dim).unsqueeze(dim) >= least

    low = torch.zeros_like(log_ratios.narrow(dim, 0, 1))
    high = torch.ones_like(low)
    low = torch.where(suffices(high), high, low)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        good = suffices(middle)
        low, high = torch.where(good, middle, low), torch.where(good, high, middle)
    return low


def mean_one_weights(
    log_ratios: Tensor, mask: Tensor, over_all_tokens: bool = False, group: int | None = None, least_ess: float = 0.0
) -> ImportanceWeighted:
    """M · softmax(u) for every token.

    Args:
        log_ratios: (B, T) float32 nats; finished sequences keep their last value (`credit.log_ratios`).
        mask: (B, T) bool.
        over_all_tokens: normalise over all real tokens of the group together, and not at each position by itself.
        group: m; None takes the whole batch.
        least_ess: least effective sample size as a share of what is normalised together; 0 leaves the log-ratios.

    Returns:
        Weights of mean 1, and figures.

    Raises:
        ShapeError: the batch is no multiple of the group.
    """
    ratios = grouped(log_ratios.detach(), group)
    members = grouped(mask, group)
    if over_all_tokens:
        ratios, members = ratios.masked_fill(~members, -torch.inf).flatten(1, 2), members.flatten(1, 2)
    is_weighted = members.any(1)  # where anything was drawn at all
    metrics = {}
    if least_ess:
        alpha = shrinkage(ratios, least_ess, dim=1)
        ratios = torch.where(ratios.isfinite(), alpha * ratios, ratios)
        if bool(is_weighted.any()):
            metrics["generator/importance_shrinkage"] = float(alpha.squeeze(1)[is_weighted].mean())
    weights = importance_weights(ratios, dim=1)
    size = effective_sample_size(weights, dim=1)
    number = ratios.isfinite().sum(1)
    if bool(is_weighted.any()):
        metrics |= {
            "generator/effective_sample_size": float(size[is_weighted].mean()),
            "generator/effective_sample_share": float((size / number)[is_weighted].mean()),
        }
    weights = weights * number.unsqueeze(1)
    # Equal ratios weigh exactly 1: a sum of exponentials gives that only up to rounding.
    is_one = ratios.isfinite() & (ratios == ratios.amax(1, keepdim=True))
    are_equal = is_one.sum(1, keepdim=True) == number.unsqueeze(1)
    return ImportanceWeighted(
        weights=weights.masked_fill(is_one & are_equal, 1.0).view(log_ratios.shape), metrics=metrics
    )
