"""A generator of the user's own: any `torch.nn.Module` that reads tokens and gives logits of the next ones.

    class Mine(nn.Module):
        def __init__(self, space, width=32): ...        # space.vocab_size, space.max_length, space.condition, ...
        def forward(self, tokens): ...                  # (B, T) int64 → (B, T, V) logits

`tokens` begins with the start token: logits[:, t] are of the token that follows tokens[:, :t+1], and must not depend
on later ones. T may be any length up to the greatest. Everything else is made here: likelihoods, drawing by
recomputing each prefix, beams, frozen copies, weights that travel. What a network can do beyond it declares:

    def forward(self, tokens, conditions)               # reads conditions (B, S) of a task that has them
    def start(self, num_rows) → state                   # drawing without recomputing: a tuple of row-first tensors
    def start(self, conditions) → state                 #     the same where it reads conditions
    def step(self, state, tokens) → (logits, state)     #     tokens (R,) → logits (R, V) of the next ones
    reads_soft_rows = True                              # forward takes distributions (B, T, V) in the place of tokens

    B sequences, R rows, S positions of a condition, T of a sequence, V vocabulary
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import Self

from rlgan.base.errors import ConfigError, PluginError
from rlgan.base.weights import Tensors
from rlgan.envs.categorical import padded_vocab_size
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.extensions import Loaded, PluginKind, TimedPlugin, note
from rlgan.layers.plugin_modules import (
    OwnModule,
    described,
    module_class,
    parameters_of,
    require_kept,
    require_parameters,
)
from rlgan.layers.relaxation import relaxed_rows

from .generator import Distribution, Generator, State, Stepper, shift_right

_FORMS = "forward(self, tokens), or forward(self, tokens, conditions) for a task with conditions"


class PluginGenerator(TimedPlugin):
    """A network of the user's own; docs/extending.md has an example."""

    plugin_kind: ClassVar[PluginKind] = "generator"
    has_likelihood: ClassVar[bool] = True
    draws_tokens: ClassVar[bool] = True
    attends: ClassVar[bool] = False
    table_width: ClassVar[int | None] = None
    latent_width: ClassVar[int] = 0
    sets_goals: ClassVar[bool] = False
    within_sequences: ClassVar[tuple[str, ...]] = ()
    prefix_features: ClassVar[None] = None
    learns_by_likelihood: ClassVar[bool] = True
    begins_trained: ClassVar[bool] = False
    began_as: ClassVar[None] = None

    reads_conditions: bool = False
    """Whether its `forward` has the parameter `conditions`; filled in by rlgan."""
    relaxes: bool = False
    """Whether it declares `reads_soft_rows`; filled in by rlgan."""

    def latent_kl_weight(self, epoch: int | None) -> float:
        """See `GeneratorKind`; it has no latents."""
        return 0.0

    def copied_of(self, judge: Tensors) -> Tensors:
        """See `GeneratorKind`; it copies nothing."""
        return {}

    def settled(self) -> Self:
        """See `GeneratorKind`; what a plug-in reads is its own."""
        return self

    def adds_nothing(self, trained: Mapping[str, Tensor]) -> bool:
        """See `GeneratorKind`; what of it is trained is its own."""
        return False

    @property
    def needs_conditions(self) -> bool:
        """See `GeneratorKind`: what its `forward` takes, it takes always."""
        return self.reads_conditions

    def check_object(self, loaded: Loaded) -> None:
        """See `Plugin.check_object`; what the network can do is noted."""
        network = module_class(self, loaded)
        reads_conditions = "conditions" in parameters_of(network.forward)
        names = ("tokens", "conditions") if reads_conditions else ("tokens",)
        require_parameters(self, network.forward, names, _FORMS)
        steps = [name for name in ("start", "step") if hasattr(network, name)]
        if len(steps) == 1:
            raise ConfigError(
                f"{described(self)}: has {steps[0]}, but sampling step by step needs both start and step. Give "
                "both, or none.",
                code="step_without_start",
                fields={"plugin": self.name},
            )
        if steps:
            first = "conditions" if reads_conditions else "num_rows"
            require_parameters(self, getattr(network, "start"), (first,), f"start(self, {first})")  # noqa: B009
            require_parameters(self, getattr(network, "step"), ("state", "tokens"), "step(self, state, tokens)")  # noqa: B009
        note(self, "reads_conditions", reads_conditions)
        note(self, "relaxes", bool(getattr(network, "reads_soft_rows", False)))


