"""Pairs of one file: well-known names, columns, conversations; what is counted, what is refused with advice."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from rlgan.envs import DataError, PairsTask, TextTask, build_task
from rlgan.envs.reading import How, PairFile, Wanted, read_pairs_of_file
from rlgan.envs.reading.chats import CHAT_FIELDS
from rlgan.envs.reading.columns import WELL_KNOWN_PAIRS, WELL_KNOWN_TEXTS
from rlgan.envs.reading.json_records import JSON_LINES_SUFFIXES
from rlgan.envs.reading.tables import TABLE_SUFFIXES
from rlgan.envs.tasks.pair_files import PairsFile, ParallelFiles, Table
from tests.support.errors import refused

PAIRS = [("a b", "x"), ("c", "y z")]


def read(path: str, source: int | str | None = None, target: int | str | None = None, **how: object) -> PairFile:
    sides = Wanted("source", "--task.input.source", source), Wanted("target", "--task.input.target", target)
    return read_pairs_of_file(path, How(**how), *sides)


def refusal(path: str, source: int | str | None = None, target: int | str | None = None, **how: object) -> str:
    with pytest.raises(DataError) as caught:
        read(path, source, target, **how)
    assert str(caught.value).startswith(path) and "\n" not in str(caught.value)
    return str(caught.value)


def pairs(found: PairFile) -> list[tuple[object, str]]:
    return list(zip(found.sources, found.targets, strict=True))


def json_lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def parquet(records: list[dict[str, object]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("names", WELL_KNOWN_PAIRS)
@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_well_known_names_are_found_by_themselves_in_every_form(write, names, form):
    records = [{"id": "7", names[1]: target, names[0].title(): source} for source, target in PAIRS]
    separator = "," if form == "csv" else "\t"
    rows = [separator.join(records[0]), *(separator.join(record.values()) for record in records)]
    contents = {
        "jsonl": json_lines(*records),
        "json": json.dumps(records),
        "parquet": parquet(records),  # type: ignore[arg-type]
    }
    found = read(write(contents.get(form, "\n".join(rows)), f"d.{form}"))
    assert pairs(found) == PAIRS
    unit = {"json": "record", "parquet": "row"}.get(form, "line")
    number = 2 if form in ("csv", "tsv") else 1
    assert found.unit == unit and found.notes[-1] == f"first pair, {unit} {number}: source 'a b', target 'x'"


def test_the_input_of_an_instruction_stands_behind_it(write):
    records = [
        {"instruction": "add", "input": "1 2", "output": "3"},
        {"instruction": "greet", "input": "", "output": "hi"},
        {"instruction": "wave", "input": None, "output": "o/"},
    ]
    expected = [("add 1 2", "3"), ("greet", "hi"), ("wave", "o/")]
    assert pairs(read(write(json_lines(*records)))) == pairs(read(write(parquet(records)))) == expected
    table = "instruction,input,output\nadd,1 2,3\ngreet,,hi\nwave,,o/\n"
    assert pairs(read(write(table, "d.csv"))) == expected


CHAT = [("system", "be kind"), ("user", "hi"), ("assistant", "hello"), ("user", "bye"), ("assistant", "ciao")]


@pytest.mark.parametrize(
    ("field", "who", "said"), [("messages", "role", "content"), ("conversations", "from", "value")]
)
def test_turns_become_the_source_and_the_last_answer_the_target(write, field, who, said):
    sharegpt = {"system": "system", "user": "human", "assistant": "gpt"}
    roles = sharegpt if who == "from" else {role: role for role in sharegpt}

    def record(*turns: tuple[str, str]) -> dict[str, object]:
        return {"id": 1, field: [{who: roles[role], said: text} for role, text in turns]}

    records = [
        record(*CHAT),
        record(*CHAT[1:3]),
        record(*CHAT[:4]),
        record(("user", "a\nb"), ("assistant", "c\td")),
        record(("user", "nobody answers")),
    ]
    expected = [
        (["be kind", "hi", "hello", "bye"], "ciao"),
        ("hi", "hello"),
        (["be kind", "hi"], "hello"),
        ("a b", "c\td"),
        ("nobody answers", ""),
    ]
    for content in (json_lines(*records), json.dumps(records), parquet(records)):
        found = read(write(content))
        assert pairs(found) == expected
        assert "removed 1 turn around the last answer of a target" in found.notes
        assert any("1 control character" in note for note in found.notes)


def test_prompts_and_completions_may_be_messages(write):
    prompt = [{"role": "user", "content": "hi"}]
    completion = [{"role": "assistant", "content": [{"type": "text", "text": "hello"}]}]
    assert pairs(read(write(json_lines({"prompt": prompt, "completion": completion})))) == [("hi", "hello")]
    two = [*prompt, *completion, *prompt]
    assert pairs(read(write(json_lines({"prompt": two, "completion": "a"})))) == [(["hi", "hello", "hi"], "a")]


@pytest.mark.parametrize(
    ("message", "described"),
    [
        ({"role": "assistant"}, "messages.1 is not a message; its fields are 'role'"),
        ({"role": "assistant", "content": 5}, "messages.1.content is a number (5)"),
        ({"role": "assistant", "content": [{"image": "x"}]}, "messages.1.content is a list"),
    ],
)
def test_messages_that_are_none_are_refused(write, message, described):
    path = write(json_lines({"messages": [{"role": "user", "content": "hi"}, message]}))
    assert f"line 1: {described}" in refusal(path)


def test_messages_without_content_are_counted(write):
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}
    described = {"role": "assistant", "content": "x"}
    turns = [{"role": "user", "content": "hi"}, call, {"role": "tool", "content": "5"}, described]
    records = [{"messages": turns}, {"messages": [turns[0], call]}, {"messages": [turns[0], described]}]
    found = read(write(json_lines(*records)))
    assert pairs(found) == [(["hi", "", "5"], "x"), ("hi", ""), ("hi", "x")]
    assert "read 2 messages without content (null, as in tool calls) as empty text" in found.notes
    assert not any("without content" in note for note in read(write(json_lines(records[2]))).notes)


def test_an_object_around_all_pairs_is_refused_with_the_way_to_write_them(write):
    whole = {"n": 1, "data": [{"source": "a", "target": "x"}]}
    for content in (json.dumps(whole), json.dumps(whole, indent=1)):
        assert "contains a single JSON object" in refusal(path := write(content, "d.json"))
        assert f"(jq -c '.[\"data\"][]' {path} > data.jsonl)" in refusal(path)
    one = {"source": "a", "target": "x", "more": [{"y": "z"}]}
    assert (
        pairs(read(write(json.dumps(one))))
        == pairs(
            read(
                write(
                    json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "x"}]})
                )
            )
        )
        == [("a", "x")]
    )


def test_a_first_row_of_known_names_is_a_header_of_numbered_columns_too(write):
    path = write("id,source,target\n1,a b,x\n2,c,y z\n", "d.csv")
    assert pairs(read(path, 1, 2)) == pairs(read(path, 1, "target")) == PAIRS
    assert pairs(read(path, 1, 2, header=False)) == [("source", "target"), *PAIRS]


def test_columns_by_path_number_or_name(write):
    nested = write(json_lines({"translation": {"en": "a", "de": "x"}}, {"translation": {"en": "b", "de": "y"}}))
    assert pairs(read(nested, "translation.en", "translation.de")) == [("a", "x"), ("b", "y")]
    described = refusal(nested)
    assert described.endswith("for instance --task.input.source translation.en --task.input.target translation.de.")
    table = write("id,de,en\n1,x,a\n2,y,b\n", "d.csv")
    assert pairs(read(table, "en", "de")) == pairs(read(table, "en", 1)) == [("a", "x"), ("b", "y")]
    assert pairs(read(table, 2, 1)) == [("en", "de"), ("a", "x"), ("b", "y")]
    assert any("looks like column names" in note for note in read(table, 2, 1).notes)
    assert pairs(read(table, 2, 1, header=True)) == [("a", "x"), ("b", "y")]
    # Of two columns the one that is left is the other side's, and beside a field a known one.
    assert pairs(read(write("a\tx\n"), 1)) == [("x", "a")]
    assert pairs(read(write(json_lines({"question": "a", "reply": "x"})), target="reply")) == [("a", "x")]


def test_two_columns_need_no_names(write):
    for content, name in (("a b\tx\nc\ty z\n", "d.txt"), ("a b|x\nc|y z\n", "d.txt"), ("a b,x\nc,y z\n", "d.csv")):
        assert pairs(read(write(content, name))) == PAIRS
    assert pairs(read(write("source\ttarget\na b\tx\nc\ty z\n"))) == PAIRS
    assert pairs(read(write("source\ttarget\na b\tx\nc\ty z\n"), header=False))[0] == ("source", "target")
    assert pairs(read(write("a b +++$+++ x\nc +++$+++ y z\n"), separator=" +++$+++ ")) == PAIRS


AMBIGUOUS = {
    "three_columns": ("a\tb\tc\n", "has 3 columns, and it is not clear which is the source: 0 ('a'), 1 ('b'), 2 ('c')"),
    "three_names": ("Id,Kopf,Rumpf\n1,a,b\n", "has 3 columns"),
    "two_pairs": (
        json_lines({"source": "a", "target": "b", "question": "c", "answer": "d"}),
        "which are source and tar",
    ),
    "pair_and_chat": (
        json_lines({"prompt": "a", "completion": "b", "messages": []}),
        "it is not clear which are source and target",
    ),
    "nothing_known": (
        json_lines({"a": "b", "c": "d"}),
        "Name two, for instance --task.input.source a --task.input.targe",
    ),
    "one_text": (json_lines({"text": "b"}), "the fields are 'text'"),
    "plain_lines": ("a b\nc\n", "each of its lines is a single text, but a pair has two sides; it begins with 'a b'"),
    "fasta": (">a\nMK\n", "each of its sequences is a single text"),
    "one_column": ("a\nb\n", "each of its lines is a single text"),
    "both_the_same": ("a\tb\tc\n", "--task.input.source and --task.input.target are both column 1", 1, 1),
    "one_within_the_other": (
        json_lines({"messages": [{"role": "user", "content": "a"}]}),
        "a source would contain its own answer",
        "messages",
        "messages.-1.content",
    ),
    "no_field": (json_lines({"a": "b", "c": "d"}), "has no field 'e'; its fields are 'a', 'c'", "e", "a"),
    "no_path": (json_lines({"a": {"b": "c"}, "d": "e"}), "'a' has no field 'x'; its fields are 'b'", "a.x", "d"),
    "null": (json_lines({"source": "a", "target": None}), "'target' is null (null)"),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_cannot_be_told_is_refused(write, name):
    content, message, *columns = AMBIGUOUS[name]
    assert message in refusal(write(content, "d.csv" if name == "three_names" else "d"), *columns)


def test_rows_of_tables_must_be_even_but_for_the_kind_that_never_asked(write):
    path = write("a\tx\nb\ty\tmore\n", "d.tsv")
    assert "line 2: has 3 columns ('b\\ty\\tmore'), but line 1 has 2" in refusal(path)
    found = read(path, 0, 1, format="table", separator="\t", quotes=False, same_columns=False)
    assert pairs(found) == [("a", "x"), ("b", "y")]
    assert "1 row with a different number of columns than line 1" in found.notes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input": {"kind": "tsv", "data": "d"}, "separator": ";"}, "no_effect_with_input: separator=';'.*input='tsv'"),
        ({"input": {"kind": "jsonl", "data": "d"}, "header": True}, "no_effect_with_input: header=True.*input='jsonl'"),
        ({"input": {"kind": "jsonl", "data": "d"}, "format": "table"}, "no_effect_with_input: format='table'"),
        (
            {"input": {"kind": "file", "data": "d", "source": "a"}, "header": False},
            "named_column_without_header: header=False.*'a'",
        ),
        ({"input": {"kind": "file", "data": "d", "source": "a", "target": "a"}}, "source_is_target_column: source='a'"),
        ({"input": {"kind": "file", "data": "d"}, "separator": "\n"}, "bad_separator"),
        (
            {"input": {"kind": "file", "data": "d"}, "separator": "||", "quotes": True},
            "quotes_with_separator: quotes=True",
        ),
        (
            {"input": {"kind": "file", "data": "d"}, "format": "json", "quotes": True},
            "no_effect_with_format: quotes=True",
        ),
        ({"input": {"kind": "file", "data": "d"}, "format": "csv"}, "setting_value: 'auto'.*'lines'.*'table'"),
    ],
)
def test_settings_of_reading_that_do_nothing_are_refused(settings, message):
    with refused(ValidationError, message):
        PairsTask.model_validate(settings)


def test_a_tab_can_be_typed():
    assert [TextTask(data="d", separator=typed).separator for typed in ("\\t", "tab", "\t")] == ["\t"] * 3


# Tasks.


def test_settings_reach_the_files_of_every_split(write):
    rows = [f"{number};{a} {b};{b} {a}\n" for number, (a, b) in enumerate(zip("abcdef", "uvwxyz", strict=True))]
    files = {name: write("n;q;a\n" + "".join(rows), f"{name}.txt") for name in ("data", "valid", "test")}
    task = build_task(PairsTask(input=PairsFile(**files, source="q", target=2), separator=";"))
    assert len(task.train) == len(task.valid) == 6 and task.decode(task.test)[0] == "u a"
    text = build_task(TextTask(**files, separator=";", column="a"))
    assert text.decode(text.train)[0] == "u a"
    assert any("data.txt: first text, line 2: 'u a'" in note for note in text.notes)


def test_both_files_may_be_of_any_form(write):
    sources, targets = "".join(f"{a} b\n" for a in "abcdefgh"), [{"text": f"{a} c", "n": 1} for a in "ABCDEFGH"]
    files = ParallelFiles(source=write(sources, "s"), target=write(parquet(targets), "t"))
    task = build_task(PairsTask(input=files))
    assert any("first pair, line 1: source 'a b', target 'A c'" in note for note in task.notes)
    short = ParallelFiles(source=write(sources, "s"), target=write(parquet(targets[:7]), "t"))
    with refused(DataError, "unequal_files"):
        build_task(PairsTask(input=short))


@pytest.mark.parametrize("kind", ["tsv", "parallel"])
def test_what_is_advised_about_pairs_of_one_source_helps(write, kind):
    targets = [f"{a} {b}" for a in "abc" for b in "xyz"]
    if kind == "tsv":
        files = PairsFile(data=write("".join(f"Write\t{target}\n" for target in targets), "d.tsv"))
        held_out = "--task.input.valid FILE --task.input.test FILE"
    else:
        files = ParallelFiles(source=write("Write\n" * 9, "s"), target=write("\n".join(targets), "t"))
        held_out = "--task.input.valid-source FILE --task.input.valid-target FILE --task.input.test-source FILE"
    with refused(DataError, "too_few_to_split", match="--data") as caught:
        build_task(PairsTask(input=files))
    assert held_out in str(caught.value)
    words = str(caught.value).partition("(--data ")[2].removesuffix(").").split()
    column = {"column": words[2]} if len(words) > 1 else {}
    task = build_task(TextTask(data=words[0], **column))
    assert sorted(task.decode(task.train) + task.decode(task.valid) + task.decode(task.test)) == targets
    if kind == "tsv":
        assert len(
            build_task(PairsTask(input=files.model_copy(update={"valid": files.data, "test": files.data}))).train
        )


def test_the_page_on_files_names_what_is_well_known():
    page = (Path(__file__).resolve().parents[4] / "docs/files.md").read_text("utf-8")
    names = {name for pair in WELL_KNOWN_PAIRS for name in pair} | {*WELL_KNOWN_TEXTS, *CHAT_FIELDS}
    suffixes = {*TABLE_SUFFIXES, *JSON_LINES_SUFFIXES[:2]}
    assert [name for name in (*names, *suffixes) if f"`{name}`" not in page] == []


# The inputs of people's reports, where the folder is there; each is made anew above.


def test_inputs_of_reports_are_read_as_they_are(data_dir: Path) -> None:
    cases = data_dir / "cases"
    if not cases.is_dir():
        pytest.skip(f"no {cases}")

    def task(name: str, **settings: object) -> list[tuple[object, str]]:
        found = read(str(cases / name), **settings)
        return pairs(found)

    parallel = build_task(
        PairsTask(input=ParallelFiles(source=str(cases / "cr.src"), target=str(cases / "cr.tgt")), deduplicate=False)
    )
    assert "read 5 lines of each" in parallel.notes[0]
    assert len(task("PAIRS.TSV")) == 30 == len(task("header.tsv")) and task("PAIRS.TSV") == task("header.tsv")
    assert task("pipe_separated.txt") == [("1 2 3", "4 5 6"), ("7 8 9", "10 11"), ("3 4", "5 6")]
    chat = task("messages.jsonl")
    assert chat[0] == (["You are kind.", "some dark dog likes every boat ."], ". boat every likes dog dark some")
    nested = task("opus.jsonl", source="translation.en", target="translation.de")
    assert task("prompt_completion_chat.jsonl") == nested == [(source[1], target) for source, target in chat]
    for name, number in (("text.jsonl", 60), ("text.json", 300), ("text.parquet", 300), ("excel.csv", 60)):
        text = build_task(TextTask(data=str(cases / name), deduplicate=False))
        assert len(text.train) + len(text.valid) + len(text.test) == number, name
    proteins = build_task(TextTask(data=str(cases / "protein.fasta"), tokens="char", max_length=200))
    assert set("".join(proteins.decode(proteins.train))) <= set("ACDEFGHIKLMNPQRSTVWY")


def test_sources_are_the_same_when_whole_ones_are(write):
    begin = "boiler " * 5
    lines = [f"{begin}{a}\t{a} {b}\n" for a in "abcdefgh" for b in "xy"]
    settings = {"domain": {"kind": "summarization", "max_source_length": 3}}
    files = Table(data=write("".join(lines), "d.tsv"), valid=write("".join(lines), "v.tsv"), test=write(lines[0], "t"))
    task = build_task(PairsTask.model_validate({"input": files.model_dump()} | settings))
    # Numbered in all splits together: those of a training source have its number.
    assert task.conditions.valid_sources.tolist() == [place for place in range(8) for _ in "xy"]
    assert task.conditions.test_sources.tolist() == [0]
    assert len(set(map(tuple, task.conditions.valid.tolist()))) == 1
    assert "train: 8 sources with several targets, 16 in all" in task.notes
    assert "test: 1 of 1 sources are also training sources" in task.notes
    other = Table(data=files.data, valid=files.valid, test=write(f"{begin}z\tx\n", "t"))
    unseen = build_task(PairsTask.model_validate({"input": other.model_dump()} | settings))
    assert not any(note.startswith("test: 1 of 1 sources") for note in unseen.notes)
