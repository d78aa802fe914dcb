"""Rows of the final table by reward functions of one's own: which sequences they see, and what is given with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlgan.cli.main import main
from rlgan.envs.tasks import build_task
from rlgan.envs.tasks.task import Records
from rlgan.evaluation.evaluator import Measurement
from rlgan.evaluation.own_reward import OwnReward, Rewarded
from rlgan.policy.reward_base import Finished, TrainerState
from rlgan.policy.reward_functions import PluginReward, texts_of
from tests.support.commands import rows_of
from tests.support.tiny import PAIRS, TASK

STATE = TrainerState(7, 1.5)
TEXT = """
def length(completions, log_metric):
    log_metric("longest", max(map(len, completions)))
    return [len(text.split()) for text in completions]


def picky(completions):
    return [1.0 if text.startswith("a") else None for text in completions]


def repeats(prompts, completions, targets, colour):
    return [10.0 * (text == target) + len(one) for text, target, one in zip(completions, targets, colour, strict=True)]
"""


class Seen:
    """Remembers what it is called with."""

    def __call__(self, finished: Finished, records: Records | None) -> dict[str, float]:
        self.finished, self.records = finished, records
        return {"reward_f": 1.0}

    def scores(self, finished: Finished, records: Records | None) -> Tensor:
        """The first token, but none for a first token of 0."""
        return finished.tokens[:, 0].float().masked_fill(finished.tokens[:, 0] == 0, torch.nan)


def test_the_best_samples_are_different_ones_with_the_largest_rewards() -> None:
    task = build_task(TASK)
    tokens = torch.tensor([[1], [3], [0], [2], [3], [1]]).expand(6, task.space.max_length).clone()
    found = OwnReward(Seen(), task, 5, 3, STATE).best(Measurement({}, tokens), 2, list)
    assert found == [Rewarded(task.decode(tokens[1:2])[0], 3.0), Rewarded(task.decode(tokens[3:4])[0], 2.0)]
    assert len(OwnReward(Seen(), task, 5, 3, STATE).best(Measurement({}, tokens), 9, list)) == 3  # of five, one without

    def alike(texts: Sequence[str]) -> list[str]:  # the tokens 2 and 3 stand for the same
        return ["same" if int(row[0]) in (2, 3) else text for row, text in zip(tokens, texts, strict=False)]

    found = OwnReward(Seen(), task, 5, 3, STATE).best(Measurement({}, tokens), 9, alike)
    assert [one.reward for one in found] == [3.0, 1.0]


def test_the_first_samples_are_scored_as_far_as_the_run_is() -> None:
    task, seen = build_task(TASK), Seen()
    tokens = task.train[:9].to(torch.int16)
    assert OwnReward(seen, task, 5, 3, STATE).measure(Measurement({}, tokens)) == {"reward_f": 1.0}
    assert torch.equal(seen.finished.tokens, tokens[:5].long()) and seen.finished.mask.shape == (5, tokens.shape[1])
    assert seen.finished.state == STATE and seen.finished.conditions is None and seen.records is None
    other = Seen()
    OwnReward(other, task, 5, 3, STATE).measure(Measurement({}, task.train[9:14]))
    assert other.finished.seed == seen.finished.seed  # the same luck for every row


@pytest.mark.parametrize("is_real", [False, True])
def test_samples_have_the_targets_of_the_test_split_and_real_sequences_are_their_own(is_real: bool) -> None:
    task, seen = build_task(PAIRS), Seen()
    assert task.conditions is not None
    valid, test = Records([], {}), Records([], {})
    task = replace(task, conditions=replace(task.conditions, valid_records=valid, test_records=test))
    split, conditions = (task.valid, task.conditions.valid) if is_real else (task.test, task.conditions.test)
    number = len(split) + 2  # begins again from the first
    rows = torch.arange(number) % len(split)
    measurement = Measurement({}, split[rows], conditions[rows], is_real=is_real)
    OwnReward(seen, task, number, 3, STATE).measure(measurement)
    assert seen.finished.targets is not None and torch.equal(seen.finished.targets, split[rows].long())
    assert torch.equal(seen.finished.conditions, conditions[rows].long())  # type: ignore[arg-type]
    assert seen.records is (valid if is_real else test)
    assert seen.finished.rows is not None and seen.finished.rows.tolist() == rows.tolist()


def test_means_of_functions_do_not_depend_on_how_many_are_called_at_once(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(TEXT)
    task = build_task(TASK)
    reward = PluginReward(functions=tuple({"name": f"{file}:{name}", "weight": 2.0} for name in ("length",)), map=None)
    tokens = task.train.long()
    assert 64 < len(tokens) < 128
    figures = reward.figures(task)
    measured = OwnReward(figures, task, 500, 3, STATE).measure(Measurement({}, tokens))
    texts = texts_of(task).sequences(tokens)
    assert measured["reward_length"] == pytest.approx(sum(len(text.split()) for text in texts) / len(texts))
    # A number of each call, of 64 texts and of the rest.
    longest = [max(map(len, texts[first : first + 64])) for first in (0, 64)]
    assert measured["logged_length_longest"] == pytest.approx(
        (64 * longest[0] + (len(texts) - 64) * longest[1]) / len(texts)
    )
    assert measured.keys() == {"reward_length", "logged_length_longest"}


def test_columns_of_the_data_are_those_of_the_split(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(TEXT)
    task = build_task(PAIRS)
    given = task.conditions
    assert given is not None
    columns = {"colour": ["x" * (index + 1) for index in range(len(task.test))]}
    records = Records([""] * len(task.test), columns)
    task = replace(task, conditions=replace(given, test_records=records))
    figures = PluginReward(functions=({"name": f"{file}:repeats"},), map=None).figures(task)
    tokens = task.test[:4].long()
    measurement = Measurement({}, tokens, given.test[:4])
    # Each sample is its target, and its colour has 1, 2, 3 and 4 letters.
    assert OwnReward(figures, task, 4, 3, STATE).measure(measurement) == {"reward_repeats": 10.0 + 2.5}


@pytest.mark.heavy
def test_the_reward_stands_in_the_table_on_the_page_and_among_the_metrics(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TEXT)
    data, out = tmp_path / "my.txt", tmp_path / "run"
    data.write_text(
        "".join(f"{who} {does} it\n" for who in "abcdefgh" for does in ("has", "sees", "says", "is", "was"))
    )
    words = ["train", "seqgan-quick", "--data", str(data), "--out", str(out), "--config", str(tmp_path / "small.json")]
    small: dict[str, Any] = {
        "schedule": {"mle_epochs": 1, "discriminator_rounds": 1, "adversarial_updates": 2, "g_batch": 8, "d_steps": 1},
        "adversary": {"sequences_per_round": 16},
        "evaluation": {
            "num_sequences": 24, "final_sequences": 24, "num_bleu": 12, "num_nearest": 6, "temperatures": [1.0],
            "equal_trainings": 0, "num_rewarded": 20,
        },
        "workers": {"threads": 1},
    }  # fmt: skip
    small |= {
        "reward": {"kind": "plugin", "functions": [f"{tmp_path / 'mine.py'}:{name}" for name in ("length", "picky")]}
    }
    (tmp_path / "small.json").write_text(json.dumps(small))
    assert main([*words, "--tracking.enabled", "false"]) == 0
    rows = json.loads((out / "table.json").read_text())
    assert all("reward_length" in row and "reward" in row for row in rows)
    assert {row["name"].split(" ")[0] for row in rows} >= {"real", "MLE", "seqgan-quick"}
    real = next(row for row in rows if row["temperature"] is None)
    assert real["reward_length"] == 3.0 and "reward_unscored_share" not in real  # length scores every text
    for name in ("summary.txt", "table.txt", "report.html"):
        assert "reward_length" in (out / name).read_text("utf-8"), name
    final = [row["metrics"] for row in rows_of(out) if row["phase"] == "final"]
    assert {"final/this_run/reward", "final/real_data/reward", "final/MLE_start/reward"} <= final[-1].keys()
