"""One shard of rollouts: sample, score, continue every prefix, score those too.

A shard is a pure function of the weights, the seed and its indices, whoever computes it. That is the whole design of
scaling out and of fault tolerance: any number of workers gives the same numbers, and a lost shard is computed again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rlgan.base.devices import CPU
from rlgan.base.seeding import generator_on, stream, stream_seed
from rlgan.discriminators import Duels, Scorer
from rlgan.envs.categorical import truncate_weights
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.generators import Conditional, Draw, Generator, GoalDistribution, Sampler, Samples
from rlgan.layers.relaxation import Relaxation
from rlgan.policy.behaviour import Behaviour, OwnPolicy
from rlgan.policy.credit import CreditSettings
from rlgan.policy.reward_base import Finished, Scored, SequenceScorer, TrainerState
from rlgan.sampling.records import Rollouts
from rlgan.sampling.sampler import Batched, RowWriter

Critic = Callable[[Duels], Tensor]
"""From pairs to log-probabilities (P, 3) of what is written of them; see `Discriminator.verdict_logprobs`."""


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """What every shard of a run has in common.

    Attributes:
        space: the task's sequences.
        credit: whether prefixes are continued, or judged as they are.
        chunk_rows: most rows advanced together; part of the shard's definition, since rounding depends on it.
        score: what scores sequences and continuations for the reward; None where the reward reads no scores.
        writer: how sequences and continuations are written with a stepper, and judged.
        draw: the policy: which distribution of the generator everything is drawn from. Log-probabilities, the
            reference's, too, are of the same.
        behaviour: which policy draws the sequences that are rewarded.
    """

    space: SequenceSpace
    credit: CreditSettings
    chunk_rows: int
    score: SequenceScorer | None = None
    writer: RowWriter = field(default_factory=Batched)
    draw: Draw = Draw()
    behaviour: Behaviour = field(default_factory=OwnPolicy)

    def __post_init__(self) -> None:
        # A learner would divide by probabilities that a truncated policy has made 0 once its weights have moved.
        assert not self.draw.truncates


@dataclass(frozen=True, slots=True)
class Shard:
    """Which part of which batch.

    Attributes:
        num_sequences: sequences of this shard.
        seed: seeds every draw of the shard.
        generator_version: of the policy that samples.
        rollout_version: of the policy that continues prefixes; None continues none.
        discriminator_version: of the discriminator that scores; None leaves the sequences unscored.
        prefixes: (num_sequences, n) int64 first tokens that are given; None gives none.
        conditions: (num_sequences, S) int64 what each sequence is given; None where they are given nothing.
        is_soft: whether soft rows are wanted in the place of drawn tokens.
        relaxation: of soft rows; None where the generator draws no tokens.
        is_searched: (num_sequences,) bool, which sequences are the likeliest that beams find and not drawn; None draws
            all.
        beam: beams that look for them.
        places: (num_sequences,) int64 which of the `beam` hypotheses of a search under its condition each sequence is,
            from 0, the likeliest; None where sequences are not found in this way.
        targets: (num_sequences, T) int64 what each sequence is compared with; None compares with nothing.
        weighs_targets: whether the policy's own log-probabilities of the targets are wanted.
        judges_targets: whether the discriminator's logits of the targets are wanted.
        reads_features: whether what its output layer reads of sequences and targets is wanted.
        reads_verdicts: whether a critic's verdicts on sequences and targets are wanted, and no logits.
        reads_goals: whether it is wanted how well the policy's tokens followed its own goals.
        is_rewarded: whether the sequences are drawn to be rewarded, so that `RolloutPlan.score` scores them.
        rows: (num_sequences,) int64 training sequences with the same conditions; None where no reward reads it.
        state: how far the run is, for rewards that change as it goes on.
    """

    num_sequences: int
    seed: int
    generator_version: int
    rollout_version: int | None
    discriminator_version: int | None
    prefixes: Tensor | None = None
    conditions: Tensor | None = None
    is_soft: bool = False
    relaxation: Relaxation | None = None
    is_searched: Tensor | None = None
    beam: int = 1
    places: Tensor | None = None
    targets: Tensor | None = None
    weighs_targets: bool = False
    judges_targets: bool = False
    reads_features: bool = False
    reads_verdicts: bool = False
    reads_goals: bool = False
    is_rewarded: bool = False
    rows: Tensor | None = None
    state: TrainerState = TrainerState()


def collect(
    plan: RolloutPlan,
    shard: Shard,
    policy: Sampler,
    rollout_policy: Sampler | None,
    scorer: Scorer | None,
    reference: Conditional | None = None,
    device: torch.device = CPU,
    own: Conditional | None = None,
    cold: Sampler | None = None,
    features_of: Scorer | None = None,
    critic: Critic | None = None,
) -> Rollouts:
    """Compute one shard.

    Args:
        plan: common to the run.
        shard: which part.
        policy: samples the sequences.
        rollout_policy: continues prefixes; None continues none.
        scorer: frozen discriminator; None leaves the sequences unscored.
        reference: of a generator whose log-probabilities of the sequences are wanted; None wants none.
        device: of all of them; it draws the random numbers too.
        own: distributions of the policy itself; read where the shard weighs targets or reads goals, and beside `cold`.
        cold: draws some of the sequences that are rewarded in the policy's place; None where the policy draws all.
        features_of: of the same discriminator, see `Discriminator.output_features`; read where the shard reads them.
        critic: writes verdicts; read where the shard reads them.

    Returns:
        The shard's rollouts, on the CPU.
    """
    rng = generator_on(device, shard.seed)
    prefixes = None if shard.prefixes is None else shard.prefixes.to(device)
    conditions = None if shard.conditions is None else shard.conditions.to(device)
    behaviour_weights = None
    if cold is not None and shard.is_rewarded:
        assert own is not None
        samples, behaviour_weights = _of_both(plan, policy, cold, own, shard.num_sequences, rng, prefixes, conditions)
    elif shard.places is not None:
        assert own is not None and conditions is not None
        samples = _hypotheses(plan, policy, own, shard.places.to(device), shard.beam, conditions)
    elif shard.is_searched is None:
        samples = policy.sample(shard.num_sequences, rng, prefixes, conditions)
    else:
        assert prefixes is None
        samples = _searched_and_drawn(plan, policy, shard.is_searched.to(device), shard.beam, rng, conditions)
    targets, rows = (None if one is None else one.to(device) for one in (shard.targets, shard.rows))
    score = plan.score if shard.is_rewarded else None
    prefix_length = 0 if prefixes is None else prefixes.shape[1]
    search, num_drawn = None, int(samples.mask[:, prefix_length:].sum())
    if rollout_policy is not None:
        search = monte_carlo_search(
            plan,
            samples.tokens,
            rollout_policy,
            scorer,
            rng,
            prefix_length,
            conditions,
            score,
            Beside(targets, rows, shard.state, stream_seed(shard.seed, "continuation_scores")),
            samples.latents,
        )
        num_drawn += search.num_drawn
    scored = None
    if score is not None:
        beside = Beside(targets, rows, shard.state, stream_seed(shard.seed, "scores"))
        scored = _scored(plan, score, beside.finished(samples.tokens, samples.mask, conditions))
    real_logits, token_logits = None, None
    if scorer is not None:
        logits = plan.writer.judge(scorer, plan.space, samples.tokens, conditions)
        if logits.dim() == 2:
            token_logits = logits.masked_fill(~samples.mask, 0.0)
        else:
            real_logits = logits
            if plan.credit.judges_prefixes:
                token_logits = prefix_logits(samples.tokens, samples.mask, scorer, prefix_length, conditions)
    target_logprobs, target_logits = None, None
    features, target_features = None, None
    if shard.reads_features:
        assert features_of is not None and targets is not None
        features = features_of(samples.tokens, samples.mask, conditions)
        target_features = features_of(targets, sequence_mask(plan.space, targets), conditions)
    verdicts = None
    if shard.reads_verdicts:
        assert critic is not None and targets is not None and conditions is not None
        verdicts = written_verdicts(critic, conditions, targets, samples.tokens, stream(shard.seed, "verdicts"))
    if shard.judges_targets:
        assert scorer is not None and targets is not None
        target_logits = plan.writer.judge(scorer, plan.space, targets, conditions)
    if shard.weighs_targets:
        assert own is not None and targets is not None
        mask = sequence_mask(plan.space, targets)
        target_logprobs = _logprobs(own, targets, mask, conditions, plan.draw.temperature)
    goal_rewards = None
    if shard.reads_goals:
        assert own is not None
        distribution = own(conditions, samples.latents)
        assert isinstance(distribution, GoalDistribution)
        goal_rewards = distribution.goal_rewards(samples.tokens).masked_fill(~samples.mask, 0.0)
    return Rollouts(
        tokens=samples.tokens.to(CPU),
        logprobs=samples.logprobs.to(CPU),
        mask=samples.mask.to(CPU),
        real_logits=_on_cpu(real_logits),
        token_logits=_on_cpu(token_logits),
        continuation_logits=_on_cpu(None if search is None else search.logits),
        reference_logprobs=_on_cpu(
            None
            if reference is None
            else _logprobs(reference, samples.tokens, samples.mask, conditions, plan.draw.temperature, samples.latents)
        ),
        generator_version=shard.generator_version,
        discriminator_version=shard.discriminator_version,
        prefix_length=prefix_length,
        num_drawn=num_drawn,
        conditions=shard.conditions,
        scores=_on_cpu(None if scored is None else scored.scores),
        continuation_scores=_on_cpu(None if search is None else search.scores),
        score_parts=_on_cpu(None if scored is None else scored.parts),
        logged={} if scored is None else scored.logged,
        target_logprobs=_on_cpu(target_logprobs),
        target_logits=_on_cpu(target_logits),
        verdicts=verdicts,
        features=_on_cpu(features),
        target_features=_on_cpu(target_features),
        latents=_on_cpu(samples.latents),
        behaviour_weights=_on_cpu(behaviour_weights),
        goal_rewards=_on_cpu(goal_rewards),
    )


def written_verdicts(critic: Critic, conditions: Tensor, reals: Tensor, tokens: Tensor, rng: torch.Generator) -> Tensor:
    """What a critic writes of sequences, each read beside a real one under its condition, in random order.

    Args:
        critic: frozen.
        conditions: (B, S) int64.
        reals: (B, T) int64.
        tokens: (B, T) int64.
        rng: source of orders and verdicts; on the CPU.

    Returns:
        (B,) int64 on the CPU: 0 where it names the real one, 1 the sequence, 2 a tie.
    """
    duels = Duels.in_random_order(conditions, reals, tokens, rng)
    return torch.multinomial(critic(duels).exp().to(CPU), 1, generator=rng).squeeze(1)


def _searched_and_drawn(
    plan: RolloutPlan,
    policy: Sampler,
    is_searched: Tensor,
    beam: int,
    rng: torch.Generator,
    conditions: Tensor | None,
) -> Samples:
    """Sequences of which some are the likeliest that beams find; the others are drawn as if they were alone."""
    of_searched, of_drawn = (None if conditions is None else conditions[rows] for rows in (is_searched, ~is_searched))
    tokens = torch.empty(len(is_searched), plan.space.max_length, dtype=torch.int64, device=is_searched.device)
    logprobs = torch.zeros(tokens.shape, device=tokens.device)
    if bool(is_searched.any()):
        number = int(is_searched.sum())
        tokens[is_searched] = policy.likeliest(number, beam, conditions=of_searched).tokens
    if not bool(is_searched.all()):
        number = int((~is_searched).sum())
        drawn = policy.sample(number, rng, conditions=of_drawn)
        tokens[~is_searched], logprobs[~is_searched] = drawn.tokens, drawn.logprobs
    return Samples(tokens=tokens, logprobs=logprobs, mask=sequence_mask(plan.space, tokens))


def _hypotheses(
    plan: RolloutPlan, policy: Sampler, own: Conditional, places: Tensor, beam: int, conditions: Tensor
) -> Samples:
    """For each sequence one of the hypotheses of a search under its condition, with the policy's log-probabilities."""
    different, which = conditions.unique_consecutive(dim=0, return_inverse=True)
    found = policy.hypotheses(len(different), beam, different).view(len(different), beam, -1)
    tokens = found[which, places]
    mask = sequence_mask(plan.space, tokens)
    return Samples(tokens, _logprobs(own, tokens, mask, conditions, plan.draw.temperature), mask)


