"""Runs whose embeddings begin from a file: nobody but the driver sees it, and only once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rlgan.adversary.settings import AdversarySettings
from rlgan.config.config import Config, Optimizers
from rlgan.discriminators import CausalLSTM
from rlgan.envs.tasks import Task, TextTask, build_task
from rlgan.generators import LSTM
from rlgan.layers.embeddings import WordVectors, token_ids
from rlgan.layers.optimizers import Adam
from rlgan.policy.credit import MonteCarlo, RewardToGo
from rlgan.runs.data import absolute
from rlgan.runs.run import RunRequest, run
from rlgan.storage.bases import read_base
from rlgan.storage.checkpoint import load_latest
from rlgan.training.trainer import Trainer
from rlgan.tuning.sweep import _space
from rlgan.workers.assembly import build_parts
from tests.support.commands import ask, write_config
from tests.support.on_ray import assert_same
from tests.support.runs import assert_ends_alike, small, stop_after
from tests.support.tiny import finish, numbers, tiny_config
from tests.support.tiny_sweep import request
from tests.support.usual import usually

pytestmark = pytest.mark.integration

LINES = "".join(f"{a} {b} {c}\n" for a in ("the", "a") for b in ("cat", "dog", "owl") for c in ("runs", "eats", "ends"))
FOUND = {"the": (0.5, -1.0, 2.0), "cat": (1.0, 2.0, -0.25), "runs": (-3.0, 0.125, 4.0), "bird": (9.0, 9.0, 9.0)}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A text, and vectors of three of its eight words."""
    data, vectors = tmp_path / "lines.txt", tmp_path / "vectors.txt"
    data.write_text(LINES)
    vectors.write_text("".join(f"{word} {' '.join(map(str, row))}\n" for word, row in FOUND.items()))
    return data, vectors


def changes(files: tuple[Path, Path], freeze: bool = True, **generator: Any) -> dict[str, Any]:
    """ScratchGAN's axes in small, with everything on that moves weights; two epochs of likelihood before them."""
    data, path = files
    pretrained = WordVectors(path=str(path), dimension=3, freeze=freeze)
    adam = Adam(lr=0.02, weight_decay=0.1, clip_norm=1.0)
    settings = {"embedding": 2, "hidden": 4, "layers": 2, "output_layers": "all", "tied": True} | generator
    return {
        "task": TextTask(data=str(data), valid_fraction=0.2, test_fraction=0.2),
        "generator": LSTM(**settings, pretrained=pretrained),
        "discriminator": CausalLSTM(embedding=2, hidden=4, pretrained=pretrained),
        "adversary": AdversarySettings(batch=4, sequences_per_round=8, l2_all=0.1),
        "credit": RewardToGo(gamma=0.5),
        "controls": ("mle_continued",),
        "optimizers": Optimizers(mle=adam, generator=adam, discriminator=adam),
    }


@contextmanager
def trainer_of(config: Config, task: Task) -> Iterator[Trainer]:
    with build_parts(config, task) as parts:
        yield Trainer(config, task, parts)


def rows_of_file(task: Task) -> tuple[list[int], torch.Tensor]:
    """Ids of the words that the file has, and their rows."""
    ids = token_ids(task)
    return [ids[word] for word in FOUND if word in ids], torch.tensor([FOUND[word] for word in FOUND if word in ids])


def small_with_few_sentences(files: tuple[Path, Path]) -> Config:
    """A run on the ten training sentences that the text leaves."""
    config = small(**changes(files))
    return config.model_copy(update={"schedule": config.schedule.model_copy(update={"mle_batch": 4})})


TINY = {"mle_batch": 4, "adversarial_updates": 2}


@pytest.mark.parametrize("freeze", [True, False])
def test_both_networks_begin_as_the_file_and_a_frozen_table_never_moves(files: tuple[Path, Path], freeze: bool) -> None:
    config = tiny_config(TINY, **changes(files, freeze))
    task = build_task(config.task)
    known, rows = rows_of_file(task)
    assert len(known) == 3
    with trainer_of(config, task) as trainer:
        before = trainer.state()
        finish(trainer)
        after = trainer.state()
    for network in ("learners", "discriminator"):
        first, last = (state[network]["weights"] for state in (before, after))
        assert torch.equal(first["embedding.pretrained"][known], rows)
        assert bool(torch.equal(first["embedding.pretrained"], last["embedding.pretrained"])) == freeze
        assert all((first[name] != last[name]).any() for name in first if name != "embedding.pretrained")


