"""What the parts of a configuration declare to each other: all that a rule about their combination may ask.

A rule that concerns one variant is that variant's `Settings.check`; a rule between equals is in `rlgan.config.checks`.
Neither knows a class of another room. Both read attributes that every variant of an axis has, so that a plug-in is
equal to what ships. The protocols below are those attributes, and a type checker holds each variant to them. What they
mean in full stands where they are declared, at the base class of each axis.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol


class DeclaredTask(Protocol):
    """A task: what is asked."""

    @property
    def kind(self) -> str:
        """Its name."""

    @property
    def gives_conditions(self) -> bool:
        """Whether each sequence comes with a condition."""

    @property
    def has_real_sequences(self) -> bool:
        """Whether its data has sequences, and not only what sequences are given."""

    @property
    def knows_distribution(self) -> bool:
        """Whether the exact distribution of its sequences is known."""

    @property
    def is_certain(self) -> bool:
        """Whether a condition leaves nothing open, so that all sequences but one are impossible."""

    @property
    def is_stream(self) -> bool:
        """Whether training sequences are new each time, drawn from the distribution."""

    @property
    def measures(self) -> Collection[str]:
        """What can be measured of its sequences; see `rlgan.envs.tasks.TaskMeasure`."""

    @property
    def are_words(self) -> tuple[bool, bool]:
        """Whether tokens of conditions, and of sequences, are words of a text."""

    @property
    def has_prompts(self) -> bool:
        """Whether conditions are of the sequences' tokens, so that a sequence may go on from one."""

    @property
    def language_model(self) -> object | None:
        """The model whose tokens these are; None where they are the task's own."""


class DeclaredGenerator(Protocol):
    """A generator's network."""

    @property
    def kind(self) -> str:
        """Its name."""

    @property
    def reads_conditions(self) -> bool:
        """Whether it writes sequences that are given something."""

    @property
    def needs_conditions(self) -> bool:
        """Whether it writes nothing without them."""

    @property
    def begins_trained(self) -> bool:
        """Whether it begins with weights that somebody trained before."""

    @property
    def has_likelihood(self) -> bool:
        """Whether it knows how likely a sequence is."""

    @property
    def latent_width(self) -> int:
        """Width of the latent that a sequence is drawn given; 0 where there is none."""

    @property
    def learns_by_likelihood(self) -> bool:
        """Whether it knows how likely a sequence is, given its latent where it has one."""

    @property
    def draws_tokens(self) -> bool:
        """Whether it draws one token after another."""

    @property
    def relaxes(self) -> bool:
        """Whether it gives soft rows through which it can be differentiated."""

    @property
    def sets_goals(self) -> bool:
        """Whether it sets itself goals among features of its prefixes."""

    @property
    def prefix_features(self) -> object | None:
        """Sizes of the discriminator's features that it has a copy of; None where it reads none."""

    @property
    def attends(self) -> bool:
        """Whether it says which tokens of a condition it attends to while it writes."""

    @property
    def table_width(self) -> int | None:
        """Width of its two tables of tokens, which a discriminator may copy; None where it has none."""


class DeclaredDiscriminator(Protocol):
    """A discriminator's network."""

    @property
    def kind(self) -> str:
        """Its name."""

    @property
    def reads(self) -> str:
        """What it judges: sequences, pairs, or either."""

    @property
    def granularity(self) -> str:
        """What has a logit of its own: a sequence, or a token."""

    @property
    def gives_distribution(self) -> bool:
        """Whether its logits are log-probabilities of tokens."""

    @property
    def reads_soft_rows(self) -> bool:
        """Whether it reads distributions in the place of tokens."""

    @property
    def ranks(self) -> bool:
        """Whether its logits are log rank scores."""

    @property
    def has_embedding(self) -> bool:
        """Whether tokens are embedded."""

    @property
    def writes_verdicts(self) -> bool:
        """Whether it reads two answers to one prompt and writes which is the real one."""

    @property
    def gives_features(self) -> bool:
        """Whether it has features of a whole sequence, which its output layer reads."""

    @property
    def for_tokens(self) -> str:
        """What to do so that each token has a logit, as advice; "" where it cannot be done."""

    @property
    def for_conditions(self) -> str:
        """What to do so that it reads conditions, as advice; "" where it cannot be done."""

    @property
    def prefix_features(self) -> object | None:
        """Sizes of the features that a generator may copy; None where it has none."""

    @property
    def copies_embeddings(self) -> bool:
        """Whether its embeddings are copies of the generator's, made when pretraining is over."""

    @property
    def begins_as_generator(self) -> bool:
        """Whether it takes the generator's weights when pretraining is over."""

    @property
    def has_spectral_norm(self) -> bool:
        """Whether its slope is bounded by spectral norms."""

    @property
    def judges_rows_alone(self) -> bool:
        """Whether a logit depends on one sequence alone while it learns."""


