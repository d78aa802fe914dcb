"""Likelihood metrics: the TOY distribution by exact enumeration, padding, and the two KL gaps."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlgan.base.errors import ShapeError
from rlgan.metrics import headroom_captured, kl_gaps, mean_nll
from tests.support import reference_metrics as twin
from tests.support.errors import refused

# TOY: 3 tokens, 2 positions, a tabular policy and a tabular data distribution; nine sequences to enumerate.
FIRST_LOGITS = torch.tensor([0.2, -0.1, 0.4], dtype=torch.float64)
SECOND_LOGITS = torch.tensor([[0.5, -0.3, 0.0], [-0.2, 0.1, 0.6], [0.3, 0.3, -0.7]], dtype=torch.float64)
REAL_DISTRIBUTION = torch.tensor([[0.20, 0.05, 0.05], [0.10, 0.15, 0.05], [0.05, 0.10, 0.25]], dtype=torch.float64)
TOY_SEQUENCES = torch.tensor(list(itertools.product(range(3), repeat=2)))


def policy_logprobs() -> Tensor:
    """(9, 2) log-probability of each token of each TOY sequence under the policy."""
    first, second = TOY_SEQUENCES.T
    return torch.stack([FIRST_LOGITS.log_softmax(0)[first], SECOND_LOGITS.log_softmax(1)[first, second]], dim=1)


def real_logprobs() -> Tensor:
    """(9, 2) the same under the data distribution."""
    first, second = TOY_SEQUENCES.T
    first_distribution = REAL_DISTRIBUTION.sum(1)
    return torch.stack(
        [first_distribution[first].log(), (REAL_DISTRIBUTION / first_distribution[:, None])[first, second].log()], dim=1
    )


def expected_nll(distribution: Tensor, logprobs: Tensor) -> float:
    """Mean of `mean_nll` over all sequences, each as often as the distribution has it."""
    mask = torch.ones(1, 2, dtype=torch.bool)
    return sum(prob.item() * mean_nll(row[None], mask) for prob, row in zip(distribution, logprobs, strict=True))


def test_toy_likelihoods_and_kl_gaps_by_enumeration() -> None:
    policy_distribution, real_distribution = policy_logprobs().sum(1).exp(), REAL_DISTRIBUTION.flatten()
    nll_oracle = expected_nll(policy_distribution, real_logprobs())
    nll_gen = expected_nll(real_distribution, policy_logprobs())
    nll_div = expected_nll(policy_distribution, policy_logprobs())
    entropy = expected_nll(real_distribution, real_logprobs())
    assert nll_oracle == pytest.approx(1.212674, abs=1e-6)
    assert nll_gen == pytest.approx(1.171577, abs=1e-6)
    assert nll_div == pytest.approx(1.055480, abs=1e-6)
    assert entropy == pytest.approx(1.006346, abs=1e-6)

    gaps = kl_gaps(nll_oracle=nll_oracle, nll_div=nll_div, nll_gen=nll_gen, entropy=entropy)
    assert 2 * gaps.forward == pytest.approx(0.330461, abs=1e-6)  # KL(p_d‖p_θ), T = 2
    assert 2 * gaps.reverse == pytest.approx(0.314389, abs=1e-6)  # KL(p_θ‖p_d)
    assert gaps.total == pytest.approx((0.330461 + 0.314389) / 2, abs=1e-6)


def test_nll_oracle_alone_is_best_for_a_collapsed_generator_and_the_gap_sum_is_not() -> None:
    # A generator that only ever makes the likeliest sequence (2, 2), p_d = 0.25, all but surely.
    logits = torch.zeros(9, dtype=torch.float64)
    logits[8] = 8.0
    collapsed_distribution, real_distribution = logits.softmax(0), REAL_DISTRIBUTION.flatten()
    nll_oracle = -(collapsed_distribution * real_distribution.log()).sum().item() / 2
    gaps = kl_gaps(
        nll_oracle=nll_oracle,
        nll_div=-(collapsed_distribution * collapsed_distribution.log()).sum().item() / 2,
        nll_gen=-(real_distribution * collapsed_distribution.log()).sum().item() / 2,
        entropy=-(real_distribution * real_distribution.log()).sum().item() / 2,
    )
    assert nll_oracle < 1.006346  # lower than real data score, H(p_d)
    assert gaps.total > 5 * (0.330461 + 0.314389) / 2  # and yet far further away than the TOY policy


def test_tokens_not_sequences_are_averaged() -> None:
    logprobs = torch.tensor([[-1.0, -9.0, -9.0], [-2.0, -3.0, -6.0]])
    mask = torch.tensor([[True, False, False], [True, True, True]])
    # (1 + 2 + 3 + 6) / 4 tokens; a mean of sequence means would be 2.333.
    assert mean_nll(logprobs, mask) == pytest.approx(3.0)


@pytest.mark.parametrize("padding", [0.0, -123.0, -math.inf, math.nan])
def test_padding_content_does_not_change_nll(padding: float) -> None:
    logprobs = torch.tensor([[-1.0, padding], [-2.0, -3.0]])
    mask = torch.tensor([[True, False], [True, True]])
    assert mean_nll(logprobs, mask) == 2.0


def test_an_impossible_token_is_infinitely_bad() -> None:
    assert mean_nll(torch.tensor([[-1.0, -math.inf]]), torch.ones(1, 2, dtype=torch.bool)) == math.inf


def test_many_tokens_are_summed_in_double_precision() -> None:
    # float32 or bfloat16 sums of this many equal terms would miss the sixth digit.
    logprobs = torch.full((2000, 500), -0.1, dtype=torch.float32)
    assert mean_nll(logprobs, torch.ones_like(logprobs, dtype=torch.bool)) == pytest.approx(0.1, abs=2e-9)
    half = torch.full((10, 10), -0.1, dtype=torch.bfloat16)
    assert mean_nll(half, torch.ones(10, 10, dtype=torch.bool)) == half[0, 0].neg().item()


@pytest.mark.property
@settings(deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda t: st.lists(
            st.lists(st.tuples(st.floats(-20, 0), st.booleans()), min_size=t, max_size=t), min_size=1, max_size=5
        )
    ),
    st.randoms(use_true_random=False),
)
def test_nll_equals_its_slow_twin_in_any_batch_order(rows: list[list[tuple[float, bool]]], random: object) -> None:
    rows[0][0] = (rows[0][0][0], True)
    logprobs = [[logprob for logprob, _ in row] for row in rows]
    mask = [[is_real for _, is_real in row] for row in rows]
    permutation = torch.randperm(len(rows), generator=torch.Generator().manual_seed(random.getrandbits(32)))  # type: ignore[attr-defined]
    fast = mean_nll(torch.tensor(logprobs, dtype=torch.float64)[permutation], torch.tensor(mask)[permutation])
    assert fast == pytest.approx(twin.mean_nll(logprobs, mask), abs=1e-9)


def test_nll_names_mistakes() -> None:
    logprobs, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    with refused(ShapeError, "likelihood_shapes", match=r"\(2, 3\).*\(2, 2\)"):
        mean_nll(logprobs, mask[:, :2])
    with refused(ShapeError, "likelihood_shapes"):
        mean_nll(logprobs[0], mask[0])
    with refused(ShapeError, "mask_type"):
        mean_nll(logprobs, mask.float())
    with refused(ShapeError, "mask_empty"):
        mean_nll(logprobs, ~mask)


def test_gaps_may_dip_below_zero_by_noise_and_are_not_clamped() -> None:
    gaps = kl_gaps(nll_oracle=1.0, nll_div=1.1, nll_gen=2.0, entropy=2.3)
    assert (gaps.reverse, gaps.forward) == pytest.approx((-0.1, -0.3))


def test_headroom_captured_ends_and_middle() -> None:
    def share(run: float) -> float | None:
        return headroom_captured(gap_sum_run=run, gap_sum_mle_continued=2.4, gap_sum_oracle_ratio=2.0)

    assert share(2.4) == 0.0
    assert share(2.0) == pytest.approx(1.0)
    assert share(2.3) == pytest.approx(0.25)
    assert share(2.6) == pytest.approx(-0.5)


@pytest.mark.parametrize("ceiling", [2.4, 2.5, math.nan])
def test_without_headroom_no_share_is_given(ceiling: float) -> None:
    assert headroom_captured(gap_sum_run=2.0, gap_sum_mle_continued=2.4, gap_sum_oracle_ratio=ceiling) is None
