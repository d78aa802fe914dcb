"""Models that somebody trained before: in a folder, or on the Hugging Face hub. Files of one are found here.

What is read is plain data: settings as JSON, weights as safetensors. Code that comes with a model is never executed.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from .errors import ConfigError, DataError, nearest
from .extras import install_command
from .settings import IsFile, Settings

CONFIG_FILE = "config.json"
"""Says which architecture a model has."""

CLASSIFIER_READS = "rlgan_reads"
"""Entry of the config.json of an exported discriminator: what of a prompt and a completion it reads, and how."""

READS_RENDERED = "rendered"
"""What it says where prompts are read as the chat template of another model writes them, which its folder has not."""

_PATIENCE_S = 10.0  # as the hub's own client waits for the headers of a file

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "generation_config.json", CONFIG_FILE,
)  # fmt: skip
"""What is read of a model by who reads its tokens alone."""

WEIGHT_FILES = (CONFIG_FILE, "generation_config.json", "*.safetensors", "model.safetensors.index.json")
"""What is read of a model by who reads its weights."""


class ModelFolder(Settings):
    """A folder with a model, as written by `save_pretrained` of transformers."""

    kind: Literal["folder"] = "folder"
    path: Annotated[str, IsFile()] = Field(min_length=1)
    """The folder with config.json, model.safetensors, tokenizer.json and tokenizer_config.json."""

    @property
    def shown(self) -> str:
        """How messages call it."""
        return self.path

    @property
    def found_by(self) -> tuple[str, str | None]:
        """What `from_pretrained` of transformers finds it by, from any folder: a name, and a revision."""
        return str(Path(self.path).expanduser().absolute()), None


class HubModel(Settings):
    """A model of the Hugging Face hub. It is downloaded once and then read from the cache of huggingface_hub."""

    kind: Literal["hub"] = "hub"
    name: str = Field(min_length=1)
    """Its name on the hub, such as "Qwen/Qwen2.5-0.5B-Instruct"."""
    revision: str | None = None
    """Branch, tag or commit; null for the newest commit of the main branch."""
    offline: bool = False
    """Whether to use only files that are already on this machine."""

    @property
    def shown(self) -> str:
        """How messages call it."""
        return self.name

    @property
    def found_by(self) -> tuple[str, str | None]:
        """See `ModelFolder.found_by`."""
        return self.name, self.revision


ModelSource = Annotated[ModelFolder | HubModel, Field(discriminator="kind")]
"""Where the files of a model are."""


def model_source(name: str) -> ModelFolder | HubModel:
    """A model by the folder or the name on the hub that a person gives: a folder, where there is one."""
    if Path(name).expanduser().exists() or name.startswith((".", "/", "~")) or name.count("/") != 1:
        return ModelFolder(path=name)
    return HubModel(name=name)


def require_language_models(wanted: str) -> None:
    """See to it that the libraries of the extra `lm` are there.

    Args:
        wanted: what needs them, for the message.

    Raises:
        ConfigError: one is missing.
    """
    missing = [name for name in ("transformers", "peft") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            (
                f"{wanted}: needs the package {missing[0]}, which is not installed. Install the extra `lm` "
                f"({install_command('lm')})."
            ),
            code="language_models_package_missing",
            fields={"package": missing[0]},
        )


def folder_of(source: ModelFolder | HubModel, files: Sequence[str]) -> Path:
    """The folder in which files of a model lie, fetched from the hub where they are not on this machine yet.

    Args:
        source: where the model is.
        files: names or patterns of what is needed.

    Raises:
        DataError: there is no such folder or model, or no way to it.
    """
    return _folder(source) if isinstance(source, ModelFolder) else _fetched(source, files)


def _folder(source: ModelFolder) -> Path:
    folder = Path(source.path).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise DataError(
            f"{source.path}: is a file, not a folder. Give the folder of a model, with config.json and tokenizer.json.",
            code="model_is_file",
            fields={"path": source.path},
        )
    siblings = [entry.name for entry in folder.parent.iterdir()] if folder.parent.is_dir() else []
    raise DataError(
        (
            f"{source.path}: no such folder. Give the folder of a model, or its name on the hub, such as "
            "Qwen/Qwen2.5-0.5B-Instruct."
        )
        + nearest(folder.name, siblings),
        code="model_folder_missing",
        fields={"path": source.path},
    )


def _fetched(source: HubModel, files: Sequence[str]) -> Path:
    require_language_models(f"model {source.name}")
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    by_hand = (
        f"On a machine with network run `hf download {source.name} --local-dir {source.name.rpartition('/')[2]}`, "
        "copy that folder to this machine, and give its path as the model."
    )
    why_not = "offline is true" if source.offline else "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else None
    here = "" if Path(source.name).exists() else "there is no such folder here, "  # a name may be a path mistyped
    try:
        if why_not is None:
            why_not = _why_unreachable(source)
        found = snapshot_download(
            source.name,
            revision=source.revision,
            allow_patterns=list(files),
            local_files_only=why_not is not None,
        )
    except HFValidationError as error:
        raise DataError(
            f"model {source.name!r}: is not a valid name on the hub ({error}). Give OWNER/NAME.",
            code="model_name_invalid",
            fields={"model": source.name},
        ) from None
    except GatedRepoError:
        raise DataError(
            (
                f"model {source.name}: its owner requires you to accept terms first. Accept them on the model's page "
                "on the hub, and log in with `hf auth login`."
            ),
            code="model_needs_consent",
            fields={"model": source.name},
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise DataError(
            (
                f"model {source.name}: the hub has no model of this name and revision, or it is private "
                f"({type(error).__name__}). Correct the name, or log in with `hf auth login`."
            ),
            code="model_not_on_hub",
            fields={"model": source.name, "revision": source.revision},
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        why = why_not or f"the hub cannot be reached ({_first_line(error)})"
        raise DataError(
            f"model {source.name}: {here}{why}, and its files are not in {constants.HF_HUB_CACHE}. {by_hand}",
            code="model_not_fetched",
            fields={"model": source.name},
        ) from None
    return Path(found)


def _why_unreachable(source: HubModel) -> str | None:
    """Why the hub gives no answer, as a clause; None where it answers.

    A download has no time limit of its own: where a network swallows what is sent, it would wait for ever.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        HfApi().repo_info(source.name, revision=source.revision, timeout=_PATIENCE_S)
    except (HFValidationError, RepositoryNotFoundError, RevisionNotFoundError):
        raise  # an answer, which says what is wrong with the name
    except Exception as error:  # of whichever library the hub's client sends by: they have no base in common
        if "Timeout" in type(error).__name__:
            return f"the hub did not answer within {_PATIENCE_S:.0f} seconds"
        return f"the hub cannot be reached ({_first_line(error)})"
    return None


def _first_line(error: Exception) -> str:
    return textwrap.shorten((str(error).strip() or type(error).__name__).splitlines()[0], 120, placeholder=" …")


def read_config(source: ModelFolder | HubModel) -> dict[str, Any]:
    """What config.json of a model says.

    Raises:
        DataError: there is none, or it is no JSON object.
    """
    path = folder_of(source, WEIGHT_FILES) / CONFIG_FILE
    if not path.is_file():
        raise DataError(
            (
                f"{source.shown}: has no config.json, which describes the model. Give a folder written by "
                "save_pretrained of transformers."
            ),
            code="model_config_missing",
            fields={"model": source.shown},
        )
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as JSON ({error}). Restore the file.",
            code="model_config_unreadable",
            fields={"path": path},
        ) from None
    if not isinstance(found, dict):
        raise DataError(
            f"{path}: does not contain a JSON object. Restore the file.",
            code="model_config_no_object",
            fields={"path": path},
        )
    return found
