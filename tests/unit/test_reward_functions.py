"""Reward functions of one's own: known by their signature, added up with weights, held to what they promise."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from rlgan.base.errors import ConfigError, PluginError
from rlgan.base.seeding import stream, stream_seed
from rlgan.envs.tasks import build_task
from rlgan.envs.tasks.task import Task
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.policy.credit import MonteCarlo, Terminal
from rlgan.policy.reward_base import Finished
from rlgan.policy.reward_functions import (
    PluginReward,
    RewardFunctions,
    WeightedFunction,
    check_functions,
    described_rewards,
    texts_of,
)
from tests.support.errors import refused
from tests.support.tiny import PAIRS, TASK, tiny_config

NUMBER = 5
FORMS = "f(tokens, mask) or f(tokens, mask, conditions)"


@pytest.fixture(scope="module")
def plain() -> Task:
    return build_task(TASK)


@pytest.fixture(scope="module")
def pairs() -> Task:
    return build_task(PAIRS)


Write = Callable[..., WeightedFunction]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Settings of the function `f` of a file with this text."""

    def written(text: str, name: str = "f", **settings: Any) -> WeightedFunction:
        path = tmp_path / f"mine{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        return WeightedFunction(name=f"{path}:{name}", **settings)

    return written


def rows_of(task: Task, seed: int = 0) -> Finished:
    given = task.conditions
    tokens = random_sequences(task.space, NUMBER, 3)
    conditions = None if given is None else given.train[:NUMBER].long()
    targets = None if given is None else task.train[:NUMBER].long()
    return Finished(tokens, sequence_mask(task.space, tokens), conditions, targets, seed)


def functions(task: Task, *plugins: WeightedFunction, timeout_s: float = 60.0) -> RewardFunctions:
    return RewardFunctions(plugins, texts_of(task), timeout_s)


# Forms


def test_function_of_tokens_gets_copies_of_them(plain: Task, write: Write) -> None:
    plugin = write(
        "def f(tokens, mask):\n    score = tokens.sum(1).float() / mask.sum(1)\n    tokens.zero_()\n    return score"
    )
    rows = rows_of(plain)
    expected = rows.tokens.sum(1).float() / rows.mask.sum(1)
    assert torch.equal(functions(plain, plugin)(rows).scores, expected)


def test_function_of_tokens_and_conditions(pairs: Task, write: Write) -> None:
    plugin = write("def f(tokens, mask, conditions, targets):\n    return conditions[:, 0] * 10 + targets[:, 0]")
    rows = rows_of(pairs)
    assert rows.conditions is not None and rows.targets is not None
    expected = (rows.conditions[:, 0] * 10 + rows.targets[:, 0]).float()
    assert torch.equal(functions(pairs, plugin)(rows).scores, expected)


def test_function_of_texts_gets_what_people_read(pairs: Task, write: Write) -> None:
    plugin = write(
        "def f(prompts, completions, completion_ids, targets, **columns):\n"
        "    assert set(columns) == {'trainer_state', 'log_metric', 'log_extra'}\n"
        "    global SEEN\n"
        "    SEEN = prompts, completions, completion_ids, targets\n"
        "    return [len(text) for text in completions]"
    )
    rows = rows_of(pairs)
    assert pairs.conditions is not None and rows.conditions is not None and rows.targets is not None
    total = functions(pairs, plugin)(rows).scores
    prompts, completions, ids, targets = plugin.load().object.__globals__["SEEN"]
    assert prompts == pairs.conditions.decode(rows.conditions)
    assert completions == pairs.decode(rows.tokens) and targets == pairs.decode(rows.targets)
    assert ids == [row[:length] for row, length in zip(rows.tokens.tolist(), rows.mask.sum(1).tolist(), strict=True)]
    assert total.tolist() == [len(text) for text in completions]


def test_keyword_arguments_get_prompts_which_are_empty_where_nothing_is_given(plain: Task, write: Write) -> None:
    plugin = write("def f(completions, **kwargs):\n    return [len(kwargs['prompts'][0]) for _ in completions]")
    assert functions(plain, plugin)(rows_of(plain)).scores.tolist() == [0.0] * NUMBER


def test_class_is_built_with_its_options_and_function_called_with_them(plain: Task, write: Write) -> None:
    text = (
        "class C:\n    def __init__(self, scale):\n        self.scale = scale\n"
        "    def __call__(self, completions, **kwargs):\n        return [self.scale] * len(completions)\n"
        "def f(completions, scale=1.0):\n    return [scale] * len(completions)\n"
    )
    for name in ("C", "f"):
        plugin = write(text, name, options={"scale": 3})
        assert functions(plain, plugin)(rows_of(plain)).scores.tolist() == [3.0] * NUMBER


