"""What the trainer asks of a generator, and what the hot loop asks of its frozen copy.

A generator is a plain `torch.nn.Module`: it knows no optimiser, no Ray and no reward. Every generator can be sampled.
What else it can do it declares, on its settings and on its network alike (`GeneratorKind`).

For sampling it hands out a *stepper*, a fused copy of its weights that advances many rows by one token without
autograd. A stepper's state is a tuple of row-first tensors, so the hot loop can concatenate them without knowing the
architecture; rows that leave, or come twice, are the stepper's to copy (`Stepper.select`, `remaining`, `joined`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self

from rlgan.base.errors import ConfigError
from rlgan.base.pretrained import HubModel, ModelFolder
from rlgan.base.settings import Settings
from rlgan.base.weights import Tensors
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.layers.latents import Posterior
from rlgan.layers.prefix_features import FeatureSizes
from rlgan.layers.relaxation import Relaxation, gumbel_noise, uniform_of_rows

from .sampler import Draw, Sampler

State = tuple[Tensor, ...]
"""Recurrent state of R rows: any number of tensors whose first dimension is R."""


@dataclass(frozen=True, slots=True)
class SavedModel:
    """What was written of a generator for the library `transformers`.

    Attributes:
        is_adapter: whether it is an adapter alone, which is loaded beside the model that it was trained beside.
        base: that model, a folder or a name on the hub; None otherwise.
        revision: of the hub's model.
        digest: sha256 of its weights.
    """

    is_adapter: bool
    base: str | None = None
    revision: str | None = None
    digest: str | None = None


class GeneratorKind(Settings):
    """What the settings of a generator declare of its network, for whoever asks before there is one."""

    reads_conditions: ClassVar[bool] = False
    """Whether it generates sequences for conditions."""
    has_likelihood: ClassVar[bool] = True
    """Whether it knows the likelihood of a sequence: `Generator.conditional` then returns its distribution."""
    draws_tokens: ClassVar[bool] = True
    """Whether it draws tokens one after another; otherwise it returns the most likely tokens of soft rows."""
    attends: ClassVar[bool] = False
    """Whether it returns which tokens of a condition it attends to (`AttendingDistribution`)."""
    relaxes: ClassVar[bool] = False
    """Whether it provides soft rows (`Generator.soft_rows`), through which it can be differentiated as a function of
    noise."""
    sets_goals: ClassVar[bool] = False
    """Whether it sets itself goals among features of its prefixes (`GoalDistribution`), which are learned, too."""
    within_sequences: ClassVar[tuple[str, ...]] = ()
    """Names of settings that count tokens, and may not be above the length of the longest sequence."""

    @property
    def prefix_features(self) -> FeatureSizes | None:
        """Sizes of the discriminator's features that it has a copy of; None where it reads none."""
        return None

    def copied_of(self, judge: Tensors) -> Tensors:
        """Its copy of the discriminator's features, by its own names; empty where it has none.

        Args:
            judge: weights of the discriminator, name → tensor.
        """
        return {}

    @property
    def latent_width(self) -> int:
        """Width of the latent that a sequence is drawn given; 0 where there is none.

        With one, likelihoods of sequences are known given their latents (`Generator.given`), by which it learns, and
        `Generator.conditional` knows a bound.
        """
        return 0

    @property
    def learns_by_likelihood(self) -> bool:
        """Whether it can learn from log-probabilities: of sequences, or of sequences given their latents."""
        return self.has_likelihood or self.latent_width > 0

    def latent_kl_weight(self, epoch: int | None) -> float:
        """Weight of the KL of the latent's posterior to its prior in maximum likelihood.

        Args:
            epoch: of pretraining, counted from 0; None behind pretraining.
        """
        return 0.0

    def settled(self) -> Self:
        """The same with all that it would read of a file but weights, so that a run can be read without the file.

        Raises:
            DataError: a file is missing or damaged.
        """
        return self

    @property
    def begins_trained(self) -> bool:
        """Whether it begins with weights that somebody trained before."""
        return False

    def adds_nothing(self, trained: Mapping[str, Tensor]) -> bool:
        """Whether weights that training changes leave the network as what it leaves alone is by itself.

        `Generator.without_training` then is the distribution with these weights.

        Args:
            trained: see `rlgan.base.weights.trained_of`.
        """
        return False

    @property
    def needs_conditions(self) -> bool:
        """Whether it writes nothing without them; one that reads them may go on from nothing, too."""
        return self.reads_conditions

    @property
    def began_as(self) -> ModelFolder | HubModel | None:
        """The model that it begins as; None where it begins with random weights."""
        return None

    @property
    def table_width(self) -> int | None:
        """Width of its tables of conditions' and sequences' tokens, which a discriminator may copy; None: no such."""
        return None


