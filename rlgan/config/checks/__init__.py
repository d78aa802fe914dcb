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

from . import judging, learning, prompts_alone, rewarding


def problems(fields: Fields, parts: Iterable[Settings]) -> Iterator[Problem]:
    """All of them, in the order in which they would be mended.

    Args:
        fields: of the configuration, each of them valid by itself.
        parts: every group of settings and every chosen variant below them.
    """
    parts = list(parts)
    yield from prompts_alone.needs_of_completions(fields)
    yield from learning.learners(fields)
    yield from judging.readers_of_conditions(fields)
    yield from judging.losses_and_distributions(fields)
    yield from judging.written_verdicts(fields)
    yield from judging.comparisons_within_prompts(fields)
    yield from rewarding.rewards_and_credit(fields)
    yield from rewarding.comparisons_within_a_batch(fields)
    yield from rewarding.time_of_rewards(fields)
    yield from learning.differentiated_objectives(fields)
    yield from learning.generators_without_likelihood(fields)
    yield from learning.generators_with_latents(fields)
    for part in parts:
        yield from part.check(fields)
    yield from learning.passes_over_a_batch(fields)
    yield from learning.pretraining(fields)
    if fields.discriminator is not None:
        yield from judging.readings_of_logits(fields, fields.discriminator)
        yield from judging.origin_of_logits(fields)
