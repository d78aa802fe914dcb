"""Configurations as dictionaries and as dotted paths: what files, flags, sweeps and checkpoints speak.

A path to an axis (`credit`) takes the name of a variant; paths below it (`credit.num_rollouts`) take values.
"""

from __future__ import annotations

import difflib
import functools
import json
import typing
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, to_jsonable_python

from rlgan.base.errors import ConfigError, RlganError, nearest
from rlgan.base.problems import ContradictionError
from rlgan.base.settings import (
    FollowsData,
    Settings,
    documented,
    elements_in,
    is_within,
    members_of,
    parts_of,
    settings_in,
)
from rlgan.extensions import Plugin, PluginKind, TakesPlugin, known, names_plugin, reading_a_folder, require_no_namesake

from .config import Config


class ConfigPathError(ConfigError):
    """A path that is not in the configuration.

    Args:
        path: as it was given.
        message: what is there instead.
    """

    def __init__(self, path: str, message: str, *, code: str = "setting_unknown") -> None:
        super().__init__(message, code=code, fields={"path": path})
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, str(self))


def to_dict(config: Settings) -> dict[str, Any]:
    """The configuration as JSON values."""
    dumped: dict[str, Any] = config.model_dump(mode="json")
    return dumped


def from_dict(values: Mapping[str, Any]) -> Config:
    """Build a configuration from what `to_dict` returned, or from a file.

    Raises:
        ConfigError: names each wrong field, its value, what is allowed, and the nearest valid name.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise refused(error) from None


def from_kept(values: Mapping[str, Any]) -> Config:
    """A configuration out of a folder, which may be a stranger's; nothing that it names is executed.

    Raises:
        ConfigError: see `from_dict`; or a plug-in in it has no digest.
    """
    with reading_a_folder():
        return from_dict(values)


def refused(error: ValidationError) -> ConfigError:
    """The error to raise in place of pydantic's: with the code of its first problem and the fields of all of them."""
    found = _problems(error)
    causes = [problem.get("ctx", {}).get("error") for problem in found]
    problem = next((cause.problem for cause in causes if isinstance(cause, ContradictionError)), None)
    if problem is not None:
        return ContradictionError(problem, described(error))
    code = ""
    fields: dict[str, Any] = {}
    for one, cause in zip(found, causes, strict=True):
        if isinstance(cause, RlganError):
            code, fields = code or cause.code, {**cause.fields, **fields}
        else:
            code = code or _CODES.get(str(one["type"]), "setting_value")
            fields[_path_of(one)] = one.get("input")
    return ConfigError(described(error), code=code, fields=fields)


def described(error: ValidationError) -> str:
    """What is wrong with a configuration, in sentences."""
    return " ".join(_explain(problem) for problem in _problems(error))


def _problems(error: ValidationError) -> list[ErrorDetails]:
    """The problems, without that of a list which is too short for want of an element that has one of its own."""
    problems = error.errors(include_url=False)
    places = [one["loc"] for one in problems]

    def is_own(one: ErrorDetails) -> bool:
        place = one["loc"]
        return one["type"] != "too_short" or not any(
            other[: len(place)] == place and other != place for other in places
        )

    return [one for one in problems if is_own(one)]


