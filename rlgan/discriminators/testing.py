"""The contract of a discriminator as one reusable check, for shipped ones and for those of the user's own.

It raises AssertionError and says which promise is broken.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from rlgan.base.weights import load_weights, weights_of
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask

from .discriminator import Discriminator, Granularity

_ROWS = 6


def check_discriminator(
    build: Callable[[], Discriminator],
    space: SequenceSpace,
    *,
    granularity: Granularity = "sequence",
    judges_pairs: bool = False,
    reads_soft_rows: bool = True,
    tolerance: float = 1e-4,
) -> None:
    """Check what a discriminator promises whoever trains it, scores with it and moves its weights.

    Args:
        build: makes one, by torch's global random state, which is left as it was.
        space: the task's sequences.
        granularity: what it says has a logit.
        judges_pairs: whether it says that it reads conditions.
        reads_soft_rows: whether it says that it reads soft rows.
        tolerance: greatest difference of logits that are the same but for rounding.

    Raises:
        AssertionError: a promise is broken; says which.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        judge = build().eval()
        torch.manual_seed(1)
        other = build().eval()
        tokens = random_sequences(space, _ROWS, seed=0)
        mask = sequence_mask(space, tokens)
        if space.end_id is None and space.max_length > 1:
            mask[1, -1] = False  # prefixes are judged, too, where a credit asks for them
        conditions = None
        if judges_pairs:
            _require(space.condition is not None, "it judges pairs, but sequences of this task have no conditions")
            assert space.condition is not None
            conditions = random_sequences(space.condition, _ROWS, seed=1)
        _check_logits(judge, space, tokens, mask, conditions, granularity, tolerance)
        _check_weights_travel(judge, other, tokens, mask, conditions)
        _check_gradients(judge, tokens, mask, conditions)
        if reads_soft_rows:
            _check_soft_rows(judge, space, tokens, mask, conditions, tolerance)


@torch.no_grad()
def _check_logits(
    judge: Discriminator,
    space: SequenceSpace,
    tokens: Tensor,
    mask: Tensor,
    conditions: Tensor | None,
    granularity: Granularity,
    tolerance: float,
) -> None:
    handed = tokens.clone(), mask.clone()
    logits = judge(tokens, mask, conditions)
    shape = tuple(tokens.shape) if granularity == "token" else (len(tokens),)
    _require(tuple(logits.shape) == shape, f"logits have shape {tuple(logits.shape)}; expected {shape}")
    _require(logits.dtype == torch.float32, f"logits are {logits.dtype}; expected float32")
    _require(bool(torch.isfinite(logits).all()), "a logit is NaN or infinite")
    _require(torch.equal(handed[0], tokens) and torch.equal(handed[1], mask), "it modifies its input tensors")
    again = judge(tokens, mask, conditions)
    _require(
        torch.equal(logits, again), "in evaluation mode the same sequences get different logits when it is called again"
    )
    alone = torch.cat(
        [judge(tokens[one], mask[one], None if conditions is None else conditions[one]) for one in _each(tokens)]
    )
    _require(_near(alone, logits, tolerance), "the logit of a sequence depends on the other sequences of the batch")
    padded = torch.where(mask, tokens, (tokens + 1) % space.vocab_size)
    _require(
        _near(judge(padded, mask, conditions), logits, tolerance),
        "tokens where the mask is False change a logit",
    )
    if conditions is not None:
        assert space.condition is not None
        others = random_sequences(space.condition, len(conditions), seed=2)
        _require(not torch.equal(judge(tokens, mask, others), logits), "its logits do not depend on the condition")
    if granularity == "token":
        _require(bool((logits[~mask] == 0).all()), "a logit is not 0 where the mask is False")
        for place in range(1, space.max_length):
            changed = tokens.clone()
            changed[:, place:] = (changed[:, place:] + 1) % space.vocab_size
            found = judge(changed, mask, conditions)
            _require(
                _near(found[:, :place], logits[:, :place], tolerance),
                f"not causal: a logit before token {place} changes when tokens from {place} on do",
            )
    scores = judge.scorer()(tokens, mask, conditions)
    _require(_near(scores, logits, tolerance), "its frozen copy returns different logits")


@torch.no_grad()
def _check_weights_travel(
    judge: Discriminator, other: Discriminator, tokens: Tensor, mask: Tensor, conditions: Tensor | None
) -> None:
    load_weights(other, weights_of(judge, 0).complete)
    _require(
        torch.equal(other(tokens, mask, conditions), judge(tokens, mask, conditions)),
        (
            "a second network with the weights of the first (state_dict) returns different logits: it computes with "
            "something that is neither a parameter nor a saved buffer"
        ),
    )


def _check_gradients(judge: Discriminator, tokens: Tensor, mask: Tensor, conditions: Tensor | None) -> None:
    judge.train()
    judge.zero_grad()
    judge(tokens, mask, conditions).sum().backward()
    learned = [(name, one) for name, one in judge.named_parameters() if one.requires_grad]
    _require(bool(learned), "it has no trainable parameter")
    for name, parameter in learned:
        _require(parameter.grad is not None, f"the parameter {name} has no gradient: the logits do not depend on it")
        assert parameter.grad is not None
        _require(bool(torch.isfinite(parameter.grad).all()), f"the gradient of {name} is NaN or infinite")
    judge.zero_grad()
    judge.eval()


def _check_soft_rows(
    judge: Discriminator,
    space: SequenceSpace,
    tokens: Tensor,
    mask: Tensor,
    conditions: Tensor | None,
    tolerance: float,
) -> None:
    with torch.no_grad():
        logits = judge(tokens, mask, conditions)
    rows = functional.one_hot(tokens, space.vocab_size).float().requires_grad_()
    found = judge(rows, mask, conditions)
    _require(
        _near(found.detach(), logits, tolerance), "one-hot rows get different logits than the tokens they represent"
    )
    (slope,) = torch.autograd.grad(found.sum(), rows, create_graph=True)
    _require(bool(slope.abs().sum() > 0), "soft rows have no gradient")
    penalty = slope.square().sum()
    if penalty.requires_grad:  # of a network that is linear in the rows the second derivative is 0
        penalty.backward()
    judge.zero_grad()


def _each(tokens: Tensor) -> list[slice]:
    return [slice(row, row + 1) for row in range(len(tokens))]


def _near(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    return bool((found - expected).abs().max() <= tolerance * max(1.0, float(expected.abs().max())))


def _require(holds: bool, message: str) -> None:
    # Not `assert`: these checks must also bite under `python -O`.
    if not holds:
        raise AssertionError(message)
