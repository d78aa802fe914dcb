"""What the benchmarks calculate from their measurements, and null runs in small; other measuring is no part of this."""

from __future__ import annotations

import json
import math
import os
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import lm_rivals, measures, molecules, null_runs, numbering, presets, reading, toy_mixture
from benchmarks.common import ratios, spread
from benchmarks.presets import compared, line, lines, one_seed, small, table
from benchmarks.processes import Census, Usage, parse_rollup, role
from benchmarks.silences import Line, corpus, report, silences
from benchmarks.soak import Sample, stage_tenths, tenths_gain, theil_sen, trend
from benchmarks.tiny_world import divergences
from rlgan.config.config import Config
from rlgan.envs.tasks import TextTask
from rlgan.presets.registry import preset

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def test_slope_is_exact_on_a_line_and_jumps_do_not_move_it() -> None:
    x = [float(at) for at in range(0, 100, 5)]
    line = [3.0 + 0.25 * at for at in x]
    assert theil_sen(x, line) == pytest.approx(0.25)
    spiked = [value + (1000.0 if at in (10.0, 95.0) else 0.0) for at, value in zip(x, line, strict=True)]
    assert theil_sen(x, spiked) == pytest.approx(0.25, abs=0.02)


def test_slope_by_hand() -> None:
    # Pairs of (0, 0), (1, 1), (2, 5): slopes 1, 2.5 and 4.
    assert theil_sen([0.0, 1.0, 2.0], [0.0, 1.0, 5.0]) == 2.5


def test_no_slope_without_two_places() -> None:
    assert math.isnan(theil_sen([1.0], [2.0]))
    assert math.isnan(theil_sen([1.0, 1.0], [2.0, 3.0]))


def test_gain_sees_a_single_jump_that_the_slope_does_not() -> None:
    x = [float(at) for at in range(101)]
    y = [0.0 if at < 85 else 7.0 for at in x]
    assert tenths_gain(x, y, 100) == 7.0
    assert theil_sen(x, y) == 0.0
    assert math.isnan(tenths_gain([50.0], [1.0], 100))


def sample(iteration: int, megabytes: float, num_fds: int = 9) -> Sample:
    size = int(megabytes * 1e6)
    return Sample(iteration, 0.0, "driver", Usage(size, 2 * size, size, size, 0, num_fds, 4))


def test_trend_is_by_a_thousand_iterations_and_leaves_out_the_warm_up() -> None:
    warm = [sample(at, 500.0 - at) for at in range(0, 11)]
    later = [sample(at, 100.0 + 0.002 * at, num_fds=at) for at in range(11, 101)]
    found = trend([*warm, *later], 100)
    assert found.slope == pytest.approx(2.0) == found.late_slope
    settled = [sample(at, min(100.0 + 0.002 * at, 100.1)) for at in range(11, 101)]
    assert trend(settled, 100).slope > 0.1 and trend(settled, 100).late_slope == 0.0
    # Median of 91-100 less that of 11-20 is 80 iterations.
    assert found.gain == pytest.approx(0.16)
    assert found.fds == (11, 100, 100) and found.threads == (4, 4, 4) and found.samples == 90


def test_stages_by_tenths() -> None:
    assert stage_tenths([{"a_s": float(at)} for at in range(20)]) == {"a_s": [0.5 + 2 * tenth for tenth in range(10)]}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("/x/ray/core/src/ray/gcs/gcs_server --log_dir=/x ", "gcs"),
        ("/x/ray/core/src/ray/raylet/raylet --raylet_socket_name=/x/sockets/raylet ", "raylet"),
        ("ray::RolloutActor.run ", "rollout actor"),
        ("ray::DiscriminatorActor ", "discriminator actor"),
        ("ray::IDLE ", "idle worker"),
        ("/usr/bin/python3 -m something ", "python3"),
        ("", "unnamed"),
    ],
)
def test_roles(command: str, expected: str) -> None:
    assert role(command) == expected


