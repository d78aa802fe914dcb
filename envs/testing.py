"""Contracts as reusable checks: a new task, reward function or environment is covered by one call each.

Each check raises AssertionError and says which promise is broken. The toy tables are the numbers that go with
`tasks.toy.TOY_PROBS`. The Hypothesis strategies import that library when they are called, for it is a test dependency.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.spaces import Discrete
from gymnasium.utils.env_checker import check_env
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from .reward_function import ConditionalRewardFunction, RewardFunction
from .sequence_space import SequenceSpace
from .tasks.task import Conditions, Oracle, Task, TaskMeasure
from .tasks.toy import TOY_PROBS
from .token_env import TokenEnv, TokenVectorEnv
from .transition import pad_after_end, sequence_mask

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

TOY_FIRST_LOGITS = (0.2, -0.1, 0.4)
"""Logits of the first token of the tabular policy that the golden numbers belong to."""

TOY_SECOND_LOGITS = ((0.5, -0.3, 0.0), (-0.2, 0.1, 0.6), (0.3, 0.3, -0.7))
"""Logits of its second token: [first token][second token]."""

TOY_REAL_LOGITS = ((1.2, -0.4, 0.3), (-1.0, 0.8, 0.0), (0.5, -0.7, 1.5))
"""Logits of a fixed, not optimal discriminator: [first token][second token], positive = real."""

LARGEST_ENUMERATED_VOCABULARY = 256

_CERTAIN_NATS = 20.0  # two draws of the same are then a chance of one in 5e8

__all__ = [
    "TOY_FIRST_LOGITS",
    "TOY_PROBS",
    "TOY_REAL_LOGITS",
    "TOY_SECOND_LOGITS",
    "all_sequences",
    "check_reward_function",
    "check_task",
    "check_token_env",
    "check_token_vector_env",
    "random_sequences",
    "sequence_spaces",
    "token_batches",
]


def all_sequences(space: SequenceSpace) -> Tensor:
    """Every finished sequence there is, (n, T) int64, padded, in lexicographic order; only for small spaces."""
    grid = torch.tensor(list(itertools.product(range(space.vocab_size), repeat=space.max_length)))
    return grid[(pad_after_end(space, grid) == grid).all(1)]


def random_sequences(space: SequenceSpace, num_sequences: int, seed: int) -> Tensor:
    """Finished sequences (B, T) int64 of uniform tokens, padded after the terminator."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(space.vocab_size, (num_sequences, space.max_length), generator=generator)
    return pad_after_end(space, tokens)


def check_task(task: Task) -> None:
    """Check that the splits hold finished sequences of the task's space, and that the oracle is a distribution.

    Of a task with conditions also that they are finished sequences of a space of their own, one for each sequence, and
    that the distribution given each is one.
    """
    _require(all(note.strip() and "\n" not in note for note in task.notes), "a note is empty or has several lines")
    _check_splits(task, "")
    _check_measures(task)
    _require(task.fingerprint() == task.fingerprint(), "fingerprint: differs between two calls")
    if task.stream is not None:
        _check_stream(task)
    if task.conditions is None:
        if task.oracle is not None:
            _check_oracle(task, task.oracle, 64)
        return
    _check_splits(task.conditions, "conditions, ")
    for split in ("train", "valid", "test"):
        num_sequences, num_conditions = len(getattr(task, split)), len(getattr(task.conditions, split))
        _require(
            num_sequences == num_conditions, f"{split} has {num_sequences} sequences and {num_conditions} conditions"
        )
    _require(
        task.oracle is None,
        (
            "oracle: sequences have conditions, so the task needs conditions.distribution instead of one distribution "
            "for all"
        ),
    )
    distribution = task.oracle_of(task.conditions.valid)
    if distribution is not None:
        _check_oracle(task, distribution, len(task.valid))


