"""A run as a notebook shows it: what may be said of it, its main figures, and what its generator writes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from rlgan.report.final_table import in_order, main_row, shown_order

_COLUMNS = 6  # quantities that are shown
_SAMPLES = 5


def page_of(
    described: str, sentences: Sequence[str], rows: Sequence[Mapping[str, Any]], samples: Mapping[str, Sequence[str]]
) -> str:
    """HTML of a run.

    Args:
        described: the run in lines, the first of which names it.
        sentences: what else may be said of it.
        rows: of its final table; none where there is none yet.
        samples: title of a measurement → texts; the last are shown.
    """
    first, *others = described.splitlines()
    parts = [f"<b>{escape(first)}</b>", *(f"<div>{escape(line.strip())}</div>" for line in others)]
    if sentences:
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
        parts.append(f"<details><summary>What else follows from its table</summary><ul>{items}</ul></details>")
    if rows:
        parts.append(_table(rows))
    for title, texts in list(samples.items())[-1:]:
        lines = "".join(f"<li><code>{escape(text)}</code></li>" for text in texts[:_SAMPLES])
        parts.append(f"<div>Samples ({escape(title)}):</div><ul>{lines}</ul>")
    return f"<div class='rlgan-run'>{''.join(parts)}</div>"


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as they were trained, the run first, and the quantities that decide."""
    shown = [row for row in shown_order(rows) if row["temperature"] in (1.0, None)]
    main = main_row(rows) or shown[0]
    names = in_order([name for name in main if name not in ("name", "temperature")])[:_COLUMNS]
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", *names))
    body = "".join(
        f"<tr><td style='text-align:left'>{escape(row['name'])}</td>"
        + "".join(f"<td>{_cell(row.get(name))}</td>" for name in names)
        + "</tr>"
        for row in shown
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else escape(str(value))
