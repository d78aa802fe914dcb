"""Temperature, top-k and top-p: the distribution that tokens are drawn from, by enumeration."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rlgan.base.errors import ConfigError
from rlgan.envs.categorical import truncate_weights
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.testing import all_sequences
from rlgan.envs.transition import sequence_mask
from rlgan.generators import LSTM, Draw, Generator, LatentConv, Sampler, Samples, build_generator
from rlgan.sampling.environment import StepByStep
from rlgan.sampling.sampler import StepperSampler, sampler_of
from tests.support.errors import refused
from tests.support.tabular import TabularGenerator

FIXED = SequenceSpace(vocab_size=4, max_length=3)
ENDING = SequenceSpace(vocab_size=4, max_length=3, end_id=2, start_id=1)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def truncated_probs(probs: list[float], top_k: int | None, top_p: float | None) -> list[float]:
    """One token after another, as the definition says it."""
    left = sorted(range(len(probs)), key=lambda token: (-probs[token], token))[:top_k]
    total, reached, kept = sum(probs[token] for token in left), 0.0, []
    for token in left:
        if top_p is not None and kept and reached >= top_p * total:
            break
        kept.append(token)
        reached += probs[token]
    return [probs[token] / reached if token in kept else 0.0 for token in range(len(probs))]


@pytest.mark.parametrize(
    ("top_k", "top_p", "expected"),
    [
        (None, None, [8, 4, 4, 2, 2]),
        (1, None, [8, 0, 0, 0, 0]),
        (2, None, [8, 4, 0, 0, 0]),  # of equals the lower id
        (4, None, [8, 4, 4, 2, 0]),
        (9, None, [8, 4, 4, 2, 2]),
        (None, 0.4, [8, 0, 0, 0, 0]),  # 8 of 20 is exactly 0.4
        (None, 0.41, [8, 4, 0, 0, 0]),
        (None, 1e-9, [8, 0, 0, 0, 0]),
        (None, 0.95, [8, 4, 4, 2, 2]),
        (None, 1.0, [8, 4, 4, 2, 2]),
        # Top-k first: of 8 + 4 + 4, 0.75 is reached by 8 + 4; of all 20 it would take 8 + 4 + 4.
        (3, 0.75, [8, 4, 0, 0, 0]),
        (None, 0.75, [8, 4, 4, 0, 0]),
    ],
)
def test_which_tokens_are_kept_by_hand(top_k: int | None, top_p: float | None, expected: list[float]) -> None:
    weights = torch.tensor([[8.0, 4.0, 4.0, 2.0, 2.0]])
    assert truncate_weights(weights, top_k, top_p).tolist() == [expected]
    assert weights.tolist() == [[8.0, 4.0, 4.0, 2.0, 2.0]]


def test_of_equals_the_lower_id_is_kept_wherever_they_stand() -> None:
    assert truncate_weights(torch.tensor([[2.0, 4.0, 8.0, 4.0]]), 2, None).tolist() == [[0, 4, 8, 0]]
    assert truncate_weights(torch.ones(1, 64), 3, None)[0].nonzero().flatten().tolist() == [0, 1, 2]
    assert truncate_weights(torch.ones(1, 64), None, 0.5)[0].nonzero().flatten().tolist() == list(range(32))


def test_a_token_that_is_certain_is_kept_alone() -> None:
    weights = torch.zeros(2, 64)
    weights[0, 5], weights[1, 63] = 3.0, 1e-30
    for top_k, top_p in ((1, None), (7, 0.5), (None, 0.999)):
        assert torch.equal(truncate_weights(weights, top_k, top_p), weights)


DRAWS = [
    Draw(),
    Draw(temperature=0.6),
    Draw(top_k=2),
    Draw(top_p=0.7),
    Draw(1.7, top_k=3, top_p=0.8),
    Draw(0.8, 1),
    Draw(2.0, None, 0.35),
]


@pytest.mark.parametrize("space", [FIXED, ENDING], ids=["fixed length", "ending early"])
@pytest.mark.parametrize("draw", DRAWS, ids=str)
@torch.no_grad()
def test_sequences_are_drawn_from_the_truncated_distribution_which_their_logprobs_are_of(
    draw: Draw, space: SequenceSpace
) -> None:
    table = TabularGenerator(space)
    number = 20_000
    samples = sampler_of(table, space, draw, chunk_rows=7_000).sample(number, rng())
    sequences = all_sequences(space)
    logprobs = torch.full(sequences.shape, 0.0)
    for row, tokens in enumerate(sequences):
        for position in range(space.max_length):
            logits = table.logits(tokens.unsqueeze(0))[0, position].double() / draw.temperature
            probs = truncated_probs(logits.softmax(0).tolist(), draw.top_k, draw.top_p)
            logprobs[row, position] = torch.tensor(probs[int(tokens[position])]).log()
    mask = sequence_mask(space, sequences)
    probs = logprobs.masked_fill(~mask, 0.0).double().sum(1).exp()
    assert float(probs.sum()) == pytest.approx(1.0, abs=1e-5)

    matches = (samples.tokens.unsqueeze(1) == sequences).all(2)
    counts = matches.sum(0)
    assert int(counts.sum()) == number and not bool(counts[probs == 0].any())
    deviation = (counts - number * probs).abs() / (number * probs * (1 - probs)).sqrt().clamp_min(1e-9)
    assert _greatest(deviation, probs) < 4
    which = matches.int().argmax(1)
    expected = logprobs.masked_fill(~mask, 0.0)[which]
    torch.testing.assert_close(samples.logprobs, expected, atol=1e-5, rtol=0)


def _greatest(deviation: Tensor, probs: Tensor) -> float:
    uncertain = deviation[(probs > 0) & (probs < 1 - 1e-9)]
    return float(uncertain.max()) if len(uncertain) else 0.0


def test_continuations_are_drawn_from_it_too() -> None:
    table, tokens = TabularGenerator(FIXED), torch.tensor([[1, 0, 3]])
    sampler = sampler_of(table, FIXED, Draw(top_k=1))
    for part in sampler.continuations(tokens, 20, rng()):
        for row, position in zip(part.tokens, part.position, strict=True):
            for at in range(int(position) + 1, 3):
                assert row[at] == table.logits(row.unsqueeze(0))[0, at].argmax()


def test_a_sampler_without_truncation_is_the_plain_one_to_the_bit() -> None:
    torch.manual_seed(0)
    net = build_generator(LSTM(embedding=4, hidden=5, init_std=1.0), ENDING).eval()
    plain = StepperSampler(net.stepper(0.7), ENDING).sample(50, rng())
    for draw in (Draw(0.7), Draw(0.7, top_p=1.0), Draw(0.7, top_k=4), Draw(0.7, top_k=64, top_p=1.0)):
        found = sampler_of(net, ENDING, draw).sample(50, rng())
        assert torch.equal(found.tokens, plain.tokens) and torch.equal(found.logprobs, plain.logprobs)


@pytest.mark.parametrize(
    ("values", "described"),
    [
        ({"temperature": 0.0}, "temperature: temperature=0"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("inf")}, "temperature: temperature=inf"),
        ({"temperature": float("nan")}, "temperature: temperature=nan"),
        ({"top_k": 0}, "top_k: top_k=0"),
        ({"top_k": -3}, "top_k"),
        ({"top_p": 0.0}, "top_p: top_p=0"),
        ({"top_p": -0.1}, "top_p"),
        ({"top_p": 1.1}, "top_p: top_p=1"),
        ({"top_p": float("nan")}, "top_p: top_p=nan"),
    ],
)
def test_values_out_of_range_are_refused_by_name(values: dict[str, Any], described: str) -> None:
    with refused(ConfigError, described):
        Draw(**values)


def test_a_generator_that_draws_no_tokens_cannot_draw_them_in_another_way() -> None:
    net = build_generator(LatentConv(latent=3, width=4, blocks=1, window=3), FIXED)
    assert sampler_of(net, FIXED, Draw(top_p=1.0)).sample(2, rng()).tokens.shape == (2, 3)
    for draw, described in (
        (Draw(top_k=2), "top_k=2"),
        (Draw(top_p=0.5), r"top_p=0\.5"),
        (Draw(0.5), r"temperature=0\.5"),
    ):
        with pytest.raises(ConfigError, match=described):
            sampler_of(net, FIXED, draw)


def test_a_generator_with_a_sampler_of_its_own_is_asked_for_nothing_else() -> None:
    asked: list[Any] = []

    class Own(Sampler):
        def sample(self, num_sequences: int, rng: torch.Generator, *rest: Any, **named: Any) -> Samples:
            tokens = torch.full((num_sequences, 3), 1)
            return Samples(tokens, torch.zeros(num_sequences, 3), torch.ones_like(tokens, dtype=torch.bool))

    class Whole(Generator):
        has_likelihood = False

        def own_sampler(self, space: SequenceSpace, draw: Draw, chunk_rows: int) -> Sampler:
            asked.append((space, draw, chunk_rows))
            return Own()

        def stepper(self, temperature: float = 1.0) -> Any:
            raise AssertionError("it has a sampler of its own")

        def conditional(self, conditions: Tensor | None) -> Any:
            raise AssertionError("nobody asks how likely anything is")

    sampler = sampler_of(Whole(), FIXED, Draw(0.5, 3), 17)
    assert asked == [(FIXED, Draw(0.5, 3), 17)]
    assert sampler.sample(2, rng()).tokens.tolist() == [[1, 1, 1]] * 2
    with refused(ConfigError, "sampling_not_stepwise"):
        sampler_of(Whole(), FIXED, writer=StepByStep())
