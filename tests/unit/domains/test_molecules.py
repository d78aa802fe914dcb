"""Molecules: rewards, measures and budgets, beside numbers that are published or worked by hand."""

from __future__ import annotations

import inspect
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlgan
from rlgan.base.errors import ConfigError, DataError, PluginError
from rlgan.base.weights import weights_of
from rlgan.cli.sample import _draw
from rlgan.config.paths import override
from rlgan.domains.molecules import (
    Budget,
    Molecules,
    ScaffoldBuckets,
    auc_top,
    canonical,
    chemistry,
    distribution,
    isomer,
    logp,
    median,
    molecule,
    molecules,
    mpo,
    oracle,
    penalised_logp,
    qed,
    rediscovery,
    rewards,
    scaffold,
    selfies_of,
    similarity,
    smiles_of,
    synthesisability,
)
from rlgan.domains.molecules.chemistry import as_smiles, fingerprints, fragments, tanimoto
from rlgan.domains.molecules.distribution import (
    cosine,
    fcd_score,
    frechet_distance,
    guacamol_scores,
    internal_diversity,
    nearest_similarity,
    passes_filters,
    wasserstein,
)
from rlgan.domains.molecules.drawing import grid
from rlgan.domains.molecules.mpo import (
    TASKS,
    at_least,
    at_most,
    clipped,
    count_similarity,
    gaussian,
    thresholded,
    tpsa,
)
from rlgan.envs.tasks import build_task
from rlgan.envs.testing import check_task
from rlgan.evaluation.own_metric import OwnMetric
from rlgan.evaluation.own_metrics import MetricDrawing
from rlgan.generators import LSTM, build_generator
from rlgan.policy.reward_forms import WeightedFunction
from rlgan.presets.registry import preset
from rlgan.report.html import svg_size
from rlgan.storage.export import save_run_generator
from tests.support.commands import ask
from tests.support.errors import refused
from tests.support.tiny import TASK, tiny_config

pytest.importorskip("rdkit")

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
REAL = [
    ASPIRIN,
    "CCO",
    "c1ccccc1",
    "CC(N)C(=O)O",
    "c1ccc2ccccc2c1",
    "CCN(CC)CC",
    "Clc1ccccc1",
    "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
]


# ---------------------------------------------------------------------------- texts


