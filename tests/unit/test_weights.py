"""Weights on the move: what training changes, once and in its own dtype; the rest by its hash, read where it lies."""

from __future__ import annotations

import pickle
from typing import Any, ClassVar

import numpy as np
import pytest
import ray
import torch
from torch import Tensor, nn

from rlgan.base.placeholders import is_placeholder, put_placeholders, values_follow, without_values
from rlgan.base.weights import (
    Base,
    Weights,
    as_base,
    averaged,
    base_of,
    frozen_copy,
    load_weights,
    network_of,
    packed,
    trained_of,
    unpacked,
    weights_of,
)
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators import LSTM, TransformerDecoder, build_generator
from rlgan.layers.embeddings import WordVectors
from rlgan.policy.credit import MonteCarlo
from rlgan.rollouts.collecting import RolloutPlan, Shard
from rlgan.workers import rollout
from rlgan.workers.rollout import RolloutActor, RolloutWorker

SPACE = SequenceSpace(6, 4, end_id=2)


class Mixed(nn.Module):
    """A frozen matrix with two names, a trained one in bfloat16, a buffer that moves and one that does not."""

    constant_buffers: ClassVar[frozenset[str]] = frozenset({"table"})

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.frozen = nn.Linear(3, 2, bias=False).requires_grad_(False)
        self.again = nn.Linear(3, 2, bias=False)
        self.again.weight = self.frozen.weight
        self.trained = nn.Linear(2, 2, dtype=torch.bfloat16)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("table", torch.randn(4))


MOVING = {"trained.weight", "trained.bias", "norm.weight", "norm.bias"}
MOVING |= {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}


def test_only_what_training_changes_travels_and_each_tensor_once() -> None:
    net = Mixed()
    weights = weights_of(net, 3)
    assert set(weights.tensors) == MOVING
    assert weights.base is not None and weights.base.tensors is not None
    assert set(weights.base.tensors) == {"frozen.weight", "table"}
    assert weights.tensors["trained.weight"].dtype == torch.bfloat16
    assert weights.num_bytes() == (4 + 2) * 2 + 4 * 2 * 4 + 8
    tied = build_generator(TransformerDecoder(width=8, heads=2, layers=1), SPACE)
    assert sum(tensor.numel() for tensor in trained_of(tied).values()) == sum(p.numel() for p in tied.parameters())
    assert base_of(tied) is None


def test_a_snapshot_is_not_moved_by_training() -> None:
    net = Mixed()
    before = weights_of(net, 0)
    values = {name: tensor.clone() for name, tensor in before.tensors.items()}
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(before.tensors[name], value) for name, value in values.items())


def test_what_is_pickled_comes_back_to_the_bit_and_a_base_by_its_name_alone() -> None:
    weights = weights_of(Mixed(), 5)
    there: Weights = pickle.loads(pickle.dumps(weights))
    assert (there.version, there.key) == (5, weights.key)
    for name, tensor in weights.complete.items():
        assert there.complete[name].dtype == tensor.dtype and torch.equal(there.complete[name], tensor)
    assert weights.base is not None
    named: Weights = pickle.loads(pickle.dumps(weights.named))
    assert named.base is not None and named.base.tensors is None and named.base.digest == weights.base.digest
    assert named.with_base(weights.base).complete.keys() == weights.complete.keys()


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.float8_e4m3fn]
)
def test_every_dtype_travels(dtype: torch.dtype) -> None:
    state = {"a": {"b": torch.arange(6).view(2, 3).to(dtype), "scalar": torch.tensor(1).to(dtype)}, "c": [1, "x"]}
    arrays = pickle.loads(pickle.dumps(packed(state)))
    for copies in (True, False):
        back: Any = unpacked(arrays, copies=copies)
        assert back["c"] == [1, "x"]
        for name, tensor in state["a"].items():  # type: ignore[call-overload, attr-defined]
            found = back["a"][name]
            assert found.dtype == dtype and found.shape == tensor.shape
            assert torch.equal(found.view(torch.uint8) if found.dim() else found, _bits(tensor, found))


def _bits(tensor: Tensor, like: Tensor) -> Tensor:
    return tensor.view(torch.uint8) if like.dim() else tensor


def test_memory_that_cannot_be_written_is_read_without_a_copy_or_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    array = np.arange(3.0)
    array.flags.writeable = False
    shared, copied = unpacked({"a": array}, copies=False)["a"], unpacked({"a": array})["a"]
    assert shared.data_ptr() == array.ctypes.data != copied.data_ptr()
    copied += 1.0
    assert shared.tolist() == [0.0, 1.0, 2.0] and not recwarn.list


