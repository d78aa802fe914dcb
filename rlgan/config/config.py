"""The whole configuration: the settings classes of all rooms, composed, with the checks that cross rooms.

No logic lives here. A preset (`rlgan.presets.registry`) returns a `Config`; `rlgan.config.paths` changes it
by dotted paths. The rooms never import this module.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from rlgan.adversary.settings import AdversarySettings
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

Control = Literal[
    "mle_continued",
    "mle_equal_reals",
    "oracle_ratio",
    "constant_reward",
    "random_reward",
    "frozen_discriminator",
    "shuffled_discriminator",
    "length_reward",
]

_DRAFTING: ContextVar[bool] = ContextVar("drafting", default=False)


@contextmanager
def drafting() -> Iterator[None]:
    """Within it, a configuration may contradict itself: it is to be changed before it is used."""
    token = _DRAFTING.set(True)
    try:
        yield
    finally:
        _DRAFTING.reset(token)


class CallbackPlugin(Plugin):
    """A callback of your own, see `rlgan.training.callbacks`; its options are those of its class."""

    plugin_kind: ClassVar[PluginKind] = "callback"

    timeout_s: Annotated[float | None, FreeOnResume()] = Field(None, gt=0.0)
    """Maximum number of seconds of a call of its methods; null for the callback's attribute `timeout_s`, which is
    3600 by default."""

    def check_object(self, loaded: Loaded) -> None:
        """See `Plugin.check_object`; whether it is a callback is checked where the class of callbacks is known."""
        if inspect.isclass(loaded.object):
            check_options(self, inspect.signature(loaded.object), ())
        elif self.options:
            raise ConfigError(
                f"callback plug-in {self.name!r}: options need a class, but it is a "
                f"{type(loaded.object).__name__}. Name the class, or remove the options.",
                code="callback_options",
                fields={"plugin": self.name},
            )


class Optimizers(Settings):
    """One optimiser a phase; their states are separate."""

    mle: Annotated[
        OptimizerSettings,
        NotSearched("belongs to the start that all trials share"),
        OfTheStart(),
        ReadIf("pretraining"),
    ] = Adam(lr=0.01, clip_norm=5.0)
    """Optimiser of the generator in maximum-likelihood pretraining."""
    generator: Annotated[OptimizerSettings, ReadIf("adversarial updates")] = Adam(lr=0.01, clip_norm=5.0)
    """Optimiser of the generator in the adversarial phase, including teacher forcing."""
    discriminator: Annotated[OptimizerSettings, ReadIf("discriminator")] = Adam(lr=1e-4)
    """Optimiser of the discriminator."""


class Workers(Settings):
    """Who computes; never what is computed."""

    rollout: Annotated[int, FreeOnResume()] = Field(0, ge=0, le=10_000)
    """Number of rollout actors. 0 runs everything in this process without Ray; with 1 or more the discriminator is
    an actor, too."""
    learners: Annotated[int, FreeOnResume()] = Field(0, ge=0, le=1_000)
    """Number of learner actors. 0 learns in this process; with 2 or more learning is data-parallel."""
    threads: Annotated[int, OfTheStart()] = Field(2, ge=1, le=256)
    """Threads of the learner and of the discriminator. They affect rounding, so results depend on them."""
    cpus_per_rollout: Annotated[float, FreeOnResume()] = Field(1.0, gt=0.0)
    """CPUs that a rollout actor reserves on the cluster; it uses one thread."""
    cpus_discriminator: Annotated[float, FreeOnResume()] = Field(1.0, gt=0.0)
    """CPUs that the discriminator actor reserves."""
    gpus_per_rollout: Annotated[float, FreeOnResume()] = Field(0.0, ge=0.0, le=1.0)
    """GPUs that a rollout worker reserves; a fraction shares one, and 0 uses CPUs. GPUs and CPUs draw and round
    different numbers."""
    gpus_discriminator: Annotated[float, FreeOnResume()] = Field(0.0, ge=0.0, le=1.0)
    """GPUs that the discriminator reserves; as above."""
    gpus_per_learner: Annotated[float, FreeOnResume(), OfTheStart()] = Field(0.0, ge=0.0, le=1.0)
    """GPUs that a learner reserves; as above. With several learners each needs a whole GPU."""
    start_timeout_s: Annotated[float, FreeOnResume()] = Field(0.0, ge=0.0)
    """Seconds to wait for missing nodes at the start of a run, for instance while an autoscaler adds them; 0 fails
    at once."""
    max_retries: Annotated[int, FreeOnResume()] = Field(3, ge=0, le=1_000)
    """Maximum number of times that a call is repeated after its actor was lost, before the run stops."""
    call_timeout_s: Annotated[float, FreeOnResume()] = Field(1800.0, gt=0.0)
    """Seconds after which an actor without an answer is considered hung and replaced."""
    shard_sequences: int = Field(16, ge=1)
    """Sequences of a generator batch that one task samples and continues; affects the rounding of results."""
    shard_fakes: int = Field(512, ge=1)
    """Fakes for the discriminator that one task samples; affects the rounding of results."""
    chunk_rows: Annotated[int, FreeOnResume()] = Field(256, ge=1)
    """Rows that the sampler processes together; limits memory to about 4 · rows · vocabulary bytes. Affects the
    rounding of results."""
    most_logprob_gap: Annotated[float | None, FreeOnResume()] = Field(1.0, gt=0.0)
    """Maximum difference in nats between the log-probabilities of a drawn token in the learner and in the sampler
    (`rollouts/logprob_gap_max`); above it the run stops. null for no limit. The largest of 4,096 tokens of models with
    4 layers were 1.5e-5 in float32 and 0.22 in bfloat16 (`benchmarks/lm_gap.py`), so in float32 it may be 0.001."""
    tokens_at_once: Annotated[int | None, FreeOnResume()] = Field(None, ge=1)
    """Maximum number of tokens, including prompts and padding, for which a learner computes gradients of the generator
    at once; null for whole batches. Gradients of the parts are summed, which equals that of the batch up to rounding.
    A longer sequence is a part of its own. Lower it when memory is short."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.learners > 1 and 0.0 < self.gpus_per_learner < 1.0:
            raise ConfigError(
                f"workers.gpus_per_learner={self.gpus_per_learner:g}: learners that sum their gradients cannot share a "
                f"GPU. Set it to 1 or 0, or workers.learners={self.learners} to 1.",
                code="learners_share_gpu",
                fields={"workers.gpus_per_learner": self.gpus_per_learner, "workers.learners": self.learners},
            )
        return self


