"""The generator's learner: RLlib's LearnerGroup around a weighted log-likelihood.

The learner executes one weight a token and never asks where the weights come from. Normalisers and baselines were
formed on the whole batch by the driver, so splitting rows over learners and averaging their gradients, times the number
of learners, is the gradient of the whole batch.

What of RLlib is used: `TorchRLModule`, `TorchLearner`, `LearnerGroup` built from an `AlgorithmConfig`. What is not: its
environment runners (see docs/architecture.md), its metrics logger, and its habit of setting gradients that are not
finite to zero: here they end the run.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from torch import Tensor, nn

from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators import Generator, GeneratorSettings, build_generator
from rlgan.objectives import weighted_nll
from rlgan.optimizers import (
    OptimizerSettings,
    build_optimizer,
    clip_gradients,
    optimizer_state,
    restore_optimizer_state,
)
from rlgan.records import Experience
from rlgan.seeding import global_stream, stream_seed, torch_threads

from .weights import Weights, load_weights, weights_of

LearnerPhase = Literal["mle", "adversarial"]

_MODULE = "default_policy"


class GeneratorModule(TorchRLModule):
    """A generator as an RLlib module: tokens in, log-probabilities of those tokens out."""

    def setup(self) -> None:
        """Build the generator; called by RLlib."""
        self.generator = build_generator(self.model_config["generator"], self.model_config["space"])

    def _forward(self, batch: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        return {Columns.ACTION_LOGP: self.generator.logprobs(batch["tokens"])}


class GeneratorLearner(TorchLearner):
    """Minimises -Σ weights · logprob with the optimiser of the current phase."""

    def configure_optimizers_for_module(self, module_id: str, config: AlgorithmConfig | None = None) -> None:
        """One optimiser a phase over the same parameters; called by RLlib."""
        self._phase_optimizers: dict[str, torch.optim.Optimizer] = {}
        self._clip_norms: dict[str, float | None] = {}
        parameters = self.get_parameters(self.module[module_id])
        for phase, settings in self.config.learner_config_dict["optimizers"].items():
            optimizer = build_optimizer(settings, parameters)
            self._phase_optimizers[phase] = optimizer
            self._clip_norms[phase] = settings.clip_norm
            self.register_optimizer(
                module_id=module_id,
                optimizer_name=phase,
                optimizer=optimizer,
                params=parameters,
                lr_or_lr_schedule=settings.lr,
            )
        self._phase: str = "mle"
        self._losses: list[float] = []
        self._gradient_norms: list[float] = []

    def begin(self, phase: LearnerPhase, seed: int, threads: int) -> None:
        """Choose the optimiser, seed dropout and set this process's threads for the next update."""
        self._phase = phase
        self.network().use_dropout(phase == "mle")
        torch.manual_seed(seed)
        torch.set_num_threads(threads)

    def compute_loss_for_module(
        self, *, module_id: str, config: AlgorithmConfig, batch: dict[str, Any], fwd_out: dict[str, Tensor]
    ) -> Tensor:
        """The weighted negative log-likelihood; called by RLlib."""
        loss = weighted_nll(fwd_out[Columns.ACTION_LOGP], batch["weights"])
        self._losses.append(float(loss.detach()))
        # DDP averages the learners' gradients; the weights are those of the whole batch, so theirs must be summed.
        return loss * max(1, config.num_learners)

    def postprocess_gradients(self, gradients_dict: dict[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        """Clip by the phase's global norm; called by RLlib after the learners' gradients were averaged."""
        parameters = [self._params[name] for name in gradients_dict]
        self._gradient_norms.append(clip_gradients(parameters, self._clip_norms[self._phase]))
        return gradients_dict

    def apply_gradients(self, gradients_dict: dict[Hashable, Tensor]) -> None:
        """Step the phase's optimiser; called by RLlib."""
        self._phase_optimizers[self._phase].step()

    def take_metrics(self) -> dict[str, list[float]]:
        """Losses and gradient norms of the updates since the last call."""
        taken = {"loss": self._losses, "grad_norm": self._gradient_norms}
        self._losses, self._gradient_norms = [], []
        return taken

    def network(self) -> Generator:
        """The generator itself."""
        # Unwrapped, for among several learners the module stands inside torch's DistributedDataParallel.
        generator: Generator = self.module[_MODULE].unwrapped().generator
        return generator

    def optimizer_states(self) -> dict[str, Any]:
        """State of each phase's optimiser."""
        return {phase: optimizer_state(optimizer) for phase, optimizer in self._phase_optimizers.items()}

    def restore_optimizer_states(self, states: dict[str, Any]) -> None:
        """Put back what `optimizer_states` returned."""
        for phase, optimizer in self._phase_optimizers.items():
            restore_optimizer_state(optimizer, states[phase])


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
        num_learners: 0 learns in this process, N in N data-parallel actors.
        threads: intra-op threads of a learner.
        seed: the run's seed; initialises the generator.
    """

    def __init__(
        self,
        generator: GeneratorSettings,
        space: SequenceSpace,
        optimizers: dict[LearnerPhase, OptimizerSettings],
        num_learners: int,
        threads: int,
        seed: int,
    ) -> None:
        self._threads, self._num_learners, self._seed = threads, num_learners, seed
        self._num_updates = 0
        self._version = 0
        # RLlib warns of its own deprecated calls each time a module is built.
        for noisy in ("ray.rllib", "ray._common.deprecation"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        config = (
            _GeneratorConfig()
            .framework("torch")
            .api_stack(enable_rl_module_and_learner=True, enable_env_runner_and_connector_v2=True)
            .learners(
                num_learners=num_learners,
                learner_class=GeneratorLearner,
                learner_config_dict={"optimizers": optimizers},
            )
        )
        module = RLModuleSpec(module_class=GeneratorModule, model_config={"generator": generator, "space": space})
        observation = gymnasium.spaces.Box(0, space.vocab_size, (space.max_length,), np.int64)
        action: gymnasium.Space[Any] = gymnasium.spaces.Discrete(space.vocab_size)
        config = config.rl_module(rl_module_spec=module)
        spec = config.get_multi_rl_module_spec(spaces={_MODULE: (observation, action)})
        self._group = config.build_learner_group(rl_module_spec=spec)
        with global_stream(seed, "generator", "initial"):
            initial = build_generator(generator, space)
        self.load(weights_of(initial, 0).arrays)

    def _each(self, function: Any) -> list[Any]:
        """Results of a function of every learner.

        RLlib hands errors back as if they were results, and from then on leaves the learner out. Here both end the
        run, which can be resumed from its last checkpoint.
        """
        results = list(self._group.foreach_learner(function))
        for result in results:
            if not result.ok:
                raise result.get()
        if len(results) < max(1, self._num_learners):
            raise RuntimeError(f"{self._num_learners - len(results)} of {self._num_learners} learners have failed.")
        return [result.get() for result in results]

    def update(self, phase: LearnerPhase, experience: Experience, minibatch: int) -> dict[str, float]:
        """One optimiser step for each minibatch, in order.

        Args:
            phase: whose optimiser.
            experience: rows in order; a multiple of `minibatch`.
            minibatch: rows a step.

        Returns:
            "loss" and "grad_norm", means over the steps.
        """
        assert experience.tokens.shape[0] % minibatch == 0
        seed = stream_seed(self._seed, "learner", self._num_updates)
        self._num_updates += 1
        threads = self._threads
        with torch_threads(threads), torch.random.fork_rng(devices=[]):
            self._each(lambda learner: learner.begin(phase, seed, threads))
            if self._num_learners < 2:
                self._group.update(batch=_batch(experience), minibatch_size=minibatch, num_epochs=1)
            else:
                shards, rows = _split(experience, minibatch, self._num_learners)
                self._group.update(batches=[_batch(shard) for shard in shards], minibatch_size=rows, num_epochs=1)
            taken = self._each(lambda learner: learner.take_metrics())
        self._version += 1
        num_steps = len(taken[0]["loss"])
        return {
            # Every learner holds part of the sum; the gradient is the same on all of them.
            "loss": sum(sum(one["loss"]) for one in taken) / num_steps,
            "grad_norm": sum(taken[0]["grad_norm"]) / num_steps,
        }

    def weights(self) -> Weights:
        """Weights of now; the version counts updates."""
        version = self._version
        arrays = self._each(lambda learner: weights_of(learner.network(), version).arrays)[0]
        return Weights(version, arrays)

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Put weights into every learner; counts as a new version."""
        self._each(lambda learner: load_weights(learner.network(), arrays) and None)
        self._version += 1

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        return {
            "weights": {name: torch.tensor(array) for name, array in self.weights().arrays.items()},
            "optimizers": self._each(lambda learner: learner.optimizer_states())[0],
            "num_updates": self._num_updates,
            "version": self._version,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        self.load({name: value.numpy() for name, value in state["weights"].items()})
        optimizers = state["optimizers"]
        self._each(lambda learner: learner.restore_optimizer_states(optimizers))
        self._num_updates, self._version = state["num_updates"], state["version"]

    def close(self) -> None:
        """End the learner actors."""
        self._group.shutdown()


def _batch(experience: Experience) -> MultiAgentBatch:
    rows = SampleBatch({"tokens": experience.tokens, "weights": experience.weights})
    return MultiAgentBatch({_MODULE: rows}, env_steps=experience.tokens.shape[0])


def _split(experience: Experience, minibatch: int, num_learners: int) -> tuple[list[Experience], int]:
    """A slice of every minibatch for each learner, padded with rows of weight 0 so that all have as many."""
    rows = -(-minibatch // num_learners)
    tokens = experience.tokens.view(-1, minibatch, experience.tokens.shape[1])
    weights = experience.weights.view_as(tokens)
    missing = rows * num_learners - minibatch
    tokens = nn.functional.pad(tokens, (0, 0, 0, missing))
    weights = nn.functional.pad(weights, (0, 0, 0, missing))
    return [
        Experience(
            tokens=tokens[:, index * rows : (index + 1) * rows].flatten(0, 1),
            weights=weights[:, index * rows : (index + 1) * rows].flatten(0, 1),
        )
        for index in range(num_learners)
    ], rows
