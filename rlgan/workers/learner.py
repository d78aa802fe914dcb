"""The generator's learner: RLlib's LearnerGroup around weighted log-likelihoods.

The learner executes weights of tokens and never asks where they come from. Normalisers and baselines were
formed on the whole batch by the driver, so splitting rows over learners and averaging their gradients, times the number
of learners, is the gradient of the whole batch.

What of RLlib is used: `TorchRLModule`, `TorchLearner` (both in `learning`), `LearnerGroup` built from an
`AlgorithmConfig`. What is not: its environment runners (see docs/architecture.md), its metrics logger, and its habit of
setting gradients that are not finite to zero: here they end the run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

import gymnasium
import numpy as np
import ray
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from torch import Tensor, nn

from rlgan.adversary.losses import LossSettings
from rlgan.base.activity import advance, already, stage
from rlgan.base.devices import bfloat16_notes, device_of
from rlgan.base.memory import naming_what_to_lower
from rlgan.base.placeholders import values_follow
from rlgan.base.seeding import global_stream, stream_seed
from rlgan.base.threads import torch_threads
from rlgan.base.weights import (
    Base,
    Tensors,
    Weights,
    as_base,
    frozen_names,
    load_weights,
    packed,
    trained_of,
    unpacked,
    weights_of,
)
from rlgan.discriminators import DiscriminatorSettings
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators import GeneratorSettings, build_generator
from rlgan.layers.embeddings import load_pretrained
from rlgan.layers.optimizers import OptimizerSettings
from rlgan.layers.relaxation import Relaxation
from rlgan.policy.objectives import ObjectiveSettings, Reinforce
from rlgan.sampling.records import Experience
from rlgan.training.parts import LearnerPhase

from .faults import Fault, Faults, as_raised, fault_of
from .learning import MODULE, GeneratorLearner, GeneratorModule
from .placement import Role, Room, reporting_wait
from .processes import ProcessInfo, require_same_versions, this_process


class _GeneratorConfig(AlgorithmConfig):
    """RLlib asks every configuration for a default module, also where another one is given."""

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=GeneratorModule)


class GeneratorLearners:
    """The learners of a run as one.

    Args:
        generator: architecture.
        space: the task's sequences.
        optimizers: settings of each phase's optimiser.
        role: how many data-parallel actors, and what each reserves; 0 learn in this process.
        threads: intra-op threads of a learner.
        seed: the run's seed; initialises the generator.
        faults: how often a call is tried again.
        room: where the actors stand; None where there are none.
        objective: the adversarial phase's loss.
        through: the discriminator's architecture and loss, where the generator is differentiated through it.
        pretrained: (V, P) columns that the embedding begins with; None where it has none, or weights will be loaded.
        begins: whether the generator begins here, with the weights of the files that it names; False where all weights
            are about to be put in their place.
        tokens_at_once: most tokens, prompts and padding included, of which gradients are computed at once; None for
            whole minibatches.

    Attributes:
        notes: lines for the log: which weights it begins with.

    Raises:
        ConfigError: there is no GPU where one is asked for.
        DataError: a file that the generator begins from is wrong.
    """

    _FIRST_AT_ONCE = 8  # minibatches before `between` is called for the first time
    _BETWEEN_S = {False: 10.0, True: 60.0}  # about; from learner actors the whole state is sent each time

    def __init__(
        self,
        generator: GeneratorSettings,
        space: SequenceSpace,
        optimizers: dict[LearnerPhase, OptimizerSettings],
        role: Role,
        threads: int,
        seed: int,
        faults: Faults,
        room: Room | None = None,
        objective: ObjectiveSettings | None = None,
        through: tuple[DiscriminatorSettings, LossSettings] | None = None,
        pretrained: Tensor | None = None,
        begins: bool = True,
        tokens_at_once: int | None = None,
    ) -> None:
        if not role.number:
            device_of("workers.gpus_per_learner", role.gpus)
        self._faults, self._room, self._role = faults, room, role
        self._threads, self._num_learners, self._seed = threads, role.number, seed
        objective = objective or Reinforce()
        self._pair_names = objective.pair_names
        self._num_updates = 0
        self._version = 0
        self._begun: _Begun | None = None
        # RLlib warns of its own deprecated calls each time a module is built, and prints each error before it hands it
        # back; here an error is raised and a loss is told in a line.
        for noisy in ("ray.rllib", "ray.train", "ray._common.deprecation"):
            logging.getLogger(noisy).setLevel(logging.CRITICAL)
        config = (
            _GeneratorConfig()
            # A policy gradient of sequences with latents leaves alone what infers latents; one that teaches no goals,
            # what sets them.
            .framework(
                "torch",
                torch_ddp_kwargs={"find_unused_parameters": generator.latent_width > 0 or generator.sets_goals},
            )
            .api_stack(enable_rl_module_and_learner=True, enable_env_runner_and_connector_v2=True)
            .learners(
                num_learners=role.number,
                num_gpus_per_learner=role.gpus,
                learner_class=GeneratorLearner,
                # They turn episodes into batches, and ours are batches. RLlib looks through all modules of the process
                # and all files of the stack for each that it makes: up to seconds a learner.
                add_default_connectors_to_learner_pipeline=False,
                learner_config_dict={
                    "optimizers": optimizers,
                    "objective": objective,
                    "tokens_at_once": tokens_at_once,
                },
            )
        )
        # Among several learners torch sends the first one's values to the others, before ours are loaded.
        described = {"generator": generator, "space": space, "through": through, "has_values": role.number > 1}
        module = RLModuleSpec(module_class=GeneratorModule, model_config=described)
        observation = gymnasium.spaces.Box(0, space.vocab_size, (space.max_length,), np.int64)
        action: gymnasium.Space[Any] = gymnasium.spaces.Discrete(space.vocab_size)
        config = config.rl_module(rl_module_spec=module)
        spec = config.get_multi_rl_module_spec(spaces={MODULE: (observation, action)})
        self._build_group = partial(config.build_learner_group, rl_module_spec=spec)
        self._group: LearnerGroup | None = None
        # What the driver holds of actors that may be lost: the state after the last call that changed it.
        self._kept: _LearnerState | None = None
        self._base: Base | None = None
        self._snapshot: Weights | None = None

        def begin() -> list[ProcessInfo]:
            self._replace()
            return self._each(_process)

        for process in faults.retry("learner", "a learner", begin, lambda: None):
            require_same_versions("a learner", process)
        follow = values_follow() if generator.begins_trained or not begins else nullcontext()
        with global_stream(seed, "generator", "initial"), follow:
            initial = build_generator(generator, space)
        load_pretrained(initial, pretrained)
        self.notes = initial.take_files() if begins else ()
        if initial.dtype == torch.bfloat16 and not role.gpus:
            self.notes += bfloat16_notes("generator.dtype", threads)
        self._frozen = frozen_names(initial)
        if begins:
            self.load(weights_of(initial, 0).complete)
        else:
            self._version += 1

    def _replace(self) -> None:
        """A new group, in the state that the driver holds."""
        if self._group is not None:
            # RLlib's shutdown asks every learner to take its leave, and waits long for one that hangs.
            for learner in self._group._workers or ():
                ray.kill(learner)
            self._group.shutdown()
        # RLlib gives the place back when it ends the group.
        place = self._room.reserve(self._role).group if self._room is not None and self._num_learners else None
        with reporting_wait(self._role) if self._num_learners else nullcontext():
            self._group = self._build_group(placement_group=place)
        if self._kept is not None:
            self._each(partial(_restore, self._kept, self._base))

    def _each(self, function: Callable[[GeneratorLearner], Any]) -> list[Any]:
        """Results of a function of every learner.

        RLlib hands errors back as if they were results, and from then on leaves the learner out.

        Raises:
            LearnerLostError: a learner was lost; the others' results are void, for they may have waited for it.
            Exception: whatever the function raised.
        """
        assert self._group is not None
        timeout_s = self._faults.call_timeout_s if self._num_learners else None
        results = list(self._group.foreach_learner(function, timeout_seconds=timeout_s))
        errors = [result.get() for result in results if not result.ok]
        for error in errors:
            if reason := fault_of(error):
                raise LearnerLostError(reason) from error
        if errors:
            raise as_raised(errors[0])
        if len(results) < max(1, self._num_learners):
            raise LearnerLostError("it did not respond in time")
        return [result.get() for result in results]

    def _change(self, function: Callable[[GeneratorLearner], Any]) -> list[Any]:
        """`_each` for functions that change the learners and return (their state if they are the first, a result).

        With learner actors: after a loss the group is built anew from the state that the driver holds, and the function
        is called again.
        """
        self._snapshot = None
        if not self._num_learners:
            return [result for _, result in self._each(function)]

        answers = self._faults.retry("learner", "a learner", lambda: self._each(function), self._replace)
        self._kept = next(state for state, _ in answers if state is not None)
        return [result for _, result in answers]

    def update(
        self,
        phase: LearnerPhase,
        experience: Experience,
        minibatch: int,
        judge: Weights | None = None,
        relaxation: Relaxation | None = None,
        rate: float = 1.0,
        temperature: float = 1.0,
        between: Callable[[], None] | None = None,
    ) -> dict[str, float]:
        """One optimiser step for each minibatch, in order.

        Args:
            phase: whose optimiser.
            experience: rows in order; a multiple of `minibatch`.
            minibatch: rows a step.
            judge: weights of the discriminator, where rows are drawn anew and differentiated through it.
            relaxation: how their tokens are drawn; None where the generator draws none.
            rate: factor of the phase's learning rate.
            temperature: divides the logits of all log-probabilities and entropies: that of the policy which drew.
            between: see `Learners.update`; for rows of likelihood alone.

        Returns:
            See `Learners.update`.
        """
        assert experience.tokens.shape[0] % minibatch == 0
        assert between is None or experience.tensors().keys() <= _OF_LIKELIHOOD
        shards, rows = _split(experience, minibatch, max(1, self._num_learners))
        given: dict[str, Any] = {"phase": phase, "threads": self._threads, "rate": rate}
        given |= {"judge": judge, "relaxation": relaxation, "temperature": temperature}
        given |= {"seed": stream_seed(self._seed, "learner", self._num_updates)}
        number = experience.tokens.shape[0] // minibatch
        if self._begun is None:
            self._version += 1
        begun = self._begun or _Begun()
        at_once = number if between is None else self._FIRST_AT_ONCE
        with torch_threads(self._threads), torch.random.fork_rng(devices=[]), stage("learn", "", "batch", number):
            already(begun.batches)
            while begun.batches < number:
                some = min(at_once, number - begun.batches)
                here = slice(begun.batches * rows, (begun.batches + some) * rows)
                parts = [shard.map(itemgetter(here)) for shard in shards]
                started = time.monotonic()
                answers = self._change(partial(_learn, shards=parts, minibatch=rows, given=given, rngs=begun.rngs))
                if self._num_learners:
                    advance(some)  # learners in other processes do not tell
                begun = begun.with_more(some, answers)
                if between is not None and begun.batches < number:
                    self._begun = begun
                    between()
                    took_s = time.monotonic() - started
                    at_once = max(1, round(some * self._BETWEEN_S[bool(self._num_learners)] / max(took_s, 1e-3)))
        self._begun = None
        self._num_updates += 1
        taken = begun.taken
        num_steps = len(taken[0]["loss"])
        metrics = {
            # Every learner holds part of the sum; the gradient is the same on all of them.
            "loss": sum(sum(one["loss"]) for one in taken) / num_steps,
            "grad_norm": sum(taken[0]["grad_norm"]) / num_steps,
        }
        if clipped := [counted for one in taken for counted in one["clipped"]]:
            metrics["clipped_share"] = sum(held for held, _ in clipped) / max(1, sum(number for _, number in clipped))
        if pairs := [counted for one in taken for counted in one["pairs"]]:
            first, second, ordered, number_of_pairs = (sum(one) for one in zip(*pairs, strict=True))
            if number_of_pairs:  # where all sequences are worth the same, none is preferred
                one, other = self._pair_names
                metrics[f"{one}_log_ratio"] = first / number_of_pairs
                metrics[f"{other}_log_ratio"] = second / number_of_pairs
                metrics["pair_accuracy"] = ordered / number_of_pairs
        if implied := [counted for one in taken for counted in one["implied"]]:
            metrics["implied_reward"] = sum(total for total, _ in implied) / sum(number for _, number in implied)
        if goals := [part for one in taken for part in one["goals"]]:
            metrics["goal_loss"] = sum(goals) / num_steps
        if experience.old_logprobs is not None:
            metrics["logprob_gap_max"] = max(gap for one in taken for gap in one["logprob_gap"])
        return metrics

    @property
    def version(self) -> int:
        """Version of the weights of now; rises with every update."""
        return self._version

    @property
    def num_begun(self) -> int:
        """See `Learners.num_begun`."""
        return 0 if self._begun is None else self._begun.batches

    def weights(self) -> Weights:
        """Weights of now; the version counts updates."""
        if self._snapshot is None:
            if self._kept is not None:
                tensors: Tensors = unpacked(self._kept.weights, copies=False)
            else:
                tensors = self._each(lambda learner: trained_of(learner.network()))[0]
            self._snapshot = Weights(self._version, tensors, self._base)
        return self._snapshot

    def load(self, tensors: Tensors) -> None:
        """Put weights into every learner; counts as a new version. What nobody trains is read where it lies."""
        trained, base = self._parted(tensors)
        self._change(partial(_load, packed(trained), base))
        self._base = base
        self._version += 1

    def _parted(self, tensors: Tensors) -> tuple[Tensors, Base | None]:
        """What is trained of weights, and their base; the one that stands in the learners where it is the same."""
        known: Tensors = {} if self._base is None or self._base.tensors is None else self._base.tensors
        frozen = {name: tensor for name in self._frozen if (tensor := tensors.get(name, known.get(name))) is not None}
        is_known = frozen.keys() == known.keys() and all(known[name] is tensor for name, tensor in frozen.items())
        base = self._base if is_known else as_base(frozen)
        return {name: tensor for name, tensor in tensors.items() if name not in self._frozen}, base

    def processes(self) -> list[ProcessInfo]:
        """Which processes the learners are."""
        return self._each(_process)

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        state = self._kept.optimizers if self._kept is not None else self._each(_optimizers_of)[0]
        return {
            "weights": self.weights().complete,
            "optimizers": unpacked(state),
            "num_updates": self._num_updates,
            "version": self._version,
            "begun": None if self._begun is None else self._begun.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        trained, base = self._parted(state["weights"])
        kept = _LearnerState(packed(trained), packed(state["optimizers"]))
        self._change(partial(_restore, kept, base))
        self._base = base
        self._num_updates, self._version = state["num_updates"], state["version"]
        begun = state.get("begun")  # older versions broke no update off
        self._begun = None if begun is None else _Begun.of(begun, max(1, self._num_learners))

    def close(self) -> None:
        """End the learner actors."""
        assert self._group is not None
        self._group.shutdown()


# ---------------------------------------------------------------------------- what runs where a learner is


class LearnerLostError(Fault):
    """A learner actor is gone, and with it what the others computed."""


@dataclass(frozen=True, slots=True)
class _LearnerState:
    """What a learner is made anew from.

    Attributes:
        weights: what is trained, as arrays.
        optimizers: phase → state of its optimiser, as arrays.
    """

    weights: dict[str, Any]
    optimizers: dict[str, Any]


_OF_LIKELIHOOD = {
    "tokens",
    "weights",
    "conditions",
    "input_draws",
    "latents",
    "infers_latents",
    "latent_kl_weights",
    "goal_weights",
}
"""Fields of rows whose steps report nothing but losses and norms of gradients."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """How far an update is.

    Attributes:
        batches: minibatches done.
        taken: what each learner reported of them.
        rngs: of each learner, the states of its random numbers after the last of them; None before the first.
    """

    batches: int = 0
    taken: tuple[dict[str, list[Any]], ...] = ()
    rngs: tuple[dict[str, Tensor], ...] | None = None

    def with_more(self, number: int, answers: list[tuple[dict[str, list[Any]], dict[str, Tensor]]]) -> _Begun:
        """After so many more minibatches, by what each learner answered."""
        before: tuple[dict[str, list[Any]], ...] = self.taken or ({},) * len(answers)
        taken = tuple(
            {name: [*old.get(name, ()), *new[name]] for name in new}
            for old, (new, _) in zip(before, answers, strict=True)
        )
        return _Begun(self.batches + number, taken, tuple(rng for _, rng in answers))

    def state(self) -> dict[str, Any]:
        """For a checkpoint: numbers as tensors, for there may be many."""
        kept = [{name: torch.tensor(one[name], dtype=torch.float64) for name in one} for one in self.taken]
        return {"batches": self.batches, "taken": kept, "rngs": [dict(rng) for rng in self.rngs or ()]}

    @classmethod
    def of(cls, state: dict[str, Any], num_learners: int) -> _Begun:
        """What `state` returned, for so many learners.

        If they were more or fewer, the first stands for all of them, and dropout begins again with the update's seed:
        its masks differ between numbers of learners in any case.
        """
        taken = tuple({name: tensor.tolist() for name, tensor in one.items()} for one in state["taken"])
        if len(taken) == num_learners:
            return cls(state["batches"], taken, tuple(state["rngs"]))
        whole: dict[str, list[Any]] = {name: [row for one in taken for row in one[name]] for name in taken[0]}
        whole["loss"] = [sum(parts) for parts in zip(*(one["loss"] for one in taken), strict=True)]
        whole["grad_norm"] = taken[0]["grad_norm"]
        return cls(state["batches"], (whole, *({name: [] for name in whole} for _ in range(num_learners - 1))), None)


_LOWER = (
    "Set workers.tokens_at_once, or lower it: gradients stay those of whole batches. Of a language model also set "
    "generator.checkpointing, or train an adapter alone (generator.training lora)."
)


def _rank() -> int:
    """Which learner this is: 0 in process, and the first of several."""
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


def _learn(
    learner: GeneratorLearner,
    shards: list[Experience],
    minibatch: int,
    given: dict[str, Any],
    rngs: tuple[dict[str, Tensor], ...] | None,
) -> tuple[_LearnerState | None, tuple[dict[str, list[Any]], dict[str, Tensor]]]:
    learner.begin(**given)
    if rngs is not None:
        learner.restore_rng(rngs[_rank()])
    data = TrainingData(batch=_batch(shards[_rank()]))
    with naming_what_to_lower("the learner", _LOWER):
        learner.update(training_data=data, minibatch_size=minibatch, num_epochs=1)
    return _first_state(learner), (learner.take_metrics(), learner.rng())


def _load(arrays: dict[str, Any], base: Base | None, learner: GeneratorLearner) -> tuple[_LearnerState | None, None]:
    load_weights(learner.network(), unpacked(arrays, copies=False), base)
    return _first_state(learner), None


def _restore(state: _LearnerState, base: Base | None, learner: GeneratorLearner) -> tuple[_LearnerState | None, None]:
    load_weights(learner.network(), unpacked(state.weights, copies=False), base)
    learner.restore_optimizer_states(unpacked(state.optimizers))
    return _first_state(learner), None


def _first_state(learner: GeneratorLearner) -> _LearnerState | None:
    """The state, from the first of several learners; in process nobody needs a copy."""
    return _state_of(learner) if learner.config.num_learners and _rank() == 0 else None


def _state_of(learner: GeneratorLearner) -> _LearnerState:
    return _LearnerState(packed(trained_of(learner.network())), _optimizers_of(learner))


def _optimizers_of(learner: GeneratorLearner) -> dict[str, Any]:
    states: dict[str, Any] = packed(learner.optimizer_states())
    return states


def _process(learner: GeneratorLearner) -> ProcessInfo:
    return this_process()


def _batch(experience: Experience) -> MultiAgentBatch:
    rows = SampleBatch(experience.tensors())
    return MultiAgentBatch({MODULE: rows}, env_steps=experience.tokens.shape[0])


def _split(experience: Experience, minibatch: int, num_learners: int) -> tuple[list[Experience], int]:
    """A slice of every minibatch for each learner, padded with rows of weight 0 so that all have as many."""
    rows = -(-minibatch // num_learners)
    missing = rows * num_learners - minibatch

    def slices(index: int) -> Experience:
        def cut(tensor: Tensor) -> Tensor:
            steps = tensor.view(-1, minibatch, *tensor.shape[1:])
            # Of each step's rows, the second dimension, whatever stands behind it.
            padded = nn.functional.pad(steps, (0, 0) * (tensor.dim() - 1) + (0, missing))
            return padded[:, index * rows : (index + 1) * rows].flatten(0, 1)

        return experience.map(cut)

    return [slices(index) for index in range(num_learners)], rows
