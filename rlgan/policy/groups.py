"""Sequences of a batch that are compared with each other: neighbours in the batch, all of it where no size is given.

Equal numbers have exactly their value as mean and exactly 0 as deviation. Sums of floats give that only up to rounding,
and what is left would be divided by a deviation of the same tiny size and become an advantage like any other.

A value may be NaN: a sequence that nothing rewards. It counts nowhere, and nothing is compared with it.

B sequences, K of a group, T positions
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlgan.base.errors import ShapeError


def grouped(rows: Tensor, group: int | None) -> Tensor:
    """(B, ...) as (B / K, K, ...).

    Raises:
        ShapeError: B is no multiple of K.
    """
    batch = rows.shape[0]
    size = group or batch
    if batch % size:
        raise ShapeError(f"{batch} sequences cannot be divided into groups of {size}.", code="groups_do_not_fit")
    return rows.view(batch // size, size, *rows.shape[1:])


def within(means: Tensor, members: Tensor, dim: int) -> Tensor:
    """Means, moved to where means can lie: between the least and the greatest of their members.

    Moves what rounding took out of there and nothing else; of equal members the mean is then exactly their value.

    Args:
        means: float, as `members` with size 1 at `dim`, or of a shape that goes with that.
        members: float, what they are means of, weighed in any way.
        dim: over which they are.

    Returns:
        As `means`.
    """
    return means.clamp(members.amin(dim, keepdim=True), members.amax(dim, keepdim=True))


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Scalar mean of the values under a mask, exactly their value where all are equal; 0 where there are none."""
    if not bool(mask.any()):
        return values.new_zeros(())
    return within(values.masked_fill(~mask, 0.0).sum() / mask.sum(), values[mask], 0).squeeze(0)


def means_there(members: Tensor, dim: int) -> Tensor:
    """Mean of the members that are not NaN, moved as by `within`; NaN where all are.

    Args:
        members: float.
        dim: over which it is.

    Returns:
        As `members` with size 1 at `dim`.
    """
    is_there = ~members.isnan()
    if bool(is_there.all()):
        return within(members.mean(dim, keepdim=True), members, dim)
    means = members.nanmean(dim, keepdim=True)
    return within(means, torch.where(is_there, members, means), dim)


def deviations(members: Tensor, dim: int, correction: int = 0) -> Tensor:
    """Standard deviation, exactly 0 where all members are equal.

    Args:
        members: float, at least one along `dim`; NaN where one is not there.
        dim: over which it is.
        correction: taken off the number of members in the divisor: 0 for the population's, 1 for the sample's.

    Returns:
        As `members` with size 1 at `dim`; 0 where none is there.
    """
    is_there = ~members.isnan()
    if not bool(is_there.all()):
        # The mean in the place of who is not there moves neither extreme, and adds no square.
        members = torch.where(is_there, members, means_there(members, dim)).nan_to_num(0.0)
        number = is_there.sum(dim, keepdim=True).clamp_min(1)
        are_equal = members.amin(dim, keepdim=True) == members.amax(dim, keepdim=True)
        divisor = (number - correction).clamp_min(1)
        variance = members.var(dim, correction=0, keepdim=True) * (members.shape[dim] / divisor)
        return variance.sqrt().masked_fill(are_equal, 0.0)
    are_equal = members.amin(dim, keepdim=True) == members.amax(dim, keepdim=True)
    found = members.std(dim, correction=min(correction, members.shape[dim] - 1), keepdim=True)
    return found.masked_fill(are_equal, 0.0)


def held(values: Tensor, mask: Tensor) -> Tensor:
    """Values (B, T) in which a sequence that has finished keeps the value of its last token.

    With terminal credit, statistics over a group at any position are then those of its rewards, whatever the lengths.
    """
    # The first position at which all of a row's True have been counted; what stands before the first is held too.
    last = mask.long().cumsum(1).argmax(1, keepdim=True)
    return torch.where(mask | values.isnan(), values, values.gather(1, last))


