"""A generator in a folder of its own: comes back as it was, and is refused when it is not."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from rlgan.base.errors import CheckpointError, ConfigError, DataError
from rlgan.base.weights import Weights, weights_of
from rlgan.cli import sample
from rlgan.envs.tasks import PairsTask, Task, build_task
from rlgan.envs.tasks.pair_files import Table
from rlgan.envs.tasks.pairs import SharedVocabulary
from rlgan.envs.tasks.pieces import BytePairs
from rlgan.envs.vocabulary import as_byte_names
from rlgan.generators import LSTM, CausalLM, Seq2SeqLSTM, build_generator
from rlgan.sampling.beam_search import beam_search
from rlgan.storage.checkpoint import load_latest, save_checkpoint
from rlgan.storage.export import Decoding, load_run_generator, save_run_generator
from tests.support.commands import ask
from tests.support.errors import refused
from tests.support.tiny import PAIRS, TASK

PROJECT = Path(__file__).resolve().parents[2]
SETTINGS = LSTM(embedding=3, hidden=4, dropout=0.5)


@pytest.fixture(scope="module")
def task() -> Task:
    return build_task(TASK)


@pytest.fixture
def folder(task: Task, tmp_path: Path) -> Path:
    generator = build_generator(SETTINGS, task.space)
    tensors = dict(generator.state_dict())
    save_run_generator(tmp_path, SETTINGS, task, tensors)
    return tmp_path


def test_what_is_loaded_is_what_was_saved(folder: Path, task: Task) -> None:
    exported = load_run_generator(folder)
    other = load_run_generator(folder)
    assert exported.space == task.space and exported.token_names == task.token_names
    assert not exported.generator.training
    for name, tensor in exported.generator.state_dict().items():
        assert torch.equal(tensor, other.generator.state_dict()[name])
    assert exported.sample(4, seed=1) == other.sample(4, seed=1) != exported.sample(4, seed=2)
    assert {token for line in exported.sample(50) for token in line.split(" ")} <= set(task.token_names)


@pytest.mark.parametrize(("separator", "joining"), [(" ", "words"), ("", "characters")])
def test_what_older_versions_wrote_is_read(folder: Path, separator: str, joining: str) -> None:
    path = folder / "generator.json"
    description = json.loads(path.read_text())
    assert description.pop("joining") == "words"
    path.write_text(json.dumps(description | {"separator": separator}))
    assert load_run_generator(folder).joining == joining


def test_a_low_temperature_writes_the_likeliest(folder: Path) -> None:
    assert len(set(load_run_generator(folder).sample(8, temperature=1e-4))) == 1


def edit(**changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "generator.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "generator.json").unlink(), "no_trained_generator: generator.json"),
        (lambda folder: (folder / "generator.safetensors").unlink(), "no_trained_generator"),
        (lambda folder: (folder / "generator.json").write_text("{"), "damaged_generator"),
        (lambda folder: (folder / "generator.json").write_text("{}"), "damaged_generator"),
        (lambda folder: (folder / "generator.safetensors").write_bytes(b"\x80\x04."), "damaged_generator"),
        (lambda folder: save_file({"x": torch.ones(1)}, folder / "generator.safetensors"), "damaged_generator"),
        (edit(token_names=["a"]), "damaged_generator: 20"),
        (edit(vocab_size=21), "damaged_generator"),
        (edit(joining="glue"), "damaged_generator: 'glue'"),
        (edit(generator={"kind": "rnn"}), "damaged_generator"),
    ],
)
def test_a_damaged_generator_is_refused(folder: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(folder)
    with refused(CheckpointError, message):
        load_run_generator(folder)


# ----------------------------------------------------------------------------------------- written for sources


@pytest.fixture
def translator(tmp_path: Path) -> tuple[Path, Task]:
    """A generator of pairs in a folder, and its task."""
    return trained_on(tmp_path, "ein Hund\ta dog\neine Katze\ta cat\nein Haus\ta house\n")


def trained_on(folder: Path, text: str, encoding: str = "utf-8") -> tuple[Path, Task]:
    """A generator of the pairs of a text, in the folder `run` below another, and its task."""
    for name in ("train", "valid", "test"):
        (folder / f"{name}.tsv").write_text(text, encoding)
    files = {name: str(folder / f"{name}.tsv") for name in ("valid", "test")}
    table = Table(data=str(folder / "train.tsv"), **files)
    task = build_task(PairsTask(input=table, deduplicate=False, encoding=encoding))
    settings, run = Seq2SeqLSTM(embedding=4, hidden=6, init_std=0.7), folder / "run"
    run.mkdir()
    torch.manual_seed(0)
    tensors = dict(build_generator(settings, task.space).state_dict())
    save_run_generator(run, settings, task, tensors)
    return run, task


def test_a_generator_of_pairs_writes_for_sources_without_its_data(translator: tuple[Path, Task]) -> None:
    folder, task = translator
    for file in folder.parent.glob("*.tsv"):
        file.unlink()
    exported = load_run_generator(folder)
    assert exported.space == task.space and task.conditions is not None
    description = json.loads((folder / "generator.json").read_text("utf-8"))
    older = {"given": description.pop("condition"), "given_names": description.pop("condition_names")}  # of 0.1.0
    (folder / "generator.json").write_text(json.dumps({**description, **older}), "utf-8")
    of_older = load_run_generator(folder)
    assert (of_older.space, of_older.condition_names) == (exported.space, exported.condition_names)
    sources = ["eine Katze", "ein Hund"]
    drawn, notes = exported.answer(sources, "in.txt", Decoding(), seed=3)
    assert len(drawn) == 2 and notes == ()
    assert exported.answer(sources, "in.txt", Decoding(), seed=3)[0] == drawn
    found, _ = exported.answer(sources, "in.txt", Decoding(beam=4, length_exponent=0.5))
    conditions = task.conditions.train[[1, 0]].long()
    best = beam_search(exported.generator.stepper(), task.space, 2, 4, 0.5, conditions)
    assert found == task.decode(best.tokens)


def test_who_needs_sources_says_so_and_who_reads_none_too(translator: tuple[Path, Task], folder: Path) -> None:
    with refused(ConfigError, "input_missing", match="--input"):
        load_run_generator(translator[0]).sample(3)
    with refused(ConfigError, "input_no_effect", {"input": "in.txt"}, match="--input"):
        load_run_generator(folder).answer(["a"], "in.txt", Decoding())


def test_what_reads_no_text_is_given_the_names_of_its_tokens(tmp_path: Path) -> None:
    for ends in (True, False):
        task, settings = build_task(PAIRS.model_copy(update={"ends": ends})), Seq2SeqLSTM(embedding=4, hidden=6)
        tensors = dict(build_generator(settings, task.space).state_dict())
        save_run_generator(tmp_path, settings, task, tensors)
        exported = load_run_generator(tmp_path)
        assert task.conditions is not None
        given = task.conditions.test[:5]
        lines = task.conditions.decode(given)
        found, notes = exported.answer(lines, "in.txt", Decoding(beam=2))
        assert found == task.decode(beam_search(exported.generator.stepper(), task.space, 5, 2, 0.0, given).tokens)
        assert notes == ()
        with refused(DataError, "input_unknown_token", {"path": "in.txt", "line": 2}, match="'a'"):
            exported.answer([lines[0], "1 a"], "in.txt", Decoding())
        most = "1 to 2" if ends else "3"
        with refused(DataError, "input_length", {"line": 1}, match=most):
            exported.answer(["1 1 1 1"], "in.txt", Decoding())
        with refused(ConfigError, "replace_unknown_refused", match="--replace-unknown"):
            exported.answer(lines, "in.txt", Decoding(replaces_unknown=True))


@pytest.mark.skipif(find_spec("tokenizers") is None, reason="the extra `pieces` is not installed")
def test_an_answer_is_one_line_whatever_bytes_were_drawn(
    tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases, pieces = data_dir / "cases", BytePairs()
    task = build_task(
        PairsTask(input=Table(data=str(cases / "reverse.tsv")), vocabulary=SharedVocabulary(tokens=pieces))
    )
    settings = Seq2SeqLSTM(embedding=4, hidden=6)
    torch.manual_seed(0)
    tensors = dict(build_generator(settings, task.space).state_dict())
    save_run_generator(tmp_path, settings, task, tensors)
    sources = cases / "reverse_sources.txt"
    answer = ask(capsys, "sample", "--run", tmp_path, "--input", sources, "--temperature", 2)
    # Drawn by a network that has learnt nothing, so that line breaks are among what was drawn.
    assert answer.status == 0
    assert len(answer.out.splitlines()) == len(sources.read_text().splitlines()) == 100
    breaks = [
        index for index, name in enumerate(task.token_names) if name in (as_byte_names("\n"), as_byte_names("\r"))
    ]
    assert len(breaks) == 2 and all(
        len(f"{task.decode(torch.tensor([[id_, 0]]))[0]}\n".splitlines()) == 1 for id_ in breaks
    )


def test_a_run_reads_sources_in_the_encoding_of_its_training_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, task = trained_on(tmp_path, "Größe\tsize\nÜbel\tevil\n", "latin-1")
    file = tmp_path / "in.txt"
    file.write_text("Übel\nGröße\n", "latin-1")
    asked = ("sample", "--run", folder, "--input", file, "--beam", 3)
    answer = ask(capsys, *asked)
    assert task.conditions is not None
    best = beam_search(
        load_run_generator(folder).generator.stepper(), task.space, 2, 3, 0.0, task.conditions.train[[1, 0]].long()
    )
    assert (answer.status, answer.out.splitlines()) == (0, task.decode(best.tokens))
    # Nothing is unknown: the words are those of training.
    assert answer.err == f"{file}: read 2 lines\n{folder}: the likeliest that 3 beams find, temperature 1\n"
    file.write_text("Übel\nGröße\n", "utf-8")
    assert ask(capsys, *asked, "--encoding", "utf-8") == answer
    wrong = ask(capsys, *asked, "--encoding", "latin-x")
    assert wrong.status == 2 and wrong.err.startswith("rlgan: encoding='latin-x': not a text encoding")


def test_sources_of_a_run_that_tells_no_encoding_are_utf_8(
    translator: tuple[Path, Task], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = translator
    path, file = folder / "generator.json", folder / "in.txt"
    description = json.loads(path.read_text("utf-8"))
    assert description["reading"].pop("encoding") == "utf-8"
    path.write_text(json.dumps(description), "utf-8")
    file.write_text("ein Hund\n", "utf-8")
    said = f"{file}: read 1 line\n{folder}: temperature 1, seed 0\n"
    assert ask(capsys, "sample", "--run", folder, "--input", file).err == said
    file.write_bytes("größer\n".encode("latin-1"))
    assert (
        f"{file}, line 1: byte 0xf6 at offset 2 is not utf-8"
        in ask(capsys, "sample", "--run", folder, "--input", file).err
    )


def test_empty_lines_are_skipped_at_the_end_of_sources_alone(
    translator: tuple[Path, Task], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = translator
    file = folder / "in.txt"
    asked = ("sample", "--run", folder, "--input", file, "--seed", 4)
    file.write_text("eine Katze\nein Hund\n")
    plain = ask(capsys, *asked)
    file.write_text("eine Katze\nein Hund\n\n \n")
    answer = ask(capsys, *asked)
    assert (answer.status, answer.out) == (0, plain.out) and len(answer.out.splitlines()) == 2
    told = f"{folder}: temperature 1, seed 4\n"
    assert answer.err == f"{file}: read 4 lines\n{file}: skipped 2 empty lines at the end\n{told}"
    file.write_text("eine Katze\n\nein Hund\n")
    assert f"{file}, line 2: is empty, but each line must be a source" in ask(capsys, *asked).err
    file.write_text("\n\n")
    assert f"{file}: contains no lines" in ask(capsys, *asked).err


def test_sources_may_stand_in_any_file(translator: tuple[Path, Task], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = translator
    plain, table, records, chats = (folder / name for name in ("in.txt", "in.csv", "in.jsonl", "chats.json"))
    plain.write_text("eine Katze\nein Hund\n")
    asked = ("sample", "--run", folder, "--seed", 4, "--input")
    expected = ask(capsys, *asked, plain).out
    table.write_text("n,Prompt\n1,eine Katze\n2,ein Hund\n")
    answer = ask(capsys, *asked, table)
    assert (answer.status, answer.out) == (0, expected)
    assert f"{table}: first text, line 2: 'eine Katze'" in answer.err
    records.write_text('{"q": {"de": "eine Katze"}}\n\n{"q": {"de": "ein Hund"}}\n')
    assert "Name one, for instance --column q.de" in ask(capsys, *asked, records).err
    assert ask(capsys, *asked, records, "--column", "q.de").out == expected
    said = [[{"role": "user", "content": text}] for text in ("eine Katze", "ein Hund")]
    chats.write_text(json.dumps([{"prompt": turns} for turns in said]))
    assert ask(capsys, *asked, chats).out == expected
    chats.write_text(json.dumps([{"prompt": said[0] * 2}]))
    assert "the source is a list of 2 strings" in ask(capsys, *asked, chats).err
    assert len(ask(capsys, *asked, records, "--format", "lines").out.splitlines()) == 0  # its second line is empty
    without = ask(capsys, "sample", "--run", folder, "--column", "q")
    assert without.status == 2 and "--column: has no effect without --input" in without.err


def test_what_messages_about_a_file_of_sources_advise_can_be_typed(
    translator: tuple[Path, Task], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = translator
    file = folder / "in.txt"
    asked = ("sample", "--run", folder, "--seed", 4, "--input", file)
    file.write_text("eine Katze\nein Hund\n")

    def read(*words: object) -> str:
        answer = ask(capsys, *words)
        assert answer.status == 0 and "unknown" not in answer.err  # the words of the file, and nothing else
        return answer.out

    expected = read(*asked)
    file.write_text("text\neine Katze\nein Hund\n")
    assert "to skip it, set --header true" in ask(capsys, *asked).err
    assert read(*asked, "--header", "true") == expected

    file.write_text('"eine Katze"\n"ein Hund"\n')
    answer = ask(capsys, *asked)
    assert answer.out == expected and "set --quotes false" in answer.err
    assert "4 of 4 tokens unknown" in ask(capsys, *asked, "--quotes", "false").err

    file.write_text("1~eine Katze\n2~ein Hund\n")
    assert read(*asked, "--separator", "~", "--column", 1, "--header", "false") == expected
    file.write_text("1\teine Katze\n2\tein Hund\n")
    assert read(*asked, "--separator", "tab", "--column", 1) == expected

    for words, code in (
        (("--separator", '"'), "bad_separator"),
        (("--separator", "~", "--format", "jsonl"), "no_effect_with_format"),
        (("--quotes", "true", "--separator", "~~"), "quotes_with_separator"),
    ):
        refused = ask(capsys, *asked, *words)
        assert refused.status == 2 and refused.err.rstrip().endswith(f"[{code}]") and not refused.out
    for option, value in (("--header", "true"), ("--quotes", "false"), ("--separator", ";")):
        without = ask(capsys, "sample", "--run", folder, option, value)
        assert without.status == 2 and f"{option}: has no effect without --input" in without.err
    wrong = ask(capsys, *asked, "--header", "yes")
    assert wrong.status == 2 and "'yes': must be true or false" in wrong.err


def test_every_option_that_reading_advises_is_one_of_sample() -> None:
    parser = argparse.ArgumentParser()
    sample.add_options(parser)
    advised = {
        name
        for path in (PROJECT / "envs/reading").glob("*.py")
        for name in re.findall(r"options\}(\w+)", path.read_text("utf-8"))
    }
    assert {"header", "quotes", "separator"} <= advised <= {name.lstrip("-") for name in parser._option_string_actions}


def test_what_training_leaves_alone_stands_once_beside_checkpoint_and_generator(task: Task, tmp_path: Path) -> None:
    for library in ("transformers", "peft"):
        pytest.importorskip(library)
    sizes = {"kind": "fresh", "width": 16, "layers": 1, "heads": 2}
    settings = CausalLM(weights=sizes, training={"kind": "lora", "rank": 2})

    def weights(seed: int) -> Weights:
        torch.manual_seed(seed)
        return weights_of(build_generator(settings, task.space), 1)

    mine, others = weights(0), weights(1)
    assert mine.base is not None and others.base is not None
    for folder, one in ((tmp_path / "mine", mine), (tmp_path / "others", others)):
        save_checkpoint(folder, {"weights": one.complete}, 3, bases=[one.base])  # type: ignore[list-item]
        save_run_generator(folder, settings, task, one.complete, one.base)
    folder = tmp_path / "mine"
    with safe_open(folder / "generator.safetensors", "pt") as file:
        names = set(file.keys())
    assert names == set(mine.tensors) and all("lora_" in name for name in names)
    (base,) = (folder / "bases").iterdir()
    assert base.name == f"{mine.base.digest}.safetensors"
    found = weights_of(load_run_generator(folder).generator.requires_grad_(True), 1).complete
    assert found and all(torch.equal(found[name], value) for name, value in mine.complete.items())

    # The adapter of one model beside the base of another: both hashes are told, on resume as when it is sampled.
    (other,) = (tmp_path / "others" / "bases").iterdir()
    base.write_bytes(other.read_bytes())
    both = f"(?s){mine.base.digest}.*{others.base.digest}"
    with pytest.raises(CheckpointError, match=both):
        load_run_generator(folder)
    with pytest.raises(CheckpointError, match=both):
        load_latest(folder)
    base.unlink()
    with pytest.raises(CheckpointError, match="missing"):
        load_run_generator(folder)
