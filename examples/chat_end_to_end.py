"""A language model from nothing to a served one: pretrained, taught by demonstrations, and trained beside a judge.

    pip install 'rlgan[lm]'
    python examples/chat_end_to_end.py                                         docstrings of corpus.py
    python examples/chat_end_to_end.py --texts FILE --answers FILE --seeds 1 2     two files of lines
    python examples/chat_end_to_end.py --steps resume workers transformers serve   what comes after training

Half of the sentences pretrain a small Llama with a tokenizer of its own. The other half become conversations: the
user names three words of a sentence, and the assistant answers with that sentence. `sft` learns them by likelihood;
`gad` goes on from there, rewarded by a judge that begins as the same model and keeps learning. Its table has controls
that make as many updates without a judge, and each of them at several temperatures.

Every step has a folder below `--folder`. A step that was interrupted (Ctrl-C) goes on where it stopped when the same
command is given again; one that has ended is not repeated.

Prints the sizes of the data, the final table of each seed with its verdict, answers of every model to the same prompts,
whether a run that was interrupted, and one on two Ray workers, end with the same weights bit for bit, and answers of
the exported folders in a fresh process of transformers and by HTTP. docs/tutorial-chat.md has the same as commands.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import corpus
import torch
from safetensors.torch import load_file
from serving import ask, free_port, registered, serve
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

import rlgan
from rlgan.callbacks import Callback

SPECIAL = ["<|end_of_text|>", "<|start|>", "<|end|>"]
CHAT_TEMPLATE = (
    "{% for one in messages %}<|start|>{{ one['role'] }}\n{{ one['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
STEPS = ("pretrain", "sft", "gad", "answers", "resume", "workers", "transformers", "serve")
NUM_WORDS = 3
METRIC = Path(__file__).resolve().with_name("words_used.py")
FRESH_PROCESS = """
import sys
from transformers import pipeline, set_seed

asked = [{"role": "user", "content": sys.argv[1]}]
for folder in sys.argv[2:]:
    write = pipeline("text-generation", folder)
    set_seed(1)
    said = write(asked, max_new_tokens=40, do_sample=True, temperature=0.7)
    print(repr(said[0]["generated_text"][-1]["content"]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, help="file of lines to pretrain on (default: half of corpus.py)")
    parser.add_argument("--answers", type=Path, help="file of lines to be answered with (default: the other half)")
    parser.add_argument("--folder", type=Path, default=Path("runs/chat"), help="for everything that is written")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS, metavar="STEP", help=" ".join(STEPS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1], metavar="N", help="of gad")
    sizes = parser.add_argument_group("sizes")
    sizes.add_argument("--vocabulary", type=int, default=4096, help="tokens")
    sizes.add_argument("--width", type=int, default=192)
    sizes.add_argument("--layers", type=int, default=4)
    sizes.add_argument("--epochs", type=int, default=3, help="of pretraining")
    sizes.add_argument("--sft-epochs", type=int, default=4, help="at most")
    sizes.add_argument("--judge-rounds", type=int, default=40, help="of the judge before the first update")
    sizes.add_argument("--updates", type=int, default=60, help="of gad")
    sizes.add_argument("--controls", nargs="*", default=["mle_continued", "constant_reward"], metavar="NAME")
    sizes.add_argument(
        "--equal-trainings", type=int, default=1, help="more of constant_reward, for the verdict's interval"
    )
    sizes.add_argument("--sequences", type=int, default=500, help="that are drawn for each row of a table")
    sizes.add_argument(
        "--test-fraction", type=float, default=0.1, help="of the conversations, each of which is answered for each row"
    )
    options = parser.parse_args()
    walk = Walk(options)
    for step in STEPS:
        if step in options.steps:
            began = time.process_time()
            getattr(walk, step)()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
            minutes = (time.process_time() - began) / 60
            print(f"--- {step}: {minutes:.1f} minutes of CPU, at most {peak:.0f} MiB so far", flush=True)


