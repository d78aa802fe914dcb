"""How a study is searched: a setting that would have no effect is refused."""

from __future__ import annotations

from typing import Any

import pytest

from rlgan.base.errors import ConfigError
from rlgan.tuning.search.settings import SweepSettings


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"scheduler": "none", "grace": 0.5}, "--grace: has no effect with --scheduler none; it is for asha"),
        ({"scheduler": "pbt", "reduction": 2.0}, "--reduction: has no effect with --scheduler pbt; it is for asha"),
        ({"interval": 0.1}, "--interval: has no effect with --scheduler asha; it is for pbt and pb2"),
        ({"quantile": 0.1}, "--quantile: has no effect with --scheduler asha"),
        ({"scheduler": "pb2", "search": "tpe"}, "--search tpe: has no effect with --scheduler pb2"),
        ({"scheduler": "pbt", "trials": 3}, "--trials 3: a population needs at least 4"),
        ({"finalists": 0, "seeds": 3}, "--seeds: has no effect with --finalists 0"),
        ({"finalists": 0, "registry_name": "best"}, "--registry-name: has no effect with --finalists 0"),
    ],
)
def test_what_would_have_no_effect_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SweepSettings(**given).require_effect()


@pytest.mark.parametrize(
    "given",
    [{}, {"grace": 0.5, "reduction": 2.0}, {"scheduler": "pbt", "interval": 0.1, "quantile": 0.5, "search": "random"},
     {"finalists": 0}, {"search": "grid", "seed": 3}],
)  # fmt: skip
def test_what_has_an_effect_is_taken(given: dict[str, Any]) -> None:
    SweepSettings(**given).require_effect()


def test_defaults_depend_on_the_scheduler() -> None:
    assert SweepSettings().searcher == "tpe" and SweepSettings(scheduler="pb2").searcher == "random"
    assert SweepSettings().of_scheduler("grace") == 0.2 and SweepSettings(grace=0.5).of_scheduler("grace") == 0.5
