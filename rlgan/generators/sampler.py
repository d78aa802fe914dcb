"""The seam between a generator and whoever wants sequences of it: conditions in, tokens and log-probabilities out.

Nothing behind this seam is asked how it draws. `rlgan.sampling.sampler.StepperSampler` stands behind it for every
generator that hands out a stepper; a language model with a batched `generate` of its own hands out its own
(`Generator.own_sampler`).

    B sequences, T positions, N continuations a prefix, R rows, S positions of a condition
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rlgan.base.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Draw:
    """Which distribution a token is drawn from: the generator's, sharpened and then cut.

    In this order: logits are divided by `temperature`; of the distribution that results the `top_k` likeliest tokens
    are kept, and it is normalised anew; of that, the fewest of the likeliest tokens whose probabilities sum to `top_p`
    or more. Among tokens of equal probability the lower id counts as the likelier, so exactly `top_k` tokens are kept
    at most, and at least one always is. Sums are float64.

    Source: top-k of Fan et al. 2018, top-p (nucleus) of Holtzman et al. 2020, section 3.1.

    Attributes:
        temperature: τ above 0.
        top_k: at least 1; None keeps all.
        top_p: in (0, 1]; None and 1 keep all.

    Raises:
        ConfigError: a value is out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.temperature < math.inf:
            raise ConfigError(
                f"temperature={self.temperature:g}: must be a positive number. For the most likely token at each "
                "step set top_k to 1.",
                code="temperature",
                fields={"temperature": self.temperature},
            )
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(
                f"top_k={self.top_k}: must be at least 1. Set it to 1 or more, or remove it to keep all tokens.",
                code="top_k",
                fields={"top_k": self.top_k},
            )
        if self.top_p is not None and not 0.0 < self.top_p <= 1.0:
            raise ConfigError(
                f"top_p={self.top_p:g}: must be above 0 and at most 1. Set it to a value such as 0.9, or remove it "
                "to keep all tokens.",
                code="top_p",
                fields={"top_p": self.top_p},
            )

    @property
    def truncates(self) -> bool:
        """Whether any token may be cut off."""
        return self.top_k is not None or (self.top_p is not None and self.top_p < 1.0)


@dataclass(frozen=True, slots=True)
class Samples:
    """Finished sequences with the log-probabilities under the distribution that drew them.

    Attributes:
        tokens: (B, T) int64, padded after the terminator.
        logprobs: (B, T) float32 nats, 0 after the terminator.
        mask: (B, T) bool.
        latents: (B, Z) float32 that they were drawn given, as the log-probabilities are; None where there are none.
    """

    tokens: Tensor
    logprobs: Tensor
    mask: Tensor
    latents: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Continuations:
    """Finished continuations of some prefixes.

    Attributes:
        tokens: (R, T) int64; row r agrees with `sequences[sequence[r]]` up to and including position `position[r]`.
        sequence: (R,) int64 index of the sequence whose prefix was continued.
        position: (R,) int64 last position of that prefix.
        rollout: (R,) int64 in 0..N-1, which continuation of that prefix it is.
    """

    tokens: Tensor
    sequence: Tensor
    position: Tensor
    rollout: Tensor


@dataclass(frozen=True, slots=True)
class Decoded:
    """The best sequence of each row.

    Attributes:
        tokens: (B, T) int64, padded after the terminator.
        logprobs: (B,) float32, nats, of the whole sequence.
    """

    tokens: Tensor
    logprobs: Tensor


class Sampler(Protocol):
    """Makes finished sequences of one space from one version of a generator's weights.

    A pure function of those weights, its arguments and the random numbers that it is handed: who calls it, and in which
    process, changes nothing.
    """

    def sample(
        self,
        num_sequences: int,
        rng: torch.Generator,
        prefixes: Tensor | None = None,
        conditions: Tensor | None = None,
    ) -> Samples:
        """Draw finished sequences.

        Args:
            num_sequences: B.
            rng: source of all randomness.
            prefixes: (B, n) int64 first tokens that are not drawn; one with a terminator is a whole sequence.
            conditions: (B, S) int64, or None.

        Returns:
            B sequences; the log-probabilities of `prefixes` are 0.
        """
        ...

    def continuations(
        self,
        tokens: Tensor,
        num_continuations: int,
        rng: torch.Generator,
        prefix_length: int = 0,
        conditions: Tensor | None = None,
        latents: Tensor | None = None,
    ) -> Iterator[Continuations]:
        """Finish every proper prefix of every sequence N times.

        The prefix *includes* the action whose value is sought: position t stands for `tokens[b, :t+1]`. The last real
        position is not continued, for there the sequence itself is the only completion (Yu et al. 2017, eq. 4).

        Args:
            tokens: (B, T) int64 finished sequences.
            num_continuations: N of each prefix.
            rng: source of all randomness.
            prefix_length: first tokens that were not drawn, whose values nobody seeks.
            conditions: (B, S) int64, or None.
            latents: (B, Z) float32 of the sequences, which their continuations share; None where there are none.

        Yields:
            Continuations of all (prefix, continuation) rows, ordered by prefix length.
        """
        ...

    def likeliest(
        self, num_sequences: int, beam: int = 1, exponent: float = 0.0, conditions: Tensor | None = None
    ) -> Decoded:
        """The likeliest sequences that a search finds; nothing is drawn.

        Args:
            num_sequences: B.
            beam: K beams; 1 takes the likeliest token at each step.
            exponent: of `rlgan.sampling.beam_search.length_penalty`, by which the beams are ranked at the end.
            conditions: (B, S) int64, or None.
        """
        ...

    def hypotheses(self, num_sequences: int, beam: int, conditions: Tensor | None = None) -> Tensor:
        """All beams of such a search, (B · K, T) int64, those of a sequence together and the likeliest first.

        Raises:
            ConfigError: it finds one sequence alone.
        """
        raise ConfigError(
            f"schedule.behaviour='beams': {type(self).__name__} does not return the hypotheses of a search. Set it to "
            "own.",
            code="sampler_without_hypotheses",
            fields={"schedule.behaviour": "beams"},
        )
