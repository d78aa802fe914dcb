"""Your own reward with a discriminator: sentences that follow the conventions of docstrings (PEP 257).

    python examples/own_reward.py

PEP 257 asks for a command that ends in a period: "Return the path.", not "Returns the path". A third of the standard
library's sentences do not follow it, and neither do those of a generator that learned from them by likelihood. Here
sentences that follow it are rewarded, while the discriminator keeps them similar to real ones.

Prints the share of sentences that follow PEP 257, for real ones and for each generator, and the cost of the reward: how
well the generator predicts real test sentences (nll_gen, nats per token) and how similar its samples are to each other
(self_bleu_2). Then three samples with the logit of the discriminator.
"""

from __future__ import annotations

from collections.abc import Sequence

from corpus import sentences

import rlgan

WORDS_AND_MARKS = r"\s?\w+|\s?[^\w\s]"
"""A token is a word with the blank before it, or a mark: so texts come back as they were written."""


def pep257(completions: Sequence[str], **columns: object) -> list[float]:
    """1 for a sentence that begins with a command and ends in a period, 1/2 for either, 0 for neither."""
    rewards = []
    for text in completions:
        first = text.split(" ")[0]
        is_command = first.isalpha() and first.istitle() and not first.endswith("s")
        rewards.append((is_command + text.endswith(".")) / 2)
    return rewards


def keep_pep257(texts: Sequence[str]) -> float:
    """Share of texts that keep both conventions: a column of the final table."""
    return sum(reward == 1.0 for reward in pep257(texts)) / len(texts)


def main() -> None:
    run = rlgan.train(
        "seqgan_rloo",
        data=sentences(),
        tokens="regex",
        task={"tokens": {"pattern": WORDS_AND_MARKS, "min_count": 2}, "max_length": 24},
        reward=pep257,
        generator={"hidden": 64, "embedding": 64},
        discriminator={"embedding": 32, "windows": [1, 2, 3, 4], "filters": [32, 32, 32, 32]},
        adversary={"sequences_per_round": 500},
        schedule={"mle_epochs": 6, "discriminator_rounds": 3, "adversarial_updates": 40, "g_batch": 128, "d_epochs": 1},
        evaluation={
            "every": 20,
            "temperatures": [1.0],
            "num_sequences": 500,
            "final_sequences": 500,
            "metrics": [keep_pep257],
        },
        settings={"evaluation.metrics.0.direction": "max"},
        controls=["mle_continued"],
    )
    print(run.table[["name", "own_keep_pep257", "nll_gen", "self_bleu_2"]].round(3).to_string(index=False))
    print(run.score(run.sample(3, seed=1))[["discriminator_logit", "text"]].round(2).to_string(index=False))


if __name__ == "__main__":
    main()