def group_means(values: Tensor, mask: Tensor, group: int | None = None) -> Tensor:
    """Mean over the sequences of the group at the same position.

    Args:
        values: (B, T) float32.
        mask: (B, T) bool.
        group: K; None takes the whole batch.

    Returns:
        (B, T) float32.

    Raises:
        ShapeError: B is no multiple of K.
    """
    members = grouped(held(values, mask), group)
    return means_there(members, 1).expand_as(members).flatten(0, 1)


def leave_one_out_means(values: Tensor, mask: Tensor, group: int | None = None) -> Tensor:
    """Mean over the *other* sequences of the group at the same position.

    With terminal credit this is RLOO's b_i = mean_{j≠i} R_j whatever the lengths, and a constant added to all rewards
    always cancels.

    Args:
        values: (B, T) float32.
        mask: (B, T) bool.
        group: K; None takes the whole batch.

    Returns:
        (B, T) float32.

    Raises:
        ShapeError: B is no multiple of K, or K is 1.
    """
    members = grouped(held(values, mask), group)
    if members.shape[1] < 2:
        raise ShapeError(
            "baseline='leave_one_out' needs groups of at least 2 sequences.",
            code="group_of_one",
            fields={"baseline": "leave_one_out"},
        )
    is_there = ~members.isnan()
    if bool(is_there.all()):
        means = (members.sum(1, keepdim=True) - members) / (members.shape[1] - 1)
        return within(means, members, 1).flatten(0, 1)
    others = is_there.sum(1, keepdim=True) - is_there.long()
    means = (members.nansum(1, keepdim=True) - members.nan_to_num(0.0)) / others
    # Who is alone in its group is compared with itself.
    means = torch.where(others > 0, means, members)
    return within(means, torch.where(is_there, members, means_there(members, 1)), 1).flatten(0, 1)


def group_deviations(values: Tensor, mask: Tensor, group: int | None = None, correction: int = 0) -> Tensor:
    """Standard deviation (divisor K - correction) over the sequences of the group at the same position.

    Args:
        values: (B, T) float32.
        mask: (B, T) bool.
        group: K; None takes the whole batch.
        correction: 0 for the population's, 1 for the sample's (Bessel).

    Returns:
        (B, T) float32.

    Raises:
        ShapeError: B is no multiple of K.
    """
    members = grouped(held(values, mask), group)
    return deviations(members, 1, correction).expand_as(members).flatten(0, 1)


def equal_share(values: Tensor, mask: Tensor, group: int | None = None) -> float:
    """Share of the groups whose sequences all have the same values, so that nothing tells them apart.

    Args:
        values: (B, T) float32, NaN at tokens that nothing rewards, which tell nothing.
        mask: (B, T) bool.
        group: K; None takes the whole batch.

    Returns:
        Between 0 and 1.

    Raises:
        ShapeError: B is no multiple of K.
    """
    members = grouped(held(values, mask), group)
    is_there = ~members.isnan()
    greatest = members.masked_fill(~is_there, -torch.inf).amax(1)
    least = members.masked_fill(~is_there, torch.inf).amin(1)
    return float((greatest <= least).all(1).float().mean())


def separately_normalised(terms: Tensor, group: int | None = None) -> Tensor:
    """Each term less its mean over the group, over its standard deviation there plus 1e-4.

    Source: `multi_objective_aggregation="normalize_then_sum"` of TRL 1.16, in which K - 1 divides squares, too. Theirs
    is NaN where a group has one value of a term; here that value becomes 0, as where all are equal.

    Args:
        terms: (B, F) float32, NaN where a sequence has no such term.
        group: K; None takes the whole batch.

    Returns:
        (B, F) float32, NaN where `terms` are.

    Raises:
        ShapeError: B is no multiple of K.
    """
    members = grouped(terms, group)
    return ((members - means_there(members, 1)) / (deviations(members, 1, correction=1) + 1e-4)).flatten(0, 1)
