"""The published SeqGAN oracle: a Python 2 pickle of a list of arrays, read without giving the file a say in what runs.

A pickle is a small program. Unpickling runs it, and it may import and call whatever is installed. Here it is run by a
reader that knows few instructions and four names, and what it builds under these names are notes of ours about an array
(its shape, its type, its bytes), never an object of numpy's. All other instructions and names end the reading, before
anything was called. The notes are checked, and only then made into arrays.

Source of the order of the arrays: `target_lstm.py` of the repository of Yu et al. 2017 (github.com/LantaoYu/SeqGAN).
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import reprlib
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np

from rlgan.base.errors import DataError

from .oracle import LSTMOracle

PUBLISHED_ORDER = ("embedding", *(f"{kind}{gate}" for gate in ("i", "f", "og", "c") for kind in "WUb"), "Wo", "bo")
"""Names, as `oracle.PARAMETER_AXES` has them, of the arrays of the list."""

MAX_BYTES = 64 * 2**20
"""Largest file that is read; the published one has about 3 million bytes."""

_INSTRUCTIONS = (
    *("PROTO", "FRAME", "STOP", "MARK"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("LIST", "EMPTY_LIST", "APPEND", "APPENDS", "TUPLE", "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
)
"""What lists, tuples, texts, numbers and arrays are written with."""
_CODES = {instruction.name: ord(instruction.code) for instruction in pickletools.opcodes}
_NAMES = {code: name for name, code in _CODES.items()}

_REMEDY = (
    "Give save/target_params.pkl of github.com/LantaoYu/SeqGAN, or create an oracle of the same shape with `rlgan "
    "oracle generate OUT.npz`."
)


class _Refused(Exception):
    """What is wrong with a file, without its name."""


class _DType:
    """A note of an array's type: `numpy.dtype(code, ...)`, then its byte order as a state."""

    __slots__ = ("code", "state")

    def __init__(self, code: object, *_: object) -> None:
        self.code = code
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def checked(self) -> np.dtype[Any]:
        """The type that was noted.

        Raises:
            _Refused: it is none of whole arrays of float32 or float64.
        """
        # Version, byte order, then what only types of several parts have.
        order, parts = (self.state[1], self.state[2:5]) if len(self.state) >= 5 else (None, ())
        if self.code not in ("f4", "f8") or order not in ("<", ">") or parts != (None, None, None):
            code = reprlib.repr(self.code) if isinstance(self.code, str) else "unknown"
            raise _Refused(f"an array of type {code}; only arrays of types f4 and f8 are read")
        return np.dtype(f"{order}{self.code}")


