"""The token world as Gymnasium environments: one action a token, one reward when the sequence is finished.

These step-by-step environments define what the world means; the batched sampler is their fast twin. An episode
*terminates* at the terminator and at the horizon, both by `transition.is_terminal`; it is never truncated. The reward
is 0 until then and what the reward function says of the finished sequence at the end.

Observations are the prefix, (T,) int64: a position that holds no token yet holds V, which no token is, so the prefix
and its length can both be read off. Ids are categories, not sizes, hence the MultiDiscrete space: libraries one-hot it
by themselves (Stable-Baselines3) or with their stock connector (RLlib: `FlattenObservations()`).

Monte Carlo continuations are credit assignment and not part of the world.
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.spaces import Discrete, MultiDiscrete
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from .errors import ConfigError, ShapeError
from .reward_function import RewardFunction
from .sequence_space import SequenceSpace
from .tasks.task import Oracle
from .tasks.toy import TabularOracle
from .transition import is_terminal, sequence_mask

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


class TokenEnv(gymnasium.Env[Observation, int]):
    """One sequence, token by token.

    Args:
        space: the sequences; None, together with no reward function, for the fixed 3-token, 2-step toy world.
        reward_function: scores the finished sequence; None, together with no space, for its probability under the toy
            world's law.

    Raises:
        ConfigError: only one of the two is given.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}  # type: ignore[misc]

    def __init__(self, space: SequenceSpace | None = None, reward_function: RewardFunction | None = None) -> None:
        self.space, self.reward_function = _world(space, reward_function)
        # MultiDiscrete is declared as a space of integer arrays of any width, TokenEnv's are int64.
        self.observation_space = observation_space(self.space)  # type: ignore[assignment]
        self.action_space = Discrete(self.space.vocab_size)
        self._tokens = _empty(self.space, 1)
        self._num_tokens: int | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a new sequence; nothing is random here, so `seed` only follows Gymnasium's protocol."""
        super().reset(seed=seed)
        self._tokens = _empty(self.space, 1)
        self._num_tokens = 0
        return self._tokens[0].copy(), {}

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Append a token.

        Args:
            action: its id, 0..V-1.

        Returns:
            The longer prefix (T,), the reward, whether the sequence is finished, False, {}.

        Raises:
            InvalidAction: not an id of the alphabet.
            ResetNeeded: not reset, or the sequence is finished.
        """
        if self._num_tokens is None:
            raise ResetNeeded("step: no sequence is begun, or the last one is finished. Call reset() first.")
        token = int(_legal_actions(self.space, np.asarray(action).reshape(1))[0])
        self._tokens[0, self._num_tokens] = token
        self._num_tokens += 1
        terminated = bool(is_terminal(self.space, token, self._num_tokens))
        reward = 0.0
        if terminated:
            reward = float(_score(self.space, self.reward_function, self._tokens)[0])
            self._num_tokens = None
        return self._tokens[0].copy(), reward, terminated, False, {}


class TokenVectorEnv(gymnasium.vector.VectorEnv[Observation, NDArray[np.int64], NDArray[Any]]):
    """Several sequences, token by token, scored in one call a step.

    The same as `num_envs` TokenEnvs side by side in Gymnasium's next-step mode: the step after a sequence has finished
    begins a new one, with reward 0, whatever its action is.

    Args:
        num_envs: number of sequences.
        space: as in TokenEnv.
        reward_function: as in TokenEnv.

    Raises:
        ConfigError: `num_envs` is below 1, or only one of the other two is given.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": [],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self, num_envs: int = 1, space: SequenceSpace | None = None, reward_function: RewardFunction | None = None
    ) -> None:
        if num_envs < 1:
            raise ConfigError(f"num_envs={num_envs}: needs at least 1.")
        self.space, self.reward_function = _world(space, reward_function)
        self.num_envs = num_envs
        self.single_observation_space = observation_space(self.space)
        self.single_action_space = Discrete(self.space.vocab_size)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._tokens: Observation | None = None
        self._num_tokens = np.zeros(num_envs, dtype=np.int64)
        self._finished = np.zeros(num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin new sequences everywhere; nothing is random here."""
        super().reset(seed=seed)
        self._tokens = _empty(self.space, self.num_envs)
        self._num_tokens[:] = 0
        self._finished[:] = False
        return self._tokens.copy(), {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Append a token to each sequence, or begin a new one where the last was finished.

        Args:
            actions: (num_envs,) integer ids 0..V-1; not read where a new sequence begins.

        Returns:
            Prefixes (num_envs, T), rewards, terminated, truncated (num_envs,), {}.

        Raises:
            InvalidAction: not `num_envs` ids of the alphabet.
            ResetNeeded: not reset.
        """
        if self._tokens is None:
            raise ResetNeeded("step: no sequences are begun. Call reset() first.")
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,):
            raise InvalidAction(f"actions has shape {actions.shape}: expected ({self.num_envs},), one id a sequence.")
        begins, goes_on = self._finished, np.flatnonzero(~self._finished)
        chosen = _legal_actions(self.space, actions[goes_on])
        self._tokens[begins] = _empty(self.space, 1)
        self._num_tokens[begins] = 0
        self._tokens[goes_on, self._num_tokens[goes_on]] = chosen
        self._num_tokens[goes_on] += 1

        terminated = np.zeros(self.num_envs, dtype=np.bool_)
        lengths = self._num_tokens[goes_on]
        for length in np.unique(lengths):
            here = lengths == length
            terminated[goes_on[here]] = is_terminal(self.space, chosen[here], int(length))
        rewards = np.zeros(self.num_envs, dtype=np.float64)
        if terminated.any():
            rewards[terminated] = _score(self.space, self.reward_function, self._tokens[terminated])
        self._finished = terminated
        return self._tokens.copy(), rewards, terminated.copy(), np.zeros(self.num_envs, dtype=np.bool_), {}


