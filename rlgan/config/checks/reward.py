"""Of what is paid, credited and compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rlgan.policy.advantage_scaling import GroupDeviation
from rlgan.policy.baselines import CriticBaseline, GroupMean, ImportanceWeights, LeaveOneOut, LogPartition
from rlgan.policy.credit import LambdaReturn, MonteCarlo, Prefix, RewardToGo, Terminal
from rlgan.policy.kl_penalty import RewardPenalty

from .common import compares_sequences, is_certain, of_the_batch

if TYPE_CHECKING:
    from ..config import Config


def who_is_paid(config: Config) -> Iterator[str]:
    """Reward, credit and discriminator must speak of the same: sequences, prefixes, or tokens."""
    reward, credit = config.reward, config.credit
    pays_by_discriminator = "discriminator" in reward.reads
    judge = config.discriminator if pays_by_discriminator and config.schedule.adversarial_updates else None
    is_of_finished = reward.compares
    if isinstance(credit, Prefix) and is_of_finished:
        yield (
            f"credit='prefix': reward={reward.kind!r} compares finished sequences, which a prefix is not. Use credit "
            "terminal or monte_carlo."
        )
    if reward.compares and judge is not None and judge.granularity == "token":
        yield (
            f"reward={reward.kind!r}: adds a metric of sequences to what the discriminator says of them, and "
            f"discriminator={judge.kind!r} judges every token. Use another discriminator, or another reward."
        )
    if isinstance(credit, MonteCarlo | Prefix) and not pays_by_discriminator and not is_of_finished:
        yield (
            f"credit={credit.kind!r}: all prefixes would be paid alike by reward={reward.kind!r}. Use credit "
            + ("reward_to_go." if "oracle" in reward.reads else "terminal.")
        )
    pays_tokens = "oracle" in reward.reads or (judge is not None and judge.granularity == "token")
    adds_up = isinstance(credit, RewardToGo | LambdaReturn)
    use = "Use credit reward_to_go or lambda_return."
    if "oracle" in reward.reads and not adds_up:
        yield f"credit={credit.kind!r}: reward={reward.kind!r} pays every token. {use}"
    if judge is not None and judge.granularity == "token" and not adds_up:
        yield f"credit={credit.kind!r}: discriminator={judge.kind!r} judges every token. {use}"
    if isinstance(credit, LambdaReturn) and not isinstance(config.baseline, CriticBaseline):
        yield (
            f"credit='lambda_return': asks a critic, and baseline={config.baseline.kind!r} is none. Use baseline "
            "critic, or credit " + ("reward_to_go." if pays_tokens else "terminal.")
        )
    reads_source = isinstance(config.baseline, CriticBaseline) and config.baseline.reads == "source"
    if isinstance(credit, LambdaReturn) and reads_source:
        yield (
            "baseline.reads='source': tells one value for all tokens, and credit='lambda_return' asks what each token "
            "has changed. Set it to state, or use credit " + ("reward_to_go." if pays_tokens else "terminal.")
        )
    if isinstance(credit, RewardToGo) and not pays_tokens:
        yield (
            f"credit='reward_to_go': needs a reward for every token, and reward={reward.kind!r} pays sequences. Use "
            "credit terminal, or a discriminator that judges tokens."
        )
    if "oracle" in reward.reads and not config.task.knows_law:
        yield f"reward={reward.kind!r}: the exact law of task={config.task.kind!r} is not known. Use an oracle task."
    if "oracle" in reward.reads and is_certain(config.task):
        yield f"reward={reward.kind!r}: is infinite at a wrong token, for task.rule.noise is 0. Give it noise."


def what_is_compared(config: Config) -> Iterator[str]:
    """Baselines and normalisations against what they are taken of."""
    reward, credit, baseline, schedule = config.reward, config.credit, config.baseline, config.schedule
    if isinstance(baseline, ImportanceWeights) and not (
        reward.kind == "ratio" and isinstance(credit, Terminal | MonteCarlo)
    ):
        yield (
            f"baseline='importance_weights': weighs by the density ratio of sequences, so reward={reward.kind!r} and "
            f"credit={credit.kind!r} would have no effect. Use reward ratio and credit terminal or monte_carlo."
        )
    if isinstance(baseline, ImportanceWeights) and isinstance(config.reference, RewardPenalty):
        yield (
            "reference='reward': is taken off values, which baseline='importance_weights' does not read. Use reference "
            "loss."
        )
    if isinstance(baseline, ImportanceWeights) and isinstance(config.normalisation, GroupDeviation):
        yield (
            "normalisation='group_deviation': is of values, and baseline='importance_weights' weighs by something "
            "else. Use another normalisation."
        )
    is_of_logits = reward.kind == "logit" and isinstance(credit, Terminal) and config.tells_log_odds
    if isinstance(baseline, LogPartition) and not is_of_logits:
        yield (
            f"baseline='log_partition': is of log-odds of sequences, and reward={reward.kind!r}, "
            f"credit={credit.kind!r} and adversary.loss={config.adversary.loss.kind!r} pay something else. Use reward "
            "logit, credit terminal and adversary.loss cross_entropy."
        )
    group = schedule.g_group
    if isinstance(baseline, LeaveOneOut | GroupMean | ImportanceWeights) and schedule.num_sampled < 2:
        told = "" if schedule.num_sampled == schedule.g_batch else ", of which 1 is generated"
        yield (
            f"schedule.g_batch={schedule.g_batch}{told}: baseline={baseline.kind!r} compares sequences, at least 2 of "
            "them. Raise it."
        )
    if group is not None and schedule.num_sampled % group:
        told = of_the_batch(config, schedule.num_sampled)
        yield f"schedule.g_group={group}: does not divide {told}. Set it to a divisor."
    if group is not None and not compares_sequences(baseline, config.normalisation):
        yield (
            f"schedule.g_group={group}: has no effect with baseline={baseline.kind!r} and "
            f"normalisation={config.normalisation.kind!r}. Leave it null."
        )
