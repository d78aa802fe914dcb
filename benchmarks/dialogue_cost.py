"""What the three dialogue presets cost: an adversarial unit of each, at T = 20, as ratios to `dialogue_reinforce`.

    python -m benchmarks.dialogue_cost [--repeats 5] [--hidden 32]

Small networks, the presets' own schedule (batch 64, five rounds of the discriminator, 5 completions), turn by turn in
one process and one thread. Rollouts hold drawing, completing and judging; the unit is all of it, teacher forcing and
discriminator included.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path

import torch

from benchmarks.common import machine, ratios, spread
from rlgan.config.paths import override
from rlgan.envs.tasks import TransductionTask, build_task
from rlgan.envs.tasks.transduction import Copy
from rlgan.presets.registry import preset
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts

TINY_MARKS = ("slow",)

NAMES = ("dialogue_reinforce", "regs_prefix", "regs")
STAGES = ("rollouts", "learn", "sample_fakes", "discriminator", "iteration")
TASK = TransductionTask(vocab_size=50, max_length=20, rule=Copy(), num_train=640, num_valid=100, num_test=100)


def measure(repeats: int, hidden: int) -> dict[str, list[dict[str, float]]]:
    """Seconds of each stage of each repeat, by preset; the first unit warms up and is not counted."""
    sizes = {
        "generator.embedding": hidden,
        "generator.hidden": hidden,
        "discriminator.embedding": hidden,
        "discriminator.hidden": hidden,
        "schedule.mle_epochs": 0,
        "schedule.mle_halve_from": None,
        "schedule.discriminator_rounds": 1,
        "schedule.adversarial_updates": repeats + 1,
        "workers.threads": 1,
    }
    configs = [override(preset(name, TASK).model_copy(update={"controls": ()}), sizes) for name in NAMES]
    task = build_task(TASK)
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in NAMES}
    with ExitStack() as stack:
        parts = [stack.enter_context(build_parts(config, task)) for config in configs]
        trainers = [Trainer(config, task, part) for config, part in zip(configs, parts, strict=True)]
        for trainer in trainers:
            trainer.step(measure=False)
            trainer.step(measure=False)
        for _ in range(repeats):
            for name, trainer in zip(NAMES, trainers, strict=True):
                metrics = trainer.step(measure=False).metrics
                taken[name].append({stage: metrics[f"timing/{stage}_s"] for stage in STAGES})
    return taken


def tiny(folder: Path) -> list[str]:
    return ["--repeats", "1", "--hidden", "2"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{machine()}; seed 0, {options.repeats} repeats, width {options.hidden}: median (least-greatest)")
    taken = measure(options.repeats, options.hidden)
    print(f"{'':<16}{NAMES[0] + ', s':>28}" + "".join(f"{name + ', s':>28}{'ratio':>20}" for name in NAMES[1:]))
    for stage in STAGES:
        times = [[one[stage] for one in taken[name]] for name in NAMES]
        line = f"{stage:<16}{spread(times[0], 3):>28}"
        for other in times[1:]:
            line += f"{spread(other, 3):>28}{spread(ratios(other, times[0])):>20}"
        print(line)
    for stage in ("rollouts", "iteration"):
        prefixes, search = ([one[stage] for one in taken[name]] for name in NAMES[1:])
        print(f"{stage} of {NAMES[1]} / {NAMES[2]}: {spread(ratios(prefixes, search))}")


if __name__ == "__main__":
    main()
