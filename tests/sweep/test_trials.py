"""What becomes of trials: trained, pruned, diverged, stopped, killed, repeated."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Iterator

import pytest
from optuna.trial import TrialState

from sparsegrad_cli import interrupts
from sparsegrad_cli.errors import WorkError
from sparsegrad_cli.progress import NoProgress
from sparsegrad_cli.store.records import Result
from sparsegrad_cli.sweep import run as sweep_run
from sparsegrad_cli.sweep import trial
from sparsegrad_cli.sweep.records import SWEEPS
from sparsegrad_cli.sweep.run import BEST, write_best
from sparsegrad_cli.sweep.space import Range, Space
from sparsegrad_cli.sweep.storage import Journal
from sparsegrad_cli.sweep.study import WORKER, release, sign, snapshot, study_result, top_up
from sparsegrad_cli.sweep.trial import SweepJob, worker_name
from sparsegrad_cli.training.callbacks import PrunedError, ReportProgress
from sparsegrad_cli.training.params import read_params
from sparsegrad_cli.training.resolve import resolve
from sparsegrad_cli.training.run import run as really_run
from sparsegrad_cli.training.trainer import PlannedRun

from ..planned import Asked, PowerCutError, changed
from .studies import begin, separated, tiny_choices, tiny_config, work

RATES = (1e-4, 3e-4, 1e-3, 3e-3)


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    return tiny_choices(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the runs that were trained, in order."""
    ids: list[str] = []

    def run(planned: PlannedRun) -> Result:
        ids.append(planned.config.run_id())
        return really_run(planned)

    monkeypatch.setattr(trial, "run", run)
    return ids


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Gives the signals back to who had them."""
    numbers = (*interrupts.SIGNALS, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lets trials have scores without training: the higher the nearer the learning rate is to 1e-3.

    Gives the ids of their runs, in order.
    """
    ids: list[str] = []

    def run(planned: PlannedRun) -> Result:
        ids.append(planned.config.run_id())
        score = 1 / (1 + abs(math.log10(planned.config.learning_rate) + 3))
        planned.progress.phase("train", 9)
        try:
            for evaluation in range(1, 10):
                planned.progress.evaluated(
                    "matthews_correlation", score * evaluation / 9, score * evaluation / 9
                )
        except PrunedError as error:
            return _result(planned, "pruned", str(error))
        return _result(planned, "done", None, score)

    monkeypatch.setattr(trial, "run", run)
    return ids


def grid(*rates: float, batch_sizes: tuple[int, ...] = (4,)) -> Space:
    return Space(parameters={"learning_rate": rates, "batch_size": batch_sizes})


def test_the_budget_is_what_was_asked_and_is_topped_up(choices, tmp_path, untrained):
    study = begin(tiny_config(choices), tmp_path, trials=3)
    result = work(study, tmp_path)
    assert (result.asked, result.finished, result.count("complete"), len(untrained)) == (3, 3, 3, 3)
    top_up(study, 3)
    assert work(study, tmp_path) == result
    top_up(study, 5)
    result = work(study, tmp_path)
    assert (result.asked, result.count("complete"), len(untrained)) == (5, 5, 5)
    top_up(study, 2)
    assert work(study, tmp_path).asked == 5


def test_a_trial_is_a_run_and_its_score_is_that_of_the_best_evaluation(choices, tmp_path):
    config = tiny_config(choices)
    result = work(begin(config, tmp_path, trials=2), tmp_path)
    for record in result.trials:
        folder = SWEEPS.folder(tmp_path, config).path / "runs" / str(record.run)
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
        tell(self, args, state, control, metrics=metrics, **kwargs)

    monkeypatch.setattr(ReportProgress, "on_evaluate", evaluate)
    config = tiny_config(choices, pruner="median")
    study = begin(config, tmp_path, trials=4)
    assert work(study, tmp_path).count("complete") == 4
    study.enqueue_trial({"learning_rate": 9e-3, "batch_size": 4})
    pruned = work(study, tmp_path).trials[4]
    assert pruned.state == "pruned"
    assert pruned.evaluations == {1: 0.1, 2: 0.1}  # of three; a first one never prunes
    assert "worse than the median" in str(pruned.reason)
    folder = SWEEPS.folder(tmp_path, config).path / "runs" / str(pruned.run)
    assert Result.model_validate_json((folder / "result.json").read_bytes()).status == "pruned"
    assert not (folder / "checkpoints").exists()


def test_hyperband_too_ends_trials_and_keeps_the_budget(choices, tmp_path, untrained):
    config = tiny_config(choices, pruner="hyperband")
    result = work(begin(config, tmp_path, trials=12), tmp_path)
    assert result.finished == result.count("complete", "pruned") == len(untrained) == 12
    pruned = [trial for trial in result.trials if trial.state == "pruned"]
    assert min(len(trial.evaluations) for trial in pruned) < 9
    assert all("bracket" in str(trial.reason) for trial in pruned)


