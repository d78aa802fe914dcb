"""Sequences with a latent: bounds against integrals that can be computed, what is sampled, what is learned."""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from rlgan.adversary.losses import PrefixCrossEntropy
from rlgan.adversary.settings import AdversarySettings
from rlgan.base.errors import ConfigError, ShapeError
from rlgan.base.weights import load_weights
from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import build_task
from rlgan.envs.testing import all_sequences, random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.evaluation import evaluator as evaluator_module
from rlgan.evaluation.evaluator import Measurement
from rlgan.generators import LSTM, ConditionalVAE, LatentSequenceGenerator, SequenceVAE, build_generator
from rlgan.generators.vae import _seeds_of
from rlgan.layers.latents import Posterior, importance_weighted_logprobs, kl_to_prior, log_weights
from rlgan.layers.optimizers import SGD
from rlgan.metrics import active_units, mean_rank
from rlgan.metrics.latents import central_differences
from rlgan.policy.behaviour import Beams, ColdMixture
from rlgan.policy.control_rewards import OracleRatio
from rlgan.policy.objectives import InverseSoftQ
from rlgan.policy.pair_objectives import Implicit
from rlgan.policy.teacher_forcing import MixedPrefix, MixedTeacherForcing, ScheduledSampling, TeacherForcingByExample
from rlgan.presets.controls import control
from rlgan.presets.registry import preset as build
from rlgan.runs.comparison import _tables, compare
from rlgan.sampling.records import Experience, stacked
from rlgan.sampling.sampler import continue_prefixes, sample, stream
from rlgan.training.measuring import LatentWatch
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from rlgan.workers.learner import GeneratorLearners
from tests.support.errors import refused
from tests.support.on_ray import learner_role
from tests.support.tiny import FAULTS, PAIRS, TASK, Recorder, finish, numbers, of_pairs, tiny_config

TINY = SequenceSpace(3, 3, end_id=2)
SPACE = SequenceSpace(9, 5, end_id=2)
SETTINGS = SequenceVAE(embedding=5, hidden=6, latent=1)


def generator(
    space: SequenceSpace = TINY, settings: SequenceVAE = SETTINGS, scale: float = 3.0
) -> LatentSequenceGenerator:
    torch.manual_seed(2)
    net = build_generator(settings, space)
    assert isinstance(net, LatentSequenceGenerator)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(scale)
    return net.eval()


def exact_logprobs(net: LatentSequenceGenerator, tokens: Tensor) -> Tensor:
    """Log ∫ N(z) p(y|z) dz (n,) of a latent of one dimension, by 201 points of a grid."""
    grid = torch.linspace(-8.0, 8.0, 201, dtype=torch.float64)
    log_prior = -0.5 * (grid.square() + np.log(2 * np.pi)) + np.log(16.0 / 200)
    return torch.logsumexp(log_prior.unsqueeze(1) + at(net, tokens, grid), 0)


@torch.no_grad()
def at(net: LatentSequenceGenerator, tokens: Tensor, latents: Tensor) -> Tensor:
    """Log p(y|z) (Z, n) of sequences at scalar latents (Z,), or at latents of each (Z, n)."""
    mask = sequence_mask(net.space, tokens)
    rows = [
        net.given(None, one.expand(len(tokens)).unsqueeze(1).float()).logprobs(tokens).masked_fill(~mask, 0.0).sum(1)
        for one in latents
    ]
    return torch.stack(rows).double()


# ------------------------------------------------------------------------------------------------ the KL, the bounds


def test_kl_to_the_prior_by_hand() -> None:
    zeros = torch.zeros(3)
    assert kl_to_prior(zeros, zeros).tolist() == [0.0] * 3
    assert kl_to_prior(torch.ones(3), zeros).tolist() == [0.5] * 3
    # σ² = 4: ½ (4 − 1 − log 4)
    assert float(kl_to_prior(torch.zeros(1), torch.tensor([4.0]).log())) == pytest.approx(0.5 * (3 - np.log(4.0)))
    posterior = Posterior(torch.tensor([[1.0, 0.0], [1.0, -1.0]]), torch.zeros(2, 2))
    assert posterior.kl.tolist() == [0.5, 1.0]


