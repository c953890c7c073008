"""What becomes of trials: trained, pruned, diverged, stopped, killed, repeated."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Iterator

import pytest
from optuna.trial import TrialState

from sparsegrad_cli.errors import WorkError
from sparsegrad_cli.store.records import Result
from sparsegrad_cli.sweep import storage as liveness
from sparsegrad_cli.sweep import trial
from sparsegrad_cli.sweep.folder import sweep_folder
from sparsegrad_cli.sweep.plan import best_path, write_best
from sparsegrad_cli.sweep.space import Range, Space
from sparsegrad_cli.sweep.storage import LiveJournal
from sparsegrad_cli.sweep.study import SLOT, WORKER, attempts, release, snapshot, top_up
from sparsegrad_cli.sweep.trial import Stop
from sparsegrad_cli.training.callbacks import ReportProgress
from sparsegrad_cli.training.params import read_params
from sparsegrad_cli.training.resolve import resolve
from sparsegrad_cli.training.run import run as really_run
from sparsegrad_cli.training.trainer import Cell

from ..cells import Asked, PowerCutError, changed
from .studies import begin, separated, tiny_choices, tiny_config, work

RATES = (1e-4, 3e-4, 1e-3, 3e-3)


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    return tiny_choices(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEGRAD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the runs that were trained, in order."""
    ids: list[str] = []

    def run(cell: Cell) -> Result:
        ids.append(cell.config.run_id())
        return really_run(cell)

    monkeypatch.setattr(trial, "run", run)
    return ids


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Gives the signals back to who had them."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def grid(*rates: float, batch_sizes: tuple[int, ...] = (4,)) -> Space:
    return Space(parameters={"learning_rate": rates, "batch_size": batch_sizes})


def test_the_budget_is_what_was_asked_and_is_topped_up(choices, tmp_path, ran):
    study = begin(tiny_config(choices), tmp_path, trials=3)
    result = work(study, tmp_path)
    assert (result.asked, result.finished, result.count("complete"), len(ran)) == (3, 3, 3, 3)
    top_up(study, 3)
    assert work(study, tmp_path) == result
    top_up(study, 5)
    result = work(study, tmp_path)
    assert (result.asked, result.count("complete"), len(ran)) == (5, 5, 5)
    top_up(study, 2)
    assert work(study, tmp_path).asked == 5


def test_a_trial_is_a_run_and_its_score_is_that_of_the_best_evaluation(choices, tmp_path):
    config = tiny_config(choices)
    result = work(begin(config, tmp_path, trials=2), tmp_path)
    for record in result.trials:
        folder = sweep_folder(tmp_path, config) / "runs" / str(record.run)
        kept = Result.model_validate_json((folder / "result.json").read_bytes())
        lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        scores = [line["selection"][config.score_name] for line in lines if "selection" in line]
        assert record.score == kept.selection_score == max(scores)
        assert list(record.evaluations.values()) == scores
        assert not (folder / "model").exists()
        assert not (folder / "checkpoints").exists()
    best = result.best
    assert best is not None
    assert best.score == max(record.score for record in result.trials)


def test_one_worker_alone_draws_the_same_values_each_time(choices, tmp_path):
    config = tiny_config(choices, max_steps=2)
    found = [
        [
            (record.params, record.score)
            for record in work(begin(config, tmp_path / name, 8), tmp_path / name).trials
        ]
        for name in ("one", "two")
    ]
    assert found[0] == found[1]
    assert len({str(params) for params, _ in found[0]}) == 8


def test_the_same_values_are_trained_once(choices, tmp_path, ran):
    config = tiny_config(choices, space=grid(1e-3, 3e-3))
    result = work(begin(config, tmp_path, trials=7), tmp_path)
    assert result.count("complete") == 7
    assert len(ran) == len(set(ran)) == 2
    first = {str(record.params): record for record in result.trials if record.same_as is None}
    for record in result.trials:
        assert record.score == first[str(record.params)].score


def test_the_median_pruner_ends_what_is_worse_than_half(choices, tmp_path, monkeypatch):
    tell = ReportProgress.on_evaluate
    scores = iter([0.5] * 12 + [0.1] * 12)

    def evaluate(self, args, state, control, metrics, **kwargs):
        metrics["eval_matthews_correlation"] = next(scores)
        tell(self, args, state, control, metrics, **kwargs)

    monkeypatch.setattr(ReportProgress, "on_evaluate", evaluate)
    config = tiny_config(choices, pruner="median")
    study = begin(config, tmp_path, trials=4)
    assert work(study, tmp_path).count("complete") == 4
    study.enqueue_trial({"learning_rate": 9e-3, "batch_size": 4}, user_attrs={SLOT: 4})
    pruned = work(study, tmp_path).trials[4]
    assert pruned.state == "pruned"
    assert pruned.evaluations == {1: 0.1, 2: 0.1}  # of three; a first one never prunes
    assert "worse than the median" in str(pruned.reason)
    folder = sweep_folder(tmp_path, config) / "runs" / str(pruned.run)
    assert Result.model_validate_json((folder / "result.json").read_bytes()).status == "pruned"
    assert not (folder / "checkpoints").exists()


