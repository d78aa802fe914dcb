"""LM and reverse-LM scores by recurrent models that are trained from nothing (specification 17.5).

    LM  = -(1/tokens) Σ log p_LM(samples)    p_LM learned the training split                            quality
    RLM = -(1/tokens) Σ log p_S(test split)  p_S learned the samples, and nothing else      quality and diversity

Each model is the best on the validation split among those of all passes. They see dependencies that an n-gram model
has no room for; that one costs no training and is measured throughout a run (`metrics/language_model.py`).

Source: Caccia et al. 2020, section 4 and appendix; theirs are two layers of 512 with dropout ½, Adam 1e-3.

n sequences, T positions
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from rlgan.envs.errors import ConfigError
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.settings import Settings
from rlgan.envs.transition import sequence_mask

from .early_stopping import best_of_passes
from .embeddings import NoPretrained
from .generators import LSTM, build_generator
from .metrics import mean_nll
from .optimizers import Adam, OptimizerSettings, build_optimizer, clip_gradients
from .seeding import global_stream, stream

_STREAM = "language model"
_BATCH = 128  # sequences that are scored at once


class LearnedLanguageModel(Settings):
    """An LSTM that is trained from nothing for each figure."""

    kind: Literal["learned_language_model"] = "learned_language_model"
    network: LSTM = LSTM(embedding=128, hidden=256, dropout=0.5)
    """Its network; figures of two networks are not comparable."""
    optimizer: OptimizerSettings = Adam(lr=2e-3, clip_norm=5.0)
    """Its optimiser."""
    batch: int = Field(64, ge=1)
    """Sequences a minibatch."""
    epochs: int = Field(40, ge=1)
    """Most passes over what it learns from."""
    patience: int = Field(2, ge=1)
    """Passes without a lower NLL of the validation split after which it stops; the best is kept."""

    @model_validator(mode="after")
    def _check(self) -> LearnedLanguageModel:
        if not isinstance(self.network.pretrained, NoPretrained):
            raise ConfigError(
                f"network.pretrained={self.network.pretrained.kind!r}: it learns from its sequences alone. Set it to "
                "none."
            )
        return self


HeldOutNll = Callable[[Tensor], float]
"""NLL of sequences (n, T), in nats a token, terminators included."""


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

    def nll(tokens: Tensor) -> float:
        network.eval()
        with torch.no_grad():
            parts = [network.logprobs(part.long()) for part in tokens.split(_BATCH)]
        return mean_nll(torch.cat(parts), sequence_mask(space, tokens))

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
        return {name: value.clone() for name, value in network.state_dict().items()}, nll(valid)

    with global_stream(seed, _STREAM, "dropout"):
        best = best_of_passes(learn, judged, epochs=settings.epochs, patience=settings.patience)
    network.load_state_dict(best)
    return nll
