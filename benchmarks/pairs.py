"""Conditional presets beside maximum likelihood on real pairs: the same start, and as many generator updates.

    python -m benchmarks.pairs {translation,dialogue,opensubtitles,summarization} --data DIR [--seeds 1 2 3]
        [--updates 60] [--only NAME ...] [--join FILE ...] [--samples N] [--evaluator-epochs 40] [--rounds 20]
        [--set PATH VALUE ...]

DIR holds multi30k_en_de, dialogue_chatterbot, dialogue_opensub_sample and scitldr_a, as their publishers name the
files. Sizes are those of two
CPU cores. All presets of a seed begin from one maximum-likelihood start, and learn
with one optimiser; `mle_continued` makes the same teacher-forcing updates and nothing else, `mle_longer` goes on with
pretraining's own optimiser for as many. Figures are of the test split, means over seeds with half-widths of 95 % t
intervals; nothing is selected on it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from benchmarks import opensubtitles
from benchmarks.common import add_changes, machine
from benchmarks.presets import interval, line, lines, run
from rlgan.config.config import Config, Optimizers
from rlgan.config.paths import flatten, from_dict, override, to_dict
from rlgan.envs.tasks import PairsTask, Task, build_task
from rlgan.evaluation.adversarial import AdversarialMeasures, FreshEvaluator
from rlgan.evaluation.evaluator import EvaluationSettings, Evaluator
from rlgan.generators import Generator, Seq2SeqLSTM
from rlgan.layers.optimizers import Adam
from rlgan.presets.controls import control
from rlgan.presets.registry import preset
from rlgan.sampling.beam_search import beam_search

TINY_MARKS = ("heavy",)

_WORDS = {"kind": "word", "max_size": 4_000}


def _translation(data: Path, _: Path) -> dict[str, Any]:
    folder = data / "multi30k_en_de"
    splits = {"": "train", "valid_": "val", "test_": "test_2016_flickr"}
    files = {
        f"{split}{side}": str(folder / f"{name}.lc.norm.tok.{language}")
        for split, name in splits.items()
        for side, language in (("source", "en"), ("target", "de"))
    }
    return {
        "input": {"kind": "parallel", **files},
        "domain": {"kind": "translation", "max_source_length": 24},
        "vocabulary": {"kind": "separate", "source": _WORDS, "target": _WORDS},
        "max_length": 24,
    }


def _dialogue(data: Path, _: Path) -> dict[str, Any]:
    # The columns are topic, source and reply.
    file = str(data / "dialogue_chatterbot" / "english_pairs.tsv")
    return {
        "input": {"kind": "tsv", "data": file, "source": 1, "target": 2},
        "domain": {"kind": "dialogue", "max_source_length": 20},
        "vocabulary": {"kind": "shared", "tokens": _WORDS},
        "lowercase": True,
        "max_length": 20,
        # There are 1,224 pairs, and a fresh evaluator is trained on those of the test split.
        "valid_fraction": 0.1,
        "test_fraction": 0.3,
    }


def _opensubtitles(data: Path, scratch: Path, replies: str = opensubtitles.HUMAN) -> dict[str, Any]:
    return {
        "input": opensubtitles.sample(data / "dialogue_opensub_sample", replies, scratch),
        "domain": {"kind": "dialogue", "max_source_length": 20},
        "vocabulary": {"kind": "shared", "tokens": _WORDS},
        "max_length": 24,
        "over_long": "error",  # A pair left out would part the replies of the two systems.
    }


def _summarization(data: Path, _: Path) -> dict[str, Any]:
    folder = data / "scitldr_a"
    files = {"data": "train", "valid": "dev", "test": "test"}
    return {
        "input": {"kind": "jsonl", **{role: str(folder / f"{name}.jsonl.gz") for role, name in files.items()}},
        "domain": {"kind": "summarization", "max_source_length": 200, "number_token": "TAGNUM"},
        "vocabulary": {"kind": "shared", "tokens": _WORDS},
        "lowercase": True,
        "max_length": 30,
        "over_long": "cut",
    }


TASKS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "translation": _translation,
    "dialogue": _dialogue,
    "opensubtitles": _opensubtitles,
    "summarization": _summarization,
}
# Epochs of maximum likelihood. Held-out NLL of the small dialogues is least after two, when every answer is one word.
EPOCHS: dict[str, tuple[int, int | None]] = {"translation": (6, 1), "dialogue": (30, None), "summarization": (12, 1)}
"""Most epochs, and the patience, by the task's domain."""
PRESETS = {
    "translation": ("csgan_nmt", "br_csgan", "adversarial_nmt"),
    "dialogue": ("dialogue_reinforce", "regs", "regs_prefix"),
    "summarization": ("atrnn_summary",),
}
SIZES: dict[str, Any] = {
    "discriminator.embedding": 96,  # the generator's, which one preset shares
    "discriminator.hidden": 64,
    "discriminator.windows": "1,2,3,4",
    "discriminator.filters": "64",
    "credit.num_rollouts": 4,
    "adversary.sequences_per_round": 640,
    "adversary.batch": 64,
    "schedule.g_batch": 64,
    "schedule.mle_batch": 64,
    "schedule.d_steps": 1,
    "schedule.d_epochs": 1,
    "schedule.g_steps": 1,
    "workers.threads": 1,
    "workers.shard_sequences": 64,
}
GENERATOR = Seq2SeqLSTM(embedding=96, hidden=128, attention="multiplicative", dropout=0.2)
OPTIMIZERS = Optimizers(
    mle=Adam(lr=3e-3, clip_norm=5.0), generator=Adam(lr=3e-4, clip_norm=5.0), discriminator=Adam(lr=1e-3)
)


