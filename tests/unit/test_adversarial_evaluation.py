"""Adversarial evaluation: its arithmetic, what is told from what, and worlds in which the answer is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from math import sqrt
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from rlgan.base.errors import ConfigError, ShapeError
from rlgan.discriminators import HierarchicalLSTM, InteractionCnn, InteractionCnnDiscriminator, PairCnn
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import Task, TransductionTask, build_task
from rlgan.envs.tasks.transduction import Copy, uniform_conditions
from rlgan.evaluation.adversarial import (
    Accuracy,
    AdversarialMeasures,
    BalancedSet,
    Controls,
    Examples,
    FreshEvaluator,
    Judge,
    accuracy_of,
    adversarial_success,
    fresh_evaluator,
    parts_by_condition,
)
from rlgan.evaluation.evaluator import EvaluationSettings, Evaluator
from rlgan.generators import Seq2SeqLSTM, build_generator
from rlgan.layers.optimizers import Adam
from tests.support.errors import refused
from tests.support.tiny import PAIRS

SMALL = FreshEvaluator(
    network=InteractionCnn(embedding=8, projection=8, channels=16, dropout=0.0),
    optimizer=Adam(lr=0.01, clip_norm=5.0),
    batch=32,
    epochs=20,
    patience=8,
)
# Shares of 0.2 and 0.3 of 40 pairs of as many conditions: 8 and 12. Of 50: 10 and 15.
NUMBER = 50


def copies(num_test: int = 400, noise: float = 0.0, vocab_size: int = 8) -> Task:
    return build_task(
        TransductionTask(rule=Copy(noise=noise), vocab_size=vocab_size, max_length=4, num_train=1, num_test=num_test)
    )


def measures(task: Task, settings: FreshEvaluator = SMALL, seed: int = 0, **more: object) -> AdversarialMeasures:
    assert task.conditions is not None
    return AdversarialMeasures(task.space, task.conditions.test, task.test, settings, seed, **more)  # type: ignore[arg-type]


def always(answer: bool) -> Callable[[Examples, Examples], Judge]:
    return lambda train, dev: lambda conditions, sequences: torch.full((len(sequences),), answer)


@dataclass
class Watched:
    """A teacher that keeps what it was shown, and whose evaluators answer that a copy is of the first class."""

    sets: list[BalancedSet] = field(default_factory=list)

    def __call__(self, train: Examples, dev: Examples) -> Judge:
        def judge(conditions: Tensor, sequences: Tensor) -> Tensor:
            is_copy = (conditions == sequences).all(1)
            self.sets.append(BalancedSet(train, dev, Examples(conditions, sequences, is_copy)))
            return is_copy

        return judge


# ------------------------------------------------------------------------------------------------------ arithmetic


def test_ere_worked_out_by_hand() -> None:
    # AdverSuc .4, .55, .1, .3; gaps .1, .05, .1, .3; a quarter of .55.
    controls = Controls(Accuracy(0.6, 10), Accuracy(0.45, 10), Accuracy(0.9, 10), Accuracy(0.7, 10))
    assert controls.ere == pytest.approx(0.55 / 4)
    assert adversarial_success(0.9) == pytest.approx(0.1)
    assert Accuracy(0.8, 100).standard_error == pytest.approx(0.04)


@pytest.mark.parametrize("answer", [True, False])
def test_an_evaluator_that_always_answers_the_same(answer: bool) -> None:
    """Balanced sets give it AdverSuc ½ everywhere, and ERE ¼(0 + 0 + ½ + ½)."""
    # An odd number, and conditions that stand there several times.
    task = copies(num_test=451, vocab_size=3)
    found = measures(task, teach=always(answer))
    machine = uniform_conditions(task.space, 451, seed=1)
    measured = found.measure(machine, rates_evaluator=True)
    assert measured["eval/adversuc"] == measured["eval/machine_machine_adversuc"] == 0.5
    assert measured["eval/machine_vs_random"] == 0.5 and measured["eval/ere"] == 0.25
    people = found.measure_people()
    assert people["eval/adversuc"] == people["eval/machine_vs_random"] == 0.5
    # 135 of 451 rows are 0.3 of them; groups of equal conditions may add some.
    num_test = measured["eval/adversuc_num"]
    assert num_test % 2 == 0 and 2 * 0.3 * 451 <= num_test <= 2 * 0.35 * 451
    assert measured["eval/adversuc_se"] == pytest.approx(0.5 / sqrt(num_test))


def test_an_evaluator_that_knows_copies_is_never_wrong() -> None:
    task = copies(num_test=NUMBER)
    measured = measures(task, teach=Watched()).measure(task.test, rates_evaluator=True)
    assert measured["eval/machine_vs_random"] == 1.0 and measured["eval/ere"] == 0.0
    assert measured["eval/adversuc"] == 0.5  # the machine copies, too
    others = (task.test + 1) % 8
    measured = measures(task, teach=Watched()).measure(others, rates_evaluator=True)
    assert measured["eval/adversuc"] == 0.0
    # Machine against random: neither copies, so ½; gaps 0, 0, 0, ½.
    assert measured["eval/machine_vs_random"] == 0.5 and measured["eval/ere"] == pytest.approx(0.5 / 4)


# ------------------------------------------------------------------------------------------------------ the sets


def as_rows(tensor: Tensor) -> list[tuple[int, ...]]:
    return [tuple(row) for row in tensor.tolist()]


def test_no_condition_is_in_two_parts_and_the_shares_are_those_asked_for() -> None:
    conditions = torch.arange(60).repeat_interleave(torch.arange(60) % 4 + 1).unsqueeze(1)
    rng = torch.Generator().manual_seed(0)
    parts = parts_by_condition(conditions, 0.2, 0.3, rng)
    number = len(conditions)
    assert sorted(torch.cat(list(parts.values())).tolist()) == list(range(number))
    sets = [set(conditions[rows, 0].tolist()) for rows in parts.values()]
    assert sum(map(len, sets)) == 60
    assert [len(parts[part]) / number for part in ("test", "dev", "train")] == pytest.approx([0.3, 0.2, 0.5], abs=0.03)
    again = parts_by_condition(conditions, 0.2, 0.3, rng)
    assert again["test"].tolist() != parts["test"].tolist()


def test_two_classes_have_the_same_conditions() -> None:
    task, watched = copies(num_test=NUMBER), Watched()
    found = measures(task, teach=watched)
    found.human_or_machine((task.test + 1) % 8)
    (shown,) = watched.sets
    conditions = []
    for part in (shown.train, shown.dev, shown.test):
        first, second = part.conditions[part.is_first], part.conditions[~part.is_first]
        assert as_rows(first) == as_rows(second) == as_rows(part.sequences[part.is_first])
        assert as_rows((first + 1) % 8) == as_rows(part.sequences[~part.is_first])
        conditions += as_rows(first)
    assert sorted(conditions) == sorted(as_rows(found.conditions))


def test_random_sequences_are_real_ones_of_the_same_part_that_answer_something_else() -> None:
    # 27 conditions for 300 pairs: most sequences are right for several rows.
    task, watched = copies(num_test=300, noise=0.3, vocab_size=3), Watched()
    assert task.conditions is not None
    found = measures(task, teach=watched)
    found.measure_people()
    pairs = set(zip(as_rows(task.conditions.test), as_rows(task.test), strict=True))
    shown = watched.sets[1]
    for part in (shown.train, shown.dev):
        first, second = (part.conditions[rows] for rows in (part.is_first, ~part.is_first))
        assert as_rows(first) == as_rows(second)
        real, random = part.sequences[part.is_first], part.sequences[~part.is_first]
        assert set(zip(as_rows(first), as_rows(real), strict=True)) <= pairs
        assert not set(zip(as_rows(second), as_rows(random), strict=True)) & pairs
        assert set(as_rows(random)) <= set(as_rows(task.test))
        assert len(part.is_first) == 2 * int(part.is_first.sum())


def test_random_sequences_are_as_often_on_either_side() -> None:
    task, watched = copies(num_test=NUMBER, vocab_size=50), Watched()
    measures(task, teach=watched).measure_people()
    for part in (watched.sets[1].train, watched.sets[1].dev):
        assert sorted(as_rows(part.sequences[part.is_first])) == sorted(as_rows(part.sequences[~part.is_first]))


def test_halves_of_one_kind_share_no_row() -> None:
    task, watched = copies(num_test=NUMBER, vocab_size=50), Watched()
    measures(task, teach=watched).measure_people()
    halves = watched.sets[0]
    rows = [as_rows(part.conditions) for part in (halves.train, halves.dev, halves.test)]
    assert len({row for part in rows for row in part}) == sum(map(len, rows))
    assert [len(part) for part in rows] == [24, 10, 14]  # of 25, 10 and 15 pairs
    for part in (halves.train, halves.dev):
        assert int(part.is_first.sum()) * 2 == len(part.is_first)
        assert as_rows(part.conditions) == as_rows(part.sequences)


def test_only_the_first_pairs_are_used() -> None:
    task = copies(num_test=NUMBER + 20)
    assert task.conditions is not None
    found = measures(task, SMALL.model_copy(update={"num_pairs": NUMBER}), teach=always(True))
    assert as_rows(found.conditions) == as_rows(task.conditions.test[:NUMBER])
    assert found.measure(task.test[:NUMBER])["eval/adversuc_num"] == 30
    with refused(ShapeError, "evaluator_shape", match=r"\(70, 4\).*\(50, 4\)"):
        found.measure(task.test)


# ------------------------------------------------------------------------------------------------------ errors


def test_no_embeddings_are_copied_into_a_fresh_evaluator() -> None:
    with refused(ValidationError, "evaluator_embeddings", {"network.embeddings": "generator"}):
        FreshEvaluator(network=InteractionCnn(embedding=8, embeddings="generator"))


@pytest.mark.parametrize(
    ("num_test", "changes", "described"),
    [
        (
            49,
            {"dev_fraction": 0.1},
            "evaluator_too_few: adversarial.dev_fraction=0.1.*49",
        ),
        (30, {}, "evaluator_too_few: adversarial.dev_fraction=0.2.*30.*10"),
        (90, {"test_fraction": 0.1}, "evaluator_too_few: adversarial.test_fraction=0.1.*90"),
        (
            400,
            {"num_pairs": 18, "test_fraction": 0.6, "dev_fraction": 0.3},
            "evaluator_too_few: adversarial.num_pairs=18.*18",
        ),
        # All that there are: no greater number gives more.
        (6, {}, "evaluator_too_few: adversarial.num_pairs=2000"),
        (25, {}, "evaluator_too_few: adversarial.dev_fraction=0.2.*25"),
    ],
)
def test_too_few_pairs_are_an_error_that_names_the_field(
    num_test: int, changes: dict[str, float], described: str
) -> None:
    with refused(ConfigError, described):
        measures(copies(num_test, vocab_size=50), SMALL.model_copy(update=changes), teach=always(True))


def test_one_condition_cannot_be_shared_out() -> None:
    space = SequenceSpace(3, 2, condition=SequenceSpace(3, 2))
    same = torch.zeros(100, 2, dtype=torch.int64)
    with refused(ConfigError, "evaluator_too_few", {"evaluation.adversarial.num_pairs": 2000}, match="100"):
        AdversarialMeasures(space, same, torch.randint(3, (100, 2)), SMALL, 0)
    three = torch.arange(3).repeat_interleave(30).unsqueeze(1).repeat(1, 2)
    with refused(ConfigError, "evaluator_too_few", match="30.*10"):
        AdversarialMeasures(space, three, torch.randint(3, (90, 2)), SMALL, 0)


def test_sequences_that_are_all_alike_cannot_be_put_under_other_conditions() -> None:
    task = copies(num_test=100)
    assert task.conditions is not None
    with refused(ConfigError, "evaluator_no_negatives"):
        AdversarialMeasures(task.space, task.conditions.test, torch.zeros(100, 4, dtype=torch.int64), SMALL, 0)


def test_what_is_left_to_learn_from() -> None:
    with refused(ValidationError, "evaluator_fractions", {"test_fraction": 0.5, "dev_fraction": 0.5}):
        FreshEvaluator(dev_fraction=0.5, test_fraction=0.5)


# ------------------------------------------------------------------------------------------------------ worlds


@cache
def clean_world() -> tuple[Task, AdversarialMeasures]:
    task = copies(num_test=500, vocab_size=4, noise=0.02)
    return task, measures(task)


def is_chance(accuracy: float, num_examples: float) -> bool:
    return abs(accuracy - 0.5) <= 4 * sqrt(0.25 / num_examples)


def test_a_machine_that_draws_as_people_do_is_not_told_from_them() -> None:
    task = copies(noise=0.3)
    found = measures(task)
    oracle = task.oracle_of(found.conditions)
    assert oracle is not None
    human = found.human_or_machine(oracle.sample(len(found.conditions), seed=123))
    assert human.num_examples >= 240 and is_chance(human.value, human.num_examples)


def test_people_are_told_from_random_and_not_from_people() -> None:
    measured = clean_world()[1].measure_people()
    assert measured["eval/machine_vs_random"] > 0.9
    assert is_chance(measured["eval/adversuc"], measured["eval/adversuc_num"])


def test_a_bad_machine_is_told_and_halves_of_it_are_not() -> None:
    task, found = clean_world()
    measured = found.measure(task.test // 2, rates_evaluator=True)
    assert measured["eval/adversuc"] < 0.05
    assert is_chance(measured["eval/machine_machine_adversuc"], measured["eval/adversuc_num"] / 2 - 1)
    assert measured["eval/ere"] < 0.1


@pytest.mark.parametrize(
    "network", [HierarchicalLSTM(embedding=4, hidden=8), PairCnn(embedding=4, windows=(1,), filters=(4,), members=2)]
)
def test_what_is_unlike_people_is_told_by_other_networks(network: HierarchicalLSTM | PairCnn) -> None:
    settings = SMALL.model_copy(update={"network": network, "epochs": 15, "num_pairs": 150})
    task = copies(num_test=150)
    assert measures(task, settings).human_or_machine(torch.zeros_like(task.test)).value > 0.95


def test_the_same_seed_gives_the_same_figures_whatever_was_drawn_before() -> None:
    settings = SMALL.model_copy(update={"epochs": 3, "network": PairCnn(embedding=4, windows=(1,), filters=(4,))})
    task = copies(num_test=NUMBER)
    machine = uniform_conditions(task.space, NUMBER, seed=1) // 2
    first = measures(task, settings).measure(machine)
    torch.rand(7)
    assert measures(task, settings).measure(machine) == first
    before = torch.get_rng_state()
    other = measures(task, settings, seed=1).measure(machine)
    assert torch.equal(torch.get_rng_state(), before)
    assert other != first


def test_the_best_of_all_passes_is_kept_and_patience_ends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[bool] = []
    train_mode = InteractionCnnDiscriminator.train

    def watched(network: InteractionCnnDiscriminator, mode: bool = True) -> InteractionCnnDiscriminator:
        trained.extend([True] if mode else [])
        return train_mode(network, mode)

    monkeypatch.setattr(InteractionCnnDiscriminator, "train", watched)
    task = copies(num_test=NUMBER)
    assert task.conditions is not None
    conditions, sequences = task.conditions.test, task.test
    is_first = sequences[:, 0] < 4
    train, dev = (Examples(conditions, sequences, labels) for labels in (is_first, ~is_first))

    def answers(epochs: int, patience: int, of: Examples) -> list[bool]:
        settings = SMALL.model_copy(update={"epochs": epochs, "patience": patience, "batch": 8})
        found: list[bool] = fresh_evaluator(settings, task.space, 0)(train, of)(conditions, sequences).tolist()
        return found

    # What is learned makes it worse by the development part, from the second pass on.
    assert answers(1, 1, dev) == answers(6, 6, dev) == answers(6, 1, dev) != answers(6, 6, train)
    assert len(trained) == 1 + 6 + 2 + 6


def test_accuracy_is_of_the_test_part() -> None:
    part = Examples(torch.zeros(4, 1), torch.zeros(4, 1), torch.tensor([True, True, True, False]))
    nothing = Examples(torch.zeros(0, 1), torch.zeros(0, 1), torch.zeros(0, dtype=torch.bool))
    assert accuracy_of(always(True), BalancedSet(nothing, nothing, part)) == Accuracy(0.75, 4)


# ------------------------------------------------------------------------------------------------------ generators


def test_samples_and_decoded_sequences_of_a_generator_are_judged() -> None:
    task = build_task(PAIRS.model_copy(update={"vocab_size": 9, "num_test": 60}))
    torch.manual_seed(0)
    net = build_generator(Seq2SeqLSTM(embedding=4, hidden=6, init_std=0.7), task.space)
    assert Evaluator(task, EvaluationSettings(), 0).measure_adversarially(net) == {}
    assert Evaluator(task, EvaluationSettings(), 0).measure_people() == {}
    settings = EvaluationSettings(adversarial=SMALL.model_copy(update={"epochs": 2}))
    evaluator = Evaluator(task, settings, 0)
    plain = evaluator.measure_adversarially(net, decodes=False, rates_evaluator=False)
    whole = evaluator.measure_adversarially(net)
    assert whole.items() > plain.items()
    figures = {name.removeprefix("eval/") for name in plain}
    assert figures == {f"{name}{of}" for name in ("adversuc", "machine_vs_random") for of in ("", "_se", "_num")}
    more = {name.removeprefix("eval/") for name in whole} - figures
    assert more == {f"decoded_{name}" for name in figures} | {"ere", "machine_machine_adversuc"}
    assert set(evaluator.measure_people()) == set(plain)


def test_what_is_judged_is_written_for_the_conditions_of_the_human_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    task = build_task(PAIRS.model_copy(update={"vocab_size": 5, "num_test": 80}))
    assert task.conditions is not None
    judged: list[Tensor] = []

    def measure(self: AdversarialMeasures, sequences: Tensor, rates_evaluator: bool = False) -> dict[str, float]:
        judged.append(sequences)
        return {}

    monkeypatch.setattr(AdversarialMeasures, "measure", measure)
    torch.manual_seed(0)
    net = build_generator(Seq2SeqLSTM(embedding=8, hidden=16, init_std=1.5), task.space)
    evaluator = Evaluator(task, EvaluationSettings(adversarial=SMALL), 0)
    evaluator.measure_adversarially(net, temperature=1e-4)
    drawn, decoded = judged
    assert len(set(as_rows(decoded))) > 3
    # So cold that what is drawn is what greedy decoding finds.
    assert as_rows(drawn) == as_rows(decoded)
    evaluator.measure_adversarially(net)
    assert as_rows(judged[2]) != as_rows(drawn) and as_rows(judged[3]) == as_rows(decoded)


# ------------------------------------------------------------------------------------------------------ real data


@pytest.fixture(scope="module")
def dialogues(data_dir: Path) -> tuple[SequenceSpace, dict[str, Tensor]]:
    """Sources and three kinds of replies to them, 768 of each, of the 2,000 most frequent words."""
    folder, num_words, longest = data_dir / "dialogue_opensub_sample", 2_000, 32
    if not folder.is_dir():
        pytest.skip(f"no {folder}")

    def encoded(side: str) -> list[int]:
        ids = [int(token) - 1 for token in side.split()]  # 0 is the unknown word
        return [token if token < num_words else 0 for token in ids] + [num_words] * (longest - len(ids))

    rows: dict[str, list[list[int]]] = {}
    for kind in ("t_given_s", "decoded", "random"):
        for split in ("train", "dev", "test"):
            for line in (folder / f"{kind}_{split}.txt").read_text("utf-8").splitlines():
                source, reply = line.split("|")
                rows.setdefault(kind, []).append(encoded(reply))
                rows.setdefault(f"sources of {kind}", []).append(encoded(source))
    space = SequenceSpace(num_words + 1, longest, num_words, condition=SequenceSpace(num_words + 1, longest, num_words))
    return space, {kind: torch.tensor(found) for kind, found in rows.items()}


def test_a_sample_of_published_dialogues(dialogues: tuple[SequenceSpace, dict[str, Tensor]]) -> None:
    space, rows = dialogues
    people, sources = rows["t_given_s"], rows["sources of t_given_s"]
    assert torch.equal(sources, rows["sources of decoded"]) and torch.equal(sources, rows["sources of random"])
    settings = FreshEvaluator(
        network=PairCnn(embedding=16, windows=(1, 2), filters=(32,), mlp_hidden=64), epochs=8, patience=2
    )
    found = AdversarialMeasures(space, sources, people, settings, seed=0)
    machine, random = found.human_or_machine(rows["decoded"]), found.human_or_machine(rows["random"])
    assert min(machine.value, random.value) > 0.5 + 3 * sqrt(0.25 / machine.num_examples)
    # The random replies of the file are of another kind, and told by that. Those of our own are the very replies of
    # people, and from 384 pairs nothing is learned of which reply belongs to which source.
    assert is_chance(found.machine_or_random(people).value, machine.num_examples)
