"""What is tried next: reproducible, complete where it is a grid, learned where it is TPE, never contradictory."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from rlgan.base.errors import ConfigError
from rlgan.base.search_priors import Choice, Prior, Uniform
from rlgan.config.paths import override
from rlgan.presets.quick import quick
from rlgan.presets.sequences import seqgan
from rlgan.tuning import Axis, Point, Space
from rlgan.tuning.search.proposals import GridSource, OptunaSource, Outcome, Proposals, RandomSource, Source
from rlgan.tuning.space.spaces import space
from tests.support.errors import refused


def points(whole: Space, source: Source, number: int) -> list[Point]:
    proposals, found = Proposals(whole, source), []
    while len(found) < number and (proposed := proposals.next()) is not None:
        found.append(proposed.point)
    return found


def narrow(base: Any, **priors: Prior) -> Space:
    whole = space(base, [path.replace("__", ".") for path in priors])
    own = {path.replace("__", "."): prior for path, prior in priors.items()}
    return Space(base, tuple(Axis(axis.path, own[axis.path], axis.only_if) for axis in whole.axes))


@pytest.mark.parametrize("source", [RandomSource, OptunaSource])
def test_a_seed_proposes_the_same_and_another_seed_others(source: Any) -> None:
    whole = space(quick(), ["baseline", "baseline.*", "optimizers.generator.lr"])
    assert points(whole, source(0), 8) == points(whole, source(0), 8) != points(whole, source(1), 8)
    assert len({str(point) for point in points(whole, source(0), 8)}) == 8


def test_a_grid_is_every_combination_once_and_no_more() -> None:
    whole = narrow(seqgan(), schedule__d_steps=Choice((1, 2)), adversary__loss__label_smoothing=Uniform(0.0, 0.2))
    found = points(whole, GridSource(), 100)
    assert sorted((point["schedule.d_steps"], point["adversary.loss.label_smoothing"]) for point in found) == sorted(
        itertools.product((1, 2), (0.0, 0.1, 0.2))
    )
    assert len(found) == 6


def test_a_grid_asks_what_is_active_only() -> None:
    whole = narrow(
        seqgan(), baseline=Choice(("none", "ema", "batch_mean")), baseline__decay=Choice((0.1, 0.9)),
        schedule__g_steps=Choice((1, 2)),
    )  # fmt: skip
    found = points(whole, GridSource(), 100)
    expected = [
        *({"baseline": kind, "schedule.g_steps": steps} for kind in ("none", "batch_mean") for steps in (1, 2)),
        *({"baseline": "ema", "baseline.decay": d, "schedule.g_steps": steps} for d in (0.1, 0.9) for steps in (1, 2)),
    ]
    assert sorted(map(repr, map(sorted, map(dict.items, found)))) == sorted(
        map(repr, map(sorted, map(dict.items, expected)))
    )


def test_contradictions_are_dropped_and_counted_by_reason() -> None:
    # Importance weights want the reward `ratio`, and not SeqGAN's.
    whole = narrow(seqgan(), baseline=Choice(("none", "importance_weights")), schedule__g_steps=Choice((1, 2)))
    proposals, found = Proposals(whole, GridSource()), []
    while (proposed := proposals.next()) is not None:
        found.append(proposed.point)
        assert proposed.config.schedule.g_steps == proposed.point["schedule.g_steps"]
    assert found == [{"baseline": "none", "schedule.g_steps": 1}, {"baseline": "none", "schedule.g_steps": 2}]
    ((reason, number),) = proposals.contradictions.items()
    assert number == 2 and reason.startswith("weights by the density ratio of sequences")


@pytest.mark.heavy
@pytest.mark.parametrize("source", [RandomSource, OptunaSource])
def test_a_space_of_contradictions_ends_with_the_reason(source: Any) -> None:
    whole = narrow(seqgan(), baseline=Choice(("importance_weights",)))
    with refused(ConfigError, "study_contradictory", match="1000 .*density ratio"):
        Proposals(whole, source(0)).next()


def test_tpe_learns_where_it_is_good() -> None:
    whole = narrow(
        quick(), schedule__d_steps=Choice((1, 2, 5, 10)), schedule__teacher_forcing__weight=Uniform(0.1, 0.4)
    )

    def late_mean(source: Source) -> float:
        proposals, values = Proposals(whole, source), []
        for _ in range(50):
            proposed = proposals.next()
            assert proposed is not None
            point, token = proposed.point, proposed.token
            values.append(
                (point["schedule.teacher_forcing.weight"] - 0.3) ** 2 + 0.1 * (point["schedule.d_steps"] != 5)
            )
            proposals.tell(token, Outcome((values[-1],)))
        return sum(values[-20:]) / 20

    for seed in range(3):
        assert late_mean(OptunaSource(seed)) < 0.6 * late_mean(RandomSource(seed))


def test_tpe_takes_several_objectives_and_failures() -> None:
    whole = narrow(quick(), schedule__teacher_forcing__weight=Uniform(0.1, 0.4))
    proposals = Proposals(whole, OptunaSource(0, num_objectives=2))
    for index in range(15):
        proposed = proposals.next()
        assert proposed is not None
        x = proposed.point["schedule.teacher_forcing.weight"]
        proposals.tell(proposed.token, Outcome(None if index % 5 == 0 else (x, 0.3 - x)))


@pytest.mark.parametrize("source", [lambda: RandomSource(0), GridSource, lambda: OptunaSource(0)])
def test_what_was_proposed_is_repeated_and_nothing_of_it_comes_again(source: Any) -> None:
    whole = space(quick(), ["baseline", "baseline.*", "optimizers.generator.lr", "reward"])
    whole = Space(override(quick(), {"baseline": "none"}), whole.axes)
    first = Proposals(whole, source())
    before = [first.next() for _ in range(6)]
    again = Proposals(whole, source())
    for proposed in before:
        assert proposed is not None
        again.repeat(proposed.draws)
        repeated = again.next()
        assert repeated is not None and (repeated.point, repeated.config) == (proposed.point, proposed.config)
        again.tell(repeated.token, Outcome((1.0,)))
    after = [again.next() for _ in range(6)]
    assert not [one for one in after if one is not None and one.point in [p.point for p in before if p is not None]]