class AdaptedGenerator(Generator):
    """A user's network as a generator.

    Args:
        settings: the plug-in.
        space: the task's sequences.
    """

    keeps_nothing: ClassVar[bool] = False  # what a user's network keeps is not known here

    def __init__(self, settings: PluginGenerator, space: SequenceSpace) -> None:
        super().__init__()
        self.vocab_size, self.max_length = space.vocab_size, space.max_length
        self.start_id = space.required_start
        self._settings = settings
        self.network = OwnModule(settings, space)

    @property
    def relaxes(self) -> bool:  # type: ignore[override]  # of one class, and not the same for all its networks
        """As the user's network says; see `GeneratorKind`."""
        return self._settings.relaxes

    def stepper(self, temperature: float = 1.0) -> Stepper:
        """A frozen copy for sampling; see `Generator.stepper`."""
        kind = StatefulStepper if hasattr(self.network.module, "step") else RecomputingStepper
        return kind(self, self.network.frozen(), temperature)

    def conditional(self, conditions: Tensor | None) -> Distribution:
        """Its distribution of sequences under conditions; see `Generator.conditional`."""
        return AdaptedDistribution(self, self.readable(conditions))

    def readable(self, conditions: Tensor | None) -> Tensor | None:
        """The conditions, which it reads.

        Raises:
            ValueError: it reads conditions and there are none, or the other way round.
        """
        if (conditions is None) == self._settings.reads_conditions:
            raise ValueError(
                f"{described(self.network.plugin)} {'needs' if conditions is None else 'cannot read'} conditions."
            )
        return conditions

    def use_dropout(self, enabled: bool) -> None:
        """Switch dropout on or off; see `Generator.use_dropout`."""
        self.network.use_dropout(enabled)

    def next_logits(self, network: OwnModule, inputs: Tensor, conditions: Tensor | None) -> Tensor:
        """(B, T, V) float32 logits of the tokens behind inputs (B, T), or behind soft rows (B, T, V)."""
        arguments = (inputs,) if conditions is None else (inputs, conditions)
        return network.checked(network(*arguments), (*inputs.shape[:2], self.vocab_size), "(B, T, V)")


