"""The Ray engine on a cluster of this machine: the same numbers, whoever is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from .grids import restarts, scores
from .processes import Command, half_way, holder, is_gone, start, wait_for

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="needs pip install 'sparsegrad[ray]'")

Start = Callable[..., Command]
SLOWLY = ("--checkpoint-minutes", "0")  # a checkpoint at every step


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def has_answer(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def cluster(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """One that shares out two cores; gives the environment that makes it the one of `--address auto`."""
    port = free_port()
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
    command += [
        "--num-cpus=2",
        "--disable-usage-stats",
        "--include-dashboard=false",
        f"--temp-dir={tmp_path_factory.mktemp('ray')}",
    ]
    joins = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex * 2}
    as_here = {"SPARSEGRAD_CACHE": str(cache), "RAY_worker_niceness": "0"}
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **as_here, **joins},
        start_new_session=True,
    )
    wait_for(lambda: has_answer(port) or process.poll() is not None)
    yield {**joins, "RAY_ADDRESS": f"127.0.0.1:{port}"}
    process.terminate()
    process.wait()


@pytest.fixture
def joined(cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cluster.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def begin(tmp_path: Path) -> Start:
    """Starts `sparsegrad run` on Ray with arguments, in a process of its own: one cluster a process."""

    def run(*arguments: object) -> Command:
        return start(tmp_path / f"said-{uuid.uuid4().hex}", "run", "--engine", "ray", *arguments)

    return run


def test_two_workers_of_a_cluster_make_the_numbers_of_finetune(begin, joined, write, finetuned, tmp_path):
    results = tmp_path / "results"
    code, err = begin(write(), "--address", "auto", "--workers", "2", "--output", results).end()
    assert code == 0, err
    assert all(f"begins on worker {number}" in err for number in (1, 2))
    assert scores(results) == finetuned
    assert restarts(results) == [0] * 4
    assert {path.name for path in results.iterdir()} == {"bases", "runs"}


def test_a_command_and_an_actor_killed_half_way_cost_nothing(begin, joined, write, finetuned, tmp_path):
    results = tmp_path / "results"
    command = (write(seeds=[1], methods=["sparsegrad"]), "--address", "auto", "--output", results, *SLOWLY)
    stopped = begin(*command)
    folder = half_way(results)
    actor = holder(folder)
    os.kill(stopped.pid, signal.SIGTERM)
    code, err = stopped.end()
    assert code == 130, err
    assert "the same command goes on from the last checkpoint" in err
    wait_for(lambda: is_gone(actor))

    again = begin(*command)
    os.kill(holder(half_way(results)), signal.SIGKILL)
    code, err = again.end()
    assert code == 0, err
    assert "its worker died (ActorDiedError); it goes on with a new one" in err
    assert scores(results) == {folder.name: finetuned[folder.name]}
    assert restarts(results) == [2]


@pytest.mark.parametrize(("address", "says"), [("127.0.0.1:{}", "refused"), ("nowhere", "not host:port")])
def test_an_address_without_a_cluster_is_told_at_once(address, says, begin, write, tmp_path):
    address = address.format(free_port())
    began = time.monotonic()
    code, err = begin(write(), "--address", address, "--output", tmp_path / "results").end()
    assert (code, len(err.splitlines())) == (2, 1), err
    assert f"--address {address}" in err
    assert says in err
    assert time.monotonic() - began < 30
    assert not (tmp_path / "results").exists()
