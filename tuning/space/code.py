"""Code of the user's own that a sweep executes: its study, its preset, its plug-ins; listed when it begins.

A sweep that is taken up again is asked for by the words in its folder, which may be a stranger's. So the list is
compared, and admitted, before anything of the words is read that would execute code; and the words may name nothing
that is not on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from rlgan.base.errors import CheckpointError, ConfigError
from rlgan.config.paths import override
from rlgan.extensions import (
    ACCEPT_CHANGED,
    NamedCode,
    PluginKind,
    admit,
    is_plugin_name,
    known,
    plugins_in,
    require_unchanged,
    source_of,
)
from rlgan.runs.plugin_changes import PluginChange, changes_of

from .spaces import Space
from .studies import Study

CODE = "code"
"""Key of a sweep's request that lists it."""


def code_of(study_file: str, study: Study, space: Space) -> list[NamedCode]:
    """What a sweep executes of the user's own, each once.

    Args:
        study_file: name of a study that ships, or path of the user's.
        study: itself.
        space: that it spans.
    """
    found = [*_study_code(study_file), *_preset_code(study.preset)]
    configs = [space.base]
    for axis in space.axes:
        values = [one for one in axis.prior.examples() if isinstance(one, str) and is_plugin_name(one)]
        configs += [override(space.base, {axis.path: value}) for value in values]
    configs += [override(space.base, option) for bundle in space.bundles for option in bundle.options.values()]
    for config in configs:
        found += [NamedCode(one.plugin_kind, one.name, one.digest) for one in plugins_in(config)]
    return list(dict.fromkeys(found))


def admitted(
    asked: str, folder: Path, request: Mapping[str, Any], *, trust_code: bool, accept_changed: bool
) -> tuple[PluginChange, ...]:
    """See to it that what taking up a sweep executes is what it began with, and may be executed.

    Args:
        asked: how the user named the sweep.
        folder: of the sweep.
        request: what is kept of it there.
        trust_code: the user has read the code, and lets it be executed.
        accept_changed: the user lets it go on with sources that have changed.

    Returns:
        The sources that changed, where that was accepted.

    Raises:
        CheckpointError: code that is not at hand, may not be executed unasked, or is on no list.
        ConfigError: a source has changed, and that was not accepted; or was, and none has.
    """
    code = _listed(asked, request)
    names = {one.name for one in code}
    words = request["words"]
    for name in named_in([words.get("study"), words.get("task"), words.get("changes")]):
        if name not in names and not trust_code:
            raise CheckpointError(
                (
                    f"{asked}: its sweep.json names {name!r}, code that is not on the sweep's list of code to execute. "
                    "Read the code; to execute it, add --trust-code (trust_code=True in Python)."
                ),
                code="study_plugin_not_listed",
                fields={"path": asked, "name": name},
            )
    changes: tuple[PluginChange, ...] = ()
    if accept_changed:
        changes = changes_of(code)
        if not changes:
            raise ConfigError(
                (
                    f"{ACCEPT_CHANGED}: has no effect, because no source of {folder} has changed since the sweep "
                    "began. Remove it."
                ),
                code="accept_changed_without_source",
                fields={"path": folder},
            )
        now = {(one.kind, one.name): one.now for one in changes}
        code = [replace(one, digest=now.get((one.plugin_kind, one.name), one.digest)) for one in code]
    require_unchanged(code, asked)
    admit(code, folder, asked, trust_code=trust_code)
    return changes


def require_listed(asked: str, request: Mapping[str, Any], study: Study, *, trust_code: bool) -> None:
    """See to it that a study's file names no code that is not on the list, before its space is built.

    Raises:
        CheckpointError: it does.
    """
    names = {one.name for one in _listed(asked, request)}
    bundles = [bundle.options for bundle in study.bundles]
    choices = [getattr(prior, "options", None) for prior in study.axes.values() if prior is not None]
    for name in named_in([study.preset, study.changes, bundles, choices]):
        if name not in names and not trust_code:
            raise CheckpointError(
                (
                    f"{asked}: its study {study.name} names {name!r}, code that is not on the sweep's list of code to "
                    "execute. Read the code; to execute it, add --trust-code (trust_code=True in Python)."
                ),
                code="study_code_not_listed",
                fields={"path": asked, "name": name},
            )


def named_in(tree: Any) -> Iterator[str]:
    """Names in JSON values that stand for code of somebody's own, of plug-ins and of studies."""
    if isinstance(tree, str):
        for part in (tree, *tree.split(",")):
            if is_plugin_name(part.strip()):
                yield part.strip()
        if tree.endswith(".py"):
            yield _study_name(tree)
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from named_in(value)
    elif isinstance(tree, Iterable):
        for value in tree:
            yield from named_in(value)


def _study_name(path: str) -> str:
    return f"{path}:STUDY"


def _study_code(study_file: str) -> list[NamedCode]:
    """The file of a study in Python, which is executed as a plug-in's is."""
    if not study_file.endswith(".py"):
        return []
    name = _study_name(study_file)
    return [NamedCode("preset", name, source_of(name, "preset").digest)]


def _preset_code(name: str) -> list[NamedCode]:
    is_own = is_plugin_name(name) or name in known("preset")
    return [NamedCode("preset", name, source_of(name, "preset").digest)] if is_own else []


def _listed(asked: str, request: Mapping[str, Any]) -> list[NamedCode]:
    rows = request.get(CODE, [])  # older versions kept none
    try:
        found = [NamedCode(row["kind"], str(row["name"]), str(row["digest"])) for row in rows]
        if any(one.plugin_kind not in get_args(PluginKind) for one in found):
            raise ValueError("an unknown kind of plug-in")
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{asked}: its sweep.json is damaged ({error!r}). Restore it.",
            code="sweep_list_damaged",
            fields={"path": asked},
        ) from None
    return found
