"""The hot loop: sequences from a generator, and continuations of all their prefixes.

Nothing here learns or scores. Randomness comes only from the `torch.Generator` handed in. On a CPU small chunks of
rows stay in cache; on a GPU one chunk may hold everything, and then the whole Monte Carlo search is T sequential steps
whatever the number of prefixes: rows are ordered by where their prefix ends, so the rows that are already running are
always the leading ones.

    B sequences, T positions, N continuations a prefix, R rows of a chunk, V vocabulary
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rlgan.discriminators import Scorer
from rlgan.envs.categorical import draw_from_weights
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import is_terminal, sequence_mask
from rlgan.generators import State, Stepper


@dataclass(frozen=True, slots=True)
class Samples:
    """Finished sequences with the log-probabilities under the law that drew them.

    Attributes:
        tokens: (B, T) int64, padded after the terminator.
        logprobs: (B, T) float32 nats, 0 after the terminator.
        mask: (B, T) bool.
    """

    tokens: Tensor
    logprobs: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class Continuations:
    """Finished continuations of some prefixes.

    Attributes:
        tokens: (R, T) int64; row r agrees with `sequences[sequence[r]]` up to and including position `position[r]`.
        sequence: (R,) int64 index of the sequence whose prefix was continued.
        position: (R,) int64 last position of that prefix.
        rollout: (R,) int64 in 0..N-1, which continuation of that prefix it is.
    """

    tokens: Tensor
    sequence: Tensor
    position: Tensor
    rollout: Tensor


class Sampler(Protocol):
    """How rows are written and judged; what is in `sample` and `continue_prefixes` is the same for all.

    Two keep to it: `Batched`, and `environment.StepByStep`. From the same arguments they return the same bits.
    """

    def write(
        self, stepper: Stepper, space: SequenceSpace, prefixes: Tensor, conditions: Tensor | None, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw a chunk of sequences.

        Args:
            stepper: frozen generator that has read the conditions.
            space: the task's sequences.
            prefixes: (R, n) int64 first tokens that are not drawn.
            conditions: (R, S) int64, or None.
            rng: source of all randomness.

        Returns:
            Tokens (R, T) int64, padded after the terminator, and their log-probabilities (R, T), 0 where nothing was
            drawn.
        """
        ...

    def finish(
        self,
        stepper: Stepper,
        space: SequenceSpace,
        tokens: Tensor,
        states: State,
        sequence: Tensor,
        position: Tensor,
        conditions: Tensor | None,
        rng: torch.Generator,
    ) -> Tensor:
        """Continue a chunk of prefixes.

        Args:
            stepper: frozen rollout policy that has read the conditions.
            space: the task's sequences.
            tokens: (B, T) int64 finished sequences.
            states: of all their prefixes, see `Stepper.prefix_states`.
            sequence: (R,) int64 whose prefix each row continues.
            position: (R,) int64 last position of that prefix, in ascending order.
            conditions: (B, S) int64 of the sequences, or None.
            rng: source of all randomness.

        Returns:
            (R, T) int64 finished sequences.
        """
        ...

    def judge(self, scorer: Scorer, space: SequenceSpace, tokens: Tensor, conditions: Tensor | None) -> Tensor:
        """Judge finished sequences.

        Args:
            scorer: says (B,) of sequences, or (B, T) of their tokens.
            space: the task's sequences.
            tokens: (B, T) int64 finished sequences.
            conditions: (B, S) int64 what they were given, or None.

        Returns:
            What the scorer says.
        """
        ...


