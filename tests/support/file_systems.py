"""A file system that dies or fails on demand, as a storage does that is far away."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

OBJECTS = "objects"


class Watched(fs.FileSystemHandler):
    """A local folder whose operations are noted, and of which one may fail.

    Args:
        dies_at: number of the operation, from 0, at which everything ends: it is not done, or half of it, and none
            after it. None never does.
        is_down: is asked before each operation, readings too; where it says True, they fail.
        objects: behaves as an object store, in which a file is seen when it is closed and no folder is ever made.
    """

    def __init__(
        self, dies_at: int | None = None, is_down: Callable[[], bool] = lambda: False, objects: bool = False
    ) -> None:
        self._local = fs.LocalFileSystem()
        self.dies_at, self._is_down, self._objects = dies_at, is_down, objects
        self.done: list[str] = []
        self.is_dead = False

    def system(self) -> fs.PyFileSystem:
        return fs.PyFileSystem(self)

    def change(self, what: str, path: str) -> None:
        """Note an operation that changes something; raises where it is the last."""
        self.read()
        if len(self.done) == self.dies_at:
            self.is_dead = True
            raise OSError("killed")
        self.done.append(f"{what} {Path(path).name}")

    def read(self) -> None:
        if self.is_dead or self._is_down():
            raise OSError("the storage is down")

    def get_type_name(self) -> str:
        return OBJECTS if self._objects else "watched"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> Any:
        self.read()
        return self._local.get_file_info(paths)

    def get_file_info_selector(self, selector: fs.FileSelector) -> Any:
        self.read()
        return self._local.get_file_info(selector)

    def create_dir(self, path: str, recursive: bool) -> None:
        assert not self._objects, "an object store has no folders"
        if not Path(path).exists():
            self.change("mkdir", path)
            self._local.create_dir(path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        # Not one operation: each file goes by itself.
        for file in sorted(Path(path).iterdir()):
            self.change("delete", str(file))
            file.unlink()
        self.change("rmdir", path)
        Path(path).rmdir()

    def delete_file(self, path: str) -> None:
        self.change("delete", path)
        Path(path).unlink()

    def move(self, src: str, dest: str) -> None:
        self.change("move", dest)
        self._local.move(src, dest)

    def open_input_stream(self, path: str) -> Any:
        self.read()
        return self._local.open_input_stream(path, compression=None)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        return pa.PythonFile(_Output(self, path, self._objects), mode="w")

    def copy_file(self, src: str, dest: str) -> None:
        raise NotImplementedError

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        raise NotImplementedError

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        raise NotImplementedError

    def open_input_file(self, path: str) -> Any:
        raise NotImplementedError


class _Output(io.RawIOBase):
    """A file being written: opened, written and closed are three operations."""

    def __init__(self, handler: Watched, path: str, objects: bool) -> None:
        self._handler, self._path, self._objects = handler, Path(path), objects
        self._content = b""
        handler.change("open", path)
        if not objects:
            self._path.write_bytes(b"")

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        try:
            self._handler.change("write", str(self._path))
        except OSError:
            self._keep(bytes(content)[: len(content) // 2])
            raise
        self._keep(bytes(content))
        return len(content)

    def _keep(self, content: bytes) -> None:
        self._content += content
        if not self._objects:
            self._path.write_bytes(self._content)

    def close(self) -> None:
        if not self.closed:
            super().close()
            if self._objects:
                self._handler.change("put", str(self._path))
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.write_bytes(self._content)
