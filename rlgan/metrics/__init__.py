"""Metrics: pure functions from tensors or token lists to numbers; docs/metrics.md says what each one means.

Nothing here samples, trains, logs or knows a network. Counting metrics want sequences as `strip` returns them.
"""

from .bleu import CorpusReferences, self_bleu
from .chance import RankedRound, Ranking, auc_error_of_chance, pair_error_of_chance, ranking
from .discriminator_health import (
    DiscriminatorHealth,
    accuracy_fake,
    accuracy_real,
    auc,
    discriminator_health,
    mean_prob,
)
from .diversity import distinct, mean_length, num_unique, repetition_rate, share_unfinished, share_unique
from .effective_rank import effective_rank, first_fall
from .frechet import Gaussian, frechet_distance, gaussian_of
from .language_model import KneserNey
from .latents import active_units, mean_rank
from .likelihood import KLGaps, headroom_captured, kl_gaps, mean_nll
from .nearest import JaccardNeighbours, NearnessTest, cosine_distances, nearness_test
from .ngram_frequencies import NgramFrequencies
from .reference_scores import reference_bleu, reference_match, reference_rouge_l
from .sequences import UNKNOWN, strip
from .shortcuts import (
    PROBES,
    Surface,
    feature_log_odds,
    length_bins,
    length_classes,
    length_matched_auc,
    lengths_of,
    probe_aucs,
    rank_correlation,
    shortcut_share,
    surface_of,
)

__all__ = [
    "PROBES",
    "UNKNOWN",
    "CorpusReferences",
    "DiscriminatorHealth",
    "Gaussian",
    "JaccardNeighbours",
    "KLGaps",
    "KneserNey",
    "NearnessTest",
    "NgramFrequencies",
    "RankedRound",
    "Ranking",
    "Surface",
    "accuracy_fake",
    "accuracy_real",
    "active_units",
    "auc",
    "auc_error_of_chance",
    "cosine_distances",
    "discriminator_health",
    "distinct",
    "effective_rank",
    "feature_log_odds",
    "first_fall",
    "frechet_distance",
    "gaussian_of",
    "headroom_captured",
    "kl_gaps",
    "length_bins",
    "length_classes",
    "length_matched_auc",
    "lengths_of",
    "mean_length",
    "mean_nll",
    "mean_prob",
    "mean_rank",
    "nearness_test",
    "num_unique",
    "pair_error_of_chance",
    "probe_aucs",
    "rank_correlation",
    "ranking",
    "reference_bleu",
    "reference_match",
    "reference_rouge_l",
    "repetition_rate",
    "self_bleu",
    "share_unfinished",
    "share_unique",
    "shortcut_share",
    "strip",
    "surface_of",
]
