"""Files of settings: YAML, TOML or JSON, with the line at which each setting stands.

Nothing but plain values comes out of a file: text, numbers, truth values, nothing, lists and objects of these. What a
setting is called and may be is `rlgan.config.paths`'s.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rlgan.base.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_WHAT = (
    "Give a file of settings in YAML, TOML or JSON: the config.json of a run, or an edited copy of the output of "
    "`rlgan show-config PRESET`."
)
_MOST = 10_000
_OF_SUFFIX = {".json": "JSON", ".yaml": "YAML", ".yml": "YAML", ".toml": "TOML"}
_TOML_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?")
_TOML_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_SUBJECT = re.compile(r"(?:--)?([A-Za-z_][\w-]*(?:\.[\w-]+)*)(?=[=:])")


@dataclass(frozen=True, slots=True)
class SettingFile:
    """What a file of settings holds.

    Attributes:
        path: of the file.
        values: nested plain values.
        lines: dotted path, with underscores → line, from 1.
    """

    path: Path
    values: dict[str, Any]
    lines: Mapping[str, int]

    def line_of(self, message: str, elsewhere: Collection[str] = ()) -> str:
        """A sentence that says where the setting stands which an error begins with.

        Args:
            message: of an error.
            elsewhere: dotted paths that were set again after the file.

        Returns:
            Beginning with a space; '' where the file does not have the setting, or not the last word on it.
        """
        found = _SUBJECT.match(message)
        parts = found.group(1).replace("-", "_").split(".") if found else []
        while parts and ".".join(parts) not in elsewhere:
            line = self.lines.get(".".join(parts))
            if line is not None:
                return f" It is set in {self.path}, line {line}."
            parts.pop()
        return ""


def read_settings(path: Path) -> SettingFile:
    """Read a file of settings.

    The suffix says what it is (.yaml, .yml, .toml, .json); a file of another name is JSON where it begins with a
    brace, TOML where it is TOML, and YAML otherwise.

    Raises:
        ConfigError: it cannot be read or is not what it should be; says in which line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"--config {path}: cannot be read ({error.strerror}). {_WHAT}",
            code="config_unreadable",
            fields={"config": path},
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"--config {path}: is not UTF-8 (byte {error.start}). Save it as UTF-8.",
            code="config_not_utf8",
            fields={"config": path},
        ) from None
    read = _READERS[_OF_SUFFIX.get(path.suffix.lower()) or _kind_by_content(text)]
    values, lines = read(path, text)
    if values is None:
        raise ConfigError(
            f"--config {path}: contains no settings. {_WHAT}", code="config_empty", fields={"config": path}
        )
    if not isinstance(values, dict):
        raise ConfigError(
            f"--config {path}: contains {type(values).__name__}; expected an object of settings.",
            code="config_no_object",
            fields={"config": path},
        )
    for place, value in _leaves(values, ""):
        if value is not None and not isinstance(value, str | int | float):
            at = f", line {lines[place]}" if place in lines else ""
            raise ConfigError(
                f"--config {path}{at}: {place} is {value} ({type(value).__name__}). Settings must be text, "
                "numbers, true or false, or lists and objects of these. If it is meant to be text, put it in "
                "quotes.",
                code="config_value_type",
                fields={"config": path},
            )
    return SettingFile(path, values, lines)


def _kind_by_content(text: str) -> str:
    if text.lstrip().startswith(("{", "[")) and not _TOML_HEADER.match(text.lstrip()):
        return "JSON"
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return "YAML"
    return "TOML"


def _read_json(path: Path, text: str) -> tuple[Any, dict[str, int]]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"--config {path}, line {error.lineno}: not JSON ({error.msg}, column {error.colno}).",
            code="config_not_json",
            fields={"config": path, "line": error.lineno},
        ) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"--config {path}: not JSON ({error}).", code="config_bad_json", fields={"config": path}
        ) from None
    # JSON is YAML, but for tabs between its words; within text a tab may not stand.
    return values, _lines_of_yaml(path, text.replace("\t", " "))


