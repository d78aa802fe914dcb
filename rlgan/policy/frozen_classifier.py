"""A sequence classifier of `transformers`, from a folder, as a frozen reward of texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from rlgan.base.errors import ConfigError, DataError, nearest
from rlgan.base.pretrained import (
    CLASSIFIER_READS,
    CONFIG_FILE,
    READS_RENDERED,
    TOKENIZER_FILES,
    require_language_models,
)
from rlgan.layers.pretrained import quiet

_KIND = "ForSequenceClassification"
_MOST_TOKENS = 10**6  # a tokenizer that knows no limit says a number far above


class FrozenClassifier:
    """Scores texts by a classifier that does not learn; built once a process. `classifier_of` knows the folder.

    A classifier with one label gives its logit, as TRL takes it; one with several the probability of one of them.

    Args:
        label: which of several labels, by its name or number.
        of: what is the reward: "probability" or "logit" of the label; None is as above.
        reads: "both", the prompt with the completion behind it, in the classifier's chat template where the data is
            conversations; "chat", likewise, a text as what the user says; "completion" alone; or "pair", both as two
            texts of a classifier of pairs. None is what an exported discriminator was trained to read, else "both".
        batch: texts at once.
    """

    folder: ClassVar[str]

    def __init__(
        self,
        label: str | int | None = None,
        of: Literal["probability", "logit"] | None = None,
        reads: Literal["both", "chat", "completion", "pair"] | None = None,
        batch: int = 32,
    ) -> None:
        require_language_models(f"reward {self.folder}")
        import transformers

        self._column = self.column_of(label)
        self._is_probability = (of or ("logit" if self._column is None else "probability")) == "probability"
        self._reads, self._batch = reads or self._config().get(CLASSIFIER_READS) or "both", batch
        try:
            with quiet():
                self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
                self._model: Any = transformers.AutoModelForSequenceClassification.from_pretrained(
                    self.folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
                )
        except (OSError, ValueError, RuntimeError) as error:
            raise DataError(
                f"{self.folder}: the classifier cannot be read ({str(error).splitlines()[0]}). Save model and "
                "tokenizer again by save_pretrained.",
                code="classifier_unreadable",
                fields={"path": self.folder},
            ) from None
        self._model = self._model.eval().requires_grad_(False)
        self._tokenizer.padding_side = "right"
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._model.config.pad_token_id = self._tokenizer.pad_token_id
        limits = (self._tokenizer.model_max_length, getattr(self._model.config, "max_position_embeddings", None))
        known = [int(limit) for limit in limits if limit is not None and limit < _MOST_TOKENS]
        self._longest = min(known) if known else None

    @classmethod
    def _config(cls) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((Path(cls.folder) / CONFIG_FILE).read_text("utf-8"))
        return found

    @classmethod
    def labels(cls) -> list[str]:
        """Names of the labels that the classifier has."""
        config = cls._config()
        named = config.get("id2label") or {str(number): f"LABEL_{number}" for number in range(2)}
        return [str(named[number]) for number in sorted(named, key=int)]

    @classmethod
    def column_of(cls, label: str | int | None) -> int | None:
        """Which logit a label has; None where there is one logit.

        Raises:
            ConfigError: it has several labels and none is named, or there is no such label.
        """
        names = cls.labels()
        if len(names) == 1 and label is None:
            return None
        if label is None:
            raise ConfigError(
                f"reward {cls.folder}: the classifier has the labels {', '.join(names)}, and none is chosen. Set "
                "reward.functions.0.options.label to the one whose probability is the reward.",
                code="classifier_lacks_label",
                fields={"path": cls.folder},
            )
        number = names.index(label) if label in names else label
        if not isinstance(number, int) or not 0 <= number < len(names):
            raise ConfigError(
                f"reward {cls.folder}: label={label!r}: the classifier has the labels {', '.join(names)}."
                f"{nearest(str(label), names)}",
                code="classifier_label",
                fields={"path": cls.folder, "label": label},
            )
        return number

    @torch.no_grad()
    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any]) -> list[float]:
        """Scores of completions.

        Args:
            prompts: of each; texts or conversations.
            completions: likewise.
        """
        found: list[float] = []
        for first in range(0, len(completions), self._batch):
            some = slice(first, first + self._batch)
            found += self._scores(prompts[some], completions[some])
        return found

    def _scores(self, prompts: Sequence[Any], completions: Sequence[Any]) -> list[float]:
        special = True
        if self._reads == "chat":
            prompts = [_turn("user", prompt) for prompt in prompts]
            completions = [_turn("assistant", completion) for completion in completions]
        if self._reads in ("both", "chat"):
            given: tuple[list[str], ...] = ([self._joined(*both) for both in zip(prompts, completions, strict=True)],)
            special = not any(self._is_templated(prompt) for prompt in prompts)
        elif self._reads == "pair":
            given = [_text(prompt) for prompt in prompts], [_text(completion) for completion in completions]
        else:
            given = ([_text(completion) for completion in completions],)
        ids = self._tokenizer(
            *given,
            return_tensors="pt",
            padding=True,
            truncation=self._longest is not None,
            max_length=self._longest,
            add_special_tokens=special,
        )
        if not ids["input_ids"].shape[1]:  # nothing was written, and no special token is put around it
            ids = {
                "input_ids": torch.full((len(completions), 1), self._tokenizer.pad_token_id),
                "attention_mask": torch.ones(len(completions), 1, dtype=torch.int64),
            }
        logits = self._model(**ids).logits.double()
        if self._is_probability:
            logits = torch.sigmoid(logits) if logits.shape[1] == 1 else logits.softmax(1)
        return [float(one) for one in logits[:, self._column or 0]]

    def _is_templated(self, prompt: Any) -> bool:
        return not isinstance(prompt, str) and self._tokenizer.chat_template is not None

    def _joined(self, prompt: Any, completion: Any) -> str:
        if self._is_templated(prompt):
            return str(self._tokenizer.apply_chat_template([*prompt, *completion], tokenize=False))
        between = "" if isinstance(prompt, str) else "\n"
        return f"{_text(prompt)}{between}{_text(completion)}"


def _turn(role: str, said: Any) -> Any:
    """A conversation, or a text as one turn of it."""
    return [{"role": role, "content": said}] if isinstance(said, str) else said


def _text(said: Any) -> str:
    """A text, or what is said in a conversation."""
    return said if isinstance(said, str) else "\n".join(str(turn["content"]) for turn in said)


def classifier_of(folder: str) -> type[FrozenClassifier]:
    """The class of the classifier of a folder.

    Args:
        folder: that `save_pretrained` wrote, model and tokenizer.

    Raises:
        ConfigError: it holds something else.
    """
    path = Path(folder)
    try:
        config = json.loads((path / CONFIG_FILE).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"reward {folder}: its {CONFIG_FILE} cannot be read ({error}). Save the classifier again by "
            "save_pretrained.",
            code="classifier_config",
            fields={"path": folder},
        ) from None
    if isinstance(config, Mapping) and config.get(CLASSIFIER_READS) == READS_RENDERED:
        raise ConfigError(
            f"reward {folder}: reads prompts as the chat template of the generator that it was trained beside writes "
            "them, and this folder has no such template. Write a reward function that calls "
            "rlgan.discriminator_reward(RUN).as_trl(), and give its file.",
            code="classifier_lacks_template",
            fields={"path": folder},
        )
    named = config.get("architectures") if isinstance(config, Mapping) else None
    if not any(str(one).endswith(_KIND) for one in named or ()):
        raise ConfigError(
            f"reward {folder}: holds {', '.join(map(str, named or ['no architecture']))}, which gives no score. Give "
            f"the folder of a model whose architecture ends in {_KIND}.",
            code="classifier_architecture",
            fields={"path": folder},
        )
    if not any((path / name).exists() for name in (*TOKENIZER_FILES[:2], "vocab.txt", "vocab.json", "tokenizer.model")):
        raise ConfigError(
            f"reward {folder}: has no tokenizer (tokenizer.json is missing), so it cannot read texts. Save the "
            "tokenizer into the same folder by save_pretrained.",
            code="classifier_tokenizer",
            fields={"path": folder},
        )
    return type("FrozenClassifier", (FrozenClassifier,), {"folder": folder})
