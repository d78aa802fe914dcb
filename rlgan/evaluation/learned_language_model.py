"""LM and reverse-LM scores by recurrent models that are trained from nothing (docs/metrics.md).

    LM  = -(1/tokens) Σ log p_LM(samples)    p_LM learned the training split                            quality
    RLM = -(1/tokens) Σ log p_S(test split)  p_S learned the samples, and nothing else      quality and diversity

An unknown token in samples has the least probability that any token has in its place, whatever the model has learned of
unknown tokens; those of the test split, which nobody can predict, are left out of RLM.

Each model is the best on the validation split among those of all passes. They see dependencies that an n-gram model
has no room for; that one costs no training and is measured throughout a run (`metrics/language_model.py`).

Source: Caccia et al. 2020, section 4 and appendix; theirs are two layers of 512 with dropout ½, Adam 1e-3.

n sequences, T positions
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol

import torch
from pydantic import Field, model_validator
from torch import Tensor

from rlgan.base.declarations import Fields
from rlgan.base.errors import ConfigError
from rlgan.base.problems import Problem
from rlgan.base.seeding import global_stream, stream
from rlgan.base.settings import Settings
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.generators import LSTM, AutoregressiveGenerator, build_generator
from rlgan.layers.early_stopping import best_of_passes
from rlgan.layers.optimizers import Adam, OptimizerSettings, build_optimizer, clip_gradients
from rlgan.metrics import mean_nll
from rlgan.metrics.quantity import Quantity

_STREAM = "language model"
_BATCH = 128  # sequences that are scored at once
_BATCH_OF_LOGITS = 8  # of which all (T, V) logits are held

QUANTITIES = (
    Quantity("lm_lstm", "NLL of samples, LSTM of text", "nats/token", "lower", side="quality", is_key=True),
    Quantity(
        "rlm_lstm", "NLL of held-out text, LSTM of samples", "nats/token", "lower", "samples", "coverage", is_key=True
    ),
    Quantity("lm_lstm_matched", "lm_lstm at the lengths of real text", "nats/token", "lower", is_key=True),
)
"""Facts of the figures of this module."""


class LearnedLanguageModel(Settings):
    """An LSTM that is trained from scratch for each metric."""

    kind: Literal["learned_language_model"] = "learned_language_model"
    network: LSTM = LSTM(embedding=128, hidden=256, dropout=0.5)
    """Network of the language model; metrics from different networks are not comparable."""
    optimizer: OptimizerSettings = Adam(lr=2e-3, clip_norm=5.0)
    """Optimiser of the language model."""
    batch: int = Field(64, ge=1)
    """Sequences per minibatch."""
    epochs: int = Field(40, ge=1)
    """Maximum number of epochs."""
    patience: int = Field(2, ge=1)
    """Early stopping: number of epochs without a lower NLL of the validation split; the best weights are used."""

    @model_validator(mode="after")
    def _check(self) -> LearnedLanguageModel:
        if self.network.pretrained.reads_file:
            raise ConfigError(
                f"network.pretrained={self.network.pretrained.kind!r}: this model learns from its sequences only. "
                "Set it to none.",
                code="learned_model_pretrained",
                fields={"network.pretrained": self.network.pretrained.kind},
            )
        return self

    def check(self, fields: Fields) -> Iterator[Problem]:
        """There is text to learn."""
        if not {"text", "references"} & set(fields.task.measures):
            yield Problem(
                "language_model_without_text",
                {"evaluation.language_model": self.kind},
                f"is trained on text, but task={fields.task.kind!r} has none. Set it to none.",
            )


class HeldOutNll(Protocol):
    """A language model that has learned."""

    def __call__(self, tokens: Tensor, counts_unknown: bool = True) -> float:
        """NLL in nats a token, terminators included.

        Args:
            tokens: (n, T) int64.
            counts_unknown: whether unknown tokens are among those of which it is the mean.
        """
        ...


def learned_from(
    settings: LearnedLanguageModel, space: SequenceSpace, train: Tensor, valid: Tensor, seed: int
) -> HeldOutNll:
    """A language model of sequences, trained from nothing and always with the same random numbers.

    Args:
        settings: network, optimiser, and when to stop.
        space: of the sequences.
        train: (n, T) integer, padded: what it learns.
        valid: (n', T) integer, padded: what it stops by.
        seed: of the run.

    Raises:
        FloatingPointError: a gradient, or the NLL of `valid` after every pass, is not finite.
    """
    with global_stream(seed, _STREAM, "initial"):
        network = build_generator(settings.network, space)
    optimizer = build_optimizer(settings.optimizer, network.parameters())
    rng = stream(seed, _STREAM, "batches")

    def nll(tokens: Tensor, counts_unknown: bool = True) -> float:
        logprobs, mask = _logprobs(network, tokens), sequence_mask(space, tokens)
        if space.unknown_id is not None:
            is_unknown = (tokens == space.unknown_id) & mask
            if not counts_unknown:
                mask = mask & ~is_unknown
            else:
                _take_the_least(network, tokens, is_unknown, logprobs)
        return mean_nll(logprobs, mask)

    def learn() -> None:
        network.train()
        for rows in torch.randperm(len(train), generator=rng).split(settings.batch):
            tokens = train[rows].long()
            mask = sequence_mask(space, tokens)
            optimizer.zero_grad()
            (-(network.logprobs(tokens) * mask).sum() / mask.sum()).backward()
            clip_gradients(network.parameters(), settings.optimizer.clip_norm)
            optimizer.step()

    def judged() -> tuple[dict[str, Tensor], float]:
        # How well it has learned is of what it has learned, unknown tokens as they are.
        own = mean_nll(_logprobs(network, valid), sequence_mask(space, valid))
        return {name: value.clone() for name, value in network.state_dict().items()}, own

    with global_stream(seed, _STREAM, "dropout"):
        best = best_of_passes(learn, judged, epochs=settings.epochs, patience=settings.patience)
    network.load_state_dict(best)
    return nll


@torch.no_grad()
def _logprobs(network: AutoregressiveGenerator, tokens: Tensor) -> Tensor:
    """(n, T) log-probability of each token given its prefix, without dropout."""
    network.eval()
    return torch.cat([network.logprobs(part.long()) for part in tokens.split(_BATCH)])


@torch.no_grad()
def _take_the_least(network: AutoregressiveGenerator, tokens: Tensor, is_unknown: Tensor, logprobs: Tensor) -> None:
    """Put the least log-probability of any token in the place of those of unknown ones."""
    network.eval()
    for rows in is_unknown.any(1).nonzero().squeeze(1).split(_BATCH_OF_LOGITS):
        least = torch.log_softmax(network.logits(tokens[rows].long()), 2).amin(2)
        logprobs[rows] = torch.where(is_unknown[rows], least, logprobs[rows])
