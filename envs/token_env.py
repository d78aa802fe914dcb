"""The token world as Gymnasium environments: one action a token, one reward when the sequence is finished.

These step-by-step environments define what the world means; the batched sampler is their fast twin. An episode
*terminates* at the terminator and at the horizon, both by `transition.is_terminal`; it is never truncated. The reward
is 0 until then and what the reward function says of the finished sequence at the end.

Made by name, without an import of ours: `gymnasium.make("rlgan.envs:rlgan/Token-v0", ...)`, and `make_vec` likewise.

Observations are the prefix, (T,) int64: a position that holds no token yet holds V, which no token is, so the prefix
and its length can both be read off. Ids are categories, not sizes, hence the MultiDiscrete space: libraries one-hot it
by themselves (Stable-Baselines3) or with their stock connector (RLlib: `FlattenObservations()`).

Where sequences are given something, every reset draws a condition, and it stands before the prefix in the same array,
(S + T,) int64. One MultiDiscrete of both, rather than a Dict or a Tuple, is read by the same stock policies and
connectors as without conditions: Stable-Baselines3 has no Tuple, and wants another policy for a Dict.

Where sequences may end early, `info["action_mask"]` says which tokens may come next. With `ends_together` a sequence
that has ended waits for the horizon: its actions are no longer read, padding takes their place, and it is rewarded at
the horizon, so that all episodes have T steps. The sequences of a vector environment are then scored in one call, as a
batch that was drawn together is; the mask has padding alone in that time. `info["text"]` of the last step is the
sequence as text.

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
from gymnasium.spaces import Dict, Discrete, MultiBinary, MultiDiscrete
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

Tokens = NDArray[np.int64]
"""Conditions, where there are some, and prefixes: (S + T,), or (B, S + T) of several sequences."""
Observation = Any
"""`Tokens`; with `observes_mask` a dictionary {"observations": Tokens, "action_mask": (V,) or (B, V) int8}."""
Decode = Callable[[Tensor], Sequence[str]]
"""From tokens (B, n) int64, n ≤ T, to one text a row, such as `Task.decode`."""

RENDER_MODES = ["ansi", "human"]


class SequenceProbability:
    """Reward function: the probability of a sequence under an exactly known distribution.

    Args:
        oracle: the distribution.
    """

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle

    def __call__(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Score (B, T) finished sequences: (B,) float32 in [0, 1]."""
        return self.oracle.logprobs(tokens).masked_fill(~mask, 0.0).sum(1).exp()


class ConditionalProbability:
    """Reward function: the probability of a sequence under an exactly known distribution, given its condition.

    Args:
        distribution: from conditions (B, S) the distribution of B sequences, see `tasks.task.Conditions`.
    """

    def __init__(self, distribution: Callable[[Tensor], Oracle]) -> None:
        self.distribution = distribution

    def __call__(self, tokens: Tensor, mask: Tensor, conditions: Tensor) -> Tensor:
        """Score (B, T) finished sequences given (B, S): (B,) float32 in [0, 1]."""
        return SequenceProbability(self.distribution(conditions))(tokens, mask)


