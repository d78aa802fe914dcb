"""What the documents say is so: commands resolve, snippets run, links lead somewhere.

README, CONTRIBUTING and docs/ are read whole, and the commands of benchmarks/results/, too. A complaint is
`file:line: what stands there: what is wrong`. Placeholders and files that readers bring are listed here, and nowhere
else.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from rlgan.__main__ import VERBS as ABOVE
from rlgan.__main__ import run as rlgan
from rlgan.cli.main import VERBS
from rlgan.config.config import Config
from rlgan.config.paths import changed, flatten, to_dict, variants_of
from rlgan.presets.registry import PRESETS, preset
from rlgan.tuning.space.studies import load_study
from tests.support import documents
from tests.support.documents import DOCUMENTS, PROJECT, RESULTS, Piece, words
from tests.support.plain_words import complaints

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# What stands for something, and what it is in the test.
PLACEHOLDERS = {
    "PRESET": "mle",
    "STUDY": "reward_baseline",
    "SWEEP": "runs/NAME",
    "RUN": "runs/NAME",
    "FILE": "my.txt",
    "FILE.tsv": "talk.tsv",
    "FILE.jsonl": "talk.jsonl",
    "FILE.npz": "oracle.npz",
    "FILE.pkl": "save/target_params.pkl",
    "OUT.npz": "oracle.npz",
    "DIR": "runs/NAME",
    "WHERE": "runs",
    "WHERE/NAME": "runs/NAME",
    "URI/NAME": "s3://BUCKET/runs/NAME",
    "URI": "s3://BUCKET/runs",
    "N": "1",
    "K": "5",
    "s": "1",
    "runs/…": "runs/NAME",
    "word|char|bpe": "word",
    "KIND": "word",
}
ELLIPSES = ("...", "…")
# What a reader has and the project has not.
READERS_FILES = {
    *("my.txt", "lines.txt", "news.txt", "new.en", "train.en", "train.de", "val.en", "val.de", "test.en", "test.de"),
    *("talk.tsv", "talk.jsonl", "papers.jsonl", "reviews.csv", "molecules.txt", "corpus.jsonl.zst", "chats.parquet"),
    *("glove.txt", "glove.6B.300d.txt", "oracle.npz"),
    # Of results: the files of public data sets, which the notes name beside the command.
    *("train.txt", "shi.txt", "gfs_tok_train.txt", "gfs_tok_test.txt", "image_coco_train.txt"),
    *("wordnet_examples/train.txt", "image_coco/image_coco_train.txt", "texts.jsonl", "small.txt"),
    "save/target_params.pkl",
}
EXAMPLE = "squashed_logit"
"""The reward that CONTRIBUTING adds."""

LOOKS_LIKE_A_FILE = re.compile(
    r"[\w./-]+\.(txt|tsv|csv|jsonl?|parquet|npz|pkl|en|de|toml|ya?ml|py|png)(\.(gz|xz|bz2|zst))?"
)
NAME_COLUMNS = {"--task.input.source", "--task.input.target"}
"""Beside --pairs these take a column, which may look like a file; elsewhere they take files."""
SEEN_IN_TRAIN_ALONE = {"--out": 1, "--storage": 1, "--seeds": 1, "--dry-run": 0}

Found = Callable[[str, str], Iterator[Piece]]


def pieces(found: Found, paths: Sequence[str] = DOCUMENTS) -> list[Piece]:
    return [piece for path in paths for piece in found(path, (PROJECT / path).read_text("utf-8"))]


def resolved(names: Sequence[str]) -> list[str]:
    """Words of a command without ellipses, and with something in the place of each placeholder."""
    return [PLACEHOLDERS.get(name, name) for name in names if name not in ELLIPSES]


class Asked(Exception):
    """Carries a parser out of a program that was about to read its command line."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def parser_of_benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> argparse.ArgumentParser:
    """The command line of a benchmark, which asks for it first of all."""

    def ask(self: argparse.ArgumentParser, *_: object) -> NoReturn:
        raise Asked(self)

    module = importlib.import_module(f"benchmarks.{name}")
    with monkeypatch.context() as patched, pytest.raises(Asked) as asked:
        patched.setattr(argparse.ArgumentParser, "parse_args", ask)
        module.main()
    return asked.value.parser


