"""Hyperparameters in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsegrad_cli.config import RunConfig
from sparsegrad_cli.errors import InputError
from sparsegrad_cli.training.params import read_params
from sparsegrad_cli.training.resolve import resolve

from ..checkpoints import tiny_checkpoint
from ..planned import write_cola

ENTRY = (
    "- {{model: {model}, task: cola, method: {method}, params: {params}, "
    "study: abcdef0123, trials: 9, select_on: dev}}\n"
)
LORA = "{learning_rate: 1.0e-3, batch_size: 8, rank: 5}"
SPARSEGRAD = "{learning_rate: 2e-4, batch_size: 32, density: 0.03}"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("inputs")
    return {
        "model": str(tiny_checkpoint(folder / "model", "bert")),
        "task": "cola",
        "data": str(write_cola(folder / "glue")),
        "length": 24,
    }


def runs(given: dict[str, object], params: Path, *methods: str) -> list[RunConfig]:
    return resolve(given, methods, params=read_params(params))[0]


@pytest.fixture
def write(tmp_path: Path):
    def params(text: str) -> Path:
        path = tmp_path / "params.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return params


def test_each_method_gets_its_own_and_options_go_before_them(given, write):
    text = ENTRY.format(model=given["model"], method="lora", params=LORA)
    text += ENTRY.format(model=given["model"], method="sparsegrad", params=SPARSEGRAD)
    lora, sparsegrad = runs({**given, "batch_size": 4, "kept": 7}, write(text), "lora", "sparsegrad")
    assert (lora.learning_rate, lora.batch_size, lora.rank) == (1e-3, 4, 5)
    assert (sparsegrad.learning_rate, sparsegrad.batch_size) == (2e-4, 4)
    assert (sparsegrad.kept, sparsegrad.density) == (7, None)
    assert sparsegrad.hyperparameters_from == "sweep abcdef01, best of 9 on dev"


def test_a_plain_mapping_is_for_every_method(given, write):
    found = runs(given, write("learning_rate: 3e-4\nrank: 2\n"), "lora", "sparsegrad")
    assert [config.learning_rate for config in found] == [3e-4, 3e-4]
    assert [config.rank for config in found] == [2, None]
    assert {config.hyperparameters_from for config in found} == {"params params.yaml"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("learning_rat: 1.0e-3", "did you mean learning_rate?"),
        ("batch_size: many", "--batch-size must be a whole number, got 'many'"),
        ("- {model: m, task: cola}", "0.method: Field required"),
        ("just words", "neither a sweep's best.yaml nor a mapping"),
        ("a: [", "not YAML"),
        ("- {model: roberta-base, task: cola, method: lora, params: {}}", "it has roberta-base cola lora"),
        ("sparse_learning_rate: -1", "--sparse-learning-rate must be above 0, got -1"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(given, write, text, says):
    with pytest.raises(InputError, match=r"--params .*params\.yaml") as refused:
        runs(given, write(text), "lora", "sparsegrad")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_setting_that_no_method_uses_is_refused(given, write):
    with pytest.raises(InputError, match="--rank is not used by --method sparsegrad"):
        runs(given, write("rank: 2"), "sparsegrad")


def test_an_option_that_says_no_goes_before_the_file_too(given, write):
    params = write("freeze_rest: true\n")
    for asked, frozen in (({}, True), ({"freeze_rest": False}, False)):
        (config,) = runs({**given, **asked}, params, "lora")
        assert config.freeze_rest is frozen


def test_two_sets_for_one_cell_are_refused(given, write):
    entry = ENTRY.format(model=given["model"], method="lora", params="{learning_rate: 1.0e-3}")
    with pytest.raises(InputError, match=r"2 sets of parameters .*; name the best\.yaml of one study"):
        runs(given, write(entry + entry), "lora")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read: No such file"):
        read_params(tmp_path / "none.yaml")
