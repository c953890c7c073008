"""A grid of runs that take a second: a tiny model, a tiny CoLA, two methods, two seeds."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sparsegrad_cli.cli.main import app

from ..cells import write_cola
from ..checkpoints import tiny_checkpoint
from .grids import Document, Scored, Write, scores


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
    """Writes the experiment with other keys, or with other settings (None: without); gives its path."""

    def changed(name: str = "tiny", settings: Document | None = None, **keys: object) -> Path:
        path = tmp_path / f"{name}.yaml"
        merged = {**document["settings"], **(settings or {})}
        of_cells = {option: value for option, value in merged.items() if value is not None}
        path.write_text(yaml.safe_dump({**document, "settings": of_cells, **keys}, sort_keys=False))
        return path

    return changed


@pytest.fixture(scope="session")
def finetuned(document: Document, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Scored:
    """What `finetune` makes of the cells of the experiment."""
    results = tmp_path_factory.mktemp("finetuned")
    shared = {"model": document["models"][0], "task": "cola", "data": document["data"], "output": results}
    seeds = [word for seed in document["seeds"] for word in ("--seed", str(seed))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARSEGRAD_CACHE", str(cache))
        for method in document["methods"]:
            of_sparsegrad = ("density", "calibration_steps")
            used = {n: v for n, v in document["settings"].items() if method != "ft" or n not in of_sparsegrad}
            options = [f"--{name.replace('_', '-')}={value}" for name, value in {**shared, **used}.items()]
            app(["finetune", f"--method={method}", *options, *seeds, "--quiet"], standalone_mode=False)
    return scores(results)
