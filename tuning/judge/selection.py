"""By what trials are distinguished: measures of quality and coverage at once, on data of which nothing is reported.

A measure of quality alone is won by collapse: a lower temperature or a few safe sequences lower NLL_oracle and raise
BLEU, and a discriminator's reward is won by fooling it (docs/metrics.md). So they are refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from rlgan.base.errors import ConfigError, nearest
from rlgan.config.config import Config
from rlgan.envs.tasks import Task
from rlgan.evaluation.own_metrics import GAP, OWN


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
            "what the distribution has and the generator lacks, and the other way round",
        ),
        Objective(
            "lm_rlm",
            ("eval/lm_5gram", "eval/rlm_5gram"),
            "what a model of real sequences thinks of samples, and a model of samples of real sequences",
        ),
    )
}
"""Measures by which trials may be selected."""

# Nats a token, lower is better, so that they may be added.
_QUALITY = ("eval/kl_reverse", "eval/lm_5gram")
_COVERAGE = ("eval/kl_forward", "eval/rlm_5gram", "eval/nll_gen")
_REFUSED = {
    r"eval/(nll_oracle|bleu_\d|corpus_bleu|chrf|rouge_\w)": "sees quality alone, which collapse wins",
    r"eval/(nll_div|self_bleu_\d|distinct_\d|share_unique|effective_rank)": "sees diversity alone, which noise wins",
    r"eval/(mean_length|repetition_\d|share_unfinished)": "sees one trait of samples, which many bad generators have",
    r"eval/(fed_\w+|js_\d)": "sees of both sides only what its encoder or its n-grams show, which hides the rest",
    r"eval/nearest_\w+": "sees copying alone, which noise wins",
    r"(generator|discriminator)/.*": "is the judge's own opinion, which is won by fooling it",
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
            f"a sweep on task {task.name}: nothing that is measured there sees quality and coverage at once, by which "
            "its trials could be told apart. Sweep on text, or on a task whose distribution is known (transduction), "
            "and run what was found on this one.",
            code="sweep_without_measure",
        )
    fitting = "kl_sum" if task.has_known_distribution else "lm_rlm"
    if name is None or name == fitting:
        return OBJECTIVES[fitting]
    if name in OBJECTIVES:
        needed = "a known distribution" if name == "kl_sum" else "text"
        raise ConfigError(
            f"objective {name}: needs {needed}, which task {task.name} has not. Use {fitting}.",
            code="objective_needs",
            fields={"objective": name},
        )
    sides = tuple(side if "/" in side else f"eval/{side}" for side in name.split("+"))
    if len(set(sides)) < len(sides):
        twice = next(side for side in sides if sides.count(side) > 1)
        raise ConfigError(
            f"objective {name}: {twice} stands in it twice, which tips the balance. Name each side once.",
            code="objective_side_twice",
            fields={"objective": name},
        )
    for side in sides:
        _require_honest(name, side, fitting, logged)
    if any(_is_own_gap(side) for side in sides):
        return Objective(name, sides, "chosen by the user: how far samples are from real sequences")
    if not any(side in _QUALITY for side in sides):
        raise ConfigError(
            f"objective {name}: sees coverage alone, which a blur keeps. Select by both sides at once: {fitting}.",
            code="objective_coverage_only",
            fields={"objective": name},
        )
    if not any(side in _COVERAGE for side in sides):
        raise ConfigError(
            f"objective {name}: sees quality alone, which collapse wins. Select by both sides at once: {fitting}.",
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
            f"schedule.selection.patience={selection.patience}: ends trials at different numbers of updates, and they "
            "are compared at equal ones. Set it to null; a scheduler stops what is not worth going on with.",
            code="selection_patience_in_sweep",
            fields={"schedule.selection.patience": selection.patience},
        )


def _is_own_gap(side: str) -> bool:
    """Whether a metric is how far one of the user's own is from what real sequences have, which is two-sided."""
    return side.startswith(f"eval/{OWN}") and side.endswith(GAP)


def _require_honest(name: str, side: str, fitting: str, logged: Collection[str] | None) -> None:
    own = [] if logged is None else [one for one in logged if _is_own_gap(one)]
    if _is_own_gap(side) and (logged is None or side in logged):
        return
    if side.startswith(f"eval/{OWN}") and logged is not None and side in logged:
        figure = side.removeprefix("eval/")
        raise ConfigError(
            f"objective {name}: {figure} is better in one direction alone, which says nothing of what is lost for it. "
            f"Select by its distance from real sequences, {figure}{GAP}, which a metric of direction none has.",
            code="objective_one_direction",
            fields={"objective": name},
        )
    for pattern, reason in _REFUSED.items():
        if re.fullmatch(pattern, side):
            of = "" if side.removeprefix("eval/") == name.removeprefix("eval/") else f"{side} "
            raise ConfigError(
                f"objective {name}: {of}{reason}. Select by both sides at once: {fitting}.",
                code="objective_refused",
                fields={"objective": name},
            )
    known = (*_QUALITY, *_COVERAGE, *own)
    if side not in known or (logged is not None and side not in logged):
        possible = [one for one in known if logged is None or one in logged]
        plain, plain_side = [one.removeprefix("eval/") for one in possible], side.removeprefix("eval/")
        raise ConfigError(
            f"objective {name}: {plain_side} was never logged on this task. There is {fitting}, or a sum of some "
            f"of {', '.join(plain)}.{nearest(plain_side, (fitting, *plain))}",
            code="objective_never_logged",
            fields={"objective": name},
        )
