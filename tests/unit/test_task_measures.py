"""A task says what can be measured of it; nothing else knows tasks by their names."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

import rlgan
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import (
    Conditions,
    OracleTask,
    PairsTask,
    Task,
    TaskMeasure,
    TextTask,
    ToyTask,
    TransductionTask,
    build_task,
)
from rlgan.envs.tasks.toy import TabularOracle
from rlgan.evaluation.evaluator import EvaluationSettings, Evaluator
from rlgan.generators import LSTM, Generator, Seq2SeqLSTM, build_generator
from rlgan.runs.comparison import _columns, _tables
from rlgan.tuning.judge.selection import objective_for

SETTINGS = EvaluationSettings(num_sequences=24, num_bleu=6, num_nearest=4)
SPACE = SequenceSpace(6, 4, end_id=0)
WORDS = ("", "a", "b", "c", "d", "e")
ROOT = Path(rlgan.__file__).parent.parent


def rows(seed: int, number: int = 24) -> torch.Tensor:
    """Finished sequences of one to three words and a terminator."""
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 6, (number, 4), generator=rng)
    lengths = torch.randint(1, 4, (number, 1), generator=rng)
    return torch.where(torch.arange(4) < lengths, tokens, 0)


def poems(**changes: Any) -> Task:
    """A task that no other file has heard of."""
    given: dict[str, Any] = {
        "name": "poems",
        "space": SPACE,
        "train": rows(0),
        "valid": rows(1),
        "test": rows(2),
        "token_names": WORDS,
        "measures": frozenset({"text"}),
        "columns": ("verse",),
    }
    return Task(**(given | changes))


def answers() -> Task:
    """A task of pairs that no other file has heard of, with two references for its first source."""
    sources = rows(5)
    sources[1] = sources[0]
    given = Conditions(SPACE, rows(3), rows(4), sources, WORDS)
    test = rows(2)
    words = tuple(tuple(WORDS[token] for token in row if token) for row in test.tolist())
    return poems(conditions=given, measures=frozenset({"references"}), test=test, test_words=words)


def generator_for(task: Task) -> Generator:
    torch.manual_seed(0)
    settings = LSTM(embedding=4, hidden=4) if task.conditions is None else Seq2SeqLSTM(embedding=4, hidden=6)
    return build_generator(settings, task.space)


def test_a_new_text_task_gets_the_measures_of_text() -> None:
    task = poems()
    evaluator, generator = Evaluator(task, SETTINGS, seed=0), generator_for(task)
    metrics = evaluator.measure(generator).metrics
    assert {"eval/bleu_4", "eval/self_bleu_2", "eval/lm_5gram", "eval/rlm_5gram"} <= metrics.keys()
    two_sided = evaluator.two_sided(generator)
    assert two_sided is not None
    assert two_sided.name == objective_for(task, None).name == "lm_rlm"
    assert "rlm_5gram" in _columns(task)
    assert "eval/nearest_jaccard" in evaluator.measure_closely(evaluator.measure_real())


def test_real_data_of_one_text_has_no_self_bleu_and_all_else() -> None:
    task = poems(valid=rows(1)[:1])
    measured = Evaluator(task, SETTINGS, seed=0).measure_real().metrics
    assert "eval/bleu_4" in measured and not any(name.startswith("eval/self_bleu") for name in measured)


def test_the_same_sequences_without_the_declaration_are_no_text() -> None:
    task = poems(measures=frozenset())
    evaluator, generator = Evaluator(task, SETTINGS, seed=0), generator_for(task)
    assert evaluator.measure(generator).metrics.keys() == {"eval/nll_gen", "eval/nll_div", "eval/effective_rank"}
    assert evaluator.two_sided(generator) is None
    assert _columns(task) == ("nll_gen", "nll_gen_bound", "nll_div")  # the bound of a generator with a latent


def test_a_new_task_of_pairs_is_compared_with_its_references() -> None:
    task = answers()
    evaluator, generator = Evaluator(task, SETTINGS, seed=0), generator_for(task)
    metrics = evaluator.measure(generator).metrics
    assert {"eval/corpus_bleu", "eval/chrf", "eval/decoded_length"} <= metrics.keys()
    assert "eval/rouge_1" not in metrics
    assert evaluator._pairs is not None
    assert len(evaluator._pairs.conditions) == len(torch.unique(task.conditions.test, dim=0))  # type: ignore[union-attr]
    same = (task.conditions.test == task.conditions.test[0]).all(1).nonzero().flatten().tolist()  # type: ignore[union-attr]
    assert len(same) > 1
    assert evaluator._pairs._references[0] == [" ".join(task.test_words[place]) for place in same]  # type: ignore[index]


def test_a_task_may_have_both_an_exact_distribution_and_text() -> None:
    oracle = TabularOracle.random(SPACE, 0)
    tokens = {split: oracle.sample(24, seed) for seed, split in enumerate(("train", "valid", "test"))}
    task = poems(oracle=oracle, **tokens)
    evaluator, generator = Evaluator(task, SETTINGS, seed=0), generator_for(task)
    assert {"eval/kl_sum", "eval/bleu_4"} <= evaluator.measure(generator).metrics.keys()
    two_sided = evaluator.two_sided(generator)
    assert two_sided is not None
    assert two_sided.name == "kl_sum"
    real = evaluator.measure_real()
    assert torch.equal(real.tokens, task.valid), "compared with the test split they would be it"
    assert {"eval/nll_oracle", "eval/bleu_4"} <= real.metrics.keys()
    assert {"kl_sum", "bleu_4"} <= set(_columns(task))
    assert len(_tables(task, [{"name": "x", "temperature": 1.0, "js_2": 0.1}])) > 1


def test_settings_of_a_task_and_the_task_say_the_same(tmp_path: Path) -> None:
    lines = "\n".join(f"{a} {b} {c}" for a in "uvwx" for b in "uvwx" for c in "uvwx")
    (tmp_path / "lines.txt").write_text(lines + "\n")
    (tmp_path / "pairs.tsv").write_text("\n".join(f"{line}\t{line[::-1]}" for line in lines.splitlines()) + "\n")
    pairs = {"input": {"kind": "file", "data": str(tmp_path / "pairs.tsv"), "source": 0, "target": 1}, "header": False}
    every: list[Any] = [
        ToyTask(),
        OracleTask(vocab_size=8, num_train=9, num_valid=9, num_test=9),
        TransductionTask(num_train=9, num_valid=9, num_test=9),
        TextTask(data=str(tmp_path / "lines.txt")),
        PairsTask.model_validate(pairs),
        PairsTask.model_validate({**pairs, "domain": {"kind": "summarization"}}),
    ]
    for settings in every:
        task = build_task(settings)
        assert task.measures == settings.measures, settings.kind
        assert task.has_known_distribution == settings.knows_distribution, settings.kind
        assert (task.conditions is not None) == settings.gives_conditions, settings.kind
        assert task.measures <= set(get_args(TaskMeasure))
    assert "summaries" in every[-1].measures
    assert "summaries" not in every[-2].measures


@pytest.mark.parametrize("package", ["rlgan", "tuning", "envs"])
def test_no_name_of_a_task_decides_anything(package: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        if isinstance(side, ast.Attribute) and side.attr in ("name", "kind") and "task" in ast.unparse(side.value)
    ]
    assert found == []