def test_bounds_lie_below_the_exact_likelihood_and_more_draws_tighten_them() -> None:
    net, tokens = generator(), all_sequences(TINY)
    exact, mask = exact_logprobs(net, tokens), sequence_mask(TINY, tokens)
    assert float(exact.exp().sum()) == pytest.approx(1.0, abs=1e-6)  # a distribution over all there are
    with torch.no_grad():
        posterior = net.posterior(tokens, None)
        places, shares = np.polynomial.hermite_e.hermegauss(14)  # expectations over one standard normal number
        noise = torch.from_numpy(places).float().view(-1, 1, 1).expand(-1, len(tokens), 1)
        latents, weights = posterior.drawn(noise), log_weights(posterior, noise)
        logprobs = torch.stack([net.given(None, one).logprobs(tokens).masked_fill(~mask, 0.0) for one in latents])
    assert float(posterior.kl.min()) > 0.01  # away from the prior
    shares /= shares.sum()
    expected = []
    for draws in (1, 2, 3):
        index = torch.tensor(list(itertools.product(range(14), repeat=draws)))
        # All that can be drawn at once, as if it were of more sequences.
        found = importance_weighted_logprobs(
            logprobs[index].transpose(0, 1).flatten(1, 2), weights[index].transpose(0, 1).flatten(1)
        )
        bounds = found.sum(1).double().view(len(index), len(tokens))
        expected.append((torch.from_numpy(shares)[index].prod(1, keepdim=True) * bounds).sum(0))
    one, two, three = expected
    elbo = (torch.from_numpy(shares).unsqueeze(1) * logprobs.sum(2).double()).sum(0) - posterior.kl
    torch.testing.assert_close(one, elbo, atol=1e-5, rtol=0)
    assert bool((one < two).all() and (two < three).all() and (three < exact).all())


def test_the_bound_of_a_sequence_depends_on_it_alone_and_is_told_off_by_its_tokens() -> None:
    settings = SETTINGS.model_copy(update={"bound_draws": 400})
    net, tokens = generator(settings=settings), all_sequences(TINY)
    with torch.no_grad():
        shares = net.conditional(None).logprobs(tokens)
        mask = sequence_mask(TINY, tokens)
        assert bool((shares[~mask] == 0.0).all())
        # With many draws it is the likelihood, but for the noise of 400 draws.
        torch.testing.assert_close(shares.sum(1).double(), exact_logprobs(net, tokens), atol=0.15, rtol=0)
        order = torch.randperm(len(tokens))
        torch.testing.assert_close(net.conditional(None).logprobs(tokens[order]), shares[order], atol=2e-5, rtol=0)
        alone = net.conditional(None).logprobs(tokens[3:4])
        torch.testing.assert_close(alone, shares[3:4], atol=2e-5, rtol=0)
        padded = torch.where(mask, tokens, 1)
        torch.testing.assert_close(net.conditional(None).logprobs(padded).masked_fill(~mask, 0.0), shares)
    assert len(_seeds_of(tokens).unique()) == len(tokens)
    with pytest.raises(ValueError, match="integral"):
        net.conditional(None).logits(tokens)
    with pytest.raises(ValueError, match="inferred"):
        net.conditional(None).logprobs(tokens, read=tokens)


# ------------------------------------------------------------------------------------------------ sampled


