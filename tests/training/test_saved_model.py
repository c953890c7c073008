"""The trained model on disk: its configuration says nothing of how it was trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparsegrad_cli.training.run import run
from tests.checkpoints import Kind, tiny_checkpoint
from tests.planned import RecordingWatch, plan_run, write_cola


def checkpoint(folder: Path, kind: Kind, use_cache: bool | None) -> Path:
    """A tiny checkpoint; None: its configuration does not say."""
    path = tiny_checkpoint(folder, kind) / "config.json"
    config = json.loads(path.read_text())
    config.pop("use_cache", None)
    path.write_text(json.dumps(config if use_cache is None else {**config, "use_cache": use_cache}))
    return folder


@pytest.mark.parametrize("method", ["ft", "lora"])
@pytest.mark.parametrize(
    ("kind", "task", "had", "has"),
    [
        ("llama", "oasst1", True, True),
        ("llama", "oasst1", False, False),
        ("llama", "oasst1", None, True),  # the family's default
        ("bert", "cola", True, True),
        ("distilbert", "cola", None, None),  # the family has none
    ],
)
def test_the_cache_is_as_the_checkpoint_had_it(kind, task, had, has, method, conversations, tmp_path):
    model = checkpoint(tmp_path / "model", kind, had)
    data = str(write_cola(tmp_path / "glue") if task == "cola" else conversations)
    short = {"max_steps": 2, "eval_steps": 2, "length": 24, "batch_size": 2}
    asked = dict(model=str(model), task=task, data=data, methods=[method], **short)
    planned = plan_run(tmp_path / "results", RecordingWatch(), asked)
    assert run(planned).status == "done"
    saved = json.loads((planned.folder.path / "model" / "config.json").read_text())
    assert saved.get("use_cache") == has
    generation = planned.folder.path / "model" / "generation_config.json"
    assert not generation.exists() or json.loads(generation.read_text()).get("use_cache") is not False
