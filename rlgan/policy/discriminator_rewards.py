"""Rewards of the discriminator's verdicts that are no function of one logit (those are `rlgan.policy.logit_maps`).

Of every token, by logits or log-probabilities of its prefix; or of a sequence beside a real one.

    B sequences, T positions
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from rlgan.base.declarations import Fields
from rlgan.base.errors import ShapeError
from rlgan.base.problems import Problem
from rlgan.base.search_priors import NotSearched
from rlgan.envs.tasks.task import Task
from rlgan.sampling.records import Rollouts

from .reward_base import Level, Reward, Source
from .token_rewards import ends_of_turns, log_ratio, standardised, turn_increments


class LogRatio(Reward):
    """log p_φ - log p_θ of each token, where p_φ is the language model of the discriminator (docs/algorithms.md §7)."""

    not_searched: ClassVar[NotSearched] = NotSearched("only for one discriminator: presets lm_ratio, mediator")
    kind: Literal["log_ratio"] = "log_ratio"
    reads_policy: ClassVar[bool] = True
    level: ClassVar[Level] = "token"
    reads: ClassVar[frozenset[Source]] = frozenset({"discriminator"})

    def check(self, fields: Fields) -> Iterator[Problem]:
        """The discriminator is a distribution over tokens."""
        network = fields.discriminator
        if network is not None and not network.gives_distribution:
            yield Problem(
                "log_ratio_without_distribution",
                {"reward": self.kind},
                (
                    f"needs log p_φ of tokens, which discriminator={network.kind!r} does not provide. Use "
                    "discriminator language_model and adversary.loss likelihood, or reward logit."
                ),
            )

    def of_tokens(self, rollouts: Rollouts, task: Task, group: int | None = None) -> Tensor:
        """See `Reward.of_tokens`: the logits are log p_φ."""
        if rollouts.token_logits is None:
            raise ShapeError(
                "reward='log_ratio' needs the discriminator's log-probabilities of tokens, but none are given.",
                code="log_ratio_needs_logprobs",
                fields={"reward": "log_ratio"},
            )
        return log_ratio(rollouts.token_logits, rollouts.logprobs, rollouts.mask)


class LogitIncrement(Reward):
    """What a token adds to the logit of its prefix: r_t = u_t - u_{t-1}, u_0 = 0 (docs/algorithms.md §7).

    Where u_t = log p_d/p_θ of the prefix this is the exact log-ratio of the token, and rewards-to-go telescope.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("needs a discriminator of tokens")
    kind: Literal["logit_increment"] = "logit_increment"
    level: ClassVar[Level] = "token"
    reads: ClassVar[frozenset[Source]] = frozenset({"discriminator"})

    def check(self, fields: Fields) -> Iterator[Problem]:
        """See `_of_prefixes`."""
        yield from _of_prefixes(self, fields)

    def of_tokens(self, rollouts: Rollouts, task: Task, group: int | None = None) -> Tensor:
        """See `Reward.of_tokens`."""
        logits = _prefix_logits(self, rollouts)
        before = functional.pad(logits[:, :-1], (1, 0))
        return (logits - before).masked_fill(~rollouts.mask, 0.0)


