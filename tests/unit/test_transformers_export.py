"""Language models of runs as folders that transformers loads: the same logits, the same tokenizer, and a card."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import rlgan
from rlgan.base.errors import CheckpointError, ConfigError
from rlgan.base.weights import weights_of
from rlgan.config.config import Config
from rlgan.config.paths import to_dict
from rlgan.envs.tasks import DemonstrationsTask, Task, build_task
from rlgan.generators import CausalLM, Generator, build_generator
from rlgan.presets.registry import preset
from rlgan.runs.data import write_run_data
from rlgan.runs.exporting import export
from rlgan.storage.export import load_run_generator, save_run_generator
from tests.support.commands import ask
from tests.support.errors import refused
from tests.support.language_models import chats, require, write_model, write_records, write_tokenizer
from tests.support.tiny import TASK, tiny_config

LORA = {"kind": "lora", "rank": 2}
Make = Callable[..., Path]


@pytest.fixture
def made(tmp_path: Path) -> Make:
    """The folder of a run of a language model, whose weights are no longer those that it began with."""
    require()

    def make(architecture: str = "qwen2", training: dict[str, Any] | None = None, **weights: Any) -> Path:
        write_tokenizer(tmp_path / "model")
        write_model(tmp_path / "model", architecture)
        write_records(tmp_path / "chat.jsonl", chats(40))
        source = {"kind": "folder", "path": str(tmp_path / "model")}
        given = {"demonstrations": str(tmp_path / "chat.jsonl"), "model": source, "max_length": 8}
        task = DemonstrationsTask.model_validate(given)
        settings = CausalLM.model_validate({"weights": weights or source, "training": training or {"kind": "whole"}})
        config = preset("sft", task).model_copy(update={"generator": settings.settled(), "seed": 7})
        return kept(tmp_path / "run", config, build_task(task))

    return make


def kept(folder: Path, config: Config, task: Task) -> Path:
    folder.mkdir()
    torch.manual_seed(3)
    generator = build_generator(config.generator, task.space)
    generator.take_files()
    for parameter in generator.parameters():
        if parameter.requires_grad:
            parameter.data += 0.3 * torch.randn_like(parameter)
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    write_run_data(folder, config, task)
    save_run_generator(folder, config.generator, task, weights_of(generator, 1).complete)
    return folder


def differences(run_dir: Path, folder: Path) -> float:
    """Between log-probabilities of the run's generator, and of what transformers loads."""
    import transformers

    exported = load_run_generator(run_dir)
    model = transformers.AutoModelForCausalLM.from_pretrained(str(folder)).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    asked = [{"role": "user", "content": "how are you, 3?"}]
    assert exported.reading is not None and exported.model_tokens is not None
    conditions = exported.read_sources(["how are you, 3?"], "test").conditions
    ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    written = torch.tensor([[70, 71, 72, 73, 74, 75, 76, 77]])
    with torch.no_grad():
        own = exported.generator.conditional(conditions).logits(written)
        whole = torch.cat([ids["input_ids"], written[:, :-1]], 1)
        theirs = model(input_ids=whole).logits[:, ids["input_ids"].shape[1] - 1 :, : own.shape[2]]
    assert own.shape == theirs.shape
    return float((own - theirs).abs().max())


@pytest.mark.parametrize(
    ("architecture", "how"),
    [("gpt2", "whole"), ("gpt2", "merged"), ("gpt2", "adapter"), ("llama", "merged"), ("llama", "adapter")],
)
def test_exported_model_has_the_logits_of_the_run(architecture: str, how: str, made: Make, tmp_path: Path) -> None:
    run_dir = made(architecture, None if how == "whole" else LORA)
    saved = export(run_dir, tmp_path / "out", merges=how == "merged")
    assert saved.is_adapter == (how == "adapter")
    assert (tmp_path / "out" / "adapter_model.safetensors").exists() == saved.is_adapter
    assert differences(run_dir, tmp_path / "out") < 1e-4
    assert not list(tmp_path.glob(".out-*"))


def test_pipeline_writes_from_the_folder(made: Make, tmp_path: Path) -> None:
    import transformers

    export(made(), tmp_path / "out")
    write = transformers.pipeline("text-generation", str(tmp_path / "out"))
    transformers.set_seed(0)
    answer = write([{"role": "user", "content": "how are you, 3?"}])[0]["generated_text"][-1]
    assert answer["role"] == "assistant"
    settings = transformers.GenerationConfig.from_pretrained(str(tmp_path / "out"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "out"))
    assert settings.max_new_tokens == 8 and settings.top_k == 0 and settings.do_sample
    assert tokenizer.convert_ids_to_tokens(settings.eos_token_id) == "<|im_end|>"
    # The model has ten ids more than the tokenizer, which nobody means.
    assert settings.suppress_tokens == list(range(len(tokenizer), len(tokenizer) + 10))


def test_card_says_what_it_is_of(made: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = made("qwen2", LORA)
    rows = [
        {"name": "MLE start", "temperature": 1.0, "chrf": 12.5},
        {"name": "sft (this run)", "temperature": 1.0, "chrf": 13.25},
    ]
    (run_dir / "table.json").write_text(json.dumps(rows))
    answer = ask(capsys, "export", "--run", run_dir, "--to", tmp_path / "out")
    assert answer.status == 0 and answer.out.strip() == str(tmp_path / "out"), answer
    card = (tmp_path / "out/README.md").read_text()
    assert card.startswith('---\nlibrary_name: "peft"\n') and "- seed: 7" in card and "`sft`" in card
    assert "| MLE start | 1.000 | 12.500 |" in card and "chat.jsonl" in card and "sha256" in card
    again = ask(capsys, "export", "--run", run_dir, "--to", tmp_path / "out")
    assert again.status == 2 and "not an empty folder" in again.err


def test_adapter_belongs_to_the_model_that_it_was_trained_beside(made: Make, tmp_path: Path) -> None:
    run_dir = made("qwen2", LORA)
    import transformers

    torch.manual_seed(5)
    config = transformers.AutoConfig.from_pretrained(str(tmp_path / "model"))
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(str(tmp_path / "model"))
    with refused(CheckpointError, "export_other_base"):
        export(run_dir, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    run = rlgan.load(run_dir)
    run.export(tmp_path / "merged", merge=True)  # which needs no other folder
    assert differences(run_dir, tmp_path / "merged") < 1e-4


def test_adapter_beside_random_weights_is_merged(made: Make, tmp_path: Path) -> None:
    run_dir = made(training=LORA, kind="fresh", width=16, layers=2, heads=2)
    with refused(ConfigError, "export_adapter_of_nothing"):
        export(run_dir, tmp_path / "out")
    export(run_dir, tmp_path / "out", merges=True)
    assert differences(run_dir, tmp_path / "out") < 1e-4


def test_what_cannot_be_exported_is_told_with_what_can(made: Make, tmp_path: Path) -> None:
    with refused(ConfigError, "export_nothing_to_merge"):
        export(made(), tmp_path / "out", merges=True)
    task = build_task(TASK)
    config = tiny_config()
    other = tmp_path / "lstm"
    other.mkdir()
    (other / "config.json").write_text(json.dumps(to_dict(config)))
    write_run_data(other, config, task)
    generator: Generator = build_generator(config.generator, task.space)
    save_run_generator(other, config.generator, task, weights_of(generator, 1).complete)
    with refused(ConfigError, "export_no_transformers", match="rlgan register"):
        export(other, tmp_path / "out")
    assert not (tmp_path / "out").exists()
