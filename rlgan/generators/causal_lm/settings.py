"""Settings of a causal language model: where its weights come from, and which of them are trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from rlgan.base.declarations import Fields
from rlgan.base.errors import ConfigError
from rlgan.base.pretrained import HubModel, ModelFolder
from rlgan.base.problems import Problem
from rlgan.base.search_priors import Choice, NotSearched, Uniform
from rlgan.base.settings import Settings
from rlgan.generators.generator import GeneratorKind

from .model_config import causal_config

Architecture = Literal["gpt2", "llama", "qwen2"]


class FreshWeights(Settings):
    """A new model with random weights, of an architecture that transformers knows."""

    kind: Literal["fresh"] = "fresh"
    architecture: Annotated[Architecture, Choice(("gpt2", "llama", "qwen2"))] = "llama"
    """GPT-2 (learned positions, layer norm), Llama, or Qwen2 (rotary positions, RMS norm, gated layers)."""
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
    """Dropout in pretraining: of GPT-2 on the embedding, on attention and on what each part adds; else on attention."""
    tied: Annotated[bool, Choice((True, False))] = True
    """The output layer is the embedding (Press & Wolf 2017)."""

    @model_validator(mode="after")
    def _sizes_fit_together(self) -> FreshWeights:
        if self.width % self.heads:
            raise ConfigError(
                f"generator.weights.width={self.width}: is not divided by generator.weights.heads={self.heads}. Use a "
                "multiple."
            )
        if self.architecture != "gpt2" and (self.width // self.heads) % 2:
            raise ConfigError(
                f"generator.weights.heads={self.heads}: leaves {self.width // self.heads} numbers a head, and rotary "
                "positions need an even number. Use another number of heads, or another width."
            )
        if self.key_value_heads is not None and self.architecture == "gpt2":
            raise ConfigError(
                f"generator.weights.key_value_heads={self.key_value_heads}: has no effect on GPT-2, which has as many "
                "as heads. Leave it out."
            )
        if self.heads % (self.key_value_heads or self.heads):
            raise ConfigError(
                f"generator.weights.key_value_heads={self.key_value_heads}: does not divide generator.weights.heads="
                f"{self.heads}. Use a divisor."
            )
        return self


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


class CausalLM(GeneratorKind):
    """A causal language model of the library transformers: it goes on from a prompt, or from nothing."""

    reads_conditions: ClassVar[bool] = True
    not_searched: ClassVar[NotSearched] = NotSearched("is the model at hand")
    kind: Literal["causal_lm"] = "causal_lm"
    weights: Annotated[
        Annotated[FreshWeights | ModelFolder | HubModel, Field(discriminator="kind")],
        NotSearched("is the model at hand"),
    ] = FreshWeights()
    """What it begins as: random weights, a folder, or a model of the hub."""
    training: Annotated[
        Annotated[WholeModel | LoRA, Field(discriminator="kind")], NotSearched("fits the memory at hand")
    ] = WholeModel()
    """Which weights are trained."""
    dtype: Annotated[Literal["float32", "bfloat16"], NotSearched("fits the machine at hand")] = "float32"
    """What matrices are multiplied in. Weights that are trained stay float32; with bfloat16 those that are not are
    kept in it, too."""
    checkpointing: Annotated[bool, NotSearched("changes no number")] = False
    """Whether activations of a layer are computed again for its gradient, and not kept: less memory, a third more
    time."""
    config: Annotated[dict[str, Any] | None, NotSearched("is the model at hand")] = None
    """The architecture as transformers writes it in config.json; filled in by rlgan when a run of a folder or a model
    of the hub begins, so that the run can be read without it."""

    def settled(self) -> CausalLM:
        """See `GeneratorKind`: with the architecture of its folder, or of the hub's model."""
        if self.config is not None or isinstance(self.weights, FreshWeights):
            return self
        return self.model_copy(update={"config": causal_config(self.weights)})

    @property
    def needs_conditions(self) -> bool:
        """See `GeneratorKind`: it goes on from nothing, too."""
        return False

    @model_validator(mode="after")
    def _config_has_effect(self) -> CausalLM:
        if self.config is not None and isinstance(self.weights, FreshWeights):
            raise ConfigError(
                "generator.config: has no effect with generator.weights='fresh', whose sizes are settings. Leave it "
                "out."
            )
        return self

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Prompts and sequences are of one alphabet, and of the model's own where it has one."""
        task = fields.task
        if task.gives_conditions and not task.has_prompts:
            yield Problem(
                "conditions_are_no_prompts",
                {"generator": self.kind},
                f"goes on from a prompt of the tokens that it writes, and what task={task.kind!r} gives has an "
                "alphabet of its own. Set task.vocabulary to shared, or use generator seq2seq_transformer.",
            )
        if not isinstance(self.weights, FreshWeights) and task.language_model is None:
            yield Problem(
                "tokens_are_not_the_models",
                {"generator.weights": self.weights.kind},
                f"has a vocabulary of its own, and task={task.kind!r} has other tokens. Use the task demonstrations "
                "with the same model, or set generator.weights to fresh.",
            )