def test_the_name_of_a_base_is_of_all_that_is_in_it() -> None:
    def digest(**tensors: Tensor) -> str:
        base = as_base(tensors)
        assert base is not None
        return base.digest

    one = digest(a=torch.ones(2), b=torch.zeros(2))
    assert digest(b=torch.zeros(2), a=torch.ones(2)) == one
    others = [
        digest(a=torch.ones(2)),
        digest(a=torch.ones(2), c=torch.zeros(2)),
        digest(a=torch.ones(2), b=torch.zeros(2, 1)),
        digest(a=torch.ones(2), b=torch.zeros(2, dtype=torch.bfloat16)),
        digest(a=torch.ones(2), b=torch.tensor([0.0, -0.0])),
    ]
    assert len({one, *others}) == 6
    assert as_base({}) is None


def test_a_network_reads_its_base_where_it_lies_by_all_its_names() -> None:
    weights, other = weights_of(Mixed(0), 0), Mixed(1)
    load_weights(other, weights.tensors, weights.base)
    assert weights.base is not None and weights.base.tensors is not None
    there = weights.base.tensors["frozen.weight"].data_ptr()
    assert other.frozen.weight.data_ptr() == other.again.weight.data_ptr() == there
    assert other.get_buffer("table").data_ptr() == weights.base.tensors["table"].data_ptr()
    assert not other.frozen.weight.requires_grad
    assert other.trained.weight.data_ptr() != weights.tensors["trained.weight"].data_ptr()
    again = weights_of(other, 0)
    assert again.base is not None and again.base.digest == weights.base.digest
    assert all(torch.equal(again.complete[name], tensor) for name, tensor in weights.complete.items())


def test_old_weights_with_all_names_are_read() -> None:
    old, other = Mixed(0), Mixed(1)
    load_weights(other, old.state_dict())
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in old.state_dict().items())


def test_weights_of_another_network_are_refused_by_name() -> None:
    tensors = weights_of(Mixed(), 0).tensors
    lacking = {name: tensor for name, tensor in tensors.items() if name != "trained.bias"}
    for wrong, described in (
        (lacking, r"do not fit Mixed: missing \['trained.bias'\], unknown \[\]"),
        (tensors | {"new": torch.zeros(1)}, r"missing \[\], unknown \['new'\]"),
        (tensors | {"trained.bias": torch.zeros(3)}, r"trained.bias is \(3,\), expected \(2,\)"),
    ):
        with pytest.raises(RuntimeError, match=described):
            load_weights(Mixed(), wrong)


def test_a_moving_average_has_the_bits_of_numpys() -> None:
    rng = torch.Generator().manual_seed(0)
    old, new = ({"a": torch.randn(1_000, generator=rng), "n": torch.tensor(number)} for number in (3, 4))
    for share in (0.0, 0.3, 0.9, 0.999):
        found = averaged(Weights(1, old), Weights(2, new), share)
        assert found.version == 2 and int(found.tensors["n"]) == 4
        expected = share * old["a"].numpy() + (1.0 - share) * new["a"].numpy()
        assert expected.dtype == np.float32 and np.array_equal(found.tensors["a"].numpy(), expected)


def test_a_network_that_nobody_trains_is_not_copied() -> None:
    net = nn.Linear(2, 2)
    assert frozen_copy(net) is not net and frozen_copy(net.eval()) is not net
    frozen = net.requires_grad_(False)
    assert frozen_copy(frozen) is frozen
    assert frozen_copy(frozen.train()) is not frozen


PLAN = RolloutPlan(SPACE, MonteCarlo(num_rollouts=1), 8)
GENERATOR = LSTM(embedding=2, hidden=3, pretrained=WordVectors(path="nobody.txt", dimension=2, freeze=True))


def shard(version: int) -> Shard:
    return Shard(3, 0, generator_version=version, rollout_version=version, discriminator_version=None)


def version_of(number: int) -> Weights:
    torch.manual_seed(number)
    net = build_generator(GENERATOR, SPACE)
    torch.nn.init.ones_(net.get_buffer("embedding.pretrained"))
    return weights_of(net, number)


