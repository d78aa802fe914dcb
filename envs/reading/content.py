"""The bytes of a file, unpacked; and what is no file of records, named with the way to make one of it.

Packing and refused kinds are recognised by the first bytes: files come under all sorts of names.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePath

from rlgan.base.errors import DataError, nearest

from .notes import the_first

PACKED_SUFFIXES = {".gz": "gzip", ".xz": "xz", ".bz2": "bzip2", ".zst": "zstd"}

_PACKED_MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}

_WRITTEN_AS_PARQUET = (
    "Save the data as parquet, CSV or JSON lines, for instance with pandas: .to_parquet('data.parquet'), and give "
    "that file."
)
_REFUSED: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF", "a PDF document", "Extract its text first (pdftotext FILE.pdf FILE.txt) and give the text file."),
    (b"\x89PNG", "an image", "Give a text file."),
    (b"\xff\xd8\xff", "an image", "Give a text file."),
    (b"GIF8", "an image", "Give a text file."),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document", "Save it as CSV (UTF-8) and give that file."),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it (7z x FILE) and give the file inside."),
    (b"Rar!\x1a\x07", "a RAR archive", "Unpack it (unrar x FILE) and give the file inside."),
    (b"SQLite format 3\x00", "an SQLite database", _WRITTEN_AS_PARQUET),
    (b"\x89HDF\r\n", "an HDF5 file", _WRITTEN_AS_PARQUET),
    (b"\x93NUMPY", "a numpy array", _WRITTEN_AS_PARQUET),
    (b"ARROW1\x00\x00", "an Arrow file", _WRITTEN_AS_PARQUET),
    (b"\xff\xff\xff\xff", "an Arrow stream", _WRITTEN_AS_PARQUET),
    (b"Obj\x01", "an Avro file", _WRITTEN_AS_PARQUET),
    (b"\x80\x04\x95", "a pickle, which rlgan never loads", _WRITTEN_AS_PARQUET),
    (
        b"version https://git-lfs.github.com/",
        "a Git LFS pointer instead of the file itself",
        "Download the file itself (git lfs pull) and give it.",
    ),
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HUB_ADDRESS = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds.

    Attributes:
        path: of the file, as it was given.
        data: unpacked.
        suffix: the end of its name in small letters, that of the packing taken off: ".csv"; "" without one.
        notes: how it was packed.
    """

    path: str
    data: bytes
    suffix: str
    notes: tuple[str, ...] = ()


def read_content(path: str, wanted: str) -> Content:
    """Read a file and unpack it.

    Args:
        path: of the file.
        wanted: what it should be, for errors: "a text file with one sequence a line".

    Raises:
        DataError: it is missing, unreadable, empty, damaged, or of a kind that holds no records.
    """
    data = _bytes_of(path, wanted)
    if not data:
        raise DataError(f"{path}: is empty. Give {wanted}.", code="empty_file", fields={"path": path})
    packings: list[str] = []
    while packing := _packing_of(data):
        data = _unpacked(path, data, packing)
        packings.append(packing)
    suffixes = [suffix.lower() for suffix in PurePath(path).suffixes]
    if suffixes and suffixes[-1] in PACKED_SUFFIXES and not packings:
        named = PACKED_SUFFIXES[suffixes[-1]]
        raise DataError(
            f"{path}: has the name of a {suffixes[-1]} file but contains no {named} data. Compress it with "
            f"{named}, or remove {suffixes[-1]} from its name.",
            code="not_compressed",
            fields={"path": path},
        )
    if not data:
        raise DataError(
            f"{path}: is empty after unpacking. Give {wanted}.", code="empty_when_unpacked", fields={"path": path}
        )
    _refuse_other_kinds(path, data)
    inner = [suffix for suffix in suffixes if suffix not in PACKED_SUFFIXES]
    notes = (f"unpacked {' and '.join(packings)} data",) if packings else ()
    return Content(path, data, inner[-1] if inner else "", notes)


