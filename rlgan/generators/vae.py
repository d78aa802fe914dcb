"""A sequence VAE: a latent for the whole sequence, and an LSTM that writes it given the latent (Bowman et al. 2016).

    prior      z ~ N(0, I)
    posterior  q(z|y) = N(μ, diag σ²),  [μ ; log σ²] = W [→h ; ←h (; c)] of a bidirectional LSTM that has read y
    decoder    s_t = LSTM(e(y_{t-1}) + U [z (; c)], s_{t-1}),  s_0 = tanh(V [z (; c)]),  logits = W' h_t + b

c is the end of a bidirectional LSTM over a condition, where there is one (Sohn et al. 2015). The decoder reads z at
every step, so that it need not be remembered. With word dropout it does not see some of the tokens while it learns by
likelihood, and has to find them in z.

A sequence is drawn given a z of the prior, which the rollouts carry: a policy gradient is of log p(y|z), exactly, since
nothing of the prior is learned. Likelihood is learned by the ELBO. Of log p(y) there is a bound only, and what is
measured by it has it in its name.

    B sequences, R rows, T positions, Z width of the latent, C of what is read of a condition, K draws of z
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.base.settings import FollowsData
from rlgan.base.weights import frozen_copy
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.layers.latents import Posterior, importance_weighted_logprobs, log_weights
from rlgan.layers.recurrent import BiLSTM
from rlgan.layers.relaxation import normal_of_rows

from .generator import Distribution, Generator, GeneratorKind, State, shift_right
from .lstm import LSTM, LSTMGenerator, LSTMStepper


class _LatentSequence(GeneratorKind):
    """Settings of both."""

    has_likelihood: ClassVar[bool] = False
    not_searched: ClassVar[NotSearched] = NotSearched("has a bound in place of likelihoods: preset vae_seqgan")
    embedding: Annotated[int, Choice((32, 64, 128)), FollowsData("generator")] = Field(32, ge=1)
    """Width of the token embeddings of encoder and decoder."""
    hidden: Annotated[int, Choice((32, 64, 128)), FollowsData("generator")] = Field(32, ge=1)
    """Width of the decoder's LSTM, and of each direction of the encoder's."""
    latent: Annotated[int, Choice((8, 16, 32))] = Field(16, ge=1)
    """Width of the latent z."""
    kl_weight: Annotated[float, Uniform(0.1, 1.0)] = Field(1.0, gt=0.0, le=1.0)
    """Weight β of KL(q‖prior) in maximum likelihood; 1 maximises the ELBO, less uses the latent more."""
    kl_epochs: Annotated[int, NotSearched("goes with the number of epochs")] = Field(10, ge=0)
    """Number of epochs of pretraining over which the weight of the KL rises linearly to `kl_weight`, beginning at 0; 0
    begins with the whole weight."""
    word_dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.0, ge=0.0, lt=1.0)
    """Share of the tokens that the decoder does not see in maximum likelihood; raises the use of the latent."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.0, ge=0.0, lt=1.0)
    """Dropout on embedding and output of the decoder in maximum likelihood."""
    bound_draws: Annotated[int, NotSearched("only measures; results need equal numbers")] = Field(16, ge=1)
    """Number K of draws of the latent per sequence in the bound on the NLL; more draws give a tighter bound."""

    @property
    def latent_width(self) -> int:
        """Of z."""
        return self.latent

    def latent_kl_weight(self, epoch: int | None) -> float:
        """Weight of the KL; see `GeneratorKind.latent_kl_weight`."""
        share = 1.0 if epoch is None or not self.kl_epochs else min(1.0, epoch / self.kl_epochs)
        return share * self.kl_weight


class SequenceVAE(_LatentSequence):
    """Variational auto-encoder of sequences: an LSTM that generates given a latent, and one that infers the latent."""

    kind: Literal["vae"] = "vae"


class ConditionalVAE(_LatentSequence):
    """The same for tasks with conditions (CVAE), which encoder and decoder read."""

    reads_conditions: ClassVar[bool] = True
    kind: Literal["cvae"] = "cvae"


