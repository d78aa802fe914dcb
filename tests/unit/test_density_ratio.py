"""A judge that knows the generator: its logits, its optimum by enumeration, and which generator it is shown."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rlgan.adversary.losses import PrefixCrossEntropy, cross_entropy, excess_nll, prefix_log_ratios
from rlgan.adversary.minibatches import Pairs
from rlgan.adversary.settings import AdversarySettings
from rlgan.adversary.training import Adversary, Round
from rlgan.base.errors import ConfigError
from rlgan.base.weights import weights_of
from rlgan.config.paths import override
from rlgan.discriminators import DensityRatio
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import TransductionTask, build_task
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import LSTM, Seq2SeqLSTM, build_generator
from rlgan.layers.optimizers import Adam
from rlgan.policy.baselines import PerStepMean
from rlgan.policy.credit import RewardToGo
from rlgan.policy.discriminator_rewards import LogitIncrement, LogRatio
from rlgan.presets.registry import preset
from rlgan.sampling.records import Rollouts
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.errors import refused
from tests.support.tabular import TOY_SPACE, TabularGenerator, every_sequence
from tests.support.tiny import PAIRS, Recorder, finish, of_pairs, tiny_config

SPACE = SequenceSpace(6, 4, end_id=3)
LOSS = PrefixCrossEntropy()
# Twentieths, so that twenty rows hold each sequence exactly as often as it is likely.
REAL = (4, 1, 1, 2, 3, 1, 1, 2, 5)
FAKE = (2, 4, 2, 1, 1, 2, 6, 1, 1)


def test_logits_of_prefixes_are_sums_of_log_ratios() -> None:
    logprobs = torch.tensor([[-1.0, -0.5, -2.0], [-0.25, -1.0, -9.0]])
    policy = torch.tensor([[-0.5, -1.5, -1.0], [-0.75, -3.0, -1.0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    expected = torch.tensor([[-0.5, 0.5, -0.5], [0.5, 2.5, 0.0]])
    assert torch.equal(prefix_log_ratios(logprobs, policy, mask), expected)
    # Of members: each less the same policy.
    assert torch.equal(prefix_log_ratios(logprobs.expand(2, 2, 3), policy, mask), expected.expand(2, 2, 3))


def rows_of(twentieths: tuple[int, ...]) -> Tensor:
    """The nine sequences of two tokens, each so often."""
    return every_sequence(TOY_SPACE).repeat_interleave(torch.tensor(twentieths), dim=0)


def table_of(twentieths: tuple[int, ...]) -> TabularGenerator:
    table = torch.tensor(twentieths, dtype=torch.float64).view(3, 3) / 20
    first = table.sum(1, keepdim=True)
    return TabularGenerator(TOY_SPACE, torch.cat([first.T, table / first]).log())


@pytest.mark.parametrize("likelihood", [0.0, 0.5])
def test_its_optimum_is_the_distribution_of_reals_at_every_prefix(likelihood: float) -> None:
    # The loss on these rows is the expectation itself, ½ E_d[softplus(-u)] + ½ E_θ[softplus(u)] over both prefixes.
    tokens = torch.cat([rows_of(REAL), rows_of(FAKE)])
    is_real, mask = torch.arange(40) < 20, torch.ones(40, 2, dtype=torch.bool)
    policy = table_of(FAKE).logprobs(tokens).detach()

    def loss_of(model: TabularGenerator) -> Tensor:
        loss = PrefixCrossEntropy(likelihood=likelihood)
        return loss.of(prefix_log_ratios(model.logprobs(tokens), policy, mask), is_real, mask)

    best = table_of(REAL)
    (slope,) = torch.autograd.grad(loss_of(best), best.table)
    assert float(slope.abs().max()) < 1e-12
    # By the Jensen-Shannon divergences of the prefixes of one and of two tokens: ln 2 - their mean;
    # and the likelihood of reals lies below the policy's by KL(p_d‖p_θ), a token.
    real, fake = (torch.tensor(one, dtype=torch.float64).view(3, 3) / 20 for one in (REAL, FAKE))
    divergences = [jensen_shannon(real.sum(1), fake.sum(1)), jensen_shannon(real.flatten(), fake.flatten())]
    expected = math.log(2) - sum(divergences) / 2 - likelihood * float((real * (real / fake).log()).sum()) / 2
    assert float(loss_of(best).detach()) == pytest.approx(expected, abs=1e-12)
    # And it is where the loss leads from a uniform start.
    learned = TabularGenerator(TOY_SPACE, torch.zeros(4, 3, dtype=torch.float64))
    ends: dict[str, Any] = {"max_iter": 1_000, "max_eval": 5_000, "tolerance_grad": 1e-9, "tolerance_change": 0.0}
    optimizer = torch.optim.LBFGS(learned.parameters(), line_search_fn="strong_wolfe", **ends)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(learned)
        loss.backward()
        return loss

    optimizer.step(closure)
    sequences = every_sequence(TOY_SPACE)
    torch.testing.assert_close(learned.logprobs(sequences), best.logprobs(sequences), atol=1e-5, rtol=0)


def test_the_excess_of_likelihood_is_a_token_s_and_hand_worked() -> None:
    # Log-ratios of tokens: (.5, -1.5, 3), (1.5, -1.25); their negated sum over the five tokens.
    logits = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.25, 7.0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    assert float(excess_nll(logits, mask)) == pytest.approx(-(2.0 + 0.25) / 5)


def jensen_shannon(p: Tensor, q: Tensor) -> float:
    mixture = (p + q) / 2
    return float((p * (p / mixture).log()).sum() / 2 + (q * (q / mixture).log()).sum() / 2)


def adversary(**changes: Any) -> Adversary:
    reals = Pairs(random_sequences(SPACE, 40, seed=1))
    settings: dict[str, Any] = {
        "network": DensityRatio(network=LSTM(embedding=4, hidden=6)),
        "settings": AdversarySettings(batch=20, sequences_per_round=20, loss=LOSS),
        "optimizer": Adam(lr=0.01),
        "space": SPACE,
        "reals": reals,
        "heldout_reals": reals,
        "seed": 0,
        "policy": LSTM(embedding=3, hidden=5),
    }
    return Adversary(**(settings | changes))


def policy_weights(seed: int, version: int) -> Any:
    torch.manual_seed(seed)
    return weights_of(build_generator(LSTM(embedding=3, hidden=5), SPACE), version)


def test_a_round_takes_off_the_log_probabilities_of_its_own_policy() -> None:
    fakes = random_sequences(SPACE, 20, seed=2)
    one, same, other = (
        adversary().train_round(Round(0, fakes, 1, policy=policy_weights(seed, 0))) for seed in (1, 1, 2)
    )
    assert one == same and one["discriminator/loss"] != other["discriminator/loss"]
    assert one["discriminator/nll_heldout"] == other["discriminator/nll_heldout"]  # p_φ, before it learns
    assert {"discriminator/auc_heldout", "discriminator/accuracy_heldout", "discriminator/accuracy_real"} < set(one)


def test_the_loss_of_a_step_is_the_cross_entropy_of_all_prefixes() -> None:
    judge = adversary(settings=AdversarySettings(batch=60, sequences_per_round=20, loss=LOSS))
    fakes, weights = random_sequences(SPACE, 20, seed=2), policy_weights(3, 0)
    reals = Pairs(random_sequences(SPACE, 20, seed=4))
    tokens = torch.cat([reals.tokens, fakes])
    mask, model = sequence_mask(SPACE, tokens), judge.network.scorer()
    torch.manual_seed(3)
    policy = build_generator(LSTM(embedding=3, hidden=5), SPACE)
    ratios = (model(tokens, mask) - policy.logprobs(tokens).detach()).masked_fill(~mask, 0.0)
    expected = float(cross_entropy(ratios.cumsum(1), torch.arange(40) < 20, mask))
    found = judge.train_round(Round(0, fakes, 1, reals=reals, policy=weights))
    assert found["discriminator/loss"] == pytest.approx(expected, rel=1e-5)
    last = (mask.sum(1) - 1).unsqueeze(1)
    whole = ratios.cumsum(1).gather(1, last).squeeze(1)
    assert found["discriminator/mean_prob_fake"] == pytest.approx(float(whole[20:].sigmoid().mean()), rel=1e-5)


def test_a_model_that_is_the_policy_finds_both_classes_equally_real() -> None:
    network = LSTM(embedding=3, hidden=5)
    settings = AdversarySettings(batch=60, sequences_per_round=20, loss=LOSS)
    judge = adversary(network=DensityRatio(network=network), settings=settings)
    torch.manual_seed(8)
    policy = build_generator(network, SPACE)
    judge.network.model.load_state_dict(policy.state_dict())  # type: ignore[union-attr]
    found = judge.train_round(Round(0, random_sequences(SPACE, 20, seed=2), 1, policy=weights_of(policy, 0)))
    assert found["discriminator/loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert found["discriminator/auc_heldout"] == 0.5


def ratio_settings(**network: Any) -> dict[str, Any]:
    return {
        "discriminator": DensityRatio(**network),
        "adversary": AdversarySettings(batch=24, sequences_per_round=24, loss=LOSS),
        "reward": LogRatio(),
        "credit": RewardToGo(gamma=1.0),
        "baseline": PerStepMean(),
    }


def test_increments_of_logits_are_hand_worked_and_telescope() -> None:
    logits = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.25, 7.0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    found = LogitIncrement().of_tokens(rolled(logits, mask), build_task(PAIRS))
    assert torch.equal(found, torch.tensor([[0.5, -1.5, 3.0], [1.5, -1.25, 0.0]]))
    # Rewards-to-go of the first token are the logit of the whole sequence.
    assert found.sum(1).tolist() == [2.0, 0.25]


def test_increments_of_the_judge_s_logits_are_its_log_ratios() -> None:
    generator = torch.Generator().manual_seed(0)
    model, policy = (-torch.rand(5, 4, generator=generator) for _ in range(2))
    mask = sequence_mask(SPACE, random_sequences(SPACE, 5, seed=6))
    task = build_task(PAIRS)
    prefixes = rolled(prefix_log_ratios(model, policy, mask), mask)
    expected = LogRatio().of_tokens(rolled(model, mask, policy), task)
    torch.testing.assert_close(LogitIncrement().of_tokens(prefixes, task), expected, atol=1e-6, rtol=0)


def rolled(token_logits: Tensor, mask: Tensor, logprobs: Tensor | None = None) -> Rollouts:
    return Rollouts(
        tokens=torch.zeros_like(mask, dtype=torch.int64),
        logprobs=torch.zeros_like(token_logits) if logprobs is None else logprobs,
        mask=mask,
        real_logits=None,
        token_logits=token_logits,
        continuation_logits=None,
        reference_logprobs=None,
        generator_version=0,
        discriminator_version=0,
        prefix_length=0,
        num_drawn=0,
    )


@pytest.mark.parametrize("of_conditions", [False, True])
def test_a_run_shows_the_judge_the_generator_that_made_the_fakes_and_resumes(of_conditions: bool) -> None:
    if of_conditions:
        config = of_pairs(**ratio_settings(network=Seq2SeqLSTM(embedding=3, hidden=4)))
    else:
        config = tiny_config(**ratio_settings(network=LSTM(embedding=4, hidden=6)))
    task, recorder, states = build_task(config.task), Recorder(), []
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, recorder.around(parts))
        finish(trainer, lambda one: states.append(one.state()))
        whole = trainer.state()
    policies = [request.policy for request in recorder.rounds]
    drawn_by = [policy for shards, policy, *_ in recorder.searches if shards[0].discriminator_version is None]
    assert len(policies) == len(drawn_by) == 3
    for policy, fakes_of in zip(policies, drawn_by, strict=True):
        assert policy is not None and policy.version == fakes_of.version
        assert all(torch.equal(tensor, fakes_of.tensors[name]) for name, tensor in policy.tensors.items())
    assert len({policy.version for policy in policies if policy is not None}) == 3
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts)
        trainer.restore(states[2])
        finish(trainer)
        again = trainer.state()
    for part in ("learners", "discriminator"):
        same_tensors(whole[part], again[part])


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_judge_begins_as_the_generator_that_pretraining_ends_with(epochs: int) -> None:
    network = LSTM(embedding=4, hidden=6)
    config = tiny_config(
        {"mle_epochs": epochs},
        **ratio_settings(network=network, start="generator") | {"generator": network},
    )
    task, recorder = build_task(config.task), Recorder()
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, recorder.around(parts))
        first: dict[str, float] = {}
        while not recorder.rounds:
            first = trainer.step(measure=False).metrics
    # All logits are 0 before the first round: it ranks nothing, and finds everything as real as not.
    assert first["discriminator/auc_heldout"] == 0.5
    assert first["discriminator/mean_prob_real"] == first["discriminator/mean_prob_fake"] == 0.5


def same_tensors(one: Any, other: Any) -> None:
    if isinstance(one, Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for name, value in one.items():
            same_tensors(value, other[name])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"adversary.buffer": 1_000}, "replay_beside_policy"),
        ({"discriminator.network": "latent_conv"}, "density_without_likelihood"),
        ({"discriminator.start": "generator"}, "density_of_another_form"),
        ({"discriminator.network": "transformer", "discriminator.start": "generator"}, "density_of_another_form"),
        ({"adversary.loss": "cross_entropy"}, "loss_tells_apart"),
        ({"discriminator": "cnn_highway"}, "loss_of_a_distribution"),
    ],
)
def test_what_does_not_go_with_it_is_refused(changes: dict[str, Any], code: str) -> None:
    with refused(ConfigError, code):
        override(preset("density_ratio"), changes)


def test_on_conditions_its_network_is_the_generator_s_kind() -> None:
    with refused(ConfigError, "discriminator_reads_conditions"):
        override(preset("density_ratio"), {"discriminator.network": "seq2seq_lstm"})
    config = preset("density_ratio", TransductionTask(mode="stream"))
    assert isinstance(config.discriminator, DensityRatio) and config.discriminator.network == config.generator
