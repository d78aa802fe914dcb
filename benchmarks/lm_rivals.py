"""gad, its ablations and its rivals on text, in small: judged by what none of them learned from.

    python -m benchmarks.lm_rivals --data DIR [--domain captions] [--arms NAME ...] [--encoder FOLDER]
        [--seeds 1 2 3] [--updates 80] [--rounds 40] [--join FILE ...] [--set PATH VALUE ...] ...

DIR holds image_coco, wordnet_examples and dialogue_chatterbot. A small Llama with a tokenizer of its own learns
sentences of WordNet by likelihood; so does a larger one. `sft` then learns the demonstrations, and all arms of all
seeds begin there: seeds differ in judges, order and draws. In `captions` a prompt is three words of a caption of at
most nine, and the answer that caption; `dialogue` has lines and replies.

    sft                          the start
    mle_continued                as many steps of likelihood
    constant_reward              as many updates on its own answers, all of which are worth the same
    spin                         as many steps against its own earlier answers, without a judge
    gad                          a judge that begins as the generator learns beside it, after rounds of its own
    gad_no_generator_warmup      the generator begins as the pretrained model, which has seen no demonstration
    gad_no_judge_warmup          the judge has no rounds before the first update
    gad_cross_entropy            the judge learns by cross-entropy, from the same answers
    gad_frozen                   the judge learns nothing after its rounds
    gad_larger_judge             the judge begins as the larger model, which has learned the demonstrations, too
    gad_encoder                  the judge begins as the sentence encoder of --encoder FOLDER, which reads texts

Each row stands at the temperature at which LM + reverse LM is least on validation data, and its figures are of test
data: what a fresh evaluator, a convolution that is trained for this row alone, takes for human (AdverSuc, ½ is best),
the same at equal length, LM and reverse LM by 5-grams, LM at the lengths of human answers, FED, the share of the
prompt's words that an answer has, and the mean length over that of people. `nll` is of human answers, at temperature 1.
Means over seeds with half-widths of 95 % t intervals. Differences from `mle_continued`, `sft` and `gad` are formed
within a seed. A row is printed when it is there: a call that was broken off goes on with `--join` and the file that it
was printed to.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import torch
from torch import Tensor

import rlgan
from benchmarks.common import add_changes, machine
from benchmarks.lm_common import write_encoder
from benchmarks.presets import interval, line, lines
from rlgan.base.seeding import stream
from rlgan.base.threads import torch_threads
from rlgan.config.config import Config, Control
from rlgan.config.paths import from_dict, override, to_dict
from rlgan.discriminators import PairCnn
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import DemonstrationsTask, Task, build_task
from rlgan.envs.transition import sequence_mask
from rlgan.evaluation.adversarial import BalancedSet, Examples, FreshEvaluator, fresh_evaluator, parts_by_condition
from rlgan.evaluation.evaluator import Evaluator, selection_view
from rlgan.evaluation.language_model_scores import LanguageModelScores
from rlgan.evaluation.sentence_encoders import EncoderName
from rlgan.evaluation.text_measures import TextMeasures
from rlgan.generators import Draw, Generator
from rlgan.metrics import strip
from rlgan.metrics.shortcuts import length_matched_auc, lengths_of
from rlgan.presets.controls import control
from rlgan.presets.registry import preset
from rlgan.sampling.sampler import sampler_of
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts

TINY_MARKS = ("slow",)
NEEDS = ("transformers", "peft")

TEMPERATURES = (1.0, 0.85, 0.7, 0.55)
CONTROLS: tuple[Control, ...] = ("mle_continued", "constant_reward")
ABLATIONS: dict[str, dict[str, Any]] = {
    "gad": {},
    "gad_no_generator_warmup": {},
    "gad_no_judge_warmup": {"schedule.discriminator_rounds": 0},
    # One step a round, as with pairs.
    "gad_cross_entropy": {
        "adversary.loss": "cross_entropy",
        "adversary.reals": "of_prompts",
        "adversary.batch": 128,
    },
    "gad_frozen": {"schedule.d_steps": 0},
    "gad_larger_judge": {"discriminator.weights.kind": "folder"},
    # As benchmarks.lm_judge trains one whole.
    "gad_encoder": {
        "discriminator.weights.kind": "folder",
        "discriminator.pooling": "mean",
        "optimizers.discriminator.lr": 5e-5,
    },
}
"""Arms that learn from a judge, as changes of the preset gad."""
ARMS = (*CONTROLS, "spin", *ABLATIONS)
NUM_WORDS, MOST_WORDS = 3, 9
_SPIN_PAIRS = 512  # the preset's: 3 passes of 16 steps over them are an update
_SPIN_STEPS = 48
_FEW = 20
_RATE = 2e-3  # of likelihood
_BASES = ("mle_continued", "sft", "gad")
"""Rows from which all others' differences are told."""
_EARLY = 10  # updates at either end of a run, whose mean rewards are compared