def usage_error(parser: argparse.ArgumentParser, arguments: list[str]) -> str | None:
    """What is wrong with the arguments of a program."""

    def refuse(message: str) -> NoReturn:
        raise ValueError(message)

    parser.error = refuse  # type: ignore[method-assign]
    try:
        parser.parse_args(arguments)
    except ValueError as error:
        return str(error)
    return None


VERB_MODULES = {verb.name: verb.load for verb in (*VERBS, *ABOVE)}


@cache
def options_of(verb: str) -> set[str]:
    """Options of a verb, and of the ways below it."""
    parser = argparse.ArgumentParser()
    VERB_MODULES[verb]().add_options(parser)
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    parsers = [parser, *(choice for action in below for choice in action.choices.values())]
    return {option for one in parsers for option in one._option_string_actions}


class Checker:
    """Resolves commands; each method returns what is wrong, or None."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def command(self, piece: Piece) -> str | None:
        """Any command."""
        typed = resolved(words(piece.text))
        while typed and re.fullmatch(r"[A-Z_]+=.*", typed[0]):
            typed = typed[1:]
        typed[0] = typed[0].removeprefix(".venv/bin/")
        unknown = self._unknown_file(piece, typed)
        if unknown:
            return unknown
        typed = typed[: typed.index(">")] if ">" in typed else typed  # the rest is the shell's
        if typed[0] == "rlgan":
            return self.rlgan(typed[1:], piece.is_block) if len(typed) > 1 else None
        if typed[0] == "python":
            return self._python(typed[1:])
        return {
            "make": self._make,
            "pytest": self._pytest,
            "pip": self._pip,
            "ray": self._ray,
            "mlflow": lambda arguments: self._click("mlflow.cli", "cli", arguments),
            "head": lambda _: None,
            "curl": lambda _: None,
        }[typed[0]](typed[1:])

    def _unknown_file(self, piece: Piece, typed: list[str]) -> str | None:
        document = piece.where.rpartition(":")[0]
        made = {one for page in with_linked(document) for one in made_in(page)}
        columns = NAME_COLUMNS if "--pairs" in typed else set()
        for before, word in zip(["", *typed], typed, strict=False):
            if before in columns:
                continue
            is_file = LOOKS_LIKE_A_FILE.fullmatch(word) and "://" not in word
            if is_file and word not in READERS_FILES | made and not (PROJECT / word).exists():
                return (
                    f"{word} is no file of this project, no command of {document} makes it, nor one of a page in that "
                    "folder to which it links, and it is not among "
                    "READERS_FILES of tests/unit/test_docs.py"
                )
        return None

    def rlgan(self, typed: list[str], is_whole: bool) -> str | None:
        """A verb with its options; of one in a sentence the required ones may be missing."""
        verb = typed[0]
        if verb not in VERB_MODULES:
            return f"{verb} is no verb"
        if not is_whole and len(typed) == 1:
            return None
        reads_a_run = "--resume" in typed or verb not in ("train", "show-config", "tune")
        if reads_a_run:
            error = self._parsed(typed)
            if error is not None and not is_whole:  # in a sentence, names alone
                named = [word.partition("=")[0] for word in typed if word.startswith("--")]
                unknown = [name for name in named if name not in options_of(verb)]
                return f"{verb} has no {', '.join(unknown)}" if unknown else None
            return error
        if verb == "tune":
            return self._ended([*typed, *([] if "--dry-run" in typed else ["--dry-run"])])
        error = self._parsed(typed)
        if error is not None:
            return error
        with self._monkeypatch.context() as patched:
            # Files of the reader's are not there, or hold words that are made up: no size follows them.
            patched.setattr("rlgan.presets.own_data.summary_of_data", lambda settings: None)
            return self._ended(["show-config", *without(typed[1:], SEEN_IN_TRAIN_ALONE)])

    def _parsed(self, typed: list[str]) -> str | None:
        """Read by the verb's own parser, and not done."""
        with self._monkeypatch.context() as patched:
            patched.setattr(VERB_MODULES[typed[0]](), "run", lambda options, overrides: 0)
            return self._ended(typed)

    def _ended(self, typed: list[str]) -> str | None:
        self._capsys.readouterr()
        status = rlgan(typed)
        captured = self._capsys.readouterr()
        return captured.err.strip() or f"status {status}" if status else None

    def _python(self, arguments: list[str]) -> str | None:
        if arguments[0] == "rlgan/train.py":
            return self.rlgan(["train", *arguments[1:]], is_whole=True)
        if arguments[0].startswith("examples/"):  # whether the file is there is looked at for every command
            return None
        if arguments[:2] == ["-m", "build"]:
            return None
        if arguments[0] != "-m":
            return f"{arguments[0]}: only rlgan/train.py, examples and modules (-m) are known to this test"
        package, _, name = arguments[1].partition(".")
        if arguments[1] == "tests.support.error_codes":
            return None if len(arguments) == 2 else f"{arguments[1]} takes no arguments"
        if package != "benchmarks" or not (PROJECT / "benchmarks" / f"{name}.py").exists():
            return f"there is no module {arguments[1]}"
        return usage_error(parser_of_benchmark(name, self._monkeypatch), arguments[2:])

    def _make(self, arguments: list[str]) -> str | None:
        text = (PROJECT / "Makefile").read_text("utf-8")
        targets, variables = (set(re.findall(form, text, re.M)) for form in (r"^([a-z-]+):", r"^([A-Z]+) \?="))
        for word in arguments:
            name, is_variable, value = word.partition("=")
            if name not in (variables if is_variable else targets):
                return f"the Makefile has no {'variable' if is_variable else 'target'} {name}"
        return None

    def _pytest(self, arguments: list[str]) -> str | None:
        parser = argparse.ArgumentParser()
        parser.add_argument("-m", default="")
        parser.add_argument("-k", default="")
        parser.add_argument("files", nargs="*")
        error = usage_error(parser, arguments)
        if error:
            return error
        asked = parser.parse_args(arguments)
        options = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["tool"]["pytest"]["ini_options"]
        marks = {line.partition(":")[0] for line in options["markers"]}
        unknown = set(re.findall(r"\w+", asked.m)) - marks - {"not", "and", "or"}
        if unknown:
            return f"pyproject.toml has no marker {', '.join(unknown)}"
        tests = [path.read_text("utf-8") for path in (PROJECT / "tests").rglob("test_*.py")]
        if asked.k and not any(re.search(rf"def test_\w*{asked.k}", text) for text in tests):
            return f"no test has {asked.k} in its name"
        return None

    def _pip(self, arguments: list[str]) -> str | None:
        table = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
        asked = {extra for word in arguments for group in re.findall(r"\[(.*)\]", word) for extra in group.split(",")}
        unknown = asked - set(table)
        return f"pyproject.toml has no extra {', '.join(unknown)}" if unknown else None

    def _ray(self, arguments: list[str]) -> str | None:
        own, job = arguments, []
        if "--" in arguments:
            at = arguments.index("--")
            own, job = arguments[:at], arguments[at + 1 :]
        if own[0] == "submit" and len(own) > 1:  # what comes after the script is the script's
            return self._click("ray.scripts.scripts", "cli", own) or self._python([own[2], *job])
        error = self._click("ray.scripts.scripts", "cli", own if not job else [*own, "--", *job])
        return error or (self.command(Piece("README.md:0", " ".join(job))) if job else None)

    def _click(self, module: str, name: str, arguments: list[str]) -> str | None:
        """Of a program that is made with click: the words down to a command, then its options."""
        import click

        command: Any = getattr(importlib.import_module(module), name)
        rest = list(arguments)
        while isinstance(command, click.Group):
            if not rest:
                return None
            context = click.Context(command)
            found = command.get_command(context, rest[0])
            if found is None:
                return f"{command.name} has no command {rest[0]}"
            command, rest = found, rest[1:]
        if not any(word.startswith("-") for word in rest):
            return None  # named, and not called
        try:
            command.make_parser(click.Context(command)).parse_args(rest)
        except click.UsageError as error:
            return error.format_message()
        return None


