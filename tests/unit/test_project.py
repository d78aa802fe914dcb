"""The shape of the project: who may import whom, nothing unpickled, pins that fit the ranges, cluster files that parse.

Each rule is a function from text to complaints, so that the tests also show it complaining.
"""

from __future__ import annotations

import ast
import copy
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from ray.autoscaler._private.util import prepare_config, validate_config
from setuptools import find_packages

from tests.support import error_codes, plain_words

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("rlgan", "envs", "tuning")

# Heavy libraries, and the rooms that may import them; everywhere else they arrive as arguments, or not at all.
ALLOWED = {
    "ray": ("rlgan/workers/", "rlgan/runs/ray_tune.py", "tuning/"),
    "mlflow": ("rlgan/tracking/",),
}
# What runs code from the file it reads, or writes such a file.
UNPICKLERS = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve"}
UNSAFE_CALLS = {"torch.load", "torch.save", "torch.jit.load", "torch.hub.load", "pandas.read_pickle", "yaml.load"}
UNSAFE_CALLS |= {f"pickle.{name}" for name in ("load", "loads", "Unpickler", "_load", "_loads", "_Unpickler")}
UNSAFE_CALLS |= {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}  # a shell reads words
# The one file that may know of pickles: a reader of its own, which refuses all but arrays, is derived there from the
# library's. Calls of the library's own readers are complained of there, too.
RESTRICTED_READERS = ("envs/tasks/published_oracle.py",)

SUPPORTED_PYTHONS = ("3.10", "3.11", "3.12")


# Imports


def sources(*folders: str) -> list[str]:
    """Python files below the folders, as paths from the project's root; links are not followed."""
    return sorted(
        path.relative_to(PROJECT).as_posix() for folder in folders for path in (PROJECT / folder).rglob("*.py")
    )


def module_name(path: str) -> str:
    """Name under which a file is imported: the folders at the top are seen through their links in `rlgan`."""
    parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
    return ".".join(parts if parts[0] == "rlgan" else ["rlgan", *parts])


def imported_names(path: str, text: str) -> Iterator[tuple[str, str]]:
    """(absolute name, local name) of everything that a file imports."""
    package = module_name(path).split(".") if path.endswith("__init__.py") else module_name(path).split(".")[:-1]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, name.asname or name.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            for name in node.names:
                yield ".".join([*base, *filter(None, [node.module]), name.name]), name.asname or name.name


@functools.cache
def rooms() -> tuple[str, ...]:
    """Rooms of `rlgan` from the top to the ground, as docs/architecture.md lists them."""
    section = (PROJECT / "docs/architecture.md").read_text().split("## Rooms")[1].split("\n## ")[0]
    return tuple(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))


@functools.cache
def rooms_of_tuning() -> tuple[str, ...]:
    """Rooms of `rlgan.tuning`, likewise."""
    (line,) = re.findall(r"^Within `tuning`, .*$", (PROJECT / "docs/architecture.md").read_text(), re.MULTILINE)
    return tuple(re.findall(r"`(\w+)`", line))[1:]


def room_of(name: str) -> str | None:
    """The room of a module of ours, by its full name; None for the root, which holds a version and nothing else."""
    parts = name.split(".")
    return parts[1] if parts[0] == "rlgan" and len(parts) > 1 and parts[1] in rooms() else None


def import_complaints(path: str, text: str) -> list[str]:
    """Imports that go up the list of rooms, or that bring a library into a room that must not know it."""
    complaints = []
    order, here = rooms(), module_name(path)
    for name, _ in imported_names(path, text):
        top = name.split(".")[0]
        if top in ("envs", "tuning", "tests", "benchmarks"):
            complaints.append(f"{path}: imports {name}; the packages are rlgan, rlgan.envs and rlgan.tuning")
        if name.startswith("rlgan.domains") and room_of(here) != "domains":
            complaints.append(f"{path}: imports {name}; a domain is plug-ins, which are loaded by their names")
        above, below = room_of(here), room_of(name)
        if above is not None and below is not None and order.index(below) < order.index(above):
            complaints.append(f"{path}: imports {name}; {below} lies above {above}")
        if above == "base" and name != "rlgan.__version__" and top == "rlgan" and below is None:
            complaints.append(f"{path}: imports {name}; nothing lies below base")
        if above == below == "tuning":
            mine, theirs = (one.split(".")[2] if one.count(".") > 1 else None for one in (here, name))
            both = mine in rooms_of_tuning() and theirs in rooms_of_tuning()
            if both and rooms_of_tuning().index(theirs) < rooms_of_tuning().index(mine):
                complaints.append(f"{path}: imports {name}; {theirs} lies above {mine}")
        if top in ALLOWED and not path.startswith(ALLOWED[top]):
            complaints.append(f"{path}: imports {name}; {top} is for {', '.join(ALLOWED[top])}")
    return complaints


