"""Minibatches of the discriminator that go through in parts: the same step as at once, for every loss and network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlgan.adversary.losses import LossSettings
from rlgan.adversary.minibatches import Pairs
from rlgan.adversary.settings import AdversarySettings
from rlgan.adversary.training import Adversary, Round
from rlgan.base.errors import MemoryShortError
from rlgan.base.weights import trained_of, weights_of
from rlgan.discriminators import (
    CausalLSTM,
    CnnHighway,
    DensityRatio,
    DiscriminatorSettings,
    LanguageModel,
    PairLSTM,
    SequenceClassifier,
    build_discriminator,
)
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import random_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import LSTM, build_generator
from rlgan.layers.micro_batches import InParts, micro_batches
from rlgan.layers.optimizers import SGD
from rlgan.workers.discriminator import DiscriminatorWorker
from tests.support.errors import refused
from tests.unit.test_declarations import variants

ALONE = SequenceSpace(8, 5, end_id=3)
GIVEN = SequenceSpace(8, 5, end_id=3, condition=SequenceSpace(9, 4, end_id=8))
NUMBER, GROUP = 12, 3
OF_SEQUENCES = CnnHighway(embedding=4, windows=(1, 2), filters=(4, 4))
OF_TOKENS = CausalLSTM(embedding=4, hidden=6, position_features=2)
POLICY = LSTM(embedding=3, hidden=5)


def judge_of(
    network: DiscriminatorSettings, settings: dict[str, Any], tokens_at_once: int | None, space: SequenceSpace
) -> Adversary:
    given = None if space.condition is None else random_sequences(space.condition, NUMBER, 3)
    reals = Pairs(random_sequences(space, NUMBER, 0), given)
    adversary = AdversarySettings(
        batch=2 * NUMBER, sequences_per_round=NUMBER, tokens_at_once=tokens_at_once, **settings
    )
    return Adversary(network, adversary, SGD(lr=1.0), space, reals, reals, seed=0, policy=POLICY)


def request_of(space: SequenceSpace, **more: Any) -> Round:
    given = None if space.condition is None else random_sequences(space.condition, NUMBER, 3)
    return Round(0, random_sequences(space, NUMBER, 1), 1, **{"conditions": given, **more})


def step(
    network: DiscriminatorSettings,
    settings: dict[str, Any],
    tokens_at_once: int | None,
    space: SequenceSpace = ALONE,
    **more: Any,
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """What one minibatch reports, and the weights after it; the learning rate is 1."""
    judge = judge_of(network, settings, tokens_at_once, space)
    before = trained_of(judge.network)
    metrics = judge.train_round(request_of(space, **more))
    after = trained_of(judge.network)
    assert any(float((after[name] - tensor).abs().max()) > 1e-3 for name, tensor in before.items())
    return metrics, after


def require_alike(found: Any, expected: Any) -> None:
    assert found[0].keys() == expected[0].keys()
    for name, value in expected[0].items():
        assert found[0][name] == pytest.approx(value, rel=1e-5, abs=1e-6), name
    for name, tensor in expected[1].items():
        torch.testing.assert_close(found[1][name], tensor, atol=1e-6, rtol=0, msg=name)


def without_dropout(network: Any) -> Any:
    return network.model_copy(update={"dropout": 0.0}) if hasattr(network, "dropout") else network


# A loss of verdicts reads pairs alone, and has its test beside its own (test_written_verdicts.py).
OF_LOGITS = [one for one in variants(LossSettings) if not one.is_of_verdicts]


@pytest.mark.parametrize("loss", [one for one in OF_LOGITS if not one.is_of_a_distribution], ids=str)
@pytest.mark.parametrize("network", [OF_SEQUENCES, OF_TOKENS], ids=["sequences", "tokens"])
def test_a_step_in_parts_is_the_step_of_the_whole_minibatch(network: Any, loss: Any) -> None:
    settings = {"loss": loss, "l2_all": 1e-2}
    for more in ({}, {"real_weight": 0.5}) if loss.has_costs else ({},):
        both = [step(without_dropout(network), settings, bound, **more) for bound in (20, None)]
        require_alike(*both)


def test_so_is_one_of_pairs_within_prompts_which_parts_tear_apart() -> None:
    (loss,) = (one for one in OF_LOGITS if one.within_prompts)
    fakes = random_sequences(GIVEN.condition, NUMBER // GROUP, 3).repeat_interleave(GROUP, 0)
    paired = random_sequences(GIVEN, NUMBER // GROUP, 5).repeat_interleave(GROUP, 0)
    for network in (PairLSTM(embedding=4, hidden=5, dropout=0.0), classifier()):
        both = [
            step(network, {"loss": loss}, bound, GIVEN, paired=paired, group=GROUP, conditions=fakes)
            for bound in (20, None)
        ]
        require_alike(*both)


@pytest.mark.parametrize("network", [LanguageModel(embedding=4, hidden=6), DensityRatio(network=LSTM(embedding=4))])
def test_so_is_one_of_a_distribution(network: Any) -> None:
    reads_policy = network.kind == "density_ratio"
    (loss,) = (one for one in variants(LossSettings) if one.is_of_a_distribution and one.reads_policy == reads_policy)
    more = {"policy": weights_of(build_generator(POLICY, ALONE), 0)} if reads_policy else {}
    require_alike(*(step(without_dropout(network), {"loss": loss}, bound, **more) for bound in (20, None)))


def classifier(**settings: Any) -> SequenceClassifier:
    for library in ("transformers", "peft"):
        pytest.importorskip(library)
    sizes = {"kind": "fresh", "architecture": "llama", "width": 8, "layers": 1, "heads": 2}
    return SequenceClassifier(weights={**sizes, **settings})


# ---------------------------------------------------------------------------------------------- what is dropped


@pytest.mark.parametrize("name", ["sequences", "tokens", "classifier"])
def test_what_is_dropped_is_dropped_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a graph that is kept of all parts at once: the same parts in the same order, hence the same dropout."""
    network: Any = {"sequences": OF_SEQUENCES, "tokens": OF_TOKENS}.get(name)
    network = classifier(dropout=0.3) if network is None else network.model_copy(update={"dropout": 0.5})
    found = step(network, {}, 20)

    class Kept(InParts):
        def __init__(self, compute: Any, parts: Any) -> None:
            self._parts = parts[:1]
            place = torch.argsort(torch.cat(list(parts)))
            self.outputs = torch.cat([compute(part) for part in parts], 1)[:, place]

    monkeypatch.setattr("rlgan.adversary.training.InParts", Kept)
    expected = step(network, {}, 20)
    require_alike(found, expected)
    # Dropout does something: another order of parts is another step.
    monkeypatch.setattr("rlgan.adversary.training.micro_batches", lambda *given: micro_batches(*given)[::-1])
    other = step(network, {}, 20)[1]
    assert any(not torch.allclose(other[key], tensor, atol=1e-5) for key, tensor in expected[1].items())