class AdaptedDistribution(Distribution):
    """The distribution of an `AdaptedGenerator`, under conditions or without.

    Args:
        generator: whose it is.
        conditions: (B, S) int64, or None.
    """

    def __init__(self, generator: AdaptedGenerator, conditions: Tensor | None) -> None:
        self._generator, self._conditions = generator, conditions

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits of every token; see `Distribution.logits`."""
        return self._next_logits(shift_right(tokens, self._generator.start_id))

    def relaxed(self, noise: Tensor, temperature: float, straight_through: bool) -> tuple[Tensor, Tensor]:
        """Sequences as differentiable functions of noise, each prefix read anew; see `Distribution.relaxed`."""
        start = torch.tensor(self._generator.start_id, device=noise.device)
        inputs = functional.one_hot(start, noise.shape[2]).to(noise.dtype).expand(len(noise), 1, -1)
        rows, tokens = [], []
        for position in range(noise.shape[1]):
            logits = self._next_logits(inputs)[:, -1]
            row, token = relaxed_rows(logits, noise[:, position], temperature, straight_through)
            rows.append(row)
            tokens.append(token)
            inputs = torch.cat([inputs, row.unsqueeze(1)], dim=1)
        return torch.stack(rows, 1), torch.stack(tokens, 1)

    def _next_logits(self, inputs: Tensor) -> Tensor:
        return self._generator.next_logits(self._generator.network, inputs, self._conditions)


class _AdaptedStepper(Stepper):
    """What both ways of drawing share.

    Args:
        generator: for sizes and checks; its own weights are not read.
        network: the frozen copy.
        temperature: divides the logits.
        conditions: (R, S) int64, or None.
    """

    def __init__(
        self, generator: AdaptedGenerator, network: OwnModule, temperature: float, conditions: Tensor | None = None
    ) -> None:
        self._generator, self._network, self._temperature = generator, network, temperature
        self._conditions = conditions

    def conditional(self, conditions: Tensor | None) -> Stepper:
        """The same for rows that are given conditions; see `Stepper.conditional`."""
        readable = self._generator.readable(conditions)
        return type(self)(self._generator, self._network, self._temperature, readable)

    def _first_tokens(self, num_rows: int) -> Tensor:
        device = next(self._network.parameters()).device
        return torch.full((num_rows,), self._generator.start_id, dtype=torch.int64, device=device)

    def _rows_of_conditions(self, num_rows: int) -> tuple[Tensor, ...]:
        conditions = self._generator.readable(self._conditions)
        if conditions is None:
            return ()
        if len(conditions) != num_rows:
            raise ValueError(f"{num_rows} rows are started for {len(conditions)} conditions.")
        return (conditions,)

    def _weights(self, logits: Tensor) -> Tensor:
        """(R, V') unnormalised probabilities of logits (R, V).

        Raises:
            PluginError: they are not finite.
        """
        if not bool(torch.isfinite(logits).all()):
            raise PluginError(
                f"{described(self._network.plugin)}: a logit is NaN or infinite. Lower the learning rate, or fix "
                "the network; to forbid a token, give it a large negative number.",
                code="generator_logit_not_finite",
                fields={"plugin": self._network.plugin.name},
            )
        logits = logits / self._temperature
        weights = logits.new_zeros(len(logits), padded_vocab_size(self._generator.vocab_size))
        torch.exp(logits - logits.amax(1, keepdim=True), out=weights[:, : logits.shape[1]])
        return weights


class RecomputingStepper(_AdaptedStepper):
    """Drawing by reading each prefix anew: O(T²) steps of a network that keeps no state.

    Its state is what was read so far (R, T + 1), how much of it that is (R,), and the conditions.
    """

    @torch.no_grad()
    def start(self, num_rows: int, rng: torch.Generator | None = None) -> State:
        """State of empty prefixes; see `Stepper.start`."""
        first = self._first_tokens(num_rows)
        read = first.new_zeros(num_rows, self._generator.max_length + 1)
        read[:, 0] = first
        return (read, torch.ones_like(first), *self._rows_of_conditions(num_rows))

    @torch.no_grad()
    def advance(self, state: State, tokens: Tensor) -> State:
        """State after one more token; see `Stepper.advance`."""
        read, consumed, *conditions = state
        return (read.scatter(1, consumed.unsqueeze(1), tokens.unsqueeze(1)), consumed + 1, *conditions)

    @torch.no_grad()
    def weights(self, state: State) -> Tensor:
        """Unnormalised next-token probabilities; see `Stepper.weights`."""
        read, consumed, *conditions = state
        longest = int(consumed.max())
        logits = self._generator.next_logits(self._network, read[:, :longest], conditions[0] if conditions else None)
        return self._weights(logits[torch.arange(len(read), device=read.device), consumed - 1])


class StatefulStepper(_AdaptedStepper):
    """Drawing by the network's own `start` and `step`; its state is the logits of the next token and the network's."""

    @torch.no_grad()
    def start(self, num_rows: int, rng: torch.Generator | None = None) -> State:
        """State of empty prefixes; see `Stepper.start`."""
        conditions = self._rows_of_conditions(num_rows)
        state = self._network.call("start", *(conditions or (num_rows,)))
        return self._stepped(state, self._first_tokens(num_rows))

    @torch.no_grad()
    def advance(self, state: State, tokens: Tensor) -> State:
        """State after one more token; see `Stepper.advance`."""
        return self._stepped(state[1:], tokens)

    @torch.no_grad()
    def weights(self, state: State) -> Tensor:
        """Unnormalised next-token probabilities; see `Stepper.weights`."""
        return self._weights(state[0])

    def _stepped(self, state: Any, tokens: Tensor) -> State:
        number, plugin = len(tokens), self._network.plugin
        is_state = isinstance(state, tuple | list) and all(isinstance(part, Tensor) for part in state)
        if not is_state or any(part.dim() == 0 or len(part) != number for part in state):
            shapes = [tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in state or ()]
            raise PluginError(
                f"{described(plugin)}: a state of {number} rows is {shapes}. Make it a tuple of tensors whose "
                "first dimension is the number of rows.",
                code="generator_state",
                fields={"plugin": plugin.name},
            )
        found = self._network.call("step", tuple(state), tokens)
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise PluginError(
                f"{described(plugin)}: step did not return a pair. Return logits (R, V) and the next state.",
                code="step_returns_no_pair",
                fields={"plugin": plugin.name},
            )
        logits = self._network.checked(found[0], (number, self._generator.vocab_size), "(R, V)")
        return (logits, *found[1])


def require_sound(settings: object, space: SequenceSpace) -> None:
    """See to it that a generator of the user's own keeps the contract of `rlgan.generators.testing`; once a process.

    Args:
        settings: of any generator; those that ship are not looked at.
        space: the task's sequences.

    Raises:
        ConfigError: the contract is broken; names the plug-in and the promise.
        PluginError: the network cannot be built or raises.
    """
    if not isinstance(settings, PluginGenerator):
        return
    from .testing import check_generator

    require_kept(settings, space, lambda: check_generator(lambda: AdaptedGenerator(settings, space), space))
