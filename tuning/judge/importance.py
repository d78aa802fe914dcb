"""Which dimensions of a sweep matter, as far as its trials can tell: permutation importance with a null beside it.

A random forest learns the objective from the points of the trials. A dimension matters if the forest predicts trials
that it has not seen worse once the values of that dimension are shuffled among them (Breiman 2001). Everything is
repeated on bootstrap samples of the trials, and each sample has a *probe* more, a dimension of random numbers that
cannot matter: what does not clear the probe is not claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from rlgan.base.errors import ConfigError
from rlgan.base.extras import install_command
from rlgan.base.seeding import stream_seed

from ..space.spaces import Point
from .results import SweepResults, TrialResult
from .scales import label, scale

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.ensemble import RandomForestRegressor

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Ints = NDArray[np.int64]

FEWEST_TRIALS = 8
"""Fewer tell nothing: a bootstrap sample would leave out two or three."""
FEWEST_FINISHED = 10
"""With fewer finished trials, the ends are not looked at by themselves."""
MOST_PAIRED = 6
"""Only pairs among so many of the most important dimensions are looked at: 15 pairs can still be read."""
_LEVELS = (5.0, 95.0)  # percentiles that an interval reaches from and to
_NUM_SHUFFLES = 5  # that a loss is the mean of, in each sample
_PROBE = ""  # no dimension has this name


@dataclass(frozen=True, slots=True)
class Estimate:
    """A quantity over bootstrap samples of the trials.

    Attributes:
        mean: over the samples.
        low: its 5th percentile.
        high: its 95th percentile.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Effect:
    """One dimension.

    Attributes:
        dimension: its name.
        loss: of R², when its values are shuffled.
        clear: whether the interval lies above that of the probe; otherwise it is not distinguishable from nothing.
    """

    dimension: str
    loss: Estimate
    clear: bool


@dataclass(frozen=True, slots=True)
class Interaction:
    """One pair of dimensions.

    Attributes:
        one: the more important.
        other: the less important.
        excess: loss of R² when both are shuffled together, less the two single losses. Below 0 where the effect of one
            depends on the other; 0 where both add up; above 0 where one can stand in for the other.
        clear: whether the interval excludes 0, and lies beyond those of either with the probe: with a dimension that
            matters much, whatever is shuffled beside it has some excess by chance.
    """

    one: str
    other: str
    excess: Estimate
    clear: bool


@dataclass(frozen=True, slots=True)
class Importance:
    """What the trials tell of the dimensions.

    Attributes:
        target: what was predicted, in words.
        updates: at which trials were compared; None where there is no such number.
        num_trials: that were compared.
        missing: why there is no estimate; None where there is one. Without an estimate, all below is empty or None.
        fit: R² of the forest on trials that it has not seen.
        probe: loss of R² of a dimension that does nothing.
        effects: of every dimension, the most important first.
        interactions: of pairs of the most important dimensions, the farthest from 0 first.
    """

    target: str
    updates: int | None
    num_trials: int
    missing: str | None = None
    fit: Estimate | None = None
    probe: Estimate | None = None
    effects: tuple[Effect, ...] = ()
    interactions: tuple[Interaction, ...] = ()

    @property
    def verdict(self) -> str:
        """What may be claimed, in a sentence or two."""
        if self.missing is not None or self.fit is None:
            return f"The importance of single dimensions is unknown: {self.missing}."
        fit = f"R² on unseen trials {_signed(self.fit)}"
        if self.fit.mean <= 0:
            return (
                f"The trials do not show which dimensions matter: the model predicts no better than the mean ({fit})."
            )
        clear = [effect.dimension for effect in self.effects if effect.clear]
        weak = ", weakly" if self.fit.low <= 0 else ""
        if not clear:
            return (
                "No dimension is significantly different from a dimension without effect, although the model "
                f"predicts{weak} ({fit})."
            )
        pairs = [f"{pair.one} × {pair.other}" for pair in self.interactions if pair.clear]
        joint = f" Pairs with an interaction: {', '.join(pairs)}." if pairs else ""
        return f"Dimensions with a significant effect: {', '.join(clear)}; the model predicts{weak} ({fit}).{joint}"


