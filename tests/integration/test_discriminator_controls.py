"""Controls of what a discriminator teaches, and probes of what it reads, on a small text."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch

from rlgan.adversary.training import Round
from rlgan.base.errors import ConfigError
from rlgan.config.config import Config, Control
from rlgan.config.paths import from_dict, to_dict
from rlgan.discriminators import CausalLSTM, CnnHighway
from rlgan.envs.tasks import Task, TextTask, build_task
from rlgan.envs.transition import sequence_mask
from rlgan.metrics import PROBES, probe_aucs, surface_of
from rlgan.policy.baselines import GroupMean
from rlgan.policy.control_rewards import ConstantReward
from rlgan.policy.credit import RewardToGo, Terminal
from rlgan.policy.logit_maps import Logit
from rlgan.policy.objectives import Gumbel, Reinforce
from rlgan.presets.controls import control, trained_again
from rlgan.runs.comparison import compare
from rlgan.schedule.discriminator_balance import Band, CriticWarmup, Equilibrium
from rlgan.training.measuring import shortcuts_in
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.errors import refused
from tests.support.tiny import Recorder, finish, tiny_config

pytestmark = pytest.mark.integration

LEARNED = {"credit": Terminal(), "reward": Logit(), "baseline": GroupMean()}
WORDS = ["the", "a", "cat", "dog", "sat", "ran", "on", "mat", "and"]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Sentences of 3 to 7 words, which a generator that has hardly learned does not end in time."""
    rng, path = random.Random(0), tmp_path_factory.mktemp("text") / "lines.txt"
    path.write_text("\n".join(" ".join(rng.choices(WORDS, range(1, 10), k=rng.randrange(3, 8))) for _ in range(200)))
    return tiny_config(
        {"g_group": 4},
        task=TextTask(data=str(path), valid_fraction=0.2, test_fraction=0.2),
        discriminator=CnnHighway(embedding=4, windows=(1, 2), filters=(4, 4)),
        **LEARNED,
    )


@pytest.fixture(scope="module")
def task(config: Config) -> Task:
    return build_task(config.task)


def trained(config: Config, task: Task, start: Any = None) -> tuple[Trainer, Recorder, list[Any], list[Any]]:
    """The run at its end, its calls, its iterations, and the discriminator's weights after each."""
    recorder, judges = Recorder(), []
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, recorder.around(parts), mle_start=start)
        units = finish(trainer, lambda _: judges.append(parts.discriminator and parts.discriminator.weights().tensors))
        trainer.release()
    return trainer, recorder, units, judges


def changed(config: Config, schedule: dict[str, Any] | None = None, **changes: Any) -> Config:
    schedule = config.schedule.model_copy(update=schedule or {})
    return from_dict(to_dict(config.model_copy(update={"schedule": schedule, **changes})))


def same(first: Any, second: Any) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_a_frozen_discriminator_is_the_run_s_after_its_pretraining(config: Config, task: Task) -> None:
    run, _, _, ours = trained(config, task)
    other = control(config, "frozen_discriminator")
    _, recorder, units, theirs = trained(other, task, run.mle_start)
    assert [unit.phase for unit in units] == ["discriminator", "adversarial", "adversarial"]
    assert same(theirs[0], ours[2]) and same(theirs[1], theirs[0]) and same(theirs[2], theirs[0])
    assert not same(ours[3], ours[2])
    assert len(recorder.rounds) == 1 and sum(judge is not None for *_, judge in recorder.searches) == 2
    assert other.optimizers == config.optimizers and other.reward == config.reward and other.controls == ()


def test_the_first_update_of_a_frozen_discriminator_is_the_run_s(config: Config, task: Task) -> None:
    run, ours, *_ = trained(config, task)
    _, theirs, *_ = trained(control(config, "frozen_discriminator"), task, run.mle_start)
    updates = [[rows for phase, rows, _ in one.updates if phase == "adversarial"] for one in (ours, theirs)]
    assert torch.equal(updates[0][0].weights, updates[1][0].weights)
    assert not torch.equal(updates[0][1].weights, updates[1][1].weights)


