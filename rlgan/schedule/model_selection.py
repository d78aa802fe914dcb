"""Which generator of the adversarial phase is kept: the last one, or the one that did best on the validation split.

Adversarial training may harm, and does not tell: its own losses say nothing of it. So the generator can be measured on
validation data every now and then, from before the first adversarial update on; at the end of the phase the best one
takes the place of the last, and where nothing was gained for long the phase ends early. The test split is not looked
at. How a figure is measured is `rlgan.evaluation.evaluator`'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from rlgan.base.declarations import Fields
from rlgan.base.errors import ConfigError, nearest
from rlgan.base.problems import Problem
from rlgan.base.search_priors import NotSearched
from rlgan.base.settings import Settings

Measure = str
"""A figure of the validation split, by which a generator may be selected: one of `MEASURES`, or of a metric of one's
own (`rlgan.evaluation.own_metric`)."""
MEASURES = ("valid_nll", "kl_sum", "lm_rlm", "corpus_bleu", "chrf")
"""What ships of them."""

_HIGHER_IS_BETTER = ("corpus_bleu", "chrf")

_SAME_FOR_ALL = NotSearched("all runs need the same model selection")


class NoSelection(Settings):
    """The generator at the end of training, as in the papers."""

    kind: Literal["none"] = "none"
    patience: ClassVar[None] = None


class BestGenerator(Settings):
    """The generator with the best value on validation data; the start of the adversarial phase is a candidate, too."""

    kind: Literal["best"] = "best"
    measure: Annotated[Measure, _SAME_FOR_ALL] = "valid_nll"
    """Measure on validation data: `valid_nll`, NLL per token; `kl_sum`, the sum of both KL divergences, if the
    distribution is known; `lm_rlm`, the sum of `eval/lm_5gram` and `eval/rlm_5gram`, for text; `corpus_bleu` or
    `chrf` of the most likely sequences, for pairs; `own_NAME`, a metric of `evaluation.metrics`."""
    every: Annotated[int, _SAME_FOR_ALL] = Field(5, ge=1)
    """Adversarial iterations between measurements; the last generator is always measured, too."""
    patience: Annotated[int | None, _SAME_FOR_ALL] = Field(None, ge=1)
    """Early stopping: number of measurements without a better value after which the adversarial phase ends; null
    never stops early."""

    def check(self, fields: Fields) -> Iterator[Problem]:
        """It is of the adversarial phase, and of what can be measured of the task and the generator."""
        task, measures = fields.task, fields.task.measures
        at, own = {"schedule.selection.measure": self.measure}, fields.evaluation.metrics
        allowed = [*MEASURES, *(name for one in own for name in one.figures)]
        if self.measure not in MEASURES and not any(one.selects(self.measure) for one in own):
            yield Problem(
                "measure_unknown",
                at,
                (
                    f"choose one of {', '.join(allowed)}; your own metric in evaluation.metrics is "
                    f"own_NAME.{nearest(self.measure, allowed)}"
                ),
            )
        if self.measure in MEASURES and not task.has_real_sequences:
            yield Problem(
                "measure_of_completions",
                at,
                f"compares with validation data, but the data of task={task.kind!r} has prompts alone. Use a metric of "
                "your own, own_NAME of evaluation.metrics, or set schedule.selection to none.",
            )
            return
        if not fields.schedule.adversarial_updates:
            yield Problem(
                "selection_of_no_phase",
                {"schedule.selection": self.kind},
                "selects in the adversarial phase, but schedule.adversarial_updates is 0. Set it to none.",
            )
        if self.measure in ("valid_nll", "kl_sum") and not fields.generator.has_likelihood:
            yield Problem(
                "measure_of_likelihood",
                at,
                f"needs likelihoods, which generator={fields.generator.kind!r} does not have. Use lm_rlm, on text.",
            )
        if self.measure == "kl_sum" and not task.knows_distribution:
            fitting = "corpus_bleu, chrf" if "references" in measures else "lm_rlm"
            yield Problem(
                "measure_of_law",
                at,
                f"needs an exact distribution, which task={task.kind!r} does not have. Use {fitting} or valid_nll.",
            )
        if self.measure == "kl_sum" and task.is_certain:
            yield Problem(
                "measure_is_infinite",
                at,
                (
                    "is infinite as soon as one sample is wrong, because task.rule.noise is 0. Use valid_nll, or set "
                    "task.rule.noise above 0."
                ),
            )
        if self.measure == "lm_rlm" and "text" not in measures:
            yield Problem(
                "measure_of_text",
                at,
                f"needs language models of text, but task={task.kind!r} has no text. Use valid_nll.",
            )
        if self.measure in ("corpus_bleu", "chrf") and "references" not in measures:
            yield Problem(
                "measure_of_references",
                at,
                f"compares texts with references, but task={task.kind!r} has none. Use valid_nll.",
            )


SelectionSettings = Annotated[NoSelection | BestGenerator, Field(discriminator="kind")]


def selecting(settings: SelectionSettings) -> BestGenerator | None:
    """The settings of a run that selects; None where the last generator is kept."""
    return settings if isinstance(settings, BestGenerator) else None


@dataclass(frozen=True, slots=True)
class SelectionState:
    """What is remembered between measurements.

    Attributes:
        start: value of the generator before its first adversarial update; None before it was measured.
        best: best value so far; None before the first.
        iteration: adversarial iterations after which it was measured; 0 is the start.
        since: measurements since then, none of them better.
    """

    start: float | None = None
    best: float | None = None
    iteration: int = 0
    since: int = 0


def is_due(settings: BestGenerator, iteration: int, most: int) -> bool:
    """Whether the generator is measured after so many adversarial iterations.

    Args:
        settings: how often.
        iteration: adversarial iterations done.
        most: adversarial iterations that the schedule has.
    """
    return iteration % settings.every == 0 or iteration == most


def after_measurement(
    settings: BestGenerator, state: SelectionState, value: float, iteration: int, is_higher_better: bool | None = None
) -> SelectionState:
    """The state after a measurement; its `iteration` is the one given where the value is better than all before.

    Args:
        settings: which measure.
        state: before it.
        value: that was measured; NaN is no gain, and anything is one over NaN.
        iteration: adversarial iterations done.
        is_higher_better: of a metric of your own; None takes what is known of the measure.
    """
    if state.best is None:
        return SelectionState(start=value, best=value, iteration=iteration)
    if is_higher_better is None:
        is_higher_better = settings.measure in _HIGHER_IS_BETTER
    is_better = value > state.best if is_higher_better else value < state.best
    if is_better or (math.isnan(state.best) and not math.isnan(value)):
        return replace(state, best=value, iteration=iteration, since=0)
    return replace(state, since=state.since + 1)


def ends_early(settings: BestGenerator, state: SelectionState) -> bool:
    """Whether nothing has been gained for so long that the phase ends."""
    return settings.patience is not None and state.since >= settings.patience


def require_any_gain(settings: BestGenerator, state: SelectionState, done: int) -> None:
    """See to it that there was anything to select by.

    Args:
        settings: by which measure.
        state: at the end of the phase.
        done: adversarial iterations done.

    Raises:
        ConfigError: the measure is a score, and all values that were measured are 0.
    """
    if settings.measure in _HIGHER_IS_BETTER and state.best == 0.0:
        raise ConfigError(
            f"schedule.selection.measure={settings.measure!r}: is 0 for every generator that was measured in "
            f"{done} adversarial iterations, so there is no best one. Use schedule.selection.measure valid_nll or "
            "chrf, pretrain longer, or set schedule.selection to none. The folder of the run contains the last "
            "generator, for `rlgan sample` and `rlgan evaluate`.",
            code="selection_all_zero",
            fields={"schedule.selection.measure": settings.measure},
        )


def sentence(settings: BestGenerator, state: SelectionState, done: int, most: int) -> str:
    """Which generator was selected, as a sentence.

    Args:
        settings: by which measure.
        state: at the end of the phase.
        done: adversarial iterations done.
        most: adversarial iterations that the schedule has.
    """
    which = (
        f"that of adversarial iteration {state.iteration}" if state.iteration else "the start of the adversarial phase"
    )
    ended = f"stopped early after {done} of {most} iterations" if done < most else f"of {most} iterations"
    return (
        f"generator selected on validation data: {which}, {settings.measure} {state.best:.4f} (start "
        f"{state.start:.4f}); {ended}"
    )
