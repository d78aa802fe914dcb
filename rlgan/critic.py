"""A learned state value as baseline: V(s_t), by regression on what the tokens from t on turned out to be worth.

It lives beside the trainer, on the driver: it sees whole batches, and has no vocabulary-sized output, so that a step of
it costs little beside the generator's.

    B sequences, T positions
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rlgan.envs.sequence_space import SequenceSpace

from .baselines import CriticBaseline
from .generators import shift_right
from .optimizers import build_optimizer, clip_gradients, optimizer_state, restore_optimizer_state
from .seeding import global_stream


class StateValue(nn.Module):
    """Embedding, LSTM, linear output that begins at 0.

    Args:
        settings: sizes.
        vocab_size: number of tokens V.
    """

    def __init__(self, settings: CriticBaseline, vocab_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, settings.embedding)
        self.lstm = nn.LSTM(settings.embedding, settings.hidden, batch_first=True)
        self.output = nn.Linear(settings.hidden, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """V of the state before each token.

        Args:
            tokens: (B, T) int64; the value at t is of tokens[:, :t] alone.

        Returns:
            (B, T) float32, reward units.
        """
        states, _ = self.lstm(self.embedding(shift_right(tokens)))
        values: Tensor = self.output(states).squeeze(2)
        return values


class Critic:
    """A state value with its optimiser.

    Args:
        settings: network, optimiser, passes.
        space: the task's sequences.
        seed: the run's seed.
    """

    def __init__(self, settings: CriticBaseline, space: SequenceSpace, seed: int) -> None:
        self._settings = settings
        with global_stream(seed, "critic", "initial"):
            self.network = StateValue(settings, space.vocab_size)
        self._optimizer = build_optimizer(settings.optimizer, self.network.parameters())

    @torch.no_grad()
    def values(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """V of the state before each token, as it is now.

        Args:
            tokens: (B, T) int64.
            mask: (B, T) bool.

        Returns:
            (B, T) float32, 0 where mask is False.
        """
        found: Tensor = self.network(tokens).masked_fill(~mask, 0.0)
        return found

    def learn(self, tokens: Tensor, mask: Tensor, targets: Tensor, old_values: Tensor) -> dict[str, float]:
        """Some steps of regression on one batch.

        Args:
            tokens: (B, T) int64.
            mask: (B, T) bool.
            targets: (B, T) float32, what the tokens from each one on were worth.
            old_values: (B, T) float32 of `values` before the first step.

        Returns:
            Loss before the first step, gradient norm, and the share of the targets' variance that V explained.

        Raises:
            FloatingPointError: the gradient is not finite.
        """
        losses, norms = [], []
        for _ in range(self._settings.epochs):
            loss = value_loss(self.network(tokens), targets, old_values, mask, self._settings.clip)
            self._optimizer.zero_grad()
            loss.backward()
            norms.append(clip_gradients(self.network.parameters(), self._settings.optimizer.clip_norm))
            self._optimizer.step()
            losses.append(float(loss.detach()))
        return {
            "critic/loss": losses[0],
            "critic/grad_norm": sum(norms) / len(norms),
            "critic/explained_variance": explained_variance(old_values[mask], targets[mask]),
        }

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        return {
            "weights": {name: value.detach().clone() for name, value in self.network.state_dict().items()},
            "optimizer": optimizer_state(self._optimizer),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        self.network.load_state_dict(state["weights"])
        restore_optimizer_state(self._optimizer, state["optimizer"])


def value_loss(values: Tensor, targets: Tensor, old_values: Tensor, mask: Tensor, clip: float | None = None) -> Tensor:
    """½ mean (V - R)², with PPO's clip ½ mean max((V - R)², (V_clip - R)²), V_clip within ± clip of the old value.

    Source: specification 15.3.

    Args:
        values: (B, T) float32 with gradient.
        targets: (B, T) float32.
        old_values: (B, T) float32; read only with a clip.
        mask: (B, T) bool.
        clip: greatest change of a value that counts, reward units; None for no clip.

    Returns:
        Scalar, the mean over real tokens.
    """
    errors = (values - targets.detach()).square()
    if clip is not None:
        held = old_values.detach() + (values - old_values.detach()).clamp(-clip, clip)
        errors = torch.maximum(errors, (held - targets.detach()).square())
    return 0.5 * (errors * mask).sum() / mask.sum()


def explained_variance(values: Tensor, targets: Tensor) -> float:
    """1 - Var(targets - values) / Var(targets): 1 for a perfect critic, 0 for a constant, below 0 for harm.

    Args:
        values: (n,) float32.
        targets: (n,) float32.

    Returns:
        0 where all targets are the same.
    """
    variance = targets.var(correction=0)
    return float(1.0 - (targets - values).var(correction=0) / variance) if float(variance) > 0.0 else 0.0