@on_linux
def test_names_stay_and_no_number_is_given_twice() -> None:
    census = Census()
    assert census.name(os.getpid(), "python -m x") == "driver"
    assert census.name(-1, "ray::IDLE ") == "idle worker"
    assert census.name(-2, "ray::RolloutActor ") == "rollout actor"
    assert census.name(-1, "ray::RolloutActor ") == "rollout actor 2"  # what was idle has become an actor
    assert census.name(-2, "ray::RolloutActor.run ") == "rollout actor"
    assert census.name(-3, "ray::RolloutActor ") == "rollout actor 3"


@on_linux
def test_the_census_counts_this_process() -> None:
    held = Census().take()["driver"]
    assert held.rss >= held.pss >= held.uss > 0 and held.num_fds > 0 and held.num_threads > 0


def test_rollup_is_in_bytes() -> None:
    text = "00400000-7fff0000 ---p 00000000 00:00 0    [rollup]\nRss:      1740 kB\nPss_Anon:      2 kB\n"
    assert parse_rollup(text) == {"Rss": 1740 * 1024, "Pss_Anon": 2048}


def test_spread_and_ratios() -> None:
    assert spread([3.0, 1.0, 2.0], 1) == "2.0 (1.0-3.0)"
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]


def test_the_best_students_of_the_toy_mixture() -> None:
    # A Gaussian on the classes is an exponential family of x and x²: the most likely one has the teacher's moments.
    teacher = toy_mixture.mixture(toy_mixture.MODES)
    best = toy_mixture.least(teacher)
    wanted, found = (toy_mixture.moments(one.exp()) for one in (teacher, best["least forward"]))
    assert found == pytest.approx(wanted, abs=0.03)  # the steps of the grid
    # One that sits on the larger mode alone leaves out the smaller one, ln 1/0.8 = 0.223, and nothing else.
    assert divergences(teacher, best["least reverse"])[1] == pytest.approx(0.223, abs=0.005)
    for name in ("least reverse", "reverse, from the least forward"):
        assert toy_mixture.moments(best[name].exp()) == pytest.approx((2.5, 0.7), abs=0.05)


def test_where_both_modes_weigh_alike_descent_does_not_leave_the_student_that_covers_both() -> None:
    teacher = toy_mixture.mixture((2.0, 0.8, 0.65, 7.0, 0.8, 0.35))
    best = toy_mixture.least(teacher)
    forward, reverse = (divergences(teacher, best[name])[1] for name in ("least forward", "least reverse"))
    local = divergences(teacher, best["reverse, from the least forward"])[1]
    assert reverse + 0.1 < local < forward


@pytest.mark.parametrize("name", ["spin", "gsil", "textgail", "gcn", "coldgans"])
def test_presets_of_language_models_are_compared_on_the_oracle(name: str) -> None:
    assert name in compared()
    published, compact = preset(name), small(name, updates=60, seed=1)
    assert compact.generator == small("quick", updates=60, seed=1).generator
    assert (compact.objective, compact.reward) == (published.objective, published.reward)
    if compact.discriminator is not None:
        assert compact.discriminator == small("quick", updates=60, seed=1).discriminator
        assert compact.schedule.g_batch == published.schedule.g_batch
        assert compact.adversary.sequences_per_round == published.adversary.sequences_per_round


@pytest.mark.parametrize("name", ["lm_ratio", "mediator"])
def test_a_language_model_is_compared_at_its_own_size_after_as_many_epochs(name: str) -> None:
    assert name in compared()
    published, compact = preset(name), small(name, updates=60, seed=1)
    assert (compact.discriminator, compact.adversary) == (published.discriminator, published.adversary)
    assert compact.schedule.d_steps == published.schedule.d_steps
    seen = [one.schedule.discriminator_rounds * one.adversary.sequences_per_round for one in (published, compact)]
    assert [seen[0] / 10_000, seen[1] / 5_000] == [40.0, 40.0] and compact.task.num_train == 5_000


