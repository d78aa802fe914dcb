"""The token world as Gymnasium environments: one action a token, one reward when the sequence is finished.

These step-by-step environments define what the world means; the batched sampler is their fast twin. An episode
*terminates* at the terminator and at the horizon, both by `transition.is_terminal`; it is never truncated. The reward
is 0 until then and what the reward function says of the finished sequence at the end.

Observations are the prefix, (T,) int64: a position that holds no token yet holds V, which no token is, so the prefix
and its length can both be read off. Ids are categories, not sizes, hence the MultiDiscrete space: libraries one-hot it
by themselves (Stable-Baselines3) or with their stock connector (RLlib: `FlattenObservations()`).

Where sequences are given something, every reset draws a condition, and it stands before the prefix in the same array,
(S + T,) int64. One MultiDiscrete of both, rather than a Dict or a Tuple, is read by the same stock policies and
connectors as without conditions: Stable-Baselines3 has no Tuple, and wants another policy for a Dict.

Monte Carlo continuations are credit assignment and not part of the world.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import gymnasium
import numpy as np
import torch
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.spaces import Discrete, MultiDiscrete
from gymnasium.utils.seeding import np_random
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from rlgan.base.errors import ConfigError, ShapeError

from .reward_function import ConditionalRewardFunction, RewardFunction
from .sequence_space import SequenceSpace
from .tasks.task import Oracle
from .tasks.toy import TabularOracle
from .transition import is_terminal, pad_after_end, sequence_mask

Observation = NDArray[np.int64]


class SequenceProbability:
    """Reward function: the probability of a sequence under an exactly known law.

    Args:
        oracle: the law.
    """

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle

    def __call__(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Score (B, T) finished sequences: (B,) float32 in [0, 1]."""
        return self.oracle.logprobs(tokens).masked_fill(~mask, 0.0).sum(1).exp()


class ConditionalProbability:
    """Reward function: the probability of a sequence under an exactly known law, given its condition.

    Args:
        law: from conditions (B, S) the law of B sequences, see `tasks.task.Conditions`.
    """

    def __init__(self, law: Callable[[Tensor], Oracle]) -> None:
        self.law = law

    def __call__(self, tokens: Tensor, mask: Tensor, conditions: Tensor) -> Tensor:
        """Score (B, T) finished sequences given (B, S): (B,) float32 in [0, 1]."""
        return SequenceProbability(self.law(conditions))(tokens, mask)


@dataclass(frozen=True)
class _World:
    """What does not change from one sequence to the next.

    Attributes:
        space: the sequences.
        reward_function: scores them.
        conditions: (n, S), of which one is drawn for each sequence; None where they are given nothing.
        condition_space: their alphabet and shape.
    """

    space: SequenceSpace
    reward_function: RewardFunction | ConditionalRewardFunction
    conditions: NDArray[np.int64] | None
    condition_space: SequenceSpace | None

    @property
    def num_given(self) -> int:
        """Numbers S of an observation that stand before the prefix."""
        return 0 if self.conditions is None else self.conditions.shape[1]

    def begin(self, generators: Sequence[np.random.Generator]) -> Observation:
        """Observations (B, S + T) of sequences that begin, each with a condition from its own generator."""
        empty = np.full((len(generators), self.space.max_length), self.space.vocab_size, dtype=np.int64)
        if self.conditions is None:
            return empty
        drawn = [int(generator.integers(len(self.conditions))) for generator in generators]
        return np.concatenate([self.conditions[drawn], empty], axis=1)

    def score(self, observations: Observation) -> NDArray[np.float64]:
        """Rewards (B,) of finished sequences, given as observations (B, S + T)."""
        tokens = observations[:, self.num_given :]
        finished = torch.from_numpy(np.where(tokens == self.space.vocab_size, self.space.pad_id, tokens))
        mask = sequence_mask(self.space, finished)
        with torch.no_grad():
            if self.conditions is None:
                rewards = cast(RewardFunction, self.reward_function)(finished, mask)
            else:
                given = torch.from_numpy(observations[:, : self.num_given].copy())
                rewards = cast(ConditionalRewardFunction, self.reward_function)(finished, mask, given)
        if rewards.shape != finished.shape[:1]:
            raise ShapeError(
                f"reward function {type(self.reward_function).__name__}: returned shape {tuple(rewards.shape)} for "
                f"{len(finished)} sequences; expected ({len(finished)},), one score each."
            )
        return np.asarray(rewards.detach().cpu().numpy(), dtype=np.float64)