def typed(value: Any) -> str:
    """A value of a setting as it is typed behind its option."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(to_jsonable_python(value), ensure_ascii=False)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as dotted paths to scalars and lists, in order."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def override(config: Config, changes: Mapping[str, Any]) -> Config:
    """A configuration with some paths changed.

    A path to an axis takes the name of a variant and chooses it with its defaults; paths below it then set its
    fields, whatever the order in which they are given. Dashes and underscores in paths are the same.

    Args:
        config: to begin from.
        changes: dotted path → value; text is read as JSON where the field wants something else than text.

    Returns:
        The new configuration.

    Raises:
        ConfigError: an unknown path (the nearest one is named), or a value that the field does not allow.
    """
    after = from_dict(changed(config, changes))
    before = _plugins(config)
    for plugin in _plugins(after):
        if plugin not in before:  # its source may be known already, and its options are others
            plugin.check_object(plugin.load())
    return after


def _plugins(config: Config) -> list[Plugin]:
    return [part for part in parts_of(config) if isinstance(part, Plugin)]


def changed(config: Config, changes: Mapping[str, Any]) -> dict[str, Any]:
    """What `override` makes a configuration of, as JSON values and whether or not it can stand.

    Raises:
        ConfigError: an unknown path.
    """
    tree = to_dict(config)
    asked = merge({}, changes)
    chosen: list[tuple[str, dict[str, Any], type[TakesPlugin]]] = []
    pending = deque(sorted(asked.items(), key=lambda item: item[0].count(".")))
    while pending:
        path, value = pending.popleft()
        *parents, leaf = path.split(".")
        node: dict[str, Any] = tree
        owner: type[Settings] = Config
        steps = deque(enumerate(parents))
        options: dict[str, Any] | None = None
        while steps:
            depth, name = steps.popleft()
            field = owner.model_fields.get(name)
            if _is_free_mapping(field) and depth == len(parents) - 1:
                options = node[name] = dict(node.get(name) or {})
                break
            if (member := _element_class(field)) is not None and steps:
                node, owner = _element(node[name], steps.popleft()[1], path, member), member
                continue
            below = _settings_class(field, node.get(name))
            if below is None:
                raise _unknown_path(tree, owner, path, parents[: depth + 1])
            node, owner = node[name], below
        if options is not None:
            options[leaf] = plain(value)
            continue
        if leaf in owner.moved:
            now = ".".join([*parents, owner.moved[leaf]])
            if now in asked:
                raise ConfigError(
                    f"{path}={value!r}: is the old name of {now}, which is set, too. Remove one of them.",
                    code="renamed_setting_twice",
                    fields={path: value, "path": path},
                )
            pending.append((now, value))
            continue
        if leaf in owner.left_out:
            above = "".join(f"{parent}." for parent in parents)
            beside = {name: asked[above + name] for name in owner.model_fields if above + name in asked}
            raise ConfigPathError(
                path, f"{path}: {owner.why_left_out(leaf, {**node, **beside})}", code="setting_left_out"
            )
        if leaf not in owner.model_fields or leaf == "kind":
            raise _unknown_path(tree, owner, path, [*parents, leaf])
        node[leaf] = _variant_or_value(path, owner.model_fields[leaf], value)
        if isinstance(node[leaf], dict) and (variant := _taking(owner.model_fields[leaf], node[leaf])) is not None:
            chosen.append((path, node[leaf], variant))
        if leaf == "name" and issubclass(owner, Plugin) and ".".join([*parents, "digest"]) not in asked:
            node["digest"] = ""  # of what had the name before
    for path, values, variant in chosen:
        for name, value in variant.fitted(values, tree).items():
            if not any(is_within(one, f"{path}.{name}") for one in asked):
                values[name] = value
    return tree


def _taking(field: FieldInfo, values: Mapping[str, Any]) -> type[TakesPlugin] | None:
    """The variant of an axis that stands for plug-ins, where values are of it."""
    variant = variants_of(field).get(values.get("kind", ""))
    return variant if variant is not None and issubclass(variant, TakesPlugin) else None


def check_value(path: str, variants: Mapping[str, str], value: Any) -> None:
    """Whether a setting allows a value, whatever stands beside it.

    Args:
        path: of the setting or axis.
        variants: axis above it → variant that it belongs to.
        value: as it would be given to `override`.

    Raises:
        ConfigError: it does not; names what is allowed.
    """
    owner: type[Settings] = Config
    *parents, leaf = path.split(".")
    for depth, name in enumerate(parents):
        field = owner.model_fields[name]
        above = ".".join(parents[: depth + 1])
        owner = variants_of(field)[variants[above]] if above in variants else settings_classes(field)[0]
    field = owner.model_fields[leaf]
    if variants_of(field):
        _variant_or_value(path, field, value)
        return
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(Annotated[(field.annotation, *field.metadata)])  # type: ignore[arg-type]
        adapter.validate_python(_parsed(field, value))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        message = str(problem["msg"])
        text = f"{path}={value!r}: {message[:1].lower()}{message[1:]}."
        raise ConfigError(text, code="setting_value_not_allowed", fields={path: value}) from None


def merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Changes by path, where `upper` goes before `lower`: a variant that it chooses leaves nothing of another's fields.

    Args:
        lower: dotted path → value; `credit.kind` is the same as `credit`, and dashes are underscores.
        upper: likewise.

    Returns:
        Both, with paths spelled as in the configuration.
    """
    lower, upper = (
        {axis_path(path.replace("-", "_")): value for path, value in changes.items()} for changes in (lower, upper)
    )
    kept = {path: value for path, value in lower.items() if not any(path.startswith(f"{above}.") for above in upper)}
    return {**kept, **upper}


