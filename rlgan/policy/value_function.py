"""A learned state value as baseline: V(s_t), by regression on what the tokens from t on turned out to be worth.

It lives beside the trainer, on the driver: it sees whole batches, and has no vocabulary-sized output, so that a step of
it costs little beside the generator's. What sequences are given it reads by an encoder of its own.

    B sequences, T positions, S positions of what they are given
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rlgan.base.seeding import global_stream
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.generators import shift_right
from rlgan.layers.optimizers import build_optimizer, clip_gradients, optimizer_state, restore_optimizer_state
from rlgan.layers.recurrent import last_states

from .baselines import BaselineSettings, CriticBaseline


class SourceEncoder(nn.Module):
    """Embedding and LSTM over what sequences are given.

    Args:
        settings: sizes.
        space: of what is given.
    """

    def __init__(self, settings: CriticBaseline, space: SequenceSpace) -> None:
        super().__init__()
        self._space = space
        self.embedding = nn.Embedding(space.vocab_size, settings.embedding)
        self.lstm = nn.LSTM(settings.embedding, settings.hidden, batch_first=True)

    def forward(self, conditions: Tensor) -> Tensor:
        """(B, H) state after the last real token of conditions (B, S) int64."""
        return last_states(self.lstm, self.embedding(conditions), sequence_mask(self._space, conditions))


class StateValue(nn.Module):
    """Embedding, LSTM, linear output that begins at 0; where something is given, the LSTM begins with its encoding.

    Args:
        settings: sizes.
        space: the task's sequences.
    """

    def __init__(self, settings: CriticBaseline, space: SequenceSpace) -> None:
        super().__init__()
        self._start_id = space.required_start
        self.embedding = nn.Embedding(space.vocab_size, settings.embedding)
        self.lstm = nn.LSTM(settings.embedding, settings.hidden, batch_first=True)
        self.output = _zero_linear(settings.hidden)
        self.source = None if space.condition is None else SourceEncoder(settings, space.condition)

    def forward(self, tokens: Tensor, conditions: Tensor | None = None) -> Tensor:
        """V of the state before each token.

        Args:
            tokens: (B, T) int64; the value at t is of tokens[:, :t] and the condition alone.
            conditions: (B, S) int64; None where sequences are given nothing.

        Returns:
            (B, T) float32, reward units.
        """
        assert (self.source is None) == (conditions is None)
        start = None
        if self.source is not None:
            encoding = self.source(conditions).unsqueeze(0)
            start = (encoding, torch.zeros_like(encoding))
        states, _ = self.lstm(self.embedding(shift_right(tokens, self._start_id)), start)
        values: Tensor = self.output(states).squeeze(2)
        return values


class SourceValue(nn.Module):
    """Encoder of what is given, linear output that begins at 0: one value for all tokens (docs/algorithms.md §14).

    Args:
        settings: sizes.
        space: the task's sequences, which are given something.
    """

    def __init__(self, settings: CriticBaseline, space: SequenceSpace) -> None:
        super().__init__()
        assert space.condition is not None
        self.source = SourceEncoder(settings, space.condition)
        self.output = _zero_linear(settings.hidden)

    def forward(self, tokens: Tensor, conditions: Tensor | None = None) -> Tensor:
        """V of what each sequence is given, at each of its tokens; see `StateValue.forward`."""
        assert conditions is not None
        values: Tensor = self.output(self.source(conditions))
        return values.expand(tokens.shape)


def _zero_linear(num_inputs: int) -> nn.Linear:
    output = nn.Linear(num_inputs, 1)
    nn.init.zeros_(output.weight)
    nn.init.zeros_(output.bias)
    return output


class ValueFunction:
    """A state value with its optimiser.

    Args:
        settings: network, optimiser, passes.
        space: the task's sequences.
        seed: the run's seed.
    """

    def __init__(self, settings: CriticBaseline, space: SequenceSpace, seed: int) -> None:
        self._settings = settings
        with global_stream(seed, "critic", "initial"):
            self.network = (SourceValue if settings.reads == "source" else StateValue)(settings, space)
        self._optimizer = build_optimizer(settings.optimizer, self.network.parameters())

    @torch.no_grad()
    def values(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """V of the state before each token, as it is now.

        Args:
            tokens: (B, T) int64.
            mask: (B, T) bool.
            conditions: (B, S) int64 what each sequence is given; None where they are given nothing.

        Returns:
            (B, T) float32, 0 where mask is False.
        """
        found: Tensor = self.network(tokens, conditions).masked_fill(~mask, 0.0)
        return found

    def learn(
        self, tokens: Tensor, mask: Tensor, targets: Tensor, old_values: Tensor, conditions: Tensor | None = None
    ) -> dict[str, float]:
        """Some steps of regression on one batch: over its tokens, or of what is given alone over its sequences.

        Args:
            tokens: (B, T) int64.
            mask: (B, T) bool.
            targets: (B, T) float32, what the tokens from each one on were worth.
            old_values: (B, T) float32 of `values` before the first step.
            conditions: (B, S) int64 what each sequence is given; None where they are given nothing.

        Returns:
            Loss before the first step, gradient norm, and the share of the targets' variance that V explained.

        Raises:
            FloatingPointError: the gradient is not finite.
        """
        losses, norms = [], []
        weights = mask if self._settings.reads == "state" else mask / mask.sum(1, keepdim=True)
        for _ in range(self._settings.epochs):
            loss = value_loss(self.network(tokens, conditions), targets, old_values, weights, self._settings.clip)
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


def build_critic(baseline: BaselineSettings, space: SequenceSpace, seed: int) -> ValueFunction | None:
    """The value function that a baseline reads; None where it reads none.

    Args:
        baseline: of the run.
        space: the task's sequences.
        seed: of the run.
    """
    return ValueFunction(baseline, space, seed) if isinstance(baseline, CriticBaseline) else None


def value_loss(
    values: Tensor, targets: Tensor, old_values: Tensor, weights: Tensor, clip: float | None = None
) -> Tensor:
    """½ mean (V - R)², with PPO's clip ½ mean max((V - R)², (V_clip - R)²), V_clip within ± clip of the old value.

    Source: Schulman et al. 2017, equation 9; docs/algorithms.md §17.

    Args:
        values: (B, T) float32 with gradient.
        targets: (B, T) float32.
        old_values: (B, T) float32; read only with a clip.
        weights: (B, T) bool mask of the tokens that count, or float32 of how much each does, 0 at padding.
        clip: greatest change of a value that counts, reward units; None for no clip.

    Returns:
        Scalar, the weighted mean.
    """
    errors = (values - targets.detach()).square()
    if clip is not None:
        held = old_values.detach() + (values - old_values.detach()).clamp(-clip, clip)
        errors = torch.maximum(errors, (held - targets.detach()).square())
    return 0.5 * (errors * weights).sum() / weights.sum()


def explained_variance(values: Tensor, targets: Tensor) -> float:
    """1 - Var(targets - values) / Var(targets): 1 for a perfect critic, 0 for a constant, below 0 for harm.

    Args:
        values: (n,) float32.
        targets: (n,) float32.

    Returns:
        0 where all targets are the same.
    """
    # Of equal targets the variance is 0 but for rounding.
    variance = targets.var(correction=0).masked_fill((targets == targets[:1]).all(), 0.0)
    return float(1.0 - (targets - values).var(correction=0) / variance) if float(variance) > 0.0 else 0.0
