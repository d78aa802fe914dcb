"""Scores within a budget of calls, as in PMO (Gao et al. 2022): a call is a molecule that was not asked before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rlgan.base.errors import ConfigError

from .chemistry import canonical
from .rewards import value_of


@dataclass
class Budget:
    """A score that counts its calls: a reward function, too.

    A text that is no molecule is worth 0 and costs no call. A molecule that was asked before, however it is written,
    costs none and has the same score. When the budget is spent, every new molecule is worth 0. A molecule for which the
    score raises, or gives no finite number, is worth 0 and has cost its call; the first is reported.

    Attributes:
        score: SMILES of a molecule → score, higher is better; a function of one string.
        max_calls: the budget.
        scores: of the molecules in the order in which they were asked, by their canonical SMILES.
        num_invalid: texts that were no molecules.
        num_repeated: texts of molecules that were asked before.
        num_failed: molecules without a score.
    """

    score: Callable[[str], float]
    max_calls: int = 10_000
    scores: dict[str, float] = field(default_factory=dict)
    num_invalid: int = 0
    num_repeated: int = 0
    num_failed: int = 0

    def __call__(self, completions: Sequence[str], **columns: object) -> list[float]:
        """Scores of texts, one each."""
        return [self._of(text) for text in completions]

    @property
    def is_spent(self) -> bool:
        """Whether a new molecule has no score any more."""
        return len(self.scores) >= self.max_calls

    def auc_top(self, number: int = 10, every: int = 100) -> float:
        """See `auc_top`."""
        return auc_top(list(self.scores.values()), number, self.max_calls, every=every)

    def top(self, number: int = 10) -> list[tuple[str, float]]:
        """The best molecules with their scores, best first."""
        return sorted(self.scores.items(), key=lambda item: -item[1])[:number]

    def _of(self, text: str) -> float:
        name = canonical(text)
        if name is None:
            self.num_invalid += 1
            return 0.0
        if name in self.scores:
            self.num_repeated += 1
            return self.scores[name]
        if self.is_spent:
            return 0.0
        found = value_of(name, self.score)
        self.num_failed += found is None
        self.scores[name] = 0.0 if found is None else found
        return self.scores[name]


def auc_top(
    scores: Sequence[float], number: int, max_calls: int, *, every: int = 100, is_finished: bool = True
) -> float:
    """Area under the curve of the mean of the best scores so far, over calls (PMO; Gao et al. 2022).

    After each `every` calls the mean of the `number` best is a point. The curve begins at 0, is straight between
    points, and constant after the last one where the search is finished.

    Args:
        scores: of the calls, in their order.
        number: how many of the best count.
        max_calls: the budget, over which the area is divided.
        every: calls between points.
        is_finished: whether the search made all its calls, so that the rest of the budget counts with its last mean.

    Returns:
        Between the least and the greatest score; 0 without scores.

    Raises:
        ConfigError: a number is not positive, or there are more scores than calls.
    """
    if min(number, max_calls, every) < 1 or len(scores) > max_calls:
        raise ConfigError(
            f"auc_top: number={number}, max_calls={max_calls}, every={every} with {len(scores)} scores: each must be "
            "at least 1, and max_calls at least the number of scores.",
            code="auc_top_sizes",
            fields={"number": number, "max_calls": max_calls, "every": every},
        )
    if not scores:
        return 0.0
    area, before, last = 0.0, 0.0, 0
    ends = [*range(every, len(scores), every), len(scores)]
    for end in ends:
        best = sorted(scores[:end], reverse=True)[:number]
        mean = sum(best) / len(best)
        area += (end - last) * (mean + before) / 2
        before, last = mean, end
    if is_finished:
        area += (max_calls - len(scores)) * before
    return area / max_calls
