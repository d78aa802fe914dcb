"""A world small enough to write down: the probability of every sequence is a table, so all truths are sums.

Without sizes and seed it is the fixed 3-token, 2-step distribution that the golden numbers of the tests belong to; else
the distribution is drawn from a seed.
"""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from rlgan.base.errors import ConfigError, ShapeError
from rlgan.base.settings import Settings

from ..sequence_space import SequenceSpace
from ..transition import pad_after_end, sequence_mask
from .task import Mode, Sides, Task, TaskMeasure, stream_note, stream_of

TOY_PROBS = ((0.20, 0.05, 0.05), (0.10, 0.15, 0.05), (0.05, 0.10, 0.25))
"""The fixed distribution: TOY_PROBS[y1][y2], entropy 1.006346 nats per token."""

MAX_SEQUENCES = 100_000


class ToyTask(Settings):
    """Sequences from a table of probabilities."""

    gives_conditions: ClassVar[bool] = False
    has_prompts: ClassVar[bool] = False
    language_model: ClassVar[None] = None
    knows_distribution: ClassVar[bool] = True
    has_real_sequences: ClassVar[bool] = True
    measures: ClassVar[frozenset[TaskMeasure]] = frozenset()
    are_words: ClassVar[Sides] = (False, False)
    is_certain: ClassVar[bool] = False
    kind: Literal["toy"] = "toy"

    vocab_size: int | None = Field(default=None, ge=2)
    """Number of tokens; None: 3."""

    max_length: int | None = Field(default=None, ge=1)
    """Maximum number of tokens of a sequence; None: 2. `vocab_size ** max_length` must be at most 100,000."""

    ends: bool = False
    """Whether token 0 is a terminator, so that sequences have different lengths."""

    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Seed of the sequences and of the distribution. None: 0, and a fixed 3 by 2 distribution if neither sizes nor
    `ends` are given."""

    mode: Mode = "fixed"
    """Whether training sequences are `num_train` fixed ones, or drawn anew each time that some are learned from or
    shown to the discriminator (stream); an epoch is then `num_train` new ones."""

    num_train: int = Field(default=2_000, ge=1)
    """Number of training sequences."""

    num_valid: int = Field(default=1_000, ge=1)
    """Number of validation sequences, for early stopping and model selection."""

    num_test: int = Field(default=1_000, ge=1)
    """Number of test sequences, for the reported metrics."""

    @property
    def is_stream(self) -> bool:
        """Whether training sequences are new each time."""
        return self.mode == "stream"

    @property
    def is_fixed_distribution(self) -> bool:
        """Whether the distribution is `TOY_PROBS`."""
        return self.vocab_size is None and self.max_length is None and self.seed is None and not self.ends

    @property
    def space(self) -> SequenceSpace:
        """The sequences that these settings speak of."""
        return SequenceSpace(self.vocab_size or 3, self.max_length or 2, end_id=0 if self.ends else None)

    @model_validator(mode="after")
    def _can_be_written_down(self) -> ToyTask:
        # Lengths past 17 are past the limit for every vocabulary, and their powers need not be computed.
        if self.space.max_length > 17 or self.space.vocab_size**self.space.max_length > MAX_SEQUENCES:
            raise ConfigError(
                f"vocab_size={self.space.vocab_size}, max_length={self.space.max_length}: vocab_size ** max_length "
                f"must be at most {MAX_SEQUENCES}. Lower one of them, or use the oracle task.",
                code="toy_too_large",
                fields={"vocab_size": self.space.vocab_size, "max_length": self.space.max_length},
            )
        return self


class TabularOracle:
    """An exactly known distribution, by the probability of every sequence; float64 inside.

    Args:
        space: the sequences.
        probs: (V, ..., V) or (V**T,) probabilities in lexicographic order of the sequences, last token fastest; where
            sequences may end early, exactly 0 for those that have anything but padding after the terminator.

    Raises:
        ShapeError: another number of entries than V**T.
        ConfigError: negative, not summing to 1, or not 0 after the terminator.
    """

    def __init__(self, space: SequenceSpace, probs: Tensor) -> None:
        size, length = space.vocab_size, space.max_length
        if probs.numel() != size**length:
            raise ShapeError(
                f"probs has shape {tuple(probs.shape)}: expected {size}**{length} entries in total.", code="probs_shape"
            )
        table = probs.double().reshape(-1)
        if not bool((table >= 0).all()) or abs(float(table.sum()) - 1) > 1e-6:
            raise ConfigError(
                f"probs: minimum {float(table.min())}, sum {float(table.sum())}; expected values >= 0 with sum 1.",
                code="probs_values",
            )
        sequences = torch.tensor(list(itertools.product(range(size), repeat=length)))
        legal = (pad_after_end(space, sequences) == sequences).all(1)
        if bool((table[~legal] != 0).any()):
            raise ConfigError(
                "probs: a sequence with tokens after its terminator has a positive probability; expected 0.",
                code="probs_after_end",
            )
        self.space = space
        self._table = table / table.sum()
        self._legal = legal
        self._sequences = sequences
        # _prefix_probs[t] is (V**t,): the probability of every prefix of t tokens.
        self._prefix_probs = [self._table.view(size**t, -1).sum(1) for t in range(length + 1)]

    @classmethod
    def fixed(cls) -> TabularOracle:
        """The distribution `TOY_PROBS`."""
        return cls(SequenceSpace(3, 2), torch.tensor(TOY_PROBS, dtype=torch.float64))

    @classmethod
    def random(cls, space: SequenceSpace, seed: int) -> TabularOracle:
        """A distribution whose logits of each token given each prefix are drawn from N(0,1)."""
        rng = np.random.default_rng(seed)
        size = space.vocab_size
        probs = torch.ones(1, dtype=torch.float64)
        ended = torch.zeros(1, dtype=torch.bool)
        for t in range(space.max_length):
            conditional = torch.from_numpy(rng.standard_normal((size**t, size))).softmax(1)
            if space.end_id is not None:
                only_padding = torch.zeros(size, dtype=torch.float64)
                only_padding[space.pad_id] = 1.0
                conditional[ended] = only_padding
                ended = (ended.unsqueeze(1) | (torch.arange(size) == space.end_id)).reshape(-1)
            probs = (probs.unsqueeze(1) * conditional).reshape(-1)
        return cls(space, probs)

    def sequences(self) -> Tensor:
        """All (n, T) int64 sequences there are, padded after the terminator, in lexicographic order."""
        return self._sequences[self._legal]

    def probs(self) -> Tensor:
        """(n,) float64 probability of each of `sequences()`; sums to 1."""
        return self._table[self._legal]

    @cached_property
    def entropy(self) -> float:
        """Exact entropy in nats per token: H(p) over the mean length, which is T where sequences cannot end early."""
        probs = self.probs()
        return -float(torch.special.xlogy(probs, probs).sum()) / self.mean_length

    @cached_property
    def mean_length(self) -> float:
        """Exact mean number of tokens of a sequence, the terminator included."""
        return float((self.probs() * sequence_mask(self.space, self.sequences()).sum(1)).sum())

    def logprobs(self, tokens: Tensor) -> Tensor:
        """Log-probability of each token given its prefix.

        Args:
            tokens: (B, T') int64, T' <= T.

        Returns:
            (B, T') float32, in nats; exactly 0 after the terminator, -inf where a token cannot be.

        Raises:
            ShapeError: not two-dimensional, too long, or an id outside the vocabulary.
        """
        size = self.space.vocab_size
        if tokens.dim() != 2 or tokens.shape[1] > self.space.max_length:
            raise ShapeError(
                f"tokens has shape {tuple(tokens.shape)}: expected (B, T) with T at most {self.space.max_length}.",
                code="toy_tokens_shape",
            )
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < size:
            raise ShapeError(
                (f"tokens holds ids {int(tokens.min())}..{int(tokens.max())}: the distribution has ids 0..{size - 1}."),
                code="toy_token_ids",
            )
        tokens = pad_after_end(self.space, tokens)
        prefix = torch.zeros(tokens.shape[0], dtype=torch.int64)
        logprobs = torch.empty(tokens.shape, dtype=torch.float64)
        for t in range(tokens.shape[1]):
            before = self._prefix_probs[t][prefix]
            prefix = prefix * size + tokens[:, t]
            # After a prefix that cannot be, nothing can be: log 0 rather than 0/0.
            after = self._prefix_probs[t + 1][prefix]
            logprobs[:, t] = torch.where(before > 0, after / before, 0.0).log()
        return logprobs.float()

    def sample(self, num_sequences: int, seed: int) -> Tensor:
        """Draw (B, T) int64 sequences; `seed` seeds the draw completely."""
        generator = torch.Generator().manual_seed(seed)
        return self.at_quantiles(torch.rand(num_sequences, generator=generator, dtype=torch.float64))

    def at_quantiles(self, levels: Tensor) -> Tensor:
        """Sequences (B, T) int64 at levels (B,) float64 in [0, 1), in lexicographic order; uniform levels sample."""
        cdf = self._table.cumsum(0)
        # Rounding leaves the last entry beside 1, so the level is scaled by it; no entry of probability 0 is drawn.
        index = torch.searchsorted(cdf, levels * cdf[-1], right=True)
        last = torch.searchsorted(cdf, cdf[-1:])
        return self._sequences[torch.minimum(index, last)]


def build_toy_task(settings: ToyTask) -> Task:
    """Build the task: the table and three independent draws from it."""
    seed = settings.seed or 0
    oracle = TabularOracle.fixed() if settings.is_fixed_distribution else TabularOracle.random(settings.space, seed)
    seeds = np.random.SeedSequence(seed).generate_state(3)
    train, valid, test = (
        oracle.sample(number, int(split_seed))
        for number, split_seed in zip((settings.num_train, settings.num_valid, settings.num_test), seeds, strict=True)
    )
    distribution = (
        "the fixed distribution" if settings.is_fixed_distribution else f"a random distribution with seed {seed}"
    )
    return Task(
        name="toy",
        space=oracle.space,
        train=train,
        valid=valid,
        test=test,
        token_names=tuple(str(token) for token in range(oracle.space.vocab_size)),
        oracle=oracle,  # type: ignore[arg-type]  # its entropy is a cached property: computed when first asked for
        stream=stream_of(oracle) if settings.is_stream else None,  # type: ignore[arg-type]
        notes=(
            f"toy: {distribution} over {len(oracle.sequences())} sequences of {oracle.space.vocab_size} tokens, "
            f"length {'up to ' if settings.ends else ''}{oracle.space.max_length}; entropy {oracle.entropy:.6f} "
            "nats per token",
            f"toy: drew {len(train)} train, {len(valid)} valid, {len(test)} test sequences with seed {seed}",
            *stream_note("toy", settings.is_stream),
        ),
    )
