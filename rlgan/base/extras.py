"""How an optional part is installed, as whoever uses this installation of rlgan types it."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from pathlib import Path

from .errors import ConfigError

_ROOT = Path(__file__).absolute().parents[2]
"""The folder that holds the package `rlgan`: a checkout, or where wheels are unpacked."""


def install_command(extra: str, root: Path = _ROOT, python: Path | None = None, here: Path | None = None) -> str:
    """The command that installs an extra.

    From a checkout its own Python, pins and packages; elsewhere the distribution by its name.

    Args:
        extra: one of pyproject.toml's.
        root: folder that holds the package.
        python: that runs; None takes this process's.
        here: the working folder; None takes this process's.

    Returns:
        To be typed in a shell in the working folder.
    """
    is_checkout = (root / "pyproject.toml").is_file() and (root / "constraints.txt").is_file()
    if not is_checkout:
        return f"pip install 'rlgan[{extra}]'"
    here = Path.cwd() if here is None else here
    python = Path(sys.executable) if python is None else python
    shown = f"{python.relative_to(here)}" if python.is_relative_to(here) else str(python)
    if here == root:
        return f"{shlex.quote(shown)} -m pip install -c constraints.txt -e '.[{extra}]'"
    return shlex.join([shown, "-m", "pip", "install", "-c", str(root / "constraints.txt"), "-e", f"{root}[{extra}]"])


def require_package(package: str, who: str, extra: str) -> None:
    """See to it that a package of an optional part is there.

    Args:
        package: by its import name; it is not imported.
        who: needs it, for the message.
        extra: that installs it.

    Raises:
        ConfigError: it is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"{who}: needs {package}, which is not installed. Install it with: {install_command(extra)}",
            code="package_missing",
            fields={"package": package},
        )