@pytest.mark.parametrize("text", ["", " ", "C(", "c1ccccc", "not a molecule", "C(C)(C)(C)(C)C", "<unk>"])
def test_what_is_no_molecule_is_none_and_writes_nothing(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert molecule(text) is None and canonical(text) is None and scaffold(text) == ""
    said = capfd.readouterr()
    assert said.out == said.err == ""


def test_a_molecule_has_one_name_however_it_is_written() -> None:
    assert canonical("OCC") == canonical("C(O)C") == "CCO"
    assert canonical("C1=CC=CC=C1") == canonical("c1ccccc1")  # Kekulé's form and the aromatic one
    assert canonical("CC(=O)[O-].[Na+]") == "CC(=O)[O-].[Na+]"  # a salt is a molecule of two parts


def test_a_scaffold_is_the_rings_and_what_joins_them() -> None:
    assert scaffold("CCc1ccc(CCc2ccccc2O)cc1") == "c1ccc(CCc2ccccc2)cc1"
    assert scaffold("CCCC") == ""


def test_selfies_and_back() -> None:
    pytest.importorskip("selfies")
    text = selfies_of(ASPIRIN)
    assert text.startswith("[C][C]") and canonical(smiles_of(text)) == canonical(ASPIRIN)
    assert canonical(smiles_of("[C][=O][C][F]")) is not None  # every string is a molecule
    with refused(DataError, "molecule_no_selfies", {"smiles": "C("}):
        selfies_of("C(")


# ---------------------------------------------------------------------------- rewards


def test_rewards_of_aspirin_are_the_published_ones() -> None:
    # QED .550 (Bickerton et al. 2012, table of drugs), logP 1.31 and SA 1.58 by rdkit.
    assert qed([ASPIRIN]) == [pytest.approx(0.550, abs=1e-3)]
    assert logp([ASPIRIN]) == [pytest.approx(1.3101)]
    assert synthesisability([ASPIRIN]) == [pytest.approx((10 - 1.5800) / 9, abs=1e-4)]
    expected = (1.3101 - 2.4570953) / 1.4343244 + (-1.5800397 + 3.0525811) / 0.8335207 + 0.0485697 / 0.2860212
    assert penalised_logp([ASPIRIN]) == [pytest.approx(expected, abs=1e-4)]


def test_a_ring_above_six_atoms_costs() -> None:
    # Cycloheptane and cyclooctane differ by an atom of the ring, and by logP and SA.
    seven, eight = "C1CCCCCC1", "C1CCCCCCC1"
    without = [
        (rewards.logp_of(one) - 2.4570953) / 1.4343244 + (3.0525811 - rewards.sa_of(one)) / 0.8335207
        for one in (seven, eight)
    ]
    excess = [value - rest for value, rest in zip(penalised_logp([seven, eight]), without, strict=True)]
    assert excess == pytest.approx([(-1 + 0.0485697) / 0.2860212, (-2 + 0.0485697) / 0.2860212], abs=1e-4)


def test_similarity_is_that_of_fingerprints() -> None:
    again = "O=C(O)c1ccccc1OC(C)=O"
    near = similarity([ASPIRIN, again, "CCO", "C("], target=ASPIRIN)
    assert near[0] == near[1] == 1.0 and 0.0 < near[2] < 0.5 and near[3] == 0.0
    counted = count_similarity("CCO", ASPIRIN, "FCFP4")
    assert similarity(["CCO"], target=ASPIRIN, fingerprint="FCFP4") == [counted] != [near[2]]
    # What is worth 1 is less: the rest is in proportion.
    assert similarity([again, "CCO"], target=ASPIRIN, threshold=0.75) == [1.0, pytest.approx(near[2] / 0.75)]
    for threshold in (0.0, 1.5):
        with refused(ConfigError, "molecule_similarity_threshold", {"threshold": threshold}):
            similarity(["C"], target=ASPIRIN, threshold=threshold)
    wrong: Any = "ecfp4"
    with refused(ConfigError, "molecule_fingerprint", {"fingerprint": wrong}, match="ECFP4, ECFP6, FCFP4, AP"):
        similarity(["C"], target=ASPIRIN, fingerprint=wrong)


def test_rediscovery_and_medians_are_of_counts() -> None:
    again = "O=C(O)c1ccccc1OC(C)=O"
    far = count_similarity("CCO", ASPIRIN, "ECFP4")
    assert rediscovery([again, "CCO", "C("], target=ASPIRIN) == [1.0, far, 0.0] and 0.0 < far < 0.5
    both = median(["CCO"], molecules=f"{ASPIRIN},CCN")
    assert both == [pytest.approx(math.sqrt(far * count_similarity("CCO", "CCN", "ECFP4")))]


def test_isomers_are_worked_by_hand() -> None:
    # C2H6O beside C2H4O2: H 2, O 1 and all atoms 1 away: exp(-(4 + 1) / 2) · exp(-1 / 8), of four terms.
    assert isomer(["CCO"], formula="C2H6O") == [1.0]
    assert isomer(["CC(=O)O"], formula="C2H6O") == [pytest.approx(math.exp(-2.5 - 1 / 8) ** 0.25)]
    assert isomer(["CC(=O)[O-]"], formula="C2H3O2") == [1.0]  # a charge is no atom
    with refused(ConfigError, "molecule_bad_formula", {"formula": "C2h6"}):
        isomer(["C"], formula="C2h6")
    with refused(ConfigError, "molecule_bad_target", {"target": "C("}):
        similarity(["C"], target="C(")


def test_a_text_that_is_none_and_one_without_the_property_are_worth_nothing_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(name: str) -> float:
        if "Cl" in name:
            raise ValueError("no parameters for chlorine")
        return 2.0 if "N" not in name else float("nan")

    monkeypatch.setattr(rewards, "qed_of", breaks)
    monkeypatch.setattr(rewards, "_told", set())
    logged: dict[str, float] = {}
    assert qed(["CCO", "C(", "CCl", "CCCl", "CN"], log_metric=logged.__setitem__) == [2.0, 0.0, 0.0, 0.0, 0.0]
    assert logged == {"invalid_share": 0.2, "failed_share": 0.6}
    (record,) = caplog.records  # the first alone is told
    assert "CCl" in record.getMessage() and "no parameters for chlorine" in record.getMessage()
    assert penalised_logp(["C("], invalid=-10.0) == [-10.0]
    assert qed([], log_metric=logged.__setitem__) == []


@pytest.mark.parametrize(
    ("text", "smiles"),
    [("[C][C][O]", "CCO"), ("[C][=C][C][=C][C][=C][Ring1][=Branch1]", "c1ccccc1"), ("[Na+].[Cl-]", "[Cl-].[Na+]"),
     ("[OH2]", "O"), ("C[NH3+]", "C[NH3+]"), ("[nop]", None)],
)  # fmt: skip
def test_what_is_selfies_is_told_by_its_brackets(text: str, smiles: str | None) -> None:
    pytest.importorskip("selfies")
    assert canonical(text) == smiles


# ---------------------------------------------------------------------------- objectives of several properties


@pytest.mark.parametrize(
    ("modifier", "values"),
    [
        (gaussian(2.0, 0.5), {2.0: 1.0, 1.0: math.exp(-2), 3.0: math.exp(-2)}),
        (at_most(1.0, 1.0), {-5.0: 1.0, 1.0: 1.0, 2.0: math.exp(-0.5)}),
        (at_least(100.0, 10.0), {120.0: 1.0, 100.0: 1.0, 80.0: math.exp(-2)}),
        (clipped(0.8), {0.0: 0.0, 0.4: 0.5, 0.8: 1.0, 1.0: 1.0}),
        (thresholded(4.0), {2.0: 0.5, 4.0: 1.0, 9.0: 1.0, -2.0: -0.5}),
    ],
)
def test_modifiers_are_worked_by_hand(modifier: Callable[[float], float], values: dict[float, float]) -> None:
    assert [modifier(x) for x in values] == pytest.approx([*values.values()])


AMLODIPINE = r"Clc1ccccc1C2C(=C(/N/C(=C2/C(=O)OCC)COCCN)C)\C(=O)OC"
PERINDOPRIL = "O=C(OCC)C(NC(C(=O)N1C(C(=O)O)CC2CCCCC12)C)CCC"
SITAGLIPTIN = "Fc1cc(c(F)cc1F)CC(N)CC(=O)N3Cc2nnc(n2CC3)C(F)(F)F"


def test_each_drug_is_worth_what_its_own_objective_leaves_it() -> None:
    # The drug is like itself, so that what is asked besides decides. Amlodipine has 2 rings of 3: √exp(-½(1/.5)²).
    # Perindopril has no aromatic ring of 2: √exp(-½(2/.5)²). Sitagliptin is to be unlike itself: (exp(-½(1/.1)²))^¼.
    # Fexofenadine has TPSA 81.00 and logP 5.51; osimertinib and ranolazine likewise by their logP and TPSA.
    assert mpo([AMLODIPINE], task="amlodipine") == [pytest.approx(math.exp(-1))]
    assert mpo([PERINDOPRIL], task="perindopril") == [pytest.approx(math.exp(-4))]
    assert mpo([SITAGLIPTIN], task="sitagliptin") == [pytest.approx(math.exp(-12.5))]
    drug = "CC(C)(C(=O)O)c1ccc(cc1)C(O)CCCN2CCC(CC2)C(O)(c3ccccc3)c4ccccc4"
    high = (tpsa(drug) - 90) / 10, (rewards.logp_of(drug) - 4) / 1
    assert (tpsa(drug), rewards.logp_of(drug)) == (pytest.approx(81.0, abs=0.01), pytest.approx(5.51, abs=0.01))
    assert mpo([drug], task="fexofenadine") == [pytest.approx(math.exp(-0.5 * (high[0] ** 2 + high[1] ** 2) / 3))]
    drug = "COc1ccccc1OCC(O)CN2CCN(CC(=O)Nc3c(C)cccc3C)CC2"
    terms = (rewards.logp_of(drug) - 7) ** 2 + 1 + ((tpsa(drug) - 95) / 20) ** 2  # without fluorine, one of one
    assert mpo([drug], task="ranolazine") == [pytest.approx(math.exp(-0.5 * terms / 4))]
    drug = "COc1cc(N(C)CCN(C)C)c(NC(=O)C=C)cc1Nc2nccc(n2)c3cn(C)c4ccccc34"
    terms = 1.5**2 + ((tpsa(drug) - 100) / 10) ** 2 + (rewards.logp_of(drug) - 1) ** 2  # ECFP6 1, .15 above .85
    assert mpo([drug], task="osimertinib") == [pytest.approx(math.exp(-0.5 * terms / 4))]
    drug = "O=C(C)N(CC)C1=CC=CC(=C1)C2=CC=NC3=C(C=NN23)C#N"  # C17H15N5O beside C19H17N3O2
    assert mpo([drug], task="zaleplon") == [pytest.approx(math.sqrt(isomer([drug], formula="C19H17N3O2")[0]))]


def test_a_text_that_is_none_is_worth_nothing_in_each_of_them_and_others_are_refused() -> None:
    assert len(TASKS) == 7
    for name in TASKS:
        found = mpo(["C(", "CCO"], task=name)
        assert found[0] == 0.0 and 0.0 <= found[1] < 0.01
    with refused(ConfigError, "molecule_mpo_task", {"task": "osimertnib"}, match="Did you mean 'osimertinib'"):
        mpo(["C"], task="osimertnib")


def test_similarity_of_counts_is_that_of_their_overlap() -> None:
    # Ethane and propane, ECFP4: a CH3 with its neighbours is in both; counted as Σ min / Σ max.
    one, other = (_counts(name) for name in ("CC", "CCC"))
    both = sum(min(one[key], other[key]) for key in one.keys() & other.keys())
    either = sum(max(one[key], other[key]) for key in one.keys() | other.keys())
    assert count_similarity("CC", "CCC", "ECFP4") == pytest.approx(both / either) and 0 < both < either


def _counts(name: str) -> Counter[int]:
    from rdkit.Chem import rdFingerprintGenerator

    found = rdFingerprintGenerator.GetMorganGenerator(radius=2).GetSparseCountFingerprint(molecule(name))
    return Counter(found.GetNonzeroElements())


# ---------------------------------------------------------------------------- oracles of others


@pytest.mark.parametrize("error", [NameError, AttributeError, ImportError])
def test_an_oracle_that_fails_for_all_molecules_is_not_taken_for_one_of_bad_ones(error: type[Exception]) -> None:
    def broken(smiles: str) -> float:
        raise error("score")

    with pytest.raises(error, match="score"):
        rewards.value_of("C", broken)


def test_without_selfies_what_was_generated_as_smiles_stays_smiles(monkeypatch: pytest.MonkeyPatch) -> None:
    assert as_smiles("[C][C]") == "CC"
    monkeypatch.setattr(chemistry, "find_spec", lambda name: None)
    assert as_smiles("[C][C]") == "[C][C]"


def test_an_oracle_is_asked_once_for_a_molecule_and_one_that_raises_is_worth_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rewards, "_told", set())
    asked: list[list[str]] = []

    class Scores:  # such as MolScore's
        def score(self, smiles: list[str]) -> list[float]:
            asked.append(smiles)
            if any("Cl" in one for one in smiles):
                raise RuntimeError("no parameters for chlorine")
            return [float("nan") if "Br" in one else len(one) / 10 for one in smiles]

    reward, logged = oracle(Scores()), dict[str, float]()
    assert reward(["CCO", "OCC", "C(", "CC"], log_metric=logged.__setitem__) == [0.3, 0.3, 0.0, 0.2]
    assert asked == [["CCO", "CC"]] and logged == {"invalid_share": 0.25, "failed_share": 0.0}
    assert reward(["CCO", "CCl", "CCCl", "CBr", "CCC"], log_metric=logged.__setitem__) == [0.3, 0.0, 0.0, 0.0, 0.3]
    assert asked[1:] == [["CCl", "CCCl", "CBr", "CCC"], ["CCl"], ["CCCl"], ["CBr"], ["CCC"]]  # all, then each alone
    assert logged == {"invalid_share": 0.0, "failed_share": 0.6}
    (record,) = caplog.records
    assert "CCl has no value (RuntimeError: no parameters for chlorine)" in record.getMessage()
    assert reward(["CCl", "ClCC"]) == [0.0, 0.0] and len(asked) == 6  # what failed is not asked again
    assert oracle(len, one_by_one=True)(["CCO", "C("]) == [3.0, 0.0]


