"""BLEU and chrF of pairs: numbers worked out by hand, references by source, what has no library."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from rlgan.base.errors import ConfigError
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import PairsTask, Task, build_task
from rlgan.envs.tasks.pair_files import PairsFile, Table
from rlgan.envs.tasks.pieces import Characters
from rlgan.envs.tasks.sources import Summarization
from rlgan.evaluation import pair_measures
from rlgan.evaluation.evaluator import EvaluationSettings, Evaluator, selection_view
from rlgan.evaluation.pair_measures import BleuTokens, PairMeasures
from rlgan.generators import LSTM, Seq2SeqLSTM, build_generator
from tests.support.errors import refused

TRAIN = "eins\tthe cat sat on the mat\nzwei\ta dog ran\ndrei\tdogs run here now\nvier\ta cat was\n"
TEST = "eins\tthe cat sat on the mat\nzwei\ta dog ran\neins\ta cat was on the mat\n"

NOBODY = build_generator(LSTM(embedding=1, hidden=1), SequenceSpace(2, 2))
"""A generator that attends to nothing, and is not asked."""


@pytest.fixture
def task(tmp_path: Path) -> Task:
    for name, text in (("train", TRAIN), ("valid", TRAIN), ("test", TEST)):
        (tmp_path / f"{name}.tsv").write_text(text, "utf-8")
    files = {name: str(tmp_path / f"{name}.tsv") for name in ("valid", "test")}
    return build_task(PairsTask(input=Table(data=str(tmp_path / "train.tsv"), **files), max_length=8))


def written(task: Task, *lines: str) -> torch.Tensor:
    ids = {name: index for index, name in enumerate(task.token_names)}
    rows = [[ids[word] for word in line.split()] for line in lines]
    return torch.tensor([row + [task.space.pad_id] * (task.space.max_length - len(row)) for row in rows])


def test_each_source_is_written_for_once_with_all_its_targets_as_references(task: Task) -> None:
    measures = PairMeasures(task, "13a")
    assert task.conditions is not None
    assert task.conditions.decode(measures.conditions) == ["eins", "zwei"]
    for line in ("the cat sat on the mat", "a cat was on the mat"):
        found = measures.measure(written(task, line, "a dog ran"), NOBODY)
        # Of three words there is no 4-gram to be missed.
        assert found["eval/corpus_bleu"] == pytest.approx(100.0) and found["eval/chrf"] == pytest.approx(100.0)
    assert found["eval/decoded_length"] == 4.5


def test_bleu_is_that_of_papineni_worked_out_by_hand(task: Task) -> None:
    found = PairMeasures(task, "13a").measure(written(task, "the cat sat on mat", "a dog ran"), NOBODY)
    # Matches of 1- to 4-grams: 5 + 3 of 8, 3 + 2 of 6, 2 + 1 of 4, 1 of 2; 8 words beside the nearest 6 + 3.
    precisions = (8 / 8, 5 / 6, 3 / 4, 1 / 2)
    expected = 100 * math.exp(1 - 9 / 8) * math.prod(precisions) ** 0.25
    assert found["eval/corpus_bleu"] == pytest.approx(expected, rel=1e-6)


def test_references_are_what_was_written(tmp_path: Path) -> None:
    files = {"data": "eins\tthe cat\nzwei\ta cat sat\n", "valid": TRAIN, "test": "eins\tthe owl sat on a mat\n"}
    for name, text in files.items():
        (tmp_path / f"{name}.tsv").write_text(text, "utf-8")
    task = build_task(PairsTask(input=Table(**{name: str(tmp_path / f"{name}.tsv") for name in files}), max_length=4))
    assert task.decode(task.test) == ["the <unk> sat <unk>"]
    found = PairMeasures(task, "13a").measure(task.test, NOBODY)
    # Beside `the owl sat on a mat` two of four words match, and no two of them in a row. An unknown one is one word.
    assert found["eval/corpus_bleu"] == pytest.approx(
        100 * math.exp(1 - 6 / 4) * (2 / 4 * 1 / (2 * 3) * 1 / (4 * 2) * 1 / (8 * 1)) ** 0.25, rel=1e-6
    )


def test_targets_are_a_yardstick_of_the_form_of_answers(task: Task) -> None:
    found = Evaluator(task, EvaluationSettings(num_sequences=4), seed=0).measure_real().metrics
    assert found == PairMeasures(task, "13a").measure_form(task.valid)
    assert found["eval/decoded_length"] == (6 + 3 + 4 + 3) / 4 and found["eval/decoded_unfinished"] == 0.0


def test_the_evaluator_measures_the_likeliest_sequences(task: Task) -> None:
    torch.manual_seed(0)
    net = build_generator(Seq2SeqLSTM(embedding=4, hidden=6, init_std=0.7), task.space)
    measured = {
        beam: Evaluator(task, EvaluationSettings(num_sequences=4, beam=beam), seed=0).measure(net).metrics
        for beam in (1, 20)
    }
    distribution = net.conditional(PairMeasures(task, "13a").conditions)
    assert measured[1]["eval/decoded_length"] != measured[20]["eval/decoded_length"]
    for found in measured.values():
        assert 0.0 <= found["eval/corpus_bleu"] <= 100.0 and found["eval/nll_gen"] > 0
    greedy = torch.full((2, 8), task.space.pad_id)
    for position in range(8):
        with torch.no_grad():
            greedy[:, position] = distribution.logits(greedy)[:, position].argmax(1)
    expected = PairMeasures(task, "13a").measure(greedy, net)
    assert {name: measured[1][name] for name in expected} == pytest.approx(expected)


def test_scores_to_select_by_are_of_the_validation_split(task: Task) -> None:
    torch.manual_seed(0)
    net = build_generator(Seq2SeqLSTM(embedding=4, hidden=6, init_std=0.7), task.space)
    view = selection_view(task)
    measures = PairMeasures(view, "13a")
    assert task.conditions is not None and view.conditions is not None
    assert task.conditions.decode(measures.conditions) == ["eins", "zwei", "drei", "vier"]
    evaluator = Evaluator(view, EvaluationSettings(num_sequences=4), seed=0)
    tokens = evaluator._likeliest.of(net, 1.0, measures.conditions)
    for measure in ("corpus_bleu", "chrf"):
        assert evaluator.figure(net, measure) == measures.measure(tokens, net)[f"eval/{measure}"] > 0.0


def test_without_the_library_it_is_told(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_measures, "find_spec", lambda name: None)
    with refused(ConfigError, "needs_sacrebleu"):
        PairMeasures(task, "13a")


# ---------------------------------------------------------------------------------------------------------- script


def chinese(data_dir: Path, **changes: object) -> Task:
    table = Table(data=str(data_dir / "cases" / "zh.tsv"))
    return build_task(PairsTask(input=table, vocabulary={"kind": "separate", "target": {"kind": "char"}}, **changes))


def perfect(measures: PairMeasures, task: Task) -> torch.Tensor:
    """What was written for each of the different sources, the first time."""
    assert task.conditions is not None
    sources = task.conditions.test.tolist()
    return task.test[torch.tensor([sources.index(source) for source in measures.conditions.tolist()])]


@pytest.mark.parametrize(
    ("asked", "used", "score"), [("auto", "zh", 100.0), ("char", "char", 100.0), ("13a", "13a", 0.0)]
)
def test_a_perfect_translator_into_chinese(data_dir: Path, asked: BleuTokens, used: str, score: float) -> None:
    task = chinese(data_dir)
    measures = PairMeasures(task, asked)
    found = measures.measure(perfect(measures, task), NOBODY)
    assert measures.tokeniser == used
    assert found["eval/corpus_bleu"] == pytest.approx(score) and found["eval/chrf"] == pytest.approx(100.0)


def test_the_tokeniser_is_named_with_its_reason(data_dir: Path, task: Task, tmp_path: Path) -> None:
    described = "BLEU: of words as tokenised by sacrebleu's {} ({})"
    share = "{}% of the letters in the references belong to scripts without spaces"
    assert PairMeasures(task, "auto").notes == (described.format("13a", share.format(0)),)
    evaluator = Evaluator(chinese(data_dir), EvaluationSettings(), seed=0)
    assert evaluator.notes == (described.format("zh", share.format(100)),) and evaluator.tags == {"bleu_tokens": "zh"}
    assert PairMeasures(task, "intl").notes == (described.format("intl", "evaluation.bleu_tokens"),)
    of_summaries = summaries(tmp_path, ("eins", "a b c d"), ("zwei", "c d"))
    assert PairMeasures(of_summaries, "auto").notes[0].startswith("BLEU and ROUGE: of words as")


def test_bleu_that_must_be_zero_is_told_and_is_nothing_to_select_by(data_dir: Path) -> None:
    task = chinese(data_dir)
    wrong = Evaluator(task, EvaluationSettings(bleu_tokens="13a"), seed=0)
    assert wrong.notes[1].startswith("warning: BLEU of these references is always 0: the longest has 1 word")
    with refused(ConfigError, "bleu_selects_nothing", match="'corpus_bleu'"):
        wrong.require_figure("corpus_bleu")
    wrong.require_figure("chrf")
    Evaluator(task, EvaluationSettings(), seed=0).require_figure("corpus_bleu")


def test_three_words_are_too_few_for_bleu(tmp_path: Path) -> None:
    path = tmp_path / "short.tsv"
    path.write_text("eins\ta b c\nzwei\tb c\n", "utf-8")
    task = build_task(PairsTask(input=Table(data=str(path), valid=str(path), test=str(path)), max_length=8))
    measures = PairMeasures(task, "auto")
    assert measures.why_zero is not None and "the longest has 3 words" in measures.why_zero
    assert measures.measure(perfect(measures, task), NOBODY)["eval/corpus_bleu"] == 0.0


def test_rouge_follows_the_script(tmp_path: Path) -> None:
    task = summaries(tmp_path, ("eins", "狗跑猫看"), vocabulary={"kind": "shared", "tokens": Characters()})
    measures = PairMeasures(task, "auto")
    assert measures.tokeniser == "zh"
    assert measures.measure(perfect(measures, task), NOBODY)["eval/rouge_2"] == pytest.approx(100.0)


def test_the_sign_of_unknown_words_stands_in_no_reference(tmp_path: Path) -> None:
    path = tmp_path / "signs.tsv"
    path.write_text("eins\tthe ⁇ sat ⁇ on a mat\n", "utf-8")
    (tmp_path / "train.tsv").write_text("eins\tthe cat sat on a mat\n", "utf-8")
    files = {"data": str(tmp_path / "train.tsv"), "valid": str(path), "test": str(path)}
    task = build_task(PairsTask(input=Table(**files), max_length=8))
    assert task.decode(task.test) == ["the <unk> sat <unk> on a mat"]
    found = PairMeasures(task, "auto").measure(task.test, NOBODY)
    # 5 of 7 words, of 2-grams `on a` and `a mat`, of 3-grams `on a mat`.
    expected = 100 * (5 / 7 * 2 / 6 * 1 / 5 * 1 / (2 * 4)) ** 0.25
    assert found["eval/corpus_bleu"] == pytest.approx(expected, rel=1e-6)


# ------------------------------------------------------------------------------------------------------- summaries


def summaries(tmp_path: Path, *pairs: tuple[str, str], **changes: object) -> Task:
    """The same pairs to learn from and to be measured on."""
    path = tmp_path / "summaries.tsv"
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), "utf-8")
    table = Table(data=str(path), valid=str(path), test=str(path))
    return build_task(PairsTask(input=table, domain=Summarization(), max_length=8, **changes))


def test_rouge_of_summaries_by_hand_with_the_best_reference(tmp_path: Path) -> None:
    task = summaries(tmp_path, ("eins", "a b c d"), ("eins", "d c"), ("zwei", "b d"))
    found = PairMeasures(task, "13a").measure(written(task, "a c", "b d"), NOBODY)
    # "a c" with "a b c d": 2 of 2 and 2 of 4, so 2/3, and no 2-gram; with "d c" 1 of 2. "b d" is its reference.
    assert found["eval/rouge_1"] == pytest.approx(100 * (2 / 3 + 1) / 2)
    assert found["eval/rouge_2"] == pytest.approx(100 * (0 + 1) / 2)
    assert found["eval/rouge_l"] == pytest.approx(100 * (2 / 3 + 1) / 2)
    # Each figure has its own best reference: in "c d" both letters of "d c" stand, in the wrong order.
    found = PairMeasures(task, "13a").measure(written(task, "c d", "b d"), NOBODY)
    assert found["eval/rouge_1"] == pytest.approx(100.0) and found["eval/rouge_l"] == pytest.approx(
        100 * (2 / 3 + 1) / 2
    )


def test_rouge_counts_the_words_that_bleu_counts(tmp_path: Path) -> None:
    # The library's own words are runs of a-z and 0-9: of these two none would be left, and of "é" nothing.
    task = summaries(tmp_path, ("eins", "狗跑"), vocabulary={"kind": "shared", "tokens": Characters()})
    names = {name: index for index, name in enumerate(task.token_names)}
    half = torch.tensor([[names["狗"]] + [task.space.pad_id] * (task.space.max_length - 1)])
    assert PairMeasures(task, "zh").measure(half, NOBODY)["eval/rouge_1"] == pytest.approx(100 * 2 / 3)
    assert PairMeasures(task, "13a").measure(half, NOBODY)["eval/rouge_1"] == 0.0


def test_only_summaries_have_rouge(task: Task) -> None:
    assert not [name for name in PairMeasures(task, "13a").measure(written(task, "a", "a"), NOBODY) if "rouge" in name]


def test_without_the_library_of_rouge_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: Task) -> None:
    monkeypatch.setattr(pair_measures, "find_spec", lambda name: None if name == "rouge_score" else name)
    with refused(ConfigError, "needs_rouge"):
        PairMeasures(summaries(tmp_path, ("eins", "a b"), ("zwei", "c d")), "13a")
    PairMeasures(task, "13a")


def test_documents_that_only_begin_alike_have_references_of_their_own(tmp_path: Path) -> None:
    begin = "for immediate release : " * 3
    lines = [f"{begin}{a}\t{a} b {c} d\n" for a, c in zip("efghijkl", "mnopqrst", strict=True)]
    files = {"data": lines, "valid": lines, "test": [*lines[:4], f"{begin}e\te b x d\n"]}
    for name, text in files.items():
        (tmp_path / f"{name}.tsv").write_text("".join(text), "utf-8")
    task = build_task(
        PairsTask(
            input=Table(**{name: str(tmp_path / f"{name}.tsv") for name in files}),
            domain=Summarization(max_source_length=5),
        )
    )
    assert task.conditions is not None and len(task.conditions.test.unique(dim=0)) == 1
    measures = PairMeasures(task, "13a")
    # Four documents, of which the first has two summaries; one sentence for all of them is right of one alone.
    assert measures.conditions.shape[0] == 4
    found = measures.measure(written(task, *["e b m d"] * 4), NOBODY)
    # 1-grams: 4 of the first, `b` and `d` of the other three; bigrams: 3 + 0; and so on.
    precisions = (10 / 16, 3 / 12, 2 / 8, 1 / 4)
    assert found["eval/corpus_bleu"] == pytest.approx(100 * math.prod(precisions) ** 0.25, rel=1e-6)
    assert found["eval/rouge_1"] == pytest.approx(100 * (1 + 3 * 0.5) / 4)
    view = selection_view(task)
    assert view.conditions is not None and view.conditions.test_sources is task.conditions.valid_sources


def test_one_sentence_for_documents_that_begin_alike_is_what_a_report_should_have_read(data_dir: Path) -> None:
    path = data_dir / "cases" / "boiler.jsonl"
    if not path.is_file():
        pytest.skip(f"no {path}")
    task = build_task(PairsTask(input=PairsFile(data=str(path)), domain=Summarization(max_source_length=40)))
    assert task.conditions is not None and len(task.conditions.test.unique(dim=0)) == 1
    found = PairMeasures(task, "13a").measure(written(task, *["one quick house likes the house ."] * 10), NOBODY)
    # 57.1 and 20.6 where the ten documents were one with ten references.
    assert (round(found["eval/rouge_1"], 1), round(found["eval/corpus_bleu"], 2)) == (31.4, 2.84)
