"""Molecules: likelihood beside the published table of MOSES, and rewards beside REINVENT at equal calls.

    pip download molsets==0.3.1 --no-deps          # 51 MB, outside the repository; it has the splits
    python -m benchmarks.molecules moses --wheel molsets-0.3.1-py3-none-any.whl [--number 100000] [--epochs 6]
        [--sequences 10000] [--reference 30000] [--seeds 0] [--folder FOLDER] [--weights FILE] [--set PATH VALUE ...]
    python -m benchmarks.molecules rewards --wheel molsets-0.3.1-py3-none-any.whl [--reward qed] [--seeds 1 2 3]
        [--presets organ organ_grpo kl_to_prior reinvent] [--number 10000] [--epochs 6] [--updates 25 50 100]
        [--weights FILE] [--set PATH VALUE ...]

`moses` trains preset molecule_mle on so many molecules of MOSES' training split, draws sequences and measures them
beside its test split, and so as many real molecules of the training split. What is published is of 1.6 million
molecules and 80 epochs, and of all 176,074 test molecules as reference. After each epoch the weights are kept in the
folder; `--weights` measures kept ones in place of training.

`rewards` begins all presets of a seed at one start by likelihood, gives them equally many updates, so that equally many
sequences are scored, and measures what each has gained and left behind: the property, how real the molecules look (FCD,
SNN), their diversity, and how far the generator is from its start (KL, nats a sequence). `kl_to_prior` is no preset: it
is `organ_grpo` without a discriminator, the property alone with a KL penalty towards the start. With several numbers of
`--updates` each is measured after each of them. A preset that has gained more has usually left more behind, so the last
table compares each pair at one gain: that of the one which gained less, by a straight line between two measurements.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import add_changes, machine
from benchmarks.presets import interval
from rlgan.base.weights import Tensors, network_of
from rlgan.config.config import Config
from rlgan.config.paths import flatten, override, to_dict
from rlgan.domains.molecules import distribution
from rlgan.domains.molecules.chemistry import canonical, molecule
from rlgan.domains.molecules.rewards import qed, similarity
from rlgan.domains.molecules.task import put_together
from rlgan.envs.tasks import Task, build_task
from rlgan.envs.transition import sequence_mask
from rlgan.generators import Generator, build_generator
from rlgan.presets.registry import preset
from rlgan.sampling.sampler import sampler_of
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts

Row = dict[str, float]
"""Figures of a generator by name."""
CELECOXIB = "CC1=CC=C(C=C1)C1=CC(=NN1C1=CC=C(C=C1)S(N)(=O)=O)C(F)(F)F"
NEEDS = ("rdkit", "fcd_torch")
TINY_MARKS = ("heavy",)

_FIGURES = ("valid", "unique@1k", "unique", "fcd", "snn", "frag", "scaf", "int_div", "filters", "novelty")
PUBLISHED = {
    "train (published)": (1.0, 1.0, 1.0, 0.008, 0.642, 1.0, 0.991, 0.857, 1.0, None),
    "CharRNN (published)": (0.9748, 1.0, 0.9994, 0.0732, 0.6015, 0.9998, 0.9242, 0.8562, 0.9943, 0.8419),
}
"""Polykovskiy et al. 2020, table 2, on the test split; `unique` is of 10,000."""


class Wheel:
    """The splits of MOSES, read from the package's wheel, which is neither installed nor unpacked.

    Args:
        path: of molsets-0.3.1-py3-none-any.whl.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def split(self, name: str) -> list[str]:
        """SMILES strings of train, test or test_scaffolds."""
        with zipfile.ZipFile(self._path) as wheel, wheel.open(f"moses/dataset/data/{name}.csv.gz") as packed:
            lines = gzip.decompress(packed.read()).decode("ascii").splitlines()
        return [line.partition(",")[0] for line in lines[1:]]

    def alerts(self) -> list[str]:
        """SMARTS of the alerts of medicinal chemistry and of PAINS."""
        found = []
        with zipfile.ZipFile(self._path) as wheel:
            for name in ("mcf", "wehi_pains"):
                text = wheel.read(f"moses/metrics/{name}.csv").decode("utf-8")
                rows = list(csv.reader(io.StringIO(text)))
                found += [row[1] for row in rows[1:]] if name == "mcf" else [row[0] for row in rows]
        return found


