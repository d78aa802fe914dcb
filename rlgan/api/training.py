"""`rlgan.train`: a run begun."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlgan.base.errors import CheckpointError, ConfigError
from rlgan.base.settings import Settings
from rlgan.config.config import Config
from rlgan.config.paths import merge, to_dict
from rlgan.storage.checkpoint import CONFIG
from rlgan.storage.places import open_place

from .data import Asked, Given, task_of, with_rows
from .runs import Run
from .settings import as_task, base_of, built_callbacks, changed, flat, own_task, progress_of, sized
from .words import in_words_of_python

if TYPE_CHECKING:
    from rlgan.training.callbacks import Callback


def train(
    preset: str | Callable[..., Any] | Config = "quick",
    *,
    data: str | Path | Iterable[Any] | None = None,
    pairs: str | Path | Iterable[Any] | None = None,
    source: str | Path | Iterable[str] | None = None,
    target: str | Path | Iterable[str] | None = None,
    tokens: str | None = None,
    demonstrations: str | Path | Iterable[Any] | None = None,
    model: str | Path | None = None,
    reward: Any = None,
    generator: Any = None,
    discriminator: Any = None,
    callbacks: Sequence[Callback | type[Callback]] = (),
    out: str | Path | None = None,
    storage: str | None = None,
    seed: int | None = None,
    quiet: bool = False,
    config: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    **axes: Any,
) -> Run:
    """Train a generator, and compare it with its controls.

    Ctrl-C (in a notebook: interrupt the kernel) ends the run after a checkpoint; `Run.resume` goes on with it. Where
    Ray is already initialised, its cluster is used and left as it is.

    Args:
        preset: name of one that ships (`rlgan.presets.names()`), a function that is one, or a whole configuration.
        data: what to learn from: the path of a file with one sequence a line, row or record; or strings, one a
            sequence; or records or a table (`pandas`, `datasets`) with a column "text". Pairs are taken, too, as by
            `pairs`. What is no file is written into the run's folder. None takes the task of the preset, or of `task`.
        pairs: the path of a file of sources and targets; or (source, target) pairs; or records or a table with columns
            "source" and "target".
        source: the path of a file with a source a line, or strings; `target` beside it.
        target: what belongs to each source, likewise.
        tokens: what a token of `data` is: "word" (the default), "char", "bpe", "smiles".
        demonstrations: what a language model learns: the path of a file, or of a folder of `datasets`; or records with
            all their fields, as a list, a table or a `datasets.Dataset`; `model` beside it.
        model: folder of that language model, or its name on the hub. `data` beside it is taken as demonstrations.
        reward: what a sequence is rewarded by: a name, a function of your own or its FILE.py:NAME, a list of several,
            or a mapping of settings.
        generator: the network: a name, a class of your own, or a mapping of settings such as {"hidden": 64}.
        discriminator: the same of the discriminator.
        callbacks: see each iteration, and may end training; classes are built without arguments.
        out: folder of the run; None names one below `runs`.
        storage: URI of a shared storage where the run is kept, too.
        seed: of the run; None takes the configuration's (0).
        quiet: whether nothing is shown.
        config: path of a file of settings in YAML, TOML or JSON, which all that is given here goes before.
        settings: dotted path → value: {"schedule.g_batch": 64}.
        axes: settings by the name of an axis: a value, or a mapping of what lies below it: credit="terminal",
            schedule={"g_batch": 64}.

    Returns:
        The run, complete or stopped.

    Raises:
        RlganError: bad input, with what to do; nothing was written then.
        UploadError: the run is complete or stopped, and its folder did not get into its storage.
    """
    named = {"reward": reward, "generator": generator, "discriminator": discriminator}
    asked = {name: value for name, value in named.items() if value is not None} | axes
    if "seeds" in axes:
        raise ConfigError(
            "seeds: one call trains one run. Call rlgan.train once per seed with seed=N, and compare the runs by "
            "rlgan.compare. In a shell `rlgan train` has the option seeds, which does both.",
            code="api_several_seeds",
            fields={"seeds": axes["seeds"]},
        )
    if seed is not None:
        asked["seed"] = seed
    with in_words_of_python():
        place = None if storage is None else open_place(storage, "storage")
        given = task_of(Given(data, pairs, source, target, tokens, demonstrations, model))
        whole = asked.get("task")
        if isinstance(whole, Settings) or (isinstance(whole, Mapping) and "kind" in whole):
            if given.task is not None:
                raise _two_tasks()
            given = Asked(to_dict(whole) if isinstance(whole, Settings) else dict(whole))
            del asked["task"]
        changes = merge(flat(asked), flat(settings or {}))
        if given.task is not None and "task" in changes:
            raise _two_tasks()
        task = own_task(changes) if given.task is None else as_task(given.task)
        base = base_of(preset, task)
        resolved = changed(base, changes, config)
        run_dir = None if out is None else Path(out)
        if run_dir is not None and (run_dir / CONFIG).exists():
            raise CheckpointError(
                f"--out {run_dir}: already contains a run. Continue it with --resume {run_dir}, or use another folder.",
                code="api_out_exists",
                fields={"out": run_dir},
            )
        # Ray and RLlib take seconds to import, and what was given wrong has been said by now.
        from rlgan.runs.run import RunRequest, run

        request = RunRequest(resolved, run_dir, resume=False, storage=place)
        with with_rows(request, given) as whole:
            is_named = not isinstance(preset, Config)
            by_data = sized(base, whole.config, changes, config, quiet) if is_named else whole.config
            return Run(run(replace(whole, config=by_data), built_callbacks(callbacks), progress_of(quiet)).run_dir)


def _two_tasks() -> ConfigError:
    return ConfigError(
        "task: cannot be combined with data, which defines the task. Remove one of the two.", code="task_and_data"
    )
