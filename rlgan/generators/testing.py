"""The contract of a generator as one reusable check, for shipped ones and for those of the user's own.

It raises AssertionError and says which promise is broken. A few seconds at most: the network reads a handful of random
sequences of the task's size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rlgan.base.weights import load_weights, weights_of
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import random_sequences
from rlgan.layers.relaxation import gumbel_noise, uniform_of_rows

from .generator import Generator, GoalDistribution

_ROWS = 4
_MOST_POSITIONS = 6  # at which causality and the stepper are looked at, spread over the sequence


def check_generator(build: Callable[[], Generator], space: SequenceSpace, *, tolerance: float = 1e-4) -> None:
    """Check a generator with a likelihood: what it promises whoever trains it, draws from it and moves its weights.

    Args:
        build: makes one, by torch's global random state, which is left as it was.
        space: the task's sequences.
        tolerance: greatest difference of logits that are the same but for rounding.

    Raises:
        AssertionError: a promise is broken; says which.
    """
    with torch.random.fork_rng(devices=[]):
        generator, other = _built(build, 0), _built(build, 1)
        tokens = random_sequences(space, _ROWS, seed=0)
        conditions = None if space.condition is None else random_sequences(space.condition, _ROWS, seed=1)
        _check_logits(generator, space, tokens, conditions, tolerance)
        _check_weights_travel(generator, other, tokens, conditions)
        _check_gradients(generator, tokens, conditions, tolerance)
        _check_stepper(generator, space, tokens, conditions, tolerance)
        if generator.relaxes:
            _check_soft_rows(generator, space, conditions, tolerance)


def _built(build: Callable[[], Generator], seed: int) -> Generator:
    torch.manual_seed(seed)
    generator = build()
    _require(any(parameter.requires_grad for parameter in generator.parameters()), "it has no trainable parameter")
    return generator.eval()


@torch.no_grad()
def _check_logits(
    generator: Generator, space: SequenceSpace, tokens: Tensor, conditions: Tensor | None, tolerance: float
) -> None:
    handed = tokens.clone()
    logits = generator.conditional(conditions).logits(tokens)
    shape = (*tokens.shape, space.vocab_size)
    _require(tuple(logits.shape) == shape, f"logits have shape {tuple(logits.shape)}; expected {shape}")
    _require(logits.dtype == torch.float32, f"logits are {logits.dtype}; expected float32")
    _require(
        bool(torch.isfinite(logits).all()), "a logit is NaN or infinite; use a large negative number to forbid a token"
    )
    _require(torch.equal(handed, tokens), "it modifies its input tokens")
    again = generator.conditional(conditions).logits(tokens)
    _require(
        torch.equal(logits, again), "in evaluation mode the same tokens give different logits when it is called again"
    )
    alone = torch.cat(
        [
            generator.conditional(None if conditions is None else conditions[row : row + 1]).logits(
                tokens[row : row + 1]
            )
            for row in range(len(tokens))
        ]
    )
    _require(_near(alone, logits, tolerance), "logits of a sequence depend on the other sequences of the batch")
    for place in _places(space.max_length):
        changed = tokens.clone()
        changed[:, place:] = (changed[:, place:] + 1) % space.vocab_size
        found = generator.conditional(conditions).logits(changed)
        _require(
            _near(found[:, : place + 1], logits[:, : place + 1], tolerance),
            f"not causal: logits of token {place} or earlier change when tokens from {place} on do",
        )
        if place + 1 < space.max_length:
            shorter = generator.conditional(conditions).logits(tokens[:, : place + 1])
            _require(
                _near(shorter, logits[:, : place + 1], tolerance),
                f"logits of the first {place + 1} tokens differ when the sequence ends there",
            )
    if conditions is not None:
        assert space.condition is not None
        others = random_sequences(space.condition, len(conditions), seed=2)
        _require(
            not torch.equal(generator.conditional(others).logits(tokens), logits),
            "its logits do not depend on the condition",
        )


@torch.no_grad()
def _check_weights_travel(generator: Generator, other: Generator, tokens: Tensor, conditions: Tensor | None) -> None:
    logits = generator.conditional(conditions).logits(tokens)
    load_weights(other, weights_of(generator, 0).complete)
    _require(
        torch.equal(other.conditional(conditions).logits(tokens), logits),
        (
            "a second network with the weights of the first (state_dict) returns different logits: it computes with "
            "something that is neither a parameter nor a saved buffer"
        ),
    )


def _check_gradients(generator: Generator, tokens: Tensor, conditions: Tensor | None, tolerance: float) -> None:
    with torch.no_grad():
        quiet = generator.conditional(conditions).logits(tokens)
    generator.train()
    generator.use_dropout(False)
    loud = generator.conditional(conditions).logits(tokens)
    _require(
        _near(loud, quiet, tolerance),
        "in training mode without dropout its logits differ from those in evaluation mode",
    )
    generator.use_dropout(True)
    generator.zero_grad()
    distribution = generator.conditional(conditions)
    learned = distribution.logprobs(tokens)
    if isinstance(distribution, GoalDistribution):
        learned = learned + distribution.goal_cosines(tokens)
    learned.sum().backward()
    for name, parameter in generator.named_parameters():
        if not parameter.requires_grad:
            continue
        _require(
            parameter.grad is not None,
            (
                f"the parameter {name} has no gradient: the logits do not depend on it. Remove it, or freeze it with "
                "requires_grad_(False)"
            ),
        )
        assert parameter.grad is not None
        _require(bool(torch.isfinite(parameter.grad).all()), f"the gradient of {name} is NaN or infinite")
    generator.zero_grad()
    generator.eval()


@torch.no_grad()
def _check_stepper(
    generator: Generator, space: SequenceSpace, tokens: Tensor, conditions: Tensor | None, tolerance: float
) -> None:
    logits = generator.conditional(conditions).logits(tokens)
    for temperature in (1.0, 0.5):
        stepper = generator.stepper(temperature).conditional(conditions)
        state = stepper.start(len(tokens))
        for place in range(space.max_length):
            if place > 0:
                state = stepper.advance(state, tokens[:, place - 1])
            weights = stepper.weights(state)[:, : space.vocab_size]
            expected = torch.softmax(logits[:, place] / temperature, 1)
            _require(
                _near(weights / weights.sum(1, keepdim=True), expected, tolerance),
                (
                    f"sampling step by step gives other probabilities of token {place} than the logits, at temperature "
                    f"{temperature:g}"
                ),
            )
    states = stepper.prefix_states(tokens)
    order = torch.arange(len(tokens) - 1, -1, -1)
    for place in _places(space.max_length - 1) if space.max_length > 1 else ():
        chosen = stepper.select(tuple(part[place] for part in states), order)
        weights = stepper.weights(chosen)[:, : space.vocab_size]
        expected = torch.softmax(logits[order, place + 1] / 0.5, 1)
        _require(
            _near(weights / weights.sum(1, keepdim=True), expected, tolerance),
            "rows of its state cannot be selected: their first dimension is not the number of rows",
        )


def _check_soft_rows(generator: Generator, space: SequenceSpace, conditions: Tensor | None, tolerance: float) -> None:
    uniform = uniform_of_rows(torch.arange(_ROWS), space.max_length, space.vocab_size)
    noise = gumbel_noise(uniform)
    rows, tokens = generator.conditional(conditions).relaxed(noise, 1.0, straight_through=True)
    with torch.no_grad():
        logits = generator.conditional(conditions).logits(tokens)
        drawn = logits.gather(2, tokens.unsqueeze(2)).squeeze(2) + noise.gather(2, tokens.unsqueeze(2)).squeeze(2)
        greatest = (logits + noise).amax(2)
        _require(_near(drawn, greatest, tolerance), "one-hot rows give different logits than the tokens they represent")
    generator.zero_grad()
    (rows * torch.arange(space.vocab_size)).sum().backward()
    reached = any(bool(one.grad.abs().sum() > 0) for one in generator.parameters() if one.grad is not None)
    _require(reached, "soft rows have no gradient")
    generator.zero_grad()


def _places(length: int) -> list[int]:
    """Positions spread over 0 ... length - 1, both ends among them."""
    number = min(length, _MOST_POSITIONS)
    return sorted({round(index * (length - 1) / max(1, number - 1)) for index in range(number)})


def _near(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    return bool((found - expected).abs().max() <= tolerance * max(1.0, float(expected.abs().max())))


def _require(holds: bool, message: str) -> None:
    # Not `assert`: these checks must also bite under `python -O`.
    if not holds:
        raise AssertionError(message)
