"""Importing rlgan changes nothing of the process, in a fresh one; what torch and Ray do when imported is theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import typing
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

MODULES = """
import importlib, os, pkgutil, sys
import rlgan
names = ["rlgan", *(one.name for one in pkgutil.walk_packages(rlgan.__path__, "rlgan."))]
"""

LIBRARIES = f"""{MODULES}
for name in names:
    importlib.import_module(name)
print("\\n".join(name for name in sys.modules if name.partition(".")[0] != "rlgan"))
"""

COMPARED = f"""
import importlib, logging, multiprocessing, random, signal, sys, threading, warnings
for name in sys.stdin.read().split():
    try:
        importlib.import_module(name)
    except ImportError:
        pass  # made by another module, not by importing it
import os
import numpy as np
import torch

def state():
    loggers = {{"": logging.getLogger(), **logging.root.manager.loggerDict}}
    return {{
        "environment": dict(os.environ),
        "filters": list(warnings.filters),
        "loggers": {{name: (one.level, tuple(one.handlers), one.disabled, one.propagate)
            for name, one in loggers.items() if isinstance(one, logging.Logger) and not name.startswith("rlgan")}},
        "logging": (logging.root.manager.disable, logging.getLoggerClass()),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.is_grad_enabled()),
        "errors of numpy": np.geterr(),
        "signals": {{number: signal.getsignal(number) for number in signal.valid_signals()}},
        "start method": multiprocessing.get_start_method(allow_none=True),
        "chance": (random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()),
        "hooks": (sys.excepthook, threading.excepthook, sys.displayhook),
        "running threads": threading.active_count(),
        "path": list(sys.path),
        "folder": os.getcwd(),
    }}

before = state()
assert not any(name.startswith("rlgan") for name in sys.modules)
{MODULES}
assert len(names) > 100 and {{"rlgan.envs.tasks.text", "rlgan.tuning.sweep", "rlgan.workers.learner"}} <= set(names)
for name in names:
    importlib.import_module(name)
after = state()
for what, value in before.items():
    if after[what] != value:
        print(what, "before:", value, "after:", after[what])
"""


def printed(script: str, text: str = "") -> str:
    # Nothing of what the tests' own session has set, so that whatever is set where nothing stands is seen.
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")}
    described = subprocess.run(
        [sys.executable, "-c", script],
        input=text, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert described.returncode == 0, described.stderr[-3000:]
    return described.stdout


@pytest.mark.heavy
def test_importing_every_module_changes_nothing_of_the_process() -> None:
    assert printed(COMPARED, printed(LIBRARIES)) == ""


WITHOUT_RAY = """
import importlib, pkgutil, sys

class NoRay:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ray":
            raise ImportError("Ray is not for this process")
        return None

sys.meta_path.insert(0, NoRay())
import rlgan
# The workers, and what lies above them.
above = ("api", "__main__", "train", "cli", "tuning", "runs", "workers")
for module in pkgutil.walk_packages(rlgan.__path__, "rlgan."):
    if module.name.split(".")[1] not in above:
        importlib.import_module(module.name)
        print(module.name)
"""


@pytest.mark.heavy
def test_nothing_below_the_workers_needs_ray() -> None:
    loaded = set(printed(WITHOUT_RAY).split())
    assert loaded >= {"rlgan.training.trainer", "rlgan.training.callbacks", "rlgan.presets.registry"}
    assert loaded >= {"rlgan.evaluation.evaluator", "rlgan.metrics.bleu", "rlgan.envs.token_env", "rlgan.config.config"}
    assert len(loaded) > 100


def test_help_of_every_verb_loads_none_of_the_heavy_libraries() -> None:
    """Each of them costs seconds, and who asks for help waits for none."""
    script = """
import contextlib, io, sys
from rlgan.__main__ import VERBS, run
from rlgan.cli import main
for words in [["--help"], ["--version"], *([one.name, "--help"] for one in (*main.VERBS, *VERBS))]:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        try:
            status = run(words)
        except SystemExit as end:
            status = end.code
    assert status == 0 and "rlgan" in shown.getvalue(), (words, status)
    heavy = {"torch", "ray", "mlflow", "gymnasium", "matplotlib", "pandas", "pyarrow", "scipy"} & set(sys.modules)
    assert not heavy, (words, heavy)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_formats_that_help_names_are_those_of_the_reader() -> None:
    from rlgan.cli.sample import FORMATS
    from rlgan.envs.reading.how import FileFormat

    assert typing.get_args(FileFormat) == FORMATS
