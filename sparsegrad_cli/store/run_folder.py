"""A run's folder: what is in it, who may write to it, and how far it got."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydantic

from ..errors import WorkError
from .io import write_text
from .lock import lock as held
from .records import Environment, Record, Result
from .schema import RunConfig

TEST_PREDICTIONS = "test_predictions.parquet"


class RunFolder:
    """The folder `<results>/runs/<id>` of one configuration; see `schema` for its files."""

    def __init__(self, results: Path, config: RunConfig) -> None:
        self.config = config
        self.path = results / "runs" / config.run_id()

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def test_predictions(self) -> Path:
        return self.path / TEST_PREDICTIONS

    def result(self) -> Result | None:
        """The result, if the run has come to one.

        Raises:
            WorkError: the file is there but is no result.
        """
        path = self.path / "result.json"
        if not path.exists():
            return None
        try:
            return Result.model_validate_json(path.read_bytes())
        except pydantic.ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(str(part) for part in problem["loc"])
            raise WorkError(
                f"{path} is no result ({place}: {problem['msg']}); delete the folder to run it again"
            ) from None

    def is_done(self) -> bool:
        result = self.result()
        return result is not None and result.status == "done"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Makes the folder and holds it against other processes; the lock dies with its process.

        Raises:
            BusyError: another process holds it.
            WorkError: it cannot be made.
        """
        with held(self.path):
            yield

    def begin(self, environment: Environment) -> None:
        """Records what is about to be run, and on what; drops what an earlier attempt came to."""
        (self.path / "result.json").unlink(missing_ok=True)
        self.test_predictions.unlink(missing_ok=True)
        self._write("config.json", self.config)
        self._write("environment.json", environment)

    def earlier(self) -> Environment | None:
        """What the run was last at work on; None if it was never begun."""
        path = self.path / "environment.json"
        return Environment.model_validate_json(path.read_bytes()) if path.exists() else None

    def finish(self, result: Result) -> None:
        """Writes the result; of a run that nothing would take up again, the checkpoints go."""
        self._write("result.json", result)
        if result.status in ("done", "pruned", "diverged"):
            self.drop_checkpoints()

    def drop_checkpoints(self) -> None:
        """Deletes them; the run would begin anew."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def last_checkpoint(self) -> Path | None:
        """The latest checkpoint that was written whole; the trainer's state is the last file of each."""
        numbered = ((int(p.name.rpartition("-")[2]), p) for p in self.checkpoints.glob("checkpoint-*"))
        for _, path in sorted(numbered, reverse=True):
            try:
                json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            except (FileNotFoundError, json.JSONDecodeError):
                shutil.rmtree(path)
                continue
            return path
        return None

    def _write(self, name: str, record: Record) -> None:
        write_text(self.path / name, record.model_dump_json(indent=2) + "\n")
