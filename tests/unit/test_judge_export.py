"""Discriminators as folders of transformers: the same logit for the same text, for libraries and as our own reward."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import rlgan
from rlgan.base.errors import CheckpointError, ConfigError
from rlgan.base.weights import load_weights, weights_of
from rlgan.config.paths import to_dict
from rlgan.discriminators import CnnHighway, Discriminator, SequenceClassifier, build_discriminator
from rlgan.envs.tasks import DemonstrationsTask, Task, TextTask, build_task
from rlgan.envs.transition import sequence_mask
from rlgan.generators import CausalLM, build_generator
from rlgan.policy.credit import RewardToGo, Terminal
from rlgan.policy.frozen_classifier import classifier_of
from rlgan.runs.data import write_run_data
from rlgan.runs.exporting import export_discriminator
from rlgan.storage.discriminator_export import load_run_discriminator, save_run_discriminator
from tests.support.commands import ask
from tests.support.errors import refused
from tests.support.language_models import (
    chats,
    require,
    write_encoder,
    write_model,
    write_records,
    write_tokenizer,
)
from tests.support.tiny import tiny_config

require()

LORA = {"kind": "lora", "rank": 2}
SIZES = {"kind": "fresh", "width": 8, "layers": 1, "heads": 2}
CAPTIONS = ("a dog runs", "a cat runs fast", "dog", "the cat and the dog", "fast fast cat", "a dog and a cat")
PLAIN = [{"prompt": f"number {one} is ", "completion": "well " * (one % 4) + f"{one % 9}"} for one in range(60)]
Make = Callable[..., Path]


@pytest.fixture
def made(tmp_path: Path) -> Make:
    """The folder of a run with a discriminator, whose weights are far from where they began."""

    def make(world: str, judge: dict[str, Any], name: str = "run") -> Path:
        model = {"kind": "folder", "path": str(tmp_path / "model")}
        task: Any
        if world == "captions":
            (tmp_path / "captions.txt").write_text("\n".join(CAPTIONS * 12))
            task = TextTask(data=str(tmp_path / "captions.txt"), min_count=1)
        else:
            records = chats(60) if world == "chat" else PLAIN
            given = {"demonstrations": str(write_records(tmp_path / "demos.jsonl", records)), "model": model}
            task = DemonstrationsTask.model_validate({**given, "max_length": 12})
        changes: dict[str, Any] = {"task": task, "discriminator": SequenceClassifier(**judge), "credit": Terminal()}
        if judge.get("granularity") == "token":
            changes["credit"] = RewardToGo()
        if world != "captions":
            changes["generator"] = CausalLM(weights=model, training=LORA)
        config = tiny_config(**changes).settled()
        assert config.discriminator is not None
        return kept(tmp_path / name, config, build_task(task))

    write_tokenizer(tmp_path / "model", bos="<|im_start|>")
    write_encoder(tmp_path / "encoder", ("dog", "cat"), positions=128)
    write_encoder(tmp_path / "roberta", ("dog", "cat"), positions=128, architecture="roberta")
    return make


def kept(folder: Path, config: Any, task: Task) -> Path:
    folder.mkdir()
    torch.manual_seed(3)
    network = build_discriminator(config.discriminator, task.space)
    network.take_files()
    if config.discriminator.begins_as_generator:
        generator = build_generator(config.generator, task.space)
        generator.take_files()
        own, other = weights_of(network, 0).complete, weights_of(generator, 0).complete
        load_weights(network, config.discriminator.begun_as(task.space, own, other))
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.data += 0.25 * torch.randn_like(parameter)
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    write_run_data(folder, config, task)
    weights = weights_of(network, 0).complete
    save_run_discriminator(folder, config.discriminator, config.reward.model_dump(mode="json"), task, weights)
    return folder


def folder_of(tmp_path: Path, name: str) -> dict[str, Any]:
    if name not in ("model", *ENCODERS):
        write_model(tmp_path / "model", name)
    return {"kind": "folder", "path": str(tmp_path / (name if name in ENCODERS else "model"))}


def judged(run_dir: Path, number: int = 8) -> tuple[list[tuple[str, ...]], Tensor]:
    """Texts of the run, with their prompts where they have some, and the logits of its discriminator."""
    from rlgan.config.paths import from_kept
    from rlgan.storage.checkpoint import read_run_config

    task = build_task(from_kept(read_run_config(run_dir)).task)
    space, rows = task.space, first_different(task.train, number)
    tokens = task.train[rows].long()
    mask = sequence_mask(space, tokens)
    assert space.spelling is not None
    texts = [space.spelling.texts(tokens, mask, space.end_id)]
    conditions = None
    if task.conditions is not None:
        assert space.condition is not None and space.condition.spelling is not None
        conditions = task.conditions.train[rows].long()
        shown = sequence_mask(space.condition, conditions)
        texts.insert(0, space.condition.spelling.texts(conditions, shown, space.condition.end_id))
    judge: Discriminator = load_run_discriminator(run_dir).network
    with torch.no_grad():
        logits = judge(tokens, mask, conditions)
    assert len(set(logits.tolist())) > 3 and float(logits.std()) > 1e-3
    return list(zip(*texts, strict=True)), logits


def first_different(tokens: Tensor, number: int) -> list[int]:
    seen: dict[tuple[int, ...], int] = {}
    for place, row in enumerate(tokens.tolist()):
        seen.setdefault(tuple(row), place)
    return list(seen.values())[:number]


def by_transformers(folder: Path, texts: list[tuple[str, ...]], side: str = "right") -> Tensor:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    model = transformers.AutoModelForSequenceClassification.from_pretrained(str(folder), num_labels=1).eval()
    is_adapter = (folder / "adapter_config.json").exists()
    if is_adapter:
        model.config.pad_token_id = tokenizer.pad_token_id
    assert model.config.num_labels == 1 and model.config.pad_token_id == tokenizer.pad_token_id
    assert tokenizer.padding_side == "right"
    read = tokenizer(*map(list, zip(*texts, strict=True)), return_tensors="pt", padding=True, padding_side=side)
    if side == "left" and model.config.model_type == "gpt2":  # which has absolute positions
        read["position_ids"] = (read["attention_mask"].cumsum(1) - 1).clamp_min(0)
    lengths = read["attention_mask"].sum(1)
    assert int(lengths.min()) < int(lengths.max()), "nothing is padded"
    with torch.no_grad():
        found: Tensor = model(**read).logits
    assert found.shape == (len(texts), 1)
    return found.squeeze(1)


ENCODERS = ("encoder", "roberta")
JUDGES = [
    ("captions", "encoder", None, False),
    ("captions", "encoder", LORA, True),
    ("captions", "encoder", LORA, False),
    ("captions", "roberta", None, False),
    ("captions", "roberta", LORA, True),
    ("captions", "gpt2", None, False),
    ("captions", "llama", LORA, False),
    ("chat", "gpt2", LORA, True),
    ("chat", "llama", None, False),
    ("chat", "generator", LORA, False),
    ("chat", "encoder", None, False),
    ("chat", "fresh bert", None, False),
    ("chat", "fresh gpt2", LORA, True),
    ("plain", "llama", LORA, False),
    ("plain", "generator", None, False),
    ("plain", "encoder", LORA, False),
    ("plain", "roberta", LORA, False),
]


def judge_of(tmp_path: Path, name: str, training: dict[str, Any] | None) -> dict[str, Any]:
    if name.startswith("fresh"):
        write_model(tmp_path / "model")
        weights: dict[str, Any] = SIZES | {"architecture": name.split()[1]}
    elif name == "generator":
        write_model(tmp_path / "model")
        weights = {"kind": "generator"}
    else:
        if name in ENCODERS:
            write_model(tmp_path / "model")
        weights = folder_of(tmp_path, name)
    return {"weights": weights, "training": training or {"kind": "whole"}}


@pytest.mark.parametrize(("world", "name", "training", "merges"), JUDGES)
def test_a_folder_has_the_logits_of_the_discriminator(
    world: str, name: str, training: dict[str, Any] | None, merges: bool, made: Make, tmp_path: Path
) -> None:
    run_dir = made(world, judge_of(tmp_path, name, training))
    texts, expected = judged(run_dir)
    saved = export_discriminator(run_dir, tmp_path / "out", merges=merges)
    assert saved.is_adapter == (training is not None and not merges)
    # An encoder reads its first token, which is never padded: its folder says on which side to pad, as every one does.
    for side in ("right",) if name in (*ENCODERS, "fresh bert") else ("right", "left"):
        found = by_transformers(tmp_path / "out", texts, side)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


# -------------------------------------------------------------------------------------- as a reward, here and elsewhere


ASKED: dict[str, list[Any]] = {
    "captions": [None] * 3,
    "chat": [[{"role": "user", "content": f"how are you, {one}?"}] for one in range(3)],
    "plain": [f"number {one} is " for one in range(3)],
}
SAID = {
    "captions": ["a dog runs", "dog", "a cat and a dog"],
    "chat": ["fine, 1", "well", "no!"],
    "plain": ["1", "ok", "?"],
}


@pytest.mark.parametrize(
    ("world", "name"),
    [("captions", "encoder"), ("captions", "llama"), ("chat", "generator"), ("plain", "llama"), ("plain", "encoder")],
)
def test_a_folder_is_the_reward_that_the_run_is(world: str, name: str, made: Make, tmp_path: Path) -> None:
    run_dir = made(world, judge_of(tmp_path, name, None))
    export_discriminator(run_dir, tmp_path / "out")
    given = {} if world == "captions" else {"prompts": ASKED[world]}
    expected = rlgan.load(run_dir).reward("logit").as_trl()(completions=SAID[world], **given)
    assert len(set(expected)) == 3
    folder = str(tmp_path / "out")
    assert classifier_of(folder)()(ASKED[world], SAID[world]) == pytest.approx(expected, abs=1e-5)
    if world == "chat":  # a text is what the user says, as in the run
        asked = [turns[0]["content"] for turns in ASKED[world]]
        assert classifier_of(folder)()(asked, SAID[world]) == pytest.approx(expected, abs=1e-5)
    loose = classifier_of(folder)(reads="completion" if world != "captions" else "both")
    if world != "captions":
        assert loose(ASKED[world], SAID[world]) != pytest.approx(expected, abs=1e-3)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "training", "merges"),
    [("generator", LORA, True), ("generator", LORA, False), ("plain llama", None, False)],
)
def test_trl_takes_the_folder_as_its_reward_model(
    name: str, training: dict[str, Any] | None, merges: bool, made: Make, tmp_path: Path
) -> None:
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    world, _, architecture = name.rpartition(" ")
    world = world or "chat"
    run_dir = made(world, judge_of(tmp_path, architecture, training))
    is_adapter = export_discriminator(run_dir, tmp_path / "out", merges=merges).is_adapter
    # TRL writes conversations with the template of the folder, and texts without any special token.
    said = ["fine, 1", "well", "no!"]
    turns = [[{"role": "assistant", "content": one}] for one in said]
    asked = [[{"role": "user", "content": "number 3 is "}]] * 3 if world == "plain" else ASKED["chat"]
    args = trl.GRPOConfig(
        output_dir=str(tmp_path / "trl"), use_cpu=True, bf16=False, report_to=[], per_device_train_batch_size=2,
        num_generations=2, max_completion_length=4,
    )  # fmt: skip
    import transformers

    trainer = trl.GRPOTrainer(
        model=transformers.AutoModelForCausalLM.from_pretrained(str(tmp_path / "model")),
        reward_funcs=str(tmp_path / "out"),
        # Beside an adapter TRL would take the tokenizer of the model that it belongs to.
        reward_processing_classes=transformers.AutoTokenizer.from_pretrained(str(tmp_path / "out"))
        if is_adapter
        else None,
        args=args,
        train_dataset=datasets.Dataset.from_list([{"prompt": one} for one in asked]),
        processing_class=transformers.AutoTokenizer.from_pretrained(str(tmp_path / "model")),
    )
    found = trainer._calculate_rewards([{"prompt": one} for one in asked], asked, turns, [[1]] * 3)
    prompts = ["number 3 is "] * 3 if world == "plain" else asked
    expected = rlgan.load(run_dir).reward("logit").as_trl()(prompts=prompts, completions=said)
    assert found.flatten().tolist() == pytest.approx(expected, abs=1e-5) and len(set(expected)) == 3


def test_both_faces_write_it_and_the_card_says_what_it_is(
    made: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = made("captions", judge_of(tmp_path, "llama", LORA))
    answer = ask(capsys, "export", "--run", run_dir, "--discriminator", "--merge", "--to", tmp_path / "out")
    assert answer.status == 0 and answer.out.strip() == str(tmp_path / "out"), answer
    assert "a classifier with one label" in answer.err
    card = (tmp_path / "out" / "README.md").read_text()
    assert "text-classification" in card and "num_labels=1" in card and "captions.txt" in card
    rlgan.load(run_dir).export(tmp_path / "adapter", discriminator=True)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()
    told = ask(capsys, "show-config", "grpo", "--reward", tmp_path / "adapter")
    assert told.status == 2 and "plugin_folder_of_adapter" in told.err
    texts, expected = judged(run_dir)
    for folder in ("out", "adapter"):
        torch.testing.assert_close(by_transformers(tmp_path / folder, texts), expected, atol=1e-5, rtol=0)


# -------------------------------------------------------------------------------------------------------- padding


@pytest.mark.parametrize("extra_ids", [0, 3])
def test_a_tokenizer_that_pads_with_the_end_of_a_text_gets_a_token_that_pads(
    extra_ids: int, made: Make, tmp_path: Path
) -> None:
    # As GPT-2's: the class of transformers would read the verdict in front of the end, and not at it.
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path / "model"
    fast: Any = PreTrainedTokenizerFast.from_pretrained(str(folder))
    kept_tokens = json.loads(fast.backend_tokenizer.to_str())
    kept_tokens["added_tokens"] = [one for one in kept_tokens["added_tokens"] if one["content"] == "<|endoftext|>"]
    backend = type(fast.backend_tokenizer).from_str(json.dumps(kept_tokens))
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=end, bos_token=end, pad_token=end).save_pretrained(
        str(folder)
    )
    write_model(folder, "llama", extra_ids=extra_ids)
    run_dir = made("captions", {"weights": {"kind": "folder", "path": str(folder)}, "training": LORA})
    texts, expected = judged(run_dir)
    export_discriminator(run_dir, tmp_path / "out", merges=True)
    for side in ("right", "left"):
        torch.testing.assert_close(by_transformers(tmp_path / "out", texts, side), expected, atol=1e-5, rtol=0)
    import transformers

    config = transformers.AutoConfig.from_pretrained(str(tmp_path / "out"))
    size = len(fast)
    assert config.pad_token_id == size and config.vocab_size == max(size + 1, size + extra_ids)
    if extra_ids:  # a row of the model is free
        export_discriminator(run_dir, tmp_path / "adapter")
        torch.testing.assert_close(by_transformers(tmp_path / "adapter", texts), expected, atol=1e-5, rtol=0)
    else:
        with refused(ConfigError, "export_judge_needs_padding"):
            export_discriminator(run_dir, tmp_path / "adapter")


# ------------------------------------------------------------------------------------------------- what has no folder


def test_what_no_folder_can_say_is_refused_with_what_can(made: Make, tmp_path: Path) -> None:
    encoder = folder_of(tmp_path, "encoder")
    cases: dict[str, tuple[str, dict[str, Any]]] = {
        "export_judge_pooling": ("captions", {"weights": encoder, "pooling": "mean"}),
        "export_judge_own_tokens": ("captions", {"weights": SIZES}),
        "export_judge_nothing_to_merge": ("captions", {"weights": encoder}),
        "export_judge_of_tokens": (
            "chat", {"weights": folder_of(tmp_path, "llama"), "granularity": "token"}
        ),
        "export_judge_adapter_of_nothing": ("chat", {"weights": SIZES, "training": LORA}),
    }  # fmt: skip
    for code, (world, judge) in cases.items():
        run_dir = made(world, judge, code)
        with refused(ConfigError, code):
            export_discriminator(run_dir, tmp_path / "out", merges=code == "export_judge_nothing_to_merge")
        assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out-*"))


def test_a_reward_that_would_read_prompts_otherwise_than_in_training_is_refused(made: Make, tmp_path: Path) -> None:
    # It read what the generator's chat template wrote, and its own tokenizer has no such template.
    export_discriminator(made("chat", judge_of(tmp_path, "encoder", None)), tmp_path / "out")
    with refused(ConfigError, "classifier_lacks_template"):
        classifier_of(str(tmp_path / "out"))


def test_a_network_of_another_kind_is_refused(tmp_path: Path) -> None:
    config = tiny_config(discriminator=CnnHighway(embedding=4, windows=(1,), filters=(4,)))
    run_dir = kept(tmp_path / "run", config, build_task(config.task))
    with refused(ConfigError, "export_judge_no_transformers", match="as_trl"):
        export_discriminator(run_dir, tmp_path / "out")
    empty = tmp_path / "none"
    empty.mkdir()
    (empty / "config.json").write_text(json.dumps(to_dict(config)))
    with refused(CheckpointError, "no_trained_discriminator"):
        export_discriminator(empty, tmp_path / "out")


def test_an_adapter_belongs_to_the_model_that_it_was_trained_beside(made: Make, tmp_path: Path) -> None:
    run_dir = made("captions", judge_of(tmp_path, "llama", LORA))
    import transformers

    torch.manual_seed(5)
    other = transformers.AutoConfig.from_pretrained(str(tmp_path / "model"))
    transformers.AutoModelForCausalLM.from_config(other).save_pretrained(str(tmp_path / "model"))
    with refused(CheckpointError, "export_judge_other_base"):
        export_discriminator(run_dir, tmp_path / "out")
    texts, expected = judged(run_dir)
    export_discriminator(run_dir, tmp_path / "merged", merges=True)
    torch.testing.assert_close(by_transformers(tmp_path / "merged", texts), expected, atol=1e-5, rtol=0)
