"""`rlgan oracle`: files that --oracle-params reads, and what is refused before anything is written."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from rlgan.envs import OracleTask, build_task
from rlgan.envs.tasks import LSTMOracle
from rlgan.envs.tasks.published_oracle import PUBLISHED_ORDER
from tests.support.commands import ask


def pickled(path: Path, vocab_size: int = 7) -> dict[str, np.ndarray]:
    oracle = LSTMOracle.random(vocab_size, 3, 4, 1, seed=1)
    arrays = {name: oracle.parameters[name].numpy() for name in PUBLISHED_ORDER}
    path.write_bytes(pickle.dumps(list(arrays.values()), 2))
    return arrays


def test_what_was_converted_is_an_oracle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = pickled(tmp_path / "target_params.pkl")
    out = tmp_path / "oracle_lstm.npz"
    answer = ask(capsys, "oracle", "convert", tmp_path / "target_params.pkl", out)
    assert (answer.status, answer.err) == (0, "")
    described, command = answer.out.splitlines()
    assert described.startswith(f"{out}: LSTM over 7 tokens, embedding 3, hidden 4; parameters from ")
    assert command == f"rlgan train seqgan --oracle-params {out}"
    assert ask(capsys, *command.split()[1:], "--dry-run").status == 0
    with np.load(out, allow_pickle=False) as content:
        assert content.files == list(expected)
        assert all(np.array_equal(content[name], array) for name, array in expected.items())


def test_a_generated_oracle_is_the_one_that_a_task_draws_with_its_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "o.npz"
    sizes = ("--vocab-size", 11, "--embedding", 3, "--hidden", 2)
    assert ask(capsys, "oracle", "generate", out, "--seed", 5, *sizes).status == 0
    counts = {"max_length": 4, "num_train": 3, "num_valid": 2, "num_test": 2, "seed": 5}
    drawn = build_task(OracleTask(vocab_size=11, embedding=3, hidden=2, **counts))
    read = build_task(OracleTask(params=str(out), **counts))
    assert isinstance(drawn.oracle, LSTMOracle) and isinstance(read.oracle, LSTMOracle)
    for name, expected in drawn.oracle.parameters.items():
        assert read.oracle.parameters[name].equal(expected)
    assert read.train.equal(drawn.train)


def test_a_generated_oracle_has_the_published_shape_and_its_distribution(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "a.npz", tmp_path / "b.npz"
    for out, seed in ((first, 0), (second, 1)):
        assert ask(capsys, "oracle", "generate", out, "--seed", seed).status == 0
    with np.load(first, allow_pickle=False) as content, np.load(second, allow_pickle=False) as other:
        assert content["embedding"].shape == (5000, 32) and content["Wo"].shape == (32, 5000)
        assert content["Uc"].shape == (32, 32) and content["bog"].shape == (32,)
        values = np.concatenate([content[name].ravel() for name in content.files])
        # Of 334,568 draws of N(0,1): standard errors are .0017 of the mean and .0012 of the deviation.
        assert abs(values.mean()) < 0.01 and abs(values.std() - 1) < 0.01
        assert not np.array_equal(content["Wi"], other["Wi"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", "{}/no.pkl", "{}/o.npz"], "no.pkl: no such file. Give save/target_params.pkl"),
        (["convert", "{}/evil.pkl", "{}/o.npz"], "system', which arrays do not need. No code in it was executed."),
        (["convert", "{}/good.pkl", "{}/o.pkl"], "o.pkl: must end in .npz"),
        (["convert", "{}/good.pkl", "{}/there.npz"], "there.npz: already exists."),
        (["generate", "{}/no/o.npz"], "does not exist. Create it first"),
        (["generate", "{}/o.npz", "--seed", "-1"], "'-1': must be a whole number, at least 0"),
        (["generate", "{}/o.npz", "--vocab-size", "1"], "embedding has 1 row; at least 2"),
        (["generate", "{}/o.npz", "--hiden", "3"], "unrecognized arguments: --hiden 3"),
        (["generate"], "the following arguments are required: OUT.npz"),
        ([], "the following arguments are required: WAY"),
        (["convrt"], "invalid choice: 'convrt'"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pickled(tmp_path / "good.pkl")
    (tmp_path / "evil.pkl").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    (tmp_path / "there.npz").touch()
    before = sorted(tmp_path.iterdir())
    answer = ask(capsys, "oracle", *[argument.format(tmp_path) for argument in arguments])
    assert answer.status == 2 and message in answer.err and answer.err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
