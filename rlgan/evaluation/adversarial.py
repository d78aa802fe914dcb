"""Adversarial evaluation: how often a fresh evaluator takes what is generated for what people wrote.

    AdverSuc          = 1 - accuracy of an evaluator that tells human from machine          ½: not distinguished; 0:
    always machine-vs-random = accuracy of one that tells machine from random real sequences
    ERE               = ¼ Σ_i |AdverSuc_i - ideal_i|        of four controls whose answers are known

    i    positives   negatives   ideal
    1    human       human       ½
    2    machine     machine     ½
    3    human       random      0
    4    machine     random      0                          machine-vs-random = 1 - AdverSuc_4

Source: Li et al. 2017, section 4; the exact wording of the controls is this project's (docs/metrics.md).

Every set is balanced and has parts of its own to learn from, to stop by and to be tested on, and no condition is in
two parts. Of two different classes both have a sequence for each condition, so that conditions tell nothing. Two
classes of one kind (controls 1 and 2) are two disjoint halves of each part, drawn at random and labelled arbitrarily.
Random are the human sequences of the same part under conditions of others (`mismatch.derangement`): they are the very
sequences of people, so that control 3 is about nothing but whether a sequence answers its condition.

n pairs, S and T tokens of a condition and of a sequence
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from rlgan.adversary.mismatched_pairs import TruePairs
from rlgan.base.declarations import Fields
from rlgan.base.errors import ConfigError, ShapeError
from rlgan.base.problems import Problem
from rlgan.base.seeding import global_stream, stream
from rlgan.base.settings import Settings
from rlgan.discriminators import (
    HierarchicalLSTM,
    InteractionCnn,
    PairCnn,
    PairLSTM,
    Scorer,
    TripleLSTM,
    build_discriminator,
)
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.layers.early_stopping import best_of_passes
from rlgan.layers.optimizers import Adam, OptimizerSettings, build_optimizer, clip_gradients
from rlgan.metrics.quantity import Quantity

QUANTITIES = (
    Quantity("ere", "how far the evaluator is off where the answer is known", "share", "lower", "pairs"),
    Quantity("*_se", "standard error of that figure", "share", "lower", "pairs"),
    Quantity("*_num", "test examples of that figure", "pairs", None, "pairs"),
    Quantity("*adversuc", "how often a fresh evaluator errs between people and samples", "share", None, "pairs"),
    Quantity("*machine_vs_random", "how often it tells answers from random ones", "share", "higher", "pairs"),
)
"""Facts of the figures of this module."""

_STREAM = "adversarial evaluation"
_FEWEST_PAIRS = 10  # of a part; with fewer no figure says anything
_MOST_ASSIGNED = 256  # pairs that are deranged together, which costs their square


class FreshEvaluator(Settings):
    """A discriminator of pairs that is trained from scratch for each metric; never the one of the run."""

    kind: Literal["fresh_evaluator"] = "fresh_evaluator"
    network: Annotated[
        HierarchicalLSTM | PairCnn | PairLSTM | InteractionCnn | TripleLSTM, Field(discriminator="kind")
    ] = HierarchicalLSTM(embedding=32, hidden=64)
    """Network of the evaluator; metrics from different networks are not comparable."""
    optimizer: OptimizerSettings = Adam(lr=2e-3, clip_norm=5.0)
    """Optimiser of the evaluator."""
    batch: int = Field(64, ge=2)
    """Pairs per minibatch."""
    epochs: int = Field(40, ge=1)
    """Maximum number of epochs on its training part."""
    patience: int = Field(8, ge=1)
    """Early stopping: number of epochs without a lower cross-entropy on its development part; the best weights are
    used."""
    num_pairs: int = Field(2_000, ge=1)
    """Number of human pairs, taken from the start of the test split; all if it has fewer."""
    dev_fraction: float = Field(0.2, gt=0.0, lt=1.0)
    """Fraction of the pairs for early stopping."""
    test_fraction: float = Field(0.3, gt=0.0, lt=1.0)
    """Fraction of the pairs for testing."""

    @model_validator(mode="after")
    def _check(self) -> FreshEvaluator:
        if self.network.copies_embeddings:
            raise ConfigError(
                "network.embeddings='generator': a fresh evaluator cannot copy the generator's embeddings. Set it "
                "to own.",
                code="evaluator_embeddings",
                fields={"network.embeddings": "generator"},
            )
        if self.dev_fraction + self.test_fraction >= 1.0:
            raise ConfigError(
                f"dev_fraction={self.dev_fraction:g}, test_fraction={self.test_fraction:g}: leave nothing for "
                "training. Set them so that their sum is below 1.",
                code="evaluator_fractions",
                fields={"dev_fraction": self.dev_fraction, "test_fraction": self.test_fraction},
            )
        return self

    def check(self, fields: Fields) -> Iterator[Problem]:
        """There are pairs to judge."""
        if not fields.task.gives_conditions:
            yield Problem(
                "evaluator_without_pairs",
                {"evaluation.adversarial": self.kind},
                f"judges pairs, but task={fields.task.kind!r} has no conditions. Set it to none.",
            )
        elif not fields.task.has_real_sequences:
            yield Problem(
                "evaluator_without_completions",
                {"evaluation.adversarial": self.kind},
                f"learns from pairs, but the data of task={fields.task.kind!r} has prompts alone. Set it to none.",
            )


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often an evaluator was right.

    Attributes:
        value: share of the test examples, half of which are of either class.
        num_examples: test examples.
    """

    value: float
    num_examples: int

    @property
    def standard_error(self) -> float:
        """Binomial, √(a(1 - a)/n); 0 where it was always right, which is no certainty."""
        return sqrt(self.value * (1.0 - self.value) / self.num_examples)


