"""Figures of a run on Ray's dashboard and its Prometheus end points, beside Ray's own."""

from __future__ import annotations

from collections.abc import Mapping

from ray.util.metrics import Gauge

from .faults import Faults

_SHOWN = {
    "timing/sequences_per_s": ("rlgan_sequences_per_s", "Sequences of generator batches per second of rollouts."),
    "timing/tokens_per_s": ("rlgan_tokens_per_s", "Tokens drawn per second of rollouts, including continuations."),
    "generator/staleness": ("rlgan_staleness", "Generator updates since the weights that drew the batch."),
    "discriminator/buffer_real": ("rlgan_buffer_real", "Sequences in the replay buffer of real sequences."),
    "discriminator/buffer_fake": ("rlgan_buffer_fake", "Sequences in the replay buffer of generated sequences."),
    "discriminator/accuracy_heldout": ("rlgan_accuracy_heldout", "Accuracy of the discriminator on unseen sequences."),
}


class Dashboard:
    """Gauges of one run; the newest value counts.

    Args:
        faults: what the run has lost.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._gauges = {name: Gauge(*shown) for name, shown in _SHOWN.items()}
        self._lost = Gauge("rlgan_actors_lost", "Actors that were lost and replaced.", tag_keys=("role",))
        self._shards = Gauge("rlgan_shards_computed_again", "Shards that were lost with an actor.")

    def record(self, metrics: Mapping[str, float]) -> None:
        """Show what an iteration logged, and what was lost so far."""
        for name, gauge in self._gauges.items():
            if name in metrics:
                gauge.set(metrics[name])
        for role, number in self._faults.lost.items():
            self._lost.set(number, tags={"role": role})
        self._shards.set(self._faults.reissued_shards)
