"""Credit assignment: rewards in, a value for each token out. Pure arithmetic; nothing is sampled or scored here.

B sequences, T positions, N Monte Carlo continuations a prefix
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from rlgan.base.declarations import Fields, rewards_tokens
from rlgan.base.errors import ShapeError
from rlgan.base.problems import Problem
from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.base.settings import Settings

from .groups import means_there, within
from .reward_base import Rewarded


@dataclass(frozen=True, slots=True)
class Rewards:
    """What a reward made of a batch; which of them are there depends on what is rewarded.

    Attributes:
        sequences: (B,) float32 of the finished sequences; None where tokens or prefixes are rewarded.
        continuations: (B, T, N) float32 of continuations; None without Monte Carlo search.
        tokens: (B, T) float32 of tokens, or of the prefixes that end in them; None where sequences are rewarded.
    """

    sequences: Tensor | None = None
    continuations: Tensor | None = None
    tokens: Tensor | None = None

    def of_sequences(self) -> Tensor:
        """Those of sequences.

        Raises:
            ShapeError: there are none.
        """
        return _there(self.sequences, "sequences")

    def of_tokens(self) -> Tensor:
        """Those of tokens or prefixes.

        Raises:
            ShapeError: there are none.
        """
        return _there(self.tokens, "tokens or prefixes")


def _there(rewards: Tensor | None, of: str) -> Tensor:
    if rewards is None:
        raise ShapeError(f"credit needs rewards of {of}, but none are given.", code="credit_needs_rewards")
    return rewards


class Credit(Settings):
    """What every credit declares. Beside these each has `gamma`, the discount of a token (1 where it has none)."""

    levels: ClassVar[frozenset[Rewarded]]
    """What must have rewards: sequences, prefixes or tokens."""
    judges_prefixes: ClassVar[bool] = False
    """Whether the discriminator judges prefixes directly, and is trained on them."""
    reads_state_values: ClassVar[bool] = False
    """Whether it needs a learned value of every state."""

    @property
    def num_continuations(self) -> int:
        """N, how often every prefix is continued by Monte Carlo search; 0 where none is."""
        return 0

    @property
    def rollout_ema(self) -> float:
        """κ of the policy that continues prefixes; 0 where it is the generator, or where none are continued."""
        return 0.0

    @abstractmethod
    def values(self, rewards: Rewards, mask: Tensor, state_values: Tensor | None = None) -> Tensor:
        """What each token is worth.

        Args:
            rewards: of what `levels` says.
            mask: (B, T) bool.
            state_values: (B, T) float32, V of the state before each token; read only where `reads_state_values`.

        Returns:
            (B, T) float32, reward units, 0 where the mask is False; no gradient.

        Raises:
            ShapeError: what it reads is not there, or shapes differ.
        """

    def accumulated(self, amounts: Tensor, mask: Tensor) -> Tensor:
        """What amounts of tokens, added to their rewards, add to the value of each token: those from it on.

        Args:
            amounts: (B, T) float32.
            mask: (B, T) bool.

        Returns:
            (B, T) float32; no gradient.
        """
        return rewards_to_go(amounts, mask, 1.0)


class Terminal(Credit):
    """The value of every token is the reward of its sequence."""

    kind: Literal["terminal"] = "terminal"
    levels: ClassVar[frozenset[Rewarded]] = frozenset({"sequence"})
    gamma: ClassVar[float] = 1.0

    def values(self, rewards: Rewards, mask: Tensor, state_values: Tensor | None = None) -> Tensor:
        """See `Credit.values`."""
        return terminal_values(rewards.of_sequences(), mask)

    def accumulated(self, amounts: Tensor, mask: Tensor) -> Tensor:
        """See `Credit.accumulated`: every token has the sum of its whole sequence, as it has its reward."""
        return amounts.detach().masked_fill(~mask, 0.0).sum(1, keepdim=True).expand_as(amounts)


class MonteCarlo(Credit):
    """The value of a token is the mean reward of continuations of the prefix that ends with it (SeqGAN, eq. 4)."""

    kind: Literal["monte_carlo"] = "monte_carlo"
    num_rollouts: Annotated[int, Choice((2, 4, 8, 16))] = Field(16, ge=1)
    """Number N of continuations of each prefix."""
    policy_ema: Annotated[float, Choice((0.0, 0.8, 0.95))] = Field(0.0, ge=0.0, lt=1.0)
    """Decay κ of the rollout policy β ← κ·β + (1-κ)·θ after each generator phase; 0 uses θ itself."""
    levels: ClassVar[frozenset[Rewarded]] = frozenset({"sequence"})
    gamma: ClassVar[float] = 1.0

    @property
    def num_continuations(self) -> int:
        """N."""
        return self.num_rollouts

    @property
    def rollout_ema(self) -> float:
        """κ."""
        return self.policy_ema

    def values(self, rewards: Rewards, mask: Tensor, state_values: Tensor | None = None) -> Tensor:
        """See `Credit.values`."""
        if rewards.continuations is None:
            raise ShapeError(
                "credit='monte_carlo' needs rewards of continuations, but none are given.",
                code="credit_needs_continuations",
                fields={"credit": "monte_carlo"},
            )
        return monte_carlo_values(rewards.continuations, rewards.of_sequences(), mask)


class Prefix(Credit):
    """The value of a token is the reward of the unfinished prefix that ends with it (REGS, Li et al. 2017)."""

    kind: Literal["prefix"] = "prefix"
    levels: ClassVar[frozenset[Rewarded]] = frozenset({"prefix"})
    judges_prefixes: ClassVar[bool] = True
    gamma: ClassVar[float] = 1.0

    def values(self, rewards: Rewards, mask: Tensor, state_values: Tensor | None = None) -> Tensor:
        """See `Credit.values`."""
        return rewards.of_tokens()


class RewardToGo(Credit):
    """The value of a token is the discounted sum of the rewards of this and all later tokens (ScratchGAN)."""

    kind: Literal["reward_to_go"] = "reward_to_go"
    gamma: Annotated[float, Uniform(0.0, 1.0)] = Field(1.0, ge=0.0, le=1.0)
    """Discount factor γ per token."""
    levels: ClassVar[frozenset[Rewarded]] = frozenset({"token"})

    def values(self, rewards: Rewards, mask: Tensor, state_values: Tensor | None = None) -> Tensor:
        """See `Credit.values`."""
        return rewards_to_go(rewards.of_tokens(), mask, self.gamma)

    def accumulated(self, amounts: Tensor, mask: Tensor) -> Tensor:
        """See `Credit.accumulated`: discounted, as rewards are."""
        return rewards_to_go(amounts, mask, self.gamma)


class LambdaReturn(Credit):
    """The value of a token is its λ-return: some steps of rewards, then the estimate of a critic (Sutton 1988).

    Minus the critic's value, it is the generalised advantage estimate (Schulman et al. 2016).
    """

    not_searched: ClassVar[NotSearched] = NotSearched("only for the baseline critic: preset seqgan_ppo")
    kind: Literal["lambda_return"] = "lambda_return"
    gamma: float = Field(1.0, ge=0.0, le=1.0)
    """Discount factor γ per token."""
    decay: float = Field(0.95, ge=0.0, le=1.0)
    """λ: 1 uses all rewards, 0 uses the critic's estimate of the very next state."""
    levels: ClassVar[frozenset[Rewarded]] = frozenset({"sequence", "token"})
    reads_state_values: ClassVar[bool] = True

    def check(self, fields: Fields) -> Iterator[Problem]:
        """There is a critic to ask."""
        if "state_values" not in fields.baseline.needs:
            yield Problem(
                "return_without_critic",
                {"credit": self.kind},
                f"needs a critic, but baseline={fields.baseline.kind!r} is not one. Use baseline critic, or credit "
                + ("reward_to_go." if rewards_tokens(fields) else "terminal."),
            )

    def values(self, rewards: Rewards, mask: Tensor, state_values: Tensor | None = None) -> Tensor:
        """See `Credit.values`."""
        if state_values is None:
            raise ShapeError(
                "credit='lambda_return' needs the critic's values of states, but none are given.",
                code="credit_needs_critic",
                fields={"credit": "lambda_return"},
            )
        tokens = at_the_end(rewards.of_sequences(), mask) if rewards.tokens is None else rewards.tokens
        return lambda_returns(tokens, state_values, mask, self.gamma, self.decay)

    def accumulated(self, amounts: Tensor, mask: Tensor) -> Tensor:
        """See `Credit.accumulated`: λ-returns are linear in rewards, and each is seen by those before it through γλ."""
        return rewards_to_go(amounts, mask, self.gamma * self.decay)