def test_network_is_a_function_of_tokens(plain: Task, write: Write) -> None:
    plugin = write(
        "import torch\nclass Net(torch.nn.Module):\n    def forward(self, tokens, mask):\n"
        "        return torch.ones(len(tokens), requires_grad=True) * 2\n",
        "Net",
    )
    total = functions(plain, plugin)(rows_of(plain)).scores
    assert total.tolist() == [2.0] * NUMBER and not total.requires_grad


def test_seed_and_rng_are_of_the_batch_and_of_the_function(plain: Task, write: Write) -> None:
    plugin = write("import torch\ndef f(completions, rng):\n    return torch.rand(len(completions), generator=rng)")
    first, again, other = (functions(plain, plugin)(rows_of(plain, seed)).scores for seed in (1, 1, 2))
    assert torch.equal(first, torch.rand(NUMBER, generator=stream(1, "reward", "f")))
    assert torch.equal(first, again) and not torch.equal(first, other)
    plugin = write("def f(completions, seed):\n    return [float(seed % 1000)] * len(completions)")
    assert functions(plain, plugin)(rows_of(plain, 7)).scores[0] == stream_seed(7, "reward", "f") % 1000


# Sums


def test_sum_with_weights_leaves_out_what_a_function_did_not_judge(plain: Task, write: Write) -> None:
    first = write("def a(completions):\n    return [1, None, 3, 4, None]", "a", weight=2.0)
    second = write("def b(completions):\n    return [None, 20, 30, 0.5, 7]", "b", weight=-0.5)
    found = functions(plain, first, second)(rows_of(plain))
    # 2·1;  -0.5·20;  2·3 - 0.5·30;  2·4 - 0.5·0.5;  -0.5·7
    assert found.scores.tolist() == [2.0, -10.0, -9.0, 7.75, -3.5]
    metrics = described_rewards(["a", "b"], found.parts)
    # a: mean of 1, 3, 4, variance (25 + 1 + 16)/9/3... in thirds: (-5, 1, 4)/3 → 42/27
    assert metrics["reward/a_mean"] == pytest.approx(8 / 3) and metrics["reward/a_std"] == pytest.approx(
        (42 / 27) ** 0.5
    )
    assert metrics["reward/b_mean"] == pytest.approx(57.5 / 4)


def test_row_that_nobody_judges_has_no_score(plain: Task, write: Write) -> None:
    first = write("def a(completions):\n    return [1, None, 3, 4, None]", "a")
    second = write("def b(completions):\n    return [1, 1, 1, 1, None]", "b")
    found = functions(plain, first, second)(rows_of(plain)).scores
    assert found[:4].tolist() == [2.0, 1.0, 4.0, 5.0] and bool(found[4].isnan())


def test_function_that_judged_nothing_has_no_metrics() -> None:
    each = torch.tensor([[1.0, float("nan")], [2.0, float("nan")]])
    assert described_rewards(["a", "b"], each) == {"reward/a_mean": 1.5, "reward/a_std": 0.5}


# What can be wrong, when it happens


@pytest.mark.parametrize(
    ("returned", "described"),
    [
        ("[1.0] * 4", "returned 4 rewards for 5 sequences"),
        ("1.0", "returned 1.0 (float) for 5 sequences"),
        ("'abcde'", "returned 'abcde' (str) for 5 sequences"),
        ("None", "returned None (NoneType) for 5 sequences"),
        ("torch.tensor(1.0)", "returned Tensor of shape () for 5 sequences"),
        ("[1.0, 1.0, float('nan'), 1.0, 1.0]", "returned nan (float) for row 2 of 5, "),
        ("torch.tensor([1.0, float('inf'), 0.0, 0.0, 0.0])", "returned inf (float) for row 1 of 5, "),
        ("[1.0, 1.0, 1.0, '1.0', 1.0]", "returned '1.0' (str) for row 3 of 5, "),
        ("torch.zeros(5, 2)", "returned [0.0, 0.0] (list) for row 0 of 5, "),
    ],
)
def test_what_is_no_reward_is_told_with_function_and_row(
    plain: Task, write: Write, returned: str, described: str
) -> None:
    plugin = write(f"import torch\ndef f(completions):\n    return {returned}")
    with pytest.raises(PluginError) as raised:
        functions(plain, plugin)(rows_of(plain))
    message = str(raised.value)
    assert message.startswith("reward function 'f' (") and described in message
    assert "Return a list or a one-dimensional tensor of 5 finite numbers" in message


@pytest.mark.parametrize(
    "returned", ["np.ones(5)", "[torch.tensor(1.0)] * 5", "(1,) * 5", "[True] * 5", "[np.float32(1)] * 5"]
)
def test_numbers_of_every_library_are_taken(plain: Task, write: Write, returned: str) -> None:
    plugin = write(f"import numpy as np, torch\ndef f(completions):\n    return {returned}")
    assert functions(plain, plugin)(rows_of(plain)).scores.tolist() == [1.0] * NUMBER


