"""Causal language models as generators: one distribution, by the model's own forward pass, by steps and by draws."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from rlgan.base.errors import ConfigError, DataError
from rlgan.base.pretrained import HubModel, ModelFolder, model_source
from rlgan.base.weights import base_of, load_weights, trained_of, weights_of
from rlgan.envs.model_tokens import ModelTokens
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.spelling import Spelling
from rlgan.envs.testing import all_sequences, random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import CausalLM, CausalLMGenerator, Draw, build_generator
from rlgan.generators.testing import check_generator
from rlgan.sampling.sampler import sampler_of
from tests.support.errors import refused
from tests.support.language_models import require, write_model, write_tokenizer

require()

PROMPTS = SequenceSpace(8, 4, end_id=7)  # a mark behind prompts that is no token of sequences
GIVEN = SequenceSpace(7, 4, end_id=3, start_id=5, padding_id=0, condition=PROMPTS)
ALONE = replace(GIVEN, condition=None)
CONDITIONS = torch.tensor([[1, 2, 3, 4], [5, 7, 7, 7], [1, 2, 7, 7], [7, 7, 7, 7], [1, 2, 3, 4], [3, 7, 7, 7]])


def fresh(architecture: str = "llama", space: SequenceSpace = GIVEN, seed: int = 0, **settings: Any) -> Any:
    sizes = {"kind": "fresh", "architecture": architecture, "width": 16, "layers": 2, "heads": 4}
    sizes |= {name: settings.pop(name) for name in ("dropout", "tied", "key_value_heads") if name in settings}
    torch.manual_seed(seed)
    generator = build_generator(CausalLM(weights=sizes, **settings), space)
    with torch.no_grad():  # far from uniform
        for parameter in generator.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8.0 if architecture != "gpt2" else 6.0)
    return generator.eval()


def own_logprobs(generator: CausalLMGenerator, prompt: list[int], tokens: list[int]) -> Tensor:
    """By the model's forward pass of one row without padding, over the task's tokens alone."""
    model = generator.network
    ids = torch.tensor([[*(prompt or [5]), *tokens[:-1]]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, -len(tokens) :, :7]
    return torch.log_softmax(logits, 1).gather(1, torch.tensor(tokens).unsqueeze(1)).squeeze(1)


def prompt_of(row: Tensor) -> list[int]:
    ids: list[int] = row.tolist()
    return ids[: ids.index(7)] if 7 in ids else ids


architectures = pytest.mark.parametrize(
    ("architecture", "settings"),
    [("llama", {}), ("llama", {"key_value_heads": 2, "tied": False}), ("qwen2", {"key_value_heads": 2}), ("gpt2", {})],
)


# -------------------------------------------------------------------------------------------- one distribution


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2"])
@pytest.mark.parametrize("training", [{"kind": "whole"}, {"kind": "lora", "rank": 2, "dropout": 0.2}])
def test_it_keeps_the_contract_of_a_generator(architecture: str, training: dict[str, Any]) -> None:
    sizes = {"kind": "fresh", "architecture": architecture, "width": 8, "layers": 1, "heads": 2, "dropout": 0.3}
    settings = CausalLM(weights=sizes, training=training)
    for space in (GIVEN, ALONE):
        check_generator(lambda: build_generator(settings, space), space)  # noqa: B023


def test_conditions_of_as_many_tokens_are_read_to_the_last() -> None:
    space = SequenceSpace(5, 3, condition=SequenceSpace(5, 3))
    check_generator(lambda: build_generator(CausalLM(weights={"kind": "fresh", "width": 8, "heads": 2}), space), space)


@architectures
def test_logprobs_are_those_of_the_models_own_forward_pass(architecture: str, settings: dict[str, Any]) -> None:
    generator = fresh(architecture, **settings)
    tokens = random_sequences(GIVEN, len(CONDITIONS), seed=0)
    mask = sequence_mask(GIVEN, tokens)
    with torch.no_grad():
        found = generator.conditional(CONDITIONS).logprobs(tokens)
        both = generator.conditional(CONDITIONS).logprobs_and_entropies(tokens)
        logits = generator.conditional(CONDITIONS).logits(tokens)
    for row, condition in enumerate(CONDITIONS):
        real = tokens[row][mask[row]].tolist()
        expected = own_logprobs(generator, prompt_of(condition), real)
        torch.testing.assert_close(found[row][mask[row]], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(both[0][mask], found[mask], atol=1e-5, rtol=0)
    logprobs = torch.log_softmax(logits, 2)
    torch.testing.assert_close(both[1][mask], -(logprobs.exp() * logprobs).sum(2)[mask], atol=1e-5, rtol=0)


def test_the_gradient_of_logprobs_is_that_of_all_logits_whatever_is_chunked_or_computed_again() -> None:
    tokens = random_sequences(GIVEN, len(CONDITIONS), seed=0)
    mask = sequence_mask(GIVEN, tokens)
    gradients = []
    for checkpointing in (False, True):
        generator = fresh(checkpointing=checkpointing).train()
        for all_at_once in (False, True):
            distribution = generator.conditional(CONDITIONS)
            if all_at_once:
                chosen = torch.log_softmax(distribution.logits(tokens), 2).gather(2, tokens.unsqueeze(2)).squeeze(2)
            else:
                chosen = distribution.logprobs(tokens)
            generator.zero_grad()
            chosen[mask].sum().backward()
            gradients.append(torch.cat([one.grad.flatten() for one in generator.parameters()]))
    for other in gradients[1:]:
        torch.testing.assert_close(gradients[0], other, atol=2e-3, rtol=1e-4)


def test_without_training_it_is_its_base_and_stays_frozen() -> None:
    settings = CausalLM(
        weights={"kind": "fresh", "width": 8, "layers": 1, "heads": 2}, training={"kind": "lora", "rank": 2}
    )
    generator = build_generator(settings, GIVEN).eval().requires_grad_(False)
    tokens = random_sequences(GIVEN, len(CONDITIONS), seed=0)
    assert settings.adds_nothing(trained_of(generator.requires_grad_(False))) is False  # nothing of it is trained
    trained = {name: value for name, value in generator.state_dict().items() if "lora_" in name}
    assert settings.adds_nothing(trained)
    with torch.no_grad():
        start = generator.conditional(CONDITIONS).logprobs(tokens)
        for name, parameter in generator.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.3)
        assert not settings.adds_nothing({**trained, **generator.state_dict()})
        moved = generator.conditional(CONDITIONS).logprobs(tokens)
        assert float((moved - start).abs().max()) > 1e-2
        torch.testing.assert_close(generator.without_training(CONDITIONS).logprobs(tokens), start, atol=1e-6, rtol=0)
        assert torch.equal(generator.conditional(CONDITIONS).logprobs(tokens), moved)
    assert not any(parameter.requires_grad for parameter in generator.parameters())
    with pytest.raises(ValueError, match="nothing without"):
        fresh().without_training(CONDITIONS)


def test_a_model_with_more_ids_than_tokens_is_a_distribution_over_the_tokens(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    write_model(tmp_path, extra_ids=30)
    space = SequenceSpace(270, 4, end_id=2)
    generator = build_generator(CausalLM(weights={"kind": "folder", "path": str(tmp_path)}), space).eval()
    generator.take_files()
    with torch.no_grad():
        logits = generator.conditional(None).logits(torch.tensor([[5, 6, 7, 2]]))
        weights = generator.stepper().weights(generator.stepper().start(1))
    assert logits.shape == (1, 4, 270) and torch.allclose(
        weights[0, :270] / weights.sum(), torch.softmax(logits[0, 0], 0), atol=1e-6
    )


def swap_two_tokens(folder: Path) -> None:
    """The tokenizer of a folder with the ids of two letters exchanged."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    vocab = content["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    path.write_text(json.dumps(content), "utf-8")