def _of_both(
    plan: RolloutPlan,
    policy: Sampler,
    cold: Sampler,
    own: Conditional,
    number: int,
    rng: torch.Generator,
    prefixes: Tensor | None,
    conditions: Tensor | None,
) -> tuple[Samples, Tensor]:
    """Sequences of the policy and of a colder one, and their importance weights (B,).

    The log-probabilities of all of them are the policy's own: that is what learns.
    """
    is_cold = plan.behaviour.is_cold(number, rng)
    shape = number, plan.space.max_length
    tokens = torch.empty(shape, dtype=torch.int64, device=is_cold.device)
    logprobs, cold_logprobs = (torch.zeros(shape, device=is_cold.device) for _ in range(2))
    cold_draw = plan.behaviour.cold(plan.draw)
    assert cold_draw is not None
    for rows, sampler, drew, other, draw in (
        (~is_cold, policy, logprobs, cold_logprobs, cold_draw),
        (is_cold, cold, cold_logprobs, logprobs, plan.draw),
    ):
        if not bool(rows.any()):
            continue
        begun, given = (None if one is None else one[rows] for one in (prefixes, conditions))
        drawn = sampler.sample(int(rows.sum()), rng, begun, given)
        tokens[rows], drew[rows] = drawn.tokens, drawn.logprobs
        other[rows] = _logprobs_of_draw(own, drawn.tokens, drawn.mask, given, draw)
    mask = sequence_mask(plan.space, tokens)
    if prefixes is not None:  # who draws has no say in what is given
        for one in (logprobs, cold_logprobs):
            one[:, : prefixes.shape[1]] = 0.0
    return (
        Samples(tokens=tokens, logprobs=logprobs, mask=mask),
        plan.behaviour.weights(logprobs.double().sum(1), cold_logprobs.double().sum(1)),
    )


