"""Combinations of settings that cannot work, or in which a setting would have no effect, each as a sentence.

The checks that cross rooms: `rlgan.config.config.Config` raises the first. What one settings class can know alone, it
checks itself. `training`, `conditions`, `reward` and `discriminator` have the checks of one side each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import conditions, discriminator, reward, training
from .common import compares_sequences

if TYPE_CHECKING:
    from ..config import Config

__all__ = ["compares_sequences", "contradictions"]


def contradictions(config: Config) -> Iterator[str]:
    """All of them, in the order in which they would be mended.

    Args:
        config: whose parts are valid, each by itself.

    Returns:
        Sentences that name fields, what they are and what to do.
    """
    yield from training.who_learns(config)
    yield from conditions.who_is_given_what(config)
    yield from discriminator.who_gives_a_law(config)
    yield from reward.who_is_paid(config)
    yield from reward.what_is_compared(config)
    yield from training.what_is_differentiated(config)
    yield from training.without_likelihood(config)
    yield from training.what_likelihood_teaches(config)
    yield from training.how_a_batch_is_learned(config)
    yield from training.what_there_is_before(config)
    yield from discriminator.who_keeps_the_balance(config)
    yield from training.what_is_read_of_texts(config)
    yield from training.who_is_selected(config)
    if config.discriminator is not None:
        yield from discriminator.how_fakes_are_written(config)
        yield from discriminator.what_is_read_into_logits(config, config.discriminator)
        yield from discriminator.what_has_no_origin(config)