def pickle_complaints(path: str, text: str) -> list[str]:
    """Imports and calls that could run code from a file."""
    names = {local: name for name, local in imported_names(path, text)}
    refused = UNPICKLERS - ({"pickle"} if path in RESTRICTED_READERS else set())
    complaints = [f"{path}: imports {name}" for name in names.values() if refused & set(name.split("."))]
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        local, *rest = ast.unparse(node.func).split(".")
        called = ".".join([names.get(local, local), *rest]) if rest else names.get(local, local)
        if called in UNSAFE_CALLS:
            complaints.append(f"{path}:{node.lineno}: calls {called}")
        for keyword in node.keywords:
            if keyword.arg == "shell" and ast.unparse(keyword.value) != "False":
                complaints.append(f"{path}:{node.lineno}: asks a shell")
            if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                complaints.append(f"{path}:{node.lineno}: allows pickles")
    return complaints


@pytest.mark.parametrize("path", sources(*PACKAGES))
def test_imports_go_one_way(path: str) -> None:
    assert import_complaints(path, (PROJECT / path).read_text()) == []


@pytest.mark.parametrize("path", sources(*PACKAGES))
def test_nothing_is_unpickled(path: str) -> None:
    assert pickle_complaints(path, (PROJECT / path).read_text()) == []


