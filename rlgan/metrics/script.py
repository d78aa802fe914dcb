"""What script texts are written in, as far as cutting them into words asks: with spaces between words, or without.

Chinese, Japanese, Thai, Lao, Khmer, Burmese and a few more have no spaces between words. A tokeniser of spaced text
finds one word in a whole sentence of theirs, and BLEU of four words in a row is then 0 whatever is written.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

_HAN = ("CJK UNIFIED IDEOGRAPH", "CJK COMPATIBILITY IDEOGRAPH")
_OTHERS = (
    "HIRAGANA",
    "KATAKANA",
    "HALFWIDTH KATAKANA",
    "BOPOMOFO",
    "THAI",
    "LAO",
    "KHMER",
    "MYANMAR",
    "TIBETAN",
    "TAI",
    "NEW TAI",
    "JAVANESE",
    "BALINESE",
    "YI",
)
"""First words of the Unicode names of the letters of scripts without spaces. Korean and Vietnamese have spaces."""

_LEAST_SHARE = 0.2
"""A word in a spaced script has about five letters: from here on, half of the words are of scripts without spaces."""

_FEW = 0.01
"""Share of other scripts without spaces below which a text is Chinese."""

Tokeniser = Literal["13a", "zh", "char"]


@dataclass(frozen=True, slots=True)
class Script:
    """How texts are written.

    Attributes:
        num_letters: letters, and the marks that go with them.
        num_han: of those, Chinese characters.
        num_others: of those, letters of other scripts without spaces.
    """

    num_letters: int
    num_han: int
    num_others: int

    @property
    def share_unspaced(self) -> float:
        """Share of letters in scripts without spaces between words; 0 where there are no letters."""
        return (self.num_han + self.num_others) / self.num_letters if self.num_letters else 0.0

    @property
    def tokeniser(self) -> Tokeniser:
        """Name of the tokeniser of sacrebleu that cuts such texts into words.

        13a, the usual one, where words have spaces between them; zh where those without are Chinese: it makes each
        Chinese character a word and cuts the rest like 13a; char for the others, of which it knows nothing: each
        character is a word.
        """
        if self.share_unspaced < _LEAST_SHARE:
            return "13a"
        return "zh" if self.num_others <= _FEW * (self.num_han + self.num_others) else "char"


def script_of(texts: Iterable[str]) -> Script:
    """What texts are written in, by counting their letters."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    letters = {one: number for one, number in counts.items() if unicodedata.category(one)[0] in "LM"}
    names = {one: unicodedata.name(one, "") for one in letters}
    return Script(
        num_letters=sum(letters.values()),
        num_han=sum(number for one, number in letters.items() if names[one].startswith(_HAN)),
        num_others=sum(number for one, number in letters.items() if _is_other(names[one])),
    )


def _is_other(name: str) -> bool:
    return any(name.startswith(f"{script} ") for script in _OTHERS)
