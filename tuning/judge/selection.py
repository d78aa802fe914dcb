"""By what trials are distinguished: measures of quality and coverage at once, on data of which nothing is reported.

A measure of quality alone is won by collapse: a lower temperature or a few safe sequences lower NLL_oracle and raise
BLEU, and a discriminator's reward is won by fooling it (docs/metrics.md). So they are refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlgan.base.errors import ConfigError, nearest
from rlgan.config.config import Config
from rlgan.envs.tasks import Task
from rlgan.evaluation.own_metric import GAP, OWN


@dataclass(frozen=True, slots=True)
class Objective:
    """A two-sided measure; lower is better.

    Attributes:
        name: as it is asked for.
        sides: the logged metrics that are added, each nats a token. Neither can be gained for free by losing the other.
        reason: what each side sees.
    """

    name: str
    sides: tuple[str, ...]
    reason: str

    def is_in(self, metrics: Mapping[str, Any]) -> bool:
        """Whether all sides were measured."""
        return all(side in metrics for side in self.sides)

    def value(self, metrics: Mapping[str, float]) -> float:
        """The measure of one measurement."""
        return sum(metrics[side] for side in self.sides)


OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective(
            "kl_sum",
            ("eval/kl_forward", "eval/kl_reverse"),
            "KL divergences in both directions between the generator and the exact distribution",
        ),
        Objective(
            "lm_rlm",
            ("eval/lm_5gram", "eval/rlm_5gram"),
            (
                "the NLL of samples under a model of real sequences, and the NLL of real sequences under a model of "
                "samples"
            ),
        ),
    )
}
"""Measures by which trials may be selected."""

# Nats a token, lower is better, so that they may be added.
_QUALITY = ("eval/kl_reverse", "eval/lm_5gram")
_COVERAGE = ("eval/kl_forward", "eval/rlm_5gram", "eval/nll_gen")
_REFUSED = {
    r"eval/(nll_oracle|bleu_\d|corpus_bleu|chrf|rouge_\w)": "measures quality only, so mode collapse would win",
    r"eval/(nll_div|self_bleu_\d|distinct_\d|share_unique|effective_rank)": (
        "measures diversity only, so noise would win"
    ),
    r"eval/(mean_length|repetition_\d|share_unfinished)": (
        "measures a single property of samples, which many bad generators share"
    ),
    r"eval/(fed_\w+|js_\d)": "measures only what its encoder or its n-grams capture",
    r"eval/nearest_\w+": "measures copying only, so noise would win",
    r"(generator|discriminator)/.*": "is the discriminator's own score, so fooling it would win",
}


def objective_for(task: Task, name: str | None, logged: Collection[str] | None = None) -> Objective:
    """The measure to select by.

    Args:
        task: what is measured; only a known distribution has KL gaps, only text has language models.
        name: None takes the one that fits the task. Otherwise a name of `OBJECTIVES`, or logged metrics with `+`
            between them, of which one sees quality and another coverage: `lm_5gram+nll_gen`. How far a metric of one's
            own is from real sequences (`own_NAME_gap`) may stand alone, for it is two-sided by itself.
        logged: names of what is measured on this task, where they are known; a side that is not among them is refused.

    Raises:
        ConfigError: the measure is one-sided, unknown, never logged, or needs what the task has not; or no measure of
            the task has both sides.
    """
    is_own = name is not None and all(_is_own_gap(side if "/" in side else f"eval/{side}") for side in name.split("+"))
    if not task.has_known_distribution and "text" not in task.measures and not is_own:
        raise ConfigError(
            f"a sweep on task {task.name}: no metric of this task measures both quality and coverage, so trials "
            "cannot be compared. Run the sweep on text, or on a task with a known distribution (transduction), and "
            "use the result on this one.",
            code="sweep_without_measure",
        )
    fitting = "kl_sum" if task.has_known_distribution else "lm_rlm"
    if name is None or name == fitting:
        return OBJECTIVES[fitting]
    if name in OBJECTIVES:
        needed = "a known distribution" if name == "kl_sum" else "text"
        raise ConfigError(
            f"objective {name}: needs {needed}, which task {task.name} does not have. Use {fitting}.",
            code="objective_needs",
            fields={"objective": name},
        )
    sides = tuple(side if "/" in side else f"eval/{side}" for side in name.split("+"))
    if len(set(sides)) < len(sides):
        twice = next(side for side in sides if sides.count(side) > 1)
        raise ConfigError(
            f"objective {name}: {twice} appears twice, which would give it double weight. Name each side once.",
            code="objective_side_twice",
            fields={"objective": name},
        )
    for side in sides:
        _require_honest(name, side, fitting, logged)
    if any(_is_own_gap(side) for side in sides):
        return Objective(name, sides, "chosen by the user: distance of samples from real sequences")
    if not any(side in _QUALITY for side in sides):
        raise ConfigError(
            f"objective {name}: measures coverage only, so an overly broad distribution would win. Select by "
            f"quality and coverage together: {fitting}.",
            code="objective_coverage_only",
            fields={"objective": name},
        )
    if not any(side in _COVERAGE for side in sides):
        raise ConfigError(
            f"objective {name}: measures quality only, so mode collapse would win. Select by quality and coverage "
            f"together: {fitting}.",
            code="objective_quality_only",
            fields={"objective": name},
        )
    return Objective(name, sides, "chosen by the user")


def require_one_budget(config: Config) -> None:
    """Refuse a run that ends itself: trials are compared, stopped and explained at equal numbers of updates.

    Raises:
        ConfigError: the adversarial phase may end early.
    """
    selection = config.schedule.selection
    if selection.patience is not None:
        raise ConfigError(
            f"schedule.selection.patience={selection.patience}: would end trials at different numbers of updates, "
            "but a sweep compares them at equal numbers. Set it to null; a scheduler stops poor trials early.",
            code="selection_patience_in_sweep",
            fields={"schedule.selection.patience": selection.patience},
        )


def _is_own_gap(side: str) -> bool:
    """Whether a metric is how far one of the user's own is from what real sequences have, which is two-sided."""
    return side.startswith(f"eval/{OWN}") and side.endswith(GAP)