@pytest.mark.parametrize(
    "score", [lambda smiles: 1 / 0, lambda smiles: [math.nan] * len(smiles), lambda smiles: dict.fromkeys(smiles, 1.0)]
)
def test_an_oracle_without_a_score_for_any_of_the_first_molecules_is_refused(score: Callable[..., Any]) -> None:
    chains = ["C" * length for length in range(1, 21)]
    reward = oracle(score)
    assert reward(chains[:12]) == [0.0] * 12 and reward(chains[:19]) == [0.0] * 19  # some molecules may fail
    with refused(PluginError, "oracle_always_fails", {"molecules": 20}):
        reward(chains[19:])
    later = oracle(lambda smiles: [1.0] if smiles == ["O"] else score(smiles))
    assert later(["O"]) == [1.0] and later(chains) == [0.0] * 20  # it has had a score, so these are bad molecules


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("qed", {}),
        ("logp", {}),
        ("penalised_logp", {"invalid": -5.0}),
        ("synthesisability", {}),
        ("similarity", {"target": ASPIRIN}),
        ("rediscovery", {"target": ASPIRIN}),
        ("median", {"molecules": f"{ASPIRIN},CCN"}),
        ("isomer", {"formula": "C2H6O"}),
        ("mpo", {"task": "zaleplon"}),
    ],
)
def test_every_reward_takes_its_options_by_settings(name: str, options: dict[str, Any]) -> None:
    assert WeightedFunction(name=name, options=options).options == options


