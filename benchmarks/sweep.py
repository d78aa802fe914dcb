"""What a sweep costs beyond its trials: wall time against the trials' own training time.

    python -m benchmarks.sweep [--trials 8] [--updates 20] [--repeats 1] [--concurrent 1 2] [--set PATH VALUE ...]

Random points of the ready study `discriminator`, with its cheaper half of the schedule, all to their end, tracked in
MLflow, without a final race. *Own* is the time that trials spend in their units and measurements, and that of the
maximum-likelihood start which they share, trained once. With c trials at a time on c cores the ratio is wall · c / own.
The search ends with the last trial; the report comes after it, and the start of Ray before.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import add_changes, machine, spread
from rlgan.envs.tasks import build_task
from rlgan.tuning import load_study
from rlgan.tuning.search.settings import SweepSettings
from rlgan.tuning.search.starts import Starts
from rlgan.tuning.sweep import SweepRequest, sweep
from rlgan.workers.environment import own_cluster

TINY_MARKS = ("ray", "slow")


def one_sweep(trials: int, updates: int, concurrent: int, more: Mapping[str, Any]) -> dict[str, float]:
    """Wall time of the search, of the report, and what the trials trained, in seconds."""
    changes = {
        "schedule.adversarial_updates": updates,
        "schedule.d_steps": 1,
        "schedule.d_epochs": 1,
        "discriminator.members": 1,
        "adversary.sequences_per_round": 640,
        **more,
    }
    study = load_study("discriminator")
    with tempfile.TemporaryDirectory(prefix="rlgan-") as temporary:
        folder = Path(temporary) / "sweep"
        base = study.space(None, {"workers.threads": 1, **changes}).base
        begun = time.perf_counter()
        Starts(folder / "starts").get(base, build_task(base.task))
        start = time.perf_counter() - begun
        settings = SweepSettings(trials=trials, search="random", scheduler="none", finalists=0, concurrent=concurrent)
        ended = begun = time.perf_counter()

        def say(line: str) -> None:
            nonlocal ended
            if line.startswith("trial "):
                ended = time.perf_counter()

        result = sweep(SweepRequest(study, None, changes, settings, folder, False), say)
        whole = time.perf_counter() - begun
        entries = result.ledger.entries.values()
        assert len(entries) == trials and all(entry.state == "finished" for entry in entries)
        own = sum(entry.seconds for entry in entries)
        search = ended - begun
        return {
            "search": search + start,
            "own": own + start,
            "report": whole - search,
            "ratio": (search * concurrent + start) / (own + start),
        }


def tiny(folder: Path) -> list[str]:
    sizes = {
        "task.num_train": 64,
        "task.num_valid": 20,
        "task.num_test": 20,
        "task.vocab_size": 20,
        "schedule.mle_epochs": 1,
        "schedule.discriminator_rounds": 1,
        "adversary.sequences_per_round": 64,
        "evaluation.final_sequences": 20,
        "evaluation.num_sequences": 20,
    }
    words = [word for path, value in sizes.items() for word in ("--set", path, str(value))]
    return ["--trials", "1", "--updates", "1", "--concurrent", "1", *words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--concurrent", type=int, nargs="+", default=[1, 2], help="trials at a time")
    add_changes(parser)
    options = parser.parse_args()
    print(f"{machine()}; {options.trials} trials of {options.updates} updates, seed 0, {options.repeats} repeats")
    print(f"{'at a time':>9}{'search, s':>24}{'own, s':>24}{'wall · c / own':>20}{'report, s':>22}")
    with own_cluster(num_cpus=max(options.concurrent)):
        for concurrent in options.concurrent:
            runs = [
                one_sweep(options.trials, options.updates, concurrent, dict(options.set))
                for _ in range(options.repeats)
            ]
            columns = [spread([run[name] for run in runs]) for name in ("search", "own", "ratio", "report")]
            print(f"{concurrent:>9}{columns[0]:>24}{columns[1]:>24}{columns[2]:>20}{columns[3]:>22}")


if __name__ == "__main__":
    main()