@cache
def with_linked(document: str) -> tuple[str, ...]:
    """A document, and the pages beside it to which it links."""
    links = documents.links(document, (PROJECT / document).read_text("utf-8"))
    pages = (piece.text for piece in links if re.fullmatch(r"\w+\.md", piece.text))
    return (document, *((Path(document).parent / page).as_posix() for page in pages))


@cache
def made_in(document: str) -> list[str]:
    """Files that the commands of a document write."""
    return [
        one for piece in documents.commands(document, (PROJECT / document).read_text("utf-8")) for one in made_by(piece)
    ]


def made_by(command: Piece) -> list[str]:
    """Files that a command writes."""
    typed = words(command.text)
    if typed[:2] == ["rlgan", "oracle"]:
        return [word for word in typed if word.endswith(".npz")]
    if typed[:2] == ["rlgan", "sample"] and "--out" in typed:
        return [typed[typed.index("--out") + 1]]
    if typed[:2] == ["python", "examples/corpus.py"]:
        return typed[2:]
    if typed[:2] == ["python", "examples/skeletons.py"]:
        return [f"{typed[3]}/{split}.tsv" for split in ("train", "valid", "test")]
    return [typed[typed.index(">") + 1]] if ">" in typed else []


def without(arguments: Sequence[str], options: dict[str, int]) -> list[str]:
    """Arguments but for some options and their values."""
    kept, rest = [], list(arguments)
    while rest:
        word = rest.pop(0)
        if word in options:
            del rest[: options[word]]
        else:
            kept.append(word)
    return kept


