"""Where a text, a source and a target stand in a record: by number, by name, by a path into objects, or well known.

A path goes into objects by names and into lists by numbers, counted from 0 and from the end below it:
`translation.de`, `messages.-1.content`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlgan.base.errors import ConfigError, DataError, nearest

from .chats import CHAT_FIELDS, is_chat
from .json_records import json_type

Column = int | str


def as_column(setting: str, value: object) -> object:
    """A column as it is typed: digits are its number.

    Raises:
        ConfigError: it is no column.
    """
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if value == "" or (isinstance(value, int) and value < 0):
        raise ConfigError(
            f"{setting}={value!r}: not a column. Give a number, counted from 0, or a name.",
            code="bad_column",
            fields={setting: value},
        )
    return value


WELL_KNOWN_TEXTS = ("text",)
"""Names of columns that are a text, whatever stands beside them; case does not matter in any of these lists."""

WELL_KNOWN_PAIRS = (
    ("source", "target"),
    ("src", "tgt"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("question", "answer"),
    ("document", "summary"),
    ("article", "highlights"),
    ("input", "output"),
)
"""Names of columns that are a source and its target. Of instruction and output, `input` goes behind the instruction."""

WELL_KNOWN_SOURCES = tuple(dict.fromkeys(source for source, _ in WELL_KNOWN_PAIRS))
_WELL_KNOWN_TARGETS = tuple(dict.fromkeys(target for _, target in WELL_KNOWN_PAIRS))

# What a first row holds that is none: such a name alone is told, and is no reason to leave the row out.
_USUAL_HEADERS = {
    *WELL_KNOWN_TEXTS, *WELL_KNOWN_SOURCES, *_WELL_KNOWN_TARGETS, *CHAT_FIELDS,
    "id", "idx", "index", "label", "sentence", "sentences", "title", "content", "body", "caption", "captions", "tweet",
    "review", "quote", "name", "smiles", "canonical_smiles", "sequence", "seq", "selfies", "peptide", "utterance",
    "english", "german", "french", "spanish", "chinese", "japanese", "en", "de", "fr", "es", "zh", "ja", "lang",
    "query", "reply", "context", "translation", "reference", "abstract", "dialogue", "url", "date", "score", "author",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """One text that is looked for in each record.

    Attributes:
        side: what it is called: "source", "target", "text".
        option: what names its column where it is typed: "--task.input.source".
        column: where it stands; None: by a well-known name.
        known: names that are known besides, where no column is given; they go before the well-known ones.
    """

    side: str
    option: str
    column: Column | None = None
    known: tuple[str, ...] = ()


def folded(names: Sequence[str]) -> dict[str, str]:
    """Names by their small letters without spaces around them; of those that are then equal, the first."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(name.strip().lower(), name)
    return found


def well_known_text(names: Sequence[str], before: Sequence[str] = ()) -> str | None:
    """The column that is a text, by its name; names in `before` are tried first. None if none is known to be."""
    known = folded(names)
    return next((known[name] for name in (*before, *WELL_KNOWN_TEXTS) if name in known), None)


def well_known_source(names: Sequence[str]) -> str | None:
    """The column that is a source or, where there is none, a text."""
    known = folded(names)
    found = [known[name] for name in WELL_KNOWN_SOURCES if name in known]
    return found[0] if found else well_known_text(names)


def well_known_prompt(names: Sequence[str]) -> str | None:
    """The column that is a source or, where there is none, a conversation or a text."""
    known = folded(names)
    found = [known[name] for name in (*WELL_KNOWN_SOURCES, *CHAT_FIELDS) if name in known]
    return found[0] if found else well_known_text(names)


def well_known_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """The columns that are a source and its target, as often as that is so."""
    known = folded(names)
    found = [
        (known[source], known[target]) for source, target in WELL_KNOWN_PAIRS if source in known and target in known
    ]
    # An instruction with its input has one output.
    if any(source.lower().strip() == "instruction" for source, _ in found):
        found = [pair for pair in found if pair[0].lower().strip() != "input"]
    return found


def well_known_chat(names: Sequence[str]) -> str | None:
    """The field that is a conversation."""
    known = folded(names)
    return next((known[name] for name in CHAT_FIELDS if name in known), None)


def looks_like_header(first: Sequence[str], others: Sequence[Sequence[str]]) -> bool:
    """Whether a first row seems to name columns: usual names, or one word in each cell where others have several."""
    cells = [cell.strip() for cell in first]
    if not cells or not all(cells) or len({cell.lower() for cell in cells}) < len(cells):
        return False
    if all(cell.lower() in _USUAL_HEADERS for cell in cells):
        return True
    if not all(re.fullmatch(r"[^\W\d][\w-]*", cell) for cell in cells) or len(others) < 10:
        return False
    several = sum(all(len(cell.split()) > 1 for cell in row) for row in others)
    return several >= 0.95 * len(others)


@dataclass(frozen=True, slots=True)
class Path:
    """Where a value stands in an object.

    Attributes:
        name: as it was given.
        keys: names of fields, and places in lists.
    """

    name: str
    keys: tuple[str, ...]

    @classmethod
    def of(cls, name: str, record: Mapping[str, Any]) -> Path:
        """A path; a field that has exactly that name goes before one that dots lead to."""
        return cls(name, (name,) if name in record else tuple(name.split(".")))

    def is_within(self, other: Path) -> bool:
        """Whether it leads to where the other one leads, or further down."""
        return self.keys[: len(other.keys)] == other.keys

    def value_in(self, where: str, record: Any, wanted: Wanted, had_by_others: bool) -> Any:
        """The value in a record.

        Args:
            where: file and record, for errors.
            record: an object.
            wanted: whose path this is.
            had_by_others: whether the record before this one has it.

        Raises:
            DataError: there is none.
        """
        value = record
        for depth, key in enumerate(self.keys):
            if isinstance(value, dict) and key in value:
                value = value[key]
            elif isinstance(value, list) and re.fullmatch(r"-?\d+", key) and -len(value) <= int(key) < len(value):
                value = value[int(key)]
            else:
                raise self._missing(where, value, depth, wanted, had_by_others)
        return value

    def _missing(self, where: str, value: Any, depth: int, wanted: Wanted, had_by_others: bool) -> DataError:
        above, key = ".".join(self.keys[:depth]), self.keys[depth]
        if isinstance(value, Mapping):
            what = f"its fields are {', '.join(map(repr, value)) or 'none'}"
            near = nearest(key, list(value))
        elif isinstance(value, list):
            what, near = f"it is a list of {len(value)}", ""
        else:
            what, near = f"it is {json_type(value)}", ""
        remedy = (
            f"All records before it have one. Add the field {self.name!r} to this record, or remove the record."
            if had_by_others
            else f"Set {wanted.option} to the field of the {wanted.side}."
        )
        owner = f"{above!r} has" if above else "has"
        return DataError(
            f"{where}: {owner} no field {key!r}; {what}. {remedy}{near}",
            code="record_lacks_field",
            fields={"where": where},
        )


def paths_to_texts(record: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Paths of a record that lead to texts or to lists of them; of messages to what was said, and not by whom."""
    found: list[str] = []
    for name, value in record.items():
        if isinstance(value, str) or (isinstance(value, list) and value and all(isinstance(v, str) for v in value)):
            found.append(prefix + name)
        elif is_chat(value):
            found.append(f"{prefix}{name}.-1.{'content' if 'content' in value[-1] else 'value'}")
        elif isinstance(value, Mapping):
            found += paths_to_texts(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[-1], Mapping):
            found += paths_to_texts(value[-1], f"{prefix}{name}.-1.")
    return found
