"""Prompts as conditions: ids of a language model's tokens, behind which stands a mark that is none of them.

A condition ends with the id V, where a model has the ids 0 to V - 1: so the model's own special tokens, the one that
ends a turn among them, are ordinary tokens of a prompt, and nobody has to guess where it ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import Tensor

from rlgan.base.errors import DataError
from rlgan.base.settings import Settings

from ..model_tokens import Message, ModelTokens
from ..reading import count, which_lines
from ..sequence_space import SequenceSpace
from ..vocabulary import END_NAME
from .demonstration_shapes import Prompt
from .lines import padded
from .sources import ReadSources, Source

Template = Literal["chat", "plain"]
"""What becomes of a prompt: "chat" puts it into the model's chat template, a text as what the user says; "plain" reads
text as it is."""


class PromptReading(Settings):
    """How prompts of a user become conditions: plain data."""

    kind: Literal["prompts"] = "prompts"
    are_words: ClassVar[bool] = False
    separator: ClassVar[str | None] = None

    tokens: ModelTokens
    """Tokenizer of the model."""
    template: Template
    """How to format a prompt."""
    max_length: int
    """Maximum number of tokens of a prompt; of a longer one the last tokens are kept."""
    encoding: str = "utf-8"
    """Character encoding of the training files."""

    @property
    def model_tokens(self) -> ModelTokens:
        """See `Reading.model_tokens`."""
        return self.tokens

    @property
    def is_chat(self) -> bool:
        """See `Reading.is_chat`."""
        return self.template == "chat"

    @property
    def space(self) -> SequenceSpace:
        """Alphabet and shape of conditions."""
        size = self.tokens.size
        return SequenceSpace(size + 1, self.max_length + 1, end_id=size, start_id=size)

    @property
    def names(self) -> tuple[str, ...]:
        """How each id of a condition is shown."""
        return (*self.tokens.names, END_NAME)

    def ids_of(self, prompts: Sequence[Prompt], wheres: Sequence[str]) -> list[list[int]]:
        """Ids of prompts, however long.

        Raises:
            DataError: a conversation, and there is no chat template, or it refuses it.
        """
        rendered: dict[int, str] = {}
        plain: dict[int, str] = {}
        for place, prompt in enumerate(prompts):
            if isinstance(prompt, str) and self.template != "chat":
                plain[place] = prompt
            elif self.template == "plain":
                plain[place] = "\n".join(one["content"] for one in as_conversation(prompt))
            else:
                messages = as_conversation(prompt)
                rendered[place] = self.tokens.prompt(messages, wheres[place])
        found = dict(zip(plain, self.tokens.prompt_ids([*plain.values()]), strict=True))
        found |= dict(zip(rendered, self.tokens.rendered_ids([*rendered.values()]), strict=True))
        return [found[place] for place in range(len(prompts))]

    def conditions(self, prompts: Sequence[Source], path: str) -> Tensor:
        """Prompts as conditions (n, S) int64; of one that is too long the last tokens.

        Args:
            prompts: texts, or conversations.
            path: where they are from, for errors.

        Raises:
            DataError: a conversation, and there is no chat template, or it refuses it.
        """
        rows = self.ids_of(
            [_prompt_of(one) for one in prompts], [f"{path}, element {number}" for number in range(len(prompts))]
        )
        return padded([ids[-self.max_length :] for ids in rows], self.space)

    def read(self, texts: Sequence[Source], path: str, numbers: Sequence[int] | None = None) -> ReadSources:
        """Prompts as conditions.

        Args:
            texts: one prompt each; a list of texts is what user and assistant said in turn, the user last.
            path: where they are from, for errors.
            numbers: of the lines that they stand on; None: 1, 2, ...

        Returns:
            One condition a prompt, and what was cut.

        Raises:
            DataError: there is none, or a line is empty.
        """
        places = list(range(1, len(texts) + 1)) if numbers is None else list(numbers)
        if not texts:
            raise DataError(
                f"{path}: contains no lines. Give a file with one prompt per line.",
                code="no_prompts",
                fields={"path": path},
            )
        prompts: list[Prompt] = []
        wheres = [f"{path}, line {number}" for number in places]
        for where, text in zip(wheres, texts, strict=True):
            if not _said(text).strip():
                raise DataError(
                    f"{where}: is empty, but each line is a prompt. Remove the line.",
                    code="prompt_line_empty",
                    fields={"where": where},
                )
            prompts.append(_prompt_of(text))
        rows = self.ids_of(prompts, wheres)
        over_long = [number for number, ids in zip(places, rows, strict=True) if len(ids) > self.max_length]
        notes: tuple[str, ...] = ()
        if over_long:
            which = which_lines(over_long)
            notes = (f"cut {count(len(over_long), 'prompt')} to the last {self.max_length} tokens, {which}",)
        conditions = padded([ids[-self.max_length :] for ids in rows], self.space)
        return ReadSources(conditions, (), notes)


def as_conversation(prompt: Prompt) -> list[Message]:
    """A prompt as messages: a text is what the user says."""
    return [{"role": "user", "content": prompt or ""}] if prompt is None or isinstance(prompt, str) else prompt


def _said(source: Source) -> str:
    if isinstance(source, str):
        return source
    return "".join(one if isinstance(one, str) else str(one.get("content", "")) for one in source)


def _prompt_of(source: Source) -> Prompt:
    if isinstance(source, str):
        return source
    if all(isinstance(one, str) for one in source):
        return _in_turn([str(one) for one in source])
    return [one for one in source if not isinstance(one, str)]


def _in_turn(said: Sequence[str]) -> list[Message]:
    # The last one is the user's, who waits for an answer.
    roles = ("user", "assistant")
    return [{"role": roles[(len(said) - 1 - place) % 2], "content": text} for place, text in enumerate(said)]
