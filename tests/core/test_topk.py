"""The entries that are kept: exactly the largest, however they were found."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsegrad_cli.core import kept_entries
from sparsegrad_cli.core.topk import leading_block, random_entries, top_k, top_k_rows

SHAPE = (320, 256)  # large enough to be sampled


def test_top_k_are_the_largest_in_magnitude():
    G = torch.tensor([[1.0, -7, 2], [0, 3, -4]])
    assert sorted(top_k(G, 3).tolist()) == [1, 4, 5]


@pytest.mark.parametrize("kept", [1, 7, 819, 8192, 20480, 81920])
@pytest.mark.parametrize("spread", ["normal", "heavy", "leading", "few"])
def test_a_sampled_threshold_finds_the_same_entries_as_a_sort(kept, spread):
    torch.manual_seed(kept)
    G = torch.randn(SHAPE)
    if spread == "heavy":
        G = G**7
    if spread == "leading":
        G[:, 4:] *= 1e-3
    if spread == "few":
        G *= torch.rand(SHAPE) < 0.001  # fewer entries than are kept
    found = top_k(G, kept)
    assert len(found.unique()) == kept
    largest = G.abs().flatten().topk(kept).values
    torch.testing.assert_close(G.abs().flatten()[found].sort(descending=True).values, largest, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(64, 64), SHAPE, (263, 251)])
def test_what_is_no_number_is_kept_first_so_that_it_shows(shape):
    G = torch.randn(shape)
    G[1, 2] = G[3, 0] = float("nan")
    found = top_k(G, 20)
    assert {shape[1] + 2, 3 * shape[1]} < set(found.tolist())
    assert set(found.tolist()) == set(G.nan_to_num(100).abs().flatten().topk(20).indices.tolist())


def test_each_row_of_a_batch_has_its_own():
    G = torch.randn(3, 320 * 256, generator=torch.Generator().manual_seed(0))
    for row, found in zip(G, top_k_rows(G, 500), strict=True):
        assert sorted(found.tolist()) == sorted(row.abs().topk(500).indices.tolist())


def test_random_entries_are_distinct_and_known_by_their_seed():
    found = random_entries(1000, 90, seed=3)
    assert len(found.unique()) == 90
    assert 0 <= found.min() <= found.max() < 1000
    assert torch.equal(found, random_entries(1000, 90, seed=3))
    assert not torch.equal(found, random_entries(1000, 90, seed=4))


def test_more_entries_than_a_truncated_basis_has_are_refused():
    assert kept_entries((20, 8), kept=30, rank=(5, 6)) == 30
    for given_ in ({"kept": 31}, {"density": 0.5}):
        with pytest.raises(ValueError, match="cannot be kept in a basis truncated to 5 x 6"):
            kept_entries((20, 8), **given_, rank=(5, 6))


def test_equal_magnitudes_are_kept_up_to_the_number():
    G = torch.ones(SHAPE)
    assert len(top_k(G, 800).unique()) == 800


@given(O=st.integers(1, 6), I=st.integers(1, 6), data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_leading_block_of_the_size_holds_more_energy(O, I, data):
    kept = data.draw(st.integers(1, O * I))
    energy = torch.rand(O, I)
    r, c = leading_block(energy, kept)
    assert r * c <= kept
    best = max(
        energy[:i, :j].double().sum() for i in range(1, O + 1) for j in range(1, I + 1) if i * j <= kept
    )
    assert energy[:r, :c].double().sum() == pytest.approx(best.item())