def observation_space(space: SequenceSpace) -> MultiDiscrete:
    """Prefixes (T,) int64: ids 0..V-1, and V where there is no token yet."""
    return MultiDiscrete(np.full(space.max_length, space.vocab_size + 1))


def _world(space: SequenceSpace | None, reward_function: RewardFunction | None) -> tuple[SequenceSpace, RewardFunction]:
    if space is None and reward_function is None:
        law = TabularOracle.fixed()
        return law.space, SequenceProbability(law)  # type: ignore[arg-type]  # its entropy is a cached property
    if space is None or reward_function is None:
        given, lacking = ("reward_function", "space") if space is None else ("space", "reward_function")
        raise ConfigError(
            f"{lacking}=None: {given} is given, and neither can be guessed from the other. "
            "Give both, or neither for the toy world."
        )
    return space, reward_function


def _empty(space: SequenceSpace, num_sequences: int) -> Observation:
    return np.full((num_sequences, space.max_length), space.vocab_size, dtype=np.int64)


def _legal_actions(space: SequenceSpace, actions: NDArray[Any]) -> NDArray[np.int64]:
    if not np.issubdtype(actions.dtype, np.integer) or ((actions < 0) | (actions >= space.vocab_size)).any():
        raise InvalidAction(
            f"action {actions.tolist()} ({actions.dtype}): expected integer token ids 0..{space.vocab_size - 1}."
        )
    return actions.astype(np.int64)


def _score(space: SequenceSpace, reward_function: RewardFunction, tokens: Observation) -> NDArray[np.float64]:
    """Rewards (B,) of finished sequences (B, T), given with V after the end."""
    finished = torch.from_numpy(np.where(tokens == space.vocab_size, space.pad_id, tokens))
    with torch.no_grad():
        rewards = reward_function(finished, sequence_mask(space, finished))
    if rewards.shape != finished.shape[:1]:
        raise ShapeError(
            f"reward function {type(reward_function).__name__}: returned shape {tuple(rewards.shape)} for "
            f"{len(finished)} sequences; expected ({len(finished)},), one score each."
        )
    return np.asarray(rewards.detach().cpu().numpy(), dtype=np.float64)
