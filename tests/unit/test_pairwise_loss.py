"""The pairwise loss within a prompt: numbers worked by hand, invariances, minibatches of whole prompts, margins."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from rlgan.adversary.losses import BradleyTerry, CrossEntropy, Relativistic, bradley_terry
from rlgan.adversary.margins import margin_health
from rlgan.adversary.minibatches import Minibatches, Pairs
from rlgan.adversary.replay_buffer import ReplayBuffer
from rlgan.adversary.settings import AdversarySettings
from rlgan.adversary.training import Adversary, Round
from rlgan.base.devices import CPU
from rlgan.base.errors import ShapeError
from rlgan.base.seeding import stream
from rlgan.discriminators import PairLSTM
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import random_sequences
from rlgan.layers.optimizers import Adam
from rlgan.policy.advantage_scaling import GroupDeviation
from rlgan.policy.baselines import GroupMean, NoBaseline
from rlgan.policy.credit import Prefix, Terminal
from rlgan.policy.logit_maps import Logit
from tests.support.errors import refused
from tests.support.tiny import TASK, of_pairs

ONE_PROMPT = torch.zeros(5, dtype=torch.int64)
IS_REAL = torch.tensor([True, False, False, False, False])
SCORES = torch.tensor([2.0, 1.0, 2.0, 3.0, 4.0])


def test_one_real_against_four_fakes_is_worked_by_hand() -> None:
    # softplus(-(2 - 1)) = .313262, softplus(0) = .693147, softplus(1) = 1.313262, softplus(2) = 2.126928.
    scores = SCORES.clone().requires_grad_()
    loss = bradley_terry(scores, IS_REAL, ONE_PROMPT)
    loss.backward()
    assert float(loss.detach()) == pytest.approx((0.313262 + 0.693147 + 1.313262 + 2.126928) / 4, abs=1e-6)
    assert float(loss.detach()) == pytest.approx(1.111650, abs=1e-6)
    expected = [-0.595199, 0.067235, 0.125000, 0.182765, 0.220199]  # σ(s_i - s*)/4, and less their sum
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad, torch.tensor(expected), atol=1e-6, rtol=0)
    assert float(scores.grad.sum()) == pytest.approx(0.0, abs=1e-7)


def test_of_one_pair_it_is_what_cross_entropy_is_of_the_difference() -> None:
    scores, is_real = torch.tensor([1.0, 0.0]), torch.tensor([True, False])
    assert float(BradleyTerry().of(scores, is_real)) == pytest.approx(0.313262, abs=1e-6)
    # As a sum over both classes, of which the loss is the mean: .313262 + .693147 = 1.006409.
    assert 2 * float(CrossEntropy().of(scores, is_real)) == pytest.approx(1.006409, abs=1e-6)


def test_a_constant_of_each_prompt_changes_neither_the_loss_nor_advantages() -> None:
    torch.manual_seed(0)
    scores = torch.randn(10)
    is_real, prompts = IS_REAL.repeat(2), torch.tensor([0] * 5 + [1] * 5)
    shifted = scores + 7.0 * (prompts == 1)
    one, two = (bradley_terry(each, is_real, prompts) for each in (scores, shifted))
    assert float(one) == pytest.approx(float(two), abs=1e-6)
    relativistic = [Relativistic().of(each, is_real) for each in (scores, shifted)]
    assert abs(float(relativistic[0] - relativistic[1])) > 0.1  # which compares across prompts
    from rlgan.policy.baselines import BaselineState, Valued

    mask = torch.ones(8, 1, dtype=torch.bool)
    of_fakes = [each[~is_real].unsqueeze(1) for each in (scores, shifted)]
    formed = [GroupMean().form(Valued(values, mask, BaselineState(), 4)).advantages for values in of_fakes]
    torch.testing.assert_close(formed[0], formed[1], atol=1e-5, rtol=0)


def test_order_does_not_matter_and_prompts_do() -> None:
    torch.manual_seed(0)
    scores, prompts = torch.randn(15), torch.arange(3).repeat_interleave(5)
    is_real = IS_REAL.repeat(3)
    whole = bradley_terry(scores, is_real, prompts)
    order = torch.randperm(15)
    assert float(bradley_terry(scores[order], is_real[order], prompts[order])) == pytest.approx(float(whole), abs=1e-6)
    each = [bradley_terry(scores[prompts == one], IS_REAL, prompts[prompts == one]) for one in range(3)]
    assert float(torch.stack(each).mean()) == pytest.approx(float(whole), abs=1e-6)
    # All to all is the relativistic loss.
    assert float(BradleyTerry().of(scores, is_real)) == pytest.approx(float(Relativistic().of(scores, is_real)))


def test_temperature_and_smoothing() -> None:
    found = bradley_terry(SCORES, IS_REAL, ONE_PROMPT, temperature=2.0, label_smoothing=0.1)
    margins = [0.5, 0.0, -0.5, -1.0]
    by_hand = [0.9 * math.log1p(math.exp(-m)) + 0.1 * math.log1p(math.exp(m)) for m in margins]
    assert float(found) == pytest.approx(sum(by_hand) / 4, abs=1e-6)
    # Where a margin is huge there is still a gradient with smoothing, and none without.
    slopes = []
    for smoothing in (0.0, 0.1):
        scores = torch.tensor([200.0, 0.0]).requires_grad_()
        loss = bradley_terry(scores, IS_REAL[:2], ONE_PROMPT[:2], label_smoothing=smoothing)
        slopes.append(float(torch.autograd.grad(loss, scores)[0][0]))
    assert slopes[0] == 0.0 and slopes[1] == pytest.approx(0.1)


def test_tokens_count_by_the_mean_of_their_sequence() -> None:
    logits = torch.tensor([[3.0, 1.0, 9.0], [1.0, 5.0, 9.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    found = BradleyTerry().of(logits, torch.tensor([True, False]), mask)
    assert float(found) == pytest.approx(math.log1p(math.exp(-(2.0 - 1.0))), abs=1e-6)


def test_a_prompt_needs_both() -> None:
    with refused(ShapeError, "prompts_without_pairs"):
        bradley_terry(torch.zeros(2), IS_REAL[:2], torch.tensor([0, 1]))
    with refused(ShapeError, "loss_without_prompts"):
        CrossEntropy().of_prompts(torch.zeros(2), IS_REAL[:2], ONE_PROMPT[:2])


def test_statistics_of_margins() -> None:
    health = margin_health(torch.tensor([2.0, 2.0, 2.0, -4.0]), torch.tensor([1.0, 2.0, 4.0, -6.0]))
    # Margins 1, 0, -2, 2: two of four and half of one; mean 1/4; Σ (m - 1/4)² / 4 = (9 - 4/16)/4.
    assert health.pair_accuracy == 0.625 and health.mean == 0.25
    assert health.deviation == pytest.approx(math.sqrt((9 - 0.25) / 4)) and health.size == 23 / 8


# -------------------------------------------------------------------------------------------------- prompts

SPACE = SequenceSpace(9, 3, condition=SequenceSpace(9, 2))


def groups(number: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    """Fakes, conditions and reals that say of which prompt and which sample they are."""
    prompt = torch.arange(number).repeat_interleave(group)
    sample = torch.arange(group).repeat(number)
    fakes = torch.stack([prompt, sample, torch.zeros_like(prompt)], 1)
    reals = torch.stack([prompt, torch.full_like(prompt, 8), torch.full_like(prompt, 8)], 1)
    return fakes, torch.stack([prompt, prompt], 1), reals


def test_a_minibatch_has_whole_prompts_each_real_once() -> None:
    fakes, conditions, reals = groups(5, 3)
    buffers = [ReplayBuffer(15, 3, condition_length=2) for _ in range(2)]
    for buffer, tokens in zip(buffers, (reals, fakes), strict=True):
        buffer.add(tokens, conditions)
    forming = Minibatches(9, SPACE, CPU, learns_prefixes=False, true_pairs=None)
    seen = []
    for batch in forming.of_prompts(*buffers, buffers[1].draw(5, stream(0, "test"), group=3), 3, stream(0, "test")):
        assert batch.prompts is not None and batch.conditions is not None
        assert int(batch.is_real.sum()) in (2, 1) and len(batch.shown) == 4 * int(batch.is_real.sum())
        for number in batch.prompts.unique():
            rows = batch.prompts == number
            assert len(batch.shown[rows, 0].unique()) == 1 and torch.equal(
                batch.shown[rows, 0], batch.conditions[rows, 0]
            )
            assert int(batch.is_real[rows].sum()) == 1
            assert batch.shown[rows & ~batch.is_real, 1].tolist() == [0, 1, 2]
            assert batch.shown[rows & batch.is_real, 1].tolist() == [8]
        seen += batch.shown[batch.is_real, 0].tolist()
    assert sorted(seen) == [0, 1, 2, 3, 4] != seen


def test_a_round_learns_to_tell_reals_from_the_fakes_of_their_prompts_and_replays_them_together() -> None:
    settings = AdversarySettings(loss=BradleyTerry(), batch=8, sequences_per_round=12, buffer=24)
    fakes, conditions, reals = groups(4, 3)
    heldout = Pairs(random_sequences(SPACE, 6, seed=0), random_sequences(SPACE.condition, 6, seed=1))
    adversary = Adversary(
        PairLSTM(embedding=4, hidden=8, mlp_hidden=8, dropout=0.0), settings, Adam(lr=0.05), SPACE,
        Pairs(reals, conditions), heldout, seed=0,
    )  # fmt: skip
    found = [
        adversary.train_round(Round(index, fakes, 3, conditions=conditions, paired=reals, group=3))
        for index in range(8)
    ]
    assert found[-1]["discriminator/pair_accuracy"] == 1.0 and found[-1]["discriminator/loss"] < 0.2
    assert found[-1]["discriminator/margin_mean"] > 1.0 > abs(found[0]["discriminator/margin_mean"])
    assert found[-1]["discriminator/buffer_real"] == found[-1]["discriminator/buffer_fake"] == 24.0
    assert "discriminator/accuracy_real" not in found[-1]
    again = Adversary(
        PairLSTM(embedding=4, hidden=8, mlp_hidden=8, dropout=0.0), settings, Adam(lr=0.05), SPACE,
        Pairs(reals, conditions), heldout, seed=0,
    )  # fmt: skip
    again.restore(adversary.state())
    more = Round(8, fakes, 1, conditions=conditions, paired=reals, group=3)
    assert adversary.train_round(more) == again.train_round(more)


# ------------------------------------------------------------------------------------------- what is refused


def config(schedule: dict[str, Any] | None = None, **changes: Any) -> Any:
    given: dict[str, Any] = {
        "adversary": AdversarySettings(loss=BradleyTerry(), batch=10, sequences_per_round=8),
        "reward": Logit(),
        "credit": Terminal(),
        "baseline": GroupMean(),
        "normalisation": GroupDeviation(),
    }
    return of_pairs({"g_group": 4, **(schedule or {})}, **(given | changes))


LIKELIHOOD: dict[str, Any] = {
    "task": TASK,
    "generator": {"kind": "lstm", "embedding": 4, "hidden": 4},
    "discriminator": {"kind": "language_model"},
    "adversary": {"loss": {"kind": "likelihood"}, "sequences_per_round": 8},
    "reward": {"kind": "log_ratio"},
    "credit": {"kind": "reward_to_go"},
}
SOFT: dict[str, Any] = {
    "adversary": {"sequences_per_round": 8},
    "reward": {"kind": "constant"},
    "baseline": {"kind": "none"},
    "normalisation": {"kind": "none"},
    "objective": {"kind": "gumbel"},
}
REFUSED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("pairs_without_prompts", {}, {"task": TASK, "generator": {"kind": "lstm", "embedding": 4, "hidden": 4}}),
    ("constant_of_each_prompt", {"g_group": None}, {}),
    ("constant_of_each_prompt", {}, {"baseline": NoBaseline(), "normalisation": {"kind": "whiten"}}),
    ("batch_below_a_prompt", {}, {"adversary": {"loss": {"kind": "bradley_terry"}, "batch": 4}}),
    (
        "round_of_broken_prompts",
        {},
        {"adversary": {"loss": {"kind": "bradley_terry"}, "batch": 10, "sequences_per_round": 10}},
    ),
    ("pairs_of_prefixes", {}, {"credit": Prefix()}),
    ("rollouts_are_learned_once", {"d_fakes": "rollouts", "d_steps": 2}, {}),
    ("rounds_of_rollouts: 16", {"d_fakes": "rollouts", "g_batch": 16}, {}),
    ("setting_value", {"g_group": 1}, {}),
    ("pairs_in_halves: equilibrium", {"balance": {"kind": "equilibrium"}}, {}),
    (
        "pairs_in_halves: mismatched=0.5",
        {},
        {"adversary": {"loss": {"kind": "bradley_terry"}, "batch": 10, "sequences_per_round": 8, "mismatched": 0.5}},
    ),
    ("rollouts_are_unread", {"d_fakes": "rollouts"}, LIKELIHOOD),
    ("no_rollouts_to_learn_from", {"d_fakes": "rollouts", "g_group": None}, SOFT),
    (
        "generator_is_no_language_model",
        {},
        {"discriminator": {"kind": "sequence_classifier", "weights": {"kind": "generator"}}},
    ),
]


@pytest.mark.parametrize(("code", "schedule", "changes"), REFUSED)
def test_what_cannot_be_compared_within_prompts_is_refused(
    code: str, schedule: dict[str, Any], changes: dict[str, Any]
) -> None:
    config()
    with refused(ValidationError, code):
        config(schedule, **changes)
