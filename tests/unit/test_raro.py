"""RARO's game in scores: verdicts with ties by hand, what a critic answers best, replay by halves, small runs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from rlgan.adversary.losses import BradleyTerry
from rlgan.adversary.replay_buffer import ReplayBuffer
from rlgan.adversary.settings import AdversarySettings
from rlgan.base.errors import ShapeError
from rlgan.base.seeding import stream
from rlgan.config.config import Config
from rlgan.discriminators import PairLSTM
from rlgan.envs.tasks import ToyTask, build_task
from rlgan.policy.advantage_scaling import NoScaling
from rlgan.policy.baselines import BaselineState, GroupMean, advantages
from rlgan.policy.credit import MonteCarlo, RewardToGo, Terminal
from rlgan.policy.discriminator_rewards import PairVerdict
from rlgan.policy.logit_maps import Ratio
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.errors import refused
from tests.support.tiny import Recorder, finish, numbers, of_pairs, tiny_config
from tests.unit.test_shuffled_verdicts import rollouts

TASK = build_task(ToyTask())
VERDICT = PairVerdict()


def believed(beliefs: list[float]) -> tuple[Tensor, Tensor]:
    """Logits of generated sequences and of real ones, by the critic's belief that the latter are real."""
    margins = torch.tensor([math.log(q / (1 - q)) for q in beliefs])
    return torch.full_like(margins, 3.0), 3.0 + margins


def game(beliefs: list[float], verdict: PairVerdict = VERDICT) -> tuple[list[float], dict[str, float]]:
    """Rewards of the policy, and what is reported."""
    drawn = rollouts()
    real_logits, target_logits = believed(beliefs)
    number = len(beliefs)
    judged = replace(drawn, tokens=drawn.tokens[:number], real_logits=real_logits, target_logits=target_logits)
    return verdict.of_sequences(judged, TASK, torch.Generator()).tolist(), verdict.described(judged)


@pytest.mark.parametrize(
    ("belief", "policy", "critic"),
    [(0.9, 0.0, 1.0), (0.1, 1.0, 0.0), (0.5, 0.6, 0.55), (0.54, 0.6, 0.55), (0.56, 0.0, 1.0)],
)
def test_the_table_of_answers(belief: float, policy: float, critic: float) -> None:
    # "the expert's": 1 for the critic, 0 for the policy; "the policy's": 0 and 1; a tie: .55 and .6.
    rewards, said = game([belief])
    assert rewards == pytest.approx([policy]) and said["verdict/critic_reward"] == pytest.approx(critic)
    assert said["verdict/tie_share"] == (1.0 if critic == 0.55 else 0.0)


def test_an_answer_is_what_earns_the_critic_most() -> None:
    # By enumeration of the three answers: E[reward] is q for the expert, 1 - q for the policy, τ for a tie.
    for tie in (0.51, 0.55, 0.8):
        verdict = PairVerdict(critic_tie=tie)
        for belief in torch.linspace(0.01, 0.99, 99).tolist():
            earned = {"expert": belief, "policy": 1 - belief, "tie": tie}
            best = max(earned, key=lambda name: earned[name])
            if sorted(earned.values())[-1] - sorted(earned.values())[-2] < 1e-6:
                continue
            is_taken, is_tie = verdict.answers(*believed([belief]))
            assert (bool(is_taken), bool(is_tie)) == (best == "policy", best == "tie")


def test_a_critic_that_cannot_tell_prefers_ties() -> None:
    # 1 > τ > ½ > 0: always right, always a tie, by a coin, always wrong.
    right, tie, wrong = (game([q])[1]["verdict/critic_reward"] for q in (0.99, 0.5, 0.01))
    assert (right, tie, wrong) == pytest.approx((1.0, 0.55, 0.0)) and right > tie > 0.5 * (right + wrong) > wrong
    with pytest.raises(ValidationError):
        PairVerdict(critic_tie=0.5)


def test_advantages_without_a_deviation_by_hand() -> None:
    rewards = game([0.1, 0.9, 0.5, 0.9])[0]
    assert rewards == pytest.approx([1.0, 0.0, 0.6, 0.0])
    mask = torch.ones(4, 1, dtype=torch.bool)
    found = advantages(GroupMean(), torch.tensor(rewards).unsqueeze(1), mask, BaselineState(), 4).advantages
    assert found.squeeze(1).tolist() == pytest.approx([0.6, -0.4, 0.2, -0.4])


def test_which_answer_is_shown_first_and_a_constant_of_the_prompt_do_not_matter() -> None:
    fake, real = torch.randn(2, 500, generator=torch.Generator().manual_seed(0))
    is_taken, is_tie = VERDICT.answers(fake, real)
    swapped_taken, swapped_tie = VERDICT.answers(real, fake)
    assert torch.equal(is_tie, swapped_tie) and torch.equal(is_taken | swapped_taken, ~is_tie)
    assert not bool((is_taken & swapped_taken).any())
    assert all(torch.equal(*two) for two in zip(VERDICT.answers(fake + 4, real + 4), (is_taken, is_tie), strict=True))


def test_a_verdict_needs_both_logits() -> None:
    with refused(ShapeError, "relative_needs_logits", {"reward": "pair_verdict"}):
        VERDICT.of_sequences(rollouts(), TASK, torch.Generator())


# ------------------------------------------------------------------------------------------- replay


