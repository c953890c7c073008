"""`sparsegrad sweep`: Optuna over a run's hyperparameters; `sweep show`: the studies so far."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .. import paper
from ..config import RUN_SETTINGS, SETTINGS, ExecutionOptions, Given, Tracker
from ..errors import InputError, WorkError
from ..progress import ProgressState
from ..settings import WHAT
from ..store.io import redact
from ..store.records import Result, format_score
from ..sweep.records import FAILED, FINISHED, SEARCH, SEARCH_SETTINGS, SearchSettings, read_sweeps
from . import options as opt

if TYPE_CHECKING:
    from optuna import Study

    from ..sweep.records import Sweep, SweepConfig, TrialRecord
    from .progress import Display, Line

MACHINE = "Machines"
HELPS = {  # of settings that are searched if they are not given
    "learning_rate": "A fixed learning rate. Default: searched.",
    "batch_size": "A fixed number of examples per optimizer step. Default: searched.",
}
Storage = Annotated[
    str | None,
    opt.option(
        help="A database's URL (postgresql://...) or a journal file, for several machines. "
        "Default: sweeps/journal.log in the results folder.",
        panel=MACHINE,
    ),
]


def _several(name: str) -> Any:
    return opt.option(f"--{name}", help=f"{SETTINGS[name].help} Repeatable.", panel=WHAT)


sweep = typer.Typer(invoke_without_command=True, no_args_is_help=False)


@sweep.callback()
@opt.takes_settings({**SEARCH_SETTINGS, **RUN_SETTINGS}, helps=HELPS)
def search(
    *,
    context: typer.Context,
    task: Annotated[list[str] | None, _several("task")] = None,
    all_tasks: Annotated[
        bool, opt.option("--all-tasks", help="GLUE without wnli, as in the paper.", panel=WHAT)
    ] = False,
    method: Annotated[list[str] | None, _several("method")] = None,
    all_methods: Annotated[
        bool,
        opt.option("--all-methods", help="The paper's methods: ft, lora, meprop, sparsegrad.", panel=WHAT),
    ] = False,
    given: Given,
    then_finetune: Annotated[
        bool,
        opt.option("--then-finetune", help="Train with the best of each study on three seeds.", panel=SEARCH),
    ] = False,
    storage: Storage = None,
    workers: Annotated[
        int,
        opt.option(
            help="Processes here, each with a GPU or a share of the cores. Elsewhere, give the same command.",
            panel=MACHINE,
            min=1,
            show_default=True,
        ),
    ] = 1,
    engine: Annotated[
        Literal["local", "slurm"],
        opt.option(
            help="Processes of this machine, or tasks of a SLURM cluster.", panel=MACHINE, show_default=True
        ),
    ] = "local",
    resume: Annotated[
        bool,
        opt.option(
            "--resume",
            help="Go on with every study of the storage, or with those of --task and --method.",
            panel=MACHINE,
        ),
    ] = False,
    report_to: opt.ReportTo = None,
    output: opt.Output = Path("results"),
    as_json: opt.Json = False,
    dry_run: opt.DryRun = False,
    quiet: opt.Quiet = False,
    verbose: Annotated[
        bool, opt.option("--verbose", help="End with every trial, and all columns of --then-finetune.")
    ] = False,
) -> int:
    """Search the learning rate and batch size of each method on each task: one study of trials each.

    The same command goes on with a study that was stopped, and on other machines it joins the study if
    --storage is the same: --trials counts what all of them do together.
    """
    if context.invoked_subcommand is not None:
        return 0
    from ..models.checkpoint import fetch_weights, find_checkpoint
    from ..sweep.plan import check_resumed, plan_studies
    from ..sweep.run import run_sweep
    from ..sweep.storage import open_storage, storage_errors
    from ..sweep.study import config_of, open_study
    from ..tasks import get_task, task_names
    from ..training.inputs import quiet_libraries
    from ..training.track import read_trackers
    from .progress import Display
    from .run import open_pool

    trackers = read_trackers(report_to or ())
    quiet_libraries(downloads=not (quiet or as_json))
    for everything, option, named in ((all_tasks, "task", task), (all_methods, "method", method)):
        if everything and named:
            raise InputError(f"--all-{option}s and --{option}: give one of them")
    in_average = [name for name in task_names() if get_task(name).in_average]
    tasks = in_average if all_tasks else task or []
    methods = list(paper.METHODS) if all_methods else method or []
    if workers > 1 and storage is not None and storage.startswith("sqlite"):
        raise InputError(
            f"--storage: SQLite locks its file while one process writes, and --workers {workers} would fail; "
            "leave --storage out (a journal file, which they can share) or name a database server"
        )
    trials = given.get("trials")
    if resume:
        stored = [config_of(study) for study in _studies(storage, output)]
        if not stored:
            raise _no_study(storage, output)
        configs = check_resumed(stored, given, tasks, methods)
    else:
        if not tasks:
            raise InputError("which task? Give --task (see sparsegrad ls tasks) or --all-tasks")
        if not methods:
            raise InputError("which method? Give --method (see sparsegrad ls methods) or --all-methods")
        asked = SearchSettings(**{name: value for name, value in given.items() if name in SEARCH_SETTINGS})
        of_runs = {name: value for name, value in given.items() if name not in SEARCH_SETTINGS}
        trials = asked.trials
        configs = plan_studies(of_runs, tasks, methods, asked, dry_run)
    if dry_run:
        _show_plan(configs, _studies(storage, output), trials, as_json)
        return 0
    for model in dict.fromkeys(config.model for config in configs):
        fetch_weights(find_checkpoint(model))  # once, before several workers want them
    opened = open_storage(storage, output)
    with Display(quiet) as display, storage_errors():
        studies = [open_study(opened, config) for config in configs]
        watch = SweepDisplay(display)
        sweeps = run_sweep(
            studies,
            trials,
            workers,
            storage,
            output,
            watch.show,
            display.say,
            trackers,
            lambda count, device: open_pool(engine, count, device, 1, None, output),
        )
        _draw(studies, sweeps)
    results = _finetune_best(sweeps, output, quiet, trackers) if then_finetune else []
    _show_search(sweeps, results, output, as_json, quiet, verbose)
    _check_done(sweeps, results)
    return 0


@sweep.command("show")
def show(storage: Storage = None, output: opt.Output = Path("results"), as_json: opt.Json = False) -> int:
    """Show every study: its trials, its best values, and the best parameters beside the paper's."""
    from dataclasses import replace

    from ..sweep.study import snapshot

    on_disk = {sweep.result.id: sweep for sweep in (read_sweeps([output]) if output.is_dir() else ())}
    sweeps = []
    for study in _studies(storage, output):
        current = snapshot(study, output)
        found = on_disk.pop(current.result.id, current)
        sweeps.append(replace(found, config=current.config, result=current.result))
    sweeps += on_disk.values() if storage is None else []
    if not sweeps:
        raise _no_study(storage, output)
    if as_json:
        print(json.dumps(_document(sweeps, trials=True), indent=2))
    else:
        _print_sweeps(sweeps, trials=True)
    return 0