@dataclass(frozen=True)
class Data:
    """What is learned and what is measured on.

    Attributes:
        texts: sentences, for pretraining.
        train: demonstrations, as records with `prompt` and `completion`.
        valid: the same, to stop by and to choose temperatures by.
        test: the same, of which figures are.
    """

    texts: list[str]
    train: list[dict[str, str]]
    valid: list[dict[str, str]]
    test: list[dict[str, str]]


def captions(lines_of_text: Iterable[str]) -> list[dict[str, str]]:
    """The three longest words of a short caption are the prompt, in the order of the alphabet; each caption once."""
    records = []
    for caption in dict.fromkeys(lines_of_text):
        words = dict.fromkeys(re.findall(r"[a-z]{4,}", caption.lower()))
        longest = sorted(sorted(words, key=len, reverse=True)[:NUM_WORDS])
        if len(longest) == NUM_WORDS and len(caption.split()) <= MOST_WORDS:
            records.append({"prompt": ", ".join(longest) + ":", "completion": f" {caption}"})
    return records


def read_captions(folder: Path, held_out: int) -> Data:
    """Captions of COCO: no test caption is one of the training file."""
    known = (folder / "image_coco" / "image_coco_train.txt").read_text("utf-8").splitlines()
    unseen = (folder / "image_coco" / "image_coco_test.txt").read_text("utf-8").splitlines()
    train = captions(known)
    others = captions(one for one in unseen if one not in set(known))
    return Data(sentences(folder), train, others[:held_out], others[held_out : 3 * held_out])


def read_dialogue(folder: Path, held_out: int) -> Data:
    """Lines of people and replies: no line of one part is in another."""
    file = folder / "dialogue_chatterbot" / "english_pairs.tsv"
    rows = [one.split("\t") for one in file.read_text("utf-8").splitlines()]
    prompts = list(dict.fromkeys(said for _, said, _ in rows))
    order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(0)).tolist()
    place = {prompts[at]: number / len(prompts) for number, at in enumerate(order)}
    parts: tuple[list[dict[str, str]], ...] = ([], [], [])
    for _, said, reply in rows:
        part = 0 if place[said] < 0.6 else 1 if place[said] < 0.7 else 2
        parts[part].append({"prompt": f"{said}\n", "completion": reply})
    return Data(sentences(folder), parts[0], parts[1][:held_out], parts[2][: 2 * held_out])


def sentences(folder: Path) -> list[str]:
    """Those that a model is pretrained on."""
    return (folder / "wordnet_examples" / "train.txt").read_text("utf-8").splitlines()


DOMAINS = {"captions": read_captions, "dialogue": read_dialogue}
LIMITS: dict[str, dict[str, Any]] = {
    "captions": {},
    "dialogue": {"max_prompt_length": 64, "max_length": 64},  # replies have up to 445 tokens, models read 128
}
"""Tokens of prompts and answers; what is longer is left out."""


@dataclass(frozen=True)
class Sizes:
    """Of both models: width and layers."""

    width: int
    layers: int


