"""Generators in MLflow's model registry: put there to be served, and fetched to be sampled from.

A registered generator is a model of MLflow's "models from code": two data files, a script (`served_model`) and a copy
of this package. It loads where rlgan is not installed, and nothing in it is a pickle. A network of the user's own has
its source in the data files, and what it imports goes along: as a requirement, or as a copy of a package that no index
has. What is fetched are the data files alone: code of a registry is run by those who serve it, not by us.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version as installed_version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rlgan.base.errors import CheckpointError, ConfigError, RlganError, TrackingError, nearest
from rlgan.extensions import dependencies_of, plugins_in
from rlgan.storage.bases import BASES
from rlgan.storage.discriminator_export import DISCRIMINATOR_FILES
from rlgan.storage.export import (
    GENERATOR_FILES,
    NUMBER,
    asked_by,
    base_of_generator,
    condition_names_of,
    condition_of,
    load_run_generator,
)

from .addresses import tracking_uri, without_password
from .connection import asking, first_line, is_unknown, listed

REQUIREMENTS = ("mlflow", "torch", "numpy", "pandas", "pydantic", "safetensors", "gymnasium", "typing_extensions")
"""Packages without which a registered generator cannot answer; its versions are those that are installed here."""

REQUIREMENTS_OF_LANGUAGE_MODELS = ("transformers", "peft", "tokenizers", "huggingface_hub", "jinja2")
"""Those that a generator with the prompts and tokens of a language model needs besides."""

_MODEL = "generator"  # its name among the models of the run
_SCRIPT = Path(__file__).with_name("served_model.py")
_MOST_LETTERS = 4900  # of a description or tag, of 5,000 that MLflow takes
_ADDRESS = re.compile(r"models:/([^/@:]+)(?:/([0-9]+)|@([^/@]+))")


@dataclass(frozen=True, slots=True)
class RegisteredGenerator:
    """A version of a registered model.

    Attributes:
        name: of the model.
        version: of it, from 1.
        run_id: of the MLflow run that it came from; None where nobody said.
        temperature: at which it samples unless another is asked for.
        tags: of the version.
        uri: of the server; it may hold a password, and is not shown.
    """

    name: str
    version: int
    run_id: str | None
    temperature: float
    tags: dict[str, str]
    uri: str = field(repr=False)

    @property
    def address(self) -> str:
        """As `fetch`, `rlgan sample --model` and MLflow take it."""
        return f"models:/{self.name}/{self.version}"


def register(
    uri: str | None,
    run_id: str,
    generator_dir: Path,
    name: str,
    temperature: float,
    tags: Mapping[str, str],
    verdict: str | None = None,
    *,
    trust_code: bool = False,
) -> int:
    """Log the generator of a run with an MLflow run, and register it as a new version of a model.

    The pages of the model and of the version say of which run it is, what that was trained with and on, and how it did.

    Args:
        uri: of the server; None takes MLFLOW_TRACKING_URI, else runs/mlruns.db.
        run_id: of the MLflow run that it belongs to.
        generator_dir: folder that holds the generator, such as that of a run.
        name: of the registered model; made if there is none.
        temperature: at which it samples unless a request says otherwise; divides the logits.
        tags: of the version.
        verdict: how it did, in a sentence or two; None takes what the run itself says.
        trust_code: whether code that came along with the folder may be executed; see `rlgan.extensions.admit`.

    Returns:
        The version, from 1.

    Raises:
        CheckpointError: the folder holds no generator that can be read.
        ConfigError: the name or the temperature cannot be, or the network is code that cannot go along.
        TrackingError: the server cannot be reached, has no such run, or refuses.
    """
    if not 0.0 < temperature < math.inf:
        raise ConfigError(
            f"temperature={temperature}: must be a positive number.",
            code="registry_temperature",
            fields={"temperature": temperature},
        )
    require_model_name(name)
    # What cannot be read must not be served.
    settings = load_run_generator(generator_dir, trust_code=trust_code).settings
    own = dependencies_of(plugins_in(settings))
    with asking(tracking_uri(uri, Path("runs"))) as client, TemporaryDirectory(prefix="rlgan-") as temporary:
        from mlflow.entities import LoggedModelOutput

        run = _run(client, run_id)
        facts = _facts(client, run, temperature, tags, verdict)
        model = client.create_logged_model(
            run.info.experiment_id,
            name=_MODEL,
            source_run_id=run_id,
            tags={key: _cut(value) for key, value in facts.items()},
            params={"temperature": f"{temperature:g}"},
            model_type="sequence generator",
        )
        folder = Path(temporary) / "model"
        needs = REQUIREMENTS + (REQUIREMENTS_OF_LANGUAGE_MODELS if settings.kind == "causal_lm" else ())
        installed = (f"{one}=={installed_version(one).partition('+')[0]}" for one in needs)
        requirements = list(dict.fromkeys([*installed, *own.requirements]))
        code = _copied(Path(temporary) / "code", [Path(__file__).parents[1], *own.packages])
        _save(folder, code, requirements, generator_dir, temperature, model, run_id)
        client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        _make_model(client, name)
        made = client.create_model_version(
            name,
            model.artifact_location,
            run_id,
            tags={**{key: _cut(value) for key, value in facts.items()}, **tags},
            description=_page(facts, tags),
            model_id=model.model_id,
        )
        client.update_registered_model(name, _about(name, made.version, _page(facts, tags)))
        return int(made.version)


def require_model_name(name: str) -> None:
    """See to it that a model may have a name.

    Raises:
        ConfigError: it may not.
    """
    if not re.fullmatch(r"[^/@:\s][^/@:]*", name):
        raise ConfigError(
            f"name={name!r}: the name of a registered model must not contain '/', ':' or '@'. Choose another.",
            code="registry_name",
            fields={"name": name},
        )


def find_generator(uri: str | None, model: str) -> RegisteredGenerator:
    """What is registered at an address.

    Args:
        uri: as in `register`.
        model: models:/NAME/VERSION or models:/NAME@ALIAS.

    Raises:
        ConfigError: that is no such address.
        CheckpointError: what is registered there is no generator of ours.
        TrackingError: the server cannot be reached, or has no such model.
    """
    address = tracking_uri(uri, Path("runs"))
    parts = _ADDRESS.fullmatch(model)
    if parts is None:
        raise ConfigError(
            f"{model!r}: is not the address of a registered model. Give models:/NAME/VERSION or models:/NAME@ALIAS.",
            code="registry_address",
            fields={"model": model},
        )
    with asking(address) as client, TemporaryDirectory(prefix="rlgan-") as temporary:
        found = _version(client, address, model, *parts.groups())
        path = _download(client, address, found, "MLmodel", Path(temporary), model)
        return RegisteredGenerator(
            name=found.name,
            version=int(found.version),
            run_id=found.run_id or None,
            temperature=_temperature(path, model),
            tags=dict(found.tags),
            uri=address,
        )


@contextmanager
def fetch(uri: str | None, model: str, names: Sequence[str] = GENERATOR_FILES) -> Iterator[Path]:
    """Files of a registered generator, for as long as the context lasts. Code that lies beside them stays there.

    Args:
        uri: as in `register`.
        model: as in `find_generator`.
        names: the files; also those of the discriminator (`DISCRIMINATOR_FILES`), where its run trained one.

    Yields:
        A folder that `rlgan.storage.export.load_run_generator` reads, or `load_run_discriminator`.

    Raises:
        ConfigError: `model` is no address.
        CheckpointError: what is registered there is no generator of ours.
        TrackingError: the server cannot be reached, or has no such model.
    """
    found = find_generator(uri, model)
    with TemporaryDirectory(prefix="rlgan-") as temporary:
        with asking(found.uri) as client:
            version = client.get_model_version(found.name, str(found.version))
            for name in names:
                _download(client, found.uri, version, f"artifacts/{name}", Path(temporary), model)
            folder = Path(temporary) / "artifacts"
            if GENERATOR_FILES[1] in names and (base := base_of_generator(folder)) is not None:
                _download(client, found.uri, version, f"artifacts/{BASES}/{base.name}", Path(temporary), model)
        try:
            yield folder
        except RlganError as error:
            error.reword(str(error).replace(str(folder), model))
            raise


# ---------------------------------------------------------------------- logging


def _copied(folder: Path, packages: Sequence[Path]) -> list[Path]:
    """Copies of packages and modules in a folder: what is logged stands on its own.

    `rlgan/envs` and `rlgan/tuning` may be links, which are followed.
    """
    folder.mkdir()
    for one in packages:
        if one.is_dir():
            shutil.copytree(one, folder / one.name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copyfile(one, folder / one.name)
    return [folder / one.name for one in packages]


def _save(
    folder: Path,
    code: Sequence[Path],
    requirements: Sequence[str],
    generator_dir: Path,
    temperature: float,
    model: Any,
    run_id: str,
) -> None:
    """Write the model as MLflow keeps it."""
    import pandas
    from mlflow.models import Model, ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    weights, description = (generator_dir / name for name in GENERATOR_FILES)
    described = json.loads(description.read_text("utf-8"))
    asks = asked_by(described)
    artifacts = {"weights": str(weights.resolve()), "description": str(description.resolve())}
    if (base := base_of_generator(generator_dir)) is not None:
        # In a folder of its own, without the frozen parts of other networks of the run.
        bases = folder.parent / BASES
        bases.mkdir()
        shutil.copy(base, bases / base.name)
        artifacts["base"] = str(bases)
    # What it learned from, for whoever goes on against it; a folder of an older version has none.
    for key, name in zip(("discriminator_weights", "discriminator"), DISCRIMINATOR_FILES, strict=True):
        if (generator_dir / name).exists():
            artifacts[key] = str((generator_dir / name).resolve())
    save_model(
        path=str(folder),
        python_model=str(_SCRIPT),
        artifacts=artifacts,
        code_paths=[str(one) for one in code],
        signature=ModelSignature(
            inputs=Schema([ColSpec("long" if asks == NUMBER else "string", asks)]),
            outputs=Schema([ColSpec("string", "text")]),
            params=ParamSchema(
                [
                    ParamSpec("temperature", "double", float(temperature)),
                    ParamSpec("top_k", "long", None),
                    ParamSpec("top_p", "double", None),
                    ParamSpec("seed", "long", None),
                ]
            ),
        ),
        input_example=(
            pandas.DataFrame({asks: [2] if asks == NUMBER else [_example(described)]}),
            {"temperature": float(temperature), "seed": 0},
        ),
        pip_requirements=list(requirements),
        mlflow_model=Model(
            artifact_path=model.artifact_location, run_id=run_id, model_uuid=model.model_id, model_id=model.model_id
        ),
    )


def _example(described: Mapping[str, Any]) -> str:
    """A source that a generator can read: tokens by their names where it reads no text."""
    reading, condition = described.get("reading"), condition_of(described)
    if reading is not None and "kind" in reading:
        return "Hello"
    assert condition is not None
    names = [name for place, name in enumerate(condition_names_of(described) or ()) if place != condition["end_id"]]
    known = [name for name in names if name.isalnum()] or names
    return " ".join([known[-1]] * (condition["max_length"] if condition["end_id"] is None else 1))


def _run(client: Any, run_id: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if not is_unknown(error) and error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        raise TrackingError(
            f"MLflow at {without_password(client.tracking_uri)} has no run {run_id!r} to which a generator could "
            "belong. Give the id of an existing run.",
            code="registry_no_run",
        ) from None


def _facts(client: Any, run: Any, temperature: float, tags: Mapping[str, str], verdict: str | None) -> dict[str, str]:
    """What somebody who finds the model wants to know, from its run and the runs above it, the nearest first."""
    chain = [run]
    while (parent := chain[-1].data.tags.get("mlflow.parentRunId")) is not None and len(chain) < 5:
        chain.append(_run(client, parent))

    def first(*names: str) -> str | None:
        return next((one.data.tags[name] for one in chain for name in names if name in one.data.tags), None)

    data: list[Any] = next((inputs for one in chain if (inputs := one.inputs.dataset_inputs)), [])
    found = {
        "run": " / ".join(one.info.run_name or one.info.run_id for one in reversed(chain)),
        "preset": tags.get("preset") or first("preset"),
        "seed": tags.get("seed") or first("seed"),
        "rlgan_version": first("rlgan_version"),
        "git_commit": first("git_commit"),
        "data": ", ".join(sorted({one.dataset.name.rpartition(", ")[0] or one.dataset.name for one in data})) or None,
        "data_sha256": next((_fingerprint(one.dataset) for one in data), None),
        "temperature": f"{temperature:g}",
        "verdict": verdict if verdict is not None else run.data.tags.get("verdict"),
    }
    return {name: value for name, value in found.items() if value}


def _fingerprint(dataset: Any) -> str:
    try:
        return str(json.loads(dataset.profile)["fingerprint"])
    except (ValueError, KeyError, TypeError):  # not of ours
        return str(dataset.digest)


def _page(facts: Mapping[str, str], tags: Mapping[str, str]) -> str:
    """A description in Markdown."""
    lines = [f"A generator of discrete sequences, trained with rlgan. {facts.get('verdict', '')}".rstrip(), ""]
    lines += [f"- **{key.replace('_', ' ')}**: {value}" for key, value in facts.items() if key != "verdict"]
    lines += [f"- **{key.replace('_', ' ')}**: {value}" for key, value in tags.items() if key not in facts]
    return _cut("\n".join(lines))


def _about(name: str, version: str, page: str) -> str:
    """The description of a model: of its newest version, and how to use it."""
    use = f"Version {version} is the newest. To sample from it: `rlgan sample --model models:/{name}/{version}`"
    return f"{use}\n\n{page}"


def _cut(text: str) -> str:
    text = without_password(text)
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 1]}…"


def _make_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


# ---------------------------------------------------------------------- finding


def _version(client: Any, uri: str, model: str, name: str, version: str | None, alias: str | None) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        if version is not None:
            return client.get_model_version(name, version)
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        # An unknown alias is called an invalid value.
        if not is_unknown(error) and error.error_code != "INVALID_PARAMETER_VALUE":
            raise
    server = f"MLflow at {without_password(uri)}"
    names = {one.name: one for one in _pages(client.search_registered_models)}
    if name not in names:
        raise TrackingError(
            f"{model}: {server} has no registered model {name!r}.{nearest(name, names)} It has {listed(names)}.",
            code="no_registered_model",
            fields={"model": model},
        )
    there = [f"/{one.version}" for one in _pages(client.search_model_versions, f"name = '{name}'")]
    there += [f"@{one}" for one in client.get_registered_model(name).aliases]
    raise TrackingError(
        f"{model}: {server} has no such version of {name!r}. Existing versions are {listed(there)}.",
        code="no_model_version",
        fields={"model": model},
    )


def _pages(search: Any, condition: str | None = None) -> Iterator[Any]:
    token = None
    while True:
        page = search(filter_string=condition, page_token=token)
        yield from page
        if not (token := page.token):
            return


def _download(client: Any, uri: str, version: Any, path: str, folder: Path, model: str) -> Path:
    """One file of a registered model."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    location = client.get_model_version_download_uri(version.name, version.version)
    if location.startswith("models:/"):
        location = client.get_logged_model(location.removeprefix("models:/")).artifact_location
    try:
        fetched = get_artifact_repository(location, uri, uri).download_artifacts(path, str(folder))
    except (MlflowException, OSError) as error:
        raise CheckpointError(
            f"{model}: its file {path} cannot be downloaded from {without_password(location)} "
            f"({first_line(error)}). Give a generator that rlgan registered, and check that its files are "
            "reachable from here.",
            code="model_file_missing",
            fields={"model": model},
        ) from None
    return Path(fetched)


def _temperature(path: Path, model: str) -> float:
    from mlflow.models import Model

    signature = Model.load(str(path)).signature
    known = {one.name: one.default for one in (signature.params if signature and signature.params else [])}
    value = known.get("temperature")
    if not isinstance(value, float) or not 0.0 < value < math.inf:
        raise CheckpointError(
            f"{model}: was not registered by rlgan, because it has no parameter temperature. Give another model.",
            code="not_our_model",
            fields={"model": model},
        )
    return value