def test_shuffled_verdicts_have_the_run_s_advantages_in_another_order(config: Config, task: Task) -> None:
    run, ours, *_ = trained(config, task)
    other = control(config, "shuffled_discriminator")
    assert other.adversary.verdicts == "shuffled" and other.schedule == config.schedule
    _, theirs, _, judges = trained(other, task, run.mle_start)
    updates = [next(rows for phase, rows, _ in one.updates if phase == "adversarial") for one in (ours, theirs)]
    assert torch.equal(updates[0].tokens, updates[1].tokens)
    first, second = (one.weights[:, 0].view(-1, 4) for one in updates)
    assert torch.equal(first.sort(1).values, second.sort(1).values) and not torch.equal(first, second)
    assert not same(judges[0], judges[-1])  # it learns all the same


# A text has no known distribution, and is no stream.
@pytest.mark.parametrize(
    "name", [name for name in get_args(Control) if name not in ("oracle_ratio", "mle_equal_reals")]
)
def test_every_control_of_a_run_whose_judge_learns_from_rollouts_goes_through(
    config: Config, task: Task, name: Control
) -> None:
    # Of a control without rollouts there are none to hand on.
    adversary = config.adversary.model_copy(update={"sequences_per_round": 8})
    run = changed(config, {"d_fakes": "rollouts", "adversarial_updates": 1, "mle_epochs": 1}, adversary=adversary)
    trainer, _, units, _ = trained(control(run, name), task)
    assert units[-1].phase == "adversarial" and trainer.mle_start is not None
    assert not same(trainer.current_weights(), trainer.mle_start)


def test_a_judge_of_tokens_can_be_shuffled_too(config: Config, task: Task) -> None:
    dense = changed(config, {"g_group": None}, discriminator=CausalLSTM(embedding=4, hidden=5), credit=RewardToGo())
    run, ours, *_ = trained(dense, task)
    _, theirs, *_ = trained(control(dense, "shuffled_discriminator"), task, run.mle_start)
    updates = [next(rows for phase, rows, _ in one.updates if phase == "adversarial") for one in (ours, theirs)]
    assert torch.equal(updates[0].tokens, updates[1].tokens)
    assert not torch.equal(updates[0].weights, updates[1].weights)


def test_a_reward_of_length_alone_moves_lengths(config: Config, task: Task) -> None:
    moving = changed(config, {"adversarial_updates": 30, "g_batch": 64, "mle_epochs": 1})
    other = control(moving, "length_reward")
    assert other.discriminator is None and other.reward.kind == "length" and other.baseline == config.baseline
    trainer, *_ = trained(other, task)
    real = surface_of(task.space, task.train.long())
    start = trainer.generator_from(trainer.mle_start)
    areas = [
        probe_aucs(real, surface_of(task.space, trainer.evaluator.measure(one, num_sequences=400).tokens))["length"]
        for one in (start, trainer.current_generator())
    ]
    assert areas[0] > 0.7 and areas[1] < areas[0] - 0.1


