"""Optimisers, one a phase: torch's own, under their own names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from rlgan.base.errors import ConfigError
from rlgan.base.search_priors import Choice, LogUniform, NotSearched
from rlgan.base.settings import Settings


class Adam(Settings):
    """Adam."""

    kind: Literal["adam"] = "adam"
    lr: Annotated[float, LogUniform(1e-5, 1e-2)] = Field(1e-3, gt=0.0)
    """Learning rate."""
    beta1: Annotated[float, Choice((0.5, 0.9))] = Field(0.9, ge=0.0, lt=1.0)
    """Decay of the first moment."""
    beta2: Annotated[float, NotSearched("0.999 in all papers but one")] = Field(0.999, ge=0.0, lt=1.0)
    """Decay of the second moment."""
    weight_decay: Annotated[float, Choice((0.0, 1e-4, 1e-2))] = Field(0.0, ge=0.0)
    """Decoupled weight decay (AdamW)."""
    clip_norm: Annotated[float | None, Choice((None, 1.0, 5.0))] = Field(None, gt=0.0)
    """Maximum global norm of the gradient; null disables clipping."""
    clip_value: Annotated[float | None, Choice((None, 0.1, 1.0))] = Field(None, gt=0.0)
    """Maximum absolute value of each gradient entry, clipped after clip_norm; null disables clipping."""


class RMSProp(Settings):
    """RMSProp."""

    kind: Literal["rmsprop"] = "rmsprop"
    lr: Annotated[float, LogUniform(1e-5, 1e-2)] = Field(1e-4, gt=0.0)
    """Learning rate."""
    clip_norm: Annotated[float | None, Choice((None, 1.0, 5.0))] = Field(None, gt=0.0)
    """Maximum global norm of the gradient; null disables clipping."""
    clip_value: Annotated[float | None, Choice((None, 0.1, 1.0))] = Field(None, gt=0.0)
    """Maximum absolute value of each gradient entry, clipped after clip_norm; null disables clipping."""


class SGD(Settings):
    """Stochastic gradient descent."""

    kind: Literal["sgd"] = "sgd"
    lr: Annotated[float, LogUniform(1e-3, 1.0)] = Field(0.01, gt=0.0)
    """Learning rate."""
    momentum: Annotated[float, Choice((0.0, 0.5, 0.9))] = Field(0.0, ge=0.0, lt=1.0)
    """Momentum."""
    nesterov: Annotated[bool, NotSearched("incompatible with a momentum of 0, which is among the values tried")] = False
    """Whether to use Nesterov's momentum: the gradient is taken after the momentum step."""
    clip_norm: Annotated[float | None, Choice((None, 1.0, 5.0))] = Field(None, gt=0.0)
    """Maximum global norm of the gradient; null disables clipping."""
    clip_value: Annotated[float | None, Choice((None, 0.1, 1.0))] = Field(None, gt=0.0)
    """Maximum absolute value of each gradient entry, clipped after clip_norm; null disables clipping."""

    @model_validator(mode="after")
    def _check(self) -> SGD:
        if self.nesterov and not self.momentum:
            raise ConfigError(
                "nesterov=True: needs a momentum above 0. Set momentum, or nesterov to false.",
                code="nesterov_needs_momentum",
                fields={"nesterov": True},
            )
        return self


class Adadelta(Settings):
    """Adadelta (Zeiler 2012)."""

    kind: Literal["adadelta"] = "adadelta"
    lr: Annotated[float, LogUniform(1e-2, 1.0)] = Field(1.0, gt=0.0)
    """Factor of each step; 1 in the paper."""
    rho: Annotated[float, Choice((0.9, 0.95))] = Field(0.9, ge=0.0, lt=1.0)
    """Decay of the running averages of squared gradients and squared steps."""
    clip_norm: Annotated[float | None, Choice((None, 1.0, 5.0))] = Field(None, gt=0.0)
    """Maximum global norm of the gradient; null disables clipping."""
    clip_value: Annotated[float | None, Choice((None, 0.1, 1.0))] = Field(None, gt=0.0)
    """Maximum absolute value of each gradient entry, clipped after clip_norm; null disables clipping."""


OptimizerSettings = Annotated[Adam | RMSProp | SGD | Adadelta, Field(discriminator="kind")]


def build_optimizer(settings: OptimizerSettings, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """A fresh optimiser over `parameters`, which clips what it steps along to `clip_value`."""
    optimizer = _optimizer(settings, parameters)
    if (bound := settings.clip_value) is not None:
        optimizer.register_step_pre_hook(lambda stepping, *_: _clip_values(stepping, bound))
    return optimizer


def _optimizer(settings: OptimizerSettings, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    if isinstance(settings, Adam):
        # Fused: at the published discriminator's 7M parameters an unfused step costs as much as the backward pass.
        return torch.optim.AdamW(
            parameters,
            lr=settings.lr,
            betas=(settings.beta1, settings.beta2),
            weight_decay=settings.weight_decay,
            fused=True,
        )
    if isinstance(settings, RMSProp):
        return torch.optim.RMSprop(parameters, lr=settings.lr, foreach=True)
    if isinstance(settings, Adadelta):
        return torch.optim.Adadelta(parameters, lr=settings.lr, rho=settings.rho, foreach=True)
    return torch.optim.SGD(
        parameters, lr=settings.lr, momentum=settings.momentum, nesterov=settings.nesterov, foreach=True
    )


def _clip_values(optimizer: torch.optim.Optimizer, bound: float) -> None:
    for group in optimizer.param_groups:
        torch.nn.utils.clip_grad_value_(group["params"], bound)


def clip_gradients(parameters: Iterable[nn.Parameter], clip_norm: float | None) -> float:
    """Clip gradients in place to a global norm.

    Args:
        parameters: whose gradients.
        clip_norm: greatest norm, or None for no clipping.

    Returns:
        The norm before clipping.

    Raises:
        FloatingPointError: the gradient is not finite; nothing has been changed.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    value = float(norm)
    if not torch.isfinite(norm):
        raise FloatingPointError(
            f"the norm of the gradient is {value}; the update was not applied. Lower the learning rate, or set "
            "clip_norm."
        )
    if clip_norm is not None and value > clip_norm:
        for gradient in gradients:
            gradient.mul_(clip_norm / value)
    return value


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    """A copy of the optimiser's moments and counters: parameter index (as text) → name → tensor."""
    return {str(index): _copied(values) for index, values in optimizer.state_dict()["state"].items()}


def restore_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, dict[str, Tensor]]) -> None:
    """Put back what `optimizer_state` returned; learning rates and the like stay as they were built."""
    whole = optimizer.state_dict()
    # Copied, for torch adopts tensors that are of the right type and would change them with the next step.
    whole["state"] = {int(index): _copied(values) for index, values in state.items()}
    optimizer.load_state_dict(whole)


def _copied(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in values.items()}
