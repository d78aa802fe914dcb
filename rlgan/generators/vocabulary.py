"""Log-probabilities of given tokens from features, without ever holding all logits.

Learning by likelihood at a vocabulary of thousands spends its time on (rows, V) matrices that are written and read:
logits, their softmax, their gradient. Here rows go through in chunks that stay in cache; forward keeps one normaliser
a row, backward computes the chunk's logits again. That is one more matrix product and less than half of the time.
Rows of which nothing is asked, since their gradient is 0, cost nothing there.

    R rows, H features, V vocabulary
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

_CHUNK_ROWS = 128
_TO_LOG2 = 1.0 / math.log(2.0)  # exp2 costs half of exp


def token_logprobs(features: Tensor, weight: Tensor, bias: Tensor, tokens: Tensor) -> Tensor:
    """Log softmax(features · weightᵀ + bias) at the given tokens; differentiable once.

    Args:
        features: (R, H) float32.
        weight: (V, H) float32.
        bias: (V,) float32.
        tokens: (R,) int64.

    Returns:
        (R,) float32, nats.
    """
    result: Tensor = _TokenLogprobs.apply(features, weight, bias, tokens)
    return result


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, tokens: Tensor) -> Tensor:
        scaled_bias, columns = bias * _TO_LOG2, weight.T
        normaliser = features.new_empty(features.shape[0])
        chosen = torch.empty_like(normaliser)
        buffer = features.new_empty(min(_CHUNK_ROWS, features.shape[0]), weight.shape[0])
        for rows in _chunks(features.shape[0]):
            logits = _log2_logits(features[rows], columns, scaled_bias, buffer)
            chosen[rows] = logits.gather(1, tokens[rows].unsqueeze(1)).squeeze(1)
            greatest = logits.amax(1, keepdim=True)
            normaliser[rows] = logits.sub_(greatest).exp2_().sum(1).log2_().add_(greatest.squeeze(1))
        ctx.save_for_backward(features, weight, bias, tokens, normaliser)
        return (chosen - normaliser) / _TO_LOG2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        features, weight, bias, tokens, normaliser = ctx.saved_tensors
        # Padding is masked by whoever asked, and often half of the rows.
        counted = gradient.nonzero().squeeze(1)
        if counted.shape[0] == gradient.shape[0]:
            return *_gradients(weight, bias, features, tokens, normaliser, gradient), None
        parts = (part[counted] for part in (features, tokens, normaliser, gradient))
        of_features, of_weight, of_bias = _gradients(weight, bias, *parts)
        return torch.zeros_like(features).index_copy_(0, counted, of_features), of_weight, of_bias, None


def _gradients(
    weight: Tensor, bias: Tensor, features: Tensor, tokens: Tensor, normaliser: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of features, weight and bias."""
    scaled_bias, columns = bias * _TO_LOG2, weight.T
    features_gradient = torch.empty_like(features)
    # The bias is one more feature that is always 1: its gradient comes with the weight's.
    with_one = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
    weight_gradient = features.new_zeros(weight.shape[0], weight.shape[1] + 1)
    buffer = features.new_empty(min(_CHUNK_ROWS, features.shape[0]), weight.shape[0])
    for rows in _chunks(features.shape[0]):
        # d log p(token) / d logits = onehot(token) - softmax
        logits = _log2_logits(features[rows], columns, scaled_bias, buffer)
        probs = logits.sub_(normaliser[rows].unsqueeze(1)).exp2_()
        logits_gradient = probs.mul_(-gradient[rows].unsqueeze(1))
        logits_gradient.scatter_add_(1, tokens[rows].unsqueeze(1), gradient[rows].unsqueeze(1))
        torch.mm(logits_gradient, weight, out=features_gradient[rows])
        weight_gradient.addmm_(logits_gradient.T, with_one[rows])
    return features_gradient, weight_gradient[:, :-1], weight_gradient[:, -1]


def _chunks(num_rows: int) -> list[slice]:
    return [slice(first, min(first + _CHUNK_ROWS, num_rows)) for first in range(0, num_rows, _CHUNK_ROWS)]


def _log2_logits(features: Tensor, columns: Tensor, scaled_bias: Tensor, buffer: Tensor) -> Tensor:
    """Logits in units of log 2, written into the buffer."""
    return torch.addmm(scaled_bias, features, columns, alpha=_TO_LOG2, out=buffer[: features.shape[0]])
