"""What is measured of sequences of a text beside its held-out and its training sequences, whoever wrote them.

Nothing here knows a generator. What is learned of the splits is learned once, when it is first needed. Unknown words
match nothing in any of the measures; what that means for each is in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlgan.base.activity import stage
from rlgan.envs.tasks import Task
from rlgan.envs.transition import sequence_mask
from rlgan.metrics import (
    UNKNOWN,
    CorpusReferences,
    Gaussian,
    JaccardNeighbours,
    KneserNey,
    NgramFrequencies,
    cosine_distances,
    distinct,
    frechet_distance,
    gaussian_of,
    length_classes,
    lengths_of,
    mean_length,
    nearness_test,
    repetition_rate,
    self_bleu,
    share_unfinished,
    share_unique,
    strip,
)

from .evidence import Evidence, beside, in_groups, without_each
from .learned_language_model import HeldOutNll, LearnedLanguageModel, learned_from
from .sentence_encoders import EncoderName, SentenceEncoder, build_encoder

BLEU_ORDERS = (2, 3, 4, 5)
JS_ORDERS = (1, 2, 3, 4)
DISTINCT_ORDERS = (1, 2)

Sequences = list[tuple[int, ...]]
"""Stripped sequences, see `strip`."""


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
        language_model: what is trained for the closer LM and reverse-LM scores; None for none.
        length_matched: whether LM scores are also measured at the lengths of test sequences.
        seed: of the run.

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
        language_model: LearnedLanguageModel | None,
        length_matched: bool = False,
        seed: int,
    ) -> None:
        self._length_matched = length_matched
        self._task, self._num_bleu, self._num_nearest = task, num_bleu, num_nearest
        self._language_model_settings, self._seed = language_model, seed
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
            **self._by_language_models(sequences),
            **{f"eval/js_{order}": js[order] for order in JS_ORDERS},
            **{f"eval/fed_{one.name}": one.fed(one.encode(as_many_as_real)) for one in self._spaces if one.is_fast},
            **{f"eval/distinct_{order}": distinct(sequences, order) for order in DISTINCT_ORDERS},
            "eval/repetition_4": repetition_rate(sequences, 4),
            "eval/mean_length": mean_length(sequences),
            "eval/share_unique": share_unique(sequences),
            "eval/share_unfinished": share_unfinished(self._task.space, tokens),
        }

    def language_models(self, tokens: Tensor) -> dict[str, float]:
        """`eval/lm_5gram` and `eval/rlm_5gram` of sequences (n, T) int64, as `measure` has them."""
        return self._by_language_models(strip(self._task.space, tokens))

    def evidence(self, tokens: Tensor, num_groups: int) -> Evidence:
        """`eval/lm_5gram` and `eval/rlm_5gram` with what they are without each held-out sequence and each group drawn.

        Args:
            tokens: (n, T) int64.
            num_groups: of drawn sequences, without each of which a model is learned again; 0 for none.

        Returns:
            Quality is `lm_5gram`, coverage `rlm_5gram`.
        """
        sequences = strip(self._task.space, tokens)
        num_groups = min(num_groups, len(sequences))
        sums, counts = self._ngram_model.nll_by_sequence(sequences)
        quality = float(sums.sum() / counts.sum())
        learned = self._ngram_model_of(sequences)
        real_sums, real_counts = learned.nll_by_sequence(self._test, counts_unknown=False)
        coverage = float(real_sums.sum() / real_counts.sum())
        groups = np.arange(len(sequences)) % max(num_groups, 1)
        reverse = [
            self._ngram_model_of([one for one, its in zip(sequences, groups, strict=True) if its != group]).mean_nll(
                self._test, counts_unknown=False
            )
            for group in range(num_groups)
        ]
        drawn = np.empty((0, 2))
        if num_groups > 1:
            parts = (in_groups(each, groups, num_groups) for each in (sums, counts))
            drawn = beside(without_each(*parts), np.array(reverse))
        held_out = beside(quality, without_each(real_sums, real_counts))
        return Evidence(np.array([quality, coverage]), held_out, drawn)

    def _by_language_models(self, sequences: Sequences) -> dict[str, float]:
        with stage("lm", "n-gram model of the training sequences"):
            score = self._ngram_model.mean_nll(sequences)
        with stage("rlm", "n-gram model of the samples"):
            reverse = self._ngram_model_of(sequences).mean_nll(self._test, counts_unknown=False)
        return {"eval/lm_5gram": score, "eval/rlm_5gram": reverse}

    def measure_closely(self, tokens: Tensor, *, are_valid: bool) -> dict[str, float]:
        """What takes longer: distances to training sequences beside those of test sequences, and what must learn.

        FED by slow encoders, and LM and reverse-LM scores of learned language models. The reverse score of real
        sequences is of the model that learned the training split: no generator's samples teach more than that.

        Args:
            tokens: (n, T) int64.
            are_valid: whether they are validation sequences, which models stop by and none learns from.

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
        if self._language_model_settings is not None:
            with stage("lstm", "learned language model (evaluation.language_model)"):
                reverse = self._lstm if are_valid else self._lstm_of(tokens)
            metrics |= {
                "eval/lm_lstm": self._lstm(tokens),
                "eval/rlm_lstm": reverse(self._task.test, counts_unknown=False),
            }
        if self._length_matched:
            metrics |= self._at_real_lengths(tokens, sequences)
        return metrics

    def _at_real_lengths(self, tokens: Tensor, sequences: Sequences) -> dict[str, float]:
        """LM scores as they would be of sequences as long as those of the test split; none where no lengths meet."""
        space = self._task.space
        classes = length_classes(lengths_of(space, self._task.test), lengths_of(space, tokens))
        if not classes:
            return {}
        sums, counts = (torch.from_numpy(one) for one in self._ngram_model.nll_by_sequence(sequences))
        found = {"eval/lm_5gram_matched": _mean_over_classes(classes, lambda rows: float(sums[rows].mean()), counts)}
        if self._language_model_settings is not None:
            numbers = sequence_mask(space, tokens).sum(1).double()
            found["eval/lm_lstm_matched"] = _mean_over_classes(
                classes, lambda rows: self._lstm(tokens[rows]) * float(numbers[rows].mean()), numbers
            )
        return found

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
    def _ngram_model(self) -> KneserNey:
        with stage("fit", "fitting it"):
            return self._ngram_model_of(strip(self._task.space, self._task.train))

    @cached_property
    def _lstm(self) -> HeldOutNll:
        return self._lstm_of(self._task.train)

    @cached_property
    def _neighbours(self) -> JaccardNeighbours:
        with stage("index", "index of the training sequences"):
            return JaccardNeighbours(strip(self._task.space, self._task.train))

    def _lstm_of(self, tokens: Tensor) -> HeldOutNll:
        assert self._language_model_settings is not None
        return learned_from(self._language_model_settings, self._task.space, tokens, self._task.valid, self._seed)

    def _ngram_model_of(self, sequences: Sequences) -> KneserNey:
        space = self._task.space
        return KneserNey(sequences, space.vocab_size, ends=space.end_id is not None)


def _mean_over_classes(
    classes: Sequence[tuple[Tensor, int]], mean_of: Callable[[Tensor], float], counts: Tensor
) -> float:
    """A score a token: means a sequence of each class, of the score and of the tokens, each over the reals."""
    total = sum(number * mean_of(rows) for rows, number in classes)
    return total / sum(number * float(counts[rows].mean()) for rows, number in classes)


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
