"""Rollouts around given sequences."""

from __future__ import annotations

import torch
from torch import Tensor

from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.sampling.records import Rollouts


def drawn_in(
    space: SequenceSpace,
    tokens: Tensor,
    real_logits: Tensor | None = None,
    scores: Tensor | None = None,
    logprobs: Tensor | None = None,
    mask: Tensor | None = None,
) -> Rollouts:
    """Sequences as they come from the workers, judged by nobody but as given."""
    return Rollouts(
        tokens=tokens,
        logprobs=torch.zeros(tokens.shape) if logprobs is None else logprobs,
        mask=sequence_mask(space, tokens) if mask is None else mask,
        real_logits=real_logits,
        token_logits=None,
        continuation_logits=None,
        reference_logprobs=None,
        generator_version=0,
        discriminator_version=None,
        prefix_length=0,
        num_drawn=tokens.numel(),
        scores=scores,
    )
