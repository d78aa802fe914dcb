"""Models of transformers as discriminators: what they read, where their logit is, and what they begin with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from rlgan.base import devices
from rlgan.base.errors import ConfigError, DataError
from rlgan.base.weights import base_of, load_weights, trained_of, weights_of
from rlgan.discriminators import SequenceClassifier, build_discriminator
from rlgan.discriminators.testing import check_discriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.spelling import Spelling
from rlgan.envs.tasks import build_task
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import CausalLM, build_generator
from rlgan.workers.assembly import build_parts
from tests.support.errors import refused
from tests.support.language_models import require, write_encoder, write_model, write_tokenizer
from tests.support.on_ray import config_of

require()

SPACE = SequenceSpace(4, 5, end_id=2)
GIVEN = replace(SPACE, condition=SequenceSpace(5, 6, end_id=1, separator_id=3))  # an alphabet of its own
PROMPTED = replace(SPACE, condition=SequenceSpace(5, 4, end_id=4))  # the sequences' alphabet, and a mark behind
WORDS = ("<end>", "<unk>", "a", "dog", "runs", "fast", "cat")
TEXT = SequenceSpace(7, 6, end_id=0, start_id=0, spelling=Spelling(WORDS))
PAIRS = replace(TEXT, condition=TEXT)
TINY = {"kind": "fresh", "width": 8, "layers": 1, "heads": 2}
LORA = {"kind": "lora", "rank": 2}


def judge(space: SequenceSpace, seed: int = 0, **settings: Any) -> Any:
    torch.manual_seed(seed)
    network = build_discriminator(SequenceClassifier(**settings), space)
    with torch.no_grad():  # far from equal scores
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network.eval()


def of_folder(folder: Path, space: SequenceSpace, **settings: Any) -> Any:
    torch.manual_seed(0)
    given = SequenceClassifier(weights={"kind": "folder", "path": str(folder)}, **settings)
    network = build_discriminator(given.settled(None), space)
    network.take_files()
    return network.eval()


# ----------------------------------------------------------------------------------------------- the contract


@pytest.mark.parametrize(
    "settings",
    [
        {"weights": {**TINY, "architecture": "bert", "dropout": 0.2}},
        {"weights": {**TINY, "architecture": "bert"}, "training": LORA, "pooling": "mean"},
        {"weights": {**TINY, "architecture": "gpt2", "dropout": 0.2}, "training": LORA},
        {"weights": {**TINY, "architecture": "llama"}, "pooling": "mean"},
        {"weights": {**TINY, "architecture": "qwen2"}, "granularity": "token"},
        {"weights": {**TINY, "architecture": "bert"}, "training": {"kind": "output"}, "pooling": "mean"},
        {"weights": {**TINY, "architecture": "llama"}, "training": LORA, "granularity": "token"},
    ],
)
def test_it_keeps_the_contract_of_a_discriminator(settings: dict[str, Any]) -> None:
    for space in (SPACE, GIVEN, PROMPTED):
        check_discriminator(
            lambda: build_discriminator(SequenceClassifier(**settings), space),  # noqa: B023
            space,
            granularity=settings.get("granularity", "sequence"),
            judges_pairs=space.condition is not None,
            reads_soft_rows=False,
        )


def test_the_output_alone_is_trained_on_what_stays_as_it_is() -> None:
    for architecture, names in (("bert", {"classifier", "pooler"}), ("llama", {"score"})):
        network = judge(SPACE, weights={**TINY, "architecture": architecture}, training={"kind": "output"})
        trained = {name for name, one in network.named_parameters() if one.requires_grad}
        assert {part for name in trained for part in name.split(".")} & {"classifier", "pooler", "score"} == names
        assert all(any(one in name for one in names) for name in trained)
        base = base_of(network)
        assert base is not None and set(trained_of(network)) == trained


# -------------------------------------------------------------------------------------------------- padding


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama", "qwen2"])
@pytest.mark.parametrize("pooling", ["own", "mean"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_score_is_the_same_alone_and_in_a_batch_that_is_padded_on_either_side(
    architecture: str, pooling: str, side: str
) -> None:
    network = judge(SPACE, weights={**TINY, "architecture": architecture}, pooling=pooling)
    rows = [[1, 3], [3, 1, 0, 2, 1, 2], [0], [2, 2, 3]]
    longest = max(map(len, rows))
    ids, mask = torch.full((len(rows), longest), 1), torch.zeros(len(rows), longest, dtype=torch.bool)
    for place, row in enumerate(rows):
        where = slice(longest - len(row), longest) if side == "left" else slice(len(row))
        ids[place, where], mask[place, where] = torch.tensor(row), True
    with torch.no_grad():
        together = network.logits(ids, mask)
        alone = [network.logits(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.bool)) for row in rows]
    assert len({round(float(one), 4) for one in together}) == len(rows)
    assert float((together - torch.cat(alone)).abs().max()) < 1e-4


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_the_verdict_is_that_of_the_class_of_transformers_for_rows_without_padding(architecture: str) -> None:
    network = judge(SPACE, weights={**TINY, "architecture": architecture})
    ids = torch.tensor([[0, 1, 3, 3, 2], [0, 3, 3, 1, 2]])
    with torch.no_grad():
        expected = network.network(input_ids=ids).logits.squeeze(1)
        torch.testing.assert_close(network.logits(ids, torch.ones_like(ids, dtype=torch.bool)), expected)
    assert network.network.config.pad_token_id is not None


def test_dropout_is_on_while_it_learns_and_off_where_it_scores() -> None:
    network = judge(SPACE, weights={**TINY, "architecture": "bert", "dropout": 0.5}).train()
    tokens = random_sequences(SPACE, 8, seed=0)
    mask = sequence_mask(SPACE, tokens)
    assert not torch.equal(network(tokens, mask), network(tokens, mask))
    scorer = network.scorer()
    assert torch.equal(scorer(tokens, mask), scorer(tokens, mask)) and network.training


# ------------------------------------------------------------------------------------------------------ text


def rows_of(*texts: str) -> Tensor:
    rows = [[WORDS.index(word) for word in text.split()] for text in texts]
    return torch.tensor([row + [0] * (TEXT.max_length - len(row)) for row in rows])


def test_an_encoder_of_other_tokens_reads_text_as_its_tokenizer_writes_it(tmp_path: Path) -> None:
    model = write_encoder(tmp_path, WORDS[2:5])
    network = of_folder(tmp_path, TEXT, pooling="mean")
    assert network.reads_text
    tokens = rows_of("a dog runs", "a cat runs fast")
    read = network.reader()(tokens, sequence_mask(TEXT, tokens), None)
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    expected = tokenizer(["a dog runs", "a cat runs fast"], padding=True, return_tensors="pt")
    assert torch.equal(read.ids, expected["input_ids"]) and torch.equal(read.mask, expected["attention_mask"].bool())
    with torch.no_grad():
        states = model(**expected).last_hidden_state
        weights = expected["attention_mask"].unsqueeze(2)
        pooled = (states * weights).sum(1) / weights.sum(1)
        found = network(tokens, sequence_mask(TEXT, tokens))
        torch.testing.assert_close(found, network.network.classifier(pooled).squeeze(1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["roberta", "mpnet"])
def test_a_text_is_cut_to_the_positions_that_there_are_behind_the_id_that_pads(
    architecture: str, tmp_path: Path
) -> None:
    import transformers

    write_encoder(tmp_path, WORDS[2:], positions=5, architecture="roberta")
    if architecture == "mpnet":
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
        config = transformers.MPNetConfig(vocab_size=90, max_position_embeddings=7, **sizes)
        transformers.AutoModel.from_config(config).save_pretrained(str(tmp_path))
    network = of_folder(tmp_path, TEXT)
    tokens = rows_of("a dog runs", "a cat runs fast a", "cat")
    mask = sequence_mask(TEXT, tokens)
    assert network.reader().longest == 5
    assert network.reader()(tokens, mask, None).mask.sum(1).tolist() == [5, 5, 3]
    found = network(tokens, mask)  # the last position is there
    torch.testing.assert_close(found[2:], network(tokens[2:], mask[2:]), atol=1e-5, rtol=0)


def test_a_pair_is_read_in_two_segments_and_the_longer_side_is_cut_where_it_matters_least(tmp_path: Path) -> None:
    write_encoder(tmp_path, WORDS[2:])
    network = of_folder(tmp_path, PAIRS)
    given, tokens = rows_of("a cat"), rows_of("a dog runs")
    read = network.reader()(tokens, sequence_mask(TEXT, tokens), given)
    assert read.segments[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    short = of_folder(tmp_path, PAIRS, max_length=8)
    given, tokens = rows_of("dog dog a cat"), rows_of("a dog runs")
    ids = short.reader()(tokens, sequence_mask(TEXT, tokens), given).ids[0].tolist()
    words = write_words(tmp_path, ids)
    assert words == ["[CLS]", "a", "cat", "[SEP]", "a", "dog", "runs", "[SEP]"]


def write_words(folder: Path, ids: list[int]) -> list[str]:
    import transformers

    words: list[str] = transformers.AutoTokenizer.from_pretrained(str(folder)).convert_ids_to_tokens(ids)
    return words


def test_a_causal_model_of_other_tokens_reads_text_and_its_mark(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    write_model(tmp_path)
    network = of_folder(tmp_path, PAIRS)
    assert network.reads_text and network.is_causal
    given, tokens = rows_of("a cat"), rows_of("a dog")
    read = network.reader()(tokens, sequence_mask(TEXT, tokens), given)
    words = write_words(tmp_path, read.ids[0].tolist())
    assert words[-1] == "<|im_end|>" and "".join(words) == "aĠcat<|im_end|>aĠdog<|im_end|>"
    for space, judges_pairs in ((TEXT, False), (PAIRS, True)):

        def built() -> Any:
            return of_folder(tmp_path, space)  # noqa: B023

        check_discriminator(built, space, judges_pairs=judges_pairs, reads_soft_rows=False)


@pytest.mark.parametrize(
    "text", [" leading", "two\r\nlines", "\U0001f600 café", "<|im_end|> is no end", "[SEP] neither", "\x00"]
)
def test_what_was_written_and_what_was_drawn_go_through_one_reading(text: str, tmp_path: Path) -> None:
    from rlgan.base.pretrained import ModelFolder
    from rlgan.envs.model_tokens import ModelTokens

    write_tokenizer(tmp_path / "task")
    written = ModelTokens.of(ModelFolder(path=str(tmp_path / "task")))
    space = SequenceSpace(written.size, 40, end_id=written.end_of_turn, spelling=written.spelling)
    (ids,) = written.completion_ids([text])
    # The same text, letter by letter: tokens that a sampler may draw and no encoding writes.
    bytewise = [one for letter in text.encode() for one in _byte(written, letter)]
    rows = [row + [space.end_id] + [space.pad_id] * (39 - len(row)) for row in (ids, bytewise)]
    tokens = torch.tensor(rows)
    mask = sequence_mask(space, tokens)
    write_encoder(tmp_path / "judge", ())
    network = of_folder(tmp_path / "judge", space)
    read = network.reader()(tokens, mask, None)
    assert torch.equal(read.ids[0], read.ids[1]) and torch.equal(read.mask[0], read.mask[1])
    # None of it but the first and the last is special.
    assert set(read.ids[0][1:][read.mask[0][1:]].tolist()[:-1]).isdisjoint({0, 2, 3, 4})


def _byte(tokens: Any, letter: int) -> list[int]:
    from rlgan.envs.vocabulary import byte_names

    return [tokens.names.index(byte_names(bytes([letter])))]


def test_ids_are_read_where_the_tokens_are_the_tasks(tmp_path: Path) -> None:
    from rlgan.base.pretrained import ModelFolder
    from rlgan.envs.model_tokens import ModelTokens

    write_tokenizer(tmp_path)
    model = write_model(tmp_path)
    tokens = ModelTokens.of(ModelFolder(path=str(tmp_path)))
    space = SequenceSpace(tokens.size, 5, end_id=2, start_id=tokens.start, spelling=tokens.spelling)
    network = of_folder(tmp_path, space)
    assert not network.reads_text
    rows = torch.tensor([[9, 40, 2, 0, 0]])
    with torch.no_grad():
        states = model.model(input_ids=torch.tensor([[tokens.start, 9, 40, 2]])).last_hidden_state[0, -1]
        found = network(rows, sequence_mask(space, rows))
        torch.testing.assert_close(found, network.network.score(states), atol=1e-5, rtol=1e-5)


def test_a_run_needs_the_folder_no_more_once_it_has_begun(tmp_path: Path) -> None:
    write_encoder(tmp_path / "model", WORDS[2:])
    network = of_folder(tmp_path / "model", TEXT, training=LORA)
    settings = SequenceClassifier(weights={"kind": "folder", "path": str(tmp_path / "model")}, training=LORA)
    kept = json.loads(settings.settled(None).model_dump_json())
    (tmp_path / "model").rename(tmp_path / "moved")
    torch.manual_seed(9)
    other = build_discriminator(SequenceClassifier.model_validate(kept), TEXT).eval()
    weights = weights_of(network, 0)
    assert weights.base is not None and weights.base.tensors is not None and "tokenizer" in weights.base.tensors
    load_weights(other, weights.tensors, weights.base)
    tokens = rows_of("a dog runs", "cat")
    mask = sequence_mask(TEXT, tokens)
    assert torch.equal(network.scorer()(tokens, mask), other.scorer()(tokens, mask))
    assert all("lora_" in name or "classifier" in name or "pooler" in name for name in weights.tensors)


# ------------------------------------------------------------------------------------- begun as the generator

SIZES = {"kind": "fresh", "architecture": "llama", "width": 16, "layers": 2, "heads": 4}
FOR_GENERATOR = SequenceSpace(7, 4, end_id=3, start_id=5, padding_id=0, condition=SequenceSpace(8, 4, end_id=7))
CONDITIONS = torch.tensor([[1, 2, 3, 4], [5, 7, 7, 7], [1, 2, 7, 7], [7, 7, 7, 7]])


@pytest.mark.parametrize(
    ("of_generator", "of_judge"),
    [({"kind": "whole"}, {"kind": "whole"}), (LORA, LORA), (LORA, {"kind": "whole"}), ({"kind": "whole"}, LORA)],
)
def test_what_begins_as_the_generator_has_its_states(of_generator: dict[str, Any], of_judge: dict[str, Any]) -> None:
    torch.manual_seed(0)
    generator_settings = CausalLM(weights=SIZES, training=of_generator)
    generator = build_generator(generator_settings, FOR_GENERATOR).eval()
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    settings = SequenceClassifier(weights={"kind": "generator"}, training=of_judge).settled(generator_settings)
    torch.manual_seed(1)
    network = build_discriminator(settings, FOR_GENERATOR).eval()
    begun = settings.begun_as(FOR_GENERATOR, weights_of(network, 0).complete, weights_of(generator, 0).complete)
    load_weights(network, begun)
    tokens = random_sequences(FOR_GENERATOR, len(CONDITIONS), seed=0)
    mask = sequence_mask(FOR_GENERATOR, tokens)
    read = network.reader()(tokens, mask, CONDITIONS)
    with torch.no_grad():
        own = network._states(read.ids, read.mask, read.segments)
        ids, is_real = generator.prompts(CONDITIONS, len(tokens))
        whole = torch.cat([is_real, torch.ones_like(tokens, dtype=torch.bool)], 1)
        positions = (whole.cumsum(1) - 1).clamp_min(0)
        features = generator.features(torch.cat([ids, tokens], 1), positions, whole)[:, ids.shape[1] :]
    for row in range(len(tokens)):
        length, first = int(mask[row].sum()), int(read.first[row])
        torch.testing.assert_close(own[row, first : first + length], features[row, :length], atol=2e-4, rtol=1e-4)


def test_two_adapters_share_one_base_which_never_moves() -> None:
    generator_settings = CausalLM(weights=SIZES, training=LORA)
    torch.manual_seed(0)
    generator = build_generator(generator_settings, FOR_GENERATOR)
    settings = SequenceClassifier(weights={"kind": "generator"}, training=LORA).settled(generator_settings)
    network = build_discriminator(settings, FOR_GENERATOR)
    base = base_of(generator)
    assert base is not None and base.tensors is not None
    begun = settings.begun_as(FOR_GENERATOR, weights_of(network, 0).complete, {**base.tensors, **trained_of(generator)})
    shared = [name for name in begun if name in base.tensors]
    assert shared and all(begun[name].data_ptr() == base.tensors[name].data_ptr() for name in shared)
    own = base_of(network)
    assert own is not None and own.tensors is not None
    from rlgan.base.weights import as_base

    whole = as_base({name: begun[name] for name in own.tensors})
    load_weights(network, {name: one for name, one in begun.items() if name not in own.tensors}, whole)
    frozen = {name: one.clone() for name, one in base.tensors.items()}
    tokens = random_sequences(FOR_GENERATOR, len(CONDITIONS), seed=0)
    mask = sequence_mask(FOR_GENERATOR, tokens)
    learned = [[one for one in part.parameters() if one.requires_grad] for part in (generator, network)]
    optimizers = [torch.optim.Adam(one, lr=0.05) for one in learned]
    for _ in range(10):
        for optimizer, loss in zip(
            optimizers,
            (generator.conditional(CONDITIONS).logprobs(tokens), network(tokens, mask, CONDITIONS)),
            strict=True,
        ):
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()
    assert all(torch.equal(frozen[name], one) for name, one in base.tensors.items())
    after = dict(network.named_parameters())
    assert all(after[name].data_ptr() == base.tensors[name].data_ptr() for name in shared)
    adapters = [name for name in trained_of(generator) if "lora_" in name]
    differ = [not torch.equal(trained_of(generator)[name], trained_of(network)[name]) for name in adapters]
    assert adapters and all(differ)


# -------------------------------------------------------------------------------------------------- bad input


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    write_encoder(tmp_path, ())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    with refused(DataError, "tokenizer_missing"):
        of_folder(tmp_path, TEXT)


def test_a_model_that_judges_no_text_is_refused(tmp_path: Path) -> None:
    write_encoder(tmp_path, ())
    for name, more in (("vit", {}), ("t5", {"is_encoder_decoder": True}), ("mine", {"auto_map": {}})):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": name, **more}))
        with refused(DataError, "model_not_a_classifier", {"model_type": name}):
            of_folder(tmp_path, TEXT)


def test_adapters_of_layers_that_there_are_none_of_are_refused() -> None:
    with refused(ConfigError, "no_such_layer"):
        judge(SPACE, weights=TINY, training={**LORA, "targets": ["nothing"]})


def test_tokens_are_judged_by_causal_models_of_the_tasks_tokens_alone(tmp_path: Path) -> None:
    with refused(ValidationError, "judge_tokens_of_encoder"):
        SequenceClassifier(weights=TINY, granularity="token")
    write_encoder(tmp_path / "encoder", ())
    with refused(ConfigError, "classifier_scores_of_encoder"):
        of_folder(tmp_path / "encoder", TEXT, granularity="token")
    write_tokenizer(tmp_path / "other")
    write_model(tmp_path / "other")
    with refused(ConfigError, "judge_tokens_of_others"):
        of_folder(tmp_path / "other", TEXT, granularity="token")


def test_sequences_longer_than_the_model_reads_are_refused(tmp_path: Path) -> None:
    from rlgan.base.pretrained import ModelFolder
    from rlgan.envs.model_tokens import ModelTokens

    write_tokenizer(tmp_path)
    write_model(tmp_path, positions=16)
    tokens = ModelTokens.of(ModelFolder(path=str(tmp_path)))
    fits = SequenceSpace(tokens.size, 15, end_id=2, start_id=tokens.start, spelling=tokens.spelling)
    of_folder(tmp_path, fits)
    with refused(ConfigError, "judge_reads_less", match="16.*17"):
        of_folder(tmp_path, replace(fits, max_length=16))


def test_tokens_that_nobody_can_write_are_no_text(tmp_path: Path) -> None:
    write_encoder(tmp_path, ())
    with refused(ConfigError, "judge_task_without_text"):
        of_folder(tmp_path, replace(TEXT, spelling=None))


def test_a_cpu_that_is_slow_at_bfloat16_is_told_of_a_judge_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "bfloat16_cost", lambda threads: 3.21)
    whole = config_of(0)
    for dtype, told in (("float32", ()), ("bfloat16", ("discriminator.dtype='bfloat16'", "3.2 times"))):
        judge = SequenceClassifier(weights={**TINY, "architecture": "gpt2"}, dtype=dtype)
        config = whole.model_copy(update={"discriminator": judge})
        with build_parts(config, build_task(config.task)) as parts:
            found = [note for note in parts.notes if "bfloat16" in note]
        assert len(found) == bool(told) and all(part in found[0] for part in told)
