"""Presets for data of your own: which, and how long each takes on this machine, by a short probe.

A probe is a run in small: a few batches of likelihood, a few sequences in a generator update and a discriminator's
round, a part of a measurement. What each took, times how much larger it is in the whole run, is what the plan of that
run (`rlgan.runs.plan`) begins from; it is the plan by which a run says how long it will still take.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from rlgan.base.activity import stage
from rlgan.base.errors import DataError, RlganError
from rlgan.base.threads import torch_threads
from rlgan.config.config import Config
from rlgan.config.paths import ConfigPathError, flatten, merge, override, to_dict
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import Task, TaskSettings
from rlgan.envs.tasks.recognition import FileTask, with_tokens
from rlgan.envs.tasks.remarks import Remark
from rlgan.envs.transition import sequence_mask
from rlgan.presets.own_data import token_noun
from rlgan.presets.registry import preset, sizes_for
from rlgan.presets.sizes import DataSummary, cost, summary_of
from rlgan.schedule.phases import Position
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts

from .plan import Plan, plan_of
from .progress import in_words

MARGIN = 1.25
"""A run is said to take at most so many times what its test run makes of it: one of six took 1.12 times as long
(benchmarks/results/2026-11-29-forecast.md), and the others less, for patience ended their training."""
PROBE_S = 24.0
"""Seconds that all probes together may take. Each does two steps of likelihood, and finishes a step that has begun."""

Kind = Literal["likelihood", "table", "discriminator", "adversarial"]

_CHOICES = {
    False: {
        "quick": "maximum likelihood, then adversarial training, compared with controls",
        "mle": "maximum likelihood only: the baseline that every adversarial run must beat",
        "seqgan-quick": "SeqGAN's recipe with a reward at every prefix; also for your own rewards",
    },
    True: {
        "quick": "maximum likelihood, then adversarial training, compared with controls",
        "mle": "maximum likelihood only: the baseline that every adversarial run must beat",
        "cgan_seq": "a conditional GAN; mismatched pairs are negatives, too",
    },
}
"""Whether sequences are given something → presets, and what each is for."""
_NAMES: dict[str, Kind] = {"mle": "likelihood", "discriminator": "discriminator", "adversarial": "adversarial"}
TOKENS_OF_SIDES = ("task.tokens", "task.vocabulary.source", "task.vocabulary.target")
"""Paths of the tokens: of texts, and of the sources and the targets of pairs."""
_MULTIPLY_ADDS, _LEAST_ROWS, _MOST_ROWS = 4e9, 16, 512


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A preset for some data.

    Attributes:
        preset: its name.
        purpose: what it is for, in a line.
        config: the whole configuration, sizes included; None where the preset is not for this data.
        seconds: that the run takes at most on this machine, its final table included; None where it is refused.
        measured: kinds of work that the probe measured; of others the time is guessed by their sizes.
        refusal: why it is not for this data; "" where it is.
    """

    preset: str
    purpose: str
    config: Config | None
    seconds: float | None = None
    measured: tuple[Kind, ...] = ()
    refusal: str = ""


def recognised(meant: Sequence[TaskSettings], changes: Mapping[str, Any], names_tokens: bool) -> FileTask:
    """The first task that its file can be read as, with tokens of the kind that the file seems to be of.

    Args:
        meant: what the file may be, the likeliest first.
        changes: dotted path → value, that will be set in the run, too.
        names_tokens: whether the tokens are said, beside the changes, and are kept.

    Raises:
        ConfigError: a change is none of the task's.
        DataError: the file is missing or unreadable, or can be read as none of these.
    """
    keeps = names_tokens or any(path == "task.tokens" or path.startswith("task.vocabulary") for path in changes)
    refusals: list[ConfigPathError | DataError] = []
    for task in meant:
        try:
            return with_tokens(override(preset("mle", task), changes).task, keeps=keeps)
        except (ConfigPathError, DataError) as error:
            refusals.append(error)
    raise refusals[0]


def named_tokens(settings: FileTask) -> tuple[str | None, dict[str, str]]:
    """How the tokens of a task are asked for: by one word, or of each side of pairs by its path.

    Args:
        settings: of the task.

    Returns:
        The kind, where all tokens are of one; else None, and dotted path → kind of those that are not words.
    """
    sides = [settings.tokens] if settings.kind == "text" else [settings.source_tokens, settings.target_tokens]
    kinds = [tokens.kind for tokens in sides]
    if len(set(kinds)) == 1:
        return kinds[0], {}
    return None, {path: kind for path, kind in zip(TOKENS_OF_SIDES[1:], kinds, strict=True) if kind != "word"}


