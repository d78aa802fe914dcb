"""Filters of rewards: plug-ins that change the scores of a batch by what they have seen before.

    class Novel:
        def __init__(self): self.seen = set()
        def __call__(self, texts, scores): ...            # B texts, B scores → B scores
        def state(self): return {"seen": sorted(self.seen)}
        def restore(self, state): self.seen = set(state["seen"])

A reward function must give a sequence the same reward each time, wherever it is called, so that batches can be computed
by any worker and repeated. What remembers is a filter. It runs on the driver, where batches are whole and come in their
order, and what it remembers is in each checkpoint. It sees the sum of the functions, before the discriminator's reward
is added.

B sequences
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field

from rlgan.base.errors import CheckpointError, ConfigError, PluginError
from rlgan.base.settings import FreeOnResume
from rlgan.extensions import (
    Loaded,
    Plugin,
    PluginKind,
    RaisedError,
    as_number,
    brief,
    call_in_time,
    check_options,
    own_lines,
    refusal,
    signature_of,
)
from rlgan.sampling.records import Rollouts

from .reward_calls import Texts

_FORM = "a class with __call__(texts, scores), which returns a list of scores, and with state() and restore(state)"


class RewardFilter(Plugin):
    """What changes the scores of your reward functions by what it has seen before."""

    plugin_kind: ClassVar[PluginKind] = "filter"

    timeout_s: Annotated[float, FreeOnResume()] = Field(60.0, gt=0.0)
    """Maximum number of seconds for a call. If a call takes longer, the run stops and keeps its last checkpoint."""

    def check_object(self, loaded: Loaded) -> None:
        """See `Plugin.check_object`: a class with the three methods."""
        who, target = f"filter plug-in {self.name!r}", loaded.object
        missing = [name for name in ("state", "restore") if not callable(getattr(target, name, None))]
        if not inspect.isclass(target) or missing:
            lacks = f", and lacks {' and '.join(missing)}" if missing else ""
            raise ConfigError(
                f"{who}: is {brief(target)}{lacks}. Name {_FORM}.", code="filter_form", fields={"plugin": self.name}
            )
        signature = signature_of(self, target, _FORM)
        if len(signature.parameters) < 2:
            raise ConfigError(
                f"{who}: is called with {signature}. Name {_FORM}.",
                code="filter_signature",
                fields={"plugin": self.name},
            )
        check_options(self.model_copy(update={"options": {}}), signature, list(signature.parameters)[:2])

    def built(self, texts: Texts) -> Filter:
        """A filter of this kind that has seen nothing.

        Args:
            texts: how sequences are shown.

        Raises:
            PluginError: building it raises.
        """
        loaded = self.load()
        try:
            return Filter(self, loaded.object(**self.options), texts, loaded.path)
        except ConfigError:
            raise
        except Exception as error:  # a user's own code may raise anything
            raise PluginError(
                f"filter plug-in {self.name!r}: building it raised {type(error).__name__}: {error}. Fix it, or set "
                f"its options.{own_lines(error, loaded.path)}",
                code="filter_build_raised",
                fields={"plugin": self.name},
            ) from error


class Filter:
    """A filter at work in a run.

    Args:
        plugin: its settings.
        instance: of the user's class.
        texts: how sequences are shown.
        path: of the file with its source.
    """

    def __init__(self, plugin: RewardFilter, instance: Any, texts: Texts, path: str) -> None:
        self._plugin, self._instance, self._texts, self._path = plugin, instance, texts, path

    def filtered(self, rollouts: Rollouts) -> tuple[Rollouts, dict[str, float]]:
        """Rollouts with the scores that the filter leaves, and the metric `reward/filtered_share`.

        Sequences without a score are shown to it with NaN, and have none afterwards.

        Raises:
            PluginError: it raises, hangs, or returns something else than a number for each sequence.
        """
        assert rollouts.scores is not None
        shown, scores = self._texts.sequences(rollouts.tokens), rollouts.scores.tolist()
        returned = self._call(lambda: self._instance(list(shown), list(scores)), "__call__")
        values = [as_number(one) for one in returned] if isinstance(returned, list | tuple) else []
        there = ~rollouts.scores.isnan()
        if len(values) != len(scores) or any(
            value is None and bool(is_there) for value, is_there in zip(values, there, strict=True)
        ):
            raise PluginError(
                f"filter plug-in {self._plugin.name!r}: returned {brief(returned)} for {len(scores)} sequences. Return "
                "a list with a finite number for each score, in their order.",
                code="filter_returned",
                fields={"plugin": self._plugin.name},
            )
        left = torch.tensor([0.0 if one is None else one for one in values]).to(rollouts.scores)
        left = left.masked_fill(~there, torch.nan)
        changed = (left != rollouts.scores) & there
        return replace(rollouts, scores=left), {"reward/filtered_share": float(changed.float().mean())}

    def state(self) -> Any:
        """What it remembers, as JSON has it.

        Raises:
            PluginError: it raises, or what it returns is no JSON value.
        """
        found = self._call(self._instance.state, "state")
        try:
            return json.loads(json.dumps(found, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise PluginError(
                f"filter plug-in {self._plugin.name!r}: state() returned {brief(found)}, which JSON cannot write "
                f"({error}). Return lists, dictionaries with text as keys, numbers and texts.",
                code="filter_state",
                fields={"plugin": self._plugin.name},
            ) from error

    def restore(self, state: Any) -> None:
        """Put back what `state` returned.

        Raises:
            CheckpointError: it cannot be put back.
        """
        try:
            self._call(lambda: self._instance.restore(state), "restore")
        except PluginError as error:
            raise CheckpointError(str(error), code="filter_restore", fields={"plugin": self._plugin.name}) from error

    def _call(self, call: Callable[[], Any], method: str) -> Any:
        who, timeout_s = f"filter plug-in {self._plugin.name!r}", self._plugin.timeout_s
        try:
            return call_in_time(
                call,
                timeout_s,
                lambda: (
                    f"{who}: {method} did not return within timeout_s={timeout_s:g} seconds. Raise "
                    "reward.filter.timeout_s, or make it return."
                ),
            )
        except RaisedError as raised:
            error = raised.error
            raise refusal(who, error) or PluginError(
                f"{who}: {method} raised {type(error).__name__}: {error}. Fix it.{own_lines(error, self._path)}",
                code="filter_raised",
                fields={"plugin": self._plugin.name},
            ) from error
