"""Calling code of the user's own: options and signatures checked before, time and results while it runs."""

from __future__ import annotations

import ast
import inspect
import json
import math
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import partial
from types import UnionType
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin

import numpy as np
import torch

from rlgan.base.errors import ConfigError, PluginError, RlganError, nearest
from rlgan.base.threads import torch_threads

from .loading import Loaded
from .settings import Plugin
from .sources import memory
from .tracebacks import lines_of, own_lines


class RaisedError(Exception):
    """Code of the user's own raised.

    Attributes:
        error: what it raised.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


def call_in_time(call: Callable[[], Any], timeout_s: float, late: Callable[[], str]) -> Any:
    """Call code of the user's own, which may never return: it is then left behind, and keeps no process alive.

    Args:
        call: the code, with its arguments; it runs in a thread of its own, without gradients, and with as many threads
            of torch as the caller has.
        timeout_s: seconds that it may take.
        late: what to say when they are over.

    Returns:
        What the code returned.

    Raises:
        RaisedError: the code raised.
        PluginError: it did not return in time.
    """
    num_threads = torch.get_num_threads()
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            # A new thread has torch's defaults, and the number of threads decides how sums are rounded.
            with torch_threads(num_threads), torch.no_grad():
                outcome["returned"] = call()
        except BaseException as error:  # `sys.exit()` of a plug-in is an error of it, too
            outcome["raised"] = error

    thread = threading.Thread(target=run, name="rlgan plug-in", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if "raised" in outcome:
        raise RaisedError(outcome["raised"])
    if "returned" not in outcome:
        frame = sys._current_frames().get(thread.ident or 0)
        raise PluginError(f"{late()}{lines_of(frame, __file__)}", code="plugin_too_slow")
    return outcome["returned"]


def refusal(who: str, error: BaseException, kind: type[RlganError] = PluginError) -> RlganError | None:
    """What code of the user's own refuses with an error of rlgan, as its own words; None of any other error.

    Such an error says what is wrong and what to do, so there is nothing to fix in the code that raised it.

    Args:
        who: whose code it is.
        error: that it raised.
        kind: of error that it becomes: of settings where something is built of them.
    """
    if not isinstance(error, RlganError):
        return None
    return kind(f"{who}: {error}", code=error.code, fields=error.fields)


def brief(value: Any, most: int = 200) -> str:
    """A value that a plug-in returned, as errors show it: with its type, and cut to `most` characters."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    text = repr(value)
    return f"{text if len(text) <= most else f'{text[:most]}...'} ({type(value).__name__})"


def as_number(value: Any) -> float | None:
    """A finite number of any library as a float; None for whatever is none."""
    plain = value.item() if isinstance(value, torch.Tensor | np.ndarray) and value.ndim == 0 else value
    is_number = isinstance(plain, int | float | np.integer | np.floating)
    return float(plain) if is_number and math.isfinite(plain) else None


def signature_of(plugin: Plugin, target: Any, forms: str) -> inspect.Signature:
    """Signature of what is called: of a class that of its instances, without `self`.

    Args:
        plugin: whose object it is; its options are those of the class, where it is one.
        target: the object.
        forms: what is asked for, as a sentence part.

    Raises:
        ConfigError: it cannot be called, or its class does not take the options.
    """
    who = f"{plugin.plugin_kind} plug-in {plugin.name!r}"
    if not callable(target):
        raise ConfigError(
            f"{who}: is {type(target).__name__}, which is not callable. Name a function, or a class with __call__: "
            f"{forms}.",
            code="plugin_not_callable",
            fields={"plugin": who},
        )
    if isinstance(target, torch.nn.Module):
        return inspect.signature(target.forward)

    def read(one: Any) -> inspect.Signature:
        try:
            return inspect.signature(one)
        except (TypeError, ValueError):  # of C
            raise ConfigError(
                f"{who}: its parameters cannot be read. Wrap it in a Python function: {forms}.",
                code="plugin_no_signature",
                fields={"plugin": who},
            ) from None

    if not inspect.isclass(target):
        return read(target)
    check_options(plugin, read(target), ())
    if not any("__call__" in vars(one) for one in target.__mro__):
        raise ConfigError(
            f"{who}: its instances are not callable. Add a method __call__: {forms}.",
            code="plugin_no_call",
            fields={"plugin": who},
        )
    call: Any = target.forward if issubclass(target, torch.nn.Module) else target.__call__
    signature = read(call)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def bound(plugin: Plugin, loaded: Loaded) -> Callable[..., Any]:
    """The function of a plug-in with its options: a class is built with them, once a process; a function called so.

    Raises:
        ConfigError: the class refuses to be built, with an error of rlgan.
        PluginError: building the class raises anything else.
    """
    if not inspect.isclass(loaded.object):
        return partial(loaded.object, **plugin.options)
    key = loaded.digest, plugin.name, json.dumps(dict(plugin.options), sort_keys=True)
    if key in memory.built:
        return partial(memory.built[key])
    who = f"{plugin.plugin_kind} plug-in {plugin.name!r}"
    try:
        built: Any = loaded.object(**plugin.options)
    except Exception as error:  # a user's own code may raise anything
        raise refusal(who, error, ConfigError) or PluginError(
            f"{who}: building it raised {type(error).__name__}: {error}. "
            f"Fix it, or set its options.{own_lines(error, loaded.path)}",
            code="plugin_build_raised",
            fields={"plugin": plugin.name},
        ) from error
    memory.built[key] = built
    return partial(built)


