"""How reward functions of the user's own are called: recognised by their signature, handed what they name, checked.

Which form a function has, its settings say (`reward_forms`). Whatever it returns, `async def` or not, becomes B
numbers, NaN for None. What it logs, and what functions of verl return beside "score", becomes columns of B values.

B sequences
"""

from __future__ import annotations

import asyncio
import inspect
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from rlgan.base.errors import ConfigError, PluginError, nearest
from rlgan.base.seeding import stream, stream_seed
from rlgan.envs.tasks.task import Records, Task, decode
from rlgan.extensions import (
    RaisedError,
    as_number,
    bound,
    brief,
    call_in_time,
    own_lines,
    refusal,
)

from .reward_base import Finished
from .reward_forms import OFFERED, WITH_ALL, Form, WeightedFunction, described, form_of, parameters_of, takes_all

_SHOWN = 200  # characters of a text that an error shows
_LOG_NAME = re.compile(r"[\w\-. /]+", re.ASCII)  # what MLflow takes in a name


@dataclass(frozen=True, slots=True)
class Texts:
    """How sequences of a task, and what they are given, are shown.

    Attributes:
        sequences: (B, T) → B strings.
        conditions: (B, S) → B strings; None where sequences are given nothing.
        records: what the data has for each training sequence, of the columns that functions ask for; None without any.
    """

    sequences: Callable[[Tensor], list[str]]
    conditions: Callable[[Tensor], list[str]] | None
    records: Records | None = None

    def rows_of(self, rows: Finished) -> list[int] | None:
        """Which training sequences a batch belongs to; None where it belongs to none."""
        return None if self.records is None or rows.rows is None else [int(row) for row in rows.rows]


