"""Fresh processes: one for each measurement, so that none inherits another's memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from typing import TypeVar

import pydantic

from ..settings import Record
from .jobs import Failure

Answer = TypeVar("Answer", bound=Record)
KILLED = -9  # how a process ends that the system kills for its memory


def ask(job: Record, kind: type[Answer]) -> Answer | Failure:
    """Does `job` in a process of its own and waits for it; whatever stops us, stops it too.

    Args:
        job: one of `jobs`.
        kind: what its answer is, where it does not fail.
    """
    command = [sys.executable, "-m", "sparsegrad_cli.bench.worker"]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said) as worker,
    ):
        try:
            answer, _ = worker.communicate(job.model_dump_json().encode())
        except BaseException:
            worker.kill()
            worker.wait()
            raise
        said.seek(0)
        last_words = said.read().decode(errors="replace").strip().rpartition("\n")[2]
    if worker.returncode == KILLED:
        return Failure(status="out-of-memory", error="the system killed the process, as it does for memory")
    try:
        return pydantic.TypeAdapter(Failure | kind).validate_json(answer)
    except pydantic.ValidationError:
        return Failure(status="failed", error=last_words or f"the process ended with {worker.returncode}")
