"""The generator of a finished run as the distribution that a student learns."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import rlgan
from rlgan.base.errors import CheckpointError, ConfigError
from rlgan.config.paths import override
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import check_task
from rlgan.envs.transition import sequence_mask
from rlgan.generators import LSTM, build_generator
from rlgan.runs.teacher import Teacher, teacher
from tests.support.errors import refused
from tests.support.tiny import tiny_config

pytestmark = pytest.mark.integration

SHORT = {
    "tracking.enabled": False, "controls": [], "evaluation.final_sequences": 32, "evaluation.temperatures": [1.0],
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("teacher") / "run"
    rlgan.train(override(tiny_config(), SHORT), out=out, quiet=True)
    return out


def network(space: SequenceSpace) -> Any:
    torch.manual_seed(0)
    return build_generator(LSTM(embedding=4, hidden=4, init_std=1.0), space).eval()


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_it_is_an_exact_distribution(temperature: float) -> None:
    space = SequenceSpace(vocab_size=3, max_length=3, end_id=0)
    own = Teacher(network(space), space, temperature)
    all_of = torch.tensor(list(itertools.product(range(3), repeat=3)))
    mask = sequence_mask(space, all_of)
    all_of = torch.unique(all_of.masked_fill(~mask, space.pad_id), dim=0)
    mask = sequence_mask(space, all_of)
    logprobs = own.logprobs(all_of)
    probs = logprobs.double().sum(1).exp()
    assert float(probs.sum()) == pytest.approx(1.0, abs=1e-6)
    assert not logprobs[~mask].any()
    # Frequencies of 20,000 draws lie within 4.5 standard errors, and the entropy is that of the table.
    drawn = own.sample(20_000, seed=3)
    number = torch.stack([(drawn == row).all(1).sum() for row in all_of]).double() / 20_000
    assert bool(((number - probs).abs() <= 4.5 * (probs * (1 - probs) / 20_000).sqrt() + 1e-9).all())
    exact = -float((probs * logprobs.double().sum(1)).sum()) / float((probs * mask.sum(1)).sum())
    assert own.entropy == pytest.approx(exact, rel=0.03)
    assert torch.equal(own.sample(5, 1), own.sample(5, 1)) and not torch.equal(own.sample(50, 1), own.sample(50, 2))


def test_a_student_learns_from_a_stream_of_it(run: Path, tmp_path: Path) -> None:
    changes = {"task": "teacher", "task.options": {"run": str(run), "num_train": 70, "num_valid": 20, "num_test": 20}}
    changes |= {"controls": ["mle_continued"]}
    config = override(tiny_config(generator=LSTM(embedding=4, hidden=4)), SHORT | changes)
    assert config.task.is_stream and config.task.knows_distribution
    student = rlgan.train(config, out=tmp_path / "student", quiet=True)
    assert student.table["kl_forward"].notna().any() and student.table["kl_reverse"].notna().any()
    counted = student.metrics["data/real_sequences"].dropna()
    assert counted.is_monotonic_increasing and counted.iloc[-1] > 70
    schedule = config.schedule
    at_start = schedule.mle_epochs * (70 // schedule.mle_batch) * schedule.mle_batch
    continued = at_start + schedule.adversarial_updates * schedule.mle_batch
    assert counted.iloc[-1] > continued  # what the discriminator was shown
    assert f"this run {counted.iloc[-1]:,.0f}, mle_continued {continued:,}." in " ".join(
        (tmp_path / "student" / "summary.txt").read_text("utf-8").split()
    )
    again = rlgan.train(override(config, {"workers.rollout": 0}), out=tmp_path / "again", quiet=True)
    assert student.table.equals(again.table)


def test_a_task_of_it_keeps_the_contract_of_tasks(run: Path) -> None:
    for mode in ("stream", "fixed"):
        check_task(teacher(str(run), mode=mode, num_train=20, num_valid=10, num_test=10))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, "teacher_no_run"),
        *(
            ({name: value}, "teacher_options")
            for name, values in {
                "mode": ("flow",),
                "temperature": (0.0, -1.0, float("nan"), float("inf")),
                "num_train": (0,),
                "num_valid": (-1,),
                "num_test": (0,),
                "seed": (-1,),
            }.items()
            for value in values
        ),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], code: str) -> None:
    with refused(ConfigError, code) as error:
        teacher(**options)
    if options:
        assert list(error.value.fields) == [f"task.options.{next(iter(options))}"]


@pytest.mark.parametrize(
    ("name", "value"), [("mode", 1), ("temperature", "warm"), ("num_train", 2.5), ("num_valid", True), ("seed", "one")]
)
def test_values_of_another_type_are_refused_by_name(name: str, value: object) -> None:
    with refused(ConfigError, "plugin_option_type") as error:
        override(tiny_config(), {"task": "teacher", "task.options": {"run": "runs/one", name: value}})
    assert error.value.fields[name] == value


def test_a_folder_without_a_generator_is_refused(tmp_path: Path) -> None:
    with refused(CheckpointError, "no_trained_generator"):
        teacher(str(tmp_path))
    (tmp_path / "lines.txt").write_text("a line")
    for name in ("lines.txt", "nowhere"):
        with refused(CheckpointError, "teacher_no_folder", {"task.options.run": str(tmp_path / name)}):
            teacher(str(tmp_path / name))


def test_a_run_that_is_not_finished_is_no_teacher_and_a_generator_alone_is_one(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "begun"
    shutil.copytree(run, folder)
    (folder / "table.txt").unlink()
    with refused(CheckpointError, "teacher_unfinished", {"task.options.run": str(folder)}):
        teacher(str(folder))
    (folder / "config.json").unlink()
    assert torch.equal(teacher(str(folder), num_train=5).train, teacher(str(run), num_train=5).train)


@pytest.mark.parametrize("kind", ["text", "pairs"])
def test_a_file_is_no_stream(kind: str) -> None:
    with refused(ConfigError, "setting_left_out", {"path": "task.mode"}, match="a fixed number of sequences"):
        override(tiny_config(), {"task": kind, "task.mode": "stream"})


def test_it_is_told_how_many_sequences_a_file_has(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("".join(f"line number {one}\n" for one in range(40)), "utf-8")
    asked = {"task.mode": "stream", "task": "text", "task.data": str(tmp_path / "lines.txt")}
    # A tenth each is split off to validate and to test.
    with refused(
        ConfigError, "setting_left_out", {"path": "task.mode"}, match=r"sequences \(here 32 to train on\), so"
    ):
        override(tiny_config(), asked)
    with refused(ConfigError, "setting_left_out", match=r"number of sequences, so"):
        override(tiny_config(), asked | {"task.data": str(tmp_path / "missing.txt")})


def test_the_mode_of_a_teacher_is_an_option_of_it(run: Path) -> None:
    asked = {"task": "teacher", "task.options": {"run": str(run)}, "task.mode": "stream"}
    with refused(ConfigError, "setting_unknown", {"path": "task.mode"}, match=r"task\.options\.mode"):
        override(tiny_config(), asked)
