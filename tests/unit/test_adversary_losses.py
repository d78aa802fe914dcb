"""Each loss by hand, its masked form, its polarity, and where it leads a table: the known optimum on the toy world."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rlgan.adversary.losses import (
    CrossEntropy,
    Hinge,
    LeastSquares,
    Likelihood,
    LossSettings,
    Relativistic,
    Wasserstein,
    cross_entropy,
    hinge,
    least_squares,
    likelihood,
    relativistic,
    wasserstein,
)
from rlgan.base.errors import ShapeError
from rlgan.envs.testing import TOY_PROBS
from tests.support.errors import refused
from tests.support.tabular import TOY_SPACE, TabularGenerator, every_sequence

EVERY_LOSS: list[LossSettings] = [CrossEntropy(), Hinge(), Wasserstein(), LeastSquares(), Relativistic()]
COMPARING: list[Callable[..., Tensor]] = [hinge, wasserstein, least_squares, relativistic]


# --------------------------------------------------------------------------------------------- numbers by hand


def test_cross_entropy_by_hand() -> None:
    # -log D of a real with D = 3/4, -log(1 - D) of fakes with D = 1/2 and 1/4; their mean.
    logits = torch.tensor([math.log(3), 0.0, -math.log(3)])
    expected = -(math.log(3 / 4) + math.log(1 / 2) + math.log(3 / 4)) / 3
    assert float(cross_entropy(logits, torch.tensor([True, False, False]))) == pytest.approx(expected)


def test_cross_entropy_is_half_the_sum_of_both_class_means_where_they_are_balanced() -> None:
    logits = torch.tensor([0.3, -1.0, 2.0, 0.7])
    real, fake = logits[:2], logits[2:]
    total = functional.softplus(-real).mean() + functional.softplus(fake).mean()
    found = cross_entropy(logits, torch.tensor([True, True, False, False]))
    torch.testing.assert_close(found, total / 2)


def test_smoothing_relabels_reals_only() -> None:
    # D = 3/4 for both: a real labelled .9 costs -(.9 log ¾ + .1 log ¼), a fake -log ¼.
    logits = torch.full((2,), math.log(3))
    expected = (-(0.9 * math.log(3 / 4) + 0.1 * math.log(1 / 4)) - math.log(1 / 4)) / 2
    is_real = torch.tensor([True, False])
    assert float(cross_entropy(logits, is_real, label_smoothing=0.1)) == pytest.approx(expected)
    assert float(CrossEntropy(label_smoothing=0.1).of(logits, is_real)) == pytest.approx(expected)


# Two reals with u = 2 and -.5, three fakes with u = 0, .5 and -3.
LOGITS, IS_REAL = torch.tensor([0.0, 2.0, 0.5, -0.5, -3.0]), torch.tensor([False, True, False, True, False])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # relu(1-2) = 0, relu(1+.5) = 1.5: .75.  relu(1+0) = 1, 1.5, relu(1-3) = 0: 2.5/3.
        (Hinge(), 0.75 + 2.5 / 3),
        # Fakes -2.5/3, reals .75.
        (Wasserstein(), -2.5 / 3 - 0.75),
        # Reals (1 + 2.25)/2, fakes (1 + 2.25 + 4)/3, half of each.
        (LeastSquares(), 0.5 * 3.25 / 2 + 0.5 * 7.25 / 3),
        # All six pairs: 2-0, 2-.5, 2+3, -.5-0, -.5-.5, -.5+3.
        (Relativistic(), sum(math.log1p(math.exp(-d)) for d in (2, 1.5, 5, -0.5, -1, 2.5)) / 6),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_comparing_losses_by_hand(loss: LossSettings, expected: float) -> None:
    assert float(loss.of(LOGITS, IS_REAL)) == pytest.approx(expected, rel=1e-6)


def test_relativistic_of_equal_logits_is_log_2_and_reversing_the_roles_mirrors_it() -> None:
    assert float(relativistic(torch.zeros(4), torch.tensor([True, False, True, False]))) == pytest.approx(math.log(2))
    # The generator's loss, E softplus(-(u_fake - u_real)), is this one with the roles changed.
    torch.testing.assert_close(relativistic(LOGITS, ~IS_REAL), relativistic(-LOGITS, IS_REAL))


@pytest.mark.parametrize("loss", [Wasserstein(), Relativistic()], ids=lambda loss: loss.kind)
def test_a_loss_without_a_boundary_does_not_see_a_shift(loss: LossSettings) -> None:
    assert not loss.has_boundary
    torch.testing.assert_close(loss.of(LOGITS + 7.0, IS_REAL), loss.of(LOGITS, IS_REAL))


@pytest.mark.parametrize("loss", EVERY_LOSS, ids=lambda loss: loss.kind)
def test_losses_and_gradients_are_finite_at_logits_of_80(loss: LossSettings) -> None:
    logits = torch.tensor([-80.0, 80.0], requires_grad=True)
    found = loss.of(logits, torch.tensor([True, False]))
    found.backward()
    assert float(found.detach()) >= 80.0 and bool(torch.isfinite(logits.grad).all())


# ------------------------------------------------------------------------------------------------------ tokens


def one_by_one(loss: LossSettings, logits: Tensor, is_real: Tensor, mask: Tensor) -> float:
    """The masked form with loops."""
    rows = range(logits.shape[0])
    at = {kind: [(b, t) for b in rows for t in range(logits.shape[1]) if mask[b, t] and bool(is_real[b]) == kind]
          for kind in (True, False)}  # fmt: skip
    real, fake = ([float(logits[place]) for place in at[kind]] for kind in (True, False))

    def softplus(x: float) -> float:
        return math.log1p(math.exp(x))

    if loss.kind == "cross_entropy":
        return (sum(softplus(-u) for u in real) + sum(softplus(u) for u in fake)) / (len(real) + len(fake))
    if loss.kind == "relativistic":
        pairs = [(r, f) for r in at[True] for f in at[False] if r[1] == f[1]]
        return sum(softplus(float(logits[f] - logits[r])) for r, f in pairs) / len(pairs)
    costs = {
        "hinge": (lambda u: max(0.0, 1 - u), lambda u: max(0.0, 1 + u)),
        "wasserstein": (lambda u: -u, lambda u: u),
        "least_squares": (lambda u: (u - 1) ** 2 / 2, lambda u: (u + 1) ** 2 / 2),
    }[loss.kind]
    return sum(map(costs[0], real)) / len(real) + sum(map(costs[1], fake)) / len(fake)


@pytest.mark.parametrize("loss", EVERY_LOSS, ids=lambda loss: loss.kind)
def test_of_tokens_only_real_ones_count_and_all_alike(loss: LossSettings) -> None:
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(4) < torch.tensor([4, 1, 2, 3, 4]).unsqueeze(1)
    expected = one_by_one(loss, logits, IS_REAL, mask)
    assert float(loss.of(logits, IS_REAL, mask)) == pytest.approx(expected, rel=1e-5)
    littered = torch.where(mask, logits, torch.tensor(math.nan))
    gradients = []
    for scores in (logits.requires_grad_(), littered.detach().requires_grad_()):
        found = loss.of(scores, IS_REAL, mask)
        assert float(found.detach()) == pytest.approx(expected, rel=1e-5)
        gradients += torch.autograd.grad(found, scores)
    assert torch.equal(*gradients) and bool((gradients[0][~mask] == 0).all())


@pytest.mark.parametrize("loss", EVERY_LOSS, ids=lambda loss: loss.kind)
def test_sequences_are_tokens_of_sequences_of_one(loss: LossSettings) -> None:
    mask = torch.ones(5, 1, dtype=torch.bool)
    found = loss.of(LOGITS.unsqueeze(1), IS_REAL, mask)
    torch.testing.assert_close(found, loss.of(LOGITS, IS_REAL))


# ----------------------------------------------------------------------------------- polarity and the optimum


def toy_probs() -> tuple[Tensor, Tensor]:
    """(9,) probabilities of every sequence: of reals, of the tabular policy."""
    fake = TabularGenerator.toy(torch.float64).logprobs(every_sequence(TOY_SPACE)).sum(1).exp().detach()
    return torch.tensor(TOY_PROBS, dtype=torch.float64).flatten(), fake


def expected_loss(loss: LossSettings, table: Tensor) -> Tensor:
    """Exact expectation over independent pairs of a real and a fake: every loss here is a mean over such pairs."""
    real_probs, fake_probs = toy_probs()
    is_real = torch.tensor([True, False])
    terms = [
        real_probs[i] * fake_probs[j] * loss.of(torch.stack([table[i], table[j]]), is_real)
        for i in range(9)
        for j in range(9)
    ]
    return torch.stack(terms).sum()


@pytest.mark.parametrize("loss", EVERY_LOSS, ids=lambda loss: loss.kind)
def test_a_small_step_downhill_raises_reals_above_fakes(loss: LossSettings) -> None:
    real_probs, fake_probs = toy_probs()
    table = torch.zeros(9, dtype=torch.float64, requires_grad=True)
    expected_loss(loss, table).backward()
    # From equal logits every loss pulls the logit of a sequence along p_d - p_θ.
    assert torch.nn.functional.cosine_similarity(-table.grad, real_probs - fake_probs, dim=0) > 0.999


def minimum(loss: LossSettings) -> tuple[float, Tensor]:
    table = torch.zeros(9, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [table], max_iter=200, tolerance_grad=1e-9, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = expected_loss(loss, table)
        value.backward()
        return value

    optimizer.step(closure)
    return float(closure().detach()), table.detach()


def test_cross_entropy_ends_at_the_log_odds_and_at_2_log_2_less_2_js() -> None:
    real_probs, fake_probs = toy_probs()
    value, table = minimum(CrossEntropy())
    torch.testing.assert_close(table, (real_probs / fake_probs).log(), atol=1e-4, rtol=0)
    assert 2 * value == pytest.approx(1.233086, abs=1e-6)  # the golden number is of the sum form


def test_least_squares_ends_at_the_signed_probability() -> None:
    real_probs, fake_probs = toy_probs()
    value, table = minimum(LeastSquares())
    difference = real_probs - fake_probs
    torch.testing.assert_close(table, difference / (real_probs + fake_probs), atol=1e-4, rtol=0)
    assert value == pytest.approx(1 - float((difference**2 / (real_probs + fake_probs)).sum()) / 2, abs=1e-6)


def test_relativistic_ends_at_the_log_odds_up_to_a_constant() -> None:
    real_probs, fake_probs = toy_probs()
    _, table = minimum(Relativistic())
    expected = (real_probs / fake_probs).log()
    torch.testing.assert_close(table - table.mean(), expected - expected.mean(), atol=1e-4, rtol=0)


def test_hinge_is_least_at_the_sign_and_there_it_is_2_less_twice_the_variation() -> None:
    # Σ p_d relu(1-u) + Σ p_θ relu(1+u) at u = ±1 is 2 Σ min(p_d, p_θ) = 2 (1 - TV), TV = 0.343292.
    real_probs, fake_probs = toy_probs()
    sign = (real_probs - fake_probs).sign()
    least = float(expected_loss(Hinge(), sign))
    assert least == pytest.approx(2 * (1 - 0.343292), abs=1e-5)
    for index in range(9):
        for step in (-0.1, 0.1):
            other = sign.clone()
            other[index] += step
            assert float(expected_loss(Hinge(), other)) > least


def test_a_bounded_critic_pays_the_variation() -> None:
    # f within ±1: the greatest E f(real) - E f(fake) is 2 TV.
    real_probs, fake_probs = toy_probs()
    sign = (real_probs - fake_probs).sign()
    assert float(expected_loss(Wasserstein(), sign)) == pytest.approx(-2 * 0.343292, abs=1e-5)


# -------------------------------------------------------------------------------------------------- small print


@pytest.mark.parametrize("loss", COMPARING)
@pytest.mark.parametrize("is_real", [True, False])
def test_what_compares_refuses_one_class_alone(loss: Callable[..., Tensor], is_real: bool) -> None:
    with refused(ShapeError, "loss_needs_both", match=str(is_real)):
        loss(torch.zeros(3), torch.full((3,), is_real))


@pytest.mark.parametrize("loss", [cross_entropy, *COMPARING])
def test_shapes_that_do_not_fit_are_refused(loss: Callable[..., Tensor]) -> None:
    is_real, mask = torch.tensor([True, False]), torch.ones(2, 3, dtype=torch.bool)
    for logits, given in ((torch.zeros(2, 3), None), (torch.zeros(2), mask), (torch.zeros(3), None)):
        with refused(ShapeError, "loss_shapes"):
            loss(logits, is_real, given)


# ------------------------------------------------------------------------------ both classes apart, the generator's


@pytest.mark.parametrize("settings", [CrossEntropy(label_smoothing=0.1), Hinge(), Wasserstein(), LeastSquares()])
@pytest.mark.parametrize("is_of_tokens", [False, True])
def test_both_classes_together_are_the_whole_loss(settings: LossSettings, is_of_tokens: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    is_real = torch.tensor([True, False, True, False])
    logits = torch.randn(4, 3, generator=rng) if is_of_tokens else torch.randn(4, generator=rng)
    # As many real tokens as fake ones, for cross-entropy averages over all of them.
    mask = torch.tensor([[True] * 3, [True] * 3, [True, True, False], [True, True, False]]) if is_of_tokens else None
    apart = settings.by_class(logits, is_real, mask)
    whole = settings.of(logits, is_real, mask) * (2 if isinstance(settings, CrossEntropy) else 1)
    torch.testing.assert_close(apart.real + apart.fake, whole)
    # Moving the reals' logits moves the reals' loss alone.
    step = is_real.float().view(4, *[1] * (logits.dim() - 1))
    moved = settings.by_class(logits + step, is_real, mask)
    assert torch.equal(moved.fake, apart.fake) and not torch.equal(moved.real, apart.real)


def test_a_loss_of_pairs_has_no_classes() -> None:
    with refused(ShapeError, "loss_cannot_split", {"adversary.loss": "relativistic"}):
        Relativistic().by_class(torch.zeros(2), torch.tensor([True, False]))


@pytest.mark.parametrize(
    ("settings", "losses"),
    [
        (CrossEntropy(), [math.log(2), math.log1p(math.exp(-2))]),
        (Hinge(), [0.0, -2.0]),
        (Wasserstein(), [0.0, -2.0]),
        (LeastSquares(), [0.5, 0.5]),
    ],
)
def test_a_generator_descends_what_makes_its_fakes_look_real(settings: LossSettings, losses: list[float]) -> None:
    torch.testing.assert_close(settings.of_generator(torch.tensor([0.0, 2.0])), torch.tensor(losses))


def test_a_generator_has_no_reals_to_be_compared_with() -> None:
    with refused(ShapeError, "loss_needs_reals"):
        Relativistic().of_generator(torch.zeros(2))


# --------------------------------------------------------------------------------------------------- likelihood


def test_likelihood_by_hand() -> None:
    # A real of two tokens with p_φ ½ and ¼, a fake of one with ⅛, a fake of three with 1, ½ and ½.
    probs = torch.tensor([[1 / 2, 1 / 4, 9.0], [1 / 8, 9.0, 9.0], [1.0, 1 / 2, 1 / 2]])
    mask = torch.arange(3) < torch.tensor([[2], [1], [3]])
    is_real = torch.tensor([True, False, False])
    reals, both = (math.log(2) + math.log(4)) / 2, (math.log(2) * (1 + 2 + 3 + 1 + 1)) / 6
    for learns, expected in (("reals", reals), ("mixture", both)):
        found = Likelihood(learns=learns).of(probs.log(), is_real, mask)
        assert float(found) == pytest.approx(expected, rel=1e-6)
    assert float(likelihood(probs[:, 0].log(), is_real)) == pytest.approx(math.log(2))


@pytest.mark.parametrize("learns", ["reals", "mixture"])
def test_likelihood_learns_from_what_it_says_and_from_real_tokens_alone(learns: str) -> None:
    logprobs = torch.full((3, 2), -1.0, requires_grad=True)
    mask, is_real = torch.tensor([[True, True], [True, False], [True, True]]), torch.tensor([True, True, False])
    likelihood(logprobs, is_real, mask, learns).backward()
    learned = mask if learns == "mixture" else mask & is_real.unsqueeze(1)
    assert torch.equal(logprobs.grad, -learned.float() / int(learned.sum()))
    assert Likelihood(learns=learns).reads_fakes == (learns == "mixture")


def test_the_least_of_the_mediator_s_loss_is_the_entropy_of_the_mixture_whatever_the_lengths() -> None:
    # Sequences 2 (p_d .6, p_θ .2), 1 2 (.3, .1), 1 1 (.1, .7): one token, two and two. The pooled mean over tokens in
    # these proportions is least at the mixture of sequences; a mean a class is not, for reals are shorter.
    real, fake = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.1, 0.7]], dtype=torch.float64)
    mixed, num_tokens = (real + fake) / 2, torch.tensor([1.0, 2.0, 2.0])
    table = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # log-odds of token 1 at the start, and after it
    rows = torch.repeat_interleave(torch.arange(6), (torch.cat([real, fake]) * 10).round().long())
    mask = (torch.arange(2) < torch.cat([num_tokens, num_tokens]).unsqueeze(1))[rows]

    def loss() -> Tensor:
        on, off = functional.logsigmoid(table), functional.logsigmoid(-table)
        logprobs = torch.stack([torch.stack([off[0], off[0] * 0]), torch.stack([on[0], off[1]]), on])
        return likelihood(logprobs.repeat(2, 1)[rows], rows < 3, mask, "mixture")

    optimizer = torch.optim.LBFGS([table], lr=1.0, max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    entropy = -(mixed * mixed.log()).sum() / (mixed * num_tokens).sum()
    assert float(loss().detach()) == pytest.approx(float(entropy), abs=1e-9)
    expected = torch.stack([mixed[1] + mixed[2], mixed[2] / (mixed[1] + mixed[2])])
    torch.testing.assert_close(table.detach().sigmoid(), expected, atol=1e-6, rtol=0)


def test_likelihood_of_nothing_is_refused() -> None:
    with refused(ShapeError, "likelihood_needs_sequences", match=r"\(2,\)"):
        likelihood(torch.zeros(2), torch.tensor([False, False]))
    with refused(ShapeError, "loss_shapes"):
        likelihood(torch.zeros(2, 3), torch.tensor([True, False]))
    is_real = torch.tensor([True, False])
    with refused(ShapeError, "loss_cannot_split", {"adversary.loss": "likelihood"}):
        Likelihood(learns="mixture").by_class(torch.zeros(2), is_real)
    with refused(ShapeError, "loss_of_distribution"):
        Likelihood().of_generator(torch.zeros(2))