class DeclaredLoss(Protocol):
    """A loss of the discriminator."""

    @property
    def kind(self) -> str:
        """Its name."""

    @property
    def meaning(self) -> str:
        """What the logit of the optimum is."""

    @property
    def is_log_odds(self) -> bool:
        """Whether that is log p_d/p_θ."""

    @property
    def has_boundary(self) -> bool:
        """Whether 0 is the boundary between reals and fakes."""

    @property
    def has_origin(self) -> bool:
        """Whether the logit is known without an unknown constant."""

    @property
    def needs_halves(self) -> bool:
        """Whether half of every minibatch must be real."""

    @property
    def reads_fakes(self) -> bool:
        """Whether there are fakes in a minibatch at all."""

    @property
    def has_costs(self) -> bool:
        """Whether reals and fakes each cost something that a balance can weigh."""

    @property
    def compares_classes(self) -> bool:
        """Whether each fake is compared with reals."""

    @property
    def guides_beside_reals(self) -> bool:
        """Whether a generator that is differentiated learns by it from fakes beside reals."""

    @property
    def within_prompts(self) -> bool:
        """Whether each fake is compared with the real of its own prompt."""

    @property
    def is_of_a_distribution(self) -> bool:
        """Whether a distribution over tokens learns by it."""

    @property
    def is_of_ranks(self) -> bool:
        """Whether it learns from log rank scores."""

    @property
    def is_of_verdicts(self) -> bool:
        """Whether it learns from verdicts on two answers."""

    @property
    def reads_policy(self) -> bool:
        """Whether it reads the generator's own log-probabilities."""

    @property
    def needs_bounded_slope(self) -> bool:
        """Whether it has no minimum while nothing bounds the slope."""

    @property
    def margin_temperature(self) -> float:
        """What the margin of a real over a fake is divided by to be log-odds."""

    @property
    def smoothing(self) -> float:
        """How much less than 1 reals are labelled."""


class DeclaredPenalty(Protocol):
    """A penalty on the discriminator's slope."""

    @property
    def kind(self) -> str:
        """Its name."""

    @property
    def bounds_slope(self) -> bool:
        """Whether it bounds the slope."""

    @property
    def needs_halves(self) -> bool:
        """Whether it pairs reals with fakes, so that half of every minibatch must be real."""


class DeclaredAdversary(Protocol):
    """How the discriminator is trained."""

    @property
    def loss(self) -> DeclaredLoss:
        """What it minimises."""

    @property
    def gradient_penalty(self) -> DeclaredPenalty:
        """What its slope costs."""

    @property
    def batch(self) -> int:
        """Sequences a minibatch."""

    @property
    def buffer(self) -> int | None:
        """Sequences that each replay buffer holds; None for one round."""

    @property
    def sequences_per_round(self) -> int:
        """Fresh fakes a round."""

    @property
    def mismatched(self) -> float | None:
        """Weight of real sequences under conditions of others."""

    @property
    def weight_clip(self) -> float | None:
        """Greatest size of a weight."""

    @property
    def needs_halves(self) -> bool:
        """Whether half of every minibatch must be real."""

    @property
    def shows_prompts(self) -> bool:
        """Whether a minibatch has prompts, each with its real sequence and its fakes."""


