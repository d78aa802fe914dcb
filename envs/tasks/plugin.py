"""A task of the user's own: a function, or a class, that is called with the plug-in's options and gives a `Task`.

    def verses(copies=3):
        return text_task("verses", train=[...], valid=[...], test=[...])

Everything that the task has (sequences, conditions, an exact distribution, what can be measured of it) is looked up on
the task itself, which is built when its name is first read. It keeps the contract of `rlgan.envs.testing.check_task`.
The same options must give the same sequences again: whoever resumes the run compares them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from rlgan.base.errors import ConfigError, DataError, PluginError
from rlgan.base.pretrained import ModelSource
from rlgan.base.settings import FreeOnResume
from rlgan.extensions import Loaded, PluginKind, TimedPlugin, brief, check_options, in_time, note, own_lines, refusal

from ..reading import count, the_first
from ..tokenisers import PatternSplitter, split_words
from ..vocabulary import UNK_NAME, Vocabulary
from .lines import padded
from .task import Sides, Task, TaskMeasure

_FORM = "a function whose parameters are its options and which returns a rlgan.envs.Task"

_built: dict[str, Task] = {}  # at most one: the task that a configuration was read by, until somebody asks for it


class PluginTask(TimedPlugin):
    """A task of the user's own; docs/extending.md has an example."""

    plugin_kind: ClassVar[PluginKind] = "task"
    is_certain: ClassVar[bool] = False
    are_words: ClassVar[Sides] = (False, False)

    timeout_s: Annotated[float, FreeOnResume()] = Field(3600.0, gt=0.0)
    """Maximum number of seconds for building the task."""
    gives_conditions: bool = False
    """Whether the task has conditions; filled in by rlgan."""
    is_stream: bool = False
    """Whether training sequences are new each time; filled in by rlgan."""
    knows_distribution: bool = False
    """Whether the task knows its exact distribution; filled in by rlgan."""
    has_real_sequences: bool = True
    """Whether the task has sequences, and not only what sequences are given; filled in by rlgan."""
    has_prompts: bool = False
    """Whether conditions are of the sequences' tokens; filled in by rlgan."""
    language_model: ModelSource | None = None
    """The language model whose tokens these are; filled in by rlgan."""
    measured: tuple[TaskMeasure, ...] = ()
    """What can be measured of its sequences, in alphabetical order; filled in by rlgan."""

    @property
    def measures(self) -> frozenset[TaskMeasure]:
        """See `TaskMeasure`."""
        return frozenset(self.measured)

    def check_object(self, loaded: Loaded) -> None:
        """See `Plugin.check_object`; the task is built, and what it has is noted."""
        if not callable(loaded.object):
            raise ConfigError(
                f"task plug-in {self.name!r}: is {brief(loaded.object)}. Name {_FORM}.",
                code="task_plugin_form",
                fields={"plugin": self.name},
            )
        check_options(self, inspect.signature(loaded.object), ())
        task = _called(self, loaded)
        found: dict[str, object] = {
            "gives_conditions": task.conditions is not None,
            "is_stream": task.stream is not None,
            "knows_distribution": task.has_known_distribution,
            "has_real_sequences": task.has_real_sequences,
            "has_prompts": task.has_prompts,
            "language_model": task.language_model,
            "measured": tuple(sorted(task.measures)),
        }
        for name, value in found.items():
            note(self, name, value)
        _built.clear()
        _built[self._key(loaded.digest)] = task

    def _key(self, digest: str) -> str:
        return f"{digest} {self.name} {dict(sorted(self.options.items()))!r}"


def build_plugin_task(settings: PluginTask) -> Task:
    """Build the task.

    Raises:
        ConfigError: the plug-in is not there, or is another one than the configuration was built with.
        PluginError: its function raises, or returns something else than a task that keeps its contract.
    """
    known = _built.pop(settings._key(settings.digest), None)
    return _called(settings, settings.load()) if known is None else known


def _require_texts(name: str, split: str, texts: Sequence[str]) -> None:
    """See to it that a split is texts: a single string would be read letter by letter."""
    if isinstance(texts, str):
        raise DataError(
            f"task {name!r}, {split}: is one string. Give a list of strings: text.splitlines().",
            code="task_texts_one_string",
            fields={"task": name},
        )
    if not len(texts):
        raise DataError(
            f"task {name!r}, {split}: contains no texts. Give at least one.",
            code="task_texts_empty",
            fields={"task": name},
        )
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(
                f"task {name!r}, {split}: text {number}, counted from 0, is {brief(text)}. Give strings.",
                code="task_texts_type",
                fields={"task": name},
            )


