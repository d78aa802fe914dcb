"""What an error says to do, in options that can be typed.

Rooms name a setting by its field (`min_count`), its path below them (`input.source`) or its whole path
(`schedule.mle_epochs`), for they do not know where they stand in a configuration, nor that there is a command line.
Here both are known: where a message says what to do, a setting becomes the option that sets it in this run, and a name
that this verb has no option for stays as it is. What a message says of the fault itself stays as it was said.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Collection, Mapping
from typing import Any

from rlgan.base.errors import ConfigError
from rlgan.base.settings import Settings, settings_in
from rlgan.config.config import Config
from rlgan.config.paths import (
    ConfigPathError,
    axis_path,
    changed,
    override,
    settable_paths,
    to_dict,
    variants_at,
    variants_of,
)
from rlgan.envs.tasks import TaskSettings
from rlgan.presets.registry import PRESETS, draft

_BID = (
    "Add|Allow|Bring|Choose|Convert|Did you mean|Give|Increase|Install|Keep|Leave|Lower|Make|Name|Or|Put|Raise|Remove|"
    "Save|Search|See|Set|Train|Try|Use|What helps|Write"
)
_SENTENCE = re.compile(r"(?<=[.?!]) (?=[A-Z])")
_OF_PYTHON = re.compile(r"(\([^()]* in Python\))")
"""What the same is called there, which is no option."""
_BIDS = re.compile(rf"(?:{_BID})\b")
_LATER_BID = re.compile(r"(?:[,;:]| or) (?=(?:or )?(?:set|raise|increase|lower|choose|use|leave|give) )")
_VALUE = r"'[^']*'|\"[^\"]*\"|[\[(][^\])]*[\])]|-?[\w/+-]+(?:\.\w+)*"
_NAME = r"[a-z]\w*(?:\.[a-z]\w*)*"
_TOKEN = re.compile(
    rf"(?P<before>(?<![\w.'/=-])(?:[Ss]et|[Rr]aise|[Ii]ncrease|[Ll]ower|[Ll]eave|[Uu]se|[Cc]hoose) )?"
    rf"(?:(?P<it>it)(?![\w.])|(?P<quoted>'{_NAME}')(?!\w)|"
    rf"(?P<name>(?<![\w.'/=-]){_NAME}(?![\w/-]))(?:(?P<is>=)(?P<value>{_VALUE})|(?= (?P<variant>[a-z]\w*)\b)?))"
)
# What a task reads is named by options of their own; it cannot be built without.
_TASK_OPTIONS = {
    "text": "--data FILE",
    "pairs": "--pairs FILE",
    "demonstrations": "--demonstrations FILE --model DIR",
}
_PRESETS_NAMED = 4
_MOST_NAMED = 3  # settings that one name may stand for


def in_options(message: str, tree: Mapping[str, Any] | None, own: Collection[str] = ()) -> str:
    """A message whose advice names options.

    Args:
        message: of an error.
        tree: the configuration's JSON values; None for a verb that takes no settings.
        own: names of the verb's own options, without dashes.
    """
    message, *quoted = re.split(r"(?=\n {2})", message, maxsplit=1)  # lines of code behind it stay as they are
    known = _Known(tree, own)
    leading = re.match(rf"(?:--)?({_NAME})(?=[=:])", message)
    subject = known.options(leading.group(1)) if leading else []
    first, *rest = _SENTENCE.split(message)
    described = [_advice_within(first, known, subject)]
    for one in rest:
        translate = _translated if _BIDS.match(one) else _advice_within
        described.append(translate(one, known, subject))
    return "".join([" ".join(described), *quoted])


def _advice_within(sentence: str, known: _Known, subject: list[str]) -> str:
    """A sentence that tells the fault, and perhaps what to do after it."""
    found = _LATER_BID.search(sentence)
    if found is None:
        return sentence
    return sentence[: found.end()] + _translated(sentence[found.end() :], known, subject)


def _translated(sentence: str, known: _Known, subject: list[str]) -> str:
    parts = _OF_PYTHON.split(sentence)
    parts[::2] = [_TOKEN.sub(lambda match: _token(match, known, subject, sentence), one) for one in parts[::2]]
    return "".join(parts)


def _token(match: re.Match[str], known: _Known, subject: list[str], sentence: str) -> str:
    before = match["before"] or ""
    if match["it"]:
        return before + _all(subject) if before and len(subject) == 1 else match.group()
    if match["quoted"]:
        is_offer = sentence.startswith("Did you mean")
        options = known.options(match["quoted"][1:-1]) if is_offer else []
        return before + _all(options) if options else match.group()
    name, variant = match["name"], match["variant"]
    # A word of prose is a setting where it is told to be set, or written as only settings are.
    if variant and variant in known.variants(name):
        return before + _all(known.options(name))
    is_advised = bool(before) and (variant is None or variant in ("to", "or", "and", "below", "beside", "none", "null"))
    is_written_so = match["is"] or "." in name or ("_" in name and name not in _names_of_variants())
    options = known.options(name) if is_written_so or is_advised else []
    if not options:
        return match.group()
    if match["is"]:
        return before + " and ".join(f"{option} {_text(match['value'])}" for option in options)
    return before + _all(options)


@functools.cache
def _names_of_variants() -> frozenset[str]:
    """Of all axes: in a list of those to choose from they are names of variants, whatever else is called so."""
    names: set[str] = set()
    owners: list[type[Settings]] = [Config]
    for owner in owners:  # it grows
        for field in owner.model_fields.values():
            owners += [one for one in settings_in(field) if one not in owners]
            names |= variants_of(field).keys()
    return frozenset(names)


def _all(options: list[str]) -> str:
    return " and ".join(options)


def _text(value: str) -> str:
    """A value as Python shows it, as a shell takes it."""
    if value[0] in "'\"":
        return shlex.quote(value[1:-1]) if value[1:-1] else "''"
    if value[0] in "([":
        inside = [one.strip() for one in value[1:-1].split(",") if one.strip()]
        return shlex.quote(f"[{', '.join(one.replace(chr(39), chr(34)) for one in inside)}]")
    return {"None": "none", "True": "true", "False": "false"}.get(value, value)


class _Known:
    """What can be typed.

    Args:
        tree: the configuration's JSON values; None where settings are no options.
        own: names of the verb's own options.
    """

    def __init__(self, tree: Mapping[str, Any] | None, own: Collection[str]) -> None:
        self._own, self._tree = own, tree
        paths = [] if tree is None else settable_paths(tree)
        self._paths = list(dict.fromkeys(paths))

    def options(self, name: str) -> list[str]:
        """Options that set what a name means; none where it means nothing, or too much."""
        if name.replace("_", "-") in self._own:
            return ["--" + name.replace("_", "-")]
        path = axis_path(name)
        return ["--" + one.replace("_", "-") for one in self._meant(path)]

    def variants(self, name: str) -> list[str]:
        """Names of the variants of the axis that a name means."""
        if self._tree is None:
            return []
        found = self._meant(name)
        return [*variants_at(found[0]), "none"] if len(found) == 1 and variants_at(found[0]) else []

    def _meant(self, name: str) -> list[str]:
        if name in self._paths:
            return [name]
        ends = [path for path in self._paths if path.endswith(f".{name}")]
        # Data is read by the task's settings, and an error of reading names them alone.
        ends = [path for path in ends if path.startswith("task.")] or ends
        if not ends:
            # A setting of a variant that could not be built, for want of this very setting.
            axis, _, last = name.rpartition(".")
            known = axis and any(last in one.model_fields for one in variants_at(axis).values())
            return [name] if known else []
        depth = min(path.count(".") for path in ends)
        nearest = [path for path in ends if path.count(".") == depth]
        return nearest if len(nearest) <= _MOST_NAMED else []


def tree_with(config: Config, changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """JSON values of a configuration with as much of some changes as leads anywhere, whether or not it can stand."""
    known = dict(changes)
    while True:
        try:
            return changed(config, known)
        except ConfigPathError as error:
            known = {path: value for path, value in known.items() if path != error.path.replace("-", "_")}
        except ConfigError:
            return to_dict(config)


def where_it_belongs(error: ConfigPathError, config: Config, changes: Mapping[str, Any]) -> str:
    """Sentence part that says how a setting of another variant can be set, or '' where it is of none; tried before.

    Args:
        error: of a path that is not in the configuration.
        config: before the changes.
        changes: dotted path → value, the path among them.
    """
    axis, _, name = error.path.replace("-", "_").rpartition(".")
    if axis == "task":
        tasks = [option for kind, option in _TASK_OPTIONS.items() if name in variants_at(axis)[kind].model_fields]
        return f" Give {' or '.join(tasks)}." if tasks else ""
    variants = [kind for kind, variant in variants_at(axis).items() if name in variant.model_fields] if axis else []
    beside = [kind for kind in variants if axis not in changes and _stands(config, {**changes, axis: kind})]
    presets = [known for known in PRESETS if variants and _stands_in(known, config.task, changes)]
    offers = []
    if beside:
        offers.append(" or ".join(f"--{axis.replace('_', '-')} {kind}" for kind in beside) + " beside it")
    if presets:
        more = ", …" if len(presets) > _PRESETS_NAMED else ""
        offers.append(f"a preset that has it: {', '.join(presets[:_PRESETS_NAMED])}{more}")
    return f" Give {', or '.join(offers)}." if offers else ""


def _stands(config: Config, changes: Mapping[str, Any]) -> bool:
    try:
        override(config, changes)
    except ConfigError:
        return False
    return True


def _stands_in(name: str, task: TaskSettings, changes: Mapping[str, Any]) -> bool:
    try:
        return _stands(draft(name, task), changes)
    except ConfigError:
        return False
