"""The likeliest sequences instead of drawn ones: greedy decoding and beam search.

Beams that have ended stay in the beam as they are, and compete with those that go on; the search is over when none goes
on. With as many beams as there are sequences it is exact.

A discriminator may be shown such sequences among its fakes (dialogue, Li et al. 2017).

    B conditions, K beams, V vocabulary, T positions
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from rlgan.base.declarations import Fields, reads_density_ratio
from rlgan.base.problems import Problem
from rlgan.base.search_priors import NotSearched
from rlgan.base.settings import Settings
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import is_terminal, sequence_mask
from rlgan.generators import Decoded, Stepper


class Drawn(Settings):
    """Every fake is drawn."""

    kind: Literal["drawn"] = "drawn"
    beam: ClassVar[int] = 1


class BeamsAndSamples(Settings):
    """Some fakes are found by beam search, the others are sampled (dialogue; docs/algorithms.md §14)."""

    kind: Literal["searched_and_drawn"] = "searched_and_drawn"
    beam_share: Annotated[float, NotSearched("needs a task with conditions")] = Field(0.5, gt=0.0, le=1.0)
    """Fraction of the fakes that beam search finds, rounded down to whole sequences."""
    beam: Annotated[int, NotSearched("needs a task with conditions")] = Field(5, ge=1)
    """Beam width K; 1 is greedy decoding."""
    rounds: Annotated[Literal["pretraining", "all"], NotSearched("needs a task with conditions")] = "pretraining"
    """Discriminator rounds that use beam search. In the paper only pretraining does, and rounds between generator
    updates add sampled fakes only; a larger `adversary.buffer` keeps the fakes of pretraining for a while."""

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Fakes that beams find are of a task that asks for different ones, and of a distribution that nobody reads."""
        if fields.discriminator is None:
            return
        at = {"adversary.decoding": self.kind}
        loss, objective, forcing = fields.adversary.loss, fields.objective, fields.schedule.teacher_forcing
        if not loss.reads_fakes:
            yield Problem(
                "searched_for_nobody",
                at,
                f"has no effect with adversary.loss={loss.kind!r}, which reads no fakes. Use drawn.",
            )
        if not fields.task.gives_conditions:
            yield Problem(
                "searched_alike",
                at,
                (
                    f"beam search would return the same fake every time, because task={fields.task.kind!r} has no "
                    "conditions. Use drawn."
                ),
            )
        if objective.makes_soft_rows:
            yield Problem(
                "searched_soft_rows",
                at,
                f"returns tokens, but objective={objective.kind!r} needs fakes as soft rows. Use drawn.",
            )
        if forcing.prefix_length(0):
            yield Problem(
                "searched_from_nothing",
                at,
                (
                    f"starts from an empty sequence, but schedule.teacher_forcing={forcing.kind!r} gives fakes their "
                    "first tokens. Use drawn, or another teacher forcing."
                ),
            )
        if self.rounds == "pretraining" and not fields.schedule.discriminator_rounds:
            yield Problem(
                "searched_in_no_rounds",
                at,
                (
                    "applies to pretraining only, but schedule.discriminator_rounds is 0. Set "
                    "adversary.decoding.rounds to all, or use drawn."
                ),
            )
        if reads_density_ratio(fields):
            kind = fields.reward.kind
            yield Problem(
                "searched_beside_ratio",
                at,
                (
                    f"fakes from beam search are not samples of p_θ, but reward={kind!r} and "
                    f"baseline={fields.baseline.kind!r} need its density ratio. Use drawn."
                ),
            )


DecodingSettings = Annotated[Drawn | BeamsAndSamples, Field(discriminator="kind")]


def searched_rows(settings: DecodingSettings, number: int, pretrains: bool) -> Tensor | None:
    """Which of a round's fakes beams find, spread evenly, so that every part of them holds its share.

    Args:
        settings: which share, in which rounds.
        number: n fakes.
        pretrains: whether the round is one of pretraining.

    Returns:
        (n,) bool, True ⌊share · n⌋ times; None where all are drawn.
    """
    if isinstance(settings, Drawn) or (settings.rounds == "pretraining" and not pretrains):
        return None
    # In floating point 0.29 · 100 is a little below 29.
    due = (settings.beam_share * torch.arange(number + 1, dtype=torch.float64) + 1e-6).floor()
    return due.diff() > 0


