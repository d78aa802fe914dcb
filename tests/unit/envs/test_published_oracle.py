"""The published oracle's pickle: what it holds arrives to the bit, and whatever else a pickle may ask is refused unrun.

Pickles are written here instruction by instruction: as Python 2 wrote the published file, and as an attacker would.
"""

from __future__ import annotations

import codecs
import os
import pickle
import pickletools
import struct
from pathlib import Path

import numpy as np
import pytest

from rlgan.base.errors import DataError
from rlgan.envs.tasks import LSTMOracle
from rlgan.envs.tasks.oracle import PARAMETER_AXES
from rlgan.envs.tasks.published_oracle import MAX_BYTES, PUBLISHED_ORDER, read_published_parameters
from tests.support.errors import refused

SIZES = {"V": 7, "E": 3, "H": 4}


def parameters(sizes: dict[str, int] | None = None, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = sizes or SIZES
    return {
        name: rng.standard_normal([sizes[axis] for axis in PARAMETER_AXES[name]]).astype(np.float32)
        for name in PUBLISHED_ORDER
    }


def python2_string(content: bytes) -> bytes:
    """As protocol 0 of Python 2 writes a string: its `repr`."""
    return b"S'" + codecs.escape_encode(content)[0] + b"'\n"


def protocol_0(
    array: np.ndarray, module: bytes = b"numpy.core.multiarray", code: bytes = b"f4", order: bytes = b"<"
) -> bytes:
    """An array as `cPickle.dumps` of Python 2 writes it by default."""
    shape = b"(" + b"".join(b"I%d\n" % size for size in array.shape) + b"t"
    return (
        b"c" + module + b"\n_reconstruct\n(cnumpy\nndarray\n(I0\nt" + python2_string(b"b") + b"tR"
        b"(I1\n" + shape + b"cnumpy\ndtype\n(" + python2_string(code) + b"I0\nI1\ntR(I3\n" + python2_string(order)
        + b"NNNI-1\nI-1\nI0\ntbI00\n" + python2_string(array.tobytes()) + b"tb"
    )  # fmt: skip


def protocol_2(array: np.ndarray) -> bytes:
    """The same in protocol 2 of Python 2, where bytes are short strings."""
    content = array.tobytes()
    shape = b"".join(b"M" + struct.pack("<H", size) for size in array.shape) + {1: b"\x85", 2: b"\x86"}[array.ndim]
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01" + shape
        + b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<i", len(content)) + content + b"tb"
    )  # fmt: skip


def list_0(arrays: list[bytes]) -> bytes:
    return b"(l" + b"".join(array + b"a" for array in arrays) + b"."


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


