"""The discriminator of windows against its equations in loops, and how far it sees."""

from __future__ import annotations

import pytest
import torch

from rlgan.discriminators import WindowCnn, WindowCnnDiscriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask

SPACE = SequenceSpace(6, 7, end_id=2)
TOKENS = random_sequences(SPACE, 8, seed=0)
MASK = sequence_mask(SPACE, TOKENS)


def network(window: int) -> WindowCnnDiscriminator:
    torch.manual_seed(0)
    return WindowCnnDiscriminator(WindowCnn(embedding=4, window=window, filters=5, hidden=3), SPACE).eval()


@pytest.mark.parametrize("window", [1, 3, 9])
def test_logits_are_those_of_the_equations(window: int) -> None:
    net = network(window)
    with torch.no_grad():
        logits = net(TOKENS, MASK)
        for b in range(len(TOKENS)):
            for t in range(TOKENS.shape[1]):
                if not MASK[b, t]:
                    assert float(logits[b, t]) == 0.0
                    continue
                response = net.filters.bias.clone()
                for back in range(window):
                    if t - back >= 0:
                        kernel = net.filters.weight[:, :, window - 1 - back]
                        response += kernel @ net.embedding.weight[TOKENS[b, t - back]]
                hidden = torch.relu(net.layer.weight @ torch.relu(response) + net.layer.bias)
                expected = net.output.weight[0] @ hidden + net.output.bias[0]
                torch.testing.assert_close(logits[b, t], expected, atol=1e-5, rtol=1e-5)


def test_a_logit_sees_its_window_and_nothing_else() -> None:
    net, tokens, mask = network(3), torch.randint(6, (20, 7)), torch.ones(20, 7, dtype=torch.bool)
    with torch.no_grad():
        logits = net(tokens, mask)
        for place in range(7):
            changed = tokens.clone()
            changed[:, place] = (changed[:, place] + 1) % 6
            moved = (net(changed, mask) - logits).abs().amax(0) > 1e-6
            assert moved.nonzero().squeeze(1).tolist() == list(range(place, min(place + 3, 7)))
