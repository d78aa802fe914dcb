"""Changing a configuration by paths: what is typed, what comes out, and what a mistake is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlgan.api.settings import base_of
from rlgan.api.settings import changed as changed_in_python
from rlgan.base.errors import ConfigError
from rlgan.cli.options import Choices, resolve
from rlgan.config.config import Config
from rlgan.config.paths import ConfigPathError, all_paths, flatten, from_dict, merge, override, to_dict, variants_of
from rlgan.envs.tasks import PairsTask, TextTask
from rlgan.envs.tasks.pair_files import Table
from rlgan.envs.tasks.pairs import SeparateVocabularies, SharedVocabulary
from rlgan.envs.tasks.pieces import Words
from rlgan.evaluation.adversarial import FreshEvaluator
from rlgan.layers.optimizers import SGD
from rlgan.policy.metric_rewards import Mixed, ReferenceBleu
from rlgan.policy.teacher_forcing import InterleavedTeacherForcing
from rlgan.presets.registry import draft, override_draft, preset
from tests.support.errors import refused


def seqgan(**changes: Any) -> Config:
    return override(preset("seqgan"), changes)


@pytest.mark.parametrize(
    ("path", "typed", "value"),
    [
        ("credit.num-rollouts", "8", 8),
        ("credit.num_rollouts", 8, 8),
        ("checkpoint-every-s", "1.5", 1.5),
        ("evaluation.temperatures", "1.0,0.8", (1.0, 0.8)),
        ("evaluation.adversarial", "none", None),
        ("evaluation.temperatures", "[1, 0.5]", (1.0, 0.5)),
        ("evaluation.temperatures", [1, 0.5], (1.0, 0.5)),
        ("controls", "none", ()),
        ("controls", "mle_continued, constant_reward", ("mle_continued", "constant_reward")),
        ("controls", "", ()),
        ("controls", "[]", ()),
        ("tracking.enabled", "false", False),
        ("tracking.uri", "none", None),
        ("tracking.uri", "[odd] name", "[odd] name"),
        ("tracking.experiment", "none", "none"),
        ("schedule.mle_patience", "null", None),
        ("schedule.mle_patience", "3", 3),
    ],
)
def test_a_value_is_read_as_its_field_wants_it(path: str, typed: Any, value: Any) -> None:
    changed: Any = override(preset("seqgan"), {path: typed})
    for name in path.replace("-", "_").split("."):
        changed = getattr(changed, name)
    assert changed == value and type(changed) is type(value)


def test_functions_of_ones_own_stand_alone_where_there_is_no_discriminator(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def brevity(completions, **kwargs):\n    return [-len(c) for c in completions]\n"
    )
    name = f"{tmp_path / 'mine.py'}:brevity"
    assert override(preset("grpo"), {"reward": name}).reward.map is None
    # Who asks for a map is told that there is nothing to map.
    with refused(ConfigError, "reward_needs_discriminator"):
        override(preset("grpo"), {"reward": name, "reward.map": "probability"})
    beside = override(preset("seqgan"), {"reward": name, "credit": "terminal"}).reward
    assert beside.map is not None and beside.map.kind == "probability"
    alone = {"discriminator": "none", "schedule.discriminator_rounds": 0, "schedule.d_steps": 0}
    assert override(preset("seqgan"), {"reward": name, "credit": "terminal", **alone}).reward.map is None


def test_nothing_else_moves() -> None:
    before, after = (flatten(to_dict(config)) for config in (preset("seqgan"), seqgan(seed=3)))
    assert {path for path in before if before[path] != after[path]} == {"seed"}
    assert override(preset("seqgan"), {}) == preset("seqgan")


def test_an_axis_takes_the_name_of_a_variant() -> None:
    assert seqgan(credit="terminal").credit.kind == "terminal"
    mle = override(
        preset("seqgan"),
        {
            "discriminator": "none",
            "reward": "constant",
            "credit": "terminal",
            "schedule.discriminator-rounds": "0",
            "schedule.d-steps": "0",
        },
    )
    assert mle.discriminator is None and mle.reward.kind == "constant"


@pytest.mark.parametrize("order", [1, -1])
def test_the_fields_of_a_chosen_variant_can_be_set_in_any_order(order: int) -> None:
    changes = {"schedule.teacher-forcing": "interleaved", "schedule.teacher-forcing.num-updates": "3"}
    config = override(preset("seqgan"), dict(list(changes.items())[::order]))
    assert config.schedule.teacher_forcing == InterleavedTeacherForcing(num_updates=3)
    config = override(preset("seqgan"), {"optimizers.mle": "sgd", "optimizers.mle.momentum": "0.5"})
    assert config.optimizers.mle == SGD(momentum=0.5)


def test_a_variant_is_chosen_with_its_defaults() -> None:
    config = override(preset("seqgan"), {"optimizers.discriminator": "adam"})
    assert config.optimizers.discriminator.lr == 1e-3 != preset("seqgan").optimizers.discriminator.lr


PAIRS = {"task": "pairs", "task.input": "tsv", "task.input.data": "a.tsv", "generator": "seq2seq_lstm"}


@pytest.mark.parametrize("order", [1, -1])
def test_what_a_chosen_variant_holds_by_default_can_be_set_further_down(order: int) -> None:
    changes = PAIRS | {"task.vocabulary": "shared", "task.vocabulary.tokens.max-size": "300"}
    task = override(preset("mle"), dict(list(changes.items())[::order])).task
    assert isinstance(task, PairsTask) and task.vocabulary == SharedVocabulary(tokens=Words(max_size=300))
    mixed = {"reward": "mixed", "reward.metric.order": "2"}
    config = override(preset("br_csgan", task), dict(list(mixed.items())[::order]))
    assert config.reward == Mixed(metric=ReferenceBleu(order=2))


def test_two_levels_below_a_chosen_variant_can_be_set() -> None:
    deep = PAIRS | {"task.vocabulary.source.min-count": "3", "evaluation.adversarial": "fresh_evaluator"}
    deep |= {"evaluation.adversarial.optimizer.lr": "0.5", "evaluation.adversarial.network.hidden": "8"}
    config = override(preset("mle"), deep)
    assert isinstance(config.task, PairsTask)
    assert config.task.vocabulary == SeparateVocabularies(source=Words(min_count=3))
    plain, judge = FreshEvaluator(), config.evaluation.adversarial
    assert judge == plain.model_copy(
        update={
            "optimizer": plain.optimizer.model_copy(update={"lr": 0.5}),
            "network": plain.network.model_copy(update={"hidden": 8}),
        }
    )
    with refused(ConfigPathError, "setting_unknown", match="'mixed'.*Did you mean 'reward.metric'"):
        seqgan(**{"reward": "mixed", "reward.metrik.order": "2"})
    with refused(ConfigError, "setting_missing"):
        override(preset("mle"), {"task": "pairs", "task.vocabulary.source.min-count": "3"})


def test_a_variant_is_what_its_kind_alone_makes_it() -> None:
    config = preset("seqgan")
    for path in ("optimizers.discriminator", "schedule.teacher_forcing", "credit", "baseline", "generator", "reward"):
        *parents, leaf = path.split(".")
        owner: Any = config
        for name in parents:
            owner = getattr(owner, name)
        field = type(owner).model_fields[leaf]
        for kind, variant in variants_of(field).items():
            if any(below.is_required() for below in variant.model_fields.values()):
                continue
            tree = to_dict(config)
            node = tree
            for name in parents:
                node = node[name]
            node[leaf] = {"kind": kind}
            assert outcome(lambda tree=tree: from_dict(tree)) == outcome(
                lambda path=path, kind=kind: override(config, {path: kind})
            )


def outcome(make: Callable[[], Config]) -> Config | str:
    """A configuration, or why there is none."""
    try:
        return make()
    except ConfigError as error:
        return str(error)


def test_another_task_can_be_chosen_by_its_kind() -> None:
    config = override(preset("seqgan"), {"task": "text", "task.data": "a.txt", "controls": "mle_continued"})
    assert to_dict(config.task)["data"] == "a.txt"
    with refused(ConfigError, "setting_missing"):
        override(preset("seqgan"), {"task": "text"})


def test_a_whole_configuration_as_a_file_overrides_everything() -> None:
    target = preset("oracle_ratio")
    assert override(preset("seqgan"), flatten(to_dict(target))) == target


def test_the_upper_of_two_sources_goes_first() -> None:
    assert merge({"credit.num_rollouts": 4, "seed": 1}, {"credit.num-rollouts": "8"}) == {
        "credit.num_rollouts": "8",
        "seed": 1,
    }
    assert merge({"credit.kind": "reward_to_go", "credit.gamma": 0.5}, {"credit": "terminal"}) == {"credit": "terminal"}
    assert merge({"credit.kind": "monte_carlo"}, {"credit.policy-ema": "0.5"}) == {
        "credit": "monte_carlo",
        "credit.policy_ema": "0.5",
    }


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "credit.num-rolouts",
            "setting_unknown: credit='monte_carlo'.*'credit.num_rollouts'",
        ),
        ("credit.gamma", "setting_unknown: credit='monte_carlo'.*credit='reward_to_go'.*'lambda_return'"),
        ("generator.pretrained.path", "setting_unknown: generator.pretrained='word_vectors'"),
        ("kredit.num-rollouts", "setting_unknown"),
        ("rollout", "setting_unknown"),
        ("schedule.mle-epoch", "setting_unknown"),
        ("seed.x", "setting_unknown"),
        ("d-steps", "setting_unknown"),
        ("schedule.num-updates", "setting_unknown"),
        ("optimizers.mle.kinds", "setting_unknown: optimizers.mle='adam'"),
    ],
)
def test_an_unknown_path_is_told_what_there_is(path: str, message: str) -> None:
    with refused(ConfigPathError, message) as caught:
        override(preset("seqgan"), {path: "1"})
    assert caught.value.path == path.replace("-", "_")


def test_a_setting_of_that_name_further_down_is_found() -> None:
    config = preset("mle", PairsTask(input=Table(data="a.tsv")))
    described = r"Did you mean 'task.domain.number_token'\? It needs task.domain='summarization'\.$"
    with refused(ConfigPathError, "setting_unknown", match=described):
        override(config, {"task.number-token": "N"})
    with refused(ConfigPathError, "setting_unknown", match="Did you mean 'task.domain.number_token'"):
        override(config, {"task.domain": "summarization", "task.number-token": "N"})
    with refused(ConfigPathError, "setting_unknown", match="Did you mean 'task.vocabulary.source.min_count'"):
        override(config, {"task.min-count": "2"})


@pytest.mark.parametrize(
    ("path", "typed", "message"),
    [
        ("credit.num-rollouts", "x", "setting_value: credit.num_rollouts='x'"),
        ("credit.num-rollouts", "1.5", "setting_value: credit.num_rollouts='1.5'"),
        ("credit.num-rollouts", "0", "setting_value: credit.num_rollouts='0'"),
        ("credit", "monte", "unknown_variant: credit='monte'.*'monte_carlo'"),
        ("discriminator", "cnn", "unknown_variant: discriminator='cnn'"),
        ("credit", "5", "unknown_variant: credit='5'"),
        ("task", "imags", "unknown_variant: task='imags'.*plugin, images, molecules.*Did you mean 'images'"),
        ("discriminator", "pixel", "unknown_variant: discriminator='pixel'.*Did you mean 'pixels'"),
        ("evaluation.temperatures", "1,a", "setting_value: evaluation.temperatures.1='a'"),
        ("evaluation.temperatures", "1,0", "setting_value: evaluation.temperatures.1='0'"),
        ("evaluation.temperatures", "[1,", "not_json"),
        ("controls", "mle", "setting_value: controls.0='mle'.*'mle_continued'"),
        ("checkpoint-every-s", "nan", "setting_value: checkpoint_every_s='nan'"),
        ("tracking.enabled", "maybe", "setting_value: tracking.enabled='maybe'"),
        ("discriminator.filters", "3,4", "filters_per_window"),
        ("workers", "4", "setting_value: workers='4'"),
    ],
)
def test_a_wrong_value_names_the_setting_and_what_is_allowed(path: str, typed: str, message: str) -> None:
    with refused(ConfigError, message) as caught:
        override(preset("seqgan"), {path: typed})
    assert "\n" not in str(caught.value)


def test_unknown_names_and_kinds_in_a_dictionary_are_told() -> None:
    values = to_dict(preset("seqgan"))
    with refused(ConfigError, "setting_not_known", {"seeed": 3}, match="Did you mean 'seed'"):
        from_dict({**values, "seeed": 3})
    with refused(ConfigError, "setting_not_known", {"credit.num_rolls": 3}, match="Did you mean 'num_rollouts'"):
        from_dict({**values, "credit": {"kind": "monte_carlo", "num_rolls": 3}})
    with refused(ConfigError, "setting_variant", match="'terminal'.*'monte_carlo'.*'prefix'.*'reward_to_go'"):
        from_dict({**values, "credit": {"kind": "x"}})
    with refused(ConfigError, "setting_value"):
        from_dict({**values, "seed": -1, "credit": {"kind": "monte_carlo", "num_rollouts": 0}})


def test_every_path_can_be_set_to_what_it_is() -> None:
    config = preset("seqgan")
    flat = flatten(to_dict(config))
    assert set(flat) <= set(all_paths(to_dict(config)))
    for path, value in flat.items():
        if not path.endswith(".kind"):
            assert override(config, {path: value}) == config, path


# Plug-ins


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(
        "class A:\n    def __init__(self, scale=1.0):\n        self.scale = scale\n"
        "    def __call__(self, texts):\n        return self.scale\n\n"
        "def b(texts):\n    return 0.0\n"
    )
    return str(path)


def test_names_of_plugins_are_a_list_and_their_settings_have_paths(mine: str) -> None:
    named = {"evaluation.metrics": f"{mine}:A,{mine}:b"}
    config = seqgan(**named, **{"evaluation.metrics.0.options.scale": "2.5", "evaluation.metrics.1.direction": "min"})
    first, second = config.evaluation.metrics
    assert (first.name, first.options, first.direction) == (f"{mine}:A", {"scale": 2.5}, "none")
    assert (second.name, second.options, second.direction) == (f"{mine}:b", {}, "min")
    # Later changes leave what was chosen, and its digest, as they are.
    later = override(config, {"evaluation.metrics.0.options.scale": 3})
    assert later.evaluation.metrics[0].options == {"scale": 3} and later.evaluation.metrics[1] == second
    assert from_dict(to_dict(config)) == config


@pytest.mark.parametrize(
    ("typed", "value"), [("2", 2), ("0.5", 0.5), ("true", True), ("word", "word"), ("[1, 2]", (1, 2))]
)
def test_an_option_is_read_as_what_it_spells(mine: str, typed: str, value: Any) -> None:
    config = seqgan(**{"evaluation.metrics": f"{mine}:A", "evaluation.metrics.0.options.scale": typed})
    assert config.evaluation.metrics[0].options["scale"] == value


def test_a_path_into_a_list_that_is_not_so_long(mine: str) -> None:
    with refused(ConfigPathError, "setting_unknown"):
        seqgan(**{"evaluation.metrics": f"{mine}:A", "evaluation.metrics.1.unit": "m"})
    with refused(ConfigError, "plugin_option_unknown", match="Did you mean 'scale'"):
        seqgan(**{"evaluation.metrics": f"{mine}:A", "evaluation.metrics.0.options.scael": 1})


def test_a_plugin_that_cannot_be_loaded_is_told_with_its_path(mine: str) -> None:
    with refused(ConfigError, "plugin_no_attribute", match="'c'"):
        seqgan(**{"evaluation.metrics": f"{mine}:c"})


TEXT = TextTask(data="lines.txt")
IN_TWO_VOCABULARIES = PairsTask.model_validate({"input": {"kind": "file", "data": "pairs.tsv"}})
OWN_NETWORKS = {"generator": "seq2seq_lstm", "discriminator": "pair_lstm"}


@pytest.mark.parametrize(
    ("name", "task", "changes"),
    [
        ("gad", TEXT, {"adversary.loss": "relativistic"}),
        ("gad", TEXT, {"adversary.loss": "relativistic", "generator": "lstm", "discriminator": "cnn_highway"}),
        ("gad", IN_TWO_VOCABULARIES, OWN_NETWORKS),
        ("selfgan", IN_TWO_VOCABULARIES, OWN_NETWORKS),
        ("sft", IN_TWO_VOCABULARIES, {"generator": "seq2seq_lstm"}),
        ("spin", IN_TWO_VOCABULARIES, {"task.vocabulary": "shared"}),
    ],
)
def test_changes_may_make_a_preset_stand_on_its_task(name: str, task: Any, changes: dict[str, Any]) -> None:
    with refused(ConfigError, "preset_not_for_task", {"preset": name}):
        override_draft(draft(name, task), {})
    config = override_draft(draft(name, task), changes)
    assert config == from_dict(to_dict(config))
    assert config.preset == name
    assert resolve(_choices(name, task), changes) == config
    assert changed_in_python(base_of(name, task), changes) == config


def test_what_the_changes_leave_wrong_is_said_of_the_preset_or_of_them() -> None:
    with refused(ConfigError, "preset_not_for_task", {"preset": "gad"}):
        resolve(_choices("gad", TEXT), {"generator": "lstm"})
    with refused(ConfigError, "generator_is_no_language_model"):
        resolve(_choices("gad", TEXT), {"generator": "lstm", "adversary.loss": "relativistic"})


def test_a_judge_made_of_a_generators_network_is_told_which_network_reads_conditions() -> None:
    base = preset("density_ratio")
    asked = {"task": "transduction", "generator": "seq2seq_lstm"}
    with refused(ConfigError, "discriminator_reads_no_conditions", match="discriminator.network seq2seq_lstm"):
        override(base, asked)
    override(base, asked | {"discriminator.network": "seq2seq_lstm"})


def _choices(name: str, task: Any) -> Choices:
    return Choices(preset=name, data="lines.txt") if task is TEXT else Choices(preset=name, pairs="pairs.tsv")
