"""Of what judges: its loss, its fakes, its balance, and what is read into its logits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rlgan.adversary.losses import CrossEntropy, Hinge, LeastSquares, Likelihood, Relativistic, Wasserstein
from rlgan.adversary.regularisers import InterpolatedPenalty, NoGradientPenalty
from rlgan.discriminators import DiscriminatorSettings, LanguageModel, Tabular, Transformer
from rlgan.policy.advantage_scaling import GroupDeviation, Whiten
from rlgan.policy.baselines import ImportanceWeights, NoBaseline
from rlgan.policy.credit import Prefix
from rlgan.policy.logit_maps import Logit
from rlgan.policy.rewards import LogRatio, Mixed
from rlgan.policy.teacher_forcing import MixedPrefix
from rlgan.sampling.beam_search import Drawn
from rlgan.schedule.discriminator_balance import Band, Equilibrium, FixedBalance

from .common import reads_ratio

if TYPE_CHECKING:
    from ..config import Config


def who_gives_a_law(config: Config) -> Iterator[str]:
    """A language model, the loss that it learns by and what is read of it belong together."""
    network, loss, reward = config.discriminator, config.adversary.loss, config.reward
    if network is None:
        return
    if isinstance(network, LanguageModel) and not isinstance(loss, Likelihood):
        yield (
            f"adversary.loss={loss.kind!r}: tells reals from fakes, and discriminator='language_model' is a law over "
            "tokens. Use adversary.loss likelihood, or another discriminator."
        )
    if isinstance(loss, Likelihood) and not isinstance(network, LanguageModel):
        yield (
            f"adversary.loss='likelihood': is of a law over tokens, and discriminator={network.kind!r} is none. Use "
            "discriminator language_model, or another loss."
        )
    if isinstance(reward, LogRatio) and not isinstance(network, LanguageModel):
        yield (
            f"reward='log_ratio': reads log p_φ of tokens, and discriminator={network.kind!r} gives none. Use "
            "discriminator language_model and adversary.loss likelihood, or reward logit."
        )
    if isinstance(network, LanguageModel) and config.objective.is_differentiated:
        yield (
            f"discriminator='language_model': reads tokens, and objective={config.objective.kind!r} shows it soft rows."
            " Use another discriminator, or objective reinforce with reward log_ratio."
        )
    if isinstance(loss, Likelihood) and isinstance(config.schedule.balance, Band):
        yield (
            "schedule.balance='band': is of the area under the ROC curve, and adversary.loss='likelihood' ranks "
            "nothing. Set it to fixed."
        )


def who_keeps_the_balance(config: Config) -> Iterator[str]:
    """Buffers, and how much the discriminator learns beside the generator."""
    schedule = config.schedule
    if config.adversary.buffer is not None and config.adversary.buffer < config.adversary.sequences_per_round:
        yield (
            f"adversary.buffer={config.adversary.buffer}: holds less than one round of "
            f"adversary.sequences_per_round={config.adversary.sequences_per_round}. Make it at least as large."
        )
    learns_between = schedule.adversarial_updates > 0 and config.has_adversary and schedule.d_steps > 0
    if not isinstance(schedule.balance, FixedBalance) and not learns_between:
        yield (
            f"schedule.balance={schedule.balance.kind!r}: has no effect without rounds of the discriminator between "
            "generator updates. Set it to fixed."
        )
    costless = Relativistic | Wasserstein | Likelihood
    if isinstance(schedule.balance, Equilibrium) and isinstance(config.adversary.loss, costless):
        yield (
            f"schedule.balance='equilibrium': weighs what reals cost against what fakes cost, and adversary.loss="
            f"{config.adversary.loss.kind!r} has no such costs. Use another loss or balance."
        )


def how_fakes_are_written(config: Config) -> Iterator[str]:
    """Fakes that beams find are of a task that asks for different ones, and of a law that nobody reads."""
    adversary, forcing, decoding = config.adversary, config.schedule.teacher_forcing, config.adversary.decoding
    if isinstance(decoding, Drawn):
        return
    told = f"adversary.decoding={decoding.kind!r}"
    if not adversary.loss.reads_fakes:
        yield f"{told}: has no effect with adversary.loss={adversary.loss.kind!r}, which reads no fakes. Use drawn."
    if not config.task.gives_conditions:
        yield (
            f"{told}: all fakes that beams find would be one, for task={config.task.kind!r} gives nothing with its "
            "sequences. Use drawn."
        )
    if config.objective.makes_soft_rows:
        yield f"{told}: finds tokens, and objective={config.objective.kind!r} makes soft rows of fakes. Use drawn."
    if isinstance(forcing, MixedPrefix):
        yield (
            f"{told}: begins with nothing, and schedule.teacher_forcing='mixed_prefix' gives fakes their first tokens. "
            "Use drawn, or another teacher forcing."
        )
    if decoding.rounds == "pretraining" and not config.schedule.discriminator_rounds:
        yield (
            f"{told}: is of pretraining, and schedule.discriminator_rounds is 0. Set adversary.decoding.rounds to all, "
            "or use drawn."
        )
    if reads_ratio(config):
        yield (
            f"{told}: fakes that are found are not of the law p_θ, whose ratio reward={config.reward.kind!r} and "
            f"baseline={config.baseline.kind!r} read. Use drawn."
        )


def what_is_read_into_logits(config: Config, network: DiscriminatorSettings) -> Iterator[str]:
    """Those of how the discriminator learns and of what is read into its logits."""
    adversary = config.adversary
    path, reward = (
        "reward.map" if isinstance(config.reward, Mixed) else "reward",
        config.reward.logit_map or config.reward,
    )
    loss, slope = adversary.loss, adversary.gradient_penalty
    pays = config.schedule.adversarial_updates > 0 and "discriminator" in reward.reads
    is_of_a_law = isinstance(loss, Likelihood)
    # Importance weights are a softmax of the logits, in which an unknown constant cancels.
    is_shifted = isinstance(loss, Relativistic) or (
        loss.is_log_odds and isinstance(config.schedule.balance, Equilibrium)
    )
    is_shift_free = is_shifted and isinstance(config.baseline, ImportanceWeights)
    if pays and is_of_a_law and not isinstance(reward, LogRatio | Logit):
        yield (
            f"{path}={reward.kind!r}: reads the logit as log p_d/p_θ, and with adversary.loss='likelihood' it is "
            f"{loss.meaning}. Use reward log_ratio, or logit."
        )
    if pays and not (is_of_a_law or config.tells_log_odds or isinstance(reward, Logit) or is_shift_free):
        which, meaning = f"adversary.loss={loss.kind!r}", loss.meaning
        if loss.is_log_odds:
            which, meaning = "schedule.balance='equilibrium'", "that plus log k"
        yield (
            f"{path}={reward.kind!r}: reads the logit as log p_d/p_θ, and with {which} it is {meaning}. Use {path} "
            + ("logit or schedule.balance fixed" if loss.is_log_odds else "logit or adversary.loss cross_entropy")
            + ("; reward ratio goes with baseline importance_weights." if is_shifted and path == "reward" else ".")
        )
    smoothing = loss.label_smoothing if isinstance(loss, CrossEntropy) else 0.0
    if pays and smoothing and reads_ratio(config):
        yield (
            f"adversary.loss.label_smoothing={smoothing:g}: the logit would be log (1 - s) p_d/(p_θ + s p_d), and "
            f"{path}={reward.kind!r} with baseline={config.baseline.kind!r} reads it as log p_d/p_θ. Set it to 0."
        )
    if network.granularity == "token" and not isinstance(slope, NoGradientPenalty):
        yield (
            f"adversary.gradient_penalty={slope.kind!r}: is of one score a sequence, and discriminator="
            f"{network.kind!r} scores tokens. Set it to none, or choose another discriminator."
        )
    if isinstance(config.credit, Prefix) and not isinstance(slope, NoGradientPenalty):
        yield (
            f"adversary.gradient_penalty={slope.kind!r}: is taken at whole sequences, and credit='prefix' shows the "
            "discriminator none. Set it to none, or choose another credit."
        )
    balance = config.schedule.balance
    if adversary.batch % 2 and (adversary.needs_halves or isinstance(balance, Equilibrium)):
        which = f"adversary.gradient_penalty={slope.kind!r}"
        if adversary.mismatched is not None:
            which = f"adversary.mismatched={adversary.mismatched:g}"
        if loss.needs_halves:
            which = f"adversary.loss={loss.kind!r}"
        elif isinstance(balance, Equilibrium):
            which = f"schedule.balance={balance.kind!r}"
        yield f"adversary.batch={adversary.batch}: {which} compares reals with as many fakes. Use an even number."
    has_spectral_norm = isinstance(network, Transformer) and network.spectral_norm
    is_bounded = adversary.weight_clip is not None or not isinstance(slope, NoGradientPenalty) or has_spectral_norm
    if isinstance(loss, Wasserstein) and not is_bounded:
        yield (
            "adversary.loss='wasserstein': has no minimum while nothing bounds the critic. Set "
            "adversary.gradient_penalty to interpolated, adversary.weight_clip, or a transformer's spectral_norm."
        )
    if adversary.weight_clip is not None and has_spectral_norm:
        yield (
            f"adversary.weight_clip={adversary.weight_clip:g}: bounds matrices that discriminator.spectral_norm=True "
            "scales afterwards. Set one of them to none or false."
        )
    if isinstance(network, Tabular) and isinstance(slope, InterpolatedPenalty) and slope.space == "embedding":
        yield (
            "adversary.gradient_penalty.space='embedding': discriminator='tabular' has no embedding. Set it to onehot."
        )


def what_has_no_origin(config: Config) -> Iterator[str]:
    """Where logits are known up to a constant, something must be taken off rewards (docs/algorithms.md §8)."""
    reward, loss = (config.reward.logit_map or config.reward), config.adversary.loss
    if not config.schedule.adversarial_updates or "discriminator" not in reward.reads:
        return
    has_origin = config.tells_log_odds or isinstance(loss, Hinge | LeastSquares | Likelihood)
    centres = isinstance(config.normalisation, Whiten | GroupDeviation) or not isinstance(config.baseline, NoBaseline)
    if not (has_origin or centres or config.objective.is_differentiated):
        which = "schedule.balance='equilibrium'" if loss.is_log_odds else f"adversary.loss={loss.kind!r}"
        yield (
            f"baseline='none': with {which} reward={reward.kind!r} has no origin, and its mean alone would raise or "
            "lower whatever is sampled. Use baseline leave_one_out, or normalisation whiten."
        )
