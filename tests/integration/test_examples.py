"""The examples, as they stand but for their size, in a folder of a reader's where nothing else of this project lies."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import rlgan
from tests.support.documents import PROJECT
from tests.support.small_examples import make_small

pytestmark = [pytest.mark.heavy, pytest.mark.integration]

EXAMPLES = PROJECT / "examples"
Say = Callable[..., str]


def module_of(path: Path) -> ModuleType:
    """A file as a module of its own name, without entering it anywhere."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def corpus() -> ModuleType:
    """The text of the examples, which is read once."""
    return module_of(EXAMPLES / "corpus.py")


@pytest.fixture
def say(corpus: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Say:
    """Runs an example in a folder that has a copy of all of them; returns what it printed."""
    for path in EXAMPLES.glob("*.py"):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "corpus", corpus)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    make_small(monkeypatch.setattr)

    def run_example(name: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        capfd.readouterr()
        runpy.run_path(f"{name}.py", run_name="__main__")
        return capfd.readouterr().out

    return run_example


def runs_of(folder: Path) -> list[rlgan.Run]:
    """In the order in which they were trained."""
    return [rlgan.load(path.parent) for path in sorted(folder.glob("runs/*/config.json"))]


def test_the_text_of_the_examples_is_what_it_is_said_to_be(corpus: ModuleType) -> None:
    sentences, names = corpus.sentences(), corpus.names()
    assert len(sentences) == len(set(sentences)) > 3000 and len(names) == len(set(names)) > 2000
    assert "Return the square root of the sample variance." in sentences and "check_size" in names
    assert all(3 <= len(text.split()) <= 16 for text in sentences) and all(3 <= len(name) <= 10 for name in names)


def test_text_of_ones_own(say: Say, tmp_path: Path) -> None:
    (tmp_path / "my.txt").write_text("".join(f"the {a} {b} sleeps.\n" for a in "abcdefghij" for b in "klmnopqrst"))
    said = say("own_text", "my.txt")
    (run,) = runs_of(tmp_path)
    assert run.is_finished and run.config.task.kind == "text"
    new = said.partition("new:\n")[2].splitlines()[:3]
    assert [line[2:] for line in new] == run.sample(3, temperature=0.8, seed=1)
    assert "mle_continued" in said and "log-likelihood" in said


def test_a_reward_of_ones_own_is_beside_the_discriminators(say: Say, tmp_path: Path) -> None:
    said = say("own_reward")
    (run,) = runs_of(tmp_path)
    assert "own_keep_pep257" in said and run.table["own_keep_pep257"].between(0, 1).all()
    assert run.metrics["reward/pep257_mean"].dropna().between(0, 1).all()
    assert run.config.reward.kind == "plugin" and (run.folder / "discriminator.safetensors").exists()


def test_the_reward_is_that_of_the_conventions(corpus: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "corpus", corpus)
    reward = module_of(EXAMPLES / "own_reward.py").pep257
    texts = ["Return the path.", "Returns the path.", "Return the path", "returns the path", ""]
    assert reward(texts) == [1.0, 0.5, 0.5, 0.0, 0.0]


def test_a_network_of_ones_own_is_trained_beside_the_one_that_ships(say: Say, tmp_path: Path) -> None:
    said = say("own_generator")
    lstm, own = runs_of(tmp_path)
    assert lstm.config.generator.kind == "lstm" and own.config.generator.kind == "plugin"
    assert [line.partition(":")[0] for line in said.splitlines()[-2:]] == ["LSTM", "minGRU"]
    assert own.config.generator.name == "MinGru"


def test_stock_ppo_acts_in_the_environment(say: Say) -> None:
    pytest.importorskip("stable_baselines3")
    lines = say("stock_ppo", "--letters", "1024").splitlines()[-3:]
    assert [line.partition(":")[0] for line in lines] == ["real names", "PPO before", "PPO after 1,024 letters"]


def test_a_served_generator_answers_as_it_does_in_python(say: Say) -> None:
    said = say("serving")  # the server writes its own lines between these
    labels = (r"models:\S+ from Python", "by HTTP, seed 1", "by HTTP, temperature 0.5", "a wrong request")
    in_python, served, cooler, wrong = (re.findall(rf"(?m)^{label}: (.*)", said)[-1] for label in labels)
    assert in_python == served != cooler and wrong.startswith("status 400") and "num_sequences" in said


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_a_sweep_of_ones_own_question_is_judged(say: Say, tmp_path: Path, ray_session: None) -> None:
    pytest.importorskip("optuna")
    say("sweep")
    (page,) = tmp_path.glob("runs/*/report/report.html")
    assert "Which reward" in page.read_text("utf-8")


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_the_number_of_workers_changes_no_figure(say: Say, ray_session: None) -> None:
    figures = {say("cluster", "--workers", workers).splitlines()[-1] for workers in ("0", "1")}
    assert len(figures) == 1 and "NLL_gen" in figures.pop()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_says_how_it_is_called_and_what_it_prints(path: Path) -> None:
    said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    assert f"python examples/{path.name}" in said
    assert "Prints" in said or path.stem == "corpus"


NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_in_a_kernel(path: Path, tmp_path: Path) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    shutil.copy(EXAMPLES / "corpus.py", tmp_path)
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    small = f"import sys; sys.path.insert(0, {str(PROJECT)!r})\nfrom tests.support.small_examples import make_small"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(f"{small}\nmake_small(setattr)"))
    nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": tmp_path}}).execute()
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    assert list(tmp_path.glob("runs/*/verdict.json"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_it_printed_and_no_path_of_a_machine(path: Path) -> None:
    """Its outputs are kept: whoever reads it on a page sees them."""
    text = path.read_text("utf-8")
    cells = json.loads(text)["cells"]
    assert len(text) < 150_000
    assert all(cell["outputs"] for cell in cells if cell["cell_type"] == "code" and "print(" in "".join(cell["source"]))
    assert not any(output["output_type"] == "error" for cell in cells for output in cell.get("outputs", ()))
    assert not [folder for folder in ("/home/", "/tmp/", "/root/", "/Users/", "/work/") if folder in text]
