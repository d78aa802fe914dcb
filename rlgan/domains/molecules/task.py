"""The task `molecules`: a file of SMILES, cleaned by rdkit, as tokens of SMILES or of SELFIES."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from rlgan.base.errors import ConfigError, DataError
from rlgan.envs.reading import (
    FileFormat,
    How,
    TextFile,
    Wanted,
    count,
    known_encoding,
    known_separator,
    read_texts,
    shown,
    which_lines,
)
from rlgan.envs.tasks import Task, text_task
from rlgan.envs.tokenisers import SMILES_PATTERN

from .chemistry import canonical, require_rdkit, selfies_of

_SELFIES_PATTERN = r"\[[^\]]+\]|\."
_LOOKED_AT = 20  # rows without a molecule, for what to say of a file that has none
_COLUMNS = ("smiles", "canonical_smiles", "selfies")
"""Names of columns that are taken where none is named, the first that is there."""


def molecules(
    path: str = "",
    column: str | int = "",
    notation: Literal["smiles", "selfies"] = "smiles",
    salts: Literal["drop", "keep"] = "drop",
    max_length: int = 100,
    held_out: float = 0.1,
    split_seed: int = 0,
    format: FileFormat = "auto",
    encoding: str = "utf-8",
    separator: str | None = None,
    quotes: bool | None = None,
    header: bool | None = None,
) -> Task:
    """Different molecules of a file, each in its canonical form; without a file some that are put together.

    Rows that are no molecules are left out and counted, a header among them; so are repeated molecules, however they
    are written, salts (molecules of several parts), where they are not kept, and held-out molecules with a token that
    no training molecule has.

    Args:
        path: of a file of any format that rlgan reads, with a SMILES string in each line, row or record; "" takes
            `put_together`, to try things out.
        column: where it stands, by name or number; "": the only one, or one that is called "smiles",
            "canonical_smiles", "selfies" or "text".
        notation: in which the generator writes: smiles, a token an atom, a bond or a bracket; or selfies, of which
            every string is a molecule.
        salts: drop or keep.
        max_length: greatest number of tokens, the terminator included, at least 2; longer molecules are dropped.
        held_out: fraction of the molecules for validation, and as many for testing.
        split_seed: of the random splits.
        format: what the file holds; auto: recognised. This and what follows are as in tasks of texts.
        encoding: character encoding of the file.
        separator: what stands between the columns of a table; None: recognised.
        quotes: whether cells of a table may stand in double quotes; None: recognised.
        header: whether the first row of a table, or the first line, names columns; None: recognised.

    Raises:
        ConfigError: a bad option, or rdkit or selfies is not installed.
        DataError: the file cannot be read, or has too few molecules.
    """
    require_rdkit("task molecules")
    _check_choices(
        notation=(notation, ("smiles", "selfies")),
        salts=(salts, ("drop", "keep")),
        format=(format, get_args(FileFormat)),
    )
    _check_numbers(held_out, max_length=(max_length, 2), split_seed=(split_seed, 0))
    if not path:
        given: dict[str, tuple[object, object]] = {
            "column": (column, ""),
            "format": (format, "auto"),
            "encoding": (encoding, "utf-8"),
            "separator": (separator, None),
            "quotes": (quotes, None),
            "header": (header, None),
        }
        _refuse_of_files(given)
    how = How(known_encoding(encoding), format, known_separator(separator), quotes, header, options="--task.options.")
    how.require_effect()
    read = _read(path, column, how)
    found = _cleaned(read.strings, read.numbers, salts, notation)
    names, bad, called = list(found.names), found.bad, read.path
    notes = [*read.notes, f"{called}: {count(len(names), 'molecule')}; left out: {found.told(read.unit)}"]
    number = int(len(names) * held_out)
    if number < 1 or len(names) - 2 * number < 2:
        raise DataError(
            f"{called}: has {count(len(names), 'molecule')} after cleaning, too few for a training split and two "
            f"held-out ones of {held_out:g} each; {count(len(bad), 'row')} had no molecule"
            f"{_first_of(found.first_bad)}. {_advice(found.first_bad, read)}",
            code="molecules_too_few",
            fields={"path": path, "task.options.held_out": held_out},
        )
    order = np.random.default_rng(split_seed).permutation(len(names))
    written = list(found.names.values())
    test, valid, train = (
        [written[place] for place in places]
        for places in (order[:number], order[number : 2 * number], order[2 * number :])
    )
    pattern = re.compile(SMILES_PATTERN if notation == "smiles" else _SELFIES_PATTERN)
    task = text_task("molecules", train, valid, test, tokens=pattern, max_length=max_length, keep_unseen=False)
    return replace(task, notes=(*notes, *task.notes))


_GROUPS = (
    ("C", "C"), ("CC", "CC"), ("CC(C)", "C(C)C"), ("O", "O"), ("CO", "OC"), ("OC", "CO"), ("CCO", "OCC"),
    ("N", "N"), ("CN", "NC"), ("CN(C)", "N(C)C"), ("NC", "CN"), ("F", "F"), ("Cl", "Cl"), ("Br", "Br"),
    ("N#C", "C#N"), ("FC(F)(F)", "C(F)(F)F"), ("CC(=O)N", "NC(C)=O"), ("NC(=O)", "C(N)=O"), ("OC(=O)", "C(=O)O"),
    ("COC(=O)", "C(=O)OC"), ("CS(=O)(=O)", "S(C)(=O)=O"), ("C1CC1", "C1CC1"),
)  # fmt: skip
"""Groups of atoms, as they are written before what they are bound to, and behind it."""
_RINGS = (
    "{}c2ccc({})cc2", "{}c2cccc({})c2", "{}c2ccc({})nc2", "{}c2ccc({})s2", "{}c2cc({})[nH]n2", "{}C2CCC({})CC2",
    "{}C2CCN(C(=O)c3ccc({})cc3)CC2", "{}C2CC2NC(=O)c2ccc({})o2",
)  # fmt: skip


def put_together() -> list[str]:
    """A few thousand small molecules, two groups on each of a few rings: for trying out, where there is no file."""
    return [ring.format(one, other) for ring in _RINGS for one, _ in _GROUPS for _, other in _GROUPS]


def _check_choices(**options: tuple[str, Sequence[str]]) -> None:
    for name, (value, allowed) in options.items():
        if value not in allowed:
            raise ConfigError(
                f"task.options.{name}={value!r}: choose one of {', '.join(allowed)}.",
                code="molecules_option",
                fields={f"task.options.{name}": value},
            )


def _check_numbers(held_out: float, **options: tuple[int, int]) -> None:
    if not 0.0 < held_out < 0.5:
        raise ConfigError(
            f"task.options.held_out={held_out:g}: must be above 0 and below 0.5, because as many molecules are held "
            "out for validation as for testing. Set it to 0.1.",
            code="molecules_held_out",
            fields={"task.options.held_out": held_out},
        )
    for name, (value, least) in options.items():
        if value < least:
            raise ConfigError(
                f"task.options.{name}={value!r}: must be at least {least}.",
                code="molecules_number",
                fields={f"task.options.{name}": value},
            )


def _refuse_of_files(options: Mapping[str, tuple[object, object]]) -> None:
    """Refuse what says how a file is read, for there is none: of each option its value and its default."""
    for name, (value, default) in options.items():
        if value != default:
            raise ConfigError(
                f"task.options.{name}={value!r}: has no effect without a file. Set task.options.path, or remove it.",
                code="molecules_no_file",
                fields={f"task.options.{name}": value},
            )


def _read(path: str, column: str | int, how: How) -> TextFile:
    if not path:
        strings = put_together()
        return TextFile("assembled molecules", strings, range(1, len(strings) + 1), "line")
    chosen = int(column) if isinstance(column, str) and column.isdecimal() else column
    return read_texts(
        path,
        how,
        Wanted("text", "--task.options.column", None if chosen == "" else chosen, known=_COLUMNS),
        "a file with a SMILES string in each line",
    )


def _first_of(bad: Sequence[str]) -> str:
    written = [text for text in bad if text.strip()]
    return f", the first of them {shown(written[0])}" if written else ""


def _advice(bad: Sequence[str], read: TextFile) -> str:
    """What to do about a file without molecules: often they stand behind a name, where lines have no columns."""
    mark = "\t" if any("\t" in text for text in bad) else " "
    places = [{place for place, word in enumerate(text.split(mark)) if place and canonical(word)} for text in bad]
    if read.unit != "line" or not places or not (common := set.intersection(*places)):
        return "Give more molecules, or another column."
    separator = "tab" if mark == "\t" else "' '"
    return (
        f"Column {min(common)} of its lines, counted from 0, has molecules: set --task.options.format table, "
        f"--task.options.separator {separator} and --task.options.column {min(common)}."
    )


@dataclass
class _Cleaned:
    """What is left of the rows of a file.

    Attributes:
        names: canonical SMILES of each molecule → how it is written.
        bad: numbers of rows without a molecule.
        first_bad: the first of these rows.
        unwritten: numbers of rows whose molecule cannot be written as SELFIES.
        num_salts: salts that were left out.
        num_repeated: molecules that were there already.
    """

    names: dict[str, str] = field(default_factory=dict)
    bad: list[int] = field(default_factory=list)
    first_bad: list[str] = field(default_factory=list)
    unwritten: list[int] = field(default_factory=list)
    num_salts: int = 0
    num_repeated: int = 0

    def told(self, unit: str) -> str:
        """What was left out, for the log."""
        parts = [f"{count(len(self.bad), 'row')} without a molecule{_where(self.bad, unit)}"]
        if self.unwritten:
            what = count(len(self.unwritten), "molecule")
            parts.append(f"{what} that cannot be written as SELFIES{_where(self.unwritten, unit)}")
        return ", ".join([*parts, count(self.num_salts, "salt"), f"{self.num_repeated} repeated"])


def _where(numbers: Sequence[int], unit: str) -> str:
    return f" ({which_lines(numbers, unit)})" if numbers else ""


def _cleaned(texts: Sequence[str], numbers: Sequence[int], salts: str, notation: str) -> _Cleaned:
    found = _Cleaned()
    for text, number in zip(texts, numbers, strict=True):
        name = canonical(text.split()[0] if text.split() else "")  # a name may stand behind, as in .smi files
        if name is None:
            found.bad.append(number)
            if len(found.first_bad) < _LOOKED_AT:
                found.first_bad.append(text)
        elif "." in name and salts == "drop":
            found.num_salts += 1
        elif name in found.names:
            found.num_repeated += 1
        else:
            try:
                found.names[name] = name if notation == "smiles" else selfies_of(name)
            except DataError:
                found.unwritten.append(number)
    return found
