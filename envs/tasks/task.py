"""What every task offers the trainer: sequences, how to show them, the exact distribution where it is known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from rlgan.base.errors import ShapeError

from ..sequence_space import SequenceSpace
from ..spelling import Spelling
from ..vocabulary import Joining, join_tokens

if TYPE_CHECKING:
    from rlgan.base.pretrained import HubModel, ModelFolder

    from ..drawing import Drawing
    from ..model_tokens import Message, ModelTokens
    from .prompts import PromptReading
    from .sources import Reading


_ROWS_AT_ONCE = 1 << 15

TaskMeasure = Literal["text", "references", "summaries"]
"""What can be measured of sequences of a task, beside likelihoods and, where `knows_distribution`, the gaps to the
known distribution:

* text: samples beside held-out text (BLEU, Self-BLEU, language models, encoders);
* references: the likeliest sequence of each condition beside references as they were written (corpus BLEU, chrF);
* summaries: ROUGE of the same, which goes with "references".

Settings of a task and the task that is built of them both say it, as `measures`.
"""

Sides = tuple[bool, bool]
"""Whether tokens of conditions, and of sequences, are words of a text; settings of a task say it as `are_words`."""

Words = tuple[tuple[str, ...], ...]
"""Of several sequences their tokens, as they were written."""

Mode = Literal["fixed", "stream"]
"""Where training sequences come from; settings of a task whose distribution is known say it as `mode`:

