"""Values of records as strings of one line each; whatever is no text is refused with its record and its field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rlgan.base.errors import DataError

from .characters import Spaces, one_line
from .chats import Turn, is_chat, num_without_content, turns_of
from .columns import Wanted, paths_to_texts
from .json_records import json_type
from .notes import beginning, count


class Values:
    """Makes strings of values, and counts what became a space.

    Attributes:
        spaces: what was read as a space.
        num_silent: messages without content, as those that only call a tool have.
    """

    def __init__(self) -> None:
        self.spaces = Spaces()
        self.num_silent = 0

    def notes(self) -> list[str]:
        """What is to be said of all of them."""
        silent = f"read {count(self.num_silent, 'message')} without content (null, as in tool calls) as empty text"
        return [*self.spaces.notes(" within strings"), *([silent] if self.num_silent else [])]

    def text(self, where: str, name: str, value: Any, wanted: Wanted) -> str:
        """A value that is a string.

        Raises:
            DataError: it is none; names the record and the field.
        """
        if not isinstance(value, str):
            raise _no_text(where, name, value, wanted, "a string")
        return self._cleaned(where, name, value)

    def texts(self, where: str, name: str, value: Any, wanted: Wanted) -> str | list[str]:
        """A value that is a string or a list of strings.

        Raises:
            DataError: it is neither; names the record and the field.
        """
        if isinstance(value, str):
            return self._cleaned(where, name, value)
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            raise _no_text(where, name, value, wanted, "a string or a list of strings")
        return [self._cleaned(where, name, part) for part in value]

    def turns(self, where: str, name: str, value: Any) -> list[Turn] | None:
        """A value that is a list of messages; None where it is none."""
        if not is_chat(value):
            return None
        self.num_silent += num_without_content(value)
        return [(role, self._cleaned(where, name, text)) for role, text in turns_of(where, name, value)]

    def _cleaned(self, where: str, name: str, text: str) -> str:
        if text.isprintable():
            return text
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{where}: field {name!r} contains half of a surrogate pair ({text[error.start]!a}), which is not "
                "a character. Write the file again with whole characters.",
                code="lone_surrogate",
                fields={"where": where},
            ) from error
        return one_line(text, self.spaces)


def _no_text(where: str, name: str, value: Any, wanted: Wanted, expected: str) -> DataError:
    if isinstance(value, Mapping) and (paths := paths_to_texts(value, f"{name}.")):
        return DataError(
            f"{where}: field {name!r} is an object; expected {expected}. Its fields with text are "
            f"{', '.join(map(repr, paths))}. Name the one of the {wanted.side}, for instance {wanted.option} "
            f"{paths[0]}.",
            code="field_is_object",
            fields={"where": where},
        )
    wrong = next((part for part in value if not isinstance(part, str)), value) if isinstance(value, list) else value
    within = "a list with " if isinstance(value, list) and wrong is not value else ""
    return DataError(
        f"{where}: field {name!r} is {within}{json_type(wrong)} ({beginning(json.dumps(wrong, default=str))}); "
        f"expected {expected}. Write it as a string, or remove the record.",
        code="field_type",
        fields={"where": where},
    )
