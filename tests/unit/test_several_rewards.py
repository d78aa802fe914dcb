"""Several rewards at once, and classifiers of folders as rewards: how they are named, and what they score."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from rlgan.base.errors import ConfigError
from rlgan.config.paths import from_dict, override, to_dict
from rlgan.envs.tasks import Task, build_task
from rlgan.envs.transition import sequence_mask
from rlgan.extensions import admit, plugins_in, reading_a_folder
from rlgan.policy.credit import MonteCarlo
from rlgan.policy.frozen_classifier import FrozenClassifier
from rlgan.policy.logit_maps import Logit, Probability
from rlgan.policy.reward_base import Finished
from rlgan.policy.reward_functions import PluginReward, WeightedFunction, repeats
from tests.support.commands import ask
from tests.support.drawn import drawn_in
from tests.support.errors import refused
from tests.support.language_models import TEXTS, require, write_tokenizer
from tests.support.tiny import TASK, tiny_config

LENGTHS = "def short(completions):\n    return [-float(len(one)) for one in completions]\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(LENGTHS + "def long(completions):\n    return [float(len(one)) for one in completions]\n")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of one label."""
    require()
    return write_classifier(tmp_path_factory.mktemp("judge") / "nice", 1)


def write_classifier(folder: Path, num_labels: int, architecture: str = "bert") -> Path:
    import transformers

    write_tokenizer(folder)
    size = len(transformers.AutoTokenizer.from_pretrained(str(folder)))
    torch.manual_seed(1)
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    if architecture == "bert":
        config: Any = transformers.BertConfig(
            vocab_size=size, intermediate_size=16, max_position_embeddings=32, num_labels=num_labels, **sizes
        )
    else:
        config = transformers.Qwen2Config(
            vocab_size=size, intermediate_size=16, num_key_value_heads=2, num_labels=num_labels, **sizes
        )
    config.initializer_range = 0.5
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(str(folder))
    return folder


# Several


def test_reward_may_be_given_several_times(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["show-config", "seqgan", "--reward", f"{file}:short", "--reward", f"{file}:long"]
    answer = ask(capsys, *command, "--reward.functions.1.weight", "0.25")
    assert answer.status == 0, answer
    assert f"{file}:short" in answer.out and f"{file}:long" in answer.out and "0.25" in answer.out
    with_map = ask(capsys, *command, "--reward=logit")
    assert with_map.status == 0 and 'reward.map = "logit"' in with_map.out
    twice = ask(capsys, *command, "--reward", "logit", "--reward", "probability")
    assert twice.status == 2 and "at most one map" in twice.err


def test_functions_alone_where_there_is_no_discriminator(file: Path) -> None:
    schedule = {"schedule.discriminator_rounds": 0, "schedule.d_steps": 0}
    alone = override(tiny_config(), {"reward": f"{file}:short", "discriminator": None, **schedule})
    assert isinstance(alone.reward, PluginReward) and alone.reward.map is None
    beside = override(tiny_config(), {"reward": f"{file}:short"})
    assert isinstance(beside.reward, PluginReward) and beside.reward.map == Probability()
    asked = override(tiny_config(), {"reward": ["logit", f"{file}:short"], "reward.map_weight": 2.0})
    assert isinstance(asked.reward, PluginReward) and asked.reward.map == Logit() and asked.reward.map_weight == 2.0
    with refused(ConfigError, "rewards_cannot_be_added"):
        override(tiny_config(), {"reward": ["logit", "ratio"]})


def test_normalised_terms_are_of_finished_sequences(file: Path) -> None:
    reward = PluginReward(functions=({"name": f"{file}:short"},), normalise_terms=True)
    config = tiny_config().model_copy(update={"reward": reward, "credit": MonteCarlo(num_rollouts=1)})
    assert "terms_of_continuations" in [problem.code for problem in config.problems()]


def test_repeats_share_a_reward(file: Path) -> None:
    # Two sequences that are equal up to their end, whatever stands behind it, and one that is alone.
    tokens = torch.tensor([[3, 0, 5], [3, 4, 0], [3, 0, 7], [3, 4, 0]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 1, 0], [1, 1, 1]], dtype=torch.bool)
    scores = torch.tensor([1.0, 2.0, 1.0, 2.0])
    task = build_task(TASK)
    rollouts = drawn_in(task.space, tokens, scores=scores, mask=mask)
    reward = PluginReward(functions=({"name": f"{file}:short"},), map=None, divide_repeats=True)
    assert reward.of_sequences(rollouts, task, torch.Generator()).tolist() == [0.5, 1.0, 0.5, 1.0]
    assert repeats(rollouts).tolist() == [2.0, 2.0, 2.0, 2.0]
    # The batch of the specification: [A, A, B] with rewards of 1 is worth [.5, .5, 1].
    three = drawn_in(task.space, tokens[[0, 2, 1]], scores=torch.ones(3), mask=mask[[0, 2, 1]])
    assert reward.of_sequences(three, task, torch.Generator()).tolist() == [0.5, 0.5, 1.0]
    # Under another condition it is another sequence.
    apart = replace(three, conditions=torch.tensor([[1], [2], [1]]))
    assert repeats(apart).tolist() == [1.0, 1.0, 1.0]
    plain = reward.model_copy(update={"divide_repeats": False})
    assert plain.of_sequences(three, task, torch.Generator()).tolist() == [1.0, 1.0, 1.0]
    config = tiny_config().model_copy(update={"reward": reward, "credit": MonteCarlo(num_rollouts=1)})
    assert "repeats_of_continuations" in [problem.code for problem in config.problems()]


