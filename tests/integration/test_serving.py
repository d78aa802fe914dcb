"""A registered generator behind MLflow's real server, asked by HTTP."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlgan.storage.export import load_run_generator
from tests.support.registered import TEMPERATURE, Registered, register_toy

pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Registered:
    run_dir = tmp_path_factory.mktemp("runs") / "toy"
    run_dir.mkdir()
    return register_toy(run_dir)


@pytest.fixture(scope="module")
def address(registered: Registered, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the server listens. It knows rlgan from the model only: it runs in an empty folder, on the model's code."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["MLFLOW_TRACKING_URI"] = registered.uri
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    command += ["--model-uri", "models:/toy/1", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        command,
        cwd=tmp_path_factory.mktemp("empty"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if "Uvicorn running" in line:
                break
        else:
            pytest.fail("the server ended before it answered:\n" + "".join(said))
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.stdout.read()  # to the end of all who hold it: none of them is left
        process.wait()


def post(address: str, body: object) -> tuple[int, Any]:
    """Status and answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/invocations", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def rows(*counts: object, **params: object) -> dict[str, Any]:
    return {"dataframe_records": [{"num_sequences": count} for count in counts], "params": params}


def texts(address: str, *counts: int, **params: object) -> list[str]:
    status, answer = post(address, rows(*counts, **params))
    assert status == 200, answer
    return [row["text"] for row in answer["predictions"]]


def test_requests_are_answered_with_text(address: str, registered: Registered) -> None:
    exported = load_run_generator(registered.run_dir)
    assert texts(address, 4, seed=1) == exported.sample(4, TEMPERATURE, 1) == texts(address, 4, seed=1)
    assert texts(address, 4, seed=2) == exported.sample(4, TEMPERATURE, 2) != exported.sample(4, TEMPERATURE, 1)
    assert texts(address, 3, 2, seed=1, temperature=2.0) == exported.sample(5, 2.0, 1)
    assert texts(address, 4) != texts(address, 4), "without a seed each request draws its own"
    assert len(texts(address, 10_000, seed=0)) == 10_000
    example = json.loads((registered.model_dir / "serving_input_example.json").read_text())
    assert post(address, example)[0] == 200


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (rows(0), "num_sequences is [0]: must be whole numbers of at least 1, with a total of at most 10,000"),
        (rows(5, -1), "num_sequences is [5, -1]"),
        (rows(6_000, 4_001), "Send several requests for more"),
        (rows(2, temperature=0), "temperature is 0.0: must be a positive number"),
        (rows(2, temperature=None), "temperature is None: must be a positive number"),
        (rows(2, temperature="hot"), "temperature"),
        (rows(2, seed="x"), "seed"),
        (rows("many"), "num_sequences"),
        ({"dataframe_records": [{"number": 2}]}, "num_sequences"),
        ({"dataframe_records": []}, "num_sequences"),
        ({"rows": 3}, "dataframe_records"),
        (b"{", "JSON"),
    ],
)
def test_a_malformed_request_is_told_why(address: str, body: object, reason: str) -> None:
    status, answer = post(address, body)
    assert 400 <= status < 500
    assert reason in answer and "Traceback" not in answer
