"""Experiment trackers hear of a run: its id, its configuration, its losses and its scores."""

from __future__ import annotations

import pytest

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


def test_a_tracker_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setattr("sparsegrad_cli.training.track.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'sparsegrad\[mlflow\]'"):
        read_trackers(["mlflow"])
    with pytest.raises(InputError, match=r"no tracker 'wandbb', .*did you mean wandb"):
        read_trackers(["wandbb"])
