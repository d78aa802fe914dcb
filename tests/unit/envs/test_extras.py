"""An extra is named as a user of a wheel, of a checkout, and of a checkout from elsewhere types it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from rlgan.base.extras import install_command

PROJECT = Path(__file__).resolve().parents[3]


def test_of_a_wheel_the_distribution_is_named(tmp_path: Path) -> None:
    assert install_command("pairs", tmp_path) == "pip install 'rlgan[pairs]'"


def test_of_a_checkout_its_own_python_and_pins(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    python = tmp_path / ".venv" / "bin" / "python"
    assert install_command("pairs", tmp_path, python, tmp_path) == (
        ".venv/bin/python -m pip install -c constraints.txt -e '.[pairs]'"
    )
    elsewhere = shlex.split(install_command("pairs", tmp_path, python, Path("/")))
    assert Path("/", elsewhere[0]) == python and elsewhere[-1] == f"{tmp_path}[pairs]"
    assert elsewhere[1:-1] == ["-m", "pip", "install", "-c", str(tmp_path / "constraints.txt"), "-e"]


def test_this_checkout_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    assert "-m pip install -c constraints.txt -e '.[tune]'" in install_command("tune")


def test_every_extra_that_an_error_names_exists_and_is_named_so() -> None:
    pyproject = (PROJECT / "pyproject.toml").read_text("utf-8")
    extras = set(re.findall(r"^(\w+) = \[", pyproject.partition("[project.optional-dependencies]")[2], re.MULTILINE))
    named = set()
    for folder in ("envs", "rlgan", "tuning"):
        for path in (PROJECT / folder).rglob("*.py"):
            text = path.read_text("utf-8")
            named |= set(re.findall(r"install_command\(['\"](\w+)['\"]\)", text))
            if path.name != "extras.py":
                assert "pip install" not in text, path
    assert named and named <= extras
