"""How many threads a computation runs with: sums are rounded by it, so it is part of a result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(num_threads: int) -> Iterator[None]:
    """Run the block with so many intra-op threads.

    Bitwise equality of matrix products needs the same thread count wherever they are computed.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
