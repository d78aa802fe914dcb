"""A smoothed n-gram language model, and the two scores that it gives a generator (specification 17.5).

    LM  = -(1/tokens) Σ log p(samples)   of a model of real sequences: quality
    RLM = -(1/tokens) Σ log p(reals)     of a model of samples: quality and diversity

Both are nats a token, lower is better, and a generator that gains in one by losing in the other shows it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlgan.envs.errors import ShapeError

from .sequences import require_stripped


class KneserNey:
    """Interpolated Kneser-Ney smoothing with one discount an order (Kneser & Ney 1995; Chen & Goodman 1999, eq. 26).

        p_k(w | h) = max(a(hw) - D_k, 0) / Σ_v a(hv) + D_k · |{v : a(hv) > 0}| / Σ_v a(hv) · p_{k-1}(w | h')

    a(g) counts how often g occurs, where k is the order or g begins a sequence; elsewhere it counts the different
    tokens that precede g. D_k = n_1 / (n_1 + 2 n_2) of the k-grams with a = 1 and 2, ½ where one of them is 0. h' is h
    without its first token, p_0 is uniform, and a context that was never seen leaves p_k = p_{k-1}.

    Args:
        sequences: what is learned from, as `strip` returns them.
        vocab_size: V.
        ends: whether the end of a sequence is a token that is predicted; where all are of one length it is none.
        order: greatest n.

    Raises:
        ShapeError: no sequences, or an order below 1.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], vocab_size: int, ends: bool, order: int = 5) -> None:
        require_stripped(sequences, "sequences", at_least=1)
        if order < 1:
            raise ShapeError(f"order={order}: an n-gram has at least one token.")
        self._order, self._ends = order, ends
        self._num_outcomes = vocab_size + int(ends)
        self._windows = self._windows_of(sequences)

    def mean_nll(self, sequences: Sequence[Sequence[int]]) -> float:
        """Negative log-probability of sequences, nats a token, ends included where they are predicted."""
        return float(-np.log(self.probabilities(sequences)).mean())

    def probabilities(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        """Probability of each token given those before it.

        Args:
            sequences: as `strip` returns them.

        Returns:
            (tokens,) float64 of all sequences in turn.
        """
        require_stripped(sequences, "sequences", at_least=1)
        windows = np.concatenate([self._windows, self._windows_of(sequences)])
        known = len(self._windows)
        result = np.full(len(windows) - known, 1.0 / self._num_outcomes)
        context = np.zeros(len(windows), np.int64)  # ids of the k-1 tokens before, of known and asked ones together
        gram = windows[:, -1].astype(np.int64)  # ids of those and the token itself
        for k in range(1, self._order + 1):
            is_whole = windows[:, -k] != self._nothing  # shorter ones end at the sequence's beginning
            counts = self._counts(gram[:known], windows[:known], k, is_whole[:known], int(gram.max()) + 1)
            # Every gram has one context.
            kinds, first = np.unique(gram[:known][is_whole[:known]], return_index=True)
            context_of_kind = context[:known][is_whole[:known]][first]
            size = int(context.max()) + 1
            total = np.bincount(context_of_kind, weights=counts[kinds], minlength=size)
            num_different = np.bincount(context_of_kind, minlength=size)
            discount = _discount(counts[kinds])
            asked, place = gram[known:], context[known:]
            seen = is_whole[known:] & (total[place] > 0)
            below = np.where(seen, total[place], 1.0)
            mixed = (np.maximum(counts[asked] - discount, 0.0) + discount * num_different[place] * result) / below
            result = np.where(seen, mixed, result)
            if k < self._order:
                context, gram = _extended(context, windows[:, -k - 1]), _extended(gram, windows[:, -k - 1])
        return result

    def _windows_of(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        """(tokens, order): each token that is predicted, last, and what stands before it; -2 where nothing does."""
        order, end = self._order, [self._num_outcomes - 1] if self._ends else []
        rows = []
        for sequence in sequences:
            padded = np.array([*([self._nothing] * (order - 1)), *sequence, *end], np.int64)
            if order > 1:
                padded[order - 2] = self._beginning
            if len(padded) >= order:
                rows.append(np.lib.stride_tricks.sliding_window_view(padded, order))
        if not rows:
            raise ShapeError("sequences: all are empty, so there is no token to predict.")
        return np.concatenate(rows)

    _beginning, _nothing = -1, -2

    def _counts(
        self, gram: np.ndarray, windows: np.ndarray, k: int, is_whole: np.ndarray, num_grams: int
    ) -> np.ndarray:
        """a(g) by id of the k-gram."""
        raw = np.bincount(gram[is_whole], minlength=num_grams).astype(np.float64)
        if k == self._order:
            return raw
        before = windows[:, -k - 1]
        pairs = np.unique(np.stack([gram, before])[:, is_whole & (before != self._nothing)], axis=1)
        counts = np.bincount(pairs[0], minlength=num_grams).astype(np.float64)
        begins = np.unique(gram[is_whole & (windows[:, -k] == self._beginning)])
        counts[begins] = raw[begins]
        return counts


def _extended(ids: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Ids of what the ids stand for with one more token before it."""
    base = int(before.max()) + 3  # tokens, and the two marks below 0
    return np.unique(ids * base + before + 2, return_inverse=True)[1]


def _discount(counts: np.ndarray) -> float:
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once / (once + 2 * twice) if once and twice else 0.5
