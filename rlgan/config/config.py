"""The whole configuration: the settings classes of all rooms, composed, with the checks that cross rooms.

No logic lives here. A preset (`rlgan.presets.registry`) returns a `Config`; `rlgan.config.paths` changes it
by dotted paths. The rooms never import this module.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from rlgan.adversary.training import AdversarySettings
from rlgan.base.declarations import tells_log_odds
from rlgan.base.errors import ConfigError
from rlgan.base.problems import ContradictionError, Problem
from rlgan.base.search_priors import NotSearched
from rlgan.base.settings import FreeOnResume, NeverMovesNumbers, OfTheStart, ReadIf, Settings, parts_of
from rlgan.discriminators import CnnHighway, DiscriminatorSettings
from rlgan.envs.tasks import TaskSettings
from rlgan.evaluation.evaluator import EvaluationSettings
from rlgan.extensions import Loaded, Plugin, PluginKind, check_options
from rlgan.generators import LSTM, GeneratorSettings
from rlgan.layers.embeddings import WordVectors
from rlgan.layers.optimizers import Adam, OptimizerSettings
from rlgan.policy.advantage_scaling import NormalisationSettings, NoScaling
from rlgan.policy.baselines import BaselineSettings, NoBaseline
from rlgan.policy.credit import CreditSettings, MonteCarlo
from rlgan.policy.kl_penalty import NoReference, ReferenceSettings
from rlgan.policy.logit_maps import Probability
from rlgan.policy.objectives import ObjectiveSettings, Reinforce
from rlgan.policy.rewards import RewardSettings
from rlgan.sampling.environment import Sampling
from rlgan.schedule.phases import Schedule
from rlgan.tracking import TrackingSettings

from .checks import problems

Control = Literal["mle_continued", "oracle_ratio", "constant_reward", "random_reward"]


class CallbackPlugin(Plugin):
    """A callback of one's own, see `rlgan.training.callbacks`; its options are those of its class."""

    plugin_kind: ClassVar[PluginKind] = "callback"

    timeout_s: Annotated[float | None, FreeOnResume()] = Field(None, gt=0.0)
    """Seconds that a method of it may take; null for its attribute `timeout_s`, which is an hour unless it says so."""

    def check_object(self, loaded: Loaded) -> None:
        """See `Plugin.check_object`; whether it is a callback is checked where the class of callbacks is known."""
        if inspect.isclass(loaded.object):
            check_options(self, inspect.signature(loaded.object), ())
        elif self.options:
            raise ConfigError(
                f"callback plug-in {self.name!r}: options are for a class, and it is a {type(loaded.object).__name__}. "
                "Name the class, or leave out its options."
            )


class Optimizers(Settings):
    """One optimiser a phase; their states are separate."""

    mle: Annotated[
        OptimizerSettings, NotSearched("of the start that trials share"), OfTheStart(), ReadIf("pretraining")
    ] = Adam(lr=0.01, clip_norm=5.0)
    """Generator, maximum-likelihood pretraining."""
    generator: Annotated[OptimizerSettings, ReadIf("adversarial updates")] = Adam(lr=0.01, clip_norm=5.0)
    """Generator, adversarial phase, teacher forcing included."""
    discriminator: Annotated[OptimizerSettings, ReadIf("discriminator")] = Adam(lr=1e-4)
    """Discriminator."""


