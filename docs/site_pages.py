"""What the site adds to the Markdown pages: contents, docstrings, the help of every command, every setting.

A page asks for it by a comment, which a code host does not show:

    <!-- site: docstrings -->   each line below of the form "* `rlgan.NAME`: ..." is followed by the docstring of NAME
    <!-- site: commands -->     the help of every verb
    <!-- site: settings -->     every setting of every variant, with its default, what is allowed and its meaning

The lists of links on a page of contents (`CONTENTS`) are its tables of contents.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import posixpath
import re
import typing
from collections.abc import Iterator
from enum import Enum
from importlib import import_module
from typing import Any

from docutils import nodes
from docutils.parsers.rst.states import Inliner
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

from rlgan.base.settings import Settings, documented
from rlgan.config.config import Config
from rlgan.config.paths import settings_classes, variants_of

logger = logging.getLogger(__name__)

CONTENTS = ("docs/index", "docs/algorithms")
"""Pages whose links to other pages are tables of contents."""

NOTES = "benchmarks/results/README"
"""The page that lists all notes of results."""

PUBLIC = (
    "rlgan",
    "rlgan.base.errors",
    "rlgan.callbacks",
    "rlgan.discriminators.testing",
    "rlgan.envs",
    "rlgan.envs.testing",
    "rlgan.generators.testing",
    "rlgan.policy.reward_base",
    "rlgan.runs.ray_tune",
    "rlgan.training.callbacks",
)
"""Modules of which every public name has to be on a page: what `__all__` lists, else what is defined there."""


# ------------------------------------------------------------------------------------------------------ contents


def with_contents(page: str, text: str) -> str:
    """A page of contents with a hidden table of contents behind each list or table of links."""
    done: set[str] = set()
    parts = []
    for part in re.split(r"(?m)^(?=## )", text):
        title = part.partition("\n")[0].removeprefix("## ") if part.startswith("## ") else ""
        lines = [line for line in part.splitlines() if line.startswith(("*", "|"))]
        targets = [one for line in lines for one in re.findall(r"\]\(([^)#]+)\.md\)", line)]
        pages = [posixpath.normpath(posixpath.join(posixpath.dirname(page), one)) for one in targets]
        listed = [f"/{one}" for one in dict.fromkeys(pages) if one not in done]
        done |= set(pages)
        caption = f":caption: {title}\n" if title and page == "docs/index" else ""
        toctree = "\n".join(["```{toctree}", f":hidden:\n{caption}", *listed, "```"])
        parts.append(part + (f"\n{toctree}\n\n" if listed else ""))
    return "".join(parts)


# ------------------------------------------------------------------------------------------------------ docstrings


def found(name: str) -> Any:
    """What a dotted name stands for.

    Raises:
        LookupError: nothing has it.
    """
    parts = name.split(".")
    there: Any = import_module(parts[0])
    for at, part in enumerate(parts[1:], 2):
        if not hasattr(there, part):  # a module that nobody has imported yet
            try:
                import_module(".".join(parts[:at]))
            except ModuleNotFoundError as error:
                raise LookupError(f"{name}: there is no such name") from error
        there = getattr(there, part)
    return there


def with_docstrings(text: str) -> str:
    """A page with the docstring of each listed name in the place of its line."""

    def documented(line: re.Match[str]) -> str:
        name = line[1]
        there = found(name)
        if inspect.ismodule(there):
            kind = "automodule"
        elif inspect.isclass(there):
            kind = "autoexception" if issubclass(there, BaseException) else "autoclass"
        else:
            kind = "autofunction" if callable(there) else "autodata"
        options = "   :no-members:\n" if kind == "automodule" else ""
        return f"```{{eval-rst}}\n.. {kind}:: {name}\n{options}```\n"

    return re.sub(r"(?m)^\* `(rlgan(?:\.\w+)+)`.*$\n?", documented, text)


_SECTIONS = re.compile(r"(Args|Attributes|Raises|Returns|Yields|Example|Examples|Note):")


def as_rst(lines: list[str]) -> list[str]:
    """A docstring, which is written as Markdown is, in the words of Sphinx: code blocks, spans, no other mark-up."""
    blocks: list[tuple[bool, list[str]]] = [(False, [])]
    in_section = False
    for at, line in enumerate(lines):
        if not line.startswith(" ") and line:
            in_section = _SECTIONS.fullmatch(line) is not None
        is_indented = line.startswith("    ")
        in_code = blocks[-1][0]
        begins = is_indented and not in_section and at > 0 and not lines[at - 1].strip()
        if not in_code and begins:
            blocks.append((True, [line]))
        elif in_code and line.strip() and not is_indented:
            blocks.append((False, [line]))
        else:
            blocks[-1][1].append(line)
    written: list[str] = []
    for is_code, block in blocks:
        written += ["", ".. code-block:: text", "", *block, ""] if is_code else _escaped("\n".join(block)).split("\n")
    return written


def _escaped(text: str) -> str:
    """Prose in which spans are mark-up, pages of docs/ are links, and nothing else is anything."""
    parts = re.split(r"(``[^`]+``|`[^`]+`)", text)
    for at, part in enumerate(parts):
        if at % 2:  # a span that a letter follows ends there all the same
            follows = parts[at + 1][:1]
            plain = " ".join(part.split())
            parts[at] = plain + ("\\ " if follows.isalnum() else "")
        else:
            plain = re.sub(r"([*|])|(?<=\w)(_)(?!\w)", lambda mark: "\\" + mark[0], part)
            parts[at] = re.sub(r"\bdocs/([\w/]+)\.md\b", r":doc:`docs/\1.md </docs/\1>`", plain)
    return "".join(parts)


def read_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Before napoleon: the docstring as it wants it; a public name without one fails the build."""
    has_to_have_one = what in ("module", "class", "exception", "function", "method", "property")
    if has_to_have_one and not any(line.strip() for line in lines):
        logger.warning("%s has no docstring", name, type="rlgan", subtype="undocumented")
    lines[:] = as_rst(lines)
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # of these, napoleon takes a first line with a colon for "type: meaning"


