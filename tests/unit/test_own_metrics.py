"""Metrics of one's own: in every measurement, as what a generator is selected by, and as a sweep's objective."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from rlgan.base.errors import CheckpointError, ConfigError, PluginError
from rlgan.config.config import Config
from rlgan.config.paths import refused as refused_config
from rlgan.config.paths import to_dict
from rlgan.envs.tasks import build_task
from rlgan.envs.tasks.task import Task
from rlgan.evaluation.evaluator import EvaluationSettings, Evaluator, selection_view
from rlgan.evaluation.own_metric import OwnMetric, metric_of
from rlgan.evaluation.own_metrics import OwnMetrics
from rlgan.extensions import reading_a_folder
from rlgan.generators import build_generator
from rlgan.metrics.quantity import legend_of
from rlgan.report.html import svg_size
from rlgan.runs.run import _require_same_run
from rlgan.schedule.model_selection import BestGenerator, SelectionState, after_measurement
from rlgan.schedule.phases import Schedule
from rlgan.tuning.judge.selection import objective_for
from tests.support.errors import refused
from tests.support.tiny import PAIRS, TASK, tiny_config

LENGTH = "def length(texts):\n    return sum(map(len, texts)) / len(texts)\n"
Write = Callable[..., OwnMetric]


@pytest.fixture(scope="module")
def task() -> Task:
    return build_task(TASK)


@pytest.fixture(scope="module")
def pairs() -> Task:
    return build_task(PAIRS)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str, name: str = "length", **settings: Any) -> OwnMetric:
        path = tmp_path / f"mine{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        return OwnMetric(name=f"{path}:{name}", **settings)

    return written


def mean_length(texts: list[str]) -> float:
    return sum(map(len, texts)) / len(texts)


# Values


def test_value_and_its_distance_from_the_held_out_split(task: Task, write: Write) -> None:
    tokens = task.train[:5].long()
    own, real = mean_length(task.decode(tokens)), mean_length(task.decode(task.test))
    assert own != real
    found = OwnMetrics([write(LENGTH)], task).measure(tokens, None)
    assert found == {"eval/own_length": own, "eval/own_length_gap": abs(own - real)}
    one_sided = OwnMetrics([write(LENGTH, direction="max")], task).measure(tokens, None)
    assert one_sided == {"eval/own_length": own}


def test_dictionary_gives_a_figure_for_each_key(task: Task, write: Write) -> None:
    metric = write("def f(texts):\n    return {'a': 1, 'b': len(texts)}", "f", direction="min")
    assert OwnMetrics([metric], task).measure(task.train[:3], None) == {"eval/own_f_a": 1.0, "eval/own_f_b": 3.0}
    assert metric.has("own_f_a") and metric.has("own_f") and not metric.has("own_fa")


def test_references_prompts_and_options_are_handed_over(pairs: Task, write: Write) -> None:
    text = (
        "def f(texts, references, prompts, training, scale):\n    global SEEN\n"
        "    SEEN = texts, references, prompts, training, scale\n    return 0.0"
    )
    metric = write(text, "f", options={"scale": 3}, direction="min")
    assert pairs.conditions is not None
    tokens, given = pairs.train[:4], pairs.conditions.train[:4]
    OwnMetrics([metric], pairs).measure(tokens, given)
    seen = metric.load().object.__globals__["SEEN"]
    real, learned = pairs.decode(pairs.test), pairs.decode(pairs.train)
    assert seen == (pairs.decode(tokens), real, pairs.conditions.decode(given), learned, 3)


def test_evaluator_measures_them_of_samples_and_of_real_sequences(task: Task, write: Write) -> None:
    settings = EvaluationSettings(num_sequences=8, metrics=(write(LENGTH, unit="characters"),))
    evaluator, generator = Evaluator(task, settings, 0), build_generator(tiny_config().generator, task.space)
    measured = evaluator.measure(generator)
    assert measured.metrics["eval/own_length"] == mean_length(task.decode(measured.tokens))
    real = evaluator.measure_real()
    assert real.metrics["eval/own_length"] == mean_length(task.decode(real.tokens))
    (note,) = evaluator.notes
    assert note.startswith("own_length (characters): ") and "is the distance from there" in note
    # Nothing else moves by them.
    without = Evaluator(task, settings.model_copy(update={"metrics": ()}), 0).measure(generator)
    assert {name: measured.metrics[name] for name in without.metrics} == without.metrics
    assert torch.equal(measured.tokens, without.tokens)


# Directions of several values

SEVERAL = """
def f(texts):
    return {'good': 1.0, 'bad': 2.0, 'size': len(texts), 'yardstick': 3.0}

