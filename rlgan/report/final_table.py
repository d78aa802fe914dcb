"""Rows of a final table as others read them: their names, the order of their quantities, and what MLflow's page shows.

The whole table is `table.json`, in the run's folder and among its artifacts in MLflow. Metrics in MLflow are a summary
of it, for a page with five hundred of them cannot be read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rlgan.metrics.reward_means import is_of_reward

from .tables import PLANES

TABLE = "table.json"
"""Name of the file that holds every number of the table, a row an object."""
SHOWN_TABLE = "final_table.json"
"""Name of the same table as MLflow's page shows one: rounded, by columns."""
SHOWN_SAMPLES = "final_samples.json"
"""Name of a table of samples beside real sequences, in the same form."""
OWN = " (this run)"
"""Marks the run's own rows."""
MOST_METRICS = 40
"""Metrics of a final table in MLflow, at most; a test holds the widest table to it."""

FIRST = (
    "kl_sum", "kl_forward", "kl_reverse", "lm_lstm", "rlm_lstm", "lm_5gram", "rlm_5gram", "corpus_bleu", "chrf",
    "rouge_1", "rouge_2", "rouge_l", "nll_gen", "nll_oracle", "nll_div", "bleu_2", "bleu_3", "bleu_4", "bleu_5",
    "self_bleu_2", "self_bleu_4", "distinct_2", "fed_minilm", "fed_ngram64", "adversuc", "machine_vs_random", "ere",
)  # fmt: skip
"""Quantities that decide between runs come first; the rest follows by name."""

_MOST_QUANTITIES = 20  # of the run's own row
_MOST_TEMPERATURES = 5  # besides 1, of two quantities each
CEILINGS = ("oracle_ratio", "oracle_likelihood")
"""Controls whose reward nobody knows but the oracle, which are not to be beaten."""
_NOT_QUANTITIES = ("name", "temperature")


def slug(row: Mapping[str, Any]) -> str:
    """A row's name as MLflow allows it in a metric's name; those of the run itself are the same in all runs."""
    name, temperature = row["name"], row["temperature"]
    if name.endswith(OWN):
        return "this_run" if temperature in (1.0, None) else f"this_run_tau_{temperature:g}"
    name = re.sub(r" \(n=\d+\)$", "", name)
    return re.sub(r"[^\w.\- /]", "_", name.replace("τ=", "tau ")).replace(" ", "_")


def in_order(names: Sequence[str]) -> list[str]:
    """Quantities: the rewards of the user's own, those that decide, and the others by name."""
    rewards = sorted(name for name in names if is_of_reward(name))
    return [*rewards, *(name for name in FIRST if name in names), *sorted(set(names) - {*FIRST, *rewards})]


def plane_of(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """Quality and coverage, the first pair of which some row has both; None where no row has: nothing can be drawn."""
    return next((plane for plane in PLANES if any(_has_all(row, plane) for row in rows)), None)


def summary_metrics(rows: Sequence[Mapping[str, Any]], best: Mapping[str, Any] | None = None) -> dict[str, float]:
    """What of a table are metrics in MLflow: `final/ROW/QUANTITY` → value.

    Of the run as it is the quantities that decide; at its other temperatures, of its start and of its best control
    quality and coverage alone. Start, best control and real data also have the mean reward of the user's own functions.
    A run without an adversarial phase is its start.

    Args:
        rows: of the table.
        best: the best control's row; None takes `best_control`.

    Returns:
        At most `MOST_METRICS`, less what is told of the comparison beside them.
    """
    plane: tuple[str, ...] = plane_of(rows) or ()
    main = main_row(rows)
    found = {}
    if main is not None:
        for name in in_order([name for name in main if name not in _NOT_QUANTITIES])[:_MOST_QUANTITIES]:
            found[f"final/{slug(main)}/{name}"] = float(main[name])
    is_own = main is not None and main["name"].endswith(OWN)
    others = [row for row in rows if row["temperature"] not in (1.0, None) and _is_of_run(row, is_own)]
    shown = [(slug(row), row, plane) for row in others[:_MOST_TEMPERATURES]]
    reward = [] if main is None else [name for name in in_order(list(main)) if is_of_reward(name)][:1]
    if is_own:
        starts = [row for row in rows if is_start(row) and row["temperature"] == 1.0]
        shown += [(slug(row), row, (*plane, *reward)) for row in starts]
    if (best := best or best_control(rows)) is not None:
        shown.append(("best_control", best, (*plane, *reward)))
    shown += [(slug(row), row, tuple(reward)) for row in rows if row["temperature"] is None]
    for name, row, wanted in shown:
        found |= {f"final/{name}/{side}": float(row[side]) for side in wanted if side in row}
    return found


def main_row(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The run as it is; of a run without an adversarial phase its start."""
    own = [row for row in rows if row["name"].endswith(OWN)] or [row for row in rows if is_start(row)]
    return next((row for row in own if row["temperature"] == 1.0), None)


def best_control(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The control as it is whose quality and coverage have the least sum; None where none has both.

    Of chrF the sum has -ln(chrF/100), as the verdict. Whatever a perfect reward would pay is a ceiling, and no control.
    """
    plane = plane_of(rows)
    if plane is None:
        return None
    controls = [
        row
        for row in rows
        if row["temperature"] == 1.0
        and not row["name"].endswith(OWN)
        and not is_start(row)
        and row["name"] not in CEILINGS
        and _has_all(row, plane)
    ]
    return min(controls, key=lambda row: sum(_cost(name, row[name]) for name in plane), default=None)


def shown_order(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows as a person looks for them: the run, what is as it is beside it, and then the other temperatures.

    MLflow's page shows a dozen rows at a time.
    """
    main = main_row(rows)
    first = [row for row in rows if row is not main and row["temperature"] in (1.0, None)]
    others = [row for row in rows if row["temperature"] not in (1.0, None)]
    return [*([] if main is None else [main]), *first, *others]


def shown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table as MLflow's page shows one: JSON of columns and rows, with four decimals, "–" for what is missing."""
    names = in_order(list(dict.fromkeys(name for row in rows for name in row if name not in _NOT_QUANTITIES)))
    return plain_table([{**row, "row": row["name"]} for row in shown_order(rows)], ["row", "temperature", *names])


def plain_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Any table as MLflow's page shows one: JSON of columns and rows, with four decimals, "–" for what is missing."""

    def cell(value: Any) -> Any:
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return "–"
        return round(value, 4) if isinstance(value, float) else value

    data = [[cell(row.get(name)) for name in columns] for row in rows]
    return json.dumps({"columns": list(columns), "data": data}, ensure_ascii=False, allow_nan=False)


def _has_all(row: Mapping[str, Any], plane: Sequence[str]) -> bool:
    return all(math.isfinite(row.get(name, math.nan)) for name in plane)


def _cost(name: str, value: float) -> float:
    if name != "chrf":
        return value
    return -math.log(value / 100) if value > 0 else math.inf


def is_start(row: Mapping[str, Any]) -> bool:
    """Whether a row is of the generator that the adversarial phase began with, at any temperature."""
    return row["name"].startswith(("MLE start", "MLE τ=", "untrained start"))


def _is_of_run(row: Mapping[str, Any], is_own: bool) -> bool:
    return bool(row["name"].endswith(OWN)) if is_own else is_start(row)