CreditSettings = Annotated[Terminal | MonteCarlo | Prefix | RewardToGo | LambdaReturn, Field(discriminator="kind")]


def terminal_values(rewards: Tensor, mask: Tensor) -> Tensor:
    """values[b, t] = rewards[b] on real tokens.

    Args:
        rewards: (B,) float32.
        mask: (B, T) bool.

    Returns:
        (B, T) float32, exactly 0 where mask is False, no gradient.

    Raises:
        ShapeError: the batch sizes differ.
    """
    if rewards.shape != mask.shape[:1]:
        raise ShapeError(
            f"rewards {tuple(rewards.shape)} and mask {tuple(mask.shape)}: expected (B,) and (B, T).",
            code="credit_shapes",
        )
    return rewards.detach().unsqueeze(1).expand(mask.shape).masked_fill(~mask, 0.0)


def monte_carlo_values(continuation_rewards: Tensor, final_rewards: Tensor, mask: Tensor) -> Tensor:
    """Value of each token, by averaging rewards of N finished continuations of its prefix.

    values[b, t] = mean_n continuation_rewards[b, t, n]     before the last real token
    values[b, t] = final_rewards[b]                         at the last real token

    Source: Yu et al. 2017 (SeqGAN), eq. 4; the paper counts tokens from 1, we count from 0.

    Args:
        continuation_rewards: (B, T, N) float32, [b, t, n] scores tokens[b, :t+1] completed by the rollout policy.
            Entries at or past the last real token are not read.
        final_rewards: (B,) float32, reward of the sampled sequence itself.
        mask: (B, T) bool, True on real tokens, padding on the right only.

    Returns:
        (B, T) float32, exactly 0 where mask is False; no gradient.

    Raises:
        ShapeError: B or T differ between arguments, or N is 0.
    """
    batch, length = mask.shape
    if continuation_rewards.shape[:2] != (batch, length) or continuation_rewards.dim() != 3:
        raise ShapeError(
            f"continuation_rewards {tuple(continuation_rewards.shape)}: expected ({batch}, {length}, N).",
            code="continuations_shape",
        )
    if continuation_rewards.shape[2] == 0 or final_rewards.shape != (batch,):
        raise ShapeError(
            f"continuation_rewards {tuple(continuation_rewards.shape)}, final_rewards {tuple(final_rewards.shape)}: "
            f"expected at least one continuation and ({batch},).",
            code="continuations_and_final",
        )
    # Of equal rewards the mean is exactly theirs, as at the last token, where there is no sum to round.
    searched = means_there(continuation_rewards, 2).squeeze(2)
    values = torch.where(_is_last(mask), final_rewards.unsqueeze(1), searched)
    return values.detach().masked_fill(~mask, 0.0)


