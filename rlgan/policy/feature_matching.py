"""A reward that matches the mean of the discriminator's features (Salimans et al. 2016; in CVAE-GAN, Bao et al. 2017).

Where tokens are drawn, the loss ‖f̄_real − f̄_fake‖² has no gradient through them. Its functional derivative by the
probability of a sequence is a reward of that sequence, and the policy gradient of this reward is the gradient of the
loss.

    B sequences, F features
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor

from rlgan.base.declarations import Fields
from rlgan.base.errors import ShapeError
from rlgan.base.problems import Problem
from rlgan.base.search_priors import NotSearched
from rlgan.envs.tasks.task import Task
from rlgan.sampling.records import Rollouts

from .reward_base import Level, Reward, Source


class FeatureMatching(Reward):
    """2⟨f̄_real − f̄_fake, f(y)⟩ of the features f that the output layer of the discriminator reads.

    f̄_real is of as many real sequences as are drawn, f̄_fake of all drawn sequences but y itself. The policy gradient
    then is an unbiased estimate of the gradient of −‖E f(real) − E f(fake)‖².
    """

    not_searched: ClassVar[NotSearched] = NotSearched("needs a discriminator of whole sequences that returns features")
    kind: Literal["feature_matching"] = "feature_matching"
    level: ClassVar[Level] = "sequence"
    reads: ClassVar[frozenset[Source]] = frozenset({"discriminator", "features"})

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Whole sequences have features, when they are finished."""
        network, credit, schedule = fields.discriminator, fields.credit, fields.schedule
        if network is not None and not network.gives_features:
            # Discriminators of pairs return none, so that another discriminator would be refused in its turn.
            use = "discriminator cnn_highway, lstm, transformer or res_conv"
            if fields.task.gives_conditions:
                use = f"another reward, such as logit; or a task without conditions, and {use}"
            yield Problem(
                "features_of_none",
                {"reward": self.kind},
                f"reads features of whole sequences, which discriminator={network.kind!r} does not return. Use {use}.",
            )
        if credit.judges_prefixes or credit.num_continuations:
            yield Problem(
                "features_of_prefixes",
                {"reward": self.kind},
                f"compares drawn sequences with real ones, but credit={credit.kind!r} rewards prefixes. Use credit "
                "terminal.",
            )
        if schedule.num_sampled < 2:
            yield Problem(
                "features_of_one",
                {"schedule.g_batch": schedule.g_batch},
                f"reward={self.kind!r} compares each sequence with the mean of the others, but there is one. Raise "
                "schedule.g_batch.",
            )

    def of_sequences(self, rollouts: Rollouts, task: Task, rng: torch.Generator, group: int | None = None) -> Tensor:
        """See `Reward.of_sequences`."""
        if rollouts.features is None or rollouts.target_features is None:
            raise ShapeError(
                "reward='feature_matching' needs features of the sequences and of real ones, but none are given.",
                code="matching_needs_features",
                fields={"reward": self.kind},
            )
        return feature_matching_rewards(rollouts.features, rollouts.target_features)

    def described(self, rollouts: Rollouts) -> dict[str, float]:
        """Distance of the means; see `Reward.described`."""
        if rollouts.features is None or rollouts.target_features is None:
            return {}
        gap = rollouts.target_features.double().mean(0) - rollouts.features.double().mean(0)
        return {"generator/feature_gap": float(gap.norm())}


def feature_matching_rewards(fake: Tensor, real: Tensor) -> Tensor:
    """Rewards whose policy gradient is that of −‖E f(real) − E f(fake)‖².

    R_i = 2⟨f̄_real − f̄_{−i}, f_i⟩,   f̄_{−i} = Σ_{j≠i} f_j / (B − 1)

    With the mean over all B, i itself included, the gradient would be biased by E ‖f‖² ∇ log p / B.

    Source: Salimans et al. 2016, section 3.1; the reward and its mean of the others are ours.

    Args:
        fake: (B, F) float, features of drawn sequences, at least two.
        real: (M, F) float, features of real ones, drawn independently.

    Returns:
        (B,) float32, without gradient.

    Raises:
        ShapeError: shapes do not fit.
    """
    if fake.dim() != 2 or real.dim() != 2 or fake.shape[1] != real.shape[1] or len(fake) < 2 or not len(real):
        raise ShapeError(
            f"features {tuple(fake.shape)} and real ones {tuple(real.shape)}: expected (B, F) and (M, F), B at least "
            "2 and M at least 1.",
            code="matching_shapes",
        )
    drawn, mean_real = fake.detach().double(), real.detach().double().mean(0)
    mean_others = (drawn.sum(0) - drawn) / (len(drawn) - 1)
    return (2.0 * ((mean_real - mean_others) * drawn).sum(1)).float()
