r"""Text cut into tokens by rules that need no training text.

Tokens of characters, clusters, SMILES and patterns, one after another, are the text again; words are it but for white
space. Which of them a task uses is a setting, see `tasks/pieces.py`; there, too, are pieces of words, which are learnt.

Source: Schwaller et al. 2019 (Molecular Transformer), the regular expression for SMILES, as rxn-chemutils publishes it
now (with `>>`, `|` and `%(123)`). One deviation: `@@` outside brackets is one token, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from rlgan.base.errors import ConfigError, DataError
from rlgan.base.extras import install_command

from .vocabulary import UNK_NAME

Uncovered = Literal["error", "unknown", "drop"]

SMILES_PATTERN = (
    r"%\([0-9]{3}\)|\[[^\]]+\]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\||\(|\)|\.|=|#|-|\+|\\|/|:|~|@@?|\?|>>?|\*|\$"
    r"|%[0-9]{2}|[0-9]"
)
"""Atoms in brackets, chlorine and bromine, and ring bonds of two digits are one token each."""


class NotCoveredError(DataError):
    """A stretch of a text is no token; whoever knows the file and the line tells them."""


def split_words(line: str) -> list[str]:
    """Words of a line, between white space of any kind."""
    return line.split()


def split_chars(line: str) -> list[str]:
    """Characters (Unicode code points) of a line, spaces included."""
    return list(line)


def grapheme_splitter() -> Callable[[str], list[str]]:
    r"""What cuts a text into its grapheme clusters (Unicode Standard Annex 29), by the library `regex`.

    Raises:
        ConfigError: the library is not installed.
    """
    if find_spec("regex") is None:
        raise ConfigError(
            "unit='grapheme': needs the package regex, which is not installed. Install the extra `pieces` "
            f"({install_command('pieces')}), or choose unit='code_point'.",
            code="grapheme_needs_regex",
        )
    import regex

    clusters: Callable[[str], list[str]] = regex.compile(r"\X").findall
    return clusters


@dataclass
class PatternSplitter:
    """Cuts a text into the matches of a regular expression, from left to right.

    Attributes:
        pattern: what one token is; empty matches are none.
        uncovered: what becomes of a stretch that no match covers: an error, an unknown token, or it is left out.
        name: what tokens are called in errors, for instance "SMILES".
        num_characters: how many characters were cut.
        num_uncovered: how many of them no match covered.
    """

    pattern: re.Pattern[str]
    uncovered: Uncovered
    name: str
    num_characters: int = 0
    num_uncovered: int = 0

    def __call__(self, text: str) -> Sequence[str]:
        """The tokens of a text.

        Raises:
            NotCoveredError: a stretch is no token, and that is an error.
        """
        matches = [match for match in self.pattern.finditer(text) if match.end() > match.start()]
        tokens = [match.group() for match in matches]
        num_uncovered = len(text) - sum(map(len, tokens))
        self.num_characters += len(text)
        self.num_uncovered += num_uncovered
        if not num_uncovered or self.uncovered == "drop":
            return tokens
        return self._with_gaps(text, matches)

    def _with_gaps(self, text: str, matches: Sequence[re.Match[str]]) -> list[str]:
        tokens, end = [], 0
        for begin, next_end in [*(match.span() for match in matches), (len(text), len(text))]:
            if begin > end:
                if self.uncovered == "error":
                    raise NotCoveredError(
                        f"{text[end:begin][:20]!r} at character {end + 1} is not a token of {self.name}: "
                        f"{_shown(text)}. Fix or remove such text, or set uncovered to 'unknown', which reads it "
                        "as unknown tokens and counts them.",
                        code="text_not_covered",
                        fields={"text": text[end:begin], "character": end + 1},
                    )
                tokens.append(UNK_NAME)
            if next_end > begin:
                tokens.append(text[begin:next_end])
            end = next_end
        return tokens


def compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression of Python's module `re`.

    Raises:
        ConfigError: it is none.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"pattern={pattern!r}: is not a valid regular expression ({error}). Fix it; put a backslash before "
            "special characters that stand for themselves.",
            code="bad_pattern",
            fields={"pattern": pattern},
        ) from None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