class Starts:
    """Models that arms begin as, each trained and written once.

    Args:
        data: what they learn.
        folder: for files and models.
        arguments: sizes and epochs.
    """

    def __init__(self, data: Data, folder: Path, arguments: argparse.Namespace) -> None:
        self._folder, self._arguments = folder, arguments
        self._texts = self._written("texts", [{"text": text} for text in data.texts])
        self._files = {name: self._written(name, getattr(data, name)) for name in ("train", "valid", "test")}
        # What a run of its own measures is looked at by nobody here.
        self._few = self._written("few", data.valid[:_FEW])
        self._tokenizer = folder / "tokenizer"
        if not self._tokenizer.exists():
            learned = [*data.texts, *(one["prompt"] + one["completion"] for one in data.train)]
            write_tokenizer(self._tokenizer, learned, arguments.vocabulary)

    def pretrained(self, sizes: Sizes) -> Path:
        """A new model after it has read the sentences."""
        weights = {"kind": "fresh", "width": sizes.width, "layers": sizes.layers, "positions": 128}
        return self._learned(
            f"pretrained-{sizes.width}-{sizes.layers}",
            demonstrations=self._texts,
            model=self._tokenizer,
            task={"form": "texts"},
            generator={"weights": weights},
            schedule={"mle_epochs": self._arguments.epochs, "mle_batch": 32},
            optimizers={"mle": {"lr": _RATE}},
        )

    def judge(self, sizes: Sizes) -> Path:
        """The pretrained model after it has learned the demonstrations."""
        return self._learned(
            f"sft-{sizes.width}-{sizes.layers}",
            demonstrations=self._files["train"],
            model=self.pretrained(sizes),
            task=self._told() | {"test": str(self._few)},
            schedule={"mle_epochs": self._arguments.sft_epochs, "mle_batch": 32},
            optimizers={"mle": {"lr": _RATE}},
        )

    def task(self, model: Path) -> DemonstrationsTask:
        """The demonstrations, in the tokens of a model."""
        return DemonstrationsTask.model_validate(
            {
                "demonstrations": str(self._files["train"]),
                "model": {"kind": "folder", "path": str(model)},
                **self._told(),
            }
        )

    def _told(self) -> dict[str, Any]:
        held_out = {name: str(self._files[name]) for name in ("valid", "test")}
        return {**held_out, "template": "plain", **LIMITS[self._arguments.domain]}

    def _written(self, name: str, records: Iterable[Mapping[str, str]]) -> Path:
        path = self._folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
        return path

    def _learned(self, name: str, **arguments: Any) -> Path:
        """The exported model of a run of `sft`."""
        folder = self._folder / name
        if not folder.exists():
            began = time.process_time()
            run = rlgan.train(
                "sft",
                quiet=True,
                out=self._folder / f"{name}-run",
                evaluation={"num_sequences": 20, "final_sequences": 20, "temperatures": [1.0], "mle_every": 100},
                workers={"threads": 1, "tokens_at_once": 2048},
                **arguments,
            )
            run.export(folder)
            print(f"{name}: {len(run.metrics)} epochs, {time.process_time() - began:.0f} CPU s", flush=True)
        return folder