class DeclaredMap(Protocol):
    """A function of one logit of the discriminator."""

    @property
    def kind(self) -> str:
        """Its name."""

    @property
    def reads_log_odds(self) -> bool:
        """Whether it reads the logit as log p_d/p_θ."""

    @property
    def reads_density_ratio(self) -> bool:
        """Whether it is p_d/p_θ itself."""


class DeclaredReward(Protocol):
    """A reward."""

    @property
    def kind(self) -> str:
        """Its name."""

    @property
    def level(self) -> str:
        """What it is of: a sequence, or a token."""

    @property
    def reads(self) -> Collection[str]:
        """What it is computed from, besides tokens."""

    @property
    def scores_continuations(self) -> bool:
        """Whether continuations of a prefix are rewarded as drawn sequences are."""

    @property
    def is_elementwise(self) -> bool:
        """Whether it is a function of one logit."""

    @property
    def compares(self) -> bool:
        """Whether it compares finished sequences."""

    @property
    def reads_policy(self) -> bool:
        """Whether it compares with the generator's log-probabilities of sequences."""

    @property
    def is_positive(self) -> bool:
        """Whether it is never below 0."""

    @property
    def is_relative(self) -> bool:
        """Whether a constant added to all logits under one condition changes nothing."""

    @property
    def compares_groups(self) -> bool:
        """Whether it is computed by comparing sequences of `schedule.g_group`."""

    @property
    def logit_map(self) -> DeclaredMap | None:
        """The function of one logit that it is or has; None without one."""

    @property
    def own_code_s(self) -> float:
        """Seconds that code of the user's own may take for one batch of finished sequences; 0 without any."""

    @property
    def without_discriminator(self) -> str:
        """Kind of a reward to use where there is no discriminator."""


class DeclaredCredit(Protocol):
    """How the reward of a sequence becomes the value of a token."""

    @property
    def kind(self) -> str:
        """Its name."""

    @property
    def levels(self) -> Collection[str]:
        """What must be rewarded for it."""

    @property
    def judges_prefixes(self) -> bool:
        """Whether the discriminator judges prefixes as they stand."""

    @property
    def reads_state_values(self) -> bool:
        """Whether it reads a learned value of every state."""

    @property
    def num_continuations(self) -> int:
        """How often every prefix is continued; 0 where none is."""


class DeclaredBaseline(Protocol):
    """What is subtracted from values."""

    @property
    def kind(self) -> str:
        """Its name."""

    @property
    def needs(self) -> Collection[str]:
        """What it is computed from, besides values."""

    @property
    def subtracts(self) -> bool:
        """Whether anything is taken off values at all."""

    @property
    def reads_values(self) -> bool:
        """Whether advantages come from values."""

    @property
    def reads_density_ratio(self) -> bool:
        """Whether logits, or values that are logits, must be log p_d/p_θ."""

    @property
    def cancels_constants(self) -> bool:
        """Whether a constant added to all logits changes nothing."""


class DeclaredNormalisation(Protocol):
    """The scale of advantages."""

    @property
    def kind(self) -> str:
        """Its name."""

    @property
    def needs(self) -> Collection[str]:
        """What it is computed from, besides advantages."""

    @property
    def centres(self) -> bool:
        """Whether a constant added to all values changes nothing."""

    @property
    def gives_weights(self) -> bool:
        """Whether the result is never below 0."""


class DeclaredReference(Protocol):
    """What straying from the start of adversarial training costs."""

    @property
    def kind(self) -> str:
        """Its name."""

    @property
    def place(self) -> str:
        """Where it is added: none, reward, loss."""

    @property
    def adapts(self) -> bool:
        """Whether its weight changes from batch to batch."""


