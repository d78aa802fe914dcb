"""Callbacks see each iteration of a run, may stop it, and go on with it; their errors say where they are from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlgan.base.errors import CallbackError, CheckpointError, ConfigError
from rlgan.runs.run import RunRequest, run
from rlgan.storage.checkpoint import load_latest
from rlgan.training.adversarial import AdversarialTraining
from rlgan.training.callbacks import Callback, RunView, Stop
from rlgan.training.iteration import Iteration
from tests.support.commands import rows_of
from tests.support.errors import refused
from tests.support.runs import assert_ends_alike, small, stop_after
from tests.support.usual import usually

pytestmark = [pytest.mark.integration, pytest.mark.heavy]


class Watcher(Callback):
    """Notes what it sees; remembers how many iterations it saw."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at, self.seen, self.calls = stop_at, 0, list[str]()
        self.iterations: list[Iteration] = []
        self.weights: list[dict[str, Any]] = []

    def on_start(self, run: RunView) -> None:
        self.calls.append(f"start after {run.position.iterations}")

    def on_iteration(self, run: RunView, iteration: Iteration) -> Stop | None:
        self.seen += 1
        self.iterations.append(iteration)
        self.weights.append({name: value.numpy() for name, value in run.generator().state_dict().items()})
        run.log({"watcher/seen": self.seen})
        return Stop("seen enough") if self.seen == self.stop_at else None

    def on_end(self, run: RunView) -> None:
        self.calls.append(f"end after {run.position.iterations}")

    def state(self) -> dict[str, Any]:
        return {"seen": self.seen, "last": torch.tensor([float(self.seen)])}

    def restore(self, state: dict[str, Any]) -> None:
        assert state["last"].item() == state["seen"]
        self.seen = state["seen"]


def begun(folder: Path, *callbacks: Callback, **changes: Any) -> Any:
    return run(RunRequest(small(**({"controls": ()} | changes)), folder, resume=False), callbacks)


def resumed(folder: Path, *callbacks: Callback, **changes: Any) -> Any:
    return run(RunRequest(small(**({"controls": ()} | changes)), folder, resume=True), callbacks)


