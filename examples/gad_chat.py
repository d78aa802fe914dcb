"""A chat model of 0.5 to 3 billion weights, fine-tuned and then trained beside a judge on one GPU of 80 GB and more.

    pip install 'rlgan[lm]'
    python examples/gad_chat.py --demonstrations talk.jsonl --model Qwen/Qwen2.5-0.5B-Instruct --estimate
    python examples/gad_chat.py --demonstrations talk.jsonl --model Qwen/Qwen2.5-0.5B-Instruct

The first command only reads the data and prints what the second will take. That is an estimate and was never measured:
floating-point operations and bytes are counted by the formulas of `Estimate`, and divided by the speed of a machine
(`--flops`, `--bandwidth`: an H100; an H200 has a bandwidth of 4.8e12) times the share of it that one may hope for.

Both stages train adapters of rank 16 beside frozen weights in bfloat16, of the generator and of the judge, which begins
as the generator. The second stage has one control, as many updates of likelihood alone, at the same temperatures.
Each stage is a run: after Ctrl-C, or the end of the machine, the same command goes on with it.

Prints the hours and the memory that are expected, then the tables of both runs, and the folder of the finished model.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from chat_end_to_end import exported, trained
from transformers import AutoConfig, AutoModelForCausalLM

from rlgan.base.pretrained import model_source
from rlgan.envs.tasks import DemonstrationsTask
from rlgan.presets.own_data import read_task
from rlgan.presets.sizes import DataSummary, summary_of

GROUP, ANSWERS = 8, 64
"""Answers to a prompt, and of an update."""
SFT_EPOCHS, CHUNK_ROWS, TOKENS_AT_ONCE = 2, 256, 16_384
TEMPERATURES = [1.0, 0.8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demonstrations", type=Path, required=True, help="file of conversations")
    parser.add_argument("--model", required=True, help="folder, or name on the hub")
    parser.add_argument("--folder", type=Path, default=Path("runs/gad-chat"), help="for everything that is written")
    parser.add_argument("--estimate", action="store_true", help="train nothing")
    parser.add_argument("--max-prompt-length", type=int, default=512, metavar="TOKENS")
    parser.add_argument("--max-length", type=int, default=256, metavar="TOKENS", help="of an answer")
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--judge-rounds", type=int, default=50, help="of the judge before the first update")
    parser.add_argument("--sequences", type=int, default=1000, help="that are drawn for each row of the table")
    parser.add_argument("--lr", type=float, default=1e-5, help="of both adapters in gad; fine-tuning has ten times it")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--cpu", action="store_true", help="for trying it with a tiny model")
    machine = parser.add_argument_group("machine of the estimate")
    machine.add_argument("--flops", type=float, default=989e12, help="a second, of dense bfloat16 (default: an H100)")
    machine.add_argument("--bandwidth", type=float, default=3.35e12, help="bytes a second (default: an H100)")
    machine.add_argument("--utilisation", type=float, default=0.3, help="share of both that is reached")
    options = parser.parse_args()
    task = DemonstrationsTask(
        demonstrations=str(options.demonstrations),
        model=model_source(options.model),
        max_prompt_length=options.max_prompt_length,
        max_length=options.max_length,
    )
    print(Estimate.of(options, summary_of(read_task(task))))
    if not options.estimate:
        train(options)


def train(options: argparse.Namespace) -> None:
    """Fine-tuning, then the judge."""
    shared: dict[str, Any] = {
        "demonstrations": options.demonstrations,
        "task": {"max_prompt_length": options.max_prompt_length, "max_length": options.max_length},
    }
    memory = {"training": "lora", "dtype": options.dtype, "checkpointing": True}
    gpu = 0.0 if options.cpu else 0.3
    workers = {
        "tokens_at_once": TOKENS_AT_ONCE,
        "chunk_rows": CHUNK_ROWS,
        "shard_sequences": ANSWERS,
        "gpus_per_rollout": gpu,
        "gpus_discriminator": gpu,
        "gpus_per_learner": gpu,
        **({"threads": 1} if options.cpu else {}),
    }
    few = min(200, options.sequences)
    measuring = {"num_sequences": few, "final_sequences": options.sequences, "temperatures": TEMPERATURES}
    learned = trained(
        options.folder / "sft",
        "sft",
        model=options.model,
        generator=memory,
        schedule={"mle_epochs": SFT_EPOCHS},
        optimizers={"mle": {"lr": 10 * options.lr}},
        evaluation=measuring,
        workers=workers,
        **shared,
    )
    begun = exported(learned, options.folder / "sft-model", merge=True)
    moving = {"lr": options.lr, "clip_norm": 0.2}
    run = trained(
        options.folder / "gad",
        "gad",
        model=begun,
        generator=memory,
        discriminator=memory,
        adversary={"tokens_at_once": TOKENS_AT_ONCE},
        schedule={
            "mle_epochs": 0,
            "discriminator_rounds": options.judge_rounds,
            "adversarial_updates": options.updates,
            "g_batch": ANSWERS,
            "g_group": GROUP,
        },
        optimizers={"generator": moving, "discriminator": moving},
        evaluation={**measuring, "every": 20},
        controls=["mle_continued"],
        workers=workers,
        **shared,
    )
    print(run.table.to_string(index=False))
    print(exported(run, options.folder / "model", merge=True))


@dataclass(frozen=True)
class Estimate:
    """What a run takes, counted and not measured.

    With N weights, P tokens of a prompt and C of an answer (means), of which T at most:

    * A token forward: 2N operations. Learned from: 6N, for of frozen weights no gradient is computed (forward 2N, and
      activations' gradients 2N), and checkpointing computes forward again (2N).
    * Drawing: T steps for each chunk of rows, in each of which all weights are read once (2N bytes), and 20 kernels a
      layer are started (10 µs each); a step takes the longest of operations, bytes and starts.
    * An update: 64 answers drawn, judged, read by the reference and learned from, and 72 learned from by the judge.
    * Left out: attention (a small share below 2,000 tokens), what is moved between processor and GPU, and Python.

    Memory, at most: four copies of the weights (the learner's, the sampler's, the judge's, and the judge that scores),
    keys and values of a chunk, and inputs of all layers of as many tokens as are learned from at once, with one whole
    layer.
    """

    weights: int
    layers: int
    width: int
    kept: int
    data: DataSummary
    options: argparse.Namespace

    @classmethod
    def of(cls, options: argparse.Namespace, data: DataSummary) -> Estimate:
        """Of a model, whose weights are not read for it."""
        config = AutoConfig.from_pretrained(options.model)
        with torch.device("meta"):
            weights = AutoModelForCausalLM.from_config(config).num_parameters()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width, layers = config.hidden_size, config.num_hidden_layers
        head = getattr(config, "head_dim", None) or width // config.num_attention_heads
        return cls(weights, layers, width, 2 * 2 * layers * heads * head, data, options)

    @property
    def pair(self) -> float:
        """Tokens of a prompt and its answer."""
        return self.data.source_mean_length + self.data.mean_length

    def reading(self, tokens: float, each: int) -> float:
        """Seconds of so many tokens with so many operations for each weight."""
        return tokens * each * self.weights / (self.options.flops * self.options.utilisation)

    def drawing(self, rows: int, prompts: int) -> float:
        """Seconds of so many answers."""
        chunks = -(-rows // CHUNK_ROWS)
        of_step = max(
            self.reading(rows / chunks, 2),
            (2 * self.weights + rows / chunks * self.pair * self.kept)
            / (self.options.bandwidth * self.options.utilisation),
            20 * self.layers * 10e-6,
        )
        return chunks * self.data.max_length * of_step + self.reading(prompts * self.data.source_mean_length, 2)

    @property
    def fine_tuning_s(self) -> float:
        """All demonstrations, as often as there are epochs."""
        return self.reading(SFT_EPOCHS * self.data.num_train * self.pair, 6)

    @property
    def judge_round_s(self) -> float:
        """Answers drawn, and learned from beside demonstrations."""
        prompts = ANSWERS // GROUP
        return self.drawing(ANSWERS, prompts) + self.reading((ANSWERS + prompts) * self.pair, 6)

    @property
    def update_s(self) -> float:
        """A round of the judge; and the same answers judged, read by the reference and learned from."""
        return self.judge_round_s + self.reading(ANSWERS * self.pair, 2 + 2 + 6)

    @property
    def table_s(self) -> float:
        """The start, the control and the run: drawn at each temperature, and the likeliest answers once."""
        sequences = self.options.sequences
        return 3 * (len(TEMPERATURES) + 1) * self.drawing(sequences, sequences)

    @property
    def memory_bytes(self) -> float:
        """At the most, of the parts that are named above."""
        of_tokens = TOKENS_AT_ONCE * self.width * 2 * (self.layers + 34)
        return 4 * 2 * self.weights + CHUNK_ROWS * (self.data.max_length + self.pair) * self.kept + of_tokens

    def __str__(self) -> str:
        options, control_s = self.options, self.reading(ANSWERS * self.pair, 6)
        parts = {
            "fine-tuning": self.fine_tuning_s,
            f"{options.judge_rounds} rounds of the judge": options.judge_rounds * self.judge_round_s,
            f"{options.updates} updates": options.updates * self.update_s,
            "the control": options.updates * control_s,
            "the table": self.table_s,
        }
        return "\n".join(
            [
                f"An estimate, not measured: {self.weights / 1e9:.3f} billion weights, {self.data.num_train:,} "
                f"demonstrations of {self.data.source_mean_length:.0f} + {self.data.mean_length:.0f} tokens",
                *(f"  {name}: {seconds / 3600:.2f} h" for name, seconds in parts.items()),
                f"  together: {sum(parts.values()) / 3600:.2f} h; memory: {self.memory_bytes / 2**30:.1f} GiB",
            ]
        )


if __name__ == "__main__":
    main()
