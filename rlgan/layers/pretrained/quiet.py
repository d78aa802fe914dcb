"""The library `transformers` without bars and warnings of its own."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Keep `transformers` from showing bars and warning of its own within the block."""
    from transformers.utils import logging as of_transformers

    level = of_transformers.get_verbosity()
    had_bar = of_transformers.is_progress_bar_enabled()
    of_transformers.set_verbosity(logging.CRITICAL)
    of_transformers.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        of_transformers.set_verbosity(level)
        if had_bar:
            of_transformers.enable_progress_bar()
