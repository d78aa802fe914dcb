"""On the first of two machines: `ray up`, `ray submit`, `ray down`, with the cluster file that users are given.

    two_machines.sh VENV CHECKOUT python tests/cluster/launch.py

Runs in the top folder of the checkout. The same run is submitted three times: in one process, spread over both
machines, and spread while the second machine dies. Fails where a command fails or where the final tables differ.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

HEAD, WORKER = "10.77.0.1", "10.77.0.2"
FILE = Path("cluster-local.yaml")
SETTINGS = {
    "task.num-train": 200,
    "task.num-valid": 50,
    "task.num-test": 50,
    "schedule.mle-epochs": 1,
    "schedule.discriminator-rounds": 1,
    "schedule.adversarial-updates": 40,
    "adversary.sequences-per-round": 128,
    "evaluation.num-sequences": 50,
    "evaluation.final-sequences": 50,
    "controls": "none",
    "tracking.enabled": "false",
    "workers.threads": 1,
}
# Of two CPUs a machine: two rollout workers cannot stand on one of them.
SPREAD = {"workers.rollout": 2, "workers.cpus-per-rollout": 1.2, "workers.cpus-discriminator": 0.5}


def ray(*arguments: str, while_running: list[str] | None = None) -> str:
    """A command of the launcher.

    Args:
        arguments: after `ray`.
        while_running: a command to be run a while after it has said that it is at work.

    Returns:
        What it printed, which is shown as well.
    """
    command = ["ray", *arguments]
    print("$", *command, flush=True)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        print(line, end="", flush=True)
        if while_running and line.startswith("oracle: drew"):
            time.sleep(4.0)
            print("$", *while_running, flush=True)
            subprocess.run(while_running, check=False)
            while_running = None
    if process.wait() != 0:
        sys.exit(f"{' '.join(command)} ended with status {process.returncode}")
    return "".join(lines)


def submit(settings: dict[str, object], while_running: list[str] | None = None) -> str:
    """Submit the run; everything that it printed."""
    options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return ray("submit", str(FILE), "rlgan/train.py", "--", "seqgan-quick", *options, while_running=while_running)


def table(output: str) -> list[str]:
    """Rows of the final table in what a run printed."""
    lines = [line.strip() for line in output.splitlines()]
    first = next(index for index, line in enumerate(lines) if line.startswith("name "))
    return lines[first : lines.index("", first)] if "" in lines[first:] else lines[first:]


def rows(output: str) -> list[str]:
    """Those rows, without what stands around them."""
    return [row for row in table(output) if row.startswith(("real data", "MLE", "seqgan-quick"))]


def main() -> None:
    """Fill in what the file leaves to its user, and nothing else; then use it as its first lines say."""
    text = FILE.read_text()
    for theirs, ours in (
        ("192.0.2.10", HEAD),
        ("[192.0.2.11, 192.0.2.12]", f"[{WORKER}]"),
        ("ssh_user: rlgan", "ssh_user: root"),
    ):
        assert theirs in text, theirs
        text = text.replace(theirs, ours)
    FILE.write_text(text)
    os.environ["RAY_UP_enable_autoscaler_v2"] = "0"  # noqa: SIM112, for Ray spells it so
    ray("get-auth-token", "--generate")
    ray("up", "--yes", "--no-config-cache", str(FILE))
    try:
        # The head sets the second machine up by itself once it runs.
        wait = "for i in $(seq 60); do ray status | grep -q '/4.0 CPU' && exit 0; sleep 3; done; ray status; tail -n 40"
        ray("exec", str(FILE), f"{wait} /tmp/ray/session_latest/logs/monitor.*; exit 1")
        alone = rows(submit(SETTINGS))
        spread = rows(submit(SETTINGS | SPREAD))
        kill_the_second = ["ssh", f"root@{WORKER}", "pkill -9 -f 'ray::|raylet'"]
        output = submit(SETTINGS | SPREAD, while_running=kill_the_second)
        if "lost and replaced" not in output:
            sys.exit("nothing was lost: the second machine died too late")
        if not alone or spread != alone or rows(output) != alone:
            sys.exit("the tables differ")
        print("the same numbers in one process, on two machines, and with one machine lost")
    finally:
        ray("down", "--yes", str(FILE))


if __name__ == "__main__":
    main()
