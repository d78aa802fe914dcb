"""Checkpoints: what is read is what was written, whatever happens in between, and nothing is ever executed."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from rlgan.base.errors import CheckpointError
from rlgan.base.files import write_atomically
from rlgan.base.weights import Base, as_base
from rlgan.storage.checkpoint import config_differences, load_latest, read_run_config, save_checkpoint, write_run_config
from tests.support.errors import refused

DTYPES = (
    torch.float32,
    torch.float64,
    torch.bfloat16,
    torch.float16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)


def state_of(number: int) -> dict[str, Any]:
    return {"number": number, "weights": {"w": torch.full((3,), float(number))}}


def entries(run_dir: Path) -> list[str]:
    return sorted(entry.name for entry in (run_dir / "checkpoints").iterdir())


def assert_same(one: Any, other: Any) -> None:
    """Bit for bit, and of the same types; NaN equals NaN."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and one.shape == other.shape
        assert bits(one) == bits(other)
    elif isinstance(one, float):
        assert math.isnan(one) == math.isnan(other)
        assert math.isnan(one) or (one, math.copysign(1, one)) == (other, math.copysign(1, other))
    else:
        assert one == other


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Sets the size at which the system refuses to write on; lifted afterwards."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(num_bytes: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


# ------------------------------------------------------------------------------------------------------ round trip


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Any bits, any of the types that a trainer holds, zero-dimensional and empty ones too."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    num = math.prod(shape)
    if dtype == torch.bool:
        return torch.tensor(draw(st.lists(st.booleans(), min_size=num, max_size=num)), dtype=dtype).reshape(shape)
    content = bytearray(draw(st.binary(min_size=num * dtype.itemsize, max_size=num * dtype.itemsize)))
    return torch.frombuffer(content, dtype=dtype).reshape(shape) if num else torch.empty(shape, dtype=dtype)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"]))
names = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=5)
values = st.recursive(
    scalars | tensors(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
)


@pytest.mark.property
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=st.dictionaries(names, values, max_size=4))
def test_what_is_loaded_is_what_was_saved(tmp_path: Path, state: dict[str, Any]) -> None:
    save_checkpoint(tmp_path, state, 3)
    assert_same(load_latest(tmp_path).state, state)


def test_tensors_that_share_memory_or_are_views_come_back_with_their_values(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4).requires_grad_()
    state = {
        "whole": whole,
        "again": whole,
        "column": whole[:, 1],
        "turned": whole.t(),
        "wide": torch.ones(1).expand(5),
    }
    path = save_checkpoint(tmp_path, state, 0)
    loaded = load_latest(tmp_path).state
    for name, tensor in state.items():
        assert torch.equal(loaded[name], tensor)
    assert not loaded["whole"].requires_grad
    loaded["again"][0] = -1.0
    assert loaded["whole"][0, 0] == 0.0
    assert (path / "tensors.safetensors").stat().st_size < 2_000


def test_a_random_state_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(5)
    generator_state = generator.get_state()
    save_checkpoint(tmp_path, {"rng": generator_state}, 0)
    expected = torch.rand(3, generator=generator)
    resumed = torch.Generator()
    resumed.set_state(load_latest(tmp_path).state["rng"])
    assert torch.equal(torch.rand(3, generator=resumed), expected)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {"b": object()}}, "a/b: a checkpoint can contain tensors and JSON values, not object"),
        ({"a": {1: 2}}, "a: keys of a checkpoint must be text, not int 1"),
        ({"a/b": torch.ones(1), "a": {"b": torch.ones(1)}}, "a/b: two tensors have this path"),
        ({"a": {"__tensor__": "b"}}, "a: the key '__tensor__' is reserved"),
        ({"__float__": "1"}, "the key '__float__' is reserved"),
        ({"__metadata__": torch.ones(1)}, "the key '__metadata__' is reserved"),
    ],
)
def test_a_state_that_would_not_come_back_is_refused(tmp_path: Path, state: dict[Any, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        save_checkpoint(tmp_path, state, 0)
    assert not (tmp_path / "checkpoints").exists()


# ------------------------------------------------------------------------------------------------------ which one


def test_the_newest_is_loaded_and_older_ones_are_pruned(tmp_path: Path) -> None:
    for position in (2, 33, 100_000_000):
        path = save_checkpoint(tmp_path, state_of(position), position)
    assert entries(tmp_path) == ["00000033", "100000000"]
    loaded = load_latest(tmp_path)
    assert (loaded.position, loaded.path, loaded.skipped) == (100_000_000, path, ())
    save_checkpoint(tmp_path, state_of(100_000_001), 100_000_001, keep=1)
    assert entries(tmp_path) == ["100000001"]


def test_a_run_that_went_back_is_not_resumed_from_what_it_left_behind(tmp_path: Path) -> None:
    for position in (1, 2, 3):
        save_checkpoint(tmp_path, state_of(position), position, keep=3)
    save_checkpoint(tmp_path, {"number": "second try"}, 2, keep=2)
    assert entries(tmp_path) == ["00000001", "00000002"]
    assert load_latest(tmp_path).state == {"number": "second try"}


@pytest.mark.parametrize(("position", "keep"), [(-1, 2), (0, 0)])
def test_positions_and_counts_that_make_no_sense_are_refused(tmp_path: Path, position: int, keep: int) -> None:
    with pytest.raises(ValueError, match="position must be at least 0"):
        save_checkpoint(tmp_path, {}, position, keep)


def test_other_things_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state_of(1), 1)
    for name in ("7", "notes", ".mine.tmp", "²²²²²²²²"):
        (tmp_path / "checkpoints" / name).mkdir()
    save_checkpoint(tmp_path, state_of(2), 2, keep=1)
    assert load_latest(tmp_path).position == 2
    assert entries(tmp_path) == sorted(["00000002", "7", "notes", ".mine.tmp", "²²²²²²²²"])


# ------------------------------------------------------------------------------------------------------ damage


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)


