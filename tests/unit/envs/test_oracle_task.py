"""The LSTM distribution against loops written from its equations, the published one, and files that hold none."""

from __future__ import annotations

import itertools
import math
import zipfile

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from rlgan.envs import DataError, OracleTask, ShapeError, build_task
from rlgan.envs.tasks import LSTMOracle
from rlgan.envs.tasks.oracle import CHUNK_ROWS, PARAMETER_AXES
from rlgan.envs.testing import check_task
from tests.support.errors import refused


def arrays(vocab_size=3, embedding=2, hidden=4, seed=0) -> dict[str, np.ndarray]:
    oracle = LSTMOracle.random(vocab_size, embedding, hidden, max_length=1, seed=seed)
    return {name: tensor.numpy().copy() for name, tensor in oracle.parameters.items()}


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def slow_next_probs(p: dict[str, np.ndarray], prefix: list[int]) -> list[float]:
    """Probabilities of the next token, number by number: c = f c + i g, h = o tanh c, softmax(h Wo + bo)."""
    hidden_size = len(p["bi"])
    h, c = [0.0] * hidden_size, [0.0] * hidden_size
    for token in [0, *prefix]:  # token 0 starts every sequence

        def gate(name, j, e=p["embedding"][token], h=tuple(h)):
            return (
                sum(float(e[k]) * float(p[f"W{name}"][k, j]) for k in range(len(e)))
                + sum(h[k] * float(p[f"U{name}"][k, j]) for k in range(hidden_size))
                + float(p[f"b{name}"][j])
            )

        new_h = []
        for j in range(hidden_size):
            c[j] = sigmoid(gate("f", j)) * c[j] + sigmoid(gate("i", j)) * math.tanh(gate("c", j))
            new_h.append(sigmoid(gate("og", j)) * math.tanh(c[j]))
        h = new_h
    logits = [
        sum(h[j] * float(p["Wo"][j, v]) for j in range(hidden_size)) + float(p["bo"][v]) for v in range(len(p["bo"]))
    ]
    weights = [math.exp(logit) for logit in logits]
    return [weight / sum(weights) for weight in weights]


def slow_logprobs(p: dict[str, np.ndarray], tokens: list[int]) -> list[float]:
    return [math.log(slow_next_probs(p, tokens[:t])[token]) for t, token in enumerate(tokens)]


def test_logprobs_equal_the_slow_twin():
    parameters = arrays(vocab_size=5, embedding=3, hidden=4)
    tokens = LSTMOracle(parameters, max_length=6).sample(10, seed=1)
    expected = torch.tensor([slow_logprobs(parameters, row) for row in tokens.tolist()])
    torch.testing.assert_close(LSTMOracle(parameters, max_length=6).logprobs(tokens), expected, rtol=1e-5, atol=1e-5)


def test_samples_and_entropy_follow_the_slow_twins_distribution():
    parameters = arrays(vocab_size=3, embedding=2, hidden=4, seed=3)
    oracle = LSTMOracle(parameters, max_length=3)
    sequences = torch.tensor(list(itertools.product(range(3), repeat=3)))
    probs = torch.tensor([math.exp(sum(slow_logprobs(parameters, row))) for row in sequences.tolist()])
    assert probs.sum().item() == pytest.approx(1, abs=1e-6)

    num_samples = 30_000
    samples = oracle.sample(num_samples, seed=0)
    counts = (samples.unsqueeze(1) == sequences).all(2).sum(0)
    deviations = (probs * (1 - probs) / num_samples).sqrt()
    assert ((counts / num_samples - probs).abs() <= 4.5 * deviations).all()

    exact = -(probs * probs.log()).sum().item() / 3
    # 5,000 prefixes; conditional entropies lie within ln 3 of each other.
    assert oracle.entropy == pytest.approx(exact, abs=0.02)
    assert oracle.entropy != pytest.approx(math.log(3), abs=0.02)


