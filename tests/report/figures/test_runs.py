"""The figures of runs: what may be compared and nothing else, and only what there is data for."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from sparsegrad_cli.errors import InputError
from sparsegrad_cli.report.figures import draw_figures
from sparsegrad_cli.report.figures.costs import COSTS, cost_points, pareto_front
from sparsegrad_cli.report.figures.curves import seeds_together
from sparsegrad_cli.report.figures.groups import split_groups
from sparsegrad_cli.report.figures.kept import kept_lines, mlp_entries
from sparsegrad_cli.report.figures.log import read_log
from sparsegrad_cli.report.read import read_runs

from ..runs import write_run

ENTRIES = 7_077_888  # of the runs that are written


def done(results: Path) -> pd.DataFrame:
    runs = read_runs([results])
    return runs[runs["status"] == "done"].drop_duplicates("same")


def drawn(results: Path) -> list[list[str]]:
    """Of each section, the last words of its figures' names."""
    sections = draw_figures(done(results), [results], results / "figures")
    assert all(f.path.read_bytes().startswith(b"\x89PNG") for s in sections for f in s.figures)
    return [[figure.path.stem.rpartition("-")[2] for figure in section.figures] for section in sections]


def write_log(folder: Path, losses: dict[int, float], scores: dict[int, float]) -> None:
    lines = [{"step": step, "epoch": 0.0, "loss": loss} for step, loss in losses.items()]
    lines += [
        {"step": step, "epoch": 0.0, "selection": {"loss": 0.1, "matthews_correlation": score}}
        for step, score in scores.items()
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_one_row_alone_has_nothing_to_be_compared_with(tmp_path):
    write_run(tmp_path, "ft")
    assert drawn(tmp_path) == []
    assert not (tmp_path / "figures").exists()


def test_costs_are_drawn_of_two_rows_and_only_where_they_were_measured(tmp_path):
    for method in ("ft", "lora"):
        write_run(tmp_path, method, peak_memory_bytes=None)
    assert drawn(tmp_path) == [["speed"]]


@pytest.mark.parametrize("other", [{"protocol": "heldout"}, {"device": "cuda"}, {"precision": "bf16"}])
def test_what_may_not_be_compared_is_not_in_one_figure(tmp_path, other):
    for method in ("ft", "lora"):
        write_run(tmp_path, method)
        write_run(tmp_path, method, **other)
    assert drawn(tmp_path) == [["memory", "speed"]] * 2
    assert len(list((tmp_path / "figures").iterdir())) == 4


def test_another_metric_or_other_examples_are_another_panel(tmp_path):
    for data in ("a" * 64, "b" * 64):
        write_run(tmp_path, "ft", data_revision=data)
    (group,) = split_groups(done(tmp_path))
    assert [panel.title for panel in group.panels] == ["cola (data aaaaaa)", "cola (data bbbbbb)"]
    assert [len(panel.rows) for panel in group.panels] == [1, 1]


def test_a_row_is_named_by_what_tells_it_apart_on_its_task(tmp_path):
    for method in ("ft", "lora"):
        write_run(tmp_path, method, eval_steps=100)
        write_run(tmp_path, method, task="mrpc", eval_steps=50)
    write_run(tmp_path, "sparsegrad", density=0.01)
    write_run(tmp_path, "sparsegrad", density=0.02)
    (group,) = split_groups(done(tmp_path))
    by_task = {panel.title: list(panel.rows) for panel in group.panels}
    assert by_task["mrpc"] == ["ft", "lora"]
    assert [label.split(", ")[-1] for label in by_task["cola"][2:]] == ["density 0.01", "density 0.02"]
    looks = group.looks().values()
    assert len({(look.colour, look.marker) for look in looks}) == len(looks)


def test_a_point_is_the_mean_and_spread_over_the_seeds_in_the_units_of_the_axis(tmp_path):
    for seed, (score, memory) in enumerate([(0.5, 900), (0.6, 1100)]):
        write_run(tmp_path, "lora", score, seed=seed, peak_memory_bytes=memory * 10**6)
    (group,) = split_groups(done(tmp_path))
    point = cost_points(group.panels[0], COSTS[0])["lora"]
    assert (point.cost.mean, point.score.mean) == (1000, pytest.approx(55))
    assert point.cost.std == pytest.approx(141.42, abs=0.01)
    assert point.score.std == pytest.approx(7.071, abs=0.001)


def test_speeds_of_unequal_batches_are_said_not_to_compare(tmp_path):
    write_run(tmp_path, "ft", batch_size=8)
    write_run(tmp_path, "lora", batch_size=32)
    (section,) = draw_figures(done(tmp_path), [tmp_path], tmp_path / "figures")
    assert any("Batch sizes differ on cola" in note for note in section.notes)


@pytest.mark.parametrize(
    ("points", "less_is_better", "front"),
    [
        ([(1, 80), (2, 90), (3, 85)], True, [0, 1]),
        ([(1, 80), (2, 90), (3, 85)], False, [1, 2]),
        ([(1, 80), (1, 80)], True, [0, 1]),
        ([(2, 80), (1, 80)], True, [1]),
    ],
)
def test_the_front_is_what_nothing_beats_in_both(points, less_is_better, front):
    assert pareto_front(points, less_is_better) == front


def test_kept_is_drawn_of_two_shares_of_one_setting_only(tmp_path):
    write_run(tmp_path, "sparsegrad", density=0.01)
    write_run(tmp_path, "sparsegrad", density=0.02, calibration_steps=5)
    write_run(tmp_path, "sparsegrad", density=0.02, learning_rate=1e-3)
    assert "kept" not in drawn(tmp_path)[0]
    write_run(tmp_path, "sparsegrad", density=0.02)
    assert "kept" in drawn(tmp_path)[0]


def test_a_number_of_entries_and_a_share_stand_on_one_axis(tmp_path):
    write_run(tmp_path, "ft")
    write_run(tmp_path, "sparsegrad", 0.5, density=None, kept=5898)  # 70 776 of 7 077 888 in all
    write_run(tmp_path, "sparsegrad", 0.6, density=0.1)
    runs = done(tmp_path)
    assert mlp_entries(runs) == ENTRIES
    (group,) = split_groups(runs)
    (points,) = kept_lines(group, group.panels[0], ENTRIES).ours.values()
    assert list(points) == [pytest.approx(0.01, rel=1e-3), 0.1]
    assert [spread.mean for spread in points.values()] == [pytest.approx(50), pytest.approx(60)]


def test_the_papers_points_are_of_its_models_on_glue_alone(tmp_path):
    for place, how in enumerate([{}, {"completeness": "synthetic"}, {"model": "demo"}]):
        results = tmp_path / str(place)
        write_run(results, "sparsegrad", **{"model": "FacebookAI/roberta-base", **how})
        (group,) = split_groups(done(results))
        paper = kept_lines(group, group.panels[0], None).paper
        assert paper == ({1.0: 60.0, 0.008: 59.7, 0.01: 58.8, 0.012: 59.4, 0.042: 59.8} if not place else {})


def test_curves_go_as_far_as_every_seed(tmp_path):
    for seed, last in enumerate((30, 50)):
        folder = write_run(tmp_path, "ft", seed=seed)
        write_log(folder, {step: 1 / step for step in range(10, last + 1, 10)}, {20: 0.1, 40: 0.2 + seed})
    assert drawn(tmp_path) == [["loss", "score"]]
    logs = [read_log(folder, "matthews_correlation") for folder in sorted((tmp_path / "runs").iterdir())]
    together = seeds_together([log.loss for log in logs])
    assert list(together.index) == [10, 20, 30]
    assert together.shape[1] == 2
    assert sorted(seeds_together([log.score for log in logs]).loc[40]) == [0.2, 1.2]


def test_one_evaluation_is_no_curve(tmp_path):
    write_log(write_run(tmp_path, "ft"), {10: 0.7, 20: 0.6}, {20: 0.3})
    assert drawn(tmp_path) == [["loss"]]


def test_a_damaged_log_is_named_with_its_line(tmp_path):
    folder = write_run(tmp_path, "ft")
    write_log(folder, {10: 0.7}, {})
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2"):
        drawn(tmp_path)
