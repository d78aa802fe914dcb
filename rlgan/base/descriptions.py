"""What an object of Python is, as text that is the same in every process: its source, and what it remembers.

Two functions of one factory have one source, and another closure; two instances of a class have other attributes. What
`described` returns tells them apart. Values are taken apart as pickle would, for whatever travels to workers can be
pickled; the bytes of a pickle themselves depend on the version of Python and on what shares memory.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch

_MADE_BY_PYTHON = frozenset(
    {*vars(type("_Plain", (), {})), "__slots__", "__annotations__", "__qualname__", "__parameters__", "__orig_bases__"}
    | {"__abstractmethods__", "_abc_impl", "__dataclass_params__", "__dataclass_fields__", "__match_args__"}
    | {"__static_attributes__", "__firstlineno__", "__signature__", "__class_vars__"}
)
_CACHED = type(functools.lru_cache(lambda: None))


class UndescribableError(Exception):
    """An object holds what cannot be told from another of its kind.

    Attributes:
        where: attributes and indices that lead to it.
        what: its type.
    """

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where, self.what = where, what


def source_text(target: Any) -> str | None:
    """Source of a function or class; None of what has none."""
    try:
        return inspect.getsource(target)
    except (OSError, TypeError):  # of C, or typed into an interpreter that keeps no source
        return None


def remembered(target: Any) -> str:
    """What a function, class or instance holds besides its source: closure, defaults, attributes.

    Args:
        target: a function, class or instance.

    Returns:
        Text; "" where it holds nothing.

    Raises:
        UndescribableError: it holds something that has no values to compare, such as a lock or an open file.
    """
    return _Describing(_home(target)).held_by(target)


class _Describing:
    """One object being described.

    Args:
        home: top module that it is of: what is of the same, or of none that can be imported, is described by its
            source; all else by its name, and so is what ships.
    """

    def __init__(self, home: str) -> None:
        self._home = home
        self._open: dict[int, int] = {}  # objects that are being described, by their depth: cycles end here
        self._alive: list[Any] = []  # so that no id is used twice

    def held_by(self, target: Any) -> str:
        """See `remembered`."""
        if isinstance(target, types.FunctionType):
            return self._of_function(target, "")
        if inspect.isclass(target):
            return self._of_class(target, "")
        if inspect.isbuiltin(target) and isinstance(target.__self__, types.ModuleType | None):
            return ""
        text = self.of(target, "")
        # An instance that holds nothing is its class.
        return self.held_by(type(target)) if text == self._of_blank(target) else text

    def _of_blank(self, target: Any) -> str | None:
        """An instance of the same class that holds nothing; None where none can be made, or described."""
        try:
            return self.of(object.__new__(type(target)), "")
        except (TypeError, UndescribableError):
            return None

    def of(self, value: Any, where: str) -> str:
        """A value."""
        if value is None or isinstance(value, bool | int | float | complex | str | bytes) and _is_plain(value):
            return repr(value)
        if value is Ellipsis or value is NotImplemented or isinstance(value, torch.dtype | torch.device | range):
            return repr(value)
        if id(value) in self._open:
            return f"<above {self._open[id(value)]}>"
        self._open[id(value)] = len(self._open)
        self._alive.append(value)
        try:
            return self._taken_apart(value, where)
        finally:
            del self._open[id(value)]

    def _taken_apart(self, value: Any, where: str) -> str:
        if isinstance(value, torch.Tensor):
            kept = value.detach().cpu().contiguous()
            return _of_bytes(f"tensor {kept.dtype} {tuple(kept.shape)}", kept.view(-1).view(torch.uint8).numpy())
        if isinstance(value, np.ndarray) and value.dtype != object:
            return _of_bytes(f"array {value.dtype} {value.shape}", np.ascontiguousarray(value))
        if type(value) in (list, tuple):
            return f"{type(value).__name__}({self._each(value, where)})"
        if type(value) in (set, frozenset):
            return f"{type(value).__name__}({sorted(self.of(one, f'{where}{{}}') for one in value)})"
        if type(value) in (dict, types.MappingProxyType):
            return f"dict({self._items(value, where)})"
        if isinstance(value, types.ModuleType):
            return f"module {value.__name__}"
        if isinstance(value, types.FunctionType):
            return self._named_or(value, lambda: self._of_function(value, where))
        if inspect.isclass(value):
            return self._named_or(value, lambda: self._of_class(value, where))
        if isinstance(value, types.MethodType):
            return f"method({self.of(value.__func__, where)} {self.of(value.__self__, f'{where}.__self__')})"
        if isinstance(value, functools.partial):
            parts = (value.func, value.args, value.keywords)
            return f"partial({self._each(parts, where)})"
        if isinstance(value, _CACHED):
            return f"cached({self.of(value.__wrapped__, where)} {value.cache_parameters()})"
        if isinstance(value, staticmethod | classmethod):
            return f"{type(value).__name__}({self.of(value.__func__, where)})"
        if isinstance(value, property):
            return f"property({self._each((value.fget, value.fset, value.fdel), where)})"
        return self._as_pickled(value, where)

    def _as_pickled(self, value: Any, where: str) -> str:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        try:
            reduced = value.__reduce_ex__(4)
        except Exception:  # locks, files, sockets, generators; or a class that refuses
            raise UndescribableError(where, kind) from None
        if isinstance(reduced, str):
            return f"{kind} {reduced}"
        make, arguments, state, items, pairs = (*reduced, *(None,) * 5)[:5]
        parts = [self.of(make, where), *(self.of(one, where) for one in arguments)]
        if state is not None:
            # As pickle has it: attributes, or those and slots.
            for part in state if isinstance(state, tuple) and len(state) == 2 else (state,):
                parts.append(self._attributes(part, where) if type(part) is dict else self.of(part, where))
        if items is not None:
            parts.append(self._each(items, where))
        if pairs is not None:
            parts.append(self._items(dict(pairs), where))
        return f"{kind}({' '.join(parts)})"

    def _each(self, values: Iterable[Any], where: str) -> str:
        return ", ".join(self.of(one, f"{where}[{index}]") for index, one in enumerate(values))

    def _items(self, values: Mapping[Any, Any], where: str) -> str:
        pairs = ((self.of(key, where), self.of(value, f"{where}[{key!r}]")) for key, value in values.items())
        return ", ".join(f"{key}: {value}" for key, value in sorted(pairs))

    def _attributes(self, values: Mapping[str, Any], where: str) -> str:
        return ", ".join(f"{name}={self.of(values[name], f'{where}.{name}')}" for name in sorted(values))

    def _named_or(self, value: Any, held: Callable[[], str]) -> str:
        """A function or class that is held: by its name where an import finds it elsewhere, else by its source."""
        name = f"{value.__module__}.{value.__qualname__}"
        return f"{name} {source_text(value)!r} {held()}" if self._is_near(value) else name

    def _is_near(self, value: Any) -> bool:
        ships = _home(value) in ("rlgan", "torch", "numpy", "builtins")  # sources change from version to version
        return not ships and (_home(value) in (self._home, "__main__") or "<" in value.__qualname__)

    def _of_function(self, function: types.FunctionType, where: str) -> str:
        parts = []
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for name, cell in cells:
            try:
                content = cell.cell_contents
            except ValueError:  # not yet filled
                continue
            parts.append(f"closure {name}={self.of(content, f'{where}<{name}>')}")
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        defaults = function.__defaults__ or ()
        of_defaults = {**dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))}
        of_defaults |= function.__kwdefaults__ or {}
        if of_defaults:
            parts.append(f"defaults {self._attributes(of_defaults, where)}")
        if held := {name: one for name, one in vars(function).items() if name != "__wrapped__"}:
            parts.append(f"attributes {self._attributes(held, where)}")
        if (wrapped := vars(function).get("__wrapped__")) is not None:
            parts.append(f"wraps {self.of(wrapped, where)}")
        if function.__name__ == "<lambda>" or source_text(function) is None:
            parts.append(f"code {_of_code(function.__code__)}")  # two lambdas may stand in one line
        return "; ".join(parts)

    def _of_class(self, owner: type, where: str) -> str:
        held = {name: one for name, one in vars(owner).items() if not _is_made(name)}
        slots = (types.MemberDescriptorType, types.GetSetDescriptorType)
        parts = []
        for name in sorted(held):
            if isinstance(held[name], slots):
                continue
            value = held[name]
            # Its source is in that of the class.
            of_value = self._of_function if isinstance(value, types.FunctionType) else self.of
            if text := of_value(value, f"{where}.{name}"):
                parts.append(f"{name}={text}")
        parts += [f"base {self.of(base, where)}" for base in owner.__bases__ if self._is_near(base)]
        return "; ".join(parts)


def _home(value: Any) -> str:
    """The top module that something is of; of a partial application, that of its function."""
    value = value.func if isinstance(value, functools.partial) else value
    described = value if inspect.isroutine(value) or inspect.isclass(value) else type(value)
    return (getattr(described, "__module__", None) or "").partition(".")[0]


def _is_made(name: str) -> bool:
    """Whether an attribute of a class was made from the others, by Python or by pydantic.

    What pydantic makes of a class's fields has addresses in it, which are other ones in each process.
    """
    return name in _MADE_BY_PYTHON or (name.startswith("__pydantic_") and name != "__pydantic_fields__")


def _is_plain(value: Any) -> bool:
    return type(value) in (bool, int, float, complex, str, bytes)


def _of_bytes(what: str, values: np.ndarray[Any, Any]) -> str:
    return f"{what} {hashlib.sha256(values.tobytes()).hexdigest()}"


def _of_code(code: types.CodeType) -> str:
    constants = [_of_code(one) if isinstance(one, types.CodeType) else repr(one) for one in code.co_consts]
    return f"{code.co_code.hex()} {constants} {code.co_names}"