def test_a_sequence_does_not_depend_on_how_many_are_drawn():
    oracle = LSTMOracle.random(70, 3, 4, max_length=5, seed=0)
    many = oracle.sample(2 * CHUNK_ROWS + 1, seed=9)
    assert torch.equal(oracle.sample(3, seed=9), many[:3])
    assert torch.equal(oracle.sample(CHUNK_ROWS + 2, seed=9), many[: CHUNK_ROWS + 2])
    assert not torch.equal(many[:CHUNK_ROWS], many[CHUNK_ROWS : 2 * CHUNK_ROWS])
    assert oracle.sample(0, seed=9).shape == (0, 5)


def test_logprobs_do_not_depend_on_the_rest_of_the_batch():
    oracle = LSTMOracle.random(70, 3, 4, max_length=5, seed=0)
    tokens = oracle.sample(CHUNK_ROWS + 7, seed=1)
    torch.testing.assert_close(oracle.logprobs(tokens)[-1:], oracle.logprobs(tokens[-1:]))
    torch.testing.assert_close(oracle.logprobs(tokens)[:, :2], oracle.logprobs(tokens[:, :2]))
    assert oracle.logprobs(tokens[:0]).shape == (0, 5)


@pytest.mark.parametrize("tokens", [[[0, 3]], [[-1, 0]], [0, 0]])
def test_sequences_of_another_alphabet_are_refused(tokens):
    with pytest.raises(ShapeError):
        LSTMOracle(arrays(), max_length=2).logprobs(torch.tensor(tokens))


def test_the_task_keeps_its_contract():
    task = build_task(OracleTask(vocab_size=20, max_length=6, num_train=50, num_valid=40, num_test=30))
    check_task(task)
    assert [len(task.train), len(task.valid), len(task.test)] == [50, 40, 30]
    assert "LSTM over 20 tokens, embedding 32, hidden 32, 6 tokens per sequence" in task.notes[0]
    assert not torch.equal(task.train[:30], task.valid[:30])
    assert not torch.equal(task.train[:30], task.test)


def test_a_seed_gives_one_oracle_and_another_seed_another():
    settings = OracleTask(vocab_size=20, max_length=6, num_train=5, num_valid=5, num_test=5)
    first, again, other = (build_task(s) for s in (settings, settings, settings.model_copy(update={"seed": 1})))
    assert torch.equal(first.train, again.train)
    assert not torch.equal(first.oracle.parameters["Wo"], other.oracle.parameters["Wo"])


def test_a_file_fixes_the_sizes(tmp_path):
    path = tmp_path / "oracle.npz"
    np.savez_compressed(path, **{name: array.astype(np.float64) for name, array in arrays(7, 2, 5).items()}, extra=1)
    task = build_task(OracleTask(params=str(path), max_length=4, num_train=5, num_valid=5, num_test=5))
    assert task.space.vocab_size == 7
    assert "LSTM over 7 tokens, embedding 2, hidden 5" in task.notes[0]
    assert str(path) in task.notes[0]
    direct = LSTMOracle(arrays(7, 2, 5), max_length=4)
    assert torch.equal(task.oracle.logprobs(task.train), direct.logprobs(task.train))


@pytest.mark.parametrize("name", ["vocab_size", "embedding", "hidden"])
def test_sizes_beside_a_file_are_refused(name):
    with refused(ValidationError, "no_effect_beside_params", {name: 8, "params": "x.npz"}):
        OracleTask(params="x.npz", **{name: 8})


@pytest.mark.parametrize("name", ["embedding", "Wi", "Uog", "bc", "Wo", "bo"])
def test_arrays_that_do_not_fit_are_named(name):
    parameters = arrays()
    parameters[name] = parameters[name][..., :-1] if name != "embedding" else parameters[name][0]
    with refused(DataError, "oracle_array_shape", {"source": "p.npz"}):
        LSTMOracle(parameters, max_length=2, source="p.npz")


