"""What a reader has to know of a figure: its unit, which way is better, whether it depends on how much was measured.

The facts of a figure stand beside the metric that it is of, in `QUANTITIES` of its module, and
`rlgan.evaluation.quantities` finds them by name. docs/metrics.md says more, and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

Better = Literal["lower", "higher"]
Size = Literal["samples", "hypotheses", "as real", "prefixes", "neighbours", "sources", "pairs", "test", "training"]
SIZES: Mapping[Size, str] = {
    "samples": "samples",
    "hypotheses": "samples",
    "as real": "samples",
    "prefixes": "prefixes",
    "neighbours": "samples",
    "sources": "sources",
    "pairs": "human pairs",
    "test": "test sequences",
    "training": "training sequences",
}
"""What a figure may depend on the number of, in words."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is known of a figure, or of all those whose names have one form.

    Attributes:
        name: without `eval/`; `*` stands for any letters.
        meaning: what it is, in a few words.
        unit: what it is counted in.
        better: which values are better; None where neither is, and a generator should have what real sequences have.
        size: what it depends on the number of, so that figures with different numbers are not comparable; None where it
            varies by chance alone.
        side: "quality" or "coverage" where it sees one of the two, for the axis of a plane.
        is_key: whether it stands in the short table at the end of a run.
        is_beside: whether it says nothing of a generator, and others are read beside it.
    """

    name: str
    meaning: str
    unit: str
    better: Better | None = None
    size: Size | None = None
    side: Literal["quality", "coverage"] | None = None
    is_key: bool = False
    is_beside: bool = False

    @property
    def arrow(self) -> str:
        """Which way is better, as a sign behind its name; empty where neither is."""
        return {"lower": " ↓", "higher": " ↑", None: ""}[self.better]

    @property
    def direction(self) -> str:
        """Which way is better, in words."""
        if self.is_beside:
            return "to compare others with"
        return "as real data" if self.better is None else f"{self.better} is better"

    @property
    def axis(self) -> str:
        """As the axis of a picture is named: what it is, its unit, what it sees, which way is better."""
        seen = "" if self.side is None else f"{self.side}, "
        return f"{self.meaning}, {self.unit}: {seen}{self.direction}"


def found_in(quantities: Iterable[Quantity], name: str) -> Quantity | None:
    """The first quantity that has a name, or whose form the name has.

    Args:
        quantities: in order.
        name: of a figure, without `eval/`.
    """
    return next((one for one in quantities if one.name == name or fnmatchcase(name, one.name)), None)


def legend_of(quantities: Sequence[Quantity]) -> str:
    """How the columns of a table are read: units, and which way is better."""
    if not quantities:
        return ""
    units: dict[str, list[str]] = {}
    for one in quantities:
        units.setdefault(one.unit, []).append(one.name)
    counted = (
        [f"{unit}: {', '.join(names)}" for unit, names in units.items()]
        if len(units) > 1
        else [f"All in {unit}" for unit in units]
    )
    ways = {one.better for one in quantities if not one.is_beside}
    signs = {"lower": "↓ lower is better", "higher": "↑ higher is better", None: "no sign: best where real data are"}
    told = [words for way, words in signs.items() if way in ways]
    if beside := [one.name for one in quantities if one.is_beside]:
        told.append(f"{', '.join(beside)}: to compare others with")
    return f"{'; '.join(counted)}. {', '.join(told)}."
