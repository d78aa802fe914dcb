"""Logistic regression on features that a person can read: a discriminator whose every weight has a name (PARED's form).

    u(y) = b + Σ_i w_i f_i(y) + Σ_i≤j w_ij f_i(y)·f_j(y)          f_i in [0, 1]

It starts at 0 and its loss is convex, so what it learns is a function of the data alone. It reads nothing of what a
sequence is given.

    B sequences, T positions, F features, P terms of the polynomial
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from rlgan.base.errors import ShapeError
from rlgan.base.search_priors import NotSearched
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.metrics.shortcuts import form_of

from .discriminator import Architecture, Discriminator, Granularity, PlainScorer, Reads, Scorer

_OF_FORM = (
    "capital",
    "symbol_first",
    "sentence_end",
    "line_break",
    "digit",
    "markup",
    "blanks",
)
"""Names of what `form_of` counts, in its order."""
_OF_TEXT = ("letters", "capitals", "punctuation", "word_length")
_OF_TOKENS = ("ended", "distinct", "repeated")
_ZERO_OR_ONE = frozenset(("ended", *_OF_FORM))


class Logistic(Architecture):
    """Logistic regression on named features of a text: its form, its characters, its repeats; its length if wanted."""

    kind: Literal["logistic"] = "logistic"
    not_searched: ClassVar[NotSearched] = NotSearched("a judge that can be read: preset pared")
    degree: int = Field(2, ge=1, le=2)
    """Degree of the polynomial: 1 has a weight for each feature, 2 also one for each product of two."""
    length: Annotated[bool, NotSearched("a discriminator that reads the length teaches the length")] = False
    """Whether the length is a feature, too. PARED leaves it out on purpose."""
    l2: float = Field(1e-3, ge=0.0)
    """Weight λ of the penalty λ·½Σw² on all weights but the constant."""
    members: ClassVar[int] = 1
    reads: ClassVar[Reads] = "either"
    granularity: ClassVar[Granularity] = "sequence"
    has_embedding: ClassVar[bool] = False

    @property
    def reads_soft_rows(self) -> bool:
        """Never: a mixture of tokens has no text."""
        return False


class LogisticDiscriminator(Discriminator):
    """A linear function of a polynomial of features.

    Args:
        settings: which features, and which products of them.
        space: the task's sequences; where it has no spelling, features are of tokens alone.

    Attributes:
        features: F names of features.
        terms: P names of what has a weight: features, squares as `name*name`, products as `one*other`.
    """

    def __init__(self, settings: Logistic, space: SequenceSpace) -> None:
        super().__init__()
        self._space, self._l2 = space, settings.l2
        self._of_text = space.spelling is not None
        names = (*_OF_TOKENS, *_OF_FORM, *_OF_TEXT) if self._of_text else _OF_TOKENS
        self.features = (*names, "length") if settings.length else names
        pairs: list[tuple[int, int]] = []
        if settings.degree > 1:
            # The square of what is 0 or 1 is the feature itself.
            pairs = [
                (one, other)
                for one, other in combinations_with_replacement(range(len(self.features)), 2)
                if one != other or self.features[one] not in _ZERO_OR_ONE
            ]
        self.terms = (*self.features, *(f"{self.features[one]}*{self.features[other]}" for one, other in pairs))
        self._first, self._second = (torch.tensor([pair[side] for pair in pairs], dtype=torch.int64) for side in (0, 1))
        self.weight = nn.Parameter(torch.zeros(len(self.terms)))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Real-logits; see `Discriminator.forward`.

        Raises:
            ShapeError: soft rows.
        """
        return self._terms_of(tokens, mask) @ self.weight + self.bias

    def _terms_of(self, tokens: Tensor, mask: Tensor) -> Tensor:
        features = self.features_of(tokens, mask).to(self.weight.dtype)
        first, second = self._first.to(tokens.device), self._second.to(tokens.device)
        return torch.cat([features, features[:, first] * features[:, second]], 1)

    @torch.no_grad()
    def features_of(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, F) float32 in [0, 1], by the names of `features`.

        `ended`: whether there is a terminator. `distinct`: different tokens, of all. `repeated`: pairs of neighbouring
        tokens that stood in the sequence before, of all. Then what `rlgan.metrics.shortcuts.form_of` counts. `letters`,
        `capitals`, `punctuation`: of the characters that are no blanks, those that are letters, capital letters, and
        neither letters nor digits. `word_length`: n/(n + 5) of the mean number n of characters between blanks.
        `length`: tokens of at most T. The terminator is no token of these; what an empty sequence has none of is 0.

        Args:
            tokens: (B, T) int64.
            mask: (B, T) bool.

        Raises:
            ShapeError: soft rows.
        """
        if tokens.is_floating_point():
            raise ShapeError(
                f"tokens {tuple(tokens.shape)} {tokens.dtype}: discriminator 'logistic' reads tokens (B, T) int64, not "
                "soft rows. Use another discriminator.",
                code="logistic_reads_tokens",
            )
        end_id, rows = self._space.end_id, []
        texts: list[str] | None = None
        if self._space.spelling is not None:
            texts = self._space.spelling.texts(tokens, mask, end_id)
        for index, (row, number) in enumerate(zip(tokens.tolist(), mask.sum(1).tolist(), strict=True)):
            ids = row[:number]
            has_ended = bool(ids) and ids[-1] == end_id
            ids = ids[: len(ids) - has_ended]
            values = [float(has_ended), _share(len(set(ids)), len(ids)), _repeated(ids)]
            if texts is not None:
                values += [float(one) for one in form_of(texts[index])] + _of_characters(texts[index])
            if len(values) < len(self.features):
                values.append(len(ids) / self._space.max_length)
            rows.append(values)
        return torch.tensor(rows, dtype=torch.float32, device=tokens.device).reshape(len(tokens), len(self.features))

    def part_logits(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> dict[str, Tensor]:
        """What each feature adds to the logit, by its name, with half of each product; see `Discriminator.part_logits`.

        With the constant they sum to the logit.
        """
        shares = self._terms_of(tokens, mask) * self.weight
        number = len(self.features)
        parts, products = shares[:, :number].clone(), shares[:, number:] / 2
        for side in (self._first, self._second):
            parts.index_add_(1, side.to(parts.device), products)
        return dict(zip(self.features, parts.unbind(1), strict=True))

    def named_weights(self) -> dict[str, float]:
        """The weight of each term, by its name, and the `constant`; see `Discriminator.named_weights`."""
        return dict(zip(self.terms, self.weight.tolist(), strict=True)) | {"constant": float(self.bias)}

    def penalty(self) -> Tensor:
        """λ·½Σw²."""
        return self._l2 * 0.5 * self.weight.square().sum()

    def scorer(self) -> Scorer:
        """A frozen copy; see `Discriminator.scorer`."""
        return PlainScorer(self)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _repeated(ids: list[int]) -> float:
    pairs = list(zip(ids, ids[1:], strict=False))
    return _share(len(pairs) - len(set(pairs)), len(pairs))


def _of_characters(text: str) -> list[float]:
    seen = [one for one in text if not one.isspace()]
    words = text.split()
    counted = (
        sum(one.isalpha() for one in seen),
        sum(one.isupper() for one in seen),
        sum(not one.isalnum() for one in seen),
    )
    mean = _share(len(seen), len(words))
    return [*(_share(one, len(seen)) for one in counted), mean / (mean + 5.0)]
