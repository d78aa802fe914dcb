"""The weights of a folder, or of a model of the hub, into a network of `transformers`."""

from __future__ import annotations

import torch
from torch import nn

from rlgan.base.errors import DataError
from rlgan.base.pretrained import WEIGHT_FILES, HubModel, ModelFolder, folder_of

from .networks import base_model
from .quiet import quiet


@torch.no_grad()
def load_files(network: nn.Module, source: ModelFolder | HubModel, auto_class: str) -> int:
    """Put the weights of a folder or of the hub into a network; adapters stay as they are.

    Args:
        network: of the model's architecture, perhaps with adapters.
        source: where the files are.
        auto_class: class of transformers that reads them.

    Returns:
        Number of the model's weights.

    Raises:
        DataError: files are missing or damaged, or hold another model.
    """
    import transformers
    from safetensors import SafetensorError

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
    try:
        with quiet():
            loaded, about = getattr(transformers, auto_class).from_pretrained(
                str(folder), dtype=torch.float32, output_loading_info=True, local_files_only=True, use_safetensors=True
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise DataError(
            f"{source.shown}: its weights cannot be read ({str(error).splitlines()[0]}). Download the files again.",
            code="model_weights_unreadable",
            fields={"model": source.shown},
        ) from None
    if missing := sorted(about["missing_keys"]):
        raise DataError(
            (
                f"{source.shown}: {len(missing)} of the model's weights are missing ({', '.join(missing[:3])}). "
                "Download its files again, or give a folder with the whole model instead of an adapter."
            ),
            code="model_weights_incomplete",
            fields={"model": source.shown},
        )
    own = base_model(network)
    for path, part in loaded.named_modules():
        target = own.get_submodule(path)
        target = getattr(target, "base_layer", target)
        for name, parameter in part._parameters.items():
            if parameter is not None:
                target._parameters[name].data.copy_(parameter)
    return sum(parameter.numel() for parameter in loaded.parameters())
