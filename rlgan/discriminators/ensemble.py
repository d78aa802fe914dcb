"""Several networks of one architecture, side by side, averaged (deep ensembles, Lakshminarayanan et al. 2017).

Each member learns as if it were alone, from its own initial weights and with its own dropout; what they learned by
heart differs, and averages out. Only a clip of the gradient's norm is over all of them together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .discriminator import Discriminator, Scorer


class Ensemble(Discriminator):
    """The mean of its members' logits: the geometric mean of their density ratios.

    Args:
        members: at least one.
    """

    def __init__(self, members: Sequence[Discriminator]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.num_views = members[0].num_views

    def forward(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Real-logits; see `Discriminator.forward`."""
        return self.member_logits(tokens, mask, conditions).mean(0)

    def parts(self) -> list[Discriminator]:
        """Its members."""
        return list(self.members)  # type: ignore[arg-type]

    def views(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """(K, B) or (K, B, T) means over its members; see `Discriminator.views`."""
        return torch.stack([member.views(tokens, mask, conditions) for member in self.parts()]).mean(0)

    def member_logits(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """(M · K, B) or (M · K, B, T) real-logits; see `Discriminator.member_logits`."""
        return torch.cat([member.member_logits(tokens, mask, conditions) for member in self.parts()])

    def class_logits(self, tokens: Tensor, mask: Tensor, is_real: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Those of its members; see `Discriminator.class_logits`."""
        return torch.cat([member.class_logits(tokens, mask, is_real, conditions) for member in self.parts()])

    @property
    def num_reals(self) -> int:
        """As many as each member's; see `Discriminator.num_reals`."""
        first, *_ = self.parts()
        return first.num_reals

    def take_reals(self, reals: Tensor, conditions: Tensor | None = None) -> None:
        """The same for all members; see `Discriminator.take_reals`."""
        for member in self.parts():
            member.take_reals(reals, conditions)

    def num_read(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """What all members read together; see `Discriminator.num_read`."""
        first, *_ = self.parts()
        return len(self.members) * first.num_read(tokens, mask, conditions)

    def part_logits(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> dict[str, Tensor]:
        """Means of the members'; see `Discriminator.part_logits`."""
        found = [member.part_logits(tokens, mask, conditions) for member in self.parts()]
        return {name: torch.stack([one[name] for one in found]).mean(0) for name in found[0]}

    def output_features(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Those of all members side by side; see `Discriminator.output_features`."""
        return torch.cat([member.output_features(tokens, mask, conditions) for member in self.parts()], 1)

    @property
    def rows_at_once(self) -> int:
        """As few as any member's."""
        return min(member.rows_at_once for member in self.parts())

    def penalty(self) -> Tensor:
        """The sum of the members': each has its own."""
        return torch.stack([member.penalty() for member in self.parts()]).sum()

    def scorer(self) -> Scorer:
        """Frozen copies; see `Discriminator.scorer`."""
        scorers = [member.scorer() for member in self.parts()]

        def score(tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
            return torch.stack([one(tokens, mask, conditions) for one in scorers]).mean(0)

        return score
