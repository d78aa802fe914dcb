"""A second device that computes on the CPU, for machines without a GPU.

Tensors on it say that they are on the device `meta` (torch without CUDA does not let them say `cuda`), hold a CPU
tensor, and refuse to meet tensors that are elsewhere. Code that forgets to move something fails here as it would on a
GPU; code that does not gives the CPU's numbers. It says nothing about CUDA's own kernels: tests marked `gpu` do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

PRETENDED = torch.device("meta")
_CPU = torch.device("cpu")
_MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class _OnGpu(torch.Tensor):
    """A CPU tensor in disguise."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> _OnGpu:
        made: _OnGpu = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=PRETENDED,
            requires_grad=held.requires_grad,
        )
        made.held = held
        return made

    def tolist(self) -> Any:
        """To the host, as on a GPU."""
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        return _compute(function, arguments, named or {})


def _compute(function: Any, arguments: Any, named: dict[str, Any]) -> Any:
    """Run an operation on the CPU, and disguise what would be on the GPU."""
    tensors = [leaf for leaf in tree_flatten((arguments, named))[0] if isinstance(leaf, torch.Tensor)]
    # A tensor without dimensions is a number, and numbers may come from the host.
    here = [one for one in tensors if not isinstance(one, _OnGpu) and one.dim() > 0]
    there = [one for one in tensors if isinstance(one, _OnGpu)]
    if here and there and function not in _MOVES:
        raise RuntimeError(f"{function}: tensors {[tuple(one.shape) for one in here]} are on the CPU, others are not")
    wanted = named.get("device")
    is_there = torch.device(wanted) == PRETENDED if wanted is not None else bool(there)
    if function is _MOVES[1]:
        is_there = isinstance(arguments[0], _OnGpu)
    if wanted is not None:
        named = {**named, "device": _CPU}
    result = function(
        *tree_map(lambda one: one.held if isinstance(one, _OnGpu) else one, arguments),
        **tree_map(lambda one: one.held if isinstance(one, _OnGpu) else one, named),
    )
    if function._schema.name.endswith("_") and isinstance(arguments[0], torch.Tensor):
        return arguments[0]  # in place: the tensor that was handed in
    if "out" in named:
        return named["out"]
    return tree_map(lambda one: _OnGpu(one) if is_there and isinstance(one, torch.Tensor) else one, result)


class _Factories(TorchDispatchMode):
    """Catches what has no tensor among its arguments: `torch.zeros(3, device=...)`."""

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        return _compute(function, arguments, named or {})


def _module_to(module: nn.Module, device: torch.device) -> nn.Module:
    """`nn.Module.to`, which would put the disguise into the CPU tensor's place and fail."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(parameter.detach().to(device), parameter.requires_grad)
        if isinstance(part, nn.RNNBase):
            part._init_flat_weights()  # type: ignore[no-untyped-call]
    return module


@contextmanager
def pretend_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Inside the block, who reserves a GPU has one."""
    for room in ("rollout", "discriminator"):
        monkeypatch.setattr(f"rlgan.workers.{room}.device_of", lambda setting, gpus: PRETENDED if gpus else _CPU)
    # A generator of another device cannot be made; a CPU one draws what is compared.
    monkeypatch.setattr(
        "rlgan.rollouts.collecting.generator_on", lambda device, seed: torch.Generator().manual_seed(seed)
    )
    monkeypatch.setattr(nn.Module, "to", _module_to)
    with _Factories():
        yield


def is_on_gpu(tensor: torch.Tensor) -> bool:
    """Whether a tensor pretends."""
    return tensor.device == PRETENDED
