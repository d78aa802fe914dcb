"""Measures of what is written for given sources, the likeliest sequences against references (extra `pairs`).

BLEU and chrF are sacrebleu's, of a corpus and in per cent, as the field reports them. Sources that stand in the test
split more than once are written for once, with all their targets as references.

Source: Papineni et al. 2002 (BLEU), Popović 2015 (chrF), Post 2018 (sacrebleu).
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor

from rlgan.envs.errors import ConfigError
from rlgan.envs.tasks.task import Task

from .metrics import distinct, mean_length, repetition_rate, share_unfinished, strip

BleuTokens = Literal["13a", "intl", "char", "zh", "none"]


class PairMeasures:
    """Measures of sequences that are given something, as text.

    Args:
        task: whose test split they are compared with.
        bleu_tokens: how sacrebleu cuts text into words for BLEU.

    Raises:
        ConfigError: sacrebleu is not installed.

    Attributes:
        conditions: (n, S) int64, the different conditions of the test split in their order.
    """

    def __init__(self, task: Task, bleu_tokens: BleuTokens) -> None:
        assert task.conditions is not None
        if find_spec("sacrebleu") is None:
            raise ConfigError(
                "BLEU and chrF of pairs take the library sacrebleu. Install it by: pip install -c constraints.txt "
                "'.[pairs]'."
            )
        self._task, self._bleu_tokens = task, bleu_tokens
        places: dict[tuple[int, ...], list[int]] = {}
        for place, condition in enumerate(task.conditions.test.tolist()):
            places.setdefault(tuple(condition), []).append(place)
        self.conditions = task.conditions.test[torch.tensor([first for first, *_ in places.values()])]
        targets = task.decode(task.test)
        self._references: list[list[Any]] = [[targets[place] for place in found] for found in places.values()]

    def measure(self, tokens: Tensor) -> dict[str, float]:
        """Compare with the references.

        Args:
            tokens: (n, T) int64, a sequence for each of `conditions`.

        Returns:
            Name → value.
        """
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF

        hypotheses = self._task.decode(tokens)
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
