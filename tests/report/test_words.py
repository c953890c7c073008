"""Caption and reading: what a reader is told besides the numbers."""

from __future__ import annotations

from sparsegrad_cli.report import build_report
from sparsegrad_cli.report.table import Table

from .runs import write_run


def only_table(folder) -> Table:
    (table,) = build_report([folder]).tables
    return table


def reading_of(folder, **scores: list[float]) -> str:
    for method, of_seeds in scores.items():
        for seed, score in enumerate(of_seeds):
            write_run(folder, method, score, seed=seed)
    (text,) = only_table(folder).reading
    return text


def test_the_reading_compares_sparsegrad_with_the_others(tmp_path):
    text = reading_of(tmp_path, sparsegrad=[0.70, 0.72], lora=[0.60, 0.62], ft=[0.71, 0.72])
    assert text == (
        "On 2 seeds, sparsegrad scores 71.0 ± 1.4 (Matthews): 10.0 points above lora (beyond the spread of "
        "the seeds); 0.5 points below ft (within the spread of the seeds). It trains 1.0% of the MLP entries "
        "a step (8.2% touched in all). Differences within the spread mean little. 2 seeds tell the spread "
        "only roughly."
    )


def test_one_seed_says_nothing_about_the_spread(tmp_path):
    text = reading_of(tmp_path, sparsegrad=[0.7], lora=[0.6], ft=[0.7])
    assert text.startswith(
        "On one seed, sparsegrad scores 70.0 (Matthews): 10.0 points above lora and level with ft."
    )
    assert text.endswith("One seed shows nothing about the spread between seeds.")
    assert "within" not in text
    assert "beyond" not in text


def test_a_single_run_of_the_other_method_says_nothing_about_the_spread_either(tmp_path):
    text = reading_of(tmp_path, sparsegrad=[0.7, 0.8], lora=[0.1])
    assert "beyond" not in text
    assert text.endswith("One seed shows nothing about the spread between seeds.")


def test_many_seeds_need_no_warning(tmp_path):
    text = reading_of(tmp_path, sparsegrad=[0.7, 0.71] * 3, lora=[0.6, 0.61] * 3)
    assert text.endswith("(8.2% touched in all).")


def test_the_larger_deviation_of_the_two_decides(tmp_path):
    text = reading_of(tmp_path, sparsegrad=[0.70, 0.70], lora=[0.55, 0.75])
    assert "5.0 points above lora (within the spread" in text


def test_a_collapsed_run_is_marked_where_it_is_compared(tmp_path):
    write_run(tmp_path, "lora", 0.0, single_class=True)
    assert "above lora†" in reading_of(tmp_path, sparsegrad=[0.7])


def test_without_sparsegrad_the_last_row_is_read(tmp_path):
    text = reading_of(tmp_path, lora=[0.6, 0.62])
    assert text == "On 2 seeds, lora scores 61.0 ± 1.4 (Matthews). 2 seeds tell the spread only roughly."


def test_over_several_tasks_averages_are_compared(tmp_path):
    for method, shift in (("sparsegrad", 0.1), ("lora", 0.0)):
        for task in ("cola", "rte"):
            for seed in (0, 1):
                write_run(tmp_path, method, 0.5 + shift + seed / 100, task=task, seed=seed)
    (text,) = only_table(tmp_path).reading
    assert "sparsegrad scores 60.5 ± 0.7 (average over tasks): 10.0 points above lora" in text


def test_a_row_without_average_is_not_compared(tmp_path):
    write_run(tmp_path, "sparsegrad")
    write_run(tmp_path, "ft")
    write_run(tmp_path, "ft", task="rte")
    (text,) = only_table(tmp_path).reading
    assert text.startswith("sparsegrad has no average over the tasks to compare.")


def test_the_caption_says_what_the_numbers_depend_on(tmp_path):
    write_run(tmp_path, max_steps=120, hyperparameters_from="options", dirty=True, protocol="heldout")
    write_run(
        tmp_path, seed=4, max_steps=120, hyperparameters_from="options", revision=None, protocol="heldout"
    )
    caption = only_table(tmp_path).caption
    assert caption["protocol"] == "heldout: half of dev selects the checkpoint, the other half is reported"
    assert caption["seeds"].startswith("0, 4; mean ± sample standard deviation")
    assert caption["training"].startswith("120 steps at most, stops after 5 evaluations")
    assert caption["learning rate"] == "0.0001, batch 16 (options)"
    assert caption["checkpoint"] == "demo, sha256:abababababab"
    assert caption["ran on"] == "cpu, fp32 (x86_64, 2 threads)"
    assert set(caption["code"].split("; ")) == {
        "3397e3000000 with uncommitted changes",
        "not from a git checkout",
    }


