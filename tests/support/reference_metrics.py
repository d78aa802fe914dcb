"""Slow, obvious twins of rlgan.metrics: loops written from the formulas, sharing nothing with the fast versions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

Tokens = Sequence[int]


def ngrams(sequence: Tokens, order: int) -> list[tuple[int, ...]]:
    """The n-grams of a sequence, in order, with repeats."""
    return [tuple(sequence[i : i + order]) for i in range(len(sequence) - order + 1)]


def sentence_bleu(hypothesis: Tokens, references: Sequence[Tokens], max_order: int) -> float:
    """BLEU-n of one hypothesis; the set of references is searched anew for every n-gram."""
    length = len(hypothesis)
    if length == 0:
        return 0.0
    log_precisions = []
    for order in range(1, max_order + 1):
        hypothesis_ngrams = ngrams(hypothesis, order)
        num_matches = 0
        for ngram in set(hypothesis_ngrams):
            most_in_one_reference = max(ngrams(reference, order).count(ngram) for reference in references)
            num_matches += min(hypothesis_ngrams.count(ngram), most_in_one_reference)
        if order == 1 and num_matches == 0:
            return 0.0
        denominator = max(1, len(hypothesis_ngrams))
        log_precisions.append(math.log((0.1 if num_matches == 0 else num_matches) / denominator))
    nearest = len(references[0])
    for reference in references:
        distance = abs(len(reference) - length)
        if distance < abs(nearest - length) or (distance == abs(nearest - length) and len(reference) < nearest):
            nearest = len(reference)
    brevity_penalty = 1.0 if length > nearest else math.exp(1 - nearest / length)
    return brevity_penalty * math.exp(sum(log_precisions) / max_order)


def corpus_bleu(hypotheses: Sequence[Tokens], references: Sequence[Tokens], max_order: int) -> float:
    """Sentence BLEU averaged over hypotheses."""
    return sum(sentence_bleu(hypothesis, references, max_order) for hypothesis in hypotheses) / len(hypotheses)


def self_bleu(sequences: Sequence[Tokens], max_order: int, leave_one_out: bool = True) -> float:
    """Self-BLEU; with `leave_one_out` off, the wrong public variant in which y is its own reference."""
    total = 0.0
    for i, sequence in enumerate(sequences):
        others = [other for j, other in enumerate(sequences) if j != i or not leave_one_out]
        total += sentence_bleu(sequence, others, max_order)
    return total / len(sequences)


def distinct(sequences: Sequence[Tokens], order: int) -> float:
    """Corpus-level distinct-n."""
    seen: list[tuple[int, ...]] = []
    num_ngrams = 0
    for sequence in sequences:
        for ngram in ngrams(sequence, order):
            num_ngrams += 1
            if ngram not in seen:
                seen.append(ngram)
    return len(seen) / num_ngrams if num_ngrams else 0.0


def repetition_rate(sequences: Sequence[Tokens], order: int) -> float:
    """Share of n-grams that stood earlier in the same sequence."""
    num_ngrams = num_repeated = 0
    for sequence in sequences:
        own = ngrams(sequence, order)
        for i, ngram in enumerate(own):
            num_ngrams += 1
            num_repeated += ngram in own[:i]
    return num_repeated / num_ngrams if num_ngrams else 0.0


def mean_nll(logprobs: Sequence[Sequence[float]], mask: Sequence[Sequence[bool]]) -> float:
    """Negative log-likelihood a real token."""
    total, num_tokens = 0.0, 0
    for row, row_mask in zip(logprobs, mask, strict=True):
        for logprob, is_real in zip(row, row_mask, strict=True):
            if is_real:
                total -= logprob
                num_tokens += 1
    return total / num_tokens


def auc(real_logits: Sequence[float], fake_logits: Sequence[float]) -> float:
    """Share of (real, fake) pairs in the right order, ties counting one half."""
    won = 0.0
    for real in real_logits:
        for fake in fake_logits:
            won += 1.0 if real > fake else 0.5 if real == fake else 0.0
    return won / (len(real_logits) * len(fake_logits))


def js_bits(one: Sequence[Tokens], other: Sequence[Tokens], order: int) -> float:
    """Jensen-Shannon divergence of n-gram frequencies, every n-gram of either set looked up in both."""
    ours = [ngram for sequence in one for ngram in ngrams(sequence, order)]
    theirs = [ngram for sequence in other for ngram in ngrams(sequence, order)]
    if not ours or not theirs:
        return 0.0 if not ours and not theirs else 1.0
    total = 0.0
    for ngram in set(ours + theirs):
        p, q = ours.count(ngram) / len(ours), theirs.count(ngram) / len(theirs)
        for share in (p, q):
            if share:
                total += 0.5 * share * math.log(share / ((p + q) / 2)) / math.log(2)
    return total


def nearest_jaccard(sequence: Tokens, training: Sequence[Tokens], order: int) -> float:
    """Jaccard distance to the nearest training sequence, each compared in turn."""

    def grams(tokens: Tokens) -> set[tuple[int, ...]]:
        return set(ngrams(tokens, order)) or {tuple(tokens)}

    return min(1 - len(grams(sequence) & grams(other)) / len(grams(sequence) | grams(other)) for other in training)


def reference_bleu(hypothesis: Tokens, reference: Tokens, max_order: int = 4) -> float:
    """BLEU against one reference, orders from 2 on with 1 added to matches and to totals."""
    if not hypothesis:
        return 0.0
    product = 1.0
    for order in range(1, max_order + 1):
        left = Counter(ngrams(reference, order))
        ours = Counter(ngrams(hypothesis, order))
        matches, total = (ours & left).total(), ours.total()
        product *= matches / total if order == 1 else (matches + 1) / (total + 1)
    return min(1.0, math.exp(1 - len(reference) / len(hypothesis))) * product ** (1 / max_order)


def rouge_l(hypothesis: Tokens, reference: Tokens) -> float:
    """F1 of the longest common subsequence, by the table of the textbook."""
    table = [[0] * (len(reference) + 1) for _ in range(len(hypothesis) + 1)]
    for i, ours in enumerate(hypothesis):
        for j, theirs in enumerate(reference):
            table[i + 1][j + 1] = table[i][j] + 1 if ours == theirs else max(table[i][j + 1], table[i + 1][j])
    common = table[-1][-1]
    if not common:
        return 0.0
    precision, recall = common / len(hypothesis), common / len(reference)
    return 2 * precision * recall / (precision + recall)