def without_own(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl without what the callback logged."""
    return [
        {**row, "metrics": {name: value for name, value in row["metrics"].items() if not name.startswith("watcher/")}}
        for row in rows
    ]


def test_a_callback_sees_everything_and_changes_nothing(tmp_path: Path) -> None:
    class Meddling(Watcher):
        """Uses up random numbers, and spoils every copy that it is given."""

        def on_iteration(self, run: RunView, iteration: Iteration) -> Stop | None:
            super().on_iteration(run, iteration)
            torch.rand(5)
            np.random.rand(5)
            with torch.no_grad():
                for parameter in run.generator().parameters():
                    parameter.fill_(0.0)
            assert run.measure().metrics.keys() >= {"eval/nll_gen"}
            return None

    begun(tmp_path / "alone")
    watcher = Meddling()
    begun(tmp_path / "watched", watcher)
    assert watcher.calls == ["start after 0", "end after 5"]
    assert [(one.phase, one.step) for one in watcher.iterations] == [
        *(("mle", 1), ("mle", 2), ("discriminator", 1), ("adversarial", 1), ("adversarial", 2)),
    ]
    rows = rows_of(tmp_path / "watched")
    assert [row["metrics"].get("watcher/seen") for row in rows[:5]] == [1, 2, 3, 4, 5]
    assert without_own(rows) == rows_of(tmp_path / "alone")
    for name in ("generator.safetensors", "table.json", "samples.txt"):
        assert (tmp_path / "watched" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_records_are_those_that_were_learned_from(tmp_path: Path) -> None:
    watcher = Watcher()
    begun(tmp_path / "run", watcher, schedule={"g_steps": 2})
    assert [len(one.rollouts) for one in watcher.iterations] == [0, 0, 0, 2, 2]
    for one in watcher.iterations[3:]:
        for rollouts in one.rollouts:
            assert rollouts.tokens.shape == (8, 6) and rollouts.continuation_logits is not None
        assert one.metrics["generator/mean_length"] == float(one.rollouts[-1].mask.sum(1).float().mean())
        assert one.measurement is not None and one.measurement.tokens.shape == (32, 6)
    # The generator is that of the end of the iteration.
    assert any(not np.array_equal(watcher.weights[3][name], watcher.weights[4][name]) for name in watcher.weights[3])


@pytest.mark.parametrize(
    ("stop_at", "done"),
    [
        pytest.param(1, (1, 0, 0), marks=pytest.mark.slow),
        (3, (2, 1, 0)),
        (4, (2, 1, 1)),
        pytest.param(5, (2, 1, 2), marks=pytest.mark.slow),
    ],
)
def test_a_stop_ends_training_and_the_table_is_made(stop_at: int, done: tuple[int, ...], tmp_path: Path) -> None:
    controls = ("mle_continued",)
    result = begun(tmp_path / "run", Watcher(stop_at), controls=controls)
    assert not result.stopped
    state = load_latest(tmp_path / "run").state
    position = state["position"]
    assert (position["mle_epochs"], position["discriminator_rounds"], position["adversarial_updates"]) == done
    text, reason = (tmp_path / "run" / "table.txt").read_text(), "callback Watcher: seen enough"
    if stop_at == 5:  # the last iteration: nothing was stopped
        assert state["stopped"] is None and reason not in text
    else:
        assert state["stopped"] == reason and f"training was stopped by {reason}" in text
    names = [row["name"] for row in result.table]
    # A control makes as many updates as the run: none where it made none, and then there is none.
    assert ("mle_continued" in names) == ("tiny (this run)" in names) == (done[2] > 0)
    if stop_at == 4:
        watcher = Watcher()
        begun(tmp_path / "short", watcher, controls=controls, schedule={"adversarial_updates": 1})
        short = json.loads((tmp_path / "short" / "table.json").read_text())
        assert json.loads((tmp_path / "run" / "table.json").read_text()) == short


def test_a_run_that_a_callback_stopped_goes_on_with_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rlgan.runs import session

    def killed(*_: Any) -> Any:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(session, "compare", killed)
        with pytest.raises(RuntimeError, match="killed"):
            begun(tmp_path / "run", Watcher(stop_at=4))
    watcher = Watcher()
    resumed(tmp_path / "run", watcher)
    assert watcher.calls == ["start after 4", "end after 4"] and watcher.seen == 4 and watcher.iterations == []
    assert "training was stopped by callback Watcher: seen enough" in (tmp_path / "run" / "table.txt").read_text()


@pytest.mark.parametrize("units", usually([3], [1, 3, 4]))
def test_a_callback_goes_on_as_if_the_run_had_never_stopped(
    units: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(tmp_path / "whole", Watcher())
    with monkeypatch.context() as patch:
        stop_after(patch, units)
        assert begun(tmp_path / "run", Watcher()).stopped
    watcher = Watcher()
    resumed(tmp_path / "run", watcher)
    assert watcher.seen == 5 and len(watcher.iterations) == 5 - units
    assert_ends_alike(tmp_path / "run", tmp_path / "whole")


class Broken(Callback):
    """Fails at its third iteration, unless mended."""

    name = "the broken one"

    def __init__(self, mended: bool = False) -> None:
        self.mended, self.seen = mended, 0

    def on_iteration(self, run: RunView, iteration: Iteration) -> Stop | None:
        self.seen += 1
        if self.seen == 3 and not self.mended:
            raise ZeroDivisionError("one over none")  # said in the error
        return None

    def state(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def restore(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


def test_an_error_names_the_callback_and_its_own_line_and_nothing_is_lost(tmp_path: Path) -> None:
    begun(tmp_path / "whole")
    with pytest.raises(CallbackError) as caught:
        begun(tmp_path / "run", Broken())
    text = str(caught.value)
    assert "callback the broken one: on_iteration after discriminator iteration 1 raised ZeroDivisionError" in text
    assert re.search(rf"{re.escape(__file__)}, line \d+, in on_iteration", text)
    assert 'raise ZeroDivisionError("one over none")' in text and "training/callbacks.py" not in text
    assert load_latest(tmp_path / "run").position == 3 and len(rows_of(tmp_path / "run")) == 3
    mended = Broken(mended=True)
    resumed(tmp_path / "run", mended)
    assert mended.seen == 5
    assert_ends_alike(tmp_path / "run", tmp_path / "whole")


class Says(Callback):
    def __init__(self, answer: Any, name: str = "Says") -> None:
        self._answer, self._name = answer, name

    @property
    def name(self) -> str:
        return self._name

    def on_iteration(self, run: RunView, iteration: Iteration) -> Any:
        return self._answer(run) if callable(self._answer) else self._answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("stop", "callback Says: on_iteration returned 'stop', a str"),
        (
            lambda run: run.log({"eval/nll_gen": 0.0}),
            "callback Says: logged eval/nll_gen, which is a built-in metric",
        ),
        (lambda run: run.log({"own/name": "high"}), "own/name='high': is a str, expected a number"),
    ],
)
def test_what_a_callback_may_not_say_is_refused(answer: Any, message: str, tmp_path: Path) -> None:
    # The first MLE epoch has eval/nll_gen.
    with pytest.raises(CallbackError, match=re.escape(message)):
        begun(tmp_path / "run", Says(answer))
    assert load_latest(tmp_path / "run").position == 1


def test_two_callbacks_that_log_one_name_are_refused(tmp_path: Path) -> None:
    first, second = (Says(lambda run: run.log({"own/name": 1.0}), name) for name in ("first", "second"))
    with refused(CallbackError, "callback_logged_twice", {"callback": "second"}, match="own/name.*first"):
        begun(tmp_path / "run", first, second)
    assert load_latest(tmp_path / "run").position == 1 and len(rows_of(tmp_path / "run")) == 1


def test_what_a_callback_measures_is_timed_in_no_iteration(tmp_path: Path) -> None:
    class Measures(Watcher):
        def on_iteration(self, run: RunView, iteration: Iteration) -> Stop | None:
            run.measure()
            return super().on_iteration(run, iteration)

    watcher = Measures()
    begun(tmp_path / "run", watcher)
    timed = ["timing/evaluate_s" in one.metrics for one in watcher.iterations]
    assert timed == [one.measurement is not None for one in watcher.iterations] and not all(timed)


class Forgets(Broken):
    """Raises, and cannot say what it remembers."""

    def state(self) -> dict[str, Any]:
        if self.seen >= 3:
            raise LookupError("nothing remembered")
        return {}


def test_error_of_a_callback_without_a_state_still_leaves_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with refused(CallbackError, "callback_raised", match="after discriminator iteration 1 raised ZeroDivisionError"):
        begun(tmp_path / "run", Forgets(), Watcher())
    loaded = load_latest(tmp_path / "run")
    assert loaded.position == 3 and loaded.state["callbacks"].keys() == {"Watcher"}
    assert "state raised LookupError: nothing remembered" in "".join(capsys.readouterr())


def test_state_that_raises_at_a_checkpoint_loses_no_training(tmp_path: Path) -> None:
    with refused(CallbackError, "callback_raised", match="state raised LookupError"):
        begun(tmp_path / "run", Forgets(mended=True))
    assert load_latest(tmp_path / "run").position == 3


def test_a_state_that_no_checkpoint_can_hold_is_an_error_of_the_callback(tmp_path: Path) -> None:
    class Holds(Callback):
        def state(self) -> dict[str, Any]:
            return {"lock": object()}

    with refused(CallbackError, "callback_raised", match="Holds: state raised TypeError: state/lock"):
        begun(tmp_path / "run", Holds())


def test_stop_that_cannot_be_leaves_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise ConfigError("nothing to select by")

    with monkeypatch.context() as patch:
        patch.setattr(AdversarialTraining, "end", refused)
        with pytest.raises(ConfigError, match="nothing to select by"):
            begun(tmp_path / "run", Says(lambda run: Stop("enough") if run.position.iterations == 4 else None))
    state = load_latest(tmp_path / "run").state
    assert state["position"]["adversarial_updates"] == 1 and state["stopped"] is None
    assert len(rows_of(tmp_path / "run")) == 4
    begun(tmp_path / "whole")
    resumed(tmp_path / "run")
    assert_ends_alike(tmp_path / "run", tmp_path / "whole")


def test_callbacks_that_cannot_be_used_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with refused(CallbackError, "callback_class"):
        begun(tmp_path / "run", test_what_a_callback_may_not_say_is_refused)  # type: ignore[arg-type]
    with refused(CallbackError, "callback_named_twice", {"callback": "Says"}):
        begun(tmp_path / "run", Says(None), Says(None))
    assert not (tmp_path / "run").exists()
    begun(tmp_path / "run", Says(None, "one"), Says(None, "two"))


def test_a_callback_with_a_state_must_be_there_when_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        begun(tmp_path / "run", Watcher())
    with refused(CheckpointError, "callback_missing", match="Watcher"):
        resumed(tmp_path / "run")
    fresh = Says(None)
    resumed(tmp_path / "run", Watcher(), fresh)  # one more does no harm
