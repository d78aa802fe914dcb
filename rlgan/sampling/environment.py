"""The sampler that goes through the Gymnasium environment: `reset`, then `step` after `step`.

The generator is the policy and sees what a policy sees: observations and action masks of a `TokenVectorEnv`. Its
tokens are what stands in the observations, the end of a sequence is read off the mask, and a discriminator's judgement
is the reward of the episode. It draws from the same stream, in the same order, as the batched sampler, and every sum
is of the same rows in the same order, so that both give the same bits. It takes 1.4 to 2 times as long
(`benchmarks/world.py`).

Two choices make that possible. Sequences that have ended wait for the horizon (`ends_together`), so that all episodes
of a vector environment are scored in one call. And as a chunk of rows is written by itself, but a batch is judged as a
whole, episodes are written in environments without reward and played once more, token by token, in one with it.

What is not an episode's reward stays outside: credit (prefixes judged as they stand, and Monte Carlo's means), and
sequences that beams find.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlgan.discriminators import Scorer
from rlgan.envs.reward_function import ConditionalRewardFunction, RewardFunction
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.token_env import TokenVectorEnv
from rlgan.generators import State, Stepper

from .sampler import Batched, RowWriter, draw, draw_with_logprobs, joined, kept

Sampling = Literal["batched", "environment"]
"""How sequences are drawn, by the name of its setting."""


class StepByStep(RowWriter):
    """Rows are episodes of a vector environment."""

    def write(
        self, stepper: Stepper, space: SequenceSpace, prefixes: Tensor, conditions: Tensor | None, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `RowWriter.write`. Tokens that are given are actions like any other."""
        rows, prefix_length = prefixes.shape
        state = stepper.start(rows, rng)
        device = state[0].device
        episodes = _Episodes(space, rows, _pays_nothing(conditions), conditions)
        logprobs = torch.zeros(rows, space.max_length, device=device)
        alive = torch.arange(rows, device=device)
        for position in range(space.max_length):
            actions = torch.full((rows,), space.pad_id, dtype=torch.int64, device=device)
            if alive.shape[0] > 0:
                if position > 0:
                    state = stepper.advance(state, episodes.tokens(device)[alive, position - 1])
                if position < prefix_length:
                    actions[alive] = prefixes[alive, position]
                else:
                    actions[alive], logprobs[alive, position] = draw_with_logprobs(stepper, state, rng)
            episodes.step(actions)
            alive, state = kept(stepper, alive, state, episodes.goes_on(device)[alive])
        return episodes.tokens(device), logprobs

    def finish(
        self,
        stepper: Stepper,
        space: SequenceSpace,
        tokens: Tensor,
        states: State,
        sequence: Tensor,
        position: Tensor,
        conditions: Tensor | None,
        rng: torch.Generator,
    ) -> Tensor:
        """See `RowWriter.finish`. An environment begins at the beginning: the tokens of a prefix are actions, too."""
        device = tokens.device
        episodes = _Episodes(
            space, len(sequence), _pays_nothing(conditions), None if conditions is None else conditions[sequence]
        )
        alive = position.new_empty(0)
        state: State = ()
        for target in range(space.max_length):
            # Rows that are not begun play their prefix; those that have ended wait.
            actions = torch.where(position >= target, tokens[sequence, target], space.pad_id)
            if alive.shape[0] > 0:
                state = stepper.advance(state, episodes.tokens(device)[alive, target - 1])
            starting = (position == target - 1).nonzero().squeeze(1)
            if starting.shape[0] > 0:
                state = joined(stepper, state if alive.shape[0] else (), states, target - 1, sequence[starting])
                alive = torch.cat([alive, starting])
            if alive.shape[0] > 0:
                actions[alive] = draw(stepper, state, rng)
            episodes.step(actions)
            alive, state = kept(stepper, alive, state, episodes.goes_on(device)[alive])
        return episodes.tokens(device)

    def judge(self, scorer: Scorer, space: SequenceSpace, tokens: Tensor, conditions: Tensor | None) -> Tensor:
        """See `RowWriter.judge`: the rewards of the episodes, where tokens are judged their sum."""
        judgement = _Judgement(scorer, tokens.device)
        function: RewardFunction | ConditionalRewardFunction = (
            judgement.alone if conditions is None else judgement.conditional
        )
        episodes = _Episodes(space, len(tokens), function, conditions)
        for position in range(space.max_length):
            episodes.step(tokens[:, position])
        rewards = torch.from_numpy(episodes.rewards).float().to(tokens.device)
        assert judgement.said is not None
        if judgement.said.dim() == 2:
            if not torch.equal(rewards, judgement.said.sum(1)):
                raise RuntimeError(
                    "the rewards of the episodes differ from those of the discriminator: the environment is broken."
                )
            return judgement.said
        return rewards


