"""The outer loop in one process: order of units, resuming from any unit, early stopping, rollout policy, controls."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rlgan.adversary.losses import Likelihood, Wasserstein
from rlgan.adversary.regularisers import InterpolatedPenalty
from rlgan.adversary.settings import AdversarySettings
from rlgan.adversary.training import Round
from rlgan.base.errors import ConfigError, DataError
from rlgan.config.config import Config, Control, Optimizers
from rlgan.config.paths import override
from rlgan.discriminators import InteractionCnn, LanguageModel, PairLSTM, ResConv
from rlgan.envs.tasks import Task, ToyTask, build_task
from rlgan.evaluation.adversarial import FreshEvaluator
from rlgan.evaluation.evaluator import EvaluationSettings, Evaluator, selection_view
from rlgan.generators import LSTM, LatentConv, Seq2SeqLSTM, Seq2SeqTransformer, SequenceVAE
from rlgan.layers.optimizers import SGD, Adam
from rlgan.layers.relaxation import Relaxation
from rlgan.layers.relaxation_temperatures import DecayingTemperature
from rlgan.policy.advantage_scaling import RunningScale
from rlgan.policy.baselines import (
    CriticBaseline,
    ExponentialMean,
    GroupMean,
    ImportanceWeights,
    LeaveOneOut,
    NoBaseline,
    PerStepMean,
)
from rlgan.policy.control_rewards import ConstantReward, OracleRatio, RandomReward
from rlgan.policy.credit import LambdaReturn, MonteCarlo, Prefix, RewardToGo, Terminal
from rlgan.policy.discriminator_rewards import LogRatio
from rlgan.policy.feature_matching import FeatureMatching
from rlgan.policy.kl_penalty import RewardPenalty, adapted
from rlgan.policy.logit_maps import Logit, NegLogComplement, Ratio
from rlgan.policy.objectives import PPO, Gumbel, NoPolicyGradient, Reinforce, Soft
from rlgan.policy.teacher_forcing import (
    InterleavedTeacherForcing,
    MixedPrefix,
    MixedTeacherForcing,
    ScheduledSampling,
    TeacherForcingByExample,
)
from rlgan.presets.controls import control
from rlgan.presets.quick import quick, seqgan_quick
from rlgan.presets.sequences import seqgan
from rlgan.sampling.beam_search import BeamsAndSamples, beam_search
from rlgan.schedule.discriminator_balance import BalanceSettings, Band, CriticWarmup, Equilibrium, FixedBalance
from rlgan.schedule.example_weights import tf_idf_weights
from rlgan.schedule.model_selection import BestGenerator
from rlgan.schedule.phases import num_iterations
from rlgan.storage.checkpoint import load_latest, save_checkpoint
from rlgan.training.iteration import Iteration
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.errors import refused
from tests.support.small_presets import small
from tests.support.tiny import PAIRS, TASK, Recorder, finish, numbers, of_pairs, tiny_config

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def task() -> Task:
    return build_task(TASK)


@contextmanager
def trainer_of(
    config: Config, task: Task, mle_start: dict[str, np.ndarray] | None = None, recorder: Recorder | None = None
) -> Iterator[Trainer]:
    with build_parts(config, task) as parts:
        yield Trainer(config, task, parts if recorder is None else recorder.around(parts), mle_start)


def assert_same(one: object, other: object, path: str = "") -> None:
    """Bit for bit; what is no number yet is the same as what is none."""
    if isinstance(one, dict):
        assert isinstance(other, dict) and one.keys() == other.keys(), path
        for key, value in one.items():
            assert_same(value, other[key], f"{path}/{key}")
    elif isinstance(one, Tensor | np.ndarray):
        assert np.array_equal(np.asarray(one), np.asarray(other), equal_nan=True), path
    else:
        assert one == other, path


# ------------------------------------------------------------------------------------------------------ the end


def test_a_complete_run_ends_its_actors_and_can_still_be_measured(task: Task) -> None:
    config = tiny_config({"adversarial_updates": 1})
    with build_parts(config, task) as parts:
        released: list[str] = []
        trainer = Trainer(config, task, dataclasses.replace(parts, release=lambda: released.append("all")))
        with pytest.raises(RuntimeError, match="iterations of the run are left"):
            trainer.release()
        finish(trainer)
        assert released == []
        before, weights = trainer.measure().metrics, trainer.current_weights()
        trainer.release()
        parts.release()
        assert released == ["all"] and trainer.measure().metrics == before
        assert_same(trainer.current_weights(), weights)


# ------------------------------------------------------------------------------------------------------ order


def test_units_come_in_the_order_of_algorithm_1(task: Task) -> None:
    schedule = {"mle_epochs": 3, "discriminator_rounds": 2, "adversarial_updates": 3, "g_steps": 2, "d_steps": 2}
    recorder = Recorder()
    with trainer_of(tiny_config(schedule), task, recorder=recorder) as trainer:
        units = finish(trainer)
        assert [(unit.phase, unit.step) for unit in units] == [
            *(("mle", step) for step in (1, 2, 3)),
            *(("discriminator", step) for step in (1, 2)),
            *(("adversarial", step) for step in (1, 2, 3)),
        ]
        assert trainer.position.iterations == len(units)
        with pytest.raises(RuntimeError, match="complete"):
            trainer.step()
    # 70 sequences in batches of 16: four whole ones an epoch. Then g = 2 generator updates a unit.
    assert [(phase, len(rows.tokens), size) for phase, rows, size in recorder.updates] == [
        *[("mle", 64, 16)] * 3,
        *[("adversarial", 8, 8)] * 6,
    ]
    # Fakes of 2 rounds, then in each unit 2 batches that are searched and fakes of 2 rounds.
    searched = [rollout_policy is not None for _, _, rollout_policy, _ in recorder.searches]
    assert searched == [False] * 2 + [True, True, False, False] * 3
    sizes = [sum(shard.num_sequences for shard in shards) for shards, *_ in recorder.searches]
    assert sizes == [24] * 2 + [8, 8, 24, 24] * 3
    # No two calls share a stream, and no two shards of a call.
    seeds = [shard.seed for shards, *_ in recorder.searches for shard in shards]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize(("epochs", "rounds", "updates"), [(0, 2, 1), (2, 0, 1), (2, 1, 0)])
def test_a_phase_without_iterations_is_passed_over(epochs: int, rounds: int, updates: int, task: Task) -> None:
    schedule = {"mle_epochs": epochs, "discriminator_rounds": rounds, "adversarial_updates": updates}
    with trainer_of(tiny_config(schedule), task) as trainer:
        phases = [trainer.step(measure=False).phase for _ in iter(lambda: trainer.next_phase, None)]
        assert phases == ["mle"] * epochs + ["discriminator"] * rounds + ["adversarial"] * updates


def test_each_round_is_scored_by_the_discriminator_of_the_moment(task: Task) -> None:
    recorder = Recorder()
    config = tiny_config({"discriminator_rounds": 2, "adversarial_updates": 3, "d_steps": 2})
    with trainer_of(config, task, recorder=recorder) as trainer:
        finish(trainer)
    judges = [judge.version for _, _, _, judge in recorder.searches if judge is not None]
    assert judges == [2, 4, 6]
    generators = [policy.version for _, policy, *_ in recorder.searches]
    assert generators == sorted(generators) and len(set(generators)) == 4


def test_an_epoch_teaches_each_sequence_at_most_once_in_fresh_order(task: Task) -> None:
    recorder = Recorder()
    with trainer_of(tiny_config({"mle_epochs": 2}), task, recorder=recorder) as trainer:
        finish(trainer)
    known = {tuple(row) for row in task.train.tolist()}
    first, second = (rows.tokens for phase, rows, _ in recorder.updates if phase == "mle")
    assert not torch.equal(first, second)
    for tokens, (_, rows, _) in zip((first, second), recorder.updates, strict=False):
        names = [tuple(row) for row in tokens.tolist()]
        assert len(set(names)) == 64 and set(names) <= known
        # Each minibatch is a mean over its tokens.
        torch.testing.assert_close(rows.weights, torch.full((64, 6), 1 / (16 * 6)))


def test_measurements_come_as_scheduled_and_at_the_end_of_a_phase(task: Task) -> None:
    config = tiny_config({"mle_epochs": 5, "adversarial_updates": 3})
    config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"mle_every": 2, "every": 2})})
    with trainer_of(config, task) as trainer:
        units = finish(trainer)
    measured = [(unit.phase, unit.step) for unit in units if unit.measurement is not None]
    assert measured == [("mle", 2), ("mle", 4), ("mle", 5), ("adversarial", 2), ("adversarial", 3)]
    with trainer_of(config, task) as trainer:
        assert all(trainer.step(measure=False).measurement is None for _ in range(5))


def test_the_baseline_remembers_all_generator_updates_of_the_run(task: Task) -> None:
    config = tiny_config(
        {"discriminator_rounds": 0, "d_steps": 0, "adversarial_updates": 3, "g_steps": 2},
        discriminator=None,
        reward=ConstantReward(value=1.0),
        credit=Terminal(),
        baseline=ExponentialMean(decay=0.5),
    )
    with trainer_of(config, task) as trainer:
        units = finish(trainer)
        # 1 - (1 - 2⁻ⁿ) after the n-th update; metrics are those of each unit's second one.
        advantages = [unit.metrics["generator/advantage_mean"] for unit in units if unit.phase == "adversarial"]
        assert advantages == pytest.approx([0.5**2, 0.5**4, 0.5**6])
        assert trainer.state()["memory"]["baseline"]["num_updates"] == 6


def test_rewards_that_are_equal_are_told_of_across_a_resume_and_not_of_a_control(
    task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_config(
        {"mle_epochs": 0, "discriminator_rounds": 0, "d_steps": 0, "adversarial_updates": 5},
        discriminator=None,
        reward=ConstantReward(value=1.0),
        credit=Terminal(),
    )

    def told() -> int:
        return sum("so it teaches nothing" in record.message for record in caplog.records)

    with trainer_of(config, task) as trainer:
        while trainer.position.adversarial_updates < 3:
            assert trainer.step(measure=False).metrics["reward/equal_share"] == 1.0
        state, start = trainer.state(), trainer.mle_start
    with trainer_of(config, task) as resumed:
        resumed.restore(state)
        finish(resumed)
    assert told() == 1
    with trainer_of(config, task, start) as of_a_control:
        finish(of_a_control)
    assert told() == 1


def test_a_run_can_begin_without_pretraining(task: Task) -> None:
    with trainer_of(tiny_config({"mle_epochs": 0, "discriminator_rounds": 0}), task) as trainer:
        assert trainer.mle_start is not None
        assert_same(trainer.mle_start, trainer.current_weights())
        assert [unit.phase for unit in finish(trainer)] == ["adversarial"] * 2


def test_too_few_sequences_for_a_batch_is_said_before_anything_is_done(task: Task) -> None:
    config = tiny_config({"mle_batch": 71})
    with refused(DataError, "too_few_for_batch", match="70 "), trainer_of(config, task):
        pass


@pytest.mark.parametrize("seed", [1, 2**63 - 1])
def test_any_legal_seed_can_be_run(task: Task, seed: int) -> None:
    with trainer_of(tiny_config(seed=seed, generator=LSTM(embedding=8, hidden=8, dropout=0.2)), task) as trainer:
        other = numbers(trainer.step())
    with trainer_of(tiny_config(generator=LSTM(embedding=8, hidden=8, dropout=0.2)), task) as trainer:
        assert numbers(trainer.step()) != other


# --------------------------------------------------------------------------------------------------- resuming

PATIENT = {"mle_epochs": 5, "mle_patience": 2}
RUNS: dict[str, Config] = {
    "rollout policy and patience": tiny_config(
        PATIENT | {"discriminator_rounds": 2, "g_steps": 2},
        credit=MonteCarlo(num_rollouts=2, policy_ema=0.5),
        optimizers=Optimizers(mle=Adam(lr=0.1), generator=Adam(lr=0.01, clip_norm=1.0), discriminator=Adam(lr=0.01)),
    ),
    "moving average, mixed teacher forcing, replay, dropout": tiny_config(
        {"adversarial_updates": 3, "teacher_forcing": MixedTeacherForcing(weight=0.5)},
        generator=LSTM(embedding=8, hidden=8, layers=2, dropout=0.3),
        adversary=AdversarySettings(batch=16, sequences_per_round=24, buffer=50),
        credit=Terminal(),
        baseline=ExponentialMean(decay=0.8),
    ),
    "importance weights, interleaved teacher forcing, momentum": tiny_config(
        {"adversarial_updates": 3, "g_steps": 2, "teacher_forcing": InterleavedTeacherForcing(num_updates=2)},
        reward=Ratio(),
        credit=Terminal(),
        baseline=ImportanceWeights(ramp_updates=4),
        optimizers=Optimizers(mle=SGD(lr=0.5, momentum=0.9), generator=SGD(lr=0.1, momentum=0.9)),
    ),
    "oracle ratio, no discriminator": tiny_config(
        {"discriminator_rounds": 0, "d_steps": 0, "adversarial_updates": 3},
        discriminator=None,
        reward=OracleRatio(),
        credit=RewardToGo(),
        baseline=PerStepMean(),
    ),
    "mediator": tiny_config(
        {"adversarial_updates": 3, "teacher_forcing": MixedTeacherForcing(weight=0.5)},
        discriminator=LanguageModel(embedding=4, hidden=6),
        adversary=AdversarySettings(batch=16, sequences_per_round=24, buffer=50, loss=Likelihood(learns="mixture")),
        reward=LogRatio(),
        credit=RewardToGo(),
        baseline=PerStepMean(),
    ),
    "ppo, adapted reference, groups, entropy, running scale, prefixes": tiny_config(
        {"adversarial_updates": 3, "g_group": 4, "teacher_forcing": MixedTeacherForcing(weight=0.5)},
        credit=Prefix(),
        baseline=GroupMean(),
        normalisation=RunningScale(),
        reference=RewardPenalty(target=0.1),
        objective=PPO(epochs=2, minibatches=2, entropy_bonus=0.01),
    ),
    "straight-through samples, mixed teacher forcing": tiny_config(
        {"adversarial_updates": 3, "teacher_forcing": MixedTeacherForcing(weight=0.5)},
        reward=ConstantReward(),
        credit=Terminal(),
        objective=Gumbel(straight_through=True, temperature=DecayingTemperature(rate=0.1)),
    ),
    "soft samples and a buffer of them": tiny_config(
        {"adversarial_updates": 3},
        adversary=AdversarySettings(batch=16, sequences_per_round=24, buffer=40),
        reward=ConstantReward(),
        credit=Terminal(),
        objective=Gumbel(temperature=DecayingTemperature(rate=0.1)),
    ),
    "given sequences, groups, prefixes of real ones, mismatched negatives": of_pairs(
        {"adversarial_updates": 3, "g_group": 4, "teacher_forcing": MixedPrefix(start=2, decrement=1, block=1)},
        adversary=AdversarySettings(batch=16, sequences_per_round=24, buffer=40, mismatched=0.5),
        baseline=GroupMean(),
    ),
    "given sequences, read by a Transformer": of_pairs(
        {"adversarial_updates": 3, "mle_inputs": ScheduledSampling(epochs=2)},
        generator=Seq2SeqTransformer(width=8, heads=2, layers=1, dropout=0.2),
    ),
    "given sequences, relaxed": of_pairs(
        {"adversarial_updates": 3, "teacher_forcing": MixedTeacherForcing(weight=0.5)},
        reward=ConstantReward(),
        credit=Terminal(),
        objective=Gumbel(straight_through=True),
    ),
    "sequences with latents": tiny_config(
        {"adversarial_updates": 3, "teacher_forcing": MixedTeacherForcing(weight=0.5)},
        generator=SequenceVAE(embedding=4, hidden=4, latent=2, kl_epochs=3, word_dropout=0.2, bound_draws=2),
        reference=RewardPenalty(weight=0.1),
    ),
    "matched features": tiny_config(
        {"adversarial_updates": 3}, reward=FeatureMatching(), credit=Terminal(), baseline=LeaveOneOut()
    ),
    "rows of noise": tiny_config(
        {"mle_epochs": 0, "adversarial_updates": 3},
        generator=LatentConv(latent=3, width=4, blocks=1),
        discriminator=ResConv(width=4, blocks=1),
        adversary=AdversarySettings(
            batch=16, sequences_per_round=24, loss=Wasserstein(), gradient_penalty=InterpolatedPenalty()
        ),
        reward=ConstantReward(),
        credit=Terminal(),
        objective=Soft(),
        evaluation=EvaluationSettings(every=1, num_sequences=32, num_bleu=16, temperatures=(1.0,), collapse_share=None),
    ),
    "critic, lambda returns, equilibrium": tiny_config(
        {"adversarial_updates": 3, "balance": Equilibrium(start=0.5, rate=0.1)},
        reward=Logit(),
        credit=LambdaReturn(decay=0.9),
        baseline=CriticBaseline(embedding=4, hidden=4),
    ),
    "adversarial nmt": of_pairs(
        {"adversarial_updates": 3, "g_batch": 9, "teacher_forcing": TeacherForcingByExample(fraction=0.5)},
        generator=Seq2SeqLSTM(embedding=4, hidden=6),
        discriminator=InteractionCnn(embedding=4, embeddings="generator", projection=2, channels=3, mlp_hidden=4),
        reward=NegLogComplement(),
        credit=Terminal(),
        baseline=ExponentialMean(decay=0.9),
        optimizers=Optimizers(generator=SGD(lr=0.1), discriminator=SGD(lr=0.1, momentum=0.9, nesterov=True)),
    ),
    "critic of the source, passes by example": of_pairs(
        {"adversarial_updates": 3, "teacher_forcing": TeacherForcingByExample(fraction=0.5)},
        credit=Terminal(),
        baseline=CriticBaseline(reads="source", embedding=4, hidden=4),
        objective=PPO(epochs=2, minibatches=2),
    ),
    "critic of given sequences": of_pairs(
        {"adversarial_updates": 2}, credit=LambdaReturn(), baseline=CriticBaseline(embedding=4, hidden=4)
    ),
    "prefixes of real sequences, step-wise importance weights": tiny_config(
        {"adversarial_updates": 3, "g_group": 4, "teacher_forcing": MixedPrefix(start=2, decrement=1, block=1)},
        reward=Ratio(),
        credit=MonteCarlo(num_rollouts=2),
        baseline=ImportanceWeights(normalise="all", least_ess=0.5),
    ),
    # It gains nothing after its start, and so ends before its units are over.
    "selection that ends early": tiny_config(
        {"adversarial_updates": 9, "selection": BestGenerator(measure="kl_sum", every=2, patience=2)},
        optimizers=Optimizers(mle=Adam(lr=0.02), generator=Adam(lr=0.3), discriminator=Adam(lr=0.01)),
    ),
    "random rewards, sequences that end": tiny_config(
        {"mle_inputs": ScheduledSampling(epochs=2), "discriminator_rounds": 0, "d_steps": 0, "adversarial_updates": 3},
        task=ToyTask(vocab_size=4, max_length=4, ends=True, num_train=70, num_valid=20, num_test=20),
        discriminator=None,
        reward=RandomReward(),
        credit=Terminal(),
        baseline=ExponentialMean(),
    ),
    "relational memory, each fake beside a real": small("relgan"),
    "ranks, whose sets are drawn with each round": small("rankgan"),
    "goals among features that follow the discriminator": override(
        small("leakgan"), {"schedule.mle_epochs": 1, "schedule.adversarial_updates": 1, "schedule.d_steps": 1}
    ),
}


# Usually every other run after every third unit, each from another first one: together they stop in all phases.
STOPS = [
    *(pytest.param(name, 3, id=name, marks=pytest.mark.heavy) for name in list(RUNS)[::2]),
    *(pytest.param(name, 1, id=f"{name}; each unit", marks=pytest.mark.slow) for name in RUNS),
]


@pytest.mark.parametrize(("name", "every"), STOPS)
def test_resuming_after_any_unit_equals_not_stopping(name: str, every: int, tmp_path: Path) -> None:
    config, first = RUNS[name], 1 + list(RUNS).index(name) % every
    task = build_task(config.task)
    states: list[dict[str, Any]] = []
    with trainer_of(config, task) as trainer:
        # States are only looked at once the run has gone on: one that is not a copy has changed by then.
        units = finish(trainer, lambda running: states.append(running.state()))
        weights, mle_start = trainer.current_weights(), trainer.mle_start
    assert len(states) == len(units)
    assert {unit.phase for unit in units} >= ({"mle", "adversarial"} if config.schedule.mle_epochs else {"adversarial"})
    for number, state in enumerate(states, start=1):
        save_checkpoint(tmp_path, state, number)
        if (number - first) % every:
            continue
        # Through the files of a run folder; what goes through those goes through memory, which one run shows.
        for kept in (load_latest(tmp_path).state, *([state] if config is next(iter(RUNS.values())) else [])):
            with trainer_of(config, task) as resumed:
                resumed.restore(kept)
                assert_same(resumed.state(), states[number - 1], "state")
                rest = finish(resumed)
                assert [(unit.phase, unit.step) for unit in rest] == [(u.phase, u.step) for u in units[number:]]
                assert_same([numbers(unit) for unit in rest], [numbers(unit) for unit in units[number:]])
                assert_same(resumed.current_weights(), weights, "weights")
                assert_same(resumed.mle_start, mle_start, "start")
                assert_same(resumed.state(), states[-1], "last state")


@pytest.mark.parametrize("fakes", ["soft", "tokens"])
def test_the_discriminator_learns_from_rows_of_the_temperature_of_now(task: Task, fakes: Any) -> None:
    recorder, config = (
        Recorder(),
        tiny_config(
            {"adversarial_updates": 2, "d_steps": 2},
            reward=ConstantReward(),
            credit=Terminal(),
            objective=Gumbel(fakes=fakes, temperature=DecayingTemperature(rate=0.1)),
        ),
    )
    with trainer_of(config, task, recorder=recorder) as trainer:
        finish(trainer)
    drawn = [{(shard.is_soft, shard.relaxation) for shard in shards} for shards, *_ in recorder.searches]
    if fakes == "tokens":
        assert drawn == [{(False, None)}] * 5
        return
    # One round before the first unit, and two in each.
    temperatures = [1.0, 1.0, 1.0, math.exp(-0.1), math.exp(-0.1)]
    assert drawn == [{(True, Relaxation(temperature, straight_through=False))} for temperature in temperatures]


def test_the_same_run_again_gives_the_same_numbers_and_another_seed_does_not(task: Task) -> None:
    def run(seed: int) -> list[Iteration]:
        with trainer_of(tiny_config(seed=seed), task) as trainer:
            return finish(trainer)

    first, again, other = ([numbers(unit) for unit in run(seed)] for seed in (0, 0, 1))
    assert_same(first, again)
    assert all(one != two for one, two in zip(first, other, strict=True))


# ---------------------------------------------------------------------------------------------------- collapse


def test_the_effective_rank_is_compared_with_the_end_of_pretraining(task: Task) -> None:
    with trainer_of(tiny_config({"mle_epochs": 3, "adversarial_updates": 2}), task) as trainer:
        units = [unit.metrics for unit in finish(trainer)]
        measured = [metrics["eval/effective_rank"] for metrics in units if "eval/effective_rank" in metrics]
        assert trainer.state()["effective_ranks"] == measured[2:]
    assert [("generator/collapse_alarm" in metrics) for metrics in units] == [False] * 4 + [True] * 2


# ---------------------------------------------------------------------------------------------- language models


@pytest.mark.parametrize(("learns", "calls"), [("reals", "rr"), ("mixture", "ffrfrf")])
def test_fakes_are_drawn_for_a_loss_that_reads_them_alone(learns: Any, calls: str, task: Task) -> None:
    config = tiny_config(
        {"discriminator_rounds": 2},
        discriminator=LanguageModel(embedding=4, hidden=6),
        adversary=AdversarySettings(batch=16, sequences_per_round=24, loss=Likelihood(learns=learns)),
        reward=LogRatio(),
        credit=RewardToGo(),
    )
    recorder = Recorder()
    with trainer_of(config, task, recorder=recorder) as trainer:
        units = finish(trainer)
    # Two rounds of pretraining, then rollouts, which are judged, and a round after each.
    assert "".join("f" if judge is None else "r" for _, _, _, judge in recorder.searches) == calls
    assert sum("discriminator/nll_heldout" in unit.metrics for unit in units) == 4
    assert all("generator/mean_prob_real" not in unit.metrics for unit in units)


# ----------------------------------------------------------------------------------------------------- balance


@pytest.mark.parametrize(
    ("balance", "rounds"),
    [
        (FixedBalance(), [3, 3, 3]),
        (CriticWarmup(rounds=5, units=1, every=2), [5, 3, 5]),
        # Nothing is good enough: all rounds that may be.
        (Band(low=0.998, high=0.999), [3, 3, 3]),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_balances_decide_how_often_the_discriminator_learns(
    balance: BalanceSettings, rounds: list[int], task: Task
) -> None:
    config = tiny_config({"adversarial_updates": 3, "d_steps": 3, "discriminator_rounds": 4, "balance": balance})
    recorder = Recorder()
    with trainer_of(config, task, recorder=recorder) as trainer:
        finish(trainer)
        assert trainer.state()["balance"]["rounds"] == 4 + sum(rounds)
    # Fakes are drawn and not judged, rollouts are judged; before the first rollouts comes pretraining.
    calls = "".join("f" if judge is None else "r" for _, _, _, judge in recorder.searches)
    assert [len(unit) for unit in calls.split("r")] == [4, *rounds]
    seeds = [shard.seed for shards, *_ in recorder.searches for shard in shards]
    assert len(set(seeds)) == len(seeds)


def test_a_band_that_is_reached_ends_the_unit_and_one_that_is_left_trains_nothing(task: Task) -> None:
    # Fakes of a generator that has learned nothing are told from reals at once.
    config = tiny_config(
        {"mle_epochs": 0, "discriminator_rounds": 6, "adversarial_updates": 2, "d_steps": 4}
        | {"d_epochs": 20, "balance": Band(low=0.6, high=0.65)}
    )
    with trainer_of(config, task) as trainer:
        units = [unit.metrics for unit in finish(trainer)]
    assert units[-1]["discriminator/auc_heldout"] > 0.65
    assert "discriminator/loss" in units[0] and "discriminator/loss" not in units[-1]
    assert trainer.state()["balance"]["rounds"] == 6 + 2


# ------------------------------------------------------------------------------------------ scheduled sampling


@pytest.mark.parametrize("wanted", [None, 0.75, 0.999])
def test_pretraining_of_the_discriminator_ends_with_its_accuracy_or_rounds(task: Task, wanted: float | None) -> None:
    # At the first round that is judged so well, and never later than all rounds.
    changes = {"discriminator_rounds": 12, "discriminator_accuracy": wanted, "adversarial_updates": 1, "mle_epochs": 0}
    config = tiny_config(changes, optimizers=Optimizers(discriminator=Adam(lr=0.05)))
    with trainer_of(config, task) as trainer:
        units = finish(trainer)
        rounds = [unit.metrics["discriminator/accuracy_heldout"] for unit in units if unit.phase == "discriminator"]
        assert num_iterations(config.schedule, trainer.position) == len(units) == trainer.position.iterations
    assert units[-1].phase == "adversarial"
    if wanted == 0.75:
        assert 1 < len(rounds) < 12 and rounds[-1] >= 0.75 and max(rounds[:-1]) < 0.75
    else:
        assert len(rounds) == 12 and (wanted is None or max(rounds[:-1]) < wanted)


def test_the_share_of_own_inputs_rises_with_the_epochs(task: Task) -> None:
    forcing = ScheduledSampling(share=0.8, epochs=4)
    recorder = Recorder()
    with trainer_of(tiny_config({"mle_epochs": 6, "mle_inputs": forcing}), task, recorder=recorder) as trainer:
        shares = [unit.metrics["mle/own_inputs"] for unit in finish(trainer) if unit.phase == "mle"]
    assert shares == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 0.8])
    for share, (_, rows, _) in zip(shares, recorder.updates, strict=False):
        # 384 tokens: a share has a standard deviation of .0256 at most.
        assert float((rows.input_draws >= 0).float().mean()) == pytest.approx(share, abs=4 * 0.0256)
        assert bool(((rows.input_draws == -1) | (rows.input_draws >= 0)).all())


# --------------------------------------------------------------------------------------- prefixes of real data


def test_fewer_and_fewer_tokens_of_real_sequences_are_given(task: Task) -> None:
    forcing = MixedPrefix(start=3, decrement=2, block=2)
    config = tiny_config(
        {"discriminator_rounds": 1, "adversarial_updates": 6, "g_batch": 8, "g_group": 4, "teacher_forcing": forcing},
        reward=Ratio(),
        credit=Terminal(),
        baseline=ImportanceWeights(),
    )
    recorder = Recorder()
    with trainer_of(config, task, recorder=recorder) as trainer:
        finish(trainer)
    known = {tuple(row[:n]) for row in task.train.tolist() for n in range(4)}
    seen = []
    for shards, _, _, judge in recorder.searches:
        given = [shard.prefixes for shard in shards]
        if given[0] is None:
            assert all(part is None for part in given)
            seen.append((judge is not None, 0))
            continue
        prefixes = torch.cat(given)
        assert [len(part) for part in given] == [shard.num_sequences for shard in shards]
        assert {tuple(row) for row in prefixes.tolist()} <= known
        if judge is not None:  # a group continues the same prefix
            assert torch.equal(prefixes, prefixes[::4].repeat_interleave(4, 0))
        seen.append((judge is not None, prefixes.shape[1]))
    # A round of pretraining, then rollouts and the fakes that are judged after them: 3 3 1 1 and no more.
    assert seen == [(False, 3)] + [(kind, n) for n in (3, 3, 1, 1, 0, 0) for kind in (True, False)]


def test_prefixes_must_leave_something_to_draw(task: Task) -> None:
    config = tiny_config({"teacher_forcing": MixedPrefix(start=6)})
    with (
        build_parts(config, task) as parts,
        refused(ConfigError, "prefix_too_long", {"schedule.teacher_forcing.start": 6}),
    ):
        Trainer(config, task, parts)


# ------------------------------------------------------------------------------- several passes, and a reference


def test_ppo_passes_over_each_batch_in_minibatches_that_estimate_the_whole(task: Task) -> None:
    config = tiny_config(
        {"adversarial_updates": 1, "teacher_forcing": MixedTeacherForcing(weight=0.5)},
        objective=PPO(epochs=3, minibatches=2, loss_normaliser="sequence"),
        baseline=LeaveOneOut(),
        credit=Terminal(),
    )
    recorder = Recorder()
    with trainer_of(config, task, recorder=recorder) as trainer:
        metrics = finish(trainer)[-1].metrics
    (rows, size) = next((rows, size) for phase, rows, size in recorder.updates if phase == "adversarial")
    # 8 sampled and 16 real rows, in two minibatches of 4 and 8, three times over.
    assert size == 12 and rows.tokens.shape[0] == 3 * 24
    epochs = rows.map(lambda tensor: tensor.view(3, 2, 12, 6))
    for epoch in range(3):
        for step in range(2):
            one = epochs.map(lambda tensor, at=(epoch, step): tensor[at])
            assert bool((one.weights[:4] == 0).all()) and bool((one.clipped_weights[4:] == 0).all())
            # Doubled, for each of the two has half of the batch: ½ over 16·6 real tokens.
            torch.testing.assert_close(one.weights[4:], torch.full((8, 6), 2 * 0.5 / (16 * 6)))
            assert bool((one.old_logprobs[4:] == 0).all()) and bool((one.old_logprobs[:4] < 0).all())
        seen = sorted(map(tuple, epochs.tokens[epoch, :, :4].flatten(0, 1).tolist()))
        assert seen == sorted(map(tuple, epochs.tokens[0, :, :4].flatten(0, 1).tolist()))
        # Leave-one-out advantages of a batch sum to 0.
        assert float(epochs.clipped_weights[epoch].sum()) == pytest.approx(0.0, abs=1e-6)
    assert not torch.equal(epochs.tokens[0], epochs.tokens[1])
    # The control learns by likelihood in as many steps, so that its likelihood is as well learned.
    alone = control(config, "mle_continued")
    recorder = Recorder()
    with trainer_of(alone, task, recorder=recorder) as trainer:
        finish(trainer)
    (steps, size) = next((rows, size) for phase, rows, size in recorder.updates if phase == "adversarial")
    assert size == 8 and steps.tokens.shape[0] == 3 * 16
    torch.testing.assert_close(steps.weights, torch.full((48, 6), 2 * 0.5 / (16 * 6)))
    assert 0.0 <= metrics["generator/clipped_share"] <= 1.0


def test_the_reference_is_where_adversarial_training_began(task: Task) -> None:
    config = tiny_config(
        {"adversarial_updates": 3}, reference=RewardPenalty(weight=0.5, target=1e-4), credit=Terminal()
    )
    recorder = Recorder()
    with trainer_of(config, task, recorder=recorder) as trainer:
        units = [unit.metrics for unit in finish(trainer) if unit.phase == "adversarial"]
        start = trainer.mle_start
    used = [reference for reference in recorder.references if reference is not None]
    assert len(used) == 3 and {reference.version for reference in used} == {-1}
    for reference in used:
        assert_same(reference.tensors, start)
    # At the start nothing has strayed but by rounding.
    log_ratio_to_reference = [unit["generator/kl_reference"] for unit in units]
    assert log_ratio_to_reference[0] == pytest.approx(0.0, abs=1e-5) and abs(log_ratio_to_reference[2]) > 1e-4
    weights = [unit["generator/kl_weight"] for unit in units]
    assert weights[0] == 0.5
    assert weights[1:] == pytest.approx(
        [weights[n] * adapted(1.0, log_ratio_to_reference[n], target=1e-4) for n in (0, 1)]
    )


# --------------------------------------------------------------------------------------------- early stopping


def test_patience_stops_and_takes_the_best_epoch(task: Task) -> None:
    config = tiny_config(
        {"mle_epochs": 40, "mle_patience": 2, "discriminator_rounds": 1},
        optimizers=Optimizers(mle=Adam(lr=0.1), generator=Adam(lr=0.01), discriminator=Adam(lr=0.01)),
    )
    losses, weights = [], []
    # Of the epoch just done, before anything is taken back.
    recorder = Recorder(after_update=lambda _: weights.append(trainer.current_weights()))
    with trainer_of(config, task, recorder=recorder) as trainer:
        while trainer.next_phase == "mle":
            losses.append(trainer.step().metrics["mle/valid_nll"])
        best = int(np.argmin(losses))
        assert len(losses) == best + 1 + 2 < 40, "did not stop 2 epochs after the best one"
        assert_same(trainer.current_weights(), weights[best])
        assert_same(trainer.mle_start, weights[best])
        with pytest.raises(AssertionError):
            assert_same(weights[best], weights[-1])
        held_out = trainer.evaluator.held_out_nll(trainer.current_generator(), task.valid)
        assert held_out == pytest.approx(min(losses), abs=1e-6)
        assert trainer.step().phase == "discriminator"


def test_patience_that_never_runs_out_still_takes_the_best_epoch(task: Task) -> None:
    config = tiny_config(
        {"mle_epochs": 8, "mle_patience": 50, "discriminator_rounds": 1},
        optimizers=Optimizers(mle=Adam(lr=0.1), generator=Adam(lr=0.01), discriminator=Adam(lr=0.01)),
    )
    with trainer_of(config, task) as trainer:
        losses = []
        while trainer.next_phase == "mle":
            losses.append(trainer.step().metrics["mle/valid_nll"])
        assert len(losses) == 8 and losses[-1] > min(losses)
        held_out = trainer.evaluator.held_out_nll(trainer.current_generator(), task.valid)
        assert held_out == pytest.approx(min(losses), abs=1e-6)


def test_without_patience_the_last_epoch_stays(task: Task) -> None:
    with trainer_of(tiny_config({"mle_epochs": 3}), task) as trainer:
        for _ in range(3):
            assert "mle/valid_nll" not in trainer.step().metrics
        assert_same(trainer.mle_start, trainer.current_weights())


# -------------------------------------------------------------------------------------------------- selection

HARMFUL = Optimizers(mle=Adam(lr=0.02), generator=Adam(lr=0.3), discriminator=Adam(lr=0.01))


def followed(config: Config, task: Task) -> tuple[list[Iteration], list[float], list[dict[str, np.ndarray]], Trainer]:
    """A run done: its units; figure and weights of its generator before and after each adversarial unit."""
    selection = config.schedule.selection
    assert isinstance(selection, BestGenerator)
    validator = Evaluator(selection_view(task), config.evaluation, config.seed, draw="selection")
    figures, weights = [], []

    def note() -> None:
        weights.append(trainer.current_weights())
        figures.append(validator.figure(trainer.current_generator(), selection.measure))

    recorder = Recorder(
        before_update=lambda phase: note() if phase == "adversarial" and not weights else None,
        # Of the unit just done, before anything is taken back.
        after_update=lambda phase: note() if phase == "adversarial" else None,
    )
    with trainer_of(config, task, recorder=recorder) as trainer:
        units = finish(trainer)
    return units, figures, weights, trainer


@pytest.mark.parametrize("measure", ["valid_nll", "kl_sum"])
def test_the_best_generator_of_those_measured_takes_the_place_of_the_last(measure: Any, task: Task) -> None:
    settings = BestGenerator(measure=measure, every=2)
    # A rate with which likelihood learns and over-fits in a few units.
    teaching = InterleavedTeacherForcing(num_updates=3)
    config = control(tiny_config({"adversarial_updates": 9, "teacher_forcing": teaching}), "mle_continued")
    rate = Optimizers(mle=Adam(lr=0.02), generator=Adam(lr=0.2), discriminator=Adam(lr=0.01))
    schedule = config.schedule.model_copy(update={"selection": settings})
    config = config.model_copy(update={"schedule": schedule, "optimizers": rate})
    units, figures, weights, trainer = followed(config, task)
    looked_at = [0, 2, 4, 6, 8, 9]
    best = min(looked_at, key=lambda unit: figures[unit])
    assert 0 < best < 9, "the run does not tell the best from start and end"
    assert_same(trainer.current_weights(), weights[best])
    assert trainer.position.adversarial_updates == 9 and trainer.next_phase is None
    adversarial = [unit.metrics for unit in units if unit.phase == "adversarial"]
    assert adversarial[0]["selection/start"] == figures[0]
    described = {step: metrics for step, metrics in enumerate(adversarial, start=1) if "selection/value" in metrics}
    assert {step: metrics["selection/value"] for step, metrics in described.items()} == {
        n: figures[n] for n in looked_at[1:]
    }
    assert described[9]["selection/best"] == figures[best] and described[9]["selection/iteration"] == best
    assert described[9]["selection/since"] == sum(unit > best for unit in looked_at)
    # What is reported at the end is of the one that was selected.
    assert adversarial[-1]["eval/nll_gen"] == trainer.measure().metrics["eval/nll_gen"]
    assert trainer.selected is not None and f"adversarial iteration {best}, {measure}" in trainer.selected


def test_a_run_that_only_harms_ends_early_with_its_start(task: Task) -> None:
    config = tiny_config(
        {"adversarial_updates": 40, "selection": BestGenerator(every=2, patience=3)}, optimizers=HARMFUL
    )
    units, figures, weights, trainer = followed(config, task)
    assert min(figures) == figures[0] and len(figures) == 1 + 2 * 3
    assert trainer.mle_start is not None
    assert_same(trainer.current_weights(), trainer.mle_start)
    with pytest.raises(AssertionError):
        assert_same(weights[-1], weights[0])
    assert trainer.next_phase is None
    assert num_iterations(config.schedule, trainer.position) == len(units) == trainer.position.iterations
    assert trainer.selected is not None
    assert "the start of the adversarial phase" in trainer.selected and "after 6 of 40 iterations" in trainer.selected


def test_nothing_is_selected_on_the_test_split_nor_on_samples_that_are_reported(task: Task) -> None:
    settings = BestGenerator(measure="kl_sum", every=1)
    config = tiny_config({"adversarial_updates": 2, "selection": settings})
    other = dataclasses.replace(task, test=task.test.flip(0) * 0)
    chosen = []
    for split in (task, other):
        with trainer_of(config, split) as trainer:
            metrics = [unit.metrics for unit in finish(trainer)]
            chosen.append([{k: v for k, v in one.items() if k.startswith("selection/")} for one in metrics])
            drawn = trainer.measure().tokens
            selection = trainer.adversarial.selection
            assert selection is not None
            assert not torch.equal(selection.evaluator.measure(trainer.current_generator()).tokens, drawn)
    assert_same(chosen[0], chosen[1])


def test_without_selection_the_last_generator_stays_and_nothing_is_said(task: Task) -> None:
    with trainer_of(tiny_config(), task) as trainer:
        units = finish(trainer)
        assert trainer.selected is None and not trainer.position.adversarial_finished
    assert not any(name.startswith("selection/") for unit in units for name in unit.metrics)


@pytest.mark.parametrize("name", ["mle_continued", "oracle_ratio", "constant_reward", "random_reward"])
def test_controls_are_selected_as_the_run_is(name: Control, task: Task) -> None:
    settings = BestGenerator(measure="kl_sum", every=2, patience=2)
    run = tiny_config({"adversarial_updates": 6, "selection": settings}, optimizers=HARMFUL)
    other = control(run, name)
    assert other.schedule.selection == settings
    with trainer_of(run, task) as trainer:
        started = finish(trainer)[3].metrics["selection/start"]
        start = trainer.mle_start
    with trainer_of(other, task, mle_start=start) as trainer:
        units = [trainer.step(measure=False) for _ in iter(lambda: trainer.next_phase, None)]
        # Of the same generator, on the same data, with the same random numbers.
        assert units[0].metrics["selection/start"] == started
        assert trainer.selected is not None
        values = [unit.metrics["selection/value"] for unit in units if "selection/value" in unit.metrics]
        best = min([started, *values])
        selection = trainer.adversarial.selection
        assert selection is not None and selection.evaluator.figure(trainer.current_generator(), "kl_sum") == best


# --------------------------------------------------------------------------------------------- rollout policy


def searches(recorder: Recorder) -> list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Weights of policy and rollout policy at each generator update."""
    return [(policy.tensors, rollout.tensors) for _, policy, rollout, _ in recorder.searches if rollout is not None]