def texts_of(task: Task, records: Records | None = None) -> Texts:
    """How a task shows its sequences, without the sequences.

    Args:
        task: whose. What a language model writes may have lines, and keeps them.
        records: of its training sequences, as far as functions ask for them.
    """
    conditions = task.conditions
    show = partial(decode, in_one_line=task.model_tokens is None)
    return Texts(
        partial(show, task.space, task.token_names, task.joining),
        None if conditions is None else partial(show, conditions.space, conditions.token_names, conditions.joining),
        records,
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """What a function made of a batch.

    Attributes:
        rewards: B numbers, NaN where it has none.
        logged: name → B values.
    """

    rewards: list[float]
    logged: Mapping[str, tuple[Any, ...]]


@dataclass
class _Log:
    """What a function logs during a call.

    Attributes:
        described: how errors call the function.
        number: B.
        columns: name → B values.
    """

    described: str
    number: int
    columns: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def metric(self, name: str, value: Any) -> None:
        """`log_metric`: one number of the batch."""
        self.columns[self._named(name, "log_metric")] = (value,) * self.number

    def extra(self, column: str, values: Sequence[Any]) -> None:
        """`log_extra`: a value for each row."""
        name = self._named(column, "log_extra")
        if len(values) != self.number:
            raise ValueError(f"log_extra({column!r}): {len(values)} values for {self.number} completions")
        self.columns[name] = tuple(values)

    def _named(self, name: str, by: str) -> str:
        if name in ("mean", "std") or not _LOG_NAME.fullmatch(str(name)):
            raise ValueError(f"{by}({name!r}): a name has letters, digits and -_./ only, and is not mean or std")
        return str(name)


@dataclass(frozen=True)
class RewardCall:
    """A function that is ready to be called.

    Attributes:
        plugin: its settings.
        call: with its options bound.
        form: what it is a function of.
        takes: names of what it is handed, columns of the data not included.
        needs: names of its parameters without a default, columns included.
        columns: names that it has parameters for besides, which may be columns of the data.
        takes_all: whether it takes whatever columns there are.
        path: of the file with its source.
    """

    plugin: WeightedFunction
    call: Callable[..., Any]
    form: Form
    takes: frozenset[str]
    needs: frozenset[str]
    columns: frozenset[str]
    takes_all: bool
    path: str = field(default="")

    @classmethod
    def of(cls, plugin: WeightedFunction) -> RewardCall:
        """Loaded and, where it is a class, built."""
        loaded = plugin.load()
        form = form_of(plugin, loaded.object)
        named = parameters_of(plugin, loaded.object)
        offered = frozenset(OFFERED[form])
        set_here = frozenset() if inspect.isclass(loaded.object) else frozenset(plugin.options)
        has_all = form == "texts" and takes_all(plugin, loaded.object)
        own = frozenset(named) - set_here
        return cls(
            plugin,
            bound(plugin, loaded),
            form,
            (own & offered) | (frozenset(WITH_ALL) if has_all else frozenset()),
            frozenset(name for name in own if named[name]),
            own - offered if form == "texts" else frozenset(),
            has_all,
            loaded.path,
        )

    @property
    def described(self) -> str:
        """How errors call it."""
        return described(self.plugin)

    def columns_of(self, records: Records) -> frozenset[str]:
        """Which columns of the data it asks for."""
        there = frozenset(records.columns)
        if self.form in ("samples", "batches"):
            return there & {"data_source", "ground_truth", "reward_model", "extra_info"}
        wanted = there if self.takes_all else there & self.columns
        return wanted - frozenset(self.plugin.options) - frozenset(OFFERED[self.form])

    def require_offered(self, task: Task) -> None:
        """See to it that a task has whatever the function cannot be called without.

        Raises:
            ConfigError: it has not.
        """
        for name in ("conditions", "targets"):
            if name in self.needs and name in self.takes and task.conditions is None:
                raise ConfigError(
                    f"{self.described}: its parameter {name!r} has no default, but task={task.name!r} has no "
                    "conditions. Give it the default None, or use a task with conditions.",
                    code="reward_parameter_no_default",
                    fields={"task": task.name},
                )
        if "targets" in self.needs & self.takes and not task.has_real_sequences:
            raise ConfigError(
                f"{self.described}: its parameter 'targets' has no default, but the data has prompts alone, without "
                "completions. Give it the default None, or name a column of the data.",
                code="reward_needs_completions",
                fields={"task": task.name},
            )
        records = None if task.conditions is None else task.conditions.train_records
        there = frozenset() if records is None else frozenset(records.columns)
        for name in sorted(self.needs - self.takes):
            if name not in there:
                raise self._missing(name, there)
        source = self.takes & {"data_source", "data_sources"} & self.needs
        if source and "data_source" not in there:
            raise self._missing("data_source", there)
        truth = self.takes & {"ground_truth", "ground_truths"} & self.needs
        is_known = task.has_real_sequences or there & {"ground_truth", "reward_model"}
        if truth and (task.conditions is None or not is_known):
            raise self._missing("ground_truth", there)

    def _missing(self, name: str, there: frozenset[str]) -> ConfigError:
        return ConfigError(
            f"{self.described}: its parameter {name!r} has no default, and the data has no such field; its fields are "
            f"{', '.join(sorted(there)) or 'none'}.{nearest(name, there)} Set it in reward.functions.0.options, or "
            "give the parameter a default.",
            code="reward_column_missing",
            fields={"parameter": name},
        )

    def judge(self, rows: Finished, texts: Texts, timeout_s: float) -> Judged:
        """Call it for a batch.

        Args:
            rows: the batch, on the CPU.
            texts: how it is shown.
            timeout_s: seconds that the call may take.

        Raises:
            PluginError: it raises, hangs, or returns something else than a finite number or None for each row.
        """
        log = _Log(self.described, len(rows.tokens))
        try:
            returned = self._in_time(rows, texts, timeout_s, log)
        except RaisedError as raised:
            if (refused := refusal(self.described, raised.error)) is not None:
                raise refused from raised.error
            row = self._row_that_raises(rows, texts, timeout_s)
            where = (
                "no single row was found for which it raises"
                if row is None
                else f"the first such row is {shown_row(rows, row, texts)}"
            )
            error = raised.error
            raise PluginError(
                f"{self.described}: raised {type(error).__name__}: {error}; {where}. Fix it, or return None for rows "
                f"that it cannot score.{own_lines(error, self.path)}",
                code="reward_raised",
                fields={"plugin": self.described},
            ) from error
        rewards = self._checked(returned, rows, texts, log)
        logged = {f"{self.plugin.short_name}_{name}": values for name, values in log.columns.items()}
        return Judged(rewards, logged)

    # ------------------------------------------------------------------ what it is handed

    def _arguments(self, rows: Finished, texts: Texts, log: _Log) -> dict[str, Any]:
        """What it is called with once; of a function of one text a list of that, under the name "each"."""
        name = self.plugin.short_name
        offers: dict[str, Callable[[], Any]] = {
            "seed": lambda: stream_seed(rows.seed, "reward", name),
            "rng": lambda: stream(rows.seed, "reward", name),
        }
        if self.form == "tokens":
            offers |= {
                "tokens": rows.tokens.clone,  # what a function does to it is nobody else's
                "mask": rows.mask.clone,
                "conditions": lambda: None if rows.conditions is None else rows.conditions.clone(),
                "targets": lambda: None if rows.targets is None else rows.targets.clone(),
            }
        elif self.form == "texts":
            offers |= {
                "completions": lambda: _completions(rows, texts),
                "completion_ids": lambda: [
                    row[:length] for row, length in zip(rows.tokens.tolist(), rows.mask.sum(1).tolist(), strict=True)
                ],
                "prompts": lambda: _prompts(rows, texts),
                "targets": lambda: None if rows.targets is None else texts.sequences(rows.targets),
                "trainer_state": lambda: rows.state,
                "log_metric": lambda: log.metric,
                "log_extra": lambda: log.extra,
            }
        else:
            plural = "s" if self.form == "batches" else ""
            offers = {
                f"data_source{plural}": lambda: _column(rows, texts, "data_source"),
                f"solution_str{plural}": lambda: texts.sequences(rows.tokens),
                f"ground_truth{plural}": lambda: _ground_truths(rows, texts),
                f"extra_info{plural}": lambda: [
                    dict(one) if isinstance(one, Mapping) else {} for one in _column(rows, texts, "extra_info")
                ],
            }
        given = {name: offers[name]() for name in self.takes}
        given = {name: value for name, value in given.items() if value is not None or name in self.needs}
        if self.form == "texts" and texts.records is not None:
            for name in self.columns_of(texts.records):
                given[name] = _column(rows, texts, name)
        return given

    def _in_time(self, rows: Finished, texts: Texts, timeout_s: float, log: _Log) -> Any:
        arguments = self._arguments(rows, texts, log)
        return call_in_time(
            lambda: _awaited(self._called(arguments, len(rows.tokens))),
            timeout_s,
            lambda: (
                f"{self.described}: did not return within reward.timeout_s={timeout_s:g} seconds, for a batch of "
                f"{len(rows.tokens)} sequences that begins with {shown_row(rows, 0, texts)}. Raise reward.timeout_s, "
                "or make it return."
            ),
        )

    def _called(self, arguments: Mapping[str, Any], number: int) -> Any:
        if self.form != "samples":
            return self.call(**arguments)
        return [self.call(**{name: values[row] for name, values in arguments.items()}) for row in range(number)]

    def _row_that_raises(self, rows: Finished, texts: Texts, timeout_s: float) -> int | None:
        """The first row for which a function raises by itself, by halving; None where it takes several.

        All calls together have the time of one: a batch may hold thousands of continuations, and an actor that looks
        for a row for hours would be taken for lost.
        """
        ends_at = time.monotonic() + timeout_s

        def raises(part: Finished) -> bool:
            log = _Log(self.described, len(part.tokens))
            try:
                self._in_time(part, texts, max(ends_at - time.monotonic(), 0.0), log)
            except RaisedError:
                return True
            return False

        first, end = 0, len(rows.tokens)
        try:
            while end - first > 1:
                middle = (first + end) // 2
                if raises(_some(rows, first, middle)):
                    end = middle
                else:
                    first = middle
            return first if raises(_some(rows, first, end)) else None
        except PluginError:
            return None  # it hangs, which is another error than the one to tell of

    # ------------------------------------------------------------------ what it returns

    def _checked(self, returned: Any, rows: Finished, texts: Texts, log: _Log) -> list[float]:
        """Returned values as numbers.

        Raises:
            PluginError: they are none, or of another number.
        """
        number = len(rows.tokens)
        allowed = (
            f"Return a list or a one-dimensional tensor of {number} finite numbers, one per row; None means no reward."
        )
        if self.form in ("samples", "batches"):
            allowed = 'Return a finite number, or a dict with "score", for each solution; None means no reward.'
        values = returned.detach().cpu().tolist() if isinstance(returned, Tensor) else returned
        values = values.tolist() if isinstance(values, np.ndarray) else values
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Sequence):
            raise PluginError(
                f"{self.described}: returned {brief(returned)} for {number} sequences. {allowed}",
                code="reward_returned",
                fields={"plugin": self.described},
            )
        if len(values) != number:
            raise PluginError(
                f"{self.described}: returned {len(values)} rewards for {number} sequences. {allowed}",
                code="reward_returned_number",
                fields={"plugin": self.described},
            )
        if self.form in ("samples", "batches"):
            values = _scores(values, log)
        found = []
        for row, value in enumerate(values):
            if value is None:
                found.append(math.nan)
                continue
            number_of_row = as_number(value)
            if number_of_row is None:
                raise PluginError(
                    f"{self.described}: returned {brief(value)} for {shown_row(rows, row, texts)}. {allowed}",
                    code="reward_returned_value",
                    fields={"plugin": self.described},
                )
            found.append(number_of_row)
        return found


