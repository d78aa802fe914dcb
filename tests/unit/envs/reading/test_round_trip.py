"""What writers of CSV, JSON and parquet write is read back as it was."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlgan.envs.reading import How, Wanted, read_pairs_of_file, read_texts

# Everything but what is read as a space, half characters, and the byte order mark, which is taken off lines.
_SPACES = "".join(map(chr, [*range(9), *range(10, 32), *range(0x7F, 0xA0), 0x2028, 0x2029, 0xFEFF]))
text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters=_SPACES), max_size=12)
cell = text.filter(lambda value: value.strip() != "")
pairs = st.lists(st.tuples(cell, cell), min_size=1, max_size=8)

SIDES = Wanted("source", "--task.input.source"), Wanted("target", "--task.input.target")
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}


def as_csv(rows: list[tuple[str, str]], **dialect: object) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, **dialect)  # type: ignore[arg-type]
    writer.writerows([("source", "target"), *rows])
    return buffer.getvalue().encode()


def as_json_lines(rows: list[tuple[str, str]], **options: bool) -> bytes:
    return "".join(json.dumps({"source": s, "target": t}, **options) + "\n" for s, t in rows).encode()  # type: ignore[arg-type]


def as_arrow(rows: list[tuple[str, str]], write: Callable[[pa.Table, io.BytesIO], None]) -> bytes:
    buffer = io.BytesIO()
    write(pa.table({"source": [s for s, _ in rows], "target": [t for _, t in rows]}), buffer)
    return buffer.getvalue()


WRITERS: dict[str, tuple[str, Callable[[list[tuple[str, str]]], bytes]]] = {
    "csv": (".csv", as_csv),
    "csv, all quoted": (".csv", lambda rows: as_csv(rows, quoting=csv.QUOTE_ALL)),
    "csv of pyarrow": (".csv", lambda rows: as_arrow(rows, pa.csv.write_csv)),
    "semicolons": (".csv", lambda rows: as_csv(rows, delimiter=";", lineterminator="\n")),
    "json lines": (".jsonl", as_json_lines),
    "json lines, unescaped": ("", lambda rows: as_json_lines(rows, ensure_ascii=False)),
    "json array": ("", lambda rows: json.dumps([{"source": s, "target": t} for s, t in rows], indent=1).encode()),
    "parquet": ("", lambda rows: as_arrow(rows, pq.write_table)),
}


@pytest.mark.property
@pytest.mark.parametrize("writer", WRITERS)
@given(rows=pairs, packing=st.sampled_from(sorted(PACKERS)))
def test_pairs_are_read_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, writer: str, rows: list[tuple[str, str]], packing: str
) -> None:
    suffix, write = WRITERS[writer]
    path = tmp_path_factory.mktemp("pairs") / f"pairs{suffix}{packing}"
    path.write_bytes(PACKERS[packing](write(rows)))
    found = read_pairs_of_file(str(path), How(), *SIDES)
    assert list(zip(found.sources, found.targets, strict=True)) == rows


@pytest.mark.property
@given(lines=st.lists(text, min_size=1, max_size=8), end=st.sampled_from(["\n", "\r\n"]), last=st.booleans())
def test_lines_are_read_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], end: str, last: bool
) -> None:
    path: Path = tmp_path_factory.mktemp("lines") / "lines.txt"
    written = end.join(lines) + (end if last or not lines[-1] else "")
    path.write_bytes(written.encode())
    found = read_texts(str(path), How(format="lines"), Wanted("text", "--task.column"), "text")
    assert list(found.texts) == lines
    assert not any("space" in note for note in found.notes)


@pytest.mark.property
@given(value=st.text(st.characters(exclude_categories=("Cs",)), max_size=20))
def test_one_line_comes_of_every_text(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    path: Path = tmp_path_factory.mktemp("one") / "one.json"
    path.write_text(json.dumps([{"text": value}]), encoding="utf-8")
    (found,) = read_texts(str(path), How(), Wanted("text", "--task.column"), "text").strings
    # What reads lines in other ways sees one line, too.
    assert len(f"-{found}-".splitlines()) == 1
    assert len(found) == len(value.replace("\r\n", "\n"))
