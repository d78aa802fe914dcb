"""By what trials are told apart: measures that see quality and coverage at once, on data that no figure is reported on.

A measure of quality alone is won by collapse: a lower temperature or a few safe sequences lower NLL_oracle and raise
BLEU, and a discriminator's reward is won by fooling it (specification 2.6, 17.5). So they are refused.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass

from rlgan.envs.errors import ConfigError, nearest
from rlgan.envs.tasks import Task


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

    def value(self, metrics: Mapping[str, float]) -> float:
        """The measure of one measurement.

        Raises:
            ConfigError: a side was never logged.
        """
        for side in self.sides:
            if side not in metrics:
                logged = sorted(name for name in metrics if name.startswith("eval/"))
                raise ConfigError(
                    f"objective {self.name}: {side} was not logged; logged are {', '.join(logged) or 'none'}."
                )
        return sum(metrics[side] for side in self.sides)


OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective(
            "kl_sum",
            ("eval/kl_forward", "eval/kl_reverse"),
            "what the law has and the generator lacks, and the other way round",
        ),
        Objective(
            "lm_rlm",
            ("eval/lm_5gram", "eval/rlm_5gram"),
            "what a model of real sequences thinks of samples, and a model of samples of real sequences",
        ),
    )
}
"""Measures by which trials may be selected."""

_ONE_SIDED = {
    r"(eval/)?(nll_oracle|kl_reverse|lm_5gram|bleu_\d)": "sees quality alone, which collapse wins",
    r"(eval/)?(nll_gen|kl_forward)": "sees coverage alone, which a generator of noise in between keeps",
    r"(eval/)?(nll_div|self_bleu_\d|distinct_2|share_unique)": "sees diversity alone, which noise wins",
    r"(generator|discriminator)/.*": "is the judge's own opinion, which is won by fooling it",
}


def objective_for(task: Task, name: str | None) -> Objective:
    """The measure to select by.

    Args:
        task: what is measured; only a known law has KL gaps, only text has language models.
        name: None takes the one that fits the task.

    Raises:
        ConfigError: the name is of a one-sided measure, unknown, or needs what the task has not.
    """
    fitting = "kl_sum" if task.oracle is not None else "lm_rlm"
    if name is None or name == fitting:
        return OBJECTIVES[fitting]
    if name in OBJECTIVES:
        needed = "a known law" if name == "kl_sum" else "text"
        raise ConfigError(f"objective {name}: needs {needed}, which task {task.name} has not. Use {fitting}.")
    for pattern, reason in _ONE_SIDED.items():
        if re.fullmatch(pattern, name):
            raise ConfigError(f"objective {name}: {reason}. Select by both sides at once: {fitting}.")
    raise ConfigError(f"objective {name}: there is {', '.join(OBJECTIVES)}.{nearest(name, OBJECTIVES)}")


def selection_view(task: Task) -> Task:
    """The task with validation sequences in the place of test sequences, for what is selected on is not reported."""
    return dataclasses.replace(task, test=task.valid)
