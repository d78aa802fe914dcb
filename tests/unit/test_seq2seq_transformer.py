"""The Transformer encoder-decoder beside torch's own layers, what its rows share, and that it learns to copy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlgan.base.errors import ConfigError
from rlgan.base.weights import load_weights, weights_of
from rlgan.config.paths import from_dict
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import Seq2SeqTransformer, Seq2SeqTransformerGenerator, build_generator, shift_right
from rlgan.generators.transformer_stack import Layer
from rlgan.sampling.sampler import continue_prefixes, sample
from tests.support.errors import refused
from tests.support.tiny import PAIRS

SOURCE = SequenceSpace(7, 6, end_id=0)
SPACE = SequenceSpace(5, 4, end_id=1, condition=SOURCE)


def generator(space: SequenceSpace = SPACE, **settings: Any) -> Seq2SeqTransformerGenerator:
    torch.manual_seed(3)
    sizes = {"width": 8, "heads": 2, "layers": 2, "init_std": 0.6} | settings
    return Seq2SeqTransformerGenerator(Seq2SeqTransformer(**sizes), space).eval()


def pairs(number: int) -> tuple[Tensor, Tensor]:
    return random_sequences(SOURCE, number, seed=1), random_sequences(SPACE, number, seed=2)


def probabilities(weights: Tensor) -> Tensor:
    weights = weights[:, : SPACE.vocab_size]
    return weights / weights.sum(1, keepdim=True)


def weights_of_layer(layer: Layer) -> dict[str, Tensor]:
    """By the names of torch's layers, in which the feed-forward part has the last norm."""
    parts: dict[str, nn.Module] = {
        "self_attn.in_proj_": layer.queries_keys_values,
        "self_attn.out_proj.": layer.mix,
        "norm1.": layer.before_attention,
        "linear1.": layer.expand,
        "linear2.": layer.contract,
        ("norm2." if layer.memory is None else "norm3."): layer.before_expansion,
    }
    if layer.memory is not None:
        parts |= {"norm2.": layer.memory.before, "multihead_attn.out_proj.": layer.memory.mix}
    found = {prefix + name: tensor for prefix, part in parts.items() for name, tensor in part.state_dict().items()}
    if layer.memory is not None:
        both = layer.memory.queries, layer.memory.keys_values
        found |= {f"multihead_attn.in_proj_{name}": torch.cat([getattr(part, name) for part in both])
                  for name in ("weight", "bias")}  # fmt: skip
    return found


