"""What a molecule may be rewarded by: reward functions of SMILES strings, higher is better.

    --reward qed        --reward similarity --reward.functions.0.options.target 'CC(=O)Oc1ccccc1C(=O)O'

Each takes the completions of a batch and returns a number for each. A text that is no molecule is worth 0 (penalised
logP: `invalid`), and so is a molecule for which the property cannot be computed. The shares of both are logged, and the
first molecule without the property is told. What is computed of a molecule is remembered by its canonical SMILES.

Sources: QED, Bickerton et al. 2012; logP, Wildman and Crippen 1999; synthetic accessibility, Ertl and Schuffenhauer
2009; penalised logP, Gómez-Bombarelli et al. 2018, normalised as by Jin et al. 2018; similarity, rediscovery, isomers
and medians, GuacaMol (Brown et al. 2019).
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

from rlgan.base.errors import ConfigError, RlganError

from .chemistry import canonical, count_similarity, fingerprints, molecule, tanimoto

_LOG = logging.getLogger(__name__)
Log = Callable[[str, float], None] | None

# Mean and standard deviation over the 249,456 molecules of ZINC (Jin et al. 2018).
_ZINC_LOGP, _ZINC_SA, _ZINC_CYCLE = (2.4570953, 1.4343244), (-3.0525811, 0.8335207), (-0.0485697, 0.2860212)
_REMEMBERED = 200_000


def qed(completions: Sequence[str], log_metric: Log = None, **columns: object) -> list[float]:
    """Quantitative estimate of drug-likeness, between 0 and 1 (Bickerton et al. 2012)."""
    return of_each(completions, qed_of, log_metric)


def logp(completions: Sequence[str], log_metric: Log = None, **columns: object) -> list[float]:
    """Octanol-water partition coefficient, a logarithm to base 10 (Wildman and Crippen 1999)."""
    return of_each(completions, logp_of, log_metric)


def penalised_logp(
    completions: Sequence[str], invalid: float = 0.0, log_metric: Log = None, **columns: object
) -> list[float]:
    """Penalised logP: logP - SA - the atoms above 6 of the largest ring, each normalised by its values on ZINC.

    Args:
        completions: SMILES strings.
        invalid: for texts that are no molecules; molecules may have less than 0.
        log_metric: logs a number.
        columns: not read.
    """
    return of_each(completions, penalised_logp_of, log_metric, invalid)


def synthesisability(completions: Sequence[str], log_metric: Log = None, **columns: object) -> list[float]:
    """(10 - SA) / 9, where the SA score is 1 for molecules that are easy to make and 10 for hard ones: 1 is easy."""
    return of_each(completions, lambda name: (10.0 - sa_of(name)) / 9.0, log_metric)


def similarity(
    completions: Sequence[str],
    target: str,
    fingerprint: Literal["morgan", "ECFP4", "ECFP6", "FCFP4", "AP"] = "morgan",
    threshold: float = 1.0,
    log_metric: Log = None,
    **columns: object,
) -> list[float]:
    """Tanimoto similarity to a molecule, between 0 and 1.

    Args:
        completions: SMILES strings.
        target: a SMILES string.
        fingerprint: morgan is MOSES' (radius 2, 1,024 bits); the others are GuacaMol's, see `count_similarity`.
        threshold: the similarity that is worth 1; less is in proportion, as in GuacaMol, where it is .75.
        log_metric: logs a number.
        columns: not read.

    Raises:
        ConfigError: the target is no molecule, or the threshold none.
    """
    aim = _target(target)
    if not 0.0 < threshold <= 1.0:
        raise ConfigError(
            f"options.threshold={threshold}: is the similarity that is worth 1. Set it above 0, and to 1 at most.",
            code="molecule_similarity_threshold",
            fields={"threshold": threshold},
        )

    def of(name: str) -> float:
        found = _similarity(name, aim) if fingerprint == "morgan" else count_similarity(name, aim, fingerprint)
        return min(1.0, found / threshold)

    return of_each(completions, of, log_metric)


def rediscovery(completions: Sequence[str], target: str, log_metric: Log = None, **columns: object) -> list[float]:
    """GuacaMol's rediscovery: similarity to a molecule by counts of ECFP4, 1 for the molecule itself.

    Raises:
        ConfigError: the target is no molecule.
    """
    aim = _target(target)
    return of_each(completions, lambda name: count_similarity(name, aim, "ECFP4"), log_metric)


def median(completions: Sequence[str], molecules: str, log_metric: Log = None, **columns: object) -> list[float]:
    """Geometric mean of the similarities to several molecules, by counts of ECFP4 (GuacaMol's median molecules).

    Args:
        completions: SMILES strings.
        molecules: SMILES strings, with a comma between them.
        log_metric: logs a number.
        columns: not read.

    Raises:
        ConfigError: one of them is no molecule.
    """
    aims = [_target(one, "molecules") for one in molecules.split(",")]

    def of(name: str) -> float:
        return math.prod(count_similarity(name, aim, "ECFP4") for aim in aims) ** (1.0 / len(aims))

    return of_each(completions, of, log_metric)


def isomer(completions: Sequence[str], formula: str, log_metric: Log = None, **columns: object) -> list[float]:
    """How near a molecule's formula is to a given one (GuacaMol's isomers).

    The geometric mean of exp(-(n - wanted)² / 2) of each element and of exp(-(n - wanted)² / 8) of the number of atoms.

    Args:
        completions: SMILES strings.
        formula: such as "C7H8N2O2".
        log_metric: logs a number.
        columns: not read.

    Raises:
        ConfigError: the formula is none.
    """
    return of_each(completions, isomer_of(formula), log_metric)


# ---------------------------------------------------------------------------- of one molecule


@lru_cache(maxsize=_REMEMBERED)
def qed_of(smiles: str) -> float:
    """QED of a molecule."""
    from rdkit.Chem import QED

    return float(QED.qed(molecule(smiles)))


@lru_cache(maxsize=_REMEMBERED)
def logp_of(smiles: str) -> float:
    """Octanol-water partition coefficient of a molecule, log10."""
    from rdkit.Chem.rdMolDescriptors import CalcCrippenDescriptors

    return float(CalcCrippenDescriptors(molecule(smiles))[0])


@lru_cache(maxsize=_REMEMBERED)
def sa_of(smiles: str) -> float:
    """Synthetic accessibility of a molecule, 1 (easy) to 10 (hard)."""
    from rdkit.Contrib.SA_Score import sascorer

    return float(sascorer.calculateScore(molecule(smiles)))


def weight_of(smiles: str) -> float:
    """Weight of a molecule, daltons."""
    from rdkit.Chem import Descriptors

    return float(getattr(Descriptors, "MolWt")(molecule(smiles)))  # noqa: B009 - the package's annotations lack it


def penalised_logp_of(smiles: str) -> float:
    """See `penalised_logp`."""
    rings = molecule(smiles).GetRingInfo().AtomRings()
    excess = max(0, max(map(len, rings), default=0) - 6)
    parts = ((logp_of(smiles), _ZINC_LOGP), (-sa_of(smiles), _ZINC_SA), (-float(excess), _ZINC_CYCLE))
    return sum((value - mean) / deviation for value, (mean, deviation) in parts)


def isomer_of(formula: str) -> Callable[[str], float]:
    """See `isomer`: the score of one molecule, for a formula."""
    wanted = _formula(formula)

    def of(name: str) -> float:
        counts = _counts(name)
        terms = [math.exp(-((counts.get(one, 0) - number) ** 2) / 2) for one, number in wanted.items()]
        terms.append(math.exp(-((sum(counts.values()) - sum(wanted.values())) ** 2) / 8))
        return math.prod(terms) ** (1.0 / len(terms))

    return of


@lru_cache(maxsize=_REMEMBERED)
def _similarity(name: str, aim: str) -> float:
    return float(tanimoto(fingerprints([name]), fingerprints([aim]))[0, 0])


def _counts(smiles: str) -> dict[str, int]:
    from rdkit.Chem.rdMolDescriptors import CalcMolFormula

    return _formula(re.sub(r"[+-]\d*$", "", CalcMolFormula(molecule(smiles))))


# ---------------------------------------------------------------------------- what users give


def _target(smiles: str, option: str = "target") -> str:
    name = canonical(smiles.strip())
    if name is None:
        raise ConfigError(
            f"options.{option}: {smiles!r} is no molecule. Give a SMILES string that rdkit reads.",
            code="molecule_bad_target",
            fields={option: smiles},
        )
    return name


def _formula(formula: str) -> dict[str, int]:
    parts = re.findall(r"([A-Z][a-z]?)(\d*)", formula)
    if not parts or "".join(element + number for element, number in parts) != formula:
        raise ConfigError(
            f"options.formula={formula!r}: is no formula. Write elements with their numbers, such as C7H8N2O2.",
            code="molecule_bad_formula",
            fields={"formula": formula},
        )
    return {element: int(number or 1) for element, number in parts}


# ---------------------------------------------------------------------------- a batch

_told: set[str] = set()


def of_each(
    completions: Sequence[str], value: Callable[[str], float], log_metric: Log, invalid: float = 0.0
) -> list[float]:
    """The value of each molecule of a batch, computed once for each, with the shares that are logged.

    Args:
        completions: texts.
        value: canonical SMILES → score. Where it raises, or gives no finite number, the molecule is worth 0.
        log_metric: logs `invalid_share`, of texts that are no molecules, and `failed_share`, of those without value.
        invalid: of a text that is no molecule.
    """
    names = [canonical(text) for text in completions]
    found: dict[str, float | None] = {}
    for name in dict.fromkeys(name for name in names if name is not None):
        found[name] = value_of(name, value)
    if log_metric is not None and names:
        log_metric("invalid_share", sum(name is None for name in names) / len(names))
        log_metric("failed_share", sum(name is not None and found[name] is None for name in names) / len(names))
    values: list[Any] = [None if name is None else found[name] for name in names]
    return [invalid if one is None else one for one in values]


def value_of(name: str, value: Callable[[str], float]) -> float | None:
    """The value of a molecule; None where it raises or gives no finite number, the first of which a process reports."""
    try:
        found = float(value(name))
    except (RlganError, ImportError, NameError, AttributeError):
        raise  # not of this molecule, but of the oracle: of all of them
    except Exception as error:  # an oracle may raise anything for one molecule, and a run is not to end for it
        why = f"{type(error).__name__}: {error}"
    else:
        if math.isfinite(found):
            return found
        why = f"it is {found}"
    if not _told:
        _told.add(name)
        _LOG.warning("%s has no value (%s), so it is worth 0; later ones are only counted", name, why)
    return None
