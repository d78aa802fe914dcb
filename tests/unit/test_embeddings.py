"""Embeddings that begin as the vectors of a file: reading it, and what networks make of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rlgan.adversary.minibatches import Pairs
from rlgan.adversary.settings import AdversarySettings
from rlgan.adversary.training import Adversary, Round
from rlgan.base.errors import DataError
from rlgan.base.weights import load_weights, weights_of
from rlgan.discriminators import CausalLSTM, build_discriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import Task
from rlgan.envs.testing import random_sequences
from rlgan.generators import LSTM, LSTMGenerator, build_generator
from rlgan.layers.embeddings import (
    NoPretrained,
    PretrainedEmbedding,
    TokenVectors,
    WordVectors,
    fill_missing,
    load_pretrained,
    read_start,
    read_word_vectors,
    token_ids,
)
from rlgan.layers.optimizers import Adam
from tests.support.errors import refused

IDS = {"<unk>": 1, "cat": 2, "dog": 3, "owl": 4}
SPACE = SequenceSpace(5, 4, end_id=0)
TABLE = torch.arange(15.0).reshape(5, 3) / 10
TASK = Task(
    "text",
    SPACE,
    *(random_sequences(SPACE, 8, seed=seed) for seed in range(3)),
    ("<end>", "<unk>", "cat", "dog", "owl"),
)
SETTINGS = WordVectors(path="gone.txt", dimension=3)
FROZEN = SETTINGS.model_copy(update={"freeze": True})


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str | bytes], str]:
    def write(content: str | bytes) -> str:
        path = tmp_path / "vectors.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


# ------------------------------------------------------------------------------------------------ reading


@pytest.mark.parametrize("header", ["", "5 3\n"])
def test_rows_are_those_of_the_file_and_zero_elsewhere(written: Callable[[str], str], header: str) -> None:
    # Words with blanks in them, as some public files have, are not the words that they begin with.
    text = header + "dog 1 -2.5 3e-1 \r\nbird 7 8 9\n. . . 4 5 6\ncat . 4 5 6\n<unk> .5 0 -0\n"
    vectors = read_word_vectors(written(text), 3, IDS, 5)
    assert vectors.is_found.tolist() == [False, True, False, True, False]
    expected = [[0, 0, 0], [0.5, 0, 0], [0, 0, 0], [1, -2.5, 0.3], [0, 0, 0]]
    assert torch.equal(vectors.table, torch.tensor(expected))


def test_words_are_compared_as_utf_8(written: Callable[[str | bytes], str]) -> None:
    path = written("größe 1 2\nnaïve 3 4\n".encode() + b"\xff\xfe 5 6\n")
    assert read_word_vectors(path, 2, {"naïve": 1, "grosse": 0}, 2).table.tolist() == [[0, 0], [3, 4]]


@pytest.mark.parametrize(
    ("content", "described"),
    [
        ("", "contains no vectors"),
        ("7 3\n", "contains no vectors"),
        ("a word\n", "line 1: is not a word followed by numbers"),
        ("cat 1 2\n", "its vectors have dimension 2, but pretrained.dimension is 3. Set pretrained.dimension to 2"),
        ("a cat sat on a mat\n", "line 1: is not a word followed by numbers ('a cat sat on a mat')"),
        ("9 300\ncat 1 2 3\n", "its vectors have dimension 300"),
        ("cat 1 2 3\ndog 1 2\n", "line 2: has 2 numbers after the word, but the lines before have 3"),
        ("cat 1 2 3\nbird 1 2 3 4\n", "line 2: has 4 numbers after the word"),
        ("cat 1 2 3\n\ndog 1 2 3\n", "line 2: has 0 numbers"),
        ("cat 1 2 3\ndog 1 two 3\n", "line 2: 'two' is not a number"),
        ("cat 1 nan 3\n", "line 1: nan is not finite"),
        ("cat 1 2 -inf\n", "line 1: -inf is not finite"),
        ("cat 1 1e39 3\n", "line 1: 1e39 is not finite"),
        ("cat 1 2 3\nbird 1 2 3\nbird 4 5 6\ncat 4 5 6\n", "line 4: the word 'cat' already appears in line 1"),
        ("3 3\ncat 1 2 3\nbird 4 5 6\n", "its first line announces 3 vectors, but the file has 2"),
        ("1 3\ncat 1 2 3\nbird 4 5 6\n", "its first line announces 1 vectors, but the file has 2"),
    ],
)
def test_wrong_files_are_refused_by_name_and_line(written: Callable[[str], str], content: str, described: str) -> None:
    path = written(content)
    with pytest.raises(DataError) as raised:
        read_word_vectors(path, 3, IDS, 5)
    assert str(raised.value).startswith(path) and described in str(raised.value)


def test_a_file_that_is_not_there_is_told_with_its_neighbour(written: Callable[[str], str], tmp_path: Path) -> None:
    written("cat 1 2 3\n")
    with refused(DataError, "vectors_no_such_file", match=r"vector\.txt.*Did you mean 'vectors\.txt'"):
        read_word_vectors(str(tmp_path / "vector.txt"), 3, IDS, 5)
    with refused(DataError, "vectors_no_regular_file"):
        read_word_vectors(str(tmp_path), 3, IDS, 5)


def test_the_terminator_has_no_word_and_the_word_end_is_a_token() -> None:
    names = ("<end>", "<unk>", "cat", "<end>", "owl")
    assert token_ids(Task("text", SPACE, TASK.train, TASK.valid, TASK.test, names)) == {
        "<unk>": 1,
        "cat": 2,
        "<end>": 3,
        "owl": 4,
    }


def test_what_is_missing_is_as_large_as_what_was_found() -> None:
    is_found = torch.arange(4000) % 4 == 0
    table = torch.where(is_found.unsqueeze(1), 3.0, 0.0).expand(4000, 6).contiguous()
    table[is_found, :3] = -5.0  # mean square (9 + 25) / 2
    filled = fill_missing(TokenVectors(table, is_found), torch.Generator().manual_seed(0))
    assert torch.equal(filled[is_found], table[is_found])
    drawn = filled[~is_found]
    # 18,000 numbers: standard errors of 0.03 and 0.02.
    assert abs(float(drawn.mean())) < 0.13 and abs(float(drawn.std()) - 17**0.5) < 0.1


def test_a_start_tells_its_share_and_draws_apart(written: Callable[[str], str]) -> None:
    settings = WordVectors(path=written("cat 1 2 3\nowl 4 5 6\n"), dimension=3)
    start = read_start({"generator": settings, "discriminator": settings}, TASK, seed=1)
    assert "vectors for 2 of 4 tokens (50.0%)" in start.notes[0] and start.notes[1].startswith("discriminator: ")
    one, other = start.tables["generator"], start.tables["discriminator"]
    assert torch.equal(one[[2, 4]], torch.tensor([[1.0, 2, 3], [4, 5, 6]])) and torch.equal(one[[2, 4]], other[[2, 4]])
    assert not torch.equal(one[0], other[0])
    assert torch.equal(one, read_start({"generator": settings}, TASK, seed=1).tables["generator"])


def test_a_file_without_any_of_the_tokens_is_the_wrong_file(written: Callable[[str], str]) -> None:
    with refused(DataError, "vectors_no_token"):
        read_start({"generator": WordVectors(path=written("bird 1 2 3\n"), dimension=3)}, TASK, seed=1)


# ------------------------------------------------------------------------------------------------ networks


def generator(**settings: object) -> LSTMGenerator:
    torch.manual_seed(0)
    built = build_generator(
        LSTM(**{"embedding": 2, "hidden": 4, "init_std": 1.0, "pretrained": SETTINGS} | settings), SPACE
    )
    assert isinstance(built, LSTMGenerator)
    load_pretrained(built, TABLE)
    return built


def test_the_table_is_the_file_s_beside_the_network_s_own() -> None:
    net = generator().embedding
    assert isinstance(net, PretrainedEmbedding)
    assert torch.equal(net.weight[:, :3], TABLE) and torch.equal(net.weight[:, 3:], net.own.weight)
    tokens = torch.tensor([[3, 0], [4, 3]])
    assert torch.equal(net(tokens), net.weight[tokens])


def test_members_have_copies_of_their_own() -> None:
    ensemble = build_discriminator(CausalLSTM(embedding=2, hidden=4, members=2, pretrained=SETTINGS), SPACE)
    load_pretrained(ensemble, TABLE)
    one, other = (part.embedding for part in ensemble.parts())
    assert torch.equal(one.pretrained, TABLE) and torch.equal(other.pretrained, TABLE)
    one.pretrained.data.zero_()
    assert torch.equal(other.pretrained, TABLE)


def test_nobody_trains_on_a_table_that_was_forgotten() -> None:
    for settings in (SETTINGS, FROZEN):
        net = LSTMGenerator(LSTM(pretrained=settings), TASK.space)
        assert net.logprobs(TASK.train).isnan().all()


@torch.no_grad()
@pytest.mark.parametrize("pretrained", [NoPretrained(), SETTINGS, FROZEN], ids=["none", "trained", "frozen"])
@pytest.mark.parametrize("layers", [{"layers": 1}, {"layers": 2}, {"layers": 3, "output_layers": "all"}], ids=str)
@pytest.mark.parametrize("tied", [False, True])
def test_all_readings_are_the_same_distribution(pretrained: object, layers: dict[str, object], tied: bool) -> None:
    net = generator(pretrained=pretrained, tied=tied, **layers)
    tokens = random_sequences(SPACE, 6, seed=0)
    expected = torch.log_softmax(net.logits(tokens), dim=2)
    for temperature in (1.0, 0.5):
        logprobs = torch.log_softmax(net.logits(tokens) / temperature, dim=2).gather(2, tokens.unsqueeze(2)).squeeze(2)
        torch.testing.assert_close(net.logprobs(tokens, temperature), logprobs)
    stepper = net.stepper()
    state = stepper.start(6)
    for position in range(4):
        weights = stepper.weights(state)[:, :5]
        torch.testing.assert_close((weights / weights.sum(1, keepdim=True)).log(), expected[:, position])
        state = stepper.advance(state, tokens[:, position])
    # Hard rows are the tokens that were drawn, and each is the best of logits and noise.
    noise = torch.randn(6, 4, 5)
    rows, drawn = net.relaxed(noise, 0.7, straight_through=True)
    assert torch.equal(rows.argmax(2), drawn)
    assert torch.equal((net.logits(drawn) + noise).argmax(2), drawn)


@torch.no_grad()
def test_the_output_layer_reads_all_layers_side_by_side() -> None:
    net = generator(layers=2, output_layers="all", pretrained=NoPretrained())
    inputs = random_sequences(SPACE, 3, seed=0)
    first, _ = net.lstm.layers[0](net.embedding(inputs))
    second, _ = net.lstm.layers[1](first)
    torch.testing.assert_close(net(inputs), torch.cat([first, second], 2) @ net.output.weight.T + net.output.bias)


def test_all_of_one_layer_is_refused() -> None:
    with refused(ValueError, "output_layers_of_one"):
        LSTM(output_layers="all")


@torch.no_grad()
def test_dropout_between_layers_side_by_side() -> None:
    net = generator(layers=2, output_layers="all", dropout=0.5, hidden=400).train()
    embedded = torch.randn(1, 1, 5)
    torch.manual_seed(1)
    outputs = net.lstm(embedded)[0]
    net.use_dropout(False)
    whole = net.lstm(embedded)[0]
    assert torch.equal(outputs[..., :400], whole[..., :400]) and not torch.equal(outputs[..., 400:], whole[..., 400:])
    torch.manual_seed(1)
    read = torch.nn.functional.dropout(whole[..., :400], 0.5, True)
    assert torch.equal(outputs[..., 400:], net.lstm.layers[1](read)[0])


def test_tied_is_the_whole_table_behind_a_projection_and_learns_from_both_ends() -> None:
    net = generator(tied=True)
    tokens = random_sequences(SPACE, 6, seed=0)
    features, _ = net.lstm(net.embedding(tokens))
    projected = net.projection(features)
    assert projected.shape[2] == 5
    torch.testing.assert_close(net(tokens), projected @ net.embedding.weight.T + net.output.bias)
    (projected.detach() @ net.output_weight.T).sum().backward()
    assert net.embedding.pretrained.grad.abs().min() > 0 and net.embedding.own.weight.grad.abs().min() > 0


@pytest.mark.parametrize("tied", [False, True])
def test_frozen_columns_are_weights_and_no_parameters(tied: bool) -> None:
    frozen, trained = generator(pretrained=FROZEN, tied=tied), generator(tied=tied)
    names = {name for name, _ in trained.named_parameters()}
    assert {name for name, _ in frozen.named_parameters()} == names - {"embedding.pretrained"}
    assert ("output.weight" in names) is not tied  # what nobody reads would be decayed and sent about
    assert frozen.state_dict().keys() == trained.state_dict().keys() and "embedding.pretrained" in frozen.state_dict()
    fresh = LSTMGenerator(LSTM(embedding=2, hidden=4, tied=tied, pretrained=FROZEN), TASK.space)
    load_weights(fresh, weights_of(frozen, 0).complete)
    assert torch.equal(fresh.logits(TASK.train), frozen.logits(TASK.train))


def test_a_discriminator_reads_soft_rows_of_both_tables_and_its_scorer_agrees() -> None:
    net = build_discriminator(CausalLSTM(embedding=2, hidden=4, pretrained=FROZEN), SPACE).eval()
    load_pretrained(net, TABLE)
    tokens, mask = TASK.train, torch.ones(8, 4, dtype=torch.bool)
    logits = net(tokens, mask)
    torch.testing.assert_close(net(torch.nn.functional.one_hot(tokens, 5).float(), mask), logits)
    assert torch.equal(net.scorer()(tokens, mask), logits)
    other = build_discriminator(CausalLSTM(embedding=2, hidden=4, pretrained=FROZEN), SPACE).eval()
    assert torch.equal(load_weights(other, weights_of(net, 0).complete)(tokens, mask), logits)


def trained_adversary(settings: WordVectors) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights of a discriminator before and after a round with everything on that moves weights."""
    adversary = Adversary(
        CausalLSTM(embedding=2, hidden=4, pretrained=settings),
        AdversarySettings(batch=4, sequences_per_round=8, l2_all=0.1, weight_clip=0.9),
        Adam(lr=0.01, weight_decay=0.1, clip_norm=0.5, clip_value=0.1),
        SPACE,
        Pairs(TASK.train),
        Pairs(TASK.valid),
        seed=0,
        pretrained=TABLE,
    )
    before = adversary.state()["weights"]
    adversary.train_round(Round(0, TASK.test, epochs=2))
    return before, adversary.state()["weights"]


def test_a_frozen_table_stands_still_while_everything_else_of_the_discriminator_moves() -> None:
    before, after = trained_adversary(FROZEN)
    assert torch.equal(after["embedding.pretrained"], TABLE)
    assert all((before[name] != after[name]).any() for name in before if name != "embedding.pretrained")


def test_a_table_that_is_not_frozen_begins_as_the_file_s_and_moves() -> None:
    before, after = trained_adversary(SETTINGS)
    assert torch.equal(before["embedding.pretrained"], TABLE)
    assert (after["embedding.pretrained"] != TABLE).any()
    assert float(after["embedding.pretrained"].max()) <= 0.9  # the clip of weights is for this table, too