def adversarial_success(accuracy: float) -> float:
    """AdverSuc = 1 - accuracy (Li et al. 2017, section 4)."""
    return 1.0 - accuracy


@dataclass(frozen=True, slots=True)
class Controls:
    """Accuracies where the answers are known, in the order of the table in docs/metrics.md.

    Attributes:
        human_human: of two halves of what people wrote; ½ is right.
        machine_machine: of two halves of what was generated; ½ is right.
        human_random: of what people wrote, and the same under conditions of others; 1 is right.
        machine_random: of what was generated, and what people wrote under conditions of others; 1 is right.
    """

    human_human: Accuracy
    machine_machine: Accuracy
    human_random: Accuracy
    machine_random: Accuracy

    @property
    def ere(self) -> float:
        """Evaluator reliability error, ¼ Σ_i |AdverSuc_i - ideal_i|; 0 is best."""
        found = (self.human_human, self.machine_machine, self.human_random, self.machine_random)
        gaps = (
            abs(adversarial_success(accuracy.value) - ideal)
            for accuracy, ideal in zip(found, (0.5, 0.5, 0.0, 0.0), strict=True)
        )
        return sum(gaps) / len(found)


@dataclass(frozen=True, slots=True)
class Examples:
    """Pairs of two classes, as many of each.

    Attributes:
        conditions: (n, S) int64.
        sequences: (n, T) int64.
        is_first: (n,) bool, whether a pair is of the first class, the positives.
    """

    conditions: Tensor
    sequences: Tensor
    is_first: Tensor


@dataclass(frozen=True, slots=True)
class BalancedSet:
    """Two classes to be distinguished, in parts that share no condition.

    Attributes:
        train: to learn from.
        dev: to stop by.
        test: of which the accuracy is.
    """

    train: Examples
    dev: Examples
    test: Examples


Judge = Callable[[Tensor, Tensor], Tensor]
"""From conditions (n, S) and sequences (n, T) whether each pair is called one of the first class: (n,) bool."""

Teacher = Callable[[Examples, Examples], Judge]
"""From pairs to learn from and pairs to stop by, a fresh evaluator."""


def accuracy_of(teach: Teacher, examples: BalancedSet) -> Accuracy:
    """Accuracy, on the test part, of an evaluator that learned from the others."""
    test = examples.test
    called_first = teach(examples.train, examples.dev)(test.conditions, test.sequences)
    return Accuracy(float((called_first == test.is_first).double().mean()), len(test.is_first))


def fresh_evaluator(settings: FreshEvaluator, space: SequenceSpace, seed: int) -> Teacher:
    """What trains evaluators from nothing, by cross-entropy, each time with the same random numbers.

    Args:
        settings: network, optimiser, and when to stop.
        space: of the sequences, with that of the conditions.
        seed: of the run.
    """

    def teach(train: Examples, dev: Examples) -> Judge:
        with global_stream(seed, _STREAM, "initial"):
            network = build_discriminator(settings.network, space)
        optimizer = build_optimizer(settings.optimizer, network.parameters())
        rng = stream(seed, _STREAM, "batches")

        def right(examples: Examples) -> Tensor:
            return examples.is_first.float()

        def learn() -> None:
            network.train()
            for rows in torch.randperm(len(train.is_first), generator=rng).split(settings.batch):
                sequences, labels = train.sequences[rows], right(train)[rows]
                member_logits = network.member_logits(
                    sequences, sequence_mask(space, sequences), train.conditions[rows]
                )
                losses = [functional.binary_cross_entropy_with_logits(one, labels) for one in member_logits]
                optimizer.zero_grad()
                # A sum, so that each member's gradient is that of a network alone.
                (torch.stack(losses).sum() + network.penalty()).backward()
                clip_gradients(network.parameters(), settings.optimizer.clip_norm)
                optimizer.step()

        def judged() -> tuple[Scorer, float]:
            scorer = network.scorer()
            logits = scorer(dev.sequences, sequence_mask(space, dev.sequences), dev.conditions)
            return scorer, float(functional.binary_cross_entropy_with_logits(logits, right(dev)))

        with global_stream(seed, _STREAM, "dropout"):
            best = best_of_passes(learn, judged, epochs=settings.epochs, patience=settings.patience)
        return lambda conditions, sequences: best(sequences, sequence_mask(space, sequences), conditions) > 0

    return teach


