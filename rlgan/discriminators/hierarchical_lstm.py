"""An LSTM over words and one over what was said, turn by turn (dialogue, Li et al. 2017).

    v_k = last state of the word LSTM over utterance k:  the turns of the condition, then the response
    u   = w · (last state of the sentence LSTM over v_1 … v_K) + b

B pairs, K turns of a condition at most, S positions of a condition, E embedding, H hidden
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import turn_of_tokens
from rlgan.layers.recurrent import last_states

from .discriminator import Architecture, Granularity, Reads
from .pair_discriminator import EmbeddedPair, PairDiscriminator


class HierarchicalLSTM(Architecture):
    """Discriminator of dialogues as utterances of words. Published widths are 512; the defaults are smaller."""

    not_searched: ClassVar[NotSearched] = NotSearched("needs a task with conditions")
    kind: Literal["hierarchical_lstm"] = "hierarchical_lstm"
    embedding: Annotated[int, Choice((32, 64, 128))] = Field(64, ge=1)
    """Width of both embeddings."""
    hidden: Annotated[int, Choice((64, 128, 256))] = Field(128, ge=1)
    """Width of both LSTMs."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.2, ge=0.0, lt=1.0)
    """Dropout on the embeddings, on utterances, and before the output layer."""
    members: Annotated[int, Choice((1, 4))] = Field(1, ge=1)
    """Number of networks that are trained side by side; their logits are averaged."""
    reads: ClassVar[Reads] = "pairs"
    granularity: ClassVar[Granularity] = "sequence"


class HierarchicalLSTMDiscriminator(PairDiscriminator):
    """Embeddings, one word LSTM for all utterances, a sentence LSTM, linear output.

    A condition is divided where its space says so (`SequenceSpace.separator_id`), else it is one utterance. The two-way
    softmax of the paper is the logistic function of the difference of its inputs, which is the output here.

    Args:
        settings: sizes.
        space: the task's sequences.
    """

    def __init__(self, settings: HierarchicalLSTM, space: SequenceSpace) -> None:
        super().__init__(space, settings.embedding)
        self.dropout = nn.Dropout(settings.dropout)
        self.words = nn.LSTM(settings.embedding, settings.hidden, batch_first=True)
        self.sentences = nn.LSTM(settings.hidden, settings.hidden, batch_first=True)
        self.output = nn.Linear(settings.hidden, 1)

    def judge(self, pair: EmbeddedPair) -> Tensor:
        """Real-logits (B,); see `PairDiscriminator.judge`."""
        is_twice_differentiable = pair.is_twice_differentiable
        words, lengths = self._turns(pair)
        is_turn = lengths > 0
        is_word = torch.arange(words.shape[2], device=lengths.device) < lengths.unsqueeze(2)
        of_turns, of_response = (
            self.dropout(last_states(self.words, self.dropout(embedded), mask, is_twice_differentiable))
            for embedded, mask in ((words[is_turn], is_word[is_turn]), (pair.sequence, pair.mask))
        )

        number, most = lengths.shape
        utterances = of_turns.new_zeros(number, most + 1, of_turns.shape[1])
        utterances[:, :most][is_turn] = of_turns
        # Right behind the last turn: what is behind the response is padding.
        num_turns = is_turn.sum(1)
        utterances[torch.arange(number, device=num_turns.device), num_turns] = of_response
        is_utterance = torch.arange(most + 1, device=num_turns.device) <= num_turns.unsqueeze(1)
        state = last_states(self.sentences, utterances, is_utterance, is_twice_differentiable)
        logits: Tensor = self.output(self.dropout(state)).squeeze(1)
        return logits

    def _turns(self, pair: EmbeddedPair) -> tuple[Tensor, Tensor]:
        """Embedded words (B, K, S, E) of each turn, each from its first word on, and their numbers (B, K)."""
        mask = pair.source_mask
        turn = turn_of_tokens(self._source_space, pair.conditions)
        turns = torch.arange(int(turn.max()) + 1, device=turn.device).unsqueeze(1)
        lengths = (mask.unsqueeze(1) & (turn.unsqueeze(1) == turns)).sum(2)
        firsts = lengths.cumsum(1) - lengths
        row, position = mask.nonzero(as_tuple=True)
        of_turn = turn[row, position]
        words = pair.source.new_zeros(*lengths.shape, mask.shape[1], pair.source.shape[2])
        words[row, of_turn, position - firsts[row, of_turn]] = pair.source[row, position]
        return words, lengths
