"""Short pieces of notes and errors about files: counts with their nouns, line numbers, the beginning of a long text."""

from __future__ import annotations

from collections.abc import Sequence


def count(number: int, noun: str) -> str:
    """A number with its noun: 1 line, 2 lines."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def which_lines(numbers: Sequence[int], unit: str = "line") -> str:
    """The first five of some lines: line 4; lines 4, 7; lines 1, 2, 3, 5, 8, ..."""
    first = the_first(sorted(numbers), 5)
    return f"{unit} {first}" if len(numbers) == 1 else f"{unit}s {first}"


def the_first(several: Sequence[object], most: int) -> str:
    """The first of several things, as a list that shows whether there are more: a, b; a, b, c, ..."""
    return ", ".join(map(str, several[:most])) + (", ..." if len(several) > most else "")


def beginning(text: str) -> str:
    """A text of at most 60 characters: a longer one is cut."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def shown(value: str | Sequence[str]) -> str:
    """The beginning of a text, or of a list of texts, in quotes."""
    return repr(beginning(value)) if isinstance(value, str) else beginning(str(list(value)))
