"""A run's discriminator as a reward function of texts, as TRL calls one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import rlgan
from rlgan.base.errors import ConfigError
from rlgan.base.pretrained import ModelFolder
from rlgan.config.paths import to_dict
from rlgan.discriminators import CnnHighway, PairCnn, build_discriminator
from rlgan.envs.tasks import Task, TextTask, build_task, demonstrations_task
from rlgan.envs.transition import sequence_mask
from rlgan.policy.adversarial_reward import AdversarialReward
from rlgan.policy.logit_maps import Probability
from rlgan.storage.discriminator_export import save_run_discriminator
from tests.support.errors import refused
from tests.support.language_models import require, write_tokenizer
from tests.support.tiny import tiny_config

PAIR = PairCnn(embedding=4, windows=(1, 2), filters=(4, 4))
ALONE = CnnHighway(embedding=4, windows=(1, 2), filters=(4, 4))


def kept(folder: Path, task: Task, settings: Any) -> torch.nn.Module:
    """A discriminator with random weights in the folder of a run."""
    torch.manual_seed(0)
    network = build_discriminator(settings, task.space)
    folder.mkdir(exist_ok=True)
    save_run_discriminator(folder, settings, Probability().model_dump(), task, network.state_dict())
    return network.eval()


def test_conversations_are_judged_in_the_tokens_of_the_model(tmp_path: Path) -> None:
    require()
    model = ModelFolder(path=str(write_tokenizer(tmp_path / "model")))
    asked = [[{"role": "user", "content": f"how {n}?"}] for n in range(12)]
    said = [[{"role": "assistant", "content": f"fine\n{n}"}] for n in range(12)]
    rows = [{"prompt": one, "completion": other} for one, other in zip(asked, said, strict=True)]
    task = demonstrations_task(rows, model, valid=rows[:2], test=rows[:2])
    network = kept(tmp_path / "run", task, PAIR)
    reward = rlgan.discriminator_reward(tmp_path / "run").as_trl()
    assert reward.__name__ == "discriminator_run"
    given = {"prompts": [row["prompt"] for row in rows], "completions": [row["completion"] for row in rows]}
    found = reward(**given, completion_ids=[[1]] * 12, trainer_state=None, task=["x"] * 12)
    tokens = task.train.long()
    assert task.conditions is not None
    with torch.no_grad():
        logits = network(tokens, sequence_mask(task.space, tokens), task.conditions.train.long())
    assert found == pytest.approx(torch.sigmoid(logits).tolist(), abs=1e-6)
    long = [{"role": "assistant", "content": "x" * 500}]
    assert len(reward(prompts=[rows[0]["prompt"]] * 2, completions=[long, [{"role": "assistant", "content": ""}]])) == 2
    assert reward(prompts=[], completions=[]) == []


def test_words_are_judged_as_the_run_cuts_them(tmp_path: Path) -> None:
    lines = [f"the {a} {b}" for a in ("cat", "dog", "owl") for b in ("runs", "eats", "ends")]
    (tmp_path / "lines.txt").write_text("\n".join(lines * 4))
    settings = TextTask(data=str(tmp_path / "lines.txt"))
    task = build_task(settings)
    network = kept(tmp_path / "run", task, ALONE)
    with refused(ConfigError, "reward_without_config"):
        rlgan.discriminator_reward(tmp_path / "run", "logit").as_trl()
    config = tiny_config(task=settings, discriminator=ALONE)
    (tmp_path / "run/config.json").write_text(json.dumps(to_dict(config)))
    reward = rlgan.discriminator_reward(tmp_path / "run", "logit").as_trl()
    shown = task.decode(task.train[:5])
    tokens = task.train[:5].long()
    with torch.no_grad():
        logits = network(tokens, sequence_mask(task.space, tokens))
    assert reward(completions=shown, prompts=[""] * 5) == pytest.approx(logits.tolist(), abs=1e-6)


def test_network_alone_does_not_know_texts() -> None:
    task = build_task(tiny_config().task)
    reward = AdversarialReward(build_discriminator(ALONE, task.space), task.space)
    with refused(ConfigError, "reward_without_encoding"):
        reward.as_trl()
