"""Rows of a parquet file: only the columns that are asked for are decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rlgan.base.errors import DataError

MAGIC = b"PAR1"
_ROWS = 65_536  # that are decoded together


class ParquetRows:
    """A parquet file that is open.

    Args:
        path: of the file, for errors.
        data: its bytes.

    Raises:
        DataError: it is damaged.

    Attributes:
        names: of its columns.
    """

    def __init__(self, path: str, data: bytes) -> None:
        self._path = path
        try:
            self._file = pq.ParquetFile(pa.BufferReader(data))
        except (pa.ArrowInvalid, OSError) as error:
            raise self._damaged(error) from error
        self.names: list[str] = list(self._file.schema_arrow.names)

    def records(self, names: Sequence[str] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """The rows as objects, each with its number, from 1; of the named columns alone, if some are named.

        Raises:
            DataError: the file is damaged, or a column cannot be read.
        """
        number = 0
        try:
            for batch in self._file.iter_batches(_ROWS, columns=None if names is None else list(names)):
                for record in batch.to_pylist():
                    number += 1
                    yield number, record
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DataError:
        return DataError(
            f"{self._path}: damaged or truncated parquet data ({error}). Download or write the file again.",
            code="damaged_parquet",
            fields={"path": self._path},
        )
