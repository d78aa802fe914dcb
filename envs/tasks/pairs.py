"""Pairs as people have them, a source that is given and a target to be written: translation, dialogue, summaries.

Sources become the task's conditions, targets its sequences. Everything left out is counted in the notes. Files are
named in `pair_files.py` and read in `rlgan.envs.reading`, sources are written in `sources.py`, text is cut into tokens
in `pieces.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from ..errors import ConfigError, DataError
from ..reading import PairFile, count, which_lines
from ..sequence_space import SequenceSpace
from ..settings import Settings
from ..vocabulary import END_ID, SPECIAL_NAMES, WORD_MARK
from .lines import (
    FromFiles,
    Limit,
    OverLong,
    Tokens,
    distinct,
    fit,
    padded,
    split_off,
    unknown_share,
)
from .pair_files import PairInput, ParallelFiles, Records, Table, read_pairs
from .pieces import Alphabet, TokenSettings, Words, build_alphabet
from .sources import (
    Dialogue,
    DomainSettings,
    Reading,
    Summarization,
    Translation,
    Writing,
    marks_of,
    turn_id,
)
from .task import Conditions, Task

DEFAULT_LONGEST: Mapping[str, int] = {"word": 64, "char": 128, "bpe": 128}
"""Greatest `max_length` that is chosen by itself."""

MANY_UNKNOWN = 0.05
"""Share of unknown tokens above which a note says what to do."""


class SeparateVocabularies(Settings):
    """Sources and targets have alphabets of their own."""

    kind: Literal["separate"] = "separate"

    source: TokenSettings = Words()
    """What a token of a source is."""

    target: TokenSettings = Words()
    """What a token of a target is."""


class SharedVocabulary(Settings):
    """Sources and targets have one alphabet, with the same ids."""

    kind: Literal["shared"] = "shared"

    tokens: TokenSettings = Words()
    """What a token is."""


VocabularySettings = Annotated[SeparateVocabularies | SharedVocabulary, Field(discriminator="kind")]
"""Alphabets of sources and targets."""


class PairsTask(FromFiles):
    """Targets that are to be written, given their sources, from files; pairs with one source stay in one split."""

    gives_conditions: ClassVar[bool] = True
    knows_law: ClassVar[bool] = False
    kind: Literal["pairs"] = "pairs"

    input: PairInput
    """Where the pairs stand."""

    domain: DomainSettings = Translation()
    """What a source is."""

    vocabulary: VocabularySettings = SeparateVocabularies()
    """What tokens are."""

    lowercase: bool = False
    """Whether letters are made small."""

    max_length: int | None = Field(default=None, ge=2, le=10_000)
    """Greatest number of tokens T of a target, the terminator included; None: the longest training target and its
    terminator, but at most 64 words or 128 characters or pieces."""

    min_length: int | None = Field(default=None, ge=1)
    """Least number of tokens of a training target, without the terminator: pairs with shorter ones are not learnt from
    (dialogue: 5); None keeps all. Pairs held out are kept as they are."""

    over_long: OverLong = "drop"
    """What becomes of a pair whose target does not fit with its terminator: it is dropped, its target is cut to T
    tokens (which then have no terminator), or it is an error. Pairs held out are never dropped but cut."""

    @model_validator(mode="after")
    def _settings_of_reading_have_effect(self) -> PairsTask:
        fixed = {"tsv": "table", "jsonl": "jsonl"}.get(self.input.kind)
        others: dict[str, object] = {}
        if fixed is not None:
            others = {"separator": self.separator, "quotes": self.quotes}
            others["format"] = None if self.format in ("auto", fixed) else self.format
            others["header"] = None if isinstance(self.input, Table) else self.header
        for name, value in others.items():
            if value is not None:
                raise ConfigError(
                    f"{name}={value!r}: has no effect with input={self.input.kind!r}. Leave it out, or choose "
                    "input='file', which reads every format."
                )
        if self.header is False and not isinstance(self.input, Records):
            where = self.input
            columns = (where.column,) if isinstance(where, ParallelFiles) else (where.source, where.target)
            for column in columns:
                if isinstance(column, str):
                    raise ConfigError(
                        f"header=False: {column!r} is the name of a column. Give columns by number, or leave it out."
                    )
        return self

    @model_validator(mode="after")
    def _lengths_fit_together(self) -> PairsTask:
        # A target that is cut has no terminator and may be max_length tokens long.
        most = None if self.max_length is None else self.max_length - (self.over_long != "cut")
        if self.min_length is not None and most is not None and self.min_length > most:
            raise ConfigError(
                f"min_length={self.min_length}: max_length={self.max_length} leaves targets {most} tokens. Lower "
                "min_length, or raise max_length."
            )
        return self

    @property
    def held_out_files(self) -> Mapping[str, tuple[str, str]]:
        """See `FromFiles.held_out_files`."""
        return self.input.held_out_files

    @property
    def source_tokens(self) -> TokenSettings:
        """What a token of a source is."""
        return self.vocabulary.tokens if isinstance(self.vocabulary, SharedVocabulary) else self.vocabulary.source

    @property
    def target_tokens(self) -> TokenSettings:
        """What a token of a target is."""
        return self.vocabulary.tokens if isinstance(self.vocabulary, SharedVocabulary) else self.vocabulary.target


@dataclass(frozen=True, slots=True)
class _Pair:
    """Text of a pair, with marks where they belong."""

    number: int
    source: str
    target: str


@dataclass
class _Split:
    """The pairs of a split as tokens, the lines that they stand on, and their sources whole and as text."""

    numbers: list[int]
    wholes: list[str]
    sources: list[Tokens]
    targets: list[Tokens]


def build_pairs_task(settings: PairsTask) -> Task:
    """Read, clean, split and encode the files.

    Raises:
        ConfigError: pieces of words are asked for, and the library that learns them is not installed.
        DataError: a file is missing, unreadable or not what it should be; or nothing is left to train or to measure on.
    """
    notes: list[str] = []
    paths, splits = _read(settings, notes)
    sources_of, targets_of = _alphabets(settings, splits["train"])
    tokenised = {
        split: _Split(
            [pair.number for pair in pairs],
            [pair.source for pair in pairs],
            [sources_of.tokenise(pair.source) for pair in pairs],
            [targets_of.tokenise(pair.target) for pair in pairs],
        )
        for split, pairs in splits.items()
    }
    source_limit = _source_limit(settings, sources_of, tokenised["train"].sources)
    target_limit = Limit(settings.max_length or _longest(targets_of, tokenised["train"].targets), settings.over_long)
    fitted = {}
    for split in ("train", "valid", "test"):
        limits = (source_limit, target_limit)
        if split != "train":
            limits = (_without_dropping(source_limit), _without_dropping(target_limit))
        fitted[split], dropped = _fit(tokenised[split], *limits, paths[split])
        notes += [f"{split}: {note}" for note in dropped]
    if settings.min_length is not None:
        fitted["train"], about = _without_short(fitted["train"], settings.min_length, paths["train"])
        notes += [f"train: {note}" for note in about]

    if len(targets_of.vocabulary.tokens) < 2:
        kept = ", ".join(map(repr, targets_of.vocabulary.tokens)) or "none"
        raise DataError(
            f"{paths['train']}: the training targets have fewer than 2 distinct tokens that are kept (kept: {kept}); a "
            "choice needs at least 2. Give more text, or lower vocabulary's min_count."
        )
    between_turns = turn_id(settings.domain, sources_of)
    sources = SequenceSpace(len(sources_of.vocabulary), source_limit.max_length, END_ID, separator_id=between_turns)
    targets = SequenceSpace(len(targets_of.vocabulary), target_limit.max_length, END_ID)
    notes += [_about("sources", sources_of, sources), _about("targets", targets_of, targets)]
    encoded = {
        split: (
            [sources_of.vocabulary.encode(tokens) for tokens in one.sources],
            [targets_of.vocabulary.encode(tokens) for tokens in one.targets],
        )
        for split, one in fitted.items()
    }
    notes += _shared_sources(settings, fitted)
    for split, sides in encoded.items():
        notes += _counts(split, *sides)
    return Task(
        name="pairs",
        space=targets,
        train=padded(encoded["train"][1], targets),
        valid=padded(encoded["valid"][1], targets),
        test=padded(encoded["test"][1], targets),
        token_names=targets_of.vocabulary.names,
        joining=targets_of.joining,
        notes=tuple(notes),
        conditions=Conditions(
            space=sources,
            train=padded(encoded["train"][0], sources),
            valid=padded(encoded["valid"][0], sources),
            test=padded(encoded["test"][0], sources),
            token_names=sources_of.vocabulary.names,
            joining=sources_of.joining,
            reading=Reading(
                domain=settings.domain,
                tokens=settings.source_tokens,
                lowercase=settings.lowercase,
                names=sources_of.vocabulary.names,
                pieces=sources_of.pieces,
                max_length=sources.max_length,
                encoding=settings.encoding,
            ),
            valid_words=tuple(fitted["valid"].sources),
            test_words=tuple(fitted["test"].sources),
            valid_sources=tuple(fitted["valid"].wholes),
            test_sources=tuple(fitted["test"].wholes),
        ),
        valid_words=tuple(tokenised["valid"].targets),
        test_words=tuple(tokenised["test"].targets),
    )


def _read(settings: PairsTask, notes: list[str]) -> tuple[dict[str, str], dict[str, list[_Pair]]]:
    """The files of each split and its pairs; what was left out is added to the notes."""
    paths, splits, targets_alone = {}, {}, ""
    for split in ("train", *settings.held_out_files):
        file = read_pairs(settings.input, split, settings.how)
        pairs, about = _written(file, settings)
        if settings.drops_repeated:
            kept = distinct([(pair.source, pair.target) for pair in pairs])
            if len(kept) < len(pairs):
                about.append(f"dropped {count(len(pairs) - len(kept), 'repeated pair')}")
            pairs = [pairs[index] for index in kept]
        paths[split], splits[split] = file.path, pairs
        targets_alone = targets_alone or file.targets_alone
        notes += [f"{file.path}: {note}" for note in [*file.notes, *about]]
    if settings.is_split_here:
        splits |= _shared_out(splits["train"], settings, paths["train"], targets_alone)
    return {split: paths.get(split, paths["train"]) for split in splits}, splits


def _shared_out(pairs: Sequence[_Pair], settings: PairsTask, path: str, targets_alone: str) -> dict[str, list[_Pair]]:
    """Splits of which no two have a source in common."""
    of_source: dict[str, list[_Pair]] = {}
    for pair in pairs:
        of_source.setdefault(pair.source, []).append(pair)
    sources = list(of_source)
    num_held_out = len(settings.held_out_fractions)
    if len(sources) <= num_held_out < len(pairs):
        raise DataError(
            f"{path}: {count(len(pairs), 'pair')} of {count(len(sources), 'distinct source')}; pairs of one source "
            f"stay together, and train needs one beside {' and '.join(settings.held_out_fractions)}. Give files of "
            f"their own for what is held out ({_held_out_options(settings)}), or learn the targets alone (--data "
            f"{targets_alone})."
        )
    shared_out = split_off(len(sources), settings, path=path, noun="distinct source")
    return {
        split: [pair for place in places for pair in of_source[sources[place]]] for split, places in shared_out.items()
    }


def _held_out_options(settings: PairsTask) -> str:
    """How files of the splits without one are named where they are typed."""
    sides = ("_source", "_target") if isinstance(settings.input, ParallelFiles) else ("",)
    return " ".join(f"--task.input.{split}{side} FILE" for split in settings.held_out_fractions for side in sides)


def _written(file: PairFile, settings: PairsTask) -> tuple[list[_Pair], list[str]]:
    """Pairs as text to be cut, and what was left out or changed."""
    pairs: list[_Pair] = []
    empty: dict[str, list[int]] = {"source": [], "target": []}
    source_writing = Writing(settings.domain, settings.source_tokens, settings.lowercase)
    target_writing = Writing(settings.domain, settings.target_tokens, settings.lowercase)
    for place, number in enumerate(file.numbers):
        source = source_writing.source(file.sources[place], partial(file.where, place))
        target = target_writing.clean(file.targets[place])
        if source and target.strip():
            pairs.append(_Pair(number, source, target))
        else:
            empty["target" if source else "source"].append(number)
    notes = [
        f"skipped {count(len(numbers), 'pair')} with an empty {side}, {which_lines(numbers, file.unit)}"
        for side, numbers in empty.items()
        if numbers
    ]
    if not pairs:
        told = " and ".join([f"{len(numbers)} with an empty {side}" for side, numbers in empty.items() if numbers])
        raise DataError(
            f"{file.path}: holds no pair with something on both sides ({told or 'none at all'}). Give a file with a "
            "source and a target for each pair."
        )
    if isinstance(settings.domain, Dialogue) and (num_earlier := source_writing.num_earlier):
        notes.append(f"left out {count(num_earlier, 'turn')} before the last {settings.domain.max_turns} of a source")
    num_marks = source_writing.num_marks + target_writing.num_marks
    if num_marks:
        notes.append(f"read {count(num_marks, 'character')} {WORD_MARK}, which marks words among pieces, as a space")
    return pairs, notes


def _alphabets(settings: PairsTask, train: Sequence[_Pair]) -> tuple[Alphabet, Alphabet]:
    """Of sources and of targets."""
    source_marks, target_marks = marks_of(settings.domain)
    sources, targets = [pair.source for pair in train], [pair.target for pair in train]
    if isinstance(settings.vocabulary, SharedVocabulary):
        both = build_alphabet(settings.vocabulary.tokens, sources + targets, source_marks, "vocabulary.tokens")
        return both, both
    return (
        build_alphabet(settings.vocabulary.source, sources, source_marks, "vocabulary.source"),
        build_alphabet(settings.vocabulary.target, targets, target_marks, "vocabulary.target"),
    )


def _longest(alphabet: Alphabet, sequences: Sequence[Tokens]) -> int:
    return max(2, min(max(map(len, sequences)) + 1, DEFAULT_LONGEST[alphabet.kind]))


def _source_limit(settings: PairsTask, alphabet: Alphabet, train: Sequence[Tokens]) -> Limit:
    domain = settings.domain
    names = ("domain.max_source_length", "domain.over_long_source")
    if isinstance(domain, Summarization):
        return Limit(domain.max_source_length, "cut", *names)
    # The turn before the answer matters more than the first one.
    keeps_end = isinstance(domain, Dialogue)
    return Limit(domain.max_source_length or _longest(alphabet, train), domain.over_long_source, *names, keeps_end)


def _without_dropping(limit: Limit) -> Limit:
    """The same of held-out pairs: a figure without the long ones would be of an easier split."""
    return replace(limit, over_long="cut") if limit.over_long == "drop" else limit


def _fit(split: _Split, source_limit: Limit, target_limit: Limit, path: str) -> tuple[_Split, list[str]]:
    """The pairs of which both sides fit, and what was done."""
    sources, notes = fit(split.sources, source_limit, path=path, numbers=split.numbers, noun="source")
    places = list(sources)
    remaining = [split.targets[place] for place in places]
    numbers = [split.numbers[place] for place in places]
    targets, more = fit(remaining, target_limit, path=path, numbers=numbers, noun="target")
    kept = [places[index] for index in targets]
    fitted = _Split(
        [split.numbers[place] for place in kept],
        [split.wholes[place] for place in kept],
        [sources[place] for place in kept],
        [*targets.values()],
    )
    return fitted, notes + more


def _without_short(split: _Split, min_length: int, path: str) -> tuple[_Split, list[str]]:
    """The pairs whose target is long enough, and what was done."""
    kept = [index for index, target in enumerate(split.targets) if len(target) >= min_length]
    if not kept:
        longest = max(map(len, split.targets))
        raise DataError(
            f"{path}: every target is too short: the longest has {longest} tokens; min_length={min_length} asks for as "
            f"many. Lower min_length to at most {longest}."
        )
    if len(kept) == len(split.targets):
        return split, []
    lines = [number for number, target in zip(split.numbers, split.targets, strict=True) if len(target) < min_length]
    told = f"dropped {count(len(lines), 'target')} shorter than {min_length} tokens, {which_lines(lines)}"
    rest = _Split(
        [split.numbers[index] for index in kept],
        [split.wholes[index] for index in kept],
        [split.sources[index] for index in kept],
        [split.targets[index] for index in kept],
    )
    return rest, [told]


def _about(side: str, alphabet: Alphabet, space: SequenceSpace) -> str:
    return (
        f"{side}: {space.vocab_size} {alphabet.kind} ids, of them {len(SPECIAL_NAMES)} special; at most "
        f"{space.max_length} tokens with the terminator"
    )


def _shared_sources(settings: PairsTask, splits: Mapping[str, _Split]) -> list[str]:
    """What is to be said of whole sources that stand there more than once."""
    notes = []
    for split, one in splits.items():
        targets: dict[str, set[Tokens]] = {}
        for source, target in zip(one.wholes, one.targets, strict=True):
            targets.setdefault(source, set()).add(target)
        several = [len(found) for found in targets.values() if len(found) > 1]
        if several:
            notes.append(f"{split}: {count(len(several), 'source')} with several targets, {sum(several)} in all")
    train = set(splits["train"].wholes)
    for split in settings.held_out_files:
        shared = sum(source in train for source in splits[split].wholes)
        if shared:
            notes.append(f"{split}: {shared} of {len(splits[split].wholes)} sources are also training sources")
    return notes


def _counts(split: str, sources: Sequence[list[int]], targets: Sequence[list[int]]) -> list[str]:
    told, notes = [], []
    for side, encoded in (("sources", sources), ("targets", targets)):
        num_unknown, num_tokens = unknown_share(encoded)
        share = num_unknown / num_tokens
        told.append(f"{side} {count(num_tokens, 'token')}, {num_unknown} unknown ({share:.2%})")
        if share > MANY_UNKNOWN:
            notes.append(
                f"{split}: {share:.1%} of the tokens of {side} are unknown, which is more than {MANY_UNKNOWN:.0%}; "
                "what helps is more training text, a lower min_count, a larger max_size, or pieces of words (bpe)"
            )
    return [f"{split}: {count(len(sources), 'pair')}; {'; '.join(told)}", *notes]
