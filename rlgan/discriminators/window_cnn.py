"""A discriminator of windows: each token is judged with a few before it, and nothing else is seen.

The form of PatchGAN (Isola et al. 2017, section 3.2.2), whose discriminator judges patches of an image: local texture
has a dense reward, and what lies further apart is left to others.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.layers.embeddings import NoPretrained, Pretrained, TokenEmbedding, build_embedding, embedding_width

from .discriminator import Architecture, EmbeddingDiscriminator, Granularity, PlainScorer, Reads, Scorer


class WindowCnn(Architecture):
    """Convolutional discriminator with one logit per token, which sees that token and a few before it."""

    not_searched: ClassVar[NotSearched] = NotSearched("part of a method's definition: preset window_gan")
    kind: Literal["window_cnn"] = "window_cnn"
    embedding: Annotated[int, Choice((32, 64))] = Field(32, ge=1)
    """Width of the token embedding, without the columns of `pretrained`."""
    pretrained: Pretrained = NoPretrained()
    """Additional columns that are initialised from a file of word vectors."""
    window: Annotated[int, Choice((2, 3, 5))] = Field(3, ge=1)
    """Number of tokens that a logit sees: the judged one and those before it."""
    filters: Annotated[int, Choice((64, 128, 256))] = Field(128, ge=1)
    """Number of filters of the window."""
    hidden: Annotated[int, Choice((64, 128))] = Field(64, ge=1)
    """Width of the layer between filters and logit."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.25, ge=0.0, lt=1.0)
    """Dropout before the output layer."""
    members: Annotated[int, Choice((1, 4))] = Field(1, ge=1)
    """Number of networks that are trained side by side; their logits are averaged."""
    reads: ClassVar[Reads] = "sequences"
    granularity: ClassVar[Granularity] = "token"
    within_sequences: ClassVar[tuple[str, ...]] = ("window",)


class WindowCnnDiscriminator(EmbeddingDiscriminator):
    """Embedding, one convolution over windows that end at the token, a layer, linear output at every token.

        u_t = wᵀ ReLU(A ReLU(Σ_{k<n} K_k e(y_{t−k}) + b) + a) + c

    Args:
        settings: sizes.
        space: the task's sequences.
    """

    embedding: TokenEmbedding

    def __init__(self, settings: WindowCnn, space: SequenceSpace) -> None:
        super().__init__()
        self.window = settings.window
        self.embedding = build_embedding(space.vocab_size, settings.embedding, settings.pretrained)
        width = embedding_width(settings.embedding, settings.pretrained)
        self.filters = nn.Conv1d(width, settings.filters, settings.window)
        self.layer = nn.Linear(settings.filters, settings.hidden)
        self.dropout = nn.Dropout(settings.dropout)
        self.output = nn.Linear(settings.hidden, 1)

    def judge(self, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool) -> Tensor:
        """Real-logits (B, T), 0 where the mask is False; nothing here is without a second derivative."""
        # Before the first token stands nothing, which no embedding is likely to be.
        before = functional.pad(embedded.transpose(1, 2), (self.window - 1, 0))
        seen = functional.relu(self.filters(before)).transpose(1, 2)
        logits: Tensor = self.output(self.dropout(functional.relu(self.layer(seen)))).squeeze(2)
        return logits.masked_fill(~mask, 0.0)

    def penalty(self) -> Tensor:
        """None of its own."""
        return self.output.weight.new_zeros(())

    def scorer(self) -> Scorer:
        """A frozen copy; see `Discriminator.scorer`."""
        return PlainScorer(self)
