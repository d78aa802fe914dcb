"""Which generator is kept: arithmetic on a few values, and what cannot be measured on validation data."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from rlgan.adversary.losses import Wasserstein
from rlgan.adversary.regularisers import InterpolatedPenalty
from rlgan.adversary.settings import AdversarySettings
from rlgan.base.errors import ConfigError
from rlgan.discriminators import ResConv
from rlgan.envs.tasks import PairsTask, TransductionTask
from rlgan.envs.tasks.pair_files import Table
from rlgan.envs.tasks.text import TextTask
from rlgan.envs.tasks.transduction import Copy, RandomTable
from rlgan.evaluation.evaluator import EvaluationSettings
from rlgan.generators import LatentConv
from rlgan.policy.control_rewards import ConstantReward
from rlgan.policy.credit import Terminal
from rlgan.policy.objectives import Soft
from rlgan.schedule.model_selection import (
    BestGenerator,
    Measure,
    SelectionState,
    after_measurement,
    ends_early,
    is_due,
    require_any_gain,
    sentence,
)
from tests.support.errors import refused
from tests.support.tiny import of_pairs, tiny_config


def walk(settings: BestGenerator, values: list[float]) -> list[SelectionState]:
    """The states after values that were measured after 0, 1, 2 … units."""
    states, state = [], SelectionState()
    for unit, value in enumerate(values):
        state = after_measurement(settings, state, value, unit)
        states.append(state)
    return states


@pytest.mark.parametrize(
    ("measure", "sign"), [("valid_nll", 1), ("kl_sum", 1), ("lm_rlm", 1), ("corpus_bleu", -1), ("chrf", -1)]
)
def test_the_best_is_the_lowest_or_of_scores_the_highest(measure: Measure, sign: int) -> None:
    values = [sign * value for value in (5.0, 6.0, 4.0, 4.0, 4.5, 3.0)]
    states = walk(BestGenerator(measure=measure), values)
    assert [(sign * (state.best or 0), state.iteration, state.since) for state in states] == [
        (5.0, 0, 0),
        (5.0, 0, 1),
        (4.0, 2, 0),
        (4.0, 2, 1),  # as good is no gain
        (4.0, 2, 2),
        (3.0, 5, 0),
    ]
    assert {state.start for state in states} == {values[0]}


def test_patience_counts_measurements_without_gain() -> None:
    settings = BestGenerator(patience=2)
    states = walk(settings, [1.0, 2.0, 0.5, 0.6, 0.6])
    assert [ends_early(settings, state) for state in states] == [False, False, False, False, True]
    assert not any(ends_early(BestGenerator(), state) for state in walk(BestGenerator(), [1.0] * 50))


def test_what_is_no_number_is_never_the_best_of_numbers() -> None:
    assert [state.iteration for state in walk(BestGenerator(), [1.0, math.nan, 0.5])] == [0, 0, 2]
    for measure in ("valid_nll", "chrf"):
        states = walk(BestGenerator(measure=measure), [math.nan, math.nan, 7.0, 7.0])
        assert [state.iteration for state in states] == [0, 0, 2, 2]
    assert [state.iteration for state in walk(BestGenerator(), [math.inf, math.inf, 9.0])] == [0, 0, 2]


def test_measurements_come_every_so_many_units_and_at_the_end() -> None:
    assert [unit for unit in range(1, 12) if is_due(BestGenerator(every=4), unit, most=11)] == [4, 8, 11]


def test_who_was_selected_is_told_with_what_the_start_had() -> None:
    settings, state = BestGenerator(measure="corpus_bleu"), SelectionState(start=21.0, best=23.5, iteration=15)
    assert sentence(settings, state, done=18, most=20) == (
        "generator selected on validation data: that of adversarial iteration 15, corpus_bleu 23.5000 (start 21.0000); "
        "stopped early after 18 of 20 iterations"
    )
    harmed = sentence(settings, SelectionState(start=21.0, best=21.0), done=20, most=20)
    assert "data: the start of the adversarial phase, " in harmed and harmed.endswith("; of 20 iterations")


PAIRS = PairsTask(input=Table(data="pairs.tsv"))
LATENT: dict[str, Any] = {
    "generator": LatentConv(latent=3, width=4, blocks=1),
    "discriminator": ResConv(width=4, blocks=1),
    "adversary": AdversarySettings(batch=16, loss=Wasserstein(), gradient_penalty=InterpolatedPenalty()),
    "reward": ConstantReward(),
    "credit": Terminal(),
    "objective": Soft(),
    "evaluation": EvaluationSettings(temperatures=(1.0,), collapse_share=None),
}


@pytest.mark.parametrize(
    ("measure", "settings", "said"),
    [
        (
            "kl_sum",
            {"task": TextTask(data="lines.txt")},
            "needs an exact distribution, which task='text' does not have. Use lm_rlm or",
        ),
        ("lm_rlm", {}, "needs language models of text, but task='oracle' has no text. Use valid_nll"),
        ("corpus_bleu", {}, "compares texts with references, but task='oracle' has none. Use valid_nll"),
        (
            "chrf",
            {"task": TextTask(data="lines.txt")},
            "compares texts with references, but task='text' has none. Use valid_nll",
        ),
    ],
)
def test_what_cannot_be_measured_of_a_task_is_refused(measure: Measure, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=rf"schedule.selection.measure='{measure}': .*{said}"):
        tiny_config({"selection": BestGenerator(measure=measure)}, **settings)


@pytest.mark.parametrize(
    ("measure", "task", "said"),
    [
        ("kl_sum", PAIRS, "measure_of_law: task='pairs'"),
        ("corpus_bleu", TransductionTask(), "measure_of_references: task='transduction'"),
        ("kl_sum", TransductionTask(rule=Copy(noise=0.0)), "measure_is_infinite"),
    ],
)
def test_what_cannot_be_measured_of_pairs_is_refused(measure: Measure, task: Any, said: str) -> None:
    with refused(ValidationError, said):
        of_pairs({"selection": BestGenerator(measure=measure)}, task=task)


def test_what_can_be_measured_is_accepted() -> None:
    def accepted(configured: Any, measure: Measure, task: Any) -> bool:
        return (
            configured({"selection": BestGenerator(measure=measure)}, task=task).schedule.selection.measure == measure
        )

    assert all(accepted(of_pairs, measure, PAIRS) for measure in ("corpus_bleu", "chrf", "valid_nll"))
    for rule in (Copy(noise=0.1), RandomTable()):
        assert accepted(of_pairs, "kl_sum", TransductionTask(rule=rule, vocab_size=3))
    assert accepted(tiny_config, "lm_rlm", TextTask(data="lines.txt"))


@pytest.mark.parametrize("measure", ["valid_nll", "kl_sum"])
def test_likelihoods_are_not_asked_of_a_generator_that_has_none(measure: Measure) -> None:
    schedule = {"mle_epochs": 0, "selection": BestGenerator(measure=measure)}
    with refused(ValidationError, "measure_of_likelihood", {"schedule.selection.measure": measure}):
        tiny_config(schedule, **LATENT)


def test_without_an_adversarial_phase_there_is_nobody_to_select() -> None:
    schedule = {"discriminator_rounds": 1, "adversarial_updates": 0, "selection": BestGenerator()}
    with refused(ValidationError, "selection_of_no_phase", {"schedule.selection": "best"}):
        tiny_config(schedule)


@pytest.mark.parametrize("measure", ["corpus_bleu", "chrf"])
def test_scores_that_are_all_zero_select_nothing(measure: Measure) -> None:
    settings = BestGenerator(measure=measure, every=1)
    with refused(ConfigError, "selection_all_zero", {"schedule.selection.measure": measure}, match=" in 3 "):
        require_any_gain(settings, walk(settings, [0.0, 0.0, 0.0])[-1], 3)
    require_any_gain(settings, walk(settings, [0.0, 0.1, 0.0])[-1], 3)
    require_any_gain(settings, walk(settings, [0.1, 0.0, 0.0])[-1], 3)


def test_a_likelihood_of_zero_is_as_good_as_it_gets() -> None:
    settings = BestGenerator(measure="valid_nll", every=1)
    state = walk(settings, [0.0, 0.0])[-1]
    require_any_gain(settings, state, 2)  # no error
    assert state.best == 0.0