class TokenEnv(gymnasium.Env[Observation, int]):
    """One sequence, token by token.

    Args:
        space: the sequences; None, together with no reward function, for the fixed 3-token, 2-step toy world.
        reward_function: scores the finished sequence; None, together with no space, for its probability under the toy
            world's law. With conditions it has a third argument, see `ConditionalRewardFunction`.
        conditions: (n, S) int64, of which each reset draws one; None where sequences are given nothing.
        condition_space: alphabet and shape of the conditions.

    Raises:
        ConfigError: `space` without `reward_function`, `conditions` without `condition_space`, or the other way round;
            conditions of the toy world; or no condition at all.
        ShapeError: conditions that are not finished sequences of their space.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}  # type: ignore[misc]

    def __init__(
        self,
        space: SequenceSpace | None = None,
        reward_function: RewardFunction | ConditionalRewardFunction | None = None,
        conditions: Tensor | None = None,
        condition_space: SequenceSpace | None = None,
    ) -> None:
        self._world = _checked_world(space, reward_function, conditions, condition_space)
        self.space, self.reward_function = self._world.space, self._world.reward_function
        self.conditions, self.condition_space = conditions, condition_space
        # MultiDiscrete is declared as a space of integer arrays of any width, TokenEnv's are int64.
        self.observation_space = observation_space(self.space, condition_space)  # type: ignore[assignment]
        self.action_space = Discrete(self.space.vocab_size)
        self._state = np.empty((1, 0), dtype=np.int64)
        self._num_tokens: int | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a new sequence; what is random is the condition, which `seed` and Gymnasium's generator draw."""
        super().reset(seed=seed)
        self._state = self._world.begin([self.np_random])
        self._num_tokens = 0
        return self._state[0].copy(), {}

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Append a token.

        Args:
            action: its id, 0..V-1.

        Returns:
            The condition and the longer prefix (S + T,), the reward, whether the sequence is finished, False, {}.

        Raises:
            InvalidAction: not an id of the alphabet.
            ResetNeeded: not reset, or the sequence is finished.
        """
        if self._num_tokens is None:
            raise ResetNeeded("step: no sequence is begun, or the last one is finished. Call reset() first.")
        token = int(_legal_actions(self.space, np.asarray(action).reshape(1))[0])
        self._state[0, self._world.num_given + self._num_tokens] = token
        self._num_tokens += 1
        terminated = bool(is_terminal(self.space, token, self._num_tokens))
        reward = 0.0
        if terminated:
            reward = float(self._world.score(self._state)[0])
            self._num_tokens = None
        return self._state[0].copy(), reward, terminated, False, {}


class TokenVectorEnv(gymnasium.vector.VectorEnv[Observation, NDArray[np.int64], NDArray[Any]]):
    """Several sequences, token by token, scored in one call a step.

    The same as `num_envs` TokenEnvs side by side in Gymnasium's next-step mode: the step after a sequence has finished
    begins a new one, with reward 0, whatever its action is. As with those, the seed of the i-th is `seed + i`.

    Args:
        num_envs: number of sequences.
        space: as in TokenEnv.
        reward_function: as in TokenEnv.
        conditions: as in TokenEnv.
        condition_space: as in TokenEnv.

    Raises:
        ConfigError: `num_envs` is below 1, or as in TokenEnv.
        ShapeError: as in TokenEnv.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": [],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        space: SequenceSpace | None = None,
        reward_function: RewardFunction | ConditionalRewardFunction | None = None,
        conditions: Tensor | None = None,
        condition_space: SequenceSpace | None = None,
    ) -> None:
        if num_envs < 1:
            raise ConfigError(f"num_envs={num_envs}: needs at least 1.")
        self._world = _checked_world(space, reward_function, conditions, condition_space)
        self.space, self.reward_function = self._world.space, self._world.reward_function
        self.conditions, self.condition_space = conditions, condition_space
        self.num_envs = num_envs
        self._generators = [np_random()[0] for _ in range(num_envs)]
        self.single_observation_space = observation_space(self.space, condition_space)
        self.single_action_space = Discrete(self.space.vocab_size)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._state: Observation | None = None
        self._num_tokens = np.zeros(num_envs, dtype=np.int64)
        self._finished = np.zeros(num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin new sequences everywhere; what is random are the conditions."""
        super().reset(seed=seed)
        if seed is not None:
            self._generators = [np_random(seed + index)[0] for index in range(self.num_envs)]
        self._state = self._world.begin(self._generators)
        self._num_tokens[:] = 0
        self._finished[:] = False
        return self._state.copy(), {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Append a token to each sequence, or begin a new one where the last was finished.

        Args:
            actions: (num_envs,) integer ids 0..V-1; not read where a new sequence begins.

        Returns:
            Conditions and prefixes (num_envs, S + T), rewards, terminated, truncated (num_envs,), {}.

        Raises:
            InvalidAction: not `num_envs` ids of the alphabet.
            ResetNeeded: not reset.
        """
        if self._state is None:
            raise ResetNeeded("step: no sequences are begun. Call reset() first.")
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,):
            raise InvalidAction(f"actions has shape {actions.shape}: expected ({self.num_envs},), one id a sequence.")
        begins, goes_on = self._finished, np.flatnonzero(~self._finished)
        chosen = _legal_actions(self.space, actions[goes_on])
        self._state[begins] = self._world.begin([self._generators[index] for index in np.flatnonzero(begins)])
        self._num_tokens[begins] = 0
        self._state[goes_on, self._world.num_given + self._num_tokens[goes_on]] = chosen
        self._num_tokens[goes_on] += 1

        terminated = np.zeros(self.num_envs, dtype=np.bool_)
        lengths = self._num_tokens[goes_on]
        for length in np.unique(lengths):
            here = lengths == length
            terminated[goes_on[here]] = is_terminal(self.space, chosen[here], int(length))
        rewards = np.zeros(self.num_envs, dtype=np.float64)
        if terminated.any():
            rewards[terminated] = self._world.score(self._state[terminated])
        self._finished = terminated
        return self._state.copy(), rewards, terminated.copy(), np.zeros(self.num_envs, dtype=np.bool_), {}


