"""`ray up`, `ray submit` and `ray down` for real, on two machines made out of this one (tests/cluster/)."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1200)]

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = ("pyproject.toml", "constraints.txt", "README.md", "LICENSE", "cluster-local.yaml", "rlgan", "envs", "tuning")


def require_what_two_machines_need() -> None:
    """Install what is missing where that is allowed; skip with the reason where it is not."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("namespaces of processes, files and network need root on Linux")
    missing = [name for name in ("sshd", "rsync", "unshare", "ip") if shutil.which(name, path=SYSTEM_PATH) is None]
    if missing and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-q", "openssh-server", "rsync", "iproute2"], check=False)
        missing = [name for name in missing if shutil.which(name, path=SYSTEM_PATH) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if importlib.util.find_spec("boto3") is None:
        pytest.skip("the extra is not installed: pip install -c constraints.txt -e '.[cluster]'")
    allowed = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], check=False)
    if allowed.returncode != 0:
        pytest.skip("this user may not make namespaces")


SYSTEM_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def test_two_machines_through_the_launcher(tmp_path: Path) -> None:
    require_what_two_machines_need()
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in (*SOURCES, "tests/cluster"):
        source, target = PROJECT / name, checkout / name
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [checkout / "tests/cluster/two_machines.sh", sys.prefix, checkout, "python", "tests/cluster/launch.py"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=1100, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    assert "the same numbers in one process, on two machines, and with one machine lost" in done.stdout
