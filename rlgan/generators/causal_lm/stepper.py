"""The frozen stepping copy of a language model: a prompt is read once, and its rows write behind it.

A state has a place for the keys and values of all T tokens of a row from the beginning; a step writes one of them.
Where rows leave, the others stay where they are until a quarter of the places is empty, and move together then.

    R rows, A places, C prompts, P positions of a prompt, T of a sequence, V vocabulary
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from rlgan.envs.categorical import padded_vocab_size
from rlgan.generators.generator import State, Stepper

from .attention import Prompts, Step, Whole, reading

_LEAST_USED = 0.75  # share of places with a row, below which rows move together


class ReadsTokens(Protocol):
    """What steps are made of; a generator has it."""

    vocab_size: int
    max_length: int

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    def prompts(self, conditions: Tensor | None, num_rows: int) -> tuple[Tensor, Tensor]:
        """Ids (B, P) that are read before a sequence, padded on the left, and which of them are real."""
        ...

    def features(self, ids: Tensor, positions: Tensor) -> Tensor:
        """What the output layer reads, (B, L, W), of ids (B, L) at positions (B, L)."""
        ...

    def output(self, features: Tensor) -> Tensor:
        """Logits (..., V) float32 of features (..., W)."""
        ...


class CausalLMStepper(Stepper):
    """Steps of one token on kept keys and values.

    The state is (own tokens consumed (R,), number of the prompt (R,), place (R,), features (R, W)), and of each layer
    keys and values (A, K, T, D).

    Args:
        generator: frozen, in evaluation mode; not copied.
        temperature: divides the logits.
        prompts: what rows were given, and the features of their last tokens; None until `conditional` says it.
    """

    @torch.no_grad()
    def __init__(
        self,
        generator: ReadsTokens,
        temperature: float,
        prompts: tuple[Prompts, Tensor, Tensor] | None = None,
    ) -> None:
        self._generator = generator
        self._temperature, self._prompts = temperature, prompts
        self._padded = padded_vocab_size(generator.vocab_size)

    @torch.no_grad()
    def conditional(self, conditions: Tensor | None) -> CausalLMStepper:
        """The same for rows that are given conditions (R, S), each of which is read once; see `Stepper.conditional`."""
        return CausalLMStepper(self._generator, self._temperature, self._read(conditions))

    def _read(self, conditions: Tensor | None) -> tuple[Prompts, Tensor, Tensor]:
        """The different prompts, the features (C, W) of their last tokens, and each row's number (R,)."""
        generator = self._generator
        if conditions is None:
            number = torch.zeros(1, dtype=torch.int64, device=generator.device)
            ids, mask = generator.prompts(None, 1)
        else:
            different, number = torch.unique(conditions, dim=0, return_inverse=True)
            ids, mask = generator.prompts(different, len(different))
        lengths = mask.sum(1)
        reader = Whole(mask)
        positions = (mask.cumsum(1) - 1).clamp_min(0)
        with reading(reader):
            features = generator.features(ids, positions)
        keys, values = ([part.contiguous() for part in parts] for parts in (reader.keys, reader.values))
        return Prompts(keys, values, mask, lengths), features[:, -1], number

    def _of_rows(self, num_rows: int) -> tuple[Prompts, Tensor, Tensor]:
        """The prompts, features of their last tokens, and the number of each row's."""
        prompts, features, number = self._prompts or self._read(None)
        if len(number) != num_rows:
            # Of rows that are given nothing there is one beginning.
            assert len(prompts.lengths) == 1
            number = number.new_zeros(num_rows)
        self._prompts = prompts, features, number
        return self._prompts

    @torch.no_grad()
    def start(self, num_rows: int, rng: torch.Generator | None = None) -> State:
        """State of empty prefixes; see `Stepper.start`."""
        prompts, features, number = self._of_rows(num_rows)
        room = self._generator.max_length
        kept = [
            part.new_zeros(num_rows, part.shape[1], room, part.shape[3]) for part in (*prompts.keys, *prompts.values)
        ]
        places = torch.arange(num_rows, device=number.device)
        return torch.zeros_like(places), number, places, features[number], *kept

    @torch.no_grad()
    def advance(self, state: State, tokens: Tensor) -> State:
        """State after one more token; see `Stepper.advance`."""
        assert self._prompts is not None
        consumed, number, places, _, *kept = state
        half = len(kept) // 2
        prompts = self._prompts[0]
        is_full = len(places) == kept[0].shape[0]
        step = Step(prompts, number, consumed, None if is_full else places, kept[:half], kept[half:])
        positions = prompts.lengths[number] + consumed
        with reading(step):
            features = self._generator.features(tokens.unsqueeze(1), positions.unsqueeze(1))
        return consumed + 1, number, places, features.squeeze(1), *kept

    @torch.no_grad()
    def select(self, state: State, rows: Tensor) -> State:
        """A state of some rows; see `Stepper.select`. Of keys and values only what counts is copied."""
        consumed, number, places, features, *kept = state
        reach = int(consumed.max()) if len(consumed) else 0
        chosen, copies = places[rows], []
        for part in kept:
            copy = part.new_zeros(len(rows), *part.shape[1:])
            copy[:, :, :reach] = part[:, :, :reach].index_select(0, chosen)
            copies.append(copy)
        own = torch.arange(len(rows), device=rows.device)
        return consumed[rows], number[rows], own, features[rows], *copies

    def remaining(self, state: State, rows: Tensor) -> State:
        """A state of the rows that go on; see `Stepper.remaining`. Most of the time nothing is copied."""
        consumed, number, places, features, *kept = state
        if len(rows) < _LEAST_USED * kept[0].shape[0]:
            return self.select(state, rows)
        return consumed[rows], number[rows], places[rows], features[rows], *kept

    def joined(self, state: State, more: State) -> State:
        """Rows of both; see `Stepper.joined`."""
        first, second = (self._together(one) for one in (state, more))
        consumed, number, _, features, *kept = (torch.cat(pair) for pair in zip(first, second, strict=True))
        return consumed, number, torch.arange(len(consumed), device=consumed.device), features, *kept

    def _together(self, state: State) -> State:
        """A state without empty places."""
        places = state[2]
        return state if len(places) == state[4].shape[0] else self.select(state, torch.arange(len(places)))

    @torch.no_grad()
    def prefix_states(self, tokens: Tensor) -> State:
        """States of all prefixes, by one pass over whole sequences; see `Stepper.prefix_states`."""
        generator, (batch, length) = self._generator, tokens.shape
        prompts, _, number = self._of_rows(batch)
        # Behind the last token nothing is asked, and there may be no position for it.
        read = tokens[:, :-1]
        reader = Whole(torch.ones_like(read, dtype=torch.bool), prompts, number)
        places = torch.arange(length, device=tokens.device)
        positions = prompts.lengths[number].unsqueeze(1) + places[: read.shape[1]]
        with reading(reader):
            features = generator.features(read, positions)
        features = functional.pad(features, (0, 0, 0, length - read.shape[1]))
        consumed = (places + 1).unsqueeze(1).expand(length, batch)
        rows = torch.arange(batch, device=tokens.device).expand(length, batch)
        room = generator.max_length - read.shape[1]
        # One cache for all prefixes of a sequence: each reads as much of it as it has consumed.
        kept = [
            functional.pad(part, (0, 0, 0, room)).unsqueeze(0).expand(length, *(-1,) * 4)
            for part in (*reader.keys, *reader.values)
        ]
        return consumed, number.expand(length, batch), rows, features.transpose(0, 1), *kept

    @torch.no_grad()
    def weights(self, state: State) -> Tensor:
        """Unnormalised next-token probabilities; see `Stepper.weights`."""
        logits = self._generator.output(state[3])
        if self._padded > logits.shape[1]:
            logits = functional.pad(logits, (0, self._padded - logits.shape[1]), value=-torch.inf)
        if self._temperature != 1.0:
            logits = logits / self._temperature
        return (logits - logits.amax(1, keepdim=True)).exp_()
