"""A classifier of `transformers` as discriminator: what it reads, where its logit is, and the weights it begins with.

u = w · h_last        a causal language model: the hidden state of the last token that is no padding
u = w · pooled(h)     an encoder: as its architecture pools, or w · mean_t h_t
u_t = w · h_t         each token given those before it

B sequences, S positions of a condition, T of a sequence, L tokens that are read, W width
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rlgan.base.devices import CPU
from rlgan.base.errors import ConfigError, ShapeError
from rlgan.base.placeholders import give_trained_memory
from rlgan.base.pretrained import HubModel, ModelFolder, require_language_models
from rlgan.discriminators.discriminator import Discriminator, PlainScorer, Scorer, TextsOfRun
from rlgan.envs.model_tokens import ModelTokens
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators import CausalLM, SavedModel
from rlgan.generators.causal_lm.architecture import architecture_of
from rlgan.layers.pretrained import (
    FreshClassifier,
    LoRA,
    base_model,
    built,
    fresh_architecture,
    keep_untrained_in,
    load_files,
    quiet,
    stored_architecture,
    with_adapters,
)

from .reading import IdReader, Reader, TextReader, as_buffer, shares_alphabet, tokenizer_of
from .saving import save_classifier
from .settings import OutputAlone, SequenceClassifier, content_of

_TOKENS_AT_ONCE = 1 << 14  # tokens whose states are held at once in scoring
_LONGEST_TEXT = 512  # tokens of a text, for a model that has no bound of its own


class SequenceClassifierDiscriminator(Discriminator):
    """A model of `transformers` with one logit, with or without adapters of `peft`.

    Args:
        settings: where it comes from, what it reads its logit from, and what is trained.
        space: the task's sequences; with their spelling, where text is read.

    Raises:
        ConfigError: sequences do not fit into the model, or a library is missing.
        DataError: there is no such model.
    """

    constant_buffers: ClassVar[frozenset[str]] = frozenset({"tokenizer"})
    tokenizer: Tensor

    def __init__(self, settings: SequenceClassifier, space: SequenceSpace) -> None:
        super().__init__()
        require_language_models("discriminator='sequence_classifier'")
        settings = settings.settled(settings.generator) if settings.reads_files else settings
        self._settings, self._space = settings, space
        config, self._ids = _architecture(settings, space)
        self.network = _build(settings, config)
        model = base_model(self.network)
        self.is_causal = hasattr(model, "score")
        _require_fit(settings, space, model, self.is_causal, reads_text=self._ids is None)
        if self._ids is None:
            assert settings.tokens is not None
            self.register_buffer("tokenizer", torch.zeros(settings.tokens.num_bytes, dtype=torch.uint8))
        self._text: tuple[Tensor, int, TextReader] | None = None
        self._pad_id = int(model.config.pad_token_id)
        segments = getattr(model.config, "type_vocab_size", 0) or 0
        self._has_segments = not self.is_causal and segments >= 2

    @property
    def reads_text(self) -> bool:
        """Whether it reads text by a tokenizer of its own."""
        return self._ids is None

    @property
    def rows_at_once(self) -> int:
        """See `Discriminator.rows_at_once`: as many as have so many tokens together."""
        return max(1, min(2048, _TOKENS_AT_ONCE // self._most_tokens))

    @property
    def _most_tokens(self) -> int:
        condition = self._space.condition
        return self._space.max_length + 2 + (0 if condition is None else condition.max_length)

    def num_read(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Tokens of each row as the model reads it; see `Discriminator.num_read`."""
        return self.reader()(tokens, mask, conditions).mask.sum(1, keepdim=True).to(CPU)

    def take_files(self) -> tuple[str, ...]:
        """Take weights and tokenizer of its folder; see `Discriminator.take_files`."""
        weights = self._settings.weights
        if not isinstance(weights, ModelFolder | HubModel):
            return ()
        number = load_files(
            self.network,
            weights,
            may_lack=self.may_be_new,
        )
        trained = sum(one.numel() for one in self.parameters() if one.requires_grad)
        reads = "tokens of the task"
        if self.reads_text:
            content = as_buffer(content_of(ModelTokens.of(weights)))
            self.tokenizer.copy_(content)
            reads = "text, in tokens of its own"
        return (f"discriminator: {number:,} weights from {weights.shown}, reads {reads}; {trained:,} are trained",)

    def save_for_transformers(
        self, folder: Path, source: ModelFolder | HubModel | None, texts: TextsOfRun, *, merges: bool
    ) -> SavedModel:
        """Write model or adapter, and tokenizer; see `Discriminator.save_for_transformers`."""
        fresh = partial(type(self), self._settings, self._space)
        return save_classifier(self, self._settings, self._space, texts, folder, source, fresh, merges=merges)

    def may_be_new(self, name: str) -> bool:
        """Whether a weight is of the output, which a model that was trained for something else has not."""
        return _is_output(base_model(self.network), name)

    def forward(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Real-logits; see `Discriminator.forward`.

        Raises:
            ShapeError: soft rows.
            ValueError: conditions are missing, or there are none in this task.
        """
        if tokens.is_floating_point():
            raise ShapeError(
                f"tokens {tuple(tokens.shape)} {tokens.dtype}: discriminator='sequence_classifier' reads tokens (B, T) "
                "int64, and no soft rows. Use another discriminator.",
                code="judge_soft_rows",
                fields={"tokens": tuple(tokens.shape)},
            )
        if (conditions is None) == (self._space.condition is not None):
            raise ValueError(f"{type(self).__name__} {'needs' if conditions is None else 'cannot read'} conditions.")
        reader = self.reader()
        read = reader(tokens, mask, conditions)
        if self._settings.granularity == "sequence":
            return self.logits(read.ids, read.mask, read.segments)
        assert read.first is not None
        found = self._head(self._states(read.ids, read.mask, read.segments))
        places = read.first.unsqueeze(1) + torch.arange(tokens.shape[1], device=tokens.device)
        return found.gather(1, places.clamp_max(found.shape[1] - 1)).masked_fill(~mask, 0.0)

    def reader(self) -> Reader:
        """What it reads of sequences."""
        if self._ids is not None:
            return self._ids
        # Weights that are loaded bring the tokenizer with them.
        if self._text is None or self._text[0] is not self.tokenizer or self._text[1] != self.tokenizer._version:
            tokens, tokenizer = tokenizer_of(self.tokenizer.cpu().numpy().tobytes())
            most = _positions(base_model(self.network)) or _LONGEST_TEXT
            most = min(most, self._settings.max_length or _LONGEST_TEXT)
            reader = TextReader(self._space, tokens, tokenizer, self.is_causal, most)
            self._text = self.tokenizer, self.tokenizer._version, reader
        return self._text[2]

    def logits(self, ids: Tensor, mask: Tensor, segments: Tensor | None = None) -> Tensor:
        """Real-logits of rows of the model's own tokens; on which side they are padded does not matter.

        Args:
            ids: (B, L) int64.
            mask: (B, L) bool, True on tokens, between which nothing is padded.
            segments: (B, L) int64 of an encoder; None for one segment.

        Returns:
            (B,) float32.
        """
        # Absolute positions, and architectures that read their first token, want rows that begin at 0.
        order = (~mask).to(torch.int8).sort(dim=1, stable=True).indices
        size = max(1, int(mask.sum(1).max()))
        segments = torch.zeros_like(ids) if segments is None else segments
        ids, mask, segments = (one.gather(1, order)[:, :size] for one in (ids, mask, segments))
        if self._settings.pooling == "own" and not self.is_causal:
            model = base_model(self.network)
            with self._computing():
                return _plain(model(**self._shown(ids, mask, segments)).logits.squeeze(1))
        states = self._states(ids, mask, segments)
        if self._settings.pooling == "mean":
            return self._head((states * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True))
        last = (mask.sum(1) - 1).clamp_min(0)
        return self._head(states[torch.arange(len(ids), device=ids.device), last])

    def _states(self, ids: Tensor, mask: Tensor, segments: Tensor) -> Tensor:
        """(B, L, W) hidden states of rows that are padded on the right."""
        model = base_model(self.network)
        with self._computing():
            found: Tensor = getattr(model, model.base_model_prefix)(**self._shown(ids, mask, segments))[0]
        return found

    def _shown(self, ids: Tensor, mask: Tensor, segments: Tensor) -> dict[str, Any]:
        shown: dict[str, Any] = {"input_ids": ids.masked_fill(~mask, self._pad_id), "attention_mask": mask.long()}
        if self._has_segments:
            shown["token_type_ids"] = segments.masked_fill(~mask, 0)
        return shown | ({"use_cache": False} if self.is_causal else {})

    def _head(self, states: Tensor) -> Tensor:
        """Logits (...) of states (..., W)."""
        model = base_model(self.network)
        with self._computing():
            return _plain((model.score if self.is_causal else model.classifier)(states).squeeze(-1))

    def _computing(self) -> AbstractContextManager[object]:
        if self._settings.dtype == "float32":
            return nullcontext()
        return torch.autocast(next(self.parameters()).device.type, torch.bfloat16)

    def penalty(self) -> Tensor:
        """None of its own."""
        return next(self.parameters()).new_zeros(())

    def scorer(self) -> Scorer:
        """A frozen copy; see `Discriminator.scorer`."""
        return PlainScorer(self)


def _is_output(model: Any, name: str) -> bool:
    """Whether a weight belongs to the output, which begins behind the features of the last layer."""
    return not name.startswith(f"{model.base_model_prefix}.") or ".pooler." in name


def _plain(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


def _architecture(settings: SequenceClassifier, space: SequenceSpace) -> tuple[Any, IdReader | None]:
    """What transformers builds it from, and how ids are read; None where text is."""
    condition = space.condition
    shift = 0 if condition is None or shares_alphabet(space) else space.vocab_size
    if isinstance(settings.weights, FreshClassifier):
        size = space.vocab_size + (condition.vocab_size if condition is not None and shift else 0)
        boundary = None if condition is None else size
        pad_id = size + (boundary is not None)
        # The start, the condition, the boundary, the sequence.
        positions = 2 + space.max_length + (0 if condition is None else condition.max_length)
        ids = {"pad_token_id": pad_id, "bos_token_id": None, "eos_token_id": None}
        config = fresh_architecture(settings.weights, pad_id + 1, positions, num_labels=1, **ids)
        return config, IdReader(space, shift, boundary, pad_id=pad_id)
    if settings.begins_as_generator:
        assert settings.generator is not None, "see Config.settled"
        config = architecture_of(CausalLM.model_validate(settings.generator), space)
        config.num_labels = 1
        # The generator reads one token less than it writes, and may have no position for more.
        return config, IdReader(space, 0, None, begins=False)
    assert settings.config is not None and settings.tokens is not None
    config = stored_architecture(settings.config)
    config.num_labels = 1
    known = None if space.spelling is None else space.spelling.digest
    if known is None:
        raise ConfigError(
            f"discriminator.weights={settings.weights.kind!r}: reads text, but the tokens of this task cannot be "
            "written as text. Set discriminator.weights to fresh.",
            code="judge_task_without_text",
            fields={"discriminator.weights": settings.weights.kind},
        )
    is_same = known == settings.tokens.digest and shift == 0
    return config, IdReader(space, 0, None) if is_same and _is_causal(config) else None


def _is_causal(config: Any) -> bool:
    import transformers

    with torch.device("meta"), quiet():
        return hasattr(transformers.AutoModelForSequenceClassification.from_config(config), "score")


def _positions(model: nn.Module) -> int | None:
    """Tokens that a model of transformers reads at most; None where there is no bound."""
    most = getattr(model.config, "max_position_embeddings", None)
    if most is None:
        return None
    tables = (part for name, part in model.named_modules() if name.endswith(".position_embeddings"))
    # RoBERTa and its like (CamemBERT, MPNet) count positions from behind the id that pads.
    pads = [table.padding_idx for table in tables if isinstance(table, nn.Embedding) and table.padding_idx is not None]
    return int(most) - (pads[0] + 1 if pads else 0)


def _build(settings: SequenceClassifier, config: Any) -> nn.Module:
    import transformers

    model = built(lambda: transformers.AutoModelForSequenceClassification.from_config(config, dtype=torch.float32))
    if model.config.pad_token_id is None:
        # Without it transformers reads the verdict of a batch from the padding.
        end = model.config.eos_token_id
        # A model that was saved with other sizes than its library's defaults may name an end that it does not have.
        is_there = isinstance(end, int) and end < model.get_input_embeddings().num_embeddings
        model.config.pad_token_id = end if is_there else 0
    if not (hasattr(model, "score") or hasattr(model, "classifier")):
        raise ConfigError(
            f"discriminator.weights: {type(model).__name__} has an output layer that rlgan does not support. Use a "
            "model of another architecture, such as BERT, RoBERTa, Llama or GPT-2.",
            code="judge_head_not_supported",
            fields={"discriminator.weights": type(model).__name__},
        )
    if settings.pooling == "mean" and not hasattr(model, "score"):
        body = getattr(model, model.base_model_prefix)
        model.classifier = nn.Linear(config.hidden_size, 1)
        if getattr(body, "pooler", None) is not None:
            body.pooler = None
    if settings.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    network: nn.Module = model
    if isinstance(settings.training, LoRA):
        body = getattr(model, model.base_model_prefix)
        # What peft trains as a whole anyway, it must not be told.
        known = (model.base_model_prefix, "score", "classifier")
        whole = [name for name, part in model.named_children() if name not in known and any(part.parameters())]
        whole += ["pooler"] if getattr(body, "pooler", None) is not None else []
        network = with_adapters(model, settings.training, "discriminator", "SEQ_CLS", whole)
    if isinstance(settings.training, OutputAlone):
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(_is_output(model, name))
    if settings.dtype == "bfloat16":
        keep_untrained_in(network, torch.bfloat16)
    give_trained_memory(network)
    return network


def _require_fit(
    settings: SequenceClassifier, space: SequenceSpace, model: Any, is_causal: bool, reads_text: bool
) -> None:
    shown = getattr(settings.weights, "shown", "discriminator.weights")
    if settings.granularity == "token" and not is_causal:
        raise ConfigError(
            f"discriminator.granularity='token': {shown} is an encoder, which also reads the tokens that follow. "
            "Set it to sequence, or use a causal language model.",
            code="classifier_scores_of_encoder",
            fields={"discriminator.granularity": settings.granularity},
        )
    if settings.granularity == "token" and reads_text:
        raise ConfigError(
            f"discriminator.granularity='token': {shown} has other tokens than the task. Set it to sequence, or use a "
            "model with the task's tokenizer.",
            code="judge_tokens_of_others",
            fields={"discriminator.granularity": settings.granularity},
        )
    if reads_text:
        return
    condition = space.condition
    needed = space.max_length + (
        0 if condition is None else condition.max_length - (condition.end_id == space.vocab_size)
    )
    needed += condition is None and settings.reads_files  # the start
    most = _positions(model)
    if most is not None and most < needed:
        raise ConfigError(
            f"{shown}: its model reads at most {most} tokens, but a prompt and a completion have up to {needed}. Lower "
            "task.max_prompt_length or task.max_length.",
            code="judge_reads_less",
            fields={"discriminator.weights": shown},
        )
