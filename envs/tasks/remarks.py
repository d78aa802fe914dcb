"""What is to be said of a task's data that is probably not as it was meant: with counts, and what to type."""

from __future__ import annotations

from .numbering import Rows
from .pieces import TokenSettings

MANY_UNKNOWN = 0.05
"""Share of unknown tokens above which a note says what to do."""

A_HANDFUL = 10
"""Number of held-out sequences below which a note says that their figures mean little."""


class Remark(str):
    """A note that asks its reader to do something, among notes that only say what was read."""

    __slots__ = ()


def many_unknown(
    split: str, num_unknown: int, num_tokens: int, tokens: TokenSettings, option: str, side: str = ""
) -> list[Remark]:
    """That many tokens of a split are unknown.

    Args:
        split: "train", "valid" or "test".
        num_unknown: how many of its tokens are.
        num_tokens: how many it has.
        tokens: what a token is.
        option: that setting, as it is typed: "--task.tokens".
        side: "sources" or "targets" of pairs.
    """
    if num_unknown <= MANY_UNKNOWN * num_tokens:
        return []
    helps = ["more training text"]
    if tokens.min_count > 1:
        helps.append(f"a lower {option}.min-count")
    helps += tokens.helps_unknown(option)
    of = f" of {side}" if side else ""
    return [
        Remark(
            f"{split}: {num_unknown / num_tokens:.1%} of the tokens{of} are unknown, which is more than "
            f"{MANY_UNKNOWN:.0%}. Try {', '.join(helps[:-1])}{' or ' if helps[1:] else ''}{helps[-1]}"
        )
    ]


def single_tokens(rows: Rows, tokens: TokenSettings, noun: str = "line") -> list[str]:
    """That every line of a file is one word, so that nothing follows anything."""
    if not tokens.are_words or len(rows) < 2 or int(rows.lengths.max()) > 1:
        return []
    return [
        (
            f"every {noun} ({len(rows)} of {len(rows)}) is a single word, so there are no word sequences to learn. For "
            "names, words and scripts without spaces use characters (--tokens char) or word pieces (--tokens bpe); for "
            "molecules use atoms (--tokens smiles)"
        )
    ]


def a_handful(split: str, number: int, noun: str, option: str) -> list[Remark]:
    """That a held-out split has so few sequences that its figures mean little.

    Args:
        split: "valid" or "test".
        number: of its sequences.
        noun: what one is called.
        option: setting for a file of its own, as it is typed.
    """
    if split == "train" or number >= A_HANDFUL:
        return []
    return [
        Remark(
            f"{split}: only {number} {noun}{'' if number == 1 else 's'}; metrics on so few are unreliable. Give more "
            f"data, a larger --task.{split}-fraction, or a separate file ({option} FILE)"
        )
    ]
