"""Of rewards, credit, and what compares sequences with each other."""

from __future__ import annotations

from collections.abc import Iterator

from rlgan.base.declarations import Fields, compares_sequences, of_the_batch
from rlgan.base.problems import Problem, Shown


def time_of_rewards(fields: Fields) -> Iterator[Problem]:
    """Functions of the user's own that are slow, and allowed to be, must not be taken for an actor that hangs."""
    workers, reward = fields.workers, fields.reward
    # A task scores its sequences, then all their continuations; a function that raises is called once more, to find
    # the row that makes it raise.
    calls = 2 if fields.credit.num_continuations else 1
    allowed_s = reward.own_code_s * (calls + 1)
    is_called = fields.schedule.adversarial_updates > 0 and workers.rollout > 0
    if reward.own_code_s and is_called and allowed_s > workers.call_timeout_s:
        yield Problem(
            "actor_waits_for_rewards",
            {"workers.call_timeout_s": workers.call_timeout_s},
            (
                f"a rollout actor may wait {allowed_s:g} seconds for reward functions (reward.timeout_s, for all "
                f"functions, {calls + 1} times), and would be considered hung before. Raise workers.call_timeout_s "
                "above it, or lower reward.timeout_s."
            ),
        )


def rewards_and_credit(fields: Fields) -> Iterator[Problem]:
    """Reward, credit and discriminator must speak of the same: sequences, prefixes, or tokens."""
    reward, credit, task = fields.reward, fields.credit, fields.task
    reads_discriminator = "discriminator" in reward.reads
    judge = fields.discriminator if reads_discriminator and fields.schedule.adversarial_updates else None
    if credit.judges_prefixes and reward.compares:
        yield Problem(
            "prefix_is_not_finished",
            {"credit": credit.kind},
            (
                f"reward={reward.kind!r} compares finished sequences, but a prefix is not finished. Use credit "
                "terminal or monte_carlo."
            ),
        )
    if reward.compares and reads_discriminator and judge is not None and judge.granularity == "token":
        yield Problem(
            "mixed_with_tokens",
            {"reward": reward.kind},
            (
                f"adds a metric of sequences to the discriminator's score, but discriminator={judge.kind!r} scores "
                "every token. Use another discriminator, or another reward."
            ),
        )
    continues_in_vain = credit.num_continuations and not (reads_discriminator or reward.scores_continuations)
    judges_in_vain = credit.judges_prefixes and not (reads_discriminator or reward.compares)
    if continues_in_vain or judges_in_vain:
        yield Problem(
            "prefixes_rewarded_alike",
            {"credit": credit.kind},
            f"all prefixes would have the same reward with reward={reward.kind!r}. Use credit "
            + ("reward_to_go." if reward.level == "token" else "terminal."),
        )
    judges_tokens = judge is not None and judge.granularity == "token"
    # What the discriminator says of tokens, a reward of it says too.
    of_tokens = reward.level == "token" and not reads_discriminator
    adds_up = "token" in credit.levels
    use = "Use credit reward_to_go or lambda_return."
    if of_tokens and not adds_up:
        yield Problem(
            "tokens_are_rewarded", {"credit": credit.kind}, f"reward={reward.kind!r} rewards every token. {use}"
        )
    if judges_tokens and judge is not None and not adds_up:
        yield Problem(
            "tokens_are_judged", {"credit": credit.kind}, f"discriminator={judge.kind!r} scores every token. {use}"
        )
    # A reward of tokens that finds none judged says so itself.
    if "sequence" not in credit.levels and adds_up and not (reward.level == "token" or judges_tokens):
        yield Problem(
            "sequences_are_rewarded",
            {"credit": credit.kind},
            (
                f"needs a reward for every token, but reward={reward.kind!r} rewards whole sequences. Use credit "
                "terminal, or a discriminator that judges tokens."
            ),
        )
    if "oracle" in reward.reads and not task.knows_distribution:
        yield Problem(
            "reward_needs_law",
            {"reward": reward.kind},
            f"the exact distribution of task={task.kind!r} is not known. Use an oracle task.",
        )
    if "oracle" in reward.reads and task.is_certain:
        yield Problem(
            "reward_is_infinite",
            {"reward": reward.kind},
            "is infinite for a wrong token, because task.rule.noise is 0. Set task.rule.noise above 0.",
        )


def comparisons_within_a_batch(fields: Fields) -> Iterator[Problem]:
    """Sequences of a group are compared with each other, at least two of them."""
    baseline, schedule = fields.baseline, fields.schedule
    group = schedule.g_group
    if "groups" in baseline.needs and schedule.num_sampled < 2:
        described = "" if schedule.num_sampled == schedule.g_batch else ", of which only 1 is generated"
        yield Problem(
            "nothing_to_compare",
            {"schedule.g_batch": Shown(f"{schedule.g_batch}{described}")},
            f"baseline={baseline.kind!r} compares sequences and needs at least 2. Raise it.",
        )
    if group is not None and schedule.num_sampled % group:
        yield Problem(
            "group_does_not_divide",
            {"schedule.g_group": group},
            f"does not divide {of_the_batch(schedule, schedule.num_sampled)}. Set it to a divisor.",
        )
    if group is not None and not compares_sequences(fields):
        reads_reward = fields.objective.reads_reward
        shows = fields.discriminator is not None and fields.adversary.shows_prompts
        why = f"objective={fields.objective.kind!r} reads no reward"
        if reads_reward:
            others = f"baseline={baseline.kind!r} or normalisation={fields.normalisation.kind!r}"
            why = f"not reward={fields.reward.kind!r}, {others}"
        yield Problem(
            "group_without_comparison",
            {"schedule.g_group": group},
            f"nothing compares the sequences of a group: {why}. Set it to null"
            + (" (the discriminator then sees one fake beside each real sequence)" if shows else "")
            + (", or use baseline group_mean or leave_one_out." if reads_reward else "."),
        )
