"""Molecules as a picture: a grid of structures, an SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .chemistry import as_smiles, molecule, quiet, require_rdkit

PER_ROW = 5
_WIDTH, _HEIGHT = 240, 200
_MOST_OF_A_LEGEND = 34
_NOTHING = "no molecule"  # a string of SELFIES may have no atoms


def grid(texts: Sequence[str], legends: Sequence[str] | None = None) -> str:
    """Structures, five in a row, each above its legend; a text that is no molecule has an empty place.

    A legend is cut to what fits, and has SMILES in the place of SELFIES, which are several times as long.

    Args:
        texts: SMILES strings or SELFIES, at least one.
        legends: one for each; None takes the texts.

    Returns:
        An SVG.

    Raises:
        ConfigError: rdkit is not installed.
    """
    require_rdkit("a picture of molecules")
    from rdkit import Chem
    from rdkit.Chem import rdDepictor
    from rdkit.Chem.Draw import MolDraw2DSVG

    below = [
        _cut(legend.replace(text, as_smiles(text)) if text else legend) or _NOTHING
        for text, legend in zip(texts, texts if legends is None else legends, strict=True)
    ]
    # Copies, since what is remembered of a text is shared. One without atoms keeps its place empty.
    found = [Chem.Mol() if (one := molecule(text)) is None else Chem.Mol(one) for text in texts]
    columns = min(PER_ROW, len(texts))
    drawing = MolDraw2DSVG(columns * _WIDTH, math.ceil(len(texts) / columns) * _HEIGHT, _WIDTH, _HEIGHT)
    drawing.drawOptions().legendFontSize = 14  # type: ignore[assignment]  # of a number, as rdkit takes it
    for one in found:
        rdDepictor.Compute2DCoords(one)
    with quiet():
        drawing.DrawMolecules(found, legends=below)
    drawing.FinishDrawing()
    # What is declared is not what the text is written in.
    return str(drawing.GetDrawingText()).replace("encoding='iso-8859-1'", "encoding='UTF-8'")


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_OF_A_LEGEND else f"{text[: _MOST_OF_A_LEGEND - 3]}..."
