"""One text a record, whatever the file: what is recognised, what is read, what is counted, what is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlgan.envs import DataError, PairsTask, TextTask, build_task
from rlgan.envs.reading import How, PairFile, TextFile, Wanted, read_texts
from rlgan.envs.reading.characters import split_lines
from rlgan.envs.tasks.pair_files import PairsFile
from rlgan.envs.vocabulary import as_byte_names, join_tokens
from tests.support.errors import refused

TEXTS = ["a b c", "d e", 'say "f", g', "h"]
PARQUET = {"text": TEXTS, "id": [1, 2, 3, 4]}


def read(path: str, column: int | str | None = None, *, lists: bool = False, **how: object) -> TextFile:
    return read_texts(path, How(**how), Wanted("text", "--task.column", column), "a text file", lists=lists)


def refusal(path: str, column: int | str | None = None, **how: object) -> str:
    with pytest.raises(DataError) as caught:
        read(path, column, **how)
    assert str(caught.value).startswith(path) and "\n" not in str(caught.value)
    return str(caught.value)


def parquet(table: dict[str, list[object]] | pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), buffer)
    return buffer.getvalue()


def zstd(data: bytes) -> bytes:
    packed: bytes = pa.Codec("zstd").compress(data, asbytes=True)
    return packed


PACKERS = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress, ".zst": zstd}
FORMS = {
    "text": ("\n".join(TEXTS) + "\n").encode(),
    "csv": b'id,text\r\n1,a b c\r\n2,d e\r\n3,"say ""f"", g"\r\n4,h\r\n',
    "semicolons.csv": b'id;text\n1;a b c\n2;d e\n3;"say ""f"", g"\n4;h\n',
    "tsv": b'text\tid\na b c\t1\nd e\t2\nsay "f", g\t3\nh\t4\n',
    "psv": b'text|id\na b c|1\nd e|2\nsay "f", g|3\nh|4\n',
    "jsonl": "".join(json.dumps({"id": 1, "text": text}) + "\n" for text in TEXTS).encode(),
    "json": json.dumps([{"id": 1, "text": text} for text in TEXTS], indent=2).encode(),
    "strings.json": json.dumps(TEXTS).encode(),
    "parquet": parquet(PARQUET),
    "fasta": b'>1 a\na b c\n>2\nd e\n>3\nsay "f", g\n>4\nh\n',
}


@pytest.mark.parametrize("packing", ["", *PACKERS])
@pytest.mark.parametrize("form", [form for form in FORMS if form != "fasta"])
def test_every_form_holds_the_same_texts_packed_or_not(write, form, packing):
    data = PACKERS[packing](FORMS[form]) if packing else FORMS[form]
    # In capitals, too, for the content and not the name is looked at.
    for name in (f"d.{form}{packing}", f"d.{form}{packing}".upper()):
        assert list(read(write(data, name)).texts) == TEXTS


@pytest.mark.parametrize("form", ["jsonl", "json", "strings.json", "parquet", "tsv", "csv"])
def test_what_a_file_holds_is_recognised_under_any_name(write, form):
    assert list(read(write(FORMS[form], "data.txt")).texts) == TEXTS
    assert list(read(write(zstd(gzip.compress(FORMS[form])), "data")).texts) == TEXTS


def test_sequences_of_fasta_are_joined_and_their_names_left_out(write):
    found = read(write(">sp|P1| one\nMKV\nLL \n\n>two\nAC-G*\r\n>three\n"))
    assert list(found.texts) == ["MKVLL", "AC-G*", ""] and list(found.numbers) == [1, 5, 7]
    assert "3 sequences, without the name lines" in found.notes
    found = read(write("; of long ago\n>one\nMKV\n; a comment\nLL\n", "old.fasta"))
    assert list(found.texts) == ["MKVLL"] and "left out 2 comment lines (;)" in found.notes
    assert list(read(write(">one\nMKV\n;old\nLL\n")).texts) == ["MKVLL"]
    # A text that is quoted as in mails is none, and neither is one with a name alone.
    assert list(read(write(">hello you\nand you\n")).texts) == [">hello you", "and you"]
    assert list(read(write(">a\n>b\n")).texts) == [">a", ">b"]
    assert "comes before the first name" in refusal(write("MKV\n>a\nMKV\n", "a.fasta"))


def test_fastq_is_named_with_the_way_to_convert_it(write):
    path = write("@r1\nACGT\n+\nIIII\n@r2\nAC\n+\nII\n", "r.fastq")
    assert f"is FASTQ. Extract its sequences first (awk 'NR % 4 == 2' {path} > reads.txt)" in refusal(path)
    assert len(read(path, format="lines").texts) == 8


# Line ends and characters.


@pytest.mark.parametrize(
    ("content", "lines", "note"),
    [
        ("a\nb\n", ["a", "b"], None),
        ("a\r\nb\r\n", ["a", "b"], None),
        ("a\rb\r", ["a", "b"], None),
        ("a\rb", ["a", "b"], None),
        ("a\rb\nc\r\nd", ["a b", "c", "d"], "replaced 1 control character with a space (1 carriage return)"),
        ("a\r\r\nb\n", ["a ", "b"], "replaced 1 control character with a space (1 carriage return)"),
        ("a\x0bb\x0cc\x85d\n", ["a b c d"], "(1 vertical tab, 1 form feed, 1 next line)"),
        ("a\u2028b\u2029c\n", ["a b c"], "replaced 2 line separators (U+2028, U+2029) with a space"),
        ("a\x1c\x1d\x1e\x1fb\x7f\n" + "x" * 99, ["a    b ", "x" * 99], "replaced 5 control characters with a space"),
        ("\u00e4 \u00a0\u2019\tb\n", ["\u00e4 \u00a0\u2019\tb"], None),
        ("\ufeffa\n\ufeffb\n", ["a", "b"], "removed 1 byte order mark"),
        ("\n\n", ["", ""], None),
        ("a\n\n", ["a", ""], None),
    ],
)
def test_where_lines_end_and_what_is_a_space(write, content, lines, note):
    found = read(write(content), format="lines")
    assert list(found.texts) == lines and found.numbers == range(1, len(lines) + 1)
    assert (len(found.notes) == 1) if note is None else any(note in one for one in found.notes[1:])


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1 << 24])
def test_blocks_change_nothing(monkeypatch, block):
    text = "a\r\nb\x85\u00e4\n\ufeffc\u2028\rd\n\n\r\n\u96ea" * 9
    expected = split_lines("p", text.encode(), How())
    monkeypatch.setattr("rlgan.envs.reading.characters._BLOCK", block)
    assert split_lines("p", text.encode(), How()) == expected
    assert expected[0][:5] == ["a", "b \u00e4", "c  d", "", ""]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "utf-8"])
def test_a_byte_order_mark_tells_the_encoding(write, encoding):
    text = "\ufeffgr\u00fc\u00df\nb\n" if encoding.endswith(("le", "be")) else "gr\u00fc\u00df\nb\n"
    assert list(read(write(text.encode(encoding))).texts) == ["gr\u00fc\u00df", "b"]


def test_other_encodings_are_read_when_named_and_refused_when_not(write):
    latin = write("a\ngr\u00fc\u00df\n".encode("latin-1"))
    assert list(read(latin, encoding="latin-1").texts) == ["a", "gr\u00fc\u00df"]
    assert "line 2: byte 0xfc at offset 4 is not utf-8" in refusal(latin) and "--task.encoding" in refusal(latin)
    big5 = write("\u5c71\u6c34\nb\n".encode("big5"))
    assert list(read(big5, encoding="big5").texts) == ["\u5c71\u6c34", "b"]
    assert "line 3: byte 0xff" in refusal(write(b"a\rb\rc\xff"))
    assert "line 2: byte 0xff" in refusal(write(b'{"text": "a"}\n{"text": "\xff"}\n', "d.jsonl"))
    assert "line 1: byte 0xff" in refusal(write(b'[{"text": "\xff"}]', "d.json"))


def test_a_very_long_line_is_one_line(write):
    long = "ab " * 500_000
    assert list(read(write(f"{long}\nb\n")).texts) == [long, "b"]
    assert list(read(write(f'"{long}",1\nb,2\n', "d.csv"), 0).texts) == [long, "b"]


def test_a_tab_is_text_read_and_written():
    assert join_tokens(list("a\tb\nc"), "characters") == "a\tb c"
    assert join_tokens([as_byte_names("a\t"), as_byte_names("\u2028b")], "byte_pieces") == "a\t b"


# Columns.


def test_columns_by_number_name_or_path(write):
    table = write("k,v\n1,a\n2,b\n", "d.csv")
    assert list(read(table, "v").texts) == ["a", "b"]
    assert list(read(table, 1, header=True).texts) == ["a", "b"] and list(read(table, 1).texts) == ["v", "a", "b"]
    lines = write('{"t": {"de": "x", "l": ["p", "q"]}, "t.en": "y"}\n', "d.jsonl")
    assert [read(lines, name).texts[0] for name in ("t.de", "t.en", "t.l.-1", "t.l.0")] == ["x", "y", "q", "p"]
    nested = write(parquet({"t": [{"de": "x"}], "t.en": ["y"]}))
    assert [read(nested, name).texts[0] for name in ("t.de", "t.en")] == ["x", "y"]
    assert list(read(write('{"caption": "a"}\n{"caption": "b"}\n', "d.jsonl")).texts) == ["a", "b"]
    assert list(read(write("Text,n\na,1\n", "d.csv")).texts) == ["a"]
    assert list(read(write("a\nb\n", "d.csv")).texts) == ["a", "b"]


def test_what_cannot_be_told_is_asked_for_and_the_advice_helps(write):
    table = write("a b\tc\nd\te\n", "d.tsv")
    assert "has 2 columns, and it is not clear which is the text: 0 ('a b'), 1 ('c'). Set --task.column" in refusal(
        table
    )
    assert list(read(table, 0).texts) == ["a b", "d"]
    assert list(read(table, format="lines").texts) == ["a b\tc", "d\te"]
    objects = write('{"q": "a", "r": {"s": "b"}, "n": 5}\n', "d.jsonl")
    described = refusal(objects)
    assert "the fields are 'q', 'r', 'n', and those with text are 'q', 'r.s'" in described and described.endswith(
        "--task.column q."
    )
    assert list(read(objects, "r.s").texts) == ["b"]
    chat = write(json.dumps({"messages": [{"role": "user", "content": "hi"}]}) + "\n", "c.jsonl")
    assert refusal(chat).endswith("for instance --task.column messages.-1.content.")
    assert list(read(chat, "messages.-1.content").texts) == ["hi"]
    assert list(read(chat, "messages", lists=True).texts) == ["hi"]


def test_a_line_that_looks_like_a_name_is_told_and_can_be_left_out(write):
    path = write("SMILES\n" + "CCO\nCCN\n" * 10)
    found = read(path)
    assert found.texts[0] == "SMILES"
    assert any("line 1 ('SMILES') looks like a column name" in note for note in found.notes)
    without = read(path, header=True)
    assert without.texts[0] == "CCO" and without.numbers[0] == 2
    assert "skipped line 1, which names the column: 'SMILES'" in without.notes
    sentences = write("utt_1\n" + "a b\nc d e\n" * 10)
    assert any("looks like a column name" in note for note in read(sentences).notes)
    assert not any("looks like" in note for note in read(write("one\n" + "two\nthree four\n" * 10)).notes)
    assert len(read(path, header=False).notes) == 1


def test_the_first_text_is_shown(write):
    assert read(write("\n \na b\n")).first_text() == ["first line, line 3: 'a b'"]
    assert read(write(parquet(PARQUET))).first_text() == ["first text, row 1: 'a b c'"]
    assert read(write(FORMS["json"])).first_text() == ["first text, record 1: 'a b c'"]
    assert read(write("\n\n")).first_text() == []


# Tables.


def test_quotes_commas_and_line_breaks_in_cells(write):
    found = read(write('id,text\n1,"a, b"\n\n2,"c ""d"" e"\n3,"f\ng\r\nh"\n4,\n5,i "j"\n', "d.csv"))
    assert list(found.texts) == ["a, b", 'c "d" e', "f g h", "", 'i "j"']
    assert list(found.numbers) == [2, 4, 5, 8, 9]
    assert "skipped 1 empty line, line 3" in found.notes
    assert "replaced 2 control characters within cells with a space (2 line breaks)" in found.notes


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ('text\tn\n"a\tb"\t1\nc\t2\n', ["a\tb", "c"]),  # a cell that could not stand there otherwise
        ('"text"\t"n"\n"a"\t"1"\n', ["a"]),  # all are quoted
        ('text\tn\n"a"\t"1"\n"b"\t"2"\n', ["a", "b"]),  # all below the header
        ('text\n"a b"\n"c"\n', ["a b", "c"]),
        ('text\n"a | b"\n"c | d"\n', ["a | b", "c | d"]),
        ('text\tn\n"a"\t1\nb\t2\n', ['"a"', "b"]),  # one cell that is quoted speech
        ('text\tn\n"a\t1\nb"\t2\n', ['"a', 'b"']),  # no quotes of CSV
        ('text\tn\n5" disk\t1\n', ['5" disk']),
        ('text\tn\n"say ""a"""\t1\nb\t2\n', ['say "a"', "b"]),
    ],
)
def test_quotes_in_tables_with_tabs_are_those_of_csv_only_where_they_must_be(write, content, texts):
    assert list(read(write(content, "d.tsv")).texts) == texts


