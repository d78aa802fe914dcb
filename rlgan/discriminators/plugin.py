"""A discriminator of the user's own: any `torch.nn.Module` from sequences to logits, positive means real.

    class Mine(nn.Module):
        def __init__(self, space, width=32): ...        # space.vocab_size, space.max_length, space.condition, ...
        def forward(self, tokens, mask): ...            # (B, T) int64, (B, T) bool → (B,)

What stands where the mask is False must not matter; T may be any length up to the greatest. What else a network can do
it declares:

    def forward(self, tokens, mask, conditions)         # judges pairs: conditions (B, S) of a task that has them
    granularity = "token"                               # forward returns (B, T): [b, t] judges token t by those before
    reads_soft_rows = True                              # forward takes distributions (B, T, V) in the place of tokens,
                                                        # and is twice differentiable in them

    B sequences, S positions of a condition, T of a sequence, V vocabulary
"""

from __future__ import annotations

from typing import ClassVar, get_args

from pydantic import Field
from torch import Tensor

from rlgan.base.errors import ConfigError
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

from .discriminator import Architecture, Discriminator, Granularity, PlainScorer, Reads, Scorer

_FORMS = "forward(self, tokens, mask), or forward(self, tokens, mask, conditions) for a task with conditions"


class PluginDiscriminator(TimedPlugin, Architecture):
    """A network of the user's own; docs/extending.md has an example."""

    plugin_kind: ClassVar[PluginKind] = "discriminator"
    has_embedding: ClassVar[bool] = False
    gives_features: ClassVar[bool] = False
    for_tokens: ClassVar[str] = 'Give your network granularity = "token" and a logit for each token'
    for_conditions: ClassVar[str] = "Give its forward the parameter conditions"

    members: int = Field(1, ge=1)
    """Number of networks that are trained side by side; their logits are averaged."""
    reads: Reads = "sequences"
    """"pairs" if its `forward` has the parameter `conditions`; filled in by rlgan."""
    granularity: Granularity = "sequence"
    """Whether it has one logit per sequence or per token, as the network declares; filled in by rlgan."""
    soft_rows: bool = False
    """Whether it declares that it accepts distributions in place of tokens; filled in by rlgan."""

    @property
    def judges_rows_alone(self) -> bool:
        """See `Architecture.judges_rows_alone`: nothing is known of a network of the user's own."""
        return False

    @property
    def reads_soft_rows(self) -> bool:
        """As `soft_rows` says."""
        return self.soft_rows

    def check_object(self, loaded: Loaded) -> None:
        """See `Plugin.check_object`; what the network can do is noted."""
        network = module_class(self, loaded)
        judges_pairs = "conditions" in parameters_of(network.forward)
        names = ("tokens", "mask", "conditions") if judges_pairs else ("tokens", "mask")
        require_parameters(self, network.forward, names, _FORMS)
        granularity = getattr(network, "granularity", "sequence")
        if granularity not in get_args(Granularity):
            raise ConfigError(
                f"{described(self)}: granularity={granularity!r}. Set it to 'sequence' or 'token'.",
                code="granularity",
                fields={"granularity": granularity},
            )
        note(self, "reads", "pairs" if judges_pairs else "sequences")
        note(self, "granularity", granularity)
        note(self, "soft_rows", bool(getattr(network, "reads_soft_rows", False)))


class AdaptedDiscriminator(Discriminator):
    """A user's network as a discriminator.

    Args:
        settings: the plug-in.
        space: the task's sequences.
    """

    def __init__(self, settings: PluginDiscriminator, space: SequenceSpace) -> None:
        super().__init__()
        self._settings = settings
        self.network = OwnModule(settings, space)

    def forward(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Real-logits; see `Discriminator.forward`.

        Raises:
            ConfigError: soft rows, which the network does not read.
            ValueError: it judges pairs and there are no conditions, or the other way round.
        """
        who = described(self._settings)
        if (conditions is None) == (self._settings.reads == "pairs"):
            raise ValueError(f"{who} {'needs' if conditions is None else 'cannot read'} conditions.")
        if tokens.is_floating_point() and not self._settings.reads_soft_rows:
            raise ConfigError(
                f"{who}: soft rows are required, but it does not declare that it reads them. Set reads_soft_rows = "
                "True on its class, and let forward accept distributions (B, T, V); or use an objective and a "
                "penalty without soft rows.",
                code="no_soft_rows_declared",
                fields={"plugin": who},
            )
        found = self.network(*((tokens, mask) if conditions is None else (tokens, mask, conditions)))
        if self._settings.granularity == "token":
            return self.network.checked(found, tuple(mask.shape), "(B, T)").masked_fill(~mask, 0.0)
        return self.network.checked(found, (len(mask),), "(B,)")

    def penalty(self) -> Tensor:
        """None of its own; `adversary.l2_all` weighs all parameters."""
        return next(self.parameters()).new_zeros(())

    def scorer(self) -> Scorer:
        """A frozen copy; see `Discriminator.scorer`."""
        return PlainScorer(self)


def require_sound(settings: object, space: SequenceSpace) -> None:
    """See to it that a discriminator of the user's own keeps the contract of `rlgan.discriminators.testing`.

    Args:
        settings: of any discriminator, or None; those that ship are not looked at.
        space: the task's sequences.

    Raises:
        ConfigError: the contract is broken; names the plug-in and the promise.
        PluginError: the network cannot be built or raises.
    """
    if not isinstance(settings, PluginDiscriminator):
        return
    from .testing import check_discriminator

    def check() -> None:
        check_discriminator(
            lambda: AdaptedDiscriminator(settings, space),
            space,
            granularity=settings.granularity,
            judges_pairs=settings.reads == "pairs",
            reads_soft_rows=settings.reads_soft_rows,
        )

    require_kept(settings, space, check)
