"""How a discriminator learns: minibatches of reals and fakes, steps, rounds over replay buffers.

B sequences, T positions
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from rlgan.base.activity import advance, stage
from rlgan.base.devices import CPU
from rlgan.base.seeding import global_stream, stream
from rlgan.base.weights import Tensors, Weights, as_base, base_of, load_weights, network_of, trained_of
from rlgan.discriminators import DiscriminatorSettings, Duels, PlainScorer, Scorer, build_discriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.generators import Generator, GeneratorSettings, build_generator
from rlgan.layers.embeddings import load_pretrained
from rlgan.layers.micro_batches import InParts, micro_batches
from rlgan.layers.optimizers import (
    OptimizerSettings,
    build_optimizer,
    clip_gradients,
    optimizer_state,
    restore_optimizer_state,
)
from rlgan.layers.relaxation import tokens_of
from rlgan.metrics import (
    Surface,
    auc,
    discriminator_health,
    length_matched_auc,
    probe_aucs,
    rank_correlation,
    shortcut_share,
    surface_of,
)

from .loss_base import ClassLosses
from .losses import prefix_log_ratios
from .margins import margin_health, sequence_scores
from .minibatches import Minibatch, Minibatches, Pairs
from .mismatched_pairs import TruePairs
from .regularisers import clip_weights, weight_penalty
from .replay_buffer import ReplayBuffer
from .settings import AdversarySettings
from .verdict_losses import verdict_health

MOST_HELDOUT = 1000
"""Sequences of a class that held-out figures are of, at most."""


@dataclass(frozen=True, slots=True)
class Round:
    """One call to the adversary: add fakes, train, report. The same call on the same state gives the same result.

    Attributes:
        index: number of this round in the run; names its random streams.
        fakes: (n, T) int64 fresh sequences of the generator, or soft rows (n, T, V) float32; none where the loss reads
            none.
        epochs: passes over the buffers.
        real_weight: what reals weigh in the loss; None takes the loss as it is, whole, and does not tell its classes
            apart.
        hold_above: held-out area under the ROC curve above which the round only measures, and adds the fakes.
        conditions: (n, S) int64 what each fake was given; None where they are given nothing.
        reals: real sequences of this round; None: drawn from the training sequences.
        policy: the generator that made the fakes, where the loss reads it.
        paired: (n, T) int64 the real sequence under each fake's condition; None where the loss compares none within a
            prompt, so that reals are drawn separately.
        group: fakes in a row under one condition; with `paired` only.
        rate: factor of the optimiser's learning rate.
    """

    index: int
    fakes: Tensor
    epochs: int
    real_weight: float | None = None
    hold_above: float | None = None
    conditions: Tensor | None = None
    reals: Pairs | None = None
    policy: Weights | None = None
    paired: Tensor | None = None
    group: int = 1
    rate: float = 1.0


def initial_stream(seed: int) -> AbstractContextManager[None]:
    """Within the block, torch's global random numbers are those that a run's discriminator is initialised by."""
    return global_stream(seed, "discriminator", "initial")


class Adversary:
    """A discriminator with its optimiser and its replay buffers.

    Args:
        network: architecture.
        settings: how it is trained.
        optimizer: its optimiser.
        space: the task's sequences.
        reals: n training sequences.
        heldout_reals: m that are never trained on, for the figures that are reported.
        seed: the run's seed.
        learns_prefixes: it learns from one prefix of each sequence, of a length drawn evenly, and not from whole
            sequences (REGS). All prefixes of a sequence together would be learnt by heart.
        fakes_are_soft: fakes are soft rows; then reals are handed to it as one-hot rows.
        device: where it computes; the buffers stay on the CPU.
        pretrained: (V, P) columns that the embedding begins with; None where it has none, or a state will be restored.
        policy: the generator's network, where the loss reads its log-probabilities.
        start: weights that it begins with in the place of random ones, name → tensor; None for random ones.
        probes: whether sequences are text, so that each round tells what can be told of them without reading.
    """

    def __init__(
        self,
        network: DiscriminatorSettings,
        settings: AdversarySettings,
        optimizer: OptimizerSettings,
        space: SequenceSpace,
        reals: Pairs,
        heldout_reals: Pairs,
        seed: int,
        learns_prefixes: bool = False,
        fakes_are_soft: bool = False,
        device: torch.device = CPU,
        pretrained: Tensor | None = None,
        policy: GeneratorSettings | None = None,
        start: Tensors | None = None,
        probes: bool = False,
    ) -> None:
        self._device = device
        self._settings, self._optimizer_settings, self._space, self._seed = settings, optimizer, space, seed
        self._reals, self._heldout_reals, self._probes = reals, heldout_reals, probes
        self._judges_tokens, self._judges_pairs = network.granularity == "token", network.reads == "pairs"
        self._writes_verdicts = network.writes_verdicts
        with initial_stream(seed):
            if start is None:
                self.network = build_discriminator(network, space)
            else:
                self.network = network_of(lambda: build_discriminator(network, space), start)
        load_pretrained(self.network, pretrained)
        self.base = base_of(self.network)
        self._take_reals(reals, "start")
        self.network.to(device)
        self._trained = [one for one in self.network.parameters() if one.requires_grad]
        self._optimizer = build_optimizer(optimizer, self._trained)
        self._policy: Generator | None = None
        if settings.loss.reads_policy:
            assert policy is not None
            self._policy = build_generator(policy, space).requires_grad_(False).eval().to(device)
        capacity = settings.buffer or settings.sequences_per_round
        true_pairs: TruePairs | None = None
        if settings.mismatched is not None:
            assert reals.conditions is not None
            true_pairs = TruePairs(reals.conditions, reals.tokens)
        copies = None if settings.perturbed is None else (settings.perturbed, settings.perturbed_share)
        self._minibatches = Minibatches(settings.batch, space, device, learns_prefixes, true_pairs, copies)
        condition_length = None if space.condition is None else space.condition.max_length
        row_size = space.vocab_size if fakes_are_soft else None
        self._real_buffer = ReplayBuffer(capacity, space.max_length, condition_length=condition_length)
        self._fake_buffer = ReplayBuffer(capacity, space.max_length, row_size, condition_length)

    def train_round(self, request: Round) -> dict[str, float]:
        """Judge the fresh fakes while they are still unseen, then add them and train.

        Args:
            request: fakes and how long to train.

        Returns:
            Metrics of the round.
        """
        if self._policy is not None:
            assert request.policy is not None
            load_weights(self._policy, request.policy.complete)
        metrics = {} if self._writes_verdicts else self._heldout_metrics(Pairs(request.fakes, request.conditions))
        rng = stream(self._seed, "adversary", request.index)
        if request.paired is None:
            reals = self._drawn_reals(rng) if request.reals is None else request.reals
        else:
            # Row by row beside the fakes, so that both buffers have them at the same place.
            reals = Pairs(request.paired, request.conditions)
            metrics |= self._verdicts(request) if self._writes_verdicts else self._margins(request)
        self._take_reals(reals, request.index)
        self._real_buffer.add(reals.tokens, reals.conditions)
        self._fake_buffer.add(request.fakes, request.conditions)
        if request.hold_above is None or metrics["discriminator/auc_heldout"] <= request.hold_above:
            with global_stream(self._seed, "adversary", "dropout", request.index), self._counted(request):
                metrics |= self._train_epochs(request, rng)
        metrics["discriminator/buffer_real"] = float(len(self._real_buffer))
        metrics["discriminator/buffer_fake"] = float(len(self._fake_buffer))
        return metrics

    def _take_reals(self, reals: Pairs, when: int | str) -> None:
        """Some real sequences for a network that judges others beside them; by a random stream of their own."""
        if number := self.network.num_reals:
            rng = stream(self._seed, "adversary", "beside", when)
            chosen = torch.randint(len(reals.tokens), (number,), generator=rng)
            taken = reals.rows(chosen)
            given = None if taken.conditions is None else taken.conditions.to(self._device)
            self.network.take_reals(taken.tokens.to(self._device), given)

    def _drawn_reals(self, rng: torch.Generator) -> Pairs:
        """As many training sequences as a round shows, none of them twice."""
        number = self._reals.tokens.shape[0]
        return self._reals.rows(torch.randperm(number, generator=rng)[: self._settings.sequences_per_round])

    def _counted(self, request: Round) -> AbstractContextManager[None]:
        if request.paired is not None:
            batches = -(-self._num_prompts(request.group) // self._minibatches.prompts_at_once(request.group))
            return stage("learn", item="batch", total=request.epochs * batches)
        rows = self._settings.batch // 2 if self._is_balanced(request) else self._settings.batch
        num_reals, num_fakes = self._epoch_size()
        batches = -(-(num_reals if self._is_balanced(request) else num_reals + num_fakes) // rows)
        return stage("learn", item="batch", total=request.epochs * batches)

    def _is_balanced(self, request: Round) -> bool:
        return request.real_weight is not None or self._settings.needs_halves

    def _epoch(self, request: Round, rng: torch.Generator) -> Iterator[Minibatch]:
        """The minibatches of a pass."""
        replay, num_new = self._settings.replay, len(request.fakes)
        if request.paired is not None:
            number, group = self._num_prompts(request.group), request.group
            drawn = self._fake_buffer.draw(number, rng, replay, num_new, group)
            return self._minibatches.of_prompts(self._real_buffer, self._fake_buffer, drawn, group, rng)
        num_reals, num_fakes = self._epoch_size()
        reals = Pairs(*self._real_buffer.sample(num_reals, rng))
        fakes = Pairs(*self._fake_buffer.rows(self._fake_buffer.draw(num_fakes, rng, replay, num_new)))
        return self._minibatches.of_classes(reals, fakes, rng, self._is_balanced(request))

    def _num_prompts(self, group: int) -> int:
        """Prompts of an epoch."""
        return min(len(self._fake_buffer), self._settings.sequences_per_round) // group

    def _train_epochs(self, request: Round, rng: torch.Generator) -> dict[str, float]:
        self.network.train()
        for group in self._optimizer.param_groups:
            group["lr"] = request.rate * self._optimizer_settings.lr
        losses: list[float] = []
        norms: list[float] = []
        slopes: list[float] = []
        apart: list[ClassLosses] = []
        correct, scored = Counter[str](), Counter[str]()  # by kind
        for _ in range(request.epochs):
            for batch in self._epoch(request, rng):
                if self._writes_verdicts:
                    duels = batch.duels(rng)
                    judged = InParts(partial(self._of_duels, duels), self._parts_of(self.network.num_read_of(duels)))
                    member_losses = [self._settings.loss.of_verdicts(one, rng) for one in judged.outputs]
                else:
                    judged = InParts(partial(self._logits, batch), self._parts(batch))
                    member_losses = [self._loss(batch, one, request.real_weight, apart) for one in judged.outputs]
                self._optimizer.zero_grad()
                # Sums, so that each member's gradient is that of a network alone; of its views the mean.
                total = torch.stack(member_losses).sum() / self.network.num_views + self.network.penalty()
                if self._settings.l2_all is not None:
                    total = total + self._settings.l2_all * weight_penalty(self._trained)
                penalty, ends = self._settings.gradient_penalty, (batch.reals, batch.fakes)
                if (cost := penalty.of(self.network.parts(), self._space, *ends, rng)) is not None:
                    total = total + cost.total
                    slopes.append(cost.mean)
                total.backward()
                judged.backward()
                norms.append(clip_gradients(self._trained, self._optimizer_settings.clip_norm))
                self._optimizer.step()
                # One loss has been noted for each step before this one.
                if self._settings.weight_clip is not None and (self._settings.clip_every == "step" or not losses):
                    clip_weights(self._trained, self._settings.weight_clip)
                losses.append(float(torch.stack(member_losses).detach().mean()))
                if self._settings.loss.has_boundary:
                    called_real = judged.outputs.detach().mean(0) > 0
                    for kind, rows_of_kind in batch.kinds.items():
                        counted = rows_of_kind.unsqueeze(1) & batch.mask if self._judges_tokens else rows_of_kind
                        correct[kind] += int((called_real[counted] == (kind == "real")).sum())
                        scored[kind] += int(counted.sum())
                advance()
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
            metrics |= {f"discriminator/accuracy_{kind}": correct[kind] / scored[kind] for kind in scored}
        return metrics

    def _parts(self, batch: Minibatch) -> list[Tensor]:
        """Which rows of a minibatch are computed together."""
        if self._settings.tokens_at_once is None:
            return [torch.arange(len(batch.mask))]
        return self._parts_of(self.network.num_read(batch.shown, batch.mask, batch.conditions))

    def _parts_of(self, lengths: Tensor) -> list[Tensor]:
        """Which of so many tokens (n, K) each are computed together."""
        most = self._settings.tokens_at_once
        return [torch.arange(len(lengths))] if most is None else micro_batches(lengths, most)

    def _of_duels(self, duels: Duels, rows: Tensor) -> Tensor:
        """Log-probabilities (1, n, 3) of the verdicts on some pairs."""
        some = duels if len(rows) == len(duels) else duels.rows(rows.to(self._device))
        return self.network.verdict_logprobs(some).unsqueeze(0)

    def _logits(self, batch: Minibatch, rows: Tensor) -> Tensor:
        """Logits (M, n) or (M, n, T) of some rows of a minibatch."""
        shown, mask, is_real, conditions = batch.shown, batch.mask, batch.is_real, batch.conditions
        if len(rows) < len(mask):
            rows = rows.to(self._device)
            shown, mask, is_real = shown[rows], mask[rows], is_real[rows]
            conditions = None if conditions is None else conditions[rows]
        logits = self.network.class_logits(shown, mask, is_real, conditions)
        return self._against_policy(logits, shown, mask, conditions)

    def _against_policy(self, logits: Tensor, tokens: Tensor, mask: Tensor, conditions: Tensor | None) -> Tensor:
        """Logits as the loss reads them: of a distribution, less the generator's own log-probabilities."""
        if self._policy is None:
            return logits
        with torch.no_grad():
            policy_logprobs = self._policy.conditional(conditions).logprobs(tokens)
        return prefix_log_ratios(logits, policy_logprobs, mask)

    def _loss(self, batch: Minibatch, logits: Tensor, real_weight: float | None, apart: list[ClassLosses]) -> Tensor:
        """The loss of a minibatch; where reals have a weight, both classes are noted, too."""
        settings, mask = self._settings, batch.mask if self._judges_tokens else None

        def of(rows: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
            return logits[rows], batch.is_real[rows], None if mask is None else mask[rows]

        if batch.prompts is not None and settings.loss.within_prompts:
            return settings.loss.of_prompts(logits, batch.is_real, batch.prompts, mask)
        if real_weight is None and settings.mismatched is None:
            is_unequal = batch.prompts is not None or batch.is_perturbed is not None
            return (settings.loss.of_unequal if is_unequal else settings.loss.of)(logits, batch.is_real, mask)
        losses = settings.loss.by_class(*of(~batch.is_mismatched))
        total = losses.fake + losses.real * (1.0 if real_weight is None else real_weight)
        if real_weight is not None:
            apart.append(ClassLosses(losses.real.detach(), losses.fake.detach()))
        if bool(batch.is_mismatched.any()):
            assert settings.mismatched is not None
            total = total + settings.mismatched * settings.loss.by_class(*of(batch.is_real | batch.is_mismatched)).fake
        return total

    def _epoch_size(self) -> tuple[int, int]:
        """Reals and fakes of an epoch: as many of each, or no fakes."""
        num_reals = min(len(self._real_buffer), self._settings.sequences_per_round)
        if not self._settings.loss.reads_fakes:
            return num_reals, 0
        num_each = min(num_reals, len(self._fake_buffer))
        return num_each, num_each

    def _heldout_metrics(self, fresh: Pairs) -> dict[str, float]:
        # What is fused for tokens cannot read soft rows.
        scorer = PlainScorer(self.network) if fresh.tokens.is_floating_point() else self.network.scorer()
        if self._settings.loss.is_of_a_distribution:
            # A distribution over tokens ranks nothing and has no boundary: it is measured as a language model is.
            return self._distribution_metrics(scorer, fresh)
        number = min(MOST_HELDOUT, fresh.tokens.shape[0], self._heldout_reals.tokens.shape[0])
        judged = [self._judged(scorer, one.rows(slice(number))) for one in (self._heldout_reals, fresh)]
        health = discriminator_health(*(_of_all(*one) for one in judged))
        metrics = {"discriminator/auc_heldout": health.auc} | self._part_metrics(fresh, number)
        metrics |= self._shortcuts(fresh, *(sequence_scores(*one) for one in judged))
        if self._settings.loss.has_boundary:
            metrics["discriminator/accuracy_heldout"] = health.accuracy
        if self._settings.loss.is_log_odds:
            metrics["discriminator/mean_prob_real"] = health.mean_prob_real
            metrics["discriminator/mean_prob_fake"] = health.mean_prob_fake
        return metrics

    @torch.no_grad()
    def _margins(self, request: Round) -> dict[str, float]:
        """How far reals stand above the fresh fakes of their prompts."""
        assert request.paired is not None
        number = min(MOST_HELDOUT, len(request.fakes)) // request.group * request.group
        scorer = self.network.scorer()

        def scores(tokens: Tensor) -> Tensor:
            given = None if request.conditions is None else request.conditions[: len(tokens)].to(self._device)
            tokens = tokens.to(self._device)
            mask = sequence_mask(self._space, tokens)
            return sequence_scores(scorer(tokens, mask, given), mask if self._judges_tokens else None).to(CPU)

        return margin_health(scores(request.paired[:number]), scores(request.fakes[:number])).metrics

    @torch.no_grad()
    def _verdicts(self, request: Round) -> dict[str, float]:
        """What the critic writes of fresh fakes beside the real sequences of their prompts, by its probabilities."""
        assert request.paired is not None and request.conditions is not None
        number = min(MOST_HELDOUT, len(request.fakes))
        prompts, reals, fakes = (
            one[:number].to(self._device) for one in (request.conditions, request.paired, request.fakes)
        )
        rng = stream(self._seed, "adversary", "orders", request.index)
        duels = Duels.in_random_order(prompts, reals, fakes, rng)
        self.network.eval()
        at_once = self.network.rows_at_once
        parts = [duels.rows(slice(first, first + at_once)) for first in range(0, number, at_once)]
        logprobs = torch.cat([self.network.verdict_logprobs(one) for one in parts])
        return verdict_health(logprobs, duels.is_real_first).metrics

    def _distribution_metrics(self, scorer: Scorer, fresh: Pairs) -> dict[str, float]:
        """NLL of unseen reals, a token; and how log p_φ/p_θ of whole sequences tells them from fresh fakes."""
        reals = self._heldout_reals.rows(slice(MOST_HELDOUT))
        logprobs, mask = self._logprobs(scorer, reals)
        metrics = {"discriminator/nll_heldout": -float(logprobs[mask].mean())}
        if self._policy is None:
            return metrics
        number = min(fresh.tokens.shape[0], reals.tokens.shape[0])
        some = reals.rows(slice(number)), (logprobs[:number], mask[:number])
        fakes = fresh.rows(slice(number))
        ratios = [self._log_ratios(pairs, *known) for pairs, known in (some, (fakes, self._logprobs(scorer, fakes)))]
        health = discriminator_health(*ratios)
        return (
            metrics
            | self._shortcuts(fresh, *ratios)
            | {
                "discriminator/auc_heldout": health.auc,
                "discriminator/accuracy_heldout": health.accuracy,
                "discriminator/mean_prob_real": health.mean_prob_real,
                "discriminator/mean_prob_fake": health.mean_prob_fake,
            }
        )

    def _logprobs(self, scorer: Scorer, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """(n, T) log p_φ of each token, and which are real, where the network computes."""
        tokens = pairs.tokens.to(self._device)
        mask = sequence_mask(self._space, tokens)
        return scorer(tokens, mask, None if pairs.conditions is None else pairs.conditions.to(self._device)), mask

    def _log_ratios(self, pairs: Pairs, logprobs: Tensor, mask: Tensor) -> Tensor:
        """(n,) log p_φ/p_θ of whole sequences."""
        conditions = None if pairs.conditions is None else pairs.conditions.to(self._device)
        prefixes = self._against_policy(logprobs, pairs.tokens.to(self._device), mask, conditions)
        return prefixes.gather(1, mask.sum(1, keepdim=True) - 1).squeeze(1).to(CPU)

    def _shortcuts(self, fresh: Pairs, real_scores: Tensor, fake_scores: Tensor) -> dict[str, float]:
        """What can be told of the same sequences without reading them, and what the discriminator adds to it.

        Args:
            fresh: fakes, of which the first are judged.
            real_scores: (n,) of the first held-out reals.
            fake_scores: (n,) of those fakes.
        """
        number = len(real_scores)
        if not self._probes or not number:
            return {}
        real = self._heldout_surface.rows(slice(number))
        fake = surface_of(self._space, tokens_of(fresh.tokens[:number]))
        probes = probe_aucs(real, fake)
        area = auc(real_scores, fake_scores)
        found = {
            **{f"probe/auc_{name}": value for name, value in probes.items()},
            "probe/share": shortcut_share(area, probes, number, number),
            "discriminator/auc_length_matched": length_matched_auc(
                real_scores, fake_scores, real.lengths, fake.lengths
            ),
            "discriminator/length_correlation": rank_correlation(fake_scores, fake.lengths),
            "discriminator/length_real": float(real.lengths.double().mean()),
            "discriminator/length_fake": float(fake.lengths.double().mean()),
        }
        return {name: value for name, value in found.items() if value is not None and not math.isnan(value)}

    @cached_property
    def _heldout_surface(self) -> Surface:
        return surface_of(self._space, self._heldout_reals.tokens[:MOST_HELDOUT].long())

    def _part_metrics(self, fresh: Pairs, number: int) -> dict[str, float]:
        """Of each part of a verdict its mean logit by kind of pair, and how it ranks reals against the other kinds.

        Only differences of a part's logits mean something, for a sum of parts leaves open which of them has a constant:
        so its boundary is not reported on.
        """
        kinds = {"real": self._heldout_reals.rows(slice(number)), "fake": fresh.rows(slice(number))}
        logits = {kind: self._part_logits(pairs) for kind, pairs in kinds.items()}
        if not logits["real"]:
            return {}
        if self._judges_pairs and len(self._heldout_mismatched.tokens):
            logits["mismatched"] = self._part_logits(self._heldout_mismatched.rows(slice(number)))
        metrics = {}
        for part, of_reals in logits["real"].items():
            for kind, of_kind in logits.items():
                metrics[f"discriminator/mean_{part}_{kind}"] = float(of_kind[part].mean())
                if kind != "real":
                    metrics[f"discriminator/auc_{part}_{kind}"] = auc(of_reals, of_kind[part])
        return metrics

    @cached_property
    def _heldout_mismatched(self) -> Pairs:
        """Held-out real sequences under conditions of others that they do not belong to, as far as there are such."""
        pairs = self._heldout_reals.rows(slice(MOST_HELDOUT))
        assert pairs.conditions is not None and self._reals.conditions is not None
        known = TruePairs(
            torch.cat([self._reals.conditions, pairs.conditions]), torch.cat([self._reals.tokens, pairs.tokens])
        )
        rng = stream(self._seed, "adversary", "mismatched_heldout")
        rows, others = known.mismatched(pairs.conditions, pairs.tokens, rng)
        return Pairs(pairs.tokens[rows], pairs.conditions[others])

    @torch.no_grad()
    def _part_logits(self, pairs: Pairs) -> dict[str, Tensor]:
        """Logits (n,) of each part of the verdict, dropout off; none where it is of one piece."""
        self.network.eval()
        found: list[dict[str, Tensor]] = []
        for first in range(0, len(pairs.tokens), self.network.rows_at_once):
            some = pairs.rows(slice(first, first + self.network.rows_at_once))
            tokens = some.tokens.to(self._device)
            some_conditions = None if some.conditions is None else some.conditions.to(self._device)
            found.append(
                self.network.part_logits(tokens, sequence_mask(self._space, tokens_of(tokens)), some_conditions)
            )
        return {name: torch.cat([one[name] for one in found]).to(CPU) for name in found[0]}

    def _judged(self, scorer: Scorer, pairs: Pairs) -> tuple[Tensor, Tensor | None]:
        """Logits of sequences (n,) and None, or of their tokens (n, T) and the mask of the real ones."""
        sequences = pairs.tokens.to(self._device)
        mask = sequence_mask(self._space, tokens_of(sequences))
        scores = scorer(sequences, mask, None if pairs.conditions is None else pairs.conditions.to(self._device))
        return scores.to(CPU), mask.to(CPU) if self._judges_tokens else None

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on: weights, optimiser, buffers."""
        return {
            "weights": Weights(0, trained_of(self.network), self.base).complete,
            "optimizer": optimizer_state(self._optimizer),
            "real_buffer": self._real_buffer.state(),
            "fake_buffer": self._fake_buffer.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        frozen = set() if self.base is None or self.base.tensors is None else set(self.base.tensors)
        self.base = as_base({name: one for name, one in state["weights"].items() if name in frozen})
        trained = {name: one for name, one in state["weights"].items() if name not in frozen}
        if self._device == CPU:
            # Read where it lies, which may be where the generator's lies.
            load_weights(self.network, trained, self.base)
        else:
            load_weights(self.network, state["weights"])
        restore_optimizer_state(self._optimizer, state["optimizer"])
        self._real_buffer.restore(state["real_buffer"])
        self._fake_buffer.restore(state["fake_buffer"])


def _of_all(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Logits of all that is judged, in one dimension: of sequences, or of their real tokens."""
    return logits if mask is None else logits[mask]
