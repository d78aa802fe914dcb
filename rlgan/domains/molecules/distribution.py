"""How near generated molecules are to real ones: the metric `molecules`, after MOSES and GuacaMol.

Sources: MOSES, Polykovskiy et al. 2020; GuacaMol, Brown et al. 2019; FCD, Preuer et al. 2018. One deviation from MOSES,
whose lists of alerts no package has: `filters` is PAINS and the rules on atoms, rings and charge, without its alerts of
medicinal chemistry.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rlgan.base.errors import DataError
from rlgan.base.extras import require_package
from rlgan.envs.reading import count
from rlgan.metrics import frechet

from .chemistry import canonical, fingerprints, fragments, molecule, require_rdkit, scaffold, tanimoto
from .drawing import grid
from .rewards import logp_of, qed_of, sa_of, weight_of

_ATOMS = frozenset({"C", "N", "S", "O", "F", "Cl", "Br", "H"})
_MOST_IN_RING = 7
_CHUNK = 1000
_FIRST = {"unique_1k": 1_000, "unique_10k": 10_000}
_PROPERTIES: Mapping[str, Callable[[str], float]] = {"logp": logp_of, "sa": sa_of, "qed": qed_of, "weight": weight_of}


class Molecules:
    """The metric `molecules`: the figures of MOSES.

    Args:
        fcd: whether the Fréchet ChemNet distance is measured, too, by fcd_torch: it costs most of the time.
        guacamol: whether GuacaMol's score of ten properties is measured, too.

    Raises:
        ConfigError: rdkit is not installed, or fcd_torch where it is asked for.
    """

    directions: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("validity", "unique", *_FIRST, "novelty"), "max"),
        "int_div": "none",  # noise is more diverse than molecules are
        **dict.fromkeys(("snn", "frag", "scaf", "filters"), "max"),
        **dict.fromkeys([f"w1_{name}" for name in _PROPERTIES], "min"),
        "fcd": "min",
        "fcd_score": "max",
        "kl": "max",
    }

    def __init__(self, fcd: bool = False, guacamol: bool = False) -> None:
        require_rdkit("metric molecules")
        if fcd:
            require_package("fcd_torch", "metric molecules with fcd", "molecules")
        self._fcd, self._guacamol = fcd, guacamol

    def __call__(
        self, texts: Sequence[str], references: Sequence[str], training: Sequence[str] = ()
    ) -> dict[str, float]:
        """Figures of a generator.

        Args:
            texts: SMILES strings, as they were generated.
            references: held-out molecules.
            training: molecules that the generator learned from; novelty is measured beside them.

        Returns:
            validity: share of texts that are molecules. unique: share of different ones among those; unique_1k and
            unique_10k: among the first 1,000 and 10,000 of them, or all where there are fewer. novelty: share of
            different ones that are not in `training`. int_div: see `internal_diversity`. snn: see
            `nearest_similarity`. frag, scaf: cosine of the counts of BRICS fragments, of Murcko scaffolds with two or
            more rings. filters: share that passes `passes_filters`. w1_logp, w1_sa, w1_qed, w1_weight: 1-Wasserstein
            distances, in the unit of the property. fcd: see `frechet_distance`, and fcd_score: see `fcd_score`. kl:
            that of `guacamol_scores`, beside `training`. Where there is no valid molecule, shares, similarities and
            scores are 0, and distances of properties are the mean size of the property of references. Where there are
            less than two, fcd is the distance of references from a network's features that are all 0.
        """
        valid = _valid(texts)
        real = _valid(references)
        unique = list(dict.fromkeys(valid))
        known = {canonical(text) for text in training}
        figures = {
            "validity": _share(len(valid), len(texts)),
            "unique": uniqueness(valid),
            **{name: uniqueness(valid[:most]) for name, most in _FIRST.items()},
            "novelty": _share(sum(name not in known for name in unique), len(unique)),
            "int_div": internal_diversity(valid),
            "snn": nearest_similarity(valid, real),
            "frag": cosine(fragment_counts(valid), fragment_counts(real)),
            "scaf": cosine(scaffold_counts(valid), scaffold_counts(real)),
            "filters": _share(sum(map(passes_filters, valid)), len(valid)),
        }
        for name, value in _PROPERTIES.items():
            figures[f"w1_{name}"] = wasserstein([value(one) for one in valid], [value(one) for one in real])
        if self._fcd:
            distance = frechet_distance(valid, real)
            figures["fcd"] = distance if math.isfinite(distance) else _distance_from_nothing(real)
            figures["fcd_score"] = fcd_score(distance)
        if self._guacamol:
            figures["kl"] = guacamol_scores(valid, training)["kl"]
        return figures

    def identify(self, texts: Sequence[str]) -> list[str | None]:
        """Canonical SMILES of each text; None of one that is no molecule."""
        return [canonical(text) for text in texts]

    def draw(self, texts: Sequence[str], legends: Sequence[str] | None = None) -> str:
        """The molecules as an SVG; see `rlgan.domains.molecules.drawing.grid`.

        Raises:
            DataError: no text is a molecule.
        """
        if not _valid(texts):
            raise DataError(
                f"none of {count(len(texts), 'text')} is a molecule, so there is nothing to draw. Draw more texts, or "
                "train the generator longer.",
                code="draw_no_molecule",
            )
        return grid(texts, legends)


def uniqueness(names: Sequence[str]) -> float:
    """Share of different ones among molecules; 0 without any."""
    return _share(len(set(names)), len(names))


def internal_diversity(names: Sequence[str], power: float = 1.0) -> float:
    """1 - (mean of Tanimoto similarities of all ordered pairs, each with itself too, to the power p)^(1/p).

    Args:
        names: N molecules.
        power: p.

    Returns:
        Between 0 and 1; 0 without molecules.
    """
    if not names:
        return 0.0
    prints = fingerprints(names)
    total = sum(float((tanimoto(prints[at : at + _CHUNK], prints) ** power).sum()) for at in _starts(len(names)))
    return 1.0 - (total / len(names) ** 2) ** (1.0 / power)


def nearest_similarity(names: Sequence[str], real: Sequence[str]) -> float:
    """SNN: the mean over generated molecules of the greatest Tanimoto similarity to a real one; 0 without molecules."""
    if not names or not real:
        return 0.0
    ours, theirs = fingerprints(names), fingerprints(real)
    nearest = [tanimoto(ours[at : at + _CHUNK], theirs).max(1) for at in _starts(len(names))]
    return float(np.concatenate(nearest).mean())


def cosine(ones: Counter[str], others: Counter[str]) -> float:
    """Cosine of two counts; 0 where one is empty."""
    norm = math.sqrt(sum(n * n for n in ones.values()) * sum(n * n for n in others.values()))
    return sum(number * others[key] for key, number in ones.items()) / norm if norm else 0.0


def wasserstein(ones: Sequence[float], others: Sequence[float]) -> float:
    """1-Wasserstein distance of two samples of numbers; beside an empty one the mean size of the other."""
    from scipy.stats import wasserstein_distance

    if not ones or not others:
        return float(np.mean(np.abs([*ones, *others]))) if ones or others else 0.0
    return float(wasserstein_distance(ones, others))


@lru_cache(maxsize=200_000)
def passes_filters(name: str) -> bool:
    """Whether a molecule has C, N, O, S, F, Cl, Br, H alone, no ring above 7 atoms, no charge and no PAINS alert."""
    found = molecule(name)
    atoms = list(found.GetAtoms())
    if any(atom.GetSymbol() not in _ATOMS or atom.GetFormalCharge() for atom in atoms):
        return False
    if any(len(ring) > _MOST_IN_RING for ring in found.GetRingInfo().AtomRings()):
        return False
    return not _pains().HasMatch(found)


@lru_cache(maxsize=1)
def _pains() -> Any:
    from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams

    chosen = FilterCatalogParams()
    chosen.AddCatalog(FilterCatalogParams.FilterCatalogs.PAINS)
    return FilterCatalog(chosen)


def frechet_distance(names: Sequence[str], real: Sequence[str]) -> float:
    """Fréchet ChemNet distance of two samples of molecules (Preuer et al. 2018); infinite where one has below two."""
    if min(len(names), len(real)) < 2:
        return math.inf
    return frechet.frechet_distance(_gaussian_of(tuple(names)), _gaussian_of(tuple(real)))


def _distance_from_nothing(real: Sequence[str]) -> float:
    """Fréchet distance of real molecules from a point at 0, which is finite: what no molecule is worth."""
    if len(real) < 2:
        return 0.0
    found = _gaussian_of(tuple(real))
    return float(found.mean @ found.mean + np.trace(found.covariance))


@lru_cache(maxsize=2)  # the references stay, as every measurement asks for them
def _gaussian_of(names: tuple[str, ...]) -> frechet.Gaussian:
    return frechet.gaussian_of(_chemnet().get_predictions(list(names)))


@lru_cache(maxsize=1)
def _chemnet() -> Any:
    import fcd_torch

    return fcd_torch.FCD(device="cpu", n_jobs=1)


# ---------------------------------------------------------------------------- GuacaMol


_CONTINUOUS = ("BertzCT", "MolLogP", "MolWt", "TPSA")
_DISCRETE = ("NumHAcceptors", "NumHDonors", "NumRotatableBonds", "NumAliphaticRings", "NumAromaticRings")
_LITTLE = 1e-10
_MOST_COMPARED = 10_000


def guacamol_scores(texts: Sequence[str], training: Sequence[str]) -> dict[str, float]:
    """Scores of GuacaMol's distribution benchmarks, each between 0 and 1, higher is better.

    Args:
        texts: SMILES strings, as they were generated.
        training: molecules that the generator learned from.

    Returns:
        validity, uniqueness, novelty, and kl: the mean over ten properties of exp(-KL(training‖generated)), of at most
        10,000 molecules of the training data, drawn with a fixed seed.
    """
    valid = _valid(texts)
    unique = list(dict.fromkeys(valid))
    known = list(dict.fromkeys(_valid(training)))
    theirs = _at_most(known, _MOST_COMPARED)
    divergences = [_continuous_kl(_descriptors(theirs, one), _descriptors(unique, one)) for one in _CONTINUOUS]
    divergences += [_discrete_kl(_descriptors(theirs, one), _descriptors(unique, one)) for one in _DISCRETE]
    divergences.append(_continuous_kl(_inner_similarities(theirs), _inner_similarities(unique)))
    return {
        "validity": _share(len(valid), len(texts)),
        "uniqueness": uniqueness(valid),
        "novelty": _share(len(set(unique) - set(known)), len(unique)),
        "kl": float(np.mean([math.exp(-one) for one in divergences])),
    }


def fcd_score(distance: float) -> float:
    """GuacaMol's score of a Fréchet ChemNet distance: exp(-0.2 · FCD), 0 for an infinite one."""
    return math.exp(-0.2 * distance)


