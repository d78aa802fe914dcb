"""The record of a final comparison. What shows one reads it here, and loads nothing that trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rlgan.evaluation.evaluator import Measurement
from rlgan.evaluation.own_reward import Rewarded
from rlgan.evaluation.shown_samples import Beside
from rlgan.evaluation.verdict import Verdict
from rlgan.metrics.quantity import Quantity

DRAWN_SAMPLES, DRAWN_BEST = "samples.svg", "best.svg"
"""Names of the pictures."""
FEWEST_SAMPLES = 3
"""That are shown beside real sequences at the end of a run; more where `evaluation.num_shown` asks for more."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a run is compared with, and how it fares.

    Attributes:
        rows: of the table: name, temperature, and name → value of each quantity.
        text: the table for people, with what follows from it in sentences below it.
        verdict: on the run; None where nothing was trained after the start, so that there is nothing to judge.
        final: measurement of the run's own generator.
        sentences: what follows from the table, the verdict first.
        notes: on how its figures were measured.
        quantities: name of each quantity of the rows → what is known of it, in the order of a short table.
        samples: of the run as it is, each beside a real sequence.
        best: the samples with the largest rewards, where the run is rewarded by functions of your own.
        pictures: name of a file → SVG of samples, where a metric of your own draws some.
        is_text: whether sequences say something to who reads them, which those of an oracle do not.
    """

    rows: list[dict[str, Any]]
    text: str
    verdict: Verdict | None
    final: Measurement
    sentences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    quantities: Mapping[str, Quantity] = field(default_factory=dict)
    samples: tuple[Beside, ...] = ()
    best: tuple[Rewarded, ...] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)
    is_text: bool = True