def made_up_files() -> set[str]:
    """Text that readers bring or that a command of a document makes."""
    made = {file for piece in pieces(documents.commands, (*DOCUMENTS, *RESULTS)) for file in made_by(piece)}
    return {name for name in READERS_FILES | made if name.endswith((".txt", ".en", ".de", ".tsv", ".jsonl"))}


def made_up(name: str) -> str:
    """What such a file could hold: 300 lines, of two sides where its name says pairs."""
    if name == "molecules.txt":
        return "".join(f"{'C' * (1 + line % 20)}{'NOS'[line % 3]}{'C' * (line // 20)}\n" for line in range(300))
    sentences = [" ".join(f"word{(7 * line + 3 * at) % 50}" for at in range(6)) for line in range(300)]
    if name.endswith(".tsv"):
        return "".join(f"{sentence}\t{sentence}\n" for sentence in sentences)
    if name.endswith(".jsonl"):
        return "".join(f'{{"source": "{sentence}", "target": "{sentence}"}}\n' for sentence in sentences)
    return "".join(f"{sentence}\n" for sentence in sentences)


@pytest.fixture(scope="module")
def readers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader has where commands are typed; each test has a copy."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(PROJECT / "benchmarks" / "studies", folder / "benchmarks" / "studies")
    for path in DOCUMENTS:
        for name, content in documents.python_files(path, (PROJECT / path).read_text("utf-8")).items():
            (folder / name).write_text(content, "utf-8")
    for name in made_up_files():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(made_up(name), "utf-8")
    return folder


