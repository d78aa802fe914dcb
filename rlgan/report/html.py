"""A page of results that is one file: sections of prose, tables, pictures and plain text, nothing fetched, nothing run.

Whatever is put in is text: names, errors and values of a user are escaped. The page's own Content-Security-Policy
forbids scripts, requests and any style but its own, so that a page that was sent by somebody can be opened.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlgan.base.files import write_atomically

from .tables import cells


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Prose.

    Attributes:
        text: one paragraph.
        strong: whether it stands out, as a finding does.
    """

    text: str
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under named columns, formed as by `rlgan.report.tables.format_table`.

    Attributes:
        rows: values by column.
        columns: in order; the first is left-aligned.
        caption: what it shows.
        decimals: of floats.
        is_text: whether the cells are texts, which are wrapped and left-aligned, and no figures.
        num_names: how many of the first columns name a row, and are left-aligned.
    """

    rows: Sequence[Mapping[str, Any]]
    columns: Sequence[str]
    caption: str = ""
    decimals: int = 3
    is_text: bool = False
    num_names: int = 1


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG or an SVG, put into the page.

    Attributes:
        path: of the file.
        alt: what it shows, for who does not see it.
        caption: what to look for.
    """

    path: Path
    alt: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Preformatted:
    """Text whose lines and spaces stay as they are.

    Attributes:
        text: any text.
    """

    text: str


Block = Paragraph | Table | Picture | Preformatted


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it.

    Attributes:
        heading: of the section.
        blocks: in order.
    """

    heading: str
    blocks: Sequence[Block]


def write_html(title: str, sections: Sequence[Section], path: Path) -> None:
    """Write a page.

    Args:
        title: of the page.
        sections: in order.
        path: of the file.

    Raises:
        CheckpointError: the disk is full or cannot be written.
        OSError: a picture cannot be read.
        ValueError: a picture is neither a PNG nor an SVG.
    """
    text = render(title, sections)
    write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8", errors="backslashreplace"))


def render(title: str, sections: Sequence[Section]) -> str:
    """A page as text.

    Args:
        title: of the page.
        sections: in order.

    Raises:
        OSError: a picture cannot be read.
        ValueError: a picture is neither a PNG nor an SVG.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return environment.from_string(_PAGE).render(
        title=title,
        policy=policy,
        style=_STYLE,
        sections=[
            {"heading": section.heading, "blocks": [_block(block) for block in section.blocks]} for section in sections
        ],
    )


def _block(block: Block) -> dict[str, Any]:
    """What the template asks of a block."""
    if isinstance(block, Paragraph):
        return {"kind": "strong" if block.strong else "prose", "text": block.text}
    if isinstance(block, Preformatted):
        return {"kind": "plain", "text": block.text}
    if isinstance(block, Table):
        header, *rows = cells(block.rows, block.columns, block.decimals)
        holds = "text" if block.is_text else "figures"
        names = [at < block.num_names and not block.is_text for at in range(len(header))]
        return {
            "kind": "table",
            "header": list(zip(header, names, strict=True)),
            "rows": [list(zip(row, names, strict=True)) for row in rows],
            "caption": block.caption,
            "holds": holds,
        }
    content = block.path.read_bytes()
    media, (width, height) = _form_of(content, block.path)
    return {
        "kind": "picture",
        "media": media,
        "data": base64.b64encode(content).decode(),
        # So that text does not move while pictures are decoded.
        "width": width,
        "height": height,
        "alt": block.alt,
        "caption": block.caption,
    }


