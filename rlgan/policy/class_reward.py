"""CVAE-GAN's class reward (Bao et al. 2017): a classifier C of sequences, and η · log C(c|y) beside D's verdict.

The paper's classifier learns from real images and their classes alone, and so does this one. What it learns does not
depend on the generator, so it is trained before the run, once, and stays as it is.

    n sequences, T positions, S positions of conditions, K classes
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rlgan.base.activity import advance, stage
from rlgan.base.declarations import Fields
from rlgan.base.devices import CPU
from rlgan.base.errors import ConfigError, ShapeError
from rlgan.base.problems import Problem
from rlgan.base.search_priors import NotSearched
from rlgan.base.seeding import global_stream, stream
from rlgan.base.threads import torch_threads
from rlgan.discriminators import CnnHighway, build_discriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks.task import Records, Task
from rlgan.envs.transition import sequence_mask
from rlgan.layers.early_stopping import best_of_passes
from rlgan.metrics.reward_means import reward_means
from rlgan.sampling.records import Rollouts

from .logit_maps import DiscriminatorReward, Probability
from .reward_base import Finished, FinishedReward, LogitMap, Scored, Source

_LOG = logging.getLogger(__name__)
_BODY = CnnHighway(embedding=32, windows=(1, 2, 3, 4), filters=(32,), dropout=0.25)
_EPOCHS, _PATIENCE, _BATCH, _RATE = 20, 3, 64, 2e-3
_ROWS_AT_ONCE = 2048
_OF_A_CLASS = 10
"""Training sequences for each class, on average; with fewer, conditions are no classes."""
_trained: dict[str, ClassScorer] = {}  # at most one: of the last task


class ClassLogprob(FinishedReward):
    """map(u) + η · log C(c|y), c the condition of the sequence y as a class (CVAE-GAN, Bao et al. 2017).

    Each condition of the training split is a class. C is learned from the training split before the run begins.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("needs a task whose conditions are classes")
    kind: Literal["class_logprob"] = "class_logprob"
    map: Annotated[DiscriminatorReward, Field(discriminator="kind")] | None = Probability()
    """Map of the discriminator's logit; null uses log C only."""
    weight: float = Field(1.0, gt=0.0)
    """Weight η of log C(c|y), which is in nats and at most 0."""
    compares: ClassVar[bool] = True
    has_figures: ClassVar[bool] = True

    @property
    def reads(self) -> frozenset[Source]:
        """Training sequences, and the discriminator's logits where there is a map of them."""
        return frozenset({"training_data"}) if self.map is None else frozenset({"training_data", "discriminator"})

    @property
    def logit_map(self) -> LogitMap | None:
        """The one that log C stands beside."""
        return self.map

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Sequences have conditions, which may be classes."""
        if not fields.task.gives_conditions:
            yield Problem(
                "class_without_conditions",
                {"reward": self.kind},
                f"reads the class that each sequence is given, but task={fields.task.kind!r} gives none. Use a task "
                "with classes as conditions, or another reward.",
            )

    def scorer(self, task: Task) -> ClassScorer:
        """See `Reward.scorer`: the classifier, which is trained now.

        Raises:
            ConfigError: the conditions of the task are no classes.
        """
        return classifier_of(task)

    def figures(self, task: Task) -> ClassFigures:
        """See `Reward.figures`: the mean of log C(c|y), the map of the logit left out, and of the matches."""
        return ClassFigures(classifier_of(task))

    def of_finished(self, real_logits: Tensor | None, scores: Tensor | None) -> Tensor:
        """See `FinishedReward.of_finished`: map(u) + η · score."""
        term = self.weight * self.scores_there(scores)
        return term if self.map is None else self.map.of_logits(self.logits_there(real_logits)) + term

    def described(self, rollouts: Rollouts) -> dict[str, float]:
        """See `Reward.described`: how often c is the most likely class by C; the mean of log C is the score's."""
        if rollouts.score_parts is None:
            return {}
        is_class = ~rollouts.score_parts.isnan().any(1)
        metrics = {"reward/unscored_share": float((~is_class).float().mean())}
        if bool(is_class.any()):
            metrics["reward/class_match"] = float(rollouts.score_parts[is_class].double().mean())
        return metrics


