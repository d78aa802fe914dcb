"""`rlgan sample ...`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rlgan.base.errors import ConfigError

from .options import add_trust, column, not_negative_float, positive_float, positive_int, share, truth
from .runs import LATEST_HELP, named

if TYPE_CHECKING:
    from rlgan.envs.tasks.sources import Source
    from rlgan.storage.export import ExportedGenerator

Drawing: TypeAlias = Callable[[Sequence[str]], str]
"""Texts → an SVG."""

_DRAWS = "molecules"
"""Name of the metric that draws where none is named."""

FORMATS = ("auto", "lines", "table", "jsonl", "json", "parquet", "fasta")
"""Of files, as `rlgan.envs.reading.how.FileFormat` has them: known here, for its import takes seconds."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    of_run = parser.add_argument_group("run")
    data = parser.add_argument_group("data")
    settings = parser.add_argument_group("settings")
    origin = of_run.add_mutually_exclusive_group(required=True)
    origin.add_argument("--run", metavar="DIR", help="folder of the run, or its URI in a storage" + LATEST_HELP)
    origin.add_argument(
        "--model", metavar="URI", help="a registered generator: models:/NAME/VERSION or models:/NAME@ALIAS"
    )
    settings.add_argument(
        "--num", type=positive_int, default=None, metavar="N", help="number of sequences (default 10)"
    )
    data.add_argument(
        "--input",
        default=None,
        metavar="FILE",
        help="file of sources, one per line, row or record (only for generators of pairs)",
    )
    data.add_argument(
        "--prompt",
        action="append",
        default=None,
        metavar="TEXT",
        help="prompt, instead of --input; may be given several times",
    )
    data.add_argument(
        "--column",
        type=column,
        default=None,
        metavar="NAME",
        help="with --input: column of the source in files with several columns (default: detected by well-known names)",
    )
    data.add_argument(
        "--format",
        choices=FORMATS,
        default=None,
        help="with --input: format of the file (default: detected)",
    )
    data.add_argument(
        "--encoding",
        default=None,
        metavar="NAME",
        help="with --input: character encoding of the file (default: that of the training files)",
    )
    data.add_argument(
        "--separator",
        default=None,
        metavar="TEXT",
        help="with --input: what stands between the columns of a table, such as ';' or tab (default: detected)",
    )
    data.add_argument(
        "--quotes",
        type=truth,
        default=None,
        metavar="true|false",
        help="with --input: whether cells of a table may be in double quotes (default: detected)",
    )
    data.add_argument(
        "--header",
        type=truth,
        default=None,
        metavar="true|false",
        help=(
            "with --input: whether the first row of a table, or the first line, contains column names instead of data "
            "(default: detected by well-known names)"
        ),
    )
    settings.add_argument(
        "--beam",
        type=positive_int,
        default=None,
        metavar="K",
        help="with --input: write the most likely sequence found by beam search with K beams",
    )
    settings.add_argument(
        "--length-exponent",
        type=not_negative_float,
        default=None,
        metavar="α",
        help=(
            "with --beam: exponent α of the length penalty ((5 + length)/6)^α, which divides log-probabilities "
            "(default 0)"
        ),
    )
    settings.add_argument(
        "--replace-unknown",
        action="store_true",
        help="with --input: replace unknown words by the most attended word of the source",
    )
    settings.add_argument(
        "--temperature",
        type=positive_float,
        default=None,
        metavar="τ",
        help="temperature: divides the logits (default 1; with --model, the registered one)",
    )
    settings.add_argument(
        "--top-k",
        type=positive_int,
        default=None,
        metavar="K",
        help="sample each token from the K most likely ones, after --temperature (default: from all)",
    )
    settings.add_argument(
        "--top-p",
        type=share,
        default=None,
        metavar="P",
        help=(
            "sample each token from the smallest set of most likely tokens with total probability P, after --top-k "
            "(default: from all)"
        ),
    )
    settings.add_argument(
        "--stream",
        action="store_true",
        help="print each token when it is sampled, one sequence after another",
    )
    data.add_argument(
        "--draw",
        default=None,
        metavar="FILE.svg",
        help="also draw the sequences into this SVG, by the metric of --draw-by",
    )
    data.add_argument(
        "--draw-by",
        default=None,
        metavar="NAME",
        help=(
            "with --draw: metric with a method draw, such as FILE.py:NAME (default molecules, which draws SMILES and "
            "SELFIES and needs rdkit)"
        ),
    )
    data.add_argument(
        "--out",
        default=None,
        metavar="FILE.png",
        help="draw the sequences into this PNG instead of printing them (only for tasks such as images)",
    )
    settings.add_argument("--seed", type=int, metavar="N", default=None, help="random seed (default 0)")
    add_trust(of_run)
    of_run.add_argument(
        "--tracking-uri",
        default=None,
        metavar="URI",
        help="MLflow server of --model (default MLFLOW_TRACKING_URI, or runs/mlruns.db)",
    )


