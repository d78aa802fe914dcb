"""How many times as long a shard takes that is drawn step by step through the Gymnasium environment.

    python -m benchmarks.world --repeats 5

The shards are of seqgan at its published sizes (5,000 tokens, 20 positions, convolutional discriminator), with and
without Monte Carlo search, of sequences that end early, and of a world of twenty tokens, where networks take less.
Both samplers are measured in turn in one process with one thread, as a worker computes; that they gave the same bits is
checked each time.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from rlgan.discriminators import CnnHighway, build_discriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators import LSTM, build_generator
from rlgan.policy.credit import CreditSettings, MonteCarlo, Terminal
from rlgan.rollouts.collecting import RolloutPlan, Shard, collect
from rlgan.sampling.environment import WRITERS, Sampling
from rlgan.sampling.records import Rollouts
from rlgan.sampling.sampler import sampler_of

from .common import machine, ratios, seconds, spread

WORKLOADS: dict[str, tuple[SequenceSpace, CreditSettings]] = {
    "sequences": (SequenceSpace(5000, 20), Terminal()),
    "sequences that end early": (SequenceSpace(5000, 20, end_id=0), Terminal()),
    "Monte Carlo search": (SequenceSpace(5000, 20), MonteCarlo(num_rollouts=4)),
    "sequences of 20 tokens": (SequenceSpace(20, 20, end_id=0), Terminal()),
    "Monte Carlo search of 20 tokens": (SequenceSpace(20, 20, end_id=0), MonteCarlo(num_rollouts=4)),
}
SMALL: dict[str, tuple[SequenceSpace, CreditSettings]] = {
    "sequences": (SequenceSpace(20, 6), Terminal()),
    "Monte Carlo search": (SequenceSpace(20, 6, end_id=0), MonteCarlo(num_rollouts=2)),
}


def measured(
    space: SequenceSpace, credit: CreditSettings, number: int, repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds of each repeat, step by step and at once."""
    torch.manual_seed(0)
    generator = build_generator(LSTM(embedding=32, hidden=32), space).eval()
    scorer = build_discriminator(CnnHighway(), space).eval().scorer()
    shard = Shard(number, seed=1, generator_version=0, rollout_version=0, discriminator_version=0)
    found: dict[Sampling, Rollouts] = {}
    taken: dict[Sampling, list[float]] = {"environment": [], "batched": []}

    def once(name: Sampling) -> None:
        writer = WRITERS[name]
        plan = RolloutPlan(space=space, credit=credit, chunk_rows=256, writer=writer)
        policy = sampler_of(generator, space, chunk_rows=256, writer=writer)
        found[name] = collect(plan, shard, policy, policy if credit.num_continuations else None, scorer)

    for repeat in range(repeats + 1):
        for name, times in taken.items():
            spent = seconds(lambda name=name: once(name))  # type: ignore[misc]
            if repeat > 0:  # the first one warms up
                times.append(spent)
        one, other = found["environment"], found["batched"]
        assert one.real_logits is not None and other.real_logits is not None
        assert torch.equal(one.tokens, other.tokens) and torch.equal(one.real_logits, other.real_logits)
    return taken["environment"], taken["batched"]


def tiny(folder: Path) -> list[str]:
    return ["--repeats", "1", "--sequences", "5", "--small"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="times that each sampler is measured")
    parser.add_argument("--sequences", type=int, default=16, help="sequences of the shard")
    parser.add_argument("--small", action="store_true", help="worlds of twenty tokens")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(machine())
    for name, (space, credit) in (SMALL if options.small else WORKLOADS).items():
        stepped, batched = measured(space, credit, options.sequences, options.repeats)
        print(
            f"{name}: batched {1000 * min(batched):.0f} ms, environment {1000 * min(stepped):.0f} ms; "
            f"ratio {spread(ratios(stepped, batched))}",
            flush=True,
        )


if __name__ == "__main__":
    main()
