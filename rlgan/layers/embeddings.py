"""Embeddings that begin as the vectors of a file: its format, the tables made of it, the module that holds them.

A file is read once, where the run begins. Everybody else (rollout workers, a run that is resumed, whoever samples from
a finished one) is given the tables as weights and never sees the file.

    V vocabulary, P columns of the file, E columns of the network's own
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rlgan.base.errors import DataError, nearest
from rlgan.base.search_priors import NotSearched
from rlgan.base.seeding import stream
from rlgan.base.settings import IsFile, Settings
from rlgan.envs.reading.notes import beginning
from rlgan.envs.tasks import Task
from rlgan.envs.vocabulary import UNK_NAME

_LEAST_DIMENSION = 2  # of 1 a first line of two numbers would mean two things


class NoPretrained(Settings):
    """All columns are trained from random initial values."""

    kind: Literal["none"] = "none"
    reads_file: ClassVar[bool] = False


class WordVectors(Settings):
    """Columns initialised from a file of word vectors, beside the network's own (ScratchGAN: GloVe 300 and 64)."""

    kind: Literal["word_vectors"] = "word_vectors"
    path: Annotated[str, IsFile()] = Field(min_length=1)
    """Text file in GloVe or word2vec format, with a word and its numbers on each line; read only when the run
    starts."""
    dimension: int = Field(300, ge=_LEAST_DIMENSION)
    """Dimension of the vectors in the file."""
    freeze: bool = False
    """Whether these columns stay fixed; false trains them, as in the implementation of ScratchGAN."""
    reads_file: ClassVar[bool] = True


PretrainedSettings = Annotated[NoPretrained | WordVectors, Field(discriminator="kind")]
"""Settings of the columns that begin as something; `reads_file` says whether that is a file's."""

Pretrained = Annotated[PretrainedSettings, NotSearched("needs a local file for the language")]
"""The same, as a field of a network's settings."""


class PretrainedEmbedding(nn.Module):
    """Token embedding of two tables side by side: weight = [pretrained | own].

    A frozen table is a buffer: among the weights that are published and kept, but no parameter, so that neither the
    optimiser nor its weight decay, nor a penalty or clip of weights, knows of it.

    Args:
        vocab_size: number of tokens V.
        dimension: columns P that begin as something.
        own: columns E of the network's own.
        freeze: whether the first P columns stay as they are.

    Attributes:
        pretrained: (V, P) float32; NaN until `load` or weights put something there, so that nobody trains on a table
            that was forgotten.
        own: (V, E), the network's own columns.
    """

    constant_buffers: ClassVar[frozenset[str]] = frozenset({"pretrained"})
    """See `rlgan.base.weights.base_of`; if the table is trained, it is not a buffer."""

    pretrained: Tensor

    def __init__(self, vocab_size: int, dimension: int, own: int, freeze: bool) -> None:
        super().__init__()
        table = torch.full((vocab_size, dimension), torch.nan)
        if freeze:
            self.register_buffer("pretrained", table)
        else:
            self.pretrained = nn.Parameter(table)
        self.own = nn.Embedding(vocab_size, own)

    @property
    def weight(self) -> Tensor:
        """(V, P + E) both tables, with gradient."""
        return torch.cat([self.pretrained, self.own.weight], dim=1)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., P + E) rows of tokens (...)."""
        return torch.cat([functional.embedding(tokens, self.pretrained), self.own(tokens)], dim=-1)

    @torch.no_grad()
    def load(self, table: Tensor) -> None:
        """Begin as a table (V, P)."""
        self.pretrained.copy_(table)


class FrozenEmbedding(nn.Module):
    """Token embedding that stays as another network's was: a buffer, as a frozen table of `PretrainedEmbedding`.

    Args:
        vocab_size: number of tokens V.
        columns: E.

    Attributes:
        weight: (V, E) float32; NaN until weights put something there, so that nobody trains on a table that was
            forgotten.
    """

    constant_buffers: ClassVar[frozenset[str]] = frozenset({"weight"})
    """See `rlgan.base.weights.base_of`."""

    weight: Tensor

    def __init__(self, vocab_size: int, columns: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.full((vocab_size, columns), torch.nan))

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., E) rows of tokens (...)."""
        return functional.embedding(tokens, self.weight)


TokenEmbedding = nn.Embedding | PretrainedEmbedding | FrozenEmbedding
"""A row for each token, called with tokens; `weight` (V, ·) is its table."""


def build_embedding(vocab_size: int, own: int, pretrained: PretrainedSettings) -> TokenEmbedding:
    """Fresh embedding, initialised from torch's global random state.

    Args:
        vocab_size: number of tokens V.
        own: columns of the network's own.
        pretrained: what stands beside them.
    """
    if isinstance(pretrained, NoPretrained):
        return nn.Embedding(vocab_size, own)
    return PretrainedEmbedding(vocab_size, pretrained.dimension, own, pretrained.freeze)


