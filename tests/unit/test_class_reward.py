"""The class reward: numbers by hand, what C learns, the gradient by enumeration, what has no classes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from rlgan.base.errors import ConfigError, ShapeError
from rlgan.base.threads import torch_threads
from rlgan.config.config import Config
from rlgan.config.paths import from_dict, to_dict
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import Conditions, Task, TransductionTask, build_task
from rlgan.envs.transition import sequence_mask
from rlgan.generators import Seq2SeqLSTM, build_generator
from rlgan.policy.baselines import LeaveOneOut
from rlgan.policy.class_reward import ClassFigures, ClassLogprob, ClassScorer, numbers_of, train_classifier
from rlgan.policy.credit import MonteCarlo, Prefix
from rlgan.policy.logit_maps import Logit, Probability
from rlgan.policy.reward_base import Finished
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.errors import refused
from tests.support.tiny import finish, of_pairs, tiny_config
from tests.unit.test_shuffled_verdicts import rollouts

WORLD = torch.tensor(list(itertools.product(range(2), repeat=3)))  # eight sequences of three tokens
OF_CLASS = torch.tensor([0.8, 0.3])  # probability of token 1, by class
CLASSES = torch.tensor([[2], [5]])  # conditions that are classes 0 and 1
ETA = 0.7


def world(num_train: int = 600) -> Task:
    """Two classes, as likely as each other; tokens of a sequence are drawn independently."""
    rng = torch.Generator().manual_seed(5)

    def split(number: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(2, (number,), generator=rng)
        draws = torch.rand(number, 3, generator=rng)
        return (draws < OF_CLASS[labels].unsqueeze(1)).long(), CLASSES[labels]

    (train, given), (valid, of_valid), (test, of_test) = (split(number) for number in (num_train, 200, 20))
    conditions = Conditions(SequenceSpace(6, 1), given, of_valid, of_test, tuple("abcdef"))
    return Task("world", SequenceSpace(2, 3), train, valid, test, ("0", "1"), conditions=conditions)


def posterior() -> Tensor:
    """(8, 2), by Bayes: p(c|y) of the eight sequences, one after another."""
    rows = []
    for sequence in WORLD.tolist():
        joint = []
        for of_one in OF_CLASS.tolist():
            likelihood = 0.5
            for token in sequence:
                likelihood *= of_one if token else 1.0 - of_one
            joint.append(likelihood)
        rows.append([one / sum(joint) for one in joint])
    return torch.tensor(rows)


class Fixed(nn.Module):
    """Log-probabilities that are given, by the first token."""

    def __init__(self, probs: list[list[float]]) -> None:
        super().__init__()
        self.table = torch.tensor(probs).log()

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return self.table[tokens[:, 0]]


def finished(tokens: Tensor, conditions: Tensor) -> Finished:
    return Finished(tokens, torch.ones_like(tokens, dtype=torch.bool), conditions)


def test_the_reward_is_the_map_and_the_weighted_log_probability_of_the_class() -> None:
    score = ClassScorer(Fixed([[0.25, 0.75], [0.6, 0.4]]), CLASSES)
    tokens, conditions = torch.tensor([[0, 1], [0, 0], [1, 1]]), torch.tensor([[2], [5], [2]])
    scored = score(finished(tokens, conditions))
    # log 1/4, log 3/4, log 0.6; 0 is taken for class 1, 1 for class 0.
    assert scored.scores.tolist() == pytest.approx([-1.3862944, -0.2876821, -0.5108256])
    assert scored.parts is not None and scored.parts.squeeze(1).tolist() == [0.0, 1.0, 1.0]
    logits = torch.tensor([0.0, 1.0, -2.0])
    found = ClassLogprob(map=Logit(), weight=2.0).of_finished(logits, scored.scores)
    assert found.tolist() == pytest.approx([-2.7725887, 1.0 - 0.5753641, -2.0 - 1.0216512])
    # σ(0) = 1/2
    assert float(ClassLogprob().of_finished(logits, scored.scores)[0]) == pytest.approx(0.5 - 1.3862944)
    assert torch.equal(ClassLogprob(map=None).of_finished(None, scored.scores), scored.scores)


def test_a_condition_that_is_no_class_has_no_score() -> None:
    assert numbers_of(CLASSES, torch.tensor([[5], [3], [2]])).tolist() == [1, -1, 0]
    words = torch.tensor([[1, 0], [1, 2]])
    assert numbers_of(words, torch.tensor([[1, 2], [2, 1], [1, 0]])).tolist() == [1, -1, 0]
    scored = ClassScorer(Fixed([[0.5, 0.5], [0.5, 0.5]]), CLASSES)(finished(WORLD[:2], torch.tensor([[3], [5]])))
    assert scored.parts is not None and scored.scores.isnan().tolist() == [True, False]
    batch = replace(rollouts(), score_parts=scored.parts)
    assert ClassLogprob().described(batch) == pytest.approx({"reward/unscored_share": 0.5, "reward/class_match": 0.0})
    figures = ClassFigures(ClassScorer(Fixed([[0.25, 0.75], [0.5, 0.5]]), CLASSES))
    some = finished(WORLD[[0, 0, 0]], torch.tensor([[3], [5], [2]]))
    # log 3/4 and log 1/4; class 1 is found, class 0 is not.
    assert figures(some, None) == pytest.approx(
        {"reward_class_logprob": -0.8369882, "reward_unscored_share": 1 / 3, "logged_class_logprob_match": 0.5}
    )
    assert figures.scores(some, None).isnan().tolist() == [True, False, False]
    with refused(ShapeError, "classes_not_given"):
        ClassScorer(Fixed([[1.0]]), CLASSES)(replace(finished(WORLD, WORLD), conditions=None))


def test_what_is_learned_is_the_posterior_of_the_classes_and_its_gradient_that_of_the_reward() -> None:
    task = world()
    score = ClassLogprob(map=None).scorer(task)
    assert ClassLogprob().scorer(task) is score  # controls and the final table do not train it again
    given = CLASSES.repeat_interleave(len(WORLD), 0)
    scored = score(finished(WORLD.repeat(2, 1), given))
    logprobs = scored.scores.view(2, len(WORLD)).T
    assert float((logprobs.exp() - posterior()).abs().max()) < 0.12
    assert torch.allclose(logprobs.exp().sum(1), torch.ones(len(WORLD)))
    assert torch.equal(score(finished(WORLD.repeat(2, 1), given)).scores, scored.scores)
    # All pairs of a class and a sequence, each as likely as a generator makes it.
    torch.manual_seed(3)
    generator = build_generator(Seq2SeqLSTM(embedding=4, hidden=5), task.space)
    tokens = WORLD.repeat(2, 1)

    def probs() -> Tensor:
        logprobs: Tensor = generator.conditional(given).logprobs(tokens).sum(1)
        return logprobs.exp() / len(CLASSES)

    weights = [one for one in generator.parameters() if one.requires_grad]
    # E_c E_y η log C(c|y), with log C looked up in a table.
    table = {(c, tuple(y)): float(logprobs[i, c]) for i, y in enumerate(WORLD.tolist()) for c in range(2)}
    values = torch.tensor([table[c, tuple(y)] for c in range(2) for y in WORLD.tolist()])
    exact = torch.autograd.grad(ETA * (probs() * values).sum(), weights, allow_unused=True)
    batch = replace(rollouts(), tokens=tokens, scores=scored.scores, real_logits=None)
    rewards = ClassLogprob(map=None, weight=ETA).of_sequences(batch, task, torch.Generator())
    assert not rewards.requires_grad
    log_derivative = (probs().detach() * rewards * probs().log()).sum()
    found = torch.autograd.grad(log_derivative, weights, allow_unused=True)
    for one, other in zip(found, exact, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)
    assert max(float(one.abs().max()) for one in exact if one is not None) > 1e-3


def test_padding_and_the_state_of_the_process_change_no_classifier() -> None:
    task = build_task(TransductionTask(vocab_size=3, max_length=2, ends=True, num_train=80, num_valid=30, num_test=20))
    torch.manual_seed(8)
    first = train_classifier(task)
    torch.manual_seed(9)
    with torch_threads(2):
        again = train_classifier(task)
    assert task.conditions is not None
    tokens, given = task.valid.long(), task.conditions.valid.long()
    mask = sequence_mask(task.space, tokens)
    scores = first(Finished(tokens, mask, given)).scores
    assert torch.equal(again(Finished(tokens, mask, given)).scores, scores)
    other = torch.where(mask, tokens, 1)
    assert not torch.equal(other, tokens)
    torch.testing.assert_close(first(Finished(other, mask, given)).scores, scores)


def small(**changes: object) -> Config:
    pairs = TransductionTask(vocab_size=2, max_length=2, ends=False, num_train=70, num_valid=20, num_test=20)
    given = {"task": pairs, "reward": ClassLogprob(weight=0.5), "baseline": LeaveOneOut()}
    return of_pairs(**(given | changes))


def test_drawn_sequences_and_continuations_of_a_run_are_scored_alike() -> None:
    config = small(credit=MonteCarlo(num_rollouts=2))
    task = build_task(config.task)
    with build_parts(config, task) as parts:
        unit = finish(Trainer(config, task, parts))[-1]
    batch = unit.rollouts[0]
    assert batch.scores is not None and batch.conditions is not None
    score = train_classifier(task)
    own = score(Finished(batch.tokens, batch.mask, batch.conditions))
    torch.testing.assert_close(batch.scores, own.scores)
    assert unit.metrics["generator/mean_score"] == pytest.approx(float(own.scores.mean()), rel=1e-4)
    assert 0.0 <= unit.metrics["reward/class_match"] <= 1.0 and unit.metrics["reward/unscored_share"] == 0.0
    rewards = config.reward.of_sequences(batch, task, torch.Generator())
    assert batch.real_logits is not None
    torch.testing.assert_close(rewards, Probability().of_logits(batch.real_logits) + 0.5 * batch.scores)
    # Continuations of the first token are one of two sequences, which have these scores.
    assert batch.continuation_scores is not None
    for row in range(len(batch.tokens)):
        both = torch.stack([batch.tokens[row, 0].repeat(2), torch.arange(2)], 1)
        known = score(Finished(both, torch.ones_like(both, dtype=torch.bool), batch.conditions[[row, row]])).scores
        for one in batch.continuation_scores[row, 0].tolist():
            assert min(abs(one - value) for value in known.tolist()) < 1e-5


def test_what_has_no_classes_is_refused() -> None:
    with refused(ConfigError, "class_without_conditions", {"reward": "class_logprob"}):
        from_dict(to_dict(tiny_config().model_copy(update={"reward": ClassLogprob()})))
    config = small()
    with refused(ConfigError, "prefix_is_not_finished", {"credit": "prefix"}):
        from_dict(to_dict(config.model_copy(update={"credit": Prefix()})))
    many = build_task(TransductionTask(vocab_size=3, max_length=3, num_train=70, num_valid=20, num_test=20))
    with refused(ConfigError, "conditions_no_classes", {"reward": "class_logprob"}):
        ClassLogprob().scorer(many)
    task = world(60)
    assert task.conditions is not None
    alike = replace(task, conditions=replace(task.conditions, train=torch.full_like(task.conditions.train, 2)))
    with refused(ConfigError, "conditions_no_classes", {"reward": "class_logprob"}):
        ClassLogprob().scorer(alike)
    others = replace(task, conditions=replace(task.conditions, valid=torch.full_like(task.conditions.valid, 1)))
    with refused(ConfigError, "classes_not_held_out", {"reward": "class_logprob"}):
        ClassLogprob().scorer(others)


def test_a_classifier_that_tells_nothing_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    task = world(60)
    train_classifier(task)
    assert not caplog.records
    constant = replace(task, train=torch.zeros_like(task.train), valid=torch.zeros_like(task.valid))
    train_classifier(constant)
    assert [one.levelname for one in caplog.records] == ["WARNING"]
