"""LM and reverse-LM scores of sequences, by models that learn a task's splits or the sequences (docs/metrics.md).

Of sequences that are given something these are scores of the answers alone, whatever they answer. What is learned of
the splits is learned once, when it is first needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from rlgan.base.activity import stage
from rlgan.envs.tasks import Task
from rlgan.envs.transition import sequence_mask
from rlgan.metrics import KneserNey, length_classes, lengths_of, strip

from .evidence import Evidence, beside, in_groups, without_each
from .learned_language_model import HeldOutNll, LearnedLanguageModel, learned_from

Sequences = list[tuple[int, ...]]
"""Stripped sequences, see `strip`."""


class LanguageModelScores:
    """Scores of sequences of one task.

    Args:
        task: whose splits are learned, or are scored.
        learned: what is trained for the closer scores; None for none.
        length_matched: whether LM scores are also measured at the lengths of test sequences.
        seed: of the run.
    """

    def __init__(self, task: Task, learned: LearnedLanguageModel | None, length_matched: bool, seed: int) -> None:
        self._task, self._learned, self._length_matched, self._seed = task, learned, length_matched, seed

    def of(self, sequences: Sequences) -> dict[str, float]:
        """`eval/lm_5gram` and `eval/rlm_5gram` of stripped sequences."""
        with stage("lm", "n-gram model of the training sequences"):
            score = self._ngram_model.mean_nll(sequences)
        with stage("rlm", "n-gram model of the samples"):
            reverse = self._ngram_model_of(sequences).mean_nll(self._test, counts_unknown=False)
        return {"eval/lm_5gram": score, "eval/rlm_5gram": reverse}

    def evidence(self, sequences: Sequences, num_groups: int) -> Evidence:
        """The same with what they are without each held-out sequence and each group drawn.

        Args:
            sequences: stripped.
            num_groups: of drawn sequences, without each of which a model is learned again; 0 for none.

        Returns:
            Quality is `lm_5gram`, coverage `rlm_5gram`.
        """
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

    def closely(self, tokens: Tensor, *, are_valid: bool) -> dict[str, float]:
        """Scores of learned language models, and scores at real lengths; none where nobody asked for them.

        The reverse score of real sequences is of the model that learned the training split: no generator's samples
        teach more than that.

        Args:
            tokens: (n, T) int64.
            are_valid: whether they are validation sequences, which models stop by and none learns from.
        """
        metrics: dict[str, float] = {}
        if self._learned is not None:
            with stage("lstm", "learned language model (evaluation.language_model)"):
                reverse = self._lstm if are_valid else self._lstm_of(tokens)
            metrics |= {
                "eval/lm_lstm": self._lstm(tokens),
                "eval/rlm_lstm": reverse(self._task.test, counts_unknown=False),
            }
        if self._length_matched:
            metrics |= self._at_real_lengths(tokens)
        return metrics

    def _at_real_lengths(self, tokens: Tensor) -> dict[str, float]:
        """LM scores as they would be of sequences as long as those of the test split; none where no lengths meet."""
        space = self._task.space
        classes = length_classes(lengths_of(space, self._task.test), lengths_of(space, tokens))
        if not classes:
            return {}
        sums, counts = (torch.from_numpy(one) for one in self._ngram_model.nll_by_sequence(strip(space, tokens)))
        found = {"eval/lm_5gram_matched": _mean_over_classes(classes, lambda rows: float(sums[rows].mean()), counts)}
        if self._learned is not None:
            numbers = sequence_mask(space, tokens).sum(1).double()
            found["eval/lm_lstm_matched"] = _mean_over_classes(
                classes, lambda rows: self._lstm(tokens[rows]) * float(numbers[rows].mean()), numbers
            )
        return found

    @cached_property
    def _test(self) -> Sequences:
        return strip(self._task.space, self._task.test)

    @cached_property
    def _ngram_model(self) -> KneserNey:
        with stage("fit", "fitting it"):
            return self._ngram_model_of(strip(self._task.space, self._task.train))

    @cached_property
    def _lstm(self) -> HeldOutNll:
        return self._lstm_of(self._task.train)

    def _lstm_of(self, tokens: Tensor) -> HeldOutNll:
        assert self._learned is not None
        return learned_from(self._learned, self._task.space, tokens, self._task.valid, self._seed)

    def _ngram_model_of(self, sequences: Sequences) -> KneserNey:
        space = self._task.space
        return KneserNey(sequences, space.vocab_size, ends=space.end_id is not None)


def _mean_over_classes(
    classes: Sequence[tuple[Tensor, int]], mean_of: Callable[[Tensor], float], counts: Tensor
) -> float:
    """A score a token: means a sequence of each class, of the score and of the tokens, each over the reals."""
    total = sum(number * mean_of(rows) for rows, number in classes)
    return total / sum(number * float(counts[rows].mean()) for rows, number in classes)
