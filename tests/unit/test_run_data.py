"""What is kept of a run's data: where its files lie, whether they are the same, and in which words they are not."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rlgan.base.errors import CheckpointError, ConfigError, DataError
from rlgan.base.settings import IsFile, Settings, facts_of
from rlgan.config.config import Config
from rlgan.envs.tasks import OracleTask, PairsTask, TextTask, build_task
from rlgan.envs.tasks.pair_files import ParallelFiles, Table
from rlgan.runs.data import (
    DATA,
    RUN_DATA,
    config_files,
    is_file_path,
    kept_data,
    located,
    rebuilt_task,
    same_task,
    with_files,
    write_run_data,
)
from rlgan.storage.checkpoint import save_checkpoint
from tests.support.errors import refused
from tests.support.tiny import TASK, tiny_config

PROJECT = Path(__file__).resolve().parents[2]
LINES = [f"w{a} w{b} w{c}" for a in range(5) for b in range(5) for c in range(4)]


def text_config(data: Path | str) -> Config:
    return tiny_config(task=TextTask(data=str(data)))


@pytest.fixture
def begun(tmp_path: Path) -> tuple[Path, Config]:
    """A run's folder with `data.json`, and the run's configuration."""
    (tmp_path / "lines.txt").write_text("\n".join(LINES) + "\n")
    (tmp_path / "run").mkdir()
    config = text_config(tmp_path / "lines.txt")
    write_run_data(tmp_path / "run", config, build_task(config.task))
    return tmp_path / "run", config


def rebuild(folder: Path, config: Config) -> None:
    rebuilt_task(config, kept_data(folder, "--run r"))


def test_the_same_file_gives_the_same_task(begun: tuple[Path, Config]) -> None:
    folder, config = begun
    said: list[str] = []
    task = rebuilt_task(config, kept_data(folder, "--run r"), said.append)
    assert task.fingerprint() == build_task(config.task).fingerprint() and said == []


def test_another_content_of_the_same_shape_is_refused_with_what_differs(begun: tuple[Path, Config]) -> None:
    folder, config = begun
    path = folder.parent / "lines.txt"
    size = path.stat().st_size
    path.write_text(path.read_text().replace("w4", "v4"))  # as many words and bytes
    with pytest.raises(CheckpointError) as raised:
        rebuild(folder, config)
    message = str(raised.value)
    assert message.startswith(
        f"--run r: its data has changed since the run began: task.data={path} has different content ({size:,} bytes, "
        "as before); tokens: 7 as before, but the content differs; the first difference is no. "
    )
    assert message.endswith(
        "Restore the file, give the path of an unchanged copy with --data FILE, or start a new run."
    )


def test_more_lines_are_told_as_numbers(begun: tuple[Path, Config]) -> None:
    folder, config = begun
    with (folder.parent / "lines.txt").open("a") as file:
        file.write("w0 w0\nw1 w1\nw2 w2\nw3 w3\nw4 w4\nw1 w0\nw1 w2\nw0 w2\nw0 w4\nw3 w1\n")
    with refused(CheckpointError, "data_changed", match="88.*80.*11.*10.*11"):
        rebuild(folder, config)


def test_one_line_of_many_is_found(tmp_path: Path) -> None:
    """1,000 training sequences are 63 blocks of 16 (the last of 8): row 500, counted from 0, is in the 32nd."""
    words = [f"{a}{b}" for a in "abcdefghij" for b in "abcdefghij"]
    files = {}
    for name, number in (("data", 1000), ("valid", 20), ("test", 20)):
        files[name] = str(tmp_path / f"{name}.txt")
        lines = [f"{words[n % 100]} {words[n * 7 % 100]} {words[n // 10 % 100]}" for n in range(number)]
        Path(files[name]).write_text("\n".join(lines) + "\n")
    config = tiny_config(task=TextTask(**files, deduplicate=False))
    write_run_data(tmp_path, config, build_task(config.task))
    lines = Path(files["data"]).read_text().splitlines()
    lines[500] = " ".join(reversed(lines[500].split()))
    Path(files["data"]).write_text("\n".join(lines) + "\n")
    with refused(CheckpointError, "data_changed", match="1,000.*497.*512"):
        rebuild(tmp_path, config)


def test_the_kept_checksums_do_not_depend_on_the_kind_of_integer(begun: tuple[Path, Config]) -> None:
    folder, config = begun
    before = json.loads((folder / RUN_DATA).read_text())["parts"]
    task = build_task(config.task)
    narrow = replace(task, **{name: getattr(task, name).to(torch.int16) for name in ("train", "valid", "test")})
    write_run_data(folder, config, narrow)
    assert json.loads((folder / RUN_DATA).read_text())["parts"] == before


def test_a_task_without_files_names_no_option(tmp_path: Path) -> None:
    config = tiny_config()
    write_run_data(tmp_path, config, build_task(TASK))
    other = tiny_config(task=TASK.model_copy(update={"seed": 1}))
    with refused(CheckpointError, "data_changed"):
        rebuild(tmp_path, other)


def test_a_file_that_is_gone_is_told_with_where_it_lay(begun: tuple[Path, Config]) -> None:
    folder, config = begun
    path = folder.parent / "lines.txt"
    path.unlink()
    with refused(DataError, "data_file_missing", match=rf"{path}.* --data FILE"):
        rebuild(folder, config)


# ------------------------------------------------------------------------------------------------------ places


def test_a_relative_path_is_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: tuple[Path, Config]
) -> None:
    folder, _ = begun
    monkeypatch.chdir(tmp_path)
    config = text_config("lines.txt")
    write_run_data(folder, config, build_task(config.task))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "lines.txt").write_text("another file of this name\n")
    there = located(config, kept_data(folder, "--run r"))
    assert config_files(there) == {"task.data": str(tmp_path / "lines.txt")}


def test_a_run_that_was_moved_with_its_data_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "old"
    (old / "runs" / "a").mkdir(parents=True)
    (old / "lines.txt").write_text("\n".join(LINES) + "\n")
    monkeypatch.chdir(old)
    config = text_config("lines.txt")
    write_run_data(Path("runs/a"), config, build_task(config.task))
    monkeypatch.chdir(tmp_path)
    old.rename(tmp_path / "new")
    there = located(config, kept_data(tmp_path / "new" / "runs" / "a", "--run r"))
    assert config_files(there) == {"task.data": str(tmp_path / "new" / "lines.txt")}
    assert located(config, kept_data(Path("new/runs/a"), "--run r")) == there


def test_a_run_of_an_older_version_is_looked_for_as_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)
    config = text_config("lines.txt")
    kept = kept_data(Path("run"), "--run run")
    assert located(config, kept) == config  # nowhere
    (tmp_path / "run" / "lines.txt").write_text("in the run's folder\n")
    assert config_files(located(config, kept)) == {"task.data": str(tmp_path / "run" / "lines.txt")}
    (tmp_path / "lines.txt").write_text("in the working directory\n")
    assert located(config, kept) == config


def test_a_file_that_was_named_anew_stays_where_it_was_named(begun: tuple[Path, Config], tmp_path: Path) -> None:
    """`data.json` tells of the file that the configuration names, and of no other."""
    folder, _ = begun
    (tmp_path / "copy.txt").write_text("\n".join(LINES) + "\n")
    config = text_config(tmp_path / "copy.txt")
    assert located(config, kept_data(folder, "--run r")) == config


def test_files_may_be_named_and_nothing_else(begun: tuple[Path, Config], tmp_path: Path) -> None:
    _, config = begun
    assert config_files(with_files(config, {"task.data": "x.txt"}, "--run r")) == {"task.data": "x.txt"}
    with refused(ConfigError, "option_of_other_file", match=r"--pairs.*x\.tsv.*--run.*--data"):
        with_files(config, {"task.input.data": "x.tsv"}, "--run r")
    with refused(ConfigError, "option_of_other_file", match=r"--task\.max-length.*--run"):
        with_files(config, {"task.max_length": "4"}, "--run r")


def files_of(settings: Settings) -> dict[str, str]:
    return {path: name for path, _, name in facts_of(settings, IsFile) if name is not None}


def test_files_of_all_tasks_are_known() -> None:
    assert files_of(TextTask(data="a", test="b")) == {"data": "a", "test": "b"}
    assert files_of(OracleTask()) == {} and files_of(OracleTask(params="a.npz")) == {"params": "a.npz"}
    table = PairsTask(input=Table(data="a.tsv", source="de", target="en"))
    assert files_of(table) == {"input.data": "a.tsv"}, "columns are no files"
    parallel = PairsTask(input=ParallelFiles(source="a", target="b", test_source="c", test_target="d"))
    assert files_of(parallel) == {
        "input.source": "a", "input.target": "b", "input.test_source": "c", "input.test_target": "d"
    }  # fmt: skip
    for path in ("task.data", "task.input.test-source", "generator.pretrained.path"):
        assert is_file_path(path)
    assert not is_file_path("task.tokens")


# ---------------------------------------------------------------------------------------------- older and damaged


def test_a_checkpoint_of_an_older_version_is_asked(begun: tuple[Path, Config]) -> None:
    folder, config = begun
    (folder / RUN_DATA).unlink()
    save_checkpoint(folder, {DATA: "another", "weights": torch.zeros(2)}, 3)
    with refused(CheckpointError, "data_changed", match="'text'"):
        rebuild(folder, config)
    save_checkpoint(folder, {DATA: build_task(config.task).fingerprint()}, 4)
    rebuild(folder, config)


def test_where_nothing_is_known_that_is_said_once(begun: tuple[Path, Config]) -> None:
    folder, config = begun
    (folder / RUN_DATA).unlink()
    said: list[str] = []
    rebuilt_task(config, kept_data(folder, "--run r"), said.append)
    assert len(said) == 1 and "this run was written by an older version of rlgan" in said[0]


@pytest.mark.parametrize(
    "content", [b"\x80\x04\x95", b"{", b"[]", b"{}", b"[" * 100_000, b'{"data_sha256": 3, "files": {}, "parts": {}}']
)
def test_damaged_data_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / RUN_DATA).write_bytes(content)
    with refused(CheckpointError, "damaged_data_record", match=r"data\.json"):
        kept_data(tmp_path, "--run r")


def test_another_process_builds_the_same_task(begun: tuple[Path, Config]) -> None:
    _, config = begun
    fingerprint = build_task(config.task).fingerprint()
    assert same_task(config.task, fingerprint, "trial").fingerprint() == fingerprint
    with refused(CheckpointError, "sweep_data_differs", {"run": "trial"}, match="'text'"):
        same_task(config.task, "another", "trial")


# ------------------------------------------------------------------------------------------------------ house rule


def calls_of_build_task(text: str) -> list[int]:
    """Lines on which a module names `build_task`, under whatever name it came."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if (isinstance(node, ast.Name) and node.id == "build_task")
        or (isinstance(node, ast.Attribute) and node.attr in ("build_task", "TASK_BUILDERS"))
        or (isinstance(node, ast.alias) and node.name in ("build_task", "TASK_BUILDERS"))
    ]


