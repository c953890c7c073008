"""What figures draw: the right numbers, few lines, the same colour for a method everywhere."""

from __future__ import annotations

import json
from itertools import combinations, pairwise
from pathlib import Path
from types import SimpleNamespace

import matplotlib.image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sparsegrad_cli.methods import get_method, method_names, order_and_colour
from sparsegrad_cli.report import build_report
from sparsegrad_cli.report.figures.gradients import gradient_figures, zero_rows
from sparsegrad_cli.report.figures.runs import FIGURES
from sparsegrad_cli.report.figures.style import looks, mark_points, spread

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
    figures = [figure for draw in FIGURES.values() for figure in draw(made, tmp_path / "demo")]
    assert [figure.path.stem for figure in figures] == [
        *("demo-forest", "demo-costs", "demo-rates", "demo-training-loss", "demo-selection-score")
    ]
    for figure in figures:
        image = matplotlib.image.imread(figure.path)
        assert image.shape[1] >= 600
        assert image.std() > 0.01
        assert figure.path.stat().st_size < 120_000


def test_what_would_show_nothing_is_not_drawn(tmp_path):
    write_run(tmp_path, "ft", 0.5, task="rte")
    (made,) = build_report([tmp_path]).groups
    assert [draw(made, tmp_path / "x") for draw in FIGURES.values()] == [[]] * len(FIGURES)
    assert not list(tmp_path.glob("*.png"))


def test_shares_of_one_method_are_drawn_where_nothing_else_differs(tmp_path):
    for density in (0.01, 0.05):
        write_run(tmp_path, "sparsegrad", 0.5, task="rte", density=density)
    write_run(tmp_path, "sparsegrad", 0.5, task="rte", basis_rank=96)
    (made,) = build_report([tmp_path]).groups
    assert len(FIGURES["kept"](made, tmp_path / "x")) == 1


def test_a_caption_names_the_rows_that_have_no_line(tmp_path):
    methods = (*METHODS, "sift", "random-mask", "random-basis", "bitfit")
    for score, method in enumerate(methods, start=1):
        for rate in (1e-4, 1e-3):
            write_run(tmp_path, method, score / 10, task="rte", learning_rate=rate, selection_score=rate)
    (made,) = build_report([tmp_path]).groups
    (figure,) = FIGURES["rates"](made, tmp_path / "x")
    drawn = {row.label for row in made.drawn}
    assert drawn == {*METHODS, "random-basis", "bitfit"}  # the paper's methods, then the best
    assert figure.words.endswith("; not drawn: sift, random-mask")


def test_a_method_has_one_colour_and_its_settings_other_marks():
    one = looks([("lora", "lora"), ("sparsegrad", "sparsegrad")])
    other = looks([("sparsegrad", "sparsegrad"), ("sparsegrad", "sparsegrad (density 0.05)")])
    assert one["sparsegrad"] == other["sparsegrad"]
    assert len({(look.colour, look.marker) for look in other.values()}) == 2
    assert len({look.colour for look in looks((m, m) for m in METHODS).values()}) == len(METHODS)


def test_the_report_knows_the_order_and_colours_that_methods_give_themselves():
    for name in method_names():
        method = get_method(name)
        assert order_and_colour(name) == (method.order, method.colour)
    assert order_and_colour("of a plugin that is gone") > max(map(order_and_colour, method_names()))


def test_of_equal_points_none_is_hidden_and_no_label_covers_another():
    canvas = Figure(figsize=(4, 3))
    FigureCanvasAgg(canvas)
    axes = canvas.subplots()
    axes.axis((0, 2, 0, 2))
    look = looks((method, method) for method in METHODS)
    mark_points(axes, [(1 + n / 100, 1.0, look[method]) for n, method in enumerate(METHODS)])
    sizes = [line.get_markersize() for line in axes.lines]
    assert sizes == sorted(set(sizes), reverse=True)
    boxes = [label.get_window_extent() for label in axes.texts]
    assert len(boxes) == len(METHODS)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


@given(st.lists(st.floats(-100, 100), max_size=6), st.floats(0.1, 10))
def test_labels_are_moved_apart_and_keep_their_order(values, gap):
    moved = spread(values, [gap] * len(values))
    order = sorted(range(len(values)), key=lambda place: values[place])
    for below, above in pairwise(order):
        assert moved[above] - moved[below] >= gap * 0.9


def test_both_figures_of_the_paper_are_drawn_of_a_recording(tmp_path):
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


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        # (rows, padding, live) of the first, middle and last block
        (
            [(100, 40, 60)] * 2 + [(100, 40, 4)],
            ["40% of 100 (all of them padding)", "all of what", "56 rows"],
        ),
        ([(60, 0, 60)] * 2 + [(60, 0, 4)], ["0% of 60", "93% of 60 (0% of them padding)", "56 rows"]),
        ([(60, 0, 60)] * 2 + [(4, 0, 4)], ["0% of 4", "can gain nothing"]),
    ],
)
def test_zero_rows_are_told_apart_from_padding(blocks, words):
    places = [
        SimpleNamespace(
            block=n, kind="fc", step=1, shape=(2, 1), rows=rows, padding=padding, live_rows=(live, 0)
        )
        for n, (rows, padding, live) in enumerate(blocks)
    ]
    text = " ".join(zero_rows(SimpleNamespace(result=SimpleNamespace(places=places))))
    for each in words:
        assert each in text