def test_what_is_no_oracle_is_refused() -> None:
    with refused(ConfigError, "oracle_not_callable"):
        oracle(3)
    with refused(PluginError, "oracle_returned", {"returned": 1, "molecules": 2}):
        oracle(lambda smiles: [1.0])(["C", "CC"])


# ---------------------------------------------------------------------------- a filter


def test_the_26th_molecule_of_a_scaffold_is_worth_nothing() -> None:
    phenyls = [f"{'C' * number}c1ccccc1" for number in range(1, 28)]
    buckets = ScaffoldBuckets(bucket_size=25, min_score=0.4)
    assert buckets(phenyls, [0.4] * 27) == [0.4] * 25 + [0.0, 0.0]
    assert buckets(["CC1CCCCC1", "C(", "CCCC"], [1.0, 1.0, 0.5]) == [1.0, 1.0, 0.5]  # other scaffolds, and none
    again = ScaffoldBuckets()
    again.restore(json.loads(json.dumps(buckets.state())))
    for one in (buckets, again):
        assert one(["c1ccccc1CCCCCCCCCCCCCCCCCCCCCCCCCCCC", "C1CCCCC1CC"], [0.9, 0.9]) == [0.0, 0.9]


def test_only_what_scores_well_is_counted_and_each_molecule_once() -> None:
    buckets = ScaffoldBuckets(bucket_size=2, min_score=0.5)
    assert buckets(["Cc1ccccc1", "CCc1ccccc1"], [0.49, math.nan])[0] == 0.49  # neither is counted
    assert buckets(["Cc1ccccc1", "c1ccccc1C", "CCc1ccccc1", "CCCc1ccccc1"], [0.5, 0.9, 0.6, 0.7]) == [
        0.5,
        0.0,
        0.6,
        0.0,
    ]
    with refused(ConfigError, "bucket_size", {"reward.filter.options.bucket_size": 0}):
        ScaffoldBuckets(bucket_size=0)


# ---------------------------------------------------------------------------- distributions


def test_tanimoto_is_worked_by_hand() -> None:
    ones = np.array([[1, 1, 0, 0], [0, 0, 0, 0]], np.float32)
    others = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]], np.float32)
    assert tanimoto(ones, others).tolist() == [[1.0, pytest.approx(1 / 3), 0.0], [0.0, 0.0, 1.0]]


def test_diversity_and_nearest_are_those_of_loops() -> None:
    names = [name for name in map(canonical, REAL) if name is not None]
    alike = np.array([[float(tanimoto(fingerprints([a]), fingerprints([b]))[0, 0]) for b in names] for a in names])
    assert internal_diversity(names) == pytest.approx(1 - alike.mean())
    assert internal_diversity(names, power=2.0) == pytest.approx(1 - math.sqrt((alike**2).mean()))
    assert nearest_similarity(names[:3], names[3:]) == pytest.approx(alike[:3, 3:].max(1).mean())
    assert internal_diversity(["CCO"] * 3) == pytest.approx(0.0) and internal_diversity([]) == 0.0


def test_fragments_are_those_of_brics() -> None:
    # Aspirin breaks at the ester's two bonds and between the ring and the acid.
    assert sum(fragments(ASPIRIN).values()) == 4
    assert fragments("CC") == Counter({"CC": 1})


def test_cosine_and_distance_are_worked_by_hand() -> None:
    assert cosine(Counter(a=3, b=4), Counter(a=3, b=4)) == 1.0
    assert cosine(Counter(a=1, b=1), Counter(b=2, c=2)) == pytest.approx(0.5)
    assert cosine(Counter(), Counter(a=1)) == 0.0
    assert wasserstein([0.0, 1.0], [1.0, 2.0]) == 1.0 and wasserstein([], [1.0, -3.0]) == 2.0