def test_a_sample_has_the_log_probability_given_its_own_latent() -> None:
    net = generator(SPACE, SequenceVAE(embedding=5, hidden=6, latent=2))
    samples = sample(net.stepper(), SPACE, 40, torch.Generator().manual_seed(1), chunk_rows=16)
    assert samples.latents is not None and samples.latents.shape == (40, 2)
    with torch.no_grad():
        expected = net.given(None, samples.latents).logprobs(samples.tokens).masked_fill(~samples.mask, 0.0)
        other = net.given(None, samples.latents.flip(0)).logprobs(samples.tokens).masked_fill(~samples.mask, 0.0)
        logits = net.given(None, samples.latents).logits(samples.tokens)
    torch.testing.assert_close(samples.logprobs, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        torch.log_softmax(logits, 2).gather(2, samples.tokens.unsqueeze(2)).squeeze(2).masked_fill(~samples.mask, 0.0),
        expected,
        atol=1e-5,
        rtol=1e-5,
    )
    assert float((expected - other).abs().max()) > 0.1
    sharp = sample(net.stepper(0.5), SPACE, 40, torch.Generator().manual_seed(1))
    with torch.no_grad():
        cooled = net.given(None, sharp.latents).logprobs(sharp.tokens, 0.5).masked_fill(~sharp.mask, 0.0)
    torch.testing.assert_close(sharp.logprobs, cooled, atol=1e-5, rtol=1e-5)


def test_samples_have_the_frequencies_of_the_integral_over_the_latent() -> None:
    net, tokens = generator(), all_sequences(TINY)
    samples = sample(net.stepper(), TINY, 5_000, torch.Generator().manual_seed(3), chunk_rows=5_000)
    assert samples.latents is not None and abs(float(samples.latents.var()) - 1.0) < 0.08
    probs = exact_logprobs(net, tokens).exp()
    shares = (samples.tokens.unsqueeze(1) == tokens).all(2).double().mean(0)
    errors = (probs * (1 - probs) / 5_000).sqrt()
    assert bool(((shares - probs).abs() < 4.0 * errors).all())


def test_a_streamed_sequence_is_the_sampled_one() -> None:
    net = generator(SPACE)
    (row,) = sample(net.stepper(), SPACE, 1, torch.Generator().manual_seed(7)).tokens.tolist()
    streamed = list(stream(net.stepper(), SPACE, torch.Generator().manual_seed(7)))
    assert row[: len(streamed)] == streamed


def test_continuations_share_the_latent_of_their_sequence() -> None:
    # So sharp that each latent has one sequence: a continuation with it is the sequence itself.
    net = generator(SPACE, SequenceVAE(embedding=5, hidden=6, latent=2), scale=4.0)
    with torch.no_grad():
        net.to_input.weight.mul_(20.0)
    stepper, rng = net.stepper(1e-3), torch.Generator().manual_seed(5)
    samples = sample(stepper, SPACE, 30, rng)
    assert len({tuple(row) for row in samples.tokens.tolist()}) >= 3
    assert samples.latents is not None
    for latents, same in ((samples.latents, True), (samples.latents.roll(1, 0), False)):
        parts = list(continue_prefixes(stepper, SPACE, samples.tokens, 2, rng, 16, latents=latents))
        found = [
            torch.equal(row, samples.tokens[number])
            for part in parts
            for row, number in zip(part.tokens, part.sequence, strict=True)
        ]
        assert all(found) == same and len(found) > 60


def test_without_latents_a_sequence_is_begun_at_the_middle_of_the_prior() -> None:
    stepper, zeros = generator(SPACE).stepper(), torch.zeros(4, 1)
    one = stepper.start(4)
    other = stepper.with_latents(zeros).start(4)
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))
    with pytest.raises(ValueError, match="no latents"):
        build_generator(LSTM(), SPACE).stepper().with_latents(zeros)


# ------------------------------------------------------------------------------------------------ learned


def learners(settings: SequenceVAE, space: SequenceSpace = SPACE) -> tuple[GeneratorLearners, LatentSequenceGenerator]:
    optimizers = {"mle": SGD(lr=1.0), "adversarial": SGD(lr=1.0)}
    group = GeneratorLearners(settings, space, optimizers, learner_role(0), threads=1, seed=3, faults=FAULTS)
    twin = load_weights(build_generator(settings, space), group.weights().complete)
    assert isinstance(twin, LatentSequenceGenerator)
    return group, twin


