"""Errors and lines in words of Python: advice names arguments and settings, not options of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from rlgan.base.errors import RlganError

_OPTIONS = (
    (re.compile(r"--resume (\S+?)(?=[:;,.]?(?:\s|$))"), r"rlgan.load('\1').resume()"),
    (re.compile(r"--run (\S+?)(?=[:;,.]?(?:\s|$))"), r"rlgan.load('\1')"),
    (re.compile(r"--out (\S+?)(?=[:;,.]?(?:\s|$))"), r"out='\1'"),
    (re.compile(r"--resume\b"), "Run.resume()"),
    (re.compile(r"--input\b"), "sources"),
    (re.compile(r"--trust-code( \(trust_code=True from Python\))?"), "trust_code=True"),
)
_OPTION = re.compile(r"--([a-z][\w.-]*)")


def in_python(message: str) -> str:
    """A message whose advice names arguments and settings as they are written in Python, not options."""
    for pattern, words in _OPTIONS:
        message = pattern.sub(words, message)
    return _OPTION.sub(lambda match: match[1].replace("-", "_"), message)


@contextmanager
def in_words_of_python() -> Iterator[None]:
    """Errors of the block say what to do in words of Python."""
    try:
        yield
    except RlganError as error:
        if error.args and isinstance(error.args[0], str):
            error.reword(in_python(error.args[0]))
        raise
