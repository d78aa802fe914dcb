"""What stands where a word is unknown: the word that was looked at, by attention made by hand, from file to text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlgan.base.errors import ConfigError
from rlgan.cli.main import main
from rlgan.envs.tasks import PairsTask, Task, build_task
from rlgan.envs.tasks.pair_files import Table
from rlgan.envs.tasks.pairs import SeparateVocabularies
from rlgan.envs.tasks.pieces import Characters, Words
from rlgan.envs.tasks.sources import Translation
from rlgan.envs.vocabulary import Vocabulary
from rlgan.evaluation.evaluator import EvaluationSettings, Evaluator
from rlgan.evaluation.pair_measures import PairMeasures
from rlgan.generators import Seq2SeqTransformer, Seq2SeqTransformerGenerator, build_generator
from rlgan.sampling.unknown_words import with_source_words
from rlgan.storage.export import Decoding, load_run_generator, save_run_generator
from tests.support.errors import refused

SETTINGS = Seq2SeqTransformer(width=4, heads=1, layers=1, tied=False)
TRAIN = "hier ist Anna\tda Anna ja\nja das ist Bert\tda Bert ja\ndas ist hier ja\tja da\n"
TEST = "ja das ist Zaphod\tZaphod\nhier ist Trillian das\tTrillian\nhier ist Ford das\tFord\n"
WORDS = SeparateVocabularies(source=Words(min_count=2), target=Words(min_count=2))


def task_of(folder: Path, vocabulary: SeparateVocabularies = WORDS, longest: int = 5) -> Task:
    for name, text in (("train", TRAIN), ("valid", TRAIN), ("test", TEST)):
        (folder / f"{name}.tsv").write_text(text, "utf-8")
    files = {name: str(folder / f"{name}.tsv") for name in ("valid", "test")}
    pairs = Table(data=str(folder / "train.tsv"), **files)
    return build_task(
        PairsTask(input=pairs, vocabulary=vocabulary, domain=Translation(max_source_length=longest), max_length=longest)
    )


@torch.no_grad()
def looking_at_the_unknown(task: Task) -> Seq2SeqTransformerGenerator:
    """It writes one unknown word, and looks at what is unknown to the source's vocabulary, too."""
    net = build_generator(SETTINGS, task.space)
    assert isinstance(net, Seq2SeqTransformerGenerator)
    for name, parameter in net.named_parameters():
        if "norm" not in name and "before" not in name:
            parameter.zero_()
    memory = net.blocks[0].memory
    assert memory is not None
    net.source_embedding.weight[:, 1] = 1.0
    net.source_embedding.weight[Vocabulary.unknown_id] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    memory.keys_values.weight[:4] = torch.eye(4)
    memory.queries.bias[0] = 8.0
    # What is read first is the terminator's embedding, then that of the unknown word.
    net.embedding.weight[Vocabulary.end_id, 2] = net.embedding.weight[Vocabulary.unknown_id, 3] = 1.0
    net.output.weight[Vocabulary.unknown_id, 2] = net.output.weight[Vocabulary.end_id, 3] = 10.0
    return net.eval()


def test_the_word_with_most_attention_takes_the_place() -> None:
    source = ["Anna", "sah", "<turn>", "Zaphod"]
    attention = torch.tensor(
        [
            [0.1, 0.2, 0.3, 0.4, 0.0, 0.0],
            [0.0, 0.6, 0.0, 0.3, 0.1, 0.0],
            # Neither the terminator nor what is behind it is a word.
            [0.2, 0.1, 0.1, 0.1, 0.5, 0.0],
            [0.1, 0.0, 0.6, 0.3, 0.0, 0.0],
            [0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
        ]
    )
    written = ["<unk>", "saw", "<unk>", "<unk>"]
    assert with_source_words(written, attention, source) == ["Zaphod", "saw", "Anna", "<turn>"]
    # A mark between parts of a source is no word of it.
    assert with_source_words(written, attention, source, "<turn>") == ["Zaphod", "saw", "Anna", "Zaphod"]
    assert with_source_words(["<unk>", "<unk>"], attention, source) == ["Zaphod", "sah"]
    # The source's own unknown token is copied as it stands, and where there is no word there is none to copy.
    assert with_source_words(["<unk>"], attention, ["a", "b", "c", "<unk>"]) == ["<unk>"]
    assert with_source_words(["a", "<unk>"], attention, ["<turn>"], "<turn>") == ["a", "<unk>"]
    assert with_source_words([], attention, source) == []


def test_a_name_that_nobody_knows_is_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task, run = task_of(tmp_path), tmp_path / "run"
    run.mkdir()
    arrays = dict(looking_at_the_unknown(task).state_dict())
    save_run_generator(run, SETTINGS, task, arrays)
    sources = tmp_path / "in.txt"
    # Names at different places, one of them cut off, and a source in which every word is known.
    sources.write_text("hier ist Marvin\nSlartibartfast ist das hier\nhier das ist ja ja ja Eddie\nhier\n", "utf-8")
    asked = ["sample", "--run", str(run), "--input", str(sources), "--beam", "1"]
    assert main(asked) == 0
    assert capsys.readouterr().out == "<unk>\n" * 4
    assert main([*asked, "--replace-unknown"]) == 0
    assert capsys.readouterr().out == "Marvin\nSlartibartfast\nhier\nhier\n"
    # Drawn ones, too: with such logits nothing else is drawn.
    drawn, _ = load_run_generator(run).answer(["ja Marvin"], "in.txt", Decoding(replaces_unknown=True))
    assert drawn == ["Marvin"]


@pytest.mark.parametrize(
    ("vocabulary", "sides"),
    [
        (SeparateVocabularies(source=Characters()), "sources"),
        (SeparateVocabularies(target=Characters()), "targets"),
        (SeparateVocabularies(source=Characters(), target=Characters()), "sources and targets"),
    ],
)
def test_where_tokens_are_no_words_none_is_replaced(
    tmp_path: Path, vocabulary: SeparateVocabularies, sides: str
) -> None:
    task = task_of(tmp_path, vocabulary, longest=30)
    arrays = dict(build_generator(SETTINGS, task.space).state_dict())
    save_run_generator(tmp_path, SETTINGS, task, arrays)
    exported = load_run_generator(tmp_path)
    assert len(exported.answer(["hier"], "in.txt", Decoding())[0]) == 1
    with refused(ConfigError, "replace_unknown_refused", match=sides):
        exported.answer(["hier"], "in.txt", Decoding(replaces_unknown=True))


def test_bleu_and_chrf_are_of_the_words_themselves(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    net = looking_at_the_unknown(task)
    found = {
        replaces: Evaluator(task, EvaluationSettings(num_sequences=3, replace_unknown=replaces), seed=0)
        for replaces in (False, True)
    }
    # Two of the three sources differ in the name alone, and are two.
    assert [len(PairMeasures(task, "13a", replaces).conditions) for replaces in (False, True)] == [3, 3]
    # An unknown word that is written is none of the words that it may stand for.
    assert found[False].measure(net).metrics["eval/chrf"] < 20.0
    assert found[True].measure(net).metrics["eval/chrf"] == pytest.approx(100.0)
    with torch.no_grad():
        net.blocks[0].memory.queries.bias[0] = -8.0  # type: ignore[union-attr]
    assert found[True].measure(net).metrics["eval/chrf"] < 20.0
