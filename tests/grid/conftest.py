"""A grid of runs that take a second: a tiny model, a tiny CoLA, two methods, two seeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ..cells import write_cola
from ..checkpoints import tiny_checkpoint
from .grids import Document, Write


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes inherit the environment."""
    monkeypatch.setenv("SPARSEGRAD_CACHE", str(cache))


@pytest.fixture(scope="session")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """What the experiment's YAML says."""
    folder = tmp_path_factory.mktemp("inputs")
    return {
        "title": "A tiny grid",
        "models": [str(tiny_checkpoint(folder / "bert", "bert"))],
        "tasks": ["cola"],
        "methods": ["ft", "sparsegrad"],
        "seeds": [0, 1],
        "data": str(write_cola(folder / "glue")),
        "settings": {
            "max_steps": 40,
            "eval_steps": 8,
            "patience": 0,
            "batch_size": 8,
            "learning_rate": 3e-3,
            "length": 24,
            "density": 0.05,
            "calibration_steps": 3,
        },
    }


@pytest.fixture
def write(document: Document, tmp_path: Path) -> Write:
    """Writes the experiment with other keys, or with other settings; gives its path."""

    def changed(name: str = "tiny", settings: Document | None = None, **keys: object) -> Path:
        path = tmp_path / f"{name}.yaml"
        of_cells = {**document["settings"], **(settings or {})}
        path.write_text(yaml.safe_dump({**document, "settings": of_cells, **keys}, sort_keys=False))
        return path

    return changed
