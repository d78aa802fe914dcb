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
    """A causal language model of the library transformers: it goes on from a prompt, or from nothing."""

    reads_conditions: ClassVar[bool] = True
    not_searched: ClassVar[NotSearched] = NotSearched("is the model at hand")
    kind: Literal["causal_lm"] = "causal_lm"
    weights: Annotated[
        Annotated[FreshWeights | ModelFolder | HubModel, Field(discriminator="kind")],
        NotSearched("is the model at hand"),
    ] = FreshWeights()
    """What it begins as: random weights, a folder, or a model of the hub."""
    training: Annotated[TrainedPart, NotSearched("fits the memory at hand")] = WholeModel()
    """Which weights are trained."""
    dtype: Annotated[Literal["float32", "bfloat16"], NotSearched("fits the machine at hand")] = "float32"
    """What matrices are multiplied in. Weights that are trained stay float32; with bfloat16 those that are not are
    kept in it, too."""
    checkpointing: Annotated[bool, NotSearched("changes no number"), FreeOnResume()] = False
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
    def begins_trained(self) -> bool:
        """See `GeneratorKind`."""
        return not isinstance(self.weights, FreshWeights)

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
