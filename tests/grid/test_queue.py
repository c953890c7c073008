"""The queue of a grid, with pools that have no processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from sparsegrad_cli.config import ExecutionOptions
from sparsegrad_cli.errors import WorkError
from sparsegrad_cli.grid import run as grid_run
from sparsegrad_cli.grid.experiment import read_experiment
from sparsegrad_cli.grid.kinds import Outcome
from sparsegrad_cli.grid.run import CellFilter, CellJob, CellReply, plan_cells, read_status, run_grid
from sparsegrad_cli.progress import ProgressState
from sparsegrad_cli.store.io import lock
from sparsegrad_cli.workers import Died, Failed, Finished, Message

from ..report.runs import write_run
from .grids import Answer, ScriptedPool, Seen, cells_named, done, ended

KILLED = "was killed by signal 9"
AGAIN, GIVEN_UP = Died(KILLED, 1, 9, again=True), Died(KILLED, 1, 9, again=False)
BUSY = Finished(value=CellReply(outcome=None))


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid_run, "BUSY_SECONDS", 0.02)


def do_grid(
    answer: Answer, results: Path, names: Sequence[str] = ("a", "b", "c", "d", "e"), kind: str = "finetune"
) -> tuple[ScriptedPool, Seen, dict[str, Outcome]]:
    pool, seen, cells = ScriptedPool(answer), Seen(), cells_named(names, kind)
    statuses = {cell.id: read_status(cell, results) for cell in cells}
    try:
        outcomes = run_grid(cells, statuses, pool, results, ExecutionOptions(), seen)
    finally:
        assert not pool.is_open
    assert seen.ended == outcomes
    return pool, seen, outcomes


def test_every_cell_is_given_once_in_order(tmp_path):
    pool, seen, outcomes = do_grid(done, tmp_path)
    assert [job.cell.id for job in pool.given] == seen.begun == ["a", "b", "c", "d", "e"]
    assert {outcome.status for outcome in outcomes.values()} == {"done"}


@pytest.mark.parametrize(
    "answer",
    [
        ended(status="failed", error="it went wrong"),
        *(
            Failed(reason=reason, error="it went wrong")
            for reason in ("input", "work", "memory", "device", "bug")
        ),
        GIVEN_UP,
    ],
    ids=lambda answer: getattr(answer, "reason", type(answer).__name__),
)
def test_a_cell_that_fails_in_any_way_does_not_stop_the_others(answer, tmp_path):
    pool, _, outcomes = do_grid(
        lambda job, n: answer if job.cell.id == "b" else done(job), tmp_path, kind="parameters"
    )
    assert outcomes["b"].status == "failed"
    assert outcomes["b"].error is not None
    assert ("it went wrong" in outcomes["b"].error) or (KILLED in outcomes["b"].error)
    assert [name for name, outcome in outcomes.items() if outcome.status == "done"] == ["a", "c", "d", "e"]
    assert len(pool.given) == 5


def test_a_full_disk_stops_all(tmp_path):
    given: list[CellJob] = []

    def answer(job: CellJob, n: int) -> Message:
        given.append(job)
        return Failed(reason="disk", error="No space left on device")

    with pytest.raises(WorkError, match="No space left on device"):
        do_grid(answer, tmp_path)
    assert len(given) <= 2


def test_progress_is_shown_and_ends_nothing(tmp_path):
    states = [ProgressState(phase="train", done=step, total=3) for step in (1, 2, 3)]
    left = iter(states)
    _, seen, outcomes = do_grid(lambda job, n: next(left, None) or done(job), tmp_path, ["a"])
    assert seen.states == states
    assert list(outcomes) == ["a"]


def test_a_cell_whose_worker_dies_goes_on_with_a_new_one(tmp_path):
    answers = iter([AGAIN])
    pool, seen, outcomes = do_grid(lambda job, n: next(answers, None) or done(job), tmp_path, ["a"])
    assert [job.cell.id for job in pool.given] == ["a"]
    assert seen.left == [("a", f"its worker {KILLED}; it goes on with a new one")]
    assert seen.begun == ["a", "a"]
    assert outcomes["a"].status == "done"


def test_a_failure_that_the_worker_could_not_record_is_recorded(write, tmp_path):
    cells = plan_cells(read_experiment(write()), CellFilter(), None, None)[:1]
    statuses = {cell.id: read_status(cell, tmp_path) for cell in cells}
    outcomes = run_grid(
        cells, statuses, ScriptedPool(lambda job, n: GIVEN_UP), tmp_path, ExecutionOptions(), Seen()
    )
    assert [outcome.status for outcome in outcomes.values()] == ["failed"]
    assert read_status(cells[0], tmp_path) == "failed"


def test_a_cell_that_another_process_does_is_waited_for(tmp_path):
    """The lock of b is released when all others are done."""
    elsewhere = lock(tmp_path / "runs" / "b")
    elsewhere.__enter__()

    def answer(job: CellJob, n: int) -> Finished:
        if job.cell.id == "e":
            elsewhere.__exit__(None, None, None)
        return done(job)

    pool, _, outcomes = do_grid(answer, tmp_path)
    assert [job.cell.id for job in pool.given] == ["a", "c", "d", "e", "b"]
    assert outcomes["b"].status == "done"


def test_a_cell_that_a_worker_finds_taken_is_given_again_later(tmp_path):
    _, seen, outcomes = do_grid(
        lambda job, n: BUSY if job.cell.id == "a" and n < 6 else done(job), tmp_path, ["a", "b"]
    )
    assert [name for name, _ in seen.left] == ["a"] * 5
    assert outcomes["a"].status == "done"


@pytest.mark.parametrize("status", ["done", "diverged"])
def test_a_cell_that_another_process_has_ended_is_not_done_again(status, tmp_path):
    def answer(job: CellJob, n: int) -> Finished:
        if job.cell.id == "a":
            write_run(tmp_path, status=status, seed=7)
        return done(job)

    name = write_run(tmp_path / "elsewhere", seed=7).name
    pool, _, outcomes = do_grid(answer, tmp_path, ["a", "b", name])
    assert [job.cell.id for job in pool.given] == ["a", "b"]
    assert outcomes[name].status == status


def test_a_cell_that_failed_before_is_done_when_it_is_among_those_to_do(tmp_path):
    name = write_run(tmp_path, status="diverged", seed=7).name
    assert do_grid(done, tmp_path, [name])[2][name].status == "done"


def test_ctrl_c_leaves_no_worker_behind(tmp_path):
    def stopped(job: CellJob, n: int) -> Finished:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do_grid(stopped, tmp_path, "abc")
