"""A run whose adversarial phase only harms, through real files: what it ends with, and what it says of it."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from rlgan.cli.main import main
from rlgan.config.config import Config, Optimizers
from rlgan.discriminators import PairCnn, Tabular
from rlgan.envs.tasks import PairsTask, build_task
from rlgan.envs.tasks.pair_files import Table
from rlgan.envs.tasks.pairs import SeparateVocabularies
from rlgan.envs.tasks.pieces import Characters, Words
from rlgan.generators import Seq2SeqLSTM
from rlgan.layers.optimizers import Adam
from rlgan.schedule.model_selection import BestGenerator, Measure
from rlgan.storage.checkpoint import load_latest
from tests.support.commands import ask, rows_of, write_config
from tests.support.runs import assert_ends_alike, small, stop_after
from tests.support.tiny import PAIRS

pytestmark = pytest.mark.integration


def harmed() -> Config:
    """Answers to what is given, by a generator that adversarial updates tear apart."""
    config = small(
        task=PAIRS,
        generator=Seq2SeqLSTM(embedding=4, hidden=6),
        discriminator=Tabular(),
        optimizers=Optimizers(mle=Adam(lr=0.02), generator=Adam(lr=1.0), discriminator=Adam(lr=0.01)),
        controls=("mle_continued",),
    )
    schedule = config.schedule.model_copy(
        update={"adversarial_updates": 30, "selection": BestGenerator(measure="kl_sum", every=1, patience=2)}
    )
    return config.model_copy(update={"schedule": schedule})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("selected")
    config = write_config(top / "config.json", harmed(), tracked=True)
    assert main(["train", "--config", str(config), "--out", str(top / "run")]) == 0
    return top / "run"


def test_what_was_selected_is_the_run_s_generator_and_is_told(folder: Path) -> None:
    state = load_latest(folder).state
    assert state["position"]["adversarial_finished"] and state["position"]["adversarial_updates"] == 2
    assert state["selection"]["iteration"] == 0 and state["selected_weights"] is None
    exported = load_file(folder / "generator.safetensors")
    for name, tensor in state["mle_start"].items():
        assert (exported[name] == tensor.numpy()).all(), name
    table = {row["name"]: row for row in json.loads((folder / "table.json").read_text())}
    assert table["tiny (this run)"] == table["MLE start"] | {"name": "tiny (this run)"}
    described = "generator selected on validation data: the start of the adversarial phase, kl_sum "
    text = (folder / "table.txt").read_text()
    assert re.search(rf"(?m)^tiny \(this run\): {described}.*stopped early after 2 of 30 iterations$", text)
    # The control is selected alike, and says so.
    assert re.search(r"(?m)^mle_continued: generator selected on validation data: .*, kl_sum ", text)
    tags = sqlite3.connect(folder.parent / "mlruns.db").execute("select value from tags where key = 'selected'")
    assert [value.startswith(described) for (value,) in tags] == [True]


def test_every_metric_of_selection_is_logged_and_explained(folder: Path) -> None:
    logged = {name for row in rows_of(folder) for name in row["metrics"] if name.startswith("selection/")}
    assert logged == {f"selection/{name}" for name in ("start", "value", "best", "iteration", "since")}
    page = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text("utf-8")
    assert all(f"`{name}`" in page for name in logged)


def test_samples_stand_behind_the_sources_of_the_test_split(folder: Path) -> None:
    task = build_task(PAIRS)
    assert task.conditions is not None
    sources = task.conditions.decode(task.conditions.test)[:3]
    blocks = re.split(r"(?m)^=== .*\n", (folder / "samples.txt").read_text("utf-8"))[1:]
    assert len(blocks) == 2 + 2 + 1
    for block in blocks:
        shown = [re.fullmatch(r"([12](?: [12])*) → ((?:[12](?: [12])*)?)", line) for line in block.splitlines()]
        assert [match and match[1] for match in shown] == sources
    # The last one is that of the start again.
    assert blocks[-1] != blocks[2]


def test_a_selection_that_was_interrupted_ends_as_one_that_was_not(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "config.json", harmed())
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_after(monkeypatch, 4)
        assert ask(capsys, "train", "--config", config, "--out", tmp_path / "run").status == 130
    answer = ask(capsys, "train", "--resume", tmp_path / "run")
    assert answer.status == 0 and "stopped early after 2 of 30 iterations" in answer.out
    assert_ends_alike(tmp_path / "run", folder)


# ------------------------------------------------------------------------------- scores, and the words they count


def translator(path: Path, measure: Measure, **evaluation: object) -> Config:
    """A tiny run on pairs of a file, selected by a score."""
    config = small(
        task=PairsTask(
            input=Table(data=str(path)), vocabulary=SeparateVocabularies(target=Characters(), source=Words())
        ),
        generator=Seq2SeqLSTM(embedding=4, hidden=6),
        discriminator=PairCnn(embedding=4, windows=(1, 2), filters=(4,)),
        controls=(),
    )
    schedule = config.schedule.model_copy(update={"selection": BestGenerator(measure=measure, every=1)})
    asked = config.evaluation.model_copy(update={"temperatures": (1.0,), **evaluation})
    return config.model_copy(update={"schedule": schedule, "evaluation": asked})


def few_of(path: Path, folder: Path) -> Path:
    """The first pairs of a file, which are quick to learn."""
    (folder / "few.tsv").write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[:60]), "utf-8")
    return folder / "few.tsv"


@pytest.mark.heavy
def test_the_tokeniser_of_a_script_is_named_wherever_its_figures_stand(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = few_of(data_dir / "cases" / "zh.tsv", tmp_path)
    config = write_config(tmp_path / "config.json", translator(path, "chrf"), tracked=True)
    answer = ask(capsys, "train", "--config", config, "--out", tmp_path / "run")
    described = "BLEU: of words as tokenised by sacrebleu's zh (100% of the letters in the references belong to scripts"
    shown = " ".join(answer.out.split())  # before the run and below its table
    assert answer.status == 0 and shown.count(described) >= 2
    assert described in (tmp_path / "run" / "table.txt").read_text("utf-8")
    tags = sqlite3.connect(tmp_path / "mlruns.db").execute("select value from tags where key = 'bleu_tokens'")
    assert [value for (value,) in tags] == ["zh"]
    assert described in ask(capsys, "evaluate", "--run", tmp_path / "run").err


def test_a_score_that_must_be_zero_is_refused_before_anything_is_written(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = few_of(data_dir / "cases" / "zh.tsv", tmp_path)
    config = write_config(tmp_path / "config.json", translator(path, "corpus_bleu", bleu_tokens="13a"))
    answer = ask(capsys, "train", "--config", config, "--out", tmp_path / "run")
    assert answer.status == 2 and not (tmp_path / "run").exists()
    assert "[bleu_selects_nothing]" in answer.err


@pytest.mark.heavy
def test_scores_that_were_all_zero_end_the_run(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = few_of(data_dir / "cases" / "zh.tsv", tmp_path)
    config = write_config(tmp_path / "config.json", translator(path, "corpus_bleu"))
    monkeypatch.setattr("rlgan.training.trainer.Evaluator.figure", lambda *_: 0.0)
    answer = ask(capsys, "train", "--config", config, "--out", tmp_path / "run")
    assert answer.status == 2 and "'corpus_bleu': is 0 for every generator" in answer.err
    assert "[selection_all_zero]" in answer.err
    assert (tmp_path / "run" / "generator.safetensors").exists() and not (tmp_path / "run" / "table.txt").exists()