def write_tokenizer(folder: Path, texts: Iterable[str], size: int) -> None:
    """Pieces of bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<end>", "<pad>"]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    pieces.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(tokenizer_object=pieces, eos_token="<end>", pad_token="<pad>").save_pretrained(str(folder))


def arm(
    name: str, settings: DemonstrationsTask, larger: Path | None, arguments: argparse.Namespace, seed: int
) -> Config:
    """The run of one arm."""
    base = preset("gad", settings).model_copy(update={"controls": ()})
    sizes: dict[str, Any] = {
        "seed": seed,
        "schedule.mle_epochs": 0,
        "schedule.discriminator_rounds": arguments.rounds,
        "schedule.adversarial_updates": arguments.updates,
        "optimizers.generator.lr": arguments.rate,
        "optimizers.discriminator.lr": arguments.judge_rate,
        "optimizers.generator.clip_norm": 1.0,
        "optimizers.discriminator.clip_norm": 1.0,
        "workers.threads": 1,
        "workers.tokens_at_once": 2048,
    }
    changes = dict(ABLATIONS.get(name, {}))
    if name == "gad_larger_judge":
        changes["discriminator.weights.path"] = str(larger)
    elif name == "gad_encoder":
        changes["discriminator.weights.path"] = str(arguments.encoder)
    config = override(override(base, sizes | changes), dict(arguments.set))
    for one in CONTROLS:
        if name == one:
            return control(config, one)
    if name == "spin":
        return _spin(config, settings)
    return from_dict(to_dict(config))


def _spin(config: Config, settings: DemonstrationsTask) -> Config:
    """The preset spin with the rate, and about the number of steps, of the others."""
    steps = config.schedule.adversarial_updates * config.objective.minibatches
    sizes = {
        "seed": config.seed,
        "schedule.mle_epochs": 0,
        "schedule.adversarial_updates": max(1, round(steps / _SPIN_STEPS)),
        "optimizers.generator.lr": config.optimizers.generator.lr,
        "workers.threads": 1,
        "workers.tokens_at_once": config.workers.tokens_at_once,
    }
    return override(preset("spin", settings).model_copy(update={"controls": ()}), sizes)


def tuned(settings: DemonstrationsTask, task: Task, epochs: int) -> tuple[Generator, Any]:
    """The pretrained model after it has learned the demonstrations, and its weights as a start."""
    sizes = {
        "schedule.mle_epochs": epochs,
        "schedule.mle_batch": 32,
        "optimizers.mle.lr": _RATE,
        "workers.threads": 1,
        "workers.tokens_at_once": 2048,
    }
    config = override(preset("sft", settings), sizes).settled()
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        while trainer.next_phase is not None:
            trainer.step(measure=False)
        return trainer.current_generator(), trainer.mle_start


def learn(config: Config, task: Task, start: Any) -> tuple[Generator, dict[str, float]]:
    """A run to its end; of a judge how well it ranks at last, and how its rewards rose.

    Args:
        config: of the run.
        task: the demonstrations.
        start: weights that it begins with; None begins as the pretrained model.
    """
    config, areas, rewards = config.settled(), list[float](), list[float]()
    judges = config.discriminator is not None
    began = time.process_time()
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts, start)
        while trainer.next_phase is not None:
            metrics = trainer.step(measure=False).metrics
            if "discriminator/auc_heldout" in metrics:
                areas.append(metrics["discriminator/auc_heldout"])
            if judges and "generator/mean_value" in metrics:
                rewards.append(metrics["generator/mean_value"])
        figures = {"CPU s": time.process_time() - began}
        if areas:
            figures["judge AUC"] = sum(areas[-_EARLY:]) / len(areas[-_EARLY:])
        if rewards:
            first, last = rewards[:_EARLY], rewards[-_EARLY:]
            figures["reward rose"] = sum(last) / len(last) - sum(first) / len(first)
        return trainer.current_generator(), figures


class Judge:
    """Figures of a generator by what no arm has learned from.

    Args:
        task: the demonstrations.
        epochs: of a fresh evaluator, at most.
        encoders: of FED.
    """

    def __init__(self, task: Task, epochs: int, encoders: Sequence[EncoderName]) -> None:
        assert task.conditions is not None
        self._task = task
        self._conditions, self._human = task.conditions.test.long(), task.test.long()
        self._of_prompts = task.space.condition or task.space
        view = selection_view(task)
        self._chosen_by = LanguageModelScores(view, None, length_matched=False, seed=1)
        self._valid_conditions = view.conditions.test.long() if view.conditions is not None else self._conditions
        scores = LanguageModelScores(task, None, length_matched=True, seed=1)
        self._measures = TextMeasures(task, num_bleu=2, num_nearest=2, encoders=tuple(encoders), scores=scores)
        self._evaluator = FreshEvaluator(
            network=PairCnn(embedding=32, filters=(32,), windows=(1, 2, 3, 4), mlp_hidden=64), epochs=epochs, patience=4
        )
        self._likelihood = Evaluator(task, preset("sft").evaluation, 1)
        self._parts = parts_by_condition(self._conditions, 0.2, 0.4, stream(1, "parts"))

    def __call__(self, generator: Generator, seed: int) -> dict[str, float]:
        """Figures at the best temperature, and some of them at 1; `seed` is of the evaluators and of what is drawn."""

        def total(temperature: float) -> float:
            drawn = self._drawn(generator, temperature, self._valid_conditions, seed)
            return sum(self._chosen_by.of(strip(self._task.space, drawn)).values())

        best = min(TEMPERATURES, key=total)
        nll = self._likelihood.held_out_nll(generator, self._human, 1.0, self._conditions)
        plain = self._measured(self._drawn(generator, 1.0, self._conditions, seed), seed)
        tokens = self._drawn(generator, best, self._conditions, seed)
        at_one = ("lm + rlm", "AdverSuc")
        return {"τ": best, "nll": nll} | self._measured(tokens, seed) | {f"{name} at 1": plain[name] for name in at_one}

    def people(self) -> dict[str, float]:
        """The same of validation answers, as far as they need no prompts of the test split."""
        return self._language(self._task.valid.long())

    def answers(self, generator: Generator, temperature: float, number: int, seed: int) -> list[str]:
        """Prompts and what is drawn to them."""
        conditions = self._conditions[:number]
        answers = texts_of(self._task.space, self._drawn(generator, temperature, conditions, seed))
        prompts = texts_of(self._of_prompts, conditions)
        return [f"{prompt.strip()} ->{answer}" for prompt, answer in zip(prompts, answers, strict=True)]

    def _drawn(self, generator: Generator, temperature: float, conditions: Tensor, seed: int) -> Tensor:
        sampler = sampler_of(generator, self._task.space, Draw(temperature))
        rng = stream(seed, "drawn", int(100 * temperature))
        return sampler.sample(len(conditions), rng, conditions=conditions).tokens

    def _measured(self, tokens: Tensor, seed: int) -> dict[str, float]:
        asked, said = texts_of(self._of_prompts, self._conditions), texts_of(self._task.space, tokens)
        return self._language(tokens) | self._fresh(tokens, seed) | {"words used": words_used(asked, said)}

    def _language(self, tokens: Tensor) -> dict[str, float]:
        # FED of slow encoders, and LM at real lengths. `are_valid` is of learned models alone, and none is asked for.
        found = self._measures.measure(tokens) | self._measures.measure_closely(tokens, are_valid=True)
        lm, rlm = found["eval/lm_5gram"], found["eval/rlm_5gram"]
        figures = {"lm + rlm": lm + rlm, "lm": lm, "rlm": rlm}
        if "eval/lm_5gram_matched" in found:
            figures["lm at real lengths"] = found["eval/lm_5gram_matched"]
        figures |= {name.replace("eval/fed_", "FED "): found[name] for name in found if name.startswith("eval/fed_")}
        length, human = (lengths_of(self._task.space, one).double().mean() for one in (tokens, self._human))
        return figures | {"length": float(length / human), "unique": found["eval/share_unique"]}

    def _fresh(self, tokens: Tensor, seed: int) -> dict[str, float]:
        """What an evaluator that is trained for these answers makes of them."""
        parts = {
            part: Examples(
                self._conditions[rows].repeat(2, 1),
                torch.cat([self._human[rows], tokens[rows]]),
                torch.arange(2 * len(rows)) < len(rows),
            )
            for part, rows in self._parts.items()
        }
        examples = BalancedSet(**parts)
        judge = fresh_evaluator(self._evaluator, self._task.space, seed)(examples.train, examples.dev)
        test = examples.test
        called = judge(test.conditions, test.sequences).double()
        lengths = lengths_of(self._task.space, test.sequences)
        human = test.is_first
        # Of two verdicts the area under the curve is the mean of both classes' shares of right ones.
        matched = length_matched_auc(called[human], called[~human], lengths[human], lengths[~human])
        accuracy = float((called.bool() == human).double().mean())
        return {"AdverSuc": 1.0 - accuracy, "at equal length": 1.0 - matched}


def words_used(prompts: Sequence[str], answers: Sequence[str]) -> float:
    """Share of the words of a prompt that its answer has, the mean over prompts."""
    shares = []
    for prompt, answer in zip(prompts, answers, strict=True):
        asked, said = (set(re.findall(r"\w+", text.lower())) for text in (prompt, answer))
        shares.append(len(asked & said) / max(1, len(asked)))
    return sum(shares) / len(shares)


def texts_of(space: SequenceSpace, tokens: Tensor) -> list[str]:
    """What sequences say."""
    assert space.spelling is not None
    return space.spelling.texts(tokens, sequence_mask(space, tokens), space.end_id)


@dataclass(frozen=True)
class Row:
    """Figures of a generator, and some of its answers."""

    figures: dict[str, float]
    answers: list[str]


class Study:
    """Arms that begin at one start, and the judge of all.

    Args:
        starts: models and demonstrations.
        arguments: sizes.
    """

    def __init__(self, starts: Starts, arguments: argparse.Namespace) -> None:
        self._starts, self._arguments = starts, arguments
        width, layers = arguments.size
        self._settings = starts.task(starts.pretrained(Sizes(width, layers)))
        self._task = build_task(self._settings)
        self._judge = Judge(self._task, arguments.evaluator_epochs, arguments.encoders)
        began = time.process_time()
        self._tuned, self._start = tuned(self._settings, self._task, arguments.sft_epochs)
        self._seconds = time.process_time() - began

    def row(self, name: str, seed: int) -> Row:
        """One arm of one seed."""
        if name == "sft":
            return self._row(self._tuned, {"CPU s": self._seconds}, seed)
        width, layers = self._arguments.larger_size
        larger = self._starts.judge(Sizes(width, layers)) if name == "gad_larger_judge" else None
        config = arm(name, self._settings, larger, self._arguments, seed)
        begins = None if name == "gad_no_generator_warmup" else self._start
        return self._row(*learn(config, self._task, begins), seed)

    def _row(self, generator: Generator, figures: dict[str, float], seed: int) -> Row:
        began = time.process_time()
        found = self._judge(generator, seed)
        spent = {"judging, CPU s": time.process_time() - began}
        answers = self._judge.answers(generator, found["τ"], self._arguments.samples, seed)
        return Row(found | figures | spent, answers)


def _columns(rows: Mapping[str, Mapping[int, Mapping[str, float]]]) -> list[str]:
    return list(dict.fromkeys(column for found in rows.values() for one in found.values() for column in one))


def differences(rows: Mapping[str, Mapping[int, Mapping[str, float]]], base: str) -> str:
    """Each row's figures less those of the row `base`, formed within a seed; means over seeds."""
    others = rows[base]
    columns = [one for one in _columns(rows) if one != "τ" and not one.endswith("CPU s")]
    text = [f"| less `{base}` | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, found in rows.items():
        seeds = [seed for seed in found if seed in others]
        if name == base or not seeds:
            continue
        cells = [name]
        for column in columns:
            values = [
                found[seed][column] - others[seed][column]
                for seed in seeds
                if column in found[seed] and column in others[seed]
            ]
            cells.append(interval(values) if len(values) == len(seeds) else "")
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join(text)


def table(rows: Mapping[str, Mapping[int, Mapping[str, float]]]) -> str:
    """Means over seeds."""
    columns = _columns(rows)
    text = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, found in rows.items():
        cells = [name]
        for column in columns:
            values = [one[column] for one in found.values() if column in one]
            if column == "τ":
                cells.append("/".join(f"{value:g}" for value in values))
            elif column.endswith("CPU s"):
                cells.append(f"{sum(values) / len(values):.0f}")
            else:
                cells.append(interval(values) if len(values) == len(found) else "")
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join(text)


def tiny(folder: Path) -> list[str]:
    """On made-up files in the form of those that are read."""
    rng = torch.Generator().manual_seed(0)
    nouns = ["bicycle", "kitchen", "giraffe", "building", "elephant", "airplane", "sandwich", "umbrella"]

    def lines_like(number: int) -> list[str]:
        picks = torch.randint(len(nouns), (number, 3), generator=rng).tolist()
        return [f"a {nouns[a]} beside {nouns[b]} and {nouns[c]} of {at}" for at, (a, b, c) in enumerate(picks)]

    for path, number in (
        ("wordnet_examples/train", 60),
        ("image_coco/image_coco_train", 80),
        ("image_coco/image_coco_test", 400),
    ):
        file = folder / f"{path}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text("\n".join(lines_like(number)), "utf-8")
    write_encoder(folder / "encoder", ["a", "beside", "and", "of", *nouns])
    sizes = [
        "--encoder",
        str(folder / "encoder"),
        "--size",
        "8",
        "1",
        "--larger-size",
        "16",
        "1",
        "--vocabulary",
        "300",
        "--epochs",
        "1",
        "--sft-epochs",
        "1",
    ]
    arms = ["--arms", "mle_continued", "spin", "gad_larger_judge", "gad_encoder"]
    run = ["--seeds", "1", "--updates", "1", "--rounds", "1", "--held-out", "60", "--evaluator-epochs", "1", *arms]
    return ["--data", str(folder), "--samples", "1", *sizes, *run]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--domain", choices=list(DOMAINS), default="captions")
    parser.add_argument(
        "--arms", nargs="*", choices=ARMS, metavar="NAME", help="the default is all that have what they need"
    )
    parser.add_argument("--encoder", type=Path, metavar="FOLDER", help="a sentence encoder of transformers")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--updates", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=40, help="of a judge before the first update")
    parser.add_argument("--rate", type=float, default=1e-4, help="learning rate of every arm's generator")
    parser.add_argument("--judge-rate", type=float, default=1e-3, help="learning rate of judges")
    parser.add_argument("--size", type=int, nargs=2, default=[64, 2], metavar=("WIDTH", "LAYERS"))
    parser.add_argument("--larger-size", type=int, nargs=2, default=[128, 3], metavar=("WIDTH", "LAYERS"))
    parser.add_argument("--vocabulary", type=int, default=1024, help="tokens")
    parser.add_argument("--texts", type=int, default=8_000, help="sentences of pretraining")
    parser.add_argument("--demonstrations", type=int, default=10_000, help="that are learned, at most")
    parser.add_argument("--epochs", type=int, default=2, help="of pretraining")
    parser.add_argument("--sft-epochs", type=int, default=6, help="at most")
    parser.add_argument(
        "--held-out", type=int, default=1000, help="validation answers; there are twice as many test answers"
    )
    parser.add_argument("--evaluator-epochs", type=int, default=15, help="of a fresh evaluator, at most")
    parser.add_argument("--encoders", nargs="*", default=["ngram64"], choices=get_args(EncoderName), help="of FED")
    parser.add_argument("--samples", type=int, default=3, help="answers that are shown of each row of the first seed")
    parser.add_argument("--folder", type=Path, help="keeps the models; the default is a folder that is removed")
    parser.add_argument("--join", type=Path, nargs="*", default=[], metavar="FILE", help="what earlier calls printed")
    add_changes(parser)
    arguments = parser.parse_args()
    if arguments.arms is None:
        arguments.arms = [name for name in ARMS if name != "gad_encoder" or arguments.encoder]
    elif "gad_encoder" in arguments.arms and not arguments.encoder:
        parser.error("gad_encoder: needs --encoder FOLDER, a sentence encoder of transformers with its tokenizer")
    rows: dict[str, dict[int, dict[str, float]]] = {}
    for file in arguments.join:
        for seed, name, figures in lines(file.read_text("utf-8")):
            rows.setdefault(name, {})[seed] = figures
    wanted = [(name, seed) for name in ("sft", *arguments.arms) for seed in arguments.seeds]
    wanted = [(name, seed) for name, seed in wanted if seed not in rows.get(name, {})]
    print(machine(), flush=True)
    for name, seed, figures in measured(wanted, arguments) if wanted else ():
        rows.setdefault(name, {})[seed] = figures
    print(f"\n{arguments.updates} generator updates\n\n{table(rows)}")
    for base in _BASES:
        if base in rows:
            print(f"\n{differences(rows, base)}")


def measured(
    wanted: Sequence[tuple[str, int]], arguments: argparse.Namespace
) -> Iterator[tuple[str, int, dict[str, float]]]:
    """(arm, seed, figures) of what is wanted; each is printed when it is there, with answers of the first seed."""
    with TemporaryDirectory() as scratch, torch_threads(1):
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        data = DOMAINS[arguments.domain](arguments.data, arguments.held_out)
        data = replace(data, texts=data.texts[: arguments.texts], train=data.train[: arguments.demonstrations])
        print(
            f"{len(data.texts):,} texts; {len(data.train):,}, {len(data.valid):,} and {len(data.test):,} demonstrations"
        )
        study = Study(Starts(data, folder, arguments), arguments)
        for name, seed in wanted:
            row = study.row(name, seed)
            print(line(seed, name, row.figures), flush=True)
            for answer in row.answers if seed == arguments.seeds[0] else ():
                print(f"    {answer}", flush=True)
            yield name, seed, row.figures


if __name__ == "__main__":
    main()
