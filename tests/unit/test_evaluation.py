"""Measurements of a generator against the same quantities written out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from rlgan.base.errors import ConfigError
from rlgan.envs.tasks import Task, TextTask, TransductionTask, build_task
from rlgan.envs.vocabulary import UNK_NAME
from rlgan.evaluation import text_measures
from rlgan.evaluation.evaluator import EvaluationSettings, Evaluator, Measurement, selection_view
from rlgan.evaluation.sentence_encoders import NgramEncoder
from rlgan.generators import LSTM, Generator, Seq2SeqLSTM, build_generator
from rlgan.metrics import (
    CorpusReferences,
    JaccardNeighbours,
    KneserNey,
    NgramFrequencies,
    cosine_distances,
    distinct,
    frechet_distance,
    gaussian_of,
    nearness_test,
    self_bleu,
    strip,
)
from tests.support.errors import refused
from tests.support.tiny import TASK

SETTINGS = EvaluationSettings(num_sequences=40, final_sequences=50, num_bleu=6)
TEMPERATURES = [pytest.param(1.0, id="as trained"), pytest.param(0.5, id="colder")]


@pytest.fixture(scope="module")
def oracle_task() -> Task:
    return build_task(TASK)


@pytest.fixture(scope="module")
def text_task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    path = tmp_path_factory.mktemp("text") / "lines.txt"
    words = ["the", "cat", "dog", "sat", "ran", "on", "mat", "and", "a"]
    rng = torch.Generator().manual_seed(0)
    lines = [
        " ".join(words[i] for i in torch.randint(9, (int(length),), generator=rng))
        for length in torch.randint(2, 8, (120,), generator=rng)
    ]
    path.write_text("\n".join(lines))
    return build_task(TextTask(data=str(path), valid_fraction=0.2, test_fraction=0.2))


def generator_for(task: Task, dropout: float = 0.0) -> Generator:
    torch.manual_seed(0)
    return build_generator(LSTM(embedding=6, hidden=6, dropout=dropout, init_std=0.6), task.space)


def logprobs_by_hand(generator: Generator, tokens: Tensor, temperature: float) -> Tensor:
    """(n, T) log softmax(logits / τ) at the tokens, the softmax written out."""
    with torch.no_grad():
        logits = generator.logits(tokens).double() / temperature
    return (logits.exp() / logits.exp().sum(2, keepdim=True)).log().gather(2, tokens.unsqueeze(2)).squeeze(2)


def rank_by_hand(generator: Generator, task: Task, tokens: Tensor, temperature: float) -> Tensor:
    """Of what follows a prefix of each sequence, of 0, 1, 2 ... tokens and again 0 where the sequence is at its end."""
    rows = []
    for index, sequence in enumerate(tokens):
        ends = (sequence == task.space.end_id).nonzero().flatten().tolist() if task.space.end_id is not None else []
        num_tokens = ends[0] + 1 if ends else len(sequence)
        length = index % num_tokens
        asked = torch.zeros(1, length + 1, dtype=torch.int64)  # its last token is never read
        asked[0, :length] = sequence[:length]
        with torch.no_grad():
            rows.append(torch.softmax(generator.logits(asked)[0, length].double() / temperature, 0))
    shares = torch.linalg.svdvals(torch.stack(rows))
    shares = shares / shares.sum()
    return (-(shares * shares.log()).sum()).exp()


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_likelihoods_and_gaps_on_an_oracle(oracle_task: Task, temperature: float) -> None:
    generator, oracle = generator_for(oracle_task), oracle_task.oracle
    assert oracle is not None
    measurement = Evaluator(oracle_task, SETTINGS, seed=3).measure(generator, temperature)
    tokens = measurement.tokens
    assert tokens.shape == (40, oracle_task.space.max_length)
    expected = {
        "eval/nll_gen": -logprobs_by_hand(generator, oracle_task.test, temperature).mean(),
        "eval/nll_div": -logprobs_by_hand(generator, tokens, temperature).mean(),
        "eval/nll_oracle": -oracle.logprobs(tokens).double().mean(),
    }
    expected["eval/kl_forward"] = expected["eval/nll_gen"] - oracle.entropy
    expected["eval/kl_reverse"] = expected["eval/nll_oracle"] - expected["eval/nll_div"]
    expected["eval/kl_sum"] = expected["eval/kl_forward"] + expected["eval/kl_reverse"]
    expected["eval/effective_rank"] = rank_by_hand(generator, oracle_task, tokens, temperature)
    assert measurement.metrics == pytest.approx({name: float(value) for name, value in expected.items()}, abs=1e-5)


def test_text_is_compared_with_the_whole_test_set(text_task: Task) -> None:
    generator, space = generator_for(text_task), text_task.space
    measurement = Evaluator(text_task, SETTINGS, seed=3).measure(generator)
    sequences = strip(space, measurement.tokens)
    bleu = CorpusReferences(strip(space, text_task.test), 5).bleu(sequences[:6])
    own = self_bleu(sequences[:6], 5)
    for order in (2, 3, 4, 5):
        assert measurement.metrics[f"eval/bleu_{order}"] == bleu[order]
        assert measurement.metrics[f"eval/self_bleu_{order}"] == own[order]
    for order in (1, 2):
        assert measurement.metrics[f"eval/distinct_{order}"] == distinct(sequences, order)
    train, test = strip(space, text_task.train), strip(space, text_task.test)
    ends = space.end_id is not None
    assert measurement.metrics["eval/lm_5gram"] == KneserNey(train, space.vocab_size, ends).mean_nll(sequences)
    assert measurement.metrics["eval/rlm_5gram"] == KneserNey(sequences, space.vocab_size, ends).mean_nll(test)
    assert "eval/nll_oracle" not in measurement.metrics
    rank = rank_by_hand(generator, text_task, measurement.tokens, 1.0)
    assert measurement.metrics["eval/effective_rank"] == pytest.approx(float(rank), rel=1e-5)


def encoded(task: Task, tokens: Tensor) -> np.ndarray:
    """As what is measured is seen; the splits of the task have no unknown words."""
    return NgramEncoder().encode([line.replace(UNK_NAME, "⁇").split() for line in task.decode(tokens)])


def test_what_numbers_bias_is_measured_of_as_many_samples_as_there_are_real_sequences(text_task: Task) -> None:
    measurement = Evaluator(text_task, SETTINGS, seed=3).measure(generator_for(text_task))
    number = text_task.valid.shape[0]
    assert number == 24 < measurement.tokens.shape[0]
    space, test = text_task.space, text_task.test
    real = Evaluator(text_task, SETTINGS, seed=3).measure_real(1_000)
    for metrics, tokens in ((measurement.metrics, measurement.tokens[:number]), (real.metrics, text_task.valid)):
        js = NgramFrequencies(strip(space, tokens)).js(NgramFrequencies(strip(space, test)))
        for order in (1, 2, 3, 4):
            assert metrics[f"eval/js_{order}"] == js[order]
        distance = frechet_distance(gaussian_of(encoded(text_task, test)), gaussian_of(encoded(text_task, tokens)))
        assert metrics["eval/fed_ngram64"] == pytest.approx(distance, abs=1e-9)


def test_a_close_look_tests_nearness_against_the_test_split(text_task: Task) -> None:
    settings = SETTINGS.model_copy(update={"num_nearest": 10})
    evaluator = Evaluator(text_task, settings, seed=3)
    tokens = torch.cat([text_task.train[:10], text_task.valid])  # ten copies; what comes after is not looked at
    closely = evaluator.measure_closely(Measurement({}, tokens))
    space = text_task.space
    train, test = strip(space, text_task.train), strip(space, text_task.test)
    neighbours = JaccardNeighbours(train)
    held_out = {
        "jaccard": neighbours.distances(test[:10]),
        "ngram64": cosine_distances(encoded(text_task, text_task.test[:10]), encoded(text_task, text_task.train)),
    }
    assert set(closely) == {f"eval/nearest_{name}{of}" for name in held_out for of in ("", "_ks", "_p")}
    for name, expected in held_out.items():
        found = nearness_test(np.zeros(10), expected)
        assert closely[f"eval/nearest_{name}"] == pytest.approx(0.0, abs=1e-6)
        assert closely[f"eval/nearest_{name}_ks"] == pytest.approx(found.statistic)
        assert closely[f"eval/nearest_{name}_p"] == pytest.approx(found.p_value)
    assert closely["eval/nearest_jaccard_ks"] > 0.5 and closely["eval/nearest_jaccard_p"] < 0.05
    new = evaluator.measure_closely(Measurement({}, text_task.valid))
    assert new["eval/nearest_jaccard"] == pytest.approx(
        float(neighbours.distances(strip(space, text_task.valid[:10])).mean())
    )
    assert new["eval/nearest_jaccard_p"] > 0.05


class Slow:
    """An encoder of one number that takes long."""

    name = "minilm"
    is_fast = False

    def __init__(self) -> None:
        self.num_encoded = 0

    def encode(self, sequences: Sequence[Sequence[str]]) -> np.ndarray:
        self.num_encoded += len(sequences)
        return np.array([[float(len(" ".join(sequence)))] for sequence in sequences], np.float32)


def test_a_slow_encoder_is_kept_for_the_close_look(text_task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    monkeypatch.setattr(text_measures, "build_encoder", lambda name, joining: slow)
    settings = SETTINGS.model_copy(update={"encoders": ("minilm",), "num_nearest": 10})
    evaluator = Evaluator(text_task, settings, seed=3)
    measured = evaluator.measure(generator_for(text_task))
    assert slow.num_encoded == 0 and not any(name.startswith("eval/fed") for name in measured.metrics)
    closely = evaluator.measure_closely(measured)
    lengths = [
        np.array([float(len(line.replace(UNK_NAME, "⁇"))) for line in text_task.decode(tokens)])
        for tokens in (measured.tokens[:24], text_task.test)
    ]
    (mean, spread), (test_mean, test_spread) = ((some.mean(), some.std(ddof=1)) for some in lengths)
    assert closely["eval/fed_minilm"] == pytest.approx((mean - test_mean) ** 2 + (spread - test_spread) ** 2, rel=1e-4)
    num_encoded = slow.num_encoded
    evaluator.measure_closely(measured)
    assert slow.num_encoded == num_encoded + 24, "the splits are encoded once"


def test_an_encoder_of_words_is_refused_where_there_are_none(oracle_task: Task) -> None:
    settings = SETTINGS.model_copy(update={"encoders": ("ngram64", "minilm")})
    with refused(ConfigError, "minilm_reads_text", match="'ngram64'.*'minilm'.*'minilm'"):
        Evaluator(oracle_task, settings, seed=3)
    assert Evaluator(oracle_task, SETTINGS, seed=3).measure_closely(Measurement({}, oracle_task.valid)) == {}


def test_without_encoders_nothing_is_encoded(text_task: Task) -> None:
    evaluator = Evaluator(text_task, SETTINGS.model_copy(update={"encoders": ()}), seed=3)
    assert not any("fed" in name for name in evaluator.measure(generator_for(text_task)).metrics)
    assert {name.split("_")[1] for name in evaluator.measure_closely(Measurement({}, text_task.valid))} == {"jaccard"}


def test_rows_of_a_table_share_their_random_numbers(oracle_task: Task) -> None:
    generator = generator_for(oracle_task)
    evaluator = Evaluator(oracle_task, SETTINGS, seed=3)
    first = evaluator.measure(generator)
    torch.rand(7)
    assert torch.equal(evaluator.measure(generator).tokens, first.tokens)
    assert torch.equal(Evaluator(oracle_task, SETTINGS, seed=3).measure(generator).tokens, first.tokens)
    assert not torch.equal(Evaluator(oracle_task, SETTINGS, seed=4).measure(generator).tokens, first.tokens)
    assert evaluator.measure(generator, num_sequences=11).tokens.shape[0] == 11


def test_dropout_is_off_whatever_the_mode(oracle_task: Task) -> None:
    evaluator = Evaluator(oracle_task, SETTINGS, seed=3)
    with_dropout = evaluator.measure(generator_for(oracle_task, dropout=0.9).train())
    assert with_dropout.metrics == evaluator.measure(generator_for(oracle_task).eval()).metrics


def test_real_sequences_of_an_oracle_estimate_its_entropy(oracle_task: Task) -> None:
    oracle = oracle_task.oracle
    assert oracle is not None
    real = Evaluator(oracle_task, SETTINGS, seed=3).measure_real(15)
    assert torch.equal(real.tokens, oracle_task.test[:15])
    assert real.metrics == {"eval/nll_oracle": pytest.approx(-float(oracle.logprobs(real.tokens).mean()), abs=1e-5)}
    standard_error = float(oracle.logprobs(oracle_task.test).mean(1).std()) / oracle_task.test.shape[0] ** 0.5
    whole = Evaluator(oracle_task, SETTINGS, seed=3).measure_real()
    assert abs(whole.metrics["eval/nll_oracle"] - oracle.entropy) < 5 * standard_error


def test_real_text_is_the_validation_split_against_the_test_split(text_task: Task) -> None:
    real = Evaluator(text_task, SETTINGS, seed=3).measure_real(1_000)
    assert torch.equal(real.tokens, text_task.valid)
    sequences = strip(text_task.space, text_task.valid)
    bleu = CorpusReferences(strip(text_task.space, text_task.test), 5).bleu(sequences[:6])
    assert real.metrics["eval/bleu_3"] == bleu[3]
    assert real.metrics["eval/self_bleu_2"] == self_bleu(sequences[:6], 5)[2]
    assert "eval/nll_gen" not in real.metrics
    assert isinstance(text_task.decode(real.tokens)[0], str)


# --------------------------------------------------------------------------------------- given sequences, selection

GIVEN = TransductionTask(vocab_size=9, max_length=3, ends=True, seed=1, num_train=30, num_valid=7, num_test=5)


@pytest.fixture(scope="module")
def given_task() -> Task:
    return build_task(GIVEN)


def answering(task: Task) -> Generator:
    torch.manual_seed(0)
    return build_generator(Seq2SeqLSTM(embedding=4, hidden=6, init_std=0.6), task.space).eval()


def test_a_measurement_holds_what_its_sequences_were_given(given_task: Task) -> None:
    generator, given = answering(given_task), given_task.conditions
    assert given is not None
    measured = Evaluator(given_task, SETTINGS, seed=3).measure(generator, num_sequences=12)
    assert measured.conditions is not None and len(given.test.unique(dim=0)) == 5
    # The five of the test split, again from the first.
    assert torch.equal(measured.conditions, torch.cat([given.test, given.test, given.test[:2]]))
    oracle = given_task.oracle_of(measured.conditions)
    assert oracle is not None
    mask = torch.cumsum(measured.tokens == 0, 1) - (measured.tokens == 0).long() == 0
    expected = -(oracle.logprobs(measured.tokens).double() * mask).sum() / mask.sum()
    assert measured.metrics["eval/nll_oracle"] == pytest.approx(float(expected))
    real = Evaluator(given_task, SETTINGS, seed=3).measure_real(4)
    assert torch.equal(real.tokens, given_task.test[:4])
    assert real.conditions is not None and torch.equal(real.conditions, given.test[:4])


def test_real_pairs_of_an_unknown_distribution_are_those_of_the_validation_split(given_task: Task) -> None:
    assert given_task.conditions is not None
    unknown = dataclasses.replace(given_task, conditions=dataclasses.replace(given_task.conditions, distribution=None))
    real = Evaluator(unknown, SETTINGS, seed=3).measure_real(6)
    assert torch.equal(real.tokens, given_task.valid[:6]) and real.conditions is not None
    assert torch.equal(real.conditions, given_task.conditions.valid[:6])


def test_sequences_that_are_given_nothing_have_no_conditions(oracle_task: Task) -> None:
    evaluator = Evaluator(oracle_task, SETTINGS, seed=3)
    assert evaluator.measure(generator_for(oracle_task)).conditions is None
    assert evaluator.measure_real().conditions is None


def test_what_is_selected_on_are_validation_sequences_with_what_they_are_given(given_task: Task) -> None:
    view, given = selection_view(given_task), given_task.conditions
    assert view.conditions is not None and given is not None
    assert torch.equal(view.test, given_task.valid) and torch.equal(view.conditions.test, given.valid)
    assert torch.equal(view.train, given_task.train) and torch.equal(view.conditions.train, given.train)
    generator = answering(given_task)
    with torch.no_grad():
        logprobs = generator.conditional(given.valid).logprobs(given_task.valid)
    mask = torch.cumsum(given_task.valid == 0, 1) - (given_task.valid == 0).long() == 0
    expected = -float((logprobs.double() * mask).sum() / mask.sum())
    assert Evaluator(view, SETTINGS, seed=3).figure(generator, "valid_nll") == pytest.approx(expected, rel=1e-6)


def test_a_figure_is_that_of_the_whole_measurement(oracle_task: Task, text_task: Task, given_task: Task) -> None:
    for task, generator in (
        (oracle_task, generator_for(oracle_task)),
        (text_task, generator_for(text_task)),
        (given_task, answering(given_task)),
    ):
        evaluator = Evaluator(selection_view(task), SETTINGS, seed=3, draw="selection")
        whole = evaluator.measure(generator).metrics
        assert evaluator.figure(generator, "valid_nll") == whole["eval/nll_gen"]
        if task is text_task:
            assert evaluator.figure(generator, "lm_rlm") == whole["eval/lm_5gram"] + whole["eval/rlm_5gram"]
        else:
            assert evaluator.figure(generator, "kl_sum") == whole["eval/kl_sum"]
