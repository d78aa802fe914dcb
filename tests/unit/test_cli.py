"""The command line: what is typed, what is meant, and what a mistake is told."""

from __future__ import annotations

import argparse
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rlgan.cli.main import main
from rlgan.cli.options import Choices, add_task_options, task_of
from rlgan.config.config import Config
from rlgan.config.paths import from_dict
from rlgan.envs import PairsTask, TextTask
from rlgan.envs.tasks.pair_files import PairsFile, ParallelFiles
from rlgan.envs.tasks.pairs import SharedVocabulary
from rlgan.envs.tasks.pieces import BytePairs, Characters, Pattern, Smiles, Words
from rlgan.envs.tasks.sources import Dialogue
from rlgan.presets.registry import PRESETS, preset
from tests.support.commands import ask

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that a test names and that is not there: no size follows it."""
    monkeypatch.setattr("rlgan.presets.own_data.summary_of_data", lambda settings: None)


def config_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> Config:
    """The configuration that options stand for."""
    answer = ask(capsys, "show-config", "--json", *arguments)
    assert (answer.status, answer.err) == (0, "")
    return from_dict(json.loads(answer.out))


def test_short_options_and_paths_may_be_mixed_in_any_order(capsys: pytest.CaptureFixture[str]) -> None:
    expected = preset("seqgan").model_copy(update={"seed": 1, "checkpoint_every_s": 0.5})
    for arguments in (
        ["--seed", 1, "seqgan", "--checkpoint-every-s=0.5"],
        ["seqgan", "--checkpoint-every-s", 0.5, "--seed=1"],
        ["--checkpoint_every_s", "0.5", "--seed", "1", "seqgan"],
    ):
        assert config_of(capsys, *arguments) == expected


@pytest.mark.usefixtures("unread")
def test_a_value_may_look_like_a_preset_an_option_or_a_negative_number(capsys: pytest.CaptureFixture[str]) -> None:
    config = config_of(capsys, "mle", "--data", "quick", "--tracking.experiment=--seed", "--task.split-seed", "7")
    assert config.preset == "mle" and config.tracking.experiment == "--seed"
    assert config.task.model_dump()["data"] == "quick"
    assert config_of(capsys, "--data=a=b.txt", "mle").task.model_dump()["data"] == "a=b.txt"
    assert ask(capsys, "show-config", "--seed", "-1").err == (
        "rlgan: seed=-1: input should be greater than or equal to 0. [setting_value]\n"
    )


def test_no_preset_means_quick(capsys: pytest.CaptureFixture[str]) -> None:
    assert config_of(capsys) == preset("quick")


@pytest.mark.usefixtures("unread")
def test_data_makes_a_text_task_and_parameters_an_oracle_task(capsys: pytest.CaptureFixture[str]) -> None:
    text = config_of(capsys, "--data", "a.txt", "--tokens", "char", "--task.max-length", 9)
    assert text.task == TextTask(data="a.txt", tokens=Characters(), max_length=9)
    assert config_of(capsys, "--data", "a.txt", "--tokens", "bpe").task == TextTask(data="a.txt", tokens=BytePairs())
    molecules = config_of(capsys, "--data", "a.txt", "--tokens", "smiles", "--task.tokens.min-count", 2)
    assert molecules.task == TextTask(data="a.txt", tokens=Smiles(min_count=2))
    patterns = config_of(capsys, "--data", "a.txt", "--tokens", "regex", "--task.tokens.pattern", "[a-z]+| ")
    assert patterns.task == TextTask(data="a.txt", tokens=Pattern(pattern="[a-z]+| "))
    assert "oracle_ratio" not in text.controls
    oracle = config_of(capsys, "seqgan", "--oracle-params", "o.npz")
    assert oracle.task.model_dump(include={"kind", "params"}) == {"kind": "oracle", "params": "o.npz"}


def pairs_of(*arguments: str) -> PairsTask:
    """The task that short options stand for."""
    parser = argparse.ArgumentParser()
    add_task_options(parser)
    task = task_of(Choices.of(parser.parse_args(arguments)))
    assert isinstance(task, PairsTask)
    return task


def test_two_files_or_one_make_a_task_of_pairs() -> None:
    two = pairs_of("--source", "a.en", "--target", "a.de.gz", "--tokens", "bpe")
    assert two.input == ParallelFiles(source="a.en", target="a.de.gz")
    assert two.source_tokens == two.target_tokens == BytePairs()
    assert pairs_of("--source", "a", "--target", "b").source_tokens == Words()
    assert pairs_of("--pairs", "x/a.b.tsv").input == pairs_of("--pairs=x/a.b.tsv").input == PairsFile(data="x/a.b.tsv")
    assert pairs_of("--pairs", "a.jsonl.gz", "--tokens", "char").input == PairsFile(data="a.jsonl.gz")


@pytest.mark.usefixtures("unread")
def test_paths_set_what_pairs_are(capsys: pytest.CaptureFixture[str]) -> None:
    paths = {"input.source": "3", "domain": "dialogue", "domain.max-turns": "2", "vocabulary": "shared"}
    paths |= {"vocabulary.tokens": "char", "vocabulary.tokens.min-count": "4", "lowercase": "true"}
    words = [word for path, value in paths.items() for word in (f"--task.{path}", value)]
    task = config_of(capsys, "mle", "--pairs", "a.tsv", *words).task
    assert task == PairsTask(
        input=PairsFile(data="a.tsv", source=3),
        domain=Dialogue(max_turns=2),
        vocabulary=SharedVocabulary(tokens=Characters(min_count=4)),
        lowercase=True,
    )


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("input.sorce", "3", "Did you mean --task.input.source?"),
        ("input.source", "", "[bad_column]"),
        ("domain.max-turns", "3", "task.domain"),
        ("domain", "dialog", "Did you mean 'dialogue'"),
        ("vocabulary.source", "syllables", "choose one of word, char, bpe, smiles, regex"),
    ],
)
def test_mistakes_about_pairs_are_told(capsys: pytest.CaptureFixture[str], path: str, value: str, message: str) -> None:
    answer = ask(capsys, "show-config", "mle", "--pairs", "a.tsv", f"--task.{path}", value)
    assert answer.status == 2 and answer.err.startswith("rlgan: ") and message in answer.err


def test_a_label_is_no_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(capsys, "show-config", "--preset", "scratchgan").err == (
        "rlgan: --preset scratchgan: only sets a label; the run would use 'quick'. Give the preset without "
        "--preset: rlgan show-config scratchgan. [preset_is_label]\n"
    )
    assert config_of(capsys, "mle", "--preset", "mine") == preset("mle").model_copy(update={"preset": "mine"})
    assert config_of(capsys, "mle", "--preset", "mle") == preset("mle")


def test_options_go_before_the_file_and_the_file_before_the_preset(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "settings.json"
    path.write_text(
        json.dumps({"seed": 5, "schedule": {"g_batch": 9}, "credit": {"kind": "monte_carlo", "num_rollouts": 3}})
    )
    config = config_of(capsys, "seqgan", "--config", path, "--seed", 6)
    assert (config.seed, config.schedule.g_batch, config.credit.model_dump()["num_rollouts"]) == (6, 9, 3)
    assert config.schedule.mle_epochs == preset("seqgan").schedule.mle_epochs
    assert config_of(capsys, "seqgan", "--config", path).seed == 5
    # A variant chosen by an option leaves nothing of the file's.
    assert config_of(capsys, "seqgan", "--config", path, "--credit", "terminal").credit.kind == "terminal"
    assert config_of(capsys, "seqgan", "--config", path, "--credit.num-rollouts", 4).credit.model_dump() == {
        "kind": "monte_carlo",
        "num_rollouts": 4,
        "policy_ema": 0.0,
    }


@pytest.mark.parametrize("name", PRESETS)
def test_what_show_config_prints_can_be_read_back(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    path = tmp_path / "settings.json"
    path.write_text(ask(capsys, "show-config", name, "--json").out)
    assert config_of(capsys, "--config", path) == preset(name)


def test_show_config_prints_paths_values_and_meanings(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ask(capsys, "show-config", "seqgan").out.splitlines()
    position = lines.index("credit.num_rollouts = 16")
    assert lines[position + 1] == "    Number N of continuations of each prefix."
    assert 'credit = "monte_carlo"' in lines


def test_presets_are_listed_with_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ask(capsys, "presets").out.splitlines()
    assert [line.split()[0] for line in lines] == list(PRESETS)
    assert all(len(line.split()) > 5 for line in lines)


MISTAKES = [
    (
        ["trian"],
        "show-config, tune, compare, completion. Did you mean 'train'?",
    ),
    (["train", "seqgann"], "Did you mean 'seqgan'?"),
    (["train", "seqgan", "quick"], "unrecognized arguments: quick"),
    (["train", "-x"], "unrecognized arguments: -x"),
    (["train", "--daat", "a"], "Did you mean --data?"),
    (["train", "--data"], "argument --data: expected one argument"),
    (["train", "--schedule.mle-epochs"], "--schedule.mle-epochs: needs a value"),
    (["train", "--schedule.mle-epochs", "--seed", "1"], "--schedule.mle-epochs: needs a value"),
    (["train", "--outt"], "--outt: needs a value. Did you mean --out?"),
    (["train", "--seed", "x"], "argument --seed: invalid int value: 'x'"),
    (["train", "--tokens", "word"], "[tokens_without_data]"),
    (["train", "--data", "a", "--oracle-params", "b"], "--data and --oracle-params: a run has only one task."),
    (["train", "--data", "a", "--pairs", "b.tsv"], "--data and --pairs: a run has only one task."),
    (
        ["train", "--pairs", "b.tsv", "--source", "a", "--target", "b"],
        "--pairs and --source and --target: a run has only one task.",
    ),
    *[
        (["train", option, ""], f"{option}: is empty.")
        for option in ("--data", "--pairs", "--source", "--oracle-params", "--config", "--out", "--resume", "--storage")
    ],
    (["train", "--data="], "--data: is empty."),
    (["evaluate", "--run", ""], "--run: is empty."),
    (["sample", "--run", ""], "--run: is empty."),
    (["train", "--task.data", "a"], "It belongs to task='text'. Give --data FILE."),
    (["train", "--task", "text"], "task.data: is not set, and has no default. Set --task.data."),
    (["train", "--separator", "x"], "Did you mean --task.separator? It needs task='text'."),
    (["train", "--data", "tests/missing.txt"], "tests/missing.txt: no such file."),
    (["train", "--source", "a"], "[lacks_other_side]"),
    (["train", "--target", "a"], "[lacks_other_side]"),
    (["train", "--source", "a", "--target", "./a"], "[same_file_twice]"),
    (["train", "--pairs", "a.csv"], "a.csv: no such file"),
    (["train", "--pairs", "pairs"], "pairs: no such file"),
    (["train", "--data", "a", "--tokens", "regex", "--task.tokens.pattern", "("], "[bad_pattern]"),
    (["train", "--data", "a", "--tokens", "smiles", "--task.lowercase", "true"], "[smiles_lowercase]"),
    (["train", "--oracle-params", "a", "--tokens", "char"], "[tokens_without_data]"),
    (["train", "--sorce", "a"], "Did you mean --source?"),
    (["train", "--data", "a", "--tokens", "syllable"], "invalid choice: 'syllable'"),
    (["train", "oracle_ratio", "--data", "a"], "[reward_needs_law]"),
    (["train", "--resume", "a", "--out", "b"], "[out_beside_resume]"),
    (["train", "--resume", "missing"], "[not_a_run]"),
    (["train", "--config", "missing.json"], "--config missing.json: cannot be read (No such file or directory)"),
    (["sample"], "one of the arguments --run --model is required"),
    (["sample", "--run", "a", "--model", "models:/a/1"], "argument --model: not allowed with argument --run"),
    (["sample", "--run", "a", "--tracking-uri", "b"], "[tracking_uri_beside_run]"),
    (
        ["sample", "--model", "a"],
        "[registry_address]",
    ),
    (["sample", "--model", "models:/a/1"], "runs/mlruns.db: there is no tracking database"),
    (["sample", "--run", "missing"], "[no_trained_generator]"),
    (["sample", "--run", "a", "--num", "0"], "argument --num: '0': must be a whole number, at least 1"),
    (["sample", "--run", "a", "--num", "x"], "argument --num: 'x': must be a whole number, at least 1"),
    (["sample", "--run", "a", "--temperature", "0"], "argument --temperature: '0': must be a positive number"),
    (["sample", "--run", "a", "--temperature", "nan"], "argument --temperature: 'nan': must be a positive number"),
    (["sample", "--run", "a", "--temperature", "hot"], "argument --temperature: 'hot': must be a positive number"),
    (["sample", "--run", "a", "--nmu", "3"], "unrecognized arguments: --nmu 3"),
    (["evaluate", "--run", "missing"], "[not_a_run]"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[" ".join(arguments) for arguments, _ in MISTAKES])
def test_a_mistake_is_one_paragraph_and_status_2(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = ask(capsys, *arguments)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith("rlgan: ") and message in answer.err
    assert answer.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not JSON"), ("[1]", "[config_no_object]"), ('{"seed": "x"}', "seed='x'")]
)
def test_a_bad_settings_file_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "settings.json"
    path.write_text(text)
    answer = ask(capsys, "train", "--config", path)
    assert answer.status == 2 and message in answer.err


def test_without_a_verb_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys)
    assert answer.status == 2 and "show-config" in answer.out


def test_ctrl_c_before_a_run_begins_is_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("rlgan.cli.train.run", interrupted)
    answer = ask(capsys, "train")
    assert (answer.status, answer.err) == (130, "rlgan: interrupted\n")


def test_an_error_of_the_program_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise ValueError("a bug")

    monkeypatch.setattr("rlgan.cli.train.run", broken)
    with pytest.raises(ValueError, match="a bug"):
        main(["train"])


# ------------------------------------------------------------------------------------------------------ as a program


def program(*arguments: object, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_train_py_works_as_a_script_and_a_typing_error_does_not_wait_for_ray(tmp_path: Path) -> None:
    done = program("-X", "importtime", PROJECT / "rlgan" / "train.py", "seqgan", "--credit.foo", "1", cwd=tmp_path)
    lines = done.stderr.splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert [line for line in lines if not line.startswith("import time:")] == [
        "rlgan: credit.foo: no such setting; credit='monte_carlo' has credit.num_rollouts, credit.policy_ema. "
        "Did you mean --credit.num-rollouts? [setting_unknown]"
    ]
    assert (done.returncode, done.stdout) == (2, "")
    assert "rlgan.config.config" in imported
    assert not imported & {"ray", "mlflow", "matplotlib", "pandas"}


def test_a_lone_train_py_beside_an_installed_package_works(tmp_path: Path) -> None:
    """This is what submitting a script to a cluster makes of it."""
    script = shutil.copy(PROJECT / "rlgan" / "train.py", tmp_path)
    done = program(script, "--help", cwd=tmp_path, path=PROJECT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: rlgan train ") and "--generator.hidden 64" in done.stdout


def test_the_package_is_a_program_and_nobody_need_read_all_it_says(tmp_path: Path) -> None:
    command = f"{sys.executable} -m rlgan presets | true"
    done = subprocess.run(command, shell=True, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize("in_checkout", [True, False])
def test_modules_of_ours_do_not_shadow_others_of_their_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_checkout: bool
) -> None:
    """`rlgan/runs/run.py` must not be what `import run` finds."""
    script = PROJECT / "rlgan" / "train.py" if in_checkout else Path(shutil.copy(PROJECT / "rlgan/train.py", tmp_path))
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    monkeypatch.setattr(sys, "path", [str(script.parent), "elsewhere"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(script), run_name="__main__")
    assert left.value.code == 0
    assert sys.path == ([str(PROJECT), "elsewhere"] if in_checkout else ["elsewhere"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--input", "in.txt", "--num", "3"), "[num_beside_input]"),
        (("--encoding", "latin-1"), "--encoding: has no effect without --input"),
        (("--beam", "3"), "--beam: has no effect without --input"),
        (("--replace-unknown",), "--replace-unknown: has no effect without --input"),
        (("--input", "in.txt", "--length-exponent", "1"), "--length-exponent: has no effect without --beam"),
        (("--input", "in.txt", "--beam", "2", "--seed", "0"), "--seed: has no effect with --beam"),
        (("--input", "in.txt", "--beam", "0"), "0"),
        (("--input", "in.txt", "--beam", "2", "--length-exponent", "-1"), "must be 0 or a positive number"),
    ],
)
def test_ways_of_writing_for_sources_that_make_no_sense(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    answer = ask(capsys, "sample", "--run", "nowhere", *words)
    assert answer.status == 2 and message in answer.err


@pytest.mark.parametrize("words", [["nope"], ["train", "--bogus", "1"]])
def test_what_is_near_nothing_is_offered_nothing(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "Did you mean" not in capsys.readouterr().err


def test_there_is_one_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--separator", "x"]) == 2
    assert capsys.readouterr().err.count("Did you mean") == 1


def test_a_file_that_is_meant_can_be_typed_with_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "captions.txt").write_text("a b\n")
    assert main(["train", "--data", str(tmp_path / "caption.txt"), "--dry-run"]) == 2
    assert f"Did you mean '{tmp_path}/captions.txt'?" in capsys.readouterr().err
