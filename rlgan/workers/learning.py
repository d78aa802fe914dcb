"""What learns where a learner is: a generator as RLlib's module, and RLlib's learner that minimises weighted terms.

Of RLlib's learner only the loop over minibatches and the averaging among several learners are used; gradients that are
not finite end the run here. A minibatch that does not fit into memory goes through in parts, whose gradients add up.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from rlgan.base.activity import advance
from rlgan.base.placeholders import values_follow
from rlgan.base.weights import Weights
from rlgan.generators import Distribution, Generator, build_generator
from rlgan.layers.micro_batches import micro_batches
from rlgan.layers.optimizers import build_optimizer, clip_gradients, optimizer_state, restore_optimizer_state
from rlgan.layers.relaxation import Relaxation
from rlgan.policy.learner_loss import learner_loss, logprob_gap, pair_ratios
from rlgan.sampling.sampler import mixed_inputs
from rlgan.training.parts import LearnerPhase

from .through import Through

MODULE = "default_policy"
"""RLlib's name of the one module that there is."""
_ENTROPIES = "entropies"
_ROW_LOSSES = "row_losses"
_RIVALS = "rivals"
_RIVAL_LOGPROBS = "rival_logprobs"
_LATENT_KL = "latent_kl"
_STATE_VALUES = "state_values"
_GOAL_COSINES = "goal_cosines"


_OTHER_PASSES = ("input_draws", "residual_weights", _RIVALS, "entropy_weights")
"""Fields of a batch for which more is read of a distribution than log-probabilities of the batch's own tokens."""