@pytest.mark.parametrize(
    ("smiles", "passes"),
    [
        (ASPIRIN, True),
        ("CC[Si](C)(C)C", False),  # silicon
        ("C[N+](C)(C)C", False),  # a charge
        ("C1CCCCCCC1", False),  # a ring of eight
        ("C1CCCCCC1", True),
        ("O=C1C=CC(=O)C=C1", False),  # a quinone is a PAINS alert
    ],
)
def test_filters(smiles: str, passes: bool) -> None:
    assert passes_filters(canonical(smiles) or "") is passes


def test_the_metric_is_that_of_the_parts() -> None:
    texts = ["CCO", "OCC", "C(", "c1ccccc1C", "c1ccc2ccccc2c1"]
    found = Molecules()(texts, REAL, ["c1ccc2ccccc2c1", "C("])
    assert found["validity"] == 0.8 and found["unique"] == 0.75 and found["novelty"] == pytest.approx(2 / 3)
    assert found["scaf"] == 1.0  # naphthalene is the only scaffold of two rings in both
    assert found["filters"] == 1.0 and 0 < found["snn"] < 1 and found["w1_weight"] > 0
    same = Molecules()(REAL, REAL)
    assert same["snn"] == same["frag"] == pytest.approx(1.0) and same["w1_logp"] == same["w1_qed"] == 0.0
    assert same["novelty"] == 1.0  # nothing is known of the training data


def test_uniqueness_at_k_is_that_of_the_first_valid_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    assert distribution._FIRST == {"unique_1k": 1_000, "unique_10k": 10_000}
    monkeypatch.setattr(distribution, "_FIRST", {"unique_1k": 4, "unique_10k": 100})
    found = Molecules()(["C", "C(", "CO", "OC", "CC", "N", "N"], REAL)
    assert found["unique_1k"] == 3 / 4  # methane, methanol twice, ethane
    assert found["unique_10k"] == found["unique"] == 4 / 6


def test_scores_of_the_metric_that_are_asked_for_are_those_of_their_functions() -> None:
    pytest.importorskip("fcd_torch")
    others = ["CCO", "c1ccccc1O", "CCN", "CCCC"]
    found = Molecules(fcd=True, guacamol=True)(others, REAL, REAL)
    assert found["fcd"] == pytest.approx(frechet_distance(others, REAL))
    assert found["fcd_score"] == pytest.approx(math.exp(-0.2 * found["fcd"]))
    assert found["kl"] == guacamol_scores(others, REAL)["kl"] > 0.0
    assert {"fcd", "fcd_score", "kl"}.isdisjoint(Molecules()(others, REAL, REAL))
    nothing = Molecules(fcd=True, guacamol=True)(["C("], REAL, REAL)
    assert (
        math.isfinite(nothing["fcd"]) and nothing["fcd"] > found["fcd"] and nothing["fcd_score"] == nothing["kl"] == 0.0
    )
    assert Molecules(fcd=True)(["C("], [])["fcd"] == 0.0


def test_no_valid_molecule_is_the_worst_and_finite() -> None:
    found = Molecules(fcd=True)(["C(", ""], REAL)
    assert all(math.isfinite(value) for value in found.values())
    assert not any(
        found[name] for name in ("validity", "unique", "novelty", "int_div", "snn", "frag", "scaf", "fcd_score")
    )
    assert Molecules(fcd=True)([], REAL)["validity"] == 0.0


def test_fcd_is_0_beside_itself_and_its_score_is_the_published_one() -> None:
    fcd_torch = pytest.importorskip("fcd_torch")
    others = ["CCCCCCCC", "CCCCCCC", "CCCC", "CCCCO"]
    assert frechet_distance(others, REAL) == pytest.approx(fcd_torch.FCD()(REAL, others), rel=1e-4)
    assert Molecules(fcd=True)(REAL, REAL)["fcd_score"] == pytest.approx(1.0, abs=1e-3)
    assert Molecules(fcd=True)(["CCCCCCCC", "CCCCCCC", "CCCC"], REAL)["fcd_score"] < 0.1
    assert fcd_score(0.216) == pytest.approx(0.957720, abs=1e-6)  # MolReactGen
    assert fcd_score(0.0732) == pytest.approx(0.985467, abs=1e-6)  # CharRNN of MOSES


def test_the_nearest_other_molecule_is_found_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    alike = tanimoto(fingerprints(REAL), fingerprints(REAL))
    np.fill_diagonal(alike, 0.0)
    monkeypatch.setattr(distribution, "_CHUNK", 3)
    assert len(REAL) % 3  # the last part is smaller
    assert np.array_equal(distribution._inner_similarities(REAL), alike.max(1))


def test_of_much_training_data_a_part_is_compared_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "_MOST_COMPARED", 6)
    found = guacamol_scores(REAL, REAL)
    part = distribution._at_most([canonical(one) for one in REAL], 6)
    assert len(set(part)) == 6 and found["kl"] == guacamol_scores(REAL, part)["kl"] < 1.0
    assert found["novelty"] == 0.0  # beside all of it


def test_guacamol_scores() -> None:
    same = guacamol_scores(REAL, REAL)
    assert same == {"validity": 1.0, "uniqueness": 1.0, "novelty": 0.0, "kl": pytest.approx(1.0)}
    copies = guacamol_scores(["CCO"] * 5 + ["C("], REAL)
    assert copies["uniqueness"] == 0.2 and copies["validity"] == pytest.approx(5 / 6) and copies["kl"] < 0.2
    assert guacamol_scores(["C("], REAL) == {"validity": 0.0, "uniqueness": 0.0, "novelty": 0.0, "kl": 0.0}


# ---------------------------------------------------------------------------- budgets