def _bytes_of(path: str, wanted: str) -> bytes:
    file = Path(path).expanduser()
    try:
        if file.is_file():
            return file.read_bytes()
        if file.is_dir():
            within = sorted(entry.name for entry in file.iterdir() if entry.is_file())
            names = f" It holds {the_first(within, 5)}." if within else ""
            raise DataError(f"{path}: is a directory. Give a file.{names}", code="is_directory", fields={"path": path})
        if file.exists() or path == "-":
            raise DataError(
                f"{path}: is a pipe or a device, not a regular file. rlgan reads the file more than once. Write "
                "its content to a file first (COMMAND > data.txt) and give that file.",
                code="not_regular_file",
                fields={"path": path},
            )
        if _URL.match(path):
            raise DataError(
                f"{path}: is an address; rlgan reads local files only. Download it first (curl -L -o FILE {path}) "
                "and give that file."
                if path.startswith("http")
                else (
                    f"{path}: is an address; rlgan reads local files only. Copy the file to this machine and give its "
                    "path."
                ),
                code="is_address",
                fields={"path": path},
            )
        hub = ""
        if _HUB_ADDRESS.fullmatch(path) and not file.parent.is_dir():
            hub = (
                ' If it is a dataset on the Hugging Face Hub, write it to a file first: python -c "from datasets '
                f"import load_dataset; load_dataset('{path}', split='train').to_parquet('data.parquet')\", and "
                "give data.parquet."
            )
        siblings = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
        meant = nearest(file.name, siblings, "" if str(PurePath(path).parent) == "." else f"{PurePath(path).parent}/")
        raise DataError(
            f"{path}: no such file. Give {wanted}." + (hub or meant), code="no_such_file", fields={"path": path}
        )
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path}: cannot be read ({error}). Give a file that this user has permission to read.",
            code="unreadable_file",
            fields={"path": path},
        ) from error


def _packing_of(data: bytes) -> str | None:
    return next((packing for magic, packing in _PACKED_MAGIC.items() if data.startswith(magic)), None)


def _unpacked(path: str, data: bytes, packing: str) -> bytes:
    try:
        if packing == "gzip":
            return gzip.decompress(data)
        if packing == "xz":
            return lzma.decompress(data)
        if packing == "bzip2":
            return bz2.decompress(data)
        import pyarrow as pa

        with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
            return bytes(stream.read())
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise DataError(
            f"{path}: damaged or truncated {packing} data ({error}). Download or compress the file again. If it is "
            f"a text that only begins like {packing} data, put another character before its first one."
            if packing == "bzip2"
            else f"{path}: damaged or truncated {packing} data ({error}). Download or compress the file again.",
            code="damaged_packing",
            fields={"path": path},
        ) from error


def _refuse_other_kinds(path: str, data: bytes) -> None:
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        if b"xl/workbook.xml" in data:
            raise DataError(
                f"{path}: is an Excel workbook. Save the sheet as CSV (UTF-8) and give that file.",
                code="excel_workbook",
                fields={"path": path},
            )
        if b"word/document.xml" in data:
            raise DataError(
                f"{path}: is a Word document. Save it as plain text (UTF-8) and give that file.",
                code="word_document",
                fields={"path": path},
            )
        if b".npy" in data[:256]:
            raise DataError(
                f"{path}: is an archive of numpy arrays. {_WRITTEN_AS_PARQUET}",
                code="numpy_archive",
                fields={"path": path},
            )
        raise DataError(
            f"{path}: is a zip archive. Unpack it (unzip FILE) and give the file inside.",
            code="zip_archive",
            fields={"path": path},
        )
    if data[257:262] == b"ustar":
        raise DataError(
            f"{path}: is a tar archive. Unpack it (tar xf FILE) and give the file inside.",
            code="tar_archive",
            fields={"path": path},
        )
    for magic, kind, remedy in _REFUSED:
        if data.startswith(magic):
            raise DataError(f"{path}: is {kind}. {remedy}", code="unreadable_format", fields={"path": path})
