"""Molecules: rewards, measures and budgets, beside numbers that are published or worked by hand."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlgan
from rlgan.base.errors import ConfigError, DataError
from rlgan.config.paths import override
from rlgan.domains.molecules import (
    Budget,
    Molecules,
    auc_top,
    canonical,
    isomer,
    logp,
    median,
    molecule,
    molecules,
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
from rlgan.domains.molecules.chemistry import fingerprints, fragments, tanimoto
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
from rlgan.envs.testing import check_task
from tests.support.errors import refused
from tests.support.tiny import tiny_config

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


def test_similarity_is_that_of_fingerprints_and_rediscovery_that_of_names() -> None:
    again = "O=C(O)c1ccccc1OC(C)=O"
    near = similarity([ASPIRIN, again, "CCO", "C("], target=ASPIRIN)
    assert near[0] == near[1] == 1.0 and 0.0 < near[2] < 0.5 and near[3] == 0.0
    assert rediscovery([again, "CCO", "C("], target=ASPIRIN) == [1.0, near[2] / 2, 0.0]
    both = median(["CCO"], targets=f"{ASPIRIN},CCN")
    assert both == [pytest.approx(math.sqrt(near[2] * similarity(["CCO"], target="CCN")[0]))]


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


def test_as_selfies_every_sequence_of_tokens_is_a_molecule(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_text("id,SMILES\n" + "".join(f"{n},{'C' * n}O\n" for n in range(1, 21)), "utf-8")
    task = molecules(str(path), column="SMILES", notation="selfies")
    assert all(canonical(smiles_of(text)) for text in task.decode(task.train))
    assert {"[C]", "[O]"} <= set(task.token_names) and len(task.token_names) == 4
    assert len(task.decode(task.train)) == 16


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, "molecules_path_or_fraction"),
        ({"path": "x.smi", "held_out": 0.5}, "molecules_path_or_fraction"),
        ({"path": "x.smi", "notation": "inchi"}, "molecules_option"),
        ({"path": "x.smi", "salts": "maybe"}, "molecules_option"),
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


def test_without_rdkit_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with refused(ConfigError, "package_missing", {"package": "rdkit"}, match=r"rlgan\[molecules\]|\.\[molecules\]"):
        Molecules()


# ---------------------------------------------------------------------------- in a run


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
    assert run.table["own_molecules_novelty"].iloc[0] == 1.0  # no test molecule is a training one
    assert run.metrics["reward/qed_mean"].dropna().between(0, 1).all()
    assert run.metrics["reward/qed_invalid_share"].dropna().between(0, 1).all()
