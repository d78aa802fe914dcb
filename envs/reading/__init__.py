"""One reader for all files: from bytes to texts and to pairs, whatever the format; everything left out is counted.

A file passes through `content` (bytes, unpacked), `opening` (what it holds, recognised), `characters` (UTF-8, lines),
then `tables`, `json_records`, `parquet` or `fasta`, and the columns that are asked for (`columns`, `chats`) become
strings of one line each (`values`). How is said by `How`; nothing here knows what a task makes of the strings.
"""

from __future__ import annotations

from .characters import known_encoding
from .columns import Column, Wanted, as_column
from .how import FileFormat, How, known_separator
from .notes import count, shown, the_first, which_lines
from .sides import PairFile, first_pair, read_pairs_of_file
from .texts import Text, TextFile, read_texts

__all__ = [
    "Column",
    "FileFormat",
    "How",
    "PairFile",
    "Text",
    "TextFile",
    "Wanted",
    "as_column",
    "count",
    "first_pair",
    "known_encoding",
    "known_separator",
    "read_pairs_of_file",
    "read_texts",
    "shown",
    "the_first",
    "which_lines",
]
