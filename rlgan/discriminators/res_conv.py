"""Residual convolutions without normalisation: the critic of WGAN-GP's character model (Gulrajani et al. 2017)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from rlgan.base.errors import ConfigError
from rlgan.base.search_priors import Choice
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.layers.residual import ResidualConvolutions

from .discriminator import Architecture, EmbeddingDiscriminator, Granularity, PlainScorer, Reads, Scorer, read_by


class ResConv(Architecture):
    """Discriminator of residual convolutions, with a separate weight for every position in the output layer."""

    kind: Literal["res_conv"] = "res_conv"
    width: Annotated[int, Choice((32, 64, 128))] = Field(512, ge=1)
    """Number of channels, and width of the embedding."""
    blocks: Annotated[int, Choice((1, 3, 5))] = Field(5, ge=1)
    """Number of residual blocks of two convolutions each."""
    window: Annotated[int, Choice((3, 5))] = Field(5, ge=1)
    """Window of every convolution in tokens; must be odd."""
    members: Annotated[int, Choice((1, 4))] = Field(1, ge=1)
    """Number of networks that are trained side by side; their logits are averaged."""
    reads: ClassVar[Reads] = "sequences"
    granularity: ClassVar[Granularity] = "sequence"
    gives_features: ClassVar[bool] = True

    @model_validator(mode="after")
    def _check(self) -> ResConv:
        if self.window % 2 == 0:
            raise ConfigError(
                f"discriminator.window={self.window}: must be odd. Use an odd number.",
                code="even_window",
                fields={"discriminator.window": self.window},
            )
        return self


class ResConvDiscriminator(EmbeddingDiscriminator):
    """Embedding, residual blocks, a linear layer over all positions and channels.

    The embedding is the released code's convolution of width 1 over one-hot rows, without its bias, which every row of
    the table holds. What lies beyond the mask is 0 before every convolution, as what lies beyond the tensor.

    Args:
        settings: sizes.
        space: the task's sequences.
    """

    def __init__(self, settings: ResConv, space: SequenceSpace) -> None:
        super().__init__()
        self.embedding = nn.Embedding(space.vocab_size, settings.width)
        self.blocks = ResidualConvolutions(settings.width, settings.blocks, settings.window)
        self.output = nn.Linear(space.max_length * settings.width, 1)
        nn.init.xavier_uniform_(self.embedding.weight)  # as a layer of V inputs

    def judge(self, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool) -> Tensor:
        """Real-logits; nothing here is without a second derivative."""
        channels = self.blocks(embedded.transpose(1, 2), mask)
        logits: Tensor = self.output(channels.flatten(1)).squeeze(1)
        return logits

    def output_features(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """What its output layer reads; see `Discriminator.output_features`."""
        return read_by(self.output, lambda: self(tokens, mask, conditions))

    def penalty(self) -> Tensor:
        """None of its own."""
        return self.output.bias.new_zeros(())

    def scorer(self) -> Scorer:
        """A frozen copy; see `Discriminator.scorer`."""
        return PlainScorer(self)