def _read_toml(path: Path, text: str) -> tuple[Any, dict[str, int]]:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        described = str(error)
        found = re.search(r" \(at line (\d+), column (\d+)\)", described)
        at = f", line {found[1]}" if found else ""
        what = described.replace(found[0], f", column {found[2]}") if found else described
        raise ConfigError(
            f"--config {path}{at}: not TOML ({what}).", code="config_not_toml", fields={"config": path}
        ) from None
    return values or None, _lines_of_toml(text)


def _read_yaml(path: Path, text: str) -> tuple[Any, dict[str, int]]:
    lines = _lines_of_yaml(path, text)
    loader = yaml.SafeLoader(text)
    try:
        return loader.get_single_data(), lines
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _not_yaml(path, error) from None
    finally:
        loader.dispose()


_READERS: Mapping[str, Callable[[Path, str], tuple[Any, dict[str, int]]]] = {
    "JSON": _read_json,
    "TOML": _read_toml,
    "YAML": _read_yaml,
}


def _lines_of_yaml(path: Path, text: str) -> dict[str, int]:
    """Path → line; refuses a setting that stands twice, of which YAML and JSON would silently take the last."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _not_yaml(path, error) from None
    lines: dict[str, int] = {}
    pending: list[tuple[str, Any]] = [("", root)]
    while pending:
        prefix, node = pending.pop()
        if not isinstance(node, yaml.MappingNode):
            continue
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag not in (
                "tag:yaml.org,2002:str",
                "tag:yaml.org,2002:merge",
            ):
                shown = key.value if isinstance(key, yaml.ScalarNode) else "a list or object"
                raise ConfigError(
                    f"--config {path}, line {line}: {shown!r} is not the name of a setting. If it is, put it in "
                    "quotes.",
                    code="config_key",
                    fields={"config": path, "line": line},
                )
            if key.tag.endswith(":merge"):
                continue
            place = _spelled(prefix + key.value)
            if place in lines:
                raise ConfigError(
                    f"--config {path}, line {line}: {place} is already set in line {lines[place]}. Remove one of them.",
                    code="config_key_twice",
                    fields={"config": path, "line": line},
                )
            if len(lines) == _MOST:  # an alias within itself has no end
                raise ConfigError(
                    f"--config {path}, line {line}: the file has more than {_MOST:,} settings.",
                    code="config_too_large",
                    fields={"config": path, "line": line},
                )
            lines[place] = line
            pending.append((f"{place}.", value))
    return lines


def _not_yaml(path: Path, error: Exception) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    at = "" if mark is None else f", line {mark.line + 1}"
    column = "" if mark is None else f", column {mark.column + 1}"
    what = getattr(error, "problem", None) or (str(error).splitlines() or [type(error).__name__])[0]
    return ConfigError(
        f"--config {path}{at}: not YAML ({what}{column}).", code="config_not_yaml", fields={"config": path}
    )


def _lines_of_toml(text: str) -> dict[str, int]:
    """Path → line. Of what stands within one value (an inline table) the line of the value is known."""
    lines: dict[str, int] = {}
    prefix = ""
    for number, line in enumerate(text.splitlines(), 1):
        header, key = _TOML_HEADER.fullmatch(line), _TOML_KEY.match(line)
        if header:
            prefix = _spelled(_toml_name(header[1]))
            lines.setdefault(prefix, number)
            prefix += "."
        elif key:
            lines.setdefault(_spelled(prefix + _toml_name(key[1])), number)
    return lines


def _toml_name(text: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in text.split("."))


def _spelled(place: str) -> str:
    return place.replace("-", "_")


def _leaves(values: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _leaves(value, _spelled(f"{place}.{key}" if place else str(key)))
    elif isinstance(values, list):
        for value in values:
            yield from _leaves(value, place)
    else:
        yield place, values
