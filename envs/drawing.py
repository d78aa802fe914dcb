"""How sequences are drawn, where they stand for pictures: what a task says of it, and how it is kept with a generator.

A task that has a `Drawing` hands it to all who know its `SequenceSpace`: networks that look at pictures, metrics, pages
of results. What is kept is plain data and the name of the plug-in (kind "drawing") that makes a drawing of it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rlgan.base.errors import CheckpointError
from rlgan.extensions import known, load


class Drawing(Protocol):
    """Draws sequences. It is sent to workers by pickle, and never changes."""

    @property
    def plugin(self) -> str:
        """Name of the plug-in of kind "drawing" that is called with `kept()` and gives an equal one."""
        ...

    @property
    def digest(self) -> str:
        """Tells whether two draw alike; hexadecimal."""
        ...

    def kept(self) -> dict[str, Any]:
        """All that it is made of, as JSON values."""
        ...

    def pictures(self, texts: Sequence[str]) -> NDArray[np.uint8]:
        """Pictures of sequences.

        Args:
            texts: n sequences, as a task decodes them.

        Returns:
            (n, H, W) of grey levels, or (n, H, W, 3) of red, green and blue.
        """
        ...


def kept_drawing(drawing: Drawing | None) -> dict[str, Any] | None:
    """A drawing as JSON values, which `drawing_of` reads."""
    return None if drawing is None else {"plugin": drawing.plugin, "digest": drawing.digest, "data": drawing.kept()}


def drawing_of(kept: Mapping[str, Any] | None) -> Drawing | None:
    """The drawing that `kept_drawing` returned, perhaps out of a stranger's file.

    Only what ships, is an entry point or was registered is called: the name may be anything.

    Raises:
        CheckpointError: there is no such plug-in, or it makes another drawing of the data.
    """
    if kept is None:
        return None
    name = str(kept["plugin"])
    if name not in known("drawing"):
        raise CheckpointError(
            f"drawing {name!r}: is unknown; known are {', '.join(known('drawing'))}. Install the package "
            "that offers it, or register it.",
            code="drawing_unknown",
            fields={"drawing": name},
        )
    drawing: Drawing = load(name, "drawing").object(kept["data"])
    if drawing.digest != kept["digest"]:
        raise CheckpointError(
            f"drawing {name!r}: its data is damaged: the digest is {drawing.digest}, expected {kept['digest']}. "
            "Restore the file, or train again.",
            code="drawing_damaged",
            fields={"drawing": name},
        )
    return drawing
