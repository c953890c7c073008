"""What is searched: the paper's space, and what a YAML makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsegrad_cli.config import TRAINING_SETTINGS
from sparsegrad_cli.errors import InputError
from sparsegrad_cli.sweep.space import SEARCHABLE, STARTUP_TRIALS, Range, Space, read_space, startup_values


@pytest.fixture
def read(tmp_path: Path):
    def from_text(text: str) -> Space:
        path = tmp_path / "space.yaml"
        path.write_text(text, encoding="utf-8")
        return read_space(path)

    return from_text


def test_the_default_is_the_papers_space():
    assert read_space(None).parameters == {
        "learning_rate": Range(low=1e-6, high=1e-1, log=True),
        "batch_size": (8, 16, 32),
    }


def test_what_can_be_searched_can_be_given_to_finetune():
    assert set(SEARCHABLE) <= set(TRAINING_SETTINGS)


def test_a_file_adds_and_replaces(read):
    space = read(
        "batch_size: [64, 128]\ndensity: {low: 1e-3, high: 0.05, log: true}\nmask: [dynamic, block]\n"
    )
    assert space.parameters == {
        "learning_rate": Range(low=1e-6, high=1e-1, log=True),
        "batch_size": (64, 128),
        "density": Range(low=1e-3, high=0.05, log=True),
        "mask": ("dynamic", "block"),
    }
    assert Space.model_validate_json(space.model_dump_json()) == space


def test_numbers_that_yaml_reads_as_texts_are_numbers(read):
    assert read("learning_rate: [1e-4, 3e-5]").parameters["learning_rate"] == (1e-4, 3e-5)
    assert read("learning_rate: {low: 1e-5, high: 1e-3}").parameters["learning_rate"] == Range(
        low=1e-5, high=1e-3
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("learnin_rate: [1.0e-4]", "did you mean learning_rate?"),
        ("learning_rate: {low: 1.0e-3, high: 1.0e-5}", "low must be below high"),
        ("learning_rate: {low: 0, high: 1.0e-5, log: true}", "must be above 0"),
        ("learning_rate: {low: 1.0e-5, hihg: 1.0e-3}", "high: Field required"),
        ("batch_size: {low: 4.5, high: 8}", "whole number"),
        ("batch_size: [8, 8]", "different"),
        ("batch_size: []", "one value"),
        ("batch_size: [8.5]", "whole number"),
        ("mask: [dynamik]", "did you mean dynamic?"),
        ("mask: {low: 1, high: 2}", "not a number"),
        ("freeze_rest: [1, 0]", "true or false"),
        ("rank: [four]", "must be a whole number, got 'four'"),
        ("density: [0.01]\nkept: [100]", "density and kept"),
        ("[8, 16]", "not a mapping"),
        ("a: [", "not YAML"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(read, text, says):
    with pytest.raises(InputError, match=r"space\.yaml") as refused:
        read(text)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read: No such file"):
        read_space(tmp_path / "none.yaml")


@given(seed=st.integers(0, 10_000))
def test_the_first_trials_are_spread_over_the_whole_range(seed):
    space = Space(
        parameters={"learning_rate": Range(low=1e-6, high=1e-1, log=True), "rank": Range(low=2, high=9)}
    )
    values = startup_values(space, seed)
    rates = sorted(value["learning_rate"] for value in values)
    bounds = [1e-6 * 1e5 ** (i / STARTUP_TRIALS) for i in range(STARTUP_TRIALS + 1)]
    for rate, low, high in zip(rates, bounds[:-1], bounds[1:], strict=True):
        assert low * 0.999 <= rate <= high * 1.001
    assert all(isinstance(value["rank"], int) and 2 <= value["rank"] <= 9 for value in values)
    assert values == startup_values(space, seed)
