"""Metrics: pure functions from tensors or token lists to numbers; docs/metrics.md says what each one means.

Nothing here samples, trains, logs or knows a network. Counting metrics want sequences as `strip` returns them.
"""

from .bleu import CorpusReferences, self_bleu
from .discriminator_health import (
    DiscriminatorHealth,
    accuracy_fake,
    accuracy_real,
    auc,
    discriminator_health,
    mean_prob,
)
from .diversity import distinct, mean_length, num_unique, repetition_rate, share_unfinished, share_unique
from .language_model import KneserNey
from .likelihood import KLGaps, headroom_captured, kl_gaps, mean_nll
from .sequences import strip

__all__ = [
    "CorpusReferences",
    "DiscriminatorHealth",
    "KLGaps",
    "KneserNey",
    "accuracy_fake",
    "accuracy_real",
    "auc",
    "discriminator_health",
    "distinct",
    "headroom_captured",
    "kl_gaps",
    "mean_length",
    "mean_nll",
    "mean_prob",
    "num_unique",
    "repetition_rate",
    "self_bleu",
    "share_unfinished",
    "share_unique",
    "strip",
]
