"""Measures of what is written for given sources, the likeliest sequences against references (extra `pairs`).

BLEU and chrF are sacrebleu's, of a corpus and in per cent, as the field reports them: references are texts as they
were written, of which an unknown word or the end of a long one is no match for anything. Sources that stand in the test
split more than once are written for once, with all their targets as references; two are the same where the whole ones
are, and not what is left of them once they were cut. Of summaries there is ROUGE, too, by
the library rouge-score, of the words that BLEU counts: its own are runs of a-z and 0-9, and other scripts have none.

Source: Papineni et al. 2002 (BLEU), Popović 2015 (chrF), Post 2018 (sacrebleu), Lin 2004 (ROUGE).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor

from rlgan.envs.errors import ConfigError
from rlgan.envs.tasks.sources import Summarization
from rlgan.envs.tasks.task import Task, decode
from rlgan.envs.vocabulary import UNK_NAME, join_tokens

from .generators import Generator
from .metrics import distinct, mean_length, repetition_rate, share_unfinished, strip
from .unknown_words import texts_with_source_words

_UNKNOWN = "⁇"  # one token for whoever cuts texts into words, where `<unk>` is three; SentencePiece's sign, too
BleuTokens = Literal["13a", "intl", "char", "zh", "none"]


class PairMeasures:
    """Measures of sequences that are given something, as text.

    Args:
        task: whose test split they are compared with.
        bleu_tokens: how sacrebleu cuts text into words for BLEU and ROUGE.
        replaces_unknown: whether words of the source take the place of unknown ones in texts; see `unknown_words`.

    Raises:
        ConfigError: sacrebleu is not installed; or rouge-score is not, and the task is of summaries.

    Attributes:
        conditions: (n, S) int64, the different sources of the test split in their order.
    """

    def __init__(self, task: Task, bleu_tokens: BleuTokens, replaces_unknown: bool = False) -> None:
        assert task.conditions is not None
        if find_spec("sacrebleu") is None:
            raise ConfigError(
                "BLEU and chrF of pairs take the library sacrebleu. Install it by: pip install -c constraints.txt "
                "'.[pairs]'."
            )
        reading = task.conditions.reading
        self._are_summaries = reading is not None and isinstance(reading.domain, Summarization)
        if self._are_summaries and find_spec("rouge_score") is None:
            raise ConfigError(
                "ROUGE of summaries takes the library rouge-score. Install it by: pip install -c constraints.txt "
                "'.[pairs]'."
            )
        self._task, self._bleu_tokens = task, bleu_tokens
        assert task.conditions.test_words is not None and task.test_words is not None
        self._source_words, self._replaces_unknown = task.conditions.test_words, replaces_unknown
        # As they were written, unknown words and all, and not cut: of a longer reference the rest is missing.
        targets = [join_tokens(words, task.joining) for words in task.test_words]
        places: dict[int, list[int]] = {}
        assert task.conditions.test_sources is not None
        for place, source in enumerate(task.conditions.test_sources.tolist()):
            places.setdefault(source, []).append(place)
        self._firsts = [first for first, *_ in places.values()]
        self.conditions = task.conditions.test[torch.tensor(self._firsts)].long()
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
        # Without `force` sacrebleu would print a warning of texts that are cut into words already, at each measurement.
        bleu = BLEU(tokenize=self._bleu_tokens, force=True)
        rouge = _rouge(hypotheses, self._references, bleu.tokenizer) if self._are_summaries else {}
        return rouge | {
            "eval/corpus_bleu": bleu.corpus_score(hypotheses, streams).score,
            "eval/chrf": CHRF().corpus_score(hypotheses, streams).score,
            **self.measure_form(tokens),
        }

    def measure_form(self, tokens: Tensor) -> dict[str, float]:
        """What needs no reference: of what was written, and of targets as its yardstick.

        Args:
            tokens: (n, T) int64.

        Returns:
            Name → value.
        """
        sequences = strip(self._task.space, tokens)
        return {
            "eval/decoded_distinct_2": distinct(sequences, 2),
            "eval/decoded_repetition_4": repetition_rate(sequences, 4),
            "eval/decoded_length": mean_length(sequences),
            "eval/decoded_unfinished": share_unfinished(self._task.space, tokens),
        }

    def _texts(self, tokens: Tensor, generator: Generator) -> list[str]:
        task = self._task
        if not self._replaces_unknown:
            names = [_UNKNOWN if name == UNK_NAME else name for name in task.token_names]
            return decode(task.space, names, task.joining, tokens)
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


def _rouge(hypotheses: list[str], references: list[list[str]], cut: Callable[[str], str]) -> dict[str, float]:
    """Mean F1 of 1-grams, of 2-grams and of the longest common subsequence, each with the reference that is best by it.

    Args:
        hypotheses: n texts.
        references: of each, one or more.
        cut: text → its words with spaces between them.

    Returns:
        Name → per cent.
    """
    from rouge_score.rouge_scorer import RougeScorer

    class Words:
        def tokenize(self, text: str) -> list[str]:
            return cut(text).split()

    names = {"eval/rouge_1": "rouge1", "eval/rouge_2": "rouge2", "eval/rouge_l": "rougeL"}
    scorer = RougeScorer([*names.values()], tokenizer=Words())
    found = [scorer.score_multi(theirs, ours) for ours, theirs in zip(hypotheses, references, strict=True)]
    return {
        name: 100.0 * sum(scores[theirs].fmeasure for scores in found) / len(found) for name, theirs in names.items()
    }
