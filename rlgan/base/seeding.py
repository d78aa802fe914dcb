"""Every random stream is named: a stream's seed is a hash of the run's seed and of what the stream is for.

No stream depends on how many numbers another one drew, so shards, workers and resumed runs see the same numbers.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def stream_seed(seed: int, *purpose: str | int) -> int:
    """Seed of a named stream, in 0..2⁶³-1.

    Args:
        seed: the run's seed.
        purpose: what the stream is for, such as ("sample", update, shard).
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *purpose: str | int) -> torch.Generator:
    """CPU generator of a named stream."""
    return torch.Generator().manual_seed(stream_seed(seed, *purpose))


def generator_on(device: torch.device, seed: int) -> torch.Generator:
    """A seeded generator of random numbers on a device."""
    return torch.Generator(device).manual_seed(seed)


@contextlib.contextmanager
def global_stream(seed: int, *purpose: str | int) -> Iterator[None]:
    """Seed torch's global generator inside the block and restore it afterwards.

    For code that draws from the global generator: parameter initialisation and dropout.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, *purpose))
        yield
