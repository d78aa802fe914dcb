"""Data that is handed over in Python: what task it is of, and its way into the folder of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from rlgan.base.errors import ConfigError, DataError
from rlgan.base.files import cannot_write, write_atomically
from rlgan.config.paths import override
from rlgan.storage.checkpoint import CONFIG

if TYPE_CHECKING:
    import pandas

    from rlgan.runs.run import RunRequest

DATA_FILE = "data.jsonl"
"""Name of the file of a run's folder that holds the data of a run that was given lists."""
_SIDES = ("source", "target")


@dataclass(frozen=True, slots=True)
class Given:
    """What a run is to learn from, as it was handed over; at most one of these is.

    Attributes:
        data: the path of a file, or sequences, or pairs.
        pairs: the path of a file, or pairs.
        source: the path of a file, or texts; with `target` beside it.
        target: likewise.
        tokens: what a token is; None is a word.
        demonstrations: the path of a file or folder, or records; with `model` beside it.
        model: language model that learns from demonstrations, or from `data`: a folder, or a name on the hub.
    """

    data: str | Path | Iterable[Any] | None = None
    pairs: str | Path | Iterable[Any] | None = None
    source: str | Path | Iterable[str] | None = None
    target: str | Path | Iterable[str] | None = None
    tokens: str | None = None
    demonstrations: str | Path | Iterable[Any] | None = None
    model: str | Path | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """The task that was asked for by data.

    Attributes:
        task: plain values of its settings; None where there is no data.
        rows: records that are to be written down for it; None where it is read from files of the user's own.
    """

    task: dict[str, Any] | None
    rows: list[dict[str, Any]] | None = None


def task_of(given: Given) -> Asked:
    """The task that data asks for.

    Args:
        given: the data.

    Raises:
        ConfigError: two are given, or half of one.
        DataError: what is given holds nothing, or something else than texts.
    """
    both = given.source is not None or given.target is not None
    named = {
        "data": given.data is not None,
        "pairs": given.pairs is not None,
        "source and target": both,
        "demonstrations": given.demonstrations is not None,
    }
    asked = [name for name, is_given in named.items() if is_given]
    if len(asked) > 1:
        raise ConfigError(f"{', '.join(asked)}: a run has only one task. Remove all but one.", code="api_two_tasks")
    if given.model is not None or given.demonstrations is not None:
        return _demonstrations(given)
    if not asked:
        if given.tokens is not None:
            raise ConfigError(
                "tokens: has no effect without data. Give data, or remove it.", code="api_tokens_without_data"
            )
        return Asked(None)
    if both and (given.source is None or given.target is None):
        alone, other = ("source", "target") if given.target is None else ("target", "source")
        raise ConfigError(
            f"{alone}: {other} is missing, and each source needs a target. Give both.", code="api_lacks_side"
        )
    cut = given.tokens or "word"
    if given.data is not None:
        if (path := _path("data", given.data)) is not None:
            return Asked({"kind": "text", "data": path, "tokens": cut})
        rows = _rows("data", given.data)
        if "text" in rows[0]:
            return Asked({"kind": "text", "data": DATA_FILE, "tokens": cut}, rows)
        return Asked(_pairs({"kind": "file", "data": DATA_FILE}, cut), rows)
    if given.pairs is not None:
        if (path := _path("pairs", given.pairs)) is not None:
            return Asked(_pairs({"kind": "file", "data": path}, cut))
        rows = _rows("pairs", given.pairs)
        if "text" in rows[0]:
            raise DataError(
                "pairs[0]: is a single text; expected a source and a target. Give texts as data.",
                code="api_pairs_are_texts",
            )
        return Asked(_pairs({"kind": "file", "data": DATA_FILE}, cut), rows)
    assert given.source is not None and given.target is not None
    source, target = _path("source", given.source), _path("target", given.target)
    if (source is None) != (target is None):
        raise ConfigError(
            "source and target: one is a path, the other is not. Give two paths, or two lists.",
            code="api_path_and_list",
        )
    if source is not None:
        return Asked(_pairs({"kind": "parallel", "source": source, "target": target}, cut))
    return Asked(_pairs({"kind": "file", "data": DATA_FILE}, cut), _beside(given.source, given.target))