def test_the_same_weights_are_built_once_whatever_their_role(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []
    original = RolloutWorker._build_policy

    def counted(self: RolloutWorker, weights: Weights) -> Any:
        built.append(weights.version)
        return original(self, weights)

    monkeypatch.setattr(RolloutWorker, "_build_policy", counted)
    worker, one, two = RolloutWorker(PLAN, GENERATOR, None), version_of(1), version_of(2)
    first = worker.run(shard(1), one, one, None, None)
    again = worker.run(shard(1), one, one, None, None)
    assert built == [1] and torch.equal(first.tokens, again.tokens)
    worker.run(shard(2), two, one, None, None)
    assert built == [1, 2]
    worker.run(shard(2), two, None, None, one)  # a reference is no sampler
    assert built == [1, 2, 1]
    fresh = RolloutWorker(PLAN, GENERATOR, None).run(shard(1), one, pickle.loads(pickle.dumps(one)), None, None)
    assert built == [1, 2, 1, 1] and torch.equal(first.tokens, fresh.tokens)


def test_a_process_fetches_a_base_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = version_of(1), version_of(2)
    assert one.base is not None and two.base is not None and one.base.digest == two.base.digest
    fetched: list[Any] = []

    def get(reference: Base) -> Base:
        fetched.append(reference)
        return reference

    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(rollout, "_BASES", {})
    actor, bases = RolloutActor(PLAN, GENERATOR, None), {one.base.digest: one.base}
    alone = RolloutWorker(PLAN, GENERATOR, None)
    for weights in (one, two):
        sent = pickle.loads(pickle.dumps(weights.named))
        found = actor.run_published(bases, shard(weights.version), sent, sent, None, None)
        assert torch.equal(found.tokens, alone.run(shard(weights.version), weights, weights, None, None).tokens)
    assert fetched == [one.base]


# ---------------------------------------------------------------------------------- networks whose values follow


def language_model(**settings: Any) -> Any:
    for library in ("transformers", "peft"):
        pytest.importorskip(library)
    from rlgan.generators import CausalLM

    sizes = {"kind": "fresh", "architecture": "llama", "width": 16, "layers": 2, "heads": 2}
    return CausalLM(weights=sizes, training={"kind": "lora", "rank": 2}, **settings)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_network_of_weights_has_no_memory_of_its_own_for_its_base(dtype: str) -> None:
    settings = language_model(dtype=dtype)
    torch.manual_seed(0)
    first = build_generator(settings, SPACE)
    weights = weights_of(first, 0)
    assert weights.base is not None and weights.base.tensors is not None
    before = {name: tensor.clone() for name, tensor in weights.complete.items()}
    given: list[tuple[Any, Any]] = [(weights.tensors, weights.base), (weights.complete, None)]
    for tensors, base in given:
        other = network_of(lambda: build_generator(settings, SPACE), tensors, base)
        state = other.state_dict()
        assert all(state[name].data_ptr() == tensor.data_ptr() for name, tensor in weights.base.tensors.items())
        assert all(state[name].data_ptr() != tensor.data_ptr() for name, tensor in weights.tensors.items())
        tokens = torch.randint(6, (4, 4), generator=torch.Generator().manual_seed(0))
        assert torch.equal(*(one.eval().conditional(None).logprobs(tokens) for one in (other, first)))
        optimizer = torch.optim.Adam([one for one in other.parameters() if one.requires_grad], lr=0.1)
        other.conditional(None).logprobs(tokens).sum().backward()
        optimizer.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights.complete.items())


def test_a_placeholder_is_not_written_to_and_not_left() -> None:
    settings = language_model()
    weights = weights_of(build_generator(settings, SPACE), 0)
    with values_follow():
        network = build_generator(settings, SPACE)
    frozen = [one for one in network.parameters() if not one.requires_grad]
    assert frozen and all(is_placeholder(one) and one.untyped_storage().nbytes() <= 4 for one in frozen)
    assert not any(is_placeholder(one) for one in network.parameters() if one.requires_grad)
    with pytest.raises(RuntimeError, match="single memory location"), torch.no_grad():
        frozen[0].copy_(torch.ones_like(frozen[0]))
    with pytest.raises(RuntimeError, match=r"missing \['network.*embed_tokens"):
        load_weights(network, weights.tensors)
    # What has no placeholders is built as always, and what is patched meanwhile is put back.
    with values_follow():
        plain = build_generator(LSTM(embedding=2, hidden=3), SPACE)
    assert not any(is_placeholder(one) for one in plain.parameters())
    assert nn.Linear(2, 2).weight.device.type == "cpu"


def test_what_is_registered_under_two_names_stays_one_parameter_without_values() -> None:
    with without_values():
        tied = Mixed()
    put_placeholders(tied)
    assert tied.frozen.weight is tied.again.weight and is_placeholder(tied.frozen.weight)
    assert tied.get_buffer("table").shape == (4,)  # buffers have their values
    load_weights(tied, weights_of(Mixed(2), 0).complete)
    assert torch.equal(tied.again.weight, Mixed(2).again.weight)
