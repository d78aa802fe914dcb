"""From settings to what `transformers` builds a network from; adapters around one, and the model inside of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rlgan.base.errors import ConfigError
from rlgan.base.placeholders import do_values_follow, is_placeholder, placeholder, put_placeholders, without_values

from .quiet import quiet
from .settings import FreshModel, LoRA


def stored_architecture(values: dict[str, Any]) -> Any:
    """What transformers builds a network from: the content of a config.json, less what says nothing of its layers."""
    import transformers

    values = dict(values)
    name = values.pop("model_type")
    for one in ("torch_dtype", "dtype", "quantization_config"):
        values.pop(one, None)
    return transformers.AutoConfig.for_model(name, **values)


def fresh_architecture(weights: FreshModel, vocab_size: int, positions: int, **others: Any) -> Any:
    """What transformers builds a network of the given sizes from.

    Args:
        weights: sizes.
        vocab_size: V.
        positions: tokens that are read at most.
        others: special tokens and whatever else, by the names of transformers.
    """
    import transformers

    common = {"vocab_size": vocab_size, **others}
    inner = weights.expansion * weights.width
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
    sizes: dict[str, Any] = {
        "hidden_size": weights.width,
        "num_hidden_layers": weights.layers,
        "num_attention_heads": weights.heads,
        "intermediate_size": inner,
        "max_position_embeddings": positions,
    }
    if weights.architecture == "bert":
        rates = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), weights.dropout)
        return transformers.BertConfig(**sizes, **rates, **common)
    kind = transformers.LlamaConfig if weights.architecture == "llama" else transformers.Qwen2Config
    return kind(
        num_key_value_heads=weights.key_value_heads or weights.heads,
        attention_dropout=weights.dropout,
        **sizes,
        **common,
    )


def built(build: Callable[[], Any]) -> Any:
    """A model of transformers: with random weights by torch's global random state, or placeholders if values follow."""
    with quiet():
        if not do_values_follow():
            return build()
        with without_values():
            model = build()
    put_placeholders(model)
    return model


def with_adapters(model: Any, lora: LoRA, owner: str, task_type: str, whole: Sequence[str] = ()) -> nn.Module:
    """The model with low-rank adapters, which alone are trained.

    Args:
        model: of transformers.
        lora: settings of the adapters.
        owner: setting of the network, for messages.
        task_type: as `peft` calls it.
        whole: names of layers that are trained as a whole, beside the adapters.

    Raises:
        ConfigError: they fit nowhere.
    """
    import peft

    linear = sorted(
        {
            name.rpartition(".")[2]
            for name, part in model.named_modules()
            if isinstance(part, nn.Linear) or type(part).__name__ == "Conv1D"
        }
    )
    names = [f".{name}" for name, _ in model.named_modules()]
    # Of several names peft leaves out those that are of no layer.
    if unknown := [one for one in lora.targets if not any(name.endswith(f".{one}") for name in names)]:
        raise ConfigError(
            (
                f"{owner}.training.targets={list(lora.targets)}: no layer of {type(model).__name__} is called "
                f"{' or '.join(unknown)}. Its linear layers are {', '.join(linear)}. Give some of these, or set it to "
                "[] for all."
            ),
            code="no_such_layer",
            fields={f"{owner}.training.targets": unknown},
        )
    settings = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=2 * lora.rank if lora.alpha is None else lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) or "all-linear",
        # GPT-2 keeps its linear layers transposed.
        fan_in_fan_out=any(type(part).__name__ == "Conv1D" for part in model.modules()),
        task_type=task_type,
        modules_to_save=list(whole) or None,
    )
    try:
        with quiet():
            network: nn.Module = peft.get_peft_model(model, settings)
    except ValueError as error:
        if "arget modul" not in str(error):
            raise
        raise ConfigError(
            (
                f"{owner}.training.targets={list(lora.targets)}: an adapter cannot be put on these parts of "
                f"{type(model).__name__} ({str(error).splitlines()[0]}). Give names of its linear layers: "
                f"{', '.join(linear)}."
            ),
            code="layer_takes_no_adapter",
            fields={f"{owner}.training.targets": list(lora.targets)},
        ) from None
    return network


def base_model(network: nn.Module) -> Any:
    """The model itself, inside of what adapters wrap around it."""
    find = getattr(network, "get_base_model", None)
    return network if find is None else find()


@contextmanager
def adapters_off(network: Any) -> Iterator[None]:
    """Let a network with adapters compute without them within the block."""
    needs_gradient = [parameter.requires_grad for parameter in network.parameters()]
    try:
        with network.disable_adapter():
            yield
    finally:
        # What is switched on again is taken for what is to be trained.
        for parameter, needed in zip(network.parameters(), needs_gradient, strict=True):
            parameter.requires_grad_(needed)


def add_nothing(adapters: Mapping[str, Tensor]) -> bool:
    """Whether adapters leave a model as it is: the factor B of each is 0, as before the first step.

    Args:
        adapters: name → weight, of all adapters.
    """
    factors = [tensor for name, tensor in adapters.items() if ".lora_B." in name]
    are_linear = all(".lora_A." in name or ".lora_B." in name for name in adapters)
    return bool(factors) and are_linear and not any(bool(factor.any()) for factor in factors)


def keep_untrained_in(network: nn.Module, dtype: torch.dtype) -> None:
    """Keep parameters that are not trained in a dtype; those that are stay float32."""
    for parameter in network.parameters():
        if not parameter.requires_grad:
            own = parameter.data
            parameter.data = placeholder(own.shape, dtype) if is_placeholder(own) else own.to(dtype)
