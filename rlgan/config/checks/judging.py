"""Of what judges: what it reads, what its logits mean, and what is read into them."""

from __future__ import annotations

from collections.abc import Iterator

from rlgan.base.declarations import (
    DeclaredDiscriminator,
    Fields,
    compares_sequences,
    reads_density_ratio,
    tells_log_odds,
)
from rlgan.base.problems import Problem


def readers_of_conditions(fields: Fields) -> Iterator[Problem]:
    """What the task gives with each sequence, generator and discriminator must read, and nothing else."""
    task, generator, network = fields.task, fields.generator, fields.discriminator
    if task.gives_conditions and not generator.reads_conditions:
        fitting = "seq2seq_lstm, seq2seq_transformer or seq2seq_relational_memory"
        fitting = "cvae" if generator.latent_width else "pair_manager_worker" if generator.sets_goals else fitting
        yield Problem(
            "generator_reads_no_conditions",
            {"generator": generator.kind},
            f"cannot read the conditions of task={task.kind!r}. Use generator {fitting}.",
        )
    if generator.needs_conditions and not task.gives_conditions:
        fitting = (
            "vae" if generator.latent_width else "manager_worker" if generator.sets_goals else "lstm or transformer"
        )
        yield Problem(
            "generator_reads_conditions",
            {"generator": generator.kind},
            f"needs conditions, but task={task.kind!r} has none. Use generator {fitting}, or a task of pairs (--pairs, "
            "or --source and --target).",
        )
    if "targets" in fields.reward.reads and not task.gives_conditions:
        yield Problem(
            "reward_reads_targets",
            {"reward": fields.reward.kind},
            (
                f"compares each sequence with the target of its condition, but task={task.kind!r} has no conditions. "
                "Use reward bleu, which compares with random training sequences, or a task of pairs."
            ),
        )
    if network is None:
        return
    if task.gives_conditions and network.reads == "sequences":
        yield Problem(
            "discriminator_reads_no_conditions",
            {"discriminator": network.kind},
            (
                f"judges sequences without the conditions of task={task.kind!r}, so it would accept any fluent output "
                "for any source. "
                + (
                    network.for_conditions
                    or "Use discriminator pair_cnn, pair_lstm, hierarchical_lstm, interaction_cnn, "
                    "triple_lstm or pair_multi_representation; with adversary.loss ranking, pair_ranker"
                )
                + "."
            ),
        )
    if network.reads == "pairs" and not task.gives_conditions:
        yield Problem(
            "discriminator_reads_conditions",
            {"discriminator": network.kind},
            f"judges pairs, but task={task.kind!r} has no conditions. Use another discriminator.",
        )


def losses_and_distributions(fields: Fields) -> Iterator[Problem]:
    """A discriminator that is a distribution, the loss that it learns by and what is read of it belong together."""
    network, loss = fields.discriminator, fields.adversary.loss
    if network is None:
        return
    if network.gives_distribution and not loss.is_of_a_distribution:
        yield Problem(
            "loss_tells_apart",
            {"adversary.loss": loss.kind},
            (
                f"trains a classifier of reals and fakes, but discriminator={network.kind!r} is a distribution over "
                "tokens. Use adversary.loss likelihood or prefix_cross_entropy, or another discriminator."
            ),
        )
    if loss.is_of_a_distribution and not network.gives_distribution:
        yield Problem(
            "loss_of_a_distribution",
            {"adversary.loss": loss.kind},
            (
                f"trains a distribution over tokens, but discriminator={network.kind!r} is a classifier. Use "
                "discriminator language_model or density_ratio, or another loss."
            ),
        )
    if fields.objective.is_differentiated and not network.reads_soft_rows:
        yield Problem(
            "discriminator_reads_tokens",
            {"discriminator": network.kind},
            (
                f"reads tokens, but objective={fields.objective.kind!r} needs one that reads soft rows. Use another "
                "discriminator, or objective reinforce with reward log_ratio."
            ),
        )