def test_rollouts_are_continued_by_the_generator_itself_where_nothing_else_is_asked_for(task: Task) -> None:
    recorder = Recorder()
    with trainer_of(tiny_config(), task, recorder=recorder) as trainer:
        finish(trainer)
    for policy, rollout in searches(recorder):
        assert_same(policy, rollout)


def test_rollout_policy_moves_once_a_unit_towards_the_generator(task: Task) -> None:
    # β₀ = θ₀ throughout the first unit, both of its updates; then β ← 0.75 β + 0.25 θ after each.
    recorder = Recorder()
    config = tiny_config({"g_steps": 2, "adversarial_updates": 3}, credit=MonteCarlo(num_rollouts=2, policy_ema=0.75))
    ends = []
    with trainer_of(config, task, recorder=recorder) as trainer:
        finish(trainer, lambda running: ends.append(running.current_weights()))
        assert trainer.mle_start is not None
        expected = trainer.mle_start
    used = searches(recorder)
    for unit in range(3):
        for policy, rollout in used[2 * unit : 2 * unit + 2]:
            assert_same(rollout, expected)
            first = unit == 0 and policy is used[0][0]
            assert first == all(np.array_equal(policy[name], rollout[name]) for name in policy)
        after = ends[3 + unit]
        expected = {name: 0.75 * expected[name] + (1.0 - 0.75) * after[name] for name in after}


