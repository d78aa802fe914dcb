"""`rlgan doctor`: whether this machine has what a run needs. Looks only: nothing is started or left behind."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rlgan import __version__
from rlgan.base.errors import RlganError
from rlgan.base.extras import install_command
from rlgan.runs.folders import RUNS

_PYTHONS = ((3, 10), (3, 12))
_LEAST_DISK = 1 << 30
_ANSWERS_WITHIN_S = 3.0
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
_SHOWN = ("torch", "ray", "mlflow", "numpy")
_FOR_DEVELOPMENT = "dev"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: "ok"; "note" is for your information, and runs work; "missing" is what a run needs.
        what: was looked at.
        found: a sentence part.
        remedy: what to do; '' where nothing is to be done.
    """

    state: Literal["ok", "note", "missing"]
    what: str
    found: str
    remedy: str = ""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    parser.description = (
        "Checks whether this machine has what a run needs: versions, devices, threads, Ray, MLflow, storage, disk "
        "space, extras. Starts nothing. The exit status is 1 if something that a run needs is missing."
    )
    parser.add_argument(
        "--storage", metavar="URI", help="also check that this storage is writable (writes and removes a small file)"
    )
    parser.add_argument(
        "--tracking-uri", metavar="URI", help="MLflow server (default MLFLOW_TRACKING_URI, or runs/mlruns.db)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Look; see `VerbModule`."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _packages,
        _torch,
        _threads,
        _ray,
        lambda: _mlflow(options.tracking_uri),
        lambda: _storage(options.storage),
        _disk,
        _extras,
    ]
    findings = []
    for check in checks:
        for one in check():
            findings.append(one)
            if not options.json:
                print(as_line(one), flush=True)
    if options.json:
        print(json.dumps([asdict(one) for one in findings], indent=2))
    missing = [one.what for one in findings if one.state == "missing"]
    if not options.json:
        print(f"\nmissing: {', '.join(missing)}" if missing else "\neverything that a run needs is available")
    return 1 if missing else 0


def as_line(one: Finding) -> str:
    """A finding for people; the remedy stands below it."""
    remedy = f"\n{'':<34}→ {one.remedy}" if one.remedy else ""
    return f"{one.state:<8}{one.what:<25} {one.found}{remedy}"


def _python() -> Iterator[Finding]:
    here = sys.version_info[:2]
    found = f"{sys.version.split()[0]} at {sys.executable}, rlgan {__version__}"
    if _PYTHONS[0] <= here <= _PYTHONS[1]:
        yield Finding("ok", "Python", found)
    else:
        first, last = (".".join(map(str, one)) for one in _PYTHONS)
        yield Finding(
            "missing", "Python", found, f"rlgan needs Python {first} to {last}: create an environment with it"
        )


def _packages() -> Iterator[Finding]:
    """What pyproject.toml says that rlgan needs, of the versions it needs."""
    from importlib.metadata import PackageNotFoundError, requires, version

    try:
        lines = requires("rlgan") or []
    except PackageNotFoundError:
        yield Finding(
            "note", "packages", "rlgan is used from its source and is not installed, so versions are not compared"
        )
        return
    wrong = list(_wanting(lines, extra=""))
    if not wrong:
        shown = ", ".join(f"{name} {version(name)}" for name in _SHOWN)
        yield Finding("ok", "packages", f"{shown} and all others match the requirements of this version")
    for name, said in wrong:
        yield Finding("missing", name, said, "reinstall rlgan in this environment: " + _reinstall())


def _reinstall() -> str:
    return install_command("tune").replace("[tune]", "")


def _wanting(lines: list[str], extra: str) -> Iterator[tuple[str, str]]:
    """Name of each requirement that is not met, and what there is."""
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import Requirement

    for line in lines:
        one = Requirement(line)
        of_extra = "extra ==" in line
        if of_extra != bool(extra) or (one.marker is not None and not one.marker.evaluate({"extra": extra})):
            continue
        try:
            there = version(one.name)
        except PackageNotFoundError:
            yield one.name, f"not installed; required: {one.specifier or 'any version'}"
            continue
        if not one.specifier.contains(there, prereleases=True):
            yield one.name, f"{there} is installed; required: {one.specifier}"


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:  # a library that it needs may be missing
        yield Finding("missing", "torch", f"cannot be imported ({_first_line(error)})", _reinstall())
        return
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            of = torch.cuda.get_device_properties(index)
            yield Finding("ok", f"GPU {index}", f"{of.name}, {of.total_memory / 2**30:.0f} GiB")
    else:
        built = f"built for CUDA {torch.version.cuda}, but finds no GPU" if torch.version.cuda else "a CPU build"
        yield Finding("ok", "GPU", f"none: torch {torch.__version__} is {built}; everything runs on CPUs")


