"""A classifier that begins as the generator: its weights, by the names of the classifier."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlgan.base.settings import Settings
from rlgan.base.weights import Tensors, load_weights
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators import CausalLM, build_generator
from rlgan.layers.pretrained import LoRA, base_model, plain_name

_OWN, _WRAPPED = "network.", "base_model.model."  # before a model's own names: ours, and those of peft


@torch.no_grad()
def begun_as(training: Settings, generator: CausalLM, space: SequenceSpace, own: Tensors, other: Tensors) -> Tensors:
    """The weights of a classifier, all but its output those of a generator.

    Where both train the same adapters the base is the generator's, in the same memory, and the adapters are copies of
    its own. Else the generator's adapters are part of what it begins with.

    Args:
        training: which weights of the classifier are trained.
        generator: settings of the generator.
        space: the task's sequences.
        own: weights of the classifier.
        other: weights of the generator.
    """
    if training == generator.training:
        shared = {name: tensor for name, tensor in other.items() if name in own}
        return {name: _like(own[name], shared.get(name, own[name])) for name in own}
    plain = {f"{_OWN}{name}": tensor for name, tensor in _merged(generator, space, other).items()}

    def taken(name: str, tensor: Tensor) -> Tensor:
        found = plain.get(plain_name(name.replace(f"{_OWN}{_WRAPPED}", _OWN, 1)))
        return tensor if found is None else _like(tensor, found)

    return {name: taken(name, tensor) for name, tensor in own.items()}


def _like(own: Tensor, other: Tensor) -> Tensor:
    return other.to(own.dtype)


def _merged(generator: CausalLM, space: SequenceSpace, weights: Tensors) -> Tensors:
    """The generator's model by its own names, adapters added to the layers that they are of."""
    with torch.random.fork_rng(devices=[]):
        network: Any = load_weights(build_generator(generator, space), weights).network
    if isinstance(generator.training, LoRA):
        network = network.merge_and_unload()
    return {name: tensor.detach() for name, tensor in base_model(network).named_parameters()}
