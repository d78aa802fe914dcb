"""What a file is of which nothing is known: texts or pairs, and what their tokens are.

A guess that a person sees and can correct: whoever trains says it (`--data`, `--pairs`, `--tokens`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Literal

from rlgan.base.errors import ConfigError
from rlgan.base.settings import Settings

from ..reading import Wanted, read_texts
from ..tokenisers import SMILES_PATTERN
from .pair_files import read_pairs
from .pairs import PairsTask, SeparateVocabularies
from .pieces import Characters, Smiles, TokenSettings, Words
from .text import TextTask

Kind = Literal["word", "char", "smiles"]
FileTask = TextTask | PairsTask

_TOKENS: Mapping[Kind, TokenSettings] = {"word": Words(), "char": Characters(), "smiles": Smiles()}
_LOOKED_AT = 1_000
_NEARLY_ALL = 0.9
_MOLECULE = re.compile(rf"(?:{SMILES_PATTERN})+")
_OF_MOLECULES = re.compile(r"[()=#\[\]0-9]")


def with_tokens(settings: Settings, *, keeps: bool = False) -> FileTask:
    """A task whose tokens are of the kind that its training file is of.

    Args:
        settings: of the task.
        keeps: leaves the tokens as they are, and only tells whether the file can be read.

    Raises:
        ConfigError: the task is one of neither texts nor pairs.
        DataError: the file is missing or unreadable, or its records are no texts, or no pairs.
    """
    if isinstance(settings, TextTask):
        wanted = Wanted("text", "--task.column", settings.column)
        found = read_texts(settings.data, settings.how, wanted, "a text file with one sequence per line")
        return settings if keeps else settings.model_copy(update={"tokens": _TOKENS[kind_of(found.texts)]})
    if not isinstance(settings, PairsTask):
        raise ConfigError(
            "--task: cannot be set, because whether a file contains texts or pairs is detected. Remove it.",
            code="file_kind_set",
            fields={"option": "task"},
        )
    pairs = read_pairs(settings.input, "train", settings.how)
    if keeps:
        return settings
    vocabulary = SeparateVocabularies(source=_TOKENS[kind_of(pairs.sources)], target=_TOKENS[kind_of(pairs.targets)])
    return settings.model_copy(update={"vocabulary": vocabulary})


def kind_of(texts: Sequence[Any]) -> Kind:
    """What tokens of texts are: words where there are spaces between them, atoms and bonds of molecules, characters.

    Args:
        texts: strings, or lists of strings, of which the first thousand are looked at.
    """
    strings = (one if isinstance(one, str) else " ".join(one) for one in texts)
    looked = [text for one in islice(strings, _LOOKED_AT) if (text := one.strip())]
    single = [text for text in looked if len(text.split()) == 1]
    if not looked or len(single) < _NEARLY_ALL * len(looked):
        return "word"
    molecules = [text for text in single if _MOLECULE.fullmatch(text)]
    has_marks = sum(_OF_MOLECULES.search(text) is not None for text in molecules) > len(molecules) / 2
    return "smiles" if len(molecules) >= _NEARLY_ALL * len(single) and has_marks else "char"
