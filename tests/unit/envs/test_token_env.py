"""The environments keep their contract, are equal to each other, and the checks notice what breaks it."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import InvalidAction, ResetNeeded

from rlgan.envs import (
    ConditionalProbability,
    ConfigError,
    SequenceProbability,
    SequenceSpace,
    ShapeError,
    TokenEnv,
    TokenVectorEnv,
    TransductionTask,
    build_task,
)
from rlgan.envs.testing import (
    TOY_PROBS,
    check_reward_function,
    check_task,
    check_token_env,
    check_token_vector_env,
    random_sequences,
)

WORLDS = [
    SequenceSpace(4, 3),
    SequenceSpace(4, 5, end_id=0),
    SequenceSpace(3, 5, end_id=2),
    SequenceSpace(2, 1, end_id=1),
]


def weighted_sum(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """A reward that depends on every token, its place and the mask."""
    places = torch.arange(1, tokens.shape[1] + 1)
    return ((tokens + 0.5) * places * mask).sum(1).float()


@pytest.mark.parametrize("space", WORLDS, ids=str)
def test_one_sequence_keeps_the_contract(space):
    check_token_env(TokenEnv(space, weighted_sum))


@pytest.mark.parametrize("space", WORLDS, ids=str)
@pytest.mark.parametrize("num_envs", [1, 4])
def test_many_sequences_equal_single_ones_side_by_side(space, num_envs):
    check_token_vector_env(TokenVectorEnv(num_envs, space, weighted_sum))


def test_the_registered_environment_is_the_toy_world():
    env = gymnasium.make("rlgan/Token-v0")
    check_token_env(env.unwrapped)
    for first in range(3):
        for second in range(3):
            env.reset()
            _, reward, terminated, _, _ = env.step(first)
            assert (reward, terminated) == (0, False)
            observation, reward, terminated, truncated, _ = env.step(second)
            assert (terminated, truncated) == (True, False)
            assert reward == pytest.approx(TOY_PROBS[first][second], rel=1e-6)
            assert observation.tolist() == [first, second]


def test_the_registered_vector_environment_equals_gymnasiums_own_loop_over_single_ones():
    world = {"space": SequenceSpace(3, 4, end_id=0), "reward_function": weighted_sum}
    ours = gymnasium.make_vec("rlgan/Token-v0", num_envs=5, **world)
    loop = gymnasium.make_vec("rlgan/Token-v0", num_envs=5, vectorization_mode="sync", **world)
    assert isinstance(ours.unwrapped, TokenVectorEnv)
    assert ours.metadata["autoreset_mode"] == loop.metadata["autoreset_mode"]
    assert ours.observation_space == loop.observation_space
    assert ours.action_space == loop.action_space
    np.testing.assert_array_equal(ours.reset(seed=1)[0], loop.reset(seed=1)[0])
    rng = np.random.default_rng(0)
    num_ends = 0
    for _ in range(60):
        actions = rng.integers(3, size=5)
        for mine, theirs in zip(ours.step(actions)[:4], loop.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(mine, theirs)
            assert mine.dtype == theirs.dtype
        num_ends += int(ours.unwrapped._finished.sum())
    assert num_ends > 30


def test_a_reset_in_the_middle_begins_anew():
    env = TokenVectorEnv(2, SequenceSpace(3, 2), weighted_sum)
    env.reset()
    env.step(np.array([0, 1]))
    assert (env.reset()[0] == 3).all()
    assert not env.step(np.array([0, 1]))[2].any()
    assert env.step(np.array([0, 1]))[2].all()


def test_the_reward_function_sees_padding_and_mask_and_no_gradient():
    seen = []

    def record(tokens, mask):
        seen.append((tokens.tolist(), mask.tolist(), torch.is_grad_enabled()))
        return torch.nn.Parameter(torch.ones(len(tokens)))

    env = TokenEnv(SequenceSpace(4, 3, end_id=2), record)
    env.reset()
    env.step(1)
    env.step(2)
    assert seen == [([[1, 2, 2]], [[True, True, False]], False)]


def test_illegal_actions_say_what_is_legal():
    env = TokenEnv(SequenceSpace(4, 3), weighted_sum)
    env.reset()
    with pytest.raises(InvalidAction, match=r"action \[4\] \(int64\): expected integer token ids 0..3"):
        env.step(4)
    vector = TokenVectorEnv(2, SequenceSpace(4, 3), weighted_sum)
    vector.reset()
    with pytest.raises(InvalidAction, match=r"shape \(3,\): expected \(2,\)"):
        vector.step(np.zeros(3, dtype=np.int64))


@pytest.mark.parametrize("env", [TokenEnv(), TokenVectorEnv(2)], ids=["one", "many"])
def test_a_step_before_the_first_reset_is_refused(env):
    with pytest.raises(ResetNeeded, match=r"Call reset\(\) first"):
        env.step(env.action_space.sample())


def test_the_probability_of_a_sequence_leaves_its_padding_out():
    class HalfEach:
        def logprobs(self, tokens):
            return torch.full(tokens.shape, 0.5).log()

    tokens = torch.tensor([[1, 1, 1], [1, 0, 0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    assert SequenceProbability(HalfEach())(tokens, mask).tolist() == pytest.approx([1 / 8, 1 / 4])


# Sequences that are given something.

GIVEN = SequenceSpace(3, 2, end_id=1)
CONDITIONS = torch.tensor([[0, 2], [0, 1], [1, 1], [2, 2]])


def given_sum(tokens: torch.Tensor, mask: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
    """A reward that depends on every token, its place, the mask and the condition."""
    return weighted_sum(tokens, mask) + (conditions * torch.tensor([100, 1000])).sum(1)


def given_world(space: SequenceSpace = WORLDS[1]) -> dict[str, object]:
    return {"space": space, "reward_function": given_sum, "conditions": CONDITIONS, "condition_space": GIVEN}


@pytest.mark.parametrize("space", WORLDS, ids=str)
def test_a_sequence_that_is_given_something_keeps_the_contract(space):
    check_token_env(TokenEnv(**given_world(space)))


@pytest.mark.parametrize("space", WORLDS, ids=str)
@pytest.mark.parametrize("num_envs", [1, 4])
def test_many_sequences_that_are_given_something_equal_single_ones(space, num_envs):
    check_token_vector_env(TokenVectorEnv(num_envs, **given_world(space)))


def test_the_condition_stands_before_the_prefix_and_reaches_the_reward_function():
    seen = []

    def record(tokens, mask, conditions):
        seen.append((tokens.tolist(), mask.tolist(), conditions.tolist(), torch.is_grad_enabled()))
        conditions.zero_()  # its own copy
        return torch.nn.Parameter(torch.ones(len(tokens)))

    env = TokenEnv(SequenceSpace(4, 3, end_id=2), record, torch.tensor([[0, 2]]), GIVEN)
    assert env.observation_space.nvec.tolist() == [3, 3, 5, 5, 5]
    assert env.reset()[0].tolist() == [0, 2, 4, 4, 4]
    assert env.step(1)[0].tolist() == [0, 2, 1, 4, 4]
    observation, reward, terminated, _, _ = env.step(2)
    assert (observation.tolist(), reward, terminated) == ([0, 2, 1, 2, 4], 1.0, True)
    assert seen == [([[1, 2, 2]], [[True, True, False]], [[0, 2]], False)]


@pytest.mark.parametrize("num_envs", [None, 3])
def test_conditions_are_drawn_uniformly_and_by_the_seed(num_envs):
    env = TokenEnv(**given_world()) if num_envs is None else TokenVectorEnv(num_envs, **given_world())

    def draw(seed=None):
        return env.reset(seed=seed)[0].reshape(-1, 7)[:, :2].tolist()

    first = [draw(0), *(draw() for _ in range(400))]
    again = [draw(0), *(draw() for _ in range(400))]
    assert first == again != [draw(1), *(draw() for _ in range(400))]
    drawn = [tuple(one) for batch in first for one in batch]
    for condition in CONDITIONS.tolist():
        assert drawn.count(tuple(condition)) / len(drawn) == pytest.approx(1 / 4, abs=0.1)


def test_a_registered_environment_with_conditions_equals_gymnasiums_own_loop():
    task = build_task(TransductionTask(vocab_size=3, max_length=3, ends=True, num_train=20))
    world = {
        "space": task.space,
        "reward_function": ConditionalProbability(task.conditions.law),
        "conditions": task.conditions.train,
        "condition_space": task.conditions.space,
    }
    check_token_env(gymnasium.make("rlgan/Token-v0", **world).unwrapped)
    ours = gymnasium.make_vec("rlgan/Token-v0", num_envs=4, **world)
    loop = gymnasium.make_vec("rlgan/Token-v0", num_envs=4, vectorization_mode="sync", **world)
    assert ours.observation_space == loop.observation_space
    np.testing.assert_array_equal(ours.reset(seed=1)[0], loop.reset(seed=1)[0])
    rng = np.random.default_rng(0)
    paid = 0.0
    for _ in range(60):
        actions = rng.integers(3, size=4)
        for mine, theirs in zip(ours.step(actions)[:4], loop.step(actions)[:4], strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-6)
            assert mine.dtype == theirs.dtype
        paid += float(ours.unwrapped._finished.sum())
    assert paid > 30


def test_the_probability_given_a_condition_is_that_of_its_law():
    task = build_task(TransductionTask(vocab_size=4, max_length=2, num_train=5, rule={"kind": "copy", "noise": 0.2}))
    reward = ConditionalProbability(task.conditions.law)
    check_reward_function(reward, task.space, task.conditions.space)
    tokens, mask = torch.tensor([[1, 2], [1, 2]]), torch.ones(2, 2, dtype=torch.bool)
    assert reward(tokens, mask, torch.tensor([[1, 2], [3, 2]])).tolist() == pytest.approx([0.85**2, 0.05 * 0.85])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"condition_space": None}, ConfigError, "condition_space=None: conditions is given"),
        ({"conditions": None}, ConfigError, "conditions=None: condition_space is given"),
        ({"space": None, "reward_function": None}, ConfigError, "the toy world is given nothing"),
        ({"conditions": CONDITIONS[:0]}, ConfigError, "conditions: holds none"),
        ({"conditions": CONDITIONS[:, :1]}, ShapeError, r"shape \(4, 1\).*expected \(n, 2\) int64"),
        ({"conditions": CONDITIONS.int()}, ShapeError, "torch.int32: expected"),
        ({"conditions": CONDITIONS + 1}, ShapeError, "holds ids 1..3: condition_space has 0..2"),
        ({"conditions": torch.tensor([[1, 0]])}, ShapeError, "other ids than padding after a terminator"),
    ],
)
def test_conditions_that_do_not_fit_are_refused(changes, error, message):
    for make in (TokenEnv, TokenVectorEnv):
        with pytest.raises(error, match=message):
            make(**(given_world() | changes))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"space": SequenceSpace(3, 2)}, "reward_function=None: space is given"),
        ({"reward_function": weighted_sum}, "space=None: reward_function is given"),
    ],
)
def test_half_a_world_is_refused(arguments, message):
    for make in (TokenEnv, TokenVectorEnv):
        with pytest.raises(ConfigError, match=message):
            make(**arguments)


def test_no_environments_are_refused():
    with pytest.raises(ConfigError, match="num_envs=0: needs at least 1"):
        TokenVectorEnv(0)


def test_a_reward_of_the_wrong_shape_is_refused():
    env = TokenEnv(SequenceSpace(3, 1), lambda tokens, mask: tokens.float())
    env.reset()
    with pytest.raises(ShapeError, match=r"returned shape \(1, 1\) for 1 sequences; expected \(1,\)"):
        env.step(0)


# The checks themselves: each broken promise is named.


def test_a_good_reward_function_passes():
    check_reward_function(weighted_sum, SequenceSpace(4, 3, end_id=0))


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (lambda tokens, mask: weighted_sum(tokens, mask).unsqueeze(1), "shape"),
        (lambda tokens, mask: weighted_sum(tokens, mask).long(), "float"),
        (lambda tokens, mask: weighted_sum(tokens, mask) / 0, "NaN or infinity"),
        (lambda tokens, mask: weighted_sum(tokens.zero_(), mask), "changes the tensors"),
        (lambda tokens, mask: weighted_sum(tokens, mask) + torch.rand(()), "second time"),
        (lambda tokens, mask: weighted_sum(tokens, mask) - weighted_sum(tokens, mask).mean(), "other sequences"),
    ],
)
def test_bad_reward_functions_are_noticed(reward, message):
    with pytest.raises(AssertionError, match=message):
        check_reward_function(reward, SequenceSpace(4, 3))


class NeverEnds(TokenEnv):
    def step(self, action):
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, False, truncated, info


class PaysEarly(TokenEnv):
    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, reward + 1.0, *rest


class SharesItsState(TokenEnv):
    def step(self, action):
        observation, *rest = super().step(action)
        return self._state[0], *rest


class Truncates(TokenEnv):
    def step(self, action):
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, terminated, info


class Forgives(TokenEnv):
    def step(self, action):
        return super().step(int(np.clip(action or 0, 0, 3)))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (NeverEnds, "terminated=False"),
        (PaysEarly, "reward"),
        (SharesItsState, "handed out"),
        (Truncates, "truncated"),
        (Forgives, "is accepted"),
    ],
)
def test_broken_environments_are_noticed(broken, message):
    with pytest.raises(AssertionError, match=message):
        check_token_env(broken(SequenceSpace(4, 3), weighted_sum))


class AlwaysTheFirst(TokenEnv):
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._state[0, :2] = self.conditions[0]
        return self._state[0].copy(), {}


class ForgetsItsSeed(TokenEnv):
    def reset(self, *, seed=None, options=None):
        super().reset()
        return self._state[0].copy(), {}


class ShowsAnother(TokenEnv):
    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        return np.concatenate([observation[1::-1], observation[2:]]), info


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (AlwaysTheFirst, "same condition"),
        (ForgetsItsSeed, "seed|random"),
        (ShowsAnother, "none of the conditions|observation"),
    ],
)
def test_environments_that_draw_conditions_wrongly_are_noticed(broken, message):
    conditions = torch.cartesian_prod(torch.arange(200), torch.tensor([0]))
    world = {"conditions": conditions, "condition_space": SequenceSpace(200, 2)}
    with pytest.raises(AssertionError, match=message):
        check_token_env(broken(SequenceSpace(3, 2), given_sum, **world))


class ForgetsToBeginAgain(TokenVectorEnv):
    def step(self, actions):
        result = super().step(np.minimum(actions, self.space.vocab_size - 1))
        self._finished = self._finished & False
        self._num_tokens %= self.space.max_length
        return result


def test_a_vector_environment_out_of_step_is_noticed():
    with pytest.raises(AssertionError, match="differ|alone"):
        check_token_vector_env(ForgetsToBeginAgain(2, SequenceSpace(4, 3), weighted_sum))


def test_tasks_that_break_their_promise_are_noticed():
    from dataclasses import replace

    from rlgan.envs import ToyTask, build_task

    task = build_task(ToyTask(vocab_size=3, max_length=3, ends=True))
    unpadded = task.train.clone()
    unpadded[0] = torch.tensor([1, 0, 2])
    for broken, message in [
        (replace(task, train=unpadded), "train is not padded"),
        (replace(task, valid=task.valid.float()), "valid is torch.float32"),
        (replace(task, test=task.test + 1), "test holds ids outside"),
        (replace(task, test=task.test[:0]), "test is empty"),
        (replace(task, train=task.train[:, :2]), r"expected \(n, 3\)"),
        (replace(task, token_names=("a", "b")), "2 token names for V=3"),
        (replace(task, oracle=build_task(ToyTask(vocab_size=4, max_length=3)).oracle), "sum to|impossible|ids"),
    ]:
        with pytest.raises(AssertionError, match=message):
            check_task(broken)


def test_random_sequences_are_finished_and_repeat_with_the_seed():
    space = SequenceSpace(3, 6, end_id=1)
    first = random_sequences(space, 50, seed=0)
    assert torch.equal(first, random_sequences(space, 50, seed=0))
    assert not torch.equal(first, random_sequences(space, 50, seed=1))