def written_verdicts(fields: Fields) -> Iterator[Problem]:
    """A discriminator that writes verdicts, the loss that it learns by and the reward that reads them go together."""
    network, loss, reward = fields.discriminator, fields.adversary.loss, fields.reward
    if network is None:
        return
    if network.writes_verdicts != loss.is_of_verdicts:
        yield Problem(
            "loss_of_written_verdicts",
            {"adversary.loss": loss.kind},
            f"learns from verdicts, but discriminator={network.kind!r} gives logits. Use discriminator verdict_writer, "
            "or another loss."
            if loss.is_of_verdicts
            else f"learns from logits, but discriminator={network.kind!r} writes verdicts. Use adversary.loss "
            "verdict_gradient, or another discriminator.",
        )
    reads = "discriminator" in reward.reads and fields.schedule.adversarial_updates > 0
    if reads and network.writes_verdicts != ("verdicts" in reward.reads):
        yield Problem(
            "reward_of_written_verdicts",
            {"reward": reward.kind},
            f"reads logits, but discriminator={network.kind!r} writes verdicts. Use reward written_verdict, or another "
            "discriminator."
            if network.writes_verdicts
            else f"reads written verdicts, but discriminator={network.kind!r} gives logits. Use discriminator "
            "verdict_writer, or reward pair_verdict.",
        )


def comparisons_within_prompts(fields: Fields) -> Iterator[Problem]:
    """What is shown by prompts has a demonstration of each, whole groups of fakes, and rewards compared alike."""
    adversary, schedule, network = fields.adversary, fields.schedule, fields.discriminator
    loss, group = adversary.loss, fields.schedule.g_group or 1
    if network is None or not adversary.shows_prompts:
        return
    at: dict[str, object] = {"adversary.loss": loss.kind}
    does, other = "compares answers to one prompt", "use another loss"
    if not loss.within_prompts:
        at, does, other = {"adversary.reals": "of_prompts"}, "shows answers to one prompt together", "set it to drawn"
    if not fields.task.gives_conditions:
        use = "Use adversary.loss relativistic" if loss.within_prompts else "Set it to drawn"
        yield Problem(
            "pairs_without_prompts",
            at,
            f"{does}, but task={fields.task.kind!r} gives no prompts. {use}, or choose a task of prompts and "
            "completions (--demonstrations, --pairs).",
        )
    # What weighs or pairs reals and fakes wherever they are from, and what to set instead.
    penalty, balance = adversary.gradient_penalty, schedule.balance
    halving = {
        f"adversary.loss={loss.kind!r}": (loss.needs_halves, "adversary.loss to cross_entropy"),
        f"adversary.gradient_penalty={penalty.kind!r}": (penalty.needs_halves, "adversary.gradient_penalty to none"),
        f"adversary.mismatched={adversary.mismatched}": (
            adversary.mismatched is not None,
            "adversary.mismatched to null",
        ),
        f"schedule.balance={balance.kind!r}": (balance.moves_boundary, "schedule.balance to fixed"),
    }
    if found := {which: remedy for which, (needs, remedy) in halving.items() if needs}:
        yield Problem(
            "pairs_in_halves",
            at,
            f"{does}, but minibatches must be half real and half fake, of any prompts, with {' and '.join(found)}. Set "
            f"{' and '.join(found.values())}, or {other}.",
        )
    if fields.credit.judges_prefixes:
        yield Problem(
            "pairs_of_prefixes",
            at,
            f"{does}, which must be finished, but credit={fields.credit.kind!r} shows the discriminator prefixes. Use "
            f"credit terminal, or {other}.",
        )
    if adversary.batch < 1 + group:
        yield Problem(
            "batch_below_a_prompt",
            {"adversary.batch": adversary.batch},
            f"is smaller than one prompt, which is a real sequence and {group} fakes. Set it to at least {1 + group}.",
        )
    for path, size in (("sequences_per_round", adversary.sequences_per_round), ("buffer", adversary.buffer)):
        if size is not None and size % group:
            yield Problem(
                "round_of_broken_prompts",
                {f"adversary.{path}": size},
                f"is not a multiple of schedule.g_group={group}, the number of fakes per prompt. Use a multiple.",
            )
    reads = fields.schedule.adversarial_updates > 0 and "discriminator" in fields.reward.reads
    reads = reads and loss.within_prompts and not fields.reward.is_relative
    if reads and not (compares_sequences(fields) and schedule.g_group is not None):
        yield Problem(
            "constant_of_each_prompt",
            {"schedule.g_group": schedule.g_group},
            f"with adversary.loss={loss.kind!r} logits have an unknown constant for each prompt, so rewards must be "
            "compared within prompts. Set it to 2 or more, with baseline group_mean or leave_one_out.",
        )