def log_ratios(real_logits: Tensor, continuation_logits: Tensor | None, mask: Tensor) -> Tensor:
    """Logarithm of the density ratio p_d/p_θ that each token is worth, never through the ratio itself.

    Without continuations the logit of the sequence, for every token; with them log mean_n exp(continuation_logits) and,
    at the last real token, the logit of the sequence (MaliGAN's step-wise weights; docs/algorithms.md §4).

    Args:
        real_logits: (B,) float32 of the finished sequences.
        continuation_logits: (B, T, N) float32, or None.
        mask: (B, T) bool.

    Returns:
        (B, T) float32 nats, no gradient. A sequence that has finished keeps the value of its last token.
    """
    final = real_logits.detach().unsqueeze(1).expand(mask.shape)
    if continuation_logits is None:
        return final
    number = continuation_logits.shape[2]
    logits = continuation_logits.detach()
    searched = torch.logsumexp(logits, dim=2, keepdim=True) - math.log(number)
    searched = within(searched, logits, 2).squeeze(2)
    return torch.where(mask & ~_is_last(mask), searched, final)


def _is_last(mask: Tensor) -> Tensor:
    """(B, T) bool, True at the last real token."""
    return torch.arange(mask.shape[1], device=mask.device) == mask.sum(1, keepdim=True) - 1


def at_the_end(rewards: Tensor, mask: Tensor) -> Tensor:
    """The reward of a sequence as the reward of its last token, and 0 before: (B,) to (B, T)."""
    return torch.where(_is_last(mask), rewards.detach().unsqueeze(1), 0.0)


def lambda_returns(token_rewards: Tensor, state_values: Tensor, mask: Tensor, gamma: float, decay: float) -> Tensor:
    """λ-returns, so that values less V(s_t) are generalised advantage estimates.

        δ_t = r_t + γ V(s_{t+1}) - V(s_t),  V behind the last token = 0
        values[b, t] = V(s_t) + Σ_l (γλ)^l δ_{t+l}

    Source: Schulman et al. 2016, eq. 16.

    Args:
        token_rewards: (B, T) float32.
        state_values: (B, T) float32, V of the state before each token.
        mask: (B, T) bool.
        gamma: discount a token.
        decay: λ.

    Returns:
        (B, T) float32, 0 where mask is False; no gradient.
    """
    state_values = state_values.detach().masked_fill(~mask, 0.0)
    following = torch.nn.functional.pad(state_values[:, 1:], (0, 1))
    errors = token_rewards.detach() + gamma * following - state_values
    return (state_values + rewards_to_go(errors, mask, gamma * decay)).masked_fill(~mask, 0.0)


def rewards_to_go(token_rewards: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """values[b, t] = Σ_{s≥t} γ^{s-t} token_rewards[b, s] over real tokens.

    Args:
        token_rewards: (B, T) float32.
        mask: (B, T) bool.
        gamma: discount a token, in [0, 1].

    Returns:
        (B, T) float32, exactly 0 where mask is False; no gradient.
    """
    rewards = token_rewards.detach().masked_fill(~mask, 0.0)
    values = torch.zeros_like(rewards)
    running = torch.zeros_like(rewards[:, 0])
    for position in reversed(range(rewards.shape[1])):
        running = rewards[:, position] + gamma * running
        values[:, position] = running
    return values.masked_fill(~mask, 0.0)