def test_the_area_is_that_of_pmos_worked_example() -> None:
    scores = [0.2, 0.4, 0.3, 0.5, 0.1]
    # top-1: 2 · (.4 + 0) / 2 + 2 · (.5 + .4) / 2 + 1 · (.5 + .5) / 2 + 3 · .5 = 3.3, over 8
    assert auc_top(scores, 1, 8, every=2) == pytest.approx(0.4125)
    assert auc_top(scores, 2, 8, every=2) == pytest.approx(0.35625)
    assert auc_top(scores, 1, 8, every=2, is_finished=False) == pytest.approx(1.8 / 8)
    assert auc_top([0.7], 10, 1) == pytest.approx(0.35) and auc_top([], 1, 8) == 0.0
    with refused(ConfigError, "auc_top_sizes", {"max_calls": 4}):
        auc_top(scores, 1, 4)


def test_a_call_is_a_new_molecule() -> None:
    asked: list[str] = []

    def score(name: str) -> float:
        asked.append(name)
        return len(name) / 10

    def fails(name: str) -> float:
        raise RuntimeError(name)

    failing = Budget(fails, max_calls=3)
    assert failing(["CCO", "OCC"]) == [0.0, 0.0] and failing.num_failed == 1 and len(failing.scores) == 1
    budget = Budget(score, max_calls=3)
    assert budget(["CCO", "OCC", "C(", "CC", "CCO"]) == [0.3, 0.3, 0.0, 0.2, 0.3]
    assert asked == ["CCO", "CC"] and budget.num_invalid == 1 and budget.num_repeated == 2 and not budget.is_spent
    assert budget(["CCCC", "CCCCC", "CC"]) == [0.4, 0.0, 0.2]  # spent after the first; what was asked stays known
    assert asked == ["CCO", "CC", "CCCC"] and budget.is_spent
    assert budget.top(2) == [("CCCC", 0.4), ("CCO", 0.3)]
    assert budget.auc_top(1, every=1) == pytest.approx((0.15 + 0.3 + 0.35) / 3)


# ---------------------------------------------------------------------------- the task


FILE = "smiles name\nCCO ethanol\nOCC\nC1=CC=CC=C1\nc1ccccc1 benzene\nC(\nCC(=O)[O-].[Na+]\n" + "".join(
    f"{'C' * number}N\n" for number in range(1, 21)
)


def test_a_file_is_cleaned_and_what_was_left_out_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "my.smi"
    path.write_text(FILE, "utf-8")
    task = molecules(str(path), split_seed=0)
    texts = [*task.decode(task.train), *task.decode(task.valid), *task.decode(task.test)]
    assert sorted(texts) == sorted({"CCO", "c1ccccc1", *(f"{'C' * number}N" for number in range(1, 21))})
    assert len(task.valid) == len(task.test) == 2
    assert any(
        "22 molecules; left out: 2 rows without a molecule (lines 1, 6), 1 salt, 2 repeated" in one
        for one in task.notes
    )
    kept = molecules(str(path), salts="keep")
    assert "CC(=O)[O-].[Na+]" in [text for part in (kept.train, kept.valid, kept.test) for text in kept.decode(part)]
    check_task(task)


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("SMILES,SPLIT\n{rows}", {}),  # as MOSES has it
        ("id,canonical_smiles\n{rows}", {}),
        ("0\t{rows}", {"column": 1, "format": "table", "header": False}),
        ("x;{rows}", {"column": "1", "separator": ";"}),
        ("name of it\n{rows}", {"header": True}),
    ],
)
def test_tables_are_read_as_their_options_say(content: str, options: dict[str, Any], tmp_path: Path) -> None:
    before, _, _ = content.partition("{rows}")
    start = before.rpartition("\n")[2]
    heads, cells = before[: len(before) - len(start)], [f"{'C' * number}N" for number in range(1, 21)]
    rows = [f"{cell},train" if "SPLIT" in heads else f"7,{cell}" if "id" in heads else start + cell for cell in cells]
    path = tmp_path / "my.csv" if "," in rows[0] else tmp_path / "my.txt"
    path.write_text(heads + "\n".join(rows), "utf-8")
    task = molecules(str(path), **options)
    assert {text for part in (task.train, task.valid, task.test) for text in task.decode(part)} == set(cells)
    assert any("20 molecules; left out: 0 rows without a molecule, 0 salts" in one for one in task.notes)


def test_every_option_that_is_advised_for_a_file_is_one_of_the_task(tmp_path: Path) -> None:
    path = tmp_path / "my.tsv"
    path.write_text("CCO\tethanol\nCCN\tamine\n", "utf-8")
    with pytest.raises(DataError) as raised:
        molecules(str(path))
    path.with_suffix(".smi").write_text("smiles\n" + "".join(f"{'C' * n}O\n" for n in range(1, 21)), "utf-8")
    advice = " ".join([str(raised.value), *molecules(str(path.with_suffix(".smi"))).notes])
    named = set(re.findall(r"--task\.options\.(\w+)", advice))
    assert {"column", "format", "header"} <= named <= inspect.signature(molecules).parameters.keys()


