"""The hot loop: sequences from a generator's stepper, and continuations of all their prefixes.

`sampler_of` is the way in for whoever has a generator; behind it stands `StepperSampler`, or a sampler of the
generator's own.

Nothing here learns or scores. Randomness comes only from the `torch.Generator` handed in. On a CPU small chunks of
rows stay in cache; on a GPU one chunk may hold everything, and then the whole Monte Carlo search is T sequential steps
whatever the number of prefixes: rows are ordered by where their prefix ends, so the rows that are already running are
always the leading ones.

    B sequences, T positions, N continuations a prefix, R rows of a chunk, V vocabulary
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from rlgan.base.errors import ConfigError
from rlgan.discriminators import Scorer
from rlgan.envs.categorical import draw_from_weights, truncate_weights
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import is_terminal, sequence_mask
from rlgan.generators import Continuations, Decoded, Draw, Generator, Sampler, Samples, State, Stepper

from .beam_search import beam_search

CHUNK_ROWS = 256
"""Most rows advanced together, where nothing else is said."""

_OWN_DISTRIBUTION = Draw()


class RowWriter(Protocol):
    """How rows are written with a stepper, and judged; what is in `sample` and `continue_prefixes` is the same for all.

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


class StepperSampler(Sampler):
    """Sequences token by token, from a stepper.

    Args:
        stepper: frozen generator, at its temperature, truncated or not.
        space: the task's sequences.
        chunk_rows: most rows advanced together; part of the numbers, since rounding depends on it.
        writer: how rows are written; None is `Batched`.
    """

    def __init__(
        self,
        stepper: Stepper,
        space: SequenceSpace,
        chunk_rows: int = CHUNK_ROWS,
        writer: RowWriter | None = None,
    ) -> None:
        self._stepper, self._space, self._chunk_rows, self._writer = stepper, space, chunk_rows, writer

    def sample(
        self,
        num_sequences: int,
        rng: torch.Generator,
        prefixes: Tensor | None = None,
        conditions: Tensor | None = None,
    ) -> Samples:
        """Draw finished sequences; see `Sampler.sample`."""
        return sample(
            self._stepper, self._space, num_sequences, rng, self._chunk_rows, prefixes, conditions, self._writer
        )

    def continuations(
        self,
        tokens: Tensor,
        num_continuations: int,
        rng: torch.Generator,
        prefix_length: int = 0,
        conditions: Tensor | None = None,
        latents: Tensor | None = None,
    ) -> Iterator[Continuations]:
        """Finish every proper prefix; see `Sampler.continuations`. At most `chunk_rows` rows at a time."""
        return continue_prefixes(
            self._stepper,
            self._space,
            tokens,
            num_continuations,
            rng,
            self._chunk_rows,
            prefix_length,
            conditions,
            self._writer,
            latents,
        )

    def likeliest(
        self, num_sequences: int, beam: int = 1, exponent: float = 0.0, conditions: Tensor | None = None
    ) -> Decoded:
        """Beam search; see `Sampler.likeliest`."""
        return beam_search(self._stepper, self._space, num_sequences, beam, exponent, conditions, self._chunk_rows)

    def hypotheses(self, num_sequences: int, beam: int, conditions: Tensor | None = None) -> Tensor:
        """All beams; see `Sampler.hypotheses`."""
        found = beam_search(
            self._stepper, self._space, num_sequences, beam, 0.0, conditions, self._chunk_rows, keeps_all=True
        )
        return found.tokens


class TruncatedStepper(Stepper):
    """A stepper that weighs only the likeliest tokens; the others' weights are 0, so they are never drawn.

    Args:
        stepper: at its temperature.
        draw: its `top_k` and `top_p`.
    """

    def __init__(self, stepper: Stepper, draw: Draw) -> None:
        self._stepper, self._draw = stepper, draw

    def start(self, num_rows: int, rng: torch.Generator | None = None) -> State:
        """State of empty prefixes; see `Stepper.start`."""
        return self._stepper.start(num_rows, rng)

    def draw_latents(self, num_rows: int, rng: torch.Generator) -> Tensor | None:
        """Latents of rows that have not begun; see `Stepper.draw_latents`."""
        return self._stepper.draw_latents(num_rows, rng)

    def with_latents(self, latents: Tensor | None) -> TruncatedStepper:
        """The same for rows that have latents; see `Stepper.with_latents`."""
        return TruncatedStepper(self._stepper.with_latents(latents), self._draw)

    def conditional(self, conditions: Tensor | None) -> TruncatedStepper:
        """The same for rows that are given conditions; see `Stepper.conditional`."""
        return TruncatedStepper(self._stepper.conditional(conditions), self._draw)

    def advance(self, state: State, tokens: Tensor) -> State:
        """State after one more token; see `Stepper.advance`."""
        return self._stepper.advance(state, tokens)

    def select(self, state: State, rows: Tensor) -> State:
        """A state of some rows; see `Stepper.select`."""
        return self._stepper.select(state, rows)

    def remaining(self, state: State, rows: Tensor) -> State:
        """A state of the rows that go on; see `Stepper.remaining`."""
        return self._stepper.remaining(state, rows)

    def joined(self, state: State, more: State) -> State:
        """Rows of both; see `Stepper.joined`."""
        return self._stepper.joined(state, more)

    def prefix_states(self, tokens: Tensor) -> State:
        """States of all prefixes; see `Stepper.prefix_states`."""
        return self._stepper.prefix_states(tokens)

    def weights(self, state: State) -> Tensor:
        """Unnormalised probabilities of the tokens that are kept; see `Stepper.weights`."""
        return truncate_weights(self._stepper.weights(state), self._draw.top_k, self._draw.top_p)


