"""How a critic learns that writes which of two answers is the real one, or that it cannot tell: by what that earns it.

P pairs of a real answer and a generated one, K verdicts of each
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from rlgan.base.errors import ShapeError
from rlgan.base.search_priors import NotSearched

from .loss_base import Loss


@dataclass(frozen=True, slots=True)
class VerdictHealth:
    """What a critic writes of pairs, in expectation over its verdicts.

    Attributes:
        right: probability that it names the real answer.
        wrong: that it names the generated one.
        tie: that it says a tie.
        first: of the verdicts that name an answer, the share that names the one read first; ½ where the order does not
            matter to it.
    """

    right: float
    wrong: float
    tie: float
    first: float

    @property
    def metrics(self) -> dict[str, float]:
        """By the names of docs/metrics.md."""
        return {
            "discriminator/pair_accuracy": self.right + 0.5 * self.tie,
            "discriminator/verdict_right": self.right,
            "discriminator/verdict_wrong": self.wrong,
            "discriminator/verdict_tie": self.tie,
            "discriminator/verdict_first": self.first,
        }


def verdict_health(logprobs: Tensor, is_real_first: Tensor) -> VerdictHealth:
    """Means over pairs.

    Args:
        logprobs: (P, 3) float32, see `Loss.of_verdicts`.
        is_real_first: (P,) bool, whether the real answer was read first.
    """
    probs = logprobs.double().exp()
    right, wrong, tie = (float(one) for one in probs.mean(0))
    first = float(torch.where(is_real_first, probs[:, 0], probs[:, 1]).mean())
    return VerdictHealth(right, wrong, tie, first / max(right + wrong, 1e-12))


class VerdictGradient(Loss):
    """Policy gradient of the verdicts that a critic writes (RARO, 2025).

        r = 1 where it names the real answer, τ for a tie, 0 where it names the generated one
        L = -(1/PK) Σ_p Σ_k (r_pk - mean_k r_pk) log p(v_pk) - η (1/P) Σ_p H(p)

    The published form divides by no deviation and by no length. Its gradient is on average (1 - 1/K) of that of the
    expected reward, because a verdict is part of its own mean. The entropy H of the verdict is ours: a critic that
    knows nothing yet earns most by ties, and may write nothing else before it has learned anything.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("goes with one discriminator alone: preset raro_verdict")
    kind: Literal["verdict_gradient"] = "verdict_gradient"
    tie: float = Field(0.55, gt=0.5, lt=1.0)
    """τ, what a tie earns the critic. Above 0.5: below, a guess earns as much."""
    verdicts: int | None = Field(16, ge=2)
    """Verdicts that are drawn of each pair and compared with each other; null draws none and uses the exact expectation
    over the three."""
    entropy: float = Field(0.0, ge=0.0)
    """η, the weight of the entropy of verdicts, in reward units per nat; 0 adds none, as published."""
    meaning: ClassVar[str] = "no logit, but a verdict on two answers"
    needs_halves: ClassVar[bool] = False
    reads_fakes: ClassVar[bool] = True
    compares_classes: ClassVar[bool] = True
    within_prompts: ClassVar[bool] = True
    is_of_verdicts: ClassVar[bool] = True

    def of(self, real_logits: Tensor, is_real: Tensor, mask: Tensor | None = None) -> Tensor:
        """It has no logits of single sequences.

        Raises:
            ShapeError: always.
        """
        raise ShapeError(
            f"adversary.loss={self.kind!r}: learns from verdicts on pairs, not from logits of sequences. Use "
            "of_verdicts.",
            code="loss_of_verdicts",
            fields={"adversary.loss": self.kind},
        )

    def of_verdicts(self, logprobs: Tensor, rng: torch.Generator) -> Tensor:
        """See `verdict_gradient`, or `expected_loss` where no verdicts are drawn."""
        if self.verdicts is None:
            loss = expected_loss(logprobs, self.tie)
        else:
            loss = verdict_gradient(logprobs, self.tie, self.verdicts, rng)
        if not self.entropy:
            return loss
        return loss + self.entropy * (logprobs.exp() * logprobs).sum(1).mean()


def critic_rewards(logprobs: Tensor, tie: float) -> Tensor:
    """(3,) what each verdict earns the critic, in the order of `Loss.of_verdicts`: 1, 0, τ.

    Raises:
        ShapeError: log-probabilities are not of three verdicts.
    """
    if logprobs.dim() != 2 or logprobs.shape[1] != 3 or not len(logprobs):
        raise ShapeError(
            f"logprobs {tuple(logprobs.shape)}: expected (P, 3), of at least one pair.", code="verdict_shapes"
        )
    return logprobs.new_tensor([1.0, 0.0, tie])


def expected_loss(logprobs: Tensor, tie: float) -> Tensor:
    """Less the expected reward: -(1/P) Σ_p (p(real) + τ p(tie)).

    Args:
        logprobs: (P, 3) float32, see `Loss.of_verdicts`.
        tie: τ.

    Returns:
        Scalar, reward units.

    Raises:
        ShapeError: log-probabilities are not of three verdicts.
    """
    return -(logprobs.exp() @ critic_rewards(logprobs, tie)).mean()


def verdict_gradient(logprobs: Tensor, tie: float, number: int, rng: torch.Generator) -> Tensor:
    """-(1/PK) Σ_p Σ_k (r_pk - mean_k r_pk) log p(v_pk) of K verdicts drawn of each pair (RARO, 2025).

    Args:
        logprobs: (P, 3) float32, see `Loss.of_verdicts`.
        tie: τ.
        number: K, at least 2: a verdict alone is its own mean, and teaches nothing.
        rng: source of the verdicts; on the CPU.

    Returns:
        Scalar, reward units; its gradient is on average (1 - 1/K) of that of `expected_loss`.

    Raises:
        ShapeError: log-probabilities are not of three verdicts.
    """
    drawn = torch.multinomial(logprobs.detach().exp().cpu(), number, replacement=True, generator=rng)
    return loss_of_drawn(logprobs, drawn.to(logprobs.device), tie)


def loss_of_drawn(logprobs: Tensor, drawn: Tensor, tie: float) -> Tensor:
    """See `verdict_gradient`, of verdicts that are drawn already.

    Args:
        logprobs: (P, 3) float32, see `Loss.of_verdicts`.
        drawn: (P, K) int64 their numbers.
        tie: τ.

    Raises:
        ShapeError: log-probabilities are not of three verdicts.
    """
    earned = critic_rewards(logprobs, tie)[drawn]
    return -((earned - earned.mean(1, keepdim=True)) * logprobs.gather(1, drawn)).mean()
