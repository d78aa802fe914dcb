"""Settings of a classifier: where its weights come from, what its logit is read from, and which weights are trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from rlgan.base.declarations import Fields
from rlgan.base.errors import ConfigError, DataError
from rlgan.base.pretrained import HubModel, ModelFolder
from rlgan.base.problems import Problem
from rlgan.base.search_priors import NotSearched
from rlgan.base.settings import Settings
from rlgan.base.weights import Tensors
from rlgan.discriminators.discriminator import Architecture, Granularity, Reads
from rlgan.envs.model_tokens import ModelTokens
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators import CausalLM
from rlgan.layers.pretrained import FreshClassifier, LoRA, WholeModel, classifier_config


class GeneratorWeights(Settings):
    """The generator's own, as they are when its pretraining is over (GAD, Ye et al. 2025); the output is new."""

    kind: Literal["generator"] = "generator"


class OutputAlone(Settings):
    """Train the output alone, on the features of a model that stays as it is."""

    kind: Literal["output"] = "output"


class StoredTokens(Settings):
    """What is known of a model's tokenizer without its files."""

    num_bytes: int
    """Size of its content, which is kept beside the weights."""
    digest: str | None
    """Tells the alphabet from others; null where tokens cannot be written as text."""


class SequenceClassifier(Architecture):
    """An encoder or a causal language model of the library transformers, with one logit."""

    not_searched: ClassVar[NotSearched] = NotSearched("is the model at hand")
    reads: ClassVar[Reads] = "either"
    for_tokens: ClassVar[str] = "Set discriminator.granularity to token"
    has_embedding: ClassVar[bool] = False
    members: ClassVar[int] = 1
    kind: Literal["sequence_classifier"] = "sequence_classifier"
    weights: Annotated[
        Annotated[FreshClassifier | ModelFolder | HubModel | GeneratorWeights, Field(discriminator="kind")],
        NotSearched("is the model at hand"),
    ] = FreshClassifier()
    """What it begins as: random weights, a folder, a model of the hub, or the generator. A folder or a model of the hub
    whose tokens are not the task's reads text."""
    pooling: Annotated[Literal["own", "mean"], NotSearched("is the model at hand")] = "own"
    """What the logit is read from: own is the last token of a causal language model, and of an encoder what its
    architecture has for it (the first token); mean is the mean over all tokens, as sentence encoders are trained."""
    granularity: Annotated[Granularity, NotSearched("goes with a credit")] = "sequence"
    """What has a logit: a sequence, or each token given those before it, which needs a causal language model of the
    task's tokens."""
    training: Annotated[
        Annotated[WholeModel | LoRA | OutputAlone, Field(discriminator="kind")], NotSearched("fits the memory at hand")
    ] = WholeModel()
    """Which weights are trained; the output always is."""
    max_length: Annotated[int | None, NotSearched("fits the memory at hand")] = Field(None, ge=8)
    """Most tokens that are read of a text, where it reads text; null reads as many as the model can. Of a longer one
    the beginning of the condition is left out, then the end of the sequence."""
    dtype: Annotated[Literal["float32", "bfloat16"], NotSearched("fits the machine at hand")] = "float32"
    """What matrices are multiplied in. Weights that are trained stay float32; with bfloat16 those that are not are
    kept in it, too. Logits and losses are float32."""
    checkpointing: Annotated[bool, NotSearched("changes no number")] = False
    """Whether activations of a layer are computed again for its gradient, and not kept: less memory, a third more
    time."""
    config: Annotated[dict[str, Any] | None, NotSearched("is the model at hand")] = None
    """The architecture as transformers writes it in config.json; filled in by rlgan when a run begins."""
    tokens: Annotated[StoredTokens | None, NotSearched("is the model at hand")] = None
    """What is known of its tokenizer; filled in by rlgan when a run begins."""
    generator: Annotated[dict[str, Any] | None, NotSearched("is the generator of the run")] = None
    """Settings of the generator that it begins as; filled in by rlgan when a run begins."""

    @property
    def reads_soft_rows(self) -> bool:
        """It reads tokens alone."""
        return False

    @property
    def reads_files(self) -> bool:
        """Whether its weights are in files."""
        return isinstance(self.weights, ModelFolder | HubModel)

    @property
    def began_as(self) -> ModelFolder | HubModel | None:
        """The model whose files it begins with; None of others."""
        return self.weights if isinstance(self.weights, ModelFolder | HubModel) else None

    @property
    def begins_as_generator(self) -> bool:
        """As `weights` says."""
        return isinstance(self.weights, GeneratorWeights)

    def settled(self, generator: object) -> SequenceClassifier:
        """See `Architecture.settled`: with the architecture and the size of the tokenizer of its folder."""
        if self.begins_as_generator:
            # Another generator is refused by `check`.
            is_known = self.generator is not None or getattr(generator, "kind", None) != "causal_lm"
            if is_known or not isinstance(generator, Settings):
                return self
            return self.model_copy(update={"generator": generator.model_dump(mode="json")})
        if not isinstance(self.weights, ModelFolder | HubModel) or self.config is not None:
            return self
        config, tokens = classifier_config(self.weights), ModelTokens.of(self.weights)
        known = StoredTokens(num_bytes=len(content_of(tokens)), digest=digest_of(tokens))
        return self.model_copy(update={"config": config, "tokens": known})

    def begun_as(self, space: SequenceSpace, own: Tensors, generator: Tensors) -> Tensors:
        """See `Architecture.begun_as`."""
        from .from_generator import begun_as

        if self.generator is None:
            return own
        return begun_as(self.training, CausalLM.model_validate(self.generator), space, own, generator)

    @model_validator(mode="after")
    def _settings_have_effect(self) -> SequenceClassifier:
        if self.max_length is not None and not self.reads_files:
            raise ConfigError(
                f"discriminator.max_length={self.max_length}: has no effect with discriminator.weights="
                f"{self.weights.kind!r}, which reads whole sequences. Remove it.",
                code="judge_max_length",
                fields={"discriminator.max_length": self.max_length},
            )
        if self.config is not None and not self.reads_files:
            raise ConfigError(
                f"discriminator.config: has no effect with discriminator.weights={self.weights.kind!r}, whose sizes "
                "are settings. Remove it.",
                code="judge_config",
                fields={"discriminator.config": "given"},
            )
        if self.granularity == "token" and self.pooling != "own":
            raise ConfigError(
                f"discriminator.pooling={self.pooling!r}: has no effect with discriminator.granularity='token', where "
                "each token has a logit. Remove it.",
                code="judge_pooling_of_tokens",
                fields={"discriminator.pooling": self.pooling},
            )
        of_bert = isinstance(self.weights, FreshClassifier) and self.weights.architecture == "bert"
        if self.granularity == "token" and of_bert:
            raise ConfigError(
                "discriminator.granularity='token': BERT also reads the tokens that follow. Set "
                "discriminator.weights.architecture to gpt2, llama or qwen2.",
                code="judge_tokens_of_encoder",
                fields={"discriminator.granularity": self.granularity},
            )
        return self

    def check(self, fields: Fields) -> Iterator[Problem]:
        """A generator that it begins as is a causal language model; prefixes are judged by their tokens."""
        if isinstance(self.weights, GeneratorWeights) and fields.generator.kind != "causal_lm":
            yield Problem(
                "generator_is_no_language_model",
                {"discriminator.weights": self.weights.kind},
                f"begins as the generator, but generator={fields.generator.kind!r} is no causal language model. Use "
                "generator causal_lm, or set discriminator.weights to folder.",
            )


def content_of(tokens: ModelTokens) -> bytes:
    """A tokenizer as it is kept beside the weights."""
    return tokens.model_dump_json().encode()


def digest_of(tokens: ModelTokens) -> str | None:
    """Of its alphabet; None where tokens cannot be written as text, so that they are nobody else's."""
    try:
        return tokens.spelling.digest
    except DataError:
        return None
