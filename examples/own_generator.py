"""A network of your own as the generator: a minimal GRU (Feng et al. 2024, "Were RNNs all we needed?").

    python examples/own_generator.py

The gate and the candidate of a minGRU depend only on the token, not on the state, so one matrix product covers a whole
sequence. rlgan needs only `forward`; with `start` and `step` it samples token by token without reading each prefix
again. rlgan checks both before training. The minGRU and the built-in LSTM learn function names, letter by letter, with
the same preset.

Prints for both networks how well they predict test names (nll_gen, nats per letter), and names that they generate.
"""

from __future__ import annotations

import torch
from corpus import names
from torch import Tensor, nn

import rlgan


class MinGru(nn.Module):
    """h[t] = (1 - z[t]) · h[t-1] + z[t] · candidate[t] in layers with residual connections."""

    def __init__(self, space, width=48, layers=2):
        super().__init__()
        self.embedding = nn.Embedding(space.vocab_size, width)
        self.layers = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(layers))
        self.output = nn.Linear(width, space.vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) int64, the start token first → (B, T, V) logits of the tokens that follow."""
        inputs = self.embedding(tokens)
        for layer in self.layers:
            gate, candidate = layer(inputs).chunk(2, dim=-1)
            gate, states, state = gate.sigmoid(), [], torch.zeros_like(inputs[:, 0])
            for t in range(tokens.shape[1]):
                state = torch.lerp(state, candidate[:, t], gate[:, t])
                states.append(state)
            inputs = inputs + torch.stack(states, dim=1)
        return self.output(inputs)

    def start(self, num_rows: int) -> tuple[Tensor, ...]:
        """States of so many empty prefixes: a tensor (R, width) for each layer."""
        return tuple(self.output.weight.new_zeros(num_rows, layer.in_features) for layer in self.layers)

    def step(self, state: tuple[Tensor, ...], tokens: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """States (R, width), tokens (R,) → logits (R, V) of the next ones, and their states."""
        inputs, after = self.embedding(tokens), []
        for layer, before in zip(self.layers, state, strict=True):
            gate, candidate = layer(inputs).chunk(2, dim=-1)
            after.append(torch.lerp(before, candidate, gate.sigmoid()))
            inputs = inputs + after[-1]
        return self.output(inputs), tuple(after)


def main() -> None:
    known, lines = set(names()), []
    for title, generator in {"LSTM": {"hidden": 48, "embedding": 48}, "minGRU": MinGru}.items():
        run = rlgan.train(
            "quick",
            data=names(),
            tokens="char",
            generator=generator,
            schedule={"mle_epochs": 20, "discriminator_rounds": 2, "adversarial_updates": 20},
            evaluation={"temperatures": [1.0], "final_sequences": 1000},
            controls=["mle_continued"],
        )
        row = run.table.iloc[-1]
        new = [name for name in run.sample(30, temperature=0.8, seed=1) if name not in known]
        lines.append(f"{title}: NLL_gen {row['nll_gen']:.3f}; new names: {', '.join(new[:10])}")
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
