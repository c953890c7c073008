"""Real processes that are killed and stopped: the numbers are those of a calm run, and no cell is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from sparsegrad_cli.cli.main import app

from ..processes import is_gone, wait_for
from .grids import Document, Scored, restarts, scores
from .processes import half_way, holder, latest

SLOWLY = ("--checkpoint-minutes", "0")  # a checkpoint at every step
LEFT = {"config.json", "environment.json", "metrics.jsonl", "result.json", "predictions.parquet", "lock"}
CHAOS_KILLS = int(os.environ.get("CHAOS_KILLS", "20"))
CHAOS_SECONDS = 1800.0  # for the rest, when the last was killed


def test_whoever_is_killed_or_stopped_the_same_command_goes_on(begin, write, finetuned, tmp_path):
    """Kill a worker, kill the parent, stop the parent by SIGTERM; then two commands share what is left."""
    results = tmp_path / "results"
    command = ("run", write(), "--output", results)

    first = begin(*command, *SLOWLY)
    os.kill(holder(half_way(results)), signal.SIGKILL)
    half_way(results)  # its successor goes on
    worker = holder(half_way(results))
    assert worker not in (None, first.pid)
    first.kill()
    code, _, err = first.end()
    assert code == -signal.SIGKILL
    assert "its worker was killed by signal 9; it goes on with a new one" in err
    wait_for(lambda: is_gone(worker))

    second = begin(*command, *SLOWLY)
    worker = holder(half_way(results))
    second.kill(signal.SIGTERM)
    code, _, err = second.end()
    assert (code, "Traceback" in err) == (130, False), err
    assert "stopped; the same command goes on from the last checkpoint" in err
    assert is_gone(worker)

    ends = [command.end() for command in (begin(*command), begin(*command))]
    assert [code for code, *_ in ends] == [0, 0], ends
    assert scores(results) == finetuned
    assert sum(restarts(results)) in (2, 3)  # a stopped worker may have been between two cells
    assert {path.name for path in (results / "runs").glob("*/*")} == LEFT
    done_here = sum(err.count(": matthews_correlation") for *_, err in ends)
    assert done_here <= len(finetuned)  # none is done twice


@pytest.fixture(scope="module")
def finetune(document: Document) -> Sequence[str]:
    """A run of 60 steps, but for where its results go."""
    settings = {**document["settings"], "max_steps": 60, "eval_steps": 60}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    where = (f"--model={document['models'][0]}", f"--data={document['data']}", "--task=cola")
    return ("finetune", *where, "--method=sparsegrad", *options, "--save", "none", "--quiet", "--output")


@pytest.fixture(scope="module")
def calm(finetune: Sequence[str], tmp_path_factory: pytest.TempPathFactory) -> Scored:
    """What becomes of it where nothing stops it."""
    results = tmp_path_factory.mktemp("calm")
    app([*finetune, str(results)], standalone_mode=False)
    return scores(results)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_a_checkpoint_and_the_same_command_goes_on_to_the_same_bits(
    number, call, begin, finetune, calm, tmp_path
):
    results = tmp_path / "results"
    stopped = begin(*finetune, results)
    wait_for(lambda: any("loss" in file.read_text() for file in results.glob("runs/*/metrics.jsonl")))
    stopped.kill(number)
    code, _, err = stopped.end()
    assert (code, "Traceback" in err) == (130, False), err
    step, folder = latest(results)
    assert 0 < step < 60
    assert folder is not None
    assert json.loads((folder / "result.json").read_text())["status"] == "interrupted"
    assert call(*finetune, str(results))[0] == 0
    assert scores(results) == calm
    assert restarts(results) == [1]


@pytest.mark.chaos
def test_twelve_cells_killed_at_random_end_as_calm_ones(call, begin, write, tmp_path):
    """Kill -9 parents and workers at random times; `make chaos` runs it, minutes long.

    A cell over which three workers of one parent died is given up by design: none dies three times.
    """
    seed = int(os.environ.get("CHAOS_SEED", time.time_ns() % 10**6))
    chosen, began = random.Random(seed), time.monotonic()
    print(f"CHAOS_SEED={seed}")
    path = write(seeds=list(range(6)), settings={"max_steps": 200, "eval_steps": 40})
    calm, results = tmp_path / "calm", tmp_path / "results"
    assert call("run", str(path), "--output", str(calm), "--quiet")[0] == 0
    command = ("run", path, "--workers", "2", "--output", results, *SLOWLY)
    kills: Counter[str] = Counter()
    deaths: Counter[Path] = Counter()  # by run, under the present parent
    parents = [begin(*command)]

    def at_work() -> dict[Path, int]:
        holders = {folder: holder(folder) for folder in results.glob("runs/*")}
        return {folder: pid for folder, pid in holders.items() if pid is not None}

    while kills.total() < CHAOS_KILLS:
        wait_for(at_work, parents[-1].is_alive)
        time.sleep(chosen.uniform(0.0, 1.5))
        found = [(folder, pid) for folder, pid in at_work().items() if deaths[folder] < 2]
        if found and chosen.random() < 0.6:
            folder, pid = chosen.choice(found)
            os.kill(pid, signal.SIGKILL)
            kills["worker"] += 1
            deaths[folder] += 1
        else:
            assert parents[-1].is_alive(), "it ended before it was killed often enough"
            parents[-1].kill()
            parents[-1].process.wait()
            kills["parent"] += 1
            deaths.clear()
            parents.append(begin(*command))
    code, _, err = parents[-1].end(CHAOS_SECONDS)
    assert code == 0, err
    ended, undisturbed = scores(results), scores(calm)
    equal = sum(ended.get(run) == found for run, found in undisturbed.items())
    print(f"{dict(kills)}: {equal} of {len(undisturbed)} cells equal, {time.monotonic() - began:.0f} s")
    assert ended == undisturbed
    said = [parent.err.read_text() for parent in parents]
    assert "Traceback" not in "".join(said)
    assert sum(err.count(": matthews_correlation") for err in said) <= len(undisturbed)  # none is done twice
