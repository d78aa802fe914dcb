"""Measurements of a generator against the same quantities written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rlgan.envs.tasks import Task, TextTask, build_task
from rlgan.evaluation import EvaluationSettings, Evaluator
from rlgan.generators import LSTM, Generator, build_generator
from rlgan.metrics import CorpusReferences, KneserNey, distinct, self_bleu, strip
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
    assert measurement.metrics["eval/distinct_2"] == distinct(sequences, 2)
    train, test = strip(space, text_task.train), strip(space, text_task.test)
    ends = space.end_id is not None
    assert measurement.metrics["eval/lm_5gram"] == KneserNey(train, space.vocab_size, ends).mean_nll(sequences)
    assert measurement.metrics["eval/rlm_5gram"] == KneserNey(sequences, space.vocab_size, ends).mean_nll(test)
    assert "eval/nll_oracle" not in measurement.metrics


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
