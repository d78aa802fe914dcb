"""Generators and discriminators of the user's own: adapted, held to the contract of shipped ones, refused by name."""

from __future__ import annotations

import itertools
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from rlgan import extensions
from rlgan.adversary.regularisers import InterpolatedPenalty
from rlgan.adversary.settings import AdversarySettings
from rlgan.base.errors import ConfigError, PluginError
from rlgan.base.problems import ContradictionError
from rlgan.discriminators import Ensemble, PluginDiscriminator, build_discriminator
from rlgan.discriminators.plugin import require_sound as require_sound_discriminator
from rlgan.discriminators.testing import check_discriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import PairsTask
from rlgan.envs.testing import all_sequences, random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.evaluation.evaluator import EvaluationSettings
from rlgan.generators import (
    LSTM,
    GeneratorSettings,
    PluginGenerator,
    Seq2SeqLSTM,
    Seq2SeqTransformer,
    TransformerDecoder,
    build_generator,
)
from rlgan.generators.plugin import require_sound as require_sound_generator
from rlgan.generators.testing import check_generator
from rlgan.policy.control_rewards import ConstantReward
from rlgan.policy.credit import RewardToGo, Terminal
from rlgan.policy.discriminator_rewards import LogitIncrement
from rlgan.policy.objectives import Gumbel
from rlgan.sampling.beam_search import beam_search
from rlgan.sampling.sampler import sample
from tests.support import plugin_networks
from tests.support.errors import refused
from tests.support.tiny import tiny_config
from tests.unit.test_discriminator_contract import EVERY, built, space_of

FILE = plugin_networks.__file__
SPACE = SequenceSpace(5, 4, end_id=2)
FIXED = SequenceSpace(5, 4)
PAIRS = replace(SPACE, condition=SequenceSpace(4, 3, end_id=1))


def own(name: str, **options: object) -> PluginGenerator:
    return PluginGenerator.model_validate({"name": f"{FILE}:{name}", "options": options})


def judge(name: str, **options: object) -> PluginDiscriminator:
    return PluginDiscriminator.model_validate({"name": f"{FILE}:{name}", "options": options})


SHIPPED: list[tuple[GeneratorSettings, SequenceSpace]] = [
    (LSTM(embedding=4, hidden=5, dropout=0.3), SPACE),
    (LSTM(embedding=4, hidden=5, layers=2, tied=True), FIXED),
    (TransformerDecoder(width=8, heads=2), SPACE),
    (Seq2SeqLSTM(embedding=4, hidden=4, self_attention=True, input_feeding=True), PAIRS),
    (Seq2SeqTransformer(width=8, heads=2), PAIRS),
]
OWN: list[tuple[GeneratorSettings, SequenceSpace]] = [
    (own("Gru", dropout=0.3), SPACE),
    (own("Gru"), FIXED),
    (own("SteppingGru"), SPACE),
    (own("SoftGru"), SPACE),
    (own("small_gru", width=3), SPACE),
    (own("Answering"), PAIRS),
    (own("SteppingAnswering"), PAIRS),
]


@pytest.mark.parametrize(
    ("settings", "space"), SHIPPED + OWN, ids=[str(getattr(one, "name", one.kind)) for one, _ in SHIPPED + OWN]
)
def test_generators_keep_the_contract(settings: GeneratorSettings, space: SequenceSpace) -> None:
    check_generator(lambda: build_generator(settings, space), space)


@pytest.mark.parametrize("settings", EVERY, ids=lambda settings: settings.kind)
def test_shipped_discriminators_keep_the_contract(settings: object) -> None:
    space = space_of(settings)  # type: ignore[arg-type]
    check_discriminator(
        lambda: built(settings),  # type: ignore[arg-type]
        space,
        granularity=settings.granularity,  # type: ignore[attr-defined]
        judges_pairs=settings.reads == "pairs",  # type: ignore[attr-defined]
        reads_soft_rows=settings.reads_soft_rows,  # type: ignore[attr-defined]
    )


def test_what_a_network_can_do_is_noted_in_the_configuration() -> None:
    facts = {name: (own(name).reads_conditions, own(name).relaxes) for name in ("Gru", "SoftGru", "Answering")}
    assert facts == {"Gru": (False, False), "SoftGru": (False, True), "Answering": (True, False)}
    found = {name: judge(name) for name in ("Bag", "HardBag", "TokenJudge", "PairBag")}
    assert [one.reads for one in found.values()] == ["sequences", "sequences", "sequences", "pairs"]
    assert [one.granularity for one in found.values()] == ["sequence", "sequence", "token", "sequence"]
    assert [one.reads_soft_rows for one in found.values()] == [True, False, False, False]


