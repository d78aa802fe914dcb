"""`rlgan doctor`: what is missing is said with its remedy, and nothing is started or left behind."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from rlgan.cli import doctor
from tests.support.commands import Answer, ask


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, no cluster and no server but those of a test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # What is installed beside the tests need not be what pyproject.toml says.
    monkeypatch.setattr(doctor, "_packages", lambda: iter([doctor.Finding("ok", "packages", "")]))


@pytest.fixture
def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def server() -> Iterator[str]:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Health) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def findings(answer: Answer) -> dict[str, dict[str, str]]:
    return {one["what"]: one for one in json.loads(answer.out)}


def test_all_is_there_and_nothing_is_left(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    answer = ask(capsys, "doctor")
    assert (answer.status, answer.err) == (0, "") and answer.out.endswith(
        "\neverything that a run needs is available\n"
    )
    looked_at = {line[8:26].strip() for line in answer.out.splitlines() if line[:1].islower()}
    assert looked_at >= {"Python", "CPUs and threads", "Ray", "MLflow", "storage", "disk", "extra tune"}
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_that_is_named_must_answer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, free_port: int, server: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port}")
    answer = ask(capsys, "doctor")
    assert answer.status == 1 and answer.out.endswith("\nmissing: Ray\n") and "→ unset RAY_ADDRESS" in answer.out
    monkeypatch.setenv("RAY_ADDRESS", server)
    assert findings(ask(capsys, "doctor", "--json"))["Ray"]["found"] == f"a cluster at {server}: runs will join it"


def test_a_server_that_is_silent_is_a_note_for_runs_go_on(
    capsys: pytest.CaptureFixture[str], free_port: int, server: str
) -> None:
    answer = ask(capsys, "doctor", "--json", "--tracking-uri", f"http://me:secret@127.0.0.1:{free_port}")
    found = findings(answer)["MLflow"]
    assert answer.status == 0 and found["state"] == "note" and found["remedy"] and "secret" not in answer.out
    answer = ask(capsys, "doctor", "--json", "--tracking-uri", f"http://me:secret@{server}")
    assert findings(answer)["MLflow"]["state"] == "ok" and "secret" not in answer.out


def test_a_storage_is_tried(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    answer = ask(capsys, "doctor", "--json", "--storage", tmp_path.as_uri())
    assert answer.status == 0 and findings(answer)["storage"]["state"] == "ok" and list(tmp_path.iterdir()) == []
    answer = ask(capsys, "doctor", "--json", "--storage", "nowhere://x")
    assert answer.status == 1 and findings(answer)["storage"]["state"] == "missing"


def test_a_disk_without_room_and_a_python_too_old_are_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_LEAST_DISK", 1 << 62)
    monkeypatch.setattr(doctor, "_PYTHONS", ((3, 99), (3, 99)))
    answer = ask(capsys, "doctor")
    assert answer.status == 1 and answer.out.endswith("\nmissing: Python, disk\n")


def test_what_cannot_be_imported_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "rlgan.workers.environment", None)
    answer = ask(capsys, "doctor")
    assert answer.status == 1 and answer.out.endswith("\nmissing: torch, Ray\n")


def test_requirements_are_compared_with_what_is_installed() -> None:
    lines = [
        "numpy>=1",
        "numpy<1",
        "no-such-package-as-this>=2",
        "tomli>=99; python_version < '3'",
        "pydantic<1; extra == 'old'",
    ]
    assert [name for name, _ in doctor._wanting(lines, extra="")] == ["numpy", "no-such-package-as-this"]
    assert [name for name, _ in doctor._wanting(lines, extra="old")] == ["pydantic"]


def test_pythons_are_those_of_the_project() -> None:
    (low, least), (high, most) = doctor._PYTHONS
    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text()
    assert f'requires-python = ">={low}.{least},<{high}.{most + 1}"' in text
