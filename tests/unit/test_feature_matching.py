"""The reward that matches mean features: its gradient by enumeration, what the shards read, what is refused."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rlgan.base.errors import ConfigError, ShapeError
from rlgan.base.weights import load_weights
from rlgan.config.config import Config
from rlgan.config.paths import from_dict, to_dict
from rlgan.discriminators import (
    BidirectionalLSTM,
    CausalLSTM,
    CnnHighway,
    DiscriminatorSettings,
    ResConv,
    Tabular,
    Transformer,
    build_discriminator,
)
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import ToyTask, build_task
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.policy.baselines import LeaveOneOut, NoBaseline
from rlgan.policy.credit import MonteCarlo, Terminal
from rlgan.policy.feature_matching import FeatureMatching, feature_matching_rewards
from rlgan.policy.objectives import Reinforce
from rlgan.policy.shuffled_verdicts import with_shuffled_verdicts
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.errors import refused
from tests.support.tiny import Recorder, finish, of_pairs, tiny_config
from tests.unit.test_shuffled_verdicts import rollouts

SPACE = SequenceSpace(9, 6, end_id=2)
OUTCOMES, FEATURES = 5, 3  # sequences that there are, and what is known of each


def by_hand(fake: Tensor, real: Tensor) -> list[float]:
    """One after another, in loops."""
    rewards = []
    for i in range(len(fake)):
        total = 0.0
        for f in range(fake.shape[1]):
            mean_real = sum(float(row[f]) for row in real) / len(real)
            mean_others = sum(float(fake[j, f]) for j in range(len(fake)) if j != i) / (len(fake) - 1)
            total += 2.0 * (mean_real - mean_others) * float(fake[i, f])
        rewards.append(total)
    return rewards


def test_rewards_are_the_product_with_the_gap_to_the_others() -> None:
    torch.manual_seed(0)
    fake, real = torch.randn(4, 3), torch.randn(6, 3)
    assert feature_matching_rewards(fake, real).tolist() == pytest.approx(by_hand(fake, real), rel=1e-5)
    # f̄_real = 2; of (1, 4): 2 (2 − 4) 1 = −4 and 2 (2 − 1) 4 = 8
    assert feature_matching_rewards(torch.tensor([[1.0], [4.0]]), torch.tensor([[2.0]])).tolist() == [-4.0, 8.0]


@pytest.mark.parametrize("batch", [2, 3])
def test_its_policy_gradient_is_that_of_the_distance_of_the_means(batch: int) -> None:
    torch.manual_seed(1)
    features, real = torch.randn(OUTCOMES, FEATURES, dtype=torch.float64), torch.randn(4, FEATURES)
    logits = torch.randn(OUTCOMES, dtype=torch.float64)

    def objective(at: Tensor) -> Tensor:
        """−‖f̄_real − E f‖²."""
        return -(real.double().mean(0) - torch.softmax(at, 0) @ features).square().sum()

    exact = torch.zeros(OUTCOMES, dtype=torch.float64)
    for one in range(OUTCOMES):
        step = torch.zeros(OUTCOMES, dtype=torch.float64)
        step[one] = 1e-5
        exact[one] = (objective(logits + step) - objective(logits - step)) / 2e-5
    # Over all batches that can be drawn, each as likely as it is.
    probs, found = torch.softmax(logits, 0), torch.zeros(OUTCOMES, dtype=torch.float64)
    for drawn in itertools.product(range(OUTCOMES), repeat=batch):
        index = torch.tensor(drawn)
        rewards = feature_matching_rewards(features[index].float(), real).double()
        scores = torch.eye(OUTCOMES, dtype=torch.float64)[index] - probs  # ∇ log p of each
        found += probs[index].prod() * (rewards.unsqueeze(1) * scores).mean(0)
    torch.testing.assert_close(found, exact, atol=1e-5, rtol=0)
    assert float(exact.abs().max()) > 0.1


@pytest.mark.parametrize(
    "settings",
    [
        CnnHighway(embedding=4, windows=(1, 2), filters=(3, 4)),
        BidirectionalLSTM(embedding=4, hidden=3),
        Transformer(width=8, heads=2, layers=1),
        ResConv(width=4, blocks=1),
        CnnHighway(embedding=4, windows=(1, 2), filters=(3, 4), members=2),
    ],
    ids=lambda one: f"{one.kind}*{one.members}",
)
def test_features_are_what_the_output_layer_makes_the_logit_of(settings: DiscriminatorSettings) -> None:
    torch.manual_seed(2)
    network = build_discriminator(settings, SPACE).eval()
    tokens = random_sequences(SPACE, 5, 0)
    mask = sequence_mask(SPACE, tokens)
    with torch.no_grad():
        features, logits = network.output_features(tokens, mask), network(tokens, mask)
        members = network.parts()
        parts = features.chunk(len(members), 1)
        scores = [member.output(part) for member, part in zip(members, parts, strict=True)]
        said = torch.stack([one[:, 1] - one[:, 0] if one.shape[1] == 2 else one[:, 0] for one in scores]).mean(0)
        torch.testing.assert_close(said, logits, atol=1e-5, rtol=1e-5)
        padded = torch.where(mask, tokens, 3)
        torch.testing.assert_close(network.output_features(padded, mask), features, atol=1e-5, rtol=1e-5)
    assert settings.gives_features and not CausalLSTM().gives_features
    with refused(ConfigError, "discriminator_has_no_features", {"discriminator": "CausalLSTMDiscriminator"}):
        build_discriminator(CausalLSTM(embedding=3, hidden=3), SPACE).output_features(tokens, mask)


def small(**changes: object) -> Config:
    return tiny_config(
        reward=FeatureMatching(),
        credit=Terminal(),
        baseline=LeaveOneOut(),
        objective=Reinforce(loss_normaliser="sequence"),
        **changes,
    )


def test_shards_read_the_features_of_their_sequences_and_of_real_ones() -> None:
    config, recorder = small(), Recorder()
    task = build_task(config.task)
    with build_parts(config, task) as parts:
        unit = finish(Trainer(config, task, recorder.around(parts)))[-1]
    batch = unit.rollouts[0]
    shards, _, _, judge = [one for one in recorder.searches if one[3] is not None][-1]
    network = load_weights(build_discriminator(config.discriminator, task.space), judge.tensors).eval()
    targets = torch.cat([shard.targets for shard in shards])
    with torch.no_grad():
        of_fakes = network.output_features(batch.tokens, batch.mask)
        of_reals = network.output_features(targets, sequence_mask(task.space, targets))
    torch.testing.assert_close(batch.features, of_fakes, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(batch.target_features, of_reals, atol=1e-5, rtol=1e-5)
    assert len(shards) > 1 and {tuple(one) for one in targets.tolist()} <= {tuple(one) for one in task.train.tolist()}
    gap = float((of_reals.mean(0) - of_fakes.mean(0)).norm())
    assert unit.metrics["generator/feature_gap"] == pytest.approx(gap, rel=1e-3)


def test_shuffled_verdicts_give_each_sequence_the_features_of_another() -> None:
    judged = rollouts()
    features = torch.arange(len(judged.tokens) * 2.0).view(-1, 2)
    judged = replace(judged, features=features)
    found = with_shuffled_verdicts(judged, None, torch.Generator().manual_seed(3)).features
    assert found is not None and not torch.equal(found, features)
    assert sorted(found.tolist()) == features.tolist()  # whole rows


def test_what_has_no_features_is_refused() -> None:
    config = small()

    def changed(**changes: object) -> Config:
        return from_dict(to_dict(config.model_copy(update=changes)))

    with refused(ConfigError, "features_of_none", {"reward": "feature_matching"}):
        changed(discriminator=Tabular())
    # No discriminator of pairs has features, so none is named alone.
    with refused(ConfigError, "features_of_none", {"reward": "feature_matching"}, match="logit"):
        changes = {"reward": FeatureMatching(), "credit": Terminal(), "baseline": LeaveOneOut()}
        from_dict(to_dict(of_pairs().model_copy(update=changes)))
    with refused(ConfigError, "features_of_prefixes", {"reward": "feature_matching"}):
        changed(credit=MonteCarlo(num_rollouts=2))
    with refused(ConfigError, "features_of_one", {"schedule.g_batch": 1}):
        changed(baseline=NoBaseline(), schedule=config.schedule.model_copy(update={"g_batch": 1}))
    with refused(ShapeError, "matching_needs_features", {"reward": "feature_matching"}):
        FeatureMatching().of_sequences(rollouts(), build_task(ToyTask()), torch.Generator())
    for fake, real in (((1, 3), (2, 3)), ((2, 3), (2, 4)), ((2, 3), (0, 3))):
        with refused(ShapeError, "matching_shapes", {}):
            feature_matching_rewards(torch.zeros(fake), torch.zeros(real))
