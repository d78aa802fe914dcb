"""A text in two stages: its skeleton first, then the text for the skeleton.

    python examples/skeletons.py docstrings.txt skeletons              every second word, from the first on
    python examples/skeletons.py docstrings.txt skeletons --every 3
    python examples/skeletons.py docstrings.txt skeletons --common 30  all words but the 30 most common ones

Writes train.tsv, valid.tsv and test.tsv into the folder, with a skeleton and its text on each line. Column 0 is the
data of the first stage, and both columns are the pairs of the second; docs/algorithms/latents.md, section 40.6, has the
commands. Texts are in the same split in both stages, so what is held out in one is not learned from in the other.

Prints of each split the number of texts, how long skeletons and texts are, and how many skeletons are different.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

HELD_OUT = 0.05  # of the texts for validation, and as many for testing

Skeleton = Callable[[Sequence[str]], list[str]]
"""Words of a text to those that are kept, at least one."""


def every(number: int) -> Skeleton:
    """The first word, and each word that is a multiple of `number` behind it."""
    return lambda words: list(words[::number])


def but_common(number: int, texts: Sequence[Sequence[str]]) -> Skeleton:
    """All words but the most common ones of some texts; where nothing would be left, the rarest word."""
    counts = Counter(word for words in texts for word in words)
    common = {word for word, _ in counts.most_common(number)}

    def kept(words: Sequence[str]) -> list[str]:
        return [word for word in words if word not in common] or [min(words, key=lambda word: counts[word])]

    return kept


def split_up(texts: Sequence[str], seed: int = 0) -> dict[str, list[list[str]]]:
    """Different texts as words, in random order: the splits."""
    rows = [text.split() for text in dict.fromkeys(" ".join(text.split()) for text in texts) if text]
    random.Random(seed).shuffle(rows)
    number = max(1, int(HELD_OUT * len(rows)))
    if len(rows) < 2 * number + 1:
        raise SystemExit(f"{len(rows)} different texts are too few for three splits. Give at least 3.")
    return {"valid": rows[:number], "test": rows[number : 2 * number], "train": rows[2 * number :]}


def main() -> None:
    parser = argparse.ArgumentParser(description="skeletons of texts, beside the texts")
    parser.add_argument("texts", type=Path, help="file with one text per line")
    parser.add_argument("folder", type=Path, help="where the splits are written")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--every", type=int, default=2, metavar="K", help="keep every K-th word (default 2)")
    which.add_argument(
        "--common", type=int, metavar="N", help="leave out the N most common words of the training split"
    )
    options = parser.parse_args()
    if options.every < 2 or (options.common is not None and options.common < 1):
        parser.error("--every must be at least 2, and --common at least 1")
    splits = split_up(options.texts.read_text("utf-8").splitlines())
    skeleton = every(options.every) if options.common is None else but_common(options.common, splits["train"])
    options.folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "valid", "test"):
        texts = splits[split]
        skeletons = [skeleton(words) for words in texts]
        lines = [f"{' '.join(short)}\t{' '.join(words)}\n" for short, words in zip(skeletons, texts, strict=True)]
        path = options.folder / f"{split}.tsv"
        path.write_text("".join(lines), "utf-8")
        short, long = (sum(map(len, rows)) / len(rows) for rows in (skeletons, texts))
        different = len({tuple(one) for one in skeletons})
        print(
            f"{path}: {len(texts)} texts of {long:.1f} words, skeletons of {short:.1f}, {different} of them different"
        )


if __name__ == "__main__":
    main()
