"""Out of memory, in words: who was, and which settings to lower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .errors import MemoryShortError


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had, on a GPU or on the CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The CPU's allocator has no class of its own.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


@contextmanager
def naming_what_to_lower(who: str, advice: str) -> Iterator[None]:
    """Say within the block what to do where memory is out.

    Args:
        who: the part of the run.
        advice: a sentence that begins with a verb and names settings.

    Raises:
        MemoryShortError: in the place of what was raised.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryShortError) or not is_out_of_memory(error):
            raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise MemoryShortError(
            f"{who}: is out of memory ({reason[0].rstrip('.')}). {advice}", code="out_of_memory", fields={"part": who}
        ) from error