def readings_of_logits(fields: Fields, network: DeclaredDiscriminator) -> Iterator[Problem]:
    """What a reward reads into a logit is what the loss makes it."""
    reward, baseline, adversary, balance = fields.reward, fields.baseline, fields.adversary, fields.schedule.balance
    loss, slope = adversary.loss, adversary.gradient_penalty
    logit_map = reward.logit_map
    is_read = fields.schedule.adversarial_updates > 0 and logit_map is not None
    is_shifted = (loss.compares_classes and not loss.within_prompts) or (loss.is_log_odds and balance.moves_boundary)
    if is_read and logit_map is not None and logit_map.reads_log_odds:
        path = "reward" if reward.is_elementwise else "reward.map"
        if loss.is_of_a_distribution:
            yield Problem(
                "logit_is_of_a_distribution",
                {path: logit_map.kind},
                (
                    f"interprets the logit as log p_d/p_θ, but with adversary.loss={loss.kind!r} it is {loss.meaning}. "
                    "Use reward log_ratio, or logit."
                ),
            )
        elif not (tells_log_odds(fields) or (is_shifted and baseline.cancels_constants)):
            which, meaning = f"adversary.loss={loss.kind!r}", loss.meaning
            if loss.is_log_odds:
                which, meaning = f"schedule.balance={balance.kind!r}", "that plus log k"
            yield Problem(
                "logit_is_no_log_odds",
                {path: logit_map.kind},
                f"interprets the logit as log p_d/p_θ, but with {which} it is {meaning}. Use {path} "
                + ("logit or schedule.balance fixed" if loss.is_log_odds else "logit or adversary.loss cross_entropy")
                + ("; reward ratio needs baseline importance_weights." if is_shifted and path == "reward" else "."),
            )
    if is_read and logit_map is not None and loss.smoothing and reads_density_ratio(fields):
        path = "reward" if reward.is_elementwise else "reward.map"
        yield Problem(
            "logit_is_smoothed",
            {"adversary.loss.label_smoothing": loss.smoothing},
            (
                f"the logit would be that of smoothed labels, but {path}={logit_map.kind!r} with "
                f"baseline={baseline.kind!r} interprets it as log p_d/p_θ. Set it to 0."
            ),
        )
    needs_halves = adversary.needs_halves or balance.moves_boundary
    if adversary.batch % 2 and needs_halves:
        which = f"adversary.gradient_penalty={slope.kind!r}"
        if adversary.mismatched is not None:
            which = f"adversary.mismatched={adversary.mismatched:g}"
        if loss.needs_halves:
            which = f"adversary.loss={loss.kind!r}"
        elif balance.moves_boundary:
            which = f"schedule.balance={balance.kind!r}"
        yield Problem(
            "batch_of_halves",
            {"adversary.batch": adversary.batch},
            f"{which} needs equal numbers of reals and fakes in each minibatch. Use an even number.",
        )
    is_bounded = adversary.weight_clip is not None or slope.bounds_slope or network.has_spectral_norm
    if loss.needs_bounded_slope and not is_bounded:
        yield Problem(
            "slope_is_unbounded",
            {"adversary.loss": loss.kind},
            (
                "has no minimum unless the slope of the critic is bounded. Set adversary.gradient_penalty to "
                "interpolated, adversary.weight_clip, or a transformer's spectral_norm."
            ),
        )


def origin_of_logits(fields: Fields) -> Iterator[Problem]:
    """Where logits are known up to a constant, something must be taken off rewards (docs/algorithms.md §8, §19.4.2)."""
    reward, loss, balance = fields.reward, fields.adversary.loss, fields.schedule.balance
    if not fields.schedule.adversarial_updates or "discriminator" not in reward.reads:
        return
    has_origin = loss.has_origin and not (loss.is_log_odds and balance.moves_boundary)
    objective = fields.objective
    cancels = fields.normalisation.centres or fields.baseline.subtracts or objective.pairs_groups
    if not (has_origin or cancels or reward.is_relative or objective.is_differentiated):
        which = f"schedule.balance={balance.kind!r}" if loss.is_log_odds else f"adversary.loss={loss.kind!r}"
        shown = reward.kind if reward.logit_map is None else reward.logit_map.kind
        yield Problem(
            "reward_without_origin",
            {"baseline": "none"},
            (
                f"with {which} reward={shown!r} is known only up to a constant, so its mean alone would raise or lower "
                "the probability of every sample. Use baseline leave_one_out, or normalisation whiten."
            ),
        )
