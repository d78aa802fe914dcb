"""What straying from a reference costs, by hand; how its weight is adapted."""

from __future__ import annotations

import pytest
import torch

from rlgan.policy.credit import Credit, LambdaReturn, MonteCarlo, Prefix, RewardToGo, Terminal
from rlgan.policy.kl_penalty import adapted, penalised

MASK = torch.tensor([[True, True, True], [True, True, False]])
STRAYED = torch.tensor([[1.0, -2.0, 4.0], [3.0, 5.0, 99.0]])


def test_with_terminal_credit_every_token_pays_for_the_sequence() -> None:
    values = penalised(10.0 * MASK, STRAYED, MASK, weight=0.5, credit=Terminal())
    assert values.tolist() == [[8.5, 8.5, 8.5], [6.0, 6.0, 0.0]]


FROM_IT_ON, HALVED = [[8.5, 9.0, 8.0], [6.0, 7.5, 0.0]], [[9.5, 10.0, 8.0], [7.25, 7.5, 0.0]]


@pytest.mark.parametrize(
    ("credit", "expected"),
    [
        (MonteCarlo(), FROM_IT_ON),
        (Prefix(), FROM_IT_ON),
        (RewardToGo(), FROM_IT_ON),
        (RewardToGo(gamma=0.5), HALVED),
        (LambdaReturn(gamma=1.0, decay=0.5), HALVED),
        (LambdaReturn(gamma=0.5, decay=1.0), HALVED),
    ],
)
def test_else_for_what_comes_from_it_on(credit: Credit, expected: list[list[float]]) -> None:
    # γ = ½: 1 - ½·2 + ¼·4 = 1; -2 + ½·4 = 0; 4 | 3 + ½·5 = 5.5; 5.
    values = penalised(10.0 * MASK, STRAYED, MASK, weight=0.5, credit=credit)
    assert values.tolist() == expected


@pytest.mark.parametrize(
    ("kl", "factor"), [(6.0, 2.0), (6.6, 2.02), (60.0, 2.04), (5.4, 1.98), (0.0, 1.96), (-3.0, 1.96)]
)
def test_the_weight_follows_the_divergence_by_at_most_two_per_cent(kl: float, factor: float) -> None:
    assert adapted(2.0, kl, target=6.0) == pytest.approx(factor)
    assert adapted(2.0, kl, target=None) == 2.0
