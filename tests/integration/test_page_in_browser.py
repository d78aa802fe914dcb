"""The page of a sweep as a browser shows it: its pictures are there, its style holds, its policy forbids the rest."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from rlgan.tuning.judge.importance import importances
from rlgan.tuning.judge.verdict import verdict
from rlgan.tuning.report.page import Analysis, write_page
from tests.support.sweeps import a_sweep

pytestmark = [pytest.mark.integration, pytest.mark.heavy]

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome, and finds neither")

# Reports, into an attribute that the dumped document has, what the browser made of the page.
PROBE = """
addEventListener("load", () => {
  const images = [...document.images];
  document.body.dataset.seen = JSON.stringify({
    widths: images.map(image => image.naturalWidth),
    complete: images.every(image => image.complete),
    font: getComputedStyle(document.body).maxWidth,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    blocked: window.blocked || 0,
  });
});
"""


def browse(folder: Path, page: Path, *options: str) -> str:
    assert BROWSER is not None
    command = [
        BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=5000",
        f"--user-data-dir={folder / 'profile'}", *options, page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def with_probe(text: str) -> str:
    """A copy that one script may run in; what the policy says of images and style stays to the letter."""
    digest = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
    policy = re.compile(r'(Content-Security-Policy" content=")([^"]*)"')
    (_, before) = policy.findall(text)[0]
    adapted = policy.sub(lambda found: f'{found[1]}{found[2]}; script-src &#39;sha256-{digest}&#39;"', text)
    assert before in adapted
    return adapted.replace("</body>", f"<script>{PROBE}</script></body>")


def seen(dumped: str) -> dict[str, Any]:
    found = re.search(r'data-seen="([^"]*)"', dumped)
    assert found, dumped[-2000:]
    report: dict[str, Any] = json.loads(unescape(found[1]))
    return report


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = a_sweep()
    analysis = Analysis(importances(results, num_samples=3), verdict(results))
    return write_page(results, tmp_path_factory.mktemp("page"), analysis)


@needs_browser
def test_every_picture_is_shown_under_the_pages_own_policy(page: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.html"  # apart from the PNGs: the page needs no other file
    copy.write_text(with_probe(page.read_text("utf-8")), "utf-8")
    report = seen(browse(tmp_path, copy, "--window-size=1200,900", "--dump-dom"))
    assert report["widths"] == [900] * 8 and report["complete"]
    assert report["font"] == "960px"  # 60rem: the style was let in by its hash


@needs_browser
def test_a_picture_that_is_broken_or_forbidden_would_be_noticed(page: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.html"
    text = with_probe(page.read_text("utf-8"))
    copy.write_text(text.replace("img-src data:", "img-src &#39;none&#39;"), "utf-8")
    report = seen(browse(tmp_path, copy, "--dump-dom"))
    assert report["widths"] == [0] * 8
    copy.write_text(text.replace("; style-src", "; font-src"), "utf-8")
    assert seen(browse(tmp_path, copy, "--dump-dom"))["font"] == "none"


@needs_browser
def test_scripts_that_got_in_would_not_run(page: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.html"
    # As if escaping had failed: the policy is the second lock.
    injected = "<script>document.body.dataset.seen = '{}'</script>"
    copy.write_text(page.read_text("utf-8").replace("</body>", f"{injected}</body>"), "utf-8")
    assert "data-seen=" not in browse(tmp_path, copy, "--dump-dom")


@needs_browser
@pytest.mark.parametrize("width", [500, 1200])
def test_no_screen_is_too_narrow_but_for_tables_which_scroll(width: int, page: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.html"
    copy.write_text(with_probe(page.read_text("utf-8")), "utf-8")
    assert seen(browse(tmp_path, copy, f"--window-size={width},900", "--dump-dom"))["overflow"] <= 0


@needs_browser
def test_the_untouched_page_shows_the_colours_of_its_pictures(page: Path, tmp_path: Path) -> None:
    browse(tmp_path, page, "--window-size=1000,7000", f"--screenshot={tmp_path / 'shot.png'}")
    shot = (imread(tmp_path / "shot.png")[..., :3] * 255).round().astype(int)
    for name, colour in (("finalists", (213, 94, 0)), ("controls", (0, 114, 178)), ("ceiling", (0, 158, 115))):
        near = (np.abs(shot - np.array(colour)) <= 3).all(axis=2).sum()
        assert near > 50, name
