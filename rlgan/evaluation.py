"""What is measured of a generator: likelihoods both ways, the two KL gaps where the law is known, text metrics.

Every measurement of a run draws with the same random numbers, so differences between rows of a table are less noisy
than the rows. Held-out data is the test split; nothing is ever selected on it, but on `selection_view`. What takes
longer than a measurement during training may is measured of the final rows alone, by `measure_closely`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from rlgan.envs.errors import ConfigError
from rlgan.envs.settings import Settings
from rlgan.envs.tasks.task import Task
from rlgan.envs.transition import sequence_mask

from .adversarial_evaluation import AdversarialMeasures, FreshEvaluator
from .decoding import beam_search
from .generators import Generator
from .learned_language_model import LearnedLanguageModel
from .metrics import effective_rank, kl_gaps, mean_nll
from .pair_measures import BleuTokens, PairMeasures
from .sampling import Samples, sample
from .seeding import stream
from .selection import Measure
from .sentence_encoders import EncoderName
from .text_measures import TextMeasures


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
    """Temperatures at which the MLE start and the run itself stand in the final table."""
    encoders: tuple[EncoderName, ...] = ("ngram64",)
    """Sentence encoders in whose spaces FED and nearest neighbours are measured; `minilm` reads English, takes minutes
    of the final table, and needs the extra `encoder`. Text only."""
    num_nearest: int = Field(500, ge=2)
    """Samples of a final row whose nearest training sequences are found, and as many of the test split. Text only."""
    beam: int = Field(1, ge=1)
    """Beams of the search for the likeliest sequence, which BLEU and chrF of pairs are of, and the decoded figures of
    `adversarial`; 1 is greedy."""
    length_exponent: float = Field(0.0, ge=0.0)
    """α of ((5 + |y|)/6)^α, by which log-probabilities of beams are divided at the end."""
    bleu_tokens: BleuTokens = "13a"
    """How sacrebleu cuts text into words for BLEU and, of summaries, ROUGE. Pairs only."""
    replace_unknown: bool = False
    """In the texts that BLEU and chrF are of, the word of the source that was most attended to stands where a word is
    unknown. Pairs of words only."""
    adversarial: FreshEvaluator | None = None
    """Evaluator that is trained anew to tell rows of the final table from human pairs, which takes minutes; null for
    none. Only where the task gives something with each sequence."""
    language_model: LearnedLanguageModel | None = None
    """LSTMs that are trained anew for LM and reverse-LM scores of rows of the final table, which takes minutes a row;
    null for none, and the n-gram models alone. Text only."""
    collapse_share: float | None = Field(0.5, gt=0.0, lt=1.0)
    """Share of the effective rank with which adversarial training began; below it a warning is told. null for none."""
    num_shown: int = Field(10, ge=0)
    """Samples written to samples.txt at each measurement."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured of one generator at one temperature.

    Attributes:
        metrics: name → value, names as in docs/metrics.md.
        tokens: (n, T) int64 sequences that were sampled for it.
        conditions: (n, S) int64 what each of them was given; None where they are given nothing.
        is_real: whether the sequences are the validation split's.
    """

    metrics: dict[str, float]
    tokens: Tensor
    conditions: Tensor | None = None
    is_real: bool = False


def selection_view(task: Task) -> Task:
    """The task with validation sequences, and what they are given, in the place of those of the test split.

    What is selected on is not reported.
    """
    given = task.conditions
    if given is not None:
        given = replace(given, test=given.valid, test_words=given.valid_words, test_sources=given.valid_sources)
    return replace(task, test=task.valid, test_words=task.valid_words, conditions=given)


class Evaluator:
    """Measures generators of one task.

    Args:
        task: whose test split and, where it has one, whose exact law is compared with.
        settings: how much.
        seed: the run's seed.
        draw: names the random numbers of its samples. What was chosen by one draw is reported of another.

    Raises:
        ConfigError: an encoder is not installed, or reads what this task has not; or too few human pairs.
    """

    _BATCH = 128  # sequences whose (T, V) logits are held at once
    _NUM_PREFIXES = 128  # rows of the matrix whose effective rank is taken; it depends on their number

    def __init__(self, task: Task, settings: EvaluationSettings, seed: int, draw: str = "evaluation") -> None:
        self._task, self._settings, self._seed, self._draw = task, settings, seed, draw
        self._text = _text_measures(task, settings, seed)
        self._pairs = (
            PairMeasures(task, settings.bleu_tokens, settings.replace_unknown) if task.name == "pairs" else None
        )
        self._adversarial = _adversarial_measures(task, settings, seed)

    def held_out_nll(
        self, generator: Generator, tokens: Tensor, temperature: float = 1.0, conditions: Tensor | None = None
    ) -> float:
        """NLL of held-out sequences (n, T), given conditions (n, S) or nothing, in nats per token, dropout off."""
        generator.eval()
        with torch.no_grad():
            logprobs = torch.cat(
                [
                    generator.given(given).logprobs(part, temperature)
                    for part, given in self._batches(tokens, conditions)
                ]
            )
        return mean_nll(logprobs, sequence_mask(self._task.space, tokens))

    def _batches(self, tokens: Tensor, conditions: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
        for first in range(0, len(tokens), self._BATCH):
            rows = slice(first, first + self._BATCH)
            yield tokens[rows].long(), None if conditions is None else conditions[rows].long()

    def measure(self, generator: Generator, temperature: float = 1.0, num_sequences: int | None = None) -> Measurement:
        """Measure a generator.

        Args:
            generator: in any mode; measured without dropout.
            temperature: divides the logits, of its samples and of its likelihoods alike.
            num_sequences: sequences to sample; None takes the settings' `num_sequences`.

        Returns:
            Metrics and the sequences that were sampled for them. Likelihoods, and what follows from them, only of a
            generator that has them.
        """
        samples, conditions = self._drawn(generator, temperature, num_sequences or self._settings.num_sequences)
        metrics = self._likelihoods(generator, temperature, samples, conditions)
        if generator.has_law:
            metrics["eval/effective_rank"] = self._effective_rank(generator, samples.tokens, temperature, conditions)
        if self._text is not None:
            metrics |= self._text.measure(samples.tokens)
        if self._pairs is not None:
            metrics |= self._answers(generator, temperature, self._pairs)
        return Measurement(metrics, samples.tokens, conditions)

    def figure(self, generator: Generator, measure: Measure) -> float:
        """One figure of a generator, and nothing measured that it does not need.

        Args:
            generator: in any mode; measured without dropout.
            measure: which; the task and the generator have it.
        """
        if measure == "valid_nll":
            return self.held_out_nll(generator, self._task.test, conditions=self._held_out_conditions)
        if measure in ("corpus_bleu", "chrf"):
            assert self._pairs is not None
            return self._answers(generator, 1.0, self._pairs)[f"eval/{measure}"]
        samples, conditions = self._drawn(generator, 1.0, self._settings.num_sequences)
        if measure == "lm_rlm":
            assert self._text is not None
            return sum(self._text.language_models(samples.tokens).values())
        return self._likelihoods(generator, 1.0, samples, conditions)["eval/kl_sum"]

    def _drawn(self, generator: Generator, temperature: float, number: int) -> tuple[Samples, Tensor | None]:
        """Samples, and what they are given: the conditions of the test split, again from the first where they end."""
        conditions = self._held_out_conditions
        if conditions is not None:
            conditions = conditions[torch.arange(number) % len(conditions)].long()
        rng = stream(self._seed, self._draw)
        stepper = generator.stepper(temperature)
        return sample(stepper, self._task.space, number, rng, conditions=conditions), conditions

    def _likelihoods(
        self, generator: Generator, temperature: float, samples: Samples, conditions: Tensor | None
    ) -> dict[str, float]:
        """Those that generator and task have, both ways, and the gaps that follow from them."""
        metrics: dict[str, float] = {}
        if generator.has_law:
            given = self._held_out_conditions
            metrics["eval/nll_gen"] = self.held_out_nll(generator, self._task.test, temperature, given)
            metrics["eval/nll_div"] = mean_nll(samples.logprobs, samples.mask)
        if self._task.has_known_law:
            metrics["eval/nll_oracle"] = self._nll_oracle(samples.tokens, conditions)
            if generator.has_law:
                metrics |= self._kl_metrics(metrics)
        return metrics

    def _answers(self, generator: Generator, temperature: float, pairs: PairMeasures) -> dict[str, float]:
        """Of the likeliest sequences for the different conditions of the test split."""
        return pairs.measure(self._decoded(generator, temperature, pairs.conditions), generator)

    def _decoded(self, generator: Generator, temperature: float, conditions: Tensor) -> Tensor:
        """The likeliest sequences (n, T) that are given conditions (n, S)."""
        stepper, settings = generator.stepper(temperature), self._settings
        number = len(conditions)
        found = beam_search(stepper, self._task.space, number, settings.beam, settings.length_exponent, conditions)
        return found.tokens

    def measure_real(self, num_sequences: int | None = None) -> Measurement:
        """The same of real sequences that no generator learns from, as far as it needs no generator: the yardstick.

        Where the task knows its law these are test sequences, whose NLL_oracle estimates the law's entropy. Elsewhere
        they are validation sequences, compared with the test split as samples are.

        Args:
            num_sequences: at most so many; None takes the settings' `num_sequences`.

        Returns:
            Metrics, the sequences and what they are given.
        """
        number, given = num_sequences or self._settings.num_sequences, self._task.conditions
        if self._task.has_known_law:
            tokens = self._task.test[:number].long()
            conditions = None if given is None else given.test[:number].long()
            return Measurement({"eval/nll_oracle": self._nll_oracle(tokens, conditions)}, tokens, conditions)
        tokens = self._task.valid[:number].long()
        conditions = None if given is None else given.valid[:number].long()
        metrics = {} if self._text is None else self._text.measure(tokens)
        if self._pairs is not None:
            metrics |= self._pairs.measure_form(tokens)
        return Measurement(metrics, tokens, conditions, is_real=True)

    def measure_closely(self, measurement: Measurement) -> dict[str, float]:
        """What takes too long to be measured during training: who learned by heart, and what models have to learn.

        Of the first `num_nearest` sequences the distance to the nearest training sequence, by 3-grams and in the space
        of each encoder, tested against that of as many test sequences; FED by the encoders that are not fast; and LM
        and reverse-LM scores by learned language models, where the settings have one.

        Args:
            measurement: as `measure` and `measure_real` return it.

        Returns:
            Metrics; none where the task is not text.
        """
        if self._text is None:
            return {}
        return self._text.measure_closely(measurement.tokens, are_valid=measurement.is_real)

    def measure_adversarially(
        self, generator: Generator, temperature: float = 1.0, *, decodes: bool = True, rates_evaluator: bool = True
    ) -> dict[str, float]:
        """What a fresh evaluator makes of a generator, beside human pairs of the test split; takes many seconds.

        Args:
            generator: in any mode; measured without dropout.
            temperature: divides the logits.
            decodes: whether its likeliest sequences are judged, too.
            rates_evaluator: whether the evaluator's own reliability is found, with its samples as the machine.

        Returns:
            Metrics; none where the settings have no evaluator.
        """
        if self._adversarial is None:
            return {}
        conditions = self._adversarial.conditions
        rng = stream(self._seed, self._draw, "adversarial")
        samples = sample(
            generator.stepper(temperature), self._task.space, len(conditions), rng, conditions=conditions
        ).tokens
        metrics = self._adversarial.measure(samples, rates_evaluator=rates_evaluator)
        if decodes:
            different, place = torch.unique(conditions, dim=0, return_inverse=True)
            found = self._adversarial.measure(self._decoded(generator, temperature, different)[place])
            metrics |= {name.replace("eval/", "eval/decoded_"): value for name, value in found.items()}
        return metrics

    def measure_people(self) -> dict[str, float]:
        """The same of people, half of whom are taken for the machine: the yardstick of `measure_adversarially`."""
        return {} if self._adversarial is None else self._adversarial.measure_people()

    @property
    def _held_out_conditions(self) -> Tensor | None:
        """What the sequences of the test split are given."""
        return None if self._task.conditions is None else self._task.conditions.test

    def _nll_oracle(self, tokens: Tensor, conditions: Tensor | None) -> float:
        logprobs = []
        for part, given in self._batches(tokens, conditions):
            oracle = self._task.oracle_of(given)
            assert oracle is not None
            logprobs.append(oracle.logprobs(part))
        return mean_nll(torch.cat(logprobs), sequence_mask(self._task.space, tokens))

    def _kl_metrics(self, likelihoods: dict[str, float]) -> dict[str, float]:
        oracle = self._task.oracle_of(self._held_out_conditions)
        assert oracle is not None
        gaps = kl_gaps(
            nll_oracle=likelihoods["eval/nll_oracle"],
            nll_div=likelihoods["eval/nll_div"],
            nll_gen=likelihoods["eval/nll_gen"],
            entropy=oracle.entropy,
        )
        return {
            "eval/kl_forward": gaps.forward,
            "eval/kl_reverse": gaps.reverse,
            "eval/kl_sum": gaps.total,
        }

    def _effective_rank(
        self, generator: Generator, tokens: Tensor, temperature: float, conditions: Tensor | None
    ) -> float:
        """Of the next-token distributions after prefixes of the generator's own sequences.

        Row i is what follows a prefix of sequence i, of i modulo its length tokens, so that all lengths occur. After
        held-out prefixes it would rise where a generator is cooled, as it makes every distribution sharper.
        """
        tokens = tokens[: self._NUM_PREFIXES]
        conditions = None if conditions is None else conditions[: self._NUM_PREFIXES]
        lengths = sequence_mask(self._task.space, tokens).sum(1)
        places = torch.arange(len(tokens), device=tokens.device) % lengths
        generator.eval()
        with torch.no_grad():
            logits = generator.given(conditions).logits(tokens)[torch.arange(len(tokens)), places]
        return effective_rank(torch.softmax(logits / temperature, 1))


def _adversarial_measures(task: Task, settings: EvaluationSettings, seed: int) -> AdversarialMeasures | None:
    if settings.adversarial is None:
        return None
    assert task.conditions is not None
    return AdversarialMeasures(task.space, task.conditions.test, task.test, settings.adversarial, seed)


def _text_measures(task: Task, settings: EvaluationSettings, seed: int) -> TextMeasures | None:
    if task.name == "text":
        return TextMeasures(
            task,
            num_bleu=settings.num_bleu,
            num_nearest=settings.num_nearest,
            encoders=settings.encoders,
            language_model=settings.language_model,
            seed=seed,
        )
    if "minilm" in settings.encoders:
        raise ConfigError(
            f"evaluation.encoders={list(settings.encoders)}: 'minilm' reads text, and task={task.name!r} has none. "
            "Leave it out."
        )
    return None