QUOTED = '"a, b"\n"say ""c"""\n\n"d | e"\n'
UNQUOTED = ["a, b", 'say "c"', "d | e"]
IN_QUOTES = (
    "every line is in quotes: the file is read as a table with one column, without the quotes. If the quotes are "
    "part of the text, "
)


@pytest.mark.parametrize("header", ["", "text\n", '"text"\n'])
def test_plain_lines_that_are_all_in_quotes_are_a_table_of_one_column(write, header):
    path = write(header + QUOTED)
    found = read(path)
    assert list(found.texts) == UNQUOTED and list(found.numbers) == [place + bool(header) for place in (1, 2, 4)]
    assert IN_QUOTES + "set --task.quotes false" in found.notes
    assert list(read(path, quotes=False).texts) == (header + QUOTED).splitlines()
    assert list(read(path, format="lines").texts) == (header + QUOTED).splitlines()
    for options in ({"format": "table"}, {"quotes": True}):
        again = read(path, **options)
        assert list(again.texts) == UNQUOTED and not any("every line is in quotes" in note for note in again.notes)
    assert list(read(write(header + QUOTED, "d.tsv")).texts) == UNQUOTED
    assert list(read(write(header + QUOTED, "d.csv")).texts) == UNQUOTED


@pytest.mark.parametrize(
    "lines",
    [
        ['"a", he said', '"b"'],
        ['"a" and "b"', '"c"'],  # closed before its end
        ["a", '"b"', '"c"'],  # a first line that names nothing
        ['"a"'],
        ['"a","b"', '"c","d"'],
    ],
)
def test_lines_of_which_one_is_no_quoted_cell_are_plain(write, lines):
    assert list(read(write("\n".join(lines))).texts) == lines


