"""Transformer decoder as generator; what it is made of is in `transformer_stack.py`."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rlgan.base.weights import frozen_copy
from rlgan.envs.sequence_space import SequenceSpace

from .generator import AutoregressiveGenerator, State, Stepper
from .transformer_stack import Cache, Decoder, TransformerSizes


class TransformerDecoder(TransformerSizes):
    """Transformer generator."""

    kind: Literal["transformer"] = "transformer"


class TransformerGenerator(Decoder, AutoregressiveGenerator):
    """Embedding and learned positions, layers, layer norm, linear output.

    Args:
        settings: sizes.
        space: the task's sequences.
    """

    relaxes = True

    def __init__(self, settings: TransformerDecoder, space: SequenceSpace) -> None:
        super().__init__(settings, space)
        self.begin(settings)

    def forward(self, inputs: Tensor) -> Tensor:
        """Next-token logits; see `AutoregressiveGenerator.forward`."""
        logits: Tensor = self.output(self.features(inputs))
        return logits

    def logprobs(self, tokens: Tensor, temperature: float = 1.0, read: Tensor | None = None) -> Tensor:
        """Log-probability of each token; see `Distribution.logprobs`."""
        return self.logprobs_of(tokens, temperature, read, None)

    def relaxed(self, noise: Tensor, temperature: float, straight_through: bool) -> tuple[Tensor, Tensor]:
        """Sequences as differentiable functions of noise; see `Distribution.relaxed`."""
        return self.relaxed_of(noise, temperature, straight_through, None)

    def stepper(self, temperature: float = 1.0) -> TransformerStepper:
        """A frozen copy for sampling; see `Generator.stepper`."""
        return TransformerStepper(self, temperature)


class TransformerStepper(Stepper):
    """A step of one token on kept keys and values; its states are those of `Cache`."""

    def __init__(self, generator: TransformerGenerator, temperature: float) -> None:
        self._cache = Cache(frozen_copy(generator), temperature)

    def start(self, num_rows: int, rng: torch.Generator | None = None) -> State:
        """State of empty prefixes; see `Stepper.start`."""
        return self._cache.start(num_rows)

    def advance(self, state: State, tokens: Tensor) -> State:
        """State after one more token; see `Stepper.advance`."""
        return self._cache.advance(state, tokens)

    def select(self, state: State, rows: Tensor) -> State:
        """A state of some rows; see `Stepper.select`."""
        return self._cache.select(state, rows)

    def prefix_states(self, tokens: Tensor) -> State:
        """States of all prefixes, by one pass over whole sequences; see `Stepper.prefix_states`."""
        return self._cache.prefix_states(tokens)

    def weights(self, state: State) -> Tensor:
        """Unnormalised next-token probabilities; see `Stepper.weights`."""
        return self._cache.weights(state)