class Stepper(Protocol):
    """A frozen copy of a generator that advances rows by one token."""

    def start(self, num_rows: int, rng: torch.Generator | None = None) -> State:
        """State of `num_rows` empty prefixes, the start token already consumed.

        Args:
            num_rows: R.
            rng: source of the noise that a row begins with; read by generators of noise alone, which need it.
        """
        ...

    def draw_latents(self, num_rows: int, rng: torch.Generator) -> Tensor | None:
        """(R, Z) float32 latents of rows that have not begun; None, and nothing drawn, where a row has none."""
        return None

    def with_latents(self, latents: Tensor | None) -> Stepper:
        """The same for rows that have latents; `start` and `prefix_states` then take as many rows.

        Args:
            latents: (R, Z) float32; None where a row has none.

        Raises:
            ValueError: latents that it cannot read.
        """
        if latents is not None:
            raise ValueError(f"{type(self).__name__} has no latents.")
        return self

    def conditional(self, conditions: Tensor | None) -> Stepper:
        """The same for rows that are given conditions; `start` and `prefix_states` then take as many rows.

        Their states are read by the stepper that is returned, which may keep what its conditions have in common.

        Args:
            conditions: (R, S) int64; None for a generator that is given nothing.

        Raises:
            ValueError: conditions that it cannot read.
        """
        if conditions is not None:
            raise ValueError(f"{type(self).__name__} cannot read conditions.")
        return self

    def advance(self, state: State, tokens: Tensor) -> State:
        """State after each row's prefix has been extended by `tokens` (R,) int64.

        The state that was handed in is used up: the new one may be written into its memory. Whoever wants to go on from
        a state twice advances what `select` made of it.
        """
        ...

    def select(self, state: State, rows: Tensor) -> State:
        """A state of some rows (R',) int64 of another one, in memory of its own; rows may be left out, or repeated."""
        return tuple(part.index_select(0, rows) for part in state)

    def remaining(self, state: State, rows: Tensor) -> State:
        """A state of the rows (R',) int64, ascending, that go on; the others have ended.

        The state that was handed in is used up, as by `advance`, so that nothing need be copied.
        """
        return self.select(state, rows)

    def joined(self, state: State, more: State) -> State:
        """A state of the rows of both, those of `more` last; both are used up."""
        return tuple(torch.cat(pair) for pair in zip(state, more, strict=True))

    def prefix_states(self, tokens: Tensor) -> State:
        """States of all prefixes of given sequences.

        Args:
            tokens: (B, T) int64.

        Returns:
            State whose tensors are (T, B, ...): [t] has consumed tokens[:, :t+1]. Of the whole sequence, the last one,
            nothing is asked. Prefixes may share memory: `select` comes before `advance`.
        """
        state, states = self.start(tokens.shape[0]), []
        for position in range(tokens.shape[1]):
            state = self.advance(state, tokens[:, position])
            states.append(state)
        return tuple(torch.stack(parts) for parts in zip(*states, strict=True))

    def weights(self, state: State) -> Tensor:
        """Unnormalised probabilities of the next token.

        Returns:
            (R, V') float32, V' = V padded to a multiple of the drawing block, 0 at padding. A view into a buffer
            that the next call overwrites.
        """
        ...