def test_the_list_of_rooms_is_whole() -> None:
    """Every room is listed, every listed one exists, and the root stays small enough to be read."""
    there = {path.name.removesuffix(".py") for path in (PROJECT / "rlgan").iterdir()} - {
        "__init__",
        "__pycache__",
        "py.typed",
    }
    assert set(rooms()) == there
    assert len(there) <= 28
    inside = {path.name.removesuffix(".py") for path in (PROJECT / "tuning").iterdir()} - {"__init__", "__pycache__"}
    assert set(rooms_of_tuning()) == inside


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules each of which imports all others of its group, directly or not; those of one are no circle."""
    reached: dict[str, set[str]] = {}
    for start in imports:
        seen, left = set[str](), [start]
        while left:
            new = imports.get(left.pop(), set()) - seen
            seen |= new
            left += new
        reached[start] = seen
    groups = {frozenset({one, *(other for other in seen if one in reached[other])}) for one, seen in reached.items()}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def test_no_module_imports_itself_through_others() -> None:
    modules = {module_name(path): path for path in sources(*PACKAGES)}
    imports: dict[str, set[str]] = {name: set() for name in modules}
    for name, path in modules.items():
        for imported, _ in imported_names(path, (PROJECT / path).read_text()):
            target = imported if imported in modules else imported.rpartition(".")[0]
            # A package that lists what its modules hold imports them; they may name the package's other modules.
            if target in modules and target != name and not modules[target].endswith("/__init__.py"):
                imports[name].add(target)
    assert circles(imports) == []


def test_a_circle_is_noticed() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


@pytest.mark.parametrize("path", [path for path in sources(*PACKAGES) if path.endswith("/__init__.py")])
def test_a_folder_says_what_lives_there_and_what_does_not(path: str) -> None:
    docstring = ast.get_docstring(ast.parse((PROJECT / path).read_text())) or ""
    assert len(docstring.splitlines()) >= 3, f"{path}: say in three lines what lives there and what does not"


def test_envs_is_only_ever_imported_through_rlgan() -> None:
    for path in sources("tests", "benchmarks", "examples"):
        names = {name.split(".")[0] for name, _ in imported_names(path, (PROJECT / path).read_text())}
        assert not names & {"envs", "tuning"}, path


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("envs/vocabulary.py", "from rlgan.config.config import Config"),
        ("envs/vocabulary.py", "from rlgan import config"),
        ("envs/tasks/text.py", "from ...config.config import Config"),
        ("envs/tasks/__init__.py", "from ... import config"),
        ("envs/vocabulary.py", "def late():\n    import ray"),
        ("rlgan/base/seeding.py", "from rlgan.envs.vocabulary import Vocabulary"),
        ("rlgan/base/seeding.py", "import rlgan"),
        ("rlgan/policy/credit.py", "import ray.data as data"),
        ("rlgan/policy/credit.py", "from mlflow.entities import Metric"),
        ("rlgan/policy/credit.py", "from rlgan.rollouts.collecting import collect"),
        ("rlgan/training/trainer.py", "from rlgan.workers.assembly import build_parts"),
        ("rlgan/workers/learner.py", "import mlflow"),
        ("rlgan/runs/session.py", "import ray"),
        ("rlgan/runs/run.py", "def late():\n    from rlgan.cli.main import main"),
        ("tuning/sweep.py", "import mlflow"),
        ("tuning/sweep.py", "from rlgan.cli.typed import train_command"),
        ("tuning/judge/verdict.py", "from ..search.race import race"),
        ("rlgan/policy/credit.py", "from .. import tuning"),
        ("rlgan/workers/learner.py", "from ..tuning.sweep import sweep"),
        ("rlgan/policy/credit.py", "from envs import vocabulary"),
        ("tuning/sweep.py", "from tests.support import reference"),
    ],
)
def test_an_import_the_wrong_way_is_noticed(path: str, text: str) -> None:
    assert len(import_complaints(path, text)) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("envs/tasks/text.py", "from ..vocabulary import Vocabulary"),
        ("envs/vocabulary.py", "from rlgan.base.errors import DataError"),
        ("envs/vocabulary.py", "import raymarching"),
        ("rlgan/base/files.py", "from .errors import CheckpointError"),
        ("rlgan/workers/learner.py", "from ray.rllib.core.columns import Columns"),
        ("rlgan/config/config.py", "from rlgan.envs import tasks"),
        ("rlgan/cli/tune.py", "from rlgan.tuning import sweep"),
        ("rlgan/policy/experience.py", "from rlgan.sampling.records import Rollouts"),
        ("tuning/sweep.py", "import ray\nfrom rlgan.config.config import Config"),
        ("tuning/report/page.py", "from ..judge.verdict import Verdict"),
    ],
)
def test_an_import_the_right_way_is_let_pass(path: str, text: str) -> None:
    assert import_complaints(path, text) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "import os\nos.system(f'ls {folder}')",
        "import subprocess\nsubprocess.run(command, shell=True)",
        "from pickle import loads",
        "from ray import cloudpickle",
        "import torch\ntorch.load('weights.pt')",
        "import torch as t\nt.load('weights.pt', weights_only=True)",
        "from torch import load as read\nread('weights.pt')",
        "import numpy as np\nnp.load('oracle.npz', allow_pickle=True)",
        "import numpy as np\nnp.load('oracle.npz', allow_pickle=trusted)",
        "import yaml\nyaml.load(text, yaml.Loader)",
    ],
)
def test_unpickling_is_noticed(text: str) -> None:
    assert len(pickle_complaints("rlgan/storage/checkpoint.py", text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "import pickle\npickle.loads(content)",
        "import pickle\npickle._Unpickler(file).load()",
        "import pickle as p\np.Unpickler(file).load()",
        "import shelve",
        "from ray import cloudpickle",
    ],
)
def test_the_reader_of_arrays_may_not_unpickle_either(text: str) -> None:
    assert len(pickle_complaints(RESTRICTED_READERS[0], text)) == 1
    assert pickle_complaints(RESTRICTED_READERS[0], "import pickle\nclass Reader(pickle._Unpickler): ...") == []


@pytest.mark.parametrize(
    "text", ["import json\njson.load(file)", "import numpy as np\nnp.load(path, allow_pickle=False)"]
)
def test_safe_reading_is_let_pass(text: str) -> None:
    assert pickle_complaints("rlgan/storage/checkpoint.py", text) == []


# Packaging


def test_every_folder_of_modules_is_packaged() -> None:
    """A folder without `__init__.py` would be missing from the wheel."""
    folders = {module_name(str(Path(path).parent / "__init__.py")) for path in sources(*PACKAGES)}
    assert folders <= set(find_packages(str(PROJECT), include=["rlgan", "rlgan.*"]))


def project_table() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return table


def direct_requirements() -> list[Requirement]:
    table = project_table()
    groups = [table["dependencies"], *table["optional-dependencies"].values()]
    return [Requirement(line) for group in groups for line in group]


def pins(python: str) -> dict[str, str]:
    """Name → version of the constraints that hold for a Python; each must be one exact public version."""
    found: dict[str, str] = {}
    for line in (PROJECT / "constraints.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"python_version": python}):
            continue
        (specifier,) = requirement.specifier
        assert specifier.operator == "==" and re.fullmatch(r"[0-9][0-9a-z.]*", specifier.version), line
        name = canonicalize_name(requirement.name)
        assert name not in found, f"{name} is pinned twice for Python {python}"
        found[name] = specifier.version
    return found


def test_supported_pythons_are_the_declared_ones() -> None:
    declared = SpecifierSet(project_table()["requires-python"])
    assert [f"3.{minor}" for minor in range(20) if f"3.{minor}" in declared] == list(SUPPORTED_PYTHONS)
    classifiers = " ".join(project_table()["classifiers"])
    assert re.findall(r"Python :: (3\.\d+)", classifiers) == list(SUPPORTED_PYTHONS)


@pytest.mark.parametrize("python", SUPPORTED_PYTHONS)
@pytest.mark.parametrize("requirement", direct_requirements(), ids=str)
def test_every_requirement_has_a_pin_within_its_range(requirement: Requirement, python: str) -> None:
    if requirement.marker is None or requirement.marker.evaluate({"python_version": python}):
        assert pins(python)[canonicalize_name(requirement.name)] in requirement.specifier


# Cluster files

CLUSTER_FILES = ("cluster.yaml", "cluster-local.yaml")
MOUNTED_FOR_INSTALLATION = {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", *PACKAGES}


def cluster_file(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((PROJECT / name).read_text())
    return config


def cluster_complaints(config: dict[str, Any]) -> list[str]:
    """What would go wrong with `ray up` and with the package on the nodes."""
    try:
        validate_config(prepare_config(copy.deepcopy(config)))
    except (Exception, SystemExit) as error:
        return [f"refused by Ray's launcher: {error!r}"]
    complaints = []
    required = ["cluster_name", "provider", "file_mounts", "setup_commands"]
    if config["provider"]["type"] != "local":
        required += ["head_node_type", "available_node_types"]
    complaints += [f"{field} is missing" for field in required if field not in config]
    if complaints:
        return complaints
    local = {source for source in config["file_mounts"].values() if not source.startswith("~")}
    complaints += [f"{source} is not mounted" for source in sorted(MOUNTED_FOR_INSTALLATION - local)]
    complaints += [f"{source} does not exist" for source in sorted(local) if not (PROJECT / source).exists()]
    if not any("-c constraints.txt" in command for command in config["setup_commands"]):
        complaints.append("setup_commands install without the constraints")
    for role, words in (("head", "--head"), ("worker", "--address=$RAY_HEAD_IP:")):
        starts = [command for command in config[f"{role}_start_ray_commands"] if "ray start" in command]
        if len(starts) != 1 or words not in starts[0] or "RAY_AUTH_MODE=token" not in starts[0]:
            complaints.append(f"{role}_start_ray_commands do not start one {role} with token authentication")
    return complaints


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("cluster.yaml", ("cluster_name",)),
        ("cluster.yaml", ("provider", "type")),
        ("cluster.yaml", ("head_node_type",)),
        ("cluster.yaml", ("available_node_types", "head")),
        ("cluster.yaml", ("available_node_types", "gpu_worker", "node_config")),
        ("cluster-local.yaml", ("provider", "type")),
        ("cluster-local.yaml", ("provider", "head_ip")),
        ("cluster-local.yaml", ("provider", "worker_ips")),
    ],
)
def test_a_cluster_file_that_lacks_a_field_is_refused(name: str, path: tuple[str, ...]) -> None:
    config = cluster_file(name)
    inner = config
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    assert cluster_complaints(config)


@pytest.mark.parametrize("name", CLUSTER_FILES)
def test_cluster_file_is_complete(name: str) -> None:
    assert cluster_complaints(cluster_file(name)) == []


def test_a_cluster_file_that_forgets_a_source_or_the_token_is_refused() -> None:
    config = cluster_file("cluster.yaml")
    without_constraints = copy.deepcopy(config)
    del without_constraints["file_mounts"]["~/rlgan-src/constraints.txt"]
    assert "constraints.txt is not mounted" in cluster_complaints(without_constraints)
    without_token = copy.deepcopy(config)
    without_token["worker_start_ray_commands"] = ["ray start --address=$RAY_HEAD_IP:6379"]
    assert any(complaint.startswith("worker_start_ray_commands") for complaint in cluster_complaints(without_token))


def kuberay_complaints(documents: list[dict[str, Any]]) -> list[str]:
    """What would go wrong with `kubectl apply`, as far as it shows without Kubernetes."""
    claims = {one["metadata"]["name"] for one in documents if one["kind"] == "PersistentVolumeClaim"}
    clusters = [one for one in documents if one["kind"] == "RayCluster"]
    if len(clusters) != 1 or clusters[0].get("apiVersion") != "ray.io/v1":
        return ["no RayCluster of ray.io/v1"]
    spec = clusters[0]["spec"]
    complaints = []
    if spec.get("rayVersion") != pins("3.11")["ray"]:
        complaints.append(f"rayVersion {spec.get('rayVersion')} is not the pinned one")
    if spec.get("authOptions") != {"mode": "token"}:
        complaints.append("no token authentication")
    groups = [spec["headGroupSpec"], *spec.get("workerGroupSpecs", [])]
    if len(groups) < 2:
        complaints.append("no workers")
    for group in groups:
        pod = group["template"]["spec"]
        if any({"image", "name", "resources"} - set(container) for container in pod["containers"]):
            complaints.append("a container without an image, a name or resources")
        volumes = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in pod.get("volumes", [])}
        mounted = {mount["name"] for container in pod["containers"] for mount in container.get("volumeMounts", [])}
        if mounted - set(volumes) or set(volumes.values()) - claims:
            complaints.append("a mount without a volume, or a volume without a claim")
    return complaints


def kuberay_documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((PROJECT / "cluster-kuberay.yaml").read_text()))


def test_the_kubernetes_manifest_is_complete() -> None:
    assert kuberay_complaints(kuberay_documents()) == []


@pytest.mark.parametrize("field", ["rayVersion", "authOptions", "workerGroupSpecs"])
def test_a_kubernetes_manifest_that_lacks_a_field_is_refused(field: str) -> None:
    documents = kuberay_documents()
    del documents[-1]["spec"][field]
    assert kuberay_complaints(documents)


def test_a_kubernetes_manifest_without_its_claim_is_refused() -> None:
    assert kuberay_complaints(kuberay_documents()[1:])


# Errors and plain words


def test_every_error_has_a_code() -> None:
    assert [f"{one.place}: {one.text}" for one in error_codes.raised() if not one.code] == []


def test_the_list_of_error_codes_is_up_to_date() -> None:
    assert error_codes.PAGE.read_text("utf-8") == error_codes.page(), "run: python -m tests.support.error_codes"


def test_sentences_are_short_and_in_plain_words() -> None:
    assert plain_words.long_sentences() == []
    assert [found for one in plain_words.said() for found in plain_words.complaints(one.place, one.text)] == []