# -------------------------------------------------------------------------------------------- teacher forcing


def real_rows(task: Task, tokens: Tensor) -> bool:
    known = {tuple(row) for row in task.train.tolist()}
    return all(tuple(row) in known for row in tokens.tolist())


def test_mixed_teacher_forcing_is_one_update_on_both(task: Task) -> None:
    recorder = Recorder()
    config = tiny_config({"teacher_forcing": MixedTeacherForcing(weight=0.5)})
    with trainer_of(config, task, recorder=recorder) as trainer:
        finish(trainer)
    updates = [(rows, size) for phase, rows, size in recorder.updates if phase == "adversarial"]
    assert len(updates) == 2
    for rows, size in updates:
        assert len(rows.tokens) == size == 8 + 16
        assert real_rows(task, rows.tokens[8:])
        torch.testing.assert_close(rows.weights[8:], torch.full((16, 6), 0.5 / (16 * 6)))
    assert not torch.equal(updates[0][0].tokens[8:], updates[1][0].tokens[8:])


def test_interleaved_teacher_forcing_follows_each_generator_update(task: Task) -> None:
    recorder = Recorder()
    config = tiny_config({"g_steps": 2, "teacher_forcing": InterleavedTeacherForcing(num_updates=3)})
    with trainer_of(config, task, recorder=recorder) as trainer:
        finish(trainer)
    updates = [(rows, size) for phase, rows, size in recorder.updates if phase == "adversarial"]
    assert [(len(rows.tokens), size) for rows, size in updates] == [(8, 8), (48, 16)] * 4
    taught = [rows.tokens for rows, _ in updates[1::2]]
    assert all(real_rows(task, tokens) for tokens in taught)
    batches = [batch for tokens in taught for batch in tokens.split(16)]
    assert len({batch.numpy().tobytes() for batch in batches}) == 12, "a batch came twice"