def embedding_width(own: int, pretrained: PretrainedSettings) -> int:
    """Columns of what `build_embedding` returns."""
    return own + (0 if isinstance(pretrained, NoPretrained) else pretrained.dimension)


def load_pretrained(network: nn.Module, table: Tensor | None) -> None:
    """Put a table (V, P) into every pretrained embedding of a network, each a copy; None leaves them alone."""
    if table is not None:
        for module in network.modules():
            if isinstance(module, PretrainedEmbedding):
                module.load(table)


def with_embeddings_of(weights: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a discriminator of pairs, each member's two tables as those of a generator.

    Args:
        weights: of the discriminator, by name.
        other: of a generator that has `source_embedding` and `embedding`.

    Returns:
        All weights of the discriminator; the two tables are copies.
    """
    tables = {name: other[name] for name in ("source_embedding.weight", "embedding.weight")}

    def taken(name: str, own: Tensor) -> Tensor:
        # Of an ensemble's member behind its number. The dot keeps `embedding` apart from `source_embedding`.
        found = [table for ending, table in tables.items() if name == ending or name.endswith(f".{ending}")]
        return found[0].clone() if found else own

    return {name: taken(name, own) for name, own in weights.items()}


# ---------------------------------------------------------------------------- files


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """What a file says of a vocabulary.

    Attributes:
        table: (V, P) float32; rows of tokens that the file has not are 0.
        is_found: (V,) bool.
    """

    table: Tensor
    is_found: Tensor


def token_ids(task: Task) -> dict[str, int]:
    """Ids by word, of all tokens of a text task that a file may have a vector of: all but the terminator.

    The word `<end>` is an ordinary token where the text holds it; the word `<unk>` is the unknown token.
    """
    space = task.space
    special = {} if space.unknown_id is None else {UNK_NAME: space.unknown_id}
    return special | {
        name: token for token, name in enumerate(task.token_names) if token not in (space.end_id, space.unknown_id)
    }


def read_word_vectors(
    path: str, dimension: int, ids: Mapping[str, int], vocab_size: int, owners: Sequence[str] = ()
) -> TokenVectors:
    """Vectors of a vocabulary's words, from a text file of GloVe or word2vec.

    A line is a word and its numbers, between blanks; the first line may tell instead how many lines follow and how many
    numbers each has. Words are compared letter by letter, as UTF-8. Every line must have the right number of numbers;
    what the numbers are, and whether a word stands there twice, is asked only of words in the vocabulary. Some files
    have words with blanks in them, which are no tokens.

    Args:
        path: of the file.
        dimension: numbers a line.
        ids: word → token.
        vocab_size: number of tokens V.
        owners: paths of the networks whose settings these are, for the error.

    Returns:
        The table, with zeros for tokens that the file has not.

    Raises:
        DataError: the file cannot be read or is empty; a line has another number of numbers, or of a word of the
            vocabulary something that is no finite number; a word of the vocabulary stands there twice; fewer or more
            lines than the first one says.
    """
    table = np.zeros((vocab_size, dimension), dtype=np.float32)
    wanted = {name.encode(): token for name, token in ids.items()}
    line_of: dict[int, int] = {}
    announced, num_vectors = None, 0
    for number, fields in _lines(path):
        if number == 1:
            announced = _header(fields)
            found_dimension = len(fields) - 1 if announced is None else announced[1]
            if found_dimension < _LEAST_DIMENSION or (announced is None and not _is_number(fields[-1])):
                begin = beginning(b" ".join(fields).decode(errors="replace"))
                raise DataError(
                    f"{path}, line 1: is not a word followed by numbers ({begin!r}). Give a text file in GloVe or "
                    "word2vec format.",
                    code="vectors_first_line",
                    fields={"path": path},
                )
            if found_dimension != dimension:
                names = [f"{owner}.pretrained.dimension" for owner in owners] or ["pretrained.dimension"]
                raise DataError(
                    f"{path}: its vectors have dimension {found_dimension}, but {' and '.join(names)} is "
                    f"{dimension}. Set {' and '.join(names)} to {found_dimension}, or give another file.",
                    code="vectors_dimension",
                    fields={"path": path},
                )
            if announced is not None:
                continue
        num_vectors += 1
        word, numbers = fields[: len(fields) - dimension], fields[len(fields) - dimension :]
        if len(fields) <= dimension or any(_is_number(part) for part in word[1:]):
            raise DataError(
                f"{path}, line {number}: has {max(0, len(fields) - 1)} numbers after the word, but the lines "
                f"before have {dimension}. Fix the line, or download the file again.",
                code="vectors_line_length",
                fields={"path": path, "line": number},
            )
        token = wanted.get(word[0]) if len(word) == 1 else None
        if token is None:
            continue
        if token in line_of:
            raise DataError(
                f"{path}, line {number}: the word {word[0].decode()!r} already appears in line {line_of[token]}. "
                "Remove one of them.",
                code="vectors_word_twice",
                fields={"path": path, "line": number},
            )
        line_of[token] = number
        table[token] = _numbers(path, number, numbers)
    if num_vectors == 0:
        raise DataError(
            f"{path}: contains no vectors. Give a text file with a word and its numbers on each line.",
            code="vectors_empty",
            fields={"path": path},
        )
    if announced is not None and announced[0] != num_vectors:
        raise DataError(
            f"{path}: its first line announces {announced[0]} vectors, but the file has {num_vectors}. Download "
            "the file again.",
            code="vectors_count",
            fields={"path": path},
        )
    is_found = torch.zeros(vocab_size, dtype=torch.bool)
    is_found[list(line_of)] = True
    return TokenVectors(torch.from_numpy(table), is_found)


def fill_missing(vectors: TokenVectors, rng: torch.Generator) -> Tensor:
    """The table with what the file has not drawn from N(0, s²), s² the mean square of all numbers that were found.

    Args:
        vectors: at least one of them found.
        rng: source of all randomness.

    Returns:
        (V, P) float32.
    """
    scale = vectors.table[vectors.is_found].square().mean().sqrt()
    drawn = torch.randn(vectors.table.shape, generator=rng) * scale
    return torch.where(vectors.is_found.unsqueeze(1), vectors.table, drawn)


@dataclass(frozen=True, slots=True)
class Start:
    """What networks begin with.

    Attributes:
        tables: name of a network → (V, P) float32; those without pretrained columns are left out.
        notes: lines for the log: of how many tokens each file has vectors.
    """

    tables: Mapping[str, Tensor]
    notes: tuple[str, ...]


def read_start(wanted: Mapping[str, WordVectors], task: Task, seed: int) -> Start:
    """Read the files that networks begin from, each file once; tokens that a file has not are drawn for each network.

    Args:
        wanted: name of a network → its settings.
        task: of text.
        seed: the run's seed.

    Returns:
        The tables.

    Raises:
        DataError: a file is wrong, or has a vector of none of the tokens.
    """
    ids, size = token_ids(task), task.space.vocab_size
    owners: dict[tuple[str, int], list[str]] = {}
    for name, one in wanted.items():
        owners.setdefault((one.path, one.dimension), []).append(name)
    files = {file: read_word_vectors(*file, ids, size, names) for file, names in owners.items()}
    tables, notes = {}, []
    for name, settings in wanted.items():
        vectors = files[settings.path, settings.dimension]
        number = int(vectors.is_found.sum())
        if number == 0:
            raise DataError(
                f"{settings.path}: contains a vector for none of the {len(ids)} tokens (see task.tokens and "
                "task.lowercase). Give vectors for the language and spelling of the text.",
                code="vectors_no_token",
                fields={"path": settings.path},
            )
        notes.append(
            f"{name}: {settings.path} has vectors for {number} of {len(ids)} tokens ({number / len(ids):.1%}); the "
            "others are drawn at random"
        )
        tables[name] = fill_missing(vectors, stream(seed, name, "pretrained"))
    return Start(tables, tuple(notes))


def _lines(path: str) -> Iterator[tuple[int, list[bytes]]]:
    """Lines from 1, each split at blanks; bytes, for millions of words that nobody asks for need no decoding."""
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                yield number, line.split()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}). Give a file that this user has permission to read.",
            code="vectors_unreadable",
            fields={"path": path},
        ) from None


def _open(path: str) -> BinaryIO:
    file = Path(path).expanduser()
    if not file.is_file():
        if file.exists():
            raise DataError(
                f"{path}: is not a file. Give the text file with the vectors.",
                code="vectors_no_regular_file",
                fields={"path": path},
            )
        siblings = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
        raise DataError(
            f"{path}: no such file. Give a text file in GloVe or word2vec format, with a word and its numbers on "
            "each line." + nearest(file.name, siblings),
            code="vectors_no_such_file",
            fields={"path": path},
        )
    return file.open("rb")


def _header(fields: list[bytes]) -> tuple[int, int] | None:
    """How many vectors of how many numbers, where a first line says so."""
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        return None
    return int(fields[0]), int(fields[1])


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _numbers(path: str, line: int, fields: list[bytes]) -> np.ndarray:
    for field in fields:
        if not _is_number(field):
            shown = field.decode(errors="replace")
            raise DataError(
                f"{path}, line {line}: {shown!r} is not a number. Fix the line, or download the file again.",
                code="vectors_no_number",
                fields={"path": path, "line": line},
            )
    # Rounded to what is kept first: 1e39 is finite, and no float32.
    with np.errstate(over="ignore"):
        numbers = np.array([float(field) for field in fields]).astype(np.float32)
    if not np.isfinite(numbers).all():
        shown = fields[int(np.argmin(np.isfinite(numbers)))].decode()
        raise DataError(
            f"{path}, line {line}: {shown} is not finite. Fix the line, or download the file again.",
            code="vectors_not_finite",
            fields={"path": path, "line": line},
        )
    return numbers