def run(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Print sequences; see `VerbModule`."""
    if options.input is not None and options.num is not None:
        raise ConfigError(
            "--num: has no effect with --input; one sequence is written for each line of the file. Remove it.",
            code="num_beside_input",
        )
    if options.encoding is not None and options.input is None:
        raise ConfigError(
            "--encoding: has no effect without --input. Give a file of sources, or remove it.",
            code="encoding_without_input",
        )
    for name in ("column", "format", "separator", "quotes", "header"):
        if getattr(options, name) is not None and options.input is None:
            raise ConfigError(
                f"--{name}: has no effect without --input. Give a file of sources, or remove it.",
                code="option_without_input",
            )
    if options.beam is not None and options.input is None:
        raise ConfigError(
            "--beam: has no effect without --input. Give a file of sources, or remove it.", code="beam_without_input"
        )
    if options.replace_unknown and options.input is None:
        raise ConfigError(
            "--replace-unknown: has no effect without --input. Give a file of sources, or remove it.",
            code="replace_unknown_without_input",
        )
    if options.seed is not None and options.beam is not None:
        raise ConfigError(
            "--seed: has no effect with --beam, because beam search is deterministic. Remove it.",
            code="seed_beside_beam",
        )
    for name in ("top_k", "top_p"):
        if getattr(options, name) is not None and options.beam is not None:
            raise ConfigError(
                f"--{name.replace('_', '-')}: has no effect with --beam, because beam search does not sample. "
                "Remove it.",
                code="option_beside_beam",
            )
    if options.length_exponent is not None and options.beam is None:
        raise ConfigError(
            "--length-exponent: has no effect without --beam. Give both, or remove it.", code="exponent_without_beam"
        )
    if options.prompt is not None and (options.input is not None or options.num is not None):
        other = "--input" if options.input is not None else "--num"
        raise ConfigError(
            f"--prompt: one sequence is written for each prompt, so {other} has no effect. Remove one of them.",
            code="prompt_beside_input",
        )
    if options.stream and (options.beam is not None or options.replace_unknown):
        other = "--beam" if options.beam is not None else "--replace-unknown"
        raise ConfigError(
            f"--stream: has no effect with {other}, which needs whole sequences. Remove one of them.",
            code="stream_beside_beam",
        )
    drawing = _drawing_of(options)
    if options.out is not None and not options.out.lower().endswith(".png"):
        raise ConfigError(
            f"--out {options.out}: must end with .png. Give the name of a PNG file.",
            code="out_no_png",
            fields={"--out": options.out},
        )
    if options.out is not None and options.stream:
        raise ConfigError(
            "--out: has no effect with --stream, which prints. Remove one of them.", code="out_beside_stream"
        )
    if options.model is None:
        _of_run(options, drawing)
    else:
        _of_model(options, drawing)
    return 0


def _drawing_of(options: argparse.Namespace) -> Drawing | None:
    """What draws sequences into --draw; made before anything is sampled, so that what cannot be drawn costs nothing."""
    if options.draw is None:
        if options.draw_by is not None:
            raise ConfigError(
                "--draw-by: has no effect without --draw. Give the name of an SVG file with --draw, or remove it.",
                code="draw_by_without_draw",
            )
        return None
    if options.stream:
        raise ConfigError(
            "--draw: needs whole sequences, but --stream prints tokens. Remove one of them.", code="draw_beside_stream"
        )
    if options.out is not None:
        raise ConfigError(
            "--draw: has no effect with --out, which writes the pictures of the task. Remove one of them.",
            code="draw_beside_out",
        )
    if not options.draw.lower().endswith(".svg"):
        raise ConfigError(
            f"--draw {options.draw}: must end with .svg. Give the name of an SVG file.",
            code="draw_no_svg",
            fields={"--draw": options.draw},
        )
    from rlgan.evaluation.own_metric import OwnMetric
    from rlgan.evaluation.own_metrics import MetricDrawing

    return MetricDrawing(OwnMetric(name=options.draw_by or _DRAWS))


def _draw(drawing: Drawing, lines: Sequence[str], path: Path) -> None:
    """Draw sequences into a file."""
    from rlgan.base.files import write_atomically

    text = drawing(lines)
    write_atomically(path, lambda beside: beside.write_text(text, "utf-8"))
    print(f"{path}: {len(lines)} sequences drawn", file=sys.stderr)


def _write(options: argparse.Namespace, folder: Path, temperature: float, drawing: Drawing | None) -> None:
    """Print what the generator of a folder writes: for sources, or for nothing."""
    from rlgan.base.seeding import stream
    from rlgan.envs.vocabulary import one_line
    from rlgan.generators import Draw
    from rlgan.storage.export import Decoding, load_run_generator

    exported = load_run_generator(folder, trust_code=options.trust_code)
    if options.out is not None and exported.space.drawing is None:
        raise ConfigError(
            "--out: has no effect, because the sequences of this generator stand for no pictures. Remove it.",
            code="out_without_drawing",
            fields={"--out": options.out},
        )
    draw = Draw(temperature, options.top_k, options.top_p)
    seed = options.seed or 0
    sources, path, numbers = _sources(options, exported)
    if options.stream:
        exported.require_sources(None if sources is None else path)
        rng = stream(seed, "export")
        for source in [None] * (options.num or 10) if sources is None else sources:
            for piece in exported.streamed(source, path, draw, rng):
                print(piece, end="", flush=True)
            print(flush=True)
        return
    if sources is None:
        lines = exported.sample(options.num or 10, temperature, seed, top_k=options.top_k, top_p=options.top_p)
    else:
        decoding = Decoding(draw, options.beam, options.length_exponent or 0.0, options.replace_unknown)
        lines, notes = exported.answer(sources, path, decoding, seed, numbers)
        for note in notes:
            print(f"{path}: {note}", file=sys.stderr)
    if options.out is not None:
        from rlgan.report.picture_grid import write_grid

        assert exported.space.drawing is not None
        write_grid(exported.space.drawing.pictures(lines), Path(options.out))
        print(f"{options.out}: {len(lines)} pictures", file=sys.stderr)
        return
    for line in lines:
        print(one_line(line))
    if drawing is not None:
        _draw(drawing, lines, Path(options.draw))


def _sources(
    options: argparse.Namespace, exported: ExportedGenerator
) -> tuple[Sequence[Source] | None, str, Sequence[int] | None]:
    """What is written for, where it is from, and on which lines it stands; None where nothing is given."""
    from rlgan.envs.model_tokens import as_messages
    from rlgan.envs.reading import How, Wanted, count, known_encoding, known_separator, read_texts

    if options.prompt is not None:
        return list(options.prompt), "--prompt", None
    if options.input is None:
        return None, "", None
    trained_on = "utf-8" if exported.reading is None else exported.reading.encoding
    encoding = trained_on if options.encoding is None else known_encoding(options.encoding)
    separator = known_separator(options.separator)
    how = How(encoding, options.format or "auto", separator, options.quotes, options.header, options="--")
    how.require_effect()
    raw = read_texts(
        options.input,
        how,
        Wanted("source", "--column", options.column),
        "a text file with one source per line",
        lists=exported.reading is not None,
        chats=exported.reading is not None and exported.reading.is_chat,
    )
    number = len(raw.texts)
    # In the middle it is an error, for answers stand line by line.
    while number and not _has_text(raw.texts[number - 1]):
        number -= 1
    num_empty = len(raw.texts) - number
    skipped = [f"skipped {count(num_empty, f'empty {raw.noun}')} at the end"] if num_empty else []
    first = raw.first_text() if raw.noun == "text" else []
    for note in (*raw.notes, *skipped, *first):
        print(f"{options.input}: {note}", file=sys.stderr)
    sources: list[Source] = list(raw.texts[:number])
    if exported.reading is not None and exported.reading.is_chat:
        num_answered = 0
        for place, turns in raw.turns.items():
            messages = as_messages(turns)
            if messages[-1]["role"] == "assistant" and len(messages) > 1:
                num_answered, messages = num_answered + 1, messages[:-1]
            sources[place] = messages
        if num_answered:
            what = count(num_answered, "conversation")
            print(f"{options.input}: left out the last answer of {what}: that is what is sampled", file=sys.stderr)
    return sources, options.input, raw.numbers[:number]


def _has_text(text: str | list[str]) -> bool:
    return any(part.strip() for part in ([text] if isinstance(text, str) else text))


def _of_run(options: argparse.Namespace, drawing: Drawing | None) -> None:
    from rlgan.storage.export import GENERATOR_FILES, GENERATOR_FOLDERS
    from rlgan.storage.places import as_folder

    if options.tracking_uri is not None:
        raise ConfigError(
            "--tracking-uri: has no effect with --run, which needs no server. Remove it, or give --model.",
            code="tracking_uri_beside_run",
        )
    temperature = 1.0 if options.temperature is None else options.temperature
    asked = named(options.run, "--run")
    with as_folder(asked, GENERATOR_FILES, if_there=GENERATOR_FOLDERS) as run_dir:
        _write(options, run_dir, temperature, drawing)
    _tell(options, asked, temperature)


def _of_model(options: argparse.Namespace, drawing: Drawing | None) -> None:
    from rlgan.tracking import fetch, find_generator

    found = find_generator(options.tracking_uri, options.model)
    temperature = found.temperature if options.temperature is None else options.temperature
    with fetch(found.uri, found.address) as folder:  # by its version: an alias may be moved meanwhile
        _write(options, folder, temperature, drawing)
    _tell(options, found.address, temperature)


def _tell(options: argparse.Namespace, source: str, temperature: float) -> None:
    """Say on standard error how the same sequences are had again; standard output holds nothing but sequences."""
    if options.beam is not None:
        how = [f"the likeliest that {options.beam} beams find", f"temperature {temperature:g}"]
        how += [] if options.length_exponent is None else [f"length exponent {options.length_exponent:g}"]
    else:
        how = [f"temperature {temperature:g}"]
        how += [f"{name} {value:g}" for name, value in (("top-k", options.top_k), ("top-p", options.top_p)) if value]
        how.append(f"seed {options.seed or 0}")
    print(f"{source}: {', '.join(how)}", file=sys.stderr, flush=True)
