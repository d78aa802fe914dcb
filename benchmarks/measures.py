"""Seconds that each measure of text takes by the number of lines it is of.

    python -m benchmarks.measures --lines 10000 100000 1000000

Lines are drawn from a Markov chain over 20,000 words whose frequencies follow Zipf's distribution, 11 words a line on
average, which are about 60 bytes of English. Where a run measures a bounded number of samples beside a corpus (BLEU,
nearest neighbours), the corpus grows and the samples are as many as the default settings take.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from rlgan.envs.sequence_space import SequenceSpace
from rlgan.evaluation.sentence_encoders import NgramEncoder
from rlgan.metrics import (
    CorpusReferences,
    JaccardNeighbours,
    KneserNey,
    NgramFrequencies,
    distinct,
    frechet_distance,
    gaussian_of,
    reference_bleu,
    reference_rouge_l,
    repetition_rate,
    self_bleu,
    share_unique,
    strip,
)

from .common import machine

VOCAB_SIZE = 20_000
LENGTH = 20
NUM_BLEU = 1_000
NUM_NEAREST = 500
NUM_SAMPLES = 10_000
SPACE = SequenceSpace(VOCAB_SIZE, LENGTH + 1, end_id=0)


def corpus(number: int, seed: int) -> torch.Tensor:
    """Lines (n, T) int64, finished and padded: half of the words follow from the word before, half are drawn anew."""
    rng = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, VOCAB_SIZE)
    cumulative = np.cumsum(weights / weights.sum())

    def drawn() -> np.ndarray:
        return 1 + np.minimum(np.searchsorted(cumulative, rng.random(number)), VOCAB_SIZE - 2)

    tokens = np.zeros((number, LENGTH + 1), np.int64)
    tokens[:, 0] = drawn()
    for place in range(1, LENGTH):
        following = 1 + (tokens[:, place - 1] * 7_919 + rng.integers(0, 3, number)) % (VOCAB_SIZE - 1)
        tokens[:, place] = np.where(rng.random(number) < 0.5, following, drawn())
    tokens[np.arange(LENGTH + 1) >= rng.integers(3, LENGTH + 1, number)[:, None]] = 0
    return torch.from_numpy(tokens)


def measured(number: int, only: Sequence[str] = ()) -> dict[str, float]:
    """Seconds of each measure.

    Args:
        number: lines of the corpus.
        only: names of those that are wanted; none for all.
    """
    tokens, samples = corpus(number, 0), corpus(min(number, NUM_SAMPLES), 1)
    lines, sampled = strip(SPACE, tokens), strip(SPACE, samples)
    shown = [[f"w{token}" for token in line] for line in sampled]

    def fed() -> None:
        encoded = gaussian_of(NgramEncoder().encode(shown))
        frechet_distance(encoded, encoded)

    def js() -> None:
        NgramFrequencies(sampled).js(NgramFrequencies(lines))

    # What a run asks of each: the corpus is its training or test split.
    measures: dict[str, Callable[[], object]] = {
        "strip": lambda: strip(SPACE, tokens),
        "BLEU, 1,000 hypotheses": lambda: CorpusReferences(lines).bleu(sampled[:NUM_BLEU]),
        "Self-BLEU of all": lambda: self_bleu(lines),
        "JS-1 to 4": js,
        "lm: fit to all, score samples": lambda: KneserNey(lines, VOCAB_SIZE, ends=True).mean_nll(sampled),
        "rlm: fit to samples, score all": lambda: KneserNey(sampled, VOCAB_SIZE, ends=True).mean_nll(lines),
        "nearest by 3-grams, 500": lambda: JaccardNeighbours(lines).distances(sampled[:NUM_NEAREST]),
        "distinct-2": lambda: distinct(lines, 2),
        "repetition-4": lambda: repetition_rate(lines, 4),
        "share of unique": lambda: share_unique(lines),
        "FED of samples, ngram64": fed,
        "ngram64 of all": lambda: NgramEncoder().encode([[f"w{token}" for token in line] for line in lines]),
        "reward BLEU beside references": lambda: reference_bleu(SPACE, tokens, tokens.flip(0)),
        "reward ROUGE beside references": lambda: reference_rouge_l(SPACE, tokens, tokens.flip(0)),
    }
    found = {}
    for name, measure in measures.items():
        if only and not any(part in name for part in only):
            continue
        started = time.perf_counter()
        measure()
        found[name] = time.perf_counter() - started
        print(f"{number:>9,} lines  {name:<32} {found[name]:8.2f} s", file=sys.stderr, flush=True)
    return found


def table(columns: dict[int, dict[str, float]]) -> str:
    """Markdown: a row a measure, a column a number of lines."""
    names = dict.fromkeys(name for column in columns.values() for name in column)
    heads = "".join(f" {number:,} |" for number in columns)
    rows = [
        f"| {name} |" + "".join(f" {column[name]:.2f} |" if name in column else " – |" for column in columns.values())
        for name in names
    ]
    return "\n".join([f"| seconds, lines: |{heads}", "|---|" + "---|" * len(columns), *rows])


def tiny(folder: Path) -> list[str]:
    return ["--lines", "20"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--only", nargs="+", default=[], help="parts of names of measures")
    options = parser.parse_args(arguments)
    columns = {number: measured(number, options.only) for number in options.lines}
    print(machine())
    print(table(columns))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB")


if __name__ == "__main__":
    main()
