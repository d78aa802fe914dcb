"""Does anything grow? A long small run on Ray, with the memory of every process beside it.

    python -m benchmarks.soak [--iterations 1000] [--every 5] [--rollouts 2] [--learners 1] [--out soak]

Every kind of work of a run on Ray is done at a small size: maximum likelihood, rollouts with Monte Carlo search by a
rollout policy of its own, an update by the learner, fakes and a round of the discriminator, a measurement now and then,
a checkpoint now and then. What is not done is tracking and the final table, which belong to the command line.

Written are OUT.csv (a row a process and sample), OUT.json (the table below and the settings) and OUT.png. Printed is
for each process, over the samples after the first tenth of the iterations: the slope of its private memory (`anon`: its
heap, without files and the object store) by the median of all pairs' slopes (Theil and Sen), which a few jumps do not
move; the same over the second half; and the median of the last tenth of the iterations less that of the second, which a
jump does move.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray

from benchmarks.common import machine
from benchmarks.processes import Census, Usage
from rlgan.adversary.settings import AdversarySettings
from rlgan.config.config import Config, Workers
from rlgan.config.paths import to_dict
from rlgan.discriminators import CnnHighway
from rlgan.envs.tasks import OracleTask, build_task
from rlgan.evaluation.evaluator import EvaluationSettings
from rlgan.policy.credit import MonteCarlo
from rlgan.presets.quick import seqgan_quick
from rlgan.schedule.phases import Schedule
from rlgan.storage.checkpoint import save_checkpoint
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from rlgan.workers.environment import own_cluster

TINY_MARKS = ("ray", "slow")

MB = 1e6
STORE = "object store"
WARM_UP = 0.1
CHECKPOINT_EVERY = 25
STAGES = ("timing/rollouts_s", "timing/learn_s", "timing/sample_fakes_s", "timing/discriminator_s")


@dataclass(frozen=True, slots=True)
class Sample:
    """What one process held after an iteration; for the object store only `bytes_used` in `rss`."""

    iteration: int
    elapsed_s: float
    process: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class Trend:
    """How one process changed after the warm-up; sizes in MB.

    Attributes:
        process: its name.
        anon: median private memory.
        slope: of the private memory, a 1,000 iterations.
        gain: of the private memory, median of the last tenth of the iterations less that of the second tenth.
        late_slope: as `slope`, over the second half of the iterations: what is left when all has settled.
        fds: open file descriptors at the first and the last sample, and the most.
        threads: the same of threads.
        samples: how many there were.
    """

    process: str
    anon: float
    slope: float
    gain: float
    late_slope: float
    fds: tuple[int, int, int]
    threads: tuple[int, int, int]
    samples: int


def theil_sen(x: Sequence[float], y: Sequence[float]) -> float:
    """Median slope of all pairs with different x; NaN where there is no such pair."""
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    first, second = np.triu_indices(len(xs), 1)
    runs, rises = xs[second] - xs[first], ys[second] - ys[first]
    return float(np.median(rises[runs != 0] / runs[runs != 0])) if (runs != 0).any() else float("nan")


def tenths_gain(x: Sequence[float], y: Sequence[float], end: float) -> float:
    """Median of y where x is in the last tenth of (0, end], less that in the second tenth; NaN where one is empty."""
    early = [value for at, value in zip(x, y, strict=True) if 0.1 * end < at <= 0.2 * end]
    late = [value for at, value in zip(x, y, strict=True) if 0.9 * end < at <= end]
    return statistics.median(late) - statistics.median(early) if early and late else float("nan")


def trend(samples: Sequence[Sample], iterations: int) -> Trend:
    """The trend of the samples of one process."""
    later = [sample for sample in samples if sample.iteration > WARM_UP * iterations] or list(samples)
    x = [float(sample.iteration) for sample in later]
    anon = [sample.usage.anon / MB for sample in later]
    half = sum(at <= iterations / 2 for at in x)
    fds = [sample.usage.num_fds for sample in later]
    threads = [sample.usage.num_threads for sample in later]
    return Trend(
        process=samples[0].process,
        anon=statistics.median(anon),
        slope=1000 * theil_sen(x, anon),
        gain=tenths_gain(x, anon, iterations),
        late_slope=1000 * theil_sen(x[half:], anon[half:]),
        fds=(fds[0], fds[-1], max(fds)),
        threads=(threads[0], threads[-1], max(threads)),
        samples=len(later),
    )


def configuration(iterations: int, rollouts: int, learners: int) -> Config:
    """SeqGAN in small; everything that is bounded (buffers, caches) is full within the first tenth."""
    return Config(
        **{
            **dict(seqgan_quick(OracleTask(vocab_size=500, num_train=2_000, num_valid=200, num_test=200))),
            "discriminator": CnnHighway(embedding=16, windows=(1, 2, 3, 4), filters=(16, 16, 16, 16)),
            "adversary": AdversarySettings(batch=64, sequences_per_round=128, buffer=1_280),
            "credit": MonteCarlo(num_rollouts=4, policy_ema=0.8),
            "schedule": Schedule(
                mle_epochs=2, discriminator_rounds=2, adversarial_updates=iterations, g_batch=32, d_steps=1, d_epochs=1
            ),
            "evaluation": EvaluationSettings(every=25, mle_every=1, num_sequences=200, num_bleu=100),
            "workers": Workers(
                rollout=rollouts,
                learners=learners,
                threads=1,
                shard_sequences=16,
                shard_fakes=64,
                cpus_per_rollout=0.25,
                cpus_discriminator=0.25,
            ),
            "controls": (),
        }
    )


def store_usage() -> Usage:
    """Bytes that objects fill; the raylet tells it about once a second."""
    name = "object_store_memory"
    used = int(ray.cluster_resources().get(name, 0.0) - ray.available_resources().get(name, 0.0))
    return Usage(rss=used, pss=used, uss=used, anon=used, shmem=used, num_fds=0, num_threads=0)


def soak(config: Config, every: int, log: Path) -> None:
    """Do the run.

    Args:
        config: of the run.
        every: iterations between samples.
        log: file for a JSON line a sample (an object of `Sample`'s) or iteration (seconds by stage, without the
            sampling). Nothing is kept in this process, whose memory is measured.
    """
    task = build_task(config.task)
    census = Census()
    total = config.schedule.adversarial_updates
    with (
        log.open("w", encoding="utf-8") as file,
        tempfile.TemporaryDirectory() as folder,
        own_cluster(),
        build_parts(config, task) as parts,
    ):
        trainer = Trainer(config, task, parts)
        while trainer.next_phase != "adversarial":
            trainer.step()
        began = time.perf_counter()

        def write(line: dict[str, Any]) -> None:
            file.write(json.dumps(line) + "\n")

        def take() -> None:
            elapsed = time.perf_counter() - began
            held = {**census.take(), STORE: store_usage()}
            for name, usage in held.items():
                write(asdict(Sample(trainer.position.adversarial_updates, elapsed, name, usage)))

        take()
        while trainer.next_phase is not None:
            started = time.perf_counter()
            unit = trainer.step()
            if unit.step % CHECKPOINT_EVERY == 0:
                save_checkpoint(Path(folder), trainer.state(), trainer.position.iterations)
            stages = {name.removeprefix("timing/"): unit.metrics.get(name, 0.0) for name in STAGES}
            write({**stages, "iteration_s": time.perf_counter() - started})
            if unit.step % every == 0 or unit.step == total:
                take()
            if unit.step % max(1, total // 10) == 0:
                print(f"{unit.step} of {total} iterations, {time.perf_counter() - began:.0f} s", flush=True)
        assert not parts.faults.lost, f"an actor was lost: {parts.faults.summary()}"


def read_log(log: Path) -> tuple[list[Sample], list[dict[str, float]]]:
    """Samples, and the seconds of each iteration by stage; `iteration_s` is the whole."""
    samples, spent = [], []
    with log.open(encoding="utf-8") as file:
        for line in map(json.loads, file):
            if "process" in line:
                samples.append(Sample(**{**line, "usage": Usage(**line["usage"])}))
            else:
                spent.append(line)
    return samples, spent


def stage_tenths(spent: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Median seconds of each stage in each tenth of the run."""
    parts = [part for part in np.array_split(np.arange(len(spent)), 10) if len(part)]
    return {name: [statistics.median(spent[at][name] for at in part) for part in parts] for name in spent[0]}


