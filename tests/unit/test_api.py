"""The Python face, without training: what it imports, the configuration that it asks for, and its errors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest

import rlgan
from rlgan import api
from rlgan.base.errors import CheckpointError, ConfigError, DataError, RlganError
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import TextTask, ToyTask
from rlgan.envs.tasks.encoding import encode_texts
from rlgan.envs.tasks.pieces import BytePairs, Characters
from rlgan.extensions.sources import memory
from rlgan.runs.run import RunRequest
from rlgan.runs.session import RunResult
from tests.support.documents import PROJECT
from tests.support.errors import refused

HEAVY = ("torch", "ray", "pydantic", "mlflow", "pandas", "numpy", "matplotlib")


def test_importing_rlgan_loads_nothing_heavy() -> None:
    program = f"import sys, rlgan; print(rlgan.__version__, sorted(set({HEAVY}) & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert found.stdout.split(maxsplit=1)[1].strip() == "[]"


@pytest.mark.heavy
def test_a_run_is_looked_at_and_loaded_without_ray() -> None:
    """Nothing of the face but training needs Ray: where it cannot be imported, the rest can be used."""
    program = """
import sys
sys.modules["ray"] = None
import rlgan
for name in rlgan.__all__:
    getattr(rlgan, name)
try:
    rlgan.train("seqgan", data="nowhere.txt", schedule={"g_btch": 3})
except ValueError as error:
    print(error)
"""
    found = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert found.returncode == 0 and "schedule.g_batch" in found.stdout, found.stderr[-2000:]


def test_each_public_name_is_there_and_others_are_not() -> None:
    for name in rlgan.__all__:
        assert getattr(rlgan, name) is not None, name
    assert set(rlgan.__all__) <= set(dir(rlgan))
    with pytest.raises(AttributeError, match="'sample'"):
        rlgan.sample  # noqa: B018


def test_train_stays_the_function_when_the_script_of_that_name_is_imported() -> None:
    import importlib

    importlib.import_module("rlgan.train")
    assert rlgan.train is api.train


def test_presets_are_listed_and_given() -> None:
    assert rlgan.presets.names()[0] == "quick" and "seqgan" in rlgan.presets.names()
    assert rlgan.presets.get("seqgan").preset == "seqgan"


@pytest.fixture(autouse=True)
def nothing_stays_registered() -> Iterator[None]:
    """Functions that are handed over have names in this process; other tests list those that ship."""
    before = dict(memory.registered)
    yield
    memory.registered.clear()
    memory.registered.update(before)


class Asked(Exception):
    """Carries a request out of `train`, which was about to begin."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[RunRequest]:
    """The requests that `train` made; runs are not done."""
    found: list[RunRequest] = []

    def note(request: RunRequest, *_: object) -> RunResult:
        found.append(request)
        raise Asked

    monkeypatch.setattr("rlgan.runs.run.run", note)
    monkeypatch.chdir(tmp_path)
    return found


def ask(*arguments: Any, **named: Any) -> None:
    with pytest.raises(Asked):
        rlgan.train(*arguments, **named)


def test_settings_are_dotted_nested_or_objects(asked: list[RunRequest]) -> None:
    ask("seqgan", credit="terminal", schedule={"g_batch": 48}, settings={"schedule.d_steps": 2}, seed=7)
    ask("seqgan", credit={"kind": "monte_carlo", "num_rollouts": 3}, generator={"hidden": 24}, reward="logit")
    ask("seqgan", task=ToyTask(), discriminator={"kind": "tabular"})
    first, second, third = (one.config for one in asked)
    assert (first.seed, first.credit.kind, first.schedule.g_batch, first.schedule.d_steps) == (7, "terminal", 48, 2)
    assert second.credit.num_continuations == 3 and second.generator.model_dump()["hidden"] == 24
    assert second.reward.kind == "logit"
    assert third.task == ToyTask() and third.discriminator is not None and third.discriminator.kind == "tabular"
    assert first.preset == second.preset == "seqgan"


def test_a_configuration_and_a_function_are_presets(asked: list[RunRequest]) -> None:
    def small() -> dict[str, Any]:
        return {"preset": "seqgan", "schedule.g_batch": 12}

    ask(rlgan.presets.get("seqgan").model_copy(update={"seed": 5}))
    ask(small)
    assert asked[0].config.seed == 5
    assert (asked[1].config.preset, asked[1].config.schedule.g_batch) == ("small", 12)


def test_a_function_is_a_reward_and_does_not_hide_one_that_ships(asked: list[RunRequest]) -> None:
    def brevity(completions: list[str], **columns: Any) -> list[float]:
        return [-float(len(text)) for text in completions]

    def logit(completions: list[str], **columns: Any) -> list[float]:
        return [0.0] * len(completions)

    ask("seqgan", reward=brevity)
    ask("seqgan", reward=logit)
    names = [one.config.reward.model_dump()["functions"][0]["name"] for one in asked]
    assert names == ["brevity", "own_logit"]


