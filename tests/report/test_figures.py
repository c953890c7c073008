"""What figures draw: the right numbers, few lines, the same colour for a method everywhere."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import matplotlib.image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsegrad_cli.methods import get_method, methods_in_order
from sparsegrad_cli.report import build_report
from sparsegrad_cli.report.figures.gradients import gradient_figures
from sparsegrad_cli.report.figures.runs import (
    cost_figure,
    curve_figures,
    forest_figure,
    kept_figure,
    rate_figure,
)
from sparsegrad_cli.report.figures.style import base_colour, looks, spread
from sparsegrad_cli.report.load import method_order

from ..gradients.recordings import record
from .runs import write_run
from .test_significance import write

METHODS = ("ft", "lora", "meprop", "sparsegrad")


def log(run: Path, steps: int, evaluations: int = 2) -> None:
    lines = [{"step": step, "loss": 1 / step} for step in range(1, steps + 1)]
    lines += [{"step": 5 * n, "selection": {"accuracy": n / 10}} for n in range(1, evaluations + 1)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def made(tmp_path):
    for method in METHODS:
        for seed in (0, 1):
            for rate in (1e-4, 1e-3):
                log(write(tmp_path, method, 140 + seed, seed, learning_rate=rate, selection_score=rate), 10)
    (group,) = build_report([tmp_path]).groups
    return group


def test_every_figure_is_a_picture_of_at_least_600_pixels(made, tmp_path):
    figures = [
        forest_figure(made, tmp_path / "forest.png"),
        cost_figure(made, tmp_path / "costs.png"),
        rate_figure(made, tmp_path / "rates.png"),
        *curve_figures(made, tmp_path, "demo"),
    ]
    assert len(figures) == 5
    for figure in figures:
        image = matplotlib.image.imread(figure.path)
        assert image.shape[1] >= 600
        assert image.std() > 0.01
        assert figure.path.stat().st_size < 120_000


def test_what_would_show_nothing_is_not_drawn(tmp_path):
    write_run(tmp_path, "ft", 0.5, task="rte")
    (made,) = build_report([tmp_path]).groups
    path = tmp_path / "x.png"
    assert [make(made, path) for make in (forest_figure, cost_figure, rate_figure, kept_figure)] == [None] * 4
    assert curve_figures(made, tmp_path, "x") == []
    assert not path.exists()


def test_shares_of_one_method_are_drawn_where_nothing_else_differs(tmp_path):
    for density in (0.01, 0.05):
        write_run(tmp_path, "sparsegrad", 0.5, task="rte", density=density)
    write_run(tmp_path, "sparsegrad", 0.5, task="rte", basis_rank=96)
    (made,) = build_report([tmp_path]).groups
    assert kept_figure(made, tmp_path / "kept.png") is not None


def test_a_method_has_one_colour_and_its_settings_other_marks():
    one = looks([("lora", "lora"), ("sparsegrad", "sparsegrad")])
    other = looks([("sparsegrad", "sparsegrad"), ("sparsegrad", "sparsegrad (density 0.05)")])
    assert one["sparsegrad"] == other["sparsegrad"]
    assert len({(look.colour, look.marker) for look in other.values()}) == 2
    assert len({base_colour(method) for method in METHODS}) == len(METHODS)
    assert base_colour("a method of a user") == base_colour("a method of a user")


def test_the_report_knows_the_order_and_colours_that_methods_give_themselves():
    assert sorted(METHODS, key=method_order) == [name for name in methods_in_order() if name in METHODS]
    assert {name: base_colour(name) for name in METHODS} == {
        name: get_method(name).colour for name in METHODS
    }


@given(st.lists(st.floats(-100, 100), max_size=6), st.floats(0.1, 10))
def test_labels_are_moved_apart_and_keep_their_order(values, gap):
    moved = spread(values, gap)
    order = sorted(range(len(values)), key=lambda place: values[place])
    for below, above in pairwise(order):
        assert moved[above] - moved[below] >= gap * 0.9


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEGRAD_CACHE", str(tmp_path / "cache"))


def test_both_figures_of_the_paper_are_drawn_of_a_recording(tmp_path, own_cache):
    shown = record(tmp_path)
    figures = gradient_figures(shown, tmp_path / "figures")
    names = [figure.path.stem.rpartition("-")[2] for figure in figures]
    assert names == ["spaces", "energy", "rows", "nonzeros"]
    report = build_report([tmp_path / "results"])
    (section,) = report.chapters()[-1].sections
    last = next(p for p in shown.result.places if (p.step, p.block, p.kind) == (4, 2, "output.dense"))
    assert f"{100 * last.energy_rotated:.0f}% in the new one at step 4" in section.sentence
    (shown.folder / "arrays.safetensors").unlink()
    written = report.write(tmp_path / "out", ["md"])  # it is named, and the rest goes on
    assert "Not drawn: " in written[0].read_text(encoding="utf-8")
