"""The base of every settings class, and what is said of a field beside it.

    data: Annotated[str, IsFile("data")] = Field(min_length=1)

Settings are frozen, strict about names and documented by the line under each field. A settings class lives beside the
code that it sets; `rlgan.config.config` only composes them. A variant on an axis
has a literal `kind` field, and the axis is a union discriminated by it.

A *fact* about a field (it names a file, a resumed run may change it) is an annotation of that field, and nowhere else.
`facts_of` reads facts off a configuration, `facts_below` off the classes that one may hold. A fact of a group of
settings holds for all below it. A free mapping (`dict[str, Any]`, the options of a plug-in) is one value to both: its
keys belong to the plug-in, and no fact is said of them one by one.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from .declarations import Fields
from .problems import Problem

_TRUTH = PydanticCustomError("bool_as_number", "expected a number, not true or false")


class Settings(BaseModel):
    """Frozen, validated settings; unknown names and wrong types are errors that name the field."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
    )

    moved: ClassVar[Mapping[str, str]] = {}
    """Names of settings in older versions → their path below this class; both are read."""
    left_out: ClassVar[Mapping[str, str]] = {}
    """Names of settings that users may look for here and that there are none of → why, and what to do."""

    @classmethod
    def why_left_out(cls, name: str, values: Mapping[str, Any]) -> str:
        """The sentence of `left_out`, where more is known of the settings beside it.

        Args:
            name: one of `left_out`.
            values: name → value of settings of this class, as they were given.
        """
        return cls.left_out[name]

    @model_validator(mode="before")
    @classmethod
    def _truth_is_no_number(cls, values: Any) -> Any:
        """Python takes True for 1, and a slip of the pen would train with it."""
        wrong = [
            InitErrorDetails(type=_TRUTH, loc=(name,), input=value)
            for name, value in (values.items() if isinstance(values, Mapping) else ())
            if _has_truth(value) and name in cls.model_fields and _wants_numbers(cls.model_fields[name])
        ]
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return values

    def check(self, fields: Fields) -> Iterator[Problem]:
        """What of these settings contradicts the rest of a configuration; a variant has its own rules here.

        Args:
            fields: all of it, each part valid by itself.
        """
        yield from ()


def documented(owner: type[BaseModel], name: str) -> str:
    """The text under a field of a settings class, in one line; "" where there is none or no source to read.

    It is read when it is asked for. Pydantic can read it as each class is made (`use_attribute_docstrings`), but then
    every process that trains parses the source of all settings before it begins.

    Args:
        owner: the settings class.
        name: a field of it, or of one that it inherits from.
    """
    if text := owner.model_fields[name].description:
        return " ".join(text.split())
    for made_by in owner.__mro__:
        if name in vars(made_by).get("__annotations__", ()):
            return _under_fields(made_by).get(name, "")
    return ""