def name_or_code(
    role: str, rawtext: str, text: str, lineno: int, inliner: Inliner, options: object = None, content: object = ()
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """The role of single backticks: a link where the text is a name that can be one, else code."""
    shown = nodes.literal(text, text, classes=["xref", "py"])
    if not re.fullmatch(r"(rlgan\.)?(\w+\.)*[A-Z]\w+(\.\w+)?|rlgan(\.\w+)+", text):
        return [shown], []
    env = inliner.document.settings.env
    link = pending_xref("", shown, refdomain="py", reftype="obj", reftarget=text, refexplicit=False, refdoc=env.docname)
    link.source, link.line = inliner.document.current_source, lineno
    return [link], []


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.TextElement) -> nodes.Node | None:
    """A name in a docstring or signature that Sphinx does not find by itself.

    Names of this project may be written from any package on (`policy.credit`), and those of types by their last part.
    They are linked where they are on a page. What begins with `rlgan.` has to exist.
    """
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    known = env.domains.python_domain.objects
    last = target.rpartition(".")[2]
    fits = [name for name in known if name == target or name.endswith(f".{target}")]
    if not fits and re.fullmatch(r"[A-Z]\w+", last):
        fits = [
            name for name in known if name.rpartition(".")[2] == last and known[name].objtype in ("class", "exception")
        ]
    if len(fits) == 1 and target:
        where = known[fits[0]]
        return make_refnode(app.builder, node["refdoc"], where.docname, where.node_id, [shown], target)
    if re.fullmatch(r"rlgan(\.\w+)+", target):
        try:
            found(target)
        except LookupError as error:
            logger.warning("%s", error, location=node, type="rlgan", subtype="reference")
    return shown


def require_public_names(app: Sphinx, env: BuildEnvironment) -> None:
    """Every public name of `PUBLIC` is on a page, under any of the names by which it can be imported."""
    shown = set()
    for name in env.domains.python_domain.objects:
        try:
            shown.add(id(found(name)))
        except LookupError:  # a field of a data class, say
            continue
    for module in PUBLIC:
        for name in public_names(module):
            if id(found(f"{module}.{name}")) not in shown:
                logger.warning(
                    "%s.%s is public and on no page. Add it to a list in docs/reference/.",
                    module,
                    name,
                    type="rlgan",
                    subtype="undocumented",
                )


def public_names(module: str) -> list[str]:
    """What a module offers: `__all__`, else its own classes and functions."""
    there = import_module(module)
    listed = getattr(there, "__all__", None)
    if listed is None:
        own = ((name, one) for name, one in vars(there).items() if getattr(one, "__module__", None) == module)
        listed = [
            name for name, one in own if not name.startswith("_") and (inspect.isclass(one) or inspect.isroutine(one))
        ]
    return [name for name in listed if not name.startswith("__")]


# ------------------------------------------------------------------------------------------------------ commands


def commands() -> str:
    """The help of every verb, as 80 columns show it."""
    from rlgan.__main__ import VERBS as ABOVE
    from rlgan.cli.main import VERBS, _wrapped, parser_of

    os.environ["COLUMNS"] = "80"
    verbs = (*VERBS, *ABOVE)
    parser, parsers = parser_of(verbs)
    text = f"```text\n{parser.format_help()}```\n"
    for verb in verbs:
        own = parsers[verb.name]
        verb.load().add_options(own)
        own.description = _wrapped(own.description or "")
        text += f"\n## rlgan {verb.name}\n\n```text\n{own.format_help()}```\n"
        below = [action for action in own._actions if isinstance(action, argparse._SubParsersAction)]
        for action in below:
            for name, choice in action.choices.items():
                text += f"\n### rlgan {verb.name} {name}\n\n```text\n{choice.format_help()}```\n"
    return text