def _check_stream(task: Task) -> None:
    assert task.stream is not None
    (tokens, conditions), (again, given_again) = task.stream(8, 1), task.stream(8, 1)
    _require_finished(task.space, tokens, "stream, a sequence")
    _require(len(tokens) == 8, f"stream: returns {len(tokens)} sequences when 8 are requested")
    _require(torch.equal(tokens, again), "stream: the same seed gives different sequences")
    given = task.conditions
    _require((conditions is None) == (given is None), "stream: must return conditions if the task has them, else None")
    if given is None or conditions is None or given_again is None:
        return
    _require_finished(given.space, conditions, "stream, a condition")
    _require(len(conditions) == 8, f"stream: returns {len(conditions)} conditions for 8 sequences")
    _require(torch.equal(conditions, given_again), "stream: the same seed gives different conditions")
    is_same = given.stream is None or torch.equal(given.stream(8, 1), conditions)
    _require(is_same, "conditions.stream: returns other conditions than stream for the same number and seed")


def _check_measures(task: Task) -> None:
    unknown = sorted(set(task.measures) - set(get_args(TaskMeasure)))
    _require(not unknown, f"measures: {unknown} is unknown; known are {', '.join(get_args(TaskMeasure))}")
    if "references" in task.measures:
        _require(task.conditions is not None, "measures: 'references' needs conditions, and the task has none")
        _require(task.test_words is not None, "measures: 'references' needs test_words, the reference texts")
        _require(task.valid_words is not None, "measures: 'references' needs valid_words, for model selection")
    _require(
        "summaries" not in task.measures or "references" in task.measures, "measures: 'summaries' needs 'references'"
    )


def _check_splits(owner: Task | Conditions, name: str) -> None:
    space = owner.space
    _require(
        len(owner.token_names) == space.vocab_size,
        f"{name}{len(owner.token_names)} token names for V={space.vocab_size}",
    )
    for split in ("train", "valid", "test"):
        tokens = getattr(owner, split)
        _require_finished(space, tokens, f"{name}{split}", is_kept=True)
        _require(len(tokens) > 0, f"{name}{split} is empty")
        words = None if split == "train" else getattr(owner, f"{split}_words")
        _require(
            words is None or len(words) == len(tokens),
            f"{name}{split}_words: must have one entry per sequence of {split}",
        )
        _require(
            len(owner.decode(tokens[:3])) == len(tokens[:3]),
            f"{name}{split}: decode returns a different number of lines",
        )


def _check_oracle(task: Task, oracle: Oracle, num_samples: int) -> None:
    """Check the distribution of `task.valid`: of each of its sequences, if they are given something."""
    space = task.space
    logprobs = oracle.logprobs(task.valid)
    mask = sequence_mask(space, task.valid)
    _require(logprobs.shape == task.valid.shape and logprobs.dtype == torch.float32, "logprobs: must be (B, T) float32")
    _require(bool(torch.isfinite(logprobs[mask]).all()), "a sequence of valid has probability 0 under the oracle")
    _require(bool((logprobs[mask] <= 1e-6).all()), "logprobs: a probability above 1")
    if space.vocab_size <= LARGEST_ENUMERATED_VOCABULARY:
        for row in range(1 if task.conditions is None else min(3, len(task.valid))):
            _check_next_tokens(task, row)
    first, again, other = (oracle.sample(num_samples, seed) for seed in (1, 1, 2))
    _require_finished(space, first, "a sample")
    _require(torch.equal(first, again), "sample: the same seed gives different sequences")
    # Another draw is equal with probability exp(-surprise): an almost certain distribution may draw the same again.
    surprise = -float(oracle.logprobs(first)[sequence_mask(space, first)].sum(dtype=torch.float64))
    _require(
        surprise < _CERTAIN_NATS or not torch.equal(first, other), "sample: different seeds give the same sequences"
    )
    _require(0 <= oracle.entropy <= math.log(space.vocab_size) + 1e-6, f"entropy {oracle.entropy} outside 0..log V")


def _check_next_tokens(task: Task, row: int) -> None:
    """Check that what may follow the prefixes of one sequence of valid has probabilities that sum to 1."""
    space, size = task.space, task.space.vocab_size
    length = int(sequence_mask(space, task.valid)[row].sum())
    conditions = None if task.conditions is None else task.conditions.valid[row].repeat(size, 1)
    oracle = task.oracle_of(conditions)
    assert oracle is not None  # for the whole split there is one
    for t in range(min(length, 3)):
        tokens = task.valid[row].repeat(size, 1)
        tokens[:, t] = torch.arange(size)
        total = float(oracle.logprobs(pad_after_end(space, tokens))[:, t].exp().sum())
        _require(abs(total - 1) < 1e-4, f"next-token probabilities at position {t} sum to {total}")


