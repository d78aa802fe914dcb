"""The best generator of a sweep, in MLflow's registry, with the temperature at which it was the best.

It is the winner of the final race, of whatever kind: where maximum likelihood won, that is what is registered.
"""

from __future__ import annotations

from pathlib import Path

from rlgan.base.errors import CheckpointError
from rlgan.storage.export import GENERATOR_FILES
from rlgan.tracking import read_run, register

from ..judge.results import FinalResult, SweepResults
from ..judge.verdict import Verdict, objective_value
from ..search.race import run_name
from ..search.tuner import checkpoints
from .tracked import run_folder


def champion(results: SweepResults, judged: Verdict) -> FinalResult | None:
    """The run of the winner that was the best on validation data; None where nobody won."""
    if judged.winner is None:
        return None
    (entry,) = [entry for entry in judged.entries if entry.entrant == judged.winner]
    runs = [
        final for final in results.finals if final.entrant == entry.entrant and final.temperature == entry.temperature
    ]
    return min(runs, key=lambda final: (objective_value(final.validation, results.sides), final.seed))


def register_champion(
    best: FinalResult,
    results: SweepResults,
    folder: Path,
    generators: Path,
    uri: str | None,
    name: str,
    finding: str | None = None,
) -> int:
    """Register a generator that the final race left behind.

    Args:
        best: its run.
        results: of the sweep.
        folder: of the sweep.
        generators: Tune's folder of the final race.
        uri: of the server; None takes what the sweep's runs take.
        name: of the registered model.
        finding: of the sweep, in a sentence or two.

    Returns:
        The version.

    Raises:
        CheckpointError: its files are gone.
        TrackingError: the server cannot be reached, or refuses.
    """
    found = checkpoints(generators, run_name(best.entrant, best.seed))
    checkpoint = next((one for one in found if (Path(one) / GENERATOR_FILES[0]).exists()), None)
    if checkpoint is None:
        raise CheckpointError(
            f"{generators}: the generator of {best.entrant}, seed {best.seed}, is missing, so it cannot be "
            "registered. Restore the folder, or continue without registering.",
            code="champion_gone",
            fields={"path": generators},
        )
    run = read_run(uri, run_folder(folder, best.entrant, best.seed))
    tags = {
        "study": results.study,
        "preset": f"{best.entrant} of this study",  # and not the one that the study begins from
        "entrant": best.entrant,
        "kind": best.kind,
        "seed": str(best.seed),
        f"test_{results.objective}": f"{objective_value(best.test, results.sides):.4f}",
    }
    if results.again is not None and results.again.command is not None:
        tags["trained_by"] = results.again.command
    return register(run.uri, run.run_id, Path(checkpoint), name, best.temperature, tags, finding, trust_code=True)