def axis_path(path: str) -> str:
    """The path of an axis where a path is of its `kind`, any other as it is; an option may have that name, too."""
    return path if f".{path}".endswith(".options.kind") else path.removesuffix(".kind")


def _variant_or_value(path: str, field: FieldInfo | None, value: Any) -> Any:
    value = _parsed(field, value)
    variants = variants_of(field)
    if not variants or value is None or isinstance(value, Mapping):
        return value
    _require_no_namesake(path, variants, value)
    if isinstance(value, list | tuple) and (several := _plugins_of(variants, value)) is not None:
        return several
    if (plugin := _plugin_of(variants, value)) is not None:
        return plugin
    if not isinstance(value, str) or value not in variants:
        registered = [name for kind in sorted(_plugin_kinds(variants)) for name in known(kind)]
        allowed = [*variants, *registered, *(["none"] if _is_optional(field) else [])]
        raise ConfigError(
            f"{path}={value!r}: choose one of {', '.join(allowed)}.{nearest(str(value), allowed)}",
            code="unknown_variant",
            fields={path: value, "path": path},
        )
    return _defaults(variants[value])


def _plugin_of(variants: Mapping[str, type[Settings]], value: Any) -> dict[str, Any] | None:
    """The variant of an axis that a plug-in's name chooses, as JSON values; None where it is no such name."""
    if not isinstance(value, str) or value in variants:
        return None
    for variant in variants.values():
        if issubclass(variant, TakesPlugin) and names_plugin(value, variant.plugin_kind):
            return _defaults(variant) | variant.of_plugin(value)
    return None


def _plugins_of(variants: Mapping[str, type[Settings]], names: Sequence[Any]) -> dict[str, Any] | None:
    """The variant of an axis that several names choose, as JSON values; None where there is no such variant."""
    if not all(isinstance(name, str) for name in names):
        return None
    for variant in variants.values():
        if issubclass(variant, TakesPlugin) and (found := variant.of_plugins(names)) is not None:
            return _defaults(variant) | found
    return None


def _require_no_namesake(path: str, variants: Mapping[str, type[Settings]], value: Any) -> None:
    """A plug-in under the name of what ships would be ignored.

    Raises:
        ConfigError: the value names both.
    """
    for kind in _plugin_kinds(variants) if isinstance(value, str) and value in variants else ():
        require_no_namesake(kind, value, path)


def _plugin_kinds(variants: Mapping[str, type[Settings]]) -> set[PluginKind]:
    return {variant.plugin_kind for variant in variants.values() if issubclass(variant, TakesPlugin)}


def _is_free_mapping(field: FieldInfo | None) -> bool:
    """Whether a field holds a mapping whose keys are the user's, such as the options of a plug-in."""
    return field is not None and typing.get_origin(field.annotation) in (Mapping, dict)


