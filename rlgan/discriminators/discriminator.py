"""What the trainer asks of a discriminator.

A discriminator is a plain `torch.nn.Module` from finished sequences, and from what they are given where they are given
something, to one logit each, or to one for each of their tokens given those before it; positive means real. It also
reads *soft rows*, points of the simplex in the place of tokens, through which it can be differentiated twice. For
scoring it hands out a frozen copy that may be fused in any way that leaves the values unchanged, dropout off.

A language model (`language_model.py`) keeps to all of this but two things: its logits are log-probabilities, and it
reads no soft rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn
from typing_extensions import Self

from rlgan.base.errors import ConfigError
from rlgan.base.pretrained import HubModel, ModelFolder
from rlgan.base.settings import Settings
from rlgan.base.weights import Tensors, frozen_copy
from rlgan.envs.model_tokens import ModelTokens
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators.generator import SavedModel
from rlgan.layers.embeddings import TokenEmbedding
from rlgan.layers.prefix_features import FeatureSizes

from .duels import Duels

Granularity = Literal["sequence", "token"]
"""What has a logit of its own: a finished sequence, or each token given those before it. Settings of a discriminator
say it as `granularity`."""


Reads = Literal["sequences", "pairs", "either"]
"""What is judged: sequences that are given nothing, pairs of a condition and a sequence, or whichever there is.
Settings of a discriminator say it as `reads`."""


class Architecture(Settings):
    """What every discriminator's settings declare. Beside these each has `reads`, `granularity` and `members`."""

    gives_distribution: ClassVar[bool] = False
    """Whether its logits are log-probabilities of tokens under its own distribution."""
    ranks: ClassVar[bool] = False
    """Whether its logits are log rank scores among other sequences, instead of verdicts."""
    writes_verdicts: ClassVar[bool] = False
    """Whether it reads two answers to one prompt and writes which is the real one (`Discriminator.verdict_logprobs`).
    It then has no logit of one sequence."""
    has_embedding: ClassVar[bool] = True
    """Whether it embeds tokens, so that a gradient penalty can be computed on embeddings."""
    gives_features: ClassVar[bool] = False
    """Whether it has features of a whole sequence, which its output layer reads (`Discriminator.output_features`)."""
    within_sequences: ClassVar[tuple[str, ...]] = ()
    """Names of settings that count tokens, and may not be above the length of the longest sequence."""
    within_reals: ClassVar[tuple[str, ...]] = ()
    """Names of settings that count real sequences, and may not be above those that a round is shown."""
    for_tokens: ClassVar[str] = ""
    """What to do, as errors advise it, so that each token has a logit; "" where it cannot be done."""
    for_conditions: ClassVar[str] = ""
    """What to do so that it reads conditions, likewise."""

    @property
    def has_spectral_norm(self) -> bool:
        """Whether its slope is bounded by dividing matrices by their greatest singular values."""
        return False

    @property
    def judges_rows_alone(self) -> bool:
        """Whether no logit depends on other sequences while it learns: a minibatch may go through in parts."""
        return not self.has_spectral_norm

    @property
    def reads_soft_rows(self) -> bool:
        """Whether it reads soft rows in the place of tokens, and is twice differentiable in them."""
        return not self.gives_distribution

    @property
    def reads_files(self) -> bool:
        """Whether it begins with the weights of files (`Discriminator.take_files`)."""
        return False

    @property
    def began_as(self) -> ModelFolder | HubModel | None:
        """The model of `transformers` whose files it begins with; None of others."""
        return None

    @property
    def begins_as_generator(self) -> bool:
        """Whether it takes the generator's weights when pretraining is over."""
        return False

    def settled(self, generator: object) -> Self:
        """The same with all that it would read of a file but weights, so that a run can be read without the file.

        Args:
            generator: settings of the run's generator, settled themselves.

        Raises:
            DataError: a file is missing or damaged.
        """
        return self

    def begun_as(self, space: SequenceSpace, own: Tensors, generator: Tensors) -> Tensors:
        """Weights of a discriminator that begins as the generator; others keep their own.

        Args:
            space: the task's sequences.
            own: its weights, name → tensor.
            generator: the generator's.
        """
        return own

    @property
    def copies_embeddings(self) -> bool:
        """Whether its embeddings are copies of the generator's, made when pretraining is over."""
        return False

    @property
    def prefix_features(self) -> FeatureSizes | None:
        """Sizes of the features that a generator may copy (`rlgan.layers.prefix_features`); None where it has none."""
        return None


