"""Reward functions of the user's own: recognised by their signature, checked, called in batches, added up with weights.

Two forms are known. A function of tokens is `rlgan.envs.RewardFunction`; the names of its parameters tell it:

    f(tokens, mask)  f(tokens, mask, conditions)              → (B,) tensor

A function of texts has the signature that users of TRL know:

    f(completions, **kwargs)  f(prompts, completions, **columns)  → a list of B numbers, or None for a row

Both are handed what else they name: `targets` (what the data has for the same condition), `seed` or `rng` (for what is
random), `completion_ids` (of texts: a list of ids a row), and their options. A class is built with its options, once a
process, and its instances are called.

What a function returns must depend on its batch alone and on `seed` or `rng`: a batch is a shard, which any worker may
compute, or compute again. What calls it, and when, is `rlgan.rollouts`'s.

B sequences, F functions
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from typing_extensions import Self

from rlgan.base.devices import CPU
from rlgan.base.errors import ConfigError, PluginError
from rlgan.base.search_priors import NotSearched
from rlgan.base.seeding import stream, stream_seed
from rlgan.base.settings import FreeOnResume
from rlgan.envs.tasks.task import Task, decode
from rlgan.envs.transition import pad_after_end, sequence_mask
from rlgan.extensions import (
    Loaded,
    Plugin,
    PluginKind,
    RaisedError,
    TakesPlugin,
    as_number,
    bound,
    brief,
    call_in_time,
    check_options,
    own_lines,
    signature_of,
)
from rlgan.sampling.records import Rollouts

from .logit_maps import DiscriminatorReward, Probability
from .reward_base import Finished, FinishedReward, LogitMap, Scored, Source

Form = Literal["tokens", "texts"]

_OF_TOKENS = ("tokens", "mask", "conditions", "targets", "seed", "rng")
_OF_TEXTS = ("prompts", "completions", "completion_ids", "targets", "seed", "rng")
_OFFERED: Mapping[Form, tuple[str, ...]] = {"tokens": _OF_TOKENS, "texts": _OF_TEXTS}
_WITH_ALL = ("prompts", "completions", "completion_ids")  # what **kwargs of a function of texts gets
_FORMS = (
    "f(tokens, mask) or f(tokens, mask, conditions), which return a tensor (B,); or f(completions, **kwargs) or "
    "f(prompts, completions, **kwargs), which return a list of B numbers"
)
_SHOWN = 200  # characters of a text that an error shows
_NUM_CHECKED = 4  # sequences of the task that functions are tried on before a run


class WeightedFunction(Plugin):
    """A reward function, and what it weighs among others."""

    plugin_kind: ClassVar[PluginKind] = "reward"

    weight: float = 1.0
    """Factor of the returned reward."""

    def check_object(self, loaded: Loaded) -> None:
        """See `Plugin.check_object`."""
        _form_of(self, loaded.object)


class PluginReward(FinishedReward, TakesPlugin):
    """Your own functions, added up, with or without the discriminator.

        reward = map_weight · map(u) + Σ weight_i · f_i

    The sum is over the functions that return a reward for the sequence. The reward of ORGAN (Guimaraes et al. 2017,
    eq. 6), a discriminator and an objective of the domain, has map_weight = λ and weight = 1 - λ.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("one's own")
    plugin_kind: ClassVar[PluginKind] = "reward"
    compares: ClassVar[bool] = True

    kind: Literal["plugin"] = "plugin"
    functions: tuple[WeightedFunction, ...] = Field(min_length=1)
    """`FILE.py:NAME,...`, or a JSON list of settings."""
    map: Annotated[DiscriminatorReward, Field(discriminator="kind")] | None = Probability()
    """Map of the discriminator's logit; null uses the functions only."""
    map_weight: float = 1.0
    """Factor of the map."""
    timeout_s: Annotated[float, FreeOnResume()] = Field(60.0, gt=0.0)
    """Maximum number of seconds for a call of a function. If a call takes longer, the run stops and keeps its last
    checkpoint."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [one.short_name for one in self.functions]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise ConfigError(
                    f"reward.functions: two functions are named {name!r}: {self.functions[names.index(name)].name} "
                    f"and {self.functions[index].name}. Rename one of them.",
                    code="reward_named_twice",
                )
        return self

    @classmethod
    def of_plugin(cls, name: str) -> dict[str, Any]:
        """See `TakesPlugin.of_plugin`."""
        return {"functions": [name]}

    @classmethod
    def beside(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """See `TakesPlugin.beside`: without a discriminator the functions stand alone."""
        return {"map": None} if config.get("discriminator") is None else {}

    @property
    def reads(self) -> frozenset[Source]:
        """Texts, and the discriminator's logits where there is a map of them."""
        return frozenset({"texts"}) if self.map is None else frozenset({"texts", "discriminator"})

    @property
    def logit_map(self) -> LogitMap | None:
        """The one that the functions stand beside."""
        return self.map

    @property
    def own_code_s(self) -> float:
        """Each function is called once a batch."""
        return len(self.functions) * self.timeout_s

    def scorer(self, task: Task) -> RewardFunctions:
        """See `Reward.scorer`: the functions, which are tried on a few sequences first.

        Raises:
            ConfigError: a function asks for what the task does not have, or cannot be repeated.
            PluginError: a function raises, hangs, or returns no rewards.
        """
        functions = RewardFunctions(self.functions, texts_of(task), self.timeout_s)
        check_functions(functions, task, 0)
        return functions

    def described(self, rollouts: Rollouts) -> dict[str, float]:
        """See `Reward.described`: `reward/NAME_mean` and `reward/NAME_std` of each function."""
        if rollouts.score_parts is None:
            return {}
        return described_rewards([one.short_name for one in self.functions], rollouts.score_parts)

    def of_finished(self, real_logits: Tensor | None, scores: Tensor | None) -> Tensor:
        """See `FinishedReward.of_finished`: map_weight · map(u) + score."""
        if self.map is None:
            return self.scores_there(scores)
        return self.map_weight * self.map.of_logits(self.logits_there(real_logits)) + self.scores_there(scores)


