"""A judge whose logit of a prefix is log p_φ - log p_θ: a language model, less the generator's own log-probability.

What tells reals from fakes best is log p_d/p_θ, and p_θ is known exactly, for the generator is ours: only p_φ is
learned. Its loss is `adversary.losses.PrefixCrossEntropy`, which knows p_θ; its optimum is p_φ = p_d. Of the network
itself the logits are log p_φ, so that reward `log_ratio` takes off the generator's log-probability of the very weights
that drew the tokens (docs/algorithms.md §7).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from rlgan.base.declarations import Fields
from rlgan.base.errors import ConfigError
from rlgan.base.problems import Problem
from rlgan.base.search_priors import NotSearched
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators import LSTM, GeneratorSettings, build_generator

from .discriminator import Architecture, Granularity, Reads
from .language_model import LanguageModelDiscriminator


class DensityRatio(Architecture):
    """Any generator's network as p_φ, of which log p_φ - log p_θ tells reals from fakes."""

    not_searched: ClassVar[NotSearched] = NotSearched("goes with one loss alone: preset density_ratio")
    kind: Literal["density_ratio"] = "density_ratio"
    network: Annotated[GeneratorSettings, NotSearched("its sizes go with the data's")] = LSTM(embedding=32, hidden=64)
    """The network of p_φ."""
    # Logits of members are averaged, and a geometric mean of distributions is no distribution: it does not sum to 1.
    members: ClassVar[int] = 1
    granularity: ClassVar[Granularity] = "token"
    gives_distribution: ClassVar[bool] = True

    @property
    def reads(self) -> Reads:
        """What the network reads."""
        if self.network.needs_conditions:
            return "pairs"
        return "either" if self.network.reads_conditions else "sequences"

    def check(self, fields: Fields) -> Iterator[Problem]:
        """The network knows how likely a sequence is."""
        if not self.network.has_likelihood:
            yield Problem(
                "density_without_likelihood",
                {"discriminator.network": self.network.kind},
                "has no likelihood, but the logit is log p_φ - log p_θ. Use an autoregressive network, such as lstm.",
            )


def build_density_ratio(settings: DensityRatio, space: SequenceSpace) -> LanguageModelDiscriminator:
    """A fresh one for the sequences of `space`.

    Raises:
        ConfigError: the network reads conditions, and there are none.
    """
    if settings.network.needs_conditions and space.condition is None:
        raise ConfigError(
            f"discriminator.network={settings.network.kind!r}: LanguageModelDiscriminator would need conditions, but "
            "these sequences have none. Use a network that reads none, such as lstm.",
            code="density_without_conditions",
            fields={"discriminator.network": settings.network.kind},
        )
    return LanguageModelDiscriminator(build_generator(settings.network, space))
