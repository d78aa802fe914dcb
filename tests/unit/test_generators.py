"""The LSTM generator: an autoregressive distribution, read the same way by teacher forcing and by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rlgan.base.errors import ConfigError
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import all_sequences, random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import (
    LSTM,
    AutoregressiveGenerator,
    GeneratorKind,
    LatentConv,
    LSTMGenerator,
    Seq2SeqLSTM,
    Seq2SeqTransformer,
    State,
    Stepper,
    TransformerDecoder,
    build_generator,
    shift_right,
)
from rlgan.layers.relaxation import Relaxation, gumbel_noise, uniform_of_rows
from rlgan.sampling.sampler import sampler_of
from tests.support.errors import refused


def generator(vocab_size: int = 7, **settings: object) -> LSTMGenerator:
    torch.manual_seed(0)
    return LSTMGenerator(
        LSTM(**{"embedding": 4, "hidden": 5, "init_std": 1.0} | settings), SequenceSpace(vocab_size, 1)
    )


def test_inputs_are_the_start_token_and_all_tokens_but_the_last() -> None:
    assert shift_right(torch.tensor([[5, 6, 7], [8, 9, 1]]), 3).tolist() == [[3, 5, 6], [3, 8, 9]]


@torch.no_grad()
def test_logits_by_the_equations_of_an_lstm() -> None:
    # i, f, g, o = e W + h U + b, torch's order; c' = σ(f) c + σ(i) tanh(g); h' = σ(o) tanh(c').
    net = generator()
    tokens = random_sequences(SequenceSpace(7, 4), 3, seed=0)
    weights = dict(net.lstm.named_parameters())
    hidden, cell = torch.zeros(3, 5), torch.zeros(3, 5)
    previous, expected = torch.zeros(3, dtype=torch.int64), []
    for position in range(4):
        gates = net.embedding.weight[previous] @ weights["weight_ih_l0"].T + hidden @ weights["weight_hh_l0"].T
        gates = gates + weights["bias_ih_l0"] + weights["bias_hh_l0"]
        take, forget, candidate, show = gates.split(5, dim=1)
        cell = forget.sigmoid() * cell + take.sigmoid() * candidate.tanh()
        hidden = show.sigmoid() * cell.tanh()
        expected.append(hidden @ net.output.weight.T + net.output.bias)
        previous = tokens[:, position]
    torch.testing.assert_close(net.logits(tokens), torch.stack(expected, dim=1), atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_logprobs_are_log_softmax_of_the_logits_over_the_temperature(temperature: float) -> None:
    net = generator()
    tokens = random_sequences(SequenceSpace(7, 4), 3, seed=0)
    logprobs = torch.log_softmax(net.logits(tokens) / temperature, dim=2)
    expected = torch.tensor([[logprobs[b, t, tokens[b, t]] for t in range(4)] for b in range(3)])
    torch.testing.assert_close(net.logprobs(tokens, temperature), expected)


@torch.no_grad()
@pytest.mark.parametrize("end_id", [None, 2])
def test_probabilities_of_all_sequences_sum_to_one(end_id: int | None) -> None:
    space = SequenceSpace(3, 4, end_id)
    sequences = all_sequences(space)
    logprobs = generator(3, layers=2).logprobs(sequences).double()
    probs = logprobs.masked_fill(~sequence_mask(space, sequences), 0.0).sum(1).exp()
    assert float(probs.sum()) == pytest.approx(1.0, abs=1e-5)


@torch.no_grad()
def test_logits_depend_on_earlier_tokens_only() -> None:
    net = generator(layers=2)
    tokens = random_sequences(SequenceSpace(7, 6), 5, seed=0)
    for position in range(6):
        changed = tokens.clone()
        changed[:, position] = (changed[:, position] + 1) % 7
        differs = (net.logits(changed) != net.logits(tokens)).any(2).any(0)
        assert differs.tolist() == [later > position for later in range(6)]


def gradient(net: LSTMGenerator, loss: Tensor) -> Tensor:
    net.zero_grad()
    loss.backward()
    return torch.cat([parameter.grad.flatten() for parameter in net.parameters()])


def test_gradient_of_logprobs_against_finite_differences() -> None:
    net = generator(4).double()
    tokens = random_sequences(SequenceSpace(4, 3), 2, seed=0)
    found = gradient(net, net.logprobs(tokens).sum())
    epsilon, expected = 1e-6, []
    with torch.no_grad():
        for parameter in net.parameters():
            flat = parameter.view(-1)
            for index in range(flat.numel()):
                ends = []
                for sign in (1, -2):
                    flat[index] += sign * epsilon
                    ends.append(float(net.logprobs(tokens).sum()))
                flat[index] += epsilon
                expected.append((ends[0] - ends[1]) / (2 * epsilon))
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("layers", [1, 3])
def test_dropout_acts_while_training_only(layers: int) -> None:
    net = generator(layers=layers, dropout=0.5)
    tokens = random_sequences(SequenceSpace(7, 4), 3, seed=0)
    with torch.no_grad():
        assert torch.equal(net.eval().logprobs(tokens), net.logprobs(tokens))
        assert not torch.equal(net.train().logprobs(tokens), net.logprobs(tokens))


@torch.no_grad()
def test_dropout_falls_on_the_embedding_and_on_the_output() -> None:
    net, thinned, read = generator(dropout=0.5).train(), [], []
    net.dropout.register_forward_hook(lambda _, __, output: thinned.append(output))
    net.lstm.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    logits = net.logits(random_sequences(SequenceSpace(7, 4), 20, seed=0))
    embedded, features = thinned
    assert torch.equal(read[0], embedded)
    torch.testing.assert_close(logits, features @ net.output.weight.T + net.output.bias)
    for values in thinned:
        # At least 320 coins: standard deviation below 0.028.
        assert abs(float((values == 0).float().mean()) - 0.5) < 4 * 0.028


@torch.no_grad()
@pytest.mark.parametrize(("layers", "between"), [(1, False), (3, True)])
def test_dropout_acts_between_layers_too_and_can_be_switched_off_while_training(layers: int, between: bool) -> None:
    net = generator(layers=layers, dropout=0.5).train()
    tokens = random_sequences(SequenceSpace(7, 4), 3, seed=0)
    net.dropout.p = 0.0  # that of the embedding and of the output
    assert torch.equal(net.logprobs(tokens), net.logprobs(tokens)) != between
    for _ in range(2):
        net.use_dropout(False)
        assert net.training and torch.equal(net.logprobs(tokens), net.logprobs(tokens))
        net.use_dropout(True)
        assert not torch.equal(net.logprobs(tokens), net.logprobs(tokens))


def test_every_parameter_starts_from_the_normal_distribution_of_the_settings() -> None:
    torch.manual_seed(1)
    net = build_generator(LSTM(embedding=32, hidden=32, init_std=0.3), SequenceSpace(100, 5))
    for name, parameter in net.named_parameters():
        values, number = parameter.detach(), parameter.numel()
        # Standard deviation of a mean is 0.3/√n, of a standard deviation about 0.3/√2n.
        assert abs(float(values.mean())) < 4 * 0.3 / number**0.5, name
        assert abs(float(values.std()) - 0.3) < 4 * 0.3 / (2 * number) ** 0.5, name


# ------------------------------------------------------------------------------------------------ tied weights


@torch.no_grad()
@pytest.mark.parametrize(("embedding", "hidden"), [(5, 5), (4, 6)])
def test_tied_weights_read_and_write_by_one_table(embedding: int, hidden: int) -> None:
    net = generator(embedding=embedding, hidden=hidden, tied=True).eval()
    tokens = random_sequences(SequenceSpace(7, 4), 3, seed=0)
    features, _ = net.lstm(net.embedding(shift_right(tokens, 0)))
    if hidden != embedding:
        assert net.projection is not None
        features = features @ net.projection.weight.T
    expected = features @ net.embedding.weight.T + net.output.bias
    torch.testing.assert_close(net.logits(tokens), expected)
    logprobs = torch.log_softmax(expected, 2).gather(2, tokens.unsqueeze(2)).squeeze(2)
    torch.testing.assert_close(net.logprobs(tokens), logprobs, atol=1e-5, rtol=0)
    stepper = net.stepper()
    state = stepper.start(3)
    for position in range(4):
        if position:
            state = stepper.advance(state, tokens[:, position - 1])
        weights = stepper.weights(state)[:, :7]
        found = weights / weights.sum(1, keepdim=True)
        torch.testing.assert_close(found, expected[:, position].softmax(1), atol=1e-5, rtol=0)


def test_tied_weights_learn_from_both_ends() -> None:
    net = generator(tied=True, embedding=5)
    assert sum(parameter is net.embedding.weight for parameter in net.parameters()) == 1
    tokens = torch.full((1, 3), 6)
    # Token 6 is written at every step and read at the later ones; token 3 is only ever not written.
    net.logprobs(tokens).sum().backward()
    assert net.embedding.weight.grad is not None
    assert float(net.embedding.weight.grad[6].abs().max()) > 0 < float(net.embedding.weight.grad[3].abs().max())


def test_tied_and_relaxed_is_the_distribution_too() -> None:
    net = generator(tied=True, embedding=4, hidden=6).eval()
    noise = gumbel_noise(uniform_of_rows(torch.arange(50), 5, 7))
    rows, tokens = net.relaxed(noise, 0.5, straight_through=True)
    with torch.no_grad():
        assert torch.equal((net.logits(tokens) + noise).argmax(2), tokens)
    assert torch.equal(rows.argmax(2), tokens)


# -------------------------------------------------------------------------------------- what networks can do


@pytest.mark.parametrize(
    "settings",
    [LSTM(), TransformerDecoder(), LatentConv(width=4, blocks=1), Seq2SeqLSTM(), Seq2SeqTransformer()],
    ids=lambda settings: settings.kind,
)
def test_a_network_can_do_what_its_settings_declare(settings: GeneratorKind) -> None:
    space = SequenceSpace(5, 3, condition=SequenceSpace(4, 2) if settings.reads_conditions else None)
    conditions = torch.zeros(2, 2, dtype=torch.int64) if settings.reads_conditions else None
    net = build_generator(settings, space)  # type: ignore[call-overload]
    for name in ("has_likelihood", "draws_tokens", "relaxes"):
        assert getattr(net, name) == getattr(settings, name)
    assert settings.relaxes
    relaxation = Relaxation(0.5, straight_through=False) if settings.draws_tokens else None
    rows, _ = net.soft_rows(space, torch.arange(2), relaxation, conditions)
    assert rows.requires_grad and rows.shape == (2, 3, 5)
    if settings.has_likelihood:
        assert net.conditional(conditions).logprobs(torch.ones(2, 3, dtype=torch.int64)).shape == (2, 3)
    else:
        with pytest.raises(ValueError, match="has no distribution"):
            net.conditional(None)


class Bigram(AutoregressiveGenerator):
    """As little as a generator can be: no soft rows, and a stepper of one line each."""

    def __init__(self, space: SequenceSpace) -> None:
        super().__init__()
        self.vocab_size, self.start_id = space.vocab_size, space.required_start
        self.table = torch.nn.Parameter(torch.randn(space.vocab_size, space.vocab_size))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.table[inputs]

    def stepper(self, temperature: float = 1.0) -> Stepper:
        table, start = (self.table.detach() / temperature).softmax(1), self.start_id

        class Rows(Stepper):
            def start(self, num_rows: int, rng: torch.Generator | None = None) -> State:
                return (torch.full((num_rows,), start),)

            def advance(self, state: State, tokens: Tensor) -> State:
                return (tokens,)

            def weights(self, state: State) -> Tensor:
                return functional.pad(table[state[0]], (0, 64 - table.shape[1]))

        return Rows()


@torch.no_grad()
def test_a_network_need_not_give_soft_rows_and_says_so_by_name() -> None:
    space = SequenceSpace(5, 3, end_id=4)
    net = Bigram(space)
    samples = sampler_of(net, space).sample(20, torch.Generator().manual_seed(0))
    exact = net.logprobs(samples.tokens).masked_fill(~samples.mask, 0.0)
    torch.testing.assert_close(samples.logprobs, exact)
    noise = torch.zeros(1, 3, 5)
    relaxation = Relaxation(1.0, straight_through=False)
    for ask in (lambda: net.relaxed(noise, 1.0, False), lambda: net.soft_rows(space, torch.arange(1), relaxation)):
        with refused(ConfigError, "generator_gives_no_rows"):
            ask()
