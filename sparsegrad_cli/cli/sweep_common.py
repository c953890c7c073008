"""What `sweep` and `sweep show` do around the search itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from optuna.storages import BaseStorage
from rich.console import Console

from ..config import ExecutionOptions
from ..errors import InputError, WorkError
from ..methods import method_names
from ..models.checkpoint import fetch_weights, find_checkpoint
from ..report.caption import space_words
from ..report.figures.others import save_sweep_plot
from ..report.other_tables import sweep_sections
from ..report.render.terminal import print_section
from ..store.records import Result
from ..sweep.folder import ReadSweep, read_sweeps
from ..sweep.plan import SEEDS, best_path, finetune_command
from ..sweep.schema import FAILED, Sweep, SweepConfig
from ..sweep.storage import JOURNAL, is_sqlite, open_storage
from ..sweep.study import config_of, load_studies, snapshot
from ..tasks import get_task, task_names
from ..training.params import read_params
from ..training.resolve import resolve
from .finetune import as_document, check_all_done, report_on, train_all

MAKE_SOME = "sparsegrad sweep --task ... --method ... makes some"


def tasks(named: Sequence[str] | None, every: bool) -> list[str]:
    """The tasks that are asked for; `every`: those that the average over GLUE counts."""
    if named and every:
        raise InputError("--all-tasks and --task: give one of them")
    return [name for name in task_names() if get_task(name).in_average] if every else list(named or ())


def methods(named: Sequence[str] | None, every: bool) -> list[str]:
    """The methods that are asked for."""
    if named and every:
        raise InputError("--all-methods and --method: give one of them")
    return list(method_names()) if every else list(named or ())


def check_named(tasks: Sequence[str], methods: Sequence[str]) -> None:
    """Refuses a search of no task or no method.

    Raises:
        InputError: so it is.
    """
    if not tasks:
        raise InputError("which task? Give --task (see sparsegrad ls tasks) or --all-tasks")
    if not methods:
        raise InputError("which method? Give --method (ft, lora, meprop, sparsegrad) or --all-methods")


def check_workers(storage: str | None, workers: int) -> None:
    """Refuses several workers where one would lock the others out.

    Raises:
        InputError: so it is.
    """
    if workers > 1 and is_sqlite(storage):
        raise InputError(
            f"--storage: SQLite locks its file while one process writes, and --workers {workers} would run "
            "into that; leave --storage out (a journal file, which they can share) or name a real server"
        )


def open_known(storage: str | None, output: Path) -> BaseStorage | None:
    """The storage; None for a journal file that is not there, which is not made either.

    Raises:
        InputError: it cannot be opened.
    """
    journal = output / JOURNAL if storage is None else Path(storage)
    is_file = storage is None or "://" not in storage
    return None if is_file and not journal.exists() else open_storage(storage, output)


def stored(storage: str | None, output: Path) -> list[SweepConfig]:
    """The configurations of every study in a storage.

    Raises:
        InputError: there is none.
    """
    opened = open_known(storage, output)
    found = [] if opened is None else [config_of(study) for study in load_studies(opened)]
    if not found:
        raise InputError(f"no study in {storage or output / JOURNAL}; {MAKE_SOME}")
    return found


def fetch_models(configs: Sequence[SweepConfig]) -> None:
    """Downloads the weights that are not here, once, before several workers want them.

    Raises:
        InputError: they cannot be had.
    """
    for model in dict.fromkeys(config.model for config in configs):
        fetch_weights(find_checkpoint(model))


def show_plan(
    configs: Sequence[SweepConfig], opened: BaseStorage | None, trials: int | None, as_json: bool
) -> None:
    """Prints what would be done."""
    known = {} if opened is None else {study.study_name: study for study in load_studies(opened)}
    planned = []
    for config in configs:
        study = known.get(config.study_name())
        result = snapshot(study).result if study else None
        asked = max(trials or 0, result.asked if result else 0)
        done = result.finished if result else 0
        planned.append({"study": config.study_name(), "trials": asked, "done": done, "to_do": asked - done})
    if as_json:
        documents = [config.model_dump(mode="json") for config in configs]
        print(json.dumps({"studies": planned, "config": documents}, indent=2))
        return
    for config, plan in zip(configs, planned, strict=True):
        print(
            f"{plan['study']}: {plan['trials']} trials, {plan['done']} done, selected on {config.select_on}"
        )
        print(f"    {space_words(config)}; {config.pruner} pruner")


def finetune_best(sweeps: Sequence[Sweep], output: Path, quiet: bool) -> list[Result]:
    """Trains with the best parameters of each study, on the paper's number of seeds."""
    todo = []
    for sweep in sweeps:
        if sweep.result.best is not None:
            config = sweep.config
            searched = config.space.parameters  # the file says what they are
            given = {name: value for name, value in config.given.items() if name not in searched}
            params = read_params(best_path(output, sweep))
            configs, sources = resolve(given, [config.method], SEEDS, params=params)
            todo += [(each, sources) for each in configs]
    return train_all(todo, output, quiet, ExecutionOptions())


