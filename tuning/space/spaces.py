"""The search space, read off the settings themselves (docs/algorithms.md §19).

Each setting says beside itself what a search may try of it (`rlgan.base.search_priors`). Here they are put together:
an axis a setting or union of variants, active only where the variant that it belongs to is chosen. A *point* is a
dictionary of dotted path → value of all active axes; contradictory points are refused by the configuration itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from rlgan.base.errors import ConfigError, nearest
from rlgan.base.search_priors import Choice, LogUniform, NotSearched, Prior, Uniform
from rlgan.base.settings import Settings
from rlgan.config.config import Config
from rlgan.config.paths import all_paths, axis_path, flatten, override, settings_classes, to_dict, typed, variants_of

Point = dict[str, Any]
"""Dotted path, or name of a bundle → value."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One dimension.

    Attributes:
        path: dotted path into the configuration.
        prior: what may be tried.
        only_if: (path of an axis, its variant) above this one, from the outside in; all must be so for it to be active.
    """

    path: str
    prior: Prior
    only_if: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """Names this dimension alone: variants may share a path and not a prior (`optimizers.generator[sgd].lr`)."""
        shown = self.path
        for path, variant in reversed(self.only_if):
            shown = f"{path}[{variant}]{shown.removeprefix(path)}"
        return shown

    def described(self, written: Callable[[str], str], varied: Collection[str]) -> str:
        """What may be tried, as one would type it, and which variant it needs.

        Args:
            written: how the path of a setting is written.
            varied: paths of all dimensions; a variant that nothing varies is that of the base, and is not named.
        """
        needed = [f"{written(path)} {variant}" for path, variant in self.only_if if path in varied]
        return f"{written(self.path)} {_tried(self.prior)}{_in_brackets(needed)}"


def _in_brackets(needed: Sequence[str]) -> str:
    return f" (with {', '.join(needed)})" if needed else ""


def _tried(prior: Prior) -> str:
    if isinstance(prior, Choice):
        return ", ".join(map(typed, prior.values))
    return f"{prior.low:g} to {prior.high:g}{', on a log scale' if isinstance(prior, LogUniform) else ''}"


@dataclass(frozen=True, slots=True)
class Bundle:
    """Settings that change together, under a name that is no path.

    Attributes:
        name: of the dimension.
        options: label → changes by dotted path.
    """

    name: str
    options: Mapping[str, Mapping[str, Any]]

    def described(self, written: Callable[[str], str]) -> list[str]:
        """A line for its name, and one for each option with what it sets; see `Axis.described`."""
        lines = [f"{self.name}, one of:"]
        for label, changes in self.options.items():
            words = [f"{written(path)} {typed(value)}" for path, value in changes.items()]
            lines.append(f"  {label}: {' '.join(words) or 'as the base has it'}")
        return lines


def axes() -> list[Axis]:
    """Every axis of the whole configuration, those outside before those inside them."""
    return _walk(Config, "", ())[0]


def undecided() -> list[str]:
    """Settings of which nobody has said whether a search may try them; a test keeps this empty."""
    return _walk(Config, "", ())[1]


def not_searched() -> dict[str, str]:
    """Paths that no search varies, and `path=variant` → reason."""
    return _walk(Config, "", ())[2]


@dataclass(frozen=True, slots=True)
class Space:
    """What a study varies, over one base configuration.

    Attributes:
        base: everything that does not vary.
        axes: dimensions of the configuration; one that others depend on comes before them.
        bundles: dimensions of several settings each.
    """

    base: Config
    axes: tuple[Axis, ...]
    bundles: tuple[Bundle, ...] = ()

    def draw(self, suggest: Callable[[str, Prior], Any]) -> Point:
        """A point, which may be contradictory.

        Args:
            suggest: value for a name and its prior; is asked for active dimensions only.
        """
        tree = to_dict(self.base)
        point: Point = {bundle.name: suggest(bundle.name, Choice(tuple(bundle.options))) for bundle in self.bundles}
        for axis in self.axes:
            if all(point.get(path, _kind_at(tree, path)) == variant for path, variant in axis.only_if):
                point[axis.path] = suggest(axis.name, axis.prior)
        return point

    def is_active_in_base(self, axis: Axis) -> bool:
        """Whether the base has the variants that a dimension belongs to."""
        tree = to_dict(self.base)
        return all(_kind_at(tree, path) == variant for path, variant in axis.only_if)

    def config(self, point: Point) -> Config:
        """The configuration at a point.

        Raises:
            ConfigError: the point is contradictory, or a dimension does not exist.
        """
        return override(self.base, self.changes(point))

    def changes(self, point: Point) -> Point:
        """What a point changes of the base, by path. A variant that the base has already keeps the base's settings."""
        tree, bundles = to_dict(self.base), {bundle.name: bundle.options for bundle in self.bundles}
        changes: Point = {}
        for name, value in point.items():
            if name in bundles:
                changes |= bundles[name][value]
            elif (kind := _kind_at(tree, name)) is None or kind != value:
                changes[name] = value
        return changes