def some(texts: Sequence[str], number: int, seed: int) -> list[str]:
    """So many of them, chosen by the seed."""
    order = np.random.default_rng(seed).permutation(len(texts))[:number]
    return [texts[int(place)] for place in order]


# ---------------------------------------------------------------------------- likelihood


def by_likelihood(config: Config, task: Task, say: str, keep: Path | None = None) -> tuple[Generator, Tensors]:
    """The generator after its pretraining, with its weights; each epoch is printed, and its weights kept in a file."""
    begun = time.perf_counter()
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        while trainer.next_phase == "mle":
            found = trainer.step(measure=False)
            nll = found.metrics.get("mle/valid_nll", float("nan"))
            taken = time.perf_counter() - begun
            print(
                f"{say} epoch {found.step}: train {found.metrics['mle/train_nll']:.4f}, valid {nll:.4f} nats a token, "
                f"{taken:.0f} s",
                flush=True,
            )
            if keep is not None:
                torch.save(trainer.current_weights(), keep)
        assert trainer.mle_start is not None
        return trainer.current_generator(), trainer.mle_start


def drawn(generator: Generator, task: Task, number: int, seed: int) -> list[str]:
    """Sequences of a generator, as text."""
    rng, sampler = torch.Generator().manual_seed(seed), sampler_of(generator, task.space)
    texts: list[str] = []
    while len(texts) < number:
        texts += task.decode(sampler.sample(min(500, number - len(texts)), rng).tokens)
    return texts