@torch.no_grad()
def sample(
    stepper: Stepper,
    space: SequenceSpace,
    num_sequences: int,
    rng: torch.Generator,
    chunk_rows: int = 256,
    prefixes: Tensor | None = None,
    conditions: Tensor | None = None,
    sampler: Sampler | None = None,
) -> Samples:
    """Draw finished sequences.

    Args:
        stepper: frozen generator.
        space: the task's sequences.
        num_sequences: B.
        rng: source of all randomness; its device is the stepper's.
        chunk_rows: rows advanced together; bounds the memory of the (R, V) next-token weights.
        prefixes: (B, n) int64 first tokens that are given and not drawn; one with a terminator is a whole sequence.
        conditions: (B, S) int64 what each sequence is given, or None.
        sampler: writes each chunk; None is `Batched`.

    Returns:
        B sequences; the log-probabilities of given tokens are 0.
    """
    sampler = Batched() if sampler is None else sampler
    if prefixes is None:
        prefixes = torch.zeros(num_sequences, 0, dtype=torch.int64, device=rng.device)
    parts = []
    for first, begun in zip(range(0, num_sequences, chunk_rows), prefixes.split(chunk_rows), strict=True):
        given = None if conditions is None else conditions[first : first + chunk_rows]
        parts.append(sampler.write(stepper.given(given), space, begun, given, rng))
    tokens = torch.cat([part[0] for part in parts])
    logprobs = torch.cat([part[1] for part in parts])
    mask = sequence_mask(space, tokens)
    return Samples(tokens=tokens, logprobs=logprobs.masked_fill(~mask, 0.0), mask=mask)


@torch.no_grad()
def mixed_inputs(stepper: Stepper, tokens: Tensor, draws: Tensor) -> Tensor:
    """What a generator reads in scheduled sampling: real tokens, and here and there one of its own.

    Source: Bengio et al. 2015. A token of its own is drawn given all that it has read before, own tokens included.

    Args:
        stepper: frozen generator as it is now.
        tokens: (B, T) int64 real sequences.
        draws: (B, T) float32, in [0, 1) where tokens[b, t] is replaced and with which number, -1 where it stands.

    Returns:
        (B, T) int64.
    """
    read = tokens.clone()
    state = stepper.start(tokens.shape[0])
    for position in range(tokens.shape[1]):
        if position > 0:
            state = stepper.advance(state, read[:, position - 1])
        replaced = draws[:, position] >= 0
        if bool(replaced.any()):
            own = draw_from_weights(stepper.weights(state), draws[:, position].clamp_min(0.0))
            read[:, position] = torch.where(replaced, own, tokens[:, position])
    return read