class TurnIncrement(Reward):
    """What a turn adds to the logit of a dialogue, at the turn's last token: R_j = u_j - u_{j-1}, u_0 = 0; 0 elsewhere.

    u_j is the logit of the dialogue up to the end of turn j. Turns are divided by the task's mark
    (`SequenceSpace.separator_id`), which ends its turn; without one a sequence is one turn. Rewards of a dialogue add
    up to the logit of the whole. Source: DIAL (2025), the reward of a turn.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("needs a discriminator of tokens")
    kind: Literal["turn_increment"] = "turn_increment"
    level: ClassVar[Level] = "token"
    reads: ClassVar[frozenset[Source]] = frozenset({"discriminator"})

    def check(self, fields: Fields) -> Iterator[Problem]:
        """See `_of_prefixes`."""
        yield from _of_prefixes(self, fields)

    def of_tokens(self, rollouts: Rollouts, task: Task, group: int | None = None) -> Tensor:
        """See `Reward.of_tokens`."""
        return turn_increments(_prefix_logits(self, rollouts), ends_of_turns(task.space, rollouts.tokens))


def _of_prefixes(reward: Reward, fields: Fields) -> Iterator[Problem]:
    """Logits are of prefixes, and no log-probabilities."""
    network = fields.discriminator
    if network is not None and network.gives_distribution:
        yield Problem(
            "increment_of_distribution",
            {"reward": reward.kind},
            f"needs logits of prefixes, but those of discriminator={network.kind!r} are log-probabilities of "
            "tokens. Use reward log_ratio.",
        )
    elif network is not None and network.granularity != "token":
        yield Problem(
            "increment_of_sequences",
            {"reward": reward.kind},
            f"needs logits of prefixes, but discriminator={network.kind!r} judges whole sequences. "
            f"{_judge_of_tokens(fields)}, or use reward logit.",
        )


def _judge_of_tokens(fields: Fields) -> str:
    """What to do for a logit of each token, on the run's task."""
    if fields.discriminator is not None and fields.discriminator.for_tokens:
        return fields.discriminator.for_tokens
    if fields.task.gives_conditions:
        return "Use discriminator sequence_classifier, which can judge tokens"
    return "Use discriminator causal_lstm"


def _prefix_logits(reward: Reward, rollouts: Rollouts) -> Tensor:
    """(B, T), no gradient."""
    if rollouts.token_logits is None:
        raise ShapeError(
            f"reward={reward.kind!r} needs the discriminator's logits of prefixes, but none are given.",
            code="increment_needs_logits",
            fields={"reward": reward.kind},
        )
    return rollouts.token_logits.detach()


