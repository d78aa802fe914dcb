"""Molecules from text: parsed, written in one form, taken apart; rdkit and selfies are imported where they are used."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rlgan.base.errors import ConfigError, DataError, nearest
from rlgan.base.extras import require_package

_REMEMBERED = 200_000  # molecules of one process
Counted = Literal["ECFP4", "ECFP6", "FCFP4", "AP"]
"""What `count_similarity` counts."""
_RADIUS, _BITS = 2, 1024  # of Morgan fingerprints, as in MOSES


def require_rdkit(who: str) -> None:
    """See to it that rdkit is there.

    Raises:
        ConfigError: it is not installed.
    """
    require_package("rdkit", who, "molecules")


@contextmanager
def quiet() -> Iterator[None]:
    """Within it rdkit does not write to standard error what is wrong with a text."""
    from rdkit.rdBase import BlockLogs

    with BlockLogs():
        yield


# Every token of SELFIES is in brackets, and one of them is a command, or an atom with hydrogens that are not written.
# An atom in brackets of SMILES has no other hydrogens than are written there.
_ONLY_BRACKETS = re.compile(r"(\[[^\[\]]+\]|\.)+")
_ONLY_SELFIES = re.compile(r"\[(?:[=#/\\-]*(?:B|C|N|O|F|P|S|I|Cl|Br|H)|[=#/\\-]*(?:Branch|Ring)\d|nop)\]")


def as_smiles(text: str) -> str:
    """A text as SMILES: SELFIES are decoded, anything else is left as it is."""
    text = text.strip()
    # Without the package nobody has a task of SELFIES, and what looks like them was generated as SMILES.
    if _ONLY_BRACKETS.fullmatch(text) and _ONLY_SELFIES.search(text) and find_spec("selfies") is not None:
        return smiles_of(text)
    return text


@lru_cache(maxsize=_REMEMBERED)
def molecule(smiles: str) -> Any:
    """The molecule that a SMILES string stands for.

    Args:
        smiles: a string, or SELFIES; "" stands for no molecule.

    Returns:
        An `rdkit.Chem.Mol`, sanitised; None where the string is no molecule.

    Raises:
        ConfigError: rdkit is not installed.
    """
    require_rdkit("molecules")
    from rdkit import Chem

    written = as_smiles(smiles)
    if not written:
        return None
    with quiet():
        found = Chem.MolFromSmiles(written)
    return found if found is not None and found.GetNumAtoms() else None


@lru_cache(maxsize=_REMEMBERED)
def canonical(smiles: str) -> str | None:
    """The one SMILES string that rdkit writes for a molecule; None where the string is no molecule."""
    from rdkit import Chem

    found = molecule(smiles)
    return None if found is None else str(Chem.MolToSmiles(found))


@lru_cache(maxsize=_REMEMBERED)
def scaffold(smiles: str) -> str:
    """Murcko scaffold of a molecule, canonical: its rings and what joins them. "" where there is none."""
    from rdkit.Chem.Scaffolds import MurckoScaffold

    found = molecule(smiles)
    return "" if found is None else str(MurckoScaffold.MurckoScaffoldSmiles(mol=found))


def fragments(smiles: str) -> Counter[str]:
    """BRICS fragments of a molecule, canonical, with how often each is there (Degen et al. 2008)."""
    from rdkit import Chem
    from rdkit.Chem import BRICS

    with quiet():
        broken = BRICS.BreakBRICSBonds(molecule(smiles))
    return Counter(Chem.MolToSmiles(broken).split("."))


def fingerprints(smiles: Sequence[str]) -> NDArray[np.float32]:
    """Morgan fingerprints of radius 2, 1,024 bits.

    Args:
        smiles: N molecules.

    Returns:
        (N, 1024) of 0 and 1.
    """
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=_RADIUS, fpSize=_BITS)
    rows = [generator.GetFingerprintAsNumPy(molecule(text)) for text in smiles]
    return np.stack(rows).astype(np.float32) if rows else np.zeros((0, _BITS), np.float32)


def tanimoto(ones: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Tanimoto similarities |a ∩ b| / |a ∪ b| of fingerprints.

    Args:
        ones: (N, D) of 0 and 1.
        others: (M, D).

    Returns:
        (N, M) between 0 and 1; 1 for two fingerprints without a bit.
    """
    both = ones @ others.T
    either = ones.sum(1)[:, None] + others.sum(1)[None, :] - both
    return np.divide(both, either, out=np.ones_like(both), where=either > 0)


def count_similarity(one: str, other: str, kind: Counted) -> float:
    """Tanimoto similarity of two molecules by counts of what is in them: Σ min / Σ max (GuacaMol, Brown et al. 2019).

    Args:
        one: a molecule.
        other: another one.
        kind: what is counted, not folded: ECFP4 and ECFP6 (Morgan, radius 2 and 3), FCFP4 (radius 2, of features), AP
            (atom pairs up to 10 bonds apart).

    Raises:
        ConfigError: there is no such fingerprint.
    """
    from rdkit.DataStructs import TanimotoSimilarity

    return float(TanimotoSimilarity(_counts_of(one, kind), _counts_of(other, kind)))


@lru_cache(maxsize=50_000)
def _counts_of(name: str, kind: Counted) -> Any:
    return _generator(kind).GetSparseCountFingerprint(molecule(name))


@lru_cache
def _generator(kind: Counted) -> Any:
    from rdkit.Chem import rdFingerprintGenerator as made

    makers: dict[Counted, Callable[[], Any]] = {
        "ECFP4": lambda: made.GetMorganGenerator(radius=2),
        "ECFP6": lambda: made.GetMorganGenerator(radius=3),
        "FCFP4": lambda: made.GetMorganGenerator(radius=2, atomInvariantsGenerator=made.GetMorganFeatureAtomInvGen()),
        "AP": lambda: made.GetAtomPairGenerator(maxDistance=10),
    }
    if kind not in makers:
        raise ConfigError(
            f"fingerprint={kind!r}: is none.{nearest(str(kind), list(makers))} Choose one of {', '.join(makers)}.",
            code="molecule_fingerprint",
            fields={"fingerprint": kind},
        )
    return makers[kind]()


def selfies_of(smiles: str) -> str:
    """A molecule as SELFIES (Krenn et al. 2020), of which every string is a molecule.

    Raises:
        ConfigError: selfies is not installed.
        DataError: the string cannot be written as SELFIES.
    """
    require_package("selfies", "SELFIES", "molecules")
    import selfies

    try:
        return str(selfies.encoder(smiles))
    except selfies.EncoderError as error:
        raise DataError(
            f"SMILES {smiles!r}: cannot be written as SELFIES ({str(error).strip().splitlines()[0]}). Remove it, or "
            "use SMILES.",
            code="molecule_no_selfies",
            fields={"smiles": smiles},
        ) from error


def smiles_of(selfies_text: str) -> str:
    """The SMILES string of SELFIES; "" where there is none.

    Raises:
        ConfigError: selfies is not installed.
    """
    require_package("selfies", "SELFIES", "molecules")
    import selfies

    try:
        return str(selfies.decoder(selfies_text))
    except selfies.DecoderError:
        return ""