def text_task(
    name: str,
    train: Sequence[str],
    valid: Sequence[str],
    test: Sequence[str],
    *,
    tokens: Literal["words", "characters"] | re.Pattern[str] = "words",
    max_length: int | None = None,
    keep_unseen: bool = True,
) -> Task:
    """A text task of texts that are there already: what a plug-in of your own data returns.

    Args:
        name: how messages call it.
        train: texts to learn from.
        valid: texts held out for early stopping and selection.
        test: texts held out for the figures that are reported.
        tokens: what a token is: what stands between spaces, a character, or a match of a pattern, where every character
            of a text belongs to a match.
        max_length: greatest number of tokens, the terminator included; None: the longest training text and its
            terminator. Longer texts are left out.
        keep_unseen: whether held-out texts are kept that have tokens of no training text, which are read as `<unk>`.

    Raises:
        DataError: a split is empty, one string, or has something else than strings; or the training texts have fewer
            than two different tokens, or a pattern leaves out a part of a text.
    """
    for split, given in (("train", train), ("valid", valid), ("test", test)):
        _require_texts(name, split, given)
    cut = _cut(tokens)
    splits = {
        split: [tuple(cut(text)) for text in texts]
        for split, texts in (("train", train), ("valid", valid), ("test", test))
    }
    longest = max((len(text) for text in splits["train"]), default=0) + 1 if max_length is None else max_length
    kept = {split: [text for text in texts if 0 < len(text) < longest] for split, texts in splits.items()}
    for split, texts in kept.items():
        if not texts:
            raise DataError(
                f"task {name!r}, {split}: none of {len(splits[split])} texts has 1 to {longest - 1} tokens. Give "
                "texts, or raise max_length.",
                code="task_texts_length",
                fields={"task": name},
            )
    vocabulary = Vocabulary.build(kept["train"])
    if len(vocabulary.tokens) < 2:
        raise DataError(
            f"task {name!r}: the training texts have fewer than 2 different tokens. Give more text.",
            code="task_too_few_tokens",
            fields={"task": name},
        )
    num_left = {split: len(splits[split]) - len(texts) for split, texts in kept.items()}
    kept, remarks = _held_out_read(name, kept, vocabulary, keep_unseen)
    space = vocabulary.space(longest)
    encoded = {split: padded([vocabulary.encode(text) for text in texts], space) for split, texts in kept.items()}
    return Task(
        name=name,
        space=space,
        train=encoded["train"],
        valid=encoded["valid"],
        test=encoded["test"],
        token_names=vocabulary.names,
        joining="words" if tokens == "words" else "characters",
        notes=(
            *(
                f"{name}: {split}: {len(kept[split])} texts, {number} dropped because of their length"
                for split, number in num_left.items()
            ),
            *remarks,
        ),
        measures=frozenset({"text"}),
        columns=("text",),
    )


def _held_out_read(
    name: str, kept: dict[str, list[tuple[str, ...]]], vocabulary: Vocabulary, keep_unseen: bool
) -> tuple[dict[str, list[tuple[str, ...]]], list[str]]:
    """The splits, and what is to be said of held-out texts with tokens that no training text has."""
    known, found, remarks = set(vocabulary.tokens), dict(kept), list[str]()
    for split in ("valid", "test"):
        new = dict.fromkeys(token for text in kept[split] for token in text if token not in known)
        if not new:
            continue
        seen = [text for text in kept[split] if new.keys().isdisjoint(text)]
        number = count(len(kept[split]) - len(seen), "text")
        which = the_first([repr(token) for token in new], 3)
        what = f"{name}: {split}: {number} with tokens that no training text has ({which})"
        if keep_unseen:
            remarks.append(f"{what}, which are read as {UNK_NAME}")
            continue
        if not seen:
            raise DataError(
                f"{what}, so that none is left. Give more texts.",
                code="task_texts_unseen",
                fields={"task": name},
            )
        found[split] = seen
        remarks.append(f"{what}, left out")
    return found, remarks


def _cut(tokens: str | re.Pattern[str]) -> Callable[[str], Sequence[str]]:
    """What makes tokens of a text."""
    if isinstance(tokens, re.Pattern):
        return PatternSplitter(tokens, "error", "the pattern")
    return split_words if tokens == "words" else list


def _called(settings: PluginTask, loaded: Loaded) -> Task:
    """The task, which keeps its contract."""
    from ..testing import check_task

    who = f"task plug-in {settings.name!r}"
    try:
        with in_time(settings.timeout_s, lambda: settings.late("building it"), loaded.path):
            task = loaded.object(**settings.options)
    except PluginError:
        raise
    except Exception as error:  # a user's own code may raise anything
        kind = DataError if isinstance(error, DataError) else ConfigError
        raise refusal(who, error, kind) or PluginError(
            f"{who}: raised {type(error).__name__}: {error}. Fix the plug-in.{own_lines(error, loaded.path)}",
            code="task_plugin_raised",
            fields={"plugin": who},
        ) from error
    if not isinstance(task, Task):
        raise ConfigError(
            f"{who}: returned {brief(task)}. Name {_FORM}.", code="task_plugin_returns", fields={"plugin": who}
        )
    try:
        check_task(task)
    except AssertionError as error:
        raise ConfigError(
            f"{who}: {error}. Fix the plug-in.", code="task_plugin_contract", fields={"plugin": who}
        ) from None
    return task