BY_EXAMPLE = {"mle_epochs": 0, "discriminator_rounds": 0, "g_batch": 10, "adversarial_updates": 3}


def by_example(task: Task, group: int | None = None, **changes: Any) -> Recorder:
    """What a run of pairs asks for, in which 10 · .4 = 4 of a batch are real."""
    schedule = BY_EXAMPLE | {"g_group": group, "teacher_forcing": TeacherForcingByExample(fraction=0.4)}
    axes = {"credit": Terminal(), "objective": Reinforce(loss_normaliser="sequence")} | changes
    judge, recorder = PairLSTM(embedding=3, hidden=4, mlp_hidden=5), Recorder()
    with trainer_of(of_pairs(schedule, discriminator=judge, **axes), task, recorder=recorder) as trainer:
        finish(trainer)
    return recorder


def test_by_example_a_share_of_each_draw_is_real_and_the_rest_alone_is_sampled() -> None:
    task = build_task(PAIRS)
    assert task.conditions is not None
    recorder = by_example(task)
    updates = [(rows, size) for phase, rows, size in recorder.updates if phase == "adversarial"]
    judged = [shards for shards, _, _, judge in recorder.searches if judge is not None]
    assert [sum(shard.num_sequences for shard in shards) for shards in judged] == [6, 6, 6]
    known = {tuple(pair) for pair in torch.cat([task.conditions.train, task.train], 1).tolist()}
    for (rows, size), shards in zip(updates, judged, strict=True):
        assert len(rows.tokens) == size == 10 and rows.conditions is not None
        # Those that were sampled were given theirs, and the others are pairs of the data.
        given = torch.cat([shard.conditions for shard in shards if shard.conditions is not None])
        assert torch.equal(rows.conditions[:6], given)
        real = torch.cat([rows.conditions, rows.tokens], 1)[6:]
        assert {tuple(pair) for pair in real.tolist()} <= known
        weights = rows.weights[6:]
        assert weights.unique().tolist() == pytest.approx([0.0, 0.1]) and bool((weights[:, 0] > 0).all())
    assert not torch.equal(updates[0][0].tokens[6:], updates[1][0].tokens[6:])


