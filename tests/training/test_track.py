"""Experiment trackers hear of a run: its id, its configuration, its losses and its scores."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

import pytest

from sparsegrad_cli.config import RunConfig
from sparsegrad_cli.errors import InputError
from sparsegrad_cli.training.run import run
from sparsegrad_cli.training.track import read_trackers

from ..checkpoints import tiny_checkpoint
from ..planned import RecordingWatch, plan_run, write_cola


def test_tensorboard_files_hold_the_run(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    asked = {
        "model": str(tiny_checkpoint(tmp_path / "model", "bert", layers=1)),
        "data": str(write_cola(tmp_path / "glue")),
        "task": "cola",
        "methods": ["lora"],
        "rank": 2,
        "epochs": 2,
        "batch_size": 8,
        "length": 24,
    }
    planned = plan_run(tmp_path, RecordingWatch(), asked, keep_model=False, report_to=("tensorboard",))
    run(planned)
    (file,) = (tmp_path / "tensorboard" / planned.config.run_id()).glob("events*")
    data, texts, scalars = file.read_bytes(), {}, {}
    while data:  # length (8 bytes), its CRC (4), the event, its CRC (4)
        size = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + size])
        data = data[16 + size :]
        for value in event.summary.value:
            if value.HasField("simple_value"):
                scalars.setdefault(value.tag, []).append((event.step, value.simple_value))
            else:
                texts[value.tag] = value.tensor.string_val[0].decode()
    assert planned.config.data_revision in texts["args/text_summary"]
    assert planned.config.run_id() in texts["args/text_summary"]
    assert [step for step, _ in scalars["eval/matthews_correlation"]] == [8, 16]
    assert scalars["train/loss"]


def two_runs(folder: Path, tracker: str) -> tuple[list[RunConfig], list[float]]:
    """Two runs of one process; gives their configurations and scores."""
    shared = {
        "model": str(tiny_checkpoint(folder / "model", "bert")),
        "data": str(write_cola(folder / "glue")),
        "task": "cola",
        "rank": 2,
        "max_steps": 20,
        "eval_steps": 10,
        "batch_size": 8,
        "length": 24,
    }
    configs, scores = [], []
    for method in ("lora", "ia3"):
        asked = {**shared, "methods": [method]}
        planned = plan_run(folder, RecordingWatch(), asked, keep_model=False, report_to=(tracker,))
        scores.append(run(planned).selection_score)
        configs.append(planned.config)
    return configs, scores


def test_mlflow_has_a_run_of_its_own_for_each(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs pip install 'sparsegrad[mlflow]'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'mlruns'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    configs, scores = two_runs(tmp_path, "mlflow")
    assert mlflow.active_run() is None
    found = mlflow.MlflowClient(f"file:{tmp_path / 'mlruns'}").search_runs(["0"], order_by=["start_time"])
    assert [each.info.status for each in found] == ["FINISHED", "FINISHED"]
    for each, config, score in zip(found, configs, scores, strict=True):
        assert config.run_id() in each.info.run_name
        assert each.data.params["run_config.method"] == config.method
        assert each.data.params["run_config.data_revision"] == config.data_revision
        assert each.data.metrics["eval_matthews_correlation"] <= score
        assert "loss" in each.data.metrics


def test_trackio_has_a_run_of_its_own_for_each(tmp_path, monkeypatch):
    pytest.importorskip("trackio", reason="needs pip install 'sparsegrad[trackio]'")
    for name, module in list(sys.modules.items()):
        if name.startswith("trackio") and hasattr(module, "TRACKIO_DIR"):  # read when it was imported
            monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    configs, scores = two_runs(tmp_path, "trackio")
    (database,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(database) as connection:
        logged = connection.execute("select run_name, metrics from metrics").fetchall()
        kept = dict(connection.execute("select run_name, config from configs").fetchall())
    assert len(kept) == 2
    for config, score in zip(configs, scores, strict=True):
        (name,) = (name for name in kept if config.run_id() in name)
        assert json.loads(kept[name])["run_config"]["data_revision"] == config.data_revision
        entries = [json.loads(text) for run_name, text in logged if run_name == name]
        found = [e["eval/matthews_correlation"] for e in entries if "eval/matthews_correlation" in e]
        assert max(found) == pytest.approx(score)


def test_wandb_offline_has_a_run_of_its_own_for_each(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="needs pip install 'sparsegrad[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    configs, _ = two_runs(tmp_path, "wandb")
    files = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    for file, config in zip(files, configs, strict=True):
        assert config.run_id().encode() in file.read_bytes()


def test_a_tracker_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setattr("sparsegrad_cli.training.track.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'sparsegrad\[mlflow\]'"):
        read_trackers(["mlflow"])
    with pytest.raises(InputError, match=r"no tracker 'wandbb', .*did you mean wandb"):
        read_trackers(["wandbb"])
