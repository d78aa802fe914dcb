"""The weights of a folder, or of a model of the hub, into a network of `transformers`."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rlgan.base.errors import DataError
from rlgan.base.pretrained import WEIGHT_FILES, HubModel, ModelFolder, folder_of
from rlgan.base.tensor_files import read_tensors

from .networks import base_model
from .quiet import quiet

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_OF_ADAPTERS = re.compile(r"\.(base_layer|original_module|modules_to_save\.default)(?=\.)")


@torch.no_grad()
def load_files(
    network: nn.Module,
    source: ModelFolder | HubModel,
    may_lack: Callable[[str], bool] = lambda name: False,
) -> int:
    """Put the weights of a folder or of the hub into a network; adapters stay as they are.

    Args:
        network: of the model's architecture, perhaps with adapters.
        source: where the files are.
        may_lack: by its name, whether a weight may be missing; the network's own then stays as it is.

    Returns:
        Number of weights that were taken.

    Raises:
        DataError: files are missing or damaged, or hold another model.
    """
    folder = folder_of(source, WEIGHT_FILES)
    if not any(folder.glob("*.safetensors")):
        others = ", ".join(sorted(one.name for one in folder.glob("*.bin"))) or "no weights at all"
        raise DataError(
            (
                f"{source.shown}: has no *.safetensors ({others}). Give a folder with safetensors weights. To convert "
                "older files, load the model with transformers and call save_pretrained."
            ),
            code="model_weights_missing",
            fields={"model": source.shown},
        )
    model = base_model(network)
    try:
        stored = {name: one for path in _weight_files(folder) for name, one in read_tensors(path).items()}
        with quiet():
            loaded, about = type(model).from_pretrained(
                None,
                config=copy.deepcopy(model.config),
                state_dict=stored,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # which ones have another shape is told below, with the rest
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{source.shown}: its weights cannot be read ({str(error).splitlines()[0]}). Download the files again.",
            code="model_weights_unreadable",
            fields={"model": source.shown},
        ) from None
    other_shapes = {name: (list(found), list(own)) for name, found, own in about["mismatched_keys"]}
    if shapes := {name: pair for name, pair in sorted(other_shapes.items()) if not may_lack(name)}:
        first, (found, own) = next(iter(shapes.items()))
        raise DataError(
            (
                f"{source.shown}: {len(shapes)} of its weights have another shape than its config.json says: {first} "
                f"is {found}, and should be {own}. Restore config.json and weights of one and the same model."
            ),
            code="model_weights_of_other_sizes",
            fields={"model": source.shown, "weight": first},
        )
    lacking = {*about["missing_keys"], *other_shapes}
    held, number = sorted(about["unexpected_keys"]), len(list(loaded.named_parameters()))
    if held and 2 * len(lacking) > number:
        raise DataError(
            (
                f"{source.shown}: its files contain {number - len(lacking)} of the {number} weights of a "
                f"{type(loaded).__name__}, which its config.json describes, and others ({', '.join(held[:3])}). "
                "Restore config.json and weights of one and the same model."
            ),
            code="model_weights_of_another",
            fields={"model": source.shown},
        )
    if missing := sorted(name for name in lacking if not may_lack(name)):
        raise DataError(
            (
                f"{source.shown}: {len(missing)} of the model's weights are missing ({', '.join(missing[:3])}). "
                "Download its files again, or give a folder with the whole model instead of an adapter."
            ),
            code="model_weights_incomplete",
            fields={"model": source.shown},
        )
    return _take_weights(network, {name: one for name, one in loaded.named_parameters() if name not in lacking})


def save_adapter(network: Any, folder: Path, source: ModelFolder | HubModel) -> None:
    """Write a network's adapter as peft does, naming the model that it stands beside.

    Args:
        network: of peft.
        folder: to write into.
        source: of the model without the adapter.
    """
    name, revision = source.found_by
    adapter = next(iter(network.peft_config.values()))
    before = adapter.base_model_name_or_path, adapter.revision, adapter.inference_mode
    try:
        adapter.base_model_name_or_path, adapter.revision, adapter.inference_mode = name, revision, True
        with quiet():
            network.save_pretrained(str(folder))
    finally:
        adapter.base_model_name_or_path, adapter.revision, adapter.inference_mode = before
    (folder / "README.md").unlink(missing_ok=True)  # a page of peft, without a word on this run


def _weight_files(folder: Path) -> list[Path]:
    """The files of a model, as `save_pretrained` names them.

    Raises:
        OSError: they have other names.
        ValueError: their index is damaged.
    """
    index = folder / _INDEX
    if (folder / _WEIGHTS).exists() or not index.exists():
        return [folder / _WEIGHTS]
    try:
        return [folder / name for name in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{_INDEX} is damaged ({error!r})") from None


def _take_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> int:
    """Put weights of a model into a network that may have adapters around its layers; adapters stay as they are.

    Args:
        network: of the model's architecture; what it does not have is left out. What it trains is copied, the rest read
            where it lies.
        weights: of the model, by its own names.

    Returns:
        Number of weights that were taken.
    """
    own: dict[str, list[nn.Parameter]] = {}
    for name, parameter in base_model(network).named_parameters():
        own.setdefault(plain_name(name), []).append(parameter)
    number = 0
    for name, tensor in weights.items():
        for parameter in own.get(name, ()):
            if parameter.requires_grad:
                parameter.data.copy_(tensor)
            else:
                parameter.data = tensor.detach().to(parameter.dtype)
        number += tensor.numel() if name in own else 0
    return number


def plain_name(name: str) -> str:
    """The name that a model's parameter has without adapters around its layer."""
    return _OF_ADAPTERS.sub("", name)
