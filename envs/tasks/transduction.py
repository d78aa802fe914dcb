"""Sequences that are given a sequence, by an exactly known distribution: copy it, reverse it, or whatever a table says.

Conditions are uniform: every token of them is, and where sequences end early, their length is too (at least one token
before the terminator). Conditions and sequences are of one space.

    copy, reverse:  p(y_t | y_<t, x) = (1 - noise) [y_t = r(x)_t] + noise / V      until the terminator or T
    table:          softmax of N(0,1) logits, drawn for each x and each y_<t

r(x) is x, or its tokens in reverse order before the terminator; positions past the terminator hold it again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from rlgan.base.errors import ConfigError, ShapeError
from rlgan.base.settings import Settings

from ..sequence_space import SequenceSpace
from ..transition import pad_after_end, sequence_mask
from .task import (
    Conditions,
    Mode,
    Oracle,
    Sides,
    Task,
    TaskMeasure,
    require_one_a_condition,
    seeded_conditions,
    stream_note,
    stream_of_pairs,
)
from .toy import MAX_SEQUENCES, TabularOracle


class Copy(Settings):
    """Each sequence is its condition, token by token, with noise."""

    kind: Literal["copy"] = "copy"

    noise: float = Field(default=0.1, ge=0.0, le=1.0)
    """Probability that a token is replaced by a uniformly drawn one; 0: the condition determines the sequence."""


class Reverse(Settings):
    """Each sequence is its condition reversed, with noise."""

    kind: Literal["reverse"] = "reverse"

    noise: float = Field(default=0.1, ge=0.0, le=1.0)
    """Probability that a token is replaced by a uniformly drawn one; 0: the condition determines the sequence."""


class RandomTable(Settings):
    """Each condition has its own randomly drawn distribution of sequences."""

    kind: Literal["table"] = "table"

    law_seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the distributions."""


RuleSettings = Annotated[Copy | Reverse | RandomTable, Field(discriminator="kind")]
"""What a sequence has to do with its condition."""


class TransductionTask(Settings):
    """Sequences for conditions, from a distribution that is known exactly."""

    gives_conditions: ClassVar[bool] = True
    has_prompts: ClassVar[bool] = True
    language_model: ClassVar[None] = None
    knows_distribution: ClassVar[bool] = True
    has_real_sequences: ClassVar[bool] = True
    measures: ClassVar[frozenset[TaskMeasure]] = frozenset()
    are_words: ClassVar[Sides] = (False, False)
    kind: Literal["transduction"] = "transduction"

    rule: RuleSettings = Copy()
    """How a sequence depends on its condition."""

    vocab_size: int = Field(default=5, ge=2, le=1_000_000)
    """Number of tokens V of conditions and sequences."""

    max_length: int = Field(default=4, ge=1, le=10_000)
    """Maximum number of tokens of a condition and of a sequence. With the rule table, `vocab_size ** (2 *
    max_length)` must be at most 100,000."""

    ends: bool = False
    """Whether token 0 is a terminator, so that conditions and sequences have different lengths."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of conditions and sequences."""

    mode: Mode = "fixed"
    """Whether training sequences are `num_train` fixed ones, or drawn anew each time that some are learned from or
    shown to the discriminator (stream); an epoch is then `num_train` new ones."""

    num_train: int = Field(default=5_000, ge=1)
    """Number of training pairs."""

    num_valid: int = Field(default=1_000, ge=1)
    """Number of validation pairs, for early stopping and model selection."""

    num_test: int = Field(default=1_000, ge=1)
    """Number of test pairs, for the reported metrics."""

    @property
    def is_stream(self) -> bool:
        """Whether training sequences are new each time."""
        return self.mode == "stream"

    @property
    def is_certain(self) -> bool:
        """Whether a condition leaves nothing open, so that the distribution forbids all sequences but one."""
        return isinstance(self.rule, Copy | Reverse) and self.rule.noise == 0.0

    @property
    def space(self) -> SequenceSpace:
        """The conditions, and the sequences."""
        return SequenceSpace(self.vocab_size, self.max_length, end_id=0 if self.ends else None)

    @model_validator(mode="after")
    def _sizes_fit_together(self) -> TransductionTask:
        if self.ends and self.max_length < 2:
            raise ConfigError(
                "max_length=1: with ends=true the terminator is the only token that fits. Set it to 2 or more.",
                code="terminator_fills",
                fields={"max_length": 1},
            )
        # Lengths past 8 are past the limit for every vocabulary, and their powers need not be computed.
        is_large = self.max_length > 8 or self.vocab_size ** (2 * self.max_length) > MAX_SEQUENCES
        if isinstance(self.rule, RandomTable) and is_large:
            raise ConfigError(
                f"vocab_size={self.vocab_size}, max_length={self.max_length}: with rule=table, vocab_size ** (2 * "
                f"max_length) must be at most {MAX_SEQUENCES}. Lower one of them, or choose copy or reverse.",
                code="table_too_large",
                fields={"vocab_size": self.vocab_size, "max_length": self.max_length},
            )
        return self


