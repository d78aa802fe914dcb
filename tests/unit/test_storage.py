"""A run in a shared storage: whatever moment a sender dies at, there is something whole to go on from."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow import fs

from rlgan.base.errors import CheckpointError, RlganError, StorageError
from rlgan.base.weights import Base, as_base
from rlgan.storage import places as storage
from rlgan.storage.checkpoint import load_latest, save_checkpoint, write_run_config
from rlgan.storage.places import Mirror, Place, as_folder, fetch, is_uri, open_place, require_writable
from tests.support.errors import refused
from tests.support.file_systems import OBJECTS, Watched

LAST = ("config.json", "table.txt")


def place_at(folder: Path, handler: Watched | None = None) -> Place:
    return Place(folder.as_uri(), str(folder), fs.LocalFileSystem() if handler is None else handler.system())


def advance(run_dir: Path, position: int, mark: float = 0.0) -> None:
    """What a session does: rows first, then a checkpoint, then the generator."""
    run_dir.mkdir(exist_ok=True)
    (run_dir / "metrics.jsonl").write_text("".join(f'{{"iteration": {done}}}\n' for done in range(1, position + 1)))
    save_checkpoint(run_dir, {"weights": torch.full((5,), position + mark), "mark": mark}, position)
    (run_dir / "generator.safetensors").write_bytes(b"weights %d" % position)
    write_run_config(run_dir, {"seed": 3})


def contents(folder: Path) -> dict[str, bytes]:
    """Files as a reader sees them: what a killed sender left unfinished is hidden."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if path.name[0] != "."}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


# ------------------------------------------------------------------------------------------------------ being killed

# Each is what happens to a run's folder: first what is sent in peace, then what is sent by a process that dies.
Change = Callable[[Path, Path], None]


def begun(run_dir: Path, there: Path) -> None:
    advance(run_dir, 0)


def three_units(run_dir: Path, there: Path) -> None:
    for position in range(4):
        advance(run_dir, position)


def fourth_unit(run_dir: Path, there: Path) -> None:
    advance(run_dir, 4)


def third_unit_otherwise(run_dir: Path, there: Path) -> None:
    advance(run_dir, 3, mark=0.5)


def two_more_units(run_dir: Path, there: Path) -> None:
    for position in (4, 5):
        advance(run_dir, position)


def done_again_after_damage(run_dir: Path, there: Path) -> None:
    """The storage had a whole checkpoint 2 and a damaged 4; the run went on from 2, and found another 3."""
    save_checkpoint(there, {"weights": torch.full((5,), 2.0), "mark": 0.0}, 2, keep=1)
    (there / "checkpoints" / "00000004").mkdir()
    (there / "checkpoints" / "00000004" / "tensors.safetensors").write_bytes(b"half")
    shutil.rmtree(run_dir / "checkpoints")
    advance(run_dir, 2)
    advance(run_dir, 3, mark=0.5)


def completed(run_dir: Path, there: Path) -> None:
    (run_dir / "table.json").write_text("[]")
    (run_dir / "table.txt").write_text("table\n")


def nothing(run_dir: Path, there: Path) -> None:
    pass


def newest(folder: Path) -> tuple[int, float]:
    loaded = load_latest(folder)
    return loaded.position, loaded.state["mark"]


def assert_every_state_has_its_tensors(there: Path) -> None:
    """What a later sender relies on, who takes a checkpoint with a state for whole."""
    for state in there.glob("checkpoints/*/state.json"):
        tensors = state.with_name("tensors.safetensors").read_bytes()
        assert json.loads(state.read_text())["tensors_sha256"] == hashlib.sha256(tensors).hexdigest()


def positions(folder: Path) -> set[int]:
    return {int(entry.name) for entry in (folder / "checkpoints").iterdir()}


