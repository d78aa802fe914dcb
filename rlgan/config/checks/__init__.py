"""Combinations of settings that cannot work, or in which a setting would have no effect, each as a `Problem`.

Here are the rules between equals, which read what the variants declare and know none of them. A rule that concerns one
variant, or one group of settings, is its own (`Settings.check`). What a field can tell alone is checked by its type.

Nothing here knows `rlgan.config.config`, which raises the first problem.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rlgan.base.declarations import Fields
from rlgan.base.problems import Problem
from rlgan.base.settings import Settings

from . import judging, learning, rewarding


def problems(fields: Fields, parts: Iterable[Settings]) -> Iterator[Problem]:
    """All of them, in the order in which they would be mended.

    Args:
        fields: of the configuration, each of them valid by itself.
        parts: every group of settings and every chosen variant below them.
    """
    parts = list(parts)
    yield from learning.who_learns(fields)
    yield from judging.who_reads_conditions(fields)
    yield from judging.who_gives_a_distribution(fields)
    yield from rewarding.what_is_rewarded(fields)
    yield from rewarding.what_is_compared(fields)
    yield from rewarding.how_long_rewards_take(fields)
    yield from learning.what_is_differentiated(fields)
    yield from learning.without_likelihood(fields)
    for part in parts:
        yield from part.check(fields)
    yield from learning.how_a_batch_is_learned(fields)
    yield from learning.what_there_is_before(fields)
    if fields.discriminator is not None:
        yield from judging.what_is_read_into_logits(fields, fields.discriminator)
        yield from judging.what_has_no_origin(fields)
