"""A SLURM of this machine alone, in a folder of its own: a controller and one node, as the caller."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/none
CredType=cred/none
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=30
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
START_SECONDS = 20.0
STOP_SECONDS = 10.0


def missing() -> str:
    """Returns why there can be no SLURM here; empty: there can."""
    absent = [name for name in ("slurmctld", "slurmd", "sbatch", "srun") if shutil.which(name) is None]
    return f"needs Debian's slurmctld and slurmd: no {', '.join(absent)}" if absent else ""


@contextmanager
def slurm_node(folder: Path) -> Iterator[dict[str, str]]:
    """Start one; gives the environment in which its commands find it.

    Raises:
        OSError: it does not start, with the end of its logs.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = {"controller": one.getsockname()[1], "node": other.getsockname()[1]}
    host = socket.gethostname().partition(".")[0]
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(folder=folder, host=host, user=getpass.getuser(), **ports))
    env = {**os.environ, "SLURM_CONF": str(conf)}
    daemons = []
    try:
        for name in ("slurmctld", "slurmd"):
            log = (folder / f"{name}.log").open("wb")
            daemons.append(subprocess.Popen([name, "-D"], env=env, stdout=log, stderr=log))
        deadline = time.monotonic() + START_SECONDS
        while "idle" not in _run(["sinfo", "-h", "-o", "%T"], env):
            if time.monotonic() > deadline or any(each.poll() is not None for each in daemons):
                tail = " ".join(path.read_text()[-600:] for path in folder.glob("*.log"))
                raise OSError(f"SLURM does not start: {tail}")
            time.sleep(0.3)
        yield env
    finally:
        _run(["scancel", "--full", "-u", getpass.getuser()], env)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _run(command: list[str], env: dict[str, str]) -> str:
    return subprocess.run(command, env=env, capture_output=True, text=True).stdout