@pytest.mark.parametrize("objects", [False, True], ids=["same process, folders", "new process, objects"])
@pytest.mark.parametrize(
    ("before", "after", "least"),
    [
        (None, begun, 0),
        (begun, three_units, 0),
        (three_units, fourth_unit, 3),
        (three_units, third_unit_otherwise, 2),  # while the third is replaced there is the second
        (three_units, two_more_units, 3),
        (two_more_units, done_again_after_damage, 2),
        (three_units, completed, 3),
        (three_units, nothing, 3),
    ],
)
def test_a_sender_killed_at_any_operation_leaves_what_can_be_gone_on_from(
    before: Change | None,
    after: Change,
    least: int,
    objects: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storage, "_OBJECT_STORES", (f"py::{OBJECTS}",))
    monkeypatch.setattr(os, "fsync", lambda _: None)  # nobody pulls the plug, and this is most of the time
    for dies_at in itertools.count():
        run_dir, there = tmp_path / f"run{dies_at}", tmp_path / f"there{dies_at}"
        handler = Watched(objects=objects)
        mirror = Mirror(place_at(there, handler), run_dir, LAST)
        known: set[tuple[int, float]] = set()
        if before is not None:
            before(run_dir, there)
            mirror.send()
            known = {(position, 0.0) for position in positions(run_dir)}
        after(run_dir, there)
        known |= {(position, 0.0) for position in positions(run_dir)} | {newest(run_dir)}
        if objects or after is done_again_after_damage:
            mirror = Mirror(place_at(there, handler), run_dir, LAST)
        handler.done.clear()
        handler.dies_at = dies_at
        try:
            mirror.send()
        except StorageError as error:
            assert "killed" in str(error)
        handler.dies_at = None
        assert_every_state_has_its_tensors(there)
        # Whoever comes now, on another machine.
        target = tmp_path / f"fetched{dies_at}"
        if place_at(there).holds_run():
            fetch(place_at(there), target)
            assert newest(target) in known and newest(target)[0] >= least
            units = [json.loads(line)["iteration"] for line in (target / "metrics.jsonl").read_text().splitlines()]
            assert len(units) >= newest(target)[0]
            if (target / "table.txt").exists():
                assert contents(target) == contents(run_dir)
        else:
            assert before is None
        # The sender again, in a new process.
        if handler.is_dead:
            Mirror(place_at(there), run_dir, LAST).send()
        assert contents(there) == contents(run_dir)
        if not handler.is_dead:
            break
    assert (dies_at > 0) or after is nothing


# ------------------------------------------------------------------------------------------------------ what is sent


def test_only_what_changed_is_sent(run_dir: Path, tmp_path: Path) -> None:
    handler = Watched()
    mirror = Mirror(place_at(tmp_path / "there", handler), run_dir, LAST)
    for position in range(3):
        advance(run_dir, position)
    mirror.send()
    for sender in (mirror, Mirror(mirror.place, run_dir, LAST)):
        sender.send()
    handler.done.clear()
    mirror.send()
    assert handler.done == []
    advance(run_dir, 3)
    mirror.send()
    moved = [what for what in handler.done if what.startswith(("move", "rmdir"))]
    assert moved == [
        "move generator.safetensors",
        "move metrics.jsonl",
        "move tensors.safetensors",
        "move state.json",
        "rmdir 00000001",
    ]


def test_a_new_process_does_not_touch_checkpoints_that_are_there(run_dir: Path, tmp_path: Path) -> None:
    advance(run_dir, 0)
    Mirror(place_at(tmp_path / "there"), run_dir, LAST).send()
    handler = Watched()
    Mirror(place_at(tmp_path / "there", handler), run_dir, LAST).send()
    assert "move metrics.jsonl" in handler.done
    assert not any("tensors.safetensors" in what or "state.json" in what for what in handler.done)


@pytest.mark.parametrize("ruin", [Path.unlink, lambda path: path.write_bytes(b"cut")], ids=["removed", "cut"])
def test_a_checkpoint_that_lost_its_tensors_there_is_sent_again(
    ruin: Callable[[Path], object], run_dir: Path, tmp_path: Path
) -> None:
    for position in range(3):
        advance(run_dir, position)
    Mirror(place_at(tmp_path / "there"), run_dir, LAST).send()
    ruin(tmp_path / "there" / "checkpoints" / "00000002" / "tensors.safetensors")
    Mirror(place_at(tmp_path / "there"), run_dir, LAST).send()
    assert contents(tmp_path / "there") == contents(run_dir)


def advance_with_base(run_dir: Path, position: int, base: Base) -> None:
    run_dir.mkdir(exist_ok=True)
    assert base.tensors is not None
    weights = {**base.tensors, "w": torch.full((5,), float(position))}
    save_checkpoint(run_dir, {"weights": weights, "start": weights, "mark": 0.0}, position, bases=(base,))
    write_run_config(run_dir, {"seed": 3})