class DeclaredObjective(Protocol):
    """The generator's loss."""

    @property
    def kind(self) -> str:
        """Its name."""

    @property
    def reads_reward(self) -> bool:
        """Whether generated sequences are rewarded."""

    @property
    def is_differentiated(self) -> bool:
        """Whether the generator is differentiated through the discriminator."""

    @property
    def relaxes(self) -> bool:
        """Whether drawn tokens are relaxed."""

    @property
    def contrasts_reals(self) -> bool:
        """Whether generated sequences are set against real ones by the generator's own log-probabilities."""

    @property
    def learns_reals(self) -> bool:
        """Whether real sequences alone are learned from."""

    @property
    def needs_positive(self) -> bool:
        """Whether advantages are weights of likelihood, whoever made the sequences."""

    @property
    def teaches_goals(self) -> bool:
        """Whether advantages teach the generator's goals, and tokens are rewarded for following them."""

    @property
    def pairs_groups(self) -> bool:
        """Whether two sequences of each `schedule.g_group` are learned from as a pair, by their rewards."""

    @property
    def draws_tokens(self) -> bool:
        """Whether it is of generators that draw tokens."""

    @property
    def makes_soft_rows(self) -> bool:
        """Whether the discriminator learns from soft rows."""

    @property
    def minibatches(self) -> int:
        """Optimiser steps a pass over a batch."""

    def num_rows(self, num_sampled: int, group: int | None) -> int:
        """Rows of a pass over so many drawn sequences, of which `group` are compared."""
        ...


class DeclaredForcing(Protocol):
    """Maximum-likelihood learning during the adversarial phase."""

    @property
    def kind(self) -> str:
        """Its name."""

    @property
    def learns_likelihood(self) -> bool:
        """Whether whole real sequences are learned by likelihood."""

    @property
    def takes_batches(self) -> bool:
        """Whether it takes batches of `schedule.mle_batch` training sequences."""

    @property
    def in_the_same_update(self) -> bool:
        """Whether its rows are learned in the optimiser steps of the generated ones."""

    def prefix_length(self, iteration: int) -> int:
        """Tokens of real sequences that generated ones begin with in an adversarial iteration, counted from 0."""
        ...


class DeclaredBalance(Protocol):
    """How much the discriminator learns beside the generator."""

    @property
    def kind(self) -> str:
        """Its name."""

    @property
    def moves_boundary(self) -> bool:
        """Whether it weighs reals against fakes."""


class DeclaredSchedule(Protocol):
    """Who trains when."""

    @property
    def mle_epochs(self) -> int:
        """Epochs of pretraining, at most."""

    @property
    def mle_patience(self) -> int | None:
        """Epochs without gain that end it."""

    @property
    def pretraining(self) -> str:
        """Order of pretraining: the generator first, or both side by side."""

    @property
    def mle_batch(self) -> int:
        """Sequences a maximum-likelihood update."""

    @property
    def discriminator_rounds(self) -> int:
        """Rounds of the discriminator's pretraining, at most."""

    @property
    def discriminator_accuracy(self) -> float | None:
        """Accuracy with which they end."""

    @property
    def adversarial_updates(self) -> int:
        """Adversarial iterations."""

    @property
    def g_batch(self) -> int:
        """Sequences a generator update."""

    @property
    def g_group(self) -> int | None:
        """Of these, how many are compared with each other."""

    @property
    def g_steps(self) -> int:
        """Generator updates a unit."""

    @property
    def rollout_temperature(self) -> float:
        """Temperature of the policy that learns."""

    @property
    def d_steps(self) -> int:
        """Discriminator rounds an iteration."""

    @property
    def d_fakes(self) -> str:
        """Fakes of these rounds: fresh ones, or the rollouts."""

    @property
    def balance(self) -> DeclaredBalance:
        """How much the discriminator learns."""

    @property
    def teacher_forcing(self) -> DeclaredForcing:
        """Learning by likelihood beside it."""

    @property
    def num_real(self) -> int:
        """Sequences of a generator update that are real."""

    @property
    def num_sampled(self) -> int:
        """Sequences of a generator update that the generator draws."""


class DeclaredMetric(Protocol):
    """A metric of the user's own."""

    @property
    def figures(self) -> tuple[str, ...]:
        """Figures that a generator may be selected by, as far as they are known."""

    def selects(self, name: str) -> bool:
        """Whether a generator may be selected by a figure of it."""
        ...


class DeclaredEvaluation(Protocol):
    """What is measured."""

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Temperatures of the final table."""

    @property
    def collapse_share(self) -> float | None:
        """Share of the effective rank below which a warning is given."""

    @property
    def metrics(self) -> Collection[DeclaredMetric]:
        """Metrics of the user's own."""


