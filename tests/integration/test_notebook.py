"""A kernel of a notebook, really started: progress on one line, an interrupt that keeps the run, pages and pictures."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from tests.support.documents import PROJECT

pytestmark = [pytest.mark.heavy, pytest.mark.integration]

BEGIN = """
import asyncio, os, signal
import rlgan
loop = asyncio.get_running_loop()  # a cell runs within one
lines = [f"{who} {does} {what}" for who in "abcd" for does in ("saw", "met", "hit") for what in "efghij"]
small = dict(
    data=lines, generator={"embedding": 8, "hidden": 8}, credit={"num_rollouts": 2}, controls=[],
    discriminator={"embedding": 4, "windows": [1, 2], "filters": [4, 4]},
    schedule={"mle_epochs": 2, "discriminator_rounds": 1, "adversarial_updates": 2, "g_batch": 8, "d_steps": 1,
              "mle_batch": 16},
    evaluation={"every": 1, "mle_every": 1, "num_sequences": 16, "final_sequences": 16, "num_bleu": 8},
    settings={"evaluation.temperatures": [1.0], "tracking.enabled": False, "workers.threads": 1, "adversary.batch": 16},
)
"""
INTERRUPTED = """
class Interrupts(rlgan.callbacks.Callback):
    def on_iteration(self, run, iteration):
        if iteration.phase == "discriminator":
            os.kill(os.getpid(), signal.SIGINT)  # as the button does

run = rlgan.train("seqgan", out="mine", callbacks=[Interrupts()], **small)
run.is_finished, asyncio.get_running_loop() is loop
"""
RESUMED = """
class Interrupts(rlgan.callbacks.Callback):
    pass

run = run.resume(callbacks=[Interrupts()])
run
"""
QUIET = """
likelihood = {name: small[name] for name in ("data", "generator", "settings")}
likelihood["settings"] = {name: value for name, value in small["settings"].items() if not name.startswith("adversary")}
measured = {"mle_every": 1, "final_sequences": 16, "num_bleu": 8}
schedule = {"mle_epochs": 1, "mle_batch": 16}
rlgan.train("mle", out="quiet", quiet=True, schedule=schedule, evaluation=measured, **likelihood).is_finished
"""


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Any]]]:
    """Outputs of each cell, in a kernel of this very Python."""
    folder = tmp_path_factory.mktemp("notebook")
    spec = folder / "kernels" / "tested"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    environment = {
        "PYTHONPATH": str(PROJECT),
        "JUPYTER_RUNTIME_DIR": str(folder),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    (spec / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "tested", "language": "python", "env": environment})
    )
    specs = KernelSpecManager(kernel_dirs=[str(folder / "kernels")], ensure_native_kernel=False)
    manager = AsyncKernelManager(kernel_name="tested", kernel_spec_manager=specs)
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text) for text in (BEGIN, INTERRUPTED, RESUMED, "run.plot()", QUIET)]
    )
    client = NotebookClient(book, km=manager, timeout=280, resources={"metadata": {"path": str(folder)}})
    client.execute()
    return [cell.outputs for cell in book.cells]


def said(outputs: list[dict[str, Any]]) -> str:
    return "".join(one["text"] for one in outputs if one["output_type"] == "stream")


def shown(outputs: list[dict[str, Any]], kind: str) -> list[str]:
    return [one["data"][kind] for one in outputs if kind in one.get("data", {})]


def test_an_interrupt_keeps_a_checkpoint_and_gives_the_run_back(cells: list[list[dict[str, Any]]]) -> None:
    interrupted = cells[1]
    assert shown(interrupted, "text/plain")[-1] == "(False, True)"
    assert "stopping after this iteration" in said(interrupted)
    assert "stopped after 3 iterations; to continue, run: rlgan.load('mine').resume()" in said(interrupted)


def test_progress_is_one_line_that_moves(cells: list[list[dict[str, Any]]]) -> None:
    # The display is written over: however often it moved, the cell has one of it.
    moving = [one for one in cells[1] if one["output_type"] == "display_data"]
    assert len(moving) == 1 and " s" in moving[0]["data"]["text/plain"]
    # What is said once stands below it; no line says how far the run is.
    lines = said(cells[1]).splitlines()
    assert len(lines) == len(set(lines)) and not [line for line in lines if re.match(r"\[ *\d+ s", line)]


def test_a_run_is_a_page_and_its_curves_a_picture(cells: list[list[dict[str, Any]]]) -> None:
    (page,) = shown(cells[2], "text/html")
    assert "<table>" in page and "seqgan (this run)" in page and "Samples (final)" in page
    (picture,) = shown(cells[3], "image/png")
    assert len(picture) > 1000


def test_quiet_shows_nothing(cells: list[list[dict[str, Any]]]) -> None:
    assert said(cells[4]) == "" and not [one for one in cells[4] if one["output_type"] == "display_data"]
    assert shown(cells[4], "text/plain")[-1] == "True"
