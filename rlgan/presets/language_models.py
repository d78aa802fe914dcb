"""Presets of causal language models: those that somebody trained before, and new ones (docs/language-models.md)."""

from __future__ import annotations

from rlgan.config.config import Config, Optimizers, Workers
from rlgan.envs.tasks import TaskSettings, TransductionTask
from rlgan.envs.tasks.transduction import Copy
from rlgan.evaluation.evaluator import EvaluationSettings
from rlgan.generators import CausalLM
from rlgan.layers.optimizers import Adam
from rlgan.layers.pretrained import FreshWeights
from rlgan.policy.baselines import NoBaseline
from rlgan.policy.credit import Terminal
from rlgan.policy.rewards import ConstantReward
from rlgan.schedule.phases import Schedule

from .named import shipped

_COPYING = TransductionTask(vocab_size=10, max_length=5, rule=Copy(noise=0.1), num_train=5_000)
"""Where no data is named: what is written is what was read, but for noise."""


@shipped()
def sft(task: TaskSettings | None = None) -> Config:
    """Supervised fine-tuning: a causal language model learns completions, stopped early on validation."""
    weights = None if task is None else task.language_model
    return Config(
        task=task or _COPYING,
        generator=CausalLM(weights=FreshWeights(width=128, layers=2) if weights is None else weights),
        discriminator=None,
        reward=ConstantReward(),
        credit=Terminal(),
        baseline=NoBaseline(),
        schedule=Schedule(
            mle_epochs=10, mle_patience=1, mle_batch=16, discriminator_rounds=0, adversarial_updates=0, d_steps=0
        ),
        # A trained model forgets by larger steps; a new one learns nothing by smaller ones.
        optimizers=Optimizers(mle=Adam(lr=1e-3 if weights is None else 2e-5, clip_norm=1.0)),
        evaluation=EvaluationSettings(
            mle_every=1, num_sequences=200, final_sequences=1_000, temperatures=(1.0, 0.8), encoders=()
        ),
        workers=Workers(shard_sequences=64, chunk_rows=64),
    )
