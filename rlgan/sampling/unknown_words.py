"""Unknown words of what was written, replaced by those words of the source that were most attended to.

A generator that has learnt to write the unknown token where a rare word belongs looks at that word while it writes it.
So the word itself is put there, known to no vocabulary: copied as it stands, by no dictionary.

Source: Jean et al. 2015, section 3.3; Luong et al. 2015 (addressing the rare word problem).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rlgan.base.errors import ConfigError
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.vocabulary import UNK_NAME, join_tokens
from rlgan.generators import AttendingDistribution, Generator

_BATCH = 64  # sequences whose attention is held at once


def no_words(sources_are_words: bool, targets_are_words: bool) -> str | None:
    """Why nothing can be replaced, as the rest of a sentence; None where it can."""
    sides = {"sources": sources_are_words, "targets": targets_are_words}
    cut = " and ".join(side for side, are_words in sides.items() if not are_words)
    if not cut:
        return None
    return f"{cut} are tokenised into characters or pieces of words, so an unknown token does not stand for a word"


def with_source_words(
    written: Sequence[str], attention: Tensor, source: Sequence[str], separator: str | None = None
) -> list[str]:
    """Tokens of a sequence, each unknown one replaced by that word of its source which got most attention.

    Args:
        written: n tokens, by their names.
        attention: (T, S), T at least n, S at least as many as the source has tokens: row t is of the step that wrote
            token t.
        source: its tokens, as they were written.
        separator: token of sources that is no word.

    Returns:
        n tokens; unknown ones stay where the source has no word.
    """
    places = [place for place, word in enumerate(source) if word != separator]
    if not places:
        return list(written)
    best = attention[:, places].argmax(1).tolist()
    return [source[places[best[step]]] if name == UNK_NAME else name for step, name in enumerate(written)]


@torch.no_grad()
def texts_with_source_words(
    generator: Generator,
    space: SequenceSpace,
    token_names: Sequence[str],
    tokens: Tensor,
    conditions: Tensor,
    words: Sequence[Sequence[str]],
    separator: str | None,
    otherwise: str = UNK_NAME,
) -> list[str]:
    """Sequences of words as text, without unknown words.

    Args:
        generator: one that attends to what it is given; what it attends to while it writes these sequences counts.
        space: the task's sequences.
        token_names: V strings, how each id is shown.
        tokens: (B, T) int64 finished sequences.
        conditions: (B, S) int64.
        words: of each condition its tokens, as they were written.
        separator: token of sources that is no word, or None.
        otherwise: stands for unknown words of sequences whose source has no word.

    Returns:
        B strings.

    Raises:
        ConfigError: the generator does not say what it attends to.
    """
    generator.eval()
    texts = []
    for first in range(0, len(tokens), _BATCH):
        rows = slice(first, first + _BATCH)
        distribution = generator.conditional(conditions[rows])
        if not isinstance(distribution, AttendingDistribution):
            raise ConfigError(
                "--replace-unknown: this generator does not provide its attention to the source. Remove it.",
                code="replace_unknown_needs_attention",
            )
        for row, attention, source in zip(
            tokens[rows].tolist(), distribution.attention(tokens[rows]), words[rows], strict=True
        ):
            length = row.index(space.end_id) if space.end_id in row else len(row)
            written = [token_names[token] for token in row[:length]]
            if space.unknown_id in row[:length]:
                written = with_source_words(written, attention, source, separator)
                written = [otherwise if name == UNK_NAME else name for name in written]
            texts.append(join_tokens(written, "words"))
    return texts