f.directions = {'good': 'max', 'bad': 'min', 'size': 'none', 'yardstick': 'beside'}
"""


def test_a_metric_declares_the_direction_of_each_of_its_values(task: Task, write: Write) -> None:
    metric = write(SEVERAL, "f")
    assert metric.directions == {"good": "max", "bad": "min", "size": "none", "yardstick": "beside"}
    found = OwnMetrics([metric], task).measure(task.train[:3], None)
    values = {"eval/own_f_good": 1.0, "eval/own_f_bad": 2.0, "eval/own_f_size": 3.0, "eval/own_f_yardstick": 3.0}
    assert found == values | {"eval/own_f_size_gap": abs(3.0 - len(task.test))}  # only what is two-sided has a distance
    facts = {name.removeprefix("eval/own_f_"): metric.quantity(name.removeprefix("eval/")) for name in found}
    assert {name: one.better for name, one in facts.items()} == {
        "good": "higher", "bad": "lower", "size": None, "size_gap": "lower", "yardstick": None,
    }  # fmt: skip
    assert facts["yardstick"].direction == "to compare others with" and facts["size"].direction == "as real data"
    legend = legend_of([facts["good"], facts["yardstick"]])
    assert legend.endswith("↑ higher is better, own_f_yardstick: to compare others with.")
    (note,) = OwnMetrics([metric], task).notes
    assert note.endswith(
        "; higher is better: good; lower is better: bad; best where real data are, and own_f_NAME_gap is the distance "
        "from there: size; to compare others with: yardstick"
    )
    fewer = write(
        SEVERAL.replace("(texts):", "(texts, all=True):\n    if not all: return {'bad': 2.0}"),
        "f",
        options={"all": False},
    )
    (note,) = OwnMetrics([fewer], task).notes  # only what it returns
    assert note.endswith("; lower is better: bad")
    kept = {"evaluation": {"metrics": [to_dict(metric)]}}
    with reading_a_folder():  # nothing is loaded, and it is known all the same
        assert EvaluationSettings.model_validate(kept["evaluation"]).metrics[0].directions == metric.directions


def test_selection_goes_by_the_direction_of_the_value(task: Task, write: Write) -> None:
    evaluation = EvaluationSettings(num_sequences=8, metrics=(write(SEVERAL, "f"),))
    evaluator = Evaluator(selection_view(task), evaluation, 0)
    ways = {name: evaluator.is_higher_better(f"own_f_{name}") for name in ("good", "bad", "size")}
    assert ways == {"good": True, "bad": False, "size": False}
    generator = build_generator(tiny_config().generator, task.space)
    assert evaluator.figure(generator, "own_f_good") == 1.0
    assert evaluator.figure(generator, "own_f_size") == abs(8 - len(task.valid))
    tiny_config({"selection": BestGenerator(measure="own_f_bad")}, evaluation=evaluation)
    for name in ("own_f_yardstick", "own_f", "own_f_godo", "own_f_good_gap"):
        with refused(ValidationError, "measure_unknown", match="own_f_good, own_f_bad, own_f_size;"):
            tiny_config({"selection": BestGenerator(measure=name)}, evaluation=evaluation)


@pytest.mark.parametrize(
    ("declared", "code", "described"),
    [
        ("['good']", "metric_directions_form", r"is \['good'\] \(list\)"),
        ("{'good': 'maximum'}", "metric_directions_value", "'maximum'.*one of min, max, none, beside.*'max'"),
        ("{'good': ['max']}", "metric_directions_value", "one of min, max, none, beside"),
        ("{'good_gap': 'min'}", "metric_directions_key", "'good_gap'"),
        ("{'gap': 'min'}", "metric_directions_key", "'gap'"),
        ("{'': 'min'}", "metric_directions_key", "''"),
        ("{1: 'min'}", "metric_directions_key", "1"),
    ],
)
def test_a_wrong_declaration_is_told(write: Write, declared: str, code: str, described: str) -> None:
    with pytest.raises(ValidationError) as raised:
        write(f"def f(texts):\n    return {{'good': 1.0}}\n\nf.directions = {declared}\n", "f")
    error = refused_config(raised.value)
    assert error.code == code and re.search(described, str(error))


def test_what_is_returned_must_be_declared(task: Task, write: Write) -> None:
    text = "def f(texts):\n    return RETURNED\n\nf.directions = {'validty': 'max', 'other': 'min'}\n"
    with refused(PluginError, "metric_direction_missing", match="'validity'.*Did you mean 'validty'"):
        OwnMetrics([write(text.replace("RETURNED", "{'validity': 1.0}"), "f")], task)
    with refused(PluginError, "metric_directions_of_one"):
        OwnMetrics([write(text.replace("RETURNED", "1.0"), "f")], task)
    # What is not returned for these texts may be for others.
    OwnMetrics([write(text.replace("RETURNED", "{'other': 1.0}"), "f")], task)


def test_the_setting_cannot_contradict_what_is_declared(write: Write) -> None:
    with refused(ValidationError, "metric_direction_declared", {"direction": "max"}):
        write(SEVERAL, "f", direction="max")
    with refused(ValidationError, "plugin_fact_contradicted"):
        write(SEVERAL, "f", directions={"good": "min"})


# Selection


@pytest.mark.parametrize(("direction", "best"), [("max", 2), ("min", 1), ("none", 1)])
def test_selection_goes_by_the_direction(task: Task, write: Write, direction: str, best: int) -> None:
    settings = EvaluationSettings(num_sequences=8, metrics=(write(LENGTH, direction=direction),))
    evaluator = Evaluator(selection_view(task), settings, 0)
    is_higher_better = evaluator.is_higher_better("own_length")
    state, selection = SelectionState(), BestGenerator(measure="own_length")
    for unit, value in enumerate([3.0, 2.0, 4.0]):
        state = after_measurement(selection, state, value, unit, is_higher_better)
    assert state.iteration == best
    assert evaluator.is_higher_better("chrf") is None


def test_figure_of_a_two_sided_metric_is_its_distance(task: Task, write: Write) -> None:
    settings = EvaluationSettings(num_sequences=8, metrics=(write(LENGTH),))
    view = selection_view(task)
    evaluator, generator = (
        Evaluator(view, settings, 0, draw="selection"),
        build_generator(tiny_config().generator, task.space),
    )
    own = mean_length(task.decode(evaluator.measure(generator).tokens))
    assert evaluator.figure(generator, "own_length") == abs(own - mean_length(task.decode(task.valid)))


def test_resumed_run_may_give_a_metric_more_time(write: Write) -> None:
    metric = write(LENGTH, timeout_s=5.0)

    def config(**changes: Any) -> Config:
        changed = metric.model_copy(update=changes)
        evaluation = tiny_config().evaluation.model_copy(update={"metrics": (changed,)})
        return tiny_config(evaluation=evaluation)

    _require_same_run("--resume run", to_dict(config()), config(timeout_s=50.0))
    with refused(CheckpointError, "run_differs", match="'unit'.*'words'"):
        _require_same_run("--resume run", to_dict(config()), config(unit="words"))


def test_unknown_measure_names_the_nearest(write: Write) -> None:
    metrics = (write(LENGTH),)
    evaluation = tiny_config().evaluation.model_copy(update={"metrics": metrics})
    schedule = {"selection": BestGenerator(measure="own_length")}
    assert tiny_config(schedule, evaluation=evaluation).schedule.selection == schedule["selection"]
    with refused(ValidationError, "measure_unknown", match="Did you mean 'own_length'"):
        tiny_config({"selection": BestGenerator(measure="own_lenght")}, evaluation=evaluation)
    with refused(ValidationError, "measure_unknown"):
        tiny_config({"selection": BestGenerator(measure="length")})
    assert Schedule().selection.kind == "none"


# Sweeps


def test_objective_is_the_distance_from_real_sequences(task: Task) -> None:
    logged = ("eval/own_length", "eval/own_length_gap", "eval/own_share", "eval/kl_forward", "eval/kl_reverse")
    assert objective_for(task, "own_length_gap", logged).sides == ("eval/own_length_gap",)
    assert objective_for(task, "own_length_gap").sides == ("eval/own_length_gap",)  # a trial knows the name alone
    with refused(ConfigError, "objective_one_direction", {"objective": "own_share"}):
        objective_for(task, "own_share", logged)
    with refused(ConfigError, "objective_one_direction", match="own_length_gap"):  # there is one
        objective_for(task, "own_length", logged)
    for asked in ("own_share", "own_share_gap"):  # which has none: its direction is not none
        with refused(ConfigError, "objective_one_direction", match=r"direction none \(own_length_gap\)"):
            objective_for(task, asked, logged)
    with refused(ConfigError, "objective_never_logged", match="Did you mean 'own_length_gap'"):
        objective_for(task, "own_lenght_gap", logged)


# What can be wrong


@pytest.mark.parametrize(
    ("body", "described"),
    [
        ("return float('nan')", "returned nan (float) for 8 texts"),
        ("return '3'", "returned '3' (str)"),
        ("return [1.0]", "returned [1.0] (list)"),
        ("return {}", "returned an empty dictionary for 8 texts"),
        ("return {'a': None}", "returned None (NoneType) as 'own_f_a'"),
        ("raise KeyError('x')", "raised KeyError: 'x' for 8 texts"),
    ],
)
def test_what_is_no_number_is_told_before_a_run(task: Task, write: Write, body: str, described: str) -> None:
    with pytest.raises(PluginError) as raised:
        OwnMetrics([write(f"def f(texts):\n    {body}", "f")], task)
    assert str(raised.value).startswith("metric 'f' (") and described in str(raised.value)
    assert ("line 2, in f" in str(raised.value)) is body.startswith("raise")


def test_metric_that_hangs_is_named(task: Task, write: Write) -> None:
    text = "import threading\nGO_ON = threading.Event()\ndef f(texts):\n    GO_ON.wait()\n    return 0.0"
    metric = write(text, "f", timeout_s=0.01)
    with refused(PluginError, "plugin_too_slow", match="'f'.*0.01") as raised:
        OwnMetrics([metric], task)
    assert "line 4, in f\n    GO_ON.wait()" in str(raised.value)
    metric.load().object.__globals__["GO_ON"].set()


@pytest.mark.parametrize("text", ["def f():\n    return 0.0", "def f(*, texts):\n    return 0.0", "f = 3"])
def test_wrong_signature(write: Write, text: str) -> None:
    with pytest.raises(ValidationError, match="metric plug-in|metric 'f'"):
        write(text, "f")


def test_two_of_one_name(write: Write) -> None:
    with refused(ValidationError, "metric_named_twice", match="'length'"):
        EvaluationSettings(metrics=(write(LENGTH), write(LENGTH + "\n")))


@pytest.mark.parametrize(("first", "second"), [("length", "length_words"), ("length_words", "length")])
def test_name_that_continues_another_is_refused(write: Write, first: str, second: str) -> None:
    metrics = tuple(write(LENGTH.replace("length", name), name) for name in (first, second))
    with refused(ValidationError, "metric_name_clash", match="'words'.*'length'"):
        EvaluationSettings(metrics=metrics)
    apart = (write(LENGTH), write(LENGTH.replace("length", "lengths"), "lengths"))
    assert EvaluationSettings(metrics=apart).metrics == apart


@pytest.mark.parametrize("name", ["gap", "length_gap"])
def test_name_of_a_distance_is_refused(write: Write, name: str) -> None:
    with refused(ValidationError, "metric_ends_with_gap", match="'_gap'"):
        EvaluationSettings(metrics=(write(LENGTH.replace("length", name), name),))


def test_direction_is_that_of_the_metric_with_the_longest_name(write: Write) -> None:
    length, words = (
        write(LENGTH.replace("length", name), name, direction=direction)
        for name, direction in (("length", "max"), ("length_words", "min"))
    )
    for metrics in ((length, words), (words, length)):  # as no configuration may have them
        assert metric_of(metrics, "own_length") is length and metric_of(metrics, "own_length_characters") is length
        assert metric_of(metrics, "own_length_words") is words
    assert metric_of((length,), "chrf") is None


@pytest.mark.parametrize("key", ["gap", "a_gap"])
def test_key_of_a_distance_is_refused(task: Task, write: Write, key: str) -> None:
    with refused(PluginError, "metric_key_ends_with_gap", match=f"'{key}'"):
        OwnMetrics([write(f"def f(texts):\n    return {{'a': 1.0, '{key}': 2.0}}", "f")], task)


def test_keys_that_are_one_text_are_refused(task: Task, write: Write) -> None:
    with refused(PluginError, "metric_key_twice", match="'own_f_1'"):
        OwnMetrics([write("def f(texts):\n    return {1: 1.0, '1': 2.0}", "f")], task)


def test_keys_must_be_the_same_for_real_texts(task: Task, write: Write) -> None:
    metric = write("def f(texts):\n    return {str(len(texts)): 1.0}", "f")
    with refused(PluginError, "metric_keys_differ"):
        OwnMetrics([metric], task).measure(task.train[:3], None)


# ---------------------------------------------------------------------------- pictures

DRAWS = """
class Draws:
    def __call__(self, texts): return 1.0
    def draw(self, texts, legends):
        BODY
