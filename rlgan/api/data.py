"""Data that is handed over in Python: what task it is of, and its way into the folder of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlgan.base.errors import ConfigError, DataError
from rlgan.base.files import cannot_write, write_atomically
from rlgan.config.paths import override
from rlgan.storage.checkpoint import CONFIG

if TYPE_CHECKING:
    from rlgan.runs.run import RunRequest

DATA_FILE = "data.jsonl"
"""Name of the file of a run's folder that holds the data of a run that was given lists."""


def task_of(
    data: str | Path | Iterable[Any] | None, tokens: str | None
) -> tuple[dict[str, Any] | None, list[dict[str, str]] | None]:
    """Values of the task that `data` asks for, and the rows that are to be written down for it."""
    if data is None:
        if tokens is not None:
            raise ConfigError(
                "tokens: has no effect without data. Give data, or remove it.", code="api_tokens_without_data"
            )
        return None, None
    cut = tokens or "word"
    if isinstance(data, Path) or (isinstance(data, str) and "\n" not in data):
        return {"kind": "text", "data": str(data), "tokens": cut}, None
    if isinstance(data, str):
        raise ConfigError(
            "data: is one string with several lines. Give a path, or a list of strings: data.splitlines().",
            code="data_is_one_string",
        )
    rows = rows_of(data)
    if "text" in rows[0]:
        return {"kind": "text", "data": DATA_FILE, "tokens": cut}, rows
    vocabulary = {"kind": "separate", "source": cut, "target": cut}
    return {"kind": "pairs", "input": {"kind": "file", "data": DATA_FILE}, "vocabulary": vocabulary}, rows


def rows_of(data: Iterable[Any]) -> list[dict[str, str]]:
    """Strings, or pairs of strings, as records."""
    if isinstance(data, tuple) and len(data) == 2 and not any(isinstance(side, str) for side in data):
        sources, targets = map(list, data)
        if len(sources) != len(targets):
            raise DataError(
                f"data: has {len(sources)} sources and {len(targets)} targets. Give equal numbers.", code="data_unequal"
            )
        values: list[Any] = list(zip(sources, targets, strict=True))
    else:
        values = list(data)
    if not values:
        raise DataError("data: is empty. Give strings, or pairs of strings.", code="data_empty")
    is_pair = not isinstance(values[0], str)
    rows = []
    for number, value in enumerate(values):
        pair = () if isinstance(value, str) or not isinstance(value, Sequence) else tuple(value)
        if not is_pair and isinstance(value, str):
            rows.append({"text": value})
        elif is_pair and len(pair) == 2 and all(isinstance(side, str) for side in pair):
            rows.append({"source": pair[0], "target": pair[1]})
        else:
            wanted = "a pair of strings" if is_pair else "a string"
            raise DataError(
                f"data[{number}]: is {value!r:.80}, but the elements before are {wanted}. Fix this element.",
                code="data_element",
            )
    return rows


def write_rows(rows: Sequence[Mapping[str, str]], folder: Path) -> Path:
    """Write data into a folder, which is made where it is missing."""
    path = folder / DATA_FILE
    if path.exists():
        raise DataError(
            f"{path}: already exists, but the data must be written there. Use another folder with out.",
            code="data_folder_taken",
            fields={"path": path},
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomically(path, lambda beside: beside.write_text(text, "utf-8"))
    return path


@contextmanager
def with_rows(request: RunRequest, rows: Sequence[Mapping[str, str]]) -> Iterator[RunRequest]:
    """The request with its data written into its folder; what was written is removed again if no run comes of it."""
    from rlgan.runs.run import RunRequest, new_folder

    existed = request.run_dir is not None and request.run_dir.exists()
    folder = new_folder(request)
    path = write_rows(rows, folder)
    setting = "task.data" if "text" in rows[0] else "task.input.data"
    config = override(request.config, {setting: str(path)})
    try:
        yield RunRequest(config, folder, resume=False, storage=request.storage)
    finally:
        if not (folder / CONFIG).exists():
            path.unlink(missing_ok=True)
            if not existed and not any(folder.iterdir()):
                folder.rmdir()
