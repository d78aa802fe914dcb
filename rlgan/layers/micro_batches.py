"""A batch in parts that fit into memory: gradients of the parts add up to that of the batch.

B rows, K parts of a row that are padded each by itself (a prompt, a sequence)
"""

from __future__ import annotations

import torch
from torch import Tensor


def micro_batches(lengths: Tensor, most_tokens: int) -> list[Tensor]:
    """Which rows are computed together, so that no part has more tokens than allowed, padding included.

    A part of n rows has n · Σ_k max lengths[rows, k] tokens. Rows of like length stand together, the longest first, so
    that little is padding and the greatest part comes first. A row that alone has more tokens is a part of its own.

    Args:
        lengths: (B, K) int64 tokens of each row.
        most_tokens: of a part.

    Returns:
        (n,) int64 row numbers of each part: all rows, each once; in their order where one part holds all.
    """
    number = len(lengths)
    if number * int(lengths.amax(0).sum()) <= most_tokens:
        return [torch.arange(number)]
    lengths = lengths.cpu()
    order = torch.argsort(lengths.sum(1), descending=True, stable=True)
    parts: list[Tensor] = []
    first, longest = 0, lengths[order[0]]
    for place in range(1, number):
        longer = torch.maximum(longest, lengths[order[place]])
        if (place + 1 - first) * int(longer.sum()) > most_tokens:
            parts.append(order[first:place])
            first, longest = place, lengths[order[place]]
        else:
            longest = longer
    return [*parts, order[first:]]