class NoisyCopies:
    """The distribution of B sequences of which each is a given one, but for uniform noise.

    Args:
        space: of the sequences.
        right: (B, T) int64, what each sequence is without noise, padded after the terminator.
        noise: probability that a token is drawn uniformly.
    """

    def __init__(self, space: SequenceSpace, right: Tensor, noise: float) -> None:
        self.space, self._right, self._noise = space, right, noise

    @property
    def entropy(self) -> float:
        """Exact entropy in nats per token: that of one, for it is the same at every position of every sequence."""
        size = self.space.vocab_size
        by_chance = self._noise / size
        right = 1.0 - self._noise + by_chance
        return -(_x_log_x(right) + (size - 1) * _x_log_x(by_chance))

    def logprobs(self, tokens: Tensor) -> Tensor:
        """Log-probability of each token given its prefix and its condition.

        Args:
            tokens: (B, T') int64, T' <= T.

        Returns:
            (B, T') float32, in nats; exactly 0 after the terminator, -inf where a token cannot be.

        Raises:
            ShapeError: not one sequence a condition, too long, or an id outside the vocabulary.
        """
        _check_rows(self.space, tokens, len(self._right), "tokens")
        by_chance = self._noise / self.space.vocab_size
        is_right = tokens == self._right[:, : tokens.shape[1]]
        probs = torch.where(is_right, 1.0 - self._noise + by_chance, by_chance).double()
        return probs.log().masked_fill(~sequence_mask(self.space, tokens), 0.0).float()

    def sample(self, num_sequences: int, seed: int) -> Tensor:
        """Draw a sequence for each condition: (B, T) int64; `num_sequences` is B, `seed` seeds the draw completely.

        Raises:
            ShapeError: another number of sequences than of conditions.
        """
        require_one_a_condition(num_sequences, len(self._right))
        generator = torch.Generator().manual_seed(seed)
        by_chance = torch.rand(self._right.shape, generator=generator, dtype=torch.float64) < self._noise
        other = torch.randint(self.space.vocab_size, self._right.shape, generator=generator)
        return pad_after_end(self.space, torch.where(by_chance, other, self._right))


class RowsOfTables:
    """The distribution of B sequences of which each has a table of its own.

    Args:
        distributions: B tables; one may stand for several sequences.
    """

    def __init__(self, distributions: Sequence[TabularOracle]) -> None:
        self._distributions = distributions
        self.space = distributions[0].space
        self._rows: dict[int, list[int]] = {}
        for row, distribution in enumerate(distributions):
            self._rows.setdefault(id(distribution), []).append(row)

    @cached_property
    def entropy(self) -> float:
        """Exact entropy in nats per token: the sum over all sequences, over the sum of their mean lengths."""
        lengths = [float(distribution.mean_length) for distribution in self._distributions]
        return sum(
            distribution.entropy * length for distribution, length in zip(self._distributions, lengths, strict=True)
        ) / sum(lengths)

    def logprobs(self, tokens: Tensor) -> Tensor:
        """Log-probability of each token given its prefix and its condition, as in `NoisyCopies.logprobs`."""
        _check_rows(self.space, tokens, len(self._distributions), "tokens")
        logprobs = torch.empty(tokens.shape)
        for rows in self._rows.values():
            logprobs[rows] = self._distributions[rows[0]].logprobs(tokens[rows])
        return logprobs

    def sample(self, num_sequences: int, seed: int) -> Tensor:
        """Draw a sequence for each condition, as `NoisyCopies.sample`."""
        require_one_a_condition(num_sequences, len(self._distributions))
        generator = torch.Generator().manual_seed(seed)
        uniforms = torch.rand(num_sequences, generator=generator, dtype=torch.float64)
        tokens = torch.empty(num_sequences, self.space.max_length, dtype=torch.int64)
        for rows in self._rows.values():
            tokens[rows] = self._distributions[rows[0]].at_quantiles(uniforms[rows])
        return tokens


class CopyDistribution:
    """From conditions (B, T) the distribution of sequences that copy or reverse them.

    Args:
        space: of conditions and sequences.
        noise: probability that a token is drawn uniformly.
        reverses: whether the order of the tokens before the terminator is reversed.
    """

    def __init__(self, space: SequenceSpace, noise: float, *, reverses: bool) -> None:
        self.space, self.noise, self.reverses = space, noise, reverses

    def __call__(self, conditions: Tensor) -> NoisyCopies:
        """The distribution, row by row.

        Raises:
            ShapeError: not (B, T), or an id outside the vocabulary.
        """
        _check_rows(self.space, conditions, len(conditions), "conditions")
        right = pad_after_end(self.space, conditions)
        return NoisyCopies(self.space, self._reversed(right) if self.reverses else right, self.noise)

    def _reversed(self, tokens: Tensor) -> Tensor:
        lengths = sequence_mask(self.space, tokens).sum(1, keepdim=True)
        if self.space.end_id is not None:
            lengths -= (tokens == self.space.end_id).any(1, keepdim=True).long()
        places = torch.arange(tokens.shape[1]).expand_as(tokens)
        return tokens.gather(1, torch.where(places < lengths, lengths - 1 - places, places))


