"""Messages in words of Python: what the rooms below say in options of the command line, in arguments and settings.

The rooms name what a user gives as it is typed (`--out runs/a`), for most messages are read in a terminal. Here it is
said as they are written in Python: `out='runs/a'`. This is the one place that knows how. What has no counterpart in
Python, such as `rlgan runs list`, stays a command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args, get_origin

from rlgan.base.errors import RlganError
from rlgan.base.settings import Settings, members_of, settings_in
from rlgan.config.config import Config

_ARGUMENTS = (
    "config", "data", "demonstrations", "out", "pairs", "replace-unknown", "seconds", "seed", "source", "storage",
    "target", "temperature", "tokens", "top-k", "top-p", "tracking-uri", "updates",
)  # fmt: skip
"""Options that are arguments of the same name."""
_OTHERS = {
    "accept-changed-plugins": "accept_changed_plugins=True",
    "dry-run": "dry_run=True",
    "merge": "merge=True",
    "to": "to",
    "input": "sources",
    "oracle-params": "task.params",
    "prompt": "sources",
    "resume": "Run.resume()",
    "run": "rlgan.load",
    "trust-code": "trust_code=True",
}
_OTHERS_OF_SWEEP = {**_OTHERS, "no-training": "train=False", "resume": "resume"}
_OF_PLACES = ("config", "data", "demonstrations", "oracle-params", "out", "pairs", "source", "storage", "target")
"""Options whose value is a file, a folder or an address, so that any word may be one."""
_CALLS = {None: "", "sample": ".sample()", "extend": ".extend()"}
_TOKENS = ("word", "char", "bpe", "smiles", "regex")
# What stands behind an option in a sentence, and is not its value.
_PROSE = (
    "again", "and", "before", "beside", "first", "for", "has", "in", "is", "of", "on", "or", "then", "to", "which",
    "with",
)  # fmt: skip

_VALUE = r"(?:'[^']*'|\"[^\"]*\"|\[[^\]]*\]|[^\s`'\"()](?:[^\s`'\"();:,.]|[:,.](?=[^\s`'\")]))*)"
_WRITTEN = re.compile(r"-?\d[\w.,]*|true|false|none|null|[A-Z][A-Z_-]*(?:\.\w+)?|'.*'|\".*\"|\[.*\]")
_RESUMED = re.compile(
    rf"(?:rlgan (?:train|tune) )?--resume (?P<run>{_VALUE})(?: --storage (?P<storage>{_VALUE}))?"
    r"(?P<trust> --trust-code)?"
)
_LOADED = re.compile(rf"(?:rlgan (?P<verb>sample|extend) )?--(?:run|model) (?P<run>{_VALUE})")
_OPTION = re.compile(rf"--(?P<name>[a-z][\w.-]*\w)(?: (?P<value>{_VALUE}))?")
_KEPT = re.compile(r"(`rlgan [^`]*--dry-run[^`]*`)")
"""A command that has no counterpart: it is for a shell."""
_PHRASES = (
    ("--trust-code (trust_code=True in Python)", "trust_code=True"),
    ("--accept-changed-plugins (accept_changed_plugins=True in Python)", "accept_changed_plugins=True"),
    ("--plugin-timeout (RLGAN_PLUGIN_TIMEOUT in Python)", "the environment variable RLGAN_PLUGIN_TIMEOUT"),
    ("Give the folder from `rlgan train --out`", "Give the folder that was `out`"),
    ("Give a file with one source per line, or use --prompt.", "Give a list of them."),
    ("`rlgan train`", "`rlgan.train()`"),
    ("`rlgan sample`", "`Run.sample()`"),
    ("`rlgan extend`", "`Run.extend()`"),
    ("`rlgan tune`", "`rlgan.tune()`"),
)


def in_python(message: str, of_sweep: bool = False) -> str:
    """A message that names arguments and settings as they are written in Python, not options.

    Args:
        message: of an error, or a line for the user.
        of_sweep: whether it is of `rlgan.tune`, whose options mean other things than those of a run.
    """
    if "--" not in message and "rlgan " not in message:
        return message
    parts = _KEPT.split(message)
    return "".join(part if index % 2 else _said(part, of_sweep) for index, part in enumerate(parts))


@contextmanager
def in_words_of_python(of_sweep: bool = False) -> Iterator[None]:
    """Errors of the block say what to do in words of Python.

    Args:
        of_sweep: as of `in_python`.
    """
    try:
        yield
    except RlganError as error:
        if error.args and isinstance(error.args[0], str):
            error.reword(in_python(error.args[0], of_sweep))
        raise


def _said(message: str, of_sweep: bool) -> str:
    for typed, written in _PHRASES:
        message = message.replace(typed, written)
    message = _RESUMED.sub(lambda match: _resumed(match, of_sweep), message)
    message = _LOADED.sub(_loaded, message)
    return _OPTION.sub(lambda match: _option(match, of_sweep), message)


def _resumed(match: re.Match[str], of_sweep: bool) -> str:
    if match["run"] in _PROSE:
        return match[0]
    run = _quoted(match["run"])
    if of_sweep:
        return f"rlgan.tune(resume={run})"
    trusted = ", trust_code=True" if match["trust"] else ""
    storage = f"storage={_quoted(match['storage'])}" if match["storage"] else ""
    return f"rlgan.load({run}{trusted}).resume({storage})"


def _loaded(match: re.Match[str]) -> str:
    if match["run"] in _PROSE:
        return match[0]
    return f"rlgan.load({_quoted(match['run'])}){_CALLS[match['verb']]}"


def _option(match: re.Match[str], of_sweep: bool) -> str:
    name, value = match["name"], match["value"]
    written = _python_of(name, of_sweep)
    if written is None:
        return match[0]  # no option of ours: part of a text, perhaps
    if value is None:
        return written
    is_place = name in _OF_PLACES and value not in _PROSE
    is_value = is_place or _WRITTEN.fullmatch(value) or value in _choices(name)
    takes_one = "=" not in written and "(" not in written
    return f"{written}={_quoted(value)}" if is_value and takes_one else f"{written} {value}"


def _python_of(name: str, of_sweep: bool) -> str | None:
    """What an option is called in Python; None where it is none of ours."""
    others = _OTHERS_OF_SWEEP if of_sweep else _OTHERS
    if name in others:
        return others[name]
    field = name.replace("-", "_")
    if name in _ARGUMENTS or field.split(".")[0] in Config.model_fields or (of_sweep and field in _sweep_fields()):
        return field
    return None


def _sweep_fields() -> set[str]:
    from rlgan.tuning.search.settings import SweepSettings

    return set(SweepSettings.model_fields)


def _quoted(value: str) -> str:
    """A value as Python has it: what stands for something (DIR) and numbers as they are, words as strings."""
    if value in ("none", "null", "true", "false"):
        return value.replace("null", "none").capitalize()
    if value[0].isdigit() and "," in value:
        return f"[{value.replace(',', ', ')}]"
    return value if _WRITTEN.fullmatch(value) else repr(value)


def _choices(name: str) -> set[str]:
    """Words that an option takes."""
    if name == "tokens":
        return set(_TOKENS)
    if name in ("search", "scheduler"):
        from rlgan.tuning.search.settings import Scheduler, Search

        return {*get_args(Search), *get_args(Scheduler)}
    owners: list[type[Settings]] = [Config]
    *above, last = name.replace("-", "_").split(".")
    for part in above:
        fields = [one.model_fields[part] for one in owners if part in one.model_fields]
        owners = [below for field in fields for below in settings_in(field)]
    found: set[str] = set()
    for field in (one.model_fields[last] for one in owners if last in one.model_fields):
        kinds = [one.model_fields["kind"].default for one in settings_in(field) if "kind" in one.model_fields]
        words = [get_args(one) for one in members_of(field.annotation) if get_origin(one) is Literal]
        found |= {*kinds, *(word for some in words for word in some)}
    return found