class Scorer(Protocol):
    """A frozen discriminator: no dropout, no autograd."""

    def __call__(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Real-logits float32 of sequences (B, T), positive means real: (B,), or (B, T) where tokens are judged.

        Conditions (B, S) int64 are what they are given; None where they are given nothing.
        """
        ...


@dataclass(frozen=True, slots=True)
class TextsOfRun:
    """What the texts of a run are.

    Attributes:
        tokens: of the language model in whose tokens sequences are written; None where they are the task's own.
        is_chat: whether prompts are put into the chat template of those tokens.
    """

    tokens: ModelTokens | None
    is_chat: bool


class Discriminator(nn.Module, ABC):
    """Scores finished sequences, or each of their tokens.

    Attributes:
        num_views: logits that it gives of one sequence, each of which is learned by; their mean is its verdict.
    """

    num_views: int = 1

    @abstractmethod
    def forward(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Real-logits.

        Args:
            tokens: (B, T) int64, or soft rows (B, T, V) float32, each a distribution over tokens; a one-hot row is its
                token.
            mask: (B, T) bool; what stands where it is False never matters.
            conditions: (B, S) int64 what each sequence is given; None where they are given nothing.

        Returns:
            (B,) float32, positive means real; of soft rows, twice differentiable in them. Where tokens are judged
            (B, T): [b, t] judges token t given those before it, reads nothing behind it, and is 0 where the mask is
            False.
        """

    def parts(self) -> list[Discriminator]:
        """Networks that learn separately: the network itself, where there is but one."""
        return [self]

    def views(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Real-logits (K, B), or (K, B, T), that the verdict is the mean of; itself, where there is but one.

        Losses, the generator's too, are means of those of the K.

        Args:
            tokens: (B, T) int64, or soft rows (B, T, V).
            mask: (B, T) bool.
            conditions: (B, S) int64, or None.
        """
        logits: Tensor = self(tokens, mask, conditions)
        return logits.unsqueeze(0)

    def member_logits(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Real-logits (M · K, B), or (M · K, B, T): the views of each of the networks that learn separately.

        Args:
            tokens: (B, T) int64, or soft rows (B, T, V).
            mask: (B, T) bool.
            conditions: (B, S) int64, or None.
        """
        return self.views(tokens, mask, conditions)

    def class_logits(self, tokens: Tensor, mask: Tensor, is_real: Tensor, conditions: Tensor | None = None) -> Tensor:
        """`member_logits` of a minibatch that is learned from, for networks whose logits depend on the other class.

        Args:
            tokens: (B, T) int64, or soft rows (B, T, V).
            mask: (B, T) bool.
            is_real: (B,) bool.
            conditions: (B, S) int64, or None.
        """
        return self.member_logits(tokens, mask, conditions)

    @property
    def num_reals(self) -> int:
        """Real sequences that it judges others beside, and keeps with its weights; 0 where it keeps none."""
        return 0

    def take_reals(self, reals: Tensor, conditions: Tensor | None = None) -> None:
        """Keep these from now on; called before it judges, and at the beginning of each round.

        Args:
            reals: (num_reals, T) int64.
            conditions: (num_reals, S) int64 what each is given; None where they are given nothing.
        """

    def part_logits(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> dict[str, Tensor]:
        """Logits (B,) that the verdict is made of, by name; none where it is of one piece.

        Args:
            tokens: (B, T) int64, or soft rows (B, T, V).
            mask: (B, T) bool.
            conditions: (B, S) int64, or None.
        """
        return {}

    def output_features(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """What the output layer reads: (B, F) float32 of networks that declare `gives_features`.

        Args:
            tokens: (B, T) int64, or soft rows (B, T, V).
            mask: (B, T) bool.
            conditions: (B, S) int64, or None.

        Raises:
            ConfigError: it has no features of a whole sequence.
        """
        raise ConfigError(
            f"{type(self).__name__}: has no features of a whole sequence. Use discriminator cnn_highway.",
            code="discriminator_has_no_features",
            fields={"discriminator": type(self).__name__},
        )

    def verdict_logprobs(self, duels: Duels) -> Tensor:
        """Log-probabilities of the verdicts on pairs, of networks that declare `writes_verdicts`.

        Args:
            duels: the pairs, each under its prompt.

        Returns:
            (P, 3) float32, nats: that the real answer is named, that the generated one is, and a tie.

        Raises:
            ConfigError: it writes none.
        """
        raise ConfigError(
            f"{type(self).__name__}: writes no verdicts. Use discriminator verdict_writer.",
            code="discriminator_writes_no_verdicts",
            fields={"discriminator": type(self).__name__},
        )

    def num_read_of(self, duels: Duels) -> Tensor:
        """Tokens that are read of each pair, (P, 1) int64, of networks that declare `writes_verdicts`.

        Args:
            duels: the pairs, each under its prompt.
        """
        number = duels.conditions.shape[1] + 2 * duels.reals.shape[1]
        return torch.full((len(duels), 1), number)

    def named_weights(self) -> dict[str, float]:
        """All that it knows, by names that a person can read; empty where its weights have no such names."""
        return {}

    def take_files(self) -> tuple[str, ...]:
        """Take the weights of files that its settings name, which a run begins with.

        Returns:
            Lines for the log; none where it begins with random weights.

        Raises:
            DataError: a file is missing or damaged, or holds the weights of another network.
        """
        return ()

    def num_read(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Tokens that are read of each sequence: (B, K) int64, of K pieces that are padded each to its longest.

        Most networks read whatever is padding, too.

        Args:
            tokens: (B, T) int64, or soft rows (B, T, V).
            mask: (B, T) bool.
            conditions: (B, S) int64, or None.
        """
        number = mask.shape[1] + (0 if conditions is None else conditions.shape[1])
        return torch.full((len(mask), 1), number)

    def save_for_transformers(
        self, folder: Path, source: ModelFolder | HubModel | None, texts: TextsOfRun, *, merges: bool
    ) -> SavedModel:
        """Write it as a classifier with one label and its tokenizer, which `transformers` loads.

        Args:
            folder: exists.
            source: where the model lies now that an adapter was trained beside; None for random weights.
            texts: of the run.
            merges: whether an adapter becomes part of the weights.

        Raises:
            ConfigError: it is no such model; or there is no adapter to merge, or one alone would belong to no model.
            CheckpointError: the model at `source` is another one than the adapter was trained beside.
            DataError: there is no model at `source`.
        """
        raise ConfigError(
            f"{type(self).__name__}: is not a classifier of transformers, so that no such folder can be written. Use "
            "the run itself as a reward: rlgan.load(RUN).reward(), and its as_trl() for TRL. For a folder train with "
            "discriminator sequence_classifier.",
            code="export_judge_no_transformers",
            fields={"discriminator": type(self).__name__},
        )

    @property
    def rows_at_once(self) -> int:
        """Sequences whose states are held at once in scoring."""
        return 2048

    @abstractmethod
    def penalty(self) -> Tensor:
        """Scalar added to the loss: the weight penalties that belong to the architecture."""

    @abstractmethod
    def scorer(self) -> Scorer:
        """A frozen copy for scoring many sequences."""


def require_no_conditions(reader: object, conditions: Tensor | None) -> None:
    """Refuse conditions, for a discriminator that would not look at them.

    Raises:
        ValueError: there are some.
    """
    if conditions is not None:
        raise ValueError(f"{type(reader).__name__} cannot read conditions.")


def embed(embedding: TokenEmbedding, tokens: Tensor) -> Tensor:
    """(B, T, E) embeddings of tokens (B, T), or their means under soft rows (B, T, V)."""
    if tokens.is_floating_point():
        return tokens @ embedding.weight
    embedded: Tensor = embedding(tokens)
    return embedded


class EmbeddingDiscriminator(Discriminator):
    """A discriminator that knows of a token no more than its embedding.

    Attributes:
        embedding: a row for each token.
    """

    embedding: TokenEmbedding

    def forward(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Real-logits; see `Discriminator.forward`."""
        require_no_conditions(self, conditions)
        return self.judge(self.embed(tokens), mask, is_twice_differentiable=tokens.is_floating_point())

    def embed(self, tokens: Tensor) -> Tensor:
        """(B, T, E) embeddings of tokens (B, T), or their means under soft rows (B, T, V)."""
        return embed(self.embedding, tokens)

    @abstractmethod
    def judge(self, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool) -> Tensor:
        """Real-logits of embedded sequences.

        Args:
            embedded: (B, T, E) float32.
            mask: (B, T) bool.
            is_twice_differentiable: leave out what is faster but has no second derivative.

        Returns:
            As `Discriminator.forward`.
        """


def read_by(layer: nn.Module, compute: Callable[[], object]) -> Tensor:
    """What a layer reads while something is computed.

    Args:
        layer: is called once.
        compute: computes it.
    """
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        compute()
    finally:
        handle.remove()
    (features,) = seen
    return features


class PlainScorer(Scorer):
    """A frozen copy that computes as its discriminator does, some rows at a time.

    Args:
        discriminator: its weights are copied now, unless it is frozen already.
    """

    def __init__(self, discriminator: Discriminator) -> None:
        self._discriminator = frozen_copy(discriminator)

    @torch.no_grad()
    def __call__(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Real-logits; see `Scorer.__call__`."""
        at_once = self._discriminator.rows_at_once
        chunks = [slice(first, first + at_once) for first in range(0, tokens.shape[0], at_once)]
        return torch.cat(
            [
                self._discriminator(tokens[rows], mask[rows], None if conditions is None else conditions[rows])
                for rows in chunks
            ]
        )
