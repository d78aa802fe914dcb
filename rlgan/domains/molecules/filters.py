"""What keeps an optimiser from writing one scaffold again and again: a filter of rewards (`reward.filter`).

Source: REINVENT's diversity filter IdenticalMurckoScaffold (Blaschke et al. 2020), as REINVENT 4 has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rlgan.base.errors import ConfigError

from .chemistry import canonical, require_rdkit, scaffold


class ScaffoldBuckets:
    """Molecules that score well are counted by their Murcko scaffold; when a bucket is full, its next ones score 0.

    A molecule that was counted before scores 0, too, however it is written. Molecules without rings share a bucket. A
    text that is no molecule, and a molecule below the least score, are left as they are and not counted.

    Args:
        bucket_size: molecules of a scaffold that keep their scores.
        min_score: below it a molecule is not counted.

    Raises:
        ConfigError: rdkit is not installed, or the size is not positive.
    """

    def __init__(self, bucket_size: int = 25, min_score: float = 0.4) -> None:
        require_rdkit("filter scaffold_buckets")
        if bucket_size < 1:
            raise ConfigError(
                f"bucket_size={bucket_size}: must be at least 1. Set it to 25.",
                code="bucket_size",
                fields={"reward.filter.options.bucket_size": bucket_size},
            )
        self._size, self._least = bucket_size, min_score
        self._counts: Counter[str] = Counter()
        self._seen: dict[str, None] = {}

    def __call__(self, texts: Sequence[str], scores: Sequence[float]) -> list[float]:
        """Scores of a batch, in its order."""
        return [self._of(text, score) for text, score in zip(texts, scores, strict=True)]

    def state(self) -> dict[str, Any]:
        """What is remembered: the molecules, and how many each scaffold has."""
        return {"seen": list(self._seen), "counts": dict(self._counts)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` returned."""
        self._seen, self._counts = dict.fromkeys(state["seen"]), Counter(state["counts"])

    def _of(self, text: str, score: float) -> float:
        name = canonical(text)
        if name is None or not score >= self._least:  # a score that is not there is no number
            return score
        if name in self._seen:
            return 0.0
        frame = scaffold(name)
        self._seen[name] = None
        self._counts[frame] += 1
        return score if self._counts[frame] <= self._size else 0.0
