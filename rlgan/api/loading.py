"""Runs that exist: loaded, compared, their discriminator as a reward."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rlgan.base.errors import ConfigError
from rlgan.runs.reward_function import reward_of_run
from rlgan.storage.checkpoint import read_run_config
from rlgan.storage.places import is_uri
from rlgan.tracking import fetch as fetch_model
from rlgan.tracking import find_generator

from .runs import Fetched, Run, fetched
from .words import in_words_of_python

if TYPE_CHECKING:
    import pandas

    from rlgan.policy.adversarial_reward import AdversarialReward
    from rlgan.policy.reward_base import LogitMap


def load(source: str | Path, *, trust_code: bool = False, tracking_uri: str | None = None) -> Run:
    """A run that exists, or a registered generator.

    Args:
        source: folder of a run, its URI in a storage, or models:/NAME/VERSION or models:/NAME@ALIAS.
        trust_code: whether code of somebody's own that came along may be executed; see `rlgan.extensions.admit`.
        tracking_uri: of the MLflow server that has the model; None takes MLFLOW_TRACKING_URI, else runs/mlruns.db.

    Raises:
        CheckpointError: there is no run.
        StorageError: the storage cannot be read.
        TrackingError: the server cannot be reached, or has no such model.
    """
    address = str(source)
    with in_words_of_python():
        if address.startswith("models:/"):
            found = find_generator(tracking_uri, address)
            return Run(
                Fetched(lambda stack: stack.enter_context(fetch_model(found.uri, found.address))),
                source=found.address,
                temperature=found.temperature,
                trust_code=trust_code,
                tracking_uri=tracking_uri,
            )
        if is_uri(address):
            return Run(fetched(address), source=address, trust_code=trust_code)
        read_run_config(Path(source))
        return Run(Path(source), trust_code=trust_code)


def compare(*runs: Run | str | Path) -> pandas.DataFrame:
    """Final tables of runs, one below the other.

    Args:
        runs: at least one, each with a final table.

    Returns:
        The rows of `Run.table`, with the run's folder or address in the first column, "run".

    Raises:
        ConfigError: no run is given.
        CheckpointError: a run has no table yet.
    """
    import pandas

    if not runs:
        raise ConfigError("compare: no run is given. Give at least one run or folder of a run.", code="compare_no_run")
    loaded = [one if isinstance(one, Run) else load(one) for one in runs]
    tables = []
    for one in loaded:
        table = one.table
        table.insert(0, "run", one.source)
        tables.append(table)
    return pandas.concat(tables, ignore_index=True)


def discriminator_reward(
    run: Run | str | Path,
    reward: LogitMap | str | None = None,
    tracking_uri: str | None = None,
    *,
    trust_code: bool = False,
) -> AdversarialReward:
    """The discriminator of a run as the reward function of an environment.

    Args:
        run: the run, its folder, or models:/NAME/VERSION.
        reward: map of the logit, or its name: "logit" is the raw one; None takes the run's own.
        tracking_uri: of the MLflow server that has the model.
        trust_code: whether code that came along may be executed, as for `load`; a run that was loaded so is trusted.

    Returns:
        A function of tokens (B, T) and mask (B, T) to rewards (B,), with the `space` of its sequences.

    Raises:
        CheckpointError: there is no discriminator.
        ConfigError: no such map; or none is asked for, and the run's reward is no map of the logit alone.
    """
    with in_words_of_python():
        if isinstance(run, Run):
            return run.reward(reward, tracking_uri, trust_code=trust_code)
        return reward_of_run(run, reward, tracking_uri, trust_code=trust_code)
