"""PPO of other libraries, unchanged, learns on the token environment that a run's discriminator pays; so does ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import stock_ppo

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1800)]


def test_all_three_learn_to_please_the_discriminator_of_a_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_session: None
) -> None:
    from contextlib import nullcontext

    monkeypatch.setattr(stock_ppo, "own_cluster", nullcontext)  # the session's serves
    stock_ppo.train_judge(tmp_path / "judge", seed=0)
    found = stock_ppo.figures(tmp_path / "judge", steps=12_000, seed=0)
    at_random = found.pop("random")
    assert set(found) == {"Stable-Baselines3 PPO", "RLlib PPO", "rlgan"}
    # Random sequences, 1,000 of them, are judged with a standard error far below this.
    assert all(reached > at_random + 0.3 for reached in found.values()), (at_random, found)
