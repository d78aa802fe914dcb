"""What a comparison of generators rests on: both sides of a measure, and what they would be without some sequences.

A figure has two sources of chance: which real sequences are held out, and which sequences the generator happened to
draw. Two generators are measured with the same real ones, so their difference is paired over these; what they drew is
taken to be independent. (Where both drew by the same random numbers their difference varies less than is said.) How
much two trainings of one configuration differ is a third source, which no set of sequences shows: it is told from
several trainings.

Where sequences are given something, the groups are of conditions: without a group both the real sequences and the
drawn ones of its conditions are missing, so that one set of replicates has both chances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlgan.metrics.intervals import Chance, Uncertain, jackknife

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure that quality and coverage both enter; lower is better.

    Attributes:
        name: of the sum.
        quality: name of the side that a lower temperature improves.
        coverage: name of the side that collapse worsens.
        meaning: how the sum is made of quantities of the table.
        infinite: what makes it infinite, as a clause.
    """

    name: str
    quality: str
    coverage: str
    meaning: str
    infinite: str


KL_SUM = Measure("kl_sum", "kl_reverse", "kl_forward", "kl_reverse + kl_forward", "a sequence has probability 0")
"""Of a known distribution: both KL gaps, nats a token."""
LM_RLM = Measure("lm_rlm", "lm_5gram", "rlm_5gram", "lm_5gram + rlm_5gram", "a sequence has probability 0")
"""Of text: the n-gram models of real sequences and of samples, nats a token."""
PAIR_SUM = Measure(
    "nll_chrf", "-ln(chrf/100)", "nll_gen", "nll_gen - ln(chrf/100)", "chrF is 0, or a reference has probability 0"
)
"""Of pairs: the NLL of the references, nats a token, and minus the logarithm of chrF of the likeliest sequences."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Both sides of a measure for one generator at one temperature, with what they are without some sequences.

    Attributes:
        sides: (2,) quality and coverage, lower is better.
        without_real: (G, 2) the same without each group of held-out sequences; the groups are the same for every
            generator that is compared.
        without_drawn: (K, 2) the same without each group of drawn sequences; (0, 2) where the groups of real ones hold
            what was drawn, too.
    """

    sides: Floats
    without_real: Floats
    without_drawn: Floats

    @property
    def total(self) -> float:
        """The measure: the sum of its sides."""
        return float(self.sides.sum())

    @property
    def is_finite(self) -> bool:
        """Whether all that it holds is."""
        return bool(all(np.isfinite(part).all() for part in (self.sides, self.without_real, self.without_drawn)))


Side = int | None
"""Column of `Evidence.sides`; None for their sum."""


def combined(
    evidence: Sequence[Evidence], weights: Sequence[float], training: Chance | None = None, side: Side = None
) -> Uncertain:
    """A sum of measures with weights, such as the difference of two generators.

    Args:
        evidence: of different generators, with the same groups of real sequences.
        weights: of each.
        training: chance of the sum by how trainings differ; None where nothing is known of it, or nothing is asked.
        side: of the measure.

    Returns:
        Σ w · measure, with the chance of the real sequences (paired), of each generator's draw, and of training.
    """
    real = sum(weight * _of(one.without_real, side) for weight, one in zip(weights, evidence, strict=True))
    sources = [jackknife(np.asarray(real))]
    for weight, one in zip(weights, evidence, strict=True):
        if len(one.without_drawn) and weight:
            sources.append(jackknife(weight * _of(one.without_drawn, side)))
    if training is not None:
        sources.append(training)
    value = sum(weight * float(_of(one.sides[None], side)[0]) for weight, one in zip(weights, evidence, strict=True))
    return Uncertain(float(value), tuple(sources))


def _of(sides: Floats, side: Side) -> Floats:
    return sides.sum(1) if side is None else sides[:, side]


def without_each(sums: Floats, counts: Floats) -> Floats:
    """Of a mean Σ sums / Σ counts what it is without each group.

    Args:
        sums: (G,) of each group.
        counts: (G,) of each group.

    Returns:
        (G,) the mean over the other groups.
    """
    return np.asarray((sums.sum() - sums) / (counts.sum() - counts))


def in_groups(values: Floats, groups: NDArray[np.int64], number: int) -> Floats:
    """Sums (number,) of values (n,) over groups (n,), which are numbered from 0."""
    return np.bincount(groups, weights=values, minlength=number).astype(np.float64)


def beside(quality: Floats | float, coverage: Floats | float) -> Floats:
    """(n, 2) of two columns, of which one may be a constant."""
    return np.stack(np.broadcast_arrays(np.atleast_1d(quality), np.atleast_1d(coverage)), axis=1).astype(np.float64)
