"""The task `molecules`: a file of SMILES, cleaned by rdkit, as tokens of SMILES or of SELFIES."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from rlgan.base.errors import ConfigError, DataError
from rlgan.envs.reading import How, Wanted, count, read_texts, which_lines
from rlgan.envs.tasks import Task, text_task
from rlgan.envs.tokenisers import SMILES_PATTERN

from .chemistry import canonical, require_rdkit, selfies_of

_SELFIES_PATTERN = r"\[[^\]]+\]|\."


def molecules(
    path: str = "",
    column: str = "",
    notation: Literal["smiles", "selfies"] = "smiles",
    salts: Literal["drop", "keep"] = "drop",
    max_length: int = 100,
    held_out: float = 0.1,
    split_seed: int = 0,
) -> Task:
    """Different molecules of a file, each in its canonical form; without a file some that are put together.

    Rows that are no molecules are left out and counted, a header among them; so are repeated molecules, however they
    are written, and salts (molecules of several parts), where they are not kept.

    Args:
        path: of a file of any format that rlgan reads, with a SMILES string in each line, row or record; "" takes
            `put_together`, to try things out.
        column: where it stands, by name or number; "": the only one, or one that is called "text".
        notation: in which the generator writes: smiles, a token an atom, a bond or a bracket; or selfies, of which
            every string is a molecule.
        salts: drop or keep.
        max_length: greatest number of tokens, the terminator included; longer molecules are dropped.
        held_out: fraction of the molecules for validation, and as many for testing.
        split_seed: of the random splits.

    Raises:
        ConfigError: a bad option, or rdkit or selfies is not installed.
        DataError: the file cannot be read, or has too few molecules.
    """
    require_rdkit("task molecules")
    for name, value, allowed in (("notation", notation, ("smiles", "selfies")), ("salts", salts, ("drop", "keep"))):
        if value not in allowed:
            raise ConfigError(
                f"task.options.{name}={value!r}: choose one of {', '.join(allowed)}.",
                code="molecules_option",
                fields={f"task.options.{name}": value},
            )
    if not 0.0 < held_out < 0.5:
        raise ConfigError(
            f"task.options.held_out={held_out:g}: must be above 0 and below 0.5, because as many molecules are held "
            "out for validation as for testing. Set it to 0.1.",
            code="molecules_held_out",
            fields={"task.options.held_out": held_out},
        )
    strings, numbers, unit, remarks = _read(path, column)
    names, bad, num_salts, num_repeated = _cleaned(strings, numbers, salts)
    called = path or "molecules that are put together"
    notes = [
        *remarks,
        f"{called}: {count(len(names), 'molecule')}; left out: {count(len(bad), 'row')} without a molecule"
        f"{f' ({which_lines(bad, unit)})' if bad else ''}, {count(num_salts, 'salt')}, {num_repeated} repeated",
    ]
    number = int(len(names) * held_out)
    if number < 1 or len(names) - 2 * number < 2:
        raise DataError(
            f"{called}: has {count(len(names), 'molecule')} after cleaning, too few for a training split and two "
            f"held-out ones of {held_out:g} each; {count(len(bad), 'row')} had no molecule. Give more molecules, or "
            "another column.",
            code="molecules_too_few",
            fields={"path": path, "task.options.held_out": held_out},
        )
    order = np.random.default_rng(split_seed).permutation(len(names))
    written = names if notation == "smiles" else [selfies_of(name) for name in names]
    test, valid, train = (
        [written[place] for place in places]
        for places in (order[:number], order[number : 2 * number], order[2 * number :])
    )
    pattern = re.compile(SMILES_PATTERN if notation == "smiles" else _SELFIES_PATTERN)
    task = text_task("molecules", train, valid, test, tokens=pattern, max_length=max_length)
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


def _read(path: str, column: str) -> tuple[Sequence[str], Sequence[int], str, Sequence[str]]:
    """Strings of a file with the numbers of their lines, what those count, and what there is to say of the file."""
    if not path:
        strings = put_together()
        return strings, range(1, len(strings) + 1), "line", ()
    read = read_texts(
        path,
        How(options="--task.options."),
        Wanted("text", "--task.options.column", int(column) if column.isdecimal() else column or None),
        "a file with a SMILES string in each line",
    )
    return read.strings, read.numbers, read.unit, read.notes


def _cleaned(texts: Sequence[str], numbers: Sequence[int], salts: str) -> tuple[list[str], list[int], int, int]:
    """Names of the molecules, each once; which rows had none; how many salts and repeated ones were left out."""
    names: dict[str, None] = {}
    bad, num_salts, num_repeated = [], 0, 0
    for text, number in zip(texts, numbers, strict=True):
        name = canonical(text.split()[0] if text.split() else "")  # a name may stand behind, as in .smi files
        if name is None:
            bad.append(number)
        elif "." in name and salts == "drop":
            num_salts += 1
        elif name in names:
            num_repeated += 1
        else:
            names[name] = None
    return list(names), bad, num_salts, num_repeated
