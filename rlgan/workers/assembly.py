"""The parts of a run, assembled: in this process, or on Ray. The same classes and calls, in the same order.

With `workers.rollout = 0` and `workers.learners = 0` no Ray cluster is started.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import ray

from rlgan.adversary.losses import LossSettings
from rlgan.adversary.minibatches import Pairs
from rlgan.adversary.training import initial_stream
from rlgan.base.devices import bfloat16_notes
from rlgan.base.errors import ConfigError
from rlgan.base.weights import Tensors, weights_of
from rlgan.config.config import Config
from rlgan.discriminators import DiscriminatorSettings, build_discriminator
from rlgan.envs.tasks import Task
from rlgan.generators import Draw
from rlgan.layers.embeddings import Start, read_start
from rlgan.rollouts.collecting import RolloutPlan
from rlgan.sampling.environment import WRITERS
from rlgan.training.own_networks import require_sound_networks
from rlgan.training.parts import DiscriminatorHandle, Parts, RolloutPool

from .discriminator import DiscriminatorWorker, RayDiscriminator
from .environment import own_cluster, running_cluster, use_as_it_is, worker_environment
from .faults import Faults
from .learner import GeneratorLearners
from .placement import Role, Room, require_room, roles_of
from .rollout import LocalRollouts, RayRollouts, RolloutWorker
from .telemetry import Dashboard

logger = logging.getLogger(__name__)


@contextmanager
def build_parts(config: Config, task: Task, begins: bool = True, judge_begins: bool | None = None) -> Iterator[Parts]:
    """Assemble the parts, and end what was started when the block ends.

    Args:
        config: the whole configuration.
        task: built from `config.task`.
        begins: whether the networks begin here. False where all weights are about to be put in their place: files that
            embeddings begin from are then not read.
        judge_begins: the same of the discriminator; None as `begins`.

    Yields:
        The parts.

    Raises:
        ConfigError: a network of the user's own breaks its contract; or the cluster has fewer CPUs or GPUs than the
            workers ask for, or no GPU where one is asked for.
        PluginError: a network of the user's own cannot be built, or raises.
        DataError: a file that an embedding begins from is wrong.
    """
    config, workers = config.settled(), config.workers
    require_sound_networks(config, task.space)
    judge_begins = begins if judge_begins is None else judge_begins
    begin = {"generator": begins, "discriminator": judge_begins}
    vectors = {name: one for name, one in config.word_vectors.items() if begin[name]}
    start = read_start(vectors, task, config.seed)
    score, writer = config.reward.scorer(task), WRITERS[config.sampling]
    draw = Draw(config.schedule.rollout_temperature)
    behaviour = config.schedule.behaviour
    plan = RolloutPlan(task.space, config.credit, workers.chunk_rows, score, writer, draw, behaviour)
    faults = Faults(workers.max_retries, workers.call_timeout_s)
    with ExitStack() as stack:
        on_ray = workers.rollout > 0 or workers.learners > 0
        if on_ray:
            stack.enter_context(cluster())
        seats = stack.enter_context(ExitStack())
        roles, room = roles_of(workers, config.discriminator is not None), None
        if on_ray:
            require_room(roles, workers.start_timeout_s)
            room = Room(workers.call_timeout_s)
        # What the run cannot do without takes its places first.
        own, notes_of_judge = _files_of_judge(config, task) if judge_begins else (None, ())
        if judge_begins and getattr(config.discriminator, "dtype", None) == "bfloat16" and not roles.discriminator.gpus:
            notes_of_judge += bfloat16_notes("discriminator.dtype", workers.threads)
        discriminator = _build_discriminator(config, task, faults, room, roles.discriminator, start, own)
        if discriminator is not None:
            seats.callback(discriminator.close)
        learners = GeneratorLearners(
            config.generator,
            task.space,
            {"mle": config.optimizers.mle, "adversarial": config.optimizers.generator},
            role=roles.learner,
            threads=workers.threads,
            seed=config.seed,
            faults=faults,
            room=room,
            objective=config.objective,
            through=_through(config),
            pretrained=start.tables.get("generator"),
            begins=begins,
            tokens_at_once=workers.tokens_at_once,
        )
        seats.callback(learners.close)
        networks = (plan, config.generator, config.discriminator)
        if room is not None and roles.rollout.number:
            rollouts: RolloutPool = RayRollouts(faults, room, roles.rollout, *networks)
        else:
            rollouts = LocalRollouts(RolloutWorker(*networks, roles.rollout.gpus))
        seats.callback(rollouts.close)
        telemetry = Dashboard(faults) if on_ray else None
        notes = (*start.notes, *learners.notes, *notes_of_judge)
        yield Parts(rollouts, discriminator, learners, faults, telemetry, notes, release=seats.close)


def _through(config: Config) -> tuple[DiscriminatorSettings, LossSettings] | None:
    """The discriminator and its loss, where the generator is differentiated through it."""
    if not config.objective.is_differentiated:
        return None
    assert config.discriminator is not None
    return config.discriminator, config.adversary.loss


def _files_of_judge(config: Config, task: Task) -> tuple[Tensors | None, tuple[str, ...]]:
    """The weights that the discriminator takes of files, which may be on this machine alone, and lines for the log."""
    if config.discriminator is None or not config.discriminator.reads_files:
        return None, ()
    with initial_stream(config.seed):
        network = build_discriminator(config.discriminator, task.space)
    notes = network.take_files()
    return weights_of(network, 0).complete, notes


def _build_discriminator(
    config: Config,
    task: Task,
    faults: Faults,
    room: Room | None,
    role: Role,
    start: Start,
    own: Tensors | None,
) -> DiscriminatorHandle | None:
    if config.discriminator is None:
        return None
    arguments: dict[str, Any] = {
        "threads": config.workers.threads,
        "gpus": role.gpus,
        "network": config.discriminator,
        "settings": config.adversary,
        "optimizer": config.optimizers.discriminator,
        "space": task.space,
        "reals": Pairs(task.train, None if task.conditions is None else task.conditions.train),
        "heldout_reals": Pairs(task.valid, None if task.conditions is None else task.conditions.valid),
        "seed": config.seed,
        "learns_prefixes": config.credit.judges_prefixes,
        "fakes_are_soft": config.objective.makes_soft_rows,
        "pretrained": start.tables.get("discriminator"),
        "start": own,
        "policy": config.generator if config.adversary.loss.reads_policy else None,
        "probes": bool(task.measures),
    }
    if room is not None and role.number:
        return RayDiscriminator(faults, room, role, **arguments)
    return DiscriminatorWorker(**arguments)


@contextmanager
def cluster() -> Iterator[None]:
    """The cluster that is there (that the caller joined, or `running_cluster`), or one of our own on this machine.

    Raises:
        ConfigError: it cannot be joined, or the caller joined it in a way that actors cannot work with.
    """
    if ray.is_initialized():
        use_as_it_is()
        yield
        return
    if not (address := running_cluster()):
        with own_cluster():
            yield
        return
    logger.warning("joining the Ray cluster at %s", address)
    _join(address)
    try:
        yield
    finally:
        ray.shutdown()


def _join(address: str) -> None:
    """Connect to a cluster that somebody else started.

    Raises:
        ConfigError: it is not there, or it has another token.
    """
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **worker_environment())
    except (ConnectionError, ray.exceptions.AuthenticationError) as error:
        reason = str(error).partition(". ")[0].rstrip(".")
        raise ConfigError(
            f"the Ray cluster at {address} (from RAY_ADDRESS, or from `ray start` on this machine) cannot be "
            f"joined: {reason}. If it is running, give this process its token in RAY_AUTH_TOKEN or "
            "~/.ray/auth_token, with RAY_AUTH_MODE=token. If it is not, set RAY_ADDRESS=local to start one for "
            "this run.",
            code="cannot_join_cluster",
        ) from None
