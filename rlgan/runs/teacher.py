"""The task `teacher`: the generator of a finished run is the distribution that others learn.

It can be sampled without end and its likelihood is known exactly, so a student and its judge are measured as on an
oracle: `eval/kl_forward`, `eval/kl_reverse` and the control `oracle_ratio` are those of the teacher.
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from rlgan.base import seeding
from rlgan.base.errors import CheckpointError, ConfigError
from rlgan.base.threads import torch_threads
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import Task
from rlgan.envs.tasks.task import stream_note, stream_of
from rlgan.envs.transition import sequence_mask
from rlgan.generators import Draw, Generator
from rlgan.sampling import sampler
from rlgan.storage.export import load_run_generator

_NUM_ENTROPY_SEQUENCES, _ENTROPY_SEED = 5_000, 20170209
_ROWS = 256  # read at once


class Teacher:
    """A generator as an exact distribution of sequences; on the CPU, with one thread, without gradient.

    Args:
        generator: a network that is given nothing.
        space: its sequences.
        temperature: that it is sampled at; its distribution is that at this temperature.
    """

    def __init__(self, generator: Generator, space: SequenceSpace, temperature: float = 1.0) -> None:
        self.space = space
        self._distribution, self._temperature = generator.conditional(None), temperature
        with torch_threads(1):
            self._stepper = sampler.stepper_of(generator, Draw(temperature))

    @cached_property
    def entropy(self) -> float:
        """Entropy in nats per token: an estimate, made once, when first asked for.

        The mean, over the steps of 5,000 sequences of its own (a fixed seed), of the exact entropy of the next token.
        """
        tokens = self.sample(_NUM_ENTROPY_SEQUENCES, _ENTROPY_SEED)
        mask = sequence_mask(self.space, tokens)
        with torch_threads(1), torch.no_grad():
            total = sum(
                float(self._distribution.logprobs_and_entropies(part, self._temperature)[1][real].double().sum())
                for part, real in zip(tokens.split(_ROWS), mask.split(_ROWS), strict=True)
            )
        return total / int(mask.sum())

    @torch.no_grad()
    def logprobs(self, tokens: Tensor) -> Tensor:
        """See `Oracle.logprobs`."""
        with torch_threads(1):
            parts = tokens.long().split(_ROWS)
            logprobs = torch.cat([self._distribution.logprobs(part, self._temperature) for part in parts])
        return logprobs.masked_fill(~sequence_mask(self.space, tokens.long()), 0.0)

    def sample(self, num_sequences: int, seed: int) -> Tensor:
        """See `Oracle.sample`."""
        with torch_threads(1):
            rng = seeding.stream(seed, "teacher")
            return sampler.sample(self._stepper, self.space, num_sequences, rng).tokens


def teacher(
    run: str = "",
    mode: Literal["stream", "fixed"] = "stream",
    temperature: float = 1.0,
    num_train: int = 10_000,
    num_valid: int = 1_000,
    num_test: int = 2_000,
    seed: int = 0,
) -> Task:
    """The sequences of a finished run's generator.

    Args:
        run: folder of the run.
        mode: whether training sequences are new each time (stream), or `num_train` fixed ones.
        temperature: that the teacher is sampled at.
        num_train: number of training sequences; of a stream those that count as an epoch.
        num_valid: number of validation sequences.
        num_test: number of test sequences.
        seed: of the sequences of all splits.

    Raises:
        ConfigError: no run, a value that is not allowed, or the teacher's sequences are given something.
        CheckpointError: the folder has no generator.
    """
    numbers = {"num_train": num_train, "num_valid": num_valid, "num_test": num_test}
    _require("mode", mode, mode in ("stream", "fixed"), "stream or fixed")
    _require("temperature", temperature, 0.0 < temperature < math.inf, "a number above 0")
    for name, number in numbers.items():
        _require(name, number, number >= 1, "at least 1")
    _require("seed", seed, seed >= 0, "at least 0")
    if not run:
        raise ConfigError(
            "task.options.run: is empty. Give the folder of a finished run, whose generator is the teacher.",
            code="teacher_no_run",
            fields={"task.options.run": run},
        )
    if not Path(run).is_dir():
        what = "is a file" if Path(run).is_file() else "there is no such folder"
        raise CheckpointError(
            f"task.options.run={run!r}: {what}. Give the folder of a finished run, whose generator is the teacher.",
            code="teacher_no_folder",
            fields={"task.options.run": run},
        )
    exported = load_run_generator(Path(run))
    if exported.space.condition is not None:
        raise ConfigError(
            f"task.options.run={run!r}: its generator writes sequences for conditions, but a teacher draws both "
            "sequences and what they are given. Give a run of a task without conditions.",
            code="teacher_of_pairs",
            fields={"task.options.run": run},
        )
    if not exported.generator.has_likelihood:
        raise ConfigError(
            f"task.options.run={run!r}: its generator ({exported.settings.kind}) has no likelihood, so it is no exact "
            "distribution. Give a run of another generator.",
            code="teacher_without_likelihood",
            fields={"task.options.run": run},
        )
    own = Teacher(exported.generator, exported.space, temperature)
    seeds = np.random.SeedSequence(seed).generate_state(3)
    train, valid, test = (own.sample(number, int(one)) for number, one in zip(numbers.values(), seeds, strict=True))
    return Task(
        name="teacher",
        space=exported.space,
        train=train,
        valid=valid,
        test=test,
        token_names=exported.token_names,
        joining=exported.joining,
        oracle=own,  # type: ignore[arg-type]  # its entropy is a cached property: computed when first asked for
        stream=stream_of(own) if mode == "stream" else None,  # type: ignore[arg-type]
        notes=(
            f"teacher: the generator of {run} ({exported.settings.kind}) at temperature {temperature:g}; drew "
            f"{num_train} train, {num_valid} valid, {num_test} test sequences, seed {seed}",
            *stream_note("teacher", mode == "stream"),
        ),
    )


def _require(name: str, value: Any, is_allowed: bool, what: str) -> None:
    """See to it that an option has an allowed value; that it has the right type is seen to where options are read."""
    if not is_allowed:
        raise ConfigError(
            f"task.options.{name}={value!r}: is not allowed. Set it to {what}.",
            code="teacher_options",
            fields={f"task.options.{name}": value},
        )
