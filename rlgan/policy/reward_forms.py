"""Reward functions of the user's own as settings, and which form each has, by the names of its parameters.

    f(tokens, mask)  f(tokens, mask, conditions)                  → (B,) tensor
    f(completions, **kwargs)  f(prompts, completions, **columns)  → B numbers (TRL)
    compute_score(data_source, solution_str, ground_truth, extra_info)  → a number, or a dict with "score" (verl)
    compute_score(data_sources, solution_strs, ground_truths, extra_infos)  → B of these (verl, in batches)

How each is called is `reward_calls`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from rlgan.base.errors import ConfigError
from rlgan.extensions import (
    Loaded,
    Plugin,
    PluginKind,
    check_options,
    is_model_folder,
    is_of_files,
    signature_of,
)

from .frozen_classifier import FrozenClassifier

Form = Literal["tokens", "texts", "samples", "batches"]
"""What a function is of: tokens, texts (TRL), one text (verl), or texts in verl's words."""

OFFERED: Mapping[Form, tuple[str, ...]] = {
    "tokens": ("tokens", "mask", "conditions", "targets", "seed", "rng"),
    "texts": (
        "prompts", "completions", "completion_ids", "targets", "seed", "rng", "trainer_state", "log_metric",
        "log_extra",
    ),
    "samples": ("data_source", "solution_str", "ground_truth", "extra_info"),
    "batches": ("data_sources", "solution_strs", "ground_truths", "extra_infos"),
}  # fmt: skip
WITH_ALL = ("prompts", "completions", "completion_ids", "trainer_state", "log_metric", "log_extra")
"""What **kwargs of a function of texts gets, besides the columns of the data."""
_TOLD_BY: tuple[tuple[Form, frozenset[str]], ...] = (
    ("texts", frozenset({"completions"})),
    ("tokens", frozenset({"tokens", "mask"})),
    ("samples", frozenset({"solution_str"})),
    ("batches", frozenset({"solution_strs"})),
    ("texts", frozenset({"completion_ids"})),
    ("texts", frozenset({"prompts"})),
)
_FORMS = (
    "f(tokens, mask) or f(tokens, mask, conditions), which return a tensor (B,); f(completions, **kwargs) or "
    "f(prompts, completions, **kwargs), which return a list of B numbers; or "
    "compute_score(data_source, solution_str, ground_truth, extra_info=None), which returns a number"
)


class WeightedFunction(Plugin):
    """A reward function, and what it weighs among others."""

    plugin_kind: ClassVar[PluginKind] = "reward"

    weight: float = 1.0
    """Factor of the returned reward."""

    @field_validator("name")
    @classmethod
    def _folder_stays_where_it_is(cls, name: str) -> str:
        # A run that goes on may be started from another folder.
        return str(Path(name).expanduser().absolute()) if is_model_folder(name, cls.plugin_kind) else name

    @property
    def short_name(self) -> str:
        """See `Plugin.short_name`; of a classifier the name of its folder."""
        return Path(self.name).name if is_of_files(self.digest) else super().short_name

    def check_object(self, loaded: Loaded) -> None:
        """See `Plugin.check_object`."""
        form_of(self, loaded.object)
        if inspect.isclass(loaded.object) and issubclass(loaded.object, FrozenClassifier):
            label = self.options.get("label")
            assert label is None or isinstance(label, str | int)
            loaded.object.column_of(label)


def form_of(plugin: WeightedFunction, target: Any) -> Form:
    """What a function is of, by the names of its parameters.

    Raises:
        ConfigError: it has none of the forms, or not the parameters that its options set.
    """
    signature = signature_of(plugin, target, _FORMS)
    names = signature.parameters.keys()
    form = next((form for form, told_by in _TOLD_BY if told_by <= names), None)
    if form is None:
        raise ConfigError(
            f"{described(plugin)}: its signature {signature} is not supported. Name its parameters as in {_FORMS}.",
            code="reward_signature",
        )
    # A class has taken the options already.
    of_call = plugin.model_copy(update={"options": {}}) if inspect.isclass(target) else plugin
    given = {*OFFERED[form]}
    if form == "texts":  # what has no default may be a column of the data, which is not there yet
        given |= {name for name, is_needed in parameters_of(plugin, target).items() if is_needed} - {*of_call.options}
    if form in ("samples", "batches"):  # what the data lacks may be set
        given -= {*of_call.options}
    check_options(of_call, signature, given)
    return form


def parameters_of(plugin: WeightedFunction, target: Any) -> dict[str, bool]:
    """Named parameters of what is called, and whether each has no default."""
    parameters = signature_of(plugin, target, _FORMS).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {one.name: one.default is one.empty for one in parameters if one.kind in kinds}


def takes_all(plugin: WeightedFunction, target: Any) -> bool:
    """Whether what is called has **kwargs."""
    parameters = signature_of(plugin, target, _FORMS).parameters.values()
    return any(one.kind is one.VAR_KEYWORD for one in parameters)


def described(plugin: WeightedFunction) -> str:
    """How errors call a function."""
    return f"reward function {plugin.short_name!r} ({plugin.name})"