WRITERS: dict[Sampling, RowWriter] = {"batched": Batched(), "environment": StepByStep()}
"""By the name of the setting `sampling`."""


class _Episodes:
    """One episode a row, from the same step to the same step.

    Args:
        space: the task's sequences.
        rows: R.
        reward_function: rewards them at the end.
        conditions: (R, S) int64 what they are given, or None.

    Attributes:
        rewards: (R,) float64; 0 before the end.
    """

    def __init__(
        self,
        space: SequenceSpace,
        rows: int,
        reward_function: RewardFunction | ConditionalRewardFunction,
        conditions: Tensor | None,
    ) -> None:
        on_cpu = None if conditions is None else conditions.cpu()
        self._env = TokenVectorEnv(
            rows,
            space,
            reward_function,
            conditions=on_cpu,
            condition_space=None if on_cpu is None else space.condition,
            ends_together=space.end_id is not None,
        )
        self._prefix_length = 0 if on_cpu is None else on_cpu.shape[1]
        self._seen: NDArray[np.int64]
        self._seen, infos = self._env.reset(options=None if on_cpu is None else {"conditions": on_cpu})
        self._masks = infos.get("action_mask")
        self.rewards: NDArray[np.float64] = np.zeros(rows)

    def step(self, actions: Tensor) -> None:
        """Append a token (R,) to each."""
        self._seen, self.rewards, _, _, infos = self._env.step(actions.cpu().numpy())
        self._masks = infos.get("action_mask")

    def tokens(self, device: torch.device) -> Tensor:
        """(R, T) int64 as observed."""
        return torch.from_numpy(self._seen[:, self._prefix_length :]).to(device)

    def goes_on(self, device: torch.device) -> Tensor:
        """(R,) bool, whether more than padding may come next; where no sequence ends early all go on."""
        if self._masks is None:
            return torch.ones(len(self._seen), dtype=torch.bool, device=device)
        return torch.from_numpy(self._masks.sum(1) > 1).to(device)


class _Judgement:
    """A scorer as a reward function, which remembers what it said.

    Args:
        scorer: judges sequences or tokens.
        device: of its tensors.

    Attributes:
        said: (B,) or (B, T), of the last batch.
    """

    def __init__(self, scorer: Scorer, device: torch.device) -> None:
        self._scorer, self._device = scorer, device
        self.said: Tensor | None = None

    def alone(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Of sequences that are given nothing; see `RewardFunction`."""
        self.said = self._scorer(tokens.to(self._device), mask.to(self._device))
        return self.said if self.said.dim() == 1 else self.said.sum(1)

    def conditional(self, tokens: Tensor, mask: Tensor, conditions: Tensor) -> Tensor:
        """Of sequences that are given something; see `ConditionalRewardFunction`."""
        self.said = self._scorer(tokens.to(self._device), mask.to(self._device), conditions.to(self._device))
        return self.said if self.said.dim() == 1 else self.said.sum(1)


def _pays_nothing(conditions: Tensor | None) -> RewardFunction | ConditionalRewardFunction:
    return _nothing if conditions is None else _no_conditions


def _nothing(tokens: Tensor, mask: Tensor) -> Tensor:
    return torch.zeros(len(tokens))


def _no_conditions(tokens: Tensor, mask: Tensor, conditions: Tensor) -> Tensor:
    return torch.zeros(len(tokens))
