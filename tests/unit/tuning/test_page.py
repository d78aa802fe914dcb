"""The page of a sweep and its summary in words: all is there, the finding first, and nothing of a trial is obeyed."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.image import imread
from wcwidth import width

from rlgan.base.errors import CheckpointError
from rlgan.tuning.judge.importance import importances
from rlgan.tuning.judge.results import Again, SweepResults, in_standing
from rlgan.tuning.judge.verdict import verdict
from rlgan.tuning.report.page import Analysis, analyse, summary_text, sweep_tags, write_page
from tests.support.errors import refused
from tests.support.sweeps import DIMENSIONS, a_sweep

pytestmark = pytest.mark.heavy

HOSTILE = "</script><script>alert('x')</script> \" ' & \x1b[31mred\x07 τ\u202e $\\frac{$ $"


def quick(results: SweepResults) -> Analysis:
    return Analysis(importances(results, num_samples=4), verdict(results))


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return quick(a_sweep())


def test_the_summary_has_everything_and_the_finding_first(analysis: Analysis) -> None:
    results = a_sweep()
    text = summary_text(results, analysis)
    flat = " ".join(text.split())
    parts = [
        "sweep made-up: everything on oracle",
        results.description,
        analysis.verdict.finding,
        "60 trials over 12 dimensions, 2.1 hours of training: 19 finished, 36 stopped early, 4 failed, 1 unfinished.",
        "10 points were dropped as contradictory: 3 × has no effect with baseline=none; 7 × needs credit=monte_carlo.",
        "final race, kl_sum",
        "oracle_ratio ceiling 1 0.719 ± 0.034",
        f"share of the headroom captured: {analysis.verdict.headroom}",
        "importance: kl_sum after 20 updates, all trials",
        analysis.importances[0].verdict,
        "(probe: does nothing)",
        "best trials, one seed each",
        "failed trials trial 3, 20, 37, 54: ValueError: the gradient is not finite at update 21; lower the",
        "how it was judged",
        "two-sided: KL divergences in both directions",
        "with new seeds",
    ]
    places = [flat.find(part) for part in parts]
    assert -1 not in places, parts[places.index(-1)]
    assert places == sorted(places)
    assert max(len(line) for line in text.splitlines()) < 130


def test_a_page_of_mlflow_has_the_finding_the_winner_and_the_head_of_the_table(analysis: Analysis) -> None:
    results = replace(a_sweep(), again=Again("Thus again:", "rlgan train mle --seed 3"))
    tags = sweep_tags(results, analysis)
    judged, note = analysis.verdict, tags["mlflow.note.content"]
    assert tags["finding"] == judged.finding and tags["winner"] == judged.winner
    assert note.startswith(judged.finding + "\n\n| entrant | kind |") and "    rlgan train mle --seed 3\n" in note
    assert note.endswith("artifact `report.html`.")
    nothing = replace(a_sweep(), finals=(), trials=())
    assert "winner" not in (bare := sweep_tags(nothing, quick(nothing))) and bare["finding"]


def test_the_best_trials_are_shown_by_what_was_varied_alone(analysis: Analysis) -> None:
    results = a_sweep()
    text = summary_text(results, analysis).partition("best trials, one seed each\n")[2]
    # Five trials are wider than a terminal: the last stands below, beside the same names.
    first, second, *_ = text.split("\n\n")
    header, _, *rows = first.splitlines()
    assert re.split(r"\s{2,}", header.strip()) == ["trial 10", "trial 28", "trial 25", "trial 56"]
    assert second.splitlines()[0].strip() == "trial 5"
    assert [row.split()[0] for row in second.splitlines()[2:]] == [row.split()[0] for row in rows]
    assert [row.split()[0] for row in rows] == [
        "kl_sum", "kl_forward", "kl_reverse", "state", "updates", *DIMENSIONS,
    ]  # fmt: skip
    best = results.trials[10]
    cells = {row.split()[0]: re.split(r"\s{2,}", row.strip())[1] for row in rows}
    assert cells["kl_sum"] == f"{best.value:.3f}" and cells["kl_forward"] == f"{best.metrics['kl_forward']:.3f}"
    assert cells["reward"] == best.point["reward"] and cells["baseline.decay"] == "–"


def test_what_was_stopped_early_stands_behind_what_finished_and_says_so(analysis: Analysis) -> None:
    """A trial that made fewer updates does not win by the objective that it had then."""
    results = a_sweep()
    stopped = next(one for one in results.trials if one.state == "stopped")
    lucky = replace(stopped, curve=((1, 0.001),))
    results = replace(results, trials=tuple(lucky if one is stopped else one for one in results.trials))
    told = summary_text(results, analysis).partition("best trials, one seed each\n")[2]
    assert f"trial {stopped.index} " not in told and "did not finish" not in told  # enough trials finished
    few = tuple(one for one in results.trials if one.state != "finished" or one.index in (10, 28))
    told = summary_text(replace(results, trials=few), analysis).partition("best trials, one seed each\n")[2]
    names = re.split(r"\s{2,}", told.splitlines()[0].strip())
    assert names[:3] == ["trial 10", "trial 28", f"trial {stopped.index} *"]
    assert "* did not finish: it was measured after fewer updates" in " ".join(told.split())
    assert [one.index for one in in_standing(few)[:3]] == [10, 28, stopped.index]


def test_the_page_holds_all_pictures_and_the_words(analysis: Analysis, tmp_path: Path) -> None:
    results = a_sweep()
    path = write_page(results, tmp_path / "new" / "folder", analysis)
    assert path == tmp_path / "new" / "folder" / "report.html"
    text = path.read_text("utf-8")
    pictures = sorted(one.name for one in path.parent.glob("*.png"))
    assert pictures == [
        "importance.png", "importance_end.png", "interactions.png", "interactions_end.png", "parallel.png", "plane.png",
        "race.png", "trials.png",
    ]  # fmt: skip
    assert all(imread(path.parent / name).shape[1] == 900 for name in pictures)
    assert text.count('src="data:image/png;base64,') == 8 and len(re.findall(r'alt="[^"]{20,}"', text)) == 8
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings == [
        "Finding", "Again", "Final race", "Quality and coverage", "Trials", "Which dimensions matter", "Failed trials",
        "How it was judged",
    ]  # fmt: skip
    assert f'<p class="strong">{analysis.verdict.finding}</p>' in text
    assert "http:" not in text and "https:" not in text


@pytest.mark.filterwarnings("error:Glyph")
def test_nothing_of_a_sweep_is_obeyed(tmp_path: Path) -> None:
    whole = a_sweep()
    trials = tuple(
        replace(
            one,
            point={**one.point, "reward": HOSTILE, HOSTILE: one.index},
            state="failed" if one.index == 1 else one.state,
            error=HOSTILE if one.index == 1 else one.error,
        )
        for one in whole.trials[:9]
    )
    finals = tuple(replace(one, entrant=HOSTILE) if one.kind == "finalist" else one for one in whole.finals)
    hostile = replace(
        whole, name=HOSTILE, study=HOSTILE, description=HOSTILE, task=HOSTILE, contradictions={HOSTILE: 1},
        trials=trials, finals=finals, dimensions=(*whole.dimensions, HOSTILE),
    )  # fmt: skip
    text = write_page(hostile, tmp_path, quick(hostile)).read_text("utf-8")
    assert "<script" not in text and "&lt;script&gt;alert" in text
    words = summary_text(hostile, quick(hostile))
    assert "\x1b" not in words and "\x07" not in words and "\u202e" not in words and "�[31mred�" in words


def test_long_errors_are_cut_to_their_end_and_say_so() -> None:
    error = "\n".join(f"line {index}" for index in range(40))
    results = replace(a_sweep(), finals=(), trials=(replace(a_sweep().trials[3], error=error),))
    text = summary_text(results)
    assert "trial 3: (28 lines before)\n  line 28\n" in text and "line 39" in text and "line 27" not in text
    silent = replace(results, trials=(replace(results.trials[0], error=None),))
    assert "trial 3: no error was recorded" in summary_text(silent)


def odd(case: str) -> SweepResults:
    whole = a_sweep()
    trials = {
        "empty": (),
        "one trial": whole.trials[:1],
        "all failed": tuple(replace(one, state="failed", curve=(), metrics={}) for one in whole.trials[:9]),
        "never finite": tuple(
            replace(one, curve=((10, math.nan),), metrics={"kl_forward": math.nan, "kl_reverse": math.nan})
            for one in whole.trials[:9]
        ),
    }[case]
    return replace(whole, trials=trials, finals=(), contradictions={})


@pytest.mark.parametrize("case", ["empty", "one trial", "all failed", "never finite"])
def test_odd_sweeps_have_a_page_and_a_summary(case: str, tmp_path: Path) -> None:
    results = odd(case)
    found = analyse(results)
    page = write_page(results, tmp_path, found)
    shown = page.read_text("utf-8").count('src="data:image/png;base64,')
    assert shown == len(list(tmp_path.glob("*.png"))) == (3 if case == "one trial" else 0)
    assert page.read_text("utf-8").count("There is no picture of") == 4 - shown
    text = summary_text(results, found)
    assert "There was no final race" in text and "The importance of single dimensions is unknown" in text
    assert "final race, kl_sum" not in text and "best trials" not in text or case == "one trial"


def test_a_text_sweep_without_a_ceiling() -> None:
    results = a_sweep(text=True)
    text = " ".join(summary_text(results, Analysis((), verdict(results))).split())
    assert "share of the headroom captured: undefined: there is no ceiling" in text
    assert "lm_rlm = lm_5gram + rlm_5gram is two-sided" in text


def test_a_folder_that_cannot_be_made_is_named(analysis: Analysis, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with refused(CheckpointError, "page_folder", match="file/below: "):
        write_page(a_sweep(), tmp_path / "file" / "below", analysis)


def test_the_winner_has_a_command_and_entrants_their_samples(analysis: Analysis, tmp_path: Path) -> None:
    command = "rlgan train quick --data 'a file' --seed 102"
    results = replace(a_sweep(), again=Again("This trains trial 17 again:", command))
    written = tuple(
        replace(
            one,
            samples=(f"<{one.entrant} {one.seed} {one.temperature:g} a>", "b", "c"),
            beside=((None, "real one"), (None, "real two"), (None, "real three")),
        )
        for one in results.finals
    )
    results = replace(results, finals=written)
    text, page = summary_text(results, analysis), write_page(results, tmp_path, analysis).read_text("utf-8")
    assert f"This trains trial 17 again:\n{command}\n" in text
    assert "rlgan train quick --data &#39;a file&#39; --seed 102" in page
    entries = {entry.entrant: entry.temperature for entry in analysis.verdict.entries}
    for entrant, temperature in entries.items():
        assert f"{entrant} (τ={temperature:g}, seed 101)" in text
        assert f"<{entrant} 101 {temperature:g} a>" in text
        assert f"<td>&lt;{entrant} 101 {temperature:g} a&gt;</td>" in page
    assert text.count("test split") == -(-len(entries) // 2) and "real one" in text  # two beside each other
    assert page.count("<td>real one</td>") == 1 and page.count('<th scope="col">test split</th>') == 1
    assert max(map(width, text.splitlines())) <= 100
    older = replace(results, again=None)
    assert "did not keep the command" in write_page(older, tmp_path, analysis).read_text("utf-8")
    nobody = replace(older, finals=())
    assert "Nobody won" in write_page(nobody, tmp_path, Analysis((), verdict(nobody))).read_text("utf-8")
