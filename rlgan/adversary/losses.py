"""What a discriminator minimises over a minibatch of reals and fakes: pure functions of its real-logits.

Each takes logits (B,) of whole sequences, or (B, T) of tokens with the mask of the real ones; the others never count.
Losses differ in what the logit means at their optimum, which decides what a reward may read into it: see `meaning`.

B sequences, T positions; p_d the distribution of reals, p_θ of fakes
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional
from typing_extensions import Self

from rlgan.base.declarations import Fields
from rlgan.base.errors import ConfigError, ShapeError
from rlgan.base.problems import Problem
from rlgan.base.search_priors import Choice, NotSearched

from .loss_base import ClassLosses, Loss, logits_by_class, require_shapes
from .margins import margins_within, sequence_scores
from .verdict_losses import VerdictGradient


class CrossEntropy(Loss):
    """Binary cross-entropy (Goodfellow et al. 2014)."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Annotated[float, Choice((0.0, 0.1, 0.2))] = Field(0.0, ge=0.0, lt=0.5)
    """Label smoothing s: reals have the label 1 - s, or 1 - s/2 where both classes are smoothed."""
    smooths: Annotated[Literal["reals", "both"], NotSearched("part of a method's definition")] = "reals"
    """Which labels are smoothed: those of reals alone, or (both) those of fakes, too, which then are s/2."""
    meaning: ClassVar[str] = "log p_d/p_θ"
    is_log_odds: ClassVar[bool] = True
    has_boundary: ClassVar[bool] = True
    needs_halves: ClassVar[bool] = False
    reads_fakes: ClassVar[bool] = True
    has_origin: ClassVar[bool] = True
    has_costs: ClassVar[bool] = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.smooths == "both" and not self.label_smoothing:
            raise ConfigError(
                "adversary.loss.smooths='both': has no effect, because adversary.loss.label_smoothing is 0. Set "
                "adversary.loss.label_smoothing, or set this to 'reals'.",
                code="smooths_nothing",
                fields={"adversary.loss.smooths": self.smooths},
            )
        return self

    @property
    def smoothing(self) -> float:
        """S."""
        return self.label_smoothing

    @property
    def off(self) -> tuple[float, float]:
        """How much less than 1 reals are labelled, and how much more than 0 fakes."""
        s = self.label_smoothing
        return (s, 0.0) if self.smooths == "reals" else (s / 2, s / 2)

    def of(self, real_logits: Tensor, is_real: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `cross_entropy`."""
        return cross_entropy(real_logits, is_real, mask, *self.off)

    def of_unequal(self, real_logits: Tensor, is_real: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `Loss.of_unequal`: half the sum of the means of both classes."""
        losses = self.by_class(real_logits, is_real, mask)
        return 0.5 * (losses.real + losses.fake)

    def _apart(self, real: Tensor, fake: Tensor) -> ClassLosses:
        of = functional.binary_cross_entropy_with_logits
        less, more = self.off
        of_fake = of(fake, torch.full_like(fake, more)) if more else functional.softplus(fake).mean()
        return ClassLosses(of(real, torch.full_like(real, 1.0 - less)), of_fake)

    def of_generator(self, fake_logits: Tensor, beside: Tensor | None = None) -> Tensor:
        """See `Loss.of_generator`."""
        return functional.softplus(-fake_logits)


class Hinge(Loss):
    """Hinge loss: samples correct by more than 1 have no effect (Lim & Ye 2017; SAGAN, Zhang et al. 2019)."""

    kind: Literal["hinge"] = "hinge"
    meaning: ClassVar[str] = "the sign of p_d - p_θ"
    has_boundary: ClassVar[bool] = True
    reads_fakes: ClassVar[bool] = True
    has_origin: ClassVar[bool] = True
    has_costs: ClassVar[bool] = True

    def of(self, real_logits: Tensor, is_real: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `hinge`."""
        return hinge(real_logits, is_real, mask)

    def _apart(self, real: Tensor, fake: Tensor) -> ClassLosses:
        return ClassLosses(functional.relu(1.0 - real).mean(), functional.relu(1.0 + fake).mean())

    def of_generator(self, fake_logits: Tensor, beside: Tensor | None = None) -> Tensor:
        """See `Loss.of_generator`."""
        return -fake_logits


class Wasserstein(Loss):
    """Difference of a critic's means (Arjovsky et al. 2017). The critic's slope must be bounded."""

    kind: Literal["wasserstein"] = "wasserstein"
    meaning: ClassVar[str] = "a score with unknown origin and scale"
    reads_fakes: ClassVar[bool] = True
    needs_bounded_slope: ClassVar[bool] = True

    def of(self, real_logits: Tensor, is_real: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `wasserstein`."""
        return wasserstein(real_logits, is_real, mask)

    def _apart(self, real: Tensor, fake: Tensor) -> ClassLosses:
        return ClassLosses(-real.mean(), fake.mean())

    def of_generator(self, fake_logits: Tensor, beside: Tensor | None = None) -> Tensor:
        """See `Loss.of_generator`."""
        return -fake_logits


class LeastSquares(Loss):
    """Squared distance from +1 for reals and -1 for fakes (LSGAN, Mao et al. 2017)."""

    kind: Literal["least_squares"] = "least_squares"
    meaning: ClassVar[str] = "(p_d - p_θ)/(p_d + p_θ)"
    has_boundary: ClassVar[bool] = True
    reads_fakes: ClassVar[bool] = True
    has_origin: ClassVar[bool] = True
    has_costs: ClassVar[bool] = True

    def of(self, real_logits: Tensor, is_real: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `least_squares`."""
        return least_squares(real_logits, is_real, mask)

    def _apart(self, real: Tensor, fake: Tensor) -> ClassLosses:
        return ClassLosses(0.5 * (real - 1.0).square().mean(), 0.5 * (fake + 1.0).square().mean())

    def of_generator(self, fake_logits: Tensor, beside: Tensor | None = None) -> Tensor:
        """See `Loss.of_generator`."""
        return 0.5 * (fake_logits - 1.0).square()


class Relativistic(Loss):
    """Which of a real and a fake is the real one (Jolicoeur-Martineau 2018; RelGAN, Nie et al. 2019)."""

    kind: Literal["relativistic"] = "relativistic"
    meaning: ClassVar[str] = "log p_d/p_θ plus an unknown constant"
    reads_fakes: ClassVar[bool] = True
    compares_classes: ClassVar[bool] = True
    guides_beside_reals: ClassVar[bool] = True

    def of(self, real_logits: Tensor, is_real: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `relativistic`."""
        return relativistic(real_logits, is_real, mask)

    def of_generator(self, fake_logits: Tensor, beside: Tensor | None = None) -> Tensor:
        """See `Loss.of_generator`: the i-th fake beside the i-th real, as published."""
        if beside is None:
            return super().of_generator(fake_logits)
        return functional.softplus(beside - fake_logits)


class Ranking(Loss):
    """Reals are to rank high among fakes, and fakes low among reals (RankGAN, Lin et al. 2017)."""

    not_searched: ClassVar[NotSearched] = NotSearched("only for a discriminator that ranks: preset rankgan")
    kind: Literal["ranking"] = "ranking"
    meaning: ClassVar[str] = "the log of a rank score"
    reads_fakes: ClassVar[bool] = True
    has_origin: ClassVar[bool] = True
    is_of_ranks: ClassVar[bool] = True

    def check(self, fields: Fields) -> Iterator[Problem]:
        """There is a ranker."""
        network = fields.discriminator
        if network is not None and not network.ranks:
            ranker = "pair_ranker" if fields.task.gives_conditions else "ranker"
            yield Problem(
                "ranking_without_ranker",
                {"adversary.loss": self.kind},
                f"needs rank scores, but discriminator={network.kind!r} gives verdicts. Use discriminator {ranker}, or "
                "another loss.",
            )

    def of(self, real_logits: Tensor, is_real: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `ranking`."""
        return ranking(real_logits, is_real, mask)

    def _apart(self, real: Tensor, fake: Tensor) -> ClassLosses:
        return ClassLosses(-real.mean(), fake.mean())

    def of_generator(self, fake_logits: Tensor, beside: Tensor | None = None) -> Tensor:
        """See `Loss.of_generator`: to rank high."""
        return -fake_logits


class BradleyTerry(Loss):
    """Which of two answers to one prompt is the real one (Bradley & Terry 1952; GAD, Ye et al. 2025)."""

    not_searched: ClassVar[NotSearched] = NotSearched("needs a task that gives prompts")
    kind: Literal["bradley_terry"] = "bradley_terry"
    temperature: float = Field(1.0, gt=0.0)
    """T, over which margins are taken: a larger one keeps a gradient where margins are large."""
    label_smoothing: float = Field(0.0, ge=0.0, lt=0.5)
    """Share of pairs that are labelled the other way round, so that margins stay finite."""
    meaning: ClassVar[str] = "log p_d/p_θ plus an unknown constant of each prompt"
    needs_halves: ClassVar[bool] = False
    reads_fakes: ClassVar[bool] = True
    compares_classes: ClassVar[bool] = True
    within_prompts: ClassVar[bool] = True

    @property
    def margin_temperature(self) -> float:
        """T."""
        return self.temperature

    @property
    def smoothing(self) -> float:
        """S."""
        return self.label_smoothing

    def of(self, real_logits: Tensor, is_real: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `bradley_terry`; all are answers to one prompt."""
        return self.of_prompts(real_logits, is_real, torch.zeros_like(is_real, dtype=torch.int64), mask)

    def of_prompts(self, real_logits: Tensor, is_real: Tensor, prompts: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `bradley_terry`."""
        return bradley_terry(real_logits, is_real, prompts, mask, self.temperature, self.label_smoothing)


class Likelihood(Loss):
    """Negative log-likelihood of a language model; it does not classify reals and fakes."""

    not_searched: ClassVar[NotSearched] = NotSearched("only for one discriminator: presets lm_ratio, mediator")
    kind: Literal["likelihood"] = "likelihood"
    learns: Annotated[Literal["reals", "mixture"], Choice(("reals", "mixture"))] = "reals"
    """Training data: reals only (the LM-ratio discriminator), or reals and an equal number of fakes (the mediator,
    Lu et al. 2019)."""
    meaning: ClassVar[str] = "log p_φ"
    needs_halves: ClassVar[bool] = False
    has_origin: ClassVar[bool] = True
    is_of_a_distribution: ClassVar[bool] = True

    @property
    def reads_fakes(self) -> bool:
        """Whether it learns from fakes at all."""
        return self.learns == "mixture"

    def of(self, real_logits: Tensor, is_real: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `likelihood`."""
        return likelihood(real_logits, is_real, mask, self.learns)


class PrefixCrossEntropy(Loss):
    """Cross-entropy of every prefix, whose logit is log p_φ - log p_θ; p_φ learns, and p_θ is known.

    Its `of` takes those logits, which `prefix_log_ratios` makes of log p_φ: a distribution learns by telling apart.
    What tells apart well enough learns little more; `likelihood` goes on, and has the same optimum, p_φ = p_d.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("goes with one discriminator alone: preset density_ratio")
    kind: Literal["prefix_cross_entropy"] = "prefix_cross_entropy"
    likelihood: Annotated[float, NotSearched("part of a method's definition")] = Field(0.0, ge=0.0)
    """Weight of the negative log-likelihood of reals under p_φ, a token, which is added; 0 adds nothing."""
    meaning: ClassVar[str] = "log p_φ"
    has_boundary: ClassVar[bool] = True
    needs_halves: ClassVar[bool] = False
    reads_fakes: ClassVar[bool] = True
    has_origin: ClassVar[bool] = True
    is_of_a_distribution: ClassVar[bool] = True
    reads_policy: ClassVar[bool] = True

    def of(self, real_logits: Tensor, is_real: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `cross_entropy` and `excess_nll`."""
        loss = cross_entropy(real_logits, is_real, mask)
        if not self.likelihood or mask is None or not bool(is_real.any()):
            return loss
        return loss + self.likelihood * excess_nll(real_logits[is_real], mask[is_real])


LossSettings = Annotated[
    CrossEntropy
    | Hinge
    | Wasserstein
    | LeastSquares
    | Relativistic
    | Ranking
    | BradleyTerry
    | Likelihood
    | PrefixCrossEntropy
    | VerdictGradient,
    Field(discriminator="kind"),
]
"""Settings of any loss. Each class says what the logit is at its optimum (`meaning`), whether that is the log-odds,
whether 0 is the boundary between reals and fakes, whether half of every minibatch must be real, and whether there are
fakes in it at all."""


def cross_entropy(
    real_logits: Tensor,
    is_real: Tensor,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
    fake_label: float = 0.0,
) -> Tensor:
    """Mean binary cross-entropy over a minibatch of reals and fakes; the released SeqGAN code's form.

    With as many reals as fakes this is ½(mean softplus(-u_real) + mean softplus(u_fake)); other papers write
    the two class means as a sum. Tokens are averaged over all real ones together, so that each counts alike and the
    optimum is the ratio of prefixes, whatever the lengths; ScratchGAN divides by B·T, positions after the end included.

    Args:
        real_logits: (B,) or (B, T) float32, positive = real.
        is_real: (B,) bool.
        mask: (B, T) bool, with (B, T) logits only.
        label_smoothing: reals are labelled 1 - this.
        fake_label: what fakes are labelled.

    Returns:
        Scalar, nats.

    Raises:
        ShapeError: shapes do not fit.
    """
    require_shapes(real_logits, is_real, mask)
    labels = is_real.to(real_logits.dtype) * (1.0 - label_smoothing)
    if fake_label:
        labels = torch.where(is_real, labels, fake_label)
    if mask is not None:
        real_logits, labels = real_logits[mask], labels.unsqueeze(1).expand_as(mask)[mask]
    return functional.binary_cross_entropy_with_logits(real_logits, labels)


def excess_nll(prefix_logits: Tensor, mask: Tensor) -> Tensor:
    """NLL of reals under p_φ less that under p_θ, a token; its gradient is that of the first, for p_θ is given.

    Args:
        prefix_logits: (B, T) float32 log p_φ/p_θ of each prefix, of reals.
        mask: (B, T) bool.

    Returns:
        Scalar, nats.
    """
    whole = prefix_logits.gather(1, mask.sum(1, keepdim=True) - 1)
    return -whole.sum() / mask.sum()


def hinge(real_logits: Tensor, is_real: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean relu(1 - u_real) + mean relu(1 + u_fake); SAGAN (Zhang et al. 2019).

    Args:
        real_logits: (B,) or (B, T) float32, positive = real.
        is_real: (B,) bool.
        mask: (B, T) bool, with (B, T) logits only; means are over the real tokens of a class.

    Returns:
        Scalar.

    Raises:
        ShapeError: shapes do not fit, or a class is missing.
    """
    real, fake = logits_by_class(real_logits, is_real, mask)
    return functional.relu(1.0 - real).mean() + functional.relu(1.0 + fake).mean()


def wasserstein(real_logits: Tensor, is_real: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean f(fake) - mean f(real) (Arjovsky et al. 2017). Less a bound on f's slope, it has no minimum.

    Args:
        real_logits: f, (B,) or (B, T) float32, larger = more real.
        is_real: (B,) bool.
        mask: (B, T) bool, with (B, T) logits only; means are over the real tokens of a class.

    Returns:
        Scalar, units of f.

    Raises:
        ShapeError: shapes do not fit, or a class is missing.
    """
    real, fake = logits_by_class(real_logits, is_real, mask)
    return fake.mean() - real.mean()


def ranking(log_scores: Tensor, is_real: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean log R(y | U, C) of fakes among reals less that of reals among fakes; Lin et al. 2017, eq. 2.

    Args:
        log_scores: (B,) or (B, T) float32, of a ranker, below 0.
        is_real: (B,) bool.
        mask: (B, T) bool, with (B, T) scores only; means are over the real tokens of a class.

    Returns:
        Scalar, nats.

    Raises:
        ShapeError: shapes do not fit, or a class is missing.
    """
    real, fake = logits_by_class(log_scores, is_real, mask)
    return fake.mean() - real.mean()


def least_squares(real_logits: Tensor, is_real: Tensor, mask: Tensor | None = None) -> Tensor:
    """½ mean (u_real - 1)² + ½ mean (u_fake + 1)²; Mao et al. 2017, eq. 2 with a = -1 and b = 1.

    Of the paper's two codings this is the one whose boundary is 0. At the optimum u = 2D* - 1 and the loss is
    1 - χ²/2, χ² the triangular discrimination Σ (p_d - p_θ)²/(p_d + p_θ).

    Args:
        real_logits: (B,) or (B, T) float32, positive = real.
        is_real: (B,) bool.
        mask: (B, T) bool, with (B, T) logits only; means are over the real tokens of a class.

    Returns:
        Scalar.

    Raises:
        ShapeError: shapes do not fit, or a class is missing.
    """
    real, fake = logits_by_class(real_logits, is_real, mask)
    return 0.5 * (real - 1.0).square().mean() + 0.5 * (fake + 1.0).square().mean()


def relativistic(real_logits: Tensor, is_real: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of softplus(-(u_real - u_fake)) over all pairs of a real and a fake (RelGAN, Nie et al. 2019).

    RelGAN pairs the i-th real with the i-th fake; all pairs have the same expectation and less variance. Tokens are
    paired with those at the same position of the other sequence, where both have one: a real and a fake prefix of one
    length.

    Args:
        real_logits: (B,) or (B, T) float32, larger = more real.
        is_real: (B,) bool.
        mask: (B, T) bool, with (B, T) logits only.

    Returns:
        Scalar, nats; ln 2 where all logits are equal.

    Raises:
        ShapeError: shapes do not fit, or a class is missing.
    """
    require_shapes(real_logits, is_real, mask, needs_both=True)
    if mask is None:
        return functional.softplus(real_logits[~is_real] - real_logits[is_real].unsqueeze(1)).mean()
    real_logits = real_logits.masked_fill(~mask, 0.0)
    losses = functional.softplus(real_logits[~is_real] - real_logits[is_real].unsqueeze(1))
    both = mask[is_real].unsqueeze(1) & mask[~is_real]
    return losses.masked_fill(~both, 0.0).sum() / both.sum()


def bradley_terry(
    real_logits: Tensor,
    is_real: Tensor,
    prompts: Tensor,
    mask: Tensor | None = None,
    temperature: float = 1.0,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Mean of -(1 - ε) log σ(m/T) - ε log σ(-m/T) over pairs of a real and a fake of one prompt, m = s_real - s_fake.

    With one real and N fakes of each prompt, ε = 0 and T = 1 this is (1/N) Σ_i -log σ(D(x, y*) - D(x, y_i)), averaged
    over prompts (Ye et al. 2025, GAD). A constant added to all scores of a prompt changes nothing. The score of a
    sequence whose tokens are judged is the mean over its tokens.

    Args:
        real_logits: (B,) or (B, T) float32, larger = more real.
        is_real: (B,) bool.
        prompts: (B,) int64, equal for answers to one prompt.
        mask: (B, T) bool, with (B, T) logits only.
        temperature: T.
        label_smoothing: ε.

    Returns:
        Scalar, nats; ln 2 where all logits are equal.

    Raises:
        ShapeError: shapes do not fit, or no prompt has both.
    """
    require_shapes(real_logits, is_real, mask, needs_both=True)
    margins = margins_within(sequence_scores(real_logits, mask), is_real, prompts) / temperature
    losses = (1.0 - label_smoothing) * functional.softplus(-margins)
    if label_smoothing:
        losses = losses + label_smoothing * functional.softplus(margins)
    return losses.mean()


def likelihood(
    logprobs: Tensor, is_real: Tensor, mask: Tensor | None = None, learns: Literal["reals", "mixture"] = "reals"
) -> Tensor:
    """Mean of -log p_φ over the tokens of what is to be learned; docs/algorithms.md §7.

        reals    -(1/n) Σ_real Σ_t log p_φ(y_t | y_<t)                  least where p_φ = p_d
        mixture  -(1/n) Σ_real,fake Σ_t log p_φ(y_t | y_<t)             least where p_φ = ½(p_d + p_θ), both
                                                                        distributions of sequences; there it is the
    mixture's entropy with n the tokens that are summed. Tokens of both classes share one mean: a mean of each would
    weigh the tokens of the class of shorter sequences more, and what was learned would be no mixture of sequences.

    Args:
        logprobs: log p_φ, (B,) or (B, T) float32, nats.
        is_real: (B,) bool; the mixture asks for as many of each.
        mask: (B, T) bool, with (B, T) log-probabilities only.
        learns: reals alone, in which case fakes never count, or both.

    Returns:
        Scalar, nats a token.

    Raises:
        ShapeError: shapes do not fit, or there is nothing to learn from.
    """
    require_shapes(logprobs, is_real, mask)
    learned = is_real if learns == "reals" else torch.ones_like(is_real)
    if not bool(learned.any()):
        raise ShapeError(
            f"is_real {tuple(is_real.shape)}: the likelihood of {learns} needs at least one sequence.",
            code="likelihood_needs_sequences",
        )
    return -(logprobs[learned].mean() if mask is None else logprobs[learned][mask[learned]].mean())


def prefix_log_ratios(logprobs: Tensor, policy_logprobs: Tensor, mask: Tensor) -> Tensor:
    """Log p_φ(y_1…y_t)/p_θ(y_1…y_t) of every prefix; docs/algorithms.md §7.

    u_t = Σ_{s≤t} (log p_φ(y_s | y_<s) - log p_θ(y_s | y_<s)). With as many reals as fakes, the cross-entropy of these
    logits over all prefixes is least where u_t = log p_d/p_θ of each prefix, hence where p_φ = p_d.

    Args:
        logprobs: log p_φ, (..., B, T) float32, nats.
        policy_logprobs: log p_θ, (B, T) float32, nats, without gradient.
        mask: (B, T) bool.

    Returns:
        (..., B, T) float32, 0 where the mask is False.
    """
    return (logprobs - policy_logprobs).masked_fill(~mask, 0.0).cumsum(-1).masked_fill(~mask, 0.0)