def _descriptors(names: Sequence[str], which: str) -> NDArray[np.float64]:
    from rdkit.Chem import Descriptors

    return np.array([getattr(Descriptors, which)(molecule(name)) for name in names], float)


def _at_most(names: Sequence[str], number: int) -> Sequence[str]:
    """So many of them at most, always the same ones."""
    if len(names) <= number:
        return names
    return [names[place] for place in np.sort(np.random.default_rng(42).permutation(len(names))[:number])]


def _inner_similarities(names: Sequence[str]) -> NDArray[np.float64]:
    """Of each molecule the greatest similarity to another."""
    every = fingerprints(names)
    found = np.zeros(len(names))
    for start in _starts(len(names)):
        alike = tanimoto(every[start : start + _CHUNK], every)
        rows = np.arange(len(alike))
        alike[rows, start + rows] = 0.0  # itself
        found[start : start + _CHUNK] = alike.max(1)
    return found


def _continuous_kl(real: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    from scipy.stats import entropy, gaussian_kde

    if min(len(np.unique(real)), len(np.unique(found))) < 2:  # no density of a constant
        return 0.0 if np.array_equal(np.unique(real), np.unique(found)) else math.inf
    both = np.concatenate([real, found])
    places = np.linspace(both.min(), both.max(), 1000)
    return float(entropy(gaussian_kde(real)(places) + _LITTLE, gaussian_kde(found)(places) + _LITTLE))


def _discrete_kl(real: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    from scipy.stats import entropy

    if not len(found) or not len(real):
        return math.inf
    densities, edges = np.histogram(real, bins=10, density=True)
    inside = np.histogram(found, bins=edges)[0].sum()
    others = np.histogram(found, bins=edges, density=True)[0] if inside else np.zeros_like(densities)
    return float(entropy(densities + _LITTLE, others + _LITTLE))


# ---------------------------------------------------------------------------- parts


def _valid(texts: Iterable[str]) -> list[str]:
    """Canonical SMILES of the texts that are molecules, in their order."""
    return [name for name in map(canonical, texts) if name is not None]


def _share(part: int, of: int) -> float:
    return part / of if of else 0.0


def _starts(number: int) -> range:
    return range(0, number, _CHUNK)


def fragment_counts(names: Sequence[str]) -> Counter[str]:
    """BRICS fragments of molecules, all together."""
    return sum((_fragments(name) for name in names), Counter())


@lru_cache(maxsize=200_000)
def _fragments(name: str) -> Counter[str]:
    return fragments(name)


def scaffold_counts(names: Sequence[str]) -> Counter[str]:
    """Murcko scaffolds of molecules whose scaffold has two or more rings."""
    found = Counter(scaffold(name) for name in names if molecule(name).GetRingInfo().NumRings() >= 2)
    del found[""]
    return found
