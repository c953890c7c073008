"""Fixtures that several test files share."""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from sparsegrad_cli.cli.main import main

from .processes import Commands, open_nursery, start_worker

# the same examples in every run, however busy the machine is
settings.register_profile("suite", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("suite")

LONGEST = (  # files in the order in which they begin, before all others: at the end no core waits for one
    "grid/test_chaos.py",
    "cuda/test_waits.py",
    "training/test_run.py",
    "training/test_chat_run.py",
    "estimate/test_memory.py",
    "methods/test_peft.py",
    "methods/test_peft_runs.py",
    "bad_input/test_every_option.py",
    "cli/test_run.py",
    "cli/test_main.py",
    "cli/test_sweep.py",
    "test_hub.py",
    "training/test_light_checkpoint.py",
    "sweep/test_trials.py",
    "sweep/test_storage.py",
    "models/test_causal.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Lets the processes of `pytest -n` share one nursery."""
    if getattr(config.option, "numprocesses", None):
        open_nursery()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the longest files to the front; within files and among the others the order stays."""
    here = Path(__file__).parent
    places = {here / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data and checkpoints laid beside the repository; tests that need them skip without."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "glue").is_dir():
        pytest.skip(f"no real GLUE data at {folder}: not needed for the product, only for this check")
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests of one process share a cache, which is not the user's; processes that they start inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARSEGRAD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_disks() -> Iterator[None]:
    """No power is cut here, so that nothing needs to reach the disk at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def conversations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo's conversations, of which few are to evaluate on."""
    from .planned import write_conversations  # not where xdist's own process imports it

    return write_conversations(tmp_path_factory.mktemp("conversations") / "oasst1")


@pytest.fixture(scope="module", autouse=True)
def quick_garbage() -> None:
    """Each training collects garbage several times: spares it all that is imported."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def any_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step is simulated for an estimate of this process: each takes half a second."""
    from sparsegrad_cli.estimate.memory import MemoryEstimate  # not where xdist's own process imports it

    parts = dict.fromkeys(MemoryEstimate.model_fields, 1000)
    monkeypatch.setattr("sparsegrad_cli.estimate.simulate_step", lambda *_: MemoryEstimate(**parts))


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Runs `sparsegrad` with arguments; gives exit code, stdout, stderr."""

    def sparsegrad(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sparsegrad", *arguments])
        before = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as end:
                main()
        finally:
            signal.signal(signal.SIGTERM, before)
        printed = capfd.readouterr()
        return int(end.value.code or 0), printed.out, printed.err

    return sparsegrad


@pytest.fixture
def begin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Starts `sparsegrad` with arguments in a process of its own."""
    with Commands(tmp_path_factory.mktemp("said")) as commands:
        yield commands


@pytest.fixture(autouse=True)
def worker_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are forked from a process that has imported everything."""
    monkeypatch.setattr("sparsegrad_cli.workers.start_process", start_worker)
