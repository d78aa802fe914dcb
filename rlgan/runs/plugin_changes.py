"""Plug-ins whose source is another one than their run began with: found, accepted where the user says so, written down.

Nothing of a plug-in is executed here. Whether what changed may be executed is for `rlgan.extensions.admit`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rlgan.base.errors import CheckpointError
from rlgan.base.files import write_atomically
from rlgan.config.config import Config
from rlgan.config.paths import from_kept, to_dict
from rlgan.extensions import Code, changed, plugins_in

PLUGIN_CHANGES = "plugin_changes.json"
"""File of a run that says which of its plug-ins were exchanged, and when; there is none where none was."""


@dataclass(frozen=True, slots=True)
class PluginChange:
    """One plug-in of which a run continues with another version.

    Attributes:
        kind: its axis, such as "reward".
        name: as in the configuration.
        before: digest of the source until now.
        now: digest of the new source.
    """

    kind: str
    name: str
    before: str
    now: str

    def __str__(self) -> str:
        return f"{self.kind} plug-in {self.name!r} ({self.before[:16]} → {self.now[:16]})"


def changes_of(plugins: Iterable[Code]) -> tuple[PluginChange, ...]:
    """Which plug-ins have another source now, each once; what is not there at all is no change."""
    found = (PluginChange(one.plugin_kind, one.name, one.digest, now) for one, now in changed(plugins))
    return tuple(dict.fromkeys(found))


def with_changes(config: Config, changes: Sequence[PluginChange]) -> Config:
    """A configuration with the digests of the sources that there are now."""
    return from_kept(with_new_digests(to_dict(config), changes))


def with_new_digests(tree: Any, changes: Iterable[PluginChange]) -> Any:
    """JSON values with the digests of the sources that there are now in the place of those of before."""
    changes = tuple(changes)
    by_digest: dict[str, set[str]] = {}
    for one in changes:
        by_digest.setdefault(one.before, set()).add(one.now)
    # Two files may have been equal: where a name stands beside the digest, the name says which of them this is.
    alone = {before: now for before, (now, *others) in by_digest.items() if not others}
    return _replaced(tree, alone, {(one.name, one.before): one.now for one in changes})


def require_objects(config: Config, changes: Sequence[PluginChange]) -> None:
    """Execute the sources that changed, and check what they define as when a run begins.

    Args:
        config: with the new digests.
        changes: that were admitted.

    Raises:
        ConfigError: an object is not what its kind asks for.
    """
    new = {(one.kind, one.name) for one in changes}
    for plugin in plugins_in(config):
        if (plugin.plugin_kind, plugin.name) in new:
            plugin.check_object(plugin.load())


def record_changes(run_dir: Path, changes: Sequence[PluginChange], done: int, unit: str = "iterations") -> None:
    """Add to the history of a run, or of a sweep, with which sources it goes on.

    Args:
        run_dir: its folder.
        changes: that were accepted.
        done: how much was done before.
        unit: of what: "iterations" of a run, "trials" of a sweep.

    Raises:
        CheckpointError: the history is damaged, or cannot be written.
    """
    rows = [*recorded_changes(run_dir), *({f"after_{unit}": done, **asdict(one)} for one in changes)]
    text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    write_atomically(run_dir / PLUGIN_CHANGES, lambda path: path.write_text(text, "utf-8"))


def recorded_changes(run_dir: Path) -> list[dict[str, Any]]:
    """What `record_changes` wrote, the oldest first; empty where no plug-in was exchanged.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = run_dir / PLUGIN_CHANGES
    if not path.exists():
        return []
    try:
        rows = json.loads(path.read_text("utf-8"))
        if not isinstance(rows, list) or not all(isinstance(row, dict) and row.keys() >= _KEYS for row in rows):
            raise ValueError("it is not a list of changes")
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: is damaged ({error}). Restore it.", code="changes_damaged", fields={"path": path}
        ) from None
    return rows


def change_tags(run_dir: Path) -> dict[str, str]:
    """For MLflow: which plug-ins were exchanged while the run went on."""
    rows = recorded_changes(run_dir)
    said = "; ".join(f"{row['kind']} {row['name']} after {row.get('after_iterations')} iterations" for row in rows)
    return {"changed_plugins": said} if rows else {}


def without_digests(tree: Any) -> Any:
    """JSON values without the digests of plug-ins."""
    if isinstance(tree, Mapping):
        return {name: without_digests(value) for name, value in tree.items() if name != "digest" or "name" not in tree}
    return [without_digests(value) for value in tree] if isinstance(tree, list) else tree


_KEYS = {"kind", "name", "before", "now"}


def _replaced(tree: Any, new: Mapping[str, str], of_name: Mapping[tuple[Any, Any], str]) -> Any:
    if isinstance(tree, Mapping):
        found = {name: _replaced(value, new, of_name) for name, value in tree.items()}
        if "name" in tree and "digest" in tree:
            found["digest"] = of_name.get((tree["name"], tree["digest"]), tree["digest"])
        return found
    if isinstance(tree, list | tuple):
        return [_replaced(value, new, of_name) for value in tree]
    return new.get(tree, tree) if isinstance(tree, str) else tree
