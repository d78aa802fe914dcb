"""Convolutions over the grid of all pairs of a source and a target token (Adversarial-NMT, Wu et al. 2017).

    z[:, i, j] = [P_src e_src(x_i) ; P_tgt e_tgt(y_j)]
    twice:  z ← max-pool 2×2 (ReLU(batch-norm(conv 3×3 (z))))
    u = MLP(z)

Cells of padding are 0 before every convolution, as is what lies beyond the tensor, and no statistic counts them. ReLU
leaves nothing below 0, so a cell of 0 beside real ones never wins a maximum from them, and a pooled cell is real where
its upper left one is.

B pairs, S positions of a source, T of a target, P projection, C channels
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rlgan.base.declarations import Fields
from rlgan.base.problems import Problem
from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.layers.batch_norm import MaskedBatchNorm

from .discriminator import Architecture, Granularity, Reads
from .pair_discriminator import EmbeddedPair, PairDiscriminator, multilayer_perceptron

_GRID_NUMBERS = 32_000_000  # of the largest tensor in scoring: 128 MB, of which a few are held at once


class InteractionCnn(Architecture):
    """Discriminator that compares each source token with each target token, to judge alignment and fluency.

    Published sizes are 20 feature maps and 20 hidden units over embeddings as wide as the translator's (1,000 numbers
    per cell, 2E·S·T per pair); the projection keeps the grid small.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("needs a task with conditions")
    kind: Literal["interaction_cnn"] = "interaction_cnn"
    embedding: Annotated[int, Choice((32, 64, 128))] = Field(64, ge=1)
    """Width of both embeddings."""
    embeddings: Annotated[Literal["own", "generator"], Choice(("own", "generator"))] = "own"
    """Origin of both embeddings: its own, trained with everything else; or fixed copies of the generator's, made at
    the end of maximum-likelihood pretraining."""
    projection: Annotated[int, Choice((8, 16, 32))] = Field(16, ge=1)
    """Numbers per side in each cell of the grid; memory is 2·projection·S·T numbers per pair."""
    channels: Annotated[int, Choice((16, 20, 32))] = Field(20, ge=1)
    """Number of feature maps of both convolutions."""
    mlp_hidden: Annotated[int, Choice((20, 64, 128))] = Field(20, ge=1)
    """Width of the hidden layer after the convolutions."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.25, ge=0.0, lt=1.0)
    """Dropout after the hidden layer."""
    members: Annotated[int, Choice((1, 4))] = Field(1, ge=1)
    """Number of networks that are trained side by side; their logits are averaged."""
    reads: ClassVar[Reads] = "pairs"
    granularity: ClassVar[Granularity] = "sequence"

    @property
    def judges_rows_alone(self) -> bool:
        """See `Architecture.judges_rows_alone`: batch normalisation reads all rows."""
        return False

    @property
    def copies_embeddings(self) -> bool:
        """As `embeddings` says."""
        return self.embeddings == "generator"

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Embeddings that are copied are there, and as wide."""
        generator = fields.generator
        if not self.copies_embeddings:
            return
        if generator.table_width is None:
            yield Problem(
                "no_tables_to_copy",
                {"discriminator.embeddings": self.embeddings},
                (
                    f"copies two embedding tables, but generator={generator.kind!r} does not have them. Use generator "
                    "seq2seq_lstm, or set it to own."
                ),
            )
        elif self.embedding != generator.table_width:
            yield Problem(
                "tables_of_another_width",
                {"discriminator.embedding": self.embedding},
                (
                    f"must equal generator.embedding={generator.table_width} with "
                    "discriminator.embeddings='generator'. Set both to the same value."
                ),
            )


class InteractionCnnDiscriminator(PairDiscriminator):
    """See the top of this file.

    Args:
        settings: sizes.
        space: the task's sequences.
    """

    def __init__(self, settings: InteractionCnn, space: SequenceSpace) -> None:
        super().__init__(space, settings.embedding, is_frozen=settings.embeddings == "generator")
        source_length, length = self._source_space.max_length, space.max_length
        self._row_numbers = max(2 * settings.projection, settings.channels) * source_length * length
        self.source_projection = nn.Linear(settings.embedding, settings.projection, bias=False)
        self.projection = nn.Linear(settings.embedding, settings.projection, bias=False)
        self.blocks = nn.ModuleList(
            _Block(num_inputs, settings.channels) for num_inputs in (2 * settings.projection, settings.channels)
        )
        # Halved twice, rounded up.
        num_cells = -(-source_length // 4) * -(-length // 4)
        self.output = multilayer_perceptron(num_cells * settings.channels, settings.mlp_hidden, settings.dropout)

    @property
    def rows_at_once(self) -> int:
        """As many as bound memory; see `Discriminator.rows_at_once`."""
        return max(1, min(super().rows_at_once, _GRID_NUMBERS // self._row_numbers))

    def judge(self, pair: EmbeddedPair) -> Tensor:
        """Real-logits (B,); see `PairDiscriminator.judge`."""
        values, source_mask, mask = self.interaction(pair), pair.source_mask, pair.mask
        for block in self.blocks:
            values = block(values, source_mask.unsqueeze(2) & mask.unsqueeze(1))
            source_mask, mask = source_mask[:, ::2], mask[:, ::2]
        logits: Tensor = self.output(values.flatten(1))
        return logits

    def interaction(self, pair: EmbeddedPair) -> Tensor:
        """The grid z (B, 2P, S, T).

        z[b, :P, i, j] is of source token i whatever j, z[b, P:, i, j] of target token j whatever i. Both are projected
        before, for 2E·S·T numbers a pair would be many.
        """
        source = self.source_projection(pair.source).transpose(1, 2).unsqueeze(3)
        target = self.projection(pair.sequence).transpose(1, 2).unsqueeze(2)
        shape = (-1, -1, source.shape[2], target.shape[3])
        return torch.cat([source.expand(shape), target.expand(shape)], dim=1)


class _Block(nn.Module):
    def __init__(self, num_inputs: int, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(num_inputs, channels, 3, padding=1, bias=False)  # batch norm has one of its own
        self.norm = MaskedBatchNorm(channels)

    def forward(self, values: Tensor, is_real: Tensor) -> Tensor:
        """(B, C, S, T) to (B, C', ⌈S/2⌉, ⌈T/2⌉); is_real (B, S, T) bool."""
        responses = self.convolution(values * is_real.unsqueeze(1))
        normed = self.norm(responses.movedim(1, 3), is_real).movedim(3, 1)
        # Rounded up: the last token of an odd number has a cell, too.
        return functional.max_pool2d(functional.relu(normed), 2, ceil_mode=True)
