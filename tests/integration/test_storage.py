"""Runs that are kept in a shared storage, through the command line and real files."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from rlgan.base.errors import StorageError
from rlgan.cli.main import main
from rlgan.storage import places as storage
from tests.support.commands import Answer, ask, copy_of, write_config
from tests.support.runs import assert_ends_alike, small, stop_after
from tests.support.usual import usually

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(tmp_path_factory.mktemp("settings") / "config.json", small())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, config_file: Path) -> Path:
    """Folder of a run that was never stopped and never sent anywhere."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main(["train", "--config", str(config_file), "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where commands are typed."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """The folder behind the storage; the run makes it."""
    return tmp_path / "shared" / "runs"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stopped(capsys: pytest.CaptureFixture[str], num_iterations: int, *arguments: object) -> Answer:
    """A run that Ctrl-C stops after so many units."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_after(monkeypatch, num_iterations)
        answer = ask(capsys, "train", *arguments)
    return answer


def command(text: str, after: str) -> list[str]:
    """What a message says is to be typed, for `ask`."""
    found = re.search(rf"(?m){re.escape(after)}: rlgan (.*?)(?: \[\w+\])?$", text)  # an error's code stands behind it
    assert found is not None, text
    return shlex.split(found[1])


@pytest.mark.heavy
@pytest.mark.parametrize("num_iterations", usually([4], [1, 4]))
def test_a_run_stopped_here_and_gone_on_with_elsewhere_equals_one_never_stopped(
    num_iterations: int,
    config_file: Path,
    undisturbed: Path,
    work: Path,
    shared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    uri = f"{shared.as_uri()}/here"
    answer = stopped(
        capsys,
        num_iterations,
        "--config",
        config_file,
        "--storage",
        shared.as_uri(),
        "--out",
        tmp_path / "first" / "here",
    )
    assert answer.status == 130 and f"kept in {uri}\n" in answer.out
    assert contents(shared / "here") == contents(tmp_path / "first" / "here")
    shutil.rmtree(tmp_path / "first")
    resume = command(answer.out, "to continue, run")
    assert resume == ["train", "--resume", uri]
    answer = ask(capsys, *resume)
    assert answer.status == 0 and f"resumed after {num_iterations} iterations" in answer.out, answer.err
    assert_ends_alike(work / "runs" / "here", undisturbed)
    assert contents(shared / "here") == contents(work / "runs" / "here")
    assert "shared" not in (shared / "here" / "config.json").read_text()

    for verb in (["sample", "--num", "3"], ["evaluate", "--num-sequences", "16", "--json"]):
        there, here = ask(capsys, *verb, "--run", uri), ask(capsys, *verb, "--run", undisturbed)
        assert (there.status, there.out) == (0, here.out) and here.out

    shutil.rmtree(work / "runs")
    answer = ask(capsys, *resume)
    summary = (work / "runs" / "here" / "summary.txt").read_text()
    assert answer.status == 0 and answer.out.endswith(f"\n{summary}")


def test_a_name_is_made_that_is_free_here_and_there(
    config_file: Path, work: Path, shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("time.strftime", lambda *_: "20300101-000000")
    for _ in range(2):
        assert stopped(capsys, 1, "--config", config_file, "--storage", shared.as_uri()).status == 130
        shutil.rmtree(work / "runs")
    assert {entry.name for entry in shared.iterdir()} == {
        "tiny-oracle-20300101-000000",
        "tiny-oracle-20300101-000000-2",
    }


def test_a_storage_that_is_a_path_is_where_folders_are_made(
    config_file: Path, work: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = stopped(capsys, 1, "--config", config_file, "--storage", shared)
    assert answer.status == 130 and "kept in" not in answer.out
    (folder,) = shared.iterdir()
    assert command(answer.out, "to continue, run") == ["train", "--resume", str(folder)]
    assert list(work.iterdir()) == []


# ------------------------------------------------------------------------------------------------------ copies


def test_a_copy_that_is_as_far_is_gone_on_with_and_one_left_behind_is_not(
    config_file: Path, undisturbed: Path, work: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resume = ["--resume", f"{shared.as_uri()}/here"]
    stopped(capsys, 1, "--config", config_file, "--storage", shared.as_uri(), "--out", "runs/here")
    (work / "runs" / "here" / "mark").write_text("of this copy")
    assert stopped(capsys, 1, *resume).status == 130
    old = copy_of(work / "runs" / "here", work / "old")
    assert (old / "mark").exists()
    assert stopped(capsys, 1, *resume).status == 130
    before, there = contents(old), contents(shared / "here")
    for arguments in (["--resume", "old", "--storage", shared.as_uri()], [*resume, "--out", "old"]):
        if arguments[0] == "--resume" and "--storage" in arguments:
            (shared / "here").rename(shared / "old")
        answer = ask(capsys, "train", *arguments)
        assert answer.status == 2 and "it has 2 iterations, but" in answer.err and "has 3." in answer.err
        if "--storage" in arguments:
            (shared / "old").rename(shared / "here")
    assert (contents(old), contents(shared / "here")) == (before, there)
    assert ask(capsys, "train", *resume, "--out", "elsewhere").status == 0
    assert_ends_alike(work / "elsewhere", undisturbed)


def test_another_run_of_that_name_is_not_overwritten(
    config_file: Path, work: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = ["--config", config_file, "--out", "runs/here"]
    stopped(capsys, 1, *begin, "--storage", shared.as_uri())
    shutil.rmtree(work / "runs")
    there = contents(shared / "here")
    answer = ask(capsys, "train", *begin, "--storage", shared.as_uri())
    assert answer.status == 2 and "already contains a run. Continue it with --resume file://" in answer.err
    assert list(work.iterdir()) == []
    stopped(capsys, 2, *begin, "--seed", "1")
    for arguments in (["runs/here", "--storage", shared.as_uri()], [f"{shared.as_uri()}/here", "--seed", "1"]):
        answer = ask(capsys, "train", "--resume", *arguments)
        assert answer.status == 2 and "contains another run than file://" in answer.err
    answer = ask(capsys, "train", "--resume", f"{shared.as_uri()}/here", "--seed", "1", "--out", "new")
    assert answer.status == 2 and "is a run with another configuration: seed: 0 → 1" in answer.err
    assert contents(shared / "here") == there and not (work / "new").exists()


# ------------------------------------------------------------------------------------------------------ failures


def failing(monkeypatch: pytest.MonkeyPatch, is_down: Callable[[str], bool]) -> None:
    """A storage that does not take files while it is down."""
    write = storage.Mirror._write

    def fails(mirror: storage.Mirror, name: str, content: bytes) -> None:
        if is_down(name):
            raise StorageError(f"{mirror.place.uri}: {name} cannot be written (no route).")
        write(mirror, name, content)

    monkeypatch.setattr(storage.Mirror, "_write", fails)


def test_an_upload_that_fails_is_said_once_and_tried_again(
    config_file: Path,
    undisturbed: Path,
    work: Path,
    shared: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tries: list[str] = []

    def is_down(name: str) -> bool:
        tries.append(name)
        return name == "generator.json" and tries.count(name) <= 2

    failing(monkeypatch, is_down)
    answer = ask(capsys, "train", "--config", config_file, "--storage", shared.as_uri(), "--out", "here")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.count("cannot be written") == 1
    assert "generator.json cannot be written (no route). The run continues, and tries again after each" in answer.out
    assert_ends_alike(work / "here", undisturbed)
    assert contents(shared / "here") == contents(work / "here")


@pytest.mark.heavy
@pytest.mark.parametrize("stops", usually([True], [False, True]))
def test_a_run_whose_last_upload_fails_is_whole_here_and_can_be_sent(
    stops: bool,
    config_file: Path,
    undisturbed: Path,
    work: Path,
    shared: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    begin = ["--config", config_file, "--storage", shared.as_uri(), "--out", "a b/here"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        failing(monkeypatch, lambda _: True)
        answer = stopped(capsys, 2, *begin) if stops else ask(capsys, "train", *begin)
    assert answer.status == 1
    assert answer.err.startswith("rlgan: file://") and answer.err.count("\n") == 1
    assert "(no route). Nothing is lost: the complete run is in a b/here." in answer.err
    send = command(answer.err, "upload it with")
    assert send == ["train", "--resume", "a b/here", "--storage", shared.as_uri()]
    assert not (shared / "here").exists()
    assert ask(capsys, *send).status == 0
    assert_ends_alike(work / "a b" / "here", undisturbed)
    assert contents(shared / "here") == contents(work / "a b" / "here")


def test_a_run_that_fails_sends_what_there_is(
    config_file: Path, work: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_after(monkeypatch, 2, RuntimeError)
        with pytest.raises(RuntimeError, match="killed"):
            ask(capsys, "train", "--config", config_file, "--storage", shared.as_uri(), "--out", "here")
    assert contents(shared / "here") == contents(work / "here")


def read_only(place: str) -> Any:
    class Handler(fs.FSSpecHandler):
        def open_output_stream(self, path: str, metadata: Any) -> Any:
            raise PermissionError("read-only")

    import fsspec

    return fs.PyFileSystem(Handler(fsspec.filesystem("file"))), place


CASES: dict[str, tuple[list[str], str]] = {
    "unknown scheme": (
        ["--storage", "nope://b/x"],
        "nope://b/x: cannot be opened (Protocol not known: nope)",
    ),
    "missing package": (["--storage", "sftp://h/x"], "sftp:// needs a package that is not installed"),
    "no such bucket": (["--storage", "memory://b/x"], "'/b' does not exist. Create the bucket"),
    "password": (["--storage", "s3://key:secret@b/x"], "s3://…@b/x: contains a password"),
    "one slash": (["--storage", "s3:/b/x"], "--storage s3:/b/x: a URI needs two slashes"),
    "empty": (["--storage", ""], "--storage: is empty"),
    "path and out": (
        ["--storage", "a", "--out", "b"],
        "--out b and --storage a: --out is the folder of the run itself",
    ),
    "URI as out": (["--out", "s3://b/x"], "--out s3://b/x: is a URI, but --out needs a local folder"),
    "name for no storage": (["--storage", "file:///tmp", "--out", "a b"], "'a b' is not a valid name for a run"),
    "resume of nothing": (["--resume", "file:///tmp/no-run"], "file:///tmp/no-run: is not the folder of a run"),
    "resume twice": (["--resume", "file:///tmp/x", "--storage", "file:///tmp"], "[storage_beside_resume_uri]"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_storage_that_cannot_be_used_is_one_paragraph_and_leaves_nothing(
    case: str, config_file: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = CASES[case]
    begin = [] if "--resume" in arguments else ["--config", config_file]
    answer = ask(capsys, "train", *begin, *arguments)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith("rlgan: ") and answer.err.count("\n") == 1
    assert message in answer.err and "secret" not in answer.err
    assert list(work.iterdir()) == []


def test_a_storage_that_cannot_be_written_is_refused_before_anything_starts(
    config_file: Path, work: Path, shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = shared.as_uri()
    stopped(capsys, 1, "--config", config_file, "--storage", uri, "--out", "here")
    shutil.rmtree(work / "here")
    before = contents(shared)

    class FileSystem:
        from_uri = staticmethod(lambda uri: read_only(uri.removeprefix("file://")))

    monkeypatch.setattr(storage.fs, "FileSystem", FileSystem)
    for arguments in (["--config", config_file, "--storage", uri], ["--resume", f"{uri}/here"]):
        answer = ask(capsys, "train", *arguments)
        assert (answer.status, answer.out) == (2, "")
        assert "cannot be written (read-only). Check that the storage is reachable" in answer.err
    assert list(work.iterdir()) == [] and contents(shared) == before
    # Who only reads needs no more.
    assert ask(capsys, "sample", "--run", f"{uri}/here").status == 0


def test_a_dry_run_writes_nothing_into_a_storage(
    config_file: Path, work: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared.mkdir(parents=True)
    assert ask(capsys, "train", "--config", config_file, "--storage", shared.as_uri(), "--dry-run").status == 0
    assert list(work.iterdir()) == list(shared.iterdir()) == []
    assert ask(capsys, "train", "--config", config_file, "--storage", "memory://no/x", "--dry-run").status == 2


def test_a_run_that_cannot_be_sampled_is_said_by_its_uri(
    work: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared.mkdir(parents=True)
    answer = ask(capsys, "sample", "--run", shared.as_uri())
    assert answer.status == 2
    assert answer.err.startswith(f"rlgan: {shared.as_uri()}: generator.safetensors is missing.")
    (shared / "generator.safetensors").write_bytes(b"")
    (shared / "generator.json").write_text("{}")
    answer = ask(capsys, "sample", "--run", shared.as_uri())
    assert answer.status == 2
    assert answer.err.startswith(f"rlgan: {shared.as_uri()}: its generator cannot be read ('vocab_size').")