def _listed(gaps: Sequence[str]) -> str:
    """Names of distances that there are, behind what they are."""
    return f" ({', '.join(one.removeprefix('eval/') for one in gaps)})" if gaps else ""


def _require_honest(name: str, side: str, fitting: str, logged: Collection[str] | None) -> None:
    own = [] if logged is None else [one for one in logged if _is_own_gap(one)]
    if _is_own_gap(side) and (logged is None or side in logged):
        return
    if side.startswith(f"eval/{OWN}") and logged is not None and (figure_side := side.removesuffix(GAP)) in logged:
        figure = figure_side.removeprefix("eval/")
        has_gap = f"{figure_side}{GAP}" in logged
        raise ConfigError(
            f"objective {name}: {figure} "
            + (
                "alone does not show what is lost in exchange. Select by its distance from real sequences, "
                f"{figure}{GAP}."
                if has_gap
                else "does not show what is lost in exchange, as only a figure does that is best where real data are. "
                "Select by the distance from real sequences of a figure with direction none"
                f"{_listed(own)}, or by {fitting}."
            ),
            code="objective_one_direction",
            fields={"objective": name},
        )
    for pattern, reason in _REFUSED.items():
        if re.fullmatch(pattern, side):
            of = "" if side.removeprefix("eval/") == name.removeprefix("eval/") else f"{side} "
            raise ConfigError(
                f"objective {name}: {of}{reason}. Select by quality and coverage together: {fitting}.",
                code="objective_refused",
                fields={"objective": name},
            )
    known = (*_QUALITY, *_COVERAGE, *own)
    if side not in known or (logged is not None and side not in logged):
        possible = [one for one in known if logged is None or one in logged]
        plain, plain_side = [one.removeprefix("eval/") for one in possible], side.removeprefix("eval/")
        raise ConfigError(
            f"objective {name}: {plain_side} is not logged for this task. Use {fitting}, or a sum of some of "
            f"{', '.join(plain)}.{nearest(plain_side, (fitting, *plain))}",
            code="objective_never_logged",
            fields={"objective": name},
        )
