"""Numbers of lines and records, eight bytes each, or none where they follow one another."""

from __future__ import annotations

from array import array
from collections.abc import Sequence


class Numbers:
    """Collects numbers that rise."""

    def __init__(self) -> None:
        self._numbers = array("q")
        self.append = self._numbers.append

    def done(self) -> Sequence[int]:
        """All of them: as a range where each is one more than the number before it."""
        found = self._numbers
        if found and found[-1] - found[0] + 1 == len(found):
            return range(found[0], found[-1] + 1)
        return found