def change_number(path: Path) -> None:
    text = path.read_text()
    assert '"number": 2' in text
    path.write_text(text.replace('"number": 2', '"number": 3'))


def swap_in_other_tensors(path: Path) -> None:
    save_file({"weights/w": torch.zeros(3)}, path)


def as_version_3(path: Path) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"format": 3, "rlgan": "9.1"}))


def renumber(path: Path) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"position": 7}))


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("tensors.safetensors", truncate, r"tensors.safetensors does not match its checksum .[0-9]+ bytes"),
        ("tensors.safetensors", flip, "tensors.safetensors does not match its checksum"),
        ("tensors.safetensors", swap_in_other_tensors, "tensors.safetensors does not match its checksum"),
        ("tensors.safetensors", Path.unlink, "No such file"),
        (
            "tensors.safetensors",
            lambda path: path.write_bytes(b""),
            "tensors.safetensors does not match its checksum .0 bytes",
        ),
        ("state.json", truncate, "state.json does not match its checksum"),
        ("state.json", change_number, "state.json does not match its checksum"),
        ("state.json", Path.unlink, "No such file"),
        ("state.json", lambda path: path.write_bytes(b"\x80\x04\x95"), "state.json does not match its checksum"),
        ("state.json", lambda path: path.write_text("[1, 2]"), "state.json does not match its checksum"),
        ("state.json", lambda path: path.write_text('{"a": 1}'), "state.json does not match its checksum"),
        ("state.json", lambda path: path.write_text("[" * 100_000), "recursion"),
        ("state.json", as_version_3, "has format 3 of rlgan 9.1, but rlgan .* reads formats 1 and 2"),
        ("state.json", renumber, "it contains position 7"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_and_said(
    tmp_path: Path, name: str, damage: Callable[[Path], object], reason: str
) -> None:
    for position in (1, 2):
        save_checkpoint(tmp_path, state_of(position), position)
    damage(tmp_path / "checkpoints" / "00000002" / name)
    loaded = load_latest(tmp_path)
    assert loaded.position == 1
    assert_same(loaded.state, state_of(1))
    (sentence,) = loaded.skipped
    assert sentence.startswith("checkpoint 00000002 is damaged (")
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(sentence)

    shutil.rmtree(loaded.path)
    with refused(CheckpointError, "no_whole_checkpoint", match=reason):
        load_latest(tmp_path)


def test_a_folder_without_checkpoints_says_what_to_do(tmp_path: Path) -> None:
    with refused(CheckpointError, "no_checkpoint"):
        load_latest(tmp_path)


class _Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._path),)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"a": {"__tensor__": "absent"}}, "absent"),
        ({"a": {"__tensor__": ["weights/w"]}}, "unhashable"),
        ({"a": {"__float__": None}}, "not 'NoneType'"),
        (5, "state.json contains int, expected an object"),
    ],
)
def test_a_forged_state_with_the_right_checksum_is_an_error_of_ours(tmp_path: Path, state: Any, reason: str) -> None:
    path = save_checkpoint(tmp_path, state_of(1), 1) / "state.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"state": state, "state_sha256": sha256(json.dumps(state).encode())}))
    with refused(CheckpointError, "no_whole_checkpoint", match=rf"00000001 .*{reason}"):
        load_latest(tmp_path)


