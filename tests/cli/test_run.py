"""`sparsegrad run` as a person meets it; the cells are done in this process."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from transformers import MPNetConfig, MPNetModel

from sparsegrad_cli import hardware
from sparsegrad_cli.cli.run import choose_workers
from sparsegrad_cli.estimate import size_words
from sparsegrad_cli.grid.experiment import experiment_files, read_experiment
from sparsegrad_cli.grid.run import CellFilter, plan_cells
from sparsegrad_cli.models.checkpoint import WEIGHTS

from ..checkpoints import tiny_checkpoint
from ..grid.grids import Document, ScriptedPool, Write, here, scores, tiny_document, writer
from ..tasks.glue_files import write_test_splits


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    made = tiny_document(tmp_path_factory.mktemp("inputs"))
    short = {"max_steps": 10, "eval_steps": 5}
    return {**made, "seeds": [0], "settings": {**made["settings"], **short}}


@pytest.fixture
def write(document: Document, tmp_path: Path) -> Write:
    return writer(document, tmp_path)


@pytest.fixture
def bench(document: Document, tmp_path: Path) -> str:
    path = tmp_path / "speed.yaml"
    path.write_text(f"title: Speed\nkind: bench\nmodels: {document['models']}\nsettings: {{length: 16}}\n")
    return str(path)


@pytest.fixture(autouse=True)
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedPool]:
    """One worker, this process."""
    monkeypatch.chdir(tmp_path)
    alone = here()
    monkeypatch.setattr("sparsegrad_cli.cli.run.open_pool", lambda *_: alone)
    yield alone
    assert not alone.is_open


@pytest.mark.usefixtures("any_memory")
def test_a_model_that_pads_its_batches_is_named_once(call, write, tmp_path):
    folder = tiny_checkpoint(tmp_path / "mpnet", "bert")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    MPNetModel(MPNetConfig(**sizes, vocab_size=300)).save_pretrained(folder)
    path = str(write(models=[str(folder)], seeds=[0, 1]))
    code, _, err = call("run", path, "--dry-run", "--json")
    assert (code, err.count("padding longest"), err.count(str(folder))) == (0, 1, 1)
    assert call("run", path, "--dry-run", "--json", "--quiet")[2] == ""


def test_a_dry_run_shows_the_cells_and_what_they_take_and_makes_nothing(call, write, document, tmp_path):
    path = str(write(seeds=[0, 1]))
    code, out, err = call("run", path, "--dry-run", "--workers", "2")
    assert (code, err) == (0, "")
    model = document["models"][0]
    told, _, memory = out.partition("\nmemory ")
    head, *rows, counts, time, disk, _ = told.splitlines()
    assert head == f"A tiny grid ({path})"
    assert [row.split() for row in rows] == [
        [model, "cola", method, "0", "to", "do,", "1", "to", "do"] for method in ("ft", "sparsegrad")
    ]
    assert counts == "4 cells: 4 to do; 4 to be done now, 2 at a time on cpu"
    assert (time.split()[0], disk.split()[0]) == ("time", "disk")
    table = [line.split() for line in memory.splitlines()]
    assert [row[0] for row in table[1:3]] == ["ft", "sparsegrad"]

    code, out, err = call("run", path, "--dry-run", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert [(cell["method"], cell["seed"]) for cell in told["cells"]] == [
        *(("ft", 0), ("sparsegrad", 0), ("ft", 1), ("sparsegrad", 1))
    ]
    for cell in told["cells"]:
        assert {"id", "model", "task", "method", "seed", "status"} <= cell.keys()
        assert (cell["model"], cell["task"], cell["status"]) == (model, "cola", "to do")
    assert len(told["estimate"]["runs"]) == 4
    assert told["estimate"]["peak_memory_bytes"] > 0
    peaks = [size_words(run["memory"]["peak"]).split() for run in told["estimate"]["runs"]]
    assert [row[-2:] for row in table[1:3]] == peaks[:2]
    assert not (tmp_path / "results").exists()


OF_FT = {"density": None, "calibration_steps": None}
CHAT = {"max_steps": 2, "batch_size": 2, "length": 32, "kept": 100}


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        ({"tasks": ["oasst1"], "methods": ["ft", "meprop", "sparsegrad"]}, CHAT),
        ({"kind": "sweep", "tasks": ["oasst1"], "methods": ["lora"]}, {"trials": 2, "length": 32}),
        ({"kind": "gradients", "tasks": ["cola"]}, {"steps": 2, "every": 1}),
        ({"kind": "bench"}, {"length": 16}),
    ],
    ids=["finetune", "sweep", "gradients", "bench"],
)
def test_a_dry_run_needs_shapes_alone_and_a_run_the_weights(keys, options, call, conversations, tmp_path):
    model = tiny_checkpoint(tmp_path / "llama", "llama")
    (model / WEIGHTS).unlink()
    path = tmp_path / "shapes.yaml"
    data = str(conversations) if "oasst1" in keys.get("tasks", ()) else "demo"
    document = {"title": "Shapes", "models": [str(model)], "data": data, **keys, "settings": options}
    path.write_text(yaml.safe_dump(document))
    code, out, err = call("run", str(path), "--dry-run")
    assert (code, err) == (0, "")
    assert f"no weights are there of {model}: planned from its shapes alone" in out
    table = [line.split()[0] for line in out.partition("\nmemory ")[2].splitlines()]
    estimable = keys.get("kind", "finetune") == "finetune"
    assert table[1:4] == (["ft", "meprop", "sparsegrad"] if estimable else [])
    code, out, err = call("run", str(path), "--quiet")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert f"no {WEIGHTS}" in err
    assert not (tmp_path / "results").exists()


@pytest.mark.usefixtures("any_memory")
def test_a_table_is_made_once(call, write, engine, tmp_path):
    path = str(write())
    code, out, err = call("run", path)
    assert code == 0, err
    assert "paper protocol" in out
    assert "[2/2]" in err
    assert "written: results" in err
    made = scores(tmp_path / "results")
    code, out, err = call("run", path, "--json", "--quiet")
    assert (code, err) == (0, "")
    assert len(engine.given) == 2
    told = json.loads(out)
    assert {cell["status"] for cell in told["cells"]} == {"done"}
    assert told["report"]["tables"]

    _, out, _ = call("run", path, "--seed", "0", "--seed", "1", "--method", "ft", "--dry-run")
    assert "0 done, 1 to do" in out
    assert "2 cells: 1 done, 1 to do; 1 to be done now" in out
    code, out, err = call("run", path, "--seed", "1", "--method", "ft", "--json", "--quiet")
    assert (code, len(engine.given)) == (0, 3)
    (cell,) = json.loads(out)["cells"]
    assert cell["score_name"] == "matthews_correlation"
    after = scores(tmp_path / "results")
    assert after.keys() - made.keys() == {cell["id"]}
    assert made.items() <= after.items()


@pytest.mark.usefixtures("any_memory")
def test_a_cell_that_fails_is_recorded_and_done_again_only_when_asked(call, write, engine, tmp_path):
    wild = [{"when": {"method": "ft"}, "set": {"learning_rate": 1e30}}]
    path = str(write(overrides=wild))
    code, out, err = call("run", path)
    assert code == 1
    assert "sparsegrad" in out  # the table of what was done
    last = err.splitlines()[-1]
    assert "1 of 2 cells came to no score" in last
    assert "cola ft seed 0 diverged (the logits of " in last
    assert "--retry failed" in last
    results = [json.loads(file.read_text()) for file in (tmp_path / "results").glob("runs/*/result.json")]
    assert sorted((result["method"], result["status"]) for result in results) == [
        *(("ft", "diverged"), ("sparsegrad", "done"))
    ]

    assert call("run", path, "--json", "--quiet")[0] == 1
    assert len(engine.given) == 2
    for retry, due in (("failed", 1), ("diverged", 1), ("out-of-memory", 0)):
        _, out, _ = call("run", path, "--dry-run", "--retry", retry)
        assert f"2 cells: 1 diverged, 1 done; {due} to be done now" in out
    assert call("run", path, "--quiet", "--retry", "diverged")[0] == 1
    assert [job.cell.method for job in engine.given[2:]] == ["ft"]


def test_a_full_disk_stops_all_and_the_same_command_goes_on(call, write, engine, monkeypatch, tmp_path):
    def no_space(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = str(write())
    with monkeypatch.context() as full:
        full.setattr("sparsegrad_cli.training.trainer.save_file", no_space)
        code, out, err = call("run", path)
    assert (code, out) == (1, "")
    assert "No space left on device" in err.splitlines()[-1]
    assert "the same command goes on" in err.splitlines()[-1]
    assert len(engine.given) == 1
    code, _, err = call("run", path)
    assert code == 0, err
    assert len(scores(tmp_path / "results")) == 2


@pytest.mark.parametrize("name", ["config.json", "result.json"])
def test_a_disk_that_is_full_before_or_after_training_stops_all_too(
    name, call, write, engine, monkeypatch, tmp_path
):
    replace = os.replace

    def no_space(source: Path, target: Path) -> None:
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    path = str(write())
    with monkeypatch.context() as full:
        full.setattr(os, "replace", no_space)
        code, out, err = call("run", path)
    assert (code, out) == (1, "")
    assert "No space left on device" in err.splitlines()[-1]
    assert len(engine.given) == 1
    assert call("run", path)[0] == 0


def test_a_model_that_cannot_be_read_fails_its_own_cells_and_no_others(
    call, write, document, engine, tmp_path
):
    good = document["models"][0]
    bad = shutil.copytree(good, tmp_path / "bad")
    weights = (bad / WEIGHTS).read_bytes()
    (bad / WEIGHTS).write_bytes(weights[: len(weights) // 2])
    path = str(write(models=[str(bad), good], seeds=[0, 1], methods=["ft"], settings=OF_FT))
    code, out, err = call("run", path, "--json", "--quiet")
    assert code == 1
    assert "2 of 4 cells came to no score" in err
    found = {(cell["model"], cell["seed"]): cell["status"] for cell in json.loads(out)["cells"]}
    assert found == {(str(bad), 0): "failed", (str(bad), 1): "failed", (good, 0): "done", (good, 1): "done"}
    assert len(engine.given) == 4
    assert call("run", path, "--quiet")[0] == 1  # recorded: not tried again unless asked
    assert len(engine.given) == 4


def test_what_is_asked_of_finished_cells_is_done_or_refused(call, write, document, engine, tmp_path):
    data = str(write_test_splits(shutil.copytree(document["data"], tmp_path / "glue"), "cola"))
    path = str(write(methods=["ft"], settings=OF_FT))
    command = ("run", path, "--data", data, "--quiet")
    assert call(*command)[0] == 0
    (folder,) = (tmp_path / "results" / "runs").iterdir()
    for option in ("--save model", "--predict-test"):
        code, out, err = call(*command, *option.split())
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert f"{option}: results/runs/{folder.name} is finished and its model was not kept" in err
    assert len(engine.given) == 1
    shutil.rmtree(folder)
    assert call(*command, "--save", "model")[0] == 0
    assert call(*command, "--save", "model")[0] == 0
    assert len(engine.given) == 2
    for _ in range(2):
        assert call(*command, "--save", "model", "--predict-test")[0] == 0
        assert (folder / "test_predictions.parquet").exists()
        assert len(engine.given) == 3


def test_a_folder_that_cannot_be_written_stops_with_one_line(call, write, tmp_path):
    (tmp_path / "taken").write_text("a file")
    code, out, err = call("run", str(write()), "--output", "taken/results", "--quiet")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert "cannot write to taken/results" in err
    assert (tmp_path / "taken").read_text() == "a file"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tabel9-bert-base"], "did you mean table9-bert-base?"),
        (["nowhere.yaml"], "no experiment 'nowhere.yaml'"),
        (["{tiny}", "--method", "lora"], "--method: no method in {tiny} 'lora', there are ft, sparsegrad"),
        (["{tiny}", "--method", "sparsgrad"], "did you mean sparsegrad?"),
        (["{tiny}", "--per-gpu", "2", "--device", "cpu"], "--per-gpu: there is no GPU here"),
        (
            ["{tiny}", "--per-gpu", "2", "--device", "cpu", "--engine", "ray"],
            "--per-gpu: there is no GPU here",
        ),
        (["{tiny}", "--address", "auto"], "--address is of a Ray cluster: add --engine ray"),
        (["{tiny}", "--workers", "0"], "--workers"),
        (["{tiny}", "--retry", "done"], "--retry"),
        (["{speed}", "--workers", "2"], "measures speed, which other workers would spoil"),
        (["{speed}", "--per-gpu", "2"], "measures speed, which other workers would spoil"),
        (["{speed}", "--seed", "1"], "--seed: bench has no use for seeds"),
        (["{speed}", "--save", "model"], "--save: {speed} trains nothing"),
        (["{speed}", "--predict-test"], "--predict-test: {speed} trains nothing"),
        (["{speed}", "--accumulate-on-oom"], "--accumulate-on-oom: {speed} trains nothing"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else None,
)
def test_what_cannot_be_is_refused_in_one_line(call, write, bench, tmp_path, arguments, says):
    paths = {"tiny": str(write()), "speed": bench}
    code, out, err = call("run", *(word.format(**paths) for word in arguments))
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert says.format(**paths) in err
    assert not (tmp_path / "results").exists()


def test_a_mistake_in_the_file_is_told_with_its_line(call, write):
    path = write(settings={"max_stesp": 3})
    code, _, err = call("run", str(path), "--dry-run")
    line = path.read_text().splitlines().index("  max_stesp: 3") + 1
    assert (code, len(err.splitlines())) == (2, 1)
    assert f"{path}:{line}: no option of finetune 'max_stesp'" in err
    assert "did you mean max_steps?" in err


def test_what_measures_speed_has_one_worker_however_many_gpus(bench, monkeypatch):
    monkeypatch.setattr("sparsegrad_cli.training.checks.choose_device", lambda device, precision: "cuda")
    monkeypatch.setattr(hardware, "visible_gpus", lambda: ["0", "1"])
    read = read_experiment(Path(bench))
    cells = plan_cells(read, CellFilter(), None, "cpu")
    assert choose_workers(read, True, "local", None, None, None, cells)[0] == 1


def test_ls_experiments_names_what_they_reproduce(call):
    code, out, err = call("ls", "experiments")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == len(experiment_files())
    (line,) = (line for line in out.splitlines() if line.startswith("table10-roberta-base "))
    assert "table 10" in line
    code, out, _ = call("ls", "experiments", "--json")
    listed = json.loads(out)["experiments"]
    assert [row["name"] for row in listed] == [path.stem for path in experiment_files()]
    assert {"name", "paper", "kind", "what"} == listed[0].keys()