class RelativeProbability(Reward):
    """σ(u - u_real): how likely a sequence is the real one of two, beside a real one under the same condition.

    Where nothing is given, beside any real one. Source: Wu et al. 2020 (TextGAIL), the softmax of two candidates.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("part of a method's definition")
    kind: Literal["relative_probability"] = "relative_probability"
    level: ClassVar[Level] = "sequence"
    reads: ClassVar[frozenset[Source]] = frozenset({"discriminator", "demonstrations"})
    is_relative: ClassVar[bool] = True
    is_positive: ClassVar[bool] = True

    def check(self, fields: Fields) -> Iterator[Problem]:
        """See `_beside_reals`."""
        yield from _beside_reals(self, fields)

    def of_sequences(self, rollouts: Rollouts, task: Task, rng: torch.Generator, group: int | None = None) -> Tensor:
        """See `Reward.of_sequences`."""
        real_logits, target_logits = _both_logits(self, rollouts)
        return torch.sigmoid(real_logits - target_logits)


def _beside_reals(reward: Reward, fields: Fields) -> Iterator[Problem]:
    """Whole sequences are judged, when they are finished."""
    network, credit = fields.discriminator, fields.credit
    if network is not None and (network.gives_distribution or network.granularity == "token"):
        yield Problem(
            "relative_of_tokens",
            {"reward": reward.kind},
            f"compares whole sequences, but discriminator={network.kind!r} judges tokens. Use another "
            "discriminator, or reward logit.",
        )
    if credit.judges_prefixes or credit.num_continuations:
        yield Problem(
            "relative_of_prefixes",
            {"reward": reward.kind},
            f"compares each drawn sequence with one real one, but credit={credit.kind!r} rewards prefixes. Use "
            "credit terminal.",
        )


def _both_logits(reward: Reward, rollouts: Rollouts) -> tuple[Tensor, Tensor]:
    """(B,) of the sequences, and of the real ones beside them; no gradient."""
    if rollouts.real_logits is None or rollouts.target_logits is None:
        raise ShapeError(
            f"reward={reward.kind!r} needs logits of the sequences and of real ones, but none are given.",
            code="relative_needs_logits",
            fields={"reward": reward.kind},
        )
    return rollouts.real_logits.detach(), rollouts.target_logits.detach()


class StandardisedLogit(Reward):
    """ã_t = (u_t - m)/(s + 1e-6): each token's logit, in deviations of the last tokens' logits of its group.

    m and s are the mean and the deviation (divided by K - 1) of the logits of the last tokens, which judge whole
    sequences; 0 where those are all equal. Source: R-AIRL (Fanconi et al. 2025), the dense reward.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("needs a discriminator of tokens")
    kind: Literal["standardised_logit"] = "standardised_logit"
    clip: float | None = Field(None, gt=0.0)
    """Maximum absolute logit; larger ones are clipped before they are compared (published: 5). null disables."""
    level: ClassVar[Level] = "token"
    reads: ClassVar[frozenset[Source]] = frozenset({"discriminator"})
    is_relative: ClassVar[bool] = True

    @property
    def compares_groups(self) -> bool:
        """By mean and deviation."""
        return True

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Tokens are judged, and not as a language model does; sequences of one prompt are compared."""
        network, schedule = fields.discriminator, fields.schedule
        if network is not None and (network.gives_distribution or network.granularity != "token"):
            yield Problem(
                "dense_of_sequences",
                {"reward": self.kind},
                f"needs a logit for each token, but discriminator={network.kind!r} "
                + ("gives log-probabilities" if network.gives_distribution else "judges whole sequences")
                + f". {_judge_of_tokens(fields)}, or use reward logit.",
            )
        if fields.adversary.loss.within_prompts and schedule.g_group is None:
            yield Problem(
                "standardised_across_prompts",
                {"schedule.g_group": None},
                f"reward={self.kind!r} would compare logits of different prompts, which have different unknown offsets "
                f"with adversary.loss={fields.adversary.loss.kind!r}. Set it to 2 or more.",
            )
        if schedule.num_sampled < 2:
            yield Problem(
                "standardised_alone",
                {"schedule.g_batch": schedule.g_batch},
                f"reward={self.kind!r} compares sequences and needs at least 2. Raise it.",
            )

    def of_tokens(self, rollouts: Rollouts, task: Task, group: int | None = None) -> Tensor:
        """See `Reward.of_tokens`."""
        if rollouts.token_logits is None:
            raise ShapeError(
                f"reward={self.kind!r} needs the discriminator's logits of tokens, but none are given.",
                code="standardised_needs_logits",
                fields={"reward": self.kind},
            )
        logits = rollouts.token_logits.detach()
        if self.clip is not None:
            logits = logits.clamp(-self.clip, self.clip)
        return standardised(logits, rollouts.mask, group)


class PairVerdict(Reward):
    """What a critic answers that is shown a sequence and a real one, and asked which is the real one: 1, τ or 0.

        q = σ((u_real - u)/T)                            its belief that the real one is real
        answer     the one it believes in, or a tie where max(q, 1 - q) < τ_critic: whatever earns it most, for it earns
                   1 where it is right and τ_critic for a tie
        reward     1 if it takes the sequence for real, τ_policy for a tie, 0 else

    Source: RARO (2025), with a critic that gives scores where the paper's writes its answer.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("part of a method's definition")
    kind: Literal["pair_verdict"] = "pair_verdict"
    critic_tie: float = Field(0.55, gt=0.5, lt=1.0)
    """τ_critic, what a tie earns the critic. Above 0.5: below, a guess earns as much."""
    policy_tie: float = Field(0.6, ge=0.0, le=1.0)
    """τ_policy, what a tie earns the generator."""
    level: ClassVar[Level] = "sequence"
    reads: ClassVar[frozenset[Source]] = frozenset({"discriminator", "demonstrations"})
    is_relative: ClassVar[bool] = True
    is_positive: ClassVar[bool] = True

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Whole sequences are judged, and margins are log-odds."""
        yield from _beside_reals(self, fields)
        loss = fields.adversary.loss
        # Of two sequences the logits' unknown constant cancels.
        if not (loss.compares_classes or loss.is_log_odds) or loss.is_of_a_distribution:
            yield Problem(
                "verdict_of_no_belief",
                {"reward": self.kind},
                f"reads the margin between two logits as log-odds, but with adversary.loss={loss.kind!r} a logit is "
                f"{loss.meaning}. Use adversary.loss bradley_terry or cross_entropy.",
            )
        if loss.margin_temperature != 1.0:
            yield Problem(
                "verdict_of_scaled_margins",
                {"adversary.loss.temperature": loss.margin_temperature},
                f"scales margins, which reward={self.kind!r} reads as log-odds. Set it to 1.",
            )

    def of_sequences(self, rollouts: Rollouts, task: Task, rng: torch.Generator, group: int | None = None) -> Tensor:
        """See `Reward.of_sequences`."""
        is_taken, is_tie = self.answers(*_both_logits(self, rollouts))
        return is_taken.float() + self.policy_tie * is_tie.float()

    def described(self, rollouts: Rollouts) -> dict[str, float]:
        """See `Reward.described`: how often a tie is answered, and what the answers earned the critic."""
        is_taken, is_tie = self.answers(*_both_logits(self, rollouts))
        is_right = ~(is_taken | is_tie)
        return {
            "verdict/tie_share": float(is_tie.float().mean()),
            "verdict/critic_reward": float((is_right.float() + self.critic_tie * is_tie.float()).mean()),
        }

    def answers(self, real_logits: Tensor, target_logits: Tensor) -> tuple[Tensor, Tensor]:
        """What the critic answers to each pair.

        Args:
            real_logits: (B,) float32 of generated sequences.
            target_logits: (B,) float32 of the real ones beside them.

        Returns:
            Whether it takes the generated one for real, and whether it answers a tie, (B,) bool each.
        """
        # max(q, 1 - q) < τ where |margin| < log τ/(1 - τ)
        margins = target_logits - real_logits
        is_tie = margins.abs() < math.log(self.critic_tie / (1.0 - self.critic_tie))
        return (margins < 0) & ~is_tie, is_tie


class WrittenVerdict(Reward):
    """What a critic writes that reads a sequence and a real one under the same condition: which is the real one.

    1 if it names the sequence, τ for a tie, 0 if it names the real one; the verdict is drawn. Source: RARO (2025).
    """

    not_searched: ClassVar[NotSearched] = NotSearched("part of a method's definition")
    kind: Literal["written_verdict"] = "written_verdict"
    tie: float = Field(0.6, ge=0.0, le=1.0)
    """τ, what a tie earns the generator."""
    level: ClassVar[Level] = "sequence"
    reads: ClassVar[frozenset[Source]] = frozenset({"discriminator", "verdicts"})
    is_relative: ClassVar[bool] = True
    is_positive: ClassVar[bool] = True

    def check(self, fields: Fields) -> Iterator[Problem]:
        """See `_beside_reals`."""
        yield from _beside_reals(self, fields)

    def of_sequences(self, rollouts: Rollouts, task: Task, rng: torch.Generator, group: int | None = None) -> Tensor:
        """See `Reward.of_sequences`."""
        return torch.tensor([0.0, 1.0, self.tie])[self._written(rollouts)]

    def described(self, rollouts: Rollouts) -> dict[str, float]:
        """See `Reward.described`: how often a tie is written, and how often the real sequence is named."""
        written = self._written(rollouts)
        return {
            "verdict/tie_share": float((written == 2).float().mean()),
            "verdict/right_share": float((written == 0).float().mean()),
        }

    def _written(self, rollouts: Rollouts) -> Tensor:
        if rollouts.verdicts is None:
            raise ShapeError(
                f"reward={self.kind!r} needs verdicts on the sequences, but none are given.",
                code="reward_needs_verdicts",
                fields={"reward": self.kind},
            )
        return rollouts.verdicts
