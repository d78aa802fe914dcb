"""Text that fits the lines of a terminal: tables, sentences, and texts beside each other.

A column is what a letter of a terminal takes: a Chinese character and most emojis take two, a combining accent none.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from wcwidth import clip, width, wrap

from .tables import cells

MOST_COLUMNS = 100
"""Of a line, wherever it goes: a terminal that is wider, a file, a notebook."""
_LEAST_COLUMNS = 40  # of a terminal that is narrower than that, or says nonsense, lines are longer than it
_LEAST_NAME = 16  # columns that the first column of a table keeps
_GAP = "  "
_JOINERS = "\u200c\u200d"  # take no column, and Persian, Hindi and many emojis are spelled with them


def columns_of(stream: TextIO) -> int:
    """Columns of what is printed there: at most 100, and fewer on a terminal that has fewer."""
    if not stream.isatty():
        return MOST_COLUMNS
    return min(MOST_COLUMNS, max(_LEAST_COLUMNS, shutil.get_terminal_size((MOST_COLUMNS, 24)).columns))


def in_one_line(text: str) -> str:
    """A text of somebody's in one line, without what a terminal obeys."""
    kept = "".join(one if one.isprintable() or one in _JOINERS or one.isspace() else "�" for one in text)
    return " ".join(kept.split())


def shortened(text: str, columns: int) -> str:
    """A text in so many columns, with an ellipsis where it is cut."""
    return text if width(text) <= columns else clip(text, 0, columns - 1).rstrip() + "…"


def wrapped(text: str, columns: int = MOST_COLUMNS, hang: str = "  ") -> str:
    """A sentence in lines of so many columns; a word that is longer, such as a path, is left whole.

    Args:
        text: lines, each wrapped by itself.
        columns: of a line.
        hang: before all lines but the first.
    """
    return "\n".join(
        "\n".join(
            wrap(line, columns, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False)
            if width(line) > columns
            else [line]
        )
        for line in text.split("\n")
    )


def in_columns(texts: Sequence[str], columns: int, most_lines: int = 1) -> list[str]:
    """Texts beside each other in columns of one width, each cut with an ellipsis after some lines.

    Args:
        texts: any.
        columns: of a whole line.
        most_lines: of each.

    Returns:
        Lines.
    """
    each = (columns - len(_GAP) * (len(texts) - 1)) // len(texts)
    sides = [_cell(text, each, most_lines) for text in texts]
    number = max(map(len, sides))
    lines = zip(*(side + [""] * (number - len(side)) for side in sides), strict=True)
    return [_GAP.join(_padded(cell, each) for cell in line).rstrip() for line in lines]


def _cell(text: str, columns: int, most_lines: int) -> list[str]:
    found = wrap(
        in_one_line(text), columns, break_on_hyphens=False, max_lines=most_lines, placeholder=" …", propagate_sgr=False
    )
    return [shortened(line, columns) for line in found] or [""]


def _padded(text: str, columns: int) -> str:
    return text + " " * (columns - width(text))


def fitting_table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    most: int = MOST_COLUMNS,
    decimals: int = 3,
    headers: Mapping[str, str] | None = None,
    num_names: int = 1,
) -> tuple[str, tuple[str, ...]]:
    """The first columns of a table, as many as fit; a name that is too long is cut.

    Args:
        rows: as for `format_table`.
        columns: in order; the names and the first beside them are always there.
        most: columns of a line.
        decimals: of floats.
        headers: column → what stands above it; those that are missing have their name.
        num_names: how many of the first columns name a row, and are left-aligned.

    Returns:
        The table, and the columns that found no room.
    """
    texts = _texts(rows, columns, decimals, headers)
    widths = [max(map(width, column)) for column in zip(*texts, strict=True)]
    taken = _taken(widths, num_names, most)
    return _lines([line[:taken] for line in texts], most, num_names), tuple(columns[taken:])


def stacked_tables(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    num_names: int = 1,
    most: int = MOST_COLUMNS,
    decimals: int = 3,
) -> str:
    """A table in as many as are needed for lines to fit, one below the other, each with the names of the rows.

    Args:
        rows: as for `format_table`.
        columns: in order.
        num_names: how many of the first columns name a row, and are left-aligned in each table.
        most: columns of a line.
        decimals: of floats.
    """
    texts = _texts(rows, columns, decimals, None)
    widths = [max(map(width, column)) for column in zip(*texts, strict=True)]
    tables: list[str] = []
    first = num_names
    while not tables or first < len(columns):
        names = widths[:num_names]
        taken = _taken([*names, *widths[first:]], num_names, most) - num_names
        shown = [[*line[:num_names], *line[first : first + taken]] for line in texts]
        tables.append(_lines(shown, most, num_names))
        first += taken
    return "\n\n".join(tables)


def _texts(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], decimals: int, headers: Mapping[str, str] | None
) -> list[list[str]]:
    """Header and rows as texts of one line each."""
    header, *body = cells(rows, columns, decimals)
    named = [(headers or {}).get(name, name) for name in header]
    return [[cell if cell.isprintable() else in_one_line(cell) for cell in line] for line in (named, *body)]


def _taken(widths: Sequence[int], num_names: int, most: int) -> int:
    """How many columns fit beside the names, which may be cut to make room for one."""
    # Columns go before names are cut below two fifths of a line: the end of a name is often what distinguishes it.
    names = sum(widths[:num_names]) + len(_GAP) * (num_names - 1)
    total = min(names, max(_LEAST_NAME * num_names, 2 * most // 5))
    taken = num_names
    for one in widths[num_names:]:
        total += len(_GAP) + one
        if total > most and taken > num_names:
            break
        taken += 1
    return taken


def _lines(texts: Sequence[Sequence[str]], most: int, num_names: int = 1) -> str:
    """Aligned lines with a rule below the first, of at most so many columns: names give way first, then values."""
    widths = [max(map(width, column)) for column in zip(*texts, strict=True)]
    for first, last, least in ((0, num_names, _LEAST_NAME), (num_names, len(widths), 3), (0, len(widths), 1)):
        while sum(widths) + len(_GAP) * (len(widths) - 1) > most:
            at = max(range(first, last), key=lambda one: widths[one], default=first)
            if first == last or widths[at] <= least:
                break
            widths[at] -= 1
    lines = []
    for line in texts:
        cut = [shortened(cell, room) for cell, room in zip(line, widths, strict=True)]
        padded = [
            _padded(cell, room) if at < num_names else " " * (room - width(cell)) + cell
            for at, (cell, room) in enumerate(zip(cut, widths, strict=True))
        ]
        lines.append(_GAP.join(padded).rstrip())
    rule = "-" * (sum(widths) + len(_GAP) * (len(widths) - 1))
    return "\n".join([lines[0], rule, *lines[1:]])