def _demonstrations(given: Given) -> Asked:
    """The task of prompts and completions that a language model learns."""
    from rlgan.base.pretrained import model_source

    if given.model is None:
        raise ConfigError(
            (
                "demonstrations: model is missing, and its tokeniser is needed. Give the folder of a language model, "
                "or its name on the hub."
            ),
            code="api_lacks_model",
        )
    name = "data" if given.demonstrations is None else "demonstrations"
    shown = given.data if given.demonstrations is None else given.demonstrations
    if shown is None:
        raise ConfigError(
            "model: has no effect without demonstrations. Give demonstrations: a file, or a list of records with "
            "prompt and completion.",
            code="api_model_without_demonstrations",
        )
    if given.tokens is not None:
        raise ConfigError(
            "tokens: has no effect with model, which has its own tokens. Remove it.", code="api_tokens_of_model"
        )
    task = {"kind": "demonstrations", "model": model_source(str(given.model)).model_dump(mode="json")}
    if (path := _path(name, shown)) is not None:
        return Asked({**task, "demonstrations": path})
    return Asked({**task, "demonstrations": DATA_FILE}, _records(name, shown))


def _records(name: str, given: Any) -> list[dict[str, Any]]:
    """Records as they are, with all their fields; pairs are prompts and completions, and lists of messages chats."""
    if isinstance(given, Mapping):
        raise DataError(
            f"{name}: holds {', '.join(map(str, given)) or 'nothing'} by name. Give one of them, such as "
            f"{name}=DATASETS['train'].",
            code="data_of_several_splits",
            fields={"name": name},
        )
    values: list[Any] = given.to_dict("records") if _is_frame(given) else list(given)
    if not values:
        raise DataError(f"{name}: is empty. Give records.", code="demonstrations_empty", fields={"name": name})
    return [_record(f"{name}[{number}]", value) for number, value in enumerate(values)]


