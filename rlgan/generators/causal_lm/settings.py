"""Settings of a causal language model: where its weights come from, and which of them are trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor

from rlgan.base.declarations import Fields
from rlgan.base.errors import ConfigError
from rlgan.base.pretrained import HubModel, ModelFolder
from rlgan.base.problems import Problem
from rlgan.base.search_priors import NotSearched
from rlgan.base.settings import FreeOnResume
from rlgan.generators.generator import GeneratorKind
from rlgan.layers.pretrained import FreshWeights, LoRA, TrainedPart, WholeModel, add_nothing, causal_config


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
    training: Annotated[TrainedPart, NotSearched("depends on the available memory")] = WholeModel()
    """Which weights are trained."""
    dtype: Annotated[Literal["float32", "bfloat16"], NotSearched("depends on the hardware")] = "float32"
    """Number type of matrix products. Trained weights stay float32; with bfloat16, frozen weights are stored in
    bfloat16."""
    checkpointing: Annotated[bool, NotSearched("changes no result"), FreeOnResume()] = False
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
    def begins_trained(self) -> bool:
        """See `GeneratorKind`."""
        return self.began_as is not None

    @property
    def began_as(self) -> ModelFolder | HubModel | None:
        """See `GeneratorKind`."""
        return None if isinstance(self.weights, FreshWeights) else self.weights

    def adds_nothing(self, trained: Mapping[str, Tensor]) -> bool:
        """See `GeneratorKind`: an adapter before its first step."""
        return isinstance(self.training, LoRA) and add_nothing(trained)

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
        own, theirs = self.weights, task.language_model
        if not (isinstance(own, HubModel) and isinstance(theirs, HubModel)):
            return
        if own.name == theirs.name and own.offline != theirs.offline:
            yield Problem(
                "offline_in_part",
                {"generator.weights.offline": own.offline, "task.model.offline": theirs.offline},
                (
                    f"weights and tokenizer are both of {own.name}, and must be read in the same way. Set "
                    "generator.weights.offline and task.model.offline alike."
                ),
            )
