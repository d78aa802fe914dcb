"""Maximum-likelihood pretraining of the generator: line 2 of Algorithm 1 of Yu et al. 2017."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

from rlgan.base.activity import stage
from rlgan.base.weights import Tensors
from rlgan.evaluation.evaluator import Evaluator
from rlgan.layers.embeddings import with_embeddings_of
from rlgan.schedule.phases import Phase

from .shared import Done, Shared


class Pretraining:
    """An iteration is an epoch: all training sequences once.

    Args:
        shared: of the run.
        evaluator: measures the likelihood of validation sequences, where that ends pretraining.
        start: generator weights that take the place of pretraining; None trains.

    Attributes:
        num_done: epochs done.
        start: the generator's weights when pretraining was over, with which the adversarial phase and all controls
            begin; None before.
        between: see `Trainer.between`.
    """

    name: ClassVar[Phase] = "mle"

    def __init__(self, shared: Shared, evaluator: Evaluator, start: Tensors | None = None) -> None:
        self._shared, self._evaluator, self._schedule = shared, evaluator, shared.config.schedule
        self.num_done, self.has_ended = 0, False
        self.between: Callable[[], None] | None = None
        self.start: Tensors | None = None
        self._best_nll, self._epochs_without_gain = math.inf, 0
        self._best_weights: Tensors | None = None
        if start is not None:
            shared.parts.learners.load(start)
        if start is not None or self.is_finished:
            self.end()

    @property
    def is_finished(self) -> bool:
        """Whether it is over, by count or by patience."""
        return self.has_ended or self.num_done >= self._schedule.mle_epochs

    @property
    def title(self) -> str:
        """The next epoch, for people."""
        return f"MLE epoch {self.num_done + 1} of {self._schedule.mle_epochs}"

    def step(self) -> Done:
        """Learn all training sequences once by likelihood."""
        schedule, epoch = self._schedule, self.num_done
        metrics = {"mle/own_inputs": schedule.mle_inputs.share_in(epoch)} if schedule.mle_inputs.draws_tokens else {}
        learners, rate = self._shared.parts.learners, schedule.mle_rate(epoch)
        experience = self._shared.real.epoch(epoch, again=learners.num_begun > 0)
        with self._shared.timings.timed("timing/mle_s"):
            learned = learners.update("mle", experience, schedule.mle_batch, rate=rate, between=self.between)
        generator = self._shared.config.generator
        # Of sequences with latents there is a bound, which may not be taken for a likelihood.
        has_latents = bool(generator.latent_width)
        of_goals = learned.get("goal_loss", 0.0)
        metrics["mle/train_loss" if has_latents else "mle/train_nll"] = learned["loss"] - of_goals
        if generator.sets_goals:
            metrics["mle/goal_loss"] = of_goals
        metrics["mle/grad_norm"] = learned["grad_norm"]
        if has_latents:
            metrics["mle/latent_kl_weight"] = generator.latent_kl_weight(epoch)
        self.num_done += 1
        has_enough = False
        if schedule.mle_patience is not None:
            metrics["mle/valid_nll_bound" if has_latents else "mle/valid_nll"] = self._validate()
            has_enough = self._epochs_without_gain >= schedule.mle_patience
        if has_enough or self.is_finished:
            self.end()
        return Done(metrics)

    def _validate(self) -> float:
        """NLL of validation sequences; keeps the weights of the best epoch."""
        weights = self._shared.parts.learners.weights().complete
        task = self._shared.task
        conditions = None if task.conditions is None else task.conditions.valid
        with stage("validate", "likelihood of validation sequences"):
            generator = self._shared.generator_from(weights)
            nll = self._evaluator.held_out_nll(generator, task.valid, conditions=conditions)
        if nll < self._best_nll:
            self._best_nll, self._best_weights, self._epochs_without_gain = nll, weights, 0
        else:
            self._epochs_without_gain += 1
        return nll

    def end(self) -> None:
        """Take the best epoch's weights where epochs were compared; they are where the adversarial phase begins."""
        learners, config = self._shared.parts.learners, self._shared.config
        if self._best_weights is not None:
            learners.load(self._best_weights)
        self.has_ended, self.start, self._best_weights = True, learners.weights().complete, None
        judge = config.discriminator
        if judge is None or not (judge.copies_embeddings or judge.begins_as_generator):
            return
        discriminator = self._shared.discriminator
        state = discriminator.state()
        if judge.begins_as_generator:
            weights = judge.begun_as(self._shared.task.space, state["weights"], self.start)
        else:
            weights = with_embeddings_of(state["weights"], self.start)
        discriminator.restore({**state, "weights": weights})

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        return {
            "mle_start": self.start,
            "best_valid_nll": self._best_nll,
            "best_weights": self._best_weights,
            "epochs_without_gain": self._epochs_without_gain,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned; counts are in the trainer's position."""
        position = state["position"]
        self.num_done, self.has_ended = position["mle_epochs"], position["mle_finished"]
        self.start = state["mle_start"]
        self._best_nll, self._best_weights = state["best_valid_nll"], state["best_weights"]
        self._epochs_without_gain = state["epochs_without_gain"]
