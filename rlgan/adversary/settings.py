"""How a discriminator is trained, as settings, and what contradicts them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from rlgan.base.declarations import Fields, reads_density_ratio
from rlgan.base.errors import ConfigError
from rlgan.base.problems import Problem
from rlgan.base.search_priors import Choice, NotSearched
from rlgan.base.settings import FreeOnResume, Settings
from rlgan.sampling.beam_search import DecodingSettings, Drawn

from .losses import CrossEntropy, LossSettings
from .regularisers import GradientPenaltySettings, NoGradientPenalty


class AdversarySettings(Settings):
    """How the discriminator is trained."""

    loss: LossSettings = CrossEntropy()
    """Loss of the discriminator."""
    batch: Annotated[int, Choice((64, 128, 256, 512))] = Field(64, ge=2)
    """Sequences per minibatch. They are drawn from reals and fakes together, half from each if the loss compares
    them, or from reals only if the loss reads no fakes."""
    sequences_per_round: Annotated[int, Choice((640, 2_000, 10_000))] = Field(10_000, ge=1)
    """New fakes per round, if the loss reads fakes; each epoch sees equal numbers of reals and fakes from the
    buffers."""
    buffer: Annotated[int | None, Choice((None, 10_000, 50_000))] = Field(None, ge=1)
    """Capacity of each replay buffer in sequences; null: one round, so that all fakes are new."""
    mismatched: Annotated[float | None, NotSearched("needs a task with conditions")] = Field(None, gt=0.0)
    """Weight of real sequences under the conditions of others, which the discriminator learns to reject like fakes;
    null disables. Half of every minibatch is real, and the loss is the sum of the means over reals, fakes and
    mismatched pairs."""
    perturbed: Annotated[int | None, NotSearched("part of a method's definition")] = Field(None, ge=1)
    """Number of changed copies of each real sequence, which the discriminator learns to reject like fakes: some of
    their tokens are others, drawn from those that the minibatch's reals have (R-AIRL: 2). Reals weigh as much as all
    they are set against. null disables."""
    perturbed_share: Annotated[float, NotSearched("part of a method's definition")] = Field(0.1, gt=0.0, le=1.0)
    """Share of the tokens of such a copy that are changed, rounded, and at least one."""
    reals: Annotated[Literal["drawn", "of_prompts"], NotSearched("part of a method's definition")] = "drawn"
    """Real sequences of a round: drawn from the training split, as many as there are fakes; or those of the prompts of
    its fakes, each once beside the `schedule.g_group` fakes of its prompt, both classes weighing the same. A loss
    within prompts always has the latter."""
    replay: Annotated[float | None, NotSearched("part of a method's definition")] = Field(None, gt=0.0, lt=1.0)
    """Share of a round's fakes that are of earlier rounds, out of the replay buffer, as soon as it has any; null draws
    from the whole buffer alike."""
    decoding: Annotated[DecodingSettings, NotSearched("needs a task with conditions")] = Drawn()
    """Decoding of the fakes."""
    tokens_at_once: Annotated[int | None, NotSearched("fits the memory at hand"), FreeOnResume()] = Field(None, ge=1)
    """Maximum number of tokens, including conditions and padding, for which the discriminator's gradients are computed
    at once; null for whole minibatches. The gradient equals that of the minibatch up to rounding, whatever the loss. A
    longer sequence is a part of its own. Lower it when memory is short; a minibatch in parts takes about a third more
    time."""
    l2_all: Annotated[float | None, Choice((None, 1e-6, 1e-4))] = Field(None, gt=0.0)
    """Weight λ of the L2 penalty λ·½Σw² on all weights; null disables."""
    gradient_penalty: GradientPenaltySettings = NoGradientPenalty()
    """Gradient penalty."""
    weight_clip: Annotated[float | None, Choice((None, 0.01, 0.1))] = Field(None, gt=0.0)
    """Maximum absolute weight; larger ones are clipped. null disables."""
    clip_every: Annotated[Literal["step", "phase"], NotSearched("as in one published implementation")] = "step"
    """When weights are clipped: after each step, or once per phase (after the first step of each round, as in the
    published implementation of CSGAN-NMT)."""
    verdicts: Annotated[Literal["own", "shuffled"], NotSearched("a control")] = "own"
    """Which logits a generator update reads: those of its own sequences, or (shuffled) the same logits dealt out at
    random among the sequences of `schedule.g_group`, or of the batch, at each position, so that they tell nothing (the
    control shuffled_discriminator)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.weight_clip is None and self.clip_every != "step":
            raise ConfigError(
                f"adversary.clip_every={self.clip_every!r}: has no effect, because adversary.weight_clip is null. "
                "Set adversary.weight_clip, or set this to 'step'.",
                code="clip_every_without_clip",
                fields={"adversary.clip_every": self.clip_every},
            )
        if self.perturbed is None and self.perturbed_share != 0.1:
            raise ConfigError(
                f"adversary.perturbed_share={self.perturbed_share:g}: has no effect, because adversary.perturbed is "
                "null. Set adversary.perturbed, or remove this.",
                code="share_of_no_copies",
                fields={"adversary.perturbed_share": self.perturbed_share},
            )
        if self.loss.within_prompts and self.reals != "drawn":
            raise ConfigError(
                f"adversary.reals={self.reals!r}: has no effect with adversary.loss={self.loss.kind!r}, which always "
                "has the real sequence of each prompt. Set it to drawn.",
                code="reals_of_prompts_anyway",
                fields={"adversary.reals": self.reals},
            )
        if self.replay is not None and (self.buffer is None or self.buffer <= self.sequences_per_round):
            raise ConfigError(
                f"adversary.replay={self.replay:g}: needs fakes of earlier rounds, but adversary.buffer="
                f"{self.buffer} holds one round of {self.sequences_per_round}. Raise adversary.buffer above it, or "
                "set this to null.",
                code="replay_of_nothing",
                fields={"adversary.replay": self.replay},
            )
        return self

    @property
    def needs_halves(self) -> bool:
        """Whether half of every minibatch must be real: something pairs reals with fakes."""
        pairs = self.loss.needs_halves or self.gradient_penalty.needs_halves or self.mismatched is not None
        return pairs or (self.perturbed is not None and not self.shows_prompts)

    @property
    def shows_prompts(self) -> bool:
        """Whether a minibatch has prompts, each with its real sequence and its fakes."""
        return self.loss.within_prompts or self.reals == "of_prompts"

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Buffers hold a round; mismatched pairs are of conditions, and a class of their own; one bound of weights."""
        network, loss = fields.discriminator, self.loss
        if network is not None and self.verdicts != "own" and not fields.objective.reads_reward:
            yield Problem(
                "shuffled_without_rewards",
                {"adversary.verdicts": self.verdicts},
                f"has no effect with objective={fields.objective.kind!r}, which reads no rewards. Set it to own.",
            )
        if network is not None and self.perturbed is not None:
            yield from self._check_perturbed(fields)
        if (
            network is not None
            and self.reals == "of_prompts"
            and (loss.is_of_a_distribution or not loss.reads_fakes or loss.compares_classes)
        ):
            yield Problem(
                "reals_of_no_classifier",
                {"adversary.reals": self.reals},
                f"weighs reals against fakes, but adversary.loss={loss.kind!r} does not. Set it to drawn, or use "
                "adversary.loss cross_entropy or bradley_terry.",
            )
        if network is not None and self.replay is not None and reads_density_ratio(fields):
            yield Problem(
                "replay_beside_ratio",
                {"adversary.replay": self.replay},
                f"shows fakes of earlier generators, but reward={fields.reward.kind!r} and "
                f"baseline={fields.baseline.kind!r} read the logit as log p_d/p_θ of the current one. Set it to null.",
            )
        if network is not None and self.replay is not None and not loss.reads_fakes:
            yield Problem(
                "replay_of_no_fakes",
                {"adversary.replay": self.replay},
                f"has no effect with adversary.loss={loss.kind!r}, which reads no fakes. Set it to null.",
            )
        if self.buffer is not None and loss.reads_policy:
            yield Problem(
                "replay_beside_policy",
                {"adversary.buffer": self.buffer},
                f"would keep fakes of earlier generators, but adversary.loss={loss.kind!r} needs fakes of the current "
                "one only. Set it to null.",
            )
        if self.buffer is not None and self.buffer < self.sequences_per_round:
            yield Problem(
                "buffer_below_a_round",
                {"adversary.buffer": self.buffer},
                (
                    f"is smaller than one round, adversary.sequences_per_round={self.sequences_per_round}. Set it to "
                    "at least that number."
                ),
            )
        if network is not None and self.mismatched is not None:
            at = {"adversary.mismatched": self.mismatched}
            if fields.task.is_stream:
                yield Problem(
                    "mismatched_beside_stream",
                    at,
                    "needs a fixed training split to know which pairs are true, but task.mode='stream' draws new pairs "
                    "each time. Set it to null, or set task.mode=fixed.",
                )
            if not fields.task.gives_conditions:
                yield Problem(
                    "mismatched_without_conditions",
                    at,
                    f"needs conditions, but task={fields.task.kind!r} has none. Set it to null.",
                )
            if reads_density_ratio(fields):
                yield Problem(
                    "mismatched_beside_ratio",
                    at,
                    (
                        f"adds real sequences to the discriminator's fakes, but reward={fields.reward.kind!r} and "
                        f"baseline={fields.baseline.kind!r} read its logit as log p_d/p_θ. Set it to null, or use "
                        "reward probability."
                    ),
                )
            if loss.compares_classes or loss.is_of_a_distribution:
                yield Problem(
                    "mismatched_without_classes",
                    at,
                    (
                        f"adds a third class, but adversary.loss={loss.kind!r} has no separate terms for classes. Use "
                        "another loss."
                    ),
                )
        if network is not None and self.tokens_at_once is not None and not network.judges_rows_alone:
            yield Problem(
                "parts_of_rows_together",
                {"adversary.tokens_at_once": self.tokens_at_once},
                (
                    f"needs a discriminator that judges each sequence by itself while it learns, but discriminator="
                    f"{network.kind!r} may also read the others of a minibatch (batch normalisation, spectral norms, "
                    "code of your own). Set it to null, and lower adversary.batch instead."
                ),
            )
        if network is not None and self.tokens_at_once is not None and self.gradient_penalty.kind != "none":
            yield Problem(
                "parts_beside_penalty",
                {"adversary.tokens_at_once": self.tokens_at_once},
                (
                    f"does not bound adversary.gradient_penalty={self.gradient_penalty.kind!r}, which is computed for "
                    "whole minibatches. Set one of them to null or none, or lower adversary.batch instead."
                ),
            )
        if network is not None and network.has_spectral_norm and self.weight_clip is not None:
            yield Problem(
                "bounded_twice",
                {"adversary.weight_clip": self.weight_clip},
                (
                    "clips matrices that discriminator.spectral_norm=True rescales afterwards. Set one of them to none "
                    "or false."
                ),
            )

    def _check_perturbed(self, fields: Fields) -> Iterator[Problem]:
        """Changed copies are negatives, of tokens, and nothing reads the logit as the density ratio."""
        at, loss = {"adversary.perturbed": self.perturbed}, self.loss
        if loss.is_of_a_distribution or loss.is_of_verdicts or not loss.reads_fakes:
            yield Problem(
                "copies_without_classes",
                at,
                f"adds negatives, but adversary.loss={loss.kind!r} trains no classifier. Set it to null, or use "
                "another loss.",
            )
        if fields.objective.makes_soft_rows:
            yield Problem(
                "copies_of_soft_rows",
                at,
                f"changes tokens, but objective={fields.objective.kind!r} learns from soft rows. Set it to null.",
            )
        if reads_density_ratio(fields):
            yield Problem(
                "copies_beside_ratio",
                at,
                f"adds changed real sequences to the discriminator's fakes, but reward={fields.reward.kind!r} and "
                f"baseline={fields.baseline.kind!r} read its logit as log p_d/p_θ. Set it to null, or use reward "
                "logit.",
            )
        if fields.schedule.balance.moves_boundary:
            yield Problem(
                "copies_beside_balance",
                at,
                f"weighs reals as much as all negatives, but schedule.balance={fields.schedule.balance.kind!r} weighs "
                "them, too. Set one of them to null or fixed.",
            )