@torch.no_grad()
def _logprobs_of_draw(of: Conditional, tokens: Tensor, mask: Tensor, conditions: Tensor | None, draw: Draw) -> Tensor:
    """Log-probabilities (B, T) of tokens as they are drawn, -inf where one is never drawn."""
    if not draw.truncates:
        return _logprobs(of, tokens, mask, conditions, draw.temperature)
    probs = torch.softmax(of(conditions).logits(tokens) / draw.temperature, 2)
    cut = truncate_weights(probs.flatten(0, 1), draw.top_k, draw.top_p).view_as(probs)
    chosen = cut.gather(2, tokens.unsqueeze(2)).squeeze(2) / cut.sum(2)
    return chosen.log().masked_fill(~mask, 0.0)


@torch.no_grad()
def collect_soft(plan: RolloutPlan, shard: Shard, generator: Generator) -> Rollouts:
    """Compute one shard of soft rows, which nothing judges.

    Args:
        plan: common to the run.
        shard: which part.
        generator: in evaluation mode.

    Returns:
        The shard's rows and the tokens that they stand for, on the CPU.
    """
    rng = generator_on(CPU, shard.seed)
    seeds = torch.randint(2**62, (shard.num_sequences,), generator=rng)
    rows, tokens = generator.soft_rows(plan.space, seeds, shard.relaxation, shard.conditions)
    mask = sequence_mask(plan.space, tokens)
    return Rollouts(
        tokens=tokens.to(CPU),
        logprobs=torch.zeros(tokens.shape),
        mask=mask.to(CPU),
        real_logits=None,
        token_logits=None,
        continuation_logits=None,
        reference_logprobs=None,
        generator_version=shard.generator_version,
        discriminator_version=None,
        prefix_length=0,
        num_drawn=int(mask.sum()),
        soft_rows=rows.to(CPU),
        conditions=shard.conditions,
    )


