"""The benchmark's section: the paper's columns beside ours, and a plot that can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsegrad_cli.bench.folder import Bench, read_benches, write_bench
from sparsegrad_cli.bench.jobs import Measured
from sparsegrad_cli.bench.run import summarize, with_ratios
from sparsegrad_cli.bench.schema import BenchConfig, BenchResult, Memory, Peaks, RowSpec
from sparsegrad_cli.errors import UnreadableResultWarning
from sparsegrad_cli.report.bench import bench_section
from sparsegrad_cli.report.bench.paper import paper_costs
from sparsegrad_cli.report.bench.plot import save_plot
from sparsegrad_cli.report.bench.words import section
from sparsegrad_cli.report.formats.markdown import section_markdown
from sparsegrad_cli.settings import config_id
from sparsegrad_cli.store.records import Environment

ROWS = (
    RowSpec(method="ft"),
    RowSpec(method="lora"),
    RowSpec(method="sparsegrad", form="streamed", support="dynamic"),
    RowSpec(method="sparsegrad", form="sparse-by-dense", support="dynamic"),
)
ENVIRONMENT = Environment(
    started="2026-01-01T00:00:00+00:00",
    command=["sparsegrad"],
    versions={"torch": "2.13.0"},
    hardware={"processor": "x86_64", "threads": 2},
    git_revision=None,
    git_dirty=None,
    checkpoint="random:config:roberta-base",
    data="random tokens",
    restarts=0,
)
PEAKS = Peaks(operations_per_second=1e11, bytes_per_second=1e10)


def make_bench(folder: Path, **how: object) -> Bench:
    usual = {"model": "roberta-base", "task": None, "data": None, "data_revision": None, "layers": None}
    usual |= {"freeze_rest": False, "pad_to_max": False, "length": 128, "batch_size": 16}
    config = BenchConfig(
        **{**usual, **how},
        checkpoint="random:config:roberta-base",
        init="random",
        device="cpu",
        precision="fp32",
        seed=0,
        rows=ROWS,
        density=0.01,
        kept=None,
        rank=7,
        calibration_steps=4,
        rounds=1,
        steps=2,
        burn_in=2,
    )
    sizes = {"weights": 500, "basis": 80, "optimizer": 800, "gradients": 400, "activations": 900}
    rows = []
    for place, row in enumerate(ROWS):
        peak = 10**6 * (2000 + 100 * place)
        memory = Memory(**sizes, peak=peak, peak_phase="backward", resident=None)
        rows.append(
            summarize(row, [Measured(seconds=(1.0 + place,), tokens=(2048,), memory=memory)], None, PEAKS)
        )
    result = BenchResult(id=config_id(config), peaks=PEAKS, rows=tuple(with_ratios(rows)))
    return write_bench(folder, config, result, ENVIRONMENT)


def column(bench: Bench, grid: int, *head: str) -> list[list[str]]:
    """Every column of that head, as texts."""
    parts = bench_section(bench).grids[grid]
    return [[line for cell in part.cells for line in cell] for part in parts if part.head == list(head)]


def test_the_papers_ratios_stand_beside_ours(tmp_path):
    bench = make_bench(tmp_path)
    assert column(bench, 0, "vs ft") == [["1.00", "0.50", "0.33", "0.25"]]
    assert column(bench, 0, "in the", "paper") == [
        ["1.00", "1.14", "–", "1.05"],
        ["0.87", "1.00", "–", "0.91"],
    ]
    assert column(bench, 1, "in the", "paper")[0] == ["1.00", "0.70", "–", "0.76"]
    assert column(bench, 1, "paper's", "MB") == [["1,345", "944", "–", "1,016"]]


def test_a_tasks_numbers_are_of_tables_7_and_8_and_what_is_unsure_is_marked(tmp_path):
    bench = make_bench(tmp_path, task="cola")
    assert column(bench, 0, "paper's", "steps/s") == [["4.30", "5.80?", "–", "1.80"]]
    assert "tables 7 and 8, cola" in bench_section(bench).caption["paper"]


def test_the_paper_is_silent_on_other_models_and_on_a_frozen_rest(tmp_path):
    assert paper_costs("bert-base-uncased", None) is None
    assert paper_costs("FacebookAI/roberta-base", "wnli") == paper_costs("roberta-base", None)
    for how in ({"model": "demo"}, {"freeze_rest": True}):
        bench = make_bench(tmp_path, **how)
        assert not column(bench, 0, "in the", "paper")
        assert "paper" not in bench_section(bench).caption


def test_a_truncated_basis_is_told(tmp_path):
    told = bench_section(make_bench(tmp_path, basis_rank=256)).caption["training"]
    assert "basis of 4 batches, cut to 256 directions a side" in told
    assert "cut to" not in bench_section(make_bench(tmp_path)).caption["training"]


def test_markdown_says_what_it_was_measured_on(tmp_path):
    text = section_markdown(section(make_bench(tmp_path, layers=2)), tmp_path)
    for words in ("roberta-base", "2 blocks", "16 × 128", "2 threads", "fp32", "torch 2.13.0", "random"):
        assert words in text
    assert "| sparsegrad streamed |" in text


def test_the_plot_is_a_png(tmp_path):
    bench = make_bench(tmp_path)
    save_plot(bench, bench.folder / "plot.png")
    assert (bench.folder / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert f"(bench/{bench.folder.name}/plot.png)" in section_markdown(section(bench), tmp_path)


def test_what_was_written_is_read_again_once(tmp_path):
    bench = make_bench(tmp_path)
    found = read_benches([tmp_path, tmp_path / "bench", bench.folder])
    assert found == (bench,)
    (bench.folder / "result.json").write_text("{}")
    with pytest.warns(UnreadableResultWarning, match="measure again"):
        assert read_benches([tmp_path]) == ()
    (bench.folder / "result.json").unlink()
    assert read_benches([tmp_path]) == ()