def test_what_was_printed_of_seeds_makes_one_table() -> None:
    figures = {"τ": 0.9, "sum": 2.5, "forward": 1.0, "reverse": 1.5, "sum at 1": 2.75, "D AUC": 0.5, "seconds": 3.0}
    printed = [line(seed, name, figures | {"sum": total}) for seed, name, total in PRINTED]
    rows: dict[str, dict[int, dict[str, float]]] = {}
    for seed, name, found in lines("\n".join(["machine", *printed, ""])):
        rows.setdefault(name, {})[seed] = found
    assert rows["quick"][1] == figures | {"sum": 2.0}
    *_, best, worst = table(rows).splitlines()
    # Differences of the same seed: -0.5 and -0.5, whatever the seeds themselves are worth.
    assert best.startswith("| quick | 0.9/0.9 | -0.500 ± 0.000 | 2.500 ± ")
    assert worst.startswith("| mle_continued | 0.9/0.9 |  | 3.000 ± ")


def test_differences_of_rivals_are_formed_within_a_seed() -> None:
    base = {1: {"τ": 0.7, "nll": 4.0, "CPU s": 9.0}, 2: {"τ": 1.0, "nll": 5.0, "CPU s": 9.0}}
    other = {
        1: {"τ": 0.7, "nll": 4.5, "reward rose": 1.0},
        2: {"τ": 0.7, "nll": 5.5, "reward rose": 2.0},
        3: {"nll": 9.0},
    }
    text = lm_rivals.differences({"gad": base, "spin": other}, "gad")
    # Seed 3 has no partner, and what only one of both rows has is no difference.
    assert text.splitlines()[0] == "| less `gad` | nll | reward rose |" and text.splitlines()[2:] == [
        "| spin | 0.500 ± 0.000 |  |"
    ]


def test_a_row_of_several_words_is_read_back() -> None:
    assert list(lines(line(3, "published replies", {"AdverSuc": 0.25}))) == [
        (3, "published replies", {"AdverSuc": 0.25})
    ]


NULL_SIZES = null_runs.SIZES | {
    "schedule.mle_epochs": 2, "schedule.adversarial_updates": 1, "schedule.g_batch": 8,
    "schedule.discriminator_rounds": 1, "adversary.sequences_per_round": 32, "adversary.batch": 16,
    "evaluation.final_sequences": 60,
}  # fmt: skip


@pytest.mark.slow
def test_null_runs_in_small_judge_every_pair(tmp_path: Path) -> None:
    rng = random.Random(0)
    lines_ = {" ".join(rng.choices("abcdef", k=rng.randrange(3, 7))) for _ in range(120)}
    (tmp_path / "lines.txt").write_text("\n".join(sorted(lines_)))
    settings = TextTask(data=str(tmp_path / "lines.txt"))
    found = dict(null_runs.one_seed(settings, NULL_SIZES, seed=1, num_trainings=2))
    assert [*found] == [*null_runs.NULL_PAIRS, *null_runs.NULL_RUNS, *null_runs.REAL]
    for figures in found.values():
        assert figures["low"] < figures["difference"] < figures["high"] and figures["claim"] in (-1.0, 0.0, 1.0)
        assert figures["draw error"] > 0 and figures["training error"] > 0


def test_null_runs_of_captions_ask_for_their_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks.null_runs", "--tasks", "captions"])
    with pytest.raises(SystemExit):
        null_runs.main()
    assert "--tasks captions needs --data DIR" in capsys.readouterr().err


def test_null_runs_are_counted_by_what_would_be_false_of_them() -> None:
    figures = {"difference": 0.0, "low": -1.0, "high": 1.0, "by draw": 1.0, "draw error": 0.1, "training error": 0.2}
    claims = {"draws": 0.0, "random": -1.0, "random run": -1.0, "constant run": 1.0, "quarter": -1.0, "full": 0.0}
    printed = "\n".join(line(1, f"oracle, {pair}", {**figures, "claim": claim}) for pair, claim in claims.items())
    found: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    for seed, name, row in lines(printed):
        task, _, pair = name.partition(", ")
        found.setdefault((task, pair), {})[seed] = row
    text = null_runs.table(found)
    assert "| oracle | random | 1 | 0 | 1 | 1 | 0.000 | 0.100 | 0.200 |" in text
    # That noise makes a run worse is no false claim; that it makes it better is.
    assert "False claims of A/A pairs and null pairs: 1 of 2 = 0.500, 95 % interval [0.013, 0.987]" in text
    assert 'Null runs that are called "better": 1 of 2' in text and "False claims in all: 2 of 4" in text
    assert "told apart by the interval of the draw alone: 1 of 1" in text
    assert "Real differences that are found: 1 of 2" in text