* fixed: a training split, which is learned from again and again;
* stream: the distribution, anew each time that some are learned from, or shown to the discriminator.
"""


class Stream(Protocol):
    """Training sequences without end."""

    def __call__(self, num_sequences: int, seed: int) -> tuple[Tensor, Tensor | None]:
        """Draw sequences, independent of those of any other seed.

        Args:
            num_sequences: number of sequences B.
            seed: seeds the draw completely.

        Returns:
            (B, T) int64 finished sequences, padded, and (B, S) int64 their conditions; None where they have none.
        """
        ...


class Oracle(Protocol):
    """An exactly known distribution over sequences."""

    entropy: float
    """Entropy of the distribution in nats per token, H(p_d)/T."""

    def logprobs(self, tokens: Tensor) -> Tensor:
        """Log-probability of each token given its prefix.

        Args:
            tokens: (B, T) int64.

        Returns:
            (B, T) float32, log p(tokens[b, t] | tokens[b, :t]) in nats.
        """
        ...

    def sample(self, num_sequences: int, seed: int) -> Tensor:
        """Draw sequences.

        Args:
            num_sequences: number of sequences B.
            seed: seeds the draw completely.

        Returns:
            (B, T) int64.
        """
        ...


@dataclass(frozen=True)
class Records:
    """What the records of a split hold beside the ids of its sequences; element i belongs to sequence i.

    Attributes:
        prompts: as they stand in the data: texts, or conversations as lists of {"role", "content"}.
        columns: name of a field → its values, None where a record lacks it; fields that hold prompts and completions
            are among them where they have names of their own.
    """

    prompts: Sequence[str | list[Message] | None]
    columns: Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Conditions:
    """What the sequences of a task are given: a source sentence, the turns before an answer, a document.

    Row i of a split belongs to row i of the same split of the task. A condition is a sequence like any other, finished
    and padded, with an alphabet of its own.

    Attributes:
        space: alphabet and shape of the conditions.
        train: (n, S) integer, as narrow as in `Task`.
        valid: (n, S) integer.
        test: (n, S) integer.
        token_names: strings, how each id of a condition is shown.
        joining: how the tokens of a condition become text.
        distribution: from conditions (B, S) the exact distribution of B sequences, sequence b given condition b; its
            entropy is the mean over these conditions. None where it is not known.
        stream: from a number and a seed the conditions that `Task.stream` returns for them, without their sequences;
            None where there is no such stream, or it cannot draw conditions alone.
        reading: how sources that somebody brings become conditions; None where they are no text.
        valid_words: of each condition of `valid` its tokens as they were written, those that have no id, too; None
            where they are not kept.
        test_words: the same of `test`.
        valid_sources: (n,) int64, of each condition of `valid` the number of its whole source, before that was cut to
            its greatest length: sources are the same where these are; None where there are no whole ones.
        test_sources: the same of `test`.
        train_records: the records that `train` was read from; None where they are not kept.
        valid_records: the same of `valid`.
        test_records: the same of `test`.
    """

    space: SequenceSpace
    train: Tensor
    valid: Tensor
    test: Tensor
    token_names: tuple[str, ...]
    joining: Joining = "words"
    distribution: Callable[[Tensor], Oracle] | None = None
    stream: Callable[[int, int], Tensor] | None = None
    reading: Reading | PromptReading | None = None
    valid_words: Words | None = None
    test_words: Words | None = None
    valid_sources: Tensor | None = None
    test_sources: Tensor | None = None
    train_records: Records | None = None
    valid_records: Records | None = None
    test_records: Records | None = None

    def decode(self, tokens: Tensor) -> list[str]:
        """Show conditions (B, S) as text, cut at the terminator, which is not shown."""
        return decode(self.space, self.token_names, self.joining, tokens)


@dataclass(frozen=True)
class Task:
    """A built task. Splits hold finished sequences, padded after the terminator.

    Attributes:
        name: what messages call it: the kind of its settings.
        space: alphabet and shape of the sequences.
        train: (n, T) integer, sequences to learn from; int64, or what is narrower and holds V ids: whoever takes a
            batch of them makes it int64.
        valid: (n, T) integer, held out, for early stopping and selection.
        test: (n, T) integer, held out, for the figures that are reported.
        token_names: V strings, how each id is shown.
        joining: how tokens become text.
        oracle: the exact distribution, or None where it is not known or sequences are given something; see `oracle_of`.
        notes: lines for the log: counts of what was read, cut, dropped, split.
        conditions: what the sequences are given, or None where they are given nothing.
        valid_words: of each sequence of `valid` its tokens as they were written, those that have no id or no room,
            too; None where they are not kept.
        test_words: the same of `test`.
        measures: what can be measured of its sequences; "references" needs conditions and `test_words`.
        columns: names of the fields of its data set, for a tracking server; () where it is drawn and not read.
        model_tokens: the tokens of a language model that its sequences are written in; None where they are its own.
        language_model: where that model is; None where there is none, or nobody says.
        stream: draws training sequences that are new each time, for a task whose `mode` is stream; None where `train`
            is what there is.
        drawing: how its sequences are drawn; None where they stand for no pictures.
        has_real_sequences: whether the splits are data. False where the data has only what sequences are given, as
            prompts without completions: the splits then have as many rows as the conditions, without a token before
            their end, and nobody may learn from them or compare with them.
    """

    name: str
    space: SequenceSpace
    train: Tensor
    valid: Tensor
    test: Tensor
    token_names: tuple[str, ...]
    joining: Joining = "words"
    oracle: Oracle | None = None
    notes: tuple[str, ...] = field(default=())
    conditions: Conditions | None = None
    valid_words: Words | None = None
    test_words: Words | None = None
    measures: frozenset[TaskMeasure] = frozenset()
    columns: tuple[str, ...] = ()
    model_tokens: ModelTokens | None = None
    language_model: ModelFolder | HubModel | None = None
    stream: Stream | None = None
    drawing: Drawing | None = None
    has_real_sequences: bool = True

    def __post_init__(self) -> None:
        # What is built for the sequences must know what they are given, and there is one place to say it.
        condition = None
        if self.conditions is not None:
            spelling = Spelling(self.conditions.token_names, self.conditions.joining)
            condition = replace(self.conditions.space, spelling=spelling)
        spelling = Spelling(self.token_names, self.joining)
        space = replace(self.space, condition=condition, spelling=spelling, drawing=self.drawing)
        object.__setattr__(self, "space", space)

    @property
    def has_known_distribution(self) -> bool:
        """Whether `oracle_of` what sequences are given is known."""
        return self.oracle is not None or (self.conditions is not None and self.conditions.distribution is not None)

    @property
    def has_prompts(self) -> bool:
        """Whether conditions are of the sequences' tokens, but for an end of their own, so that a sequence may go on.

        It reads names alone: ids that mean the same have the same name.
        """
        if self.conditions is None:
            return False
        number, names = len(self.token_names), self.conditions.token_names
        ends_apart = len(names) == number + 1 and self.conditions.space.end_id == number
        return names[:number] == self.token_names and (len(names) == number or ends_apart)

    def oracle_of(self, conditions: Tensor | None) -> Oracle | None:
        """The exact distribution of sequences given `conditions` (B, S), row by row; None where it is unknown."""
        if self.conditions is None:
            return self.oracle
        return (
            None
            if self.conditions.distribution is None or conditions is None
            else self.conditions.distribution(conditions)
        )

    def fingerprint(self) -> str:
        """Tells whether this task is built of the same sequences and tokens as another; hexadecimal."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256("\n".join(self.token_names).encode())
        if self.drawing is not None:
            digest.update(self.drawing.digest.encode())
        splits = [self.train, self.valid, self.test]
        if self.conditions is not None:
            digest.update("\n".join(self.conditions.token_names).encode())
            splits += [self.conditions.train, self.conditions.valid, self.conditions.test]
        for split in splits:
            digest.update(str(tuple(split.shape)).encode())
            # As int64, whatever they are kept as, and a part at a time: all at once would be the splits once more.
            for part in split.split(_ROWS_AT_ONCE):
                digest.update(part.long().contiguous().numpy().data)
        return digest.hexdigest()

    def decode(self, tokens: Tensor) -> list[str]:
        """Show sequences as text, cut at the terminator, which is not shown.

        Args:
            tokens: (B, T) integer.

        Returns:
            B strings.
        """
        return decode(self.space, self.token_names, self.joining, tokens)