@dataclass(frozen=True)
class _World:
    """What does not change from one sequence to the next.

    Attributes:
        space: the sequences.
        reward_function: scores them.
        conditions: (n, S), of which one is drawn for each sequence; None where they are given nothing.
        condition_space: their alphabet and shape.
        ends_together: whether a sequence that has ended waits for the horizon.
        observes_mask: whether the action mask is part of the observation.
        decode: shows tokens as text; None shows their ids.
        decode_condition: likewise conditions.
        render_mode: None, "ansi" or "human".
    """

    space: SequenceSpace
    reward_function: RewardFunction | ConditionalRewardFunction
    conditions: Tokens | None = None
    condition_space: SequenceSpace | None = None
    ends_together: bool = False
    observes_mask: bool = False
    decode: Decode | None = None
    decode_condition: Decode | None = None
    render_mode: str | None = None

    @property
    def prefix_length(self) -> int:
        """Numbers S of an observation that stand before the prefix."""
        return 0 if self.conditions is None else self.conditions.shape[1]

    def begin(self, generators: Sequence[np.random.Generator]) -> Tokens:
        """Tokens (B, S + T) of sequences that begin, each with a condition from its own generator."""
        if self.conditions is None:
            return self.begin_with(np.empty((len(generators), 0), dtype=np.int64))
        drawn = [int(generator.integers(len(self.conditions))) for generator in generators]
        return self.begin_with(self.conditions[drawn])

    def begin_with(self, conditions: Tokens) -> Tokens:
        """Tokens (B, S + T) of sequences that begin with conditions (B, S)."""
        empty = np.full((len(conditions), self.space.max_length), self.space.vocab_size, dtype=np.int64)
        return np.concatenate([conditions, empty], axis=1)

    def chosen(self, options: dict[str, Any] | None, name: str, number: int) -> Tokens | None:
        """Conditions (B, S) that somebody resets to; None where they are drawn.

        Raises:
            ConfigError: options of another name, or a condition where sequences are given nothing.
            ShapeError: they are no conditions of this world, or not `number` of them.
        """
        if unknown := sorted(set(options or {}) - {name}):
            raise ConfigError(
                f"reset: options has {', '.join(map(repr, unknown))}. The only option is {name!r}.",
                code="reset_options",
            )
        if not options:
            return None
        if self.condition_space is None:
            raise ConfigError(
                f"reset: options[{name!r}]: this environment has no conditions. Remove it.",
                code="reset_without_conditions",
            )
        rows = torch.as_tensor(options[name])
        rows = rows.unsqueeze(0) if name == "condition" and rows.dim() == 1 else rows
        checked = _checked_conditions(rows, self.condition_space, f"options[{name!r}]")
        if len(checked) != number:
            raise ShapeError(
                f"options[{name!r}] has {len(checked)} conditions: expected {number}, one per sequence.",
                code="reset_conditions_number",
            )
        return checked

    def score(self, rows: Tokens) -> NDArray[np.float64]:
        """Rewards (B,) of finished sequences, given as tokens (B, S + T)."""
        tokens = rows[:, self.prefix_length :]
        finished = torch.from_numpy(np.where(tokens == self.space.vocab_size, self.space.pad_id, tokens))
        mask = sequence_mask(self.space, finished)
        with torch.no_grad():
            if self.conditions is None:
                rewards = cast(RewardFunction, self.reward_function)(finished, mask)
            else:
                conditions = torch.from_numpy(rows[:, : self.prefix_length].copy())
                rewards = cast(ConditionalRewardFunction, self.reward_function)(finished, mask, conditions)
        if rewards.shape != finished.shape[:1]:
            raise ShapeError(
                f"reward function {type(self.reward_function).__name__}: returned shape {tuple(rewards.shape)} for "
                f"{len(finished)} sequences; expected ({len(finished)},), one score per sequence.",
                code="reward_function_shape",
            )
        return np.asarray(rewards.detach().cpu().numpy(), dtype=np.float64)

    def action_masks(self, has_ended: NDArray[np.bool_]) -> NDArray[np.int8]:
        """(B, V), 1 where a token may come next: any, and after the end padding alone."""
        masks = np.ones((len(has_ended), self.space.vocab_size), dtype=np.int8)
        masks[has_ended] = 0
        masks[has_ended, self.space.pad_id] = 1
        return masks

    def observed(self, rows: Tokens, has_ended: NDArray[np.bool_]) -> Observation:
        """What a policy sees of tokens (B, S + T): a copy."""
        if not self.observes_mask:
            return rows.copy()
        return {"observations": rows.copy(), "action_mask": self.action_masks(has_ended)}

    def texts(self, rows: Tokens, num_tokens: NDArray[np.int64]) -> list[str]:
        """Each sequence as far as it is written, as text."""
        prefixes = [row[self.prefix_length : self.prefix_length + n] for row, n in zip(rows, num_tokens, strict=True)]
        return [_text(self.decode, self.space, prefix) for prefix in prefixes]

    def frames(self, rows: Tokens, num_tokens: NDArray[np.int64]) -> list[str]:
        """Each sequence as it is rendered: what it was given on a line of its own, then `texts`."""
        texts = self.texts(rows, num_tokens)
        if self.condition_space is None:
            return texts
        sources = [_text(self.decode_condition, self.condition_space, row[: self.prefix_length]) for row in rows]
        return [f"{source}\n{text}" for source, text in zip(sources, texts, strict=True)]

    def spaces(self) -> tuple[Any, Discrete[Any]]:
        """Observation space and action space of one sequence."""
        prefixes: Any = observation_space(self.space, self.condition_space)
        if self.observes_mask:
            prefixes = Dict({"observations": prefixes, "action_mask": MultiBinary(self.space.vocab_size)})
        return prefixes, Discrete(self.space.vocab_size)