def test_exception_names_function_row_and_the_users_own_lines(plain: Task, write: Write) -> None:
    rows = rows_of(plain)
    third = plain.decode(rows.tokens)[2]
    plugin = write(
        f"def helper(text):\n    return 1 / (text != {third!r})\n\n"
        "def f(completions):\n    return [helper(text) for text in completions]"
    )
    with pytest.raises(PluginError) as raised:
        functions(plain, plugin)(rows)
    message = str(raised.value)
    assert f"raised ZeroDivisionError: division by zero; the first such row is row 2 of 5, {third!r}" in message
    assert "line 5, in f\n" in message or "line 5, in <listcomp>\n" in message
    assert f"line 2, in helper\n    return 1 / (text != {third!r})" in message
    assert "threading.py" not in message and "reward_functions.py" not in message


def test_what_a_function_refuses_is_told_in_its_own_words(plain: Task, write: Write) -> None:
    plugin = write(
        "from rlgan.base.errors import ConfigError\ndef f(completions):\n"
        "    raise ConfigError('options.x=3: must be 2.', code='of_f', fields={'x': 3})"
    )
    with refused(PluginError, "of_f", {"x": 3}) as raised:
        functions(plain, plugin)(rows_of(plain))
    assert str(raised.value).endswith(": options.x=3: must be 2.")  # no "Fix it", no lines of the file
    built = write(
        "from rlgan.base.errors import ConfigError\nclass f:\n    def __init__(self, x=3):\n"
        "        raise ConfigError('options.x=3: must be 2.', code='of_f')\n"
        "    def __call__(self, completions):\n        return []"
    )
    with refused(ConfigError, "of_f", match="reward plug-in .*: options.x=3: must be 2.$"):
        functions(plain, built)(rows_of(plain))


def test_exception_of_the_batch_says_that_it_is_of_no_row(plain: Task, write: Write) -> None:
    plugin = write("def f(completions):\n    assert len(completions) == 1\n    return [1.0]")
    with refused(PluginError, "reward_raised"):
        functions(plain, plugin)(rows_of(plain))