@torch.no_grad()
def test_the_adapted_network_is_the_network_behind_a_start_token() -> None:
    torch.manual_seed(3)
    generator = build_generator(own("Gru"), SPACE)
    torch.manual_seed(3)
    plain = plugin_networks.Gru(SPACE)
    tokens = torch.tensor([[4, 1, 3, 2], [3, 2, 2, 2]])
    read = torch.tensor([[0, 4, 1, 3], [0, 3, 2, 2]])
    assert torch.equal(generator.eval().conditional(None).logits(tokens), plain.eval()(read))
    expected = torch.log_softmax(plain(read) / 0.7, 2).gather(2, tokens.unsqueeze(2)).squeeze(2)
    torch.testing.assert_close(generator.conditional(None).logprobs(tokens, 0.7), expected)


@torch.no_grad()
@pytest.mark.parametrize("name", ["Gru", "SteppingGru"])
def test_probabilities_of_all_sequences_sum_to_one_and_are_those_of_the_draws(name: str) -> None:
    torch.manual_seed(0)
    space = SequenceSpace(3, 3, end_id=1)
    generator = build_generator(own(name), space).eval()
    sequences = all_sequences(space)
    mask = sequence_mask(space, sequences)
    probs = generator.conditional(None).logprobs(sequences).double().masked_fill(~mask, 0.0).sum(1).exp()
    assert float(probs.sum()) == pytest.approx(1.0, abs=1e-5)
    number = 20_000
    drawn = sample(generator.stepper(), space, number, torch.Generator().manual_seed(0))
    place = {tuple(row): index for index, row in enumerate(sequences.tolist())}
    counts = torch.zeros(len(sequences))
    for row in drawn.tokens.tolist():
        counts[place[tuple(row)]] += 1
    errors = (counts / number - probs) / (probs * (1 - probs) / number).sqrt()
    assert float(errors.abs().max()) < 4.0
    expected = generator.conditional(None).logprobs(drawn.tokens).masked_fill(~drawn.mask, 0.0)
    torch.testing.assert_close(drawn.logprobs, expected, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("names", [("Gru", "SteppingGru"), ("Answering", "SteppingAnswering")])
def test_steps_are_only_faster(names: tuple[str, str]) -> None:
    space = PAIRS if "Answering" in names else SPACE
    conditions = random_sequences(space.condition, 40, seed=5) if space.condition is not None else None
    found = []
    for name in names:
        torch.manual_seed(1)
        stepper = build_generator(own(name), space).eval().stepper(0.8)
        drawn = sample(stepper, space, 40, torch.Generator().manual_seed(2), chunk_rows=7, conditions=conditions)
        best = beam_search(stepper, space, 40, beam=3, conditions=conditions)
        found.append((drawn.tokens, best.tokens))
    assert all(map(torch.equal, *found))


@torch.no_grad()
def test_beams_find_the_likeliest_answer_of_each_condition() -> None:
    torch.manual_seed(1)
    space = replace(SequenceSpace(3, 3, end_id=1), condition=SequenceSpace(3, 2))
    generator = build_generator(own("SteppingAnswering"), space).eval()
    conditions = torch.tensor(list(itertools.product(range(3), repeat=2)))
    found = beam_search(generator.stepper(), space, len(conditions), beam=27, conditions=conditions)
    sequences = all_sequences(space)
    mask = sequence_mask(space, sequences)
    for row, condition in enumerate(conditions):
        distribution = generator.conditional(condition.repeat(len(sequences), 1))
        scores = distribution.logprobs(sequences).masked_fill(~mask, 0.0).sum(1)
        assert torch.equal(found.tokens[row], sequences[scores.argmax()])


def test_dropout_is_off_in_a_policy_gradient_and_on_in_pretraining() -> None:
    torch.manual_seed(0)
    generator = build_generator(own("Gru", dropout=0.5), SPACE)
    tokens = random_sequences(SPACE, 6, seed=0)

    def logits() -> Tensor:
        return generator.conditional(None).logits(tokens)

    generator.train()
    generator.use_dropout(True)
    assert not torch.equal(logits(), logits())
    generator.use_dropout(False)
    quiet = logits()
    assert torch.equal(quiet, logits()) and quiet.requires_grad
    assert torch.equal(generator.eval().conditional(None).logits(tokens), quiet)
    generator.train()
    assert torch.equal(logits(), quiet), "train() alone switches nothing on again"


def test_a_stepper_is_a_copy() -> None:
    torch.manual_seed(0)
    generator = build_generator(own("Gru"), SPACE)
    stepper = generator.stepper()
    before = stepper.weights(stepper.start(2)).clone()
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(1.0)
    assert torch.equal(stepper.weights(stepper.start(2)), before)


@pytest.mark.parametrize("name", ["Bag", "HardBag", "TokenJudge"])
def test_discriminators_of_ones_own_keep_the_contract_alone_and_as_an_ensemble(name: str) -> None:
    require_sound_discriminator(judge(name), SPACE)
    require_sound_discriminator(judge(name), FIXED)
    several = judge(name).model_copy(update={"members": 3})
    torch.manual_seed(0)
    network = build_discriminator(several, SPACE).eval()
    assert isinstance(network, Ensemble) and len(network.parts()) == 3
    tokens = random_sequences(SPACE, 5, seed=0)
    mask = sequence_mask(SPACE, tokens)
    expected = torch.stack([part(tokens, mask) for part in network.parts()]).mean(0)
    torch.testing.assert_close(network.scorer()(tokens, mask), expected)


def test_a_discriminator_of_pairs_keeps_the_contract() -> None:
    require_sound_discriminator(judge("PairBag"), PAIRS)


WRONG = {
    "Peeking": "not causal: logits of token 0",
    "Normed": "depend on the other sequences of the batch",
    "Nan": "a logit is NaN or infinite",
    "Short": r"a tensor \(\d, \d, 5\) of float32 for logits \(B, T, V\), which must have shape \(\d, \d, 5\) here",
    "Noisy": "in evaluation mode the same tokens give different logits",
    "Loud": "in evaluation mode the same tokens give different logits",
    "Idle": "the parameter network.module.spare.weight has no gradient",
    "Forgetful": "neither a parameter nor a saved buffer",
    "Raising": r"(?s)forward of tensors \(\d, \d\) raised RuntimeError: no such layer.*the line that is shown",
    "Unbuildable": "building it raised KeyError: 'width'",
    "WrongStep": "sampling step by step gives other probabilities of token 0",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_generator_that_breaks_its_contract_is_refused_by_name(name: str) -> None:
    settings = own(name)
    with pytest.raises((ConfigError, PluginError), match=WRONG[name]) as caught:
        require_sound_generator(settings, SPACE)
    assert f"generator plug-in '{FILE}:{name}'" in str(caught.value)


def test_a_generator_that_reads_a_condition_must_care_for_it() -> None:
    with refused(ConfigError, "plugin_contract"):
        require_sound_generator(own("Fixed"), PAIRS)


WRONG_JUDGES = {
    "ReadsPadding": "tokens where the mask is False change a logit",
    "Square": r"returned a tensor \(6, 1\) of float32 for logits \(B,\), which must have shape \(6,\) here",
    "Peeping": "not causal: a logit before token 1 changes",
}


@pytest.mark.parametrize("name", WRONG_JUDGES)
def test_a_discriminator_that_breaks_its_contract_is_refused_by_name(name: str) -> None:
    with pytest.raises((ConfigError, PluginError), match=WRONG_JUDGES[name]) as caught:
        require_sound_discriminator(judge(name), SPACE)
    assert f"discriminator plug-in '{FILE}:{name}'" in str(caught.value)


NO_NETWORKS = {
    "FILE": "is an object of str. Name a class derived from torch.nn.Module",
    "unannotated": "the function unannotated, which has no return annotation",
    "of_int": "the function of_int, whose return annotation is",
    "NoSpace": r"has no parameter 'space'.* Write def __init__\(self, space, ...\)",
    "OtherParameters": r"its method is forward\(self, inputs, mask\). Write forward\(self, tokens\)",
    "HalfSteps": "has step, but sampling step by step needs both start and step",
    "Missing": "has no 'Missing'",
}


@pytest.mark.parametrize("name", NO_NETWORKS)
def test_what_is_no_network_is_refused_when_the_configuration_is_built(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    more = "\n\nFILE = 'a'\n\n\ndef of_int(space) -> int:\n    return 3\n"
    path.write_text(Path(FILE).read_text("utf-8") + more, "utf-8")
    with pytest.raises((ConfigError, ValidationError), match=NO_NETWORKS[name]):
        PluginGenerator.model_validate({"name": f"{path}:{name}"})


def test_options_are_those_of_the_class() -> None:
    with refused(ValidationError, "plugin_option_unknown", match="'width'"):
        own("Gru", widht=3)
    with refused(ValidationError, "plugin_option_reserved"):
        own("Gru", space=3)
    assert build_generator(own("Gru", width=3), SPACE).network.module.gru.hidden_size == 3  # type: ignore[attr-defined]


def test_what_the_network_decides_is_not_to_be_set() -> None:
    with refused(ValidationError, "plugin_fact_contradicted", {"relaxes": True}):
        PluginGenerator.model_validate({"name": f"{FILE}:Gru", "relaxes": True})
    with refused(ValidationError, "granularity"):
        judge("Word")


def test_reading_a_configuration_executes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(Path(FILE).read_text("utf-8"), "utf-8")
    settings = PluginGenerator.model_validate({"name": f"{path}:Answering"})
    values = settings.model_dump(mode="json")
    path.write_text("raise RuntimeError('executed')", "utf-8")
    again = PluginGenerator.model_validate(values)
    assert again == settings and again.reads_conditions


def test_settings_take_their_source_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extensions.memory, "sources", {})
    monkeypatch.setattr(extensions.memory, "modules", {})
    path = tmp_path / "mine.py"
    path.write_text(Path(FILE).read_text("utf-8"), "utf-8")
    settings = PluginGenerator.model_validate({"name": f"{path}:Gru"})
    sent = pickle.dumps(settings)
    path.unlink()
    torch.manual_seed(0)
    expected = build_generator(own("Gru"), SPACE).state_dict()
    extensions.memory.sources.clear()  # as another process is, which never read the file
    extensions.memory.modules.clear()
    torch.manual_seed(0)
    found = build_generator(pickle.loads(sent), SPACE).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_registration_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extensions.memory, "registered", {})
    extensions.register("generator", "gru", plugin_networks.Gru)
    extensions.register("discriminator", "bag", plugin_networks.Bag)
    settings = PluginGenerator.model_validate({"name": "gru", "options": {"width": 3}})
    torch.manual_seed(0)
    expected = build_generator(own("Gru", width=3), SPACE).state_dict()
    torch.manual_seed(0)
    found = build_generator(settings, SPACE).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert PluginDiscriminator(name="bag").reads_soft_rows
    sent = pickle.dumps(settings)
    extensions.memory.registered.clear()
    with refused(ConfigError, "plugin_not_registered"):
        build_generator(settings, SPACE)
    assert build_generator(pickle.loads(sent), SPACE).network.module.gru.hidden_size == 3  # type: ignore[attr-defined]


def test_soft_rows_of_a_network_that_has_none_are_refused() -> None:
    network = build_discriminator(judge("HardBag"), SPACE)
    with refused(ConfigError, "no_soft_rows_declared"):
        network(torch.zeros(2, 4, 5), torch.ones(2, 4, dtype=torch.bool))


GUMBEL = {"objective": Gumbel(), "reward": ConstantReward(), "credit": Terminal()}
PENALTY = AdversarySettings(batch=16, sequences_per_round=24, gradient_penalty=InterpolatedPenalty())
WORDS = PairsTask.model_validate({"input": {"kind": "file", "data": "talk.tsv"}})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"generator": own("Gru"), "discriminator": judge("Bag"), **GUMBEL}, "generator_gives_no_soft_rows"),
        ({"generator": own("SoftGru"), "discriminator": judge("HardBag"), **GUMBEL}, "discriminator_reads_tokens"),
        ({"discriminator": judge("HardBag"), "adversary": PENALTY}, "penalty_of_tokens_alone"),
        ({"generator": own("Answering")}, "generator_reads_conditions"),
        ({"discriminator": judge("PairBag")}, "discriminator_reads_conditions"),
        (
            {
                "task": WORDS,
                "generator": own("Answering"),
                "discriminator": judge("PairBag"),
                "evaluation": EvaluationSettings(replace_unknown=True),
            },
            "generator_attends_to_nothing",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_network_cannot_do_is_told_by_the_rules_of_shipped_ones(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(ValidationError) as caught:
        tiny_config(**changes)
    error = caught.value.errors()[0]["ctx"]["error"]
    assert isinstance(error, ContradictionError) and error.problem.code == code, error


def test_what_it_cannot_do_is_advised_of_ones_own_code() -> None:
    """Its granularity and its conditions are filled in from the code, so settings would change nothing."""
    with pytest.raises(
        ValidationError, match=r'Give your network granularity = "token" and a logit for each token, or'
    ):
        tiny_config(discriminator=judge("Bag"), reward=LogitIncrement(), credit=RewardToGo())
    with pytest.raises(ValidationError, match=r"Give its forward the parameter conditions\."):
        tiny_config(task=WORDS, generator=own("Answering"), discriminator=judge("Bag"))


def test_a_nan_that_comes_later_is_told_when_it_is_drawn_from() -> None:
    generator = build_generator(own("Gru"), SPACE)
    with torch.no_grad():
        generator.network.module.output.bias.fill_(float("nan"))  # type: ignore[attr-defined]
    stepper = generator.stepper()
    with refused(PluginError, "generator_logit_not_finite", match=f"'{FILE}:Gru'"):
        stepper.weights(stepper.start(2))
