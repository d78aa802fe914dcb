"""A critic that writes its verdict: what it earns, how it learns, what it reads, and what it goes with."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from rlgan.adversary.minibatches import Minibatches, Pairs
from rlgan.adversary.replay_buffer import ReplayBuffer
from rlgan.adversary.settings import AdversarySettings
from rlgan.adversary.training import Adversary, Round
from rlgan.adversary.verdict_losses import (
    VerdictGradient,
    expected_loss,
    loss_of_drawn,
    verdict_gradient,
    verdict_health,
)
from rlgan.base.devices import CPU
from rlgan.base.errors import ConfigError, DataError, ShapeError
from rlgan.base.pretrained import ModelFolder
from rlgan.base.seeding import stream
from rlgan.config.config import Config
from rlgan.discriminators import Duels, PairLSTM, VerdictWriter, VerdictWriterDiscriminator, build_discriminator
from rlgan.discriminators.sequence_classifier.settings import GeneratorWeights
from rlgan.discriminators.verdict_writer import FreshCritic, question_of
from rlgan.envs.model_tokens import ModelTokens
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import ToyTask, build_task
from rlgan.generators import CausalLM, build_generator
from rlgan.layers.optimizers import Adam
from rlgan.layers.pretrained import FreshWeights
from rlgan.policy.advantage_scaling import NoScaling
from rlgan.policy.baselines import GroupMean
from rlgan.policy.credit import MonteCarlo, Terminal
from rlgan.policy.discriminator_rewards import PairVerdict, WrittenVerdict
from rlgan.policy.shuffled_verdicts import with_shuffled_verdicts
from rlgan.rollouts.collecting import written_verdicts
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support import language_models
from tests.support.errors import refused
from tests.support.tiny import Recorder, finish, numbers, of_pairs, tiny_config
from tests.unit.test_shuffled_verdicts import rollouts

TASK = build_task(ToyTask())
SPACE = SequenceSpace(4, 3, end_id=2, condition=SequenceSpace(5, 4, end_id=1))  # alphabets of their own
SHARED = SequenceSpace(4, 3, end_id=2, condition=SequenceSpace(5, 3, end_id=4))  # prompts in the sequences' tokens
SMALL = VerdictWriter(weights=FreshCritic(width=8, layers=1, heads=2))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_logprobs(number: int = 2) -> Tensor:
    return torch.randn(number, 3, generator=rng(), dtype=torch.float64).requires_grad_()


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss, of)
    return found


# ------------------------------------------------------------------------------------------- what is earned


def test_what_verdicts_earn_critic_and_policy() -> None:
    # The real one 1 and 0, a tie .55 and .6, the generated one 0 and 1.
    drawn = rollouts()
    verdicts = torch.tensor([0, 1, 2]).repeat(len(drawn.tokens))[: len(drawn.tokens)]
    judged, reward = replace(drawn, verdicts=verdicts), WrittenVerdict()
    paid = reward.of_sequences(judged, TASK, rng())
    assert paid[:3].tolist() == pytest.approx([0.0, 1.0, 0.6])
    sure = torch.eye(3).clamp_min(1e-30).log()
    assert [-float(expected_loss(one.unsqueeze(0), 0.55)) for one in sure] == pytest.approx([1.0, 0.0, 0.55])
    said = reward.described(judged)
    assert said["verdict/tie_share"] == pytest.approx(float((verdicts == 2).float().mean()))
    assert said["verdict/right_share"] == pytest.approx(float((verdicts == 0).float().mean()))
    with refused(ShapeError, "reward_needs_verdicts"):
        reward.of_sequences(drawn, TASK, rng())


def test_shuffled_verdicts_are_those_of_the_group() -> None:
    drawn = rollouts()
    verdicts = torch.arange(len(drawn.tokens))
    dealt = with_shuffled_verdicts(replace(drawn, verdicts=verdicts), 2, rng()).verdicts
    assert dealt is not None and torch.equal(dealt // 2, verdicts // 2) and not torch.equal(dealt, verdicts)


def test_health_by_hand() -> None:
    probs = torch.tensor([[0.5, 0.25, 0.25], [0.125, 0.375, 0.5]])
    health = verdict_health(probs.log(), torch.tensor([True, False]))
    assert (health.right, health.wrong, health.tie) == pytest.approx((0.3125, 0.3125, 0.375))
    # The one that is read first is the real one of the first pair, and the generated one of the second.
    assert health.first == pytest.approx((0.5 + 0.375) / 2 / 0.625)
    assert health.metrics["discriminator/pair_accuracy"] == pytest.approx(0.3125 + 0.375 / 2)


# ------------------------------------------------------------------------------------------- how it learns


def test_the_expected_reward_by_hand() -> None:
    # .5·1 + .2·.55 = .61 and .1 + .6·.55 = .43; their mean is .52.
    probs = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]])
    assert float(expected_loss(probs.log(), 0.55)) == pytest.approx(-0.52)


def test_a_drawn_loss_by_hand() -> None:
    # Rewards 1 and .55 have the advantages ±.225: -(.225·log ½ - .225·log ⅛)/2 = -.225·log 4/2.
    logprobs = torch.tensor([[0.5, 0.375, 0.125]]).log()
    found = loss_of_drawn(logprobs, torch.tensor([[0, 2]]), 0.55)
    assert float(found) == pytest.approx(-0.225 * math.log(4) / 2)
    assert float(loss_of_drawn(logprobs, torch.tensor([[1, 1]]), 0.55)) == 0.0


@pytest.mark.parametrize("number", [2, 3])
def test_the_gradient_of_drawn_verdicts_is_on_average_that_of_the_expected_reward(number: int) -> None:
    # By enumeration of all 3^K verdicts on a pair; a verdict is part of its own mean, so 1 - 1/K of it.
    logits = some_logprobs(1)
    logprobs = logits.log_softmax(1)
    mean = torch.zeros_like(logits)
    for drawn in itertools.product(range(3), repeat=number):
        row = torch.tensor([drawn])
        chance = logprobs.detach().gather(1, row).sum().exp()
        mean += chance * gradient(loss_of_drawn(logits.log_softmax(1), row, 0.55), logits)
    exact = gradient(expected_loss(logprobs, 0.55), logits)
    torch.testing.assert_close(mean, (1 - 1 / number) * exact)


def test_drawn_verdicts_have_their_probabilities() -> None:
    logits = some_logprobs(2)
    exact = gradient(expected_loss(logits.log_softmax(1), 0.55), logits)
    found = gradient(verdict_gradient(logits.log_softmax(1), 0.55, 40_000, rng()), logits)
    torch.testing.assert_close(found, exact, atol=3e-3, rtol=0.0)


@pytest.mark.parametrize(("entropy", "ties"), [(0.1, math.exp(0.5) / (math.exp(0.5) + 2)), (0.0, 1.0)])
def test_a_critic_that_cannot_tell_writes_ties(entropy: float, ties: float) -> None:
    # Pairs of both orders look the same: a name earns ½. With η = .1 ties have e^(.55/η) against twice e^(.5/η): .4519.
    assert ties == pytest.approx(0.4519, abs=1e-4) or entropy == 0.0
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    loss, optimizer = VerdictGradient(verdicts=None, entropy=entropy), torch.optim.Adam([logits], lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        names = torch.stack([logits, logits[[1, 0, 2]]])
        loss.of_verdicts(names.log_softmax(1), rng()).backward()
        optimizer.step()
    assert float(logits.softmax(0)[2].detach()) == pytest.approx(ties, abs=0.02)


def test_the_loss_knows_pairs_alone() -> None:
    with refused(ShapeError, "loss_of_verdicts"):
        VerdictGradient().of(torch.zeros(2), torch.tensor([True, False]))
    with refused(ShapeError, "verdict_shapes"):
        expected_loss(torch.zeros(2, 2), 0.55)
    with refused(ShapeError, "loss_without_verdicts"):
        AdversarySettings().loss.of_verdicts(torch.zeros(1, 3), rng())
    for changes in ({"tie": 0.5}, {"verdicts": 1}):
        with pytest.raises(ValidationError):
            VerdictGradient(**changes)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------- what it reads


def test_either_order_is_drawn_as_often() -> None:
    rows = torch.zeros(10_000, 1, dtype=torch.int64)
    duels = Duels.in_random_order(rows, rows, rows + 1, rng())
    assert 0.485 < float(duels.is_real_first.float().mean()) < 0.515
    assert torch.equal(duels.first[:, 0], (~duels.is_real_first).long())
    assert torch.equal(duels.second[:, 0], duels.is_real_first.long())


def duels_of(space: SequenceSpace, number: int = 6) -> Duels:
    assert space.condition is not None
    source = rng(3)
    prompts = torch.randint(space.condition.vocab_size, (number, space.condition.max_length), generator=source)
    answers = torch.randint(space.vocab_size, (2, number, space.max_length), generator=source)
    return Duels.in_random_order(prompts, answers[0], answers[1], source)


def built(space: SequenceSpace, settings: VerdictWriter = SMALL) -> VerdictWriterDiscriminator:
    language_models.require()
    torch.manual_seed(0)
    network = build_discriminator(settings, space)
    assert isinstance(network, VerdictWriterDiscriminator)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network.eval()


def test_it_reads_the_prompt_both_answers_and_the_question() -> None:
    # Sequences have 4 tokens and end with 2, prompts 5 and end with 1: theirs are 4 … 8, the marks 9, 10 and 11, the
    # three words 12, 13 and 14, and 15 stands for nothing.
    duels = Duels(
        torch.tensor([[3, 1, 0, 0], [0, 4, 3, 2]]),
        torch.tensor([[3, 2, 0], [1, 1, 1]]),
        torch.tensor([[0, 0, 2], [2, 3, 3]]),
        torch.tensor([True, False]),
    )
    expected = [[7, 5, 9, 3, 2, 10, 0, 0, 2, 11, 15, 15], [4, 8, 7, 6, 9, 2, 10, 1, 1, 1, 11, 15]]
    network = built(SPACE)
    assert network.read(duels).tolist() == expected
    assert network.num_read_of(duels).tolist() == [[10], [11]]


def test_prompts_in_the_sequences_tokens_keep_them() -> None:
    duels = Duels(torch.tensor([[3, 4, 4]]), torch.tensor([[0, 2, 2]]), torch.tensor([[1, 2, 2]]), torch.tensor([True]))
    assert built(SHARED).read(duels).tolist() == [[3, 4, 0, 2, 5, 1, 2, 6, 10]]


@pytest.mark.parametrize("space", [SPACE, SHARED])
def test_a_verdict_is_the_models_next_token_of_three(space: SequenceSpace) -> None:
    network, duels = built(space), duels_of(space)
    found = network.verdict_logprobs(duels)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(len(duels)))
    model: Any = network.model.network
    for row, read in enumerate(network.read(duels)):  # a slow twin: each row by itself, in transformers' own words
        ids = read[read != network._end].unsqueeze(0)
        states = model.model(input_ids=ids, position_ids=torch.arange(ids.shape[1]).unsqueeze(0)).last_hidden_state
        words = list(network._question.words)
        alone = model.lm_head(states[0, -1])[words].log_softmax(0)
        order = [0, 1, 2] if bool(duels.is_real_first[row]) else [1, 0, 2]
        torch.testing.assert_close(found[row], alone[order], atol=1e-5, rtol=1e-4)


def test_who_is_real_is_not_read() -> None:
    # The same two answers in the same places: what names the first is the real one's or the generated one's.
    network, duels = built(SPACE), duels_of(SPACE)
    swapped = Duels(duels.conditions, duels.fakes, duels.reals, ~duels.is_real_first)
    assert torch.equal(network.verdict_logprobs(duels)[:, [1, 0, 2]], network.verdict_logprobs(swapped))
    other_order = replace(duels, is_real_first=~duels.is_real_first)
    assert not torch.allclose(network.verdict_logprobs(duels), network.verdict_logprobs(other_order))


def test_it_has_no_logit_of_one_sequence() -> None:
    network, tokens = built(SPACE), torch.zeros(1, 3, dtype=torch.int64)
    for ask in (lambda: network(tokens, tokens.bool()), network.scorer):
        with refused(ConfigError, "verdict_needs_two"):
            ask()
    with refused(ConfigError, "discriminator_writes_no_verdicts"):
        build_discriminator(PairLSTM(), SPACE).verdict_logprobs(duels_of(SPACE))
    with refused(ConfigError, "verdicts_without_prompts"):
        build_discriminator(SMALL, SequenceSpace(4, 3))


def test_drawn_verdicts_depend_on_the_seed_alone_and_follow_the_critic() -> None:
    rows = torch.zeros(5000, 2, dtype=torch.int64)
    probs = torch.tensor([0.5, 0.2, 0.3])
    drawn = [
        written_verdicts(lambda duels: duels.named(probs.log().expand(len(duels), 3)), rows, rows, rows + 1, rng(seed))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    # First and second are the real one as often: (.5 + .2)/2 each. A standard deviation is below .007.
    shares = drawn[0].bincount(minlength=3) / 5000
    assert shares.tolist() == pytest.approx([0.35, 0.35, 0.3], abs=0.028)


# ------------------------------------------------------------------------------------------- words of a model


def model_folder(folder: Path) -> ModelFolder:
    language_models.require()
    language_models.write_tokenizer(folder)
    language_models.write_model(folder, positions=400)
    return ModelFolder(path=str(folder))


def test_it_begins_as_the_generator_and_asks_in_its_words(tmp_path: Path) -> None:
    source = model_folder(tmp_path / "model")
    tokens = ModelTokens.of(source)
    generator = CausalLM(weights=source).settled()
    settings = VerdictWriter(weights=GeneratorWeights()).settled(generator)
    assert settings.question is not None and settings.settled(generator) == settings
    read = tokens.loaded.decode(list(settings.question.asked))
    words = [tokens.loaded.decode([one]) for one in settings.question.words]
    assert "Say first, second or tie:" in read and all(len(one) >= 1 for one in words) and len(set(words)) == 3
    size = tokens.size
    space = SequenceSpace(size, 4, end_id=2, start_id=0, condition=SequenceSpace(size + 1, 6, end_id=size))
    policy, critic = build_generator(generator, space), build_discriminator(settings, space)
    own, theirs = critic.state_dict(), policy.state_dict()
    begun = settings.begun_as(space, own, theirs)
    assert begun.keys() == own.keys() and all(begun[name].shape == own[name].shape for name in own)
    critic.load_state_dict(begun)
    found = critic.verdict_logprobs(duels_of(space))
    torch.testing.assert_close(found.exp().sum(1), torch.ones(len(found)))


def test_words_that_begin_alike_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = ModelTokens.of(model_folder(tmp_path / "model"))
    monkeypatch.setattr("rlgan.discriminators.verdict_writer.WORDS", (" first", " fifth", " tie"))
    with refused(DataError, "verdicts_alike"):
        question_of(tokens)


# ------------------------------------------------------------------------------------------- in a round


def test_each_fake_is_shown_beside_the_real_sequence_of_its_prompt() -> None:
    reals, fakes = (ReplayBuffer(8, 3, condition_length=4) for _ in range(2))
    prompts = torch.arange(8).div(2, rounding_mode="floor").unsqueeze(1).expand(8, 4) % 5
    reals.add(torch.arange(8).div(2, rounding_mode="floor").unsqueeze(1).expand(8, 3) % 4, prompts)
    fakes.add(torch.full((8, 3), 1), prompts)
    batches = Minibatches(6, SPACE, CPU, learns_prefixes=False, true_pairs=None)
    for batch in batches.of_prompts(reals, fakes, torch.tensor([3, 0, 2, 1]), 2, rng()):
        duels = batch.duels(rng())
        assert len(duels) == 4
        assert torch.equal(duels.reals[:, 0], duels.conditions[:, 0] % 4) and bool((duels.fakes == 1).all())


def trained(
    loss: VerdictGradient, rounds: int, tokens_at_once: int | None = None
) -> tuple[Adversary, dict[str, float]]:
    """A critic of answers of which real ones repeat their prompt's first token, and generated ones are another."""
    language_models.require()
    prompts = torch.randint(2, (16, 3), generator=rng(1)).repeat_interleave(2, 0)
    prompts = torch.cat([prompts, torch.full((32, 1), 1)], 1).clamp_max(4)
    reals, fakes = torch.tensor([[0, 0, 2]]).expand(32, 3), torch.tensor([[3, 1, 2]]).expand(32, 3)
    settings = AdversarySettings(loss=loss, batch=12, sequences_per_round=32, tokens_at_once=tokens_at_once)
    known = Pairs(reals, prompts)
    critic = Adversary(SMALL, settings, Adam(lr=0.02, clip_norm=1.0), SPACE, known, known, seed=0)
    metrics: dict[str, float] = {}
    for index in range(rounds):
        metrics = critic.train_round(Round(index, fakes, 1, conditions=prompts, paired=reals, group=2))
    return critic, metrics


