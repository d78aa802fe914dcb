"""The likeliest sequences of a generator, which a table asks for once a temperature and a verdict again."""

from __future__ import annotations

import torch
from torch import Tensor

from rlgan.base.activity import stage
from rlgan.base.weights import as_base
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators import Draw, Generator
from rlgan.sampling.sampler import sampler_of


class Likeliest:
    """Finds the likeliest sequences for conditions. What was found last is not searched again.

    Args:
        space: of the sequences.
        beam: beam width K. The likeliest token, which a beam of 1 takes, is the same at each temperature, so that one
            search answers for all.
        exponent: of the length penalty, see `rlgan.sampling.beam_search.length_penalty`.
    """

    def __init__(self, space: SequenceSpace, beam: int, exponent: float) -> None:
        self._space, self._beam, self._exponent = space, beam, exponent
        self._last: tuple[object, Tensor, Tensor] | None = None

    def of(self, generator: Generator, temperature: float, conditions: Tensor) -> Tensor:
        """The likeliest sequences (n, T) of a generator at a temperature, given conditions (n, S)."""
        asked = (type(generator), _digest(generator), temperature if self._beam > 1 else None)
        if self._last is not None:
            found_of, found_for, found = self._last
            if found_of == asked and torch.equal(found_for, conditions):
                return found
        sampler = sampler_of(generator, self._space, Draw(temperature))
        number = len(conditions)
        with stage("decode", f"most likely sequences for {number} sources"):
            found = sampler.likeliest(number, self._beam, self._exponent, conditions).tokens
        self._last = asked, conditions, found
        return found


def _digest(generator: Generator) -> str | None:
    # By the values: training changes a network in place.
    base = as_base({name: tensor.detach().cpu() for name, tensor in generator.state_dict().items()})
    return None if base is None else base.digest
