"""Memory of language models: what travels and what the driver holds of a LoRA run, and whether memory grows.

    python -m benchmarks.lm_memory [--width 768] [--layers 10] [--updates 2]
    python -m benchmarks.lm_memory --growth 200

The first trains an adapter of a model with random weights (100 million by default) by the preset grpo with a reference,
in this process, and prints the bytes of the weights that a rollout worker gets with each update, beside the model's,
and the peak of this process above what it held before, over the size of the model. The second makes so many updates of
a small model, and prints what the process holds after a tenth of them and at the end.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import tempfile
from pathlib import Path

from benchmarks.common import machine
from benchmarks.lm_common import peak_bytes, resident_bytes, task_settings, write_demonstrations, write_model
from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.envs.tasks import build_task
from rlgan.presets.registry import preset
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts

TINY_MARKS = ("heavy",)
NEEDS = ("transformers", "peft")

_MIB = 2**20


def tiny(folder: Path) -> list[str]:
    return ["--width", "16", "--layers", "1", "--updates", "1"]


def configuration(folder: Path, prompt: int, completion: int, updates: int) -> Config:
    """A LoRA run of the preset grpo on random words; the reward is BLEU with the demonstration."""
    write_demonstrations(folder / "demonstrations.jsonl", 96, prompt // 2, completion // 2)
    config = preset("grpo", task_settings(folder / "model", folder / "demonstrations.jsonl", prompt, completion))
    return override(
        config,
        {
            "generator.training": "lora",
            "reference": "loss",
            "schedule.g_batch": 16,
            "schedule.adversarial_updates": updates,
            "workers.threads": 1,
            "workers.shard_sequences": 16,
            "workers.tokens_at_once": 512,
        },
    )


def growth(folder: Path, updates: int) -> None:
    """What the process holds while a small model makes many updates."""
    write_model(folder / "model", 4096, 32, 2, 32)
    config = configuration(folder, 16, 16, updates)
    task = build_task(config.task)
    early = 0
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        for update in range(updates):
            trainer.step(measure=False)
            if update + 1 == max(1, updates // 10):
                gc.collect()
                early = resident_bytes()
        gc.collect()
        late = resident_bytes()
    print(
        f"after {max(1, updates // 10)} updates {early / _MIB:.0f} MiB, after {updates} {late / _MIB:.0f} MiB: "
        f"{(late - early) / _MIB:+.1f} MiB"
    )


def adapter(folder: Path, options: argparse.Namespace) -> None:
    """What travels, and the peak of the driver."""
    # By another process: what it takes to write a model is no memory of the driver's.
    sizes = folder / "model", options.vocab, options.width, options.layers, 64
    writer = multiprocessing.get_context("spawn").Process(target=write_model, args=sizes)
    writer.start()
    writer.join()
    model = (folder / "model" / "model.safetensors").stat().st_size
    before = resident_bytes()
    print(f"a model of {model / _MIB:.0f} MiB in float32, {model // 4:,} weights; held before: {before / _MIB:.0f} MiB")
    config = configuration(folder, 32, 32, options.updates)
    task = build_task(config.task)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        print(f"built: peak {(peak_bytes() - before) / model:.2f} x the model above what was held before")
        for _ in range(options.updates):
            trainer.step(measure=False)
        weights = parts.learners.weights()
        print(
            f"to a worker with each update: {weights.num_bytes():,} bytes, "
            f"{weights.num_bytes() / model:.4f} of the model; once: its base"
        )
        print(
            f"trained: peak {(peak_bytes() - before) / model:.2f} x, holds {(resident_bytes() - before) / model:.2f} x"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, value in {"vocab": 8192, "width": 768, "layers": 10, "updates": 2, "growth": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as temporary:
        if options.growth:
            growth(Path(temporary), options.growth)
        else:
            adapter(Path(temporary), options)


if __name__ == "__main__":
    main()