@pytest.fixture
def checker(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, readers_folder: Path, tmp_path: Path
) -> Checker:
    shutil.copytree(readers_folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Checker(capsys, monkeypatch)


def marked(piece: Piece) -> Any:
    """Ray's and MLflow's own command lines, and sweeps, take seconds to import. Results are many, and rarely change."""
    if piece.where.startswith("benchmarks/results/"):
        return pytest.param(piece, id=piece.where, marks=[pytest.mark.slow])
    takes_seconds = documents.program(piece.text) in ("ray", "mlflow") or "rlgan tune" in piece.text
    return pytest.param(piece, id=piece.where, marks=[pytest.mark.heavy] if takes_seconds else [])


COMMANDS = [marked(piece) for piece in pieces(documents.commands, (*DOCUMENTS, *RESULTS))]


@pytest.mark.parametrize("piece", COMMANDS)
def test_a_command_resolves(piece: Piece, checker: Checker) -> None:
    error = checker.command(piece)
    assert error is None, f"{piece}: {error}"


TASK_PATHS = {
    path
    for kind in variants_of(Config.model_fields["task"])
    for path in flatten(changed(preset("mle"), {"task": kind}))
    if path.startswith("task.")
}
"""Settings of all kinds of tasks."""


@cache
def paths_of(name: str) -> frozenset[str]:
    """Settings of a preset; a variant is one, too."""
    return frozenset(path.removesuffix(".kind") for path in flatten(to_dict(preset(name))))


def option_error(piece: Piece, checker: Checker) -> str | None:
    """What is wrong with options that are shown without a verb.

    In README they are options of the default preset; elsewhere of any, or of the verb that the sentence is about; in
    either of whichever task has them.
    """
    if "*" in piece.text:
        return None
    typed = words(piece.text)
    names = [word.partition("=")[0] for word in typed if word.startswith("--")]
    verbs = [verb for verb in VERB_MODULES if set(names) <= options_of(verb)]
    if verbs:
        return None
    paths = {name.removeprefix("--").replace("-", "_") for name in names}
    presets = ["quick"] if piece.where.startswith("README") else list(PRESETS)
    presets.sort(key=lambda name: -len(paths & paths_of(name)))  # the likely ones first, for each refusal takes time
    if len(typed) == len(names):  # paths without a value
        known = TASK_PATHS.union(*map(paths_of, presets))
        return f"{', '.join(paths - known)}: no such setting" if paths - known else None
    errors = []
    for name in presets:
        for context in ([], ["--data", "my.txt"], ["--pairs", "talk.tsv"], ["--task", "transduction"]):
            error = checker.rlgan(["show-config", name, *context, *resolved(typed)], is_whole=True)
            if error is None:
                return None
            errors.append(error)
    return errors[0]


@pytest.mark.parametrize("piece", pieces(documents.options), ids=lambda piece: piece.where)
def test_an_option_exists(piece: Piece, checker: Checker) -> None:
    if EXAMPLE in piece.text:
        return  # the test of the example's
    error = option_error(piece, checker)
    assert error is None, f"{piece}: {error}"


@pytest.mark.parametrize("piece", pieces(documents.python_blocks), ids=lambda piece: piece.where)
def test_a_python_snippet_compiles_and_its_imports_and_calls_are_there(piece: Piece) -> None:
    tree = ast.parse(piece.text)
    imported: dict[str, object] = {}
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(compile(ast.Module([node], []), piece.where, "exec"), imported)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in imported:
            error = call_error(node, imported[node.func.id])
            assert error is None, f"{piece.where}: {ast.unparse(node)}: {error}"


def call_error(node: ast.Call, function: object) -> str | None:
    """What is wrong with a call's arguments."""
    assert callable(function)
    keywords: dict[str, object] = {keyword.arg: None for keyword in node.keywords if keyword.arg is not None}
    signature = inspect.signature(function)
    # A class that is written in Rust may name its own self, which no call gives.
    own = [None] if inspect.isclass(function) and next(iter(signature.parameters), None) == "self" else []
    try:
        signature.bind(*own, *node.args, **keywords)
    except TypeError as error:
        return str(error)
    return None


@pytest.mark.parametrize("piece", pieces(documents.calls), ids=lambda piece: piece.where)
def test_a_name_of_this_project_is_there(piece: Piece) -> None:
    name, has_call, _ = piece.text.partition("(")
    parts, found = name.split("."), importlib.import_module(name.split(".")[0])
    for index, part in enumerate(parts[1:], 2):
        if not hasattr(found, part):
            importlib.import_module(".".join(parts[:index]))
        found = getattr(found, part)
    if has_call:
        call = ast.parse(piece.text, mode="eval").body
        assert isinstance(call, ast.Call)
        error = call_error(call, found)
        assert error is None, f"{piece}: {error}"


@pytest.mark.parametrize("piece", pieces(documents.files), ids=lambda piece: piece.where)
def test_a_file_that_is_named_is_there(piece: Piece) -> None:
    exists = (PROJECT / piece.text).exists() or (PROJECT / f"{piece.text}.py").exists()
    assert exists or piece.text == "rlgan/Token-v0", f"{piece}: no such file"  # Gymnasium's name of an environment


@pytest.mark.parametrize("piece", pieces(documents.links, (*DOCUMENTS, *RESULTS)), ids=lambda piece: piece.where)
def test_a_link_leads_somewhere(piece: Piece) -> None:
    document = PROJECT / piece.where.rpartition(":")[0]
    path, _, anchor = piece.text.partition("#")
    target = (document.parent / path).resolve() if path else document
    assert target.exists(), f"{piece}: there is no {path}"
    if anchor:
        known = documents.anchors(target.read_text("utf-8"))
        assert anchor in known, f"{piece}: {target.name} has no heading #{anchor}; it has {', '.join(sorted(known))}"


def programs() -> list[str]:
    """All Python of the project, and its other files that cite pages."""
    found = {
        path
        for folder in ("rlgan", "envs", "tuning", "tests", "benchmarks", "examples")
        for path in (PROJECT / folder).rglob("*.py")
    }
    found |= {path for path in PROJECT.iterdir() if path.suffix in (".toml", ".yaml")} | {PROJECT / "Makefile"}
    return sorted({path.resolve().relative_to(PROJECT).as_posix() for path in found})


def test_a_cited_section_of_algorithms_is_there_and_the_contents_lead_to_it() -> None:
    numbered = {
        piece.text: piece.where
        for path in DOCUMENTS
        if path.startswith("docs/algorithms/")
        for piece in documents.sections(path, (PROJECT / path).read_text("utf-8"))
    }
    cited = pieces(documents.citations, programs())
    assert len(cited) > 50
    for piece in cited:
        assert piece.text in numbered, f"{piece.where}: docs/algorithms has no section {piece.text}"
    contents = (PROJECT / "docs/algorithms.md").read_text("utf-8")
    rows = re.findall(r"(?m)^\| ([\d., ]+) \| \[.*?\]\((.*?)\)", contents)
    listed = {number: f"docs/{page}" for numbers, page in rows for number in numbers.split(", ")}
    for number, page in listed.items():
        assert numbered[number].rpartition(":")[0] == page, f"docs/algorithms.md: section {number} is not in {page}"
    for number, where in numbered.items():  # a section of a section is found below it
        assert any(f"{number}.".startswith(f"{one}.") for one in listed), f"{where}: not in docs/algorithms.md"


def test_a_page_that_a_program_names_is_there() -> None:
    named = pieces(documents.pages_cited, programs())
    assert len(named) > 50
    for piece in named:
        assert (PROJECT / piece.text).exists(), f"{piece}: there is no such page"


@pytest.mark.parametrize("piece", pieces(documents.toml_blocks), ids=lambda piece: piece.where)
def test_a_study_in_toml_is_one(piece: Piece, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(piece.text, "utf-8")
    space = load_study(str(path)).space(None, {})
    varied = {one.path for one in space.axes} | {bundle.name for bundle in space.bundles}
    written = tomllib.loads(piece.text)
    assert varied >= set(written["axes"]) | set(written.get("bundles", {})), piece.where


def test_the_table_of_presets_has_each_of_them_once() -> None:
    text = (PROJECT / "docs/presets.md").read_text("utf-8")
    rows = re.findall(r"(?m)^\| (.*?) \|", text.partition("| preset |")[2])
    assert sorted(re.findall(r"`([\w-]+)`", " ".join(rows))) == sorted(PRESETS)


def test_the_list_of_examples_has_each_of_them() -> None:
    listed = re.findall(r"(?m)^\| \[(.*?)\]", (PROJECT / "examples/README.md").read_text("utf-8"))
    there = [path.name for path in (PROJECT / "examples").iterdir() if path.suffix in (".py", ".ipynb")]
    assert sorted(listed) == sorted(there)


def test_yaml_and_json_parse() -> None:
    for piece in pieces(documents.yaml_blocks):
        assert yaml.safe_load(piece.text) is not None, piece.where


@pytest.mark.parametrize("piece", pieces(documents.definitions), ids=lambda piece: piece.where)
def test_a_name_is_where_it_is_said_to_be(piece: Piece) -> None:
    name, _, path = piece.text.partition(" in ")
    tree = ast.parse((PROJECT / path).read_text("utf-8"))
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    defined |= {ast.unparse(target) for node in tree.body if isinstance(node, ast.Assign) for target in node.targets}
    assert name in defined, f"{piece}: {path} defines no {name}"


@pytest.mark.heavy
@pytest.mark.parametrize(
    "command",
    [
        "rlgan train quick --data my.txt",
        "rlgan train quick --source train.en --target train.de",
        "rlgan train regs --pairs talk.jsonl --task.domain dialogue --task.vocabulary shared --task.min-length 5",
    ],
)
def test_a_command_with_files_reads_them(command: str, checker: Checker) -> None:
    """One of each kind is tried dry: its files are read and its parts are made."""
    assert any(piece.text.partition("#")[0].rstrip().endswith(command) for piece in pieces(documents.commands))
    error = checker.rlgan([*words(command)[1:], "--dry-run", *SMALL], is_whole=True)
    assert error is None, f"{command}: {error}"


SMALL = ("--generator.hidden", "8", "--generator.embedding", "8")


def found_at(text: str, path: str, checker: Checker) -> list[str]:
    """Complaints about the commands and options of a text that stands in place of a document."""
    errors = [checker.command(piece) for piece in documents.commands(path, text)]
    return [
        error for error in [*errors, *(option_error(one, checker) for one in documents.options(path, text))] if error
    ]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("    rlgan train seqgan --credit.num-rolouts 8", "credit.num_rolouts: no such setting"),
        ("    rlgan train quick --credit.num-rollouts 8", "credit='terminal' has none"),
        ("    rlgan trian seqgan", "trian is no verb"),
        ("    rlgan train seqgann", "seqgann"),
        ("    rlgan train quick \\\n        --data nobodys.txt", "nobodys.txt is no file of this project"),
        ("    rlgan train seqgan --oracle-params oracle_lstm.npz", "no command of README.md makes it"),
        ("    rlgan sample --run RUN --beams 5", "unrecognized arguments: --beams"),
        ("    rlgan evaluate --adversarial", "required: --run"),
        ("    rlgan tune reward_baseline --trails 4", "trails: no such setting"),
        ("    rlgan tune reward_base", "reward_base"),
        ("    python -m benchmarks.spead", "there is no module benchmarks.spead"),
        ("    python -m benchmarks.speed --repeat 3 --fully", "unrecognized arguments: --fully"),
        ("    make tests", "the Makefile has no target tests"),
        ('    make train ARG="seqgan"', "the Makefile has no variable ARG"),
        ("    ray sumbit cluster.yaml rlgan/train.py", "has no command sumbit"),
        ("    ray submit cluster.yaml rlgan/train.py -- seqgan --worker.rollout 8", "no such setting"),
        ("    ray submit clusters.yaml rlgan/train.py", "clusters.yaml is no file"),
        ("    ray job submit --adress http://127.0.0.1:8265 -- python rlgan/train.py", "--adress"),
        ("    mlflow models serv -m x", "has no command serv"),
        ("Run `pytest -m slwo`.", "no marker slwo"),
        ("Run `pytest -k no_such_test_at_all`.", "no test has no_such_test_at_all in its name"),
        ("Run `pip install '.[tunes]'`.", "no extra tunes"),
        ("Run `rlgan sample --replace-unknowns`.", "sample has no --replace-unknowns"),
        ("An option: `--credit.num-rollouts 8`.", "credit='terminal' has none"),
        ("An option: `--no-such-option`.", "no_such_option: no such setting"),
    ],
)
def test_what_does_not_resolve_is_noticed(text: str, message: str, checker: Checker) -> None:
    (error,) = found_at(text, "README.md", checker)
    assert message in error


