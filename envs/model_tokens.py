"""Tokens of a language model that somebody trained: its tokenizer and its chat template, as plain data.

Text becomes ids in one of two ways. A *prompt* is read as the model reads it, special tokens and all; a *completion* is
only what a person wrote, of which nothing is a special token, and it ends with the one token that ends what the model
writes. So demonstrations end exactly as samples do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from rlgan.base.errors import DataError
from rlgan.base.pretrained import TOKENIZER_FILES, HubModel, ModelFolder, folder_of, require_language_models
from rlgan.base.settings import Settings

from .spelling import Spelling
from .vocabulary import Joining, byte_names

Message = Mapping[str, str]
"""{"role": ..., "content": ...}."""

_SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")
_ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant", "bot": "assistant"}
_NEEDED = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
_WORD_MARK = "\u2581"


class ModelTokens(Settings):
    """A tokenizer, with everything that is needed to use it elsewhere."""

    kind: Literal["model"] = "model"
    name: str
    """Name of its model, for messages."""
    tokenizer: str
    """Content of tokenizer.json, as the library `tokenizers` writes it."""
    special: dict[str, str]
    """"bos_token", "eos_token", "pad_token", "unk_token" → the token, where the tokenizer has one."""
    template: str | None
    """The chat template in Jinja; None if there is none."""

    @classmethod
    def of(cls, source: ModelFolder | HubModel) -> ModelTokens:
        """Those of a model.

        Raises:
            ConfigError: a library is missing.
            DataError: there is no such model, or it has no tokenizer that can be used.
        """
        require_language_models("task='demonstrations'")
        import transformers

        folder = folder_of(source, (*TOKENIZER_FILES, *_NEEDED, "merges.txt"))
        if not any((folder / name).is_file() for name in _NEEDED):
            raise DataError(
                (
                    f"{source.shown}: has no tokenizer (tokenizer.json is missing). Give a folder that also contains "
                    "the tokenizer: AutoTokenizer.from_pretrained(NAME).save_pretrained(FOLDER) writes it there."
                ),
                code="tokenizer_missing",
                fields={"model": source.shown},
            )
        try:
            found = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            backend = found.backend_tokenizer
        except (OSError, ValueError, TypeError, AttributeError, KeyError, ImportError) as error:
            raise DataError(
                (
                    f"{source.shown}: its tokenizer cannot be read ({str(error).splitlines()[0]}). Give a "
                    "tokenizer.json that the library tokenizers can read."
                ),
                code="tokenizer_unreadable",
                fields={"model": source.shown},
            ) from None
        template = found.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        special = {name: str(token) for name in _SPECIAL if (token := getattr(found, name, None)) is not None}
        return cls(name=source.shown, tokenizer=backend.to_str(), special=special, template=template)

    @classmethod
    def found_with(cls, source: ModelFolder | HubModel) -> ModelTokens | None:
        """Those of a model whose folder may be without a tokenizer; None where it is.

        Raises:
            ConfigError: a library is missing.
            DataError: there is no such model, or its tokenizer cannot be used.
        """
        folder = folder_of(source, (*TOKENIZER_FILES, *_NEEDED, "merges.txt"))
        return cls.of(source) if any((folder / name).is_file() for name in _NEEDED) else None

    @cached_property
    def loaded(self) -> Any:
        """The tokenizer of `transformers`."""
        require_language_models(f"the tokenizer of {self.name}")
        import transformers
        from tokenizers import Tokenizer

        return transformers.PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(self.tokenizer), chat_template=self.template, **self.special
        )

    @cached_property
    def size(self) -> int:
        """Number of ids V."""
        known = self.loaded.get_vocab()
        return max(known.values()) + 1

    @cached_property
    def joining(self) -> Joining:
        """How tokens, by their names, become text.

        Raises:
            DataError: by a rule that rlgan does not know.
        """
        decoder = json.loads(self.tokenizer).get("decoder") or {}
        parts = decoder.get("decoders", [decoder])
        kinds = {part.get("type") for part in parts}
        if "ByteLevel" in kinds:
            return "byte_pieces"
        if "Metaspace" in kinds or any(part.get("pattern", {}).get("String") == _WORD_MARK for part in parts):
            return "prefixed_byte_pieces"
        raise DataError(
            (
                f"{self.name}: its tokenizer decodes with {decoder.get('type') or 'no rule'}, which rlgan does not "
                "support. Give a model with a byte-level tokenizer (GPT-2, Llama 3, Qwen) or a SentencePiece tokenizer "
                "(Llama 2)."
            ),
            code="decoder_not_supported",
            fields={"model": self.name},
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """V strings: how each id is shown, see `joining`. A byte and the letter that it is have the same."""
        tokens = self.loaded.convert_ids_to_tokens(list(range(self.size)))
        is_bytes = self.joining == "byte_pieces"
        names = []
        for number, token in enumerate(tokens):
            name = f"<{number}>" if token is None else str(token)
            if not is_bytes:
                is_byte = len(name) == 6 and name.startswith("<0x") and name.endswith(">")
                text = bytes([int(name[3:5], 16)]) if is_byte else name.replace(_WORD_MARK, " ").encode()
                name = byte_names(text)
            names.append(name)
        return tuple(names)

    @cached_property
    def spelling(self) -> Spelling:
        """How its tokens become text.

        Raises:
            DataError: by a rule that rlgan does not know.
        """
        return Spelling(self.names, self.joining)

    @property
    def end_of_text(self) -> int:
        """Id that ends a text without turns.

        Raises:
            DataError: there is none.
        """
        found = self.loaded.eos_token_id
        if found is None:
            raise DataError(
                (
                    f"{self.name}: its tokenizer has no eos_token, so no sequence could end. Set one in its "
                    "tokenizer_config.json."
                ),
                code="eos_token_missing",
                fields={"model": self.name},
            )
        return int(found)

    @cached_property
    def end_of_turn(self) -> int:
        """Id that ends what the assistant says, as the chat template writes it.

        Raises:
            DataError: there is no template, or it does not write the assistant's turn.
        """
        said = "rlgan"
        after = self.answer([{"role": "user", "content": "?"}], said, f"model {self.name}")[1]
        ids = self.loaded(after, add_special_tokens=False)["input_ids"]
        special = set(self.loaded.all_special_ids) | set(self.loaded.added_tokens_decoder)
        return next((int(one) for one in ids if one in special), self.end_of_text)

    @property
    def start(self) -> int:
        """Id that is read before a text without a prompt."""
        found = self.loaded.bos_token_id
        return self.end_of_text if found is None else int(found)

    def prompt_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of prompts without turns, as the model reads them."""
        return [] if not texts else [list(ids) for ids in self.loaded(list(texts))["input_ids"]]

    def rendered_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of prompts that the chat template wrote."""
        return (
            [] if not texts else [list(ids) for ids in self.loaded(list(texts), add_special_tokens=False)["input_ids"]]
        )

    def completion_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of what was written, without an end; nothing in it is a special token."""
        if not texts:
            return []
        found = self.loaded(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [list(ids) for ids in found]

    def prompt(self, messages: Sequence[Message], where: str) -> str:
        """A conversation up to where the assistant answers, as text.

        Raises:
            DataError: there is no template, or it refuses the conversation.
        """
        return self._rendered(messages, where, add_generation_prompt=True)

    def answer(self, messages: Sequence[Message], said: str, where: str) -> tuple[str, str]:
        """What the template makes of an answer to a conversation.

        Returns:
            What the assistant says, and what the template puts behind it.

        Raises:
            DataError: there is no template, or it drops or changes the answer.
        """
        before = self.prompt(messages, where)
        whole = self._rendered([*messages, {"role": "assistant", "content": said}], where)
        rest = whole.removeprefix(before)
        if rest != whole:
            for form in (said, said.strip()):
                if form and rest.startswith(form):
                    return form, rest[len(form) :]
        raise DataError(
            (
                f"{where}: the chat template of {self.name} drops or changes the assistant's turn: after the prompt it "
                f"writes {rest[:40]!r} instead of {said[:40]!r}. Use a template that writes the answer unchanged, or "
                "set task.template to plain."
            ),
            code="template_changes_answer",
            fields={"where": where},
        )

    def _rendered(self, messages: Sequence[Message], where: str, *, add_generation_prompt: bool = False) -> str:
        if self.template is None:
            raise DataError(
                (
                    f"{where}: the tokenizer of {self.name} has no chat template, which conversations need. Use a chat "
                    "model, put a chat_template.jinja beside its tokenizer.json, or set task.template to plain, which "
                    "reads what is said as text."
                ),
                code="chat_template_missing",
                fields={"where": where},
            )
        import jinja2

        try:
            text = self.loaded.apply_chat_template(
                [dict(one) for one in messages], tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except jinja2.TemplateSyntaxError as error:
            raise DataError(
                f"{where}: the chat template of {self.name} is not valid Jinja (line {error.lineno}: {error.message}). "
                "Correct chat_template.jinja, or chat_template in tokenizer_config.json.",
                code="template_no_jinja",
                fields={"where": where, "line": error.lineno},
            ) from None
        except (jinja2.TemplateError, ValueError, TypeError) as error:
            roles = ", ".join(one["role"] for one in messages)
            raise DataError(
                (
                    f"{where}: the chat template of {self.name} rejects this conversation ({error}); its roles are "
                    f"{roles}. Fix the record, or remove it."
                ),
                code="template_refuses",
                fields={"where": where},
            ) from None
        return str(text)


def as_messages(turns: Sequence[tuple[str, str]]) -> list[Message]:
    """Role and text of each turn as messages, with the roles that chat templates know."""
    return [{"role": _ROLES.get(role.lower(), role.lower()), "content": text} for role, text in turns]
