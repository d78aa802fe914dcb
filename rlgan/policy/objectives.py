"""Generator losses as weights on token log-probabilities (docs/algorithms.md §19).

    L_G = - Σ_b Σ_t weights[b, t] · log p_θ(y_bt | y_b<t)

Normalisers see the whole batch, so the weights are formed where the batch is whole; the learner only sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from rlgan.base.declarations import Fields
from rlgan.base.errors import ConfigError, ShapeError
from rlgan.base.problems import Problem
from rlgan.base.search_priors import Choice, NotSearched
from rlgan.base.settings import Settings
from rlgan.layers.relaxation import Relaxation
from rlgan.layers.relaxation_temperatures import FixedTemperature, TemperatureSettings, temperature_at

from .implicit_losses import ImplicitLossSettings, PairLogistic, log_ratios_of

LossNormaliser = Literal["sum", "sequence", "token", "fixed", "sequence_mean"]


class Objective(Settings):
    """What every objective declares.

    Beside these each has `epochs`, passes over a batch, and `minibatches`, optimiser steps a pass, both 1 where it has
    no such setting; the `loss_normaliser`; and the `entropy_bonus`, 0 where it has none.
    """

    reads_reward: ClassVar[bool] = False
    """Whether rewards of generated sequences are used, so that reward, credit, baseline, normalisation and reference
    have an effect."""
    is_differentiated: ClassVar[bool] = False
    """Whether the generator is differentiated through the discriminator."""
    relaxes: ClassVar[bool] = False
    """Whether drawn tokens of the generator are relaxed."""
    draws_tokens: ClassVar[bool] = True
    """Whether it is for generators that draw tokens; otherwise for those that generate soft rows from noise."""

    needs_positive: ClassVar[bool] = False
    """Whether advantages must be weights of at least 0."""
    contrasts_reals: ClassVar[bool] = False
    """Whether generated sequences are set against real ones under the same conditions, by the generator's own
    log-probabilities, so that there is neither a reward nor a discriminator."""

    @property
    def makes_soft_rows(self) -> bool:
        """Whether the discriminator learns from soft rows in the place of tokens."""
        return False

    def relaxation(self, update: int, num_updates: int) -> Relaxation | None:
        """How tokens are drawn in a generator update; None where the objective relaxes nothing.

        Args:
            update: counted from 0.
            num_updates: of the whole adversarial phase.
        """
        return None

    def terms(self, weights: Tensor, old_logprobs: Tensor) -> dict[str, Tensor]:
        """The terms of the loss that teach by advantages, by the names of `Experience`.

        Args:
            weights: (B, T) float32, advantages over the normaliser; 0 where nothing is learned.
            old_logprobs: (B, T) float32 nats, of the policy that drew the tokens.
        """
        return {"weights": weights}

    def surrogate(self, logprobs: Tensor, old_logprobs: Tensor, weights: Tensor) -> Tensor:
        """The clipped term of the loss; see `clipped_surrogate`.

        Raises:
            ShapeError: the objective clips nothing.
        """
        raise ShapeError("clipped_weights: the objective does not clip.", code="objective_clips_nothing")

    def pair_losses(self, real_ratios: Tensor, fake_ratios: Tensor) -> Tensor:
        """Losses of pairs of a real and a generated sequence; see `ImplicitLoss.of`.

        Raises:
            ShapeError: the objective contrasts nothing.
        """
        raise ShapeError("pair_weights: the objective contrasts no pairs.", code="objective_contrasts_nothing")

    def clipped(self, logprobs: Tensor, old_logprobs: Tensor, weights: Tensor) -> tuple[int, int]:
        """How many tokens the clip holds, and how many are weighted; see `clipped_tokens`."""
        return 0, int((weights != 0).sum())


class Reinforce(Objective):
    """REINFORCE: the weight of a token is its advantage divided by the normaliser."""

    kind: Literal["reinforce"] = "reinforce"
    loss_normaliser: Annotated[LossNormaliser, Choice(("sum", "sequence", "token", "fixed", "sequence_mean"))] = (
        "sequence"
    )
    """Divisor: sum 1 | sequence B | token Σ mask | fixed B·T | sequence_mean B times the length of each sequence.
    SeqGAN uses sum, ScratchGAN fixed, GRPO sequence_mean. TRL calls token dapo, sequence_mean grpo, fixed dr_grpo."""
    entropy_bonus: Annotated[float, Choice((0.0, 1e-3, 1e-2))] = Field(0.0, ge=0.0)
    """Weight of the entropy bonus, divided by the same normaliser."""
    reads_reward: ClassVar[bool] = True
    epochs: ClassVar[int] = 1
    minibatches: ClassVar[int] = 1


class PPO(Objective):
    """Proximal policy optimisation: several epochs per batch with a clipped ratio (Schulman et al. 2017)."""

    kind: Literal["ppo"] = "ppo"
    loss_normaliser: Annotated[LossNormaliser, Choice(("sum", "sequence", "token", "fixed", "sequence_mean"))] = "token"
    """As for `reinforce`."""
    entropy_bonus: Annotated[float, Choice((0.0, 1e-3, 1e-2))] = Field(0.0, ge=0.0)
    """As for `reinforce`."""
    clip_low: Annotated[float, Choice((0.1, 0.2))] = Field(0.2, gt=0.0, lt=1.0)
    """The ratio is clipped below 1 minus this value."""
    clip_high: Annotated[float, Choice((0.1, 0.2, 0.28))] = Field(0.2, gt=0.0)
    """The ratio is clipped above 1 plus this value (DAPO: 0.28)."""
    epochs: Annotated[int, Choice((1, 2, 4))] = Field(4, ge=1)
    """Number of passes over each batch of sequences."""
    minibatches: Annotated[int, Choice((1, 2, 4))] = Field(1, ge=1)
    """Optimiser steps per pass. With one pass of one step nothing is clipped, so it equals `reinforce`."""
    ratio: Annotated[Literal["token", "sequence"], NotSearched("part of a method's definition")] = "token"
    """Ratio that is clipped: of every token, or of the whole sequence, which is the product of those of its tokens
    (TextGAIL). A sequence then has the mean of its tokens' advantages."""
    reads_reward: ClassVar[bool] = True

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Something is clipped, and what is clipped as one is worth one thing."""
        credit = fields.credit
        if self.ratio == "sequence" and (
            "token" in credit.levels or credit.judges_prefixes or credit.num_continuations
        ):
            yield Problem(
                "ratio_of_parts",
                {"objective.ratio": self.ratio},
                f"clips whole sequences, but credit={credit.kind!r} gives tokens values of their own. Use credit "
                "terminal, or set it to token.",
            )
        if self.epochs == self.minibatches == 1:
            yield Problem(
                "nothing_is_clipped",
                {"objective.epochs": 1, "objective.minibatches": 1},
                (
                    "a single step starts at the sampling policy, where nothing is clipped. Raise one of them, or use "
                    "objective reinforce."
                ),
            )

    def terms(self, weights: Tensor, old_logprobs: Tensor) -> dict[str, Tensor]:
        """See `Objective.terms`: all of it in the clipped term."""
        return {"weights": torch.zeros_like(weights), "clipped_weights": weights, "old_logprobs": old_logprobs}

    def surrogate(self, logprobs: Tensor, old_logprobs: Tensor, weights: Tensor) -> Tensor:
        """See `Objective.surrogate`."""
        if self.ratio == "sequence":
            logprobs, old_logprobs, weights = of_whole_sequences(logprobs, old_logprobs, weights)
        return clipped_surrogate(logprobs, old_logprobs, weights, self.clip_low, self.clip_high)

    def clipped(self, logprobs: Tensor, old_logprobs: Tensor, weights: Tensor) -> tuple[int, int]:
        """See `Objective.clipped`; of whole sequences where these are clipped."""
        if self.ratio == "sequence":
            logprobs, old_logprobs, weights = of_whole_sequences(logprobs, old_logprobs, weights)
        return clipped_tokens(logprobs, old_logprobs, weights, self.clip_low, self.clip_high)


class WeightedLikelihood(Objective):
    """Expert iteration: several passes of likelihood over the drawn sequences, each weighted by its advantage.

    The first step is that of `reinforce`. Later ones do not ask which policy drew the tokens, so that with weights of
    q/p the generator moves towards argmin KL(q‖p_θ), however far that is (GCN, Lamprier et al. 2022).
    """

    not_searched: ClassVar[NotSearched] = NotSearched("only for weights that are not negative: preset gcn")
    kind: Literal["weighted_likelihood"] = "weighted_likelihood"
    loss_normaliser: LossNormaliser = "sequence"
    """As for `reinforce`."""
    epochs: int = Field(2, ge=1)
    """Number of passes over each batch of sequences."""
    minibatches: int = Field(2, ge=1)
    """Optimiser steps per pass."""
    reads_reward: ClassVar[bool] = True
    needs_positive: ClassVar[bool] = True
    entropy_bonus: ClassVar[float] = 0.0

    def check(self, fields: Fields) -> Iterator[Problem]:
        """There is more than one step, and no sequence is to become less likely without end."""
        if self.epochs == self.minibatches == 1:
            yield Problem(
                "nothing_is_repeated",
                {"objective.epochs": 1, "objective.minibatches": 1},
                "with a single step this is objective reinforce. Raise one of them, or use objective reinforce.",
            )
        reward, baseline, normalisation = fields.reward, fields.baseline, fields.normalisation
        if not reward.is_positive or baseline.subtracts or normalisation.centres:
            yield Problem(
                "likelihood_below_zero",
                {"objective": self.kind},
                (
                    f"needs weights of at least 0, but reward={reward.kind!r} with baseline={baseline.kind!r} and "
                    f"normalisation={normalisation.kind!r} may be negative. Use reward probability, baseline none and "
                    "normalisation self_normalised, or objective ppo."
                ),
            )


class Gumbel(Objective):
    """No reward: the generator is trained through relaxed samples and the discriminator, by its own GAN loss (10).

    The form of the loss follows `adversary.loss`: see `rlgan.adversary.losses.Loss.of_generator`.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("makes reward, credit and baseline have no effect")
    kind: Literal["gumbel"] = "gumbel"
    straight_through: bool = False
    """Whether the discriminator and the next step of the generator see one-hot rows, with the gradient of the soft
    ones."""
    fakes: Literal["soft", "tokens"] = "soft"
    """Training data of the discriminator: the soft rows that it judges, as published (their softness alone reveals
    them as fake), or tokens drawn from the same distribution."""
    temperature: TemperatureSettings = FixedTemperature()
    """Temperature of the relaxation."""
    is_differentiated: ClassVar[bool] = True
    relaxes: ClassVar[bool] = True
    epochs: ClassVar[int] = 1
    minibatches: ClassVar[int] = 1
    loss_normaliser: ClassVar[LossNormaliser] = "sequence"
    entropy_bonus: ClassVar[float] = 0.0

    @property
    def makes_soft_rows(self) -> bool:
        """As `fakes` says; straight-through rows are tokens already."""
        return self.fakes == "soft" and not self.straight_through

    @model_validator(mode="after")
    def _check(self) -> Gumbel:
        if self.straight_through and self.fakes != "soft":
            raise ConfigError(
                f"objective.fakes={self.fakes!r}: has no effect, because straight-through rows are already tokens. "
                "Set it to soft.",
                code="fakes_no_effect",
                fields={"objective.fakes": self.fakes},
            )
        return self

    def relaxation(self, update: int, num_updates: int) -> Relaxation:
        """See `Objective.relaxation`."""
        return Relaxation(temperature_at(self.temperature, update, num_updates), self.straight_through)


