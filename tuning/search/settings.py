"""How a study is searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from rlgan.base.errors import ConfigError
from rlgan.base.settings import FreeOnResume, Settings, facts_below, facts_of

Search = Literal["random", "tpe", "motpe", "grid"]
Scheduler = Literal["asha", "none", "pbt", "pb2"]


@dataclass(frozen=True, slots=True)
class OfSchedulers:
    """The field is read by some schedulers alone; null is a default of theirs.

    Attributes:
        kinds: which.
        default: theirs.
    """

    kinds: tuple[Scheduler, ...]
    default: float


class SweepSettings(Settings):
    """How a study is searched."""

    trials: Annotated[int, FreeOnResume()] = Field(40, ge=1)
    """Maximum number of trials; with PBT and PB2 the size of the population."""
    hours: Annotated[float | None, FreeOnResume()] = Field(None, gt=0.0)
    """Time limit in hours; training stops when it is reached. The search reserves time for the final race, estimated
    from the trials so far (at most three quarters), and ends earlier for it, but not before one trial has
    finished."""
    search: Search | None = None
    """How points are proposed: random, tpe (Optuna's TPE on the objective), motpe (TPE on each side of the
    objective), or grid (all combinations). null is tpe, or random with PBT and PB2, which adapt by themselves."""
    scheduler: Scheduler = "asha"
    """Scheduler of running trials. asha stops poor trials early (Li et al. 2020); pbt replaces them by copies of
    better ones with changed settings (Jaderberg et al. 2017); pb2 does the same with settings chosen by a
    Gaussian process (Parker-Holder et al. 2020); none runs all trials to the end."""
    grace: Annotated[float | None, OfSchedulers(("asha",), 0.2)] = Field(None, gt=0.0, le=1.0)
    """Fraction of the updates before which no trial is stopped early; null is 0.2. For asha."""
    reduction: Annotated[float | None, OfSchedulers(("asha",), 3.0)] = Field(None, gt=1.0)
    """Reduction factor: one of this many trials continues at each halving; null is 3. For asha."""
    interval: Annotated[float | None, OfSchedulers(("pbt", "pb2"), 0.2)] = Field(None, gt=0.0, lt=1.0)
    """Fraction of the updates between two comparisons of the population; null is 0.2. For pbt and pb2."""
    quantile: Annotated[float | None, OfSchedulers(("pbt", "pb2"), 0.25)] = Field(None, gt=0.0, le=0.5)
    """Fraction of the population that is replaced by copies of the best; null is 0.25. For pbt and pb2."""
    concurrent: Annotated[int | None, FreeOnResume()] = Field(None, ge=1)
    """Number of trials that run at the same time; null uses all resources of the cluster."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the proposals and of all trials. The final race uses the seeds after it."""
    objective: str | None = None
    """Objective of the trials; null uses the two-sided measure of the task."""
    finalists: Annotated[int, FreeOnResume()] = Field(3, ge=0)
    """Number of best trials that are trained again in the final race with the controls, on test data; 0 skips the
    final race."""
    seeds: Annotated[int, FreeOnResume()] = Field(5, ge=1)
    """Number of seeds of the final race; the search does not use them."""
    registry_name: Annotated[str | None, FreeOnResume()] = Field(None, min_length=1)
    """Name of the winner of the final race in MLflow's model registry; null is rlgan-STUDY."""

    @classmethod
    def free_on_resume(cls) -> list[str]:
        """Names of what may be other when a sweep is taken up again."""
        return [path for path, _ in facts_below(cls, FreeOnResume)]

    @property
    def searcher(self) -> Search:
        """Who proposes points."""
        return self.search or ("random" if self.is_population else "tpe")

    @property
    def is_population(self) -> bool:
        """Whether trials take over from each other."""
        return self.scheduler in ("pbt", "pb2")

    def of_scheduler(self, name: str) -> float:
        """A setting of the scheduler, or its default."""
        value, said = getattr(self, name), dict(facts_below(type(self), OfSchedulers))[name]
        return float(said.default if value is None else value)

    def require_effect(self) -> None:
        """See to it that nothing was asked for in vain.

        Raises:
            ConfigError: a setting has no effect beside another.
        """
        for name, said, value in facts_of(self, OfSchedulers):
            if value is not None and self.scheduler not in said.kinds:
                raise ConfigError(
                    f"--{name}: has no effect with --scheduler {self.scheduler}; it is for "
                    f"{' and '.join(said.kinds)}. Remove one of the two.",
                    code="scheduler_option",
                )
        if self.is_population and self.search not in (None, "random"):
            raise ConfigError(
                f"--search {self.search}: has no effect with --scheduler {self.scheduler}, which proposes its own "
                "points after a random start. Remove one of the two.",
                code="search_with_scheduler",
                fields={"search": self.search},
            )
        if self.is_population and self.trials < 4:
            raise ConfigError(
                f"--trials {self.trials}: a population needs at least 4 members. Set it to 4 or more.",
                code="population_too_small",
                fields={"trials": self.trials},
            )
        for name in ("seeds", "registry_name"):
            if not self.finalists and name in self.model_fields_set:
                raise ConfigError(
                    f"--{name.replace('_', '-')}: has no effect with --finalists 0. Remove one of the two.",
                    code="race_option_without_race",
                )
