"""Networks as a user writes them: a file of the user's own, right ones and wrong ones."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Gru(nn.Module):
    """Embedding, GRU, linear output; nothing else: it is drawn from by reading each prefix anew."""

    def __init__(self, space, width=8, dropout=0.0):
        super().__init__()
        self.embedding = nn.Embedding(space.vocab_size, width)
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.output = nn.Linear(width, space.vocab_size)

    def forward(self, tokens):
        return self.output(self.dropout(self.gru(self.dropout(self.embedding(tokens)))[0]))


class SteppingGru(Gru):
    """The same, drawn from step by step."""

    def start(self, num_rows):
        return (self.output.weight.new_zeros(num_rows, self.gru.hidden_size),)

    def step(self, state, tokens):
        features, hidden = self.gru(self.embedding(tokens).unsqueeze(1), state[0].unsqueeze(0).contiguous())
        return self.output(features.squeeze(1)), (hidden.squeeze(0),)


class SoftGru(Gru):
    """The same, which reads distributions in the place of tokens."""

    reads_soft_rows = True

    def forward(self, tokens):
        embedded = tokens @ self.embedding.weight if tokens.is_floating_point() else self.embedding(tokens)
        return self.output(self.gru(embedded)[0])


class Answering(nn.Module):
    """Writes under a condition: its mean embedding is added to each input."""

    def __init__(self, space, width=8):
        super().__init__()
        self.source = nn.Embedding(space.condition.vocab_size, width)
        self.embedding = nn.Embedding(space.vocab_size, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.output = nn.Linear(width, space.vocab_size)

    def forward(self, tokens, conditions):
        summary = self.source(conditions).mean(1, keepdim=True)
        return self.output(self.gru(self.embedding(tokens) + summary)[0])


class SteppingAnswering(Answering):
    """The same step by step."""

    def start(self, conditions):
        summary = self.source(conditions).mean(1)
        return (torch.zeros_like(summary), summary)

    def step(self, state, tokens):
        hidden, summary = state
        features, hidden = self.gru((self.embedding(tokens) + summary).unsqueeze(1), hidden.unsqueeze(0).contiguous())
        return self.output(features.squeeze(1)), (hidden.squeeze(0), summary)


def small_gru(space, width=4) -> Gru:
    """A function that says what it makes."""
    return Gru(space, width=width)


class Peeking(Gru):
    """Not causal: the mean over all positions is added."""

    def forward(self, tokens):
        features = self.gru(self.embedding(tokens))[0]
        return self.output(features + features.mean(1, keepdim=True))


class Normed(Gru):
    """Depends on the batch, in evaluation mode too."""

    def forward(self, tokens):
        logits = super().forward(tokens)
        return logits - logits.mean(0, keepdim=True)


class Nan(Gru):
    def forward(self, tokens):
        return super().forward(tokens) * float("nan")


class Short(Gru):
    def forward(self, tokens):
        return super().forward(tokens)[:, :-1]


class Noisy(Gru):
    def forward(self, tokens):
        logits = super().forward(tokens)
        return logits + torch.randn_like(logits)


class Loud(Gru):
    """Dropout by hand that nobody can switch off, in training mode or out of it."""

    def forward(self, tokens):
        return functional.dropout(super().forward(tokens), 0.5)


class Idle(Gru):
    """A parameter that takes no part."""

    def __init__(self, space):
        super().__init__(space)
        self.spare = nn.Linear(2, 2)


class Forgetful(Gru):
    """Computes with numbers that its state_dict does not have."""

    def __init__(self, space):
        super().__init__(space)
        self.register_buffer("offset", torch.randn(space.vocab_size), persistent=False)

    def forward(self, tokens):
        return super().forward(tokens) + self.offset


class Raising(Gru):
    def forward(self, tokens):
        raise RuntimeError("no such layer")  # the line that is shown


class Unbuildable(Gru):
    def __init__(self, space):
        raise KeyError("width")


class WrongStep(SteppingGru):
    """Its steps are those of another network than its forward."""

    def step(self, state, tokens):
        logits, state = super().step(state, tokens)
        return logits.flip(1), state


class Fixed(Answering):
    """Reads a condition and does not care."""

    def forward(self, tokens, conditions):
        return self.output(self.gru(self.embedding(tokens))[0] + 0.0 * self.source(conditions).mean(1, keepdim=True))


class NoSpace(nn.Module):
    def __init__(self, width=3):
        super().__init__()

    def forward(self, tokens):
        return tokens


class OtherParameters(Gru):
    def forward(self, inputs, mask):
        return inputs


class HalfSteps(Gru):
    def step(self, state, tokens):
        return state


def unannotated(space):
    return Gru(space)


class Bag(nn.Module):
    """Discriminator: the mean embedding of the real tokens."""

    reads_soft_rows = True

    def __init__(self, space, width=6):
        super().__init__()
        self.embedding = nn.Embedding(space.vocab_size, width)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Dropout(0.2), nn.Linear(width, 1))

    def forward(self, tokens, mask):
        embedded = tokens @ self.embedding.weight if tokens.is_floating_point() else self.embedding(tokens)
        mean = (embedded * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True)
        return self.layers(mean).squeeze(1)


class HardBag(Bag):
    """The same, which reads tokens alone."""

    reads_soft_rows = False

    def forward(self, tokens, mask):
        return super().forward(tokens.long(), mask)


class TokenJudge(nn.Module):
    """Discriminator with a logit for every token."""

    granularity = "token"

    def __init__(self, space, width=6):
        super().__init__()
        self.embedding = nn.Embedding(space.vocab_size, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.output = nn.Linear(width, 1)

    def forward(self, tokens, mask):
        return self.output(self.gru(self.embedding(tokens))[0]).squeeze(2)


class PairBag(nn.Module):
    """Discriminator of pairs."""

    def __init__(self, space, width=6):
        super().__init__()
        self.source = nn.Embedding(space.condition.vocab_size, width)
        self.embedding = nn.Embedding(space.vocab_size, width)
        self.output = nn.Linear(width, 1)

    def forward(self, tokens, mask, conditions):
        mean = (self.embedding(tokens) * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True)
        return self.output(torch.tanh(mean * self.source(conditions).mean(1))).squeeze(1)


class ReadsPadding(Bag):
    def forward(self, tokens, mask):
        return super().forward(tokens, torch.ones_like(mask))


class Square(Bag):
    """(B, 1) in the place of (B,)."""

    def forward(self, tokens, mask):
        return super().forward(tokens, mask).unsqueeze(1)


class Peeping(TokenJudge):
    """Judges a token by the one behind it, too."""

    def forward(self, tokens, mask):
        logits = super().forward(tokens, mask) * mask
        return logits + logits.roll(-1, 1)


class Word(Bag):
    granularity = "word"
