"""What is measured of a generator: likelihoods both ways, the two KL gaps where the law is known, text metrics.

Every measurement of a run draws with the same random numbers, so differences between rows of a table are less noisy
than the rows. Held-out data is the test split; nothing is ever selected on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from rlgan.envs.settings import Settings
from rlgan.envs.tasks.task import Task
from rlgan.envs.transition import sequence_mask

from .generators import Generator
from .metrics import (
    CorpusReferences,
    KneserNey,
    distinct,
    kl_gaps,
    mean_length,
    mean_nll,
    repetition_rate,
    self_bleu,
    share_unfinished,
    share_unique,
    strip,
)
from .sampling import sample
from .seeding import stream

BLEU_ORDERS = (2, 3, 4, 5)


class EvaluationSettings(Settings):
    """What is measured, and when."""

    every: int = Field(5, ge=1)
    """Adversarial units between measurements."""
    mle_every: int = Field(5, ge=1)
    """Epochs of maximum-likelihood pretraining between measurements."""
    num_sequences: int = Field(2_000, ge=2)
    """Sequences sampled for a measurement during training."""
    final_sequences: int = Field(10_000, ge=2)
    """Sequences sampled for each row of the final table."""
    num_bleu: int = Field(1_000, ge=2)
    """Of those, how many are hypotheses of BLEU and Self-BLEU; both depend on it. Text only."""
    temperatures: tuple[Annotated[float, Field(gt=0.0)], ...] = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7)
    """Temperatures at which the MLE start stands in the final table."""
    num_shown: int = Field(10, ge=0)
    """Samples written to samples.txt at each measurement."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured of one generator at one temperature.

    Attributes:
        metrics: name → value, names as in docs/metrics.md.
        tokens: (n, T) int64 sequences that were sampled for it.
    """

    metrics: dict[str, float]
    tokens: Tensor


class Evaluator:
    """Measures generators of one task.

    Args:
        task: whose test split and, where it has one, whose exact law is compared with.
        settings: how much.
        seed: the run's seed.
        draw: names the random numbers of its samples. What was chosen by one draw is reported of another.
    """

    _BATCH = 128  # test sequences whose (T, V) logits are held at once

    def __init__(self, task: Task, settings: EvaluationSettings, seed: int, draw: str = "evaluation") -> None:
        self._task, self._settings, self._seed, self._draw = task, settings, seed, draw
        self._references: CorpusReferences | None = None
        self._language_model: KneserNey | None = None  # of training sequences

    def held_out_nll(self, generator: Generator, tokens: Tensor, temperature: float = 1.0) -> float:
        """NLL of held-out sequences (n, T) in nats per token, dropout off."""
        generator.eval()
        with torch.no_grad():
            logprobs = torch.cat([generator.logprobs(part, temperature) for part in tokens.split(self._BATCH)])
        return mean_nll(logprobs, sequence_mask(self._task.space, tokens))

    def measure(self, generator: Generator, temperature: float = 1.0, num_sequences: int | None = None) -> Measurement:
        """Measure a generator.

        Args:
            generator: in any mode; measured without dropout.
            temperature: divides the logits, of its samples and of its likelihoods alike.
            num_sequences: sequences to sample; None takes the settings' `num_sequences`.

        Returns:
            Metrics and the sequences that were sampled for them.
        """
        samples = sample(
            generator.stepper(temperature),
            self._task.space,
            num_sequences or self._settings.num_sequences,
            stream(self._seed, self._draw),
        )
        metrics = {
            "eval/nll_gen": self.held_out_nll(generator, self._task.test, temperature),
            "eval/nll_div": mean_nll(samples.logprobs, samples.mask),
        }
        if self._task.oracle is not None:
            metrics |= self._oracle_metrics(samples.tokens, metrics)
        if self._task.name == "text":
            metrics |= self._text_metrics(samples.tokens)
        return Measurement(metrics=metrics, tokens=samples.tokens)

    def measure_real(self, num_sequences: int | None = None) -> Measurement:
        """The same of real sequences that no generator learns from, as far as it needs no generator: the yardstick.

        Where the task knows its law these are test sequences, whose NLL_oracle estimates the law's entropy. Elsewhere
        they are validation sequences, compared with the test split as samples are.

        Args:
            num_sequences: at most so many; None takes the settings' `num_sequences`.

        Returns:
            Metrics and the sequences.
        """
        num_sequences = num_sequences or self._settings.num_sequences
        if self._task.oracle is not None:
            tokens = self._task.test[:num_sequences]
            return Measurement({"eval/nll_oracle": self._nll_oracle(tokens)}, tokens)
        tokens = self._task.valid[:num_sequences]
        return Measurement(self._text_metrics(tokens) if self._task.name == "text" else {}, tokens)

    def _nll_oracle(self, tokens: Tensor) -> float:
        oracle = self._task.oracle
        assert oracle is not None
        logprobs = torch.cat([oracle.logprobs(part) for part in tokens.split(self._BATCH)])
        return mean_nll(logprobs, sequence_mask(self._task.space, tokens))

    def _oracle_metrics(self, tokens: Tensor, likelihoods: dict[str, float]) -> dict[str, float]:
        oracle = self._task.oracle
        assert oracle is not None
        nll_oracle = self._nll_oracle(tokens)
        gaps = kl_gaps(
            nll_oracle=nll_oracle,
            nll_div=likelihoods["eval/nll_div"],
            nll_gen=likelihoods["eval/nll_gen"],
            entropy=oracle.entropy,
        )
        return {
            "eval/nll_oracle": nll_oracle,
            "eval/kl_forward": gaps.forward,
            "eval/kl_reverse": gaps.reverse,
            "eval/kl_sum": gaps.total,
        }

    def _text_metrics(self, tokens: Tensor) -> dict[str, float]:
        space = self._task.space
        if self._references is None:
            self._references = CorpusReferences(strip(space, self._task.test), max(BLEU_ORDERS))
            self._language_model = self._learned_from(strip(space, self._task.train))
        assert self._language_model is not None
        sequences = strip(space, tokens)
        hypotheses = sequences[: self._settings.num_bleu]
        bleu = self._references.bleu(hypotheses)
        own = self_bleu(hypotheses, max(BLEU_ORDERS))
        return {
            **{f"eval/bleu_{order}": bleu[order] for order in BLEU_ORDERS},
            **{f"eval/self_bleu_{order}": own[order] for order in BLEU_ORDERS},
            "eval/lm_5gram": self._language_model.mean_nll(sequences),
            "eval/rlm_5gram": self._learned_from(sequences).mean_nll(strip(space, self._task.test)),
            "eval/distinct_2": distinct(sequences, 2),
            "eval/repetition_4": repetition_rate(sequences, 4),
            "eval/mean_length": mean_length(sequences),
            "eval/share_unique": share_unique(sequences),
            "eval/share_unfinished": share_unfinished(space, tokens),
        }

    def _learned_from(self, sequences: list[tuple[int, ...]]) -> KneserNey:
        space = self._task.space
        return KneserNey(sequences, space.vocab_size, ends=space.end_id is not None)