def importances(results: SweepResults, *, seed: int = 0, num_samples: int = 100) -> tuple[Importance, ...]:
    """Importance after as many updates as all trials made, and at the end among those that reached it.

    Both compare trials at equal numbers of updates. The second is left out where fewer than `FEWEST_FINISHED` trials
    finished, or where it would be the first again. It is of trials that were let finish for their good results, so it
    may miss what sorts the bad from the good early.

    Args:
        results: of the sweep.
        seed: of bootstrap, forests, shuffles and probe.
        num_samples: bootstrap samples.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    measured = _measured(results.trials)
    finished = [trial for trial in measured if trial.state == "finished"]
    names = results.dimensions
    first = _importance(results.objective, "all trials", measured, names, seed, num_samples)
    if len(finished) < FEWEST_FINISHED:
        return (first,)
    updates = _last_common_update(finished)
    if (updates, len(finished)) == (first.updates, len(measured)):
        return (first,)
    return (first, _importance(results.objective, "finished trials", finished, names, seed, num_samples))


def _measured(trials: Sequence[TrialResult]) -> list[TrialResult]:
    # In the order of their numbers, so that the order in which they are given does not matter.
    return sorted((trial for trial in trials if trial.curve), key=lambda trial: trial.index)


def _last_common_update(trials: Sequence[TrialResult]) -> int | None:
    updates = [{update for update, _ in trial.curve} for trial in trials]
    return max(set.intersection(*updates), default=None) if updates else None


def _importance(
    objective: str, which: str, trials: Sequence[TrialResult], dimensions: Sequence[str], seed: int, num_samples: int
) -> Importance:
    updates = _last_common_update(trials)
    if updates is None:
        reason = "no trial was measured" if not trials else "no number of updates was measured for all trials"
        return Importance(f"{objective}, {which}", None, len(trials), reason)
    target = f"{objective} after {updates} updates, {which}"
    if len(trials) < FEWEST_TRIALS:
        reason = f"{len(trials)} trials were measured, but at least {FEWEST_TRIALS} are needed"
        return Importance(target, updates, len(trials), reason)
    ranks = _ranks([dict(trial.curve)[updates] for trial in trials])
    if np.ptp(ranks) == 0:
        return Importance(target, updates, len(trials), f"after {updates} updates all trials have the same {objective}")
    points = [trial.point for trial in trials]
    fit, probe, effects, interactions = estimate(points, ranks, dimensions, seed=seed, num_samples=num_samples)
    return Importance(target, updates, len(trials), None, fit, probe, effects, interactions)


def _ranks(values: Sequence[float]) -> Floats:
    """Ranks of the objective, equals in the middle of theirs; what is not finite is the worst, all of it alike.

    Ranks, because trials diverge: one objective of 50 among 1.2 … 1.9 would be most of the variance, and to leave it
    out would hide what makes trials diverge.
    """
    from scipy.stats import rankdata

    array = np.array(values, dtype=np.float64)
    return np.asarray(rankdata(np.where(np.isfinite(array), array, np.inf)), dtype=np.float64)


# -------------------------------------------------------------------------------------------------- estimation


@dataclass(frozen=True, slots=True)
class Feature:
    """Columns that are shuffled together: a dimension.

    Attributes:
        columns: of the design.
        active: (trials,), among which they are shuffled.
    """

    columns: Ints
    active: Bools


@dataclass(frozen=True, slots=True)
class _Sample:
    """A bootstrap sample: a forest that learned from it, and the trials left out of it, O.

    Attributes:
        predict: of the forest, (n, columns) → (n,).
        x: (O, columns).
        y: (O,).
        features: by name, the probe included; `active` is of the trials left out.
        orders: (shuffles, O), permutations.
    """

    predict: Callable[[Floats], Floats]
    x: Floats
    y: Floats
    features: Mapping[str, Feature]
    orders: Ints

    def losses(self, groups: Sequence[Sequence[str]]) -> Floats:
        """Increase of the mean squared error for each group of names shuffled together, (groups,)."""
        features = [[self.features[name] for name in group] for group in groups]
        return shuffle_losses(self.predict, self.x, self.y, features, self.orders)


def estimate(
    points: Sequence[Point],
    target: Floats,
    dimensions: Sequence[str],
    *,
    seed: int,
    num_samples: int = 100,
    num_trees: int = 30,
) -> tuple[Estimate, Estimate, tuple[Effect, ...], tuple[Interaction, ...]]:
    """Importance of dimensions for a target.

    For a bootstrap sample of the trials, a forest f that learned from it, the trials O left out of it, and their target
    y with variance Var(y) over *all* trials::

        R²      = 1 − mean over O of (y − f(x))² / Var(y)
        loss(d) = [mean over O of (y − f(x with d shuffled))² − mean over O of (y − f(x))²] / Var(y)
        excess(d, e) = loss(d and e, shuffled together) − loss(d) − loss(e)

    The increase of the squared error is divided by the variance over all trials, so that the loss is that of R²: it has
    no unit, is the same for every task, and stays tame where a sample leaves only three trials out, whose own variance
    may be next to nothing. Where dimensions are drawn independently and f is exact, loss(d) is twice the total Sobol'
    index of d (Jansen 1999), and excess(d, e) is minus twice the share of variance that takes both; so losses reach 2,
    and sum to more than R².

    A dimension that is not active in a trial has a value drawn from the trials in which it is, anew for each sample,
    and is shuffled only among those trials. A level of its own would tell the forest which variant its parent is, and a
    dimension without any effect would take its parent's importance; this way every shuffled point is one that the space
    has, and that a variant was chosen counts for the variant alone. The loss is over all trials: a dimension that is
    seldom active matters seldom.

    Weak spots: a pair of which neither does anything alone (exclusive or) hides from a forest while trials are few; the
    trials are those that the search chose, not evenly spread ones; intervals are of single dimensions and pairs, not
    corrected for their number.

    Args:
        points: of trials, N.
        target: (N,), not constant.
        dimensions: names; each is one feature, however many columns encode it.
        seed: of everything random; the same seed gives the same bits.
        num_samples: bootstrap samples.
        num_trees: of each forest.

    Returns:
        R², loss of the probe, effects with the most important first, interactions with the farthest from 0 first.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    samples = [
        _sample(points, target, dimensions, np.random.default_rng(stream_seed(seed, "importance", index)), num_trees)
        for index in range(num_samples)
    ]
    variance = float(np.var(target))
    errors = np.array([np.mean((sample.y - sample.predict(sample.x)) ** 2) for sample in samples])
    groups = [*([name] for name in dimensions), [_PROBE]]
    losses = np.stack([sample.losses(groups) for sample in samples]) / variance  # (samples, dimensions and probe)
    single = dict(zip([*dimensions, _PROBE], losses.T, strict=True))
    probe = _estimate(losses[:, -1])
    # Equals in the order of their names, so that the order of the dimensions decides nothing.
    order = sorted(dimensions, key=lambda name: (-float(single[name].mean()), name))
    tells = float(errors.mean()) < variance
    effects = []
    for name in order:
        loss = _estimate(single[name])
        effects.append(Effect(name, loss, clear=tells and loss.low > probe.high))
    paired = order[:MOST_PAIRED]
    pairs = list(combinations(paired, 2))
    interactions = []
    if pairs:
        tried = [*pairs, *((name, _PROBE) for name in paired)]
        together = np.stack([sample.losses(tried) for sample in samples]).T / variance
        excesses = [
            _estimate(loss - single[one] - single[other]) for (one, other), loss in zip(tried, together, strict=True)
        ]
        nulls = dict(zip(paired, excesses[len(pairs) :], strict=True))
        for (one, other), excess in zip(pairs, excesses, strict=False):
            lowest, highest = min(nulls[one].low, nulls[other].low), max(nulls[one].high, nulls[other].high)
            beyond = excess.high < min(0.0, lowest) or excess.low > max(0.0, highest)
            interactions.append(Interaction(one, other, excess, clear=tells and beyond))
    interactions.sort(key=lambda pair: -abs(pair.excess.mean))
    return _estimate(1.0 - errors / variance), probe, tuple(effects), tuple(interactions)