def test_a_model_whose_ids_mean_something_else_is_refused_when_its_weights_are_taken(tmp_path: Path) -> None:
    for name in ("task", "same", "other", "alone"):
        write_tokenizer(tmp_path / name)
        write_model(tmp_path / name)
    swap_two_tokens(tmp_path / "other")
    (tmp_path / "alone" / "tokenizer.json").unlink()
    tokens = ModelTokens.of(ModelFolder(path=str(tmp_path / "task")))
    space = SequenceSpace(270, 4, end_id=2, spelling=tokens.spelling)

    def take(name: str, space: SequenceSpace) -> None:
        build_generator(CausalLM(weights={"kind": "folder", "path": str(tmp_path / name)}), space).take_files()

    for name in ("task", "same", "alone"):
        take(name, space)
    take("other", replace(space, spelling=None))
    place = tokens.names.index("a")
    with refused(ConfigError, "model_of_other_tokenizer", {"uri": str(tmp_path / "other"), "token": place}):
        take("other", space)
    longer = Spelling((*tokens.names, "more"), tokens.joining)
    with refused(ConfigError, "model_of_other_tokenizer", {"token": 270}):
        take("same", replace(space, vocab_size=271, spelling=longer))


# --------------------------------------------------------------------------------------------------- drawing


@architectures
@torch.no_grad()
def test_draws_have_the_frequencies_of_the_enumerated_distribution(architecture: str, settings: dict[str, Any]) -> None:
    # Two prompts of different lengths whose rows share a cache, sequences that end at every length: 3 tokens, T = 3.
    space = SequenceSpace(3, 3, end_id=0, start_id=1, condition=SequenceSpace(4, 3, end_id=3))
    generator = fresh(architecture, space, **settings)
    prompts, number = torch.tensor([[1, 2, 3], [2, 3, 3]]), 6_000
    sampler = sampler_of(generator, space, chunk_rows=1_500)
    drawn = sampler.sample(
        2 * number, torch.Generator().manual_seed(0), conditions=prompts.repeat_interleave(number, 0)
    )
    every = all_sequences(space)
    for place, prompt in enumerate(prompts):
        found = drawn.tokens[place * number : (place + 1) * number]
        given = prompt.expand(len(every), -1)
        logprobs = generator.conditional(given).logprobs(every)
        exact = logprobs.masked_fill(~sequence_mask(space, every), 0.0).sum(1).exp()
        assert float(exact.sum()) == pytest.approx(1.0, abs=1e-5)
        shares = (found.unsqueeze(1) == every).all(2).float().mean(0)
        error = (exact * (1 - exact) / number).sqrt()
        assert bool(((shares - exact).abs() <= 4.5 * error + 1e-9).all())
        # What the sampler says of its draws is what the network says.
        again = generator.conditional(prompt.expand(number, -1)).logprobs(found)
        mask = drawn.mask[place * number : (place + 1) * number]
        told = drawn.logprobs[place * number : (place + 1) * number]
        torch.testing.assert_close(told[mask], again[mask], atol=1e-5, rtol=0)


