"""What is measured of a generator: likelihoods both ways, KL gaps where the distribution is known, text metrics.

Every measurement of a run draws with the same random numbers, so differences between rows of a table are less noisy
than the rows. Held-out data is the test split; nothing is ever selected on it, but on `selection_view`. What takes
longer than a measurement during training may is measured of the final rows alone, by `measure_closely`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor
from typing_extensions import Self

from rlgan.base.activity import advance, stage
from rlgan.base.declarations import Fields
from rlgan.base.errors import ConfigError
from rlgan.base.problems import Problem
from rlgan.base.seeding import stream
from rlgan.base.settings import FollowsData, ReadIf, Settings
from rlgan.envs.tasks.task import Task
from rlgan.envs.transition import sequence_mask
from rlgan.generators import Draw, Generator, Samples
from rlgan.metrics import active_units, effective_rank, kl_gaps, mean_nll, mean_rank, strip
from rlgan.metrics.latents import central_differences
from rlgan.metrics.quantity import Quantity, Size
from rlgan.sampling.sampler import sampler_of
from rlgan.sampling.unknown_words import no_words
from rlgan.schedule.model_selection import Measure

from .adversarial import AdversarialMeasures, FreshEvaluator
from .evidence import KL_SUM, LM_RLM, PAIR_SUM, Evidence, beside, in_groups, without_each
from .evidence import Measure as TwoSided
from .language_model_scores import LanguageModelScores
from .learned_language_model import LearnedLanguageModel
from .likeliest import Likeliest
from .own_metric import OwnMetric, metric_of, require_apart
from .own_metrics import OwnMetrics
from .pair_measures import BleuTokens, PairMeasures
from .quantities import quantity
from .sentence_encoders import EncoderName
from .text_measures import TextMeasures


class EvaluationSettings(Settings):
    """What is measured, and when."""

    every: Annotated[int, ReadIf("adversarial updates")] = Field(5, ge=1)
    """Adversarial iterations between evaluations."""
    mle_every: Annotated[int, ReadIf("pretraining")] = Field(5, ge=1)
    """Epochs of maximum-likelihood pretraining between evaluations."""
    num_sequences: Annotated[int, FollowsData("evaluation")] = Field(2_000, ge=2)
    """Number of sequences sampled for an evaluation during training."""
    final_sequences: Annotated[int, FollowsData("evaluation")] = Field(10_000, ge=2)
    """Number of sequences sampled for each row of the final table."""
    num_bleu: Annotated[int, ReadIf("text")] = Field(1_000, ge=2)
    """Number of these sequences used for BLEU and Self-BLEU, whose values depend on it. Text only."""
    temperatures: tuple[Annotated[float, Field(gt=0.0)], ...] = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7)
    """Temperatures at which the final table has the MLE start, the controls and the run itself. For each of them the
    verdict uses the temperature that is best on validation data."""
    equal_trainings: Annotated[int, ReadIf("control of its kind")] = Field(3, ge=0)
    """Number of repeated trainings of one control with other seeds, which estimate how much two equal trainings
    differ. The control is constant_reward, or else random_reward. With 0 the verdict makes no claim."""
    encoders: tuple[EncoderName, ...] = ("ngram64",)
    """Sentence encoders for FED and nearest neighbours. `minilm` is for English, takes minutes for the final table,
    and needs the extra `encoder`. Text only."""
    num_nearest: Annotated[int, ReadIf("text")] = Field(500, ge=2)
    """Number of samples, and of test sequences, whose nearest training sequences are searched for each row of the
    final table. Text only."""
    beam: Annotated[int, ReadIf("decoding")] = Field(1, ge=1)
    """Beam width for the most likely sequence, which is used for BLEU and chrF of pairs and for decoded metrics of
    `adversarial`; 1 is greedy decoding."""
    length_exponent: Annotated[float, ReadIf("decoding")] = Field(0.0, ge=0.0)
    """Exponent α of the length penalty ((5 + |y|)/6)^α, which divides the log-probability of finished beams."""
    bleu_tokens: Annotated[BleuTokens, ReadIf("pairs of texts")] = "auto"
    """Tokeniser of sacrebleu for BLEU and, for summaries, ROUGE. auto follows the script of the references: 13a for
    text with spaces between words, zh for Chinese, char for other scripts without spaces. Pairs only."""
    replace_unknown: bool = False
    """Whether unknown words are replaced by the most attended word of the source in the texts for BLEU and chrF.
    Pairs of words only."""
    adversarial: FreshEvaluator | None = None
    """Evaluator that is trained from scratch to distinguish each row of the final table from human pairs, which
    takes minutes; null disables. Only for tasks with conditions."""
    language_model: LearnedLanguageModel | None = None
    """LSTMs that are trained from scratch for LM and reverse-LM scores of the final table, which takes minutes per
    row; null uses n-gram models only. Text and pairs of texts only; of pairs, the scores of the answers alone."""
    length_matched: Annotated[bool, ReadIf("texts")] = False
    """Whether the final table also has the LM scores at the lengths of real sequences: a mean over test sequences of
    means over generated ones as long. Text and pairs of texts only; of pairs, the scores of the answers alone."""
    collapse_share: Annotated[float | None, ReadIf("adversarial updates")] = Field(0.5, gt=0.0, lt=1.0)
    """A warning is logged when the effective rank falls below this share of its value at the start of adversarial
    training. null disables."""
    num_shown: int = Field(10, ge=0)
    """Number of samples that are written to samples.txt at each evaluation."""
    num_rewarded: Annotated[int, ReadIf("own reward")] = Field(500, ge=0)
    """Number of samples for each row of the final table that your own reward functions score. 0 disables."""
    metrics: tuple[OwnMetric, ...] = ()
    """Your own functions of texts, measured beside the built-in metrics: `FILE.py:NAME,...`, or a JSON list of
    settings."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        require_apart(self.metrics)
        return self

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Words can be put in the place of unknown ones where there are words on both sides."""
        task = fields.task
        if not self.replace_unknown:
            return
        at = {"evaluation.replace_unknown": self.replace_unknown}
        if "references" not in task.measures:
            yield Problem(
                "words_of_no_source",
                at,
                f"copies words of the source, but task={task.kind!r} has none. Set it to false.",
            )
        elif refusal := no_words(*task.are_words):
            yield Problem("no_words", at, f"{refusal}. Set it to false.")
        elif not fields.generator.attends:
            yield Problem(
                "generator_attends_to_nothing",
                at,
                (
                    f"needs the attention of the generator, which generator={fields.generator.kind!r} does not "
                    "provide. Set it to false."
                ),
            )


_ALONE = (
    "the data has prompts alone: without completions there is no row of real data, no NLL_gen, no metric that compares "
    "with references, and no verdict. Rows are compared by your own rewards and metrics, on the prompts of the test "
    "split"
)


def temperatures_of(settings: EvaluationSettings) -> list[float]:
    """Temperatures of the final table: a generator as it is stands in every table, and no temperature twice."""
    return list(dict.fromkeys((1.0, *settings.temperatures)))


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
    conditions = task.conditions
    if conditions is not None:
        conditions = replace(
            conditions, test=conditions.valid, test_words=conditions.valid_words, test_sources=conditions.valid_sources
        )
    return replace(task, test=task.valid, test_words=task.valid_words, conditions=conditions)


class Evaluator:
    """Measures generators of one task.

    Args:
        task: whose test split and, where it has one, whose exact distribution is compared with.
        settings: how much.
        seed: the run's seed.
        draw: names the random numbers of its samples. What was chosen by one draw is reported of another.

    Raises:
        ConfigError: an encoder is not installed, or reads what this task has not; or too few human pairs.
    """

    _BATCH = 128  # sequences whose (T, V) logits are held at once
    _NUM_GROUPS = 10  # of drawn sequences, without each of which an n-gram model is learned again
    _NUM_SOURCE_GROUPS = 20  # of sources of pairs, without each of which chrF is computed again
    _NUM_PREFIXES = 128  # rows of the matrix whose effective rank is taken; it depends on their number
    _NUM_JACOBIANS = 16  # samples whose derivatives by their latents are taken; their ranks are averaged

    def __init__(self, task: Task, settings: EvaluationSettings, seed: int, draw: str = "evaluation") -> None:
        self._task, self._settings, self._seed, self._draw = task, settings, seed, draw
        self._scores = LanguageModelScores(task, settings.language_model, settings.length_matched, seed)
        self._text = _text_measures(task, settings, self._scores)
        self._pairs = (
            PairMeasures(task, settings.bleu_tokens, settings.replace_unknown)
            if "references" in task.measures
            else None
        )
        self._adversarial = _adversarial_measures(task, settings, seed)
        self._own = OwnMetrics(settings.metrics, task)
        self._likeliest = Likeliest(task.space, settings.beam, settings.length_exponent)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of how figures are taken, for the log and beside the table."""
        alone = () if self._task.has_real_sequences else (_ALONE,)
        return (*alone, *(() if self._pairs is None else self._pairs.notes), *self._own.notes)

    @property
    def tags(self) -> dict[str, str]:
        """The same, by name."""
        return {} if self._pairs is None else {"bleu_tokens": self._pairs.tokeniser}

    def drawn(self, texts: Sequence[str], legends: Sequence[str] | None = None) -> str | None:
        """A picture of texts, an SVG; see `OwnMetrics.drawn`."""
        return self._own.drawn(texts, legends)

    def identified(self, texts: Sequence[str]) -> list[str]:
        """What each text stands for, the same name for the same thing; see `OwnMetrics.identified`."""
        return self._own.identified(texts)

    def quantity(self, name: str) -> Quantity:
        """Facts of a figure that this evaluator measures: unit, direction, what it depends on the number of.

        Args:
            name: without `eval/`.
        """
        return quantity(name, self._settings.metrics)

    def sizes(self, number: int) -> dict[Size, int]:
        """Of how much figures are that are measured by so many samples."""
        task, settings = self._task, self._settings
        return {
            "samples": number,
            "hypotheses": min(settings.num_bleu, number),
            "as real": min(number, len(task.valid)),
            "prefixes": min(self._NUM_PREFIXES, number),
            "neighbours": min(settings.num_nearest, number),
            "sources": len(task.test) if self._pairs is None else len(self._pairs.conditions),
            "pairs": 0 if self._adversarial is None else len(self._adversarial.conditions),
            "test": len(task.test),
            "training": len(task.train),
        }

    def require_figure(self, measure: Measure) -> None:
        """See to it that generators can differ in a figure.

        Raises:
            ConfigError: it is 0 for all of them, or is a distance from completions that the data does not have.
        """
        own = metric_of(self._settings.metrics, measure)
        if own is not None and own.direction_of(measure) == "none" and not self._task.has_real_sequences:
            raise ConfigError(
                f"schedule.selection.measure={measure!r}: its direction is none, so what counts is the distance from "
                "real texts, but the data has prompts alone. "
                + (
                    f"Use one that {own.name} declares to be min or max."
                    if own.directions
                    else "Set the direction of the metric to min or max."
                ),
                code="selection_of_a_distance",
                fields={"schedule.selection.measure": measure},
            )
        if measure == "corpus_bleu" and self._pairs is not None and self._pairs.why_zero is not None:
            raise ConfigError(
                f"schedule.selection.measure='corpus_bleu': {self._pairs.why_zero}, and select by chrf.",
                code="bleu_selects_nothing",
            )

    def is_higher_better(self, measure: Measure) -> bool | None:
        """Whether a figure of a metric of your own is better where it is higher; None of what ships."""
        own = metric_of(self._settings.metrics, measure)
        return None if own is None else own.direction_of(measure) == "max"

    def held_out_nll(
        self, generator: Generator, tokens: Tensor, temperature: float = 1.0, conditions: Tensor | None = None
    ) -> float:
        """NLL of held-out sequences (n, T), given conditions (n, S) or nothing, in nats per token, dropout off."""
        logprobs = self._logprobs(generator, tokens, temperature, conditions)
        return mean_nll(logprobs, sequence_mask(self._task.space, tokens))

    def _logprobs(self, generator: Generator, tokens: Tensor, temperature: float, conditions: Tensor | None) -> Tensor:
        """(n, T) of the tokens of sequences, dropout off."""
        generator.eval()
        with torch.no_grad(), stage("held out", item="batch", total=-(-len(tokens) // self._BATCH)):
            parts = []
            for part, some_conditions in self._batches(tokens, conditions):
                parts.append(generator.conditional(some_conditions).logprobs(part, temperature))
                advance()
            return torch.cat(parts)

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
        if generator.has_likelihood or samples.latents is not None:
            metrics["eval/effective_rank"] = self._effective_rank(generator, samples, temperature, conditions)
        if samples.latents is not None:
            metrics |= self._of_latents(generator, samples, samples.latents, temperature, conditions)
        if self._text is not None:
            metrics |= self._text.measure(samples.tokens)
        if self._pairs is not None:
            metrics |= self._answers(generator, temperature, self._pairs)
        metrics |= self._own.measure(samples.tokens, conditions)
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
            return sum(self._scores.of(strip(self._task.space, samples.tokens)).values())
        if any(metric.has(measure) for metric in self._settings.metrics):
            return self._own.figure(measure, samples.tokens, conditions)
        return self._likelihoods(generator, 1.0, samples, conditions)["eval/kl_sum"]

    def two_sided(self, generator: Generator) -> TwoSided | None:
        """The measure by which generators of this task are distinguished; None where this one has none.

        Without likelihoods there are no KL gaps, and no NLL of references.
        """
        if self._task.has_known_distribution and generator.has_likelihood:
            return KL_SUM
        if self._text is not None:
            return LM_RLM
        return PAIR_SUM if self._pairs is not None and generator.has_likelihood else None

    def evidence(self, generator: Generator, temperature: float, number: int, *, has_groups: bool = True) -> Evidence:
        """The two-sided measure of a generator, and what it is without some of the sequences.

        The sequences that are drawn are those that `measure` draws, so that the sides are those of its row.

        Args:
            generator: in any mode; has a two-sided measure.
            temperature: divides the logits.
            number: of sequences to draw.
            has_groups: whether to find what the measure is without groups that take long to leave out: an n-gram model
                is learned again and chrF computed again for each.

        Returns:
            Sides, and replicates.
        """
        measure = self.two_sided(generator)
        assert measure is not None, "this generator has no two-sided measure"
        if measure == PAIR_SUM:
            return self._evidence_of_pairs(generator, temperature, has_groups)
        samples, conditions = self._drawn(generator, temperature, number)
        if measure == LM_RLM:
            sequences = strip(self._task.space, samples.tokens)
            return self._scores.evidence(sequences, self._NUM_GROUPS if has_groups else 0)
        return self._evidence_of_gaps(generator, temperature, samples, conditions)

    def _evidence_of_gaps(
        self, generator: Generator, temperature: float, samples: Samples, conditions: Tensor | None
    ) -> Evidence:
        held_out_conditions = self._held_out_conditions
        oracle = self._task.oracle_of(held_out_conditions)
        assert oracle is not None
        real = self._nll_sums(
            self._logprobs(generator, self._task.test, temperature, held_out_conditions), self._task.test
        )
        own = self._nll_sums(samples.logprobs, samples.tokens)
        lost = self._nll_sums(self._oracle_logprobs(samples.tokens, conditions), samples.tokens) - own
        lengths, real_lengths = (
            sequence_mask(self._task.space, tokens).sum(1).double().numpy()
            for tokens in (samples.tokens, self._task.test)
        )
        quality, coverage = lost.sum() / lengths.sum(), real.sum() / real_lengths.sum() - oracle.entropy
        forward = without_each(real, real_lengths) - oracle.entropy
        if conditions is None:
            drawn, held_out = beside(without_each(lost, lengths), coverage), beside(quality, forward)
        else:
            # Row j was given what held-out row j mod n was given, and is left out with it.
            rows = np.arange(len(lost)) % len(real)
            reverse = without_each(*(in_groups(each, rows, len(real)) for each in (lost, lengths)))
            drawn, held_out = np.empty((0, 2)), beside(reverse, forward)
        return Evidence(np.array([quality, coverage]), held_out, drawn)

    def _evidence_of_pairs(self, generator: Generator, temperature: float, has_groups: bool) -> Evidence:
        pairs = self._pairs
        assert pairs is not None
        of_source, of_pair = pairs.groups(self._NUM_SOURCE_GROUPS if has_groups else 1)
        held_out_conditions, test = self._held_out_conditions, self._task.test
        sums = self._nll_sums(self._logprobs(generator, test, temperature, held_out_conditions), test)
        lengths = sequence_mask(self._task.space, test).sum(1).double().numpy()
        chrf, without = pairs.chrf(self._likeliest.of(generator, temperature, pairs.conditions), generator, of_source)
        number = len(without)
        with np.errstate(divide="ignore"):
            quality, others = -np.log(chrf / 100), -np.log(without / 100)
        coverage = sums.sum() / lengths.sum()
        kept = without_each(*(in_groups(each, of_pair, number) for each in (sums, lengths))) if number else others
        return Evidence(np.array([quality, coverage]), beside(others, kept).reshape(-1, 2), np.empty((0, 2)))

    def _nll_sums(self, logprobs: Tensor, tokens: Tensor) -> NDArray[np.float64]:
        """(n,) NLL of each sequence, nats, by log-probabilities (n, T) of its tokens."""
        mask = sequence_mask(self._task.space, tokens)
        return -logprobs.detach().masked_fill(~mask, 0.0).double().sum(1).cpu().numpy()

    def _drawn(self, generator: Generator, temperature: float, number: int) -> tuple[Samples, Tensor | None]:
        """Samples, and what they are given: the conditions of the test split, again from the first where they end."""
        conditions = self._held_out_conditions
        if conditions is not None:
            conditions = conditions[torch.arange(number) % len(conditions)].long()
        rng = stream(self._seed, self._draw)
        sampler = sampler_of(generator, self._task.space, Draw(temperature))
        with stage("sample", f"{number} samples"):
            return sampler.sample(number, rng, conditions=conditions), conditions

    def _likelihoods(
        self, generator: Generator, temperature: float, samples: Samples, conditions: Tensor | None
    ) -> dict[str, float]:
        """Those that generator and task have, both ways, and the gaps that follow from them."""
        metrics: dict[str, float] = {}
        has_reals = self._task.has_real_sequences
        if generator.has_likelihood:
            if has_reals:
                with stage("nll", "likelihood of test sequences"):
                    metrics["eval/nll_gen"] = self.held_out_nll(
                        generator, self._task.test, temperature, self._held_out_conditions
                    )
            metrics["eval/nll_div"] = mean_nll(samples.logprobs, samples.mask)
        elif samples.latents is not None and has_reals:
            # Of its samples only log p(y|z) is known: there is no NLL_div, and so no gap.
            with stage("nll", "bound on the likelihood of test sequences"):
                metrics["eval/nll_gen_bound"] = self.held_out_nll(
                    generator, self._task.test, temperature, self._held_out_conditions
                )
        if self._task.has_known_distribution:
            metrics["eval/nll_oracle"] = self._nll_oracle(samples.tokens, conditions)
            if generator.has_likelihood:
                metrics |= self._kl_metrics(metrics)
        return metrics

    def _answers(self, generator: Generator, temperature: float, pairs: PairMeasures) -> dict[str, float]:
        """Of the likeliest sequences for the different conditions of the test split."""
        return pairs.measure(self._likeliest.of(generator, temperature, pairs.conditions), generator)

    def measure_real(self, num_sequences: int | None = None) -> Measurement | None:
        """The same of real sequences that no generator learns from, as far as it needs no generator: the yardstick.

        Where nothing but the distribution of the task can be measured these are test sequences, whose NLL_oracle
        estimates the distribution's entropy. Elsewhere they are validation sequences, compared with the test split as
        samples are.

        Args:
            num_sequences: at most so many; None takes the settings' `num_sequences`.

        Returns:
            Metrics, the sequences and what they are given; None where the data has prompts alone.
        """
        if not self._task.has_real_sequences:
            return None
        number, of_task = num_sequences or self._settings.num_sequences, self._task.conditions
        if self._task.has_known_distribution and not self._task.measures:
            tokens = self._task.test[:number].long()
            conditions = None if of_task is None else of_task.test[:number].long()
            figures = {"eval/nll_oracle": self._nll_oracle(tokens, conditions)} | self._own.measure(tokens, conditions)
            return Measurement(figures, tokens, conditions)
        tokens = self._task.valid[:number].long()
        conditions = None if of_task is None else of_task.valid[:number].long()
        metrics = {}
        if self._task.has_known_distribution:
            metrics["eval/nll_oracle"] = self._nll_oracle(tokens, conditions)
        if self._text is not None:
            metrics |= self._text.measure(tokens)
        if self._pairs is not None:
            metrics |= self._pairs.measure_form(tokens)
        metrics |= self._own.measure(tokens, conditions)
        return Measurement(metrics, tokens, conditions, is_real=True)

    def measure_closely(self, measurement: Measurement) -> dict[str, float]:
        """What takes too long to be measured during training: who learned by heart, and what models have to learn.

        Of the first `num_nearest` sequences the distance to the nearest training sequence, by 3-grams and in the space
        of each encoder, tested against that of as many test sequences; FED by the encoders that are not fast; and LM
        and reverse-LM scores by learned language models, and at real lengths, where the settings ask for them. Of pairs
        of texts only scores of the answers, of n-gram models too, where the settings ask for closer ones.

        Args:
            measurement: as `measure` and `measure_real` return it.

        Returns:
            Metrics; none where the task has no texts.
        """
        tokens, are_valid = measurement.tokens, measurement.is_real
        if self._text is not None:
            return self._text.measure_closely(tokens, are_valid=are_valid)
        if self._pairs is not None and (closer := self._scores.closely(tokens, are_valid=are_valid)):
            return {**self._scores.of(strip(self._task.space, tokens)), **closer}
        return {}

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
        sampler = sampler_of(generator, self._task.space, Draw(temperature))
        samples = sampler.sample(len(conditions), rng, conditions=conditions).tokens
        with stage("judge", "fresh evaluators (evaluation.adversarial)"):
            metrics = self._adversarial.measure(samples, rates_evaluator=rates_evaluator)
        if decodes:
            different, place = torch.unique(conditions, dim=0, return_inverse=True)
            found_sequences = self._likeliest.of(generator, temperature, different)[place]
            with stage("judge", "fresh evaluators on decoded sequences (evaluation.adversarial)"):
                found = self._adversarial.measure(found_sequences)
            metrics |= {name.replace("eval/", "eval/decoded_"): value for name, value in found.items()}
        return metrics

    def measure_people(self) -> dict[str, float]:
        """The same of people, half of whom are taken for the machine: the yardstick of `measure_adversarially`."""
        if self._adversarial is None:
            return {}
        with stage("judge", "fresh evaluators on human pairs (evaluation.adversarial)"):
            return self._adversarial.measure_people()

    @property
    def _held_out_conditions(self) -> Tensor | None:
        """What the sequences of the test split are given."""
        return None if self._task.conditions is None else self._task.conditions.test

    def _nll_oracle(self, tokens: Tensor, conditions: Tensor | None) -> float:
        return mean_nll(self._oracle_logprobs(tokens, conditions), sequence_mask(self._task.space, tokens))

    def _oracle_logprobs(self, tokens: Tensor, conditions: Tensor | None) -> Tensor:
        logprobs = []
        for part, some_conditions in self._batches(tokens, conditions):
            oracle = self._task.oracle_of(some_conditions)
            assert oracle is not None
            logprobs.append(oracle.logprobs(part))
        return torch.cat(logprobs)

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

    def _of_latents(
        self, generator: Generator, samples: Samples, latents: Tensor, temperature: float, conditions: Tensor | None
    ) -> dict[str, float]:
        """Whether the latents of held-out sequences tell them apart, and how many ways a sample's changes it."""
        generator.eval()
        with torch.no_grad():
            found = [generator.posterior(*part) for part in self._batches(self._task.test, self._held_out_conditions)]
        kl = torch.cat([one.kl for one in found])
        return {
            "eval/latent_kl": float(kl.double().mean()),
            "eval/active_units": float(active_units(torch.cat([one.mean for one in found]))),
            "eval/latent_rank": self._latent_rank(generator, samples.tokens, latents, temperature, conditions),
        }

    def _latent_rank(
        self, generator: Generator, tokens: Tensor, latents: Tensor, temperature: float, conditions: Tensor | None
    ) -> float:
        """Of Jacobians of expected embeddings Σ_v p(v|y_{<t}, z) E_v, at all positions t of a sample, by its latent."""
        number = self._NUM_JACOBIANS
        tokens, latents = tokens[:number], latents[:number].double()
        conditions = None if conditions is None else conditions[:number]
        mask = sequence_mask(self._task.space, tokens).unsqueeze(2)
        exact = copy.deepcopy(generator).double()

        def expected_embeddings(moved: Tensor) -> Tensor:
            probs = torch.softmax(exact.given(conditions, moved).logits(tokens) / temperature, 2)
            return (probs @ exact.token_embeddings * mask).flatten(1)

        return mean_rank(central_differences(expected_embeddings, latents))

    def _effective_rank(
        self, generator: Generator, samples: Samples, temperature: float, conditions: Tensor | None
    ) -> float:
        """Of the next-token distributions after prefixes of the generator's own sequences.

        Row i is what follows a prefix of sequence i, of i modulo its length tokens, so that all lengths occur. After
        held-out prefixes it would rise where a generator is cooled, as it makes every distribution sharper.
        """
        tokens = samples.tokens[: self._NUM_PREFIXES]
        latents = None if samples.latents is None else samples.latents[: self._NUM_PREFIXES]
        conditions = None if conditions is None else conditions[: self._NUM_PREFIXES]
        lengths = sequence_mask(self._task.space, tokens).sum(1)
        places = torch.arange(len(tokens), device=tokens.device) % lengths
        generator.eval()
        with torch.no_grad():
            logits = generator.given(conditions, latents).logits(tokens)[torch.arange(len(tokens)), places]
        return effective_rank(torch.softmax(logits / temperature, 1))


def _adversarial_measures(task: Task, settings: EvaluationSettings, seed: int) -> AdversarialMeasures | None:
    if settings.adversarial is None:
        return None
    assert task.conditions is not None
    return AdversarialMeasures(task.space, task.conditions.test, task.test, settings.adversarial, seed)


def _text_measures(task: Task, settings: EvaluationSettings, scores: LanguageModelScores) -> TextMeasures | None:
    if "text" in task.measures:
        return TextMeasures(
            task,
            num_bleu=settings.num_bleu,
            num_nearest=settings.num_nearest,
            encoders=settings.encoders,
            scores=scores,
        )
    if "minilm" in settings.encoders:
        raise ConfigError(
            f"evaluation.encoders={list(settings.encoders)}: 'minilm' reads text, but task={task.name!r} has none. "
            "Remove it.",
            code="minilm_reads_text",
            fields={"task": task.name},
        )
    return None