def test_diverged_and_out_of_memory_are_trials_with_a_reason(choices, tmp_path, monkeypatch, untrained):
    run_well = trial.run

    def run(planned: PlannedRun) -> Result:
        if planned.config.learning_rate == RATES[0]:
            return _result(planned, "out-of-memory", "OutOfMemoryError: no room for 4 GB")
        if planned.config.learning_rate == RATES[1]:
            return _result(planned, "diverged", "the loss is nan at step 10")
        if planned.config.learning_rate == RATES[2]:
            return _result(planned, "done", None)
        return run_well(planned)

    monkeypatch.setattr(trial, "run", run)
    result = work(begin(tiny_config(choices, space=grid(*RATES)), tmp_path, trials=12), tmp_path)
    by_rate = {record.params["learning_rate"]: record for record in result.trials}
    assert by_rate[RATES[0]].state == "out-of-memory"
    assert "no room for 4 GB" in str(by_rate[RATES[0]].reason)
    assert by_rate[RATES[1]].state == by_rate[RATES[2]].state == "diverged"
    assert by_rate[RATES[3]].state == "complete"
    assert result.finished == 12
    assert result.best is not None
    assert result.best.params["learning_rate"] == RATES[3]


def _result(planned: PlannedRun, status: str, error: str | None, score: float | None = None) -> Result:
    config = planned.config
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
        data=planned.inputs.data.record(),
        hyperparameters_from="options",
    )


def test_a_loss_that_overflows_ends_its_trial_and_not_the_sweep(choices, tmp_path):
    config = tiny_config(choices, max_steps=12, space=grid(1e-3, 1e30), methods=["lora"])
    result = work(begin(config, tmp_path, trials=4), tmp_path)
    states = {record.params["learning_rate"]: record.state for record in result.trials}
    assert states == {1e-3: "complete", 1e30: "diverged"}


def test_three_trials_that_fail_in_a_row_end_the_worker(choices, tmp_path, monkeypatch, untrained):
    run_well = trial.run
    monkeypatch.setattr(trial, "run", lambda planned: _result(planned, "failed", "RuntimeError: a bug"))
    study = begin(tiny_config(choices), tmp_path, trials=8)
    with pytest.raises(WorkError, match=r"3 trials in a row failed in .*RuntimeError: a bug"):
        work(study, tmp_path)
    assert study_result(study).count("failed") == 3
    monkeypatch.setattr(trial, "run", run_well)
    top_up(study, 8)  # the same command again
    assert work(study, tmp_path).count("complete") == 8


def test_a_stopped_trial_is_queued_again_and_goes_on_from_its_checkpoint(choices, tmp_path, monkeypatch):
    config = tiny_config(choices, max_steps=8)
    expected = work(begin(config, tmp_path / "whole", trials=3), tmp_path / "whole")
    stop_at = {"evaluation": 5}
    tell = ReportProgress.on_evaluate

    def evaluate(self, args, state, control, metrics, **kwargs):
        stop_at["evaluation"] -= 1
        tell(self, args, state, control, metrics=metrics, **kwargs)
        if stop_at["evaluation"] == -1:
            raise KeyboardInterrupt

    monkeypatch.setattr(ReportProgress, "on_evaluate", evaluate)
    study = begin(config, tmp_path / "stopped", trials=3)
    with pytest.raises(KeyboardInterrupt):
        work(study, tmp_path / "stopped")
    standing = study_result(study)
    assert standing.count("running") == 0
    assert standing.count("waiting") == 1
    result = work(study, tmp_path / "stopped")
    assert [(t.params, t.score, t.evaluations) for t in result.trials] == [
        (t.params, t.score, t.evaluations) for t in expected.trials
    ]
    assert [t.attempts for t in result.trials] == [1, 2, 1]


@pytest.mark.parametrize(
    ("number", "write", "finished", "waiting"),
    [
        (signal.SIGINT, "create_new_trial", 0, 1),
        (signal.SIGINT, "set_trial_user_attr", 0, 1),
        (signal.SIGTERM, "set_trial_param", 0, 1),
        (signal.SIGINT, "set_trial_intermediate_value", 0, 1),
        (signal.SIGTERM, "set_trial_state_values", 1, 0),  # its score is handed in
    ],
)
def test_a_signal_between_a_trial_and_its_study_loses_no_trial(
    choices, tmp_path, monkeypatch, own_signals, untrained, number, write, finished, waiting
):
    study = begin(tiny_config(choices), tmp_path, trials=2)
    left = {"writes": 1}
    really_write = getattr(Journal, write)

    def interrupted(*args, **kwargs):
        left["writes"] -= 1
        if left["writes"] == 0:
            os.kill(os.getpid(), number)
        return really_write(*args, **kwargs)

    interrupts.listen()
    with monkeypatch.context() as signalled:
        signalled.setattr(Journal, write, interrupted)
        with pytest.raises(KeyboardInterrupt):
            work(study, tmp_path)
    standing = study_result(study)
    assert (standing.count("complete"), standing.count("waiting")) == (finished, waiting)
    assert standing.count("running") == 0
    assert work(study, tmp_path).count("complete") == 2