def check_options(plugin: Plugin, signature: inspect.Signature, given: Iterable[str]) -> None:
    """Check a plug-in's options against what takes them.

    Args:
        plugin: whose options they are.
        signature: of its function, or of its class.
        given: names of the parameters that are handed over besides.

    Raises:
        ConfigError: an option that there is no parameter for, one whose value is not of the parameter's type, or a
            parameter that nothing is handed to.
    """
    parameters = signature.parameters
    taken = {name for name, one in parameters.items() if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    given = set(given)
    takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    who = f"{plugin.plugin_kind} plug-in {plugin.name!r}"
    for name in plugin.options:
        if name in given:
            raise ConfigError(
                f"{who}: options.{name}: is provided by rlgan. Rename the option.",
                code="plugin_option_reserved",
                fields={"plugin": who},
            )
        if name not in taken and not takes_all:
            free = sorted(taken - given)
            raise ConfigError(
                f"{who}: options.{name}: there is no such parameter; parameters are "
                f"{', '.join(free) or 'none'}.{nearest(name, free)}",
                code="plugin_option_unknown",
                fields={"plugin": who},
            )
        if name in taken:
            _require_type(who, parameters[name], plugin.options[name])
    for name, one in parameters.items():
        is_needed = one.default is one.empty and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
        if is_needed and name not in given and name not in plugin.options:
            raise ConfigError(
                f"{who}: the parameter {name!r} has no default. Set options.{name}.",
                code="plugin_option_missing",
                fields={"plugin": who},
            )


_PLAIN: Mapping[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "null",
}
"""Types of options that are checked, and what their values are called."""
_PLAIN_NAMES = {"bool": bool, "int": int, "float": float, "str": str}


def _require_type(who: str, parameter: inspect.Parameter, value: object) -> None:
    """See to it that an option has the type that its parameter is annotated with, where that is a plain one.

    Raises:
        ConfigError: it has another one.
    """
    allowed = _types_of(parameter.annotation)
    # A default may be of another type than the annotation says: None is a frequent one.
    if allowed is None or value == parameter.default or any(_is_of(value, one) for one in allowed):
        return
    literals = [one for one in allowed if not isinstance(one, type)]
    names = [_PLAIN[one] for one in allowed if isinstance(one, type)]
    names += [f"one of {', '.join(map(str, literals))}"] if literals else []
    quoted = f" Put it in quotes twice: '\"{json.dumps(value)}\"'." if str in allowed else ""
    raise ConfigError(
        f"{who}: options.{parameter.name}={value!r}: must be {' or '.join(names)}.{quoted}",
        code="plugin_option_type",
        fields={"plugin": who, parameter.name: value},
    )


def _types_of(annotation: Any) -> tuple[Any, ...] | None:
    """Types and values that a parameter takes; None where its annotation is of anything that is not checked."""
    if isinstance(annotation, str | ForwardRef):
        return _types_written(annotation if isinstance(annotation, str) else annotation.__forward_arg__)
    if annotation is None or annotation in _PLAIN:
        return (type(None) if annotation is None else annotation,)
    origin = get_origin(annotation)
    if origin is Literal:  # members of an enumeration cannot be written into a configuration
        return None if any(isinstance(one, Enum | bytes) for one in get_args(annotation)) else get_args(annotation)
    if origin in (Union, UnionType):
        return _all_of(map(_types_of, get_args(annotation)))
    return None


def _types_written(text: str) -> tuple[Any, ...] | None:
    """The same of an annotation that is text, as all are behind `from __future__ import annotations`.

    It is read and not evaluated: its names are those of a module that is not at hand, or that a type checker alone
    knows.
    """
    try:
        return _types_of_node(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError:  # a remark in the place of a type
        return None


def _types_of_node(node: ast.expr) -> tuple[Any, ...] | None:
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return _types_written(node.value)
        return (type(None),) if node.value is None else None
    if isinstance(node, ast.Name):
        return (_PLAIN_NAMES[node.id],) if node.id in _PLAIN_NAMES else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _all_of(map(_types_of_node, (node.left, node.right)))
    if not isinstance(node, ast.Subscript):
        return None
    head = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if head == "Literal":
        return _all_of(map(_literal, parts))
    if head in ("Optional", "Union"):
        found = _all_of(map(_types_of_node, parts))
        return found if found is None or head == "Union" else (*found, type(None))
    return None


def _literal(node: ast.expr) -> tuple[Any, ...] | None:
    """What stands in a `Literal`; None of a member of an enumeration, which has a name alone."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        return (-node.operand.value,) if isinstance(node.operand.value, int) else None
    return (node.value,) if isinstance(node, ast.Constant) and not isinstance(node.value, bytes) else None


def _all_of(parts: Iterable[tuple[Any, ...] | None]) -> tuple[Any, ...] | None:
    """Types of all parts together; None where one is of anything that is not checked."""
    found: list[Any] = []
    for part in parts:
        if part is None:
            return None
        found += part
    return tuple(found)


def _is_of(value: object, one: Any) -> bool:
    if not isinstance(one, type):
        return type(value) is type(one) and value == one
    if one is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, one) and (one is not int or not isinstance(value, bool))
