"""What a user can get wrong: one clear paragraph, status 2, nothing written, no traceback."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rlgan.envs.tasks import LSTMOracle, TextTask
from tests.support.commands import ask, write_config
from tests.support.tiny import TASK, tiny_config

pytestmark = pytest.mark.integration

GOOD = "".join(f"{a} {b} {c}\n" for a in "abcdefgh" for b in "ijklmnop" for c in "xyz").encode()


def text_file(content: bytes, *options: str) -> Callable[[Path], list[str]]:
    def arguments(folder: Path) -> list[str]:
        (folder / "lines.txt").write_bytes(content)
        return ["--data", str(folder / "lines.txt"), *options]

    return arguments


def npz_file(**changes: np.ndarray | None) -> Callable[[Path], list[str]]:
    def arguments(folder: Path) -> list[str]:
        arrays = {k: v.numpy() for k, v in LSTMOracle.random(20, 8, 8, 6, seed=0).parameters.items()} | changes
        np.savez(folder / "oracle.npz", **{name: array for name, array in arrays.items() if array is not None})
        return ["--oracle-params", str(folder / "oracle.npz")]

    return arguments


def blocked_out(folder: Path) -> list[str]:
    (folder / "file").write_text("")
    return ["--out", str(folder / "file" / "run")]


def file_as_out(folder: Path) -> list[str]:
    (folder / "file").write_text("")
    return ["--out", str(folder / "file")]


def used_out(folder: Path) -> list[str]:
    (folder / "used").mkdir()
    (folder / "used" / "config.json").write_text("{}")
    return ["--out", str(folder / "used")]


def resumed(config: str | None, damaged: bool = False) -> Callable[[Path], list[str]]:
    def arguments(folder: Path) -> list[str]:
        run_dir = folder / "old"
        run_dir.mkdir()
        if config is not None:
            (run_dir / "config.json").write_text(config)
        else:
            write_config(run_dir / "config.json", tiny_config())
        if damaged:
            (run_dir / "checkpoints" / "00000001").mkdir(parents=True)
        return ["--resume", str(run_dir)]

    return arguments


NAN = np.full(8, np.nan, dtype=np.float32)

CASES: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "missing file": (lambda folder: ["--data", str(folder / "nothing.txt")], "nothing.txt: no such file"),
    "folder as file": (lambda folder: ["--data", str(folder)], "is a directory"),
    "empty file": (text_file(b""), "lines.txt: is empty"),
    "only white space": (text_file(b"  \n\t\n\r\n"), "lines are empty"),
    "binary": (text_file(b"\x00\x01\x02\x00" * 50), "[binary_text]"),
    "wrongly encoded": (text_file(GOOD + "café\n".encode("latin-1")), "lines.txt, line 193: byte 0xe9"),
    "utf-16 without its mark": (text_file(GOOD.decode().encode("utf-16-le")), "[binary_text]"),
    "a zip archive": (text_file(b"PK\x03\x04" + bytes(99)), "lines.txt: is a zip archive. Unpack it"),
    "null where a text should be": (
        text_file(b'{"text": "a"}\n{"text": null}\n'),
        "lines.txt, line 2: field 'text' is null",
    ),
    "quotes left open": (text_file(b'text,n\na,1\n"b,2\n'), "[csv_quotes]"),
    "no column is known": (text_file(b"a\tb\n", "--task.format", "table"), "Set --task.column to its name"),
    "cut gzip": (text_file(gzip.compress(GOOD)[:-9]), "[damaged_packing]"),
    "unknown encoding": (text_file(GOOD, "--task.encoding", "utf-9"), "encoding='utf-9': not a text encoding"),
    "one word": (text_file(b"a a\na\na a a\n" * 50), "fewer than 2 distinct tokens"),
    "every line too long": (text_file(GOOD, "--task.max-length", "3"), "every line is too long"),
    "long lines refused": (
        text_file(GOOD + b"a " * 50_000 + b"\n", "--task.over-long", "error"),
        "line 193: the line has 50000 tokens",
    ),
    "fewer than a batch": (text_file(GOOD, "--schedule.mle-batch", "500"), "fewer than one batch"),
    "fewer than a control's batch": (
        text_file(GOOD, "--schedule.mle-epochs", "0", "--schedule.mle-batch", "500", "--controls", '["mle_continued"]'),
        "fewer than one batch",
    ),
    "two lines": (text_file(b"a b\nb a\n"), "too few to split off"),
    "valid fraction without effect": (
        text_file(GOOD, "--task.valid", "v.txt", "--task.valid-fraction", "0.2"),
        "valid_fraction=0.2: has no effect",
    ),
    "missing npz": (lambda folder: ["--oracle-params", str(folder / "no.npz")], "no.npz: no such file"),
    "npz without an array": (npz_file(Wo=None, bo=None), "arrays missing: Wo, bo"),
    "npz of wrong shape": (npz_file(bi=np.zeros((3, 3), dtype=np.float32)), "array bi has shape (3, 3)"),
    "npz with NaN": (npz_file(bi=NAN), "[oracle_array_values]"),
    "npz with objects": (npz_file(bi=np.array([{}] * 8)), "without pickled content"),
    "text as npz": (
        lambda folder: ["--oracle-params", text_file(GOOD)(folder)[1]],
        "not a readable .npz file",
    ),
    "data and oracle": (lambda _: ["--data", "a", "--oracle-params", "b"], "[two_tasks]"),
    "data and task": (lambda _: ["--data", "a", "--task", "images"], "[task_beside_data]"),
    "tokens without data": (lambda _: ["--tokens", "char"], "[tokens_without_data]"),
    "out below a file": (blocked_out, "cannot be created (Not a directory)"),
    "a file as out": (file_as_out, "cannot be created (File exists)"),
    "out with a run": (used_out, "[out_exists]"),
    "resume of no run": (lambda folder: ["--resume", str(folder)], "[not_a_run]"),
    "resume of a damaged configuration": (resumed("{"), "config.json: is damaged"),
    "resume of an unknown configuration": (resumed('{"seed": 1, "sead": 2}'), "sead=2: no such setting"),
    "resume without a checkpoint": (resumed(None), "[no_checkpoint]"),
    "resume of damaged checkpoints": (resumed(None, damaged=True), "[no_whole_checkpoint]"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_paragraph_and_leaves_nothing(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = CASES[case]
    given, work = tmp_path / "given", tmp_path / "work"
    given.mkdir()
    work.mkdir()
    monkeypatch.chdir(work)
    arguments = make(given)
    if "--resume" not in arguments:
        tiny = write_config(given / "tiny.json", tiny_config())
        if "--data" in arguments or "--oracle-params" in arguments:
            values = tiny_config().model_dump(mode="json", exclude={"task", "preset"})
            tiny.write_text(json.dumps(values))
        arguments = [*arguments, "--config", str(tiny)]
        if "--out" not in arguments:
            arguments += ["--out", str(work / "run")]
    before = sorted(given.rglob("*"))
    answer = ask(capsys, "train", *arguments)
    assert answer.status == 2, answer.out
    assert answer.err.startswith("rlgan: ") and message in answer.err
    assert answer.err.count("\n") == 1 and "Traceback" not in answer.err
    assert list(work.iterdir()) == [] and sorted(given.rglob("*")) == before


@pytest.mark.parametrize("over_long", ["drop", "cut"])
def test_a_dirty_file_is_read_and_what_was_done_is_said(
    over_long: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dirty = b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n") + "\r\n  \r\na 🙂 b\x00c\r\n".encode()
    (tmp_path / "lines.txt").write_bytes(dirty + b"a " * 50_000 + b"\r\n")
    config = tiny_config(task=TextTask(data=str(tmp_path / "lines.txt"), max_length=6, over_long=over_long))
    answer = ask(capsys, "train", "--config", write_config(tmp_path / "c.json", config), "--dry-run")
    assert (answer.status, answer.err) == (0, "")
    for note in (
        "read 196 lines",
        "skipped 2 empty lines",
        "replaced 1 control character with a space",
        "removed 1 byte order mark",
        "dropped 1 line longer than 5 tokens" if over_long == "drop" else "cut 1 line to 6 tokens",
    ):
        assert note in answer.out


@pytest.mark.ray
def test_more_workers_than_cpus_are_refused_at_once(
    ray_session: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "c.json", tiny_config(task=TASK))
    answer = ask(capsys, "train", "--config", config, "--workers.rollout", 64, "--out", tmp_path / "run")
    assert answer.status == 2
    assert answer.err.startswith("rlgan: workers: need 65 CPUs (1 × discriminator: 1 CPUs each; 64 × rollout worker")
    assert answer.err.count("\n") == 1 and not (tmp_path / "run").exists()
