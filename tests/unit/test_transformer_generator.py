"""The Transformer generator: one distribution, read by teacher forcing, on a cache, by shared prefixes and relaxed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rlgan.base.errors import ConfigError
from rlgan.base.weights import load_weights, weights_of
from rlgan.config.paths import from_dict
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import all_sequences, random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import TransformerDecoder, TransformerGenerator, build_generator
from rlgan.generators.transformer_stack import Cache
from rlgan.layers.relaxation import gumbel_noise, uniform_of_rows
from rlgan.sampling.beam_search import beam_search
from rlgan.sampling.sampler import continue_prefixes, sample
from tests.support.errors import refused
from tests.support.tiny import TASK

SPACE = SequenceSpace(5, 6)
ENDING = SequenceSpace(3, 4, end_id=1)


def generator(space: SequenceSpace = SPACE, **settings: object) -> TransformerGenerator:
    torch.manual_seed(3)
    sizes = {"width": 8, "heads": 2, "layers": 2, "init_std": 0.6} | settings
    return TransformerGenerator(TransformerDecoder(**sizes), space).eval()  # type: ignore[arg-type]


def probabilities(weights: Tensor, vocab_size: int) -> Tensor:
    weights = weights[:, :vocab_size]
    return weights / weights.sum(1, keepdim=True)


@torch.no_grad()
@pytest.mark.parametrize("tied", [True, False])
def test_logits_by_the_equations(tied: bool) -> None:
    net, tokens = generator(layers=1, tied=tied), random_sequences(SPACE, 3, seed=0)
    inputs = torch.cat([torch.zeros(3, 1, dtype=torch.int64), tokens[:, :-1]], 1)
    stream = net.embedding.weight[inputs] + net.positions.weight
    layer = net.layers[0]
    q, k, v = (layer.queries_keys_values(layer.before_attention(stream))).split(8, dim=2)
    heads = []
    for head in range(2):
        columns = slice(4 * head, 4 * head + 4)
        scores = q[..., columns] @ k[..., columns].transpose(1, 2) / 4**0.5
        scores = scores.masked_fill(torch.ones(6, 6).triu(1).bool(), -torch.inf)
        heads.append(scores.softmax(2) @ v[..., columns])
    stream = stream + layer.mix(torch.cat(heads, 2))
    hidden = layer.expand(layer.before_expansion(stream))
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    stream = stream + layer.contract(hidden)
    expected = net.last_norm(stream) @ (net.embedding if tied else net.output).weight.T + net.output.bias
    torch.testing.assert_close(net.logits(tokens), expected, atol=1e-5, rtol=0)
    assert (net.output.weight is net.embedding.weight) == tied


@torch.no_grad()
def test_probabilities_of_all_sequences_sum_to_one_and_look_back_only() -> None:
    net, sequences = generator(ENDING), all_sequences(ENDING)
    logprobs = net.logprobs(sequences).double().masked_fill(~sequence_mask(ENDING, sequences), 0.0)
    assert float(logprobs.sum(1).exp().sum()) == pytest.approx(1.0, abs=1e-5)
    tokens = random_sequences(SPACE, 5, seed=0)
    net = generator()
    for position in range(6):
        changed = tokens.clone()
        changed[:, position] = (changed[:, position] + 1) % 5
        moved = (net.logits(changed) - net.logits(tokens)).abs().amax((0, 2))
        assert bool((moved[: position + 1] < 1e-6).all()) and bool((moved[position + 1 :] > 1e-4).all())


@torch.no_grad()
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_steps_on_a_cache_have_the_distribution_of_teacher_forcing(temperature: float) -> None:
    net, tokens = generator(), random_sequences(SPACE, 4, seed=0)
    expected = (net.logits(tokens) / temperature).softmax(2)
    stepper = net.stepper(temperature)
    state = stepper.start(4)
    for position in range(6):
        if position:
            kept = stepper.select(state, torch.tensor([2, 0, 0]))
            before = tuple(part.clone() for part in kept)
            state = stepper.advance(state, tokens[:, position - 1])
            # What was selected has memory of its own: a step leaves it alone.
            assert all(torch.equal(one, other) for one, other in zip(kept, before, strict=True))
        torch.testing.assert_close(probabilities(stepper.weights(state), 5), expected[:, position], atol=1e-5, rtol=0)


@torch.no_grad()
def test_states_of_prefixes_share_one_cache_and_are_those_of_the_steps() -> None:
    net, tokens = generator(), random_sequences(SPACE, 4, seed=1)
    stepper, expected = net.stepper(), net.logits(tokens).softmax(2)
    states = stepper.prefix_states(tokens)
    for position in range(5):
        state = stepper.select(tuple(part[position] for part in states), torch.arange(4))
        found = probabilities(stepper.weights(state), 5)
        torch.testing.assert_close(found, expected[:, position + 1], atol=1e-5, rtol=0)
        # And on from there, by another token than the sequence has.
        if position < 4:
            other = (tokens[:, position + 1] + 1) % 5
            changed = tokens.clone()
            changed[:, position + 1] = other
            found = probabilities(stepper.weights(stepper.advance(state, other)), 5)
            distribution = net.logits(changed).softmax(2)[:, position + 2]
            torch.testing.assert_close(found, distribution, atol=1e-5, rtol=0)
    again = stepper.prefix_states(tokens)
    assert all(torch.equal(one, other) for one, other in zip(states, again, strict=True))
    keys = states[2]
    assert keys.shape[:2] == (6, 4) and keys.stride(0) == 0  # one cache, however many prefixes


@torch.no_grad()
def test_a_step_writes_one_place_and_what_is_never_reached_is_never_read() -> None:
    space = SequenceSpace(5, 80)
    torch.manual_seed(0)
    stepper = build_generator(TransformerDecoder(width=8, heads=2, layers=2, init_std=0.3), space).eval().stepper()
    state = stepper.start(6)
    places = [part.data_ptr() for part in state[2:]]
    for token in range(30):
        state = stepper.advance(state, torch.full((6,), token % 5))
        if token == 10:
            state = stepper.select(state, torch.tensor([5, 1, 1, 0]).repeat(2)[:6])
            places = [part.data_ptr() for part in state[2:]]
            # Rows that leave take what counts along, and nothing else.
            assert all(not bool(part[:, :, 32:].any()) for part in state[2:])
        assert [part.data_ptr() for part in state[2:]] == places
        for part in state[2:]:
            part[:, :, 64:] = torch.nan  # as if nobody had ever put anything there
    assert not bool(stepper.weights(state).isnan().any())


@torch.no_grad()
@pytest.mark.parametrize("end_id", [None, 1])
def test_reading_only_what_is_reached_draws_what_reading_all_draws(
    end_id: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = SequenceSpace(6, 70, end_id)
    torch.manual_seed(0)
    net = build_generator(TransformerDecoder(width=16, heads=2, layers=2, init_std=0.2), space).eval()

    def found() -> list[Tensor]:
        rng = torch.Generator().manual_seed(0)
        drawn = sample(net.stepper(), space, 40, rng, 17)
        parts = list(continue_prefixes(net.stepper(), space, drawn.tokens[:1], 2, rng, 50))
        best = beam_search(net.stepper(), space, 3, 4)
        return [drawn.tokens, drawn.logprobs, *(part.tokens for part in parts), best.tokens, best.logprobs]

    narrow = found()
    monkeypatch.setattr(Cache, "_reach", lambda self, consumed, more: self.decoder.max_length)
    for one, other in zip(narrow, found(), strict=True):
        # How zeros that are added are grouped depends on the processor: an AMD EPYC rounds the last digit otherwise.
        # A bit of a sum of 47 is 3.8e-6.
        torch.testing.assert_close(one, other, rtol=2**-22, atol=3e-6 if one.is_floating_point() else 0.0)


@torch.no_grad()
def test_samples_and_continuations_have_their_probabilities() -> None:
    net, sequences = generator(ENDING), all_sequences(ENDING)
    mask = sequence_mask(ENDING, sequences)
    probs = net.logprobs(sequences).double().masked_fill(~mask, 0.0).sum(1).exp()

    def assert_distribution(tokens: Tensor, distribution: Tensor) -> None:
        counts = (tokens.unsqueeze(1) == sequences).all(2).sum(0)
        assert int(counts.sum()) == len(tokens)
        deviations = (counts - len(tokens) * distribution).abs() / (
            len(tokens) * distribution * (1 - distribution)
        ).sqrt().clamp_min(1e-9)
        assert float(deviations.max()) < 4.5

    rng = torch.Generator().manual_seed(0)
    drawn = sample(net.stepper(), ENDING, 20_000, rng, 3_000)
    assert_distribution(drawn.tokens, probs)
    expected = net.logprobs(drawn.tokens).masked_fill(~drawn.mask, 0.0)
    torch.testing.assert_close(drawn.logprobs, expected, atol=1e-5, rtol=0)
    prefix = torch.tensor([[2, 0, 0, 0]])
    finished = list(continue_prefixes(net.stepper(), ENDING, prefix, 8_000, rng, 3_000))
    position = torch.cat([part.position for part in finished])
    tokens = torch.cat([part.tokens for part in finished])
    for end in range(3):
        agrees = (sequences[:, : end + 1] == prefix[:, : end + 1]).all(1)
        assert_distribution(tokens[position == end], torch.where(agrees, probs, 0.0) / probs[agrees].sum())


@pytest.mark.parametrize("straight_through", [False, True])
def test_relaxed_rows_have_the_gradient_of_one_pass_over_them(straight_through: bool) -> None:
    # The slow twin reads the rows that were handed out in one causal pass, embedding by matrix product.
    net = generator()
    noise = gumbel_noise(uniform_of_rows(torch.arange(3), 6, 5))
    rows, tokens = net.relaxed(noise, 0.7, straight_through)
    first = net.embedding.weight[torch.zeros(3, 1, dtype=torch.int64)]
    embedded = torch.cat([first, rows[:, :-1] @ net.embedding.weight], 1)
    stream = embedded + net.positions.weight
    for layer in net.layers:
        stream = layer(stream)
    perturbed = net.output(net.last_norm(stream)) + noise
    assert torch.equal(perturbed.argmax(2), tokens)
    torch.testing.assert_close(torch.softmax(perturbed / 0.7, 2).argmax(2), rows.argmax(2))
    if not straight_through:
        torch.testing.assert_close(torch.softmax(perturbed / 0.7, 2), rows, atol=1e-5, rtol=0)
    weights = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0))
    gradients = torch.autograd.grad((rows * weights).sum(), list(net.parameters()), retain_graph=True)
    assert all(float(gradient.abs().max()) > 0 for gradient in gradients)


def test_dropout_acts_in_pretraining_alone_and_weights_travel() -> None:
    net, tokens = generator(dropout=0.5).train(), random_sequences(SPACE, 3, seed=0)
    with torch.no_grad():
        assert not torch.equal(net.logprobs(tokens), net.logprobs(tokens))
        net.use_dropout(False)
        assert torch.equal(net.logprobs(tokens), net.logprobs(tokens))
        settings = TransformerDecoder(width=8, heads=2, layers=2)
        other = load_weights(build_generator(settings, SPACE), weights_of(net, 0).complete)
        assert isinstance(other, TransformerGenerator) and other.output.weight is other.embedding.weight
        other.use_dropout(False)
        assert torch.equal(other.logprobs(tokens), net.logprobs(tokens))


def test_heads_must_divide_the_width() -> None:
    with refused(ConfigError, "generator_heads", {"generator.width": 6, "generator.heads": 4}):
        from_dict({"task": TASK.model_dump(), "generator": {"kind": "transformer", "width": 6, "heads": 4}})
