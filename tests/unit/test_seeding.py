"""Named streams: what they depend on, and that they leave everything else alone."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from rlgan.base.seeding import global_stream, stream, stream_seed
from rlgan.base.threads import torch_threads


def test_seed_of_a_stream_is_the_same_on_every_machine_and_for_ever() -> None:
    # First 8 bytes of SHA-256 of "0/rollouts/3/1", halved: saved runs are resumed with these numbers.
    assert stream_seed(0, "rollouts", 3, 1) == 8182659840275226298
    assert torch.rand(1, generator=stream(0, "rollouts", 3, 1)).item() == 0.8577585816383362


def test_streams_differ_in_seed_and_in_every_part_of_their_purpose() -> None:
    purposes = [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "a"), (0, "a", 1, 1), (0, "a", 11)]
    assert len({stream_seed(*purpose) for purpose in purposes}) == len(purposes)


@given(st.integers(0, 2**63 - 1), st.text(max_size=5), st.integers(0, 10**9))
def test_any_seed_can_seed_torch(seed: int, name: str, number: int) -> None:
    assert 0 <= stream_seed(seed, name, number) < 2**63
    stream(seed, name, number)


def test_a_stream_does_not_depend_on_draws_from_others() -> None:
    expected = torch.rand(3, generator=stream(7, "a"))
    torch.rand(100)
    torch.rand(100, generator=stream(7, "b"))
    assert torch.equal(torch.rand(3, generator=stream(7, "a")), expected)


def test_global_stream_seeds_the_block_and_restores_what_was_before() -> None:
    torch.manual_seed(5)
    undisturbed = torch.rand(4)
    torch.manual_seed(5)
    first = torch.rand(2)
    with global_stream(0, "initial"):
        inside = torch.rand(3)
    second = torch.rand(2)
    assert torch.equal(torch.cat([first, second]), undisturbed)
    torch.rand(1)
    with global_stream(0, "initial"):
        assert torch.equal(torch.rand(3), inside)


def test_threads_are_set_inside_and_restored_after_an_error_too() -> None:
    before = torch.get_num_threads()
    try:
        with torch_threads(before + 1):
            assert torch.get_num_threads() == before + 1
            raise RuntimeError
    except RuntimeError:
        pass
    assert torch.get_num_threads() == before