def test_a_frozen_part_is_sent_once_and_before_what_names_it(run_dir: Path, tmp_path: Path) -> None:
    bases = [as_base({"table": torch.full((100,), value)}) for value in (1.0, 2.0)]
    one, other = (base for base in bases if base is not None)
    handler, there = Watched(), tmp_path / "there"
    mirror = Mirror(place_at(there, handler), run_dir, LAST)
    for position, base in enumerate((one, one, other)):
        advance_with_base(run_dir, position, base)
        mirror.send()
        assert contents(there) == contents(run_dir)
    moved = [what.removeprefix("move ") for what in handler.done if what.startswith("move")]
    files = [f"{base.digest}.safetensors" for base in (one, other)]
    checkpoint = ["tensors.safetensors", "state.json"]
    assert [name for name in moved if name != "config.json"] == [
        files[0], *checkpoint, *checkpoint, files[1], *checkpoint,
    ]  # fmt: skip
    advance_with_base(run_dir, 3, other)
    mirror.send()
    assert contents(there) == contents(run_dir)
    assert [path.name for path in there.glob("bases/*")] == [files[1]]
    fetch(mirror.place, tmp_path / "fetched")
    assert torch.equal(load_latest(tmp_path / "fetched").state["start"]["table"], torch.full((100,), 2.0))


@pytest.mark.parametrize("ruin", [Path.unlink, lambda path: path.write_bytes(b"cut")], ids=["removed", "cut"])
def test_a_frozen_part_that_was_lost_there_is_sent_again(
    ruin: Callable[[Path], object], run_dir: Path, tmp_path: Path
) -> None:
    base = as_base({"table": torch.ones(100)})
    assert base is not None
    advance_with_base(run_dir, 0, base)
    Mirror(place_at(tmp_path / "there"), run_dir, LAST).send()
    ruin(tmp_path / "there" / "bases" / f"{base.digest}.safetensors")
    Mirror(place_at(tmp_path / "there"), run_dir, LAST).send()
    assert contents(tmp_path / "there") == contents(run_dir)


def test_a_checkpoint_counts_only_with_its_tensors(run_dir: Path, tmp_path: Path) -> None:
    for position in range(3):
        advance(run_dir, position)
    place = place_at(tmp_path / "there")
    Mirror(place, run_dir, LAST).send()
    assert place.newest_checkpoint() == 2
    (tmp_path / "there" / "checkpoints" / "00000002" / "tensors.safetensors").unlink()
    assert place.newest_checkpoint() == 1


def test_hidden_and_foreign_files_stay_where_they_are(run_dir: Path, tmp_path: Path) -> None:
    advance(run_dir, 0)
    (run_dir / ".metrics.jsonl.tmp").write_text("half")
    (run_dir / "checkpoints" / ".00000001.tmp").mkdir()
    (run_dir / "checkpoints" / ".00000001.tmp" / "state.json").write_text("half")
    there = tmp_path / "there"
    (there / "notes").mkdir(parents=True)
    (there / "notes" / "mine.txt").write_text("keep")
    Mirror(place_at(there), run_dir, LAST).send()
    expected = {name: content for name, content in contents(run_dir).items() if ".tmp" not in name}
    assert contents(there) == expected | {"notes/mine.txt": b"keep"}


def test_what_was_not_sent_is_sent_later(run_dir: Path, tmp_path: Path) -> None:
    down = [True]
    mirror = Mirror(place_at(tmp_path / "there", Watched(is_down=lambda: down[0])), run_dir, LAST)
    for position in range(3):
        advance(run_dir, position)
        down[0] = position == 1
        if down[0]:
            with refused(StorageError, "storage_failed"):
                mirror.send()
        else:
            mirror.send()
    assert contents(tmp_path / "there") == contents(run_dir)


def test_what_others_removed_is_sent_again_after_it_was_noticed(run_dir: Path, tmp_path: Path) -> None:
    mirror = Mirror(place_at(tmp_path / "there"), run_dir, LAST)
    for position in range(3):
        advance(run_dir, position)
    mirror.send()
    shutil.rmtree(tmp_path / "there")
    advance(run_dir, 3)
    with refused(StorageError, "storage_failed", match="00000001.*/state.json"):
        mirror.send()
    mirror.send()
    assert contents(tmp_path / "there") == contents(run_dir)