@pytest.mark.parametrize("verdicts", [16, None])
def test_a_critic_learns_by_what_it_earns(verdicts: int | None) -> None:
    metrics = trained(VerdictGradient(verdicts=verdicts, entropy=0.05), 20)[1]
    assert metrics["discriminator/verdict_right"] > 0.9 and metrics["discriminator/pair_accuracy"] > 0.9
    assert 0.3 < metrics["discriminator/verdict_first"] < 0.7


def test_a_minibatch_in_parts_has_the_same_gradient() -> None:
    whole, parts = (trained(VerdictGradient(), 2, tokens)[0].network.state_dict() for tokens in (None, 30))
    for name, one in whole.items():
        torch.testing.assert_close(parts[name], one, atol=2e-5, rtol=1e-4)


AXES: dict[str, Any] = {
    "discriminator": SMALL,
    "adversary": AdversarySettings(loss=VerdictGradient(), batch=10, sequences_per_round=8, buffer=40, replay=0.5),
    "reward": WrittenVerdict(),
    "credit": Terminal(),
    "baseline": GroupMean(),
    "normalisation": NoScaling(),
}
SCHEDULE = {"mle_epochs": 1, "g_group": 4, "d_fakes": "rollouts", "adversarial_updates": 2}


def small(schedule: dict[str, Any] | None = None, **changes: Any) -> Config:
    return of_pairs(SCHEDULE | (schedule or {}), **(AXES | changes))


