"""The environments keep their contract, are equal to each other, and the checks notice what breaks it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env

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
from tests.support.errors import refused

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


def worlds_with_options() -> list[dict[str, object]]:
    """Every world, with every option that it takes."""
    found: list[dict[str, object]] = []
    for space in WORLDS:
        for ends_together in (False, True) if space.end_id is not None else (False,):
            for observes_mask in (False, True) if space.end_id is not None else (False,):
                found.append({"space": space, "ends_together": ends_together, "observes_mask": observes_mask})
    return found


@pytest.mark.parametrize("world", worlds_with_options(), ids=str)
def test_one_sequence_keeps_the_contract(world):
    check_token_env(TokenEnv(reward_function=weighted_sum, **world))


@pytest.mark.parametrize("world", worlds_with_options(), ids=str)
@pytest.mark.parametrize("num_envs", [1, 4])
def test_many_sequences_equal_single_ones_side_by_side(world, num_envs):
    check_token_vector_env(TokenVectorEnv(num_envs, reward_function=weighted_sum, **world))


def test_a_sequence_that_waits_for_the_horizon_is_paid_there_and_reads_no_action():
    env = TokenEnv(SequenceSpace(4, 4, end_id=2), weighted_sum, ends_together=True)
    _, info = env.reset()
    assert info["action_mask"].tolist() == [1, 1, 1, 1]
    assert env.step(1)[4]["action_mask"].tolist() == [1, 1, 1, 1]
    observation, reward, terminated, _, info = env.step(2)
    assert (observation.tolist(), reward, terminated) == ([1, 2, 4, 4], 0.0, False)
    assert info["action_mask"].tolist() == env.action_masks().tolist() == [0, 0, 1, 0]
    assert env.action_space.sample(mask=info["action_mask"]) == 2
    assert env.step(3)[0].tolist() == [1, 2, 2, 4]
    observation, reward, terminated, _, info = env.step(0)
    # (1 + 0.5) · 1 + (2 + 0.5) · 2, the mask leaving padding out
    assert (observation.tolist(), reward, terminated, info["text"]) == ([1, 2, 2, 2], 6.5, True, "1 2")


def test_sequences_that_wait_are_scored_in_one_call():
    batches = []

    def record(tokens, mask):
        batches.append(tokens.tolist())
        return weighted_sum(tokens, mask)

    script = [[1, 2, 1], [2, 0, 0], [1, 0, 2]]  # an action a step of each sequence
    for together, expected in ((True, [script_ended(script, 2)]), (False, [[[2, 2, 2]], [[1, 2, 2]], [[1, 0, 2]]])):
        batches.clear()
        env = TokenVectorEnv(3, SequenceSpace(3, 3, end_id=2), record, ends_together=together)
        env.reset()
        for t in range(3):
            env.step(np.array([row[t] for row in script]))
        assert batches == expected


def script_ended(script, end):
    return [row[: row.index(end) + 1] + [end] * (len(row) - row.index(end) - 1) for row in script]


def test_text_and_frames_are_those_of_the_task():
    names = ["<end>", "a", "b"]

    def decode(tokens):
        return ["".join(names[token] for token in row if token) for row in tokens.tolist()]

    world = {"space": SequenceSpace(3, 3, end_id=0), "reward_function": weighted_sum, "decode": decode}
    env = TokenEnv(**world, render_mode="ansi")
    with pytest.raises(ResetNeeded, match="render: no sequence has been started"):
        env.render()
    env.reset()
    frames = [env.render()]
    for action in (1, 2):
        assert "text" not in env.step(action)[4]
        frames.append(env.render())
    assert env.step(0)[4]["text"] == "ab"
    assert [*frames, env.render()] == ["", "a", "ab", "ab"]

    vector = TokenVectorEnv(2, **world, render_mode="ansi")
    vector.reset()
    assert vector.render() == ("", "")
    _, _, _, _, infos = vector.step(np.array([2, 0]))
    assert vector.render() == ("b", "")
    assert infos["text"].tolist() == [None, ""] and infos["_text"].tolist() == [False, True]
    assert TokenEnv(**world).render() is None


def test_a_condition_is_shown_above_the_sequence(capsys):
    world = given_world() | {"decode_condition": lambda rows: ["source " + "".join(map(str, rows[0].tolist()))]}
    env = TokenEnv(**world, render_mode="ansi")
    env.reset(options={"condition": [0, 2]})
    env.step(3)
    assert env.render() == "source 02\n3"
    human = TokenEnv(**world, render_mode="human")
    human.reset(options={"condition": [1, 1]})
    human.step(1)
    assert capsys.readouterr().out == "source 11\n\nsource 11\n1\n" and human.render() is None
    many = TokenVectorEnv(2, **world, render_mode="human")
    many.reset(options={"conditions": [[1, 1], [2, 2]]})
    assert capsys.readouterr().out == "source 11\n\nsource 22\n\n" and many.render() is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefix": [1]}, "reset_options: 'prefix'.*'condition'"),
        ({"condition": [0]}, r"conditions_shape: 'condition'.*\(1, 1\)"),
        ({"condition": [1, 0]}, "conditions_padding"),
        ({"condition": [[0, 2], [0, 1]]}, "reset_conditions_number"),
    ],
)
def test_a_reset_to_what_is_no_condition_is_refused(options, message):
    with refused((ConfigError, ShapeError), message):
        TokenEnv(**given_world()).reset(options=options)
    if "condition" in options:
        with refused(ConfigError, "reset_without_conditions"):
            TokenEnv().reset(options=options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": SequenceSpace(3, 2), "ends_together": True}, "ends_together=True: .* no terminator.* 2 tokens"),
        ({"space": SequenceSpace(3, 2), "observes_mask": True}, "observes_mask=True: .* no terminator"),
        ({"render_mode": "rgb_array"}, "render_mode='rgb_array': must be one of 'ansi', 'human'"),
        ({"decode_condition": str}, "decode_condition: has no effect"),
    ],
)
def test_options_without_effect_are_refused(changes, message):
    for make in (TokenEnv, TokenVectorEnv):
        with pytest.raises(ConfigError, match=message):
            make(**({"space": SequenceSpace(3, 2, end_id=0), "reward_function": weighted_sum} | changes))


BY_NAME = """
import sys
import gymnasium
from gymnasium.utils.env_checker import check_env