class TableDistribution:
    """From conditions (B, T) the distribution of sequences whose tables are drawn, one for each different condition.

    Args:
        space: of conditions and sequences.
        seed: draws the tables.
    """

    def __init__(self, space: SequenceSpace, seed: int) -> None:
        self.space, self.seed = space, seed
        self._distributions: dict[int, TabularOracle] = {}

    def __call__(self, conditions: Tensor) -> RowsOfTables:
        """The distribution, row by row.

        Raises:
            ShapeError: not (B, T), or an id outside the vocabulary.
        """
        _check_rows(self.space, conditions, len(conditions), "conditions")
        places = self.space.vocab_size ** torch.arange(conditions.shape[1])
        indices = (pad_after_end(self.space, conditions) * places).sum(1)
        return RowsOfTables([self._distribution(index) for index in indices.tolist()])

    def _distribution(self, index: int) -> TabularOracle:
        if index not in self._distributions:
            seed = np.random.SeedSequence((self.seed, index)).generate_state(1)[0]
            self._distributions[index] = TabularOracle.random(self.space, int(seed))
        return self._distributions[index]


def build_transduction_task(settings: TransductionTask) -> Task:
    """Build the task: conditions and, for each, a sequence from its distribution."""
    space, distribution = settings.space, _distribution_of(settings)
    splits: dict[str, tuple[Tensor, Tensor]] = {}
    numbers = {"train": settings.num_train, "valid": settings.num_valid, "test": settings.num_test}
    seeds = np.random.SeedSequence(settings.seed).generate_state(2 * len(numbers)).reshape(-1, 2)
    for (split, number), (condition_seed, seed) in zip(numbers.items(), seeds.tolist(), strict=True):
        conditions = uniform_conditions(space, number, condition_seed)
        splits[split] = conditions, distribution(conditions).sample(number, seed)
    token_names = tuple(str(token) for token in range(space.vocab_size))
    rule = settings.rule
    described = f"seed {rule.law_seed}" if isinstance(rule, RandomTable) else f"noise {rule.noise}"
    entropy = distribution(splits["valid"][0]).entropy
    conditions_of = seeded_conditions(partial(uniform_conditions, space))
    return Task(
        name="transduction",
        space=space,
        train=splits["train"][1],
        valid=splits["valid"][1],
        test=splits["test"][1],
        token_names=token_names,
        notes=(
            f"transduction: {rule.kind}, {described}, over {space.vocab_size} tokens, length "
            f"{'up to ' if settings.ends else ''}{space.max_length}; entropy {entropy:.6f} nats per token of valid",
            f"transduction: drew {numbers['train']} train, {numbers['valid']} valid, {numbers['test']} test pairs with "
            f"seed {settings.seed}",
            *stream_note("transduction", settings.is_stream),
        ),
        conditions=Conditions(
            space=space,
            train=splits["train"][0],
            valid=splits["valid"][0],
            test=splits["test"][0],
            token_names=token_names,
            distribution=distribution,
            stream=conditions_of if settings.is_stream else None,
        ),
        stream=stream_of_pairs(distribution, conditions_of) if settings.is_stream else None,
    )


def uniform_conditions(space: SequenceSpace, num_conditions: int, seed: int) -> Tensor:
    """Conditions (n, T) int64 of uniform tokens and, where they end early, uniform length; padded."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_conditions, space.max_length)
    if space.end_id is None:
        return torch.randint(space.vocab_size, shape, generator=generator)
    # The other tokens, whichever id the terminator has.
    ordinary = torch.randint(space.vocab_size - 1, shape, generator=generator)
    ordinary += (ordinary >= space.end_id).long()
    lengths = torch.randint(1, space.max_length, (num_conditions, 1), generator=generator)
    return pad_after_end(space, torch.where(torch.arange(space.max_length) < lengths, ordinary, space.end_id))


def _distribution_of(settings: TransductionTask) -> Callable[[Tensor], Oracle]:
    rule = settings.rule
    if isinstance(rule, RandomTable):
        return TableDistribution(settings.space, rule.law_seed)  # type: ignore[return-value]  # its entropy is a cached property
    return CopyDistribution(settings.space, rule.noise, reverses=isinstance(rule, Reverse))  # type: ignore[return-value]


def _x_log_x(value: float) -> float:
    return value * math.log(value) if value > 0.0 else 0.0


def _check_rows(space: SequenceSpace, tokens: Tensor, num_rows: int, name: str) -> None:
    is_whole = name == "tokens" or (tokens.dim() == 2 and tokens.shape[1] == space.max_length)
    if tokens.dim() != 2 or len(tokens) != num_rows or tokens.shape[1] > space.max_length or not is_whole:
        raise ShapeError(
            f"{name} has shape {tuple(tokens.shape)}: expected ({num_rows}, {space.max_length}), one row per "
            "condition.",
            code="transduction_shape",
        )
    if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < space.vocab_size:
        raise ShapeError(
            f"{name} holds ids {int(tokens.min())}..{int(tokens.max())}: allowed are 0..{space.vocab_size - 1}.",
            code="transduction_ids",
        )
