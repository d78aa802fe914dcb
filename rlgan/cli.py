"""The command line: verbs, the few short options that people type, and every setting by its dotted path.

Exit status: 0 done, 1 a run that failed or could not be sent into its storage, 2 bad usage or bad input (one paragraph,
no traceback, nothing written), 130 stopped by Ctrl-C after a checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from rlgan.envs.errors import ConfigError, RlganError, UploadError, nearest

if TYPE_CHECKING:
    from rlgan.config import Config
    from rlgan.envs.tasks import OracleTask, PairsTask, TextTask
    from rlgan.run import RunRequest

STOPPED = 130

_EPILOG = """\
Every setting is an option by its path: --credit.num-rollouts 8, --generator.hidden 64, --workers.rollout 4.
An axis takes the name of a variant: --credit terminal, --baseline leave_one_out, --discriminator none.
`rlgan show-config PRESET` lists all paths with their values and meaning; `rlgan presets` lists the presets.
"""


class _Parser(argparse.ArgumentParser):
    """Usage errors as ours: one paragraph, status 2, nearest spelling."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}. `{self.prog} --help` shows what is allowed.")


class VerbModule(Protocol):
    """A module that does the work of a verb from another package."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add what the verb takes; every other option is a path into the configuration."""
        ...

    def run(self, options: argparse.Namespace, overrides: dict[str, str]) -> int:
        """Do it.

        Args:
            options: parsed.
            overrides: dotted path → text.

        Returns:
            The exit status.
        """
        ...


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb from another package.

    Attributes:
        name: as it is typed.
        help: a line.
        load: imports its module, which may take seconds; called only if the verb is typed.
        has_paths: whether it takes settings by their paths.
    """

    name: str
    help: str
    load: Callable[[], VerbModule]
    has_paths: bool = False


def main(arguments: Sequence[str] | None = None, verbs: Sequence[Verb] = ()) -> int:
    """Run a verb.

    Args:
        arguments: as typed, without the program's name; None reads the command line.
        verbs: beyond those of this package.

    Returns:
        The exit status.
    """
    try:
        return _dispatch(list(sys.argv[1:] if arguments is None else arguments), verbs)
    except UploadError as error:
        print(f"rlgan: {error}", file=sys.stderr)
        return 1
    except RlganError as error:
        print(f"rlgan: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("rlgan: interrupted", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        # Nobody reads on (`rlgan presets | head -1`). Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _dispatch(arguments: list[str], more: Sequence[Verb]) -> int:
    parser = _Parser(
        prog="rlgan", description="Adversarial training of discrete-sequence generators.", allow_abbrev=False
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)
    _add_train(verbs)
    _add_sample(verbs)
    evaluate = verbs.add_parser("evaluate", help="measure a trained generator on its test split", allow_abbrev=False)
    evaluate.add_argument("--run", required=True, metavar="DIR", help="folder of the run, or its URI in a storage")
    evaluate.add_argument(
        "--temperature", type=_positive_float, default=1.0, metavar="τ", help="divides logits (default 1)"
    )
    evaluate.add_argument(
        "--num-sequences", type=_positive_int, default=None, metavar="N", help="default: the run's own"
    )
    evaluate.add_argument(
        "--adversarial",
        action="store_true",
        help="let a fresh evaluator tell it from people, too, which takes minutes: generators of pairs, where the "
        "run's own settings do not ask for it already",
    )
    evaluate.add_argument(
        "--language-model",
        action="store_true",
        help="train language models of the text and of its samples for LM and reverse-LM scores, too, which takes "
        "minutes; likewise",
    )
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    verbs.add_parser("presets", help="list the presets", allow_abbrev=False)
    _add_show_config(verbs)
    added = {verb.name: verb for verb in more}
    for verb in more:
        epilog = _EPILOG if verb.has_paths else None
        form = argparse.RawDescriptionHelpFormatter
        parser_of_verb = verbs.add_parser(
            verb.name, help=verb.help, epilog=epilog, formatter_class=form, allow_abbrev=False
        )
        if arguments and arguments[0] == verb.name:
            verb.load().add_options(parser_of_verb)
    if arguments and not arguments[0].startswith("-") and arguments[0] not in verbs.choices:
        raise ConfigError(
            f"{arguments[0]!r}: not a verb. Verbs are {', '.join(verbs.choices)}.{nearest(arguments[0], verbs.choices)}"
        )
    overrides: dict[str, str] = {}
    with_paths = {"train", "show-config"} | {verb.name for verb in more if verb.has_paths}
    if arguments and arguments[0] in with_paths:
        arguments, overrides = _split_overrides(arguments, verbs.choices[arguments[0]])
    options = parser.parse_args(arguments)
    if options.verb is None:
        parser.print_help()
        return 2
    if options.verb in added:
        return added[options.verb].load().run(options, overrides)
    if options.verb == "train":
        return _train(options, overrides)
    if options.verb == "show-config":
        return _show_config(options, overrides)
    if options.verb == "presets":
        return _presets()
    return _sample(options) if options.verb == "sample" else _evaluate(options)


def _add_train(verbs: Any) -> None:
    train = verbs.add_parser(
        "train",
        help="train a generator (no preset: quick)",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_choices(train)
    train.add_argument("--out", metavar="DIR", help="local folder of the run (default runs/PRESET-TASK-TIME)")
    train.add_argument("--resume", metavar="DIR", help="go on with the run in this folder, or at this URI in a storage")
    train.add_argument(
        "--storage",
        metavar="WHERE",
        help="folder that holds run folders, in place of runs. A URI (s3://BUCKET/runs, gs://…, file:///…, …) is a "
        "second place: the run works in its local folder, and is sent there under its name after each checkpoint",
    )
    train.add_argument("--dry-run", action="store_true", help="resolve and check the configuration and data, then stop")


def _add_sample(verbs: Any) -> None:
    sample = verbs.add_parser("sample", help="print sequences of a trained generator", allow_abbrev=False)
    origin = sample.add_mutually_exclusive_group(required=True)
    origin.add_argument("--run", metavar="DIR", help="folder of the run, or its URI in a storage")
    origin.add_argument(
        "--model", metavar="URI", help="a registered generator: models:/NAME/VERSION or models:/NAME@ALIAS"
    )
    sample.add_argument("--num", type=_positive_int, default=None, metavar="N", help="how many (default 10)")
    sample.add_argument(
        "--input", default=None, metavar="FILE", help="sources to write for, one a line: generators of pairs"
    )
    sample.add_argument(
        "--encoding",
        default=None,
        metavar="NAME",
        help="with --input: character encoding of that file (default: that of the files it was trained on)",
    )
    sample.add_argument(
        "--beam",
        type=_positive_int,
        default=None,
        metavar="K",
        help="with --input: the likeliest that K beams find",
    )
    sample.add_argument(
        "--length-exponent",
        type=_not_negative_float,
        default=None,
        metavar="α",
        help="with --beam: log-probabilities are divided by ((5 + length)/6)^α (default 0)",
    )
    sample.add_argument(
        "--replace-unknown",
        action="store_true",
        help="with --input: the word of the source that was most attended to stands where a word is unknown",
    )
    sample.add_argument(
        "--temperature",
        type=_positive_float,
        default=None,
        metavar="τ",
        help="divides logits (default 1; with --model, the registered one)",
    )
    sample.add_argument("--seed", type=int, default=None, help="of the draw (default 0)")
    sample.add_argument(
        "--tracking-uri",
        default=None,
        metavar="URI",
        help="MLflow server that has --model (default MLFLOW_TRACKING_URI, else runs/mlruns.db)",
    )


def _add_show_config(verbs: Any) -> None:
    show = verbs.add_parser("show-config", help="print every setting of a preset", epilog=_EPILOG, allow_abbrev=False)
    _add_choices(show)
    show.add_argument("--json", action="store_true", help="print JSON, as --config reads it")


def _add_choices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("preset", nargs="?", metavar="PRESET", help="see `rlgan presets` (default quick)")
    add_task_options(parser)
    parser.add_argument("--seed", type=int, help="seed of the run (default 0)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="JSON of settings, between preset and options")


def _positive_int(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number, at least 1")
    return int(text)


def _positive_float(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: must be a positive number")
    return value


def _not_negative_float(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: must be 0 or a positive number")
    return value


def _split_overrides(arguments: Sequence[str], parser: argparse.ArgumentParser) -> tuple[list[str], dict[str, str]]:
    """Take `--path VALUE` and `--path=VALUE` out of the arguments: every option that the verb itself does not have."""
    own, overrides = [], {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        name, has_value, value = word.partition("=")
        if not name.startswith("--") or name == "--" or name in parser._option_string_actions:
            own.append(word)
            # The value of an own option is not to be looked at: it may begin with dashes or be the name of a preset.
            action = parser._option_string_actions.get(name)
            if action is not None and action.nargs != 0 and not has_value and words:
                own.append(words.pop(0))
            continue
        path = name[2:]
        if not has_value:
            if not words or words[0].startswith("--"):
                raise ConfigError(f"{name}: needs a value.{_nearest_option(path)}")
            value = words.pop(0)
        overrides[path] = value
    return own, overrides


def _nearest_option(path: str) -> str:
    names = ("data", "pairs", "source", "target", "tokens", "oracle-params", "seed", "out", "resume", "storage")
    return nearest(path, (*names, "config", "dry-run"))


def task_of(options: argparse.Namespace) -> OracleTask | PairsTask | TextTask | None:
    """The task that --data, --pairs, --source and --target, --tokens and --oracle-params ask for; None if none does.

    Raises:
        ConfigError: they contradict each other.
    """
    from rlgan.envs.tasks import OracleTask, TextTask

    asked = {
        "--data": options.data,
        "--pairs": options.pairs,
        "--source and --target": options.source or options.target,
        "--oracle-params": options.oracle_params,
    }
    given = [name for name, value in asked.items() if value]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)}: a run has one task. Leave out all but one.")
    if bool(options.source) != bool(options.target):
        alone, other = ("--source", "--target") if options.source else ("--target", "--source")
        raise ConfigError(
            f"{alone}: has no {other} beside it. Line i of one belongs to line i of the other: give both. One file "
            "of sources and targets is --pairs."
        )
    if options.tokens and (not given or options.oracle_params):
        raise ConfigError("--tokens: says how --data is cut, and there is no --data. The same goes for pairs.")
    if options.data:
        if options.tokens == "bpe":
            raise ConfigError("--tokens bpe: pieces of words are for pairs alone. With --data choose word or char.")
        return TextTask(data=options.data, **({"tokens": options.tokens} if options.tokens else {}))
    if options.pairs or options.source:
        return _pairs_task(options)
    return OracleTask(params=options.oracle_params) if options.oracle_params else None


def _pairs_task(options: argparse.Namespace) -> PairsTask:
    from pydantic import ValidationError

    from rlgan.envs.tasks import PairsTask

    if options.source:
        files = {"kind": "parallel", "source": options.source, "target": options.target}
    else:
        suffixes = [suffix for suffix in Path(options.pairs).suffixes if suffix != ".gz"]
        kind = {".tsv": "tsv", ".jsonl": "jsonl"}.get(suffixes[-1] if suffixes else "")
        if kind is None:
            raise ConfigError(
                f"--pairs {options.pairs}: is named neither .tsv (a source, a tab and a target a line) nor .jsonl (a "
                "JSON object a line), with or without .gz after it. Name the file so, or give two files with --source "
                "and --target."
            )
        files = {"kind": kind, "data": options.pairs}
    settings: dict[str, Any] = {"input": files}
    if options.tokens:
        tokens = {"kind": options.tokens}
        settings["vocabulary"] = {"kind": "separate", "source": tokens, "target": tokens}
    try:
        return PairsTask.model_validate(settings)
    except ValidationError as error:
        from rlgan.overrides import told

        raise ConfigError(told(error)) from None


def add_task_options(parser: argparse.ArgumentParser) -> None:
    """Options for `task_of`."""
    parser.add_argument("--data", metavar="FILE", help="a text task from this file, one sequence a line, plain or .gz")
    parser.add_argument(
        "--pairs",
        metavar="FILE",
        help="a task of sources and targets from this file: .tsv (two columns) or .jsonl (fields source and target), "
        "plain or .gz",
    )
    parser.add_argument("--source", metavar="FILE", help="the same from two files: sources, one a line, plain or .gz")
    parser.add_argument("--target", metavar="FILE", help="and their targets, line by line")
    parser.add_argument(
        "--tokens",
        choices=("word", "char", "bpe"),
        help="what a token of --data or of pairs is (default word; bpe, pieces of words, for pairs alone)",
    )
    parser.add_argument("--oracle-params", metavar="FILE.npz", help="an oracle task from these LSTM parameters")


def resolve(options: argparse.Namespace, overrides: Mapping[str, Any], base: Config | None = None) -> Config:
    """The configuration that the command line asks for: preset, then file, then options.

    Args:
        options: parsed short options.
        overrides: dotted path → text.
        base: takes the place of the preset (a run that is resumed).

    Raises:
        ConfigError: anything unknown, contradictory or without effect.
    """
    from rlgan.effects import require_effect
    from rlgan.overrides import ConfigPathError, changed, flatten, merge, override
    from rlgan.presets import PRESETS, preset

    task = task_of(options)
    label, named = overrides.get("preset"), options.preset or ("quick" if base is None else base.preset)
    if label in PRESETS and label != named:
        raise ConfigError(
            f"--preset {label}: is a label, and the run would be {named!r}. Name the preset without --preset: rlgan "
            f"{options.verb} {label}."
        )
    config = base if base is not None and options.preset is None else preset(options.preset or "quick", task)
    if base is not None and options.preset is None and task is not None:
        config = config.model_copy(update={"task": task})
    changes: dict[str, Any] = {}
    if options.config is not None:
        changes |= flatten(_read_config(options.config))
    if options.seed is not None:
        overrides = {**overrides, "seed": options.seed}
    try:
        asked = override(config, merge(changes, overrides))
    except ConfigPathError as error:
        option = _nearest_option(error.path) if "." not in error.path else ""
        raise ConfigError(f"{error}{option if option not in str(error) else ''}") from None
    # A file may be of a whole configuration, what it does not need included; and need not stand by itself.
    require_effect(changed(config, changes), asked, merge({}, overrides))
    return asked


def _read_config(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {path}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise ConfigError(f"--config {path}: not JSON ({error}).") from None
    if not isinstance(values, dict):
        raise ConfigError(f"--config {path}: holds {type(values).__name__}, expected an object of settings.")
    return values


def _train(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    request = _resumed(options, overrides) if options.resume is not None else _new(options, overrides)
    from rlgan.run import dry_run, run

    if options.dry_run:
        return dry_run(request)
    return STOPPED if run(request).stopped else 0


def _new(options: argparse.Namespace, overrides: dict[str, str]) -> RunRequest:
    from rlgan.storage import is_uri, open_place

    config = resolve(options, overrides)
    out, runs_dir, storage = _local_folder(options.out), Path("runs"), None
    if options.storage is not None and is_uri(options.storage):
        storage = open_place(options.storage, "--storage")
        if out is not None:
            storage.below(out.resolve().name)  # says now if this cannot be a name there
    elif options.storage is not None:
        if out is not None:
            raise ConfigError(
                f"--out {out} and --storage {options.storage}: --out is the run's own folder, and a --storage that is "
                "no URI the folder which holds it. Leave out one."
            )
        if not options.storage:
            raise ConfigError("--storage: is empty. Name a folder or a URI, or leave the option out for runs.")
        if re.match(r"[A-Za-z0-9+.-]+:", options.storage):
            raise ConfigError(
                f"--storage {options.storage}: a URI has two slashes after its colon (s3://BUCKET/runs). A folder of "
                f"this name is ./{options.storage}"
            )
        runs_dir = Path(options.storage)
    # Ray and RLlib take seconds to import; what was typed wrong has been said by now.
    from rlgan.run import RunRequest

    return RunRequest(config, out, resume=False, runs_dir=runs_dir, storage=storage)


def _resumed(options: argparse.Namespace, overrides: dict[str, str]) -> RunRequest:
    from rlgan.checkpoint import CONFIG, read_run_config
    from rlgan.overrides import from_dict
    from rlgan.storage import is_uri, open_place

    if is_uri(options.resume):
        if options.storage is not None:
            raise ConfigError("--storage: has no effect beside --resume of a URI, which says it. Leave out one.")
        storage = open_place(options.resume, "--resume")
        saved = storage.config()
        run_dir = _local_folder(options.out) or Path("runs") / storage.name
        if (run_dir / CONFIG).exists():
            saved = read_run_config(run_dir)
    else:
        if options.out is not None:
            raise ConfigError("--out: has no effect beside --resume, which goes on in its own folder. Leave out one.")
        run_dir, storage = Path(options.resume), None
        saved = read_run_config(run_dir)
        if options.storage is not None:
            if not is_uri(options.storage):
                raise ConfigError(
                    f"--storage {options.storage}: has no effect beside --resume, which goes on in its own folder. "
                    "Leave it out, or give the URI of a storage to which the run is to be sent."
                )
            storage = open_place(options.storage, "--storage").below(run_dir.resolve().name)
    config = resolve(options, overrides, base=from_dict(saved))
    from rlgan.run import RunRequest

    return RunRequest(config, run_dir, resume=True, storage=storage)


def _local_folder(out: str | None) -> Path | None:
    from rlgan.storage import is_uri

    if out is not None and is_uri(out):
        raise ConfigError(
            f"--out {out}: is a URI, and --out names a local folder. For a shared storage give --storage."
        )
    return None if out is None else Path(out)


def _show_config(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    from rlgan.overrides import documentation, to_dict

    config = resolve(options, overrides)
    if options.json:
        print(json.dumps(to_dict(config), indent=2, ensure_ascii=False))
        return 0
    for path, value, text in documentation(config):
        print(f"{path} = {json.dumps(value, ensure_ascii=False)}")
        print(textwrap.fill(text, width=100, initial_indent="    ", subsequent_indent="    "))
    return 0


def _presets() -> int:
    from rlgan.presets import PRESETS

    width = max(map(len, PRESETS))
    for name, function in PRESETS.items():
        first_line = (function.__doc__ or "").strip().splitlines()[0]
        print(f"{name:<{width}}  {first_line}")
    return 0


def _sample(options: argparse.Namespace) -> int:
    if options.input is not None and options.num is not None:
        raise ConfigError("--num: has no effect beside --input, for each of whose lines one is written. Leave it out.")
    if options.encoding is not None and options.input is None:
        raise ConfigError("--encoding: has no effect without --input. Give a file of sources, or leave it out.")
    if options.beam is not None and options.input is None:
        raise ConfigError("--beam: has no effect without --input. Give a file of sources, or leave it out.")
    if options.replace_unknown and options.input is None:
        raise ConfigError("--replace-unknown: has no effect without --input. Give a file of sources, or leave it out.")
    if options.seed is not None and options.beam is not None:
        raise ConfigError("--seed: has no effect with --beam, which draws nothing. Leave it out.")
    if options.length_exponent is not None and options.beam is None:
        raise ConfigError("--length-exponent: has no effect without --beam. Give both.")
    lines = _sample_of_run(options) if options.model is None else _sample_of_model(options)
    for line in lines:
        print(line)
    return 0


def _written(options: argparse.Namespace, folder: Path, temperature: float) -> list[str]:
    """What the generator of a folder writes: for sources, or for nothing."""
    from rlgan.envs.tasks.lines import count, known_encoding, read_lines
    from rlgan.export import Decoding, load_run_generator

    exported = load_run_generator(folder)
    if options.input is None:
        return exported.sample(options.num or 10, temperature, options.seed or 0)
    decoding = Decoding(temperature, options.beam, options.length_exponent or 0.0, options.replace_unknown)
    trained_on = "utf-8" if exported.reading is None else exported.reading.encoding
    encoding = trained_on if options.encoding is None else known_encoding(options.encoding)
    raw = read_lines(options.input, encoding, "a text file with one source a line")
    sources = list(raw.lines)
    # In the middle it is an error, for answers stand line by line.
    while sources and not sources[-1].strip():
        sources.pop()
    num_empty = len(raw.lines) - len(sources)
    skipped = [f"skipped {count(num_empty, 'empty line')} at the end"] if num_empty else []
    lines, notes = exported.answer(sources, options.input, decoding, options.seed or 0)
    for note in (*raw.notes, *skipped, *notes):
        print(f"{options.input}: {note}", file=sys.stderr)
    return lines


def _sample_of_run(options: argparse.Namespace) -> list[str]:
    from rlgan.export import GENERATOR_FILES
    from rlgan.storage import as_folder

    if options.tracking_uri is not None:
        raise ConfigError(
            "--tracking-uri: has no effect beside --run, which asks no server. Leave it out, or give --model."
        )
    temperature = 1.0 if options.temperature is None else options.temperature
    with as_folder(options.run, GENERATOR_FILES) as run_dir:
        return _written(options, run_dir, temperature)


def _sample_of_model(options: argparse.Namespace) -> list[str]:
    from rlgan.tracking import fetch, find_generator

    found = find_generator(options.tracking_uri, options.model)
    temperature = found.temperature if options.temperature is None else options.temperature
    with fetch(found.uri, found.address) as folder:  # by its version: an alias may be moved meanwhile
        return _written(options, folder, temperature)


def _evaluate(options: argparse.Namespace) -> int:
    from rlgan.checkpoint import CONFIG
    from rlgan.export import GENERATOR_FILES
    from rlgan.run import evaluate_run
    from rlgan.storage import as_folder

    with as_folder(options.run, (CONFIG, *GENERATOR_FILES)) as run_dir:
        metrics = evaluate_run(
            run_dir, options.temperature, options.num_sequences, options.adversarial, options.language_model
        )
    if options.json:
        print(json.dumps(metrics, indent=2))
        return 0
    width = max(map(len, metrics))
    for name, value in metrics.items():
        print(f"{name:<{width}}  {value:.4f}")
    return 0