class DeclaredWorkers(Protocol):
    """Where a run computes."""

    @property
    def rollout(self) -> int:
        """Rollout actors; 0 draws and scores in the process of the trainer."""

    @property
    def call_timeout_s(self) -> float:
        """Seconds after which an actor that has not answered is taken for hung."""


class Comparing(Protocol):
    """What may compare sequences of a batch with each other."""

    @property
    def reward(self) -> DeclaredReward:
        """What a sequence is rewarded for."""

    @property
    def baseline(self) -> DeclaredBaseline:
        """What is subtracted."""

    @property
    def normalisation(self) -> DeclaredNormalisation:
        """The scale of advantages."""

    @property
    def objective(self) -> DeclaredObjective:
        """The generator's loss."""


class Fields(Protocol):
    """A whole configuration, as far as one part may ask about the others."""

    @property
    def task(self) -> DeclaredTask:
        """Where real sequences come from."""

    @property
    def generator(self) -> DeclaredGenerator:
        """The generator's network."""

    @property
    def discriminator(self) -> DeclaredDiscriminator | None:
        """The discriminator's network; None without an adversary."""

    @property
    def adversary(self) -> DeclaredAdversary:
        """How it is trained."""

    @property
    def reward(self) -> DeclaredReward:
        """What a sequence is rewarded for."""

    @property
    def credit(self) -> DeclaredCredit:
        """How that becomes the value of a token."""

    @property
    def baseline(self) -> DeclaredBaseline:
        """What is subtracted from values."""

    @property
    def normalisation(self) -> DeclaredNormalisation:
        """The scale of advantages."""

    @property
    def reference(self) -> DeclaredReference:
        """What straying costs."""

    @property
    def objective(self) -> DeclaredObjective:
        """The generator's loss."""

    @property
    def schedule(self) -> DeclaredSchedule:
        """Who trains when."""

    @property
    def evaluation(self) -> DeclaredEvaluation:
        """What is measured."""

    @property
    def workers(self) -> DeclaredWorkers:
        """Where it computes."""

    @property
    def sampling(self) -> str:
        """How sequences are drawn: batched, or step by step in the environment."""

    @property
    def controls(self) -> Collection[str]:
        """Controls that run beside it."""

    @property
    def word_vectors(self) -> Collection[str]:
        """Names of the networks whose embeddings begin from a file."""


def compares_sequences(fields: Comparing) -> bool:
    """Whether sequences of a batch are compared with each other, so that `schedule.g_group` has an effect."""
    is_read = fields.objective.reads_reward
    return (
        "groups" in fields.baseline.needs
        or "groups" in fields.normalisation.needs
        or (is_read and fields.reward.compares_groups)
        or fields.objective.pairs_groups
    )


def tells_log_odds(fields: Fields) -> bool:
    """Whether the discriminator's logit estimates log p_d/p_θ, without an unknown constant."""
    return fields.adversary.loss.is_log_odds and not fields.schedule.balance.moves_boundary


def reads_density_ratio(fields: Fields) -> bool:
    """Whether the logit must be log p_d/p_θ, so that everything that D tells reals from is drawn by the generator.

    A baseline that reads no values reads the ratio off the logits, and goes with reward ratio alone.
    """
    logit_map = fields.reward.logit_map
    of_values = fields.baseline.reads_density_ratio and fields.baseline.reads_values
    return of_values or (logit_map is not None and logit_map.reads_density_ratio)


def rewards_tokens(fields: Fields) -> bool:
    """Whether each token has a reward of its own: by the reward, or by a discriminator that judges tokens."""
    if "discriminator" not in fields.reward.reads:
        return fields.reward.level == "token"
    network = fields.discriminator
    return network is not None and network.granularity == "token" and fields.schedule.adversarial_updates > 0


def of_the_batch(schedule: DeclaredSchedule, number: int, kind: str = "generated") -> str:
    """What so many sequences of a generator update are called."""
    if not schedule.num_real:
        return f"schedule.g_batch={schedule.g_batch}"
    return (
        f"the {number} {kind} sequences of schedule.g_batch={schedule.g_batch} "
        f"(schedule.teacher_forcing={schedule.teacher_forcing.kind!r})"
    )