"""


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("return f\"<svg width='3px' height='40' note='{len(texts)} {legends}'></svg>\"", None),
        ("return '<svg></svg>'", "metric_draw_returned"),
        ("return None", "metric_draw_returned"),
        ("raise ValueError('no ink')", "metric_draw_raised"),
    ],
)
def test_a_metric_may_draw_texts(tmp_path: Path, body: str, code: str | None) -> None:
    path = tmp_path / "draws.py"
    path.write_text(DRAWS.replace("BODY", body), "utf-8")
    task = build_task(TASK)
    counts = tmp_path / "counts.py"
    counts.write_text("def count(texts): return 1.0", "utf-8")
    metrics = [OwnMetric(name=f"{counts}:count"), OwnMetric(name=f"{path}:Draws")]
    assert OwnMetrics(metrics[:1], task).drawn(["a"]) is None
    if code is None:
        picture = OwnMetrics(metrics, task).drawn(["a", "b"], ["1", "2"])
        assert picture == "<svg width='3px' height='40' note='2 ['1', '2']'></svg>" and svg_size(picture) == (3, 40)
        return
    with refused(PluginError, code, match="draws.py"):
        OwnMetrics(metrics, task).drawn(["a"])


# ---------------------------------------------------------------------------- what texts stand for

IDENTIFIES = """
class Names:
    def __call__(self, texts): return 1.0
    def identify(self, texts):
        BODY
"""


def test_a_metric_says_which_texts_stand_for_the_same(task: Task, write: Write) -> None:
    body = "return [None if text == 'x' else text.lower() for text in texts]"
    names = write(IDENTIFIES.replace("BODY", body), "Names")
    assert OwnMetrics([write(LENGTH), names], task).identified(["A", "a", "x", "y"]) == ["a", "a", "x", "y"]
    assert OwnMetrics([write(LENGTH)], task).identified(["A", "a"]) == ["A", "a"]  # no metric tells


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("return texts[1:]", "metric_identify_returned"),
        ("return [1 for text in texts]", "metric_identify_returned"),
        ("return 'ab'", "metric_identify_returned"),
        ("raise ValueError('no name')", "metric_identify_raised"),
    ],
)
def test_what_is_no_list_of_names_is_told(task: Task, write: Write, body: str, code: str) -> None:
    metrics = OwnMetrics([write(IDENTIFIES.replace("BODY", body), "Names")], task)
    with refused(PluginError, code, match="metric 'Names'.*identify"):
        metrics.identified(["a", "b"])