@dataclass(frozen=True, slots=True)
class Texts:
    """How sequences of a task, and what they are given, are shown.

    Attributes:
        sequences: (B, T) → B strings.
        conditions: (B, S) → B strings; None where sequences are given nothing.
    """

    sequences: Callable[[Tensor], list[str]]
    conditions: Callable[[Tensor], list[str]] | None


def texts_of(task: Task) -> Texts:
    """How a task shows its sequences, without the sequences."""
    given = task.conditions
    return Texts(
        partial(decode, task.space, task.token_names, task.joining),
        None if given is None else partial(decode, given.space, given.token_names, given.joining),
    )


@dataclass(frozen=True)
class RewardFunctions:
    """Functions that are loaded where they are first called: it travels to workers by pickle.

    Attributes:
        plugins: their settings.
        texts: how sequences are shown.
        timeout_s: seconds that one call of one function may take.
    """

    plugins: tuple[WeightedFunction, ...]
    texts: Texts
    timeout_s: float

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_functions"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @cached_property
    def _functions(self) -> tuple[_Function, ...]:
        return tuple(_Function.of(plugin) for plugin in self.plugins)

    def __call__(self, finished: Finished) -> Scored:
        """Rewards of a batch; see `SequenceScorer`.

        Returns:
            Σ weight · reward over the functions that had one for the row, and as parts what each returned, unweighted,
            NaN where it returned None.

        Raises:
            PluginError: a function raises, hangs, or returns something else than a finite number or None for each row;
                or none of them has a reward for a row.
        """
        rows = _mapped(finished, lambda part: part.to(CPU))
        columns = [_values(one, rows, self.texts, self.timeout_s) for one in self._functions]
        each = np.array(columns, dtype=np.float64).T.reshape(len(rows.tokens), len(columns))
        empty = np.isnan(each).all(1)
        if empty.any():
            row = int(empty.argmax())
            names = ", ".join(plugin.short_name for plugin in self.plugins)
            raise PluginError(
                f"reward functions {names}: all returned None for {_shown(rows, row, self.texts)}. At least one "
                "must return a number for every row.",
                code="reward_all_none",
            )
        weights = np.array([plugin.weight for plugin in self.plugins])
        total = np.nansum(each * weights, axis=1)
        return Scored(torch.from_numpy(total).float(), torch.from_numpy(each).float())


def check_functions(functions: RewardFunctions, task: Task, seed: int) -> None:
    """Try functions on a few sequences of a task before a run begins, the empty one among them.

    Args:
        functions: of the run's reward.
        task: that the run is on.
        seed: of the run.

    Raises:
        ConfigError: a function asks for what the task does not have, or returns other numbers the second time.
        PluginError: see `RewardFunctions.__call__`.
    """
    for one in functions._functions:
        one.require_offered(task)
    rows = _some_rows(task, seed)
    first, again = functions(rows).parts, functions(rows).parts
    assert first is not None and again is not None
    differs = (first != again) & ~(first.isnan() & again.isnan())
    if bool(differs.any()):
        row, column = (int(index) for index in differs.nonzero()[0])
        raise ConfigError(
            f"{functions._functions[column].described}: returned {float(first[row, column]):g} for "
            f"{_shown(rows, row, functions.texts)}, but {float(again[row, column]):g} when called again. Use the "
            "parameter `seed` or `rng` for randomness, and keep no state between calls: any worker may compute a "
            "batch.",
            code="reward_not_repeatable",
        )


