"""Real processes that are killed and stopped: the numbers are those of a calm run, and no cell is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .grids import restarts, scores
from .processes import Command, half_way, holder, is_gone, latest, start, wait_for

SLOWLY = ("--checkpoint-minutes", "0")  # a checkpoint at every step
LEFT = {"config.json", "environment.json", "metrics.jsonl", "result.json", "predictions.parquet", "lock"}
CHAOS_KILLS = int(os.environ.get("CHAOS_KILLS", "20"))
CHAOS_SECONDS = 1800.0  # for the rest, when the last was killed
Start = Callable[..., Command]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Start]:
    """Starts `sparsegrad` with arguments, and leaves none behind."""
    begun: list[Command] = []

    def run(*arguments: object) -> Command:
        begun.append(start(tmp_path / f"said-{len(begun)}", *arguments))
        return begun[-1]

    yield run
    for command in begun:
        command.process.kill()


def test_whoever_is_killed_or_stopped_the_same_command_goes_on(begin, write, finetuned, tmp_path):
    """Kill a worker, kill the parent, stop the parent by SIGTERM; then two commands share what is left."""
    results = tmp_path / "results"
    command = ("run", write(), "--output", results)

    first = begin(*command, *SLOWLY)
    os.kill(holder(half_way(results)), signal.SIGKILL)
    half_way(results)  # its successor goes on
    worker = holder(half_way(results))
    assert worker not in (None, first.pid)
    os.kill(first.pid, signal.SIGKILL)
    code, err = first.end()
    assert code == -signal.SIGKILL
    assert "its worker was killed by signal 9; it goes on with a new one" in err
    wait_for(lambda: is_gone(worker))

    second = begin(*command, *SLOWLY)
    worker = holder(half_way(results))
    os.kill(second.pid, signal.SIGTERM)
    code, err = second.end()
    assert (code, "Traceback" in err) == (130, False), err
    assert "stopped; the same command goes on from the last checkpoint" in err
    assert is_gone(worker)

    ends = [command.end() for command in (begin(*command), begin(*command))]
    assert [code for code, _ in ends] == [0, 0], ends
    assert scores(results) == finetuned
    assert sum(restarts(results)) in (2, 3)  # a stopped worker may have been between two cells
    assert {path.name for path in (results / "runs").glob("*/*")} == LEFT
    done_here = sum(err.count(": matthews_correlation") for _, err in ends)
    assert done_here <= len(finetuned)  # none is done twice


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_a_checkpoint_and_the_same_command_goes_on_to_the_same_bits(
    number, call, begin, write, document, tmp_path
):
    settings = {**document["settings"], "max_steps": 120, "eval_steps": 120}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    where = (f"--model={document['models'][0]}", f"--data={document['data']}", "--task=cola")
    command = ("finetune", *where, "--method=sparsegrad", *options, "--no-save-model", "--output")
    calm, results = tmp_path / "calm", tmp_path / "results"
    assert call(*command, str(calm), "--quiet")[0] == 0
    stopped = begin(*command, results)
    wait_for(lambda: any("loss" in file.read_text() for file in results.glob("runs/*/metrics.jsonl")))
    os.kill(stopped.pid, number)
    code, err = stopped.end()
    assert (code, "Traceback" in err) == (130, False), err
    step, folder = latest(results)
    assert 0 < step < 120
    assert folder is not None
    assert json.loads((folder / "result.json").read_text())["status"] == "interrupted"
    assert call(*command, str(results), "--quiet")[0] == 0
    assert scores(results) == scores(calm)
    assert restarts(results) == [1]


@pytest.mark.chaos
def test_twelve_cells_killed_at_random_end_as_calm_ones(call, begin, write, tmp_path):
    """Kill -9 parents and workers at random times; `make chaos` runs it, minutes long."""
    seed = int(os.environ.get("CHAOS_SEED", time.time_ns() % 10**6))
    chosen = random.Random(seed)
    print(f"CHAOS_SEED={seed}")
    path = write(seeds=list(range(6)), settings={"max_steps": 200, "eval_steps": 40})
    calm, results = tmp_path / "calm", tmp_path / "results"
    assert call("run", str(path), "--output", str(calm), "--quiet")[0] == 0
    command = ("run", path, "--workers", "2", "--output", results, "--checkpoint-minutes", "0.01")
    kills: Counter[str] = Counter()
    parent = begin(*command)

    def workers() -> list[int]:
        holders = (holder(folder) for folder in results.glob("runs/*"))
        return [pid for pid in holders if pid is not None]

    while kills.total() < CHAOS_KILLS and parent.process.is_alive():
        wait_for(lambda: workers() or not parent.process.is_alive())  # noqa: B023 (called at once)
        time.sleep(chosen.uniform(0.0, 5.0))
        found = workers()
        if found and chosen.random() < 0.6:
            os.kill(chosen.choice(found), signal.SIGKILL)
            kills["worker"] += 1
        elif parent.process.is_alive():
            parent.process.kill()
            parent.process.join()
            kills["parent"] += 1
            parent = begin(*command)
    code, err = parent.end(CHAOS_SECONDS)
    print(dict(kills), f"{len(scores(results))} cells")
    assert code == 0, err
    assert scores(results) == scores(calm)
    assert "Traceback" not in err