def check_reward_function(
    reward_function: RewardFunction | ConditionalRewardFunction,
    space: SequenceSpace,
    condition_space: SequenceSpace | None = None,
    *,
    tolerance: float = 1e-4,
) -> None:
    """Check that scores are one finite number a sequence, repeatable, and blind to the rest of the batch."""
    tokens = random_sequences(space, 8, seed=0)
    mask = sequence_mask(space, tokens)
    conditions = () if condition_space is None else (random_sequences(condition_space, 8, seed=1),)
    handed = [argument.clone() for argument in (tokens, mask, *conditions)]
    rewards = reward_function(*handed)
    _require(rewards.shape == (8,), f"returns shape {tuple(rewards.shape)} for 8 sequences; expected (8,)")
    _require(rewards.is_floating_point(), f"returns {rewards.dtype}; expected a float type")
    _require(bool(torch.isfinite(rewards).all()), "returns NaN or infinity")
    arguments = (tokens, mask, *conditions)
    _require(all(map(torch.equal, handed, arguments)), "modifies its input tensors")
    _require(
        torch.equal(reward_function(*arguments), rewards),
        "returns different scores for the same batch when called again",
    )
    alone = torch.cat([reward_function(*(argument[i : i + 1] for argument in arguments)) for i in range(8)])
    _require(
        bool((alone - rewards).abs().max() <= tolerance),
        "the score of a sequence depends on the other sequences of the batch",
    )


