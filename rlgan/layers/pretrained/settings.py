"""Settings of a model of `transformers`: random weights of which sizes, and which weights are trained."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from rlgan.base.errors import ConfigError
from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.base.settings import Settings

_ROTARY = ("llama", "qwen2")


class FreshModel(Settings):
    """A new model with random weights, of an architecture that transformers knows."""

    owner: ClassVar[str]
    """Setting of the network that they are of, for messages."""
    kind: Literal["fresh"] = "fresh"
    architecture: str
    """Which layers it is made of."""
    width: Annotated[int, Choice((64, 128, 256))] = Field(256, ge=2)
    """Width of the token embedding and of every layer."""
    layers: Annotated[int, Choice((2, 4, 6))] = Field(4, ge=1)
    """Number of layers."""
    heads: Annotated[int, NotSearched("its multiples must divide the width")] = Field(4, ge=1)
    """Attention heads, which share the width."""
    key_value_heads: Annotated[int | None, NotSearched("must divide the heads")] = Field(None, ge=1)
    """Heads of keys and values, each of which several heads of queries share; null for as many as heads."""
    expansion: Annotated[int, NotSearched("4 everywhere since 2017")] = Field(4, ge=1)
    """Width of the feed-forward part over that of the layer."""
    dropout: Annotated[float, Uniform(0.0, 0.5)] = Field(0.0, ge=0.0, lt=1.0)
    """Dropout while it learns, of a generator in pretraining: of BERT and GPT-2 on the embedding, on attention and on
    what each part adds; else on attention."""

    @model_validator(mode="after")
    def _sizes_fit_together(self) -> FreshModel:
        own = f"{self.owner}.weights"
        if self.width % self.heads:
            raise ConfigError(f"{own}.width={self.width}: is not divided by {own}.heads={self.heads}. Use a multiple.")
        if self.architecture in _ROTARY and (self.width // self.heads) % 2:
            raise ConfigError(
                f"{own}.heads={self.heads}: leaves {self.width // self.heads} numbers a head, and rotary positions "
                "need an even number. Use another number of heads, or another width."
            )
        if self.key_value_heads is not None and self.architecture not in _ROTARY:
            raise ConfigError(
                f"{own}.key_value_heads={self.key_value_heads}: has no effect on {self.architecture}, where it is "
                "heads. Leave it out."
            )
        if self.heads % (self.key_value_heads or self.heads):
            raise ConfigError(
                f"{own}.key_value_heads={self.key_value_heads}: does not divide {own}.heads={self.heads}. Use a "
                "divisor."
            )
        return self


class FreshWeights(FreshModel):
    """A new language model with random weights."""

    owner: ClassVar[str] = "generator"
    architecture: Annotated[Literal["gpt2", "llama", "qwen2"], Choice(("gpt2", "llama", "qwen2"))] = "llama"
    """GPT-2 (learned positions, layer norm), Llama, or Qwen2 (rotary positions, RMS norm, gated layers)."""
    tied: Annotated[bool, Choice((True, False))] = True
    """The output layer is the embedding (Press & Wolf 2017)."""


class FreshClassifier(FreshModel):
    """A new classifier with random weights, which reads the tokens of the task."""

    owner: ClassVar[str] = "discriminator"
    architecture: Annotated[Literal["bert", "gpt2", "llama", "qwen2"], Choice(("bert", "gpt2", "llama", "qwen2"))] = (
        "bert"
    )
    """BERT (every token sees all others), or a language model in which a token sees those before it: GPT-2, Llama,
    Qwen2."""


class WholeModel(Settings):
    """All weights are trained."""

    kind: Literal["whole"] = "whole"


class LoRA(Settings):
    """Low-rank adapters (Hu et al. 2021): W + (alpha / rank)·B·A, of which only A and B are trained."""

    kind: Literal["lora"] = "lora"
    rank: Annotated[int, Choice((4, 8, 16, 32))] = Field(16, ge=1)
    """Rows of A."""
    alpha: Annotated[float | None, NotSearched("is a learning rate under another name")] = Field(None, gt=0.0)
    """Scale of what is added, over the rank; null for twice the rank."""
    dropout: Annotated[float, Uniform(0.0, 0.3)] = Field(0.0, ge=0.0, lt=1.0)
    """Dropout on what A reads, in pretraining."""
    targets: Annotated[tuple[str, ...], NotSearched("names of the model at hand")] = ()
    """Names of the layers that get an adapter, for instance q_proj and v_proj; [] for every linear layer but the
    output's."""


TrainedPart = Annotated[WholeModel | LoRA, Field(discriminator="kind")]
"""Which weights of a model are trained."""