class Workers(Settings):
    """Who computes; never what is computed."""

    rollout: Annotated[int, FreeOnResume()] = Field(0, ge=0, le=10_000)
    """Rollout actors. 0 runs everything in this process without Ray; from 1 on the discriminator is an actor too."""
    learners: Annotated[int, FreeOnResume()] = Field(0, ge=0, le=1_000)
    """Learner actors; 0 learns in this process, from 2 on data-parallel."""
    threads: Annotated[int, OfTheStart()] = Field(2, ge=1, le=256)
    """Threads of the learner and of the discriminator. Sums are rounded by it, so it is part of the result."""
    cpus_per_rollout: Annotated[float, FreeOnResume()] = Field(1.0, gt=0.0)
    """CPUs that a rollout actor reserves on the cluster; it computes with one thread."""
    cpus_discriminator: Annotated[float, FreeOnResume()] = Field(1.0, gt=0.0)
    """CPUs that the discriminator actor reserves."""
    gpus_per_rollout: Annotated[float, FreeOnResume()] = Field(0.0, ge=0.0, le=1.0)
    """GPUs that a rollout worker reserves, a fraction to share one; 0 computes on CPUs. A GPU draws and rounds other
    numbers than a CPU."""
    gpus_discriminator: Annotated[float, FreeOnResume()] = Field(0.0, ge=0.0, le=1.0)
    """GPUs that the discriminator reserves; as above."""
    gpus_per_learner: Annotated[float, FreeOnResume(), OfTheStart()] = Field(0.0, ge=0.0, le=1.0)
    """GPUs that a learner reserves; as above. Several learners need a whole one each."""
    start_timeout_s: Annotated[float, FreeOnResume()] = Field(0.0, ge=0.0)
    """Seconds to wait for nodes that are missing when the run begins, as an autoscaler adds them; 0 refuses at once."""
    max_retries: Annotated[int, FreeOnResume()] = Field(3, ge=0, le=1_000)
    """Times that a call is made again after the actor that it was made to was lost, before the run stops."""
    call_timeout_s: Annotated[float, FreeOnResume()] = Field(1800.0, gt=0.0)
    """Seconds after which an actor that has not answered is taken for hung, and replaced."""
    shard_sequences: int = Field(16, ge=1)
    """Sequences of a generator batch that one task samples and continues; part of the result's rounding."""
    shard_fakes: int = Field(512, ge=1)
    """Fakes for the discriminator that one task samples; part of the result's rounding."""
    chunk_rows: Annotated[int, FreeOnResume()] = Field(256, ge=1)
    """Rows that the sampler advances together; bounds memory at about 4 · rows · vocabulary bytes. Part of the
    result's rounding."""
    most_logprob_gap: Annotated[float | None, FreeOnResume()] = Field(1.0, gt=0.0)
    """Nats by which the learner's log-probability of a drawn token may differ from the sampler's
    (`rollouts/logprob_gap_max`), above which the run stops; null never stops it. In float32 they differ by 1e-5, in
    bfloat16 by some hundredths."""
    tokens_at_once: Annotated[int | None, FreeOnResume()] = Field(None, ge=1)
    """Most tokens, prompts and padding included, of which a learner computes the generator's gradients at once; null
    for whole batches. Gradients of the parts add up to that of the batch, up to rounding; a sequence that alone has
    more is a part of its own. Lower it when memory is short."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.learners > 1 and 0.0 < self.gpus_per_learner < 1.0:
            raise ConfigError(
                f"workers.gpus_per_learner={self.gpus_per_learner:g}: learners that sum their gradients cannot share a "
                f"GPU. Set it to 1 or 0, or workers.learners={self.learners} to 1."
            )
        return self


class Config(Settings):
    """A run."""

    preset: Annotated[str, NotSearched("a label"), NeverMovesNumbers(), FreeOnResume()] = "custom"
    """Name of the preset this began as; a label in logs and tracking."""
    seed: Annotated[int, NotSearched("chance is averaged over, not chosen"), OfTheStart()] = Field(0, ge=0, lt=2**63)
    """Seeds everything but the task's data, which has seeds of its own."""
    task: Annotated[TaskSettings, NotSearched("what is asked, not how it is answered")]
    """Where real sequences come from."""
    generator: Annotated[GeneratorSettings, OfTheStart()] = LSTM()
    """The generator's network."""
    discriminator: DiscriminatorSettings | None = CnnHighway()
    """The discriminator's network; null for runs without an adversary."""
    adversary: Annotated[AdversarySettings, ReadIf("discriminator")] = AdversarySettings()
    """How the discriminator is trained."""
    reward: Annotated[RewardSettings, ReadIf("adversarial updates")] = Probability()
    """The reward of a sequence or token."""
    credit: Annotated[CreditSettings, ReadIf("rollouts")] = MonteCarlo()
    """How the reward of a sequence becomes the value of a token."""
    baseline: Annotated[BaselineSettings, ReadIf("adversarial updates")] = NoBaseline()
    """What is subtracted from values."""
    normalisation: Annotated[NormalisationSettings, ReadIf("adversarial updates")] = NoScaling()
    """The scale of advantages."""
    reference: Annotated[ReferenceSettings, ReadIf("adversarial updates")] = NoReference()
    """What straying from the generator that adversarial training began with costs."""
    objective: Annotated[ObjectiveSettings, ReadIf("rollouts")] = Reinforce(loss_normaliser="sum")
    """The generator's loss."""
    sampling: Annotated[
        Sampling, NotSearched("changes no number"), NeverMovesNumbers(), FreeOnResume(), ReadIf("rollouts")
    ] = "batched"
    """How rollouts and fakes are drawn: all rows at once, or step by step through the Gymnasium environment, which
    gives the same numbers bit for bit and takes 1.4 to 2 times as long. Measurements are drawn at once."""
    schedule: Schedule = Schedule()
    """Who trains when."""
    optimizers: Optimizers = Optimizers()
    """How parameters move."""
    evaluation: Annotated[EvaluationSettings, NotSearched("the same measure for all")] = EvaluationSettings()
    """What is measured, and when."""
    controls: Annotated[tuple[Control, ...], NotSearched("a study runs its controls itself"), NeverMovesNumbers()] = ()
    """Controls run after this one from the same MLE start, for the final table."""
    callbacks: Annotated[tuple[CallbackPlugin, ...], NotSearched("watch a run")] = ()
    """Callbacks of one's own, which see every iteration and may end training: `FILE.py:CLASS,...`, or settings of each
    as JSON."""
    workers: Annotated[Workers, NotSearched("who computes, never what")] = Workers()
    """Who computes."""
    checkpoint_every_s: Annotated[float, NotSearched("changes no number"), NeverMovesNumbers(), FreeOnResume()] = Field(
        120.0, ge=0.0
    )
    """Least seconds between checkpoints; one is also kept at the end and at Ctrl-C."""
    tracking: Annotated[TrackingSettings, NotSearched("changes no number"), NeverMovesNumbers(), FreeOnResume()] = (
        TrackingSettings()
    )
    """Where the numbers go."""

    @model_validator(mode="after")
    def _cross_checks(self) -> Self:
        for problem in self.problems():
            raise ContradictionError(problem)
        return self

    def problems(self) -> Iterator[Problem]:
        """All that contradicts something else, in the order in which it would be mended."""
        return problems(self, parts_of(self))

    @property
    def has_adversary(self) -> bool:
        """Whether a discriminator is trained."""
        return self.discriminator is not None

    @property
    def shares_embeddings(self) -> bool:
        """Whether the discriminator's embeddings are copies of the generator's."""
        return self.discriminator is not None and self.discriminator.copies_embeddings

    @property
    def tells_log_odds(self) -> bool:
        """Whether the discriminator's logit estimates log p_d/p_θ, without an unknown constant."""
        return tells_log_odds(self)

    @property
    def word_vectors(self) -> dict[str, WordVectors]:
        """Files that embeddings begin from, by the network's name."""
        networks = {"generator": self.generator, "discriminator": self.discriminator}
        return {
            name: part
            for name, network in networks.items()
            if network is not None
            for part in parts_of(network)
            if isinstance(part, WordVectors)
        }