def sampler_of(
    generator: Generator,
    space: SequenceSpace,
    draw: Draw = _OWN_DISTRIBUTION,
    chunk_rows: int = CHUNK_ROWS,
    writer: RowWriter | None = None,
) -> Sampler:
    """A sampler from the generator's weights as they are now.

    Args:
        generator: whose sequences.
        space: the task's sequences.
        draw: from which distribution; its own, where nothing else is said.
        chunk_rows: most rows advanced together.
        writer: how rows are written with a stepper; None is `Batched`.

    Raises:
        ConfigError: a generator that draws no tokens, or whole sequences, is to draw them in another way.
    """
    if draw.truncates and not generator.draws_tokens:
        raise ConfigError(
            f"top_k={draw.top_k}, top_p={draw.top_p}: have no effect on {type(generator).__name__}, which returns "
            "its most likely tokens. Remove both.",
            code="truncation_no_effect",
            fields={"top_k": draw.top_k, "top_p": draw.top_p},
        )
    own = generator.own_sampler(space, draw, chunk_rows)
    if own is not None:
        if writer is not None and not isinstance(writer, Batched):
            raise ConfigError(
                f"sampling: {type(generator).__name__} draws whole sequences with its own method, not step by "
                "step. Set sampling to batched.",
                code="sampling_not_stepwise",
            )
        return own
    return StepperSampler(stepper_of(generator, draw), space, chunk_rows, writer)


def stepper_of(generator: Generator, draw: Draw = _OWN_DISTRIBUTION) -> Stepper:
    """A frozen copy of a generator that steps through a distribution of its."""
    stepper = generator.stepper(draw.temperature)
    return TruncatedStepper(stepper, draw) if draw.truncates else stepper


