"""Rollout workers: whoever runs a shard, in this process or on a cluster, runs the same function.

The pool hands shards to whichever worker is free and returns the results in the order of the shards. Weights travel
with every call, so a worker that is new needs nothing but its next task; it keeps the networks of the versions that it
saw last.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import ray
import torch
from torch import Tensor

from rlgan.base.activity import advance, stage
from rlgan.base.devices import device_of
from rlgan.base.memory import naming_what_to_lower
from rlgan.base.threads import torch_threads
from rlgan.base.weights import Base, Weights, load_weights, network_of
from rlgan.discriminators import Discriminator, DiscriminatorSettings, Duels, Scorer, build_discriminator
from rlgan.generators import Conditional, Generator, GeneratorSettings, Sampler, build_generator
from rlgan.rollouts.collecting import Critic, RolloutPlan, Shard, collect, collect_soft
from rlgan.sampling.records import Rollouts
from rlgan.sampling.sampler import sampler_of

from .faults import Faults, as_raised, fault_of
from .placement import Role, Room, free, reporting_wait
from .processes import ProcessInfo, require_same_versions, this_process

SHARD_THREADS = 1
"""Threads that compute a shard wherever it runs: two one-thread processes beat one two-thread process, and sums are
rounded by the number of threads."""

_LOWER = "Lower workers.chunk_rows, which bounds the rows that are sampled together, or task.max_length."

_START_TOGETHER_S = 20.0  # a machine that is loaded takes as long to start a few processes

logger = logging.getLogger(__name__)

_BASES: dict[str, Base] = {}
"""Bases that this process has, by their digests."""

Built = TypeVar("Built")


class _Current(Generic[Built]):
    """What was built from the weights that were asked for last: once from the same weights, whatever their role.

    Args:
        build: from weights.
        rebuild: the same, of what was built from others and is not needed any more; None builds anew.
    """

    def __init__(
        self, build: Callable[[Weights], Built], rebuild: Callable[[Built, Weights], Built] | None = None
    ) -> None:
        self._build, self._rebuild = build, rebuild
        self._built: dict[str, Built] = {}

    def of(self, *asked: Weights | None) -> list[Any]:
        """Of each of the weights what was built from them, None for None; others are forgotten."""
        wanted = {weights.key: weights for weights in asked if weights is not None}
        left = [built for key, built in self._built.items() if key not in wanted] if self._rebuild is not None else []
        # What is not used again is freed before anything new is made.
        self._built = {key: built for key, built in self._built.items() if key in wanted}
        for key, weights in wanted.items():
            if key in self._built:
                continue
            reused = self._rebuild(left.pop(), weights) if left and self._rebuild is not None else None
            self._built[key] = self._build(weights) if reused is None else reused
        return [None if weights is None else self._built[weights.key] for weights in asked]


class _Policy:
    """A generator, frozen, and its sampler.

    Args:
        network: in evaluation mode, without gradients.
        plan: common to the run.
        base: digest of what it reads and nobody trains; None where there is nothing of that kind.
        loaded: names of the weights that were put into it.
    """

    def __init__(self, network: Generator, plan: RolloutPlan, base: str | None, loaded: Set[str]) -> None:
        self.network, self.plan, self.base, self.loaded = network, plan, base, loaded

    @cached_property
    def sampler(self) -> Sampler:
        """Draws from it."""
        plan = self.plan
        return sampler_of(self.network, plan.space, plan.draw, plan.chunk_rows, plan.writer)

    @cached_property
    def cold(self) -> Sampler | None:
        """Draws from it as the behaviour policy does beside it; None where that is the policy itself."""
        plan, draw = self.plan, self.plan.behaviour.cold(self.plan.draw)
        return None if draw is None else sampler_of(self.network, plan.space, draw, plan.chunk_rows, plan.writer)


class RolloutWorker:
    """Computes shards.

    Args:
        plan: common to the run.
        generator: architecture of the generator.
        discriminator: architecture of the discriminator, or None.
        gpus: above 0 it computes on a GPU.

    Raises:
        ConfigError: there is no GPU where one is asked for.
    """

    def __init__(
        self,
        plan: RolloutPlan,
        generator: GeneratorSettings,
        discriminator: DiscriminatorSettings | None,
        gpus: float = 0.0,
    ) -> None:
        self._device = device_of("workers.gpus_per_rollout", gpus)
        self._plan, self._generator, self._discriminator = plan, generator, discriminator
        self._policies: _Current[_Policy] = _Current(self._build_policy, self._rebuild_policy)
        self._scorers: _Current[Scorer] = _Current(self._build_scorer)
        self._features: _Current[Scorer] = _Current(self._build_features)
        self._critics: _Current[Critic] = _Current(self._build_critic)
        self._references: _Current[_Policy] = _Current(self._build_policy)

    def _build_policy(self, weights: Weights) -> _Policy:
        generator = network_of(
            lambda: build_generator(self._generator, self._plan.space), weights.tensors, weights.base
        )
        # Frozen, so that a stepper need not copy it.
        network = generator.to(self._device).eval().requires_grad_(False)
        return _Policy(
            network, self._plan, None if weights.base is None else weights.base.digest, frozenset(weights.tensors)
        )

    def _rebuild_policy(self, policy: _Policy, weights: Weights) -> _Policy:
        """The network of old weights with new ones: none has to be made, and a base stays where it is."""
        base = None if weights.base is None else weights.base.digest
        # A network that is frozen cannot tell which weights are missing: they must be those that it was built with.
        if base != policy.base or not policy.network.keeps_nothing or weights.tensors.keys() != policy.loaded:
            return self._build_policy(weights)
        return _Policy(load_weights(policy.network, weights.tensors), self._plan, base, policy.loaded)

    def _build_scorer(self, weights: Weights) -> Scorer:
        return self._build_judge(weights).scorer()

    def _build_features(self, weights: Weights) -> Scorer:
        judge = self._build_judge(weights)

        @torch.no_grad()
        def features(tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
            return judge.output_features(tokens, mask, conditions)

        return features

    def _build_critic(self, weights: Weights) -> Critic:
        judge = self._build_judge(weights)

        @torch.no_grad()
        def verdicts(duels: Duels) -> Tensor:
            at_once = judge.rows_at_once
            rows = [slice(first, first + at_once) for first in range(0, len(duels), at_once)]
            return torch.cat([judge.verdict_logprobs(duels.rows(some)) for some in rows])

        return verdicts

    def _build_judge(self, weights: Weights) -> Discriminator:
        settings = self._discriminator
        assert settings is not None
        discriminator = network_of(
            lambda: build_discriminator(settings, self._plan.space), weights.tensors, weights.base
        )
        return discriminator.to(self._device).eval().requires_grad_(False)

    def run(
        self,
        shard: Shard,
        generator: Weights,
        rollout_policy: Weights | None,
        discriminator: Weights | None,
        reference: Weights | None,
    ) -> Rollouts:
        """Compute one shard with one thread.

        Args:
            shard: which part of which batch.
            generator: weights of the policy that samples.
            rollout_policy: weights of the policy that continues prefixes, or None where none are continued.
            discriminator: weights of the discriminator that scores, or None.
            reference: weights of the generator whose log-probabilities are wanted, or None; without any of its own it
                is the base of the generator that samples.

        Returns:
            The shard's rollouts.
        """
        with torch_threads(SHARD_THREADS), naming_what_to_lower("a rollout worker", _LOWER):
            if shard.is_soft:
                return collect_soft(self._plan, shard, self._policies.of(generator)[0].network)
            policy, continuing = self._policies.of(generator, rollout_policy)
            scorer = self._scorers.of(None if shard.reads_verdicts else discriminator)[0]
            samplers = policy.sampler, None if continuing is None else continuing.sampler
            near = self._reference(reference, policy.network)
            features = self._features.of(discriminator if shard.reads_features else None)[0]
            critic = self._critics.of(discriminator if shard.reads_verdicts else None)[0]
            own, cold = policy.network.given, policy.cold
            return collect(self._plan, shard, *samplers, scorer, near, self._device, own, cold, features, critic)

    def _reference(self, reference: Weights | None, network: Generator) -> Conditional | None:
        """The distributions of a reference: of a network of its own, or of the policy's without what is trained."""
        if reference is None:
            return None
        if reference.base is not None and not reference.tensors:
            return network.without_training
        (near,) = self._references.of(reference)
        return near.network.given


