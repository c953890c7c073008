"""Benchmarks, sweeps and recordings of gradients as sections, and their plots."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from sparsegrad_cli.report import build_report
from sparsegrad_cli.report.bench_tables import bench_section, bench_sections
from sparsegrad_cli.report.figures.others import save_bench_plot, save_sweep_plot
from sparsegrad_cli.report.sweep_tables import group_studies, sweep_sections
from sparsegrad_cli.report.table import Section

from ..sweep.fabricate import make_config, make_sweep, make_trial
from .benches import make_bench


def column(section: Section, head: str, table: int = 0) -> list[list[str]]:
    return [list(c.cells) for c in section.tables[table].columns if c.head.replace("\n", " ") == head]


def test_the_papers_ratios_stand_beside_ours(tmp_path):
    section = bench_section(make_bench(tmp_path))
    assert column(section, "vs ft") == [["1.00", "0.50", "0.33", "0.25"], ["1.00", "1.05", "1.10", "1.15"]]
    assert column(section, "in the paper") == [
        ["1.00", "1.14", "–", "1.05"],
        ["0.87", "1.00", "–", "0.91"],
        ["1.00", "0.70", "–", "0.76"],
        ["1.42", "1.00", "–", "1.08"],
    ]
    assert "sparsegrad backward" in section.sentence


def test_what_a_damaged_copy_has_is_marked_and_other_models_have_no_paper(tmp_path):
    section = bench_section(make_bench(tmp_path, task="cola"))
    assert any("?" in cell for cells in column(section, "in the paper") for cell in cells)
    for how in ({"model": "demo"}, {"freeze_rest": True}):
        assert not column(bench_section(make_bench(tmp_path, **how)), "in the paper")


def test_several_benchmarks_have_a_table_of_the_best_of_each(tmp_path):
    benches = [make_bench(tmp_path), make_bench(tmp_path, layers=2)]
    first, *others = bench_sections(benches)
    assert column(first, "its fastest form") == [["backward", "backward"]]
    assert all(section.is_listing for section in others)
    (alone,) = bench_sections(benches[:1])
    assert not alone.is_listing


def is_picture(path: Path) -> bool:
    image = matplotlib.image.imread(path)
    return image.std() > 0.01 and image.shape[1] >= 600


def test_a_benchmark_has_a_plot_that_the_report_shows(tmp_path):
    bench = make_bench(tmp_path)
    save_bench_plot(bench, bench.folder / "plot.png")
    assert is_picture(bench.folder / "plot.png")
    written = build_report([tmp_path]).write(tmp_path, ["md"])
    assert f"(bench/{bench.folder.name}/plot.png)" in written[0].read_text(encoding="utf-8")


def test_the_best_parameters_stand_with_the_papers_and_what_became_of_the_trials():
    trials = [make_trial(0, 0.6, rate=1e-4, batch=8), make_trial(1, 0.7, rate=6.1e-5, batch=16)]
    trials += [make_trial(2, None, state="pruned"), make_trial(3, None, state="diverged")]
    section, listing = sweep_sections([make_sweep(make_config("lora", model="roberta-base"), *trials)], True)
    assert column(section, "lr") == [["6.10e-05"]]
    assert column(section, "best") == [["70.0"]]
    assert column(section, "paper") == [["3.05e-05, 32"]]
    assert [column(section, head)[0][0] for head in ("complete", "pruned", "diverged")] == ["2", "1", "1"]
    assert column(listing, "state") == [["complete", "complete", "pruned", "diverged"]]


def test_of_losses_the_lowest_is_the_best():
    config = make_config("lora", score_name="loss")
    sweep = make_sweep(config, make_trial(0, 2.5), make_trial(1, 2.1))
    (section,) = sweep_sections([sweep], False)
    assert column(section, "best") == [["2.100"]]


def test_studies_that_select_on_other_examples_are_in_tables_of_their_own():
    one = make_sweep(make_config("lora"), make_trial(0, 0.7))
    other = make_sweep(make_config("lora", select_on="holdout"), make_trial(0, 0.7))
    assert len(group_studies([one, one])) == 1
    assert len(group_studies([one, other])) == 2


@pytest.mark.parametrize(("count", "searched"), [(0, 2), (1, 2), (5, 2), (5, 1)])
def test_a_study_is_drawn_by_optuna_however_far_it_got(tmp_path, count, searched):
    study = optuna.create_study(direction="maximize")
    every = {"learning_rate": FloatDistribution(1e-7, 1e-1, log=True), "batch_size": IntDistribution(8, 16)}
    space = dict(list(every.items())[:searched])
    for n in range(count):
        values = {"learning_rate": 10.0 ** -(n + 2), "batch_size": 8 * (1 + n % 2)}
        params = {name: values[name] for name in space}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=0.5 + n / 20))
    save_sweep_plot(study, count > 3, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").is_file()
    assert not count or is_picture(tmp_path / "plot.png")
