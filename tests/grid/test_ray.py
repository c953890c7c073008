"""The Ray pool on a cluster of this machine: the numbers of `finetune`, whoever is killed."""

from __future__ import annotations

import os
import signal
import socket
from importlib.util import find_spec
from pathlib import Path

import pytest

from .grids import restarts, scores
from .processes import half_way, holder

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="needs pip install 'sparsegrad[ray]'")


@pytest.mark.cluster
def test_a_cluster_of_our_own_asks_for_a_token_and_makes_the_numbers_of_finetune(
    begin, write, finetuned, tmp_path
):
    """An actor is killed half way."""
    results = tmp_path / "results"
    path = write(seeds=[1], methods=["sparsegrad"])
    command = ("run", "--engine", "ray", path, "--output", results, "--checkpoint-minutes", "0")
    running = begin(*command)
    folder = half_way(results)
    actor = holder(folder)
    assert b"RAY_AUTH_MODE=token" in Path(f"/proc/{actor}/environ").read_bytes().split(b"\0")
    os.kill(actor, signal.SIGKILL)
    code, _, err = running.end()
    assert code == 0, err
    assert "its worker died (ActorDiedError); it goes on with a new one" in err
    assert scores(results) == {folder.name: finetuned[folder.name]}
    assert restarts(results) == [1]
    assert {path.name for path in results.iterdir()} == {"bases", "runs"}


@pytest.mark.parametrize(("address", "says"), [("127.0.0.1:{}", "refused"), ("nowhere", "not host:port")])
def test_an_address_without_a_cluster_is_refused_at_once(address, says, begin, write, tmp_path):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = address.format(found.getsockname()[1])
    running = begin("run", "--engine", "ray", write(), "--address", address, "--output", tmp_path / "r")
    code, _, err = running.end()
    assert (code, len(err.splitlines())) == (2, 1), err
    assert f"--address {address}" in err
    assert says in err
    assert not (tmp_path / "r").exists()
