"""Reward functions as TRL and verl call them: what their documents print, what the data has beside, what is logged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rlgan.base.errors import ConfigError, PluginError
from rlgan.base.pretrained import ModelFolder
from rlgan.base.seeding import stream
from rlgan.envs.tasks import Task, demonstrations_task
from rlgan.envs.transition import sequence_mask
from rlgan.policy.advantage_scaling import GroupDeviation, Whiten, normalised
from rlgan.policy.baselines import BaselineState, BatchMean, GroupMean, LeaveOneOut, advantages
from rlgan.policy.credit import monte_carlo_values
from rlgan.policy.groups import separately_normalised
from rlgan.policy.reward_base import Finished, Scored, TrainerState
from rlgan.policy.reward_functions import PluginReward, WeightedFunction, added_up
from rlgan.training.real_sequences import RealSequences
from tests.support.errors import refused
from tests.support.language_models import require, write_tokenizer
from tests.support.tiny import tiny_config

Write = Callable[..., WeightedFunction]
NAN = float("nan")

# As the documentation of TRL 1.16 prints them.
TRL = r'''
import asyncio
import re


def longer(completion_ids, **kwargs):
    """Reward function that assigns higher scores to longer completions (in terms of token count)."""
    return [float(len(ids)) for ids in completion_ids]


def format_reward_func(completions, **kwargs):
    """Reward function that checks if the completion has a specific format."""
    pattern = r"^<think>.*?</think><answer>.*?</answer>$"
    completion_contents = [completion[0]["content"] for completion in completions]
    matches = [re.match(pattern, content) for content in completion_contents]
    return [1.0 if match else 0.0 for match in matches]


def reward_func(completions, ground_truth, **kwargs):
    # Regular expression to capture content inside \\boxed{}
    matches = [re.search(r"\\boxed\{(.*?)\}", completion) for completion in completions]
    contents = [match.group(1) if match else "" for match in matches]
    # Reward 1 if the content is the same as the ground truth, 0 otherwise
    return [1.0 if c == gt else 0.0 for c, gt in zip(contents, ground_truth)]


def math_reward_func(prompts, completions, task, **kwargs):
    rewards = []
    for prompt, completion, t in zip(prompts, completions, task):
        if t == "math":
            rewards.append(1.0 if "4" in completion else -1.0)
        else:
            # Return None for non-math tasks
            rewards.append(None)
    return rewards


def coding_reward_func(prompts, completions, task, **kwargs):
    return [(0.5 if t == "coding" else None) for t in task]


async def async_reward_func(prompts, completions, **kwargs):
    # Simulate an I/O-bound call (e.g., HTTP request, database lookup)
    await asyncio.sleep(0.01)
    # Simple toy reward: 1.0 if the completion is non-empty, else 0.0
    return [1.0 if completion else 0.0 for completion in completions]


def logging_reward(completions, ground_truth, log_extra=None, log_metric=None, **kwargs):
    extracted = [re.search(r"\\boxed\{(.*?)\}", c) for c in completions]
    extracted = [m.group(1) if m else None for m in extracted]
    rewards = [1.0 if e == gt else 0.0 for e, gt in zip(extracted, ground_truth)]

    if log_extra:
        log_extra("golden_answer", list(ground_truth))
        log_extra("extracted_answer", [e or "[none]" for e in extracted])

    if log_metric:
        log_metric("accuracy", sum(rewards) / len(rewards))

    return rewards
'''


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    require()
    return ModelFolder(path=str(write_tokenizer(tmp_path_factory.mktemp("model"))))


def task_of(model: ModelFolder, rows: list[dict[str, Any]]) -> Task:
    held_out = [{**rows[0], "prompt": rows[0]["prompt"]}, rows[1]]
    return demonstrations_task(rows, model, valid=held_out, test=held_out)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str, name: str = "f", **settings: Any) -> WeightedFunction:
        path = tmp_path / f"mine{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        return WeightedFunction(name=f"{path}:{name}", **settings)

    return written


def judged(task: Task, *plugins: WeightedFunction, state: TrainerState | None = None) -> Scored:
    """What functions make of the training sequences of a task, in order, each beside its own record."""
    scorer = PluginReward(functions=plugins, map=None).scorer(task)
    numbers = torch.arange(len(task.train))
    tokens = task.train.long()
    conditions = None if task.conditions is None else task.conditions.train.long()
    mask = sequence_mask(task.space, tokens)
    return scorer(Finished(tokens, mask, conditions, tokens, 0, numbers, state or TrainerState()))


ROWS = [
    {"prompt": "What is 2+2?", "completion": r"\boxed{4}", "ground_truth": "4", "task": "math"},
    {"prompt": "What is 3+3?", "completion": r"\boxed{5}", "ground_truth": "6", "task": "math"},
    {"prompt": "Print it", "completion": "print(1)\nprint(2)", "ground_truth": "x", "task": "coding"},
]


# TRL


def test_functions_that_trl_prints_return_what_trl_says(model: ModelFolder, write: Write) -> None:
    task = task_of(model, ROWS)
    assert judged(task, write(TRL, "reward_func")).scores.tolist() == [1.0, 0.0, 0.0]
    assert judged(task, write(TRL, "async_reward_func")).scores.tolist() == [1.0, 1.0, 1.0]
    lengths = sequence_mask(task.space, task.train.long()).sum(1).float()
    assert torch.equal(judged(task, write(TRL, "longer")).scores, lengths)
    several = judged(task, write(TRL, "math_reward_func"), write(TRL, "coding_reward_func"))
    assert several.scores.tolist() == [1.0, -1.0, 0.5]
    assert several.parts is not None and several.parts.isnan().tolist() == [[False, True], [False, True], [True, False]]


def test_conversations_are_handed_over_as_messages(model: ModelFolder, write: Write) -> None:
    answers = ["<think>a</think><answer>b</answer>", "plain", "<think>a</think>"]
    rows = [
        {"prompt": [{"role": "user", "content": f"q{n}"}], "completion": [{"role": "assistant", "content": text}]}
        for n, text in enumerate(answers)
    ]
    task = task_of(model, rows)
    assert judged(task, write(TRL, "format_reward_func")).scores.tolist() == [1.0, 0.0, 0.0]
    shown = write(
        "def f(prompts, completions):\n"
        "    assert all(c[0]['role'] == 'assistant' and len(c) == 1 for c in completions)\n"
        "    return [len(p) * 10 + int(p[-1]['content'][1:]) for p in prompts]"
    )
    assert judged(task, shown).scores.tolist() == [10.0, 11.0, 12.0]


def test_functions_of_trl_itself_are_named_by_their_module(model: ModelFolder) -> None:
    pytest.importorskip("trl")
    said = ["<think>\nThis is my reasoning.\n</think>\nThis is my answer.", "<think>\nThis is my answer.", "no"]
    rows = [{"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": text}]}
            for n, text in enumerate(said)]  # fmt: skip
    task = demonstrations_task(rows, model, valid=rows[:1], test=rows[:1])
    found = judged(task, WeightedFunction(name="trl.rewards:think_format_reward"))
    assert found.scores.tolist() == [1.0, 0.0, 0.0]


def test_text_keeps_its_lines_and_prompts_are_those_of_the_data(model: ModelFolder, write: Write) -> None:
    plugin = write(
        "def f(prompts, completions):\n"
        "    global SEEN\n    SEEN = prompts, completions\n    return [0.0] * len(prompts)"
    )
    task = task_of(model, ROWS)
    judged(task, plugin)
    seen = plugin.load().object.__globals__["SEEN"]
    assert seen == ([row["prompt"] for row in ROWS], [row["completion"] for row in ROWS])


def test_what_is_logged_stands_beside_its_row(model: ModelFolder, write: Write) -> None:
    found = judged(task_of(model, ROWS), write(TRL, "logging_reward"))
    assert found.logged["logging_reward_golden_answer"] == ("4", "6", "x")
    assert found.logged["logging_reward_extracted_answer"] == ("4", "5", "[none]")
    assert found.logged["logging_reward_accuracy"] == (1 / 3,) * 3
    for text in ("log_metric('a:b', 1)", "log_extra('a', [1])", "log_metric('mean', 1)"):
        plugin = write(f"def f(completions, log_metric, log_extra):\n    {text}\n    return [0.0] * len(completions)")
        with refused(PluginError, "reward_raised"):
            judged(task_of(model, ROWS), plugin)


def test_rewards_may_change_as_the_run_goes_on(model: ModelFolder, write: Write) -> None:
    plugin = write(
        "def f(completions, trainer_state, **kw):\n    return [trainer_state.global_step] * len(completions)"
    )
    assert judged(task_of(model, ROWS), plugin, state=TrainerState(7, 0.5)).scores.tolist() == [7.0] * 3


# Columns


def test_only_columns_that_are_asked_for_travel(model: ModelFolder, write: Write) -> None:
    task = task_of(model, [{**row, "large": ["x" * 1000]} for row in ROWS])
    some = write("def f(completions, ground_truth, task='-'):\n    return [0.0] * len(completions)")
    option = write("def f(completions, task='-'):\n    return [0.0] * len(completions)", options={"task": "mine"})
    whole = write("def f(completions, **kwargs):\n    return [float(len(kwargs['large'][0][0]))] * len(completions)")

    def kept(plugin: WeightedFunction) -> set[str]:
        records = PluginReward(functions=(plugin,), map=None).scorer(task).texts.records
        assert records is not None
        return set(records.columns)

    assert kept(some) == {"ground_truth", "task"} and kept(option) == set()
    assert kept(whole) == {"ground_truth", "task", "large"}
    assert judged(task, whole).scores.tolist() == [1000.0] * 3


def test_column_that_the_data_lacks_is_told_before_the_run(model: ModelFolder, write: Write) -> None:
    plugin = write("def f(completions, ground_thruth):\n    return []")
    with refused(ConfigError, "reward_column_missing", {"parameter": "ground_thruth"}, match="ground_truth"):
        judged(task_of(model, ROWS), plugin)
    missing = write("def f(completions, note):\n    return [1.0 if one is None else 0.0 for one in note]")
    rows = [{**ROWS[0], "note": "x"}, *ROWS[1:]]
    assert judged(task_of(model, rows), missing).scores.tolist() == [0.0, 1.0, 1.0]  # a record without it has None


def test_rows_go_with_what_sequences_are_given(model: ModelFolder, write: Write) -> None:
    task = task_of(model, [{"prompt": f"q {n}", "completion": f"a {n}"} for n in range(9)])
    reward = PluginReward(functions=(write("def f(completions): ..."),), map=None)
    config = tiny_config({"g_group": 2}, baseline=GroupMean())
    begun = RealSequences(config.model_copy(update={"reward": reward}), task).rollouts(0, 0)
    assert begun.rows is not None and begun.conditions is not None and task.conditions is not None
    assert torch.equal(begun.rows[::2], begun.rows[1::2]) and len(begun.rows) == len(begun.conditions)
    assert torch.equal(task.conditions.train[begun.rows].long(), begun.conditions)
    assert RealSequences(config, task).rollouts(0, 0).rows is None


# verl

VERL = """
def compute_score(data_source, solution_str, ground_truth, extra_info=None, bonus=0.0, **kwargs):
    if data_source == "none":
        return None
    score = float(ground_truth in solution_str) + bonus
    return {"score": score, "length": len(solution_str), "level": extra_info.get("level")} if extra_info else score


