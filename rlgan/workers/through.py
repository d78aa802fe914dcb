"""The discriminator that a generator is differentiated through, where its learner is."""

from __future__ import annotations

import torch
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

    def losses(
        self, generator: Generator, seeds: Tensor, conditions: Tensor | None = None, reals: Tensor | None = None
    ) -> Tensor:
        """The generator's loss on sequences of noise.

        Args:
            generator: that is differentiated.
            seeds: (B,) int64, of the noise.
            conditions: (B, S) int64, or None.
            reals: (B, T) int64 the real sequence that each is compared with; None where the loss compares none.

        Returns:
            (B,).
        """
        device = next(generator.parameters()).device
        judge = self._judge.to(device)
        rows, tokens = generator.soft_rows(self._space, seeds, self._relaxation, conditions)
        mask, beside = sequence_mask(self._space, tokens), None
        logits = judge.views(rows, mask, conditions)
        if reals is not None:
            of_reals = sequence_mask(self._space, reals)
            with torch.no_grad():
                beside = judge.views(reals, of_reals, conditions)
            mask = mask & of_reals  # tokens are compared with those at the same position
        losses = self._loss.of_generator(logits, beside).mean(0)
        return losses if losses.dim() == 1 else (losses * mask).sum(1) / mask.sum(1)
