"""A world of 64 sequences, in which every preset's way can be followed exactly: presets in its sizes, and divergences.

Where sequences are judged the discriminator is a table, which is near its optimum after a few rounds. Generators begin
at random and learn from their adversary alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from rlgan.config.config import Config
from rlgan.config.paths import flatten, from_dict, override, to_dict
from rlgan.envs.tasks import OracleTask, Task, TaskSettings, ToyTask, build_task
from rlgan.generators import AutoregressiveGenerator, Generator
from rlgan.policy.teacher_forcing import MixedPrefix
from rlgan.presets.registry import preset
from rlgan.sampling.sampler import sample
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts

TASK = ToyTask(vocab_size=4, max_length=3, seed=1, num_train=20_000, num_valid=200, num_test=200)
ORACLE = OracleTask(
    vocab_size=10, embedding=16, hidden=16, max_length=5, num_train=20_000, num_valid=200, num_test=200, seed=1
)
"""A world of 100,000 sequences, which can still be enumerated."""
SIZES: dict[str, Any] = {
    "generator.embedding": 8,
    "generator.hidden": 16,
    "generator.init_std": 0.3,
    "schedule.mle_epochs": 0,
    "schedule.adversarial_updates": 150,
    "schedule.discriminator_rounds": 5,
    "schedule.d_steps": 1,
    "schedule.d_epochs": 1,
    "schedule.g_steps": 1,
    "schedule.g_batch": 128,
    "adversary.sequences_per_round": 1_000,
    "adversary.batch": 200,
    "optimizers.generator.lr": 0.01,
    "optimizers.discriminator.lr": 0.05,
    "workers.threads": 1,
    "workers.shard_sequences": 128,
    "workers.shard_fakes": 1_000,
    "credit.num_rollouts": 4,
}
TABLE: dict[str, Any] = {"discriminator": "tabular"}
# A table is only at home on one-hot rows; these learn by a network.
CRITIC: dict[str, Any] = {
    "discriminator.width": 16,
    "discriminator.blocks": 1,
    "adversary.sequences_per_round": 64,
    "adversary.batch": 128,
    "schedule.d_steps": 5,
    "schedule.g_batch": 64,
    "optimizers.discriminator.lr": 0.002,
}
NOISE: dict[str, Any] = {
    "generator.latent": 8,
    "generator.width": 16,
    "generator.blocks": 1,
    "optimizers.generator.lr": 0.002,
}
CONVOLUTIONS: dict[str, Any] = {
    "discriminator.windows": "1,2,3",
    "discriminator.filters": "32",
    "discriminator.embedding": 8,
    "discriminator.dropout": 0.0,
    "optimizers.discriminator.lr": 0.005,
}
# Features of the same sizes; without likelihood there is nothing that the judge could be pretrained beside.
LEAKED: dict[str, Any] = {
    "generator.feature_windows": "1,2,3",
    "generator.feature_filters": "32",
    "generator.feature_embedding": 8,
    "schedule.pretraining": "generator_first",
}
LANGUAGE_MODEL: dict[str, Any] = {
    "discriminator.embedding": 8,
    "discriminator.hidden": 32,
    "discriminator.dropout": 0.0,
    "discriminator.tied": False,
    "optimizers.discriminator.lr": 0.01,
    "optimizers.discriminator.weight_decay": 0.0,
}
# Preset → what is set beside its sizes.
RUNS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        ("seqgan", "seqgan_prefix", "seqgan_rloo", "seqgan_grpo", "maligan", "maligan_full", "bgan", "bgan_rkl"), TABLE
    ),
    # Four passes over each batch: a discriminator that learns once is left behind.
    "seqgan_ppo": TABLE | {"optimizers.generator.lr": 0.005, "schedule.d_steps": 3},
    "scratchgan": {"discriminator.embedding": 8, "discriminator.hidden": 32},
    "lm_ratio": LANGUAGE_MODEL | {"schedule.discriminator_rounds": 20, "schedule.d_steps": 0},
    "mediator": LANGUAGE_MODEL | {"schedule.discriminator_rounds": 20},
    "density_ratio": {
        "discriminator.network.embedding": 8,
        "discriminator.network.hidden": 32,
        "schedule.discriminator_rounds": 20,
        "optimizers.discriminator.lr": 0.01,
    },
    "wgan_reinforce": TABLE,
    "gumbel": TABLE | {"objective.fakes": "tokens"},
    "st_gumbel": TABLE,
    "wgan_gp": CRITIC | NOISE | {"schedule.adversarial_updates": 300},
    "relgan": TABLE | {"generator.head_size": 8, "objective.fakes": "tokens"},
    "rankgan": CONVOLUTIONS,
    "leakgan": CONVOLUTIONS | LEAKED,
}


def small(name: str, changes: dict[str, Any], seed: int, task: TaskSettings = TASK) -> Config:
    """A preset whose adversary alone teaches, in the sizes of the tiny world."""
    config = preset(name, task).model_copy(update={"controls": (), "seed": seed})
    had = flatten(to_dict(config))
    settings = {path: value for path, value in SIZES.items() if had.get(path)}
    if isinstance(config.schedule.teacher_forcing, MixedPrefix):
        settings |= {"schedule.teacher_forcing.start": 2, "schedule.teacher_forcing.decrement": 1}
        settings["schedule.teacher_forcing.block"] = 25
    elif had["schedule.teacher_forcing.kind"] != "none":
        settings["schedule.teacher_forcing"] = "none"
    if had["reference.kind"] != "none":
        settings["reference"] = "none"  # it would hold the generator at its random start
    return from_dict(to_dict(override(config, settings | changes)))


def divergences(log_p: Tensor, log_q: Tensor) -> tuple[float, float, float]:
    """KL(p‖q), KL(q‖p) and their Jensen-Shannon divergence, nats a sequence, of two distributions of all sequences."""
    p, q = log_p.exp(), log_q.exp()
    log_m = ((p + q) / 2).log()
    js = (p * (log_p - log_m)).sum() / 2 + (q * (log_q - log_m)).sum() / 2
    return float((p * (log_p - log_q)).sum()), float((q * (log_q - log_p)).sum()), float(js)


@torch.no_grad()
def distribution(generator: Generator, task: Task, sequences: Tensor) -> Tensor:
    """Log-probability of every sequence: exact, or of 20,000 samples of a generator that knows none."""
    if isinstance(generator, AutoregressiveGenerator):
        return generator.logprobs(sequences).sum(1).double()
    tokens = sample(generator.stepper(), task.space, 20_000, torch.Generator().manual_seed(0), 20_000).tokens
    places = task.space.vocab_size ** torch.arange(task.space.max_length).flip(0)
    counts = torch.bincount(tokens @ places, minlength=len(sequences)).double()
    return (counts / 20_000).clamp_min(1e-12).log()


def followed(config: Config, every: int = 1) -> Iterator[tuple[float, float, float]]:
    """Divergences of a run's generator from the distribution: before, and after every N-th adversarial update."""
    task = build_task(config.task)
    assert task.oracle is not None
    sequences = torch.tensor(list(itertools.product(range(task.space.vocab_size), repeat=task.space.max_length)))
    exact = task.oracle.logprobs(sequences).sum(1).double()
    with build_parts(config, task) as parts:
        trainer, done = Trainer(config, task, parts), 0
        yield divergences(exact, distribution(trainer.current_generator(), task, sequences))
        while trainer.next_phase is not None:
            done += trainer.step(measure=False).phase == "adversarial"
            if done and done % every == 0:
                yield divergences(exact, distribution(trainer.current_generator(), task, sequences))
