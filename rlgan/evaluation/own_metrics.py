"""Metrics of the user's own measured in a run, or drawing without one; what they are is in `own_metric`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from rlgan.base.errors import ConfigError, PluginError
from rlgan.envs.tasks.task import Task, sequences_to_try
from rlgan.extensions import (
    bound,
)

from .own_metric import GAP, OFFERED, OwnMetric, called_as, described, metric_of
from .own_metric_calls import figures_of, identified, picture

_NUM_CHECKED = 8  # texts of the held-out split that metrics are tried on before a run


class OwnMetrics:
    """The metrics of a run, loaded.

    Args:
        metrics: their settings.
        task: whose texts are measured.

    Raises:
        ConfigError: one cannot be loaded, or compares with completions where the data has prompts alone.
        PluginError: one raises, hangs, or returns no number for a few texts of the held-out split.
    """

    def __init__(self, metrics: Sequence[OwnMetric], task: Task) -> None:
        self._metrics, self._task = tuple(metrics), task
        self._functions: list[Callable[..., Any]] = []
        self._paths: list[str] = []
        self._real: dict[str, float] | None = None
        self._of_training: list[str] | None = None
        self._tried: list[dict[str, float]] = []
        for metric in self._metrics:
            loaded = metric.load()
            self._functions.append(bound(metric, loaded))
            self._paths.append(loaded.path)
        if self._metrics:
            for metric in () if task.has_real_sequences else self._metrics:
                _require_no_completions(metric)
            conditions = None if task.conditions is None else task.conditions.test[:_NUM_CHECKED]
            self._tried = self._values(sequences_to_try(task, "test", _NUM_CHECKED), conditions)

    @property
    def notes(self) -> tuple[str, ...]:
        """How they are read, a line each."""
        has_gap = self._task.has_real_sequences
        return tuple(one.note(has_gap, found) for one, found in zip(self._metrics, self._tried, strict=True))

    def measure(self, tokens: Tensor, conditions: Tensor | None) -> dict[str, float]:
        """All of them, of one batch of sequences.

        Args:
            tokens: (n, T) int64 finished sequences.
            conditions: (n, S) int64 what each was given, or None.

        Returns:
            `eval/own_NAME`, or `eval/own_NAME_KEY` for each key of a dictionary; of a two-sided metric `eval/..._gap`,
            too: the distance from its value of the held-out split, all of it, where that has sequences.

        Raises:
            PluginError: one raises, hangs, or returns something else than finite numbers.
        """
        if not self._metrics:
            return {}
        found = {}
        for metric, values in zip(self._metrics, self._values(tokens, conditions), strict=True):
            for name, value in values.items():
                found[f"eval/{name}"] = value
                if metric.direction_of(name) == "none" and self._task.has_real_sequences:
                    found[f"eval/{name}{GAP}"] = abs(value - self._of_real(metric, name))
        return found

    def figure(self, name: str, tokens: Tensor, conditions: Tensor | None) -> float:
        """What generators are distinguished by, of one metric: the value, or the distance where it is two-sided.

        Args:
            name: of the metric, or of one of its figures.
            tokens: (n, T) int64.
            conditions: (n, S) int64, or None.

        Raises:
            ConfigError: the metric has no such figure.
        """
        measured = self.measure(tokens, conditions)
        metric = metric_of(self._metrics, name)
        assert metric is not None  # the schedule's check refuses other names
        key = f"eval/{name}{GAP}" if metric.direction_of(name) == "none" else f"eval/{name}"
        if key not in measured:
            there = [one.removeprefix("eval/") for one in measured if metric.has(one.removeprefix("eval/"))]
            raise ConfigError(
                f"schedule.selection.measure={name!r}: {metric.name} returned only {', '.join(there)}.",
                code="metric_has_no_key",
                fields={"schedule.selection.measure": name},
            )
        return measured[key]

    def drawn(self, texts: Sequence[str], legends: Sequence[str] | None = None) -> str | None:
        """A picture of texts, by the first metric that draws any; None where none does.

        Args:
            texts: at least one.
            legends: one for each; None leaves them to the metric.

        Returns:
            An SVG.

        Raises:
            PluginError: drawing raises, hangs, or returns no SVG.
        """
        for metric, function, path in zip(self._metrics, self._functions, self._paths, strict=True):
            if (draw := _method_of(function, "draw")) is not None:
                return picture(metric, partial(draw, list(texts), legends), path)
        return None

    def identified(self, texts: Sequence[str]) -> list[str]:
        """What each text stands for, by the first metric that tells: the same name for the same thing.

        Args:
            texts: any number.

        Returns:
            A name for each; the text itself where no metric tells.

        Raises:
            PluginError: the method raises, hangs, or returns something else than a name, or None, for each text.
        """
        for metric, function, path in zip(self._metrics, self._functions, self._paths, strict=True):
            if (identify := _method_of(function, "identify")) is not None:
                names = identified(metric, partial(identify, list(texts)), path, len(texts))
                return [text if name is None else name for text, name in zip(texts, names, strict=True)]
        return list(texts)

    def _training(self) -> list[str]:
        """Texts of the training split; read once, as they may be many."""
        if self._of_training is None:
            self._of_training = self._task.decode(self._task.train)
        return list(self._of_training)

    def _of_real(self, metric: OwnMetric, name: str) -> float:
        """A figure of the held-out split."""
        if self._real is None:
            conditions = None if self._task.conditions is None else self._task.conditions.test
            each = self._values(self._task.test, conditions)
            self._real = {name: value for values in each for name, value in values.items()}
        if name not in self._real:
            raise PluginError(
                f"{described(metric)}: returned {name!r} for the generator's texts but not for real texts. Return "
                "the same keys for all texts.",
                code="metric_keys_differ",
            )
        return self._real[name]

    def _values(self, tokens: Tensor, conditions: Tensor | None) -> list[dict[str, float]]:
        """Of each metric its figures by name."""
        task = self._task
        texts = task.decode(tokens)
        offers: Mapping[str, Callable[[], Any]] = {
            "references": lambda: task.decode(task.test),
            "training": self._training,
            "prompts": lambda: (
                [""] * len(texts)
                if task.conditions is None or conditions is None
                else task.conditions.decode(conditions)
            ),
            "drawing": lambda: task.drawing,
        }
        found = []
        for metric, function, path in zip(self._metrics, self._functions, self._paths, strict=True):
            named = [name for name in called_as(metric, metric.load().object).parameters if name in OFFERED]
            arguments = {name: offers[name]() for name in named if name not in metric.options}
            found.append(figures_of(metric, partial(function, list(texts), **arguments), path, len(texts)))
        return found


class MetricDrawing:
    """A metric as what draws texts, without a run.

    Args:
        metric: its settings.

    Raises:
        ConfigError: it cannot be loaded, has no method draw, or refuses to be built.
        PluginError: building it raises.
    """

    def __init__(self, metric: OwnMetric) -> None:
        loaded = metric.load()
        draw = _method_of(bound(metric, loaded), "draw")
        if draw is None:
            raise ConfigError(
                f"{described(metric)}: has no method draw. Name a class with __call__(texts) and draw(texts, "
                "legends), which returns an SVG.",
                code="metric_draws_nothing",
                fields={"metric": metric.name},
            )
        self._metric, self._draw, self._path = metric, draw, loaded.path

    def __call__(self, texts: Sequence[str]) -> str:
        """An SVG of texts, at least one.

        Raises:
            PluginError: drawing raises, hangs, or returns no SVG.
        """
        return picture(self._metric, partial(self._draw, list(texts), None), self._path)


def _method_of(function: Callable[..., Any], name: str) -> Callable[..., Any] | None:
    """A method of a metric that has it."""
    method = getattr(function.func if isinstance(function, partial) else function, name, None)
    return method if callable(method) else None


def _require_no_completions(metric: OwnMetric) -> None:
    """Refuse a metric that names real sequences, of which there are none.

    Raises:
        ConfigError: it does.
    """
    named = called_as(metric, metric.load().object).parameters
    read = [name for name in ("references", "training") if name in named and name not in metric.options]
    if read:
        raise ConfigError(
            f"{described(metric)}: has the parameter `{read[0]}`, but the data has prompts alone, without "
            "completions. Remove the metric, or compare with columns of the data in a reward function.",
            code="metric_needs_completions",
            fields={"metric": metric.name},
        )