def test_lists_are_written_beside_the_run_and_removed_where_none_comes_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[list[dict[str, str]]] = []

    def note(request: RunRequest, *_: object) -> RunResult:
        assert request.run_dir is not None
        path = request.run_dir / api.DATA_FILE
        values = request.config.task.model_dump()
        assert str(path) in (values.get("data"), values.get("input", {}).get("data"))
        seen.append([json.loads(line) for line in path.read_text("utf-8").splitlines()])
        raise Asked

    monkeypatch.setattr("rlgan.runs.run.run", note)
    monkeypatch.chdir(tmp_path)
    ask("seqgan", data=["two\nlines", "ü"])
    ask("seqgan", data=[("a", "b"), ("c", "d")], out="mine")
    ask("seqgan", data=(["a", "c"], ["b", "d"]))
    pairs = [{"source": "a", "target": "b"}, {"source": "c", "target": "d"}]
    assert seen == [[{"text": "two\nlines"}, {"text": "ü"}], pairs, pairs]
    assert [*tmp_path.rglob("*")] == [tmp_path / "runs"]


def test_tables_and_records_are_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[list[dict[str, str]]] = []

    def note(request: RunRequest, *_: object) -> RunResult:
        assert request.run_dir is not None
        lines = (request.run_dir / api.DATA_FILE).read_text("utf-8").splitlines()
        seen.append([json.loads(line) for line in lines])
        raise Asked

    monkeypatch.setattr("rlgan.runs.run.run", note)
    monkeypatch.chdir(tmp_path)
    texts = [{"text": "a b"}, {"text": "c d"}]
    frame = pandas.DataFrame(texts).assign(number=[1, 2])
    for given in (texts, frame, frame["text"], ({"caption": one["text"]} for one in texts), Records(texts)):
        ask("seqgan", data=given)
    assert seen == [texts] * 5
    pairs = [{"source": "a", "target": "b"}, {"source": "c", "target": "d"}]
    seen.clear()
    table = pandas.DataFrame(pairs)
    for named in (
        {"data": table},
        {"pairs": table},
        {"pairs": [("a", "b"), ["c", "d"]]},
        {"data": Records(pairs)},
        {"source": ["a", "c"], "target": ("b", "d")},
        {"source": table["source"], "target": table["target"]},
    ):
        ask("seqgan", **named)
    assert seen == [pairs] * 6


class Records:
    """As `datasets.Dataset` is iterated."""

    def __init__(self, rows: list[dict[str, str]]) -> None:
        self._rows = rows
        self.column_names = list(rows[0])

    def __iter__(self) -> Iterator[dict[str, str]]:
        return iter(self._rows)


def test_files_of_pairs_are_named_as_by_the_command_line(asked: list[RunRequest], tmp_path: Path) -> None:
    for name in ("a.tsv", "b.txt", "c.txt"):
        (tmp_path / name).write_text("a\tb\n")
    ask("seqgan", pairs="a.tsv", tokens="char")
    ask("seqgan", source=Path("b.txt"), target="c.txt")
    first, second = (one.config.task.model_dump() for one in asked)
    assert (first["input"]["kind"], first["input"]["data"]) == ("file", "a.tsv")
    assert first["vocabulary"]["source"]["kind"] == "char"
    assert (second["input"]["kind"], second["input"]["source"], second["input"]["target"]) == (
        "parallel",
        "b.txt",
        "c.txt",
    )


