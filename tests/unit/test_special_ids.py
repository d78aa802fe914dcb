"""A space whose special ids are none of ours: all who read ids take them from the space.

The terminator is 7, the start 3, the padding 5, the unknown token 2; of conditions 4, -, 0, 1.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from rlgan.base.errors import ConfigError
from rlgan.base.settings import Settings
from rlgan.discriminators import (
    BidirectionalLSTM,
    CausalLSTM,
    CnnHighway,
    DiscriminatorSettings,
    HierarchicalLSTM,
    InteractionCnn,
    LanguageModel,
    PairCnn,
    PairLSTM,
    PairMultiRepresentation,
    PairRanker,
    ResConv,
    Transformer,
    TripleLSTM,
    build_discriminator,
)
from rlgan.discriminators.tabular import Tabular
from rlgan.envs import TokenEnv, TokenVectorEnv
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import ToyTask, build_task
from rlgan.envs.tasks.lines import padded
from rlgan.envs.tasks.numbering import Numbering, filled
from rlgan.envs.tasks.toy import TabularOracle
from rlgan.envs.tasks.transduction import uniform_conditions
from rlgan.envs.testing import all_sequences, check_token_env, check_token_vector_env, random_sequences
from rlgan.envs.transition import is_terminal, pad_after_end, sequence_mask
from rlgan.generators import (
    LSTM,
    Generator,
    LatentConv,
    PairManagerWorker,
    Seq2SeqLSTM,
    Seq2SeqRelationalMemory,
    Seq2SeqTransformer,
    TransformerDecoder,
    build_generator,
)
from rlgan.layers.relaxation import Relaxation
from rlgan.metrics import UNKNOWN, distinct, mean_length, share_unfinished, strip
from rlgan.metrics.reference_scores import reference_bleu, reference_match, reference_rouge_l
from rlgan.policy.baselines import CriticBaseline
from rlgan.policy.value_function import StateValue
from rlgan.sampling.sampler import sampler_of
from rlgan.storage.export import load_run_generator, save_run_generator
from tests.support.errors import refused

END, START, PADDING, UNK = 7, 3, 5, 2
SOURCE = SequenceSpace(6, 3, end_id=4, unknown_id=1, padding_id=0)
SPACE = SequenceSpace(8, 3, end_id=END, unknown_id=UNK, start_id=START, padding_id=PADDING)
OF_PAIRS = replace(SPACE, condition=SOURCE)
CONDITIONS = torch.tensor([[2, 4, 0], [3, 3, 3]])

GENERATORS = {
    "lstm": LSTM(embedding=3, hidden=4, init_std=1.0),
    "transformer": TransformerDecoder(width=8, heads=2, layers=2, init_std=0.5, tied=False),
    "seq2seq_lstm": Seq2SeqLSTM(embedding=3, hidden=4, init_std=1.0),
    "seq2seq_transformer": Seq2SeqTransformer(width=8, heads=2, layers=1, init_std=0.5, tied=False),
    "seq2seq_relational_memory": Seq2SeqRelationalMemory(embedding=3, heads=2, head_size=3),
    "pair_manager_worker": PairManagerWorker(
        embedding=3, hidden=4, feature_embedding=3, feature_filters=(2,), feature_hidden=5, init_std=1.0
    ),
}
every_generator = pytest.mark.parametrize("name", GENERATORS)


def generator(name: str) -> tuple[Generator, SequenceSpace, Tensor | None]:
    """A generator, its space, and one condition where it reads one."""
    space = OF_PAIRS if GENERATORS[name].reads_conditions else SPACE
    torch.manual_seed(0)
    return build_generator(GENERATORS[name], space).eval(), space, CONDITIONS[:1] if space.condition else None


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ------------------------------------------------------------------------------------------------- the space


def test_masks_padding_and_ends() -> None:
    tokens = torch.tensor([[1, END, 3], [END, END, END], [0, 5, 2], [1, 0, END]])
    mask = [[True, True, False], [True, False, False], [True, True, True], [True, True, True]]
    assert sequence_mask(SPACE, tokens).tolist() == mask
    assert pad_after_end(SPACE, tokens).tolist() == [[1, END, 5], [END, 5, 5], [0, 5, 2], [1, 0, END]]
    assert is_terminal(SPACE, torch.tensor([END, PADDING, 0]), 1).tolist() == [True, False, False]
    assert SPACE.pad_id == PADDING and SPACE.required_start == START


def test_what_a_space_of_ours_has_without_being_told() -> None:
    assert (SequenceSpace(5, 4).required_start, SequenceSpace(5, 4).pad_id) == (0, 0)
    assert SequenceSpace(5, 4, end_id=2).pad_id == 2


@pytest.mark.parametrize(
    ("values", "described"),
    [
        ({"start_id": 8}, "space_token_id: start_id=8"),
        ({"padding_id": -1, "end_id": 1}, "space_token_id"),
        ({"padding_id": 5}, "padding_without_end: padding_id=5.*end_id=None"),
    ],
)
def test_ids_that_cannot_be_are_refused(values: dict[str, int], described: str) -> None:
    with refused(ConfigError, described):
        SequenceSpace(8, 3, **values)


@every_generator
def test_a_network_that_reads_a_start_names_the_lack_of_one(name: str) -> None:
    space = replace(SPACE, start_id=None, condition=SOURCE if GENERATORS[name].reads_conditions else None)
    with refused(ConfigError, "network_needs_start", {"start_id": None}):
        build_generator(GENERATORS[name], space)
    build_generator(LatentConv(latent=2, width=3, blocks=1, window=3), replace(SPACE, start_id=None))


# ------------------------------------------------------------------------------------------------ generators


@every_generator
@torch.no_grad()
def test_the_first_token_follows_the_start_and_no_other_token(name: str) -> None:
    net, space, conditions = generator(name)
    tokens = torch.tensor([[1, 6, 2]])

    def first() -> list[Tensor]:
        stepper = net.stepper().conditional(conditions)
        state = stepper.start(1)
        weights = stepper.weights(state)[:, :8]
        found = [net.conditional(conditions).logits(tokens)[:, 0].softmax(1), weights / weights.sum(1, keepdim=True)]
        if net.relaxes:
            # Without noise the relaxed token is the likeliest one.
            rows, _ = net.conditional(conditions).relaxed(torch.zeros(1, 3, 8), 1.0, straight_through=False)
            found.append(rows[:, 0])
        return found

    before = first()
    for probs in before[1:]:
        torch.testing.assert_close(probs, before[0], atol=1e-6, rtol=0)
    for token in range(8):
        kept = net.embedding.weight[token].clone()
        net.embedding.weight[token] += torch.arange(net.embedding.weight.shape[1])  # a layer norm sees no constant
        changed = [bool((one - other).abs().max() > 1e-6) for one, other in zip(first(), before, strict=True)]
        assert changed == [token == START] * len(before)
        net.embedding.weight[token] = kept


@every_generator
@torch.no_grad()
def test_sequences_have_their_likelihood_by_enumeration(name: str) -> None:
    net, space, conditions = generator(name)
    sequences = all_sequences(space)
    assert len(sequences) == 1 + 7 + 7 * 7 * 8
    mask = sequence_mask(space, sequences)
    assert bool((sequences[~mask] == PADDING).all())
    given = None if conditions is None else conditions.expand(len(sequences), -1)
    logprobs = net.conditional(given).logprobs(sequences).masked_fill(~mask, 0.0)
    probs = logprobs.double().sum(1).exp()
    assert float(probs.sum()) == pytest.approx(1.0, abs=1e-5)

    number = 8_000
    given = None if conditions is None else conditions.expand(number, -1)
    samples = sampler_of(net, space, chunk_rows=3_000).sample(number, rng(), None, given)
    matches = (samples.tokens.unsqueeze(1) == sequences).all(2)
    assert bool(matches.any(1).all()), "a row is no finished sequence, padded by its padding"
    is_frequent = number * probs > 5
    deviation = (matches.sum(0) - number * probs).abs() / (number * probs * (1 - probs)).sqrt()
    assert float(deviation[is_frequent].max()) < 4.5
    rare = float(probs[~is_frequent].sum())
    assert abs(int(matches[:, ~is_frequent].sum()) - number * rare) < 4.5 * (number * rare) ** 0.5
    torch.testing.assert_close(samples.logprobs, logprobs[matches.int().argmax(1)], atol=1e-5, rtol=0)
    assert torch.equal(samples.mask, sequence_mask(space, samples.tokens))

    few = samples.tokens[:40]
    given = None if given is None else given[:40]
    parts = list(sampler_of(net, space).continuations(few, 3, rng(), 0, given))
    assert sum(len(part.tokens) for part in parts) == 3 * int(sequence_mask(space, few).sum() - 40)
    for part in parts:
        assert torch.equal(part.tokens, pad_after_end(space, part.tokens))
        begun = torch.arange(3) <= part.position.unsqueeze(1)
        assert torch.equal(part.tokens[begun], few[part.sequence][begun])

    best = sampler_of(net, space).likeliest(1, beam=512, conditions=conditions)
    assert torch.equal(best.tokens[0], sequences[probs.argmax()])
    assert float(best.logprobs) == pytest.approx(float(probs.max().log()), abs=1e-5)


def test_soft_rows_stand_for_sequences_of_the_space() -> None:
    net, _, _ = generator("lstm")
    rows, tokens = net.soft_rows(SPACE, torch.arange(5), Relaxation(0.5, straight_through=True))
    assert torch.equal(rows.argmax(2), tokens)


@torch.no_grad()
def test_a_state_value_reads_the_start() -> None:
    torch.manual_seed(0)
    critic = StateValue(CriticBaseline(), SPACE)
    torch.nn.init.normal_(critic.output.weight)
    before = critic(torch.tensor([[1, 2, 4]]))[:, 0]
    critic.embedding.weight[0] += 1.0
    assert torch.equal(critic(torch.tensor([[1, 2, 4]]))[:, 0], before)
    critic.embedding.weight[START] += 1.0
    assert not torch.equal(critic(torch.tensor([[1, 2, 4]]))[:, 0], before)


# -------------------------------------------------------------------------------------------- discriminators

DISCRIMINATORS: list[DiscriminatorSettings] = [
    CnnHighway(embedding=3, windows=(1, 2), filters=(3,)),
    BidirectionalLSTM(embedding=3, hidden=4),
    CausalLSTM(embedding=3, hidden=4, position_features=2),
    Transformer(width=4, heads=2),
    ResConv(width=3, blocks=1, window=3),
    LanguageModel(embedding=3, hidden=4),
    Tabular(),
    PairCnn(embedding=3, windows=(1, 2), filters=(3,), mlp_hidden=4),
    PairLSTM(embedding=3, hidden=4, mlp_hidden=4),
    HierarchicalLSTM(embedding=3, hidden=4),
    InteractionCnn(embedding=3, projection=2, channels=3, mlp_hidden=8),
    TripleLSTM(embedding=3, hidden=4, mlp_hidden=4),
    PairMultiRepresentation(embedding=4, representations=2, windows=(1, 2), filters=(3,)),
    PairRanker(embedding=3, windows=(1, 2), filters=(8,), mlp_hidden=4, references=2, comparisons=3),
]


@pytest.mark.parametrize("settings", DISCRIMINATORS, ids=lambda settings: settings.kind)
@torch.no_grad()
def test_a_discriminator_judges_what_stands_before_the_end_whatever_pads_it(settings: Settings) -> None:
    reads_pairs = settings.reads == "pairs"
    space = OF_PAIRS if reads_pairs else SPACE
    torch.manual_seed(0)
    net = build_discriminator(settings, space).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter)
    conditions = CONDITIONS[:1].expand(8, -1) if reads_pairs else None
    ended, alive = torch.tensor([[1, END, PADDING]] * 8), torch.tensor([[1, PADDING, END]] * 8)
    logits = net(ended, sequence_mask(space, ended), conditions)
    other = torch.cat([ended[:, :2], torch.arange(8).unsqueeze(1)], 1)
    torch.testing.assert_close(net(other, sequence_mask(space, ended), conditions), logits, atol=1e-6, rtol=0)
    scores = net.scorer()(other, sequence_mask(space, other), conditions)
    torch.testing.assert_close(scores, logits, atol=1e-5, rtol=1e-5)
    # The padding id before an end is an ordinary token.
    assert not torch.allclose(net(alive, sequence_mask(space, alive), conditions), logits)
    if reads_pairs:
        behind = torch.tensor([[2, 4, 3]]).expand(8, -1)
        torch.testing.assert_close(net(ended, sequence_mask(space, ended), behind), logits, atol=1e-6, rtol=0)


def test_soft_rows_of_a_table_are_padded_as_its_tokens() -> None:
    net = build_discriminator(Tabular(), SPACE)
    torch.nn.init.normal_(net.table)
    tokens = random_sequences(SPACE, 30, seed=0)
    mask = sequence_mask(SPACE, tokens)
    rows = torch.nn.functional.one_hot(tokens, 8).float()
    torch.testing.assert_close(net(rows, mask), net(tokens, mask))


# ---------------------------------------------------------------------------------------- world and metrics


def test_environments_end_and_pad_as_the_space_says() -> None:
    seen: list[Tensor] = []

    def reward(tokens: Tensor, mask: Tensor) -> Tensor:
        seen.append(tokens)
        return mask.sum(1).float()

    env = TokenEnv(SPACE, reward)
    env.reset(seed=0)
    assert env.step(PADDING)[2] is False
    observation, value, terminated, truncated, _ = env.step(END)
    assert (value, terminated, truncated, observation.tolist()) == (2.0, True, False, [PADDING, END, 8])
    assert seen[-1].tolist() == [[PADDING, END, PADDING]]
    check_token_env(TokenEnv(SPACE, reward))
    check_token_vector_env(TokenVectorEnv(3, SPACE, reward))


def test_metrics_cut_at_the_end_and_know_the_unknown_token() -> None:
    tokens = torch.tensor([[1, UNK, END], [END, 5, 5], [0, END, 5], [1, 4, 6]])
    stripped = strip(SPACE, tokens)
    assert stripped == [(1, UNKNOWN), (), (0,), (1, 4, 6)]
    assert mean_length(stripped) == 1.5 and share_unfinished(SPACE, tokens) == 0.25
    # 1 stands there twice, and an unknown token is never known to differ.
    assert distinct(stripped, 1) == pytest.approx(4 / 6)
    # Of (1, 4) in a reference (1, 4, 6): precision 1, recall 2/3; an unknown token matches not even itself.
    reference = torch.tensor([[1, 4, 6], [UNK, END, PADDING]])
    written = torch.tensor([[1, 4, END], [UNK, END, PADDING]])
    assert reference_rouge_l(SPACE, written, reference).tolist() == pytest.approx([0.8, 0.0])
    assert reference_match(SPACE, reference, reference).tolist() == [1.0, 0.0]
    assert reference_bleu(SPACE, reference, reference)[1] < reference_bleu(SPACE, reference, reference)[0]


def test_tasks_write_the_end_and_then_the_padding() -> None:
    assert padded([[1, 2], [], [1, 2, 4]], SPACE).tolist() == [[1, 2, END], [END, 5, 5], [1, 2, 4]]
    numbering = Numbering()
    rows = numbering.rows(iter([["a", "b"], ["b"]]))
    table = np.array([6, 1], dtype=np.int32)
    assert filled(rows, table, SPACE).tolist() == [[6, 1, END], [1, END, 5]]
    drawn = uniform_conditions(SPACE, 50, seed=0)
    assert torch.equal(pad_after_end(SPACE, drawn), drawn)
    assert bool((drawn[:, 0] != END).all()) and bool((drawn == END).any())
    distribution = TabularOracle.random(SPACE, seed=0)
    assert float(distribution.probs().sum()) == pytest.approx(1.0)
    samples = distribution.sample(100, seed=1)
    assert torch.equal(pad_after_end(SPACE, samples), samples)
    assert bool(distribution.logprobs(samples).isfinite().all())


def test_a_kept_generator_keeps_its_ids_and_those_of_older_versions_are_read(tmp_path: Path) -> None:
    task = replace(build_task(ToyTask(vocab_size=8, max_length=3, ends=True)), space=SPACE)
    net = build_generator(GENERATORS["lstm"], SPACE)
    tensors = dict(net.state_dict())
    save_run_generator(tmp_path, GENERATORS["lstm"], task, tensors)
    assert load_run_generator(tmp_path).space == SPACE
    path = tmp_path / "generator.json"
    description = json.loads(path.read_text())
    del description["start_id"], description["padding_id"]
    path.write_text(json.dumps(description))
    assert load_run_generator(tmp_path).space == SequenceSpace(8, 3, end_id=END, unknown_id=UNK)
