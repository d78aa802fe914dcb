"""Demonstrations: every shape that people have becomes the same ids, and completions end as samples end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from rlgan.base.errors import ConfigError, DataError
from rlgan.base.pretrained import ModelFolder
from rlgan.envs.model_tokens import ModelTokens
from rlgan.envs.tasks import DemonstrationsTask, Task, build_task, demonstrations_task
from rlgan.envs.tasks.prompts import PromptReading
from rlgan.envs.testing import check_task
from rlgan.envs.transition import sequence_mask
from tests.support.errors import refused
from tests.support.language_models import CHATML, chats, require, write_records, write_tokenizer

require()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("model"))


def built(path: Path, model: Path, **settings: Any) -> Task:
    given = {"demonstrations": str(path), "model": {"kind": "folder", "path": str(model)}}
    return build_task(DemonstrationsTask.model_validate(given | settings))


def of_rows(rows: list[dict[str, Any]], model: Path, **settings: Any) -> Task:
    return demonstrations_task(rows, ModelFolder(path=str(model)), **settings)


def message(rows: list[dict[str, Any]], model: Path, **settings: Any) -> str:
    """What is said of rows that are refused: the error's code, and its message."""
    with pytest.raises((DataError, ConfigError)) as found:
        of_rows(rows, model, **settings)
    return f"{found.value.code} {found.value}"


def shown(task: Task) -> set[tuple[str, str]]:
    """All prompts and completions of a task, decoded."""
    assert task.conditions is not None
    return {
        (prompt, completion)
        for split in ("train", "valid", "test")
        for prompt, completion in zip(
            task.conditions.decode(getattr(task.conditions, split)), task.decode(getattr(task, split)), strict=True
        )
    }


def asked(number: int, answer: str = "fine") -> tuple[list[dict[str, str]], str]:
    return [{"role": "user", "content": f"how {number}?"}], f"{answer} {number}"


# --------------------------------------------------------------------------------------------------- shapes