def moses(arguments: argparse.Namespace) -> None:
    """Train, draw and measure; see the head of this module."""
    wheel = Wheel(arguments.wheel)
    training, reference = wheel.split("train"), some(wheel.split("test"), arguments.reference, 0)
    chosen = some(training, arguments.number + 2 * (arguments.number // 100 + 1), 0)
    alerts = wheel.alerts()
    print(machine())
    print(f"{len(training):,} training molecules, {arguments.number:,} taken; reference {len(reference):,}", flush=True)
    rows: dict[str, dict[str, float]] = {}
    texts: dict[str, list[str]] = {}
    for seed in arguments.seeds:
        config, task = of_moses(chosen, arguments, seed)
        generator, _ = start_of(config, task, seed, arguments)
        texts[f"molecule_mle, seed {seed}"] = found = drawn(generator, task, arguments.sequences, seed)
        (arguments.folder / f"drawn-{seed}.smi").write_text("\n".join(found) + "\n", "utf-8")
    known = {name for name in map(canonical, chosen) if name is not None}
    real = [text for text in some(training, 3 * arguments.sequences, 1) if canonical(text) not in known]
    for name, sequences in {**texts, "train, as many": real[: arguments.sequences]}.items():
        rows[name] = figures(sequences, reference, alerts, known)
        print(f"{name}: {rows[name]}", flush=True)
    print(f"\n{table(rows)}")


def start_of(config: Config, task: Task, seed: int, arguments: argparse.Namespace) -> tuple[Generator, Tensors]:
    """The generator by likelihood, trained or read from the file of an earlier call."""
    if arguments.weights is None:
        return by_likelihood(config, task, f"seed {seed}:", arguments.folder / f"start-{seed}.pt")
    weights: Tensors = torch.load(arguments.weights, weights_only=True)
    return network_of(lambda: build_generator(config.generator, task.space), weights).eval(), weights


def of_moses(chosen: Sequence[str], arguments: argparse.Namespace, seed: int) -> tuple[Config, Task]:
    """The run on so many molecules, of which a hundredth are held out twice."""
    path = arguments.folder / "moses.smi"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(chosen) + "\n", "utf-8")
    options = {"path": str(path), "held_out": 0.01, "max_length": 52}
    changes: dict[str, Any] = {
        "task": "molecules",
        "task.options": options,
        "seed": seed,
        "schedule.mle_epochs": arguments.epochs,
        "schedule.mle_halve_from": max(2, arguments.epochs - 1),
        "workers.threads": 1,
        "controls": [],
    }
    own = {path: value for path, value in arguments.set if _is_of_start(path)}
    config = override(override(preset("molecule_mle"), changes), own)
    return config, build_task(config.task)


def figures(texts: Sequence[str], reference: Sequence[str], alerts: Sequence[str], known: set[str]) -> dict[str, float]:
    """The measures of MOSES.

    Args:
        texts: as they were drawn.
        reference: real molecules.
        alerts: SMARTS of `Wheel.alerts`.
        known: canonical SMILES of the molecules that were learned from.
    """
    valid = [name for name in map(canonical, texts) if name is not None]
    different = list(dict.fromkeys(valid))
    real = [name for name in map(canonical, reference) if name is not None]
    passes = Alerts(alerts)
    few = valid[:2000]
    found = {
        "valid": len(valid) / len(texts),
        "unique@1k": len(set(valid[:1000])) / max(1, len(valid[:1000])),
        "unique": len(different) / max(1, len(valid)),
        "fcd": distribution.frechet_distance(valid, real),
        "snn": distribution.nearest_similarity(few, real),
        "frag": distribution.cosine(distribution.fragment_counts(valid), distribution.fragment_counts(real)),
        "scaf": distribution.cosine(distribution.scaffold_counts(valid), distribution.scaffold_counts(real)),
        "int_div": distribution.internal_diversity(few),
        "filters": sum(map(passes, few)) / max(1, len(few)),
        "novelty": sum(name not in known for name in different) / max(1, len(different)),
    }
    return {name: round(value, 4) for name, value in found.items()}


class Alerts:
    """Whether a molecule passes the filters of MOSES: its alerts, and the rules of `passes_filters`.

    Args:
        smarts: of the alerts.
    """

    def __init__(self, smarts: Sequence[str]) -> None:
        from rdkit import Chem

        self._patterns = [Chem.MolFromSmarts(one.strip()) for one in smarts]

    def __call__(self, name: str) -> bool:
        from rdkit import Chem

        if not distribution.passes_filters(name):
            return False
        with_hydrogens = Chem.AddHs(molecule(name))
        return not any(with_hydrogens.HasSubstructMatch(pattern) for pattern in self._patterns)


def table(rows: dict[str, dict[str, float]]) -> str:
    """Our rows below the published ones."""
    whole: dict[str, Sequence[float | None]] = {
        **PUBLISHED,
        **{name: [row[figure] for figure in _FIGURES] for name, row in rows.items()},
    }
    lines = ["| | " + " | ".join(_FIGURES) + " |", "|---" * (len(_FIGURES) + 1) + "|"]
    for name, values in whole.items():
        cells = ("" if value is None else f"{value:.4g}" for value in values)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


# ---------------------------------------------------------------------------- rewards


def rewards(arguments: argparse.Namespace) -> None:
    """Train each preset from one start and measure; see the head of this module."""
    wheel = Wheel(arguments.wheel)
    chosen = some(wheel.split("train"), arguments.number + 2 * (arguments.number // 100 + 1), 0)
    reference = some(wheel.split("test"), arguments.reference, 0)
    print(f"{machine()}\n{arguments.number:,} molecules, {arguments.reward}", flush=True)
    rows: dict[str, list[Row]] = {}
    for seed in arguments.seeds:
        config, task = of_moses(chosen, arguments, seed)
        start, weights = start_of(config, task, seed, arguments)
        found = {"start": gained(start, start, task, reference, arguments, seed)}
        print(f"seed {seed}: start: {found['start']}", flush=True)
        for name in arguments.presets:
            begun = time.process_time()
            for done, generator in rewarded(name, config, task, weights, arguments):
                taken = time.process_time() - begun
                row = found[f"{name}, {done}"] = gained(generator, start, task, reference, arguments, seed)
                row["cpu_s"] = round(taken)
                print(f"seed {seed}: {name}, {done} updates: {row}", flush=True)
                begun = time.process_time() - taken  # without the measures
        for name, row in found.items():
            rows.setdefault(name, []).append(row)
    print(f"\n{means(rows)}")
    differences = means(compared(rows, arguments.presets))
    print(f"\nDifferences within a seed, at the gain of the one that gained less:\n\n{differences}")


def rewarded(
    name: str, of: Config, task: Task, start: Tensors, arguments: argparse.Namespace
) -> Iterator[tuple[int, Generator]]:
    """The generator of a preset after each number of updates: the run's network and task, a start that is given."""
    changes: dict[str, Any] = {
        "seed": of.seed,
        "reward.functions.0.name": arguments.reward,
        "reward.functions.0.digest": "",
        "reward.functions.0.options": {"target": CELECOXIB} if arguments.reward == "similarity" else {},
        "schedule.adversarial_updates": max(arguments.updates),
        "workers.threads": 1,
        "controls": [],
    }
    config = override(preset("organ_grpo"), _WITHOUT_A_JUDGE) if name == KL_TO_PRIOR else preset(name)
    config = config.model_copy(update={"task": of.task, "generator": of.generator})
    has = flatten(to_dict(config))  # what a preset does without, it goes on without
    own = {path: value for path, value in arguments.set if not _is_of_start(path) and has.get(path)}
    config = override(config, changes | own)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts, start)
        while trainer.next_phase is not None:
            done = trainer.step(measure=False)
            if done.phase == "adversarial" and done.step in arguments.updates:
                yield done.step, trainer.current_generator()


KL_TO_PRIOR = "kl_to_prior"
_WITHOUT_A_JUDGE: dict[str, Any] = {
    "discriminator": None,
    "reward.map": None,
    "reward.functions.0.weight": 1.0,
    "schedule.discriminator_rounds": 0,
    "schedule.d_steps": 0,
}


def _is_of_start(path: str) -> bool:
    return path.startswith(("generator.", "schedule.mle", "optimizers.mle"))


def gained(
    generator: Generator,
    start: Generator,
    task: Task,
    reference: Sequence[str],
    arguments: argparse.Namespace,
    seed: int,
) -> dict[str, float]:
    """What a generator has gained, and what it has left behind."""
    rng = torch.Generator().manual_seed(1_000 + seed)
    tokens = sampler_of(generator, task.space).sample(arguments.sequences, rng).tokens
    texts, mask = task.decode(tokens), sequence_mask(task.space, tokens)
    with torch.no_grad():
        own, before = (one.conditional(None).logprobs(tokens).masked_fill(~mask, 0.0) for one in (generator, start))
    values = similarity(texts, target=CELECOXIB) if arguments.reward == "similarity" else qed(texts)
    valid = [name for name in map(canonical, texts) if name is not None]
    real = [name for name in map(canonical, reference) if name is not None]
    best = sorted(dict(zip(map(canonical, texts), values, strict=True)).values())[-10:]
    found = {
        arguments.reward: float(np.mean(values)),
        "of valid": sum(values) / max(1, len(valid)),
        "top 10": float(np.mean(best)),
        "valid": len(valid) / len(texts),
        "unique": len(set(valid)) / max(1, len(valid)),
        "fcd": distribution.frechet_distance(valid, real),
        "snn": distribution.nearest_similarity(valid, real),
        "int_div": distribution.internal_diversity(valid),
        "kl": float((own - before).sum(1).mean()),
    }
    return {name: round(value, 4) for name, value in found.items()}


def at_equal_gain(rows: dict[str, list[Row]], one: str, other: str) -> tuple[list[Row], list[Row]]:
    """The figures of two presets where both have gained as much as the one that gained less, seed by seed.

    Args:
        rows: `start`, and `PRESET, UPDATES` in rising order → a row of figures for each seed, of which the first is
            what is gained.
        one: name of a preset.
        other: of the one that it is compared with.

    Returns:
        A row for each seed, of each. Figures are interpolated linearly between the two measurements, of which the start
        is one, where the gain is first reached.
    """

    def path(name: str, seed: int) -> list[Row]:
        return [found[seed] for key, found in rows.items() if key == "start" or key.rpartition(", ")[0] == name]

    figures = list(rows["start"][0])
    gain = figures[0]
    there: tuple[list[Row], list[Row]] = ([], [])
    for seed in range(len(rows["start"])):
        paths = path(one, seed), path(other, seed)
        level = min(max(point[gain] for point in points) for points in paths)
        for points, found in zip(paths, there, strict=True):
            after = max(1, next(place for place, point in enumerate(points) if point[gain] >= level))
            before, last = points[after - 1], points[after]
            share = (level - before[gain]) / (last[gain] - before[gain]) if last[gain] != before[gain] else 0.0
            found.append({figure: before[figure] + share * (last[figure] - before[figure]) for figure in figures})
    return there


def compared(rows: dict[str, list[Row]], presets: Sequence[str]) -> dict[str, list[Row]]:
    """Of each pair of presets, the first one's figures less the second one's at equal gain, seed by seed."""
    found = {}
    for place, one in enumerate(presets):
        for other in presets[place + 1 :]:
            pairs = zip(*at_equal_gain(rows, one, other), strict=True)
            found[f"{one} - {other}"] = [{name: ours[name] - theirs[name] for name in ours} for ours, theirs in pairs]
    return found


def means(rows: dict[str, list[Row]]) -> str:
    """Means over seeds with half-widths of 95 % t intervals."""
    names = list(dict.fromkeys(name for found in rows.values() for row in found for name in row))
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for preset_name, found in rows.items():
        cells = [interval([row[name] for row in found], 3) if name in found[0] else "" for name in names]
        lines.append(f"| {preset_name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


# ---------------------------------------------------------------------------- the command


def tiny(folder: Path) -> list[str]:
    """Rewards on a wheel that holds a few molecules."""
    wheel = folder / "molsets.whl"
    texts = put_together()
    with zipfile.ZipFile(wheel, "w") as file:
        for name, part in (("train", texts[:400]), ("test", texts[400:500])):
            packed = gzip.compress("\n".join(["SMILES", *part]).encode("ascii"))
            file.writestr(f"moses/dataset/data/{name}.csv.gz", packed)
    sizes = {
        "generator.hidden": 8, "generator.layers": 1, "generator.embedding": 8, "schedule.g_batch": 8,
        "adversary.sequences_per_round": 16, "schedule.discriminator_rounds": 1,
    }  # fmt: skip
    words = [word for path, value in sizes.items() for word in ("--set", path, str(value))]
    few = ["--number", "200", "--epochs", "1", "--updates", "1", "2", "--sequences", "40", "--reference", "40"]
    return ["rewards", "--wheel", str(wheel), "--folder", str(folder), "--seeds", "1", "2", *few, *words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    verbs = parser.add_subparsers(required=True)
    likelihood = verbs.add_parser("moses", help="likelihood beside the published table")
    rewarding = verbs.add_parser("rewards", help="what presets gain and leave behind at equal calls")
    sizes = {likelihood: (100_000, 10_000, 30_000, [0]), rewarding: (10_000, 1_000, 5_000, [1, 2, 3])}
    for verb, (number, sequences, reference, seeds) in sizes.items():
        verb.add_argument("--wheel", type=Path, required=True, help="molsets-0.3.1-py3-none-any.whl")
        verb.add_argument("--folder", type=Path, default=Path("molecules"), help="for molecules and weights")
        verb.add_argument("--number", type=int, default=number, help="molecules to learn from")
        verb.add_argument("--epochs", type=int, default=6)
        verb.add_argument("--sequences", type=int, default=sequences, help="that are drawn and measured")
        verb.add_argument("--reference", type=int, default=reference, help="test molecules that they are compared with")
        verb.add_argument("--seeds", type=int, nargs="*", default=seeds)
        verb.add_argument("--weights", type=Path, help="kept weights, in place of training by likelihood")
        add_changes(verb)
    likelihood.set_defaults(verb=moses)
    rewarding.add_argument("--reward", choices=("qed", "similarity"), default="qed")
    rewarding.add_argument("--presets", nargs="*", default=["organ", "organ_grpo", KL_TO_PRIOR, "reinvent"])
    rewarding.add_argument("--updates", type=int, nargs="*", default=[25, 50, 100], help="after which it is measured")
    rewarding.set_defaults(verb=rewards)
    arguments = parser.parse_args()
    arguments.verb(arguments)


if __name__ == "__main__":
    main()
