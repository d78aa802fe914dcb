"""Settings of a model of `transformers`: random weights of which sizes, and which weights are trained."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from rlgan.base.errors import ConfigError
from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.base.settings import Settings

_ROTARY = ("llama", "qwen2")


class FreshModel(Settings):
    """A new model with random weights and an architecture of transformers."""

    owner: ClassVar[str]
    """Setting that owns these weights, for messages."""
    kind: Literal["fresh"] = "fresh"
    architecture: str
    """Architecture of the layers."""
    width: Annotated[int, Choice((64, 128, 256))] = Field(256, ge=2)
    """Width of the token embedding and of every layer."""
    layers: Annotated[int, Choice((2, 4, 6))] = Field(4, ge=1)
    """Number of layers."""
    heads: Annotated[int, NotSearched("its multiples must divide the width")] = Field(4, ge=1)
    """Number of attention heads. It must divide the width."""
    key_value_heads: Annotated[int | None, NotSearched("must divide the heads")] = Field(None, ge=1)
    """Number of key and value heads for grouped-query attention; null for as many as heads."""
    expansion: Annotated[int, NotSearched("4 everywhere since 2017")] = Field(4, ge=1)
    """Width of the feed-forward layer divided by the width of the model."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.0, ge=0.0, lt=1.0)
    """Dropout in training, of a generator in pretraining alone. BERT and GPT-2: on embeddings, attention and residual
    branches; others: on attention only."""

    @model_validator(mode="after")
    def _sizes_fit_together(self) -> FreshModel:
        own = f"{self.owner}.weights"
        if self.width % self.heads:
            raise ConfigError(
                f"{own}.width={self.width}: is not a multiple of {own}.heads={self.heads}. Use a multiple.",
                code="width_not_divided",
                fields={f"{own}.width": self.width, f"{own}.heads": self.heads},
            )
        if self.architecture in _ROTARY and (self.width // self.heads) % 2:
            raise ConfigError(
                (
                    f"{own}.heads={self.heads}: gives heads of width {self.width // self.heads}, but rotary positions "
                    "need an even width per head. Use another number of heads, or another width."
                ),
                code="rotary_width_odd",
                fields={f"{own}.heads": self.heads},
            )
        if self.key_value_heads is not None and self.architecture not in _ROTARY:
            raise ConfigError(
                (
                    f"{own}.key_value_heads={self.key_value_heads}: has no effect on {self.architecture}, which has as "
                    "many as heads. Remove it."
                ),
                code="no_key_value_heads",
                fields={f"{own}.key_value_heads": self.key_value_heads},
            )
        if self.heads % (self.key_value_heads or self.heads):
            raise ConfigError(
                f"{own}.key_value_heads={self.key_value_heads}: does not divide {own}.heads={self.heads}. Use a "
                "divisor.",
                code="key_value_heads_not_divisor",
                fields={f"{own}.key_value_heads": self.key_value_heads, f"{own}.heads": self.heads},
            )
        return self


class FreshWeights(FreshModel):
    """A new language model with random weights."""

    owner: ClassVar[str] = "generator"
    architecture: Annotated[Literal["gpt2", "llama", "qwen2"], Choice(("gpt2", "llama", "qwen2"))] = "llama"
    """Architecture: GPT-2 (learned positions, layer norm), Llama, or Qwen2 (rotary positions, RMS norm, gated
    layers)."""
    tied: Annotated[bool, Choice((True, False))] = True
    """Whether the output layer shares its weights with the embedding (Press & Wolf 2017)."""
    positions: Annotated[int | None, NotSearched("a limit of what is read")] = Field(None, ge=1)
    """Maximum number of tokens that the model reads, prompt and completion together; null for as many as the task has.
    Set it for a model that will be trained on longer sequences later."""


class FreshClassifier(FreshModel):
    """A new classifier with random weights, which reads the tokens of the task."""

    owner: ClassVar[str] = "discriminator"
    architecture: Annotated[Literal["bert", "gpt2", "llama", "qwen2"], Choice(("bert", "gpt2", "llama", "qwen2"))] = (
        "bert"
    )
    """Architecture: BERT, which attends in both directions, or a causal language model: GPT-2, Llama, or Qwen2."""


class WholeModel(Settings):
    """Train all weights."""

    kind: Literal["whole"] = "whole"


class LoRA(Settings):
    """Train low-rank adapters only (Hu et al. 2021): W + (alpha / rank)·B·A, with trained A and B and frozen W."""

    kind: Literal["lora"] = "lora"
    rank: Annotated[int, Choice((4, 8, 16, 32))] = Field(16, ge=1)
    """Rank of the adapters: the number of rows of A."""
    alpha: Annotated[float | None, NotSearched("has the effect of a learning rate")] = Field(None, gt=0.0)
    """Scale of the adapters; their output is multiplied by alpha / rank. null for twice the rank."""
    dropout: Annotated[float, Uniform(0.0, 0.3)] = Field(0.0, ge=0.0, lt=1.0)
    """Dropout on the input of A, in pretraining."""
    targets: Annotated[tuple[str, ...], NotSearched("depends on the model")] = ()
    """Names of the layers with an adapter, such as q_proj and v_proj; [] for all linear layers except the output
    layer."""


TrainedPart = Annotated[WholeModel | LoRA, Field(discriminator="kind")]
"""Which weights of a model are trained."""