@torch.no_grad()
def sample(
    stepper: Stepper,
    space: SequenceSpace,
    num_sequences: int,
    rng: torch.Generator,
    chunk_rows: int = CHUNK_ROWS,
    prefixes: Tensor | None = None,
    conditions: Tensor | None = None,
    writer: RowWriter | None = None,
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
        writer: writes each chunk; None is `Batched`.

    Returns:
        B sequences; the log-probabilities of given tokens are 0.
    """
    writer = Batched() if writer is None else writer
    if prefixes is None:
        prefixes = torch.zeros(num_sequences, 0, dtype=torch.int64, device=rng.device)
    parts, latents = [], []
    for first, begun in zip(range(0, num_sequences, chunk_rows), prefixes.split(chunk_rows), strict=True):
        chunk_conditions = None if conditions is None else conditions[first : first + chunk_rows]
        chunk_latents = stepper.draw_latents(len(begun), rng)
        ready = stepper.conditional(chunk_conditions).with_latents(chunk_latents)
        parts.append(writer.write(ready, space, begun, chunk_conditions, rng))
        if chunk_latents is not None:
            latents.append(chunk_latents)
    tokens = torch.cat([part[0] for part in parts])
    logprobs = torch.cat([part[1] for part in parts])
    mask = sequence_mask(space, tokens)
    return Samples(
        tokens=tokens,
        logprobs=logprobs.masked_fill(~mask, 0.0),
        mask=mask,
        latents=torch.cat(latents) if latents else None,
    )


@torch.no_grad()
def stream(
    stepper: Stepper, space: SequenceSpace, rng: torch.Generator, conditions: Tensor | None = None
) -> Iterator[int]:
    """Tokens of one sequence as they are drawn; the terminator is the last, where there is one.

    They are those of `sample` of one sequence, from the same random numbers.

    Args:
        stepper: frozen generator.
        space: the task's sequences.
        rng: source of all randomness; its device is the stepper's.
        conditions: (1, S) int64 what the sequence is given, or None.
    """
    latents = stepper.draw_latents(1, rng)
    stepper = stepper.conditional(conditions).with_latents(latents)
    state = stepper.start(1, rng)
    for position in range(space.max_length):
        drawn, _ = draw_with_logprobs(stepper, state, rng)
        yield int(drawn)
        if bool(is_terminal(space, drawn, position)):
            return
        state = stepper.advance(state, drawn)


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


class Batched(RowWriter):
    """All rows of a chunk at once; a row that has ended is left out."""

    def write(
        self, stepper: Stepper, space: SequenceSpace, prefixes: Tensor, conditions: Tensor | None, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `RowWriter.write`."""
        rows, prefix_length = prefixes.shape
        state = stepper.start(rows, rng)
        device = state[0].device
        tokens = torch.full((rows, space.max_length), space.pad_id, dtype=torch.int64, device=device)
        logprobs = torch.zeros(rows, space.max_length, device=device)
        alive = torch.arange(rows, device=device)
        for position in range(space.max_length):
            if position > 0:
                state = stepper.advance(state, tokens[alive, position - 1])
            if position < prefix_length:
                drawn = prefixes[alive, position]
            else:
                drawn, logprobs[alive, position] = draw_with_logprobs(stepper, state, rng)
            tokens[alive, position] = drawn
            alive, state = _drop_finished(stepper, space, alive, state, drawn, position)
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
        """See `RowWriter.finish`."""
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
                state = joined(stepper, state, states, target - 1, sequence[rows])
                alive = torch.cat([alive, rows])
                num_started += starting
            if alive.shape[0] == 0:
                continue
            drawn = draw(stepper, state, rng)
            finished[alive, target] = drawn
            alive, state = _drop_finished(stepper, space, alive, state, drawn, target)
        return finished

    def judge(self, scorer: Scorer, space: SequenceSpace, tokens: Tensor, conditions: Tensor | None) -> Tensor:
        """See `RowWriter.judge`."""
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


def joined(stepper: Stepper, state: State, states: State, position: int, sequence: Tensor) -> State:
    """A state with the rows that begin behind `position`, those of the prefixes of `sequence` (n,), at its end."""
    fresh = stepper.select(tuple(part[position] for part in states), sequence)
    return stepper.joined(state, fresh) if state else fresh


def kept(stepper: Stepper, alive: Tensor, state: State, is_kept: Tensor) -> tuple[Tensor, State]:
    """The rows of a state that go on: `alive` (R,) int64 and the state of those where `is_kept` (R,) bool."""
    going_on = is_kept.nonzero().squeeze(1)
    if going_on.shape[0] == alive.shape[0]:
        return alive, state
    return alive[going_on], stepper.remaining(state, going_on)


def _drop_finished(
    stepper: Stepper, space: SequenceSpace, alive: Tensor, state: State, drawn: Tensor, position: int
) -> tuple[Tensor, State]:
    """Rows that go on. Where no sequence can end early nothing is copied and, on a GPU, nothing waits for the host."""
    if space.end_id is None:
        return alive, state
    return kept(stepper, alive, state, ~is_terminal(space, drawn, position + 1))


@torch.no_grad()
def continue_prefixes(
    stepper: Stepper,
    space: SequenceSpace,
    tokens: Tensor,
    num_rollouts: int,
    rng: torch.Generator,
    chunk_rows: int = CHUNK_ROWS,
    prefix_length: int = 0,
    conditions: Tensor | None = None,
    writer: RowWriter | None = None,
    latents: Tensor | None = None,
) -> Iterator[Continuations]:
    """Finish every proper prefix of every sequence N times; see `Sampler.continuations`.

    Args:
        stepper: frozen rollout policy.
        space: the task's sequences.
        tokens: (B, T) int64 finished sequences.
        num_rollouts: N continuations a prefix.
        rng: source of all randomness.
        chunk_rows: most rows advanced together.
        prefix_length: first tokens that were not drawn, whose values nobody seeks.
        conditions: (B, S) int64 what each sequence is given, or None.
        writer: continues each chunk; None is `Batched`.
        latents: (B, Z) float32 of the sequences, or None.

    Yields:
        Continuations of all (prefix, rollout) rows, ordered by prefix length, at most `chunk_rows` at a time.
    """
    writer = Batched() if writer is None else writer
    lengths = sequence_mask(space, tokens).sum(1)
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    is_sought = (positions.unsqueeze(1) >= prefix_length) & (positions.unsqueeze(1) < lengths - 1)
    position, sequence = is_sought.nonzero(as_tuple=True)
    rollout = torch.arange(num_rollouts, device=tokens.device).repeat(position.shape[0])
    position, sequence = position.repeat_interleave(num_rollouts), sequence.repeat_interleave(num_rollouts)
    # No continuation ever reads its prefix again.
    stepper = stepper.conditional(conditions).with_latents(latents)
    states = stepper.prefix_states(tokens)
    for first in range(0, position.shape[0], chunk_rows):
        chunk = slice(first, first + chunk_rows)
        finished = writer.finish(stepper, space, tokens, states, sequence[chunk], position[chunk], conditions, rng)
        yield Continuations(tokens=finished, sequence=sequence[chunk], position=position[chunk], rollout=rollout[chunk])