@torch.no_grad()
def test_cut_distributions_are_drawn_from_as_they_are_cut() -> None:
    generator = fresh()
    conditions = CONDITIONS[:1].expand(300, -1)
    likely = sampler_of(generator, GIVEN, Draw(temperature=0.7, top_k=2))
    tokens = likely.sample(300, torch.Generator().manual_seed(0), conditions=conditions).tokens
    first = generator.conditional(CONDITIONS[:1]).logits(tokens[:1])[0, 0].topk(2)
    shares = torch.stack([(tokens[:, 0] == token).float().mean() for token in first.indices])
    expected = torch.softmax(first.values / 0.7, 0)
    assert float(shares.sum()) == 1.0
    assert bool(((shares - expected).abs() < 4 * (expected * (1 - expected) / 300).sqrt()).all())


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@torch.no_grad()
def test_rows_that_leave_come_twice_or_join_step_as_if_they_were_alone(architecture: str) -> None:
    generator = fresh(architecture)
    tokens = torch.tensor([[1, 2, 4, 6], [2, 2, 1, 5], [4, 4, 4, 4], [6, 1, 0, 2], [5, 2, 2, 1], [0, 1, 2, 4]])
    logits = generator.conditional(CONDITIONS).logits(tokens)
    stepper = generator.stepper().conditional(CONDITIONS)

    def agrees(state: Any, rows: list[int], place: int) -> None:
        weights = stepper.weights(state)[:, :7]
        expected = torch.softmax(logits[rows, place], 1)
        torch.testing.assert_close(weights / weights.sum(1, keepdim=True), expected, atol=1e-5, rtol=0)

    rows = [0, 1, 2, 3, 4, 5]
    state = stepper.start(6)
    agrees(state, rows, 0)
    state = stepper.advance(state, tokens[rows, 0])
    state, rows = stepper.remaining(state, torch.tensor([0, 1, 2, 4, 5])), [0, 1, 2, 4, 5]
    agrees(state, rows, 1)  # five of six places: nothing has moved
    state = stepper.advance(state, tokens[rows, 1])
    agrees(state, rows, 2)
    state, rows = stepper.remaining(state, torch.tensor([1, 3])), [1, 4]
    agrees(state, rows, 2)  # two of six: they have moved together
    twice = stepper.select(state, torch.tensor([1, 0, 1]))
    kept = stepper.select(state, torch.tensor([0, 1]))
    for one, own in ((twice, [4, 1, 4]), (kept, [1, 4])):
        agrees(stepper.advance(one, tokens[own, 2]), own, 3)
    late = stepper.select(tuple(part[0] for part in stepper.prefix_states(tokens)), torch.tensor([3, 0]))
    early = stepper.select(tuple(part[1] for part in stepper.prefix_states(tokens)), torch.tensor([5]))
    joined = stepper.joined(early, late)
    stepped = stepper.advance(joined, torch.tensor([tokens[5, 2], tokens[3, 1], tokens[0, 1]]))
    weights = stepper.weights(stepped)[:, :7]
    expected = torch.softmax(torch.stack([logits[5, 3], logits[3, 2], logits[0, 2]]), 1)
    torch.testing.assert_close(weights / weights.sum(1, keepdim=True), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_continuations_go_on_from_their_prefix_by_the_same_distribution() -> None:
    space = SequenceSpace(3, 3, end_id=0, start_id=1, condition=SequenceSpace(4, 3, end_id=3))
    generator, number = fresh(space=space), 3_000
    prompts, tokens = torch.tensor([[1, 2, 3], [2, 3, 3]]), torch.tensor([[1, 2, 1], [2, 1, 0]])
    parts = list(
        sampler_of(generator, space).continuations(tokens, number, torch.Generator().manual_seed(0), 0, prompts)
    )
    found = torch.cat([part.tokens for part in parts])
    sequence, position = (torch.cat([getattr(part, name) for part in parts]) for name in ("sequence", "position"))
    logits = generator.conditional(prompts).logits(tokens)
    for row, place in itertools.product(range(2), range(2)):
        own = found[(sequence == row) & (position == place)]
        assert len(own) == number and torch.equal(own[:, : place + 1], tokens[row, : place + 1].expand(number, -1))
        exact = torch.softmax(logits[row, place + 1], 0)
        shares = torch.bincount(own[:, place + 1], minlength=3) / number
        assert bool(((shares - exact).abs() <= 4.5 * (exact * (1 - exact) / number).sqrt() + 1e-9).all())


def test_a_window_of_attention_is_the_models_own() -> None:
    import transformers

    config = transformers.MistralConfig(
        vocab_size=7, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=24, max_position_embeddings=32, sliding_window=3, initializer_range=0.5,
    )  # fmt: skip
    settings = CausalLM(weights={"kind": "folder", "path": "nowhere"}, config=config.to_dict())
    space = SequenceSpace(7, 6, end_id=3, condition=SequenceSpace(8, 6, end_id=7))
    check_generator(lambda: build_generator(settings, space), space)


def test_the_distribution_of_a_single_token_is_that_of_the_prompt() -> None:
    space = replace(GIVEN, max_length=1, end_id=None, padding_id=None)
    generator = fresh(space=space)
    with torch.no_grad():
        stepper = generator.stepper().conditional(CONDITIONS)
        weights = stepper.weights(stepper.start(len(CONDITIONS)))[:, :7]
        logits = generator.conditional(CONDITIONS).logits(torch.zeros(len(CONDITIONS), 1, dtype=torch.int64))
    torch.testing.assert_close(weights / weights.sum(1, keepdim=True), torch.softmax(logits[:, 0], 1))


# -------------------------------------------------------------------------------------------------- weights


def test_of_an_adapted_model_the_adapter_travels_and_the_base_never_moves() -> None:
    generator = fresh(training={"kind": "lora", "rank": 2})
    trained, base = trained_of(generator), base_of(generator)
    assert base is not None and base.tensors is not None
    assert all("lora_" in name for name in trained) and not any("lora_" in name for name in base.tensors)
    assert sum(one.numel() for one in trained.values()) < sum(one.numel() for one in base.tensors.values()) / 2
    optimizer = torch.optim.Adam([one for one in generator.parameters() if one.requires_grad], lr=0.1)
    tokens = random_sequences(GIVEN, len(CONDITIONS), seed=0)
    for _ in range(10):
        optimizer.zero_grad()
        generator.conditional(CONDITIONS).logprobs(tokens).sum().backward()
        optimizer.step()
    after = base_of(generator)
    assert after is not None and after.digest == base.digest
    assert not all(torch.equal(trained[name], one) for name, one in trained_of(generator).items())
    other = fresh(seed=1, training={"kind": "lora", "rank": 2})
    load_weights(other, weights_of(generator, 0).tensors, after)
    with torch.no_grad():
        assert torch.equal(
            other.conditional(CONDITIONS).logprobs(tokens), generator.conditional(CONDITIONS).logprobs(tokens)
        )


@torch.no_grad()
def test_bfloat16_multiplies_in_it_and_keeps_what_is_trained_in_float32() -> None:
    tokens = random_sequences(GIVEN, len(CONDITIONS), seed=0)
    mask = sequence_mask(GIVEN, tokens)
    for training in ({"kind": "whole"}, {"kind": "lora", "rank": 2}):
        exact, rough = (fresh(dtype=dtype, training=training) for dtype in ("float32", "bfloat16"))
        kinds = {one.dtype for one in rough.parameters() if one.requires_grad}
        frozen = {one.dtype for one in rough.parameters() if not one.requires_grad}
        assert kinds == {torch.float32} and frozen <= {torch.bfloat16}
        found = [one.conditional(CONDITIONS).logprobs(tokens)[mask] for one in (exact, rough)]
        assert found[1].dtype == torch.float32 and not torch.equal(*found)
        drawn = sampler_of(rough, GIVEN).sample(6, torch.Generator().manual_seed(0), conditions=CONDITIONS)
        again = rough.conditional(CONDITIONS).logprobs(drawn.tokens)
        # Sampler and learner round in the same places but for attention.
        torch.testing.assert_close(drawn.logprobs[drawn.mask], again[drawn.mask], atol=0.15, rtol=0.05)


@pytest.mark.parametrize("architecture", ["qwen2", "gpt2", "llama"])
@pytest.mark.parametrize("training", [{"kind": "whole"}, {"kind": "lora", "rank": 2}])
def test_a_run_begins_with_the_weights_of_the_folder_and_needs_it_no_more(
    architecture: str, training: dict[str, Any], tmp_path: Path
) -> None:
    write_tokenizer(tmp_path / "model")
    model = write_model(tmp_path / "model", architecture)
    settings = CausalLM(weights={"kind": "folder", "path": str(tmp_path / "model")}, training=training)
    space = SequenceSpace(270, 5, end_id=2)
    generator = build_generator(settings, space).eval()
    notes = generator.take_files()
    tokens = torch.tensor([[9, 40, 100, 7, 2]])
    with torch.no_grad():
        found = generator.conditional(None).logits(tokens)
        own = model(input_ids=torch.tensor([[0, 9, 40, 100, 7]])).logits[..., :270]
    torch.testing.assert_close(found, own, atol=1e-5, rtol=0)
    assert "parameters from" in notes[0] and str(tmp_path) in notes[0]
    settled = settings.settled()
    (tmp_path / "model").rename(tmp_path / "moved")
    again = build_generator(CausalLM.model_validate(json.loads(settled.model_dump_json())), space)
    load_weights(again.eval(), weights_of(generator, 0).complete)
    with torch.no_grad():
        assert torch.equal(again.conditional(None).logits(tokens), found)


# ------------------------------------------------------------------------------------------------ bad input


def message(tmp_path: Path, space: SequenceSpace | None = None, **settings: Any) -> str:
    """What is said of a folder that is refused: the error's code, and its message."""
    with pytest.raises((ConfigError, DataError)) as found:
        given = CausalLM(weights={"kind": "folder", "path": str(tmp_path)}, **settings)
        build_generator(given, space or SequenceSpace(270, 5, end_id=2)).take_files()
    return f"{found.value.code} {found.value}"


def test_folders_that_hold_no_causal_language_model_are_refused(tmp_path: Path) -> None:
    assert "model_folder_missing" in message(tmp_path / "none")
    assert "model_config_missing" in message(tmp_path)
    config = tmp_path / "config.json"
    config.write_text("{")
    assert "model_config_unreadable" in message(tmp_path)
    config.write_text('{"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}')
    told = message(tmp_path)
    assert "architecture_unknown" in told and "'t5'" in told
    config.write_text('{"model_type": "bert", "architectures": ["BertForMaskedLM"]}')
    told = message(tmp_path)
    assert "not_causal_model" in told and "BertForMaskedLM" in told
    config.write_text('{"model_type": "own", "auto_map": {"AutoModel": "x.py"}}')
    assert "with its own code, which rlgan does not execute" in message(tmp_path)


def test_folders_with_other_weights_are_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    write_model(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    assert "model_weights_unreadable" in message(tmp_path)
    weights.unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    told = message(tmp_path)
    assert "model_weights_missing" in told and "(pytorch_model.bin)" in told
    from safetensors.torch import load, save_file

    some = {name: one for name, one in load(whole).items() if "layers.1" not in name}
    save_file(some, weights, {"format": "pt"})
    told = message(tmp_path)
    assert "model_weights_incomplete" in told and "layers.1" in told


def test_prompts_and_completions_that_do_not_fit_into_the_model_are_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    write_model(tmp_path, positions=10)
    long = SequenceSpace(270, 5, end_id=2, condition=SequenceSpace(271, 7, end_id=270))
    told = message(tmp_path, long)
    assert "model_context_too_short" in told and "at most 10 tokens" in told and "have 11" in told
    build_generator(
        CausalLM(weights={"kind": "folder", "path": str(tmp_path)}),
        replace(long, condition=SequenceSpace(271, 6, end_id=270)),
    )
    told = message(tmp_path, SequenceSpace(300, 5, end_id=2))
    assert "model_has_other_tokens" in told and "280" in told and "300" in told


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_new_model_reads_as_much_as_it_is_told_to(architecture: str) -> None:
    space = SequenceSpace(8, 5, end_id=1)
    sizes = {"architecture": architecture, "width": 8, "heads": 2, "layers": 1}
    long = build_generator(CausalLM(weights={"kind": "fresh", "positions": 30, **sizes}), space)
    assert long.network.config.max_position_embeddings == 30
    own = build_generator(CausalLM(weights={"kind": "fresh", **sizes}), space)
    assert own.network.config.max_position_embeddings == 5
    with refused(ConfigError, "model_context_too_short", {"uri": "generator"}, "generator.weights.positions"):
        build_generator(CausalLM(weights={"kind": "fresh", "positions": 4, **sizes}), space)


def test_adapters_that_fit_nowhere_are_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    write_model(tmp_path)
    told = message(tmp_path, training={"kind": "lora", "targets": ["c_attn"]})
    assert "no_such_layer generator.training.targets=['c_attn']" in told and "q_proj" in told
    # Of several names each is of a layer: peft would leave the others out.
    told = message(tmp_path, training={"kind": "lora", "targets": ["q_proj", "c_attn"]})
    assert "no_such_layer" in told and "is called c_attn." in told
    assert "layer_takes_no_adapter" in message(tmp_path, training={"kind": "lora", "targets": ["input_layernorm"]})


def test_a_config_that_is_of_another_model_than_the_weights_is_told(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    write_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_size": 32}))
    told = message(tmp_path)
    assert "model_weights_of_other_sizes" in told and "[280, 16]" in told and "[280, 32]" in told
    other = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 280, "n_embd": 16, "n_layer": 2}
    (tmp_path / "config.json").write_text(json.dumps({**other, "n_head": 2}))
    told = message(tmp_path)
    assert "model_weights_of_another" in told and "1 of the 28 weights" in told and "model.embed_tokens" in told


def test_a_name_of_the_hub_without_a_network_says_how_to_bring_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    download = "no such folder here, offline is true.*hf download someone/tiny --local-dir tiny"
    with refused(DataError, "model_not_fetched", {"model": "someone/tiny"}, match=download):
        build_generator(CausalLM(weights=HubModel(name="someone/tiny", offline=True)), ALONE)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with refused(DataError, "model_not_fetched", {"model": "someone/tiny"}, match="here, HF_HUB_OFFLINE is set, and"):
        build_generator(CausalLM(weights=HubModel(name="someone/tiny")), ALONE)


def test_a_hub_that_takes_calls_and_never_answers_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    import huggingface_hub

    from rlgan.base import pretrained

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(pretrained, "_PATIENCE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        told = "did not answer within.*hf download someone/tiny --local-dir tiny"
        with refused(DataError, "model_not_fetched", {"model": "someone/tiny"}, match=told):
            build_generator(CausalLM(weights=HubModel(name="someone/tiny")), ALONE)


def test_a_model_is_a_folder_where_there_is_one_and_else_a_name(tmp_path: Path) -> None:
    assert model_source(str(tmp_path)) == ModelFolder(path=str(tmp_path))
    assert model_source("Qwen/Qwen2.5-0.5B") == HubModel(name="Qwen/Qwen2.5-0.5B")
    assert model_source("./a/b") == ModelFolder(path="./a/b")


@pytest.mark.parametrize(
    ("weights", "code"),
    [
        ({"width": 10, "heads": 4}, "width_not_divided"),
        ({"width": 12, "heads": 4}, "rotary_width_odd"),
        ({"architecture": "gpt2", "key_value_heads": 2}, "no_key_value_heads"),
        ({"key_value_heads": 3}, "key_value_heads_not_divisor"),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(weights: dict[str, Any], code: str) -> None:
    with refused(ValidationError, code):
        CausalLM(weights={"kind": "fresh", **weights})
