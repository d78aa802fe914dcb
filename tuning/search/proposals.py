"""Which points a sweep tries next: at random, all of a grid, or by what was learned from those before (Optuna's TPE).

A contradictory point is dropped before it becomes a trial, and counted with its reason. A sweep that is taken up again
repeats what it proposed before; chance and grid then go on as if nothing had happened, TPE with fresh random numbers.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rlgan.base.errors import ConfigError
from rlgan.base.extras import install_command
from rlgan.base.search_priors import Choice, LogUniform, Prior
from rlgan.base.seeding import stream_seed
from rlgan.config.config import Config

from ..space.spaces import Point, Space

if TYPE_CHECKING:
    import optuna

Suggest = Callable[[str, Prior], Any]
_MOST_CONTRADICTIONS = 1_000  # in a row; a space that is all contradictions has no trial to offer


@dataclass(frozen=True, slots=True)
class Proposal:
    """What to try.

    Attributes:
        point: what varies.
        config: the whole configuration.
        draws: name of each dimension → value.
        token: for `Proposals.tell`.
    """

    point: Point
    config: Config
    draws: dict[str, Any]
    token: Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a trial.

    Attributes:
        values: its objectives, lower is better; None for one that failed.
        stopped: (updates done, objective) of one that was stopped before its end, whose values are no one's that was
            not; empty otherwise.
    """

    values: tuple[float, ...] | None
    stopped: tuple[tuple[int, float], ...] = ()


class Source(Protocol):
    """Proposes values, and may learn from results."""

    def repeat(self, draws: Mapping[str, Any]) -> None:
        """Let the next point be one that was proposed before; all are repeated, in their order."""
        ...

    def begin(self) -> Suggest | None:
        """Values of the next point; None when there are no more."""
        ...

    def refuse(self) -> None:
        """The point that was begun last is contradictory."""
        ...

    def accept(self) -> Any:
        """The point that was begun last becomes a trial.

        Returns:
            What `tell` is given back.
        """
        ...

    def tell(self, proposed: Any, outcome: Outcome) -> None:
        """What became of a trial."""
        ...


class RandomSource:
    """Draws each value from its prior.

    Args:
        seed: of all draws.
    """

    def __init__(self, seed: int) -> None:
        self._seed, self._index = seed, 0

    def repeat(self, draws: Mapping[str, Any]) -> None:
        """See `Source.repeat`: it does so by itself."""

    def begin(self) -> Suggest:
        """See `Source.begin`."""
        index = self._index
        self._index += 1
        return lambda name, prior: prior.quantile(stream_seed(self._seed, "proposal", index, name) / 2**63)

    def refuse(self) -> None:
        """See `Source.refuse`: the next draw is another."""

    def accept(self) -> None:
        """See `Source.accept`."""

    def tell(self, proposed: Any, outcome: Outcome) -> None:
        """See `Source.tell`: nothing is learned."""


class GridSource:
    """All combinations; of a continuous prior the ends and the middle. The last dimension changes fastest."""

    def __init__(self) -> None:
        self._digits: list[tuple[int, int]] | None = []  # (which, of how many) of each value that was asked for

    def repeat(self, draws: Mapping[str, Any]) -> None:
        """See `Source.repeat`: it does so by itself."""

    def begin(self) -> Suggest | None:
        """See `Source.begin`."""
        if self._digits is None:
            return None
        prefix, self._digits = [which for which, _ in self._digits], []
        digits = self._digits

        def suggest(name: str, prior: Prior) -> Any:
            examples = prior.examples()
            # What follows a digit that has just moved on is asked for anew, for other dimensions may be active now.
            which = prefix[len(digits)] if len(digits) < len(prefix) else 0
            digits.append((which, len(examples)))
            return examples[which]

        return suggest

    def _move_on(self) -> None:
        assert self._digits is not None
        digits = self._digits
        while digits and digits[-1][0] + 1 == digits[-1][1]:
            digits.pop()
        self._digits = [*digits[:-1], (digits[-1][0] + 1, digits[-1][1])] if digits else None

    def refuse(self) -> None:
        """See `Source.refuse`."""
        self._move_on()

    def accept(self) -> None:
        """See `Source.accept`."""
        self._move_on()

    def tell(self, proposed: Any, outcome: Outcome) -> None:
        """See `Source.tell`: nothing is learned."""


