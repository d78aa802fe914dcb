"""Metrics of the user's own: a function of texts, measured wherever a generator is, beside what ships.

    f(texts) → a number, or a dictionary of numbers

It is handed what else it names: `references`, the texts of the held-out split; `training`, those of the training split;
`prompts`, what each text was given; `drawing`, how sequences are drawn (`rlgan.envs.drawing.Drawing`), or None; and its
options. It is measured as `eval/own_NAME`. A metric whose direction is none is two-sided: more is not better, and what
counts is how far it is from what real sequences have (`eval/own_NAME_gap`). One that returns a dictionary may declare
the direction of each value in an attribute `directions`; then it has to name all that it returns.

Where it is a class with a method `draw(texts, legends)`, which returns an SVG, the page of a run has pictures of
samples. Where it has a method `identify(texts)`, which returns a name for each text, or None, texts of one name are the
same thing: the best samples of a run are different ones.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field
from torch import Tensor

from rlgan.base.errors import ConfigError, PluginError, nearest
from rlgan.base.settings import FreeOnResume
from rlgan.envs.tasks.task import Task, sequences_to_try
from rlgan.extensions import (
    Loaded,
    Plugin,
    PluginKind,
    bound,
    brief,
    check_options,
    note,
    signature_of,
)
from rlgan.metrics.quantity import Better, Quantity

from .own_metric_calls import GAP, described, figures_of, identified, picture

Direction = Literal["min", "max", "none"]
FigureDirection = Literal["min", "max", "none", "beside"]
"""Direction of one of several values; `beside`: what another value is read beside, which is no generator's merit."""

_OFFERED = ("references", "training", "prompts", "drawing")
_FORM = (
    "f(texts), which returns a number or a dictionary of numbers; it may also have the parameters `references`, "
    "`training`, `prompts` and `drawing`"
)
_NUM_CHECKED = 8  # texts of the held-out split that metrics are tried on before a run
OWN = "own_"
"""Begins the names of all figures of metrics of your own, so that none is taken for what ships."""


class OwnMetric(Plugin):
    """A metric of texts, and how it is read."""

    plugin_kind: ClassVar[PluginKind] = "metric"

    direction: Direction = "none"
    """Which values are better: min, max, or none if only the distance from real sequences matters. A metric that
    declares `directions` has no other."""
    directions: Mapping[str, FigureDirection] = Field(default_factory=dict)
    """Direction of each value by name, as the metric declares it; filled in by rlgan."""
    unit: str = ""
    """Unit of the values, for the note below the table."""
    timeout_s: Annotated[float, FreeOnResume()] = Field(600.0, gt=0.0)
    """Maximum number of seconds for a call; the run stops if a call takes longer."""

    def check_object(self, loaded: Loaded) -> None:
        """See `Plugin.check_object`."""
        _signature(self, loaded.object)
        declared = _declared(self, loaded.object)
        if declared and self.direction != "none":
            raise ConfigError(
                f"{described(self)}: direction={self.direction!r}: has no effect, for the metric declares the "
                "direction of each of its values. Remove direction.",
                code="metric_direction_declared",
                fields={"direction": self.direction},
            )
        note(self, "directions", declared)

    def has(self, name: str) -> bool:
        """Whether a figure is this metric's, or one of those that it returns together: own_length, own_length_words."""
        return name == self.figure or name.startswith(f"{self.figure}_")

    @property
    def figure(self) -> str:
        """Name of its figure, or what the names of its figures begin with."""
        return OWN + self.short_name

    def direction_of(self, name: str) -> FigureDirection:
        """Which values of one of its figures are better.

        Args:
            name: of the figure.
        """
        return self.directions.get(name.removeprefix(f"{self.figure}_"), self.direction)

    @property
    def figures(self) -> tuple[str, ...]:
        """What a generator may be selected by: names of its figures, or what they begin with if none is declared."""
        declared = (f"{self.figure}_{key}" for key, one in self.directions.items() if one != "beside")
        return tuple(declared) if self.directions else (self.figure,)

    def selects(self, name: str) -> bool:
        """Whether a generator may be selected by a figure: where none is declared, by any that it returns."""
        return name in self.figures if self.directions else self.has(name)

    def quantity(self, name: str) -> Quantity:
        """Facts of one of its figures, or of how far that is from real sequences.

        Whether it depends on the number of samples, nobody but its author knows: it is taken to.
        """
        direction = self.direction_of(name.removesuffix(GAP))
        better: Better | None = {"min": "lower", "max": "higher"}.get(direction)  # type: ignore[assignment]
        if direction == "none" and name.endswith(GAP):
            better = "lower"
        is_beside = direction == "beside"
        return Quantity(name, self.name, self.unit or "its own", better, "samples", is_key=True, is_beside=is_beside)

    def note(self, has_gap: bool) -> str:
        """How to read it, in a line.

        Args:
            has_gap: whether there is real data to be near to.
        """
        ways: dict[FigureDirection, list[str]] = {}
        for key in self.directions or (None,):
            name = self.figure if key is None else f"{self.figure}_{key}"
            ways.setdefault(self.direction_of(name), []).append("" if key is None else key)
        told = (
            f"{self._way(way, has_gap)}{f': {names}' if (names := ', '.join(keys)) else ''}"
            for way, keys in ways.items()
        )
        return f"{self.figure}{f' ({self.unit})' if self.unit else ''}: your metric {self.name}; {'; '.join(told)}"

    def _way(self, direction: FigureDirection, has_gap: bool) -> str:
        """How values of a direction are read, as a part of a sentence."""
        if direction == "none" and not has_gap:
            return "neither lower nor higher is better"
        gap = f"{self.figure}_NAME{GAP}" if self.directions else f"{self.figure}{GAP}"
        ways = {
            "min": "lower is better",
            "max": "higher is better",
            "none": f"{gap} is its distance from real data",
            "beside": "to compare others with",
        }
        return ways[direction]


