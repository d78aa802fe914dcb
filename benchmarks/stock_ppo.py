"""PPO of Stable-Baselines3 and of RLlib, unchanged, on the token environment that a run's discriminator pays.

    python -m benchmarks.stock_ppo --run runs/mine --steps 20000

Each begins from nothing and takes as many steps of the environment, one a token, to raise what the discriminator of the
run pays, which is frozen: this is reinforcement learning against a fixed judge, and no adversarial training. Beside
them stands our own trainer (`objective=ppo`, credit terminal, leave-one-out baseline) that draws through the same
environment. Printed is the mean reward of the last 100 sequences of each, and of uniformly random ones. Without --run
a run of seconds trains a judge first.

Needs the extra `stable-baselines3`; RLlib comes with Ray.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rlgan.config.config import Config
from rlgan.config.paths import from_kept, override
from rlgan.envs.tasks import OracleTask
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.extensions import admit, plugins_in
from rlgan.policy.adversarial_reward import AdversarialReward
from rlgan.presets import registry
from rlgan.runs.data import kept_data, rebuilt_task
from rlgan.runs.reward_function import reward_of_run
from rlgan.runs.run import RunRequest, run
from rlgan.sampling.sampler import sampler_of
from rlgan.storage.checkpoint import load_latest, read_run_config
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from rlgan.workers.environment import own_cluster

from .common import machine

ENVIRONMENT = "rlgan.envs:rlgan/Token-v0"
NUM_ENVS = 16
TINY_MARKS = ("ray", "slow")


def train_judge(folder: Path, seed: int) -> None:
    """A run of seconds whose discriminator tells sequences of an oracle from those of an untrained generator."""
    task = OracleTask(vocab_size=12, embedding=8, hidden=8, max_length=6, num_train=500, num_valid=50, num_test=50)
    config = override(
        registry.preset("seqgan", task),
        {
            "seed": seed,
            "generator.hidden": 16,
            "discriminator": "cnn_highway",
            "discriminator.embedding": 8,
            "discriminator.windows": "1,2,3",
            "discriminator.filters": "8,8,8",
            "schedule.mle_epochs": 1,
            "schedule.discriminator_rounds": 2,
            "schedule.adversarial_updates": 0,
            "adversary.sequences_per_round": 200,
            "evaluation.num_sequences": 32,
            "evaluation.final_sequences": 32,
            "evaluation.temperatures": "1.0",
            "optimizers.discriminator.lr": 3e-3,
            "controls": "none",
            "tracking.enabled": False,
        },
    )
    run(RunRequest(config, folder, resume=False))


def by_stable_baselines(reward: AdversarialReward, steps: int, seed: int) -> float:
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    # It asks for pictures unless it is told of a mode.
    arguments = {"space": reward.space, "reward_function": reward, "render_mode": None}
    env = make_vec_env(ENVIRONMENT, n_envs=NUM_ENVS, seed=seed, env_kwargs=arguments)
    num_steps = max(1, min(512, steps) // NUM_ENVS)
    model = PPO(
        "MlpPolicy", env, n_steps=num_steps, batch_size=128, n_epochs=4, learning_rate=1e-3, gamma=1.0, seed=seed,
        device="cpu",
    )  # fmt: skip
    model.learn(steps)
    assert model.ep_info_buffer is not None
    paid = [episode["r"] for episode in model.ep_info_buffer]
    return float(sum(paid) / len(paid))


def by_rllib(reward: AdversarialReward, steps: int, seed: int) -> float:
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.connectors.env_to_module import FlattenObservations

    config = (
        PPOConfig()
        .environment(ENVIRONMENT, env_config={"space": reward.space, "reward_function": reward})
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=NUM_ENVS,
            env_to_module_connector=lambda env, spaces, device: FlattenObservations(),
        )
        .learners(num_learners=0)
        .training(train_batch_size_per_learner=min(512, steps), minibatch_size=128, num_epochs=4, lr=1e-3, gamma=1.0)
        .debugging(seed=seed)
    )
    algorithm = config.build_algo()
    try:
        result: dict[str, Any] = {"env_runners": {"num_env_steps_sampled_lifetime": 0}}
        while result["env_runners"]["num_env_steps_sampled_lifetime"] < steps:
            result = algorithm.train()
    finally:
        algorithm.stop()
    return float(result["env_runners"]["episode_return_mean"])


def by_our_trainer(folder: Path, reward: AdversarialReward, steps: int, seed: int) -> float:
    config: Config = from_kept(read_run_config(folder))
    admit(plugins_in(config), folder, f"--run {folder}", trust_code=False)
    batch = max(2, min(64, steps // reward.space.max_length))
    changes = {
        "seed": seed,
        "sampling": "environment",
        "credit": "terminal",
        "baseline": "leave_one_out",
        "objective": "ppo",
        "objective.epochs": 4,
        "reward": reward.reward.kind,
        "optimizers.generator.lr": 1e-2,
        "schedule.mle_epochs": 0,
        "schedule.discriminator_rounds": 1,
        "schedule.d_steps": 0,
        "schedule.g_steps": 1,
        "schedule.g_batch": batch,
        "schedule.adversarial_updates": max(1, steps // (batch * reward.space.max_length)),
        "schedule.teacher_forcing": "none",
        "evaluation.every": 10**6,
        "controls": "none",
    }
    config = override(config, changes)
    task = rebuilt_task(config, kept_data(folder, f"--run {folder}"))
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        trainer.step(measure=False)  # the round that a discriminator must have; the run's takes its place
        assert parts.discriminator is not None
        parts.discriminator.restore(load_latest(folder).state["discriminator"])
        while trainer.next_phase is not None:
            trainer.step(measure=False)
        drawn = sampler_of(trainer.current_generator(), task.space).sample(100, torch.Generator().manual_seed(seed))
    return float(reward(drawn.tokens, drawn.mask).mean())


def at_random(reward: AdversarialReward) -> float:
    tokens = random_sequences(reward.space, 1000, seed=0)
    return float(reward(tokens, sequence_mask(reward.space, tokens)).mean())


def figures(folder: Path, steps: int, seed: int) -> dict[str, float]:
    """Mean reward by who learned.

    Args:
        folder: of the run whose discriminator pays, by its raw logit.
        steps: of the environment that each takes.
        seed: of each.
    """
    reward = reward_of_run(folder, "logit")
    if reward.space.condition is not None:
        raise SystemExit(f"--run {folder}: its sequences are given something. Give a run whose are given nothing.")
    with own_cluster():
        rllib = by_rllib(reward, steps, seed)
    return {
        "random": at_random(reward),
        "Stable-Baselines3 PPO": by_stable_baselines(reward, steps, seed),
        "RLlib PPO": rllib,
        "rlgan": by_our_trainer(folder, reward, steps, seed),
    }


def tiny(folder: Path) -> list[str]:
    return ["--steps", "128", "--folder", str(folder / "judge")]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="folder of the run whose discriminator pays; else one of seconds")
    parser.add_argument("--folder", type=Path, help="where that one is written; a temporary folder without it")
    parser.add_argument("--steps", type=int, default=20_000, help="of the environment that each takes")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(machine())
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.run or options.folder or Path(temporary) / "judge"
        if options.run is None:
            train_judge(folder, options.seed)
        for name, value in figures(folder, options.steps, options.seed).items():
            print(f"{name}: mean logit {value:.2f} after {options.steps:,} steps, seed {options.seed}", flush=True)


if __name__ == "__main__":
    main()
