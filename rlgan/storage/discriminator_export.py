"""A trained discriminator on its own: weights, architecture and vocabulary, without the data it was trained on.

A run folder holds `discriminator.safetensors` and `discriminator.json`, written together, beside the generator's; both
are plain data and safe to load from strangers. Of a network of the user's own the source stands in the description, as
in the generator's (`rlgan.storage.export`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rlgan.base.errors import CheckpointError, PluginError
from rlgan.base.files import write_atomically
from rlgan.discriminators import Discriminator, DiscriminatorSettings, build_discriminator
from rlgan.envs.model_tokens import ModelTokens
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks.prompts import PromptReading
from rlgan.envs.tasks.sources import Reading
from rlgan.envs.tasks.task import Task
from rlgan.envs.vocabulary import Joining
from rlgan.extensions import kept_text, reading_a_folder

from .export import (
    admit_network,
    condition_names_of,
    joining_of,
    model_tokens_of,
    names_of,
    reading_of,
    space_of,
    texts_of,
)

_WEIGHTS, _DESCRIPTION = "discriminator.safetensors", "discriminator.json"
DISCRIMINATOR_FILES = (_WEIGHTS, _DESCRIPTION)
"""Names of the files that hold the discriminator, in a run's folder."""


@dataclass(frozen=True)
class ExportedDiscriminator:
    """A discriminator that can judge.

    Attributes:
        network: in evaluation mode.
        space: the sequences that it judges, and what they are given.
        token_names: how each id is shown.
        joining: how tokens become text.
        condition_names: how each id of what they are given is shown; None where they are given nothing.
        reward: settings of the reward of its run, as a configuration has them.
        reading: how sources or prompts become what sequences are given; None where they are given nothing, or no text.
        model_tokens: of the language model in whose tokens sequences are written; None where they are the task's own.
    """

    network: Discriminator
    space: SequenceSpace
    token_names: tuple[str, ...]
    joining: Joining
    condition_names: tuple[str, ...] | None
    reward: Mapping[str, Any]
    reading: Reading | PromptReading | None = None
    model_tokens: ModelTokens | None = None


def save_run_discriminator(
    run_dir: Path, settings: DiscriminatorSettings, reward: Mapping[str, Any], task: Task, weights: Mapping[str, Tensor]
) -> None:
    """Write the discriminator of a run into its folder.

    Args:
        run_dir: folder of the run.
        settings: architecture.
        reward: settings of the run's reward, as a configuration has them.
        task: for its sequences and vocabulary.
        weights: parameter name → tensor.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    description = {
        "discriminator": settings.model_dump(mode="json"),
        "source": kept_text(settings),
        "reward": dict(reward),
        **names_of(task),
        **texts_of(task),
    }
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
    write_atomically(run_dir / _WEIGHTS, lambda path: save_file(tensors, path))
    write_atomically(
        run_dir / _DESCRIPTION, lambda path: path.write_text(json.dumps(description, ensure_ascii=False), "utf-8")
    )


def load_run_discriminator(run_dir: Path, *, trust_code: bool = False) -> ExportedDiscriminator:
    """Read the discriminator of a run.

    Args:
        run_dir: folder of the run.
        trust_code: whether code that came along with the folder may be executed; see `rlgan.extensions.admit`.

    Raises:
        CheckpointError: the folder holds none, or it is damaged; or the network is code that is not at hand, or may
            not be executed unasked.
        PluginError: the plug-in cannot be built.
    """
    try:
        description = json.loads((run_dir / _DESCRIPTION).read_text("utf-8"))
        settings = _settings(description["discriminator"])
        admit_network(settings, run_dir, _DESCRIPTION, description.get("source"), trust_code)
        return exported_discriminator(settings, description["reward"], description, load_file(run_dir / _WEIGHTS))
    except (CheckpointError, PluginError):
        raise
    except FileNotFoundError as error:
        missing = Path(error.filename or _WEIGHTS).name  # safetensors does not say which
        raise CheckpointError(
            f"{run_dir}: contains no trained discriminator ({missing} is missing). Give the folder of a run that "
            "trains one.",
            code="no_trained_discriminator",
            fields={"path": run_dir},
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ValidationError, SafetensorError) as error:
        raise CheckpointError(
            f"{run_dir}: its discriminator cannot be read ({error}). Give one of the run's checkpoints.",
            code="damaged_discriminator",
            fields={"path": run_dir},
        ) from None


def _settings(values: Any) -> DiscriminatorSettings:
    with reading_a_folder():
        found: DiscriminatorSettings = TypeAdapter(DiscriminatorSettings).validate_python(values)
    return found


def exported_discriminator(
    settings: DiscriminatorSettings, reward: Mapping[str, Any], names: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> ExportedDiscriminator:
    """A discriminator of its parts.

    Args:
        settings: architecture; code of somebody's own was admitted.
        reward: settings of the run's reward, as a configuration has them.
        names: sequences and vocabulary, as `export.names_of` returns them and `generator.json` holds them.
        weights: parameter name → tensor.

    Raises:
        ValueError: names that do not fit.
        KeyError: something is missing.
        RuntimeError: weights of another architecture.
    """
    space, token_names = space_of(names), tuple(names["token_names"])
    if len(token_names) != space.vocab_size:
        raise ValueError(f"{len(token_names)} token names for {space.vocab_size} tokens")
    network = build_discriminator(settings, space)
    network.load_state_dict(dict(weights))
    condition_names = condition_names_of(names)
    return ExportedDiscriminator(
        network.eval(),
        space,
        token_names,
        joining_of(names),
        None if condition_names is None else tuple(condition_names),
        reward,
        reading_of(names),
        model_tokens_of(names),
    )
