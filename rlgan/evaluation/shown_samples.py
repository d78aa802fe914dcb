"""Samples as people read them: alone, or beside what real sequences look like."""

from __future__ import annotations

from dataclasses import dataclass

from rlgan.envs.tasks.task import Task

from .evaluator import Measurement


@dataclass(frozen=True, slots=True)
class Beside:
    """A sample beside a real sequence.

    Attributes:
        generated: what the generator wrote.
        real: a sequence of the test split; where sequences are given something, one that was given the same; None
            where the data has prompts alone.
        source: what both were given; None where that is nothing.
    """

    generated: str
    real: str | None
    source: str | None = None


def samples_shown(task: Task, measurement: Measurement, number: int) -> list[str]:
    """The first samples of a measurement as text, behind what they were given.

    Args:
        task: that they are of.
        measurement: of a generator.
        number: of samples, at most.
    """
    lines = task.decode(measurement.tokens[:number])
    if task.conditions is None:
        return lines
    return [f"{source} → {line}" for source, line in zip(_sources(task, measurement, number), lines, strict=True)]


def beside_real(task: Task, measurement: Measurement, number: int) -> list[Beside]:
    """The first samples of a measurement, each beside a test sequence.

    Args:
        task: that they are of.
        measurement: of a generator: sample i was given what test sequence i, modulo their number, was given.
        number: of samples, at most.
    """
    written = task.decode(measurement.tokens[:number])
    real = task.decode(task.test[: len(written)])
    has_reals = task.has_real_sequences
    pairs = [(line, real[index % len(real)] if has_reals else None) for index, line in enumerate(written)]
    if task.conditions is None:
        return [Beside(*pair) for pair in pairs]
    return [Beside(*pair, source) for pair, source in zip(pairs, _sources(task, measurement, number), strict=True)]


def _sources(task: Task, measurement: Measurement, number: int) -> list[str]:
    assert task.conditions is not None and measurement.conditions is not None
    return task.conditions.decode(measurement.conditions[:number])
