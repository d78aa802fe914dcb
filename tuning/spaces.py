"""The axes of the search space, as dotted paths into `rlgan.config.Config` with priors (specification 16.3).

An axis is data, so a test can construct every value that it may take. A search space is some axes over one base
configuration; whatever is contradictory is refused by the configuration itself when a trial is built.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ray import tune

from rlgan.config import Config
from rlgan.envs.errors import ConfigError, nearest
from rlgan.overrides import to_dict
from rlgan.trainable import VARIED


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values, all alike likely."""

    values: tuple[Any, ...]

    def domain(self) -> Any:
        """The prior as Tune writes it."""
        return tune.choice(list(self.values))

    def examples(self) -> tuple[Any, ...]:
        """Every value."""
        return self.values


@dataclass(frozen=True, slots=True)
class Uniform:
    """Uniform between two numbers."""

    low: float
    high: float

    def domain(self) -> Any:
        """The prior as Tune writes it."""
        return tune.uniform(self.low, self.high)

    def examples(self) -> tuple[Any, ...]:
        """Both ends and the middle."""
        return (self.low, (self.low + self.high) / 2, self.high)


@dataclass(frozen=True, slots=True)
class LogUniform:
    """Uniform in the logarithm between two positive numbers."""

    low: float
    high: float

    def domain(self) -> Any:
        """The prior as Tune writes it."""
        return tune.loguniform(self.low, self.high)

    def examples(self) -> tuple[Any, ...]:
        """Both ends and the geometric middle."""
        return (self.low, (self.low * self.high) ** 0.5, self.high)


Axis = Choice | Uniform | LogUniform

AXES: dict[str, Axis] = {
    "reward": Choice(("probability", "logit", "log_probability", "neg_log_complement", "signed_probability", "ratio")),
    "credit": Choice(("terminal", "monte_carlo")),
    "baseline": Choice(("none", "constant", "batch_mean", "per_step_mean", "ema", "leave_one_out")),
    "objective.loss_normaliser": Choice(("sum", "sequence", "token", "fixed")),
    "schedule.teacher_forcing": Choice(("none", "interleaved", "mixed")),
    "schedule.g_batch": Choice((64, 128, 256, 512, 1024)),
    "schedule.d_steps": Choice((1, 2, 5, 10)),
    "schedule.d_epochs": Choice((1, 2, 3)),
    "discriminator.dropout": Uniform(0.0, 0.5),
    "discriminator.l2_out": LogUniform(1e-3, 1.0),
    "adversary.label_smoothing": Uniform(0.0, 0.3),
    "optimizers.generator.lr": LogUniform(1e-5, 1e-2),
    "optimizers.discriminator.lr": LogUniform(1e-5, 1e-2),
}
"""Path → prior. An axis that names a variant takes that variant's defaults."""


def param_space(base: Config, paths: Iterable[str]) -> dict[str, Any]:
    """A `param_space` for `tune.Tuner(rlgan.trainable.SequenceGAN, ...)`.

    Args:
        base: everything that does not vary.
        paths: names of axes.

    Returns:
        The base configuration and a prior for each path.

    Raises:
        ConfigError: a path that is no axis; names the nearest.
    """
    space = to_dict(base)
    for path in paths:
        if path not in AXES:
            raise ConfigError(
                f"{path}: not an axis of the search space. Axes are {', '.join(AXES)}.{nearest(path, AXES)}"
            )
        space[VARIED + path] = AXES[path].domain()
    return space
