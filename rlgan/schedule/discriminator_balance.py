"""How much the discriminator learns beside the generator, as the run goes on (docs/algorithms.md §19.4 and §8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from rlgan.base.declarations import Fields
from rlgan.base.errors import ConfigError
from rlgan.base.problems import Problem
from rlgan.base.search_priors import Choice, LogUniform, NotSearched
from rlgan.base.settings import Settings

HELDOUT_AUC = "discriminator/auc_heldout"
LOSS_ON_REALS, LOSS_ON_FAKES = "discriminator/loss_real", "discriminator/loss_fake"


@dataclass(frozen=True, slots=True)
class BalanceState:
    """What is remembered between rounds.

    Attributes:
        rounds: of the discriminator in the whole run, which name its random streams.
        auc: held-out area under the ROC curve, as it was measured before the last round trained; None before the first.
        real_weight: k, what reals weigh in the discriminator's loss.
    """

    rounds: int = 0
    auc: float | None = None
    real_weight: float = 1.0


class Balance(Settings):
    """What every balance declares, and what it does with what rounds report."""

    moves_boundary: ClassVar[bool] = False
    """Whether it weights reals against fakes. This adds an unknown constant to the logit, and needs minibatches with
    equal numbers of both."""
    acts_in_pretraining: ClassVar[bool] = False
    """Whether it changes what rounds of pretraining learn, so that it has an effect without later rounds."""

    @property
    def hold_above(self) -> float | None:
        """Held-out area above which a round trains nothing; None where every round trains."""
        return None

    def first_state(self) -> BalanceState:
        """Before the first round."""
        return BalanceState()

    def most_rounds(self, iteration: int, d_steps: int) -> int:
        """Rounds of an adversarial iteration, if nothing ends them before.

        Args:
            iteration: counted from 0.
            d_steps: the schedule's.
        """
        return d_steps

    def suffices(self, state: BalanceState) -> bool:
        """Whether an iteration needs no more rounds."""
        return False

    def real_weight(self, state: BalanceState) -> float | None:
        """What reals weigh in the discriminator's loss; None where nothing is weighed."""
        return None

    def after_round(self, state: BalanceState, metrics: Mapping[str, float]) -> tuple[BalanceState, dict[str, float]]:
        """The state after a round, and metrics of the balance itself.

        Args:
            state: before the round.
            metrics: of the round.
        """
        return replace(state, rounds=state.rounds + 1, auc=metrics.get(HELDOUT_AUC, state.auc)), {}

    def check(self, fields: Fields) -> Iterator[Problem]:
        """It is of rounds between generator updates."""
        schedule = fields.schedule
        has_rounds = schedule.adversarial_updates and schedule.d_steps
        if self.acts_in_pretraining and schedule.adversarial_updates:
            has_rounds = has_rounds or schedule.discriminator_rounds
        if fields.discriminator is None or not has_rounds:
            yield Problem(
                "balance_of_no_rounds",
                {"schedule.balance": schedule.balance.kind},
                "has no effect without discriminator rounds between generator updates. Set it to fixed.",
            )


class FixedBalance(Balance):
    """`schedule.d_steps` discriminator rounds per iteration."""

    kind: Literal["fixed"] = "fixed"

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Always right."""
        yield from ()


class Band(Balance):
    """Up to `schedule.d_steps` discriminator rounds, until the discriminator ranks unseen data well enough.

    The area under its ROC curve is measured on the new fakes of each round before training; if it is above the band,
    the round does not train. The area is used instead of the accuracy, because a shift of all logits (label smoothing)
    moves the accuracy to one half.
    """

    kind: Literal["band"] = "band"
    acts_in_pretraining: ClassVar[bool] = True
    low: Annotated[float, Choice((0.55, 0.65))] = Field(0.6, gt=0.5, lt=1.0)
    """Area from which on no more rounds are needed in this iteration."""
    high: Annotated[float, Choice((0.75, 0.9))] = Field(0.8, gt=0.5, lt=1.0)
    """Area above which a round does not train."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.high < self.low:
            raise ConfigError(
                f"schedule.balance.high={self.high:g}: is below schedule.balance.low={self.low:g}. Raise it.",
                code="balance_band",
                fields={"schedule.balance.high": self.high, "schedule.balance.low": self.low},
            )
        return self

    @property
    def hold_above(self) -> float | None:
        """See `Balance.hold_above`."""
        return self.high

    def suffices(self, state: BalanceState) -> bool:
        """See `Balance.suffices`."""
        return state.auc is not None and state.auc >= self.low

    def check(self, fields: Fields) -> Iterator[Problem]:
        """There is something to rank."""
        yield from super().check(fields)
        loss = fields.adversary.loss
        ranks = not (loss.is_of_verdicts or (loss.is_of_a_distribution and not loss.has_boundary))
        if fields.discriminator is not None and not ranks:
            yield Problem(
                "nothing_is_ranked",
                {"schedule.balance": self.kind},
                (
                    f"needs the area under the ROC curve, but adversary.loss={loss.kind!r} does not rank. Set it to "
                    "fixed."
                ),
            )