env = gymnasium.make("rlgan.envs:rlgan/Token-v0")
check_env(env.unwrapped)
observation, info = env.reset(seed=0)
while True:
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    if terminated:
        break
many = gymnasium.make_vec("rlgan.envs:rlgan/Token-v0", num_envs=3)
print(info["text"].count(" "), 0 < reward < 1, many.reset()[0].shape, "ray" in sys.modules)
"""


@pytest.mark.heavy
def test_a_fresh_process_makes_it_by_name_without_an_import_of_ours():
    described = subprocess.run(
        [sys.executable, "-W", "error", "-c", BY_NAME],
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    # Above it stands what the check of the mode "human" prints.
    assert (described.returncode, described.stdout.splitlines()[-1:]) == (0, ["1 True (3, 2) False"]), described.stderr


@pytest.mark.parametrize("ends_together", [False, True])
def test_gymnasiums_own_checks_take_every_render_mode(ends_together):
    world = {"space": SequenceSpace(3, 3, end_id=0), "reward_function": weighted_sum, "ends_together": ends_together}
    for mode in (None, "ansi", "human"):
        check_env(gymnasium.make("rlgan/Token-v0", render_mode=mode, **world).unwrapped)


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


@pytest.mark.parametrize("world", worlds_with_options(), ids=str)
def test_a_sequence_that_is_given_something_keeps_the_contract(world):
    check_token_env(TokenEnv(**(given_world() | world)))


@pytest.mark.parametrize("world", worlds_with_options(), ids=str)
@pytest.mark.parametrize("num_envs", [1, 4])
def test_many_sequences_that_are_given_something_equal_single_ones(world, num_envs):
    check_token_vector_env(TokenVectorEnv(num_envs, **(given_world() | world)))


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
        "reward_function": ConditionalProbability(task.conditions.distribution),
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


def test_the_probability_given_a_condition_is_that_of_its_distribution():
    task = build_task(TransductionTask(vocab_size=4, max_length=2, num_train=5, rule={"kind": "copy", "noise": 0.2}))
    reward = ConditionalProbability(task.conditions.distribution)
    check_reward_function(reward, task.space, task.conditions.space)
    tokens, mask = torch.tensor([[1, 2], [1, 2]]), torch.ones(2, 2, dtype=torch.bool)
    assert reward(tokens, mask, torch.tensor([[1, 2], [3, 2]])).tolist() == pytest.approx([0.85**2, 0.05 * 0.85])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"condition_space": None}, ConfigError, "condition_space=None: must be given together with conditions"),
        ({"conditions": None}, ConfigError, "conditions=None: must be given together with condition_space"),
        ({"space": None, "reward_function": None}, ConfigError, "the default toy environment has none"),
        ({"conditions": CONDITIONS[:0]}, ConfigError, "conditions: is empty"),
        ({"conditions": CONDITIONS[:, :1]}, ShapeError, r"shape \(4, 1\).*expected \(n, 2\) int64"),
        ({"conditions": CONDITIONS.int()}, ShapeError, "torch.int32: expected"),
        ({"conditions": CONDITIONS + 1}, ShapeError, "holds ids 1..3: condition_space has 0..2"),
        ({"conditions": torch.tensor([[1, 0]])}, ShapeError, "ids other than padding after a terminator"),
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
    with refused(ConfigError, "num_envs", {"num_envs": 0}):
        TokenVectorEnv(0)


def test_a_reward_of_the_wrong_shape_is_refused():
    env = TokenEnv(SequenceSpace(3, 1), lambda tokens, mask: tokens.float())
    env.reset()
    with refused(ShapeError, "reward_function_shape", match=r"\(1, 1\).*\(1,\)"):
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
        (lambda tokens, mask: weighted_sum(tokens.zero_(), mask), "modifies its input tensors"),
        (lambda tokens, mask: weighted_sum(tokens, mask) + torch.rand(()), "called again"),
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
        (SharesItsState, "returned earlier"),
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
        (ShowsAnother, "not one of the conditions|observation"),
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