def small(name: str, task: PairsTask, updates: int, seed: int, rounds: int) -> Config:
    """A preset with the sizes, the generator and the optimisers of all.

    `rounds` are those of the discriminator's pretraining, of presets that have one.
    """
    base = preset(name, task).model_copy(update={"generator": GENERATOR, "optimizers": OPTIMIZERS, "controls": ()})
    had = flatten(to_dict(base))
    sizes = SIZES | {"schedule.discriminator_rounds": rounds}
    changes = {path: value for path, value in sizes.items() if had.get(path)}
    changes |= {"seed": seed, "schedule.adversarial_updates": updates}
    return override(base, changes)


def start_config(task: PairsTask, seed: int) -> Config:
    """Maximum likelihood, where there is patience as far as validation NLL falls."""
    epochs, patience = EPOCHS[task.domain.kind]
    base = preset("mle", task).model_copy(update={"generator": GENERATOR, "optimizers": OPTIMIZERS, "seed": seed})
    schedule = {"schedule.mle_epochs": epochs, "schedule.mle_patience": patience, "schedule.mle_batch": 64}
    return override(base, schedule | {"workers.threads": 1, "schedule.mle_inputs": "none"})


CONTROL_OF = "mle_continued/"
"""What the control of a preset is called whose likelihood part is not that of the first."""