def test_by_example_no_pair_is_drawn_twice() -> None:
    # Ten pairs that differ, and a batch of ten: each comes once, in one half or the other.
    task = build_task(PAIRS)
    assert task.conditions is not None
    conditions = torch.cartesian_prod(*[torch.arange(3)] * 3)[:10]
    given = dataclasses.replace(task.conditions, train=conditions)
    recorder = by_example(dataclasses.replace(task, train=conditions, conditions=given))
    halves = []
    for _, rows, _ in recorder.updates:
        assert rows.conditions is not None
        assert sorted(rows.conditions.tolist()) == sorted(conditions.tolist())
        halves.append(sorted(rows.conditions[6:].tolist()))
    assert halves[0] != halves[1]


def test_by_example_a_group_is_given_the_same_and_stays_whole() -> None:
    for _, rows, _ in by_example(build_task(PAIRS), group=3, baseline=LeaveOneOut()).updates:
        assert rows.conditions is not None
        assert torch.equal(rows.conditions[:6], rows.conditions[:6:3].repeat_interleave(3, 0))
        # Its advantages sum to 0 at the first token, where all are.
        torch.testing.assert_close(rows.weights[:6, 0].view(2, 3).sum(1), torch.zeros(2))


def test_by_example_the_references_are_nothing_to_the_policy_gradient() -> None:
    task = build_task(PAIRS)
    swapped = dataclasses.replace(task, train=task.train.roll(1, 0))
    (_, one, _), (_, other, _) = (by_example(each).updates[0] for each in (task, swapped))
    sampled = torch.arange(6)
    assert_same(one.rows(sampled).tensors(), other.rows(sampled).tensors())
    assert one.conditions is not None and other.conditions is not None
    assert torch.equal(one.conditions, other.conditions) and not torch.equal(one.tokens[6:], other.tokens[6:])
    assert one.weights[:6].unique().numel() > 2