WRITERS = {
    "python 2, protocol 0": lambda arrays: list_0([protocol_0(array) for array in arrays]),
    "python 2, protocol 2": lambda arrays: b"\x80\x02](" + b"".join(protocol_2(array) for array in arrays) + b"e.",
    **{
        f"python 3, protocol {protocol}": lambda arrays, protocol=protocol: pickle.dumps(arrays, protocol)
        for protocol in range(5)
    },
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_arrays_arrive_to_the_bit(write, tmp_path):
    expected = parameters()
    found = read_published_parameters(written(tmp_path / "p.pkl", write(list(expected.values()))))
    assert list(found) == list(PUBLISHED_ORDER)
    for name, array in expected.items():
        assert found[name].dtype == np.float32 and np.array_equal(found[name], array)


def test_the_order_is_that_of_the_published_code():
    """params[0] are the embeddings; then W, U and b of the gates i, f, og and of c; then Wo and bo (target_lstm.py)."""
    assert " ".join(PUBLISHED_ORDER) == "embedding Wi Ui bi Wf Uf bf Wog Uog bog Wc Uc bc Wo bo"


def test_the_writer_of_this_test_writes_what_python_reads():
    """The pickles by hand are pickles: the library, which is trusted with them here, reads them the same."""
    expected = list(parameters().values())
    for name in ("python 2, protocol 0", "python 2, protocol 2"):
        found = pickle.loads(WRITERS[name](expected), encoding="latin1")
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_names_of_old_and_new_numpy_columns_first_and_float64(tmp_path):
    expected = parameters()
    arrays = [protocol_0(array, module=b"numpy._core.multiarray") for array in expected.values()]
    arrays[1] = protocol_0(expected["Wi"].astype(">f8"), code=b"f8", order=b">")
    found = read_published_parameters(written(tmp_path / "p.pkl", list_0(arrays)))
    assert all(np.array_equal(found[name], array) for name, array in expected.items())
    columns_first = [np.asfortranarray(array) for array in expected.values()]
    found = read_published_parameters(written(tmp_path / "f.pkl", pickle.dumps(columns_first, 2)))
    assert all(np.array_equal(found[name], array) for name, array in expected.items())


def test_the_published_shapes_are_read(tmp_path):
    expected = parameters({"V": 5000, "E": 32, "H": 32})
    path = written(tmp_path / "p.pkl", WRITERS["python 2, protocol 0"](list(expected.values())))
    assert path.stat().st_size < MAX_BYTES / 10
    oracle = LSTMOracle(read_published_parameters(path), max_length=20)
    assert oracle.space.vocab_size == 5000 and oracle.hidden == 32


class Call:
    """Pickled, it is a call of a function; only the attacker's machine runs this class."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


def harm(mark: Path) -> list[bytes]:
    """Pickles that make the file `mark` when they are unpickled, or try to get at what could."""
    command = f"touch {mark}"
    good = pickle.dumps(parameters()["Wi"], 2)[2:-1]
    system = b"cposix\nsystem\n(" + python2_string(command.encode()) + b"tR"
    return [
        *(pickle.dumps(Call(os.system, command), protocol) for protocol in range(6)),
        *(pickle.dumps([Call(os.system, command)] * 15, protocol) for protocol in range(6)),
        pickle.dumps(Call(eval, f"open({str(mark)!r}, 'w')")),
        pickle.dumps(Call(exec, f"open({str(mark)!r}, 'w')")),
        b"c__builtin__\neval\n(" + python2_string(f"open({str(mark)!r}, 'w')".encode()) + b"tR.",
        b"cbuiltins\ngetattr\n(cnumpy\nndarray\n" + python2_string(b"__class__") + b"tR.",
        # Attributes of what is allowed: a dotted name, of protocol 4, and a name in a name's module.
        b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__class__\x93.",
        b"\x80\x04\x8c\x15numpy.core.multiarray\x8c\x0fos.path.os.open\x93.",
        b"cnumpy.core.multiarray\nsys\n.",
        b"cnumpy\nload\n(" + python2_string(str(mark).encode()) + b"tR.",
        b"cnumpy.f2py\ncompile\n(" + python2_string(b"x") + b"tR.",
        b"cnumpy\nmemmap\n(" + python2_string(str(mark).encode()) + python2_string(b"f4") + b"S'w+'\nI0\n(I4\nttR.",
        # The content of an array of objects is a pickle of its own, here a harmful one.
        pickle.dumps(np.array([Call(os.system, command)], dtype=object), 2),
        pickle.dumps([np.array([Call(os.system, command)], dtype=object)] * 15, 2),
        # Where nobody looks: in a shape, in a state, beside an array, taken off the stack again, in the memo.
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + system + b"t" + python2_string(b"b") + b"tR.",
        good + b"(I1\n" + system + b"tb.",
        b"(l" + good + b"a" + system + b"a.",
        system + b"0" + good + b".",
        system + b"p0\n" + good + b".",
        # Other ways of calling: INST, OBJ, NEWOBJ, an extension, a persistent name.
        b"(" + python2_string(command.encode()) + b"iposix\nsystem\n.",
        b"(cposix\nsystem\n" + python2_string(command.encode()) + b"o.",
        b"\x80\x02cnumpy\nndarray\n(K\x01t\x81.",
        b"\x80\x02\x82\x01.",
        b"Pname\n.",
        # A state that would put a function into what is allowed, for the next call of it.
        b"cnumpy\ndtype\n(d" + python2_string(b"__setstate__") + b"cposix\nsystem\nsb.",
        b"cnumpy\ndtype\n(N(d" + python2_string(b"x") + b"I1\nstb.",
        b"cnumpy\ndtype\n(NNtb.",
    ]


@pytest.mark.parametrize("index", range(len(harm(Path("mark")))))
def test_what_asks_for_more_than_arrays_is_refused_and_not_run(index, tmp_path):
    mark = tmp_path / "mark"
    path = written(tmp_path / "p.pkl", harm(mark)[index])
    with refused(DataError, "pickle_refused", match=r"p\.pkl.*save/target_params\.pkl"):
        read_published_parameters(path)
    assert not mark.exists()


def test_the_harm_is_real(tmp_path):
    """Python's own reader, given the same files, makes the mark: the test above would see it."""
    mark = tmp_path / "mark"
    pickle.loads(harm(mark)[0])
    assert mark.exists()


def test_reading_leaves_what_is_allowed_as_it_was(tmp_path):
    for index, content in enumerate(harm(tmp_path / "mark")):
        with pytest.raises(DataError):
            read_published_parameters(written(tmp_path / f"{index}.pkl", content))
    expected = parameters()
    found = read_published_parameters(written(tmp_path / "p.pkl", pickle.dumps(list(expected.values()), 2)))
    assert all(np.array_equal(found[name], array) for name, array in expected.items())


def changed(array: bytes) -> bytes:
    arrays = [protocol_0(array) for array in parameters().values()]
    return list_0([array, *arrays[1:]])


EMBEDDING = parameters()["embedding"]
WRONG = {
    "empty": (b"", "incomplete pickle"),
    "text": (b"hello, world\n", "incomplete pickle"),
    "cut": (WRITERS["python 3, protocol 2"](list(parameters().values()))[:-40], "incomplete pickle"),
    "an npz": (b"PK\x03\x04", "which does not belong in a list of arrays"),
    "another list": (pickle.dumps([1, 2, 3]), "a list of 3 instead of a list of 15 arrays"),
    "numbers": (pickle.dumps(list(range(15))), "a int in the place of array embedding"),
    "one array": (pickle.dumps(EMBEDDING, 2), "a single array instead of a list of 15 arrays"),
    "a mapping": (pickle.dumps(parameters(), 2), "the instruction EMPTY_DICT"),
    "integers": (changed(protocol_0(EMBEDDING.astype(np.int32), code=b"i4")), "an array of type 'i4'"),
    "objects": (changed(protocol_0(EMBEDDING, code=b"O8", order=b"|")), "an array of type 'O8'"),
    "records": (pickle.dumps([np.zeros(3, "f4,f4")] * 15, 2), "which does not belong in a list of arrays"),
    "too few bytes": (changed(protocol_0(EMBEDDING).replace(b"I7\n", b"I700000\n")), "with 84 bytes"),
    "a huge shape": (changed(protocol_0(EMBEDDING).replace(b"I7\n", b"L%dL\n" % 10**40)), "not a tuple of sizes"),
    "a negative shape": (changed(protocol_0(EMBEDDING).replace(b"I7\n", b"I-7\n")), "not a tuple of sizes"),
    "a number with many digits": (b"L" + b"9" * 10_000 + b"L\n.", "incomplete pickle"),
    "a place far out in the memo": (b"I1\nr\xff\xff\xff\x7f.", "a int instead of"),
    "bytes of half the memory": (b"\x8e" + struct.pack("<Q", 2**40) + b".", "incomplete pickle"),
    "a bytearray": (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".", "the instruction BYTEARRAY8"),
}


@pytest.mark.parametrize(("content", "message"), WRONG.values(), ids=WRONG)
def test_what_is_no_list_of_the_arrays_is_refused(content, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read_published_parameters(written(tmp_path / "p.pkl", content))


def test_arrays_that_are_no_oracle_are_refused_by_name(tmp_path):
    arrays = parameters()
    arrays["Uf"] = arrays["Uf"][:, :2]
    with refused(DataError, "oracle_array_shape", match=r"p\.pkl.*\(4, 2\)"):
        read_published_parameters(written(tmp_path / "p.pkl", pickle.dumps(list(arrays.values()), 2)))


def test_missing_directories_and_large_files_are_refused(tmp_path):
    with refused(DataError, "pickle_no_file"):
        read_published_parameters(tmp_path / "no.pkl")
    with refused(DataError, "pickle_no_file"):
        read_published_parameters(tmp_path)
    large = tmp_path / "large.pkl"
    with large.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with refused(DataError, "pickle_too_large", match="67,108,864"):
        read_published_parameters(large)


def test_every_instruction_that_is_read_builds_plain_data_or_one_of_the_names():
    """Nothing that makes an object without asking for its name, and nothing that changes one."""
    from rlgan.envs.tasks.published_oracle import _ArrayReader

    names = {instruction.name for instruction in pickletools.opcodes if ord(instruction.code) in _ArrayReader.dispatch}
    assert not names & {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4"}
    assert not names & {"EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER"}
    assert {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"} <= names


@pytest.mark.integration
def test_the_layout_is_that_of_the_file_that_is_used_elsewhere(data_dir, tmp_path):
    path = data_dir / "oracle_seqgan" / "oracle_lstm.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with np.load(path, allow_pickle=False) as content:
        expected = {name: content[name] for name in content.files}
    assert list(expected) == list(PUBLISHED_ORDER)
    for write in (WRITERS["python 2, protocol 0"], WRITERS["python 2, protocol 2"]):
        found = read_published_parameters(written(tmp_path / "p.pkl", write(list(expected.values()))))
        for name, array in expected.items():
            assert found[name].dtype == array.dtype and np.array_equal(found[name], array)