def shuffle_losses(
    predict: Callable[[Floats], Floats],
    x: Floats,
    y: Floats,
    groups: Sequence[Sequence[Feature]],
    orders: Ints,
) -> Floats:
    """Increase of the mean squared error when features are shuffled.

    Args:
        predict: (n, columns) → (n,).
        x: (N, columns).
        y: (N,).
        groups: features of a group are shuffled together, by the same permutation, among the rows where each is active.
        orders: (shuffles, N), permutations of the rows; each is used for every group.

    Returns:
        (groups,), means over the shuffles.
    """
    copies = []
    for group in groups:
        for order in orders:
            copy = x.copy()
            for feature in group:
                # A permutation of all rows, read among some of them, is a permutation of those.
                rows, source = np.flatnonzero(feature.active), order[feature.active[order]]
                copy[np.ix_(rows, feature.columns)] = x[np.ix_(source, feature.columns)]
            copies.append(copy)
    predicted = predict(np.concatenate([x, *copies])).reshape(1 + len(copies), len(y))
    errors = np.mean((predicted - y) ** 2, axis=1)
    losses: Floats = errors[1:].reshape(len(groups), len(orders)).mean(axis=1) - errors[0]
    return losses


def _sample(
    points: Sequence[Point], target: Floats, dimensions: Sequence[str], rng: np.random.Generator, num_trees: int
) -> _Sample:
    x, features = _design(points, dimensions, rng)
    num = len(points)
    bag = rng.integers(num, size=num)
    while len(set(bag.tolist())) == num:  # left nothing out
        bag = rng.integers(num, size=num)
    out = np.setdiff1d(np.arange(num), bag)
    forest = _forest(num_trees, seed=int(rng.integers(2**31)))
    forest.fit(x[bag], target[bag])
    return _Sample(
        forest.predict,
        x[out],
        target[out],
        {name: Feature(feature.columns, feature.active[out]) for name, feature in features.items()},
        np.stack([rng.permutation(len(out)) for _ in range(_NUM_SHUFFLES)]),
    )


