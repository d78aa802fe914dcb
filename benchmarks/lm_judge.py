"""A pretrained sentence encoder as discriminator beside the CNN of `quick`: held-out AUC on the same fakes, seconds.

    python -m benchmarks.lm_judge --data captions.txt --encoder FOLDER [--seeds 0,1,2] [--rounds 5] ...

The generator of `quick` learns the file by likelihood, once. Then, for each seed, each judge sees the same rounds of
fresh fakes of this generator and as many training sequences, one pass each. Its AUC is of test sequences against other
fakes, none of which it has seen; seeds differ in new weights, order and fakes. `cnn` has `quick`'s own rounds besides
(1,000 sequences), for they cost next to nothing. Seconds are CPU seconds of this process, which other programs move
little.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import machine
from benchmarks.lm_common import write_encoder
from rlgan.adversary.minibatches import Pairs
from rlgan.adversary.training import Adversary, Round
from rlgan.base.seeding import stream
from rlgan.base.threads import torch_threads
from rlgan.base.weights import load_weights, weights_of
from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.discriminators import build_discriminator
from rlgan.envs.tasks import Task, TextTask, build_task
from rlgan.envs.transition import sequence_mask
from rlgan.generators import build_generator
from rlgan.metrics import auc
from rlgan.metrics.intervals import interval
from rlgan.presets.own_data import summary_of_data
from rlgan.presets.registry import preset
from rlgan.sampling.sampler import sampler_of
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts

TINY_MARKS = ("heavy",)
NEEDS = ("transformers", "peft")

_ENCODER: dict[str, Any] = {
    "discriminator.kind": "sequence_classifier",
    "discriminator.weights.kind": "folder",
    "discriminator.pooling": "mean",
}
JUDGES: dict[str, dict[str, Any]] = {
    "cnn": {},
    "encoder, output": _ENCODER | {"discriminator.training.kind": "output", "optimizers.discriminator.lr": 1e-3},
    "encoder, lora": _ENCODER | {"discriminator.training.kind": "lora", "optimizers.discriminator.lr": 5e-4},
    "encoder, whole": _ENCODER | {"optimizers.discriminator.lr": 5e-5},
}
"""Discriminators as changes of the preset."""


def tiny(folder: Path) -> list[str]:
    words = ["a", "dog", "cat", "runs", "sits", "on", "the", "mat", "fast"]
    rng = torch.Generator().manual_seed(0)
    lines = [" ".join(words[int(one)] for one in torch.randint(9, (5,), generator=rng)) for _ in range(200)]
    (folder / "captions.txt").write_text("\n".join(dict.fromkeys(lines)), "utf-8")
    write_encoder(folder / "encoder", words)
    sizes = ["--rounds", "1", "--sequences", "8", "--own-sequences", "8", "--heldout", "8", "--mle-epochs", "1"]
    return ["--data", str(folder / "captions.txt"), "--encoder", str(folder / "encoder"), "--seeds", "0,1", *sizes]


def trained_generator(config: Config, task: Task) -> Any:
    """The generator at the end of pretraining."""
    started, epochs = time.process_time(), 0
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        while trainer.next_phase == "mle":
            trainer.step(measure=False)
            epochs += 1
        weights = parts.learners.weights().complete
    print(f"generator: {epochs} epochs in {time.process_time() - started:.0f} s", flush=True)
    return load_weights(build_generator(config.generator, task.space), weights).eval()


def judged(
    config: Config, task: Task, generator: Any, seed: int, rounds: int, sequences: int, heldout: int
) -> dict[str, float]:
    """What a discriminator came to on a generator's sequences."""
    config = override(config, {"adversary.sequences_per_round": sequences}).settled()
    assert config.discriminator is not None
    start = None
    if config.discriminator.reads_files:
        network = build_discriminator(config.discriminator, task.space)
        network.take_files()
        start = weights_of(network, 0).complete
    adversary = Adversary(
        config.discriminator,
        config.adversary,
        config.optimizers.discriminator,
        task.space,
        reals=Pairs(task.train),
        heldout_reals=Pairs(task.valid[:1]),  # the AUC is measured here, at the end
        seed=seed,
        start=start,
    )
    sampler = sampler_of(generator, task.space)
    seconds = []
    for index in range(rounds):
        fakes = sampler.sample(sequences, stream(seed, "fakes", index)).tokens
        started = time.process_time()
        adversary.train_round(Round(index=index, fakes=fakes, epochs=1))
        seconds.append(time.process_time() - started)
    unseen = sampler.sample(heldout, stream(seed, "fakes", "heldout")).tokens
    reals = task.test[:heldout].long()
    scorer = adversary.network.scorer()
    started = time.process_time()
    logits = [scorer(tokens, sequence_mask(task.space, tokens)) for tokens in (reals, unseen)]
    scoring = time.process_time() - started
    return {
        "auc": auc(*logits),
        "round_s": sum(seconds) / len(seconds),
        "scored_per_s": (len(reals) + len(unseen)) / scoring,
        "trained": float(sum(one.numel() for one in adversary.network.parameters() if one.requires_grad)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", required=True, help="file with a caption a line")
    parser.add_argument("--encoder", required=True, help="folder of an encoder of transformers with its tokenizer")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--judges", default=";".join(JUDGES), help="some of them, with semicolons")
    for name, value in {
        "rounds": 5, "sequences": 128, "own-sequences": 1000, "heldout": 400, "mle-epochs": 0, "threads": 1,
    }.items():  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    seeds = [int(one) for one in options.seeds.split(",")]
    settings = TextTask(data=options.data)
    base = preset("quick", settings, summary_of_data(settings))
    # Pretraining ends as quick's does; nothing is measured or trained behind it.
    base = override(base, {"workers.threads": options.threads, "schedule.discriminator_rounds": 1, "controls": []})
    if options.mle_epochs:
        base = override(base, {"schedule.mle_epochs": options.mle_epochs})
    task = build_task(base.task)
    print(f"{machine()}, {options.threads} thread")
    print(f"{len(task.train):,} training sequences, {task.space.vocab_size:,} tokens, at most {task.space.max_length}")
    arms = [("cnn, its own rounds", "cnn", options.own_sequences)]
    arms += [(name, name, options.sequences) for name in options.judges.split(";")]
    found: dict[str, list[dict[str, float]]] = {name: [] for name, _, _ in arms}
    with torch_threads(options.threads):
        generator = trained_generator(base, task)
        for seed in seeds:
            for name, judge, sequences in arms:
                changes = dict(JUDGES[judge])
                if changes:
                    changes["discriminator.weights.path"] = options.encoder
                config = override(base, {"seed": seed, **changes})
                one = judged(config, task, generator, seed, options.rounds, sequences, options.heldout)
                found[name].append(one)
                print(f"seed {seed}, {name}: AUC {one['auc']:.4f}, {one['round_s']:.2f} s a round", flush=True)
    print(f"\n| {options.rounds} rounds | trained weights | AUC | less cnn's | CPU s a round | scored a second |")
    print("|---|---|---|---|---|---|")
    for name, _, sequences in arms:
        rows = found[name]
        less = [row["auc"] - other["auc"] for row, other in zip(rows, found[arms[0][0]], strict=True)]
        mean = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
        beside = "" if name == arms[0][0] else str(interval(less))
        its = interval([row["auc"] for row in rows])
        costs = f"{mean['round_s']:.2f} | {mean['scored_per_s']:,.0f}"
        print(f"| {name}, {sequences} + {sequences} | {mean['trained']:,.0f} | {its} | {beside} | {costs} |")


if __name__ == "__main__":
    main()
