"""The generator that writes all tokens at once from noise: its equations, its rows, its samples."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from rlgan.base.errors import ConfigError
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.generators import LSTM, LatentConv, LatentConvGenerator, build_generator
from rlgan.layers.relaxation import Relaxation
from rlgan.sampling.sampler import sample
from tests.support.errors import refused

SPACE = SequenceSpace(6, 5, end_id=2)
SETTINGS = LatentConv(latent=3, width=4, blocks=2, window=3)


def generator(space: SequenceSpace = SPACE) -> LatentConvGenerator:
    torch.manual_seed(1)
    net = build_generator(SETTINGS, space)
    assert isinstance(net, LatentConvGenerator)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(3.0)
    return net.eval()


def test_logits_are_those_of_the_equations() -> None:
    net, noise = generator(), torch.randn(7, 3)
    x = (noise @ net.input.weight.T + net.input.bias).view(7, 4, 5)
    for first, second in zip(net.blocks.first, net.blocks.second, strict=True):
        hidden = functional.conv1d(torch.relu(x), first.weight, first.bias, padding=1)
        x = x + 0.3 * functional.conv1d(torch.relu(hidden), second.weight, second.bias, padding=1)
    expected = torch.einsum("vw,bwt->btv", net.output.weight[:, :, 0], x) + net.output.bias
    torch.testing.assert_close(net(noise), expected, atol=1e-5, rtol=1e-5)


def test_published_sizes() -> None:
    net = build_generator(LatentConv(), SequenceSpace(96, 32))
    shapes = {name: tuple(value.shape) for name, value in net.named_parameters() if "weight" in name}
    convolutions = [shape for name, shape in shapes.items() if name.startswith("blocks")]
    assert convolutions == [(512, 512, 5)] * 10
    assert shapes["input.weight"] == (32 * 512, 128) and shapes["output.weight"] == (96, 512, 1)
    assert not [module for module in net.modules() if "Norm" in type(module).__name__]


def test_a_row_is_a_function_of_its_own_seed() -> None:
    net, seeds = generator(), torch.tensor([5, 9, 2**61, 5])
    rows, tokens = net.soft_rows(SPACE, seeds, None)
    assert rows.shape == (4, 5, 6) and rows.requires_grad
    torch.testing.assert_close(rows.sum(2), torch.ones(4, 5))
    assert torch.equal(tokens, rows.argmax(2))
    noise = torch.randn(3, generator=torch.Generator().manual_seed(9))
    torch.testing.assert_close(rows[1], torch.softmax(net(noise.unsqueeze(0))[0], 1))
    assert torch.equal(rows[0], rows[3]) and not torch.equal(rows[0], rows[2])


@pytest.mark.parametrize("space", [SPACE, SequenceSpace(6, 5)], ids=["ending early", "fixed"])
def test_samples_are_what_the_noise_becomes_cut_at_the_terminator(space: SequenceSpace) -> None:
    net, rng = generator(space), torch.Generator().manual_seed(4)
    samples = sample(net.stepper(), space, 50, rng, chunk_rows=50)
    with torch.no_grad():
        written = net(torch.randn(50, 3, generator=torch.Generator().manual_seed(4))).argmax(2)
    mask = sequence_mask(space, written)
    assert torch.equal(samples.tokens[mask], written[mask]) and torch.equal(samples.mask, mask)
    assert len({tuple(row) for row in samples.tokens.tolist()}) > 5
    if space.end_id is not None:
        assert int((~mask).sum()) > 0 and bool((samples.tokens[~mask] == space.pad_id).all())
    # It draws nothing: given its noise, what it writes is certain.
    assert float(samples.logprobs.abs().max()) == 0.0


def test_it_has_no_temperature_and_nothing_to_relax() -> None:
    net = generator()
    with refused(ConfigError, "temperature_no_effect", {"temperature": 0.8}, match="'latent_conv'"):
        net.stepper(0.8)
    with pytest.raises(ValueError, match="nothing to relax"):
        net.soft_rows(SPACE, torch.arange(2), Relaxation(1.0, straight_through=False))
    with pytest.raises(ValueError, match="random number generator"):
        net.stepper().start(3)
    with refused(ValidationError, "generator_even_window", {"generator.window": 4}):
        LatentConv(window=4)


def test_a_generator_that_draws_tokens_needs_a_relaxation() -> None:
    with pytest.raises(ValueError, match="needs a relaxation"):
        build_generator(LSTM(embedding=2, hidden=2), SPACE).soft_rows(SPACE, torch.arange(2), None)
