"""From settings to a causal language model of `transformers`: its layers, and whether sequences fit into it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from rlgan.base.errors import ConfigError
from rlgan.base.placeholders import give_trained_memory
from rlgan.base.pretrained import HubModel, ModelFolder, require_language_models
from rlgan.envs.model_tokens import ModelTokens
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.layers.pretrained import (
    FreshWeights,
    LoRA,
    built,
    fresh_architecture,
    keep_untrained_in,
    stored_architecture,
    with_adapters,
)

from .attention import IMPLEMENTATION, register
from .settings import CausalLM

_UNIFORM_HEAD = ("final_logit_softcapping", "logit_scale", "logits_scaling")


def needed_positions(space: SequenceSpace) -> int:
    """Tokens that are read at most: a prompt, or the start, and all of a sequence but its last token."""
    condition = space.condition
    if condition is None:
        return space.max_length
    # A terminator that is none of the model's tokens is not read.
    return condition.max_length - _is_mark(space) + space.max_length


def _is_mark(space: SequenceSpace) -> bool:
    """Whether the terminator of conditions is no token of sequences, so that a network does not read it."""
    return space.condition is not None and space.condition.end_id == space.vocab_size


def architecture_of(settings: CausalLM, space: SequenceSpace) -> Any:
    """What transformers builds its network from."""
    weights = settings.weights
    if not isinstance(weights, FreshWeights):
        return stored_architecture(settings.settled().config or {})
    # A token that pads would have no gradient as an input, and where sequences end it stands for more than nothing.
    ids = {"bos_token_id": space.start_id, "eos_token_id": space.end_id, "pad_token_id": None}
    size, positions = space.vocab_size, weights.positions or needed_positions(space)
    return fresh_architecture(weights, size, positions, tie_word_embeddings=weights.tied, **ids)


def build_network(settings: CausalLM, space: SequenceSpace) -> nn.Module:
    """A language model with random weights, by torch's global random state, with adapters where they are asked for.

    Where values follow (`rlgan.base.placeholders`) what is not trained is a placeholder.

    Raises:
        ConfigError: sequences do not fit into it, adapters fit nowhere, or a library is missing.
        DataError: there is no such model.
    """
    require_language_models("generator='causal_lm'")
    import transformers

    register()
    config = architecture_of(settings, space)
    _require_room(config, space, settings)
    model = built(
        lambda: transformers.AutoModelForCausalLM.from_config(
            config, attn_implementation=IMPLEMENTATION, dtype=torch.float32
        )
    )
    _require_known(model)
    if settings.checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    network: nn.Module = model
    if isinstance(settings.training, LoRA):
        network = with_adapters(model, settings.training, "generator", "CAUSAL_LM")
    if settings.dtype == "bfloat16":
        keep_untrained_in(network, torch.bfloat16)
    give_trained_memory(network)
    return network


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
    condition = space.condition
    if condition is not None and condition.vocab_size - _is_mark(space) > space.vocab_size:
        raise ConfigError(
            (
                f"generator='causal_lm': needs one vocabulary, but prompts have {condition.vocab_size} tokens and "
                f"sequences {space.vocab_size}. Set task.vocabulary to shared."
            ),
            code="vocabulary_not_shared",
            fields={"generator": "causal_lm"},
        )
    most, needed = getattr(config, "max_position_embeddings", None), needed_positions(space)
    if most is not None and needed > most:
        of_prompt = 0 if condition is None else condition.max_length - _is_mark(space)
        is_fresh = isinstance(settings.weights, FreshWeights)
        larger = "increase generator.weights.positions" if is_fresh else "use a model that reads more"
        raise ConfigError(
            (
                f"{shown}: its model reads at most {most} tokens, but a prompt of {of_prompt} and a completion of "
                f"{space.max_length} have {of_prompt + space.max_length}. Reduce task.max_prompt_length or "
                f"task.max_length so that their sum is at most {most}, or {larger}."
            ),
            code="model_context_too_short",
            fields={"uri": shown},
        )


def require_same_tokens(source: ModelFolder | HubModel, space: SequenceSpace) -> None:
    """See to it that the ids of a model mean what those of a task mean, where the model has a tokenizer beside it.

    The task may be of another model, or of a teacher that writes in the tokens of another.

    Args:
        source: of the model.
        space: the task's sequences.

    Raises:
        ConfigError: they do not.
        DataError: there is no such model, or its tokenizer cannot be used.
    """
    tokens = None if space.spelling is None else ModelTokens.found_with(source)
    if tokens is None or space.spelling is None:
        return
    names = space.spelling.names
    place = next((id_ for id_, (own, task) in enumerate(zip(tokens.names, names, strict=False)) if own != task), None)
    if place is None and len(tokens.names) < len(names):
        place = len(tokens.names)
    if place is not None:
        own = repr(tokens.names[place]) if place < len(tokens.names) else "none"
        raise ConfigError(
            f"{source.shown}: its token {place} is {own}, but that of the task's sequences is {names[place]!r}. Use a "
            "model with the tokenizer of the task, or of its teacher, or set generator.weights to fresh.",
            code="model_of_other_tokenizer",
            fields={"uri": source.shown, "token": place},
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


def has_plain_output(model: Any) -> bool:
    """Whether logits are no more than the output layer's product, so that its weight may be read instead of it."""
    config = model.config
    return isinstance(model.get_output_embeddings(), nn.Linear) and all(
        getattr(config, name, None) is None for name in _UNIFORM_HEAD
    )
