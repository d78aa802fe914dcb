"""How the tokens of sequences are written as text, for whoever reads text and not ids."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from .vocabulary import Joining, join_tokens


@dataclass(frozen=True)
class Spelling:
    """Names of tokens, and how they become text.

    Attributes:
        names: V strings, how each id is shown.
        joining: how tokens become text.
    """

    names: tuple[str, ...]
    joining: Joining = "words"

    def texts(self, tokens: Tensor, mask: Tensor, end_id: int | None) -> list[str]:
        """What sequences, or their beginnings, say; line breaks stay, and the terminator is not shown.

        Args:
            tokens: (B, T) integer.
            mask: (B, T) bool, True on the tokens that are read, which are the first ones.
            end_id: the terminator; None where there is none.

        Returns:
            B strings.
        """
        texts = []
        for row, length in zip(tokens.tolist(), mask.sum(1).tolist(), strict=True):
            ids = row[:length]
            if ids and ids[-1] == end_id:
                ids = ids[:-1]
            texts.append(join_tokens([self.names[token] for token in ids], self.joining, in_one_line=False))
        return texts

    @cached_property
    def digest(self) -> str:
        """Tells whether two alphabets are the same, id by id; hexadecimal."""
        return hashlib.sha256("\n".join((self.joining, *self.names)).encode("utf-8", "surrogatepass")).hexdigest()
