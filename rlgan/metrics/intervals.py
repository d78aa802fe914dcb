"""Intervals: how far a figure may be off, by the seeds or the sequences that it happened to be measured of.

Of values that are independent and alike, such as one a seed, there is the t interval of their mean. Of a figure of many
sequences there is the delete-group jackknife: the figure is computed again without each group, and how far these values
lie apart says how far another set of sequences would have led. For a mean of independent terms it is the usual standard
error; it also holds for smooth figures that are none, such as the NLL of a model that was learned from the sequences.
Independent sources of chance add up, with Welch's degrees of freedom.

Sources: Efron & Stein 1981, The Jackknife Estimate of Variance; Satterthwaite 1946; Fieller 1954.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
"""Of every interval, where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A quantity over seeds.

    Attributes:
        mean: over the seeds; NaN where one of them is not finite.
        sd: standard deviation over the seeds (n − 1); None with one seed.
        num: seeds.
    """

    mean: float
    sd: float | None
    num: int

    def __str__(self) -> str:
        return f"{self.mean:.3f}" + ("" if self.sd is None else f" ± {self.sd:.3f}")


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with a 95 % t interval, which takes what is averaged for normally distributed.

    Attributes:
        mean: of n values.
        low: mean − t(0.975, n − 1) s / √n, s with n − 1; None with one value.
        high: likewise.
        num: n.
    """

    mean: float
    low: float | None
    high: float | None
    num: int

    def __str__(self) -> str:
        seeds = f"{self.num} seed{'' if self.num == 1 else 's'}"
        if self.low is None or self.high is None:
            return f"{self.mean:+.3f}, {seeds}, so no interval"
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}], {seeds}"


@dataclass(frozen=True, slots=True)
class Chance:
    """One source of chance in a figure.

    Attributes:
        variance: that it adds to the figure's.
        degrees: degrees of freedom of that estimate, at least 1.
    """

    variance: float
    degrees: int


@dataclass(frozen=True, slots=True)
class Uncertain:
    """A figure and the independent sources of its chance.

    Attributes:
        value: of the figure.
        sources: of its chance; with none the figure is exact.
    """

    value: float
    sources: tuple[Chance, ...]

    @property
    def variance(self) -> float:
        """Sum of the variances."""
        return math.fsum(source.variance for source in self.sources)

    @property
    def degrees(self) -> float:
        """Welch's degrees of freedom, (Σ v)² / Σ v²/d; infinite where nothing varies."""
        weight = math.fsum(source.variance**2 / source.degrees for source in self.sources)
        return self.variance**2 / weight if weight > 0 else math.inf

    def reach(self, confidence: float = CONFIDENCE) -> float:
        """Half the width of the t interval."""
        if self.variance == 0:
            return 0.0
        return student_quantile(confidence, self.degrees) * math.sqrt(self.variance)

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Low and high end of the t interval."""
        reach = self.reach(confidence)
        return self.value - reach, self.value + reach


def student_quantile(confidence: float, degrees: float) -> float:
    """The number of standard errors on either side of a mean that a t interval reaches."""
    from scipy.special import ndtri, stdtrit  # what scipy.stats asks, which takes a run some seconds to import

    share = (1 + confidence) / 2
    return float(ndtri(share) if math.isinf(degrees) else stdtrit(degrees, share))


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of values, one a seed; at least one."""
    mean = math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.nan
    if len(values) == 1:
        return Spread(mean, None, 1)
    return Spread(mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)), len(values))


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % t interval of values, one a seed; at least one."""
    its = spread(values)
    if its.sd is None:
        return Interval(its.mean, None, None, its.num)
    reach = student_quantile(CONFIDENCE, its.num - 1) * its.sd / math.sqrt(its.num)
    return Interval(its.mean, its.mean - reach, its.mean + reach, its.num)


def jackknife(without: NDArray[np.float64]) -> Chance:
    """Chance of a figure by what it is without each group.

        variance = (G − 1)/G · Σ_g (θ₋g − mean θ₋)²

    Args:
        without: (G,) the figure without group g of the G, which are of about one size; G at least 2.

    Returns:
        Its variance, with G − 1 degrees of freedom.

    Raises:
        ValueError: fewer than two groups.
    """
    number = len(without)
    if number < 2:
        raise ValueError(f"{number} group: an interval needs at least 2.")
    deviations = without - without.mean()
    return Chance(float((number - 1) / number * (deviations**2).sum()), number - 1)


def ratio_interval(
    numerator: Uncertain, denominator: Uncertain, difference: Uncertain, confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Fieller's interval of a ratio N/D: all ρ for which N − ρD is not told from 0.

    Args:
        numerator: N.
        denominator: D.
        difference: N − D, by whose variance the covariance of both is known.
        confidence: of the interval.

    Returns:
        Low and high end; None where D is not told from 0, for then every ratio would do, or all but some.
    """
    quantile = max(student_quantile(confidence, one.degrees) for one in (numerator, denominator, difference))
    top, bottom, square = numerator.value, denominator.value, quantile**2
    covariance = (numerator.variance + denominator.variance - difference.variance) / 2
    a = bottom**2 - square * denominator.variance
    if a <= 0:
        return None
    b = top * bottom - square * covariance
    c = top**2 - square * numerator.variance
    root = math.sqrt(max(b**2 - a * c, 0.0))
    return (b - root) / a, (b + root) / a
