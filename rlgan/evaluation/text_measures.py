"""What is measured of sequences of a text beside its held-out and its training sequences, whoever wrote them.

Nothing here knows a generator. What is learned of the splits is learned once, when it is first needed. Unknown words
match nothing in any of the measures; what that means for each is in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rlgan.base.activity import stage
from rlgan.envs.tasks import Task
from rlgan.metrics import (
    UNKNOWN,
    CorpusReferences,
    Gaussian,
    JaccardNeighbours,
    NgramFrequencies,
    cosine_distances,
    distinct,
    frechet_distance,
    gaussian_of,
    mean_length,
    nearness_test,
    repetition_rate,
    self_bleu,
    share_unfinished,
    share_unique,
    strip,
)

from .language_model_scores import LanguageModelScores, Sequences
from .sentence_encoders import EncoderName, SentenceEncoder, build_encoder

BLEU_ORDERS = (2, 3, 4, 5)
JS_ORDERS = (1, 2, 3, 4)
DISTINCT_ORDERS = (1, 2)

Encodings = NDArray[np.float32]
"""(n, d), a row for each sequence."""

_SIGNS = ("\u2047", *map(chr, range(0xE000, 0xF900)))
"""Signs that may stand for an unknown word where an encoder reads it: SentencePiece's, and those that mean nothing."""


class TextMeasures:
    """Measures of sequences of one text.

    Args:
        task: whose splits they are compared with.
        num_bleu: how many sequences are hypotheses of BLEU and Self-BLEU.
        num_nearest: of how many the nearest training sequences are found.
        encoders: in whose spaces distances are measured.
        scores: of the same task.

    Raises:
        ConfigError: an encoder is not installed.
    """

    def __init__(
        self,
        task: Task,
        *,
        num_bleu: int,
        num_nearest: int,
        encoders: Sequence[EncoderName],
        scores: LanguageModelScores,
    ) -> None:
        self._task, self._num_bleu, self._num_nearest, self._scores = task, num_bleu, num_nearest, scores
        self._spaces = [
            _Space(build_encoder(name, task.joining), task, num_nearest) for name in dict.fromkeys(encoders)
        ]

    def measure(self, tokens: Tensor) -> dict[str, float]:
        """What is quick enough for every measurement of a run.

        Args:
            tokens: (n, T) int64.

        Returns:
            Name → value.
        """
        sequences = strip(self._task.space, tokens)
        hypotheses, as_many_as_real = sequences[: self._num_bleu], sequences[: self._num_real]
        with stage("bleu", "BLEU"):
            bleu = self._references.bleu(hypotheses)
        with stage("self bleu", "Self-BLEU"):
            # One sequence has no others to be compared with: real data where a split holds one text.
            own = self_bleu(hypotheses, max(BLEU_ORDERS)) if len(hypotheses) > 1 else {}
        js = NgramFrequencies(as_many_as_real, max(JS_ORDERS)).js(self._frequencies)
        return {
            **{f"eval/bleu_{order}": bleu[order] for order in BLEU_ORDERS},
            **{f"eval/self_bleu_{order}": own[order] for order in BLEU_ORDERS if order in own},
            **self._scores.of(sequences),
            **{f"eval/js_{order}": js[order] for order in JS_ORDERS},
            **{f"eval/fed_{one.name}": one.fed(one.encode(as_many_as_real)) for one in self._spaces if one.is_fast},
            **{f"eval/distinct_{order}": distinct(sequences, order) for order in DISTINCT_ORDERS},
            "eval/repetition_4": repetition_rate(sequences, 4),
            "eval/mean_length": mean_length(sequences),
            "eval/share_unique": share_unique(sequences),
            "eval/share_unfinished": share_unfinished(self._task.space, tokens),
        }

    def measure_closely(self, tokens: Tensor, *, are_valid: bool) -> dict[str, float]:
        """What takes longer: distances to training sequences beside those of test sequences, and what must learn.

        FED by slow encoders, and the closer scores of language models.

        Args:
            tokens: (n, T) int64.
            are_valid: see `LanguageModelScores.closely`.

        Returns:
            Name → value.
        """
        number = self._num_nearest
        sequences = strip(self._task.space, tokens)
        metrics = {}
        neighbours = self._neighbours
        with stage("nearest", "nearest training sequences (evaluation.num_nearest)"):
            distances = {"jaccard": [neighbours.distances(some[:number]) for some in (sequences, self._test)]}
        for space in self._spaces:
            with stage("encode", f"encoder {space.name} (evaluation.encoders)"):
                encoded = space.encode(sequences[: number if space.is_fast else max(number, self._num_real)])
                if not space.is_fast:
                    metrics[f"eval/fed_{space.name}"] = space.fed(encoded[: self._num_real])
                distances[space.name] = [space.to_nearest(some[:number]) for some in (encoded, space.held_out)]
        for name, (sampled, held_out) in distances.items():
            found = nearness_test(sampled, held_out)
            metrics |= {
                f"eval/nearest_{name}": float(sampled.mean()),
                f"eval/nearest_{name}_ks": found.statistic,
                f"eval/nearest_{name}_p": found.p_value,
            }
        return metrics | self._scores.closely(tokens, are_valid=are_valid)

    @property
    def _num_real(self) -> int:
        """Real sequences that stand beside samples; what is biased by their number is measured of no more."""
        return self._task.valid.shape[0]

    @cached_property
    def _test(self) -> Sequences:
        return strip(self._task.space, self._task.test)

    @cached_property
    def _references(self) -> CorpusReferences:
        return CorpusReferences(self._test, max(BLEU_ORDERS))

    @cached_property
    def _frequencies(self) -> NgramFrequencies:
        return NgramFrequencies(self._test, max(JS_ORDERS))

    @cached_property
    def _neighbours(self) -> JaccardNeighbours:
        with stage("index", "index of the training sequences"):
            return JaccardNeighbours(strip(self._task.space, self._task.train))


class _Space:
    """Sequences of a task as one encoder sees them.

    An unknown word of what is measured is another word than one of the split that it is compared with.
    """

    def __init__(self, encoder: SentenceEncoder, task: Task, num_held_out: int) -> None:
        self.name, self.is_fast = encoder.name, encoder.is_fast
        self._encoder, self._task, self._num_held_out = encoder, task, num_held_out
        names = set(task.token_names)
        self._measured, self._compared_with, *_ = [sign for sign in _SIGNS if sign not in names]

    def encode(self, sequences: Sequences) -> Encodings:
        """As sequences are seen that are measured."""
        return self._encoded(sequences, self._measured)

    @cached_property
    def held_out(self) -> Encodings:
        """The first test sequences, seen as those that are measured."""
        return self.encode(strip(self._task.space, self._task.test[: self._num_held_out]))

    def _encoded(self, sequences: Sequences, unknown: str) -> Encodings:
        names = self._task.token_names
        shown = [[unknown if token == UNKNOWN else names[token] for token in sequence] for sequence in sequences]
        return self._encoder.encode(shown)

    def fed(self, encoded: Encodings) -> float:
        """Fréchet distance to the test split."""
        return frechet_distance(self._test_gaussian, gaussian_of(encoded))

    def to_nearest(self, encoded: Encodings) -> NDArray[np.float64]:
        """Distance of each to the nearest training sequence."""
        return cosine_distances(encoded, self._training)

    @cached_property
    def _test_gaussian(self) -> Gaussian:
        return gaussian_of(self._encoded(strip(self._task.space, self._task.test), self._compared_with))

    @cached_property
    def _training(self) -> Encodings:
        return self._encoded(strip(self._task.space, self._task.train), self._compared_with)
