"""A whole GRPO update against a step of TRL's `GRPOTrainer`: completions, rewards, gradients, one step of Adam.

    python -m benchmarks.lm_grpo [--repeats 5] [--threads 1] [--completion 128] [--device cuda] ...

One process, turn by turn: TRL takes its step, then rlgan its update, of the same model with random weights, as many
prompts in groups of 8, the same lengths, batch and threads, float32, without a reference. The reward is a function of
texts with TRL's signature, the same one. Numbers that are equal are the business of
`tests/integration/test_beside_trl.py`; here both draw completions of their own. Each side's first step warms up.
Times are CPU seconds of this process, which other programs on the machine move little; on a GPU, where rlgan's sampling
and learning share it, seconds that pass.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import ratios, spread
from benchmarks.lm_common import Clock, add_device, task_settings, write_demonstrations, write_model
from rlgan.base.threads import torch_threads
from rlgan.config.paths import override
from rlgan.envs.tasks import build_task
from rlgan.presets.registry import preset
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts

TINY_MARKS = ("heavy",)
NEEDS = ("transformers", "datasets", "trl")

GROUP = 8


def tiny(folder: Path) -> list[str]:
    return ["--repeats", "1", "--width", "16", "--layers", "1", "--prompts", "2", "--completion", "6"]


def reward(completions: list[str], **kwargs: Any) -> list[float]:
    """The share of one letter; the file of rlgan's side says the same."""
    return [text.count("a") / max(1, len(text)) for text in completions]


_REWARD = """
def letter(completions, **kwargs):
    return [text.count("a") / max(1, len(text)) for text in completions]
"""


class Ours:
    """Updates of a run of the preset grpo, one at a time."""

    def __init__(self, trainer: Trainer, clock: Clock) -> None:
        self._trainer, self._clock = trainer, clock
        self.seconds: list[float] = []
        self.parts: list[dict[str, float]] = []

    def update(self) -> None:
        started = self._clock.now()
        metrics = self._trainer.step(measure=False).metrics
        self.seconds.append(self._clock.now() - started)
        self.parts.append({name: value for name, value in metrics.items() if name.startswith("timing/")})


def theirs(folder: Path, prompts: list[str], options: argparse.Namespace, clock: Clock, between: Any) -> list[float]:
    """Seconds of each of TRL's steps; `between` is called after each."""
    import datasets
    import transformers
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    model = transformers.AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), padding_side="left")
    config = GRPOConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=options.prompts * GROUP,
        num_generations=GROUP,
        max_completion_length=options.completion,
        learning_rate=1e-4,
        lr_scheduler_type="constant",
        max_steps=options.repeats + 1,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=options.device == "cpu",
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    taken: list[float] = []

    class Watch(transformers.TrainerCallback):
        def on_step_begin(self, *arguments: Any, **kwargs: Any) -> None:
            self.started = clock.now()

        def on_step_end(self, *arguments: Any, **kwargs: Any) -> None:
            taken.append(clock.now() - self.started)
            between()

    trainer = GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=config,
        train_dataset=datasets.Dataset.from_dict({"prompt": prompts}),
        processing_class=tokenizer,
        callbacks=[Watch()],
    )
    trainer.train()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, value in {
        "repeats": 5, "threads": 1, "vocab": 4096, "width": 256, "layers": 4, "prompts": 8, "prompt": 32,
        "completion": 128,
    }.items():  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    add_device(parser)
    options = parser.parse_args()
    clock = Clock(options.device)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        size = write_model(
            folder / "model", options.vocab, options.width, options.layers, options.prompt + options.completion
        )
        number = max(64, (options.repeats + 1) * options.prompts)
        # A word is a token or two; what is longer than the limit is dropped.
        lengths = options.prompt, options.completion
        words = options.prompt * 3 // 5, max(1, options.completion // 3)
        prompts = write_demonstrations(folder / "demonstrations.jsonl", number, *words)
        (folder / "reward.py").write_text(_REWARD, encoding="utf-8")
        task = task_settings(folder / "model", folder / "demonstrations.jsonl", *lengths)
        config = override(
            preset("grpo", task),
            {
                "reward": f"{folder / 'reward.py'}:letter",
                "objective": "reinforce",
                "objective.loss_normaliser": "token",
                "schedule.g_batch": options.prompts * GROUP,
                "schedule.adversarial_updates": options.repeats + 1,
                "optimizers.generator.lr": 1e-4,
                "workers.threads": options.threads,
                "workers.gpus_per_rollout": float(options.device == "cuda"),
                "workers.gpus_per_learner": float(options.device == "cuda"),
            },
        )
        built = build_task(config.task)
        print(clock.machine)
        print(
            f"{size:,} weights, {options.prompts} prompts of about {words[0]} words in groups of {GROUP}, at most "
            f"{options.completion} tokens a completion, {options.threads} threads"
        )
        with torch_threads(options.threads), build_parts(config, built) as parts:
            ours = Ours(Trainer(config, built, parts), clock)
            of_trl = theirs(folder / "model", prompts, options, clock, ours.update)
    of_trl, of_rlgan = of_trl[1:], ours.seconds[1:]
    print(f"TRL: {spread(of_trl)} {clock.unit} a step; rlgan: {spread(of_rlgan)} {clock.unit} an update")
    print(f"rlgan / TRL: {spread(ratios(of_rlgan, of_trl))}")
    for name in ("timing/rollouts_s", "timing/learn_s"):
        print(f"{name} {spread([part[name] for part in ours.parts[1:]])}")


if __name__ == "__main__":
    main()
