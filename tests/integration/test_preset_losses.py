"""The losses of every preset: what they have no gradient in, and what changes none of them."""

from __future__ import annotations

import dataclasses
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from rlgan.base.weights import weights_of
from rlgan.config.config import Config
from rlgan.discriminators import Discriminator, build_discriminator
from rlgan.discriminators.duels import Duels
from rlgan.envs.tasks import Task, build_task
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import Generator, build_generator
from rlgan.layers.embeddings import with_embeddings_of
from rlgan.policy.baselines import BaselineState, CriticBaseline
from rlgan.policy.experience import Learnable, Memory, learnable
from rlgan.policy.learner_loss import learner_loss
from rlgan.policy.loss_terms import likelihood_weights, weighted_nll
from rlgan.policy.objectives import PPO, Reinforce
from rlgan.policy.reward_base import Finished
from rlgan.policy.value_function import ValueFunction
from rlgan.presets.registry import PRESETS, preset
from rlgan.rollouts.collecting import prefix_logits, written_verdicts
from rlgan.sampling.records import Rollouts
from rlgan.training.generator_updates import recipe_of
from rlgan.workers.through import Through
from tests.support.small_presets import small

pytestmark = pytest.mark.integration

# Among them are some that end at once, in the middle, and at the horizon.
NUMBER = 16
PAID = [name for name in PRESETS if isinstance(preset(name).objective, Reinforce | PPO)]
# A word that was drawn has no gradient in the critic that wrote it, and no logit stands behind it.
WRITTEN = [name for name in PAID if "verdicts" in preset(name).reward.reads]
JUDGED = [name for name in PAID if "discriminator" in preset(name).reward.reads and name not in WRITTEN]
DIFFERENTIATED = [name for name in PRESETS if preset(name).objective.is_differentiated]


