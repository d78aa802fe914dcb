"""What the benchmarks of language models share: a model with random weights, its tokenizer, and prompts."""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import machine

_SPECIAL = ("<pad>", "<end>")
_LETTERS = "abcdefghijklmnop"  # 16 of them make 4096 words of three letters


def write_model(folder: Path, vocab_size: int, width: int, layers: int, positions: int) -> int:
    """A Llama with random weights, and a tokenizer of bytes and words of three letters; returns its number of weights.

    Args:
        folder: for both.
        vocab_size: at least 258, the bytes and two special tokens.
        width: of the layers.
        layers: their number.
        positions: tokens that it reads at most.
    """
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text(random.Random(1), 20_000)], trainer)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=_SPECIAL[0], eos_token=_SPECIAL[1]
    )
    vocab_size = len(fast)
    config = transformers.LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=4 * width,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    fast.save_pretrained(str(folder))
    model.save_pretrained(str(folder))
    return sum(parameter.numel() for parameter in model.parameters())


def add_device(parser: argparse.ArgumentParser) -> None:
    """The option --device."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where both sides compute")


class Clock:
    """Seconds of a device: of this process's CPU, which other programs move little, or that pass while a GPU works.

    Args:
        device: cpu or cuda.

    Raises:
        SystemExit: torch finds no GPU where one is asked for.
    """

    def __init__(self, device: str) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise SystemExit(
                f"--device cuda: torch {torch.__version__} finds no GPU on this machine. Use --device cpu."
            )
        self._device = device

    @property
    def unit(self) -> str:
        """What its seconds are."""
        return "CPU s" if self._device == "cpu" else "s"

    @property
    def machine(self) -> str:
        """Processor, versions and the GPU, in a line."""
        return machine() + ("" if self._device == "cpu" else f", {torch.cuda.get_device_name()}")

    def now(self) -> float:
        """Seconds since some moment, when the device has done all that it was given."""
        if self._device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


def text(rng: random.Random, words: int) -> str:
    """Random words of three letters, most of which are a token each."""
    return "".join(" " + "".join(rng.choice(_LETTERS) for _ in range(3)) for _ in range(words))


def write_demonstrations(path: Path, number: int, prompt: int, completion: int) -> list[str]:
    """Prompts and completions of so many random words as JSON lines; returns the prompts."""
    rng = random.Random(0)
    rows = [{"prompt": text(rng, prompt), "completion": text(rng, completion)} for _ in range(number)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [row["prompt"] for row in rows]


def task_settings(folder: Path, demonstrations: Path, prompt: int, completion: int) -> Any:
    """The task `demonstrations` of these files."""
    from rlgan.envs.tasks import DemonstrationsTask

    return DemonstrationsTask.model_validate(
        {
            "demonstrations": str(demonstrations),
            "model": {"kind": "folder", "path": str(folder)},
            "max_prompt_length": prompt,
            "max_length": completion,
        }
    )


def resident_bytes() -> int:
    """Memory that this process holds now."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return peak_bytes()


def peak_bytes() -> int:
    """The most memory that this process ever held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def write_encoder(folder: Path, words: Sequence[str]) -> None:
    """A tiny BERT with random weights, and a tokenizer of these words."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]
    tokenizer = Tokenizer(models.WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(str(folder))
    config = transformers.BertConfig(
        vocab_size=len(pieces), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(str(folder))
