"""Objectives of several properties at once: the MPO tasks of GuacaMol (Brown et al. 2019, appendix), rdkit alone.

    --reward mpo --reward.functions.0.options.task osimertinib

Each is the geometric mean of a few terms between 0 and 1: similarities to a drug, and properties behind a modifier, so
that a molecule must be like the drug and unlike it in what is asked. Similarities are of counts (`count_similarity`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from rlgan.base.errors import ConfigError, nearest

from .chemistry import Counted, count_similarity, molecule
from .rewards import Log, isomer_of, logp_of, of_each

Term = Callable[[str], float]
Modifier = Callable[[float], float]


def mpo(completions: Sequence[str], task: str, log_metric: Log = None, **columns: object) -> list[float]:
    """One of GuacaMol's objectives of several properties, between 0 and 1.

    Args:
        completions: SMILES strings.
        task: osimertinib, fexofenadine, ranolazine, perindopril, amlodipine, sitagliptin or zaleplon.
        log_metric: logs a number.
        columns: not read.

    Raises:
        ConfigError: there is no such task.
    """
    if task not in TASKS:
        raise ConfigError(
            f"options.task={task!r}: is not an MPO task.{nearest(task, list(TASKS))} Choose one of {', '.join(TASKS)}.",
            code="molecule_mpo_task",
            fields={"task": task},
        )
    terms = TASKS[task]()
    return of_each(completions, lambda name: geometric_mean([term(name) for term in terms]), log_metric)


def geometric_mean(values: Sequence[float]) -> float:
    """(Π values)^(1/n) of numbers that are not negative."""
    return math.prod(values) ** (1.0 / len(values))


# ---------------------------------------------------------------------------- modifiers


def gaussian(mean: float, deviation: float) -> Modifier:
    """exp(-½((x - μ)/σ)²): 1 at μ."""
    return lambda x: math.exp(-0.5 * ((x - mean) / deviation) ** 2)


def at_most(mean: float, deviation: float) -> Modifier:
    """1 up to μ, and the Gaussian's flank above it (GuacaMol's MinGaussianModifier)."""
    return lambda x: gaussian(mean, deviation)(max(x, mean))


def at_least(mean: float, deviation: float) -> Modifier:
    """1 from μ on, and the Gaussian's flank below it (MaxGaussianModifier)."""
    return lambda x: gaussian(mean, deviation)(min(x, mean))


def clipped(upper: float) -> Modifier:
    """X / upper, at most 1 and at least 0 (ClippedScoreModifier)."""
    return lambda x: min(1.0, max(0.0, x / upper))


def thresholded(threshold: float) -> Modifier:
    """min(x, threshold) / threshold, which may be negative (ThresholdedLinearModifier)."""
    return lambda x: min(x, threshold) / threshold


# ---------------------------------------------------------------------------- terms


def like(target: str, kind: Counted, modifier: Modifier = lambda x: x) -> Term:
    """Tanimoto similarity of counts to a molecule, modified."""
    return lambda name: modifier(count_similarity(name, target, kind))


def property_of(value: Callable[[str], float], modifier: Modifier) -> Term:
    """A property, modified."""
    return lambda name: modifier(value(name))


def tpsa(name: str) -> float:
    """Topological polar surface area, Å²."""
    from rdkit.Chem.rdMolDescriptors import CalcTPSA

    return float(CalcTPSA(molecule(name)))


def num_rings(name: str) -> float:
    """Rings of the smallest set."""
    return float(molecule(name).GetRingInfo().NumRings())


def num_aromatic_rings(name: str) -> float:
    """Those of them that are aromatic."""
    from rdkit.Chem.rdMolDescriptors import CalcNumAromaticRings

    return float(CalcNumAromaticRings(molecule(name)))


def num_fluorines(name: str) -> float:
    """Atoms of fluorine."""
    return float(sum(atom.GetSymbol() == "F" for atom in molecule(name).GetAtoms()))


# ---------------------------------------------------------------------------- tasks

_OSIMERTINIB = "COc1cc(N(C)CCN(C)C)c(NC(=O)C=C)cc1Nc2nccc(n2)c3cn(C)c4ccccc34"
_FEXOFENADINE = "CC(C)(C(=O)O)c1ccc(cc1)C(O)CCCN2CCC(CC2)C(O)(c3ccccc3)c4ccccc4"
_RANOLAZINE = "COc1ccccc1OCC(O)CN2CCN(CC(=O)Nc3c(C)cccc3C)CC2"
_PERINDOPRIL = "O=C(OCC)C(NC(C(=O)N1C(C(=O)O)CC2CCCCC12)C)CCC"
_AMLODIPINE = r"Clc1ccccc1C2C(=C(/N/C(=C2/C(=O)OCC)COCCN)C)\C(=O)OC"
_SITAGLIPTIN = "Fc1cc(c(F)cc1F)CC(N)CC(=O)N3Cc2nnc(n2CC3)C(F)(F)F"
_ZALEPLON = "O=C(C)N(CC)C1=CC=CC(=C1)C2=CC=NC3=C(C=NN23)C#N"


def _osimertinib() -> list[Term]:
    return [
        like(_OSIMERTINIB, "FCFP4", clipped(0.8)),
        like(_OSIMERTINIB, "ECFP6", at_most(0.85, 0.1)),
        property_of(tpsa, at_least(100.0, 10.0)),
        property_of(logp_of, at_most(1.0, 1.0)),
    ]


def _fexofenadine() -> list[Term]:
    return [
        like(_FEXOFENADINE, "AP", clipped(0.8)),
        property_of(tpsa, at_least(90.0, 10.0)),
        property_of(logp_of, at_most(4.0, 1.0)),
    ]


def _ranolazine() -> list[Term]:
    return [
        like(_RANOLAZINE, "AP", clipped(0.7)),
        property_of(logp_of, at_least(7.0, 1.0)),
        property_of(num_fluorines, gaussian(1.0, 1.0)),
        property_of(tpsa, at_least(95.0, 20.0)),
    ]


def _perindopril() -> list[Term]:
    return [like(_PERINDOPRIL, "ECFP4"), property_of(num_aromatic_rings, gaussian(2.0, 0.5))]


def _amlodipine() -> list[Term]:
    return [like(_AMLODIPINE, "ECFP4"), property_of(num_rings, gaussian(3.0, 0.5))]


def _sitagliptin() -> list[Term]:
    return [
        like(_SITAGLIPTIN, "ECFP4", gaussian(0.0, 0.1)),
        property_of(logp_of, gaussian(logp_of(_SITAGLIPTIN), 0.2)),
        property_of(tpsa, gaussian(tpsa(_SITAGLIPTIN), 5.0)),
        isomer_of("C16H15F6N5O"),
    ]


def _zaleplon() -> list[Term]:
    return [like(_ZALEPLON, "ECFP4"), isomer_of("C19H17N3O2")]


TASKS: Mapping[str, Callable[[], list[Term]]] = {
    "osimertinib": _osimertinib,
    "fexofenadine": _fexofenadine,
    "ranolazine": _ranolazine,
    "perindopril": _perindopril,
    "amlodipine": _amlodipine,
    "sitagliptin": _sitagliptin,
    "zaleplon": _zaleplon,
}
"""Name → what makes the terms of the task."""