def test_the_paper_protocol_owns_up_to_reporting_what_selected(tmp_path):
    write_run(tmp_path)
    assert only_table(tmp_path).caption["protocol"] == "paper: dev selects the checkpoint and is reported"


def test_learning_rates_are_told_by_task_or_by_method(tmp_path):
    write_run(tmp_path / "a", learning_rate=1e-5)
    write_run(tmp_path / "a", task="rte", learning_rate=3e-5, batch_size=32)
    told = only_table(tmp_path / "a").caption["learning rate"]
    assert told == "cola 1e-05, batch 16; rte 3e-05, batch 32 (paper table 14)"
    write_run(tmp_path / "b", "ft", learning_rate=1e-5)
    write_run(tmp_path / "b", "lora", learning_rate=3e-4)
    told = only_table(tmp_path / "b").caption["learning rate"]
    assert told == "ft 1e-05, batch 16; lora 0.0003, batch 16 (paper table 14)"


def test_partial_data_is_told_with_its_rows(tmp_path):
    rows = {"train": 40205, "validation": 1000}
    write_run(tmp_path, task="qqp", completeness="partial", rows=rows)
    told = only_table(tmp_path).caption["data"]
    assert told == "folder: glue; qqp partial: train 40205 of 363846, validation 1000 of 40430"


def test_synthetic_data_is_told_in_title_and_caption(tmp_path):
    write_run(tmp_path, completeness="synthetic", origin="demo", rows={"train": 400, "validation": 120})
    table = only_table(tmp_path)
    assert "SYNTHETIC" in table.title
    assert table.caption["data"].startswith("SYNTHETIC (demo)")


def test_different_hardware_is_told(tmp_path):
    write_run(tmp_path, device="cuda", hardware={"gpu": "NVIDIA H200"})
    write_run(tmp_path, device="cuda", hardware={"gpu": "NVIDIA T4"}, seed=1)
    told = only_table(tmp_path).caption["ran on"]
    assert told == "cuda, fp32 (NVIDIA H200; NVIDIA T4; speeds are of different hardware)"


def test_seeds_that_differ_between_cells_are_told(tmp_path):
    write_run(tmp_path, "ft", seed=0)
    write_run(tmp_path, "ft", seed=1)
    write_run(tmp_path, "lora", seed=0)
    write_run(tmp_path, "lora", seed=2)
    assert "not the same ones in every cell" in only_table(tmp_path).caption["seeds"]


def test_the_caption_names_what_the_methods_were_set_to(tmp_path):
    for method in ("ft", "lora", "sparsegrad"):
        write_run(tmp_path, method)
    told = only_table(tmp_path).caption["methods"]
    assert (
        told == "lora rank 7; sparsegrad density 0.01, support dynamic, form streamed, calibration-steps 30"
    )
    write_run(tmp_path, "lora", rank=16)
    assert only_table(tmp_path).caption["methods"].startswith("sparsegrad")


def test_costs_under_different_batch_sizes_are_said_not_to_compare(tmp_path):
    write_run(tmp_path, "ft", batch_size=8)
    assert "batch" not in only_table(tmp_path).caption["cost"]
    write_run(tmp_path, "lora", batch_size=32)
    assert "batch sizes differ" in only_table(tmp_path).caption["cost"]


def test_the_title_names_a_directory_shortly_and_the_caption_in_full(tmp_path):
    write_run(tmp_path, model="/models/of/mine/bert")
    table = only_table(tmp_path)
    assert table.title.startswith("bert on cola")
    assert table.caption["checkpoint"] == "/models/of/mine/bert, sha256:abababababab"


def test_a_score_just_below_zero_has_no_sign(tmp_path):
    write_run(tmp_path, "ft", -0.0002)
    write_run(tmp_path, "sparsegrad", -0.0004)
    assert "sparsegrad scores 0.0 (Matthews)" in only_table(tmp_path).reading[0]