class LocalRollouts:
    """One worker in this process.

    Args:
        worker: computes the shards.
    """

    def __init__(self, worker: RolloutWorker) -> None:
        self._worker = worker

    def publish(self, weights: Weights) -> Weights:
        """See `RolloutPool.publish`."""
        return weights

    def collect(
        self,
        shards: Sequence[Shard],
        generator: Weights,
        rollout_policy: Weights | None = None,
        discriminator: Weights | None = None,
        reference: Weights | None = None,
    ) -> list[Rollouts]:
        """See `RolloutPool.collect`."""
        results = []
        with stage("shards", item="shard", total=len(shards)):
            for shard in shards:
                results.append(self._worker.run(shard, generator, rollout_policy, discriminator, reference))
                advance()
        return results

    def close(self) -> None:
        """See `RolloutPool.close`."""


@dataclass(frozen=True, slots=True)
class Published:
    """Weights in the object store.

    Attributes:
        weights: a reference to `Weights.named`.
        base: digest of their base; None where they have none.
    """

    weights: ray.ObjectRef
    base: str | None


class RolloutActor(RolloutWorker):
    """A `RolloutWorker` on a cluster."""

    def run_published(self, bases: dict[str, ray.ObjectRef], shard: Shard, *networks: Weights | None) -> Rollouts:
        """See `RolloutWorker.run`.

        Args:
            bases: digest → where a base is, which is fetched if this process has not had it yet.
            shard: which part of which batch.
            networks: the four of `RolloutWorker.run`, of their bases only the names.
        """
        for digest, reference in bases.items():
            if digest not in _BASES:
                _BASES[digest] = ray.get(reference)
        whole = [
            weights if weights is None or weights.base is None else weights.with_base(_BASES[weights.base.digest])
            for weights in networks
        ]
        return self.run(shard, *whole)  # type: ignore[arg-type]  # the first is never None

    def process(self) -> ProcessInfo:
        """Which process this actor is."""
        return this_process()


