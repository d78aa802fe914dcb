"""Probes: how far reals and fakes are told apart by what is seen without reading them, and what a discriminator adds.

A probe knows one feature of a sequence: its length, its first token, its last, or the form of its text. What it says is
the log-odds of that feature, from counts, which is the best that can be said by the feature alone. So a discriminator
that ranks no better than a probe may be reading that feature, and a generator that follows it learns the feature.

n reals, m fakes, T positions, C features that a probe adds up
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rlgan.base.errors import ShapeError
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask

from .chance import auc_error_of_chance
from .discriminator_health import auc

PROBES = ("length", "first_token", "last_token", "format")
"""Names of the probes, in the order in which they are shown."""
_MOST_BINS = 32  # of lengths; where there are no more lengths than that, each has its own
_CERTAIN = 3.0  # standard errors


@dataclass(frozen=True, slots=True)
class Surface:
    """What is seen of sequences without reading them.

    Attributes:
        lengths: (n,) int64 tokens, the terminator not counted.
        first: (n,) int64 the first token, -1 where there is none.
        last: (n,) int64 the last one before the terminator, -1 where there is none.
        form: (n, F) int64, 0 or 1: whether it ends with a terminator, and what its text looks like (`form_of`).
    """

    lengths: Tensor
    first: Tensor
    last: Tensor
    form: Tensor

    def rows(self, index: slice) -> Surface:
        """Some of them."""
        return Surface(self.lengths[index], self.first[index], self.last[index], self.form[index])


def surface_of(space: SequenceSpace, tokens: Tensor) -> Surface:
    """The surface of sequences.

    Args:
        space: theirs; where it has a spelling, their text is looked at.
        tokens: (n, T) integer, padded after the terminator.
    """
    mask, lengths = sequence_mask(space, tokens), lengths_of(space, tokens)
    has_ended = mask.sum(1) > lengths
    last = tokens.gather(1, (lengths - 1).clamp_min(0).unsqueeze(1)).squeeze(1).long()
    is_empty = lengths == 0
    form = [[int(one)] for one in has_ended.tolist()]
    if space.spelling is not None:
        texts = space.spelling.texts(tokens, mask, space.end_id)
        form = [[*one, *form_of(text)] for one, text in zip(form, texts, strict=True)]
    return Surface(
        lengths,
        tokens[:, 0].long().masked_fill(is_empty, -1),
        last.masked_fill(is_empty, -1),
        torch.tensor(form, dtype=torch.int64).reshape(len(lengths), -1),
    )


def lengths_of(space: SequenceSpace, tokens: Tensor) -> Tensor:
    """(n,) int64 numbers of tokens of sequences (n, T), the terminator not counted."""
    mask = sequence_mask(space, tokens)
    return (mask if space.end_id is None else mask & (tokens != space.end_id)).sum(1)


def form_of(text: str) -> list[int]:
    """What a text looks like, a 0 or 1 each.

    Begins with a capital letter; begins with no letter and no digit; ends with . ! or ?; has a line break; has a digit;
    has a sign of markup (any of * # ` _ | < > [ ] { }); has blanks at an end, or two in a row.
    """
    return [
        int(text[:1].isupper()),
        int(not text[:1].isalnum()),
        int(text.rstrip().endswith((".", "!", "?"))),
        int("\n" in text),
        int(any(one.isdigit() for one in text)),
        int(any(one in text for one in "*#`_|<>[]{}")),
        int(text != text.strip() or "  " in text),
    ]


def length_bins(real_lengths: Tensor, fake_lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths as classes: each its own, or where there are more than 32 as many classes of about equal size.

    Args:
        real_lengths: (n,) int64.
        fake_lengths: (m,) int64.

    Returns:
        (n,) and (m,) int64.
    """
    both = torch.cat([real_lengths, fake_lengths])
    edges = both.unique()
    if len(edges) > _MOST_BINS:
        shares = torch.arange(1, _MOST_BINS, dtype=torch.float64) / _MOST_BINS
        edges = both.double().quantile(shares).unique()
    return torch.bucketize(real_lengths, edges), torch.bucketize(fake_lengths, edges)


def feature_log_odds(real: Tensor, fake: Tensor, asked: Tensor) -> Tensor:
    """Log-odds of being real by the counts of features, added up as if features were independent (naive Bayes).

        Σ_c log (r_c + 1)/(n + K_c) - log (f_c + 1)/(m + K_c)

    r_c and f_c count the reals and fakes that have the value of feature c, which has K_c - 1 values; a value that
    neither has is one more. The 1 is Laplace's: a value that was seen once proves little.

    Args:
        real: (n, C) int64.
        fake: (m, C) int64.
        asked: (k, C) int64, of sequences that need not be among these.

    Returns:
        (k,) float64, positive = real.
    """
    total = torch.zeros(len(asked), dtype=torch.float64)
    for of_real, of_fake, of_asked in zip(real.T.contiguous(), fake.T.contiguous(), asked.T.contiguous(), strict=True):
        values = torch.cat([of_real, of_fake]).unique()
        place = torch.searchsorted(values, of_asked).clamp_max(len(values) - 1)
        is_known = values[place] == of_asked
        sides = []
        for counted in (of_real, of_fake):
            counts = torch.searchsorted(values, counted).bincount(minlength=len(values)).double()
            seen = torch.where(is_known, counts[place], 0.0)
            sides.append(((seen + 1.0) / (len(counted) + len(values) + 1.0)).log())
        total += sides[0] - sides[1]
    return total


def probe_aucs(real: Surface, fake: Surface) -> dict[str, float]:
    """How well each probe ranks reals above fakes that it has not counted.

    Each half of both sets, first and second, is ranked by the counts of the other half, and the two areas are averaged.

    Args:
        real: of n reals.
        fake: of m fakes.

    Returns:
        Name of each of `PROBES` → area under the ROC curve; 0.5 is chance. Empty where a set has fewer than 4.
    """
    if min(len(real.lengths), len(fake.lengths)) < 4:
        return {}
    lengths = length_bins(real.lengths, fake.lengths)
    features = {
        "length": tuple(one.unsqueeze(1) for one in lengths),
        "first_token": (real.first.unsqueeze(1), fake.first.unsqueeze(1)),
        "last_token": (real.last.unsqueeze(1), fake.last.unsqueeze(1)),
        "format": (real.form, fake.form),
    }
    return {name: _ranked_by_the_other_half(*features[name]) for name in PROBES}


def _ranked_by_the_other_half(real: Tensor, fake: Tensor) -> float:
    reals, fakes = (one.tensor_split(2) for one in (real, fake))
    areas = []
    for asked, counted in ((0, 1), (1, 0)):
        odds = (feature_log_odds(reals[counted], fakes[counted], one[asked]) for one in (reals, fakes))
        areas.append(auc(*odds))
    return sum(areas) / 2


def length_matched_auc(real_logits: Tensor, fake_logits: Tensor, real_lengths: Tensor, fake_lengths: Tensor) -> float:
    """Area under the ROC curve over pairs of a real and a fake of equal length, or of one class of `length_bins`.

    What a discriminator knows of length alone is not in it.

    Args:
        real_logits: (n,) float, positive = real.
        fake_logits: (m,) float.
        real_lengths: (n,) int64.
        fake_lengths: (m,) int64.

    Returns:
        Probability; NaN where no real is as long as a fake.

    Raises:
        ShapeError: as many lengths as logits are needed.
    """
    if real_logits.shape != real_lengths.shape or fake_logits.shape != fake_lengths.shape:
        raise ShapeError(
            f"real_logits {tuple(real_logits.shape)}, real_lengths {tuple(real_lengths.shape)}, fake_logits "
            f"{tuple(fake_logits.shape)}, fake_lengths {tuple(fake_lengths.shape)}: expected (n,), (n,), (m,), (m,).",
            code="length_matched_shapes",
        )
    real_bins, fake_bins = length_bins(real_lengths, fake_lengths)
    ranked, pairs = 0.0, 0
    for one in real_bins.unique().tolist():
        reals, fakes = real_logits[real_bins == one], fake_logits[fake_bins == one]
        if len(fakes):
            ranked += auc(reals, fakes) * len(reals) * len(fakes)
            pairs += len(reals) * len(fakes)
    return ranked / pairs if pairs else math.nan


def length_classes(real_lengths: Tensor, lengths: Tensor) -> list[tuple[Tensor, int]]:
    """Sequences by their length, and how many reals are as long; what no real or no sequence has is left out.

    A mean over the reals of means over these classes is what it would be of sequences as long as real ones are.

    Args:
        real_lengths: (n,) int64.
        lengths: (m,) int64.

    Returns:
        Rows int64 of the m, and a number of reals, of each class of `length_bins`.
    """
    real_bins, bins = length_bins(real_lengths, lengths)
    shared = sorted(set(real_bins.tolist()) & set(bins.tolist()))
    return [((bins == one).nonzero().squeeze(1), int((real_bins == one).sum())) for one in shared]


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's correlation: that of ranks, ties sharing their mean rank.

    Args:
        first: (n,) numbers.
        second: (n,) numbers.

    Returns:
        In [-1, 1]; NaN where one of them is the same everywhere, or no number.
    """
    if bool(first.isnan().any() or second.isnan().any()):
        return math.nan
    ranks = []
    for one in (first, second):
        ordered = one.double().sort().values
        below, not_above = (torch.searchsorted(ordered, one.double(), right=right) for right in (False, True))
        ranks.append((below + not_above).double())
    centred = [one - one.mean() for one in ranks]
    scale = math.sqrt(float((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
    return float((centred[0] * centred[1]).sum()) / scale if scale else math.nan


def shortcut_share(area: float, probes: Mapping[str, float], num_real: int, num_fake: int) -> float | None:
    """How much of a discriminator's ranking the best probe has: (its area - ½) / (the discriminator's - ½).

    Args:
        area: under the ROC curve of the discriminator.
        probes: of each probe, on the same sequences.
        num_real: n.
        num_fake: m.

    Returns:
        1 and more where a probe does as well; 0 where no probe is better than chance. None where the discriminator is
        at chance, so that there is nothing to have a share of, and where there is no probe. Chance is what lies within
        3 standard errors of ½, those of n and m sequences that do not differ.
    """
    chance = _CERTAIN * auc_error_of_chance(num_real, num_fake)
    best = max(probes.values(), default=math.nan)
    if not area - 0.5 > chance or math.isnan(best):
        return None
    return (best - 0.5) / (area - 0.5) if best - 0.5 > chance else 0.0
