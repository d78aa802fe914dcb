"""Whose code is executed unasked: the one gate for plug-ins that a folder names, which may be a stranger's."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path

from rlgan.base.errors import CheckpointError, ConfigError

from .keeping import FOLDER
from .sources import Code, Source, digest_of, entry_points, is_of_files, memory, origins, source_of


def admit(
    plugins: Iterable[Code],
    folder: Path,
    asked: str,
    *,
    trust_code: bool,
    texts: Mapping[str, str] | None = None,
) -> None:
    """The gate for code that a folder names, which may be a stranger's; nothing of it is executed here.

    Unasked only what is the user's own is let through: a file that lies where the configuration says, with the same
    content, neither in the folder itself nor among installed packages; an entry point of the group "rlgan.plugins";
    what was registered in this process; and what this process was told to use by something else than a folder. The
    same content alone does not make code one's own: whoever names `subprocess.py` knows what is in it.

    Args:
        plugins: that are going to be used, of the configuration in the folder.
        folder: that was read: of a run, a model or a checkpoint.
        asked: how the user named it, for messages.
        trust_code: the user has read the code, and lets it be executed: what the folder keeps, and where it says.
        texts: sources that the folder keeps elsewhere than in its `plugins`: the file that holds one → the source.

    Raises:
        CheckpointError: code that is not at hand, or may not be executed unasked.
    """
    plugins = list(plugins)
    kept = {path: path.read_bytes().decode("utf-8", "replace") for path in sorted((folder / FOLDER).glob("*.py"))}
    kept |= {Path(path): text for path, text in (texts or {}).items()}
    for path, text in kept.items() if trust_code else ():
        digest = digest_of(text)
        memory.sources.setdefault(digest, Source(text, digest, str(path.absolute())))
    for plugin in plugins:
        who = f"{asked}: the {plugin.plugin_kind} plug-in {plugin.name!r} is foreign code that"
        is_own = (plugin.plugin_kind, plugin.name, plugin.digest) in memory.own
        if not trust_code and not is_own and (reason := _not_ones_own(plugin, folder)) is not None:
            raise CheckpointError(
                f"{who} {reason}. Inspect it, then allow its execution with --trust-code (trust_code=True in Python).",
                code="code_not_trusted",
                fields={"plugin": who},
            )
        try:
            source_of(plugin.name, plugin.plugin_kind, plugin.digest)
        except ConfigError as error:
            copy = next((path for path, text in kept.items() if digest_of(text) == plugin.digest), None)
            advice = (
                ""
                if copy is None
                else (
                    f" Or inspect the source in {copy}, then allow its execution with --trust-code (trust_code=True in "
                    "Python)."
                )
            )
            raise CheckpointError(
                f"{who} is not available: {error}{advice}", code="plugin_not_at_hand", fields={"plugin": who}
            ) from None


def needs_trust(plugins: Iterable[Code], folder: Path) -> bool:
    """Whether another process goes on with a folder's plug-ins, where they are at hand, only by `--trust-code`."""
    return any(_not_ones_own(plugin, folder) is not None for plugin in plugins)


def _not_ones_own(plugin: Code, folder: Path) -> str | None:
    """Why code that a folder names is not executed unasked; None where it is the user's own or is not at hand."""
    kind, name = plugin.plugin_kind, plugin.name
    if is_of_files(plugin.digest):  # weights and settings: nothing of them is executed
        return None
    if (kind, name) in memory.registered or name in entry_points(kind):
        return None
    place = name.rpartition(":")[0]
    is_file = place.endswith(".py")
    files = [place] if is_file else [one for one in origins(place) if one]
    paths = [Path(one).expanduser().resolve() for one in files]
    if any(path.is_relative_to(folder.resolve()) for path in paths):
        return "is stored in that folder itself"
    if not is_file and name in entry_points(kind).values():
        return None
    if not is_file and origins(place)[-1] is not None:
        return "belongs to an installed module that does not offer it as a plug-in (an entry point of rlgan.plugins)"
    if is_file and any(_is_installed(path) for path in paths):
        return "is a file of an installed package or of Python itself"
    return None


def _is_installed(path: Path) -> bool:
    """Whether a file belongs to a Python, this or another one, rather than to its user."""
    of_python = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    of_python.add(Path(__file__).resolve().parents[1])  # rlgan itself
    names = ("site-packages", "dist-packages")
    return any(path.is_relative_to(one) for one in of_python) or any(
        part in names or re.fullmatch(r"python\d+\.\d+", part) for part in path.parts
    )