def shown_row(rows: Finished, row: int, texts: Texts) -> str:
    """A row as errors show it."""
    text = texts.sequences(rows.tokens[row : row + 1])[0]
    cut = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"row {row} of {len(rows.tokens)}, {cut!r}"


def mapped(rows: Finished, function: Callable[[Tensor], Tensor]) -> Finished:
    """The same function of every tensor that is there."""
    others = (rows.conditions, rows.targets, rows.rows)
    condition_texts, beside, numbers = (None if part is None else function(part) for part in others)
    return replace(
        rows,
        tokens=function(rows.tokens),
        mask=function(rows.mask),
        conditions=condition_texts,
        targets=beside,
        rows=numbers,
    )


def _some(rows: Finished, first: int, end: int) -> Finished:
    return mapped(rows, lambda part: part[first:end])


def _prompts(rows: Finished, texts: Texts) -> list[Any]:
    """What each row is given: as the data has it, else as text; empty where rows are given nothing."""
    if (numbers := texts.rows_of(rows)) is not None:
        assert texts.records is not None
        found = [texts.records.prompts[number] for number in numbers]
        return [one if one is None or isinstance(one, str) else [dict(turn) for turn in one] for one in found]
    if rows.conditions is None or texts.conditions is None:
        return [""] * len(rows.tokens)
    return list(texts.conditions(rows.conditions))