def real_rows(number: int, width: int) -> Experience:
    tokens = random_sequences(SPACE, number, 4)
    return Experience(
        tokens=tokens,
        weights=sequence_mask(SPACE, tokens).float() / number,
        latents=torch.randn(number, width),
        infers_latents=torch.ones(number),
        latent_kl_weights=torch.linspace(0.0, 0.4, number),
    )


def drawn_rows(number: int, width: int) -> Experience:
    tokens = random_sequences(SPACE, number, 5)
    weights = torch.randn(tokens.shape).masked_fill(~sequence_mask(SPACE, tokens), 0.0)
    return Experience(tokens=tokens, weights=weights, latents=torch.randn(number, width))


@pytest.mark.parametrize("kinds", [("real",), ("drawn",), ("drawn", "real")], ids="+".join)
def test_a_step_is_down_the_elbo_of_real_rows_and_the_policy_gradient_of_drawn_ones(kinds: tuple[str, ...]) -> None:
    settings = SequenceVAE(embedding=5, hidden=6, latent=3)
    group, twin = learners(settings)
    parts = [real_rows(4, 3) if kind == "real" else drawn_rows(5, 3) for kind in kinds]
    loss = torch.zeros(())
    for rows in parts:
        for row in range(len(rows.tokens)):  # one after another, as it is written down
            tokens, latent = rows.tokens[row : row + 1], rows.latents[row : row + 1]
            if rows.infers_latents is not None:
                found = twin.posterior(tokens, None)
                latent = found.mean + torch.exp(found.log_variance / 2) * latent
                kl = 0.5 * (found.mean**2 + found.log_variance.exp() - 1 - found.log_variance).sum()
                loss = loss + rows.latent_kl_weights[row] * kl
            loss = loss - (rows.weights[row] * twin.given(None, latent).logprobs(tokens)[0]).sum()
    gradients = torch.autograd.grad(loss, list(twin.parameters()), allow_unused=True)
    batch = stacked(parts)
    learned = group.update("adversarial", batch, len(batch.tokens))
    assert learned["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    has_real = "real" in kinds
    for (name, value), gradient in zip(twin.named_parameters(), gradients, strict=True):
        is_encoder = name.startswith(("encoder", "posterior"))
        moved = group.weights().complete[name]
        if is_encoder and not has_real:
            assert torch.equal(moved, value.detach()), name  # nothing is inferred
            continue
        assert gradient is not None and float(gradient.abs().max()) > 0.0, name
        torch.testing.assert_close(moved, value.detach() - gradient, atol=1e-5, rtol=1e-4)


def test_word_dropout_hides_words_in_likelihood_alone() -> None:
    settings = SequenceVAE(embedding=5, hidden=6, latent=3, word_dropout=0.9)
    net, tokens = build_generator(settings, SPACE), random_sequences(SPACE, 50, 0)
    latents = torch.zeros(50, 3)
    with torch.no_grad():
        net.train()
        net.use_dropout(False)
        whole = net.given(None, latents).logprobs(tokens)
        assert torch.equal(whole, net.given(None, latents).logprobs(tokens))
        net.use_dropout(True)
        hidden = net.given(None, latents).logprobs(tokens)
        # The first token follows the start alone, which is always seen.
        assert torch.equal(whole[:, 0], hidden[:, 0])
        share = float((whole[:, 1] != hidden[:, 1]).float().mean())
        assert 0.7 < share <= 1.0
        net.eval()
        assert torch.equal(whole, net.given(None, latents).logprobs(tokens))


def test_the_kl_is_annealed_over_epochs_of_pretraining() -> None:
    settings = SequenceVAE(kl_weight=0.8, kl_epochs=4)
    assert [settings.latent_kl_weight(epoch) for epoch in (0, 1, 2, 4, 9, None)] == pytest.approx(
        [0.0, 0.2, 0.4, 0.8, 0.8, 0.8]
    )
    assert SequenceVAE(kl_epochs=0).latent_kl_weight(0) == 1.0 and LSTM().latent_kl_weight(None) == 0.0


VAE = SequenceVAE(embedding=6, hidden=6, latent=3, kl_epochs=4, bound_draws=2)


@pytest.mark.parametrize("forcing", [MixedTeacherForcing(weight=0.5), TeacherForcingByExample(fraction=0.5)])
def test_a_run_learns_by_the_elbo_and_by_rewards_and_names_its_bound(forcing: object) -> None:
    config = tiny_config({"mle_patience": 5, "teacher_forcing": forcing}, generator=VAE)
    task, recorder = build_task(TASK), Recorder()
    with build_parts(config, task) as parts:
        units = finish(Trainer(config, task, recorder.around(parts)))
    first, last = units[0].metrics, units[-1].metrics
    assert first["mle/latent_kl_weight"] == 0.0 and units[1].metrics["mle/latent_kl_weight"] == 0.25
    assert {"mle/train_loss", "mle/valid_nll_bound"} <= first.keys() and "mle/train_nll" not in first
    assert {"eval/nll_gen_bound", "eval/latent_kl", "eval/active_units", "eval/latent_rank"} <= last.keys()
    assert {"eval/nll_oracle", "eval/effective_rank", "generator/posterior_collapse"} <= last.keys()
    assert not {"eval/nll_gen", "eval/nll_div", "eval/kl_sum", "mle/valid_nll"} & (first.keys() | last.keys())
    for phase, experience, _ in recorder.updates:
        mask = sequence_mask(task.space, experience.tokens)
        assert experience.latents is not None and experience.infers_latents is not None
        infers = experience.infers_latents == 1
        assert bool(infers.all()) == (phase == "mle") and bool(infers.any())
        # What the KL of a real sequence weighs is what one of its tokens weighs.
        share = experience.latent_kl_weights[infers] / experience.weights[infers][:, 0]
        expected = VAE.latent_kl_weight(None) if phase == "adversarial" else None
        assert expected is None or torch.allclose(share, torch.full_like(share, expected))
        assert bool((experience.latent_kl_weights[~infers] == 0).all()) and bool((experience.weights[~mask] == 0).all())
    # What is drawn with latents: the learner and the sampler are one policy.
    assert max(unit.metrics.get("rollouts/logprob_gap_max", 0.0) for unit in units) < 1e-4


def test_a_conditional_vae_reads_what_it_is_given() -> None:
    settings = ConditionalVAE(embedding=4, hidden=5, latent=2, kl_epochs=0, bound_draws=2)
    config = of_pairs(generator=settings)
    task = build_task(PAIRS)
    with build_parts(config, task) as parts:
        units = finish(Trainer(config, task, parts))
    assert units[-1].metrics["eval/nll_gen_bound"] > 0.0
    torch.manual_seed(0)
    net = build_generator(settings, task.space).eval()
    conditions, tokens = task.conditions.train[:6].long(), task.train[:6].long()
    samples = sample(net.stepper(), task.space, 6, torch.Generator().manual_seed(0), conditions=conditions)
    with torch.no_grad():
        given = net.given(conditions, samples.latents).logprobs(samples.tokens).masked_fill(~samples.mask, 0.0)
        torch.testing.assert_close(samples.logprobs, given, atol=1e-5, rtol=1e-5)
        others = conditions.flip(0)
        assert not torch.equal(net.conditional(others).logprobs(tokens), net.conditional(conditions).logprobs(tokens))
        assert not torch.equal(net.posterior(tokens, others).mean, net.posterior(tokens, conditions).mean)
    with pytest.raises(ValueError, match="needs them"):
        net.posterior(tokens, None)


# ------------------------------------------------------------------------------------------------ watched


def test_units_are_active_where_their_mean_depends_on_the_sequence() -> None:
    # Variances 0.25 · spread²: 0.04, 0.0049, 0; the threshold is 0.01.
    means = torch.tensor([[0.0, 0.0, 3.0], [0.4, 0.14, 3.0]])
    assert active_units(means) == 1
    assert active_units(torch.zeros(5, 4)) == 0
    with refused(ShapeError, "latent_means_shape", {}):
        active_units(means[:1])


def test_rank_of_jacobians() -> None:
    eye, rank_one = torch.eye(4, dtype=torch.float64), torch.ones(4, 4, dtype=torch.float64)
    at = torch.randn(2, 4, dtype=torch.float64)

    def both(latents: Tensor) -> Tensor:
        """A rotation of the first row's latent, and one direction of the second's."""
        return torch.stack([latents[0] @ eye.roll(1, 0), latents[1] @ rank_one]) + 7.0

    jacobians = central_differences(both, at)
    torch.testing.assert_close(jacobians[0], eye.roll(1, 0).T, atol=1e-8, rtol=0)
    assert mean_rank(jacobians[:1]) == pytest.approx(4.0) and mean_rank(jacobians[1:]) == pytest.approx(1.0, abs=1e-5)
    assert mean_rank(jacobians) == pytest.approx(2.5, abs=1e-5)
    assert mean_rank(central_differences(lambda latents: 0.0 * latents + 3.0, at)) == 0.0
    squares = central_differences(lambda latents: latents.square(), at)
    torch.testing.assert_close(squares, torch.diag_embed(2.0 * at), atol=1e-7, rtol=0)
    with refused(ShapeError, "jacobians_shape", {}):
        mean_rank(torch.zeros(2, 0, 3))


def test_the_rank_of_a_decoder_that_ignores_its_latent_is_zero() -> None:
    task = build_task(TASK)
    config = tiny_config(generator=VAE)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        net = trainer.current_generator()
        assert 1.0 <= trainer.evaluator.measure(net).metrics["eval/latent_rank"] <= 3.0
        for layer in (net.to_input, net.to_state):
            torch.nn.init.zeros_(layer.weight)
        assert trainer.evaluator.measure(net).metrics["eval/latent_rank"] == 0.0


def test_posterior_collapse_is_told_once_and_not_before_pretraining_is_over(caplog: pytest.LogCaptureFixture) -> None:
    watch = LatentWatch()

    def after(active: float, is_pretrained: bool) -> dict[str, float]:
        metrics = {"eval/active_units": active, "eval/latent_kl": 0.004}
        return watch.after(Measurement(metrics, torch.zeros(1, 3)), is_pretrained=is_pretrained)

    with caplog.at_level(logging.WARNING):
        assert after(0.0, False) == {"generator/posterior_collapse": 1.0}
        assert after(2.0, True) == {"generator/posterior_collapse": 0.0} and not caplog.records
        assert after(0.0, True) == {"generator/posterior_collapse": 1.0}
        (record,) = caplog.records
        assert "0.004" in record.getMessage() and "generator.kl_weight" in record.getMessage()
        kept = watch.state()
        watch = LatentWatch()
        watch.restore(kept)
        after(0.0, True)
        assert len(caplog.records) == 1
        watch.restore({})
        assert watch.after(Measurement({}, torch.zeros(1, 3)), is_pretrained=True) == {}


@pytest.mark.parametrize(
    ("changes", "schedule", "code"),
    [
        ({}, {"mle_inputs": ScheduledSampling()}, "inputs_of_latents"),
        ({}, {"teacher_forcing": MixedPrefix(start=2, decrement=1, block=1)}, "latent_given_prefixes"),
        ({"reward": OracleRatio()}, {}, "latent_reward_of_policy"),
        ({"controls": ("oracle_ratio",)}, {}, "latent_control"),
        ({"objective": Implicit()}, {}, "latent_contrasts"),
        ({"objective": InverseSoftQ()}, {}, "latent_contrasts"),
        ({"adversary": AdversarySettings(loss=PrefixCrossEntropy())}, {}, "latent_loss_of_policy"),
        ({}, {"behaviour": ColdMixture()}, "behaviour_of_latents"),
        ({}, {"behaviour": Beams()}, "behaviour_of_latents"),
    ],
)
def test_what_needs_the_likelihood_of_a_sequence_is_refused(
    changes: dict[str, object], schedule: dict[str, object], code: str
) -> None:
    base = tiny_config(generator=VAE)
    found = [
        problem.code
        for problem in replaced(base, changes, schedule).problems()
    ]  # fmt: skip
    assert code in found


def replaced(config: Config, changes: dict[str, object], schedule: dict[str, object]) -> Config:
    """The same with other settings, unchecked."""
    changed = config.model_copy(update=changes)
    return changed.model_copy(update={"schedule": changed.schedule.model_copy(update=schedule)})


def test_a_run_with_latents_has_the_controls_that_need_no_likelihood() -> None:
    config = tiny_config({"teacher_forcing": MixedTeacherForcing(weight=0.3)}, generator=VAE)
    for name in ("mle_continued", "constant_reward", "random_reward"):
        assert control(config, name).generator == VAE
    with refused(ConfigError, "latent_reward_of_policy", {"reward": "oracle_ratio"}):
        control(config, "oracle_ratio")


def test_figures_of_two_runs_of_one_seed_are_the_same() -> None:
    config, task = tiny_config(generator=VAE), build_task(TASK)
    runs = []
    for _ in range(2):
        with build_parts(config, task) as parts:
            runs.append([numbers(unit) for unit in finish(Trainer(config, task, parts))])
    assert runs[0] == runs[1]
    assert replace(real_rows(2, 3)).rows(torch.tensor([1])).infers_latents.tolist() == [1.0]


@pytest.mark.parametrize(
    ("preset", "changes", "code", "fitting"),
    [
        ("vae_seqgan", {"task": "transduction"}, "generator_reads_no_conditions", "cvae"),
        ("quick", {"generator": "cvae"}, "generator_reads_conditions", "vae"),
        ("quick", {"generator": "seq2seq_lstm"}, "generator_reads_conditions", "lstm or transformer"),
    ],
)
def test_advice_names_the_generator_that_reads_what_the_task_gives(
    preset: str, changes: dict[str, str], code: str, fitting: str
) -> None:
    with refused(ConfigError, code, match=rf"Use generator {fitting}[.,]"):
        override(build(preset), changes)


def test_the_table_has_what_is_known_of_latents_and_no_empty_columns() -> None:
    latent = {"nll_oracle": 4.6, "nll_gen_bound": 2.7, "latent_kl": 3.5, "active_units": 15.0, "latent_rank": 6.3}
    rows = [
        {"name": "real data", "temperature": None, "nll_oracle": 1.7},
        {"name": "run", "temperature": 1.0, **latent},
    ]
    text = "\n".join(_tables(build_task(TASK), rows))
    first, of_latents = (block.splitlines() for block in text.strip().split("\n\n"))
    assert first[0].split() == ["name", "temperature", "nll_oracle", "nll_gen_bound"] and len(first) == 4
    assert of_latents[0].split() == ["name", "temperature", "latent_kl", "active_units", "latent_rank"]
    assert [line.split()[0] for line in of_latents[2:]] == ["run"]  # real sequences have no latent


@pytest.mark.heavy
def test_the_end_of_a_run_tells_that_its_generator_ignores_its_latent(monkeypatch: pytest.MonkeyPatch) -> None:
    config, task = tiny_config(generator=VAE), build_task(TASK)
    monkeypatch.setattr(evaluator_module, "active_units", lambda means: 0)
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        finish(trainer)
        found = compare(config, task, trainer, lambda _: None)
    assert "\nPosterior collapse: the generator ignores its latent." in found.text
    assert any(one.startswith("Posterior collapse") and one.endswith("generator.kl_weight.") for one in found.sentences)
