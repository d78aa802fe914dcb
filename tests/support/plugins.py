"""Plug-ins by `package.module:NAME`, for tests that need any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def nothing(completions: list[str]) -> list[float]:
    """A reward of 0 for all."""
    return [0.0] * len(completions)


def length_share(completions: list[str]) -> list[float]:
    """A reward between 0 and 1 that grows with a text."""
    return [len(text) / (5 + len(text)) for text in completions]


class Once:
    """A filter that leaves a text its score when it sees it for the first time."""

    def __init__(self) -> None:
        self.seen: dict[str, None] = {}

    def __call__(self, texts: Sequence[str], scores: Sequence[float]) -> list[float]:
        """Scores of a batch."""
        found = []
        for text, score in zip(texts, scores, strict=True):
            found.append(0.0 if text in self.seen else score)
            self.seen[text] = None
        return found

    def state(self) -> dict[str, Any]:
        """What it has seen."""
        return {"seen": list(self.seen)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put that back."""
        self.seen = dict.fromkeys(state["seen"])