def _threads() -> Iterator[Finding]:
    try:
        cpus = len(os.sched_getaffinity(0))  # type: ignore[attr-defined,unused-ignore]
    except AttributeError:  # macOS
        cpus = os.cpu_count() or 1
    said = [f"{name}={os.environ[name]}" for name in _THREADS if name in os.environ]
    found = f"{cpus} for this process; {', '.join(said) or 'no variable sets how threads wait'}"
    if os.environ.get("OMP_WAIT_POLICY", "").lower() == "active":
        remedy = "waiting threads use whole CPUs: unset OMP_WAIT_POLICY, unless nothing else runs here"
        yield Finding("note", "CPUs and threads", found, remedy)
    else:
        yield Finding("ok", "CPUs and threads", found)


def _ray() -> Iterator[Finding]:
    try:
        from rlgan.workers.environment import listens, running_cluster
    except (ImportError, OSError) as error:
        yield Finding("missing", "Ray", f"cannot be imported ({_first_line(error)})", _reinstall())
        return
    address = running_cluster()
    if address is None:
        yield Finding("ok", "Ray", "no cluster is running; a run with workers starts its own")
    elif "://" in address or address == "auto" or listens(address):
        yield Finding("ok", "Ray", f"a cluster at {address}: runs will join it")
    else:
        remedy = "unset RAY_ADDRESS to let each run start its own cluster, or start the cluster at that address"
        yield Finding("missing", "Ray", f"RAY_ADDRESS={address}, but there is no answer at this address", remedy)


def _mlflow(uri: str | None) -> Iterator[Finding]:
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import urlopen

    from rlgan.tracking.addresses import tracking_uri, without_password

    address = tracking_uri(uri, RUNS)
    shown = without_password(address)
    if address.startswith("sqlite:///"):
        is_there = Path(address.removeprefix("sqlite:///").partition("?")[0]).exists()
        yield Finding("ok", "MLflow", f"{shown}, {'there' if is_there else 'which the first run makes'}")
    elif address.startswith(("http://", "https://")):
        try:
            asked = re.sub(r"//[^/@]*@", "//", address).rstrip("/")
            with urlopen(f"{asked}/health", timeout=_ANSWERS_WITHIN_S):
                yield Finding("ok", "MLflow", f"{shown} answers")
        except HTTPError as error:
            yield Finding("ok", "MLflow", f"{shown} answers (status {error.code} of /health)")
        except (OSError, ValueError, HTTPException) as error:
            remedy = "start the server or correct the address; meanwhile runs store their metrics in their folders"
            yield Finding("note", "MLflow", f"{shown} does not answer ({_first_line(error)})", remedy)
    else:
        yield Finding("note", "MLflow", f"{shown}: a database or server that cannot be checked from here")


def _storage(uri: str | None) -> Iterator[Finding]:
    if uri is None:
        yield Finding("ok", "storage", "local folders; use --storage URI to check a shared storage")
        return
    from rlgan.storage.places import open_place, require_writable

    try:
        require_writable(open_place(uri, "--storage"))
    except RlganError as error:
        yield Finding("missing", "storage", str(error))
    else:
        yield Finding("ok", "storage", f"{uri} is writable")


def _disk() -> Iterator[Finding]:
    folder = RUNS if RUNS.exists() else Path()
    shown = f"{RUNS}/" if RUNS.exists() else "this folder"
    if not os.access(folder, os.W_OK):
        remedy = "change to a folder of yours, or give another one with --out or --storage"
        yield Finding("missing", "disk", f"{folder.resolve()} is not writable", remedy)
    free = shutil.disk_usage(folder).free
    found = f"{free / 2**30:.1f} GiB free for {shown}"
    if free < _LEAST_DISK:
        yield Finding(
            "missing", "disk", found, "free some space, or use a folder on another disk with --out or --storage"
        )
    else:
        yield Finding("ok", "disk", found)


def _extras() -> Iterator[Finding]:
    """Optional parts: never needed, but worth knowing."""
    from importlib.metadata import PackageNotFoundError, metadata, requires

    try:
        names, lines = metadata("rlgan").get_all("Provides-Extra") or [], requires("rlgan") or []
    except PackageNotFoundError:
        return
    for name in names:
        if name == _FOR_DEVELOPMENT:
            continue
        wanting = [one for one, _ in _wanting(lines, extra=name)]
        if wanting:
            found = f"not whole: {', '.join(wanting)}"
            yield Finding("note", f"extra {name}", found, install_command(name))
        else:
            yield Finding("ok", f"extra {name}", "installed")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__