class Side:
    """Networks of a preset, and a batch that is judged by them just as they are: no frozen copies, gradient and all."""

    def __init__(self, name: str) -> None:
        self.config: Config = small(name).settled()
        self.task: Task = build_task(self.config.task)
        torch.manual_seed(0)
        self.generator: Generator = build_generator(self.config.generator, self.task.space).eval()
        self.judge: Discriminator | None = None
        if self.config.discriminator is not None:
            self.judge = build_discriminator(self.config.discriminator, self.task.space).eval()
        self.critic: nn.Module | None = None
        if isinstance(self.config.baseline, CriticBaseline):
            self.critic = ValueFunction(self.config.baseline, self.task.space, seed=0).network
        # Tables and last layers that begin at 0 would say the same of everything.
        for network in (self.generator, self.judge, self.critic):
            for parameter in () if network is None else network.parameters():
                nn.init.normal_(parameter, std=0.5)
        if self.judge is not None and self.config.shares_embeddings:
            self.judge.load_state_dict(with_embeddings_of(self.judge.state_dict(), self.generator.state_dict()))
        self.tokens = random_sequences(self.task.space, NUMBER, seed=1)
        self.mask = sequence_mask(self.task.space, self.tokens)
        given = self.task.conditions
        self.conditions = None if given is None else given.train[:NUMBER]

    def logprobs(self, tokens: Tensor) -> Tensor:
        return self.generator.conditional(self.conditions).logprobs(tokens)

    def rollouts(self, tokens: Tensor, unread: float = 0.0) -> Rollouts:
        """The batch as it would come from the workers; entries that nobody is to read hold a number of choice."""
        config, rows = self.config, torch.Generator().manual_seed(2)
        real_logits, token_logits, continued, scores, continued_scores, target_logits = 6 * [None]
        number = config.credit.num_continuations
        searches = number > 0
        # Continuations end in ways of their own; where they stand at or behind a last token nothing continues.
        ends = self.mask & (self.mask.cumsum(1) == self.mask.sum(1, keepdim=True))
        unsearched = (ends | ~self.mask).unsqueeze(2)
        verdicts = None
        if "verdicts" in config.reward.reads:
            assert self.judge is not None and self.conditions is not None
            reals = self.task.train[:NUMBER].long()
            verdicts = written_verdicts(self.judge.verdict_logprobs, self.conditions, reals, tokens, rows)
        elif "discriminator" in config.reward.reads:
            assert self.judge is not None
            logits = self.judge(tokens, self.mask, self.conditions)
            if logits.dim() == 2:
                token_logits = torch.where(self.mask, logits, unread)
            else:
                real_logits = logits
                if config.credit.judges_prefixes:
                    judged = prefix_logits(tokens, self.mask, self.judge, conditions=self.conditions)
                    token_logits = torch.where(self.mask, judged, unread)
            if config.reward.is_relative:
                reals = self.task.train[:NUMBER].long()
                target_logits = self.judge(reals, sequence_mask(self.task.space, reals), self.conditions)
            if searches:
                others = tokens[torch.randint(NUMBER, (self.mask.numel() * number,), generator=rows)]
                given = None if self.conditions is None else self.conditions.repeat_interleave(len(others) // NUMBER, 0)
                found = self.judge(others, sequence_mask(self.task.space, others), given).view(*tokens.shape, number)
                continued = torch.where(unsearched, unread, found)
        features, target_features = None, None
        if "features" in config.reward.reads:
            assert self.judge is not None
            reals = self.task.train[:NUMBER].long()
            features = self.judge.output_features(tokens, self.mask)
            target_features = self.judge.output_features(reals, sequence_mask(self.task.space, reals))
        if (score := config.reward.scorer(self.task)) is not None:
            scores = score(Finished(tokens, self.mask, self.conditions, self.task.train[:NUMBER])).scores
            if searches:
                found = torch.rand(*tokens.shape, number, generator=rows)
                continued_scores = torch.where(unsearched, unread, found)
        logprobs = self.logprobs(tokens).detach().masked_fill(~self.mask, 0.0)
        return Rollouts(
            tokens=tokens,
            logprobs=logprobs,
            mask=self.mask,
            real_logits=real_logits,
            target_logits=target_logits,
            features=features,
            target_features=target_features,
            token_logits=token_logits,
            continuation_logits=continued,
            reference_logprobs=None if config.reference.place == "none" else 0.9 * logprobs,
            generator_version=0,
            discriminator_version=0,
            prefix_length=0,
            num_drawn=0,
            conditions=self.conditions,
            scores=scores,
            continuation_scores=continued_scores,
            verdicts=verdicts,
        )

    def judged(self, tokens: Tensor) -> Tensor:
        """What the discriminator says of sequences: logits, or log-probabilities of verdicts."""
        assert self.judge is not None
        if "verdicts" not in self.config.reward.reads:
            return self.judge(tokens, self.mask, self.conditions)
        assert self.conditions is not None
        reals, order = self.task.train[:NUMBER].long(), torch.Generator().manual_seed(4)
        return self.judge.verdict_logprobs(Duels.in_random_order(self.conditions, reals, tokens, order))

    def learnable(self, rollouts: Rollouts) -> Learnable:
        """What the trainer makes of it."""
        values = None
        if self.critic is not None:
            values = self.critic(rollouts.tokens, self.conditions).masked_fill(~self.mask, 0.0)
        # In the middle of a run: what ramps up or moves along is neither at its beginning nor 0.
        memory = Memory(BaselineState(moving_average=0.3, num_updates=40), moving_scale=0.2)
        return learnable(rollouts, recipe_of(self.config), memory, self.task, torch.Generator().manual_seed(3), values)

    def loss(self, formed: Learnable) -> Tensor:
        """What the learner minimises."""
        terms, distribution = formed.experience.tensors(), self.generator.conditional(self.conditions)
        assert isinstance(self.config.objective, Reinforce | PPO)
        if formed.experience.entropy_weights is None:
            return learner_loss(self.config.objective, terms, distribution.logprobs(terms["tokens"]))
        return learner_loss(self.config.objective, terms, *distribution.logprobs_and_entropies(terms["tokens"]))


@cache
def side(name: str) -> Side:
    return Side(name)


def gradients(network: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")  # metrics of logits that should have none
@pytest.mark.parametrize("name", JUDGED)
def test_a_generator_s_loss_has_no_gradient_in_the_discriminator_or_the_critic(name: str) -> None:
    ours = Side(name)
    rollouts = ours.rollouts(ours.tokens)
    judged = (rollouts.real_logits, rollouts.token_logits, rollouts.continuation_logits)
    assert any(logits is not None and logits.requires_grad for logits in judged)
    loss = ours.loss(ours.learnable(rollouts))
    loss.backward()
    assert bool(loss.isfinite())
    assert ours.judge is not None and gradients(ours.judge) == []
    assert ours.critic is None or gradients(ours.critic) == []
    assert any(bool((gradient != 0).any()) for gradient in gradients(ours.generator))


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_a_generator_is_differentiated_through_a_discriminator_that_has_no_gradient(name: str) -> None:
    ours = Side(name)
    assert ours.judge is not None and ours.config.discriminator is not None
    through = Through(ours.config.discriminator, ours.config.adversary.loss, ours.task.space)
    through.load(weights_of(ours.judge, 1), ours.config.objective.relaxation(0, 10))
    reals = ours.tokens if ours.config.adversary.loss.guides_beside_reals else None
    through.losses(ours.generator, torch.arange(NUMBER), reals=reals).mean().backward()
    assert gradients(through._judge) == [] and gradients(ours.judge) == []
    assert any(bool((gradient != 0).any()) for gradient in gradients(ours.generator))


@pytest.mark.parametrize("name", PAID)
def test_what_stands_after_the_terminator_changes_neither_losses_nor_returns(name: str) -> None:
    ours = side(name)
    littered = torch.where(ours.mask, ours.tokens, (ours.tokens + 1) % ours.task.space.vocab_size)
    assert not torch.equal(littered, ours.tokens)
    assert torch.equal(sequence_mask(ours.task.space, littered), ours.mask)
    seen = []
    for tokens, unread in ((ours.tokens, 0.0), (littered, 7.0)):
        rollouts = ours.rollouts(tokens, unread)
        rollouts = dataclasses.replace(
            rollouts,
            **{
                name: value.detach()
                for name in ("real_logits", "token_logits", "continuation_logits")
                if (value := getattr(rollouts, name)) is not None
            },
        )
        formed = ours.learnable(rollouts)
        losses = [ours.loss(formed), weighted_nll(ours.logprobs(tokens), likelihood_weights(ours.mask))]
        learned = [
            torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(ours.generator.parameters()))])
            for loss in losses
        ]
        found = [*losses, *learned, formed.values, formed.experience.weights, torch.tensor([*formed.metrics.values()])]
        if ours.judge is not None:
            logits = ours.judged(tokens)
            found += [logits, *torch.autograd.grad(logits.square().sum(), next(iter(ours.judge.parameters())))]
        seen.append(found)
    assert bool((seen[0][2] != 0).any())
    for clean, dirty in zip(*seen, strict=True):
        assert bool(clean.isfinite().all()) and torch.equal(clean, dirty)
