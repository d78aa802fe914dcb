"""The discriminator of a run, live or kept, is a reward function, and judges as the run's own workers do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch

from rlgan.base.errors import CheckpointError, ConfigError, TrackingError
from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.discriminators import CausalLSTM, CnnHighway, build_discriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import Task, build_task
from rlgan.envs.testing import check_reward_function, check_token_env, random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.policy.adversarial_reward import AdversarialReward
from rlgan.policy.credit import RewardToGo
from rlgan.policy.logit_maps import Probability, SignedProbability
from rlgan.runs.reward_function import reward_of_run
from rlgan.runs.run import RunRequest, run
from rlgan.storage.checkpoint import load_latest
from rlgan.storage.discriminator_export import DISCRIMINATOR_FILES
from rlgan.tracking import Tracker, TrackingSettings, read_run, register
from tests.support.errors import refused
from tests.support.runs import small
from tests.support.tiny import PAIRS, of_pairs

pytestmark = pytest.mark.integration


def short(config: Config) -> Config:
    return override(config, {"schedule.mle_epochs": 1, "schedule.adversarial_updates": 1, "controls": "none"})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of seconds, paid the signed probability."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    run(RunRequest(short(small(reward=SignedProbability())), folder, resume=False))
    return folder


def judged_by(folder: Path, tokens: torch.Tensor) -> torch.Tensor:
    """Logits (B,) by the discriminator in the newest checkpoint, as a worker computes them."""
    config = json.loads((folder / "config.json").read_text())
    network = build_discriminator(CnnHighway.model_validate(config["discriminator"]), SequenceSpace(20, 6))
    network.load_state_dict(load_latest(folder).state["discriminator"]["weights"])
    return network.scorer()(tokens, torch.ones_like(tokens, dtype=torch.bool))


@pytest.mark.heavy
def test_a_run_and_its_checkpoint_pay_what_the_run_paid(finished: Path) -> None:
    tokens = random_sequences(SequenceSpace(20, 6), 9, seed=1)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    logits = judged_by(finished, tokens)
    checkpoint = max((finished / "checkpoints").iterdir())
    for source in (finished, str(finished), checkpoint):
        reward = reward_of_run(source)
        assert reward.space == SequenceSpace(20, 6) and reward.reward == SignedProbability()
        assert torch.equal(reward(tokens, mask), torch.tanh(logits / 2))
        assert torch.equal(reward_of_run(source, "logit")(tokens, mask), logits)
        torch.testing.assert_close(reward_of_run(source, Probability())(tokens, mask), logits.sigmoid())
    # A folder that version 0.1.0 wrote has the discriminator in its checkpoints alone.
    kept = {name: (finished / name).read_bytes() for name in DISCRIMINATOR_FILES}
    try:
        for name in kept:
            (finished / name).unlink()
        assert torch.equal(reward_of_run(finished)(tokens, mask), torch.tanh(logits / 2))
    finally:
        for name, content in kept.items():
            (finished / name).write_bytes(content)


@pytest.mark.heavy
def test_it_makes_an_environment_that_keeps_the_contract(finished: Path) -> None:
    reward = reward_of_run(finished)
    check_reward_function(reward, reward.space)
    world = {"space": reward.space, "reward_function": reward, "decode": reward.decode}
    env = gymnasium.make("rlgan.envs:rlgan/Token-v0", **world)
    check_token_env(env.unwrapped)
    names = json.loads((finished / "discriminator.json").read_text())["token_names"]
    env.reset()
    for action in range(6):
        info = env.step(action)[4]
    assert info["text"] == " ".join(names[:6])


@pytest.mark.heavy
def test_a_registered_model_brings_its_discriminator(finished: Path, tmp_path: Path) -> None:
    tracker = Tracker(TrackingSettings(), finished)
    tracker.start("a run", {}, {})
    tracker.finish("FINISHED")
    uri = f"sqlite:///{finished.parent / 'mlruns.db'}"
    run_id = read_run(uri, finished).run_id
    register(uri, run_id, finished, "judged", 1.0, {})
    tokens = random_sequences(SequenceSpace(20, 6), 9, seed=1)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    assert torch.equal(
        reward_of_run("models:/judged/1", tracking_uri=uri)(tokens, mask), reward_of_run(finished)(tokens, mask)
    )
    for name in ("generator.safetensors", "generator.json"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    register(uri, run_id, tmp_path, "judged", 1.0, {})
    with refused(CheckpointError, "version_without_discriminator", match="judged/2: its file .*discriminator"):
        reward_of_run("models:/judged/2", tracking_uri=uri)
    with refused(TrackingError, "no_registered_model", match="'other'"):
        reward_of_run("models:/other/1", tracking_uri=uri)


@pytest.mark.heavy
def test_conditions_and_tokens_are_judged_too(tmp_path: Path) -> None:
    config = of_pairs({"mle_epochs": 1, "adversarial_updates": 1})
    base = short(small())
    pairs = config.model_copy(update={"evaluation": base.evaluation, "tracking": base.tracking})
    run(RunRequest(pairs, tmp_path / "pairs", resume=False))
    task: Task = build_task(PAIRS)
    assert task.conditions is not None
    reward = reward_of_run(tmp_path / "pairs")
    check_reward_function(reward, task.space, task.conditions.space)
    env = gymnasium.make(
        "rlgan.envs:rlgan/Token-v0",
        space=reward.space,
        reward_function=reward,
        conditions=task.conditions.train.long(),
        condition_space=reward.space.condition,
        decode=reward.decode,
        decode_condition=reward.decode_condition,
        render_mode="ansi",
    )
    check_token_env(env.unwrapped)
    env.reset(options={"condition": task.conditions.train[0].long()})
    assert env.unwrapped.render() == task.conditions.decode(task.conditions.train[:1])[0] + "\n"

    tokens_judged = short(small(discriminator=CausalLSTM(embedding=4, hidden=4), credit=RewardToGo()))
    run(RunRequest(tokens_judged, tmp_path / "tokens", resume=False))
    reward = reward_of_run(tmp_path / "tokens", "logit")
    tokens = random_sequences(reward.space, 5, seed=0)
    mask = sequence_mask(reward.space, tokens)
    logits = reward.judge(tokens, mask)
    assert logits.shape == (5, 6)
    torch.testing.assert_close(reward(tokens, mask), logits.sum(1))
    probabilities = reward_of_run(tmp_path / "tokens", "probability")(tokens, mask)
    torch.testing.assert_close(probabilities, logits.sigmoid().sum(1))


def test_a_live_discriminator_is_a_reward_that_goes_on_changing() -> None:
    torch.manual_seed(0)
    space = SequenceSpace(5, 4, end_id=1)
    network = build_discriminator(CnnHighway(embedding=4, windows=(1, 2), filters=(3, 3), dropout=0.9), space).train()
    network.embedding.eval()
    reward = AdversarialReward(network, space, Probability())
    check_reward_function(reward, space)
    tokens = random_sequences(space, 6, seed=0)
    mask = sequence_mask(space, tokens)
    before = reward(tokens, mask)
    assert not before.requires_grad
    torch.testing.assert_close(before, network.scorer()(tokens, mask).sigmoid())
    assert network.training and not network.embedding.training, "what learns goes on learning, what does not does not"
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2.0)
    assert not torch.allclose(reward(tokens, mask), before)
    assert reward.decode(torch.tensor([[2, 3, 1, 1]])) == ["2 3"]


def broken(folder: Path, **changes: Any) -> str:
    """A copy of a run's description with something else in it."""
    path = folder / "discriminator.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return str(folder)