class Distribution(ABC):
    """A tractable autoregressive distribution of token sequences, one a row."""

    @abstractmethod
    def logits(self, tokens: Tensor) -> Tensor:
        """(B, T, V) float32 logits of every token of `tokens` (B, T) given its prefix."""

    def relaxed(self, noise: Tensor, temperature: float, straight_through: bool) -> tuple[Tensor, Tensor]:
        """Sequences as differentiable functions of noise; see `rlgan.layers.relaxation`.

        For generators that declare `relaxes`; the others need not have it.

        Args:
            noise: (B, T, V) Gumbel noise.
            temperature: τ of the relaxation.
            straight_through: one-hot rows with the gradient of the soft ones; the next step reads what is handed out.

        Returns:
            Rows (B, T, V) on the simplex, with gradient, and the tokens (B, T) int64 that were drawn.

        Raises:
            ConfigError: it gives no soft rows.
        """
        raise no_soft_rows(self)

    def logprobs(self, tokens: Tensor, temperature: float = 1.0, read: Tensor | None = None) -> Tensor:
        """Log-probability of each token given its prefix.

        Args:
            tokens: (B, T) int64.
            temperature: divides the logits.
            read: (B, T) int64 tokens that stand in the prefixes; None for `tokens` themselves.

        Returns:
            (B, T) float32, nats.
        """
        logits = self.logits(tokens if read is None else read)
        if temperature != 1.0:
            logits = logits / temperature
        return -functional.cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="none").view_as(tokens)

    def logprobs_and_entropies(self, tokens: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """Log-probability of each token given its prefix, and entropy of the distribution that it was drawn from.

        Args:
            tokens: (B, T) int64.
            temperature: divides the logits.

        Returns:
            Two (B, T) float32, nats. All (B, T, V) log-probabilities are held for it.
        """
        logits = self.logits(tokens)
        logprobs = torch.log_softmax(logits if temperature == 1.0 else logits / temperature, dim=2)
        entropies = -(logprobs.exp() * logprobs).sum(2)
        return logprobs.gather(2, tokens.unsqueeze(2)).squeeze(2), entropies

    def logprobs_and_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability of each token given its prefix, and v = logsumexp of the logits that it was drawn by.

        Args:
            tokens: (B, T) int64.

        Returns:
            Two (B, T) float32, nats; the logit of a token is their sum.
        """
        logits = self.logits(tokens)
        values = torch.logsumexp(logits, 2)
        return logits.gather(2, tokens.unsqueeze(2)).squeeze(2) - values, values


Conditional = Callable[..., Distribution]
"""A distribution of sequences that are given conditions (B, S), or nothing (`Generator.conditional`); of sequences with
latents it takes these, too (`Generator.given`)."""


def no_soft_rows(asked: object) -> ConfigError:
    """The error of a generator, or its distribution, that is asked for soft rows and gives none."""
    return ConfigError(
        f"{type(asked).__name__}: provides no soft rows, which this objective needs to differentiate the "
        "generator. Use an objective that learns from drawn tokens, such as objective reinforce, or a generator "
        "that declares relaxes.",
        code="generator_gives_no_rows",
    )


class AttendingDistribution(Distribution):
    """The distribution of sequences that are given something, by who attends to its tokens while it writes."""

    @abstractmethod
    def attention(self, tokens: Tensor) -> Tensor:
        """How much of its attention each token of a condition gets while a sequence is written.

        Args:
            tokens: (B, T) int64.

        Returns:
            (B, T, S) float32: [b, t] is of the step that writes tokens[b, t], sums to 1, and is 0 at padding.
        """


class GoalDistribution(Distribution):
    """A distribution that sets itself goals: a direction at each position, in which features of the prefix should move.

    With features f_s of the prefix of s tokens, and the goal g_s that is set there:
    """

    @abstractmethod
    def goal_cosines(self, tokens: Tensor) -> Tensor:
        """How far goals were met, where they are judged: a horizon of c tokens later, or at a sequence's last token.

            Σ over the goals t that are judged at s of cos(f_s - f_t, g_t)

        Source: Guo et al. 2018, eq. 6, which has no end of a sequence.

        Args:
            tokens: (B, T) int64.

        Returns:
            (B, T) float32 with gradient in the goals alone; [:, s - 1] is at the token with which s tokens end. 0 after
            the terminator.
        """

    @abstractmethod
    def logprobs_and_goal_cosines(self, tokens: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """See `logprobs` and `goal_cosines`: both of one pass, (B, T)."""

    @abstractmethod
    def goal_rewards(self, tokens: Tensor) -> Tensor:
        """The worker's own reward: how well a token moved the features as the last goals ask.

            1/min(c, s) · Σ_{i=1..min(c, s)} cos(f_s - f_{s-i}, g_{s-i})

        Source: Guo et al. 2018, eq. 9, which has 1/c.

        Args:
            tokens: (B, T) int64.

        Returns:
            (B, T) float32 in [-1, 1], without gradient; [:, s - 1] is of the token with which s tokens end.
        """


class Generator(nn.Module, ABC):
    """Makes token sequences."""

    vocab_size: int
    has_likelihood: ClassVar[bool] = True
    """See `GeneratorKind`; a network and its settings declare the same."""
    draws_tokens: ClassVar[bool] = True
    """See `GeneratorKind`."""
    relaxes: ClassVar[bool] = False
    """See `GeneratorKind`."""
    latent_width: int = 0
    """See `GeneratorKind`."""

    dtype: torch.dtype = torch.float32
    """What its matrices are multiplied in."""
    keeps_nothing: ClassVar[bool] = True
    """Whether a frozen network may be given other weights in place: nothing that it computed from the old ones is kept
    in it."""

    @abstractmethod
    def stepper(self, temperature: float = 1.0) -> Stepper:
        """A frozen copy for sampling, with logits divided by `temperature`."""

    def take_files(self) -> tuple[str, ...]:
        """Take the weights of the files that its settings name, where a run begins with it; most name none.

        Returns:
            Lines for the log.

        Raises:
            DataError: a file is missing or damaged, or holds another network.
        """
        return ()

    def save_for_transformers(self, folder: Path, source: ModelFolder | HubModel | None, *, merges: bool) -> SavedModel:
        """Write it as a model that `transformers` loads.

        Args:
            folder: exists.
            source: where the model lies now that it began as, `GeneratorKind.began_as`.
            merges: whether an adapter becomes part of the weights.

        Raises:
            ConfigError: it is no such model; or there is no adapter to merge, or one alone would belong to no model.
            CheckpointError: the model at `source` is another one than it began as.
            DataError: there is no model at `source`.
        """
        raise ConfigError(
            f"{type(self).__name__}: is not a model of transformers, so that no such folder can be written. Export is "
            "for runs with generator causal_lm. Of every run the folder holds generator.safetensors and "
            "generator.json; `rlgan register` puts it into MLflow, which serves it.",
            code="export_no_transformers",
        )

    def own_sampler(self, space: SequenceSpace, draw: Draw, chunk_rows: int) -> Sampler | None:
        """A sampler of its own in the place of one that steps; None, as here, where `stepper` is what there is.

        Args:
            space: the task's sequences.
            draw: from which distribution.
            chunk_rows: most rows at once.
        """
        return None

    @abstractmethod
    def conditional(self, conditions: Tensor | None) -> Distribution:
        """Its distribution of sequences that are given conditions, row by row.

        Args:
            conditions: (B, S) int64; None for a generator that is given nothing.
        """

    def given(self, conditions: Tensor | None, latents: Tensor | None = None) -> Distribution:
        """Its distribution of sequences that are given conditions and were drawn given latents.

        Args:
            conditions: (B, S) int64, or None.
            latents: (B, Z) float32; None of a generator that has none.

        Raises:
            ValueError: latents that it cannot read.
        """
        if latents is not None:
            raise ValueError(f"{type(self).__name__} has no latents.")
        return self.conditional(conditions)

    def posterior(self, tokens: Tensor, conditions: Tensor | None) -> Posterior:
        """Which latents may have generated sequences.

        Args:
            tokens: (B, T) int64.
            conditions: (B, S) int64, or None.

        Raises:
            ValueError: it has no latents.
        """
        raise ValueError(f"{type(self).__name__} has no latents.")

    @property
    def token_embeddings(self) -> Tensor:
        """(V, E) what stands for a token, in which differences of what is generated are measured.

        Raises:
            ValueError: it has no latents, by which they would be measured.
        """
        raise ValueError(f"{type(self).__name__} has no latents.")

    def without_training(self, conditions: Tensor | None) -> Distribution:
        """As `conditional`, of what training leaves alone by itself; see `GeneratorKind.adds_nothing`.

        Raises:
            ValueError: all of it is trained.
        """
        raise ValueError(f"{type(self).__name__} is nothing without what is trained.")

    def num_read(self, tokens: Tensor, conditions: Tensor | None) -> Tensor:
        """How many tokens of each row are computed, so that a batch can be cut by what it costs.

        Args:
            tokens: (B, T) int64.
            conditions: (B, S) int64, or None.

        Returns:
            (B, K) int64, of K parts of a row that are padded each by itself: here what it is given, and the sequence,
            both whole.
        """
        sizes = [part.shape[1] for part in (conditions, tokens) if part is not None]
        return torch.tensor([sizes]).expand(len(tokens), -1)

    def soft_rows(
        self, space: SequenceSpace, seeds: Tensor, relaxation: Relaxation | None, conditions: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sequences as differentiable functions of noise, each from a seed of its own.

        Args:
            space: the task's sequences.
            seeds: (B,) int64, of the noise.
            relaxation: how tokens are drawn in a way that can be differentiated; None where none are drawn.
            conditions: (B, S) int64, or None.

        Returns:
            Rows (B, T, V) on the simplex, with gradient, and the tokens (B, T) int64 that they stand for.

        Raises:
            ConfigError: it gives no soft rows.
            ValueError: no relaxation, and drawing a token has no gradient without one; or one where none are drawn.
        """
        if not self.relaxes:
            raise no_soft_rows(self)
        if relaxation is None:
            raise ValueError("a generator that draws tokens needs a relaxation.")
        uniform = uniform_of_rows(seeds, space.max_length, space.vocab_size).to(next(self.parameters()).device)
        return self.conditional(conditions).relaxed(
            gumbel_noise(uniform), relaxation.temperature, relaxation.straight_through
        )

    def use_dropout(self, enabled: bool) -> None:
        """Switch dropout on or off within training mode: a policy gradient is of what was sampled.

        Evaluation mode would do too, but on a GPU a recurrent layer in it has no gradient.
        """


class AutoregressiveGenerator(Generator, Distribution):
    """A distribution of sequences that are given nothing.

    Attributes:
        start_id: what is read before the first token; see `SequenceSpace.required_start`.
    """

    start_id: int

    @abstractmethod
    def forward(self, inputs: Tensor) -> Tensor:
        """Next-token logits under teacher forcing.

        Args:
            inputs: (B, T) int64, the start token followed by all tokens but the last.

        Returns:
            (B, T, V) float32 logits of `tokens[:, t]` given `tokens[:, :t]`.
        """

    def conditional(self, conditions: Tensor | None) -> Distribution:
        """Itself; see `Generator.conditional`.

        Raises:
            ValueError: conditions, which it cannot read.
        """
        if conditions is not None:
            raise ValueError(f"{type(self).__name__} cannot read conditions.")
        return self

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits of every token; see `Distribution.logits`."""
        return self(shift_right(tokens, self.start_id))


def shift_right(tokens: Tensor, start_id: int) -> Tensor:
    """Generator inputs for `tokens`: the start token, then all tokens but the last; (B, T) to (B, T)."""
    start = tokens.new_full((tokens.shape[0], 1), start_id)
    return torch.cat([start, tokens[:, :-1]], dim=1)