class Judge:
    """Measures of a generator on the test split: as `rlgan train` has them, greedy, and BLEU of five beams beside.

    Of dialogue a fresh evaluator judges drawn and greedy answers, too.
    """

    _LEFT_OUT = ("eval/effective_rank", "eval/nll_div")

    def __init__(self, task: Task, seed: int, evaluator: FreshEvaluator | None) -> None:
        self._task, self._seed, self._evaluator = task, seed, evaluator
        greedy = EvaluationSettings(num_sequences=1_000, bleu_tokens="none", adversarial=evaluator)
        self._greedy = Evaluator(task, greedy, seed)
        self._beams = Evaluator(task, greedy.model_copy(update={"beam": 5, "length_exponent": 0.6}), seed)

    def __call__(self, generator: Generator) -> dict[str, float]:
        found = self._greedy.measure(generator).metrics
        found = found | self._greedy.measure_adversarially(generator)
        beams = self._beams.measure(generator).metrics
        return self._columns(found) | {"bleu of 5 beams": beams["eval/corpus_bleu"]}

    def people(self) -> dict[str, float]:
        """What the fresh evaluator finds of people themselves."""
        return self._columns(self._greedy.measure_people())

    def replies(self, replies: Tensor) -> dict[str, float]:
        """What it finds of replies to the whole test split, (n, T) integer, that another system made."""
        given = self._task.conditions
        assert given is not None and self._evaluator is not None
        measures = AdversarialMeasures(self._task.space, given.test, self._task.test, self._evaluator, self._seed)
        return self._columns(measures.measure(replies.long(), rates_evaluator=True))

    def _columns(self, found: dict[str, float]) -> dict[str, float]:
        return {
            name.removeprefix("eval/"): found[name]
            for name in found
            if name not in self._LEFT_OUT and not name.endswith(("_se", "_num"))
        }

    def written(self, generator: Generator, number: int) -> list[str]:
        """The likeliest answers to the first different sources of the test split."""
        given = self._task.conditions
        assert given is not None
        if not number:
            return []
        conditions = torch.tensor(list(dict.fromkeys(map(tuple, given.test.tolist())))[:number])
        found = beam_search(generator.stepper(), self._task.space, len(conditions), conditions=conditions)
        answers = self._task.decode(found.tokens)
        return [f"{source} → {answer}" for source, answer in zip(given.decode(conditions), answers, strict=True)]


def one_seed(
    settings: PairsTask,
    names: Sequence[str],
    updates: int,
    seed: int,
    samples: int,
    published: PairsTask | None,
    evaluator: FreshEvaluator | None,
    rounds: int,
    changes: Mapping[str, Any],
) -> Iterator[tuple[str, dict[str, float], list[str]]]:
    """(row, its figures, some of its answers) of one seed.

    `published` has another system's replies for references, `evaluator` judges dialogues, and `changes` are settings of
    every run.
    """
    task = build_task(settings)
    judge = Judge(task, seed, evaluator)
    if evaluator is not None:
        yield "people", judge.people(), []
    if published is not None:
        yield "published replies", judge.replies(build_task(published).test), []
    begun = time.perf_counter()
    generator, start, metrics = run(override(start_config(settings, seed), changes), task)
    seconds = time.perf_counter() - begun
    yield "MLE", judge(generator) | {"seconds": seconds}, judge.written(generator, samples)
    # Whichever presets are asked for, so that rows of several calls stand beside the same control.
    first = small(PRESETS[settings.domain.kind][0], settings, updates, seed, rounds)
    longer = first.model_copy(update={"optimizers": first.optimizers.model_copy(update={"generator": OPTIMIZERS.mle})})
    rows = {"mle_continued": control(first, "mle_continued"), "mle_longer": control(longer, "mle_continued")}
    for name in names:
        config = small(name, settings, updates, seed, rounds)
        likelihood = control(config, "mle_continued")
        if likelihood != rows["mle_continued"]:
            rows[f"{CONTROL_OF}{name}"] = likelihood
        rows[name] = config
    for name, config in rows.items():
        begun = time.perf_counter()
        generator, _, metrics = run(override(from_dict(to_dict(config)), changes), task, start)
        figures = judge(generator) | {"seconds": time.perf_counter() - begun}
        if "discriminator/accuracy_heldout" in metrics:
            figures["D accuracy"] = metrics["discriminator/accuracy_heldout"]
        yield name, figures, judge.written(generator, samples)


