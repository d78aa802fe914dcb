"""How much faster than the public ports' way of doing it: ratios, both sides interleaved in one process, one thread.

    python -m benchmarks.speed [--repeats 3] [--full-epoch] [--json FILE]

Workload W1, the published SeqGAN sizes: V=5000, T=20, batch 64, LSTM 32/32, N=16, the discriminator of Yu et al., fp32.
The yardstick is `benchmarks/reference.py`. Each row is the median over repeats with the least and greatest value;
ratios are formed within a repeat, so that a slow moment of the machine meets both sides.

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
from dataclasses import dataclass

import torch

from benchmarks.common import seconds
from benchmarks.reference import (
    ReferenceDiscriminator,
    ReferenceGenerator,
    monte_carlo_reward,
    train_discriminator_batch,
    train_generator_batch,
)
from rlgan.adversary import Adversary, AdversarySettings, Round
from rlgan.credit import MonteCarlo, monte_carlo_values
from rlgan.discriminators import CnnHighway, CnnHighwayDiscriminator
from rlgan.discriminators.cnn_highway import SEQGAN_FILTERS, SEQGAN_WINDOWS
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators import LSTM, build_generator
from rlgan.objectives import policy_gradient_weights, weighted_nll
from rlgan.optimizers import Adam, build_optimizer, clip_gradients
from rlgan.rollouts import RolloutPlan, Shard, collect
from rlgan.sampling import sample

SPACE = SequenceSpace(5000, 20)
BATCH, ROLLOUTS = 64, 16
FAKES, D_STEPS, D_EPOCHS = 10_000, 5, 3
PLAN = RolloutPlan(space=SPACE, credit=MonteCarlo(num_rollouts=ROLLOUTS), chunk_rows=256)


class Ours:
    """The engine's own parts at W1."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.generator = build_generator(LSTM(), SPACE)
        self.generator_optimizer = build_optimizer(Adam(lr=0.01, clip_norm=5.0), self.generator.parameters())
        self.adversary = Adversary(
            CnnHighway(),
            AdversarySettings(sequences_per_round=640),
            Adam(lr=1e-4),
            SPACE,
            reals=torch.randint(0, 5000, (640, 20)),
            heldout_reals=torch.randint(0, 5000, (1, 20)),
            seed=0,
        )
        self.discriminator = self.adversary.network
        assert isinstance(self.discriminator, CnnHighwayDiscriminator)
        self.rng = torch.Generator().manual_seed(0)
        self.round = 0

    def sample(self, num_sequences: int) -> torch.Tensor:
        return sample(self.generator.stepper(), SPACE, num_sequences, self.rng).tokens

    def monte_carlo(self) -> None:
        """From weights to values: building the frozen copies is part of it."""
        stepper = self.generator.stepper()
        shard = Shard(BATCH, seed=0, generator_version=0, rollout_version=0, discriminator_version=0)
        rollouts = collect(PLAN, shard, stepper, stepper, self.discriminator.scorer())
        assert rollouts.continuation_logits is not None and rollouts.real_logits is not None
        paid = (torch.sigmoid(logits) for logits in (rollouts.continuation_logits, rollouts.real_logits))
        self.values = monte_carlo_values(*paid, rollouts.mask)
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
    """The yardstick at W1."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.generator = ReferenceGenerator()
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), lr=0.01)
        self.discriminator = ReferenceDiscriminator(5000, SEQGAN_WINDOWS, SEQGAN_FILTERS)
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=1e-4)
        self.reals = torch.randint(0, 5000, (640, 20))

    def sample(self, num_sequences: int) -> torch.Tensor:
        return torch.cat([self.generator.sample(BATCH) for _ in range(num_sequences // BATCH)])

    def monte_carlo(self) -> None:
        self.tokens = self.generator.sample(BATCH)
        self.values = monte_carlo_reward(self.generator, self.discriminator, self.tokens, ROLLOUTS)

    def update_generator(self) -> None:
        train_generator_batch(self.generator, self.generator_optimizer, self.tokens, self.values)

    def train_discriminator(self, fakes: torch.Tensor, epochs: int) -> None:
        tokens = torch.cat([self.reals[: fakes.shape[0]], fakes])
        labels = (torch.arange(tokens.shape[0]) < fakes.shape[0]).long()
        self.discriminator.train()
        for _ in range(epochs):
            for rows in torch.randperm(tokens.shape[0]).split(BATCH):
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


def measure(repeats: int) -> list[Row]:
    """All rows; the first call of everything warms up and is not counted."""
    sides = (Ours(), Reference())
    sampled: tuple[list[float], list[float]] = ([], [])
    searched: tuple[list[float], list[float]] = ([], [])
    trained: tuple[list[float], list[float]] = ([], [])
    updated: tuple[list[float], list[float]] = ([], [])
    for side in sides:
        fakes = side.sample(640)
        side.train_discriminator(fakes, 1)
    for repeat in range(repeats):
        for index, side in enumerate(sides):
            sampled[index].append(1280 / seconds(lambda side=side: side.sample(1280)))
            searched[index].append(seconds(side.monte_carlo))
            updated[index].append(seconds(side.update_generator))
            # A round as the workload has it, three passes, but over fewer sequences.
            spent = seconds(lambda side=side, fakes=fakes: side.train_discriminator(fakes, D_EPOCHS))
            trained[index].append(D_EPOCHS * 1280 / spent)
        print(f"repeat {repeat + 1} of {repeats} done", file=sys.stderr)
    epochs = [
        [
            search + update + D_STEPS * (FAKES / rate + D_EPOCHS * 2 * FAKES / train)
            for search, update, rate, train in zip(searched[i], updated[i], sampled[i], trained[i], strict=True)
        ]
        for i in range(2)
    ]
    return [
        Row("plain sampling", "sequences/s", *sampled, higher_is_better=True),
        Row("Monte Carlo reward of a batch", "s", *searched, higher_is_better=False),
        Row("discriminator training", "samples/s", *trained, higher_is_better=True),
        Row("adversarial epoch, from the rates", "s", *epochs, higher_is_better=False),
    ]


def full_epoch() -> Row:
    """One whole adversarial epoch on each side."""
    times = []
    for side in (Ours(), Reference()):
        if isinstance(side, Ours):
            side.adversary = Adversary(
                CnnHighway(),
                AdversarySettings(),
                Adam(lr=1e-4),
                SPACE,
                reals=torch.randint(0, 5000, (FAKES, 20)),
                heldout_reals=torch.randint(0, 5000, (1, 20)),
                seed=0,
            )
            side.discriminator = side.adversary.network
        else:
            side.reals = torch.randint(0, 5000, (FAKES, 20))

        def epoch(side: Ours | Reference = side) -> None:
            side.monte_carlo()
            side.update_generator()
            for _ in range(D_STEPS):
                side.train_discriminator(side.sample(FAKES // BATCH * BATCH), D_EPOCHS)

        times.append(seconds(epoch))
        print(f"{type(side).__name__}: {times[-1]:.0f} s", file=sys.stderr)
    return Row("adversarial epoch, run", "s", [times[0]], [times[1]], higher_is_better=False)


def peak_memory_bytes() -> int:
    """Peak resident memory of a fresh process that does our side of W1 once."""
    code = (
        "import resource, torch; torch.set_num_threads(1); from benchmarks.speed import Ours; o = Ours(); "
        "o.monte_carlo(); o.update_generator(); o.train_discriminator(o.sample(640), 1); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    kilobytes = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    return kilobytes * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--full-epoch", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, 1 thread, fp32")
    rows = measure(options.repeats)
    if options.full_epoch:
        rows.append(full_epoch())
    print(f"{'':<34} {'rlgan':>12} {'reference':>12}")
    for row in rows:
        print(row.line())
    memory = peak_memory_bytes()
    print(f"peak memory of one process doing all of it once: {memory / 1e9:.2f} GB")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({row.name: row.ratios for row in rows} | {"peak_memory_bytes": memory}, file, indent=2)


if __name__ == "__main__":
    main()
