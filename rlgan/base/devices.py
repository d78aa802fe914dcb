"""Where tensors live: each role computes on one device, and what passes between roles is on the CPU."""

from __future__ import annotations

import platform
import time

import torch

from .errors import ConfigError
from .threads import torch_threads

CPU = torch.device("cpu")


def device_of(setting: str, gpus: float) -> torch.device:
    """The device of a role in the process that asks.

    Args:
        setting: name of the setting that reserves GPUs.
        gpus: its value.

    Raises:
        ConfigError: a GPU is asked for and torch sees none.
    """
    if not gpus:
        return CPU
    if not torch.cuda.is_available():
        raise ConfigError(
            f"{setting}={gpus:g}: torch {torch.__version__} finds no GPU in this process on {platform.node()}. "
            "Install a CUDA build of torch and the driver there, or set it to 0.",
            code="no_gpu",
            fields={setting: gpus},
        )
    return torch.device("cuda", 0)  # Ray shows an actor none but its own


def bfloat16_cost(threads: int, size: int = 512) -> float:
    """How many times as long as in float32 a matrix product takes in bfloat16 on this CPU, by a probe of milliseconds.

    Args:
        threads: that compute it.
        size: rows and columns of the matrices.
    """
    fastest = {}
    with torch_threads(threads):
        for dtype in (torch.float32, torch.bfloat16):
            one = torch.ones(size, size, dtype=dtype)
            taken = []
            for _ in range(4):  # the first warms up
                started = time.perf_counter()
                one @ one
                taken.append(time.perf_counter() - started)
            fastest[dtype] = min(taken[1:])
    return fastest[torch.bfloat16] / fastest[torch.float32]


def bfloat16_notes(setting: str, threads: int) -> tuple[str, ...]:
    """A warning if this CPU is slower in bfloat16 than in float32, with the measured ratio.

    Args:
        setting: the name of what is set to bfloat16.
        threads: that compute it.
    """
    cost = bfloat16_cost(threads)
    if cost <= 1.0:
        return ()
    return (
        f"warning: {setting}='bfloat16': a matrix product takes {cost:.1f} times as long as in float32 on this CPU. "
        "Set it to float32 unless memory is short.",
    )