@pytest.mark.heavy
def test_what_is_no_discriminator_is_refused_by_name(finished: Path, tmp_path: Path) -> None:
    with refused(CheckpointError, "not_a_run", match="nothing: "):
        reward_of_run(tmp_path / "nothing")
    with refused(CheckpointError, "not_a_checkpoint", match="00000099: "):
        reward_of_run(finished / "checkpoints" / "00000099")
    with refused(ConfigError, "reward_is_no_map", {"reward": "logits"}, match="logit.*Did you mean 'logit'"):
        reward_of_run(finished, "logits")
    for name in DISCRIMINATOR_FILES:
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    with refused(ConfigError, "exported_reward_no_map", {"reward": "constant"}, match="by name: probability"):
        reward_of_run(broken(tmp_path, reward={"kind": "constant"}))
    assert reward_of_run(tmp_path, "probability").reward == Probability()
    with refused(CheckpointError, "damaged_discriminator"):
        reward_of_run(broken(tmp_path, discriminator={"kind": "cnn_highway", "embedding": 5}))
    (tmp_path / DISCRIMINATOR_FILES[0]).unlink()
    with refused(CheckpointError, "no_trained_discriminator", match="discriminator.safetensors"):
        reward_of_run(tmp_path)


@pytest.mark.heavy
def test_a_run_without_one_has_no_reward(tmp_path: Path) -> None:
    lonely = {"discriminator_rounds": 0, "d_steps": 0, "mle_epochs": 1, "adversarial_updates": 0}
    base = small()
    config = base.model_copy(update={"schedule": base.schedule.model_copy(update=lonely), "discriminator": None})
    run(RunRequest(config.model_copy(update={"controls": ()}), tmp_path / "run", resume=False))
    with refused(CheckpointError, "run_without_discriminator"):
        reward_of_run(tmp_path / "run")
