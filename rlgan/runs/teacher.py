"""The task `teacher`: the generator of a finished run is the distribution that others learn.

It can be sampled without end and its likelihood is known exactly, so a student and its judge are measured as on an
oracle: `eval/kl_forward`, `eval/kl_reverse` and the control `oracle_ratio` are those of the teacher.

Of a run whose sequences have conditions (pairs, prompts), the conditions are those of its own task, which is built
again for them; the teacher draws the sequences. So a run of pairs can teach only where its data still is.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from rlgan.base import seeding
from rlgan.base.errors import CheckpointError, ConfigError, DataError
from rlgan.base.threads import torch_threads
from rlgan.config.config import Config
from rlgan.config.paths import from_kept
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import Task
from rlgan.envs.tasks.task import require_one_a_condition, seeded_conditions, stream_note, stream_of, stream_of_pairs
from rlgan.envs.transition import sequence_mask
from rlgan.extensions import admit, plugins_in
from rlgan.generators import Draw, Generator
from rlgan.sampling import sampler
from rlgan.storage.checkpoint import CONFIG, read_run_config
from rlgan.storage.export import ExportedGenerator, load_run_generator, require_fitting

from .data import KeptData, kept_data, located, missing_files, rebuilt_task
from .publishing import LAST_FILE

_NUM_ENTROPY_SEQUENCES, _ENTROPY_SEED = 5_000, 20170209
_MOST_ROWS, _MOST_LOGITS = 256, 1 << 24  # read at once
_SIZES = {"num_train": 10_000, "num_valid": 1_000, "num_test": 2_000}
_SPLITS = ("train", "valid", "test")


class Teacher:
    """A generator as an exact distribution of sequences; on the CPU, with one thread, without gradient.

    Of a generator of sequences for conditions, a call with conditions returns the distribution of one sequence for
    each; see `Conditions.distribution`.

    Args:
        generator: a network with a likelihood.
        space: its sequences.
        temperature: that it is sampled at; its distribution is that at this temperature.
    """

    def __init__(self, generator: Generator, space: SequenceSpace, temperature: float = 1.0) -> None:
        self.space = space
        self._generator, self._temperature = generator, temperature
        self._conditions: Tensor | None = None
        self._entropies: dict[str, float] = {}  # by conditions, which are measured again and again
        self._rows = max(1, min(_MOST_ROWS, _MOST_LOGITS // (space.vocab_size * space.max_length)))
        with torch_threads(1):
            self._stepper = sampler.stepper_of(generator, Draw(temperature))

    def __call__(self, conditions: Tensor) -> Teacher:
        """The distribution of B sequences, sequence b given conditions[b]: (B, S) integer."""
        given = copy(self)
        given._conditions = conditions.long()
        return given

    @property
    def entropy(self) -> float:
        """Entropy in nats per token: an estimate, made once, when first asked for.

        The mean, over the steps of 5,000 sequences of its own (a fixed seed), of the exact entropy of the next token.
        With conditions there are equally many sequences of each, at least 5,000 in all.
        """
        key = "" if self._conditions is None else hashlib.sha256(self._conditions.numpy().tobytes()).hexdigest()
        if key not in self._entropies:
            self._entropies[key] = self._mean_entropy()
        return self._entropies[key]

    @torch.no_grad()
    def _mean_entropy(self) -> float:
        if self._conditions is None:
            drawn, number = self, _NUM_ENTROPY_SEQUENCES
        else:
            drawn = self(self._conditions.repeat(-(-_NUM_ENTROPY_SEQUENCES // len(self._conditions)), 1))
            assert drawn._conditions is not None
            number = len(drawn._conditions)
        tokens = drawn.sample(number, _ENTROPY_SEED)
        mask = sequence_mask(self.space, tokens)
        with torch_threads(1):
            total = 0.0
            for first in range(0, number, self._rows):
                part = slice(first, first + self._rows)
                distribution = self._generator.conditional(drawn._given(part))
                entropies = distribution.logprobs_and_entropies(tokens[part], self._temperature)[1]
                total += float(entropies[mask[part]].double().sum())
        return total / int(mask.sum())

    def _given(self, part: slice) -> Tensor | None:
        return None if self._conditions is None else self._conditions[part]

    @torch.no_grad()
    def logprobs(self, tokens: Tensor) -> Tensor:
        """See `Oracle.logprobs`.

        Raises:
            ShapeError: another number of sequences than of conditions.
        """
        self._require_number(len(tokens))
        tokens = tokens.long()
        logprobs = torch.zeros(tokens.shape)
        with torch_threads(1):
            for first in range(0, len(tokens), self._rows):
                part = slice(first, first + self._rows)
                distribution = self._generator.conditional(self._given(part))
                logprobs[part] = distribution.logprobs(tokens[part], self._temperature)
        return logprobs.masked_fill(~sequence_mask(self.space, tokens), 0.0)

    def sample(self, num_sequences: int, seed: int) -> Tensor:
        """See `Oracle.sample`.

        Raises:
            ShapeError: another number of sequences than of conditions.
        """
        self._require_number(num_sequences)
        with torch_threads(1):
            rng = seeding.stream(seed, "teacher")
            return sampler.sample(self._stepper, self.space, num_sequences, rng, conditions=self._conditions).tokens

    def _require_number(self, num_sequences: int) -> None:
        if self._conditions is not None:
            require_one_a_condition(num_sequences, len(self._conditions))


def teacher(
    run: str = "",
    mode: Literal["stream", "fixed"] = "stream",
    temperature: float = 1.0,
    num_train: int | None = None,
    num_valid: int | None = None,
    num_test: int | None = None,
    seed: int = 0,
) -> Task:
    """The sequences of a finished run's generator.

    Where they have conditions, these are those of the run's task. None for a number then means each condition of the
    split once, in its order; a number means as many of them in shuffled order, each once before one comes again. In a
    stream, conditions are drawn likewise from the train split, or anew where the run's own task is a stream.

    Args:
        run: folder of the run.
        mode: whether training sequences are new each time (stream), or `num_train` fixed ones.
        temperature: that the teacher is sampled at.
        num_train: number of training sequences; of a stream those that count as an epoch. None: 10,000, or as many as
            the train split of the run has conditions.
        num_valid: number of validation sequences; None: 1,000, or the same of the validation split.
        num_test: number of test sequences; None: 2,000, or the same of the test split.
        seed: of the sequences of all splits, and of which conditions they have.

    Raises:
        ConfigError: no run, a value that is not allowed, or a generator without likelihood.
        CheckpointError: the folder has no generator, its run is not finished, or its data has changed since.
        DataError: the sequences have conditions, and a file of the run's data is missing.
    """
    numbers = {"num_train": num_train, "num_valid": num_valid, "num_test": num_test}
    _require("mode", mode, mode in ("stream", "fixed"), "stream or fixed")
    _require("temperature", temperature, 0.0 < temperature < math.inf, "a number above 0")
    for name, number in numbers.items():
        _require(name, number, number is None or number >= 1, "at least 1")
    _require("seed", seed, seed >= 0, "at least 0")
    folder = _folder_of(run)
    kept = kept_data(folder, f"task.options.run={run!r}")
    config = located(from_kept(read_run_config(folder)), kept) if (folder / CONFIG).exists() else None
    exported = _exported(folder, run)
    own, is_stream = Teacher(exported.generator, exported.space, temperature), mode == "stream"
    which = f"teacher: the generator of {run} ({exported.settings.kind}) at temperature {temperature:g}"
    if exported.space.condition is not None:
        asked = dict(zip(_SPLITS, numbers.values(), strict=True))
        return _of_pairs(own, _task_of(folder, run, config, kept, exported), asked, seed, is_stream, which)
    sizes = {name: _SIZES[name] if number is None else number for name, number in numbers.items()}
    seeds = np.random.SeedSequence(seed).generate_state(3)
    train, valid, test = (own.sample(number, int(one)) for number, one in zip(sizes.values(), seeds, strict=True))
    return Task(
        name="teacher",
        space=exported.space,
        train=train,
        valid=valid,
        test=test,
        token_names=exported.token_names,
        joining=exported.joining,
        oracle=own,  # type: ignore[arg-type]  # its entropy is a property: computed when first asked for
        stream=stream_of(own) if is_stream else None,  # type: ignore[arg-type]
        model_tokens=exported.model_tokens,
        language_model=None if config is None else config.task.language_model,
        drawing=exported.space.drawing,
        notes=(
            f"{which}; drew {len(train)} train, {len(valid)} valid, {len(test)} test sequences, seed {seed}",
            *stream_note("teacher", is_stream),
        ),
    )


# ---------------------------------------------------------------------------------------------------- of pairs


def _of_pairs(
    own: Teacher,
    base: tuple[Task, tuple[str, ...]],
    asked: dict[str, int | None],
    seed: int,
    is_stream: bool,
    which: str,
) -> Task:
    """The task of a teacher whose sequences have conditions.

    Args:
        own: the teacher.
        base: the run's task, and what has to be said of it.
        asked: split → number of sequences; None for each condition once.
        seed: of conditions and sequences.
        is_stream: whether training sequences are new each time.
        which: teacher it is, as a note begins.
    """
    task, notes = base
    assert task.conditions is not None
    seeds = np.random.SeedSequence(seed).generate_state(2 * len(_SPLITS)).reshape(-1, 2).tolist()
    given: dict[str, Tensor] = {}
    drawn: dict[str, Tensor] = {}
    for split, (condition_seed, sequence_seed) in zip(_SPLITS, seeds, strict=True):
        known, number = getattr(task.conditions, split), asked[split]
        given[split] = known if number is None else known[_in_passes(len(known), number, condition_seed)]
        drawn[split] = own(given[split]).sample(len(given[split]), sequence_seed)
    counts = ", ".join(f"{len(drawn[split])} {split}" for split in _SPLITS)
    notes = (f"{which}; drew a sequence for each of {counts} conditions of its task {task.name}, seed {seed}", *notes)
    stream, conditions_of = None, None
    if is_stream:
        conditions_of = _new_conditions(task, given["train"])
        stream = stream_of_pairs(own, conditions_of)  # type: ignore[arg-type]
        where = "in shuffled order of the train split" if task.stream is None else "that its task draws anew, too"
        notes += (f"teacher: mode=stream: training sequences are drawn anew each time, for conditions {where}",)
    # Words and records belong to the sequences of the run's data, which these are not.
    conditions = replace(
        task.conditions,
        train=given["train"],
        valid=given["valid"],
        test=given["test"],
        distribution=own,  # type: ignore[arg-type]  # its entropy is a property
        stream=conditions_of,
        valid_words=None,
        test_words=None,
        valid_sources=None,
        test_sources=None,
        train_records=None,
        valid_records=None,
        test_records=None,
    )
    return replace(
        task,
        name="teacher",
        train=drawn["train"],
        valid=drawn["valid"],
        test=drawn["test"],
        oracle=None,
        notes=notes,
        conditions=conditions,
        valid_words=None,
        test_words=None,
        measures=frozenset(),
        columns=(),
        stream=stream,
        has_real_sequences=True,
    )


def _in_passes(num_known: int, number: int, seed: int) -> Tensor:
    """Which of the known conditions (number,) int64: in shuffled order, each once before one comes again."""
    generator = torch.Generator().manual_seed(seed)
    passes = [torch.randperm(num_known, generator=generator) for _ in range(-(-number // num_known))]
    return torch.cat(passes)[:number] if passes else torch.empty(0, dtype=torch.int64)


def _new_conditions(task: Task, train: Tensor) -> Callable[[int, int], Tensor]:
    """What draws so many conditions by a seed: the run's task where it draws them without end, else its split.

    Args:
        task: of the run.
        train: (n, S) conditions of the teacher's own train split.
    """
    assert task.conditions is not None
    if task.conditions.stream is not None:
        return task.conditions.stream
    if (without_end := task.stream) is None:
        return seeded_conditions(lambda number, seed: train[_in_passes(len(train), number, seed)].long())

    def drawn(number: int, seed: int) -> Tensor:
        _, conditions = without_end(number, seed)
        assert conditions is not None
        return conditions

    return drawn


def _task_of(
    folder: Path, run: str, config: Config | None, kept: KeptData, exported: ExportedGenerator
) -> tuple[Task, tuple[str, ...]]:
    """The task that a run with conditions was on, found to be the same; and what has to be said of it."""
    if config is None:
        raise CheckpointError(
            f"task.options.run={run!r}: contains a generator of sequences for conditions, but no {CONFIG}, so it is "
            "unknown which conditions. Give the folder of the whole run.",
            code="teacher_without_task",
            fields={"task.options.run": run},
        )
    for path, name in missing_files(config).items():
        raise DataError(
            f"task.options.run={run!r}: the conditions of a teacher are those of its own data, and its file "
            f"{path}={name} is missing. Restore the file, or give another run.",
            code="teacher_data_missing",
            fields={"task.options.run": run, path: name},
        )
    try:
        admit(plugins_in(config.task), folder, kept.asked, trust_code=False)
    except CheckpointError as error:
        raise _foreign(run, error) from None
    said: list[str] = []
    remedy = "Restore the data of the teacher, whose conditions are read from it, or give another run."
    task = rebuilt_task(config, kept, said.append, remedy)
    require_fitting(exported, task, kept.asked)
    return task, tuple(f"teacher: {line}" for line in said)


# ---------------------------------------------------------------------------------------------------- its folder


def _folder_of(run: str) -> Path:
    """The folder of a finished run."""
    if not run:
        raise ConfigError(
            "task.options.run: is empty. Give the folder of a finished run, whose generator is the teacher.",
            code="teacher_no_run",
            fields={"task.options.run": run},
        )
    folder = Path(run)
    if not folder.is_dir():
        what = "is a file" if folder.is_file() else f"there is no folder {folder.absolute()}"
        raise CheckpointError(
            f"task.options.run={run!r}: {what}. Give the folder of a finished run, whose generator is the teacher. If "
            "it was moved or removed after its student began, put it back: a run keeps its settings.",
            code="teacher_no_folder",
            fields={"task.options.run": run},
        )
    if (folder / CONFIG).exists() and not (folder / LAST_FILE).exists():
        raise CheckpointError(
            f"task.options.run={run!r}: the run is not finished, so its generator may still change. Finish it with "
            f"`rlgan train --resume {run}`, or give another run.",
            code="teacher_unfinished",
            fields={"task.options.run": run},
        )
    return folder


def _exported(folder: Path, run: str) -> ExportedGenerator:
    """The generator of a run, which has a likelihood."""
    try:
        exported = load_run_generator(folder)
    except CheckpointError as error:
        if error.code not in ("code_not_trusted", "plugin_not_at_hand"):
            raise
        raise _foreign(run, error) from None
    if not exported.generator.has_likelihood:
        raise ConfigError(
            f"task.options.run={run!r}: its generator ({exported.settings.kind}) has no likelihood, so it is no exact "
            "distribution. Give a run of another generator.",
            code="teacher_without_likelihood",
            fields={"task.options.run": run},
        )
    return exported


def _foreign(run: str, error: CheckpointError) -> CheckpointError:
    """The error in place of one that advises an option which a new run does not have."""
    return CheckpointError(
        f"task.options.run={run!r}: the run uses code that is not yours, or that has changed or moved since, and a "
        "teacher's code is not executed unasked. Restore the file where the run had it, or register the same object.",
        code="teacher_foreign_code",
        fields={"task.options.run": run, **error.fields},
    )


def _require(name: str, value: Any, is_allowed: bool, what: str) -> None:
    """See to it that an option has an allowed value; that it has the right type is seen to where options are read."""
    if not is_allowed:
        raise ConfigError(
            f"task.options.{name}={value!r}: is not allowed. Set it to {what}.",
            code="teacher_options",
            fields={f"task.options.{name}": value},
        )
