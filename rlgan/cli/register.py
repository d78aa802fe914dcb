"""`rlgan register ...`: the generator of a run into MLflow's model registry."""

from __future__ import annotations

import argparse
from pathlib import Path

from rlgan.base.errors import ConfigError

from .options import add_trust, positive_float
from .runs import LATEST_HELP, named


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    parser.description = (
        "Registers the generator of a run as a new version of a model in MLflow. The model can be served, and "
        "sampled with `rlgan sample --model`. It is created if it does not exist."
    )
    of_run = parser.add_argument_group("run")
    of_run.add_argument("--run", required=True, metavar="DIR", help="folder of the run" + LATEST_HELP)
    of_run.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="MLflow server of the run (default MLFLOW_TRACKING_URI, or mlruns.db beside the run)",
    )
    add_trust(of_run)
    settings = parser.add_argument_group("settings")
    settings.add_argument("--name", required=True, metavar="NAME", help="name of the model")
    settings.add_argument(
        "--temperature",
        type=positive_float,
        metavar="τ",
        help="default sampling temperature of the model (default: the one selected on validation data, or 1)",
    )
    settings.add_argument(
        "--tag", action="append", default=[], metavar="KEY=VALUE", help="tag of the version; may be given several times"
    )


def run(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Register; see `VerbModule`."""
    from rlgan.evaluation.verdict import read_verdict
    from rlgan.storage.checkpoint import read_run_config
    from rlgan.tracking import read_run, register, require_model_name

    require_model_name(options.name)
    tags = dict(_tag(one) for one in options.tag)
    folder = Path(named(options.run, "--run"))
    config, verdict = read_run_config(folder), read_verdict(folder)
    chosen = 1.0 if verdict is None or verdict.temperature is None else verdict.temperature
    temperature = chosen if options.temperature is None else options.temperature
    logged = read_run(options.tracking_uri, folder)
    own: dict[str, str] = {name: str(config[name]) for name in ("preset", "seed") if name in config}
    version = register(
        logged.uri, logged.run_id, folder, options.name, temperature, {**own, **tags}, trust_code=options.trust_code
    )
    print(f"models:/{options.name}/{version}: the generator of {folder}, at temperature {temperature:g}")
    print(f"rlgan sample --model models:/{options.name}/{version}")
    return 0


def _tag(text: str) -> tuple[str, str]:
    key, is_pair, value = text.partition("=")
    if not key or not is_pair:
        raise ConfigError(
            f"--tag {text}: is not of the form KEY=VALUE. Write, for example, --tag owner=me.",
            code="tag_form",
            fields={"tag": text},
        )
    return key, value
