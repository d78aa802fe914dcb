"""A domain of your own: peptides that kill bacteria, from the table of the package modlamp.

    pip install --no-deps modlamp==4.3.3
    python examples/proteins.py
    rlgan train seqgan_rloo --task examples/proteins.py:peptides --task.options.path mine.fasta

The second command takes sequences of a FASTA file of your own: gaps and the stop at the end are removed, and sequences
with other letters than those of the 20 amino acids are left out and counted.

A domain is a task, a few metrics and a reward, each a function. Here the task is the antimicrobial peptides of that
table; a token is an amino acid. Antimicrobial peptides tend to have a positive charge, so charge is rewarded beside the
discriminator, up to +6.

Prints, for real peptides and for each generator's, how far their 3-mers are from those of held-out peptides (kmer_js),
net charge, hydropathy (GRAVY) and length. Then three samples with the logit of the discriminator.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean

import rlgan
from rlgan.envs import Task
from rlgan.envs.reading import How, Wanted, read_texts
from rlgan.envs.tasks import text_task

FASTA = How(format="fasta")
GAPS = str.maketrans("", "", "-.")
CHARGE = {"K": 1.0, "R": 1.0, "D": -1.0, "E": -1.0}  # at pH 7
HYDROPATHY = dict(zip("ARNDCQEGHILKMFPSTWYV", (
    1.8, -4.5, -3.5, -3.5, 2.5, -3.5, -3.5, -0.4, -3.2, 4.5, 3.8, -3.9, 1.9, 2.8, -1.6, -0.8, -0.7, -0.9, -1.3, 4.2,
), strict=True))  # fmt: skip


def peptides(longest: int = 40, path: str = "") -> Task:
    """Peptides of at most `longest` amino acids, of a FASTA file or else antimicrobial; every tenth is held out."""
    read = read_texts(path, FASTA, Wanted("text", ""), "FASTA").strings if path else antimicrobial()
    whole = [text.upper().translate(GAPS).removesuffix("*") for text in read]
    good = [text for text in whole if text and set(text) <= HYDROPATHY.keys()]
    found = sorted(set(good))
    held_out = [text for number, text in enumerate(found) if number % 10 == 0]
    train = [text for number, text in enumerate(found) if number % 10]
    half = len(held_out) // 2
    task = text_task("peptides", train, held_out[:half], held_out[half:], tokens="characters", max_length=longest + 1)
    left_out = f"peptides: left out {len(read) - len(good)} of {len(read)} sequences, empty or with unknown letters"
    return replace(task, notes=(left_out, *task.notes))


def antimicrobial() -> list[str]:
    """The peptides of the package."""
    package = find_spec("modlamp")
    if package is None or package.origin is None:
        raise SystemExit("The peptides come with the package modlamp: pip install --no-deps modlamp==4.3.3")
    with (Path(package.origin).parent / "data" / "AMPvsUniProt.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return sorted({row[0].strip() for row in rows if row[1].strip() == "1"})


def kmer_js(texts: Sequence[str], references: Sequence[str]) -> float:
    """Jensen-Shannon divergence of the distributions of 3-mers, bits: 0 where equal, 1 where disjoint.

    It falls with the number of peptides; compare equal numbers.
    """
    ours, theirs = (
        Counter(text[at : at + 3] for text in some for at in range(len(text) - 2)) for some in (texts, references)
    )
    total = 0.0
    for counts, others in ((ours, theirs), (theirs, ours)):
        for kmer, count in counts.items():
            share = count / counts.total()
            total += share * math.log2(2 * share / (share + others[kmer] / max(others.total(), 1))) / 2
    return total


def net_charge(texts: Sequence[str]) -> float:
    """Mean net charge at pH 7: lysine and arginine less aspartic and glutamic acid."""
    return fmean(sum(CHARGE.get(letter, 0.0) for letter in text) for text in texts)


def gravy(texts: Sequence[str]) -> float:
    """Mean hydropathy of an amino acid (Kyte and Doolittle 1982), averaged over peptides."""
    values = [[HYDROPATHY[letter] for letter in text if letter in HYDROPATHY] for text in texts]
    means = [fmean(some) for some in values if some]
    return fmean(means) if means else 0.0


def residues(texts: Sequence[str]) -> float:
    """Mean number of amino acids."""
    return fmean(map(len, texts))


def charged(completions: Sequence[str], most: float = 6.0, **columns: object) -> list[float]:
    """Net charge over `most`, between 0 and 1."""
    return [min(max(sum(CHARGE.get(letter, 0.0) for letter in text) / most, 0.0), 1.0) for text in completions]


def main() -> None:
    run = rlgan.train(
        "seqgan_rloo",
        task=peptides,
        reward=charged,
        generator={"hidden": 64, "embedding": 32},
        discriminator={"embedding": 32, "windows": [1, 2, 3, 4, 5], "filters": [32, 32, 32, 32, 32]},
        adversary={"sequences_per_round": 500},
        schedule={
            "mle_epochs": 40,
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
            "metrics": [kmer_js, net_charge, gravy, residues],
        },
        controls=["mle_continued"],
    )
    columns = ["own_kmer_js", "own_net_charge", "own_gravy", "own_residues", "nll_gen"]
    print(run.table[["name", *columns]].round(3).to_string(index=False))
    print(run.score(run.sample(3, seed=1))[["discriminator_logit", "text"]].round(2).to_string(index=False))


if __name__ == "__main__":
    main()
