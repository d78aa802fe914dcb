"""Selection cannot be gamed: one-sided measures are refused, and nothing is selected on what is reported."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from rlgan.base.errors import ConfigError
from rlgan.envs.tasks import Task, TextTask, build_task
from rlgan.evaluation.evaluator import Evaluator, selection_view
from rlgan.generators import build_generator
from rlgan.metrics import mean_nll
from rlgan.tuning import OBJECTIVES, objective_for
from tests.support.errors import refused
from tests.support.tiny import PAIRS, TASK, tiny_config


@pytest.fixture(scope="module")
def oracle_task() -> Task:
    return build_task(TASK)


@pytest.fixture(scope="module")
def text_task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    path = tmp_path_factory.mktemp("text") / "lines.txt"
    path.write_text("\n".join(f"{a} {b} {c}" for a in "abcd" for b in "abcd" for c in "abcd"))
    return build_task(TextTask(data=str(path)))


def test_each_task_has_a_two_sided_measure(oracle_task: Task) -> None:
    assert objective_for(oracle_task, None) is OBJECTIVES["kl_sum"] is objective_for(oracle_task, "kl_sum")
    text = dataclasses.replace(oracle_task, name="text", oracle=None, measures=frozenset({"text"}))
    assert objective_for(text, None) is OBJECTIVES["lm_rlm"] is objective_for(text, "lm_rlm")
    for objective in OBJECTIVES.values():
        assert len(objective.sides) == 2
        assert objective.value({objective.sides[0]: 1.5, objective.sides[1]: 2.0, "eval/nll_oracle": 9.0}) == 3.5


@pytest.mark.parametrize("name", [None, "lm_rlm", "corpus_bleu", "nll_gen"])
def test_pairs_without_a_distribution_have_no_two_sided_measure(name: str | None, oracle_task: Task) -> None:
    pairs = dataclasses.replace(oracle_task, name="pairs", oracle=None)
    with refused(ConfigError, "sweep_without_measure"):
        objective_for(pairs, name)
    assert objective_for(build_task(PAIRS), None) is OBJECTIVES["kl_sum"]


@pytest.mark.parametrize(
    "name",
    ["nll_oracle", "eval/nll_oracle", "bleu_4", "eval/bleu_2", "self_bleu_4", "nll_gen", "eval/kl_reverse",
     "generator/mean_prob_real", "discriminator/accuracy_heldout", "effective_rank", "distinct_1", "nearest_jaccard_ks",
     "fed_ngram64", "js_4"],
)  # fmt: skip
def test_a_one_sided_measure_is_refused_with_the_reason(name: str, oracle_task: Task) -> None:
    with pytest.raises(ConfigError, match=rf"^objective {name}: .*: kl_sum\.$"):
        objective_for(oracle_task, name)


def test_nothing_that_is_measured_of_a_text_is_called_unknown(text_task: Task) -> None:
    config = tiny_config()
    generator = build_generator(config.generator, text_task.space)
    evaluator = Evaluator(text_task, config.evaluation, seed=0)
    measured = evaluator.measure(generator)
    for name in {*measured.metrics, *evaluator.measure_closely(measured)}:
        with pytest.raises(ConfigError, match=r": lm_rlm\.$"):
            objective_for(text_task, name)


def test_what_the_task_has_not_and_what_nobody_knows_is_refused(oracle_task: Task) -> None:
    with refused(ConfigError, "objective_needs", {"objective": "lm_rlm"}):
        objective_for(oracle_task, "lm_rlm")
    with refused(ConfigError, "objective_never_logged", match="Did you mean 'kl_sum'"):
        objective_for(oracle_task, "kl_sums")


def test_a_sum_of_both_sides_may_be_chosen_if_it_is_logged(oracle_task: Task) -> None:
    logged = {"eval/kl_forward", "eval/kl_reverse", "eval/nll_gen", "eval/nll_oracle"}
    chosen = objective_for(oracle_task, "kl_reverse+nll_gen", logged)
    assert chosen.sides == ("eval/kl_reverse", "eval/nll_gen")
    assert chosen.value({"eval/kl_reverse": 1.0, "eval/nll_gen": 2.0}) == 3.0
    with refused(ConfigError, "objective_refused"):
        objective_for(oracle_task, "nll_oracle+nll_gen", logged)
    with refused(ConfigError, "objective_coverage_only"):
        objective_for(oracle_task, "nll_gen+kl_forward", logged)
    with refused(ConfigError, "objective_quality_only"):
        objective_for(oracle_task, "kl_reverse", logged)
    with refused(ConfigError, "objective_side_twice"):
        objective_for(oracle_task, "kl_reverse+kl_reverse+kl_forward", logged)


def test_an_objective_that_was_never_logged_is_named(oracle_task: Task) -> None:
    logged = {"eval/kl_forward", "eval/kl_reverse", "eval/nll_gen"}
    with refused(ConfigError, "objective_never_logged"):
        objective_for(oracle_task, "lm_5gram+nll_gen", logged)
    with refused(ConfigError, "objective_never_logged", match="Did you mean 'kl_reverse'"):
        objective_for(oracle_task, "kl_revers+nll_gen", logged)


def test_trials_are_measured_on_validation_data(oracle_task: Task) -> None:
    config = tiny_config()
    torch.manual_seed(0)
    generator = build_generator(config.generator, oracle_task.space).eval()
    measured = Evaluator(selection_view(oracle_task), config.evaluation, seed=0).measure(generator)
    with torch.no_grad():
        logprobs = generator.logprobs(oracle_task.valid)
    assert measured.metrics["eval/nll_gen"] == mean_nll(logprobs, torch.ones_like(oracle_task.valid, dtype=torch.bool))
    assert torch.equal(selection_view(oracle_task).train, oracle_task.train)


def test_conditions_and_words_of_validation_take_the_places_of_those_of_the_test_split() -> None:
    task = build_task(PAIRS)
    assert task.conditions is not None
    spelt, other = ((("a",),) * 20, (("b",),) * 20)
    task = dataclasses.replace(
        task,
        valid_words=spelt,
        test_words=other,
        conditions=dataclasses.replace(task.conditions, valid_words=spelt, test_words=other),
    )
    view = selection_view(task)
    assert view.conditions is not None and torch.equal(view.conditions.test, task.conditions.valid)
    assert not torch.equal(task.conditions.test, task.conditions.valid)
    assert view.test_words == view.conditions.test_words == spelt
