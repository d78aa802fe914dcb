"""A domain of your own: phrases of folk songs in ABC notation, from the corpus of the package music21.

    pip install --no-deps music21==10.5.1
    python examples/music.py
    rlgan train seqgan_rloo --task examples/music.py:songs --task.options.path my_tunes

The second command takes the songs in the ABC files of a folder of your own.

A domain is a task and a few metrics, each a function. Here the task is the phrases of all songs in 2/4, moved to one
key. A token is a note with its length, a rest or a bar line. ABC counts notes in steps of the scale, so a note is moved
to another key by moving its letter.

Prints, for real phrases and for each generator's, the share of bars that are full, the mean step from note to note and
the share of phrases that end on the tonic. Then three phrases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean

import rlgan
from rlgan.base.errors import DataError
from rlgan.envs import Task
from rlgan.envs.tasks import text_task

STEPS = "CDEFGABcdefgab"
NOTE = re.compile(r"([\^_=]?)([A-Ga-gz])([,']*)(\d*)")
BAR = 8  # sixteenths, in 2/4
HEAD = {"M": "2/4", "L": "1/16"}


def songs(path: str = "") -> Task:
    """Phrases of 6 to 24 tokens, of the package or of the ABC files in a folder; every tenth song is held out."""
    splits: list[dict[str, None]] = [{}, {}, {}]  # phrases in their order, each once
    for number, phrases in enumerate(_songs(Path(path) if path else _corpus())):
        split = splits[{0: 1, 5: 2}.get(number % 10, 0)]
        split.update(dict.fromkeys(phrase for phrase in phrases if 6 <= len(phrase.split()) <= 24))
    train, valid, test = splits
    if not (train and valid and test):
        raise DataError(
            f"{path}: too few phrases of 6 to 24 tokens in songs with M: 2/4 and L: 1/16. Give a folder of ABC files "
            "with at least ten such songs.",
            code="no_songs",
        )
    return text_task("songs", list(train), list(valid), list(test))


def _corpus() -> Path:
    package = find_spec("music21")
    if package is None or package.origin is None:
        raise SystemExit("The songs come with the package music21: pip install --no-deps music21==10.5.1")
    return Path(package.origin).parent / "corpus" / "essenFolksong"


def _songs(folder: Path) -> Iterator[list[str]]:
    for path in sorted(folder.glob("*.abc")):
        for song in re.split(r"\n(?=X:)", path.read_text("latin-1")):
            head = dict(re.findall(r"^([A-Z]): *(\S+)", song, re.MULTILINE))
            if all(head.get(field) == value for field, value in HEAD.items()) and head.get("K", " ")[0] in "ABCDEFG":
                lines = [line for line in song.splitlines() if line and not re.match(r"[A-Z]:", line)]
                lines = [line for line in lines if not NOTE.sub("", line).strip(" |]")]  # no triplets, no ties
                yield [" ".join(_moved(line, STEPS.index(head["K"][0]))) for line in lines]


def _moved(line: str, tonic: int) -> Iterator[str]:
    for bar, accidental, letter, octave, length in re.findall(r"(\|)|" + NOTE.pattern, line):
        step = STEPS.find(letter) - tonic + 7 * (octave.count("'") - octave.count(","))
        name = letter if letter == "z" else STEPS[step % 7] + (f"{step // 7:+d}" if step // 7 else "")
        yield bar or f"{accidental}{name}:{length or 1}"


def full_bars(texts: Sequence[str]) -> float:
    """Share of bars between two bar lines that last two quarters."""
    bars = [bar.split() for text in texts for bar in text.split("|")[1:-1]]
    return fmean(sum(int(note.partition(":")[2] or 0) for note in bar) == BAR for bar in bars) if bars else 0.0


def mean_step(texts: Sequence[str]) -> float:
    """Mean distance from one note to the next, in steps of the scale."""
    heights = [_heights(text) for text in texts]
    steps = [abs(one - other) for line in heights for one, other in zip(line, line[1:], strict=False)]
    return fmean(steps) if steps else 0.0


def ends_on_tonic(texts: Sequence[str]) -> float:
    """Share of phrases whose last note is the tonic, in any octave."""
    last = [_heights(text)[-1:] for text in texts]
    return fmean(bool(height) and height[0] % 7 == 0 for height in last)


def _heights(text: str) -> list[int]:
    names = [token.partition(":")[0].lstrip("^_=") for token in text.split() if token[0] not in "|z<"]
    return [STEPS.index(name[0]) + 7 * int(name[1:] or 0) for name in names]


def main() -> None:
    run = rlgan.train(
        "seqgan_rloo",
        task=songs,
        generator={"hidden": 64, "embedding": 32},
        discriminator={"embedding": 32, "windows": [1, 2, 3, 4, 5], "filters": [32, 32, 32, 32, 32]},
        adversary={"sequences_per_round": 500},
        schedule={
            "mle_epochs": 10,
            "discriminator_rounds": 5,
            "adversarial_updates": 40,
            "g_batch": 128,
            "d_epochs": 1,
        },
        evaluation={
            "every": 20,
            "temperatures": [1.0],
            "num_sequences": 500,
            "final_sequences": 500,
            "metrics": [full_bars, mean_step, ends_on_tonic],
        },
        controls=["mle_continued"],
    )
    columns = ["own_full_bars", "own_mean_step", "own_ends_on_tonic", "nll_gen"]
    print(run.table[["name", *columns]].round(3).to_string(index=False))
    print("\n".join(run.sample(3, seed=1)))


if __name__ == "__main__":
    main()
