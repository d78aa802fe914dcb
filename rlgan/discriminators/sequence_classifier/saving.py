"""A trained classifier as a folder that `transformers` loads: one label, whose logit is the discriminator's.

What the discriminator reads is put into the tokenizer: it writes the marks that stand around a text, so that
`tokenizer(text)`, or `tokenizer(prompt, completion)`, are the ids that were read in training. Its chat template writes
them, too, for libraries that read what it wrote without adding any (TRL).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from rlgan.base.errors import CheckpointError, ConfigError
from rlgan.base.pretrained import CLASSIFIER_READS, READS_RENDERED, HubModel, ModelFolder
from rlgan.base.weights import Tensors, as_base
from rlgan.discriminators.discriminator import TextsOfRun
from rlgan.envs.model_tokens import ModelTokens
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators import SavedModel
from rlgan.layers.pretrained import LoRA, base_model, load_files, quiet, save_adapter

from .reading import IdReader, Layout, Reader, TextReader
from .settings import SequenceClassifier

_INSTEAD = "Use the run itself as a reward: rlgan.load(RUN).reward(), and its as_trl() for TRL."
_NEW_NAMES = ("<|end_of_prompt|>", "<|padding|>")


class Classifier(Protocol):
    """What is asked of a discriminator here."""

    network: nn.Module

    def reader(self) -> Reader:
        """What it reads of sequences."""
        ...

    def may_be_new(self, name: str) -> bool:
        """Whether a weight is of the output."""
        ...


def require_expressible(settings: SequenceClassifier, is_causal: bool) -> None:
    """See to it that a class of transformers computes the logit of a discriminator.

    Raises:
        ConfigError: none does.
    """
    if settings.granularity == "token":
        raise ConfigError(
            "discriminator.granularity='token': judges each token, but a classifier of transformers has one logit a "
            f"text. {_INSTEAD}",
            code="export_judge_of_tokens",
            fields={"discriminator.granularity": settings.granularity},
        )
    if settings.pooling == "mean":
        own = "the last token" if is_causal else "the first token"
        raise ConfigError(
            f"discriminator.pooling='mean': the classifier that transformers has of this architecture reads {own}, "
            f"so that it has no folder with the same logits. {_INSTEAD} For a folder train with discriminator.pooling "
            "own.",
            code="export_judge_pooling",
            fields={"discriminator.pooling": settings.pooling},
        )


def save_classifier(
    discriminator: Classifier,
    settings: SequenceClassifier,
    space: SequenceSpace,
    texts: TextsOfRun,
    folder: Path,
    source: ModelFolder | HubModel | None,
    fresh: Callable[[], Classifier],
    *,
    merges: bool,
) -> SavedModel:
    """Write a network and its tokenizer as `save_pretrained` does.

    Args:
        discriminator: trained; left as it is.
        settings: of the network.
        space: the task's sequences.
        texts: of the run.
        folder: exists.
        source: where the model lies that an adapter was trained beside; None for random weights.
        fresh: builds a discriminator of the same settings.
        merges: whether an adapter becomes part of the weights.

    Raises:
        ConfigError: no class of transformers computes its logit, or there is no tokenizer; there is no adapter to
            merge, or one alone would belong to no model.
        CheckpointError: the model at `source` is another one than the adapter was trained beside.
        DataError: there is no model at `source`.
    """
    network, reader = discriminator.network, discriminator.reader()
    is_causal = hasattr(base_model(network), "score")
    require_expressible(settings, is_causal)
    has_adapter = isinstance(settings.training, LoRA)
    if merges and not has_adapter:
        raise ConfigError(
            "--merge: has no effect on this discriminator, all of whose weights were trained. Remove it.",
            code="export_judge_nothing_to_merge",
        )
    is_adapter = has_adapter and not merges
    rows = base_model(network).get_input_embeddings().num_embeddings
    tokens, layout = _reading_of(reader, space, texts)
    config = base_model(network).config
    longest = reader.longest if isinstance(reader, TextReader) else getattr(config, "max_position_embeddings", None)
    tokenizer, pad_id = _tokenizer(tokens, layout, config, is_causal, rows, may_grow=not is_adapter)
    if longest is not None:
        tokenizer.model_max_length = int(longest)
    tokenizer.chat_template = _template(tokens, layout, texts, reader, tokenizer)
    if is_adapter:
        saved = _save_adapter(network, folder, source, fresh)
    else:
        _save_whole(network, folder, pad_id, has_adapter, _reads(space, texts, reader))
        saved = SavedModel(is_adapter=False)
    with quiet():
        tokenizer.save_pretrained(str(folder))
    return saved


# ------------------------------------------------------------------------------------------------------- weights


def _save_whole(network: nn.Module, folder: Path, pad_id: int, has_adapter: bool, reads: str) -> None:
    # A copy, for merging and new ids change the weights.
    whole: Any = copy.deepcopy(network).float()
    model: Any = whole.merge_and_unload() if has_adapter else base_model(whole)
    if pad_id >= model.get_input_embeddings().num_embeddings:
        with torch.random.fork_rng(devices=[]), quiet():
            model.resize_token_embeddings(pad_id + 1, mean_resizing=False)
    model.config.pad_token_id = pad_id
    model.config.problem_type = None
    setattr(model.config, CLASSIFIER_READS, reads)
    with quiet():
        model.save_pretrained(str(folder))


def _save_adapter(
    network: Any, folder: Path, source: ModelFolder | HubModel | None, fresh: Callable[[], Classifier]
) -> SavedModel:
    if source is None:
        raise ConfigError(
            "--merge: is missing. The discriminator's adapter was trained on random weights, which are in no other "
            "folder. Add --merge to write all weights.",
            code="export_judge_adapter_of_nothing",
        )
    with torch.random.fork_rng(devices=[]), quiet():
        other = fresh()
    load_files(
        other.network,
        source,
        may_lack=other.may_be_new,
    )
    own, found = as_base(_frozen(network)), as_base(_frozen(other.network))
    assert own is not None and found is not None
    if own.digest != found.digest:
        raise CheckpointError(
            f"{source.shown}: contains other weights (sha256 {found.digest}) than those the discriminator's adapter "
            f"was trained with ({own.digest}). Restore the model, or add --merge to write all weights.",
            code="export_judge_other_base",
            fields={"path": source.shown},
        )
    save_adapter(network, folder, source)
    return SavedModel(True, *source.found_by, own.digest)


def _frozen(network: nn.Module) -> Tensors:
    """What is not trained and is in the files of the base: not the random output that a trained one stands beside."""
    return {
        name: value.detach()
        for name, value in network.named_parameters()
        if not value.requires_grad and ".original_module." not in name
    }


# ----------------------------------------------------------------------------------------------------- tokenizer


def _reading_of(reader: Reader, space: SequenceSpace, texts: TextsOfRun) -> tuple[ModelTokens, Layout | None]:
    """The tokens that are read, and what stands around a text; None for what the tokenizer puts there itself."""
    if isinstance(reader, TextReader):
        return reader.tokens, reader.layout
    assert isinstance(reader, IdReader)
    tokens, layout = texts.tokens, reader.layout
    if tokens is None or layout is None or tokens.size != space.vocab_size:
        raise ConfigError(
            "export: this discriminator reads ids of the task's own vocabulary, for which transformers has no "
            f"tokenizer. {_INSTEAD} For a folder train it from a model with a tokenizer (discriminator.weights folder "
            "or hub).",
            code="export_judge_own_tokens",
        )
    if space.condition is not None and not texts.is_chat:
        # A prompt is read with the special tokens that its tokenizer puts around it.
        inner = tokens.loaded("a", add_special_tokens=False)["input_ids"]
        outer = tokens.loaded("a")["input_ids"]
        first = next(place for place in range(len(outer)) if outer[place : place + len(inner)] == inner)
        before, behind = tuple(outer[:first]), tuple(outer[first + len(inner) :])
        layout = replace(layout, before=(*before, *layout.before), between=(*behind, *layout.between))
    return tokens, layout


def _tokenizer(
    tokens: ModelTokens,
    layout: Layout | None,
    config: Any,
    is_causal: bool,
    rows: int,
    *,
    may_grow: bool,
) -> tuple[Any, int]:
    """A tokenizer of transformers that writes what is read, and the id that pads."""
    import transformers
    from tokenizers import Tokenizer

    backend = Tokenizer.from_str(tokens.tokenizer)
    backend.no_padding()
    backend.no_truncation()
    has_segments = not is_causal and (getattr(config, "type_vocab_size", 0) or 0) >= 2
    names = ["input_ids", *(["token_type_ids"] if has_segments else []), "attention_mask"]
    tokenizer: Any = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, padding_side="right", model_input_names=names, **tokens.special
    )
    pads = () if layout is None else layout.pads
    for number in () if layout is None else sorted({*layout.ids, *pads}):
        if number >= tokens.size:
            _add(tokenizer, _NEW_NAMES[number in pads], number)
    pad_id = _pad_id(tokens, layout, config, is_causal)
    if pad_id is None:
        pad_id = len(tokenizer)
        if pad_id >= rows and not may_grow:
            raise ConfigError(
                f"--merge: is missing. {tokens.name} has no token for padding beside the one that ends a text, so the "
                "folder needs a token more, which an adapter cannot add. Add --merge to write all weights.",
                code="export_judge_needs_padding",
                fields={"model": tokens.name},
            )
        _add(tokenizer, _NEW_NAMES[1], pad_id)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad_id)
    if layout is not None:
        _write_marks(tokenizer, layout)
    return tokenizer, pad_id


def _add(tokenizer: Any, name: str, number: int) -> None:
    tokenizer.add_special_tokens({"additional_special_tokens": [name]}, replace_extra_special_tokens=False)
    found = tokenizer.convert_tokens_to_ids(name)
    if found != number:
        raise ConfigError(
            f"export: the tokenizer gives a new token the id {found}, but the discriminator reads {number}; its ids "
            f"have gaps. {_INSTEAD}",
            code="export_judge_ids_with_gaps",
            fields={"id": number},
        )


def _pad_id(tokens: ModelTokens, layout: Layout | None, config: Any, is_causal: bool) -> int | None:
    """A special token that pads; None where there is none.

    Of a causal model transformers reads the last token that does not pad, so it is not the one that ends a text.
    """
    if not is_causal:
        return int(config.pad_token_id)
    assert layout is not None
    if layout.pads:
        return layout.pads[0]
    special = tokens.loaded
    for number in (special.pad_token_id, special.unk_token_id, special.bos_token_id, *special.all_special_ids):
        if number is not None and number not in layout.behind:
            return int(number)
    return None


def _write_marks(tokenizer: Any, layout: Layout) -> None:
    """Let a tokenizer put what is read around its texts."""
    shown = {number: tokenizer.convert_ids_to_tokens(number) for number in layout.ids}
    before, between, behind = (
        [{"SpecialToken": {"id": shown[number], "type_id": segment}} for number in part]
        for part, segment in ((layout.before, 0), (layout.between, 0), (layout.behind, 1))
    )
    first, second = ({"Sequence": {"id": side, "type_id": number}} for number, side in enumerate("AB"))
    alone = [{"SpecialToken": {**one["SpecialToken"], "type_id": 0}} for one in behind]
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [*before, first, *alone],
        "pair": [*before, first, *between, second, *behind],
        "special_tokens": {
            name: {"id": name, "ids": [number], "tokens": [name]} for number, name in shown.items()
        },
    }  # fmt: skip
    with_marks = type(tokenizer.backend_tokenizer).from_str(json.dumps(content))
    tokenizer.backend_tokenizer.post_processor = with_marks.post_processor


def _reads(space: SequenceSpace, texts: TextsOfRun, reader: Reader) -> str:
    """What a reward of the folder reads, see `rlgan.policy.frozen_classifier.FrozenClassifier`."""
    if space.condition is None:
        return "completion"
    if isinstance(reader, TextReader):
        return READS_RENDERED if texts.is_chat else "pair"
    return "chat" if texts.is_chat else "pair"


def _template(
    tokens: ModelTokens, layout: Layout | None, texts: TextsOfRun, reader: Reader, tokenizer: Any
) -> str | None:
    """A chat template that writes a conversation as it is read; None where one text cannot say it."""

    def marks(numbers: tuple[int, ...]) -> str:
        return "".join(map(str, tokenizer.convert_ids_to_tokens(list(numbers))))

    is_pair = reader.reads_pairs
    if texts.is_chat and isinstance(reader, TextReader):
        return None  # it reads the text of a template that its tokenizer does not know
    if layout is None:  # of an encoder
        if is_pair:
            return None  # one text has no second segment
        inner = tokenizer("a", add_special_tokens=False)["input_ids"]
        outer = tokenizer("a")["input_ids"]
        first = next(place for place in range(len(outer)) if outer[place : place + len(inner)] == inner)
        layout = Layout(tuple(outer[:first]), (), tuple(outer[first + len(inner) :]))
    if texts.is_chat:
        assert tokens.template is not None
        after = tokens.answer([{"role": "user", "content": "?"}], "rlgan", "the chat template")[1]
        end = marks(layout.behind)
        cut = f"rpartition({json.dumps(end)})[0]" if end in after else f"removesuffix({json.dumps(after)})"
        return f"{{% set rlgan_whole %}}{tokens.template}{{% endset %}}{{{{ rlgan_whole.{cut} + {json.dumps(end)} }}}}"
    given = "{{ messages[:-1] | map(attribute='content') | join('\\n') }}" if is_pair else ""
    parts = (layout.before, given, layout.between if is_pair else (), "{{ messages[-1]['content'] }}", layout.behind)
    return "".join(one if isinstance(one, str) else _quoted(marks(one)) for one in parts)


def _quoted(text: str) -> str:
    return f"{{{{ {json.dumps(text)} }}}}" if text else ""
