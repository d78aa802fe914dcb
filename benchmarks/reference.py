"""SeqGAN as the public ports write it: the yardstick of the speed benchmarks, kept slow on purpose.

Nothing of `rlgan` is used here. The generator re-decodes every prefix from its first token for each of N rollouts and
draws with `torch.multinomial`; the discriminator is one `nn.Conv1d` a window size and stock Adam. The two mistakes of
those ports that would change the *values* (rewards scrambled by a reshape, dropout left on while scoring) are mended,
so that both sides of a ratio compute the same thing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ReferenceGenerator(nn.Module):
    """LSTM language model, decoded a token at a time."""

    def __init__(self, vocab_size: int = 5000, embedding: int = 32, hidden: int = 32, max_length: int = 20) -> None:
        super().__init__()
        self.hidden, self.max_length = hidden, max_length
        self.embedding = nn.Embedding(vocab_size, embedding)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True)
        self.output = nn.Linear(hidden, vocab_size)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.1)

    def step(self, token: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        features, state = self.lstm(self.embedding(token).unsqueeze(1), state)
        return functional.softmax(self.output(features[:, 0]), dim=1), state

    @torch.no_grad()
    def sample(self, num_sequences: int, prefix: Tensor | None = None) -> Tensor:
        """Finish `prefix` (B, t), or begin from nothing; (B, T)."""
        zeros = torch.zeros(1, num_sequences, self.hidden)
        state = (zeros, zeros)
        token = torch.zeros(num_sequences, dtype=torch.int64)
        tokens = []
        for position in range(self.max_length):
            probs, state = self.step(token, state)
            if prefix is not None and position < prefix.shape[1]:
                token = prefix[:, position]
            else:
                token = torch.multinomial(probs, 1).squeeze(1)
            tokens.append(token)
        return torch.stack(tokens, dim=1)

    def forward(self, tokens: Tensor) -> Tensor:
        inputs = torch.cat([torch.zeros_like(tokens[:, :1]), tokens[:, :-1]], dim=1)
        features, _ = self.lstm(self.embedding(inputs))
        logprobs = functional.log_softmax(self.output(features), dim=2)
        return logprobs.gather(2, tokens.unsqueeze(2)).squeeze(2)


class ReferenceDiscriminator(nn.Module):
    """A convolution a window, max over time, highway, two-way softmax."""

    def __init__(
        self, vocab_size: int, windows: tuple[int, ...], filters: tuple[int, ...], embedding: int = 64
    ) -> None:
        super().__init__()
        width = sum(filters)
        self.embedding = nn.Embedding(vocab_size, embedding)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(1, count, (window, embedding)) for window, count in zip(windows, filters, strict=True)
        )
        self.transform, self.gate = nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(0.25)
        self.output = nn.Linear(width, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        embedded = self.embedding(tokens).unsqueeze(1)
        maps = [functional.relu(convolution(embedded)).squeeze(3) for convolution in self.convolutions]
        pooled = torch.cat([functional.max_pool1d(m, m.shape[2]).squeeze(2) for m in maps], dim=1)
        gate = torch.sigmoid(self.gate(pooled))
        mixed = gate * functional.relu(self.transform(pooled)) + (1 - gate) * pooled
        return self.output(self.dropout(mixed))


@torch.no_grad()
def monte_carlo_reward(
    generator: ReferenceGenerator, discriminator: ReferenceDiscriminator, tokens: Tensor, num_rollouts: int
) -> Tensor:
    """Q (B, T) by N × (T-1) nested re-decodes."""
    discriminator.eval()
    batch, length = tokens.shape
    rewards = torch.zeros(batch, length)
    for _ in range(num_rollouts):
        for position in range(length - 1):
            finished = generator.sample(batch, tokens[:, : position + 1])
            rewards[:, position] += functional.softmax(discriminator(finished), dim=1)[:, 1]
    rewards /= num_rollouts
    rewards[:, -1] = functional.softmax(discriminator(tokens), dim=1)[:, 1]
    discriminator.train()
    return rewards


def train_discriminator_batch(
    discriminator: ReferenceDiscriminator, optimizer: torch.optim.Optimizer, tokens: Tensor, labels: Tensor
) -> None:
    """One minibatch."""
    loss = functional.cross_entropy(discriminator(tokens), labels)
    loss = loss + 0.2 * 0.5 * (discriminator.output.weight.square().sum() + discriminator.output.bias.square().sum())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def train_generator_batch(
    generator: ReferenceGenerator, optimizer: torch.optim.Optimizer, tokens: Tensor, rewards: Tensor
) -> None:
    """One policy-gradient update."""
    loss = -(generator(tokens) * rewards).sum()
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(generator.parameters(), 5.0)
    optimizer.step()
