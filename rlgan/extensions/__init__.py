"""One loader for what users bring: reward functions, metrics, tasks, networks, presets and callbacks of their own.

A plug-in is named in one of four ways:

    FILE.py:NAME            an object of a Python file
    package.module:NAME     an object of an installed module
    NAME                    what was registered from Python (`register`), or an entry point of the group
                            `rlgan.plugins` with the name KIND.NAME

A configuration keeps the name, the options and a digest of the source (`Plugin`), so that a run goes on with the code
that it began with, or says that it cannot. The source of a file travels with the run: by pickle to workers, and as a
copy in the run's folder (`keep_sources`). What a plug-in of each kind must look like is checked where that kind is
used, not here.

A folder that is read may be a stranger's, and so is every name, digest and source in it. With `reading_a_folder` its
configuration is read without executing anything, and `admit` is the one gate for the code that it names: what it
refuses is executed only where the user says `--trust-code`.
"""

from .calling import RaisedError, as_number, bound, brief, call_in_time, check_options, refusal, signature_of
from .dependencies import Dependencies, dependencies_of
from .keeping import ACCEPT_CHANGED, FOLDER, changed, keep_sources, kept_text, packed, require_unchanged, unpack
from .loading import PLUGIN_TIMEOUT, Loaded, import_timeout_s, load, too_slow
from .settings import NoDigestError, PlainValue, Plugin, TakesPlugin, TimedPlugin, note, plugins_in, reading_a_folder
from .sources import (
    ENTRY_POINTS,
    Code,
    Memory,
    NamedCode,
    PluginKind,
    Source,
    digest_of,
    is_model_folder,
    is_of_files,
    is_plugin_name,
    known,
    memory,
    names_plugin,
    register,
    require_no_namesake,
    source_of,
)
from .tracebacks import own_lines
from .trust import admit, needs_trust
from .watching import in_time, when_stuck

__all__ = [
    "ACCEPT_CHANGED",
    "Code",
    "Dependencies",
    "ENTRY_POINTS",
    "FOLDER",
    "Loaded",
    "Memory",
    "NamedCode",
    "NoDigestError",
    "PLUGIN_TIMEOUT",
    "PlainValue",
    "Plugin",
    "PluginKind",
    "RaisedError",
    "Source",
    "TakesPlugin",
    "TimedPlugin",
    "admit",
    "as_number",
    "bound",
    "brief",
    "call_in_time",
    "changed",
    "check_options",
    "dependencies_of",
    "digest_of",
    "import_timeout_s",
    "in_time",
    "is_model_folder",
    "is_of_files",
    "is_plugin_name",
    "keep_sources",
    "kept_text",
    "known",
    "load",
    "memory",
    "names_plugin",
    "needs_trust",
    "note",
    "own_lines",
    "packed",
    "plugins_in",
    "reading_a_folder",
    "refusal",
    "register",
    "require_no_namesake",
    "require_unchanged",
    "signature_of",
    "source_of",
    "too_slow",
    "unpack",
    "when_stuck",
]
