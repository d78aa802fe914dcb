"""Records of demonstrations in the shapes that people have: what is asked, and what was answered.

| record has | prompt | completion | who writes it so |
|---|---|---|---|
| `messages` or `conversations` | all before the last answer | the last answer | TRL, ShareGPT |
| `prompt`, `completion` (or `response`) | text or messages | text or messages | TRL |
| `prompt`, `chosen` | text or messages | what was chosen | TRL, preferences |
| `chosen`, `rejected` | all before the last answer of what was chosen | that answer | TRL, preferences |
| `prompt`, `reward_model.ground_truth` | messages | the ground truth | verl |
| `content`, `teacher_response` | text or messages | text | GAD |
| `real`, `generated` | all before the last answer of the real one | that answer | SPIN |
| a well-known pair of columns | text | text | see `reading.columns` |
| `text` | none | text | TRL |

Of prompts alone the prompt is `prompt`, `messages` or `conversations` (without an answer at the end), `content`, a
well-known source, or `text`. An answer that has a field of its own stays a column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlgan.base.errors import DataError

from ..model_tokens import Message, as_messages
from ..reading.chats import answered, is_chat, turns_of
from ..reading.columns import Column, Path, Wanted, folded, well_known_pairs, well_known_source
from ..reading.json_records import json_type
from ..reading.notes import beginning
from ..reading.records import Record, RecordFile

Prompt = str | list[Message] | None

_CONVERSATIONS = ("messages", "conversations")
_OWN_NAMES = ("prompt", "completion", "completion_ids")
"""Names by which reward functions of TRL are never handed a column of the data."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Where prompt and completion stand in the records of a file.

    Attributes:
        name: what messages call it.
        completion: path of the completion, or of the whole conversation; None where there are prompts alone.
        prompt: path; None where it stands in the conversation that is `completion`, or there is none.
        is_conversation: whether a conversation stands there, whose last answer is the completion; of prompts alone
            whether a conversation stands at `prompt`.
    """

    name: str
    completion: str | None
    prompt: str | None = None
    is_conversation: bool = False


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What was asked and answered.

    Attributes:
        prompt: text, or messages; None where a text stands alone.
        completion: text; empty where there are prompts alone.
        columns: all fields of the record but those called prompt, completion and completion_ids, as in TRL.
    """

    prompt: Prompt
    completion: str
    columns: Mapping[str, Any]


def shape_of(file: RecordFile, prompt: Column | None, completion: Column | None, *, are_texts: bool) -> Shape:
    """The shape of a file, by the fields of its first record.

    Args:
        file: its records.
        prompt: where the prompt stands, if somebody says it.
        completion: where the completion stands, likewise.
        are_texts: whether texts stand alone.

    Raises:
        DataError: it has none that is known.
    """
    record = file.records[0]
    known = folded(list(record))

    def of(*names: str) -> str | None:
        return next((known[name] for name in names if name in known), None)

    if are_texts:
        if completion is not None:
            return Shape("texts", str(completion))
        if (text := of("text")) is not None:
            return Shape("texts", text)
        raise DataError(
            (
                f"{file.where(0)}: has no field 'text'; its fields are {_listed(record)}. Set --task.completion to the "
                "field of the text, or set --task.form prompts for prompts and completions."
            ),
            code="text_field_missing",
            fields={"where": file.where(0)},
        )
    if prompt is not None or completion is not None:
        return _named(file, record, prompt, completion)
    if (field := of(*_CONVERSATIONS)) is not None and is_chat(record[field]):
        return Shape("conversations", field, is_conversation=True)
    asked = of("prompt")
    if asked is not None and (answer := of("completion", "response", "chosen")) is not None:
        return Shape("prompts and completions", answer, asked)
    if asked is not None and isinstance(model := record.get("reward_model"), Mapping) and "ground_truth" in model:
        return Shape("prompts and ground truths (verl)", "reward_model.ground_truth", asked)
    if (content := of("content")) is not None and (answer := of("teacher_response")) is not None:
        return Shape("contents and teacher responses (GAD)", answer, content)
    for whole in ("chosen", "real"):
        if (field := of(whole)) is not None and is_chat(record[field]):
            return Shape(f"conversations ({whole})", field, is_conversation=True)
    if pairs := well_known_pairs(list(record)):
        return Shape("prompts and completions", pairs[0][1], pairs[0][0])
    if of("text") is not None:
        raise DataError(
            (
                f"{file.where(0)}: has texts without prompts (its fields are {_listed(record)}). To learn texts "
                "without prompts, set --task.form texts."
            ),
            code="texts_without_prompts",
            fields={"where": file.where(0)},
        )
    if asked is not None:
        raise DataError(
            f"{file.where(0)}: has prompts without completions (its fields are {_listed(record)}). Set "
            "--task.completion to the field with the answer. To train by a reward of your own, which needs no "
            "completions, set --task.form prompts_alone and --reward FILE.py:NAME.",
            code="prompts_without_completions",
            fields={"where": file.where(0)},
        )
    raise DataError(
        (
            f"{file.where(0)}: its fields are {_listed(record)}; which of them are prompt and completion is unclear. "
            "Set --task.prompt and --task.completion."
        ),
        code="prompt_fields_unclear",
        fields={"where": file.where(0)},
    )


