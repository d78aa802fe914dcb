"""Runs by the Python face, of seconds: each number of it against the files of the run, or by another way."""

from __future__ import annotations

import functools
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import rlgan
from rlgan import api
from rlgan.base.errors import ConfigError
from rlgan.runs.reward_function import reward_of_run
from rlgan.storage.export import load_run_generator
from tests.support.commands import ask
from tests.support.documents import PROJECT, blocks
from tests.support.errors import refused
from tests.support.runs import assert_ends_alike, stop_after

pytestmark = [pytest.mark.heavy, pytest.mark.integration]

LINES = [f"{first} {verb} {last}" for first in "abcd" for verb in ("saw", "met", "hit") for last in "efghij"]
SMALL: dict[str, Any] = {
    "data": LINES,
    "generator": {"embedding": 8, "hidden": 8},
    "discriminator": {"embedding": 4, "windows": [1, 2], "filters": [4, 4]},
    "credit": {"num_rollouts": 2},
    "schedule": {
        "mle_epochs": 2,
        "discriminator_rounds": 1,
        "adversarial_updates": 2,
        "g_batch": 8,
        "d_steps": 1,
        "mle_batch": 16,
    },
    "evaluation": {"every": 1, "mle_every": 1, "num_sequences": 16, "final_sequences": 16, "num_bleu": 8},
    "controls": [],
    "settings": {
        "evaluation.temperatures": [1.0],
        "tracking.enabled": False,
        "workers.threads": 1,
        "adversary.batch": 16,
    },
}

LIKELIHOOD: dict[str, Any] = {
    **{name: SMALL[name] for name in ("data", "generator")},
    "schedule": {"mle_epochs": 1, "mle_batch": 16},
    "evaluation": {"mle_every": 1, "final_sequences": 16, "num_bleu": 8},
    "settings": {"evaluation.temperatures": [1.0], "tracking.enabled": False, "workers.threads": 1},
}


def brevity(completions: list[str], **columns: Any) -> list[float]:
    return [-float(len(text.split())) for text in completions]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> rlgan.Run:
    return rlgan.train("seqgan", out=tmp_path_factory.mktemp("runs") / "one", quiet=True, **SMALL)


def test_what_a_run_shows_is_what_its_folder_holds(run: rlgan.Run) -> None:
    logged = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert len(run.metrics) == len(logged) and list(run.metrics["phase"]) == [row["phase"] for row in logged]
    of_updates = run.metrics[run.metrics["phase"] == "adversarial"]["eval/nll_gen"]
    assert list(of_updates) == [row["metrics"]["eval/nll_gen"] for row in logged if row["phase"] == "adversarial"]
    assert run.table["name"].iloc[-1] == "seqgan (this run)" and run.verdict is not None
    assert list(run.samples) == ["mle 1", "mle 2", "adversarial 1", "adversarial 2", "final"]
    assert run.is_finished and run.config.preset == "seqgan"
    lines = repr(run).splitlines()
    assert len(lines) == 3 and "seqgan" in lines[0] and "finished" in lines[1]
    assert len(run.plot().axes) > 3


def test_samples_are_those_of_the_command_line(run: rlgan.Run, capsys: pytest.CaptureFixture[str]) -> None:
    printed = ask(
        capsys,
        "sample",
        "--run",
        str(run.folder),
        "--num",
        "4",
        "--temperature",
        "0.7",
        "--top-p",
        "0.9",
        "--seed",
        "3",
    )
    assert run.sample(4, temperature=0.7, top_p=0.9, seed=3) == printed.out.splitlines()
    assert rlgan.load(run.folder).sample(2, seed=1) == run.sample(2, seed=1)


def test_a_run_is_sampled_from_and_scored_without_ray(run: rlgan.Run) -> None:
    program = (
        "import sys; sys.modules['ray'] = None; import rlgan; run = rlgan.load(sys.argv[1]); "
        "print(run.sample(2, seed=5)); print(run.score(['a saw e']).shape, len(run.table), run)"
    )
    command = [sys.executable, "-c", program, str(run.folder)]
    found = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr[-2000:]
    assert found.stdout.splitlines()[0] == str(run.sample(2, seed=5))


def test_a_text_is_scored_token_by_token(run: rlgan.Run) -> None:
    scores = run.score(["a saw e", "b hit j"])
    exported = load_run_generator(run.folder)
    ids = {name: index for index, name in enumerate(exported.token_names)}
    end, stepper = exported.space.end_id, exported.generator.stepper()
    assert end is not None
    for row, text in enumerate(["a saw e", "b hit j"]):
        # By the sampler's own copy of the network, one token after another.
        state, total = stepper.start(1), 0.0
        for token in [*(ids[word] for word in text.split()), end]:
            weights = stepper.weights(state)[0].double()
            total += float(torch.log(weights[token] / weights.sum()))
            state = stepper.advance(state, torch.tensor([token]))
        assert scores["log_likelihood"][row] == pytest.approx(total, abs=1e-4)
    assert list(scores["num_tokens"]) == [4, 4]
    reward = reward_of_run(run.folder, "logit")
    tokens = torch.tensor([[ids["a"], ids["saw"], ids["e"], end]])
    assert scores["discriminator_logit"][0] == pytest.approx(float(reward(tokens, torch.ones_like(tokens) > 0)[0]))
    assert float(rlgan.discriminator_reward(run, "logit")(tokens, torch.ones_like(tokens) > 0)[0]) == pytest.approx(
        scores["discriminator_logit"][0]
    )


