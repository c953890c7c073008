"""The process that measures: a job as JSON on stdin, its answer as JSON on stdout, all else on stderr."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import pydantic

from .jobs import CalibrateJob, Failure, MeasureJob, PeaksJob

Job = Annotated[PeaksJob | MeasureJob | CalibrateJob, pydantic.Field(discriminator="what")]


def main() -> None:
    """Do the one job that is asked for."""
    answer_to = os.dup(1)
    os.dup2(2, 1)  # what libraries print is not the answer
    job = pydantic.TypeAdapter(Job).validate_json(sys.stdin.buffer.read())
    answer = _answer(job)
    with os.fdopen(answer_to, "w", encoding="utf-8") as file:
        file.write(answer.model_dump_json())


def _answer(job: Job) -> pydantic.BaseModel:
    import torch

    try:
        match job:
            case PeaksJob():
                from .machine import measure_machine

                return measure_machine(job.device, job.precision)
            case MeasureJob():
                from .measure import measure

                return measure(job)
            case CalibrateJob():
                from .calibration import find_basis

                return find_basis(job)
    except Exception as error:
        line = " ".join(str(error).split())
        memory = isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in line
        status = "out-of-memory" if memory else "failed"
        return Failure(status=status, error=f"{type(error).__name__}: {line}")


if __name__ == "__main__":
    main()
