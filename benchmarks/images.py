"""Handwritten digits as tokens of a VQ-VAE: does an adversary draw better ones than likelihood?

    python -m benchmarks.images [--seeds 1 2 3] [--codebooks ema gradient] [--updates 10] [--judges [NAME ...]]
        [--sequences 300] [--out FOLDER] [--set PATH VALUE ...]

First, for each way in which a codebook learns and each seed of the VQ-VAE: the share of the variance of held-out pixels
that the tokens lose; the perplexity of the codes of training images, of 32; the share of held-out images whose class a
classifier of real images finds, as they are and decoded; and the Fréchet distance in its features of decoded held-out
images from decoded training images, as many. `--judges` without a name ends there.

All rows of a seed begin at one maximum-likelihood start and have likelihood mixed in (preset quick, smaller).

    MLE start              likelihood alone
    mle_continued          as many updates of likelihood
    tokens                 rewarded by the ratio of preset quick's discriminator, which reads tokens
    pixels                 by the same of a discriminator that looks at decoded pixels
    pixels_hinge           by the logit of the same, with hinge loss

Measured at temperature 1: fid, the Fréchet distance in the features of a small classifier from held-out images (real
data: as many training images); memorised, the share that are training images token for token; lm_5gram and rlm_5gram,
nats per token. Means over seeds with half-widths of 95 % t intervals; of differences from mle_continued within a seed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

import rlgan
from benchmarks.common import add_changes, machine
from benchmarks.presets import interval, line
from rlgan.domains.images import Images, images, perplexity
from rlgan.domains.images.codes import require_codes
from rlgan.domains.images.reading import digits
from rlgan.domains.images.vq_vae import Update

TINY_MARKS = ("heavy",)
NEEDS = ("sklearn",)

_PIXELS = {"discriminator": "pixels", "optimizers.discriminator.lr": 4e-4}
JUDGES: dict[str, dict[str, Any]] = {
    "tokens": {},
    "pixels": _PIXELS,
    "pixels_hinge": _PIXELS | {"adversary.loss": "hinge", "reward": "logit", "baseline": "leave_one_out"},
}
FIGURES = ("own_images_fid", "own_images_memorised", "lm_5gram", "rlm_5gram")


def trained(name: str, arguments: argparse.Namespace, seed: int, folder: Path) -> dict[str, dict[str, float]]:
    """Rows of one run: name → figures at temperature 1."""
    settings = {
        "task": "images",
        "generator.embedding": 32,
        "generator.hidden": 64,
        "adversary.batch": 128,
        "adversary.sequences_per_round": 256,
        "schedule.adversarial_updates": arguments.updates,
        "schedule.g_batch": 128,
        "schedule.mle_epochs": 15,
        "schedule.mle_batch": 256,
        "schedule.discriminator_rounds": 3,
        "evaluation.every": arguments.updates,
        "evaluation.mle_every": 15,
        "evaluation.temperatures": [1.0],
        "evaluation.num_sequences": 200,
        "evaluation.final_sequences": arguments.sequences,
        "evaluation.metrics": ["images"],
        "evaluation.adversarial": None,
        "tracking.enabled": False,
        "controls": ["mle_continued"] if name == "tokens" else [],
    }
    run = rlgan.train(
        "quick",
        seed=seed,
        out=folder / f"{name}_{seed}",
        quiet=True,
        settings=settings | JUDGES[name] | {path: _value(text) for path, text in arguments.set},
    )
    rows = run.table
    found = {}
    for row in rows[(rows["temperature"] == 1.0) | rows["temperature"].isna()].to_dict("records"):
        found[str(row["name"])] = {figure: float(row[figure]) for figure in FIGURES if figure in row}
    return found


def _value(text: str) -> Any:
    """A value of --set: options of a task are not read by any setting."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def coded(codebook: Update, seed: int) -> dict[str, float]:
    """What the tokens of one VQ-VAE keep of the digits."""
    task = images(codebook=codebook, seed=seed)
    codes = require_codes(task.drawing, "benchmark images")
    real = digits()
    assert real.labels is not None
    # The rows of the test split, as the task draws them.
    rows = torch.from_numpy(np.random.default_rng(0).permutation(len(real.pixels))[: len(task.test)])
    pixels, decoded = real.pixels[rows], codes.network.pixels_of(task.test)
    names = [codes.classes[label] for label in real.labels[rows].tolist()]
    known = task.decode(task.train[: len(rows)])
    found = Images()(task.decode(task.test), known, known, [""], task.drawing)
    return {
        "lost": float((decoded - pixels).square().mean() / pixels.var(correction=0)),
        "perplexity": perplexity(torch.bincount(task.train.flatten(), minlength=32)),
        "class_of_real": fmean(map(str.__eq__, codes.classes_of(pixels), names)),
        "class_of_decoded": fmean(map(str.__eq__, codes.classes_of(decoded), names)),
        "fid_of_real": found["fid"],
    }


def main(given: Sequence[str] | None = None) -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--codebooks", nargs="*", choices=("ema", "gradient"), default=["ema", "gradient"])
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--sequences", type=int, default=300)
    parser.add_argument("--judges", nargs="*", choices=JUDGES, default=["tokens", "pixels"])
    parser.add_argument("--out", type=Path, default=None)
    add_changes(parser)
    arguments = parser.parse_args(given)
    print(machine())
    for codebook in arguments.codebooks:
        each = {seed: coded(codebook, seed) for seed in arguments.seeds}
        for seed, figures in each.items():
            print(line(seed, codebook, figures), flush=True)
        print(
            f"{codebook}: " + "; ".join(f"{name} {interval([one[name] for one in each.values()])}" for name in figures)
        )
    rows: dict[str, dict[int, dict[str, float]]] = defaultdict(dict)
    with TemporaryDirectory() as temporary:
        for seed in arguments.seeds:
            for name in arguments.judges:
                began = time.process_time()
                for row, figures in trained(name, arguments, seed, arguments.out or Path(temporary)).items():
                    known = name if row.endswith("(this run)") else row
                    rows[known].setdefault(seed, figures)
                    print(line(seed, known, figures), flush=True)
                print(f"seed {seed}, {name}: {time.process_time() - began:.0f} s of CPU", flush=True)
    for name, by_seed in rows.items():
        cells = []
        for figure in FIGURES:
            values = {seed: figures[figure] for seed, figures in by_seed.items() if figure in figures}
            if not values:
                continue
            cells.append(f"{figure} {interval(list(values.values()))}")
            base = rows["mle_continued"]
            if (
                name != "mle_continued"
                and not name.startswith("real data")
                and all(figure in base.get(seed, {}) for seed in values)
            ):
                apart = [value - base[seed][figure] for seed, value in values.items()]
                cells[-1] += f" ({interval(apart)})"
        print(f"{name}: {'; '.join(cells)}")


def tiny(folder: Path) -> list[str]:
    """Arguments of a form that measures nothing."""
    small = {
        "task.options.epochs": "1",
        "task.options.cache": str(folder),
        "schedule.mle_epochs": "1",
        "adversary.batch": "16",
        "adversary.sequences_per_round": "32",
        "schedule.discriminator_rounds": "1",
        "schedule.g_batch": "16",
        "evaluation.num_sequences": "16",
    }
    changes = [part for pair in small.items() for part in ("--set", *pair)]
    return ["--seeds", "1", "--codebooks", "--updates", "1", "--sequences", "16", "--judges", "tokens", *changes]


if __name__ == "__main__":
    main()
