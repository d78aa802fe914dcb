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
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field

from rlgan.base.errors import ConfigError, nearest
from rlgan.base.settings import FreeOnResume
from rlgan.extensions import (
    Loaded,
    Plugin,
    PluginKind,
    brief,
    check_options,
    note,
    signature_of,
)
from rlgan.metrics.quantity import Better, Quantity

Direction = Literal["min", "max", "none"]
FigureDirection = Literal["min", "max", "none", "beside"]
"""Direction of one of several values; `beside`: what another value is read beside, which is no generator's merit."""

OFFERED = ("references", "training", "prompts", "drawing")
"""What a metric may name beside the texts."""
_FORM = (
    "f(texts), which returns a number or a dictionary of numbers; it may also have the parameters `references`, "
    "`training`, `prompts` and `drawing`"
)
OWN = "own_"
"""Begins the names of all figures of metrics of your own, so that none is taken for what ships."""
GAP = "_gap"
"""Ends the name of how far a two-sided metric is from what real sequences have."""


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
        called_as(self, loaded.object)
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

    def note(self, has_gap: bool, found: Collection[str]) -> str:
        """How to read it, in a line.

        Args:
            has_gap: whether there is real data to be near to.
            found: names of the figures that it returns; it may declare some that its options leave out.
        """
        ways: dict[FigureDirection, list[str]] = {}
        for key in self.directions or (None,):
            name = self.figure if key is None else f"{self.figure}_{key}"
            if key is not None and name not in found:
                continue
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
            "none": f"best where real data are, and {gap} is the distance from there",
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


def called_as(metric: OwnMetric, target: Any) -> inspect.Signature:
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
    check_options(of_call, signature, (first.name, *OFFERED))
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


def described(metric: OwnMetric) -> str:
    """How errors name a metric."""
    return f"metric {metric.short_name!r} ({metric.name})"