def _completions(rows: Finished, texts: Texts) -> list[Any]:
    """What was written: text, and behind a conversation the assistant's message."""
    written = texts.sequences(rows.tokens)
    if (numbers := texts.rows_of(rows)) is None:
        return list(written)
    assert texts.records is not None
    prompts = texts.records.prompts
    return [
        text if isinstance(prompts[number], str) else [{"role": "assistant", "content": text}]
        for text, number in zip(written, numbers, strict=True)
    ]


def _column(rows: Finished, texts: Texts, name: str) -> list[Any]:
    """A column of the data; None for each row where there is none."""
    numbers = texts.rows_of(rows)
    values = None if texts.records is None else texts.records.columns.get(name)
    if numbers is None or values is None:
        return [None] * len(rows.tokens)
    return [values[number] for number in numbers]


def _ground_truths(rows: Finished, texts: Texts) -> list[Any]:
    """Verl's ground truth: reward_model.ground_truth, or the field ground_truth, or else what the data answers."""
    answers = [None] * len(rows.tokens) if rows.targets is None else texts.sequences(rows.targets)
    models, own = _column(rows, texts, "reward_model"), _column(rows, texts, "ground_truth")
    return [
        model["ground_truth"]
        if isinstance(model, Mapping) and model.get("ground_truth") is not None
        else answer
        if truth is None
        else truth
        for model, truth, answer in zip(models, own, answers, strict=True)
    ]


def _scores(values: Sequence[Any], log: _Log) -> list[Any]:
    """Scores of what verl's functions return; what else is in a dictionary is logged."""
    names = dict.fromkeys(name for one in values if isinstance(one, Mapping) for name in one if name != "score")
    for name in names:
        if name not in ("mean", "std") and _LOG_NAME.fullmatch(str(name)):
            log.extra(name, [one.get(name) if isinstance(one, Mapping) else None for one in values])
    return [one["score"] if isinstance(one, Mapping) and "score" in one else one for one in values]


def _awaited(returned: Any) -> Any:
    """What a function returned, waited for where it is `async def`; several at once."""
    if inspect.isawaitable(returned):
        return asyncio.run(_one(returned))
    if isinstance(returned, list) and returned and all(inspect.isawaitable(one) for one in returned):
        return asyncio.run(_all(returned))
    return returned


async def _one(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _all(awaitables: Sequence[Awaitable[Any]]) -> list[Any]:
    return list(await asyncio.gather(*awaitables))
