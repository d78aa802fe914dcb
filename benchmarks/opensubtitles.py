"""The OpenSubtitles sample of Li et al. 2017 as files that the task `pairs` reads.

A line of a file is `ids of the source|ids of the reply`, an id a line of movie_25000.txt counted from 1, the first of
which stands for all other words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

_SPLITS = {"data": "train", "valid": "dev", "test": "test"}
HUMAN, MACHINE = "t_given_s", "decoded"
"""Replies of people, and those of the authors' own generator to the same sources."""


def sample(folder: Path, tested: str, scratch: Path) -> dict[str, Any]:
    """What a task's `input` is of three files of `folder`, which `scratch` gets in words; `tested` wrote the last."""
    words = (folder / "movie_25000.txt").read_text("utf-8").splitlines()

    def spelled(ids: str) -> str:
        return " ".join(words[int(token) - 1] for token in ids.split())

    files = {}
    for role, split in _SPLITS.items():
        replies = tested if role == "test" else HUMAN
        pairs = (line.split("|") for line in (folder / f"{replies}_{split}.txt").read_text("utf-8").splitlines())
        path = scratch / f"{replies}_{split}.tsv"
        path.write_text("".join(f"{spelled(source)}\t{spelled(reply)}\n" for source, reply in pairs), "utf-8")
        files[role] = str(path)
    return {"kind": "tsv", **files, "source": 0, "target": 1}
