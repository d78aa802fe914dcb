"""What is said of a figure: one place each, every figure has it, and the page of metrics says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from rlgan.evaluation.evaluator import EvaluationSettings, Evaluator
from rlgan.evaluation.own_metric import OwnMetric
from rlgan.evaluation.quantities import QUANTITIES, axis_name, known_quantity, place_of, quantity
from rlgan.metrics.quantity import SIZES, Quantity
from rlgan.report.tables import PLANES
from tests.unit.test_task_measures import answers, generator_for, poems

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
HEAD = "| figure | unit | better | depends on the number of |\n|---|---|---|---|\n"


def described(one: Quantity) -> str:
    size = "–" if one.size is None else SIZES[one.size]
    return f"| `{one.name}` | {one.unit} | {one.better or 'as real data'} | {size} |"


def test_the_page_of_metrics_has_the_facts_to_the_letter() -> None:
    table = PAGE.partition(HEAD)[2].partition("\n\n")[0]
    assert table.splitlines() == [described(one) for one in QUANTITIES]


def test_the_unit_of_each_row_of_the_page_is_that_of_the_figure() -> None:
    rows = re.findall(r"(?m)^\| ((?:`eval/[^|]+`[^|]*)) \|[^|]*\| ([^|]+) \|", PAGE)
    units = {
        name: unit for names, unit in rows for name in re.findall(r"`eval/([^`]+)`", names) if unit != "as of samples"
    }
    assert len(units) > 30
    assert {name: quantity(name.replace("*", "jaccard")).unit for name in units} == units


@pytest.mark.parametrize("make", [poems, answers])
def test_nothing_is_measured_of_which_nothing_is_said(make: object) -> None:
    task = make()  # type: ignore[operator]
    settings = EvaluationSettings(num_sequences=24, num_bleu=6, num_nearest=4)
    evaluator, generator = Evaluator(task, settings, seed=0), generator_for(task)
    found = evaluator.measure(generator)
    for name in found.metrics | evaluator.measure_closely(found):
        evaluator.quantity(name.removeprefix("eval/"))
    with pytest.raises(KeyError, match="novel: no metric says what it is"):
        evaluator.quantity("novel")


def test_sizes_are_what_was_measured_of() -> None:
    task = poems()
    settings = EvaluationSettings(num_sequences=24, num_bleu=6, num_nearest=4)
    found = Evaluator(task, settings, seed=0).sizes(500)
    assert set(found) == set(SIZES)
    assert found == {
        "samples": 500, "hypotheses": 6, "as real": 24, "prefixes": 128, "neighbours": 4, "sources": 24, "pairs": 0,
        "test": 24, "training": 24,
    }  # fmt: skip
    assert Evaluator(task, settings, seed=0).sizes(5)["hypotheses"] == 5
    # Two targets of one source are written for once.
    pairs = answers()
    assert pairs.conditions is not None
    different = len(torch.unique(pairs.conditions.test, dim=0))
    assert Evaluator(pairs, settings, seed=0).sizes(5)["sources"] == different < len(pairs.test)


def test_names_find_their_facts_and_the_exact_one_first() -> None:
    assert quantity("bleu_4").is_key and not quantity("bleu_3").is_key
    assert quantity("nearest_minilm_p").unit == "probability" and quantity("nearest_minilm").unit == "1 − likeness"
    assert quantity("decoded_adversuc_se").meaning == "standard error of that figure"
    assert known_quantity("loss") is None and quantity("bleu_3").name == "bleu_3"
    assert [quantity(name).arrow for name in ("kl_sum", "chrf", "distinct_1")] == [" ↓", " ↑", ""]
    assert sorted(("bleu_4", "own_x", "kl_sum", "reward_f"), key=place_of) == ["reward_f", "own_x", "kl_sum", "bleu_4"]
    assert quantity("reward").better == quantity("reward_f").better == "higher"
    assert quantity("reward_unscored_share").better == "lower" and not quantity("logged_f_length").is_key


def test_a_metric_of_ones_own_says_its_facts_itself(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def length(texts):\n    return 1.0\n\n\ndef rhymes(texts):\n    return 1.0\n")
    two_sided = OwnMetric(name=f"{file}:length", unit="words")
    wanted = OwnMetric(name=f"{file}:rhymes", direction="max")
    own = (two_sided, wanted)
    assert (quantity("own_length", own).better, quantity("own_length", own).unit) == (None, "words")
    assert quantity("own_length_gap", own).better == "lower"  # the distance from real data
    assert quantity("own_rhymes_last", own).better == "higher" and quantity("own_rhymes", own).is_key
    assert known_quantity("own_rhymes") is None


@pytest.mark.parametrize("name", sorted({side for plane in PLANES for side in plane} | {"bleu_4"}))
def test_both_axes_of_a_plane_say_what_they_see(name: str) -> None:
    assert re.fullmatch(
        r".+, (nats/token|per cent|share): (quality|coverage), (lower|higher) is better", axis_name(name)
    )