def described(data: DataSummary, settings: FileTask, task: Task) -> list[str]:
    """What the data is, in a few lines, and what is to be done about it.

    Args:
        data: its summary.
        settings: of its task.
        task: that was built of them.
    """
    noun, total = token_noun(settings), data.num_train + data.num_valid + data.num_test
    what = "pairs of a source and a target" if data.source_vocab_size else "texts"
    lines = [
        (
            f"{total:,} {what}: {data.num_train:,} for training, {data.num_valid:,} for validation and "
            f"{data.num_test:,} for testing"
        ),
        f"about {data.mean_length:.0f} {noun} each, at most {data.max_length}; vocabulary of {data.vocab_size:,}",
    ]
    if data.source_vocab_size:
        lines.append(
            f"sources: about {data.source_mean_length:.0f} tokens each, at most {data.source_max_length}; "
            f"vocabulary of {data.source_vocab_size:,}"
        )
    lines += [line for note in _unknown(task, noun) for line in textwrap.wrap(note, 100)]
    # Of the same remark about each split the last: samples are compared with the test split.
    remarks = [
        note for note in task.notes if "warning" in note or (isinstance(note, Remark) and note.startswith("test"))
    ]
    return [*lines, *(line for note in remarks for line in textwrap.wrap(note, 100))]


def _unknown(task: Task, noun: str) -> list[str]:
    """How many tokens of each split are outside the vocabulary: of sequences, and of what they are given."""
    sides = [(noun, task.space, task.train, task.test)]
    if task.conditions is not None:
        given = task.conditions
        sides.append(("tokens of sources", given.space, given.train, given.test))
    return [
        f"unknown {name}: {unknown_share(space, train):.1%} of the training split, "
        f"{unknown_share(space, test):.1%} of the test split"
        for name, space, train, test in sides
        if space.unknown_id is not None
    ]


def unknown_share(space: SequenceSpace, rows: Tensor) -> float:
    """Share of unknown ones among the tokens of sequences (n, T), their ends not counted."""
    counts = sequence_mask(space, rows.long())
    if space.end_id is not None:
        counts = counts & (rows != space.end_id)
    number = int(counts.sum())
    return int(((rows == space.unknown_id) & counts).sum()) / number if number else 0.0


def own_reward_note(found: Sequence[Recommendation]) -> list[str]:
    """How a run of these presets is given a reward of the user's own, in a few lines.

    Args:
        found: the recommendations; the last that has an adversarial phase and fits is named.
    """
    fitting = [one.preset for one in found if one.config is not None and one.config.schedule.adversarial_updates]
    if not fitting:
        return []
    return textwrap.wrap(
        f"To reward texts by a function of your own, add --reward FILE.py:NAME to the command of {fitting[-1]}. The "
        "function takes a list of texts, `completions`, and returns a number for each; docs/extending.md says more.",
        100,
        break_on_hyphens=False,
    )


def shown(one: Recommendation, command: str) -> list[str]:
    """A recommendation in a few lines.

    Args:
        one: the recommendation.
        command: by which the run is begun; it is not broken.
    """
    if one.refusal:
        return textwrap.wrap(f"{one.preset}: does not fit this data: {one.refusal}", 100, subsequent_indent="  ")
    time = textwrap.wrap(_time(one), 100, initial_indent="  ", subsequent_indent="  ")
    return [f"{one.preset}: {one.purpose}", f"  {command}", *time]


def _time(one: Recommendation) -> str:
    """How long it takes at most, and how that is known."""
    assert one.seconds is not None and one.config is not None
    of_all = ("likelihood", *(("table", "discriminator", "adversarial") if one.config.has_adversary else ("table",)))
    guessed = [kind for kind in of_all if kind not in one.measured]
    why = "estimated from the size, because the time for test runs was used up; increase --seconds"
    note = f" ({', '.join(guessed)} {why})" if guessed else ""
    return f"at most {in_words(one.seconds)} on this machine{note}"


def how_measured(seconds: float) -> list[str]:
    """What the times of all recommendations are, in a few lines.

    Args:
        seconds: that all probes together could take.
    """
    return textwrap.wrap(
        "Times are estimates: short test runs on this machine, at its current load, multiplied by the number of steps "
        "in a whole run. That includes all training epochs, although training ends early when validation stops "
        "improving, and the final table with its controls. The log of a run lists its sizes. The test runs took at "
        f"most {seconds:g} s.",
        100,
    )


