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
from rlgan.base.weights import Tensors
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators import LSTM, GeneratorSettings, build_generator

from .discriminator import Architecture, Granularity, Reads
from .language_model import LanguageModelDiscriminator

_MODEL = "model."  # what the names of p_φ's weights begin with in `LanguageModelDiscriminator`


class DensityRatio(Architecture):
    """Any generator's network as p_φ, of which log p_φ - log p_θ tells reals from fakes."""

    for_conditions: ClassVar[str] = "Use discriminator.network seq2seq_lstm or seq2seq_transformer"
    not_searched: ClassVar[NotSearched] = NotSearched("goes with one loss alone: preset density_ratio")
    kind: Literal["density_ratio"] = "density_ratio"
    network: Annotated[GeneratorSettings, NotSearched("its sizes go with the data's")] = LSTM(embedding=32, hidden=64)
    """The network of p_φ."""
    start: Annotated[Literal["random", "generator"], NotSearched("needs a network of the generator's form")] = "random"
    """Weights that p_φ begins with: random ones, or the generator's when pretraining is over, for a network with the
    same settings; all logits are then 0 at first."""
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

    @property
    def begins_as_generator(self) -> bool:
        """As `start` says."""
        return self.start == "generator"

    def begun_as(self, space: SequenceSpace, own: Tensors, generator: Tensors) -> Tensors:
        """See `Architecture.begun_as`: every weight is the generator's."""
        return {f"{_MODEL}{name}": tensor for name, tensor in generator.items()}

    def check(self, fields: Fields) -> Iterator[Problem]:
        """The network knows how likely a sequence is, and has the generator's form where it begins as it."""
        if not self.network.has_likelihood:
            yield Problem(
                "density_without_likelihood",
                {"discriminator.network": self.network.kind},
                "has no likelihood, but the logit is log p_φ - log p_θ. Use an autoregressive network, such as lstm.",
            )
        if self.begins_as_generator and self.network != fields.generator:
            names = type(self.network).model_fields
            other = next(name for name in names if getattr(self.network, name) != getattr(fields.generator, name, None))
            yield Problem(
                "density_of_another_form",
                {"discriminator.start": self.start},
                f"takes the generator's weights, but discriminator.network.{other}={getattr(self.network, other)!r} is "
                f"not the generator's {getattr(fields.generator, other, None)!r}. Set all of discriminator.network as "
                "the generator's settings are, or set discriminator.start to random.",
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
