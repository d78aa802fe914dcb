"""Probes of surface features, and what a discriminator adds to them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlgan.base.errors import ShapeError
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.spelling import Spelling
from rlgan.metrics import (
    PROBES,
    auc,
    feature_log_odds,
    length_bins,
    length_matched_auc,
    lengths_of,
    probe_aucs,
    rank_correlation,
    shortcut_share,
    surface_of,
)
from rlgan.metrics.shortcuts import form_of
from tests.support.errors import refused

END = 0
SPACE = SequenceSpace(5, 4, end_id=END, spelling=Spelling(("<end>", "A", "b", "7", "."), "words"))


def test_a_surface_is_of_what_stands_before_the_terminator() -> None:
    tokens = torch.tensor([[1, 2, END, END], [3, 3, 3, 3], [END, END, END, END], [2, 4, 1, END]])
    surface = surface_of(SPACE, tokens)
    assert surface.lengths.tolist() == [2, 4, 0, 3] == lengths_of(SPACE, tokens).tolist()
    assert surface.first.tolist() == [1, 3, -1, 2]
    assert surface.last.tolist() == [2, 3, -1, 1]
    assert surface.form[:, 0].tolist() == [1, 0, 1, 1]  # the second never ends
    # "A b" begins with a capital, "7 7 7 7" has a digit, "b . A" neither; nothing begins with nothing.
    assert surface.form[:, 1].tolist() == [1, 0, 0, 0]
    assert surface.form[:, 2].tolist() == [0, 0, 1, 0]
    assert surface.form[:, 5].tolist() == [0, 1, 0, 0]


def test_what_stands_behind_a_terminator_never_matters() -> None:
    tokens = torch.tensor([[1, 2, END, 3], [1, 2, END, END]])
    first, second = (surface_of(SPACE, row.unsqueeze(0)) for row in tokens)
    assert (first.lengths, first.first, first.last) == (second.lengths, second.first, second.last)
    assert torch.equal(first.form, second.form)


def test_where_nothing_ends_all_are_equally_long() -> None:
    surface = surface_of(SequenceSpace(5, 3), torch.tensor([[0, 1, 2], [4, 4, 4]]))
    assert (
        surface.lengths.tolist() == [3, 3] and surface.last.tolist() == [2, 4] and surface.form.tolist() == [[0], [0]]
    )


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("", [0, 1, 0, 0, 0, 0, 0]),
        ("Hello there.", [1, 0, 1, 0, 0, 0, 0]),
        ("hello", [0, 0, 0, 0, 0, 0, 0]),
        ("- one\n- 2!", [0, 1, 1, 1, 1, 0, 0]),
        ("**bold** text ", [0, 1, 0, 0, 0, 1, 1]),
        ("two  blanks", [0, 0, 0, 0, 0, 0, 1]),
    ],
)
def test_form_of_a_text(text: str, form: list[int]) -> None:
    assert form_of(text) == form


def test_log_odds_by_hand() -> None:
    real, fake = torch.tensor([[0], [0], [0], [1]]), torch.tensor([[1], [1]])
    # Values 0 and 1, and one for what neither has: K = 3.  log (3+1)/(4+3) - log (0+1)/(2+3), and so on.
    expected = [math.log(4 / 7) - math.log(1 / 5), math.log(2 / 7) - math.log(3 / 5), math.log(1 / 7) - math.log(1 / 5)]
    assert feature_log_odds(real, fake, torch.tensor([[0], [1], [9]])).tolist() == pytest.approx(expected)
    twice = feature_log_odds(real.repeat(1, 2), fake.repeat(1, 2), torch.tensor([[0, 1]]))
    assert twice.tolist() == pytest.approx([expected[0] + expected[1]])


def test_a_few_lengths_are_classes_of_their_own_and_many_are_put_together() -> None:
    real, fake = length_bins(torch.tensor([3, 7, 7]), torch.tensor([3, 9]))
    assert real.tolist() == [0, 1, 1] and fake.tolist() == [0, 2]
    real, fake = length_bins(torch.arange(0, 400, 2), torch.arange(1, 400, 2))
    counts = torch.cat([real, fake]).bincount()
    assert len(counts) == 32 and int(counts.min()) >= 12 and int(counts.max()) <= 13


def drawn(number: int, long: float, first: float, seed: int) -> torch.Tensor:
    """Sequences of 2 or 3 tokens, the longer ones with one probability, beginning with 1 with another."""
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 5, (number, 4), generator=rng)
    tokens[:, 0] = torch.where(torch.rand(number, generator=rng) < first, 1, 2)
    is_long = torch.rand(number, generator=rng) < long
    tokens[:, 3] = END
    tokens[~is_long, 2] = END
    return tokens


def test_each_probe_sees_its_own_feature_and_no_other() -> None:
    real = surface_of(SPACE, drawn(2_000, long=0.5, first=0.5, seed=0))
    alike = probe_aucs(real, surface_of(SPACE, drawn(2_000, long=0.5, first=0.5, seed=1)))
    longer = probe_aucs(real, surface_of(SPACE, drawn(2_000, long=0.9, first=0.5, seed=2)))
    begun = probe_aucs(real, surface_of(SPACE, drawn(2_000, long=0.5, first=0.9, seed=3)))
    assert tuple(alike) == PROBES
    # Two halves of 1,000 each: a standard error of 0.0129 an area, 0.0091 of their mean.
    assert all(abs(area - 0.5) < 0.03 for area in alike.values())
    # The exact area of a feature of two values with shares ½ and 0.9: ½ + (0.9 - 0.5)/2.
    assert longer["length"] == pytest.approx(0.7, abs=0.03) and abs(longer["first_token"] - 0.5) < 0.03
    assert begun["first_token"] == pytest.approx(0.7, abs=0.03) and abs(begun["length"] - 0.5) < 0.03
    assert begun["format"] == pytest.approx(0.7, abs=0.03)  # 1 is a capital letter


def test_a_probe_does_not_learn_its_sequences_by_heart() -> None:
    # Each first token occurs once: counted where it is ranked, it would tell all of them apart.
    space = SequenceSpace(2_000, 1)
    order = torch.randperm(2_000, generator=torch.Generator().manual_seed(0))
    real, fake = (surface_of(space, rows.unsqueeze(1)) for rows in order.chunk(2))
    assert probe_aucs(real, fake)["first_token"] == pytest.approx(0.5)


def test_too_few_sequences_are_not_probed() -> None:
    few, more = (surface_of(SPACE, drawn(number, 0.5, 0.5, 0)) for number in (3, 8))
    assert probe_aucs(few, more) == {} == probe_aucs(more, few)


def test_length_matched_area_by_hand() -> None:
    # Of length 1: real 2 above fakes 0 and 1, two of two; of length 2: real 0 below fake 5, none of one.
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0, 5.0])
    real_lengths, fake_lengths = torch.tensor([1, 2]), torch.tensor([1, 1, 2])
    assert length_matched_auc(real, fake, real_lengths, fake_lengths) == pytest.approx(2 / 3)
    assert length_matched_auc(real, fake, torch.ones(2, dtype=int), torch.ones(3, dtype=int)) == auc(real, fake)
    assert math.isnan(length_matched_auc(real, fake, torch.tensor([1, 1]), torch.tensor([2, 2, 2])))


def test_a_discriminator_of_length_alone_has_nothing_left_among_sequences_of_equal_length() -> None:
    rng = torch.Generator().manual_seed(0)
    real, fake = torch.randint(5, 12, (300,), generator=rng), torch.randint(1, 9, (300,), generator=rng)
    assert auc(real.float(), fake.float()) > 0.8
    assert length_matched_auc(real.float(), fake.float(), real, fake) == 0.5


def test_lengths_belong_to_logits() -> None:
    with refused(ShapeError, "length_matched_shapes"):
        length_matched_auc(torch.zeros(2), torch.zeros(3), torch.zeros(3), torch.zeros(3))


def test_rank_correlation_by_hand_and_at_its_limits() -> None:
    # Ranks 1 2 3 4 and 2 1 4 3: 1 - 6·4/(4·15) = 0.6.
    assert rank_correlation(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([20, 10, 90, 80])) == pytest.approx(0.6)
    assert rank_correlation(torch.tensor([0.0, 1.0, 9.0]), torch.tensor([1, 2, 3])) == pytest.approx(1.0)
    assert rank_correlation(torch.tensor([0.0, 1.0, 9.0]), torch.tensor([3, 2, 1])) == pytest.approx(-1.0)
    assert math.isnan(rank_correlation(torch.tensor([0.0, 1.0]), torch.tensor([4, 4])))
    assert math.isnan(rank_correlation(torch.tensor([math.nan, 1.0]), torch.tensor([4, 5])))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(0, 9)), min_size=2, max_size=30), st.randoms())
def test_rank_correlation_does_not_depend_on_order_or_scale(pairs: list[tuple[int, int]], random: object) -> None:
    logits, lengths = (torch.tensor(one) for one in zip(*pairs, strict=True))
    found = rank_correlation(logits.float(), lengths)
    order = torch.randperm(len(pairs))
    other = rank_correlation(torch.exp(logits.double())[order], lengths[order])
    assert found == pytest.approx(other, nan_ok=True)


def test_the_share_of_the_best_probe() -> None:
    # Of 1,000 and 1,000 chance goes as far as 3·0.0129 = 0.0387.
    assert shortcut_share(0.9, {"length": 0.7, "format": 0.6}, 1_000, 1_000) == pytest.approx(0.5)
    assert shortcut_share(0.9, {"length": 0.53}, 1_000, 1_000) == 0.0
    assert shortcut_share(0.53, {"length": 0.6}, 1_000, 1_000) is None
    assert shortcut_share(0.9, {}, 1_000, 1_000) is None
