"""`rlgan evaluate ...`."""

from __future__ import annotations

import argparse
import json
import sys

from .options import Choices, add_file_options, add_trust, moved_files, positive_float, positive_int
from .runs import LATEST_HELP, named


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    of_run = parser.add_argument_group("run")
    settings = parser.add_argument_group("settings")
    of_run.add_argument(
        "--run", required=True, metavar="DIR", help="folder of the run, or its URI in a storage" + LATEST_HELP
    )
    settings.add_argument(
        "--temperature",
        type=positive_float,
        default=1.0,
        metavar="τ",
        help="temperature: divides the logits (default 1)",
    )
    settings.add_argument(
        "--num-sequences",
        type=positive_int,
        default=None,
        metavar="N",
        help="number of samples (default: that of the run)",
    )
    settings.add_argument(
        "--adversarial",
        action="store_true",
        help=(
            "also train a fresh evaluator to distinguish the samples from human text, which takes minutes (only for "
            "pairs; no effect if the run's settings already do so)"
        ),
    )
    settings.add_argument(
        "--language-model",
        action="store_true",
        help=(
            "also train language models on the text and on the samples for LM and reverse-LM scores, which takes "
            "minutes (no effect if the run's settings already do so)"
        ),
    )
    add_file_options(parser)
    add_trust(of_run)
    settings.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Measure a generator; see `VerbModule`."""
    from rlgan.evaluation.verdict import FILE, read_verdict
    from rlgan.extensions import FOLDER
    from rlgan.report.final_table import TABLE
    from rlgan.report.narrow import columns_of, wrapped
    from rlgan.runs.data import RUN_DATA
    from rlgan.runs.measured import measured_json, measured_text
    from rlgan.runs.run import evaluate_run
    from rlgan.storage.checkpoint import CONFIG
    from rlgan.storage.export import GENERATOR_FILES, GENERATOR_FOLDERS
    from rlgan.storage.places import as_folder

    asked = named(options.run, "--run")
    with as_folder(
        asked, (CONFIG, *GENERATOR_FILES), if_there=(RUN_DATA, FILE, FOLDER, TABLE, *GENERATOR_FOLDERS)
    ) as run_dir:
        verdict = read_verdict(run_dir)
        found = evaluate_run(
            run_dir,
            options.temperature,
            options.num_sequences,
            options.adversarial,
            options.language_model,
            files={**overrides, **moved_files(Choices.of(options))},
            trust_code=options.trust_code,
            say=lambda line: print(line.replace(str(run_dir), asked), file=sys.stderr, flush=True),
        )
    if options.json:
        statement = None if verdict is None else verdict.statement
        print(json.dumps({**found.metrics, "verdict": statement, "about": measured_json(found)}, indent=2))
        return 0
    columns = columns_of(sys.stdout)
    print(measured_text(found, columns))
    sentences: tuple[str, ...] = (
        f"No verdict: there is no {FILE} in the run's folder. Controls are trained at the end of a run and not kept, "
        "so nothing can be said here of whether the run did better than they. A run has a verdict when it has ended, "
        "with an adversarial phase.",
    )
    if verdict is not None:
        sentences = verdict.sentences
    print()
    print("\n".join(wrapped(sentence, columns) for sentence in sentences))
    return 0
