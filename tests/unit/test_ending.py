"""What a run says at its end: which rows, which columns, and that all of it fits a terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from wcwidth import width

from rlgan.envs.tasks import OracleTask, Task, TransductionTask, build_task
from rlgan.evaluation.evaluator import Measurement
from rlgan.evaluation.quantities import QUANTITIES, quantity
from rlgan.evaluation.shown_samples import Beside, beside_real, samples_shown
from rlgan.evaluation.verdict import Against, Difference, Verdict
from rlgan.metrics.quantity import Quantity, legend_of
from rlgan.runs.compared import Comparison
from rlgan.runs.ending import ending, key_columns, row_of, rows_that_matter, written
from tests.unit.test_task_measures import poems

NOTHING: Any = Measurement({}, torch.empty(0))
FOLDER = Path("runs/one")


def row(name: str, temperature: float | None, **values: float) -> dict[str, Any]:
    return {"name": name, "temperature": temperature, **values}


# By hand: whoever is best by whichever figure, the verdict says who is shown at which temperature.
ROWS = [
    row("real data (n=20)", None, lm_5gram=3.0),
    row("MLE start", 1.0, lm_5gram=3.5, rlm_5gram=3.5),
    row("MLE τ=0.9", 0.9, lm_5gram=3.2, rlm_5gram=3.6),
    row("MLE τ=0.8", 0.8, lm_5gram=3.0, rlm_5gram=4.0),
    row("mle_continued", 1.0, lm_5gram=3.4, rlm_5gram=3.4),
    row("mle_continued τ=0.9", 0.9, lm_5gram=3.1, rlm_5gram=3.5),
    row("constant_reward", 1.0, lm_5gram=3.3, rlm_5gram=3.6),
    row("constant_reward τ=0.9", 0.9, lm_5gram=3.2, rlm_5gram=3.7),
    row("oracle_ratio", 1.0, lm_5gram=1.0, rlm_5gram=1.0),
    row("seqgan τ=0.9 (this run)", 0.9, lm_5gram=3.0, rlm_5gram=3.8),
    row("seqgan τ=0.8 (this run)", 0.8, lm_5gram=2.9, rlm_5gram=4.1),
    row("seqgan (this run)", 1.0, lm_5gram=3.2, rlm_5gram=3.9),
]


def against(control: str, temperature: float) -> Against:
    same = Difference(0.1, -0.2, 0.3, 0.1, 0.1)
    return Against(control, temperature, same, same, same)


def verdict(*comparisons: tuple[str, float], temperature: float = 0.8) -> Verdict:
    found = tuple(against(*one) for one in comparisons)
    return Verdict(
        "no significant difference",
        "lm_rlm",
        "lm_5gram",
        "rlm_5gram",
        temperature,
        found,
        0.95,
        1,
        3,
        None,
        None,
        ("so it is",),
    )


def shown(judged: Verdict | None, rows: list[dict[str, Any]] = ROWS) -> list[tuple[str, str]]:
    return [(one.label, one.values["name"]) for one in rows_that_matter(rows, judged)]


def test_the_five_rows_are_those_of_the_verdict() -> None:
    judged = verdict(("mle_continued", 0.9), ("the MLE start", 0.8), ("constant_reward", 1.0))
    assert shown(judged) == [
        ("real data (n=20)", "real data (n=20)"),
        ("MLE start", "MLE τ=0.8"),
        ("best control: mle_continued", "mle_continued τ=0.9"),
        ("this run", "seqgan (this run)"),
        ("this run", "seqgan τ=0.8 (this run)"),
    ]
    assert [one.temperature for one in rows_that_matter(ROWS, judged)] == [None, "0.8", "0.9", "1", "0.8"]


def test_where_the_start_is_the_best_control_the_next_one_stands_below_it() -> None:
    judged = verdict(("the MLE start", 0.9), ("constant_reward", 0.9), ("mle_continued", 1.0), temperature=1.0)
    assert shown(judged) == [
        ("real data (n=20)", "real data (n=20)"),
        ("MLE start (best control)", "MLE τ=0.9"),
        ("next control: constant_reward", "constant_reward τ=0.9"),
        ("this run", "seqgan (this run)"),  # its best temperature is 1: once
    ]
    alone = verdict(("the MLE start", 1.0))
    assert [name for _, name in shown(alone)][1:3] == ["MLE start", "seqgan (this run)"]
    from_scratch = verdict(("constant_reward", 1.0))
    assert [name for _, name in shown(from_scratch)][1:3] == ["constant_reward", "seqgan (this run)"]


def test_without_a_verdict_all_stand_at_temperature_1() -> None:
    assert [name for _, name in shown(None)] == [
        "real data (n=20)", "MLE start", "mle_continued", "seqgan (this run)",
    ]  # fmt: skip
    # No row has both sides: nothing says which control is best, and a ceiling is none.
    plain = [{key: value for key, value in one.items() if key != "rlm_5gram"} for one in ROWS]
    assert [name for _, name in shown(None, plain)] == [
        "real data (n=20)", "MLE start", "mle_continued", "constant_reward", "seqgan (this run)",
    ]  # fmt: skip


def test_a_run_without_an_adversarial_phase_is_its_start() -> None:
    more = [*ROWS[:4], row("MLE τ=0.7", 0.7), row("MLE τ=0.6", 0.6)]
    assert [name for _, name in shown(None, more)] == [
        "real data (n=20)", "MLE start", "MLE τ=0.9", "MLE τ=0.8", "MLE τ=0.7",
    ]  # fmt: skip
    assert [name for _, name in shown(None, [row("untrained start", 1.0)])] == ["untrained start"]


def test_a_row_that_is_not_there_is_no_other_row() -> None:
    assert row_of(ROWS, "mle_continued", 0.9)["name"] == "mle_continued τ=0.9"
    with pytest.raises(StopIteration):
        row_of(ROWS, "mle_continued", 0.8)


def comparison(**changes: Any) -> Comparison:
    names = dict.fromkeys(name for one in ROWS for name in one if name not in ("name", "temperature"))
    given: dict[str, Any] = {
        "rows": ROWS,
        "text": "",
        "verdict": verdict(("mle_continued", 0.9), ("the MLE start", 0.8)),
        "final": NOTHING,
        "sentences": ("so it is",),
        "quantities": {name: quantity(name) for name in names},
        "samples": (Beside("a b", "c d"), Beside("", "e"), Beside("f", "g"), Beside("not", "shown")),
    }
    return Comparison(**(given | changes))


def test_the_end_of_a_run_to_the_letter() -> None:
    assert ending(comparison(), FOLDER, 72, is_tracked=True).splitlines() == [
        "row                            τ  lm_5gram ↓  rlm_5gram ↓",
        "---------------------------------------------------------",
        "real data (n=20)               –       3.000            –",
        "MLE start                    0.8       3.000        4.000",
        "best control: mle_continued  0.9       3.100        3.500",
        "this run                       1       3.200        3.900",
        "this run                     0.8       2.900        4.100",
        "All in nats/token. ↓ lower is better. τ is the temperature: chosen on",
        "validation data, but for this run at 1.",
        "",
        "this run at τ=1                      test split",
        "-----------------------------------  -----------------------------------",
        "a b                                  c d",
        "(empty)                              e",
        "f                                    g",
        "",
        "so it is",
        "",
        "whole table  table.txt: 12 rows; to the last digit table.json",
        "page         report.html, an artifact in MLflow as the table",
        "folder       runs/one",
    ]


def test_the_verdicts_sides_come_first_then_the_users_own_then_the_other_keys() -> None:
    own = Quantity("own_x", "mine", "its own", "higher", "samples", is_key=True)
    quantities = {"own_x": own, **{name: quantity(name) for name in ("nll_gen", "lm_5gram", "bleu_4", "bleu_2")}}
    quantities["rlm_5gram"] = quantity("rlm_5gram")
    assert key_columns(comparison(quantities=quantities)) == ["lm_5gram", "rlm_5gram", "own_x", "nll_gen", "bleu_4"]
    assert legend_of([own, quantity("bleu_4"), quantity("distinct_2")]) == (
        "its own: own_x; share: bleu_4, distinct_2. ↑ higher is better, no sign: best where real data are."
    )
    assert legend_of([]) == ""


WORDS = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from("中文字符 👩‍🚀 é \u200d\x1b\t\n…"), st.just("x")),
    max_size=300,
)


@pytest.mark.property
@settings(max_examples=40)
@given(st.lists(st.tuples(WORDS, WORDS, WORDS), max_size=4), st.booleans(), st.booleans(), st.integers(40, 100), WORDS)
def test_no_line_is_wider_than_it_may_be(
    texts: list[tuple[str, str, str]], are_given: bool, is_text: bool, columns: int, control: str
) -> None:
    """Long words, wide characters, a long name of a control, all quantities at once."""
    names = [one.name for one in QUANTITIES if "*" not in one.name]
    values = dict.fromkeys(names, -1234.5678)
    rows = [{**one, **values, "name": one["name"].replace("mle_continued", f"own_{control}")} for one in ROWS]
    judged = verdict((f"own_{control}", 0.9), ("the MLE start", 0.8))
    found = comparison(
        rows=rows, verdict=judged, is_text=is_text, quantities={name: quantity(name) for name in names},
        samples=tuple(Beside(*one) if are_given else Beside(*one[:2]) for one in texts),
        sentences=("a sentence of many words " * 9,),
    )  # fmt: skip
    for line in ending(found, FOLDER, columns).split("\n"):
        assert width(line) <= columns, line


def test_of_an_oracle_each_sample_has_one_line_and_of_text_up_to_three() -> None:
    long = Beside(" ".join(map(str, range(200))), "1 2")
    for is_text, number in ((False, 1), (True, 3)):
        lines = ending(comparison(samples=(long,), is_text=is_text), FOLDER).splitlines()
        first = next(at for at, line in enumerate(lines) if line.startswith("0 1 2"))
        last = next(at for at, line in enumerate(lines) if line == "so it is")
        assert last - first - 1 == number
        assert lines[last - 2][:49].rstrip().endswith("…")


def finished(task: Task, number: int) -> Measurement:
    """Samples that are the training sequences, given what the test sequences are given, again from the first."""
    tokens = task.train[:number].long()
    conditions = None
    if task.conditions is not None:
        conditions = task.conditions.test[torch.arange(number) % len(task.conditions.test)].long()
    return Measurement({}, tokens, conditions)


@pytest.mark.parametrize(
    "task",
    [
        OracleTask(vocab_size=9, embedding=4, hidden=4, max_length=4, num_train=9, num_valid=2, num_test=3, seed=0),
        TransductionTask(vocab_size=4, max_length=3, ends=True, num_train=9, num_valid=2, num_test=3),
        None,
    ],
    ids=["oracle", "pairs", "a task of somebody's"],
)
def test_samples_stand_beside_real_ones_that_were_given_the_same(task: Any) -> None:
    built = poems(test=poems().test[:3]) if task is None else build_task(task)
    found = beside_real(built, finished(built, 5), 4)
    real = built.decode(built.test)
    assert [one.real for one in found] == [*real, real[0]]
    assert [one.generated for one in found] == built.decode(built.train[:4])
    if built.conditions is None:
        assert {one.source for one in found} == {None}
        assert samples_shown(built, finished(built, 5), 2) == built.decode(built.train[:2])
        assert written("x", found).sources == () and written("x", found).real == (*real, real[0])
    else:
        sources = built.conditions.decode(built.conditions.test)
        assert [one.source for one in found] == [*sources, sources[0]]
        assert samples_shown(built, finished(built, 5), 1) == [f"{sources[0]} → {found[0].generated}"]
        assert written("x", found).sources == (*sources, sources[0])
    text = ending(comparison(samples=tuple(found), is_text=bool(built.measures)), FOLDER)
    assert max(map(width, text.split("\n"))) <= 100
    assert text.count("source: ") == (3 if built.conditions is not None else 0)


def test_a_run_that_is_not_judged_says_so_and_has_its_rows() -> None:
    reason = "This run is not judged: no control was trained beside it."
    text = ending(comparison(verdict=None, sentences=(reason,), samples=()), FOLDER)
    assert "chosen on validation data" not in text and f"\n\n{reason}\n\n" in text
    judged = replace(verdict(), comparisons=(), temperature=None)
    assert shown(judged) == shown(None)