def _on_cpu(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.to(CPU)


@torch.no_grad()
def _logprobs(
    of: Conditional,
    tokens: Tensor,
    mask: Tensor,
    conditions: Tensor | None,
    temperature: float,
    latents: Tensor | None = None,
) -> Tensor:
    distribution = of(conditions) if latents is None else of(conditions, latents)
    return distribution.logprobs(tokens, temperature).masked_fill(~mask, 0.0)


def _scored(plan: RolloutPlan, score: SequenceScorer, finished: Finished) -> Scored:
    """Scores of finished sequences, as the sampler judges."""
    whole: list[Scored] = []

    def scores_of(tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        whole.append(score(replace(finished, tokens=tokens, mask=mask, conditions=conditions)))
        return whole[-1].scores

    scores = plan.writer.judge(scores_of, plan.space, finished.tokens, finished.conditions)
    (only,) = whole  # all rows are judged together
    return replace(only, scores=scores)


@dataclass(frozen=True, slots=True)
class Beside:
    """What scores of finished sequences may read beside the sequences themselves.

    Attributes:
        targets: (B, T) int64 what each is compared with; None compares with nothing.
        rows: (B,) int64 training sequences with the same conditions; None where no reward reads it.
        state: how far the run is.
        seed: of whatever is random in the scores.
    """

    targets: Tensor | None = None
    rows: Tensor | None = None
    state: TrainerState = TrainerState()
    seed: int = 0

    def finished(
        self, tokens: Tensor, mask: Tensor, conditions: Tensor | None, sequence: Tensor | None = None
    ) -> Finished:
        """Finished sequences, of which each is, or continues, number `sequence` of the B; None takes them in order."""
        targets, rows = (one if one is None or sequence is None else one[sequence] for one in (self.targets, self.rows))
        return Finished(tokens, mask, conditions, targets, self.seed, rows, self.state)


@dataclass(frozen=True, slots=True)
class Search:
    """What Monte Carlo search found, laid out by sequence, position and continuation.

    Attributes:
        logits: (B, T, N) float32; 0 at and after each sequence's last real token. None where no discriminator judges.
        scores: (B, T, N) float32 by the reward's scorer; likewise. None without one.
        num_drawn: tokens that were drawn for it.
    """

    logits: Tensor | None
    scores: Tensor | None
    num_drawn: int


def monte_carlo_search(
    plan: RolloutPlan,
    tokens: Tensor,
    rollout_policy: Sampler,
    scorer: Scorer | None,
    rng: torch.Generator,
    prefix_length: int = 0,
    conditions: Tensor | None = None,
    score: SequenceScorer | None = None,
    beside: Beside | None = None,
    latents: Tensor | None = None,
) -> Search:
    """Continue every proper prefix that was drawn N times, and judge each continuation as the sequences are judged.

    Args:
        plan: space, number of continuations, chunk size.
        tokens: (B, T) int64 finished sequences.
        rollout_policy: continues the prefixes.
        scorer: frozen discriminator of sequences; None leaves continuations unscored.
        rng: source of all randomness.
        prefix_length: first tokens that were not drawn.
        conditions: (B, S) int64 what each sequence is given, or None.
        score: scores continuations for the reward; None where it reads no scores.
        beside: what those scores may read besides; None is nothing.
        latents: (B, Z) float32 that the sequences were drawn given, or None.

    Returns:
        Logits, scores, and what they cost.
    """
    shape = (*tokens.shape, plan.credit.num_continuations)
    logits = None if scorer is None else torch.zeros(shape, device=tokens.device)
    scores = None if score is None else torch.zeros(shape, device=tokens.device)
    # Finished rows are cheap to keep and are scored many at a time, which is how a scorer is fast.
    finished = list(rollout_policy.continuations(tokens, shape[2], rng, prefix_length, conditions, latents))
    if not finished:
        return Search(logits, scores, num_drawn=0)
    rows = torch.cat([part.tokens for part in finished])
    sequence, position, rollout = (
        torch.cat([getattr(part, name) for part in finished]) for name in ("sequence", "position", "rollout")
    )
    mask = sequence_mask(plan.space, rows)
    row_conditions = None if conditions is None else conditions[sequence]
    if scorer is not None and logits is not None:
        logits[sequence, position, rollout] = plan.writer.judge(scorer, plan.space, rows, row_conditions)
    if score is not None and scores is not None:
        found = _scored(plan, score, (beside or Beside()).finished(rows, mask, row_conditions, sequence))
        scores[sequence, position, rollout] = found.scores.to(scores)
    return Search(logits, scores, num_drawn=int(mask.sum()) - int((position + 1).sum()))


def prefix_logits(
    tokens: Tensor, mask: Tensor, scorer: Scorer, prefix_length: int = 0, conditions: Tensor | None = None
) -> Tensor:
    """Real-logits of every prefix that ends in a drawn token, judged as it stands.

    Args:
        tokens: (B, T) int64 finished sequences.
        mask: (B, T) bool.
        scorer: frozen discriminator of sequences, which has seen prefixes.
        prefix_length: first tokens that were not drawn.
        conditions: (B, S) int64 what each sequence is given, or None.

    Returns:
        (B, T) float32, [b, t] of tokens[b, :t+1]; 0 where mask is False, and at given tokens.
    """
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    logits = torch.zeros(tokens.shape, device=tokens.device)
    sequence, position = (mask & (positions >= prefix_length)).nonzero(as_tuple=True)
    if sequence.shape[0] == 0:
        return logits
    ends = positions <= position.unsqueeze(1)
    logits[sequence, position] = scorer(tokens[sequence], ends, None if conditions is None else conditions[sequence])
    return logits
