"""`rlgan presets`: those that there are; with a file, those for it, with the command and the time of each."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rlgan.base.errors import ConfigError

from .options import TOKENS, add_task_options, positive_float, task_of

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
    from rlgan.runs.recommending import PROBE_S, recommended

    progress = Progress(lines=sys.stderr)
    with closing(progress), progress.watching():
        with stage("data", "reading data"):
            settings = _task(options, overrides)
            data = summary_of_data(settings)
            assert data is not None  # texts and pairs: their distribution is never known
            task = new_task(settings)
        words = _data_words(settings, overrides)
        if not options.json:
            print(*_described(data, settings, task.notes), sep="\n", flush=True)
        found = []
        for one in recommended(settings, task, overrides, options.seconds or PROBE_S):
            found.append(one)
            if not options.json:
                print(*_shown(one, words), sep="\n", flush=True)
    if options.json:
        print(json.dumps(_as_json(data, settings, found, words), indent=2, ensure_ascii=False))
    else:
        print(_how(options.seconds or PROBE_S))
    return 0


def _task(options: argparse.Namespace, overrides: Mapping[str, str]) -> TextTask | PairsTask:
    """The task that the file or files are for, with the tokens that they seem to be of where none are named."""
    from rlgan.base.errors import DataError
    from rlgan.config.paths import ConfigPathError, merge, override
    from rlgan.envs.tasks.recognition import with_tokens
    from rlgan.presets.registry import preset

    given = [name for name in ("for_file", "data", "pairs", "source") if getattr(options, name)]
    if len(given) > 1:
        names = " and ".join("--for" if name == "for_file" else f"--{name}" for name in given)
        raise ConfigError(f"{names}: a run has one task. Keep only one of them.", code="several_data_files")
    named = {name: getattr(options, name) for name in ("data", "pairs", "source", "target", "tokens")}
    all_options = argparse.ArgumentParser()
    add_task_options(all_options)
    unasked = vars(all_options.parse_args([]))
    # Where each record has one text it is no pair.
    meant = [{"data": options.for_file}, {"pairs": options.for_file}] if options.for_file else [{}]
    keeps = options.tokens is not None or any(
        path == "task.tokens" or path.startswith("task.vocabulary") for path in merge({}, overrides)
    )
    refusals: list[ConfigError | DataError] = []
    for one in meant:
        task = task_of(argparse.Namespace(**{**unasked, **named, **one}))
        try:
            return with_tokens(override(preset("mle", task), overrides).task, keeps=keeps)
        except (ConfigPathError, DataError) as error:
            refusals.append(error)
    raise refusals[0]


def _data_words(settings: TextTask | PairsTask, overrides: Mapping[str, str]) -> list[str]:
    """The options that name the data, as they are typed behind `rlgan train PRESET`."""
    from rlgan.base.settings import IsFile, facts_of

    files = [(fact.option, name) for _, fact, name in facts_of(settings, IsFile) if fact.option and name is not None]
    words = [word for option, name in files for word in (f"--{option}", str(name))]
    if settings.kind == "text":
        kinds = {"task.tokens": settings.tokens.kind}
    else:
        kinds = {
            "task.vocabulary.source": settings.source_tokens.kind, "task.vocabulary.target": settings.target_tokens.kind
        }  # fmt: skip
    if len(set(kinds.values())) == 1 and "word" not in kinds.values():
        words += ["--tokens", next(iter(kinds.values()))]
    elif len(set(kinds.values())) > 1:
        words += [word for path, kind in kinds.items() if kind != "word" for word in (f"--{path}", kind)]
    for path, value in overrides.items():
        if path.replace("-", "_") not in kinds:
            words += [f"--{path}={value}"] if value.startswith("-") else [f"--{path}", value]
    return words


# ------------------------------------------------------------------------------------------------------ words


def _described(data: DataSummary, settings: TextTask | PairsTask, notes: Sequence[str]) -> list[str]:
    """What the file is, in a few lines."""
    from rlgan.presets.own_data import token_noun

    noun, total = token_noun(settings), data.num_train + data.num_valid + data.num_test
    what = "pairs of a source and a target" if data.source_vocab_size else "texts"
    lines = [
        (
            f"{total:,} {what}: {data.num_train:,} for training, {data.num_valid:,} for validation and "
            f"{data.num_test:,} for testing"
        ),
        f"about {data.mean_length:.0f} {noun} each, at most {data.max_length}; vocabulary of {data.vocab_size:,}",
    ]
    if data.source_vocab_size:
        lines.append(
            f"sources: about {data.source_mean_length:.0f} tokens each, at most {data.source_max_length}; "
            f"vocabulary of {data.source_vocab_size:,}"
        )
    warnings = [note for note in notes if "warning" in note]
    return [*lines, *(line for note in warnings for line in textwrap.wrap(note, 100)), ""]


def _command(one: Recommendation, words: Sequence[str]) -> str:
    return shlex.join(["rlgan", "train", one.preset, *words])


def _shown(one: Recommendation, words: Sequence[str]) -> list[str]:
    if one.refusal:
        return [*textwrap.wrap(f"{one.preset}: does not fit this data: {one.refusal}", 100, subsequent_indent="  "), ""]
    time = textwrap.wrap(_time(one), 100, initial_indent="  ", subsequent_indent="  ")
    return [f"{one.preset}: {one.purpose}", f"  {_command(one, words)}", *time, ""]


def _time(one: Recommendation) -> str:
    """How long it takes at most, and how that is known."""
    from rlgan.runs.progress import in_words

    assert one.seconds is not None
    of_all = ("likelihood", *(("table", "discriminator", "adversarial") if _has_adversary(one) else ("table",)))
    guessed = [kind for kind in of_all if kind not in one.measured]
    note = (
        (
            f" ({', '.join(guessed)} estimated from the size, because the time for test runs was used up; increase "
            "--seconds)"
        )
        if guessed
        else ""
    )
    return f"at most {in_words(one.seconds)} on this machine{note}"


def _has_adversary(one: Recommendation) -> bool:
    return one.config is not None and one.config.has_adversary


def _how(seconds: float) -> str:
    return "\n".join(
        textwrap.wrap(
            (
                "Times are estimates: short test runs on this machine, at its current load, multiplied by the number "
                "of steps in a whole run. That includes all training epochs, although training ends early when "
                "validation stops improving, and the final table with its controls. The log of a run lists its sizes. "
                f"The test runs took at most {seconds:g} s."
            ),
            100,
        )
    )


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
