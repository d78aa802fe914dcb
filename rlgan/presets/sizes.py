"""Sizes by the data: the rule by which presets of the first hour choose them, unless they are set.

What follows the data is said beside each field (`FollowsData`); this is what it follows. The rule is pure: the same
data gives the same sizes on every machine. It was chosen by `benchmarks/sizes.py`; docs/configuration.md has it as a
table.

Presets that ship for a paper have the paper's sizes, and a task whose distribution is known has the preset's: there is
nothing to adapt to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from rlgan.base.settings import following
from rlgan.config.config import Config
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import Task
from rlgan.envs.transition import sequence_mask

_ROWS_AT_ONCE = 1 << 15
_LINE = 100


@dataclass(frozen=True, slots=True)
class DataSummary:
    """What the sizes follow.

    Attributes:
        num_train: sequences to learn from.
        num_valid: held out for early stopping.
        num_test: held out for the final figures.
        vocab_size: tokens of the vocabulary, special ones included.
        mean_length: tokens of a training sequence, its end included.
        max_length: greatest number of tokens of a sequence.
        source_vocab_size: of what sequences are given; 0 where they are given nothing.
        source_mean_length: likewise.
        source_max_length: likewise.
    """

    num_train: int
    num_valid: int
    num_test: int
    vocab_size: int
    mean_length: float
    max_length: int
    source_vocab_size: int = 0
    source_mean_length: float = 0.0
    source_max_length: int = 0

    @property
    def num_tokens(self) -> float:
        """Tokens to learn from."""
        return self.num_train * self.mean_length


def summary_of(task: Task) -> DataSummary:
    """The facts of a built task that sizes follow."""
    source: dict[str, Any] = {}
    if task.conditions is not None:
        given = task.conditions
        source = {
            "source_vocab_size": given.space.vocab_size,
            "source_mean_length": _mean_length(given.space, given.train),
            "source_max_length": given.space.max_length,
        }
    return DataSummary(
        num_train=len(task.train),
        num_valid=len(task.valid),
        num_test=len(task.test),
        vocab_size=task.space.vocab_size,
        mean_length=_mean_length(task.space, task.train),
        max_length=task.space.max_length,
        **source,
    )


def _mean_length(space: SequenceSpace, rows: Tensor) -> float:
    """Of sequences (n, T), their ends included; a part at a time, for a mask of all would be as large as they are."""
    return sum(int(sequence_mask(space, part).sum()) for part in rows.split(_ROWS_AT_ONCE)) / max(1, len(rows))


def sizes_of(data: DataSummary, config: Config) -> dict[str, Any]:
    """The sizes that a configuration should have on data: the rule.

    * Units: the preset's own on fewer than 2,000 training tokens; else as many as `MOST_UNITS` (of pairs the preset's
      own), but no more than let `LEAST_EPOCHS` of pretraining end within `PRETRAINING` multiply-adds.
    * Epochs of pretraining: at most the preset's own, and as many as fit into `PRETRAINING`.
    * Sequences a likelihood update: the preset's own, but at most half of the training sequences.
    * Sequences of a measurement: at most the preset's own, and as many as fit into `MEASUREMENT`.

    Args:
        data: what they follow.
        config: of a preset, whose own sizes are those of small data.

    Returns:
        Dotted path → value, of every field of the configuration that says `FollowsData`.
    """
    schedule, evaluation, paths = config.schedule, config.evaluation, following(config)
    own = getattr(config.generator, "hidden", 0)
    width = units(data, own) if "generator.hidden" in paths else own
    values: dict[str, Any] = {
        "generator.embedding": width,
        "generator.hidden": width,
        "schedule.mle_epochs": epochs(data, width, schedule.mle_epochs),
        "schedule.mle_batch": batch(data, schedule.mle_batch),
        "evaluation.num_sequences": measured(data, width, evaluation.num_sequences),
        "evaluation.final_sequences": measured(data, width, evaluation.final_sequences),
    }
    return {path: values[path] for path in paths}


MOST_UNITS = 128
"""Wider ones gained at most 0.03 nats a token for twice the time, where they gained."""
_WIDTHS = (32, 64, MOST_UNITS)
_FEW_TOKENS = 2_000
PRETRAINING, LEAST_EPOCHS = 3e12, 5
"""Multiply-adds of a forward pass over all epochs: about ten minutes of one core; and epochs that a network needs."""
MEASUREMENT, LEAST_MEASURED = 1e10, 1_000
"""The same of what is drawn for a row of a table, about two seconds; and sequences below which figures mean little."""


def units(data: DataSummary, own: int) -> int:
    """Width of the embedding and of the LSTM.

    Args:
        data: what it follows.
        own: the preset's.
    """
    if data.num_tokens < _FEW_TOKENS:
        return own
    fitting = [width for width in _WIDTHS if LEAST_EPOCHS * data.num_tokens * cost(data, width) <= PRETRAINING]
    return max([own, *fitting])


def cost(data: DataSummary, width: int) -> float:
    """Multiply-adds for one token: four gates that read embedding and state, and the output layer.

    A softmax costs as much as `_SOFTMAX` units of the layer before it, whatever that layer's width. Of pairs there is
    the encoder in two directions, and attention to each position.
    """
    step = 8 * width**2
    encoder = 2 * step * data.source_mean_length / max(1.0, data.mean_length)
    return step + encoder + 2 * width * data.source_mean_length + data.vocab_size * (width + _SOFTMAX)


_SOFTMAX = 64


def epochs(data: DataSummary, width: int, own: int) -> int:
    """Most epochs of pretraining, which patience ends before that where it can."""
    return max(min(own, 1), min(own, int(PRETRAINING / (data.num_tokens * cost(data, width)))))


def batch(data: DataSummary, own: int) -> int:
    """Sequences of a likelihood update: a power of two, so that there are two updates an epoch at least."""
    if data.num_train >= own:
        return own
    return 1 << max(0, (data.num_train // 2).bit_length() - 1)


def measured(data: DataSummary, width: int, own: int) -> int:
    """Sequences that are drawn for a measurement, in round numbers."""
    if own <= LEAST_MEASURED:
        return own
    fitting = MEASUREMENT / (data.mean_length * cost(data, width))
    return min(own, max(LEAST_MEASURED, _round(fitting)))


def _round(number: float) -> int:
    """The nearest below of 1, 2, 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(max(1.0, number)))
    return int(max(step * power for step in (1, 2, 5) if step * power <= max(1.0, number)))