def table(rows: dict[str, dict[int, dict[str, float]]]) -> str:
    """Means over seeds: row → seed → figures; BLEU also as the paired difference from `mle_continued`."""
    measured = (column for found in rows.values() for one in found.values() for column in one)
    columns = [column for column in dict.fromkeys(measured) if column != "seconds"]  # speed has a benchmark of its own
    text = ["| | BLEU less mle_continued's | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for name, found in rows.items():
        continued = rows.get(f"{CONTROL_OF}{name}", rows.get("mle_continued", {}))
        beside = [
            one["corpus_bleu"] - continued[seed]["corpus_bleu"]
            for seed, one in found.items()
            if seed in continued and "corpus_bleu" in one
        ]
        described = ([one[column] for one in found.values() if column in one] for column in columns)
        cells = [interval(values) if len(values) == len(found) else "" for values in described]
        difference = interval(beside, 2) if beside and name != "mle_continued" else ""
        text.append("| " + " | ".join((name, difference, *cells)) + " |")
    return "\n".join(text)


def tiny(folder: Path) -> list[str]:
    """On made-up files in the form of the OpenSubtitles sample, which has the most paths through this file."""
    data, num_words, num_pairs = folder / "dialogue_opensub_sample", 40, 100
    data.mkdir()
    (data / "movie_25000.txt").write_text("".join(f"word{number}\n" for number in range(num_words)), "utf-8")
    for first, replies in enumerate((opensubtitles.HUMAN, opensubtitles.MACHINE)):
        for second, split in enumerate(("train", "dev", "test")):
            ids = [
                [1 + (7 * first + 5 * second + 3 * pair + at) % num_words for at in range(6)]
                for pair in range(num_pairs)
            ]
            pairs = (f"{a} {b} {c}|{d} {e} {f}\n" for a, b, c, d, e, f in ids)
            (data / f"{replies}_{split}.txt").write_text("".join(pairs), "utf-8")
    changes = {
        "generator.embedding": 4,
        "generator.hidden": 4,
        "schedule.mle_epochs": 1,
    }
    words = [word for path, value in changes.items() for word in ("--set", path, str(value))]
    names = ["--seeds", "1", "--updates", "1", "--only", "regs_prefix", "--evaluator-epochs", "1", "--rounds", "1"]
    return ["opensubtitles", "--data", str(folder), *names, *words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("domain", choices=list(TASKS))
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--samples", type=int, default=5, help="answers that are shown of each row of the first seed")
    parser.add_argument("--join", type=Path, nargs="*", default=[], metavar="FILE", help="what earlier calls printed")
    parser.add_argument("--evaluator-epochs", type=int, default=FreshEvaluator().epochs, help="of dialogues, at most")
    parser.add_argument("--rounds", type=int, default=20, help="of the discriminator before the adversarial phase")
    add_changes(parser)
    arguments = parser.parse_args()
    rows: dict[str, dict[int, dict[str, float]]] = {}
    for file in arguments.join:
        for seed, name, figures in lines(file.read_text("utf-8")):
            rows.setdefault(name, {})[seed] = figures
    print(machine(), flush=True)
    with TemporaryDirectory() as folder:
        scratch, published = Path(folder), None
        settings = PairsTask.model_validate(TASKS[arguments.domain](arguments.data, scratch))
        if arguments.domain == "opensubtitles":
            published = PairsTask.model_validate(_opensubtitles(arguments.data, scratch, opensubtitles.MACHINE))
        converses = settings.domain.kind == "dialogue"
        evaluator = FreshEvaluator(epochs=arguments.evaluator_epochs) if converses else None
        names = arguments.only or PRESETS[settings.domain.kind]
        for seed in arguments.seeds:
            shown = arguments.samples if seed == arguments.seeds[0] else 0
            for name, figures, answers in one_seed(
                settings,
                names,
                arguments.updates,
                seed,
                shown,
                published,
                evaluator,
                arguments.rounds,
                dict(arguments.set),
            ):
                rows.setdefault(name, {})[seed] = figures
                print(line(seed, name, figures), flush=True)
                for answer in answers:
                    print(f"    {answer}")
    print(f"\n{arguments.updates} generator updates\n\n{table(rows)}")


if __name__ == "__main__":
    main()
