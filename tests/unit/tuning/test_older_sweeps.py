"""A study draws what it always drew; an interrupted sweep goes on as it began, whatever was added since."""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from rlgan.base.errors import CheckpointError, ConfigError
from rlgan.base.search_priors import Choice, LogUniform, Prior, Uniform, read_prior
from rlgan.config import paths
from rlgan.config.config import Config
from rlgan.policy.baselines import (
    Baseline,
    BatchMean,
    CriticBaseline,
    ExponentialMean,
    Formed,
    ImportanceWeights,
    NoBaseline,
    Valued,
)
from rlgan.schedule.phases import Schedule
from rlgan.tuning import STUDIES, Space, Study
from rlgan.tuning import sweep as sweep_module
from rlgan.tuning.search.ledger import Ledger
from rlgan.tuning.search.proposals import GridSource, Proposals, RandomSource
from rlgan.tuning.search.search import Folders, _Searcher, source_of_proposals
from rlgan.tuning.search.tuner import Deadline
from rlgan.tuning.space import spaces
from rlgan.tuning.sweep import sweep
from tests.support.errors import refused
from tests.support.tiny_sweep import CHANGES, request

# SHA-256 of what version 0.1 drew with seed 7: 200 random points, 20 that are no contradictions, 5 of the grid.
DRAWN = {
    "reward_baseline": ("52a0531902ca0769", "80b94927df22e558", "df986c8568998c3e"),
    "discriminator": ("4853e4731aa260c1", "6d9cec03f6602f21", "d83c8c97790c4e01"),
    "from_scratch": ("f9903f1cf26ffbb5", "6949c05e955b7673", "2e2e5ba314e4b367"),
    "stability": ("b688da105b5d9c80", "8273d528ae503807", "9c73658e53fa732e"),
    "everything": ("667e768a6d2f7334", "f733028399411a35", None),
}


def digest(points: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(points, sort_keys=True).encode()).hexdigest()[:16]


def accepted(whole: Space, source: Any, number: int) -> list[dict[str, Any]]:
    proposals = Proposals(whole, source)
    return [proposed.point for _ in range(number) if (proposed := proposals.next()) is not None]


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_draws_what_it_always_drew(name: str) -> None:
    whole, source = STUDIES[name].space(None, {}), RandomSource(7)
    drawn, allowed, grid = DRAWN[name]
    assert digest([whole.draw(source.begin()) for _ in range(200)]) == drawn
    assert digest(accepted(whole, RandomSource(7), 20)) == allowed
    assert grid is None or digest(accepted(whole, GridSource(), 5)) == grid


class Newcomer(Baseline):
    """A baseline of a later version, with a setting of its own."""

    kind: Literal["newcomer"] = "newcomer"
    share: Annotated[float, Uniform(0.0, 1.0)] = 0.5
    """A number."""

    def form(self, batch: Valued) -> Formed:
        return Formed(batch.values * self.share)


class LaterSchedule(Schedule):
    g_new: Annotated[int, Choice((1, 2))] = 1
    """A setting of a later version."""


class Later(Config):
    """The configuration of a later version: a variant in the middle, and a setting."""

    baseline: Annotated[
        NoBaseline | Newcomer | ImportanceWeights | BatchMean | ExponentialMean | CriticBaseline,
        Field(discriminator="kind"),
    ] = NoBaseline()
    schedule: LaterSchedule = LaterSchedule()


class Earlier(Config):
    """The configuration of the version that a sweep began with."""

    baseline: Annotated[
        NoBaseline | ImportanceWeights | BatchMean | ExponentialMean | CriticBaseline, Field(discriminator="kind")
    ] = NoBaseline()


class Fewer(Config):
    """The configuration of a version that has lost a variant."""

    baseline: Annotated[NoBaseline | ImportanceWeights | BatchMean | ExponentialMean, Field(discriminator="kind")] = (
        NoBaseline()
    )


STUDY = Study(
    "mine",
    "a question",
    "quick",
    {"baseline": None, "baseline.*": None, "schedule.*": None, "optimizers.generator.lr": LogUniform(1e-3, 1e-2)},
    CHANGES,
)


