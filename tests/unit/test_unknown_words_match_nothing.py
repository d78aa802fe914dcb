"""An unknown word matches nothing: writing it is never better than writing a wrong known word, in any figure or reward.

The wrong word is one and the same known word that stands nowhere else, in no split and in no other place of the set. Of
figures that compare with other sequences the two must be equal, bit for bit; of those that count variety the unknown
word may also be worse.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import PairsTask, Task, build_task
from rlgan.envs.tasks.pair_files import Table
from rlgan.envs.tasks.sources import Summarization
from rlgan.envs.tasks.text import TextTask
from rlgan.envs.vocabulary import Vocabulary
from rlgan.evaluation.language_model_scores import LanguageModelScores
from rlgan.evaluation.learned_language_model import LearnedLanguageModel, learned_from
from rlgan.evaluation.pair_measures import BleuTokens, PairMeasures
from rlgan.evaluation.text_measures import TextMeasures
from rlgan.generators import LSTM, build_generator
from rlgan.metrics import (
    UNKNOWN,
    CorpusReferences,
    JaccardNeighbours,
    KneserNey,
    NgramFrequencies,
    distinct,
    mean_length,
    reference_bleu,
    reference_rouge_l,
    repetition_rate,
    self_bleu,
    share_unique,
    strip,
)
from rlgan.policy.metric_rewards import Bleu, ReferenceBleu, ReferenceRouge
from tests.support import reference_metrics as twin
from tests.support.drawn import drawn_in

WRONG = 9
"""A known word that stands nowhere."""
VOCAB = 10
SPACE = SequenceSpace(VOCAB, 7, end_id=0, unknown_id=Vocabulary.unknown_id)
Line = tuple[int, ...]

words = st.integers(2, 5)
lines = st.lists(words, max_size=6).map(tuple)
lines_with_unknown = st.lists(words | st.just(UNKNOWN), max_size=6).map(tuple)


@st.composite
def written(draw: st.DrawFn, at_least: int = 1) -> tuple[list[Line], list[Line]]:
    """Some lines with unknown words in some places, and with the wrong word in the same places."""
    chosen = draw(st.lists(lines, min_size=at_least, max_size=6))
    unknown, wrong = [], []
    for line in chosen:
        places = draw(st.lists(st.booleans(), min_size=len(line), max_size=len(line)))
        unknown.append(tuple(UNKNOWN if here else word for word, here in zip(line, places, strict=True)))
        wrong.append(tuple(WRONG if here else word for word, here in zip(line, places, strict=True)))
    return unknown, wrong


def padded(rows: list[Line]) -> torch.Tensor:
    tokens = torch.zeros(len(rows), SPACE.max_length, dtype=torch.int64)
    for row, line in zip(tokens, rows, strict=True):
        row[: len(line)] = torch.tensor(
            [Vocabulary.unknown_id if word == UNKNOWN else word for word in line], dtype=torch.int64
        )
    return tokens


def test_stripped_sequences_say_where_unknown_words_stand() -> None:
    assert strip(SPACE, torch.tensor([[2, 1, 3, 0, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1]])) == [(2, -1, 3), (-1,) * 7]
    assert strip(SequenceSpace(4, 3), torch.tensor([[1, 0, 1]])) == [(1, 0, 1)]


Compared = Callable[[list[Line], list[Line]], object]
COMPARED: dict[str, Compared] = {
    "BLEU": lambda own, others: CorpusReferences(others).sentence_bleu(own),
    "JS": lambda own, others: NgramFrequencies(own).js(NgramFrequencies(others)),
    "JS from the other side": lambda own, others: NgramFrequencies(others).js(NgramFrequencies(own)),
    "LM": lambda own, others: KneserNey(others, VOCAB, True, 3).probabilities(own).tolist(),
    "RLM": lambda own, others: KneserNey(own, VOCAB, True, 3).mean_nll(others, counts_unknown=False),
    "nearest": lambda own, others: JaccardNeighbours(others).distances(own).tolist(),
    "length": lambda own, others: mean_length(own),
}


@pytest.mark.property
@pytest.mark.parametrize("measure", COMPARED.values(), ids=COMPARED)
@settings(max_examples=60, deadline=None)
@given(both=written(), others=st.lists(lines_with_unknown, min_size=1, max_size=6))
def test_beside_other_sequences_it_is_a_word_that_stands_nowhere(
    measure: Compared, both: tuple[list[Line], list[Line]], others: list[Line]
) -> None:
    unknown, wrong = both
    assert measure(unknown, others) == measure(wrong, others)


@pytest.mark.property
@settings(max_examples=80, deadline=None)
@given(both=written(at_least=2), order=st.integers(1, 4))
def test_within_a_set_it_is_never_more_varied_than_one_wrong_word(
    both: tuple[list[Line], list[Line]], order: int
) -> None:
    unknown, wrong = both
    assert distinct(unknown, order) <= distinct(wrong, order)
    assert repetition_rate(unknown, order) == repetition_rate(wrong, order)
    assert share_unique(unknown) == share_unique(wrong)
    assert self_bleu(unknown) == self_bleu(wrong)


@pytest.mark.property
@settings(max_examples=80, deadline=None)
@given(both=written(), others=st.data())
def test_rewards_pay_it_as_a_wrong_word(both: tuple[list[Line], list[Line]], others: st.DataObject) -> None:
    unknown, wrong = map(padded, both)
    targets = padded([others.draw(lines_with_unknown) for _ in both[0]])
    for metric in (ReferenceBleu(), ReferenceBleu(order=1), ReferenceRouge()):
        paid = metric.compare(SPACE, unknown, targets)
        assert torch.equal(paid, metric.compare(SPACE, wrong, targets))
        # Nor does it pay to have been written where the target has an unknown word.
        plain = targets.masked_fill(targets == Vocabulary.unknown_id, WRONG - 1)
        assert torch.equal(paid, metric.compare(SPACE, unknown, plain))
    task = Task("text", SPACE, targets, targets, targets, tuple("abcdefghij"))

    def pg_bleu(tokens: torch.Tensor) -> torch.Tensor:
        return Bleu(num_references=2).of_sequences(drawn_in(SPACE, tokens), task, torch.Generator().manual_seed(0))

    assert torch.equal(pg_bleu(unknown), pg_bleu(wrong))


def test_rewards_of_unknown_words_by_hand() -> None:
    # `<unk> <unk> w <unk>`, which is its own target: one of four words matches, and no two.
    tokens = torch.tensor([[1, 1, 2, 1, 0, 0, 0]])
    assert float(reference_rouge_l(SPACE, tokens, tokens)) == pytest.approx(2 * 1 / (4 + 4))
    expected = (1 / 4 * 1 / 4 * 1 / 3 * 1 / 2) ** 0.25
    assert float(reference_bleu(SPACE, tokens, tokens)) == pytest.approx(expected)
    nothing = torch.tensor([[1, 1, 1, 0, 0, 0, 0]])
    assert float(reference_bleu(SPACE, nothing, nothing)) == 0.0 == float(reference_rouge_l(SPACE, nothing, nothing))


def test_measures_of_unknown_words_by_hand() -> None:
    u = UNKNOWN
    assert CorpusReferences([(2, u, 3)]).bleu([(2, u, 3)])[2] == pytest.approx((2 / 3 * 0.1 / 2) ** 0.5)
    assert CorpusReferences([(u, u)]).bleu([(u, u)])[2] == 0.0
    # Half of each set's words are the other's: the two halves that are not count one bit each.
    assert NgramFrequencies([(2, u)], 1).js(NgramFrequencies([(2, u)], 1))[1] == pytest.approx(0.5)
    # Of its four 3-grams the two that hold the unknown word are not found.
    own = (2, 3, 4, 3, u, 4)
    assert JaccardNeighbours([own]).distances([own])[0] == pytest.approx(1 - 2 / (4 + 4 - 2))
    assert JaccardNeighbours([(u,)]).distances([(u,)])[0] == 1.0
    assert distinct([(2, u, u, u)], 1) == 1 / 4 and distinct([(2, u), (u, 2)], 2) == 0.0
    assert repetition_rate([(u, u, u, u)], 1) == 3 / 4 and share_unique([(2, u), (2, u)]) == 0.5
    assert self_bleu([(u, u), (u, u)])[2] == pytest.approx(1.0)


@pytest.mark.property
@settings(max_examples=40, deadline=None)
@given(train=st.lists(lines_with_unknown, min_size=1, max_size=8), before=lines, order=st.integers(1, 4))
def test_no_known_word_is_less_likely_than_an_unknown_one(train: list[Line], before: Line, order: int) -> None:
    model = KneserNey(train, VOCAB, True, order)
    unknown = model.probabilities([(*before, UNKNOWN)])[-2]
    # All ids but that of the unknown token, which nobody writes beside UNKNOWN.
    known = [model.probabilities([(*before, word)])[-2] for word in range(2, VOCAB)]
    assert unknown <= min(known)
    # Together with the end they are no more than all there is.
    assert sum(known) + unknown + model.probabilities([before])[-1] <= 1.0 + 1e-12


def test_a_reverse_score_is_of_words_that_can_be_written() -> None:
    model = KneserNey([(2, 3), (2, UNKNOWN)], VOCAB, True, 2)
    held_out = [(2, UNKNOWN, 3)]
    found = model.probabilities(held_out)
    assert len(found) == 4
    assert model.mean_nll(held_out) == pytest.approx(float(-torch.tensor(found).log().mean()))
    left = torch.tensor(found)[[0, 2, 3]]
    assert model.mean_nll(held_out, counts_unknown=False) == pytest.approx(float(-left.log().mean()))


@pytest.mark.heavy
def test_a_learned_language_model_finds_an_unknown_word_least_likely() -> None:
    rng = torch.Generator().manual_seed(0)
    # Unknown words are most of what it learns from.
    train = torch.where(
        torch.rand(200, 7, generator=rng) < 0.7, Vocabulary.unknown_id, torch.randint(2, VOCAB, (200, 7), generator=rng)
    )
    tiny = LearnedLanguageModel(network=LSTM(embedding=8, hidden=16), epochs=3)
    nll = learned_from(tiny, SPACE, train, train[:20], seed=0)
    for word in range(2, VOCAB):
        # Of one token, what follows cannot differ.
        short = [torch.tensor([[one] + [0] * 6]) for one in (Vocabulary.unknown_id, word)]
        ends = [nll(one, counts_unknown=False) for one in short]
        first = [2 * nll(short[0]) - ends[0], 2 * nll(short[1]) - nll(torch.tensor([[word, 0, 0, 0, 0, 0, 0]]))]
        assert first[0] >= first[1] - 1e-5
    all_known = train.masked_fill(train == Vocabulary.unknown_id, 2)
    assert nll(all_known) == nll(all_known, counts_unknown=False)
    assert nll(train) > nll(all_known)


def scores_of(task: Task) -> LanguageModelScores:
    return LanguageModelScores(task, None, length_matched=False, seed=0)


def text_task(folder: Path, max_size: int | None = None) -> Task:
    lines = [f"{a} {b} likes every {c} ." for a in ("some", "all", "no") for b in ("cat", "dog", "owl") for c in "xyz"]
    for name in ("train", "valid", "test"):
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", "utf-8")
    paths = {name: str(folder / f"{name}.txt") for name in ("valid", "test")}
    return build_task(TextTask(data=str(folder / "train.txt"), max_size=max_size, **paths))


def test_all_measures_of_a_task_together(tmp_path: Path) -> None:
    """Unknown words in the places of known ones make no figure of quality better."""
    task = text_task(tmp_path, max_size=8)
    measures = TextMeasures(
        task, num_bleu=50, num_nearest=50, encoders=["ngram64"], scores=LanguageModelScores(task, None, False, 0)
    )
    plain = task.test.masked_fill(task.test == Vocabulary.unknown_id, 2)
    rng = torch.Generator().manual_seed(1)
    unknown = plain.masked_fill((torch.rand(plain.shape, generator=rng) < 0.4) & (plain != 0), Vocabulary.unknown_id)
    better, worse = (
        measures.measure(tokens) | measures.measure_closely(tokens, are_valid=False) for tokens in (plain, unknown)
    )
    for order in range(2, 6):
        assert worse[f"eval/bleu_{order}"] < better[f"eval/bleu_{order}"]
    for name in ("lm_5gram", "rlm_5gram", "js_1", "js_4", "fed_ngram64", "nearest_jaccard", "nearest_ngram64"):
        assert worse[f"eval/{name}"] > better[f"eval/{name}"], name
    assert (
        worse["eval/distinct_1"] <= better["eval/distinct_1"] and worse["eval/distinct_2"] < better["eval/distinct_2"]
    )


def test_real_sequences_with_unknown_words_are_not_their_own_match(tmp_path: Path) -> None:
    task = text_task(tmp_path, max_size=8)
    assert task.space.unknown_id == Vocabulary.unknown_id and bool((task.test == Vocabulary.unknown_id).any())
    measures = TextMeasures(
        task, num_bleu=50, num_nearest=50, encoders=["ngram64"], scores=LanguageModelScores(task, None, False, 0)
    )
    found = measures.measure(task.test) | measures.measure_closely(task.test, are_valid=False)
    assert found["eval/bleu_2"] < 1.0 and found["eval/js_1"] > 0.0 and found["eval/fed_ngram64"] > 0.0
    # Seen as what is measured, samples and held-out sequences stand alike beside what was learned from.
    assert found["eval/nearest_ngram64_ks"] == 0.0 == found["eval/nearest_jaccard_ks"]


def test_names_that_are_rare(data_dir: Path) -> None:
    """BLEU of names without an id: .945 where they matched each other, .288 by the words themselves."""
    task = build_task(TextTask(data=str(data_dir / "cases" / "rare_names.txt"), max_size=15))
    measures = TextMeasures(
        task, num_bleu=1_000, num_nearest=10, encoders=[], scores=LanguageModelScores(task, None, False, 0)
    )
    found = measures.measure(task.valid)["eval/bleu_2"]
    hypotheses, references = (strip(task.space, split) for split in (task.valid, task.test))
    # The slow twin, with every unknown word a word of its own.
    fresh = iter(range(10**6, 10**7))
    told_apart = [
        [[next(fresh) if word == UNKNOWN else word for word in line] for line in some]
        for some in (hypotheses[:20], references)
    ]
    few = CorpusReferences(references, 2).bleu(hypotheses[:20])[2]
    assert few == pytest.approx(twin.corpus_bleu(*told_apart, max_order=2))
    assert found < 0.5


# ----------------------------------------------------------------------------------------------------------- pairs

WRONG_WORDS = ("q", "zq", "qzx", "zzzzq", "xqzxqzxqz")
"""Known words of which no letter stands in a reference."""
NOBODY = build_generator(LSTM(embedding=1, hidden=1), SequenceSpace(2, 2))


def measures_of_pairs(folder: Path, targets: list[list[str]], tokeniser: BleuTokens) -> tuple[Task, PairMeasures]:
    """Of summaries, for they have ROUGE, too; `s0 s1 ...` are their sources, one each."""
    rest = [f"r{place}\t{word} a b c d e f\n" for place, word in enumerate(WRONG_WORDS)]
    (folder / "train.tsv").write_text("".join(rest), "utf-8")
    lines = [f"s{place}\t{' '.join(words)}\n" for place, words in enumerate(targets)]
    (folder / "test.tsv").write_text("".join(lines), "utf-8")
    files = {"valid": str(folder / "train.tsv"), "test": str(folder / "test.tsv")}
    task = build_task(
        PairsTask(input=Table(data=str(folder / "train.tsv"), **files), domain=Summarization(), max_length=9)
    )
    return task, PairMeasures(task, tokeniser)


def as_tokens(task: Task, lines: list[list[str]]) -> torch.Tensor:
    ids = {name: token for token, name in enumerate(task.token_names)}
    rows = [[ids[word] for word in line] + [task.space.pad_id] * (task.space.max_length - len(line)) for line in lines]
    return torch.tensor(rows)


@pytest.mark.property
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), tokeniser=st.sampled_from(["13a", "intl", "zh", "char", "none"]))
def test_of_pairs_it_is_never_better_than_a_wrong_word_of_any_length(
    tmp_path: Path, data: st.DataObject, tokeniser: BleuTokens
) -> None:
    several = st.lists(st.sampled_from("abcdef"), min_size=4, max_size=8)
    written = data.draw(st.lists(several, min_size=1, max_size=4))
    task, measures = measures_of_pairs(tmp_path, [data.draw(several) for _ in written], tokeniser)
    wrong, unknown = [], []
    for line in written:
        instead = data.draw(st.lists(st.none() | st.sampled_from(WRONG_WORDS), min_size=len(line), max_size=len(line)))
        wrong.append([other or word for word, other in zip(line, instead, strict=True)])
        unknown.append(["<unk>" if other else word for word, other in zip(line, instead, strict=True)])
    of_wrong, of_unknown = (measures.measure(as_tokens(task, lines), NOBODY) for lines in (wrong, unknown))
    for name in ("corpus_bleu", "chrf", "rouge_1", "rouge_2", "rouge_l"):
        assert of_unknown[f"eval/{name}"] <= of_wrong[f"eval/{name}"] * (1 + 1e-12), name
        if name != "chrf" and tokeniser != "char":
            assert of_unknown[f"eval/{name}"] == of_wrong[f"eval/{name}"]  # one word is one word
    groups = np.arange(len(written))
    of_groups = [measures.chrf(as_tokens(task, lines), NOBODY, groups) for lines in (wrong, unknown)]
    assert of_groups[1][0] == of_unknown["eval/chrf"] and (of_groups[1][1] <= of_groups[0][1] * (1 + 1e-12)).all()


def test_chrf_of_an_unknown_word_by_hand(tmp_path: Path) -> None:
    """It was 75.23 where a word of three wrong letters has 73.68, for the sign that stood for it was one character."""
    task, measures = measures_of_pairs(tmp_path, [["a", "b", "c", "d", "e", "f"]], "13a")
    chrf = {
        word: measures.measure(as_tokens(task, [["a", "b", "c", "d", "e", word]]), NOBODY)["eval/chrf"]
        for word in (*WRONG_WORDS, "<unk>")
    }
    # k-grams of abcde + 9 wrong letters: of 14-k+1 there match 5-k+1, of the reference's 6-k+1. The sixth has none.
    matches = [5, 4, 3, 2, 1, 0]
    precision = sum(match / (15 - order) for order, match in enumerate(matches, 1)) / 6
    recall = sum(match / (7 - order) for order, match in enumerate(matches, 1)) / 6
    assert chrf["<unk>"] == pytest.approx(100 * 5 * precision * recall / (4 * precision + recall))
    assert chrf["<unk>"] == chrf[WRONG_WORDS[-1]] < min(chrf[word] for word in WRONG_WORDS[:-1])