def observation_space(space: SequenceSpace, condition_space: SequenceSpace | None = None) -> MultiDiscrete:
    """Conditions, where there are some, and prefixes, (S + T,) int64.

    Args:
        space: of the prefixes: ids 0..V-1, and V where there is no token yet.
        condition_space: of the conditions: their ids.
    """
    prefix = np.full(space.max_length, space.vocab_size + 1)
    if condition_space is None:
        return MultiDiscrete(prefix)
    given = np.full(condition_space.max_length, condition_space.vocab_size)
    return MultiDiscrete(np.concatenate([given, prefix]))


def _checked_world(
    space: SequenceSpace | None,
    reward_function: RewardFunction | ConditionalRewardFunction | None,
    conditions: Tensor | None,
    condition_space: SequenceSpace | None,
) -> _World:
    for given, lacking in (("conditions", "condition_space"), ("condition_space", "conditions")):
        values = {"conditions": conditions, "condition_space": condition_space}
        if values[given] is not None and values[lacking] is None:
            raise ConfigError(f"{lacking}=None: {given} is given, and they belong together. Give both, or neither.")
    if space is None and reward_function is None:
        if conditions is not None:
            raise ConfigError("conditions: the toy world is given nothing. Give space and reward_function too.")
        law = TabularOracle.fixed()
        probability = SequenceProbability(law)  # type: ignore[arg-type]  # its entropy is a cached property
        return _World(law.space, probability, None, None)
    if space is None or reward_function is None:
        given, lacking = ("reward_function", "space") if space is None else ("space", "reward_function")
        raise ConfigError(
            f"{lacking}=None: {given} is given, and neither can be guessed from the other. "
            "Give both, or neither for the toy world."
        )
    if conditions is None or condition_space is None:
        return _World(space, reward_function, None, None)
    return _World(space, reward_function, _checked_conditions(conditions, condition_space), condition_space)


def _checked_conditions(conditions: Tensor, space: SequenceSpace) -> NDArray[np.int64]:
    expected = f"(n, {space.max_length}) int64"
    if conditions.dim() != 2 or conditions.shape[1] != space.max_length or conditions.dtype != torch.int64:
        raise ShapeError(f"conditions has shape {tuple(conditions.shape)}, {conditions.dtype}: expected {expected}.")
    if not len(conditions):
        raise ConfigError("conditions: holds none. Give at least one, or None for sequences that are given nothing.")
    if not 0 <= int(conditions.min()) <= int(conditions.max()) < space.vocab_size:
        raise ShapeError(
            f"conditions holds ids {int(conditions.min())}..{int(conditions.max())}: condition_space has "
            f"0..{space.vocab_size - 1}."
        )
    if not torch.equal(pad_after_end(space, conditions), conditions):
        raise ShapeError("conditions: holds other ids than padding after a terminator. Use pad_after_end.")
    return np.array(conditions.cpu().numpy())


def _legal_actions(space: SequenceSpace, actions: NDArray[Any]) -> NDArray[np.int64]:
    if not np.issubdtype(actions.dtype, np.integer) or ((actions < 0) | (actions >= space.vocab_size)).any():
        raise InvalidAction(
            f"action {actions.tolist()} ({actions.dtype}): expected integer token ids 0..{space.vocab_size - 1}."
        )
    return actions.astype(np.int64)
