"""`rlgan train [PRESET] ...`."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlgan.base.errors import ConfigError

from .options import SHORT, Choices, add_accept_changed, add_choices, add_trust, moved_files, positive_int, resolve
from .runs import LATEST_HELP, named
from .verbs import STOPPED

if TYPE_CHECKING:
    from rlgan.runs.run import RunRequest


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    add_choices(parser)
    of_run = parser.add_argument_group("run")
    of_run.add_argument("--out", metavar="DIR", help="local folder of the run (default runs/PRESET-TASK-TIME)")
    of_run.add_argument(
        "--resume",
        metavar="DIR",
        help="resume the run in this folder, or at this URI in a storage" + LATEST_HELP,
    )
    of_run.add_argument(
        "--storage",
        metavar="WHERE",
        help=(
            "folder that contains run folders (default runs). If it is a URI (s3://BUCKET/runs, gs://…, file:///…, …), "
            "the run works in its local folder and uploads it there after each checkpoint"
        ),
    )
    add_trust(of_run)
    add_accept_changed(of_run, "with --resume: ")
    of_run.add_argument(
        "--seeds",
        type=positive_int,
        metavar="N",
        help=(
            "train N runs with consecutive seeds from --seed on, each in FOLDER/seed-…, and print a table with "
            "intervals over seeds. To continue after a stop, repeat the command with --out FOLDER"
        ),
    )
    of_run.add_argument("--dry-run", action="store_true", help="check the configuration and the data, then stop")


def run(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Train; see `VerbModule`."""
    if options.seeds is not None:
        return _with_seeds(options, overrides)
    if options.resume is not None:
        asked = Resumption.of(options, named(options.resume, "--resume"))
        request = resumed(asked, Choices.of(options), overrides)
    else:
        request = _new(options, overrides)
    from rlgan.config.paths import to_dict
    from rlgan.runs.run import dry_run
    from rlgan.runs.run import run as run_it

    from .advice import typeable

    with typeable(lambda: to_dict(request.config), SHORT):
        if options.dry_run:
            return dry_run(request)
        return STOPPED if run_it(request).stopped else 0


