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
    """Trials at most; the size of the population with PBT and PB2."""
    hours: Annotated[float | None, FreeOnResume()] = Field(None, gt=0.0)
    """Hours at most; what is under way then stops where it is. The search leaves the final race what it is thought to
    need by what trials took, three quarters at most, and ends earlier for it, but not before one trial has ended."""
    search: Search | None = None
    """Who proposes points: chance, Optuna's TPE on the objective or (motpe) on each of its sides, or all combinations.
    null is tpe, and random with PBT and PB2, which learn by themselves."""
    scheduler: Scheduler = "asha"
    """Who interferes with trials under way. asha stops those that stand badly (Li et al. 2020); pbt lets them go on
    from the state of a better one with other numbers (Jaderberg et al. 2017), pb2 likewise with numbers that a Gaussian
    process chooses (Parker-Holder et al. 2020); none lets all run to their end."""
    grace: Annotated[float | None, OfSchedulers(("asha",), 0.2)] = Field(None, gt=0.0, le=1.0)
    """Share of the updates before which no trial is stopped early; null is 0.2. For asha."""
    reduction: Annotated[float | None, OfSchedulers(("asha",), 3.0)] = Field(None, gt=1.0)
    """One of so many trials goes on at each halving; null is 3. For asha."""
    interval: Annotated[float | None, OfSchedulers(("pbt", "pb2"), 0.2)] = Field(None, gt=0.0, lt=1.0)
    """Share of the updates between two comparisons of the population; null is 0.2. For pbt and pb2."""
    quantile: Annotated[float | None, OfSchedulers(("pbt", "pb2"), 0.25)] = Field(None, gt=0.0, le=0.5)
    """Share of the population that takes over from as many of the best; null is 0.25. For pbt and pb2."""
    concurrent: Annotated[int | None, FreeOnResume()] = Field(None, ge=1)
    """Trials at a time; null for as many as the cluster has room for."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Of the proposals and of all trials. The final race takes those after it."""
    objective: str | None = None
    """What trials are distinguished by; null takes the two-sided measure that fits the task."""
    finalists: Annotated[int, FreeOnResume()] = Field(3, ge=0)
    """Best trials that run again beside the controls, on test data; 0 for no final race."""
    seeds: Annotated[int, FreeOnResume()] = Field(5, ge=1)
    """Seeds of the final race, none of which the search has used."""
    registry_name: Annotated[str | None, FreeOnResume()] = Field(None, min_length=1)
    """Name under which the winner of the final race enters MLflow's model registry; null is rlgan-STUDY."""

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
                    f"--{name}: has no effect with --scheduler {self.scheduler}; it is for {' and '.join(said.kinds)}. "
                    "Leave out one of the two.",
                    code="scheduler_option",
                )
        if self.is_population and self.search not in (None, "random"):
            raise ConfigError(
                f"--search {self.search}: has no effect with --scheduler {self.scheduler}, which chooses by itself "
                "what to try after a random beginning. Leave out one of the two.",
                code="search_with_scheduler",
                fields={"search": self.search},
            )
        if self.is_population and self.trials < 4:
            raise ConfigError(
                f"--trials {self.trials}: a population that learns from itself has at least 4 members.",
                code="population_too_small",
                fields={"trials": self.trials},
            )
        for name in ("seeds", "registry_name"):
            if not self.finalists and name in self.model_fields_set:
                raise ConfigError(
                    f"--{name.replace('_', '-')}: has no effect with --finalists 0. Leave out one of the two.",
                    code="race_option_without_race",
                )