def _print_sweeps(reads: Sequence[ReadSweep], trials: bool) -> None:
    console = Console()
    for section in sweep_sections(reads, trials):
        print_section(console, section, caption=False)
        console.print()


def show(
    sweeps: Sequence[Sweep], results: Sequence[Result], output: Path, as_json: bool, quiet: bool
) -> None:
    """Prints what studies came to, draws their plots, and says what to type next."""
    ids = {sweep.result.id for sweep in sweeps}
    reads = [read for read in read_sweeps([output]) if read.sweep.result.id in ids]
    for read in reads:
        if read.folder is not None:
            save_sweep_plot(read, read.folder / "plot.png")
    if as_json:
        done = as_document(results, report_on(results, output)) if results else {}
        print(json.dumps({**document(sweeps), **done}, indent=2))
        return
    _print_sweeps(reads, trials=False)
    if results:
        report_on(results, output).print_brief(Console(), output)
    elif not quiet:
        for sweep in sweeps:
            if sweep.result.best is not None:
                print(finetune_command(sweep.config, best_path(output, sweep), output))
    if not quiet:
        print(f"written: {output / 'sweeps'}", file=sys.stderr)


def show_stored(storage: str | None, output: Path, as_json: bool) -> None:
    """Prints every study of a storage, or of the results folder where it has no journal."""
    on_disk = read_sweeps([output]) if output.is_dir() else ()
    known = {read.sweep.result.id: read for read in on_disk}
    opened = open_known(storage, output)
    found = [] if opened is None else [snapshot(study) for study in load_studies(opened)]
    reads = [_with_folder(sweep, known.pop(sweep.result.id, None)) for sweep in found]
    reads += known.values() if storage is None else []
    if not reads:
        raise InputError(f"no study in {storage or output / JOURNAL}; {MAKE_SOME}")
    if as_json:
        print(json.dumps(document([read.sweep for read in reads], trials=True), indent=2))
    else:
        _print_sweeps(reads, trials=True)


def document(sweeps: Sequence[Sweep], trials: bool = False) -> dict[str, object]:
    """What `--json` shows: `studies`, and the keys of a single one beside it."""
    studies = [_study_document(sweep, trials) for sweep in sweeps]
    return {**(studies[0] if len(studies) == 1 else {}), "studies": studies}


def check_done(sweeps: Sequence[Sweep], results: Sequence[Result]) -> None:
    """Refuses an end without a best trial.

    Raises:
        WorkError: a study has none, or a run with the best parameters failed.
    """
    without = [sweep for sweep in sweeps if sweep.result.best is None]
    if without:
        reasons = [trial.reason for trial in without[0].result.trials if trial.reason]
        raise WorkError(
            f"no trial came to its end in {', '.join(sweep.result.study for sweep in without)}"
            + (f"; the last one: {reasons[-1]}" if reasons else "")
        )
    check_all_done(results)


def _study_document(sweep: Sweep, trials: bool) -> dict[str, object]:
    result, best = sweep.result, sweep.result.best
    found = {
        "study": result.study,
        "id": result.id,
        "task": sweep.config.task,
        "method": sweep.config.method,
        "select_on": sweep.config.select_on,
        "score_name": sweep.config.score_name,
        "trials": {
            "asked": result.asked,
            "complete": result.count("complete"),
            "pruned": result.count("pruned"),
            "failed": result.count(*FAILED),
            **{state.replace("-", "_"): result.count(state) for state in FAILED[:2]},
            "running": result.count("running"),
            "waiting": result.count("waiting"),
        },
        "best": None if best is None else best.model_dump(mode="json"),
    }
    return {**found, "records": [t.model_dump(mode="json") for t in result.trials]} if trials else found


def _with_folder(sweep: Sweep, read: ReadSweep | None) -> ReadSweep:
    return ReadSweep(sweep, read.folder, read.environment) if read else ReadSweep(sweep)