def test_random_numbers_go_on_as_if_no_part_had_been_computed_again() -> None:
    layer, rows = nn.Linear(3, 1), torch.randn(6, 3)

    def compute(index: Tensor) -> Tensor:
        return nn.functional.dropout(layer(rows[index]), 0.5).squeeze(1).unsqueeze(0)

    drawn = []
    for goes_back in (True, False):
        torch.manual_seed(0)
        parts = InParts(compute, torch.arange(6).split(2))
        parts.outputs.square().sum().backward()
        if goes_back:
            parts.backward()
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)


# -------------------------------------------------------------------------------------------------- what is bounded


def test_no_part_is_above_the_bound_and_a_bound_that_nothing_reaches_changes_no_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = classifier()
    whole = step(network, {}, None, GIVEN)
    assert all(torch.equal(one, whole[1][name]) for name, one in step(network, {}, 10_000, GIVEN)[1].items())
    sizes: list[int] = []
    original = type(build_discriminator(network, GIVEN)).logits

    def watched(self: Any, ids: Tensor, mask: Tensor, segments: Tensor | None = None) -> Tensor:
        if self.training:
            sizes.append(len(ids) * int(mask.sum(1).max()))
        return original(self, ids, mask, segments)

    monkeypatch.setattr(type(build_discriminator(network, GIVEN)), "logits", watched)
    require_alike(step(network, {}, 30, GIVEN), whole)
    assert len(sizes) > 6 and max(sizes) <= 30


def test_of_those_that_say_so_no_logit_depends_on_the_rest_of_the_minibatch() -> None:
    ours = [one for one in variants(DiscriminatorSettings) if one.kind not in ("tabular", "sequence_classifier")]
    for settings in (*(one for one in ours if one.judges_rows_alone and not one.writes_verdicts), classifier()):
        space = ALONE if settings.reads == "sequences" else GIVEN
        torch.manual_seed(0)
        network = build_discriminator(without_dropout(settings), space).train()
        tokens = random_sequences(space, 6, 0)
        given = None if space.condition is None else random_sequences(space.condition, 6, 1)
        mask = sequence_mask(space, tokens)
        for part in network.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
        whole = network.member_logits(tokens, mask, given)
        some = network.member_logits(tokens[:2], mask[:2], None if given is None else given[:2])
        torch.testing.assert_close(some, whole[:, :2], atol=1e-5, rtol=1e-5, msg=settings.kind)
        assert network.num_read(tokens, mask, given).shape[0] == 6


def test_a_discriminator_that_is_out_of_memory_names_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*arguments: object) -> None:
        raise MemoryError

    reals = Pairs(random_sequences(ALONE, NUMBER, 0))
    worker = DiscriminatorWorker(
        1, 0.0, network=OF_SEQUENCES, settings=AdversarySettings(), optimizer=SGD(lr=0.1), space=ALONE,
        reals=reals, heldout_reals=reals, seed=0,
    )  # fmt: skip
    monkeypatch.setattr(type(worker._adversary.network), "member_logits", too_large)
    with refused(MemoryShortError, "out_of_memory: adversary.tokens_at_once", {"part": "the discriminator"}):
        worker.train_round(Round(0, random_sequences(ALONE, NUMBER, 1), 1))
