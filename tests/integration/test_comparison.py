"""The final comparison of a text: its rows, both tables, the verdict below them, the picture."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from rlgan.base.activity import PROCESS
from rlgan.config.config import Config
from rlgan.discriminators import CnnHighway, PairCnn
from rlgan.envs.tasks import Task, TextTask, build_task
from rlgan.evaluation import adversarial as adversarial_evaluation
from rlgan.evaluation.adversarial import FreshEvaluator, Teacher
from rlgan.evaluation.evaluator import EvaluationSettings, Evaluator
from rlgan.evaluation.learned_language_model import LearnedLanguageModel
from rlgan.evaluation.verdict import read_verdict
from rlgan.generators import LSTM
from rlgan.report.narrow import wrapped
from rlgan.runs import publishing
from rlgan.runs.compared import Comparison
from rlgan.runs.comparison import compare
from rlgan.runs.progress import Progress
from rlgan.runs.publishing import publish
from rlgan.runs.run import evaluate_run
from rlgan.tracking import Tracker, TrackingSettings
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.commands import ask, rows_of, write_config
from tests.support.tiny import PAIRS, finish, of_pairs, tiny_config

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).parents[2]
TEMPERATURES = (0.9, 1.0, 0.7)


@dataclass(frozen=True)
class Done:
    """A run at its end.

    Attributes:
        config: of the run.
        task: of the run.
        trainer: of the run, which still measures.
        found: its comparison.
        said: what the user was told.
        steps: paths of the stages that ended, in order.
    """

    config: Config
    task: Task
    trainer: Trainer
    found: Comparison
    said: list[str]
    steps: list[str]


def text_config(path: Path) -> Config:
    rng = random.Random(0)
    words = ["the", "a", "cat", "dog", "sat", "ran", "on", "mat", "and"]
    lines = [" ".join(rng.choices(words, range(1, 10), k=rng.randrange(3, 8))) for _ in range(150)]
    path.write_text("\n".join(lines))
    config = tiny_config(
        task=TextTask(data=str(path), valid_fraction=0.2, test_fraction=0.2),
        discriminator=CnnHighway(embedding=4, windows=(1, 2), filters=(4, 4)),
        controls=("mle_continued", "constant_reward"),
    )
    evaluation = config.evaluation.model_copy(
        update={"final_sequences": 40, "temperatures": TEMPERATURES, "num_nearest": 15, "equal_trainings": 2}
    )
    tracking = config.tracking.model_copy(update={"enabled": False})
    return config.model_copy(update={"preset": "tiny", "evaluation": evaluation, "tracking": tracking})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    config = text_config(tmp_path_factory.mktemp("text") / "lines.txt")
    task = build_task(config.task)
    said: list[str] = []
    steps: list[str] = []
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        finish(trainer)
        with PROCESS.listening(lambda path, seconds: steps.append(path)):
            found = compare(config, task, trainer, said.append)
        yield Done(config, task, trainer, found, said, steps)


def test_run_start_and_controls_stand_at_the_same_temperatures(done: Done) -> None:
    num_valid = done.task.valid.shape[0]
    assert [(row["name"], row["temperature"]) for row in done.found.rows] == [
        (f"real data (n={num_valid})", None),
        ("MLE start", 1.0),
        ("MLE τ=0.9", 0.9),
        ("MLE τ=0.7", 0.7),
        ("mle_continued", 1.0),
        ("mle_continued τ=0.9", 0.9),
        ("mle_continued τ=0.7", 0.7),
        ("constant_reward", 1.0),
        ("constant_reward τ=0.9", 0.9),
        ("constant_reward τ=0.7", 0.7),
        ("tiny τ=0.9 (this run)", 0.9),
        ("tiny τ=0.7 (this run)", 0.7),
        ("tiny (this run)", 1.0),
    ]
    evaluator, ours = done.trainer.evaluator, done.trainer.current_generator()
    cold = evaluator.measure(ours, 0.7, 40)
    expected = {"name": "tiny τ=0.7 (this run)", "temperature": 0.7}
    expected |= {name.removeprefix("eval/"): value for name, value in cold.metrics.items()}
    expected |= {name.removeprefix("eval/"): value for name, value in evaluator.measure_closely(cold).items()}
    assert done.found.rows[-2] == expected


def test_every_row_is_looked_at_closely_and_both_tables_fit_a_line(done: Done) -> None:
    for row in done.found.rows:
        for name in ("fed_ngram64", "js_1", "js_4", "nearest_jaccard", "nearest_jaccard_ks", "nearest_ngram64_p"):
            assert isinstance(row[name], float), name
    lines = done.found.text.splitlines()
    assert max(map(len, lines)) < 180
    first, second = (line.split() for line in lines if line.startswith("name "))
    assert {"lm_5gram", "rlm_5gram", "bleu_2"} < set(first) and "fed_ngram64" not in first
    assert second == [
        "name", "temperature", "fed_ngram64", "js_2", "js_4", "effective_rank",
        "nearest_jaccard", "nearest_jaccard_ks", "nearest_jaccard_p",
    ]  # fmt: skip
    shown = [line for line in lines if line.startswith("tiny τ=0.7 (this run)")]
    last = done.found.rows[-2]
    assert shown[1].split()[-7:] == [f"{last[name]:.3f}" for name in second[2:]]


def test_the_verdict_is_of_every_control_at_the_temperature_of_validation_data(done: Done) -> None:
    verdict = done.found.verdict
    assert verdict is not None and verdict.measure == "lm_rlm" and verdict.num_trainings == 3
    assert verdict.trained_again == "constant_reward" and verdict.outcome in (
        "better",
        "worse",
        "no significant difference",
    )
    assert {one.control for one in verdict.comparisons} == {"the MLE start", "mle_continued", "constant_reward"}
    assert done.found.text.endswith("\n".join(verdict.sentences))
    rows = {(row["name"].split()[0].removesuffix("_"), row["temperature"]): row for row in done.found.rows}
    ours = rows["tiny", verdict.temperature]
    for one in verdict.comparisons:
        theirs = rows["MLE" if one.control == "the MLE start" else one.control, one.temperature]
        # What is said is what anybody can subtract in the table.
        assert one.quality.value == pytest.approx(ours["lm_5gram"] - theirs["lm_5gram"], abs=1e-9)
        assert one.coverage.value == pytest.approx(ours["rlm_5gram"] - theirs["rlm_5gram"], abs=1e-9)
        assert one.total.value == pytest.approx(one.quality.value + one.coverage.value)


def test_the_temperature_is_that_of_validation_sequences_and_of_draws_of_their_own(done: Done) -> None:
    assert done.found.verdict is not None
    config, task = done.config, done.task
    settings = config.evaluation.model_copy(update={"encoders": ()})
    evaluator = Evaluator(replace(task, test=task.valid), settings, config.seed, draw="temperature")
    ours = done.trainer.current_generator()

    def on_validation_data(temperature: float) -> float:
        metrics = evaluator.measure(ours, temperature, 40).metrics
        return metrics["eval/lm_5gram"] + metrics["eval/rlm_5gram"]

    assert done.found.verdict.temperature == min(TEMPERATURES, key=on_validation_data)


def test_who_waits_is_told_of_every_step(done: Done) -> None:
    counts = Counter(done.steps)
    trained = [step for step in done.steps if step.startswith("control ") and "/" not in step]
    assert trained == ["control mle_continued", *["control constant_reward"] * 3]  # two of them further trainings
    assert counts["row"] == 6 and counts["control mle_continued/row"] == counts["control constant_reward/row"] == 3
    assert counts["verdict/choice"] == 4 * 3 and counts["verdict/evidence"] == 4 and counts["verdict/training"] == 2
    assert [line.split(":")[0] for line in done.said] == [
        "control mle_continued", "control constant_reward", "control constant_reward",
    ]  # fmt: skip
    assert done.said[-1].startswith("control constant_reward: 2 repeated trainings: ")


def test_what_is_published(done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    draw = publishing.plot_quality_diversity
    monkeypatch.setattr(publishing, "plot_quality_diversity", lambda *a, **k: figures.append(draw(*a, **k)))
    tracker = Tracker(done.config.tracking, tmp_path, Progress().say)
    found = done.found
    assert found.verdict is not None
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "samples.txt").write_text("")
    publish(found, done.task, tmp_path, tracker)
    logged = {name: value for row in rows_of(tmp_path) for name, value in row["metrics"].items()}
    assert logged["final/difference"] == found.verdict.comparisons[0].total.value
    assert read_verdict(tmp_path) == found.verdict
    assert logged["final/this_run_tau_0.7/rlm_5gram"] == done.found.rows[-2]["rlm_5gram"]
    assert logged["final/this_run/fed_ngram64"] == done.found.rows[-1]["fed_ngram64"]
    assert json.loads((tmp_path / "table.json").read_text()) == done.found.rows
    (axes,) = figures[0].axes
    assert "lower is better" in axes.get_xlabel() and "5-gram model of samples" in axes.get_ylabel().replace("\n", " ")
    upright = axes.yaxis.label.get_window_extent()
    assert figures[0].bbox.y0 <= upright.y0 and upright.y1 <= figures[0].bbox.y1, "the label is cut"
    lines = {str(line.get_label()): line for line in axes.get_lines()}
    real, last = done.found.rows[0], done.found.rows[-1]
    # Fewer real sequences than samples: the model learned of them is not comparable, so they are an upright.
    assert list(lines[real["name"]].get_xdata()) == [real["lm_5gram"]] * 2
    own = lines["this run, by temperature τ"]
    assert (own.get_xdata()[0], own.get_ydata()[0]) == (last["lm_5gram"], last["rlm_5gram"])
    assert len(own.get_xdata()) == len(lines["MLE start, by temperature τ"].get_xdata()) == 3


def test_measuring_a_run_gives_its_own_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path / "config.json", text_config(tmp_path / "lines.txt"))
    assert ask(capsys, "train", "--config", config, "--out", tmp_path / "run").status == 0
    final = json.loads((tmp_path / "run" / "table.json").read_text())[-1]
    measured = evaluate_run(tmp_path / "run", 1.0, None).metrics
    verdict = read_verdict(tmp_path / "run")
    assert verdict is not None
    text = ask(capsys, "evaluate", "--run", tmp_path / "run").out
    assert text.endswith("\n\n" + "\n".join(map(wrapped, verdict.sentences)) + "\n")
    assert "\n".join(verdict.sentences) in (tmp_path / "run" / "table.txt").read_text("utf-8")
    assert json.loads(ask(capsys, "evaluate", "--run", tmp_path / "run", "--json").out)["verdict"] == verdict.statement
    (tmp_path / "run" / "verdict.json").unlink()
    assert (
        "\nNo verdict: there is no verdict.json in the run's folder."
        in ask(capsys, "evaluate", "--run", tmp_path / "run").out
    )
    assert measured == {f"eval/{name}": value for name, value in final.items() if name not in ("name", "temperature")}
    described = ask(capsys, "evaluate", "--run", tmp_path / "run", "--adversarial")
    assert (
        described.status == 2
        and "evaluation.adversarial='fresh_evaluator': judges pairs, but task='text'" in described.err
    )


@pytest.mark.heavy
def test_learned_language_models_score_every_row_and_are_the_plane(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = LearnedLanguageModel(network=LSTM(embedding=3, hidden=3), epochs=1)
    config = text_config(tmp_path / "lines.txt")
    asked = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"language_model": small})})
    folder = tmp_path / "run"
    assert ask(capsys, "train", "--config", write_config(tmp_path / "config.json", asked), "--out", folder).status == 0
    rows = json.loads((folder / "table.json").read_text())
    # What is drawn by the same random numbers may be the same sequences, and then so are the models of them.
    assert len({row["lm_lstm"] for row in rows}) > 10 < len({row["rlm_lstm"] for row in rows}) and len(rows) == 13
    table = (folder / "table.txt").read_text("utf-8")
    assert "  lm_lstm  rlm_lstm  " in table
    assert max(map(len, table.splitlines())) < 180
    measured = json.loads(ask(capsys, "evaluate", "--run", folder, "--json").out)
    assert measured.pop("verdict") and measured.pop("about")
    assert measured == {
        f"eval/{name}": value for name, value in rows[-1].items() if name not in ("name", "temperature")
    }
    documented = (PROJECT / "docs" / "metrics.md").read_text("utf-8")
    assert "`eval/lm_lstm`" in documented and "`eval/rlm_lstm`" in documented


def test_a_fresh_evaluator_judges_starts_runs_and_controls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = of_pairs(
        task=PAIRS.model_copy(update={"vocab_size": 6, "num_test": 60}),
        controls=("mle_continued",),
        evaluation=EvaluationSettings(
            num_sequences=16,
            final_sequences=16,
            temperatures=(1.0, 0.8),
            adversarial=FreshEvaluator(network=PairCnn(embedding=4, windows=(1,), filters=(4,)), epochs=2),
        ),
        tracking=TrackingSettings(enabled=False),
        preset="tiny",
    )
    folder = tmp_path / "run"
    assert ask(capsys, "train", "--config", write_config(tmp_path / "config.json", config), "--out", folder).status == 0
    rows = {row["name"]: row for row in json.loads((folder / "table.json").read_text())}
    people, start, continued, ours = (
        rows[name] for name in ("real data (n=16)", "MLE start", "mle_continued", "tiny (this run)")
    )
    judged = [name for name, row in rows.items() if "adversuc" in row]
    assert judged == [row["name"] for row in (people, start, continued, ours)]  # not those at other temperatures
    assert all("decoded_adversuc" in row for row in (start, ours))
    assert not any("decoded_adversuc" in row for row in (people, continued))
    assert [name for name, row in rows.items() if "ere" in row] == ["tiny (this run)"]
    gaps = (
        people["adversuc"] - 0.5,
        ours["machine_machine_adversuc"] - 0.5,
        1 - people["machine_vs_random"],
        1 - ours["machine_vs_random"],
    )
    assert ours["ere"] == pytest.approx(sum(map(abs, gaps)) / 4)
    logged = {name: value for row in rows_of(folder) for name, value in row["metrics"].items()}
    assert logged["final/this_run/adversuc"] == ours["adversuc"] and logged["final/this_run/ere"] == ours["ere"]
    documented = (PROJECT / "docs" / "metrics.md").read_text("utf-8")
    for name in ours.keys() - people.keys() | {key for key in people if "adversuc" in key or "random" in key}:
        assert f"`eval/{name}`" in documented, name

    lines = (folder / "table.txt").read_text("utf-8").splitlines()
    assert max(map(len, lines)) < 180
    (head,) = (line for line in lines if "machine_vs_random_se" in line)
    shown = lines[lines.index(head) + 2 :][:4]
    for line, row in zip(shown, (people, start, continued, ours), strict=True):
        values = [row.get(name) for name in head.split()[1:]]
        assert line.split()[-len(values) :] == ["–" if value is None else f"{value:.3f}" for value in values]

    measured = json.loads(ask(capsys, "evaluate", "--run", folder, "--json").out)
    assert measured.pop("verdict") and measured.pop("about")
    assert measured == {f"eval/{name}": value for name, value in ours.items() if name not in ("name", "temperature")}


def test_a_run_without_an_evaluator_is_judged_when_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = of_pairs(
        task=PAIRS.model_copy(update={"vocab_size": 6, "num_test": 60}),
        tracking=TrackingSettings(enabled=False),
        evaluation=EvaluationSettings(num_sequences=16, final_sequences=16, temperatures=(1.0,)),
    )
    folder = tmp_path / "run"
    assert ask(capsys, "train", "--config", write_config(tmp_path / "config.json", config), "--out", folder).status == 0
    asked: list[FreshEvaluator] = []

    def teacher(settings: FreshEvaluator, *_: object) -> Teacher:
        asked.append(settings)
        return lambda train, dev: lambda conditions, sequences: torch.ones(len(sequences), dtype=torch.bool)

    monkeypatch.setattr(adversarial_evaluation, "fresh_evaluator", teacher)
    plain = json.loads(ask(capsys, "evaluate", "--run", folder, "--json").out)
    judged = json.loads(ask(capsys, "evaluate", "--run", folder, "--adversarial", "--json").out)
    assert asked == [FreshEvaluator()] and not any("adversuc" in name for name in plain)
    assert judged.pop("about")["quantities"]["eval/adversuc"]["depends_on"] == "pairs" and plain.pop("about")
    assert judged.items() > plain.items() and judged["eval/ere"] == 0.25 and judged["eval/decoded_adversuc"] == 0.5


def test_language_models_are_trained_when_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, settings = tmp_path / "run", []
    config = write_config(tmp_path / "config.json", text_config(tmp_path / "lines.txt"))
    assert ask(capsys, "train", "--config", config, "--out", folder).status == 0

    def learned(given: LearnedLanguageModel, *_: object) -> Callable[..., float]:
        settings.append(given)
        return lambda tokens, counts_unknown=True: 2.5

    monkeypatch.setattr("rlgan.evaluation.language_model_scores.learned_from", learned)
    plain = json.loads(ask(capsys, "evaluate", "--run", folder, "--json").out)
    assert not settings
    scored = json.loads(ask(capsys, "evaluate", "--run", folder, "--language-model", "--json").out)
    assert settings == [LearnedLanguageModel()] * 2
    about = scored.pop("about")
    assert about["quantities"]["eval/rlm_lstm"]["depends_on"] == "samples" and plain.pop("about")
    assert scored == plain | {"eval/lm_lstm": 2.5, "eval/rlm_lstm": 2.5}