def _text(decode: Decode | None, space: SequenceSpace, tokens: Tokens) -> str:
    if not len(tokens):
        return ""
    row = torch.from_numpy(tokens.copy()).unsqueeze(0)
    if decode is not None:
        return str(decode(row)[0])
    return " ".join(map(str, row[0, sequence_mask(space, row)[0]].tolist()))


class TokenEnv(gymnasium.Env[Observation, int]):
    """One sequence, token by token.

    Args:
        space: the sequences; None, together with no reward function, for the fixed 3-token, 2-step toy world.
        reward_function: scores the finished sequence; None, together with no space, for its probability under the toy
            world's distribution. With conditions it has a third argument, see `ConditionalRewardFunction`.
        conditions: (n, S) int64, of which each reset draws one; None where sequences are given nothing.
        condition_space: alphabet and shape of the conditions.
        ends_together: whether a sequence that has ended waits for the horizon, see above.
        observes_mask: whether the action mask is part of the observation, which is then
            {"observations": (S + T,), "action_mask": (V,)}.
        decode: shows tokens as text, such as `Task.decode`; None shows their ids.
        decode_condition: likewise conditions, such as `Task.conditions.decode`.
        render_mode: "ansi" to get text by `render`, "human" to have every step printed.

    Raises:
        ConfigError: `space` without `reward_function`, `conditions` without `condition_space`, or the other way round;
            conditions of the toy world; no condition at all; `ends_together` or `observes_mask` of sequences that
            cannot end early; `decode_condition` where there is none; or another render mode.
        ShapeError: conditions that are not finished sequences of their space.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": RENDER_MODES, "render_fps": 4}  # type: ignore[misc]

    def __init__(
        self,
        space: SequenceSpace | None = None,
        reward_function: RewardFunction | ConditionalRewardFunction | None = None,
        conditions: Tensor | None = None,
        condition_space: SequenceSpace | None = None,
        *,
        ends_together: bool = False,
        observes_mask: bool = False,
        decode: Decode | None = None,
        decode_condition: Decode | None = None,
        render_mode: str | None = None,
    ) -> None:
        self._world = _checked_world(
            space, reward_function, conditions, condition_space,
            ends_together, observes_mask, decode, decode_condition, render_mode,
        )  # fmt: skip
        self.space, self.reward_function = self._world.space, self._world.reward_function
        self.conditions, self.condition_space = conditions, condition_space
        self.ends_together, self.observes_mask = ends_together, observes_mask
        self.render_mode = render_mode
        self.observation_space, self.action_space = self._world.spaces()
        self._state = np.empty((1, 0), dtype=np.int64)
        self._num_tokens: int | None = None
        self._num_shown = 0
        self._has_ended = np.zeros(1, dtype=np.bool_)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a new sequence.

        Args:
            seed: of the condition, which is all that is random.
            options: {"condition": (S,) integers} to be given that one, in the place of one that is drawn.

        Returns:
            The condition and no token yet, (S + T,); and {"action_mask": (V,) int8} where sequences may end early.

        Raises:
            ConfigError: other options, or a condition where sequences are given nothing.
            ShapeError: a condition that is not a finished sequence of its space.
        """
        super().reset(seed=seed)
        chosen = self._world.chosen(options, "condition", 1)
        self._state = self._world.begin([self.np_random]) if chosen is None else self._world.begin_with(chosen)
        self._num_tokens = self._num_shown = 0
        self._has_ended[:] = False
        return self._seen(), self._info(False)

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Append a token.

        Args:
            action: its id, 0..V-1; not read where the sequence has ended and waits for the horizon.

        Returns:
            The condition and the longer prefix (S + T,), the reward, whether the episode is over, False, and
            {"action_mask": (V,) int8} where sequences may end early, {"text": sequence} when the episode is over.

        Raises:
            InvalidAction: not an id of the alphabet.
            ResetNeeded: not reset, or the episode is over.
        """
        if self._num_tokens is None:
            raise ResetNeeded("step: no sequence has been started, or the last one is finished. Call reset() first.")
        token = int(_legal_actions(self.space, np.asarray(action).reshape(1))[0])
        if self._has_ended[0]:
            token = self.space.pad_id
        self._state[0, self._world.prefix_length + self._num_tokens] = token
        self._num_tokens += 1
        self._num_shown = self._num_tokens
        self._has_ended |= bool(is_terminal(self.space, token, self._num_tokens))
        terminated = self._num_tokens == self.space.max_length if self.ends_together else bool(self._has_ended[0])
        reward = 0.0
        if terminated:
            reward = float(self._world.score(self._state)[0])
            self._num_tokens = None
        return self._seen(), reward, terminated, False, self._info(terminated)

    def action_masks(self) -> NDArray[np.bool_]:
        """(V,) bool, which tokens may come next: the method by which Stable-Baselines3's contributions ask."""
        return self._world.action_masks(self._has_ended)[0].astype(np.bool_)

    def render(self) -> str | None:  # type: ignore[override]
        """The sequence as far as it is written, below what it was given; None but in mode "ansi".

        Raises:
            ResetNeeded: not reset.
        """
        if self.render_mode != "ansi":
            return None
        if not self._state.shape[1]:
            raise ResetNeeded("render: no sequence has been started. Call reset() first.")
        return self._world.frames(self._state, np.array([self._num_shown]))[0]

    def _seen(self) -> Observation:
        observed = self._world.observed(self._state, self._has_ended)
        if self.observes_mask:
            return {name: part[0] for name, part in observed.items()}
        return observed[0]

    def _info(self, is_over: bool) -> dict[str, Any]:
        info: dict[str, Any] = {}
        if self.space.end_id is not None:
            info["action_mask"] = self._world.action_masks(self._has_ended)[0]
        if is_over:
            info["text"] = self._world.texts(self._state, np.array([self._num_shown]))[0]
        if self.render_mode == "human":
            print(self._world.frames(self._state, np.array([self._num_shown]))[0], flush=True)
        return info


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
        ends_together: as in TokenEnv.
        observes_mask: as in TokenEnv.
        decode: as in TokenEnv.
        decode_condition: as in TokenEnv.
        render_mode: as in TokenEnv.

    Raises:
        ConfigError: `num_envs` is below 1, or as in TokenEnv.
        ShapeError: as in TokenEnv.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": RENDER_MODES,
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        space: SequenceSpace | None = None,
        reward_function: RewardFunction | ConditionalRewardFunction | None = None,
        conditions: Tensor | None = None,
        condition_space: SequenceSpace | None = None,
        *,
        ends_together: bool = False,
        observes_mask: bool = False,
        decode: Decode | None = None,
        decode_condition: Decode | None = None,
        render_mode: str | None = None,
    ) -> None:
        if num_envs < 1:
            raise ConfigError(
                f"num_envs={num_envs}: must be at least 1.", code="num_envs", fields={"num_envs": num_envs}
            )
        self._world = _checked_world(
            space, reward_function, conditions, condition_space,
            ends_together, observes_mask, decode, decode_condition, render_mode,
        )  # fmt: skip
        self.space, self.reward_function = self._world.space, self._world.reward_function
        self.conditions, self.condition_space = conditions, condition_space
        self.ends_together, self.observes_mask = ends_together, observes_mask
        self.render_mode = render_mode
        self.num_envs = num_envs
        self._generators = [np_random()[0] for _ in range(num_envs)]
        self.single_observation_space, self.single_action_space = self._world.spaces()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._state: Tokens | None = None
        self._num_tokens = np.zeros(num_envs, dtype=np.int64)
        self._has_ended = np.zeros(num_envs, dtype=np.bool_)
        self._finished = np.zeros(num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin new sequences everywhere.

        Args:
            seed: of the conditions, which are all that is random.
            options: {"conditions": (num_envs, S) integers} to be given those, in the place of ones that are drawn.

        Returns:
            As `TokenEnv.reset`, of all sequences.

        Raises:
            ConfigError: as in `TokenEnv.reset`.
            ShapeError: as in `TokenEnv.reset`, or not one condition a sequence.
        """
        super().reset(seed=seed)
        if seed is not None:
            self._generators = [np_random(seed + index)[0] for index in range(self.num_envs)]
        chosen = self._world.chosen(options, "conditions", self.num_envs)
        self._state = self._world.begin(self._generators) if chosen is None else self._world.begin_with(chosen)
        self._num_tokens[:] = 0
        self._has_ended[:] = False
        self._finished[:] = False
        return self._world.observed(self._state, self._has_ended), self._infos(self._state)

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Append a token to each sequence, or begin a new one where the last was finished.

        Args:
            actions: (num_envs,) integer ids 0..V-1; not read where a new sequence begins, or where one has ended and
                waits for the horizon.

        Returns:
            Conditions and prefixes (num_envs, S + T), rewards, terminated, truncated (num_envs,); and as in `TokenEnv`
            "action_mask" (num_envs, V) and "text" (num_envs,), each with the mask of those that have it, "_text".

        Raises:
            InvalidAction: not `num_envs` ids of the alphabet.
            ResetNeeded: not reset.
        """
        if self._state is None:
            raise ResetNeeded("step: no sequences have been started. Call reset() first.")
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,):
            raise InvalidAction(f"actions has shape {actions.shape}: expected ({self.num_envs},), one id per sequence.")
        begins, goes_on = self._finished, np.flatnonzero(~self._finished)
        chosen = _legal_actions(self.space, actions[goes_on])
        chosen[self._has_ended[goes_on]] = self.space.pad_id
        self._state[begins] = self._world.begin([self._generators[index] for index in np.flatnonzero(begins)])
        self._num_tokens[begins] = 0
        self._has_ended[begins] = False
        self._state[goes_on, self._world.prefix_length + self._num_tokens[goes_on]] = chosen
        self._num_tokens[goes_on] += 1

        lengths = self._num_tokens[goes_on]
        for length in np.unique(lengths):
            here = lengths == length
            self._has_ended[goes_on[here]] |= is_terminal(self.space, chosen[here], int(length))
        is_over = self._num_tokens == self.space.max_length if self.ends_together else self._has_ended
        terminated = is_over & ~begins
        rewards = np.zeros(self.num_envs, dtype=np.float64)
        if terminated.any():
            rewards[terminated] = self._world.score(self._state[terminated])
        self._finished = terminated
        observed = self._world.observed(self._state, self._has_ended)
        truncated = np.zeros(self.num_envs, dtype=np.bool_)
        return observed, rewards, terminated.copy(), truncated, self._infos(self._state)

    def action_masks(self) -> NDArray[np.bool_]:
        """(num_envs, V) bool, which tokens may come next."""
        return self._world.action_masks(self._has_ended).astype(np.bool_)

    def render(self) -> tuple[str, ...] | None:  # type: ignore[override]
        """One frame a sequence, as `TokenEnv.render`; None but in mode "ansi".

        Raises:
            ResetNeeded: not reset.
        """
        if self.render_mode != "ansi":
            return None
        if self._state is None:
            raise ResetNeeded("render: no sequences have been started. Call reset() first.")
        return tuple(self._world.frames(self._state, self._num_tokens))

    def _infos(self, state: Tokens) -> dict[str, Any]:
        """As Gymnasium joins the information of single environments: an array a name, and a mask of who has it."""
        infos: dict[str, Any] = {}
        if self.space.end_id is not None:
            infos["action_mask"] = self._world.action_masks(self._has_ended)
            infos["_action_mask"] = np.ones(self.num_envs, dtype=np.bool_)
        if self._finished.any():
            texts = np.full(self.num_envs, None, dtype=object)
            texts[self._finished] = self._world.texts(state[self._finished], self._num_tokens[self._finished])
            infos["text"], infos["_text"] = texts, self._finished.copy()
        if self.render_mode == "human":
            print(*self._world.frames(state, self._num_tokens), sep="\n", flush=True)
        return infos


