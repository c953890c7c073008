"""The entries that are kept: exactly the largest, however they were found."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsegrad_cli.core import leading_block, selection, top_entries
from sparsegrad_cli.core.rows import live_rows, pick, put

SHAPE = (320, 256)  # large enough to be sampled


def test_top_entries_are_the_largest_in_magnitude():
    G = torch.tensor([[1.0, -7, 2], [0, 3, -4]])
    assert sorted(top_entries(G, 3).tolist()) == [1, 4, 5]


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
    found = top_entries(G, kept)
    assert len(found.unique()) == kept
    largest = G.abs().flatten().topk(kept).values
    torch.testing.assert_close(G.abs().flatten()[found].sort(descending=True).values, largest, rtol=0, atol=0)


def test_the_sample_is_used_where_it_should_be():
    torch.manual_seed(0)
    size = torch.randn(SHAPE).abs().flatten()
    likely = selection._above_a_sampled_threshold(size, 819)
    assert likely is not None
    assert 819 <= len(likely) < 2 * 819


def test_equal_magnitudes_are_kept_up_to_the_number():
    G = torch.ones(SHAPE)
    assert len(top_entries(G, 800).unique()) == 800


@given(tokens=st.integers(1, 30), columns=st.integers(1, 40), data=st.data())
@settings(max_examples=60, deadline=None)
def test_rows_that_are_left_out_are_zero_and_come_back_as_zero(tokens, columns, data):
    alive = torch.tensor(data.draw(st.lists(st.booleans(), min_size=tokens, max_size=tokens)))
    A = torch.zeros(tokens, columns)
    where = torch.randint(columns, (tokens,))
    A[torch.arange(tokens), where] = alive.float()  # one entry, maybe beyond the probed columns
    rows = live_rows(A)
    assert torch.equal(put(pick(A, rows), rows, torch.Size([tokens])), A)
    if int(alive.sum()) <= 0.9 * tokens:
        assert rows is not None
        assert len(rows) == int(alive.sum())


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