def test_by_example_needs_as_many_pairs_as_it_draws() -> None:
    config = of_pairs({"mle_epochs": 0, "g_batch": 72, "teacher_forcing": TeacherForcingByExample()}, credit=Terminal())
    with (
        refused(DataError, "too_few_for_update", {"schedule.g_batch": 72}, match="70"),
        trainer_of(config, build_task(PAIRS)),
    ):
        pass


def test_embeddings_that_are_the_generator_s_are_those_of_its_start() -> None:
    judge = InteractionCnn(embedding=4, embeddings="generator", projection=2, channels=3, mlp_hidden=4, members=2)
    config = of_pairs({"adversarial_updates": 2}, discriminator=judge, credit=Terminal())
    with trainer_of(config, build_task(PAIRS)) as trainer:
        begun = trainer.state()["discriminator"]["weights"]
        finish(trainer)
        start, ended, now = trainer.mle_start, trainer.state()["discriminator"]["weights"], trainer.current_weights()
    assert start is not None
    for name in ("source_embedding.weight", "embedding.weight"):
        assert not np.array_equal(start[name], now[name])
        for member in (0, 1):
            assert bool(begun[f"members.{member}.{name}"].isnan().all())
            assert np.array_equal(ended[f"members.{member}.{name}"].numpy(), start[name])
    projections = [weights["members.0.projection.weight"] for weights in (begun, ended)]
    assert not torch.equal(*projections)


