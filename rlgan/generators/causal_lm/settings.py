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
    """A new model with random weights and an architecture of transformers."""

    kind: Literal["fresh"] = "fresh"
    architecture: Annotated[Architecture, Choice(("gpt2", "llama", "qwen2"))] = "llama"
    """Architecture: GPT-2 (learned positions, layer norm), Llama, or Qwen2 (rotary positions, RMS norm, gated
    layers)."""
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
    """Dropout in pretraining. GPT-2: on embeddings, attention and residual branches; others: on attention only."""
    tied: Annotated[bool, Choice((True, False))] = True
    """Whether the output layer shares its weights with the embedding (Press & Wolf 2017)."""

    @model_validator(mode="after")
    def _sizes_fit_together(self) -> FreshWeights:
        if self.width % self.heads:
            raise ConfigError(
                (
                    f"generator.weights.width={self.width}: is not a multiple of generator.weights.heads={self.heads}. "
                    "Use a multiple."
                ),
                code="width_not_divided",
                fields={"generator.weights.width": self.width, "generator.weights.heads": self.heads},
            )
        if self.architecture != "gpt2" and (self.width // self.heads) % 2:
            raise ConfigError(
                (
                    f"generator.weights.heads={self.heads}: gives heads of width {self.width // self.heads}, but "
                    "rotary positions need an even width per head. Use another number of heads, or another width."
                ),
                code="rotary_width_odd",
                fields={"generator.weights.heads": self.heads},
            )
        if self.key_value_heads is not None and self.architecture == "gpt2":
            raise ConfigError(
                (
                    f"generator.weights.key_value_heads={self.key_value_heads}: has no effect on GPT-2, which has as "
                    "many as heads. Remove it."
                ),
                code="no_key_value_heads",
                fields={"generator.weights.key_value_heads": self.key_value_heads},
            )
        if self.heads % (self.key_value_heads or self.heads):
            raise ConfigError(
                f"generator.weights.key_value_heads={self.key_value_heads}: does not divide generator.weights.heads="
                f"{self.heads}. Use a divisor.",
                code="key_value_heads_not_divisor",
                fields={
                    "generator.weights.key_value_heads": self.key_value_heads,
                    "generator.weights.heads": self.heads,
                },
            )
        return self


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


class CausalLM(GeneratorKind):
    """A causal language model of the library transformers. It continues prompts, or generates text without a prompt."""

    reads_conditions: ClassVar[bool] = True
    not_searched: ClassVar[NotSearched] = NotSearched("depends on the model")
    kind: Literal["causal_lm"] = "causal_lm"
    weights: Annotated[
        Annotated[FreshWeights | ModelFolder | HubModel, Field(discriminator="kind")],
        NotSearched("depends on the model"),
    ] = FreshWeights()
    """Initial weights: random, from a folder, or from a model of the hub."""
    training: Annotated[
        Annotated[WholeModel | LoRA, Field(discriminator="kind")], NotSearched("depends on the available memory")
    ] = WholeModel()
    """Which weights are trained."""
    dtype: Annotated[Literal["float32", "bfloat16"], NotSearched("depends on the hardware")] = "float32"
    """Number type of matrix products. Trained weights stay float32; with bfloat16, frozen weights are stored in
    bfloat16."""
    checkpointing: Annotated[bool, NotSearched("changes no result")] = False
    """Whether to recompute the activations of a layer for its gradient instead of keeping them (gradient
    checkpointing). Saves memory; takes about a third more time."""
    config: Annotated[dict[str, Any] | None, NotSearched("depends on the model")] = None
    """The architecture as in the config.json of transformers. rlgan fills it in when a run with weights from a
    folder or the hub begins, so that the run can be read without that model."""

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
                (
                    "generator.config: has no effect with generator.weights='fresh', whose sizes are settings. Remove "
                    "it."
                ),
                code="no_config_of_fresh_weights",
            )
        return self

    def check(self, fields: Fields) -> Iterator[Problem]:
        """Prompts and sequences are of one alphabet, and of the model's own where it has one."""
        task = fields.task
        if task.gives_conditions and not task.has_prompts:
            yield Problem(
                "conditions_are_no_prompts",
                {"generator": self.kind},
                (
                    f"needs prompts in the vocabulary that it generates, but the conditions of task={task.kind!r} have "
                    "a vocabulary of their own. Set task.vocabulary to shared, or use generator seq2seq_transformer."
                ),
            )
        if not isinstance(self.weights, FreshWeights) and task.language_model is None:
            yield Problem(
                "tokens_are_not_the_models",
                {"generator.weights": self.weights.kind},
                (
                    f"has its own vocabulary, but task={task.kind!r} has other tokens. Use the task demonstrations "
                    "with the same model, or set generator.weights to fresh."
                ),
            )
