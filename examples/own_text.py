"""Your own text: a file of lines in, new lines out, and how far they are from real ones.

    python examples/own_text.py               the sentences of corpus.py
    python examples/own_text.py FILE          any text file, one sequence a line

Prints three real lines and three new ones, the rows of the final table at temperature 1, the verdict on the run
compared with its controls, and the log-likelihood of the new lines, also reversed. The run stays in `runs/`:
`rlgan sample --run latest` generates more.
"""

from __future__ import annotations

import sys
from pathlib import Path

from corpus import sentences

import rlgan

WORDS_AND_MARKS = r"\s?\w+|\s?[^\w\s]"
"""A token is a word with the blank before it, or a mark: so texts come back as they were written."""


def main() -> None:
    lines = Path(sys.argv[1]).read_text("utf-8").splitlines() if len(sys.argv) > 1 else sentences()
    run = rlgan.train(
        "quick",
        data=lines,
        tokens="regex",
        task={"tokens": {"pattern": WORDS_AND_MARKS, "min_count": 2}, "max_length": 24},
        generator={"hidden": 64, "embedding": 64},
        schedule={"mle_epochs": 6, "discriminator_rounds": 2, "adversarial_updates": 10},
        evaluation={"temperatures": [1.0, 0.8], "num_sequences": 500, "final_sequences": 500, "num_bleu": 250},
        controls=["mle_continued"],
    )
    print("\nreal:", *lines[:: len(lines) // 3][:3], sep="\n  ")
    print("new:", *run.sample(3, temperature=0.8, seed=1), sep="\n  ")

    print("\nnats a token (nll_gen: how well it foresees unseen lines) and n-gram overlap, at temperature 1:")
    table = run.table
    print(table[table["temperature"] == 1.0][["name", "nll_gen", "bleu_2", "self_bleu_2"]].to_string(index=False))
    print(*([] if run.verdict is None else run.verdict.sentences), sep="\n")

    new = [text for text in run.sample(3, temperature=0.8, seed=1) if text]
    backwards = [" ".join(reversed(text.split())) for text in new]
    scores = run.score(new + backwards)[["log_likelihood", "text"]].round(1)
    print("\nlog-likelihood in nats, of new lines and of their words backwards:")
    print(scores.to_string(index=False))


if __name__ == "__main__":
    main()