def _some_rows(task: Task, seed: int) -> Finished:
    """A few validation sequences, then the shortest sequence that a generator can draw."""
    space, number = task.space, min(_NUM_CHECKED, len(task.valid))
    tokens = task.valid[:number].long()
    shortest = torch.full((1, space.max_length), space.pad_id)
    tokens = pad_after_end(space, torch.cat([tokens, shortest]))
    rows = [*range(number), 0]
    conditions = None if task.conditions is None else task.conditions.valid[rows].long()
    targets = None if task.conditions is None else task.valid[rows].long()
    return Finished(tokens, sequence_mask(space, tokens), conditions, targets, seed)


@dataclass(frozen=True)
class _Function:
    """A function that is ready to be called.

    Attributes:
        plugin: its settings.
        call: with its options bound.
        form: what it is a function of.
        takes: names of what it is handed.
        needs: those of them that have no default.
        path: of the file with its source.
    """

    plugin: WeightedFunction
    call: Callable[..., Any]
    form: Form
    takes: frozenset[str]
    needs: frozenset[str]
    path: str = field(default="")

    @classmethod
    def of(cls, plugin: WeightedFunction) -> _Function:
        """Loaded and, where it is a class, built."""
        loaded = plugin.load()
        form = _form_of(plugin, loaded.object)
        parameters = signature_of(plugin, loaded.object, _FORMS).parameters.values()
        named = {one.name: one.default is one.empty for one in parameters if one.name in _OFFERED[form]}
        with_all = form == "texts" and any(one.kind is one.VAR_KEYWORD for one in parameters)
        takes = frozenset(named) | (frozenset(_WITH_ALL) if with_all else frozenset())
        needs = frozenset(name for name, is_needed in named.items() if is_needed)
        return cls(plugin, bound(plugin, loaded), form, takes, needs, loaded.path)

    @property
    def described(self) -> str:
        return _described(self.plugin)

    def require_offered(self, task: Task) -> None:
        for name in ("conditions", "targets"):
            if name in self.needs and task.conditions is None:
                raise ConfigError(
                    f"{self.described}: its parameter {name!r} has no default, but task={task.name!r} has no "
                    "conditions. Give it the default None, or use a task with conditions.",
                    code="reward_parameter_no_default",
                    fields={"task": task.name},
                )

    def arguments(self, rows: Finished, texts: Texts) -> dict[str, Any]:
        """What it is called with."""
        name = self.plugin.short_name
        offers: Mapping[str, Callable[[], Any]] = {
            "seed": lambda: stream_seed(rows.seed, "reward", name),
            "rng": lambda: stream(rows.seed, "reward", name),
        }
        if self.form == "tokens":
            offers = {
                **offers,
                "tokens": rows.tokens.clone,  # what a function does to it is nobody else's
                "mask": rows.mask.clone,
                "conditions": lambda: None if rows.conditions is None else rows.conditions.clone(),
                "targets": lambda: None if rows.targets is None else rows.targets.clone(),
            }
        else:
            offers = {
                **offers,
                "completions": lambda: texts.sequences(rows.tokens),
                "completion_ids": lambda: [
                    row[:length] for row, length in zip(rows.tokens.tolist(), rows.mask.sum(1).tolist(), strict=True)
                ],
                "prompts": lambda: _prompts(rows, texts),
                "targets": lambda: None if rows.targets is None else texts.sequences(rows.targets),
            }
        given = {name: offers[name]() for name in self.takes}
        return {name: value for name, value in given.items() if value is not None or name in self.needs}


def _mapped(rows: Finished, function: Callable[[Tensor], Tensor]) -> Finished:
    """The same function of every tensor that is there."""
    given, beside = (None if part is None else function(part) for part in (rows.conditions, rows.targets))
    return replace(rows, tokens=function(rows.tokens), mask=function(rows.mask), conditions=given, targets=beside)


def _some(rows: Finished, first: int, end: int) -> Finished:
    return _mapped(rows, lambda part: part[first:end])


def _prompts(rows: Finished, texts: Texts) -> list[str]:
    """What each row is given, as text; empty where rows are given nothing."""
    if rows.conditions is None or texts.conditions is None:
        return [""] * len(rows.tokens)
    return texts.conditions(rows.conditions)


def _described(plugin: WeightedFunction) -> str:
    return f"reward function {plugin.short_name!r} ({plugin.name})"


def _shown(rows: Finished, row: int, texts: Texts) -> str:
    """A row as errors show it."""
    text = texts.sequences(rows.tokens[row : row + 1])[0]
    cut = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"row {row} of {len(rows.tokens)}, {cut!r}"


