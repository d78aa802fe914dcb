"""When the generator is measured between iterations; warnings of a collapse, of shortcuts, of a judge at chance."""

from __future__ import annotations

import json
import logging
import re

import pytest
import torch

from rlgan.config.paths import flatten, override, to_dict
from rlgan.evaluation.evaluator import EvaluationSettings, Measurement
from rlgan.metrics import RankedRound
from rlgan.presets.quick import quick
from rlgan.presets.registry import PRESETS, preset
from rlgan.schedule.phases import Phase
from rlgan.training.measuring import (
    ChanceWatch,
    CollapseWatch,
    EqualRewardWatch,
    ShortcutWatch,
    against_collapse,
    is_measured,
    shortcuts_in,
)


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


NOISE, TELLS, REVERSED = 0.51, 0.6, 0.4  # with 1,000 on each side, where chance reaches 0.525


def watched(watch: ChanceWatch, *values: float, pretrains: bool = True, number: int = 1_000) -> None:
    for value in values:
        watch.after(RankedRound(value, number, number, is_of_pairs=False), pretrains)


def test_a_discriminator_at_chance_is_reported_after_its_pretraining_and_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = ChanceWatch(quick())
    watched(watch, 0.9, NOISE, NOISE)  # the first is of random weights
    watch.judge("start")
    watched(watch, NOISE, pretrains=False)
    watch.judge("end")
    start, end = (record.message for record in caplog.records)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "at chance after its pretraining: its AUC is 0.51 over the last 2 rounds" in start
    assert "one that knows nothing has 0.48 to 0.52 (95 %)" in start
    assert "raise schedule.discriminator_rounds (now 5), or raise optimizers.discriminator.lr (now 0.0003)" in start
    assert "at chance at the end of training: its AUC is 0.51 over the last round" in end
    assert "lower optimizers.generator.lr (now 0.001)" in end
    assert watch.sentences == (start, end)


@pytest.mark.parametrize(
    ("pretraining", "later"),
    [
        ((NOISE, TELLS), (TELLS,)),
        ((NOISE,) * 5 + (TELLS,) * 8, (NOISE, TELLS, *(TELLS,) * 7)),  # the last 8 rounds count
        ((NOISE,), ()),  # one round, measured before it learned
        ((), ()),
    ],
)
def test_a_discriminator_that_tells_is_not_reported(
    pretraining: tuple[float, ...], later: tuple[float, ...], caplog: pytest.LogCaptureFixture
) -> None:
    watch = ChanceWatch(quick())
    watched(watch, *pretraining)
    watch.judge("start")
    watched(watch, *later, pretrains=False)
    watch.judge("end")
    assert watch.sentences == () and not caplog.records


def test_it_is_an_interval_that_decides() -> None:
    few, many = ChanceWatch(quick()), ChanceWatch(quick())
    watched(few, 0.5, TELLS, number=20)
    watched(many, 0.5, TELLS, number=1_000)
    few.judge("start")
    many.judge("start")
    assert few.sentences and not many.sentences


def test_one_that_ranks_fakes_above_reals_is_reported_as_that() -> None:
    watch = ChanceWatch(quick())
    watched(watch, REVERSED, pretrains=False)
    watch.judge("end")
    assert "ranks generated sequences above real ones at the end of training" in watch.sentences[0]


def test_a_control_is_watched_silently_and_a_run_goes_on_with_what_it_saw(caplog: pytest.LogCaptureFixture) -> None:
    watch = ChanceWatch(quick(), warns=False)
    watched(watch, 0.9, *[NOISE] * 9)
    again = ChanceWatch(quick(), warns=False)
    again.restore(None)  # of an older version
    again.restore(json.loads(json.dumps(watch.state())))
    for one in (watch, again):
        one.judge("start")
        watched(one, NOISE, pretrains=False)
        one.judge("end")
    assert watch.sentences == again.sentences and len(watch.sentences) == 2 and not caplog.records
    # What was said of the end is forgotten when a run is extended.
    watched(again, TELLS, *[TELLS] * 7, pretrains=False)
    again.judge("end")
    assert again.sentences == watch.sentences[:1]


def test_a_discriminator_that_ranks_nothing_is_not_watched() -> None:
    watch = ChanceWatch(quick())
    watch.after(None, pretrains=True)
    watch.judge("start")
    assert watch.sentences == ()


# ------------------------------------------------------------------------------------------------ rewards all alike


def updates(watch: EqualRewardWatch, *shares: float) -> None:
    for share in shares:
        watch.after({"reward/equal_share": share, "generator/mean_value": -0.25})


def test_a_reward_that_is_equal_everywhere_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    watch = EqualRewardWatch(8)
    updates(watch, 1.0, 1.0, 1.0, 1.0, 0.9, 1.0, 1.0, 1.0)
    again = EqualRewardWatch(8)
    again.restore(watch.state())
    updates(again, 1.0)
    assert not caplog.records, "four in a row"
    updates(again, 1.0)
    assert "last 5 updates" in caplog.text and "of a group" in caplog.text and "-0.25" in caplog.text
    updates(again, 0.0, *[1.0] * 9)
    assert len(caplog.records) == 1


def test_nothing_is_said_of_a_control_or_where_nothing_is_compared(caplog: pytest.LogCaptureFixture) -> None:
    updates(EqualRewardWatch(None, warns=False), *[1.0] * 9)
    watch = EqualRewardWatch(None)
    watch.restore(None)
    for _ in range(9):
        watch.after({"generator/mean_value": 0.0})
    assert not caplog.records
    updates(watch, *[1.0] * 5)
    assert "of the batch" in caplog.text
