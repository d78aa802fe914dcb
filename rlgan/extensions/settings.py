"""Settings that stand for a plug-in: a base for one variant of each axis."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field, ValidationError, model_validator
from typing_extensions import Self

from rlgan.base.errors import CheckpointError, ConfigError
from rlgan.base.search_priors import NotSearched
from rlgan.base.settings import FreeOnResume, Settings

from .loading import Loaded, load
from .sources import PluginKind, Source, memory, source_of

Scalar: TypeAlias = bool | int | float | str | None
PlainValue: TypeAlias = Scalar | tuple[Scalar, ...]
"""An option: what JSON can write and a command line can set."""

_is_reading: ContextVar[bool] = ContextVar("rlgan reads a folder", default=False)


class NoDigestError(ConfigError):
    """A file that is read names code, and does not say which."""


class TakesPlugin(Settings):
    """A variant that the name of a plug-in chooses: `--reward mine.py:brevity`."""

    plugin_kind: ClassVar[PluginKind]
    """Kind of the plug-in."""

    @classmethod
    @abstractmethod
    def of_plugin(cls, name: str) -> dict[str, Any]:
        """The settings that a plug-in's name stands for, as JSON values."""

    @classmethod
    def of_plugins(cls, names: Sequence[str]) -> dict[str, Any] | None:
        """The settings that several names stand for, also of what ships; None where one is all that can be."""
        return None

    @classmethod
    def fitted(cls, values: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the rest of a configuration makes of settings that nobody set, both as JSON values."""
        return values


class Plugin(TakesPlugin):
    """Your own code in place of a built-in variant: the base class of one variant of each axis.

    The digest is filled in when the configuration is built. A plug-in with a digest was built before: it is loaded only
    when it is used, so that reading the configuration of a run executes none of its code.
    """

    not_searched: ClassVar[NotSearched] = NotSearched("one's own")
    kind: Literal["plugin"] = "plugin"
    name: str = Field(min_length=1)
    """`FILE.py:NAME`, `package.module:NAME`, or a registered name."""
    options: Mapping[str, PlainValue] = Field(default_factory=dict)
    """Keyword arguments of the plug-in."""
    digest: str = ""
    """SHA-256 digest of the source; filled in by rlgan. A run cannot continue with another source."""

    @model_validator(mode="before")
    @classmethod
    def _of_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _with_digest(self) -> Self:
        if not self.digest:
            if _is_reading.get():
                raise NoDigestError(
                    f"{self.plugin_kind} plug-in {self.name!r}: has no digest, so it is unknown which code is "
                    "meant, and rlgan does not execute it. Every run has a digest. Restore the file.",
                    code="plugin_no_digest",
                    fields={"plugin": self.name},
                )
            loaded = self.load()
            self.check_object(loaded)
            object.__setattr__(self, "digest", loaded.digest)
            memory.own.add((self.plugin_kind, self.name, self.digest))
        return self

    @classmethod
    def of_plugin(cls, name: str) -> dict[str, Any]:
        """See `TakesPlugin.of_plugin`."""
        return {"name": name}

    def load(self) -> Loaded:
        """The object that the name stands for, of the source that the digest is of.

        Raises:
            ConfigError: see `load`.
        """
        return load(self.name, self.plugin_kind, self.digest)

    def check_object(self, loaded: Loaded) -> None:
        """Check what can be checked without data: signatures, bases. A kind of plug-in has its own.

        Raises:
            ConfigError: the object is not what the kind asks for.
        """

    @property
    def short_name(self) -> str:
        """What stands behind the colon, or the registered name: how metrics call it."""
        return self.name.rpartition(":")[2]

    def __getstate__(self) -> dict[Any, Any]:
        # Whoever gets this in another process, perhaps on another machine, gets the source too.
        return {**super().__getstate__(), "source": source_of(self.name, self.plugin_kind, self.digest)}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        source: Source = state.pop("source")
        super().__setstate__(state)
        if source.registered is None:
            memory.sources.setdefault(source.digest, source)
        else:
            memory.registered[self.plugin_kind, self.name] = source


class TimedPlugin(Plugin):
    """One whose calls are interrupted where they never return; see `in_time`."""

    timeout_s: Annotated[float, FreeOnResume()] = Field(600.0, gt=0.0)
    """Maximum number of seconds of a call. After that the run stops with the checkpoint of its last complete
    iteration."""

    def late(self, doing: str) -> str:
        """What to say of a call that takes longer.

        Args:
            doing: what was called, as a sentence part.
        """
        return (
            f"{self.plugin_kind} plug-in {self.name!r}: {doing} has not returned after "
            f"timeout_s={self.timeout_s:g} seconds. Increase {self.timeout_path}, or fix the plug-in."
        )

    @property
    def timeout_path(self) -> str:
        """The setting that says how long it may take."""
        return f"{self.plugin_kind}.timeout_s"


def plugins_in(settings: Settings) -> list[Plugin]:
    """Every plug-in of a configuration, at any depth, in the order of its fields."""
    found: list[Plugin] = [settings] if isinstance(settings, Plugin) else []
    for value in (getattr(settings, name) for name in type(settings).model_fields):
        parts = value if isinstance(value, tuple) else (value,)
        found += [plugin for part in parts if isinstance(part, Settings) for plugin in plugins_in(part)]
    return found


def note(plugin: Plugin, name: str, value: object) -> None:
    """Fill in a field that the object itself decides, such as what a network reads.

    Args:
        plugin: whose field it is, while its digest is filled in.
        name: of the field.
        value: what the object says.

    Raises:
        ConfigError: it was set to something else, which is not its default.
    """
    asked = getattr(plugin, name)
    default = type(plugin).model_fields[name].get_default(call_default_factory=True)
    if asked not in (value, default):
        raise ConfigError(
            f"{plugin.plugin_kind}.{name}={asked!r}: but {plugin.name!r} itself declares {value!r}. Remove it.",
            code="plugin_fact_contradicted",
            fields={name: asked},
        )
    object.__setattr__(plugin, name, value)


@contextmanager
def reading_a_folder() -> Iterator[None]:
    """Within it, settings are read out of a file that may be a stranger's: a plug-in without a digest is refused.

    Anywhere else such a plug-in is loaded to fill its digest in, which executes it.

    Raises:
        CheckpointError: a plug-in in it has no digest.
    """
    token = _is_reading.set(True)
    try:
        yield
    except ValidationError as error:
        causes = [problem.get("ctx", {}).get("error") for problem in error.errors(include_url=False)]
        if (found := next((cause for cause in causes if isinstance(cause, NoDigestError)), None)) is not None:
            raise CheckpointError(str(found), code=found.code, fields=found.fields) from None
        raise
    finally:
        _is_reading.reset(token)