def _said(answer: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": answer}]


SHAPES = {
    "messages": lambda prompt, answer: {"messages": [*prompt, *_said(answer)]},
    "share_gpt": lambda prompt, answer: {
        "conversations": [{"from": "human", "value": prompt[0]["content"]}, {"from": "gpt", "value": answer}]
    },
    "prompt_completion": lambda prompt, answer: {"prompt": prompt, "completion": _said(answer)},
    "prompt_completion_text": lambda prompt, answer: {"prompt": prompt, "completion": answer},
    "preferences": lambda prompt, answer: {"prompt": prompt, "chosen": _said(answer), "rejected": _said("no")},
    "implicit_preferences": lambda prompt, answer: {
        "chosen": [*prompt, *_said(answer)], "rejected": [*prompt, *_said("no")]
    },
    "verl": lambda prompt, answer: {
        "data_source": "x", "prompt": prompt, "reward_model": {"style": "rule", "ground_truth": answer}
    },
    "gad": lambda prompt, answer: {"content": prompt, "teacher_response": answer},
    "spin": lambda prompt, answer: {"real": [*prompt, *_said(answer)], "generated": [*prompt, *_said("no")]},
    "named": lambda prompt, answer: {"q": {"turns": prompt}, "a": answer},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_the_same_prompts_and_completions(shape: str, model: Path) -> None:
    rows = [SHAPES[shape](*asked(number)) for number in range(30)]
    named = {"prompt": "q.turns", "completion": "a"} if shape == "named" else {}
    task = of_rows(rows, model, **named)
    check_task(task)
    expected = {
        (f"<|im_start|>user how {number}?<|im_end|> <|im_start|>assistant ", f"fine {number}") for number in range(30)
    }
    assert shown(task) == expected
    assert task.conditions is not None and isinstance(task.conditions.reading, PromptReading)
    assert any("which ends a turn of the chat template" in note for note in task.notes)


@pytest.mark.parametrize("names", [("prompt", "completion"), ("question", "answer"), ("instruction", "output")])
def test_texts_are_read_without_a_template(names: tuple[str, str], model: Path) -> None:
    rows = [{names[0]: f"how {number}?", names[1]: f" fine {number}"} for number in range(30)]
    assert shown(of_rows(rows, model)) == {(f"how {number}?", f" fine {number}") for number in range(30)}
    as_chat = shown(of_rows(rows, model, template="chat"))
    assert ("<|im_start|>user how 3?<|im_end|> <|im_start|>assistant ", " fine 3") in as_chat


def test_texts_alone_begin_with_the_start_and_are_given_nothing(model: Path) -> None:
    rows = [{"text": f"hello {number}"} for number in range(30)]
    task = of_rows(rows, model, form="texts")
    check_task(task)
    assert task.conditions is None and task.measures == {"text"}
    assert set(task.decode(torch.cat([task.train, task.valid, task.test]))) == {row["text"] for row in rows}
    assert "set --task.form texts" in message(rows, model)


def test_files_folders_and_lists_give_the_same_task(model: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = chats(40)
    fingerprint = of_rows(rows, model).fingerprint()
    write_records(tmp_path / "a.jsonl", rows)
    data = datasets.Dataset.from_list(rows)
    data.to_parquet(str(tmp_path / "a.parquet"))
    data.save_to_disk(str(tmp_path / "folder"), num_shards=3)
    data.select(range(40)).save_to_disk(str(tmp_path / "selected"))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    for name in ("a.jsonl", "a.parquet", "folder", "selected", "a.json"):
        assert built(tmp_path / name, model).fingerprint() == fingerprint, name
    assert demonstrations_task(data, ModelFolder(path=str(model))).fingerprint() == fingerprint
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(str(tmp_path / "several"))
    with refused(DataError, "several_splits", match=r"\(train, test\)"):
        built(tmp_path / "several", model)
    split = built(tmp_path / "several" / "train", model, test=str(tmp_path / "several" / "test"))
    assert len(split.test) == 40 and any("prompts also occur in the training data" in note for note in split.notes)


# ---------------------------------------------------------------------------------------------------- ends


def test_completions_end_with_the_one_token_that_ends_a_turn_and_nothing_behind_it(model: Path) -> None:
    # The template writes a line break behind the end; a sample never would.
    task = of_rows(chats(40), model)
    tokens = ModelTokens.of(ModelFolder(path=str(model)))
    end = tokens.loaded.convert_tokens_to_ids("<|im_end|>")
    assert task.space.end_id == end == tokens.end_of_turn
    mask = sequence_mask(task.space, task.train)
    assert bool(((task.train == end) & mask).sum(1).eq(1).all())
    assert bool((task.train[~mask] == task.space.pad_id).all())


def test_prompts_end_behind_all_their_own_special_tokens(model: Path) -> None:
    task = of_rows(chats(40), model)
    given = task.conditions
    assert given is not None
    size = len(task.token_names)
    assert given.space.vocab_size == size + 1 and given.space.end_id == size
    assert bool((given.train == task.space.end_id).any(1).all())  # the user's turn has ended within
    row = given.train[0]
    assert given.decode(row[None])[0].endswith("<|im_start|>assistant ") and int((row == size).sum()) >= 1


@pytest.mark.parametrize(
    "text",
    [" leading", "two\r\nlines\n", "snowman ☃ 👍🏽", "<|im_end|> is no end", "tab\tand  spaces", "<|endoftext|>"],
)
def test_completions_are_ids_of_just_what_was_written(text: str, model: Path) -> None:
    rows = [{"prompt": f"say {number}", "completion": f"{number}{text}"} for number in range(30)]
    task = of_rows(rows, model)
    tokens = ModelTokens.of(ModelFolder(path=str(model)))
    found = set()
    for row in torch.cat([task.train, task.valid, task.test]).long():
        ids = row[: row.tolist().index(task.space.end_id)].tolist()
        # Nothing in it is a special token, and the ids that a sampler would draw for it decode to it.
        assert not set(ids) & set(tokens.loaded.all_special_ids)
        found.add(tokens.loaded.decode(ids))
    assert found == {row["completion"] for row in rows}


def test_text_that_is_shown_has_a_line_and_text_with_lines_keeps_them(model: Path) -> None:
    from rlgan.envs.vocabulary import join_tokens

    task = of_rows([{"prompt": f"say {n}", "completion": f"one {n}\ntwo"} for n in range(30)], model)
    row = task.train[0].tolist()
    names = [task.token_names[token] for token in row[: row.index(task.space.end_id)]]
    assert "\n" in join_tokens(names, task.joining, in_one_line=False)
    assert join_tokens(names, task.joining) == task.decode(task.train[:1])[0] and "\n" not in task.decode(task.train)[0]


def test_tokens_of_sentencepiece_become_the_text_that_they_are(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    pieces = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    for piece in ("▁", "▁hello", "▁fine", "a", "b"):
        pieces[piece] = len(pieces)
    tokenizer = Tokenizer(models.BPE(pieces, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(str(tmp_path))
    task = of_rows([{"prompt": f"a {n}", "completion": f"ab ☃ {n}"} for n in range(30)], tmp_path)
    tokens = ModelTokens.of(ModelFolder(path=str(tmp_path)))
    for row in task.train.long():
        ids = row[: row.tolist().index(task.space.end_id)]
        assert task.decode(row[None])[0] == tokens.loaded.decode(ids)
    assert "ab ☃ 3" in set(task.decode(torch.cat([task.train, task.valid, task.test])))


# ------------------------------------------------------------------------------------------ what is left out


def test_what_is_empty_repeated_too_long_or_cut_is_counted(model: Path) -> None:
    rows = [{"prompt": f"how {n}?", "completion": f"fine {n}"} for n in range(40)]
    rows += [rows[0], {"prompt": "", "completion": "x"}, {"prompt": "x", "completion": " "}]
    rows += [{"prompt": "long " * 30, "completion": "y"}, {"prompt": "z", "completion": "long " * 30}]
    task = of_rows(rows, model, max_prompt_length=20, max_length=20, split_seed=1)
    told = "\n".join(task.notes)
    assert "skipped 2 demonstrations with an empty prompt or completion, rows 42, 43" in told
    assert "dropped 1 repeated demonstration" in told
    assert "dropped 1 prompt longer than 20 tokens" in told or "cut 1 prompt to the last 20 tokens" in told
    assert "dropped 1 completion longer than 19 tokens" in told or "cut 1 completion to 20 tokens" in told
    cut = of_rows(rows, model, max_prompt_length=20, max_length=20, over_long="cut", over_long_prompt="cut")
    assert sum(len(getattr(cut, split)) for split in ("train", "valid", "test")) == 42
    prompts = {prompt for prompt, _ in shown(cut)}
    assert any(prompt.endswith("long long ") and len(prompt) < 120 for prompt in prompts)  # the end is kept
    assert "prompt_too_long" in message(rows, model, max_prompt_length=20, over_long_prompt="error")


def test_prompts_that_are_the_same_stay_in_one_split(model: Path) -> None:
    rows = [{"prompt": f"how {n % 12}?", "completion": f"fine {n}"} for n in range(60)]
    task = of_rows(rows, model)
    assert task.conditions is not None
    splits = [set(task.conditions.decode(getattr(task.conditions, split))) for split in ("train", "valid", "test")]
    assert not splits[0] & splits[1] and not splits[0] & splits[2] and not splits[1] & splits[2]


# ------------------------------------------------------------------------------------------------- bad input


def test_records_of_no_known_shape_are_refused_with_their_fields(model: Path) -> None:
    assert "prompt_fields_unclear" in message([{"a": "x", "b": "y"}], model)
    assert "prompts_without_completions" in message([{"prompt": "x"}], model)
    assert "one_side_named" in message([{"a": "x", "b": "y"}], model, prompt="a")
    wrong = [{"prompt": "x", "completion": "y"}, {"prompt": 3, "completion": "y"}]
    assert "field_of_wrong_type train rows, row 2: field 'prompt' is a number (3)" in message(wrong, model)
    turns = [{"prompt": "x", "completion": [*_said("a"), *_said("b")]}]
    assert "completion_of_several_messages" in message(turns, model)
    mixed = [{"prompt": f"x {n}" if n % 3 else asked(n)[0], "completion": "y"} for n in range(30)]
    assert "prompts_of_two_kinds" in message(mixed, model)


def test_a_template_that_is_missing_or_drops_the_answer_is_refused(tmp_path: Path) -> None:
    none = write_tokenizer(tmp_path / "none", template=None)
    assert "chat_template_missing" in message(chats(30), none)
    without = CHATML.replace("{{ m['content'] }}", "{% if m['role'] != 'assistant' %}{{ m['content'] }}{% endif %}")
    drops = write_tokenizer(tmp_path / "drops", template=without)
    assert "template_changes_answer" in message(chats(30), drops)
    strict = "{% if messages[0]['role'] == 'user' %}{{ raise_exception('begin with system') }}{% endif %}"
    told = message(chats(30), write_tokenizer(tmp_path / "strict", template=strict))
    assert "template_refuses" in told and "(begin with system)" in told
    told = message(chats(30), write_tokenizer(tmp_path / "typo", template="{% for m in messages %}{{ m['role' }}"))
    assert "template_no_jinja" in told and "line 1" in told


def test_models_without_a_tokenizer_or_an_end_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "tokenizer_missing" in message(chats(30), tmp_path / "empty")
    endless = write_tokenizer(tmp_path / "endless", end=None)
    assert "eos_token_missing" in message([{"prompt": f"x {n}", "completion": "y"} for n in range(30)], endless)


@pytest.mark.parametrize(
    ("settings", "code", "fields"),
    [
        ({"form": "texts", "template": "chat"}, "texts_have_no_prompts", {"template": "chat"}),
        ({"form": "texts", "max_prompt_length": 3}, "texts_have_no_prompts", {"max_prompt_length": 3}),
        ({"prompt": 0}, "field_is_number", {"prompt": 0}),
    ],
)
def test_settings_without_effect_are_refused(
    settings: dict[str, Any], code: str, fields: dict[str, Any], model: Path
) -> None:
    with refused(ValidationError, code, fields):
        built(Path("a.jsonl"), model, **settings)


# ------------------------------------------------------------------------------------------- prompts of a run


def test_prompts_that_somebody_brings_become_the_conditions_of_training(model: Path) -> None:
    rows = chats(40)
    task = of_rows(rows, model)
    assert task.conditions is not None and isinstance(task.conditions.reading, PromptReading)
    reading = PromptReading.model_validate(json.loads(task.conditions.reading.model_dump_json()))
    texts = [row["messages"][0]["content"] for row in rows]
    read = reading.read(texts, "in.txt").conditions
    every = torch.cat([task.conditions.train, task.conditions.valid, task.conditions.test]).long()
    assert {tuple(row) for row in read.tolist()} == {tuple(row) for row in every.tolist()}
    several = reading.read([["how are you, 1?", "fine, 1", "how are you, 2?"]], "in.txt")
    assert several.notes == (f"cut 1 prompt to the last {reading.max_length} tokens, line 1",)
    with refused(DataError, "prompt_line_empty", {"where": "in.txt, line 2"}):
        reading.read(["a", " "], "in.txt")