@pytest.mark.parametrize("bad", [(0,), (617,), (999,), (300, 617), (511, 512)])
def test_row_that_raises_is_found_in_few_calls(plain: Task, write: Write, bad: tuple[int, ...]) -> None:
    length = plain.space.max_length
    tokens = torch.tensor([[number // 2**digit % 2 for digit in range(10)] for number in range(1000)])
    tokens = torch.cat([tokens, torch.zeros(1000, max(length - 10, 0), dtype=torch.int64)], dim=1)
    rows = Finished(tokens, torch.ones_like(tokens, dtype=torch.bool), None, None, 0)
    plugin = write(
        "CALLS = []\ndef f(tokens, mask):\n    CALLS.append(len(tokens))\n"
        "    numbers = {sum(int(digit) * 2**i for i, digit in enumerate(row)) for row in tokens}\n"
        f"    assert not numbers & {set(bad)}\n    return tokens.sum(1)"
    )
    with refused(PluginError, "reward_raised", match=f"row {bad[0]} of 1000"):
        functions(plain, plugin)(rows)
    assert len(plugin.load().object.__globals__["CALLS"]) <= 12  # the batch, ten halves, and the row


def test_looking_for_the_row_has_the_time_of_one_call(plain: Task, write: Write) -> None:
    plugin = write(
        "import threading\nGO_ON = threading.Event()\ndef f(completions):\n"
        "    if len(completions) == 5:\n        raise ValueError('all')\n    GO_ON.wait()\n    return []"
    )
    with refused(PluginError, "reward_raised"):
        functions(plain, plugin, timeout_s=0.2)(rows_of(plain))
    plugin.load().object.__globals__["GO_ON"].set()


def test_exit_of_the_process_is_an_error_of_the_function(plain: Task, write: Write) -> None:
    plugin = write("import sys\ndef f(completions):\n    sys.exit(3)")
    with refused(PluginError, "reward_raised"):
        functions(plain, plugin)(rows_of(plain))


def test_function_that_hangs_is_named_after_the_time_out(plain: Task, write: Write) -> None:
    plugin = write("import threading\nGO_ON = threading.Event()\ndef f(completions):\n    GO_ON.wait()\n    return []")
    with pytest.raises(PluginError) as raised:
        functions(plain, plugin, timeout_s=0.01)(rows_of(plain))
    assert "'f'" in str(raised.value) and "reward.timeout_s=0.01 seconds, for a batch of 5" in str(raised.value)
    plugin.load().object.__globals__["GO_ON"].set()
    for thread in threading.enumerate():
        if thread.name == "rlgan plug-in":
            thread.join()


# What can be wrong, before anything starts


@pytest.mark.parametrize(
    ("text", "described"),
    [
        ("def f(texts):\n    return []", "its signature (texts) is not supported"),
        ("def f(tokens):\n    return []", FORMS),
        ("f = 3", "is int, which is not callable"),
        ("class f:\n    pass", "its instances are not callable"),
        ("f = dict.fromkeys", FORMS),
        ("def f(tokens, mask, weight):\n    return []", "the parameter 'weight' has no default. Set"),
        ("class f:\n    def __init__(self, n): ...\n    def __call__(self, completions): ...", "options.n"),
    ],
)  # fmt: skip
def test_wrong_signature_is_told_when_the_configuration_is_built(write: Write, text: str, described: str) -> None:
    with pytest.raises(ValidationError) as raised:
        write(text)
    assert described in str(raised.value)


@pytest.mark.parametrize(
    ("credit", "timeout_s", "call_timeout_s", "is_refused"),
    [
        # 2 functions: the sequences, and once more to find the row that raises; continuations are one batch more.
        (Terminal(), 10.0, 40.0, False),
        (Terminal(), 10.0, 39.0, True),
        (MonteCarlo(), 10.0, 60.0, False),
        (MonteCarlo(), 10.0, 59.0, True),
    ],
)
def test_actor_has_time_for_all_functions(
    write: Write, credit: Terminal | MonteCarlo, timeout_s: float, call_timeout_s: float, is_refused: bool
) -> None:
    one = write("def f(completions):\n    return []")
    other = write("def g(completions):\n    return []", name="g")
    reward = PluginReward(functions=(one, other), timeout_s=timeout_s)

    def codes(rollout: int) -> list[str]:
        workers = tiny_config().workers.model_copy(update={"rollout": rollout, "call_timeout_s": call_timeout_s})
        config = tiny_config().model_copy(update={"reward": reward, "credit": credit, "workers": workers})
        return [problem.code for problem in config.problems()]

    assert ("actor_waits_for_rewards" in codes(2)) is is_refused
    assert "actor_waits_for_rewards" not in codes(0)  # nobody waits for an actor


def test_unknown_option_names_the_nearest(write: Write) -> None:
    with refused(ValidationError, "plugin_option_unknown", match="Did you mean 'scale'"):
        write("def f(completions, scale=1.0):\n    return []", options={"scael": 2})


def test_class_that_cannot_be_built_shows_its_lines(plain: Task, write: Write) -> None:
    text = (
        "class f:\n    def __init__(self):\n        raise OSError('no model')\n    def __call__(self, completions): ..."
    )
    with refused(PluginError, "plugin_build_raised") as raised:
        check_functions(functions(plain, write(text)), plain, 0)
    assert "line 3, in __init__" in str(raised.value)


def test_function_is_tried_on_the_empty_sequence_before_a_run(pairs: Task, write: Write) -> None:
    # No training sequence is empty, but a generator may draw one.
    plugin = write("def f(completions):\n    return [1 / len(text) for text in completions]")
    functions(pairs, plugin)(
        Finished(pairs.valid[:2].long(), sequence_mask(pairs.space, pairs.valid[:2]), None, None, 0)
    )
    with refused(PluginError, "reward_raised", match="''"):
        check_functions(functions(pairs, plugin), pairs, 0)


def test_function_that_is_random_by_itself_is_refused(plain: Task, write: Write) -> None:
    plugin = write("import random\ndef f(completions):\n    return [random.random() for _ in completions]")
    with refused(ConfigError, "reward_not_repeatable"):
        check_functions(functions(plain, plugin), plain, 0)
    check_functions(
        functions(plain, write("def f(completions, seed):\n    return [seed % 7] * len(completions)")), plain, 0
    )


@pytest.mark.parametrize("name", ["conditions", "targets"])
def test_function_that_needs_what_the_task_does_not_give(plain: Task, pairs: Task, write: Write, name: str) -> None:
    plugin = write(f"def f(tokens, mask, {name}):\n    return mask.sum(1)")
    with refused(ConfigError, "reward_parameter_no_default", match=f"'{name}'"):
        check_functions(functions(plain, plugin), plain, 0)
    check_functions(functions(pairs, plugin), pairs, 0)
    check_functions(functions(plain, write(f"def f(tokens, mask, {name}=None):\n    return mask.sum(1)")), plain, 0)


def test_functions_travel_by_pickle_and_are_built_where_they_are_called(plain: Task, write: Write) -> None:
    text = (
        "class C:\n    def __init__(self):\n        self.unpicklable = lambda: 2.0\n"
        "    def __call__(self, completions, **kwargs):\n        return [self.unpicklable()] * len(completions)\n"
    )
    whole = functions(plain, write(text, "C"))
    check_functions(whole, plain, 0)
    assert pickle.loads(pickle.dumps(whole))(rows_of(plain)).scores.tolist() == [2.0] * NUMBER