class OptunaSource:
    """Optuna's tree-structured Parzen estimator, of one objective or more (Bergstra et al. 2011, Ozaki et al. 2020).

    Args:
        seed: of the estimator.
        num_objectives: how many values `tell` is given.

    Raises:
        ConfigError: Optuna is not installed.
    """

    def __init__(self, seed: int, num_objectives: int = 1) -> None:
        try:
            import optuna
        except ModuleNotFoundError:
            raise ConfigError(
                "search by TPE: needs Optuna, which is part of an extra. Install it with: "
                f"{install_command('tune')} Or use random search (--search random).",
                code="tpe_needs_optuna",
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        self._seed, self._num_repeated = seed, 0
        self._study = optuna.create_study(directions=["minimize"] * num_objectives, sampler=self._sampler())
        self._begun: optuna.trial.Trial | None = None

    def _sampler(self) -> optuna.samplers.BaseSampler:
        optuna = self._optuna
        # What is repeated draws no random numbers: those that it drew before must not come again.
        seed = stream_seed(self._seed, "tpe", self._num_repeated) % 2**32
        # Groups: dimensions of a variant are modelled together, apart from those of others. Constant liar: trials that
        # run at the same time are not proposed alike.
        with warnings.catch_warnings():
            # It warns that these may change; the version is pinned.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)

    def repeat(self, draws: Mapping[str, Any]) -> None:
        """See `Source.repeat`."""
        self._study.enqueue_trial(dict(draws))
        self._num_repeated += 1
        self._study.sampler = self._sampler()

    def begin(self) -> Suggest:
        """See `Source.begin`."""
        begun = self._begun = self._study.ask()

        def suggest(name: str, prior: Prior) -> Any:
            if isinstance(prior, Choice):
                return begun.suggest_categorical(name, prior.values)
            return begun.suggest_float(name, prior.low, prior.high, log=isinstance(prior, LogUniform))

        return suggest

    def refuse(self) -> None:
        """See `Source.refuse`."""
        assert self._begun is not None
        self._study.tell(self._begun, state=self._optuna.trial.TrialState.FAIL)

    def accept(self) -> optuna.trial.Trial:
        """See `Source.accept`."""
        assert self._begun is not None
        return self._begun

    def tell(self, proposed: optuna.trial.Trial, outcome: Outcome) -> None:
        """See `Source.tell`."""
        state = self._optuna.trial.TrialState
        if outcome.stopped and len(self._study.directions) == 1:
            # Compared with others at its own last update, and not with those that went on.
            for update, value in outcome.stopped:
                proposed.report(value, update)
            self._study.tell(proposed, state=state.PRUNED)
        elif outcome.values is None or outcome.stopped or not all(map(math.isfinite, outcome.values)):
            self._study.tell(proposed, state=state.FAIL)
        else:
            self._study.tell(proposed, list(outcome.values))


class Proposals:
    """Points of a space that are configurations.

    Args:
        whole: the space.
        source: proposes.

    Attributes:
        contradictions: reason → how many points were dropped for it.
    """

    def __init__(self, whole: Space, source: Source) -> None:
        self._space, self._source = whole, source
        self.contradictions: Counter[str] = Counter()

    def repeat(self, draws: Mapping[str, Any]) -> None:
        """Let the next point be one that was proposed before, in the order in which they were."""
        self._source.repeat(draws)

    def next(self) -> Proposal | None:
        """The next point; None when there are no more.

        Raises:
            ConfigError: the space seems to be nothing but contradictions.
        """
        for _ in range(_MOST_CONTRADICTIONS):
            suggest = self._source.begin()
            if suggest is None:
                return None
            draws: dict[str, Any] = {}
            point = self._space.draw(_noting(suggest, draws))
            try:
                config = self._space.config(point)
            except ConfigError as error:
                self._source.refuse()
                self.contradictions[_without_numbers(str(error))] += 1
                continue
            return Proposal(point, config, draws, self._source.accept())
        most, number = self.contradictions.most_common(1)[0]
        raise ConfigError(
            f"{_MOST_CONTRADICTIONS} points in a row were contradictory, {number} of them because of: "
            f"{most.rstrip('. ')}. Widen the study.",
            code="study_contradictory",
        )

    def tell(self, proposed: Any, outcome: Outcome) -> None:
        """What became of a trial."""
        self._source.tell(proposed, outcome)


def _noting(suggest: Suggest, draws: dict[str, Any]) -> Suggest:
    def suggest_and_note(name: str, prior: Prior) -> Any:
        draws[name] = suggest(name, prior)
        return draws[name]

    return suggest_and_note


def _without_numbers(text: str) -> str:
    """A reason as it is counted: the first sentence, with the same words for all values."""
    return text.partition(": ")[2].partition(". ")[0] or text