def prompt_shape_of(file: RecordFile, prompt: Column | None) -> Shape:
    """The shape of a file of which prompts alone are read, by the fields of its first record.

    Args:
        file: its records.
        prompt: where the prompt stands, if somebody says it.

    Raises:
        DataError: it has none that is known.
    """
    record = file.records[0]
    if prompt is not None:
        path = str(prompt)
        return Shape("prompts alone", None, path, is_chat(_value(file, 0, path, "prompt", False)))
    known = folded(list(record))
    found = next((known[name] for name in ("prompt", *_CONVERSATIONS, "content") if name in known), None)
    found = found or well_known_source(list(record))
    if found is None:
        raise DataError(
            f"{file.where(0)}: its fields are {_listed(record)}; which of them is the prompt is unclear. Set "
            "--task.prompt.",
            code="prompt_field_unclear",
            fields={"where": file.where(0)},
        )
    return Shape("prompts alone", None, found, is_chat(record[found]))


def _named(file: RecordFile, record: Record, prompt: Column | None, completion: Column | None) -> Shape:
    if completion is not None and prompt is None and is_chat(_value(file, 0, str(completion), "completion", False)):
        return Shape("conversations", str(completion), is_conversation=True)
    missing = "prompt" if prompt is None else "completion" if completion is None else None
    if missing is not None:
        raise DataError(
            f"{file.where(0)}: only one field is set. Also set --task.{missing}; the fields are {_listed(record)}.",
            code="one_side_named",
            fields={"where": file.where(0), "setting": f"task.{missing}"},
        )
    return Shape("prompts and completions", str(completion), str(prompt))


def _listed(record: Record) -> str:
    return ", ".join(map(repr, record)) or "none"


def demonstration(file: RecordFile, place: int, shape: Shape) -> Demonstration | None:
    """What a record demonstrates; None where it has a prompt or a completion without anything.

    Of prompts alone it is the prompt.

    Args:
        file: its records.
        place: of the record, from 0.
        shape: of the file's records.

    Raises:
        DataError: the record is of another shape; names it and its field.
    """
    record = file.records[place]
    columns = {name: value for name, value in record.items() if name not in _OWN_NAMES}
    if shape.completion is None:
        asked = _asked(file, place, shape)
        return None if asked is None else Demonstration(asked, "", columns)
    value = _value(file, place, shape.completion, "completion", place > 0)
    if value is None:
        return None
    if shape.is_conversation:
        if not is_chat(value):
            raise _wrong(file, place, shape.completion, value, "a list of messages")
        turns = turns_of(file.where(place), shape.completion, value)
        _, said, after = answered(turns)
        before = turns[: len(turns) - after - 1] if said else turns
        if not said.strip() or not before:
            return None
        return Demonstration(as_messages(before), said, columns)
    said = _answer(file, place, shape.completion, value)
    prompt: Prompt = None
    if shape.prompt is not None and (prompt := _asked(file, place, shape)) is None:
        return None
    return Demonstration(prompt, said, columns) if said.strip() else None


def _asked(file: RecordFile, place: int, shape: Shape) -> Prompt:
    """What stands at the prompt's path; None where there is nothing."""
    assert shape.prompt is not None
    asked = _value(file, place, shape.prompt, "prompt", place > 0)
    if asked is None:
        return None
    prompt = _prompt(file, place, shape.prompt, asked)
    extra = file.records[place].get("input") if shape.prompt == "instruction" else None
    if isinstance(prompt, str):
        if isinstance(extra, str) and extra.strip():
            prompt = f"{prompt}\n{extra}"
        return prompt if prompt.strip() else None
    if prompt is not None and shape.completion is None and prompt[-1]["role"] == "assistant":
        prompt = prompt[:-1]  # whatever is answered there is no part of the question
    return prompt or None


def _value(file: RecordFile, place: int, path: str, side: str, had: bool) -> Any:
    record = file.records[place]
    return Path.of(path, record).value_in(file.where(place), record, Wanted(side, f"--task.{side}", path), had)


def _answer(file: RecordFile, place: int, name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if is_chat(value):
        turns = turns_of(file.where(place), name, value)
        if len(turns) == 1:
            return turns[0][1]
        raise DataError(
            (
                f"{file.where(place)}: {name} has {len(turns)} messages, but a completion is one answer. Move all "
                "messages before the last one into the prompt."
            ),
            code="completion_of_several_messages",
            fields={"where": file.where(place), "field": name},
        )
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, Sequence) and len(value) == 1 and isinstance(value[0], str):
        return value[0]
    raise _wrong(file, place, name, value, "a string, or a list with one message")


def _prompt(file: RecordFile, place: int, name: str, value: Any) -> Prompt:
    if isinstance(value, str):
        return value
    if is_chat(value):
        return as_messages(turns_of(file.where(place), name, value))
    raise _wrong(file, place, name, value, "a string, or a list of messages")


def _wrong(file: RecordFile, place: int, name: str, value: Any, expected: str) -> DataError:
    return DataError(
        (
            f"{file.where(place)}: field {name!r} is {json_type(value)} ({beginning(str(value))}); expected "
            f"{expected}. Fix the record, or remove it."
        ),
        code="field_of_wrong_type",
        fields={"where": file.where(place), "field": name},
    )