class Soft(Objective):
    """No reward and no tokens: the generator is trained through its soft rows of noise, by its own GAN loss (8.2).

    The form of the loss follows `adversary.loss`, as for `gumbel`.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("needs a generator that draws no tokens")
    kind: Literal["soft"] = "soft"
    is_differentiated: ClassVar[bool] = True
    draws_tokens: ClassVar[bool] = False
    epochs: ClassVar[int] = 1
    minibatches: ClassVar[int] = 1
    loss_normaliser: ClassVar[LossNormaliser] = "sequence"
    entropy_bonus: ClassVar[float] = 0.0

    @property
    def makes_soft_rows(self) -> bool:
        """Always."""
        return True


class Implicit(Objective):
    """No reward and no discriminator: real sequences against the generator's own, by its log-ratio to what drew them.

    A generator update draws `schedule.g_batch` sequences from the generator as it stands, the opponent π_t, and sets
    each against the real sequence of its condition, or where there are none against any. An update is an iteration of
    the papers (SPIN, GSIL): `schedule.g_batch` pairs are its data, `epochs` and `minibatches` the passes over them.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("makes reward, credit and baseline have no effect")
    kind: Literal["implicit"] = "implicit"
    loss: ImplicitLossSettings = PairLogistic()
    """Loss of the log-ratios of a pair."""
    epochs: int = Field(3, ge=1)
    """Number of passes over the pairs of an update."""
    minibatches: int = Field(1, ge=1)
    """Optimiser steps per pass."""
    contrasts_reals: ClassVar[bool] = True
    loss_normaliser: ClassVar[LossNormaliser] = "sequence"
    entropy_bonus: ClassVar[float] = 0.0

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Both sequences of a pair are whole, and have likelihoods."""
        forcing = fields.schedule.teacher_forcing
        if forcing.prefix_length(0):
            yield Problem(
                "contrast_of_prefixes",
                {"schedule.teacher_forcing": forcing.kind},
                (
                    f"begins generated sequences like real ones, but objective={self.kind!r} sets whole sequences "
                    "against real ones. Use mixed, interleaved, by_example or none."
                ),
            )

    def pair_losses(self, real_ratios: Tensor, fake_ratios: Tensor) -> Tensor:
        """See `Objective.pair_losses`."""
        return self.loss.of(real_ratios, fake_ratios)


class NoPolicyGradient(Objective):
    """No reward is used; the generator is trained by teacher forcing only (the control `mle_continued`)."""

    not_searched: ClassVar[NotSearched] = NotSearched("the control mle_continued")
    kind: Literal["none"] = "none"
    epochs: int = Field(1, ge=1)
    """Passes over each batch of mixed or by-example teacher forcing, as in the run that this is the control of."""
    minibatches: int = Field(1, ge=1)
    """Optimiser steps per pass."""
    loss_normaliser: LossNormaliser = "sequence"
    """Divisor of the by-example loss, as in the run that this is the control of."""
    entropy_bonus: ClassVar[float] = 0.0

    def check(self, fields: Fields) -> Iterator[Problem]:
        """There is teacher forcing to learn from, and what is said of its batches has an effect."""
        forcing = fields.schedule.teacher_forcing
        if not forcing.learns_likelihood:
            yield Problem(
                "nothing_is_learned",
                {"objective": self.kind},
                (
                    f"the generator would not be trained with schedule.teacher_forcing {forcing.kind}. Set an "
                    "objective, or mixed, interleaved or by_example teacher forcing."
                ),
            )
        if not forcing.in_the_same_update:
            for path, value in (("epochs", self.epochs), ("minibatches", self.minibatches)):
                if value != 1:
                    yield Problem(
                        "passes_over_nothing",
                        {f"objective.{path}": value},
                        "has no effect without mixed or by_example teacher forcing. Set it to 1.",
                    )
        if self.loss_normaliser != "sequence" and (forcing.takes_batches or not forcing.in_the_same_update):
            yield Problem(
                "divisor_of_nothing",
                {"objective.loss_normaliser": self.loss_normaliser},
                "with objective='none' has no effect without by_example teacher forcing. Set it to sequence.",
            )


ObjectiveSettings = Annotated[
    Reinforce | PPO | WeightedLikelihood | Gumbel | Soft | Implicit | NoPolicyGradient, Field(discriminator="kind")
]


def policy_gradient_weights(advantages: Tensor, mask: Tensor, normaliser: LossNormaliser) -> Tensor:
    """Weights = advantages / norm.

    Args:
        advantages: (B, T) float32, without gradient.
        mask: (B, T) bool.
        normaliser: sum 1 | sequence B | token Σ mask | fixed B·T | sequence_mean B times the sequence's length.

    Returns:
        (B, T) float32, 0 where mask is False.

    Raises:
        ShapeError: the shapes differ.
    """
    if advantages.shape != mask.shape:
        raise ShapeError(
            f"advantages {tuple(advantages.shape)} and mask {tuple(mask.shape)} differ.", code="objective_shapes"
        )
    return advantages.detach().masked_fill(~mask, 0.0) / _divisor(mask, normaliser)


def _divisor(mask: Tensor, normaliser: LossNormaliser) -> float | Tensor:
    batch, length = mask.shape
    if normaliser == "sequence_mean":
        return batch * mask.sum(1, keepdim=True).clamp_min(1)
    return {"sum": 1.0, "sequence": float(batch), "token": float(mask.sum()), "fixed": float(batch * length)}[
        normaliser
    ]


def share_of_batch(part: Tensor, whole: Tensor, normaliser: LossNormaliser) -> float:
    """What turns weights of some sequences, formed by themselves, into those of a batch: norm(part) / norm(whole).

    Args:
        part: (b, T) bool, mask of some of the sequences.
        whole: (B, T) bool, mask of all of them.
        normaliser: as of `policy_gradient_weights`.

    Returns:
        sum 1 | token Σ part / Σ whole | sequence, fixed, sequence_mean b / B.
    """
    if normaliser == "sum":
        return 1.0
    if normaliser == "token":
        return float(part.sum()) / float(whole.sum())
    return part.shape[0] / whole.shape[0]


def likelihood_weights(mask: Tensor) -> Tensor:
    """Weights that make the loss the mean negative log-likelihood per token: mask / Σ mask, (B, T) float32."""
    return mask.float() / mask.sum()


def weighted_nll(logprobs: Tensor, weights: Tensor) -> Tensor:
    """The plain term of the learner's loss: - Σ weights · logprobs.

    Args:
        logprobs: (B, T) float32 with gradient.
        weights: (B, T) float32 without.

    Returns:
        Scalar.
    """
    return -(weights.detach() * logprobs).sum()


def clipped_surrogate(
    logprobs: Tensor, old_logprobs: Tensor, weights: Tensor, clip_low: float, clip_high: float
) -> Tensor:
    """PPO's term of the learner's loss: - Σ min(ρ · weights, clip(ρ, 1 - low, 1 + high) · weights), ρ = p / p_old.

    Source: Schulman et al. 2017, eq. 7.

    Args:
        logprobs: (B, T) float32 nats with gradient.
        old_logprobs: (B, T) float32 nats, of the policy that drew the tokens.
        weights: (B, T) float32, advantages over their normaliser; 0 where nothing is learned.
        clip_low: in (0, 1).
        clip_high: above 0.

    Returns:
        Scalar.
    """
    # Where nothing is learned the ratio must not overflow: infinity times 0 is no number.
    ratio = torch.where(weights != 0, logprobs - old_logprobs, 0.0).exp()
    return -torch.minimum(ratio * weights, ratio.clamp(1.0 - clip_low, 1.0 + clip_high) * weights).sum()


def of_whole_sequences(logprobs: Tensor, old_logprobs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities (B, 1) of sequences, old ones likewise, and weights: the mean over the tokens that have one.

    So the first step has the gradient that it has with a ratio for each token, whatever the normaliser.

    Args:
        logprobs: (B, T) float32 nats with gradient.
        old_logprobs: (B, T) float32 nats.
        weights: (B, T) float32; 0 where nothing is learned.
    """
    counts = weights != 0
    sums = (torch.where(counts, one, 0.0).sum(1, keepdim=True) for one in (logprobs, old_logprobs, weights))
    new, old, total = sums
    return new, old, total / counts.sum(1, keepdim=True).clamp_min(1)


