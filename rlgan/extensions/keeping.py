"""How sources of plug-ins travel with a run: copies in its folder, JSON for other processes; nothing is executed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from rlgan.base.errors import ConfigError
from rlgan.base.files import cannot_write, write_atomically
from rlgan.base.settings import Settings

from .settings import Plugin
from .sources import Code, Source, digest_of, memory, source_now, source_of

FOLDER = "plugins"
"""Folder of a run that holds the sources of its plug-ins."""

ACCEPT_CHANGED = "--accept-changed-plugins (accept_changed_plugins=True in Python)"
"""How a user says that a run is to go on with another source of a plug-in."""


def keep_sources(run_dir: Path, plugins: Iterable[Code]) -> list[Path]:
    """Keep the sources of plug-ins in a run's folder, a file each, so that they are found there.

    Args:
        run_dir: folder of the run.
        plugins: of its configuration.

    Returns:
        The files.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    kept: list[Path] = []
    for plugin in plugins:
        source = source_of(plugin.name, plugin.plugin_kind, plugin.digest)
        if source.text is None:
            continue
        path = run_dir / FOLDER / f"{source.digest[:16]}.py"
        if path in kept:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(path.parent, error) from error
        # Byte for byte, or its digest would be another one.
        content = source.text.encode()
        write_atomically(path, lambda beside, content=content: beside.write_bytes(content))  # type: ignore[misc]
        kept.append(path)
    return kept


def kept_text(plugin: Settings) -> str | None:
    """Source of a plug-in that a description beside weights holds; None where a file of the user's has none."""
    if not isinstance(plugin, Plugin) or not plugin.name.rpartition(":")[0].endswith(".py"):
        return None
    return source_of(plugin.name, plugin.plugin_kind, plugin.digest).text


def packed(plugins: Iterable[Code]) -> list[dict[str, str]]:
    """Sources of files as JSON values, for processes that get a configuration as such; see `unpack`."""
    sources = {one.digest: one for one in (source_of(each.name, each.plugin_kind, each.digest) for each in plugins)}
    return [{"text": one.text, "path": one.path} for one in sources.values() if one.text is not None]


def unpack(sources: Iterable[Mapping[str, str]]) -> None:
    """Let this process find what `packed` returned; nothing of it is executed."""
    for one in sources:
        digest = digest_of(one["text"])
        memory.sources.setdefault(digest, Source(one["text"], digest, one["path"]))


def changed(plugins: Iterable[Code]) -> list[tuple[Code, str]]:
    """Plug-ins under whose name another source is now, and its digest; what is gone is for `admit` to find."""
    found: list[tuple[Code, str]] = []
    for plugin in plugins:
        try:
            now = source_now(plugin.name, plugin.plugin_kind).digest
        except ConfigError:
            continue
        if now != plugin.digest:
            found.append((plugin, now))
    return found


def require_unchanged(plugins: Iterable[Code], run: str) -> None:
    """Refuse to go on with a run whose plug-ins have changed since.

    Args:
        plugins: of the run's configuration.
        run: how the user names the run.

    Raises:
        ConfigError: the source under a plug-in's name is another one now; names both digests.
    """
    for plugin, now in changed(plugins):
        raise ConfigError(
            (
                f"{run}: the {plugin.plugin_kind} plug-in {plugin.name!r} has changed since the run began: its digest "
                f"is {now}, but the run has {plugin.digest} (its folder keeps the source in "
                f"{FOLDER}/{plugin.digest[:16]}.py). Restore the source, continue with the new one by "
                f"{ACCEPT_CHANGED}, or start a new run."
            ),
            code="plugin_changed",
            fields={"run": run, "plugin": plugin.name},
        )