# ------------------------------------------------------------------------------------------------------ settings


def settings() -> str:
    """Every setting: a table for each group and each variant, below the axis that it belongs to."""
    return "".join(_of_class(Config, "", "", 2, set()))


def _of_class(owner: type[Settings], prefix: str, title: str, level: int, above: set[type[Settings]]) -> Iterator[str]:
    fields = {name: field for name, field in owner.model_fields.items() if name != "kind"}
    if title:
        yield f"\n{'#' * min(level, 6)} {title}\n\n{_first_paragraph(owner)}\n"
    if fields:
        yield "\n| setting | default | allowed | meaning |\n|---|---|---|---|\n"
    for name, field in fields.items():
        meaning = documented(owner, name)
        cells = (f"`{prefix}{name}`", _default(field), _allowed(field), meaning)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"
    below = level + 1 if title else level
    for name, field in fields.items():
        variants = variants_of(field)
        for kind, variant in variants.items():
            if variant not in above:
                yield from _of_class(
                    variant, f"{prefix}{name}.", f"`{prefix}{name}` `{kind}`", below, above | {variant}
                )
        for inner in settings_classes(field) if not variants else []:
            if inner not in above:
                yield from _of_class(inner, f"{prefix}{name}.", f"`{prefix}{name}`", below, above | {inner})


def _first_paragraph(owner: type[Settings]) -> str:
    return " ".join(inspect.cleandoc(owner.__doc__ or "").split("\n\n")[0].split())


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True) if field.default_factory is None else field.default_factory()  # type: ignore[call-arg]
    if value is PydanticUndefined:
        return "has to be set"
    plain = getattr(value, "kind", None) or ("below" if isinstance(value, Settings) else to_jsonable_python(value))
    return "below" if plain == "below" else f"`{json.dumps(plain, ensure_ascii=False)}`"


def _allowed(field: FieldInfo) -> str:
    variants = variants_of(field)
    if variants:
        names = [f"`{name}`" for name in variants]
        return ", ".join([*names, *(["null"] if type(None) in typing.get_args(field.annotation) else [])])
    bounds = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    limits = [
        f"{sign} {getattr(one, name)}"
        for one in field.metadata
        for name, sign in bounds.items()
        if getattr(one, name, None) is not None
    ]
    return ", ".join([*_kinds(field.annotation), *limits])


def _kinds(annotation: Any) -> list[str]:
    if typing.get_origin(annotation) is typing.Annotated:
        return _kinds(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) is typing.Literal:
        return [f"`{json.dumps(one)}`" for one in typing.get_args(annotation)]
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return [f"`{json.dumps(one.value)}`" for one in annotation]
    arguments = typing.get_args(annotation)
    names = {int: "integer", float: "number", str: "text", bool: "true, false", type(None): "null"}
    if annotation in names:
        return [names[annotation]]
    if typing.get_origin(annotation) in (tuple, list, dict, frozenset):
        inner = dict.fromkeys(kind for one in arguments if one is not Ellipsis for kind in _kinds(one))
        return [f"list of {' or '.join(inner)}" if typing.get_origin(annotation) is not dict else "names and values"]
    if inspect.isclass(annotation):
        return ["settings" if issubclass(annotation, Settings) else annotation.__name__]
    return list(dict.fromkeys(kind for one in arguments for kind in _kinds(one)))


# ------------------------------------------------------------------------------------------------------ the build


def read_page(app: Sphinx, page: str, source: list[str]) -> None:
    """Put into a page what it asks for."""
    text = source[0]
    if page in CONTENTS:
        text = with_contents(page, text)
    if page == NOTES:
        text += "\n```{toctree}\n:glob:\n:reversed:\n\n2*\n```\n"
    for name, made in (("commands", commands), ("settings", settings)):
        mark = f"<!-- site: {name} -->"
        if mark in text:
            text = text.replace(mark, made())
    before, mark, below = text.partition("<!-- site: docstrings -->")
    source[0] = before + with_docstrings(below) if mark else text


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls first."""
    app.add_role("name_or_code", name_or_code)
    app.connect("source-read", read_page)
    app.connect("autodoc-process-docstring", read_docstring, priority=100)  # napoleon's is 500
    app.connect("missing-reference", resolve)
    app.connect("env-check-consistency", require_public_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