def space(base: Config, names: Iterable[str], bundles: Iterable[Bundle] = ()) -> Space:
    """A space of axes with the priors that stand beside the settings.

    Args:
        base: everything that does not vary.
        names: paths of axes, or `PATH.*` for all below a path.
        bundles: settings that change together.

    Raises:
        ConfigError: a name that is no axis; names the nearest, or the reason why it is not searched.
    """
    known, chosen = axes(), set()
    paths = list(dict.fromkeys(axis.path for axis in known))
    for name in names:
        found = {path for path in paths if path == name or (name.endswith(".*") and path.startswith(name[:-1]))}
        if not found:
            raise _no_axis(base, name, paths)
        chosen |= found
    wanted = [axis for axis in known if axis.path in chosen]
    # What belongs to a variant that the base has not, and that nothing chooses, is never active.
    variants = set(reachable(wanted, base))
    return Space(base, tuple(axis for axis in wanted if variants.issuperset(axis.only_if)), tuple(bundles))


def option_of_plugin(base: Config, path: str, prior: Prior) -> Axis | None:
    """The dimension of an option of a plug-in that the base has; None where the path is no such option.

    What a plug-in's options may be is the user's: no prior stands beside them, and a study gives its own.

    Args:
        base: everything that does not vary.
        path: dotted, such as `reward.options.target`.
        prior: what may be tried.
    """
    *above, leaf = path.split(".")
    node: Any = base
    variants = []
    for depth, name in enumerate(above):
        if not isinstance(node, Settings) or name not in type(node).model_fields:
            return None
        node = getattr(node, name)
        if isinstance(node, Settings) and "kind" in type(node).model_fields:
            variants.append((".".join(above[: depth + 1]), str(node.kind)))  # type: ignore[attr-defined]
    return Axis(path, prior, tuple(variants)) if leaf and isinstance(node, Mapping) else None


def reachable(dimensions: Iterable[Axis], base: Config) -> Iterator[tuple[str, str]]:
    """Axes and their variants, (path, name), that some dimensions choose or that the base has."""
    for axis in dimensions:
        if isinstance(axis.prior, Choice):
            yield from ((axis.path, value) for value in axis.prior.values)
    flat = flatten(to_dict(base))
    yield from ((axis_path(path), kind) for path, kind in flat.items() if axis_path(path) != path)


def _no_axis(base: Config, name: str, known: Sequence[str]) -> ConfigError:
    plain = name.removesuffix(".*")
    for path, reason in not_searched().items():
        if plain == path or plain.startswith(f"{path}."):
            return ConfigError(
                f"{name}: cannot be searched: {reason}.", code="dimension_not_searched", fields={"name": name}
            )
    if plain in all_paths(to_dict(base)):
        return ConfigError(
            f"{name}: is a group, not a dimension. Use {plain}.* for the dimensions below it.",
            code="dimension_is_group",
            fields={"name": name},
        )
    return ConfigError(
        f"{name}: no such dimension. Dimensions are {', '.join(known)}.{nearest(plain, known)}",
        code="unknown_dimension",
        fields={"name": name},
    )


def _kind_at(tree: Mapping[str, Any], path: str) -> Any:
    """The variant that stands at a path of a configuration; None where there is none."""
    node: Any = tree
    for name in path.split("."):
        node = node.get(name) if isinstance(node, Mapping) else None
    return node.get("kind") if isinstance(node, Mapping) else None


def _walk(
    owner: type[Settings], prefix: str, only_if: tuple[tuple[str, str], ...]
) -> tuple[list[Axis], list[str], dict[str, str]]:
    found: list[Axis] = []
    missing: list[str] = []
    left: dict[str, str] = {}
    for name, field in owner.model_fields.items():
        if name == "kind":
            continue
        path = prefix + name
        said = _said(field)
        if isinstance(said, NotSearched):
            left[path] = said.reason
        elif variants := variants_of(field):
            open_variants = {}
            for kind, variant in variants.items():
                if isinstance(reason := getattr(variant, "not_searched", None), NotSearched):
                    left[f"{path}={kind}"] = reason.reason
                else:
                    open_variants[kind] = variant
            if len(open_variants) > 1:
                found.append(Axis(path, Choice(tuple(open_variants)), only_if))
            for kind, variant in variants.items():
                below = _walk(variant, f"{path}.", (*only_if, (path, kind)))
                if kind not in open_variants:
                    # Nothing is undecided in it: what has no prior is not searched for the variant's reason.
                    below = (below[0], [], {})
                _merge(found, missing, left, below)
        elif classes := settings_classes(field):
            for inner in classes:
                _merge(found, missing, left, _walk(inner, f"{path}.", only_if))
        elif said is None:
            missing.append(path)
        else:
            found.append(Axis(path, said, only_if))
    return found, missing, left


def _merge(
    found: list[Axis],
    missing: list[str],
    left: dict[str, str],
    below: tuple[list[Axis], list[str], dict[str, str]],
) -> None:
    found += below[0]
    missing += below[1]
    left |= below[2]


def _said(field: FieldInfo) -> Prior | NotSearched | None:
    """What stands beside a setting."""
    return next((one for one in field.metadata if isinstance(one, Choice | Uniform | LogUniform | NotSearched)), None)
