"""Hyperparameters in a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.training.choices import Choices
from sparsegrad_cli.training.params import read_params

from ..cells import write_cola
from ..checkpoints import tiny_checkpoint

ENTRY = (
    "- {{model: {model}, task: cola, method: {method}, params: {params}, "
    "study: abcdef0123, trials: 9, select_on: dev}}\n"
)
LORA = "{learning_rate: 1.0e-3, batch_size: 8, rank: 5}"
SPARSEGRAD = "{learning_rate: 2e-4, batch_size: 32, density: 0.03}"


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> Choices:
    folder = tmp_path_factory.mktemp("inputs")
    return Choices(
        model=str(tiny_checkpoint(folder / "model", "bert")),
        task="cola",
        data=str(write_cola(folder / "glue")),
        methods=["lora", "sparsegrad"],
        length=24,
    )


@pytest.fixture
def write(tmp_path: Path):
    def params(text: str) -> Path:
        path = tmp_path / "params.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return params


def test_each_method_gets_its_own_and_options_go_before_them(choices, write):
    text = ENTRY.format(
        model=choices.model, method="lora", params="{learning_rate: 1.0e-3, batch_size: 8, rank: 5}"
    )
    text += ENTRY.format(
        model=choices.model,
        method="sparsegrad",
        params="{learning_rate: 2e-4, batch_size: 32, density: 0.03}",
    )
    asked = dataclasses.replace(choices, batch_size=4, kept=7)
    lora, sparsegrad = read_params(write(text)).plans(asked)
    assert (lora.configs[0].learning_rate, lora.configs[0].batch_size, lora.configs[0].rank) == (1e-3, 4, 5)
    run = sparsegrad.configs[0]
    assert (run.learning_rate, run.batch_size, run.kept, run.density) == (2e-4, 4, 7, None)
    assert sparsegrad.hyperparameters.source == "sweep abcdef01, best of 9 on dev"


def test_a_plain_mapping_is_for_every_method(choices, write):
    plans = read_params(write("learning_rate: 3e-4\nrank: 2\n")).plans(choices)
    assert [plan.configs[0].learning_rate for plan in plans] == [3e-4, 3e-4]
    assert [plan.configs[0].rank for plan in plans] == [2, None]
    assert {plan.hyperparameters.source for plan in plans} == {"params params.yaml"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("learning_rat: 1.0e-3", "learning_rat: Extra inputs are not permitted"),
        ("batch_size: many", "batch_size: Input should be a valid integer"),
        ("- {model: m, task: cola}", "0.method: Field required"),
        ("just words", "neither a sweep's best.yaml nor a mapping"),
        ("a: [", "no YAML"),
        ("- {model: roberta-base, task: cola, method: lora, params: {}}", "it has roberta-base cola lora"),
        ("sparse_learning_rate: -1", "--sparse-learning-rate must be above 0"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(choices, write, text, says):
    with pytest.raises(InputError) as refused:
        read_params(write(text)).plans(choices)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_option_that_says_no_goes_before_the_file_too(choices, write):
    params = read_params(write("freeze_rest: true\n"))
    asked = dataclasses.replace(choices, methods=["lora"])
    for given, frozen in ((None, True), (False, False)):
        (plan,) = params.plans(dataclasses.replace(asked, freeze_rest=given))
        assert plan.configs[0].freeze_rest is frozen


def test_two_sets_for_one_cell_are_refused(choices, write):
    entry = ENTRY.format(model=choices.model, method="lora", params="{learning_rate: 1.0e-3}")
    with pytest.raises(InputError, match=r"2 sets of parameters .*; name the best\.yaml of one study"):
        read_params(write(entry + entry)).plans(dataclasses.replace(choices, methods=["lora"]))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: No such file"):
        read_params(tmp_path / "none.yaml")
