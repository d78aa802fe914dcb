"""The same run with several seeds, and what may be said of the method by them.

A folder holds a run's folder a seed, `seed-N`, and when all are complete their table: `seeds.json`, `seeds.txt`.
Whoever asks again for the same folder goes on where it stopped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlgan.base.errors import CheckpointError, TrackingError
from rlgan.base.files import write_atomically
from rlgan.config.config import Config
from rlgan.evaluation.own_metric import OwnMetric
from rlgan.evaluation.quantities import known_quantity, sign_of
from rlgan.metrics.intervals import interval
from rlgan.metrics.quantity import legend_of
from rlgan.report.final_table import OWN, TABLE, in_order
from rlgan.report.narrow import fitting_table, wrapped
from rlgan.storage.checkpoint import CONFIG
from rlgan.tracking.grouping import group_runs

from .publishing import LAST_FILE
from .run import RunRequest, run

SEEDS, SEEDS_TEXT = "seeds.json", "seeds.txt"
"""Files of the folder that holds the seeds: every number, and what is printed."""
_THIS = "this run"
_NOT_QUANTITIES = ("name", "temperature")


def run_seeds(config: Config, folder: Path, num_seeds: int, say: Callable[[str], None]) -> bool:
    """Run a configuration with its seed and those after it, one after the other.

    Args:
        config: of the first.
        folder: that holds them.
        num_seeds: at least 2.
        say: shows the user what goes on and the table.

    Returns:
        Whether all are complete; False if one was stopped.

    Raises:
        RlganError: as `rlgan.runs.run.run`; also where a seed's folder holds another run.
    """
    seeds = range(config.seed, config.seed + num_seeds)
    folders = [folder / f"seed-{seed}" for seed in seeds]
    for index, (seed, path) in enumerate(zip(seeds, folders, strict=True), 1):
        say(f"seed {seed}, {index} of {num_seeds}")
        one = config.model_copy(update={"seed": seed})
        if run(RunRequest(one, path, resume=(path / CONFIG).exists())).stopped:
            return False
    rows = summary([_table(path) for path in folders])
    said = statement([_table(path) for path in folders])
    text = "\n".join([*_shown(rows, config.evaluation.metrics), "", *map(wrapped, said)])
    write_atomically(folder / SEEDS, lambda path: path.write_text(json.dumps(rows, indent=2) + "\n", "utf-8"))
    write_atomically(folder / SEEDS_TEXT, lambda path: path.write_text(text + "\n", "utf-8"))
    say(text)
    if config.tracking.enabled:
        own = next((row for row in rows if row["name"] == _THIS), {})
        metrics = {
            f"seeds/{name}{end}": value[key]
            for name, value in own.items()
            if isinstance(value, dict)
            for key, end in (("mean", ""), ("low", "_low"), ("high", "_high"))
            if math.isfinite(value[key])
        }
        tags = {"preset": config.preset, "seeds": ",".join(map(str, seeds))}
        try:
            group_runs(config.tracking.uri, folders, folder.name, metrics, tags)
        except (TrackingError, CheckpointError) as error:  # all numbers are in the folder
            say(f"the seeds could not be grouped under one MLflow run: {error}")
    return True


def summary(tables: Sequence[Mapping[str, Mapping[str, float]]]) -> list[dict[str, Any]]:
    """Means over seeds with 95 % t intervals, of the rows and quantities that every seed has.

    Args:
        tables: of the seeds: name of a row → quantity → value.

    Returns:
        The run's own row first; quantity → mean, low, high, num.
    """
    rows: list[dict[str, Any]] = []
    names = [name for name in tables[0] if all(name in one for one in tables)]
    for name in sorted(names, key=lambda one: one != _THIS):
        row: dict[str, Any] = {"name": name}
        for quantity in in_order([q for q in tables[0][name] if all(q in one[name] for one in tables)]):
            row[quantity] = _interval([one[name][quantity] for one in tables])
        rows.append(row)
    return rows


def statement(tables: Sequence[Mapping[str, Mapping[str, float]]]) -> list[str]:
    """What the seeds say of the first quantity: the run less each control of the same seed, at temperature 1."""
    own = [one[_THIS] for one in tables]
    quantity = next(iter(in_order([q for q in own[0] if all(q in one for one in own)])), None)
    if quantity is None:
        return []
    lines = [f"{len(tables)} seeds, temperature 1; 95 % t intervals over seeds, with each control of the same seed."]
    for name in tables[0]:
        if name == _THIS or not all(quantity in one.get(name, {}) for one in tables):
            continue
        its = _interval([one[_THIS][quantity] - one[name][quantity] for one in tables])
        claim = "differs" if its["low"] > 0 or its["high"] < 0 else "no significant difference"
        bounds = f"{its['mean']:+.3f} [{its['low']:+.3f}, {its['high']:+.3f}]"
        lines.append(f"{quantity}, this run minus {name}: {bounds}: {claim}.")
    return lines


def _interval(values: Sequence[float]) -> dict[str, float]:
    its = interval(values)
    assert its.low is not None and its.high is not None  # two seeds at least
    return {"mean": its.mean, "low": its.low, "high": its.high, "num": len(values)}


def _table(path: Path) -> dict[str, dict[str, float]]:
    """Rows at temperature 1 by their names, the run's own under one name."""
    if not (path / LAST_FILE).exists():
        raise CheckpointError(
            f"{path}: has no final table. Continue it with --resume {path}.",
            code="no_final_table",
            fields={"path": path},
        )
    rows = {}
    for row in json.loads((path / TABLE).read_text("utf-8")):
        if row["temperature"] == 1.0:
            name = _THIS if row["name"].endswith(OWN) else row["name"]
            rows[name] = {key: value for key, value in row.items() if key not in _NOT_QUANTITIES and value is not None}
    return rows


def _shown(rows: Sequence[Mapping[str, Any]], own: Sequence[OwnMetric]) -> list[str]:
    """The table and how it is read; `own` are the metrics of the user's own."""
    columns = [name for name in rows[0] if name != "name"]

    def cell(value: Mapping[str, float]) -> str:
        return f"{value['mean']:.3f} ± {value['mean'] - value['low']:.3f}"

    shown = [{"name": row["name"]} | {name: cell(row[name]) for name in columns if name in row} for row in rows]
    headers = {name: name + sign_of(name, own) for name in columns}
    table, left_out = fitting_table(shown, ("name", *columns), headers=headers)
    known = [one for name in columns if name not in left_out and (one := known_quantity(name, own)) is not None]
    more = [wrapped(f"Also measured, in {SEEDS}: {', '.join(left_out)}.")] if left_out else []
    return [table, *([wrapped(legend_of(known))] if known else []), *more]