def _element_class(field: FieldInfo | None) -> type[Settings] | None:
    """Class of the settings that a field holds a tuple of."""
    if field is None or typing.get_origin(field.annotation) is not tuple:
        return None
    member = typing.get_args(field.annotation)[0]
    return member if isinstance(member, type) and issubclass(member, Settings) else None


def _element(values: list[Any], index: str, path: str, member: type[Settings]) -> dict[str, Any]:
    """One of a list of settings, as a dictionary of the list that may be changed."""
    if not index.isdecimal() or int(index) >= len(values):
        raise ConfigPathError(path, f"{path}: no such setting; the list has {len(values)} elements, counted from 0.")
    place = int(index)
    if isinstance(values[place], str):
        values[place] = _defaults(member) | {"name": values[place]}
    element: dict[str, Any] = values[place]
    return element


def plain(value: Any) -> Any:
    """Text from a command line as the plain value that it spells; text where it spells none."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def _defaults(variant: type[Settings]) -> dict[str, Any]:
    """A variant as JSON values, without the fields that have no default."""
    fields = {name: field for name, field in variant.model_fields.items() if not field.is_required()}
    return {name: to_jsonable_python(field.get_default(call_default_factory=True)) for name, field in fields.items()}


def _parsed(field: FieldInfo | None, value: Any) -> Any:
    """Text from a command line as the value that it spells."""
    if not isinstance(value, str):
        return value
    if value.lower() in ("none", "null") and _is_optional(field):
        return None
    if value.startswith(("[", "{")) and str not in ([] if field is None else members_of(field.annotation)):
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ConfigError(
                f"{value!r}: looks like JSON but is not valid ({error}).", code="not_json", fields={"name": value}
            ) from None
    if field is not None and typing.get_origin(field.annotation) is tuple:
        if value.lower() == "none":
            return []
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _is_optional(field: FieldInfo | None) -> bool:
    return field is not None and type(None) in members_of(field.annotation)


def variants_of(field: FieldInfo | None) -> dict[str, type[Settings]]:
    """Variants of an axis by the name of their kind; empty for an ordinary field."""
    variants = [one for one in settings_in(field) if "kind" in one.model_fields]
    return {str(one.model_fields["kind"].default): one for one in variants}


def variants_at(path: str) -> dict[str, type[Settings]]:
    """Variants of the axis at a path, whatever stands above it; empty where there is no axis.

    Args:
        path: dotted, as in `override`.
    """
    owners: list[type[Settings]] = [Config]
    *parents, leaf = path.split(".")
    for name in parents:
        fields = [owner.model_fields[name] for owner in owners if name in owner.model_fields]
        owners = [below for field in fields for below in (*settings_classes(field), *variants_of(field).values())]
    found: dict[str, type[Settings]] = {}
    for owner in owners:
        found |= variants_of(owner.model_fields.get(leaf))
    return found


def settings_classes(field: FieldInfo) -> list[type[Settings]]:
    """Classes of settings that a field may hold and that are no variants of an axis."""
    return [one for one in settings_in(field) if "kind" not in one.model_fields]


def _settings_class(field: FieldInfo | None, node: Any) -> type[Settings] | None:
    """The class of settings that a node of the tree stands for."""
    if field is None or not isinstance(node, Mapping):
        return None
    variants = variants_of(field)
    if variants:
        return variants.get(node.get("kind", ""))
    return next(iter(settings_classes(field)), None)


def all_paths(tree: Mapping[str, Any]) -> list[str]:
    """Every path that may be set, axes included."""
    paths: list[str] = []
    for key, value in tree.items():
        paths.append(key)
        if isinstance(value, Mapping):
            paths += [f"{key}.{below}" for below in all_paths(value)]
    return paths


def settable_paths(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Every path that takes a value: settings, and axes, which take the name of a variant; no groups of settings."""
    paths: list[str] = []
    of_plugin = prefix.endswith(".options.")
    for key, value in tree.items():
        is_axis = isinstance(value, Mapping) and "kind" in value and key != "options"
        if (key != "kind" or of_plugin) and (not isinstance(value, Mapping) or is_axis):
            paths.append(prefix + key)
        if isinstance(value, Mapping):
            paths += settable_paths(value, f"{prefix}{key}.")
    return paths


