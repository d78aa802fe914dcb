"""Measures of what is written for given sources, the likeliest sequences against references (extra `pairs`).

BLEU and chrF are sacrebleu's, of a corpus and in per cent, as the field reports them: references are texts as they
were written, of which an unknown word or the end of a long one is no match for anything. An unknown word that is
written counts as the worst of wrong words: a figure is the lesser of those with unknown words of one letter and of as
many as the longest known word has. Lengthened, a wrong word lowers chrF, ROUGE and the precisions of BLEU, and raises
BLEU's brevity up to the length of the references and no further, so that no length between is worse than both. Sources
that stand in the test split more than once are written for once, with all their targets as references; two are the same
where the whole ones are, and not what is left of them once they were cut. Of summaries there is ROUGE, too, by the
library rouge-score, of the words that BLEU counts: its own are runs of a-z and 0-9, and other scripts have none.
What a word is follows the script of the references (`rlgan.metrics.script`), unless it is set.

Source: Papineni et al. 2002 (BLEU), Popović 2015 (chrF), Post 2018 (sacrebleu), Lin 2004 (ROUGE).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlgan.base.errors import ConfigError
from rlgan.base.extras import install_command
from rlgan.envs.reading import count
from rlgan.envs.tasks.task import Conditions, Task, decode
from rlgan.envs.vocabulary import join_tokens
from rlgan.generators import Generator
from rlgan.metrics import distinct, mean_length, repetition_rate, share_unfinished, strip
from rlgan.metrics.quantity import Quantity
from rlgan.metrics.script import script_of
from rlgan.sampling.unknown_words import texts_with_source_words

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU

_SIGNS = tuple(map(chr, range(0xE000, 0xF900)))
"""What may stand for an unknown word, once or several times: characters that mean nothing, of which every tokeniser of
words makes one word, where `<unk>` is three."""

BleuTokens = Literal["auto", "13a", "intl", "char", "zh", "none"]
_LEAST_WORDS = 4  # in a row, of which corpus BLEU counts matches

QUANTITIES = (
    Quantity("chrf", "chrF of the likeliest sequences", "per cent", "higher", side="quality", is_key=True),
    Quantity("corpus_bleu", "BLEU of the likeliest sequences", "per cent", "higher", side="quality", is_key=True),
    Quantity("rouge_l", "ROUGE-L of the likeliest sequences", "per cent", "higher", side="quality", is_key=True),
    Quantity("rouge_*", "ROUGE of the likeliest sequences", "per cent", "higher", side="quality"),
    Quantity("decoded_distinct_2", "different 2-grams of the likeliest sequences", "share", None, "sources"),
    Quantity("decoded_repetition_4", "4-grams that occurred before in the same one", "share"),
    Quantity("decoded_length", "tokens of the likeliest sequences", "tokens", is_key=True),
    Quantity("decoded_unfinished", "likeliest sequences without an end", "share"),
)
"""Facts of the figures of this module."""


class PairMeasures:
    """Measures of sequences that are given something, as text.

    Args:
        task: whose test split they are compared with.
        bleu_tokens: how sacrebleu cuts text into words for BLEU and ROUGE; auto follows the script of the references.
        replaces_unknown: whether words of the source take the place of unknown ones in texts; see `unknown_words`.

    Raises:
        ConfigError: sacrebleu is not installed; or rouge-score is not, and the task is of summaries.

    Attributes:
        conditions: (n, S) int64, the different sources of the test split in their order.
        tokeniser: of sacrebleu, by name: the one that was asked for, or that follows the references.
    """

    def __init__(self, task: Task, bleu_tokens: BleuTokens, replaces_unknown: bool = False) -> None:
        assert task.conditions is not None
        if find_spec("sacrebleu") is None:
            raise ConfigError(
                f"BLEU and chrF of pairs need the library sacrebleu. Install it with: {install_command('pairs')}",
                code="needs_sacrebleu",
            )
        self._are_summaries = "summaries" in task.measures
        if self._are_summaries and find_spec("rouge_score") is None:
            raise ConfigError(
                f"ROUGE of summaries needs the library rouge-score. Install it with: {install_command('pairs')}",
                code="needs_rouge",
            )
        self._task = task
        assert task.test_words is not None
        self._source_words, self._replaces_unknown = task.conditions.test_words, replaces_unknown
        # As they were written, unknown words and all, and not cut: of a longer reference the rest is missing.
        targets = [join_tokens(words, task.joining) for words in task.test_words]
        places: dict[int, list[int]] = {}
        for place, source in enumerate(_numbers_of_sources(task.conditions)):
            places.setdefault(source, []).append(place)
        self._firsts = [first for first, *_ in places.values()]
        self._source_of_pair = np.empty(len(targets), np.int64)
        for number, found in enumerate(places.values()):
            self._source_of_pair[found] = number
        self.conditions = task.conditions.test[torch.tensor(self._firsts)].long()
        self._references: list[list[Any]] = [[targets[place] for place in found] for found in places.values()]
        self._script = script_of(targets) if bleu_tokens == "auto" else None
        self.tokeniser: str = bleu_tokens if self._script is None else self._script.tokeniser
        written = set().union(*map(set, targets))
        sign = next(sign for sign in _SIGNS if sign not in written)
        known = (name for token, name in enumerate(task.token_names) if token not in _special(task))
        # Of a wrong word figures of characters, and brevity, see the length: an unknown one has the least and the most.
        self._unknown = (sign, sign * max(map(len, known), default=1))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of the figures: what their words are, and why BLEU must be 0, where it must."""
        figures = "BLEU and ROUGE" if self._are_summaries else "BLEU"
        why = "evaluation.bleu_tokens"
        if self._script is not None:
            why = f"{self._script.share_unspaced:.0%} of the letters in the references belong to scripts without spaces"
        described = [f"{figures}: of words as tokenised by sacrebleu's {self.tokeniser} ({why})"]
        return (*described, *(["warning: " + self.why_zero] if self.why_zero else []))

    @cached_property
    def why_zero(self) -> str | None:
        """Why BLEU is 0 whatever is written, as a sentence; None where it may be more."""
        cut = self._bleu().tokenizer
        longest = 0
        for found in self._references:
            longest = max(longest, *(len(cut(text).split()) for text in found))
            if longest >= _LEAST_WORDS:
                return None
        return (
            f"BLEU of these references is always 0: the longest has {count(longest, 'word')} as tokenised by "
            f"sacrebleu's {self.tokeniser}, but BLEU needs {_LEAST_WORDS} consecutive words. Set "
            "evaluation.bleu_tokens to auto or char, or use chrF"
        )

    def _bleu(self) -> BLEU:
        from sacrebleu.metrics.bleu import BLEU

        # Without `force` sacrebleu would print a warning of texts that are cut into words already, at each measurement.
        return BLEU(tokenize=self.tokeniser, force=True)

    def measure(self, tokens: Tensor, generator: Generator) -> dict[str, float]:
        """Compare with the references.

        Args:
            tokens: (n, T) int64, a sequence for each of `conditions`.
            generator: whose attention tells what unknown words stand for, where they are replaced.

        Returns:
            Name → value.
        """
        from sacrebleu.metrics.chrf import CHRF

        streams = _streams(self._references)
        bleu = self._bleu()

        def figures(unknown: str) -> dict[str, float]:
            hypotheses = self._texts(tokens, generator, unknown)
            rouge = _rouge(hypotheses, self._references, bleu.tokenizer) if self._are_summaries else {}
            return rouge | {
                "eval/corpus_bleu": bleu.corpus_score(hypotheses, streams).score,
                "eval/chrf": CHRF().corpus_score(hypotheses, streams).score,
            }

        found = [figures(unknown) for unknown in self._unknown_in(tokens)]
        return {name: min(one[name] for one in found) for name in found[0]} | self.measure_form(tokens)

    def chrf(
        self, tokens: Tensor, generator: Generator, groups: NDArray[np.int64]
    ) -> tuple[float, NDArray[np.float64]]:
        """`eval/chrf`, and what it is without the sources of each group.

        Args:
            tokens: (n, T) int64, a sequence for each of `conditions`.
            generator: as for `measure`.
            groups: (n,) group of each of `conditions`, from 0; with none beside group 0 there is nothing to leave out.

        Returns:
            chrF in per cent, and (G,) without each of the G groups.
        """
        from sacrebleu.metrics.chrf import CHRF

        # Of chrF the longest is the worst.
        hypotheses = self._texts(tokens, generator, self._unknown[-1])

        def score(places: list[int]) -> float:
            streams = _streams([self._references[place] for place in places])
            return float(CHRF().corpus_score([hypotheses[place] for place in places], streams).score)

        number = int(groups.max()) + 1
        everything = list(range(len(hypotheses)))
        without = [score([at for at in everything if groups[at] != group]) for group in range(number) if number > 1]
        return score(everything), np.array(without, np.float64)

    def groups(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Groups of different sources: of each of `conditions`, and of each pair of the test split."""
        number = min(number, len(self._firsts))
        return np.arange(len(self._firsts)) % number, self._source_of_pair % number

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

    def _unknown_in(self, tokens: Tensor) -> tuple[str, ...]:
        """What stands for unknown words, one after the other; nothing differs where there are none."""
        unknown = self._task.space.unknown_id
        has_some = unknown is not None and bool((tokens == unknown).any())
        return self._unknown if has_some else self._unknown[:1]

    def _texts(self, tokens: Tensor, generator: Generator, unknown: str) -> list[str]:
        task = self._task
        if not self._replaces_unknown:
            names = [unknown if token == task.space.unknown_id else name for token, name in enumerate(task.token_names)]
            return decode(task.space, names, task.joining, tokens)
        assert task.conditions is not None and task.conditions.reading is not None and self._source_words is not None
        return texts_with_source_words(
            generator,
            task.space,
            task.token_names,
            tokens,
            self.conditions,
            [self._source_words[first] for first in self._firsts],
            task.conditions.reading.separator,
            otherwise=unknown,
        )


def _special(task: Task) -> set[int | None]:
    return {task.space.unknown_id, task.space.end_id, task.space.pad_id}


def _numbers_of_sources(conditions: Conditions) -> list[int]:
    """Of each condition of the test split a number, equal where sources are: whole ones, where they are known."""
    if conditions.test_sources is not None:
        return conditions.test_sources.tolist()
    return torch.unique(conditions.test, dim=0, return_inverse=True)[1].tolist()


def _streams(references: list[list[Any]]) -> list[Any]:
    """As many streams of references as any source has, as sacrebleu wants them, with None where there are fewer."""
    most = max(map(len, references))
    return [[(found + [None] * most)[index] for found in references] for index in range(most)]


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
