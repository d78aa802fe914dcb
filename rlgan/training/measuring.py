"""When the generator is measured between iterations, and what is watched of measurements and of rounds."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import astuple
from typing import Any, Literal

from rlgan.config.config import Config
from rlgan.config.paths import flatten, to_dict
from rlgan.evaluation.evaluator import EvaluationSettings, Measurement
from rlgan.metrics import PROBES, RankedRound, first_fall, ranking
from rlgan.schedule.phases import Phase

logger = logging.getLogger(__name__)


def is_measured(settings: EvaluationSettings, phase: Phase, step: int, is_last: bool) -> bool:
    """Whether the generator is measured after an iteration.

    Args:
        settings: how often.
        phase: of the iteration; in the discriminator's the generator stays as it is.
        step: number of the iteration within its phase, from 1.
        is_last: whether it is the last of its phase, after which the generator is always measured.
    """
    return phase != "discriminator" and (is_last or is_due(settings, phase, step))


def is_due(settings: EvaluationSettings, phase: Phase, step: int) -> bool:
    """Whether an iteration is one of those after which the generator is measured, also where it is not the last.

    Args:
        settings: how often.
        phase: of likelihood, or the adversarial one.
        step: number of the iteration within its phase, from 1.
    """
    return step % (settings.mle_every if phase == "mle" else settings.every) == 0


def against_collapse(config: Config) -> str:
    """Which settings of a run work against mode collapse, as a sentence with their values."""
    values, forcing = flatten(to_dict(config)), config.schedule.teacher_forcing
    ways = [f"lower optimizers.generator.lr (now {values['optimizers.generator.lr']:g})"]
    for path in ("schedule.teacher_forcing.weight", "objective.entropy_bonus"):
        if path in values:
            ways.append(f"raise {path} (now {values[path]:g})")
    if not forcing.learns_likelihood and config.objective.reads_reward:
        ways.append("set schedule.teacher_forcing to mixed")
    if "schedule.selection.measure" not in values:
        ways.append("set schedule.selection to best, which keeps the best generator by validation data")
    return f"In another run, {', '.join(ways[:-1])}{', or ' if len(ways) > 1 else ''}{ways[-1]}"


class CollapseWatch:
    """Warns once the generator continues in far fewer ways than at the end of pretraining.

    The metric `generator/collapse_alarm` of docs/metrics.md says how far.

    Args:
        share: of the effective rank at the end of pretraining below which it warns; None watches nothing.
        advice: what to do, in a sentence; "" where there is none.
    """

    def __init__(self, share: float | None, advice: str = "") -> None:
        self._share, self._advice = share, advice
        self._ranks: list[float] = []  # that of the end of pretraining, and those since

    def after(self, phase: Phase, measurement: Measurement, is_due: bool = True) -> dict[str, float]:
        """Look at a measurement.

        Args:
            phase: in which it was taken.
            measurement: of the generator.
            is_due: whether a longer run would have taken it, too; one that was taken only because the run ends there
                is judged, and not remembered, so that a run can be extended as if it had always been longer.

        Returns:
            Metrics; empty where nothing is watched.
        """
        rank = measurement.metrics.get("eval/effective_rank", math.nan)
        if not math.isfinite(rank) and not self._ranks:
            return {}  # nothing that a fall could be told of
        if phase == "mle":
            self._ranks = [rank]
            return {}
        ranks = [*self._ranks, rank]
        if is_due:
            self._ranks = ranks
        if self._share is None:
            return {}
        fell = first_fall(ranks, self._share)
        if fell == len(ranks) - 1:
            logger.warning(
                "possible mode collapse: the effective rank of the next-token distributions is %.1f; at the start "
                "of adversarial training it was %.1f%s",
                rank,
                ranks[0],
                f". {self._advice}" if self._advice else "",
            )
        return {"generator/collapse_alarm": float(fell is not None)}

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        return {"effective_ranks": list(self._ranks)}

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        self._ranks = list(state["effective_ranks"])


def posterior_collapse(metrics: Mapping[str, float]) -> str | None:
    """That a generator ignores its latent, and what to do; None of one that does not, or has none.

    Args:
        metrics: of a measurement.
    """
    if metrics.get("eval/active_units") != 0:
        return None
    return (
        "posterior collapse: the generator ignores its latent. No dimension of it depends on the sequence, and "
        f"its KL to the prior is {metrics['eval/latent_kl']:.2g} nats per sequence. In another run, raise "
        "generator.word_dropout, raise generator.kl_epochs, or lower generator.kl_weight"
    )


class LatentWatch:
    """Warns once the latents of a generator say nothing of its sequences: posterior collapse.

    The metric `generator/posterior_collapse` of docs/metrics.md says when.
    """

    def __init__(self) -> None:
        self._warned = False

    def after(self, measurement: Measurement, *, is_pretrained: bool) -> dict[str, float]:
        """Look at a measurement.

        Args:
            measurement: of the generator.
            is_pretrained: whether pretraining is over, during which the latent costs less and is only learned to use.

        Returns:
            Metrics; empty where there are no latents.
        """
        active = measurement.metrics.get("eval/active_units")
        if active is None:
            return {}
        found = posterior_collapse(measurement.metrics)
        if found is not None and is_pretrained and not self._warned:
            self._warned = True
            logger.warning("%s", found)
        return {"generator/posterior_collapse": float(found is not None)}

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        return {"warned_of_latents": self._warned}

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned; older versions had no latents."""
        self._warned = state.get("warned_of_latents", False)