def _unknown_path(
    tree: Mapping[str, Any], owner: type[Settings], path: str, first_unknown: list[str]
) -> ConfigPathError:
    """The error of a path that leads nowhere; `owner` has the fields among which the last name should be."""
    *parents, name = first_unknown
    above = ".".join(parents)
    if name in owner.model_fields and name != "kind":
        full = ".".join(first_unknown)
        return ConfigPathError(path, f"{path}: no such setting; {full} currently has no settings below it.")
    siblings = [f"{above}.{field}" if above else field for field in owner.model_fields if field != "kind"]
    kind = owner.model_fields["kind"].default if "kind" in owner.model_fields else None
    having = [other for other, variant in variants_at(above).items() if name in variant.model_fields] if kind else []
    hint = _same_name_below(tree, owner, parents, name)
    if having and not hint:
        hint = f" It belongs to {above}={' or '.join(map(repr, having))}."
    elif any(
        parent.isdigit() for parent in parents
    ):  # of an element of a list, whose settings are named with its place
        hint = hint or _by_last_name(name, siblings)
    else:
        # What is offered can be set: a group of settings has no value of its own.
        known = settable_paths(tree)
        near = [other for other in siblings if other in known]
        hint = hint or nearest(".".join(first_unknown), near) or nearest(path, known)
        hint = hint or _by_last_name(path.rpartition(".")[2], known)
    if issubclass(owner, Plugin) and path == ".".join(first_unknown):
        hint += (
            f" The options of a plug-in are set under {above}.options. Set {path.removesuffix(name)}options.{name} "
            "instead, if the plug-in has it."
        )
    where = f"{above}={kind!r} has" if kind else f"under {above!r} there are" if above else "settings are"
    return ConfigPathError(path, f"{path}: no such setting; {where} {', '.join(siblings) or 'none'}.{hint}")


def _by_last_name(name: str, known: list[str]) -> str:
    """Sentence part that offers the path whose last name is near; '' where none is."""
    near = difflib.get_close_matches(name, [path.rpartition(".")[2] for path in known], n=1, cutoff=0.6)
    found = [path for path in known if near and path.rpartition(".")[2] == near[0]]
    return f" Did you mean {' or '.join(repr(path) for path in found[:3])}?" if found else ""


def _same_name_below(tree: Mapping[str, Any], owner: type[Settings], parents: list[str], name: str) -> str:
    """Sentence part that names the settings of that very name further down, or '' where there is none."""
    node: Any = tree
    for parent in parents:
        node = node[int(parent) if isinstance(node, list | tuple) else parent]
    prefix = "".join(f"{parent}." for parent in parents)
    found = list(_paths_to(owner, node, prefix, name))
    as_it_stands = [path for path, variant in found if variant is None]
    if as_it_stands:
        depth = min(path.count(".") for path in as_it_stands)
        return f" Did you mean {' or '.join(repr(path) for path in as_it_stands if path.count('.') == depth)}?"
    if found:
        path, variant = min(found, key=lambda one: one[0].count("."))
        return f" Did you mean {path!r}? It needs {variant}."
    return ""


def _paths_to(owner: type[Settings], node: Any, prefix: str, name: str) -> Iterator[tuple[str, str | None]]:
    """Paths to settings of a name below a class, each with the variant that is to be chosen for it, if it is not."""
    for above, field in owner.model_fields.items():
        value = node.get(above) if isinstance(node, Mapping) else None
        chosen = _settings_class(field, value)
        for below in [*settings_classes(field), *variants_of(field).values()]:
            kind = below.model_fields["kind"].default if "kind" in below.model_fields else None
            needed = None if below is chosen else f"{prefix}{above}={kind!r}"
            if name in below.model_fields and name != "kind":
                yield f"{prefix}{above}.{name}", needed
            for path, variant in _paths_to(below, value if below is chosen else None, f"{prefix}{above}.", name):
                yield path, needed or variant


