"""Runs of the preset grpo, whole: stopped in the middle they end as one that never was."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlgan.storage.checkpoint import load_latest
from tests.support.commands import ask, rows_of
from tests.support.language_models import chats, require, write_model, write_records, write_tokenizer
from tests.support.on_ray import assert_same
from tests.support.runs import assert_ends_alike, stop_after

require()

pytestmark = [pytest.mark.integration, pytest.mark.heavy]

REWARD = '''
def short(completions, trainer_state, **columns):
    """Rises with the step, so that a run which forgot where it stands would have other rewards."""
    return [-len(text) / 10 - trainer_state.global_step for text in completions]
'''


def begun(folder: Path, name: str) -> list[object]:
    """The command of a run of an adapter: a reward of one's own, a reference, two steps a batch, a temperature."""
    return [
        "train", "grpo", "--demonstrations", folder / "chat.jsonl", "--model", folder / "model", "--out", folder / name,
        "--reward", f"{folder / 'short.py'}:short", "--generator.training", "lora", "--generator.training.rank", "2",
        "--reference", "loss", "--reference.weight", "0.1", "--optimizers.generator.lr", "0.01",
        "--schedule.rollout-temperature", "0.9", "--task.max-length", "8", "--schedule.adversarial-updates", "4",
        "--schedule.g-batch", "8", "--schedule.g-group", "4", "--evaluation.num-sequences", "8",
        "--evaluation.final-sequences", "8", "--evaluation.every", "2", "--evaluation.adversarial", "none",
        "--workers.shard-sequences", "3", "--workers.chunk-rows", "5", "--workers.threads", "1",
        "--checkpoint-every-s", "0", "--controls", "none", "--tracking.enabled", "false",
    ]  # fmt: skip


def test_a_run_resumed_from_a_checkpoint_in_the_middle_ends_as_one_that_never_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tokenizer(tmp_path / "model")
    write_model(tmp_path / "model")
    write_records(tmp_path / "chat.jsonl", chats(40))
    (tmp_path / "short.py").write_text(REWARD)
    whole = ask(capsys, *begun(tmp_path, "whole"))
    assert whole.status == 0, whole.err
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_after(monkeypatch, 2)
        assert ask(capsys, *begun(tmp_path, "stopped")).status == 130
    answer = ask(capsys, "train", "--resume", tmp_path / "stopped")
    assert answer.status == 0 and "resumed after 2 iterations" in answer.out, answer.err
    assert_ends_alike(tmp_path / "stopped", tmp_path / "whole")
    # Weights, both moments of Adam, memories of baselines: all that a third run would go on from.
    states = [load_latest(tmp_path / name).state for name in ("stopped", "whole")]
    assert_same(states[0], states[1])
    rows = [row["metrics"] for row in rows_of(tmp_path / "whole") if "rollouts/logprob_gap_max" in row["metrics"]]
    assert len(rows) == 4 and all(row["generator/grad_norm"] > 0 for row in rows)