def by_process(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.process, []).append(sample)
    return found


def table(trends: Sequence[Trend]) -> str:
    lines = [
        f"{'':<26} {'private':>8} {'slope':>9} {'last-2nd':>9} {'2nd half':>9}  descriptors     threads",
        f"{'':<26} {'MB':>8} {'MB/1000':>9} {'tenth MB':>9} {'MB/1000':>9}  first last most  first last most",
    ]
    for row in trends:
        fds, threads = ("{:>5} {:>4} {:>4}".format(*counts) for counts in (row.fds, row.threads))
        lines.append(
            f"{row.process:<26} {row.anon:>8.1f} {row.slope:>+9.2f} {row.gain:>+9.2f} {row.late_slope:>+9.2f}  "
            f"{fds}  {threads}"
        )
    return "\n".join(lines)


def write_csv(path: Path, samples: Sequence[Sample]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = [
            {"iteration": s.iteration, "elapsed_s": round(s.elapsed_s, 2), "process": s.process, **asdict(s.usage)}
            for s in samples
        ]
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def draw(path: Path, samples: Sequence[Sample], iterations: int) -> None:
    """Above the level of each process, below its change since the warm-up, where a leak would be a rising line."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(10, 9), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    level, change = figure.subplots(2, 1, sharex=True)
    colours = mpl.colormaps["tab10"]
    warm = WARM_UP * iterations
    for index, (name, held) in enumerate(by_process(samples).items()):
        x = [sample.iteration for sample in held]
        y = [sample.usage.anon / MB for sample in held]
        styles = ("-", "--", ":")
        look: dict[str, Any] = {"color": colours(index % 10), "linestyle": styles[index // 10 % 3], "linewidth": 1.5}
        level.plot(x, y, label=name, **look)
        base = [value for at, value in zip(x, y, strict=True) if warm < at <= 2 * warm]
        if base and name != STORE:
            change.plot(x, [value - statistics.median(base) for value in y], **look)
    level.set_ylabel("private memory, MB (object store: bytes used)")
    level.set_yscale("log")
    level.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    change.set_ylabel("change against the second tenth, MB")
    change.set_xlabel("adversarial iteration")
    change.axhline(0.0, color="black", linewidth=0.6)
    for axes in (level, change):
        axes.axvspan(0, warm, color="0.92", zorder=0)
        axes.grid(alpha=0.3)
        axes.set_xlim(0, iterations)
    level.set_title("Memory of each process of a run on Ray; grey: warm-up")
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path)


def tiny(folder: Path) -> list[str]:
    return ["--iterations", "4", "--every", "1", "--rollouts", "1", "--learners", "0", "--out", str(folder / "soak")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--every", type=int, default=5, help="iterations between samples")
    parser.add_argument("--rollouts", type=int, default=2, help="rollout actors")
    parser.add_argument("--learners", type=int, default=1, help="learner actors; 0 learns in the driver")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("soak"), help="files are named so, with .csv, .json, .png")
    options = parser.parse_args()
    config = configuration(options.iterations, options.rollouts, options.learners)
    config = config.model_copy(update={"seed": options.seed})
    print(f"{machine()}; seed {options.seed}, {options.rollouts} rollout actors, {options.learners} learner actors")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        soak(config, options.every, log)
        samples, spent = read_log(log)
    processes = by_process(samples)
    # A worker that Ray starts ahead and ends again has no trend.
    lasting = {name: held for name, held in processes.items() if held[-1].iteration == options.iterations}
    trends = [trend(held, options.iterations) for held in lasting.values()]
    write_csv(options.out.with_suffix(".csv"), samples)
    draw(options.out.with_suffix(".png"), [sample for held in lasting.values() for sample in held], options.iterations)
    tenths = stage_tenths(spent)
    report = {
        "machine": machine(),
        "seconds_by_tenths": tenths,
        "config": to_dict(config),
        "trends": [asdict(row) for row in trends],
    }
    options.out.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print(table(trends))
    print("seconds, median of each tenth of the run")
    for name, values in tenths.items():
        print(f"{name:<26} " + " ".join(f"{value:7.3f}" for value in values))
    for name in sorted(set(processes) - set(lasting)):
        held = processes[name]
        print(f"not there at the end: {name}, iterations {held[0].iteration}-{held[-1].iteration}")


if __name__ == "__main__":
    main()