def recommended(
    task_settings: TaskSettings,
    task: Task,
    changes: Mapping[str, Any],
    budget_s: float = PROBE_S,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Recommendation]:
    """Presets for data, one after the other as they are measured.

    Args:
        task_settings: of the task.
        task: built of them.
        changes: dotted path → value, that will be set in the run, too.
        budget_s: seconds for all probes together.
        clock: seconds.
    """
    data, choices = summary_of(task), _CHOICES[task.conditions is not None]
    for name, purpose in choices.items():
        try:
            config = override(preset(name, task_settings), merge(sizes_for(name, task_settings, data), changes))
            with stage("probe", f"probing {name}"):
                found, measured = probed(config, task, data, budget_s / len(choices), clock)
        except RlganError as error:
            yield Recommendation(name, purpose, None, refusal=str(error))
            continue
        plan = plan_of(config, task, Position())
        plan.expect(found)
        seconds = plan.seconds_left()
        assert seconds is not None  # likelihood at least was measured
        yield Recommendation(name, purpose, config, MARGIN * seconds, measured)


def probed(
    config: Config, task: Task, data: DataSummary, budget_s: float, clock: Callable[[], float]
) -> tuple[Plan, tuple[Kind, ...]]:
    """Do a run in small until it is done or the time is.

    Args:
        config: of the whole run.
        task: of the whole run.
        data: its summary.
        budget_s: seconds after which no further step begins. Building networks does not count: libraries are loaded.
        clock: seconds.

    Returns:
        The plan of the small run, which has heard how long each kind of work took, and which kinds those were.
    """
    small, part = in_small(config, task, data)
    plan = plan_of(small, part, Position())
    measured: list[Kind] = []
    took: dict[str, float] = {}
    began = clock()
    with build_parts(small, part) as parts, torch_threads(config.workers.threads):
        trainer = Trainer(small, part, parts)
        plan.finished("parts", clock() - began)
        until = clock() + budget_s
        while (phase := trainer.next_phase) is not None and (phase == "mle" or not measured or clock() < until):
            began = clock()
            trainer.step(measure=False)
            took[phase] = clock() - began  # of a second step instead of the first, which loads libraries as well
            measured += [_NAMES[phase]] if _NAMES[phase] not in measured else []
            if trainer.next_phase == phase:
                continue
            if "table" not in measured and clock() < until:
                began = clock()
                trainer.evaluator.measure(trainer.current_generator(), num_sequences=small.evaluation.num_sequences)
                row_s = clock() - began
                for path in plan.paths():
                    if path == "measure" or path.endswith("/row") or path == "table/verdict/choice":
                        plan.finished(path, row_s)
                measured.append("table")
        for path, seconds in took.items():
            plan.finished(path, seconds)
    return plan, tuple(measured)


def in_small(config: Config, task: Task, data: DataSummary) -> tuple[Config, Task]:
    """A run of an iteration of each phase, on as few sequences as a probe has time for, and those sequences.

    Of likelihood, with which it begins, there are two iterations: the first of a process takes seconds longer.

    Args:
        config: of the whole run.
        task: of the whole run.
        data: its summary.
    """
    width = getattr(config.generator, "hidden", 0)
    fitting = int(_MULTIPLY_ADDS / (data.mean_length * cost(data, width)))
    number = min(max(_LEAST_ROWS, fitting, config.schedule.g_group or 0), _MOST_ROWS)
    at_most = {
        "schedule.mle_epochs": 2,
        "schedule.discriminator_rounds": 1,
        "schedule.adversarial_updates": 1,
        "schedule.mle_batch": min(number, data.num_train),
        "schedule.g_batch": number,
        "adversary.sequences_per_round": number,
        "evaluation.num_sequences": number,
        "evaluation.final_sequences": number,
        "evaluation.num_bleu": number,
    }
    values = flatten(to_dict(config))
    changes = {path: min(most, values[path]) for path, most in at_most.items()}
    return override(config, changes), part_of(task, number)


def part_of(task: Task, number: int) -> Task:
    """A task of so many sequences of each split, evenly out of all."""
    places = {
        split: torch.linspace(0, len(rows) - 1, min(number, len(rows))).round().long()
        for split, rows in (("train", task.train), ("valid", task.valid), ("test", task.test))
    }

    def words(kept: Sequence[tuple[str, ...]] | None, split: str) -> tuple[tuple[str, ...], ...] | None:
        return None if kept is None else tuple(kept[place] for place in places[split].tolist())

    given = task.conditions
    if given is not None:
        given = replace(
            given,
            train=given.train[places["train"]],
            valid=given.valid[places["valid"]],
            test=given.test[places["test"]],
            valid_words=words(given.valid_words, "valid"),
            test_words=words(given.test_words, "test"),
            valid_sources=None if given.valid_sources is None else given.valid_sources[places["valid"]],
            test_sources=None if given.test_sources is None else given.test_sources[places["test"]],
        )
    return replace(
        task,
        train=task.train[places["train"]],
        valid=task.valid[places["valid"]],
        test=task.test[places["test"]],
        valid_words=words(task.valid_words, "valid"),
        test_words=words(task.test_words, "test"),
        conditions=given,
    )