def test_probes_stand_in_the_metrics_the_warning_and_the_table(
    config: Config, task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    judged = changed(
        config,
        {"discriminator_rounds": 2},
        controls=("frozen_discriminator", "shuffled_discriminator", "length_reward"),
        evaluation=config.evaluation.model_copy(update={"final_sequences": 40, "equal_trainings": 1}),
        adversary=config.adversary.model_copy(update={"sequences_per_round": 200}),
    )
    with build_parts(judged, task) as parts:
        trainer = Trainer(judged, task, parts)
        units = finish(trainer)
        found = compare(judged, task, trainer, lambda _: None)
    logged = units[-1].metrics
    assert {f"probe/auc_{name}" for name in PROBES} <= logged.keys()
    real = sequence_mask(task.space, task.valid.long()).sum(1) - 1.0
    assert logged["discriminator/length_real"] == pytest.approx(float(real.mean()))
    assert -1.0 <= logged["discriminator/length_correlation"] <= 1.0
    assert 0.0 <= logged["discriminator/auc_length_matched"] <= 1.0
    assert "length alone" in found.text and "rank correlation with the logit" in found.text
    assert trainer.shortcuts["probe/auc_length"] == logged["probe/auc_length"]
    names = {row["name"] for row in found.rows}
    assert {"frozen_discriminator", "shuffled_discriminator", "length_reward"} <= names
    assert trained_again(judged) == "shuffled_discriminator"
    # A warning of the run itself, and none of its controls.
    told = [one for one in found.sentences if "may be reading" in one]
    assert len(told) == len(shortcuts_in(trainer.shortcuts))
    assert len({record.message for record in caplog.records if "may be reading" in record.message}) <= len(PROBES)
    assert all(one[0].isupper() and one.endswith(".") for one in told)


@pytest.mark.parametrize("tells", [True, False])
def test_a_discriminator_at_chance_stands_in_the_log_and_below_the_table(
    config: Config, task: Task, tells: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """What it is shown as fakes are other real sequences, which nobody could tell; or those of the generator."""
    judged = changed(
        config,
        {"discriminator_rounds": 4, "adversarial_updates": 3},
        evaluation=config.evaluation.model_copy(update={"final_sequences": 20}),
        adversary=config.adversary.model_copy(update={"sequences_per_round": 100}),
    )
    with build_parts(judged, task) as parts:
        assert parts.discriminator is not None
        learn = parts.discriminator.train_round

        def on_reals(request: Round) -> dict[str, float]:
            rows = torch.randperm(len(task.train), generator=torch.Generator().manual_seed(request.index))
            return learn(replace(request, fakes=task.train[rows[: len(request.fakes)]].long()))

        if not tells:
            parts.discriminator.train_round = on_reals  # type: ignore[method-assign]
        trainer = Trainer(judged, task, parts)
        finish(trainer)
        found = compare(judged, task, trainer, lambda _: None)
    said = [record.message for record in caplog.records if "the discriminator is at chance" in record.message]
    if tells:
        assert not said and trainer.at_chance == () and "at chance" not in found.text
        return
    assert len(said) == 2 and trainer.at_chance == tuple(said)
    # Of 40 held-out reals and 40 fakes in each of 3 rounds: 0.5 ± 1.96 · sqrt(161 / (12·40·120)).
    assert "over the last 3 rounds, and one that knows nothing has 0.40 to 0.60" in said[0]
    assert all(f"{one[0].upper()}{one[1:]}." in found.sentences and one[1:] in found.text for one in said)


def test_a_run_without_text_is_not_probed() -> None:
    plain = tiny_config()
    assert not any(
        name.startswith("probe/") for unit in trained(plain, build_task(plain.task))[2] for name in unit.metrics
    )


def test_controls_of_a_discriminator_need_one_that_teaches(config: Config) -> None:
    without = changed(
        config,
        {"discriminator_rounds": 0, "d_steps": 0, "g_group": 4},
        discriminator=None,
        reward=ConstantReward(),
    )
    for name in ("frozen_discriminator", "shuffled_discriminator"):
        with refused(ConfigError, "control_without_discriminator", {"controls": name, "reward": "constant"}):
            control(without, name)
    untrained = changed(config, {"discriminator_rounds": 0})
    with refused(ConfigError, "control_of_untrained", {"controls": "frozen_discriminator"}):
        control(untrained, "frozen_discriminator")
    through = tiny_config(
        objective=Gumbel(),
        reward=ConstantReward(),
        credit=Terminal(),
        discriminator=CnnHighway(embedding=4, windows=(1,), filters=(4,)),
    )
    with refused(ConfigError, "control_without_rewards", {"controls": "shuffled_discriminator", "objective": "gumbel"}):
        control(through, "shuffled_discriminator")
    assert control(through, "frozen_discriminator").objective == through.objective
    assert control(through, "length_reward").objective == Reinforce(loss_normaliser="sequence")
    with refused(ConfigError, "shuffled_without_rewards", {"adversary.verdicts": "shuffled"}):
        changed(through, adversary=through.adversary.model_copy(update={"verdicts": "shuffled"}))


@pytest.mark.parametrize(
    ("balance", "is_kept"), [(Band(), True), (Equilibrium(), True), (CriticWarmup(), False)], ids=str
)
def test_pretraining_of_a_frozen_discriminator_is_balanced_as_the_run_s(
    config: Config, balance: Any, is_kept: bool
) -> None:
    balanced = changed(config, {"balance": balance})
    found = control(balanced, "frozen_discriminator").schedule.balance
    assert (found == balance) is is_kept and (is_kept or found.kind == "fixed")


def test_lengths_are_not_rewarded_where_all_are_equal() -> None:
    plain = tiny_config()
    with refused(ConfigError, "reward_of_equal_lengths", {"reward": "length"}):
        trained(control(plain, "length_reward"), build_task(plain.task))
