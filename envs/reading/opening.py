"""What a file holds, recognised: plain lines, a table, JSON, parquet or FASTA; opened, its text cut into lines.

Content decides: the first bytes, the first record. The end of a name decides where content cannot: text with commas is
a table where the file is named .csv, and plain text otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rlgan.base.errors import DataError

from .characters import as_utf8, decoded, split_lines
from .content import Content, read_content
from .fasta import FASTA_SUFFIXES, looks_like_fasta, looks_like_fastq
from .how import NAMES_OF_FORMATS, FileFormat, How
from .json_records import (
    JSON_LINES_SUFFIXES,
    looks_like_json_array,
    looks_like_json_lines,
    looks_like_one_object,
    refuse_one_object,
)
from .notes import count, shown
from .parquet import MAGIC, ParquetRows
from .tables import ANY_SEPARATOR, TABLE_SUFFIXES, cells_of, is_one_quoted_column, sniffed_separator


@dataclass
class OpenedFile:
    """A file whose format is known.

    Attributes:
        path: of the file.
        format: what it holds; never "auto".
        lines: of its text; none where it is a JSON array or parquet. Records are read out of them, see `rows_of`.
        blank: numbers of empty lines between records, once these were read.
        text: of a JSON array.
        parquet: the open file, where it is one.
        separator: between the columns of a table.
        notes: what was read, and what became of single characters.
    """

    path: str
    format: FileFormat
    lines: list[str] = field(default_factory=list)
    blank: list[int] = field(default_factory=list)
    text: str = ""
    parquet: ParquetRows | None = None
    separator: str = ""
    notes: list[str] = field(default_factory=list)


IsHeader = Callable[[Sequence[str]], bool]


def open_file(path: str, how: How, wanted: str, is_header: IsHeader, *, always_table: bool) -> OpenedFile:
    """Read a file and recognise what it holds.

    Args:
        path: of the file.
        how: what the settings say.
        wanted: what the file should be, for errors.
        is_header: whether the cells of a first row are names of columns that are known.
        always_table: whether text that is nothing else is a table wherever its lines have several columns.

    Raises:
        DataError: it cannot be read, or is not what the settings say.
    """
    content = read_content(path, wanted)
    if content.data.startswith(MAGIC) and how.format in ("auto", "parquet"):
        _require_no_text_settings(path, how, "parquet")
        return OpenedFile(path, "parquet", parquet=ParquetRows(path, content.data), notes=_about(content, "parquet"))
    if how.format == "parquet" or content.suffix == ".parquet":
        raise DataError(
            f"{path}: is not parquet, although its name or format says so. Give a parquet file, or rename the file.",
            code="not_parquet",
            fields={"path": path},
        )
    data, notes = as_utf8(content, how)
    if not data:
        raise DataError(f"{path}: is empty. Give {wanted}.", code="empty_table_file", fields={"path": path})
    if how.format in ("auto", "json") and (how.format == "json" or data[:4096].lstrip()[:1] == b"["):
        text = decoded(path, data, how)
        if how.format == "json" or content.suffix == ".json" or looks_like_json_array(text):
            if looks_like_one_object(text):
                raise refuse_one_object(path, text)
            _require_no_table_settings(path, how, "json")
            return OpenedFile(path, "json", text=text, notes=_about(content, "json") + notes)
    lines, more = split_lines(path, data, how)
    opened = OpenedFile(path, how.format, lines)
    if how.format == "auto":
        opened.format, opened.separator = _recognised(content, data, lines, how, is_header, always_table)
        if opened.format == "lines" and not always_table and _is_quoted_column(lines, how, is_header):
            opened.format, opened.separator = "table", ","
            more.append(
                "every line is in quotes: the file is read as a table with one column, without the quotes. If the "
                f"quotes are part of the text, set {how.options}quotes false"
            )
    elif how.format == "table":
        opened.separator = _separator_of(lines, content.suffix, how)
    if opened.format not in ("table", "lines"):
        _require_no_table_settings(path, how, opened.format)
    if opened.format == "lines":
        for name, value in (("separator", how.separator), ("quotes", how.quotes or None)):
            if value is not None:
                raise DataError(
                    f"{path}: {how.options}{name}={value!r} has no effect on plain lines. Remove it, or set "
                    f"{how.options}format table.",
                    code="no_effect_on_lines",
                    fields={f"{how.options}{name}": value, "path": path},
                )
    opened.notes = [f"read {count(len(lines), 'line')}", *_about(content, opened.format), *notes, *more]
    return opened


def _recognised(
    content: Content, data: bytes, lines: Sequence[str], how: How, is_header: IsHeader, always_table: bool
) -> tuple[FileFormat, str]:
    """The format, and the separator of a table."""
    suffix = content.suffix
    if how.separator is not None:
        return "table", how.separator
    if suffix in JSON_LINES_SUFFIXES or looks_like_json_lines(lines):
        return "jsonl", ""
    if suffix == ".json" or data[:4096].lstrip()[:1] == b"{":
        text = data.decode()
        if looks_like_one_object(text):
            raise refuse_one_object(content.path, text)
        if suffix == ".json":
            raise DataError(
                f"{content.path}: has the name of a .json file but begins with {shown(text.split()[0])}. Give an "
                f"array of records, or one record per line. For plain lines set {how.options}format lines.",
                code="json_name_only",
                fields={"path": content.path},
            )
    if suffix in FASTA_SUFFIXES or looks_like_fasta(lines):
        return "fasta", ""
    if looks_like_fastq(lines):
        raise DataError(
            f"{content.path}: is FASTQ. Extract its sequences first (awk 'NR % 4 == 2' {content.path} > reads.txt) "
            f"and give that file. For plain lines set {how.options}format lines.",
            code="fastq",
            fields={"path": content.path},
        )
    if suffix in TABLE_SUFFIXES:
        return "table", _separator_of(lines, suffix, how)
    separator = sniffed_separator(lines, suffix, how.quotes)
    first = next((line for line in lines if line.strip()), "")
    # A first row of known names is a header, even where a row below it is not what it should be.
    for candidate in ANY_SEPARATOR:
        cells = cells_of(first, candidate)
        if len(cells) > 1 and is_header(cells) and (candidate == separator or all(len(c.split()) == 1 for c in cells)):
            return "table", candidate
    if always_table and "\t" in first:
        return "table", "\t"
    # Sentences have commas, and often equally many.
    if always_table and separator is not None and separator != ",":
        return "table", separator
    if how.quotes:
        return "table", _separator_of(lines, suffix, how)
    return "lines", ""


def _separator_of(lines: Sequence[str], suffix: str, how: How) -> str:
    """Of a file that is a table."""
    if how.separator is not None:
        return how.separator
    if how.quotes is not False and is_one_quoted_column(lines, has_header=True):
        return ","
    usual = TABLE_SUFFIXES.get(suffix, "," if how.quotes else "\t")[0]
    return sniffed_separator(lines, suffix, how.quotes) or usual


def _is_quoted_column(lines: Sequence[str], how: How, is_header: IsHeader) -> bool:
    """Whether text that nothing says to be a table is one of one column, quoted; a header may stand without quotes."""
    first = next((line for line in lines if line.strip()), "")
    return how.quotes is None and is_one_quoted_column(lines, has_header=bool(how.header) or is_header([first]))


def _about(content: Content, format: FileFormat) -> list[str]:
    read_as = [] if format in ("lines", "table") else [f"read as {NAMES_OF_FORMATS[format]}"]
    return [*content.notes, *read_as]


def _require_no_text_settings(path: str, how: How, format: FileFormat) -> None:
    _require_no_table_settings(path, how, format)
    if how.encoding != "utf-8":
        raise DataError(
            f"{path}: is {NAMES_OF_FORMATS[format]}, which defines its own encoding: "
            f"{how.options}encoding={how.encoding!r} has no effect. Remove it.",
            code="format_has_encoding",
            fields={f"{how.options}encoding": how.encoding, "path": path},
        )


def _require_no_table_settings(path: str, how: How, format: FileFormat) -> None:
    for name in ("separator", "quotes", "header"):
        value = getattr(how, name)
        if value is not None:
            raise DataError(
                f"{path}: is {NAMES_OF_FORMATS[format]}, so {how.options}{name}={value!r} has no effect. Remove "
                "it, or set format to the format of the file.",
                code="no_effect_on_format",
                fields={f"{how.options}{name}": value, "path": path},
            )
