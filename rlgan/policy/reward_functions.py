"""Reward functions of the user's own in a run: their settings, and all of them for a batch, added up with weights.

How one function is called, and what it may look like, is `reward_calls`. What a function returns must depend on its
batch alone and on `seed` or `rng`: a batch is a shard, which any worker may compute, or compute again. What calls it,
and when, is `rlgan.rollouts`'s.

B sequences, F functions
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from typing_extensions import Self

from rlgan.base.declarations import Fields
from rlgan.base.devices import CPU
from rlgan.base.errors import ConfigError
from rlgan.base.problems import Problem
from rlgan.base.search_priors import NotSearched
from rlgan.base.seeding import stream_seed
from rlgan.base.settings import FreeOnResume
from rlgan.envs.tasks.task import Records, Task, sequences_to_try
from rlgan.envs.transition import pad_after_end, sequence_mask
from rlgan.extensions import PluginKind, TakesPlugin, as_number
from rlgan.metrics.reward_means import reward_means
from rlgan.sampling.records import Rollouts

from .groups import separately_normalised
from .logit_maps import LOGIT_MAPS, DiscriminatorReward, Probability
from .reward_base import Finished, FinishedReward, LogitMap, RewardFigures, Scored, ScoreFilter, Source
from .reward_calls import RewardCall, Texts, mapped, shown_row, texts_of
from .reward_filters import RewardFilter
from .reward_forms import WeightedFunction

_NUM_CHECKED = 4  # sequences of the task that functions are tried on before a run


class PluginReward(FinishedReward, TakesPlugin):
    """Your own functions, added up, with or without the discriminator.

        reward = map_weight · map(u) + filter(Σ weight_i · f_i)

    The sum is over the functions that return a reward for the sequence. The reward of ORGAN (Guimaraes et al. 2017,
    eq. 6), a discriminator and an objective of the domain, has map_weight = λ and weight = 1 - λ.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("one's own")
    plugin_kind: ClassVar[PluginKind] = "reward"
    compares: ClassVar[bool] = True
    has_figures: ClassVar[bool] = True

    kind: Literal["plugin"] = "plugin"
    functions: tuple[WeightedFunction, ...] = ()
    """`FILE.py:NAME,...`, or a JSON list of settings; at least one."""
    map: Annotated[DiscriminatorReward, Field(discriminator="kind")] | None = Probability()
    """Map of the discriminator's logit; null uses the functions only."""
    map_weight: float = 1.0
    """Factor of the map."""
    normalise_terms: bool = False
    """Whether to normalise each term before the sum: minus its mean, divided by its standard deviation plus 1e-4,
    over the sequences of a group (normalize_then_sum of TRL)."""
    divide_repeats: bool = False
    """Whether to divide the reward of a sequence by how often it is in the batch, under the same condition (ORGAN); for
    rewards that are not negative."""
    filter: RewardFilter | None = None
    """Plug-in that changes the sum of the functions by what it has seen before (scaffold_buckets); null: nothing."""
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
    def of_plugins(cls, names: Sequence[str]) -> dict[str, Any]:
        """See `TakesPlugin.of_plugins`: functions, and at most one map of the discriminator's logit.

        Raises:
            ConfigError: two maps, or no function.
        """
        maps = [name for name in names if name in LOGIT_MAPS]
        functions = [name for name in names if name not in LOGIT_MAPS]
        if len(maps) > 1 or not functions:
            raise ConfigError(
                f"reward={', '.join(names)}: several rewards are functions of your own, and at most one map of the "
                f"discriminator's logit ({', '.join(LOGIT_MAPS)}). Name functions, or one reward alone.",
                code="rewards_cannot_be_added",
            )
        return {"functions": functions} | ({"map": {"kind": maps[0]}} if maps else {})

    @classmethod
    def fitted(cls, values: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `TakesPlugin.fitted`: without a discriminator there is nothing to map."""
        return values if whole["discriminator"] is not None else {**values, "map": None}

    @property
    def reads(self) -> frozenset[Source]:
        """Texts, and the discriminator's logits where there is a map of them."""
        return frozenset({"texts"}) if self.map is None else frozenset({"texts", "discriminator"})

    @property
    def compares_groups(self) -> bool:
        """Where terms are normalised."""
        return self.normalise_terms

    @property
    def logit_map(self) -> LogitMap | None:
        """The one that the functions stand beside."""
        return self.map

    @property
    def own_code_s(self) -> float:
        """Each function is called once a batch."""
        return len(self.functions) * self.timeout_s

    def check(self, fields: Fields) -> Iterator[Problem]:
        """What is compared within a batch is finished sequences."""
        if self.normalise_terms:
            yield from terms_of_continuations(fields)
        if self.divide_repeats and fields.credit.num_continuations:
            yield Problem("repeats_of_continuations", {"reward.divide_repeats": True}, _continued(fields))
        if self.filter is not None and fields.credit.num_continuations:
            yield Problem(
                "filter_of_continuations",
                {"reward.filter": self.filter.name},
                f"counts finished sequences, but credit={fields.credit.kind!r} also rewards continuations. Use credit "
                "terminal, or set it to null.",
            )
        if self.filter is not None and self.normalise_terms:
            yield Problem(
                "filter_of_terms",
                {"reward.filter": self.filter.name},
                "changes the sum of the functions, but reward.normalise_terms normalises each by itself. Set "
                "reward.normalise_terms to false, or reward.filter to null.",
            )

    def scorer(self, task: Task) -> RewardFunctions:
        """See `Reward.scorer`: the functions, which are tried on a few sequences first.

        Raises:
            ConfigError: there is none, or one asks for what the task does not have, or cannot be repeated.
            PluginError: a function raises, hangs, or returns no rewards.
        """
        if not self.functions:
            raise ConfigError(
                "reward.functions: is empty, so nothing rewards the samples. Name a function of your own: --reward "
                "FILE.py:NAME.",
                code="reward_without_functions",
                fields={"reward.functions": []},
            )
        functions = RewardFunctions(self.functions, texts_of(task), self.timeout_s)
        check_functions(functions, task, 0)
        return functions.with_records(None if task.conditions is None else task.conditions.train_records)

    def score_filter(self, task: Task) -> ScoreFilter | None:
        """See `Reward.score_filter`."""
        return None if self.filter is None else self.filter.built(texts_of(task))

    def figures(self, task: Task) -> RewardFigures:
        """See `Reward.figures`: the means of the functions, the map of the logit left out."""
        return FunctionFigures(RewardFunctions(self.functions, texts_of(task), self.timeout_s))

    def described(self, rollouts: Rollouts) -> dict[str, float]:
        """See `Reward.described`: `reward/NAME_mean` and `reward/NAME_std` of each function, and what they logged."""
        if rollouts.score_parts is None:
            return {}
        unrewarded = rollouts.score_parts.isnan().all(1)
        return {
            **{f"reward/{name}": value for name, value in _means(rollouts.logged).items()},
            **described_rewards([one.short_name for one in self.functions], rollouts.score_parts),
            "reward/unscored_share": float(unrewarded.float().mean()),
        }

    def of_sequences(self, rollouts: Rollouts, task: Task, rng: torch.Generator, group: int | None = None) -> Tensor:
        """See `Reward.of_sequences`; what is set to be is normalised within the group, or divided by repeats."""
        rewards = self._added(rollouts, task, rng, group)
        return rewards / repeats(rollouts) if self.divide_repeats else rewards

    def _added(self, rollouts: Rollouts, task: Task, rng: torch.Generator, group: int | None) -> Tensor:
        if not self.normalise_terms:
            return super().of_sequences(rollouts, task, rng, group)
        terms = self.scores_there(rollouts.score_parts)
        weights = [one.weight for one in self.functions]
        if self.map is not None:
            mapped_logits = self.map.of_logits(self.logits_there(rollouts.real_logits))
            terms, weights = torch.cat([terms, mapped_logits.unsqueeze(1)], 1), [*weights, self.map_weight]
        return added_up(separately_normalised(terms, group), torch.tensor(weights))

    def of_finished(self, real_logits: Tensor | None, scores: Tensor | None) -> Tensor:
        """See `FinishedReward.of_finished`: map_weight · map(u) + score."""
        if self.map is None:
            return self.scores_there(scores)
        # Where no function has a reward, the discriminator still has one.
        return self.map_weight * self.map.of_logits(self.logits_there(real_logits)) + self.scores_there(
            scores
        ).nan_to_num(0.0)


def terms_of_continuations(fields: Fields) -> Iterator[Problem]:
    """Terms are normalised over finished sequences, and not over continuations."""
    if fields.credit.num_continuations:
        yield Problem("terms_of_continuations", {"reward.normalise_terms": True}, _continued(fields))


def _continued(fields: Fields) -> str:
    return (
        f"compares finished sequences, but credit={fields.credit.kind!r} also rewards continuations. Use credit "
        "terminal, or set it to false."
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
        return {name: value for name, value in self.__dict__.items() if name != "calls"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @cached_property
    def calls(self) -> tuple[RewardCall, ...]:
        """The functions, loaded."""
        return tuple(RewardCall.of(plugin) for plugin in self.plugins)

    def with_records(self, records: Records | None) -> RewardFunctions:
        """The same with what the data has for the sequences that are rewarded: the columns that are asked for alone.

        Args:
            records: by their numbers, `Finished.rows`; None where the task keeps none.
        """
        if records is None:
            return self
        wanted = frozenset(name for call in self.calls for name in call.columns_of(records))
        kept = Records(records.prompts, {name: records.columns[name] for name in records.columns if name in wanted})
        found = replace(self, texts=replace(self.texts, records=kept))
        found.__dict__["calls"] = self.calls  # a classifier is not loaded again
        return found

    def __call__(self, finished: Finished) -> Scored:
        """Rewards of a batch; see `SequenceScorer`.

        Returns:
            Σ weight · reward over the functions that had one for the row, NaN where none had; as parts what each
            returned, unweighted, NaN where it returned None; and what they logged.

        Raises:
            PluginError: a function raises, hangs, or returns something else than a finite number or None for each row.
        """
        rows = mapped(finished, lambda part: part.to(CPU))
        judged = [call.judge(rows, self.texts, self.timeout_s) for call in self.calls]
        columns = [one.rewards for one in judged]
        each = np.array(columns, dtype=np.float64).T.reshape(len(rows.tokens), len(columns))
        parts = torch.from_numpy(each)
        weights = torch.tensor([plugin.weight for plugin in self.plugins], dtype=torch.float64)
        logged = {name: values for one in judged for name, values in one.logged.items()}
        return Scored(added_up(parts, weights).float(), parts.float(), logged)


_ROWS_OF_A_CALL = 64
"""Sequences that functions are called with at once for the final table."""


@dataclass(frozen=True)
class FunctionFigures:
    """Means of functions over a set of sequences.

    Attributes:
        functions: without records.
    """

    functions: RewardFunctions

    def __call__(self, finished: Finished, records: Records | None) -> dict[str, float]:
        """See `RewardFigures`.

        Raises:
            PluginError: see `RewardFunctions.__call__`.
        """
        scored = self._scored(finished, records)
        logged: dict[str, tuple[Any, ...]] = {}
        for one in scored:
            for name, values in one.logged.items():
                logged[name] = logged.get(name, ()) + values
        parts = [one.parts for one in scored if one.parts is not None]
        names = [one.short_name for one in self.functions.plugins]
        return reward_means(names, torch.cat(parts), torch.cat([one.scores for one in scored]), _means(logged))

    def scores(self, finished: Finished, records: Records | None) -> Tensor:
        """See `RewardFigures.scores`.

        Raises:
            PluginError: see `RewardFunctions.__call__`.
        """
        return torch.cat([one.scores for one in self._scored(finished, records)])

    def _scored(self, finished: Finished, records: Records | None) -> list[Scored]:
        functions = self.functions.with_records(records)
        scored = []
        for number, first in enumerate(range(0, len(finished.tokens), _ROWS_OF_A_CALL)):
            part = mapped(finished, lambda rows, first=first: rows[first : first + _ROWS_OF_A_CALL])  # type: ignore[misc]
            scored.append(functions(replace(part, seed=stream_seed(finished.seed, "part", number))))
        return scored


def added_up(terms: Tensor, weights: Tensor) -> Tensor:
    """Σ_f weights[f] · terms[b, f] over the terms that are there.

    Args:
        terms: (B, F) float, NaN where a sequence has no such term.
        weights: (F,) float.

    Returns:
        (B,) float, NaN where a sequence has none.
    """
    is_there = ~terms.isnan()
    total = (terms.nan_to_num(0.0) * weights).sum(1)
    return total.masked_fill(~is_there.any(1), torch.nan)


def repeats(rollouts: Rollouts) -> Tensor:
    """How often each sequence is in its batch, under the same condition.

    Returns:
        (B,) float32, at least 1.
    """
    rows = rollouts.tokens.masked_fill(~rollouts.mask, -1)  # whatever is written behind the end
    if rollouts.conditions is not None:
        rows = torch.cat([rollouts.conditions.to(rows.dtype), rows], 1)
    _, places, counts = torch.unique(rows, dim=0, return_inverse=True, return_counts=True)
    return counts[places].float()


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
    for call in functions.calls:
        call.require_offered(task)
    rows = _some_rows(task, seed)
    functions = functions.with_records(None if task.conditions is None else task.conditions.valid_records)
    first, again = functions(rows).parts, functions(rows).parts
    assert first is not None and again is not None
    differs = (first != again) & ~(first.isnan() & again.isnan())
    if bool(differs.any()):
        row, column = (int(index) for index in differs.nonzero()[0])
        raise ConfigError(
            f"{functions.calls[column].described}: returned {float(first[row, column]):g} for "
            f"{shown_row(rows, row, functions.texts)}, but {float(again[row, column]):g} when called again. Use the "
            "parameter `seed` or `rng` for randomness, and keep no state between calls: any worker may compute a "
            "batch.",
            code="reward_not_repeatable",
        )


def _some_rows(task: Task, seed: int) -> Finished:
    """A few validation sequences, or prompts in their place, then the shortest sequence that a generator can draw."""
    space, number = task.space, min(_NUM_CHECKED, len(task.valid))
    tokens = sequences_to_try(task, "valid", number)
    shortest = torch.full((1, space.max_length), space.pad_id)
    tokens = pad_after_end(space, torch.cat([tokens, shortest]))
    rows = [*range(number), 0]
    conditions = None if task.conditions is None else task.conditions.valid[rows].long()
    has_targets = task.conditions is not None and task.has_real_sequences
    targets = task.valid[rows].long() if has_targets else None
    numbers = None if task.conditions is None else torch.tensor(rows)
    return Finished(tokens, sequence_mask(space, tokens), conditions, targets, seed, numbers)


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


def _means(logged: Mapping[str, tuple[Any, ...]]) -> dict[str, float]:
    """Means of columns over the values that are numbers; a column without any has none."""
    means = {}
    for name, values in logged.items():
        numbers = [one for value in values if (one := as_number(value)) is not None]
        if numbers:
            means[name] = sum(numbers) / len(numbers)
    return means