def test_quotes_make_a_table_of_what_would_be_plain_lines(write):
    """They had no effect there, and nobody said so."""
    path = write('"a\nb"\nc\n')
    assert list(read(path).texts) == ['"a', 'b"', "c"] and list(read(path, quotes=True).texts) == ["a b", "c"]
    assert "line 2: has 2 columns" in refusal(write("a\nb, c\n"), quotes=True)
    assert list(read(write('a|"b"\nc|"d|e"\n'), 1, quotes=True).texts) == ["b", "d|e"]
    assert "quotes=True has no effect on plain lines" in refusal(path, quotes=True, format="lines")


@pytest.mark.parametrize("column", [None, "text", 1])
def test_a_first_row_of_known_names_is_a_header_of_numbered_columns_too(write, column):
    path = write("id,text,label\n1,a,x\n2,b,y\n", "d.csv")
    found = read(path, column)
    assert list(found.texts) == ["a", "b"] and any("line 1 names 3 columns" in note for note in found.notes)
    if column != "text":
        assert list(read(path, 1, header=False).texts) == ["text", "a", "b"]


def test_a_header_of_known_names_makes_a_table_even_where_a_row_is_broken(write):
    assert "line 3: the quotes of this row" in refusal(write('text,n\na,1\n"b,2\n'))
    assert "line 3: has 1 column ('b')" in refusal(write("id\ttext\n1\ta\nb\n"))
    prose = ["text, as it is said, is", "a text", "text"]
    assert list(read(write("\n".join(prose))).texts) == prose