def observation_space(space: SequenceSpace, condition_space: SequenceSpace | None = None) -> MultiDiscrete:
    """Conditions, where there are some, and prefixes, (S + T,) int64.

    Args:
        space: of the prefixes: ids 0..V-1, and V where there is no token yet.
        condition_space: of the conditions: their ids.
    """
    prefix = np.full(space.max_length, space.vocab_size + 1)
    if condition_space is None:
        return MultiDiscrete(prefix)
    condition = np.full(condition_space.max_length, condition_space.vocab_size)
    return MultiDiscrete(np.concatenate([condition, prefix]))


def _checked_world(
    space: SequenceSpace | None,
    reward_function: RewardFunction | ConditionalRewardFunction | None,
    conditions: Tensor | None,
    condition_space: SequenceSpace | None,
    ends_together: bool,
    observes_mask: bool,
    decode: Decode | None,
    decode_condition: Decode | None,
    render_mode: str | None,
) -> _World:
    for given, lacking in (("conditions", "condition_space"), ("condition_space", "conditions")):
        values = {"conditions": conditions, "condition_space": condition_space}
        if values[given] is not None and values[lacking] is None:
            raise ConfigError(
                f"{lacking}=None: must be given together with {given}. Give both, or neither.",
                code="env_lacks_argument",
            )
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise ConfigError(
            f"render_mode={render_mode!r}: must be one of {', '.join(map(repr, RENDER_MODES))}, or None.",
            code="render_mode",
            fields={"render_mode": render_mode},
        )
    if decode_condition is not None and conditions is None:
        raise ConfigError(
            "decode_condition: has no effect, because there are no conditions. Remove it.",
            code="decode_without_conditions",
        )
    if space is None and reward_function is None:
        if conditions is not None:
            raise ConfigError(
                "conditions: the default toy environment has none. Give space and reward_function, too.",
                code="toy_env_conditions",
            )
        distribution = TabularOracle.fixed()
        space, reward_function = distribution.space, SequenceProbability(distribution)  # type: ignore[arg-type]  # its entropy is cached
    if space is None or reward_function is None:
        given, lacking = ("reward_function", "space") if space is None else ("space", "reward_function")
        raise ConfigError(
            f"{lacking}=None: {given} is given, and one does not determine the other. Give both, or neither for "
            "the toy environment.",
            code="env_space_and_reward",
        )
    for name, asked in (("ends_together", ends_together), ("observes_mask", observes_mask)):
        if asked and space.end_id is None:
            raise ConfigError(
                f"{name}=True: sequences of this space have no terminator, so all have {space.max_length} tokens "
                "and every token is always allowed. Remove it.",
                code="env_no_terminator",
            )
    kept = None
    if conditions is not None and condition_space is not None:
        kept = _checked_conditions(conditions, condition_space, "conditions")
    return _World(
        space, reward_function, kept, condition_space,
        ends_together, observes_mask, decode, decode_condition, render_mode,
    )  # fmt: skip


