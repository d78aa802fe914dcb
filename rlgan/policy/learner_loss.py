"""The loss that the learner minimises: all terms of a batch, added; and what it checks of the log-probabilities.

B sequences, T positions, P pairs
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from .implicit_losses import log_ratios_of
from .loss_terms import reference_penalty, squared_distances, weighted_nll
from .objective_base import Objective


def logprob_gap(logprobs: Tensor, drawn_logprobs: Tensor) -> float:
    """Greatest distance, in nats, between what two computations of one policy say of the tokens that it drew.

    Before the first step learner and sampler are the same policy, so that all of it is rounding, or an error.

    Args:
        logprobs: (B, T) float32 nats, the learner's.
        drawn_logprobs: (B, T) float32 nats, the sampler's; 0 where it drew nothing.
    """
    was_drawn = drawn_logprobs != 0
    distances = (logprobs.detach() - drawn_logprobs)[was_drawn].abs()
    return float(distances.max()) if distances.numel() else 0.0


def pair_ratios(terms: Mapping[str, Tensor], logprobs: Tensor, rival_logprobs: Tensor) -> tuple[Tensor, Tensor]:
    """Log-ratios (P,) of both sequences of each pair among the rows; see `rlgan.sampling.records.Experience`."""
    is_pair = terms["pair_weights"] != 0
    return (
        log_ratios_of(logprobs[is_pair], terms["old_logprobs"][is_pair], terms["pair_mask"][is_pair]),
        log_ratios_of(rival_logprobs[is_pair], terms["rival_old_logprobs"][is_pair], terms["rival_mask"][is_pair]),
    )


def learner_loss(
    objective: Objective,
    terms: Mapping[str, Tensor],
    logprobs: Tensor,
    entropies: Tensor | None = None,
    rival_logprobs: Tensor | None = None,
    state_values: Tensor | None = None,
    goal_cosines: Tensor | None = None,
) -> Tensor:
    """All terms of the learner's loss; see `rlgan.sampling.records.Experience`.

    Args:
        objective: whose clip.
        terms: fields of an `Experience` that are there, by name.
        logprobs: (B, T) float32 nats with gradient.
        entropies: (B, T) float32 nats of the next token's distribution, with gradient; None without `entropy_weights`.
        rival_logprobs: (B, T) float32 nats of the rivals, with gradient; None without `pair_weights`.
        state_values: (B, T) float32, logsumexp of the logits of each token, with gradient; None without
            `residual_weights`.
        goal_cosines: (B, T) float32, see `rlgan.generators.GoalDistribution`, with gradient; None without
            `goal_weights`.

    Returns:
        Scalar.
    """
    loss = weighted_nll(logprobs, terms["weights"])
    if "goal_weights" in terms:
        assert goal_cosines is not None
        loss = loss + weighted_nll(goal_cosines, terms["goal_weights"])
    if "residual_weights" in terms:
        assert state_values is not None
        weights = terms["residual_weights"]
        loss = loss + (weights * objective.implied_rewards(logprobs, state_values, weights != 0).square()).sum()
    if "pair_weights" in terms:
        assert rival_logprobs is not None
        weights = terms["pair_weights"][terms["pair_weights"] != 0]
        loss = loss + (weights * objective.pair_losses(*pair_ratios(terms, logprobs, rival_logprobs))).sum()
    if "square_weights" in terms:
        loss = loss + squared_distances(
            logprobs, terms["square_targets"], terms["square_mask"], terms["square_weights"]
        )
    if "clipped_weights" in terms:
        loss = loss + objective.surrogate(logprobs, terms["old_logprobs"], terms["clipped_weights"])
    if "kl_weights" in terms:
        loss = loss + reference_penalty(logprobs, terms["reference_logprobs"], terms["kl_weights"])
    if "ratio_kl_weights" in terms:
        ends = terms["reference_logprobs"], terms["ratio_kl_weights"]
        loss = loss + reference_penalty(logprobs, *ends, terms["old_logprobs"])
    if "entropy_weights" in terms:
        assert entropies is not None
        loss = loss - (terms["entropy_weights"] * entropies).sum()
    return loss
