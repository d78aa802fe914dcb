"""What discriminators of (condition, sequence) pairs share: two embeddings, two masks, and no way around the condition.

B pairs, S positions of a condition, T of a sequence, E embedding
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from rlgan.base.errors import ConfigError
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.layers.embeddings import FrozenEmbedding, TokenEmbedding

from .discriminator import Discriminator, PlainScorer, Scorer, embed


@dataclass(frozen=True, slots=True)
class EmbeddedPair:
    """Conditions and sequences, embedded.

    Attributes:
        conditions: (B, S) int64.
        source: (B, S, E) embeddings of the conditions.
        source_mask: (B, S) bool.
        sequence: (B, T, E) embeddings of the sequences.
        mask: (B, T) bool.
        is_twice_differentiable: leave out what is faster but has no second derivative.
    """

    conditions: Tensor
    source: Tensor
    source_mask: Tensor
    sequence: Tensor
    mask: Tensor
    is_twice_differentiable: bool


class PairDiscriminator(Discriminator):
    """A discriminator that knows of the tokens of both sides no more than their embeddings.

    The embeddings are two, for alphabets may differ, and a word may mean one thing in a question and another in an
    answer.

    Args:
        space: the task's sequences.
        embedding: width E of both embeddings.
        is_frozen: both embeddings are tables that are put there with the weights, and that nobody learns.

    Attributes:
        source_embedding: a row for each token of a condition.
        embedding: a row for each token of a sequence.

    Raises:
        ConfigError: the sequences are given nothing.
    """

    def __init__(self, space: SequenceSpace, embedding: int, is_frozen: bool = False) -> None:
        super().__init__()
        if space.condition is None:
            raise ConfigError(
                f"{type(self).__name__}: judges pairs, but these sequences have no conditions. Use a discriminator "
                "of sequences.",
                code="pairs_without_conditions",
            )
        self._source_space = space.condition
        table = FrozenEmbedding if is_frozen else nn.Embedding
        self.source_embedding: TokenEmbedding = table(space.condition.vocab_size, embedding)
        self.embedding: TokenEmbedding = table(space.vocab_size, embedding)

    def forward(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Real-logits (B,); see `Discriminator.forward`.

        Raises:
            ValueError: no conditions.
        """
        return self.judge(self.embedded(tokens, mask, conditions))

    def embedded(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None) -> EmbeddedPair:
        """Both sides embedded; arguments as those of `forward`."""
        if conditions is None:
            raise ValueError(f"{type(self).__name__} needs conditions.")
        return EmbeddedPair(
            conditions,
            embed(self.source_embedding, conditions),
            sequence_mask(self._source_space, conditions),
            embed(self.embedding, tokens),
            mask,
            is_twice_differentiable=tokens.is_floating_point(),
        )

    @abstractmethod
    def judge(self, pair: EmbeddedPair) -> Tensor:
        """Real-logits (B,) of embedded pairs."""

    def penalty(self) -> Tensor:
        """None of its own."""
        return self.embedding.weight.new_zeros(())

    def scorer(self) -> Scorer:
        """A frozen copy, which normalises by running means; see `Discriminator.scorer`."""
        return PlainScorer(self)


def multilayer_perceptron(num_inputs: int, hidden: int, dropout: float) -> nn.Sequential:
    """(B, F) to (B,): a hidden layer of ReLUs, dropout, and a linear output."""
    return nn.Sequential(
        nn.Linear(num_inputs, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 1), nn.Flatten(0)
    )
