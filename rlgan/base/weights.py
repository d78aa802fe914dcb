"""Weights on the move: what training changes, with a version; and what it leaves alone, by its hash.

Of a network only that travels which training changes: trainable parameters, and buffers that move (running means,
singular vectors). Each is sent once, however many names it has, in its own dtype. The *base*, what training leaves
alone, has its hash for a name: whoever has it once needs nothing but the name, and networks read it where it lies.

A snapshot is read by many and written by nobody: the trainer, the checkpoint and the workers in this process hold the
same tensors. On Ray its arrays are mapped out of the object store without a copy. Of a base there is one in a process:
`base_of` copies nothing, and `network_of` builds a network that has no memory of its own for it.
"""

from __future__ import annotations

import copy
import hashlib
import secrets
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from .placeholders import is_placeholder, values_follow

Module = TypeVar("Module", bound=nn.Module)

Tensors = dict[str, Tensor]
"""Name of a parameter or buffer → its value."""


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """What training leaves alone in a network.

    Attributes:
        digest: SHA-256 of names, dtypes, shapes and values.
        tensors: name → value; None where only the name is known, see `Weights.named`.
    """

    digest: str
    tensors: Tensors | None

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked_base, (self.digest, None if self.tensors is None else packed(self.tensors))


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """One network at one version.

    Attributes:
        version: rises by one with every change that is published.
        tensors: what training changes.
        base: what it leaves alone; None where there is nothing of that kind.
        key: of this snapshot alone: what was built from it need not be built again.
    """

    version: int
    tensors: Tensors
    base: Base | None = None
    key: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def complete(self) -> Tensors:
        """What training changes and what it leaves alone; nothing is copied."""
        if self.base is None:
            return self.tensors
        assert self.base.tensors is not None
        return {**self.base.tensors, **self.tensors}

    @property
    def named(self) -> Weights:
        """The same with no more of its base than the name."""
        return (
            self if self.base is None else Weights(self.version, self.tensors, Base(self.base.digest, None), self.key)
        )

    def with_base(self, base: Base) -> Weights:
        """The same with a base of that name."""
        assert self.base is not None and self.base.digest == base.digest
        return Weights(self.version, self.tensors, base, self.key)

    def num_bytes(self) -> int:
        """Bytes of what training changes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked_weights, (self.version, packed(self.tensors), self.base, self.key)


def weights_of(module: nn.Module, version: int) -> Weights:
    """A module's weights, on the CPU: a copy of what training changes, and what it leaves alone where that lies."""
    return Weights(version, trained_of(module), base_of(module))


def trained_of(module: nn.Module) -> Tensors:
    """A copy of what training changes: parameters with a gradient, and buffers that are not said to be constant."""
    return _copied(_parts(module)[0])


def base_of(module: nn.Module) -> Base | None:
    """What training leaves alone: parameters without a gradient, and buffers that never change.

    A module says of its own buffers which never change: `constant_buffers: ClassVar[frozenset[str]]`. What is on the
    CPU is not copied, so that it must not be written to any more: `load_weights` with another base does not.
    """
    return as_base({name: tensor.detach().cpu() for name, tensor in _parts(module)[1].items()})


def frozen_names(module: nn.Module) -> frozenset[str]:
    """Names of what `base_of` has."""
    return frozenset(_parts(module)[1])


def as_base(tensors: Tensors) -> Base | None:
    """A base of tensors, which are not copied; None where there are none."""
    if not tensors:
        return None
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(bytes_of(tensor).data)
    return Base(digest.hexdigest(), tensors)


def load_weights(module: Module, tensors: Mapping[str, Tensor], base: Base | None = None) -> Module:
    """Put weights into a module; returns the module.

    Args:
        module: of the architecture that they are of.
        tensors: what training changes, and of the base what there is: copied. Only what takes the place of a
            placeholder is read where it lies: it must not be written to any more.
        base: read where it lies, and not copied, on the device where it lies.

    Raises:
        RuntimeError: a parameter is missing or has another shape, or there is one that the module does not have.
    """
    state, moving = module.state_dict(keep_vars=True), _parts(module)[0]
    same = {id(tensor): name for name, tensor in state.items() if name in tensors}
    _require_fit(
        module,
        [name for name, tensor in moving.items() if id(tensor) not in same],
        [name for name in tensors if name not in state],
    )
    read = {} if base is None or base.tensors is None else dict(base.tensors)
    with torch.no_grad():
        for name, tensor in tensors.items():
            if state[name].shape != tensor.shape:
                raise RuntimeError(
                    f"the weights do not fit {type(module).__name__}: {name} is {tuple(tensor.shape)}, expected "
                    f"{tuple(state[name].shape)}"
                )
            if is_placeholder(state[name]):
                read.setdefault(name, tensor)
            else:
                state[name].copy_(tensor)
        _read(module, read)
    _require_fit(module, [name for name, tensor in module.named_parameters() if is_placeholder(tensor)], [])
    return module


