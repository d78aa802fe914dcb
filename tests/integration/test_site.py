"""The site is built without a warning, and what is wrong with a page or a docstring fails the build."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documents import PROJECT

pytest.importorskip("sphinx", reason="the site needs the extra docs")

STRICT = ("-c", "docs", "-W", "--keep-going", "-q")


def build(builder: str, source: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Sphinx's, as `make docs` asks for it."""
    options = ["-b", builder, *STRICT, "-d", str(folder / "doctrees"), ".", str(folder / "site")]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *options], cwd=source, capture_output=True, text=True, check=False
    )


@pytest.mark.heavy
@pytest.mark.timeout(900)  # it reads every module, on however busy a machine
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    built = build("html", PROJECT, tmp_path)
    assert built.returncode == 0 and not built.stderr, f"{built.stdout}\n{built.stderr}"
    site = tmp_path / "site"
    assert 'href="docs/index.html"' in (site / "index.html").read_text("utf-8")

    import rlgan

    face = (site / "docs/reference/python.html").read_text("utf-8")
    for name in rlgan.__all__:
        if name != "__version__":
            assert f'id="rlgan.{name}"' in face or f'id="module-rlgan.{name}"' in face, name
    commands = (site / "docs/reference/commands.html").read_text("utf-8")
    assert all(f"usage: rlgan {verb}" in commands for verb in ("train", "sample", "tune", "oracle convert"))
    settings = (site / "docs/reference/settings.html").read_text("utf-8")
    for path in ("seed", "credit.num_rollouts", "schedule.g_batch", "optimizers.discriminator.lr", "task.input.source"):
        assert f">{path}<" in settings, path
    makefile = (PROJECT / "Makefile").read_text("utf-8")
    assert all(option in makefile for option in (" ".join(STRICT[:2]), " ".join(STRICT[2:])))


BROKEN = r"""
from rlgan.api import load, tune

load.__doc__ += "\n\nSee `rlgan.nothing.at_all`."
tune.__doc__ = None
"""

PAGE = """# A page

[a page](nothing.md), [an anchor](#nowhere)

<!-- site: docstrings -->

* `rlgan.load`: shown
* `rlgan.tune`: shown
"""


@pytest.mark.heavy
@pytest.mark.timeout(900)  # it reads every module, on however busy a machine
def test_what_is_wrong_fails_the_build(tmp_path: Path) -> None:
    """One build of a few pages that has everything wrong at once; each complaint names the page or the name."""
    pages = tmp_path / "docs"
    pages.mkdir()
    for name in ("conf.py", "site_pages.py", "site_root"):
        found = PROJECT / "docs" / name
        (shutil.copytree if found.is_dir() else shutil.copy)(found, pages / name)
    (pages / "index.md").write_text(PAGE, "utf-8")
    (pages / "alone.md").write_text("# Nobody's\n", "utf-8")
    conf = pages / "conf.py"
    conf.write_text(conf.read_text("utf-8") + BROKEN, "utf-8")
    built = build("dummy", tmp_path, tmp_path)
    assert built.returncode == 1, built.stderr
    for complaint in (
        r"index\.md:3: WARNING: .*'nothing\.md'",
        r"index\.md:3: WARNING: .*'#?nowhere'",
        r"alone\.md: WARNING: document isn't included in any toctree",
        r"docstring of rlgan\.\S*load:\d+: WARNING: rlgan\.nothing\.at_all: there is no such name",
        r"WARNING: rlgan\.tune has no docstring",
        r"WARNING: rlgan\.train is public and on no page",
        r"WARNING: rlgan\.envs\.TokenEnv is public and on no page",
    ):
        assert re.search(complaint, built.stderr), f"{complaint}\n{built.stderr}"
    assert "rlgan.load is public" not in built.stderr
