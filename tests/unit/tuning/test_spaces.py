"""The space is that of the settings: nothing undecided, every value constructs, what is inactive is not asked for."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlgan.base.errors import ConfigError
from rlgan.base.search_priors import Choice, LogUniform, Prior, Uniform
from rlgan.config.config import Config
from rlgan.config.paths import check_value, flatten, override, to_dict
from rlgan.presets.quick import quick
from rlgan.presets.sequences import seqgan
from rlgan.tuning import STUDIES, Axis, Bundle, Point, Space, axes, not_searched, undecided
from rlgan.tuning.space.spaces import space


def test_no_setting_is_undecided() -> None:
    # A new setting needs a prior beside it, or the reason why no search varies it.
    assert undecided() == []


def test_every_axis_that_a_paper_varies_is_there() -> None:
    for path in (
        "reward", "credit", "credit.num_rollouts", "credit.policy_ema", "baseline", "baseline.decay",
        "objective.loss_normaliser", "discriminator", "discriminator.dropout", "discriminator.l2_out",
        "discriminator.windows", "discriminator.members", "adversary.loss.label_smoothing",
        "adversary.buffer", "schedule.g_steps", "schedule.d_steps", "schedule.d_epochs", "schedule.mle_epochs",
        "schedule.discriminator_rounds", "schedule.teacher_forcing", "schedule.teacher_forcing.weight",
        "schedule.g_batch", "adversary.batch", "optimizers.generator", "optimizers.generator.lr",
        "optimizers.generator.beta1", "optimizers.discriminator.lr", "generator.hidden",
    ):  # fmt: skip
        assert path in {axis.path for axis in axes()}, path


def prior_of(path: str) -> Prior:
    return next(axis.prior for axis in axes() if axis.path == path)


def test_controls_and_what_changes_no_number_are_not_searched() -> None:
    left = not_searched()
    assert {"reward=constant", "reward=random", "reward=oracle_ratio", "objective=none", "workers", "seed"} <= set(left)
    assert set(prior_of("reward").examples()).isdisjoint({"constant", "random", "oracle_ratio"})


@pytest.mark.parametrize("axis", axes(), ids=lambda axis: axis.name)
def test_every_value_of_an_axis_is_allowed_by_its_setting(axis: Axis) -> None:
    for value in axis.prior.examples():
        check_value(axis.path, dict(axis.only_if), value)


def test_variants_may_share_a_path_and_not_a_prior() -> None:
    names = [axis.name for axis in axes()]
    assert len(set(names)) == len(names)
    whole = space(quick(), ["optimizers.generator", "optimizers.generator.lr"])

    def suggest(kind: str) -> Any:
        return lambda name, prior: kind if name == "optimizers.generator" else (name, prior)

    for kind, high in (("adam", 1e-2), ("sgd", 1.0)):
        name, prior = whole.draw(suggest(kind))["optimizers.generator.lr"]
        assert name == f"optimizers.generator[{kind}].lr" and prior.high == high


@pytest.mark.parametrize(
    ("path", "variants", "value"),
    [
        ("schedule.d_steps", {}, -1),
        ("discriminator.dropout", {"discriminator": "cnn_highway"}, 1.0),
        ("optimizers.generator.lr", {"optimizers.generator": "sgd"}, 0.0),
        ("schedule.teacher_forcing.weight", {"schedule.teacher_forcing": "mixed"}, -0.1),
        ("baseline", {}, "medium"),
    ],
)
def test_a_value_outside_the_legal_range_is_refused(path: str, variants: dict[str, str], value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{path}={value!r}: "):
        check_value(path, variants, value)


def drawer(seed: int) -> Any:
    rng = random.Random(seed)
    return lambda name, prior: prior.quantile(rng.random())


def random_config(whole: Space, seed: int) -> tuple[Point, Config | None]:
    point = whole.draw(drawer(seed))
    try:
        return point, whole.config(point)
    except ConfigError:
        return point, None  # contradictory: pruned before it is a trial


@pytest.mark.parametrize("name", STUDIES)
def test_points_of_a_study_are_configurations_or_contradictory(name: str) -> None:
    whole = STUDIES[name].space(None, {})
    configs, num_points = 0, 1_000
    for seed in range(num_points):
        point, config = random_config(whole, seed)
        if config is None:
            continue
        configs += 1
        flat = flatten(to_dict(config))
        for path, value in point.items():
            found = flat.get(path, flat.get(f"{path}.kind"))
            if isinstance(found, list):  # text where the prior is a choice of lists
                found = ",".join(map(str, found))
            assert found == value, path
    # A sweep prunes the others, and would draw for long if they were many more.
    assert configs >= num_points / 12, f"of {num_points} points only {configs} are no contradiction"


def test_what_belongs_to_another_variant_is_not_asked_for() -> None:
    whole = space(seqgan(), ["credit", "credit.*"])
    asked: list[str] = []

    def suggest(kind: str) -> Any:
        def answer(name: str, prior: Prior) -> Any:
            asked.append(name)
            return kind if name == "credit" else prior.quantile(0.0)

        return answer

    assert whole.draw(suggest("terminal")) == {"credit": "terminal"} and asked == ["credit"]
    assert whole.draw(suggest("monte_carlo")) == {
        "credit": "monte_carlo", "credit.num_rollouts": 2, "credit.policy_ema": 0.0
    }  # fmt: skip


def test_an_axis_below_a_variant_that_does_not_vary_follows_the_base() -> None:
    below = ["schedule.teacher_forcing.*"]
    assert set(space(quick(), below).draw(drawer(0))) == {"schedule.teacher_forcing.weight"}  # quick's is mixed
    assert space(seqgan(), below).draw(drawer(0)) == {}


def test_a_variant_that_the_base_has_keeps_the_bases_settings_of_it() -> None:
    whole = space(quick(), ["optimizers.generator"])
    assert whole.config({"optimizers.generator": "adam"}).optimizers == quick().optimizers
    assert whole.config({"optimizers.generator": "sgd"}).optimizers.generator.kind == "sgd"


def test_a_variant_that_no_search_chooses_may_be_varied_where_the_base_has_it() -> None:
    names = ["discriminator.*", "adversary.loss.*"]
    distribution = {"discriminator": "language_model", "adversary.loss": "likelihood", "reward": "log_ratio"}
    base = override(seqgan(), distribution | {"credit": "reward_to_go"})
    assert set(space(base, names).draw(drawer(0))) == {
        "discriminator.embedding", "discriminator.hidden", "discriminator.layers", "discriminator.dropout",
        "discriminator.tied", "adversary.loss.learns",
    }  # fmt: skip
    assert "language_model" not in prior_of("discriminator").examples()
    # Where nothing chooses it and the base has it not, it is out of reach.
    whole = space(seqgan(), ["discriminator", *names])
    assert not [axis for axis in whole.axes if ("discriminator", "language_model") in axis.only_if]


def test_bundles_change_their_settings_together() -> None:
    sizes = Bundle("capacity", {"one": {"discriminator.windows": [2], "discriminator.filters": [8]}})
    config = space(quick(), ["baseline"], [sizes]).config({"capacity": "one", "baseline": "ema"})
    assert config == override(quick(), {"baseline": "ema", **sizes.options["one"]})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("baselin", "no such dimension.*Did you mean 'baseline'"),
        ("workers.rollout", "cannot be searched: does not change what is computed"),
        ("optimizers.mle.lr", "cannot be searched: belongs to the start"),
        ("schedule", r"is a group, not a dimension\. Use schedule\.\*"),
    ],
)
def test_what_is_no_dimension_is_refused_with_the_reason(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        space(quick(), [name])


@given(st.floats(0.0, 1.0, exclude_max=True))
def test_quantiles_are_within_their_prior(level: float) -> None:
    assert Choice((3, None, "a")).quantile(level) in (3, None, "a")
    assert 1.0 <= Uniform(1.0, 4.0).quantile(level) <= 4.0
    assert 1e-5 * (1 - 1e-9) <= LogUniform(1e-5, 1e-2).quantile(level) <= 1e-2 * (1 + 1e-9)


def test_quantiles_reach_what_they_say() -> None:
    assert [Choice("abcd").quantile(level) for level in (0.0, 0.26, 0.5, 0.99)] == list("abcd")
    assert Uniform(1.0, 4.0).quantile(0.5) == 2.5
    assert LogUniform(1e-4, 1e-2).quantile(0.5) == pytest.approx(1e-3)