def sequences_to_try(task: Task, split: Literal["valid", "test"], number: int) -> Tensor:
    """A few sequences (n, T) int64 of a held-out split, on which functions of the user's own are tried.

    Where the data has none they are what sequences are given, read as sequences: the last T - 1 tokens of each prompt,
    without those that end sequences.

    Args:
        task: of the run.
        split: whose.
        number: at most.
    """
    rows: Tensor = getattr(task, split)[:number].long()
    if task.has_real_sequences:
        return rows
    assert task.conditions is not None
    end = task.space.end_id
    rows = torch.full_like(rows, task.space.pad_id)
    for row, condition in zip(rows, getattr(task.conditions, split)[:number].tolist(), strict=True):
        given = condition[: condition.index(task.conditions.space.end_id)]
        kept = [token for token in given if token != end and token < task.space.vocab_size][1 - task.space.max_length :]
        row[: len(kept)] = torch.tensor(kept)
        if end is not None:
            row[len(kept)] = end
    return rows


def require_one_a_condition(num_sequences: int, num_conditions: int) -> None:
    """See to it that the distribution of one sequence for each condition is of as many sequences.

    Raises:
        ShapeError: another number of sequences than of conditions.
    """
    if num_sequences != num_conditions:
        raise ShapeError(
            f"num_sequences={num_sequences}: must be {num_conditions}, one sequence per condition.",
            code="one_sequence_per_condition",
            fields={"num_sequences": num_sequences},
        )


def stream_of(distribution: Oracle) -> Stream:
    """Training sequences without end, of a distribution of sequences that are given nothing."""

    def stream(num_sequences: int, seed: int) -> tuple[Tensor, Tensor | None]:
        return distribution.sample(num_sequences, seed), None

    return stream


def seeded_conditions(drawn: Callable[[int, int], Tensor]) -> Callable[[int, int], Tensor]:
    """`Conditions.stream` of conditions that are drawn by a number and a seed."""

    def stream(num_conditions: int, seed: int) -> Tensor:
        return drawn(num_conditions, _seeds_of_pairs(seed)[0])

    return stream


def stream_of_pairs(distribution: Callable[[Tensor], Oracle], conditions_of: Callable[[int, int], Tensor]) -> Stream:
    """Training sequences without end, each given a condition.

    Args:
        distribution: from conditions that of their sequences, see `Conditions.distribution`.
        conditions_of: what `seeded_conditions` returned.
    """

    def stream(num_sequences: int, seed: int) -> tuple[Tensor, Tensor | None]:
        conditions = conditions_of(num_sequences, seed)
        return distribution(conditions).sample(num_sequences, _seeds_of_pairs(seed)[1]), conditions

    return stream


def _seeds_of_pairs(seed: int) -> tuple[int, int]:
    """Of the conditions, and of their sequences."""
    of_conditions, of_sequences = np.random.SeedSequence(seed).generate_state(2).tolist()
    return of_conditions, of_sequences


def stream_note(name: str, is_stream: bool) -> tuple[str, ...]:
    """The line of `Task.notes` that says it where training sequences are a stream."""
    if not is_stream:
        return ()
    return (f"{name}: mode=stream: training sequences are drawn anew each time; the train split only counts an epoch",)


def decode(
    space: SequenceSpace, token_names: Sequence[str], joining: Joining, tokens: Tensor, *, in_one_line: bool = True
) -> list[str]:
    """Show sequences as text, cut at the terminator, which is not shown.

    Args:
        space: the task's sequences.
        token_names: V strings, how each id is shown.
        joining: how tokens become text.
        tokens: (B, T) integer.
        in_one_line: whether line breaks and control characters become spaces.

    Returns:
        B strings.
    """
    lines = []
    for row in tokens.tolist():
        length = row.index(space.end_id) if space.end_id in row else len(row)
        names = [token_names[token] for token in row[:length]]
        lines.append(join_tokens(names, joining, in_one_line=in_one_line))
    return lines
