"""docs/metrics.md explains every public metric."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rlgan.metrics

PAGE = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", rlgan.metrics.__all__)
def test_every_public_metric_is_explained(name: str) -> None:
    assert re.search(rf"`{name}\b", PAGE), f"docs/metrics.md does not mention `{name}`."


def test_every_row_names_meaning_unit_range_alarm_and_definition() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| `(?!final/)[a-z]+/", line)]
    names = re.findall(r"(?m)^\| `((?!final/)[a-z]+/[A-Za-z0-9_*]+)`", PAGE)
    assert len(rows) == len(set(names)) > 20
    for row in rows:
        assert row.count("|") == 7, row