def test_a_row_without_the_column_is_told_with_options_of_the_task(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_text("C,one\nCC,two\nCCC,three\n", "utf-8")
    with refused(DataError, "column_missing_in_row", match=r"set --task\.options\.separator to"):
        molecules(str(path), column=2)


def test_what_selfies_cannot_write_is_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "my.smi"
    path.write_text(FILE + "O=I(=O)c1ccccc1\n", "utf-8")
    task = molecules(str(path), notation="selfies")
    where = FILE.count("\n") + 1
    left_out = f"2 rows without a molecule (lines 1, 6), 1 molecule that cannot be written as SELFIES (line {where})"
    assert any(f"22 molecules; left out: {left_out}, 1 salt, 2 repeated" in one for one in task.notes)


def test_without_a_file_molecules_are_put_together() -> None:
    task = molecules(held_out=0.1, max_length=48)
    assert len(task.train) == 2360 and len(task.test) == 294
    assert "left out: 0 rows without a molecule, 0 salts, 924 repeated" in task.notes[0]  # 3,872 are written
    check_task(task)


def test_as_selfies_every_sequence_of_tokens_is_a_molecule(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_text("id,SMILES\n" + "".join(f"{n},{'C' * n}O\n" for n in range(1, 21)), "utf-8")
    task = molecules(str(path), column="SMILES", notation="selfies")
    texts = task.decode(task.train)
    assert all(canonical(smiles_of(text)) for text in texts)
    # Rewards and measures read SELFIES as such: in SMILES [C] is an atom without hydrogens.
    assert qed(texts) == qed([smiles_of(text) for text in texts])
    assert {canonical(text) for text in texts} == {canonical(smiles_of(text)) for text in texts}
    assert {"[C]", "[O]"} <= set(task.token_names) and len(task.token_names) == 4
    assert len(task.decode(task.train)) == 16


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"path": "x.smi", "held_out": 0.5}, "molecules_held_out"),
        ({"held_out": 0.0}, "molecules_held_out"),
        ({"path": "x.smi", "notation": "inchi"}, "molecules_option"),
        ({"path": "x.smi", "salts": "maybe"}, "molecules_option"),
        ({"path": "x.smi", "format": "xml"}, "molecules_option"),
        ({"path": "x.smi", "encoding": "utf-9"}, "unknown_encoding"),
        ({"max_length": 1}, "molecules_number"),
        ({"split_seed": -1}, "molecules_number"),
        ({"column": "smiles"}, "molecules_no_file"),
        ({"column": 1}, "molecules_no_file"),
        ({"header": False}, "molecules_no_file"),
        ({"encoding": "latin-1"}, "molecules_no_file"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], code: str) -> None:
    with refused(ConfigError, code):
        molecules(**options)