class LatentSequenceGenerator(Generator):
    """Encoder, latent, decoder; and an encoder of conditions where there are some.

    Args:
        settings: sizes.
        space: the task's sequences.
    """

    has_likelihood = False

    def __init__(self, settings: SequenceVAE | ConditionalVAE, space: SequenceSpace) -> None:
        super().__init__()
        self.vocab_size, self.latent_width, self.space = space.vocab_size, settings.latent, space
        self._bound_draws, self._word_dropout_rate = settings.bound_draws, settings.word_dropout
        self.decoder = LSTMGenerator(
            LSTM(embedding=settings.embedding, hidden=settings.hidden, dropout=settings.dropout), space
        )
        self.encoder_embedding = nn.Embedding(space.vocab_size, settings.embedding)
        self.encoder = BiLSTM(settings.embedding, settings.hidden)
        width = settings.latent
        self.condition_embedding: nn.Embedding | None = None
        self.condition_encoder: BiLSTM | None = None
        read = 0
        if settings.reads_conditions:
            assert space.condition is not None
            self.condition_embedding = nn.Embedding(space.condition.vocab_size, settings.embedding)
            self.condition_encoder = BiLSTM(settings.embedding, settings.hidden)
            read = 2 * settings.hidden
        self.posterior_layer = nn.Linear(2 * settings.hidden + read, 2 * width)
        self.to_input = nn.Linear(width + read, settings.embedding, bias=False)
        self.to_state = nn.Linear(width + read, 2 * settings.hidden)
        self.word_dropout_rate = settings.word_dropout

    def use_dropout(self, enabled: bool) -> None:
        """Switch dropout on or off, that of words, too; see `Generator.use_dropout`."""
        self.decoder.use_dropout(enabled)
        self.word_dropout_rate = self._word_dropout_rate if enabled else 0.0

    def posterior(self, tokens: Tensor, conditions: Tensor | None) -> Posterior:
        """What the encoder infers; see `Generator.posterior`."""
        _, ends = self.encoder(self.encoder_embedding(tokens), sequence_mask(self.space, tokens))
        read = self.read_conditions(conditions)
        seen = ends[-1] if read is None else torch.cat([ends[-1], read], dim=1)
        mean, log_variance = self.posterior_layer(seen).chunk(2, dim=1)
        return Posterior(mean, log_variance)

    def read_conditions(self, conditions: Tensor | None) -> Tensor | None:
        """(B, C) of conditions (B, S) int64; None where none are read.

        Raises:
            ValueError: conditions that it cannot read, or none where it needs them.
        """
        if (conditions is None) != (self.condition_encoder is None):
            raise ValueError("a VAE cannot read conditions, and a conditional one needs them.")
        if conditions is None:
            return None
        assert self.condition_encoder is not None and self.condition_embedding is not None
        assert self.space.condition is not None
        mask = sequence_mask(self.space.condition, conditions)
        _, ends = self.condition_encoder(self.condition_embedding(conditions), mask)
        last: Tensor = ends[-1]
        return last

    def conditional(self, conditions: Tensor | None) -> Distribution:
        """Sequences whatever their latent, of whose likelihood there is a bound; see `importance_weighted_logprobs`."""
        return _Bounded(self, conditions, self._bound_draws)

    def given(self, conditions: Tensor | None, latents: Tensor | None = None) -> Distribution:
        """The exact distribution of sequences with latents (B, Z); see `Generator.given`."""
        if latents is None:
            return self.conditional(conditions)
        return _GivenLatents(self, latents, self.read_conditions(conditions))

    @property
    def token_embeddings(self) -> Tensor:
        """The decoder's; see `Generator.token_embeddings`."""
        return self.decoder.embedding.weight

    def stepper(self, temperature: float = 1.0) -> VAEStepper:
        """A frozen copy for sampling; see `Generator.stepper`."""
        return VAEStepper(self, temperature)


