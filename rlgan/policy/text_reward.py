"""A trained discriminator as a reward function of texts, with the signature of TRL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks.sources import Source
from rlgan.envs.transition import sequence_mask

Scoring = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Tokens (B, T), mask (B, T) and conditions (B, S) to rewards (B,)."""


@dataclass(frozen=True, slots=True)
class TextEncoding:
    """How texts become what a discriminator judges.

    Attributes:
        space: the sequences that it judges.
        completions: B texts → (B, T) int64.
        prompts: B prompts → (B, S) int64; None where sequences are given nothing.
    """

    space: SequenceSpace
    completions: Callable[[Sequence[str]], Tensor]
    prompts: Callable[[Sequence[Source]], Tensor] | None


class TextReward:
    """Called as TRL calls a reward function: `GRPOTrainer(reward_funcs=rlgan.discriminator_reward(run).as_trl())`.

    Args:
        score: of token ids.
        encoding: how texts become such.
        name: by which TRL logs it.
    """

    def __init__(self, score: Scoring, encoding: TextEncoding, name: str) -> None:
        self._score, self._encoding, self.__name__ = score, encoding, name

    def __call__(
        self,
        prompts: Sequence[Any] | None = None,
        completions: Sequence[Any] = (),
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float]:
        """Rewards of completions; what is too long is cut.

        Args:
            prompts: B texts, or conversations of {"role", "content"}; read where the discriminator judges pairs.
            completions: B texts, or lists with the assistant's message.
            completion_ids: not read, for they are of the tokenizer of whoever calls.
            columns: likewise not read.

        Returns:
            B numbers; the larger the more real.

        Raises:
            DataError: a text cannot be written in the discriminator's tokens.
        """
        if not completions:
            return []
        encoding = self._encoding
        tokens = encoding.completions([one if isinstance(one, str) else str(one[-1]["content"]) for one in completions])
        conditions = None
        if encoding.prompts is not None:
            conditions = encoding.prompts([""] * len(completions) if prompts is None else prompts)
        found = self._score(tokens, sequence_mask(encoding.space, tokens), conditions)
        return [float(one) for one in found]