def _with_seeds(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    for name in ("resume", "storage", "dry_run"):
        if getattr(options, name):
            raise ConfigError(
                f"--{name.replace('_', '-')}: cannot be used with --seeds, whose runs are in one local folder. "
                "Remove one of the two. To continue, repeat the same command with --out FOLDER.",
                code="not_with_seeds",
            )
    if options.seeds == 1:
        raise ConfigError(
            "--seeds 1: an interval needs at least 2 seeds. Give 2 or more, or remove --seeds.", code="one_seed"
        )
    config = resolve(Choices.of(options), overrides)
    name = f"{config.preset}-{config.task.kind}-{time.strftime('%Y%m%d-%H%M%S')}-seeds"
    folder = _local_folder(options.out) or Path("runs") / name
    from rlgan.config.paths import to_dict
    from rlgan.runs.seeds import run_seeds

    from .advice import typeable

    with typeable(lambda: to_dict(config), SHORT):
        return 0 if run_seeds(config, folder, options.seeds, lambda line: print(line, flush=True)) else STOPPED


def _new(options: argparse.Namespace, overrides: dict[str, str]) -> RunRequest:
    from rlgan.storage.places import is_uri, open_place

    if options.trust_code:
        raise ConfigError(
            "--trust-code: has no effect without --resume, because a new run uses only code that you name. Remove it.",
            code="trust_code_without_resume",
        )
    if options.accept_changed_plugins:
        raise ConfigError(
            "--accept-changed-plugins: has no effect without --resume. Remove it.",
            code="accept_changed_without_resume",
            fields={"option": "accept_changed_plugins"},
        )
    config = resolve(Choices.of(options), overrides)
    out, runs_dir, storage = _local_folder(options.out), Path("runs"), None
    if options.storage is not None and is_uri(options.storage):
        storage = open_place(options.storage, "--storage")
        if out is not None:
            storage.below(out.resolve().name)  # says now if this cannot be a name there
    elif options.storage is not None:
        if out is not None:
            raise ConfigError(
                f"--out {out} and --storage {options.storage}: --out is the folder of the run itself, a --storage "
                "that is not a URI is its parent folder. Remove one of the two.",
                code="out_and_storage",
                fields={"out": out},
            )
        if not options.storage:
            raise ConfigError(
                "--storage: is empty. Give a folder or a URI, or remove the option to use runs.", code="storage_empty"
            )
        if re.match(r"[A-Za-z0-9+.-]+:", options.storage):
            raise ConfigError(
                f"--storage {options.storage}: a URI needs two slashes after its colon (s3://BUCKET/runs). For a "
                f"folder with this name give ./{options.storage}",
                code="storage_slashes",
                fields={"storage": options.storage},
            )
        runs_dir = Path(options.storage)
    # Ray and RLlib take seconds to import; what was typed wrong has been said by now.
    from rlgan.runs.run import RunRequest

    return RunRequest(config, out, resume=False, runs_dir=runs_dir, storage=storage)


@dataclass(frozen=True, slots=True)
class Resumption:
    """A run to go on with.

    Attributes:
        run: its folder, or its URI in a storage.
        out: local folder of one that lies in a storage.
        storage: URI of a storage for one that lies in a folder.
        trust_code: see `RunRequest`, also for the next.
        accept_changed_plugins: see there.
    """

    run: str
    out: str | None
    storage: str | None
    trust_code: bool
    accept_changed_plugins: bool

    @classmethod
    def of(cls, options: argparse.Namespace, run: str) -> Resumption:
        """What was parsed, of a run by its name."""
        return cls(run, options.out, options.storage, options.trust_code, options.accept_changed_plugins)


def resumed(asked_for: Resumption, choices: Choices, overrides: Mapping[str, str]) -> RunRequest:
    """The request to go on with a run.

    Args:
        asked_for: the run, and how.
        choices: what else is said of its configuration, such as where its files lie now.
        overrides: dotted path → text.

    Raises:
        RlganError: there is no such run, or it is asked for with what it does not take.
    """
    from rlgan.config.paths import from_kept
    from rlgan.runs.data import RUN_DATA, file_options, kept_data, located, parsed_data, with_files
    from rlgan.storage.checkpoint import CONFIG, read_run_config
    from rlgan.storage.places import is_uri, open_place

    if is_uri(asked_for.run):
        if asked_for.storage is not None:
            raise ConfigError(
                "--storage: has no effect when --resume is a URI. Remove one of the two.",
                code="storage_beside_resume_uri",
            )
        storage = open_place(asked_for.run, "--resume")
        saved = storage.config()
        run_dir = _local_folder(asked_for.out) or Path("runs") / storage.name
        asked = f"--resume {asked_for.run}"
        if (run_dir / CONFIG).exists():
            saved = read_run_config(run_dir)
            kept = kept_data(run_dir, asked)
        elif RUN_DATA in storage.sizes():
            kept = parsed_data(storage.read(RUN_DATA), run_dir, asked, f"{storage.uri}: {RUN_DATA}")
        else:
            kept = kept_data(run_dir, asked)  # of an older version: nothing is known
    else:
        if asked_for.out is not None:
            raise ConfigError(
                "--out: has no effect on a run that is given by its folder, where it continues. Remove it.",
                code="out_beside_resume",
            )
        run_dir, storage = Path(asked_for.run), None
        saved, kept = read_run_config(run_dir), kept_data(run_dir, f"--resume {run_dir}")
        if asked_for.storage is not None:
            if not is_uri(asked_for.storage):
                raise ConfigError(
                    f"--storage {asked_for.storage}: has no effect on a run that is given by its folder, where it "
                    "continues. Remove it, or give the URI of a storage to upload the run to.",
                    code="storage_beside_resume",
                    fields={"storage": asked_for.storage},
                )
            storage = open_place(asked_for.storage, "--storage").below(run_dir.resolve().name)
    base = located(from_kept(saved), kept)
    if choices.preset is None:
        if choices.tokens is not None:
            raise ConfigError(
                f"--tokens: has no effect with {kept.asked}, which keeps its tokens. Remove it.",
                code="tokens_beside_resume",
            )
        # The task is that of the run, and --data says where its file lies now.
        base = with_files(base, moved_files(choices), kept.asked)
        without_files: dict[str, Any] = dict.fromkeys(file_options())
        choices = replace(choices, **without_files)
    config = resolve(choices, overrides, base=base)
    from rlgan.runs.run import RunRequest

    return RunRequest(
        config,
        run_dir,
        resume=True,
        storage=storage,
        trust_code=asked_for.trust_code,
        accept_changed_plugins=asked_for.accept_changed_plugins,
    )


def _local_folder(out: str | None) -> Path | None:
    from rlgan.storage.places import is_uri

    if out is not None and is_uri(out):
        raise ConfigError(
            f"--out {out}: is a URI, but --out needs a local folder. For a shared storage use --storage.",
            code="out_is_uri",
            fields={"out": out},
        )
    return None if out is None else Path(out)