def _form_of(content: bytes, path: Path) -> tuple[str, tuple[int, int]]:
    """Media type and size of a picture. What an SVG might run or fetch, a page does not let it as an image."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):  # begins with its size
        return "image/png", (int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big"))
    size = svg_size(content.decode("utf-8", "replace")) if path.suffix == ".svg" else None
    if size is None:
        raise ValueError(f"{path}: is neither a PNG nor an SVG with its size, which pictures of a page must be")
    return "image/svg+xml", size


def svg_size(text: str) -> tuple[int, int] | None:
    """Width and height of an SVG in pixels; None of a text that is none, or does not say so."""
    head = re.search(r"<svg\b[^>]*>", text)
    if head is None:
        return None
    width, height = (
        re.search(rf"\s{name}\s*=\s*['\"](\d+)(?:\.\d+)?(?:px)?['\"]", head[0]) for name in ("width", "height")
    )
    return None if width is None or height is None else (int(width[1]), int(height[1]))


# The hash of the style is part of the policy: it must reach the page to the letter, so nothing in it may be escaped.
_STYLE = """
:root { color-scheme: light dark; --text: #1b1b1b; --back: #fcfcfc; --soft: #5f5f5f; --line: #cfcfcf; --band: #f0f0f0;
  --stripe: rgba(0, 0, 0, 0.045); --shade: rgba(0, 0, 0, 0.32); }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e6e6; --back: #17181a; --soft: #a9a9a9; --line: #44474b; --band: #24262a;
    --stripe: rgba(255, 255, 255, 0.06); --shade: rgba(255, 255, 255, 0.28); }
}
body { margin: 0 auto; padding: 1.5rem; max-width: 60rem; color: var(--text); background: var(--back);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; }
h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line); padding-bottom: 0.25rem; }
p { max-width: 46rem; }
p.strong { font-size: 1.12rem; font-weight: 600; border-left: 4px solid #0072b2; padding-left: 0.8rem; }
figure { margin: 1.2rem 0; }
figcaption, caption { color: var(--soft); font-size: 0.92rem; text-align: left; padding: 0.3rem 0; }
img { display: block; max-width: 100%; height: auto; background: #ffffff; border: 1px solid var(--line); }
/* What is wider than the page scrolls, and shows it: by a shadow on the side where there is more, and by a bar. */
.wide { overflow-x: auto; margin: 1.2rem 0;
  background: linear-gradient(to right, var(--back) 40%, transparent) local left / 3rem 100% no-repeat,
    linear-gradient(to left, var(--back) 40%, transparent) local right / 3rem 100% no-repeat,
    radial-gradient(farthest-side at 0 50%, var(--shade), transparent) scroll left / 1rem 100% no-repeat,
    radial-gradient(farthest-side at 100% 50%, var(--shade), transparent) scroll right / 1rem 100% no-repeat; }
/* A bar that is styled does not hide until it is used. */
.wide::-webkit-scrollbar { height: 0.7rem; }
.wide::-webkit-scrollbar-track { background: var(--band); }
.wide::-webkit-scrollbar-thumb { background: var(--soft); border-radius: 0.35rem; }
@supports not selector(::-webkit-scrollbar) {
  .wide { scrollbar-width: auto; scrollbar-color: var(--soft) var(--band); }
}
table { border-collapse: separate; border-spacing: 0; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
caption span { position: sticky; left: 0; display: inline-block; max-width: min(56rem, calc(100vw - 4.5rem)); }
th, td { padding: 0.3rem 0.7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
.name { text-align: left; }
tbody tr:nth-child(even) { background: var(--stripe); }
.figures th:first-child, .figures td:first-child { position: sticky; left: 0; max-width: 45vw; white-space: normal;
  min-width: 9rem; background: var(--back); border-right: 1px solid var(--line); }
.figures tbody tr:nth-child(even) td:first-child { background: linear-gradient(var(--stripe), var(--stripe)),
  var(--back); }
.text { width: 100%; table-layout: auto; }
.text th, .text td { text-align: left; white-space: normal; vertical-align: top; min-width: 9rem;
  overflow-wrap: anywhere; }
pre { overflow-x: auto; background: var(--band); padding: 0.8rem; font-size: 0.88rem; }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{{ title }}</title>
<style>{{ style | safe }}</style>
</head>
<body>
<h1>{{ title }}</h1>
{% for section in sections %}
<section>
<h2>{{ section.heading }}</h2>
{% for block in section.blocks %}
{% if block.kind == "prose" %}
<p>{{ block.text }}</p>
{% elif block.kind == "strong" %}
<p class="strong">{{ block.text }}</p>
{% elif block.kind == "plain" %}
<pre>{{ block.text }}</pre>
{% elif block.kind == "table" %}
<div class="wide" tabindex="0"><table class="{{ block.holds }}">
{% if block.caption %}<caption><span>{{ block.caption }}</span></caption>{% endif %}
<thead><tr>{% for cell, is_name in block.header %}
<th scope="col"{% if is_name %} class="name"{% endif %}>{{ cell }}</th>
{% endfor %}</tr></thead>
<tbody>
{% for row in block.rows %}
<tr>{% for cell, is_name in row %}<td{% if is_name %} class="name"{% endif %}>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div>
{% else %}
<figure>
<img src="data:{{ block.media }};base64,{{ block.data }}" width="{{ block.width }}" height="{{ block.height }}"
  alt="{{ block.alt }}">
{% if block.caption %}<figcaption>{{ block.caption }}</figcaption>{% endif %}
</figure>
{% endif %}
{% endfor %}
</section>
{% endfor %}
</body>
</html>
"""
