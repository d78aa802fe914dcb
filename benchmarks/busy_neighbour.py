"""What a step of maximum likelihood costs beside programs that keep all cores busy, by how threads wait.

    python -m benchmarks.busy_neighbour [--repeats 3] [--seconds 3] [--neighbours N] [--only WAY ...]

Each measurement is a process of its own, for libgomp reads how to wait once. There are as many neighbours as cores.
Ratios are to one thread on the idle machine, formed within a repeat. The network is that of `quick`: hidden 32, 5,000
tokens, 64 sequences of 20.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.common import machine, ratios, spread

TINY_MARKS = ("slow",)

WAYS = {
    "one thread": ("1", "1000"),
    "a thread a core, as rlgan waits": ("0", "1000"),
    "a thread a core, as libgomp waits by itself": ("0", "300000"),
}
"""Name → (threads, GOMP_SPINCOUNT); 0 threads are as many as cores."""
_STEP = """
import os, sys, time, torch
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators import LSTM, build_generator
torch.set_num_threads(int(sys.argv[1]) or os.cpu_count())
net, tokens = build_generator(LSTM(embedding=32, hidden=32), SequenceSpace(5000, 20)), torch.randint(5000, (64, 20))
def step():
    net.zero_grad()
    net.conditional(None).logprobs(tokens).mean().neg().backward()
step()
number, begun = 0, time.perf_counter()
while (passed := time.perf_counter() - begun) < float(sys.argv[2]):
    step()
    number += 1
print(passed / number)
"""


def measured(threads: str, spins: str, seconds: float) -> float:
    """Seconds a step."""
    clean = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT")}
    command = [sys.executable, "-c", _STEP, threads, str(seconds)]
    return float(
        subprocess.run(
            command, env=clean | {"GOMP_SPINCOUNT": spins}, capture_output=True, text=True, check=True
        ).stdout
    )


def tiny(folder: Path) -> list[str]:
    return ["--repeats", "1", "--seconds", "0.01", "--neighbours", "1", "--only", "one thread"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--neighbours", type=int, default=os.cpu_count() or 1, help="programs that keep a core busy")
    parser.add_argument("--only", nargs="+", choices=list(WAYS), default=list(WAYS), metavar="WAY")
    arguments = parser.parse_args()
    ways = {name: WAYS[name] for name in dict.fromkeys(("one thread", *arguments.only))}  # the others are ratios to it
    found: dict[str, list[float]] = {}
    for _ in range(arguments.repeats):
        for name, way in ways.items():
            found.setdefault(f"idle: {name}", []).append(measured(*way, arguments.seconds))
        neighbours = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(arguments.neighbours)]
        try:
            for name, way in ways.items():
                found.setdefault(f"busy: {name}", []).append(measured(*way, arguments.seconds))
        finally:
            for neighbour in neighbours:
                neighbour.kill()
                neighbour.wait()
    print(machine())
    base = found["idle: one thread"]
    print(f"idle: one thread takes {spread([1e3 * one for one in base], 1)} ms a step; ratios to it, median (range):")
    for name, values in found.items():
        print(f"  {name}: {spread(ratios(values, base))}")


if __name__ == "__main__":
    main()