@pytest.mark.parametrize("folder", ["rlgan", "tuning", "examples"])
def test_nobody_builds_a_task_past_the_check(folder: str) -> None:
    named = {
        path.relative_to(PROJECT).as_posix()
        for path in (PROJECT / folder).rglob("*.py")
        if calls_of_build_task(path.read_text("utf-8"))
    }
    # Sizes of a run that is not there yet follow its data, and the task that was read for them becomes the run's.
    of_new_runs = {"rlgan/presets/own_data.py"}
    assert named == ({"rlgan/runs/data.py"} | of_new_runs if folder == "rlgan" else set())


@pytest.mark.parametrize("path", sorted((PROJECT / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_a_benchmark_that_reads_runs_builds_no_task_of_theirs(path: Path) -> None:
    text = path.read_text("utf-8")
    reads_runs = any(name in text for name in ("resumable_config", "read_run_config", "load_latest"))
    assert not (reads_runs and calls_of_build_task(text))


@pytest.mark.parametrize(
    "text",
    [
        "from rlgan.envs.tasks import build_task as make\nmake(config.task)",
        "from rlgan.envs import tasks\ntasks.build_task(config.task)",
        "from rlgan.envs.tasks import TASK_BUILDERS",
    ],
)
def test_the_rule_notices(text: str) -> None:
    assert calls_of_build_task(text)
