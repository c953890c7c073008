"""The local engine with real worker processes: whoever is killed, the numbers are those of `finetune`."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .grids import restarts, scores
from .processes import LOOK_SECONDS, Command, half_way, holder, is_gone, latest, meanwhile, start, wait_for

SLOWLY = ("--checkpoint-minutes", "0")  # a checkpoint at every step
LEFT = {"config.json", "environment.json", "metrics.jsonl", "result.json", "predictions.parquet", "lock"}
Start = Callable[..., Command]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Start]:
    """Starts `sparsegrad run` with arguments, and leaves none behind."""
    begun: list[Command] = []

    def run(*arguments: object) -> Command:
        begun.append(start(tmp_path / f"said-{len(begun)}", "run", *arguments))
        return begun[-1]

    yield run
    for command in begun:
        command.process.kill()


def test_a_worker_killed_half_way_costs_nothing(call, write, finetuned, tmp_path):
    results = tmp_path / "results"

    def kill() -> None:
        victim = holder(half_way(results))
        assert victim not in (None, os.getpid())
        os.kill(victim, signal.SIGKILL)

    with meanwhile(kill):
        code, out, err = call(
            *("run", str(write()), "--workers", "2", "--output", str(results), *SLOWLY, "--json")
        )
    assert code == 0, err
    assert "its worker was killed by signal 9; it goes on with a new one" in err
    assert scores(results) == finetuned
    assert restarts(results) == [0, 0, 0, 1]
    assert {cell["id"]: cell["score"] for cell in json.loads(out)["cells"]} == {
        name: score for name, (score, _) in finetuned.items()
    }
    assert {path.name for path in (results / "runs").glob("*/*")} == LEFT


def test_a_run_stopped_in_every_way_goes_on_with_the_same_command(call, begin, write, finetuned, tmp_path):
    results = tmp_path / "results"
    command = (write(seeds=[1], methods=["sparsegrad"]), "--output", results, *SLOWLY)
    for how in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        parent = begin(*command)
        folder = half_way(results)
        worker = holder(folder)
        assert worker not in (None, parent.pid)
        os.kill(parent.pid, how)
        code, err = parent.end()
        if how == signal.SIGKILL:
            assert code == -how
            wait_for(lambda worker=worker: is_gone(worker))
        else:
            assert code == 130, err
            assert "stopped; the same command goes on from the last checkpoint" in err
        assert "Traceback" not in err
        assert is_gone(worker)
        assert json.loads((folder / "result.json").read_text())["status"] == "interrupted"
        _, out, _ = call("run", *map(str, command), "--dry-run", "--json")
        assert [cell["status"] for cell in json.loads(out)["cells"]] == ["to continue"]

    code, _, err = call("run", *map(str, command))
    assert code == 0, err
    assert scores(results) == {folder.name: finetuned[folder.name]}
    assert restarts(results) == [3]
    assert {path.name for path in folder.iterdir()} == LEFT


def test_two_runs_at_once_share_the_cells(call, begin, write, finetuned, tmp_path):
    results = tmp_path / "results"
    command = (str(write()), "--output", str(results))
    begun: dict[str, set[int]] = defaultdict(set)
    other = begin(*command)

    def watch() -> None:
        """A run that is begun writes its environment.json anew."""
        while other.process.is_alive():
            for file in (results / "runs").glob("*/environment.json"):
                begun[file.parent.name].add(file.stat().st_mtime_ns)
            time.sleep(LOOK_SECONDS)

    with meanwhile(watch):
        code, _, err = call("run", *command)
        others_code, others_err = other.end()
    assert (code, others_code) == (0, 0), err + others_err
    assert scores(results) == finetuned
    assert {name: len(times) for name, times in begun.items()} == dict.fromkeys(finetuned, 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_a_checkpoint_and_the_same_command_goes_on_to_the_same_bits(
    number, call, write, tmp_path
):
    settings = {"max_steps": 120, "eval_steps": 120}
    path = write(settings=settings, seeds=[0], methods=["sparsegrad"])
    calm, results = tmp_path / "calm", tmp_path / "results"
    assert call("run", str(path), "--output", str(calm), "--quiet")[0] == 0
    stopped = start(tmp_path / "said", "run", path, "--output", results)
    wait_for(lambda: any("loss" in file.read_text() for file in results.glob("runs/*/metrics.jsonl")))
    os.kill(stopped.pid, number)
    code, err = stopped.end()
    assert (code, "Traceback" in err) == (130, False), err
    assert "stopped; the same command goes on from the last checkpoint" in err
    step, folder = latest(results)
    assert 0 < step < 120
    assert folder is not None
    assert json.loads((folder / "result.json").read_text())["status"] == "interrupted"
    assert call("run", str(path), "--output", str(results), "--quiet")[0] == 0
    assert scores(results) == scores(calm)
    assert restarts(results) == [1]
