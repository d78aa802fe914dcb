"""A page that is one file: what is put in stays text, nothing is fetched, nothing runs."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rlgan.base.errors import CheckpointError
from rlgan.report.html import Paragraph, Picture, Preformatted, Section, Table, render, write_html
from rlgan.report.tables import new_figure, save_figure
from tests.support.errors import refused

HOSTILE = "</script><script>alert('1')</script> \"><img src=x onerror=alert(2)> & 'τ' \u202e </style> {{ 7 * 7 }} 💥"


class Reader(HTMLParser):
    """Collects elements with their attributes, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    save_figure(new_figure(2.0, 1.0), tmp_path / "picture.png")
    return tmp_path / "picture.png"


def everything(text: str, picture: Path) -> list[Section]:
    return [
        Section(
            text,
            [
                Paragraph(text), Paragraph(text, strong=True), Preformatted(text), Picture(picture, text, text),
                Table([{text: text, "x": 0.12345, "n": 3}, {}], (text, "x", "n"), text),
            ],
        )
    ]  # fmt: skip


def test_hostile_text_stays_text(picture: Path) -> None:
    page = Reader(render(HOSTILE, everything(HOSTILE, picture)))
    tame = Reader(render("tame", everything("tame", picture)))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in tame.elements]
    # Title twice, heading, two paragraphs, plain text, caption of the picture and of the table, a column and a cell.
    assert sum(text == HOSTILE for text in page.texts) == 10
    (image,) = (attributes for tag, attributes in page.elements if tag == "img")
    assert image["alt"] == HOSTILE
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_the_policy_lets_in_data_and_the_pages_own_style_alone(picture: Path) -> None:
    text = render("title", everything("text", picture))
    page = Reader(text)
    (policy,) = (one["content"] for tag, one in page.elements if one.get("http-equiv") == "Content-Security-Policy")
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.elements}
    for _, attributes in page.elements:
        assert "style" not in attributes and "href" not in attributes
        assert (attributes.get("src") or "data:").startswith("data:image/png;base64,"[:5])
    assert "http:" not in text and "https:" not in text and "url(" not in text and "@import" not in text


def test_pictures_and_tables_hold_what_they_were_given(picture: Path) -> None:
    page = Reader(render("title", everything("text", picture)))
    (image,) = (one for tag, one in page.elements if tag == "img")
    source = image["src"]
    assert source is not None and base64.b64decode(source.partition("base64,")[2]) == picture.read_bytes()
    assert (image["width"], image["height"]) == ("240", "120")
    assert "0.123" in page.texts and "3" in page.texts and "–" in page.texts


def test_figures_have_names_on_the_left_that_stay_and_wide_tables_show_that_they_scroll() -> None:
    rows = [{"run": "a", "row": "b", "x": 1.5}]
    page = Reader(render("title", [Section("s", [Table(rows, ("run", "row", "x"), num_names=2)])]))
    assert [one.get("class") for tag, one in page.elements if tag in ("th", "td")] == ["name", "name", None] * 2
    assert [one for tag, one in page.elements if tag == "table"] == [{"class": "figures"}]
    texts = Reader(render("title", [Section("s", [Table(rows, ("run", "row"), is_text=True)])]))
    assert [one.get("class") for tag, one in texts.elements if tag in ("table", "td")] == ["text", None, None]
    (style,) = re.findall(r"<style>(.*?)</style>", render("title", []), re.DOTALL)
    assert ".wide::-webkit-scrollbar {" in style and "scrollbar-color" in style and "radial-gradient" in style
    assert re.search(r"\.figures th:first-child, \.figures td:first-child \{ position: sticky; left: 0;", style)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("<svg onload=alert(1)>")
    with pytest.raises(ValueError, match=r"x.png: is neither a PNG nor an SVG"):
        render("title", [Section("s", [Picture(tmp_path / "x.png", "x")])])
    with pytest.raises(FileNotFoundError):
        render("title", [Section("s", [Picture(tmp_path / "y.png", "y")])])


def test_a_page_is_written_whole_or_says_why_not(tmp_path: Path) -> None:
    # A lone surrogate, as file names that are not UTF-8 have.
    write_html("title", [Section("s", [Paragraph("caf\udce9")])], tmp_path / "page.html")
    assert "caf\\udce9" in (tmp_path / "page.html").read_text("utf-8")
    with refused(CheckpointError, "cannot_write", match="none/page.html"):
        write_html("title", [], tmp_path / "none" / "page.html")