def is_own(name: str) -> bool:
    """Whether a quantity of a table is of a metric of your own."""
    return name.startswith(OWN)


def require_apart(metrics: Sequence[OwnMetric]) -> None:
    """See to it that metrics, and all figures that they may return, can be distinguished by their names.

    Raises:
        ConfigError: two have the same name, one's name continues another's behind a `_`, or one ends as distances do.
    """
    names = [metric.short_name for metric in metrics]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ConfigError(
                f"evaluation.metrics: two metrics are named {name!r}: {metrics[names.index(name)].name} and "
                f"{metrics[index].name}. Rename one of the functions.",
                code="metric_named_twice",
            )
        if f"_{name}".endswith(GAP):
            raise ConfigError(
                f"evaluation.metrics: {metrics[index].name} is named {name!r}, but the ending {GAP!r} is reserved "
                "for the distance from real sequences. Rename the function.",
                code="metric_ends_with_gap",
            )
    for shorter in names:
        for longer in names:
            if longer.startswith(f"{shorter}_"):
                raise ConfigError(
                    f"evaluation.metrics: {OWN}{longer} would be both the metric {longer!r} and the value "
                    f"{longer.removeprefix(f'{shorter}_')!r} of the metric {shorter!r}. Rename one of the "
                    "functions.",
                    code="metric_name_clash",
                )


def metric_of(metrics: Sequence[OwnMetric], name: str) -> OwnMetric | None:
    """The metric that a figure is of: the one with the longest name that it begins with; None of what ships.

    Args:
        metrics: of a run.
        name: of a figure, without `eval/`.
    """
    return max((one for one in metrics if one.has(name)), key=lambda one: len(one.figure), default=None)


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
        for metric in self._metrics:
            loaded = metric.load()
            self._functions.append(bound(metric, loaded))
            self._paths.append(loaded.path)
        if self._metrics:
            for metric in () if task.has_real_sequences else self._metrics:
                _require_no_completions(metric)
            conditions = None if task.conditions is None else task.conditions.test[:_NUM_CHECKED]
            self._values(sequences_to_try(task, "test", _NUM_CHECKED), conditions)

    @property
    def notes(self) -> tuple[str, ...]:
        """How they are read, a line each."""
        return tuple(metric.note(self._task.has_real_sequences) for metric in self._metrics)

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
            named = [name for name in _signature(metric, metric.load().object).parameters if name in _OFFERED]
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


def _signature(metric: OwnMetric, target: Any) -> inspect.Signature:
    """Signature of what is called with the texts.

    Raises:
        ConfigError: it cannot be called with texts, or not with the options.
    """
    signature = signature_of(metric, target, _FORM)
    first = next(iter(signature.parameters.values()), None)
    if first is None or first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
        raise ConfigError(
            f"{described(metric)}: has the signature {signature}. It must accept texts: {_FORM}.",
            code="metric_signature",
        )
    of_call = metric.model_copy(update={"options": {}}) if inspect.isclass(target) else metric
    check_options(of_call, signature, (first.name, *_OFFERED))
    return signature


def _declared(metric: OwnMetric, target: Any) -> dict[str, FigureDirection]:
    """Direction of each value that a metric declares, by name; empty where it declares none.

    Raises:
        ConfigError: it is no such declaration, or one of its names or directions cannot be one.
    """
    declared = getattr(target, "directions", {})
    who = f"{described(metric)}: directions"
    allowed = get_args(FigureDirection)
    if not isinstance(declared, Mapping):
        raise ConfigError(
            f"{who}: is {brief(declared)}. Declare a dictionary: name of a value → {', '.join(allowed)}.",
            code="metric_directions_form",
            fields={"metric": metric.name},
        )
    for key, direction in declared.items():
        if not isinstance(key, str) or not key or f"_{key}".endswith(GAP):
            raise ConfigError(
                f"{who}: {key!r} cannot be the name of a value: it must be text that does not end with {GAP!r}. Rename "
                "it.",
                code="metric_directions_key",
                fields={"metric": metric.name, "key": key},
            )
        if direction not in allowed:
            raise ConfigError(
                f"{who}: {key!r} has the direction {direction!r}; choose one of {', '.join(allowed)}."
                f"{nearest(str(direction), allowed)}",
                code="metric_directions_value",
                fields={"metric": metric.name, key: direction},
            )
    return dict(declared)


def _require_no_completions(metric: OwnMetric) -> None:
    """Refuse a metric that names real sequences, of which there are none.

    Raises:
        ConfigError: it does.
    """
    named = _signature(metric, metric.load().object).parameters
    read = [name for name in ("references", "training") if name in named and name not in metric.options]
    if read:
        raise ConfigError(
            f"{described(metric)}: has the parameter `{read[0]}`, but the data has prompts alone, without "
            "completions. Remove the metric, or compare with columns of the data in a reward function.",
            code="metric_needs_completions",
            fields={"metric": metric.name},
        )
