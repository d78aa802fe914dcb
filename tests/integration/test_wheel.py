"""What is given away: a wheel and a source archive, and the wheel as a stranger uses it, from a folder of theirs.

The wheel is installed into an environment of its own. Libraries come from this one, for nothing is fetched; `rlgan` is
the wheel's alone, and `sacrebleu`, which an extra brings, is hidden there.
"""

from __future__ import annotations

import email
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.documents import PROJECT

pytestmark = pytest.mark.timeout(900)  # each command is a process that imports torch, on however busy a machine
pytest.importorskip("build", reason="the wheel is built by the package build, which the extra dev brings")

SOURCES = ("rlgan", "envs", "tuning")
BESIDE = ("pyproject.toml", "README.md", "LICENSE")
HEAVY = {"torch", "ray", "gymnasium", "mlflow"}
"""What a plain installation needs, and nothing of which is in an extra."""
SMALL = {
    "generator": {"hidden": 8, "embedding": 8},
    "schedule": {"mle_epochs": 1},
    "evaluation": {"num_sequences": 20, "final_sequences": 20, "temperatures": [1.0]},
    "tracking": {"enabled": False},
}
STUDY = """
description = "does a second round of the discriminator help?"
preset = "quick"
[axes]
"schedule.d_steps" = [1, 2]
[changes]
"generator.hidden" = 8
"generator.embedding" = 8
"schedule.mle_epochs" = 1
"schedule.discriminator_rounds" = 1
"schedule.adversarial_updates" = 2
"schedule.g_batch" = 16
"adversary.sequences_per_round" = 32
"evaluation.every" = 1
"evaluation.num_sequences" = 20
"evaluation.final_sequences" = 20
"evaluation.temperatures" = [1.0]
"tracking.enabled" = false
"""
CHECKOUT = re.compile(
    r"\.venv|python -m|pyproject\.toml|constraints\.txt|\bmake (setup|train|test|check|docs)\b|rlgan/train\.py|"
    + re.escape(str(PROJECT))
)
"""What only somebody with a checkout has; no sentence for a user of the wheel may name it."""