class Batched(Sampler):
    """All rows of a chunk at once; a row that has ended is left out."""

    def write(
        self, stepper: Stepper, space: SequenceSpace, prefixes: Tensor, conditions: Tensor | None, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `Sampler.write`."""
        rows, num_given = prefixes.shape
        state = stepper.start(rows, rng)
        device = state[0].device
        tokens = torch.full((rows, space.max_length), space.pad_id, dtype=torch.int64, device=device)
        logprobs = torch.zeros(rows, space.max_length, device=device)
        alive = torch.arange(rows, device=device)
        for position in range(space.max_length):
            if position > 0:
                state = stepper.advance(state, tokens[alive, position - 1])
            if position < num_given:
                drawn = prefixes[alive, position]
            else:
                drawn, logprobs[alive, position] = draw_with_logprobs(stepper, state, rng)
            tokens[alive, position] = drawn
            alive, state = _drop_finished(space, alive, state, drawn, position)
            if alive.shape[0] == 0:
                break
        return tokens, logprobs

    def finish(
        self,
        stepper: Stepper,
        space: SequenceSpace,
        tokens: Tensor,
        states: State,
        sequence: Tensor,
        position: Tensor,
        conditions: Tensor | None,
        rng: torch.Generator,
    ) -> Tensor:
        """See `Sampler.finish`."""
        max_length = space.max_length
        after_prefix = torch.arange(max_length, device=tokens.device) > position.unsqueeze(1)
        finished = tokens[sequence].masked_fill(after_prefix, space.pad_id)
        # One transfer to the host for the whole chunk: how many rows begin at each position.
        num_starting = torch.bincount(position, minlength=max_length).tolist()
        alive = position.new_empty(0)
        state: State = ()
        num_started = 0
        for target in range(int(position[0]) + 1, max_length):
            if alive.shape[0] > 0:
                state = stepper.advance(state, finished[alive, target - 1])
            if starting := num_starting[target - 1]:
                rows = torch.arange(num_started, num_started + starting, device=tokens.device)
                state = joined(state, states, target - 1, sequence[rows])
                alive = torch.cat([alive, rows])
                num_started += starting
            if alive.shape[0] == 0:
                continue
            drawn = draw(stepper, state, rng)
            finished[alive, target] = drawn
            alive, state = _drop_finished(space, alive, state, drawn, target)
        return finished

    def judge(self, scorer: Scorer, space: SequenceSpace, tokens: Tensor, conditions: Tensor | None) -> Tensor:
        """See `Sampler.judge`."""
        return scorer(tokens, sequence_mask(space, tokens), conditions)


def draw(stepper: Stepper, state: State, rng: torch.Generator) -> Tensor:
    """The next token (R,) int64 of each row of a state: one uniform number a row."""
    weights = stepper.weights(state)
    return draw_from_weights(weights, torch.rand(len(weights), generator=rng, device=weights.device))


def draw_with_logprobs(stepper: Stepper, state: State, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """As `draw`, with the log-probability (R,) of each token."""
    weights = stepper.weights(state)
    drawn = draw_from_weights(weights, torch.rand(len(weights), generator=rng, device=weights.device))
    return drawn, (weights.gather(1, drawn.unsqueeze(1)).squeeze(1) / weights.sum(1)).log()


def joined(state: State, states: State, position: int, sequence: Tensor) -> State:
    """A state with the rows that begin behind `position`, those of the prefixes of `sequence` (n,), at its end."""
    fresh = tuple(part[position].index_select(0, sequence) for part in states)
    return tuple(torch.cat(pair) for pair in zip(state, fresh, strict=True)) if state else fresh


def kept(alive: Tensor, state: State, is_kept: Tensor) -> tuple[Tensor, State]:
    """The rows of a state that go on: `alive` (R,) int64 and the state of those where `is_kept` (R,) bool."""
    going_on = is_kept.nonzero().squeeze(1)
    if going_on.shape[0] == alive.shape[0]:
        return alive, state
    return alive[going_on], tuple(part.index_select(0, going_on) for part in state)


def _drop_finished(
    space: SequenceSpace, alive: Tensor, state: State, drawn: Tensor, position: int
) -> tuple[Tensor, State]:
    """Rows that go on. Where no sequence can end early nothing is copied and, on a GPU, nothing waits for the host."""
    if space.end_id is None:
        return alive, state
    return kept(alive, state, ~is_terminal(space, drawn, position + 1))


@torch.no_grad()
def continue_prefixes(
    stepper: Stepper,
    space: SequenceSpace,
    tokens: Tensor,
    num_rollouts: int,
    rng: torch.Generator,
    chunk_rows: int = 256,
    num_given: int = 0,
    conditions: Tensor | None = None,
    sampler: Sampler | None = None,
) -> Iterator[Continuations]:
    """Finish every proper prefix of every sequence N times.

    The prefix *includes* the action whose value is sought: position t stands for `tokens[b, :t+1]`. The last real
    position is not continued, for there the sequence itself is the only completion (Yu et al. 2017, eq. 4).

    Args:
        stepper: frozen rollout policy.
        space: the task's sequences.
        tokens: (B, T) int64 finished sequences.
        num_rollouts: N continuations a prefix.
        rng: source of all randomness.
        chunk_rows: most rows advanced together.
        num_given: first tokens that were not drawn, whose values nobody seeks.
        conditions: (B, S) int64 what each sequence is given, or None.
        sampler: continues each chunk; None is `Batched`.

    Yields:
        Continuations of all (prefix, rollout) rows, ordered by prefix length, at most `chunk_rows` at a time.
    """
    sampler = Batched() if sampler is None else sampler
    lengths = sequence_mask(space, tokens).sum(1)
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    is_sought = (positions.unsqueeze(1) >= num_given) & (positions.unsqueeze(1) < lengths - 1)
    position, sequence = is_sought.nonzero(as_tuple=True)
    rollout = torch.arange(num_rollouts, device=tokens.device).repeat(position.shape[0])
    position, sequence = position.repeat_interleave(num_rollouts), sequence.repeat_interleave(num_rollouts)
    # No continuation ever reads its prefix again.
    stepper = stepper.given(conditions)
    states = stepper.prefix_states(tokens)
    for first in range(0, position.shape[0], chunk_rows):
        chunk = slice(first, first + chunk_rows)
        finished = sampler.finish(stepper, space, tokens, states, sequence[chunk], position[chunk], conditions, rng)
        yield Continuations(tokens=finished, sequence=sequence[chunk], position=position[chunk], rollout=rollout[chunk])
