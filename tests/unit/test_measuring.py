"""When the generator is measured between iterations, and the warnings of a collapse and of shortcuts."""

from __future__ import annotations

import logging
import re

import pytest
import torch

from rlgan.config.paths import flatten, override, to_dict
from rlgan.evaluation.evaluator import EvaluationSettings, Measurement
from rlgan.presets.quick import quick
from rlgan.presets.registry import PRESETS, preset
from rlgan.schedule.phases import Phase
from rlgan.training.measuring import CollapseWatch, ShortcutWatch, against_collapse, is_measured, shortcuts_in


@pytest.mark.parametrize(("phase", "measured"), [("mle", [2, 4, 5]), ("discriminator", []), ("adversarial", [3, 5])])
def test_measurements_come_every_so_often_and_at_the_end_of_a_phase(phase: Phase, measured: list[int]) -> None:
    settings = EvaluationSettings(mle_every=2, every=3)
    assert [step for step in range(1, 6) if is_measured(settings, phase, step, is_last=step == 5)] == measured


PHASES: tuple[Phase, ...] = ("mle", "mle", "adversarial", "adversarial", "adversarial", "adversarial")
RANKS = (99.0, 10.0, 6.0, 4.9, 4.0, 8.0)


def seen(watch: CollapseWatch, first: int = 0) -> list[float | None]:
    alarms = []
    for phase, rank in zip(PHASES[first:], RANKS[first:], strict=True):
        metrics = watch.after(phase, Measurement({"eval/effective_rank": rank}, torch.zeros(1, 6)))
        assert metrics.keys() <= {"generator/collapse_alarm"}
        alarms.append(metrics.get("generator/collapse_alarm"))
    return alarms


def test_a_generator_that_collapses_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    # Below half of 10, with which pretraining ended; once fallen it is known.
    assert seen(CollapseWatch(0.5)) == [None, None, 0.0, 1.0, 1.0, 1.0]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "effective rank of the next-token" in record.message
    assert "is 4.9; at the start of adversarial training it was 10.0" in record.message


def test_the_warning_says_what_works_against_it(caplog: pytest.LogCaptureFixture) -> None:
    seen(CollapseWatch(0.5, against_collapse(quick())))
    (record,) = caplog.records
    assert record.message.endswith(
        "it was 10.0. In another run, lower optimizers.generator.lr (now 0.001), raise schedule.teacher_forcing.weight "
        "(now 1), raise objective.entropy_bonus (now 0), or set schedule.selection to best, which keeps the best "
        "generator by validation data"
    )


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_what_it_names_are_settings_of_the_run(name: str) -> None:
    config = preset(name)
    for path in re.findall(r"\b(?:optimizers|objective|schedule)\.[\w.]*\w", advice := against_collapse(config)):
        assert path in flatten(to_dict(config)) or path in advice.partition("set ")[2], path


def test_what_a_run_does_already_is_not_proposed() -> None:
    config = override(quick(), {"schedule.selection": "best", "schedule.selection.measure": "kl_sum"})
    assert "schedule.selection" not in against_collapse(config)
    config = override(quick(), {"schedule.teacher_forcing": "none"})
    assert "set schedule.teacher_forcing to mixed" in against_collapse(config)


def test_without_a_share_nothing_is_watched(caplog: pytest.LogCaptureFixture) -> None:
    assert seen(CollapseWatch(None)) == [None] * 6 and not caplog.records


def test_a_rank_that_is_not_measured_from_the_beginning_is_not_watched() -> None:
    watch = CollapseWatch(0.5)
    assert watch.after("mle", Measurement({}, torch.zeros(1, 6))) == {} and watch.state() == {"effective_ranks": []}


@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_watch_goes_on_from_its_state(at: int) -> None:
    watch, again = CollapseWatch(0.5), CollapseWatch(0.5)
    for phase, rank in zip(PHASES[:at], RANKS[:at], strict=True):
        watch.after(phase, Measurement({"eval/effective_rank": rank}, torch.zeros(1, 6)))
    again.restore(watch.state())
    assert seen(again, at) == [None, None, 0.0, 1.0, 1.0, 1.0][at:]


ROUND = {
    "discriminator/auc_heldout": 0.80,
    "discriminator/auc_length_matched": 0.55,
    "discriminator/loss": 0.6,
    "probe/auc_length": 0.78,
    "probe/auc_first_token": 0.50,
    "probe/auc_last_token": 0.775,
    "probe/auc_format": 0.76,
    "probe/share": 0.28 / 0.3,
}


def test_a_probe_that_says_nearly_as_much_as_the_discriminator_is_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = ShortcutWatch()
    watch.after(ROUND)
    # 0.9 of what 0.8 has above ½ is 0.77.
    assert shortcuts_in(watch.figures) == ["length", "last_token"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert (
        "reading the length" in caplog.text
        and "length alone 0.78" in caplog.text
        and "0.80 (0.55 at equal" in caplog.text
    )
    again = ShortcutWatch()
    again.restore(watch.state())
    again.after(ROUND | {"probe/auc_format": 0.79})
    assert len(caplog.records) == 3 and "reading the format" in caplog.records[-1].message
    assert again.figures["probe/auc_format"] == 0.79 and "discriminator/loss" not in again.figures


@pytest.mark.parametrize("share", [None, 0.0, 0.89])
def test_a_discriminator_that_says_more_is_not_doubted(share: float | None, caplog: pytest.LogCaptureFixture) -> None:
    watch = ShortcutWatch()
    watch.after({name: value for name, value in (ROUND | {"probe/share": share}).items() if value is not None})
    assert shortcuts_in(watch.figures) == [] and not caplog.records


def test_a_run_of_an_older_version_has_nothing_to_restore() -> None:
    watch = ShortcutWatch()
    watch.restore(None)
    watch.after({"discriminator/auc_heldout": 0.8})
    assert watch.figures == {"discriminator/auc_heldout": 0.8} and shortcuts_in(watch.figures) == []
