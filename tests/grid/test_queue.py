"""The queue of a grid, with engines that have no processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from sparsegrad_cli.errors import InputError, WorkError
from sparsegrad_cli.grid import run as grid_run
from sparsegrad_cli.grid.engine import Lost
from sparsegrad_cli.grid.kinds import GridCell, Outcome
from sparsegrad_cli.grid.plan import Wanted, plan_cells, standings
from sparsegrad_cli.grid.read import read_experiment
from sparsegrad_cli.grid.run import TRIES, run_grid
from sparsegrad_cli.grid.work import Ended, Job, Progress, Sight, do
from sparsegrad_cli.store.lock import lock

from ..report.runs import write_run
from .grids import Answer, Scripted, Seen, cells_named, done

FAILED = Ended(outcome=Outcome(status="failed", error="it went wrong"))
DIED = Lost("was killed by signal 9")


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid_run, "BUSY_SECONDS", 0.02)


def a_job(cell: GridCell, give_up: str | None, results: Path) -> Job:
    return Job(
        cell=cell,
        results=str(results),
        checkpoint_seconds=600.0,
        keep_model=False,
        accumulate_on_oom=False,
        predict_test=False,
        command=("sparsegrad", "run"),
        give_up=give_up,
    )


def do_grid(
    answer: Answer, results: Path, names: Sequence[str] = ("a", "b", "c", "d", "e")
) -> tuple[Scripted, Seen, dict[str, Outcome]]:
    engine, seen = Scripted(answer), Seen()
    outcomes = run_grid(cells_named(names), engine, lambda *of: a_job(*of, results), results, seen)
    assert not engine.is_open
    assert seen.ended == outcomes
    return engine, seen, outcomes


def test_every_cell_is_given_once_in_order(tmp_path):
    engine, seen, outcomes = do_grid(done, tmp_path)
    assert [job.cell.id for job in engine.given] == seen.begun == ["a", "b", "c", "d", "e"]
    assert {outcome.status for outcome in outcomes.values()} == {"done"}


def test_a_cell_that_fails_does_not_stop_the_others(tmp_path):
    engine, _, outcomes = do_grid(lambda job, n: FAILED if job.cell.id == "b" else done(job), tmp_path)
    assert outcomes["b"].error == "it went wrong"
    assert [name for name, outcome in outcomes.items() if outcome.status == "done"] == ["a", "c", "d", "e"]
    assert len(engine.given) == 5


def test_progress_is_shown_and_ends_nothing(tmp_path):
    news = [Progress(phase="train", done=step, total=3) for step in (1, 2, 3)]
    to_tell = iter(news)
    _, seen, outcomes = do_grid(lambda job, n: next(to_tell, None) or done(job), tmp_path, ["a"])
    assert seen.told == news
    assert list(outcomes) == ["a"]


def test_a_cell_whose_worker_dies_is_done_again_at_once(tmp_path):
    engine, seen, outcomes = do_grid(
        lambda job, n: DIED if (job.cell.id, n) == ("a", 1) else done(job), tmp_path
    )
    assert [job.cell.id for job in engine.given][:3] == ["a", "b", "a"]
    assert seen.left == [("a", "its worker was killed by signal 9")]
    assert (engine.given[2].give_up, outcomes["a"].status) == (None, "done")


def test_the_third_death_over_a_cell_gives_it_up_and_the_rest_goes_on(tmp_path):
    def answer(job: Job, n: int) -> Ended | Lost:
        if job.give_up is not None:
            return Ended(outcome=Outcome(status="failed", error=job.give_up))
        return DIED if job.cell.id == "a" else done(job)

    engine, _, outcomes = do_grid(answer, tmp_path)
    of_a = [job.give_up for job in engine.given if job.cell.id == "a"]
    assert of_a == [None] * TRIES + ["3 workers died over it; the last one was killed by signal 9"]
    assert outcomes["a"].error == of_a[-1]
    assert [outcomes[name].status for name in "bcde"] == ["done"] * 4


def test_workers_that_die_whatever_they_are_given_end_the_cell_too(tmp_path):
    engine, _, outcomes = do_grid(lambda job, n: DIED, tmp_path, ["a", "b"])
    assert len(engine.given) == 2 * (TRIES + 1)
    assert {outcome.status for outcome in outcomes.values()} == {"failed"}
    assert "workers died over it; the last one was killed by signal 9" in outcomes["a"].error


def test_a_cell_that_is_given_up_is_recorded(write, tmp_path):
    (cell, *_) = cells = plan_cells(read_experiment(write()), Wanted(), None, None)
    ended = do(a_job(cell, "3 workers died over it", tmp_path), Sight())
    assert ended.outcome == Outcome(
        status="failed",
        error="3 workers died over it",
        score_name="matthews_correlation",
        seconds=0.0,
    )
    assert standings(cells, tmp_path)[0].status == "failed"


def test_a_cell_that_another_process_does_is_waited_for(tmp_path):
    """The lock of b is let go when all others are done."""
    elsewhere = lock(tmp_path / "runs" / "b")
    elsewhere.__enter__()

    def answer(job: Job, n: int) -> Ended:
        if job.cell.id == "e":
            elsewhere.__exit__(None, None, None)
        return done(job)

    engine, _, outcomes = do_grid(answer, tmp_path)
    assert [job.cell.id for job in engine.given] == ["a", "c", "d", "e", "b"]
    assert outcomes["b"].status == "done"


def test_a_cell_that_a_worker_finds_taken_is_given_again_later(tmp_path):
    busy = Ended(busy=True)
    engine, seen, outcomes = do_grid(
        lambda job, n: busy if job.cell.id == "a" and n < TRIES + 3 else done(job), tmp_path, ["a", "b"]
    )
    assert seen.left == [("a", "another process does it")] * (TRIES + 2)
    assert all(job.give_up is None for job in engine.given)
    assert outcomes["a"].status == "done"


@pytest.mark.parametrize("status", ["done", "diverged"])
def test_a_cell_that_another_process_has_ended_is_not_done_again(status, tmp_path):
    def answer(job: Job, n: int) -> Ended:
        if job.cell.id == "a":
            write_run(tmp_path, status=status, seed=7)
        return done(job)

    name = write_run(tmp_path / "elsewhere", seed=7).name
    engine, _, outcomes = do_grid(answer, tmp_path, ["a", "b", name])
    assert [job.cell.id for job in engine.given] == ["a", "b"]
    assert outcomes[name].status == status


def test_a_cell_that_failed_before_is_done_when_it_is_among_those_to_do(tmp_path):
    name = write_run(tmp_path, status="diverged", seed=7).name
    assert do_grid(done, tmp_path, [name])[2][name].status == "done"


@pytest.mark.parametrize(("wrong_input", "error"), [(False, WorkError), (True, InputError)])
def test_what_stops_one_cell_for_good_stops_all(wrong_input, error, tmp_path):
    engine = Scripted(lambda job, n: Ended(stop="No space left on device", wrong_input=wrong_input))
    with pytest.raises(error, match="No space left on device"):
        run_grid(cells_named("abc"), engine, lambda *of: a_job(*of, tmp_path), tmp_path, Seen())
    assert len(engine.given) == engine.workers
    assert not engine.is_open


def test_ctrl_c_leaves_no_worker_behind(tmp_path):
    def stopped(job: Job, n: int) -> Ended:
        raise KeyboardInterrupt

    engine = Scripted(stopped)
    with pytest.raises(KeyboardInterrupt):
        run_grid(cells_named("abc"), engine, lambda *of: a_job(*of, tmp_path), tmp_path, Seen())
    assert not engine.is_open
