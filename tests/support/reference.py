"""Slow, obvious twins of the fast code, written from the papers with loops and torch's own layers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rlgan.discriminators import CnnHighwayDiscriminator, Scorer
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators import Generator


def finish(generator: Generator, space: SequenceSpace, prefix: list[int], rng: torch.Generator) -> list[int]:
    """Decode on from a prefix, one token at a time, reading the whole prefix again for each."""
    tokens = list(prefix)
    while len(tokens) < space.max_length and not (tokens and tokens[-1] == space.end_id):
        # The token after the prefix is not known yet; what stands in its place is read by nothing before it.
        logits = generator.logits(torch.tensor([[*tokens, 0]]))[0, -1]
        tokens.append(int(torch.multinomial(logits.softmax(0), 1, generator=rng)))
    return tokens


@torch.no_grad()
def monte_carlo_search(
    generator: Generator, scorer: Scorer, space: SequenceSpace, tokens: Tensor, num_rollouts: int, rng: torch.Generator
) -> Tensor:
    """Q of Yu et al. 2017, eq. 4, with reward D: for each sequence, for each prefix, N times decode to the end.

    Q_t = (1/N) Σ_n D(Y^n), Y^n a continuation of y_1..y_t          t < length
    Q_t = D(y)                                                      t = length
    """
    values = torch.zeros(tokens.shape)
    for b, row in enumerate(tokens.tolist()):
        length = row.index(space.end_id) + 1 if space.end_id in row else space.max_length
        for t in range(1, length):
            total = 0.0
            for _ in range(num_rollouts):
                total += probability_of_real(scorer, space, finish(generator, space, row[:t], rng))
            values[b, t - 1] = total / num_rollouts
        values[b, length - 1] = probability_of_real(scorer, space, row[:length])
    return values


def probability_of_real(scorer: Scorer, space: SequenceSpace, sequence: list[int]) -> float:
    """D = σ(u) of one finished sequence."""
    missing = space.max_length - len(sequence)
    tokens = torch.tensor([sequence + [space.pad_id] * missing])
    mask = torch.tensor([[True] * len(sequence) + [False] * missing])
    return 1.0 / (1.0 + math.exp(-float(scorer(tokens, mask))))


class PlainCnnHighway(nn.Module):
    """The discriminator of Yu et al. 2017 from torch's layers: Conv1d, max over time, two highway products, softmax."""

    def __init__(self, original: CnnHighwayDiscriminator, dropout: float) -> None:
        super().__init__()
        width, embedding = sum(original.filters), original.embedding.embedding_dim
        self.embedding = nn.Embedding.from_pretrained(original.embedding.weight.detach().clone(), freeze=False)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(embedding, filters, window)
            for window, filters in zip(original.windows, original.filters, strict=True)
        )
        biases = original.kernel_bias.detach().split(original.filters)
        for convolution, kernel, bias in zip(self.convolutions, original.kernels, biases, strict=True):
            # (window · E, F) row-major, Conv1d wants (F, E, window).
            matrix = kernel.detach().view(convolution.kernel_size[0], embedding, -1)
            convolution.weight.data.copy_(matrix.permute(2, 1, 0))
            convolution.bias.data.copy_(bias)
        self.transform, self.gate = nn.Linear(width, width), nn.Linear(width, width)
        for linear, part in ((self.transform, slice(None, width)), (self.gate, slice(width, None))):
            linear.weight.data.copy_(original.highway.weight.detach()[part])
            linear.bias.data.copy_(original.highway.bias.detach()[part])
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, 2)
        self.output.load_state_dict(original.output.state_dict())

    def forward(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Log-odds of the class real in the two-way softmax."""
        embedded = (self.embedding(tokens) * mask.unsqueeze(2)).transpose(1, 2)
        pooled = []
        for convolution in self.convolutions:
            missing = convolution.kernel_size[0] - tokens.shape[1]
            extended = nn.functional.pad(embedded, (0, max(0, missing)))
            pooled.append(torch.relu(convolution(extended)).max(dim=2).values)
        features = torch.cat(pooled, dim=1)
        gate = torch.sigmoid(self.gate(features))
        mixed = gate * torch.relu(self.transform(features)) + (1 - gate) * features
        logprobs = torch.log_softmax(self.output(self.dropout(mixed)), dim=1)
        return logprobs[:, 1] - logprobs[:, 0]


def leave_one_out(rewards: list[float]) -> list[float]:
    """Advantages R_i - mean of the other R_j (RLOO)."""
    total = sum(rewards)
    return [reward - (total - reward) / (len(rewards) - 1) for reward in rewards]
