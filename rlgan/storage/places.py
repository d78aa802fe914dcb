"""Shared storage: a run's folder kept in a second place that a URI names, and fetched from there.

A run works in a local folder as always; what changed there is sent after each checkpoint and at the end. Object stores
and file systems come from pyarrow (file, s3, gs, abfs, hdfs) and through it from fsspec (all others).

Whoever reads the storage while a sender is killed, between any two operations, finds what he can go on from:

* numbers and samples go first: a resumed run drops those past its checkpoint, but cannot invent those before it;
* of a checkpoint the tensors go first, and the state that names their hash last; one that is replaced loses its state
  first. So a checkpoint with a state is whole, and one without is passed over;
* `config.json`, which makes a folder a run, comes after the first checkpoint; what says that a run is complete comes
  last; checkpoints are removed when the new one is whole;
* sources of plug-ins go with the numbers, before what makes a folder a run;
* a file is seen whole or not at all: object stores promise it, elsewhere it is written beside its place and renamed.

Of what lies in a storage only the files of a run are fetched, told by their names; nothing is unpickled. A place has
one sender at a time. Credentials come from where the library looks for them, never from a URI.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urlsplit

from pyarrow import fs

from rlgan.base.errors import CheckpointError, RlganError, StorageError
from rlgan.base.files import cannot_write
from rlgan.extensions import FOLDER

from .bases import BASES
from .checkpoint import CHECKPOINTS, CONFIG, STATE, TENSORS

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# What is sent and fetched: files of the folder itself, the two of each checkpoint, and sources of plug-ins, which are
# named by their digest. No such name leaves a folder.
_BASE_FILE = re.compile(rf"{BASES}/[0-9a-f]{{64}}\.safetensors")  # named by the hash of what it holds
_CHECKPOINT_FILE = re.compile(rf"{CHECKPOINTS}/([0-9]{{8,}})/({re.escape(TENSORS)}|{re.escape(STATE)})")
_SOURCE_FILE = re.compile(rf"{re.escape(FOLDER)}/[0-9a-f]{{16}}\.py")
# pyarrow's own; it hands everything else to fsspec when the scheme begins so.
_OF_ARROW = ("file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
_FSSPEC = "fsspec+"
# Here a file is seen when it is closed, and folders are only parts of names.
_OBJECT_STORES = ("s3", "gcs", "abfs")
# A URI is printed and typed, so it may say where, and not with which key.
_QUERY = (
    "blob_storage_authority",
    "client_id",
    "credential_kind",
    "dfs_storage_authority",
    "enable_tls",
    "endpoint_override",
    "project_id",
    "region",
    "replication",
    "retry_limit_seconds",
    "scheme",
    "tenant_id",
    "tls_ca_file_path",
    "tls_verify_certificates",
)
_RETRY_LIMIT_S = 60  # of Google's client, which otherwise tries for a quarter of an hour


def is_uri(text: str) -> bool:
    """Whether a text is a URI with a scheme (s3://…); anything else is a path."""
    return _URI.match(text) is not None


@dataclass(frozen=True, eq=False)
class Place:
    """A folder in a storage, which need not exist.

    Attributes:
        uri: as it was given; a query, such as `?region=eu-west-1`, stands at its end.
        path: of the folder, within the file system.
        system: the file system.
    """

    uri: str
    path: str
    system: fs.FileSystem

    @property
    def name(self) -> str:
        """The last part of its path.

        Raises:
            StorageError: it cannot be the name of a run.
        """
        return _checked_name(PurePosixPath(self.path).name, self.uri)

    def below(self, name: str) -> Place:
        """A folder in this one.

        Args:
            name: of a run: letters, digits, `.`, `_`, `-`.

        Raises:
            StorageError: the name has other characters.
        """
        _checked_name(name, f"a run in {self.uri}")
        head, mark, query = self.uri.partition("?")
        return replace(self, uri=f"{head.rstrip('/')}/{name}{mark}{query}", path=f"{self.path}/{name}")

    @property
    def parent_uri(self) -> str:
        """URI of the folder that holds this one."""
        head, mark, query = self.uri.partition("?")
        return f"{head.rstrip('/').rpartition('/')[0]}{mark}{query}"

    def sizes(self) -> dict[str, int]:
        """Files of a run that lie here.

        Returns:
            Path from here → size in bytes; files that no run writes are left out.

        Raises:
            StorageError: the storage cannot be listed.
        """
        with _in_our_words(self, "cannot be listed"):
            found = self.system.get_file_info(fs.FileSelector(self.path, recursive=True, allow_not_found=True))
        base = f"{self.path}/".lstrip("/")
        files = {}
        for info in found:
            # Some file systems begin paths with a slash and some do not.
            path = info.path.lstrip("/")
            if info.type == fs.FileType.File and path.startswith(base) and _is_of_a_run(path.removeprefix(base)):
                files[path.removeprefix(base)] = int(info.size)
        return files

    def holds_run(self) -> bool:
        """Whether a run lies here.

        Raises:
            StorageError: the storage does not answer.
        """
        with _in_our_words(self, "cannot be read"):
            return bool(self.system.get_file_info(f"{self.path}/{CONFIG}").type == fs.FileType.File)

    def is_taken(self) -> bool:
        """Whether anything lies here.

        Raises:
            StorageError: the storage does not answer.
        """
        with _in_our_words(self, "cannot be read"):
            return bool(self.system.get_file_info(self.path).type != fs.FileType.NotFound)

    def read(self, name: str) -> bytes:
        """Content of a file.

        Args:
            name: path from here.

        Raises:
            StorageError: it cannot be read.
        """
        with (
            _in_our_words(self, f"{name} cannot be read"),
            self.system.open_input_stream(f"{self.path}/{name}", compression=None) as stream,
        ):
            return bytes(stream.read())

    def config(self) -> dict[str, Any]:
        """The resolved configuration of the run that lies here.

        Raises:
            CheckpointError: none does, or it is damaged.
            StorageError: the storage does not answer.
        """
        if not self.holds_run():
            raise CheckpointError(
                f"{self.uri}: is not the folder of a run ({CONFIG} is missing). Give the URI of the folder of a "
                "run. If a run was never uploaded, continue it with --resume DIR --storage "
                "URI-OF-THE-PARENT-FOLDER.",
                code="not_a_run_in_storage",
                fields={"uri": self.uri},
            )
        try:
            values = json.loads(self.read(CONFIG))
        except (ValueError, RecursionError) as error:
            raise CheckpointError(
                f"{self.uri}: its {CONFIG} is damaged ({error}). Restore it.",
                code="damaged_config_in_storage",
                fields={"uri": self.uri},
            ) from None
        if not isinstance(values, dict):
            raise CheckpointError(
                f"{self.uri}: its {CONFIG} contains {type(values).__name__}, expected an object.",
                code="config_type_in_storage",
                fields={"uri": self.uri},
            )
        return values

    def newest_checkpoint(self) -> int | None:
        """Number of the newest checkpoint that was sent whole; None where there is none.

        Raises:
            StorageError: the storage does not answer.
        """
        return max(map(int, _whole(self.sizes())), default=None)


def open_place(uri: str, option: str) -> Place:
    """Reach a storage; nothing is written.

    Args:
        uri: of a folder; its first part (the bucket) exists, the folder itself may not.
        option: that gave the URI, for messages.

    Raises:
        StorageError: the URI holds credentials or is malformed, its scheme is unknown or needs a package that is not
            installed, the storage does not answer, or there is no such bucket.
    """
    shown = f"{option} {_without_credentials(uri)}"
    scheme = uri.partition("://")[0]
    given = _checked_uri(uri, shown)
    arrow = uri if scheme in _OF_ARROW or scheme.startswith(_FSSPEC) else f"{_FSSPEC}{uri}"
    if scheme in ("gs", "gcs") and "retry_limit_seconds" not in given:
        arrow += f"{'&' if given else '?'}retry_limit_seconds={_RETRY_LIMIT_S}"
    try:
        system, path = fs.FileSystem.from_uri(arrow)
    except ImportError as error:
        raise StorageError(
            f"{shown}: {scheme}:// needs a package that is not installed ({_first_line(error)}). Install it beside "
            "rlgan, on every machine that starts or resumes runs.",
            code="storage_needs_package",
            fields={"uri": shown},
        ) from None
    except Exception as error:  # of libraries that we do not know, each with its own
        raise StorageError(
            f"{shown}: cannot be opened ({_first_line(error)}). Give the URI of a folder, such as "
            "s3://BUCKET/runs, gs://BUCKET/runs, abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/runs, file:///DIR "
            "or another one that fsspec supports, and put credentials where its library looks for them.",
            code="storage_cannot_open",
            fields={"uri": shown},
        ) from None
    place = Place(uri, path.rstrip("/"), system)
    if not place.path:
        raise StorageError(
            f"{shown}: does not name a folder. Give one, such as s3://BUCKET/runs or file:///DIR/runs.",
            code="storage_no_folder",
            fields={"uri": shown},
        )
    if place.path != path.rstrip("/") or ".." in place.path.split("/"):
        raise StorageError(
            f"{shown}: contains '..' in its path. Write the path without it.",
            code="storage_dots",
            fields={"uri": shown},
        )
    first = "/" * place.path.startswith("/") + place.path.lstrip("/").split("/")[0]
    with _in_our_words(place, "does not answer"):
        exists = system.get_file_info(first).type != fs.FileType.NotFound
    if not exists:
        raise StorageError(
            f"{shown}: {first!r} does not exist. Create the bucket or folder first, or use another one.",
            code="storage_no_bucket",
            fields={"uri": shown},
        )
    return place


def require_writable(place: Place) -> None:
    """Write a small file into a place, or into the folder where its own would be made, and remove it.

    Raises:
        StorageError: files cannot be written or removed there.
    """
    with _in_our_words(place, "cannot be written"):
        at = PurePosixPath(place.path)
        while not _has_no_folders(place) and place.system.get_file_info(str(at)).type == fs.FileType.NotFound:
            at = at.parent
        probe = f"{at}/.rlgan-{secrets.token_hex(8)}"
        with place.system.open_output_stream(probe, compression=None) as stream:
            stream.write(b"rlgan looks whether it may write here\n")
        place.system.delete_file(probe)


def fetch(place: Place, target: Path, names: Collection[str] | None = None, if_there: Collection[str] = ()) -> None:
    """Copy a run to this machine.

    Args:
        place: folder of the run.
        target: local folder, made here; it appears when all is there.
        names: files to copy; None copies all files of a run.
        if_there: files to copy beside those that are named, where they are there; of a folder's name what is in it.

    Raises:
        CheckpointError: a name is missing there, the target exists with something in it, or the disk cannot be written.
        StorageError: the storage cannot be read.
    """
    sizes = place.sizes()
    for name in names if names is not None else (CONFIG,):
        if name not in sizes:
            raise CheckpointError(
                f"{place.uri}: {name} is missing. Give the URI of the folder of a run with a checkpoint.",
                code="storage_lacks_file",
                fields={"uri": place.uri},
            )
    # Gone when it is in place, or when anything goes wrong; whoever is killed here leaves it to the next.
    beside = target.with_name(f".{target.name}.fetched")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside_them = [name for name in sizes if name in if_there or name.rpartition("/")[0] in if_there]
        for name in sizes if names is None else (*names, *beside_them):
            content = place.read(name)
            if len(content) != sizes[name]:
                raise StorageError(
                    f"{place.uri}: {name} changed while it was read. Stop the process that writes there, then try "
                    "again.",
                    code="storage_changed",
                    fields={"uri": place.uri},
                )
            path = beside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        os.replace(beside, target)
    except OSError as error:
        if target.exists():
            raise CheckpointError(
                f"{target}: already exists and contains no run, so {place.uri} cannot be downloaded into it. Use "
                "another folder with --out.",
                code="fetch_target_exists",
                fields={"path": target},
            ) from None
        raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def as_folder(run: str, names: Collection[str], if_there: Collection[str] = ()) -> Iterator[Path]:
    """A run as a local folder: the folder itself, or for a URI a copy for as long as the context lasts.

    Args:
        run: path or URI of a run's folder.
        names: the files that are needed.
        if_there: files, or folders of files, that are wanted where the run has them.

    Raises:
        CheckpointError: a file is missing in the storage.
        StorageError: the storage cannot be read.
    """
    if not is_uri(run):
        yield Path(run)
        return
    with TemporaryDirectory(prefix="rlgan-") as temporary:
        folder = Path(temporary) / "run"
        fetch(open_place(run, "--run"), folder, names, if_there)
        try:
            yield folder
        except RlganError as error:
            error.reword(str(error).replace(str(folder), run))
            raise


class Mirror:
    """Keeps a place in a storage as a run's folder is.

    Args:
        place: of the run; what lies there is of the same run, or none.
        run_dir: folder of the run.
        last: names of the files that say what else is there, in the order in which they are to be sent.
    """

    def __init__(self, place: Place, run_dir: Path, last: Sequence[str]) -> None:
        self.place = place
        self._run_dir, self._last = run_dir, tuple(last)
        self._sent: dict[str, str] = {}  # name → SHA-256 of what is known to lie there
        self._there: set[str] | None = None  # names that lie there; None until the storage was asked

    def send(self) -> None:
        """Send what changed, and remove the checkpoints, and those of the last files, that the folder no longer has.

        Raises:
            StorageError: the storage cannot be written; what was sent stays, and the next call goes on with the rest.
            OSError: a file of the run's folder cannot be read.
        """
        try:
            self._send()
        except StorageError:
            # What is there is no longer known; the next call asks.
            self._there = None
            self._sent.clear()
            raise

    def _send(self) -> None:
        if self._there is None:
            self._look()
        names = _local_names(self._run_dir)
        checkpoints = _checkpoints(names)
        for name in sorted(names):
            if name not in self._last and not _CHECKPOINT_FILE.fullmatch(name) and not self._is_base_there(name):
                self._put(name)
        for folder in sorted(checkpoints, key=int):
            self._put_checkpoint(f"{CHECKPOINTS}/{folder}")
        for name in self._last:
            if name in names:
                self._put(name)
            else:  # of a run that was complete, and has more to do now
                self._remove_file(name)
        assert self._there is not None
        for folder in sorted(_checkpoints(self._there) - checkpoints, key=int):
            self._remove_checkpoint(f"{CHECKPOINTS}/{folder}")
        for name in sorted(filter(_BASE_FILE.fullmatch, self._there - names)):
            self._remove_file(name)

    def _is_base_there(self, name: str) -> bool:
        """Whether a file is a frozen part that was sent: another content would have another name."""
        assert self._there is not None
        return name in self._there and _BASE_FILE.fullmatch(name) is not None

    def _look(self) -> None:
        """Learn what is there already; checkpoints that are the run's need not be sent, and not be touched."""
        sizes = self.place.sizes()
        for folder in (f"{CHECKPOINTS}/{name}" for name in _whole(sizes)):
            tensors, state = (self._run_dir / folder / name for name in (TENSORS, STATE))
            if not state.exists() or not tensors.exists() or tensors.stat().st_size != sizes[f"{folder}/{TENSORS}"]:
                continue
            content = state.read_bytes()
            if content == self.place.read(f"{folder}/{STATE}"):
                self._sent[f"{folder}/{STATE}"] = _sha256(content)
        cut = {name for name in filter(_BASE_FILE.fullmatch, sizes) if sizes[name] != self._size_here(name)}
        self._there = set(sizes) - cut

    def _size_here(self, name: str) -> int | None:
        path = self._run_dir / name
        return path.stat().st_size if path.exists() else None

    def _put(self, name: str) -> None:
        content = (self._run_dir / name).read_bytes()
        digest = _sha256(content)
        if self._sent.get(name) == digest:
            return
        self._sent.pop(name, None)  # until it is there, what is there is not known
        self._write(name, content)
        self._sent[name] = digest

    def _put_checkpoint(self, folder: str) -> None:
        state = f"{folder}/{STATE}"
        # The state names the hash of the tensors: where it is the same, they are.
        if self._sent.get(state) == _sha256((self._run_dir / state).read_bytes()):
            return
        self._remove_file(state)
        self._put(f"{folder}/{TENSORS}")
        self._put(state)

    def _remove_checkpoint(self, folder: str) -> None:
        self._remove_file(f"{folder}/{STATE}")
        with _in_our_words(self.place, f"{folder} cannot be removed"):
            self.place.system.delete_dir(f"{self.place.path}/{folder}")
        self._forget(f"{folder}/{TENSORS}")

    def _remove_file(self, name: str) -> None:
        assert self._there is not None
        if name in self._there:
            with _in_our_words(self.place, f"{name} cannot be removed"):
                self.place.system.delete_file(f"{self.place.path}/{name}")
            self._forget(name)

    def _forget(self, name: str) -> None:
        assert self._there is not None
        self._there.discard(name)
        self._sent.pop(name, None)

    def _write(self, name: str, content: bytes) -> None:
        assert self._there is not None
        system, path = self.place.system, PurePosixPath(f"{self.place.path}/{name}")
        target = path if _has_no_folders(self.place) else path.with_name(f".{path.name}.tmp")
        with _in_our_words(self.place, f"{name} cannot be written"):
            if not _has_no_folders(self.place):
                system.create_dir(str(path.parent), recursive=True)
            with system.open_output_stream(str(target), compression=None) as stream:
                stream.write(content)
            if target != path:
                system.move(str(target), str(path))
        self._there.add(name)


def _checked_uri(uri: str, shown: str) -> str:
    """The query of a URI that is well-formed and holds no secret."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise StorageError(
            f"{shown}: is not a valid URI ({error}). Give one such as s3://BUCKET/runs.",
            code="storage_no_uri",
            fields={"uri": shown},
        ) from None
    if "::" in uri or parts.fragment:
        raise StorageError(
            f"{shown}: contains '::' or '#'. Give the URI of one folder, without them.",
            code="storage_uri_chars",
            fields={"uri": shown},
        )
    if ":" in parts.netloc.rpartition("@")[0]:
        raise StorageError(
            f"{shown}: contains a password, which would be shown and logged with the URI. Remove it, and put "
            "credentials where the storage's library looks for them (its environment variables or file).",
            code="storage_password",
            fields={"uri": shown},
        )
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _QUERY:
            raise StorageError(
                f"{shown}: its query has {name!r}; allowed are {', '.join(_QUERY)}. Put credentials where the "
                "storage's library looks for them (its environment variables or file).",
                code="storage_query",
                fields={"uri": shown},
            )
    return parts.query


def _without_credentials(uri: str) -> str:
    return re.sub(r"//[^/@]*:[^/]*@", "//…@", uri.partition("?")[0])


def _checked_name(name: str, where: str) -> str:
    if not _NAME.fullmatch(name):
        raise StorageError(
            f"{where}: {name!r} is not a valid name for a run in a storage. Use letters, digits, '.', '_' and '-', "
            "and begin with a letter or digit. The name of a run is the last part of --out.",
            code="storage_run_name",
            fields={"where": where},
        )
    return name


def _is_of_a_run(name: str) -> bool:
    return any(one.fullmatch(name) for one in (_NAME, _CHECKPOINT_FILE, _BASE_FILE, _SOURCE_FILE))


def _local_names(run_dir: Path) -> set[str]:
    found = (path.relative_to(run_dir).as_posix() for path in run_dir.rglob("*") if path.is_file())
    return set(filter(_is_of_a_run, found))


def _checkpoints(names: Collection[str]) -> set[str]:
    """Folders of checkpoints, whole or not, below the folder of all."""
    return {match[1] for name in names if (match := _CHECKPOINT_FILE.fullmatch(name))}


def _whole(names: Collection[str]) -> set[str]:
    """Folders of checkpoints that were sent to their end."""
    return {
        folder
        for folder in _checkpoints(names)
        if all(f"{CHECKPOINTS}/{folder}/{name}" in names for name in (TENSORS, STATE))
    }


def _has_no_folders(place: Place) -> bool:
    return place.system.type_name in _OBJECT_STORES


@contextmanager
def _in_our_words(place: Place, what: str) -> Iterator[None]:
    """Whatever a storage's library raises, as an error that says what it was about."""
    try:
        yield
    except Exception as error:  # of libraries that we do not know, each with its own
        _refuse(place, what, error)


def _refuse(place: Place, what: str, error: Exception) -> NoReturn:
    raise StorageError(
        f"{_without_credentials(place.uri)}: {what} ({_first_line(error)}). Check that the storage is reachable "
        "and that these credentials may list, read, write and remove files there.",
        code="storage_failed",
    ) from error


def _first_line(error: Exception) -> str:
    text = (str(error).splitlines() or [""])[0].rstrip(".")
    return text or type(error).__name__


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
