"""LM and reverse-LM scores by learned models, on a distribution whose entropy is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import Task, TextTask, build_task
from rlgan.evaluation.evaluator import EvaluationSettings, Evaluator, Measurement
from rlgan.evaluation.learned_language_model import HeldOutNll, LearnedLanguageModel, learned_from
from rlgan.generators import LSTM
from rlgan.layers.optimizers import Adam
from tests.support.errors import refused

# Up to three of the tokens 2 and 3, and the terminator 1. After nothing or a 3 come 1, 2 and 3 with 1/5, 2/5 and 2/5,
# after a 2 with ½, ½ and 0. The fourth token ends what has not ended.
SPACE = SequenceSpace(vocab_size=4, max_length=4, end_id=1)
AFTER = {None: (0.2, 0.4, 0.4), 2: (0.5, 0.5, 0.0), 3: (0.2, 0.4, 0.4)}
SMALL = LearnedLanguageModel(
    network=LSTM(embedding=8, hidden=16), optimizer=Adam(lr=0.02, clip_norm=5.0), batch=100, epochs=30, patience=4
)


def drawn(number: int, seed: int, after: dict[int | None, tuple[float, float, float]] = AFTER) -> Tensor:
    """(number, 4) sequences of the distribution, padded by terminators."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(number):
        row: list[int] = []
        while len(row) < 3:
            token = int(rng.choice([1, 2, 3], p=after[row[-1] if row else None]))
            if token == 1:
                break
            row.append(token)
        rows.append(row + [1] * (4 - len(row)))
    return torch.tensor(rows)


def entropy_a_token() -> float:
    """Of the distribution, enumerated: Σ p log(1/p) / Σ p |y|, terminators counted."""
    total, length = 0.0, 0.0
    begun: list[tuple[tuple[int, ...], float]] = [((), 1.0)]
    while begun:
        prefix, probability = begun.pop()
        distribution = AFTER[prefix[-1] if prefix else None] if len(prefix) < 3 else (1.0, 0.0, 0.0)
        length += probability
        for token, chance in zip((1, 2, 3), distribution, strict=True):
            if chance:
                total -= probability * chance * np.log(chance)
            if chance and token != 1:
                begun.append(((*prefix, token), probability * chance))
    return total / length


def test_what_has_learned_a_distribution_finds_its_entropy() -> None:
    nll = learned_from(SMALL, SPACE, drawn(4_000, 0), drawn(1_000, 1), seed=0)
    held_out = drawn(20_000, 2)
    assert nll(held_out) == pytest.approx(entropy_a_token(), abs=0.01)
    assert nll(held_out) > entropy_a_token() - 0.005


def test_samples_without_variety_are_likely_and_teach_little() -> None:
    reals, valid, test = (drawn(1_000, seed) for seed in range(3))
    collapsed = drawn(1_000, 3, {None: (0.0, 1.0, 0.0), 2: (0.1, 0.9, 0.0), 3: (1.0, 0.0, 0.0)})
    of_reals, of_samples = (learned_from(SMALL, SPACE, rows, valid, seed=0) for rows in (reals, collapsed))
    assert of_reals(collapsed) < of_reals(test) - 0.1
    assert of_samples(test) > of_reals(test) + 0.3


def test_padding_tells_nothing() -> None:
    rows, valid = drawn(200, 0), drawn(100, 1)
    ended = torch.cumsum(rows == 1, 1) > 1
    other = torch.where(ended, 3, rows)
    settings = SMALL.model_copy(update={"epochs": 2})
    first, second = (learned_from(settings, SPACE, given, valid, seed=0) for given in (rows, other))
    assert ended.any() and first(valid) == second(valid)
    assert first(rows) == first(other)


def test_the_same_seed_learns_the_same_and_leaves_the_random_state_alone() -> None:
    settings = SMALL.model_copy(update={"epochs": 2, "network": LSTM(embedding=8, hidden=16, dropout=0.5)})
    state = torch.get_rng_state()
    rows, valid = drawn(200, 0), drawn(100, 1)
    figures = [learned_from(settings, SPACE, rows, valid, seed)(valid) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    assert figures[0] == figures[1] != figures[2]


def test_the_pass_with_the_least_held_out_nll_is_kept() -> None:
    # Four training sequences are soon learned by heart, and the rest is forgotten.
    rows, valid = drawn(4, 0), drawn(500, 1)
    settings = SMALL.model_copy(update={"batch": 4, "epochs": 60, "patience": 60})
    by_pass = [learned_from(settings.model_copy(update={"epochs": n}), SPACE, rows, valid, 0)(valid) for n in (8, 60)]
    assert by_pass[1] <= by_pass[0]
    assert learned_from(settings, SPACE, rows, rows, 0)(valid) > by_pass[1] + 0.5


def test_vectors_of_a_file_are_refused() -> None:
    with refused(ValueError, "learned_model_pretrained", {"network.pretrained": "word_vectors"}):
        LearnedLanguageModel.model_validate({"network": {"pretrained": {"kind": "word_vectors", "path": "v.txt"}}})


# ------------------------------------------------------------------------------------------------------ of a task


@pytest.fixture
def text(tmp_path_factory: pytest.TempPathFactory) -> Task:
    path = tmp_path_factory.mktemp("text") / "lines.txt"
    path.write_text("".join(f"{' '.join('ab'[token - 2] for token in row if token > 1)}\n" for row in drawn(300, 0)))
    return build_task(TextTask(data=str(path), valid_fraction=0.2, test_fraction=0.2, deduplicate=False))


def test_who_learns_what_and_is_asked_for_what(text: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[int] = []

    def sizes(settings: object, space: object, train: Tensor, valid: Tensor, seed: int) -> HeldOutNll:
        """A model whose NLL tells how many sequences it learned, and of how many it is asked."""
        assert (settings, space, seed) == (SMALL, text.space, 7) and torch.equal(valid, text.valid)
        learned.append(len(train))
        return lambda tokens, counts_unknown=True: 1_000.0 * len(train) + len(tokens)

    monkeypatch.setattr("rlgan.evaluation.language_model_scores.learned_from", sizes)
    evaluator = Evaluator(text, EvaluationSettings(language_model=SMALL, num_nearest=5), seed=7)
    train, valid, test = (len(part) for part in (text.train, text.valid, text.test))
    measured = [Measurement({}, text.train[:11]), Measurement({}, text.train[:13]), evaluator.measure_real()]
    found = [evaluator.measure_closely(one) for one in measured]
    assert [(one["eval/lm_lstm"], one["eval/rlm_lstm"]) for one in found] == [
        (1_000 * train + 11, 11_000 + test),
        (1_000 * train + 13, 13_000 + test),
        (1_000 * train + valid, 1_000 * train + test),
    ]
    assert sorted(learned) == [11, 13, train]  # the model of the text is trained once


def test_nothing_is_trained_unasked(text: Task) -> None:
    found = Evaluator(text, EvaluationSettings(num_nearest=5), seed=0).measure_closely(Measurement({}, text.train))
    assert not any("lstm" in name for name in found)
