"""From what a user asked for to studies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.sweep.plan import plan_studies, plan_trial, sources_of
from sparsegrad_cli.sweep.records import SearchSettings, SweepConfig
from sparsegrad_cli.sweep.space import PAPER
from sparsegrad_cli.tasks.splits import HOLDOUT

from ..planned import Asked, changed
from .studies import separated, tiny_choices, tiny_config


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    return tiny_choices(tmp_path_factory.mktemp("inputs"))


def plan(choices: Asked, space: Path | None = None) -> list[SweepConfig]:
    given, methods, seed = separated(choices)
    return plan_studies(
        given,
        [given.pop("task")],
        methods,
        SearchSettings(seed=seed, space=None if space is None else str(space)),
    )


def test_each_method_has_a_study_of_its_own_with_what_it_uses(choices, tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text("rank: [2, 3]\ndensity: [0.01, 0.1]\n")
    several = changed(choices, methods=["ft", "lora", "sparsegrad"], calibration_steps=3)
    ft, lora, sparsegrad = plan(several, space)
    assert set(ft.space.parameters) == {"learning_rate", "batch_size"}
    assert set(lora.space.parameters) == {"learning_rate", "batch_size", "rank"}
    assert set(sparsegrad.space.parameters) == {"learning_rate", "batch_size", "density"}
    assert "calibration_steps" not in lora.given
    assert sparsegrad.given["calibration_steps"] == 3
    assert len({study.study_id() for study in (ft, lora, sparsegrad)}) == 3


def test_machines_that_keep_model_and_data_in_other_places_join_the_same_study(choices, tmp_path):
    shutil.copytree(choices["model"], tmp_path / "my-model")
    shutil.copytree(choices["data"], tmp_path / "my-data")
    elsewhere = changed(choices, model=str(tmp_path / "my-model"), data=str(tmp_path / "my-data"))
    assert plan(choices)[0].study_id() == plan(elsewhere)[0].study_id()


@pytest.mark.parametrize(
    "change",
    [{"seeds": [1]}, {"max_steps": 7}, {"freeze_rest": True}, {"protocol": "heldout"}, {"pruner": "median"}],
    ids=str,
)
def test_what_decides_a_score_makes_another_study(choices, change):
    assert tiny_config(choices).study_id() != tiny_config(choices, **change).study_id()


def test_a_value_that_an_option_gives_is_not_searched(choices):
    (config,) = plan(changed(choices, batch_size=4))
    assert config.space.parameters == {"learning_rate": PAPER["learning_rate"]}
    assert config.template.batch_size == 4


@pytest.mark.parametrize(
    ("change", "space", "says"),
    [
        ({}, "rank: [2]", "rank is not used by --method ft"),
        ({"batch_size": 4}, "batch_size: [8]", "--batch-size fixes what --space"),
        ({"batch_size": 4, "learning_rate": 1e-3}, None, "nothing is left to search"),
        ({"methods": ["lora"]}, "rank: [2, 4000]", "rank 4000: --rank 4000"),
        ({"methods": ["meprop"]}, "density: [0.01, 1.5]", "density: must be at most 1, got 1.5"),
    ],
    ids=str,
)
def test_a_space_that_does_not_fit_is_refused_before_anything_trains(choices, tmp_path, change, space, says):
    path = tmp_path / "space.yaml"
    path.write_text(space or "")
    with pytest.raises(InputError) as refused:
        plan(changed(choices, **change), path if space else None)
    assert says in str(refused.value)


def test_a_holdout_is_taken_from_train_and_dev_is_not_read(choices):
    given, _, _ = separated(choices)
    held, dev = sources_of(given, "holdout"), sources_of(given, "dev")
    config = tiny_config(choices, select_on="holdout", protocol="heldout")
    inputs = held.inputs(plan_trial(held, config, {"learning_rate": 1e-3, "batch_size": 4}))
    trained = set(held.data.splits["train"]["idx"])
    chosen_on = set(held.data.splits[HOLDOUT]["idx"])
    assert trained | chosen_on == set(dev.data.splits["train"]["idx"])
    assert not trained & chosen_on
    assert [split.name for split in inputs.reported] == [HOLDOUT]
    assert len(inputs.selection) == len(chosen_on) == 4  # a tenth of 40
    assert held.data.sha256 != dev.data.sha256
    assert held.data.task.score_name == dev.data.task.score_name


def test_a_trial_is_refused_where_the_data_are_others(choices, tmp_path):
    config = tiny_config(choices)
    other = tiny_choices(tmp_path)
    path = Path(other["data"]) / "cola" / "train.jsonl.gz"
    path.write_bytes((Path(other["data"]) / "cola" / "validation.jsonl.gz").read_bytes())
    with pytest.raises(InputError, match="was made for data revision"):
        plan_trial(sources_of(separated(other)[0], "dev"), config, {"learning_rate": 1e-3, "batch_size": 4})
