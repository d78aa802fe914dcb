"""What an error says to do is typed as it says it: from fields and paths to options of the verb and the run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlgan.base.errors import ConfigError
from rlgan.base.settings import settings_in
from rlgan.cli.hints import in_options
from rlgan.cli.options import SHORT
from rlgan.config.config import Config
from rlgan.config.paths import all_paths, changed, override, to_dict, variants_at
from rlgan.envs.tasks import PairsTask, TextTask
from rlgan.presets.registry import PRESETS, preset
from tests.support.commands import ask
from tests.support.usual import usually

TEXT = to_dict(preset("quick", TextTask(data="a.txt")))
PAIRS = to_dict(preset("quick", PairsTask.model_validate({"input": {"kind": "tsv", "data": "a.tsv"}})))
OPTION = re.compile(r"(?<![\w-])--([a-z][\w.-]*[\w])")


@pytest.mark.parametrize(
    ("tree", "message", "expected"),
    [
        (
            TEXT,
            "is not utf-8. Save it as utf-8, or set encoding to what it is.",
            "or set --task.encoding to what",
        ),
        (PAIRS, "is not utf-8. Save it, or set encoding to what it is.", "set --task.encoding to what it is."),
        (TEXT, "holds nothing. Give more text, lower min_count, or see.", "lower --task.tokens.min-count, or see."),
        (
            PAIRS,
            "x: 1. Give more, or lower min_count.",
            "lower --task.vocabulary.source.min-count and --task.vocabulary.target.min-count.",
        ),
        (PAIRS, "a: b. Put a tab there, or set input.source.", "or set --task.input.source."),
        (TEXT, "schedule.d_steps=0: is few. Set it to 2 or more.", "is few. Set --schedule.d-steps to 2 or more."),
        (TEXT, "credit='prefix': no. Use credit terminal or prefix.", "credit='prefix': no. Use --credit terminal or"),
        (TEXT, "a: b. Use baseline ema, or normalisation whiten.", "Use --baseline ema, or --normalisation whiten."),
        (TEXT, "x: y. Did you mean 'schedule.d_steps'?", "Did you mean --schedule.d-steps?"),
        (TEXT, "x: y. Did you mean 'data'?", "Did you mean --data?"),
        (TEXT, "x: y. Did you mean 'captions.txt'?", "Did you mean 'captions.txt'?"),
        (
            TEXT,
            "lost. A node ran out: lower workers.chunk_rows or workers.shard_fakes, or lower schedule.g_batch.",
            "ran out: lower --workers.chunk-rows or --workers.shard-fakes, or lower --schedule.g-batch.",
        ),
        (TEXT, "x: y. Set controls to [].", "Set --controls to []."),
        # A variant in a list of variants, although a setting elsewhere has its name, too.
        (TEXT, "discriminator='x': choose one of lstm, language_model, none.", "of lstm, language_model, none."),
        (TEXT, "x: y. Use discriminator lstm, language_model or none.", "Use --discriminator lstm, language_model or"),
        (TEXT, "x: y. Set discriminator.windows=(1, 2).", "Set --discriminator.windows '[1, 2]'."),
        (TEXT, "x: y. Set adversary.buffer=None, or task='toy'.", "Set --adversary.buffer none, or --task toy."),
        # What tells the fault, a file, and words of prose stay as they are.
        (
            TEXT,
            "credit.gamma=2: is above 1; schedule.d_steps too.",
            "credit.gamma=2: is above 1; schedule.d_steps too.",
        ),
        (TEXT, "a: b. Give the task a larger test split.", "Give the task a larger test split."),
        (TEXT, "a: b. Give ./schedule.d_steps.txt or x/min_count.", "Give ./schedule.d_steps.txt or x/min_count."),
        (None, "a: b. Lower min_count, or set schedule.d_steps.", "Lower min_count, or set schedule.d_steps."),
    ],
)
def test_advice_is_in_options(tree: Any, message: str, expected: str) -> None:
    found = in_options(message, tree, ("data", "out"))
    assert expected in found, found
    assert in_options(found, tree, ("data", "out")) == found  # once is enough


def test_a_verb_without_settings_names_its_own_options() -> None:
    assert in_options("a: b. Save it, or set encoding to it.", None, ("encoding",)) == (
        "a: b. Save it, or set --encoding to it."
    )


def contradictory(seed_presets: tuple[str, ...]) -> Iterator[tuple[Config, dict[str, Any], str]]:
    """Every variant of every axis put into presets, where it contradicts the rest: the error, and what led to it."""
    for name in seed_presets:
        base = preset(name)
        tree = to_dict(base)
        for path in all_paths(tree):
            for kind in variants_at(path):
                try:
                    override(base, {path: kind})
                except ConfigError as error:
                    if error.code != "unknown_variant":  # of another variant above it, with the same name
                        yield base, {path: kind}, str(error)


@pytest.mark.heavy
@pytest.mark.parametrize("every", usually([4], [4, 1]))
def test_advice_of_contradictions_exists(every: int) -> None:
    """Whatever a contradiction advises is an option of that very configuration, with a variant that there is."""
    seen, advised = set(), 0
    for base, changes, message in contradictory(tuple(PRESETS)[::every]):
        tree = changed(base, changes)
        described = in_options(message, tree)
        seen.add(described)
        known = {path.replace("_", "-"): path for path in all_paths(tree)}
        for match in OPTION.finditer(described):
            advised += 1
            if match[1] in SHORT:
                continue
            if match[1] not in known:  # what could not be built for want of it
                assert f"{match[1].replace('-', '_')}: is not set" in described
                continue
            follows = re.match(r" ([a-z]\w*)", described[match.end() :])
            if variants := variants_at(known[match[1]]):
                # "set --x to none", "set --x or --y": otherwise a variant stands there.
                words = {*variants, "none", "to", "or", "and", "with", "beside", "instead", "above"}
                assert follows is None or follows[1] in words, described
    assert len(seen) > 30 and advised > 60


def written() -> Iterator[tuple[Path, str]]:
    project = Path(__file__).resolve().parents[2]
    for folder in ("envs", "rlgan", "tuning"):
        for path in sorted((project / folder).rglob("*.py")):
            for text in re.findall(r'"([^"\n]*)"', path.read_text("utf-8")):
                yield path, re.sub(r"\{[^{}]*\}", "", text)  # without the code of an f-string


def test_paths_that_errors_name_exist() -> None:
    """A path in the words of an error leads to a setting under some variant."""
    tops = [name for name in Config.model_fields if name not in ("task",)]
    named = 0
    for path, text in written():
        for found in re.findall(rf"(?<![\w./'{{-])((?:{'|'.join(tops)})(?:\.[a-z]\w*)+)(?![\w(/])", text):
            if " " in text and not found.endswith((".json", ".py", ".safetensors", ".txt")):
                named += 1
                assert leads_somewhere(found), f"{path}: {found}"
    assert named > 100


def leads_somewhere(path: str) -> bool:
    owners: list[Any] = [Config]
    for name in path.split("."):
        fields = [owner.model_fields[name] for owner in owners if name in owner.model_fields]
        if not fields:
            return False
        owners = []
        for field in fields:
            owners += settings_in(field)
    return True


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "--credit.num-rollouts", "8"], "--credit monte_carlo beside it, or a preset that has it: seqgan,"),
        (["train", "--schedule.d-step", "3"], "Did you mean --schedule.d-steps?"),
        (["train", "--rollout", "3"], "Did you mean --workers.rollout?"),
        (["train", "--daat", "x"], "Did you mean --data?"),
        (["train", "--data", "BAD"], "or set --task.encoding to the encoding of the file"),
        (["train", "--source", "BAD", "--target", "OTHER"], "or set --task.encoding to the encoding of the file"),
        (["tune", "discriminator", "--data", "BAD"], "or set --task.encoding to the encoding of the file"),
        (["tune", "discriminator", "--schedule.d-step", "3"], "Did you mean --schedule.d-steps?"),
    ],
)
def test_what_is_advised_can_be_typed(
    arguments: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad").write_bytes(b"\xff\xe4 one\ntwo three\n" * 9)
    (tmp_path / "other").write_bytes(b"\xff\xe4 one\ntwo three\n" * 9)
    files = {"BAD": str(tmp_path / "bad"), "OTHER": str(tmp_path / "other")}
    answer = ask(capsys, *(files.get(word, word) for word in arguments))
    assert answer.status == 2 and expected in answer.err, answer.err
    assert {path.name for path in tmp_path.iterdir()} == {"bad", "other"}


@pytest.mark.parametrize("more", [["--credit", "monte_carlo"], None], ids=["variant", "preset"])
def test_the_advice_for_a_setting_of_another_variant_works(
    more: list[str] | None, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["--credit.num-rollouts", "8"]
    described = ask(capsys, "show-config", *asked).err
    if more is None:
        more = [re.search(r"has it: (\w+)", described)[1]]  # type: ignore[index]
    else:
        assert shlex.join(more) in described
    answer = ask(capsys, "show-config", *more, *asked)
    assert answer.status == 0, answer.err


def test_lines_of_code_behind_a_message_stay_as_they_are() -> None:
    frame = "\n  /mine.py, line 5, in load\n    if missing: raise ImportError('no rdkit', name='rdkit')"
    tree = {"task": {"name": "mine"}}
    assert in_options(f"task plug-in 'mine': raised. Fix the plug-in.{frame}", tree).endswith(frame)