def test_hyperband_too_ends_trials_and_keeps_the_budget(choices, tmp_path, monkeypatch):
    tell = ReportProgress.on_evaluate

    def evaluate(self, args, state, control, metrics, **kwargs):
        metrics["eval_matthews_correlation"] = -args.learning_rate
        tell(self, args, state, control, metrics, **kwargs)

    monkeypatch.setattr(ReportProgress, "on_evaluate", evaluate)
    config = tiny_config(choices, pruner="hyperband", max_steps=9, eval_steps=1, patience=0)
    result = work(begin(config, tmp_path, trials=12), tmp_path)
    assert result.finished == result.count("complete", "pruned") == 12
    pruned = [trial for trial in result.trials if trial.state == "pruned"]
    assert pruned
    assert all(len(trial.evaluations) < 9 and "bracket" in str(trial.reason) for trial in pruned)


def test_diverged_and_out_of_memory_are_trials_with_a_reason(choices, tmp_path, monkeypatch):
    def run(cell: Cell) -> Result:
        if cell.config.learning_rate == RATES[0]:
            return _result(cell, "out-of-memory", "OutOfMemoryError: no room for 4 GB")
        if cell.config.learning_rate == RATES[1]:
            return _result(cell, "diverged", "the loss is nan at step 10")
        if cell.config.learning_rate == RATES[2]:
            return _result(cell, "done", None, math.nan)
        return really_run(cell)

    monkeypatch.setattr(trial, "run", run)
    result = work(begin(tiny_config(choices, space=grid(*RATES)), tmp_path, trials=12), tmp_path)
    by_rate = {record.params["learning_rate"]: record for record in result.trials if record.same_as is None}
    assert by_rate[RATES[0]].state == "out-of-memory"
    assert "no room for 4 GB" in str(by_rate[RATES[0]].reason)
    assert by_rate[RATES[1]].state == by_rate[RATES[2]].state == "diverged"
    assert by_rate[RATES[3]].state == "complete"
    assert result.finished == 12
    assert result.best is not None
    assert result.best.params["learning_rate"] == RATES[3]


def _result(cell: Cell, status: str, error: str | None, score: float | None = None) -> Result:
    config = cell.config
    return Result(
        id=config.run_id(),
        model=config.model,
        task=config.task,
        method=config.method,
        seed=config.seed,
        protocol=config.protocol,
        status=status,
        error=error,
        score_name="matthews_correlation",
        selection_score=score,
        data=cell.inputs.data.record(),
        hyperparameters_from="options",
    )


def test_a_loss_that_overflows_ends_its_trial_and_not_the_sweep(choices, tmp_path):
    config = tiny_config(choices, max_steps=12, space=grid(1e-3, 1e30), methods=["lora"])
    result = work(begin(config, tmp_path, trials=6), tmp_path)
    states = {record.params["learning_rate"]: record.state for record in result.trials}
    assert states == {1e-3: "complete", 1e30: "diverged"}


def test_three_trials_that_fail_in_a_row_end_the_worker(choices, tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "run", lambda cell: _result(cell, "failed", "RuntimeError: a bug"))
    study = begin(tiny_config(choices), tmp_path, trials=8)
    with pytest.raises(WorkError, match=r"3 trials in a row failed in .*RuntimeError: a bug"):
        work(study, tmp_path)
    assert snapshot(study).result.count("failed") == 3
    monkeypatch.setattr(trial, "run", really_run)
    top_up(study, 8)  # the same command again
    assert work(study, tmp_path).count("complete") == 8


def test_a_stopped_trial_is_queued_again_and_goes_on_from_its_checkpoint(choices, tmp_path, monkeypatch):
    config = tiny_config(choices, max_steps=8)
    expected = work(begin(config, tmp_path / "whole", trials=3), tmp_path / "whole")
    stop_at = {"evaluation": 5}
    tell = ReportProgress.on_evaluate

    def evaluate(self, args, state, control, metrics, **kwargs):
        stop_at["evaluation"] -= 1
        tell(self, args, state, control, metrics, **kwargs)
        if stop_at["evaluation"] == -1:
            raise KeyboardInterrupt

    monkeypatch.setattr(ReportProgress, "on_evaluate", evaluate)
    study = begin(config, tmp_path / "stopped", trials=3)
    with pytest.raises(KeyboardInterrupt):
        work(study, tmp_path / "stopped")
    standing = snapshot(study).result
    assert standing.count("running") == 0
    assert standing.count("waiting") == 2
    result = work(study, tmp_path / "stopped")
    assert [(t.params, t.score, t.evaluations) for t in result.trials] == [
        (t.params, t.score, t.evaluations) for t in expected.trials
    ]
    assert [t.attempts for t in result.trials] == [1, 2, 1]


