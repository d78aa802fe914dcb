"""A trained language model as a folder that `transformers` loads: all weights, or an adapter alone."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from torch import nn

from rlgan.base.errors import CheckpointError, ConfigError
from rlgan.base.pretrained import HubModel, ModelFolder
from rlgan.base.weights import Tensors, as_base
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators.generator import SavedModel
from rlgan.layers.pretrained import LoRA, base_model, load_files, quiet, save_adapter

from .architecture import build_network
from .settings import CausalLM


def save_model(
    network: nn.Module,
    settings: CausalLM,
    space: SequenceSpace,
    folder: Path,
    source: ModelFolder | HubModel | None,
    *,
    merges: bool,
) -> SavedModel:
    """Write a network as `save_pretrained` does.

    Args:
        network: trained; left as it is.
        settings: of the network.
        space: the task's sequences.
        folder: exists.
        source: where the model lies that the adapter was trained beside; None for random weights.
        merges: whether the adapter becomes part of the weights.

    Raises:
        ConfigError: there is no adapter to merge, or one alone would belong to no model.
        CheckpointError: the model at `source` is another one than the adapter was trained beside.
        DataError: there is no model at `source`.
    """
    has_adapter = isinstance(settings.training, LoRA)
    if merges and not has_adapter:
        raise ConfigError(
            "--merge: has no effect on this run, which trained all weights and has no adapter. Remove it.",
            code="export_nothing_to_merge",
        )
    if has_adapter and not merges:
        return _save_adapter(network, settings, space, folder, source)
    # A copy, for merging changes the weights.
    whole: Any = copy.deepcopy(network) if has_adapter else network
    model: Any = whole.float().merge_and_unload() if has_adapter else base_model(whole)
    model.generation_config = generation_config(space, model.config)
    with quiet():
        model.save_pretrained(str(folder))
    return SavedModel(is_adapter=False)


def _save_adapter(
    network: Any, settings: CausalLM, space: SequenceSpace, folder: Path, source: ModelFolder | HubModel | None
) -> SavedModel:
    if source is None:
        raise ConfigError(
            (
                "--merge: is missing. This run trained an adapter on random weights, which are in no other folder. Add "
                "--merge to write all weights."
            ),
            code="export_adapter_of_nothing",
        )
    own = _frozen(network)
    with quiet():
        other = build_network(settings, space)
    load_files(other, source)
    digest, found = as_base(own), as_base(_frozen(other))
    assert digest is not None and found is not None
    if digest.digest != found.digest:
        raise CheckpointError(
            (
                f"{source.shown}: contains other weights (sha256 {found.digest}) than those the adapter was trained "
                f"with ({digest.digest}). Restore the model, or add --merge to write all weights."
            ),
            code="export_other_base",
            fields={"path": source.shown},
        )
    save_adapter(network, folder, source)
    generation_config(space, base_model(network).config).save_pretrained(str(folder))
    return SavedModel(True, *source.found_by, digest.digest)


def _frozen(network: nn.Module) -> Tensors:
    return {name: value.detach() for name, value in network.named_parameters() if not value.requires_grad}


def generation_config(space: SequenceSpace, config: Any) -> Any:
    """How `generate` draws as the run did: from the whole distribution of the task's tokens, up to its greatest length.

    Args:
        space: the task's sequences.
        config: of the model, which may have more ids than the tokenizer; those are never drawn.
    """
    import transformers

    return transformers.GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=space.max_length,
        eos_token_id=space.end_id,
        bos_token_id=space.start_id,
        pad_token_id=space.end_id if space.padding_id is None else space.padding_id,
        suppress_tokens=list(range(space.vocab_size, config.vocab_size)) or None,
    )
