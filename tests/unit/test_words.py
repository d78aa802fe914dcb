"""Errors have codes and fields that last, and the guard of plain words sees what it looks for."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

import pytest

from rlgan.base.errors import ConfigError, DataError, RlganError
from rlgan.base.settings import Settings, settings_in
from rlgan.config.config import Config
from rlgan.config.paths import from_dict
from tests.support.error_codes import COMPUTED, cell, page, raised, raised_in
from tests.support.plain_words import MOST_WORDS, avoided, complaints, said, said_in, sentences

# Codes


def test_an_error_without_a_code_is_found() -> None:
    source = 'raise ConfigError("a: b.")\nraise DataError(f"{x}: c.", code="d")'
    assert [(one.code, one.kind, one.text) for one in raised_in("f.py", source)] == [
        (None, "ConfigError", "a: b."),
        ("d", "DataError", "…: c."),
    ]


def test_the_page_of_errors_has_no_full_stop_behind_a_sentence_that_is_a_value() -> None:
    source = """ConfigError(f"a={a}: " + (b.advice or f"Use {c}") + ".", code="one")
ConfigError(f"a: choose one of {b}.{nearest(a, b)} Fix it.{own_lines(c, d)}", code="two")
ConfigError(f"is wrong. {advice}.", code="three")
ConfigError(f"give {b}.{hint}", code="four")
ConfigError(f"set options.{name}.", code="five")
"""
    assert [cell(one.text) for one in raised_in("f.py", source)] == [
        "a=…: Use ….", "a: choose one of …. Fix it.", "is wrong. …", "give ….", "set options.….",
    ]  # fmt: skip
    assert not re.findall(r"(?<![.\w])[.!?] …\.(?= )|…\.… [A-Z]", page())


def test_each_code_names_one_rule() -> None:
    numbers = Counter(one.code for one in raised())
    assert [code for code, number in numbers.items() if number > 1 or code in COMPUTED] == []
    assert [code for code in numbers if not re.fullmatch(r"[a-z][a-z0-9_]+", str(code))] == []


@cache
def _paths() -> frozenset[str]:
    """Every dotted path that some variant of the configuration has."""

    def below(owner: type[Settings], prefix: str, depth: int) -> Iterator[str]:
        for name, field in owner.model_fields.items():
            yield prefix + name
            if depth:
                for member in settings_in(field):
                    yield from below(member, f"{prefix}{name}.", depth - 1)

    return frozenset(below(Config, "", 5))


def test_each_problem_names_a_setting_that_exists() -> None:
    wrong = [
        f"{one.place}: {name}" for one in raised() for name in one.settings if one.settings and name not in _paths()
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("values", "code", "field"),
    [
        ({"task": {"kind": "toy"}, "seeed": 3}, "setting_not_known", "seeed"),
        ({"task": {"kind": "text"}}, "setting_missing", "task.data"),
        ({"task": {"kind": "toy"}, "credit": {"kind": "none"}}, "setting_variant", "credit"),
        ({"task": {"kind": "toy"}, "seed": -1}, "setting_value", "seed"),
        ({"task": {"kind": "toy"}, "generator": {"kind": "lstm", "output_layers": "all"}}, "output_layers_of_one", ""),
        ({"task": {"kind": "toy"}, "controls": ["mle_continued"]}, "", ""),
    ],
)
def test_codes_and_fields_pass_through_pydantic(values: dict[str, object], code: str, field: str) -> None:
    if not code:
        from_dict(values)
        return
    with pytest.raises(ConfigError) as caught:
        from_dict(values)
    assert caught.value.code == code
    assert not field or field in caught.value.fields


def test_an_error_keeps_its_code_when_it_is_reworded_and_when_it_travels() -> None:
    error = DataError("a.txt, line 3: is empty.", code="empty_line", fields={"path": "a.txt", "line": 3})
    error.reword("a.txt, line 3: is empty. Remove it.")
    travelled = pickle.loads(pickle.dumps(error))
    for one in (error, travelled):
        assert isinstance(one, RlganError) and str(one).endswith("Remove it.")
        assert (one.code, one.fields) == ("empty_line", {"path": "a.txt", "line": 3})


# Sentences


def test_the_guard_sees() -> None:
    assert complaints("x", "the two are not told apart") and complaints("x", "Mend it.")
    assert not complaints("x", "no significant difference; fix it")
    text = " ".join(["word"] * (MOST_WORDS + 1))
    assert [len(one.split()) for one in sentences(text + ". Short one.")] == [MOST_WORDS + 1, 2]


def test_the_guard_reads_errors_help_and_settings() -> None:
    source = 'raise ConfigError(f"{a}: b.", code="c")\nadd(help="d e")\nclass S:\n    f: int = 1\n    """g h"""'
    assert [one.text for one in said_in("f.py", source)] == ["…: b.", "g h", "d e"]
    assert len(said()) > 1000 and len(avoided()) > 20
