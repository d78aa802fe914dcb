"""Nodes of a cluster must run the same software as the driver: other versions round, sample and pickle otherwise."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass

import ray
import torch

from rlgan import __version__
from rlgan.base.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """Which process an actor is, and what decides whether it computes the same as another.

    Attributes:
        node: address of its machine.
        pid: its number there.
        rlgan: version of this package.
        torch: version without the part that names its build, which differs between nodes with and without a GPU.
        python: major and minor version.
    """

    node: str
    pid: int
    rlgan: str
    torch: str
    python: str

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.node}"


def this_process() -> ProcessInfo:
    """The process that asks."""
    return ProcessInfo(
        node=ray.util.get_node_ip_address(),
        pid=os.getpid(),
        rlgan=__version__,
        torch=torch.__version__.partition("+")[0],
        python=".".join(platform.python_version_tuple()[:2]),
    )


def require_same_versions(who: str, theirs: ProcessInfo) -> None:
    """Refuse an actor on a node with other software.

    Args:
        who: which actor, for people.
        theirs: what it has.

    Raises:
        ConfigError: names both versions and the node.
    """
    ours = this_process()
    different = [
        f"{name} {value} there and {getattr(ours, name)} here"
        for name, value in asdict(theirs).items()
        if name not in ("node", "pid") and value != getattr(ours, name)
    ]
    if different:
        raise ConfigError(
            f"{who} runs ({theirs}) with {', '.join(different)}. Install the same versions on every node.",
            code="versions_differ",
            fields={"plugin": who},
        )
