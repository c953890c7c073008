"""A grid of runs that take a second: a tiny model, a tiny CoLA, two methods, two seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsegrad_cli.cli.main import app

from .grids import Document, Scored, Write, scores, tiny_document, writer


@pytest.fixture(scope="session")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    return tiny_document(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def write(document: Document, tmp_path: Path) -> Write:
    return writer(document, tmp_path)


@pytest.fixture(scope="session")
def finetuned(document: Document, tmp_path_factory: pytest.TempPathFactory) -> Scored:
    """What `finetune` makes of the cells of the experiment."""
    results = tmp_path_factory.mktemp("finetuned")
    shared = {"model": document["models"][0], "task": "cola", "data": document["data"], "output": results}
    seeds = [word for seed in document["seeds"] for word in ("--seed", str(seed))]
    for method in document["methods"]:
        of_sparsegrad = ("density", "calibration_steps")
        used = {n: v for n, v in document["settings"].items() if method != "ft" or n not in of_sparsegrad}
        options = [f"--{name.replace('_', '-')}={value}" for name, value in {**shared, **used}.items()]
        app(["finetune", f"--method={method}", *options, *seeds, "--quiet"], standalone_mode=False)
    return scores(results)
