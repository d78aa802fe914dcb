"""Two towers, one for the condition c and one for the sequence x, and what is made of what they say.

    joint   u = MLP([f(c); g(x)])
    split   u = realism ⊕ matching,  realism = MLP(g(x)),  matching = MLP([f(c); g(x)])

⊕ adds the logits, or multiplies the probabilities (docs/algorithms.md §11).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from rlgan.base.search_priors import Choice
from rlgan.base.settings import Settings
from rlgan.envs.sequence_space import SequenceSpace

from .pair_discriminator import EmbeddedPair, PairDiscriminator, multilayer_perceptron


class JointHead(Settings):
    """One score for the pair."""

    kind: Literal["joint"] = "joint"


class SplitHead(Settings):
    """Two scores: whether the sequence is real, and whether it fits its condition. They show which of both failed.

    Only its input prevents the second score from judging realism, too; negative examples that pair real sequences with
    the conditions of others teach it to judge the fit.
    """

    kind: Literal["split"] = "split"
    combination: Annotated[
        Literal["sum_of_logits", "product_of_probs"], Choice(("sum_of_logits", "product_of_probs"))
    ] = "sum_of_logits"
    """How the two scores are combined. With the sum, a very real sequence can make up for a poor fit; with the
    product (D = D_realism · D_matching) it cannot."""


HeadSettings = Annotated[JointHead | SplitHead, Field(discriminator="kind")]
"""What is made of what both towers say."""


def logit_of_product(first: Tensor, second: Tensor) -> Tensor:
    """The logit u of a product of probabilities: σ(u) = σ(a)·σ(b).

    exp(-u) = (1 + e⁻ᵃ)(1 + e⁻ᵇ) - 1 = e⁻ᵃ + e⁻ᵇ + e⁻ᵃ⁻ᵇ, in which nothing cancels.

    Args:
        first: (B,) logits a.
        second: (B,) logits b.

    Returns:
        (B,) at most as large as either.
    """
    return -torch.logsumexp(torch.stack([-first, -second, -first - second]), dim=0)


class PairHead(nn.Module):
    """See the top of this file.

    Args:
        settings: joint or split.
        of_source: features of the condition's tower.
        of_sequence: features of the sequence's tower.
        hidden: width of each hidden layer.
        dropout: behind each hidden layer.
    """

    def __init__(self, settings: HeadSettings, of_source: int, of_sequence: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self._settings = settings
        self.matching = multilayer_perceptron(of_source + of_sequence, hidden, dropout)
        self.realism = multilayer_perceptron(of_sequence, hidden, dropout) if isinstance(settings, SplitHead) else None

    def forward(self, source: Tensor, sequence: Tensor) -> Tensor:
        """Real-logits (B,) of features (B, ·) of both."""
        if not isinstance(self._settings, SplitHead):
            logits: Tensor = self.matching(torch.cat([source, sequence], dim=1))
            return logits
        parts = self.parts(source, sequence)
        if self._settings.combination == "sum_of_logits":
            return parts["realism"] + parts["matching"]
        return logit_of_product(parts["realism"], parts["matching"])

    def parts(self, source: Tensor, sequence: Tensor) -> dict[str, Tensor]:
        """Logits (B,) `realism` and `matching` of features (B, ·) of both; none where the head is joint."""
        if self.realism is None:
            return {}
        return {"realism": self.realism(sequence), "matching": self.matching(torch.cat([source, sequence], dim=1))}


class Tower(nn.Module, ABC):
    """From embedded sequences to features; what stands where a mask is False never matters."""

    num_features: int

    @abstractmethod
    def forward(self, embedded: Tensor, mask: Tensor, is_twice_differentiable: bool) -> Tensor:
        """(B, F) of (B, T, E) and (B, T)."""


class TwoTowerDiscriminator(PairDiscriminator):
    """Embeddings, a tower a side, a head.

    Args:
        space: the task's sequences.
        embedding: width of both embeddings.
        source_tower: reads the condition.
        tower: reads the sequence.
        head: joint or split.
        hidden: width of the head's hidden layer.
        dropout: behind it.
    """

    def __init__(
        self,
        space: SequenceSpace,
        embedding: int,
        source_tower: Tower,
        tower: Tower,
        head: HeadSettings,
        hidden: int,
        dropout: float,
    ) -> None:
        super().__init__(space, embedding)
        self.source_tower, self.tower = source_tower, tower
        self.head = PairHead(head, source_tower.num_features, tower.num_features, hidden, dropout)

    def judge(self, pair: EmbeddedPair) -> Tensor:
        """Real-logits (B,); see `PairDiscriminator.judge`."""
        logits: Tensor = self.head(*self._features(pair))
        return logits

    def part_logits(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> dict[str, Tensor]:
        """`realism` and `matching`, where the head is split; see `Discriminator.part_logits`."""
        return self.head.parts(*self._features(self.embedded(tokens, mask, conditions)))

    def _features(self, pair: EmbeddedPair) -> tuple[Tensor, Tensor]:
        return (
            self.source_tower(pair.source, pair.source_mask, pair.is_twice_differentiable),
            self.tower(pair.sequence, pair.mask, pair.is_twice_differentiable),
        )
