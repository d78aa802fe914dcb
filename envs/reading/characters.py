"""Characters and lines: bytes become UTF-8, UTF-8 becomes lines, and what would break a line elsewhere is a space.

A line ends with LF or CR LF; with CR in a text that has no LF at all. Every other character that breaks lines somewhere
(CR, VT, FF, NEL, U+2028, U+2029), and every other control character but the tab, is read as a space and counted.
Text is taken as it stands otherwise: no Unicode normalisation.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from dataclasses import dataclass, field

from rlgan.base.errors import ConfigError, DataError, nearest

from .content import Content
from .how import How
from .notes import count

_BLOCK = 1 << 24  # bytes that are decoded together: what stands beside the lines is one block

_BYTE_ORDER_MARK = "\ufeff"
# UTF-32's begins with UTF-16's, so it is looked for first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

# Control characters (Unicode category Cc) but tab and line feed, and the separators of lines and paragraphs.
_BREAKS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_ASCII_CONTROLS = bytes([*range(9), *range(0x0B, 0x0D), *range(0x0E, 0x20), 0x7F])  # and CR, which is counted apart
_WIDE_BREAKS = re.compile(b"\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")
_SEPARATORS = "\u2028\u2029"
_NAMES = {"\n": "line break", "\r": "carriage return", "\x0b": "vertical tab", "\x0c": "form feed", "\x85": "next line"}


def known_encoding(value: str) -> str:
    """The name of a character encoding as it was given.

    Raises:
        ConfigError: no text is written in it.
    """
    try:
        "a".encode(value).decode(value)
    except (LookupError, UnicodeError, ValueError) as error:
        known = ("utf-8", "utf-16", "latin-1", "cp1252", "ascii", "gb18030", "big5", "shift_jis", "euc-kr")
        raise ConfigError(
            f"encoding={value!r}: not a text encoding that Python knows. Use one of Python's encodings, for "
            f"instance {', '.join(known)}." + nearest(value, known),
            code="unknown_encoding",
            fields={"encoding": value},
        ) from error
    return value


@dataclass
class Spaces:
    """Characters that were read as spaces, or taken away.

    Attributes:
        breaks: how often each character was read as a space.
        num_marks: how many byte order marks were taken away.
    """

    breaks: Counter[str] = field(default_factory=Counter)
    num_marks: int = 0

    def notes(self, where: str = "") -> list[str]:
        """What was done, for the log; `where` stands behind each count (" within cells")."""
        controls = Counter({name: number for name, number in self.breaks.items() if name not in _SEPARATORS})
        notes = []
        if controls:
            named = [count(number, _NAMES[name]) for name, number in sorted(controls.items()) if name in _NAMES]
            which = f" ({', '.join(named)})" if named else ""
            notes.append(f"replaced {count(controls.total(), 'control character')}{where} with a space{which}")
        if separators := self.breaks.total() - controls.total():
            notes.append(f"replaced {count(separators, 'line separator')} (U+2028, U+2029){where} with a space")
        if self.num_marks:
            notes.append(f"removed {count(self.num_marks, 'byte order mark')}")
        return notes


def one_line(text: str, spaces: Spaces) -> str:
    """Text with a space for everything that breaks lines, line feeds included, and for control characters."""
    if text.isprintable():
        return text
    text = text.replace("\r\n", "\n")
    if num_breaks := text.count("\n"):
        spaces.breaks["\n"] += num_breaks
        text = text.replace("\n", " ")
    return _without_breaks(text, spaces)


def _without_breaks(text: str, spaces: Spaces) -> str:
    found = _BREAKS.findall(text)
    if not found:
        return text
    spaces.breaks.update(found)
    return _BREAKS.sub(" ", text)


def as_utf8(content: Content, how: How) -> tuple[bytes, list[str]]:
    """The text of a file in UTF-8, not yet checked to be that where it is said to be, and what was noticed.

    A byte order mark at the beginning tells the encoding, whatever the settings say, and is taken away.

    Raises:
        DataError: it is not text in that encoding.
    """
    data, encoding, notes = content.data, how.encoding, []
    for mark, of_mark in _MARKS:
        if data.startswith(mark):
            data, encoding = data[len(mark) :], of_mark
            described = "" if of_mark == "utf-8" else f", which says {of_mark}"
            notes.append(f"removed 1 byte order mark{described}")
            break
    if codecs.lookup(encoding).name != "utf-8":
        try:
            data = data.decode(encoding).encode()
        except UnicodeDecodeError as error:
            raise _not_in_encoding(content.path, data, error, encoding, how) from error
        except UnicodeError as error:
            raise DataError(
                f"{content.path}: is not {encoding} ({error}). Save it as {encoding}, or set {how.options}encoding "
                "to the encoding of the file.",
                code="wrong_encoding",
                fields={"path": content.path},
            ) from error
    # A few stray NULs are dirt; many are a binary file or two bytes a character.
    if (num_zeros := data.count(b"\x00")) > 0.05 * len(data):
        raise DataError(
            f"{content.path}: looks like a binary file, or like UTF-16 read as {encoding}: {num_zeros} of "
            f"{len(data)} bytes are NUL. Give a text file, or set {how.options}encoding to the encoding of the "
            "file (for instance utf-16-le).",
            code="binary_text",
            fields={"path": content.path},
        )
    return data, notes


def _not_in_encoding(path: str, data: bytes, error: UnicodeDecodeError, encoding: str, how: How) -> DataError:
    line = data.count(b"\n" if b"\n" in data else b"\r", 0, error.start) + 1
    return DataError(
        f"{path}, line {line}: byte {data[error.start]:#04x} at offset {error.start} is not {encoding} "
        f"({error.reason}). Save the file as {encoding}, or set {how.options}encoding to the encoding of the file "
        "(for instance cp1252)."
        + (" The file contains zero bytes, as UTF-16 files and binary files do." if b"\x00" in data else ""),
        code="undecodable_byte",
        fields={"path": path, "line": line},
    )


def decoded(path: str, data: bytes, how: How) -> str:
    """UTF-8 as one text.

    Raises:
        DataError: it is not UTF-8; names the line and the byte.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _not_in_encoding(path, data, error, "utf-8", how) from error


