"""Whole records of a file, as they are: nothing is cleaned, and a line break within a string stays one.

For whoever reads more of a record than one text, or two. Beside the files that all tasks read, a folder that
`datasets.save_to_disk` wrote is one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from rlgan.base.errors import DataError

from .how import How
from .notes import count
from .opening import open_file
from .table_columns import table_of
from .texts import no_record, records_of, skipped, unit_of

Record = Mapping[str, Any]

SPLITS_FILE = "dataset_dict.json"
"""In a folder of several splits."""
_ARROW_SUFFIX = ".arrow"


@dataclass
class RecordFile:
    """The records of a file.

    Attributes:
        path: of the file.
        records: name of a field → value, each.
        numbers: on which line each stands, or which record or row it is.
        unit: which of these `numbers` count: "line", "record" or "row".
        notes: what was read and left out.
    """

    path: str
    records: list[Record]
    numbers: list[int]
    unit: str
    notes: list[str] = field(default_factory=list)

    def where(self, place: int) -> str:
        """File and line of a record, for messages."""
        return f"{self.path}, {self.unit} {self.numbers[place]}"


def read_records(path: str, how: How, description: str) -> RecordFile:
    """Read a file, or a folder of a data set, whose rows have named fields.

    Args:
        path: of the file or folder.
        how: how it is read.
        description: what it should be, for errors: "a file of demonstrations".

    Raises:
        DataError: it cannot be read, its fields have no names, or it holds none.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        return _of_folder(path, folder)
    opened = open_file(path, how, description, lambda cells: len(cells) > 1, always_table=False)
    if opened.format == "lines":
        numbered = [(number, line) for number, line in enumerate(opened.lines, 1) if line.strip()]
        blank = [number for number, line in enumerate(opened.lines, 1) if not line.strip()]
        records: list[Record] = [{"text": line} for _, line in numbered]
        notes = [*opened.notes, *skipped(blank)]
        return RecordFile(path, records, [number for number, _ in numbered], "line", notes)
    if opened.format == "fasta":
        raise DataError(
            f"{path}: is FASTA, but {description} needs named fields. Give JSON lines, a table or parquet.",
            code="records_from_fasta",
            fields={"path": path},
        )
    if opened.format == "table":
        table = table_of(opened, how, lambda cells: True, [])
        if table.names is None:
            raise DataError(
                (
                    f"{path}: its columns have no names (header is false), but {description} is read by name. Add a "
                    "first row with names."
                ),
                code="records_without_names",
                fields={"path": path},
            )
        names, records, numbers = table.names, [], []
        for number, cells in table.rows:
            records.append(dict(zip(names, cells, strict=False)))
            numbers.append(number)
        notes = [*opened.notes, *table.notes, *skipped(opened.blank)]
        return _required(RecordFile(path, records, numbers, "line", notes))
    found = _objects(path, unit_of(opened), records_of(opened, None))
    numbers = [number for number, _ in found]
    notes = [*opened.notes, *skipped(opened.blank)]
    if opened.format != "jsonl":
        notes.insert(0, f"read {count(len(found), unit_of(opened))}")
    if not found:
        raise no_record(opened)
    return RecordFile(path, [record for _, record in found], numbers, unit_of(opened), notes)


def _objects(path: str, unit: str, found: Iterable[tuple[int, Any]]) -> list[tuple[int, Record]]:
    records = []
    for number, held in found:
        value = {"text": held} if isinstance(held, str) else held
        if not isinstance(value, Mapping):
            raise DataError(
                (
                    f"{path}, {unit} {number}: contains {type(value).__name__}, expected an object with named fields. "
                    'Write it as {"prompt": "...", "completion": "..."}, or remove it.'
                ),
                code="record_without_fields",
                fields={"path": path},
            )
        records.append((number, value))
    return records


def _required(file: RecordFile) -> RecordFile:
    if not file.records:
        raise DataError(
            f"{file.path}: contains no records. Give a file with at least one.",
            code="no_named_records",
            fields={"path": file.path},
        )
    return file


def splits_of_folder(path: str) -> tuple[str, ...]:
    """Names of the splits of a folder that `DatasetDict.save_to_disk` wrote; () of any other path."""
    file = Path(path).expanduser() / SPLITS_FILE
    if not file.is_file():
        return ()
    try:
        return tuple(json.loads(file.read_text("utf-8"))["splits"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file}: cannot be read ({error}). Write the data set again.", code="arrow_unreadable"
        ) from None


def _of_folder(path: str, folder: Path) -> RecordFile:
    if (folder / SPLITS_FILE).is_file():
        splits = splits_of_folder(path)
        raise DataError(
            (
                f"{path}: is a data set of several splits ({', '.join(splits)}). Give the folder of one split: "
                f"{folder / splits[0] if splits else folder}."
            ),
            code="several_splits",
            fields={"path": path},
        )
    files = sorted(folder.glob(f"*{_ARROW_SUFFIX}"))
    state = folder / "state.json"
    if state.is_file():
        try:
            # As save_to_disk wrote them, in order; nothing else that lies there.
            files = [folder / one["filename"] for one in json.loads(state.read_text("utf-8"))["_data_files"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{state}: cannot be read ({error}). Write the data set again.", code="dataset_state_unreadable"
            ) from None
    parquet = sorted(folder.glob("*.parquet"))
    if not files and not parquet:
        raise DataError(
            (
                f"{path}: is a folder without *.arrow or *.parquet. Give a file, or a folder written by save_to_disk "
                "of the library datasets."
            ),
            code="no_arrow_or_parquet",
            fields={"path": path},
        )
    records = [record for file in files for record in _of_arrow(file)]
    if not files:
        from .content import read_content
        from .parquet import ParquetRows

        for one in parquet:
            rows = ParquetRows(str(one), read_content(str(one), "parquet").data)
            records += [record for _, record in rows.records()]
    notes = [f"read {count(len(records), 'row')} of {count(len(files) or len(parquet), 'file')} in a folder"]
    return _required(RecordFile(path, records, list(range(1, len(records) + 1)), "row", notes))


def _of_arrow(path: Path) -> Iterator[Record]:
    try:
        with pa.memory_map(str(path)) as source:
            try:
                batches: Iterable[pa.RecordBatch] = pa.ipc.open_stream(source)
            except pa.ArrowInvalid:
                source.seek(0)
                file = pa.ipc.open_file(source)
                batches = (file.get_batch(index) for index in range(file.num_record_batches))
            for batch in batches:
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: damaged or truncated Arrow data ({error}). Write the data set again.",
            code="arrow_damaged",
            fields={"path": path},
        ) from None