def length_penalty(lengths: Tensor, exponent: float) -> Tensor:
    """((5 + |y|) / 6)^α, by which log-probabilities are divided (Wu et al. 2016, eq. 14); 1 for α = 0.

    Args:
        lengths: any shape, tokens with the terminator.
        exponent: α, not negative; the greater, the longer the sequences that are preferred.
    """
    return ((5.0 + lengths) / 6.0) ** exponent


@torch.no_grad()
def beam_search(
    stepper: Stepper,
    space: SequenceSpace,
    num_sequences: int,
    beam: int = 1,
    exponent: float = 0.0,
    conditions: Tensor | None = None,
    chunk_rows: int = 256,
    keeps_all: bool = False,
) -> Decoded:
    """Search for the likeliest sequences, longest penalty first taken off at the end.

    Args:
        stepper: frozen generator.
        space: the task's sequences.
        num_sequences: B.
        beam: K; 1 takes the likeliest token at each step.
        exponent: of `length_penalty`, by which the beams are ranked at the end.
        conditions: (B, S) int64 what each sequence is given, or None.
        chunk_rows: most rows B · K advanced together; bounds the memory of the (R, V) next-token weights.
        keeps_all: whether all beams are returned, and not the best alone.

    Returns:
        B sequences; of all beams B · K, the best of each row first. Where there are fewer than K different sequences
        the best stands in the place of those that are missing.
    """
    size = max(1, chunk_rows // beam)
    parts = [
        _search(
            stepper.conditional(None if conditions is None else conditions[first : first + size]),
            space,
            min(size, num_sequences - first),
            beam,
            exponent,
            keeps_all,
        )
        for first in range(0, num_sequences, size)
    ]
    return Decoded(torch.cat([part.tokens for part in parts]), torch.cat([part.logprobs for part in parts]))


def _search(
    stepper: Stepper, space: SequenceSpace, number: int, beam: int, exponent: float, keeps_all: bool
) -> Decoded:
    """One chunk. Rows are (B, K) flattened; of the first step all but one beam of each row are impossible."""
    state = stepper.start(number)
    device = state[0].device
    state = stepper.select(state, torch.arange(number, device=device).repeat_interleave(beam))
    tokens = torch.full((number, beam, space.max_length), space.pad_id, dtype=torch.int64, device=device)
    totals = torch.full((number, beam), -torch.inf, device=device)
    totals[:, 0] = 0.0
    has_ended = torch.zeros(number, beam, dtype=torch.bool, device=device)
    first_rows = beam * torch.arange(number, device=device).unsqueeze(1)
    for position in range(space.max_length):
        if position > 0:
            state = stepper.advance(state, tokens[:, :, position - 1].flatten())
        weights = stepper.weights(state)[:, : space.vocab_size]
        logprobs = (weights / weights.sum(1, keepdim=True)).log().view(number, beam, -1)
        # What has ended has one continuation, padding, which costs nothing.
        padding = torch.full_like(logprobs[0, 0], -torch.inf)
        padding[space.pad_id] = 0.0
        logprobs = torch.where(has_ended.unsqueeze(2), padding, logprobs)
        totals, chosen = (totals.unsqueeze(2) + logprobs).flatten(1).topk(beam, dim=1)
        parent, token = chosen // space.vocab_size, chosen % space.vocab_size
        tokens = tokens.gather(1, parent.unsqueeze(2).expand(-1, -1, space.max_length))
        tokens[:, :, position] = token
        has_ended = has_ended.gather(1, parent) | is_terminal(space, token, position + 1)
        rows = (first_rows + parent).flatten()
        state = stepper.select(state, rows)
        if bool(has_ended.all()):
            break
    lengths = sequence_mask(space, tokens.flatten(0, 1)).sum(1).view(number, beam)
    ranks = totals / length_penalty(lengths, exponent)
    if keeps_all:
        order = ranks.argsort(dim=1, descending=True, stable=True)
        order = torch.where(ranks.gather(1, order).isfinite(), order, order[:, :1])
        ordered = tokens.gather(1, order.unsqueeze(2).expand_as(tokens))
        return Decoded(ordered.flatten(0, 1), totals.gather(1, order).flatten())
    best = ranks.argmax(1)
    picked = torch.arange(number, device=device)
    return Decoded(tokens[picked, best], totals[picked, best])
