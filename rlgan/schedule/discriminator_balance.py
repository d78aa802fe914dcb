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
    """Whether it weighs reals against fakes, which adds an unknown constant to the logit and needs both in halves."""

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
        if fields.discriminator is None or not (schedule.adversarial_updates and schedule.d_steps):
            yield Problem(
                "balance_of_no_rounds",
                {"schedule.balance": schedule.balance.kind},
                "has no effect without rounds of the discriminator between generator updates. Set it to fixed.",
            )


class FixedBalance(Balance):
    """`schedule.d_steps` rounds a unit."""

    kind: Literal["fixed"] = "fixed"

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Always right."""
        yield from ()


class Band(Balance):
    """Rounds go on, up to `schedule.d_steps` of them, until the discriminator ranks what it has not seen well enough.

    Its held-out area under the ROC curve is measured on the fresh fakes of each round before it trains; where that lies
    above the band the round trains nothing. The area and not the accuracy, which a shift of all logits (label
    smoothing) takes to a half.
    """

    kind: Literal["band"] = "band"
    low: Annotated[float, Choice((0.55, 0.65))] = Field(0.6, gt=0.5, lt=1.0)
    """Area from which on it need learn no more in this unit."""
    high: Annotated[float, Choice((0.75, 0.9))] = Field(0.8, gt=0.5, lt=1.0)
    """Area above which it is held back."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.high < self.low:
            raise ConfigError(
                f"schedule.balance.high={self.high:g}: is below schedule.balance.low={self.low:g}. Raise it."
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
        if fields.discriminator is not None and loss.is_of_a_distribution and not loss.has_boundary:
            yield Problem(
                "nothing_is_ranked",
                {"schedule.balance": self.kind},
                f"is of the area under the ROC curve, and adversary.loss={loss.kind!r} ranks nothing. Set it to fixed.",
            )


class CriticWarmup(Balance):
    """Many rounds in the first units and every now and then, else `schedule.d_steps` (WGAN, Arjovsky et al. 2017)."""

    kind: Literal["critic_warmup"] = "critic_warmup"
    rounds: Annotated[int, Choice((20, 100))] = Field(100, ge=1)
    """Rounds of such a unit."""
    units: Annotated[int, Choice((5, 25))] = Field(25, ge=1)
    """First units that are such."""
    every: Annotated[int | None, Choice((None, 500))] = Field(500, ge=1)
    """Also warm up every N-th unit; null disables."""

    def most_rounds(self, iteration: int, d_steps: int) -> int:
        """See `Balance.most_rounds`."""
        is_warm = iteration < self.units or (self.every is not None and iteration % self.every == 0)
        return self.rounds if is_warm else d_steps


class Equilibrium(Balance):
    """What reals weigh in the discriminator's loss is moved towards a ratio of its two losses (BEGAN, Berthelot 2017).

        k ← clip₀¹(k + λ·(γ·L(real) - L(fake))),   L_D = k·L(real) + L(fake),   M = L(real) + |γ·L(real) - L(fake)|

    In BEGAN fakes are to be reconstructed badly, and k weighs them against the reals. A classifier is to be good at
    both: weighing fakes by such a k would feed upon itself and end at 0, where all is called real. On the reals it
    comes to rest. The weight moves the boundary, by log k at the optimum, and not how much is learned.
    """

    kind: Literal["equilibrium"] = "equilibrium"
    ratio: Annotated[float, Choice((0.5, 0.75, 1.0))] = Field(0.5, gt=0.0)
    """γ = L(fake)/L(real) that is wanted."""
    rate: Annotated[float, LogUniform(1e-3, 1e-1)] = Field(1e-3, gt=0.0)
    """λ."""
    start: Annotated[float, NotSearched("it comes to rest at the same k")] = Field(1.0, ge=0.0, le=1.0)
    """k in the beginning, in pretraining too; the paper's is 0."""
    moves_boundary: ClassVar[bool] = True

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
                f"weighs what reals cost against what fakes cost, and adversary.loss={loss.kind!r} has no such costs. "
                "Use another loss or balance.",
            )


BalanceSettings = Annotated[FixedBalance | Band | CriticWarmup | Equilibrium, Field(discriminator="kind")]
