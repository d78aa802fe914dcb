"""`rlgan presets`: those that there are; with a file, those for it, with the command and the time of each."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rlgan.base.errors import ConfigError

from .options import TOKENS, Choices, positive_float, task_of

if TYPE_CHECKING:
    from rlgan.envs.tasks import PairsTask, TextTask
    from rlgan.presets.sizes import DataSummary
    from rlgan.runs.recommending import Recommendation

_FILES = ("for_file", "data", "pairs", "source", "target")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    parser.description = (
        "List the presets. With --for FILE, recommend presets for a file: what the file contains, and for each "
        "preset its command and its training time on this machine, measured by short test runs."
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--for", dest="for_file", metavar="FILE", help="file of texts or of pairs; which of them is detected"
    )
    data.add_argument("--data", metavar="FILE", help="file of texts, one per line, row or record")
    data.add_argument("--pairs", metavar="FILE", help="file of sources and targets, one pair per row or record")
    data.add_argument("--source", metavar="FILE", help="file of sources, one per line")
    data.add_argument("--target", metavar="FILE", help="file of their targets, line by line")
    data.add_argument(
        "--tokens", choices=TOKENS, metavar="KIND", help="tokens: word, char, bpe, smiles or regex (default: detected)"
    )
    probe = parser.add_argument_group("probe")
    probe.add_argument(
        "--seconds", type=positive_float, metavar="N", help="time limit for all test runs together (default 24)"
    )
    probe.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    """List presets; see `VerbModule`."""
    if any(getattr(options, name) for name in _FILES):
        return _recommend(options, overrides)
    for name in ("tokens", "seconds"):
        if getattr(options, name) is not None:
            raise ConfigError(
                f"--{name}: has no effect without --for. Give a file with --for, or remove the option.",
                code="for_missing",
                fields={"option": name},
            )
    if overrides:
        raise ConfigError(
            f"--{next(iter(overrides))}: has no effect without --for. Give a file with --for, or remove the option.",
            code="setting_without_for",
            fields={"setting": next(iter(overrides))},
        )
    from rlgan.extensions import known, load
    from rlgan.presets.registry import PRESETS

    own = {name: load(name, "preset").object for name in known("preset")}
    documented = {name: (function.__doc__ or "").strip() for name, function in {**PRESETS, **own}.items()}
    lines = {name: text.partition("\n")[0] for name, text in documented.items()}
    if options.json:
        print(json.dumps(lines, indent=2, ensure_ascii=False))
        return 0
    width = max(map(len, lines))
    for name, line in lines.items():
        print(f"{name:<{width}}  {line}")
    return 0


# ------------------------------------------------------------------------------------------------------ for a file


def _recommend(options: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    from contextlib import closing

    from rlgan.base.activity import stage
    from rlgan.presets.own_data import summary_of_data
    from rlgan.runs.data import new_task
    from rlgan.runs.progress import Progress
    from rlgan.runs.recommending import PROBE_S, described, how_measured, own_reward_note, recommended, shown

    progress = Progress(lines=sys.stderr)
    with closing(progress), progress.watching():
        with stage("data", "reading data"):
            settings = _task(options, overrides)
            data = summary_of_data(settings)
            assert data is not None  # texts and pairs: their distribution is never known
            task = new_task(settings)
        words = _data_words(settings, overrides)
        if not options.json:
            print(*described(data, settings, task), "", sep="\n", flush=True)
        found = []
        for one in recommended(settings, task, overrides, options.seconds or PROBE_S):
            found.append(one)
            if not options.json:
                print(*shown(one, _command(one, words)), "", sep="\n", flush=True)
    if options.json:
        print(json.dumps(_as_json(data, settings, found, words), indent=2, ensure_ascii=False))
    else:
        print(*own_reward_note(found), "", *how_measured(options.seconds or PROBE_S), sep="\n")
    return 0


def _task(options: argparse.Namespace, overrides: Mapping[str, str]) -> TextTask | PairsTask:
    """The task that the file or files are for, with the tokens that they seem to be of where none are named."""
    from rlgan.config.paths import merge
    from rlgan.runs.recommending import recognised

    given = [name for name in ("for_file", "data", "pairs", "source") if getattr(options, name)]
    if len(given) > 1:
        names = " and ".join("--for" if name == "for_file" else f"--{name}" for name in given)
        raise ConfigError(f"{names}: a run has one task. Keep only one of them.", code="several_data_files")
    named = {name: getattr(options, name) for name in ("data", "pairs", "source", "target", "tokens")}
    # Where each record has one text it is no pair.
    meant = [{"data": options.for_file}, {"pairs": options.for_file}] if options.for_file else [{}]
    tasks = [task_of(Choices(**{**named, **one})) for one in meant]
    return recognised([task for task in tasks if task is not None], merge({}, overrides), options.tokens is not None)


def _data_words(settings: TextTask | PairsTask, overrides: Mapping[str, str]) -> list[str]:
    """The options that name the data, as they are typed behind `rlgan train PRESET`."""
    from rlgan.base.settings import IsFile, facts_of
    from rlgan.runs.recommending import TOKENS_OF_SIDES, named_tokens

    files = [(fact.option, name) for _, fact, name in facts_of(settings, IsFile) if fact.option and name is not None]
    words = [word for option, name in files for word in (f"--{option}", str(name))]
    tokens, kinds = named_tokens(settings)
    words += ["--tokens", tokens] if tokens != "word" and tokens is not None else []
    words += [word for path, kind in kinds.items() for word in (f"--{path}", kind)]
    for path, value in overrides.items():
        if path.replace("-", "_") not in TOKENS_OF_SIDES:
            words += [f"--{path}={value}"] if value.startswith("-") else [f"--{path}", value]
    return words


def _command(one: Recommendation, words: Sequence[str]) -> str:
    return shlex.join(["rlgan", "train", one.preset, *words])


def _as_json(
    data: DataSummary, settings: TextTask | PairsTask, found: Sequence[Recommendation], words: Sequence[str]
) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "task": settings.kind,
        "data": asdict(data),
        "presets": [
            {
                "preset": one.preset,
                "purpose": one.purpose,
                "command": None if one.refusal else _command(one, words),
                "seconds": one.seconds,
                "measured": list(one.measured),
                "refusal": one.refusal or None,
            }
            for one in found
        ],
    }