class Played:
    """Sweeps of several versions, whose search proposes and trains nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch, self.proposed, self.number = monkeypatch, 0, 0
        self.names: set[str] = set()
        monkeypatch.setattr(sweep_module, "cluster", nullcontext)
        monkeypatch.setattr(sweep_module, "require_room", lambda *_: None)
        monkeypatch.setattr(sweep_module, "runs_at_once", lambda *_: 2)
        monkeypatch.setattr(sweep_module, "search", self._search)

    def _search(self, space: Space, objective: Any, settings: Any, ledger: Ledger, folders: Folders, *_: Any) -> str:
        self.names = {axis.name for axis in space.axes}
        proposals = Proposals(space, source_of_proposals(settings, objective))
        searcher = _Searcher(space, objective, proposals, settings, ledger, folders, Deadline(None))
        for index in range(self.number):
            searcher.suggest(f"new {index}")
        return "interrupted"

    def version(self, config: type[Config]) -> None:
        self._monkeypatch.setattr(paths, "Config", config)
        self._monkeypatch.setattr(spaces, "Config", config)

    def sweep(self, folder: Path, number: int, resume: bool = False, **more: Any) -> list[dict[str, Any]]:
        """Begin or go on with a sweep, ask for so many trials, those under way first; what was drawn for all."""
        self.number = number
        asked = request(folder, more.pop("study", STUDY), resume, trials=50, **{"search": "random", **more})
        ledger = sweep(asked, lambda _: None).ledger
        return [entry.draws for _, entry in sorted(ledger.entries.items())]


@pytest.mark.parametrize("search", ["random", "grid"])
def test_an_interrupted_sweep_goes_on_with_the_draws_that_it_would_have_had(
    search: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played(monkeypatch)
    played.version(Earlier)
    whole = played.sweep(tmp_path / "undisturbed", 12, search=search)
    before = played.sweep(tmp_path / "interrupted", 5, search=search)
    names = played.names
    assert before == whole[:5] and len(whole) == 12
    played.version(Later)
    assert played.sweep(tmp_path / "interrupted", 12, resume=True, search=search) == whole
    assert played.names == names
    # A sweep that begins now has the newcomers.
    fresh = played.sweep(tmp_path / "fresh", 12, search=search)
    assert played.names - names == {"baseline[newcomer].share", "schedule.g_new"} and fresh != whole
    # And is taken up again as it began, too.
    assert played.sweep(tmp_path / "fresh", 0, resume=True, search=search) == fresh


def test_what_was_learned_is_learned_again_by_tpe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(monkeypatch)
    played.version(Earlier)
    before = played.sweep(tmp_path / "a", 4, search="tpe")
    played.version(Later)
    assert played.sweep(tmp_path / "a", 7, resume=True, search="tpe")[:4] == before
    assert "baseline[newcomer].share" not in played.names


def test_a_variant_that_is_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(monkeypatch)
    played.version(Earlier)
    played.sweep(tmp_path / "a", 2)
    played.version(Fewer)
    with refused(ConfigError, "sweep_resume_request", match="--resume.*'critic'"):
        played.sweep(tmp_path / "a", 2, resume=True)


@pytest.mark.parametrize(
    "axes",
    [
        {"optimizers.generator.lr": LogUniform(1e-3, 1e-1)},
        {"schedule.mle_epochs": Choice((1, 2))},
        {"optimizers.discriminator.lr": None},
    ],
)
def test_a_study_that_was_changed_is_another(
    axes: dict[str, Prior | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played(monkeypatch)
    played.version(Earlier)
    played.sweep(tmp_path / "a", 2)
    changed = Study("mine", "a question", "quick", {**STUDY.axes, **axes}, CHANGES)
    with refused(CheckpointError, "sweep_differs"):
        played.sweep(tmp_path / "a", 2, resume=True, study=changed)


@pytest.mark.parametrize("text", ["7", "'none'", "open('x')", "Choice((1, 2))", "Choice(values=open('x'))", "Choice("])
def test_a_file_that_is_damaged_is_told(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="is not a prior"):
        read_prior(text)
    played = Played(monkeypatch)
    played.sweep(tmp_path / "a", 1)
    file = tmp_path / "a" / "sweep.json"
    values = json.loads(file.read_text())
    values["dimensions"]["baseline"] = text
    file.write_text(json.dumps(values))
    with refused(CheckpointError, "damaged_sweep_request", match=r"sweep\.json"):
        played.sweep(tmp_path / "a", 1, resume=True)


@pytest.mark.parametrize(
    "prior", [Choice((None, 1, 2.5, "a", "b c", (1, 2), True)), Uniform(0.0, 0.5), LogUniform(1e-5, 1e-2)]
)
def test_priors_are_read_as_they_were_written(prior: Prior) -> None:
    assert read_prior(repr(prior)) == prior