def _print_sweeps(sweeps: Sequence[Sweep], trials: bool) -> None:
    from rich.console import Console

    from ..report.render.terminal import print_section
    from ..report.sweep_tables import sweep_sections

    console = Console()
    for section in sweep_sections(sweeps, trials):
        print_section(console, section, caption=False)
        console.print()


class SweepDisplay:
    """Draws a live line for each study with running trials, and prints a line for each trial that ended."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._lines: dict[str, Line] = {}
        self._seen: dict[str, set[int]] = {}

    def show(self, sweeps: Sequence[Sweep], workers: int) -> None:
        """Draw the studies; the trials that had ended at the first call are no news."""
        for shown in sweeps:
            result, title = shown.result, f"{shown.config.task} {shown.config.method}"
            ended = {trial.index: trial for trial in result.trials if trial.state in FINISHED}
            news = ended.keys() - self._seen.setdefault(result.id, set(ended))
            self._seen[result.id] |= news
            for index in sorted(news):
                self._display.say(f"{title}: {trial_line(shown, ended[index])}")
            line = self._lines.setdefault(result.id, self._display.line(title))
            running = result.count("running")
            if running and workers:
                state = ProgressState(phase="search", done=result.finished, total=result.asked)
                line.show(state, f"{running} running{_best_so_far(shown)}")
            else:
                line.remove()


def trial_line(sweep: Sweep, trial: TrialRecord) -> str:
    """Returns a line of text about how a trial ended, with its values and the best score so far."""
    result = sweep.result
    how = f"{trial.state} ({trial.reason})"
    if trial.score is not None:
        how = format_score(sweep.config.score_name, trial.score)
        how += f", as trial {trial.same_as}" if trial.same_as is not None else ""
    details = [
        f"{name.replace('_', ' ')} {f'{value:.3g}' if isinstance(value, float) else value}"
        for name, value in trial.params.items()
    ]
    details += [] if trial.seconds is None else [f"{trial.seconds:.0f} s"]
    done = f"trial {trial.number}, {result.finished} of {result.asked} done"
    return f"{done}: {how} ({', '.join(details)}){_best_so_far(sweep)}"


def _best_so_far(sweep: Sweep) -> str:
    best = sweep.result.best
    if best is None or best.score is None:
        return ""
    return f"; best {format_score(sweep.config.score_name, best.score)}"


def _studies(storage: str | None, output: Path) -> list[Study]:
    """Returns the studies in a storage, a journal for reading only; none if there is no such journal."""
    from ..sweep.storage import JOURNAL, is_journal, open_storage
    from ..sweep.study import load_studies

    path = output / JOURNAL if storage is None else Path(storage)
    if is_journal(storage) and not path.exists():
        return []
    return load_studies(open_storage(storage, output, read_only=True))


def _no_study(storage: str | None, output: Path) -> InputError:
    from ..sweep.storage import JOURNAL

    where = redact(storage or str(output / JOURNAL))
    return InputError(f"no study in {where}; sparsegrad sweep --task ... --method ... makes one")


def _show_plan(
    configs: Sequence[SweepConfig], studies: Sequence[Study], trials: int | None, as_json: bool
) -> None:
    from ..report.caption import space_words
    from ..sweep.study import study_result

    results = {study.study_name: study_result(study) for study in studies}
    planned = []
    for config in configs:
        name, result = config.study_name(), results.get(config.study_name())
        asked = max(trials or 0, result.asked if result else 0)
        done = result.finished if result else 0
        planned.append({"study": name, "trials": asked, "done": done, "to_do": max(0, asked - done)})
    if as_json:
        documents = [config.model_dump(mode="json") for config in configs]
        print(json.dumps({"studies": planned, "config": documents}, indent=2))
        return
    for config, plan in zip(configs, planned, strict=True):
        print(
            f"{plan['study']}: {plan['trials']} trials, {plan['done']} done, selected on {config.select_on}"
        )
        print(f"    {space_words(config)}; {config.pruner} pruner")


def _draw(studies: Sequence[Study], sweeps: Sequence[Sweep]) -> None:
    from ..report.figures.others import save_sweep_plot

    for study, found in zip(studies, sweeps, strict=True):
        save_sweep_plot(study, bool(found.result.importances), found.folder / "plot.png")


def _finetune_best(
    sweeps: Sequence[Sweep], output: Path, quiet: bool, trackers: tuple[Tracker, ...]
) -> list[Result]:
    """Train with the best parameters of each study, on as many seeds as the paper."""
    from ..sweep.plan import SEEDS
    from ..sweep.run import BEST
    from ..training.params import read_params
    from ..training.resolve import resolve
    from .finetune import train_all

    todo = []
    for each in sweeps:
        if each.result.best is not None:
            searched = each.config.space.parameters  # best.yaml holds their values
            given = {name: value for name, value in each.config.given.items() if name not in searched}
            params = read_params(each.folder / BEST)
            configs, sources = resolve(given, [each.config.method], SEEDS, params=params)
            todo += [(config, sources) for config in configs]
    return train_all(todo, output, quiet, ExecutionOptions(report_to=trackers))


def _show_search(
    sweeps: Sequence[Sweep],
    results: Sequence[Result],
    output: Path,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Print the studies, and the commands that use the best parameters."""
    from rich.console import Console

    from ..sweep.plan import finetune_command
    from ..sweep.run import BEST
    from .finetune import as_document, report_on

    if as_json:
        done = as_document(results, report_on(results, output)) if results else {}
        print(json.dumps({**_document(sweeps), **done}, indent=2))
        return
    _print_sweeps(read_sweeps([each.folder for each in sweeps]), trials=verbose)
    if results:
        report_on(results, output).print_brief(Console(), output, verbose)
    elif not quiet:
        for each in sweeps:
            if each.result.best is not None:
                print(finetune_command(each.config, each.folder / BEST, output))
    if not quiet:
        print(f"written: {output / 'sweeps'}", file=sys.stderr)


