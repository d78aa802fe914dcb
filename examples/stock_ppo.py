"""Unchanged PPO of Stable-Baselines3 in an environment whose reward is a trained discriminator.

    pip install 'stable-baselines3==2.9.2'
    python examples/stock_ppo.py

One episode writes one name, one letter per action. The reward comes with the last letter: the logit of a discriminator
that was trained to distinguish names of Python functions from those of a likelihood generator. The discriminator is
fixed, so the policy learns to exploit its weaknesses: the names at the end have a high logit, but need not look real.

Prints the mean logit of real names, of random letters, and of PPO before and after training, with names of each.
docs/environment.md shows the same with RLlib's PPO.
"""

from __future__ import annotations

import argparse

import torch
from corpus import names
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

import rlgan


def written(env: VecEnv, model: PPO, number: int = 50) -> tuple[float, list[str]]:
    """Mean reward of so many episodes of a policy, and what they wrote."""
    paid, texts, observations = [], [], env.reset()
    while len(texts) < number:
        actions, _ = model.predict(observations)
        observations, rewards, ends, infos = env.step(actions)
        for reward, has_ended, info in zip(rewards, ends, infos, strict=True):
            if has_ended:
                paid.append(float(reward))
                texts.append(info["text"])
    return sum(paid) / len(paid), texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--letters", type=int, default=60_000, help="that PPO writes while it learns")
    letters = parser.parse_args().letters
    run = rlgan.train(
        "seqgan_rloo",
        data=names(),
        tokens="char",
        discriminator={"embedding": 16, "windows": [1, 2, 3, 4], "filters": [32, 32, 32, 32]},
        adversary={"sequences_per_round": 2000},
        schedule={"mle_epochs": 3, "discriminator_rounds": 10, "adversarial_updates": 1, "g_batch": 64},
        optimizers={"discriminator": {"lr": 1e-3}},
        evaluation={"temperatures": [1.0], "final_sequences": 500},
        controls=[],
    )
    real = run.score(names()[::50])
    print(f"real names: mean logit {real['discriminator_logit'].mean():.2f}: {', '.join(real['text'][:8])}")

    reward = rlgan.discriminator_reward(run, "logit")
    world = {"space": reward.space, "reward_function": reward, "decode": reward.decode, "render_mode": None}
    env = make_vec_env("rlgan.envs:rlgan/Token-v0", n_envs=16, seed=0, env_kwargs=world)
    torch.set_num_threads(1)
    model = PPO(
        "MlpPolicy", env, n_steps=64, batch_size=256, n_epochs=4, gamma=1.0, ent_coef=0.01, seed=0, device="cpu"
    )
    for title, steps in (("PPO before", 0), (f"PPO after {letters:,} letters", letters)):
        if steps:
            model.learn(steps)
        mean, texts = written(env, model)
        print(f"{title}: mean logit {mean:.2f}: {', '.join(texts[:8])}")


if __name__ == "__main__":
    main()
