"""Reward maps: what a sequence is paid, given the discriminator's real-logit (specification 0 and 16.1).

High = better throughout. The odds D/(1-D) are exp(logit) and never a quotient of probabilities. The controls that need
no discriminator (a constant, random numbers, the exact log-ratio) are rewards like any other.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from rlgan.envs.errors import ShapeError
from rlgan.envs.priors import NotSearched
from rlgan.envs.settings import Settings


class Probability(Settings):
    """D = σ(u), SeqGAN."""

    kind: Literal["probability"] = "probability"
    source: ClassVar[str] = "discriminator"


class Logit(Settings):
    """u = log D/(1-D)."""

    kind: Literal["logit"] = "logit"
    source: ClassVar[str] = "discriminator"


class LogProbability(Settings):
    """log D."""

    kind: Literal["log_probability"] = "log_probability"
    source: ClassVar[str] = "discriminator"


class NegLogComplement(Settings):
    """-log(1 - D), Adversarial-NMT."""

    kind: Literal["neg_log_complement"] = "neg_log_complement"
    source: ClassVar[str] = "discriminator"


class SignedProbability(Settings):
    """2D - 1, ScratchGAN."""

    kind: Literal["signed_probability"] = "signed_probability"
    source: ClassVar[str] = "discriminator"


class Ratio(Settings):
    """D/(1-D) = exp(u), the density ratio of MaliGAN and boundary-seeking GAN."""

    kind: Literal["ratio"] = "ratio"
    source: ClassVar[str] = "discriminator"


class ConstantReward(Settings):
    """The same reward for everything: a control. Without a baseline it is self-imitation."""

    not_searched: ClassVar[NotSearched] = NotSearched("a control")
    kind: Literal["constant"] = "constant"
    value: float = 1.0
    """The reward."""
    source: ClassVar[str] = "nothing"


class RandomReward(Settings):
    """Uniform random numbers in [0, 1), one a sequence: a control."""

    not_searched: ClassVar[NotSearched] = NotSearched("a control")
    kind: Literal["random"] = "random"
    source: ClassVar[str] = "nothing"


class OracleRatio(Settings):
    """log p_oracle - log p_θ of each token: what a perfect discriminator would pay, an honest upper bound."""

    not_searched: ClassVar[NotSearched] = NotSearched("a control: it knows the law")
    kind: Literal["oracle_ratio"] = "oracle_ratio"
    source: ClassVar[str] = "oracle"


DiscriminatorReward = Probability | Logit | LogProbability | NegLogComplement | SignedProbability | Ratio
RewardSettings = Annotated[
    DiscriminatorReward | ConstantReward | RandomReward | OracleRatio, Field(discriminator="kind")
]


def discriminator_reward(settings: DiscriminatorReward, real_logits: Tensor) -> Tensor:
    """Rewards of sequences from their real-logits.

    Args:
        settings: which map.
        real_logits: any shape, float32, positive = real.

    Returns:
        The same shape, reward units, no gradient.
    """
    return _MAPS[type(settings)](real_logits.detach())


def sequence_rewards(
    settings: DiscriminatorReward | ConstantReward | RandomReward,
    real_logits: Tensor | None,
    num_sequences: int,
    rng: torch.Generator,
) -> Tensor:
    """One reward a sequence.

    Args:
        settings: any reward but the per-token `OracleRatio`.
        real_logits: (B,) float32; read only by discriminator rewards.
        num_sequences: B.
        rng: read only by `RandomReward`.

    Returns:
        (B,) float32.

    Raises:
        ShapeError: a discriminator reward without logits.
    """
    if isinstance(settings, ConstantReward):
        return torch.full((num_sequences,), settings.value)
    if isinstance(settings, RandomReward):
        return torch.rand(num_sequences, generator=rng)
    if real_logits is None:
        raise ShapeError(f"reward={settings.kind!r} needs the discriminator's logits of the sequences; there are none.")
    return discriminator_reward(settings, real_logits)


def oracle_ratio(oracle_logprobs: Tensor, logprobs: Tensor, mask: Tensor) -> Tensor:
    """Per-token log-ratio, log p_oracle(y_t | y_<t) - log p_θ(y_t | y_<t); specification 16.2.

    Args:
        oracle_logprobs: (B, T) nats.
        logprobs: (B, T) nats under the generator that drew the tokens.
        mask: (B, T) bool.

    Returns:
        (B, T) float32, 0 where mask is False, no gradient.
    """
    return (oracle_logprobs - logprobs).detach().masked_fill(~mask, 0.0)


_MAPS = {
    Probability: torch.sigmoid,
    Logit: lambda u: u,
    LogProbability: functional.logsigmoid,
    NegLogComplement: functional.softplus,
    SignedProbability: lambda u: torch.tanh(u / 2),
    Ratio: torch.exp,
}
