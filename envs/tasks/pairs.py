"""Pairs as people have them, a source that is given and a target to be written: translation, dialogue, summaries.

Sources become the task's conditions, targets its sequences. Everything left out is counted in the notes. Files are
named in `pair_files.py` and read in `rlgan.envs.reading`, sources are written in `sources.py`, text is cut into tokens
in `pieces.py` and numbered in `numbering.py`.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator

from rlgan.base.errors import ConfigError, DataError
from rlgan.base.settings import Settings

from ..reading import PairFile, count, which_lines
from ..sequence_space import SequenceSpace
from ..vocabulary import SPECIAL_NAMES, WORD_MARK, Vocabulary
from .lines import FromFiles, Limit, OverLong, fit, split_off
from .numbering import Numbering, Places, Rows, equal_rows, equal_texts, filled, first_of_each
from .pair_files import PairInput, read_pairs
from .pieces import (
    DEFAULT_LONGEST,
    Cutting,
    TokenSettings,
    Words,
    learn_cutting,
    require_case,
    used_marks,
    vocabulary_of,
)
from .remarks import a_handful, many_unknown, single_tokens
from .sources import DomainSettings, Reading, Translation, Writing, marks_of, turn_id
from .task import Conditions, Sides, Task, TaskMeasure


class SeparateVocabularies(Settings):
    """Sources and targets have separate vocabularies."""

    kind: Literal["separate"] = "separate"

    source: TokenSettings = Words()
    """Tokens of the sources."""

    target: TokenSettings = Words()
    """Tokens of the targets."""

    is_shared: ClassVar[bool] = False
    """Whether both sides have the same ids."""

    @property
    def of_sides(self) -> tuple[TokenSettings, TokenSettings]:
        """What a token of a source and of a target is."""
        return self.source, self.target


class SharedVocabulary(Settings):
    """Sources and targets share one vocabulary with the same ids."""

    kind: Literal["shared"] = "shared"

    tokens: TokenSettings = Words()
    """What a token is."""

    is_shared: ClassVar[bool] = True

    @property
    def of_sides(self) -> tuple[TokenSettings, TokenSettings]:
        """What a token of a source and of a target is."""
        return self.tokens, self.tokens


VocabularySettings = Annotated[SeparateVocabularies | SharedVocabulary, Field(discriminator="kind")]
"""Alphabets of sources and targets."""


class PairsTask(FromFiles):
    """Targets to be generated from sources, read from files. All pairs with the same source are in the same split."""

    gives_conditions: ClassVar[bool] = True
    knows_distribution: ClassVar[bool] = False
    has_real_sequences: ClassVar[bool] = True
    is_certain: ClassVar[bool] = False
    is_stream: ClassVar[bool] = False
    language_model: ClassVar[None] = None
    kind: Literal["pairs"] = "pairs"

    input: PairInput
    """Files of the pairs."""

    domain: DomainSettings = Translation()
    """What a source is."""

    vocabulary: VocabularySettings = SeparateVocabularies()
    """Vocabularies of sources and targets."""

    lowercase: bool = False
    """Whether to convert text to lower case."""

    max_length: int | None = Field(default=None, ge=2, le=10_000)
    """Maximum number of tokens T of a target, including the terminator; None: the longest training target and its
    terminator, but at most 64 words or 128 other tokens."""

    min_length: int | None = Field(default=None, ge=1)
    """Minimum number of tokens of a training target, without the terminator; pairs with shorter targets are dropped
    from training (dialogue: 5). None keeps all. Validation and test pairs are always kept."""

    over_long: OverLong = "drop"
    """What to do with pairs whose target and terminator exceed `max_length`: drop the pair, cut the target to T
    tokens (without a terminator), or raise an error. Validation and test pairs are cut, never dropped."""

    @model_validator(mode="after")
    def _settings_of_reading_have_effect(self) -> PairsTask:
        fixed = self.input.fixed_format
        others: dict[str, object] = {}
        if fixed is not None:
            others = {"separator": self.separator, "quotes": self.quotes}
            others["format"] = None if self.format in ("auto", fixed) else self.format
            others["header"] = None if self.input.may_have_header else self.header
        for name, value in others.items():
            if value is not None:
                raise ConfigError(
                    f"{name}={value!r}: has no effect with input={self.input.kind!r}. Remove it, or choose "
                    "input='file', which reads every format.",
                    code="no_effect_with_input",
                    fields={name: value, "input": self.input.kind},
                )
        if self.header is False:
            for column in self.input.columns:
                if isinstance(column, str):
                    raise ConfigError(
                        f"header=False: {column!r} is the name of a column. Give columns by number, or remove this "
                        "setting.",
                        code="named_column_without_header",
                    )
        return self

    @model_validator(mode="after")
    def _case_has_no_meaning(self) -> PairsTask:
        for tokens in (self.source_tokens, self.target_tokens):
            require_case(tokens, self.lowercase)
        return self

    @model_validator(mode="after")
    def _lengths_fit_together(self) -> PairsTask:
        # A target that is cut has no terminator and may be max_length tokens long.
        most = None if self.max_length is None else self.max_length - (self.over_long != "cut")
        if self.min_length is not None and most is not None and self.min_length > most:
            raise ConfigError(
                f"min_length={self.min_length}: max_length={self.max_length} limits targets to {most} tokens. "
                "Lower min_length, or raise max_length.",
                code="min_above_max_length",
                fields={"min_length": self.min_length, "max_length": self.max_length},
            )
        return self

    @property
    def held_out_files(self) -> Mapping[str, tuple[str, str]]:
        """See `FromFiles.held_out_files`."""
        return self.input.held_out_files

    @property
    def source_tokens(self) -> TokenSettings:
        """What a token of a source is."""
        return self.vocabulary.of_sides[0]

    @property
    def target_tokens(self) -> TokenSettings:
        """What a token of a target is."""
        return self.vocabulary.of_sides[1]

    @property
    def has_prompts(self) -> bool:
        """Whether sources and targets have one alphabet, so that a target may go on from its source."""
        return self.vocabulary.is_shared

    @property
    def measures(self) -> frozenset[TaskMeasure]:
        """See `TaskMeasure`."""
        return frozenset({"references", "summaries"} if self.domain.are_summaries else {"references"})

    @property
    def are_words(self) -> Sides:
        """See `Sides`."""
        return self.source_tokens.are_words, self.target_tokens.are_words


@dataclass
class _Texts:
    """Text of the pairs of a file or a split, with marks where they belong.

    `numbers` are those of the lines, records or rows that they stand on, `unit` says which of these.
    """

    unit: str
    numbers: Places
    sources: list[str]
    targets: list[str]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, places: Places) -> _Texts:
        return _Texts(
            self.unit,
            self.numbers[places],
            [self.sources[place] for place in places.tolist()],
            [self.targets[place] for place in places.tolist()],
        )


@dataclass
class _Split:
    """The pairs of a split as tokens, and where they stand, as in `_Texts`.

    `wholes` are numbers that are equal, in all splits of a task, where whole sources are, before they are cut.
    """

    unit: str
    numbers: Places
    wholes: Places
    sources: Rows
    targets: Rows

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, places: Places) -> _Split:
        sources, targets = self.sources.take(places), self.targets.take(places)
        return _Split(self.unit, self.numbers[places], self.wholes[places], sources, targets)


@dataclass(frozen=True)
class _Side:
    """How the text of one side is cut, its tokens so far, and the marks that stand in its training text."""

    name: str
    tokens: TokenSettings
    option: str
    cutting: Cutting
    numbering: Numbering
    marks: list[str]

    def about(self, space: SequenceSpace) -> str:
        return (
            f"{self.name}: {space.vocab_size} {self.cutting.kind} ids, {len(SPECIAL_NAMES)} of them special; at "
            f"most {space.max_length} tokens including the terminator"
        )


def build_pairs_task(settings: PairsTask) -> Task:
    """Read, clean, split and encode the files.

    Raises:
        ConfigError: a library that the tokens take is not installed.
        DataError: a file is missing, unreadable or not what it should be; or nothing is left to train or to measure on.
    """
    notes: list[str] = []
    paths, texts = _read(settings, notes)
    sides = _sides(settings, texts["train"])
    tokenised = _tokenised(texts, sides, paths, notes)
    source_side, target_side = sides
    vocabularies = _vocabularies(settings, sides, tokenised["train"])
    source_limit = _source_limit(settings, source_side, tokenised["train"].sources)
    target_limit = Limit(settings.max_length or _longest(target_side, tokenised["train"].targets), settings.over_long)
    fitted = {}
    for split in _SPLITS:
        limits = (source_limit, target_limit)
        if split != "train":
            limits = (_without_dropping(source_limit), _without_dropping(target_limit))
        fitted[split], dropped = _fit(tokenised[split], *limits, paths[split])
        notes += [f"{split}: {note}" for note in dropped]
    if settings.min_length is not None:
        fitted["train"], about = _without_short(fitted["train"], settings.min_length, paths["train"])
        notes += [f"train: {note}" for note in about]

    sources_of, targets_of = vocabularies
    if len(targets_of.tokens) < 2:
        kept = ", ".join(map(repr, targets_of.tokens)) or "none"
        raise DataError(
            f"{paths['train']}: the training targets have fewer than 2 distinct tokens in the vocabulary ({kept}); "
            "at least 2 are needed. Give more text, or lower vocabulary's min_count.",
            code="too_few_target_tokens",
        )
    between_turns = turn_id(settings.domain, source_side.cutting, sources_of)
    sources = sources_of.space(source_limit.max_length, separator_id=between_turns)
    targets = targets_of.space(target_limit.max_length)
    notes += [f"{side.name}: {note}" for side in sides for note in side.cutting.notes()]
    notes += [source_side.about(sources), target_side.about(targets)]
    tables = [side.numbering.table(known) for side, known in zip(sides, vocabularies, strict=True)]
    notes += _shared_sources(settings, fitted)
    for split, one in fitted.items():
        notes += _counts(split, one, sides, tables)
        option = settings.held_out_files.get(split, (f"input.{split}", ""))[0]
        notes += a_handful(split, len(one), "pair", f"--task.{option.replace('_', '-')}")
    return Task(
        name="pairs",
        space=targets,
        train=filled(fitted["train"].targets, tables[1], targets),
        valid=filled(fitted["valid"].targets, tables[1], targets),
        test=filled(fitted["test"].targets, tables[1], targets),
        token_names=targets_of.names,
        joining=target_side.cutting.joining,
        notes=tuple(notes),
        conditions=Conditions(
            space=sources,
            train=filled(fitted["train"].sources, tables[0], sources),
            valid=filled(fitted["valid"].sources, tables[0], sources),
            test=filled(fitted["test"].sources, tables[0], sources),
            token_names=sources_of.names,
            joining=source_side.cutting.joining,
            reading=Reading(
                domain=settings.domain,
                tokens=settings.source_tokens,
                lowercase=settings.lowercase,
                names=sources_of.names,
                pieces=source_side.cutting.pieces,
                max_length=sources.max_length,
                encoding=settings.encoding,
                normalisation=settings.normalisation,
            ),
            valid_words=source_side.numbering.words(fitted["valid"].sources),
            test_words=source_side.numbering.words(fitted["test"].sources),
            valid_sources=torch.from_numpy(fitted["valid"].wholes),
            test_sources=torch.from_numpy(fitted["test"].wholes),
        ),
        valid_words=target_side.numbering.words(tokenised["valid"].targets),
        test_words=target_side.numbering.words(tokenised["test"].targets),
        measures=settings.measures,
        columns=("source", "target"),
    )


def _read(settings: PairsTask, notes: list[str]) -> tuple[dict[str, str], dict[str, _Texts]]:
    """The files of each split and its pairs; what was left out is added to the notes."""
    paths, splits, targets_alone = {}, {}, ""
    for split in ("train", *settings.held_out_files):
        file = read_pairs(settings.input, split, settings.how)
        pairs, about = _written(file, settings)
        if settings.drops_repeated:
            kept = first_of_each(equal_texts(pairs.sources, pairs.targets))
            if len(kept) < len(pairs):
                about.append(f"dropped {count(len(pairs) - len(kept), 'repeated pair')}")
                pairs = pairs.take(kept)
        paths[split], splits[split] = file.path, pairs
        targets_alone = targets_alone or file.targets_alone
        notes += [f"{file.path}: {note}" for note in [*file.notes, *about]]
    if settings.is_split_here:
        splits |= _shared_out(splits["train"], settings, paths["train"], targets_alone)
    return {split: paths.get(split, paths["train"]) for split in splits}, splits


def _shared_out(pairs: _Texts, settings: PairsTask, path: str, targets_alone: str) -> dict[str, _Texts]:
    """Splits of which no two have a source in common; pairs of one source follow each other."""
    groups = equal_texts(pairs.sources)
    number = int(groups.max()) + 1
    remedy = ""
    if number < len(pairs):
        remedy = (
            f"The file has {count(len(pairs), 'pair')}, and pairs with the same source stay in one split, so more "
            "targets do not help. Give pairs with more sources, give separate files for validation and test "
            f"({_held_out_options(settings)}), or train on the targets alone (--data {targets_alone})."
        )
    shared_out = split_off(number, settings, path=path, noun="distinct source", remedy=remedy)
    by_source = np.argsort(groups, kind="stable")
    splits = {}
    for split, chosen in shared_out.items():
        is_chosen = np.zeros(number, dtype=bool)
        is_chosen[chosen] = True
        splits[split] = pairs.take(by_source[is_chosen[groups[by_source]]])
    return splits


def _held_out_options(settings: PairsTask) -> str:
    """How files of the splits without one are named where they are typed."""
    sides = settings.input.suffixes
    return " ".join(f"--task.input.{split}{side} FILE" for split in settings.held_out_fractions for side in sides)


def _written(file: PairFile, settings: PairsTask) -> tuple[_Texts, list[str]]:
    """Pairs as text to be cut, and what was left out or changed; the file's own pairs are given up on the way."""
    numbers, sources, targets = array("q"), list[str](), list[str]()
    empty: dict[str, list[int]] = {"source": [], "target": []}
    source_writing = Writing(settings.domain, settings.source_tokens, settings.lowercase, settings.normalisation)
    target_writing = Writing(settings.domain, settings.target_tokens, settings.lowercase, settings.normalisation)
    for number, raw_source, raw_target in file.given_up():
        source = source_writing.source(raw_source, partial(file.where, number))
        target = target_writing.clean(raw_target)
        if source and target.strip():
            numbers.append(number)
            sources.append(source)
            targets.append(target)
        else:
            empty["target" if source else "source"].append(number)
    notes = [
        f"skipped {count(len(lines), 'pair')} with an empty {side}, {which_lines(lines, file.unit)}"
        for side, lines in empty.items()
        if lines
    ]
    if not numbers:
        described = " and ".join([f"{len(lines)} with an empty {side}" for side, lines in empty.items() if lines])
        raise DataError(
            f"{file.path}: contains no pair with text on both sides ({described or 'none at all'}). Give a file "
            "with a source and a target for each pair.",
            code="no_whole_pair",
            fields={"path": file.path},
        )
    if num_earlier := source_writing.num_earlier:
        notes.append(f"removed {count(num_earlier, 'turn')} before the last {settings.domain.most_parts} of a source")
    num_marks = source_writing.num_marks + target_writing.num_marks
    if num_marks:
        notes.append(
            f"read {count(num_marks, 'character')} {WORD_MARK}, which marks words in byte-pair tokens, as a space"
        )
    return _Texts(file.unit, np.array(numbers, dtype=np.int64), sources, targets), notes


