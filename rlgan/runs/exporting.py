"""A run's language model, or its discriminator, as a folder for `transformers`: weights, tokenizer, model card."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from rlgan import __version__
from rlgan.base.errors import CheckpointError, ConfigError
from rlgan.base.files import cannot_write
from rlgan.base.pretrained import HubModel, ModelFolder
from rlgan.config.config import Config
from rlgan.config.paths import from_kept
from rlgan.discriminators import TextsOfRun
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.evaluation.verdict import FILE as VERDICT
from rlgan.evaluation.verdict import read_verdict
from rlgan.generators import SavedModel
from rlgan.report.final_table import TABLE
from rlgan.report.tables import to_markdown
from rlgan.storage.checkpoint import CONFIG, read_run_config
from rlgan.storage.discriminator_export import (
    DISCRIMINATOR_FILES,
    ExportedDiscriminator,
    load_run_discriminator,
)
from rlgan.storage.export import GENERATOR_FILES, ExportedGenerator, load_run_generator

from .data import RUN_DATA, KeptData, config_files, kept_data, located

CARD = "README.md"
"""The model card."""
_SHORT = ("name", "temperature")  # columns of the table that say which row it is
_MOST_COLUMNS = 8


NEEDED = (*GENERATOR_FILES, CONFIG, RUN_DATA)
"""Files of a run's folder without which no generator can be exported."""
NEEDED_OF_DISCRIMINATOR = (*DISCRIMINATOR_FILES, CONFIG, RUN_DATA)
"""Files of a run's folder without which no discriminator can be exported."""
FOR_THE_CARD = (TABLE, VERDICT)
"""Files that are there once the run has ended."""


def export(run_dir: Path, to: Path, *, merges: bool = False, trust_code: bool = False) -> SavedModel:
    """Write the generator of a run as a folder that `transformers` loads.

    Args:
        run_dir: folder of the run.
        to: folder to write; whatever fails, it is there whole or not at all.
        merges: whether an adapter becomes part of the weights.
        trust_code: see `rlgan.storage.export.load_run_generator`.

    Raises:
        ConfigError: the generator is no model of transformers, or writes tokens of the task's own; or there is nothing
            to merge, or an adapter alone would belong to no model.
        CheckpointError: `to` holds something, cannot be written, or the model beside the adapter has changed.
        DataError: the model beside the adapter is gone.
    """
    exported = load_run_generator(run_dir, trust_code=trust_code)
    kept = kept_data(run_dir, str(run_dir))
    config = located(from_kept(read_run_config(run_dir)), kept)
    with _whole_folder(to) as beside:
        saved = exported.generator.save_for_transformers(beside, config.generator.began_as, merges=merges)
        _save_tokenizer(exported, beside)
        (beside / CARD).write_text(_card(config, kept, run_dir, saved, exported), "utf-8")
    return saved


def export_discriminator(run_dir: Path, to: Path, *, merges: bool = False, trust_code: bool = False) -> SavedModel:
    """Write the discriminator of a run as a classifier with one label that `transformers` loads.

    Args:
        run_dir: folder of the run.
        to: folder to write; whatever fails, it is there whole or not at all.
        merges: whether an adapter becomes part of the weights.
        trust_code: see `rlgan.storage.discriminator_export.load_run_discriminator`.

    Raises:
        ConfigError: no classifier of transformers has its logits; or there is nothing to merge, or an adapter alone
            would belong to no model.
        CheckpointError: `to` holds something, cannot be written, or the model beside the adapter has changed; or the
            run has no discriminator.
        DataError: the model beside the adapter is gone.
    """
    exported = load_run_discriminator(run_dir, trust_code=trust_code)
    kept = kept_data(run_dir, str(run_dir))
    config = located(from_kept(read_run_config(run_dir)), kept)
    assert config.discriminator is not None, "it was read"
    judge = config.discriminator
    began = config.generator.began_as if judge.begins_as_generator else judge.began_as
    texts = TextsOfRun(exported.model_tokens, exported.reading is not None and exported.reading.is_chat)
    with _whole_folder(to) as beside:
        saved = exported.network.save_for_transformers(beside, began, texts, merges=merges)
        (beside / CARD).write_text(_card_of_judge(config, kept, run_dir, saved, exported, began), "utf-8")
    return saved


