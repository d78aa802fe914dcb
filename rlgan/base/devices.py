"""Where tensors live: each role computes on one device, and what passes between roles is on the CPU."""

from __future__ import annotations

import platform

import torch

from .errors import ConfigError

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
