"""Tiny language models, made here: a tokenizer of bytes with a few merges, and models of random weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

TEXTS = ("hello there, how are you?", "fine, thanks. and you?\nwell.", "Grüße, naïve café", "hello hello fine fine")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def require() -> None:
    """Skip where the libraries are not installed: they are not released for Python 3.10."""
    for name in ("transformers", "peft", "tokenizers"):
        pytest.importorskip(name)


def write_tokenizer(
    folder: Path, *, template: str | None = CHATML, end: str | None = "<|im_end|>", bos: str | None = None
) -> Path:
    """A tokenizer of bytes in a folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=270,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    named = {"eos_token": end, "bos_token": bos, "pad_token": "<|endoftext|>"}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{name: token for name, token in named.items() if token is not None}
    )
    fast.chat_template = template
    folder.mkdir(parents=True, exist_ok=True)
    fast.save_pretrained(str(folder))
    return folder


def write_model(folder: Path, architecture: str = "qwen2", *, extra_ids: int = 10, **sizes: int) -> Any:
    """A model with random weights in a folder that has a tokenizer; it has more ids than that. Returns the model."""
    import torch
    import transformers

    size = len(transformers.AutoTokenizer.from_pretrained(str(folder))) + extra_ids
    torch.manual_seed(0)
    if architecture == "gpt2":
        config: Any = transformers.GPT2Config(
            vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=sizes.get("positions", 64)
        )
    else:
        kind = transformers.Qwen2Config if architecture == "qwen2" else transformers.LlamaConfig
        config = kind(
            vocab_size=size,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=24,
            max_position_embeddings=sizes.get("positions", 64),
            initializer_range=0.5,
        )
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(str(folder))
    return model.eval()


def write_records(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """JSON lines."""
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return path


def chats(number: int) -> list[dict[str, Any]]:
    """Conversations of a question and an answer, all different."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"how are you, {index}?"},
                {"role": "assistant", "content": f"fine, {index % 7}"},
            ],
            "id": index,
        }
        for index in range(number)
    ]


def write_encoder(folder: Path, words: Iterable[str], *, positions: int = 64, architecture: str = "bert") -> Any:
    """A BERT or RoBERTa of random weights with a tokenizer of word pieces, as a folder. Returns it without its output.

    RoBERTa has one segment, two marks between two texts, and positions that begin behind the id that pads.
    """
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?!"
    is_bert = architecture == "bert"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] if is_bert else ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pad, unknown, first, last = special[:4] if is_bert else (special[1], special[3], special[0], special[2])
    pieces = [*special, *letters, *(f"##{one}" for one in letters), *words]
    ids = {piece: place for place, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B:1 {last}:1" if is_bert else f"{first} $A {last} {last} $B {last}",
        special_tokens=[(first, ids[first]), (last, ids[last])],
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=unknown, pad_token=pad, cls_token=first, sep_token=last
    )
    folder.mkdir(parents=True, exist_ok=True)
    fast.save_pretrained(str(folder))
    torch.manual_seed(0)
    kind = transformers.BertConfig if is_bert else transformers.RobertaConfig
    config = kind(
        vocab_size=len(pieces),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=positions + (0 if is_bert else ids[pad] + 1),
        type_vocab_size=2 if is_bert else 1,
        initializer_range=0.5,
        pad_token_id=ids[pad],
        **({} if is_bert else {"bos_token_id": ids[first], "eos_token_id": ids[last]}),
    )
    model = transformers.AutoModel.from_config(config)
    model.save_pretrained(str(folder))
    return model.eval()
