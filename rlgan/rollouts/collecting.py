"""One shard of rollouts: sample, score, continue every prefix, score those too.

A shard is a pure function of the weights, the seed and its indices, whoever computes it. That is the whole design of
scaling out and of fault tolerance: any number of workers gives the same numbers, and a lost shard is computed again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rlgan.base.devices import CPU
from rlgan.base.seeding import generator_on, stream_seed
from rlgan.discriminators import Scorer
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.generators import Conditional, Draw, Generator, Sampler, Samples
from rlgan.layers.relaxation import Relaxation
from rlgan.policy.credit import CreditSettings
from rlgan.policy.reward_base import Finished, Scored, SequenceScorer, TrainerState
from rlgan.sampling.records import Rollouts
from rlgan.sampling.sampler import Batched, RowWriter


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
    """

    space: SequenceSpace
    credit: CreditSettings
    chunk_rows: int
    score: SequenceScorer | None = None
    writer: RowWriter = field(default_factory=Batched)
    draw: Draw = Draw()

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
        targets: (num_sequences, T) int64 what each sequence is compared with; None compares with nothing.
        weighs_targets: whether the policy's own log-probabilities of the targets are wanted.
        judges_targets: whether the discriminator's logits of the targets are wanted.
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
    targets: Tensor | None = None
    weighs_targets: bool = False
    judges_targets: bool = False
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
        own: distributions of the policy itself; read where the shard weighs targets.

    Returns:
        The shard's rollouts, on the CPU.
    """
    rng = generator_on(device, shard.seed)
    prefixes = None if shard.prefixes is None else shard.prefixes.to(device)
    conditions = None if shard.conditions is None else shard.conditions.to(device)
    if shard.is_searched is None:
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
    if shard.judges_targets:
        assert scorer is not None and targets is not None
        target_logits = plan.writer.judge(scorer, plan.space, targets, conditions)
    if shard.weighs_targets:
        assert own is not None and targets is not None
        mask = sequence_mask(plan.space, targets)
        target_logprobs = _logprobs(own, targets, mask, conditions, plan.draw.temperature)
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
            else _logprobs(reference, samples.tokens, samples.mask, conditions, plan.draw.temperature)
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
    )


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
def _logprobs(of: Conditional, tokens: Tensor, mask: Tensor, conditions: Tensor | None, temperature: float) -> Tensor:
    return of(conditions).logprobs(tokens, temperature).masked_fill(~mask, 0.0)


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

    Returns:
        Logits, scores, and what they cost.
    """
    shape = (*tokens.shape, plan.credit.num_continuations)
    logits = None if scorer is None else torch.zeros(shape, device=tokens.device)
    scores = None if score is None else torch.zeros(shape, device=tokens.device)
    # Finished rows are cheap to keep and are scored many at a time, which is how a scorer is fast.
    finished = list(rollout_policy.continuations(tokens, shape[2], rng, prefix_length, conditions))
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
