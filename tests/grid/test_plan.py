"""From an experiment to cells: the same work has the same id, whatever table it is for."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

import pytest

from sparsegrad_cli.errors import InputError, UnreadableResultWarning
from sparsegrad_cli.grid.experiment import Experiment, expand_grid, read_experiment
from sparsegrad_cli.grid.kinds import DONE, TO_CONTINUE, TO_DO, GridCell
from sparsegrad_cli.grid.run import CellFilter, is_due, plan_cells, read_status

from ..planned import configs_of, write_cola
from ..report.runs import write_run
from .grids import Document

BOTH = frozenset({"task", "method"})


def cells_of(path: Path, part: CellFilter | None = None, data: str | None = None) -> list[GridCell]:
    return plan_cells(read_experiment(path), part or CellFilter(), data, None)


def ids(cells: Collection[GridCell]) -> set[str]:
    return {cell.id for cell in cells}


def experiment(**keys: object) -> Experiment:
    given: Document = {"title": "t", "models": ["m"], "tasks": ["cola", "rte"], "methods": ["ft", "lora"]}
    return Experiment.model_validate(given | keys)


def test_cells_are_the_runs_of_finetune_seed_by_seed(write, document):
    cells = cells_of(write())
    expected = [(method, seed) for seed in (0, 1) for method in ("ft", "sparsegrad")]
    assert [(cell.method, cell.seed) for cell in cells] == expected
    for cell in cells:
        settings = dict(document["settings"])
        if cell.method == "ft":
            del settings["density"], settings["calibration_steps"]
        asked = {"model": document["models"][0], "task": "cola", "data": document["data"], **settings}
        asked |= {"methods": [cell.method], "seeds": [cell.seed]}
        (config,) = configs_of(asked)
        assert cell.id == config.run_id()


def test_cells_that_two_experiments_share_have_one_id(write):
    table = cells_of(write(methods=["ft", "lora", "sparsegrad"]))
    part = cells_of(write("part", methods=["sparsegrad"], seeds=[1], title="A part of it"))
    assert ids(part) < ids(table)


def test_another_seed_adds_its_own_cells_and_no_others(write):
    before, after = cells_of(write()), cells_of(write("more", seeds=[0, 1, 5]))
    assert after[:4] == before
    assert [cell.seed for cell in after[4:]] == [5, 5]


def test_a_setting_moves_the_cells_of_the_methods_that_use_it_and_no_others(write):
    before = cells_of(write())
    denser = ids(cells_of(write("denser", settings={"density": 0.1})))
    assert {cell.method for cell in before if cell.id in denser} == {"ft"}
    assert {cell.method for cell in before if cell.id not in denser} == {"sparsegrad"}
    longer = ids(cells_of(write("longer", settings={"max_steps": 41})))
    assert not longer & ids(before)


def test_what_varies_makes_a_cell_for_each_combination_once(write):
    fixed = {"density": None, "learning_rate": None}
    vary = {"density": [0.05, 0.1, 0.2], "learning_rate": [1e-3, 3e-3]}
    cells = cells_of(write(settings=fixed, vary=vary, seeds=[0]))
    methods = [cell.method for cell in cells]
    assert (methods.count("sparsegrad"), methods.count("ft")) == (6, 2)  # density is nothing to ft
    assert len(ids(cells)) == 8


def test_a_later_override_goes_before_an_earlier_one_and_both_before_the_settings():
    overrides = [
        {"when": {"task": "rte"}, "set": {"epochs": 2, "length": 64}},
        {"when": {"task": ["rte", "cola"], "method": "lora"}, "set": {"epochs": 3}},
    ]
    found = expand_grid(experiment(settings={"length": 32, "epochs": 1}, overrides=overrides), BOTH)
    settings = {str(point): (point.settings["epochs"], point.settings["length"]) for point in found}
    assert settings == {
        "m cola ft": (1, 32),
        "m cola lora": (3, 32),
        "m rte ft": (2, 64),
        "m rte lora": (3, 64),
    }


def test_an_override_replaces_what_its_cells_vary_along():
    vary = {"learning_rate": [1e-3, 1e-2]}
    overrides = [{"when": {"method": "ft"}, "vary": {"learning_rate": [1e-5]}}]
    found = expand_grid(experiment(vary=vary, overrides=overrides, tasks=["rte"]), BOTH)
    assert [(str(point), point.settings["learning_rate"]) for point in found] == [
        ("m rte ft", 1e-5),
        ("m rte lora", 1e-3),
        ("m rte lora", 1e-2),
    ]


def test_a_case_goes_before_settings_and_overrides_and_tells_its_cells_apart(write):
    path = write(
        seeds=[0],
        methods=["sparsegrad"],
        cases=[{}, {"density": 0.2}, {"mask": "block", "density": 0.1}],
        overrides=[{"when": {"method": "sparsegrad"}, "set": {"density": 0.01}}],
    )
    cells = cells_of(path)
    assert [cell.config["density"] for cell in cells] == [0.01, 0.2, 0.1]
    assert [cell.variant for cell in cells] == ["", "density 0.2", "mask block, density 0.1"]
    assert len(ids(cells)) == 3


def test_an_override_by_model_is_for_that_model():
    of_big = [{"when": {"model": "big"}, "set": {"batch_size": 4}}]
    found = expand_grid(experiment(models=["m", "big"], overrides=of_big), BOTH)
    assert {point.model: point.settings.get("batch_size") for point in found} == {"m": None, "big": 4}


def test_cells_of_all_methods_are_split_by_task_alone():
    found = list(expand_grid(experiment(), frozenset({"task"})))
    assert [(point.task, point.methods) for point in found] == [
        ("cola", ("ft", "lora")),
        ("rte", ("ft", "lora")),
    ]
    assert [point.methods for point in expand_grid(experiment(), frozenset())] == [("ft", "lora")]


def test_where_the_data_lie_does_not_count_but_what_they_are_does(write, document, tmp_path):
    path = write()
    cells = cells_of(path)
    moved = str(shutil.copytree(document["data"], tmp_path / "moved" / "glue"))
    assert ids(cells_of(path, data=moved)) == ids(cells)
    assert {cell.config["data"] for cell in cells_of(path, data=moved)} == {moved}
    shorter = str(write_cola(tmp_path / "shorter", dev=23))
    assert not ids(cells_of(path, data=shorter)) & ids(cells)


def test_a_part_is_chosen_by_names_and_seeds(write, document):
    path = write()
    all_cells = cells_of(path)
    assert cells_of(path, CellFilter(methods=("ft",))) == [cell for cell in all_cells if cell.method == "ft"]
    assert cells_of(path, CellFilter(tasks=("cola",), models=tuple(document["models"]))) == all_cells
    assert cells_of(path, CellFilter(seeds=(1,))) == all_cells[2:]
    assert [cell.seed for cell in cells_of(path, CellFilter(methods=("ft",), seeds=(7, 1)))] == [1, 7]


def test_a_part_is_chosen_by_settings(write):
    varied = {"density": [0.01, 0.05, 0.1], "mask": ["dynamic", "fixed"]}
    path = write(methods=["sparsegrad"], seeds=[0], settings={"density": None}, vary=varied)

    def chosen(*where: str) -> list[tuple[object, object]]:
        return [(c.config["density"], c.config["mask"]) for c in cells_of(path, CellFilter(where=where))]

    assert chosen("density=5e-2") == [(0.05, "dynamic"), (0.05, "fixed")]
    assert chosen("density=0.01", "density=0.1", "mask=fixed") == [(0.01, "fixed"), (0.1, "fixed")]
    assert len(chosen("batch-size=8")) == 6


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (CellFilter(where=("density",)), "--where density: .*density=0.01"),
        (CellFilter(where=("densty=1",)), "--where: no setting 'densty'.* did you mean density"),
        (CellFilter(where=("batch-size=7",)), "--where batch-size=7: there is 8"),
        (
            CellFilter(methods=("ft", "lora")),
            "--method: no method in .*tiny.yaml 'lora', there are ft, sparsegrad",
        ),
        (CellFilter(tasks=("colla",)), "--task: no task in .* 'colla', there are cola; did you mean cola"),
        (CellFilter(models=("bert",)), "--model: no model in .* 'bert'"),
    ],
)
def test_a_name_that_the_experiment_does_not_have_is_refused(wanted, says, write):
    with pytest.raises(InputError, match=says):
        cells_of(write(), wanted)


def test_seeds_for_what_has_none_are_refused(document, tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(f"title: b\nkind: bench\nmodels: {document['models']}\n")
    with pytest.raises(InputError, match="--seed: bench has no use for seeds"):
        cells_of(path, CellFilter(seeds=(3,)))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"accumulation_steps": 3}, "--accumulation-steps 3 does not divide the batch size 8"),
        ({"kept": 10}, "--density and --kept"),
        ({"kept": 10**6, "density": None}, "--kept"),
        ({"epochs": 2}, "--epochs and --max-steps"),
        ({"length": 4096}, "has positions for 130 tokens"),
    ],
)
def test_what_does_not_fit_together_is_told_with_the_line_of_the_setting(settings, says, write):
    path = write(settings=settings)
    with pytest.raises(InputError, match=says) as refused:
        cells_of(path)
    line = int(str(refused.value).removeprefix(f"{path}:").partition(":")[0])
    assert path.read_text().splitlines()[line - 1].split(":")[0].strip() in {
        *settings,
        "max_steps",
        "density",
    }


def test_a_model_that_is_not_there_is_told_with_the_file(write):
    path = write(models=["/nowhere/bert"])
    with pytest.raises(InputError, match="no such directory") as refused:
        cells_of(path)
    assert str(refused.value).startswith(f"{path}: /nowhere/bert cola ft: --model")


def test_how_cells_stand_and_which_are_due(tmp_path):
    ended = ["done", "interrupted", "failed", "diverged", "out-of-memory"]
    folders = [write_run(tmp_path, status=status, seed=seed) for seed, status in enumerate(ended)]
    killed = write_run(tmp_path, seed=5)
    (killed / "result.json").unlink()
    names = [*(folder.name for folder in folders), killed.name, "0" * 16]
    cells = [GridCell(id=name, kind="finetune", model="demo", config={}) for name in names]
    statuses = [read_status(cell, tmp_path) for cell in cells]
    assert statuses == [*(DONE, TO_CONTINUE, "failed", "diverged", "out-of-memory", TO_CONTINUE, TO_DO)]

    (folders[0] / "result.json").write_text("{")
    with pytest.warns(UnreadableResultWarning, match=folders[0].name):
        assert read_status(cells[0], tmp_path) == "failed"

    def due(*retry: str) -> list[str]:
        return [status for status in statuses if is_due(status, retry)]

    unfinished = [TO_CONTINUE, TO_CONTINUE, TO_DO]
    assert due() == unfinished
    assert sorted(due("diverged")) == sorted([*unfinished, "diverged"])
    assert sorted(due("diverged", "out-of-memory")) == sorted([*unfinished, "diverged", "out-of-memory"])
    assert sorted(due("failed")) == sorted([*unfinished, "failed", "diverged", "out-of-memory"])