SHORTCUT_SHARE = 0.9
"""Share of the discriminator's ranking from which a probe is told of: it says nearly as much."""


class ShortcutWatch:
    """Warns once of each probe that tells reals from fakes nearly as well as the discriminator does.

    Args:
        warns: whether anything is said; of a control nothing is.

    Attributes:
        figures: of the last round, what the discriminator and the probes reached; empty where nothing is probed.
    """

    def __init__(self, warns: bool = True) -> None:
        self.figures: dict[str, float] = {}
        self._warns = warns
        self._warned: list[str] = []

    def after(self, metrics: Mapping[str, float]) -> None:
        """Look at the metrics of a round."""
        names = (name for name in metrics if name.startswith("probe/"))
        self.figures = {name: metrics[name] for name in (*names, *_BESIDE_PROBES) if name in metrics}
        for probe in shortcuts_in(self.figures):
            if self._warns and probe not in self._warned:
                self._warned.append(probe)
                logger.warning("%s", shortcut_sentence(probe, self.figures))

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        return {"figures": dict(self.figures), "warned": list(self._warned)}

    def restore(self, state: dict[str, Any] | None) -> None:
        """Put back what `state` returned; None of an older version, which did not probe."""
        if state is not None:
            self.figures, self._warned = dict(state["figures"]), list(state["warned"])


_BESIDE_PROBES = (
    "discriminator/auc_heldout",
    "discriminator/auc_length_matched",
    "discriminator/length_correlation",
    "discriminator/length_real",
    "discriminator/length_fake",
)


def shortcuts_in(figures: Mapping[str, float]) -> list[str]:
    """Probes that say nearly as much as the discriminator: names, the best first.

    Args:
        figures: metrics of a round.
    """
    # Where there is no share, discriminator or probes are at chance.
    if figures.get("probe/share", 0.0) < SHORTCUT_SHARE:
        return []
    excess = SHORTCUT_SHARE * (figures["discriminator/auc_heldout"] - 0.5)
    areas = {name: figures[f"probe/auc_{name}"] for name in PROBES}
    return sorted((name for name in PROBES if areas[name] - 0.5 >= excess), key=lambda name: -areas[name])


def shortcut_sentence(probe: str, figures: Mapping[str, float]) -> str:
    """What is said of a probe that says nearly as much as the discriminator."""
    matched = figures.get("discriminator/auc_length_matched")
    at_equal_length = "" if matched is None else f" ({matched:.2f} at equal length)"
    return (
        f"the discriminator may be reading the {probe.replace('_', ' ')}: its AUC is "
        f"{figures['discriminator/auc_heldout']:.2f}{at_equal_length}, that of the {probe.replace('_', ' ')} alone "
        f"{figures[f'probe/auc_{probe}']:.2f}"
    )


EQUAL_UPDATES = 5
"""Updates in a row in which no reward differs, after which that is told."""


class EqualRewardWatch:
    """Warns once where the reward tells no sequence from the others of its group for several updates in a row.

    Args:
        group: sequences that are compared with each other; None compares all of a batch.
        warns: whether anything is said; of a control nothing is.
    """

    def __init__(self, group: int | None, warns: bool = True) -> None:
        self._compared = "of the batch" if group is None else "of a group"
        self._warns = warns
        self._num_equal = 0
        self._warned = False

    def after(self, metrics: Mapping[str, float]) -> None:
        """Look at the metrics of an update; where rewards are not compared, there is nothing to look at."""
        share = metrics.get("reward/equal_share")
        if share is None:
            return
        self._num_equal = self._num_equal + 1 if share == 1.0 else 0
        if self._num_equal == EQUAL_UPDATES and self._warns and not self._warned:
            self._warned = True
            logger.warning(
                "in the last %d updates the reward was the same for all samples %s, so it teaches nothing; "
                "its mean is %.3g. Look at the samples (`rlgan sample`), and at what the reward says of them",
                EQUAL_UPDATES,
                self._compared,
                metrics["generator/mean_value"],
            )

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        return {"num_equal": self._num_equal, "warned": self._warned}

    def restore(self, state: dict[str, Any] | None) -> None:
        """Put back what `state` returned; None of an older version, which did not look."""
        if state is not None:
            self._num_equal, self._warned = state["num_equal"], state["warned"]