@dataclass(eq=False)
class _Seat:
    """A place for an actor: who sits there now and what it is doing.

    Attributes:
        index: number of the place.
        actor: who sits there; None while the place is given up.
        process: which process that is, once it is known.
        losses: actors lost here in a row, without a finished shard in between.
        shard: index of the shard that is being computed; None while idle, and while the actor is being started.
        is_ready: whether the actor has answered its first call.
        answer: reference of the call that is open, None while idle.
        asked_at: when that call was made, in seconds of the monotonic clock.
    """

    index: int
    actor: Any
    process: ProcessInfo | None = None
    losses: int = 0
    shard: int | None = None
    is_ready: bool = False
    answer: Any = None
    asked_at: float = 0.0


class RayRollouts:
    """Rollout actors on a Ray cluster, any of which may be lost at any moment.

    A lost actor is made anew, on any node that has room: now, or when one joins. Its shard goes to whoever is free.
    Work begins with the first actor; the others join it as they find room.

    Args:
        faults: how often a call is tried again.
        room: where they stand.
        role: how many, and what each reserves.
        plan: common to the run.
        generator: architecture of the generator.
        discriminator: architecture of the discriminator, or None.
    """

    def __init__(
        self,
        faults: Faults,
        room: Room,
        role: Role,
        plan: RolloutPlan,
        generator: GeneratorSettings,
        discriminator: DiscriminatorSettings | None,
    ) -> None:
        self._faults, self._role = faults, role
        # Spread, for each node that has an actor fetches the weights once, and a lost node should take few with it.
        self._remote = ray.remote(num_cpus=role.cpus, num_gpus=role.gpus, **room.spread)(RolloutActor)
        self._arguments = (plan, generator, discriminator, role.gpus)
        self._bases: dict[str, ray.ObjectRef] = {}
        self._seats = [_Seat(index, None) for index in range(role.number)]
        for seat in self._seats:
            self._start(seat)
        started = time.monotonic()
        self._await_one()
        while (late := [seat for seat in self._seats if not seat.is_ready]) and (
            time.monotonic() - started < _START_TOGETHER_S
        ):
            self._next_answers(at_most_s=1.0)
        if late:
            logger.warning("%d of %d rollout workers have not started yet; the others begin", len(late), role.number)
        room.yielded_by(self._give_way)

    def publish(self, weights: Weights) -> Published:
        """See `RolloutPool.publish`: into the object store, from where each node fetches it once; a base but once."""
        if weights.base is None:
            return Published(ray.put(weights), None)
        digest = weights.base.digest
        if digest not in self._bases:
            self._bases[digest] = ray.put(weights.base)
        return Published(ray.put(weights.named), digest)

    def collect(
        self,
        shards: Sequence[Shard],
        generator: Published,
        rollout_policy: Published | None = None,
        discriminator: Published | None = None,
        reference: Published | None = None,
    ) -> list[Rollouts]:
        """See `RolloutPool.collect`."""
        for seat in self._seats:
            seat.shard = None  # what an interrupted call left running is not waited for, and not taken for ours
            if seat.actor is None:
                self._start(seat)
        results: dict[int, Rollouts] = {}
        tries: Counter[int] = Counter()
        waiting = deque(range(len(shards)))
        with stage("shards", item="shard", total=len(shards)):
            self._collect_all(shards, (generator, rollout_policy, discriminator, reference), waiting, tries, results)
        return [results[index] for index in range(len(shards))]

    def _collect_all(
        self,
        shards: Sequence[Shard],
        networks: tuple[Published | None, ...],
        waiting: deque[int],
        tries: Counter[int],
        results: dict[int, Rollouts],
    ) -> None:
        """Hand shards out until all results are there."""
        weights = [None if network is None else network.weights for network in networks]
        # In a dictionary, for an argument of its own would be fetched with each call.
        bases = {network.base: self._bases[network.base] for network in networks if network and network.base}
        while len(results) < len(shards):
            self._await_one()
            for seat in self._seats:
                if waiting and seat.is_ready and seat.answer is None:
                    seat.shard = waiting.popleft()
                    tries[seat.shard] += 1
                    self._ask(seat, seat.actor.run_published, bases, shards[seat.shard], *weights)
            for index, answer in self._next_answers(tries):
                if answer is None:
                    waiting.appendleft(index)
                else:
                    results[index] = answer
                    advance()

    def _await_one(self) -> None:
        """Wait until somebody is there to work."""
        if any(seat.is_ready for seat in self._seats):
            return
        with reporting_wait(self._role):
            while not any(seat.is_ready for seat in self._seats):
                self._next_answers()

    def _ask(self, seat: _Seat, method: Any, *arguments: Any) -> None:
        seat.answer, seat.asked_at = method.remote(*arguments), time.monotonic()

    def _start(self, seat: _Seat) -> None:
        seat.actor, seat.is_ready, seat.shard = self._remote.remote(*self._arguments), False, None
        self._ask(seat, seat.actor.process)

    def _give_way(self, to: str) -> None:
        """Make room for what the run cannot do without; whoever left asks for a place again with the next batch.

        Those without a place leave first, for they would take what is made free; then one that works, but never the
        last.
        """
        leaving = [seat for seat in self._seats if seat.actor is not None and not seat.is_ready]
        working = [seat for seat in self._seats if seat.is_ready]
        for seat in leaving or working[1:][-1:]:
            logger.warning("rollout worker %d stops to make room for the %s", seat.index, to)
            ray.kill(seat.actor)
            seat.actor, seat.is_ready, seat.answer = None, False, None

    def _next_answers(
        self, tries: Mapping[int, int] | None = None, at_most_s: float = math.inf
    ) -> list[tuple[int, Rollouts | None]]:
        """Wait until something happens.

        Args:
            tries: how often each shard has been handed out.
            at_most_s: seconds to wait.

        Returns:
            Finished shards as (index, rollouts), and those to be handed out again as (index, None).
        """
        busy = [seat for seat in self._seats if seat.answer is not None]
        # An actor that has no place yet may wait for as long as others work.
        timed = [seat for seat in busy if seat.shard is not None] or busy
        patience = min(seat.asked_at + self._allowed_s(seat) for seat in timed) - time.monotonic()
        ready, _ = ray.wait([seat.answer for seat in busy], timeout=max(0.0, min(patience, at_most_s)))
        now = time.monotonic()
        late = [seat for seat in timed if now - seat.asked_at >= self._allowed_s(seat)]
        events: list[tuple[int, Rollouts | None]] = []
        for seat in busy:
            if seat.answer in ready:
                events += self._take(seat, tries or {})
            elif seat in late:
                events += self._lost(seat, self._late(seat), None, tries or {})
        return events

    def _allowed_s(self, seat: _Seat) -> float:
        """Seconds that a seat's call may take."""
        return self._faults.call_timeout_s if seat.is_ready else self._faults.start_timeout_s

    def _late(self, seat: _Seat) -> str:
        if seat.is_ready:
            return f"it did not respond within workers.call_timeout_s={self._faults.call_timeout_s:g} seconds"
        return f"it did not start within {self._faults.start_timeout_s:g} seconds; free on the cluster: {free()}"

    def _take(self, seat: _Seat, tries: Mapping[int, int]) -> list[tuple[int, Rollouts | None]]:
        try:
            answer = ray.get(seat.answer)
        except Exception as error:
            reason = fault_of(error)
            if reason is None and seat.is_ready and seat.shard is None:
                seat.answer = None  # an error of the interrupted call, which has been raised once
                return []
            if reason is None:
                raise as_raised(error) from error
            return self._lost(seat, reason, error, tries)
        seat.answer, index = None, seat.shard
        if not seat.is_ready:
            require_same_versions(f"rollout worker {seat.index}", answer)
            seat.process, seat.is_ready = answer, True
            return []
        seat.shard, seat.losses = None, 0
        return [] if index is None else [(index, answer)]

    def _lost(
        self, seat: _Seat, reason: str, error: Exception | None, tries: Mapping[int, int]
    ) -> list[tuple[int, Rollouts | None]]:
        ray.kill(seat.actor)  # it may only be hung
        index = seat.shard
        seat.losses += 1
        # A shard that costs every actor its life is as hopeless as an actor that dies of every shard.
        losses = seat.losses if index is None else max(seat.losses, tries[index])
        who = f"rollout worker {seat.index}" + (f" ({seat.process})" if seat.is_ready else "")
        who += "" if index is None else f" with shard {index}"
        self._faults.record("rollout worker", who, reason, losses, error)
        self._start(seat)
        if index is None:
            return []
        self._faults.reissued_shards += 1
        return [(index, None)]

    def processes(self) -> list[ProcessInfo]:
        """Which processes the actors are, as far as they have started."""
        return [seat.process for seat in self._seats if seat.process is not None and seat.is_ready]

    def close(self) -> None:
        """See `RolloutPool.close`."""
        for seat in self._seats:
            if seat.actor is not None:
                ray.kill(seat.actor)
