"""From settings to a network of `transformers`, and the weights of a folder into it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from rlgan.base.errors import ConfigError, DataError
from rlgan.base.pretrained import (
    WEIGHT_FILES,
    HubModel,
    ModelFolder,
    folder_of,
    require_language_models,
)
from rlgan.envs.sequence_space import SequenceSpace

from .attention import IMPLEMENTATION, register
from .settings import CausalLM, FreshWeights, LoRA

_UNIFORM_HEAD = ("final_logit_softcapping", "logit_scale", "logits_scaling")


def needed_positions(space: SequenceSpace) -> int:
    """Tokens that are read at most: a prompt, or the start, and all of a sequence but its last token."""
    given = space.condition
    if given is None:
        return space.max_length
    # A terminator that is none of the model's tokens is not read.
    return given.max_length - _is_mark(space) + space.max_length


def _is_mark(space: SequenceSpace) -> bool:
    """Whether the terminator of conditions is no token of sequences, so that a network does not read it."""
    return space.condition is not None and space.condition.end_id == space.vocab_size


def build_network(settings: CausalLM, space: SequenceSpace) -> nn.Module:
    """A language model with random weights, by torch's global random state, with adapters where they are asked for.

    Raises:
        ConfigError: sequences do not fit into it, adapters fit nowhere, or a library is missing.
        DataError: there is no such model.
    """
    require_language_models("generator='causal_lm'")
    import transformers

    register()
    config = _fresh(settings.weights, space) if isinstance(settings.weights, FreshWeights) else None
    if config is None:
        values = dict(settings.settled().config or {})
        name = values.pop("model_type")
        for one in ("torch_dtype", "dtype", "quantization_config"):
            values.pop(one, None)
        config = transformers.AutoConfig.for_model(name, **values)
    _require_room(config, space, settings)
    with quiet():
        model = transformers.AutoModelForCausalLM.from_config(
            config, attn_implementation=IMPLEMENTATION, dtype=torch.float32
        )
    _require_known(model)
    if settings.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if isinstance(settings.training, LoRA):
        model = _with_adapters(model, settings.training)
    network: nn.Module = model
    if settings.dtype == "bfloat16":
        for parameter in network.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(torch.bfloat16)
    return network


def _fresh(weights: FreshWeights, space: SequenceSpace) -> Any:
    import transformers

    # A token that pads would have no gradient as an input, and where sequences end it stands for more than nothing.
    ids = {"bos_token_id": space.start_id, "eos_token_id": space.end_id, "pad_token_id": None}
    common = {"vocab_size": space.vocab_size, "tie_word_embeddings": weights.tied, **ids}
    inner, positions = weights.expansion * weights.width, needed_positions(space)
    if weights.architecture == "gpt2":
        rates = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), weights.dropout)
        return transformers.GPT2Config(
            n_embd=weights.width,
            n_layer=weights.layers,
            n_head=weights.heads,
            n_inner=inner,
            n_positions=positions,
            **rates,
            **common,
        )
    kind = transformers.LlamaConfig if weights.architecture == "llama" else transformers.Qwen2Config
    return kind(
        hidden_size=weights.width,
        num_hidden_layers=weights.layers,
        num_attention_heads=weights.heads,
        num_key_value_heads=weights.key_value_heads or weights.heads,
        intermediate_size=inner,
        max_position_embeddings=positions,
        attention_dropout=weights.dropout,
        **common,
    )


def _require_room(config: Any, space: SequenceSpace, settings: CausalLM) -> None:
    shown = "generator" if isinstance(settings.weights, FreshWeights) else settings.weights.shown
    if config.vocab_size < space.vocab_size:
        raise ConfigError(
            (
                f"{shown}: its model has {config.vocab_size} tokens, but the task's sequences have {space.vocab_size}. "
                "Use the tokenizer of this model in the task."
            ),
            code="model_has_other_tokens",
            fields={"uri": shown},
        )
    given = space.condition
    if given is not None and given.vocab_size - _is_mark(space) > space.vocab_size:
        raise ConfigError(
            (
                f"generator='causal_lm': needs one vocabulary, but prompts have {given.vocab_size} tokens and "
                f"sequences {space.vocab_size}. Set task.vocabulary to shared."
            ),
            code="vocabulary_not_shared",
            fields={"generator": "causal_lm"},
        )
    most, needed = getattr(config, "max_position_embeddings", None), needed_positions(space)
    if most is not None and needed > most:
        of_prompt = 0 if given is None else given.max_length - _is_mark(space)
        raise ConfigError(
            (
                f"{shown}: its model reads at most {most} tokens, but a prompt of {of_prompt} and a completion of "
                f"{space.max_length} have {of_prompt + space.max_length}. Reduce task.max_prompt_length or "
                f"task.max_length so that their sum is at most {most}."
            ),
            code="model_context_too_short",
            fields={"uri": shown},
        )


def _require_known(model: nn.Module) -> None:
    """See to it that attention goes by the name that was registered."""
    if not getattr(model, "_supports_attention_backend", False):
        raise ConfigError(
            (
                f"generator: {type(model).__name__} uses its own attention code, which the sampler does not support. "
                "Use a model of another architecture, such as Llama, Qwen2, Mistral or GPT-2."
            ),
            code="attention_not_supported",
            fields={"architecture": type(model).__name__},
        )


def _with_adapters(model: Any, lora: LoRA) -> Any:
    import peft

    settings = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=2 * lora.rank if lora.alpha is None else lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) or "all-linear",
        # GPT-2 keeps its linear layers transposed.
        fan_in_fan_out=any(type(part).__name__ == "Conv1D" for part in model.modules()),
        task_type="CAUSAL_LM",
    )
    try:
        with quiet():
            return peft.get_peft_model(model, settings)
    except ValueError as error:
        if "arget modules" not in str(error):
            raise
        linear = {
            name.rpartition(".")[2]
            for name, part in model.named_modules()
            if isinstance(part, nn.Linear) or type(part).__name__ == "Conv1D"
        }
        raise ConfigError(
            (
                f"generator.training.targets={list(lora.targets)}: match no layer of {type(model).__name__}. Its "
                f"linear layers are {', '.join(sorted(linear))}. Give some of these, or set it to [] for all."
            ),
            code="no_such_layer",
            fields={"generator.training.targets": list(lora.targets)},
        ) from None


def language_model(network: nn.Module) -> Any:
    """The model itself, inside of what adapters wrap around it."""
    find = getattr(network, "get_base_model", None)
    return network if find is None else find()


def has_plain_output(model: Any) -> bool:
    """Whether logits are no more than the output layer's product, so that its weight may be read instead of it."""
    config = model.config
    return isinstance(model.get_output_embeddings(), nn.Linear) and all(
        getattr(config, name, None) is None for name in _UNIFORM_HEAD
    )


@torch.no_grad()
def load_files(network: nn.Module, source: ModelFolder | HubModel) -> int:
    """Put the weights of a folder or of the hub into a network; adapters stay as they are.

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
            loaded, about = transformers.AutoModelForCausalLM.from_pretrained(
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
    own = language_model(network)
    for path, part in loaded.named_modules():
        target = own.get_submodule(path)
        target = getattr(target, "base_layer", target)
        for name, parameter in part._parameters.items():
            if parameter is not None:
                target._parameters[name].data.copy_(parameter)
    return sum(parameter.numel() for parameter in loaded.parameters())


@contextmanager
def quiet() -> Iterator[None]:
    """Keep `transformers` from showing bars and warning of its own within the block."""
    from transformers.utils import logging as of_transformers

    level = of_transformers.get_verbosity()
    had_bar = of_transformers.is_progress_bar_enabled()
    of_transformers.set_verbosity(logging.CRITICAL)
    of_transformers.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        of_transformers.set_verbosity(level)
        if had_bar:
            of_transformers.enable_progress_bar()
