"""Measures of what is written for given sources, the likeliest sequences against references (extra `pairs`).

BLEU and chrF are sacrebleu's, of a corpus and in per cent, as the field reports them. Sources that stand in the test
split more than once are written for once, with all their targets as references.

Source: Papineni et al. 2002 (BLEU), Popović 2015 (chrF), Post 2018 (sacrebleu).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor

from rlgan.envs.errors import ConfigError
from rlgan.envs.tasks.task import Task
from rlgan.envs.vocabulary import join_tokens

from .generators import Generator
from .metrics import distinct, mean_length, repetition_rate, share_unfinished, strip
from .unknown_words import texts_with_source_words

BleuTokens = Literal["13a", "intl", "char", "zh", "none"]


class PairMeasures:
    """Measures of sequences that are given something, as text.

    Args:
        task: whose test split they are compared with.
        bleu_tokens: how sacrebleu cuts text into words for BLEU.
        replaces_unknown: whether words of the source take the place of unknown ones in texts; see `unknown_words`.
            Then references have their own words for unknown ones, too, and sources that differ in unknown words alone
            are different sources.

    Raises:
        ConfigError: sacrebleu is not installed.

    Attributes:
        conditions: (n, S) int64, the different conditions of the test split in their order.
    """

    def __init__(self, task: Task, bleu_tokens: BleuTokens, replaces_unknown: bool = False) -> None:
        assert task.conditions is not None
        if find_spec("sacrebleu") is None:
            raise ConfigError(
                "BLEU and chrF of pairs take the library sacrebleu. Install it by: pip install -c constraints.txt "
                "'.[pairs]'."
            )
        self._task, self._bleu_tokens = task, bleu_tokens
        sources: Sequence[tuple[object, ...]] = [tuple(row) for row in task.conditions.test.tolist()]
        targets = task.decode(task.test)
        self._source_words = task.conditions.test_words if replaces_unknown else None
        if self._source_words is not None:
            assert task.test_words is not None
            sources, targets = self._source_words, [join_tokens(words, task.joining) for words in task.test_words]
        places: dict[tuple[object, ...], list[int]] = {}
        for place, source in enumerate(sources):
            places.setdefault(source, []).append(place)
        self._firsts = [first for first, *_ in places.values()]
        self.conditions = task.conditions.test[torch.tensor(self._firsts)]
        self._references: list[list[Any]] = [[targets[place] for place in found] for found in places.values()]

    def measure(self, tokens: Tensor, generator: Generator) -> dict[str, float]:
        """Compare with the references.

        Args:
            tokens: (n, T) int64, a sequence for each of `conditions`.
            generator: whose attention tells what unknown words stand for, where they are replaced.

        Returns:
            Name → value.
        """
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF

        hypotheses = self._texts(tokens, generator)
        most = max(map(len, self._references))
        # sacrebleu wants as many streams of references as any source has, with None where there are fewer.
        streams: list[Any] = [[(found + [None] * most)[index] for found in self._references] for index in range(most)]
        sequences = strip(self._task.space, tokens)
        return {
            "eval/corpus_bleu": BLEU(tokenize=self._bleu_tokens).corpus_score(hypotheses, streams).score,
            "eval/chrf": CHRF().corpus_score(hypotheses, streams).score,
            "eval/decoded_distinct_2": distinct(sequences, 2),
            "eval/decoded_repetition_4": repetition_rate(sequences, 4),
            "eval/decoded_length": mean_length(sequences),
            "eval/decoded_unfinished": share_unfinished(self._task.space, tokens),
        }

    def _texts(self, tokens: Tensor, generator: Generator) -> list[str]:
        task = self._task
        if self._source_words is None:
            return task.decode(tokens)
        assert task.conditions is not None and task.conditions.reading is not None
        return texts_with_source_words(
            generator,
            task.space,
            task.token_names,
            tokens,
            self.conditions,
            [self._source_words[first] for first in self._firsts],
            task.conditions.reading.separator,
        )
