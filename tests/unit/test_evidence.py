"""Evidence: the sides of a table's row, and the same without some sequences, measured anew without them."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from rlgan.base.seeding import global_stream
from rlgan.envs.tasks import OracleTask, PairsTask, Task, TextTask, TransductionTask, build_task
from rlgan.envs.tasks.pieces import Words
from rlgan.envs.transition import sequence_mask
from rlgan.evaluation.evaluator import EvaluationSettings, Evaluator
from rlgan.evaluation.evidence import KL_SUM, LM_RLM, PAIR_SUM, Evidence, combined
from rlgan.generators import LSTM, Generator, LatentConv, Seq2SeqLSTM, build_generator
from rlgan.metrics import KneserNey, strip

SETTINGS = EvaluationSettings(encoders=(), num_bleu=4)
NUM = 30


def generator_of(task: Task) -> Generator:
    settings = LSTM(embedding=4, hidden=4) if task.conditions is None else Seq2SeqLSTM(embedding=4, hidden=4)
    with global_stream(0, "test"):
        return build_generator(settings, task.space).eval()


def without_rows(task: Task, kept: torch.Tensor) -> Task:
    given = task.conditions
    if given is not None:
        words = given.test_words and tuple(given.test_words[row] for row in kept)
        sources = None if given.test_sources is None else given.test_sources[kept]
        given = replace(given, test=given.test[kept], test_words=words, test_sources=sources)
    test_words = task.test_words and tuple(task.test_words[row] for row in kept)
    return replace(task, test=task.test[kept], test_words=test_words, conditions=given)


def of(task: Task, temperature: float = 0.8) -> tuple[Evaluator, Generator, Evidence, dict[str, float]]:
    evaluator, generator = Evaluator(task, SETTINGS, seed=1), generator_of(task)
    evidence = evaluator.evidence(generator, temperature, NUM)
    return evaluator, generator, evidence, evaluator.measure(generator, temperature, NUM).metrics


@pytest.fixture(scope="module", params=[None, 6], ids=["known", "unknown"])
def text(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Task:
    """Lines of five letters; or of four, and all others unknown."""
    rng = random.Random(0)
    lines = {" ".join(rng.choices("abcde", k=rng.randrange(2, 7))) for _ in range(150)}
    path = tmp_path_factory.mktemp("text") / "lines.txt"
    path.write_text("\n".join(sorted(lines)))
    return build_task(
        TextTask(data=str(path), valid_fraction=0.2, test_fraction=0.2, tokens=Words(max_size=request.param))
    )


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Task:
    rng = random.Random(0)
    lines = [f"{' '.join(rng.choices('abc', k=3))}\t{' '.join(rng.choices('xyz', k=3))}" for _ in range(120)]
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text("\n".join(lines))
    settings = {"input": {"kind": "tsv", "data": str(path), "source": 0, "target": 1}, "max_length": 5,
                "domain": {"kind": "translation", "max_source_length": 5},
                "valid_fraction": 0.2, "test_fraction": 0.3}  # fmt: skip
    return build_task(PairsTask.model_validate(settings))


def test_the_sides_of_a_known_distribution_are_those_of_the_row() -> None:
    task = build_task(OracleTask(vocab_size=8, max_length=4, num_train=20, num_valid=10, num_test=12))
    evaluator, generator, found, metrics = of(task)
    assert evaluator.two_sided(generator) == KL_SUM
    assert found.sides == pytest.approx([metrics["eval/kl_reverse"], metrics["eval/kl_forward"]], abs=1e-6)
    assert found.without_real.shape == (12, 2) and found.without_drawn.shape == (NUM, 2)
    # Without the third held-out sequence: as if it had never been there.
    rest = without_rows(task, torch.tensor([row for row in range(12) if row != 2]))
    again = Evaluator(rest, SETTINGS, seed=1).evidence(generator, 0.8, NUM)
    assert found.without_real[2] == pytest.approx(again.sides, abs=1e-6)
    # The mean of what is left after each of equally long sequences is the mean.
    assert found.without_drawn.mean(0) == pytest.approx(found.sides)
    assert np.ptp(found.without_drawn[:, 1]) == 0 < np.ptp(found.without_drawn[:, 0])


def test_sequences_that_are_given_something_are_left_out_with_what_was_drawn_for_them() -> None:
    settings = TransductionTask(vocab_size=3, max_length=3, ends=True, num_train=20, num_valid=10, num_test=NUM)
    task = build_task(settings)
    evaluator, generator, found, metrics = of(task)
    assert evaluator.two_sided(generator) == KL_SUM
    assert found.sides == pytest.approx([metrics["eval/kl_reverse"], metrics["eval/kl_forward"]], abs=1e-6)
    assert found.without_real.shape == (NUM, 2) and len(found.without_drawn) == 0
    measured = evaluator.measure(generator, 0.8, NUM)
    kept = [row for row in range(NUM) if row != 4]
    assert task.conditions is not None and measured.conditions is not None and task.conditions.distribution is not None
    tokens, given = measured.tokens[kept], measured.conditions[kept]
    lost = evaluator._logprobs(generator, tokens, 0.8, given) - task.conditions.distribution(given).logprobs(tokens)
    mask = sequence_mask(task.space, tokens)
    assert found.without_real[4, 0] == pytest.approx(float(lost[mask].mean()), abs=1e-5)


def test_a_model_of_samples_is_learned_again_without_each_tenth_of_them(text: Task) -> None:
    evaluator, generator, found, metrics = of(text)
    assert evaluator.two_sided(generator) == LM_RLM
    assert found.sides == pytest.approx([metrics["eval/lm_5gram"], metrics["eval/rlm_5gram"]], rel=1e-12)
    assert found.without_real.shape == (len(text.test), 2) and found.without_drawn.shape == (10, 2)
    sequences = strip(text.space, evaluator.measure(generator, 0.8, NUM).tokens)
    kept = [sequence for row, sequence in enumerate(sequences) if row % 10 != 3]
    size = text.space.vocab_size
    real, trained = strip(text.space, text.test), KneserNey(strip(text.space, text.train), size, ends=True)
    learned = KneserNey(kept, size, ends=True)
    assert found.without_drawn[3] == pytest.approx([trained.mean_nll(kept), learned.mean_nll(real, False)], rel=1e-12)
    rest = KneserNey(sequences, size, ends=True).mean_nll(real[1:], False)
    assert found.without_real[0] == pytest.approx([found.sides[0], rest], rel=1e-12)
    quick = evaluator.evidence(generator, 0.8, NUM, has_groups=False)
    assert (quick.sides == found.sides).all() and len(quick.without_drawn) == 0


def test_pairs_are_left_out_by_source(pairs: Task) -> None:
    evaluator, generator, found, metrics = of(pairs)
    assert evaluator.two_sided(generator) == PAIR_SUM
    chrf, nll = metrics["eval/chrf"], metrics["eval/nll_gen"]
    assert found.sides == pytest.approx([-math.log(chrf / 100), nll], rel=1e-6)
    assert len(found.without_drawn) == 0
    assert pairs.conditions is not None
    sources = list(dict.fromkeys(map(tuple, pairs.conditions.test.tolist())))
    number = min(20, len(sources))
    assert found.without_real.shape == (number, 2) and number < len(pairs.test)  # some sources stand there twice
    gone = {source for at, source in enumerate(sources) if at % number == 1}
    kept = [row for row, source in enumerate(map(tuple, pairs.conditions.test.tolist())) if source not in gone]
    rest = Evaluator(without_rows(pairs, torch.tensor(kept)), SETTINGS, seed=1).evidence(generator, 0.8, NUM)
    assert found.without_real[1] == pytest.approx(rest.sides, rel=1e-6)


def test_without_likelihoods_a_generator_has_evidence_on_text_alone(text: Task) -> None:
    oracle = build_task(OracleTask(vocab_size=8, max_length=4, num_train=20, num_valid=10, num_test=12))
    for task, measure in ((oracle, None), (text, LM_RLM)):
        generator = build_generator(LatentConv(width=4, blocks=1), task.space)
        assert Evaluator(task, SETTINGS, seed=1).two_sided(generator) == measure


def test_held_out_sequences_are_paired_and_drawn_ones_are_not() -> None:
    hard = np.array([[0.0, 1.0], [0.0, 3.0]])
    one = Evidence(np.array([0.0, 2.0]), hard, np.array([[1.0, 0.0], [-1.0, 0.0]]))
    other = replace(one, sides=np.array([0.0, 1.0]), without_real=hard - [0.0, 1.0])
    found = combined((one, other), (1.0, -1.0))
    # What both have in common is nothing of their difference; ½ · (1 + 1) of each draw is.
    assert found.value == 1.0 and [source.variance for source in found.sources] == [0.0, 1.0, 1.0]
    assert combined((one, other), (1.0, -1.0), side=1).variance == 0.0
    assert combined((one,), (2.0,)).variance == 4 * combined((one,), (1.0,)).variance == 8.0