def _record(where: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        value = {"text": value}
    elif isinstance(value, list | tuple) and value and all(isinstance(one, Mapping) for one in value):
        value = {"messages": list(value)}
    elif isinstance(value, list | tuple) and len(value) == 2:
        value = dict(zip(("prompt", "completion"), value, strict=True))
    if not isinstance(value, Mapping):
        raise DataError(
            f"{where}: is {value!r:.80}; expected a record such as {{'prompt': ..., 'completion': ...}}. Fix it.",
            code="data_no_record",
            fields={"where": where},
        )
    record = {}
    for field, held in value.items():
        try:
            record[str(field)] = json.loads(json.dumps(held, ensure_ascii=False, default=_plain))
        except (TypeError, ValueError) as error:
            raise DataError(
                (
                    f"{where}: field {field!r} is {held!r:.80}, which cannot be written as JSON ({error}). Convert it "
                    "to text, a number, a list or a dictionary, or remove it."
                ),
                code="data_not_json",
                fields={"where": where},
            ) from None
        if isinstance(record[str(field)], float) and record[str(field)] != record[str(field)]:
            record[str(field)] = None  # how a table says that there is nothing
    return record


def _plain(value: Any) -> Any:
    """Arrays and numbers of other libraries, and dates, as JSON knows them."""
    for method in ("tolist", "isoformat"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError(f"{type(value).__name__} is no JSON value")


def located_at(task: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Values of a task whose rows were written to a file.

    Args:
        task: of `task_of`, with rows.
        path: of the file.
    """
    if "input" in task:
        return {**task, "input": {"kind": "file", "data": str(path)}}
    return {**task, "demonstrations" if task["kind"] == "demonstrations" else "data": str(path)}


def _pairs(files: Mapping[str, Any], tokens: str) -> dict[str, Any]:
    cut = {"kind": tokens}
    return {"kind": "pairs", "input": files, "vocabulary": {"kind": "separate", "source": cut, "target": cut}}


def _path(name: str, given: Any) -> str | None:
    """The path that is given; None where it is no path."""
    if not isinstance(given, str | Path):
        return None
    if "\n" in str(given):
        raise ConfigError(
            f"{name}: is one string with several lines. Give a path, or a list of strings: {name}.splitlines().",
            code="data_is_one_string",
            fields={"name": name},
        )
    if not str(given):
        raise ConfigError(
            f"{name}: is an empty string. Give a path, or a list of strings.",
            code="data_is_empty_string",
            fields={"name": name},
        )
    return str(given)


def _rows(name: str, given: Any) -> list[dict[str, str]]:
    """Strings, pairs of strings, or records, as records of "text", or of "source" and "target"."""
    if isinstance(given, tuple) and len(given) == 2 and not any(isinstance(side, str | Mapping) for side in given):
        return _beside(*given)
    values: list[Any] = given.to_dict("records") if _is_frame(given) else list(given)
    if not values:
        raise DataError(
            f"{name}: is empty. Give strings, or pairs of strings.", code="data_empty", fields={"name": name}
        )
    columns = _columns(name, values[0])
    return [_row(f"{name}[{number}]", value, columns) for number, value in enumerate(values)]


def _is_frame(given: Any) -> TypeGuard[pandas.DataFrame]:
    """Whether it is a table of pandas, whose iteration gives names of columns."""
    return hasattr(given, "to_dict") and hasattr(given, "columns") and hasattr(given, "iterrows")


def _columns(name: str, first: Any) -> tuple[str, ...]:
    """What each row holds: () is a string, two names a pair, and one name, in a record, a text."""
    if isinstance(first, str):
        return ()
    if not isinstance(first, Mapping):
        return _SIDES
    if all(side in first for side in _SIDES):
        return _SIDES
    if "text" in first:
        return ("text",)
    if len(first) == 1:
        return tuple(first)
    raise DataError(
        f"{name}: has the columns {', '.join(map(str, first))}; it is not clear which to use. Name one column "
        f"text, or two source and target; or give one column ({name}=TABLE[COLUMN]), or two as source and target.",
        code="data_columns_unclear",
        fields={"name": name},
    )


def _row(where: str, value: Any, columns: tuple[str, ...]) -> dict[str, str]:
    """A value as a record; it has to be as the first was."""
    parts: tuple[Any, ...] = ()
    if not columns:
        parts = (value,)
    elif isinstance(value, Mapping):
        parts = tuple(value.get(column) for column in columns)
    elif columns == _SIDES and isinstance(value, Sequence) and not isinstance(value, str):
        parts = tuple(value)
    wanted = "a pair of strings" if columns == _SIDES else "a string" if not columns else f"a string as {columns[0]!r}"
    if len(parts) != max(1, len(columns)) or not all(isinstance(part, str) for part in parts):
        raise DataError(
            f"{where}: is {value!r:.80}, but the elements before are {wanted}. Fix this element.",
            code="data_element",
            fields={"where": where},
        )
    return dict(zip(_SIDES if len(parts) == 2 else ("text",), parts, strict=True))


def _beside(sources: Any, targets: Any) -> list[dict[str, str]]:
    """Sources and targets as records."""
    sides = list(sources), list(targets)
    if len(sides[0]) != len(sides[1]):
        raise DataError(
            f"source and target: have {len(sides[0])} and {len(sides[1])} elements. Give equal numbers.",
            code="data_unequal",
        )
    if not sides[0]:
        raise DataError("source and target: are empty. Give strings.", code="api_sides_empty")
    for name, side in zip(_SIDES, sides, strict=True):
        for number, value in enumerate(side):
            if not isinstance(value, str):
                raise DataError(
                    f"{name}[{number}]: is {value!r:.80}; expected a string. Fix it.", code="data_side_element"
                )
    return [dict(zip(_SIDES, pair, strict=True)) for pair in zip(*sides, strict=True)]


@contextmanager
def written(rows: Sequence[Mapping[str, Any]], folder: Path, sign: str) -> Iterator[Path]:
    """Records in a file of a folder, for as long as something is to come of it; else they are removed again.

    Args:
        rows: to be written, one JSON object a line.
        folder: made where it is missing.
        sign: name of the file by which something has come of it.

    Raises:
        DataError: there is data already.
        CheckpointError: nothing can be written there.
    """
    path, existed = folder / DATA_FILE, folder.exists()
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
    try:
        write_atomically(path, lambda beside: beside.write_text(text, "utf-8"))
        yield path
    finally:
        if not (folder / sign).exists():
            path.unlink(missing_ok=True)
            if not existed and not any(folder.iterdir()):
                folder.rmdir()


@contextmanager
def with_rows(request: RunRequest, asked: Asked) -> Iterator[RunRequest]:
    """The request of a run with its data in its folder, if there is any to be written there.

    Args:
        request: of a new run.
        asked: its task.
    """
    from rlgan.runs.run import new_folder

    if asked.rows is None:
        yield request
        return
    existed = request.run_dir is not None and request.run_dir.exists()
    folder = new_folder(request)
    try:
        with written(asked.rows, folder, CONFIG) as path:
            assert asked.task is not None
            places = {"text": "task.data", "pairs": "task.input.data", "demonstrations": "task.demonstrations"}
            setting = places[asked.task["kind"]]
            yield replace(request, config=override(request.config, {setting: str(path)}), run_dir=folder)
    finally:
        if not existed and not any(folder.iterdir()):
            folder.rmdir()