@pytest.mark.parametrize("names", [("tensors.safetensors",), ("state.json",), ("tensors.safetensors", "state.json")])
def test_a_pickle_under_our_names_is_refused_and_not_executed(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = save_checkpoint(tmp_path, state_of(1), 1)
    fired = tmp_path / "fired"
    for name in names:
        torch.save(_Bomb(fired), path / name)
    if "state.json" not in names:  # a stranger would write the checksum that fits
        document = json.loads((path / "state.json").read_text())
        document["tensors_sha256"] = sha256((path / "tensors.safetensors").read_bytes())
        (path / "state.json").write_text(json.dumps(document))
    with refused(CheckpointError, "no_whole_checkpoint"):
        load_latest(tmp_path)
    assert not fired.exists()
    torch.load(BytesIO((path / names[0]).read_bytes()), weights_only=False)
    assert fired.exists(), "the bomb was a dud, and this test showed nothing"


# ------------------------------------------------------------------------------------------------------ crashes


def crash_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The process dies at its `number`-th rename: nothing after it happens, not even clearing up."""
    real, calls = os.replace, 0

    def replace(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            raise SystemExit("power cut")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.parametrize(("position", "rename"), [(2, 1), (1, 1), (1, 2)])
def test_a_crash_while_saving_leaves_the_last_one_and_the_next_save_clears_up(
    tmp_path: Path, position: int, rename: int
) -> None:
    save_checkpoint(tmp_path, state_of(1), 1, keep=1)
    with pytest.MonkeyPatch.context() as monkeypatch:
        crash_at(monkeypatch, rename)
        with pytest.raises(SystemExit):
            save_checkpoint(tmp_path, state_of(50), position, keep=1)
    assert len(entries(tmp_path)) == 2
    loaded = load_latest(tmp_path)
    assert (loaded.position, loaded.skipped) == (1, ())
    assert_same(loaded.state, state_of(1))

    save_checkpoint(tmp_path, state_of(3), 2, keep=2)
    assert entries(tmp_path) == ["00000001", "00000002"]
    assert_same(load_latest(tmp_path).state, state_of(3))


def test_a_checkpoint_saved_again_replaces_the_first(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state_of(1), 4)
    save_checkpoint(tmp_path, state_of(2), 4)
    assert entries(tmp_path) == ["00000004"]
    assert_same(load_latest(tmp_path).state, state_of(2))


def test_files_and_folders_are_on_the_disk_before_they_are_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        flushed = os.fstat(descriptor).st_ino
        steps.extend(path.name for path in (tmp_path, *tmp_path.rglob("*")) if path.stat().st_ino == flushed)
        real_fsync(descriptor)

    def replace(source: Path, target: Path) -> None:
        steps.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    save_checkpoint(tmp_path, state_of(1), 1)
    assert steps == ["tensors.safetensors", "state.json", ".00000001.tmp", "rename", "checkpoints"]
    steps.clear()
    write_run_config(tmp_path, {})
    assert steps == [".config.json.tmp", "rename", tmp_path.name]


# ------------------------------------------------------------------------------------------------------ full disk


def test_a_full_disk_is_told_with_sizes_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, state_of(1), 1, keep=1)

    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    message = (
        r"checkpoints/00000002: cannot be written \(No space left on device\); [0-9,]+ bytes are needed, [0-9,]+ are "
        r"free\. Free some space, then --resume\."
    )
    with refused(CheckpointError, "cannot_write", match=message):
        save_checkpoint(tmp_path, state_of(2), 2, keep=1)
    monkeypatch.undo()
    assert entries(tmp_path) == ["00000001"]
    assert_same(load_latest(tmp_path).state, state_of(1))


def test_a_write_that_stops_half_way_leaves_what_was_there(tmp_path: Path, small_files: Callable[[int], None]) -> None:
    save_checkpoint(tmp_path, state_of(1), 1, keep=1)
    large = {"w": torch.zeros(100_000)}
    small_files(100_000)
    with refused(CheckpointError, "cannot_write", match=r"\(File too large\); 400,[0-9]{3} bytes"):
        save_checkpoint(tmp_path, large, 2, keep=1)
    assert entries(tmp_path) == ["00000001"]
    assert_same(load_latest(tmp_path).state, state_of(1))


def test_an_old_checkpoint_that_cannot_be_removed_is_named_and_the_new_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, state_of(1), 1)

    def rmtree(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    with refused(CheckpointError, "cannot_remove_checkpoint", match="00000001"):
        save_checkpoint(tmp_path, state_of(2), 2, keep=1)
    assert load_latest(tmp_path).position == 2


# ------------------------------------------------------------------------------------------------------ small files


def fail_with_an_os_error(path: Path) -> None:
    path.write_text("half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def be_interrupted(path: Path) -> None:
    path.write_text("half")
    raise KeyboardInterrupt


def write_tensors_beyond_the_limit(path: Path) -> None:
    save_file({"w": torch.zeros(100_000)}, path)


@pytest.mark.parametrize(
    ("write", "error"),
    [
        (fail_with_an_os_error, CheckpointError),
        (write_tensors_beyond_the_limit, CheckpointError),
        (be_interrupted, KeyboardInterrupt),
    ],
)
def test_a_small_file_is_old_or_new_never_half(
    tmp_path: Path, small_files: Callable[[int], None], write: Callable[[Path], None], error: type[BaseException]
) -> None:
    path = tmp_path / "table.txt"
    write_atomically(path, lambda beside: beside.write_text("old"))
    small_files(100_000)
    with pytest.raises(error, match=rf"{path}: cannot be written" if error is CheckpointError else None):
        write_atomically(path, write)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.txt"]


def test_a_missing_folder_is_told_as_such(tmp_path: Path) -> None:
    with refused(CheckpointError, "cannot_write", match="none/config.json"):
        write_run_config(tmp_path / "none", {})


# ------------------------------------------------------------------------------------------------------ whose run


def test_a_configuration_is_read_as_it_was_written(tmp_path: Path) -> None:
    config = {"preset": "séqgan", "task": {"num": 3, "lr": 1e-4, "windows": [1, 2], "none": None, "on": True}}
    write_run_config(tmp_path, config)
    assert read_run_config(tmp_path) == config


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not_a_run: config.json"),
        (b'{"a": 1', "damaged_run_file: config.json"),
        (b"\x80\x04\x95", "damaged_run_file: config.json"),
        (b"[" * 100_000, "damaged_run_file: config.json"),
        (b"[1]", "run_file_type: config.json"),
    ],
)
def test_a_folder_that_holds_no_run_is_told_as_such(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with refused(CheckpointError, message):
        read_run_config(tmp_path)


def test_differences_name_the_path_and_both_values() -> None:
    saved = {"seed": 1, "credit.kind": "terminal", "credit.gamma": None, "gone": 0.5, "same": [1, 2]}
    wanted = {"seed": 2, "credit.kind": "terminal", "credit.gamma": 1.0, "same": [1, 2], "new": None}
    assert config_differences(saved, wanted) == [
        "seed: 1 → 2",
        "credit.gamma: None → 1.0",
        "gone: 0.5 → not set",
        "new: not set → None",
    ]
    assert config_differences(saved, dict(reversed(saved.items()))) == []


# ------------------------------------------------------------------------------------------------------ frozen parts


@pytest.fixture
def base() -> Base:
    found = as_base({"table": torch.arange(1000.0), "half": torch.ones(3, dtype=torch.bfloat16)})
    assert found is not None
    return found


def roles(base: Base, number: int) -> dict[str, Any]:
    """Four roles of one network, of which the last is a copy, as a network on another machine has one."""
    assert base.tensors is not None
    now = {"w": torch.full((3,), float(number)), **base.tensors}
    copied = {name: tensor.clone() for name, tensor in now.items()}
    return {"learners": {"weights": now}, "start": dict(now), "best": {"weights": dict(now)}, "judge": copied}


def bases_in(run_dir: Path) -> list[str]:
    return sorted(path.name for path in run_dir.glob("bases/*"))


def test_a_frozen_part_is_written_once_for_all_roles_and_checkpoints(tmp_path: Path, base: Base) -> None:
    for number in (1, 2, 3):
        path = save_checkpoint(tmp_path, roles(base, number), number, bases=(base,))
        assert (path / "tensors.safetensors").stat().st_size < 1000  # four vectors of three numbers
        if number == 1:
            (file,) = tmp_path.glob("bases/*")
            written = file.stat().st_mtime_ns, file.stat().st_ino
    assert bases_in(tmp_path) == [f"{base.digest}.safetensors"]
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == written and file.stat().st_size > 4000
    loaded = load_latest(tmp_path).state
    assert_same(loaded, roles(base, 3))
    # Held in memory once, too.
    assert loaded["start"]["table"] is loaded["learners"]["weights"]["table"] is loaded["judge"]["table"]


def test_only_what_is_the_same_bit_for_bit_is_a_frozen_part(tmp_path: Path) -> None:
    base = as_base({"table": torch.tensor([0.0, 1.0, math.nan])})
    assert base is not None
    others = {
        "sign": {"table": torch.tensor([-0.0, 1.0, math.nan])},
        "kind": {"table": torch.tensor([0.0, 1.0, math.nan], dtype=torch.float64)},
        "shape": {"table": torch.tensor([[0.0, 1.0, math.nan]])},
        "name": {"other": torch.tensor([0.0, 1.0, math.nan])},
        "same": {"table": torch.tensor([0.0, 1.0, math.nan])},
    }
    path = save_checkpoint(tmp_path, others, 1, bases=(base,))
    assert_same(load_latest(tmp_path).state, others)
    state = json.loads((path / "state.json").read_text())["state"]
    assert [name for name in others if "__base__" in str(state[name])] == ["same"]


def test_a_state_without_frozen_parts_is_written_as_before(tmp_path: Path, base: Base) -> None:
    with_bases = save_checkpoint(tmp_path / "one", state_of(1), 1, bases=(base,))
    without = save_checkpoint(tmp_path / "other", state_of(1), 1)
    for name in ("state.json", "tensors.safetensors"):
        assert (with_bases / name).read_bytes() == (without / name).read_bytes()
    assert json.loads((without / "state.json").read_text())["format"] == 1 and not bases_in(tmp_path / "one")


def test_a_frozen_part_goes_when_no_checkpoint_names_it(tmp_path: Path, base: Base) -> None:
    other = as_base({"table": torch.zeros(5)})
    assert other is not None
    save_checkpoint(tmp_path, roles(base, 1), 1, bases=(base,))
    save_checkpoint(tmp_path, roles(other, 2), 2, bases=(other,))
    assert bases_in(tmp_path) == sorted(f"{one.digest}.safetensors" for one in (base, other))
    save_checkpoint(tmp_path, roles(other, 3), 3, bases=(other,))
    assert bases_in(tmp_path) == [f"{other.digest}.safetensors"]
    save_checkpoint(tmp_path, state_of(4), 4, keep=1)
    assert not (tmp_path / "bases").exists()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (Path.unlink, "is missing"),
        (truncate, "HeaderTooLarge|incomplete|invalid|Error|does not match its checksum"),
        (lambda path: save_file({"table": torch.zeros(1000)}, path), "does not match its checksum"),
    ],
)
def test_a_checkpoint_whose_frozen_part_is_damaged_is_passed_over(
    tmp_path: Path, base: Base, damage: Callable[[Path], object], reason: str
) -> None:
    save_checkpoint(tmp_path, state_of(1), 1)
    save_checkpoint(tmp_path, roles(base, 2), 2, bases=(base,))
    damage(tmp_path / "bases" / f"{base.digest}.safetensors")
    loaded = load_latest(tmp_path)
    assert loaded.position == 1 and len(loaded.skipped) == 1
    assert "checkpoint 00000002 is damaged" in loaded.skipped[0]
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(loaded.skipped[0])


def test_a_frozen_part_is_looked_for_by_a_hash_alone(tmp_path: Path, base: Base) -> None:
    """A state may be a stranger's, and is not to lead out of the folder."""
    save_checkpoint(tmp_path, state_of(1), 1)
    path = save_checkpoint(tmp_path, roles(base, 2), 2, bases=(base,)) / "state.json"
    path.write_text(path.read_text().replace(base.digest, "../../other"))
    (sentence,) = load_latest(tmp_path).skipped
    assert "does not match its checksum" in sentence or "is not a hash" in sentence


def test_the_disk_is_full_while_a_frozen_part_is_written(
    tmp_path: Path, base: Base, small_files: Callable[[int], None]
) -> None:
    save_checkpoint(tmp_path, state_of(1), 1)
    small_files(2000)
    with pytest.raises(CheckpointError):
        save_checkpoint(tmp_path, roles(base, 2), 2, bases=(base,))
    assert load_latest(tmp_path).position == 1 and not bases_in(tmp_path)
