"""Facts of all figures that are measured of generators: unit, direction, what they depend on the number of.

Each metric says its own (`QUANTITIES` of its module); here they are found by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rlgan.metrics.bleu import QUANTITIES as BLEU
from rlgan.metrics.diversity import QUANTITIES as DIVERSITY
from rlgan.metrics.effective_rank import QUANTITIES as EFFECTIVE_RANK
from rlgan.metrics.frechet import QUANTITIES as FRECHET
from rlgan.metrics.language_model import QUANTITIES as LANGUAGE_MODEL
from rlgan.metrics.latents import QUANTITIES as LATENTS
from rlgan.metrics.likelihood import QUANTITIES as LIKELIHOOD
from rlgan.metrics.nearest import QUANTITIES as NEAREST
from rlgan.metrics.ngram_frequencies import QUANTITIES as NGRAM_FREQUENCIES
from rlgan.metrics.quantity import Quantity, found_in
from rlgan.metrics.reward_means import QUANTITIES as REWARD_MEANS
from rlgan.metrics.reward_means import is_of_reward

from . import adversarial, learned_language_model, pair_measures
from .own_metric import OwnMetric, is_own, metric_of

QUANTITIES: tuple[Quantity, ...] = (
    *REWARD_MEANS,
    *LIKELIHOOD,
    *LATENTS,
    *pair_measures.QUANTITIES,
    *learned_language_model.QUANTITIES,
    *LANGUAGE_MODEL,
    *BLEU,
    *DIVERSITY,
    *NGRAM_FREQUENCIES,
    *FRECHET,
    *EFFECTIVE_RANK,
    *NEAREST,
    *adversarial.QUANTITIES,
)
"""Of all that ships, in the order in which a short table shows them."""


def known_quantity(name: str, own: Sequence[OwnMetric] = ()) -> Quantity | None:
    """Facts of a figure; None of one that nothing here measures, such as a stranger's.

    Args:
        name: without `eval/`.
        own: metrics of the user's own.
    """
    metric = metric_of(own, name)
    if metric is not None:
        return metric.quantity(name)
    found = found_in(QUANTITIES, name)
    return None if found is None else replace(found, name=name)


def quantity(name: str, own: Sequence[OwnMetric] = ()) -> Quantity:
    """Facts of a figure of a run.

    Args:
        name: without `eval/`.
        own: metrics of the run.

    Raises:
        KeyError: nothing measures it.
    """
    found = known_quantity(name, own)
    if found is None:
        raise KeyError(f"{name}: no metric says what it is. Add it to QUANTITIES of the module that measures it.")
    return found


def sign_of(name: str, own: Sequence[OwnMetric] = ()) -> str:
    """Which way a figure is better, as a sign behind its name; empty where neither is, or nothing is known of it.

    Args:
        name: without `eval/`.
        own: metrics of the user's own.
    """
    found = known_quantity(name, own)
    return "" if found is None else found.arrow


def is_users_own(name: str) -> bool:
    """Whether a figure is of a metric or a reward function of the user's own."""
    return is_own(name) or is_of_reward(name)


def place_of(name: str) -> int:
    """Where a figure stands in the order of `QUANTITIES`; those of the user's own come first."""
    if is_own(name):
        return -1
    if is_of_reward(name):
        return -2
    return next((at for at, one in enumerate(QUANTITIES) if found_in([one], name) is not None), len(QUANTITIES))


def axis_name(name: str) -> str:
    """A figure as the axis of a picture is named; its own name where nothing is known of it."""
    found = known_quantity(name)
    return name if found is None else found.axis