def check_token_env(env: TokenEnv, *, num_sequences: int = 20, seed: int = 0) -> None:
    """Check Gymnasium's contract and ours: what is seen and said, when it ends, what is paid, what is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # An environment made without an id cannot be made again in other render modes.
        warnings.filterwarnings("ignore", message=".*Not able to test alternative render modes.*")
        check_env(env)
    space = env.space
    tokens = random_sequences(space, num_sequences, seed)
    masks = sequence_mask(space, tokens)
    allowed = set() if env.conditions is None else set(map(tuple, env.conditions.tolist()))
    drawn = set()
    prefix_length = 0 if env.condition_space is None else env.condition_space.max_length
    for index, row in enumerate(tokens.tolist()):
        observation, info = env.reset()
        condition = _seen(env, observation)[:prefix_length].tolist()
        drawn.add(tuple(condition))
        _require(not prefix_length or tuple(condition) in allowed, f"{condition} is not one of the conditions")
        _require(
            (_seen(env, observation)[prefix_length:] == space.vocab_size).all(),
            "the first observation contains a token",
        )
        _check_masks(env, observation, info, has_ended=False)
        arguments = [tokens[index : index + 1], masks[index : index + 1]]
        arguments += [torch.tensor([condition])] if prefix_length else []
        reward = float(env.reward_function(*arguments)[0])
        length = int(masks[index].sum())
        last = space.max_length if env.ends_together else length
        for t in range(last):
            before = _seen(env, observation).copy()
            # Behind the end the action is not read: any id may stand there.
            seen, paid, terminated, truncated, info = env.step(row[t] if t < length else t % space.vocab_size)
            _require(
                np.array_equal(_seen(env, observation), before),
                "step modifies an observation that was returned earlier",
            )
            prefix = condition + row[: t + 1] + [space.vocab_size] * (space.max_length - t - 1)
            described = _seen(env, seen).tolist()
            _require(described == prefix, f"observation {described} after the tokens {row[: t + 1]}")
            _require(terminated == (t + 1 == last), f"terminated={terminated} at token {t + 1} of {last}")
            _require(not truncated, "truncated: sequences terminate; they are never truncated")
            expected = reward if terminated else 0.0
            _require(math.isclose(paid, expected, rel_tol=1e-4, abs_tol=1e-6), f"reward {paid}; expected {expected}")
            _check_masks(env, seen, info, has_ended=t + 1 >= length)
            _require(("text" in info) == terminated, f"info has {sorted(info)}: text belongs to the last step only")
            observation = seen
        _require(isinstance(info["text"], str), f"text {info['text']!r}: expected a string")
        _require_raises(ResetNeeded, lambda: env.step(0), "step is accepted after the end of the sequence")
    _require(len(drawn) > 1 or len(allowed) < 2 or num_sequences < 8, "every reset draws the same condition")
    if prefix_length:
        first, again = (_seen(env, env.reset(seed=seed)[0]) for _ in range(2))
        _require(np.array_equal(first, again), "the same seed draws different conditions")
        for condition in sorted(allowed)[:3]:
            chosen = _seen(env, env.reset(options={"condition": list(condition)})[0])[:prefix_length]
            _require(tuple(chosen.tolist()) == condition, f"reset to the condition {condition} starts with {chosen}")
    for action in (-1, space.vocab_size, 0.5, None):
        env.reset()
        _require_raises(InvalidAction, lambda action=action: env.step(action), f"action {action!r} is accepted")  # type: ignore[misc]


def _seen(env: TokenEnv | TokenVectorEnv, observation: Any) -> NDArray[np.int64]:
    """The tokens of an observation."""
    tokens: NDArray[np.int64] = observation["observations"] if env.observes_mask else observation
    return tokens


def _check_masks(env: TokenEnv, observation: Any, info: dict[str, Any], has_ended: bool) -> None:
    """Check that the mask stands wherever it should and names what may come next."""
    space = env.space
    expected = [1] * space.vocab_size
    if has_ended:
        expected = [int(token == space.pad_id) for token in range(space.vocab_size)]
    _require(("action_mask" in info) == (space.end_id is not None), f"info has {sorted(info)}")
    masks = [info["action_mask"].tolist()] if space.end_id is not None else []
    masks += [observation["action_mask"].tolist()] if env.observes_mask else []
    masks += [env.action_masks().astype(int).tolist()]
    # Without a terminator nothing follows the end, and the mask of then is nobody's.
    if space.end_id is not None or not has_ended:
        _require(all(mask == expected for mask in masks), f"action masks {masks}; expected {expected}")


def check_token_vector_env(env: TokenVectorEnv, *, num_steps: int = 100, seed: int = 0) -> None:
    """Check that the vector environment equals single ones stepped side by side, each begun again in the next step."""
    space = env.space
    _require(env.single_action_space == Discrete(space.vocab_size), "single_action_space is not the vocabulary")
    _require(
        env.action_space == batch_space(env.single_action_space, env.num_envs),
        "action_space is not the batched single_action_space",
    )
    _require(
        env.observation_space == batch_space(env.single_observation_space, env.num_envs),
        "observation_space is not the batched single_observation_space",
    )
    world = (space, env.reward_function, env.conditions, env.condition_space)
    singles = [
        TokenEnv(*world, ends_together=env.ends_together, observes_mask=env.observes_mask) for _ in range(env.num_envs)
    ]
    observations, infos = env.reset(seed=seed)
    alone = [single.reset(seed=seed + index) for index, single in enumerate(singles)]
    for index, (observation, _) in enumerate(alone):
        _require(
            np.array_equal(_seen(env, observations)[index], _seen(env, observation)), "the first observations differ"
        )
    _require_same_infos(env, infos, [info for _, info in alone])
    rng = np.random.default_rng(seed)
    ended = [False] * env.num_envs
    for _ in range(num_steps):
        # Where a new sequence begins, the action is not read: anything may stand there.
        actions = np.where(ended, space.vocab_size, rng.integers(space.vocab_size, size=env.num_envs))
        handed_out = _seen(env, observations).copy()
        seen, rewards, terminated, truncated, infos = env.step(actions)
        _require(
            np.array_equal(handed_out, _seen(env, observations)),
            "step modifies an observation that was returned earlier",
        )
        _require(env.observation_space.contains(seen), "an observation is outside observation_space")
        said = []
        for i, single in enumerate(singles):
            if ended[i]:
                observation, info = single.reset()
                expected: tuple[Any, float, bool] = (observation, 0.0, False)
            else:
                observation, reward, end, _, info = single.step(int(actions[i]))
                expected = (observation, reward, end)
            said.append(info)
            ended[i] = expected[2]
            described, wanted = _seen(env, seen)[i], _seen(env, expected[0])
            _require(np.array_equal(described, wanted), f"observation {described}; alone {wanted}")
            if env.observes_mask:
                masks = seen["action_mask"][i], expected[0]["action_mask"]
                _require(np.array_equal(*masks), "action masks differ from those of the single environment")
            _require(
                math.isclose(rewards[i], expected[1], rel_tol=1e-4, abs_tol=1e-6),
                "rewards differ from those of the single environment",
            )
            _require(bool(terminated[i]) == expected[2], "terminated differs from the single environment")
        _require_same_infos(env, infos, said)
        _require(not truncated.any(), "truncated: sequences terminate; they are never truncated")
        observations = seen
    env.reset()
    # Out of range, one too many, not integers.
    illegal = (np.full(env.num_envs, space.vocab_size), np.zeros(env.num_envs + 1, int), np.zeros(env.num_envs))
    for wrong in illegal:
        _require_raises(InvalidAction, lambda wrong=wrong: env.step(wrong), f"actions {wrong} are accepted")  # type: ignore[misc]


def _require_same_infos(env: TokenVectorEnv, infos: dict[str, Any], alone: list[dict[str, Any]]) -> None:
    """Check information against that of single environments, joined as Gymnasium joins it."""
    joined: dict[str, Any] = {}
    for index, info in enumerate(alone):
        joined = env._add_info(joined, info, index)
    _require(infos.keys() == joined.keys(), f"info has {sorted(infos)}; the single environment has {sorted(joined)}")
    for name, value in joined.items():
        _require(np.array_equal(infos[name], value), f"info {name!r} differs from the single environment")


def sequence_spaces(max_vocab_size: int = 6, max_length: int = 5) -> SearchStrategy[SequenceSpace]:
    """Hypothesis strategy: spaces with and without a terminator, which may be any id."""
    from hypothesis import strategies as st

    def of_size(vocab_size: int) -> SearchStrategy[SequenceSpace]:
        return st.builds(
            SequenceSpace,
            vocab_size=st.just(vocab_size),
            max_length=st.integers(1, max_length),
            end_id=st.none() | st.integers(0, vocab_size - 1),
            start_id=st.integers(0, vocab_size - 1),
        )

    return st.integers(2, max_vocab_size).flatmap(of_size)


def token_batches(space: SequenceSpace, max_sequences: int = 4) -> SearchStrategy[Tensor]:
    """Hypothesis strategy: (B, T) int64 tokens, not padded: anything may stand after the terminator."""
    from hypothesis import strategies as st

    token = st.integers(0, space.vocab_size - 1)
    row = st.lists(token, min_size=space.max_length, max_size=space.max_length)
    return st.lists(row, min_size=1, max_size=max_sequences).map(torch.tensor)


def _require(holds: object, message: str) -> None:
    # Not `assert`: these checks must also bite under `python -O`.
    if not holds:
        raise AssertionError(message)


def _require_raises(error: type[Exception], call: Callable[[], object], message: str) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError(message)


def _require_finished(space: SequenceSpace, tokens: Tensor, name: str, *, is_kept: bool = False) -> None:
    """Check sequences; those of a split are kept in the narrowest type that holds their ids."""
    kinds = (torch.int64,) if not is_kept else (torch.int16, torch.int32, torch.int64)
    _require(tokens.dtype in kinds, f"{name} is {tokens.dtype}; expected int64")
    _require(
        tokens.dim() == 2 and tokens.shape[1] == space.max_length,
        f"{name} has shape {tuple(tokens.shape)}; expected (n, {space.max_length})",
    )
    _require(bool(((tokens >= 0) & (tokens < space.vocab_size)).all()), f"{name} holds ids outside 0..V-1")
    _require(torch.equal(pad_after_end(space, tokens), tokens), f"{name} is not padded after the terminator")