@contextmanager
def _whole_folder(to: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `to` when the block is through."""
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise CheckpointError(
            f"--to {to}: exists and is not an empty folder. Use another folder.",
            code="export_folder_taken",
            fields={"path": to},
        )
    try:
        to.absolute().parent.mkdir(parents=True, exist_ok=True)
        beside = Path(mkdtemp(prefix=f".{to.name}-", dir=to.absolute().parent))
    except OSError as error:
        raise cannot_write(to, error) from error
    try:
        yield beside
        beside.chmod(0o755)
        if to.exists():
            to.rmdir()
        os.replace(beside, to)
    except OSError as error:
        raise cannot_write(to, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _save_tokenizer(exported: ExportedGenerator, folder: Path) -> None:
    tokens = exported.model_tokens
    if tokens is None:
        raise ConfigError(
            "export: this run's tokens are the task's own and not those of a language model, so that there is no "
            "tokenizer for transformers. Export is for the task demonstrations; `rlgan register` puts any run's "
            "generator into MLflow, which serves it.",
            code="export_own_tokens",
        )
    tokenizer = tokens.loaded
    before = tokenizer.padding_side
    try:
        tokenizer.padding_side = "left"  # prompts of a batch end together
        tokenizer.save_pretrained(str(folder))
    finally:
        tokenizer.padding_side = before


# ---------------------------------------------------------------------------------------------------- model card


def _card(config: Config, kept: KeptData, run_dir: Path, saved: SavedModel, exported: ExportedGenerator) -> str:
    """Markdown behind the YAML that the hub reads."""
    pretrained = config.generator.began_as
    began = pretrained.shown if pretrained is not None else None
    name = run_dir.resolve().name
    head: dict[str, Any] = {
        "library_name": "peft" if saved.is_adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["rlgan", config.preset],
    }
    if began is not None and began.count("/") == 1 and not Path(began).exists():
        head["base_model"] = began
    lines = ["---", *_yaml(head), "---", "", f"# {name}", ""]
    lines += [f"A causal language model that rlgan {__version__} trained by the preset `{config.preset}`.", ""]
    verdict = read_verdict(run_dir)
    if verdict is not None:
        lines += ["## Verdict", "", *(f"- {one}" for one in verdict.sentences), ""]
    lines += ["## Use", "", "```python", *_use(saved, exported), "```", ""]
    lines += _training(config, saved, began, exported.space)
    lines += ["## Data", "", *_data(config, kept), ""]
    lines += _table(run_dir)
    return "\n".join(lines).rstrip() + "\n"


def _training(config: Config, saved: SavedModel, began: str | None, space: SequenceSpace) -> list[str]:
    task = config.task
    prompts = f", prompts of at most {space.condition.max_length - 1}" if space.condition else ""
    facts = {
        "began as": began or "random weights",
        **({"sha256 of the model beside the adapter": saved.digest} if saved.digest else {}),
        "task": f"{task.kind}; completions of at most {space.max_length} tokens{prompts}",
        "seed": config.seed,
        "reward": config.reward.kind if config.schedule.adversarial_updates else "none: maximum likelihood only",
        "discriminator": "none" if config.discriminator is None else config.discriminator.kind,
        "epochs of maximum likelihood": config.schedule.mle_epochs,
        "generator updates": config.schedule.adversarial_updates * config.schedule.g_steps,
    }
    return ["## Training", "", *(f"- {key}: {value}" for key, value in facts.items()), ""]


def _card_of_judge(
    config: Config,
    kept: KeptData,
    run_dir: Path,
    saved: SavedModel,
    exported: ExportedDiscriminator,
    source: ModelFolder | HubModel | None,
) -> str:
    """Markdown behind the YAML that the hub reads."""
    began = source.shown if source is not None else None
    head: dict[str, Any] = {
        "library_name": "peft" if saved.is_adapter else "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["rlgan", config.preset, "reward-model"],
    }
    if began is not None and began.count("/") == 1 and not Path(began).exists():
        head["base_model"] = began
    asked = "text" if exported.space.condition is None else "prompt, completion"
    is_chat = exported.reading is not None and exported.reading.is_chat
    lines = ["---", *_yaml(head), "---", "", f"# Discriminator of {run_dir.resolve().name}", ""]
    lines += [
        f"The discriminator that rlgan {__version__} trained by the preset `{config.preset}`, with one label. Its "
        "logit is higher the more a text looks like the training data; it compares texts of this run's generator "
        "with those, and says nothing of other texts.",
        "",
        "## Use",
        "",
        "```python",
        *([f"# needs the library peft and the model {saved.base}"] if saved.is_adapter else []),
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained("path/of/this/folder")',
        'model = AutoModelForSequenceClassification.from_pretrained("path/of/this/folder", num_labels=1)',
        *(["model.config.pad_token_id = tokenizer.pad_token_id"] if saved.is_adapter else []),
        f'logit = model(**tokenizer({asked}, return_tensors="pt")).logits[0, 0]',
        "```",
        "",
        *(["`prompt` is what the chat template of the generator's tokenizer writes, with the generation prompt.", ""]
          if is_chat else []),
    ]  # fmt: skip
    lines += _training(config, saved, began, exported.space)
    lines += ["## Data", "", *_data(config, kept), ""]
    lines += _table(run_dir)
    return "\n".join(lines).rstrip() + "\n"


def _yaml(values: Mapping[str, Any]) -> list[str]:
    # JSON strings are YAML strings, whatever is in them.
    lines = []
    for key, value in values.items():
        if isinstance(value, list):
            lines += [f"{key}:", *(f"- {json.dumps(one)}" for one in value)]
        else:
            lines.append(f"{key}: {json.dumps(value)}")
    return lines


def _use(saved: SavedModel, exported: ExportedGenerator) -> list[str]:
    is_chat = exported.reading is not None and exported.reading.is_chat
    asked = '[{"role": "user", "content": "..."}]' if is_chat else '"..."'
    return [
        *([f"# needs the library peft and the model {saved.base}"] if saved.is_adapter else []),
        "from transformers import pipeline",
        "",
        'write = pipeline("text-generation", "path/of/this/folder")',
        f"print(write({asked}))",
    ]


def _data(config: Config, kept: KeptData) -> list[str]:
    lines = []
    for path, name in config_files(config).items():
        if path.startswith("task.") and not path.startswith("task.model"):
            known = kept.files.get(path, {})
            size = f", {known['num_bytes']:,} bytes" if known.get("num_bytes") else ""
            digest = f", sha256 {known['sha256']}" if known.get("sha256") else ""
            lines.append(f"- {path.removeprefix('task.')}: {Path(name).name}{size}{digest}")
    for split, part in kept.parts.items():
        if split in ("train", "valid", "test"):
            noun = "sequences" if config.task.has_real_sequences else "prompts"
            lines.append(f"- {split}: {part['num']:,} {noun}")
    if kept.fingerprint:
        lines.append(f"- fingerprint: {kept.fingerprint}")
    return lines or ["- not known"]


def _table(run_dir: Path) -> list[str]:
    """The final table, with the control beside the run."""
    path = run_dir / TABLE
    if not path.exists():
        return ["## Figures", "", "The run has not ended, and nothing was measured at its end.", ""]
    rows: Sequence[Mapping[str, Any]] = json.loads(path.read_text("utf-8"))
    columns = dict.fromkeys(name for row in rows for name in row)
    shown = [*_SHORT, *[name for name in columns if name not in _SHORT][: _MOST_COLUMNS - len(_SHORT)]]
    return [
        "## Figures",
        "",
        "On the test split: the run and its controls. For the meaning of each metric see docs/metrics.md of rlgan.",
        "",
        to_markdown(rows, shown),
        "",
    ]