class _GivenLatents(Distribution):
    """Of sequences whose latents are known: an LSTM that reads them at every step.

    Args:
        generator: whose.
        latents: (B, Z).
        read: (B, C) of conditions, or None.
    """

    def __init__(self, generator: LatentSequenceGenerator, latents: Tensor, read: Tensor | None) -> None:
        self._generator = generator
        context = latents if read is None else torch.cat([latents, read], dim=1)
        self._added = generator.to_input(context).unsqueeze(1)
        hidden, cell = torch.tanh(generator.to_state(context)).unsqueeze(0).chunk(2, dim=2)
        self._state = hidden.contiguous(), cell.contiguous()

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits of every token; see `Distribution.logits`."""
        return self._generator.decoder.output_of(self._features(tokens))

    def logprobs(self, tokens: Tensor, temperature: float = 1.0, read: Tensor | None = None) -> Tensor:
        """Log-probability of each token; see `Distribution.logprobs`."""
        return self._generator.decoder.logprobs_of(
            self._features(tokens if read is None else read), tokens, temperature
        )

    def _features(self, tokens: Tensor) -> Tensor:
        generator, decoder = self._generator, self._generator.decoder
        embedded = decoder.embedding(shift_right(tokens, decoder.start_id))
        if generator.training and generator.word_dropout_rate:
            keeps = torch.rand(tokens.shape, device=tokens.device) >= generator.word_dropout_rate
            keeps[:, 0] = True  # the start token says nothing
            embedded = embedded * keeps.unsqueeze(2)
        return decoder.features_of(decoder.dropout(embedded) + self._added, self._state)


class _Bounded(Distribution):
    """Of sequences whose latents are not known: a lower bound on their log-likelihood.

    The noise of a sequence follows from its tokens, so that its bound depends on nothing else.

    Args:
        generator: whose.
        conditions: (B, S) int64, or None.
        draws: K.
    """

    def __init__(self, generator: LatentSequenceGenerator, conditions: Tensor | None, draws: int) -> None:
        self._generator, self._conditions, self._draws = generator, conditions, draws

    def logits(self, tokens: Tensor) -> Tensor:
        """There are none.

        Raises:
            ValueError: always.
        """
        raise ValueError("the next token's distribution is an integral over the latent: only bounds are known.")

    def logprobs(self, tokens: Tensor, temperature: float = 1.0, read: Tensor | None = None) -> Tensor:
        """Shares (B, T) of the tokens in a bound on the log-likelihood; see `importance_weighted_logprobs`.

        0 behind the end of a sequence.

        Raises:
            ValueError: other tokens are to stand in the prefixes.
        """
        if read is not None:
            raise ValueError("a bound is of the sequence that its latent was inferred from.")
        generator, mask = self._generator, sequence_mask(self._generator.space, tokens)
        posterior = generator.posterior(tokens, self._conditions)
        seeds = _seeds_of(tokens.masked_fill(~mask, -1)).cpu()
        noise = normal_of_rows(seeds, self._draws * generator.latent_width).to(posterior.mean.device)
        noise = noise.view(len(tokens), self._draws, -1).transpose(0, 1)
        context = generator.read_conditions(self._conditions)
        logprobs = [
            _GivenLatents(generator, latents, context).logprobs(tokens, temperature).masked_fill(~mask, 0.0)
            for latents in posterior.drawn(noise)
        ]
        return importance_weighted_logprobs(torch.stack(logprobs), log_weights(posterior, noise))


def _seeds_of(tokens: Tensor) -> Tensor:
    """(B,) int64, a seed for each sequence (B, T), by its tokens."""
    seeds = torch.zeros_like(tokens[:, 0])
    for column in tokens.unbind(1):
        # The multiplier of Knuth's generator; int64 wraps around.
        seeds = seeds * 6364136223846793005 + (column + 2) * 1442695040888963407
    return (seeds ^ (seeds >> 31)) & (2**62 - 1)


class VAEStepper(LSTMStepper):
    """`LSTMStepper` whose rows have a latent; the last tensor of their state is what it adds to the gates.

    Args:
        generator: its weights are copied now, unless it is frozen.
        temperature: divides the logits.
    """

    @torch.no_grad()
    def __init__(self, generator: LatentSequenceGenerator, temperature: float) -> None:
        super().__init__(generator.decoder, temperature)
        self._generator, self.latent_width = frozen_copy(generator), generator.latent_width
        self._latents: Tensor | None = None
        self._read: Tensor | None = None

    def draw_latents(self, num_rows: int, rng: torch.Generator) -> Tensor:
        """Of the prior; see `Stepper.draw_latents`."""
        return torch.randn(num_rows, self.latent_width, generator=rng, device=rng.device)

    def with_latents(self, latents: Tensor | None) -> VAEStepper:
        """The same for rows with latents; see `Stepper.with_latents`."""
        return self._with(latents, self._read)

    @torch.no_grad()
    def conditional(self, conditions: Tensor | None) -> VAEStepper:
        """The same for rows that are given conditions; see `Stepper.conditional`."""
        return self._with(self._latents, self._generator.read_conditions(conditions))

    def _with(self, latents: Tensor | None, read: Tensor | None) -> VAEStepper:
        bound = object.__new__(VAEStepper)
        bound.__dict__.update(self.__dict__)
        bound._latents, bound._read = latents, read
        return bound

    @torch.no_grad()
    def start(self, num_rows: int, rng: torch.Generator | None = None) -> State:
        """State of empty prefixes; of rows without latents these are 0, the most likely; see `Stepper.start`."""
        generator = self._generator
        latents = self._latents
        if latents is None:
            latents = self._output_weight.new_zeros(num_rows, self.latent_width)
        context = latents if self._read is None else torch.cat([latents, self._read], dim=1)
        hidden, cell = torch.tanh(generator.to_state(context)).chunk(2, dim=1)
        added = generator.to_input(context) @ self._input_weights[0]
        tokens = torch.full((num_rows,), self._start_id, dtype=torch.int64, device=added.device)
        return self.advance((hidden, cell, added), tokens)

    @torch.no_grad()
    def advance(self, state: State, tokens: Tensor) -> State:
        """State after one more token; see `Stepper.advance`."""
        gates = self._token_gates.index_select(0, tokens).add_(state[-1])
        return *self._stepped(gates, state[:-1]), state[-1]

    def weights(self, state: State) -> Tensor:
        """Unnormalised next-token probabilities; see `Stepper.weights`."""
        return super().weights(state[:-1])
