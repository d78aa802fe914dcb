"""Texts of a reader as a task's sequences: what `decode` does, the other way round."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from rlgan.base.errors import ConfigError, DataError

from ..model_tokens import ModelTokens
from ..sequence_space import SequenceSpace
from ..tokenisers import NotCoveredError
from ..vocabulary import Joining
from .lines import padded
from .pairs import PairsTask
from .pieces import Cleaning, TokenSettings, is_learnt, restored_cutting
from .sources import marks_of
from .text import TextTask


def encode_texts(
    task: object,
    names: Sequence[str],
    joining: Joining,
    space: SequenceSpace,
    texts: Sequence[str],
    model_tokens: ModelTokens | None = None,
    *,
    cuts: bool = False,
) -> Tensor:
    """Texts as token ids, cut as the task cuts its own sequences.

    Args:
        task: settings of the task; of one that reads no files a text is tokens by their names.
        names: how each id is shown.
        joining: how tokens become text.
        space: the task's sequences.
        texts: n of them.
        model_tokens: of a language model, in which the task is written; None where its tokens are its own.
        cuts: whether a text that is too long is cut, and an empty one is allowed where sequences end.

    Returns:
        (n, T) int64, padded after the terminator.

    Raises:
        ConfigError: the task's tokens were learned from its training text, so that a text cannot be cut without it.
        DataError: a text is empty, too long, or has a token that the task has not; says which text it is.
    """
    cut = _cutting(task, names, joining, model_tokens)
    # One of the greatest length has no terminator, as the generator draws such; of a task without, all are of it.
    most = space.max_length
    rows = []
    for number, text in enumerate(texts):
        try:
            ids = cut(text)
        except NotCoveredError as error:
            raise DataError(f"text {number}: {error}", code="text_not_encodable") from None
        except KeyError as error:
            raise DataError(
                f"text {number}: {error.args[0]!r} is not a token of this task. Remove the text.",
                code="text_unknown_token",
            ) from None
        if cuts:
            ids = ids[:most]
        is_empty = not ids and not (cuts and space.end_id is not None)
        if is_empty or len(ids) > most or (space.end_id is None and len(ids) < most):
            wanted = f"{most}" if space.end_id is None else f"1 to {most}"
            raise DataError(
                f"text {number}: has {len(ids)} tokens, but sequences of the task have {wanted}. Remove or shorten "
                "the text.",
                code="text_length",
            )
        rows.append(ids)
    return padded(rows, space)


def _cutting(
    task: object, names: Sequence[str], joining: Joining, model_tokens: ModelTokens | None
) -> Callable[[str], list[int]]:
    if model_tokens is not None:
        return lambda text: model_tokens.completion_ids([text])[0]
    return _cut_of_files(task, names) if isinstance(task, TextTask | PairsTask) else _cut_by_names(names, joining)


def _cut_of_files(task: TextTask | PairsTask, names: Sequence[str]) -> Callable[[str], list[int]]:
    tokens: TokenSettings = task.tokens if isinstance(task, TextTask) else task.target_tokens
    marks = () if isinstance(task, TextTask) else marks_of(task.domain)[1]
    if is_learnt(tokens):
        raise ConfigError(
            f"score: this run learned its tokens (tokens={tokens.kind!r}) from its training text, and its folder "
            "does not store how to tokenise text. Train with tokens='word' or 'char' to score texts.",
            code="tokens_not_stored",
            fields={"tokens": tokens.kind},
        )
    clean = Cleaning(tokens, task.lowercase, task.normalisation)
    cutting, vocabulary = restored_cutting(tokens, names, marks, None)
    return lambda text: vocabulary.encode(cutting.tokenise(clean(text)))


def _cut_by_names(names: Sequence[str], joining: Joining) -> Callable[[str], list[int]]:
    ids = {name: index for index, name in enumerate(names)}
    return lambda text: [ids[name] for name in (text.split() if joining == "words" else text)]
