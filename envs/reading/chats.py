"""Conversations as lists of messages: what was said before the last answer, and that answer.

Read are the two usual shapes, {"role": ..., "content": ...} and ShareGPT's {"from": ..., "value": ...}. A content may
be a list of parts, of which each is text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rlgan.base.errors import DataError

from .json_records import json_type
from .notes import beginning

CHAT_FIELDS = ("messages", "conversations")
"""Fields in which whole conversations stand."""

_SHAPES = (("role", "content"), ("from", "value"))
_ANSWERING = {"assistant", "gpt", "chatgpt", "model", "bot"}

Turn = tuple[str, str]


def is_chat(value: object) -> bool:
    """Whether a value is a list of messages."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, Mapping) for one in value)
        and any(all(name in value[0] for name in shape) for shape in _SHAPES)
    )


def turns_of(where: str, name: str, messages: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """Role and text of each message.

    Args:
        where: file and record, for errors.
        name: of the field.
        messages: of one conversation.

    Raises:
        DataError: a message has no role or no content, or one that is not text.
    """
    turns = []
    for place, message in enumerate(messages):
        shape = next((shape for shape in _SHAPES if all(field in message for field in shape)), None)
        if shape is None:
            raise DataError(
                f"{where}: {name}.{place} is not a message; its fields are "
                f"{', '.join(map(repr, message)) or 'none'}. A message has the fields role and content (or from "
                "and value). Fix the message, or remove the record.",
                code="chat_message_fields",
                fields={"where": where},
            )
        turns.append((str(message[shape[0]]), _text_of(where, f"{name}.{place}.{shape[1]}", message[shape[1]])))
    return turns


def _text_of(where: str, name: str, content: object) -> str:
    if content is None:  # a message that only calls a tool
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        if all(isinstance(text, str) for text in texts):
            return " ".join(map(str, texts))
    raise DataError(
        f"{where}: {name} is {json_type(content)} ({beginning(str(content))}); the content of a message must be "
        "text. Write it as a string, or remove the record.",
        code="chat_content_type",
        fields={"where": where},
    )


def num_without_content(messages: Sequence[Mapping[str, Any]]) -> int:
    """How many messages have null for a content."""
    return sum(any(field in message and message[field] is None for _, field in _SHAPES) for message in messages)


def answered(turns: Sequence[Turn]) -> tuple[list[str], str, int]:
    """What was said before the last answer, that answer, and how many turns follow it; no answer is empty text."""
    places = [place for place, (role, _) in enumerate(turns) if role.lower() in _ANSWERING]
    if not places:
        return [text for _, text in turns], "", 0
    last = places[-1]
    return [text for _, text in turns[:last]], turns[last][1], len(turns) - last - 1