FOLLOWS_DATA = "Default depends on your data in presets without published sizes, such as quick."
"""Stands behind the meaning of every size that does."""


def documentation(config: Config) -> Iterator[tuple[str, Any, str]]:
    """Every path of a configuration with its value and the line that documents it.

    Yields:
        path, value, documentation; an axis itself comes first, with its variants as documentation.
    """
    yield from _documented(Config, to_dict(config), "")


def _documented(owner: type[Settings], node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any, str]]:
    for name, field in owner.model_fields.items():
        value, text = node[name], documented(owner, name)
        if any(isinstance(fact, FollowsData) and f"{fact.of}." == prefix for fact in field.metadata):
            text += " " + FOLLOWS_DATA
        if name == "kind":
            continue
        below = _settings_class(field, value)
        if below is None:
            variants = variants_of(field)
            yield prefix + name, value, text + (f" One of {', '.join([*variants, 'none'])}." if variants else "")
            continue
        if variants := variants_of(field):
            choices = [*variants, *(["none"] if _is_optional(field) else [])]
            yield prefix + name, value["kind"], f"{text} One of {', '.join(choices)}."
        yield from _documented(below, value, f"{prefix}{name}.")


_CODES = {
    "missing": "setting_missing",
    "extra_forbidden": "setting_not_known",
    "union_tag_invalid": "setting_variant",
    "union_tag_not_found": "setting_variant",
}
"""Codes of pydantic's types of errors; all others are `setting_value`."""


def _path_of(problem: Mapping[str, Any]) -> str:
    """Dotted path of the setting that one of pydantic's complaints is about."""
    location, kinds = [str(part) for part in problem["loc"]], _kinds()
    kept: list[str] = []
    owners: list[type[Settings]] = [Config]
    for index, part in enumerate(location):
        fields = [one.model_fields[part] for one in owners if part in one.model_fields]
        # A field may have the name of a kind: `reward`, `optimizers.generator`.
        if index == 0 or fields or part not in kinds:
            kept.append(part)
        else:
            fields, owners = [], [one for one in owners if _kind_of(one) == part]
            continue
        owners = (
            [below for field in fields for below in (*settings_in(field), *elements_in(field))] if fields else owners
        )
    return ".".join(kept)


def _kind_of(owner: type[Settings]) -> str | None:
    field = owner.model_fields.get("kind")
    return None if field is None else str(field.default)


def _explain(problem: Mapping[str, Any]) -> str:
    """One of pydantic's complaints as: field, value, what is allowed, what to do."""
    path = _path_of(problem)
    value, message = problem.get("input"), str(problem["msg"])
    if problem["type"] == "value_error":
        text = message.removeprefix("Value error, ")
        return text if not path or text.startswith(path) else f"{path}: {text}"
    if problem["type"] == "missing":
        return f"{path}: is not set, and has no default. Set {path}."
    if problem["type"] == "extra_forbidden":
        return f"{path}={value!r}: no such setting.{nearest(_path_of(problem).rpartition('.')[2], _all_field_names())}"
    if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
        expected = str(problem.get("ctx", {}).get("expected_tags", ""))
        return f"{path}: choose one of {expected}."
    return f"{path}={value!r}: {message[:1].lower()}{message[1:]}."


@functools.cache
def _walk_classes(owner: type[Settings]) -> tuple[type[Settings], ...]:
    """A class of settings and all that may stand below it; a class several times where several fields may hold it."""
    below = (settings_in(field) for field in owner.model_fields.values())
    return (owner, *(one for members in below for member in members for one in _walk_classes(member)))


def _kinds() -> set[str]:
    return {str(c.model_fields["kind"].default) for c in _walk_classes(Config) if "kind" in c.model_fields}


def _all_field_names() -> set[str]:
    return {name for owner in _walk_classes(Config) for name in owner.model_fields}