@pytest.mark.heavy
def test_a_run_is_resumed_and_sampled_from_without_the_file(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_with_few_sentences(files)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run(RunRequest(config, whole, resume=False))
    assert "vectors for 3 of 9 tokens" in capsys.readouterr().out
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        assert run(RunRequest(config, stopped, resume=False)).stopped
    files[1].unlink()
    assert not run(RunRequest(config, stopped, resume=True)).stopped
    assert_ends_alike(whole, stopped)
    assert_same(load_latest(whole).state, load_latest(stopped).state)
    # A table does not learn, and is the same in every role and checkpoint of its network; there are two networks.
    assert len(list(stopped.glob("bases/*.safetensors"))) == 2
    for state in whole.glob("checkpoints/*/state.json"):
        assert state.read_text().count('"embedding.pretrained": {"__base__"') >= 2
        assert not any(
            name.endswith("embedding.pretrained") for name in load_file(state.with_name("tensors.safetensors"))
        )
    answer = ask(capsys, "sample", "--run", whole, "--num", 3)
    assert answer.status == 0 and len(answer.out.splitlines()) == 3, answer
    described = json.loads((whole / "generator.json").read_text())
    table, names = read_base(whole, described["base"])["embedding.pretrained"], described["token_names"]
    assert "embedding.pretrained" not in load_file(whole / "generator.safetensors")
    assert table[names.index("cat")].tolist() == list(FOUND["cat"])


@pytest.mark.ray
@pytest.mark.parametrize("freeze", usually([True], [True, False]))
def test_workers_are_given_tables_and_never_the_file(files: tuple[Path, Path], freeze: bool, ray_session: None) -> None:
    given = changes(files, freeze)
    config = tiny_config(TINY, **given)
    task = build_task(config.task)
    with trainer_of(config, task) as trainer:
        alone = [numbers(unit) for unit in finish(trainer)]
        state = trainer.state()
    workers = config.workers.model_copy(update={"rollout": 2, "cpus_per_rollout": 0.2, "cpus_discriminator": 0.2})
    with trainer_of(config.model_copy(update={"workers": workers}), task) as trainer:
        files[1].unlink()
        assert_same([numbers(unit) for unit in finish(trainer)], alone)
        assert_same(trainer.state(), state)


def test_a_moving_rollout_policy_keeps_a_frozen_table_to_rounding(files: tuple[Path, Path]) -> None:
    given = changes(files) | {"credit": MonteCarlo(num_rollouts=1, policy_ema=0.7)}
    del given["discriminator"]
    config = tiny_config(TINY, **given)
    task = build_task(config.task)
    with trainer_of(config, task) as trainer:
        start = torch.tensor(trainer.current_weights()["embedding.pretrained"])
        finish(trainer)
        moved = trainer.state()["rollout_policy"]["arrays"]["embedding.pretrained"]
    torch.testing.assert_close(moved, start, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("options", "described"),
    [
        (["--generator.pretrained.path", "{folder}/vector.txt"], "no such file"),
        (["--generator.pretrained.path", "{folder}"], "is not a file"),
        (["--generator.pretrained.dimension", "300"], "Set --generator.pretrained.dimension to 3"),
    ],
)
def test_wrong_files_are_sentences(
    files: tuple[Path, Path], options: list[str], described: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "config.json", small_with_few_sentences(files))
    given = [option.format(folder=tmp_path) for option in options]
    answer = ask(capsys, "train", "--config", config, "--out", tmp_path / "run", *given)
    assert answer.status == 2 and described in answer.err and "Traceback" not in answer.err, answer
    assert not (tmp_path / "run").exists()


def test_tasks_without_words_refuse(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--generator.pretrained", "word_vectors", "--generator.pretrained.path", "v.txt")
    answer = ask(capsys, "train", "mle", *options, "--dry-run")
    assert answer.status == 2
    assert "generator.pretrained='word_vectors': the tokens of task='oracle' are not words" in answer.err


def test_trials_find_the_file_wherever_they_work(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    changed = {"generator.pretrained": "word_vectors", "generator.pretrained.path": files[1].name}
    asked = replace(request(tmp_path), task=TextTask(data=files[0].name), changes=changed)
    assert absolute(_space(asked).base).word_vectors["generator"].path == str(files[1].resolve())