def _sides(settings: PairsTask, train: _Texts) -> tuple[_Side, _Side]:
    """Of sources and of targets; where they have one alphabet, it is learnt from both and numbered together."""
    source_marks, target_marks = marks_of(settings.domain)
    if settings.vocabulary.is_shared:
        both = [*train.sources, *train.targets]
        tokens, used, numbering = settings.source_tokens, used_marks(source_marks, both), Numbering()
        cutting = learn_cutting(tokens, both, source_marks, "vocabulary.tokens")
        option = "--task.vocabulary.tokens"
        return (
            _Side("sources", tokens, option, cutting, numbering, used),
            _Side("targets", tokens, option, cutting, numbering, used),
        )
    sides = []
    for side, texts, marks in (("source", train.sources, source_marks), ("target", train.targets, target_marks)):
        tokens = getattr(settings.vocabulary, side)
        cutting = learn_cutting(tokens, texts, marks, f"vocabulary.{side}")
        option = f"--task.vocabulary.{side}"
        sides.append(_Side(f"{side}s", tokens, option, cutting, Numbering(), used_marks(marks, texts)))
    return sides[0], sides[1]


def _tokenised(
    texts: dict[str, _Texts], sides: tuple[_Side, _Side], paths: Mapping[str, str], notes: list[str]
) -> dict[str, _Split]:
    """All splits as numbers; texts are given up on the way."""
    groups = equal_texts([source for split in _SPLITS for source in texts[split].sources])
    wholes = np.split(groups, np.cumsum([len(texts[split]) for split in _SPLITS[:-1]]))
    splits = {}
    for split, of_split in zip(_SPLITS, wholes, strict=True):
        one = texts.pop(split)
        rows = []
        for side, written in zip(sides, (one.sources, one.targets), strict=True):
            rows.append(side.numbering.rows(side.cutting.placed(written, paths[split], one.numbers, one.unit)))
            written.clear()
        splits[split], about = _with_tokens(_Split(one.unit, one.numbers, of_split, *rows), paths[split])
        notes += [f"{split}: {note}" for note in about]
    for side, found in zip(sides, (splits["train"].sources, splits["train"].targets), strict=True):
        noun = f"{side.name[:-1]} of train"
        notes += [f"{paths['train']}: {note}" for note in single_tokens(found, side.tokens, noun)]
    return splits