def filled(rounds: int, size: int = 6, capacity: int = 15) -> ReplayBuffer:
    """Rows hold the number of their round."""
    buffer = ReplayBuffer(capacity, 2)
    for index in range(rounds):
        buffer.add(torch.full((size, 2), index))
    return buffer


@pytest.mark.parametrize("rounds", range(1, 9))
def test_half_of_a_round_is_old_as_soon_as_there_is_anything_old(rounds: int) -> None:
    buffer = filled(rounds)
    for seed in range(20):
        drawn = buffer.draw(6, stream(seed, "test"), 0.5, 6)
        assert len(set(drawn.tolist())) == 6
        is_old = buffer.rows(drawn)[0][:, 0] < rounds - 1
        assert int(is_old.sum()) == (0 if rounds == 1 else 3)


def test_old_ones_are_drawn_alike() -> None:
    buffer, counts = filled(8), torch.zeros(15)
    for seed in range(4000):
        counts[buffer.draw(6, stream(seed, "test"), 0.5, 6)] += 1
    # 3 of 6 new places, 3 of 9 old ones: 2000 and 1333 on average, with standard deviations of about 32 and 30.
    expected = torch.where(buffer.rows(torch.arange(15))[0][:, 0] == 7, 2000.0, 4000 / 3)
    assert float((counts - expected).abs().max()) < 150


def test_groups_of_a_prompt_are_drawn_whole() -> None:
    buffer = ReplayBuffer(12, 2)
    for index in range(5):  # 2 groups of 3 a round; the ring holds 2 rounds
        buffer.add(torch.stack([torch.full((6,), index), torch.arange(6) // 3], 1))
    for seed in range(20):
        drawn = buffer.draw(2, stream(seed, "test"), 0.5, 6, 3)
        rows = [buffer.rows(int(one) * 3 + torch.arange(3))[0] for one in drawn]
        assert all(len(row.unique(dim=0)) == 1 for row in rows)
        assert sorted(int(row[0, 0]) for row in rows) == [3, 4]


def test_without_a_share_all_are_drawn_as_ever() -> None:
    buffer = filled(4)
    expected = torch.randperm(15, generator=stream(3, "test"))[:7]
    assert torch.equal(buffer.draw(7, stream(3, "test")), expected)
    with pytest.raises(ValueError, match="16"):
        buffer.draw(16, stream(3, "test"), 0.5, 6)


# ------------------------------------------------------------------------------------------- runs

AXES: dict[str, Any] = {
    "discriminator": PairLSTM(embedding=3, hidden=4, mlp_hidden=5),
    "adversary": AdversarySettings(loss=BradleyTerry(), batch=10, sequences_per_round=8, buffer=40, replay=0.5),
    "reward": VERDICT,
    "credit": Terminal(),
    "baseline": GroupMean(),
    "normalisation": NoScaling(),
}
SCHEDULE = {"g_group": 4, "d_fakes": "rollouts", "adversarial_updates": 3}


def small(**changes: Any) -> Config:
    return of_pairs(SCHEDULE, **(AXES | changes))


def trained(config: Config) -> list[Any]:
    task, recorder = build_task(config.task), Recorder()
    with build_parts(config, task) as parts:
        return finish(Trainer(config, task, recorder.around(parts)))


def test_a_small_run_plays_the_game_and_repeats_bit_for_bit() -> None:
    config = small()
    units = trained(config)
    for unit in units[-3:]:
        batch = unit.rollouts[0]
        rewards = VERDICT.of_sequences(batch, TASK, torch.Generator())
        assert set(rewards.tolist()) <= set(torch.tensor([0.0, 1.0, 0.6]).tolist())
        assert 0.0 <= unit.metrics["verdict/tie_share"] <= 1.0 and 0.0 <= unit.metrics["verdict/critic_reward"] <= 1.0
    assert [numbers(one) for one in trained(config)] == [numbers(one) for one in units]


def test_it_goes_without_prompts() -> None:
    adversary = {"loss": {"kind": "relativistic"}, "batch": 8, "sequences_per_round": 8, "buffer": 40, "replay": 0.5}
    changes = {name: value for name, value in AXES.items() if name != "discriminator"}
    assert (
        trained(tiny_config(SCHEDULE, **(changes | {"adversary": adversary})))[-1].metrics["verdict/tie_share"] >= 0.0
    )


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("verdict_of_no_belief", {"adversary": {"loss": {"kind": "hinge"}, "batch": 8, "sequences_per_round": 8}}),
        (
            "verdict_of_scaled_margins",
            {
                "adversary": {
                    "loss": {"kind": "bradley_terry", "temperature": 2.0}, "batch": 10, "sequences_per_round": 8
                }
            },
        ),
        ("relative_of_prefixes", {"credit": MonteCarlo(num_rollouts=2)}),
        (
            "replay_beside_ratio",
            {
                "adversary": {"sequences_per_round": 8, "buffer": 40, "replay": 0.5},
                "reward": Ratio(), "baseline": {"kind": "importance_weights"},
            },
        ),
    ],
)  # fmt: skip
def test_what_is_no_game_is_refused(code: str, changes: dict[str, Any]) -> None:
    with refused(ValidationError, code):
        small(**changes)


def test_what_has_no_fakes_replays_none() -> None:
    with refused(ValidationError, "replay_of_no_fakes"):
        tiny_config(
            discriminator={"kind": "language_model"}, reward={"kind": "log_ratio"}, credit=RewardToGo(),
            adversary={"loss": {"kind": "likelihood"}, "sequences_per_round": 8, "buffer": 40, "replay": 0.5},
        )  # fmt: skip
