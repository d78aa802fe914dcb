"""Of sequences that are given something, and what reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rlgan.adversary.losses import Likelihood, Relativistic
from rlgan.adversary.regularisers import NoGradientPenalty
from rlgan.discriminators import InteractionCnn
from rlgan.envs.tasks import TextTask
from rlgan.generators import Seq2SeqLSTM
from rlgan.policy.baselines import CriticBaseline
from rlgan.policy.rewards import Bleu

from .common import reads_ratio

if TYPE_CHECKING:
    from ..config import Config


def who_is_given_what(config: Config) -> Iterator[str]:
    """What the task gives with each sequence, generator and discriminator must read, and nothing else."""
    task, generator, network = config.task, config.generator, config.discriminator
    if task.gives_conditions and not generator.reads_conditions:
        yield (
            f"generator={generator.kind!r}: cannot read what task={task.kind!r} gives with each sequence. Use "
            "generator seq2seq_lstm or seq2seq_transformer."
        )
    if generator.reads_conditions and not task.gives_conditions:
        yield (
            f"generator={generator.kind!r}: reads conditions, and task={task.kind!r} gives none. Use generator lstm or "
            "transformer, or a task of pairs (--pairs, or --source and --target)."
        )
    if task.gives_conditions and isinstance(config.reward, Bleu):
        yield (
            f"reward='bleu': compares with sequences drawn at random, and task={task.kind!r} asks for another one each "
            "time. Use reward reference_bleu."
        )
    if not task.gives_conditions and "targets" in config.reward.reads:
        yield (
            f"reward={config.reward.kind!r}: compares each sequence with what the data has for its condition, and task="
            f"{task.kind!r} gives none. Use reward bleu, of sequences drawn at random, or a task of pairs."
        )
    if config.evaluation.adversarial is not None and not task.gives_conditions:
        yield (
            f"evaluation.adversarial={config.evaluation.adversarial.kind!r}: judges pairs, and task={task.kind!r} "
            "gives nothing with its sequences. Set it to none."
        )
    if config.evaluation.language_model is not None and not isinstance(task, TextTask):
        yield (
            f"evaluation.language_model={config.evaluation.language_model.kind!r}: is trained on text, and task="
            f"{task.kind!r} has none. Set it to none."
        )
    if isinstance(config.baseline, CriticBaseline) and config.baseline.reads == "source" and not task.gives_conditions:
        yield (
            f"baseline.reads='source': reads what sequences are given, and task={task.kind!r} gives nothing. Set it to "
            "state."
        )
    if network is None:
        return
    if task.gives_conditions and network.reads == "sequences":
        yield (
            f"discriminator={network.kind!r}: judges sequences without what task={task.kind!r} gives with them, so "
            "that an answer to anything would do. Use discriminator pair_cnn, pair_lstm, hierarchical_lstm, "
            "interaction_cnn or triple_lstm."
        )
    if network.reads == "pairs" and not task.gives_conditions:
        yield (
            f"discriminator={network.kind!r}: judges pairs, and task={task.kind!r} gives nothing with its sequences. "
            "Use another discriminator."
        )
    if config.adversary.mismatched is not None and not task.gives_conditions:
        yield (
            f"adversary.mismatched={config.adversary.mismatched:g}: is of conditions, and task={task.kind!r} gives "
            "none. Set it to null."
        )
    if config.adversary.mismatched is not None and reads_ratio(config):
        yield (
            f"adversary.mismatched={config.adversary.mismatched:g}: adds real sequences to what D tells reals from, "
            f"and reward={config.reward.kind!r} and baseline={config.baseline.kind!r} read its logit as log p_d/p_θ. "
            "Set it to null, or use reward probability."
        )
    if config.adversary.mismatched is not None and isinstance(config.adversary.loss, Relativistic | Likelihood):
        yield (
            f"adversary.mismatched={config.adversary.mismatched:g}: is a third class, and adversary.loss="
            f"{config.adversary.loss.kind!r} has no classes apart. Use another loss."
        )
    if task.gives_conditions and not isinstance(config.adversary.gradient_penalty, NoGradientPenalty):
        yield (
            f"adversary.gradient_penalty={config.adversary.gradient_penalty.kind!r}: joins a real sequence with a fake "
            f"one, and task={task.kind!r} gives them different conditions. Set it to none."
        )
    if isinstance(network, InteractionCnn) and network.embeddings == "generator":
        if not isinstance(generator, Seq2SeqLSTM):
            yield (
                f"discriminator.embeddings='generator': copies two tables of tokens, and generator={generator.kind!r} "
                "has no such tables. Use generator seq2seq_lstm, or set it to own."
            )
        elif network.embedding != generator.embedding:
            yield (
                f"discriminator.embedding={network.embedding}: with discriminator.embeddings='generator' it is "
                f"generator.embedding={generator.embedding}. Set both to the same."
            )