class Walk:
    """The steps, each of which needs those before it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.folder = options, options.folder
        texts, answers = lines_of(options.texts), lines_of(options.answers)
        if texts is None or answers is None:
            sentences = corpus.sentences()
            texts, answers = texts or sentences[0::2], answers or sentences[1::2]
        chats = conversations(answers)
        self.prompts = [chat["messages"][0]["content"] for chat in chats[:: max(1, len(chats) // 3)]][:3]
        self.texts = write_records(self.folder / "texts.jsonl", ({"text": text} for text in texts))
        self.chats = write_records(self.folder / "chats.jsonl", chats)
        self.tokenizer = self.folder / "tokenizer"
        if not self.tokenizer.exists():
            write_tokenizer(self.tokenizer, texts, options.vocabulary)
        print(f"{len(texts):,} texts, {len(chats):,} conversations in {self.folder}")

    def pretrain(self) -> None:
        """A model with random weights learns texts by likelihood: the preset sft, told that there are no prompts."""
        sizes = {"kind": "fresh", "width": self.options.width, "layers": self.options.layers, "positions": 256}
        run = trained(
            self.folder / "pretrain",
            "sft",
            demonstrations=self.texts,
            model=self.tokenizer,
            task={"form": "texts"},
            generator={"weights": sizes},
            schedule={"mle_epochs": self.options.epochs, "mle_batch": 32},
            optimizers={"mle": {"lr": 1e-3}},
            evaluation={"final_sequences": self.options.sequences, "temperatures": [1.0]},
            workers=AT_ONCE,
        )
        exported(run, self.folder / "base-model")

    def sft(self) -> None:
        """The pretrained model learns the answers by likelihood, until validation likelihood no longer gains."""
        run = trained(
            self.folder / "sft",
            "sft",
            demonstrations=self.chats,
            model=self.folder / "base-model",
            task={"test_fraction": self.options.test_fraction},
            schedule={"mle_epochs": self.options.sft_epochs, "mle_batch": 16},
            optimizers={"mle": {"lr": 5e-4}},
            evaluation={"final_sequences": self.options.sequences, "temperatures": [1.0, 0.7]},
            workers=AT_ONCE,
        )
        exported(run, self.folder / "sft-model")

    def gad(self) -> None:
        """A judge learns beside the fine-tuned model; controls make as many updates without one."""
        for seed in self.options.seeds:
            run = trained(self.folder / f"gad-{seed}", "gad", **self.adversarial(seed, self.options.updates))
            measured = [name for name in COLUMNS if name in run.table]
            print(run.table[["name", "temperature", *measured]].round(3).to_string(index=False))
            print(*([] if run.verdict is None else run.verdict.sentences), sep="\n")
            exported(run, self.folder / f"gad-model-{seed}")

    def adversarial(self, seed: int, updates: int, **others: Any) -> dict[str, Any]:
        """What `gad` is told: learning rates for a small model, and what its table has."""
        rates = {"generator": 5e-5, "discriminator": 5e-4}
        measuring: dict[str, Any] = {
            "final_sequences": self.options.sequences,
            "temperatures": [1.0, 0.7],
            "metrics": [{"name": f"{METRIC}:words_used", "direction": "max", "unit": "share"}],
        }
        if "constant_reward" in self.options.controls:  # the one that is trained as the run is
            measuring["equal_trainings"] = self.options.equal_trainings
        arguments: dict[str, Any] = {
            "demonstrations": self.chats,
            "model": self.folder / "sft-model",
            "task": {"test_fraction": self.options.test_fraction},
            "seed": seed,
            # The model has learned the demonstrations: likelihood comes first no more.
            "schedule": {
                "mle_epochs": 0,
                "discriminator_rounds": self.options.judge_rounds,
                "adversarial_updates": updates,
            },
            "optimizers": {name: {"lr": rate, "clip_norm": 1.0} for name, rate in rates.items()},
            "evaluation": measuring,
            "controls": self.options.controls,
            "workers": AT_ONCE,
        }
        return arguments | others

    def answers(self) -> None:
        """What each model answers to the same prompts."""
        for name in ("sft", *(f"gad-{seed}" for seed in self.options.seeds)):
            run = rlgan.load(self.folder / name)
            for prompt, answer in zip(self.prompts, run.sample(sources=self.prompts, temperature=0.7), strict=True):
                print(f"{name}: {prompt} -> {answer}")

    def resume(self) -> None:
        """A run of a few updates, whole and interrupted in the middle."""
        whole = trained(self.folder / "whole", "gad", **self.adversarial(1, FEW, **ALONE))
        halved = self.folder / "interrupted"
        if not (halved / "config.json").exists():
            stopped = rlgan.train("gad", out=halved, callbacks=[CtrlC()], **self.adversarial(1, FEW, **ALONE))
            print(f"interrupted after iteration {len(stopped.metrics)}")
        resumed = trained(halved, "gad")
        print(f"interrupted and resumed, the same weights bit for bit: {same_weights(whole, resumed)}")

    def workers(self) -> None:
        """The same on two workers."""
        whole = trained(self.folder / "whole", "gad", **self.adversarial(1, FEW, **ALONE))
        spread = {**AT_ONCE, "rollout": 2, "cpus_per_rollout": 0.5, "cpus_discriminator": 0.5}
        arguments = self.adversarial(1, FEW, **ALONE, workers=spread)
        run = trained(self.folder / "on-workers", "gad", **arguments)
        print(f"on 2 workers, the same weights bit for bit: {same_weights(whole, run)}")

    def transformers(self) -> None:
        """Exported folders, an adapter among them, answer in processes that know nothing of rlgan."""
        adapted = trained(
            self.folder / "adapter", "gad", **self.adversarial(1, FEW, **ALONE, generator={"training": "lora"})
        )
        folders = [
            self.folder / f"gad-model-{self.options.seeds[0]}",
            exported(adapted, self.folder / "adapter-alone"),
            exported(adapted, self.folder / "adapter-merged", merge=True),
        ]
        command = [sys.executable, "-c", FRESH_PROCESS, self.prompts[0], *map(str, folders)]
        answers = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        for folder, answer in zip(folders, answers, strict=True):
            print(f"transformers, {folder.name}: {self.prompts[0]} -> {answer}")

    def serve(self) -> None:
        """MLflow registers the model and serves it; a request has a column `prompt`."""
        address = registered(self.folder / f"gad-{self.options.seeds[0]}", "chat")
        port = free_port()
        server = serve(address, port, self.folder)
        try:
            answers = ask(port, [{"prompt": one} for one in self.prompts], seed=1)
        finally:
            server.terminate()
            server.wait()
        for prompt, answer in zip(self.prompts, answers, strict=True):
            print(f"{address} by HTTP: {prompt} -> {answer}")


FEW = 4
"""Updates of a run that shows something else than what is gained."""
ALONE: dict[str, Any] = {
    "controls": [],
    "schedule": {"mle_epochs": 0, "discriminator_rounds": 2, "adversarial_updates": FEW, "g_batch": 16},
    "adversary": {"sequences_per_round": 16},
    "evaluation": {"num_sequences": 20, "final_sequences": 20, "temperatures": [1.0]},
}
AT_ONCE = {"threads": 1, "tokens_at_once": 1024}
"""Sequences of like length are computed together, so that little padding is."""
COLUMNS = ("nll_gen", "chrf", "corpus_bleu", "own_words_used", "decoded_length")


class CtrlC(Callback):
    """Presses Ctrl-C after the second update."""

    def on_iteration(self, run: Any, iteration: Any) -> None:
        if iteration.phase == "adversarial" and iteration.step == 2:
            signal.raise_signal(signal.SIGINT)


def trained(folder: Path, preset: str, **arguments: Any) -> rlgan.Run:
    """The run of a folder: begun, gone on with, or as it is where it has ended."""
    if not (folder / "config.json").exists():
        run = rlgan.train(preset, out=folder, **arguments)
    else:
        run = rlgan.load(folder)
        run = run if run.is_finished else run.resume()
    if not run.is_finished:
        raise SystemExit(f"{folder}: interrupted; the same command goes on with it")
    return run


def exported(run: rlgan.Run, folder: Path, **arguments: Any) -> Path:
    """The model of a run as a folder for transformers, if it is not there."""
    return folder if folder.exists() else run.export(folder, **arguments)


def same_weights(one: rlgan.Run, other: rlgan.Run) -> bool:
    """Whether two runs ended with the same generator."""
    first, second = (load_file(run.folder / "generator.safetensors") for run in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def lines_of(path: Path | None) -> list[str] | None:
    """Its lines, each once."""
    return None if path is None else list(dict.fromkeys(path.read_text("utf-8").splitlines()))


def conversations(answers: Iterable[str]) -> list[dict[str, Any]]:
    """To three words, the longest of a sentence in the order of the alphabet, that sentence is the answer."""
    chats = []
    for answer in answers:
        words = dict.fromkeys(re.findall(r"[a-z]{4,}", answer.lower()))
        longest = sorted(sorted(words, key=len, reverse=True)[:NUM_WORDS])
        if len(longest) == NUM_WORDS:
            asked, said = {"role": "user", "content": ", ".join(longest)}, {"role": "assistant", "content": answer}
            chats.append({"messages": [asked, said]})
    return chats


def write_records(path: Path, records: Iterable[dict[str, Any]]) -> Path:
    """JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def write_tokenizer(folder: Path, texts: list[str], size: int) -> None:
    """Pieces of bytes, with a template for conversations."""
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    pieces.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, eos_token=SPECIAL[0], pad_token=SPECIAL[0])
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(str(folder))


if __name__ == "__main__":
    main()