def _checked_conditions(conditions: Tensor, space: SequenceSpace, name: str) -> Tokens:
    expected = f"(n, {space.max_length}) int64"
    if conditions.dim() != 2 or conditions.shape[1] != space.max_length or conditions.dtype != torch.int64:
        raise ShapeError(
            f"{name} has shape {tuple(conditions.shape)}, {conditions.dtype}: expected {expected}.",
            code="conditions_shape",
        )
    if not len(conditions):
        raise ConfigError(
            f"{name}: is empty. Give at least one condition, or None for an environment without conditions.",
            code="conditions_empty",
            fields={"name": name},
        )
    if not 0 <= int(conditions.min()) <= int(conditions.max()) < space.vocab_size:
        raise ShapeError(
            f"{name} holds ids {int(conditions.min())}..{int(conditions.max())}: condition_space has "
            f"0..{space.vocab_size - 1}.",
            code="conditions_ids",
        )
    if not torch.equal(pad_after_end(space, conditions), conditions):
        raise ShapeError(
            f"{name}: contains ids other than padding after a terminator. Use pad_after_end.",
            code="conditions_padding",
            fields={"name": name},
        )
    return np.array(conditions.cpu().numpy())


def _legal_actions(space: SequenceSpace, actions: NDArray[Any]) -> NDArray[np.int64]:
    if not np.issubdtype(actions.dtype, np.integer) or ((actions < 0) | (actions >= space.vocab_size)).any():
        raise InvalidAction(
            f"action {actions.tolist()} ({actions.dtype}): expected integer token ids 0..{space.vocab_size - 1}."
        )
    return actions.astype(np.int64)