ROUNDS_OF_RANKING = 8
"""The last rounds of which it is judged whether a discriminator is at chance, at most."""


class ChanceWatch:
    """Warns where the discriminator does not rank reals above fakes more often than one that knows nothing.

    A round is measured before it learns, so the first one of the discriminator's pretraining says nothing of what was
    learned. The rule is `rlgan.metrics.chance`.

    Args:
        config: of the run, whose settings the warning names.
        warns: whether anything is logged; of a control nothing is.
    """

    def __init__(self, config: Config, warns: bool = True) -> None:
        self._config, self._warns = config, warns
        self._rounds: list[RankedRound] = []
        self._num_rounds = 0  # of this phase, those that are no longer kept among them
        self._pretrains = True
        self._found: dict[str, str] = {}

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was found, in order: after the discriminator's pretraining, and at the end of training."""
        return tuple(self._found[when] for when in ("start", "end") if when in self._found)

    def after(self, round_: RankedRound | None, pretrains: bool) -> None:
        """Look at a round.

        Args:
            round_: what it ranked; None where the discriminator ranks nothing.
            pretrains: whether it belongs to the discriminator's pretraining.
        """
        self._found.pop("end", None)  # of a run that is extended
        if round_ is None:
            return
        if pretrains != self._pretrains:
            self._rounds, self._num_rounds, self._pretrains = [], 0, pretrains
        self._num_rounds += 1
        self._rounds = [*self._rounds, round_][-ROUNDS_OF_RANKING:]

    def judge(self, when: Literal["start", "end"]) -> None:
        """Warn if it is at chance.

        Args:
            when: after its pretraining, or at the end of training; the latter says nothing more where no round
                followed its pretraining.
        """
        if self._pretrains != (when == "start"):
            return
        is_untrained = self._pretrains and self._num_rounds <= ROUNDS_OF_RANKING
        rounds = self._rounds[1:] if is_untrained else self._rounds
        if not rounds:
            return
        found = ranking(rounds)
        if not found.is_chance:
            return
        figure = "share of real sequences above generated ones of their prompt" if rounds[0].is_of_pairs else "AUC"
        over = "the last round" if len(rounds) == 1 else f"the last {len(rounds)} rounds"
        at_end = when == "end"
        what = "ranks generated sequences above real ones" if found.is_reversed else "is at chance"
        time = "at the end of training" if at_end else "after its pretraining"
        self._found[when] = (
            f"the discriminator {what} {time}: its {figure} is {found.value:.2f} over {over}, and one that knows "
            f"nothing has {found.low:.2f} to {found.high:.2f} (95 %). {_against_chance(self._config, at_end)}"
        )
        if self._warns:
            logger.warning("%s", self._found[when])

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        return {
            "rounds": [list(astuple(one)) for one in self._rounds],
            "num_rounds": self._num_rounds,
            "pretrains": self._pretrains,
            "found": dict(self._found),
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        """Put back what `state` returned; None of an older version, which did not look."""
        if state is not None:
            self._rounds = [RankedRound(*one) for one in state["rounds"]]
            self._num_rounds, self._pretrains = state["num_rounds"], state["pretrains"]
            self._found = dict(state["found"])


def _against_chance(config: Config, at_end: bool) -> str:
    """What a discriminator at chance means, and what to do, with the values of the run's settings."""
    values = flatten(to_dict(config))
    rate = f"optimizers.discriminator.lr (now {values['optimizers.discriminator.lr']:g})"
    if at_end:
        other = f"lower optimizers.generator.lr (now {values['optimizers.generator.lr']:g})"
        return (
            "If the generator gains nothing over its controls, the discriminator may not keep up with it. In another "
            f"run, raise {rate}, or {other}"
        )
    rounds = f"schedule.discriminator_rounds (now {config.schedule.discriminator_rounds})"
    return f"Rewards are noise while it stays there. In another run, raise {rounds}, or raise {rate}"