def in_batches(data_sources, solution_strs, ground_truths, extra_infos=None):
    return [float(truth in text) for text, truth in zip(solution_strs, ground_truths, strict=True)]


async def waits(data_source, solution_str, ground_truth, extra_info=None):
    import asyncio
    await asyncio.sleep(0.01)
    return len(data_source)
"""


def verl_rows() -> list[dict[str, Any]]:
    def row(number: int, source: str, info: dict[str, Any] | None) -> dict[str, Any]:
        return {
            "data_source": source,
            "prompt": [{"role": "user", "content": f"q{number}"}],
            "reward_model": {"style": "rule", "ground_truth": f"{number}"},
            "extra_info": info,
        }

    return [row(1, "a", None), row(2, "bb", {"level": 3}), row(3, "none", None)]


def test_compute_score_of_verl_is_called_by_keyword_for_each_row(model: ModelFolder, write: Write) -> None:
    task = task_of(model, verl_rows())
    found = judged(task, write(VERL, "compute_score", options={"bonus": 0.5}))
    # The completion of a verl row is its ground truth.
    assert found.scores[:2].tolist() == [1.5, 1.5] and bool(found.scores[2].isnan())
    assert found.logged == {"compute_score_length": (None, 1, None), "compute_score_level": (None, 3, None)}
    assert judged(task, write(VERL, "in_batches")).scores.tolist() == [1.0, 1.0, 1.0]
    assert judged(task, write(VERL, "waits")).scores.tolist() == [1.0, 2.0, 4.0]


def test_ground_truth_is_that_of_verl_or_a_field_or_the_completion(model: ModelFolder, write: Write) -> None:
    plugin = write("def f(solution_str, ground_truth):\n    return float(ground_truth == 'yes')")
    rows: list[dict[str, Any]] = [{"prompt": f"q{n}", "completion": "no" if n else "yes"} for n in range(3)]
    assert judged(task_of(model, rows), plugin).scores.tolist() == [1.0, 0.0, 0.0]
    with_field = [{**row, "ground_truth": "yes" if n == 2 else "no"} for n, row in enumerate(rows)]
    assert judged(task_of(model, with_field), plugin).scores.tolist() == [0.0, 0.0, 1.0]
    needs = write("def f(data_source, solution_str, ground_truth):\n    return 0.0")
    with refused(ConfigError, "reward_column_missing", {"parameter": "data_source"}):
        judged(task_of(model, rows), needs)


def test_what_verl_functions_return_wrongly_names_them(model: ModelFolder, write: Write) -> None:
    for returned in ('"x"', '{"length": 3}', "[1.0]"):
        with refused(PluginError, "reward_returned_value", match="'f'"):
            judged(task_of(model, verl_rows()), write(f"def f(data_source, solution_str):\n    return {returned}"))


# Sequences that nothing rewards


def test_terms_are_added_over_those_that_are_there() -> None:
    terms = torch.tensor([[1.0, NAN], [NAN, NAN], [2.0, 3.0]])
    found = added_up(terms, torch.tensor([2.0, -1.0]))
    assert found[[0, 2]].tolist() == [2.0, 1.0] and bool(found[1].isnan())


def test_unrewarded_sequence_counts_nowhere_and_has_no_advantage() -> None:
    # Two groups of three; nothing rewards the second sequence.
    rewards = torch.tensor([1.0, NAN, 4.0, 2.0, 2.0, 5.0])
    mask = torch.tensor([[True, True], [True, False], [True, False], [True, True], [True, True], [True, True]])
    values = rewards.unsqueeze(1).expand(6, 2).masked_fill(~mask, 0.0)
    learns = mask & ~values.isnan()

    def formed(baseline: Any, group: int | None = 3) -> torch.Tensor:
        return advantages(baseline, values, learns, BaselineState(), group).advantages

    assert formed(GroupMean())[:, 0].tolist() == [-1.5, 0.0, 1.5, -1.0, -1.0, 2.0]
    assert formed(LeaveOneOut())[:, 0].tolist() == [-3.0, 0.0, 3.0, -1.5, -1.5, 3.0]
    # Tokens: 1, 1, 4, 2, 2, 2, 2, 5, 5 have the mean 24 / 9.
    expected = torch.tensor([1.0, 0.0, 4.0, 2.0, 2.0, 5.0]) - torch.tensor([24 / 9, 0.0, *[24 / 9] * 4])
    assert torch.allclose(formed(BatchMean())[:, 0], expected)
    scaled, _ = normalised(GroupDeviation(epsilon=1e-9), formed(GroupMean()), values, learns, group=3)
    assert torch.allclose(scaled[:3, 0], torch.tensor([-1.0, 0.0, 1.0]))
    assert torch.allclose(scaled[3:, 0], torch.tensor([-1.0, -1.0, 2.0]) / 2**0.5)
    white, _ = normalised(Whiten(), formed(GroupMean()), values, learns, group=3)
    assert not bool(white.isnan().any()) and white[1].tolist() == [0.0, 0.0]


def test_group_with_one_rewarded_sequence_teaches_nothing() -> None:
    values, mask = torch.tensor([[3.0], [NAN], [NAN], [NAN]]), torch.ones(4, 1, dtype=torch.bool)
    learns = mask & ~values.isnan()
    for baseline in (GroupMean(), LeaveOneOut()):
        assert advantages(baseline, values, learns, BaselineState(), 2).advantages.tolist() == [[0.0]] * 4


def test_continuations_without_a_reward_are_left_out_of_the_mean() -> None:
    continued = torch.tensor([[[1.0, NAN, 3.0], [NAN, NAN, NAN], [0.0, 0.0, 0.0]]])
    found = monte_carlo_values(continued, torch.tensor([7.0]), torch.ones(1, 3, dtype=torch.bool))
    assert found[0, 0] == 2.0 and bool(found[0, 1].isnan()) and found[0, 2] == 7.0


def test_terms_are_normalised_as_trl_does() -> None:
    pytest.importorskip("trl")
    from trl.trainer.utils import nanstd

    terms = torch.randn(12, 3, generator=stream(0, "terms"))
    terms[[1, 5, 6], [0, 2, 1]] = NAN
    grouped = terms.view(-1, 4, 3)
    theirs = (grouped - grouped.nanmean(1, keepdim=True)) / (nanstd(grouped, dim=1, keepdim=True) + 1e-4)
    ours = separately_normalised(terms, 4)
    assert torch.allclose(ours, theirs.view(-1, 3), rtol=0, atol=1e-6, equal_nan=True)
    assert separately_normalised(torch.full((4, 1), 0.1), 4).tolist() == [[0.0]] * 4
