"""A discriminator as the reward function of the environment: finished sequences in, one reward each out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from rlgan.base.errors import ConfigError
from rlgan.discriminators import Discriminator, Scorer
from rlgan.envs.reward_function import ConditionalRewardFunction, RewardFunction
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks.task import decode
from rlgan.envs.vocabulary import Joining

from .logit_maps import Logit
from .reward_base import LogitMap
from .text_reward import TextEncoding, TextReward


class AdversarialReward(RewardFunction, ConditionalRewardFunction):
    """A map of a discriminator's logit; where it judges tokens, the sum over those of the sequence.

    A network is read as it stands at each call, with dropout off, so that a discriminator that goes on learning is a
    reward that goes on changing. A scorer (`Discriminator.scorer()`) is a frozen copy, and faster.

    The sum is what `credit reward_to_go` with gamma 1 gives the first token. Of the discriminator `language_model`,
    whose logits are log-probabilities, the raw sum is the sequence's log-probability.

    Args:
        judge: says logits (B,) of sequences, or (B, T) of their tokens.
        space: the sequences that it judges; `space.condition` what they are given.
        reward: map of the logit; the raw logit unless another is asked for.
        token_names: how each id is shown; None shows ids.
        joining: how tokens become text.
        condition_names: as `token_names`, of what sequences are given.
        encoding: how texts become what it judges; None where that is not known.
        name: by which `as_trl` is logged.
        named_weights: of a discriminator whose weights a person can read; None of others.

    Attributes:
        named_weights: name → weight of the judge, as it was when this was made; empty where weights have no names.
    """

    def __init__(
        self,
        judge: Discriminator | Scorer,
        space: SequenceSpace,
        reward: LogitMap | None = None,
        token_names: Sequence[str] | None = None,
        joining: Joining = "words",
        condition_names: Sequence[str] | None = None,
        encoding: Callable[[], TextEncoding] | None = None,
        name: str = "discriminator",
        named_weights: Mapping[str, float] | None = None,
    ) -> None:
        self.judge, self.space, self.named_weights = judge, space, dict(named_weights or {})
        self.reward: LogitMap = Logit() if reward is None else reward
        self._names, self._joining, self._condition_names = token_names, joining, condition_names
        self._encoding, self._name = encoding, name

    def __call__(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Score a batch.

        Args:
            tokens: (B, T) int64 finished sequences, padded after the terminator.
            mask: (B, T) bool, True up to and including the terminator.
            conditions: (B, S) int64 what each sequence is given; None where they are given nothing.

        Returns:
            (B,) float32, no gradient.
        """
        rewards = self.reward.of_logits(self._logits(tokens, mask, conditions))
        return rewards if rewards.dim() == 1 else rewards.masked_fill(~mask, 0.0).sum(1)

    @torch.no_grad()
    def _logits(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None) -> Tensor:
        if not isinstance(self.judge, nn.Module):
            return self.judge(tokens, mask, conditions)
        learns = {module for module in self.judge.modules() if module.training}
        self.judge.eval()
        try:
            logits: Tensor = self.judge(tokens, mask, conditions)
        finally:
            for module in learns:
                module.training = True
        return logits

    def as_trl(self) -> TextReward:
        """The same as a reward function of texts, which TRL and whoever has its signature calls.

        Raises:
            ConfigError: how texts become its tokens is not known.
        """
        if self._encoding is None:
            raise ConfigError(
                (
                    "as_trl: this discriminator judges token ids, and its tokeniser is not known. Take it from a run's "
                    "folder with rlgan.discriminator_reward."
                ),
                code="reward_without_encoding",
            )
        return TextReward(self, self._encoding(), self._name)

    def decode(self, tokens: Tensor) -> list[str]:
        """Show sequences (B, n) as text, cut at the terminator."""
        return _shown(self.space, self._names, self._joining, tokens)

    def decode_condition(self, conditions: Tensor) -> list[str]:
        """Show what sequences are given, (B, S), as text, cut at the terminator."""
        assert self.space.condition is not None
        return _shown(self.space.condition, self._condition_names, self._joining, conditions)


def _shown(space: SequenceSpace, names: Sequence[str] | None, joining: Joining, tokens: Tensor) -> list[str]:
    return decode(space, [str(one) for one in range(space.vocab_size)] if names is None else names, joining, tokens)
