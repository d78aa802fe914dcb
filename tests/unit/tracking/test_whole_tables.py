"""Tables of runs read back: from the artifact, of which metrics are a summary, or from an older version's metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlgan.base.errors import TrackingError
from rlgan.report.final_table import TABLE, summary_metrics
from rlgan.runs.side_by_side import side_by_side
from rlgan.tracking import DataInput, Tracker, TrackingSettings, find_generator, read_run, read_table, register
from tests.support.errors import refused
from tests.support.mlflow_server import Server
from tests.support.registered import save_generator

ROWS: list[dict[str, Any]] = [
    {"name": "real data (n=20)", "temperature": None, "kl_sum": None, "nll_oracle": 2.0},
    {"name": "MLE start", "temperature": 1.0, "kl_sum": 0.5, "kl_forward": 0.25, "kl_reverse": 0.25},
    {"name": "MLE τ=0.8", "temperature": 0.8, "kl_sum": 0.75, "kl_forward": 0.5, "kl_reverse": 0.25},
    {"name": "mle_continued", "temperature": 1.0, "kl_sum": 0.5, "kl_forward": 0.25, "kl_reverse": 0.25},
    {"name": "seqgan (this run)", "temperature": 1.0, "kl_sum": 0.375, "kl_forward": 0.25, "kl_reverse": 0.125},
]
SHOWN = [
    {"run": "a", "row": "real data", "nll_oracle": 2.0},
    {"run": "a", "row": "MLE start", "kl_sum": 0.5, "kl_forward": 0.25, "kl_reverse": 0.25},
    {"run": "a", "row": "MLE tau 0.8", "kl_sum": 0.75, "kl_forward": 0.5, "kl_reverse": 0.25},
    {"run": "a", "row": "mle continued", "kl_sum": 0.5, "kl_forward": 0.25, "kl_reverse": 0.25},
    {"run": "a", "row": "this run", "kl_sum": 0.375, "kl_forward": 0.25, "kl_reverse": 0.125},
]


def tracked(run_dir: Path, metrics: dict[str, float], table: str | None, **tags: str) -> None:
    tracker = Tracker(TrackingSettings(), run_dir)
    inputs = (DataInput("poems.txt, train", "f" * 64, "training", "/data/poems.txt", ("text",), {}),)
    tracker.start("a", {}, {"preset": "seqgan", "seed": "3"}, inputs)
    tracker.log_metrics(metrics, step=0, phase="final", iteration=None)
    if table is not None:
        (run_dir / TABLE).write_text(table)
        tracker.log_artifact(run_dir / TABLE)
    tracker.tag_at_end(tags)
    tracker.finish("FINISHED")


def test_all_rows_come_from_the_artifact(run_dir: Path) -> None:
    tracked(run_dir, summary_metrics(ROWS), json.dumps(ROWS))
    run = read_run(None, run_dir)
    assert read_table(run, TABLE) == ROWS and read_table(run, "absent.json") is None
    assert "final/MLE_tau_0.8/kl_sum" not in run.metrics
    assert list(side_by_side([run]).rows) == SHOWN


def test_runs_of_older_versions_are_read_from_their_metrics(run_dir: Path) -> None:
    metrics = {
        f"final/{row['row'].replace(' ', '_')}/{name}": value
        for row in SHOWN
        for name, value in row.items()
        if name not in ("run", "row")
    }
    tracked(run_dir, metrics, None)
    shown = sorted(side_by_side([read_run(None, run_dir)]).rows, key=lambda row: row["row"])
    assert shown == sorted(SHOWN, key=lambda row: str(row["row"]))


@pytest.mark.parametrize("content", ["{", '{"a": 1}', "[1]", "[" * 100_000])
def test_a_damaged_table_is_told(run_dir: Path, content: str) -> None:
    tracked(run_dir, summary_metrics(ROWS), content)
    with refused(TrackingError, "damaged_artifact", match=r"table\.json"):
        side_by_side([read_run(None, run_dir)])


def test_the_page_of_a_model_says_where_it_comes_from(run_dir: Path) -> None:
    save_generator(run_dir)
    tracked(run_dir, {"m": 1.0}, None, verdict="No significant difference from mle_continued.")
    run = read_run(None, run_dir)
    register(run.uri, run.run_id, run_dir, "poems", 0.9, {"study": "lr"})
    client = Server(run_dir).client
    version, model = client.get_model_version("poems", "1"), client.get_registered_model("poems")
    for page in (version.description, model.description):
        for part in (
            "No significant difference from mle_continued.",
            "**run**: a",
            "**preset**: seqgan",
            "**data**: poems.txt",
        ):
            assert part in page
        assert f"**data sha256**: {'f' * 64}" in page and "**study**: lr" in page and "**temperature**: 0.9" in page
    assert "rlgan sample --model models:/poems/1" in model.description
    assert {"preset": "seqgan", "seed": "3", "study": "lr", "data": "poems.txt"}.items() <= version.tags.items()
    register(run.uri, run.run_id, run_dir, "poems", 0.5, {}, verdict="Another sweep found more.")
    assert "models:/poems/2" in client.get_registered_model("poems").description
    assert "Another sweep found more." in client.get_registered_model("poems").description
    assert "No significant difference" in client.get_model_version("poems", "1").description, "a version keeps its own"
    assert find_generator(run.uri, "models:/poems/2").temperature == 0.5