class CriticWarmup(Balance):
    """Many rounds in the first iterations and at intervals, else `schedule.d_steps` (WGAN, Arjovsky et al. 2017)."""

    kind: Literal["critic_warmup"] = "critic_warmup"
    rounds: Annotated[int, Choice((20, 100))] = Field(100, ge=1)
    """Number of rounds in a warm-up iteration."""
    units: Annotated[int, Choice((5, 25))] = Field(25, ge=1)
    """Number of warm-up iterations at the start."""
    every: Annotated[int | None, Choice((None, 500))] = Field(500, ge=1)
    """Also warm up every N-th iteration; null disables."""

    def most_rounds(self, iteration: int, d_steps: int) -> int:
        """See `Balance.most_rounds`."""
        is_warm = iteration < self.units or (self.every is not None and iteration % self.every == 0)
        return self.rounds if is_warm else d_steps


class Equilibrium(Balance):
    """The weight of reals in the loss is adapted towards a ratio of its two parts (BEGAN, Berthelot 2017).

        k ← clip₀¹(k + λ·(γ·L(real) - L(fake))),   L_D = k·L(real) + L(fake),   M = L(real) + |γ·L(real) - L(fake)|

    In BEGAN fakes must be reconstructed badly, and k weights them against the reals. A classifier must do well on both:
    weighting fakes by such a k would reinforce itself and end at 0, where everything is classified as real. Weighting
    the reals converges. The weight moves the decision boundary, by log k at the optimum, not the amount of learning.
    """

    kind: Literal["equilibrium"] = "equilibrium"
    ratio: Annotated[float, Choice((0.5, 0.75, 1.0))] = Field(0.5, gt=0.0)
    """Target ratio γ = L(fake)/L(real)."""
    rate: Annotated[float, LogUniform(1e-3, 1e-1)] = Field(1e-3, gt=0.0)
    """Step size λ."""
    start: Annotated[float, NotSearched("it converges to the same k")] = Field(1.0, ge=0.0, le=1.0)
    """Initial k, also used in pretraining; 0 in the paper."""
    moves_boundary: ClassVar[bool] = True
    acts_in_pretraining: ClassVar[bool] = True

    def first_state(self) -> BalanceState:
        """See `Balance.first_state`."""
        return BalanceState(real_weight=self.start)

    def real_weight(self, state: BalanceState) -> float | None:
        """See `Balance.real_weight`."""
        return state.real_weight

    def after_round(self, state: BalanceState, metrics: Mapping[str, float]) -> tuple[BalanceState, dict[str, float]]:
        """See `Balance.after_round`."""
        state, _ = super().after_round(state, metrics)
        on_reals, on_fakes = metrics[LOSS_ON_REALS], metrics[LOSS_ON_FAKES]
        gap = self.ratio * on_reals - on_fakes
        real_weight = min(1.0, max(0.0, state.real_weight + self.rate * gap))
        described = {"discriminator/real_weight": real_weight, "discriminator/convergence": on_reals + abs(gap)}
        return replace(state, real_weight=real_weight), described

    def check(self, fields: Fields) -> Iterator[Problem]:
        """The loss has a cost of reals and one of fakes."""
        yield from super().check(fields)
        loss = fields.adversary.loss
        if not loss.has_costs:
            yield Problem(
                "nothing_is_weighed",
                {"schedule.balance": self.kind},
                (
                    f"weights the loss of reals against the loss of fakes, but adversary.loss={loss.kind!r} has no "
                    "separate losses. Use another loss or balance."
                ),
            )


BalanceSettings = Annotated[FixedBalance | Band | CriticWarmup | Equilibrium, Field(discriminator="kind")]