def by_torch(net: Seq2SeqTransformerGenerator, conditions: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, T, V) and attention (B, T, S) by `nn.TransformerEncoderLayer` and `nn.TransformerDecoderLayer`."""
    options: dict[str, Any] = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
    is_padding = ~sequence_mask(SOURCE, conditions)
    memory = net.source_embedding(conditions) + net.source_positions.weight
    for layer in net.encoder:
        assert isinstance(layer, Layer)
        encoder = nn.TransformerEncoderLayer(8, 2, 32, **options)
        encoder.load_state_dict(weights_of_layer(layer))
        memory = encoder(memory, src_key_padding_mask=is_padding)
    memory = net.source_norm(memory)
    stream = net.embedding(shift_right(tokens, 0)) + net.positions.weight
    is_later = torch.ones(4, 4).triu(1).bool()
    asked: list[Tensor] = []
    for layer in net.blocks:
        decoder = nn.TransformerDecoderLayer(8, 2, 32, **options)
        decoder.load_state_dict(weights_of_layer(layer))
        decoder.multihead_attn.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[0]))
        stream = decoder(stream, memory, tgt_mask=is_later, memory_key_padding_mask=is_padding)
    _, attention = decoder.multihead_attn(asked[-1], memory, memory, key_padding_mask=is_padding, need_weights=True)
    return net.last_norm(stream) @ net.output.weight.T + net.output.bias, attention


@torch.no_grad()
def test_logits_and_attention_are_those_of_torchs_layers() -> None:
    for settings in ({}, {"tied": False, "layers": 1}):
        net, (conditions, tokens) = generator(**settings), pairs(9)
        with torch.random.fork_rng():
            logits, attention = by_torch(net, conditions, tokens)
        distribution = net.conditional(conditions)
        torch.testing.assert_close(distribution.logits(tokens), logits, atol=1e-5, rtol=0)
        torch.testing.assert_close(distribution.attention(tokens), attention, atol=1e-5, rtol=0)
        assert float(logits.std(0).max()) > 0.1 and float(attention.std(0).max()) > 0.02
        assert (net.output.weight is net.embedding.weight) == (settings == {})


@torch.no_grad()
@pytest.mark.parametrize("order", [[4, 0, 8, 2], [3, 3, 3, 3, 1, 1], [5, 1, 2, 0, 4, 3, 6, 7, 8, 8, 8]])
def test_rows_that_were_selected_repeated_and_joined_read_their_own_condition(order: list[int]) -> None:
    net, (conditions, tokens) = generator(), pairs(9)
    stepper = net.stepper().conditional(conditions)
    prefixes = stepper.prefix_states(tokens)
    rows = torch.tensor(order)
    old, new = (
        stepper.select(tuple(part[at] for part in prefixes), chosen) for at, chosen in ((0, rows), (1, rows.flip(0)))
    )
    # Prefixes of one token, and behind them prefixes of two, of the same conditions in another order.
    state = tuple(torch.cat(parts) for parts in zip(old, new, strict=True))
    following = random_sequences(SequenceSpace(5, 1), 2 * len(order), seed=4).squeeze(1)
    advanced = stepper.advance(state, following)
    assert all(torch.equal(one, other) for one, other in zip(stepper.prefix_states(tokens), prefixes, strict=True))
    found = probabilities(stepper.weights(advanced))
    for index, (row, token) in enumerate(zip([*order, *order[::-1]], following.tolist(), strict=True)):
        length = 1 if index < len(order) else 2
        sequence = tokens[row].clone()
        sequence[length] = token
        distribution = net.conditional(conditions[row].unsqueeze(0)).logits(sequence.unsqueeze(0)).softmax(2)
        torch.testing.assert_close(found[index], distribution[0, length + 1], atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_condition_is_read_once_however_many_rows_go_on_from_it() -> None:
    net, (conditions, tokens) = generator(), pairs(9)
    stepper, passes = net.stepper(), []
    stepper._generator.encoder[0].register_forward_hook(lambda *_: passes.append(1))
    list(continue_prefixes(stepper, SPACE, tokens, 3, torch.Generator().manual_seed(0), 16, conditions=conditions))
    assert len(passes) == 1
    states = stepper.conditional(conditions).prefix_states(tokens)
    consumed, features, *keeps, condition = states
    assert len(keeps) == 4 and all(part.stride(0) == 0 for part in [*keeps, condition])
    # Nothing in a state is as long as a condition: a row carries its own cache and a number.
    assert [tuple(part.shape[2:]) for part in states] == [(), (8,), *[(2, 4, 4)] * 4, ()]


@torch.no_grad()
def test_a_state_of_few_conditions_is_that_of_all() -> None:
    # Fewer than half of the conditions are looked up apart from the others.
    net, (conditions, tokens) = generator(), pairs(20)
    stepper = net.stepper().conditional(conditions)
    state = stepper.start(20)
    whole = stepper.advance(stepper.select(state, torch.arange(20)), tokens[:, 0])
    for rows in (torch.tensor([17]), torch.tensor([2, 17, 2, 11]), torch.arange(19)):
        found = stepper.advance(stepper.select(state, rows), tokens[rows, 0])
        for part, expected in zip(found, whole, strict=True):
            torch.testing.assert_close(part, expected[rows], atol=1e-6, rtol=0)


def test_weights_travel_and_what_is_tied_stays_so() -> None:
    net, (conditions, tokens) = generator(init_std=0.02), pairs(3)
    settings = Seq2SeqTransformer(width=8, heads=2, layers=2)
    other = load_weights(build_generator(settings, SPACE), weights_of(net, 0).complete)
    assert isinstance(other, Seq2SeqTransformerGenerator) and other.output.weight is other.embedding.weight
    with torch.no_grad():
        assert torch.equal(other.conditional(conditions).logprobs(tokens), net.conditional(conditions).logprobs(tokens))


def test_heads_must_divide_the_width() -> None:
    with refused(ConfigError, "generator_heads", {"generator.width": 6, "generator.heads": 4}):
        from_dict({"task": PAIRS.model_dump(), "generator": {"kind": "seq2seq_transformer", "width": 6, "heads": 4}})


def test_copying_is_learned() -> None:
    torch.manual_seed(0)
    source = SequenceSpace(6, 4, end_id=0)
    space = SequenceSpace(6, 4, end_id=0, condition=source)
    net = build_generator(Seq2SeqTransformer(width=32, heads=2, layers=1), space)
    learnt, held_out = random_sequences(source, 4_000, seed=0), random_sequences(source, 200, seed=1)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for step in range(160):
        batch = learnt[torch.arange(64 * step, 64 * step + 64) % len(learnt)]
        logprobs = net.conditional(batch).logprobs(batch).masked_fill(~sequence_mask(space, batch), 0.0)
        optimizer.zero_grad()
        (-logprobs.sum() / len(batch)).backward()
        optimizer.step()
    drawn = sample(net.stepper(), space, 200, torch.Generator().manual_seed(0), conditions=held_out)
    assert float((drawn.tokens == held_out).all(1).float().mean()) > 0.9
