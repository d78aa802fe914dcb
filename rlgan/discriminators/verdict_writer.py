"""A causal language model as critic: it reads a prompt and two answers, and writes which of them is the real one.

    prompt · "First answer:" · a · "Second answer:" · b · "Which …? Say first, second or tie:"  →  first | second | tie

A verdict is one token. Its distribution is the model's own over the next token, restricted to the three words, so that
each of them has an exact probability and nothing else can be said. Source: RARO (2025), whose critic reasons before it
answers, in words that may say nothing; here it does not reason.

The critic is a generator of one token, whose prompt is all that it reads.

P pairs, S positions of a prompt, T of an answer, L tokens that are read, V vocabulary
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, NoReturn

import torch
from pydantic import Field
from torch import Tensor

from rlgan.base.declarations import Fields
from rlgan.base.errors import ConfigError, DataError
from rlgan.base.problems import Problem
from rlgan.base.search_priors import NotSearched
from rlgan.base.settings import Settings
from rlgan.base.weights import Tensors
from rlgan.envs.model_tokens import ModelTokens
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.generators import CausalLM, build_generator
from rlgan.layers.pretrained import FreshWeights

from .discriminator import Architecture, Discriminator, Granularity, Reads, Scorer
from .duels import Duels
from .sequence_classifier.reading import joined, shares_alphabet
from .sequence_classifier.settings import GeneratorWeights

FIRST, SECOND = "\n\nFirst answer:\n", "\n\nSecond answer:\n"
QUESTION = "\n\nWhich of the two answers was written by the expert? Say first, second or tie:"
WORDS = (" first", " second", " tie")

_MODEL = "model."  # what the names of the model's weights begin with in `VerdictWriterDiscriminator`
_TOKENS_AT_ONCE = 1 << 14  # tokens whose states are held at once


class Question(Settings):
    """The words around the answers, and those that a verdict may be, as ids of a model."""

    first: tuple[int, ...]
    """Ids before the first answer."""
    second: tuple[int, ...]
    """Ids before the second answer."""
    asked: tuple[int, ...]
    """Ids behind the second answer, the last of which the verdict follows."""
    words: tuple[int, int, int]
    """The ids that say first, second and tie; of a word of several tokens the first that differs."""


class FreshCritic(FreshWeights):
    """A new language model with random weights; the words around the answers and the verdicts are tokens of its own."""

    owner: ClassVar[str] = "discriminator"


class VerdictWriter(Architecture):
    """A causal language model that reads two answers to a prompt and writes which is the real one, or a tie."""

    not_searched: ClassVar[NotSearched] = NotSearched("goes with one loss alone: preset raro_verdict")
    kind: Literal["verdict_writer"] = "verdict_writer"
    weights: Annotated[
        Annotated[FreshCritic | GeneratorWeights, Field(discriminator="kind")], NotSearched("is the model at hand")
    ] = FreshCritic()
    """What it begins as: random weights, or the generator, which must then be a model that knows the words, and whose
    other settings it has, too."""
    generator: Annotated[dict[str, Any] | None, NotSearched("is the generator of the run")] = None
    """Settings of the generator that it begins as; filled in by rlgan when a run begins."""
    question: Annotated[Question | None, NotSearched("is the generator's tokenizer")] = None
    """The words around the answers in tokens of that generator; filled in by rlgan when a run begins."""
    members: ClassVar[int] = 1
    reads: ClassVar[Reads] = "pairs"
    granularity: ClassVar[Granularity] = "sequence"
    has_embedding: ClassVar[bool] = False
    writes_verdicts: ClassVar[bool] = True

    @property
    def reads_soft_rows(self) -> bool:
        """It reads tokens alone."""
        return False

    @property
    def begins_as_generator(self) -> bool:
        """As `weights` says."""
        return isinstance(self.weights, GeneratorWeights)

    def settled(self, generator: object) -> VerdictWriter:
        """See `Architecture.settled`: with the generator's settings, and the question in tokens of its model."""
        if not self.begins_as_generator or self.generator is not None:
            return self
        began_as = getattr(generator, "began_as", None)
        if began_as is None or not isinstance(generator, Settings):
            return self  # refused by `check`
        question = question_of(ModelTokens.of(began_as))
        return self.model_copy(update={"generator": generator.model_dump(mode="json"), "question": question})

    def begun_as(self, space: SequenceSpace, own: Tensors, generator: Tensors) -> Tensors:
        """See `Architecture.begun_as`: every weight is the generator's."""
        return {f"{_MODEL}{name}": tensor for name, tensor in generator.items()}

    def check(self, fields: Fields) -> Iterator[Problem]:
        """A generator that it begins as is a language model that somebody trained on words."""
        if not self.begins_as_generator:
            return
        at = {"discriminator.weights": self.weights.kind}
        if fields.generator.kind != "causal_lm":
            yield Problem(
                "critic_of_no_language_model",
                at,
                f"begins as the generator, but generator={fields.generator.kind!r} is no causal language model. Use "
                "generator causal_lm, or set discriminator.weights to fresh.",
            )
        elif not fields.generator.begins_trained:
            yield Problem(
                "critic_without_words",
                at,
                "begins as the generator and writes words, but the generator begins with random weights and has the "
                "tokens of the task alone. Set discriminator.weights to fresh, or generator.weights to folder.",
            )


