"""A final table as others read it: names of rows, a summary that a page can show, and the table itself."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlgan.evaluation.evaluator import Measurement
from rlgan.report.final_table import (
    FIRST,
    MOST_METRICS,
    best_control,
    in_order,
    plane_of,
    shown_table,
    slug,
    summary_metrics,
)
from rlgan.runs.compared import Comparison
from rlgan.runs.publishing import note, publish
from rlgan.tracking import Tracker, TrackingSettings

PLANE = ("lm_5gram", "rlm_5gram")


def row(name: str, temperature: float | None, **values: float) -> dict[str, Any]:
    return {"name": name, "temperature": temperature, **values}


ROWS = [
    row("real data (n=20)", None, lm_5gram=3.0, bleu_2=0.5),
    row("MLE start", 1.0, lm_5gram=3.5, rlm_5gram=3.5, bleu_2=0.4),
    row("MLE τ=0.8", 0.8, lm_5gram=3.0, rlm_5gram=4.0, bleu_2=0.5),
    row("mle_continued", 1.0, lm_5gram=3.4, rlm_5gram=3.4),
    row("random_reward", 1.0, lm_5gram=3.3, rlm_5gram=3.6),
    row("oracle_ratio", 1.0, lm_5gram=1.0, rlm_5gram=1.0),
    row("seqgan τ=0.8 (this run)", 0.8, lm_5gram=2.9, rlm_5gram=4.1, bleu_2=0.6),
    row("seqgan (this run)", 1.0, lm_5gram=3.2, rlm_5gram=3.9, bleu_2=0.45, odd=1.0),
]


def test_rows_are_named_as_metrics_may_be() -> None:
    assert [slug(one) for one in ROWS] == [
        "real_data", "MLE_start", "MLE_tau_0.8", "mle_continued", "random_reward", "oracle_ratio", "this_run_tau_0.8",
        "this_run",
    ]  # fmt: skip


def test_the_best_control_has_the_least_sum_and_is_no_ceiling() -> None:
    assert best_control(ROWS) is ROWS[3]  # 6.8 and not 6.9; oracle_ratio's 2.0 is a ceiling
    assert best_control(ROWS[:3]) is None
    broken = [*ROWS[:3], row("mle_continued", 1.0, lm_5gram=math.nan, rlm_5gram=1.0), ROWS[4]]
    assert best_control(broken) is ROWS[4]


def test_the_summary_is_of_the_run_and_what_it_has_to_beat() -> None:
    assert summary_metrics(ROWS) == {
        "final/this_run/lm_5gram": 3.2,
        "final/this_run/rlm_5gram": 3.9,
        "final/this_run/bleu_2": 0.45,
        "final/this_run/odd": 1.0,
        "final/this_run_tau_0.8/lm_5gram": 2.9,
        "final/this_run_tau_0.8/rlm_5gram": 4.1,
        "final/MLE_start/lm_5gram": 3.5,
        "final/MLE_start/rlm_5gram": 3.5,
        "final/best_control/lm_5gram": 3.4,
        "final/best_control/rlm_5gram": 3.4,
    }


def test_a_run_without_an_adversarial_phase_is_its_start() -> None:
    assert summary_metrics(ROWS[:3]) == {
        "final/MLE_start/lm_5gram": 3.5,
        "final/MLE_start/rlm_5gram": 3.5,
        "final/MLE_start/bleu_2": 0.4,
        "final/MLE_tau_0.8/lm_5gram": 3.0,
        "final/MLE_tau_0.8/rlm_5gram": 4.0,
    }


def test_the_widest_table_is_still_readable() -> None:
    """60 quantities, 12 temperatures, 8 controls: 1,560 numbers. Three more are told of the comparison."""
    quantities = dict.fromkeys((*FIRST, *(f"q{number}" for number in range(33))), 1.0)
    temperatures = [0.05 * number for number in range(1, 13)]
    wide = [row("real data (n=1)", None, **quantities)]
    for name in ("MLE", "x"):
        for one in temperatures:
            end = " (this run)" if name == "x" else ""
            wide.append(row(f"{name} τ={one:g}{end}", one, **quantities))
    wide += [row("MLE start", 1.0, **quantities), row("x (this run)", 1.0, **quantities)]
    wide += [row(f"control {number}", 1.0, **quantities) for number in range(8)]
    # 20 of the run's own row; two each of five temperatures, the start and the best control.
    assert len(summary_metrics(wide)) == 20 + 2 * (5 + 1 + 1) <= MOST_METRICS - 3


def test_rewards_of_ones_own_are_among_them_for_what_they_compare() -> None:
    rows = [{**one, "reward_f": 1.0, "reward_g": 2.0, "reward": 3.0 + index} for index, one in enumerate(ROWS)]
    found = summary_metrics(rows)
    assert {name.split("/")[1] for name in found if name.endswith("/reward")} == {
        "this_run", "MLE_start", "best_control", "real_data",
    }  # fmt: skip
    assert found["final/real_data/reward"] == 3.0 and found["final/best_control/reward"] == 6.0
    assert [name for name in found if name.endswith("reward_f")] == ["final/this_run/reward_f"]
    assert in_order(["kl_sum", "reward_g", "reward"])[:2] == ["reward", "reward_g"]


def test_what_decides_comes_first() -> None:
    assert in_order(["zz", "bleu_2", "aa", "kl_sum"]) == ["kl_sum", "bleu_2", "aa", "zz"]


def test_the_shown_table_is_what_mlflow_calls_one() -> None:
    """As `pandas.DataFrame.to_json(orient="split", index=False)` writes it."""
    table = json.loads(shown_table([row("real data (n=2)", None, x=1.23456, y=math.nan), row("MLE start", 1.0, x=2.0)]))
    assert table == {
        "columns": ["row", "temperature", "x", "y"],
        "data": [["MLE start", 1.0, 2.0, "–"], ["real data (n=2)", "–", 1.2346, "–"]],
    }
    names = [cells[0] for cells in json.loads(shown_table(ROWS))["data"]]
    assert names == [
        "seqgan (this run)", "real data (n=20)", "MLE start", "mle_continued", "random_reward", "oracle_ratio",
        "MLE τ=0.8", "seqgan τ=0.8 (this run)",
    ]  # fmt: skip


def test_the_description_says_what_follows_and_has_the_rows_as_they_are() -> None:
    measurement: Any = Measurement({}, None)  # type: ignore[arg-type]
    text = note(Comparison(ROWS, "", None, measurement, ("neither is better",)))
    assert text.startswith("neither is better\n\n| row | lm_5gram | rlm_5gram | bleu_2 | odd |\n")
    assert "| seqgan (this run) | 3.200 | 3.900 | 0.450 | 1.000 |" in text
    assert "τ=0.8" not in text and text.endswith("`table.json`.")


def test_a_plane_is_of_what_some_row_has_both_of() -> None:
    assert plane_of(ROWS) == PLANE
    assert plane_of([row("MLE start", 1.0, kl_reverse=1.0, lm_5gram=2.0, rlm_5gram=3.0)]) == PLANE
    assert plane_of([row("MLE start", 1.0, corpus_bleu=1.0, chrf=14.0, nll_gen=2.0)]) == ("chrf", "nll_gen")
    # A generator without likelihoods beside an oracle; a run that diverged; real data alone.
    for nothing in ([row("x", 1.0, nll_oracle=9.0)], [row("x", 1.0, lm_5gram=math.nan, rlm_5gram=1.0)], ROWS[:1], []):
        assert plane_of(nothing) is None and best_control(nothing) is None
        assert all("MLE" not in name for name in summary_metrics(nothing))


def test_of_pairs_the_best_control_is_that_of_the_verdict() -> None:
    pairs = [
        row("MLE start", 1.0, chrf=90.0, nll_gen=1.0),
        row("mle_continued", 1.0, chrf=20.0, nll_gen=2.0),
        row("constant_reward", 1.0, chrf=40.0, nll_gen=2.5),  # -ln .4 + 2.5 = 3.42, and -ln .2 + 2 = 3.61
        row("random_reward", 1.0, chrf=0.0, nll_gen=0.1),
        row("x (this run)", 1.0, chrf=30.0, nll_gen=2.0),
    ]
    assert best_control(pairs) is pairs[2]
    found = summary_metrics(pairs)
    assert found["final/MLE_start/chrf"] == 90.0 and found["final/best_control/nll_gen"] == 2.5


@pytest.mark.parametrize(
    ("values", "is_drawn"),
    [({"chrf": 20.0, "nll_gen": 2.0}, True), ({"lm_5gram": 3.0, "rlm_5gram": 3.0}, True), ({"nll_oracle": 9.0}, False)],
)
def test_there_is_a_picture_where_there_are_points(values: dict[str, float], is_drawn: bool, tmp_path: Path) -> None:
    """A table of pairs had one without a point, its axes named after models of text."""
    measurement: Any = Measurement({}, None)  # type: ignore[arg-type]
    rows = [row("real data (n=20)", None, lm_5gram=2.0, rlm_5gram=2.0), row("MLE start", 1.0, **values)]
    tracker = Tracker(TrackingSettings(enabled=False), tmp_path, print)
    task = SimpleNamespace(drawing=None, conditions=None)
    publish(Comparison(rows, "table", None, measurement, ()), task, tmp_path, tracker)  # type: ignore[arg-type]
    assert (tmp_path / "quality_diversity.png").exists() == is_drawn
