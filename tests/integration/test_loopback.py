"""A cluster of our own is reachable from this machine only, whatever the user's environment says of Ray: nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.ray,
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc"),
]

# A run with a rollout worker, stopped where all of its actors are up.
BEGUN = """
from tests.support.on_ray import config_of
from rlgan.envs.tasks import build_task
from rlgan.workers.assembly import build_parts
with build_parts(config_of(1), build_task(config_of(1).task)):
    print("begun", flush=True)
    input()
"""


def listeners(mark: str) -> dict[str, str]:
    """Address → process of every TCP socket that a process with the mark in its environment listens on."""
    sockets: dict[str, str] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() not in (process / "environ").read_bytes():
                continue
            name = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:80]
            for link in (process / "fd").iterdir():
                if (target := os.readlink(link)).startswith("socket:["):
                    sockets[target[8:-1]] = name
        except OSError:
            continue  # it ended meanwhile, or is another user's
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text("ascii").splitlines()[1:]:
            local, state, inode = (line.split()[column] for column in (1, 3, 9))
            if state == "0A" and inode in sockets:
                found[local] = sockets[inode]
    return found


def is_loopback(address: str) -> bool:
    """Whether an address of /proc/net/tcp (hexadecimal, words in the machine's order) is one of loopback's."""
    host = address.partition(":")[0]
    mapped = host.removeprefix("0000000000000000FFFF0000")  # IPv4 as IPv6
    return host == "00000000000000000000000001000000" or (len(mapped) == 8 and mapped.endswith("7F"))


@pytest.mark.parametrize("before", ["", "import ray\n"], ids=["rlgan first", "ray first"])
@pytest.mark.slow
def test_every_port_is_on_loopback(before: str) -> None:
    mark, notes = uuid.uuid4().hex, tempfile.mkdtemp(prefix="rlgan.", dir="/tmp")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    process = subprocess.Popen(
        [sys.executable, "-c", before + BEGUN],
        env=environment | {"RLGAN_TEST_MARK": mark, "RAY_TMPDIR": notes},
        cwd=Path(__file__).resolve().parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert any(line == "begun\n" for line in process.stdout)
        found = listeners(mark)
        assert len(found) >= 3, found  # the head's services and the actors
        assert not {address: name for address, name in found.items() if not is_loopback(address)}
    finally:
        process.communicate("\n", timeout=60)
        shutil.rmtree(notes, ignore_errors=True)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("0100007F:1F90", True),
        ("00000000:1F90", False),
        ("0A00020F:0016", False),
        ("00000000000000000000000001000000:0016", True),
        ("00000000000000000000000000000000:0016", False),
        ("0000000000000000FFFF00000100007F:0016", True),
        ("0000000000000000FFFF00000A00020F:0016", False),
    ],
)
def test_addresses_are_read_rightly(address: str, expected: bool) -> None:
    assert is_loopback(address) == expected