@functools.cache
def _under_fields(owner: type) -> dict[str, str]:
    """Annotated name → the string that stands under it in the source of a class, in one line."""
    try:
        source = inspect.getsource(owner)
    except (OSError, TypeError):  # typed into an interpreter that keeps no source
        return {}
    # A class within a function is indented; its texts may have lines that are not, so nothing can be taken away.
    (tree,) = ast.parse(f"if True:\n{source}" if source[0].isspace() else source).body
    if isinstance(tree, ast.If):
        (tree,) = tree.body
    assert isinstance(tree, ast.ClassDef)
    return {
        above.target.id: " ".join(below.value.value.split())
        for above, below in itertools.pairwise(tree.body)
        if isinstance(above, ast.AnnAssign) and isinstance(above.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
    }


@dataclass(frozen=True, slots=True)
class IsFile:
    """The field names a file. Where the file lies may change; what is in it is part of the data of a run.

    Attributes:
        option: short option of the command line that names it, with underscores; '' where only its path does.
    """

    option: str = ""


@dataclass(frozen=True, slots=True)
class NeverMovesNumbers:
    """No number of the run itself depends on it: a label, a place, what is computed after the run."""


@dataclass(frozen=True, slots=True)
class FreeOnResume:
    """A run or sweep that is resumed may have another value."""


@dataclass(frozen=True, slots=True)
class OfTheStart:
    """Decides where the adversarial phase begins: trials of a sweep that agree in all these share one pretraining."""


@dataclass(frozen=True, slots=True)
class FollowsData:
    """A size that follows data of your own, unless it is set, where the preset's is no paper's (`presets.sizes`).

    Attributes:
        of: path of the settings of which it does: a network may stand elsewhere, too, where nothing chooses for it.
    """

    of: str


@dataclass(frozen=True, slots=True)
class ReadIf:
    """Read only where the condition holds; a user who sets it elsewhere is refused.

    Attributes:
        condition: name of a condition in `rlgan.presets.effects`, which also has the reason that a user reads.
    """

    condition: str


F = TypeVar("F")
S = TypeVar("S", bound=Settings)


def facts_of(settings: Settings, fact: type[F], prefix: str = "") -> Iterator[tuple[str, F, Any]]:
    """Where a configuration says a fact.

    Args:
        settings: a configuration or a part of one.
        fact: which.
        prefix: of the paths, with its dot.

    Yields:
        Dotted path, the annotation, and the value there; a group of settings once, and not the fields below it. Of
        a list of settings each element has its number in the path, counted from 0.
    """
    for name, field in type(settings).model_fields.items():
        value, said = getattr(settings, name), _said(field, fact)
        if said is not None:
            yield prefix + name, said, value
        elif isinstance(value, Settings):
            yield from facts_of(value, fact, f"{prefix}{name}.")
        elif isinstance(value, tuple):
            for index, part in enumerate(value):
                if isinstance(part, Settings):
                    yield from facts_of(part, fact, f"{prefix}{name}.{index}.")


def following(settings: Settings) -> dict[str, Any]:
    """Sizes of a configuration that may follow the data: dotted path → value."""
    return {path: value for path, fact, value in facts_of(settings, FollowsData) if path.rpartition(".")[0] == fact.of}


def parts_of(settings: Settings) -> Iterator[Settings]:
    """All groups of settings and chosen variants below one, outside first, in the order of the fields."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Settings):
                yield part
                yield from parts_of(part)


def facts_below(owner: type[Settings], fact: type[F], prefix: str = "") -> Iterator[tuple[str, F]]:
    """Where a fact may be said, whatever variants are chosen.

    Args:
        owner: class of a configuration or of a part of one.
        fact: which.
        prefix: of the paths, with its dot.

    Yields:
        Dotted path and the annotation; a path of several variants comes once for each that says the fact. All
        elements of a list of settings have the path of one, with `*` for their numbers.
    """
    for name, field in owner.model_fields.items():
        said = _said(field, fact)
        if said is not None:
            yield prefix + name, said
            continue
        for member in settings_in(field):
            yield from facts_below(member, fact, f"{prefix}{name}.")
        for member in elements_in(field):
            yield from facts_below(member, fact, f"{prefix}{name}.*.")


def replaced(settings: S, values: Mapping[str, Any]) -> S:
    """Settings with some fields exchanged, by dotted path; nothing is validated.

    Args:
        settings: to begin from.
        values: dotted path → value, as `facts_of` yields them.
    """
    here: dict[str, Any] = {}
    below: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        name, _, rest = path.partition(".")
        if rest:
            below.setdefault(name, {})[rest] = value
        else:
            here[name] = value
    here |= {name: _replaced_in(getattr(settings, name), inner) for name, inner in below.items()}
    return settings.model_copy(update=here)


def _replaced_in(part: Any, values: Mapping[str, Any]) -> Any:
    """The same of a group of settings, or of a list of them."""
    if not isinstance(part, tuple):
        return replaced(part, values)
    of_each: list[dict[str, Any]] = [{} for _ in part]
    for path, value in values.items():
        index, _, rest = path.partition(".")
        of_each[int(index)][rest] = value
    return tuple(replaced(one, own) if own else one for one, own in zip(part, of_each, strict=True))


def is_within(path: str, whole: str) -> bool:
    """Whether a dotted path is another, or lies below it."""
    return path == whole or path.startswith(f"{whole}.")


def settings_in(field: FieldInfo | None) -> list[type[Settings]]:
    """Classes of settings that a field may hold: groups, and the variants of an axis."""
    members = () if field is None else members_of(field.annotation)
    return [one for one in members if isinstance(one, type) and issubclass(one, Settings)]


def elements_in(field: FieldInfo) -> list[type[Settings]]:
    """Classes of settings that a field may hold a tuple of."""
    tuples = [one for one in members_of(field.annotation) if typing.get_origin(one) is tuple]
    members = [member for one in tuples for part in typing.get_args(one) for member in members_of(part)]
    return [one for one in dict.fromkeys(members) if isinstance(one, type) and issubclass(one, Settings)]


def members_of(annotation: Any) -> tuple[Any, ...]:
    """What a type allows: the members of a union, seen through `Annotated`; any other type is its own."""
    if typing.get_origin(annotation) is typing.Annotated:
        return members_of(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(member for part in typing.get_args(annotation) for member in members_of(part))
    return (annotation,)


def _has_truth(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, list | tuple) and any(map(_has_truth, value)))


def _wants_numbers(field: FieldInfo) -> bool:
    """Whether a field holds numbers, or lists of them, and no truth values."""
    types_there = set(_elements_of(field.annotation))
    return bool(types_there & {int, float}) and not types_there & {bool, Any}


def _elements_of(annotation: Any) -> Iterator[Any]:
    """What a type allows, and what its lists and tuples may hold."""
    for member in members_of(annotation):
        yield member
        if typing.get_origin(member) in (tuple, list):
            for part in typing.get_args(member):
                yield from _elements_of(part)


def _said(field: FieldInfo, fact: type[F]) -> F | None:
    return next((one for one in field.metadata if isinstance(one, fact)), None)