def network_of(build: Callable[[], Module], tensors: Mapping[str, Tensor], base: Base | None = None) -> Module:
    """A network with weights that are there already, and no memory of its own for what training leaves alone.

    Args:
        build: the network, with values that do not matter.
        tensors: see `load_weights`; what is frozen in the network is read where it lies.
        base: likewise.

    Raises:
        RuntimeError: see `load_weights`.
    """
    with values_follow():
        network = build()
    return load_weights(network, tensors, base)


def frozen_copy(network: Module) -> Module:
    """A network in evaluation mode that nobody trains: the one handed in, where it is that already, else a copy."""
    if not network.training and not any(parameter.requires_grad for parameter in network.parameters()):
        return network
    return copy.deepcopy(network).eval().requires_grad_(False)


def averaged(old: Weights, new: Weights, share: float) -> Weights:
    """Share · old + (1 - share) · new of what is a number with a fraction; the rest is the new one's."""
    moved = {
        name: share * old.tensors[name] + (1.0 - share) * tensor if tensor.is_floating_point() else tensor
        for name, tensor in new.tensors.items()
    }
    return Weights(new.version, moved, new.base)


# ---------------------------------------------------------------------------- as arrays, for Ray


@dataclass(frozen=True, slots=True)
class _Bits:
    """A tensor of a dtype that numpy does not know, as the bytes that it is made of."""

    array: np.ndarray
    dtype: str


def packed(state: Any) -> Any:
    """A state's tensors as arrays, which Ray moves without pickling what they hold; nothing is copied.

    Args:
        state: nested dictionaries of tensors and anything else, which stays as it is.
    """
    if isinstance(state, dict):
        return {name: packed(part) for name, part in state.items()}
    if not isinstance(state, Tensor):
        return state
    tensor = state.detach().cpu()
    if tensor.dtype in _OF_NUMPY:
        return tensor.numpy()
    return _Bits(bytes_of(tensor), str(tensor.dtype).removeprefix("torch."))


def unpacked(state: Any, *, copies: bool = True) -> Any:
    """The opposite of `packed`.

    Args:
        state: what `packed` returned, perhaps out of Ray's object store.
        copies: whether tensors may be written to; else they share the arrays' memory, which may be read-only.
    """
    if isinstance(state, dict):
        return {name: unpacked(part, copies=copies) for name, part in state.items()}
    if isinstance(state, _Bits):
        return unpacked(state.array, copies=copies).view(getattr(torch, state.dtype)).squeeze(-1)
    if not isinstance(state, np.ndarray):
        return state
    if copies:
        return torch.tensor(state)
    with warnings.catch_warnings():
        # torch warns of memory that is read-only; nobody writes to it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(state)


def bytes_of(tensor: Tensor) -> np.ndarray:
    """(..., bytes of an element) uint8."""
    return tensor.contiguous().unsqueeze(-1).view(torch.uint8).numpy()


def _unpacked_weights(version: int, arrays: Any, base: Base | None, key: str) -> Weights:
    return Weights(version, unpacked(arrays, copies=False), base, key)


def _unpacked_base(digest: str, arrays: Any) -> Base:
    return Base(digest, None if arrays is None else unpacked(arrays, copies=False))


_OF_NUMPY = frozenset(
    (torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    + (torch.bool,)
)


def _copied(tensors: Tensors) -> Tensors:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def _parts(module: nn.Module) -> tuple[Tensors, Tensors]:
    """What training changes and what it leaves alone: each tensor once, by the first of its names."""
    constant = {
        f"{path}.{name}" if path else name
        for path, part in module.named_modules()
        for name in getattr(part, "constant_buffers", ())
    }
    moving: Tensors = {}
    frozen: Tensors = {}
    seen: set[int] = set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        stays = not tensor.requires_grad if isinstance(tensor, nn.Parameter) else name in constant
        (frozen if stays else moving)[name] = tensor
    return moving, frozen


def _require_fit(module: nn.Module, missing: list[str], unknown: list[str]) -> None:
    if missing or unknown:
        raise RuntimeError(f"the weights do not fit {type(module).__name__}: missing {missing}, unknown {unknown}")


def _read(module: nn.Module, tensors: Tensors) -> None:
    """Let a module read tensors where they lie, by every name that they have; from another device they are copied."""
    state = module.state_dict(keep_vars=True)
    buffers: dict[int, Tensor] = {}
    for name, tensor in tensors.items():
        own = state[name]
        if own.device != tensor.device and not is_placeholder(own):
            own.copy_(tensor)
        elif isinstance(own, nn.Parameter):
            # The parameter stays, for whoever trains the module holds it.
            own.requires_grad_(False).data = tensor.detach().to(own.device, own.dtype)
        else:
            buffers[id(own)] = tensor.to(own.device)
    for part in module.modules():
        for name, buffer in part._buffers.items():
            part._buffers[name] = buffers.get(id(buffer), buffer)
