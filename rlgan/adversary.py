"""How a discriminator learns: minibatches of reals and fakes, steps, rounds over replay buffers.

B sequences, T positions
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from rlgan.envs.priors import Choice
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.settings import Settings
from rlgan.envs.transition import sequence_mask

from .adversary_losses import ClassLosses, CrossEntropy, LossSettings, adversary_loss, class_losses
from .adversary_regularisers import (
    GradientPenaltySettings,
    InterpolatedPenalty,
    NoGradientPenalty,
    clip_weights,
    gradient_penalty,
    weight_penalty,
)
from .devices import CPU
from .discriminators import DiscriminatorSettings, build_discriminator
from .embeddings import load_pretrained
from .metrics import discriminator_health
from .optimizers import OptimizerSettings, build_optimizer, clip_gradients, optimizer_state, restore_optimizer_state
from .replay import ReplayBuffer
from .seeding import global_stream, stream


class AdversarySettings(Settings):
    """How the discriminator is trained."""

    loss: LossSettings = CrossEntropy()
    """What it minimises."""
    batch: Annotated[int, Choice((64, 128, 256, 512))] = Field(64, ge=2)
    """Sequences a minibatch, drawn from reals and fakes together, or half of each where the loss compares them."""
    sequences_per_round: Annotated[int, Choice((640, 2_000, 10_000))] = Field(10_000, ge=1)
    """Fresh fakes a round; each epoch sees as many reals and as many fakes from the buffers."""
    buffer: Annotated[int | None, Choice((None, 10_000, 50_000))] = Field(None, ge=1)
    """Sequences that each replay buffer holds; null holds one round, so that all fakes are fresh."""
    l2_all: Annotated[float | None, Choice((None, 1e-6, 1e-4))] = Field(None, gt=0.0)
    """λ of the penalty λ·½Σw² on all weights; null for none."""
    gradient_penalty: GradientPenaltySettings = NoGradientPenalty()
    """Penalty on the slope."""
    weight_clip: Annotated[float | None, Choice((None, 0.01, 0.1))] = Field(None, gt=0.0)
    """Greatest size of a weight, to which all are clipped after each step; null for none."""

    @property
    def needs_halves(self) -> bool:
        """Whether half of every minibatch must be real: something pairs reals with fakes."""
        return self.loss.needs_halves or isinstance(self.gradient_penalty, InterpolatedPenalty)


def one_prefix_each(mask: Tensor, rng: torch.Generator) -> Tensor:
    """The mask of one prefix of every sequence, its length uniform in 1 … the sequence's (Li et al. 2017, section 3.2).

    Args:
        mask: (B, T) bool.
        rng: source of all randomness.

    Returns:
        (B, T) bool.
    """
    lengths = mask.sum(1)
    chosen = (torch.rand(mask.shape[0], generator=rng) * lengths).long() + 1
    return mask & (torch.arange(mask.shape[1]) < chosen.unsqueeze(1))


@dataclass(frozen=True, slots=True)
class Round:
    """One call to the adversary: add fakes, train, report. The same call on the same state gives the same result.

    Attributes:
        index: number of this round in the run; names its random streams.
        fakes: (n, T) int64 fresh sequences of the generator.
        epochs: passes over the buffers.
        real_weight: what reals weigh in the loss; None takes the loss as it is, whole, and does not tell its classes
            apart.
        hold_above: held-out area under the ROC curve above which the round only measures, and adds the fakes.
    """

    index: int
    fakes: Tensor
    epochs: int
    real_weight: float | None = None
    hold_above: float | None = None


class Adversary:
    """A discriminator with its optimiser and its replay buffers.

    Args:
        network: architecture.
        settings: how it is trained.
        optimizer: its optimiser.
        space: the task's sequences.
        reals: (n, T) int64 training sequences.
        heldout_reals: (m, T) int64 never trained on, for the accuracy that is reported.
        seed: the run's seed.
        learns_prefixes: it learns from one prefix of each sequence, of a length drawn evenly, and not from whole
            sequences (REGS). All prefixes of a sequence together would be learnt by heart.
        device: where it computes; the buffers stay on the CPU.
        pretrained: (V, P) columns that the embedding begins with; None where it has none, or a state will be restored.
    """

    def __init__(
        self,
        network: DiscriminatorSettings,
        settings: AdversarySettings,
        optimizer: OptimizerSettings,
        space: SequenceSpace,
        reals: Tensor,
        heldout_reals: Tensor,
        seed: int,
        learns_prefixes: bool = False,
        device: torch.device = CPU,
        pretrained: Tensor | None = None,
    ) -> None:
        self._device, self._learns_prefixes = device, learns_prefixes
        self._settings, self._optimizer_settings, self._space, self._seed = settings, optimizer, space, seed
        self._reals, self._heldout_reals = reals, heldout_reals
        self._judges_tokens = network.granularity == "token"
        with global_stream(seed, "discriminator", "initial"):
            self.network = build_discriminator(network, space).to(device)
        load_pretrained(self.network, pretrained)
        self._optimizer = build_optimizer(optimizer, self.network.parameters())
        capacity = settings.buffer or settings.sequences_per_round
        self._real_buffer = ReplayBuffer(capacity, space.max_length)
        self._fake_buffer = ReplayBuffer(capacity, space.max_length)

    def train_round(self, request: Round) -> dict[str, float]:
        """Judge the fresh fakes while they are still unseen, then add them and train.

        Args:
            request: fakes and how long to train.

        Returns:
            Metrics of the round.
        """
        metrics = self._heldout_metrics(request.fakes)
        rng = stream(self._seed, "adversary", request.index)
        num_reals = min(self._settings.sequences_per_round, self._reals.shape[0])
        self._real_buffer.add(self._reals[torch.randperm(self._reals.shape[0], generator=rng)[:num_reals]])
        self._fake_buffer.add(request.fakes)
        if request.hold_above is None or metrics["discriminator/auc_heldout"] <= request.hold_above:
            with global_stream(self._seed, "adversary", "dropout", request.index):
                metrics |= self._train_epochs(request, rng)
        metrics["discriminator/buffer_real"] = float(len(self._real_buffer))
        metrics["discriminator/buffer_fake"] = float(len(self._fake_buffer))
        return metrics

    def _train_epochs(self, request: Round, rng: torch.Generator) -> dict[str, float]:
        self.network.train()
        num_each = min(len(self._real_buffer), len(self._fake_buffer), self._settings.sequences_per_round)
        losses, norms, slopes = [], [], []
        apart: list[ClassLosses] = []
        correct, scored = {True: 0, False: 0}, {True: 0, False: 0}  # by whether it is real
        for _ in range(request.epochs):
            reals, fakes = self._real_buffer.sample(num_each, rng), self._fake_buffer.sample(num_each, rng)
            tokens = torch.cat([reals, fakes])
            is_real = torch.arange(2 * num_each) < num_each
            for rows in self._minibatches(num_each, rng, is_balanced=request.real_weight is not None):
                batch, is_real_batch = tokens[rows].to(self._device), is_real[rows].to(self._device)
                mask = sequence_mask(self._space, batch)
                if self._learns_prefixes:
                    mask = one_prefix_each(mask.to(CPU), rng).to(self._device)
                member_logits = self.network.member_logits(batch, mask)
                member_losses = [
                    self._loss(logits, is_real_batch, mask if self._judges_tokens else None, request.real_weight, apart)
                    for logits in member_logits
                ]
                self._optimizer.zero_grad()
                # Sums, so that each member's gradient is that of a network alone.
                total = torch.stack(member_losses).sum() + self.network.penalty()
                if self._settings.l2_all is not None:
                    total = total + self._settings.l2_all * weight_penalty(self.network.parameters())
                if isinstance(self._settings.gradient_penalty, InterpolatedPenalty):
                    penalties = self._gradient_penalties(batch[is_real_batch], batch[~is_real_batch], rng)
                    total = total + self._settings.gradient_penalty.weight * penalties.sum()
                    slopes.append(float(penalties.detach().mean()))
                total.backward()
                norms.append(clip_gradients(self.network.parameters(), self._optimizer_settings.clip_norm))
                self._optimizer.step()
                if self._settings.weight_clip is not None:
                    clip_weights(self.network.parameters(), self._settings.weight_clip)
                losses.append(float(torch.stack(member_losses).detach().mean()))
                called_real = member_logits.detach().mean(0) > 0
                for kind in (True, False):
                    of_kind = is_real_batch == kind
                    if self._judges_tokens:
                        of_kind = of_kind.unsqueeze(1) & mask
                    correct[kind] += int((called_real[of_kind] == kind).sum())
                    scored[kind] += int(of_kind.sum())
        metrics = {
            "discriminator/loss": sum(losses) / len(losses),
            "discriminator/grad_norm": sum(norms) / len(norms),
        }
        if apart:
            metrics["discriminator/loss_real"] = sum(float(one.real) for one in apart) / len(apart)
            metrics["discriminator/loss_fake"] = sum(float(one.fake) for one in apart) / len(apart)
        if slopes:
            metrics["discriminator/gradient_penalty"] = sum(slopes) / len(slopes)
        if self._settings.loss.has_boundary:
            metrics["discriminator/accuracy_real"] = correct[True] / scored[True]
            metrics["discriminator/accuracy_fake"] = correct[False] / scored[False]
        return metrics

    def _loss(
        self,
        logits: Tensor,
        is_real: Tensor,
        mask: Tensor | None,
        real_weight: float | None,
        apart: list[ClassLosses],
    ) -> Tensor:
        """The loss of a minibatch; where reals have a weight, both classes are noted, too."""
        if real_weight is None:
            return adversary_loss(self._settings.loss, logits, is_real, mask)
        losses = class_losses(self._settings.loss, logits, is_real, mask)
        apart.append(ClassLosses(losses.real.detach(), losses.fake.detach()))
        return real_weight * losses.real + losses.fake

    def _gradient_penalties(self, reals: Tensor, fakes: Tensor, rng: torch.Generator) -> Tensor:
        """(M,) of what learns separately, all at the same points."""
        assert isinstance(self._settings.gradient_penalty, InterpolatedPenalty)
        epsilon = torch.rand(reals.shape[0], generator=rng).to(self._device)
        return torch.stack(
            [
                gradient_penalty(part, self._settings.gradient_penalty, self._space, reals, fakes, epsilon)
                for part in self.network.parts()
            ]
        )

    def _minibatches(self, num_each: int, rng: torch.Generator, is_balanced: bool) -> Iterator[Tensor]:
        """Every one of `num_each` reals, then fakes, once: their indices, a minibatch at a time."""
        if not (is_balanced or self._settings.needs_halves):
            yield from torch.randperm(2 * num_each, generator=rng).split(self._settings.batch)
            return
        # The buffers hand out reals and fakes in random order.
        for rows in torch.arange(num_each).split(self._settings.batch // 2):
            yield torch.cat([rows, num_each + rows])

    def _heldout_metrics(self, fresh_fakes: Tensor) -> dict[str, float]:
        scorer = self.network.scorer()
        number = min(1000, fresh_fakes.shape[0], self._heldout_reals.shape[0])
        logits = []
        for tokens in (self._heldout_reals[:number].to(self._device), fresh_fakes[:number].to(self._device)):
            mask = sequence_mask(self._space, tokens)
            scores = scorer(tokens, mask)
            logits.append((scores[mask] if self._judges_tokens else scores).to(CPU))
        health = discriminator_health(*logits)
        metrics = {"discriminator/auc_heldout": health.auc}
        if self._settings.loss.has_boundary:
            metrics["discriminator/accuracy_heldout"] = health.accuracy
        if self._settings.loss.is_log_odds:
            metrics["discriminator/mean_prob_real"] = health.mean_prob_real
            metrics["discriminator/mean_prob_fake"] = health.mean_prob_fake
        return metrics

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on: weights, optimiser, buffers."""
        return {
            "weights": {name: value.detach().clone() for name, value in self.network.state_dict().items()},
            "optimizer": optimizer_state(self._optimizer),
            "real_buffer": self._real_buffer.state(),
            "fake_buffer": self._fake_buffer.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        self.network.load_state_dict(state["weights"])
        restore_optimizer_state(self._optimizer, state["optimizer"])
        self._real_buffer.restore(state["real_buffer"])
        self._fake_buffer.restore(state["fake_buffer"])