class Config(Settings):
    """A run."""

    preset: Annotated[str, NotSearched("a label"), NeverMovesNumbers(), FreeOnResume()] = "custom"
    """Name of the original preset; a label in logs and tracking."""
    seed: Annotated[int, NotSearched("results are averaged over seeds"), OfTheStart()] = Field(0, ge=0, lt=2**63)
    """Random seed of everything except the data of the task, which has its own seeds."""
    task: Annotated[TaskSettings, NotSearched("defines the problem, not its solution")]
    """Source of the real sequences."""
    generator: Annotated[GeneratorSettings, OfTheStart()] = LSTM()
    """Network of the generator."""
    discriminator: DiscriminatorSettings | None = CnnHighway()
    """Network of the discriminator; null for runs without an adversary."""
    adversary: Annotated[AdversarySettings, ReadIf("discriminator")] = AdversarySettings()
    """Training of the discriminator."""
    reward: Annotated[RewardSettings, ReadIf("adversarial updates")] = Probability()
    """Reward of a sequence or token."""
    credit: Annotated[CreditSettings, ReadIf("rollouts")] = MonteCarlo()
    """How the reward of a sequence becomes the value of a token."""
    baseline: Annotated[BaselineSettings, ReadIf("adversarial updates")] = NoBaseline()
    """Baseline that is subtracted from values."""
    normalisation: Annotated[NormalisationSettings, ReadIf("adversarial updates")] = NoScaling()
    """Scaling of advantages."""
    reference: Annotated[ReferenceSettings, ReadIf("adversarial updates")] = NoReference()
    """Penalty on the distance to the generator at the start of adversarial training."""
    objective: Annotated[ObjectiveSettings, ReadIf("rollouts")] = Reinforce(loss_normaliser="sum")
    """Loss of the generator."""
    sampling: Annotated[
        Sampling, NotSearched("does not change results"), NeverMovesNumbers(), FreeOnResume(), ReadIf("rollouts")
    ] = "batched"
    """How rollouts and fakes are drawn: all rows at once, or step by step through the Gymnasium environment, which
    gives bitwise identical numbers and takes 1.4 to 2 times as long. Sequences for evaluation are always drawn at
    once."""
    schedule: Schedule = Schedule()
    """Phases of training: their order, lengths and batch sizes."""
    optimizers: Optimizers = Optimizers()
    """Optimisers of generator and discriminator."""
    evaluation: Annotated[EvaluationSettings, NotSearched("all runs need the same evaluation")] = EvaluationSettings()
    """What is measured, and how often."""
    controls: Annotated[tuple[Control, ...], NotSearched("a study runs its own controls"), NeverMovesNumbers()] = ()
    """Control runs that are trained after this run from the same MLE start, for comparison in the final table."""
    callbacks: Annotated[tuple[CallbackPlugin, ...], NotSearched("watch a run")] = ()
    """Your own callbacks, which see every iteration and may end training: `FILE.py:CLASS,...`, or a JSON list of
    settings."""
    workers: Annotated[Workers, NotSearched("does not change what is computed")] = Workers()
    """Processes and devices."""
    checkpoint_every_s: Annotated[
        float, NotSearched("does not change results"), NeverMovesNumbers(), FreeOnResume()
    ] = Field(120.0, ge=0.0)
    """Minimum number of seconds between checkpoints. A checkpoint is also saved at the end and at Ctrl-C."""
    tracking: Annotated[
        TrackingSettings, NotSearched("does not change results"), NeverMovesNumbers(), FreeOnResume()
    ] = TrackingSettings()
    """Where metrics are logged."""

    @model_validator(mode="after")
    def _cross_checks(self) -> Self:
        if not _DRAFTING.get():
            for problem in self.problems():
                raise ContradictionError(problem)
        return self

    def problems(self) -> Iterator[Problem]:
        """All that contradicts something else, in the order in which it would be mended."""
        return problems(self, parts_of(self))

    def settled(self) -> Self:
        """The same with all that its networks would read of files but weights, so that a run can be read without them.

        Raises:
            DataError: a file is missing or damaged.
        """
        generator = self.generator.settled()
        judge = None if self.discriminator is None else self.discriminator.settled(generator)
        return self.model_copy(update={"generator": generator, "discriminator": judge})

    @property
    def has_adversary(self) -> bool:
        """Whether a discriminator is trained."""
        return self.discriminator is not None

    @property
    def starts_trained(self) -> bool:
        """Whether the generator has learned anything before its first adversarial update."""
        return self.schedule.mle_epochs > 0 or self.generator.begins_trained

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
