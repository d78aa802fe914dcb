"""`rlgan.recommend`: what data is, presets for it, and how long each takes on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rlgan.base.activity import stage
from rlgan.base.errors import ConfigError
from rlgan.base.settings import following
from rlgan.config.paths import merge

from .data import DATA_FILE, Given, located_at, task_of, written
from .settings import as_task, flat, progress_of
from .words import in_python, in_words_of_python

if TYPE_CHECKING:
    from rlgan.presets.sizes import DataSummary
    from rlgan.runs.recommending import Kind
    from rlgan.runs.recommending import Recommendation as Measured

_DATA = ("data", "pairs", "source", "target")


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A preset for the data.

    Attributes:
        preset: its name.
        purpose: what it is for, in a line.
        arguments: of `rlgan.train`, which begin the run: `rlgan.train(**one.arguments)`; {} where it is refused.
        sizes: what the preset chooses by this data: dotted path → value.
        seconds: that the run takes at most on this machine, its final table included; None where it is refused.
        measured: kinds of work that the test run measured: "likelihood", "table", "discriminator", "adversarial"; the
            time of others is a guess by their size.
        refusal: why the preset is not for this data; "" where it is.
    """

    preset: str
    purpose: str
    arguments: Mapping[str, Any]
    sizes: Mapping[str, Any]
    seconds: float | None
    measured: tuple[Kind, ...]
    refusal: str


@dataclass(frozen=True, slots=True)
class Recommendations:
    """What data is, and presets for it; `print` shows what `rlgan presets --for FILE` does.

    Attributes:
        task: "text", or "pairs" of a source and a target.
        data: sequences, tokens and lengths of it.
        presets: one each, the first to begin with; iterating, indexing and `len` are of these.
        text: all of it in words.
    """

    task: str
    data: DataSummary
    presets: tuple[Recommendation, ...]
    text: str

    def __str__(self) -> str:
        return self.text

    def __iter__(self) -> Iterator[Recommendation]:
        return iter(self.presets)

    def __getitem__(self, place: int) -> Recommendation:
        return self.presets[place]

    def __len__(self) -> int:
        return len(self.presets)


def recommend(
    data: str | Path | Iterable[Any] | None = None,
    *,
    pairs: str | Path | Iterable[Any] | None = None,
    source: str | Path | Iterable[str] | None = None,
    target: str | Path | Iterable[str] | None = None,
    tokens: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seconds: float | None = None,
    quiet: bool = False,
) -> Recommendations:
    """Say what data is, and which presets are for it, with the time that each takes on this machine.

    The time of a preset is estimated by a short test run: a few batches, a few samples, a part of a measurement.
    Nothing is kept on the disk.

    Args:
        data: as for `train`; a file may hold texts or pairs, whichever it turns out to.
        pairs: as for `train`.
        source: as for `train`.
        target: as for `train`.
        tokens: what a token is; None finds out whether it is a word, a character, or an atom or bond.
        settings: dotted path → value, that the run will have, too.
        seconds: that all test runs together may take; None is 24.
        quiet: whether nothing is shown meanwhile.

    Returns:
        The presets, with arguments for `train`.

    Raises:
        ConfigError: no data or more than one is given, a setting is unknown, or seconds are no positive number.
        DataError: a file is missing, unreadable, or holds too little.
    """
    given = Given(_kept(data), _kept(pairs), _kept(source), _kept(target), tokens)
    with in_words_of_python(), ExitStack() as stack:
        from rlgan.presets.own_data import summary_of_data
        from rlgan.runs.data import new_task
        from rlgan.runs.recommending import (
            PROBE_S,
            TOKENS_OF_SIDES,
            described,
            how_measured,
            named_tokens,
            own_reward_note,
            recognised,
            recommended,
            shown,
        )

        budget = PROBE_S if seconds is None else seconds
        if isinstance(budget, bool) or not isinstance(budget, int | float) or not budget > 0:
            raise ConfigError(
                f"seconds={seconds!r}: expected a number above 0. Give one, or remove it.",
                code="recommend_seconds",
                fields={"seconds": seconds},
            )
        changes = merge({}, flat(settings or {}))
        progress = stack.enter_context(closing(progress_of(quiet)))
        stack.enter_context(progress.watching())
        with stage("data", "reading data"):
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="rlgan-")))
            meant = [as_task(values) for values in _meant(given, folder, stack)]
            task_settings = recognised(meant, changes, tokens is not None)
            summary = summary_of_data(task_settings)
            assert summary is not None  # texts and pairs: their distribution is never known
            task = new_task(task_settings)
        named = changes
        if tokens is None:
            kind, of_sides = named_tokens(task_settings)
            given = replace(given, tokens=None if kind == "word" else kind)
            named = of_sides | {path: value for path, value in changes.items() if path not in TOKENS_OF_SIDES}
        found: list[Recommendation] = []
        measured: list[Measured] = []
        lines = [*described(summary, task_settings, task), ""]
        for one in recommended(task_settings, task, changes, budget):
            measured.append(one)
            found.append(_as_asked(one, given, task_settings.kind, named))
            lines += [*shown(one, _call(found[-1])), ""]
        lines += [*own_reward_note(measured), "", *how_measured(budget)]
    return Recommendations(task_settings.kind, summary, tuple(found), "\n".join(in_python(line) for line in lines))


def _kept(side: Any) -> Any:
    """What is handed over once is kept, for it is handed on to `train`."""
    return list(side) if isinstance(side, Iterator) else side


def _meant(given: Given, folder: Path, stack: ExitStack) -> Iterator[dict[str, Any]]:
    """Plain values of tasks that the data may be of; what is no file is written into a folder for as long."""
    asked = task_of(given)
    if asked.task is None:
        raise ConfigError("data: is missing. Give the path of a file, or a list of strings.", code="recommend_no_data")
    if asked.rows is not None:
        yield located_at(asked.task, stack.enter_context(written(asked.rows, folder, DATA_FILE)))
        return
    yield asked.task
    if isinstance(given.data, str | Path):
        # Where each record has one text it is no pair.
        as_pairs = task_of(replace(given, data=None, pairs=given.data)).task
        assert as_pairs is not None
        yield as_pairs


def _as_asked(one: Measured, given: Given, kind: str, named: Mapping[str, Any]) -> Recommendation:
    """A recommendation with the arguments that begin its run.

    Args:
        one: as it was measured.
        given: the data.
        kind: of the task that the data turned out to be of.
        named: dotted path → value, that the run has beside its preset and its data.
    """
    if one.config is None:
        return Recommendation(one.preset, one.purpose, {}, {}, None, one.measured, one.refusal)
    data = {name: getattr(given, name) for name in given.__slots__ if getattr(given, name) is not None}
    if kind == "pairs" and isinstance(given.data, str | Path):
        data = {"pairs": data.pop("data"), **data}
    settings = {"settings": dict(named)} if named else {}
    arguments = {"preset": one.preset, **data, **settings}
    return Recommendation(one.preset, one.purpose, arguments, following(one.config), one.seconds, one.measured, "")


def _call(one: Recommendation) -> str:
    """The call that begins a run, as it is written; of data that is no file the name of its argument stands there."""
    written = [
        name if name in _DATA and not isinstance(value, str | Path) else repr(str(value) if name in _DATA else value)
        for name, value in one.arguments.items()
    ]
    named = [f"{name}={value}" for name, value in zip(one.arguments, written, strict=True)]
    return f"rlgan.train({', '.join([*written[:1], *named[1:]])})"
