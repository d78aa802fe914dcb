"""Prompts without completions: read from whatever people have, learned from by rewards alone, refused by all else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

import rlgan
from rlgan.base.errors import ConfigError, DataError
from rlgan.base.pretrained import ModelFolder
from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.envs.tasks import DemonstrationsTask, PluginTask, Task, build_task, demonstrations_task
from rlgan.envs.tasks.task import sequences_to_try
from rlgan.envs.testing import check_task
from rlgan.envs.transition import sequence_mask
from rlgan.evaluation.evaluator import EvaluationSettings, Evaluator
from rlgan.evaluation.own_metric import OwnMetric
from rlgan.policy.reward_functions import PluginReward
from rlgan.presets.registry import preset
from rlgan.runs.comparison import compare
from rlgan.runs.ending import written
from rlgan.schedule.model_selection import BestGenerator
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.errors import refused
from tests.support.language_models import chats, require, write_model, write_records, write_tokenizer
from tests.support.tiny import finish

require()

REWARD = '''
def short(completions, answer, **columns):
    """Reads a column of the data; a completion is one message of a chat."""
    return [-len(one[0]["content"]) / 10 - len(said) for one, said in zip(completions, answer)]

def truth(data_source, solution_str, ground_truth, extra_info=None):
    return float(solution_str == ground_truth)

def target(completions, targets):
    return [0.0 for _ in completions]

def length(texts):
    return sum(map(len, texts)) / sum(bool(text) for text in texts)

def overlap(texts, references):
    return 0.0
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    write_tokenizer(folder / "model")
    write_model(folder / "model")
    (folder / "own.py").write_text(REWARD)
    return folder


def of_rows(folder: Path, rows: Sequence[dict[str, Any]], **settings: Any) -> Task:
    return demonstrations_task(rows, ModelFolder(path=str(folder / "model")), form="prompts_alone", **settings)


def prompts_of(task: Task) -> set[str]:
    """All prompts of a task, decoded."""
    given = task.conditions
    assert given is not None
    return {one for split in ("train", "valid", "test") for one in given.decode(getattr(given, split))}


def asked(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"how {number}?"}]


def questions(number: int) -> list[dict[str, Any]]:
    return [{"prompt": asked(index), "answer": str(index)} for index in range(number)]


def task_settings(folder: Path, **settings: Any) -> DemonstrationsTask:
    given = {"demonstrations": "prompts.jsonl", "model": {"kind": "folder", "path": str(folder / "model")}}
    return DemonstrationsTask.model_validate(given | settings)


# --------------------------------------------------------------------------------------------------- what is read

SHAPES = {
    "prompt": lambda number: {"prompt": asked(number)},
    "messages": lambda number: {"messages": asked(number)},
    "messages_with_an_answer": lambda number: {
        "messages": [*asked(number), {"role": "assistant", "content": "fine"}]
    },
    "share_gpt": lambda number: {"conversations": [{"from": "human", "value": f"how {number}?"}]},
    "verl": lambda number: {"prompt": asked(number), "reward_model": {"ground_truth": "fine"}},
    "named": lambda number: {"q": {"turns": asked(number)}, "text": "no prompt"},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_the_same_prompts(shape: str, folder: Path) -> None:
    rows = [SHAPES[shape](number) for number in range(30)]
    task = of_rows(folder, rows, **({"prompt": "q.turns"} if shape == "named" else {}))
    check_task(task)
    assert task.conditions is not None and not task.has_real_sequences and not task.measures
    shown = {
        one for split in ("train", "valid", "test") for one in task.conditions.decode(getattr(task.conditions, split))
    }
    assert shown == {f"<|im_start|>user how {number}?<|im_end|> <|im_start|>assistant " for number in range(30)}
    assert task.test_words is None and task.space.max_length == 256 and task.columns == ("prompt",)
    assert bool((sequence_mask(task.space, task.train).sum(1) == 1).all())  # an end, and nothing else


@pytest.mark.parametrize("field", ["prompt", "question", "instruction", "text", "content"])
def test_texts_are_prompts_without_a_template(field: str, folder: Path) -> None:
    task = of_rows(folder, [{field: f"how {number}?", "answer": "x"} for number in range(30)], max_length=4)
    assert "how 3?" in prompts_of(task) and task.conditions is not None
    assert task.conditions.train_records is not None and set(task.conditions.train_records.columns) >= {"answer"}


def test_files_folders_and_lists_give_the_same_task(folder: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = questions(30)
    fingerprint = of_rows(folder, rows).fingerprint()
    write_records(tmp_path / "a.jsonl", rows)
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "folder"))
    for name in ("a.jsonl", "folder"):
        task = build_task(task_settings(folder, demonstrations=str(tmp_path / name), form="prompts_alone"))
        assert task.fingerprint() == fingerprint, name
    assert of_rows(folder, datasets.Dataset.from_list(rows)).fingerprint() == fingerprint


def test_what_is_empty_repeated_or_too_long_is_counted(folder: Path) -> None:
    rows = [{"prompt": f"how {n}?", "answer": "x"} for n in range(40)]
    # The same prompt with another column is another question to a reward function.
    rows += [rows[0], {"prompt": " ", "answer": "x"}, {"prompt": "how 1?", "answer": "y"}]
    rows += [{"prompt": "long " * 30, "answer": "x"}]
    task = of_rows(folder, rows, max_prompt_length=20, split_seed=1)
    told = "\n".join(task.notes)
    assert "train rows: prompts alone, from the field 'prompt'" in told
    assert "skipped 1 prompt without content, row 42" in told and "dropped 1 repeated prompt" in told
    assert "dropped 1 prompt longer than 20 tokens" in told or "cut 1 prompt to the last 20 tokens" in told
    kept = {split: len(getattr(task, split)) for split in ("train", "valid", "test")}
    assert all(f"{split}: {number} prompts, " in told for split, number in kept.items())
    assert (
        sum(kept.values()) == 42 - ("dropped 1 prompt longer" in told)
        and "completions" not in told.split("prompts:")[1]
    )


def test_a_file_of_prompts_tells_how_to_use_it(folder: Path) -> None:
    with refused(DataError, "prompts_without_completions", match="form prompts_alone"):
        demonstrations_task(questions(30), ModelFolder(path=str(folder / "model")))
    with refused(DataError, "prompt_field_unclear"):
        of_rows(folder, [{"a": "x"}])
    with refused(DataError, "no_prompt_left"):
        of_rows(folder, [{"prompt": " "}])


@pytest.mark.parametrize(("name", "value"), [("completion", "answer"), ("over_long", "cut")])
def test_settings_of_completions_are_refused(name: str, value: str, folder: Path) -> None:
    with refused(ValidationError, "prompts_have_no_completions", {name: value}):
        task_settings(folder, form="prompts_alone", **{name: value})


# ------------------------------------------------------------------------------------------------ what is refused


def alone(folder: Path, **changes: Any) -> Config:
    """Grpo on prompts alone, by a function of one's own."""
    settings = {"task.form": "prompts_alone", "reward": f"{folder / 'own.py'}:short"}
    return override(preset("grpo", task_settings(folder)), settings | changes)