class GeneratorModule(TorchRLModule):
    """A generator as an RLlib module: tokens in, log-probabilities of those tokens out."""

    def setup(self) -> None:
        """Build the generator; called by RLlib."""
        # Values follow in any case; see `GeneratorLearners`.
        with nullcontext() if self.model_config["has_values"] else values_follow():
            self.generator = build_generator(self.model_config["generator"], self.model_config["space"])
        if self.model_config["through"] is not None:
            # Not as a module of this one: its parameters are not to be learned here.
            network, loss = self.model_config["through"]
            object.__setattr__(self, "through", Through(network, loss, self.model_config["space"]))
        self.temperature = 1.0

    def _forward(self, batch: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        if "row_weights" in batch:
            return self._judged(batch)
        latents, inferred = self._latents(batch)
        conditions = batch.get("conditions")
        distribution = self.generator.given(conditions, latents)
        if "goal_weights" not in batch:
            return self._learned(distribution, batch) | inferred
        if any(name in batch for name in _OTHER_PASSES):
            cosines = distribution.goal_cosines(batch["tokens"])
            return self._learned(distribution, batch) | {_GOAL_COSINES: cosines}
        logprobs, cosines = distribution.logprobs_and_goal_cosines(batch["tokens"], self.temperature)
        return {Columns.ACTION_LOGP: logprobs, _GOAL_COSINES: cosines}

    def _learned(self, distribution: Distribution, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Log-probabilities of the tokens, and what else terms of the loss read of the distribution."""
        if "input_draws" in batch:
            conditions = batch.get("conditions")
            read = mixed_inputs(self.generator.stepper().conditional(conditions), batch["tokens"], batch["input_draws"])
            return {Columns.ACTION_LOGP: distribution.logprobs(batch["tokens"], read=read)}
        if "residual_weights" in batch:
            logprobs, values = distribution.logprobs_and_values(batch["tokens"])
            return {Columns.ACTION_LOGP: logprobs, _STATE_VALUES: values}
        rivals = {}
        if _RIVALS in batch:
            rivals[_RIVAL_LOGPROBS] = distribution.logprobs(batch[_RIVALS], self.temperature)
        if "entropy_weights" not in batch:
            return {Columns.ACTION_LOGP: distribution.logprobs(batch["tokens"], self.temperature), **rivals}
        logprobs, entropies = distribution.logprobs_and_entropies(batch["tokens"], self.temperature)
        return {Columns.ACTION_LOGP: logprobs, _ENTROPIES: entropies, **rivals}

    def _latents(self, batch: dict[str, Tensor]) -> tuple[Tensor | None, dict[str, Tensor]]:
        """What rows were drawn given, or may have been; and what it costs to infer that, where it is inferred."""
        latents = batch.get("latents")
        if latents is None or "infers_latents" not in batch:
            return latents, {}
        posterior = self.generator.posterior(batch["tokens"], batch.get("conditions"))
        infers = (batch["infers_latents"] != 0).unsqueeze(1)
        return torch.where(infers, posterior.drawn(latents), latents), {_LATENT_KL: posterior.kl}

    def _distribution(self, batch: dict[str, Tensor], rows: Tensor | None = None) -> Distribution:
        """The distribution of a batch, or of some of its rows."""
        return self.generator.conditional(_conditions(batch, rows))

    def _judged(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of rows that are drawn anew, and log-probabilities of the others' tokens."""
        tokens = batch["tokens"]
        drawn = batch["row_weights"] != 0
        if not self.generator.has_likelihood:
            # All its rows are drawn. What fills a learner's share up has no tokens to be likely either, and weighs 0.
            drawn = torch.ones_like(drawn)
        logprobs = tokens.new_zeros(tokens.shape, dtype=torch.float32)
        if not bool(drawn.all()):
            logprobs = logprobs.masked_scatter(
                ~drawn.unsqueeze(1), self._distribution(batch, ~drawn).logprobs(tokens[~drawn])
            )
        losses = logprobs.new_zeros(tokens.shape[0])
        if bool(drawn.any()):
            reals = batch["row_reals"][drawn] if "row_reals" in batch else None
            found = self.through.losses(self.generator, batch["row_seeds"][drawn], _conditions(batch, drawn), reals)
            losses = losses.masked_scatter(drawn, found)
        return {Columns.ACTION_LOGP: logprobs, _ROW_LOSSES: losses}


def _conditions(batch: dict[str, Tensor], rows: Tensor | None) -> Tensor | None:
    """What the rows of a batch, or some of them, are given."""
    conditions = batch.get("conditions")
    return conditions if conditions is None or rows is None else conditions[rows]


class GeneratorLearner(TorchLearner):
    """Minimises the terms of `Experience` with the optimiser of the current phase."""

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
        self._part_losses: list[float] = []
        self._losses: list[float] = []
        self._gradient_norms: list[float] = []
        self._clipped: list[tuple[int, int]] = []
        self._pairs: list[tuple[float, float, int, int]] = []
        self._implied: list[tuple[float, int]] = []
        self._goals: list[float] = []
        self._is_first_step, self._logprob_gap = False, 0.0

    def begin(
        self,
        phase: LearnerPhase,
        seed: int,
        threads: int,
        judge: Weights | None,
        relaxation: Relaxation | None,
        rate: float,
        temperature: float,
    ) -> None:
        """Choose optimiser, rate and the policy's temperature, seed dropout and set threads for the next update."""
        self._phase = phase
        # RLlib puts back the settings' own rate behind each update.
        for group in self._phase_optimizers[phase].param_groups:
            group["lr"] = rate * self.config.learner_config_dict["optimizers"][phase].lr
        if judge is not None:
            self._unwrapped().through.load(judge, relaxation)
        self._unwrapped().temperature = temperature
        self.network().use_dropout(phase == "mle")
        self._is_first_step, self._logprob_gap = True, 0.0
        torch.manual_seed(seed)
        torch.set_num_threads(threads)

    def _uncompiled_update(self, batch: dict[str, Any], **kwargs: Any) -> tuple[Any, Any, Any]:
        """One optimiser step; called by RLlib."""
        rows, most_tokens = batch[MODULE], self.config.learner_config_dict["tokens_at_once"]
        parts: list[Tensor] = []
        if most_tokens is not None:
            read = [
                self.network().num_read(rows[name], rows.get("conditions"))
                for name in ("tokens", _RIVALS)
                if name in rows
            ]
            parts = micro_batches(torch.cat(read, 1), most_tokens)
        result = self._in_parts(rows, parts) if len(parts) > 1 else super()._uncompiled_update(batch, **kwargs)
        self._losses.append(math.fsum(self._part_losses))
        self._part_losses = []
        return result

    def _in_parts(self, rows: dict[str, Tensor], parts: list[Tensor]) -> tuple[Any, Any, Any]:
        """One optimiser step whose gradient is added up part by part, each of which is forgotten before the next."""
        for optimizer in self._phase_optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        for number, part in enumerate(parts):
            index = part.to(rows["tokens"].device)
            batch = {MODULE: {name: tensor[index] for name, tensor in rows.items()}}
            # The last part's backward averages over learners what all parts have added up.
            with self._alone() if number + 1 < len(parts) else nullcontext():
                found = self.module.forward_train(batch)
                losses = self.compute_losses(fwd_out=found, batch=batch)
                losses[MODULE].backward()
            del found
        gradients = {name: parameter.grad for name, parameter in self._params.items()}
        self.apply_gradients(self.postprocess_gradients(gradients))
        return {}, {MODULE: losses[MODULE].detach()}, {}

    def _alone(self) -> AbstractContextManager[None]:
        """Within it gradients stay where they are computed."""
        if self.config.num_learners <= 1:
            return nullcontext()
        alone: AbstractContextManager[None] = self.module[MODULE].no_sync()
        return alone

    def compute_loss_for_module(
        self, *, module_id: str, config: AlgorithmConfig, batch: dict[str, Any], fwd_out: dict[str, Tensor]
    ) -> Tensor:
        """The sum of all terms whose weights are there; called by RLlib, or for each part of a minibatch."""
        objective, logprobs = self.config.learner_config_dict["objective"], fwd_out[Columns.ACTION_LOGP]
        rival_logprobs, state_values = fwd_out.get(_RIVAL_LOGPROBS), fwd_out.get(_STATE_VALUES)
        cosines = fwd_out.get(_GOAL_COSINES)
        loss = learner_loss(objective, batch, logprobs, fwd_out.get(_ENTROPIES), rival_logprobs, state_values, cosines)
        if cosines is not None:
            self._goals.append(-float((batch["goal_weights"] * cosines.detach()).sum()))
        if state_values is not None:
            with torch.no_grad():
                is_real = batch["residual_weights"] != 0
                rewards = objective.implied_rewards(logprobs, state_values, is_real)
                self._implied.append((float(rewards.sum()), int(is_real.sum())))
        if rival_logprobs is not None:
            real, fake = (one.detach() for one in pair_ratios(batch, logprobs, rival_logprobs))
            self._pairs.append((float(real.sum()), float(fake.sum()), int((real > fake).sum()), len(real)))
        if _ROW_LOSSES in fwd_out:
            loss = loss + (batch["row_weights"] * fwd_out[_ROW_LOSSES]).sum()
        if _LATENT_KL in fwd_out:
            # Rows of weight 0 may not have learned to infer anything: what they cost may be no number.
            weights = batch["latent_kl_weights"]
            loss = loss + (weights * fwd_out[_LATENT_KL])[weights != 0].sum()
        self._part_losses.append(float(loss.detach()))
        if self._is_first_step and "old_logprobs" in batch:
            # In this order what is no number stays.
            self._logprob_gap = max(logprob_gap(logprobs, batch["old_logprobs"]), self._logprob_gap)
        if "clipped_weights" in batch:
            self._clipped.append(objective.clipped(logprobs, batch["old_logprobs"], batch["clipped_weights"]))
        # DDP averages the learners' gradients; the weights are those of the whole batch, so theirs must be summed.
        return loss * max(1, config.num_learners)

    def postprocess_gradients(self, gradients_dict: dict[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        """Clip by the phase's global norm; called by RLlib after the learners' gradients were averaged."""
        parameters = [self._params[name] for name in gradients_dict]
        self._gradient_norms.append(clip_gradients(parameters, self._clip_norms[self._phase]))
        return gradients_dict

    def apply_gradients(self, gradients_dict: dict[Hashable, Tensor]) -> None:
        """Step the phase's optimiser; called by RLlib."""
        optimizer = self._phase_optimizers[self._phase]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)  # until the next batch they would only take memory
        self._is_first_step = False
        advance()

    def rng(self) -> dict[str, Tensor]:
        """State of the random numbers that dropout draws, by kind of device."""
        states = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self._device)
        return states

    def restore_rng(self, states: dict[str, Tensor]) -> None:
        """Put back what `rng` returned."""
        torch.set_rng_state(states["cpu"])
        if self._device.type == "cuda" and "cuda" in states:  # else the run has moved to a GPU within the update
            torch.cuda.set_rng_state(states["cuda"], self._device)

    def take_metrics(self) -> dict[str, list[Any]]:
        """What there is to report of the steps since `begin`.

        Returns:
            Losses, gradient norms, (held by the clip, of so many) and (sums of log-ratios of real sequences and of
            their rivals, in how many pairs the first is greater, of so many) and (sum of implied rewards, of so many
            tokens) of each; the goals' part of the loss of each, or of its parts; and, of the first one, how far the
            learner's log-probabilities lie from the sampler's.
        """
        taken: dict[str, list[Any]] = {
            "loss": self._losses,
            "grad_norm": self._gradient_norms,
            "clipped": self._clipped,
            "pairs": self._pairs,
            "implied": self._implied,
            "goals": self._goals,
            "logprob_gap": [self._logprob_gap],
        }
        self._losses, self._gradient_norms, self._clipped, self._pairs, self._implied = [], [], [], [], []
        self._goals = []
        return taken

    def network(self) -> Generator:
        """The generator itself."""
        # Unwrapped, for among several learners the module stands inside torch's DistributedDataParallel.
        generator: Generator = self._unwrapped().generator
        return generator

    def _unwrapped(self) -> Any:
        return self.module[MODULE].unwrapped()

    def optimizer_states(self) -> dict[str, Any]:
        """State of each phase's optimiser."""
        return {phase: optimizer_state(optimizer) for phase, optimizer in self._phase_optimizers.items()}

    def restore_optimizer_states(self, states: dict[str, Any]) -> None:
        """Put back what `optimizer_states` returned."""
        for phase, optimizer in self._phase_optimizers.items():
            restore_optimizer_state(optimizer, states[phase])