def clipped_tokens(
    logprobs: Tensor, old_logprobs: Tensor, weights: Tensor, clip_low: float, clip_high: float
) -> tuple[int, int]:
    """How many of the weighted tokens' ratios the clip holds, so that they have no gradient, and how many there are."""
    ratio = (logprobs - old_logprobs).detach().exp()
    held = ((weights > 0) & (ratio > 1.0 + clip_high)) | ((weights < 0) & (ratio < 1.0 - clip_low))
    return int(held.sum()), int((weights != 0).sum())


def logprob_gap(logprobs: Tensor, drawn_logprobs: Tensor) -> float:
    """Greatest distance, in nats, between what two computations of one policy say of the tokens that it drew.

    Before the first step learner and sampler are the same policy, so that all of it is rounding, or an error.

    Args:
        logprobs: (B, T) float32 nats, the learner's.
        drawn_logprobs: (B, T) float32 nats, the sampler's; 0 where it drew nothing.
    """
    was_drawn = drawn_logprobs != 0
    distances = (logprobs.detach() - drawn_logprobs)[was_drawn].abs()
    return float(distances.max()) if distances.numel() else 0.0


def reference_penalty(
    logprobs: Tensor, reference_logprobs: Tensor, weights: Tensor, old_logprobs: Tensor | None = None
) -> Tensor:
    """Σ weights · (exp(d) - d - 1), d = log p_reference - log p_θ: "k3", whose mean over p_θ is the KL divergence.

    Times ρ = p_θ / p_old, where there is an old policy, it is of tokens that this one drew, and ρ has a gradient, too.

    Source: Schulman 2020; with ρ DeepSeek-AI 2025 (DeepSeek-V3.2), eq. 7.

    Args:
        logprobs: (B, T) float32 nats with gradient.
        reference_logprobs: (B, T) float32 nats.
        weights: (B, T) float32, not negative.
        old_logprobs: (B, T) float32 nats; None leaves ρ out.

    Returns:
        Scalar.
    """
    difference = torch.where(weights != 0, reference_logprobs - logprobs, 0.0)
    terms = weights * (difference.exp() - difference - 1.0)
    if old_logprobs is not None:
        terms = terms * torch.where(weights != 0, logprobs - old_logprobs, 0.0).exp()
    return terms.sum()