# Classifiers


def finished(task: Task) -> Finished:
    tokens = task.train[:7].long()
    return Finished(tokens, sequence_mask(task.space, tokens))


def test_folder_is_the_reward_of_its_logit_whatever_the_batch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    monkeypatch.chdir(folder.parent)
    config = override(tiny_config(), {"reward": "./nice", "reward.functions.0.options.batch": 3})
    assert isinstance(config.reward, PluginReward) and config.reward.functions[0].short_name == "nice"
    assert config.reward.functions[0].name == str(folder)  # wherever the run goes on
    task = build_task(TASK)
    scorer = config.reward.scorer(task)
    found = pickle.loads(pickle.dumps(scorer))(finished(task)).scores
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    network = transformers.AutoModelForSequenceClassification.from_pretrained(str(folder)).eval()
    for text, score in zip(task.decode(task.train[:7]), found.tolist(), strict=True):
        assert score == pytest.approx(network(**tokenizer(text, return_tensors="pt")).logits[0, 0].item(), abs=1e-5)


def test_one_of_several_labels_is_a_probability(tmp_path: Path) -> None:
    require()
    folder = write_classifier(tmp_path / "three", 3, "qwen2")
    with refused(ValidationError, "classifier_lacks_label", match="LABEL_0, LABEL_1, LABEL_2"):
        WeightedFunction(name=str(folder))
    with refused(ValidationError, "classifier_label"):
        WeightedFunction(name=str(folder), options={"label": "LABEL_7"})

    def scores(**options: Any) -> list[float]:
        plugin = WeightedFunction(name=str(folder), options=options)
        made: FrozenClassifier = plugin.load().object(**options)
        return made([""] * 4, list(TEXTS))

    each = [scores(label=label) for label in ("LABEL_0", 1, "LABEL_2")]
    assert [sum(one) for one in zip(*each, strict=True)] == pytest.approx([1.0] * 4)
    assert all(0.0 < one < 1.0 for one in each[0])
    assert scores(label=0, of="logit") != scores(label=0)


def test_what_a_classifier_reads(folder: Path) -> None:
    made: FrozenClassifier = WeightedFunction(name=str(folder)).load().object()
    alone: FrozenClassifier = WeightedFunction(name=str(folder)).load().object(reads="completion")
    pair: FrozenClassifier = WeightedFunction(name=str(folder)).load().object(reads="pair")
    prompt, text = TEXTS[0], TEXTS[1]
    chat = [{"role": "user", "content": prompt}]
    answer = [{"role": "assistant", "content": text}]
    assert made([prompt], [text]) == made([""], [prompt + text])
    template = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n{text}<|im_end|>\n"
    assert made([chat], [answer]) == pytest.approx(made([""], [template]))
    assert alone([prompt], [text]) == alone([""], [text]) == alone([chat], [answer]) == made([""], [text])
    assert pair([prompt], [text]) != made([prompt], [text])
    assert len(made(["", prompt], ["", "x" * 500])) == 2  # nothing, and more than it can read


@pytest.mark.parametrize(
    ("missing", "code"),
    [
        ("config.json", "plugin_folder"),
        ("tokenizer.json", "classifier_tokenizer"),
        ("heads", "classifier_architecture"),
    ],
)
def test_folders_that_are_no_classifier_are_told(tmp_path: Path, missing: str, code: str) -> None:
    require()
    folder = write_classifier(tmp_path / "broken", 1)
    if missing == "heads":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertForMaskedLM"]}))
    else:
        for name in (missing, *(("tokenizer_config.json",) if missing == "tokenizer.json" else ())):
            (folder / name).unlink()
    with refused(ValidationError, code):
        WeightedFunction(name=str(folder))
    with refused(ValidationError, "plugin_folder", match="broken"):
        WeightedFunction(name=str(tmp_path / "brokem"))


def test_run_does_not_go_on_with_another_classifier(tmp_path: Path) -> None:
    require()
    folder = write_classifier(tmp_path / "judge", 1)
    config = override(tiny_config(), {"reward": str(folder)})
    kept = to_dict(config)
    with reading_a_folder():
        again = from_dict(kept)
    admit(plugins_in(again), tmp_path, "run", trust_code=False)  # nothing of it is executed
    write_classifier(folder, 1, "qwen2")
    with pytest.raises(ConfigError, match="files:"):
        plugins_in(again)[0].load()