@pytest.mark.parametrize("forcing", [InterleavedTeacherForcing(num_updates=2), MixedTeacherForcing(weight=0.5)])
def test_sequences_weigh_by_their_tokens_wherever_likelihood_is_learned(task: Task, forcing: Any) -> None:
    recorders = Recorder(), Recorder()
    for weights, recorder in zip(("none", "tf_idf"), recorders, strict=True):
        config = tiny_config({"adversarial_updates": 1, "teacher_forcing": forcing, "example_weights": weights})
        with trainer_of(config, task, recorder=recorder) as trainer:
            finish(trainer)
    weighs = dict(zip(map(tuple, task.train.tolist()), tf_idf_weights(task.space, task.train).tolist(), strict=True))
    plain, weighted = ([(rows, phase) for phase, rows, _ in recorder.updates] for recorder in recorders)
    assert [phase for _, phase in plain] == [phase for _, phase in weighted] and len(weighted) >= 3
    for (one, phase), (other, _) in zip(plain, weighted, strict=True):
        if phase == "adversarial" and len(one.tokens) == 8:
            continue  # generated, not learned by likelihood
        real = slice(8 if len(one.tokens) == 8 + 16 else 0, None)
        assert torch.equal(one.tokens[real], other.tokens[real])
        expected = torch.tensor([weighs[tuple(row)] for row in one.tokens[real].tolist()]).unsqueeze(1)
        torch.testing.assert_close(other.weights[real], one.weights[real] * expected)


def test_the_learning_rate_of_pretraining_is_halved_by_the_epoch(task: Task) -> None:
    # Plain gradient descent at the same weights moves half as far; and the last epochs of one run are as if the
    # rate had been another from there on.
    def moved(halve_from: int | None, lr: float, epochs: int) -> dict[str, Any]:
        optimizers = Optimizers(mle=SGD(lr=lr), generator=SGD(lr=0.5), discriminator=Adam(lr=0.01))
        schedule = {"mle_epochs": epochs, "mle_halve_from": halve_from, "mle_batch": 64, "adversarial_updates": 0}
        config = tiny_config(schedule, optimizers=optimizers)
        with trainer_of(config, task) as trainer:
            before = trainer.current_weights()
            while trainer.next_phase == "mle":
                trainer.step(measure=False)
            return {name: array - before[name] for name, array in trainer.current_weights().items()}

    assert_same(moved(1, 0.5, 1), moved(None, 0.25, 1))
    assert_same(moved(2, 0.5, 1), moved(None, 0.5, 1))
    halved, held = moved(2, 0.5, 2), moved(None, 0.5, 2)
    assert any(not np.array_equal(halved[name], held[name]) for name in held)