PRINTED = [(1, "quick", 2.0), (1, "mle_continued", 2.5), (2, "quick", 3.0), (2, "mle_continued", 3.5)]


def test_silences_are_what_lies_between_lines() -> None:
    lines = [Line(2.0, "words.txt: read 9 lines"), Line(2.5, "test: 1 sequence"), Line(9.0, "epoch 1"), Line(9.5, "")]
    assert silences(lines, 20.0)[:3] == [(10.5, "(the end)"), (6.5, "epoch 1"), (2.0, "words.txt: read 9 lines")]
    assert report(lines, 20.0, 0).splitlines() == [
        "4 lines in 20 s, status 0",
        "data notes after 2 s; the first line after them: 6 s",
        "silent for 10 s, until: (the end)",
        "silent for 6 s, until: epoch 1",
        "silent for 2 s, until: words.txt: read 9 lines",
    ]
    assert "the first line after them: none came" in report(lines[:2], 20.0, 0)


def test_a_corpus_is_as_large_as_asked_and_the_same_again() -> None:
    lines = list(corpus(20_000))
    assert 20_000 <= sum(len(line) + 1 for line in lines) < 20_200 and lines == list(corpus(20_000))
    words = Counter(word for line in lines for word in line.split())
    assert {len(line.split()) for line in lines[:-1]} <= set(range(5, 21))
    assert words.most_common(1)[0][0] == "w0" and len(words) > 500


def test_every_measure_of_text_is_timed_at_every_number_of_lines(capsys: pytest.CaptureFixture[str]) -> None:
    measures.main(["--lines", "20", "40"])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert rows[0] == "| seconds, lines: | 20 | 40 |"
    assert len(rows) == 15 and all("–" not in row for row in rows)
    measures.main(["--lines", "20", "--only", "distinct"])
    assert "| distinct-2 |" in capsys.readouterr().out


def test_lines_of_measures_are_finished_and_seeded() -> None:
    lines = measures.corpus(50, 0)
    assert (
        lines.shape == (50, measures.LENGTH + 1) and bool((lines[:, -1] == 0).all()) and bool((lines[:, 0] > 0).all())
    )
    assert lines.equal(measures.corpus(50, 0)) and not lines.equal(measures.corpus(50, 1))


@pytest.mark.parametrize("what", reading.READERS)
def test_every_reader_finds_every_record(what: str, tmp_path: Path) -> None:
    reading.generate(tmp_path, 50)
    readers = {who: read for who, read in reading.READERS[what].items() if who != "datasets"}  # seconds of imports
    assert {who: read(tmp_path) for who, read in readers.items()} == dict.fromkeys(readers, 50)


@pytest.mark.heavy
@on_linux
def test_a_reading_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    reading.generate(tmp_path, 50)
    found = reading.read_once("lines", "pyarrow", tmp_path)
    assert found.num_records == 50 and found.seconds > 0 and found.peak_bytes > 1e6


def test_ratios_of_reading_are_formed_within_a_round() -> None:
    one, other = (
        [reading.Reading(5, seconds, 0.5, 10**9) for seconds in of_rounds] for of_rounds in ((1.0, 2.0), (3.0, 4.0))
    )
    rows = reading.lines_of({"lines": {"rlgan": one, "pyarrow": other}})
    assert rows[2].split() == ["lines:", "pyarrow", "3.50", "0.50", "1.00", "2.50", "(2.00", "to", "3.00)"]