def parts_by_condition(
    conditions: Tensor, dev_fraction: float, test_fraction: float, rng: torch.Generator
) -> dict[str, Tensor]:
    """Rows of a training, a development and a test part, of which no two have a condition in common.

    Args:
        conditions: (n, S) int64, padded.
        dev_fraction: least share of the rows in `dev`, as far as they reach.
        test_fraction: the same of `test`, which is filled first.
        rng: source of the draw.

    Returns:
        `train`, `dev` and `test`: int64 indices, ascending.
    """
    _, group_of, sizes = torch.unique(conditions, dim=0, return_inverse=True, return_counts=True)
    order = torch.randperm(len(sizes), generator=rng)
    before = torch.empty_like(sizes)
    before[order] = sizes[order].cumsum(0) - sizes[order]  # rows of the groups drawn earlier
    place = before[group_of] / len(conditions)
    is_test = place < test_fraction
    is_dev = ~is_test & (place < test_fraction + dev_fraction)
    return {
        "train": (~is_test & ~is_dev).nonzero().squeeze(1),
        "dev": is_dev.nonzero().squeeze(1),
        "test": is_test.nonzero().squeeze(1),
    }


class AdversarialMeasures:
    """Judges sequences that were generated for the conditions of human pairs.

    Args:
        space: of the sequences, with that of the conditions.
        conditions: (n, S) integer, of the human pairs, padded.
        sequences: (n, T) integer, of the human pairs, padded.
        settings: the evaluator, and how many pairs are used.
        seed: of the run.
        teach: what makes evaluators; None trains those of the settings.

    Raises:
        ConfigError: too few pairs, of too few conditions, or that cannot be put under conditions of others.

    Attributes:
        conditions: (n', S) int64, those for which sequences are generated; n' <= n.
    """

    def __init__(
        self,
        space: SequenceSpace,
        conditions: Tensor,
        sequences: Tensor,
        settings: FreshEvaluator,
        seed: int,
        teach: Teacher | None = None,
    ) -> None:
        self.conditions = conditions[: settings.num_pairs].long()
        self._human = sequences[: settings.num_pairs].long()
        self._settings, self._seed = settings, seed
        self._teach = teach or fresh_evaluator(settings, space, seed)
        self._parts = parts_by_condition(
            self.conditions, settings.dev_fraction, settings.test_fraction, stream(seed, _STREAM, "parts")
        )
        for part, rows in self._parts.items():
            _require_enough(settings, part, self.conditions, rows)
        self._random_rows = self._with_conditions_of_others()

    def measure(self, sequences: Tensor, *, rates_evaluator: bool = False) -> dict[str, float]:
        """AdverSuc and machine-vs-random of what was generated.

        Args:
            sequences: (n', T) int64, one for each of `conditions`.
            rates_evaluator: whether ERE is found, with these as the machine, and AdverSuc of control 2.

        Returns:
            Name → value; of accuracies also the standard error and the number of test examples.
        """
        random = self.machine_or_random(sequences)
        metrics = _figures(self.human_or_machine(sequences), random)
        if rates_evaluator:
            halves = accuracy_of(self._teach, self._halves(_checked(sequences, self._human)))
            metrics["eval/ere"] = Controls(self._human_human, halves, self._human_random, random).ere
            metrics["eval/machine_machine_adversuc"] = adversarial_success(halves.value)
        return metrics

    def measure_people(self) -> dict[str, float]:
        """The same of people: AdverSuc of control 1, and the accuracy of control 3 in the place of the machine's."""
        return _figures(self._human_human, self._human_random)

    def human_or_machine(self, sequences: Tensor) -> Accuracy:
        """Accuracy of telling people from what was generated: (n', T) int64, one for each of `conditions`."""
        return accuracy_of(self._teach, self._against(self._human, _checked(sequences, self._human), self._parts))

    def machine_or_random(self, sequences: Tensor) -> Accuracy:
        """Accuracy of telling what was generated, (n', T) int64, from random real sequences."""
        return accuracy_of(self._teach, self._against_random(_checked(sequences, self._human)))

    @cached_property
    def _human_human(self) -> Accuracy:
        return accuracy_of(self._teach, self._halves(self._human))

    @cached_property
    def _human_random(self) -> Accuracy:
        return accuracy_of(self._teach, self._against_random(self._human))

    def _against_random(self, first: Tensor) -> BalancedSet:
        rows = {part: pair[:, 0] for part, pair in self._random_rows.items()}
        other = self._human.clone()
        for pair in self._random_rows.values():
            other[pair[:, 0]] = self._human[pair[:, 1]]
        return self._against(first, other, rows)

    def _against(self, first: Tensor, second: Tensor, parts: dict[str, Tensor]) -> BalancedSet:
        """Of each row of each part both sequences, under the same condition."""
        return BalancedSet(
            **{
                part: Examples(
                    self.conditions[rows].repeat(2, 1),
                    torch.cat([first[rows], second[rows]]),
                    torch.arange(2 * len(rows)) < len(rows),
                )
                for part, rows in parts.items()
            }
        )

    def _halves(self, sequences: Tensor) -> BalancedSet:
        """Of each part two halves drawn at random; of an odd number one is left out."""
        rng = stream(self._seed, _STREAM, "halves")
        halved = {}
        for part, rows in self._parts.items():
            half = len(rows) // 2
            drawn = rows[torch.randperm(len(rows), generator=rng)[: 2 * half]]
            halved[part] = Examples(self.conditions[drawn], sequences[drawn], torch.arange(2 * half) < half)
        return BalancedSet(**halved)

    def _with_conditions_of_others(self) -> dict[str, Tensor]:
        """By part (m, 2): rows whose condition gets the sequence of another row, and that row."""
        true_pairs, rng = TruePairs(self.conditions, self._human), stream(self._seed, _STREAM, "random")
        found = {}
        for part, rows in self._parts.items():
            pieces = []
            drawn = rows[torch.randperm(len(rows), generator=rng)]
            for some in drawn.tensor_split(-(-len(rows) // _MOST_ASSIGNED)):
                own, others = true_pairs.mismatched(self.conditions[some], self._human[some], rng)
                pieces.append(torch.stack([some[others], some[own]], dim=1))
            found[part] = torch.cat(pieces)
            if len(found[part]) < _FEWEST_PAIRS:
                raise ConfigError(
                    f"evaluation.adversarial: among the {len(rows)} human pairs of its {part} part, "
                    f"{len(found[part])} can be paired with a wrong sequence from another condition; at least "
                    f"{_FEWEST_PAIRS} are needed. Give the task a larger test split, or set evaluation.adversarial "
                    "to none.",
                    code="evaluator_no_negatives",
                )
        return found


def _figures(human: Accuracy, random: Accuracy) -> dict[str, float]:
    return {
        "eval/adversuc": adversarial_success(human.value),
        "eval/adversuc_se": human.standard_error,
        "eval/adversuc_num": float(human.num_examples),
        "eval/machine_vs_random": random.value,
        "eval/machine_vs_random_se": random.standard_error,
        "eval/machine_vs_random_num": float(random.num_examples),
    }


def _checked(sequences: Tensor, human: Tensor) -> Tensor:
    if sequences.shape != human.shape:
        raise ShapeError(
            f"sequences has shape {tuple(sequences.shape)}: expected {tuple(human.shape)}, one sequence per condition.",
            code="evaluator_shape",
        )
    return sequences


def _require_enough(settings: FreshEvaluator, part: str, conditions: Tensor, rows: Tensor) -> None:
    num_conditions = len(torch.unique(conditions[rows], dim=0))
    if len(rows) >= _FEWEST_PAIRS and num_conditions > 1:
        return
    field = "num_pairs" if part == "train" else f"{part}_fraction"
    # More cannot be taken than the test split has, and no fractions make three parts of too few.
    has_all = settings.num_pairs > len(conditions)
    is_vain = has_all and (part == "train" or len(conditions) < 3 * _FEWEST_PAIRS)
    remedy = "Give" if is_vain else "Raise it, give"
    raise ConfigError(
        f"evaluation.adversarial.{field}={getattr(settings, field):g}: the {part} part gets {len(rows)} of "
        f"{len(conditions)} human pairs, with {num_conditions} different conditions; at least {_FEWEST_PAIRS} "
        f"pairs and 2 conditions are needed. {remedy} the task a larger test split, or set evaluation.adversarial "
        "to none.",
        code="evaluator_too_few",
        fields={f"evaluation.adversarial.{field}": getattr(settings, field)},
    )