class _Array:
    """A note of an array: `_reconstruct(ndarray, (0,), 'b')`, then what it is as a state."""

    __slots__ = ("state",)

    def __init__(self, *_: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def checked(self) -> np.ndarray:
        """The array that was noted.

        Raises:
            _Refused: its parts are missing or do not fit together.
        """
        if len(self.state) != 5:
            raise _Refused("an array without its shape, type and content")
        _, shape, dtype, is_fortran, content = self.state
        if not (isinstance(shape, tuple) and all(type(size) is int and 0 <= size <= MAX_BYTES for size in shape)):
            raise _Refused("an array whose shape is not a tuple of sizes")
        if not isinstance(dtype, _DType):
            raise _Refused("an array without a type")
        kind = dtype.checked()
        if isinstance(content, _Encoded):
            content = content.text
        if not isinstance(content, str | bytes):
            raise _Refused(f"an array whose content is a {type(content).__name__} instead of bytes")
        if len(content) != math.prod(shape) * kind.itemsize:
            raise _Refused(f"an array of shape {shape} and type {dtype.code} with {len(content)} bytes")
        if isinstance(content, str):  # Python 2 has one type for bytes and text
            try:
                content = content.encode("latin1")
            except UnicodeEncodeError:
                raise _Refused("an array whose content is text instead of bytes") from None
        return np.frombuffer(content, kind).reshape(shape, order="F" if is_fortran else "C")


class _Encoded:
    """A note of bytes: `_codecs.encode(text, 'latin1')`, as Python 3 writes them in protocols 0 to 2.

    Only what belongs to an array is encoded, or a short file could ask for more bytes than a machine holds.
    """

    __slots__ = ("text",)

    def __init__(self, text: object, encoding: object) -> None:
        if encoding != "latin1":
            raise _Refused("bytes in another encoding than latin1")
        self.text = text


class _Name:
    """What a name in a file stands for; nothing can be changed or read through it."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call

    def __call__(self, *arguments: object) -> object:
        return self._call(*arguments)

    def __setstate__(self, state: object) -> NoReturn:
        raise _Refused("a state for an object that has none")


def _never(*_: object) -> NoReturn:
    raise _Refused("a call of numpy.ndarray")


_ALLOWED: Mapping[tuple[str, str], _Name] = {
    ("numpy.core.multiarray", "_reconstruct"): _Name(_Array),
    ("numpy._core.multiarray", "_reconstruct"): _Name(_Array),  # since numpy 2
    ("numpy", "ndarray"): _Name(_never),
    ("numpy", "dtype"): _Name(_DType),
    ("_codecs", "encode"): _Name(_Encoded),
    ("codecs", "encode"): _Name(_Encoded),
}


class _ArrayReader(pickle._Unpickler):
    """Runs a pickle of arrays; its table of instructions is the list of those that are allowed.

    It is the one of the two in the standard library that is written in Python: the other has no such table, and sets
    aside as much memory as a file asks for.
    """

    dispatch: ClassVar[dict[int, Callable[[pickle.Unpickler], None]]] = {
        _CODES[name]: pickle._Unpickler.dispatch[_CODES[name]] for name in _INSTRUCTIONS
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Refused(f"the name {reprlib.repr(f'{module}.{name}')}, which arrays do not need") from None


def read_published_parameters(path: Path) -> dict[str, np.ndarray]:
    """The parameters of the published oracle, by the names of `oracle.PARAMETER_AXES` and checked as its files are.

    Args:
        path: pickle of a list of the 15 arrays of `PUBLISHED_ORDER`, in any protocol up to 4, of Python 2 or 3.

    Returns:
        float32 arrays.

    Raises:
        DataError: no such file, too large a one, one that asks for anything but arrays, or arrays that are no oracle.
    """
    if not path.is_file():
        raise DataError(
            f"{path}: {'is a directory' if path.is_dir() else 'no such file'}. {_REMEDY}",
            code="pickle_no_file",
            fields={"path": path},
        )
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise DataError(
            f"{path}: has {size:,} bytes; at most {MAX_BYTES:,} are read. {_REMEDY}",
            code="pickle_too_large",
            fields={"path": path},
        )
    try:
        arrays = _arrays(path.read_bytes())
    except _Refused as error:
        raise DataError(
            f"{path}: contains {error}. No code in it was executed. {_REMEDY}",
            code="pickle_refused",
            fields={"path": path},
        ) from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}). {_REMEDY}", code="pickle_unreadable", fields={"path": path}
        ) from error
    parameters = dict(zip(PUBLISHED_ORDER, arrays, strict=True))
    oracle = LSTMOracle(parameters, max_length=1, source=str(path))
    return {name: oracle.parameters[name].numpy() for name in PUBLISHED_ORDER}


def _arrays(content: bytes) -> list[np.ndarray]:
    # What a file that is cut, or that is no pickle, comes to, depending on where it goes wrong.
    wrong = (pickle.UnpicklingError, EOFError, LookupError, ValueError, TypeError, AttributeError, OverflowError)
    try:
        notes = _ArrayReader(io.BytesIO(content), encoding="latin1").load()
    except _Refused:
        raise
    except KeyError as error:
        code = error.args[0] if error.args else None
        named = _NAMES.get(code) if isinstance(code, int) else None
        what = f"the instruction {named}" if named else "something that is not a pickle"
        raise _Refused(f"{what}, which does not belong in a list of arrays") from None
    except (*wrong, struct.error, MemoryError, RecursionError, AssertionError) as error:
        raise _Refused(f"an incomplete pickle of arrays ({str(error)[:80]})") from None
    if not isinstance(notes, list | tuple) or len(notes) != len(PUBLISHED_ORDER):
        number = f" of {len(notes)}" if isinstance(notes, list | tuple) else ""
        found = f"a {type(notes).__name__}{number}".replace("_Array", "single array")
        raise _Refused(f"{found} instead of a list of {len(PUBLISHED_ORDER)} arrays")
    for note, name in zip(notes, PUBLISHED_ORDER, strict=True):
        if not isinstance(note, _Array):
            raise _Refused(f"a {type(note).__name__} in the place of array {name}")
    return [note.checked() for note in notes]