def _with_tokens(split: _Split, path: str) -> tuple[_Split, list[str]]:
    """The pairs that have a token on both sides: a pattern may leave out all of a text."""
    has_tokens = (split.sources.lengths > 0) & (split.targets.lengths > 0)
    if has_tokens.all():
        return split, []
    if not has_tokens.any():
        raise DataError(
            f"{path}: no pair has a token on both sides. Choose other tokens, or fix their pattern.",
            code="no_pair_has_tokens",
            fields={"path": path},
        )
    lost = split.numbers[~has_tokens].tolist()
    kept = split.take(np.flatnonzero(has_tokens))
    return kept, [f"skipped {count(len(lost), 'pair')} without any token on one side, {which_lines(lost, split.unit)}"]


def _vocabularies(settings: PairsTask, sides: tuple[_Side, _Side], train: _Split) -> tuple[Vocabulary, Vocabulary]:
    counts = [
        rows.counts(len(side.numbering)) for side, rows in zip(sides, (train.sources, train.targets), strict=True)
    ]
    if settings.vocabulary.is_shared:
        counts = [counts[0] + counts[1]] * 2
    source, target = (
        vocabulary_of(side.tokens, side.cutting, side.numbering.counted(found), side.marks)
        for side, found in zip(sides, counts, strict=True)
    )
    return source, target