def _design(
    points: Sequence[Point], dimensions: Sequence[str], rng: np.random.Generator
) -> tuple[Floats, dict[str, Feature]]:
    """Columns of all dimensions and of the probe, with values drawn for those that are not active."""
    columns: list[Floats] = []
    features: dict[str, Feature] = {}
    for name in dimensions:
        active = np.array([name in point for point in points])
        encoded = _encode(name, points)
        if not active.all() and active.any():
            drawn = rng.choice(np.flatnonzero(active), size=int((~active).sum()))
            encoded[~active] = encoded[drawn]
        features[name] = Feature(len(columns) + np.arange(encoded.shape[1]), active)
        columns += list(encoded.T)
    features[_PROBE] = Feature(np.array([len(columns)]), np.ones(len(points), dtype=np.bool_))
    return np.stack([*columns, rng.random(len(points))], axis=1), features


def _encode(name: str, points: Sequence[Point]) -> Floats:
    """A dimension as (trials, columns): numbers on their scale, and a column of 0 and 1 for each level.

    Two levels and no numbers are one column. A level among numbers stands at their middle in the column of numbers.
    """
    its = scale(name, points)
    columns = []
    if its.has_numbers:
        numbers = [its.number(point[name]) if name in point else None for point in points]
        known = [number for number in numbers if number is not None]
        columns.append([float(np.median(known)) if number is None else number for number in numbers])
    levels = its.levels[1:] if len(its.levels) == 2 and not its.has_numbers else its.levels
    labels = [
        None if name not in point or its.number(point[name]) is not None else label(point[name]) for point in points
    ]
    columns += [[float(one == level) for one in labels] for level in levels]
    return np.array(columns, dtype=np.float64).reshape(len(columns), len(points)).T


def _forest(num_trees: int, seed: int) -> RandomForestRegressor:
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ModuleNotFoundError:
        raise ConfigError(
            "importance of dimensions: needs scikit-learn, which is part of an extra. Install it with: "
            f"{install_command('tune')}",
            code="importance_needs_sklearn",
        ) from None
    # The sample is a bootstrap already; another within it would leave each tree half of the few trials. Half of the
    # columns at each split lets weak dimensions, and pairs of which neither does anything alone, have their turn.
    return RandomForestRegressor(num_trees, max_features=0.5, min_samples_leaf=2, bootstrap=False, random_state=seed)


def _estimate(values: Floats) -> Estimate:
    low, high = np.percentile(values, _LEVELS)
    return Estimate(float(values.mean()), float(low), float(high))


def _signed(estimate: Estimate) -> str:
    return f"{estimate.mean:+.2f} [{estimate.low:+.2f}, {estimate.high:+.2f}]"
