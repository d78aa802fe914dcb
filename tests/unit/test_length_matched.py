"""LM scores of the final table at the lengths of real texts: what a generator gains by other lengths is not in them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlgan.envs.tasks import PairsTask, Task, TextTask, build_task
from rlgan.envs.tasks.pair_files import Table
from rlgan.evaluation.evaluator import EvaluationSettings, Evaluator, Measurement
from rlgan.evaluation.language_model_scores import LanguageModelScores
from rlgan.evaluation.learned_language_model import LearnedLanguageModel
from rlgan.generators import LSTM
from rlgan.metrics import length_classes, lengths_of, strip

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "slept"]


def task_of(folder: Path) -> Task:
    # Twice as many sentences of three words as of six.
    short = [" ".join(WORDS[first : first + 3]) for first in range(4)]
    long = [" ".join(WORDS[first : first + 6]) for first in range(2)]
    for name in ("train", "valid", "test"):
        (folder / f"{name}.txt").write_text("\n".join((short + long) * 2) + "\n", "utf-8")
    paths = {name: str(folder / f"{name}.txt") for name in ("valid", "test")}
    return build_task(TextTask(data=str(folder / "train.txt"), **paths))


def measured(task: Task, tokens: torch.Tensor, learned: LearnedLanguageModel | None = None) -> dict[str, float]:
    scores = LanguageModelScores(task, learned, length_matched=True, seed=0)
    return scores.closely(tokens, are_valid=False) | scores.of(strip(task.space, tokens))


def test_classes_have_rows_and_reals_of_equal_length() -> None:
    found = length_classes(torch.tensor([3, 3, 6, 9]), torch.tensor([6, 3, 6, 4]))
    assert [(rows.tolist(), number) for rows, number in found] == [([1], 2), ([0, 2], 1)]
    assert length_classes(torch.tensor([3]), torch.tensor([4])) == []


def test_scores_are_a_mean_over_real_lengths_of_means_over_samples_as_long(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    lengths = lengths_of(task.space, task.test)
    short, long = (task.test[lengths == number] for number in (3, 6))
    learned = LearnedLanguageModel(network=LSTM(embedding=4, hidden=8), epochs=2)
    # Long sentences alone but for one, of which real text has one third.
    tokens = torch.cat([short[:1], long, long])
    found = measured(task, tokens, learned)
    scores = LanguageModelScores(task, learned, length_matched=False, seed=0)
    model = scores._ngram_model
    total = tokens_of_all = 0.0
    for share, number in ((2 / 3, 3), (1 / 3, 6)):
        some = strip(task.space, tokens[lengths_of(task.space, tokens) == number])
        sums = [model.mean_nll([one]) * (len(one) + 1) for one in some]
        total += share * sum(sums) / len(some)
        tokens_of_all += share * (number + 1)
    assert found["eval/lm_5gram_matched"] == pytest.approx(total / tokens_of_all)
    assert abs(found["eval/lm_5gram_matched"] - found["eval/lm_5gram"]) > 0.05
    of_classes = [scores._lstm(tokens[lengths_of(task.space, tokens) == number]) for number in (3, 6)]
    expected = (2 / 3 * of_classes[0] * 4 + 1 / 3 * of_classes[1] * 7) / (2 / 3 * 4 + 1 / 3 * 7)
    assert found["eval/lm_lstm_matched"] == pytest.approx(expected)


def test_of_the_lengths_of_real_text_they_are_the_scores_themselves(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    found = measured(task, task.test)
    assert found["eval/lm_5gram_matched"] == pytest.approx(found["eval/lm_5gram"])
    assert "eval/lm_lstm_matched" not in found
    # Other lengths than any of real text's: there is nothing to compare.
    four = torch.full_like(task.test[:2], task.space.pad_id)
    four[:, :4] = task.test[lengths_of(task.space, task.test) == 6][:2, :4]
    four[:, 4] = task.space.end_id
    assert not [name for name in measured(task, four) if name.endswith("matched")]


def test_of_pairs_the_answers_alone_are_scored_where_it_is_asked_for(tmp_path: Path) -> None:
    lines = [
        f"{' '.join(WORDS[:number])}\t{' '.join(WORDS[number : number + 2 + number % 3])}" for number in range(1, 7)
    ]
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    files = {name: str(tmp_path / f"{name}.tsv") for name in ("valid", "test")}
    task = build_task(PairsTask(input=Table(data=str(tmp_path / "train.tsv"), **files)))
    drawn = Measurement({}, task.valid.long(), None)
    silent = Evaluator(task, EvaluationSettings(), seed=0)
    assert silent.measure_closely(drawn) == {}
    learned = LearnedLanguageModel(network=LSTM(embedding=4, hidden=8), epochs=1)
    asked = EvaluationSettings(length_matched=True, language_model=learned)
    found = Evaluator(task, asked, seed=0).measure_closely(drawn)
    scores = LanguageModelScores(task, learned, length_matched=True, seed=0)
    assert found == {
        **scores.of(strip(task.space, drawn.tokens)), **scores.closely(drawn.tokens, are_valid=False)
    }  # fmt: skip
    assert found.keys() == {
        f"eval/{name}"
        for name in ("lm_5gram", "rlm_5gram", "lm_lstm", "rlm_lstm", "lm_5gram_matched", "lm_lstm_matched")
    }