# ------------------------------------------------------------------------------------------------------ fetching


class Hostile(Watched):
    """Lists names that lead elsewhere, each of which can be read."""

    def __init__(self, base: Path, names: list[str]) -> None:
        super().__init__()
        self._base, self._names = base, names

    def get_file_info_selector(self, selector: fs.FileSelector) -> Any:
        honest = super().get_file_info_selector(selector)
        evil = [name if name.startswith("/") else f"{self._base}/{name}" for name in self._names]
        return [*honest, *(fs.FileInfo(name, fs.FileType.File, size=4) for name in evil)]

    def open_input_stream(self, path: str) -> Any:
        if any(path.endswith(name) for name in self._names):
            return super().open_input_stream(str(self._base / "evil"))
        return super().open_input_stream(path)


def test_no_name_in_a_storage_leads_out_of_the_folder(run_dir: Path, tmp_path: Path) -> None:
    names = [
        "../outside",
        "..",
        "/etc/outside",
        "checkpoints/../../outside",
        "checkpoints/00000000/../../../outside",
        "checkpoints/00000000/outside",
        "checkpoints/../outside",
        ".hidden",
        "..\\outside",
        "notes/outside",
        "plugins/outside.py",
        "plugins/0123456789abcdef.py/../../../outside",
        "a\nb",
        "out\0side",
    ]
    advance(run_dir, 0)
    there = tmp_path / "there"
    Mirror(place_at(there), run_dir, LAST).send()
    (there / "evil").write_text("evil")
    target = tmp_path / "deep" / "down" / "run"
    place = Place(there.as_uri(), str(there), Hostile(there, names).system())
    fetch(place, target)
    assert contents(target) == contents(run_dir) | {"evil": b"evil"}
    everything = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")}
    assert everything == {"run", "there", "deep"}
    assert [path.name for path in target.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("name", ["..", "../x", "", ".x", "a/b", "a b", "é", "a\n", "-x"])
def test_a_run_cannot_have_a_name_that_leads_elsewhere(name: str, tmp_path: Path) -> None:
    with refused(StorageError, "storage_run_name"):
        place_at(tmp_path).below(name)


def test_a_fetch_that_fails_leaves_nothing(run_dir: Path, tmp_path: Path) -> None:
    advance(run_dir, 0)
    there = tmp_path / "there"
    Mirror(place_at(there), run_dir, LAST).send()
    reads = itertools.count()
    with refused(StorageError, "storage_failed"):
        fetch(place_at(there, Watched(is_down=lambda: next(reads) == 4)), tmp_path / "new" / "run")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_fetch_does_not_replace_what_is_there(run_dir: Path, tmp_path: Path) -> None:
    advance(run_dir, 0)
    Mirror(place_at(tmp_path / "there"), run_dir, LAST).send()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with refused(CheckpointError, "fetch_target_exists"):
        fetch(place_at(tmp_path / "there"), tmp_path / "mine")
    assert contents(tmp_path / "mine") == {"thesis.txt": b"years of work"}
    assert {entry.name for entry in tmp_path.iterdir()} == {"run", "there", "mine"}


def test_a_folder_without_a_run_is_refused_by_its_uri(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    place = open_place((tmp_path / "empty").as_uri(), "--resume")
    with refused(CheckpointError, "storage_lacks_file", match=r"config\.json"):
        fetch(place, tmp_path / "run")
    with refused(CheckpointError, "not_a_run_in_storage"):
        place.config()
    (tmp_path / "empty" / "config.json").write_text("{")
    with refused(CheckpointError, "damaged_config_in_storage", match=r"config\.json"):
        place.config()


def test_errors_about_a_fetched_run_name_its_uri(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with (
        pytest.raises(CheckpointError, match=f"^{tmp_path.as_uri()}: is bad$"),
        as_folder(tmp_path.as_uri(), ("config.json",)) as folder,
    ):
        raise CheckpointError(f"{folder}: is bad")


# ------------------------------------------------------------------------------------------------------ opening


@pytest.fixture
def memory() -> Iterator[str]:
    """URI of a folder in fsspec's file system in memory."""
    system, path = fs.FileSystem.from_uri("fsspec+memory://bucket")
    system.create_dir(path)
    yield "memory://bucket/runs"
    system.delete_dir(path)


def test_a_scheme_that_only_fsspec_knows_is_a_storage_too(memory: str, run_dir: Path, tmp_path: Path) -> None:
    place = open_place(memory, "--storage").below("run")
    require_writable(place)
    mirror = Mirror(place, run_dir, LAST)
    for position in range(4):
        advance(run_dir, position)
        mirror.send()
    assert place.newest_checkpoint() == 3 and place.holds_run() and place.is_taken()
    fetch(open_place(place.uri, "--resume"), tmp_path / "fetched")
    assert contents(tmp_path / "fetched") == contents(run_dir)
    assert place.uri == "memory://bucket/runs/run" and place.parent_uri == memory


REFUSED = {
    "nope://bucket/x": "Protocol not known: nope",
    "sftp://host/x": 'needs a package that is not installed (SFTPFileSystem requires "paramiko"',
    "s3://key:secret@bucket/x": "contains a password",
    "s3://bucket/x?access_key=secret": "its query has 'access_key'",
    "s3://bucket/x?secret": "its query has 'secret'",
    "file:///no/such/folder": "'/no' does not exist",
    "file:///tmp/../x": "contains '..' in its path",
    "file://host/x": "cannot be opened (Unsupported hostname",
    "file:///": "does not name a folder",
    "s3://": "does not name a folder",
    "simplecache::file:///tmp": "contains '::' or '#'",
    "file:///tmp#secret": "contains '::' or '#'",
    "file://[/x": "is not a valid URI",
}


@pytest.mark.parametrize("uri", REFUSED)
def test_a_storage_that_cannot_be_used_is_refused_in_one_paragraph(uri: str) -> None:
    with pytest.raises(StorageError) as caught:
        open_place(uri, "--storage")
    text = str(caught.value)
    assert text.startswith("--storage ") and REFUSED[uri] in text and "\n" not in text
    assert "secret@" not in text and "=secret" not in text


def test_a_query_says_where_and_stays_at_the_end(tmp_path: Path) -> None:
    uri = "s3://bucket/runs?region=eu-west-1"
    place = Place(uri, "bucket/runs", fs.LocalFileSystem()).below("a")
    assert (place.uri, place.path) == ("s3://bucket/runs/a?region=eu-west-1", "bucket/runs/a")
    assert place.parent_uri == uri and place.name == "a"


def test_google_is_not_tried_for_a_quarter_of_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def from_uri(uri: str) -> Any:
        asked.append(uri)
        raise OSError("unreachable")

    class FileSystem:
        pass

    FileSystem.from_uri = staticmethod(from_uri)  # type: ignore[attr-defined]
    monkeypatch.setattr(storage.fs, "FileSystem", FileSystem)
    for uri in ("gs://b/x", "gs://b/x?scheme=http", "gs://b/x?retry_limit_seconds=5"):
        with refused(StorageError, "storage_cannot_open"):
            open_place(uri, "--storage")
    assert asked == [
        "gs://b/x?retry_limit_seconds=60",
        "gs://b/x?scheme=http&retry_limit_seconds=60",
        "gs://b/x?retry_limit_seconds=5",
    ]


def test_looking_whether_a_place_can_be_written_leaves_nothing(tmp_path: Path) -> None:
    require_writable(place_at(tmp_path / "a" / "b"))
    require_writable(place_at(tmp_path))
    assert list(tmp_path.iterdir()) == []
    handler = Watched()
    for dies_at in range(3):
        handler = Watched(dies_at=dies_at)
        with refused(RlganError, "storage_failed"):
            require_writable(place_at(tmp_path, handler))
    assert handler.done == [f"open {handler.done[0].split()[1]}", f"write {handler.done[0].split()[1]}"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://b/x", True),
        ("file:///x", True),
        ("fsspec+s3://b", True),
        ("runs", False),
        ("/a:b/c", False),
        ("a/b://c", False),
    ],
)
def test_a_uri_has_a_scheme(text: str, expected: bool) -> None:
    assert is_uri(text) is expected