def split_lines(path: str, data: bytes, how: How) -> tuple[list[str], list[str]]:
    """The lines of a text in UTF-8, without their ends; line i + 1 of the file is the i-th.

    Returns:
        The lines, and notes of what became a space or was taken away.

    Raises:
        DataError: it is not UTF-8; names the line and the byte.
    """
    spaces, lines, start = Spaces(), list[str](), 0
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    while start < len(data):
        end = data.find(b"\n", start + _BLOCK) + 1 or len(data)
        block = data[start:end]
        try:
            text = block.decode()
        except UnicodeDecodeError as error:
            error = UnicodeDecodeError("utf-8", data, start + error.start, start + error.end, error.reason)
            raise _not_in_encoding(path, data, error, "utf-8", how) from error
        num_returns = block.count(b"\r")
        if num_returns:
            text = text.replace("\r\n", "\n")
            num_returns -= block.count(b"\r\n")
        # Not str.splitlines: that would cut at form feeds and at Unicode's own separators, which are spaces here.
        has_controls = num_returns > 0 or len(block.translate(None, _ASCII_CONTROLS)) < len(block)
        if has_controls or (not text.isascii() and _WIDE_BREAKS.search(block)):
            text = _without_breaks(text, spaces)
        some = text.removesuffix("\n").split("\n")
        if _BYTE_ORDER_MARK in text:
            spaces.num_marks += sum(line.startswith(_BYTE_ORDER_MARK) for line in some)
            some = [line.lstrip(_BYTE_ORDER_MARK) for line in some]
        lines += some
        start = end
    return lines, spaces.notes()