def test_separator_and_quotes_can_be_set(write):
    path = write("1 ||| a b\n2 ||| c\n")
    assert list(read(path, 1, separator=" ||| ").texts) == ["a b", "c"]
    assert list(read(write("'a'^b\n'c'^d\n"), 0, separator="^").texts) == ["'a'", "'c'"]
    quoted = write('"a",b\n"c",d\n', "d.csv")
    assert list(read(quoted, 0).texts) == ["a", "c"] and list(read(quoted, 0, quotes=False).texts) == ['"a"', '"c"']
    assert list(read(quoted, format="lines").texts) == ['"a",b', '"c",d']


BAD_TABLES = {
    "ragged": ("id,text\n1,a\n2,b, c\n", {}, r"line 3: has 3 columns ('2,b, c'), but line 1 has 2"),
    "short": ("id,text\n1,a\n2\n", {}, r"line 3: has 1 column ('2'), but line 1 has 2"),
    "open_quote": ('id,text\n1,a\n2,"b\n3,c\n', {}, r"line 3: the quotes of this row are not valid CSV"),
    "after_quote": ('id,text\n1,"a"b\n', {}, r"line 2: the quotes of this row are not valid CSV"),
    "no_name": ("id,text\n1,a\n", {"column": "txet"}, "--task.column='txet' is not among"),
    "twice": ("text,text\n1,a\n", {"column": "text"}, "--task.column='text' appears 2 times among"),
    "no_column": ("id,text\n1,a\n", {"column": 2}, "the text is column 2, counted from 0"),
    "blank": ("\n\n", {}, "all 2 lines are empty"),
    "no_header": ("1,a\n2,b\n", {"column": "text", "header": False}, "--task.column='text' is a column name"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_tables_are_refused_with_their_line(write, name):
    content, options, message = BAD_TABLES[name]
    assert message in refusal(write(content, "d.csv"), **options)


# JSON and parquet.

BAD_RECORDS = {
    "null": (b'{"text": "a"}\n{"text": null}\n', "line 2: field 'text' is null (null); expected a string"),
    "number": (b'{"text": 5}\n', "line 1: field 'text' is a number (5)"),
    "missing": (b'{"text": "a"}\n\n{"tex": "b"}\n', "line 3: has no field 'text'; its fields are 'tex'. All records"),
    "mixed": (b'{"text": "a"}\n{"text": {"de": "b"}}\n', "line 2: field 'text' is an object"),
    "broken": (b'{"text": "a"}\n{"text": "b"\n', "line 2: not JSON (Expecting ',' delimiter at character 13)"),
    "no_object": (b'{"text": "a"}\n[1]\n', "line 2: is a list ([1])"),
    "twice": (b'{"text": "a", "text": "b"}\n', "line 1: not JSON (field 'text' appears 2 times in one object)"),
    "surrogate": (b'{"text": "\\ud800"}\n', "field 'text' contains half of a surrogate pair"),
    "array_cut": (b'[{"text": "a"}, {"text": "b"}', "line 1: expected a comma or the end of the array after record 2"),
    "array_broken": (b'[{"text": "a"},\n{"text": b}]', "line 2: record 2 of the array is not JSON"),
    "array_more": (b'[{"text": "a"}]\n[{"text": "b"}]', "line 1: the array ends here, but more text follows"),
    "array_number": (b'[{"text": "a"}, 5]', "record 2: is a number (5); expected an object"),
    "one_object": (b'{\n "data": [{"text": "a"}]\n}\n', "contains a single JSON object, with the fields 'data'"),
    "one_line": (
        b'{"n": 2, "data": [{"text": "a"}, {"text": "b"}]}\n\n',
        "contains a single JSON object, with the fields 'n', 'data'",
    ),
    "objects": (b'{\n "text": "a"\n}\n{\n "text": "b"\n}\n', "contains JSON objects that span several lines"),
    "empty_array": (b"[]", "contains no records"),
    "parquet_null": (parquet({"text": ["a", None]}), "row 2: field 'text' is null"),
    "parquet_number": (parquet({"text": [1, 2]}), "row 1: field 'text' is a number (1)"),
    "parquet_cut": (parquet(PARQUET)[:-30], "damaged or truncated parquet data"),
    "parquet_twice": (
        parquet(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])),
        "has 2 columns named 'text'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_bad_records_are_refused_with_their_line(write, name):
    content, message = BAD_RECORDS[name]
    assert message in refusal(write(content, "data.json" if name.startswith(("array", "empty_array")) else "data"))


def test_one_record_with_lists_is_a_record(write):
    several = '{"data": [{"text": "a"}]}\n'
    assert list(read(write(several * 2), "data.-1.text").texts) == ["a", "a"]
    assert "those with text are 'data.-1.text'" in refusal(write(several * 2))
    assert list(read(write('{"text": "a", "more": [{"text": "b"}]}')).texts) == ["a"]
    assert list(read(write('{"prompt": [{"role": "user", "content": "a"}]}'), lists=True).texts) == ["a"]


def test_control_characters_within_strings_are_spaces(write):
    found = read(write('{"text": "a\\nb\\u0000c\\u2028d\\te"}\n', "d.jsonl"))
    assert list(found.texts) == ["a b c d\te"]
    assert "replaced 2 control characters within strings with a space (1 line break)" in found.notes
    assert list(read(write(parquet({"text": ["a\r\nb\x0c"]}))).texts) == ["a b "]


def test_text_that_only_begins_like_json_is_text(write):
    for lines in (["{curly} a", "b"], ["[Chorus]", "la"], ["[1] a", "b"], ['"Hello"', "he said"], ["{}", "a"]):
        assert list(read(write("\n".join(lines))).texts) == lines
    assert "has the name of a .json file but begins with 'hello'" in refusal(write("hello\n", "d.json"))
    assert "line 1: not JSON" in refusal(write("hello\n", "d.jsonl"))


# What is no file of records.


def archive(names: list[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, "a")
    return buffer.getvalue()


REFUSED = {
    "zip": (archive(["data.txt"]), "is a zip archive. Unpack it (unzip FILE)"),
    "xlsx": (archive(["[Content_Types].xml", "xl/workbook.xml"]), "is an Excel workbook. Save the sheet as CSV"),
    "docx": (archive(["word/document.xml"]), "is a Word document"),
    "tar": (b"data.txt".ljust(257, b"\0") + b"ustar" + bytes(250), "is a tar archive"),
    "tar_gz": (gzip.compress(b"a".ljust(257, b"\0") + b"ustar" + bytes(250)), "is a tar archive"),
    "pdf": (b"%PDF-1.4\n", "is a PDF document"),
    "png": (b"\x89PNG\r\n\x1a\n", "is an image"),
    "pickle": (b"\x80\x04\x95abc", "is a pickle, which rlgan never loads"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer"),
    "empty": (b"", "is empty"),
    "only_a_mark": (b"\xef\xbb\xbf", "is empty"),
    "empty_gz": (gzip.compress(b""), "is empty after unpacking"),
    **{f"cut{suffix}": (pack(b"a b c\n" * 999)[:-9], "damaged or truncated") for suffix, pack in PACKERS.items()},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_holds_no_records_is_named_with_what_to_do(write, name):
    content, message = REFUSED[name]
    assert message in refusal(write(content, "data"))


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_name_that_says_packed_of_a_file_that_is_not_is_refused(write, suffix):
    assert f"has the name of a {suffix} file but contains no" in refusal(write(b"a\n", f"d.txt{suffix}"))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("https://a.org/b.txt", "is_address: org/b.txt"),
        ("s3://bucket/b.txt", "is_address"),
        ("hf://datasets/a/b", "is_address"),
        ("someone/some_data", "no_such_file: 'someone/some_data'.*split='train'"),
        ("-", "not_regular_file"),
        ("/dev/stdin", "not_regular_file"),
        ("nowhere.txt", "no_such_file"),
    ],
)  # fmt: skip
def test_what_is_no_file_is_named_with_what_to_do(path, message):
    with refused(DataError, message):
        read(path)


def test_packed_pieces_that_follow_one_another_are_one_file(write):
    for pack in PACKERS.values():
        assert list(read(write(pack(b"a\n") + pack(b"b\n"))).texts) == ["a", "b"]


SETTINGS = [
    ({"separator": ","}, "jsonl"),
    ({"quotes": True}, "parquet"),
    ({"header": True}, "json"),
    ({"encoding": "latin-1"}, "parquet"),
    ({"column": "text"}, "text"),
]


@pytest.mark.parametrize(("options", "form"), SETTINGS)
def test_settings_that_a_file_does_not_need_are_refused(write, options, form):
    if "separator" in options:
        options = options | {"format": "jsonl"}
    assert "has no effect" in refusal(write(FORMS[form]), **options)


def test_texts_that_are_given_up_are_held_no_longer(write):
    found = read(write("a\n\nb c\n"))
    assert list(found.given_up()) == [(1, "a"), (2, ""), (3, "b c")] and not found.texts
    pairs = PairFile("p", [["a", "b"], "c"], ["d", "e"], range(4, 6))
    assert list(pairs.given_up()) == [(4, ["a", "b"], "d"), (5, "c", "e")]
    assert not pairs.sources and not pairs.targets and pairs.where(5) == "p, line 5"


def test_what_becomes_of_texts_is_told_by_records_and_rows(write):
    texts = ["COCOCO"[:number] for number in range(1, 7)] + ["", "CX"]
    data = write(json.dumps([{"text": text} for text in texts]), "m.json")
    short = {"tokens": "char", "max_length": 5}
    notes = build_task(TextTask(data=data, **short)).notes
    assert any("skipped 1 empty text, record 7" in note for note in notes)
    assert any("longer than 4 tokens, records 5, 6" in note for note in notes)
    with refused(DataError, "too_long", match="m.json"):
        build_task(TextTask(data=data, over_long="error", **short))
    with refused(DataError, "text_not_covered", {"character": 2, "text": "X"}, match="m.json"):
        build_task(TextTask(data=data, tokens="smiles"))
    pairs = [{"source": "a b", "target": " ".join("xyxyx"[:number])} for number in range(1, 6)]
    files = PairsFile(data=write(json.dumps(pairs), "p.json"))
    held_out = files.model_copy(update={"valid": files.data, "test": files.data})
    task = build_task(PairsTask(input=held_out, max_length=5))
    assert any(note.startswith("train: dropped 1 target longer than 4 tokens, record 5") for note in task.notes)
    task = build_task(PairsTask(input=held_out, min_length=2))
    assert any("shorter than 2 tokens, record 1" in note for note in task.notes)