def test_the_message_tells_the_array_its_shape_and_the_expected_one():
    parameters = arrays(vocab_size=3, embedding=2, hidden=4) | {"Uf": np.zeros((4, 5), np.float32)}
    with refused(DataError, "oracle_array_shape", match=r"\(4, 5\).*\(4, 4\)"):
        LSTMOracle(parameters, max_length=2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.full(3, np.nan, np.float32), "oracle_array_values"),
        (np.full(3, np.inf, np.float32), "oracle_array_values"),
        (np.full(3, 1e300), "oracle_array_values"),
        (np.zeros(3, np.int64), "oracle_array_type"),
        (np.array(["a", "b", "c"]), "oracle_array_type"),
    ],
)
def test_values_that_are_no_numbers_are_refused(value, message):
    with refused(DataError, message):
        LSTMOracle(arrays() | {"bo": value}, max_length=2)


def test_an_alphabet_of_one_is_refused():
    with refused(DataError, "oracle_one_token"):
        LSTMOracle(arrays(vocab_size=1), max_length=2)


def damaged(path, content: bytes) -> None:
    np.savez(path, **arrays())
    path.write_bytes(content if content else path.read_bytes()[:-200])


def without(path, *names) -> None:
    np.savez(path, **{name: array for name, array in arrays().items() if name not in names})


def single_array(path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


class Bomb:
    """Creates a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def pickled(path) -> None:
    bomb = np.empty(1, dtype=object)
    bomb[0] = Bomb(path.with_name("exploded"))
    np.savez(path, **arrays() | {"bo": bomb})


def flipped(path) -> None:
    """A byte of the last array's data changed, which the archive's check sum tells."""
    np.savez(path, **arrays())
    with zipfile.ZipFile(path) as archive:
        info = archive.infolist()[-1]
    content = bytearray(path.read_bytes())
    content[info.header_offset + info.file_size] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "oracle_no_file"),
        (lambda path: path.mkdir(), "oracle_no_file"),
        (lambda path: path.write_bytes(b""), "oracle_file_unreadable"),
        (lambda path: path.write_bytes(b"hello, this is text\n" * 9), "oracle_file_unreadable"),
        (lambda path: damaged(path, b""), "oracle_file_unreadable"),
        (flipped, "oracle_file_unreadable"),
        (pickled, "oracle_file_unreadable"),
        (single_array, "oracle_unnamed_array"),
        (lambda path: without(path, "Wi", "bo"), "oracle_file_lacks_arrays"),
        (lambda path: without(path, *PARAMETER_AXES), "oracle_file_lacks_arrays"),
    ],
    ids=["missing", "directory", "empty", "text", "cut", "flipped", "pickled", "npy", "lacking", "no_arrays"],
)
def test_files_that_hold_no_oracle_are_refused(tmp_path, make, message):
    path = tmp_path / "oracle.npz"
    make(path)
    with refused(DataError, message) as caught:
        build_task(OracleTask(params=str(path)))
    assert str(path) in str(caught.value)
    assert "Give a .npz file" in str(caught.value)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.heavy
@pytest.mark.integration
@pytest.mark.slow
def test_published_oracle_scores_its_own_samples_and_uniform_tokens_as_published(data_dir):
    path = data_dir / "oracle_seqgan" / "oracle_lstm.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    oracle = LSTMOracle.load(path, max_length=20)
    own = oracle.sample(10_000, seed=0)
    uniform = torch.randint(5000, (10_000, 20), generator=torch.Generator().manual_seed(0))
    assert -oracle.logprobs(own).mean().item() == pytest.approx(5.75, abs=0.02)
    assert -oracle.logprobs(uniform).mean().item() == pytest.approx(11.43, abs=0.03)
    assert oracle.entropy == pytest.approx(5.75, abs=0.01)


@pytest.mark.integration
def test_published_samples_have_their_published_scores(data_dir):
    folder = data_dir / "oracle_seqgan"
    if not (folder / "oracle_samples_test_10k.npz").is_file():
        pytest.skip(f"no oracle_samples_test_10k.npz in {folder}")
    with np.load(folder / "oracle_samples_test_10k.npz", allow_pickle=False) as content:
        tokens, nll = content["tokens"][:500].astype(np.int64), content["oracle_nll"][:500]
    logprobs = LSTMOracle.load(folder / "oracle_lstm.npz", max_length=20).logprobs(torch.from_numpy(tokens))
    np.testing.assert_allclose(-logprobs.mean(1).numpy(), nll, atol=1e-4)