def question_of(tokens: ModelTokens) -> Question:
    """The question in tokens of a model.

    Raises:
        DataError: two verdicts begin with the same token.
    """
    first, second, *asked = tokens.completion_ids([FIRST, SECOND, *(QUESTION + word for word in WORDS)])
    shared = 0
    while len({ids[shared] if shared < len(ids) else -1 for ids in asked}) == 1:
        shared += 1
    words = [ids[shared] if shared < len(ids) else -1 for ids in asked]
    if len(set(words)) < len(words) or -1 in words:
        raise DataError(
            f"{tokens.name}: its tokenizer writes two of the verdicts {', '.join(one.strip() for one in WORDS)} with "
            "the same first token, so that one token does not tell them apart. Set discriminator.weights to fresh.",
            code="verdicts_alike",
            fields={"model": tokens.name},
        )
    return Question(
        first=tuple(first), second=tuple(second), asked=tuple(asked[0][:shared]), words=(words[0], words[1], words[2])
    )


class VerdictWriterDiscriminator(Discriminator):
    """A generator of one token, the verdict, whose prompt is all that the critic reads.

    Args:
        settings: what it begins as.
        space: the task's sequences, which are given prompts.

    Raises:
        ConfigError: sequences are given nothing, two answers do not fit into the model, or a library is missing.
    """

    def __init__(self, settings: VerdictWriter, space: SequenceSpace) -> None:
        super().__init__()
        if space.condition is None:
            raise ConfigError(
                f"discriminator={settings.kind!r}: reads two answers to a prompt, but these sequences are given none. "
                "Use a task of prompts and completions, or another discriminator.",
                code="verdicts_without_prompts",
                fields={"discriminator": settings.kind},
            )
        self._space, self._prompts = space, space.condition
        size, self._shift = space.vocab_size, 0
        if isinstance(settings.weights, FreshCritic):
            if not shares_alphabet(space):
                self._shift = size
                size += space.condition.vocab_size
            self._question = Question(
                first=(size,), second=(size + 1,), asked=(size + 2,), words=(size + 3, size + 4, size + 5)
            )
            size, network = size + 6, CausalLM(weights=settings.weights)
        else:
            assert settings.generator is not None and settings.question is not None, "see Config.settled"
            self._question, network = settings.question, CausalLM.model_validate(settings.generator)
        asked = self._question
        around = len(asked.first) + len(asked.second) + len(asked.asked)
        self._end = size  # none of the model's tokens, so that it is not read
        longest = space.condition.max_length + 2 * space.max_length + around
        read = SequenceSpace(size + 1, longest + 1, end_id=size)
        self.model = build_generator(network, SequenceSpace(size, 1, start_id=0, condition=read))

    def forward(self, tokens: Tensor, mask: Tensor, conditions: Tensor | None = None) -> NoReturn:
        """It has no logit of one sequence.

        Raises:
            ConfigError: always.
        """
        raise _of_one()

    def scorer(self) -> Scorer:
        """It has no logit of one sequence.

        Raises:
            ConfigError: always.
        """
        raise _of_one()

    def penalty(self) -> Tensor:
        """None of its own."""
        return next(self.parameters()).new_zeros(())

    @property
    def rows_at_once(self) -> int:
        """Pairs that are read at once: as many as have so many tokens together."""
        return max(1, min(2048, _TOKENS_AT_ONCE // (self._prompts.max_length + 2 * self._space.max_length)))

    def verdict_logprobs(self, duels: Duels) -> Tensor:
        """See `Discriminator.verdict_logprobs`: of the next token, restricted to the three words."""
        nothing = torch.zeros(len(duels), 1, dtype=torch.int64, device=duels.reals.device)
        logits = self.model.conditional(self.read(duels)).logits(nothing)[:, 0]
        return duels.named(logits[:, list(self._question.words)].log_softmax(1))

    def num_read_of(self, duels: Duels) -> Tensor:
        """See `Discriminator.num_read_of`."""
        return (self.read(duels) != self._end).sum(1, keepdim=True)

    def read(self, duels: Duels) -> Tensor:
        """(P, L + 1) int64 of the model's tokens, each row ended by an id that it does not read."""
        prompts, asked = duels.conditions, self._question
        is_prompt = sequence_mask(self._prompts, prompts)
        if not self._shift:
            # A terminator that is none of the sequences' tokens is not read.
            is_prompt = is_prompt & (prompts < self._space.vocab_size)
        parts = [(prompts + self._shift, is_prompt)]
        for words, answers in ((asked.first, duels.first), (asked.second, duels.second), (asked.asked, None)):
            ids = torch.tensor(words, device=prompts.device).expand(len(prompts), -1)
            parts.append((ids, torch.ones_like(ids, dtype=torch.bool)))
            if answers is not None:
                parts.append((answers, sequence_mask(self._space, answers)))
        ids, mask, _ = joined(parts)
        ids = ids.masked_fill(~mask, self._end)
        return torch.cat([ids, torch.full_like(ids[:, :1], self._end)], 1)


def _of_one() -> ConfigError:
    return ConfigError(
        "discriminator='verdict_writer': compares two answers to one prompt, and has no logit of a single sequence. "
        "Use a run with another discriminator, such as sequence_classifier.",
        code="verdict_needs_two",
        fields={"discriminator": "verdict_writer"},
    )