class Classifier(nn.Module):
    """C: convolutions over tokens, the features of discriminator cnn_highway, and a softmax of K classes.

    Args:
        space: of the sequences.
        num_classes: K.
    """

    def __init__(self, space: SequenceSpace, num_classes: int) -> None:
        super().__init__()
        self.body = build_discriminator(_BODY, space)
        self.output = nn.Linear(sum(_BODY.filters_of_each), num_classes)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Finished sequences (n, T) int64 and their mask → log C, (n, K) float32."""
        logits: Tensor = self.output(self.body.output_features(tokens, mask))
        return functional.log_softmax(logits, 1)


@dataclass(frozen=True)
class ClassScorer:
    """Scores finished sequences by the log-probability of their class.

    Attributes:
        network: C, frozen: tokens (n, T) and mask (n, T) → log C (n, K).
        classes: (K, S) int64, the condition that is each class.
    """

    network: nn.Module
    classes: Tensor

    @torch.no_grad()
    def __call__(self, finished: Finished) -> Scored:
        """See `SequenceScorer`: log C(c|y), in nats; as a part whether c is the most likely class.

        A condition that the training split does not have is no class, and its sequence has no score.

        Raises:
            ShapeError: sequences have no conditions.
        """
        if finished.conditions is None:
            raise ShapeError("classes are conditions of sequences, but none are given.", code="classes_not_given")
        wanted = numbers_of(self.classes, finished.conditions.to(CPU))
        is_class = wanted >= 0
        tokens, mask = finished.tokens.to(CPU), finished.mask.to(CPU)
        parts = zip(tokens.split(_ROWS_AT_ONCE), mask.split(_ROWS_AT_ONCE), strict=True)
        logprobs = torch.cat([self.network(*part) for part in parts])
        of_class = logprobs.gather(1, wanted.clamp_min(0).unsqueeze(1)).squeeze(1)
        is_likeliest = (logprobs.argmax(1) == wanted).float()
        return Scored(
            of_class.masked_fill(~is_class, torch.nan), is_likeliest.masked_fill(~is_class, torch.nan).unsqueeze(1)
        )


@dataclass(frozen=True)
class ClassFigures:
    """Means over a set of sequences.

    Attributes:
        score: of each.
    """

    score: ClassScorer

    def __call__(self, finished: Finished, records: Records | None) -> dict[str, float]:
        """See `RewardFigures`: `reward_class_logprob`, in nats, and `logged_class_logprob_match`, a share."""
        scored = self.score(finished)
        assert scored.parts is not None
        matches = scored.parts[~scored.scores.isnan()]
        logged = {"class_logprob_match": float(matches.mean())} if len(matches) else {}
        return reward_means(["class_logprob"], scored.scores.unsqueeze(1), scored.scores, logged)

    def scores(self, finished: Finished, records: Records | None) -> Tensor:
        """See `RewardFigures.scores`."""
        return self.score(finished).scores


def numbers_of(classes: Tensor, conditions: Tensor) -> Tensor:
    """Which class each condition is.

    Args:
        classes: (K, S) int64, all different.
        conditions: (n, S) int64.

    Returns:
        (n,) int64; -1 of a condition that is no class.
    """
    _, places = torch.unique(torch.cat([classes, conditions]), dim=0, return_inverse=True)
    numbers = torch.full((int(places.max()) + 1,), -1)
    numbers[places[: len(classes)]] = torch.arange(len(classes))
    return numbers[places[len(classes) :]]


def classifier_of(task: Task) -> ClassScorer:
    """`train_classifier`, once for the runs of a process that follow each other on one task: controls, the table."""
    key = task.fingerprint()
    if key not in _trained:
        found = train_classifier(task)
        _trained.clear()
        _trained[key] = found
    return _trained[key]


def train_classifier(task: Task) -> ClassScorer:
    """Learn C from the training split; the pass that predicts the validation split best is kept.

    The same task gives the same bits on a machine, whatever the seed of the run.

    Args:
        task: with conditions.

    Raises:
        ConfigError: the conditions are all alike, or too many for the training sequences to be classes.
    """
    assert task.conditions is not None
    classes, labels = torch.unique(task.conditions.train.long(), dim=0, return_inverse=True)
    if len(classes) < 2 or len(labels) < _OF_A_CLASS * len(classes):
        raise ConfigError(
            f"reward='class_logprob': task {task.name!r} has {len(classes)} different conditions for {len(labels)} "
            f"training sequences, which are no classes: there must be at least 2, and {_OF_A_CLASS} sequences for each "
            "on average. Use a task with classes as conditions, or reward mixed.",
            code="conditions_no_classes",
            fields={"reward": "class_logprob"},
        )
    held_out = numbers_of(classes, task.conditions.valid.long())
    is_known = held_out >= 0
    tokens, valid, held_out = task.train, task.valid[is_known].long(), held_out[is_known]
    if not len(held_out):
        raise ConfigError(
            f"reward='class_logprob': no validation sequence of task {task.name!r} has a condition of the training "
            "split. Use a task whose splits have the same classes.",
            code="classes_not_held_out",
            fields={"reward": "class_logprob"},
        )
    order = stream(0, "class reward")
    with torch_threads(1), global_stream(0, "class reward"), stage("classes", "classifier", "epoch", _EPOCHS):
        network = Classifier(task.space, len(classes))
        optimizer = torch.optim.Adam(network.parameters(), _RATE)

        def learn() -> None:
            network.train()
            for rows in torch.randperm(len(tokens), generator=order).split(_BATCH):
                drawn = tokens[rows].long()
                optimizer.zero_grad()
                of_each = network(drawn, sequence_mask(task.space, drawn))
                functional.nll_loss(of_each, labels[rows]).backward()
                optimizer.step()
            advance()

        def judged() -> tuple[ClassScorer, float]:
            frozen = ClassScorer(copy.deepcopy(network).eval().requires_grad_(False), classes)
            found = frozen(Finished(valid, sequence_mask(task.space, valid), classes[held_out]))
            return frozen, -float(found.scores.double().mean())

        best = best_of_passes(learn, judged, epochs=_EPOCHS, patience=_PATIENCE)
    parts = best(Finished(valid, sequence_mask(task.space, valid), classes[held_out])).parts
    assert parts is not None
    right, guessed = float(parts.mean()), float((held_out == labels.bincount().argmax()).float().mean())
    if right <= guessed:
        _LOG.warning(
            "classifier: right for %.0f%% of validation sequences, no more than whoever always names the most frequent "
            "class. So reward class_logprob says nothing of the class. Use a task whose sequences show their class",
            100 * right,
        )
    return best
