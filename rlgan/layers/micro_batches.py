"""A batch in parts that fit into memory: gradients of the parts add up to that of the batch.

A loss that is a sum over rows is a sum over parts. Any other one (of pairs, of means over classes) is a function of an
output a row, and its gradient is brought back in two passes (GradCache, Gao et al. 2021, arXiv 2101.06983):

    u = f_w(x), part by part, nothing kept;  g = dL/du, of the whole batch;  dL/dw = Σ_parts gᵀ du/dw, part by part

B rows, K parts of a row that are padded each by itself (a prompt, a sequence), M outputs side by side
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

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


class InParts:
    """Outputs of all rows, whose gradient is brought back part by part.

    A part is computed twice with the same random numbers, so that the same weights are dropped.

    Args:
        compute: outputs (M, n, ...) of n rows by their numbers (n,), none of which depends on other rows.
        parts: row numbers of each part; all rows, each once. One part alone is computed once, and keeps its graph.

    Attributes:
        outputs: (M, B, ...), of all rows in order; what is computed of them is differentiated before `backward`.
    """

    def __init__(self, compute: Callable[[Tensor], Tensor], parts: Sequence[Tensor]) -> None:
        self._compute, self._parts = compute, parts
        self._random: list[list[Tensor]] = []
        if len(parts) == 1:
            self.outputs = compute(parts[0])
            return
        found = []
        with torch.no_grad():
            for part in parts:
                self._random.append(_random_state())
                found.append(compute(part))
        place = torch.argsort(torch.cat(list(parts)))
        self.outputs = torch.cat(found, 1)[:, place.to(found[0].device)].requires_grad_()

    def backward(self) -> None:
        """Add what the outputs' gradient is of the weights to theirs."""
        if len(self._parts) == 1:
            return
        assert self.outputs.grad is not None
        for part, state in zip(self._parts, self._random, strict=True):
            with _replayed(state):
                outputs = self._compute(part)
            outputs.backward(self.outputs.grad[:, part.to(outputs.device)])


def _random_state() -> list[Tensor]:
    """Of torch's global random numbers, on the CPU and on all GPUs that are in use."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *gpus]


@contextmanager
def _replayed(state: list[Tensor]) -> Iterator[None]:
    """Within the block the random numbers of a state come again; behind it, those that would have come."""
    with torch.random.fork_rng(devices=range(len(state) - 1)):
        torch.set_rng_state(state[0])
        if len(state) > 1:
            torch.cuda.set_rng_state_all(state[1:])
        yield
