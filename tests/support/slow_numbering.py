"""Tasks of text and pairs made the obvious way, with a tuple of strings a line: the slow twin of `rlgan.envs.tasks`.

Words and characters of lines that have been read; nothing of files, of marks or of pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rlgan.envs.vocabulary import Vocabulary

Tokens = tuple[str, ...]


@dataclass(frozen=True)
class Slow:
    """What a task must be.

    Attributes:
        names: how each id is shown.
        ids: of each split its sequences' ids, without terminators and padding.
        max_length: T.
        notes: what was dropped, and of each split what the task tells of it.
    """

    names: tuple[str, ...]
    ids: dict[str, list[list[int]]]
    max_length: int
    notes: list[str]


def text(
    lines: Sequence[str],
    cut: Callable[[str], Sequence[str]],
    *,
    longest: int,
    min_count: int = 1,
    max_size: int | None = None,
    max_length: int | None = None,
    over_long: str = "drop",
    unknown: str = "keep",
    deduplicate: bool = True,
    split_seed: int = 0,
) -> Slow:
    """A text task of one file, split at 80, 10 and 10 %."""
    sequences = [tuple(cut(line)) for line in lines if line.strip()]
    longest = max_length or min(max(map(len, sequences)) + 1, longest)
    notes = []
    if over_long == "cut":
        sequences = [tokens[:longest] if len(tokens) >= longest else tokens for tokens in sequences]
    else:
        fitting = [tokens for tokens in sequences if len(tokens) < longest]
        if len(fitting) < len(sequences):
            notes.append(f"dropped {len(sequences) - len(fitting)} line")
        sequences = fitting
    if deduplicate:
        different = list(dict.fromkeys(sequences))
        if len(different) < len(sequences):
            notes.append(f"dropped {len(sequences) - len(different)} repeated line")
        sequences = different
    splits = {split: [sequences[place] for place in places] for split, places in shared(len(sequences), split_seed)}
    vocabulary = Vocabulary.build(splits["train"], min_count=min_count, max_size=max_size)
    ids = {split: [vocabulary.encode(tokens) for tokens in found] for split, found in splits.items()}
    train = set(splits["train"])
    if unknown == "drop":
        known = [row for row in ids["train"] if 1 not in row]
        notes.append(f"train: dropped {len(ids['train']) - len(known)} line")
        ids["train"] = known
    for split in ("valid", "test"):
        if found := sum(tokens in train for tokens in splits[split]):
            notes.append(f"{split}: {found} of {len(splits[split])} lines are also training lines")
    for split in ("train", "valid", "test"):
        num_tokens, num_unknown = sum(map(len, ids[split])), sum(row.count(1) for row in ids[split])
        notes.append(
            f"{split}: {len(ids[split])} sequence{'' if len(ids[split]) == 1 else 's'}, {num_tokens} "
            f"token{'' if num_tokens == 1 else 's'}, {num_unknown} unknown ({num_unknown / num_tokens:.2%})"
        )
    return Slow(vocabulary.names, ids, longest, notes)


def pairs(lines: Sequence[tuple[str, str]], *, split_seed: int = 0) -> tuple[Slow, Slow]:
    """Sources and targets of words of one file; pairs of one source stay together."""
    written = list(dict.fromkeys((" ".join(source.split()), " ".join(target.split())) for source, target in lines))
    of_source: dict[str, list[tuple[str, str]]] = {}
    for pair in written:
        of_source.setdefault(pair[0], []).append(pair)
    sources = list(of_source)
    splits = {
        split: [pair for place in places for pair in of_source[sources[place]]]
        for split, places in shared(len(sources), split_seed)
    }
    sides = []
    for side in (0, 1):
        sequences = {split: [tuple(pair[side].split()) for pair in found] for split, found in splits.items()}
        vocabulary = Vocabulary.build(sequences["train"])
        longest = max(map(len, sequences["train"])) + 1
        # Of held-out pairs what is too long is cut, and has no terminator.
        ids = {
            split: [vocabulary.encode(tokens[:longest] if len(tokens) >= longest else tokens) for tokens in found]
            for split, found in sequences.items()
        }
        sides.append(Slow(vocabulary.names, ids, longest, []))
    return sides[0], sides[1]


def shared(total: int, seed: int) -> list[tuple[str, list[int]]]:
    """Places of each split: a tenth for valid, a tenth for test, drawn one after the other."""
    tenth = max(1, round(0.1 * total))
    order = np.random.default_rng(seed).permutation(total).tolist()
    valid, test, train = order[:tenth], order[tenth : 2 * tenth], order[2 * tenth :]
    return [("valid", sorted(valid)), ("test", sorted(test)), ("train", sorted(train))]
