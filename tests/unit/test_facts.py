"""What is said beside a field is read off there, and is what it was before it was said there."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field
from pydantic._internal._docs_extraction import extract_docstrings_from_cls

from rlgan.base.settings import (
    FollowsData,
    FreeOnResume,
    IsFile,
    NeverMovesNumbers,
    OfTheStart,
    ReadIf,
    Settings,
    documented,
    facts_below,
    facts_of,
    replaced,
)
from rlgan.config.config import Config
from rlgan.config.paths import all_paths, override, to_dict
from rlgan.generators import LSTM
from rlgan.layers.embeddings import WordVectors
from rlgan.presets.effects import CONDITIONS
from rlgan.presets.quick import quick
from rlgan.runs.data import file_options
from rlgan.tuning.search.settings import SweepSettings

# As version 0.1 had them in lists of strings. Who renames a field, or loses the annotation beside it, is told here.
EXPECTED: dict[type, set[str]] = {
    IsFile: {
        "task.data", "task.valid", "task.test", "task.params",
        "task.input.data", "task.input.valid", "task.input.test", "task.input.source", "task.input.target",
        "task.input.valid_source", "task.input.valid_target", "task.input.test_source", "task.input.test_target",
        "task.demonstrations", "task.model.path", "generator.weights.path",  # new
        "task.language_model.path",  # filled in, of a plug-in's task
        "generator.pretrained.path", "discriminator.pretrained.path", "discriminator.weights.path",
        "discriminator.network.weights.path", "discriminator.network.pretrained.path",  # new: any generator's network
        "evaluation.language_model.network.pretrained.path",  # new: the lists had forgotten it; it is refused there
    },
    NeverMovesNumbers: {"preset", "controls", "tracking", "checkpoint_every_s", "sampling"},
    FreeOnResume: {
        "preset", "tracking", "checkpoint_every_s", "sampling", "reward.timeout_s", "reward.filter.timeout_s",
        "evaluation.metrics.*.timeout_s", "callbacks.*.timeout_s", "task.timeout_s", "generator.timeout_s",
        "discriminator.timeout_s",
        "workers.rollout", "workers.learners", "workers.cpus_per_rollout", "workers.cpus_discriminator",
        "workers.gpus_per_rollout", "workers.gpus_discriminator", "workers.gpus_per_learner",
        "workers.start_timeout_s", "workers.max_retries", "workers.call_timeout_s",
        "workers.most_logprob_gap", "workers.tokens_at_once", "workers.chunk_rows", "generator.checkpointing",  # new
        "adversary.tokens_at_once",  # new
        "discriminator.network.timeout_s", "discriminator.network.checkpointing",  # new
    },
    FollowsData: {
        "generator.embedding", "generator.hidden", "schedule.mle_epochs", "schedule.mle_batch",
        "evaluation.num_sequences", "evaluation.final_sequences",
        # Networks of the class of the generator's, to which `FollowsData.of` does not point.
        "evaluation.language_model.network.embedding", "evaluation.language_model.network.hidden",
        "discriminator.network.embedding", "discriminator.network.hidden",
    },
    OfTheStart: {
        "seed", "generator", "optimizers.mle", "workers.threads", "workers.gpus_per_learner",
        "schedule.mle_epochs", "schedule.mle_patience", "schedule.mle_batch", "schedule.mle_halve_from",
        "schedule.mle_inputs", "schedule.example_weights",
    },
}  # fmt: skip
READ_IF = {
    "discriminator": {"adversary", "optimizers.discriminator", "schedule.d_epochs"},
    "adversarial updates": {
        "reward", "baseline", "normalisation", "reference", "optimizers.generator", "schedule.g_steps",
        "schedule.g_batch", "schedule.g_group", "schedule.g_rate_end", "schedule.behaviour", "evaluation.every",
        "evaluation.collapse_share",
    },
    "rollouts": {"credit", "objective", "sampling", "schedule.rollout_temperature"},
    "rounds between updates": {"schedule.d_steps", "schedule.d_fakes", "schedule.d_first", "schedule.d_rate_end"},
    "pretraining": {"optimizers.mle", "schedule.mle_patience", "evaluation.mle_every"},
    "likelihood": {"schedule.mle_batch"},
    "control of its kind": {"evaluation.equal_trainings"},
    "own reward": {"evaluation.num_rewarded"},
    "text": {"evaluation.num_bleu", "evaluation.num_nearest"},
    "texts": {"evaluation.length_matched"},
    "pairs of texts": {"evaluation.bleu_tokens"},
    "decoding": {"evaluation.beam", "evaluation.length_exponent"},
}  # fmt: skip


@pytest.mark.parametrize("fact", EXPECTED)
def test_a_fact_is_said_beside_the_fields_that_it_was_always_of(fact: type) -> None:
    assert {path for path, _ in facts_below(Config, fact)} == EXPECTED[fact]


def test_what_is_read_under_a_condition() -> None:
    found: dict[str, set[str]] = {}
    for path, fact in facts_below(Config, ReadIf):
        found.setdefault(fact.condition, set()).add(path)
    assert found == READ_IF and found.keys() == CONDITIONS.keys()


def test_what_a_resumed_sweep_may_have_otherwise() -> None:
    assert SweepSettings.free_on_resume() == ["trials", "hours", "concurrent", "finalists", "seeds", "registry_name"]


def test_short_options_of_files() -> None:
    assert file_options() == {
        "data": "task.data", "pairs": "task.input.data", "source": "task.input.source", "target": "task.input.target",
        "oracle_params": "task.params", "demonstrations": "task.demonstrations",
    }  # fmt: skip


def test_what_the_classes_say_a_configuration_says() -> None:
    config = quick()
    for fact in (IsFile, NeverMovesNumbers, FreeOnResume, OfTheStart, ReadIf):
        of = [path for path, *_ in facts_of(config, fact)]
        below = {path for path, _ in facts_below(Config, fact)}
        assert set(of) <= below and len(set(of)) == len(of)
        # All that stand in this configuration at all.
        assert set(of) == below & set(all_paths(to_dict(config)))


class Left(Settings):
    kind: Literal["left"] = "left"
    path: Annotated[str, IsFile("left")] = "l"


class Right(Settings):
    kind: Literal["right"] = "right"
    path: str = "no file"
    options: Annotated[dict[str, Any], NeverMovesNumbers()] = {"path": "a key of the plug-in"}


class Whole(Settings):
    side: Annotated[Left | Right, Field(discriminator="kind")] = Left()
    group: Annotated[Left, FreeOnResume()] = Left()
    maybe: Left | None = None
    many: tuple[Annotated[Left | Right, Field(discriminator="kind")], ...] = ()


def test_facts_follow_the_variants_and_groups_that_there_are() -> None:
    assert {path for path, _ in facts_below(Whole, IsFile)} == {
        *("side.path", "group.path", "maybe.path", "many.*.path")
    }
    assert [(path, value) for path, _, value in facts_of(Whole(), IsFile)] == [("side.path", "l"), ("group.path", "l")]
    assert [path for path, *_ in facts_of(Whole(side=Right(), maybe=Left()), IsFile)] == ["group.path", "maybe.path"]
    # Of a group it is told once, and a free mapping is one value.
    assert [(path, value) for path, _, value in facts_of(Whole(), FreeOnResume)] == [("group", Left())]
    assert [(path, value) for path, _, value in facts_of(Whole(side=Right()), NeverMovesNumbers)] == [
        ("side.options", {"path": "a key of the plug-in"})
    ]


def test_facts_of_each_element_of_a_list() -> None:
    whole = Whole(many=(Left(path="a"), Right(), Left(path="b")))
    assert [(path, value) for path, _, value in facts_of(whole, IsFile)][2:] == [
        ("many.0.path", "a"),
        ("many.2.path", "b"),
    ]
    assert [path for path, *_ in facts_of(whole, NeverMovesNumbers)] == ["many.1.options"]
    changed = replaced(whole, {"many.0.path": "c", "many.2.path": "d", "side.path": "e"})
    assert changed == Whole(side=Left(path="e"), many=(Left(path="c"), Right(), Left(path="d")))


def test_values_are_put_back_by_path() -> None:
    config = quick()
    changes = {
        "schedule.mle_epochs": 7,
        "schedule.mle_batch": 9,
        "seed": 3,
        "optimizers.mle": config.optimizers.generator,
    }
    assert replaced(config, changes) == override(
        config, {"schedule.mle_epochs": 7, "schedule.mle_batch": 9, "seed": 3, "optimizers.mle.lr": 1e-3}
    )
    assert replaced(config, {}) == config


def test_a_file_that_begins_a_network_is_found_where_the_network_has_one() -> None:
    config = quick()
    with_file = replaced(config, {"generator": LSTM(pretrained=WordVectors(path="glove.txt"))})
    assert [path for path, *_ in facts_of(with_file, IsFile)] == ["task.params", "generator.pretrained.path"]


class Above(Settings):
    near: int = 1
    """Of the class above,
    in two lines."""
    bare: int = 1
    # Nothing stands under it.


class Below(Above):
    """Its own text is not that of a field."""

    own: Annotated[str, IsFile()] = Field("", description="  Given\n to the field. ")
    """Not this."""
    bare: int = 2
    last: ClassVar[int] = 3
    """Of no field."""


def test_the_text_under_a_field_is_read_where_it_stands() -> None:
    assert documented(Above, "near") == documented(Below, "near") == "Of the class above, in two lines."
    assert documented(Above, "bare") == documented(Below, "bare") == ""
    assert documented(Below, "own") == "Given to the field."
    assert documented(LSTM, "hidden")


def test_so_is_that_of_a_class_within_a_function() -> None:
    class Inner(Settings):
        size: int = 1
        """Of a size,
in a line that is not indented."""

    assert documented(Inner, "size") == "Of a size, in a line that is not indented."


def test_a_class_of_no_file_has_no_text_under_its_fields() -> None:
    typed: dict[str, Any] = {"Settings": Settings, "__name__": "typed"}
    exec('class Typed(Settings):\n    size: int = 1\n    """Of a size."""', typed)
    assert documented(typed["Typed"], "size") == ""


def test_the_texts_are_those_that_pydantic_reads() -> None:
    """Its own reading of one class, which takes as long as importing the class."""
    expected = extract_docstrings_from_cls(SweepSettings, use_inspect=True)
    found = {name: documented(SweepSettings, name) for name in SweepSettings.model_fields}
    assert {name: " ".join(text.split()) for name, text in expected.items()} == {k: v for k, v in found.items() if v}
