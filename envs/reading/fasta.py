"""Sequences of a FASTA file: a line that begins with > names one, the lines below it are its parts.

Lines that begin with ; are comments, as in the first programs that read the format (Pearson & Lipman 1988).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rlgan.base.errors import DataError

from .notes import shown

FASTA_SUFFIXES = (".fasta", ".fa", ".fna", ".faa", ".ffn", ".frn", ".fas")
_PART = re.compile(r"[A-Za-z*.-]+")
_SAMPLE = 1000


def looks_like_fasta(lines: Sequence[str]) -> bool:
    """Whether a text begins with a line of a name, and its other lines are letters without spaces."""
    sample = [line.rstrip() for line in lines[:_SAMPLE] if line.strip() and not is_comment(line)]
    if len(sample) < 2 or not re.match(r">\S", sample[0]) or sample[1].startswith(">"):
        return False
    return all(line.startswith(">") or _PART.fullmatch(line) for line in sample)


def is_comment(line: str) -> bool:
    """Whether a line of a FASTA file belongs to no sequence."""
    return line.startswith(";")


def looks_like_fastq(lines: Sequence[str]) -> bool:
    """Whether a text begins with a read and its qualities."""
    first = lines[:4]
    return (
        len(first) == 4
        and first[0].startswith("@")
        and first[2].startswith("+")
        and len(first[1]) == len(first[3]) > 0
        and _PART.fullmatch(first[1]) is not None
    )


def fasta_sequences(path: str, lines: Sequence[str]) -> tuple[list[int], list[str]]:
    """The sequences, and the line on which the name of each stands.

    Raises:
        DataError: something stands before the first name.
    """
    numbers: list[int] = []
    parts: list[list[str]] = []
    for number, line in enumerate(lines, start=1):
        if line.startswith(">"):
            numbers.append(number)
            parts.append([])
        elif (text := line.strip()) and not is_comment(line):
            if not parts:
                raise DataError(
                    f"{path}, line {number}: comes before the first name ({shown(line)}). In FASTA a line that "
                    "begins with > comes before each sequence. Remove this line.",
                    code="fasta_no_name",
                    fields={"path": path, "line": number},
                )
            parts[-1].append(text)
    return numbers, ["".join("".join(part).split()) for part in parts]
