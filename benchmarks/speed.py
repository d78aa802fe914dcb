"""How much faster than the public ports' way of doing it: ratios, both sides interleaved in one process, one thread.

    python -m benchmarks.speed [--repeats 3] [--full-epoch] [--json FILE] [--workload published]

Workload W1, the published SeqGAN sizes: V=5000, T=20, batch 64, LSTM 32/32, N=16, the discriminator of Yu et al., fp32.
The yardstick is `benchmarks/reference.py`. Each row is the median over repeats with the least and greatest value;
ratios are formed within a repeat, so that a slow moment of the machine meets both sides.

`--workload tiny` is a workload at which every ratio is meaningless: it shows that all of it runs.

The whole adversarial epoch (1 generator update, then 5 × [10,000 fakes + 3 passes over 20,000 sequences]) takes a
quarter of an hour on the reference's side; by default it is put together from the measured rates, and `--full-epoch`
really runs it once on each side.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from benchmarks.common import PROJECT, seconds
from benchmarks.reference import (
    ReferenceDiscriminator,
    ReferenceGenerator,
    monte_carlo_reward,
    train_discriminator_batch,
    train_generator_batch,
)
from rlgan.adversary.minibatches import Pairs
from rlgan.adversary.settings import AdversarySettings
from rlgan.adversary.training import Adversary, Round
from rlgan.discriminators import CnnHighway, CnnHighwayDiscriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators import LSTM, build_generator
from rlgan.layers.optimizers import Adam, build_optimizer, clip_gradients
from rlgan.layers.prefix_features import SEQGAN_FILTERS, SEQGAN_WINDOWS
from rlgan.policy.credit import MonteCarlo, monte_carlo_values
from rlgan.policy.loss_terms import policy_gradient_weights, weighted_nll
from rlgan.rollouts.collecting import RolloutPlan, Shard, collect
from rlgan.sampling.sampler import sampler_of

TINY_MARKS = ("heavy",)


@dataclass(frozen=True)
class Workload:
    """What both sides compute.

    Attributes:
        vocab_size: V.
        length: T.
        batch: sequences of a generator update, and of a minibatch of the discriminator.
        rollouts: continuations N of each prefix.
        windows: of the discriminator.
        filters: of each window.
        d_sequences: fakes, and reals, of a measured round of the discriminator.
        fakes: fakes, and reals, of a round in an epoch.
        d_steps: rounds in an epoch.
        d_epochs: passes in a round.
    """

    vocab_size: int = 5000
    length: int = 20
    batch: int = 64
    rollouts: int = 16
    windows: tuple[int, ...] = SEQGAN_WINDOWS
    filters: tuple[int, ...] = SEQGAN_FILTERS
    d_sequences: int = 640
    fakes: int = 10_000
    d_steps: int = 5
    d_epochs: int = 3

    @property
    def space(self) -> SequenceSpace:
        return SequenceSpace(self.vocab_size, self.length)

    @property
    def discriminator(self) -> CnnHighway:
        return CnnHighway(windows=self.windows, filters=self.filters)

    def random_sequences(self, number: int) -> torch.Tensor:
        return torch.randint(0, self.vocab_size, (number, self.length))


WORKLOADS = {
    "published": Workload(),
    "tiny": Workload(
        vocab_size=20, length=4, batch=4, rollouts=2, windows=(1, 2), filters=(3, 3), d_sequences=8, fakes=16
    ),
}


class Ours:
    """The engine's own parts."""

    def __init__(self, workload: Workload) -> None:
        torch.manual_seed(0)
        self.workload, self.space = workload, workload.space
        self.plan = RolloutPlan(space=self.space, credit=MonteCarlo(num_rollouts=workload.rollouts), chunk_rows=256)
        self.generator = build_generator(LSTM(), self.space)
        self.generator_optimizer = build_optimizer(Adam(lr=0.01, clip_norm=5.0), self.generator.parameters())
        self.begin_adversary(workload.d_sequences)
        self.rng = torch.Generator().manual_seed(0)
        self.round = 0

    def begin_adversary(self, sequences_per_round: int) -> None:
        """A discriminator that learns from as many sequences of each kind a round."""
        self.adversary = Adversary(
            self.workload.discriminator,
            AdversarySettings(batch=self.workload.batch, sequences_per_round=sequences_per_round),
            Adam(lr=1e-4),
            self.space,
            reals=Pairs(self.workload.random_sequences(sequences_per_round)),
            heldout_reals=Pairs(self.workload.random_sequences(1)),
            seed=0,
        )
        self.discriminator = self.adversary.network
        assert isinstance(self.discriminator, CnnHighwayDiscriminator)

    def sample(self, num_sequences: int) -> torch.Tensor:
        return sampler_of(self.generator, self.space).sample(num_sequences, self.rng).tokens

    def monte_carlo(self) -> None:
        """From weights to values: building the frozen copies is part of it."""
        sampler = sampler_of(self.generator, self.space)
        shard = Shard(self.workload.batch, seed=0, generator_version=0, rollout_version=0, discriminator_version=0)
        rollouts = collect(self.plan, shard, sampler, sampler, self.discriminator.scorer())
        assert rollouts.continuation_logits is not None and rollouts.real_logits is not None
        finished, whole = torch.sigmoid(rollouts.continuation_logits), torch.sigmoid(rollouts.real_logits)
        self.values = monte_carlo_values(finished, whole, rollouts.mask)
        self.rollouts = rollouts

    def update_generator(self) -> None:
        weights = policy_gradient_weights(self.values, self.rollouts.mask, "sum")
        self.generator_optimizer.zero_grad()
        weighted_nll(self.generator.logprobs(self.rollouts.tokens), weights).backward()
        clip_gradients(self.generator.parameters(), 5.0)
        self.generator_optimizer.step()

    def train_discriminator(self, fakes: torch.Tensor, epochs: int) -> None:
        """The adversary's own round, held-out accuracy and buffers included."""
        self.adversary.train_round(Round(self.round, fakes, epochs))
        self.round += 1