def test_a_small_run_pays_what_is_written_and_repeats_bit_for_bit() -> None:
    language_models.require()
    config = small()
    task, runs = build_task(config.task), []
    for sampling in ("batched", "environment"):
        varied, recorder = config.model_copy(update={"sampling": sampling}), Recorder()
        with build_parts(varied, task) as parts:
            runs.append(finish(Trainer(varied, task, recorder.around(parts))))
    for unit in runs[0][-2:]:
        (batch,) = unit.rollouts
        assert batch.verdicts is not None and batch.real_logits is None
        rewards = WrittenVerdict().of_sequences(batch, task, rng())
        assert unit.metrics["generator/mean_value"] == pytest.approx(
            float((rewards.unsqueeze(1) * batch.mask).sum() / batch.mask.sum()), abs=1e-6
        )
        assert unit.metrics["verdict/tie_share"] == pytest.approx(float((batch.verdicts == 2).float().mean()))
    assert [numbers(one) for one in runs[0]] == [numbers(one) for one in runs[1]]


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("loss_of_written_verdicts", {"discriminator": PairLSTM(), "reward": PairVerdict()}),
        ("loss_of_written_verdicts", {"adversary": {"loss": {"kind": "bradley_terry"}, "batch": 10,
                                                    "sequences_per_round": 8}}),
        ("reward_of_written_verdicts", {"reward": {"kind": "logit"}}),
        ("reward_of_written_verdicts", {
            "discriminator": PairLSTM(),
            "adversary": {"loss": {"kind": "bradley_terry"}, "batch": 10, "sequences_per_round": 8},
        }),
        ("critic_of_no_language_model", {"discriminator": VerdictWriter(weights=GeneratorWeights())}),
        ("critic_without_words", {
            "discriminator": VerdictWriter(weights=GeneratorWeights()),
            "generator": CausalLM(weights=FreshWeights(width=8, layers=1, heads=2)),
        }),
        ("pairs_in_halves", {"adversary": {
            "loss": {"kind": "verdict_gradient"}, "batch": 10, "sequences_per_round": 8,
            "gradient_penalty": {"kind": "interpolated", "space": "onehot"},
        }}),
        ("copies_without_classes", {"adversary": {
            "loss": {"kind": "verdict_gradient"}, "batch": 16, "sequences_per_round": 8, "perturbed": 1,
        }}),
        ("relative_of_prefixes", {"credit": MonteCarlo(num_rollouts=2)}),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(code: str, changes: dict[str, Any]) -> None:
    with refused(ValidationError, code):
        small(**changes)


def test_a_group_of_one_and_a_task_without_prompts_are_refused() -> None:
    with refused(ValidationError, "discriminator_reads_conditions"):
        tiny_config(SCHEDULE, **AXES)
    with pytest.raises(ValidationError, match="g_group"):
        small({"g_group": 1})
    with refused(ValidationError, "nothing_is_ranked"):
        small({"balance": {"kind": "band"}})
    with refused(ValidationError, "accuracy_without_boundary"):
        small({"discriminator_accuracy": 0.8})


def test_seeds_of_orders_are_of_the_round() -> None:
    first, second = (
        Duels.in_random_order(*(torch.zeros(64, 1),) * 3, stream(0, "adversary", "orders", one)) for one in (0, 1)
    )
    assert not torch.equal(first.is_real_first, second.is_real_first)
