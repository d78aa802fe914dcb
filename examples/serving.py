"""A generator behind HTTP: registered with MLflow, served by MLflow's own server, called like any HTTP service.

    python examples/serving.py

Trains on function names by likelihood, registers the generator as the next version of the model `names`, loads it back
by its address, and serves it on loopback until three requests are answered. The server needs only the model.

Prints the model's address, names from Python, names by HTTP (the same for the same seed), and the response to a wrong
request. For services in production see docs/operations.md ("Models").
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from corpus import names

import rlgan


def registered(folder: Path, name: str) -> str:
    """Address of the generator of a run in MLflow's registry, as `rlgan register` makes it."""
    command = [sys.executable, "-m", "rlgan", "register", "--run", str(folder), "--name", name]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return said.split(": ")[0]


def serve(address: str, port: int, runs: Path = Path("runs")) -> subprocess.Popen[bytes]:
    """MLflow's server of a model that belongs to one of these runs, on loopback, once it answers."""
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", "--model-uri", address]
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{runs.resolve()}/mlruns.db"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    server = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(port)], env=environment)
    while server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5):
                return server
        except OSError:
            time.sleep(0.5)
    raise SystemExit(f"the server ended with status {server.returncode}")


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def ask(port: int, records: list[dict[str, object]], **params: object) -> list[str] | str:
    """Sequences by HTTP, or what was wrong with the request."""
    body = {"dataframe_records": records, "params": params}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return [row["text"] for row in json.load(answer)["predictions"]]
    except urllib.error.HTTPError as error:
        return f"status {error.code}: {json.load(error)['message']}"


def main() -> None:
    run = rlgan.train("mle", data=names(), tokens="char", schedule={"mle_epochs": 15})
    address = registered(run.folder, "names")
    print(f"{address} from Python: {', '.join(rlgan.load(address).sample(5, seed=1))}")
    port, five = free_port(), [{"num_sequences": 5}]
    server = serve(address, port)
    try:
        print(f"by HTTP, seed 1: {', '.join(ask(port, five, seed=1))}")
        print(f"by HTTP, temperature 0.5: {', '.join(ask(port, five, seed=1, temperature=0.5))}")
        print(f"a wrong request: {ask(port, [{'num_sequences': 0}])}")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