def test_a_killed_workers_trial_is_tried_again(choices, tmp_path, monkeypatch, untrained):
    config = tiny_config(choices)
    study = begin(config, tmp_path, trials=3)

    def cut(planned: PlannedRun) -> Result:
        raise PowerCutError

    with monkeypatch.context() as killed:
        killed.setattr(trial, "run", cut)
        with pytest.raises(PowerCutError):
            work(study, tmp_path)
    (lost,) = study.get_trials(states=(TrialState.RUNNING,))
    result = work(study, tmp_path)
    assert (result.finished, result.count("complete")) == (3, 3)
    assert (result.trials[0].params, result.trials[0].attempts) == (lost.params, 2)


def test_a_killed_sweep_tries_the_same_values_as_a_calm_one(choices, tmp_path, monkeypatch, untrained):
    config = tiny_config(choices, max_steps=2)
    calm = work(begin(config, tmp_path / "calm", trials=8), tmp_path / "calm")
    study = begin(config, tmp_path / "killed", trials=8)
    left, run_well = {"runs": 0}, trial.run

    def cut(planned: PlannedRun) -> Result:
        left["runs"] -= 1
        if left["runs"] == 0:
            raise PowerCutError
        return run_well(planned)

    monkeypatch.setattr(trial, "run", cut)
    for runs in (2, 5):
        left["runs"] = runs
        with pytest.raises(PowerCutError):
            work(study, tmp_path / "killed")
    killed = work(study, tmp_path / "killed")
    assert [(t.params, t.score) for t in killed.trials] == [(t.params, t.score) for t in calm.trials]


def test_a_worker_that_was_thought_dead_goes_on_with_other_trials(choices, tmp_path, monkeypatch, untrained):
    """As after a laptop's sleep: another process has its trial by then."""
    config = tiny_config(choices)
    study = begin(config, tmp_path, trials=3)
    taken, run_well = [], trial.run

    def run(planned: PlannedRun) -> Result:
        if not taken:
            (lost,) = study.get_trials(states=(TrialState.RUNNING,))
            taken.append(lost)
            release(study, str(lost.user_attrs[WORKER]))
        return run_well(planned)

    monkeypatch.setattr(trial, "run", run)
    result = work(study, tmp_path)
    assert result.count("complete") == 3
    assert result.trials[0].params == taken[0].params


def test_a_run_that_another_process_holds_is_waited_for(choices, tmp_path, monkeypatch):
    config = tiny_config(choices)
    study = begin(config, tmp_path, trials=1)
    held = []

    def run(planned: PlannedRun) -> Result:
        if not held:
            held.append(planned.folder.lock())
            held[0].__enter__()
        return really_run(planned)

    def wait(seconds: float) -> None:
        held[0].__exit__(None, None, None)

    monkeypatch.setattr(trial, "run", run)
    monkeypatch.setattr(trial.time, "sleep", wait)
    assert work(study, tmp_path).count("complete") == 1


def test_the_best_parameters_are_read_back_for_finetune(choices, tmp_path, untrained):
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
    write_best(tmp_path, [snapshot(study, tmp_path)])
    best = result.best
    assert best is not None
    asked, _, _ = separated(changed(choices, batch_size=4))
    params = read_params(snapshot(study, tmp_path).folder / BEST)
    configs, _ = resolve(asked, ["meprop"], [0, 1], params=params)
    for run_config in configs:
        assert {name: getattr(run_config, name) for name in best.params} == best.params
        assert run_config.batch_size == 4
        assert run_config.hyperparameters_from == f"sweep {config.study_id()[:8]}, best of 3 on dev"


def test_workers_with_one_host_name_and_process_id_are_told_apart(choices, tmp_path, monkeypatch):
    """As in two containers that share a storage."""
    tokens: list[str] = []

    class Pool:
        workers = 1

        def __init__(self, *how: object) -> None:
            pass

        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def submit(self, worker: int, function: object, job: SweepJob) -> None:
            tokens.append(job.token)
            raise KeyboardInterrupt

    monkeypatch.setattr(sweep_run, "WorkerPool", Pool)
    study = begin(tiny_config(choices), tmp_path, trials=1)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            sweep_run.run_sweep([study], None, 1, None, tmp_path, lambda *seen: None, print)
    one, other = (worker_name(token, 7) for token in tokens)
    sign(study.ask(), one)
    release(study, other)
    assert study_result(study).count("running") == 1
    release(study, one)
    assert study_result(study).count("waiting") == 1


def test_trackers_hear_of_the_run_of_each_trial(choices, tmp_path):
    pytest.importorskip("tensorboardX", reason="needs pip install 'sparsegrad[tensorboard]'")
    study = begin(tiny_config(choices), tmp_path, trials=2)
    job = {"storage": None, "results": str(tmp_path), "studies": (study.study_name,), "token": "t"}
    trial.work(SweepJob(**job, report_to=("tensorboard",)), NoProgress())
    runs = {each.user_attrs[trial.RUN] for each in study.get_trials()}
    (folder,) = (tmp_path / SWEEPS.place).glob("*/tensorboard")
    assert {each.name for each in folder.iterdir()} == runs
    assert all(list(each.glob("events*")) for each in folder.iterdir())