def test_comments_and_meanings_are_no_part_of_a_command() -> None:
    lines = (
        "make train      # main job",
        "rlgan show-config seqgan             every path",
        "RLGAN_DATA=x rlgan presets",
    )
    text = "".join(f"    {line}\n" for line in lines)
    assert [words(piece.text) for piece in documents.commands("x", text)] == [
        ["make", "train"],
        ["rlgan", "show-config", "seqgan"],
        ["RLGAN_DATA=x", "rlgan", "presets"],
    ]


def test_anchors_are_those_of_github() -> None:
    text = "# A run's `end`, and *more*\n\n    # a comment\n\n## End\n\n## End\n"
    assert documents.anchors(text) == {"a-runs-end-and-more", "end", "end-1"}


@pytest.mark.heavy
def test_the_reward_that_contributing_adds_trains(tmp_path: Path) -> None:
    """Step 1 with a copy of the project, as it is written there, then a run with it."""
    text = (PROJECT / "CONTRIBUTING.md").read_text("utf-8")
    snippets = [piece.text for piece in documents.python_blocks("CONTRIBUTING.md", text) if EXAMPLE in piece.text]
    assert len(snippets) == 1
    for folder in ("rlgan", "envs", "tuning"):
        shutil.copytree(
            PROJECT / folder, tmp_path / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    room = tmp_path / "rlgan" / "policy" / "logit_maps.py"
    source = room.read_text("utf-8")
    union = re.compile(r"^DiscriminatorReward = (.*)$", re.M)
    assert len(union.findall(source)) == 1
    room.write_text(union.sub(lambda found: f"{snippets[0]}\n\n{found[0]} | SquashedLogit", source), "utf-8")
    check = (
        "import sys, torch, rlgan\n"
        "from rlgan.policy.logit_maps import SquashedLogit\n"
        "assert rlgan.__file__.startswith(sys.argv[1]), rlgan.__file__\n"
        "u = torch.tensor([-3.0, 0.0, 1.0])\n"
        "assert SquashedLogit().of_logits(u).tolist() == [-0.75, 0.0, 0.5]\n"
        "from rlgan.__main__ import run\n"
        "sys.exit(run(sys.argv[2:]))\n"
    )
    settings = {
        "reward": EXAMPLE,
        "task": "toy",
        "task.vocab-size": 4,
        "task.max-length": 3,
        "task.num-train": 64,
        "task.num-valid": 20,
        "task.num-test": 20,
        "generator.embedding": 4,
        "generator.hidden": 4,
        "discriminator": "tabular",
        "credit": "terminal",
        "schedule.mle-epochs": 1,
        "schedule.discriminator-rounds": 1,
        "schedule.adversarial-updates": 1,
        "schedule.g-batch": 8,
        "schedule.d-steps": 1,
        "schedule.d-epochs": 1,
        "adversary.sequences-per-round": 16,
        "adversary.batch": 8,
        "controls": "none",
        "evaluation.num-sequences": 20,
        "evaluation.final-sequences": 20,
        "tracking.enabled": "false",
        "out": "run",
    }
    small = [word for path, value in settings.items() for word in (f"--{path}", str(value))]
    ended = subprocess.run(
        [sys.executable, "-c", check, str(tmp_path), "train", "seqgan-quick", *small],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    assert "squashed_logit" in (tmp_path / "run" / "config.json").read_text("utf-8")


# Words


@pytest.mark.parametrize("name", [one for one in DOCUMENTS if one not in ("docs/glossary.md", "docs/errors.md")])
def test_documents_are_in_plain_words(name: str) -> None:
    """Code apart; the glossary quotes the words to avoid, and the list of errors is made of messages."""
    text = re.sub(r"```.*?```", "", (PROJECT / name).read_text("utf-8"), flags=re.DOTALL)
    assert complaints(name, text) == []