def test_runs_are_compared_by_their_tables(run: rlgan.Run) -> None:
    both = rlgan.compare(run, run.folder)
    assert len(both) == 2 * len(run.table) and set(both["run"]) == {str(run.folder)}


def test_a_run_with_a_function_is_stopped_and_resumed_to_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = rlgan.train("seqgan", reward=brevity, out="whole", quiet=True, **SMALL)
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        stopped = rlgan.train("seqgan", reward=brevity, out="parts", quiet=True, **SMALL)
    assert not stopped.is_finished and "not finished" in repr(stopped)
    assert stopped.resume(quiet=True).is_finished
    assert_ends_alike(whole.folder, stopped.folder)


def test_quiet_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rlgan.train("mle", out=tmp_path / "quiet", quiet=True, **LIKELIHOOD)
    assert capfd.readouterr() == ("", "")
    rlgan.train("mle", out=tmp_path / "loud", **LIKELIHOOD)
    assert "MLE epoch 1" in capfd.readouterr().out


def test_pairs_are_written_for_their_sources(tmp_path: Path) -> None:
    pairs = [(line, " ".join(reversed(line.split()))) for line in LINES]
    small = {**LIKELIHOOD, "data": pairs, "evaluation": {"mle_every": 1, "final_sequences": 16}}
    run = rlgan.train("mle", out=tmp_path / "pairs", quiet=True, **small)
    assert len(run.sample(sources=["a saw e", "b met f"])) == 2
    scores = run.score(["e saw a"], sources=["a saw e"])
    assert scores["log_likelihood"][0] < 0 and "discriminator_logit" not in scores
    with refused(ConfigError, "sources_missing"):
        run.sample(2)


@pytest.mark.ray
def test_a_cluster_of_the_users_own_is_used_and_left_alone(
    tmp_path: Path, ray_session: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of too few CPUs for a run, and then for one that fits, while RAY_ADDRESS names another cluster."""
    import ray

    before = ray.get_runtime_context().gcs_address
    monkeypatch.setenv("RAY_ADDRESS", "10.9.9.9:6379")
    with refused(ConfigError, "cluster_too_small"):
        rlgan.train("seqgan", out=tmp_path / "too_large", quiet=True, workers={"rollout": 8}, **SMALL)
    assert not (tmp_path / "too_large").exists() and ray.is_initialized()
    workers = {"rollout": 1, "cpus_per_rollout": 0.2, "cpus_discriminator": 0.2}
    with caplog.at_level(logging.WARNING, "rlgan"):
        run = rlgan.train("seqgan", out=tmp_path / "on_ray", quiet=True, workers=workers, **SMALL)
    assert run.is_finished and ray.is_initialized() and ray.get_runtime_context().gcs_address == before
    assert before in caplog.text and "10.9.9.9:6379" in caplog.text


@pytest.mark.timeout(900)  # a run, another of it, and its controls twice, on however busy a machine
def test_the_examples_of_the_page_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    page = (PROJECT / "docs/python.md").read_text("utf-8")
    pieces = [block for block in blocks(page) if block.language == "python" and "from ray" not in block.text]
    assert len(pieces) == 7
    for piece in pieces:
        exec(compile(piece.text, f"docs/python.md:{piece.first}", "exec"), names)
    assert (tmp_path / "curves.png").exists() and (tmp_path / "runs/brief/data.jsonl").exists()
    assert len(names["scores"]) == 2 and names["run"].config.seed == 1


@pytest.mark.ray
@pytest.mark.slow
def test_the_example_of_a_tuner_of_ones_own_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_session: None
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    page = (PROJECT / "docs/python.md").read_text("utf-8")
    (piece,) = (block for block in blocks(page) if block.language == "python" and "from ray" in block.text)
    exec(compile(piece.text, f"docs/python.md:{piece.first}", "exec"), names)
    # The faster of two rates has learned more after two epochs.
    assert names["best"].config["vary:optimizers.mle.lr"] == 1e-2 and (tmp_path / "runs/mine").is_dir()


def test_the_lines_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand, but for settings that make every preset small."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text("".join(f"{line}\n" for line in LINES))
    small = {name: value for name, value in SMALL.items() if name not in ("data", "credit")}
    monkeypatch.setattr(api, "train", functools.partial(api.train, quiet=True, **small))
    readme = (PROJECT / "README.md").read_text("utf-8")
    (piece,) = (block for block in blocks(readme) if block.language == "python" and "rlgan.train" in block.text)
    exec(compile(piece.text, f"README.md:{piece.first}", "exec"), {})
    assert (tmp_path / "curves.png").exists()
