"""Filters of rewards: what they may look like, what they may return, and what they remember over a checkpoint."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from rlgan.base.errors import CheckpointError, PluginError
from rlgan.policy.reward_calls import Texts
from rlgan.policy.reward_filters import Filter, RewardFilter
from rlgan.sampling.records import Rollouts
from tests.support.errors import refused

TEXTS = Texts(lambda tokens: [str(row[0]) for row in tokens.tolist()], None)


def rollouts(values: list[float]) -> Rollouts:
    tokens = torch.arange(len(values)).unsqueeze(1)
    return Rollouts(
        tokens=tokens,
        logprobs=torch.zeros(tokens.shape),
        mask=torch.ones(tokens.shape, dtype=torch.bool),
        real_logits=None,
        token_logits=None,
        continuation_logits=None,
        reference_logprobs=None,
        generator_version=0,
        discriminator_version=None,
        prefix_length=0,
        num_drawn=len(values),
        scores=torch.tensor(values),
    )


def filter_of(folder: Path, body: str, **options: Any) -> Filter:
    path = folder / "mine.py"
    path.write_text(body, "utf-8")
    return RewardFilter(name=f"{path}:F", options=options).built(TEXTS)


HALVES = """
class F:
    def __init__(self, factor=0.5): self.factor, self.calls = factor, 0
    def __call__(self, texts, scores):
        self.calls += 1
        return [score * self.factor if text != "0" else score for text, score in zip(texts, scores)]
    def state(self): return {"calls": self.calls}
    def restore(self, state): self.calls = state["calls"]
"""


def test_it_changes_scores_and_what_has_none_keeps_none(tmp_path: Path) -> None:
    halves = filter_of(tmp_path, HALVES, factor=0.25)
    found, metrics = halves.filtered(rollouts([1.0, 2.0, math.nan, 4.0]))
    assert found.scores is not None and found.scores[[0, 1, 3]].tolist() == [1.0, 0.5, 1.0]
    assert bool(found.scores[2].isnan()) and metrics == {"reward/filtered_share": 0.5}


def test_a_filter_is_of_one_run_and_its_memory_goes_from_one_to_the_next(tmp_path: Path) -> None:
    first, second = (filter_of(tmp_path, HALVES) for _ in range(2))
    first.filtered(rollouts([1.0]))
    assert (first.state(), second.state()) == ({"calls": 1}, {"calls": 0})
    second.restore(first.state())
    second.filtered(rollouts([1.0]))
    assert second.state() == {"calls": 2}
    with refused(CheckpointError, "filter_restore", match="KeyError"):
        second.restore({})


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("def F(texts, scores): return scores", "filter_form"),
        ("class F:\n    def __call__(self, texts, scores): return scores", "filter_form"),
        (HALVES.replace("texts, scores):", "texts):"), "filter_signature"),
        (HALVES.replace("factor=0.5", "size"), "plugin_option_missing"),
    ],
)
def test_what_is_no_filter_is_refused(tmp_path: Path, body: str, code: str) -> None:
    with refused(ValidationError, code):
        filter_of(tmp_path, body)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("return scores[:-1]", "filter_returned"),
        ("return [None] * len(scores)", "filter_returned"),
        ("return [float('inf')] * len(scores)", "filter_returned"),
        ("return 'no'", "filter_returned"),
        ("raise ValueError('lost')", "filter_raised"),
    ],
)
def test_what_it_may_not_return_is_told(tmp_path: Path, line: str, code: str) -> None:
    of = filter_of(tmp_path, HALVES.replace("self.calls += 1", line))
    with refused(PluginError, code, match="mine.py"):
        of.filtered(rollouts([1.0, 2.0]))


def test_what_json_cannot_write_is_no_state(tmp_path: Path) -> None:
    with refused(PluginError, "filter_state"):
        filter_of(tmp_path, HALVES.replace('{"calls": self.calls}', "{1, 2}")).state()
    with refused(PluginError, "filter_build_raised"):
        filter_of(tmp_path, HALVES.replace("self.factor, self.calls = factor, 0", "1 / 0"))
