"""What several generators wrote, side by side, beside what real sequences look like: for a page, and for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .html import Table
from .narrow import MOST_COLUMNS, in_columns, in_one_line, shortened

EMPTY = "(empty)"
"""Stands for a sequence without a token."""
REAL = "test split"
"""What the column of real sequences is called."""
_LEAST_COLUMNS = 24  # of a text; where more generators stand beside each other they stand below each other


@dataclass(frozen=True, slots=True)
class Written:
    """What one generator wrote.

    Attributes:
        name: of the generator.
        texts: its samples.
        real: as many real sequences, where sequences are given something of the same sources; () where none is known.
        sources: what they were given; () where that is nothing.
    """

    name: str
    texts: tuple[str, ...]
    real: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


def sample_tables(written: Sequence[Written], caption: str = "", most: int = 10) -> list[Table]:
    """Tables for a page: a column a generator, real sequences in the last; of other data than the first a table apart.

    Args:
        written: in order.
        caption: of each.
        most: samples.
    """
    tables = []
    for group in _groups(written):
        first = group[0]
        # A generator may have any name.
        named = [(f"{one.name} (run)" if one.name in ("source", REAL) else one.name, one.texts) for one in group]
        sources = [("source", first.sources)] if first.sources else []
        real = [(REAL, first.real)] if first.real else []
        columns = [*sources, *named, *real]
        number = min(most, *(len(one.texts) for one in group))
        rows = [{name: texts[at] or EMPTY for name, texts in columns} for at in range(number)]
        tables.append(Table(rows, [name for name, _ in columns], caption, is_text=True))
    return tables


def sample_text(
    written: Sequence[Written], columns: int = MOST_COLUMNS, most: int = 3, most_lines: int = 2, rule: str = "-"
) -> str:
    """The same for a terminal, in blocks of as many generators as there is room for.

    Args:
        written: in order.
        columns: of a line.
        most: samples.
        most_lines: of a text, which is cut with an ellipsis.
        rule: of what the line below the names is made.

    Returns:
        Lines without a final newline.
    """
    room = max(1, (columns + 2) // (_LEAST_COLUMNS + 2) - 1)
    blocks = []
    for group in _groups(written):
        for first in range(0, len(group), room):
            blocks.append("\n".join(_block(group[first : first + room], columns, most, most_lines, rule)))
    return "\n\n".join(blocks)


def _block(some: Sequence[Written], columns: int, most: int, most_lines: int, rule: str) -> list[str]:
    first = some[0]
    names = [*(one.name for one in some), *((REAL,) if first.real else ())]
    each = (columns - 2 * (len(names) - 1)) // len(names)
    lines = [*in_columns(names, columns), "  ".join([rule * each] * len(names))]
    for at in range(min(most, *(len(one.texts) for one in some))):
        if first.sources:
            lines.append(shortened(in_one_line(f"source: {first.sources[at]}"), columns))
        texts = [*(one.texts[at] for one in some), *((first.real[at],) if first.real else ())]
        lines += in_columns([text or EMPTY for text in texts], columns, most_lines)
    return lines


def _groups(written: Sequence[Written]) -> list[list[Written]]:
    """Those that stand beside the same real sequences and were given the same, as far as both go."""
    groups: list[list[Written]] = []
    for one in written:
        if not one.texts:
            continue
        for group in groups:
            if _are_alike(group[0], one):
                group.append(one)
                break
        else:
            groups.append([one])
    return groups


def _are_alike(one: Written, other: Written) -> bool:
    number = min(len(one.texts), len(other.texts))
    return (one.real[:number], one.sources[:number]) == (other.real[:number], other.sources[:number])
