"""Does a discriminator rank reals above fakes more often than one that knows nothing?

A discriminator that knows nothing has the same distribution of logits on both sides, so that every order of them is as
probable as another. The variance of its figures then depends on numbers of sequences alone, and needs no assumption on
logits:

    AUC of n reals and m fakes                                  ½, variance (n + m + 1) / (12 n m)
    share of N fakes below the real of their prompt, P prompts  ½, variance (N + 2) / (12 N P)

Sources: Mann & Whitney 1947; the second is the variance of a uniform rank among N + 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .intervals import CONFIDENCE, student_quantile


@dataclass(frozen=True, slots=True)
class RankedRound:
    """What a round of a discriminator was measured to rank, before it learned from the round's fakes.

    Attributes:
        value: the AUC, or the share of pairs.
        num_real: n of an AUC, always the same reals; P of pairs, other prompts in each round.
        num_fake: m of an AUC, those that were drawn independently: of several under one prompt one; N of pairs.
        is_of_pairs: whether it is the share of pairs of a prompt.
    """

    value: float
    num_real: int
    num_fake: int
    is_of_pairs: bool


@dataclass(frozen=True, slots=True)
class Ranking:
    """The mean over some rounds beside what a discriminator that knows nothing reaches.

    Attributes:
        value: the mean.
        low: lower end of the 95 % interval of a discriminator that knows nothing.
        high: upper end.
    """

    value: float
    low: float
    high: float

    @property
    def is_chance(self) -> bool:
        """Whether it ranks reals no higher than one that knows nothing may do; also where there is no number."""
        return not self.value > self.high

    @property
    def is_reversed(self) -> bool:
        """Whether it ranks fakes above reals."""
        return self.value < self.low


def auc_error_of_chance(num_real: int, num_fake: int) -> float:
    """Standard error of the AUC of a discriminator that knows nothing.

    Args:
        num_real: n reals, at least 1.
        num_fake: m fakes, at least 1.
    """
    return math.sqrt((num_real + num_fake + 1) / (12 * num_real * num_fake))


def pair_error_of_chance(num_prompts: int, group: int) -> float:
    """Standard error of the share of fakes below the real of their prompt, where the discriminator knows nothing.

    Args:
        num_prompts: P, at least 1.
        group: N fakes of each, at least 1.
    """
    return math.sqrt((group + 2) / (12 * group * num_prompts))


def ranking(rounds: Sequence[RankedRound]) -> Ranking:
    """The mean over rounds of one kind, and its interval by chance.

    Pairs of different rounds are of different prompts, so that variances add up. An AUC is of the same reals in each
    round, and of other fakes: its interval is that of the n reals and of all fakes together.

    Args:
        rounds: at least one.
    """
    value = math.fsum(one.value for one in rounds) / len(rounds)
    if rounds[0].is_of_pairs:
        errors = (pair_error_of_chance(one.num_real, one.num_fake) for one in rounds)
        error = math.sqrt(math.fsum(one**2 for one in errors)) / len(rounds)
    else:
        error = auc_error_of_chance(min(one.num_real for one in rounds), sum(one.num_fake for one in rounds))
    reach = student_quantile(CONFIDENCE, math.inf) * error
    return Ranking(value, 0.5 - reach, 0.5 + reach)
