"""The discriminator that a generator is differentiated through, where its learner is."""

from __future__ import annotations

from torch import Tensor

from rlgan.adversary.losses import LossSettings
from rlgan.base.weights import Weights, load_weights
from rlgan.discriminators import DiscriminatorSettings, build_discriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.generators import Generator
from rlgan.layers.relaxation import Relaxation


class Through:
    """A frozen discriminator, and how sequences are handed to it so that the generator has a gradient.

    Args:
        network: the discriminator's architecture.
        loss: what it minimises, which decides what the generator does.
        space: the task's sequences.
    """

    def __init__(self, network: DiscriminatorSettings, loss: LossSettings, space: SequenceSpace) -> None:
        self._loss, self._space = loss, space
        self._judge = build_discriminator(network, space).eval().requires_grad_(False)
        self._relaxation: Relaxation | None = None

    def load(self, weights: Weights, relaxation: Relaxation | None) -> None:
        """Take up the discriminator as it is now.

        Args:
            weights: its own.
            relaxation: how tokens are drawn; None where the generator draws none.
        """
        load_weights(self._judge, weights.complete)
        self._relaxation = relaxation

    def losses(self, generator: Generator, seeds: Tensor, conditions: Tensor | None = None) -> Tensor:
        """The generator's loss on sequences of noise, one a seed: (B,) from (B,) int64 and conditions (B, S)."""
        device = next(generator.parameters()).device
        rows, tokens = generator.soft_rows(self._space, seeds, self._relaxation, conditions)
        mask = sequence_mask(self._space, tokens)
        losses = self._loss.of_generator(self._judge.to(device)(rows, mask, conditions))
        return losses if losses.dim() == 1 else (losses * mask).sum(1) / mask.sum(1)
