"""The generator of WGAN-GP's character model (Gulrajani et al. 2017).

    z ~ N(0, I) → linear → residual convolutions → softmax at every position, all positions at once

It draws no tokens: its rows are soft, and what it writes is their argmax. So it has no likelihood, no prefixes and no
temperature.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from rlgan.base.errors import ConfigError
from rlgan.base.search_priors import NotSearched
from rlgan.base.weights import frozen_copy
from rlgan.envs.categorical import padded_vocab_size
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.layers.relaxation import Relaxation, normal_of_rows
from rlgan.layers.residual import ResidualConvolutions

from .generator import Distribution, Generator, GeneratorKind, State, Stepper


class LatentConv(GeneratorKind):
    """Residual convolutions of noise that generate all tokens at once."""

    has_likelihood: ClassVar[bool] = False
    draws_tokens: ClassVar[bool] = False
    relaxes: ClassVar[bool] = True
    not_searched: ClassVar[NotSearched] = NotSearched("has no likelihood, and is trained by objective soft only")
    kind: Literal["latent_conv"] = "latent_conv"
    latent: int = Field(128, ge=1)
    """Width of the noise."""
    width: int = Field(512, ge=1)
    """Number of channels."""
    blocks: int = Field(5, ge=1)
    """Number of residual blocks of two convolutions each."""
    window: int = Field(5, ge=1)
    """Window of every convolution in tokens; must be odd."""

    @model_validator(mode="after")
    def _check(self) -> LatentConv:
        if self.window % 2 == 0:
            raise ConfigError(
                f"generator.window={self.window}: must be odd. Use an odd number.",
                code="generator_even_window",
                fields={"generator.window": self.window},
            )
        return self


class LatentConvGenerator(Generator):
    """Linear layer from noise to channels at every position, residual blocks, a convolution of width 1 to tokens.

    Args:
        settings: sizes.
        space: the task's sequences.
    """

    has_likelihood, draws_tokens, relaxes = False, False, True

    def __init__(self, settings: LatentConv, space: SequenceSpace) -> None:
        super().__init__()
        self.vocab_size, self.latent = space.vocab_size, settings.latent
        self._shape = (settings.width, space.max_length)
        self.input = nn.Linear(settings.latent, settings.width * space.max_length)
        self.blocks = ResidualConvolutions(settings.width, settings.blocks, settings.window)
        self.output = nn.Conv1d(settings.width, space.vocab_size, 1)

    def forward(self, noise: Tensor) -> Tensor:
        """Logits (B, T, V) of all positions from noise (B, latent), float32."""
        channels = self.blocks(self.input(noise).unflatten(1, self._shape))
        logits: Tensor = self.output(channels)
        return logits.transpose(1, 2)

    def conditional(self, conditions: Tensor | None) -> Distribution:
        """It has no distribution; see `Generator.conditional`.

        Raises:
            ValueError: always.
        """
        raise ValueError("a generator that draws no tokens has no distribution over tokens.")

    def soft_rows(
        self, space: SequenceSpace, seeds: Tensor, relaxation: Relaxation | None, conditions: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What the noise becomes; see `Generator.soft_rows`."""
        if relaxation is not None or conditions is not None:
            raise ValueError("a generator that draws no tokens has nothing to relax, and cannot read conditions.")
        noise = normal_of_rows(seeds, self.latent).to(self.input.weight.device)
        logits = self(noise)
        return torch.softmax(logits, dim=2), logits.argmax(2)

    def stepper(self, temperature: float = 1.0) -> LatentConvStepper:
        """A frozen copy for sampling; see `Generator.stepper`.

        Raises:
            ConfigError: another temperature than 1.
        """
        if temperature != 1.0:
            raise ConfigError(
                f"temperature={temperature:g}: has no effect on generator='latent_conv', which always returns its "
                "most likely tokens. Leave it at 1.",
                code="temperature_no_effect",
                fields={"temperature": temperature},
            )
        return LatentConvStepper(self)


class LatentConvStepper(Stepper):
    """Hands out, token by token, what was written at once.

    The state of a row is (all its tokens (T,), number of tokens consumed ()).
    """

    @torch.no_grad()
    def __init__(self, generator: LatentConvGenerator) -> None:
        self._generator = frozen_copy(generator)
        self._padded = padded_vocab_size(generator.vocab_size)

    @torch.no_grad()
    def start(self, num_rows: int, rng: torch.Generator | None = None) -> State:
        """Sequences of fresh noise; see `Stepper.start`.

        Raises:
            ValueError: no source of noise.
        """
        if rng is None:
            raise ValueError("a generator of noise needs a random number generator.")
        noise = torch.randn(num_rows, self._generator.latent, generator=rng, device=rng.device)
        tokens = self._generator(noise).argmax(2)
        return tokens, torch.zeros_like(tokens[:, 0])

    def advance(self, state: State, tokens: Tensor) -> State:
        """Go on to the next position; see `Stepper.advance`. What was consumed changes nothing."""
        written, consumed = state
        return written, consumed + 1

    def weights(self, state: State) -> Tensor:
        """1 at the token that stands next; see `Stepper.weights`."""
        written, consumed = state
        following = written.gather(1, consumed.unsqueeze(1))
        weights = torch.zeros(written.shape[0], self._padded, device=written.device)
        return weights.scatter_(1, following, 1.0)
