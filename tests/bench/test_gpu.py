"""The script of a GPU hour, tried out on this CPU."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sparsegrad_cli.bench import gpu
from sparsegrad_cli.bench.config import BenchResult, CalibrationResult, read_benches
from sparsegrad_cli.errors import WorkError

from .targets import answer_here


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_here(monkeypatch)
    monkeypatch.setitem(gpu.SCALES, "cpu", replace(gpu.SCALES["cpu"], precisions=("fp32",)))
    monkeypatch.setattr(gpu, "FAMILIES", ("roberta",))
    monkeypatch.setattr(gpu, "CHECKED", ("ft", "sift", "sparsegrad"))
    monkeypatch.setattr(gpu, "ROWS", {"methods": ["ft", "sparsegrad"], "places": ["optimizer"]})
    monkeypatch.setattr(gpu, "LENGTHS", {"cola": ()})


def test_every_part_is_measured_and_written_as_it_comes(tmp_path):
    said: list[str] = []
    assert gpu.run_gpu("cpu", 10, tmp_path, said.append) == []
    lines = [json.loads(line) for line in (tmp_path / gpu.FILE).read_text().splitlines()]
    checks = [line for line in lines if line["part"] == "check"]
    assert {line["padding"] for line in checks} == {"none", "longest"}
    rows = {line["row"] for line in checks}
    assert rows >= {"ft", "sparsegrad optimizer", "sparsegrad backward", "sparsegrad block"}
    assert rows >= {"sift", "sparsegrad backward recompute", "sparsegrad adapter"}
    assert [(line["difference"], line["waits"]) for line in checks] == [(0, {})] * len(checks)
    seconds = [line["seconds"] for line in lines if line["part"] == "kernels"]
    assert [len(each) for each in seconds] == [11, 1]
    assert min(min(each.values()) for each in seconds) > 0
    benches = read_benches([tmp_path])
    steps = [bench for bench in benches if isinstance(bench.result, BenchResult)]
    assert all(row.status == "done" for bench in steps for row in bench.result.rows)
    assert {bench.config.lengths for bench in steps} == {None, "cola"}
    assert sum(isinstance(bench.result, CalibrationResult) for bench in benches) == 1
    assert not any("left out" in line for line in said)


def test_no_part_begins_that_may_end_too_late(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(gpu, "_parts", lambda *_: [(name, lambda: done.append(1)) for name in "abc"])
    times = iter([0, 0, 40, 61])
    monkeypatch.setattr(gpu, "time", SimpleNamespace(monotonic=lambda: next(times)))
    said: list[str] = []
    gpu.run_gpu("cpu", 1, tmp_path, said.append)
    assert len(done) == 1
    assert said[-1] == "the time is over: left out b, c"


def test_a_part_that_fails_is_noted_and_the_others_go_on(tmp_path, monkeypatch):
    def fail() -> None:
        raise WorkError("no room")

    done = []
    parts = [("a", fail), ("b", lambda: done.append(1))]
    monkeypatch.setattr(gpu, "_parts", lambda *_: parts)
    assert gpu.run_gpu("cpu", 1, tmp_path, lambda line: None) == ["a: no room"]
    assert done == [1]
    assert json.loads((tmp_path / gpu.FILE).read_text()) == {"part": "a", "error": "no room"}


def test_waits_are_counted_by_the_line_that_makes_them(monkeypatch):
    modes = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    with gpu.host_waits("cuda") as waits:
        for _ in range(2):
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    ((line, count),) = waits.items()
    assert (line.partition(":")[0], count) == ("test_gpu.py", 2)
    assert modes == ["warn", "default"]
    with gpu.host_waits("cpu") as waits:
        pass
    assert not waits
