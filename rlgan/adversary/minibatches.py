"""What a discriminator is shown at once: reals and fakes out of the buffers of a round.

B sequences, S positions of a condition, T of a sequence, N fakes of a prompt
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rlgan.base.devices import CPU
from rlgan.discriminators import Duels
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.layers.relaxation import rows_of, tokens_of

from .mismatched_pairs import TruePairs
from .perturbed_copies import perturbed_copies
from .replay_buffer import ReplayBuffer


def one_prefix_each(mask: Tensor, rng: torch.Generator) -> Tensor:
    """The mask of one prefix of every sequence, its length uniform in 1 … the sequence's (Li et al. 2017, section 3.2).

    Args:
        mask: (B, T) bool.
        rng: source of all randomness.

    Returns:
        (B, T) bool.
    """
    lengths = mask.sum(1)
    chosen = (torch.rand(mask.shape[0], generator=rng) * lengths).long() + 1
    return mask & (torch.arange(mask.shape[1]) < chosen.unsqueeze(1))


@dataclass(frozen=True, slots=True)
class Pairs:
    """Real sequences, and what they are given.

    Attributes:
        tokens: (n, T) integer, as narrow as the task keeps them; or (n, T, V) float32 soft rows.
        conditions: (n, S) integer; None where they are given nothing.
    """

    tokens: Tensor
    conditions: Tensor | None = None

    def rows(self, index: Tensor | slice) -> Pairs:
        """Some of them: soft rows as they are, tokens as int64."""
        tokens = self.tokens[index]
        conditions = None if self.conditions is None else self.conditions[index].long()
        return Pairs(tokens if tokens.is_floating_point() else tokens.long(), conditions)


@dataclass(frozen=True, slots=True)
class Fakes:
    """Sequences of the generator for a round.

    Attributes:
        tokens: (n, T) int64, or soft rows (n, T, V) float32.
        conditions: (n, S) int64 what each was given; None where they are given nothing.
        reals: (n, T) int64 the real sequence under each condition; None where the loss compares none within a prompt.
    """

    tokens: Tensor
    conditions: Tensor | None = None
    reals: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Minibatch:
    """What the network is shown at once, and whether it is real.

    Attributes:
        shown: (B, T) tokens, or soft rows (B, T, V).
        mask: (B, T) bool.
        is_real: (B,) bool.
        conditions: (B, S), or None.
        is_mismatched: (B,) bool, whether it is a real sequence under the condition of another.
        reals: (m, T) tokens of the reals.
        fakes: (n, T) tokens of the fakes, or their soft rows.
        prompts: (B,) int64, rows of one number are answers to one prompt; None where nobody asks.
        is_perturbed: (B,) bool, whether it is a real sequence of which tokens were changed; None where there are none.
    """

    shown: Tensor
    mask: Tensor
    is_real: Tensor
    conditions: Tensor | None
    is_mismatched: Tensor
    reals: Tensor
    fakes: Tensor
    prompts: Tensor | None = None
    is_perturbed: Tensor | None = None

    @property
    def kinds(self) -> dict[str, Tensor]:
        """Which rows are of each kind, by its name: (B,) bool."""
        is_fake = ~(self.is_real | self.is_mismatched)
        others = {"mismatched": self.is_mismatched}
        if self.is_perturbed is not None:
            is_fake, others = is_fake & ~self.is_perturbed, others | {"perturbed": self.is_perturbed}
        return {"real": self.is_real, "fake": is_fake} | {name: rows for name, rows in others.items() if rows.any()}

    def duels(self, rng: torch.Generator) -> Duels:
        """Each fake beside the real sequence of its prompt, in random order.

        Args:
            rng: source of the orders; on the CPU.
        """
        assert self.prompts is not None and self.conditions is not None
        is_fake = self.kinds["fake"]
        prompts = self.prompts[is_fake]
        # Of each prompt there is one real sequence, and they stand in the order of the prompts' numbers.
        reals = self.shown[self.is_real][prompts]
        return Duels.in_random_order(self.conditions[is_fake], reals, self.shown[is_fake], rng)


class Minibatches:
    """Forms minibatches.

    Args:
        batch: sequences of one.
        space: the task's sequences.
        device: where the network computes.
        learns_prefixes: whether one prefix of each sequence is shown, of a length drawn evenly.
        true_pairs: of which reals are shown once more under conditions of others; None for none.
        copies: changed copies of each real, and the share of their tokens that is changed; None for none.
    """

    def __init__(
        self,
        batch: int,
        space: SequenceSpace,
        device: torch.device,
        learns_prefixes: bool,
        true_pairs: TruePairs | None,
        copies: tuple[int, float] | None = None,
    ) -> None:
        self._batch, self._space, self._device = batch, space, device
        self._learns_prefixes, self._true_pairs, self._copies = learns_prefixes, true_pairs, copies

    def of_classes(self, reals: Pairs, fakes: Pairs, rng: torch.Generator, is_balanced: bool) -> Iterator[Minibatch]:
        """Every real and every fake once.

        Args:
            reals: in random order.
            fakes: in random order; as many, or none.
            rng: source of all randomness.
            is_balanced: whether half of every minibatch is real.
        """
        for rows in self._rows(len(reals.tokens), len(fakes.tokens), rng, is_balanced):
            yield self._with_copies(self._of_rows(reals, fakes, rows, rng), rng)

    def prompts_at_once(self, group: int) -> int:
        """Whole prompts of a minibatch, each with its real and N fakes."""
        return max(1, self._batch // (1 + group))

    def of_prompts(
        self, reals: ReplayBuffer, fakes: ReplayBuffer, drawn: Tensor, group: int, rng: torch.Generator
    ) -> Iterator[Minibatch]:
        """Prompts in the given order, each with its real and its N fakes.

        Args:
            reals: row by row the real sequence of the prompt of each fake.
            fakes: N in a row of one prompt.
            drawn: (P,) int64 which prompts, in the order of the buffers.
            group: N.
            rng: source of changed copies.
        """
        for some in drawn.split(self.prompts_at_once(group)):
            first = some * group
            rows = (first.unsqueeze(1) + torch.arange(group)).flatten()
            real, real_conditions = reals.rows(first)
            fake, fake_conditions = fakes.rows(rows)
            assert real_conditions is not None and fake_conditions is not None
            tokens = torch.cat([real, fake]).to(self._device)
            is_real = (torch.arange(len(tokens)) < len(first)).to(self._device)
            number_of = torch.arange(len(first))
            batch = Minibatch(
                tokens,
                sequence_mask(self._space, tokens),
                is_real,
                torch.cat([real_conditions, fake_conditions]).to(self._device),
                torch.zeros_like(is_real),
                tokens[is_real],
                tokens[~is_real],
                torch.cat([number_of, number_of.repeat_interleave(group)]).to(self._device),
            )
            yield self._with_copies(batch, rng)

    def _of_rows(self, reals: Pairs, fakes: Pairs, rows: Tensor, rng: torch.Generator) -> Minibatch:
        """Rows of reals and then fakes, where the network computes."""
        num_reals = reals.tokens.shape[0]
        tokens = torch.cat([reals.tokens, tokens_of(fakes.tokens)])[rows].to(self._device)
        is_real = (rows < num_reals).to(self._device)
        mask = sequence_mask(self._space, tokens)
        if self._learns_prefixes:
            mask = one_prefix_each(mask.to(CPU), rng).to(self._device)
        conditions = None
        if reals.conditions is not None and fakes.conditions is not None:
            conditions = torch.cat([reals.conditions, fakes.conditions])[rows].to(self._device)
        shown, fake_batch = tokens, tokens[~is_real]
        if fakes.tokens.is_floating_point():
            fake_batch = fakes.tokens[rows[rows >= num_reals] - num_reals].to(self._device)
            shown = rows_of(tokens, self._space.vocab_size)
            shown[~is_real] = fake_batch
        nothing = torch.zeros_like(is_real)
        batch = Minibatch(shown, mask, is_real, conditions, nothing, tokens[is_real], fake_batch)
        return batch if self._true_pairs is None else self._with_mismatched(batch, self._true_pairs, rng)

    def _with_mismatched(self, batch: Minibatch, true_pairs: TruePairs, rng: torch.Generator) -> Minibatch:
        """The same, and its reals once more under conditions of others."""
        assert batch.conditions is not None
        reals, true_conditions = batch.reals.to(CPU), batch.conditions[batch.is_real].to(CPU)
        rows, others = (index.to(self._device) for index in true_pairs.mismatched(true_conditions, reals, rng))
        conditions = batch.conditions[batch.is_real][others]
        added = torch.ones(len(others), dtype=torch.bool, device=self._device)
        return replace(
            batch,
            shown=torch.cat([batch.shown, batch.shown[batch.is_real][rows]]),
            mask=torch.cat([batch.mask, batch.mask[batch.is_real][rows]]),
            is_real=torch.cat([batch.is_real, ~added]),
            conditions=torch.cat([batch.conditions, conditions]),
            is_mismatched=torch.cat([batch.is_mismatched, added]),
        )

    def _with_copies(self, batch: Minibatch, rng: torch.Generator) -> Minibatch:
        """The same, and its reals once more with some tokens changed."""
        if self._copies is None:
            return batch
        number, share = self._copies
        is_real = batch.is_real.to(CPU)
        mask = batch.mask.to(CPU)[is_real]
        chosen, copies = perturbed_copies(batch.reals.to(CPU), mask, self._space.end_id, number, share, rng)
        rows = is_real.nonzero().squeeze(1)[chosen].to(self._device)

        def more(values: Tensor) -> Tensor:
            return torch.cat([values, values[rows]])

        nothing = torch.zeros(len(rows), dtype=torch.bool, device=self._device)
        return replace(
            batch,
            shown=torch.cat([batch.shown, copies.to(self._device)]),
            mask=more(batch.mask),
            is_real=torch.cat([batch.is_real, nothing]),
            conditions=None if batch.conditions is None else more(batch.conditions),
            is_mismatched=torch.cat([batch.is_mismatched, nothing]),
            prompts=None if batch.prompts is None else more(batch.prompts),
            is_perturbed=torch.cat([torch.zeros_like(batch.is_real), ~nothing]),
        )

    def _rows(self, num_reals: int, num_fakes: int, rng: torch.Generator, is_balanced: bool) -> Iterator[Tensor]:
        """Every real, then every fake, once: their indices, a minibatch at a time; half of each where balanced."""
        if not is_balanced:
            yield from torch.randperm(num_reals + num_fakes, generator=rng).split(self._batch)
            return
        # The buffers hand out reals and fakes in random order.
        for rows in torch.arange(num_reals).split(self._batch // 2):
            yield torch.cat([rows, num_reals + rows])