def _form_of(plugin: WeightedFunction, target: Any) -> Form:
    """What a function is of, by the names of its parameters.

    Raises:
        ConfigError: it has none of the forms, or not the parameters that its options set.
    """
    signature = signature_of(plugin, target, _FORMS)
    names = signature.parameters
    form: Form
    if "completions" in names:
        form = "texts"
    elif {"tokens", "mask"} <= names.keys():
        form = "tokens"
    else:
        raise ConfigError(
            f"{_described(plugin)}: its signature {signature} is not supported. Name its parameters as in {_FORMS}.",
            code="reward_signature",
        )
    # A class has taken the options already.
    of_call = plugin.model_copy(update={"options": {}}) if inspect.isclass(target) else plugin
    check_options(of_call, signature, _OFFERED[form])
    return form


def _values(one: _Function, rows: Finished, texts: Texts, timeout_s: float) -> list[float]:
    """What a function returns for a batch; NaN for None."""
    try:
        returned = _called_in_time(one, rows, texts, timeout_s)
    except RaisedError as raised:
        row = _row_that_raises(one, rows, texts, timeout_s)
        where = (
            "no single row was found for which it raises"
            if row is None
            else f"the first such row is {_shown(rows, row, texts)}"
        )
        error = raised.error
        raise PluginError(
            f"{one.described}: raised {type(error).__name__}: {error}; {where}. Fix it, or return None for rows "
            f"that it cannot score.{own_lines(error, one.path)}",
            code="reward_raised",
            fields={"plugin": one.described},
        ) from error
    return _checked(one, returned, rows, texts)


def _called_in_time(one: _Function, rows: Finished, texts: Texts, timeout_s: float) -> Any:
    arguments = one.arguments(rows, texts)
    return call_in_time(
        lambda: one.call(**arguments),
        timeout_s,
        lambda: (
            f"{one.described}: did not return within reward.timeout_s={timeout_s:g} seconds, for a batch of "
            f"{len(rows.tokens)} sequences that begins with {_shown(rows, 0, texts)}. Raise reward.timeout_s, or "
            "make it return."
        ),
    )


def _row_that_raises(one: _Function, rows: Finished, texts: Texts, timeout_s: float) -> int | None:
    """The first row for which a function raises by itself, by halving; None where it takes several.

    All calls together have the time of one: a batch may hold thousands of continuations, and an actor that looks for
    a row for hours would be taken for lost.
    """
    ends_at = time.monotonic() + timeout_s

    def raises(part: Finished) -> bool:
        try:
            _called_in_time(one, part, texts, max(ends_at - time.monotonic(), 0.0))
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


def _checked(one: _Function, returned: Any, rows: Finished, texts: Texts) -> list[float]:
    """Returned values as numbers.

    Raises:
        PluginError: they are none, or of another number.
    """
    number = len(rows.tokens)
    allowed = (
        f"Return a list or a one-dimensional tensor of {number} finite numbers, one per row; None means no reward."
    )
    values = returned.detach().cpu().tolist() if isinstance(returned, Tensor) else returned
    values = values.tolist() if isinstance(values, np.ndarray) else values
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Sequence):
        raise PluginError(
            f"{one.described}: returned {brief(returned)} for {number} sequences. {allowed}",
            code="reward_returned",
            fields={"plugin": one.described},
        )
    if len(values) != number:
        raise PluginError(
            f"{one.described}: returned {len(values)} rewards for {number} sequences. {allowed}",
            code="reward_returned_number",
            fields={"plugin": one.described},
        )
    found = []
    for row, value in enumerate(values):
        if value is None:
            found.append(math.nan)
            continue
        number_of_row = as_number(value)
        if number_of_row is None:
            raise PluginError(
                f"{one.described}: returned {brief(value)} for {_shown(rows, row, texts)}. {allowed}",
                code="reward_returned_value",
                fields={"plugin": one.described},
            )
        found.append(number_of_row)
    return found


def described_rewards(names: Sequence[str], each: Tensor) -> dict[str, float]:
    """Mean and standard deviation of what each function returned, over the rows it had a reward for.

    Args:
        names: F short names.
        each: (B, F) float32, NaN where a function had none.

    Returns:
        `reward/NAME_mean` and `reward/NAME_std`; of a function that had no reward for any row, neither.
    """
    metrics: dict[str, float] = {}
    for name, column in zip(names, each.double().unbind(1), strict=True):
        there = column[~column.isnan()]
        if len(there):
            metrics[f"reward/{name}_mean"] = float(there.mean())
            metrics[f"reward/{name}_std"] = float(there.std(correction=0))
    return metrics
