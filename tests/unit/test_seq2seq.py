"""What every encoder-decoder promises: its steps, what padding and other rows must not change, samples, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import all_sequences, random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import (
    LSTM,
    Seq2SeqLSTM,
    Seq2SeqLSTMGenerator,
    Seq2SeqRelationalMemory,
    Seq2SeqRelationalMemoryGenerator,
    Seq2SeqTransformer,
    Seq2SeqTransformerGenerator,
    build_generator,
)
from rlgan.layers.relaxation import Relaxation, gumbel_noise, uniform_of_rows
from rlgan.sampling.sampler import continue_prefixes, mixed_inputs, sample

SOURCE = SequenceSpace(7, 6, end_id=0)
SPACE = SequenceSpace(5, 4, end_id=1, condition=SOURCE)
Settings = Seq2SeqLSTM | Seq2SeqTransformer | Seq2SeqRelationalMemory

RECURRENT = Seq2SeqLSTM(embedding=4, hidden=6, init_std=0.7)
ATTENTIVE = Seq2SeqTransformer(width=8, heads=2, layers=2, init_std=0.6)
MEMORY = Seq2SeqRelationalMemory(embedding=4, heads=2, head_size=3)
KINDS: dict[str, Settings] = {
    "lstm": RECURRENT.model_copy(update={"input_feeding": True, "self_attention": True}),
    "transformer": ATTENTIVE,
    "memory": MEMORY,
}
VARIANTS: dict[str, Settings] = {
    "lstm": RECURRENT,
    "lstm, multiplicative, tied": RECURRENT.model_copy(update={"attention": "multiplicative", "tied": True}),
    "lstm, input feeding": RECURRENT.model_copy(update={"input_feeding": True}),
    "lstm, attention to itself": RECURRENT.model_copy(update={"self_attention": True}),
    "lstm, all of it": KINDS["lstm"].model_copy(update={"layers": 2, "tied": True}),
    "transformer": ATTENTIVE,
    "transformer of one layer and one head, not tied": ATTENTIVE.model_copy(
        update={"layers": 1, "heads": 1, "tied": False}
    ),
    "memory": MEMORY,
    "memory of one head": MEMORY.model_copy(update={"heads": 1}),
}
kinds = pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
variants = pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
ATTENDING = {name: settings for name, settings in VARIANTS.items() if settings.attends}
attending = pytest.mark.parametrize("settings", ATTENDING.values(), ids=ATTENDING)
DROPPING = {name: settings for name, settings in KINDS.items() if "dropout" in type(settings).model_fields}
dropping = pytest.mark.parametrize("settings", DROPPING.values(), ids=DROPPING)


def generator(
    settings: Settings,
) -> Seq2SeqLSTMGenerator | Seq2SeqTransformerGenerator | Seq2SeqRelationalMemoryGenerator:
    torch.manual_seed(3)
    net = build_generator(settings, SPACE)
    assert isinstance(net, Seq2SeqLSTMGenerator | Seq2SeqTransformerGenerator | Seq2SeqRelationalMemoryGenerator)
    if isinstance(net, Seq2SeqRelationalMemoryGenerator):
        with torch.no_grad():
            # Its start is small: what is given would hardly change what is written.
            for parameter in net.parameters():
                parameter.add_(0.5 * torch.randn_like(parameter))
    return net.eval()


def pairs(number: int) -> tuple[Tensor, Tensor]:
    return random_sequences(SOURCE, number, seed=1), random_sequences(SPACE, number, seed=2)


@variants
def test_steps_and_prefixes_are_the_distribution(settings: Settings) -> None:
    net, (conditions, tokens) = generator(settings), pairs(9)
    with torch.no_grad():
        distribution = net.conditional(conditions)
        expected = torch.log_softmax(distribution.logits(tokens) / 0.8, 2)
        torch.testing.assert_close(
            distribution.logprobs(tokens, 0.8), expected.gather(2, tokens.unsqueeze(2)).squeeze(2), atol=1e-5, rtol=1e-5
        )
    stepper = net.stepper(0.8).conditional(conditions)
    state, prefixes = stepper.start(9), stepper.prefix_states(tokens)
    for position in range(SPACE.max_length):
        reached = [state]
        if position > 0:
            state = stepper.advance(state, tokens[:, position - 1])
            reached = [state, tuple(part[position - 1] for part in prefixes)]
        if position > 1:
            before = stepper.select(tuple(part[position - 2] for part in prefixes), torch.arange(9))
            reached.append(stepper.advance(before, tokens[:, position - 1]))
        for one in reached:
            weights = stepper.weights(one)
            assert float(weights[:, SPACE.vocab_size :].abs().max()) == 0.0
            found = (weights / weights.sum(1, keepdim=True)).log()[:, : SPACE.vocab_size]
            torch.testing.assert_close(found, expected[:, position], atol=1e-5, rtol=1e-5)


@variants
def test_rows_in_any_order_and_behind_any_padding_are_the_same(settings: Settings) -> None:
    net, (conditions, tokens) = generator(settings), pairs(9)
    after_end = ~sequence_mask(SOURCE, conditions)
    noisy = torch.where(after_end, torch.randint(7, conditions.shape), conditions)
    assert not torch.equal(noisy, conditions)
    order = torch.tensor([4, 0, 8, 2])
    with torch.no_grad():
        logits = net.conditional(conditions).logits(tokens)
        torch.testing.assert_close(net.conditional(noisy).logits(tokens), logits, atol=1e-6, rtol=0)
        torch.testing.assert_close(
            net.conditional(conditions[order]).logits(tokens[order]), logits[order], atol=1e-6, rtol=0
        )


@attending
def test_attention_is_a_distribution_over_what_was_given(settings: Settings) -> None:
    net, (conditions, tokens) = generator(settings), pairs(9)
    assert not isinstance(net, Seq2SeqRelationalMemoryGenerator)
    mask = sequence_mask(SOURCE, conditions)
    later = tokens.clone()
    later[:, 2:] = (later[:, 2:] + 1) % 5
    with torch.no_grad():
        attention, other = (net.conditional(conditions).attention(one) for one in (tokens, later))
    assert attention.shape == (9, 4, 6)
    torch.testing.assert_close(attention.sum(2), torch.ones(9, 4))
    assert float(attention.masked_fill(mask.unsqueeze(1), 0.0).max()) == 0.0
    # Of the step that writes a token, which has not read it.
    torch.testing.assert_close(attention[:, :3], other[:, :3], atol=1e-6, rtol=0)
    several = mask.sum(1) > 1
    assert float((attention[several, 3] - other[several, 3]).abs().amax(1).min()) > 1e-5


@variants
def test_what_comes_later_changes_nothing_and_what_is_given_changes_everything(settings: Settings) -> None:
    net, (conditions, tokens) = generator(settings), pairs(9)
    other = tokens.clone()
    other[:, 2] = (other[:, 2] + 1) % 5
    with torch.no_grad():
        logits, changed = (net.conditional(conditions).logits(one) for one in (tokens, other))
        torch.testing.assert_close(logits[:, :3], changed[:, :3], atol=1e-6, rtol=0)
        assert float((logits[:, 3] - changed[:, 3]).abs().amax(1).min()) > 1e-4
        assert float((net.conditional(conditions.flip(0)).logits(tokens) - logits)[0].abs().min()) > 0


@variants
def test_gradients_are_numbers_and_reach_every_parameter(settings: Settings) -> None:
    net, (conditions, tokens) = generator(settings).train(), pairs(9)
    net.conditional(conditions).logprobs(tokens).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and bool(torch.isfinite(parameter.grad).all()), name
        assert float(parameter.grad.abs().max()) > 0, name


@variants
@pytest.mark.parametrize("straight_through", [False, True])
def test_relaxed_rows_are_drawn_from_the_distribution(settings: Settings, straight_through: bool) -> None:
    net, (conditions, _) = generator(settings), pairs(9)
    seeds = torch.arange(9)
    rows, tokens = net.soft_rows(SPACE, seeds, Relaxation(0.05, straight_through), conditions)
    noise = gumbel_noise(uniform_of_rows(seeds, SPACE.max_length, SPACE.vocab_size))
    with torch.no_grad():
        # Rows that are nearly one-hot feed back what tokens would.
        expected = (net.conditional(conditions).logits(tokens) + noise).argmax(2)
    agreeing = float((expected == tokens).float().mean())
    assert agreeing == 1.0 if straight_through else agreeing > 0.9
    (gradient,) = torch.autograd.grad(rows[:, -1, 0].sum(), net.source_embedding.weight)
    assert bool(torch.isfinite(gradient).all()) and float(gradient.abs().max()) > 0


@variants
def test_the_gradient_of_relaxed_rows_goes_through_what_is_read_next(settings: Settings) -> None:
    net, (conditions, _) = generator(settings).double(), pairs(3)
    seeds, weight = torch.arange(3), net.embedding.weight

    def last_rows() -> Tensor:
        rows, _ = net.soft_rows(SPACE, seeds, Relaxation(1.0, straight_through=False), conditions)
        return rows[:, -1, 0].sum()

    (gradient,) = torch.autograd.grad(last_rows(), weight)
    with torch.no_grad():
        for token, column in ((SPACE.start_id, 1), (3, 0), (4, 2)):
            sums = []
            for change in (1e-5, -2e-5):
                weight[token, column] += change
                sums.append(float(last_rows()))
            weight[token, column] += 1e-5
            assert float(gradient[token, column]) == pytest.approx((sums[0] - sums[1]) / 2e-5, rel=1e-3, abs=1e-7)


@kinds
def test_samples_are_drawn_from_the_distribution_of_their_own_condition(settings: Settings) -> None:
    net, space = generator(settings), SPACE
    conditions = random_sequences(SOURCE, 2, seed=5)
    number = 20_000
    samples = sample(
        net.stepper(), space, 2 * number, torch.Generator().manual_seed(0), 4_096, None, conditions.repeat(number, 1)
    )
    sequences = all_sequences(space)
    with torch.no_grad():
        for index in range(2):
            given = conditions[index : index + 1].expand(len(sequences), -1)
            mask = sequence_mask(space, sequences)
            probs = net.conditional(given).logprobs(sequences).masked_fill(~mask, 0.0).sum(1).exp()
            assert float(probs.sum()) == pytest.approx(1.0, abs=1e-4)
            drawn = samples.tokens[index::2]
            counts = torch.stack([(drawn == sequence).all(1).sum() for sequence in sequences])
            error = (counts / number - probs).abs() / (probs * (1 - probs) / number).sqrt().clamp_min(1e-9)
            assert float(error.max()) < 5.0


@kinds
def test_prefixes_are_continued_under_their_own_condition(settings: Settings) -> None:
    net = generator(settings)
    conditions, tokens = pairs(5)
    rng = torch.Generator().manual_seed(0)
    drawn: dict[tuple[int, int], list[int]] = {}
    for part in continue_prefixes(net.stepper(), SPACE, tokens, 4_000, rng, 3_000, conditions=conditions):
        for row, sequence, position in zip(part.tokens, part.sequence.tolist(), part.position.tolist(), strict=True):
            assert torch.equal(row[: position + 1], tokens[sequence, : position + 1])
            drawn.setdefault((sequence, position), []).append(int(row[position + 1]))
    with torch.no_grad():
        probs = torch.softmax(net.conditional(conditions).logits(tokens), 2)
    assert drawn
    for (sequence, position), following in drawn.items():
        expected = probs[sequence, position + 1]
        found = torch.bincount(torch.tensor(following), minlength=5) / len(following)
        assert float(((found - expected).abs() / (expected * (1 - expected) / 4_000).sqrt()).max()) < 5.0


@kinds
def test_scheduled_sampling_reads_under_the_condition(settings: Settings) -> None:
    net, (conditions, tokens) = generator(settings), pairs(9)
    draws = torch.full(tokens.shape, -1.0)
    draws[:, 1] = 0.5
    read = mixed_inputs(net.stepper().conditional(conditions), tokens, draws)
    with torch.no_grad():
        cdf = torch.softmax(net.conditional(conditions).logits(tokens)[:, 1], 1).cumsum(1)
    assert torch.equal(read[:, 1], torch.searchsorted(cdf, torch.full((9, 1), 0.5)).squeeze(1))
    assert torch.equal(read[:, [0, 2, 3]], tokens[:, [0, 2, 3]])


@dropping
def test_dropout_is_of_likelihood_alone(settings: Settings) -> None:
    net = generator(settings.model_copy(update={"dropout": 0.5})).train()
    conditions, tokens = pairs(9)
    with torch.no_grad():
        first, second = (net.conditional(conditions).logits(tokens) for _ in range(2))
        assert not torch.equal(first, second)
        net.use_dropout(False)
        first, second = (net.conditional(conditions).logits(tokens) for _ in range(2))
        assert torch.equal(first, second)


@kinds
def test_whoever_reads_nothing_refuses_what_is_given_and_the_other_way_round(settings: Settings) -> None:
    conditions, _ = pairs(2)
    plain = build_generator(LSTM(embedding=2, hidden=2), SequenceSpace(5, 4))
    for call in (plain.conditional, plain.stepper().conditional):
        with pytest.raises(ValueError, match="cannot read conditions"):
            call(conditions)
    net = generator(settings)
    for call in (net.conditional, net.stepper().conditional):
        with pytest.raises(ValueError, match="needs conditions"):
            call(None)


@kinds
def test_a_stepper_is_a_copy(settings: Settings) -> None:
    net, (conditions, _) = generator(settings), pairs(3)
    stepper = net.stepper().conditional(conditions)
    before = stepper.weights(stepper.start(3)).clone()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
    assert torch.equal(stepper.weights(stepper.start(3)), before)
