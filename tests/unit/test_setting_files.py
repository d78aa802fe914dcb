"""Files of settings: the same in YAML, TOML and JSON, and a mistake is told with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlgan.base.errors import ConfigError
from rlgan.config.config import Config
from rlgan.config.paths import from_dict, override
from rlgan.config.setting_files import read_settings
from rlgan.presets.registry import preset
from tests.support.commands import ask
from tests.support.errors import refused

YAML = """\
# a smaller run
seed: 7
generator:
  hidden: 16
schedule.g-batch: 8
credit:
  kind: monte_carlo
  num_rollouts: 2
optimizers:
"""
TOML = """\
seed = 7
schedule.g-batch = 8
generator.hidden = 16

[credit]
kind = "monte_carlo"
num_rollouts = 2
"""
JSON = """\
{
\t"seed": 7,
\t"schedule.g-batch": 8,
\t"generator": {"hidden": 16},
\t"credit": {"kind": "monte_carlo",
\t\t"num_rollouts": 2}
}
"""
FORMS = {"yaml": YAML.replace("optimizers:\n", ""), "toml": TOML, "json": JSON}


def written(folder: Path, text: str, name: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def config_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> Config:
    answer = ask(capsys, "show-config", "--json", *arguments)
    assert (answer.status, answer.err) == (0, "")
    return from_dict(json.loads(answer.out))


@pytest.mark.parametrize("suffix", FORMS)
@pytest.mark.parametrize("says_so", [True, False])
def test_every_form_asks_for_the_same_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, suffix: str, says_so: bool
) -> None:
    path = written(tmp_path, FORMS[suffix], f"mine.{suffix}" if says_so else "mine.txt")
    expected = override(
        preset("seqgan"),
        {"seed": 7, "schedule.g_batch": 8, "generator.hidden": 16, "credit": "monte_carlo", "credit.num_rollouts": 2},
    )
    assert config_of(capsys, "seqgan", "--config", path) == expected


@pytest.mark.parametrize(
    ("suffix", "lines"),
    [
        ("yaml", {"seed": 2, "generator": 3, "generator.hidden": 4, "schedule.g_batch": 5, "credit.num_rollouts": 8}),
        ("toml", {"seed": 1, "generator.hidden": 3, "schedule.g_batch": 2, "credit": 5, "credit.num_rollouts": 7}),
        ("json", {"seed": 2, "generator": 4, "generator.hidden": 4, "schedule.g_batch": 3, "credit.num_rollouts": 6}),
    ],
)
def test_each_setting_has_its_line(tmp_path: Path, suffix: str, lines: dict[str, int]) -> None:
    found = read_settings(written(tmp_path, FORMS[suffix], f"mine.{suffix}")).lines
    assert {place: found[place] for place in lines} == lines


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "seed: 1\ngenerator: [\n", "a.yaml, line 3: not YAML"),
        ("a.yaml", "seed: 1\nseed: 2\n", "line 2: seed is already set in line 1"),
        ("a.json", '{"seed": 1,\n "seed": 2}', "line 2: seed is already set in line 1"),
        ("a.yaml", "seed: 1\nno: 2\n", "line 2: 'no' is not the name of a setting"),
        ("a.yaml", "seed: 1\nlabel: 2020-01-01\n", "line 2: label is 2020-01-01 (date)"),
        ("a.yaml", "seed: &x\n  a: *x\n", "more than 10,000 settings"),
        ("a.yaml", "- 1\n", "contains list; expected an object"),
        ("a.yaml", "# nothing\n", "contains no settings"),
        ("a.toml", "# nothing\n", "contains no settings"),
        ("a.toml", "seed = 1\nhidden = \n", "a.toml, line 2: not TOML"),
        ("a.json", '{"seed": 1,\n "a": }', "a.json, line 2: not JSON"),
        ("a.yaml", "!!python/object/apply:os.getcwd []\n", "line 1: not YAML"),
    ],
)
def test_what_is_no_file_of_settings_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_settings(written(tmp_path, text, name))
    assert message in str(refused.value)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with refused(ConfigError, "config_unreadable"):
        read_settings(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"seed: \xff")
    with refused(ConfigError, "config_not_utf8"):
        read_settings(tmp_path / "b.yaml")


@pytest.mark.parametrize(
    ("text", "wrong", "line", "code"),
    [
        ("seed: 1\ngenerator:\n  hiden: 16\n", "generator.hiden", 3, "setting_unknown"),
        ("seed: 1\ngenerator:\n  hidden: many\n", "generator.hidden='many'", 3, "setting_value"),
        ("seed: 1\nsed: 2\n", "sed: no such setting", 2, "setting_unknown"),
    ],
)
def test_a_wrong_setting_is_told_with_its_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, wrong: str, line: int, code: str
) -> None:
    answer = ask(capsys, "show-config", "seqgan", "--config", written(tmp_path, text, "mine.yaml"))
    assert answer.status == 2 and wrong in answer.err
    assert answer.err.endswith(f"It is set in {tmp_path / 'mine.yaml'}, line {line}. [{code}]\n")


def test_a_setting_that_an_option_sets_again_is_not_the_files_mistake(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = written(tmp_path, "seed: 1\n", "mine.yaml")
    answer = ask(capsys, "show-config", "seqgan", "--config", path, "--seed", "-1")
    assert answer.status == 2 and "mine.yaml" not in answer.err