def _longest(side: _Side, rows: Rows) -> int:
    return max(2, min(int(rows.lengths.max()) + 1, DEFAULT_LONGEST[side.cutting.kind]))


def _source_limit(settings: PairsTask, side: _Side, train: Rows) -> Limit:
    domain = settings.domain
    names = ("domain.max_source_length", "domain.over_long_source")
    return Limit(domain.max_source_length or _longest(side, train), domain.over_long_source, *names, domain.keeps_end)


def _without_dropping(limit: Limit) -> Limit:
    """The same of held-out pairs: a figure without the long ones would be of an easier split."""
    return replace(limit, over_long="cut") if limit.over_long == "drop" else limit


def _fit(split: _Split, source_limit: Limit, target_limit: Limit, path: str) -> tuple[_Split, list[str]]:
    """The pairs of which both sides fit, and what was done."""
    sources, places, notes = fit(
        split.sources, source_limit, path=path, numbers=split.numbers, noun="source", unit=split.unit
    )
    split = replace(split.take(places), sources=sources)
    targets, kept, more = fit(
        split.targets, target_limit, path=path, numbers=split.numbers, noun="target", unit=split.unit
    )
    return replace(split.take(kept), targets=targets), notes + more


def _without_short(split: _Split, min_length: int, path: str) -> tuple[_Split, list[str]]:
    """The pairs whose target is long enough, and what was done."""
    is_short = split.targets.lengths < min_length
    if is_short.all():
        longest = int(split.targets.lengths.max())
        raise DataError(
            f"{path}: every target is too short: the longest has {longest} tokens, but min_length={min_length}. "
            f"Lower min_length to at most {longest}.",
            code="all_targets_too_short",
            fields={"min_length": min_length, "path": path},
        )
    if not is_short.any():
        return split, []
    lines = split.numbers[is_short].tolist()
    described = (
        f"dropped {count(len(lines), 'target')} shorter than {min_length} tokens, {which_lines(lines, split.unit)}"
    )
    return split.take(np.flatnonzero(~is_short)), [described]