class Reference:
    """The yardstick."""

    def __init__(self, workload: Workload) -> None:
        torch.manual_seed(0)
        self.workload = workload
        self.generator = ReferenceGenerator(workload.vocab_size, max_length=workload.length)
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), lr=0.01)
        self.discriminator = ReferenceDiscriminator(workload.vocab_size, workload.windows, workload.filters)
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=1e-4)
        self.begin_adversary(workload.d_sequences)

    def begin_adversary(self, sequences_per_round: int) -> None:
        """As many reals as fakes of a round; the network stays."""
        self.reals = self.workload.random_sequences(sequences_per_round)

    def sample(self, num_sequences: int) -> torch.Tensor:
        batch = self.workload.batch
        return torch.cat([self.generator.sample(batch) for _ in range(num_sequences // batch)])

    def monte_carlo(self) -> None:
        self.tokens = self.generator.sample(self.workload.batch)
        self.values = monte_carlo_reward(self.generator, self.discriminator, self.tokens, self.workload.rollouts)

    def update_generator(self) -> None:
        train_generator_batch(self.generator, self.generator_optimizer, self.tokens, self.values)

    def train_discriminator(self, fakes: torch.Tensor, epochs: int) -> None:
        tokens = torch.cat([self.reals[: fakes.shape[0]], fakes])
        labels = (torch.arange(tokens.shape[0]) < fakes.shape[0]).long()
        self.discriminator.train()
        for _ in range(epochs):
            for rows in torch.randperm(tokens.shape[0]).split(self.workload.batch):
                train_discriminator_batch(self.discriminator, self.optimizer, tokens[rows], labels[rows])


@dataclass(frozen=True)
class Row:
    """One figure on both sides, a value a repeat."""

    name: str
    unit: str
    ours: list[float]
    reference: list[float]
    higher_is_better: bool

    @property
    def ratios(self) -> list[float]:
        pairs = zip(self.ours, self.reference, strict=True)
        return [a / b if self.higher_is_better else b / a for a, b in pairs]

    def line(self) -> str:
        ours, reference, ratio = (statistics.median(v) for v in (self.ours, self.reference, self.ratios))
        spread = f"{min(self.ratios):.2f}-{max(self.ratios):.2f}"
        return f"{self.name:<34} {ours:>12.1f} {reference:>12.1f} {self.unit:<12} {ratio:>6.2f}x  ({spread})"


def measure(workload: Workload, repeats: int) -> list[Row]:
    """All rows; the first call of everything warms up and is not counted."""
    sides: tuple[Ours | Reference, ...] = (Ours(workload), Reference(workload))
    drawn = 2 * workload.d_sequences
    sampled: tuple[list[float], list[float]] = ([], [])
    searched: tuple[list[float], list[float]] = ([], [])
    trained: tuple[list[float], list[float]] = ([], [])
    updated: tuple[list[float], list[float]] = ([], [])
    for side in sides:
        fakes = side.sample(workload.d_sequences)
        side.train_discriminator(fakes, 1)
    for repeat in range(repeats):
        for index, side in enumerate(sides):
            sampled[index].append(drawn / seconds(partial(side.sample, drawn)))
            searched[index].append(seconds(side.monte_carlo))
            updated[index].append(seconds(side.update_generator))
            # A round as the workload has it, three passes, but over fewer sequences.
            spent = seconds(partial(side.train_discriminator, fakes, workload.d_epochs))
            trained[index].append(workload.d_epochs * 2 * workload.d_sequences / spent)
        print(f"repeat {repeat + 1} of {repeats} done", file=sys.stderr)

    def epochs(side: int) -> list[float]:
        parts = zip(searched[side], updated[side], sampled[side], trained[side], strict=True)
        fakes, passes = workload.fakes, 2 * workload.d_epochs
        return [
            search + update + workload.d_steps * (fakes / rate + passes * fakes / train)
            for search, update, rate, train in parts
        ]

    return [
        Row("plain sampling", "sequences/s", sampled[0], sampled[1], higher_is_better=True),
        Row("Monte Carlo reward of a batch", "s", searched[0], searched[1], higher_is_better=False),
        Row("discriminator training", "samples/s", trained[0], trained[1], higher_is_better=True),
        Row("adversarial epoch, from the rates", "s", epochs(0), epochs(1), higher_is_better=False),
    ]


def full_epoch(workload: Workload) -> Row:
    """One whole adversarial epoch on each side."""
    times = []
    sides: tuple[Ours | Reference, ...] = (Ours(workload), Reference(workload))
    for side in sides:
        side.begin_adversary(workload.fakes)
        times.append(seconds(epoch_of(side)))
        print(f"{type(side).__name__}: {times[-1]:.0f} s", file=sys.stderr)
    return Row("adversarial epoch, run", "s", [times[0]], [times[1]], higher_is_better=False)


def epoch_of(side: Ours | Reference) -> Callable[[], None]:
    """An adversarial epoch of one side."""
    workload = side.workload

    def epoch() -> None:
        side.monte_carlo()
        side.update_generator()
        for _ in range(workload.d_steps):
            fakes = side.sample(workload.fakes // workload.batch * workload.batch)
            side.train_discriminator(fakes, workload.d_epochs)

    return epoch


def peak_memory_bytes(name: str) -> int:
    """Peak resident memory of a fresh process that does our side of a workload once."""
    code = (
        "import resource, sys, torch; torch.set_num_threads(1); from benchmarks.speed import WORKLOADS, Ours; "
        "w = WORKLOADS[sys.argv[1]]; o = Ours(w); "
        "o.monte_carlo(); o.update_generator(); o.train_discriminator(o.sample(w.d_sequences), 1); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    command = [sys.executable, "-c", code, name]
    ended = subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True)
    return int(ended.stdout) * 1024


def tiny(folder: Path) -> list[str]:
    return ["--workload", "tiny", "--repeats", "1", "--full-epoch", "--json", str(folder / "speed.json")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--full-epoch", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--workload", choices=list(WORKLOADS), default="published")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, 1 thread, fp32")
    workload = WORKLOADS[options.workload]
    rows = measure(workload, options.repeats)
    if options.full_epoch:
        rows.append(full_epoch(workload))
    print(f"{'':<34} {'rlgan':>12} {'reference':>12}")
    for row in rows:
        print(row.line())
    memory = peak_memory_bytes(options.workload)
    print(f"peak memory of one process doing all of it once: {memory / 1e9:.2f} GB")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({row.name: row.ratios for row in rows} | {"peak_memory_bytes": memory}, file, indent=2)


if __name__ == "__main__":
    main()
