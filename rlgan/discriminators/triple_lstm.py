"""Three LSTMs: over the document, over the summary, and over the summary beside what it attends to in the document.

    h_x = RNN₁(x),  h_y = RNN₂(y)
    α_t = softmax_i(e(y_t)ᵀ W e(x_i)),  h_c = RNN₃([e(y_t) ; Σ_i α_ti e(x_i)])
    u   = MLP([h_x ; h_y ; h_c ; h_x ⊙ h_y])

The wiring is this project's, for the paper's is not known (docs/algorithms.md §16).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.layers.recurrent import last_states

from .discriminator import Architecture, Granularity, Reads
from .pair_discriminator import EmbeddedPair, PairDiscriminator, multilayer_perceptron


class TripleLSTM(Architecture):
    """Recurrent discriminator of pairs that attends to the condition. The paper gives no sizes."""

    not_searched: ClassVar[NotSearched] = NotSearched("needs a task with conditions")
    kind: Literal["triple_lstm"] = "triple_lstm"
    embedding: Annotated[int, Choice((32, 64, 128))] = Field(64, ge=1)
    """Width of both embeddings."""
    hidden: Annotated[int, Choice((64, 128, 256))] = Field(128, ge=1)
    """Width of each LSTM."""
    mlp_hidden: Annotated[int, Choice((64, 128, 256))] = Field(128, ge=1)
    """Width of the hidden layer that joins all three."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.25, ge=0.0, lt=1.0)
    """Dropout on the embeddings, and after the hidden layer."""
    members: Annotated[int, Choice((1, 4))] = Field(1, ge=1)
    """Number of networks that are trained side by side; their logits are averaged."""
    reads: ClassVar[Reads] = "pairs"
    granularity: ClassVar[Granularity] = "sequence"


class TripleLSTMDiscriminator(PairDiscriminator):
    """See the top of this file; the state of an RNN is an LSTM's last.

    Args:
        settings: sizes.
        space: the task's sequences.
    """

    def __init__(self, settings: TripleLSTM, space: SequenceSpace) -> None:
        super().__init__(space, settings.embedding)
        embedding, hidden = settings.embedding, settings.hidden
        self.dropout = nn.Dropout(settings.dropout)
        self.source_lstm = nn.LSTM(embedding, hidden, batch_first=True)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True)
        self.attending_lstm = nn.LSTM(2 * embedding, hidden, batch_first=True)
        self.attention = nn.Linear(embedding, embedding, bias=False)
        self.output = multilayer_perceptron(4 * hidden, settings.mlp_hidden, settings.dropout)

    def judge(self, pair: EmbeddedPair) -> Tensor:
        """Real-logits (B,); see `PairDiscriminator.judge`."""
        source, sequence = self.dropout(pair.source), self.dropout(pair.sequence)
        beside = torch.cat([sequence, self.shares(source, sequence, pair.source_mask) @ source], dim=2)
        of_source = last_states(self.source_lstm, source, pair.source_mask, pair.is_twice_differentiable)
        of_sequence = last_states(self.lstm, sequence, pair.mask, pair.is_twice_differentiable)
        of_both = last_states(self.attending_lstm, beside, pair.mask, pair.is_twice_differentiable)
        logits: Tensor = self.output(torch.cat([of_source, of_sequence, of_both, of_source * of_sequence], dim=1))
        return logits

    def shares(self, source: Tensor, sequence: Tensor, source_mask: Tensor) -> Tensor:
        """α (B, T, S) of embeddings (B, S, E) and (B, T, E), 0 where the mask (B, S) is False."""
        scores = self.attention(source) @ sequence.transpose(1, 2)
        return scores.transpose(1, 2).masked_fill(~source_mask.unsqueeze(1), -torch.inf).softmax(2)