def _document(sweeps: Sequence[Sweep], trials: bool = False) -> dict[str, Any]:
    """Returns what `--json` prints: `studies`, and beside it the keys of a single one."""
    studies = []
    for each in sweeps:
        config, result = each.config, each.result
        study: dict[str, Any] = {
            "study": result.study,
            "id": result.id,
            "task": config.task,
            "method": config.method,
            "select_on": config.select_on,
            "score_name": config.score_name,
            "trials": {
                "asked": result.asked,
                "complete": result.count("complete"),
                "pruned": result.count("pruned"),
                "failed": result.count(*FAILED),
                "diverged": result.count("diverged"),
                "out_of_memory": result.count("out-of-memory"),
                "running": result.count("running"),
                "waiting": result.count("waiting"),
            },
            "best": None if result.best is None else result.best.model_dump(mode="json"),
        }
        if trials:
            study["records"] = [trial.model_dump(mode="json") for trial in result.trials]
        studies.append(study)
    return {**(studies[0] if len(studies) == 1 else {}), "studies": studies}


def _check_done(sweeps: Sequence[Sweep], results: Sequence[Result]) -> None:
    """Refuse to end well without a best trial.

    Raises:
        WorkError: a study has none, or a run with the best parameters failed.
    """
    from .finetune import check_all_done

    without = [each for each in sweeps if each.result.best is None]
    if without:
        reasons = [trial.reason for trial in without[0].result.trials if trial.reason]
        raise WorkError(
            f"no trial came to its end in {', '.join(each.result.study for each in without)}"
            + (f"; the last one: {reasons[-1]}" if reasons else "")
        )
    check_all_done(results)
