"""A language model in the discriminator's place: what it says of a token is its log-probability, and no verdict.

Less the generator's own log-probability that is a reward for every token
(`rlgan.policy.discriminator_rewards.LogRatio`). Trained on reals it is the LM-ratio discriminator (docs/algorithms.md
§7); on reals and fakes alike, the mediator of Cooperative Training (Lu et al. 2019). Its weight decay is its
optimiser's, `optimizers.discriminator.weight_decay`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from rlgan.base.errors import ShapeError
from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators import LSTM, Generator, build_generator

from .discriminator import Architecture, Discriminator, Granularity, PlainScorer, Reads, Scorer


class LanguageModel(Architecture):
    """LSTM language model with its own parameters: log p_φ of each token, given the tokens before it."""

    not_searched: ClassVar[NotSearched] = NotSearched("only for one loss: presets lm_ratio, mediator")
    kind: Literal["language_model"] = "language_model"
    embedding: Annotated[int, Choice((32, 48, 64))] = Field(48, ge=1)
    """Width of the token embedding."""
    hidden: Annotated[int, Choice((64, 96, 128))] = Field(96, ge=1)
    """Width of each layer."""
    layers: Annotated[int, Choice((1, 2))] = Field(1, ge=1)
    """Number of layers."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.3, ge=0.0, lt=1.0)
    """Dropout on the embedding and on the output of each layer."""
    tied: Annotated[bool, Choice((True, False))] = True
    """Whether the output layer shares the embedding matrix (Press & Wolf 2017), with a projection if the widths
    differ."""
    # Logits of members are averaged, and a geometric mean of distributions is no distribution: it does not sum to 1.
    members: ClassVar[int] = 1
    reads: ClassVar[Reads] = "sequences"
    granularity: ClassVar[Granularity] = "token"
    gives_distribution: ClassVar[bool] = True

    @property
    def network(self) -> LSTM:
        """The generator's network at these sizes."""
        return LSTM(
            embedding=self.embedding, hidden=self.hidden, layers=self.layers, dropout=self.dropout, tied=self.tied
        )


class LanguageModelDiscriminator(Discriminator):
    """u[b, t] = log p_φ(tokens[b, t] | tokens[b, :t]).

    It reads tokens alone: a distribution over tokens says nothing of a mixture of them.

    Args:
        model: the distribution p_φ.
    """

    def __init__(self, model: Generator) -> None:
        super().__init__()
        self.model = model

    @classmethod
    def of(cls, settings: LanguageModel, space: SequenceSpace) -> LanguageModelDiscriminator:
        """A fresh one for the sequences of `space`."""
        return cls(build_generator(settings.network, space))

    def forward(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Log-probabilities.

        Args:
            tokens: (B, T) int64.
            mask: (B, T) bool.
            conditions: (B, S) int64, for a model that reads some; else None.

        Returns:
            (B, T) float32, nats; 0 where the mask is False.

        Raises:
            ShapeError: soft rows.
        """
        if tokens.is_floating_point():
            raise ShapeError(
                f"tokens {tuple(tokens.shape)} {tokens.dtype}: a language model as discriminator reads tokens (B, T) "
                "int64, not soft rows. Use another discriminator.",
                code="language_model_reads_tokens",
            )
        return self.model.conditional(conditions).logprobs(tokens).masked_fill(~mask, 0.0)

    def penalty(self) -> Tensor:
        """None of its own."""
        return next(self.parameters()).new_zeros(())

    def scorer(self) -> Scorer:
        """A frozen copy; see `Discriminator.scorer`."""
        return PlainScorer(self)