def test_a_file_without_molecules_says_how_many_rows_it_had(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("the first line\nthe second line\nCCO\n", "utf-8")
    with refused(DataError, "molecules_too_few", match="1 molecule after cleaning.*2 rows had no molecule"):
        molecules(str(path))


@pytest.mark.parametrize(("mark", "typed"), [("\t", "tab"), (" ", "' '")])
def test_molecules_behind_a_name_are_found_and_the_advice_reads_them(mark: str, typed: str, tmp_path: Path) -> None:
    path = tmp_path / "my.smi"
    path.write_text("".join(f"ZINC{n}{mark}{'C' * n}O\n" for n in range(1, 21)), "utf-8")
    with refused(DataError, "molecules_too_few", match=f"the first of them 'ZINC1.*--task.options.separator {typed}"):
        molecules(str(path))
    task = molecules(str(path), column=1, format="table", separator=typed.strip("'"))
    assert len(task.train) == 16
    with refused(DataError, "column_no_effect", match="Remove it, or set --task.options.format table"):
        molecules(str(path), column=1)


@pytest.mark.parametrize("notation", ["smiles", "selfies"])
def test_a_held_out_molecule_with_a_token_of_no_training_molecule_is_left_out_and_told(
    notation: Any, tmp_path: Path
) -> None:
    path = tmp_path / "my.smi"
    path.write_text("".join(f"{'C' * n}O\n{'C' * n}N\n" for n in range(1, 20)) + "[13CH3]C\n", "utf-8")
    left = kept = 0
    for seed in range(12):
        task = molecules(str(path), notation=notation, split_seed=seed)
        held_out = [text for part in (task.valid, task.test) for text in task.decode(part)]
        assert all("<unk>" not in text and canonical(text) for text in held_out)
        told = [
            note for note in task.notes if "1 text with tokens that no training text has ('[13CH3]'), left out" in note
        ]
        assert len(task.train) == 33 and len(held_out) + len(told) == 6
        left, kept = left + len(told), kept + ("[13CH3]" in task.token_names)
    assert left and kept and left + kept == 12


def test_without_rdkit_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for what in (Molecules, molecules, ScaffoldBuckets):
        with refused(ConfigError, "package_missing", {"package": "rdkit"}, match=r"rlgan\[molecules\]|\.\[molecules\]"):
            what()
    assert preset("reinvent").task.kind == "plugin"  # presets can be looked at without it


# ---------------------------------------------------------------------------- in a run


def test_the_metric_says_which_way_each_figure_is_better() -> None:
    metric = OwnMetric(name="molecules")
    returned = Molecules(guacamol=True)(["CCO"], ["CCO", "CCN"], ["CCC"])
    assert set(metric.directions) == {*returned, "fcd", "fcd_score"}
    better = {name: metric.quantity(f"own_molecules_{name}").better for name in metric.directions}
    assert {name for name, way in better.items() if way == "lower"} == {
        "w1_logp", "w1_sa", "w1_qed", "w1_weight", "fcd",
    }  # fmt: skip
    assert [name for name, way in better.items() if way is None] == ["int_div"]
    of_preset = preset("molecule_mle").evaluation.metrics[0]
    assert of_preset.directions == metric.directions


@pytest.mark.heavy
def test_a_run_is_rewarded_and_measured_by_names(tmp_path: Path) -> None:
    path = tmp_path / "my.smi"
    path.write_text(
        "".join(f"{'C' * a}{x}{'C' * b}\n" for a in range(1, 7) for b in range(1, 7) for x in "ONS"), "utf-8"
    )
    preset = override(tiny_config(), {"tracking.enabled": False})
    changes = {
        "task": "molecules",
        "task.options": {"path": str(path), "max_length": 16},
        "evaluation.metrics": ["molecules"],
        "evaluation.final_sequences": 32,
        "evaluation.temperatures": [1.0],
        "evaluation.every": 2,
        "evaluation.mle_every": 2,
        "reward": ["probability", "qed"],
        "reward.map_weight": 0.5,
        "reward.functions.0.weight": 0.5,
        "reward.divide_repeats": True,
        "credit": "terminal",
        "controls": [],
    }
    run = rlgan.train(preset, settings=changes, out=tmp_path / "run", quiet=True)
    assert run.table["own_molecules_validity"].between(0, 1).all()
    assert not any(name.endswith("_gap") and "int_div" not in name for name in run.table if "molecules" in name)
    assert run.table["own_molecules_novelty"].iloc[0] == 1.0  # no test molecule is a training one
    assert run.metrics["reward/qed_mean"].dropna().between(0, 1).all()
    assert run.metrics["reward/qed_invalid_share"].dropna().between(0, 1).all()
    best = json.loads((tmp_path / "run" / "best.json").read_text("utf-8"))["data"]
    assert [reward for _, reward in best] == sorted((reward for _, reward in best), reverse=True) and len(best) == 10
    assert [reward for _, reward in best] == pytest.approx(
        [qed([text])[0] / 2 for text, _ in best],  # of weight ½; a table for people has four digits
        abs=5e-5,
    )
    pictures = {name: (tmp_path / "run" / name).read_text("utf-8") for name in ("samples.svg", "best.svg")}
    assert pictures["best.svg"] == grid([text for text, _ in best], [f"{reward:.3f}  {text}" for text, reward in best])
    assert len({canonical(text) or text for text, _ in best}) == len(best)  # no molecule twice
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert page.count("data:image/svg+xml;base64") == 2 and "Best by your reward" in page


# ---------------------------------------------------------------------------- pictures


def test_a_picture_has_a_place_for_each_text_and_its_size() -> None:
    picture = grid(["CCO", "C(", ASPIRIN, "[C][C][O]", "N", "O"], [f"legend {n}" for n in range(6)])
    assert svg_size(picture) == (5 * 240, 2 * 200) and "encoding='UTF-8'" in picture
    assert svg_size(grid(["CCO", "CC"])) == (480, 200)
    bonds = [len(re.findall(r"class='bond-", grid([text]))) for text in ("CCO", "C(", "[C][C][O]")]
    assert bonds[0] == bonds[2] >= 2 and bonds[1] == 0  # a text that is none has nothing
    assert molecule("CCO").GetNumConformers() == 0  # what is remembered has no places of atoms
    assert Molecules().draw(["CCO"]) == grid(["CCO"])


def test_a_legend_has_smiles_in_the_place_of_selfies() -> None:
    selfies = selfies_of(ASPIRIN)
    assert selfies is not None and len(selfies) > 3 * len(ASPIRIN)
    assert grid([selfies], [f"0.912  {selfies}"]) == grid([selfies], [f"0.912  {smiles_of(selfies)}"])
    assert grid([selfies]) == grid([selfies], [smiles_of(selfies)])
    assert grid(["C("], ["0.000  C("]) == grid(["C("], ["0.000  C("])  # what is none stays as it is
    # A string of SELFIES without atoms is none.
    assert grid(["[Branch1]", "CCO"]) == grid(["[Branch1]", "CCO"], ["no molecule", "CCO"])


def test_texts_of_one_molecule_are_the_same() -> None:
    assert Molecules().identify(["OCC", "CCO", "[C][C][O]", "C("]) == ["CCO", "CCO", "CCO", None]


def test_sequences_of_a_domain_of_ones_own_are_drawn_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, settings = build_task(TASK), LSTM(embedding=4, hidden=4)
    save_run_generator(tmp_path, settings, task, weights_of(build_generator(settings, task.space), 0).complete)
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "class Lengths:\n    def __call__(self, texts):\n        return 1.0\n"
        "    def draw(self, texts, legends):\n"
        '        return f\'<svg width="9" height="9">{len(texts)} of mine</svg>\'\n'
    )
    asked = ("sample", "--run", tmp_path, "--num", "3", "--draw", tmp_path / "a.svg", "--draw-by", f"{plugin}:Lengths")
    answer = ask(capsys, *asked)
    assert answer.status == 0 and "a.svg: 3 sequences drawn" in answer.err
    assert "3 of mine" in (tmp_path / "a.svg").read_text("utf-8")


def test_sampled_molecules_are_drawn_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawing = MetricDrawing(OwnMetric(name="molecules"))
    _draw(drawing, ["CCO", "C("], tmp_path / "some.svg")
    assert (tmp_path / "some.svg").read_text("utf-8") == grid(["CCO", "C("])
    with refused(PluginError, "draw_no_molecule", match="none of 2 texts is a molecule.*Draw more texts, or train"):
        _draw(drawing, ["C(", ""], tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()
    for options, code in (
        (["--draw", "some.png"], "draw_no_svg"),
        (["--draw", "some.svg", "--stream"], "draw_beside_stream"),
        (["--draw", "some.svg", "--out", "some.png"], "draw_beside_out"),
        (["--draw-by", "molecules"], "draw_by_without_draw"),
        (["--draw", "some.svg", "--draw-by", "images"], "metric_draws_nothing"),
    ):
        answer = ask(capsys, "sample", "--run", tmp_path, *options)
        assert answer.status == 2 and f"[{code}]" in answer.err
