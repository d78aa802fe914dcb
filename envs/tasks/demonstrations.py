"""Demonstrations for a language model: prompts, and what was answered to each; or one of the two alone.

They are in the model's tokens.

Records come in many shapes (`demonstration_shapes.py`), and text becomes ids as the model's own samples do: what ends a
completion is what ends a sample (`envs/model_tokens.py`). Everything left out or cut is counted in the notes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from rlgan.base.errors import ConfigError, DataError
from rlgan.base.pretrained import HubModel, ModelFolder
from rlgan.base.settings import IsFile

from ..model_tokens import ModelTokens
from ..reading import Column, as_column, count, which_lines
from ..reading.records import RecordFile, read_records
from ..sequence_space import SequenceSpace
from .demonstration_shapes import Demonstration, Shape, demonstration, prompt_shape_of, shape_of
from .lines import FromFiles, Limit, Normalisation, OverLong, fit, split_off
from .numbering import Places, Rows, equal_texts, first_of_each
from .prompts import PromptReading, as_conversation
from .remarks import a_handful
from .task import Conditions, Records, Sides, Task, TaskMeasure

_SPLITS = ("train", "valid", "test")
_LONGEST = 512  # tokens of a prompt, and of a completion, where nothing is said
_LONGEST_ALONE = 256  # tokens of a completion, where there is none to go by; as many as in TRL

Form = Literal["prompts", "texts", "prompts_alone"]
Template = Literal["auto", "chat", "plain"]


class DemonstrationsTask(FromFiles):
    """Training data of a language model: prompts with their completions, or texts, in the tokens of a model."""

    knows_distribution: ClassVar[bool] = False
    is_certain: ClassVar[bool] = False
    is_stream: ClassVar[bool] = False
    has_prompts: ClassVar[bool] = True
    are_words: ClassVar[Sides] = (False, False)
    kind: Literal["demonstrations"] = "demonstrations"

    demonstrations: Annotated[str, IsFile("demonstrations")] = Field(min_length=1)
    """File of the demonstrations, or a folder written by save_to_disk of datasets. Validation and test data are
    split off from it unless they have their own files."""

    valid: Annotated[str | None, IsFile()] = Field(default=None, min_length=1)
    """File of the validation data, for early stopping and model selection; None: split off."""

    test: Annotated[str | None, IsFile()] = Field(default=None, min_length=1)
    """File of the test data, for the reported metrics; None: split off."""

    model: Annotated[ModelFolder | HubModel, Field(discriminator="kind")]
    """Language model whose tokenizer and chat template are used."""

    form: Form = "prompts"
    """What the data contains: prompts with completions; only texts; or prompts_alone, without completions, for a run
    that learns by rewards alone."""

    prompt: Column | None = None
    """Field of the prompt: a name, or a path into objects; None: recognised by the shape."""

    completion: Column | None = None
    """Field of the completion, of the text, or of the whole conversation; None: recognised by the shape."""

    template: Template = "auto"
    """How to format a prompt: "chat" applies the model's chat template, with a text as the user's message; "plain"
    keeps text as it is; "auto" uses chat for conversations and plain for texts."""

    max_prompt_length: int | None = Field(default=None, ge=1)
    """Maximum number of tokens of a prompt, including the template; None: the longest training prompt, but at most
    512."""

    over_long_prompt: OverLong = "drop"
    """What to do with a demonstration whose prompt is longer: "drop" it, keep the last tokens of the prompt ("cut"),
    or raise an error. Validation and test data are cut instead of dropped."""

    max_length: int | None = Field(default=None, ge=2)
    """Maximum number of tokens T of a completion, including the end token; None: the longest training completion,
    but at most 512. With form prompts_alone None is 256."""

    over_long: OverLong = "drop"
    """What to do with a longer completion: drop its demonstration, cut it to T tokens (it then has no end token), or
    raise an error. Validation and test data are cut instead of dropped."""

    @field_validator("prompt", "completion", mode="before")
    @classmethod
    def _columns_have_names(cls, value: object, info: Any) -> object:
        value = as_column(str(info.field_name), value)
        if isinstance(value, int):
            raise ConfigError(
                (
                    f"{info.field_name}={value}: fields of demonstrations are read by name, not by number. Give "
                    "the name of a field."
                ),
                code="field_is_number",
                fields={info.field_name: value},
            )
        return value

    @model_validator(mode="after")
    def _settings_of_both_sides_have_effect(self) -> DemonstrationsTask:
        if self.form == "prompts_alone":
            for name, value in {"completion": self.completion, "over_long": self.over_long}.items():
                if value not in (None, "drop"):
                    raise ConfigError(
                        f"{name}={value!r}: has no effect with form='prompts_alone', which has no completions. Remove "
                        "it.",
                        code="prompts_have_no_completions",
                        fields={name: value},
                    )
        if self.form != "texts":
            return self
        idle = {
            "prompt": self.prompt,
            "template": None if self.template == "auto" else self.template,
            "max_prompt_length": self.max_prompt_length,
            "over_long_prompt": None if self.over_long_prompt == "drop" else self.over_long_prompt,
        }
        for name, value in idle.items():
            if value is not None:
                raise ConfigError(
                    f"{name}={value!r}: has no effect with form='texts', which has no prompts. Remove it.",
                    code="texts_have_no_prompts",
                    fields={name: value},
                )
        return self

    @property
    def language_model(self) -> ModelFolder | HubModel:
        """Whose tokens these are."""
        return self.model

    @property
    def gives_conditions(self) -> bool:
        """Whether each sequence comes with a prompt."""
        return self.form != "texts"

    @property
    def has_real_sequences(self) -> bool:
        """Whether there are completions, or texts."""
        return self.form != "prompts_alone"

    @property
    def measures(self) -> frozenset[TaskMeasure]:
        """See `TaskMeasure`."""
        found: dict[Form, frozenset[TaskMeasure]] = {
            "prompts": frozenset({"references"}),
            "texts": frozenset({"text"}),
            "prompts_alone": frozenset(),
        }
        return found[self.form]

    @property
    def noun(self) -> str:
        """What a record is called in counts."""
        return "demonstration" if self.has_real_sequences else "prompt"

    @property
    def held_out_files(self) -> Mapping[str, tuple[str, str]]:
        """See `FromFiles.held_out_files`."""
        files = {"valid": self.valid, "test": self.test}
        return {split: (split, path) for split, path in files.items() if path is not None}


@dataclass
class _Split:
    """Demonstrations of a file or a split, and where they stand."""

    path: str
    unit: str
    numbers: Places
    shown: list[Demonstration]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, places: Places) -> _Split:
        shown = [self.shown[place] for place in places.tolist()]
        return replace(self, numbers=self.numbers[places], shown=shown)

    def where(self, place: int) -> str:
        return f"{self.path}, {self.unit} {self.numbers[place]}"


@dataclass
class _Ids:
    """The same as ids.

    Attributes:
        split: the demonstrations.
        wholes: (n,) numbers that are equal, in all splits, where whole prompts are.
        prompts: of each; none of texts alone.
        completions: of each, without an end.
    """

    split: _Split
    wholes: Places
    prompts: Rows | None
    completions: Rows

    def take(self, places: Places) -> _Ids:
        prompts = None if self.prompts is None else self.prompts.take(places)
        return _Ids(self.split.take(places), self.wholes[places], prompts, self.completions.take(places))


def build_demonstrations_task(settings: DemonstrationsTask) -> Task:
    """Read, split and encode the files.

    Raises:
        ConfigError: a library is not installed.
        DataError: a file is missing, unreadable or not what it should be; the model has no tokenizer or chat template
            that can be used; or nothing is left to train or to measure on.
    """
    notes: list[str] = []
    files = {}
    for split in ("train", *settings.held_out_files):
        path = settings.demonstrations if split == "train" else settings.held_out_files[split][1]
        file = read_records(path, settings.how, "a file of demonstrations")
        notes += [f"{path}: {note}" for note in file.notes]
        files[split] = file
    return _built(settings, files, ModelTokens.of(settings.model), notes)


def demonstrations_task(
    rows: Sequence[Mapping[str, Any]],
    model: ModelFolder | HubModel,
    *,
    valid: Sequence[Mapping[str, Any]] | None = None,
    test: Sequence[Mapping[str, Any]] | None = None,
    **settings: Any,
) -> Task:
    """A task of demonstrations that are there already, as records: what a plug-in of your own data returns.

    Args:
        rows: records, in any shape that a file may have; also a split of the library datasets.
        model: language model whose tokenizer and chat template are used.
        valid: records held out for early stopping and selection; None splits some off.
        test: records held out for the figures that are reported; likewise.
        settings: further settings of `DemonstrationsTask`.

    Raises:
        DataError: as `build_demonstrations_task`.
    """
    given = {"train": rows, "valid": valid, "test": test}
    named = {name: f"{name} rows" for name in ("valid", "test") if given[name] is not None}
    task = DemonstrationsTask(demonstrations="train rows", model=model, **named, **settings)
    files = {
        split: RecordFile(f"{split} rows", list(one), list(range(1, len(one) + 1)), "row")
        for split, one in given.items()
        if one is not None
    }
    for file in files.values():
        if not file.records:
            raise DataError(
                f"{file.path}: contains no demonstrations. Give at least one record.",
                code="no_demonstrations",
                fields={"path": file.path},
            )
    return _built(task, files, ModelTokens.of(model), [])


def _built(
    settings: DemonstrationsTask, files: Mapping[str, RecordFile], tokens: ModelTokens, notes: list[str]
) -> Task:
    splits = _splits(settings, files, notes)
    end, ends_turn = _end_of(settings, splits["train"], tokens)
    reading = PromptReading(
        tokens=tokens,
        template="chat" if ends_turn else "plain",
        max_length=settings.max_prompt_length or 1,
        encoding=settings.encoding,
    )
    groups = _groups([one for split in _SPLITS for one in splits[split].shown])
    wholes = np.split(groups, np.cumsum([len(splits[split]) for split in _SPLITS[:-1]]))
    ids = {
        split: _encoded(splits[split], number, settings, reading, tokens, end, notes)
        for split, number in zip(_SPLITS, wholes, strict=True)
    }
    longest_of_all = _room(ids["train"].completions, 1) if settings.has_real_sequences else _LONGEST_ALONE
    limit = Limit(settings.max_length or longest_of_all, settings.over_long)
    if settings.gives_conditions:
        assert ids["train"].prompts is not None
        longest = settings.max_prompt_length or _room(ids["train"].prompts, 0)
        reading = reading.model_copy(update={"max_length": longest})
    uncut = {}
    for split in _SPLITS:
        drops = split == "train"
        if settings.gives_conditions:
            how: OverLong = settings.over_long_prompt if drops or settings.over_long_prompt == "error" else "cut"
            ids[split], about = _fit_prompts(ids[split], reading.max_length, how)
            notes += [f"{split}: {note}" for note in about]
        own = limit if drops or limit.over_long == "error" else replace(limit, over_long="cut")
        one = ids[split]
        completions, kept, about = fit(
            one.completions,
            own,
            path=one.split.path,
            numbers=one.split.numbers,
            noun="completion",
            unit=one.split.unit,
        )
        notes += [f"{split}: {note}" for note in about]
        ids[split] = replace(one.take(kept), completions=completions)
        uncut[split] = one.completions.take(kept)
    return _task(settings, reading, ids, uncut, limit.max_length, end, ends_turn, notes)


def _task(
    settings: DemonstrationsTask,
    reading: PromptReading,
    ids: Mapping[str, _Ids],
    uncut: Mapping[str, Rows],
    max_length: int,
    end: int,
    ends_turn: bool,
    notes: list[str],
) -> Task:
    tokens, conditions = reading.tokens, None
    special = tokens.loaded
    names = tokens.names
    pad, unknown = special.pad_token_id, special.unk_token_id
    space = SequenceSpace(
        tokens.size,
        max_length,
        end_id=end,
        unknown_id=None if unknown == end else unknown,
        start_id=tokens.start,
        padding_id=None if pad == end else pad,
    )
    notes.append(
        (
            f"tokenizer: {tokens.size} tokens of {tokens.name}; a completion has at most {max_length} tokens and ends "
            f"with {special.convert_ids_to_tokens(end)!r}"
        )
        + (", which ends a turn of the chat template" if ends_turn else "")
    )
    if settings.gives_conditions:
        conditions = Conditions(
            space=reading.space,
            train=_filled(_prompts(ids["train"]), reading.space),
            valid=_filled(_prompts(ids["valid"]), reading.space),
            test=_filled(_prompts(ids["test"]), reading.space),
            token_names=reading.names,
            joining=tokens.joining,
            reading=reading,
            valid_words=_words(_prompts(ids["valid"]), names),
            test_words=_words(_prompts(ids["test"]), names),
            valid_sources=torch.from_numpy(ids["valid"].wholes),
            test_sources=torch.from_numpy(ids["test"].wholes),
            train_records=_records(ids["train"].split.shown),
            valid_records=_records(ids["valid"].split.shown),
            test_records=_records(ids["test"].split.shown),
        )
        notes.append(f"prompts: at most {reading.max_length} tokens")
    for split in _SPLITS:
        one = ids[split]
        described = f"{split}: {count(len(one.split), settings.noun)}"
        if one.prompts is not None:
            described += f", {count(int(one.prompts.lengths.sum()), 'token')} of prompts"
        if settings.has_real_sequences:
            described += f", {count(int(one.completions.lengths.sum()), 'token')} of completions"
        notes.append(described)
        option = settings.held_out_files.get(split, (split, ""))[0]
        notes += a_handful(split, len(one.split), settings.noun, f"--task.{option}")
    for split in settings.held_out_files:
        shared = int(np.isin(ids[split].wholes, ids["train"].wholes).sum())
        if shared:
            what = (
                "prompts also occur in the training data"
                if settings.gives_conditions
                else "texts also occur in the training data"
            )
            notes.append(f"{split}: {shared} of {len(ids[split].split)} {what}")
    return Task(
        name="demonstrations",
        space=space,
        train=_filled(ids["train"].completions, space),
        valid=_filled(ids["valid"].completions, space),
        test=_filled(ids["test"].completions, space),
        token_names=names,
        joining=tokens.joining,
        notes=tuple(notes),
        conditions=conditions,
        valid_words=_words(uncut["valid"], names) if settings.has_real_sequences else None,
        test_words=_words(uncut["test"], names) if settings.has_real_sequences else None,
        measures=settings.measures,
        columns=_COLUMNS[settings.form],
        model_tokens=tokens,
        language_model=settings.model,
        has_real_sequences=settings.has_real_sequences,
    )


_COLUMNS: Mapping[Form, tuple[str, ...]] = {
    "prompts": ("prompt", "completion"),
    "texts": ("text",),
    "prompts_alone": ("prompt",),
}


def _records(shown: Sequence[Demonstration]) -> Records:
    """What demonstrations hold beside their ids, by columns."""
    names = dict.fromkeys(name for one in shown for name in one.columns)
    return Records([one.prompt for one in shown], {name: [one.columns.get(name) for one in shown] for name in names})


def _prompts(ids: _Ids) -> Rows:
    assert ids.prompts is not None
    return ids.prompts


def _splits(settings: DemonstrationsTask, files: Mapping[str, RecordFile], notes: list[str]) -> dict[str, _Split]:
    """The demonstrations of every split; what was left out is added to the notes."""
    splits = {}
    for split, file in files.items():
        if settings.has_real_sequences:
            shape = shape_of(file, settings.prompt, settings.completion, are_texts=not settings.gives_conditions)
        else:
            shape = prompt_shape_of(file, settings.prompt)
        if split == "train":
            fields = [repr(field) for field in (shape.prompt, shape.completion) if field is not None]
            described = f"the fields {' and '.join(fields)}" if fields[1:] else f"the field {fields[0]}"
            notes.append(f"{file.path}: {shape.name}, from {described}")
        splits[split] = _shown(settings, file, shape, notes)
    if settings.is_split_here:
        train, groups = splits["train"], _groups(splits["train"].shown)
        noun = "distinct prompt" if settings.gives_conditions else "distinct text"
        shares = split_off(int(groups.max()) + 1, settings, path=train.path, noun=noun)
        for split, chosen in shares.items():
            splits[split] = train.take(np.flatnonzero(np.isin(groups, chosen)))
    return splits


def _shown(settings: DemonstrationsTask, file: RecordFile, shape: Shape, notes: list[str]) -> _Split:
    found: list[Demonstration] = []
    numbers, empty = [], []
    for place, number in enumerate(file.numbers):
        one = demonstration(file, place, shape)
        if one is None:
            empty.append(number)
        else:
            found.append(_normalised(one, settings.normalisation))
            numbers.append(number)
    if empty:
        notes.append(
            f"{file.path}: skipped {count(len(empty), settings.noun)} "
            + ("with an empty prompt or completion, " if settings.has_real_sequences else "without content, ")
            + which_lines(empty, file.unit)
        )
    if not found and not settings.has_real_sequences:
        raise DataError(
            f"{file.path}: none of its {count(len(file.numbers), 'record')} has a prompt that is not empty. Give "
            "prompts, or set --task.prompt to their field.",
            code="no_prompt_left",
            fields={"path": file.path},
        )
    if not found:
        raise DataError(
            (
                f"{file.path}: none of its {count(len(file.numbers), 'record')} has both a prompt and a completion "
                "that are not empty. Give demonstrations with both, or set --task.form to prompts_alone and reward "
                "samples by functions of your own."
            ),
            code="no_complete_demonstration",
            fields={"path": file.path},
        )
    split = _Split(file.path, file.unit, np.array(numbers, dtype=np.int64), found)
    if settings.drops_repeated:
        # Prompts alone are the same where all is that a reward function may read.
        others = [one.completion if settings.has_real_sequences else repr(one.columns) for one in found]
        kept = first_of_each(equal_texts([_key(one) for one in found], others))
        if len(kept) < len(split):
            notes.append(f"{file.path}: dropped {count(len(split) - len(kept), f'repeated {settings.noun}')}")
            split = split.take(kept)
    return split


def _normalised(one: Demonstration, form: Normalisation) -> Demonstration:
    if form == "none":
        return one
    known: Literal["NFC", "NFKC"] = "NFC" if form == "nfc" else "NFKC"

    def of(text: str) -> str:
        return unicodedata.normalize(known, text)

    prompt = one.prompt
    if isinstance(prompt, str):
        prompt = of(prompt)
    elif prompt is not None:
        prompt = [{**message, "content": of(message["content"])} for message in prompt]
    return replace(one, prompt=prompt, completion=of(one.completion))


def _key(one: Demonstration) -> str:
    """Equal where prompts are."""
    if one.prompt is None:
        return one.completion
    if isinstance(one.prompt, str):
        return one.prompt
    return "\x1e".join(f"{message['role']}\x1f{message['content']}" for message in one.prompt)


def _groups(shown: Sequence[Demonstration]) -> Places:
    return equal_texts([_key(one) for one in shown])


def _end_of(settings: DemonstrationsTask, train: _Split, tokens: ModelTokens) -> tuple[int, bool]:
    """Id that ends completions, and whether it ends a turn of a chat rather than a text."""
    chats = [one for one in train.shown if _is_chat(one, settings.template)]
    if chats and len(chats) < len(train):
        raise DataError(
            (
                f"{train.path}: {len(chats)} of {len(train)} prompts are conversations and the others are texts, which "
                "end with different tokens. Set --task.template chat to apply the chat template to the texts, too."
            ),
            code="prompts_of_two_kinds",
            fields={"path": train.path},
        )
    return (tokens.end_of_turn, True) if chats else (tokens.end_of_text, False)


def _is_chat(one: Demonstration, template: Template) -> bool:
    """Whether the chat template writes its prompt."""
    if one.prompt is None or template == "plain":
        return False
    return template == "chat" or not isinstance(one.prompt, str)


def _encoded(
    split: _Split,
    wholes: Places,
    settings: DemonstrationsTask,
    reading: PromptReading,
    tokens: ModelTokens,
    end: int,
    notes: list[str],
) -> _Ids:
    wheres = [split.where(place) for place in range(len(split))]
    if not settings.has_real_sequences:
        asked = _rows(reading.ids_of([one.prompt for one in split.shown], wheres))
        return _Ids(split, wholes, asked, _rows([()] * len(split)))
    said = []
    for where, one in zip(wheres, split.shown, strict=True):
        if _is_chat(one, settings.template):
            said.append(tokens.answer(as_conversation(one.prompt), one.completion, where)[0])
        else:
            said.append(one.completion)
    completions = tokens.completion_ids(said)
    holds_end = [place for place, ids in enumerate(completions) if end in ids]
    empty = [place for place, ids in enumerate(completions) if not ids]
    if holds_end or empty:
        lost = sorted({*holds_end, *empty})
        which = which_lines(split.numbers[lost].tolist(), split.unit)
        notes.append(
            f"{split.path}: dropped {count(len(lost), 'demonstration')} whose completion has no token, or contains "
            f"the end token, {which}"
        )
        kept = np.setdiff1d(np.arange(len(split)), lost)
        if not len(kept):
            raise DataError(
                f"{split.path}: no completion is left. Give completions that the tokenizer can encode.",
                code="no_completion_left",
                fields={"path": split.path},
            )
        split, wholes = split.take(kept), wholes[kept]
        wheres = [wheres[place] for place in kept.tolist()]
        completions = [completions[place] for place in kept.tolist()]
    prompts = None
    if settings.gives_conditions:
        prompts = _rows(reading.ids_of([one.prompt for one in split.shown], wheres))
    return _Ids(split, wholes, prompts, _rows(completions))


def _rows(ids: Sequence[Sequence[int]]) -> Rows:
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    flat = np.fromiter((token for row in ids for token in row), dtype=np.int32, count=int(lengths.sum()))
    return Rows(flat, np.cumsum(lengths) - lengths, lengths)


def _room(rows: Rows, more: int) -> int:
    """Tokens of the longest row and so many more, at least 1 and those; at most as many as where nothing is said."""
    return max(1 + more, min(int(rows.lengths.max()) + more, _LONGEST))


def _fit_prompts(ids: _Ids, longest: int, how: OverLong) -> tuple[_Ids, list[str]]:
    """The demonstrations whose prompts fit, and what was done."""
    assert ids.prompts is not None
    over_long = np.flatnonzero(ids.prompts.lengths > longest)
    if not len(over_long):
        return ids, []
    number, split = len(over_long), ids.split
    which = which_lines(split.numbers[over_long].tolist(), split.unit)
    if how == "error":
        raise DataError(
            (
                f"{split.where(int(over_long[0]))}: the prompt has {ids.prompts.lengths[over_long[0]]} tokens, but "
                f"max_prompt_length is {longest} ({count(number, 'such prompt')}). Increase max_prompt_length, or set "
                "over_long_prompt to 'drop' or 'cut'."
            ),
            code="prompt_too_long",
            fields={"where": split.where(int(over_long[0])), "max_prompt_length": longest},
        )
    if how == "cut":
        prompts = ids.prompts.cut(longest, keeps_end=True)
        return replace(ids, prompts=prompts), [f"cut {count(number, 'prompt')} to the last {longest} tokens, {which}"]
    if number == len(split):
        shortest = int(ids.prompts.lengths.min())
        raise DataError(
            (
                f"{split.path}: every prompt is too long: the shortest has {shortest} tokens, but max_prompt_length is "
                f"{longest}. Increase max_prompt_length, or set over_long_prompt to 'cut'."
            ),
            code="all_prompts_too_long",
            fields={"path": split.path, "max_prompt_length": longest},
        )
    kept = np.setdiff1d(np.arange(len(split)), over_long)
    return ids.take(kept), [f"dropped {count(number, 'prompt')} longer than {longest} tokens, {which}"]


def _filled(rows: Rows, space: SequenceSpace) -> Tensor:
    """(n, T) int32 with the terminator and padding after each row that has room for them."""
    tokens = np.full((len(rows), space.max_length), space.pad_id, dtype=np.int32)
    for place in range(len(rows)):
        ids = rows.row(place)
        tokens[place, : len(ids)] = ids
        if len(ids) < space.max_length and space.end_id is not None:
            tokens[place, len(ids)] = space.end_id
    return torch.from_numpy(tokens)


def _words(rows: Rows, names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(names[token] for token in rows.row(place).tolist()) for place in range(len(rows)))