@pytest.mark.parametrize(
    ("write", "times", "finished"),
    [
        ("set_trial_state_values", 1, 0),  # taken from the queue
        ("set_trial_user_attr", 1, 0),
        ("set_trial_param", 1, 0),
        ("set_trial_intermediate_value", 1, 0),
        ("set_trial_state_values", 2, 1),  # its score is handed in
    ],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_a_trial_and_its_study_loses_no_trial(
    choices, tmp_path, monkeypatch, own_signals, write, times, finished, number
):
    study = begin(tiny_config(choices), tmp_path, trials=2)
    left = {"writes": times}
    really_write = getattr(LiveJournal, write)

    def interrupted(*args, **kwargs):
        left["writes"] -= 1
        if left["writes"] == 0:
            os.kill(os.getpid(), number)
        return really_write(*args, **kwargs)

    stop = Stop()
    stop.listen()
    with monkeypatch.context() as signalled:
        signalled.setattr(LiveJournal, write, interrupted)
        with pytest.raises(KeyboardInterrupt):
            work(study, tmp_path, stop)
    standing = snapshot(study).result
    assert (standing.count("complete"), standing.count("waiting")) == (finished, 2 - finished)
    assert work(study, tmp_path).count("complete") == 2


def test_a_killed_workers_trial_is_found_by_its_heartbeat(choices, tmp_path, monkeypatch):
    config = tiny_config(choices)
    study = begin(config, tmp_path, trials=3)

    def cut(cell: Cell) -> Result:
        raise PowerCutError

    with monkeypatch.context() as killed:
        killed.setattr(trial, "run", cut)
        with pytest.raises(PowerCutError):
            work(study, tmp_path)
    (lost,) = study.get_trials(states=(TrialState.RUNNING,))
    monkeypatch.setattr(liveness, "GRACE", -1.0)
    result = work(study, tmp_path)
    assert (result.finished, result.count("complete")) == (3, 3)
    retried = result.trials[lost.user_attrs[SLOT]]
    assert retried.params == lost.params
    assert retried.attempts == 2


def test_a_worker_that_was_thought_dead_goes_on_with_other_trials(choices, tmp_path, monkeypatch):
    """As after a laptop's sleep: another process has its trial by then."""
    config = tiny_config(choices)
    study = begin(config, tmp_path, trials=3)
    taken = []

    def run(cell: Cell) -> Result:
        if not taken:
            (lost,) = study.get_trials(states=(TrialState.RUNNING,))
            taken.append(lost)
            release(study, str(lost.user_attrs[WORKER]))
        return really_run(cell)

    monkeypatch.setattr(trial, "run", run)
    result = work(study, tmp_path)
    assert result.count("complete") == 3
    assert result.trials[taken[0].user_attrs[SLOT]].params == taken[0].params


def test_a_run_that_another_process_holds_is_waited_for(choices, tmp_path, monkeypatch):
    config = tiny_config(choices)
    study = begin(config, tmp_path, trials=1)
    held = []

    def run(cell: Cell) -> Result:
        if not held:
            held.append(cell.folder.lock())
            held[0].__enter__()
        return really_run(cell)

    def wait(seconds: float) -> None:
        held[0].__exit__(None, None, None)

    monkeypatch.setattr(trial, "run", run)
    monkeypatch.setattr(trial.time, "sleep", wait)
    assert work(study, tmp_path).count("complete") == 1


def test_the_best_parameters_are_read_back_for_finetune(choices, tmp_path):
    config = tiny_config(
        choices,
        methods=["meprop"],
        space=Space(
            parameters={
                "learning_rate": Range(low=1e-4, high=1e-2, log=True),
                "density": (0.02, 0.1),
                "sparse_learning_rate": (1e-3, 1e-2),
            }
        ),
        batch_size=4,
    )
    study = begin(config, tmp_path, trials=3)
    result = work(study, tmp_path)
    write_best(tmp_path, [snapshot(study)])
    best = result.best
    assert best is not None
    asked, _, _ = separated(changed(choices, batch_size=4))
    params = read_params(best_path(tmp_path, snapshot(study)))
    configs, _ = resolve(asked, ["meprop"], [0, 1], params=params)
    for run_config in configs:
        assert {name: getattr(run_config, name) for name in best.params} == best.params
        assert run_config.batch_size == 4
        assert run_config.hyperparameters_from == f"sweep {config.study_id()[:8]}, best of 3 on dev"


def test_every_slot_has_one_trial_that_counts(choices, tmp_path):
    study = begin(tiny_config(choices, max_steps=2), tmp_path, trials=3)
    for slot in (0, 2):  # another machine queued them at the same moment
        study.enqueue_trial({}, user_attrs={SLOT: slot})
    result = work(study, tmp_path)
    assert result.finished == 3
    finished = [[t for t in tries if t.state == TrialState.COMPLETE] for tries in attempts(study).values()]
    assert [len(tries) for tries in finished] == [1, 1, 1]
