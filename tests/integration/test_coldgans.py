"""Cold behaviour policies: unbiased by importance, off by no more than the clip, the same on workers and resumed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlgan.adversary.losses import PrefixCrossEntropy
from rlgan.adversary.settings import AdversarySettings
from rlgan.base.weights import weights_of
from rlgan.config.paths import override
from rlgan.envs.categorical import truncate_weights
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import ToyTask, build_task
from rlgan.generators import LSTM, Draw, build_generator
from rlgan.policy.baselines import ImportanceWeights, NoBaseline
from rlgan.policy.behaviour import ColdMixture, OwnPolicy
from rlgan.policy.credit import MonteCarlo, Terminal
from rlgan.policy.experience import Memory, learnable
from rlgan.policy.feature_matching import FeatureMatching
from rlgan.policy.kl_penalty import LossPenalty
from rlgan.policy.learner_loss import learner_loss
from rlgan.policy.logit_maps import Ratio
from rlgan.policy.objectives import NoPolicyGradient, Reinforce
from rlgan.policy.teacher_forcing import InterleavedTeacherForcing, MixedPrefix
from rlgan.presets.controls import control
from rlgan.presets.registry import preset
from rlgan.rollouts.collecting import RolloutPlan, Shard, collect
from rlgan.sampling.sampler import sampler_of
from rlgan.workers.rollout import RolloutWorker
from tests.integration.test_rollout_temperature import outcome
from tests.support.on_ray import assert_same, config_of
from tests.support.recipes import recipe
from tests.support.tabular import TOY_SPACE, TabularGenerator, every_sequence
from tests.support.tiny import tiny_config
from tests.unit.test_shuffled_verdicts import rollouts as judged

pytestmark = pytest.mark.integration

SEQUENCES = every_sequence(TOY_SPACE)
F = torch.linspace(-1.0, 2.0, 9, dtype=torch.float64)[torch.randperm(9, generator=torch.Generator().manual_seed(1))]
MIXTURES = [ColdMixture(max_weight=None), ColdMixture(share=0.1, temperature=0.3, top_p=0.6, max_weight=None)]


def both(mixture: ColdMixture) -> tuple[Tensor, Tensor]:
    """Log-probabilities of all nine sequences under the policy, and under the cold one, by hand."""
    table = TabularGenerator.toy(torch.float64).table.detach()
    probs = torch.softmax(table / mixture.temperature, 1)
    if mixture.top_p is not None:
        probs = truncate_weights(probs, None, mixture.top_p)
        probs = probs / probs.sum(1, keepdim=True)
    own = torch.log_softmax(table, 1)
    nodes = 1 + SEQUENCES[:, 0]
    return tuple(  # type: ignore[return-value]
        one[0, SEQUENCES[:, 0]] + one[nodes, SEQUENCES[:, 1]] for one in (own, probs.log())
    )


# ------------------------------------------------------------------------------------------------------- enumerated


@pytest.mark.parametrize("mixture", MIXTURES)
def test_weighted_means_over_the_mixture_are_means_over_the_policy(mixture: ColdMixture) -> None:
    own, cold = both(mixture)
    behaviour = mixture.share * own.exp() + (1 - mixture.share) * cold.exp()
    assert float(behaviour.sum()) == pytest.approx(1.0)
    weights = mixture.weights(own, cold).double()
    assert float(weights.max()) <= 1 / mixture.share + 1e-6
    assert float((behaviour * weights * F).sum()) == pytest.approx(float((own.exp() * F).sum()), abs=1e-6)
    assert abs(float((behaviour * F).sum()) - float((own.exp() * F).sum())) > 0.02  # without weights it is another mean


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("most", [1.0, 1.1, 1.3])
def test_clipped_weights_are_off_by_no_more_than_the_bound(mixture: ColdMixture, most: float) -> None:
    own, cold = both(mixture)
    behaviour = mixture.share * own.exp() + (1 - mixture.share) * cold.exp()
    weights = mixture.weights(own, cold)
    used, metrics = mixture.model_copy(update={"max_weight": most}).clipped(weights)
    bias = abs(float((behaviour * used * F).sum() - (own.exp() * F).sum()))
    bound = float((own.exp() * F.abs() * (1 - most / weights.double()).clamp_min(0)).sum())
    assert 1e-4 < bias <= bound + 1e-6
    assert bound <= float((own.exp() * F.abs() * (weights > most)).sum())
    assert metrics["generator/behaviour_clipped_share"] == pytest.approx(int((weights > most).sum()) / 9)
    assert metrics["generator/behaviour_weight_max"] == pytest.approx(float(weights.max()))


def test_the_weight_of_a_sequence_by_hand() -> None:
    # π = .2, π_cold = .6, ε = .5: π̂ = .4, w = .5; never drawn cold: w = 1/ε.
    weights = ColdMixture().weights(torch.tensor([0.2, 0.2]).log(), torch.tensor([0.6, 0.0]).log())
    assert weights.tolist() == pytest.approx([0.5, 2.0])


def test_the_gradient_over_the_mixture_is_that_of_the_policy() -> None:
    # Each sequence as often as the mixture draws it, its loss as the driver weighs it: reward, reference and entropy.
    mixture, policy = MIXTURES[0], TabularGenerator.toy(torch.float64)
    own, cold = both(mixture)
    behaviour = mixture.share * own.exp() + (1 - mixture.share) * cold.exp()
    axes = recipe(
        baseline=NoBaseline(),
        reference=LossPenalty(weight=0.3),
        objective=Reinforce(loss_normaliser="sum", entropy_bonus=0.2),
        behaviour=mixture,
    )

    def gradient(counts: Tensor, weights: Tensor | None) -> Tensor:
        logprobs = policy.logprobs(SEQUENCES)
        batch = replace(
            judged(),
            tokens=SEQUENCES,
            mask=torch.ones_like(SEQUENCES, dtype=torch.bool),
            logprobs=logprobs.detach(),
            real_logits=F.float(),
            token_logits=None,
            continuation_logits=None,
            scores=None,
            reference_logprobs=logprobs.detach() - 0.5 * F.unsqueeze(1),
            behaviour_weights=weights,
        )
        learned = learnable(batch, axes, Memory(), build_task(ToyTask()), torch.Generator())
        if weights is not None:
            weighed_kl = float((weights * (0.5 * 2 * F).float()).mean())
            assert learned.metrics["generator/kl_reference"] == pytest.approx(weighed_kl, abs=1e-5)
        experience = learned.experience
        terms = {name: one * counts.unsqueeze(1) if name.endswith("weights") else one
                 for name, one in experience.tensors().items()}  # fmt: skip
        found, entropies = policy.logprobs_and_entropies(SEQUENCES)
        (at,) = torch.autograd.grad(learner_loss(axes.objective, terms, found, entropies), policy.table)
        return at

    expected = gradient(own.exp(), None)
    weighed = gradient(behaviour, mixture.weights(own, cold))
    torch.testing.assert_close(weighed, expected, atol=1e-5, rtol=0)
    assert float((gradient(behaviour, None) - expected).abs().max()) > 1e-2


# ------------------------------------------------------------------------------------------------------------- drawn


def test_a_worker_draws_the_mixture_and_weighs_it() -> None:
    space = SequenceSpace(6, 7, end_id=3)
    torch.manual_seed(3)
    settings = LSTM(embedding=8, hidden=8)
    policy = build_generator(settings, space).eval()
    with torch.no_grad():
        policy.output.bias += torch.linspace(0.0, 1.5, 6)
    mixture = ColdMixture(share=0.3, temperature=0.4, top_p=0.8, max_weight=None)
    prefixes = torch.randint(0, 3, (400, 1), generator=torch.Generator().manual_seed(1))
    shard = Shard(400, 7, 1, None, None, prefixes=prefixes, is_rewarded=True)
    plan = RolloutPlan(space, Terminal(), 64, draw=Draw(0.9), behaviour=mixture)
    weights = weights_of(policy, 1)
    found = RolloutWorker(plan, settings, None).run(shard, weights, None, None, None)
    assert found.behaviour_weights is not None
    drawn = found.mask & (torch.arange(7) >= 1)

    def logprobs(draw: Draw) -> Tensor:
        # Token by token from the stepper, as they are drawn.
        stepper = sampler_of(policy, space, draw)._stepper  # type: ignore[attr-defined]
        state, rows = stepper.start(400), []
        for position in range(7):
            probs = stepper.weights(state)
            chosen = probs.gather(1, found.tokens[:, position : position + 1]).squeeze(1)
            rows.append((chosen / probs.sum(1)).log())
            state = stepper.advance(state, found.tokens[:, position])
        return torch.stack(rows, 1).masked_fill(~drawn, 0.0)

    own, cold = logprobs(Draw(0.9)), logprobs(Draw(0.4, top_p=0.8))
    torch.testing.assert_close(found.logprobs, own, atol=1e-5, rtol=0)
    expected = 1 / (0.3 + 0.7 * (cold.sum(1) - own.sum(1)).exp())
    torch.testing.assert_close(found.behaviour_weights, expected, atol=1e-4, rtol=1e-4)
    # Whole sequences that the cold policy never draws come from the policy alone; the mean weight is 1 but for chance.
    is_impossible = cold.sum(1) == -math.inf
    assert 20 < int(is_impossible.sum()) < 140
    assert bool((found.behaviour_weights[is_impossible] - 1 / 0.3).abs().max() < 1e-4)
    spread = float(found.behaviour_weights.std()) / 20
    assert abs(float(found.behaviour_weights.mean()) - 1) < 3 * spread < 0.3
    # Fakes are the policy's own.
    fakes = RolloutWorker(plan, settings, None).run(replace(shard, is_rewarded=False), weights, None, None, None)
    sampler = sampler_of(policy, space, Draw(0.9), 64)
    alone = collect(RolloutPlan(space, Terminal(), 64), replace(shard, is_rewarded=False), sampler, None, None)
    assert fakes.behaviour_weights is None and torch.equal(fakes.tokens, alone.tokens)


# -------------------------------------------------------------------------------------------------------- whole runs

COLD = {"schedule.behaviour": {"kind": "cold_mixture", "share": 0.4, "temperature": 0.5, "top_p": 0.9}}


@pytest.mark.heavy
def test_learner_and_sampler_are_one_policy_also_resumed_and_through_the_environment() -> None:
    config = override(tiny_config({"teacher_forcing": MixedPrefix(start=2, decrement=1, block=1)}), COLD)
    metrics, state = outcome(config)
    gaps = [unit["rollouts/logprob_gap_max"] for unit in metrics if "rollouts/logprob_gap_max" in unit]
    assert len(gaps) == 2 and max(gaps) < 1e-5
    assert 0.3 < metrics[-1]["generator/behaviour_weight"] < 2.5
    for other in (outcome(config, stop_after=4), outcome(override(config, {"sampling": "environment"}))):
        assert_same(other[0], metrics)
        assert_same(other[1], state)


@pytest.mark.ray
@pytest.mark.slow
def test_workers_give_the_same_run(ray_session: None) -> None:
    metrics, state = outcome(override(config_of(0), COLD))
    of_workers, state_of_workers = outcome(override(config_of(2), COLD))
    assert_same(of_workers, metrics)
    assert_same(state_of_workers, state)


# ------------------------------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("code", "mixture", "schedule", "changes"),
    [
        ("behaviour_of_no_rollouts", {}, {}, {"objective": NoPolicyGradient(), "discriminator": None}),
        ("behaviour_is_not_cold", {"temperature": 1.0}, {}, {}),
        ("behaviour_is_not_cold", {"temperature": 0.8}, {"rollout_temperature": 0.7}, {}),
        ("clip_above_all_weights", {"share": 0.25, "max_weight": 4.0}, {}, {}),
        ("behaviour_of_ratios", {}, {}, {"baseline": ImportanceWeights()}),
        (
            "behaviour_shown_as_policy",
            {},
            {"d_fakes": "rollouts"},
            {"adversary": AdversarySettings(loss=PrefixCrossEntropy())},
        ),
        ("behaviour_shown_as_policy", {}, {"d_fakes": "rollouts"}, {"reward": Ratio()}),
        ("behaviour_of_matched_features", {}, {}, {"reward": FeatureMatching()}),
    ],
)
def test_it_is_refused_where_it_has_no_effect_or_another_meaning(
    code: str, mixture: dict[str, Any], schedule: dict[str, Any], changes: dict[str, Any]
) -> None:
    config = tiny_config(schedule={"teacher_forcing": InterleavedTeacherForcing()})

    def codes(behaviour: Any) -> list[str]:
        values = config.schedule.model_copy(update=schedule | {"behaviour": behaviour})
        return [one.code for one in config.model_copy(update={"schedule": values, **changes}).problems()]

    assert code in codes(ColdMixture().model_copy(update=mixture))
    assert code not in codes(OwnPolicy())


def test_a_cut_at_the_temperature_of_the_policy_is_another_policy() -> None:
    config = override(tiny_config(), {"schedule.behaviour": {"kind": "cold_mixture", "temperature": 1.0, "top_p": 0.9}})
    assert not list(config.problems())


def test_controls_that_draw_nothing_draw_nothing_cold() -> None:
    config = override(preset("coldgans"), {"controls": []})
    found = {name: control(config, name).schedule.behaviour.kind for name in ("mle_continued", "constant_reward")}
    assert found == {"mle_continued": "own", "constant_reward": "cold_mixture"}


def test_continuations_are_the_policys_own() -> None:
    space, mixture = SequenceSpace(4, 3), ColdMixture(share=0.01, temperature=0.01, max_weight=None)
    settings = LSTM(embedding=4, hidden=4)
    torch.manual_seed(0)
    policy = build_generator(settings, space).eval()
    plan = RolloutPlan(space, MonteCarlo(num_rollouts=40), 64, behaviour=mixture)
    weights = weights_of(policy, 1)
    shard = Shard(50, 3, 1, 1, None, is_rewarded=True)
    cold = RolloutWorker(plan, settings, None).run(shard, weights, weights, None, None)
    assert len(cold.tokens.unique(dim=0)) < 8 and cold.num_drawn > 50 * 3