def pair_ratios(terms: Mapping[str, Tensor], logprobs: Tensor, rival_logprobs: Tensor) -> tuple[Tensor, Tensor]:
    """Log-ratios (P,) of both sequences of each pair among the rows; see `rlgan.sampling.records.Experience`."""
    is_pair = terms["pair_weights"] != 0
    return (
        log_ratios_of(logprobs[is_pair], terms["old_logprobs"][is_pair], terms["pair_mask"][is_pair]),
        log_ratios_of(rival_logprobs[is_pair], terms["rival_old_logprobs"][is_pair], terms["rival_mask"][is_pair]),
    )


def learner_loss(
    objective: Objective,
    terms: Mapping[str, Tensor],
    logprobs: Tensor,
    entropies: Tensor | None = None,
    rival_logprobs: Tensor | None = None,
) -> Tensor:
    """All terms of the learner's loss; see `rlgan.sampling.records.Experience`.

    Args:
        objective: whose clip.
        terms: fields of an `Experience` that are there, by name.
        logprobs: (B, T) float32 nats with gradient.
        entropies: (B, T) float32 nats of the next token's distribution, with gradient; None without `entropy_weights`.
        rival_logprobs: (B, T) float32 nats of the rivals, with gradient; None without `pair_weights`.

    Returns:
        Scalar.
    """
    loss = weighted_nll(logprobs, terms["weights"])
    if "pair_weights" in terms:
        assert rival_logprobs is not None
        weights = terms["pair_weights"][terms["pair_weights"] != 0]
        loss = loss + (weights * objective.pair_losses(*pair_ratios(terms, logprobs, rival_logprobs))).sum()
    if "clipped_weights" in terms:
        loss = loss + objective.surrogate(logprobs, terms["old_logprobs"], terms["clipped_weights"])
    if "kl_weights" in terms:
        loss = loss + reference_penalty(logprobs, terms["reference_logprobs"], terms["kl_weights"])
    if "ratio_kl_weights" in terms:
        ends = terms["reference_logprobs"], terms["ratio_kl_weights"]
        loss = loss + reference_penalty(logprobs, *ends, terms["old_logprobs"])
    if "entropy_weights" in terms:
        assert entropies is not None
        loss = loss - (terms["entropy_weights"] * entropies).sum()
    return loss
