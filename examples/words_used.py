"""A metric of one's own that reads prompts: the share of the words in a prompt that its answer has.

    python examples/words_used.py
    rlgan train gad --demonstrations FILE --model FOLDER --evaluation.metrics words_used.py:words_used

chat_end_to_end.py measures it. A file of its own: a run keeps the source of its metrics, and `--resume` wants the same.

Prints it of an answer with all words, of one with half of them, and of both.
"""

from __future__ import annotations

import re

PROMPT = "<|start|>user\nbicycle, clock<|end|><|start|>assistant\n"


def words_used(texts: list[str], prompts: list[str]) -> float:
    """Of words of four letters and more in the user's first message; a message without any is left out."""
    shares = []
    for text, prompt in zip(texts, prompts, strict=True):
        words = re.findall(r"[a-z]{4,}", prompt.partition("user")[2].partition("<|")[0])
        if words:
            shares.append(sum(word in text.lower() for word in words) / len(words))
    return sum(shares) / max(1, len(shares))


if __name__ == "__main__":
    answers = ["A bicycle with a clock.", "A bicycle."]
    for texts in ([answers[0]], [answers[1]], answers):
        print(*texts, words_used(texts, [PROMPT] * len(texts)), sep=" | ")