@pytest.mark.parametrize(
    ("changes", "code", "fields"),
    [
        ({"reward": "reference_bleu"}, "needs_completions", {"reward": "reference_bleu"}),
        ({"reward": "length"}, "needs_completions", {"reward": "length"}),
        ({"schedule.mle_epochs": 1}, "needs_completions", {"schedule.mle_epochs": 1}),
        ({"schedule.teacher_forcing": "mixed"}, "needs_completions", {"schedule.teacher_forcing": "mixed"}),
        ({"objective": "implicit"}, "needs_completions", {"objective": "implicit"}),
        (
            {"controls": ["constant_reward", "mle_continued"]},
            "needs_completions",
            {"controls": ["constant_reward", "mle_continued"]},
        ),
        ({"discriminator": "pair_cnn"}, "needs_completions", None),
        ({"schedule.selection": "best"}, "measure_of_completions", {"schedule.selection.measure": "valid_nll"}),
        ({"evaluation.adversarial": "fresh_evaluator"}, "evaluator_without_completions", None),
    ],
)
def test_what_needs_completions_is_named(
    changes: dict[str, Any], code: str, fields: dict[str, Any] | None, folder: Path
) -> None:
    with refused(ConfigError, code, fields):
        alone(folder, **changes)


def test_presets_that_learn_completions_are_refused_whole(folder: Path) -> None:
    for name in ("sft", "gad", "spin"):
        with refused(ConfigError, "preset_not_for_task", {"preset": name}, match="needs completions"):
            preset(name, task_settings(folder, form="prompts_alone"))


def test_a_task_of_ones_own_says_that_its_data_has_prompts_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from rlgan.base.pretrained import ModelFolder\n"
        "from rlgan.envs.tasks import demonstrations_task\n\n"
        "def mine():\n"
        "    rows = [{'prompt': f'how {n}?'} for n in range(30)]\n"
        f"    return demonstrations_task(rows, ModelFolder(path={str(folder / 'model')!r}), form='prompts_alone')\n"
    )
    task = PluginTask.model_validate({"name": f"{tmp_path / 'mine.py'}:mine"})
    assert not task.has_real_sequences and task.gives_conditions and task.has_prompts
    assert task.language_model == ModelFolder(path=str(folder / "model"))
    config = override(preset("grpo", task), {"reward": f"{folder / 'own.py'}:short"})
    assert config.reward.kind == "plugin" and config.generator.weights == task.language_model


def test_the_preset_of_prompts_alone_waits_for_a_reward(folder: Path) -> None:
    config = preset("grpo", task_settings(folder, form="prompts_alone"))
    assert config == override(alone(folder), {"reward.functions": []})
    with refused(ConfigError, "reward_without_functions", {"reward.functions": []}, match="--reward FILE.py:NAME"):
        config.reward.scorer(of_rows(folder, questions(30)))