@pytest.mark.parametrize("task", ["text", "pairs"])
def test_a_generated_corpus_is_numbered_and_measured(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "corpus.txt"
    number = numbering.write(path, 20_000, 0, with_pairs=task == "pairs", num_words=500)
    lines_ = path.read_text().splitlines()
    # A word is about 4 letters here, so a line of 5 to 15 words is about 50.
    assert len(lines_) == number and 250 < number < 800 and 20_000 <= path.stat().st_size < 20_200
    assert all((line.count("\t") == 1) == (task == "pairs") and 5 <= len(line.split()) <= 15 for line in lines_)
    counts = Counter(word for line in lines_ for word in line.split())
    (_, most), (_, second) = counts.most_common(2)
    assert 1.5 < most / second < 2.7  # Zipf: twice as often
    numbering.main(["--measure", task, "--file", str(path), "--tokens", "word"])
    found = json.loads(capsys.readouterr().out)
    assert found["num_train"] == number - 2 * round(number / 10) or task == "pairs"
    assert found["peak_bytes"] >= found["before_bytes"] > 0 and found["seconds"] > 0
    assert numbering.row(task, 0.02, number, found).startswith(f"| {task} | 0.02 | {number} | ")


def test_rows_that_are_joined_are_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the start, where no other row begins there."""
    begun: list[object] = []

    def noted(config: Config, task: object, start: object = None) -> tuple[None, str, dict[str, float]]:
        begun.append(start)
        return None, "a start", {}

    monkeypatch.setattr(presets, "run", noted)
    monkeypatch.setattr(presets, "Judge", lambda config, task: lambda generator: {"sum": 0.0})
    few = {"task.num_train": 20, "task.num_valid": 20, "task.num_test": 20}

    def rows(names: list[str], done: list[str]) -> list[str]:
        begun.clear()
        return [row for row, _ in one_seed(names, 1, 1, few, done=done)]

    common = ["MLE", "mle_continued", "oracle_ratio"]
    assert rows(["quick", "relgan"], []) == [*common, "quick", "relgan", "relgan, likelihood"]
    assert begun == [None, "a start", "a start", "a start", None, "a start"]
    assert rows(["quick", "relgan"], [*common, "quick", "relgan", "relgan, likelihood"]) == []
    assert begun == []
    # What was broken off before its control is run again, and what has a start of its own needs no other.
    assert rows(["quick", "relgan"], [*common, "quick", "relgan"]) == ["relgan", "relgan, likelihood"]
    assert begun == [None, "a start"]
    assert rows(["quick"], ["MLE", "oracle_ratio"]) == ["mle_continued", "quick"]
    assert begun == [None, "a start", "a start"]
    # What begins with the others has a control in its own steps, which can be run alone.
    assert rows(["spin"], common) == ["spin", "spin, likelihood"] and begun == [None, "a start", "a start"]
    assert rows(["spin"], [*common, "spin"]) == ["spin, likelihood"] and begun == [None, "a start"]


def test_molecules_are_compared_where_they_have_gained_as_much() -> None:
    def rows(*values: tuple[float, float]) -> list[dict[str, float]]:
        return [{"qed": qed, "fcd": fcd} for qed, fcd in values]

    measured = {
        "start": rows((0.5, 1.0), (0.5, 1.0)),
        "organ, 25": rows((0.6, 2.0), (0.4, 5.0)),
        "organ, 50": rows((0.55, 9.0), (0.45, 7.0)),
        "organ_grpo, 25": rows((0.7, 3.0), (0.7, 3.0)),
        "reinvent, 25": rows((0.52, 1.5), (0.9, 4.0)),
        "reinvent, 50": rows((0.72, 5.5), (0.95, 8.0)),
    }
    organ, reinvent = molecules.at_equal_gain(measured, "organ", "reinvent")
    # Seed 1: organ gained less, .6 after 25; reinvent has .6 after .08 / .2 of the way from 25 to 50.
    assert organ[0] == {"qed": 0.6, "fcd": 2.0}
    assert reinvent[0] == pytest.approx({"qed": 0.6, "fcd": 1.5 + 0.4 * 4.0})
    # Seed 2: organ never gained, so that both are at the start.
    assert organ[1] == reinvent[1] == {"qed": 0.5, "fcd": 1.0}
    found = molecules.compared(measured, ["organ", "organ_grpo", "reinvent"])
    assert list(found) == ["organ - organ_grpo", "organ - reinvent", "organ_grpo - reinvent"]
    assert found["organ - reinvent"][0] == pytest.approx({"qed": 0.0, "fcd": 2.0 - 3.1})
    # organ_grpo has the .6 of organ half way to 25.
    assert found["organ - organ_grpo"][0] == pytest.approx({"qed": 0.0, "fcd": 2.0 - 2.0})