def test_learning_rates_fall_over_the_adversarial_phase(task: Task) -> None:
    # By plain gradient descent, a step a round: what the first of two updates does is the same whatever the end, and
    # the second goes from there a tenth as far. The discriminator, too; its pretraining has the whole rate.
    def weights_at(**schedule: Any) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        optimizers = Optimizers(mle=SGD(lr=0.5), generator=SGD(lr=0.5), discriminator=SGD(lr=0.5))
        found = []
        counts = {"adversarial_updates": 2, "g_steps": 1, "d_steps": 1, "d_epochs": 1}
        a_step = AdversarySettings(batch=48, sequences_per_round=24)
        config = tiny_config(counts | schedule, optimizers=optimizers, adversary=a_step)
        with trainer_of(config, task) as trainer:
            while trainer.next_phase is not None:
                adversarial = trainer.next_phase == "adversarial"
                trainer.step(measure=False)
                state = trainer.state()
                if adversarial or trainer.next_phase == "adversarial":
                    found.append((state["learners"]["weights"], state["discriminator"]["weights"]))
        return found

    held, g_falls, d_falls = weights_at(), weights_at(g_rate_end=0.1), weights_at(d_rate_end=0.1)
    for number, one in enumerate(held[:2]):
        for other in (g_falls[number], d_falls[number]):
            assert_same(one[0], other[0])
            assert_same(one[1], other[1])
    moved, slowed = ({name: run[2][0][name] - run[1][0][name] for name in run[2][0]} for run in (held, g_falls))
    for name, step in moved.items():
        torch.testing.assert_close(slowed[name], 0.1 * step, rtol=1e-3, atol=1e-7)
    assert_same(d_falls[2][0], held[2][0])
    moved, slowed = ({name: run[2][1][name] - run[1][1][name] for name in run[2][1]} for run in (held, d_falls))
    for name, step in moved.items():
        torch.testing.assert_close(slowed[name], 0.1 * step, rtol=1e-3, atol=1e-7)


def test_half_of_the_fakes_of_pretraining_are_what_beams_find() -> None:
    config = of_pairs(
        {"discriminator_rounds": 2, "adversarial_updates": 1},
        adversary=AdversarySettings(batch=16, sequences_per_round=24, decoding=BeamsAndSamples(beam=3)),
    )
    pairs, rounds = build_task(config.task), []

    def compare(request: Round) -> None:
        stepper = trainer.current_generator().stepper()
        best = beam_search(stepper, pairs.space, 24, 3, conditions=request.conditions).tokens
        rounds.append((best == request.fakes).all(1))

    with trainer_of(config, pairs, recorder=Recorder(before_round=compare)) as trainer:
        while trainer.next_phase is not None:
            trainer.step(measure=False)
    # Every second one is; what is drawn may happen to be the likeliest, but never so often.
    for is_best in rounds[:2]:
        assert bool(is_best[1::2].all()) and not bool(is_best[::2].all())
    assert len(rounds) == 3 and not bool(rounds[2][1::2].all())


# --------------------------------------------------------------------------------------------------- controls

CONTROLS: tuple[Control, ...] = ("mle_continued", "oracle_ratio", "constant_reward", "random_reward")


@pytest.mark.parametrize("preset", [quick, seqgan, seqgan_quick], ids=lambda function: function.__name__)
@pytest.mark.parametrize("name", CONTROLS)
def test_controls_keep_task_generator_pretraining_and_number_of_updates(preset: Any, name: Control) -> None:
    run = preset()
    other = control(run, name)
    assert Config.model_validate(other.model_dump()) == other
    for kept in ("task", "generator", "seed", "evaluation", "workers"):
        assert getattr(other, kept) == getattr(run, kept), kept
    for kept in ("mle_epochs", "mle_patience", "mle_batch", "adversarial_updates", "g_steps", "g_batch"):
        assert getattr(other.schedule, kept) == getattr(run.schedule, kept), kept
    assert other.optimizers.mle == run.optimizers.mle
    assert other.discriminator is None and other.schedule.d_steps == other.schedule.discriminator_rounds == 0
    assert other.controls == () and other.preset == name
    if name != "oracle_ratio":
        assert other.optimizers == run.optimizers


FORCINGS = [
    InterleavedTeacherForcing(num_updates=2),
    MixedTeacherForcing(weight=0.5),
    TeacherForcingByExample(fraction=0.4),
]


@pytest.mark.parametrize("forcing", FORCINGS, ids=lambda forcing: forcing.kind)
def test_mle_continued_learns_the_very_rows_of_the_run_s_teacher_forcing(task: Task, forcing: Any) -> None:
    run, ours = tiny_config({"g_steps": 2, "teacher_forcing": forcing}), Recorder()
    with trainer_of(run, task, recorder=ours) as trainer:
        finish(trainer)
        start = trainer.mle_start
    other, theirs = control(run, "mle_continued"), Recorder()
    with trainer_of(other, task, mle_start=start, recorder=theirs) as trainer:
        assert_same(trainer.current_weights(), start)
        assert [unit.phase for unit in finish(trainer)] == ["adversarial"] * 2
    assert other.optimizers.generator == run.optimizers.generator
    taught = [(rows, size) for phase, rows, size in ours.updates if phase == "adversarial"]
    taught = taught[1::2] if forcing.kind == "interleaved" else taught
    assert len(taught) == len(theirs.updates) == 4
    for (rows, size), (phase, learnt, their_size) in zip(taught, theirs.updates, strict=True):
        assert phase == "adversarial"
        generated = 0 if forcing.kind == "interleaved" else run.schedule.num_sampled
        assert their_size == size - generated
        assert torch.equal(learnt.tokens, rows.tokens[generated:])
        assert torch.equal(learnt.weights, rows.weights[generated:])


def test_mle_continued_is_the_run_whose_reward_teaches_nothing(task: Task) -> None:
    # A reward of 0 gives a gradient of 0, and plain gradient descent then does not move.
    optimizers = Optimizers(mle=Adam(lr=0.02), generator=SGD(lr=0.5), discriminator=Adam(lr=0.01))
    run = tiny_config(
        {
            "discriminator_rounds": 0,
            "d_steps": 0,
            "adversarial_updates": 3,
            "teacher_forcing": InterleavedTeacherForcing(num_updates=2),
        },
        discriminator=None,
        reward=ConstantReward(value=0.0),
        credit=Terminal(),
        optimizers=optimizers,
    )
    with trainer_of(run, task) as trainer:
        finish(trainer)
        weights, start = trainer.current_weights(), trainer.mle_start
    with trainer_of(control(run, "mle_continued"), task, mle_start=start) as trainer:
        finish(trainer)
        assert_same(trainer.current_weights(), weights)
    with pytest.raises(AssertionError):
        assert_same(weights, start)


def test_mle_continued_of_a_run_without_teacher_forcing_makes_as_many_updates(task: Task) -> None:
    run, recorder = tiny_config({"g_steps": 2}), Recorder()
    other = control(run, "mle_continued")
    assert isinstance(other.objective, NoPolicyGradient)
    with trainer_of(other, task, recorder=recorder) as trainer:
        units = finish(trainer)
    updates = [(rows, size) for phase, rows, size in recorder.updates if phase == "adversarial"]
    assert [(len(rows.tokens), size) for rows, size in updates] == [(16, 16)] * 4
    assert recorder.searches == [] and "generator/teacher_forcing_nll" in units[-1].metrics


def test_reward_controls_learn_from_what_they_say(task: Task) -> None:
    # The advantage of each sampled token is the reward itself, 1, over the batch of 8.
    run, recorder = tiny_config(objective=Reinforce(loss_normaliser="sequence")), Recorder()
    with trainer_of(control(run, "constant_reward"), task, recorder=recorder) as trainer:
        finish(trainer)
    for phase, rows, _ in recorder.updates:
        if phase == "adversarial":
            torch.testing.assert_close(rows.weights, torch.full((8, 6), 1 / 8))
    assert all(judge is None and rollout is None for _, _, rollout, judge in recorder.searches)
    assert isinstance(control(run, "random_reward").baseline, NoBaseline)


def test_what_selects_on_few_validation_pairs_needs_none_for_a_fresh_evaluator() -> None:
    settings = PAIRS.model_copy(update={"vocab_size": 50, "num_valid": 30, "num_test": 300})
    evaluation = EvaluationSettings(adversarial=FreshEvaluator())
    axes = {"task": settings, "evaluation": evaluation, "discriminator": PairLSTM(embedding=3, hidden=4, mlp_hidden=5)}
    config, task = of_pairs({"selection": BestGenerator(measure="valid_nll")}, **axes), build_task(settings)
    with trainer_of(config, task) as trainer:
        assert trainer.evaluator._adversarial is not None
    with (
        refused(ConfigError, "evaluator_too_few", match="the dev part gets 6 of 30"),
        trainer_of(config, selection_view(task)),
    ):
        pass
