"""Training sequences without end: drawn by the distribution, anew each time, counted, and the same again on resume."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlgan.base.errors import ConfigError
from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.envs.tasks import OracleTask, Task, ToyTask, TransductionTask, build_task
from rlgan.envs.tasks.toy import TOY_PROBS
from rlgan.presets.registry import preset
from rlgan.training.real_sequences import RealSequences
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.errors import refused
from tests.support.tiny import PAIRS, TASK, Recorder, finish, of_pairs, tiny_config

STREAM = TASK.model_copy(update={"mode": "stream"})
TASKS = {
    "toy": ToyTask(mode="stream"),
    "oracle": STREAM,
    "copy": PAIRS.model_copy(update={"mode": "stream"}),
    "table": TransductionTask(rule={"kind": "table"}, vocab_size=3, max_length=2, ends=True, mode="stream"),
}


def recorded(config: Config) -> tuple[Task, Recorder, list[dict[str, float]]]:
    task, recorder = build_task(config.task), Recorder()
    with build_parts(config, task) as parts:
        iterations = finish(Trainer(config, task, recorder.around(parts)))
    return task, recorder, [iteration.metrics for iteration in iterations]


@pytest.mark.parametrize("name", TASKS)
def test_a_stream_is_a_function_of_its_seed(name: str) -> None:
    task = build_task(TASKS[name])
    assert task.stream is not None
    tokens, conditions = task.stream(50, 7)
    again, other = task.stream(50, 7), task.stream(50, 8)
    assert torch.equal(tokens, again[0]) and not torch.equal(tokens, other[0])
    assert tokens.shape == (50, task.space.max_length) and tokens.dtype == torch.int64
    assert (conditions is None) == (task.conditions is None)
    if conditions is not None:
        assert again[1] is not None and torch.equal(conditions, again[1])
        distribution = task.oracle_of(conditions)
        assert distribution is not None and bool(torch.isfinite(distribution.logprobs(tokens)).all())


def test_a_stream_is_drawn_by_the_distribution() -> None:
    task = build_task(TASKS["toy"])
    assert task.stream is not None
    tokens, _ = task.stream(90_000, 3)
    counts = torch.bincount(tokens[:, 0] * 3 + tokens[:, 1], minlength=9).double()
    expected = torch.tensor(TOY_PROBS, dtype=torch.float64).reshape(-1) * 90_000
    # Pearson's statistic with 8 degrees of freedom exceeds 26.1 in one of a thousand draws; the seed is fixed.
    assert float(((counts - expected).square() / expected).sum()) < 26.1


def test_a_fixed_task_has_no_stream() -> None:
    assert build_task(TASK).stream is None
    assert RealSequences(tiny_config(), build_task(TASK)).for_round(0, 24) is None


def test_likelihood_and_discriminator_never_see_a_sequence_of_the_split_or_twice() -> None:
    config = tiny_config({"teacher_forcing": {"kind": "interleaved", "num_updates": 2}}, task=large())
    task, recorder, metrics = recorded(config)
    learned = [rows.tokens for _, rows, _ in recorder.updates if is_likelihood(rows)]
    shown = [request.reals for request in recorder.rounds]
    assert len(shown) == 1 + 2 and all(reals is not None and len(reals.tokens) == 24 for reals in shown)
    # 2 epochs of 64 of 70 sequences in batches of 16; 2 iterations of 2 batches of 16; 3 rounds of 24.
    assert [len(tokens) for tokens in learned] == [64, 64, 32, 32]
    everything = torch.cat([*learned, *(reals.tokens for reals in shown if reals is not None)])
    rows = [tuple(row) for row in everything.tolist()]
    # 5,000 tokens at 6 places: no two draws are equal by chance.
    assert len(set(rows)) == len(rows) == 2 * 64 + 2 * 32 + 3 * 24
    assert not set(rows) & {tuple(row) for row in task.train.tolist()}
    assert [one["data/real_sequences"] for one in metrics] == [64, 128, 152, 152 + 32 + 24, 152 + 2 * 56]


def test_sequences_of_an_epoch_that_was_broken_off_are_counted_once() -> None:
    config = of_pairs({"mle_batch": 2}, task=TASKS["copy"])
    real = RealSequences(config, build_task(config.task))
    first, counted = real.epoch(0), real.num_streamed
    assert counted > 0 and torch.equal(real.epoch(0, again=True).tokens, first.tokens) and real.num_streamed == counted
    real.epoch(1)
    assert real.num_streamed == 2 * counted


def large() -> OracleTask:
    return STREAM.model_copy(update={"vocab_size": 5_000})


def is_likelihood(rows: Any) -> bool:
    """Whether these are learned by likelihood: their weights are one over the tokens of a minibatch."""
    return bool((rows.weights == rows.weights[0, 0]).all())


def test_conditions_of_rollouts_are_new_and_groups_share_one() -> None:
    config = of_pairs({"g_group": 4}, task=TASKS["copy"], baseline={"kind": "leave_one_out"})
    real = RealSequences(config, build_task(config.task))
    first, second = real.rollouts(0, 0).conditions, real.rollouts(1, 0).conditions
    assert first is not None and second is not None and len(first) == 8
    assert torch.equal(first, first[[0, 0, 0, 0, 4, 4, 4, 4]]) and not torch.equal(first, second)
    assert real.num_streamed == 0  # their sequences are not read


def test_sequences_of_which_the_conditions_alone_are_read_are_neither_drawn_nor_counted() -> None:
    task = build_task(TASKS["copy"])
    drawn: list[int] = []

    def stream(num_sequences: int, seed: int) -> tuple[Tensor, Tensor | None]:
        drawn.append(num_sequences)
        assert task.stream is not None
        return task.stream(num_sequences, seed)

    watched = replace(task, stream=stream)
    assert task.conditions is not None
    config = of_pairs({"g_group": 4}, task=TASKS["copy"], baseline={"kind": "leave_one_out"})
    real = RealSequences(config, watched)
    first, fakes = real.rollouts(0, 0), real.fakes(24, 0, 0)
    assert first.targets is None and fakes.targets is None and real.num_streamed == 0 and not drawn
    # A task that cannot draw conditions alone draws both; the conditions are the same, and they are not counted either.
    together = replace(watched, conditions=replace(task.conditions, stream=None))
    other = RealSequences(config, together)
    again = other.rollouts(0, 0).conditions
    assert first.conditions is not None and again is not None and torch.equal(first.conditions, again)
    assert other.num_streamed == 0 and drawn == [2]
    # Who compares with the sequences reads them.
    changes = {"reward": "reference_bleu", "discriminator": "none", "schedule.d_steps": 0}
    compares = override(config, {**changes, "schedule.discriminator_rounds": 0})
    real = RealSequences(compares, watched)
    assert real.rollouts(0, 0).targets is not None and real.num_streamed == 2 and drawn == [2, 2]


def test_prefixes_of_a_stream_are_counted() -> None:
    config = tiny_config({"teacher_forcing": {"kind": "mixed_prefix", "start": 2}}, task=STREAM)
    real = RealSequences(config, build_task(STREAM))
    assert real.rollouts(0, 0).prefixes is not None and real.num_streamed == 8


def test_rows_learned_by_example_are_counted_and_those_beside_them_are_not() -> None:
    config = of_pairs({"teacher_forcing": {"kind": "by_example"}}, task=TASKS["copy"])
    real = RealSequences(config, build_task(TASKS["copy"]))
    beside = real.beside(None, 0, 1.0)
    num_real = config.schedule.num_real
    assert sum(len(one.tokens) for one in beside) == num_real == real.num_streamed
    assert real.rollouts(0, 0).conditions is not None and real.num_streamed == num_real


def test_a_run_goes_on_with_the_sequences_that_it_would_have_drawn() -> None:
    config = tiny_config(task=STREAM)
    task = build_task(config.task)
    with build_parts(config, task) as parts:
        trainer, states = Trainer(config, task, parts), []
        whole = finish(trainer, lambda one: states.append(one.state()))
        weights = trainer.current_weights()
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        trainer.restore(states[1])
        rest = finish(trainer)
        assert [one.metrics["data/real_sequences"] for one in rest] == [
            one.metrics["data/real_sequences"] for one in whole[2:]
        ]
        assert all(torch.equal(tensor, weights[name]) for name, tensor in trainer.current_weights().items())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"schedule.example_weights": "tf_idf"}, "weights_of_a_stream"),
        ({"adversary.mismatched": 1.0}, "mismatched_beside_stream"),
    ],
)
def test_what_needs_a_split_is_refused(changes: dict[str, Any], code: str) -> None:
    config = preset("adversarial_nmt", TASKS["copy"])
    with refused(ConfigError, code):
        override(config, changes)