def test_python_takes_a_task_of_prompts_alone_as_an_object(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(one) + "\n" for one in questions(60)))
    task = task_settings(folder, demonstrations=str(tmp_path / "prompts.jsonl"), form="prompts_alone", max_length=8)
    with refused(ConfigError, "reward_without_functions", match="reward.functions: is empty"):
        rlgan.train("grpo", task=task, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("name", "code"), [("target", "reward_needs_completions"), ("truth", "reward_column_missing")])
def test_rewards_that_read_the_completion_of_the_data_are_refused(name: str, code: str, folder: Path) -> None:
    task = of_rows(folder, [{"prompt": f"how {n}?", "data_source": "x"} for n in range(30)], max_length=8)
    reward = PluginReward.model_validate({"functions": [f"{folder / 'own.py'}:{name}"], "map": None})
    with refused(ConfigError, code):
        reward.scorer(task)


def test_ground_truths_of_verl_are_columns(folder: Path) -> None:
    rows = [{"prompt": f"how {n}?", "data_source": "x", "reward_model": {"ground_truth": "y"}} for n in range(30)]
    PluginReward.model_validate({"functions": [f"{folder / 'own.py'}:truth"], "map": None}).scorer(
        of_rows(folder, rows, max_length=8)
    )


def test_functions_are_tried_on_tokens_of_prompts(folder: Path) -> None:
    task = of_rows(folder, questions(30), max_length=40)
    tokens = sequences_to_try(task, "valid", 2)
    assert task.conditions is not None and tokens.shape == (2, 40) and tokens.dtype == torch.int64
    given = task.conditions.decode(task.conditions.valid[:2])
    assert task.decode(tokens) == [one.replace("<|im_end|>", "") for one in given]
    short = sequences_to_try(of_rows(folder, questions(30), max_length=4), "valid", 2)
    assert bool((short[:, 3] == task.space.end_id).all())  # the last three, and an end


def test_metrics_that_name_real_texts_are_refused_and_others_have_no_distance_from_them(folder: Path) -> None:
    task = of_rows(folder, questions(30), max_length=8)

    def evaluator(name: str, **settings: Any) -> Evaluator:
        metric = OwnMetric(name=f"{folder / 'own.py'}:{name}", **settings)
        return Evaluator(task, EvaluationSettings(metrics=(metric,), encoders=()), seed=0)

    with refused(ConfigError, "metric_needs_completions"):
        evaluator("overlap", direction="max")
    found = evaluator("length")
    assert found.measure_real() is None and any("the data has prompts alone" in note for note in found.notes)
    assert not any("the distance from there" in note for note in found.notes)
    with refused(ConfigError, "selection_of_a_distance"):
        found.require_figure(BestGenerator(measure="own_length").measure)


# ------------------------------------------------------------------------------------------------------ a whole run


def shorter(completions: list[str]) -> list[float]:
    """A reward without columns."""
    return [-float(len(one)) for one in completions]


@pytest.mark.heavy
def test_the_table_of_a_run_has_rewards_and_says_what_is_missing(folder: Path, tmp_path: Path) -> None:
    rows = [{"text": f"how {number}?"} for number in range(30)]  # as a list of strings is written
    path = write_records(tmp_path / "prompts.jsonl", rows)
    changes = {
        "task.demonstrations": str(path), "task.template": "chat", "task.max_length": 6,
        "schedule.adversarial_updates": 2, "schedule.g_batch": 8, "schedule.g_group": 4,
        "evaluation.num_sequences": 8, "evaluation.final_sequences": 8, "evaluation.temperatures": [1.0],
        "workers.threads": 1, "workers.shard_sequences": 3, "optimizers.generator.lr": 0.01,
        "controls": ["constant_reward"], "evaluation.equal_trainings": 0,
        "reward": f"{Path(__file__)}:shorter",
    }  # fmt: skip
    config = alone(folder, **changes)
    task = build_task(config.task)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        units = finish(trainer)
        found = compare(config, task, trainer, lambda sentence: None)
    assert all(unit.metrics["generator/grad_norm"] > 0 for unit in units if "generator/grad_norm" in unit.metrics)
    assert [row["name"] for row in found.rows] == ["MLE start", "constant_reward", "grpo (this run)"]
    assert all({"reward_shorter", "nll_div"} <= row.keys() for row in found.rows)
    assert not any("nll_gen" in row or "chrf" in row for row in found.rows)
    assert "no row of real data, no NLL_gen" in found.text and "is not judged: its data has prompts alone" in found.text
    assert len(found.samples) >= 3 and all(one.real is None for one in found.samples)
    assert written("run", found.samples).real == ()


def test_chats_with_answers_may_be_read_as_prompts_alone(folder: Path) -> None:
    whole = demonstrations_task(chats(30), ModelFolder(path=str(folder / "model")))
    task = of_rows(folder, chats(30), max_length=8)
    assert task.conditions is not None and whole.conditions is not None
    assert torch.equal(task.conditions.test, whole.conditions.test)  # the same split of the same prompts
