"""Sampling with a Transformer's kept keys and values: grown in place, beside a copy of them with every token.

    python -m benchmarks.cache [--lengths 20 64 256] [--width 64] [--layers 2] [--rows 256] [--repeats 5]

Both draw the same sequences to the bit, which is checked. The ratio is the time of the copying one over that in place,
repeat by repeat; sequences of full length, and sequences that end early, whose rows leave.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.common import machine, ratios, seconds, spread
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators import Samples, State, TransformerDecoder, TransformerGenerator
from rlgan.generators.transformer import TransformerStepper
from rlgan.sampling.sampler import StepperSampler


class Copying(TransformerStepper):
    """New tensors of all places with each token, and with each row that leaves."""

    @torch.no_grad()
    def advance(self, state: State, tokens: Tensor) -> State:
        decoder = self._cache.decoder
        consumed, _, *kept = state
        positions = torch.arange(decoder.max_length)
        is_here = (positions == consumed.unsqueeze(1)).view(-1, 1, decoder.max_length, 1)
        is_seen = (positions <= consumed.unsqueeze(1)).view(-1, 1, 1, decoder.max_length)
        stream = (decoder.embedding(tokens) + decoder.positions(consumed)).unsqueeze(1)
        keeps: list[Tensor] = []
        for index, layer in enumerate(decoder.blocks):
            queries, *news = layer.project(stream)
            keys, values = (
                torch.where(is_here, new, old) for new, old in zip(news, kept[2 * index : 2 * index + 2], strict=True)
            )
            attended = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=is_seen)
            stream = layer.add(stream, attended)
            keeps += [keys, values]
        return (consumed + 1, decoder.last_norm(stream).squeeze(1), *keeps)

    def select(self, state: State, rows: Tensor) -> State:
        return tuple(part.index_select(0, rows) for part in state)


def measure(
    net: TransformerGenerator, space: SequenceSpace, rows: int, repeats: int
) -> tuple[list[float], list[float], int]:
    """Seconds of the copying side and of that in place, and tokens of the last repeat."""
    sides = [StepperSampler(stepper(net, 1.0), space, rows) for stepper in (Copying, TransformerStepper)]
    found: list[Samples] = []
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for side, spent in zip(sides, times, strict=True):
            rng = torch.Generator().manual_seed(repeat)
            spent.append(seconds(lambda side=side, rng=rng: found.append(side.sample(rows, rng))))  # type: ignore[misc]
        copied, in_place = found[-2:]
        assert torch.equal(copied.tokens, in_place.tokens) and torch.equal(copied.logprobs, in_place.logprobs)
    return times[0][1:], times[1][1:], int(found[-1].mask.sum())  # the first is warm-up


def tiny(folder: Path) -> list[str]:
    return ["--lengths", "5", "--width", "8", "--layers", "1", "--rows", "4", "--repeats", "1", "--vocab", "20"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[20, 64, 256])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--vocab", type=int, default=2_000)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(machine(), "one thread", sep=", ")
    print("length  sequences    tokens/s in place   copying / in place")
    for length in options.lengths:
        for end in (None, 0):
            space = SequenceSpace(options.vocab, length, end_id=end)
            torch.manual_seed(0)
            net = TransformerGenerator(TransformerDecoder(width=options.width, layers=options.layers), space).eval()
            with torch.no_grad():
                net.output.bias[0] = torch.tensor(
                    options.vocab / (0.5 * length)
                ).log()  # many end after half the length
            copying, in_place, number = measure(net, space, options.rows, options.repeats)
            speed = [number / spent for spent in in_place]
            kind = "full length" if end is None else "end early"
            print(f"{length:6}  {kind:11}  {spread(speed, 0):>18}   {spread(ratios(copying, in_place))}", flush=True)


if __name__ == "__main__":
    main()