def run(*command: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command in a folder, without what this process says to Python."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=kept | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def done(*command: object, cwd: Path) -> str:
    """The output of a command that has to end well."""
    ended = run(*command, cwd=cwd)
    assert ended.returncode == 0, f"{command}:\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@dataclass(frozen=True)
class Built:
    """What was built.

    Attributes:
        archive: the source archive.
        wheel: built from the archive.
        direct: the wheel built from the sources.
    """

    archive: Path
    wheel: Path
    direct: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Both, from a copy of the sources: setuptools writes beside what it builds."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        shutil.copytree(PROJECT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in BESIDE:
        shutil.copy(PROJECT / name, source / name)
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir")
    done(*build, folder / "out", source, cwd=folder)
    done(*build, folder / "direct", "--wheel", source, cwd=folder)
    ((archive,), (wheel,), (direct,)) = (
        list((folder / place).glob(form))
        for place, form in (("out", "*.tar.gz"), ("out", "*.whl"), ("direct", "*.whl"))
    )
    return Built(archive, wheel, direct)


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


@pytest.mark.heavy
def test_the_wheel_holds_the_packages_and_nothing_else(built: Built) -> None:
    files = content(built.wheel)
    expected = {
        path.relative_to(PROJECT).as_posix()
        for folder in ("rlgan", "rlgan/envs", "rlgan/tuning")
        for path in (PROJECT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert "rlgan/py.typed" in expected and "rlgan/envs/tasks/text.py" in expected
    meta = {name for name in files if ".dist-info/" in name}
    assert files.keys() - meta == expected
    assert {name.rpartition("/")[2] for name in meta} == {
        *("METADATA", "RECORD", "WHEEL", "LICENSE", "entry_points.txt", "top_level.txt")
    }
    with tarfile.open(built.archive) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert expected | {"LICENSE", "README.md", "pyproject.toml"} <= packed
    assert not [name for name in packed if re.match(r"tests|runs|build|docs|benchmarks|\.", name)]


@pytest.mark.heavy
def test_the_archive_and_the_sources_make_the_same_wheel(built: Built) -> None:
    first, second = content(built.wheel), content(built.direct)
    assert first == second


@pytest.mark.heavy
def test_a_plain_installation_asks_for_what_it_needs_and_extras_for_the_rest(built: Built) -> None:
    files = content(built.wheel)
    (name,) = (name for name in files if name.endswith("METADATA"))
    described = email.message_from_bytes(files[name])
    asked = [Requirement(line) for line in described.get_all("Requires-Dist", [])]
    plain = {one.name for one in asked if one.marker is None or "extra" not in str(one.marker)}
    assert plain >= HEAVY
    optional = {"optuna", "scikit-learn", "sacrebleu", "rouge-score", "tokenizers", "boto3", "sphinx", "pytest"}
    assert not plain & optional and {one.name for one in asked} >= optional
    assert described["License-Expression"] == "Apache-2.0"
    assert (PROJECT / "LICENSE").read_bytes() == files[name.replace("METADATA", "licenses/LICENSE")]


@dataclass(frozen=True)
class Stranger:
    """Somebody with the wheel.

    Attributes:
        folder: where they work.
        bin: of their environment.
    """

    folder: Path
    bin: Path

    def types(self, *words: object) -> subprocess.CompletedProcess[str]:
        """`rlgan WORDS`, typed; on a cluster of its own, whatever else the tests have started."""
        return run(self.bin / "rlgan", *words, cwd=self.folder, RAY_ADDRESS="local")


@pytest.fixture(scope="module")
def stranger(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    root = tmp_path_factory.mktemp("stranger")
    environment, folder = root / "environment", root / "work"
    folder.mkdir()
    done(sys.executable, "-m", "venv", "--without-pip", environment, cwd=root)
    python = environment / "bin" / "python"
    installs = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index")
    done(*installs, built.wheel, cwd=root)
    (own,) = (environment / "lib").glob("python*/site-packages")
    # Paths of a .pth file are added behind, and .pth files that lie there are not read: no rlgan of a checkout.
    shared = [path for path in sys.path if path.endswith("site-packages")]
    (own / "zz_libraries.pth").write_text("".join(f"{path}\n" for path in shared), "utf-8")
    (own / "sitecustomize.py").write_text("import sys\n\nsys.modules['sacrebleu'] = None\n", "utf-8")
    (folder / "small.json").write_text(json.dumps(SMALL), "utf-8")
    sentences = [f"word{line % 20} word{line // 20} word{7 * line % 20}" for line in range(200)]
    (folder / "my.txt").write_text("".join(f"{line}\n" for line in sentences), "utf-8")
    (folder / "talk.tsv").write_text("".join(f"{line}\t{line}\n" for line in sentences), "utf-8")
    (folder / "study.toml").write_text(STUDY, "utf-8")
    return Stranger(folder, environment / "bin")


@pytest.mark.heavy
def test_the_wheel_trains_and_samples(stranger: Stranger) -> None:
    version = stranger.types("--version")
    assert re.fullmatch(r"rlgan \d+\.\d+\.\d+\n", version.stdout), version.stderr
    where = done(stranger.bin / "python", "-c", "import rlgan; print(rlgan.__file__)", cwd=stranger.folder)
    assert where.startswith(str(stranger.bin.parent)), where

    trained = stranger.types("train", "mle", "--data", "my.txt", "--config", "small.json", "--out", "runs/mine")
    assert trained.returncode == 0, trained.stderr
    sampled = stranger.types("sample", "--run", "latest", "--num", "3", "--seed", "1")
    assert sampled.returncode == 0 and "word" in sampled.stdout, sampled.stderr
    assert not CHECKOUT.search(trained.stdout + trained.stderr + sampled.stdout + sampled.stderr)


@pytest.mark.heavy
def test_the_wheel_trains_from_python(stranger: Stranger) -> None:
    code = (
        "import json, rlgan\n"
        "settings = json.load(open('small.json'))\n"
        "run = rlgan.train('mle', data='my.txt', out='runs/python', quiet=True, **settings)\n"
        "print(len(run.sample(4)), len(run.table))\n"
    )
    printed = done(stranger.bin / "python", "-c", code, cwd=stranger.folder)
    assert printed.splitlines()[-1].split()[0] == "4"


@pytest.mark.heavy
def test_hints_are_what_somebody_with_the_wheel_can_type(stranger: Stranger) -> None:
    """Each mistake: status 2, and no word of a checkout; pairs without their extra name it."""
    for words, hint in (
        (("train", "mle", "--pairs", "talk.tsv", "--config", "small.json"), "pip install 'rlgan[pairs]'"),
        (("train", "mle", "--data", "my.txt", "--generator.hiden", "8"), "--generator.hidden"),
        (("sample", "--run", "runs/none"), "runs/none"),
        (("tune", "reward_base", "--data", "my.txt"), "reward_baseline"),
    ):
        ended = stranger.types(*words)
        assert ended.returncode == 2 and hint in ended.stderr, f"{words}:\n{ended.stdout}\n{ended.stderr}"
        assert not CHECKOUT.search(ended.stdout + ended.stderr), ended.stderr
    looked = stranger.types("doctor")
    assert looked.returncode == 0 and not CHECKOUT.search(looked.stdout), looked.stdout


@pytest.mark.ray
@pytest.mark.slow
def test_the_wheel_tunes(stranger: Stranger) -> None:
    how = ("--search", "grid", "--scheduler", "none", "--trials", 2, "--finalists", 0)
    tuned = stranger.types("tune", "study.toml", "--data", "my.txt", "--out", "runs/sweep", *how)
    assert tuned.returncode == 0, f"{tuned.stdout}\n{tuned.stderr}"
    assert (stranger.folder / "runs/sweep/report/report.html").is_file()
    assert not CHECKOUT.search(tuned.stdout + tuned.stderr), tuned.stdout