def test_a_file_of_settings_comes_before_arguments_and_its_line_is_said(
    asked: list[RunRequest], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("schedule:\n  g_batch: 24\n  d_steps: 3\n")
    ask("seqgan", config="mine.yaml", schedule={"d_steps": 2})
    assert (asked[0].config.schedule.g_batch, asked[0].config.schedule.d_steps) == (24, 2)
    (tmp_path / "wrong.yaml").write_text("schedule:\n  g_batch: 24\n  d_stps: 3\n")
    with pytest.raises(ConfigError, match=r"schedule\.d_stps.*wrong\.yaml, line 3") as refused:
        rlgan.train("seqgan", config="wrong.yaml")
    assert "schedule.d_steps" in str(refused.value)
    with pytest.raises(ConfigError, match=r"^config='nowhere\.yaml': cannot be read"):
        rlgan.train("seqgan", config="nowhere.yaml")
    (tmp_path / "twice.yaml").write_text("seed: 1\nseed: 2\n")
    with pytest.raises(ConfigError, match=r"line 2: seed is already set in line 1"):
        rlgan.train("seqgan", config="twice.yaml")


def test_a_folder_that_was_there_stays_where_no_run_comes_of_it(asked: list[RunRequest], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    ask("seqgan", data=["a b", "b a"], out="mine")
    assert [*(tmp_path / "mine").iterdir()] == []


@pytest.mark.parametrize(
    ("named", "error", "words"),
    [
        ({"data": []}, DataError, "data_empty"),
        ({"data": ["a", 3]}, DataError, r"data_element: data\[1\]: is 3.* a string"),
        ({"data": [("a", "b"), "c"]}, DataError, r"data_element: data\[1\]: is 'c'.* a pair of strings"),
        ({"data": (["a"], ["b", "c"])}, DataError, "data_unequal: 1 and 2"),
        ({"source": ["a"], "target": ["b", "c"]}, DataError, "data_unequal: 1 and 2"),
        ({"source": ["a"]}, ConfigError, "api_lacks_side: source: target"),
        ({"source": ["a"], "target": "b.txt"}, ConfigError, "api_path_and_list"),
        ({"source": ["a", 2], "target": ["b", "c"]}, DataError, r"data_side_element: source\[1\]: is 2"),
        ({"data": ["a"], "pairs": [("a", "b")]}, ConfigError, "api_two_tasks: data, pairs"),
        ({"pairs": ["a"]}, DataError, "api_pairs_are_texts"),
        ({"data": [{"caption": "a", "id": "b"}]}, DataError, "data_columns_unclear: caption, id"),
        ({"data": [{"text": "a"}, {"text": None}]}, DataError, r"data_element: data\[1\].* a string as 'text'"),
        ({"data": [{"source": "a", "target": "b"}, {"source": "a"}]}, DataError, r"data_element: data\[1\]"),
        ({"data": ""}, ConfigError, "data_is_empty_string"),
        ({"data": "a\nb"}, ConfigError, "data_is_one_string: splitlines"),
        ({"tokens": "char"}, ConfigError, "api_tokens_without_data"),
        ({"data": "x.txt", "task": ToyTask()}, ConfigError, "task_and_data"),
        ({"seeds": 3}, ConfigError, "api_several_seeds"),
        ({"seed": True}, ConfigError, "setting_value"),
        ({"schedule": {"g_batch": True}}, ConfigError, "setting_value"),
        ({"settings": {"evaluation.temperatures": [1.0, True]}}, ConfigError, "setting_value"),
        ({"seeds": [3, 3]}, ConfigError, "api_several_seeds"),
        ({"seed": [3, 3]}, ConfigError, "setting_value: seed"),
        ({"schedul": {"g_batch": 3}}, ConfigError, "setting_unknown: schedule"),
        ({"schedule": {"g_btch": 3}}, ConfigError, r"setting_unknown: schedule\.g_batch"),
        ({"preset": "seqgam"}, ConfigError, "unknown_preset: seqgan"),
        ({"preset": "mle", "reward": "logit"}, ConfigError, "setting_has_no_effect: reward"),
    ],
)
def test_bad_input_is_refused_in_words_of_python(
    named: dict[str, Any], error: type[RlganError], words: str, asked: list[RunRequest], tmp_path: Path
) -> None:
    with refused(error, words) as caught:
        rlgan.train(**named)
    assert "--" not in str(caught.value)
    assert asked == [] and [*tmp_path.iterdir()] == []


def test_no_run_is_loaded_where_there_is_none(tmp_path: Path) -> None:
    with refused(CheckpointError, "not_a_run", match=str(tmp_path)):
        rlgan.load(tmp_path)
    with refused(ConfigError, "compare_no_run"):
        rlgan.compare()


SPACE = SequenceSpace(vocab_size=5, max_length=4, end_id=0, unknown_id=1)
NAMES = ("</s>", "<unk>", "a", "b", "c")


def test_texts_are_cut_as_the_task_cuts_its_own() -> None:
    words = encode_texts(TextTask(data="x", lowercase=True), NAMES, "words", SPACE, ["a B c", "c d", "c b a c"])
    # One of the greatest length has no room for a terminator, and none is drawn with it.
    assert words.tolist() == [[2, 3, 4, 0], [4, 1, 0, 0], [4, 3, 2, 4]]
    letters = encode_texts(TextTask(data="x", tokens=Characters()), NAMES, "characters", SPACE, ["cab"])
    assert letters.tolist() == [[4, 2, 3, 0]]
    # Of a task without files a text is names of tokens.
    assert encode_texts(ToyTask(), NAMES, "words", SPACE, ["b b"]).tolist() == [[3, 3, 0, 0]]


@pytest.mark.parametrize(
    ("task", "text", "error", "words"),
    [
        (TextTask(data="x"), "a b c a b", DataError, "text_length: 5 tokens.* 1 to 4"),
        (TextTask(data="x"), " ", DataError, "text_length: 0 tokens"),
        (ToyTask(), "a e", DataError, "text_unknown_token: 'e'"),
        (TextTask(data="x", tokens=BytePairs()), "a", ConfigError, "tokens_not_stored"),
    ],
)
def test_a_text_that_is_no_sequence_of_the_task_is_refused(
    task: Any, text: str, error: type[RlganError], words: str
) -> None:
    with refused(error, words):
        encode_texts(task, NAMES, "words", SPACE, ["a", text])


@pytest.mark.parametrize("name", ["num", "temperature", "top_k", "top_p", "seed"])
def test_a_truth_value_is_no_number_of_samples(tmp_path: Path, name: str) -> None:
    with refused(ConfigError, "number_expected", {name: True}):
        rlgan.Run(tmp_path).sample(**{name: True})