def _shared_sources(settings: PairsTask, splits: Mapping[str, _Split]) -> list[str]:
    """What is to be said of whole sources that stand there more than once."""
    notes = []
    for split, one in splits.items():
        different = np.unique(np.stack([one.wholes, equal_rows(one.targets)[0]]), axis=1)[0]
        _, numbers = np.unique(different, return_counts=True)
        several = numbers[numbers > 1]
        if len(several):
            notes.append(f"{split}: {count(len(several), 'source')} with several targets, {several.sum()} in all")
    for split in settings.held_out_files:
        shared = int(np.isin(splits[split].wholes, splits["train"].wholes).sum())
        if shared:
            notes.append(f"{split}: {shared} of {len(splits[split])} sources are also training sources")
    return notes


def _counts(split: str, one: _Split, sides: tuple[_Side, _Side], tables: list[NDArray[np.int32]]) -> list[str]:
    described, notes = [], []
    for side, rows, table in zip(sides, (one.sources, one.targets), tables, strict=True):
        counts = rows.counts(len(side.numbering))
        num_unknown, num_tokens = int(counts[table == Vocabulary.unknown_id].sum()), int(counts.sum())
        described.append(
            f"{side.name} {count(num_tokens, 'token')}, {num_unknown} unknown ({num_unknown / num_tokens:.2%})"
        )
        notes += many_unknown(split, num_unknown, num_tokens, side.tokens, side.option, side.name)
    return [f"{split}: {count(len(one), 'pair')}; {'; '.join(described)}", *notes]


_SPLITS = ("train", "valid", "test")
