"""R-AIRL's parts: golden numbers, rewards of tokens within groups, changed copies, classes that weigh alike, order."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from rlgan.adversary.losses import CrossEntropy, Hinge, LeastSquares
from rlgan.adversary.minibatches import Minibatches, Pairs
from rlgan.adversary.perturbed_copies import perturbed_copies
from rlgan.adversary.settings import AdversarySettings
from rlgan.base.devices import CPU
from rlgan.base.errors import ConfigError, ShapeError
from rlgan.base.seeding import stream
from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.discriminators import CausalLSTM
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import ToyTask, build_task
from rlgan.envs.transition import sequence_mask
from rlgan.policy.baselines import GroupMean, NoBaseline
from rlgan.policy.control_rewards import ConstantReward
from rlgan.policy.credit import RewardToGo, rewards_to_go
from rlgan.policy.discriminator_rewards import LogRatio, StandardisedLogit
from rlgan.policy.experience import rewards_of
from rlgan.policy.logit_maps import Logit, Ratio
from rlgan.policy.objectives import Gumbel
from rlgan.policy.token_rewards import standardised
from rlgan.presets.controls import control
from rlgan.presets.registry import preset
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.errors import refused
from tests.support.tiny import Recorder, finish, numbers, of_pairs, tiny_config
from tests.unit.test_pairwise_loss import LIKELIHOOD, groups
from tests.unit.test_shuffled_verdicts import rollouts

TASK = build_task(ToyTask())
SPACE = SequenceSpace(vocab_size=9, max_length=6, end_id=0, condition=SequenceSpace(vocab_size=9, max_length=2))
SMOOTHED = CrossEntropy(label_smoothing=0.1, smooths="both")

# ------------------------------------------------------------------------------------------- the loss


def test_both_labels_are_smoothed_by_hand() -> None:
    real, fake, is_real = torch.tensor([2.0]), torch.tensor([-1.0]), torch.tensor([True, False])
    both = torch.cat([real, fake])
    # Labels .95 and .05; softplus(-2) = .126928, + .05·2 = .226928; softplus(-1) = .313262, + .05·1 = .363262.
    apart = SMOOTHED.by_class(both, is_real)
    assert (float(apart.real), float(apart.fake)) == pytest.approx((0.226928, 0.363262), abs=1e-6)
    assert float(SMOOTHED.of(both, is_real)) == pytest.approx((0.226928 + 0.363262) / 2, abs=1e-6)
    alone = CrossEntropy(label_smoothing=0.1).by_class(both, is_real)  # the label .9, and none of fakes
    assert (float(alone.real), float(alone.fake)) == pytest.approx((0.126928 + 0.1 * 2, 0.313262), abs=1e-6)


def test_the_optimum_of_smoothed_labels_is_where_the_gradient_vanishes() -> None:
    # p_d = 3 p_θ: D* = (.95·3 + .05)/4.
    best = (0.95 * 3 + 0.05) / 4
    logit = torch.tensor(math.log(best / (1 - best)), requires_grad=True)
    SMOOTHED.of(logit.expand(4), torch.tensor([True, True, True, False])).backward()
    assert float(logit.grad) == pytest.approx(0.0, abs=1e-7)


def test_smoothing_nothing_is_refused() -> None:
    with refused(ValidationError, "smooths_nothing", {"adversary.loss.smooths": "both"}):
        CrossEntropy(smooths="both")


@pytest.mark.parametrize("of_tokens", [False, True])
def test_one_expert_beside_sixteen_samples_weighs_sixteen_times_as_much(of_tokens: bool) -> None:
    shape = (17, 3) if of_tokens else (17,)
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    is_real = torch.arange(17) == 0
    mask = torch.ones(17, 3, dtype=torch.bool) if of_tokens else None
    one_mask = None if mask is None else mask[:1]
    each = torch.stack([SMOOTHED.of(logits[i : i + 1], is_real[i : i + 1], one_mask) for i in range(17)])
    weights = torch.where(is_real, 16.0, 1.0)
    expected = (weights * each).sum() / weights.sum()
    torch.testing.assert_close(SMOOTHED.of_unequal(logits, is_real, mask), expected)
    # Of as many of each nothing changes, and what has a mean of each class is the same as ever.
    two = logits[:2], is_real[:2], None if mask is None else mask[:2]
    torch.testing.assert_close(SMOOTHED.of_unequal(*two), SMOOTHED.of(*two))
    for loss in (Hinge(), LeastSquares()):
        assert torch.equal(loss.of_unequal(logits, is_real, mask), loss.of(logits, is_real, mask))


# ------------------------------------------------------------------------------------------- the reward


def test_returns_by_hand() -> None:
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert rewards_to_go(torch.ones(1, 3), mask, 0.9).tolist() == [pytest.approx([2.71, 1.9, 1.0])]


def test_tokens_are_measured_in_deviations_of_last_tokens_by_hand() -> None:
    # Last tokens 1 and 3 of the first group: mean 2, deviation √2 (divided by K - 1). The second group has 0 and 0.
    logits = torch.tensor([[0.0, 1.0, 9.0], [2.0, 4.0, 3.0], [5.0, 0.0, 0.0], [0.0, 9.0, 9.0]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 1, 0], [1, 0, 0]]).bool()
    found = standardised(logits, mask, 2)
    root = 2**0.5
    expected = [[-2 / root, -1 / root, 0.0], [0.0, 2 / root, 1 / root], [0.0] * 3, [0.0] * 3]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-5, atol=1e-6)
    with refused(ShapeError, "groups_do_not_fit"):
        standardised(logits, mask, 3)


@pytest.mark.parametrize("group", [None, 2, 4])
def test_a_constant_and_a_scale_of_all_logits_and_what_is_padded_change_nothing(group: int | None) -> None:
    rng = torch.Generator().manual_seed(1)
    logits, lengths = torch.randn(8, 5, generator=rng), torch.randint(1, 6, (8,), generator=rng)
    mask = torch.arange(5) < lengths.unsqueeze(1)
    found = standardised(logits, mask, group)
    torch.testing.assert_close(standardised(3.0 * logits + 7.0, mask, group), found, rtol=1e-4, atol=1e-5)
    assert torch.equal(standardised(logits.masked_fill(~mask, 99.0), mask, group), found)
    assert not bool(found[~mask].any())
    # Of the last tokens themselves the mean is 0 and the deviation 1.
    last = found.gather(1, lengths.unsqueeze(1) - 1).view(-1, group or 8)
    torch.testing.assert_close(last.mean(1), torch.zeros(len(last)), rtol=0, atol=1e-5)
    torch.testing.assert_close(last.std(1), torch.ones(len(last)), rtol=1e-4, atol=0)


def test_the_reward_reads_logits_of_tokens_within_the_group_and_may_clip_them() -> None:
    drawn = rollouts()
    logits = torch.randn(drawn.mask.shape, generator=torch.Generator().manual_seed(2)) * 4
    judged = replace(drawn, real_logits=None, token_logits=logits)
    for group in (None, 2):
        found = rewards_of(judged, StandardisedLogit(), RewardToGo(), TASK, torch.Generator(), group)
        torch.testing.assert_close(found.of_tokens(), standardised(logits, drawn.mask, group))
    clipped = StandardisedLogit(clip=1.0).of_tokens(judged, TASK, 2)
    torch.testing.assert_close(clipped, standardised(logits.clamp(-1, 1), drawn.mask, 2))
    with refused(ShapeError, "standardised_needs_logits", {"reward": "standardised_logit"}):
        StandardisedLogit().of_tokens(replace(drawn, token_logits=None), TASK)


# ------------------------------------------------------------------------------------------- changed copies


def experts(number: int, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    tokens, lengths = torch.randint(1, 9, (number, 6), generator=rng), torch.randint(0, 7, (number,), generator=rng)
    return tokens.masked_fill(torch.arange(6) >= lengths.unsqueeze(1), 0)


@pytest.mark.parametrize("share", [0.01, 0.4, 1.0])
def test_a_copy_has_other_tokens_of_the_reals_and_never_equals_its_expert(share: float) -> None:
    reals = experts(40)
    mask = sequence_mask(SPACE, reals)
    rows, copies = perturbed_copies(reals, mask, 0, 3, share, stream(0, "test"))
    written = (reals != 0).sum(1)
    assert Counter(rows.tolist()) == {row: 3 for row in range(40) if written[row]}  # the empty ones have none
    changed = copies != reals[rows]
    assert torch.equal(changed.sum(1), (share * written[rows]).round().clamp_min(1).long())
    assert torch.equal(sequence_mask(SPACE, copies), mask[rows])  # ends are where they were
    assert set(copies[changed].tolist()) <= set(reals[reals != 0].tolist())
    assert torch.equal(copies, perturbed_copies(reals, mask, 0, 3, share, stream(0, "test"))[1])


def test_tokens_come_as_often_as_the_reals_have_them() -> None:
    # Of 1 1 1 2 3 a 3 becomes 1 three times as often as 2, and never itself.
    reals = torch.tensor([[1, 1, 1, 2, 3]])
    mask = torch.tensor([[False, False, False, False, True]])
    pool = torch.cat([reals, torch.tensor([[3, 3, 3, 3, 3]])])
    everything = torch.cat([torch.ones(1, 5, dtype=torch.bool), mask])
    _, copies = perturbed_copies(pool, everything, None, 8000, 0.01, stream(1, "test"))
    of_second = Counter(copies[8000:, 4].tolist())
    assert of_second[3] == 0 and of_second[1] / of_second[2] == pytest.approx(3.0, rel=0.15)


def test_where_there_is_no_other_token_there_is_no_copy() -> None:
    for reals in (torch.full((3, 6), 2), torch.zeros(3, 6, dtype=torch.int64)):
        rows, copies = perturbed_copies(reals, sequence_mask(SPACE, reals), 0, 2, 0.5, stream(0, "test"))
        assert rows.tolist() == [] and copies.shape == (0, 6)


def test_only_what_is_shown_of_a_sequence_is_changed() -> None:
    reals = experts(30, seed=3).masked_fill(experts(30, seed=3) == 0, 5)
    mask = torch.arange(6).expand(30, 6) < 2  # a prefix
    rows, copies = perturbed_copies(reals, mask, 0, 2, 1.0, stream(0, "test"))
    assert len(rows) and torch.equal(copies[:, 2:], reals[rows][:, 2:])


def test_a_minibatch_has_them_as_negatives_of_the_same_prompts() -> None:
    space = SequenceSpace(vocab_size=9, max_length=3, end_id=0, condition=SequenceSpace(vocab_size=9, max_length=2))
    fakes, conditions, reals = groups(4, 3)
    pairs = Pairs(reals + 1, conditions), Pairs(fakes + 1, conditions)
    forming = Minibatches(8, space, CPU, learns_prefixes=False, true_pairs=None, copies=(2, 0.1))
    for batch in forming.of_classes(*pairs, stream(0, "test"), True):
        kinds = {name: int(rows.sum()) for name, rows in batch.kinds.items()}
        assert kinds["real"] == kinds["fake"] == 4 and kinds["perturbed"] == 8
        assert batch.is_perturbed is not None and not bool((batch.is_perturbed & batch.is_real).any())
        originals = batch.shown[batch.is_real].repeat_interleave(2, 0)
        assert bool((batch.shown[batch.is_perturbed] != originals).any(1).all())
        assert torch.equal(
            batch.conditions[batch.is_perturbed], batch.conditions[batch.is_real].repeat_interleave(2, 0)
        )
    plain = Minibatches(8, space, CPU, learns_prefixes=False, true_pairs=None)
    assert all(
        one.is_perturbed is None and "perturbed" not in one.kinds
        for one in plain.of_classes(*pairs, stream(0, "test"), True)
    )


# ------------------------------------------------------------------------------------------- runs

DENSE: dict[str, Any] = {
    "discriminator": CausalLSTM(embedding=4, hidden=5),
    "adversary": AdversarySettings(loss=SMOOTHED, batch=16, sequences_per_round=24, perturbed=2),
    "reward": StandardisedLogit(),
    "credit": RewardToGo(gamma=0.9),
    "baseline": NoBaseline(),
}
SCHEDULE = {"g_group": 4, "d_first": True}


def dense(schedule: dict[str, Any] | None = None, **changes: Any) -> Config:
    return tiny_config(SCHEDULE | (schedule or {}), **(DENSE | changes))


def trained(config: Config) -> tuple[Trainer, Recorder, list[Any]]:
    task, recorder = build_task(config.task), Recorder()
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, recorder.around(parts))
        return trainer, recorder, finish(trainer)


@pytest.mark.parametrize("is_first", [True, False])
def test_the_discriminator_learns_before_the_rewards_of_its_iteration(is_first: bool) -> None:
    config, order = dense({"d_first": is_first}), []
    task, recorder = build_task(config.task), Recorder()
    recorder.before_round = lambda request: order.append("D")
    recorder.before_update = lambda phase: order.append("G") if phase == "adversarial" else None
    with build_parts(config, task) as parts:
        units = finish(Trainer(config, task, recorder.around(parts)))
    assert "".join(order) == ("DDGDG" if is_first else "DGDGD")  # the first round is of pretraining
    batches = [unit.rollouts[0] for unit in units if unit.rollouts]
    assert [batch.discriminator_version for batch in batches] == ([2, 3] if is_first else [1, 2])
    assert "discriminator/accuracy_perturbed" in units[-1].metrics


def test_rewards_of_a_run_are_those_of_its_logits_and_repeat_bit_for_bit() -> None:
    config = dense()
    _, recorder, units = trained(config)
    rows = [rows for phase, rows, _ in recorder.updates if phase == "adversarial"][-1]
    batch = units[-1].rollouts[0]
    amounts = standardised(batch.token_logits, batch.mask, 4)
    torch.testing.assert_close(rows.weights, rewards_to_go(amounts, batch.mask, 0.9))
    again = trained(config)[2]
    assert [numbers(one) for one in again] == [numbers(one) for one in units]


def test_a_round_by_prompts_has_each_demonstration_once_beside_the_samples_of_its_prompt() -> None:
    adversary = AdversarySettings(loss=CrossEntropy(), batch=10, sequences_per_round=8, reals="of_prompts", perturbed=1)
    config = of_pairs(
        {"g_group": 4, "d_first": True}, adversary=adversary, reward=Logit(), credit={"kind": "terminal"},
        baseline=GroupMean(), discriminator={"kind": "pair_lstm", "embedding": 4, "hidden": 5, "mlp_hidden": 4},
    )  # fmt: skip
    _, recorder, units = trained(config)
    task = build_task(config.task)
    known = {(*given, *said) for given, said in zip(task.conditions.train.tolist(), task.train.tolist(), strict=True)}
    for request in recorder.rounds:
        assert request.paired is not None and request.group == 4
        assert all(
            (*given, *real) in known
            for given, real in zip(request.conditions.tolist(), request.paired.tolist(), strict=True)
        )
    assert "discriminator/accuracy_real" in units[-1].metrics and "discriminator/pair_accuracy" in units[-1].metrics


def test_controls_without_a_judge_compare_what_the_reward_compared() -> None:
    config = dense()
    assert control(config, "random_reward").baseline.kind == "leave_one_out"
    for name in ("mle_continued", "constant_reward", "frozen_discriminator", "shuffled_discriminator"):
        controlled = control(config, name)
        assert controlled.schedule.d_first == (name == "shuffled_discriminator")
    trained(control(config, "random_reward"))


# ------------------------------------------------------------------------------------------- what is refused

COPIES = {"perturbed": 2, "sequences_per_round": 24}
REFUSED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("dense_of_sequences", {}, {"discriminator": {"kind": "lstm", "embedding": 4, "hidden": 4}}),
    ("standardised_alone", {"g_batch": 1, "g_group": None}, {}),
    ("order_of_no_rounds", {"d_steps": 0}, {}),
    ("rollouts_before_they_are_drawn", {"d_fakes": "rollouts"}, {}),
    ("pairs_without_prompts", {}, {"adversary": {"reals": "of_prompts", "sequences_per_round": 24}}),
    (
        "copies_without_classes",
        {"g_group": None},
        LIKELIHOOD | {"adversary": COPIES | {"loss": {"kind": "likelihood"}}},
    ),
    (
        "copies_of_soft_rows",
        {"g_group": None},
        {"adversary": COPIES, "objective": Gumbel(), "reward": ConstantReward(), "credit": {"kind": "terminal"}},
    ),
    (
        "copies_beside_ratio",
        {},
        {
            "adversary": COPIES,
            "reward": Ratio(),
            "baseline": {"kind": "importance_weights"},
            "credit": {"kind": "terminal"},
            "discriminator": {"kind": "lstm", "embedding": 4, "hidden": 4},
        },
    ),  # fmt: skip
    ("copies_beside_balance", {"balance": {"kind": "equilibrium"}}, {"adversary": COPIES}),
]


@pytest.mark.parametrize(("code", "schedule", "changes"), REFUSED, ids=[code for code, _, _ in REFUSED])
def test_what_a_method_needs_and_does_not_have_is_refused(
    code: str, schedule: dict[str, Any], changes: dict[str, Any]
) -> None:
    dense()
    with refused(ValidationError, code):
        dense(schedule, **changes)


def test_the_advice_for_logits_of_tokens_can_be_followed_on_the_task() -> None:
    pairs = preset("r_airl")
    fresh = {"discriminator.weights": "fresh", "discriminator.weights.architecture": "gpt2"}
    with refused(ConfigError, "dense_of_sequences", match="discriminator sequence_classifier, which"):
        override(pairs, {"generator": "seq2seq_lstm", "discriminator": "pair_lstm"})
    with refused(ConfigError, "dense_of_sequences", match="Set discriminator.granularity to token"):
        override(pairs, {"discriminator.granularity": "sequence"})
    with refused(ConfigError, "increment_of_sequences", match="Set discriminator.granularity to token"):
        override(preset("dial"), {"discriminator.granularity": "sequence"})
    override(pairs, {"generator": "seq2seq_lstm", "discriminator.granularity": "token", **fresh})


def test_a_language_model_as_judge_has_no_logits_of_tokens() -> None:
    with refused(ValidationError, "dense_of_sequences"):
        dense(**(LIKELIHOOD | {"reward": StandardisedLogit()}))
    dense(**(LIKELIHOOD | {"reward": LogRatio()}), baseline=GroupMean())


def test_reals_of_prompts_are_for_a_loss_that_weighs_classes() -> None:
    relativistic = {"reals": "of_prompts", "sequences_per_round": 8, "loss": {"kind": "relativistic"}}
    with refused(ValidationError, "pairs_in_halves", match="relativistic"):
        of_pairs({"g_group": 4}, adversary=relativistic, reward=Logit(), baseline=GroupMean())
    prefixes = {"reals": "of_prompts", "sequences_per_round": 8, "loss": {"kind": "prefix_cross_entropy"}}
    with refused(ValidationError, "reals_of_no_classifier"):
        of_pairs(
            {"g_group": None}, adversary=prefixes, reward={"kind": "log_ratio"}, credit=RewardToGo(),
            discriminator={"kind": "density_ratio", "network": {"kind": "seq2seq_lstm", "embedding": 4, "hidden": 4}},
        )  # fmt: skip


def test_logits_of_different_prompts_are_not_compared() -> None:
    with refused(ValidationError, "standardised_across_prompts"):
        of_pairs(
            {"g_group": None}, adversary={"loss": {"kind": "bradley_terry"}, "sequences_per_round": 8},
            reward=StandardisedLogit(), credit=RewardToGo(), baseline=GroupMean(),
            discriminator={
                "kind": "sequence_classifier", "granularity": "token",
                "weights": {"kind": "fresh", "architecture": "gpt2"},
            },
        )  # fmt: skip


@pytest.mark.parametrize(
    ("code", "settings"),
    [
        ("share_of_no_copies", {"perturbed_share": 0.3}),
        ("reals_of_prompts_anyway", {"reals": "of_prompts", "loss": {"kind": "bradley_terry"}}),
        ("replay_of_nothing", {"replay": 0.5}),
        ("replay_of_nothing", {"replay": 0.5, "buffer": 10_000}),
    ],
)
def test_what_has_no_effect_is_refused(code: str, settings: dict[str, Any]) -> None:
    with refused(ValidationError, code):
        tiny_config(adversary=settings)
