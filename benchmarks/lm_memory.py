"""Memory of language models: what travels and what the driver holds of a LoRA run, and whether memory grows.

    python -m benchmarks.lm_memory [--width 768] [--layers 10] [--updates 2] [--settings tokens least]
    python -m benchmarks.lm_memory --growth 200

The first trains an adapter of a model with random weights (100 million by default) by the preset grpo with a reference,
writes a checkpoint and goes on from it, all in this process; first with `--tokens` tokens in a part of a batch, then
with a row a part, activations that are computed again, and 4 sequences drawn at once. Each run is a process of its own,
and so is one of the same run with a model of almost no size: what that takes (Python, torch, Ray, transformers) is
subtracted, and the rest is divided by the size of the model. Peaks are the greatest resident memory of the process. The
second makes so many updates of a small model, and prints what the process holds after a tenth of them and at the end.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import machine
from benchmarks.lm_common import peak_bytes, resident_bytes, task_settings, write_demonstrations, write_model
from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.presets.own_data import read_task
from rlgan.presets.registry import preset
from rlgan.runs.data import same_task
from rlgan.storage.checkpoint import load_latest, save_checkpoint
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts

TINY_MARKS = ("slow",)
NEEDS = ("transformers", "peft")

_MIB = 2**20
_POSITIONS = 64
_SMALL = 16  # width of the model of almost no size


def tiny(folder: Path) -> list[str]:
    return ["--width", "32", "--layers", "1", "--updates", "1", "--settings", "tokens"]


def configuration(folder: Path, prompt: int, completion: int, updates: int, **more: Any) -> Config:
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
            **more,
        },
    )


def growth(folder: Path, updates: int) -> None:
    """What the process holds while a small model makes many updates."""
    write_model(folder / "model", 4096, 32, 2, 32)
    config = configuration(folder, 16, 16, updates)
    task = read_task(config.task)
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


def run(folder: Path, updates: int, more: dict[str, Any]) -> None:
    """A run from its beginning, and the same gone on with from its checkpoint; what it took into a file."""
    half = _POSITIONS // 2
    config = configuration(folder, half, half, 2 * updates, **more)
    task = read_task(config.task)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        taken = {"built": peak_bytes()}
        for _ in range(updates):
            trainer.step(measure=False)
        taken |= {"trained": peak_bytes(), "held": resident_bytes()}
        save_checkpoint(folder / "run", trainer.state(), updates, bases=trainer.bases)
        taken |= {"kept": peak_bytes(), "sent": parts.learners.weights().num_bytes()}
    (folder / "taken.json").write_text(json.dumps(taken), "utf-8")
    (folder / "fingerprint").write_text(task.fingerprint(), "utf-8")


def resume(folder: Path, updates: int, more: dict[str, Any]) -> None:
    """The run that `run` kept, gone on with; its peak into a file."""
    half = _POSITIONS // 2
    config = configuration(folder, half, half, 2 * updates, **more)
    task = same_task(config.task, (folder / "fingerprint").read_text("utf-8"), "the run that is resumed")
    with build_parts(config, task, begins=False) as parts:
        trainer = Trainer(config, task, parts)
        trainer.restore(load_latest(folder / "run").state)
        for _ in range(updates):
            trainer.step(measure=False)
    taken = json.loads((folder / "taken.json").read_text("utf-8"))
    (folder / "taken.json").write_text(json.dumps({**taken, "resumed": peak_bytes()}), "utf-8")


def in_a_process(function: Any, *arguments: Any) -> None:
    """Call a function in a process of its own: what it takes is no memory of anybody else's.

    All begin as copies of one that has imported what each needs, and nothing else.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.lm_memory", "transformers", "peft"])
    process = context.Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{function.__name__}: ended with {process.exitcode}.")


def taken_by(folder: Path, vocab: int, width: int, layers: int, updates: int, more: dict[str, Any]) -> dict[str, int]:
    """What a run with a model of a size takes, bytes, and the size of the model."""
    folder.mkdir()
    in_a_process(write_model, folder / "model", vocab, width, layers, _POSITIONS)
    in_a_process(run, folder, updates, more)
    in_a_process(resume, folder, updates, more)
    taken: dict[str, int] = json.loads((folder / "taken.json").read_text("utf-8"))
    return taken | {"model": (folder / "model" / "model.safetensors").stat().st_size}


def adapter(folder: Path, options: argparse.Namespace) -> None:
    """What travels, and the peak of the driver."""
    known: dict[str, tuple[str, dict[str, Any]]] = {
        "tokens": (f"{options.tokens} tokens at once", {"workers.tokens_at_once": options.tokens}),
        "least": (
            "least of all",
            {
                "workers.tokens_at_once": _POSITIONS,
                "generator.checkpointing": True,
                "workers.chunk_rows": 4,
                "workers.shard_sequences": 4,
            },
        ),
    }
    for number, (name, more) in enumerate(known[one] for one in options.settings):
        nothing = taken_by(folder / f"{number}_without", options.vocab, _SMALL, 1, options.updates, more)
        taken = taken_by(folder / f"{number}", options.vocab, options.width, options.layers, options.updates, more)
        model = taken["model"] - nothing["model"]
        if not number:
            print(f"a model of {taken['model'] / _MIB:.0f} MiB in float32, {taken['model'] // 4:,} weights")
            print(
                f"to a worker with each update: {taken['sent']:,} bytes, {taken['sent'] / taken['model']:.4f} of the "
                "model; once: its base"
            )
        print(f"{name}; less the same with a model of {nothing['model'] / _MIB:.1f} MiB, over the model:")
        for what, label in (
            ("built", "peak until networks are built"),
            ("trained", f"peak after {options.updates} updates"),
            ("kept", "peak after a checkpoint"),
            ("resumed", "peak of a process that goes on from it"),
            ("held", "held at the end"),
        ):
            print(
                f"  {label}: {(taken[what] - nothing[what]) / model:.2f} "
                f"({taken[what] / _MIB:.0f} - {nothing[what] / _MIB:.0f} MiB)"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    defaults = {"vocab": 8192, "width": 768, "layers": 10, "updates": 2, "tokens": 512, "growth": 0}
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--settings", nargs="+", choices=["tokens", "least"], default=["tokens", "least"])
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as temporary:
        if options.growth:
            growth(Path(temporary), options.growth)
        else:
            adapter(Path(temporary), options)


if __name__ == "__main__":
    main()
