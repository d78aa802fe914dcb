"""Records in JSON: one a line, or the elements of one array; each is parsed when it is asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlgan.base.errors import DataError

from .notes import beginning, shown

JSON_LINES_SUFFIXES = (".jsonl", ".ndjson", ".jsonlines")

_SPACE = re.compile(r"[ \t\r\n]*")


class _RepeatedNameError(ValueError):
    pass


def _as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise _RepeatedNameError(f"field {repeated!r} appears {names.count(repeated)} times in one object")
    return found


# Control characters within strings are read as spaces later, and counted.
_DECODER = json.JSONDecoder(object_pairs_hook=_as_object, strict=False)


def looks_like_json_lines(lines: Sequence[str]) -> bool:
    """Whether the first line that is not empty is a JSON object with a field."""
    first = next((line for line in lines if line.strip()), "")
    return first.lstrip().startswith("{") and bool(_parsed_or_none(first))


def _parsed_or_none(text: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def looks_like_json_array(text: str) -> bool:
    """Whether a text begins like an array of objects, or is one of strings."""
    start = _after_space(text, 0)
    if text[start : start + 1] != "[":
        return False
    start = _after_space(text, start + 1)
    try:
        first, end = json.JSONDecoder(strict=False).raw_decode(text, start)
    except (ValueError, RecursionError):
        return False
    follows = text[(place := _after_space(text, end)) : place + 1]
    if isinstance(first, dict):
        return follows in (",", "]")
    return isinstance(first, str) and follows in (",", "]") and text.rstrip()[-1:] == "]" and "[" not in text[end:]


def looks_like_one_object(text: str) -> bool:
    """Whether a text is, or begins with, one JSON object over several lines."""
    start = _after_space(text, 0)
    if text[start : start + 1] != "{":
        return False
    try:
        return bool(json.JSONDecoder(strict=False).raw_decode(text, start)[0])
    except (ValueError, RecursionError):
        return False


def refuse_one_object(path: str, text: str) -> DataError:
    """The error of a file with one object over several lines, or several of them."""
    record, end = json.JSONDecoder(strict=False).raw_decode(text, _after_space(text, 0))
    if text[end:].strip():
        return DataError(
            f"{path}: contains JSON objects that span several lines. Write one object per line (jq -c . {path} > "
            "data.jsonl) and give that file.",
            code="json_over_lines",
            fields={"path": path},
        )
    return one_object(path, record, next((name for name, value in record.items() if isinstance(value, list)), None))


def one_object(path: str, record: Mapping[str, Any], around: str | None) -> DataError:
    """The error of a file that is one object.

    Args:
        path: of the file.
        record: the object.
        around: its field that holds the records, if it has one.
    """
    within = f" (jq -c '.[\"{around}\"][]' {path} > data.jsonl)" if around is not None else ""
    return DataError(
        f"{path}: contains a single JSON object, with {'the fields ' + ', '.join(map(repr, record))}. Records must "
        f"be the elements of an array, or one object per line. Write them like that{within} and give that file.",
        code="one_json_object",
        fields={"path": path},
    )


def json_lines(path: str, lines: list[str], blank: list[int]) -> Iterator[tuple[int, Any]]:
    """The records of JSON lines, each with its line; empty lines are left out and added to `blank`.

    A line that was read is taken out of the list, so that lines and records are not held twice.

    Raises:
        DataError: a line is not JSON.
    """
    scan, decode = _DECODER.scan_once, _DECODER.decode  # type: ignore[attr-defined]  # typeshed lacks the first
    for number, line in enumerate(lines, start=1):
        lines[number - 1] = ""
        if not line or line.isspace():
            blank.append(number)
        else:
            try:
                # `decode` takes longer: it looks for white space around the value, and tells what is wrong.
                record, end = scan(line, 0)
            except (StopIteration, ValueError, RecursionError):
                record, end = None, -1
            try:
                yield number, record if end == len(line) else decode(line)
            except (ValueError, RecursionError) as error:
                # Python counts lines, too, but within this one.
                described = (
                    f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else error
                )
                raise DataError(
                    f"{path}, line {number}: not JSON ({described}): {shown(line)}. Each line must be a JSON "
                    'object, such as {"source": "...", "target": "..."}. Fix this line, or remove it.',
                    code="json_line",
                    fields={"path": path, "line": number},
                ) from error


def json_array(path: str, text: str) -> Iterator[tuple[int, Any]]:
    """The elements of one array, each with its number, from 1.

    Raises:
        DataError: the text is not one array of JSON.
    """
    place = _after_space(text, 0)
    if text[place : place + 1] != "[":
        raise DataError(
            f"{path}: is not a JSON array; it begins with {shown(text[place:])}. Give an array of records, or one "
            "record per line.",
            code="not_json_array",
            fields={"path": path},
        )
    number, place = 0, _after_space(text, place + 1)
    while text[place : place + 1] != "]" or number:
        number += 1
        try:
            record, place = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            at = error.pos if isinstance(error, json.JSONDecodeError) else place
            described = error.msg if isinstance(error, json.JSONDecodeError) else error
            line = text.count("\n", 0, at) + 1
            raise DataError(
                f"{path}, line {line}: record {number} of the array is not JSON ({described}): "
                f"{shown(text[at:].partition(chr(10))[0])}. Fix the record, or remove it.",
                code="json_array_record",
                fields={"path": path, "line": line},
            ) from error
        yield number, record
        place = _after_space(text, place)
        if text[place : place + 1] == ",":
            place = _after_space(text, place + 1)
            continue
        if text[place : place + 1] == "]":
            break
        line = text.count("\n", 0, place) + 1
        raise DataError(
            f"{path}, line {line}: expected a comma or the end of the array after record {number}, found "
            f"{beginning(text[place:]) or 'nothing'!r}. The file may be truncated. Write it again.",
            code="json_array_cut",
            fields={"path": path, "line": line},
        )
    if text[place + 1 :].strip():
        line = text.count("\n", 0, place) + 1
        raise DataError(
            f"{path}, line {line}: the array ends here, but more text follows: {shown(text[place + 1 :].strip())}. "
            f"Give one array, or one record per line (jq -c '.[]' {path} > data.jsonl).",
            code="json_after_array",
            fields={"path": path, "line": line},
        )


def _after_space(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    assert match is not None
    return match.end()


def json_type(value: object) -> str:
    """What a value is called: an object, a list, a string, a number, a truth value, null."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "a number"
    return names.get(type(value), f"of the type {type(value).__name__}")
